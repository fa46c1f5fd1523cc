// What the files of the x86-64 backend share: its registers, places in struct cpu, results. For
// translate/backend_x86_64*.c on x86-64 hosts.
#ifndef DOPPEL_TRANSLATE_BACKEND_X86_64_H
#define DOPPEL_TRANSLATE_BACKEND_X86_64_H

#include "cpu/model.h"
#include "translate/backend.h"
#include "translate/emit_x86_64.h"

#define CPU HOST_STATE // rsp: costs no other register, and processors forward what is stored at it to loads at once
#define S0 HOST_R13
#define S1 HOST_R14
#define T0 HOST_R11  // for temporaries
#define TLB HOST_R15 // cpu + X86_TLB_OFFSET
#define FIELD(member) x86_memory_at(offsetof(struct cpu, member))

extern const struct register_file x86_file;

static inline struct emit_memory x86_memory_at(size_t offset)
{
    return (struct emit_memory){.base = CPU, .index = HOST_NO_INDEX, .displacement = (int32_t)offset};
}

/// A routine begins: its return address is on the stack. What it calls in turn must not be such a one.
static inline void x86_begin_routine(struct emit *e)
{
    e->depth = 8;
}

#define X86_GS_OFFSET 0 // where the base of GS stands in struct cpu

static inline struct emit_memory x86_gs_at(size_t offset)
{
    return (struct emit_memory){
        .base = HOST_GS, .index = HOST_NO_INDEX, .displacement = (int32_t)((int64_t)offset - (int64_t)X86_GS_OFFSET)};
}

// While host code runs, var[] of the guest registers that have their own of the host's is free. What host code uses
// most of the other variables, and one byte of displacement does not reach where C has it, is in those of them that no
// routine hands to C by itself.
#define X86_PINNED VAR_R10 // those before it
static const int8_t x86_moved_by[VAR_TEMP] = {
    [VAR_CC_OP] = VAR_RDX - VAR_CC_OP,   [VAR_CC_RESULT] = VAR_RBX - VAR_CC_RESULT,
    [VAR_CC_SRC] = VAR_RSP - VAR_CC_SRC, [VAR_R13] = VAR_RBP - VAR_R13,
    [VAR_R14] = VAR_R8 - VAR_R14,        [VAR_R15] = VAR_R9 - VAR_R15};
_Static_assert(offsetof(struct cpu, var) + (VAR_R12 + 1) * sizeof(uint64_t) <= 128, "short displacements");

/// A variable's slot while host code runs. Those of guest registers that have their own of the host's are reached by
/// GS: they are stored to lend the register and loaded to give it back, and a processor that takes such a load for the
/// register itself, as it may for addresses from rsp, ran a third slower for it where it was measured.
static inline struct emit_memory x86_home(unsigned var)
{
    if (var < X86_PINNED)
        return x86_gs_at(offsetof(struct cpu, lent) + var * sizeof(uint64_t));
    var += (unsigned)(var < VAR_TEMP ? x86_moved_by[var] : 0);
    return x86_memory_at(offsetof(struct cpu, var) + var * sizeof(uint64_t));
}

/// The part of VAR_CC_OP that says what is replaced.
static inline struct emit_memory x86_replaced_home(void)
{
    struct emit_memory m = x86_home(VAR_CC_OP);
    m.displacement++;
    return m;
}

/// ... where C has it, behind x86_prepare_call.
static inline struct emit_memory x86_c_home(unsigned var)
{
    return x86_memory_at(offsetof(struct cpu, var) + var * sizeof(uint64_t));
}

/// Where register TLB points to in struct cpu. Its low 16 bits say to BEXTR which bits of an address are the number of
/// the TLB's slot, and one byte of displacement reaches the tags for reading of user code from there.
#define X86_TLB_FIELD (TLB_BITS << 8 | PAGE_SHIFT)
#define X86_TLB_OFFSET (offsetof(struct cpu, mmu) + X86_TLB_FIELD)
_Static_assert(offsetof(struct cpu, mmu) % CPU_ALIGNMENT == 0 && CPU_ALIGNMENT % 0x10000 == 0, "the low 16 bits");
_Static_assert(offsetof(struct mmu, tlb) == 0 && TLB_PLACE - X86_TLB_FIELD < 128, "a short displacement");

