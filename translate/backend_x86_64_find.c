// The x86-64 backend's way behind the jump cache: when that does not know where flat code goes on, host code asks the
// table of blocks, and leaves only if there is nothing for it. New processes and programs that run at new addresses
// find their code there. Compiled without vector registers: it runs with the guest's in the host's.
#ifdef __x86_64__

#include "cpu/block_table.h"
#include "cpu/cpu.h"
#include "translate/backend_x86_64.h"

#define VICTIM_PATIENCE 16 // a jump that was rare may have pushed out one that is not, for good

/// Whether it is C's business what runs next, though the jump cache might know a block.
static bool is_for_c(const struct cpu *cpu, uint64_t linear)
{
    return !(cpu->mode & MODE_FLAT) || !goes_straight_on(cpu) ||
           ((cpu->mode & MODE_CODE_MASK) != MODE_CODE64 && linear >> 32) || cpu->instructions >= cpu->instruction_limit;
}

/// Where host code goes on with a block without host code, or with a choice of them.
static const void *look_closer(struct cpu *cpu, uint64_t linear, uint64_t key)
{
    const struct block_table *table = block_cache_table(cpu->blocks);
    uint32_t at = block_home(table, key);
    for (struct block *block; (block = block_next(table, key, &at)) != NULL;) {
        if (!block->crosses && block_branch_faults(cpu, linear, block) == block->branch_faults)
            return block_jump_known(cpu, linear, block, block_jump_chain(cpu, block));
    }
    return cpu->no_chain;
}

/// What block_find would find for RIP `linear` if that needs no more than looks: into the jump cache with it. Returns
/// where host code goes on.
static const void *find(struct cpu *cpu, uint64_t linear)
{
    const struct block_table *table = block_cache_table(cpu->blocks);
    uint64_t backing, key;
    cpu->victim_patience = VICTIM_PATIENCE;
    // Near the edge a page that comes there is to be noted.
    if (is_for_c(cpu, linear) || UNLIKELY(block_near_edge(cpu, linear)) ||
        !mmu_fetch_quick(&cpu->mmu, cpu->fetch_mode, linear, &backing))
        return cpu->no_chain;
    cpu->code_page = linear & PAGE_MASK;
    key = block_key(backing, cpu->mode);
    for (uint32_t at = block_home(table, key);; at = (at + 1) & (table->slot_count - 1)) {
        struct block_slot slot = table->slots[at];
        if (slot.key == key && slot.chain)
            return block_jump_known(cpu, linear, block_of_slot(table, slot),
                                    (const uint8_t *)cpu->no_chain + slot.chain);
        if (!slot.block)
            return look_closer(cpu, linear, key);
    }
}

void x86_find_routine(struct emit *e, struct backend_entries *entries, const struct fpu_routines *fpu)
{
    entries->find = e->at;
    e->depth = 0; // jumped to
    x86_look_at_victims(e);
    emit_push(e, S1); // keeps the stack aligned
    x86_push_caller_saved(e);
    emit_load(e, WIDTH_64, HOST_RDI, FIELD(self));
    emit_move(e, WIDTH_64, HOST_RSI, S1);
    emit_move_imm(e, HOST_RAX, (uint64_t)(uintptr_t)find);
    if (X86_KEEP_ALWAYS)
        emit_call_to(e, fpu->keep);
    else
        emit_call_register(e, HOST_RAX);
    emit_move(e, WIDTH_64, S0, HOST_RAX);
    x86_pop_caller_saved(e);
    emit_pop(e, S1);
    emit_jump_register(e, S0);
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_find_is_empty;

#endif
