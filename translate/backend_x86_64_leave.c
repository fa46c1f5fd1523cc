// The x86-64 backend's host code out of line that most blocks have much of and hardly ever run: misses of the soft TLB,
// and the ways to C from the middle of a block. So it is made to be short: a way to C pushes a number and goes where
// another one goes on that has the same to do.
#ifdef __x86_64__

#include <string.h>

#include "cpu/cpu.h"
#include "translate/backend_x86_64.h"

// What is pushed: a result, or, more often, the complement of the number of the uop where the interpreter goes on. The
// more frequent ones of both fit into a byte.
static int32_t number(uint32_t value)
{
    if ((value & HOST_KIND) == HOST_RESUME)
        return ~(int32_t)(value >> HOST_NUMBER_SHIFT);
    return (int32_t)value;
}

/// Accesses with one check failed it, and the uop whose number S0 is the complement of is the first of its instruction,
/// mostly: to host code that checks each, if it is known. Else on where `plain` leads. S1 is the block.
static void write_detour(struct emit *e, const uint8_t *plain)
{
    struct emit_memory hash = {.base = S1, .index = S0, .scale = 3};
    struct emit_memory entry = FIELD(detour), completed, chain;
    emit_place other;
    _Static_assert(sizeof(struct cpu_detour) == 32, "the shift");
    entry.index = T0;
    completed = chain = entry;
    completed.displacement += (int32_t)offsetof(struct cpu_detour, completed);
    chain.displacement += (int32_t)offsetof(struct cpu_detour, chain);
    emit_alu_memory_imm(e, EMIT_SUB, WIDTH_32, FIELD(detour_patience), 1);
    emit_patch(e, emit_jump_if(e, EMIT_SIGN), plain);
    emit_lea(e, WIDTH_32, T0, hash); // detour_index
    emit_multiply_imm(e, WIDTH_32, T0, T0, DETOUR_FACTOR);
    emit_shift_imm(e, EMIT_SHR, WIDTH_32, T0, 32 - DETOUR_BITS - 5);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, T0, (DETOURS - 1) << 5);
    emit_shift_imm(e, EMIT_SHL, WIDTH_64, S0, 48); // detour_key
    emit_alu(e, EMIT_OR, WIDTH_64, S0, S1);
    emit_alu_load(e, EMIT_CMP, WIDTH_64, S0, entry);
    other = emit_jump_if_short(e, EMIT_NOT_EQUAL);
    emit_store_imm(e, WIDTH_8, FIELD(group_failed), 0);
    emit_load(e, WIDTH_64, S0, completed);
    emit_alu_store(e, EMIT_ADD, WIDTH_64, FIELD(instructions), S0);
    emit_jump_memory(e, chain);
    emit_patch_short(e, other);
    emit_shift_imm(e, EMIT_SAR, WIDTH_64, S0, 48);
    emit_jump_to(e, plain);
}

void x86_leave_routine(struct emit *e, struct backend_entries *entries)
{
    emit_place result, failed;
    const uint8_t *plain;
    entries->leave_number = e->at;
    x86_begin_routine(e); // what was pushed
    emit_pop(e, S0);
    emit_alu_memory_imm(e, EMIT_CMP, WIDTH_8, FIELD(group_failed), 0);
    failed = emit_jump_if(e, EMIT_NOT_EQUAL);
    plain = e->at;
    emit_test(e, WIDTH_32, S0, S0);
    result = emit_jump_if_short(e, 9); // not negative
    emit_unary(e, EMIT_NOT, WIDTH_32, S0);
    emit_shift_imm(e, EMIT_SHL, WIDTH_32, S0, HOST_NUMBER_SHIFT);
    emit_alu_imm(e, EMIT_OR, WIDTH_32, S0, HOST_RESUME);
    emit_patch_short(e, result);
    emit_shift_imm(e, EMIT_SHL, WIDTH_64, S0, X86_LEAVE_SHIFT);
    emit_alu(e, EMIT_OR, WIDTH_64, S0, S1);
    emit_jump_to(e, entries->leave);
    emit_patch_here(e, failed);
    write_detour(e, plain);
}

