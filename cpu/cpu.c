// The vCPU's life: creation, reset, flags, mode, pins, faults. Execution is elsewhere (interp.c, run.c).
#include "cpu/cpu.h"

#include <stdlib.h>

#include "base/host.h"
#include "cpu/block.h"
#include "cpu/cc.h"
#include "cpu/debug.h"
#include "cpu/model.h"

/// What jump caches and guards compare: the MMU's number for code of the present privilege.
static void set_jump_epoch(struct cpu *cpu)
{
    cpu->jump_epoch = cpu->mmu.fetch_epoch[cpu->fetch_mode == MMU_USER];
}

static void forget_pages(struct cpu_pages *pages)
{
    for (uint32_t i = 0; i < pages->count; i++)
        pages->at[pages->known[i]] = PAGE_NOWHERE;
    pages->count = 0;
}

void cpu_forget_pages(struct cpu *cpu)
{
    forget_pages(&cpu->pages[0]);
    forget_pages(&cpu->pages[1]);
}

void cpu_note_page(struct cpu *cpu, unsigned slot, uint64_t linear)
{
    struct cpu_pages *pages = &cpu->pages[cpu->fetch_mode == MMU_USER];
    if (!slot)
        return;
    if (pages->at[slot] == PAGE_NOWHERE)
        pages->known[pages->count++] = (uint16_t)slot;
    pages->at[slot] = linear & PAGE_MASK;
}

static void fetches_changed(void *opaque)
{
    struct cpu *cpu = opaque;
    if (UNLIKELY(cpu->mmu.epochs_restarted)) {
        cpu->mmu.epochs_restarted = false;
        memset(cpu->jump_cache, 0, JUMP_CACHE_ENTRIES * sizeof *cpu->jump_cache);
        cpu_forget_pages(cpu);
    }
    for (unsigned user = 0; user < 2; user++) {
        if (cpu->pages[user].epoch != cpu->mmu.fetch_epoch[user])
            forget_pages(&cpu->pages[user]);
        cpu->pages[user].epoch = cpu->mmu.fetch_epoch[user];
    }
    set_jump_epoch(cpu);
}

void cpu_drop_jump_cache(struct cpu *cpu)
{
    mmu_forget_fetches(&cpu->mmu);
}

static bool is_within(const void *at, const void *from, const void *to)
{
    return (uintptr_t)at >= (uintptr_t)from && (uintptr_t)at < (uintptr_t)to;
}

void cpu_drop_jumps_to_blocks(struct cpu *cpu, const void *from, const void *to)
{
    for (unsigned i = 0; i < JUMP_CACHE_ENTRIES; i++) {
        if (is_within(cpu->jump_cache[i].block, from, to))
            cpu->jump_cache[i] = (struct cpu_jump_entry){0}; // no epoch is 0
    }
}

void cpu_drop_jumps_to_code(struct cpu *cpu, const void *from, const void *to)
{
    for (unsigned i = 0; i < JUMP_CACHE_ENTRIES; i++) {
        if (is_within(cpu->jump_cache[i].chain, from, to))
            cpu->jump_cache[i].chain = cpu->no_chain;
    }
}

#define CPU_AREA_ALIGNMENT ((size_t)2 << 20) // a large page
#define CPU_LARGE_BYTES                                                                                                \
    ((sizeof(struct cpu) + CPU_AREA_ALIGNMENT - 1) / CPU_AREA_ALIGNMENT * CPU_AREA_ALIGNMENT) // whole large pages
#define CPU_AREA_BYTES (CPU_HOST_STACK + CPU_LARGE_BYTES + CPU_AREA_ALIGNMENT)
_Static_assert(CPU_AREA_ALIGNMENT % CPU_ALIGNMENT == 0, "for who asks for that");

