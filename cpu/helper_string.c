// MOVS, CMPS, STOS, LODS and SCAS with and without REP (SDM vol. 2; vol. 1 sec. 7.3.9.3): element by element where
// something may happen between two of them, else as runs of elements in RAM, inside one page on each side.
#include <string.h>

#include "cpu/cc.h"
#include "cpu/data_access.h"
#include "cpu/helper.h"
#include "cpu/lift.h"

/// Elements after which a REP in counting mode gives way to pins: a number that depends on guest state only, so that
/// engines agree on where an interrupt can come. In other runs it does so after as many when somebody waits.
#define STRING_CHUNK 1024u

struct string {
    enum string_op op;
    unsigned bytes, segment, address; // address: WIDTH_*
    bool rep, repne;
    bool reads, writes; // the source at RSI; the destination at RDI
    bool has_destination;
    bool backwards;
    uint64_t mask; // of offsets
    uint64_t step;
};

static struct string describe(const struct cpu *cpu, uint64_t imm)
{
    struct string s = {.op = imm & 15,
                       .bytes = imm >> 4 & 15,
                       .address = imm >> 8 & 3,
                       .segment = imm >> 12 & 7,
                       .rep = imm >> 16 & 1,
                       .repne = imm >> 17 & 1};
    s.reads = s.op == STRING_MOVS || s.op == STRING_CMPS || s.op == STRING_LODS;
    s.writes = s.op == STRING_MOVS || s.op == STRING_STOS;
    s.has_destination = s.op != STRING_LODS;
    s.backwards = cpu->var[VAR_FLAGS] & FLAG_DF;
    s.mask = bits_mask(8u << s.address);
    s.step = s.backwards ? -(uint64_t)s.bytes : s.bytes;
    return s;
}

/// Flags of first - second.
static void compared(struct cpu *cpu, const struct string *s, uint64_t first, uint64_t second)
{
    cpu->var[VAR_CC_OP] = cc_pack(CC_SUB, width_of(s->bytes));
    cpu->var[VAR_CC_RESULT] = first - second;
    cpu->var[VAR_CC_SRC] = second;
}

/// `elements` are done: the pointers move on.
static void advance(struct cpu *cpu, const struct string *s, uint64_t elements)
{
    if (s->reads)
        cpu_write_var(cpu, VAR_RSI, s->address, cpu->var[VAR_RSI] + elements * s->step);
    if (s->has_destination)
        cpu_write_var(cpu, VAR_RDI, s->address, cpu->var[VAR_RDI] + elements * s->step);
}

/// One element. False: fault, nothing changed.
static bool do_element(struct cpu *cpu, const struct string *s)
{
    uint64_t value = cpu->var[VAR_RAX], linear;
    struct mmu_handle source, destination;

    if (s->reads) {
        linear = cpu_segment_linear(cpu, s->segment, cpu->var[VAR_RSI] & s->mask, s->bytes, false);
        if (cpu->fault.pending || !data_access(cpu, linear, s->bytes, false, &source, s->segment == SEG_SS))
            return false;
    }
    if (s->has_destination) {
        linear = cpu_segment_linear(cpu, SEG_ES, cpu->var[VAR_RDI] & s->mask, s->bytes, s->writes);
        if (cpu->fault.pending || !data_access(cpu, linear, s->bytes, s->writes, &destination, false))
            return false;
    }
    if (s->reads)
        value = data_load(cpu, &source);
    if (s->writes)
        data_store(cpu, &destination, value);
    else if (s->op == STRING_LODS)
        cpu_write_var(cpu, VAR_RAX, width_of(s->bytes), value);
    else
        compared(cpu, s, value, data_load(cpu, &destination));
    advance(cpu, s, 1);
    return true;
}

// ---- runs ---------------------------------------------------------------------------------------------------------
/// Outside 64-bit code, limits are checked element by element unless there are none.
static bool has_limits(const struct cpu *cpu, unsigned segment)
{
    const struct segment *s = &cpu->segment[segment];
    return (cpu->mode & MODE_CODE_MASK) != MODE_CODE64 && (s->limit != UINT32_MAX || (s->rights & 0xc) == 4);
}

