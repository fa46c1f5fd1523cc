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

void x86_leave_routine(struct emit *e, struct backend_entries *entries)
{
    emit_place result;
    entries->leave_number = e->at;
    emit_pop(e, S0);
    emit_test(e, WIDTH_32, S0, S0);
    result = emit_jump_if_short(e, 9); // not negative
    emit_unary(e, EMIT_NOT, WIDTH_32, S0);
    emit_shift_imm(e, EMIT_SHL, WIDTH_32, S0, HOST_NUMBER_SHIFT);
    emit_alu_imm(e, EMIT_OR, WIDTH_32, S0, HOST_RESUME);
    emit_patch_short(e, result);
    emit_shift_imm(e, EMIT_SHL, WIDTH_64, S0, X86_LEAVE_SHIFT);
    emit_alu(e, EMIT_OR, WIDTH_64, S0, S1);
    emit_jump_to(e, entries->leave);
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
}

/// Where the interpreter may go on instead of at the uop: addresses that were computed just before it can be computed
/// again, and need not be kept then.
static unsigned earlier(const struct translation *t, unsigned index)
{
    for (; index > 0; index--) {
        const struct uop *u = &t->pass->uops[index - 1], *original = &t->block->uops[index - 1];
        if (u->op != UOP_EA || original->op != UOP_EA || u->dst != original->dst || u->dst < VAR_TEMP ||
            original->a >= VAR_TEMP || original->b >= VAR_TEMP || original->insn != t->block->uops[index].insn)
            break;
    }
    return index;
}

static bool same_flags(const struct pending_flags *a, const struct pending_flags *b)
{
    return a->words == b->words && (!a->words || (a->compare == b->compare && a->a == b->a && a->b == b->b &&
                                                  a->imm == b->imm && a->op == b->op));
}

static bool same_pointers(const struct x87_pointers *a, const struct x87_pointers *b)
{
    return a->pending == b->pending && (!a->pending || (a->offset == b->offset && a->opcode == b->opcode));
}

/// Registers without temporaries that would have to be stored.
static bool same_registers(const struct registers *a, const struct registers *b)
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
        if (shared->block == t->block && same_flags(&shared->pending, &t->pending) &&
            same_pointers(&shared->pointers, &t->pointers) && same_registers(&shared->registers, &t->registers)) {
            emit_jump_shortest(e, shared->at);
            return;
        }
    }
    shared = &t->leaves.shared[t->leaves.shared_count++ % SHARED_LEAVES];
    *shared = (struct shared_leave){
        .at = e->at, .block = t->block, .pending = t->pending, .pointers = t->pointers, .registers = t->registers};
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
}

/// The routine for an access, with S1 set where it wants that.
static const uint8_t *miss_routine(struct translation *t, uint32_t access, bool addend)
{
    const struct backend_entries *entries = t->entries;
    unsigned size = access & X86_ACCESS_SIZE, log = (unsigned)__builtin_ctz(size | 0x100);
    if (!(access & X86_ACCESS_GROUP) && size == 1u << log && log < MISS_SIZES)
        return entries->plain_miss[access >> X86_ACCESS_MODE_SHIFT & 3][!!(access & X86_ACCESS_WRITE)][addend][log];
    emit_move_imm(&t->emit, S1, access);
    return addend ? entries->miss_addend : entries->miss;
}

void x86_miss_routines(struct emit *e, struct backend_entries *entries, const struct fpu_routines *fpu)
{
    emit_place failed;
    entries->miss = e->at;
    x86_miss_routine(e, fpu);

    entries->miss_addend = e->at;
    emit_push(e, S0);
    emit_call_to(e, entries->miss);
    emit_pop(e, S1);
    failed = emit_jump_if_short(e, EMIT_EQUAL);
    emit_alu(e, EMIT_SUB, WIDTH_64, S0, S1);
    emit_test(e, WIDTH_64, HOST_RSP, HOST_RSP); // not zero
    emit_patch_short(e, failed);
    emit_return(e);

    for (unsigned mode = 0; mode < MMU_MODES; mode++) {
        for (unsigned i = 0; i < 4 * MISS_SIZES; i++) {
            unsigned log = i / 4, write = i / 2 % 2, addend = i % 2;
            entries->plain_miss[mode][write][addend][log] = e->at;
            emit_move_imm(e, S1, x86_access(1u << log, write, (enum mmu_mode)mode));
            emit_jump_to(e, addend ? entries->miss_addend : entries->miss);
        }
    }
}

/// The walk, and the interpreter when that cannot give a host address.
void x86_miss(struct translation *t, const struct side_exit *exit)
{
    struct emit *e = &t->emit;
    uint8_t linear = exit->registers.of[exit->linear];
    emit_place slow;

    if (linear != NO_REGISTER)
        x86_copy(t, WIDTH_64, S0, linear);
    else
        x86_load_home(e, S0, exit->linear);
    emit_call_to(e, miss_routine(t, exit->access, exit->addend));
    slow = emit_jump_if_short(e, EMIT_EQUAL);
    x86_copy(t, WIDTH_64, exit->result, S0);
    emit_jump_shortest(e, exit->back);
    emit_patch_short(e, slow);
    t->index = exit->uop;
    x86_resume(t);
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_leave_is_empty;

#endif
