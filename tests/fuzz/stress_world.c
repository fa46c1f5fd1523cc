// Random worlds, see stress.h: tables, gates, pages, segments and registers.
#include <stdlib.h>
#include <string.h>

#include "cpu/block.h"
#include "cpu/debug.h"
#include "stress.h"

#define IVT 0x0u
#define GDT 0x1000u
#define IDT 0x2000u
#define TSS 0x6800u // with a bitmap of ports
#define HANDLER_STACK 0xf000u
#define SMM_CODE 0x38000u
#define TABLES STRESS_TABLES
#define WAYS 0xc00u // in the code of the ways on, too
#define WAY_ON 0xe00u

// Selectors of the GDT below.
enum {
    CODE64 = 0x08,
    DATA0 = 0x10,
    TASK = 0x18,
    CODE64_3 = 0x2b,
    DATA3 = 0x33,
    CODE32 = 0x38,
    CODE32_3 = 0x43,
    CODE16 = 0x48,
    DATA16 = 0x50,
    CONFORMING = 0x58,
    GATE = 0x60,
    DATA3_AGAIN = 0x7b, // where SYSRET wants them
    CODE64_3_AGAIN = 0x83,
    GDT_BYTES = 0x88
};

struct maker {
    struct stress *stress;
    struct stress_random random;
    struct world *world;
    struct cpu *cpu;
    enum stress_mode mode;
    bool paged;
    uint64_t seed;
    unsigned trouble; // as in struct stress
};

static void put(struct maker *m, uint64_t at, uint64_t value, unsigned size)
{
    memcpy(m->world->memory.host + at, &value, size);
}

void stress_map(struct world_description *d, const struct cpu_model *model)
{
    *d = (struct world_description){.model = *model, .memory_size = STRESS_MEMORY};
    d->piece[d->piece_count++] = (struct world_piece){.size = STRESS_DEVICE};
    d->piece[d->piece_count++] = (struct world_piece){.start = STRESS_DEVICE, .size = PAGE_SIZE, .kind = WORLD_DEVICE};
    d->piece[d->piece_count++] = (struct world_piece){.start = STRESS_DEVICE + PAGE_SIZE,
                                                      .size = STRESS_MEMORY - STRESS_DEVICE - PAGE_SIZE,
                                                      .offset = STRESS_DEVICE + PAGE_SIZE};
}

// ---- pages --------------------------------------------------------------------------------------------------------
#define P 1u
#define W 2u
#define U 4u
#define LARGE_PAGE 0x80u
#define LARGE_ENTRY 1u // of a page directory
#define GLOBAL 0x100u

/// What is wrong with page `n` of the data: the entry's address and bits. Every kind of page is there.
static uint64_t data_entry(struct maker *m, unsigned n, uint64_t no_execute)
{
    uint64_t own = STRESS_DATA + (uint64_t)n * PAGE_SIZE;
    switch (n) {
    case 2:
        return m->trouble ? 0 : own | P | W | U;
    case 3:
        return own | P | U;
    case 6:
        return own | P | W;
    case 7:
        return STRESS_DATA | P | W | U; // page 0 again
    case 8:
        return STRESS_CODE | P | W | U; // the code again
    case 9:
        return own | P | W | U | no_execute;
    default:
        return own | P | W | U;
    }
}

static uint64_t entry(struct maker *m, uint64_t page, uint64_t no_execute)
{
    uint64_t data = page - (STRESS_DATA >> PAGE_SHIFT);
    if (data < STRESS_DATA_PAGES)
        return data_entry(m, (unsigned)data, no_execute);
    return page << PAGE_SHIFT | P | W | (page >= STRESS_CODE >> PAGE_SHIFT ? U : 0);
}

/// Behind the end of memory: the last page of a window is one of the data.
static uint64_t last_entry(struct maker *m, bool second)
{
    return (STRESS_DATA + (10u + second) * PAGE_SIZE) | P | W | U;
}

/// The first 2 MiB (4 KiB pages) of two tables of entries of `size` bytes. In the second each page of the data is as a
/// neighbour is in the first.
static void fill_tables(struct maker *m, unsigned size, uint64_t no_execute)
{
    uint64_t data = STRESS_DATA >> PAGE_SHIFT;
    for (uint64_t page = 0; page < PAGE_SIZE / size; page++) {
        uint64_t global = page % 3 == 0 ? GLOBAL : 0;
        if (page + 1 == PAGE_SIZE / size) {
            put(m, STRESS_TABLE + page * size, last_entry(m, false), size);
            put(m, STRESS_TABLE2 + page * size, last_entry(m, true) | global, size);
        }
        if (page << PAGE_SHIFT >= STRESS_MEMORY)
            continue;
        uint64_t other = page - data < STRESS_DATA_PAGES ? data + (page - data + 3) % STRESS_DATA_PAGES : page;
        put(m, STRESS_TABLE + page * size, entry(m, page, no_execute) | global, size);
        put(m, STRESS_TABLE2 + page * size, entry(m, other, no_execute), size);
    }
}

