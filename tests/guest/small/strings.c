// String instructions: repetition over faulting pages with registers that tell where it stopped, overlap in both
// directions, DF, counts of zero, address sizes, port strings.
#include "guest.h"

#define R(n) "%" IF64("r", "e") n
#define SMALL 0x50000
#define HOLE 0x400000 // the page behind is missing

struct registers {
    word si, di, cx, ax, flags;
};
struct registers string_in, string_out; // named in assembly
static bool faulted;

static bool look(struct frame *frame)
{
    string_out = (struct registers){frame->si, frame->di, frame->cx, frame->ax, frame->flags};
    faulted = true;
    return false;
}

#define STRING(name, code)                                                                                                                             \
    SNIPPET(                                                                                                                                           \
        name,                                                                                                                                          \
        "mov string_in," R("si") "\nmov string_in+" IF64("8", "4") "," R("di") "\nmov string_in+" IF64("16", "8") "," R("cx") "\nmov string_in+" IF64( \
            "24",                                                                                                                                      \
            "12") "," R("ax") "\n" code                                                                                                                \
                              "\nmov " R("si") ",string_out\nmov " R("di") ",string_out+" IF64("8", "4") "\nmov " R("cx") ",string_out+" IF64(         \
                                  "16",                                                                                                                \
                                  "8") "\nmov " R("ax") ",string_out+" IF64("24",                                                                      \
                                                                            "12") "\npushf\npop " R("ax") "\nmov " R("ax") ",string_out+" IF64("32",   \
                                                                                                                                               "16") "\ncld")
STRING(movsb, "rep movsb");
STRING(movsw, "rep movsw");
STRING(movsl, "rep movsl");
STRING(stosb, "rep stosb");
STRING(stosl, "rep stosl");
STRING(lodsb, "rep lodsb");
STRING(cmpsb, "repe cmpsb");
STRING(cmpsl, "repe cmpsl");
STRING(scasb, "repne scasb");
STRING(scasb_e, "repe scasb");
STRING(movsb_down, "std\nrep movsb");
STRING(movsl_down, "std\nrep movsl");
STRING(stosb_down, "std\nrep stosb");
STRING(one_movsb, "movsb");
STRING(one_lodsl, "lodsl");
STRING(one_stosw, "stosw");
STRING(movsb_a, IF64("addr32", "") " rep movsb");
STRING(stosb_16, IF64("addr32", "addr16") " rep stosb");
STRING(outsb, "mov $0xe9,%edx\nrep outsb");
STRING(insb, "mov $0x3fb,%edx\ninsb");

static u32 sum(u32 from, u32 length)
{
    u32 total = 0;
    for (u32 i = 0; i < length; i++)
        total = total * 31 + *(volatile u8 *)(word)(from + i);
    return total;
}

static void fill(u32 from, u32 length)
{
    for (u32 i = 0; i < length; i++)
        *(volatile u8 *)(word)(from + i) = (u8)(i * 7 + (i >> 8));
}

static void string(const char *name, const void *code, word si, word di, word cx, word ax, u32 sum_from)
{
    string_in = (struct registers){si, di, cx, ax, 0};
    string_out = (struct registers){0};
    faulted = false;
    trap_hook = look;
    attempt(code);
    trap_hook = 0;
    put(name);
    put(":");
    put_field("si", string_out.si, 8);
    put_field("di", string_out.di, 8);
    put_field("cx", string_out.cx, BITS / 4);
    put_field("ax", string_out.ax, 8);
    put_field("flags", string_out.flags & 0xcd5, 3);
    if (faulted) {
        put_field("trap", (u32)trap.vector, 2);
        put_field("e", trap.error, 4);
        put_field("cr2", trap.cr2, 8);
    }
    if (sum_from)
        put_field("sum", sum(sum_from & ~7u, 0x800), 8);
    end_line();
}

