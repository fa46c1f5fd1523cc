// Segment registers: descriptors, checked loads, stack frames for gates and returns, and the instructions that ask
// about descriptors (LAR, LSL, VERR, VERW, ARPL, LLDT, LTR). SDM vol. 3 ch. 3 and 5.
#include "cpu/privileged.h"
#include "cpu/segment.h"

void descriptor_decode(struct descriptor *d)
{
    d->base = d->low >> 16 | (d->high & 0xff) << 16 | (d->high & 0xff000000u);
    d->limit = (d->low & 0xffff) | (d->high & 0xf0000);
    if (d->high & 0x800000)
        d->limit = d->limit << 12 | 0xfff;
    d->rights = d->high >> 8 & 0xf0ff;
}

/// Base and limit of the table a selector names; false: the LDT is unusable.
static bool table_of(const struct cpu *cpu, uint16_t selector, uint64_t *base, uint32_t *limit)
{
    const struct segment *ldt = &cpu->segment[SEG_LDTR];
    if (!(selector & 4)) {
        *base = cpu->gdt.base;
        *limit = cpu->gdt.limit;
        return true;
    }
    *base = ldt->base;
    *limit = ldt->limit;
    return !(ldt->rights & SEGMENT_UNUSABLE) && (ldt->rights & SEGMENT_P);
}

bool descriptor_read(struct cpu *cpu, uint16_t selector, uint8_t vector, unsigned ext, struct descriptor *d)
{
    uint64_t base, value;
    uint32_t limit;
    struct mmu_fault fault;

    if (!table_of(cpu, selector, &base, &limit) || (selector & 0xfff8u) + 7 > limit)
        return cpu_raise_error(cpu, vector, selector_error(selector, ext));
    *d = (struct descriptor){.address = base + (selector & 0xfff8u), .selector = selector};
    if (!mmu_read(&cpu->mmu, MMU_KERNEL, d->address, 8, &value, &fault))
        return cpu_raise_mmu(cpu, &fault, false);
    d->low = (uint32_t)value;
    d->high = (uint32_t)(value >> 32);
    descriptor_decode(d);
    return true;
}

bool descriptor_read_upper(struct cpu *cpu, struct descriptor *d, uint8_t vector, unsigned ext)
{
    uint64_t base, value;
    uint32_t limit;
    struct mmu_fault fault;

    if (!table_of(cpu, d->selector, &base, &limit) || (d->selector & 0xfff8u) + 15 > limit)
        return cpu_raise_error(cpu, vector, selector_error(d->selector, ext));
    if (!mmu_read(&cpu->mmu, MMU_KERNEL, d->address + 8, 8, &value, &fault))
        return cpu_raise_mmu(cpu, &fault, false);
    if (value >> 40 & 0x1f)
        return cpu_raise_error(cpu, vector, selector_error(d->selector, ext));
    d->upper = (uint32_t)value;
    d->base |= value << 32;
    return true;
}

static bool descriptor_write_type(struct cpu *cpu, struct descriptor *d)
{
    struct mmu_fault fault;
    if (!mmu_write(&cpu->mmu, MMU_KERNEL, d->address + 5, 1, d->high >> 8 & 0xff, &fault))
        return cpu_raise_mmu(cpu, &fault, false);
    descriptor_decode(d);
    return true;
}

bool descriptor_set_accessed(struct cpu *cpu, struct descriptor *d)
{
    if (d->high & 0x100)
        return true;
    d->high |= 0x100;
    return descriptor_write_type(cpu, d);
}

bool descriptor_set_type(struct cpu *cpu, struct descriptor *d, unsigned type)
{
    uint64_t base = d->base;
    bool ok;
    d->high = (d->high & ~0xf00u) | type << 8;
    ok = descriptor_write_type(cpu, d);
    d->base = base;
    return ok;
}

