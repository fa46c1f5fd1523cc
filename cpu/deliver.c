// Events through the IDT: exceptions, interrupts, software interrupts in every mode (SDM vol. 3 ch. 6 and sec. 20.1-3).
// All checks and pushes are made before any state changes.
#include <inttypes.h>

#include "cpu/debug.h"
#include "cpu/privileged.h"

/// What the delivery to a gate's code segment has found out, before it commits.
struct entry {
    struct descriptor code;
    uint64_t offset;
    unsigned cpl;       // of the handler
    bool is_trap, wide; // wide: 32-bit gate (or 64)
};

static unsigned event_ext(const struct event_delivery *event)
{
    return event->source == EVENT_SOFTWARE ? 0 : 1;
}

static uint32_t idt_error(const struct event_delivery *event)
{
    return event->vector * 8u + 2 + event_ext(event);
}

static bool deliver_real(struct cpu *cpu, const struct event_delivery *event)
{
    uint64_t target;
    struct mmu_fault fault;
    struct frame frame;

    if (event->vector * 4u + 3 > cpu->idt.limit)
        return cpu_raise(cpu, VECTOR_GP);
    if (!mmu_read(&cpu->mmu, MMU_KERNEL, cpu->idt.base + event->vector * 4u, 4, &target, &fault))
        return cpu_raise_mmu(cpu, &fault, false);
    frame_current(cpu, &frame);
    frame_push(&frame, cpu_rflags(cpu) & 0xffff, 2);
    frame_push(&frame, cpu->segment[SEG_CS].selector, 2);
    frame_push(&frame, event->return_rip & 0xffff, 2);
    if (!frame_write(cpu, &frame))
        return false;
    frame_set_sp(cpu, &frame);
    segment_set_real(cpu, SEG_CS, (uint16_t)(target >> 16), false);
    cpu->var[VAR_RIP] = target & 0xffff;
    cpu_set_rflags(cpu, cpu_rflags(cpu) & ~(FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF));
    return true;
}

/// Reads the IDT entry; `gate` has its type checked.
static bool read_gate(struct cpu *cpu, const struct event_delivery *event, struct descriptor *gate)
{
    bool long_mode = cpu_is_long(cpu);
    unsigned size = long_mode ? 16 : 8, type;
    uint64_t value;
    struct mmu_fault fault;

    if (event->vector * size + size - 1 > cpu->idt.limit)
        return cpu_raise_error(cpu, VECTOR_GP, idt_error(event));
    *gate = (struct descriptor){.address = cpu->idt.base + event->vector * size};
    if (!mmu_read(&cpu->mmu, MMU_KERNEL, gate->address, 8, &value, &fault))
        return cpu_raise_mmu(cpu, &fault, false);
    gate->low = (uint32_t)value;
    gate->high = (uint32_t)(value >> 32);
    if (long_mode) {
        if (!mmu_read(&cpu->mmu, MMU_KERNEL, gate->address + 8, 4, &value, &fault))
            return cpu_raise_mmu(cpu, &fault, false);
        gate->upper = (uint32_t)value;
    }
    descriptor_decode(gate);
    type = descriptor_type(gate);
    if (!descriptor_is_system(gate) ||
        !(type == TYPE_INT_GATE32 || type == TYPE_TRAP_GATE32 ||
          (!long_mode && (type == TYPE_INT_GATE16 || type == TYPE_TRAP_GATE16 || type == TYPE_TASK_GATE))))
        return cpu_raise_error(cpu, VECTOR_GP, idt_error(event));
    if (event->source == EVENT_SOFTWARE && descriptor_dpl(gate) < cpu->cpl)
        return cpu_raise_error(cpu, VECTOR_GP, idt_error(event));
    if (!descriptor_is_present(gate))
        return cpu_raise_error(cpu, VECTOR_NP, idt_error(event));
    return true;
}

/// Checks the handler's code segment and finds the ring it runs in.
static bool check_code(struct cpu *cpu, const struct event_delivery *event, const struct descriptor *gate,
                       struct entry *entry)
{
    uint16_t selector = gate_selector(gate);
    unsigned ext = event_ext(event);
    struct descriptor *code = &entry->code;