struct cpu *cpu_create(const struct cpu_config *config, struct error *error)
{
    uint8_t *area = host_memory_reserve(CPU_AREA_BYTES, error);
    struct cpu *cpu;
    if (!area)
        return NULL;
    cpu = (struct cpu *)align_up((uintptr_t)area + CPU_HOST_STACK, CPU_AREA_ALIGNMENT);
    host_memory_guard((uint8_t *)cpu - CPU_HOST_STACK); // where the stack ends
    // TLB and jump cache are looked at here and there. Before the first small page is there.
    host_memory_prefer_large_pages(cpu, CPU_LARGE_BYTES);
    cpu->area = area;
    cpu->self = cpu;
    cpu->counting = true;
    cpu->model = config->model;
    cpu->memory = config->memory;
    cpu->smm_memory = config->smm_memory ? config->smm_memory : config->memory;
    cpu->ports = config->ports;
    cpu->outside = config->outside;
    cpu->ferr_out = config->ferr;
    cpu->x87_policy = model_x87_policy(config->model);
    cpu->blocks = config->blocks;
    cpu->log = config->log;
    cpu->index = config->index;
    cpu->instruction_limit = UINT64_MAX;
    for (unsigned i = 0; i < PAGE_SLOTS; i++)
        cpu->pages[0].at[i] = cpu->pages[1].at[i] = PAGE_NOWHERE;
    mmu_init(&cpu->mmu, cpu->memory, cpu->model->physical_bits, cpu->log);
    cpu->mmu.no_pse36 = !model_has(cpu->model, FEATURE_PSE36);
    cpu->mmu.no_1g_pages = !model_has(cpu->model, FEATURE_PDPE1GB);
    cpu->mmu.flushed = fetches_changed;
    cpu->mmu.watched = debug_watched;
    cpu->mmu.opaque = cpu;
    if (cpu->blocks)
        block_cache_attach(cpu->blocks, cpu);
    cpu_reset(cpu, false);
    return cpu;
}

void cpu_destroy(struct cpu *cpu)
{
    if (!cpu)
        return;
    if (cpu->blocks)
        block_cache_detach(cpu->blocks, cpu);
    mmu_destroy(&cpu->mmu);
    host_memory_release(cpu->area, CPU_AREA_BYTES);
}

static void reset_segments(struct cpu *cpu)
{
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        struct segment *s = &cpu->segment[i];
        *s = (struct segment){.limit = 0xffff, .rights = SEGMENT_P | SEGMENT_S | 0x3};
        cpu_set_segment_base(cpu, i, 0);
    }
    cpu->segment[SEG_CS].selector = 0xf000;
    cpu->segment[SEG_CS].rights = SEGMENT_P | SEGMENT_S | 0xb;
    cpu_set_segment_base(cpu, SEG_CS, 0xffff0000);
    cpu->segment[SEG_LDTR].rights = SEGMENT_P | 0x2;
    cpu->segment[SEG_TR].rights = SEGMENT_P | 0xb;
}

static void reset_fpu(struct cpu *cpu)
{
    memset(cpu->vreg, 0, sizeof cpu->vreg);
    memset(cpu->vtemp, 0, sizeof cpu->vtemp);
    cpu->mxcsr = 0x1f80;
    cpu->x87 = (struct x87){.control = 0x0040};
    cpu->ferr = cpu->ignne = false; // the board resets its side
}

static void reset_power_on_msrs(struct cpu *cpu)
{
    cpu->tsc_adjust = cpu->tsc_aux = 0;
    cpu->pat = UINT64_C(0x0007040600070406);
    cpu->misc_enable = 1 | (model_has(cpu->model, FEATURE_MONITOR) ? MISC_ENABLE_MONITOR : 0);
    memset(cpu->mtrr_fixed, 0, sizeof cpu->mtrr_fixed);
    memset(cpu->mtrr_base, 0, sizeof cpu->mtrr_base);
    memset(cpu->mtrr_mask, 0, sizeof cpu->mtrr_mask);
    cpu->mtrr_default = 0;
    memset(cpu->mc_bank, 0, sizeof cpu->mc_bank);
    cpu->mcg_status = 0;
    cpu->star = cpu->lstar = cpu->cstar = cpu->sfmask = cpu->kernel_gs_base = 0;
    cpu->sysenter_cs = cpu->sysenter_esp = cpu->sysenter_eip = 0;
    cpu->smbase = 0x30000;
    cpu->xss = 0;
}

