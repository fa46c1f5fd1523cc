// Model-specific registers (SDM vol. 4), CPUID, time stamps, random numbers.
#include "cpu/privileged.h"

#define MSR_EFER 0xc0000080u
#define MTRR_TYPES 0x73u // bit per valid memory type: UC WC WT WP WB

struct msr {
    struct cpu *cpu;
    uint32_t number;
    bool write;
    uint64_t value; // in and out
};

uint64_t cpu_tsc(struct cpu *cpu)
{
    uint64_t base = cpu->outside.tsc ? cpu->outside.tsc(cpu->outside.opaque) : cpu->instructions + cpu->insn_in_block;
    return base + cpu->tsc_adjust;
}

/// A plain register: `writable` bits may be set, others are #GP.
static bool plain(struct msr *m, uint64_t *place, uint64_t writable)
{
    if (!m->write) {
        m->value = *place;
        return true;
    }
    if (m->value & ~writable)
        return false;
    *place = m->value;
    return true;
}

static bool canonical(struct msr *m, uint64_t *place)
{
    if (m->write && !cpu_canonical_base(m->cpu, m->value))
        return false;
    return plain(m, place, UINT64_MAX);
}

static bool constant(struct msr *m, uint64_t value)
{
    if (m->write)
        return false;
    m->value = value;
    return true;
}

/// Reads as `value`, writes are dropped.
static bool ignored(struct msr *m, uint64_t value)
{
    if (!m->write)
        m->value = value;
    return true;
}

static bool efer(struct msr *m)
{
    struct cpu *cpu = m->cpu;
    uint64_t known = 0, changed;

    if (!m->write) {
        m->value = cpu->efer;
        return true;
    }
    known |= model_has(cpu->model, FEATURE_SYSCALL) ? EFER_SCE : 0;
    known |= model_has(cpu->model, FEATURE_LM) ? EFER_LME | EFER_LMA : 0;
    known |= model_has(cpu->model, FEATURE_NX) ? EFER_NXE : 0;
    known |= model_has(cpu->model, FEATURE_AUTO_IBRS) ? EFER_AIBRSE : 0;
    changed = m->value ^ cpu->efer;
    if ((m->value & ~known) || ((changed & EFER_LME) && (cpu->cr0 & CR0_PG)))
        return false;
    cpu->efer = (m->value & ~EFER_LMA) | (cpu->efer & EFER_LMA);
    cpu_update_paging(cpu, false);
    cpu_update_mode(cpu);
    return true;
}

static bool memory_types_valid(uint64_t value, uint32_t types)
{
    for (unsigned i = 0; i < 64; i += 8) {
        uint64_t type = value >> i & 0xff;
        if (type > 7 || !(types >> type & 1))
            return false;
    }
    return true;
}

static bool pat(struct msr *m)
{
    if (m->write && !memory_types_valid(m->value, MTRR_TYPES | 0x80))
        return false;
    return plain(m, &m->cpu->pat, UINT64_MAX);
}

static bool mtrr_fixed(struct msr *m, unsigned n)
{
    if (m->write && !memory_types_valid(m->value, MTRR_TYPES))
        return false;
    return plain(m, &m->cpu->mtrr_fixed[n], UINT64_MAX);
}

static bool mtrr_variable(struct msr *m)
{
    unsigned n = (m->number - 0x200) >> 1;
    uint64_t address = bits_mask(m->cpu->model->physical_bits) & PAGE_MASK;
    if (m->number & 1)
        return plain(m, &m->cpu->mtrr_mask[n], address | BIT(11));
    if (m->write && ((m->value & 0xff) > 7 || !(MTRR_TYPES >> (m->value & 7) & 1)))
        return false;
    return plain(m, &m->cpu->mtrr_base[n], address | 0xff);
}

static bool mtrr_default(struct msr *m)
{
    if (m->write && ((m->value & 0xff) > 7 || !(MTRR_TYPES >> (m->value & 7) & 1)))
        return false;
    return plain(m, &m->cpu->mtrr_default, 0xcff);
}

static bool mtrr(struct msr *m)
{
    if (!model_has(m->cpu->model, FEATURE_MTRR))
        return false;
    switch (m->number) {
    case 0xfe:
        return constant(m, 0x508); // 8 variable ranges, fixed ranges, WC
    case 0x250:
        return mtrr_fixed(m, 0);
    case 0x258:
    case 0x259:
        return mtrr_fixed(m, m->number - 0x257);
    case 0x2ff:
        return mtrr_default(m);
    default:
        return m->number >= 0x268 ? mtrr_fixed(m, m->number - 0x268 + 3) : mtrr_variable(m);
    }
}

