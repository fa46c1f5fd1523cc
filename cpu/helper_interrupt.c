// Software interrupts, IRET, flags (PUSHF, POPF, STI, CLI), HLT, BOUND.
#include "cpu/privileged.h"
#include "cpu/segment.h"

/// VME: does the redirection bitmap of the TSS leave INT `vector` to the 8086 program? Raises faults of the look-up.
static bool vme_redirected(struct cpu *cpu, uint8_t vector, bool *redirected)
{
    const struct segment *tr = &cpu->segment[SEG_TR];
    uint64_t base, byte;
    struct mmu_fault fault;
    uint32_t offset;

    *redirected = false;
    if (!(cpu->cr4 & CR4_VME))
        return true;
    if ((tr->rights & (SEGMENT_TYPE & ~2u)) != TYPE_TSS32 || tr->limit < 0x67)
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    if (!mmu_read(&cpu->mmu, MMU_KERNEL, tr->base + 0x66, 2, &base, &fault))
        return cpu_raise_mmu(cpu, &fault, false);
    offset = (uint32_t)base - 32 + vector / 8u; // the 32 bytes below the I/O bitmap
    if (base < 32 || offset > tr->limit)
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    if (!mmu_read(&cpu->mmu, MMU_KERNEL, tr->base + offset, 1, &byte, &fault))
        return cpu_raise_mmu(cpu, &fault, false);
    *redirected = !(byte >> (vector & 7) & 1);
    return true;
}

/// Flags as a virtual-8086 program with VME sees them: IF is VIF, IOPL 3.
static uint64_t vme_flags(const struct cpu *cpu)
{
    uint64_t flags = cpu_rflags(cpu);
    return (flags & ~FLAG_IF) | FLAG_IOPL | (flags & FLAG_VIF ? FLAG_IF : 0);
}

/// INT n handled by the 8086 program's own vector table (SDM vol. 3 sec. 20.3.3).
static uint64_t interrupt_in_vm86(struct cpu *cpu, uint8_t vector, uint64_t next_rip)
{
    struct mmu_fault fault;
    struct frame frame;
    uint64_t target, image = cpu_iopl(cpu) == 3 ? cpu_rflags(cpu) : vme_flags(cpu), flags;

    if (!mmu_read(&cpu->mmu, MMU_USER, vector * 4u, 4, &target, &fault))
        return cpu_raise_mmu(cpu, &fault, false);
    frame_current(cpu, &frame);
    frame_push(&frame, image & 0xffff, 2);
    frame_push(&frame, cpu->segment[SEG_CS].selector, 2);
    frame_push(&frame, next_rip & 0xffff, 2);
    if (!frame_write(cpu, &frame))
        return 0;
    frame_set_sp(cpu, &frame);
    segment_set_real(cpu, SEG_CS, (uint16_t)(target >> 16), true);
    flags = cpu_rflags(cpu) & ~(FLAG_TF | FLAG_RF);
    flags &= cpu_iopl(cpu) == 3 ? ~FLAG_IF : ~FLAG_VIF;
    cpu_set_rflags(cpu, flags);
    return target & 0xffff;
}

uint64_t helper_interrupt(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    struct event_delivery event = {
        .source = imm & 0x200 ? EVENT_INT1 : EVENT_SOFTWARE, .vector = (uint8_t)imm, .return_rip = a};
    bool redirected;

    cpu->trap_cancelled = true;
    if (cpu_is_vm86(cpu) && !(imm & 0x300)) { // INT n, not INT3, INTO, INT1
        if (!vme_redirected(cpu, event.vector, &redirected))
            return 0;
        if (redirected)
            return interrupt_in_vm86(cpu, event.vector, a);
        if (cpu_iopl(cpu) < 3)
            return cpu_raise_error(cpu, VECTOR_GP, 0);
    }
    return task_finish(cpu, event_deliver(cpu, &event));
}