/// A word of the TLB; the slot's number is in a register.
static inline struct emit_memory x86_tlb_word(enum mmu_mode mode, enum tlb_word word, uint8_t slot)
{
    size_t offset =
        offsetof(struct cpu, mmu.tlb.word) + (tlb_place(mode) * TLB_WORDS + word) * sizeof((struct tlb *)0)->word[0][0];
    return (struct emit_memory){
        .base = TLB, .index = slot, .scale = 3, .displacement = (int32_t)(offset - X86_TLB_OFFSET)};
}
static inline struct emit_memory x86_tlb_tag(enum mmu_mode mode, bool write, uint8_t slot)
{
    return x86_tlb_word(mode, write ? TLB_WRITE : TLB_READ, slot);
}

/// S0 = the slot of the page that `address` is in.
static inline void x86_tlb_slot(struct emit *e, bool has_bmi1, uint8_t address)
{
    if (has_bmi1) {
        emit_vex(e, (struct emit_vex){2, 0, 0xf7}, WIDTH_64, S0, TLB, address); // BEXTR
        return;
    }
    if (address != S0)
        emit_move(e, WIDTH_32, S0, address);
    emit_shift_imm(e, EMIT_SHR, WIDTH_32, S0, PAGE_SHIFT);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, TLB_ENTRIES - 1);
}

/// S1 = the number of the page that `address` is in.
static inline void x86_page_number(struct emit *e, bool has_bmi2, uint8_t address)
{
    _Static_assert((X86_TLB_FIELD & 63) == PAGE_SHIFT, "SHRX takes the count from there");
    if (has_bmi2 && address != S1) {
        emit_vex(e, (struct emit_vex){2, 3, 0xf7}, WIDTH_64, S1, TLB, address); // SHRX
        return;
    }
    if (address != S1)
        emit_move(e, WIDTH_64, S1, address);
    emit_shift_imm(e, EMIT_SHR, WIDTH_64, S1, PAGE_SHIFT);
}

static inline struct emit_memory x86_at_register(uint8_t reg)
{
    return (struct emit_memory){.base = reg, .index = HOST_NO_INDEX};
}

static inline void x86_load_home(struct emit *e, uint8_t reg, unsigned var)
{
    emit_load(e, WIDTH_64, reg, x86_home(var));
}

static inline void x86_store_home(struct emit *e, unsigned var, uint8_t reg)
{
    emit_store(e, WIDTH_64, x86_home(var), reg);
}

static inline unsigned x86_at_least_32(unsigned width)
{
    return width < WIDTH_32 ? WIDTH_32 : width;
}

static inline void x86_copy(struct translation *t, unsigned width, uint8_t to, uint8_t from)
{
    if (to != from)
        emit_move(&t->emit, width, to, from);
}

/// to += from + distance.
static inline void x86_add_to(struct translation *t, uint8_t to, uint8_t from, int32_t distance)
{
    struct emit_memory sum = {.base = to, .index = from, .displacement = distance};
    if (distance)
        emit_lea(&t->emit, WIDTH_64, to, sum);
    else
        emit_alu(&t->emit, EMIT_ADD, WIDTH_64, to, from);
}

/// Whether the uop makes an address that the interpreter, going on at the next one of the instruction, makes again.
bool x86_made_again(const struct translation *t, unsigned index);
/// Before C code that may look at any variable: everything to memory, VAR_RIP too; then rdi is struct cpu and the other
/// argument registers are free.
void x86_prepare_call(struct translation *t);
/// Calls a C function; its result comes in S0, guest registers are loaded again.
void x86_call(struct translation *t, const void *function);
/// reg = RIP of the block's first byte + displacement, not cut. `reg` is not S1. Keeps flags.
void x86_load_rip(struct translation *t, uint8_t reg, int64_t displacement);
/// Whether RIP is cpu->code_page plus a constant; else it is the constant that x86_load_rip makes.
static inline bool x86_rip_is_page_relative(const struct translation *t)
{
    return t->block->mode & MODE_FLAT;
}
/// reg = the address of a field of struct cpu.
void x86_field_address(struct translation *t, uint8_t reg, size_t offset);

/// Whether host code may use the instructions of a feature.
static inline bool x86_host_has(const struct translation *t, enum cpu_feature feature)
{
    return t->host_features[feature / 64] >> feature % 64 & 1;
}

