// What a change of address space costs: two spaces share the code (global) and have data pages of their own; each turn
// loads CR3 and touches a number of pages. Prints time-stamp ticks a turn (0.5 ns each in doppel by default) for no CR3
// write at all, plain writes, and PCIDs with and without "keep".
#include "guest.h"

#define TABLES 0x400000
#define DATA UINT64_C(0x40000000)
#define P 1
#define W 2
#define A 0x20
#define D 0x40
#define G 0x100
#define TURNS 4000

static u64 spaces[2];

static u64 new_table(void)
{
    static u64 next = TABLES;
    u64 *table = (u64 *)next;
    for (unsigned i = 0; i < 512; i++)
        table[i] = 0;
    next += 4096;
    return next - 4096;
}

/// A space like the present one, with 512 pages of its own at DATA.
static u64 new_space(unsigned number)
{
    const u64 *old_top = (u64 *)(read_cr3() & ~(u64)0xfff), *old_pointers = (u64 *)(old_top[0] & ~(u64)0xfff);
    u64 *top = (u64 *)new_table(), *pointers = (u64 *)new_table(), *directory = (u64 *)new_table(),
        *table = (u64 *)new_table();
    top[0] = (word)pointers | P | W | A;
    pointers[0] = old_pointers[0];
    pointers[1] = (word)directory | P | W | A;
    directory[0] = (word)table | P | W | A;
    for (unsigned i = 0; i < 512; i++)
        table[i] = (0x800000 + number * 0x200000 + i * 4096) | P | W | A | D;
    return (word)top;
}

static u64 ticks(void)
{
    u32 low, high;
    asm volatile("lfence\nrdtsc" : "=a"(low), "=d"(high));
    return (u64)high << 32 | low;
}

static void __attribute__((noinline)) touch(unsigned pages, bool write)
{
    for (unsigned i = 0; i < pages; i++) {
        volatile u64 *word_of_page = (u64 *)(DATA + i * 4096ull + 8 * (i & 63));
        u64 value = *word_of_page;
        if (write)
            *word_of_page = value + 1;
    }
}

/// Ticks of one turn. `flags` go with CR3; 0xffff: CR3 is not written.
static u32 measure(unsigned pages, u64 flags, u64 pcids)
{
    u64 best = ~0ull;
    for (unsigned repeat = 0; repeat < 3; repeat++) {
        u64 begin = ticks();
        for (unsigned turn = 0; turn < TURNS; turn++) {
            if (flags != 0xffff)
                write_cr3(spaces[turn & 1] | (pcids ? 1 + (turn & 1) : 0) | flags);
            touch(pages, true);
        }
        u64 time = ticks() - begin;
        best = time < best ? time : best;
    }
    return (u32)(best / TURNS);
}

int main(void);
int main(void)
{
    static const unsigned counts[] = {0, 8, 32, 128, 400};
    u64 *low = (u64 *)0x102000;
    bool pcid = cpuid(1, 0).c & 1 << 17;
    for (unsigned i = 0; i < 512; i++)
        low[i] |= G;
    write_cr4(read_cr4() | 0x80);
    spaces[0] = new_space(0);
    spaces[1] = new_space(1);
    write_cr3(spaces[0]);
    for (unsigned i = 0; i < COUNT_OF(counts); i++) {
        put("pages ");
        put_number(counts[i]);
        put(": none ");
        put_number(measure(counts[i], 0xffff, 0));
        put(", CR3 ");
        put_number(measure(counts[i], 0, 0));
        if (pcid) {
            write_cr4(read_cr4() | 1 << 17);
            put(", PCID ");
            put_number(measure(counts[i], 0, 1));
            put(", PCID keep ");
            put_number(measure(counts[i], 1ull << 63, 1));
            write_cr3(spaces[0]);
            write_cr4(read_cr4() & ~(word)(1 << 17));
        }
        end_line();
    }
    return 0;
}
