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
#define FLAGS_ALL 0x0100u   // with UOP_SETS_FLAGS: all six, whatever they were
#define FLAGS_SOME 0x0200u  // ... some, or only sometimes: the old ones are needed too
#define FLAGS_READ 0x0400u  // reads flags
#define FLAGS_SET 0x0800u   // changes flags even without UOP_SETS_FLAGS
#define MAY_LEAVE 0x1000u   // can leave the block: flags and registers must be exact
#define BY_OPERANDS 0x2000u // depends on more than operation and b

extern const uint16_t uop_effects_by_op[UOP_OPS];

/// ... for one with BY_OPERANDS.
unsigned uop_effects_by_operands(const struct uop *u, unsigned effects);

/// The bits above for one uop.
static inline unsigned uop_effects(const struct uop *u)
{
    unsigned e = uop_effects_by_op[u->op];
    if (u->b == VAR_IMM)
        e &= ~USE_B;
    return e & BY_OPERANDS ? uop_effects_by_operands(u, e) : e;
}

/// Accesses off the same base share a check if they lie within so many bytes. More would straddle pages too often.
#define PASS_GROUP_BYTES 192

/// Uops that host code does.
struct pass_support {
    uint64_t asked[2]; // bit per operation: it depends on the operands
    bool (*answer)(const struct uop *u);
};

static inline bool pass_supports(const struct pass_support *support, const struct uop *u)
{
    return !(support->asked[u->op / 64] >> u->op % 64 & 1) || support->answer(u);
}
_Static_assert(UOP_OPS <= 128, "a bit for each");

/// What the passes find out about one uop.
struct pass_facts {
    bool flags_live;      // somebody may read the flags that it makes
    bool flags_after;     // ... the flags as they are behind it
    bool refused;         // the interpreter does it
    bool early_write;     // of an XLAT that only reads but checks for writing, because a write follows
    int32_t displacement; // of a load or store from its handle
    // Groups of accesses with one check (reuse.c): of an XLAT, the bytes around its address that it checks; 0: its own.
    int16_t group_low;
    uint16_t group_bytes;
    uint8_t tlb_base; // of an XLAT: a guest register that is little below its address; VAR_NONE: none
    uint8_t leader;   // with debug checks, of an XLAT: the handle to compare its own with; VAR_ZERO: none
    // Loops: of an XLAT, the name of its address's base, whether the address is cut to 32 bits, and whether its handle
    // can be an anchor; uops that later turns do not repeat, because the check of the first one holds for them, and of
    // those the XLATs whose address advances.
    uint16_t base;
    bool cut, can_be_anchor, held, advances;
};

/// ... about a variable. Of a temporary that the block does not define it is not set.
struct pass_variable {
    uint16_t last_use; // index of the last uop that reads it
    uint16_t defined;  // ... that makes it
    uint8_t uses;      // how many read it, up to 255
    uint8_t writes;    // how many write it, likewise; not of temporaries
};

/// A block's uops while they are translated.
struct pass_block {
    const struct block *block;
    const struct uop *original; // the block's uops
    /// Set before passes_run; may be NULL. Whether a ROW or CALL becomes host code that never leaves the block.
    bool (*stays)(const struct pass_block *pass, unsigned index);
    const void *translation;              // for it
    const struct pass_support *supported; // as passes_run was told
    unsigned count;
    unsigned followers;   // accesses without a check
    uint32_t guest_used;  // bit per guest register that the block reads or writes
    int32_t return_bytes; // that a RET has added to RSP where it ends
    bool checks_late;   // the exit, of a RET or a jump, has to look whether its target is canonical: no uop before does
    bool no_guard;      // set before passes_run: a jump's exit does so
    bool flags_before;  // somebody may read the flags as they are before the first uop
    bool only_integers; // no vectors, no x87, no CALL
    bool calls;         // there are CALLs
    struct pass_variable variables[VAR_COUNT];
    struct pass_facts facts[LIFT_MAX_UOPS];
    struct uop uops[LIFT_MAX_UOPS]; // rewritten copy, same indices
};

// What is known of addresses, from block to block of a superblock: reuse.c.
#define PASS_GROUPS 8 // of accesses, that may still grow
#define PASS_SUMS 24  // of two variables
#define PASS_ANCHORS (VAR_COUNT - VAR_ANCHOR)

/// A variable's value: base + constant, cut to 32 bits if `cut`.
struct pass_value {
    uint16_t base;
    bool cut;
    uint8_t bits; // of the 64 those above are zero; not of addresses
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
    uint8_t aux, mode; // as the leader's
    int32_t low, high; // bytes around the leader's address
};

/// Accesses of a loop whose address advances by `step` each turn. Handle, low and bytes are those of the first one.
struct pass_stream {
    uint8_t handle; // an anchor
    int16_t step, low;
    uint16_t bytes;
};

struct pass_numbering {
    const struct block *head;
    uint16_t fresh; // the next name
    uint8_t sum_count, group_count, anchor_count;
    uint8_t stream_count;
    uint8_t room; // an anchor, of the streams: how far they may advance until one reaches the end of its page
    struct pass_stream stream[PASS_ANCHORS];
    struct pass_value value[VAR_COUNT];
    struct pass_sum sum[PASS_SUMS];
    struct pass_group group[PASS_GROUPS];
};

void passes_start(struct pass_numbering *n);
/// Copies the block's uops and runs all passes. Uops that are not `supported` leave the block. Blocks that run one
/// after the other share `n`; then accesses of one may have their check in one before, whose `pass` changes.
void passes_run(struct pass_block *pass, const struct block *block, const struct uop *uops,
                const struct pass_support *supported, struct pass_numbering *n);
/// Whether the uops, which are a block's first ones, make all flags anew before somebody can look at the old ones.
bool pass_kills_flags(const struct uop *uops, unsigned count, const struct pass_support *supported);
/// The pass's block ends with a jump to code that runs next for certain, and makes all flags before somebody can look
/// at the old ones.
void pass_flags_die_behind(struct pass_block *pass);
/// Whether the interpreter may take over at the uop, so that everything before it must be as it knows it.
bool pass_may_leave_at(const struct pass_block *pass, unsigned index);
/// One of them: finds accesses that need no check.
void pass_reuse(struct pass_block *pass, struct pass_numbering *n);
/// The blocks, all that `n` numbered, are a loop that runs from the first one's start to the last one's end. Finds
/// checks that hold for every turn, or for all up to the end of a page, whose handles become anchors; returns how many.
unsigned pass_hold(struct pass_block *passes, unsigned count, struct pass_numbering *n);

#endif