void segment_set(struct cpu *cpu, unsigned segment, uint16_t selector, uint64_t base, uint32_t limit, uint32_t rights)
{
    cpu->segment[segment].selector = selector;
    cpu->segment[segment].limit = limit;
    cpu->segment[segment].rights = rights;
    cpu_set_segment_base(cpu, segment, base);
}

void segment_set_descriptor(struct cpu *cpu, unsigned segment, uint16_t selector, const struct descriptor *d)
{
    segment_set(cpu, segment, selector, d->base, d->limit, d->rights);
}

void segment_set_null(struct cpu *cpu, unsigned segment, uint16_t selector)
{
    uint32_t rights = SEGMENT_UNUSABLE;
    if (segment == SEG_SS) // keeps what a 64-bit kernel's null SS needs after a mode change
        rights |= (uint32_t)cpu->cpl << 5 | SEGMENT_DB;
    segment_set(cpu, segment, selector, 0, 0, rights);
}

void segment_set_real(struct cpu *cpu, unsigned segment, uint16_t selector, bool vm86)
{
    struct segment *s = &cpu->segment[segment];
    if (vm86)
        segment_set(cpu, segment, selector, (uint32_t)selector << 4, 0xffff, SEGMENT_P | SEGMENT_DPL | SEGMENT_S | 3);
    else // the limit and its granularity stay: "unreal" mode relies on it
        segment_set(cpu, segment, selector, (uint32_t)selector << 4, s->limit,
                    (s->rights & (SEGMENT_DB | SEGMENT_G)) | SEGMENT_P | SEGMENT_S | (segment == SEG_CS ? 0xb : 3));
}

void segment_set_code(struct cpu *cpu, const struct descriptor *d, unsigned cpl)
{
    segment_set_descriptor(cpu, SEG_CS, (uint16_t)((d->selector & 0xfffc) | cpl), d);
    cpu->cpl = (uint8_t)cpl;
}

void segments_drop_inner(struct cpu *cpu)
{
    static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
        const struct segment *s = &cpu->segment[data[i]];
        bool conforming = (s->rights & 0xc) == 0xc;
        // What is null already stays as it is: in 64-bit mode its base lives on (FS of a thread).
        if (!(s->rights & SEGMENT_UNUSABLE) && !conforming && (s->rights >> 5 & 3) < cpu->cpl)
            segment_set_null(cpu, data[i], 0);
    }
}

bool stack_segment_check(struct cpu *cpu, uint16_t selector, unsigned cpl, uint8_t vector, unsigned ext,
                         struct descriptor *d)
{
    if (selector_is_null(selector))
        return cpu_raise_error(cpu, vector, ext);
    if (!descriptor_read(cpu, selector, vector, ext, d))
        return false;
    if ((selector & 3) != cpl || !descriptor_is_writable_data(d) || descriptor_dpl(d) != cpl)
        return cpu_raise_error(cpu, vector, selector_error(selector, ext));
    if (!descriptor_is_present(d))
        return cpu_raise_error(cpu, VECTOR_SS, selector_error(selector, ext));
    return descriptor_set_accessed(cpu, d);
}

static bool data_segment_check(struct cpu *cpu, uint16_t selector, struct descriptor *d)
{
    bool readable, conforming;
    if (!descriptor_read(cpu, selector, VECTOR_GP, 0, d))
        return false;
    readable = !descriptor_is_code(d) || (d->rights & 2);
    conforming = descriptor_is_code(d) && descriptor_is_conforming(d);
    if (descriptor_is_system(d) || !readable ||
        (!conforming && ((selector & 3u) > descriptor_dpl(d) || cpu->cpl > descriptor_dpl(d))))
        return cpu_raise_error(cpu, VECTOR_GP, selector_error(selector, 0));
    if (!descriptor_is_present(d))
        return cpu_raise_error(cpu, VECTOR_NP, selector_error(selector, 0));
    return descriptor_set_accessed(cpu, d);
}

