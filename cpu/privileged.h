// What the files of the privileged machinery (helper_*.c, deliver.c, task_switch.c, smm.c) share: descriptors, segment
// loads, stack frames that are checked whole before they are written. Knows no instruction encoding.
//
// Functions that return bool raise the fault (cpu_raise*) before they return false. `ext` is 1 while an event is
// delivered that did not come from the program (SDM vol. 3 sec. 6.13), else 0.
#ifndef DOPPEL_CPU_PRIVILEGED_H
#define DOPPEL_CPU_PRIVILEGED_H

#include <string.h>

#include "cpu/cpu.h"
#include "cpu/helper.h"
#include "cpu/model.h"

// ---- Modes ------------------------------------------------------------------------------------------------------
static inline bool cpu_is_protected(const struct cpu *cpu)
{
    return cpu->cr0 & CR0_PE;
}
static inline bool cpu_is_vm86(const struct cpu *cpu)
{
    return cpu_is_protected(cpu) && (cpu->var[VAR_FLAGS] & FLAG_VM);
}
static inline bool cpu_is_long(const struct cpu *cpu)
{
    return cpu->efer & EFER_LMA;
}
static inline bool cpu_is_64(const struct cpu *cpu)
{
    return (cpu->mode & MODE_CODE_MASK) == MODE_CODE64;
}
static inline unsigned cpu_iopl(const struct cpu *cpu)
{
    return (unsigned)(cpu->var[VAR_FLAGS] >> 12 & 3);
}
static inline bool cpu_canonical(const struct cpu *cpu, uint64_t address)
{
    return (uint64_t)bits_sign_extend(address, cpu->mmu.linear_bits ? cpu->mmu.linear_bits : 48) == address;
}
/// For bases of segments and tables and what MSRs hold: with LA57 in the model 57 bits count, whatever CR4 says.
static inline bool cpu_canonical_base(const struct cpu *cpu, uint64_t address)
{
    return (uint64_t)bits_sign_extend(address, model_has(cpu->model, FEATURE_LA57) ? 57 : 48) == address;
}
static inline bool cpu_is_amd(const struct cpu *cpu)
{
    return strcmp(cpu->model->vendor, "AuthenticAMD") == 0;
}
/// `value` cut to 2, 4 or 8 bytes.
static inline uint64_t cut_bytes(uint64_t value, unsigned bytes)
{
    return value & bits_mask(bytes * 8);
}
/// Makes the engine look at pins and activity before the next instruction.
static inline void cpu_request_poll(struct cpu *cpu)
{
    atomic_store(&cpu->exit_request, 1);
}

/// Questions of helper_query_descriptor.
enum { SYSTEM_LAR, SYSTEM_LSL, SYSTEM_VERR, SYSTEM_VERW };

// ---- Descriptors ------------------------------------------------------------------------------------------------
/// System descriptor types.
enum {
    TYPE_TSS16 = 1,
    TYPE_LDT = 2,
    TYPE_TSS16_BUSY = 3,
    TYPE_CALL_GATE16 = 4,
    TYPE_TASK_GATE = 5,
    TYPE_INT_GATE16 = 6,
    TYPE_TRAP_GATE16 = 7,
    TYPE_TSS32 = 9,
    TYPE_TSS32_BUSY = 11,
    TYPE_CALL_GATE32 = 12,
    TYPE_INT_GATE32 = 14,
    TYPE_TRAP_GATE32 = 15
};

struct descriptor {
    uint64_t address; // linear, of the entry
    uint64_t base;
    uint32_t low, high; // its two dwords
    uint32_t upper;     // third dword (bits 63..32 of base or offset) of 16-byte entries
    uint32_t limit, rights;
    uint16_t selector;
};

