// Task switches through a TSS (SDM vol. 3 ch. 7): JMP, CALL, task gates in the IDT, IRET with NT; 16- and 32-bit TSS.
// Until the new task's state is read and the old task's is saved, a fault is the old task's; after that the new one's.
#include "cpu/debug.h"
#include "cpu/privileged.h"

struct task_state {
    uint64_t cr3, rip, flags;
    uint64_t gpr[8];
    uint16_t segment[6]; // ES CS SS DS FS GS
    uint16_t ldt;
    bool trap;
};

/// Places in the two formats. Segments and registers are `step` bytes apart.
struct tss_format {
    unsigned size, minimum, step, rip, gpr, segment, segments, ldt;
};
static const struct tss_format format16 = {2, 0x2b, 2, 0x0e, 0x12, 0x22, 4, 0x2a};
static const struct tss_format format32 = {4, 0x67, 4, 0x20, 0x28, 0x48, 6, 0x60};

static const struct tss_format *format_of(uint32_t type)
{
    return type & 8 ? &format32 : &format16;
}

bool task_descriptor(struct cpu *cpu, uint16_t selector, bool busy, uint8_t vector, unsigned ext, struct descriptor *d)
{
    unsigned type;
    if (selector_is_null(selector) || (selector & 4))
        return cpu_raise_error(cpu, vector, selector_error(selector, ext));
    if (!descriptor_read(cpu, selector, vector, ext, d))
        return false;
    type = descriptor_type(d);
    if (!descriptor_is_system(d) || (type & ~8u) != (busy ? TYPE_TSS16_BUSY : TYPE_TSS16))
        return cpu_raise_error(cpu, vector, selector_error(selector, ext));
    if (!descriptor_is_present(d))
        return cpu_raise_error(cpu, VECTOR_NP, selector_error(selector, ext));
    return true;
}

/// Checks that [base, +size) can be accessed, so that what follows cannot fault. Page faults become the old task's.
static bool probe(struct cpu *cpu, uint64_t base, unsigned size, bool write)
{
    struct mmu_handle handle;
    struct mmu_fault fault;
    uint32_t traps = cpu->debug_traps;
    for (unsigned i = 0; i < size; i += 2) {
        if (!mmu_access(&cpu->mmu, MMU_KERNEL, write ? MMU_WRITE : MMU_READ, base + i, i + 2 <= size ? 2 : 1, &handle,
                        &fault))
            return cpu_raise_mmu(cpu, &fault, false);
    }
    cpu->debug_traps = traps; // breakpoints see the accesses to come
    return true;
}

/// Reads after a probe: cannot fail.
static uint64_t tss_read(struct cpu *cpu, uint64_t linear, unsigned size)
{
    uint64_t value = 0;
    struct mmu_fault fault;
    mmu_read(&cpu->mmu, MMU_KERNEL, linear, size, &value, &fault);
    return value;
}

static void tss_write(struct cpu *cpu, uint64_t linear, unsigned size, uint64_t value)
{
    struct mmu_fault fault;
    mmu_write(&cpu->mmu, MMU_KERNEL, linear, size, value, &fault);
}

static void read_state(struct cpu *cpu, const struct descriptor *tss, struct task_state *state)
{
    const struct tss_format *f = format_of(descriptor_type(tss));
    *state = (struct task_state){0};
    if (f == &format32) {
        state->cr3 = tss_read(cpu, tss->base + 0x1c, 4);
        state->trap = tss_read(cpu, tss->base + 0x64, 2) & 1;
    }
    state->rip = tss_read(cpu, tss->base + f->rip, f->size);
    state->flags = tss_read(cpu, tss->base + f->rip + f->step, f->size);
    for (unsigned i = 0; i < 8; i++)
        state->gpr[i] = tss_read(cpu, tss->base + f->gpr + i * f->step, f->size);
    for (unsigned i = 0; i < f->segments; i++)
        state->segment[i] = (uint16_t)tss_read(cpu, tss->base + f->segment + i * f->step, 2);
    state->ldt = (uint16_t)tss_read(cpu, tss->base + f->ldt, 2);
}

static void save_state(struct cpu *cpu, uint64_t rip, uint64_t flags)
{
    const struct segment *tr = &cpu->segment[SEG_TR];
    const struct tss_format *f = format_of(tr->rights);
    tss_write(cpu, tr->base + f->rip, f->size, rip);
    tss_write(cpu, tr->base + f->rip + f->step, f->size, flags);
    for (unsigned i = 0; i < 8; i++)
        tss_write(cpu, tr->base + f->gpr + i * f->step, f->size, cpu->var[VAR_RAX + i]);
    for (unsigned i = 0; i < f->segments; i++)
        tss_write(cpu, tr->base + f->segment + i * f->step, 2, cpu->segment[i].selector);
}

