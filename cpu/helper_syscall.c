// SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS, FS/GS base instructions (SDM vol. 3 sec. 5.8.7-8).
#include "cpu/debug.h"
#include "cpu/privileged.h"

#define RIGHTS_CODE64 (SEGMENT_P | SEGMENT_S | 0xb | SEGMENT_L | SEGMENT_G)
#define RIGHTS_CODE32 (SEGMENT_P | SEGMENT_S | 0xb | SEGMENT_DB | SEGMENT_G)
#define RIGHTS_STACK (SEGMENT_P | SEGMENT_S | 3 | SEGMENT_DB | SEGMENT_G)

/// Flat CS and SS of ring `cpl` without looking at descriptors.
static void enter_flat(struct cpu *cpu, uint16_t cs, uint16_t ss, unsigned cpl, bool code64)
{
    segment_set(cpu, SEG_CS, cs, 0, UINT32_MAX, (code64 ? RIGHTS_CODE64 : RIGHTS_CODE32) | cpl << 5);
    segment_set(cpu, SEG_SS, ss, 0, UINT32_MAX, RIGHTS_STACK | cpl << 5);
    cpu->cpl = (uint8_t)cpl;
}

/// a = next RIP, b = the six flags.
uint64_t helper_syscall(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    uint16_t cs = (cpu->star >> 32) & 0xfffc;
    uint64_t flags = cpu->var[VAR_FLAGS] | b;

    if (!(cpu->efer & EFER_SCE) || (!cpu_is_64(cpu) && !cpu_is_amd(cpu)) || !cpu_is_protected(cpu))
        return cpu_raise(cpu, VECTOR_UD);
    if (!cpu_is_long(cpu)) { // AMD's, legacy mode
        cpu->var[VAR_RCX] = (uint32_t)a;
        enter_flat(cpu, cs, (uint16_t)(cs + 8), 0, false);
        cpu_set_rflags(cpu, flags & ~(FLAG_IF | FLAG_VM | FLAG_RF));
        return (uint32_t)cpu->star;
    }
    cpu->var[VAR_RCX] = a;
    cpu->var[VAR_R11] = flags & ~FLAG_RF;
    a = cpu_is_64(cpu) ? cpu->lstar : cpu->cstar;
    enter_flat(cpu, cs, (uint16_t)(cs + 8), 0, true);
    cpu_set_rflags(cpu, flags & ~(cpu->sfmask | FLAG_RF));
    cpu->trap_cancelled = flags & cpu->sfmask & FLAG_TF;
    return a;
}

/// imm = operand bytes.
uint64_t helper_sysret(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    uint16_t base = (uint16_t)(cpu->star >> 48);
    bool wide = imm == 8;
    uint64_t rip = wide ? cpu->var[VAR_RCX] : (uint32_t)cpu->var[VAR_RCX];

    if (!(cpu->efer & EFER_SCE) || (!cpu_is_64(cpu) && !cpu_is_amd(cpu)))
        return cpu_raise(cpu, VECTOR_UD);
    if (!cpu_is_protected(cpu) || cpu->cpl > 0 || (wide && !cpu_canonical(cpu, rip)))
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    enter_flat(cpu, (uint16_t)((base + (wide ? 16 : 0)) | 3), (uint16_t)((base + 8) | 3), 3, wide);
    if (cpu_is_long(cpu))
        cpu_set_rflags(cpu, (cpu->var[VAR_R11] & UINT64_C(0x3c7fd7)) | 2);
    else
        cpu_set_rflags(cpu, cpu_rflags(cpu) | FLAG_IF);
    // As in SYSCALL it is the new TF that decides: the trap comes before the first instruction of the program.
    cpu->trap_cancelled = true;
    if (cpu->var[VAR_FLAGS] & FLAG_TF)
        debug_trap(cpu, DR6_BS);
    return rip;
}

uint64_t helper_sysenter(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    uint16_t cs = cpu->sysenter_cs & 0xfffc;
    bool long_mode = cpu_is_long(cpu);
    uint64_t flags = cpu_rflags(cpu) & ~(FLAG_IF | FLAG_VM | FLAG_RF);

    if (!cpu_is_protected(cpu) || !cs)
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    enter_flat(cpu, cs, (uint16_t)(cs + 8), 0, long_mode);
    cpu->var[VAR_RSP] = long_mode ? cpu->sysenter_esp : (uint32_t)cpu->sysenter_esp;
    cpu_set_rflags(cpu, flags);
    return long_mode ? cpu->sysenter_eip : (uint32_t)cpu->sysenter_eip;
}

/// imm = operand bytes.
uint64_t helper_sysexit(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    uint16_t base = cpu->sysenter_cs & 0xfffc;
    bool wide = imm == 8;
    uint64_t rip = cpu->var[VAR_RDX], rsp = cpu->var[VAR_RCX];

    if (!cpu_is_protected(cpu) || !base || cpu->cpl > 0)
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    if (wide && (!cpu_canonical(cpu, rip) || !cpu_canonical(cpu, rsp)))
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    enter_flat(cpu, (uint16_t)((base + (wide ? 32 : 16)) | 3), (uint16_t)((base + (wide ? 40 : 24)) | 3), 3, wide);
    cpu->var[VAR_RSP] = wide ? rsp : (uint32_t)rsp;
    cpu_update_mode(cpu);
    return wide ? rip : (uint32_t)rip;
}

uint64_t helper_swapgs(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    uint64_t base = cpu->var[VAR_GS_BASE];
    cpu->var[VAR_GS_BASE] = cpu->kernel_gs_base;
    cpu->kernel_gs_base = base;
    return 0;
}

/// #UD without CR4.FSGSBASE; a write (imm = 1) of a = base must be canonical.
uint64_t helper_check_fsgsbase(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    if (!(cpu->cr4 & CR4_FSGSBASE))
        return cpu_raise(cpu, VECTOR_UD);
    if (imm && !cpu_canonical_base(cpu, a))
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    return 0;
}