static inline bool selector_is_null(uint16_t selector)
{
    return (selector & 0xfffc) == 0;
}
static inline uint32_t selector_error(uint16_t selector, unsigned ext)
{
    return (selector & 0xfffcu) | ext;
}
static inline unsigned descriptor_dpl(const struct descriptor *d)
{
    return d->rights >> 5 & 3;
}
static inline unsigned descriptor_type(const struct descriptor *d)
{
    return d->rights & SEGMENT_TYPE;
}
static inline bool descriptor_is_system(const struct descriptor *d)
{
    return !(d->rights & SEGMENT_S);
}
static inline bool descriptor_is_code(const struct descriptor *d)
{
    return (d->rights & (SEGMENT_S | 8)) == (SEGMENT_S | 8);
}
static inline bool descriptor_is_writable_data(const struct descriptor *d)
{
    return (d->rights & (SEGMENT_S | 8 | 2)) == (SEGMENT_S | 2);
}
static inline bool descriptor_is_conforming(const struct descriptor *d)
{
    return d->rights & 4;
}
static inline bool descriptor_is_present(const struct descriptor *d)
{
    return d->rights & SEGMENT_P;
}
/// Selector and offset of a call, interrupt or trap gate; `wide`: 32 bits and more.
static inline uint16_t gate_selector(const struct descriptor *d)
{
    return (uint16_t)(d->low >> 16);
}
static inline uint64_t gate_offset(const struct descriptor *d, bool wide)
{
    return (d->low & 0xffff) | (wide ? (d->high & 0xffff0000u) | (uint64_t)d->upper << 32 : 0);
}

/// Fills base, limit and rights from low and high.
void descriptor_decode(struct descriptor *d);
/// Reads the entry of a selector that is not null; beyond the table: fault `vector` with the selector.
bool descriptor_read(struct cpu *cpu, uint16_t selector, uint8_t vector, unsigned ext, struct descriptor *d);
/// Long mode: the second half of a 16-byte system descriptor.
bool descriptor_read_upper(struct cpu *cpu, struct descriptor *d, uint8_t vector, unsigned ext);
/// Sets the accessed bit of a code or data descriptor in memory.
bool descriptor_set_accessed(struct cpu *cpu, struct descriptor *d);
/// Writes a changed type (busy bit of a TSS) back.
bool descriptor_set_type(struct cpu *cpu, struct descriptor *d, unsigned type);

void segment_set(struct cpu *cpu, unsigned segment, uint16_t selector, uint64_t base, uint32_t limit, uint32_t rights);
void segment_set_descriptor(struct cpu *cpu, unsigned segment, uint16_t selector, const struct descriptor *d);
void segment_set_null(struct cpu *cpu, unsigned segment, uint16_t selector);
/// As real mode and virtual-8086 mode load a segment; `vm86` gives the full 64K rights of DPL 3.
void segment_set_real(struct cpu *cpu, unsigned segment, uint16_t selector, bool vm86);
/// CS with CPL = `cpl` in the selector; sets cpu->cpl; the caller calls cpu_update_mode.
void segment_set_code(struct cpu *cpu, const struct descriptor *d, unsigned cpl);
/// After a return to an outer ring: DS, ES, FS, GS that the ring may not use become null.
void segments_drop_inner(struct cpu *cpu);
/// Checks (protected mode) and loads ES, SS, DS, FS or GS.
bool segment_load(struct cpu *cpu, unsigned segment, uint16_t selector);
/// Checks a stack segment for ring `cpl`: `vector` (#TS or #GP) and #SS; marks it accessed.
bool stack_segment_check(struct cpu *cpu, uint16_t selector, unsigned cpl, uint8_t vector, unsigned ext,
                         struct descriptor *d);
/// Is `offset` a place where code of this segment can run? Raises #GP(ext).
bool code_offset_check(struct cpu *cpu, const struct descriptor *d, uint64_t offset, unsigned ext);

// ---- Stacks -----------------------------------------------------------------------------------------------------
#define FRAME_ITEMS 44

/// A stack, current or new, being read or prepared; nothing is written before frame_write.
struct frame {
    uint64_t base, sp, mask; // mask of the stack pointer's width
    uint32_t limit, rights;
    uint32_t error; // code of #SS
    enum mmu_mode mode;
    bool flat64; // 64-bit: no base, no limit
    unsigned count;
    struct {
        uint64_t offset, value;
        unsigned bytes;
    } item[FRAME_ITEMS];
};

