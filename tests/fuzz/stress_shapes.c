// Shapes of code that the translator treats in ways of its own, and that random instructions hardly ever make: groups
// of accesses off one base, loops, calls, strings, flags that live on across accesses and branches, segment registers
// that change.
#include <string.h>

#include "stress.h"

#define MAX_INSN 15u

struct shape {
    const struct stress *stress;
    struct stress_random *random;
    uint32_t mode;
    bool code16, code64, flat;
    uint8_t *bytes;
    unsigned n, room; // bytes written; room for more
    uint32_t at;      // of the first byte, from STRESS_CODE
    unsigned base;    // register that memory operands are off, 0..15
};

static void put(struct shape *s, uint8_t byte)
{
    s->bytes[s->n++] = byte;
}

static void put_value(struct shape *s, uint32_t value, unsigned bytes)
{
    memcpy(s->bytes + s->n, &value, bytes);
    s->n += bytes;
}

static bool full(const struct shape *s)
{
    return s->n + 4 * MAX_INSN > s->room;
}

static unsigned below(struct shape *s, unsigned n)
{
    return stress_below(s->random, n);
}

static bool one_in(struct shape *s, unsigned n)
{
    return stress_one_in(s->random, n);
}

/// A register to work on: not the stack pointer, and mostly not the base.
static unsigned any_register(struct shape *s)
{
    unsigned reg = below(s, s->code64 ? 16 : 8);
    if (reg == VAR_RSP || (reg == s->base && !one_in(s, 8)))
        reg = VAR_RAX;
    return reg;
}