/// To C, from t->block, with the number that was pushed.
static void leave_with_number(struct translation *t)
{
    struct emit *e = &t->emit;
    for (unsigned i = 0; i < t->leaves.block_count; i++) {
        if (t->leaves.block[i].block == t->block) {
            emit_jump_shortest(e, t->leaves.block[i].at);
            return;
        }
    }
    if (t->leaves.block_count < SUPERBLOCK_PARTS) {
        t->leaves.block[t->leaves.block_count].block = t->block;
        t->leaves.block[t->leaves.block_count++].at = e->at;
    }
    emit_move_imm(e, S1, (uint64_t)(uintptr_t)t->block);
    emit_jump_to(e, t->entries->leave_number);
}

void x86_leave(struct translation *t, uint32_t value)
{
    emit_push_imm(&t->emit, number(value));
    leave_with_number(t);
    t->emit.depth = 0;
}

bool x86_made_again(const struct translation *t, unsigned index)
{
    const struct uop *u = &t->pass->uops[index], *original = &t->pass->original[index];
    return u->op == UOP_EA && original->op == UOP_EA && u->dst == original->dst && u->dst >= VAR_TEMP &&
           original->a < VAR_TEMP && original->b < VAR_TEMP && original->insn == t->pass->original[index + 1].insn;
}

/// Where the interpreter may go on instead of at the uop: addresses that were computed just before it can be computed
/// again, and need not be kept then.
static unsigned earlier(const struct translation *t, unsigned index)
{
    while (index > 0 && x86_made_again(t, index - 1))
        index--;
    return index;
}

static bool same_pointers(const struct x87_pointers *a, const struct x87_pointers *b)
{
    return a->pending == b->pending && (!a->pending || (a->offset == b->offset && a->opcode == b->opcode));
}

/// Registers without temporaries that would have to be stored.
static bool same_registers(const struct registers_kept *a, const struct registers *b)
{
    if (a->borrowed != b->borrowed || a->adopted != b->adopted || a->dirty != b->dirty)
        return false;
    for (uint32_t left = a->adopted; left; left &= left - 1) {
        unsigned reg = (unsigned)__builtin_ctz(left);
        if (a->var[reg] != b->var[reg])
            return false;
    }
    return true;
}

/// Flags, x87 pointers and registers to memory, then to C with the number that was pushed.
static void settle_and_leave(struct translation *t)
{
    struct emit *e = &t->emit;
    struct shared_leave *shared;
    if (!t->pending.words && !t->pointers.pending && !t->registers.borrowed) {
        leave_with_number(t);
        return;
    }
    for (unsigned i = 0; i < t->leaves.shared_count && i < SHARED_LEAVES; i++) {
        shared = &t->leaves.shared[i];
        if (shared->block == t->block && pending_flags_equal(&shared->pending, &t->pending) &&
            same_pointers(&shared->pointers, &t->pointers) && same_registers(&shared->registers, &t->registers)) {
            emit_jump_shortest(e, shared->at);
            return;
        }
    }
    shared = &t->leaves.shared[t->leaves.shared_count++ % SHARED_LEAVES];
    *shared = (struct shared_leave){.at = e->at,
                                    .block = t->block,
                                    .pending = t->pending,
                                    .pointers = t->pointers,
                                    .registers = registers_keep(&t->registers)};
    x86_flush_flags(t);
    x86_x87_flush_pointers(t, &t->pointers);
    registers_give_back(&t->registers, &x86_file, e);
    leave_with_number(t);
}

void x86_resume(struct translation *t)
{
    unsigned from = earlier(t, t->index);
    for (unsigned i = from; i < t->index; i++)
        registers_release(&t->registers, t->pass->uops[i].dst);
    registers_store_temporaries(&t->registers, &x86_file, &t->emit);
    emit_push_imm(&t->emit, number(HOST_RESUME | from << HOST_NUMBER_SHIFT));
    settle_and_leave(t);
    t->emit.depth = 0;
}