/// The busy bit of the present task's descriptor: cleared by JMP and IRET.
static bool leave_old_task(struct cpu *cpu)
{
    struct descriptor old;
    if (!descriptor_read(cpu, cpu->segment[SEG_TR].selector, VECTOR_TS, 0, &old))
        return false;
    return descriptor_set_type(cpu, &old, descriptor_type(&old) & ~2u);
}

static bool load_ldt(struct cpu *cpu, uint16_t selector)
{
    struct descriptor d;
    if (selector_is_null(selector)) {
        segment_set_null(cpu, SEG_LDTR, selector);
        return true;
    }
    segment_set(cpu, SEG_LDTR, selector, 0, 0, SEGMENT_UNUSABLE);
    if (selector & 4)
        return cpu_raise_error(cpu, VECTOR_TS, selector_error(selector, 0));
    if (!descriptor_read(cpu, selector, VECTOR_TS, 0, &d))
        return false;
    if (!descriptor_is_system(&d) || descriptor_type(&d) != TYPE_LDT || !descriptor_is_present(&d))
        return cpu_raise_error(cpu, VECTOR_TS, selector_error(selector, 0));
    segment_set_descriptor(cpu, SEG_LDTR, selector, &d);
    return true;
}

static bool load_code(struct cpu *cpu, uint16_t selector)
{
    struct descriptor d;
    unsigned rpl = selector & 3;
    if (selector_is_null(selector))
        return cpu_raise_error(cpu, VECTOR_TS, 0);
    if (!descriptor_read(cpu, selector, VECTOR_TS, 0, &d))
        return false;
    if (!descriptor_is_code(&d) ||
        (descriptor_is_conforming(&d) ? descriptor_dpl(&d) > rpl : descriptor_dpl(&d) != rpl))
        return cpu_raise_error(cpu, VECTOR_TS, selector_error(selector, 0));
    if (!descriptor_is_present(&d))
        return cpu_raise_error(cpu, VECTOR_NP, selector_error(selector, 0));
    if (!descriptor_set_accessed(cpu, &d))
        return false;
    segment_set_code(cpu, &d, rpl);
    return true;
}

static bool load_stack(struct cpu *cpu, uint16_t selector)
{
    struct descriptor d;
    if (!stack_segment_check(cpu, selector, cpu->cpl, VECTOR_TS, 0, &d))
        return false;
    segment_set_descriptor(cpu, SEG_SS, selector, &d);
    return true;
}

static bool load_data(struct cpu *cpu, unsigned segment, uint16_t selector)
{
    struct descriptor d;
    bool conforming;
    if (selector_is_null(selector))
        return true; // is null already
    if (!descriptor_read(cpu, selector, VECTOR_TS, 0, &d))
        return false;
    conforming = descriptor_is_code(&d) && descriptor_is_conforming(&d);
    if (descriptor_is_system(&d) || (descriptor_is_code(&d) && !(d.rights & 2)) ||
        (!conforming && ((selector & 3u) > descriptor_dpl(&d) || cpu->cpl > descriptor_dpl(&d))))
        return cpu_raise_error(cpu, VECTOR_TS, selector_error(selector, 0));
    if (!descriptor_is_present(&d))
        return cpu_raise_error(cpu, VECTOR_NP, selector_error(selector, 0));
    if (!descriptor_set_accessed(cpu, &d))
        return false;
    segment_set_descriptor(cpu, segment, selector, &d);
    return true;
}

/// Loads segments in the new task's context; the first fault stops.
static bool load_segments(struct cpu *cpu, const struct task_state *state)
{
    static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    if (cpu_is_vm86(cpu)) {
        for (unsigned i = 0; i < 6; i++)
            segment_set_real(cpu, i, state->segment[i], true);
        return load_ldt(cpu, state->ldt);
    }
    if (!load_ldt(cpu, state->ldt) || !load_code(cpu, state->segment[SEG_CS]) ||
        !load_stack(cpu, state->segment[SEG_SS]))
        return false;
    for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
        if (!load_data(cpu, data[i], state->segment[data[i]]))
            return false;
    }
    return true;
}