/// Elements from `offset` on that stay below the end of offsets and inside the page of `linear`.
static uint64_t elements_in_page(const struct string *s, uint64_t offset, uint64_t linear)
{
    uint64_t inside = linear & (PAGE_SIZE - 1), room = PAGE_SIZE - inside, elements;
    if (inside + s->bytes > PAGE_SIZE || s->mask - offset < s->bytes - 1)
        return 0;
    if (s->backwards) {
        room = inside < offset ? inside : offset;
        return room / s->bytes + 1;
    }
    elements = room / s->bytes;
    return s->mask - offset < room ? (s->mask - offset + 1) / s->bytes : elements;
}

/// Where a pointer's element is in RAM, and how many elements from there on (*count is lowered). NULL: not known.
static uint8_t *locate(struct cpu *cpu, const struct string *s, unsigned segment, uint64_t offset, bool write,
                       uint64_t *count)
{
    uint64_t linear, elements;
    if (has_limits(cpu, segment))
        return NULL;
    offset &= s->mask;
    linear = cpu_segment_linear(cpu, segment, offset, s->bytes, write);
    if (cpu->fault.pending) { // the element finds it again
        cpu->fault.pending = false;
        return NULL;
    }
    elements = elements_in_page(s, offset, linear);
    if (elements < *count)
        *count = elements;
    return elements ? tlb_lookup(&cpu->mmu, cpu->data_mode, write ? MMU_WRITE : MMU_READ, linear, s->bytes) : NULL;
}

static uint64_t get(const uint8_t *from, unsigned bytes)
{
    switch (bytes) {
    case 1:
        return *from;
    case 2:
        return load_le16(from);
    case 4:
        return load_le32(from);
    default:
        return load_le64(from);
    }
}

static void put(uint8_t *to, unsigned bytes, uint64_t value)
{
    switch (bytes) {
    case 1:
        *to = (uint8_t)value;
        break;
    case 2:
        store_le16(to, (uint16_t)value);
        break;
    case 4:
        store_le32(to, (uint32_t)value);
        break;
    default:
        store_le64(to, value);
    }
}

/// Bytes that repeat with the distance of source and destination, at least an element's size: copied in growing parts.
static void copy_pattern(uint8_t *to, const uint8_t *from, uint64_t length)
{
    uint64_t part = (uint64_t)(to - from), done = 0;
    while (done < length) {
        if (part > length - done)
            part = length - done;
        memcpy(to + done, from, part);
        done += part;
        part = (uint64_t)(to - from) + done; // from here on a whole number of periods, or the last part
    }
}

/// `to` and `from` are the first elements.
static void move_run(const struct string *s, uint8_t *to, const uint8_t *from, uint64_t count)
{
    uint64_t length = count * s->bytes;
    uint64_t ahead = (uint64_t)(s->backwards ? from - to : to - from); // of writes before reads
    if (ahead >= length) {
        uint64_t before = s->backwards ? length - s->bytes : 0;
        memmove(to - before, from - before, length);
    } else if (!s->backwards && ahead >= s->bytes)
        copy_pattern(to, from, length);
    else
        for (uint64_t i = 0; i < count; i++, to += (int64_t)s->step, from += (int64_t)s->step)
            put(to, s->bytes, get(from, s->bytes));
}

/// `to` is the lowest element.
static void fill_run(const struct string *s, uint8_t *to, uint64_t value, uint64_t length)
{
    uint64_t bits = 8 * s->bytes, pattern[8];
    value &= bits_mask((unsigned)bits);
    for (; bits < 64; bits *= 2)
        value |= value << bits;
    if (value == (value & 0xff) * UINT64_C(0x0101010101010101)) {
        memset(to, (int)(value & 0xff), length);
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(pattern); i++)
        store_le64(&pattern[i], value);
    for (; length >= sizeof pattern; length -= sizeof pattern, to += sizeof pattern)
        memcpy(to, pattern, sizeof pattern);
    memcpy(to, pattern, length);
}