/// Whether all that the uop does is to make a temporary, so that it can be done again.
static bool can_repeat(const struct uop *u)
{
    switch (u->op) {
    case UOP_SEG:
    case UOP_XLAT:
    case UOP_EA:
    case UOP_LOAD:
    case UOP_GET_FLAGS:
        break;
    default:
        if (u->op > UOP_SELECT_Z || (u->aux & UOP_SETS_FLAGS) || (uop_effects(u) & (DEFINE_C | MAY_LEAVE)))
            return false;
    }
    return u->dst >= VAR_TEMP || u->dst == VAR_NONE;
}

/// The first uop of the instruction at work, if it can begin once more; else t->index.
static unsigned first_of_instruction(const struct translation *t)
{
    const struct uop *uops = t->pass->uops;
    unsigned first = t->index;
    while (first > 0 && uops[first - 1].insn == uops[t->index].insn) {
        if (!can_repeat(&uops[--first]))
            return t->index;
    }
    return first;
}

/// The interpreter does the instruction that begins with uop `first`.
static void resume_at(struct translation *t, unsigned first)
{
    registers_release_all(&t->registers, &x86_file);
    emit_push_imm(&t->emit, number(HOST_RESUME | first << HOST_NUMBER_SHIFT));
    settle_and_leave(t);
    t->emit.depth = 0;
}

/// Some accesses whose check this is do not lie in one page: to another form of the block, from this instruction on. So
/// temporaries are not needed any more.
static void leave_group(struct translation *t)
{
    unsigned first = first_of_instruction(t);
    if (first > 0 && t->pass->uops[first - 1].insn == t->pass->uops[first].insn)
        x86_resume(t);
    else
        resume_at(t, first);
}

void x86_return_elsewhere(struct translation *t)
{
    struct emit *e = &t->emit;
    const uint8_t rsp = x86_file.pin[VAR_RSP];
    struct emit_memory before = x86_at_register(rsp);
    unsigned first = t->index;
    before.displacement = -t->pass->return_bytes;
    x86_compare_half(t, S0, S1);
    emit_patch(e, emit_jump_if(e, EMIT_EQUAL), t->entries->find);
    if (t->pass->return_bytes)
        emit_lea(e, WIDTH_64, rsp, before);
    x86_count(t, -(t->pass->uops[t->index].insn + 1));
    while (first > 0 && t->pass->uops[first - 1].insn == t->pass->uops[t->index].insn)
        first--;
    resume_at(t, first);
}

/// The routine for an access, with S1 set where it wants that.
static const uint8_t *miss_routine(struct translation *t, uint32_t access, bool addend)
{
    const struct backend_entries *entries = t->entries;
    unsigned size = access & X86_ACCESS_SIZE, log = (unsigned)__builtin_ctz(size | 0x100);
    bool group = access & (X86_ACCESS_GROUP | X86_ACCESS_KEPT);
    enum miss_kind kind = access & X86_ACCESS_STORE ? MISS_STORE : access & X86_ACCESS_WRITE ? MISS_WRITE : MISS_READ;
    if (!group && size == 1u << log && log < MISS_SIZES)
        return entries->plain_miss[access >> X86_ACCESS_MODE_SHIFT & 3][kind][addend][log];
    emit_move_imm(&t->emit, S1, access);
    if (group)
        return entries->miss_group;
    return addend ? entries->miss_addend : entries->miss;
}