/// The entries of a page directory: 2 or 4 MiB each, of which mostly the first 2 are used.
static void make_directory(struct maker *m, uint64_t at, unsigned size, uint64_t first)
{
    uint64_t other = first == STRESS_TABLE ? STRESS_TABLE2 : STRESS_TABLE, rights = P | W | U;
    put(m, at, first | rights, size);
    put(m, at + LARGE_ENTRY * size, LARGE_PAGE | rights, size);    // without CR4.PSE a table that is code, in 32 bits
    put(m, at + (size == 8 ? 8 : 4) * size, other | rights, size); // 16 MiB up: the TLB's slots are the same
    put(m, at + PAGE_SIZE - size, first | rights, size);
}

static void make_pages(struct maker *m)
{
    static const unsigned halves[] = {0, 0, 255, 256, 511}, gigabytes[] = {0, 0, 3, 4, 511};
    struct cpu *cpu = m->cpu;
    bool long_mode = cpu->efer & EFER_LMA;
    uint64_t no_execute = cpu->efer & EFER_NXE ? BIT(63) : 0;
    if (!m->paged)
        return;
    cpu->cr3 = TABLES;
    if (long_mode) {
        for (unsigned i = 0; i < ARRAY_SIZE(halves); i++) {
            put(m, TABLES + halves[i] * 8, (TABLES + 0x1000) | P | W | U, 8);
            put(m, TABLES + 0x1000 + gigabytes[i] * 8, (TABLES + 0x2000) | P | W | U, 8);
            put(m, STRESS_TABLES2 + halves[i] * 8, (STRESS_TABLES2 + 0x1000) | P | W | U, 8);
            put(m, STRESS_TABLES2 + 0x1000 + gigabytes[i] * 8, (STRESS_TABLES2 + 0x2000) | P | W | U, 8);
        }
        make_directory(m, TABLES + 0x2000, 8, STRESS_TABLE);
        make_directory(m, STRESS_TABLES2 + 0x2000, 8, STRESS_TABLE2);
        fill_tables(m, 8, no_execute);
    } else if (cpu->cr4 & CR4_PAE) {
        put(m, TABLES, (TABLES + 0x2000) | P, 8);
        put(m, TABLES + 3 * 8, (TABLES + 0x2000) | P, 8);
        make_directory(m, TABLES + 0x2000, 8, STRESS_TABLE);
        fill_tables(m, 8, no_execute);
    } else {
        make_directory(m, TABLES, 4, STRESS_TABLE);
        fill_tables(m, 4, 0);
    }
}

/// What pages there are besides the first ones; chosen before anything points there.
static void make_windows(struct maker *m)
{
    static const uint64_t tops[] = {
        0, 0, UINT64_C(0x800000000000), UINT64_C(0x100000000), UINT64_C(0x140000000), UINT64_C(0xffff800040000000)};
    struct stress *s = m->stress;
    struct stress_random *r = &m->random;
    bool long_mode = m->cpu->efer & EFER_LMA, large = !(m->cpu->cr4 & CR4_PAE);
    uint64_t top = long_mode ? tops[stress_below(r, ARRAY_SIZE(tops))] : UINT64_C(0x100000000);
    s->conflicts = stress_one_in(r, 4);
    s->window_count = 0;
    s->window[s->window_count++] = 0;
    if (!m->paged)
        return;
    s->window[s->window_count++] = large ? LARGE_ENTRY * BIT(22) : LARGE_ENTRY * BIT(21);
    if (s->conflicts)
        s->window[s->window_count++] = BIT(24);
    s->window[s->window_count++] = top - STRESS_WINDOW * (large ? 2 : 1);
}

static uint64_t in_some_window(struct maker *m, uint64_t address)
{
    const struct stress *s = m->stress;
    if (!stress_one_in(&m->random, 4))
        return address;
    return address + s->window[stress_below(&m->random, s->window_count)];
}