void cpu_reset(struct cpu *cpu, bool init)
{
    memset(cpu->var, 0, sizeof cpu->var);
    cpu->var[VAR_RDX] = model_signature(cpu->model);
    cpu->var[VAR_RIP] = 0xfff0;
    cpu->var[VAR_FLAGS] = 2;
    reset_segments(cpu);
    cpu->gdt = cpu->idt = (struct descriptor_table){.limit = 0xffff};
    cpu->cr0 = CR0_ET | (init ? cpu->cr0 & (CR0_CD | CR0_NW) : CR0_CD | CR0_NW);
    cpu->cr2 = cpu->cr3 = cpu->cr4 = cpu->efer = 0;
    memset(cpu->dr, 0, sizeof cpu->dr);
    cpu->dr[6] = DR6_ONES;
    cpu->dr[7] = DR7_ONES;
    cpu->debug_traps = 0;
    debug_update(cpu);
    cpu->debugctl = 0;
    cpu->fault = (struct cpu_fault){0};
    cpu->leave = false;
    cpu->shadow = 0;
    cpu->nmi_blocked = cpu->in_smm = cpu->monitor_armed = false;
    cpu->cpl = 0;
    cpu->activity = ACTIVITY_RUN;
    if (!init) {
        reset_fpu(cpu);
        reset_power_on_msrs(cpu);
        cpu->xcr0 = 1;
        atomic_store(&cpu->pending, atomic_load(&cpu->pending) & PENDING_INTR);
    }
    mmu_set_space(&cpu->mmu, cpu->memory);
    mmu_flush_all(&cpu->mmu);
    cpu_update_paging(cpu, true);
    cpu_update_mode(cpu);
}

void cpu_set_pending(struct cpu *cpu, uint32_t bits)
{
    atomic_fetch_or(&cpu->pending, bits);
    atomic_store(&cpu->exit_request, 1);
}

void cpu_set_ignne(struct cpu *cpu, bool level)
{
    cpu->ignne = level;
}

void cpu_clear_pending(struct cpu *cpu, uint32_t bits)
{
    atomic_fetch_and(&cpu->pending, ~bits);
}

uint64_t cpu_flags_arithmetic(const struct cpu *cpu)
{
    return cc_all(cpu);
}

uint64_t cpu_rflags(const struct cpu *cpu)
{
    return cpu->var[VAR_FLAGS] | cc_all(cpu);
}

void cpu_set_rflags(struct cpu *cpu, uint64_t rflags)
{
    cpu_set_flags_literal(cpu, rflags);
    bool pending = atomic_load_explicit(&cpu->pending, memory_order_relaxed) != 0;
    // RF says nothing without breakpoints, but to what is delivered before the next instruction, and in runs that are
    // not counted that is a matter of chance. Every return from a page fault has it.
    if ((rflags & FLAG_RF) && !cpu->counting && !cpu->code_breakpoints && !pending && !(rflags & FLAG_TF))
        rflags &= ~FLAG_RF;
    cpu->var[VAR_FLAGS] = (rflags & ~FLAGS_ARITHMETIC) | 2;
    cpu_update_mode(cpu);
    if (pending || UNLIKELY(rflags & FLAG_RF))
        atomic_store(&cpu->exit_request, 1);
}

void cpu_normalize(struct cpu *cpu)
{
    cpu_set_flags_literal(cpu, cc_all(cpu));
    cpu->var[VAR_CC_RESULT] = cpu->var[VAR_CC_SRC] = 0;
}

/// Flat for uops: base 0, limit 4 GiB, expand-up, usable for what the block may do.
static bool segment_is_flat(const struct cpu *cpu, unsigned n)
{
    const struct segment *s = &cpu->segment[n];
    uint32_t type = s->rights & SEGMENT_TYPE;
    bool code = type & 8, data_ok = !code && (type & 2) && !(type & 4);
    if (cpu_segment_base(cpu, n) != 0 || s->limit != UINT32_MAX || (s->rights & SEGMENT_UNUSABLE))
        return false;
    return n == SEG_CS ? code : data_ok;
}

