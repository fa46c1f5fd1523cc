// Page tables: rights of every kind of access with WP, SMEP, SMAP and NX, error codes, Accessed and Dirty, large pages,
// reserved bits, INVLPG, accesses across pages. 32 bits: two-level with PSE, then PAE; 64 bits: four levels.
#include "guest.h"

#define TABLES 0x200000  // directory pointers, directory of the test gigabyte, table, directories of identity and alias
#define TEST 0x40000000  // the page under test
#define FRAME 0x300000   // its frame
#define ALIAS 0x80000000 // the first megabytes again, for user code: the identity map is the supervisor's
#define P 1
#define W 2
#define U 4
#define A 0x20
#define D 0x40
#define PS 0x80
#define G 0x100
#define NX (1ull << 63)

static const char *mode;
static bool wide;              // entries of 8 bytes
static u64 *directory, *table; // entries of the test page
static u8 *const frame = (u8 *)FRAME;

static u64 get(const u64 *entries, unsigned index)
{
    return wide ? entries[index] : ((const u32 *)entries)[index];
}

static void set(u64 *entries, unsigned index, u64 value)
{
    if (wide)
        entries[index] = value;
    else
        ((u32 *)entries)[index] = (u32)value;
    write_cr3(read_cr3());
}

static unsigned directory_index(void)
{
    return wide ? 0 : TEST >> 22;
}

#define DI IF64("%rcx", "%ecx")
#define TEST_ADDRESS "mov $0x40000000,%ecx\n"
SNIPPET(read_test, TEST_ADDRESS "mov 8(" DI "),%eax");
SNIPPET(write_test, TEST_ADDRESS "movl $1,8(" DI ")");
SNIPPET(modify_test, TEST_ADDRESS "orl $1,8(" DI ")");
SNIPPET(execute_test, TEST_ADDRESS "call *" DI);
SNIPPET(read_ac, TEST_ADDRESS "stac\nmov 8(" DI "),%eax\nclac");
SNIPPET(write_ac, TEST_ADDRESS "stac\nmovl $1,8(" DI ")\nclac");
SNIPPET(execute_ac, TEST_ADDRESS "stac\ncall *" DI "\nclac");
SNIPPET(load_from_ldt, "mov $0x58,%eax\nlldt %ax\nmov $0x0c,%eax\nmov %eax,%fs");
SNIPPET(load_from_ldt_ac, "mov $0x58,%eax\nlldt %ax\nmov $0x0c,%eax\nstac\nmov %eax,%fs\nclac");
SNIPPET(read_cross, TEST_ADDRESS "mov 0xffe(" DI "),%eax");
SNIPPET(write_cross, TEST_ADDRESS "movl $0x44332211,0xffe(" DI ")");
SNIPPET(cmpxchg_test, TEST_ADDRESS "mov $0x55,%eax\nmov $0x77,%edx\nlock cmpxchg %edx,8(" DI ")");
SNIPPET(read_last, "mov $0x401ffff0,%ecx\nmov (" DI "),%eax");
SNIPPET(write_last, "mov $0x401ffff0,%ecx\nmovl $0x1234,(" DI ")\nmov (" DI "),%eax");
SNIPPET(bad_pdpte, "mov $0x206000,%eax\nmov %" IF64("rax", "eax") ",%cr3");

static word attempt_aliased(const void *code)
{
    word *sp = (word *)user_stack_top;
    *--sp = (word)user_return + ALIAS;
    return attempt_user_at((word)code + ALIAS, USER_CODE, (word)sp + ALIAS, USER_DATA, 2);
}

static void clear_ac(void)
{
    asm volatile("pushf\nandl $~0x40000,(%%" IF64("rsp", "esp") ")\npopf" : : : "memory", "cc");
}

/// ".." for no fault, else the error code; an exclamation mark when CR2 is not `address`.
static void outcome(const void *code, bool user, word address)
{
    if (user)
        attempt_aliased(code);
    else
        attempt(code);
    clear_ac();
    put(" ");
    if (trap.vector < 0)
        put("..");
    else if (trap.vector == 14) {
        put_hex(trap.error, 2);
        if (trap.cr2 != address)
            put("!");
    } else
        put("??");
}