// ---- descriptors and gates ------------------------------------------------------------------------------------------
static void make_gdt(struct maker *m)
{
    put(m, GDT + CODE64, UINT64_C(0x00af9b000000ffff), 8);
    put(m, GDT + DATA0, UINT64_C(0x00cf93000000ffff), 8);
    put(m, GDT + TASK, UINT64_C(0x00008b0000002fff) | (uint64_t)TSS << 16, 8);
    put(m, GDT + (CODE64_3 & ~7u), UINT64_C(0x00affb000000ffff), 8);
    put(m, GDT + (DATA3 & ~7u), UINT64_C(0x00cff3000000ffff), 8);
    put(m, GDT + CODE32, UINT64_C(0x00cf9b000000ffff), 8);
    put(m, GDT + (CODE32_3 & ~7u), UINT64_C(0x00cffb000000ffff), 8);
    put(m, GDT + CODE16, UINT64_C(0x00009b000000ffff) | (uint64_t)STRESS_CODE << 16, 8);
    put(m, GDT + DATA16, UINT64_C(0x000093000000ffff) | (uint64_t)STRESS_DATA << 16, 8);
    put(m, GDT + CONFORMING, UINT64_C(0x00cf9f000000ffff), 8);
    put(m, GDT + (DATA3_AGAIN & ~7u), UINT64_C(0x00cff3000000ffff), 8);
    put(m, GDT + (CODE64_3_AGAIN & ~7u), UINT64_C(0x00affb000000ffff), 8);
    put(m, GDT + GATE, UINT64_C(0x0000ec0000380000) | (STRESS_HANDLERS + 48 * 16), 8); // a call gate, DPL 3
}

/// What a fault's handler does at last: it goes on at one of the code's instructions, chosen by the time stamp, in the
/// mode that was left.
static void make_ways_on(struct maker *m)
{
    // clang-format off
    static const uint8_t way64[] = {
        0x50, 0x52,                               // push rax; push rdx
        0x0f, 0x31, 0x83, 0xe0, 0x3f,             // rdtsc; and eax, 63
        0x8b, 0x04, 0x85, 0x00, 0x0c, 0x00, 0x00, // mov eax, [WAYS + rax * 4]
        0x48, 0x89, 0x44, 0x24, 0x10,             // mov [rsp + 16], rax
        0x5a, 0x58, 0x48, 0xcf,                   // pop rdx; pop rax; iretq
    };
    static const uint8_t way32[] = {
        0x50, 0x52, 0x0f, 0x31, 0x83, 0xe0, 0x3f,
        0x2e, 0x8b, 0x04, 0x85, 0x00, 0x0c, 0x00, 0x00, // mov eax, cs:[WAYS + eax * 4]
        0x36, 0x89, 0x44, 0x24, 0x08,                   // mov [esp + 8], eax
        0x5a, 0x58, 0xcf,
    };
    static const uint8_t way16[] = {
        0x50, 0x52, 0x56, 0x55,             // push ax; push dx; push si; push bp
        0x0f, 0x31, 0x25, 0x3f, 0x00,       // rdtsc; and ax, 63
        0xc1, 0xe0, 0x02, 0x89, 0xc6,       // shl ax, 2; mov si, ax
        0x2e, 0x8b, 0xb4, 0x00, 0x0c,       // mov si, cs:[si + WAYS]
        0x89, 0xe5, 0x89, 0x76, 0x08,       // mov bp, sp; mov [bp + 8], si
        0x5d, 0x5e, 0x5a, 0x58, 0xcf,
    };
    // clang-format on
    uint64_t base = cpu_segment_base(m->cpu, SEG_CS) ? 0 : STRESS_CODE;
    memcpy(m->world->memory.host + WAY_ON,
           m->cpu->efer & EFER_LMA  ? way64
           : m->mode == STRESS_REAL ? way16
                                    : way32,
           m->cpu->efer & EFER_LMA  ? sizeof way64
           : m->mode == STRESS_REAL ? sizeof way16
                                    : sizeof way32);
    for (unsigned i = 0; i < STRESS_STARTS; i++)
        put(m, WAYS + i * 4, base + m->stress->starts[i], 4);
}

/// Handlers of faults halt or go on, those of interrupts return.
static void make_handler(struct maker *m, unsigned vector, unsigned bits)
{
    static const uint8_t drop64[] = {0x48, 0x83, 0xc4, 0x08}, drop32[] = {0x83, 0xc4, 0x04};
    uint64_t at = STRESS_HANDLERS + vector * 16;
    bool error_code = bits != 16 && (vector == 8 || (vector >= 10 && vector <= 14) || vector == 17);
    memset(m->world->memory.host + at, 0xf4, 16);
    if (stress_one_in(&m->random, 8))
        return;
    if (error_code) { // its code goes
        memcpy(m->world->memory.host + at, bits == 64 ? drop64 : drop32, bits == 64 ? 4 : 3);
        at += bits == 64 ? 4 : 3;
    }
    if (vector >= 32) {
        put(m, at, bits == 64 ? 0xcf48 : 0xcf, bits == 64 ? 2 : 1);
        return;
    }
    put(m, at, 0xe9, 1);
    put(m, at + 1, WAY_ON - (uint32_t)(at + (bits == 16 ? 3 : 5)), bits == 16 ? 2 : 4);
}