// side_exit.access: what the walk after a TLB miss is told.
#define X86_ACCESS_SIZE 0xffu
#define X86_ACCESS_WRITE 0x100u
#define X86_ACCESS_GROUP 0x200u // the address is kept for other accesses: all bytes from BELOW on must be in the page
#define X86_ACCESS_MODE_SHIFT 10
#define X86_ACCESS_EARLY 0x1000u  // a read comes before the write that is checked for: the TLB must know it
#define X86_ACCESS_KEPT 0x2000u   // the address is good for later turns of a loop, too: bytes as for a group
#define X86_ACCESS_STORE 0x4000u  // for one store behind the check: what that writes is in cpu->bounce
#define X86_ACCESS_BELOW_SHIFT 16 // bytes of the group before the address
#define X86_ACCESS_BYTES_SHIFT 24 // all of them
_Static_assert(PASS_GROUP_BYTES < 256, "fit into a byte");

static inline uint32_t x86_access(unsigned size, bool write, enum mmu_mode mode)
{
    return size | (write ? X86_ACCESS_WRITE : 0) | (uint32_t)mode << X86_ACCESS_MODE_SHIFT;
}

static inline uint32_t x86_access_span(int32_t low, unsigned bytes)
{
    return (uint32_t)-low << X86_ACCESS_BELOW_SHIFT | (uint32_t)bytes << X86_ACCESS_BYTES_SHIFT;
}

/// Where the LOAD or STORE at work finds its bytes; its handle is in t->a.
struct emit_memory x86_at_handle(const struct translation *t);

/// A variable's value: its register, or `scratch` loaded with it.
static inline uint8_t x86_value_of(struct translation *t, unsigned var, uint8_t scratch)
{
    uint8_t reg = registers_read(&t->registers, var);
    if (reg != NO_REGISTER)
        return reg;
    x86_load_home(&t->emit, scratch, var);
    return scratch;
}

/// A variable's value in `to`, a scratch register.
static inline void x86_fetch(struct translation *t, uint8_t to, unsigned var)
{
    x86_copy(t, WIDTH_64, to, x86_value_of(t, var, to));
}

/// Whether `var` is a temporary that nobody reads after the uop at work.
static inline bool x86_dies(const struct translation *t, unsigned var)
{
    return var >= VAR_TEMP && t->pass->variables[var].last_use <= t->index;
}

// Floating point and vectors in the host's registers (backend_x86_64_fpu.c).
/// The nine general registers that C may change, less the scratch ones.
void x86_push_caller_saved(struct emit *e);
void x86_pop_caller_saved(struct emit *e);
void x86_fpu_routines(struct emit *e, struct fpu_routines *routines);
/// Before C code: resident state goes to struct cpu. Changes flags, no general register.
void x86_fpu_spill(struct emit *e, const struct fpu_routines *routines);
void x86_fpu_after_call(struct translation *t);
void x86_fpu_prepare(struct translation *t, const struct uop *u);
void x86_host_features(uint64_t features[2]);
void x86_x87_note_pointers(struct translation *t, uint64_t operand);
void x86_x87_store_data(struct translation *t, uint64_t operand, unsigned offset);
void x86_x87_flush_pointers(struct translation *t, struct x87_pointers *pointers);
// SIMD and x87 rows (backend_x86_64_sse.c).
/// RESIDENT_* that the uop at `index` works on in host code.
uint8_t x86_simd_needs(const struct translation *t, unsigned index);
/// Whether this CALL (of t->pass->uops) becomes host code without a call.
bool x86_inlines_row(const struct translation *t, unsigned index);
bool x86_inlines_call(const struct translation *t, const struct uop *u);
/// struct backend's stays.
bool x86_stays(const struct pass_block *pass, unsigned index);
bool x86_emit_inline_row(struct translation *t, const struct uop *u);
bool x86_emit_inline_call(struct translation *t, const struct uop *u);
void x86_emit_vector_load(struct translation *t, const struct uop *u);
void x86_emit_vector_store(struct translation *t, const struct uop *u);
void x86_emit_vector_store_to(struct translation *t, const struct uop *u, struct emit_memory to);
void x86_emit_vector_move(struct translation *t, const struct uop *u);
// System instructions without a call (backend_x86_64_system.c).
bool x86_inlines_system(const struct translation *t, const struct uop *u);
/// ... of those: never leaves for the interpreter.
bool x86_system_stays(const struct translation *t, const struct uop *u);
bool x86_emit_system(struct translation *t, const struct uop *u);
// Of backend_x86_64.c: the check of an address in t->a, handle to u->dst (S0 when it has no register); a branch to the
// interpreter, which begins with the uop at work.
void x86_emit_xlat(struct translation *t, const struct uop *u);
void x86_add_resume(struct translation *t, emit_place from);
/// ... when the host's `condition` holds.
static inline void x86_resume_if(struct translation *t, unsigned condition)
{
    x86_add_resume(t, emit_jump_if(&t->emit, condition));
}