static bool machine_check(struct msr *m)
{
    unsigned bank = (m->number - 0x400) >> 2, part = m->number & 3;
    if (!model_has(m->cpu->model, FEATURE_MCA))
        return false;
    if (m->number == 0x179)
        return constant(m, ARRAY_SIZE(m->cpu->mc_bank));
    if (m->number == 0x17a)
        return plain(m, &m->cpu->mcg_status, 7);
    // Status, address and misc can only be cleared.
    return plain(m, &m->cpu->mc_bank[bank][part], part == 0 ? UINT64_MAX : 0);
}

/// IA32_TSC_DEADLINE is a time of the guest's TSC, the timer knows the one before IA32_TSC_ADJUST. 0: not armed.
static uint64_t get_deadline(struct cpu *cpu)
{
    const struct cpu_outside *o = &cpu->outside;
    uint64_t value = o->tsc_deadline_read ? o->tsc_deadline_read(o->opaque) : 0;
    return value ? value + cpu->tsc_adjust : 0;
}

static void set_deadline(struct cpu *cpu, uint64_t value)
{
    const struct cpu_outside *o = &cpu->outside;
    uint64_t now = cpu_tsc(cpu), base = now - cpu->tsc_adjust;
    if (!o->tsc_deadline_write)
        return;
    if (value && value <= now)
        value = base ? base : 1; // over already
    else if (value)
        value = value - now < UINT64_MAX - base ? base + (value - now) : UINT64_MAX;
    o->tsc_deadline_write(o->opaque, value);
}

static bool tsc_deadline(struct msr *m)
{
    if (!model_has(m->cpu->model, FEATURE_TSC_DEADLINE))
        return false;
    if (m->write)
        set_deadline(m->cpu, m->value);
    else
        m->value = get_deadline(m->cpu);
    return true;
}

/// The TSC jumps: an armed deadline stays where it is in the TSC's time.
static void set_adjust(struct cpu *cpu, uint64_t value)
{
    uint64_t deadline = get_deadline(cpu);
    cpu->tsc_adjust = value;
    if (deadline)
        set_deadline(cpu, deadline);
}

static bool time_stamp(struct msr *m)
{
    struct cpu *cpu = m->cpu;
    if (!model_has(cpu->model, FEATURE_TSC))
        return false;
    if (m->write)
        set_adjust(cpu, cpu->tsc_adjust + m->value - cpu_tsc(cpu));
    else
        m->value = cpu_tsc(cpu);
    return true;
}

static bool tsc_adjust(struct msr *m)
{
    if (!model_has(m->cpu->model, FEATURE_TSC_ADJUST))
        return false;
    if (m->write)
        set_adjust(m->cpu, m->value);
    else
        m->value = m->cpu->tsc_adjust;
    return true;
}

static bool apic_base(struct msr *m)
{
    const struct cpu_outside *o = &m->cpu->outside;
    if (!model_has(m->cpu->model, FEATURE_APIC))
        return false;
    // What the APIC does not know: how wide addresses are, whether there is an x2APIC.
    if (m->write && ((m->value >> m->cpu->model->physical_bits) ||
                     ((m->value & BIT(10)) && !model_has(m->cpu->model, FEATURE_X2APIC))))
        return false;
    if (m->write)
        return o->apic_base_write && o->apic_base_write(o->opaque, m->value);
    m->value = o->apic_base_read ? o->apic_base_read(o->opaque) : 0xfee00000u | (m->cpu->index == 0 ? 0x100 : 0);
    return true;
}

static bool x2apic(struct msr *m)
{
    const struct cpu_outside *o = &m->cpu->outside;
    if (!model_has(m->cpu->model, FEATURE_X2APIC))
        return false;
    if (m->write)
        return o->x2apic_write && o->x2apic_write(o->opaque, m->number, m->value);
    return o->x2apic_read && o->x2apic_read(o->opaque, m->number, &m->value);
}

static bool misc_enable(struct msr *m)
{
    static const uint64_t known = 1 | BIT(3) | BIT(16) | BIT(18) | BIT(22) | BIT(34); // what a guest may toggle
    static const uint64_t fixed = BIT(11) | BIT(12);                                  // no BTS, no PEBS
    uint64_t absent = model_has(m->cpu->model, FEATURE_MONITOR) ? 0 : MISC_ENABLE_MONITOR;
    if (m->write)
        m->cpu->misc_enable = m->value & known & ~absent;
    else
        m->value = m->cpu->misc_enable | fixed;
    return true;
}

