// A whole machine: memory, address spaces, clock, board, vCPU and engine, and the loop that runs them. Knows nothing of
// terminals, options or the monitor: it is given sinks and a `poll` function by the program.
#ifndef DOPPEL_FRONTEND_MACHINE_H
#define DOPPEL_FRONTEND_MACHINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "cpu/cpu.h"
#include "cpu/engine.h"
#include "cpu/model.h"
#include "devices/pc.h"
#include "frontend/smm_view.h"
#include "mmu/memory.h"

#define MACHINE_SERIAL_PORTS 4
#define MACHINE_MAX_RAM (UINT64_C(512) << 30) // with the hole below 4 GiB it must fit into 40 physical bits
#define MACHINE_INPUT_SIZE 4096

/// Exit codes of the program (docs/doppel.1.scd lists them). isa-debug-exit gives (value << 1 | 1) & 255.
enum machine_exit {
    EXIT_POWER_OFF = 0,    // ACPI power-off, quit, reset with -no-reboot, -limit reached
    EXIT_HOST_ERROR = 1,   // bad usage, unreadable file, host failure: one line on stderr says which
    EXIT_TRIPLE_FAULT = 2, // triple fault with -no-reboot
};

struct machine_config {
    const char *name; // -name; NULL: "doppel"
    uint64_t ram_size;
    struct cpu_model model;
    const struct engine *engine;
    bool paranoid; // the soft TLB walks again at every hit
    struct machine_translator {
        unsigned code_mib;       // code memory, and twice as much for blocks; 0: the default
        bool single_mapping;     // of the code memory, writable and executable
        unsigned threshold_plus; // 1 + executions of a block before it is translated; 0: the default
        bool perf_map;           // /tmp/perf-PID.map for profilers
        char host_features[8];   // as translate_host_generation has it; empty: all
    } translator;                // engines that translate
    bool counting;               // -icount: one thread, time from the instruction count
    unsigned count_shift;        // counting: 2^shift ns an instruction
    int64_t rtc_base;            // seconds since 1970
    const uint8_t *firmware;     // NULL: direct boot
    size_t firmware_size;
    bool serial_present[MACHINE_SERIAL_PORTS];
    struct character_sink serial[MACHINE_SERIAL_PORTS];
    struct character_sink debug_console;
    bool has_debug_exit;
    uint32_t debug_exit_port;
    bool no_reboot, no_shutdown, start_stopped;
    uint64_t limit;      // stop after so many instructions; 0: none
    uint64_t hash_every; // counting: print the state's hash at every multiple; 0: never
    FILE *hash_to;
    uint64_t save_at;      // counting: save a snapshot at this instruction
    const char *save_path; // NULL: none
    const struct log *log;
};

/// Bytes from outside on their way to a serial port.
struct machine_input {
    uint8_t bytes[MACHINE_INPUT_SIZE];
    size_t start, length;
    struct event event; // the door: bytes enter only from the event queue
};

struct perf_map;

struct machine {
    struct machine_config config;
    struct log quiet; // used when the config names no log
    struct memory memory;
    bool has_steady_ticks; // host_ticks_are_steady()
    bool has_memory, has_spaces, has_smm_view, has_locks;
    struct address_space memory_space, port_space;
    struct smm_view smm_view;
    struct address_space_listener map_listener;
    struct clock clock;
    struct device_context context;
    struct pc *pc;
    struct cpu *cpu;
    struct block_cache *blocks;
    void *engine_state;
    struct perf_map *perf_map;

    // Loads the guest after a reset when there is no firmware to do it; may be NULL.
    bool (*boot)(void *opaque, struct machine *machine, struct error *error);
    void *boot_opaque;

    // What the program does about the host while the machine runs: waits at most timeout_ns (0: not at all,
    // UINT64_MAX: until something comes) for the host's files and serves them. wake_file ends the wait early.
    void (*poll)(void *opaque, struct machine *machine, uint64_t timeout_ns);
    void *poll_opaque;
    int wake_file;

    pthread_mutex_t lock; // the machine lock; recursive
    pthread_cond_t wake;  // for the vCPU: pins, holds and run state changed
    pthread_cond_t parked_changed;
    pthread_t vcpu_thread;
    bool vcpu_started, vcpu_parked;
    unsigned holds; // > 0: the vCPU stays parked
    bool paused;    // `stop`
    atomic_bool exiting;
    int exit_code;
    char exit_reason[512]; // for stderr; empty: nothing to say
    uint64_t sleep_until;  // deadline that the main loop knows of (host mode)
    uint64_t resets;

    uint64_t next_hash; // counting mode
    bool saved;
    struct machine_input input[MACHINE_SERIAL_PORTS];
};

extern const struct engine *const machine_engines[];
extern const unsigned machine_engine_count;
/// NULL: no such engine.
const struct engine *machine_find_engine(const char *name);

/// Builds a machine; nothing stays behind on failure. It is reset but not booted.
struct machine *machine_create(const struct machine_config *config, struct error *error);
void machine_destroy(struct machine *machine);
/// Resets board and CPU and, without firmware, loads the guest. Only while the vCPU is parked or not started, or by it.
bool machine_reset(struct machine *machine, struct error *error);

/// Runs until the guest or the user ends it; returns the program's exit code.
int machine_run(struct machine *machine);
/// Counting mode only: runs until machine_count is `count` exactly, without looking at the host; true. False: the
/// machine came to an end before, or halts for ever.
bool machine_run_to(struct machine *machine, uint64_t count);
/// Ends machine_run; any thread. `reason` goes to stderr (NULL: nothing). The first call counts.
void machine_exit(struct machine *machine, int code, const char *reason);

/// Main loop only. Parks the vCPU and stops time; nests.
void machine_hold(struct machine *machine);
void machine_release(struct machine *machine);
/// `stop` and `cont`.
void machine_set_paused(struct machine *machine, bool paused);
/// `system_reset`: takes effect at the next instruction boundary.
void machine_request_reset(struct machine *machine);

/// Room for input of a serial port, and input itself (must fit).
size_t machine_input_room(const struct machine *machine, unsigned port);
void machine_input_add(struct machine *machine, unsigned port, const uint8_t *bytes, size_t length);

/// Instructions retired, exact also inside a device access.
uint64_t machine_count(const struct machine *machine);
void machine_lock(struct machine *machine);
void machine_unlock(struct machine *machine);

#endif
