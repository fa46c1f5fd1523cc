// The x86-64 backend's way into the MMU: what host code calls when the soft TLB cannot say where an access goes.
#ifdef __x86_64__

#include "cpu/block.h"
#include "cpu/cpu.h"
#include "translate/backend_x86_64.h"

/// Whether a group of accesses lies on two pages.
static bool straddles(uint64_t linear, uint32_t access)
{
    uint64_t first = linear - (access >> X86_ACCESS_BELOW_SHIFT & 0xff);
    uint64_t last = first + (access >> X86_ACCESS_BYTES_SHIFT) - 1;
    return (first ^ last) & PAGE_MASK;
}

static uint64_t walk(struct cpu *cpu, uint64_t linear, uint32_t access)
{
    struct mmu_handle handle;
    struct mmu_fault fault;
    enum mmu_access kind = access & X86_ACCESS_WRITE ? MMU_WRITE : MMU_READ;
    enum mmu_mode mode = (enum mmu_mode)(access >> X86_ACCESS_MODE_SHIFT & 3);
    if ((access & X86_ACCESS_GROUP) && straddles(linear, access)) {
        cpu->group_failed = true;
        return 0;
    }
    if (!mmu_access(&cpu->mmu, mode, kind, linear, access & X86_ACCESS_SIZE, &handle, &fault) || handle.crosses)
        return 0;
    // What has no entry in the TLB (code, watched pages) is seen access by access.
    if ((access & X86_ACCESS_GROUP) && !tlb_lookup(&cpu->mmu, mode, kind, linear, access & X86_ACCESS_SIZE)) {
        cpu->group_failed = true;
        return 0;
    }
    // Beside code the address is good for this one access.
    if (handle.code && (handle.watched || block_cache_covers(cpu->blocks, handle.piece[0].host, handle.size)))
        return 0;
    return (uint64_t)(uintptr_t)handle.piece[0].host;
}

#define BESIDE_CODE BIT(63) // no host address has it

/// The plain case, with vector registers in place. The result may be BESIDE_CODE.
static uint64_t refill(struct cpu *cpu, uint64_t linear, uint32_t access)
{
    bool code;
    uint64_t host;
    if ((access & X86_ACCESS_GROUP) && straddles(linear, access))
        return 0;
    host = (uint64_t)(uintptr_t)mmu_refill(&cpu->mmu, (enum mmu_mode)(access >> X86_ACCESS_MODE_SHIFT & 3),
                                           access & X86_ACCESS_WRITE ? MMU_WRITE : MMU_READ, linear,
                                           access & X86_ACCESS_SIZE, &code);
    if (UNLIKELY(code))
        return access & X86_ACCESS_GROUP ? 0 : host | BESIDE_CODE;
    return host;
}

static uint64_t beside_code(struct cpu *cpu, uint64_t host, uint32_t access)
{
    host &= ~BESIDE_CODE;
    return block_cache_covers(cpu->blocks, (const uint8_t *)(uintptr_t)host, access & X86_ACCESS_SIZE) ? 0 : host;
}

/// rax = what the function makes of the value in `from` and the access in S1, with the host's flags of it.
static void call(struct emit *e, uint64_t (*function)(struct cpu *, uint64_t, uint32_t), uint8_t from,
                 const uint8_t *keep)
{
    emit_load(e, WIDTH_64, HOST_RDI, FIELD(self));
    emit_move(e, WIDTH_64, HOST_RSI, from);
    emit_move(e, WIDTH_32, HOST_RDX, S1);
    emit_move_imm(e, HOST_RAX, (uint64_t)(uintptr_t)function);
    if (keep)
        emit_call_to(e, keep); // residency survives
    else
        emit_call_register(e, HOST_RAX);
    emit_test(e, WIDTH_64, HOST_RAX, HOST_RAX);
}

#ifdef DOPPEL_SANITIZED
#define REFILL_KEEP fpu->keep
#else
#define REFILL_KEEP NULL
#endif
#define IF_NOT_NEGATIVE 9u

void x86_miss_routine(struct emit *e, const struct fpu_routines *fpu)
{
    static const uint8_t saved[] = {HOST_RAX, HOST_RCX, HOST_RDX, HOST_RSI, HOST_RDI,
                                    HOST_R8,  HOST_R9,  HOST_R10, HOST_R11};
    emit_place slow, plain, done;
    for (unsigned i = 0; i < ARRAY_SIZE(saved); i++)
        emit_push(e, saved[i]);
    call(e, refill, S0, REFILL_KEEP);
    slow = emit_jump_if(e, EMIT_EQUAL);
    plain = emit_jump_if(e, IF_NOT_NEGATIVE);
    call(e, beside_code, HOST_RAX, fpu->keep);
    done = emit_jump(e);
    emit_patch_here(e, slow);
    call(e, walk, S0, fpu->keep);
    emit_patch_here(e, done);
    emit_patch_here(e, plain);
    emit_move(e, WIDTH_64, S0, HOST_RAX);
    for (unsigned i = ARRAY_SIZE(saved); i-- > 0;)
        emit_pop(e, saved[i]);
    emit_return(e);
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_memory_is_empty;

#endif
