// The x86-64 backend's way behind the jump cache: when that does not know where flat code goes on, host code asks the
// table of blocks, and leaves only if there is nothing for it. New processes and programs that run at new addresses
// find their code there. Compiled without vector registers: it runs with the guest's in the host's.
#ifdef __x86_64__

#include "cpu/block_table.h"
#include "cpu/cpu.h"
#include "translate/backend_x86_64.h"

/// Whether it is C's business what runs next, though the jump cache might know a block.
static bool is_for_c(const struct cpu *cpu, uint64_t linear)
{
    return !(cpu->mode & MODE_FLAT) || (cpu->mode & MODE_TF) || cpu->code_breakpoints || log_on(cpu->log, LOG_EXEC) ||
           ((cpu->mode & MODE_CODE_MASK) != MODE_CODE64 && linear >> 32) ||
           atomic_load_explicit(&cpu->exit_request, memory_order_relaxed) ||
           cpu->instructions >= cpu->instruction_limit;
}

/// What block_find would find for RIP `linear` if that needs no more than looks: into the jump cache with it. Returns
/// where host code goes on.
static const void *find(struct cpu *cpu, uint64_t linear)
{
    const struct block_table *table = block_cache_table(cpu->blocks);
    uint32_t tag, at;
    uint64_t backing;
    if (is_for_c(cpu, linear) || !mmu_fetch_quick(&cpu->mmu, cpu->fetch_mode, linear, &backing))
        return cpu->no_chain;
    tag = block_tag(backing, cpu->mode);
    at = block_home(table, tag);
    for (struct block *block; (block = block_next(table, tag, &at)) != NULL;) {
        if (block->backing != backing || block->mode != cpu->mode || block->crosses ||
            block_branch_faults(cpu, linear, block) != block->branch_faults)
            continue;
        cpu->code_page = linear & PAGE_MASK;
        return block_jump_known(cpu, linear, block);
    }
    return cpu->no_chain;
}

void x86_find_routine(struct emit *e, struct backend_entries *entries, const struct fpu_routines *fpu)
{
    static const uint8_t saved[] = {HOST_RAX, HOST_RCX, HOST_RDX, HOST_RSI, HOST_RDI,
                                    HOST_R8,  HOST_R9,  HOST_R10, HOST_R11};
    entries->find = e->at;
    emit_push(e, S1); // keeps the stack aligned
    for (unsigned i = 0; i < ARRAY_SIZE(saved); i++)
        emit_push(e, saved[i]);
    emit_load(e, WIDTH_64, HOST_RDI, FIELD(self));
    emit_move(e, WIDTH_64, HOST_RSI, S1);
    emit_move_imm(e, HOST_RAX, (uint64_t)(uintptr_t)find);
    if (X86_KEEP_ALWAYS)
        emit_call_to(e, fpu->keep);
    else
        emit_call_register(e, HOST_RAX);
    emit_move(e, WIDTH_64, S0, HOST_RAX);
    for (unsigned i = ARRAY_SIZE(saved); i-- > 0;)
        emit_pop(e, saved[i]);
    emit_pop(e, S1);
    emit_jump_register(e, S0);
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_find_is_empty;

#endif