bool segment_load(struct cpu *cpu, unsigned segment, uint16_t selector)
{
    struct descriptor d;

    if (!cpu_is_protected(cpu) || cpu_is_vm86(cpu)) {
        segment_set_real(cpu, segment, selector, cpu_is_vm86(cpu));
        cpu_update_mode(cpu);
        return true;
    }
    if (segment == SEG_SS) {
        if (selector_is_null(selector) && cpu_is_64(cpu) && cpu->cpl < 3 && (selector & 3) == cpu->cpl) {
            segment_set_null(cpu, SEG_SS, selector);
            return true;
        }
        if (!stack_segment_check(cpu, selector, cpu->cpl, VECTOR_GP, 0, &d))
            return false;
    } else if (selector_is_null(selector)) {
        segment_set_null(cpu, segment, selector);
        cpu_update_mode(cpu);
        return true;
    } else if (!data_segment_check(cpu, selector, &d))
        return false;
    segment_set_descriptor(cpu, segment, selector, &d);
    cpu_update_mode(cpu);
    return true;
}

bool code_offset_check(struct cpu *cpu, const struct descriptor *d, uint64_t offset, unsigned ext)
{
    bool ok = cpu_is_long(cpu) && (d->rights & SEGMENT_L) ? cpu_canonical(cpu, offset) : offset <= d->limit;
    return ok || cpu_raise_error(cpu, VECTOR_GP, ext);
}

// ---- Stacks -----------------------------------------------------------------------------------------------------

static enum mmu_mode stack_mode(const struct cpu *cpu, unsigned cpl)
{
    return cpl == 3 ? MMU_USER : cpu->var[VAR_FLAGS] & FLAG_AC ? MMU_KERNEL_AC : MMU_KERNEL;
}

void frame_current(const struct cpu *cpu, struct frame *frame)
{
    const struct segment *ss = &cpu->segment[SEG_SS];
    if (cpu_is_64(cpu)) {
        frame_new64(cpu, frame, cpu->var[VAR_RSP], cpu->cpl);
        return;
    }
    frame->base = cpu_segment_base(cpu, SEG_SS);
    frame->mask = ss->rights & SEGMENT_DB ? 0xffffffff : 0xffff;
    frame->sp = cpu->var[VAR_RSP] & frame->mask;
    frame->limit = ss->limit;
    frame->rights = ss->rights;
    frame->error = 0;
    frame->mode = stack_mode(cpu, cpu->cpl);
    frame->flat64 = false;
    frame->count = 0;
}

void frame_new(const struct cpu *cpu, struct frame *frame, const struct descriptor *ss, uint64_t sp, unsigned cpl,
               unsigned ext)
{
    frame->base = ss->base;
    frame->mask = ss->rights & SEGMENT_DB ? 0xffffffff : 0xffff;
    frame->sp = sp & frame->mask;
    frame->limit = ss->limit;
    frame->rights = ss->rights;
    frame->error = selector_error(ss->selector, ext);
    frame->mode = stack_mode(cpu, cpl);
    frame->flat64 = false;
    frame->count = 0;
}

void frame_new64(const struct cpu *cpu, struct frame *frame, uint64_t sp, unsigned cpl)
{
    frame->base = 0;
    frame->mask = UINT64_MAX;
    frame->sp = sp;
    frame->limit = 0;
    frame->rights = 0;
    frame->error = 0;
    frame->mode = stack_mode(cpu, cpl);
    frame->flat64 = true;
    frame->count = 0;
}

void frame_push(struct frame *frame, uint64_t value, unsigned bytes)
{
    frame->sp = (frame->sp - bytes) & frame->mask;
    if (frame->count >= FRAME_ITEMS)
        return; // cannot happen: the largest frame has 31 parameters and 5 more
    frame->item[frame->count].offset = frame->sp;
    frame->item[frame->count].value = value;
    frame->item[frame->count].bytes = bytes;
    frame->count++;
}