/// Prefixes: now and then another operand size.
static void put_prefixes(struct shape *s, unsigned reg, unsigned rm)
{
    static const uint8_t segments[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    uint8_t rex = (uint8_t)((reg >> 3) << 2 | rm >> 3);
    if (one_in(s, 8))
        put(s, 0x66);
    if (!s->flat && one_in(s, 6))
        put(s, segments[below(s, 6)]);
    if (s->code64 && one_in(s, 2))
        rex |= 8;
    if (s->code64 && rex)
        put(s, (uint8_t)(0x40 | rex));
}

static int32_t random_displacement(struct shape *s)
{
    switch (below(s, 10)) {
    case 0:
        return -(int32_t)below(s, 32);
    case 1:
        return (int32_t)below(s, 300);
    case 2:
        return (int32_t)PAGE_SIZE - 8 + (int32_t)below(s, 16);
    case 3:
        return (int32_t)below(s, 40);
    default:
        return (int32_t)below(s, 10) * (one_in(s, 3) ? 4 : 8);
    }
}

/// [base + displacement] with `reg` as the other operand or digit.
static void put_memory(struct shape *s, unsigned reg, int32_t displacement)
{
    static const uint8_t of16[] = {[VAR_RBX] = 7, [VAR_RBP] = 6, [VAR_RSI] = 4, [VAR_RDI] = 5};
    bool wide = displacement < -128 || displacement > 127 || one_in(s, 20);
    uint8_t rm = s->code16 ? of16[s->base] : (uint8_t)(s->base & 7);
    put(s, (uint8_t)((wide ? 0x80 : 0x40) | (reg & 7) << 3 | rm));
    if (!s->code16 && rm == VAR_RSP)
        put(s, 0x24);
    put_value(s, (uint32_t)displacement, !wide ? 1 : s->code16 ? 2 : 4);
}

// ---- one access -----------------------------------------------------------------------------------------------------
/// digit: the modrm's reg field, 8: any register. immediate: bytes behind.
struct access_kind {
    uint8_t prefix, escape, opcode, digit, immediate;
};

static void put_access(struct shape *s)
{
    static const struct access_kind kinds[] = {
        {0, 0, 0x8b, 8, 0},    {0, 0, 0x8b, 8, 0},    {0, 0, 0x8b, 8, 0},       {0, 0, 0x89, 8, 0},
        {0, 0, 0x89, 8, 0},    {0, 0, 0x89, 8, 0},    {0, 0, 0x8a, 8, 0},       {0, 0, 0x88, 8, 0},
        {0, 0, 0x01, 8, 0},    {0, 0, 0x03, 8, 0},    {0, 0, 0x11, 8, 0},       {0, 0, 0x13, 8, 0},
        {0, 0, 0x2b, 8, 0},    {0, 0, 0x39, 8, 0},    {0, 0, 0x3b, 8, 0},       {0, 0, 0x85, 8, 0},
        {0, 0, 0x87, 8, 0},    {0, 0, 0x83, 0, 1},    {0, 0, 0x83, 7, 1},       {0, 0, 0x83, 1, 1},
        {0, 0, 0xff, 0, 0},    {0, 0, 0xff, 1, 0},    {0, 0, 0xfe, 0, 0},       {0, 0, 0xff, 6, 0},
        {0, 0, 0x8f, 0, 0},    {0, 0, 0xf6, 0, 1},    {0, 0, 0xc6, 0, 1},       {0, 0, 0xf7, 3, 0},
        {0, 0, 0xd1, 4, 0},    {0, 0, 0xc1, 5, 1},    {0, 0x0f, 0xaf, 8, 0},    {0, 0x0f, 0xb6, 8, 0},
        {0, 0x0f, 0xb7, 8, 0}, {0, 0x0f, 0xbe, 8, 0}, {0, 0x0f, 0xb1, 8, 0},    {0, 0x0f, 0xc1, 8, 0},
        {0, 0x0f, 0x94, 0, 0}, {0, 0x0f, 0x42, 8, 0}, {0, 0x0f, 0x10, 8, 0},    {0, 0x0f, 0x11, 8, 0},
        {0, 0x0f, 0x28, 8, 0}, {0, 0x0f, 0x29, 8, 0}, {0xf3, 0x0f, 0x6f, 8, 0}, {0xf3, 0x0f, 0x7f, 8, 0},
        {0, 0x0f, 0x58, 8, 0}, {0, 0x0f, 0x6f, 8, 0}, {0, 0x0f, 0x7f, 8, 0},    {0, 0, 0xdd, 0, 0},
        {0, 0, 0xdd, 3, 0},    {0, 0, 0xd9, 2, 0},    {0, 0, 0xd8, 0, 0},       {0, 0, 0xdb, 5, 0},
        {0, 0, 0xdb, 7, 0},    {0, 0x0f, 0x17, 8, 0}, {0x66, 0x0f, 0xd6, 8, 0}, {0x66, 0x0f, 0x7e, 8, 0},
        {0, 0x0f, 0xc3, 8, 0},
    };
    const struct access_kind *kind = &kinds[below(s, ARRAY_SIZE(kinds))];
    unsigned reg = kind->digit < 8 ? kind->digit : any_register(s);
    if (one_in(s, 24)) { // vmovdqu ymm, or its store
        put(s, 0xc4);
        put(s, (uint8_t)(0xe1 ^ (reg >> 3) << 7 ^ (s->base >> 3) << 5));
        put(s, one_in(s, 4) ? 0x7a : 0x7e);
        put(s, one_in(s, 2) ? 0x6f : 0x7f);
        put_memory(s, reg, random_displacement(s));
        return;
    }
    if (kind->prefix)
        put(s, kind->prefix);
    put_prefixes(s, reg, s->base);
    if (kind->escape)
        put(s, kind->escape);
    put(s, kind->opcode);
    put_memory(s, reg, random_displacement(s));
    for (unsigned i = 0; i < kind->immediate; i++)
        put(s, (uint8_t)below(s, 40));
}

// ---- what stands between accesses
// -------------------------------------------------------------------------------------
/// The base, set anew: plain memory or an edge of it, a page of any kind, the code.
static uint32_t random_place(struct shape *s)
{
    static const uint32_t limits[] = {0x400, 0x800, 0x8000, 0x10000, 0x1000, 0xb000};
    uint32_t place = STRESS_DATA + 0xa000 + below(s, 5) * PAGE_SIZE;
    if (!s->flat)
        place = one_in(s, 2) ? below(s, 0x800) : limits[below(s, 6)] - below(s, 24);
    else if (one_in(s, s->stress->trouble ? 4 : 40))
        place = STRESS_DATA + below(s, STRESS_DATA_PAGES) * PAGE_SIZE;
    else if (one_in(s, 16))
        place = STRESS_CODE + below(s, 2) * PAGE_SIZE;
    if (!s->flat)
        return place;
    return one_in(s, 2) ? place + below(s, 0x800) * 2 : place + PAGE_SIZE - below(s, 80);
}

/// ... 64 bits of it, perhaps through another window, or where addresses end.
static uint64_t random_far_place(struct shape *s)
{
    const struct stress *stress = s->stress;
    uint64_t window = stress->window[below(s, stress->window_count)];
    if (one_in(s, 3))
        return stress->window[stress->window_count - 1] + STRESS_WINDOW - below(s, 80);
    return window + random_place(s);
}

static void put_base(struct shape *s)
{
    if (s->flat && one_in(s, 3)) {
        uint64_t place = random_far_place(s);
        if (s->code64)
            put(s, (uint8_t)(0x48 | s->base >> 3));
        put(s, (uint8_t)(0xb8 + (s->base & 7)));
        put_value(s, (uint32_t)place, 4);
        if (s->code64)
            put_value(s, (uint32_t)(place >> 32), 4);
        return;
    }
    if (s->code64 && s->base >= 8)
        put(s, 0x41);
    put(s, (uint8_t)(0xb8 + (s->base & 7)));
    put_value(s, random_place(s), s->code16 ? 2 : 4);
}

/// add base, imm8; or lea base, [base + d].
static void put_base_change(struct shape *s)
{
    bool add = one_in(s, 2);
    unsigned high = s->base >> 3;
    if (s->code64)
        put(s, (uint8_t)((one_in(s, 8) && s->base != VAR_RSP ? 0x40 : 0x48) | (add ? 0 : high << 2) | high));
    if (add) {
        put(s, 0x83);
        put(s, (uint8_t)(0xc0 | (s->base & 7)));
        put(s, (uint8_t)(below(s, 5) * 8));
    } else {
        put(s, 0x8d);
        put_memory(s, s->base, (int32_t)below(s, 5) * 8 - 8);
    }
}

/// mov dword [address], value
static void put_store(struct shape *s, uint32_t address, uint32_t value)
{
    put(s, 0xc7);
    put(s, s->code64 ? 0x04 : 0x05);
    if (s->code64)
        put(s, 0x25);
    put_value(s, address, 4);
    put_value(s, value, 4);
}

static void put_invlpg(struct shape *s, uint32_t linear)
{
    put(s, 0x0f);
    put(s, 0x01);
    put(s, s->code64 ? 0x3c : 0x3d);
    if (s->code64)
        put(s, 0x25);
    put_value(s, linear, 4);
}

/// Another CR3, with a PCID and perhaps without flushing; or INVPCID.
static void put_space_change(struct shape *s, uint32_t linear)
{
    static const uint8_t invpcid[] = {0x66, 0x0f, 0x38, 0x82, 0x04, 0x24, 0x48, 0x83, 0xc4, 0x10};
    uint32_t pcid = below(s, 4), tables = one_in(s, 2) ? STRESS_TABLES : STRESS_TABLES2;
    bool same = s->stress->conflicts || one_in(s, 2); // a PCID has its tables always
    if (same)
        pcid = (pcid & 2) | (tables == STRESS_TABLES2);
    if (!one_in(s, 3)) { // mov rax, value; mov cr3, rax
        put_value(s, 0xb848, 2);
        put_value(s, tables | pcid, 4);
        put_value(s, one_in(s, 2) ? 0x80000000 : 0, 4);
        put_value(s, 0xd8220f, 3);
        return;
    }
    put(s, 0x68); // push linear; push pcid; mov eax, type; invpcid rax, [rsp]; add rsp, 16
    put_value(s, linear, 4);
    put(s, 0x6a);
    put(s, (uint8_t)pcid);
    put(s, 0xb8);
    put_value(s, below(s, 4), 4);
    memcpy(s->bytes + s->n, invpcid, sizeof invpcid);
    s->n += sizeof invpcid;
}

/// What a kernel does to a page of the data: other rights, or gone, or back, or the whole table is another; with
/// INVLPG, a new CR3, or without. Flat code.
static void put_page_change(struct shape *s)
{
    static const uint8_t reload[] = {0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8}; // mov eax, cr3; mov cr3, eax
    unsigned page = one_in(s, 3) ? below(s, STRESS_DATA_PAGES) : 10 + below(s, 6);
    uint32_t linear = STRESS_DATA + page * PAGE_SIZE, to = linear;
    bool wide = (s->mode & MODE_LONG) || one_in(s, 2);
    uint32_t rights = one_in(s, 3) ? below(s, 8) : 7;
    if (s->code64 && one_in(s, 4)) {
        put_space_change(s, linear);
        return;
    }
    if (s->stress->conflicts)
        return;
    if (one_in(s, 4))
        rights |= 0x100; // global
    if (one_in(s, 6))
        to = STRESS_DATA + below(s, STRESS_DATA_PAGES) * PAGE_SIZE; // leads elsewhere
    if (one_in(s, 4))
        put_store(s, STRESS_TABLES + (wide ? 0x2000 : 0), (one_in(s, 2) ? STRESS_TABLE : STRESS_TABLE2) | 7);
    else
        put_store(s, (one_in(s, 8) ? STRESS_TABLE2 : STRESS_TABLE) + (linear >> PAGE_SHIFT) * (wide ? 8 : 4),
                  to | rights);
    switch (below(s, 6)) {
    case 0:
    case 1:
        break;
    case 2:
        memcpy(s->bytes + s->n, reload, sizeof reload);
        s->n += sizeof reload;
        break;
    default:
        put_invlpg(s, linear);
    }
}

static void put_flags_use(struct shape *s)
{
    unsigned reg = any_register(s) & 7, other = any_register(s) & 7;
    switch (below(s, 8)) {
    case 0: // setcc
        put(s, 0x0f);
        put(s, (uint8_t)(0x90 | below(s, 16)));
        put(s, (uint8_t)(0xc0 | (reg & 3)));
        break;
    case 1: // cmovcc
        put(s, 0x0f);
        put(s, (uint8_t)(0x40 | below(s, 16)));
        put(s, (uint8_t)(0xc0 | reg << 3 | other));
        break;
    case 2:
        put(s, 0x9f); // lahf
        break;
    case 3:
        put(s, 0x9c); // pushf; pop
        put(s, (uint8_t)(0x58 | reg));
        break;
    case 4:
        put(s, one_in(s, 2) ? 0xf5 : one_in(s, 2) ? 0xf9 : 0x9e); // cmc, stc, sahf
        break;
    default: // adc, sbb
        put(s, one_in(s, 2) ? 0x11 : 0x19);
        put(s, (uint8_t)(0xc0 | reg << 3 | other));
    }
}

static void put_flags_made(struct shape *s)
{
    static const uint8_t two[] = {0x01, 0x29, 0x39, 0x85, 0x21, 0x31, 0x09, 0x11, 0x19, 0x28, 0x84};
    unsigned reg = any_register(s), other = any_register(s);
    put_prefixes(s, reg, other);
    uint8_t modrm = (uint8_t)(0xc0 | (reg & 7) << 3 | (other & 7));
    switch (below(s, 7)) {
    case 0: // inc, dec
        put(s, 0xff);
        put(s, modrm & 0xcf);
        break;
    case 1: // shifts and rotates by a constant, now and then 0, or by CL
        put(s, one_in(s, 3) ? 0xd3 : 0xc1);
        put(s, modrm);
        if (s->bytes[s->n - 2] == 0xc1)
            put(s, (uint8_t)below(s, 34));
        break;
    case 2: // bt and its like
        put(s, 0x0f);
        put(s, (uint8_t)(0xa3 | below(s, 4) << 3));
        put(s, modrm);
        break;
    case 3: // neg, not, mul
        put(s, 0xf7);
        put(s, (uint8_t)(0xd0 | (modrm & 0xcf) | below(s, 2) << 3));
        break;
    case 4: // an immediate of 8 bits
        put(s, 0x83);
        put(s, modrm);
        put(s, (uint8_t)below(s, 256));
        break;
    default:
        put(s, two[below(s, ARRAY_SIZE(two))]);
        put(s, modrm);
    }
}

/// A short branch over what is put next: its displacement is set by land.
static unsigned put_skip(struct shape *s)
{
    put(s, (uint8_t)(one_in(s, 8) ? 0xeb : 0x70 | below(s, 16)));
    put(s, 0);
    return s->n;
}

static void land(struct shape *s, unsigned from)
{
    s->bytes[from - 1] = (uint8_t)(s->n - from);
}

/// jmp far to what follows, by another CS and IP that lead there: the same code is keyed anew.
static void put_same_place(struct shape *s)
{
    unsigned shift = below(s, 4);
    put(s, 0xea);
    put_value(s, s->at + s->n + 4 + 16 * shift, 2);
    put_value(s, (STRESS_CODE >> 4) - shift, 2);
}

/// mov ax, selector; mov sreg, ax. In real and virtual-8086 mode a paragraph near the data. Or push, pop.
static void put_segment_change(struct shape *s)
{
    static const uint16_t selectors[] = {0x10, 0x10, 0x33, 0x50, 0x50, 0x48, 0x38, 0x43, 0x58, 0};
    static const uint8_t numbers[] = {0, 3, 3, 4, 5, 2};
    bool paragraphs = !(s->mode & MODE_PROTECTED) || (s->mode & MODE_VM86);
    uint32_t value = paragraphs ? (STRESS_DATA >> 4) - 0x100 * below(s, 5) + below(s, 4)
                                : selectors[below(s, s->stress->trouble ? ARRAY_SIZE(selectors) : 7)];
    unsigned number = numbers[below(s, 5 + one_in(s, 3))];
    if (paragraphs && one_in(s, 3)) {
        put_same_place(s);
        return;
    }
    if (one_in(s, 4)) {
        put(s, one_in(s, 2) ? 0x1e : 0x06);
        put(s, one_in(s, 2) ? 0x07 : 0x1f);
        return;
    }
    put(s, 0xb8);
    put_value(s, value, s->code16 ? 2 : 4);
    put(s, 0x8e);
    put(s, (uint8_t)(0xc0 | number << 3));
}

// ---- shapes ---------------------------------------------------------------------------------------------------------
static void group(struct shape *s)
{
    unsigned count = 2 + below(s, 7);
    if (!one_in(s, 6) && s->base != VAR_RSP)
        put_base(s);
    for (unsigned i = 0; i < count && !full(s); i++) {
        unsigned skip = one_in(s, 6) ? put_skip(s) : 0;
        put_access(s);
        if (one_in(s, 8))
            put_base_change(s);
        if (s->flat && one_in(s, 12))
            put_page_change(s);
        if (!s->code64 && one_in(s, 10))
            put_segment_change(s);
        if (one_in(s, 6))
            put_flags_use(s);
        if (skip)
            land(s, skip);
    }
}

/// A few turns: by DEC and JNZ, or LOOP, with accesses that go on through memory.
static void loop(struct shape *s)
{
    bool decrement = one_in(s, 2);
    if (!one_in(s, 4) && s->base != VAR_RSP)
        put_base(s);
    put(s, 0xb9); // mov ecx, turns
    put_value(s, 2 + below(s, one_in(s, 4) ? 200 : 20), s->code16 ? 2 : 4);
    unsigned top = s->n, count = 1 + below(s, 5);
    for (unsigned i = 0; i < count && s->n - top < 70 && !full(s); i++) {
        unsigned skip = one_in(s, 3) ? put_skip(s) : 0;
        if (one_in(s, 2))
            put_access(s);
        else if (one_in(s, 2))
            put_flags_made(s);
        else
            put_flags_use(s);
        if (one_in(s, 3))
            put_base_change(s);
        if (!s->code64 && one_in(s, 16))
            put_segment_change(s);
        if (skip)
            land(s, skip);
    }
    if (decrement) { // dec ecx
        put(s, 0xff);
        put(s, 0xc9);
    }
    put(s, decrement ? 0x75 : 0xe2);
    put(s, (uint8_t)(top - s->n - 1));
}

static void flags(struct shape *s)
{
    unsigned count = 3 + below(s, 8);
    for (unsigned i = 0; i < count && !full(s); i++) {
        unsigned skip = one_in(s, 5) ? put_skip(s) : 0;
        if (one_in(s, 3))
            put_access(s);
        else if (one_in(s, 2))
            put_flags_made(s);
        else
            put_flags_use(s);
        if (skip)
            land(s, skip);
    }
}

/// A function between its call and where it returns to, with pushes and pops of its own.
static void call(struct shape *s)
{
    unsigned size = s->code16 ? 2 : 4;
    put(s, 0xe8);
    put_value(s, 2, size); // over the JMP
    put(s, 0xeb);
    put(s, 0);
    unsigned from = s->n, count = 1 + below(s, 4);
    bool push = one_in(s, 2);
    if (push)
        put(s, (uint8_t)(0x50 | (any_register(s) & 7)));
    for (unsigned i = 0; i < count && s->n - from < 60 && !full(s); i++) {
        unsigned skip = one_in(s, 4) ? put_skip(s) : 0;
        if (one_in(s, 2))
            put_access(s);
        else
            put_flags_made(s);
        if (skip)
            land(s, skip);
    }
    if (push && !one_in(s, 20)) // else it returns to what was pushed
        put(s, 0x59);
    put(s, 0xc3);
    land(s, from);
    if (one_in(s, 2)) {
        put_access(s);
        put_flags_use(s);
    }
}

/// A string instruction with a count, over what lies near pages' ends more often than not.
static void string(struct shape *s)
{
    static const uint8_t opcodes[] = {0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
    unsigned base = s->base;
    s->base = VAR_RSI;
    put_base(s);
    s->base = VAR_RDI;
    put_base(s);
    s->base = base;
    put(s, 0xb9);
    put_value(s, below(s, one_in(s, 3) ? 1200 : 40), s->code16 ? 2 : 4);
    if (one_in(s, 6))
        put(s, one_in(s, 2) ? 0xfc : 0xfd);
    if (!s->flat && one_in(s, 4))
        put(s, one_in(s, 2) ? 0x2e : 0x26);
    if (!one_in(s, 5))
        put(s, one_in(s, 2) ? 0xf3 : 0xf2);
    if (s->code64 && one_in(s, 3))
        put(s, 0x48);
    put(s, opcodes[below(s, ARRAY_SIZE(opcodes))]);
    if (one_in(s, 2))
        put_flags_use(s);
    put_access(s);
}

// ---- what kernels do ------------------------------------------------------------------------------------------------
static void put_bytes(struct shape *s, const char *bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        put(s, (uint8_t)bytes[i]);
}

static void put_push(struct shape *s, uint32_t value)
{
    put(s, 0x68);
    put_value(s, value, s->code16 ? 2 : 4);
}

static void put_mov(struct shape *s, unsigned reg, uint32_t value)
{
    if (reg >= 8)
        put(s, 0x41);
    put(s, (uint8_t)(0xb8 + (reg & 7)));
    put_value(s, value, s->code16 ? 2 : 4);
}

/// mov reg, an address that is not canonical, or canonical only with 57 bits. 64-bit code.
static void put_bad_address(struct shape *s, unsigned reg)
{
    uint64_t value = one_in(s, 2) ? BIT(47 + below(s, 17)) : ~BIT(47 + below(s, 10));
    put(s, reg >= 8 ? 0x49 : 0x48);
    put(s, (uint8_t)(0xb8 + (reg & 7)));
    put_value(s, (uint32_t)value, 4);
    put_value(s, (uint32_t)(value >> 32), 4);
}

/// RFLAGS as kernels load them, now and then with what leads away.
static uint32_t random_rflags(struct shape *s)
{
    uint32_t value = 2 | (uint32_t)(stress_next(s->random) & FLAGS_ARITHMETIC);
    static const uint64_t rare[] = {FLAG_TF, FLAG_IOPL, FLAG_NT, FLAG_AC, FLAG_RF, FLAG_VM, FLAG_VIF, FLAG_VIP};
    value |= one_in(s, 4) ? 0 : FLAG_IF;
    value |= one_in(s, 8) ? FLAG_DF : 0;
    value |= one_in(s, 4) ? FLAG_ID : 0;
    while (one_in(s, 5))
        value |= (uint32_t)rare[below(s, ARRAY_SIZE(rare))];
    return value;
}

static uint32_t random_selector(struct shape *s, uint32_t usual)
{
    return one_in(s, 12) ? below(s, 20) * 8 + below(s, 4) : usual;
}

/// IRET to what follows, mostly as user code.
static void put_iret(struct shape *s)
{
    bool user = !one_in(s, 4);
    uint32_t code = s->code64 ? (user ? 0x2b : 0x08) : user ? 0x43 : 0x38;
    if (s->code64 && one_in(s, 4))
        code = user ? 0x83 : 0x43; // the same by another selector; compatibility mode
    if (one_in(s, 4)) {            // the frame over a page's end, now and then
        put_mov(s, VAR_RSP, STRESS_DATA + 0xb000 + below(s, 4) * PAGE_SIZE + below(s, 8) * 8);
    }
    if (s->code64 || user) {
        put_push(s, random_selector(s, user ? (one_in(s, 2) ? 0x33 : 0x7b) : 0x10));
        put_push(s, STRESS_STACK - below(s, 8) * 8 + (one_in(s, 8) ? below(s, 8) : 0));
    }
    put_push(s, random_rflags(s));
    put_push(s, random_selector(s, code));
    unsigned length = s->code64 ? 2 : 1;
    if (s->code64 && one_in(s, 16)) {
        put_bad_address(s, VAR_RAX);
        put(s, 0x50);
    } else
        put_push(s, one_in(s, 16) ? random_place(s) : STRESS_CODE + s->at + s->n + 5 + length);
    if (s->code64)
        put(s, 0x48);
    put(s, 0xcf);
}

static void put_sysret(struct shape *s)
{
    unsigned n = s->n;
    put_mov(s, VAR_R11, random_rflags(s));
    put_mov(s, VAR_RCX, 0);
    bool wide = !one_in(s, 8), bad = one_in(s, 16);
    if (bad)
        put_bad_address(s, VAR_RCX);
    if (wide)
        put(s, 0x48);
    put(s, 0x0f);
    put(s, 0x07);
    uint32_t target = STRESS_CODE + s->at + s->n;
    memcpy(s->bytes + n + 7, &target, 4);
}

/// Bits of a control register change, then something that minds.
static void put_control(struct shape *s)
{
    static const uint64_t zero[] = {CR0_TS, CR0_TS | CR0_MP, CR0_MP, CR0_EM, CR0_NE, CR0_AM, CR0_TS | CR0_EM};
    static const uint64_t four[] = {CR4_TSD,      CR4_OSFXSR,  CR4_OSXMMEXCPT, CR4_UMIP,
                                    CR4_FSGSBASE, CR4_OSXSAVE, CR4_SMEP,       CR4_SMAP};
    bool is_zero = one_in(s, 2);
    uint64_t bits =
        is_zero ? zero[below(s, ARRAY_SIZE(zero))] : four[s->stress->trouble ? below(s, ARRAY_SIZE(four)) : 0];
    put(s, 0x0f);
    put(s, 0x20);
    put(s, is_zero ? 0xc0 : 0xe0); // mov eax, cr
    if (s->code16)
        put(s, 0x66);
    put(s, 0x35); // xor eax, bits
    put_value(s, (uint32_t)bits, 4);
    put(s, 0x0f);
    put(s, 0x22);
    put(s, is_zero ? 0xc0 : 0xe0);
    if (one_in(s, 2))
        put(s, 0x9b); // fwait
}

/// LDMXCSR, FLDCW of anything, and arithmetic behind. `base` is plain memory.
static void put_control_word(struct shape *s)
{
    bool x87 = one_in(s, 2);
    uint32_t word = (uint32_t)stress_next(s->random) & 0xffff;
    if (!one_in(s, 3))
        word |= x87 ? 0x7f : 0x1f80;
    if (one_in(s, 30))
        word |= 0x10000;
    if (s->code16)
        put(s, 0x66);
    put(s, 0xc7); // mov dword [base + 8], word
    put_memory(s, 0, 8);
    put_value(s, word, 4);
    if (x87) {
        put(s, 0xd9);
        put_memory(s, 5, 8);
    } else {
        put(s, 0x0f);
        put(s, 0xae);
        put_memory(s, 2, 8);
    }
    for (unsigned i = below(s, 4); i-- > 0;)
        put_access(s);
    if (one_in(s, 2)) { // addps, mulpd; fadd, fdiv
        put_bytes(s, one_in(s, 2) ? "\x0f\x58\xc1" : "\x0f\x5e\xd3", 3);
        put_bytes(s, one_in(s, 2) ? "\xd8\xc2" : "\xdc\xf1", 2);
    }
    if (one_in(s, 2)) { // stmxcsr, fnstcw, fnstsw
        static const uint8_t stores[][2] = {{0xae, 3}, {0xd9, 7}, {0xdd, 7}};
        unsigned which = below(s, 3);
        if (!which)
            put(s, 0x0f);
        put(s, stores[which][0]);
        put_memory(s, stores[which][1], 16);
    }
}

static void put_one_of(struct shape *s)
{
    static const struct {
        uint8_t size;
        bool only64;
        char bytes[8];
    } pieces[] = {
        {2, false, "\xe6\x80"},                    // out 0x80, al
        {3, false, "\xfa\xe6\x80"},                // cli; out 0x80, al
        {1, false, "\xfb"},                        // sti
        {1, false, "\xfb"},                        // sti
        {1, false, "\xfa"},                        // cli
        {2, false, "\xfb\xf4"},                    // sti; hlt
        {2, false, "\x9c\x9d"},                    // pushf; popf
        {3, false, "\x0f\x01\xcb"},                // stac
        {3, false, "\x0f\x01\xca"},                // clac
        {2, false, "\x0f\x31"},                    // rdtsc
        {3, false, "\x0f\x01\xf9"},                // rdtscp
        {2, false, "\x0f\x06"},                    // clts
        {3, true, "\x0f\x01\xf8"},                 // swapgs
        {2, true, "\x0f\x05"},                     // syscall
        {5, true, "\xf3\x48\x0f\xae\xd3"},         // wrfsbase rbx
        {5, true, "\xf3\x48\x0f\xae\xdb"},         // wrgsbase rbx
        {5, true, "\xf3\x48\x0f\xae\xc8"},         // rdgsbase rax
        {8, true, "\x65\x8b\x04\x25\x08\x00\x00"}, // mov eax, gs:[8]
        {4, false, "\x8c\xd0\x8e\xd0"},            // mov eax, ss; mov ss, eax
        {4, false, "\x31\xc0\x8e\xd8"},            // xor eax, eax; mov ds, eax
        {4, false, "\x31\xc0\x8e\xe8"},            // ... gs
        {3, false, "\x0f\x20\xd8"},                // mov eax, cr3
        {6, false, "\x0f\x20\xd8\x0f\x22\xd8"},    // ... and back
        {1, false, "\x9b"},                        // fwait
        {2, false, "\xcd\x30"},                    // int 0x30
    };
    unsigned which = below(s, ARRAY_SIZE(pieces));
    if (!pieces[which].only64 || s->code64)
        put_bytes(s, pieces[which].bytes, pieces[which].size);
}

/// Changes of mode, ring, flags and control registers, with work between.
static void kernel(struct shape *s)
{
    unsigned count = 1 + below(s, 6);
    if (s->base != VAR_RSP)
        put_base(s);
    for (unsigned i = 0; i < count && !full(s); i++) {
        switch (below(s, 8)) {
        case 0:
            put_push(s, random_rflags(s));
            put(s, 0x9d); // popf
            break;
        case 1:
            put_control_word(s);
            break;
        case 2:
            if (s->stress->trouble || one_in(s, 8))
                put_control(s);
            break;
        case 3:
            if (s->flat)
                put_page_change(s);
            break;
        default:
            put_one_of(s);
        }
        if (one_in(s, 2))
            put_access(s);
        if (one_in(s, 3))
            put_flags_use(s);
    }
    if (s->flat && !full(s) && one_in(s, 3))
        put_iret(s);
    else if (s->code64 && !full(s) && one_in(s, 3))
        put_sysret(s);
}

unsigned stress_shape(const struct stress *stress, uint32_t mode, struct stress_random *random, uint8_t *bytes,
                      unsigned room, uint32_t at)
{
    static const uint8_t bases[] = {VAR_RBX, VAR_RBP, VAR_RSI, VAR_RDI};
    struct shape s = {.stress = stress, .random = random, .mode = mode, .bytes = bytes, .room = room, .at = at};
    s.code16 = (mode & MODE_CODE_MASK) == MODE_CODE16;
    s.code64 = (mode & MODE_CODE_MASK) == MODE_CODE64;
    s.flat = mode & MODE_FLAT;
    s.base = bases[below(&s, ARRAY_SIZE(bases))];
    if (!s.code16 && one_in(&s, 6))
        s.base = VAR_RSP;
    else if (s.code64 && one_in(&s, 4))
        s.base = 8 + below(&s, 8);
    if (one_in(&s, 4)) {
        kernel(&s);
        return s.n;
    }
    switch (below(&s, 12)) {
    case 0:
    case 1:
        loop(&s);
        break;
    case 2:
    case 3:
        flags(&s);
        break;
    case 4:
    case 5:
        call(&s);
        break;
    case 6:
        string(&s);
        break;
    default:
        group(&s);
    }
    return s.n;
}