void frame_current(const struct cpu *cpu, struct frame *frame);
/// A stack of another ring (protected mode).
void frame_new(const struct cpu *cpu, struct frame *frame, const struct descriptor *ss, uint64_t sp, unsigned cpl,
               unsigned ext);
/// A 64-bit stack.
void frame_new64(const struct cpu *cpu, struct frame *frame, uint64_t sp, unsigned cpl);
void frame_push(struct frame *frame, uint64_t value, unsigned bytes);
/// Checks all pushes, then performs them.
bool frame_write(struct cpu *cpu, struct frame *frame);
/// Reads at the frame's sp and moves it.
bool frame_pop(struct cpu *cpu, struct frame *frame, unsigned bytes, uint64_t *value);
/// Stores the frame's sp to RSP, as wide as the stack is.
void frame_set_sp(struct cpu *cpu, const struct frame *frame);

/// SS:ESP for ring `cpl` from the present TSS (not long mode).
bool tss_stack(struct cpu *cpu, unsigned cpl, unsigned ext, uint16_t *ss, uint64_t *sp);
/// RSP for ring `cpl`, or for IST 1..7 when `ist` is not 0.
bool tss_stack64(struct cpu *cpu, unsigned cpl, unsigned ist, unsigned ext, uint64_t *sp);

// ---- Tasks (task_switch.c) --------------------------------------------------------------------------------------
enum task_reason { TASK_JUMP, TASK_CALL, TASK_GATE_EVENT, TASK_IRET };
enum task_result {
    TASK_FAULT,       // nothing has changed, the fault is the old task's
    TASK_DONE,        // RIP is the new task's
    TASK_FAULT_IN_NEW // the switch is done and a fault of the new task is pending
};
/// Switches to the TSS `tss` (already checked to be a TSS of the right busyness and present). next_rip: what the old
/// task continues with. error_code pushed on the new stack when has_error_code.
enum task_result task_switch(struct cpu *cpu, struct descriptor *tss, enum task_reason reason, uint64_t next_rip,
                             unsigned ext, bool has_error_code, uint32_t error_code);
/// Reads and checks the TSS descriptor of a JMP, CALL, task gate (`vector` for a bad one) or IRET.
bool task_descriptor(struct cpu *cpu, uint16_t selector, bool busy, uint8_t vector, unsigned ext, struct descriptor *d);
/// For helpers: what to return as RIP after a task switch; delivers a fault of the new task.
uint64_t task_finish(struct cpu *cpu, enum task_result result);

// ---- Interrupts (deliver.c) -------------------------------------------------------------------------------------
enum event_source {
    EVENT_EXTERNAL, // pin, NMI
    EVENT_EXCEPTION,
    EVENT_SOFTWARE, // INT n, INT3, INTO: gate DPL is checked
    EVENT_INT1,     // INT1: DPL is not checked
};
struct event_delivery {
    enum event_source source;
    uint8_t vector;
    bool has_error_code;
    uint32_t error_code;
    uint64_t return_rip;
};
/// Goes through the IDT; sets RIP.
enum task_result event_deliver(struct cpu *cpu, const struct event_delivery *event);

/// VIF and VIP are both set where they count: #GP(0) before the next instruction (SDM vol. 3 sec. 20.3.2).
bool virtual_interrupt_due(const struct cpu *cpu);

// ---- Others -----------------------------------------------------------------------------------------------------
/// I/O permission (SDM vol. 1 sec. 19.5); raises #GP(0).
bool io_check(struct cpu *cpu, uint16_t port, unsigned bytes);
uint64_t port_read(struct cpu *cpu, uint16_t port, unsigned bytes);
void port_write(struct cpu *cpu, uint16_t port, uint64_t value, unsigned bytes);
/// Bits of CR4 that this model has.
uint64_t cpu_cr4_known(const struct cpu *cpu);
/// The TSC as RDTSC gives it.
uint64_t cpu_tsc(struct cpu *cpu);

#endif
