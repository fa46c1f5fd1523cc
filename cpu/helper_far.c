// Far JMP and CALL: direct and indirect, code segments, call gates, task gates, TSSs (SDM vol. 3 sec. 5.8).
#include "cpu/privileged.h"
#include "cpu/segment.h"

struct far_target {
    uint16_t selector;
    uint64_t offset;
    unsigned bytes; // operand size: of the pushes of a CALL
    bool call;
    uint64_t next_rip;
};

/// Privilege and kind of a code segment reached without a gate.
static bool check_direct(struct cpu *cpu, struct descriptor *d)
{
    bool allowed = descriptor_is_conforming(d) ? descriptor_dpl(d) <= cpu->cpl
                                               : (d->selector & 3u) <= cpu->cpl && descriptor_dpl(d) == cpu->cpl;
    if (!allowed || (cpu_is_long(cpu) && (d->rights & SEGMENT_L) && (d->rights & SEGMENT_DB)))
        return cpu_raise_error(cpu, VECTOR_GP, selector_error(d->selector, 0));
    if (!descriptor_is_present(d))
        return cpu_raise_error(cpu, VECTOR_NP, selector_error(d->selector, 0));
    return true;
}

/// Pushes CS and the return address on the present stack with `bytes` each.
static bool push_return(struct cpu *cpu, struct frame *frame, uint64_t next_rip, unsigned bytes)
{
    frame_push(frame, cpu->segment[SEG_CS].selector, bytes);
    frame_push(frame, cut_bytes(next_rip, bytes), bytes);
    return frame_write(cpu, frame);
}

static uint64_t enter_code(struct cpu *cpu, struct descriptor *d, const struct far_target *t, uint64_t offset,
                           unsigned bytes)
{
    struct frame frame;
    if (!code_offset_check(cpu, d, offset, 0) || !descriptor_set_accessed(cpu, d))
        return 0;
    if (t->call) {
        frame_current(cpu, &frame);
        if (!push_return(cpu, &frame, t->next_rip, bytes))
            return 0;
        frame_set_sp(cpu, &frame);
    }
    segment_set_code(cpu, d, cpu->cpl);
    cpu_update_mode(cpu);
    return offset;
}

/// CALL through a gate to an inner ring, not long mode: new stack with parameters copied.
static uint64_t call_inner(struct cpu *cpu, struct descriptor *code, const struct descriptor *gate,
                           const struct far_target *t)
{
    unsigned bytes = descriptor_type(gate) & 8 ? 4 : 2, cpl = descriptor_dpl(code), parameters = gate->high & 0x1f;
    uint64_t offset = gate_offset(gate, bytes == 4), sp, parameter[32];
    struct descriptor ss;
    struct frame old, frame;
    uint16_t selector;

    if (!tss_stack(cpu, cpl, 0, &selector, &sp) || !stack_segment_check(cpu, selector, cpl, VECTOR_TS, 0, &ss) ||
        !code_offset_check(cpu, code, offset, 0))
        return 0;
    frame_current(cpu, &old);
    for (unsigned i = 0; i < parameters; i++) {
        if (!frame_pop(cpu, &old, bytes, &parameter[i]))
            return 0;
    }
    frame_new(cpu, &frame, &ss, sp, cpl, 0);
    frame_push(&frame, cpu->segment[SEG_SS].selector, bytes);
    frame_push(&frame, cut_bytes(cpu->var[VAR_RSP], bytes), bytes);
    for (unsigned i = parameters; i-- > 0;)
        frame_push(&frame, parameter[i], bytes);
    if (!descriptor_set_accessed(cpu, code) || !push_return(cpu, &frame, t->next_rip, bytes))
        return 0;
    segment_set_descriptor(cpu, SEG_SS, selector, &ss);
    frame_set_sp(cpu, &frame);
    segment_set_code(cpu, code, cpl);
    cpu_update_mode(cpu);
    return offset;
}

static uint64_t call_inner64(struct cpu *cpu, struct descriptor *code, uint64_t offset, const struct far_target *t)
{
    unsigned cpl = descriptor_dpl(code);
    struct frame frame;
    uint64_t sp;

    if (!tss_stack64(cpu, cpl, 0, 0, &sp) || !code_offset_check(cpu, code, offset, 0) ||
        !descriptor_set_accessed(cpu, code))
        return 0;
    frame_new64(cpu, &frame, sp, cpl);
    frame_push(&frame, cpu->segment[SEG_SS].selector, 8);
    frame_push(&frame, cpu->var[VAR_RSP], 8);
    if (!push_return(cpu, &frame, t->next_rip, 8))
        return 0;
    cpu->var[VAR_RSP] = frame.sp;
    segment_set_code(cpu, code, cpl);
    segment_set_null(cpu, SEG_SS, (uint16_t)cpl);
    cpu_update_mode(cpu);
    return offset;
}

/// In long mode a same-ring gate call pushes 8 bytes each, whatever the present code's size.
static uint64_t call_same64(struct cpu *cpu, struct descriptor *code, uint64_t offset, const struct far_target *t)
{
    struct frame frame;
    if (!code_offset_check(cpu, code, offset, 0) || !descriptor_set_accessed(cpu, code))
        return 0;
    frame_new64(cpu, &frame, cpu->var[VAR_RSP], cpu->cpl);
    if (!push_return(cpu, &frame, t->next_rip, 8))
        return 0;
    cpu->var[VAR_RSP] = frame.sp;
    segment_set_code(cpu, code, cpu->cpl);
    cpu_update_mode(cpu);
    return offset;
}