uint64_t helper_interrupt_overflow(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    return cpu_flags_arithmetic(cpu) & FLAG_OF ? helper_interrupt(cpu, a, 0, VECTOR_OF | 0x100) : a;
}

// ---- IRET -------------------------------------------------------------------------------------------------------

/// RFLAGS after IRET or POPF at ring `cpl` with `iopl` in force. 16-bit images leave the upper half alone, and RF,
/// which is clear while an instruction runs.
static uint64_t flags_merge(uint64_t old, uint64_t image, unsigned cpl, unsigned iopl, unsigned bytes)
{
    uint64_t mask = FLAGS_ARITHMETIC | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID | FLAG_RF;
    if (cpl == 0)
        mask |= FLAG_IOPL;
    if (cpl <= iopl)
        mask |= FLAG_IF;
    if (bytes == 2)
        mask &= 0xffff;
    return (old & ~mask) | (image & mask);
}

static uint64_t iret_real(struct cpu *cpu, unsigned bytes)
{
    struct frame frame;
    uint64_t rip, cs, image, flags = cpu_rflags(cpu);
    bool vm86 = cpu_is_vm86(cpu), vme = vm86 && cpu_iopl(cpu) < 3;

    if (vme && (!(cpu->cr4 & CR4_VME) || bytes != 2))
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    frame_current(cpu, &frame);
    if (!frame_pop(cpu, &frame, bytes, &rip) || !frame_pop(cpu, &frame, bytes, &cs) ||
        !frame_pop(cpu, &frame, bytes, &image))
        return 0;
    if (rip > cpu->segment[SEG_CS].limit)
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    if (vme) {
        if ((image & FLAG_TF) || ((image & FLAG_IF) && (flags & FLAG_VIP)))
            return cpu_raise_error(cpu, VECTOR_GP, 0);
        flags = flags_merge(flags, image, 3, 0, 2) & ~FLAG_VIF;
        flags |= image & FLAG_IF ? FLAG_VIF : 0;
    } else
        flags = flags_merge(flags, image, vm86 ? 3 : 0, 3, bytes);
    frame_set_sp(cpu, &frame);
    segment_set_real(cpu, SEG_CS, (uint16_t)cs, vm86);
    cpu_set_rflags(cpu, flags);
    return rip;
}

static uint64_t iret_task(struct cpu *cpu, uint64_t next_rip)
{
    const struct segment *tr = &cpu->segment[SEG_TR];
    struct descriptor tss;
    struct mmu_fault fault;
    uint64_t link;

    if (cpu_is_long(cpu))
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    if (tr->limit < 1)
        return cpu_raise_error(cpu, VECTOR_TS, selector_error(tr->selector, 0));
    if (!mmu_read(&cpu->mmu, MMU_KERNEL, tr->base, 2, &link, &fault))
        return cpu_raise_mmu(cpu, &fault, false);
    if (!task_descriptor(cpu, (uint16_t)link, true, VECTOR_TS, 0, &tss))
        return 0;
    return task_finish(cpu, task_switch(cpu, &tss, TASK_IRET, next_rip, 0, false, 0));
}

