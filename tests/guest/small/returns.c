// IRET and far RET to every ring: what CS and SS they take, what they leave of the data segments and flags, which error
// each broken part gives (SDM vol. 2 IRET and RET). 64 bits: to 64-bit and to compatibility code, null stacks,
// addresses that are not canonical.
#include "guest.h"

#define R(n) "%" IF64("r", "e") n
#define CODE1 0x58
#define DATA1 0x60
#define CODE2 0x68
#define DATA2 0x70
#define CONFORMING 0x78
#define CONFORMING3 0x80
#define ABSENT_CODE 0x88
#define ABSENT_STACK 0x90
#define READ_ONLY 0x98
#define STACK16 0xa0
#define BOTH 0xa8 // 64 bits: L and D
#define CODE1_64 0xb0
#define EMPTY 0x1f8

// The image of a frame, with room below for the traps that arrive on it.
static __attribute__((aligned(16))) word area[1024];
#define image (area + 1000)
word image_sp;
u32 after_cs, after_ss, after_ds, after_es, after_fs, after_gs;
word after_sp, after_flags;

// The landing place of all returns, in 32- and 64-bit code alike: INT 0x80 tells the rest.
asm(".text\nlanding: nop\nint $0x80\nhlt\n");
extern u8 landing[];
#define FROM_IMAGE(name, instruction)                                                                                  \
    SNIPPET(name, "mov image_sp," R("sp") "\n" #name "_at: " instruction);                                             \
    extern u8 name##_at[]
FROM_IMAGE(iret_word, "iretw");
FROM_IMAGE(iret_long, "iretl");
FROM_IMAGE(ret_word, "lretw");
FROM_IMAGE(ret_long, "lretl");
FROM_IMAGE(ret_release, "lretl $8");
#ifdef __x86_64__
FROM_IMAGE(iret_quad, "iretq");
FROM_IMAGE(ret_quad, "lretq");
#endif

static bool landed(struct frame *frame)
{
    if (frame->vector != 0x80)
        return false;
    after_cs = (u32)frame->cs;
    after_flags = frame->flags;
    bool outer = BITS == 64 || (frame->cs & 3);
    after_ss = outer ? (u32)frame->ss : 0;
    after_sp = outer ? frame->sp : (word)(frame + 1) - 2 * sizeof(word);
#ifdef __x86_64__
    asm volatile("mov %%ds,%0\nmov %%es,%1\nmov %%fs,%2\nmov %%gs,%3"
                 : "=r"(after_ds), "=r"(after_es), "=r"(after_fs), "=r"(after_gs));
#else
    after_ds = frame->ds, after_es = frame->es, after_fs = frame->fs, after_gs = frame->gs;
#endif
    return false;
}

/// A frame of `count` items of `bytes` each.
static void build(unsigned bytes, unsigned count, const word *items)
{
    u8 *at = (u8 *)image;
    for (unsigned i = 0; i < count; i++, at += bytes)
        for (unsigned k = 0; k < bytes; k++)
            at[k] = (u8)(k < sizeof(word) ? items[i] >> 8 * k : 0);
    image_sp = (word)image;
}

static void outcome(const char *name, const u8 *code, const u8 *at)
{
    after_cs = after_ss = 0;
    after_sp = after_flags = 0;
    trap_hook = landed;
    attempt(code);
    trap_hook = 0;
    put(name);
    put(":");
    if (trap.vector != 0x80) {
        put_field("trap", (u32)trap.vector, 2);
        put_field("e", trap.error, 4);
        put(trap.ip == (word)at ? " at the return" : " elsewhere");
        put_field("cs", trap.cs, 4);
        end_line();
    } else {
        put_field("cs", after_cs, 4);
        put_field("ss", after_ss, 4);
        if (after_sp - (word)image < 0x80)
            put_field("image+", after_sp - (word)image, 2);
        else
            put_field("sp", after_sp, BITS / 4);
        put_field("flags", after_flags & 0x3f7700, 6);
        put_field("ds", after_ds, 2);
        put_field("es", after_es, 2);
        put_field("fs", after_fs, 2);
        put_field("gs", after_gs, 2);
        end_line();
    }
}

static void set_data_segments(void)
{
    asm volatile("mov %0,%%ds\nmov %1,%%es\nmov %2,%%fs\nmov %3,%%gs"
                 :
                 : "r"(KERNEL_DATA), "r"(DATA1 | 1), "r"(CONFORMING), "r"(USER_DATA));
}

static void iret_to(const char *name, word cs, word ss, word flags)
{
    word items[] = {(word)landing, cs, flags, (word)user_stack_top - 64, ss};
    set_data_segments();
    build(sizeof(word), 5, items);
    outcome(name, IF64(iret_quad, iret_long), IF64(iret_quad_at, iret_long_at));
}

static void iret_long_to(const char *name, word cs, word ss, word flags)
{
    word items[] = {(word)landing, cs, flags, (word)user_stack_top - 64, ss};
    set_data_segments();
    build(4, 5, items);
    outcome(name, iret_long, iret_long_at);
}

static void ret_to(const char *name, word cs, word ss, unsigned release)
{
    word items[] = {(word)landing, cs, (word)user_stack_top - 64, ss, 0, 0};
    if (release)
        items[2] = items[3] = 0x99, items[4] = (word)user_stack_top - 64, items[5] = ss;
    set_data_segments();
    build(4, 6, items);
    outcome(name, release ? ret_release : ret_long, release ? ret_release_at : ret_long_at);
}

static void rings(void)
{
    iret_to("IRET to ring 0", KERNEL_CODE, KERNEL_DATA, 0x2);
    iret_to("IRET to ring 1", IF64(CODE1_64, CODE1) | 1, DATA1 | 1, 0x2);
    iret_to("IRET to ring 3", USER_CODE, USER_DATA, 0x202);
    iret_to("IRET to conforming with RPL 0", CONFORMING, KERNEL_DATA, 0x2);
    iret_to("IRET to conforming with RPL 1", CONFORMING | 1, DATA1 | 1, 0x2);
    iret_to("IRET to conforming with RPL 3", CONFORMING | 3, USER_DATA, 0x2);
    iret_to("IRET to conforming of DPL 3 with RPL 0", CONFORMING3, KERNEL_DATA, 0x2);
    iret_to("IRET to conforming of DPL 3 with RPL 3", CONFORMING3 | 3, USER_DATA, 0x2);
    iret_to("IRET with all flags", USER_CODE, USER_DATA, 0x3cfed7 & ~(word)0x4100);
    iret_long_to("IRETL to ring 3", 0x2b, 0x33, 0x2);
    iret_long_to("IRETL to ring 2", CODE2 | 2, DATA2 | 2, 0x3002);
    iret_long_to("IRETL to a 16-bit stack", 0x2b, STACK16 | 3, 0x2);
    ret_to("RET to ring 0", IF64(0x08, 0x08), KERNEL_DATA, 0);
    ret_to("RET to ring 1", CODE1 | 1, DATA1 | 1, 0);
    ret_to("RET to ring 3", 0x2b, 0x33, 0);
    ret_to("RET 8 to ring 3", 0x2b, 0x33, 8);
    ret_to("RET to conforming with RPL 2", CONFORMING | 2, DATA2 | 2, 0);
}

static void wrong_code(void)
{
    static const struct {
        const char *name;
        u32 cs;
    } rows[] = {{"null", 0},
                {"null with RPL 3", 3},
                {"an empty slot", EMPTY | 3},
                {"beyond the GDT", 0xffb},
                {"LDT", 0x2f},
                {"data", 0x33},
                {"TSS", TSS_SELECTOR},
                {"ring 3 with RPL 0", 0x28},
                {"ring 0 with RPL 3", 0x0b},
                {"ring 1 with RPL 2", CODE1 | 2},
                {"not present", ABSENT_CODE | 3},
                {"not present with RPL 0", ABSENT_CODE}};
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        put("IRETL, code ");
        iret_long_to(rows[i].name, rows[i].cs, 0x33, 2);
        put("RET, code ");
        ret_to(rows[i].name, rows[i].cs, 0x33, 0);
    }
}

