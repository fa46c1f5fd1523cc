// Lockstep: two vCPUs with different engines run the same guest and are compared at equal instruction counts. Each has
// a world of its own (memory, devices), made alike by the caller; the guest must repeat exactly (counting mode).
#ifndef DOPPEL_TRANSLATE_LOCKSTEP_H
#define DOPPEL_TRANSLATE_LOCKSTEP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "cpu/engine.h"

/// One of the two.
struct lockstep_side {
    const char *name; // for the report
    struct cpu *cpu;
    /// Runs until cpu->instructions is `instructions` exactly; true. False: the guest came to an end before (that is
    /// compared as well). NULL: the engine below does it.
    bool (*run_to)(void *opaque, uint64_t instructions);
    /// Back to the first state, for finding the first divergence; may be NULL.
    bool (*restart)(void *opaque, struct error *error);
    void *opaque;
    const struct engine *engine; // when there is no run_to
    void *state;
};

struct lockstep_result {
    bool diverged;
    bool ended;            // the guest stopped by itself, on both sides alike
    uint64_t instructions; // compared equal up to here
    uint64_t different_at; // diverged: the first count known to differ; with restart it is equal + 1
    uint64_t rip;          // ... and where the last equal state was about to go on
    char text[1024];       // ... what differs: "rax 1 / 2  rflags 246 / 202"
};

/// Compares registers, flags, RIP, segments, control registers, vectors and, where both sides have RAM of one size, all
/// of it (`memory` true: costly), every `step` instructions up to `until`. Engines end their last block before a
/// comparison with single instructions, so a small step tests little of a translator; 1000 and more is good. When
/// both sides can restart, a divergence is narrowed to one instruction by running again. False: `error`, a side
/// could not run.
bool lockstep_run(struct lockstep_side *a, struct lockstep_side *b, uint64_t step, uint64_t until, bool memory,
                  struct lockstep_result *result, struct error *error);

/// The comparison alone, between instructions. Appends differences to `text` and says whether there were none.
bool lockstep_compare(const struct cpu *a, const struct cpu *b, bool memory, char *text, size_t size);

#endif
