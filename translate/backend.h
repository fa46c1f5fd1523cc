// What the block-level driver (translate.c) and a backend agree on. A backend is a table of emitters by uop, each with
// constraints on its operands, plus the few sequences around blocks.
#ifndef DOPPEL_TRANSLATE_BACKEND_H
#define DOPPEL_TRANSLATE_BACKEND_H

#include "base/host.h"
#include "cpu/block_store.h"
#include "translate/emit.h"
#include "translate/passes.h"
#include "translate/registers.h"

#define TRANSLATION_MAX_EXITS 2048 // more than any superblock has; else it stays with the interpreter
#define TRANSLATION_MAX_EDGES 16
#define NO_EDGE 0xffu

/// Why host code came back to C; in the low bits of host_result.value, a number above it.
#define HOST_DONE 0u
#define HOST_RESUME 1u // the interpreter goes on at uop number; VAR_RIP is not set, nor for the next three
#define HOST_FAULT 2u  // cpu->fault is pending in instruction number
#define HOST_LINK 3u   // through jump number (of block->edge), not patched yet; with a guard, VAR_RIP is set
#define HOST_START 5u  // nothing of the block was done
#define HOST_LOOKUP 4u // the jump cache had no host code for RIP; no block is told
#define HOST_KIND 7u
#define HOST_NUMBER_SHIFT 3

struct host_result {
    uint64_t value;
    struct block *block; // that left
};

/// Routines that the backend writes once into a code memory, beside the ways in and out.
struct fpu_routines {
    const uint8_t *spill, *keep, *ensure_sse, *ensure_avx, *ensure_x87, *poison;
};

/// The x87 instruction that was translated last, when its FIP, FCS and FOP are not in struct cpu yet.
struct x87_pointers {
    bool pending;
    uint16_t offset, opcode;
};

/// Words of the flags' recipe that struct cpu does not hold yet: they can be made from guest registers, which are as
/// they were then. Ways out of line write them; in line it is done before they cannot be made any more or somebody
/// looks.
struct pending_flags {
    uint8_t words; // PENDING_*
    uint8_t host;  // a host register
    uint8_t a;     // the result: a guest register
    uint8_t b;     // the source: a guest register, or VAR_IMM
    int32_t imm;
    int32_t op; // for VAR_CC_OP
};
#define PENDING_OP 1u
#define PENDING_RESULT 2u
#define PENDING_SOURCE 4u
#define PENDING_SHIFT 8u   // the source in memory is to be shifted by imm
#define PENDING_ROTATE 16u // alone: carry and overflow of a rotate with result a, width op, imm 1: to the left
#define PENDING_CARRY 128u // INC, DEC: the extra part is the carry of the recipe that is in memory yet
// Only up to the exit that comes next:
#define PENDING_HOST_RESULT 32u // the result is in `host`
#define PENDING_HOST_SOURCE 64u // the source is

static inline bool pending_flags_equal(const struct pending_flags *a, const struct pending_flags *b)
{
    return a->words == b->words &&
           (!a->words || (a->host == b->host && a->a == b->a && a->b == b->b && a->imm == b->imm && a->op == b->op));
}

/// Code out of line: a TLB miss, a fault, a way out. The registers are as they were at the branch.
struct side_exit {
    enum {
        SIDE_MISS,
        SIDE_RESUME,
        SIDE_FAULT,
        SIDE_LEAVE,  // cpu->leave is set after instruction `uop`
        SIDE_START,  // before the block's first instruction
        SIDE_RETURN, // the jump cache does not know where a RET leads, of which nobody knows that it is canonical
        SIDE_DIRECT  // a direct exit while its jump is not patched, or for good
    } kind : 8;
    uint8_t linear;  // SIDE_MISS: variable with the address, less `distance`
    uint8_t result;  // ... host register for the handle
    bool addend;     // ... less the address
    bool aligned;    // ... and must be aligned to the access's size, which was not looked at
    bool by_base;    // ... the TLB was asked with the base's page
    bool of_loop;    // SIDE_START: of the way back to the start
    uint8_t edge;    // SIDE_DIRECT: number of the jump, or NO_EDGE
    bool uncounted;  // ... the part's instructions are not counted yet
    uint8_t width;   // ... that the target is cut to
    uint16_t uop;    // number of the uop
    uint32_t access; // SIDE_MISS: as the backend tells its walk
    int32_t distance;
    emit_place from; // the branch to patch
    union {
        const uint8_t *back;  // SIDE_MISS: where to go on
        int64_t displacement; // SIDE_DIRECT: of the target from the block's start
    };
    struct block *block; // the part
    struct pass_block *pass;
    struct x87_pointers pointers;
    struct pending_flags pending;
    struct registers_kept registers;
};
_Static_assert(sizeof(struct side_exit) <= 128, "two lines of the host's cache: there are many");

#define MISS_SIZES 6                                              // of 1 to 32 bytes, powers of 2
enum miss_kind { MISS_READ, MISS_WRITE, MISS_STORE, MISS_KINDS }; // STORE: what is written is in cpu->bounce