static void rights(bool smep, bool smap, bool nx)
{
    static const u8 *const kernel[] = {read_test, write_test, execute_test};
    for (unsigned wp = 0; wp < 2; wp++)
        for (unsigned bits = 0; bits < (nx ? 32u : 16u); bits++) {
            u64 leaf = P | (bits & 1 ? W : 0) | (bits & 2 ? U : 0) | (bits & 16 ? NX : 0);
            u64 upper = P | (bits & 4 ? W : 0) | (bits & 8 ? U : 0);
            set(table, 0, FRAME | leaf);
            set(directory, directory_index(), (word)table | upper);
            write_cr0((read_cr0() & ~(word)0x10000) | (wp ? 0x10000 : 0));
            write_cr4((read_cr4() & ~(word)0x300000) | (smep ? 0x100000 : 0) | (smap ? 0x200000 : 0));
            put(mode);
            put(wp ? " WP" : " --");
            put(smep ? " SMEP" : " ----");
            put(smap ? " SMAP" : " ----");
            put(" table ");
            put(bits & 8 ? "U" : "S");
            put(bits & 4 ? "W" : "R");
            put(" page ");
            put(bits & 2 ? "U" : "S");
            put(bits & 1 ? "W" : "R");
            put(bits & 16 ? "N:" : "X:");
            for (unsigned i = 0; i < 3; i++)
                outcome(kernel[i], false, i < 2 ? TEST + 8 : TEST);
            put(" |");
            for (unsigned i = 0; i < 3; i++)
                outcome(kernel[i], true, i < 2 ? TEST + 8 : TEST);
            if (smap) {
                put(" | AC");
                outcome(read_ac, false, TEST + 8);
                outcome(write_ac, false, TEST + 8);
                outcome(execute_ac, false, TEST);
            }
            write_cr4(read_cr4() & ~(word)0x300000);
            end_line();
        }
    write_cr0(read_cr0() | 0x10000);
}

static void fresh(u64 leaf, u64 upper);

static void begin_line(const char *name)
{
    put(mode);
    put(", ");
    put(name);
    put(":");
}

/// Descriptor tables are read with supervisor rights that AC does not widen (SDM vol. 3, sec. 4.6.1).
static void implicit(void)
{
    set_segment(FREE_SELECTOR, TEST, 0xfff, 0x82, 0);
    *(u64 *)(frame + 8) = 0x00cf92000000ffff | 1ull << 40; // flat data, accessed
    for (unsigned i = 0; i < 4; i++) {
        bool user = i & 1, smap = i & 2;
        fresh(P | W | (user ? U : 0), P | W | (user ? U : 0));
        write_cr4((read_cr4() & ~(word)0x300000) | (smap ? 0x200000 : 0));
        begin_line(smap   ? user ? "LDT in a user page, SMAP" : "LDT in a supervisor page, SMAP"
                   : user ? "LDT in a user page"
                          : "LDT in a supervisor page");
        outcome(load_from_ldt, false, TEST + 8);
        if (smap) {
            put(" AC");
            outcome(load_from_ldt_ac, false, TEST + 8);
        }
        write_cr4(read_cr4() & ~(word)0x300000);
        end_line();
    }
    asm volatile("lldt %w0" : : "r"(0));
}

/// A walk that faults may have set Accessed bits above the entry at fault, or not (SDM vol. 3, sec. 4.8): not shown.
static void show_entries(const char *name)
{
    begin_line(name);
    u64 upper = get(directory, directory_index());
    if (trap.vector >= 0) {
        put_field("trap", (u32)trap.vector, 2);
        put_field("e", trap.error, 4);
        put_field("cr2", trap.cr2, 8);
        upper &= ~(u64)A;
    }
    put_field("directory", upper, 16);
    put_field("table", get(table, 0), 16);
    end_line();
}

static void fresh(u64 leaf, u64 upper)
{
    set(table, 0, FRAME | leaf);
    set(directory, directory_index(), (word)table | upper);
}

static void accessed_and_dirty(void)
{
    static const struct {
        const char *name;
        const u8 *code;
        u64 leaf, upper;
        bool user;
    } rows[] = {
        {"read sets Accessed", read_test, P | W, P | W, false},
        {"write sets Dirty", write_test, P | W, P | W, false},
        {"read and write sets Dirty", modify_test, P | W, P | W, false},
        {"failing compare sets Dirty", cmpxchg_test, P | W, P | W, false},
        {"fetch sets Accessed", execute_test, P | W, P | W, false},
        {"refused write sets nothing in the page", write_test, P, P | W, false},
        {"refused user read", read_test, P | W, P | W | U, true},
        {"missing page", read_test, 0, P | W, false},
        {"missing page written", write_test, 0, P | W, false},
        {"missing table", read_test, P | W, 0, false},
        {"missing page for a user", read_test, 0, P | W | U, true},
        {"missing page executed", execute_test, 0, P | W, false},
    };
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        fresh(rows[i].leaf, rows[i].upper);
        if (rows[i].user)
            attempt_aliased(rows[i].code);
        else
            attempt(rows[i].code);
        show_entries(rows[i].name);
    }
}