static bool fs_gs_base(struct msr *m)
{
    struct cpu *cpu = m->cpu;
    if (!model_has(cpu->model, FEATURE_LM))
        return false;
    switch (m->number & 0xff) {
    case 0x00:
        return canonical(m, &cpu->var[VAR_FS_BASE]);
    case 0x01:
        return canonical(m, &cpu->var[VAR_GS_BASE]);
    default:
        return canonical(m, &cpu->kernel_gs_base);
    }
}

static bool system_call(struct msr *m)
{
    struct cpu *cpu = m->cpu;
    switch (m->number) {
    case 0xc0000081:
        return model_has(cpu->model, FEATURE_SYSCALL) && plain(m, &cpu->star, UINT64_MAX);
    case 0xc0000082:
        return model_has(cpu->model, FEATURE_LM) && canonical(m, &cpu->lstar);
    case 0xc0000083:
        return model_has(cpu->model, FEATURE_LM) && canonical(m, &cpu->cstar);
    default:
        if (m->write)
            m->value = (uint32_t)m->value;
        return model_has(cpu->model, FEATURE_LM) && plain(m, &cpu->sfmask, UINT32_MAX);
    }
}

static bool sysenter(struct msr *m)
{
    struct cpu *cpu = m->cpu;
    if (!model_has(cpu->model, FEATURE_SEP))
        return false;
    switch (m->number) {
    case 0x174:
        if (m->write)
            m->value = (uint32_t)m->value;
        return plain(m, &cpu->sysenter_cs, UINT32_MAX);
    case 0x175:
        return canonical(m, &cpu->sysenter_esp);
    default:
        return canonical(m, &cpu->sysenter_eip);
    }
}

/// What Linux and firmware touch on processors of AMD's; harmless to have.
static bool amd(struct msr *m)
{
    static const uint32_t known[] = {
        0xc0010010, // SYSCFG
        0xc001001a, // TOP_MEM
        0xc001001d, // TOP_MEM2
        0xc001001f, // NB_CFG
        0xc0010055, // interrupt pending
        0xc0010112, // SMM base, mask
        0xc0010113,
        0xc0010114, // VM_CR
        0xc0011022, // DC_CFG
        0xc0011023, // BU_CFG
        0xc0011029, // DE_CFG
    };
    if (!cpu_is_amd(m->cpu))
        return false;
    if (m->number == 0xc0010015)
        return ignored(m, BIT(24)); // the TSC counts with a constant frequency
    for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
        if (known[i] == m->number)
            return ignored(m, m->number == 0xc0011029 ? 2 : 0); // LFENCE is serialising
    }
    return false;
}

/// What tells of hardware bugs and their mitigations: by feature, whatever the vendor.
static bool speculation(struct msr *m)
{
    struct cpu *cpu = m->cpu;
    switch (m->number) {
    case 0x48:
        // IBRS, STIBP, SSBD; BHI_DIS_S
        return model_has(cpu->model, FEATURE_SPEC_CTRL) &&
               plain(m, &cpu->spec_ctrl, 7 | (model_has(cpu->model, FEATURE_BHI_CTRL) ? BIT(10) : 0));
    case 0x49: // IBPB comes with SPEC_CTRL; there is nothing to flush
        return model_has(cpu->model, FEATURE_SPEC_CTRL) && m->write && m->value <= 1;
    default:
        return model_has(cpu->model, FEATURE_ARCH_CAPABILITIES) && constant(m, MODEL_ARCH_CAPABILITIES);
    }
}

static bool intel(struct msr *m)
{
    switch (m->number) {
    case 0x17: // platform id
    case 0x2a: // hard power-on configuration
        return constant(m, 0);
    case 0x3a: // feature control: locked
        return constant(m, 1);
    case 0x79: // microcode update trigger
        return m->write;
    case 0x1a0:
        return misc_enable(m);
    default:
        return false;
    }
}