/// Parts of the code memory that all blocks use; as written, not as run.
struct backend_entries {
    const uint8_t *leave;              // to C
    const uint8_t *leave_number;       // ... with the result pushed, for what leaves seldom
    const uint8_t *store;              // subroutine: guest registers to memory
    const uint8_t *load;               // ... and back
    const uint8_t *miss, *miss_addend; // ... the walk after a TLB miss
    const uint8_t *miss_group;         // ... of accesses that may lie on two pages
    const uint8_t *plain_miss[MMU_MODES][MISS_KINDS][2][MISS_SIZES]; // ... by whether less the address, and size
    const uint8_t *string;                                           // ... a string instruction
    const uint8_t *flags, *flags_value; // ... the recipe's flags, see backend_x86_64_flags.c
    const uint8_t *guard_failed[2];     // where the jump cache is asked after a guard
    const uint8_t *find;                // where it leads, in flat code, for places that it does not know
    const uint8_t *no_chain;            // where the jump cache leads for blocks without host code
};

/// What becomes a struct host_edge, which see.
struct host_jump {
    uint8_t *place; // NULL: it is not used
    int32_t back;
    uint16_t offset;
    enum edge_kind kind : 8;
    uint8_t changes;
};

#define SUPERBLOCK_PARTS 4
#define SHARED_LEAVES 4 // that are remembered

/// Where all flags are new for the first time in a superblock, and what held there. Its own way back to its start, on
/// which other flags are pending than when it was entered, repeats the uops up to there and joins.
struct loop_join {
    const uint8_t *at; // NULL: none
    unsigned index;    // of the last uop before it
    struct registers_kept registers;
    struct pending_flags pending;
    uint32_t host_flags;
    uint16_t segments_checked;
    uint8_t resident;
};

/// Ways to C of a piece of host code that others can go on with. They find what is their own on the stack.
struct leaves {
    struct {
        const struct block *block;
        const uint8_t *at;
    } block[SUPERBLOCK_PARTS]; // from a part, with nothing left to do
    struct shared_leave {
        const uint8_t *at;
        const struct block *block;
        struct pending_flags pending;
        struct x87_pointers pointers;
        struct registers_kept registers; // without temporaries
    } shared[SHARED_LEAVES];             // with this to be written first
    unsigned block_count, shared_count;
};

#define STEP_KEPT 0u  // VAR_CC_EXTRA
#define STEP_CLEAR 1u // it is 0
#define STEP_LATER 2u // the recipe in memory: nobody asks, likely

struct translation {
    const struct backend *backend;
    const struct cpu *cpu;
    struct block *block; // the part at work
    struct block *head;  // what the host code belongs to: the first part
    struct block *next;  // the part that follows behind exit `next_exit` of this one; NULL: the last part
    unsigned next_exit;
    unsigned killers; // of the last part's direct exits: how many lead where flags are killed; 2: all
    const struct backend_entries *entries;
    const uint8_t *chain; // the block's entry for other host code
    const uint8_t *body;  // ... from C
    const uint8_t *start_stub;
    struct loop_join join;
    const uint8_t *loop, *loop_stub; // the way back to the start
    struct uop loop_exit;            // where that begins: an exit whose other ways are written
    unsigned loop_which;             // ... 0 or 1, its way
    bool loops;
    unsigned holds; // checks that hold for all turns of the loop that the superblock is; 0: none, or it is no loop
    bool turns;     // at work: later turns of such a loop
    bool counting;  // instructions are counted exactly
    bool chained;   // may go on with other blocks without C
    struct emit emit;
    struct registers registers;
    struct pass_block *pass; // the part's
    unsigned index;          // of the uop at work
    // Operands of the uop at work, as its constraints ask.
    uint8_t a, b;                  // host registers; b NO_REGISTER: the immediate
    uint16_t carried_to;           // the uop whose operand `carried` is in the first scratch register
    uint8_t carried, carried_base; // ... less the second, a host register, and
    int32_t carried_distance;
    // The uop whose operand a, `folded`, is a variable (in a register) plus a constant that were not added.
    uint16_t folded_to;
    uint8_t folded, folded_base;
    int32_t folded_distance;
    int32_t imm;
    bool a_memory;     // a, of which dst is the same or none, is in memory, as NO_REGISTER says
    bool b_memory;     // b is in memory, as NO_REGISTER says
    uint8_t condition; // host condition
    bool flags;        // the uop's flags are wanted
    uint8_t step;      // where INC and DEC have the carry from: STEP_*
    // What the host's flags register holds: a mask of guest flags that are right in it.
    uint32_t host_flags, made_flags;
    uint16_t segments_checked; // bit 2 * segment, + 1 for writing: its rights allow that, as far as the block is done
    int32_t recipe;            // what VAR_CC_OP in memory is known to hold; -1: not known
    struct pending_flags pending;
    // What the emitter at work tells: uops behind its own that it did as well, and that a CALL called nothing.
    unsigned fused;
    bool stayed;
    bool called; // some CALL so far went to C, which may have changed the mode or asked to leave
    // Floating point and vectors.
    const struct fpu_routines *fpu;
    uint64_t host_features[2]; // bit per enum cpu_feature: instructions that may be used
    uint8_t resident;          // RESIDENT_*: certainly in the host's registers here
    struct x87_pointers pointers;
    unsigned edge_count, exit_count;
    // What is large.
    struct leaves leaves;
    struct host_jump edges[TRANSLATION_MAX_EDGES];
    struct side_exit exits[TRANSLATION_MAX_EXITS];
    struct pass_numbering numbering;
    struct pass_block passes[SUPERBLOCK_PARTS];
};

