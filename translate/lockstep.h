// Lockstep: two vCPUs with different engines run the same guest and are compared at equal instruction counts. Each has
// a world of its own (memory, devices), made alike by the caller; the guest must repeat exactly (counting mode). Where
// they part can be narrowed down, and shrunk to a few instructions that two small worlds (world.h) can repeat.
#ifndef DOPPEL_TRANSLATE_LOCKSTEP_H
#define DOPPEL_TRANSLATE_LOCKSTEP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "cpu/engine.h"
#include "translate/world.h"

/// States that a side can be brought back to.
enum lockstep_slot { LOCKSTEP_START, LOCKSTEP_RECENT, LOCKSTEP_SLOTS };

/// One of the two.
struct lockstep_side {
    const char *name; // for the report
    struct cpu *cpu;
    /// Runs until cpu->instructions is `instructions` exactly; true. False: the guest came to an end before (that is
    /// compared as well). NULL: the engine below does it.
    bool (*run_to)(void *opaque, uint64_t instructions);
    /// Keeps the present state in a slot, where both sides are equal; may be NULL, then LOCKSTEP_START is all.
    bool (*save)(void *opaque, enum lockstep_slot slot, struct error *error);
    /// Back to a slot's state; may be NULL, then nothing can be narrowed down.
    bool (*restore)(void *opaque, enum lockstep_slot slot, struct error *error);
    void *opaque;
    const struct engine *engine; // when there is no run_to
    void *state;
};

struct lockstep_options {
    uint64_t step;       // instructions from one comparison of the CPUs to the next; 0: after every block of side a
    uint64_t until;      // the count at which it ends
    uint64_t every;      // instructions from one comparison of everything to the next; 0: only the CPUs
    uint64_t save_every; // instructions from one LOCKSTEP_RECENT to the next; 0: none
    /// Compares what is beyond the CPUs, and describes a difference; NULL: the two memory files.
    bool (*same)(void *opaque, char *text, size_t size);
    /// Told after each comparison of everything; may be NULL.
    void (*progress)(void *opaque, uint64_t instructions);
    void *opaque;
};

struct lockstep_result {
    bool diverged;
    bool narrowed;           // it happened again, and instructions + 1 is different_at
    bool ended;              // the guest stopped by itself, on both sides alike
    enum lockstep_slot slot; // narrowed: from where it happens again
    uint64_t instructions;   // compared equal up to here
    uint64_t different_at;   // diverged: the first count known to differ
    uint64_t rip;            // ... and where the last equal state was about to go on
    uint64_t comparisons;
    char text[2048]; // ... what differs: "rax 1 / 2  rflags 246 / 202"
};

/// Runs both and compares all of the CPU's state at every step. Engines end their last block before a comparison with
/// single instructions, so a small step tests little of a translator; 1000 and more is good, and so are whole blocks.
/// False: `error`, a side could not be run.
bool lockstep_run(struct lockstep_side *a, struct lockstep_side *b, const struct lockstep_options *options,
                  struct lockstep_result *result, struct error *error);

/// The comparison of two CPUs between instructions: every field of the state table, RFLAGS by value. Appends the
/// differences to `text` and says whether there were none.
bool lockstep_compare(const struct cpu *a, const struct cpu *b, char *text, size_t size);
/// The comparison of two memory files, likewise; only what was ever touched is looked at.
bool lockstep_compare_memory(const struct memory *a, const struct memory *b, char *text, size_t size);

// ---- in small worlds ----------------------------------------------------------------------------------------------
struct lockstep_engine {
    const struct engine *engine;
    /// Called with the engine's state when it was made; may be NULL.
    void (*configure)(void *opaque, void *state);
    void *opaque;
};

/// Two worlds from one description.
struct lockstep_pair {
    struct world a, b;
};
bool lockstep_pair_create(struct lockstep_pair *pair, const struct world_description *d,
                          const struct lockstep_engine *a, const struct lockstep_engine *b, const struct log *log_b,
                          struct error *error);
void lockstep_pair_destroy(struct lockstep_pair *pair);
/// Loads the description into both, runs both to its end, compares everything. False: they differ, or one came to an
/// end that the other did not; `text` says in what.
bool lockstep_pair_run(struct lockstep_pair *pair, const struct world_description *d, char *text, size_t size);

/// Makes a description in which the engines differ as small as it stays different: fewest instructions, latest start,
/// shortest blocks, only the pages that are touched; the last instruction that is run is the one whose result differs.
/// *differs false: they do not differ in the first place, d is unchanged.
bool lockstep_shrink(struct world_description *d, const struct lockstep_engine *a, const struct lockstep_engine *b,
                     bool *differs, struct error *error);

#endif