/// Where to compute the value of u->dst: in its own register where that disturbs neither b nor bits to be kept.
uint8_t x86_result_register(struct translation *t, const struct uop *u);
/// The value of u->dst was computed in `reg`, 32-bit values zero-extended.
void x86_finish_result(struct translation *t, const struct uop *u, uint8_t reg);
/// Writes `from` to a variable at a width. `from` may hold garbage above it.
void x86_write_var(struct translation *t, unsigned var, unsigned width, uint8_t from);

// Flags of a recipe that the block does not know (backend_x86_64_flags.c).
void x86_flag_routines(struct emit *e, struct backend_entries *entries);
/// The host's flags = those of a recipe in memory whose operation and width are known; AF may be wrong behind shifts.
/// False: not one of the simple ones.
bool x86_emit_recipe_flags(struct emit *e, unsigned op, unsigned width);
/// The carry alone of the recipe in memory is S0, 0 or 1; the host's too. Changes S1.
void x86_replace_carry(struct translation *t);
/// Carry and overflow are bits 1 and 0 of S1, above which nothing is. Changes the host's flags.
void x86_replace_carry_and_overflow(struct translation *t);
void x86_emit_get_flags(struct translation *t, const struct uop *u);
void x86_emit_set_flags(struct translation *t, const struct uop *u);

// Emitters of backend_x86_64_segment.c.
void x86_emit_segment(struct translation *t, const struct uop *u);
/// The host's flags: equal when `target` is canonical and in the half of the address space that the code is in. The
/// interpreter looks at others. Changes `scratch`.
void x86_compare_half(struct translation *t, uint8_t scratch, uint8_t target);
void x86_emit_check_target(struct translation *t, const struct uop *u);
void x86_emit_raise(struct translation *t, const struct uop *u);

// Emitters of backend_x86_64_divide.c.
void x86_emit_divide(struct translation *t, const struct uop *u);
void x86_emit_bit_test(struct translation *t, const struct uop *u);

// Leaving, backend_x86_64_exit.c.
struct side_exit *x86_add_exit(struct translation *t, int kind, emit_place from);
void x86_emit_exit(struct translation *t, const struct uop *u);
void x86_emit_exit_if(struct translation *t, const struct uop *u);
void x86_emit_exit_if_zero(struct translation *t, const struct uop *u);
void x86_emit_exit_to(struct translation *t, const struct uop *u);
/// To C with a struct host_result's value, of t->block.
void x86_leave(struct translation *t, uint32_t value);
/// `insns` instructions of the block were completed; or, less than 0, were not after all. Keeps nothing.
void x86_count(struct translation *t, int insns);
/// Words that host code keeps for a moment.
enum x86_word { WORD_CARRY, WORD_SECOND, WORD_FLAGS_VALUE, WORD_FLAGS, WORD_MISS, WORD_LINEAR };
_Static_assert(WORD_LINEAR < sizeof((struct cpu *)0)->host_word / sizeof(uint64_t), "there are enough");
void x86_leave_routine(struct emit *e, struct backend_entries *entries);
void x86_resume(struct translation *t);
void x86_miss(struct translation *t, const struct side_exit *exit);
/// SIDE_RETURN, to S1.
void x86_return_elsewhere(struct translation *t);
void x86_miss_routines(struct emit *e, struct backend_entries *entries, const struct fpu_routines *fpu);
#define X86_LEAVE_SHIFT 48 // S0 on the way out: a block's address below, struct host_result's value above
void x86_check_leave(struct translation *t, unsigned insn);
void x86_side_exit(struct translation *t, const struct side_exit *exit);
void x86_block_start(struct translation *t);
void x86_part_start(struct translation *t);
void x86_loop_start(struct translation *t);
void x86_loop_end(struct translation *t, const uint8_t *join);
/// Whether the last exit can go on at the start of the same host code, if there is a join before it; `which` becomes 0
/// or 1.
bool x86_may_loop(const struct translation *t, const struct uop *u, unsigned *which);
void x86_enter(struct emit *e, struct backend_entries *entries, struct fpu_routines *fpu);
void x86_kill(uint8_t *chain, const uint8_t *stub);
void x86_patch(emit_place place, const uint8_t *target);