static void make_gates(struct maker *m)
{
    bool long_mode = m->cpu->efer & EFER_LMA;
    for (unsigned i = 0; i < 128; i++) {
        uint64_t handler = STRESS_HANDLERS + i * 16;
        unsigned kind = stress_one_in(&m->random, 2) ? 0x8e : 0x8f, dpl = stress_one_in(&m->random, 2) ? 0x60 : 0;
        if (long_mode) {
            uint64_t ist = stress_one_in(&m->random, 2);
            make_handler(m, i, 64);
            put(m, IDT + i * 16, handler | (uint64_t)CODE64 << 16 | (uint64_t)(kind | dpl) << 40 | ist << 32, 8);
        } else if (m->mode == STRESS_REAL) {
            make_handler(m, i, 16);
            put(m, IVT + i * 4, handler, 4);
        } else {
            make_handler(m, i, 32);
            put(m, IDT + i * 8, (handler & 0xffff) | (uint64_t)CODE32 << 16 | (uint64_t)(kind | dpl) << 40, 8);
        }
    }
    if (long_mode) {
        put(m, TSS + 4, HANDLER_STACK, 8);
        put(m, TSS + 0x24, HANDLER_STACK - 0x800, 8);
    } else {
        put(m, TSS + 4, HANDLER_STACK, 4);
        put(m, TSS + 8, DATA0, 4);
    }
    put(m, TSS + 0x66, 0x68 + 32, 2); // bitmaps of interrupts and ports: random
    for (unsigned i = 0x68; i < 0x800; i += 8)
        put(m, TSS + i, stress_next(&m->random) & stress_next(&m->random), 8);
}

// ---- registers ------------------------------------------------------------------------------------------------------
static uint64_t random_value(struct maker *m)
{
    static const uint16_t selectors[] = {0,      CODE64,   DATA0,  TASK,   CODE64_3,   DATA3,
                                         CODE32, CODE32_3, CODE16, DATA16, CONFORMING, GATE};
    struct stress_random *r = &m->random;
    uint64_t base =
        m->mode == STRESS_REAL || m->mode == STRESS_VM86 || m->mode == STRESS_16_PROTECTED ? 0 : STRESS_DATA;
    unsigned rare = m->trouble == 2 ? 4 : 1;
    switch (stress_below(r, 16)) {
    case 0:
        return stress_next(r);
    case 1:
        return stress_next(r) >> stress_below(r, 64);
    case 2:
        return (stress_next(r) & 0xff) - 128;
    case 3:
        return selectors[stress_below(r, ARRAY_SIZE(selectors))];
    case 4:
    case 5:
        return stress_below(r, 256);
    case 6: // near the code
        return stress_one_in(r, 4) ? STRESS_CODE + stress_below(r, 0x300) : stress_below(r, 64);
    case 7:
        if (base && stress_one_in(r, 4)) // a window's end
            return m->stress->window[m->stress->window_count - 1] + STRESS_WINDOW - stress_below(r, 80);
        return in_some_window(m, base + stress_below(r, STRESS_DATA_PAGES + 1) * PAGE_SIZE -
                                     stress_below(r, 16)); // a page's end
    default:
        if (stress_below(r, 8) < rare)
            return in_some_window(m, base + stress_below(r, STRESS_DATA_PAGES * PAGE_SIZE));
        return in_some_window(m, (base + (base ? 0xa000 : 0) + stress_below(r, 5 * PAGE_SIZE)) &
                                     (stress_one_in(r, 3) ? ~0u : ~15u));
    }
}