/// Fails where a group of accesses, or one that is kept, as S1 tells, lies on two pages; else goes on behind.
static void write_straddles(struct emit *e)
{
    struct emit_memory last = {.base = HOST_RAX, .index = HOST_RCX, .displacement = -1};
    emit_place none;
    emit_push(e, HOST_RAX);
    emit_push(e, HOST_RCX);
    emit_move(e, WIDTH_32, HOST_RCX, S1);
    emit_shift_imm(e, EMIT_SHR, WIDTH_32, HOST_RCX, X86_ACCESS_BELOW_SHIFT);
    emit_extend(e, false, WIDTH_8, HOST_RAX, HOST_RCX);
    emit_shift_imm(e, EMIT_SHR, WIDTH_32, HOST_RCX, X86_ACCESS_BYTES_SHIFT - X86_ACCESS_BELOW_SHIFT);
    emit_unary(e, EMIT_NEG, WIDTH_64, HOST_RAX);
    emit_alu(e, EMIT_ADD, WIDTH_64, HOST_RAX, S0);
    emit_lea(e, WIDTH_64, HOST_RCX, last);
    emit_alu(e, EMIT_XOR, WIDTH_64, HOST_RCX, HOST_RAX);
    emit_test_imm(e, WIDTH_64, HOST_RCX, (int32_t)PAGE_MASK);
    emit_pop(e, HOST_RCX);
    emit_pop(e, HOST_RAX);
    none = emit_jump_if_short(e, EMIT_EQUAL);
    emit_store_imm(e, WIDTH_8, FIELD(group_failed), 1);
    emit_alu(e, EMIT_XOR, WIDTH_32, S0, S0); // with the flags of it
    emit_return(e);
    emit_patch_short(e, none);
}

void x86_miss_routines(struct emit *e, struct backend_entries *entries, const struct fpu_routines *fpu)
{
    emit_place failed;
    entries->miss_group = e->at;
    x86_begin_routine(e);
    write_straddles(e);
    entries->miss = e->at;
    x86_begin_routine(e);
    x86_miss_routine(e, fpu);

    entries->miss_addend = e->at;
    x86_begin_routine(e);
    emit_pop_memory(e, FIELD(host_word[WORD_MISS])); // the return address
    emit_store(e, WIDTH_64, FIELD(host_word[WORD_LINEAR]), S0);
    emit_call_to(e, entries->miss);
    emit_load(e, WIDTH_64, S1, FIELD(host_word[WORD_LINEAR]));
    emit_push_memory(e, FIELD(host_word[WORD_MISS]));
    failed = emit_jump_if_short(e, EMIT_EQUAL);
    emit_alu(e, EMIT_SUB, WIDTH_64, S0, S1);
    emit_test(e, WIDTH_64, HOST_RSP, HOST_RSP); // not zero
    emit_patch_short(e, failed);
    emit_return(e);

    for (unsigned mode = 0; mode < MMU_MODES; mode++) {
        for (unsigned i = 0; i < 2 * MISS_KINDS * MISS_SIZES; i++) {
            unsigned log = i / 2 / MISS_KINDS, kind = i / 2 % MISS_KINDS, addend = i % 2;
            uint32_t access = x86_access(1u << log, kind != MISS_READ, (enum mmu_mode)mode);
            entries->plain_miss[mode][kind][addend][log] = e->at;
            emit_move_imm(e, S1, access | (kind == MISS_STORE ? X86_ACCESS_STORE : 0));
            emit_jump_to(e, addend ? entries->miss_addend : entries->miss);
        }
    }
}

/// S0 = the address.
static void load_linear(struct translation *t, const struct side_exit *exit)
{
    uint8_t linear = registers_read(&t->registers, exit->linear);
    if (linear == NO_REGISTER) {
        x86_load_home(&t->emit, S0, exit->linear); // without a distance
        return;
    }
    if (!exit->distance) {
        x86_copy(t, WIDTH_64, S0, linear);
        return;
    }
    struct emit_memory m = x86_at_register(linear);
    m.displacement = exit->distance;
    emit_lea(&t->emit, WIDTH_64, S0, m);
}

