// Changes of address space and what invalidates: CR3 writes, INVLPG, global pages, large pages that are split, Accessed
// and Dirty bits that are cleared, and PCIDs with INVPCID. Every line shows what the manual promises after an
// invalidation (SDM vol. 3, sec. 4.10.4); what a processor may keep or forget as it likes is not shown.
#include "guest.h"

#define TEST UINT64_C(0x40000000)   // local pages
#define LARGE UINT64_C(0x40200000)  // a large page or a table
#define SHARED UINT64_C(0x80000000) // global pages, the same tables in all spaces
#define FRAMES 0x600000             // of 4 KiB each, marked with their number
#define TABLES 0x400000
#define SPACES 3
#define P 1
#define W 2
#define U 4
#define A 0x20
#define D 0x40
#define PS 0x80
#define G 0x100
#define KEEP (1ull << 63)
#define CR4_PGE 0x80
#define CR4_PCIDE 0x20000

static u64 top[SPACES];
static u64 *table_of[SPACES], *directory_of[SPACES], *shared;
static bool pcids;

static u64 *new_table(void)
{
    static u64 next = TABLES;
    u64 *table = (u64 *)next;
    for (unsigned i = 0; i < 512; i++)
        table[i] = 0;
    next += 4096;
    return table;
}

static u64 frame(unsigned number)
{
    return FRAMES + number * 4096ull;
}

static void make_spaces(void)
{
    const u64 *old_top = (u64 *)(read_cr3() & ~(u64)0xfff), *old_pointers = (u64 *)(old_top[0] & ~(u64)0xfff);
    u64 *shared_directory = new_table();
    shared = new_table();
    shared_directory[0] = (word)shared | P | W;
    for (unsigned i = 0; i < SPACES; i++) {
        u64 *pointers = new_table(), *own_top = new_table();
        directory_of[i] = new_table();
        table_of[i] = new_table();
        own_top[0] = (word)pointers | P | W;
        pointers[0] = old_pointers[0];
        pointers[1] = (word)directory_of[i] | P | W;
        pointers[2] = (word)shared_directory | P | W;
        directory_of[i][0] = (word)table_of[i] | P | W;
        top[i] = (word)own_top;
    }
    for (unsigned i = 0; i < 64; i++)
        *(u64 *)frame(i) = i;
    // The large page at 8 MiB and its neighbour.
    for (unsigned i = 0; i < 1024; i++)
        *(u64 *)(0x800000 + i * 4096ull) = 0x800 + i;
}

/// The number of the frame that is found at a linear address. Not to be moved over changes of tables, and back.
static u32 at(u64 linear)
{
    u32 value;
    asm volatile("movl (%1), %0" : "=r"(value) : "r"(linear) : "memory");
    return value;
}

static void write_at(u64 linear, u32 value)
{
    asm volatile("movl %0, (%1)" : : "r"(value), "r"(linear) : "memory");
}

static void invlpg(u64 linear)
{
    asm volatile("invlpg (%0)" : : "r"(linear) : "memory");
}

static void show(const char *name, u32 before, u32 after)
{
    put(name);
    put(":");
    put_field("before", before, 3);
    put_field("after", after, 3);
    end_line();
}

/// Space 0 and 1 with their own frame at TEST.
static void fresh(void)
{
    for (unsigned i = 0; i < SPACES; i++) {
        table_of[i][0] = frame(i) | P | W;
        directory_of[i][1] = 0;
    }
    shared[0] = frame(8) | P | W | G;
    write_cr4(read_cr4() & ~(u64)CR4_PGE);
    write_cr4(read_cr4() | CR4_PGE);
    write_cr3(top[0]);
}

SNIPPET(write_second, "mov $0x40201008,%ecx\nmovl $2,(%rcx)");
SNIPPET(read_third, "mov $0x40202000,%ecx\nmov (%rcx),%eax");
SNIPPET(write_test, "mov $0x40000008,%ecx\nmovl $2,(%rcx)");

// ---- Without PCIDs ----------------------------------------------------------------------------------------------
static void cr3_writes(void)
{
    fresh();
    u32 before = at(TEST);
    table_of[0][0] = frame(5) | P | W;
    write_cr3(top[0]);
    show("CR3 with the same value", before, at(TEST));
    write_cr3(top[1]);
    show("CR3 of another space", 5, at(TEST));
    table_of[0][0] = frame(6) | P | W;
    write_cr3(top[0]);
    show("CR3 back to an edited space", 5, at(TEST));
}