static void across(void)
{
    for (unsigned i = 0; i < 3; i++) {
        static const char *const names[] = {"second page missing", "second page read-only", "both there"};
        static const u64 second[] = {0, P, P | W};
        fresh(P | W, P | W);
        set(table, 1, (FRAME + 0x1000) | second[i]);
        for (unsigned j = 0; j < 8; j++)
            frame[0xffc + j] = (u8)(0xa0 + j);
        begin_line(names[i]);
        word ax = attempt(read_cross);
        put_field("read", trap.vector < 0 ? ax : trap.error, 8);
        put_field("cr2", trap.cr2, 8);
        attempt(write_cross);
        put_field("write", trap.vector < 0 ? 0 : trap.error, 8);
        put_field("cr2", trap.cr2, 8);
        put_field("bytes", *(u32 *)(frame + 0xffc), 8);
        put_field("and", *(u32 *)(frame + 0x1000), 8);
        put_field("table", get(table, 0) & (trap.vector < 0 ? 0xfff : 0xfff & ~D), 3);
        put_field("and", get(table, 1) & 0xfff, 3);
        end_line();
    }
    set(table, 1, 0);
}

static void invalidate(void)
{
    volatile u32 *test = (u32 *)(TEST + 16), *one = (u32 *)(FRAME + 16), *two = (u32 *)(FRAME + 0x2010);
    *one = 0x11111111;
    *two = 0x22222222;
    fresh(P | W, P | W);
    begin_line("INVLPG");
    put_field("before", *test, 8);
    if (wide)
        table[0] = (FRAME + 0x2000) | P | W;
    else
        *(u32 *)table = (FRAME + 0x2000) | P | W;
    asm volatile("invlpg (%0)" : : "r"(TEST + 0x800) : "memory");
    put_field("after", *test, 8);
    *test = 0x33333333;
    put_field("frame", *two, 8);
    end_line();
    // A large page with the same frames: its translation must go whichever of its addresses INVLPG names.
    write_cr4(read_cr4() | 0x10);
    set(directory, directory_index(), (wide ? FRAME & ~0x1fffff : FRAME & ~0x3fffff) | P | W | PS);
    u32 here = wide ? 0x100010 : 0x300010;
    begin_line("large page");
    volatile u32 *large = (u32 *)(TEST + (word)here);
    put_field("before", *large, 8);
    if (wide)
        directory[directory_index()] = 0x400000 | P | W | PS;
    else
        ((u32 *)directory)[directory_index()] = 0x400000 | P | W | PS;
    asm volatile("invlpg (%0)" : : "r"(TEST + 0x1000) : "memory");
    *(volatile u32 *)(word)(0x400000 + here) = 0x44444444;
    put_field("after", *large, 8);
    end_line();
    begin_line("large page entries");
    set(directory, directory_index(), 0x400000 | P | W | PS);
    word ax = attempt(read_last);
    put_field("read", ax, 8);
    put_field("entry", get(directory, directory_index()), 16);
    ax = attempt(write_last);
    put_field("write", ax, 8);
    put_field("entry", get(directory, directory_index()), 16);
    end_line();
    // Global: gone when CR4.PGE changes.
    fresh(P | W | G, P | W);
    write_cr4(read_cr4() | 0x80);
    begin_line("global page");
    put_field("before", *test, 8);
    if (wide)
        table[0] = (FRAME + 0x2000) | P | W | G;
    else
        *(u32 *)table = (FRAME + 0x2000) | P | W | G;
    write_cr4(read_cr4() & ~(word)0x80);
    put_field("after PGE", *test, 8);
    end_line();
}

static void reserved(bool nx)
{
    set(directory, directory_index(), (wide ? 0x2000 : 0x200000) | P | W | PS);
    attempt(read_test);
    show_entries("reserved bit in a large page");
    set(directory, directory_index(), (wide ? 0x2000 : 0x200000) | W | PS);
    attempt(write_test);
    show_entries("reserved bit in a missing page");
    if (wide) {
        fresh(P | W | 1ull << 51, P | W);
        attempt(write_test);
        show_entries("reserved bit 51 in a page");
        fresh(P | W, P | W | 1ull << 51);
        attempt(read_test);
        show_entries("reserved bit 51 in a table");
        fresh(P | W | U | 1ull << 51, P | W | U);
        attempt_aliased(read_test);
        show_entries("reserved bit 51 for a user");
        if (nx) {
            write_msr(0xc0000080, read_msr(0xc0000080) & ~0x800ull);
            fresh(P | W | NX, P | W);
            attempt(read_test);
            show_entries("NX without NXE");
            attempt(execute_test);
            show_entries("fetch with NX without NXE");
            write_msr(0xc0000080, read_msr(0xc0000080) | 0x800);
        }
    }
}