static uint64_t iret_to_vm86(struct cpu *cpu, struct frame *frame, uint64_t rip, uint64_t cs, uint64_t image)
{
    static const uint8_t order[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    uint64_t sp, ss, data[4];

    if (!frame_pop(cpu, frame, 4, &sp) || !frame_pop(cpu, frame, 4, &ss))
        return 0;
    for (unsigned i = 0; i < 4; i++) {
        if (!frame_pop(cpu, frame, 4, &data[i]))
            return 0;
    }
    if (rip > 0xffff)
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    for (unsigned i = 0; i < 4; i++)
        segment_set_real(cpu, order[i], (uint16_t)data[i], true);
    segment_set_real(cpu, SEG_SS, (uint16_t)ss, true);
    segment_set_real(cpu, SEG_CS, (uint16_t)cs, true);
    cpu->var[VAR_RSP] = (uint32_t)sp;
    cpu->cpl = 3;
    cpu_set_rflags(cpu, image & (FLAGS_ARITHMETIC | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF |
                                 FLAG_VM | FLAG_AC | FLAG_VIF | FLAG_VIP | FLAG_ID));
    return rip;
}

/// The code segment of a far return or IRET, SDM vol. 2 "RET", "IRET".
static bool return_code_check(struct cpu *cpu, uint16_t selector, struct descriptor *code)
{
    unsigned rpl = selector & 3;
    if (selector_is_null(selector))
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    if (!descriptor_read(cpu, selector, VECTOR_GP, 0, code))
        return false;
    if (!descriptor_is_code(code) || rpl < cpu->cpl ||
        (descriptor_is_conforming(code) ? descriptor_dpl(code) > rpl : descriptor_dpl(code) != rpl) ||
        (cpu_is_long(cpu) && (code->rights & SEGMENT_L) && (code->rights & SEGMENT_DB)))
        return cpu_raise_error(cpu, VECTOR_GP, selector_error(selector, 0));
    if (!descriptor_is_present(code))
        return cpu_raise_error(cpu, VECTOR_NP, selector_error(selector, 0));
    return true;
}

/// The stack segment of a return to ring `rpl`; a null SS is allowed to 64-bit code of rings 0..2.
static bool return_stack_check(struct cpu *cpu, uint16_t selector, unsigned rpl, const struct descriptor *code,
                               struct descriptor *ss, bool *null)
{
    *null = selector_is_null(selector) && cpu_is_long(cpu) && (code->rights & SEGMENT_L) && rpl < 3 &&
            (selector & 3) == rpl;
    return *null || stack_segment_check(cpu, selector, rpl, VECTOR_GP, 0, ss);
}

/// RSP of the outer stack: as wide as that stack.
static void set_outer_sp(struct cpu *cpu, uint64_t sp, const struct descriptor *ss, const struct descriptor *code)
{
    uint64_t *rsp = &cpu->var[VAR_RSP];
    if (cpu_is_long(cpu) && (code->rights & SEGMENT_L))
        *rsp = sp;
    else if (ss->rights & SEGMENT_DB)
        *rsp = (uint32_t)sp;
    else
        *rsp = (*rsp & ~UINT64_C(0xffff)) | (sp & 0xffff);
}

/// Common end of RETF and IRET once RIP, CS and flags are read: `release` bytes are dropped from both stacks (RETF
/// Iw); `stack`: SS:RSP are on the stack even when the ring stays (IRET in 64-bit mode). Returns the new RIP.
static uint64_t far_return(struct cpu *cpu, struct frame *frame, unsigned bytes, uint64_t rip, uint16_t cs,
                           unsigned release, bool stack, const uint64_t *flags)
{
    struct descriptor code, ss = {0};
    unsigned rpl = cs & 3;
    uint64_t sp = 0, selector = 0;
    bool outer, null = false;

    if (!return_code_check(cpu, cs, &code))
        return 0;
    outer = rpl > cpu->cpl;
    frame->sp = (frame->sp + release) & frame->mask;
    if (outer || stack) {
        if (!frame_pop(cpu, frame, bytes, &sp) || !frame_pop(cpu, frame, bytes, &selector) ||
            !return_stack_check(cpu, (uint16_t)selector, rpl, &code, &ss, &null))
            return 0;
    }
    if (!code_offset_check(cpu, &code, rip, 0) || !descriptor_set_accessed(cpu, &code))
        return 0;
    segment_set_code(cpu, &code, rpl);
    if (outer || stack) {
        if (null)
            segment_set_null(cpu, SEG_SS, (uint16_t)selector);
        else
            segment_set_descriptor(cpu, SEG_SS, (uint16_t)selector, &ss);
        set_outer_sp(cpu, sp + (outer ? release : 0), &ss, &code);
        if (outer)
            segments_drop_inner(cpu);
    } else
        frame_set_sp(cpu, frame);
    if (flags)
        cpu_set_rflags(cpu, *flags); // updates the mode
    else
        cpu_update_mode(cpu);
    return rip;
}

bool virtual_interrupt_due(const struct cpu *cpu)
{
    uint64_t flags = cpu->var[VAR_FLAGS], enabled = flags & FLAG_VM ? CR4_VME : CR4_PVI;
    return (flags & FLAG_VIF) && (flags & FLAG_VIP) && (cpu->cr4 & enabled) && cpu->cpl == 3 && cpu_is_protected(cpu);
}

uint64_t helper_iret(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    unsigned bytes = (unsigned)imm;
    struct frame frame;
    uint64_t rip, cs, image, flags, target;

    if (!cpu_is_protected(cpu) || cpu_is_vm86(cpu)) {
        target = iret_real(cpu, bytes);
    } else if (cpu->var[VAR_FLAGS] & FLAG_NT) {
        target = iret_task(cpu, a);
    } else {
        frame_current(cpu, &frame);
        if (!frame_pop(cpu, &frame, bytes, &rip) || !frame_pop(cpu, &frame, bytes, &cs) ||
            !frame_pop(cpu, &frame, bytes, &image))
            return 0;
        if (bytes == 4 && (image & FLAG_VM) && cpu->cpl == 0 && !cpu_is_long(cpu)) {
            target = iret_to_vm86(cpu, &frame, rip, cs, image);
        } else {
            flags = flags_merge(cpu_rflags(cpu), image, cpu->cpl, cpu_iopl(cpu), bytes);
            if (cpu->cpl == 0 && bytes > 2)
                flags = (flags & ~(FLAG_VIF | FLAG_VIP)) | (image & (FLAG_VIF | FLAG_VIP));
            target = far_return(cpu, &frame, bytes, rip, (uint16_t)cs, 0, cpu_is_64(cpu), &flags);
        }
    }
    if (cpu->nmi_blocked) { // an IRET that faults lets NMIs in as well (SDM vol. 3 sec. 25.3)
        cpu->nmi_blocked = false;
        if (atomic_load(&cpu->pending))
            cpu_request_poll(cpu);
    }
    if (!cpu->fault.pending && virtual_interrupt_due(cpu)) {
        cpu->var[VAR_RIP] = target;
        cpu_raise_error(cpu, VECTOR_GP, 0);
        return task_finish(cpu, TASK_FAULT_IN_NEW);
    }
    return target;
}

uint64_t helper_far_return(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    unsigned bytes = (unsigned)imm & 0xff, release = (unsigned)(imm >> 16) & 0xffff;
    struct frame frame;
    uint64_t rip, cs;

    frame_current(cpu, &frame);
    if (!frame_pop(cpu, &frame, bytes, &rip) || !frame_pop(cpu, &frame, bytes, &cs))
        return 0;
    if (cpu_is_protected(cpu) && !cpu_is_vm86(cpu))
        return far_return(cpu, &frame, bytes, rip, (uint16_t)cs, release, false, NULL);
    if (rip > cpu->segment[SEG_CS].limit)
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    frame.sp = (frame.sp + release) & frame.mask;
    frame_set_sp(cpu, &frame);
    segment_set_real(cpu, SEG_CS, (uint16_t)cs, cpu_is_vm86(cpu));
    cpu_update_mode(cpu);
    return rip;
}

// ---- Flags ------------------------------------------------------------------------------------------------------

/// Virtual-8086 mode with IOPL < 3: what PUSHF pushes, or #GP.
uint64_t helper_pushf(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    if (!cpu_is_vm86(cpu) || cpu_iopl(cpu) == 3)
        return cpu_rflags(cpu) & ~(FLAG_RF | FLAG_VM);
    if (!(cpu->cr4 & CR4_VME) || imm != 2)
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    return vme_flags(cpu) & ~(FLAG_RF | FLAG_VM);
}

uint64_t helper_popf(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    unsigned bytes = (unsigned)imm;
    uint64_t flags = cpu_rflags(cpu);

    if (cpu_is_vm86(cpu) && cpu_iopl(cpu) < 3) {
        if (!(cpu->cr4 & CR4_VME) || bytes != 2 || (a & FLAG_TF) || ((a & FLAG_IF) && (flags & FLAG_VIP)))
            return cpu_raise_error(cpu, VECTOR_GP, 0);
        flags = flags_merge(flags, a, 3, 0, 2) & ~FLAG_VIF;
        flags |= a & FLAG_IF ? FLAG_VIF : 0;
    } else {
        flags = flags_merge(flags, a & ~FLAG_RF, cpu->cpl, cpu_is_protected(cpu) ? cpu_iopl(cpu) : 3, bytes);
    }
    cpu_set_rflags(cpu, flags);
    return 0;
}

/// STI and CLI where MODE_IOPL does not allow them outright; STI always, for its shadow. imm: 1 STI, 0 CLI.
uint64_t helper_set_interrupts(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    uint64_t *flags = &cpu->var[VAR_FLAGS];
    bool vme = cpu_is_vm86(cpu) && (cpu->cr4 & CR4_VME);
    bool pvi = !cpu_is_vm86(cpu) && cpu->cpl == 3 && (cpu->cr4 & CR4_PVI);

    if (cpu_is_protected(cpu) && cpu->cpl > cpu_iopl(cpu)) {
        if ((!vme && !pvi) || (imm && (*flags & FLAG_VIP)))
            return cpu_raise_error(cpu, VECTOR_GP, 0);
        *flags = imm ? *flags | FLAG_VIF : *flags & ~FLAG_VIF;
        return 0;
    }
    if (!imm) {
        *flags &= ~FLAG_IF;
    } else if (!(*flags & FLAG_IF)) {
        *flags |= FLAG_IF;
        cpu->shadow = SHADOW_STI;
        // Host code goes on: the shadow is looked at where something comes. Counted runs end it exactly.
        if (cpu->counting || atomic_load_explicit(&cpu->pending, memory_order_relaxed))
            cpu_request_poll(cpu);
    }
    return 0;
}

uint64_t helper_set_ac(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    if (cpu->cpl > 0)
        return cpu_raise(cpu, VECTOR_UD);
    cpu->var[VAR_FLAGS] = imm ? cpu->var[VAR_FLAGS] | FLAG_AC : cpu->var[VAR_FLAGS] & ~FLAG_AC;
    cpu_update_mode(cpu);
    return 0;
}

uint64_t helper_hlt(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    cpu->activity = ACTIVITY_HALT;
    cpu->shadow = SHADOW_NONE; // of a STI just before: it is over
    cpu_request_poll(cpu);
    return 0;
}

/// a = index, b = linear address of the two bounds, imm = bytes.
uint64_t helper_bound(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    unsigned bytes = imm == 2 ? 2 : 4;
    int64_t index = bits_sign_extend(a, bytes * 8);
    uint64_t low, high;
    struct mmu_fault fault;

    if (!cpu_check_alignment(cpu, b, bytes))
        return 0;
    if (!mmu_read(&cpu->mmu, cpu->data_mode, b, bytes, &low, &fault) ||
        !mmu_read(&cpu->mmu, cpu->data_mode, (b + bytes) & 0xffffffff, bytes, &high, &fault))
        return cpu_raise_mmu(cpu, &fault, false);
    if (index < bits_sign_extend(low, bytes * 8) || index > bits_sign_extend(high, bytes * 8))
        return cpu_raise(cpu, VECTOR_BR);
    return 0;
}