static void global_pages(void)
{
    fresh();
    u32 before = at(SHARED);
    shared[0] = frame(9) | P | W | G;
    invlpg(SHARED + 0x123);
    show("INVLPG of a global page", before, at(SHARED));
    write_cr3(top[1]);
    before = at(SHARED);
    shared[0] = frame(10) | P | W | G;
    invlpg(SHARED);
    write_cr3(top[0]);
    show("INVLPG of a global page in another space", before, at(SHARED));
    before = at(SHARED);
    shared[0] = frame(11) | P | W | G;
    write_cr4(read_cr4() & ~(u64)CR4_PGE);
    show("global page, PGE cleared", before, at(SHARED));
    shared[0] = frame(12) | P | W | G;
    write_cr3(read_cr3());
    show("global page without PGE, CR3 written", 11, at(SHARED));
    write_cr4(read_cr4() | CR4_PGE);
    before = at(SHARED);
    shared[0] = frame(13) | P | W;
    write_cr4(read_cr4() & ~(u64)CR4_PGE);
    write_cr4(read_cr4() | CR4_PGE);
    at(SHARED);
    shared[0] = frame(14) | P | W; // not global now
    write_cr3(read_cr3());
    show("page that was global, CR3 written", before, at(SHARED));
    before = at(SHARED);
    shared[0] = frame(15) | P | W | G;
    write_cr0(read_cr0() & ~(word)0x10000);
    invlpg(SHARED);
    show("INVLPG without WP", before, at(SHARED));
    write_cr0(read_cr0() | 0x10000);
}

/// A large page becomes small ones and the other way round; one INVLPG anywhere in a large page is enough.
static void large_pages(void)
{
    u64 *table = new_table();
    fresh();
    directory_of[0][1] = 0x800000 | P | W | PS;
    for (unsigned i = 0; i < 512; i++)
        table[i] = (0xa00000 + i * 4096) | P | W;
    u32 before = at(LARGE) + at(LARGE + 0x7000) + at(LARGE + 0x1ff000);
    directory_of[0][1] = (word)table | P | W;
    invlpg(LARGE + 0xabcde);
    show("large page split", before, at(LARGE) + at(LARGE + 0x7000) + at(LARGE + 0x1ff000));
    directory_of[0][1] = 0x800000 | P | W | PS;
    write_cr3(top[0]);
    show("small pages joined", 0, at(LARGE) + at(LARGE + 0x7000) + at(LARGE + 0x1ff000));
    directory_of[0][1] = 0xa00000 | P | W | PS;
    invlpg(LARGE + 0x1fffff);
    show("large page moved", 0, at(LARGE) + at(LARGE + 0x7000) + at(LARGE + 0x1ff000));
    // Split with one page read-only, one missing.
    table[1] = 0xa01000 | P;
    table[2] = 0;
    write_at(LARGE + 0x1008, 1);
    directory_of[0][1] = (word)table | P | W;
    invlpg(LARGE);
    probe("write to a page that the split made read-only", write_second);
    probe("read of a page that the split left out", read_third);
    put("entries of the split:");
    put_field("page", table[0] & 0xfff, 3);
    put_field("page", table[1] & 0xfff, 3);
    end_line();
}

static void accessed_and_dirty(void)
{
    fresh();
    write_at(TEST + 8, 1);
    table_of[0][0] &= ~(u64)(A | D);
    invlpg(TEST);
    put("Accessed and Dirty after INVLPG:");
    put_field("cleared", table_of[0][0] & 0xfff, 3);
    at(TEST);
    put_field("read", table_of[0][0] & 0xfff, 3);
    write_at(TEST + 8, 2);
    put_field("written", table_of[0][0] & 0xfff, 3);
    table_of[0][0] &= ~(u64)(A | D);
    write_cr3(top[0]);
    write_at(TEST + 8, 2);
    put_field("CR3, written", table_of[0][0] & 0xfff, 3);
    end_line();
    // Each space has its own bits.
    write_cr3(top[1]);
    put("bits of another space:");
    put_field("before", table_of[1][0] & 0xfff, 3);
    write_at(TEST + 8, 3);
    put_field("after", table_of[1][0] & 0xfff, 3);
    end_line();
    write_cr3(top[0]);
    table_of[0][0] = frame(0) | P;
    invlpg(TEST);
    probe("write after INVLPG of a page made read-only", write_test);
    table_of[0][0] = 0;
    invlpg(TEST);
    probe("write after INVLPG of a page taken away", write_test);
    table_of[0][0] = frame(0) | P | W;
    probe("write to a page given without INVLPG", write_test);
}