/// The TLB's entry of the address itself, after that of its base's page was another one.
static void look_again(struct translation *t, const struct side_exit *exit)
{
    struct emit *e = &t->emit;
    uint8_t linear = registers_read(&t->registers, exit->linear);
    unsigned bytes = exit->pass->facts[exit->uop].group_bytes;
    int32_t low = bytes ? exit->pass->facts[exit->uop].group_low : 0;
    enum mmu_mode mode = (enum mmu_mode)(exit->access >> X86_ACCESS_MODE_SHIFT & 3);
    struct emit_memory first, last;
    emit_place other;

    load_linear(t, exit);
    first = last = x86_at_register(S0);
    first.displacement = low;
    last.displacement = low + (int32_t)(bytes ? bytes : exit->access & X86_ACCESS_SIZE) - 1;
    emit_lea(e, WIDTH_64, S1, last);
    emit_shift_imm(e, EMIT_SHR, WIDTH_64, S1, PAGE_SHIFT);
    if (low)
        emit_lea(e, WIDTH_64, S0, first);
    x86_tlb_slot(e, x86_host_has(t, FEATURE_BMI1), S0);
    emit_alu_load(e, EMIT_CMP, WIDTH_64, S1, x86_tlb_tag(mode, exit->access & X86_ACCESS_WRITE, S0));
    other = emit_jump_if_short(e, EMIT_NOT_EQUAL);
    emit_load(e, WIDTH_64, S0, x86_tlb_word(mode, TLB_ADDEND, S0));
    if (!exit->addend && linear == NO_REGISTER)
        emit_alu_load(e, EMIT_ADD, WIDTH_64, S0, x86_home(exit->linear));
    else if (!exit->addend)
        x86_add_to(t, S0, linear, exit->distance);
    x86_copy(t, WIDTH_64, exit->result, S0);
    emit_jump_shortest(e, exit->back);
    emit_patch_short(e, other);
}

/// What the STORE or VSTORE behind the check writes, to cpu->bounce.
static void store_to_bounce(struct translation *t)
{
    struct emit *e = &t->emit;
    const struct uop *u = &t->pass->uops[++t->index];
    uint8_t value;
    if (u->op == UOP_VSTORE) {
        x86_emit_vector_store_to(t, u, FIELD(bounce));
    } else if (u->b == VAR_IMM && (u->width != WIDTH_64 || u->imm == (int32_t)u->imm)) {
        emit_store_imm(e, u->width, FIELD(bounce), (int32_t)u->imm);
    } else {
        value = u->b == VAR_IMM ? S1 : registers_read(&t->registers, u->b);
        if (u->b == VAR_IMM)
            emit_move_imm(e, S1, (uint64_t)u->imm);
        else if (value == NO_REGISTER)
            t->backend->load_var(t, value = S1, u->b);
        emit_store(e, u->width, FIELD(bounce), value);
    }
    t->index--;
}

/// The walk, and the interpreter when that cannot give a host address.
void x86_miss(struct translation *t, const struct side_exit *exit)
{
    struct emit *e = &t->emit;
    uint8_t linear = registers_read(&t->registers, exit->linear);
    emit_place slow, not_aligned = NULL;

    if (exit->aligned) {
        if (linear == NO_REGISTER)
            x86_load_home(e, S0, exit->linear);
        emit_test_imm(e, WIDTH_32, linear == NO_REGISTER ? S0 : linear, (int32_t)(exit->access & X86_ACCESS_SIZE) - 1);
        not_aligned = emit_jump_if_short(e, EMIT_NOT_EQUAL);
    }
    if (exit->by_base)
        look_again(t, exit);
    if (exit->access & X86_ACCESS_EARLY) { // nothing may be walked for the write yet
        if (not_aligned)
            emit_patch_short(e, not_aligned);
        emit_store_imm(e, WIDTH_8, FIELD(group_failed), 1);
        t->index = exit->uop;
        leave_group(t);
        return;
    }
    t->index = exit->uop;
    if (exit->access & X86_ACCESS_STORE)
        store_to_bounce(t);
    load_linear(t, exit);
    emit_call_to(e, miss_routine(t, exit->access, exit->addend));
    slow = emit_jump_if_short(e, EMIT_EQUAL);
    x86_copy(t, WIDTH_64, exit->result, S0);
    emit_jump_shortest(e, exit->back);
    emit_patch_short(e, slow);
    if (not_aligned)
        emit_patch_short(e, not_aligned);
    if (exit->access & (X86_ACCESS_GROUP | X86_ACCESS_KEPT))
        leave_group(t);
    else
        x86_resume(t);
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_leave_is_empty;

#endif