    entry->is_trap = descriptor_type(gate) & 1;
    entry->wide = descriptor_type(gate) & 8;
    entry->offset = gate_offset(gate, entry->wide);
    if (selector_is_null(selector))
        return cpu_raise_error(cpu, VECTOR_GP, ext);
    if (!descriptor_read(cpu, selector, VECTOR_GP, ext, code))
        return false;
    if (!descriptor_is_code(code) || descriptor_dpl(code) > cpu->cpl)
        return cpu_raise_error(cpu, VECTOR_GP, selector_error(selector, ext));
    if (cpu_is_long(cpu) && (!(code->rights & SEGMENT_L) || (code->rights & SEGMENT_DB)))
        return cpu_raise_error(cpu, VECTOR_GP, selector_error(selector, ext));
    if (!descriptor_is_present(code))
        return cpu_raise_error(cpu, VECTOR_NP, selector_error(selector, ext));
    entry->cpl = descriptor_is_conforming(code) ? cpu->cpl : descriptor_dpl(code);
    if (cpu_is_vm86(cpu) && entry->cpl != 0)
        return cpu_raise_error(cpu, VECTOR_GP, selector_error(selector, ext));
    return descriptor_set_accessed(cpu, code);
}

/// The end of a delivery through an interrupt or trap gate: CS, RIP, flags.
static void enter_handler(struct cpu *cpu, const struct entry *entry)
{
    uint64_t flags = cpu_rflags(cpu) & ~(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM);
    if (!entry->is_trap)
        flags &= ~FLAG_IF;
    segment_set_code(cpu, &entry->code, entry->cpl);
    cpu->var[VAR_RIP] = entry->offset;
    cpu_set_rflags(cpu, flags); // updates the mode
}

static bool deliver_long(struct cpu *cpu, const struct event_delivery *event, const struct descriptor *gate)
{
    struct entry entry = {0};
    struct frame frame;
    unsigned ist = gate->high & 7, ext = event_ext(event); // bits 32..34 of the entry
    uint64_t sp = cpu->var[VAR_RSP];
    bool inner;

    if (!check_code(cpu, event, gate, &entry))
        return false;
    inner = entry.cpl < cpu->cpl;
    if ((inner || ist) && !tss_stack64(cpu, entry.cpl, ist, ext, &sp))
        return false;
    if (!code_offset_check(cpu, &entry.code, entry.offset, ext))
        return false;
    frame_new64(cpu, &frame, sp & ~UINT64_C(15), entry.cpl);
    frame_push(&frame, cpu->segment[SEG_SS].selector, 8);
    frame_push(&frame, cpu->var[VAR_RSP], 8);
    frame_push(&frame, cpu_rflags(cpu), 8);
    frame_push(&frame, cpu->segment[SEG_CS].selector, 8);
    frame_push(&frame, event->return_rip, 8);
    if (event->has_error_code)
        frame_push(&frame, event->error_code, 8);
    if (!frame_write(cpu, &frame))
        return false;
    cpu->var[VAR_RSP] = frame.sp;
    if (inner) {
        cpu->cpl = (uint8_t)entry.cpl;
        segment_set_null(cpu, SEG_SS, (uint16_t)entry.cpl);
    }
    enter_handler(cpu, &entry);
    return true;
}

static void push_event(struct cpu *cpu, struct frame *frame, const struct event_delivery *event, bool wide)
{
    unsigned bytes = wide ? 4 : 2;
    frame_push(frame, cut_bytes(cpu_rflags(cpu), bytes), bytes);
    frame_push(frame, cpu->segment[SEG_CS].selector, bytes);
    frame_push(frame, cut_bytes(event->return_rip, bytes), bytes);
    if (event->has_error_code)
        frame_push(frame, event->error_code, bytes);
}

/// Handler in an inner ring: new stack from the TSS, and from virtual-8086 mode the data segments saved and cleared.
static bool deliver_inner(struct cpu *cpu, const struct event_delivery *event, const struct entry *entry)
{
    static const uint8_t data[] = {SEG_GS, SEG_FS, SEG_DS, SEG_ES};
    unsigned bytes = entry->wide ? 4 : 2, ext = event_ext(event);
    bool vm86 = cpu_is_vm86(cpu);
    struct descriptor ss;
    struct frame frame;
    uint16_t selector;
    uint64_t sp;

    if (!tss_stack(cpu, entry->cpl, ext, &selector, &sp) ||
        !stack_segment_check(cpu, selector, entry->cpl, VECTOR_TS, ext, &ss) ||
        !code_offset_check(cpu, &entry->code, entry->offset, ext))
        return false;
    frame_new(cpu, &frame, &ss, sp, entry->cpl, ext);
    for (unsigned i = 0; vm86 && i < ARRAY_SIZE(data); i++)
        frame_push(&frame, cpu->segment[data[i]].selector, bytes);
    frame_push(&frame, cpu->segment[SEG_SS].selector, bytes);
    frame_push(&frame, cut_bytes(cpu->var[VAR_RSP], bytes), bytes);
    push_event(cpu, &frame, event, entry->wide);
    if (!frame_write(cpu, &frame))
        return false;
    for (unsigned i = 0; vm86 && i < ARRAY_SIZE(data); i++)
        segment_set_null(cpu, data[i], 0);
    segment_set_descriptor(cpu, SEG_SS, selector, &ss);
    frame_set_sp(cpu, &frame);
    enter_handler(cpu, entry);
    return true;
}