// Jumps that have to ask, backend_x86_64_jump.c.
/// What goes to C: a result, and the block whose it is.
static inline uint32_t x86_result(uint32_t kind, unsigned number)
{
    return kind | number << HOST_NUMBER_SHIFT;
}
static inline uint64_t x86_leave_word(uint32_t value, const struct block *block)
{
    return (uint64_t)value << X86_LEAVE_SHIFT | (uint64_t)(uintptr_t)block;
}
/// Register TLB.
void x86_load_tlb(struct emit *e);
/// Through the jump cache to the block at S1, in the mode that holds now. Every temporary is dead.
void x86_look_up(struct translation *t);
/// ... in flat code, where no CALL went to C; S1 need not be canonical. Returns the branch to where the cache does not
/// know it.
emit_place x86_look_up_return(struct translation *t);
/// S1 = where a direct exit leads.
void x86_load_target(struct translation *t, const struct side_exit *exit);
/// Many indirect jumps and calls always go to the same place: what the jump to S1 asks before it looks up. Host code
/// of those that do not is made anew without it.
void x86_indirect_guard(struct translation *t);
/// What a jump to another page has to ask: whether the page of memory that it was patched for stands there. The two
/// pages may be mapped elsewhere, and in another process, as long as it is side by side. Else the jump cache decides,
/// now and then C about a new guard, so that code which runs a few times is not patched at all.
void x86_page_guard(struct translation *t, const struct side_exit *exit);
/// To S1 in flat code, if the jump cache knows it though another has its home. Every temporary is dead. Goes on where
/// it does not, and now and then where it does, so that what is in use comes home again.
void x86_look_at_victims(struct emit *e);
void x86_guard_routines(struct emit *e, struct backend_entries *entries);
#define X86_GUARD_BYTES 32u
#define X86_POLL_BYTES 15u
#define X86_INDIRECT_BYTES 30u
void x86_set_indirect(uint8_t *guard, bool user, unsigned slot, unsigned offset, const uint8_t *target);
void x86_set_guard(uint8_t *guard, bool user, unsigned slot, const uint8_t *target);

// The soft TLB's misses, backend_x86_64_memory.c.
/// A routine: S0 = the host address for the access S1 (side_exit.access) at linear S0, and ZF: there is none. Keeps
/// every other register.
/// What sanitizers put into C code that is compiled without vector registers may change them: it is called by way of
/// fpu_routines.keep.
#ifdef DOPPEL_SANITIZED
#define X86_KEEP_ALWAYS true
#else
#define X86_KEEP_ALWAYS false
#endif
/// Where flat code at S1 goes on that the jump cache does not know.
void x86_find_routine(struct emit *e, struct backend_entries *entries, const struct fpu_routines *fpu);
void x86_miss_routine(struct emit *e, const struct fpu_routines *fpu);
/// A routine: the string instruction of helper_string's imm in S1, with guest registers in their places. ZF: it is not
/// done, the interpreter goes on from where it is. Changes S0, S1.
void x86_string_routine(struct emit *e, const struct fpu_routines *fpu);
/// Whether this CALL of helper_string is done that way.
bool x86_does_string(const struct translation *t, const struct uop *u);
void x86_emit_string(struct translation *t, const struct uop *u);

// Flags: struct backend's settle_flags, save_carry and condition.
void x86_settle_flags(struct translation *t, const struct uop *u);
void x86_save_carry(struct translation *t);
void x86_make_condition(struct translation *t, unsigned condition);

// Emitters of backend_x86_64_alu.c.
void x86_emit_add(struct translation *t, const struct uop *u);
void x86_emit_sub(struct translation *t, const struct uop *u);
void x86_emit_and(struct translation *t, const struct uop *u);
void x86_emit_or(struct translation *t, const struct uop *u);
void x86_emit_xor(struct translation *t, const struct uop *u);
void x86_emit_adc(struct translation *t, const struct uop *u);
void x86_emit_sbb(struct translation *t, const struct uop *u);
void x86_emit_not(struct translation *t, const struct uop *u);
void x86_emit_neg(struct translation *t, const struct uop *u);
void x86_emit_inc(struct translation *t, const struct uop *u);
void x86_emit_dec(struct translation *t, const struct uop *u);
void x86_emit_shift(struct translation *t, const struct uop *u);

