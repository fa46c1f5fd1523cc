// A small world for one vCPU: RAM, one device that answers everywhere else, interrupts at instruction counts. It is
// made from a description that holds a whole state, so that two engines can begin alike, and that reproducer.h puts
// into files. Everything in it repeats.
#ifndef DOPPEL_TRANSLATE_WORLD_H
#define DOPPEL_TRANSLATE_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/log.h"
#include "cpu/cpu.h"
#include "cpu/engine.h"
#include "cpu/model.h"
#include "mmu/memory.h"

#define WORLD_MAX_PIECES 128
#define WORLD_MAX_PAGES 16384
#define WORLD_MAX_INTERRUPTS 64
#define WORLD_MAX_MEMORY (UINT64_C(1) << 40)
#define WORLD_PHYSICAL_BITS 52

enum world_kind { WORLD_RAM, WORLD_ROM, WORLD_DEVICE };

/// A range of guest-physical addresses; whole pages.
struct world_piece {
    uint64_t start, size;
    uint64_t offset; // in the memory file
    enum world_kind kind;
};

/// One page of the memory file that is not zero at the start.
struct world_page {
    uint64_t number;
    uint8_t *bytes;
};

/// The pin rises when `count` instructions have retired. Vectors below 32: 2 is an NMI, others an SMI.
struct world_interrupt {
    uint64_t count;
    uint8_t vector;
};

struct world_description {
    struct cpu_model model;
    uint64_t memory_size;
    struct world_piece piece[WORLD_MAX_PIECES];
    unsigned piece_count;
    struct world_page *page;
    unsigned page_count, page_capacity;
    struct state_writer state; // the CPU's section; empty: a CPU after reset
    bool a20_off;
    uint64_t device;            // what the device begins with
    uint32_t device_interrupts; // a write to it in so many raises the pin, at once; 0: none does
    /// Not 0: instructions are not counted. The run comes to an end behind so many time stamps and device accesses.
    uint32_t uncounted;
    uint64_t first;                                         // instructions that have retired at the start
    uint64_t instructions;                                  // how many to run
    unsigned block_length;                                  // blocks hold at most so many instructions; 0: as ever
    struct world_interrupt interrupt[WORLD_MAX_INTERRUPTS]; // by rising count
    unsigned interrupt_count;
};

void world_description_free(struct world_description *d);
/// Takes state, model and memory map from a CPU between instructions, which is brought to its normal form
/// (cpu_normalize). No pages yet. False: `error`.
bool world_describe(struct world_description *d, struct cpu *cpu, struct error *error);
/// Adds a page (or replaces it) of the memory file.
bool world_add_page(struct world_description *d, uint64_t number, const void *bytes, struct error *error);
/// Adds every page of `memory` that is not zero.
bool world_add_memory(struct world_description *d, const struct memory *memory, struct error *error);
/// Replaces the pages by those that a run of the description with `engine` touches, taken from the same pages of
/// `memory`, a memory file's bytes.
bool world_reduce(struct world_description *d, const struct engine *engine, const uint8_t *memory, struct error *error);

struct world {
    struct memory memory;
    struct address_space space, ports;
    struct cpu_model model;
    struct block_cache *blocks;
    struct cpu *cpu;
    const struct engine *engine;
    void *state; // the engine's
    bool has_memory, has_spaces;
    // The device: a hash of all accesses, order and sizes included, from which it makes up its answers.
    uint64_t device;
    uint32_t device_interrupts;
    uint32_t uncounted, events;
    uint8_t vector; // of the interrupt that waits
    atomic_bool abandoned;
    struct world_interrupt interrupt[WORLD_MAX_INTERRUPTS];
    unsigned interrupt_count, next_interrupt;
    struct log quiet;
};

/// A world with the description's memory map, in its first state. `log` NULL: quiet. False: nothing stays behind.
bool world_create(struct world *world, const struct world_description *d, const struct engine *engine,
                  const struct log *log, struct error *error);
/// Back to a first state: that of `d`, whose memory map and model are those that the world was created with.
bool world_load(struct world *world, const struct world_description *d, struct error *error);
void world_destroy(struct world *world);
/// Runs until `count` instructions have retired in all. False: it came to an end before: a halt that nothing ends, a
/// shutdown, or world_abandon. Where instructions are not counted (which cpu->counting says) it always does.
bool world_run_to(struct world *world, uint64_t count);
/// Ends a run that takes too long: a string instruction with billions of elements is one instruction. From another
/// thread or a signal handler. Lasts until world_load.
void world_abandon(struct world *world);

#endif