static bool deliver_same(struct cpu *cpu, const struct event_delivery *event, const struct entry *entry)
{
    struct frame frame;
    if (!code_offset_check(cpu, &entry->code, entry->offset, event_ext(event)))
        return false;
    frame_current(cpu, &frame);
    frame.error = event_ext(event);
    push_event(cpu, &frame, event, entry->wide);
    if (!frame_write(cpu, &frame))
        return false;
    frame_set_sp(cpu, &frame);
    enter_handler(cpu, entry);
    return true;
}

static enum task_result deliver_task(struct cpu *cpu, const struct event_delivery *event, const struct descriptor *gate)
{
    struct descriptor tss;
    if (!task_descriptor(cpu, gate_selector(gate), false, VECTOR_GP, event_ext(event), &tss))
        return TASK_FAULT;
    return task_switch(cpu, &tss, TASK_GATE_EVENT, event->return_rip, event_ext(event), event->has_error_code,
                       event->error_code);
}

static bool deliver_legacy(struct cpu *cpu, const struct event_delivery *event, const struct descriptor *gate)
{
    struct entry entry = {0};
    if (!check_code(cpu, event, gate, &entry))
        return false;
    return entry.cpl < cpu->cpl ? deliver_inner(cpu, event, &entry) : deliver_same(cpu, event, &entry);
}

enum task_result event_deliver(struct cpu *cpu, const struct event_delivery *event)
{
    struct descriptor gate;
    bool done;

    if (!cpu_is_protected(cpu))
        done = deliver_real(cpu, event);
    else if (!read_gate(cpu, event, &gate))
        done = false;
    else if (cpu_is_long(cpu))
        done = deliver_long(cpu, event, &gate);
    else if (descriptor_type(&gate) == TYPE_TASK_GATE)
        return deliver_task(cpu, event, &gate);
    else
        done = deliver_legacy(cpu, event, &gate);
    return done ? TASK_DONE : TASK_FAULT;
}

// ---- Faults on the way to a handler (SDM vol. 3 table 6-5) -------------------------------------------------------

static bool is_contributory(uint8_t vector)
{
    return vector == VECTOR_DE || (vector >= VECTOR_TS && vector <= VECTOR_GP);
}

static void shut_down(struct cpu *cpu)
{
    log_print(cpu->log, LOG_RESET, "triple fault at %04x:%016" PRIx64 "\n", cpu->segment[SEG_CS].selector,
              cpu->var[VAR_RIP]);
    cpu->fault.pending = false;
    cpu->activity = ACTIVITY_SHUTDOWN;
    cpu_request_poll(cpu);
}

void cpu_deliver_fault(struct cpu *cpu)
{
    // Each round either ends or moves up: benign, contributory or page fault, double fault, shutdown.
    for (;;) {
        struct cpu_fault first = cpu->fault;
        struct event_delivery event = {
            .source = EVENT_EXCEPTION,
            .vector = first.vector,
            .has_error_code = first.has_error_code && cpu_is_protected(cpu),
            .error_code = first.error_code,
            .return_rip = cpu->var[VAR_RIP],
        };
        uint8_t second;

        cpu->fault = (struct cpu_fault){0};
        // Faults push RF, so that a breakpoint on the instruction does not hit again; #DB brings its own.
        if (first.vector != VECTOR_DB) {
            cpu->var[VAR_FLAGS] |= FLAG_RF;
        } else {
            cpu->dr[7] &= ~DR7_GD;
            cpu->debugctl &= ~(DEBUGCTL_LBR | DEBUGCTL_BTF);
        }
        if (event_deliver(cpu, &event) == TASK_DONE)
            return;
        second = cpu->fault.vector;
        if (first.vector == VECTOR_DF) {
            shut_down(cpu);
            return;
        }
        if ((is_contributory(first.vector) && is_contributory(second)) ||
            (first.vector == VECTOR_PF && (is_contributory(second) || second == VECTOR_PF)))
            cpu->fault = (struct cpu_fault){.pending = true, .vector = VECTOR_DF, .has_error_code = true};
    }
}

void cpu_deliver_interrupt(struct cpu *cpu, uint8_t vector)
{
    struct event_delivery event = {
        .source = EVENT_EXTERNAL,
        .vector = vector,
        .return_rip = cpu->var[VAR_RIP],
    };
    cpu->activity = ACTIVITY_RUN;
    cpu->fault = (struct cpu_fault){0};
    // An INTR with vector 2 cannot be told from an NMI here; that it blocks NMIs until IRET does no harm.
    if (vector == VECTOR_NMI)
        cpu->nmi_blocked = true;
    if (event_deliver(cpu, &event) != TASK_DONE)
        cpu_deliver_fault(cpu);
}
