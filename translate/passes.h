// What uops read and write, and the passes over a block's uops before host code is made. Knows no host.
#ifndef DOPPEL_TRANSLATE_PASSES_H
#define DOPPEL_TRANSLATE_PASSES_H

#include "cpu/block.h"

// Operands that are variables.
#define USE_A 0x01u
#define USE_B 0x02u
#define USE_C 0x04u
#define USE_SUB 0x08u
#define DEFINE_DST 0x10u
#define DEFINE_C 0x20u
// Flags.
#define FLAGS_ALL 0x0100u  // with UOP_SETS_FLAGS: all six, whatever they were
#define FLAGS_SOME 0x0200u // ... some, or only sometimes: the old ones are needed too
#define FLAGS_READ 0x0400u // reads flags
#define FLAGS_SET 0x0800u  // changes flags even without UOP_SETS_FLAGS
#define MAY_LEAVE 0x1000u  // can leave the block: flags and registers must be exact

extern const uint16_t uop_effects_by_op[UOP_OPS];

/// The bits above for one uop.
static inline unsigned uop_effects(const struct uop *u)
{
    unsigned e = uop_effects_by_op[u->op];
    if (u->b == VAR_IMM)
        e &= ~USE_B;
    if (u->c == VAR_IMM)
        e &= ~USE_C;
    // A shift by a constant makes all flags, or none.
    if ((u->op == UOP_SHL || u->op == UOP_SHR || u->op == UOP_SAR) && u->b == VAR_IMM) {
        e &= ~FLAGS_SOME;
        if (u->imm & (u->width == WIDTH_64 ? 63 : 31))
            e |= FLAGS_ALL;
    }
    if (u->op == UOP_SET_FLAGS && u->imm == (int64_t)FLAGS_ARITHMETIC)
        e &= ~FLAGS_READ;
    return e;
}

/// Accesses off the same base share a check if they lie within so many bytes. More would straddle pages too often.
#define PASS_GROUP_BYTES 192

/// A block's uops while they are translated.
struct pass_block {
    const struct block *block;
    /// Set before passes_run; may be NULL. Whether a ROW or CALL becomes host code that never leaves the block.
    bool (*stays)(const struct pass_block *pass, unsigned index);
    const void *translation;                // for it
    bool (*supported)(const struct uop *u); // as passes_run was told
    struct uop uops[LIFT_MAX_UOPS];         // rewritten copy, same indices
    bool flags_live[LIFT_MAX_UOPS];         // somebody may read the flags that this uop makes
    bool flags_after[LIFT_MAX_UOPS];        // ... the flags as they are behind this uop
    bool flags_before;                      // ... as they are before the first
    bool refused[LIFT_MAX_UOPS];            // the interpreter does this uop
    bool only_integers;                     // no vectors, no x87, no CALL
    uint16_t last_use[VAR_COUNT];           // index of the last uop that reads a temporary
    uint8_t uses[VAR_COUNT];                // how many read it, up to 255
    uint16_t defined[VAR_COUNT];            // index of the uop that makes a temporary
    // Groups of accesses with one check (reuse.c): of an XLAT, the bytes around its address that it checks; 0: its own.
    int16_t group_low[LIFT_MAX_UOPS];
    uint16_t group_bytes[LIFT_MAX_UOPS];
    int32_t displacement[LIFT_MAX_UOPS]; // of a load or store from its handle
    uint8_t tlb_base[LIFT_MAX_UOPS]; // of an XLAT: a guest register that is little below its address; VAR_NONE: none
    bool early_write[LIFT_MAX_UOPS]; // of an XLAT that only reads but checks for writing, because a write follows
    uint8_t leader[LIFT_MAX_UOPS]; // with debug checks, of an XLAT: the handle to compare its own with; VAR_ZERO: none
    unsigned followers;            // accesses without a check
    uint8_t writes[VAR_R15 + 1];   // how often guest registers are written, up to 255
    uint32_t guest_used;           // bit per guest register that the block reads or writes
    unsigned count;
};

// What is known of addresses, from block to block of a superblock: reuse.c.
#define PASS_GROUPS 8 // of accesses, that may still grow
#define PASS_SUMS 24  // of two variables
#define PASS_ANCHORS (VAR_COUNT - VAR_ANCHOR)

/// A variable's value: base + constant, cut to 32 bits if `cut`.
struct pass_value {
    uint16_t base;
    bool cut;
    uint64_t constant;
};

struct pass_sum {
    uint16_t base[2], name;
    uint8_t scale;
};

struct pass_group {
    struct pass_value at;    // of the leader's address
    struct pass_block *pass; // where the leader is
    uint16_t leader;
    uint8_t aux, mode;  // as the leader's
    bool can_be_anchor; // others than its block may use the leader's handle
    int32_t low, high;  // bytes around the leader's address
};

struct pass_numbering {
    const struct block *head;
    uint16_t fresh; // the next name
    uint8_t sum_count, group_count, anchor_count;
    struct pass_value value[VAR_COUNT];
    uint8_t bits[VAR_COUNT]; // of a variable's 64 those above are zero
    struct pass_sum sum[PASS_SUMS];
    struct pass_group group[PASS_GROUPS];
};

void passes_start(struct pass_numbering *n);
/// Copies the block and runs all passes. `supported`: uops for which it says false leave the block. Blocks that run one
/// after the other share `n`; then accesses of one may have their check in one before, whose `pass` changes.
void passes_run(struct pass_block *pass, const struct block *block, bool (*supported)(const struct uop *u),
                struct pass_numbering *n);
/// Whether the uops, which are a block's first ones, make all flags anew before somebody can look at the old ones.
bool pass_kills_flags(const struct uop *uops, unsigned count, bool (*supported)(const struct uop *u));
/// The pass's block ends with a jump to code that runs next for certain, and makes all flags before somebody can look
/// at the old ones.
void pass_flags_die_behind(struct pass_block *pass);
/// Whether the interpreter may take over at the uop, so that everything before it must be as it knows it.
bool pass_may_leave_at(const struct pass_block *pass, unsigned index);
/// One of them: finds accesses that need no check.
void pass_reuse(struct pass_block *pass, struct pass_numbering *n);

#endif