static void all(const char *title, bool nx)
{
    mode = title;
    frame[0] = 0xc3; // RET
    rights(false, false, nx);
    rights(true, false, nx);
    rights(false, true, nx);
    rights(true, true, nx);
    implicit();
    accessed_and_dirty();
    across();
    invalidate();
    reserved(nx);
}

#ifdef __x86_64__
static void enter(void)
{
    u64 *pointers = (u64 *)0x101000;
    wide = true;
    directory = (u64 *)(TABLES + 0x1000);
    table = (u64 *)(TABLES + 0x2000);
    u64 *alias = (u64 *)(TABLES + 0x3000);
    alias[0] = P | W | U | PS;
    pointers[2] = (word)alias | P | W | U;
    pointers[1] = (word)directory | P | W | U;
    u64 *low = (u64 *)0x102000;
    for (unsigned i = 0; i < 512; i++)
        low[i] &= ~(u64)U;
    write_msr(0xc0000080, read_msr(0xc0000080) | 0x800);
    write_cr3(read_cr3());
}

static void gigabyte(void)
{
    if (!(cpuid(0x80000001, 0).d & 1 << 26)) {
        put("no 1 GiB pages\n");
        return;
    }
    u64 *pointers = (u64 *)0x101000;
    pointers[1] = P | W | PS;
    write_cr3(read_cr3());
    *(volatile u32 *)0x234567 = 0x1badcafe;
    put("1 GiB page:");
    put_field("read", *(volatile u32 *)(TEST + 0x234567), 8);
    put_field("entry", pointers[1], 16);
    *(volatile u32 *)(TEST + 0x234567) = 1;
    put_field("written", pointers[1], 16);
    end_line();
    pointers[1] = 0x2000 | P | W | PS;
    write_cr3(read_cr3());
    attempt(read_test);
    put("reserved bit in a 1 GiB page:");
    put_field("trap", (u32)trap.vector, 2);
    put_field("e", trap.error, 4);
    end_line();
}

int main(void);
int main(void)
{
    enter();
    all("four levels", true);
    gigabyte();
    return 0;
}
#else
static void enter_two_level(void)
{
    u32 *pages = (u32 *)TABLES;
    wide = false;
    directory = (u64 *)TABLES;
    table = (u64 *)(TABLES + 0x2000);
    for (unsigned i = 0; i < 4; i++)
        pages[i] = i << 22 | P | W | PS;
    pages[ALIAS >> 22] = P | W | U | PS;
    write_cr4(read_cr4() | 0x10);
    write_cr3(TABLES);
    write_cr0(read_cr0() | 0x80000000);
}

static void enter_pae(void)
{
    write_cr0(read_cr0() & 0x7fffffff);
    u64 *pointers = (u64 *)TABLES, *low = (u64 *)(TABLES + 0x4000), *alias = (u64 *)(TABLES + 0x3000);
    for (unsigned i = 0; i < 0x5000 / 8; i++)
        pointers[i] = 0;
    wide = true;
    directory = (u64 *)(TABLES + 0x1000);
    table = (u64 *)(TABLES + 0x2000);
    for (unsigned i = 0; i < 8; i++)
        low[i] = (u64)i << 21 | P | W | PS;
    alias[0] = P | W | U | PS;
    pointers[0] = (word)low | P;
    pointers[1] = (word)directory | P;
    pointers[2] = (word)alias | P;
    write_cr4(read_cr4() | 0x20);
    write_msr(0xc0000080, read_msr(0xc0000080) | 0x800);
    write_cr3(TABLES);
    write_cr0(read_cr0() | 0x80000000);
}

int main(void);
int main(void)
{
    enter_two_level();
    all("two levels", false);
    enter_pae();
    all("PAE", true);
    *(u64 *)0x206000 = (TABLES + 0x4000) | P | W; // W is reserved in a PDPTE
    probe_not_tcg("reserved bit in a PDPTE", bad_pdpte);
    return 0;
}
#endif