static bool frame_inside(const struct frame *frame, uint64_t offset, unsigned bytes)
{
    uint64_t last = offset + bytes - 1;
    if (frame->flat64)
        return true;
    if (frame->rights & SEGMENT_UNUSABLE)
        return false;
    if ((frame->rights & 0xc) == 4) // expand-down data
        return offset > frame->limit && last <= (frame->rights & SEGMENT_DB ? 0xffffffff : 0xffff);
    return last <= frame->limit;
}

static uint64_t frame_linear(const struct frame *frame, uint64_t offset)
{
    return frame->flat64 ? offset : (frame->base + offset) & 0xffffffff;
}

/// Alignment checks are for what ring 3 does with its own stack.
static bool frame_aligned(struct cpu *cpu, const struct frame *frame, uint64_t linear, unsigned bytes)
{
    return frame->mode != MMU_USER || cpu_check_alignment(cpu, linear, bytes);
}

/// A frame of eight-byte items in a page that the TLB knows, as exceptions push it in long mode: nothing is left to
/// check. False: nothing was written.
static bool write_plain(struct cpu *cpu, const struct frame *frame)
{
    uint64_t *to, size = frame->count * UINT64_C(8);
    if (!frame->flat64 || !frame->count || size > 64 || (frame->sp & 7) || (cpu->mode & MODE_ALIGN) ||
        frame->item[0].offset + 8 - frame->sp != size)
        return false;
    for (unsigned i = 0; i < frame->count; i++) {
        if (frame->item[i].bytes != 8)
            return false;
    }
    to = tlb_lookup(&cpu->mmu, frame->mode, MMU_WRITE, frame->sp, (unsigned)size);
    if (!to)
        return false;
    for (unsigned i = 0; i < frame->count; i++)
        __atomic_store_n(&to[frame->count - 1 - i], frame->item[i].value, __ATOMIC_RELAXED);
    return true;
}

bool frame_write(struct cpu *cpu, struct frame *frame)
{
    struct mmu_handle handle[FRAME_ITEMS];
    struct mmu_fault fault;
    uint64_t linear;

    if (LIKELY(write_plain(cpu, frame)))
        return true;
    for (unsigned i = 0; i < frame->count; i++) {
        if (!frame_inside(frame, frame->item[i].offset, frame->item[i].bytes))
            return cpu_raise_error(cpu, VECTOR_SS, frame->error);
        linear = frame_linear(frame, frame->item[i].offset);
        if (!frame_aligned(cpu, frame, linear, frame->item[i].bytes))
            return false;
        if (!mmu_access_cached(&cpu->mmu, frame->mode, MMU_WRITE, linear, frame->item[i].bytes, &handle[i], &fault))
            return cpu_raise_mmu(cpu, &fault, true);
    }
    for (unsigned i = 0; i < frame->count; i++)
        mmu_handle_store(&cpu->mmu, &handle[i], frame->item[i].value);
    return true;
}

bool frame_pop(struct cpu *cpu, struct frame *frame, unsigned bytes, uint64_t *value)
{
    struct mmu_fault fault;
    if (!frame_inside(frame, frame->sp, bytes))
        return cpu_raise_error(cpu, VECTOR_SS, frame->error);
    if (!frame_aligned(cpu, frame, frame_linear(frame, frame->sp), bytes))
        return false;
    if (!mmu_read(&cpu->mmu, frame->mode, frame_linear(frame, frame->sp), bytes, value, &fault))
        return cpu_raise_mmu(cpu, &fault, true);
    frame->sp = (frame->sp + bytes) & frame->mask;
    return true;
}

void frame_set_sp(struct cpu *cpu, const struct frame *frame)
{
    uint64_t *rsp = &cpu->var[VAR_RSP];
    *rsp = frame->mask == 0xffff ? (*rsp & ~UINT64_C(0xffff)) | frame->sp : frame->sp;
}