static void make_vectors(struct maker *m)
{
    struct cpu *cpu = m->cpu;
    struct stress_random *r = &m->random;
    static const uint64_t special[] = {0,
                                       UINT64_C(0x3ff0000000000000),
                                       UINT64_C(0x7ff0000000000000),
                                       UINT64_C(0x7ff8000000000001),
                                       UINT64_C(0x7ff0000000000001),
                                       1,
                                       UINT64_C(0x3f8000003f800000),
                                       UINT64_C(0x7f8000017fc00000),
                                       UINT64_C(0x8000000000000000),
                                       UINT64_C(0x0000000100000001)};
    for (unsigned i = 0; i < 32; i++)
        for (unsigned k = 0; k < (i < 16 ? 8 : 0); k++)
            cpu->vreg[i].u64[k] = k > 3                 ? 0
                                  : stress_one_in(r, 2) ? special[stress_below(r, ARRAY_SIZE(special))]
                                                        : stress_next(r);
    for (unsigned i = 0; i < 8; i++) {
        cpu->x87.reg[i].significand = stress_next(r) | (stress_one_in(r, 8) ? 0 : BIT(63));
        cpu->x87.reg[i].sign_exponent = (uint16_t)(stress_one_in(r, 3) ? stress_next(r) : 0x3ff0 + stress_below(r, 40));
    }
    cpu->x87.control = (uint16_t)(0x7f | (stress_next(r) & 0xf00));
    if (m->trouble && stress_one_in(r, 3))
        cpu->x87.control &= (uint16_t)(stress_next(r) | 0x40); // unmasked
    cpu->x87.valid = (uint8_t)stress_next(r);
    cpu->x87.top = (uint8_t)stress_below(r, 8);
    cpu->x87.status = (uint16_t)(stress_next(r) & (stress_one_in(r, 4) ? 0x473f : 0x4700));
    cpu->mxcsr = (uint32_t)(0x1f80 | (stress_next(r) & (stress_one_in(r, 2) ? 0xe07f : 0x3f)));
    if (m->trouble && stress_one_in(r, 3))
        cpu->mxcsr &= (uint32_t)(stress_next(r) | 0x3f);
}

static void set_segment(struct maker *m, unsigned n, unsigned selector, uint64_t base, uint32_t limit, uint32_t rights)
{
    m->cpu->segment[n] = (struct segment){.selector = (uint16_t)selector, .limit = limit, .rights = rights};
    cpu_set_segment_base(m->cpu, n, base);
}

#define CODE_RIGHTS (SEGMENT_P | SEGMENT_S | 0xbu)
#define DATA_RIGHTS (SEGMENT_P | SEGMENT_S | 0x3u)

static void make_flat_segments(struct maker *m, unsigned dpl, unsigned code, uint32_t size)
{
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        set_segment(m, i, dpl ? DATA3 : DATA0, 0, UINT32_MAX, DATA_RIGHTS | dpl << 5 | SEGMENT_G | SEGMENT_DB);
    set_segment(m, SEG_CS, code, 0, UINT32_MAX, CODE_RIGHTS | dpl << 5 | SEGMENT_G | size);
    if (size == SEGMENT_L || stress_one_in(&m->random, 2)) {
        cpu_set_segment_base(m->cpu, SEG_FS, 0x100);
        cpu_set_segment_base(m->cpu, SEG_GS, STRESS_DATA);
    }
    m->cpu->cpl = (uint8_t)dpl;
    // 64-bit kernels and their programs have no data segments.
    static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    for (unsigned i = 0; size == SEGMENT_L && i < ARRAY_SIZE(data) && m->seed & 0x100; i++) {
        uint64_t base = cpu_segment_base(m->cpu, data[i]);
        set_segment(m, data[i], 0, base, 0, SEGMENT_UNUSABLE);
    }
}

/// Data segments with limits that bite, sizes of stack and code at random where `sizes`.
static void make_odd_segments(struct maker *m, uint32_t code_size)
{
    struct stress_random *r = &m->random;
    static const uint32_t limits[] = {0xffff, 0xfffff, UINT32_MAX, 0x7fff, 0x3ff};
    static const uint32_t code_limits[] = {0xffff, 0xffff, 0x7ff, UINT32_MAX};
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        uint64_t base = STRESS_DATA - (code_size ? 0x1000 * i : 0);
        uint32_t limit = limits[stress_below(r, ARRAY_SIZE(limits))];
        uint32_t rights = DATA_RIGHTS | (limit > 0xfffff ? SEGMENT_G : 0);
        if (stress_one_in(r, 6))
            rights ^= 2; // read-only
        if (stress_one_in(r, 6))
            rights |= 4; // expand-down
        if (i == SEG_SS) {
            rights = DATA_RIGHTS | (stress_one_in(r, 2) ? SEGMENT_DB : 0);
            limit = stress_one_in(r, 2) ? 0xffff : 0xfffff;
        }
        set_segment(m, i, DATA16, base, limit, rights);
        if (i != SEG_SS && stress_one_in(r, 12))
            set_segment(m, i, 0, 0, 0, SEGMENT_UNUSABLE);
    }
    set_segment(m, SEG_CS, CODE16, STRESS_CODE, code_limits[stress_below(r, 4)], CODE_RIGHTS | code_size);
    m->cpu->cpl = 0;
}