// ---- With PCIDs -------------------------------------------------------------------------------------------------
struct descriptor {
    u64 pcid, linear;
} invpcid_operand;

static void invpcid(u64 type, u64 pcid, u64 linear)
{
    invpcid_operand = (struct descriptor){pcid, linear};
    asm volatile("invpcid %0, %1" : : "m"(invpcid_operand), "r"(type) : "memory");
}

static void run(unsigned space, bool keep)
{
    write_cr3(top[space] | (space + 1) | (keep ? KEEP : 0));
}

static bool none(const char *name)
{
    if (pcids)
        return false;
    put(name);
    put(": no PCID\n");
    return true;
}

static void enable(bool on)
{
    write_cr3(top[0]);
    write_cr4((read_cr4() & ~(u64)CR4_PCIDE) | (on ? CR4_PCIDE : 0));
}

static void three_spaces(void)
{
    if (none("PCID, three spaces in turn"))
        return;
    fresh();
    enable(true);
    put("PCID, three spaces in turn:");
    for (unsigned i = 0; i < 9; i++) {
        run(i * 2 % SPACES, i >= 3);
        put_field("at", at(TEST), 3);
        write_at(TEST + 16, 0x100 + i);
    }
    for (unsigned i = 0; i < SPACES; i++)
        put_field("written", *(u32 *)(frame(i) + 16), 3);
    put_field("cr3", read_cr3() - top[1], 16);
    end_line();
    enable(false);
}

/// Space 0 has entries and waits while its table is edited from space 1.
static void edited_while_waiting(const char *name, unsigned how)
{
    if (none(name))
        return;
    fresh();
    enable(true);
    run(0, false);
    u32 before = at(TEST);
    run(1, true);
    at(TEST);
    at(SHARED);
    table_of[0][0] = frame(7) | P | W;
    if (how == 5)
        shared[0] = frame(16) | P | W | G;
    switch (how) {
    case 0:
        invpcid(0, 1, TEST + 0x321);
        break;
    case 1:
        invpcid(1, 1, 0);
        break;
    case 2:
        invpcid(2, 0x123, 0);
        break;
    case 3:
        invpcid(3, 0, 0);
        break;
    case 4:
        write_cr4(read_cr4() & ~(u64)CR4_PGE);
        write_cr4(read_cr4() | CR4_PGE);
        break;
    case 5:
        invlpg(SHARED);
        invpcid(1, 1, 0);
        break;
    case 6:
        run(0, false);
        break;
    case 7:
        enable(false);
        enable(true);
        break;
    default:
        run(0, true);
        invlpg(TEST);
    }
    if (how != 6)
        run(0, true);
    show(name, before, how == 5 ? at(SHARED) : at(TEST));
    run(1, true);
    if (at(TEST) != 1)
        put("the other space is lost\n");
    enable(false);
}

/// Edited and invalidated by the space that runs.
static void edited_while_running(const char *name, unsigned type)
{
    if (none(name))
        return;
    fresh();
    enable(true);
    run(0, false);
    u32 before = at(TEST);
    table_of[0][0] = frame(7) | P | W;
    invpcid(type, 1, TEST);
    show(name, before, at(TEST));
    enable(false);
}

static void large_page_of_another(void)
{
    if (none("PCID, INVPCID into another space's large page"))
        return;
    fresh();
    enable(true);
    directory_of[0][1] = 0x800000 | P | W | PS;
    run(0, false);
    u32 before = at(LARGE + 0x5000);
    run(1, true);
    directory_of[0][1] = 0xa00000 | P | W | PS;
    invpcid(0, 1, LARGE + 0x100000);
    run(0, true);
    show("PCID, INVPCID into another space's large page", before, at(LARGE + 0x5000));
    enable(false);
}

#define INVPCID_OF(type) "mov $" type ",%eax\ninvpcid invpcid_operand,%rax"
SNIPPET(invpcid_address, INVPCID_OF("0"));
SNIPPET(invpcid_context, INVPCID_OF("1"));
SNIPPET(invpcid_all, INVPCID_OF("2"));
SNIPPET(invpcid_local, INVPCID_OF("3"));
SNIPPET(invpcid_four, INVPCID_OF("4"));
SNIPPET(invpcid_huge, "mov $0x100000000,%rax\ninvpcid invpcid_operand,%rax");
SNIPPET(invpcid_nowhere, "mov $2,%eax\nmov $0x40001000,%ecx\ninvpcid (%rcx),%rax");
SNIPPET(invpcid_across, "mov $2,%eax\nmov $0x40000ff8,%ecx\ninvpcid (%rcx),%rax");
SNIPPET(invpcid_register, ".byte 0x66,0x0f,0x38,0x82,0xc1");
SNIPPET(invpcid_lock, ".byte 0xf0,0x66,0x0f,0x38,0x82,0x01");
SNIPPET(set_wanted_cr3, "mov wanted,%rax\nmov %rax,%cr3");
SNIPPET(set_wanted_cr4, "mov wanted,%rax\nmov %rax,%cr4");
SNIPPET(clear_pg, "mov %cr0,%rax\nbtr $31,%rax\nmov %rax,%cr0");
u64 wanted;

