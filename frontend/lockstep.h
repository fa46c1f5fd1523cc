// `doppel lockstep`: two engines run the same guest, each in a machine of its own, and are compared as they go. Where
// they part is narrowed down to an instruction, shown, and written to a file that repeats it.
#ifndef DOPPEL_FRONTEND_LOCKSTEP_H
#define DOPPEL_FRONTEND_LOCKSTEP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "frontend/setup.h"
#include "translate/lockstep.h"
#include "translate/translate.h"

#define EXIT_DIVERGED 3 // the engines differ; beside the program's other codes

struct lockstep_command {
    struct options options;       // of the guest; options.accelerator is the first engine's
    struct accelerator against;   // the second's
    uint64_t step;                // instructions between comparisons of the CPUs; 0: block by block
    uint64_t every;               // ... of everything
    char replay[4096];            // run this reproducer; empty: machines
    char reproducer[4096];        // where one is written
    struct translate_hooks hooks; // for tests: of the second engine's translator, in the machine and in small worlds
};

/// Parses argv (argv[0] is the subcommand's name). Help asked for goes to `out`.
bool lockstep_parse(struct lockstep_command *command, int argc, char **argv, FILE *out, struct error *error);
/// Does what the command says, and prints findings to `out`. Returns the exit code: 0 no difference, EXIT_DIVERGED, or
/// 1 with `error`.
int lockstep_execute(struct lockstep_command *command, FILE *out, struct error *error);
/// The program's subcommand.
int lockstep_main(int argc, char **argv);

/// lockstep_report.c: shows how two engines differ that run `d`, smallest already; `d` says nothing of devices.
bool lockstep_report(const struct lockstep_command *command, const struct world_description *d, FILE *out,
                     struct error *error);
/// Runs both engines over a description; for lockstep_report and --replay.
struct lockstep_engine lockstep_engine_of(const struct lockstep_command *command, bool second);

#endif