/// Compares until REP's condition ends it. Returns the elements compared.
static uint64_t compare_run(struct cpu *cpu, const struct string *s, const uint8_t *to, const uint8_t *from,
                            uint64_t count)
{
    uint64_t mask = bits_mask(8 * s->bytes), first = cpu->var[VAR_RAX] & mask, second = 0, i = 0;
    while (i < count) {
        if (from)
            first = get(from + (int64_t)(i * s->step), s->bytes);
        second = get(to + (int64_t)(i * s->step), s->bytes);
        i++;
        if ((first == second) == s->repne)
            break;
    }
    compared(cpu, s, first, second);
    return i;
}

/// Up to `count` elements (at least one) in RAM. Returns how many were done; 0: the first one has to be looked at.
static uint64_t do_run(struct cpu *cpu, const struct string *s, uint64_t count)
{
    uint8_t *to = NULL, *from = NULL;
    if (cpu->mode & MODE_ALIGN)
        return 0;
    if (s->reads && !(from = locate(cpu, s, s->segment, cpu->var[VAR_RSI], false, &count)))
        return 0;
    if (s->has_destination && !(to = locate(cpu, s, SEG_ES, cpu->var[VAR_RDI], s->writes, &count)))
        return 0;
    switch (s->op) {
    case STRING_MOVS:
        move_run(s, to, from, count);
        break;
    case STRING_STOS:
        fill_run(s, s->backwards ? to - (count - 1) * s->bytes : to, cpu->var[VAR_RAX], count * s->bytes);
        break;
    case STRING_LODS:
        cpu_write_var(cpu, VAR_RAX, width_of(s->bytes), get(from + (int64_t)((count - 1) * s->step), s->bytes));
        break;
    default:
        count = compare_run(cpu, s, to, from, count);
        break;
    }
    advance(cpu, s, count);
    return count;
}

// ---- the instruction ----------------------------------------------------------------------------------------------
static bool ends_early(const struct cpu *cpu, const struct string *s)
{
    if (s->op != STRING_CMPS && s->op != STRING_SCAS)
        return false;
    return ((cc_all(cpu) & FLAG_ZF) != 0) == s->repne;
}

/// Whether a REP gives way after `done` elements.
static bool gives_way(struct cpu *cpu, uint64_t done)
{
    if (cpu->leave)
        return true;
    if (cpu->mode & MODE_TF) // a trap comes after each iteration
        return done > 0;
    return done >= STRING_CHUNK &&
           (cpu->counting || atomic_load_explicit(&cpu->exit_request, memory_order_relaxed) != 0);
}

/// Elements to do at once, after `done`.
static uint64_t limit_run(const struct cpu *cpu, uint64_t count, uint64_t done)
{
    uint64_t most = cpu->mode & MODE_TF ? 1 : cpu->counting ? STRING_CHUNK - done : count;
    return count < most ? count : most;
}

uint64_t helper_string(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    struct string s = describe(cpu, imm);
    uint64_t count, part, done = 0;

    if (!s.rep && !s.repne) {
        if (!do_run(cpu, &s, 1))
            do_element(cpu, &s);
        return 0;
    }
    while ((count = cpu->var[VAR_RCX] & s.mask) != 0) {
        if (gives_way(cpu, done)) {
            cpu->instructions -= cpu->counting; // counts once, when it ends
            // What comes between iterations pushes RF.
            cpu->var[VAR_FLAGS] |= FLAG_RF;
            atomic_store(&cpu->exit_request, 1);
            return a;
        }
        part = do_run(cpu, &s, limit_run(cpu, count, done));
        if (!part) {
            if (!do_element(cpu, &s))
                return 0;
            part = 1;
        }
        done += part;
        cpu_write_var(cpu, VAR_RCX, s.address, count - part);
        if (ends_early(cpu, &s))
            break;
    }
    return b;
}