/// Registers, flags and CR3 of the new task; all segments invalid with the new selectors.
static void load_registers(struct cpu *cpu, const struct task_state *state, bool wide, uint64_t flags)
{
    for (unsigned i = 0; i < 8; i++)
        cpu->var[VAR_RAX + i] = wide ? state->gpr[i] : (uint32_t)cpu->var[VAR_RAX + i] >> 16 << 16 | state->gpr[i];
    for (unsigned i = 0; i < 6; i++)
        segment_set(cpu, i, state->segment[i], 0, 0, SEGMENT_UNUSABLE);
    cpu->cpl = flags & FLAG_VM ? 3 : state->segment[SEG_CS] & 3;
    cpu->var[VAR_RIP] = state->rip;
    if (wide && (cpu->cr0 & CR0_PG) && cpu->cr3 != state->cr3) {
        cpu->cr3 = state->cr3;
        cpu_update_paging(cpu, true);
        if (cpu->cr4 & CR4_PAE)
            mmu_load_pdptes(&cpu->mmu, cpu->cr3);
    }
    cpu->dr[7] &= ~UINT64_C(0x155); // local breakpoints
    debug_update(cpu);
    cpu->cr0 |= CR0_TS;
    cpu_set_rflags(cpu, flags);
}

static bool push_error(struct cpu *cpu, bool wide, uint32_t error_code)
{
    struct frame frame;
    frame_current(cpu, &frame);
    frame_push(&frame, error_code, wide ? 4 : 2);
    if (!frame_write(cpu, &frame))
        return false;
    frame_set_sp(cpu, &frame);
    return true;
}

enum task_result task_switch(struct cpu *cpu, struct descriptor *tss, enum task_reason reason, uint64_t next_rip,
                             unsigned ext, bool has_error_code, uint32_t error_code)
{
    struct segment *tr = &cpu->segment[SEG_TR];
    const struct tss_format *f = format_of(descriptor_type(tss)), *old = format_of(tr->rights);
    bool wide = f == &format32, nests = reason == TASK_CALL || reason == TASK_GATE_EVENT;
    uint64_t old_flags = cpu_rflags(cpu), new_flags;
    struct task_state state;
    struct descriptor code;

    if (tss->limit < f->minimum || (tr->rights & SEGMENT_UNUSABLE) || tr->limit < old->minimum) {
        cpu_raise_error(cpu, VECTOR_TS, selector_error(tss->selector, ext));
        return TASK_FAULT;
    }
    if (!probe(cpu, tss->base, f->minimum + 1, nests) || !probe(cpu, tr->base, old->minimum + 1, true))
        return TASK_FAULT;
    read_state(cpu, tss, &state);
    new_flags = (state.flags & UINT64_C(0x3f7fd7)) | 2;
    if (!wide)
        new_flags &= 0xffff;
    if (reason == TASK_IRET)
        old_flags &= ~FLAG_NT;
    if (nests)
        new_flags |= FLAG_NT;
    if (!nests && !leave_old_task(cpu))
        return TASK_FAULT;
    save_state(cpu, next_rip, old_flags);
    if (nests)
        tss_write(cpu, tss->base, 2, tr->selector);
    if (reason != TASK_IRET && !descriptor_set_type(cpu, tss, descriptor_type(tss) | 2))
        return TASK_FAULT;

    // The switch is done: from here on everything belongs to the new task.
    segment_set_descriptor(cpu, SEG_TR, tss->selector, tss);
    load_registers(cpu, &state, wide, new_flags);
    if (!load_segments(cpu, &state)) {
        cpu_update_mode(cpu);
        return TASK_FAULT_IN_NEW;
    }
    cpu_update_mode(cpu);
    code = (struct descriptor){.limit = cpu->segment[SEG_CS].limit};
    if ((has_error_code && !push_error(cpu, wide, error_code)) || !code_offset_check(cpu, &code, state.rip, 0))
        return TASK_FAULT_IN_NEW;
    if (state.trap)
        debug_trap(cpu, DR6_BT);
    if (virtual_interrupt_due(cpu)) {
        cpu_raise_error(cpu, VECTOR_GP, 0);
        return TASK_FAULT_IN_NEW;
    }
    return TASK_DONE;
}

uint64_t task_finish(struct cpu *cpu, enum task_result result)
{
    if (result == TASK_FAULT)
        return 0;
    if (result == TASK_FAULT_IN_NEW) {
        cpu->stat_faults++;
        cpu_deliver_fault(cpu);
    }
    return cpu->var[VAR_RIP];
}