static void wrong_stack(void)
{
    static const struct {
        const char *name;
        u32 ss;
    } rows[] = {{"null", 0},
                {"null with RPL 3", 3},
                {"an empty slot", EMPTY | 3},
                {"beyond the GDT", 0xffb},
                {"LDT", 0x37},
                {"code", 0x2b},
                {"with RPL 0", 0x30},
                {"of ring 0", 0x13},
                {"read only", READ_ONLY | 3},
                {"not present", ABSENT_STACK | 3},
                {"not present with RPL 1", ABSENT_STACK | 1}};
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        put("IRETL, stack ");
        iret_long_to(rows[i].name, 0x2b, rows[i].ss, 2);
        put("RET, stack ");
        ret_to(rows[i].name, 0x2b, rows[i].ss, 0);
    }
}

#ifdef __x86_64__
static void quad(const char *name, const u8 *code, const u8 *at, word ip, word cs, word sp, word ss)
{
    bool iret = code == iret_quad;
    word items[] = {ip, cs, 2, sp, ss};
    set_data_segments();
    if (!iret)
        items[2] = sp, items[3] = ss;
    build(8, 5, items);
    put(iret ? "IRETQ " : "RETQ ");
    outcome(name, code, at);
}

static void long_mode(void)
{
    const word ip = (word)landing, sp = (word)user_stack_top - 64, bad = 0x800000000000;
    for (unsigned i = 0; i < 2; i++) {
        const u8 *code = i ? ret_quad : iret_quad, *at = i ? ret_quad_at : iret_quad_at;
        quad("to ring 0, null SS", code, at, ip, 0x18, sp, 0);
        quad("to ring 0, null SS with RPL 3", code, at, ip, 0x18, sp, 3);
        quad("to ring 1, null SS", code, at, ip, CODE1_64 | 1, sp, 1);
        quad("to ring 1, null SS with RPL 0", code, at, ip, CODE1_64 | 1, sp, 0);
        quad("to ring 3, null SS", code, at, ip, 0x3b, sp, 3);
        quad("to compatibility, null SS", code, at, ip, 0x08, sp, 0);
        quad("to compatibility, ring 3", code, at, ip, 0x2b, sp | (word)0x123400000000, 0x33);
        quad("to compatibility, IP of 33 bits", code, at, ip | 0x100000000, 0x2b, sp, 0x33);
        quad("to compatibility, 16-bit stack", code, at, ip, 0x2b, sp, STACK16 | 3);
        quad("to 64 bits, 16-bit stack", code, at, ip, 0x3b, sp, STACK16 | 3);
        quad("to code with L and D", code, at, ip, BOTH | 3, sp, 0x33);
        quad("to bad IP", code, at, bad, 0x3b, sp, 0x43);
        quad("to bad IP, compatibility", code, at, bad, 0x2b, sp, 0x33);
        quad("to bad SP", code, at, ip, 0x3b, bad, 0x43);
        quad("to user code, SS of ring 0", code, at, ip, 0x3b, sp, 0x20);
    }
    word items[] = {ip, 0x18, 0x4002, sp, 0x20};
    build(8, 5, items);
    asm volatile("pushf\norl $0x4000,(%%rsp)\npopf" : : : "memory", "cc");
    outcome("IRETQ with NT", iret_quad, iret_quad_at);
    asm volatile("pushf\nandl $~0x4000,(%%rsp)\npopf" : : : "memory", "cc");
    image_sp = bad;
    outcome("IRETQ from a bad stack", iret_quad, iret_quad_at);
    image_sp = UINT64_C(0x7ffffffffff8);
    outcome("IRETQ from a missing page", iret_quad, iret_quad_at);
}
#endif