static bool mode_is_flat(const struct cpu *cpu)
{
    return segment_is_flat(cpu, SEG_CS) && segment_is_flat(cpu, SEG_SS) && segment_is_flat(cpu, SEG_DS) &&
           segment_is_flat(cpu, SEG_ES);
}

void cpu_update_mode(struct cpu *cpu)
{
    uint64_t flags = cpu->var[VAR_FLAGS];
    bool protected = cpu->cr0 & CR0_PE, vm86 = protected && (flags & FLAG_VM);
    bool long_mode = cpu->efer & EFER_LMA;
    uint32_t cs = cpu->segment[SEG_CS].rights, mode = cpu->cpl;

    if (long_mode && (cs & SEGMENT_L) && !vm86)
        mode |= MODE_CODE64 | MODE_FLAT;
    else {
        if (cs & SEGMENT_DB)
            mode |= MODE_CODE32;
        if (cpu->segment[SEG_SS].rights & SEGMENT_DB)
            mode |= MODE_STACK32;
        if ((mode & MODE_CODE32) && (mode & MODE_STACK32) && mode_is_flat(cpu))
            mode |= MODE_FLAT;
        else if (cpu->segment[SEG_CS].limit == 0xffff)
            mode |= MODE_LIMIT_64K;
        else if (cpu->segment[SEG_CS].limit == UINT32_MAX)
            mode |= MODE_LIMIT_4G;
    }
    mode |= protected ? MODE_PROTECTED : 0;
    mode |= vm86 ? MODE_VM86 : 0;
    mode |= long_mode ? MODE_LONG : 0;
    mode |= flags & FLAG_TF ? MODE_TF : 0;
    mode |= flags & FLAG_AC ? MODE_AC : 0;
    mode |= cpu->in_smm ? MODE_SMM : 0;
    mode |= cpu->cr0 & CR0_TS ? MODE_TS : 0;
    mode |= cpu->cr0 & CR0_EM ? MODE_EM : 0;
    mode |= cpu->cr4 & CR4_OSFXSR ? 0 : MODE_NO_SSE;
    if ((cpu->cr4 & CR4_OSXSAVE) && (~cpu->xcr0 & (XCR0_SSE | XCR0_AVX)) == 0)
        mode |= MODE_AVX;
    if (!protected || (!vm86 && cpu->cpl <= (flags & FLAG_IOPL) >> 12))
        mode |= MODE_IOPL;
    if (cpu->cpl == 3 && (cpu->cr0 & CR0_AM) && (flags & FLAG_AC))
        mode |= MODE_ALIGN;
    mode |= cpu->mmu.paranoid ? MODE_PARANOID : 0;
    cpu->mode = mode;
    cpu->data_mode = cpu->cpl == 3 ? MMU_USER : flags & FLAG_AC ? MMU_KERNEL_AC : MMU_KERNEL;
    cpu->fetch_mode = cpu->cpl == 3 ? MMU_USER : MMU_KERNEL;
    set_jump_epoch(cpu);
}

void cpu_update_paging(struct cpu *cpu, bool cr3_written)
{
    mmu_set_control(&cpu->mmu, cpu->cr0, cpu->cr3, cpu->cr4, cpu->efer, cr3_written);
}

bool cpu_debug_read(struct cpu *cpu, uint64_t linear, void *bytes, unsigned length)
{
    uint8_t *to = bytes;
    for (unsigned i = 0; i < length; i++) {
        uint64_t physical;
        const struct flat_range *piece;
        if (!mmu_debug_translate(&cpu->mmu, linear + i, &physical))
            return false;
        piece = address_space_find(cpu->mmu.space, physical);
        if (!piece->range || piece->range->kind == RANGE_DEVICE)
            return false;
        to[i] = (uint8_t)address_space_read(cpu->mmu.space, physical, 1);
    }
    return true;
}