static void make_real_segments(struct maker *m, bool vm86)
{
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        uint64_t base = i == SEG_CS ? STRESS_CODE : STRESS_DATA - 0x1000 * (i == SEG_ES ? 0 : i);
        set_segment(m, i, (unsigned)(base >> 4), base, 0xffff, DATA_RIGHTS | (vm86 ? 3u << 5 : 0));
    }
    m->cpu->cpl = vm86 ? 3 : 0;
}

static void make_segments(struct maker *m)
{
    switch (m->mode) {
    case STRESS_64_KERNEL:
        make_flat_segments(m, 0, CODE64, SEGMENT_L);
        break;
    case STRESS_64_USER:
        make_flat_segments(m, 3, CODE64_3, SEGMENT_L);
        break;
    case STRESS_COMPATIBILITY:
    case STRESS_32_USER:
        make_flat_segments(m, 3, CODE32_3, SEGMENT_DB);
        break;
    case STRESS_32_FLAT:
        make_flat_segments(m, 0, CODE32, SEGMENT_DB);
        break;
    case STRESS_32_SEGMENTS:
        make_odd_segments(m, SEGMENT_DB);
        break;
    case STRESS_16_PROTECTED:
        make_odd_segments(m, 0);
        break;
    default:
        make_real_segments(m, m->mode == STRESS_VM86);
        break;
    }
    m->cpu->segment[SEG_TR] =
        (struct segment){.selector = TASK, .limit = 0x2fff, .base = TSS, .rights = SEGMENT_P | 0xb};
}

static void make_controls(struct maker *m)
{
    struct cpu *cpu = m->cpu;
    struct stress_random *r = &m->random;
    bool long_mode = m->mode <= STRESS_COMPATIBILITY, real = m->mode == STRESS_REAL;
    m->paged = long_mode || (!real && stress_one_in(r, 2));
    cpu->cr0 = CR0_ET | (real ? 0 : CR0_PE) | (m->paged ? CR0_PG : 0);
    cpu->cr0 |= stress_one_in(r, 4) ? 0 : CR0_NE;
    cpu->cr0 |= stress_one_in(r, 4) ? 0 : CR0_WP;
    cpu->cr0 |= stress_one_in(r, 4) ? CR0_AM : 0;
    cpu->cr0 |= m->trouble && stress_one_in(r, 10) ? CR0_TS : 0;
    cpu->cr0 |= stress_one_in(r, 16) ? CR0_MP : 0;
    cpu->cr0 |= m->trouble && stress_one_in(r, 20) ? CR0_EM : 0;
    cpu->cr4 = m->trouble && stress_one_in(r, 10) ? 0 : CR4_OSFXSR;
    cpu->cr4 |= stress_one_in(r, 3) ? 0 : CR4_OSXMMEXCPT;
    cpu->cr4 |= long_mode || stress_one_in(r, 2) ? CR4_PAE : 0;
    cpu->cr4 |= stress_one_in(r, 2) ? CR4_VME : 0;
    cpu->cr4 |= stress_one_in(r, 4) ? CR4_PVI : 0;
    cpu->cr4 |= stress_one_in(r, 8) ? CR4_TSD : 0;
    cpu->cr4 |= stress_one_in(r, 8) ? CR4_UMIP : 0;
    cpu->cr4 |= stress_one_in(r, 2) ? CR4_FSGSBASE : 0;
    cpu->cr4 |= stress_one_in(r, 8) && !m->trouble ? CR4_SMAP : 0;
    cpu->cr4 |= stress_one_in(r, 2) ? CR4_PGE : 0;
    cpu->cr4 |= stress_one_in(r, 2) ? CR4_PSE : 0;
    if (m->mode <= STRESS_64_USER && model_has(&m->world->model, FEATURE_PCID) && stress_one_in(r, 2))
        cpu->cr4 |= CR4_PCIDE;
    if (model_has(&m->world->model, FEATURE_XSAVE) && stress_one_in(r, 2))
        cpu->cr4 |= CR4_OSXSAVE;
    if (model_has(&m->world->model, FEATURE_AVX) && !stress_one_in(r, 8))
        cpu->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    cpu->efer = (long_mode ? EFER_LME | EFER_LMA : 0) | (stress_one_in(r, 4) ? 0 : EFER_NXE) | EFER_SCE;
    cpu->gdt = (struct descriptor_table){.base = GDT, .limit = GDT_BYTES - 1};
    cpu->idt = (struct descriptor_table){.base = real ? IVT : IDT, .limit = real ? 0x3ff : 0xfff};
    cpu->star = (uint64_t)CODE64 << 32 | (uint64_t)(DATA3_AGAIN - 8) << 48;
    cpu->lstar = cpu->cstar = STRESS_CODE + 0x20;
    if (stress_one_in(r, 32) && model_has(&m->world->model, FEATURE_LA57))
        cpu->lstar = BIT(50) | STRESS_CODE;
    cpu->sfmask = stress_one_in(r, 4) ? stress_next(r) & 0x3f7fd7 : 0x40700;
    cpu->sysenter_cs = CODE64;
    cpu->sysenter_esp = HANDLER_STACK;
    cpu->sysenter_eip = STRESS_CODE + 0x40;
}