static void words(void)
{
    set_segment(CODE1, 0x10000, 0xffff, 0xbb, IF64(0, 4));
    word items[] = {(word)landing - 0x10000, CODE1 | 1, 0x4ed7 & ~0x4100, 0x1234, DATA1 | 1};
    set_data_segments();
    build(2, 5, items);
    outcome("IRETW to ring 1", iret_word, iret_word_at);
    items[2] = 0x1234, items[3] = DATA1 | 1;
    set_data_segments();
    build(2, 5, items);
    outcome("RETW to ring 1", ret_word, ret_word_at);
    items[0] = 0xffff;
    set_segment(CODE1, 0x10000, 0xfffe, 0xbb, IF64(0, 4));
    build(2, 5, items);
    if (!leaves_out("RETW beyond the limit")) // it goes there
        outcome("RETW beyond the limit", ret_word, ret_word_at);
    set_segment(CODE1, 0, 0xfffff, 0xbb, 0xc);
}

int main(void);
int main(void)
{
    set_segment(CODE1, 0, 0xfffff, 0xbb, 0xc);
    set_segment(DATA1, 0, 0xfffff, 0xb3, 0xc);
    set_segment(CODE2, 0, 0xfffff, 0xdb, 0xc);
    set_segment(DATA2, 0, 0xfffff, 0xd3, 0xc);
    set_segment(CONFORMING, 0, 0xfffff, 0x9f, IF64(0xa, 0xc));
    set_segment(CONFORMING3, 0, 0xfffff, 0xff, IF64(0xa, 0xc));
    set_segment(ABSENT_CODE, 0, 0xfffff, 0x7b, 0xc);
    set_segment(ABSENT_STACK, 0, 0xfffff, 0x73, 0xc);
    set_segment(READ_ONLY, 0, 0xfffff, 0xf1, 0xc);
    set_segment(STACK16, 0x10000, 0xffff, 0xf3, 0);
    set_segment(BOTH, 0, 0xfffff, 0xfb, 0xe);
    set_segment(CODE1_64, 0, 0xfffff, 0xbb, 0xa);
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    rings();
    wrong_code();
    wrong_stack();
    words();
#ifdef __x86_64__
    long_mode();
#endif
    return 0;
}
