// Control and debug registers, descriptor table registers, TLB instructions (SDM vol. 3 ch. 2, sec. 4.10.4, 17.2).
#include "cpu/debug.h"
#include "cpu/privileged.h"
#include "cpu/segment.h"

static uint64_t general_protection(struct cpu *cpu)
{
    return cpu_raise_error(cpu, VECTOR_GP, 0);
}

uint64_t helper_get_control(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    switch (imm) {
    case 0:
        return cpu->cr0;
    case 2:
        return cpu->cr2;
    case 3:
        return cpu->cr3;
    case 4:
        return cpu->cr4;
    default: // 8
        return cpu->outside.tpr_read ? cpu->outside.tpr_read(cpu->outside.opaque) & 15 : 0;
    }
}

/// PAE outside long mode loads its four pointers at once; a bad one is #GP.
static bool load_pdptes(struct cpu *cpu, uint64_t cr0, uint64_t cr3, uint64_t cr4)
{
    if (!(cr0 & CR0_PG) || !(cr4 & CR4_PAE) || (cpu->efer & EFER_LMA) ||
        ((cpu->efer & EFER_LME) && !(cpu->cr0 & CR0_PG)))
        return true;
    return mmu_load_pdptes(&cpu->mmu, cr3) || general_protection(cpu);
}

static uint64_t set_cr0(struct cpu *cpu, uint64_t value)
{
    static const uint64_t known =
        CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;
    uint64_t changed;

    if (value >> 32)
        return general_protection(cpu);
    value = (value & known) | CR0_ET;
    changed = value ^ cpu->cr0;
    if (((value & CR0_PG) && !(value & CR0_PE)) || ((value & CR0_NW) && !(value & CR0_CD)))
        return general_protection(cpu);
    if ((changed & CR0_PG) && (value & CR0_PG) && (cpu->efer & EFER_LME) &&
        (!(cpu->cr4 & CR4_PAE) || (cpu->segment[SEG_CS].rights & SEGMENT_L) || !(cpu->segment[SEG_TR].rights & 8)))
        return general_protection(cpu);
    if ((changed & CR0_PG) && !(value & CR0_PG) && (cpu_is_64(cpu) || (cpu->cr4 & CR4_PCIDE)))
        return general_protection(cpu);
    if ((changed & (CR0_PG | CR0_CD | CR0_NW)) && !load_pdptes(cpu, value, cpu->cr3, cpu->cr4))
        return 0;
    cpu->cr0 = value;
    if (changed & CR0_PG) {
        if ((value & CR0_PG) && (cpu->efer & EFER_LME))
            cpu->efer |= EFER_LMA;
        else
            cpu->efer &= ~EFER_LMA;
    }
    cpu_update_paging(cpu, false);
    cpu_update_mode(cpu);
    return 0;
}

static uint64_t set_cr3(struct cpu *cpu, uint64_t value)
{
    uint64_t keep = 0; // bit 63 asks to keep the PCID's entries
    if (cpu_is_64(cpu) && (cpu->cr4 & CR4_PCIDE)) {
        keep = value & BIT(63);
        value &= ~keep;
    }
    if (!cpu_is_64(cpu))
        value = (uint32_t)value;
    if (cpu_is_long(cpu) && value >> cpu->model->physical_bits)
        return general_protection(cpu);
    if (!load_pdptes(cpu, cpu->cr0, value, cpu->cr4))
        return 0;
    cpu->cr3 = value;
    mmu_set_control(&cpu->mmu, cpu->cr0, value | keep, cpu->cr4, cpu->efer, true);
    return 0;
}

uint64_t cpu_cr4_known(const struct cpu *cpu)
{
    static const struct {
        enum cpu_feature feature;
        uint64_t bits;
    } bits[] = {
        {FEATURE_VME, CR4_VME | CR4_PVI}, {FEATURE_TSC, CR4_TSD},       {FEATURE_DE, CR4_DE},
        {FEATURE_PSE, CR4_PSE},           {FEATURE_PAE, CR4_PAE},       {FEATURE_MCE, CR4_MCE},
        {FEATURE_PGE, CR4_PGE},           {FEATURE_MMX, CR4_PCE},       {FEATURE_FXSR, CR4_OSFXSR},
        {FEATURE_SSE, CR4_OSXMMEXCPT},    {FEATURE_UMIP, CR4_UMIP},     {FEATURE_FSGSBASE, CR4_FSGSBASE},
        {FEATURE_PCID, CR4_PCIDE},        {FEATURE_XSAVE, CR4_OSXSAVE}, {FEATURE_SMEP, CR4_SMEP},
        {FEATURE_SMAP, CR4_SMAP},         {FEATURE_LA57, CR4_LA57},
    };
    uint64_t known = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(bits); i++)
        known |= model_has(cpu->model, bits[i].feature) ? bits[i].bits : 0;
    return known;
}

static uint64_t set_cr4(struct cpu *cpu, uint64_t value)
{
    static const uint64_t paging = CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP;
    uint64_t changed = value ^ cpu->cr4;

    if (value & ~cpu_cr4_known(cpu))
        return general_protection(cpu);
    if (cpu_is_long(cpu) && (!(value & CR4_PAE) || (changed & CR4_LA57)))
        return general_protection(cpu);
    if ((changed & value & CR4_PCIDE) && (!cpu_is_long(cpu) || (cpu->cr3 & 0xfff)))
        return general_protection(cpu);
    if ((changed & paging) && !load_pdptes(cpu, cpu->cr0, cpu->cr3, value))
        return 0;
    cpu->cr4 = value;
    cpu_update_paging(cpu, false);
    cpu_update_mode(cpu);
    return 0;
}