static uint64_t random_flags(struct maker *m)
{
    struct stress_random *r = &m->random;
    uint64_t flags = 2 | (stress_next(r) & (FLAGS_ARITHMETIC | FLAG_ID | FLAG_NT));
    flags |= stress_one_in(r, 4) ? FLAG_DF : 0;
    flags |= stress_one_in(r, 3) ? 0 : FLAG_IF;
    flags |= stress_one_in(r, 6) ? FLAG_AC : 0;
    flags |= m->trouble && stress_one_in(r, 30) ? FLAG_TF : 0;
    flags |= stress_one_in(r, 2) ? FLAG_IOPL : stress_next(r) & FLAG_IOPL;
    if (m->mode == STRESS_VM86)
        flags |= FLAG_VM | (stress_one_in(r, 2) ? FLAG_VIF : 0) | (stress_one_in(r, 8) ? FLAG_VIP : 0);
    return flags;
}

static void make_registers(struct maker *m)
{
    struct cpu *cpu = m->cpu;
    bool small = m->mode == STRESS_REAL || m->mode == STRESS_VM86 || m->mode == STRESS_16_PROTECTED;
    for (unsigned i = VAR_RAX; i <= VAR_R15; i++) {
        cpu->var[i] = random_value(m);
        if (m->mode > STRESS_64_USER)
            cpu->var[i] &= i >= VAR_R8 ? 0 : small && !stress_one_in(&m->random, 8) ? 0xffff : UINT32_MAX;
    }
    if (!stress_one_in(&m->random, 5))
        cpu->var[VAR_RSP] = small || m->mode == STRESS_32_SEGMENTS ? 0xc00 : STRESS_STACK;
    if (stress_one_in(&m->random, 3))
        cpu->var[VAR_RCX] = stress_below(&m->random, 20);
    cpu->var[VAR_RIP] = 0;
    if (cpu_segment_base(cpu, SEG_CS) == 0)
        cpu->var[VAR_RIP] = STRESS_CODE;
    for (unsigned i = 0; i < 16 && stress_one_in(&m->random, 2); i++)
        for (unsigned k = 0; k < 4; k++)
            cpu->vreg[i].u64[k] = stress_next(&m->random);
    cpu_set_rflags(cpu, random_flags(m));
}

/// What an SMI finds: a count, perhaps some arithmetic, or a changed state, and back.
static void make_smm(struct maker *m)
{
    static const uint8_t count[] = {0x66, 0xff, 0x06, 0x00, 0x70};                          // inc dword [0x7000]
    static const uint8_t change[] = {0x66, 0x67, 0xff, 0x04, 0x25, 0x00, 0xff, 0x03, 0x00}; // inc dword [0x3ff00]
    uint8_t *at = m->world->memory.host + SMM_CODE;
    memcpy(at, count, sizeof count);
    at += sizeof count;
    if (stress_one_in(&m->random, 2)) { // fadd st, st(0)
        *at++ = 0xd8;
        *at++ = 0xc0;
    }
    if (stress_one_in(&m->random, 8)) {
        memcpy(at, change, sizeof change);
        at[5] = (uint8_t)stress_below(&m->random, 256);
        at += sizeof change;
    }
    *at++ = 0x0f; // rsm
    *at++ = 0xaa;
}

// ---- the case -------------------------------------------------------------------------------------------------------
static void make_memory(struct maker *m)
{
    struct stress_random *r = &m->random;
    uint8_t *host = m->world->memory.host;
    for (uint64_t at = STRESS_DATA; at < STRESS_DATA + STRESS_DATA_PAGES * PAGE_SIZE; at += 8)
        put(m, at, at % 64 < 16 ? random_value(m) : stress_next(r), 8);
    make_gdt(m);
    make_gates(m);
    make_pages(m);
    make_smm(m);
    stress_code(m->stress, &m->world->model, m->cpu->mode, r, host + STRESS_CODE);
    make_ways_on(m);
    // Where it begins: at the code's start, which may lie near the page's end.
    unsigned start = 0;
    while (start < STRESS_CODE_SIZE - 1 && host[STRESS_CODE + start] == 0xf4)
        start++;
    m->cpu->var[VAR_RIP] += start;
}