static void probe_pcid(const char *name, const void *code, u64 pcid, u64 linear)
{
    if (none(name))
        return;
    invpcid_operand = (struct descriptor){pcid, linear};
    attempt(code);
    report(name, code, 0);
}

static void faults(void)
{
    fresh();
    table_of[0][1] = 0;
    probe_pcid("INVPCID of PCID 1 without PCIDE", invpcid_address, 1, TEST);
    probe_pcid("INVPCID of PCID 0 without PCIDE", invpcid_address, 0, TEST);
    probe_pcid("INVPCID, context 1 without PCIDE", invpcid_context, 1, TEST);
    probe_pcid("INVPCID, everything without PCIDE", invpcid_all, 1, TEST);
    if (pcids)
        enable(true);
    probe_pcid("INVPCID of an address", invpcid_address, 5, TEST);
    probe_pcid("INVPCID of an address that is not canonical", invpcid_address, 5, 1ull << 47);
    probe_pcid("INVPCID of a context", invpcid_context, 0xfff, 1ull << 47);
    probe_pcid("INVPCID with reserved bit 12", invpcid_context, 0x1000, 0);
    probe_pcid("INVPCID of everything with reserved bit 63", invpcid_all, 1ull << 63, 0);
    probe_pcid("INVPCID of what is local with reserved bit 12", invpcid_local, 1ull << 12, 0);
    probe_pcid("INVPCID of type 4", invpcid_four, 0, 0);
    probe_pcid("INVPCID of type 2 to the 32nd", invpcid_huge, 0, 0);
    probe_pcid("INVPCID with its operand nowhere", invpcid_nowhere, 0, 0);
    probe_pcid("INVPCID with half of its operand nowhere", invpcid_across, 0, 0);
    probe_pcid("INVPCID of a register", invpcid_register, 0, 0);
    probe_pcid("LOCK INVPCID", invpcid_lock, 0, 0);
    wanted = top[0] | 0xabc | KEEP;
    probe_pcid("CR3 with bit 63", set_wanted_cr3, 0, 0);
    wanted = top[0] | 1ull << 62;
    probe_pcid("CR3 with bit 62", set_wanted_cr3, 0, 0);
    probe_pcid("paging off in 64-bit code", clear_pg, 0, 0);
    if (pcids)
        enable(false);
    wanted = top[0] | KEEP;
    probe_not_tcg("CR3 with bit 63 without PCIDE", set_wanted_cr3);
    write_cr3(top[0] | 8);
    wanted = read_cr4() | CR4_PCIDE;
    probe_pcid("PCIDE with a bit in CR3", set_wanted_cr4, 0, 0);
    write_cr3(top[0]);
}

int main(void);
int main(void)
{
    static const char *const waiting[] = {"PCID, INVPCID of an address of another space",
                                          "PCID, INVPCID of another context",
                                          "PCID, INVPCID of everything",
                                          "PCID, INVPCID of everything but global pages",
                                          "PCID, PGE toggled",
                                          "PCID, INVLPG of a global page for all spaces",
                                          "PCID, CR3 without bit 63",
                                          "PCID, PCIDE toggled",
                                          "PCID, INVLPG after the switch back"};
    static const char *const running[] = {"PCID, INVPCID of an own address", "PCID, INVPCID of the own context",
                                          "PCID, INVPCID of everything by the space itself",
                                          "PCID, INVPCID of everything local by the space itself"};
    pcids = cpuid(1, 0).c & 1 << 17 && cpuid(7, 0).b & 1 << 10;
    make_spaces();
    cr3_writes();
    global_pages();
    large_pages();
    accessed_and_dirty();
    three_spaces();
    for (unsigned i = 0; i < COUNT_OF(waiting); i++)
        edited_while_waiting(waiting[i], i);
    for (unsigned i = 0; i < COUNT_OF(running); i++)
        edited_while_running(running[i], i);
    large_page_of_another();
    faults();
    return 0;
}