bool tss_stack(struct cpu *cpu, unsigned cpl, unsigned ext, uint16_t *ss, uint64_t *sp)
{
    const struct segment *tr = &cpu->segment[SEG_TR];
    unsigned wide = (tr->rights & 8) ? 4 : 2, offset = wide + cpl * 2 * wide;
    uint64_t selector;
    struct mmu_fault fault;

    if ((tr->rights & SEGMENT_UNUSABLE) || offset + wide + 1 > tr->limit)
        return cpu_raise_error(cpu, VECTOR_TS, selector_error(tr->selector, ext));
    if (!mmu_read(&cpu->mmu, MMU_KERNEL, tr->base + offset, wide, sp, &fault) ||
        !mmu_read(&cpu->mmu, MMU_KERNEL, tr->base + offset + wide, 2, &selector, &fault))
        return cpu_raise_mmu(cpu, &fault, false);
    *ss = (uint16_t)selector;
    return true;
}

bool tss_stack64(struct cpu *cpu, unsigned cpl, unsigned ist, unsigned ext, uint64_t *sp)
{
    const struct segment *tr = &cpu->segment[SEG_TR];
    unsigned offset = ist ? 0x1c + 8 * ist : 4 + 8 * cpl;
    struct mmu_fault fault;

    if ((tr->rights & SEGMENT_UNUSABLE) || offset + 7 > tr->limit)
        return cpu_raise_error(cpu, VECTOR_TS, selector_error(tr->selector, ext));
    if (!mmu_read(&cpu->mmu, MMU_KERNEL, tr->base + offset, 8, sp, &fault))
        return cpu_raise_mmu(cpu, &fault, false);
    return cpu_canonical(cpu, *sp) || cpu_raise_error(cpu, VECTOR_SS, ext);
}

// ---- Helpers ----------------------------------------------------------------------------------------------------

uint64_t helper_load_segment(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    unsigned segment = (unsigned)imm & 0xff;
    // imm bit 8: MOV or POP, which hold interrupts off after a load of SS (LSS does not).
    if (segment_load(cpu, segment, (uint16_t)a) && segment == SEG_SS && (imm & 0x100)) {
        cpu->shadow = SHADOW_MOV_SS;
        cpu_request_poll(cpu);
    }
    return 0;
}

uint64_t helper_load_ldt(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    uint16_t selector = (uint16_t)a;
    struct descriptor d;

    if (selector_is_null(selector)) {
        segment_set_null(cpu, SEG_LDTR, selector);
        return 0;
    }
    if (selector & 4)
        return cpu_raise_error(cpu, VECTOR_GP, selector_error(selector, 0));
    if (!descriptor_read(cpu, selector, VECTOR_GP, 0, &d))
        return 0;
    if (!descriptor_is_system(&d) || descriptor_type(&d) != TYPE_LDT)
        return cpu_raise_error(cpu, VECTOR_GP, selector_error(selector, 0));
    if (!descriptor_is_present(&d))
        return cpu_raise_error(cpu, VECTOR_NP, selector_error(selector, 0));
    if (cpu_is_long(cpu)) {
        if (!descriptor_read_upper(cpu, &d, VECTOR_GP, 0))
            return 0;
        if (!cpu_canonical_base(cpu, d.base))
            return cpu_raise_error(cpu, VECTOR_GP, selector_error(selector, 0));
    }
    segment_set_descriptor(cpu, SEG_LDTR, selector, &d);
    return 0;
}