static bool access_msr(struct msr *m)
{
    struct cpu *cpu = m->cpu;
    uint32_t n = m->number;

    if (n == 0xfe || (n >= 0x200 && n <= 0x20f) || n == 0x250 || n == 0x258 || n == 0x259 ||
        (n >= 0x268 && n <= 0x26f) || n == 0x2ff)
        return mtrr(m);
    if (n == 0x179 || n == 0x17a || (n >= 0x400 && n < 0x400 + 4 * ARRAY_SIZE(cpu->mc_bank)))
        return machine_check(m);
    if (n >= 0x800 && n <= 0x8ff)
        return x2apic(m);
    switch (n) {
    case 0x00: // P5_MC_ADDR, P5_MC_TYPE
    case 0x01:
        return ignored(m, 0);
    case 0x10:
        return time_stamp(m);
    case 0x1b:
        return apic_base(m);
    case 0x48:
    case 0x49:
    case 0x10a:
        return speculation(m);
    case 0x3b:
        return tsc_adjust(m);
    case 0x8b: // microcode revision: written 0 before CPUID, then read
        return ignored(m, cpu->microcode ? cpu->microcode : BIT(32));
    case 0x174:
    case 0x175:
    case 0x176:
        return sysenter(m);
    case 0x1d9:
        return plain(m, &cpu->debugctl, cpu_is_amd(cpu) ? 0x3f : 3); // LBR, BTF; AMD: pins
    case 0x1db:                                                      // last branch, last exception: none recorded
    case 0x1dc:
    case 0x1dd:
    case 0x1de:
        return constant(m, 0);
    case 0x277:
        return model_has(cpu->model, FEATURE_PAT) && pat(m);
    case 0x6e0:
        return tsc_deadline(m);
    case 0xda0: // XSS: no supervisor state components
        return model_has(cpu->model, FEATURE_XSAVES) && plain(m, &cpu->xss, 0);
    case MSR_EFER:
        return (model_has(cpu->model, FEATURE_NX) || model_has(cpu->model, FEATURE_LM)) && efer(m);
    case 0xc0000081:
    case 0xc0000082:
    case 0xc0000083:
    case 0xc0000084:
        return system_call(m);
    case 0xc0000100:
    case 0xc0000101:
    case 0xc0000102:
        return fs_gs_base(m);
    case 0xc0000103:
        return (model_has(cpu->model, FEATURE_RDTSCP) || model_has(cpu->model, FEATURE_RDPID)) &&
               plain(m, &cpu->tsc_aux, UINT32_MAX);
    default:
        return cpu_is_amd(cpu) ? amd(m) : intel(m);
    }
}

uint64_t helper_rdmsr(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    struct msr m = {.cpu = cpu, .number = (uint32_t)cpu->var[VAR_RCX]};
    if (!access_msr(&m)) {
        log_print(cpu->log, LOG_UNIMP, "rdmsr %08x: #GP\n", m.number);
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    }
    cpu->var[VAR_RAX] = (uint32_t)m.value;
    cpu->var[VAR_RDX] = m.value >> 32;
    return 0;
}

uint64_t helper_wrmsr(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    struct msr m = {.cpu = cpu,
                    .number = (uint32_t)cpu->var[VAR_RCX],
                    .write = true,
                    .value = (uint32_t)cpu->var[VAR_RAX] | cpu->var[VAR_RDX] << 32};
    if (!access_msr(&m)) {
        log_print(cpu->log, LOG_UNIMP, "wrmsr %08x = %08x%08x: #GP\n", m.number, (unsigned)cpu->var[VAR_RDX],
                  (unsigned)cpu->var[VAR_RAX]);
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    }
    if (atomic_load_explicit(&cpu->pending, memory_order_relaxed))
        cpu_request_poll(cpu);
    return 0;
}

uint64_t helper_cpuid(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    struct cpuid_result r = model_cpuid(cpu, (uint32_t)cpu->var[VAR_RAX], (uint32_t)cpu->var[VAR_RCX]);
    cpu->var[VAR_RAX] = r.eax;
    cpu->var[VAR_RBX] = r.ebx;
    cpu->var[VAR_RCX] = r.ecx;
    cpu->var[VAR_RDX] = r.edx;
    return 0;
}

/// imm = 1: RDTSCP.
uint64_t helper_rdtsc(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    uint64_t tsc;
    if ((cpu->cr4 & CR4_TSD) && cpu->cpl > 0)
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    tsc = cpu_tsc(cpu);
    cpu->var[VAR_RAX] = (uint32_t)tsc;
    cpu->var[VAR_RDX] = tsc >> 32;
    if (imm)
        cpu->var[VAR_RCX] = (uint32_t)cpu->tsc_aux;
    return 0;
}

/// No performance counters exist: any number is #GP.
uint64_t helper_rdpmc(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    return cpu_raise_error(cpu, VECTOR_GP, 0);
}

uint64_t helper_rdpid(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    return (uint32_t)cpu->tsc_aux;
}

/// A generator that repeats: a splitmix sequence per vCPU, kept with its state.
uint64_t helper_random(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    uint64_t z = cpu->random_state += UINT64_C(0x9e3779b97f4a7c15);
    z ^= (uint64_t)cpu->index << 56;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}