// Constraints.
#define IN_A 0x01u          // a in a host register
#define IN_B 0x02u          // b in a host register, or an immediate of 32 bits
#define NEED_CARRY 0x04u    // the carry flag saved where the emitter expects it
#define NEED_FLAGS 0x08u    // the condition `sub` in the host's flags; implies KEEP_FLAGS until the emitter runs
#define KEEP_FLAGS 0x10u    // does not change the host's flags
#define CARRY_IF_LIVE 0x20u // NEED_CARRY when the flags are wanted
#define A_MEMORY 0x80u      // with IN_A: a guest register may stay where it is when dst is the same or none, a_memory
#define B_MEMORY 0x40u      // with IN_B: a guest register other than dst may stay where it is, b_memory

/// Whether the next block may follow at once, as it does where host code jumps: nobody steps, traces or waits.
static inline bool goes_straight_on(const struct cpu *cpu)
{
    return !(cpu->mode & MODE_TF) && !cpu->code_breakpoints && !log_on(cpu->log, LOG_EXEC) &&
           !atomic_load_explicit(&cpu->exit_request, memory_order_relaxed);
}

struct backend_rule {
    void (*emit)(struct translation *t, const struct uop *u);
    unsigned constraints;
};

struct backend {
    const char *name;
    const struct register_file *file;
    const struct backend_rule *rules;     // by uop
    const struct pass_support *supported; // others are done by the interpreter
    /// Writes the way in (at the start) and what blocks share. Runs once for a code memory.
    void (*enter)(struct emit *e, struct backend_entries *entries, struct fpu_routines *fpu);
    /// A block's entry: polls, counts.
    void (*block_start)(struct translation *t);
    /// The way from the last exit back to the start, with the flags pending: polls.
    void (*loop_start)(struct translation *t);
    /// ... joins, or (NULL) is an exit like others.
    void (*loop_end)(struct translation *t, const uint8_t *join);
    /// The beginning of a further part of a superblock.
    void (*part_start)(struct translation *t);
    /// Before the operands of the uop at work are fetched: state that it wants in the host's registers.
    /// Not asked where the part is only_integers and no x87 pointers are pending.
    void (*prepare)(struct translation *t, const struct uop *u);
    /// pass_block.stays, of a translation's pass.
    bool (*stays)(const struct pass_block *pass, unsigned index);
    /// Instructions of the host's, as bits of enum cpu_feature.
    void (*features)(uint64_t features[2]);
    void (*load_imm)(struct emit *e, uint8_t to, uint64_t value);
    /// A variable that is in memory; VAR_RIP is where the block starts.
    void (*load_var)(struct translation *t, uint8_t to, unsigned var);
    /// Before the operands of the uop at work are fetched, behind the two below: what it must not find pending.
    void (*settle_flags)(struct translation *t, const struct uop *u);
    void (*save_carry)(struct translation *t);
    void (*condition)(struct translation *t, unsigned condition);
    /// Leaves for the interpreter at the uop at work.
    void (*resume)(struct translation *t);
    /// Between two instructions, after one with a CALL: leaves when cpu->leave is set.
    void (*check_leave)(struct translation *t, unsigned insn);
    void (*side_exit)(struct translation *t, const struct side_exit *exit);
    /// The block is dead: its chain entry leads to C from now on.
    void (*kill)(uint8_t *chain, const uint8_t *stub);
    /// A direct exit leads to `target` from now on; changes the 4 bytes at `place`.
    void (*patch)(emit_place place, const uint8_t *target);
    /// The guard lets pass to `target` where the page that the jump leads to is that of page slot `slot`, of user code
    /// or not; 0: never.
    void (*set_guard)(uint8_t *guard, bool user, unsigned slot, const uint8_t *target);
    /// A guard of an indirect jump lets pass to `target` who goes to the slot's page at `offset`.
    void (*set_indirect)(uint8_t *guard, bool user, unsigned slot, unsigned offset, const uint8_t *target);
    size_t base_offset;   // of struct cpu, where the base of GS stands on hosts that have it
    unsigned guard_bytes; // no guard is longer
    unsigned poll_bytes;  // before the flags' stores of an EDGE_FLAGS that may be the last jump of a cycle
    uint8_t scratch[2];   // never hold a variable
};

extern const struct backend backend_x86_64; // on such hosts
/// The backend for this host, or NULL.
const struct backend *backend_host(void);

#endif
