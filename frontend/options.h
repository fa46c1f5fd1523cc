// The command line. Names and meaning are QEMU's where QEMU has the option; what is not supported is an error.
#ifndef DOPPEL_FRONTEND_OPTIONS_H
#define DOPPEL_FRONTEND_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/log.h"
#include "cpu/model.h"
#include "devices/debug_exit.h"

#define OPTIONS_SERIAL_PORTS 4
#define OPTIONS_DEFAULT_RAM (UINT64_C(512) << 20)

enum character_kind {
    CHARACTER_UNSET,
    CHARACTER_NONE,  // no device at all
    CHARACTER_NULL,  // a device whose bytes vanish
    CHARACTER_STDIO, // the terminal; `multiplexed`: Ctrl-A escapes, shared with the monitor
    CHARACTER_FILE,
};

struct character_option {
    enum character_kind kind;
    bool multiplexed;
    char path[4096];
};

/// -accel.
struct accelerator {
    char name[16]; // of an engine that exists
    bool paranoid;
    bool perf_map;
    bool single_mapping;
    uint32_t code_mib;     // 0: the default
    uint32_t threshold;    // UINT32_MAX: the default
    char host_features[8]; // generation of the host's that may be used; empty: all
};

struct options {
    // What to do instead of running a machine; text has been printed already when help_printed.
    bool help_printed;

    bool default_guest;
    char name[128];
    uint64_t ram_size;
    struct cpu_model model;
    struct accelerator accelerator;
    char machine_type[64];
    bool direct;     // -kernel without the firmware
    bool has_direct; // -machine says so

    char kernel[4096], initrd[4096], append[4096], bios[4096], firmware_path[4096];
    bool has_append;

    struct character_option serial[OPTIONS_SERIAL_PORTS];
    unsigned serial_count;
    struct character_option monitor, debug_console;
    bool nographic, display_none, no_defaults;

    bool has_debug_exit;
    struct debug_exit debug_exit; // only its properties are used

    bool no_reboot, no_shutdown, start_stopped;
    bool counting;
    unsigned count_shift;
    bool has_rtc_base;
    int64_t rtc_base;

    struct log log;
    char log_path[4096];

    char load_path[4096];
    uint64_t limit, hash_every, save_at;
    char save_path[4096];
};

/// Parses argv. Help asked for goes to `out`. False: `error` is one line.
bool options_parse(struct options *options, int argc, char **argv, FILE *out, struct error *error);
void options_help(FILE *to);
/// The argument of -accel: ENGINE[,property=value...].
bool options_parse_accelerator(const char *text, struct accelerator *accelerator, struct error *error);

#endif