static uint64_t through_gate(struct cpu *cpu, struct descriptor *gate, const struct far_target *t)
{
    bool wide = descriptor_type(gate) & 8, long_mode = cpu_is_long(cpu), inner;
    uint16_t selector = gate_selector(gate);
    struct descriptor code;
    uint64_t offset;

    if (long_mode && !descriptor_read_upper(cpu, gate, VECTOR_GP, 0))
        return 0;
    offset = gate_offset(gate, wide);
    if (selector_is_null(selector))
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    if (!descriptor_read(cpu, selector, VECTOR_GP, 0, &code))
        return 0;
    if (!descriptor_is_code(&code) || descriptor_dpl(&code) > cpu->cpl ||
        (!t->call && !descriptor_is_conforming(&code) && descriptor_dpl(&code) != cpu->cpl) ||
        (long_mode && (!(code.rights & SEGMENT_L) || (code.rights & SEGMENT_DB))))
        return cpu_raise_error(cpu, VECTOR_GP, selector_error(selector, 0));
    if (!descriptor_is_present(&code))
        return cpu_raise_error(cpu, VECTOR_NP, selector_error(selector, 0));
    inner = t->call && !descriptor_is_conforming(&code) && descriptor_dpl(&code) < cpu->cpl;
    if (inner)
        return long_mode ? call_inner64(cpu, &code, offset, t) : call_inner(cpu, &code, gate, t);
    if (long_mode && t->call)
        return call_same64(cpu, &code, offset, t);
    return enter_code(cpu, &code, t, offset, wide ? 4 : 2);
}

static uint64_t to_task(struct cpu *cpu, uint16_t selector, const struct far_target *t)
{
    struct descriptor tss;
    if (!task_descriptor(cpu, selector, false, VECTOR_GP, 0, &tss))
        return 0;
    return task_finish(cpu, task_switch(cpu, &tss, t->call ? TASK_CALL : TASK_JUMP, t->next_rip, 0, false, 0));
}

static uint64_t to_system(struct cpu *cpu, struct descriptor *d, const struct far_target *t)
{
    unsigned type = descriptor_type(d);
    bool gate = type == TYPE_CALL_GATE32 || (type == TYPE_CALL_GATE16 && !cpu_is_long(cpu));
    bool task = !cpu_is_long(cpu) && (type == TYPE_TASK_GATE || type == TYPE_TSS16 || type == TYPE_TSS32);

    if ((!gate && !task) || descriptor_dpl(d) < cpu->cpl || descriptor_dpl(d) < (d->selector & 3u))
        return cpu_raise_error(cpu, VECTOR_GP, selector_error(d->selector, 0));
    if (!descriptor_is_present(d))
        return cpu_raise_error(cpu, VECTOR_NP, selector_error(d->selector, 0));
    if (gate)
        return through_gate(cpu, d, t);
    return to_task(cpu, type == TYPE_TASK_GATE ? gate_selector(d) : d->selector, t);
}

static uint64_t far_real(struct cpu *cpu, const struct far_target *t)
{
    struct frame frame;
    if (t->offset > cpu->segment[SEG_CS].limit)
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    if (t->call) {
        frame_current(cpu, &frame);
        if (!push_return(cpu, &frame, t->next_rip, t->bytes))
            return 0;
        frame_set_sp(cpu, &frame);
    }
    segment_set_real(cpu, SEG_CS, t->selector, cpu_is_vm86(cpu));
    cpu_update_mode(cpu);
    return t->offset;
}

static uint64_t far_transfer(struct cpu *cpu, const struct far_target *t)
{
    struct descriptor d;
    if (!cpu_is_protected(cpu) || cpu_is_vm86(cpu))
        return far_real(cpu, t);
    if (selector_is_null(t->selector))
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    if (!descriptor_read(cpu, t->selector, VECTOR_GP, 0, &d))
        return 0;
    if (descriptor_is_system(&d))
        return to_system(cpu, &d, t);
    if (!descriptor_is_code(&d))
        return cpu_raise_error(cpu, VECTOR_GP, selector_error(t->selector, 0));
    return check_direct(cpu, &d) ? enter_code(cpu, &d, t, t->offset, t->bytes) : 0;
}

/// a = offset | selector << 32, b = next RIP, imm = bytes | call << 8.
uint64_t helper_far_direct(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    struct far_target t = {.selector = (uint16_t)(a >> 32),
                           .offset = (uint32_t)a,
                           .bytes = (unsigned)imm & 0xff,
                           .call = imm >> 8 & 1,
                           .next_rip = b};
    return far_transfer(cpu, &t);
}

/// a = linear address of the pointer in memory.
uint64_t helper_far_indirect(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    struct far_target t = {.bytes = (unsigned)imm & 0xff, .call = imm >> 8 & 1, .next_rip = b};
    uint64_t selector, after = a + t.bytes;
    struct mmu_fault fault;
    if (!cpu_is_64(cpu))
        after &= 0xffffffff;
    if (!cpu_check_alignment(cpu, a, t.bytes)) // the selector behind it has then its own alignment
        return 0;
    if (!mmu_read(&cpu->mmu, cpu->data_mode, a, t.bytes, &t.offset, &fault) ||
        !mmu_read(&cpu->mmu, cpu->data_mode, after, 2, &selector, &fault))
        return cpu_raise_mmu(cpu, &fault, imm >> 9 & 1);
    t.selector = (uint16_t)selector;
    return far_transfer(cpu, &t);
}