/// Breakpoints on code, data, stacks, tables and ports, in some of the cases.
static void make_breakpoints(struct maker *m, uint64_t seed)
{
    struct stress_random r = {~seed};
    struct cpu *cpu = m->cpu;
    if (!stress_one_in(&r, 5))
        return;
    for (unsigned n = 0; n < 4; n++) {
        const uint64_t places[] = {
            STRESS_CODE + m->stress->starts[stress_below(&r, STRESS_STARTS)],
            STRESS_DATA + stress_below(&r, STRESS_DATA_PAGES * PAGE_SIZE),
            STRESS_DATA + (1 + stress_below(&r, STRESS_DATA_PAGES - 1)) * PAGE_SIZE - 4 + stress_below(&r, 8),
            STRESS_STACK - stress_below(&r, 64),
            HANDLER_STACK - stress_below(&r, 64),
            GDT + stress_below(&r, GDT_BYTES),
            STRESS_HANDLERS + stress_below(&r, 64) * 16,
            stress_below(&r, 0x100), // a port, or the table of real mode
        };
        unsigned place = stress_below(&r, ARRAY_SIZE(places)), kind = stress_below(&r, 4);
        cpu->dr[n] = places[place];
        if (place == 0)
            kind = 0;
        cpu->dr[7] |= (uint64_t)(kind | (kind ? stress_below(&r, 4) << 2 : 0)) << (16 + 4 * n);
        cpu->dr[7] |= (uint64_t)stress_below(&r, 4) << 2 * n;
    }
    cpu->dr[7] |= stress_one_in(&r, 16) ? DR7_GD : 0;
    cpu->cr4 |= stress_one_in(&r, 2) ? CR4_DE : 0;
    cpu->debugctl = stress_one_in(&r, 4) ? DEBUGCTL_BTF : 0;
    debug_update(cpu);
}

static void add_interrupts(struct maker *m, struct world_description *d)
{
    uint64_t count = 0;
    unsigned wanted = stress_one_in(&m->random, 2) ? 0 : stress_below(&m->random, 12);
    if (stress_one_in(&m->random, 4))
        d->device_interrupts = 1 + stress_below(&m->random, 4);
    for (unsigned i = 0; i < wanted; i++) {
        count += stress_below(&m->random, 60);
        unsigned vector = 32 + stress_below(&m->random, 64);
        if (stress_one_in(&m->random, 8))
            vector = stress_one_in(&m->random, 2) ? VECTOR_NMI : 0; // an SMI
        d->interrupt[d->interrupt_count++] = (struct world_interrupt){.count = count, .vector = (uint8_t)vector};
    }
}

bool stress_case(struct stress *stress, struct world *scratch, uint64_t seed, struct world_description *d,
                 struct error *error)
{
    static const uint16_t lengths[] = {30, 100, 300, 1500};
    struct maker m = {.stress = stress, .random = {seed}, .world = scratch, .cpu = scratch->cpu, .seed = seed};
    struct world_description blank;
    stress_map(&blank, &scratch->model);
    if (!world_load(scratch, &blank, error))
        return false;
    m.mode = (enum stress_mode)stress_below(&m.random, STRESS_MODES);
    if (m.mode > STRESS_32_FLAT && stress_one_in(&m.random, 3))
        m.mode = stress_one_in(&m.random, 2) ? STRESS_64_KERNEL : STRESS_64_USER;
    m.trouble = stress->trouble = stress_below(&m.random, 3);
    make_controls(&m);
    make_windows(&m);
    make_segments(&m);
    make_vectors(&m);
    make_registers(&m);
    make_memory(&m);
    make_breakpoints(&m, seed);
    m.cpu->instructions = 0;
    cpu_update_paging(m.cpu, true);
    cpu_update_mode(m.cpu);
    if (!world_describe(d, m.cpu, error) || !world_add_memory(d, &scratch->memory, error))
        return false;
    d->device = seed;
    d->instructions = lengths[stress_below(&m.random, ARRAY_SIZE(lengths))];
    d->a20_off = stress_one_in(&m.random, 64);
    add_interrupts(&m, d);
    if (stress_one_in(&m.random, 3))
        d->uncounted = 1 + stress_below(&m.random, 40);
    return true;
}