// Flags of uops: backend_x86_64_recipe.c.
#define X86_CONDITION_FLAGS (FLAG_CF | FLAG_ZF | FLAG_SF | FLAG_PF | FLAG_OF)
static inline bool x86_is_guest(unsigned var)
{
    return var <= VAR_R15;
}
/// Where x86_save_carry leaves the carry.
static inline struct emit_memory x86_carry_slot(void)
{
    return FIELD(host_word[WORD_CARRY]);
}
/// ... but in the host's flags, which nothing changes until the emitter runs.
static inline bool x86_uses_host_carry(const struct uop *u)
{
    return (u->op == UOP_ADC || u->op == UOP_SBB) && (u->aux & UOP_SETS_FLAGS);
}
/// VAR_CC_OP is to be this.
void x86_store_recipe_op(struct translation *t, int32_t op);
/// Whether the flags of the uop at work are read by such only that find them in the host's, before all are made anew.
bool x86_only_host_reads(const struct translation *t);
/// The recipe of an operation is pending: its result is in the variable, if that is a guest register; else it is stored
/// from `result` at once.
void x86_recipe_pending(struct translation *t, enum cc_op op, unsigned width, unsigned var, uint8_t result);
/// ... and its source, as t->b holds it, or that is stored at once.
void x86_source_pending(struct translation *t, const struct uop *u, enum cc_op op);
/// x86_made_flags with a second operand, as t->b holds it.
void x86_made_flags_of_two(struct translation *t, enum cc_op op, const struct uop *u, uint8_t result);
/// The host's flags are the guest's now, but for those left out of the mask.
void x86_made_flags(struct translation *t, enum cc_op op, const struct uop *u, uint8_t result, uint32_t mask);
/// The same with a recipe whose result is in variable `var`, and in `result` now.
void x86_made_flags_of(struct translation *t, enum cc_op op, unsigned width, unsigned var, uint8_t result,
                       uint32_t mask);
/// The recipe is CC_CARRY with the result in S0, the carry in S1, and the given operand's top bit changed as overflow.
void x86_store_double_shift_flags(struct translation *t, unsigned width, unsigned operand);

/// Writes what is pending of the recipe. Keeps the host's flags, changes S0 and S1.
void x86_flush_flags(struct translation *t);

/// ... only what is in host registers that are not guest registers'.
void x86_store_host_words(struct translation *t);
/// ... before the block's first uop comes once more, if that does not make them anew.
void x86_keep_host_words(struct translation *t);

/// The recipe in memory is known to be the flags themselves.
static inline bool x86_literal_flags(const struct translation *t)
{
    return !t->pending.words && t->recipe == CC_LITERAL << 2;
}

/// Memory holds the flags themselves from now on.
void x86_literal_recipe(struct translation *t);

/// One uop by the interpreter's own function.
void x86_emit_by_alu(struct translation *t, const struct uop *u);

// Emitters of backend_x86_64_bits.c.
/// CF and OF to the recipe, of a rotate with the result in variable `var`. Changes S0, S1 and the host's flags.
void x86_override_rotate_flags(struct translation *t, unsigned var, unsigned width, bool left);
void x86_emit_rotate(struct translation *t, const struct uop *u);
void x86_emit_rotate_carry(struct translation *t, const struct uop *u);
void x86_emit_multiply(struct translation *t, const struct uop *u);
void x86_emit_double_shift(struct translation *t, const struct uop *u);
void x86_emit_count(struct translation *t, const struct uop *u);
void x86_emit_scan(struct translation *t, const struct uop *u);
void x86_emit_lowest_bit(struct translation *t, const struct uop *u);
void x86_emit_bit_field(struct translation *t, const struct uop *u);
void x86_emit_scatter_gather(struct translation *t, const struct uop *u);
void x86_emit_adx(struct translation *t, const struct uop *u);
void x86_emit_shift_no_flags(struct translation *t, const struct uop *u); // by a register, 32 or 64 bits, with BMI2

#endif