static void plain(void)
{
    fill(SMALL, 0x2000);
    string("MOVSB", movsb, SMALL, SMALL + 0x1000, 0x333, 1, SMALL + 0x1000);
    string("MOVSB none", movsb, SMALL, SMALL + 0x1000, 0, 1, SMALL + 0x1000);
    string("MOVSB over itself, 1 up", movsb, SMALL, SMALL + 1, 0x400, 1, SMALL);
    fill(SMALL, 0x2000);
    string("MOVSB over itself, 3 up", movsb, SMALL, SMALL + 3, 0x400, 1, SMALL);
    fill(SMALL, 0x2000);
    string("MOVSB over itself, 3 down", movsb, SMALL + 3, SMALL, 0x400, 1, SMALL);
    fill(SMALL, 0x2000);
    string("MOVSW over itself, 1 up", movsw, SMALL, SMALL + 1, 0x200, 1, SMALL);
    fill(SMALL, 0x2000);
    string("MOVSL over itself, 2 up", movsl, SMALL, SMALL + 2, 0x100, 1, SMALL);
    fill(SMALL, 0x2000);
    string("MOVSL over itself, 7 up", movsl, SMALL, SMALL + 7, 0x100, 1, SMALL);
    fill(SMALL, 0x2000);
    string("MOVSB downwards", movsb_down, SMALL + 0x3ff, SMALL + 0x13ff, 0x400, 1, SMALL + 0x1000);
    fill(SMALL, 0x2000);
    string("MOVSB downwards over itself", movsb_down, SMALL + 0x3ff, SMALL + 0x3fd, 0x3f0, 1, SMALL);
    fill(SMALL, 0x2000);
    string("MOVSL downwards over itself", movsl_down, SMALL + 0x3fc, SMALL + 0x3ff, 0xf0, 1, SMALL);
    string("STOSB", stosb, 0, SMALL, 0x123, 0x5a, SMALL);
    string("STOSL odd", stosl, 0, SMALL + 3, 0x50, 0x12345678, SMALL);
    string("STOSB downwards", stosb_down, 0, SMALL + 0x7f, 0x40, 0xa5, SMALL);
    string("LODSB", lodsb, SMALL, 0, 0x40, 0x11111111, 0);
    fill(SMALL, 0x2000);
    for (u32 i = 0; i < 0x400; i++)
        *(u8 *)(word)(SMALL + 0x1000 + i) = *(u8 *)(word)(SMALL + i);
    string("CMPSB equal", cmpsb, SMALL, SMALL + 0x1000, 0x400, 0, 0);
    *(u8 *)(SMALL + 0x1234) ^= 0x80;
    string("CMPSB different", cmpsb, SMALL, SMALL + 0x1000, 0x400, 0, 0);
    string("CMPSL different", cmpsl, SMALL, SMALL + 0x1000, 0x100, 0, 0);
    string("CMPSB none", cmpsb, SMALL, SMALL + 0x1000, 0, 0, 0);
    string("SCASB finds", scasb, 0, SMALL, 0x400, 0x77, 0);
    string("SCASB does not", scasb_e, 0, SMALL, 0x400, 0x00, 0);
    string("one MOVSB", one_movsb, SMALL, SMALL + 0x1000, 5, 0, SMALL + 0x1000);
    string("one LODSL", one_lodsl, SMALL, 0, 5, 0, 0);
    string("one STOSW", one_stosw, 0, SMALL, 5, 0xbeef, SMALL);
    string("MOVSB with 32-bit addresses", movsb_a, SMALL, SMALL + 0x1000, 0x10, 0, SMALL + 0x1000);
#ifdef __x86_64__
    string("32-bit count in 64 bits", movsb_a, 0x1200000000 + SMALL, 0x3400000000 + SMALL + 0x1000, 0x5600000010, 0,
           SMALL + 0x1000);
    string("32-bit count of none", stosb_16, 0, 0x3400000000 + SMALL, 0x5600000000, 0, 0);
#else
    string("16-bit addresses wrap", stosb_16, 0, 0x1230ffe, 0x4560002, 0x3c, 0);
#endif
    string("OUTSB", outsb, SMALL, 0, 3, 0, 0);
    string("INSB", insb, 0, SMALL, 3, 0, SMALL);
}

static void faults(void)
{
    fill(HOLE - 0x1000, 0x1000);
    string("MOVSB into a hole", movsb, SMALL, HOLE - 0x333, 0x1000, 1, HOLE - 0x800);
    string("MOVSB out of a hole", movsb, HOLE - 0x123, SMALL, 0x1000, 1, SMALL);
    string("MOVSL into a hole, across", movsl, SMALL, HOLE - 0x102, 0x1000, 1, HOLE - 0x800);
    string("MOVSL out of a hole, across", movsl, HOLE - 0x101, SMALL, 0x1000, 1, SMALL);
    string("STOSB into a hole", stosb, 0, HOLE - 0x777, 0x100000, 0x42, HOLE - 0x800);
    string("STOSL into a hole", stosl, 0, HOLE - 0x777, 0x100000, 0x42434445, HOLE - 0x800);
    string("CMPSB into a hole", cmpsb, HOLE - 0x20, HOLE - 0x20, 0x100, 0, 0);
    string("SCASB into a hole", scasb, 0, HOLE - 0x10, 0x100, 0x99, 0);
    string("LODSB out of a hole", lodsb, HOLE - 5, 0, 0x100, 0, 0);
    string("MOVSB down out of a hole", movsb_down, HOLE + 0x1ff010, SMALL + 0x7ff, 0x100, 0, 0);
    string("none in a hole", stosb, 0, HOLE + 5, 0, 0, 0);
    string("both in holes", movsb, HOLE + 0x10, HOLE + 0x1010, 4, 0, 0);
}

int main(void);
int main(void)
{
#ifdef __x86_64__
    ((u64 *)0x102000)[HOLE >> 21] = 0;
    write_cr3(read_cr3());
#else
    u32 *pages = (u32 *)0x100000;
    for (unsigned i = 0; i < 1024; i++)
        pages[i] = i << 22 | 0x87;
    pages[HOLE >> 22] = 0;
    write_cr4(read_cr4() | 0x10);
    write_cr3(0x100000);
    write_cr0(read_cr0() | 0x80000000);
#endif
    plain();
    faults();
    return 0;
}