/// a = value, imm = number; 32-bit code gives 32 bits.
uint64_t helper_set_control(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    switch (imm) {
    case 0:
        return set_cr0(cpu, a);
    case 2:
        cpu->cr2 = a;
        return 0;
    case 3:
        return set_cr3(cpu, a);
    case 4:
        return set_cr4(cpu, a);
    default: // 8
        if (a > 15)
            return general_protection(cpu);
        if (cpu->outside.tpr_write)
            cpu->outside.tpr_write(cpu->outside.opaque, (uint8_t)a);
        cpu_request_poll(cpu);
        return 0;
    }
}

/// LMSW: the low four bits; PE can be set but not cleared.
uint64_t helper_lmsw(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    return set_cr0(cpu, (cpu->cr0 & ~UINT64_C(0xe)) | (a & 0xf));
}

uint64_t helper_clts(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    cpu->cr0 &= ~CR0_TS;
    cpu_update_mode(cpu);
    return 0;
}

// ---- Debug registers --------------------------------------------------------------------------------------------

/// DR4 and DR5 are DR6 and DR7, or #UD; DR7.GD traps any access. False: a fault is pending.
static bool debug_access(struct cpu *cpu, uint64_t *number)
{
    if (*number == 4 || *number == 5) {
        if (cpu->cr4 & CR4_DE)
            return cpu_raise(cpu, VECTOR_UD);
        *number += 2;
    }
    if (cpu->dr[7] & DR7_GD) {
        cpu->var[VAR_FLAGS] |= FLAG_RF; // the one #DB that pushes it as other faults do
        debug_fault(cpu, DR6_BD);
        return false;
    }
    return true;
}

uint64_t helper_get_debug(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    return debug_access(cpu, &imm) ? cpu->dr[imm & 7] : 0;
}

uint64_t helper_set_debug(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    if (!debug_access(cpu, &imm))
        return 0;
    if (imm >= 6 && a >> 32)
        return general_protection(cpu);
    if (imm == 6)
        a = (a & DR6_KNOWN) | DR6_ONES;
    else if (imm == 7)
        a = (a & DR7_KNOWN) | DR7_ONES;
    cpu->dr[imm & 7] = a;
    if (imm != 6)
        debug_update(cpu);
    return 0;
}

// ---- Descriptor tables ------------------------------------------------------------------------------------------

/// LGDT, LIDT. a = linear, b = linear of the base field, imm = 1: IDT, bits 8..15: operand size.
uint64_t helper_load_table(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    unsigned operand = (unsigned)imm >> 8 & 0xff, bytes = cpu_is_64(cpu) ? 8 : 4;
    uint64_t limit, base;
    struct mmu_fault fault;

    if (!mmu_read(&cpu->mmu, cpu->data_mode, a, 2, &limit, &fault) ||
        !mmu_read(&cpu->mmu, cpu->data_mode, b, bytes, &base, &fault))
        return cpu_raise_mmu(cpu, &fault, false);
    if (bytes == 4 && operand == 2)
        base &= 0xffffff;
    if (!cpu_canonical_base(cpu, base))
        return general_protection(cpu);
    *(imm & 1 ? &cpu->idt : &cpu->gdt) = (struct descriptor_table){.base = base, .limit = (uint16_t)limit};
    return 0;
}

/// SGDT, SIDT. a, b, imm as for helper_load_table.
uint64_t helper_store_table(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    const struct descriptor_table *table = imm & 1 ? &cpu->idt : &cpu->gdt;
    unsigned bytes = cpu_is_64(cpu) ? 8 : 4;
    struct mmu_handle limit, base;
    struct mmu_fault fault;

    if ((cpu->cr4 & CR4_UMIP) && cpu->cpl > 0)
        return general_protection(cpu);
    if (!cpu_check_alignment(cpu, a, bytes))
        return 0;
    if (!mmu_access(&cpu->mmu, cpu->data_mode, MMU_WRITE, a, 2, &limit, &fault) ||
        !mmu_access(&cpu->mmu, cpu->data_mode, MMU_WRITE, b, bytes, &base, &fault))
        return cpu_raise_mmu(cpu, &fault, false);
    mmu_handle_store(&cpu->mmu, &limit, table->limit);
    mmu_handle_store(&cpu->mmu, &base, table->base);
    return 0;
}

// ---- TLB --------------------------------------------------------------------------------------------------------

uint64_t helper_invlpg(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    if (cpu_canonical(cpu, a))
        mmu_flush_page(&cpu->mmu, a);
    return 0;
}

/// a = type, b = linear address of the descriptor.
uint64_t helper_invpcid(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    uint64_t pcid, linear;
    struct mmu_fault fault;

    if (!mmu_read(&cpu->mmu, cpu->data_mode, b, 8, &pcid, &fault) ||
        !mmu_read(&cpu->mmu, cpu->data_mode, cpu_is_64(cpu) ? b + 8 : (uint32_t)(b + 8), 8, &linear, &fault))
        return cpu_raise_mmu(cpu, &fault, false);
    if (a > 3 || pcid >> 12 || (a == 0 && !cpu_canonical(cpu, linear)) || (a <= 1 && !(cpu->cr4 & CR4_PCIDE) && pcid))
        return general_protection(cpu);
    mmu_invalidate_pcid(&cpu->mmu, (unsigned)a, (uint16_t)pcid, linear);
    return 0;
}