uint64_t helper_load_task(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    uint16_t selector = (uint16_t)a;
    struct descriptor d;
    unsigned type;

    if (selector_is_null(selector))
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    if (selector & 4)
        return cpu_raise_error(cpu, VECTOR_GP, selector_error(selector, 0));
    if (!descriptor_read(cpu, selector, VECTOR_GP, 0, &d))
        return 0;
    type = descriptor_type(&d);
    if (!descriptor_is_system(&d) || (type != TYPE_TSS32 && (type != TYPE_TSS16 || cpu_is_long(cpu))))
        return cpu_raise_error(cpu, VECTOR_GP, selector_error(selector, 0));
    if (!descriptor_is_present(&d))
        return cpu_raise_error(cpu, VECTOR_NP, selector_error(selector, 0));
    if (cpu_is_long(cpu)) {
        if (!descriptor_read_upper(cpu, &d, VECTOR_GP, 0))
            return 0;
        if (!cpu_canonical_base(cpu, d.base))
            return cpu_raise_error(cpu, VECTOR_GP, selector_error(selector, 0));
    }
    if (descriptor_set_type(cpu, &d, type | 2))
        segment_set_descriptor(cpu, SEG_TR, selector, &d);
    return 0;
}

/// SLDT, STR, SMSW, SGDT, SIDT are forbidden to user code by CR4.UMIP.
uint64_t helper_check_umip(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    if ((cpu->cr4 & CR4_UMIP) && cpu->cpl > 0)
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    return 0;
}

uint64_t helper_get_selector(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    return imm < SEG_COUNT ? cpu->segment[imm].selector : 0;
}

/// Which system types LAR (mask bit per type) and LSL accept.
static bool query_accepts(const struct cpu *cpu, unsigned op, const struct descriptor *d)
{
    static const uint16_t lar_legacy = 0x1a3e, lar_long = 0x1a04, lsl_legacy = 0x0a0e, lsl_long = 0x0a04;
    uint16_t mask;
    if (!descriptor_is_system(d)) {
        if (op == SYSTEM_VERR)
            return !descriptor_is_code(d) || (d->rights & 2);
        return op != SYSTEM_VERW || descriptor_is_writable_data(d);
    }
    if (op == SYSTEM_VERR || op == SYSTEM_VERW)
        return false;
    mask = op == SYSTEM_LAR ? (cpu_is_long(cpu) ? lar_long : lar_legacy) : (cpu_is_long(cpu) ? lsl_long : lsl_legacy);
    return mask >> descriptor_type(d) & 1;
}

uint64_t helper_query_descriptor(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    uint16_t selector = (uint16_t)a;
    struct descriptor d;
    uint64_t base, value;
    uint32_t limit;
    struct mmu_fault fault;
    bool conforming;

    if (selector_is_null(selector) || !table_of(cpu, selector, &base, &limit) || (selector & 0xfff8u) + 7 > limit)
        return 0;
    if (!mmu_read(&cpu->mmu, MMU_KERNEL, base + (selector & 0xfff8u), 8, &value, &fault))
        return cpu_raise_mmu(cpu, &fault, false);
    d = (struct descriptor){.low = (uint32_t)value, .high = (uint32_t)(value >> 32), .selector = selector};
    descriptor_decode(&d);
    conforming = descriptor_is_code(&d) && descriptor_is_conforming(&d);
    if (!query_accepts(cpu, (unsigned)imm, &d))
        return 0;
    if (cpu_is_long(cpu) && descriptor_is_system(&d)) { // of 16 bytes, with no type in the upper half
        if ((selector & 0xfff8u) + 15 > limit)
            return 0;
        if (!mmu_read(&cpu->mmu, MMU_KERNEL, base + (selector & 0xfff8u) + 8, 8, &value, &fault))
            return cpu_raise_mmu(cpu, &fault, false);
        if (value >> 40 & 0x1f)
            return 0;
    }
    if (!conforming && (cpu->cpl > descriptor_dpl(&d) || (selector & 3u) > descriptor_dpl(&d)))
        return 0;
    return BIT(32) | (imm == SYSTEM_LSL ? d.limit : d.high & 0x00ffff00);
}

uint64_t helper_adjust_rpl(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    if ((a & 3) >= (b & 3))
        return a & 0xffff;
    return (a & 0xfffc) | (b & 3) | BIT(32);
}
