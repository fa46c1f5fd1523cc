// Every exception that real mode has, its limits, the end of a segment, the vector table moved and cut short, A20, and
// what is illegal there. Each line runs a few bytes at 3000:0000 (SS:SP 4000:8000, DS 5000, ES 6000) up to a trap; the
// end is INT FF.
#include "guest.h"

#define CODE 0x30000
#define TABLE 0x2f000 // the vector table of these programs

struct start {
    u32 flags;
    u16 cs, ss;
    u32 sp;
    u16 ds, es, fs, ip;
    u32 ax;
} __attribute__((packed));
struct seen {
    u16 vector, ip, cs, flags;
    u32 sp, ax, flags_now;
    u16 ss;
} __attribute__((packed));
struct table {
    u16 limit;
    u32 base;
} __attribute__((packed));
// Shared with real_faults_code.S.
#define START ((struct start *)0x1f000)
#define REAL_IDT ((struct table *)0x1f020)
#define SEEN ((volatile struct seen *)0x1f040)
void real_run(void);
extern u8 real_entries[];

static u32 sp = 0x8000;
static u16 ip;

static void run(const char *name, const u8 *code, unsigned length)
{
    volatile u8 *at = (volatile u8 *)CODE;
    for (unsigned i = 0; i < length; i++)
        at[(u16)(ip + i)] = code[i];
    at[(u16)(ip + length)] = 0xcd; // INT FF
    at[(u16)(ip + length + 1)] = 0xff;
    START->flags = 2;
    START->cs = CODE >> 4;
    START->ip = ip;
    START->ss = 0x4000;
    START->sp = sp;
    START->ds = 0x5000;
    START->es = 0x6000;
    START->fs = 0xffff;
    START->ax = 0x11112222;
    SEEN->vector = 0xeeee;
    real_run();
    put(name);
    put(":");
    if (SEEN->vector != 0xff) {
        put_field("trap", SEEN->vector, 2);
        put_field("ip", SEEN->ip, 4);
    } else {
        put(" end");
        if (SEEN->ip != (u16)(ip + length + 2))
            put_field("ip", SEEN->ip, 4);
    }
    if (SEEN->cs != CODE >> 4)
        put_field("cs", SEEN->cs, 4);
    put_field("ax", SEEN->ax, 8);
    put_field("sp", SEEN->sp, 8);
    put_field("flags", SEEN->flags & 0xf702, 4);
    put_field("then", SEEN->flags_now & 0x277702, 6);
    end_line();
}

#define RUN(name, ...)                                                                                                 \
    do {                                                                                                               \
        static const u8 code[] = {__VA_ARGS__};                                                                        \
        run(name, code, sizeof code);                                                                                  \
    } while (0)
#define NOT_TCG(name, ...)                                                                                             \
    do {                                                                                                               \
        if (!leaves_out(name))                                                                                         \
            RUN(name, __VA_ARGS__);                                                                                    \
    } while (0)

static void set_table(u32 base, u16 limit)
{
    for (u32 i = 0; i < 256 && i * 4 + 3 <= limit; i++)
        ((volatile u32 *)base)[i] = 0x10000000u | (u16)((u32)real_entries + 8 * i);
    REAL_IDT->base = base;
    REAL_IDT->limit = limit;
}

static void exceptions(void)
{
    RUN("nothing", 0x90);
    RUN("DIV 0", 0x31, 0xc9, 0xf7, 0xf1);
    RUN("IDIV overflow", 0xb8, 0, 0x80, 0x99, 0xb9, 0xff, 0xff, 0xf7, 0xf9);
    RUN("AAM 0", 0xd4, 0x00);
    RUN("INT1", 0x90, 0xf1);
    RUN("INT3", 0x90, 0xcc);
    RUN("INT 3", 0x90, 0xcd, 0x03);
    RUN("INTO", 0xb0, 0x7f, 0x00, 0xc0, 0xce);
    RUN("INT 21", 0xfb, 0x90, 0xcd, 0x21);
    RUN("BOUND", 0xc7, 0x06, 0, 0, 1, 0, 0xc7, 0x06, 2, 0, 5, 0, 0xb8, 6, 0, 0x62, 0x06, 0, 0);
    RUN("UD2", 0x90, 0x0f, 0x0b);
    RUN("LOCK NOP", 0xf0, 0x90);
    RUN("LOCK ADD AX,AX", 0xf0, 0x01, 0xc0);
    RUN("MOV CS,AX", 0x8e, 0xc8);
    RUN("16 bytes", 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90);
    write_cr0(read_cr0() | 0x2a);
    RUN("FNOP with TS", 0xd9, 0xd0);
    RUN("FWAIT with TS and MP", 0x9b);
    write_cr0(read_cr0() & ~(word)8);
    RUN("FDIV by 0 unmasked", 0xdb, 0xe3, 0xc7, 0x06, 0, 0, 0x7b, 3, 0xd9, 0x2e, 0, 0, 0xd9, 0xe8, 0xd9, 0xee, 0xde,
        0xf9, 0x9b);
    asm volatile("fninit");
    RUN("TF", 0x9c, 0x58, 0x80, 0xcc, 0x01, 0x50, 0x9d, 0x90, 0x90);
}

static void illegal(void)
{
    RUN("SLDT", 0x0f, 0x00, 0xc0);
    RUN("STR", 0x0f, 0x00, 0xc8);
    RUN("LLDT", 0x0f, 0x00, 0xd0);
    RUN("LTR", 0x0f, 0x00, 0xd8);
    RUN("VERR", 0x0f, 0x00, 0xe0);
    RUN("VERW", 0x0f, 0x00, 0xe8);
    RUN("LAR", 0x0f, 0x02, 0xc0);
    RUN("LSL", 0x0f, 0x03, 0xc0);
    RUN("ARPL", 0x63, 0xc0);
    RUN("SYSENTER", 0x0f, 0x34);
    RUN("SYSEXIT", 0x0f, 0x35);
    RUN("SYSCALL", 0x0f, 0x05);
    RUN("RSM", 0x0f, 0xaa);
    NOT_TCG("CR0.PG without PE", 0x0f, 0x20, 0xc0, 0x66, 0x0d, 0, 0, 0, 0x80, 0x0f, 0x22, 0xc0);
    RUN("SMSW", 0x0f, 0x01, 0xe0, 0x24, 0x01);
    RUN("INVLPG", 0x0f, 0x01, 0x38);
    RUN("INVLPG of a register", 0x0f, 0x01, 0xf8);
    RUN("HLT and CLTS are allowed", 0x0f, 0x06);
    RUN("IN 60 and CLI are allowed", 0xfa, 0xe4, 0x61, 0xb8, 1, 0);
}

static void flag_images(void)
{
    RUN("POPF of all", 0x68, 0xff, 0x7e, 0x9d, 0x9c, 0x58, 0xfa);
    RUN("POPFD of all", 0x66, 0x68, 0xff, 0xfe, 0xff, 0xff, 0x66, 0x9d, 0x66, 0x9c, 0x66, 0x58, 0xfa);
    RUN("IRET", 0x68, 0x02, 0x72, 0x68, 0x00, 0x30, 0x6a, 0x0a, 0xcf, 0x90, 0x9c, 0x58, 0xfa, 0xcd, 0xff);
    RUN("IRETD", 0x66, 0x68, 0x02, 0x30, 0xff, 0xff, 0x66, 0x68, 0x00, 0x30, 0x34, 0x12, 0x66, 0x6a, 0x13, 0x66, 0xcf,
        0x90, 0x90, 0x66, 0x9c, 0x66, 0x58);
    NOT_TCG("IRETD beyond the limit", 0x66, 0x6a, 0x02, 0x66, 0x68, 0x00, 0x30, 0, 0, 0x66, 0x68, 0, 0, 1, 0, 0x66,
            0xcf);
}

static void limits(void)
{
    RUN("byte at FFFF", 0xa0, 0xff, 0xff, 0xb0, 0x01);
    NOT_TCG("word at FFFF", 0xa1, 0xff, 0xff);
    NOT_TCG("store at FFFF", 0xa3, 0xff, 0xff);
    NOT_TCG("doubleword at FFFD", 0x66, 0xa1, 0xfd, 0xff);
    NOT_TCG("byte at 10000", 0x67, 0xa0, 0, 0, 1, 0);
    NOT_TCG("word at SS:FFFF", 0x36, 0xa1, 0xff, 0xff);
    NOT_TCG("by BP at FFFF", 0xbd, 0xff, 0xff, 0x8b, 0x46, 0);
    NOT_TCG("POP at FFFF", 0xbc, 0xff, 0xff, 0x58);
    RUN("POP at FFFE", 0xbc, 0xfe, 0xff, 0x58, 0x89, 0xe0, 0xbc, 0, 0x80);
    RUN("PUSH at 0", 0xbc, 0, 0, 0x50, 0x89, 0xe0, 0xbc, 0, 0x80);
    NOT_TCG("MOVSW at SI FFFF", 0xbe, 0xff, 0xff, 0xa5);
    NOT_TCG("MOVSW at DI FFFF", 0xbf, 0xff, 0xff, 0xa5);
    NOT_TCG("LODSD at FFFE", 0xbe, 0xfe, 0xff, 0x66, 0xad);
    NOT_TCG("far JMP beyond", 0x66, 0xea, 0, 0, 1, 0, 0, 0x30);
    NOT_TCG("JMP beyond", 0x66, 0xb8, 0, 0, 1, 0, 0x66, 0xff, 0xe0);
    NOT_TCG("CALL beyond", 0x66, 0xb8, 0, 0, 1, 0, 0x66, 0xff, 0xd0);
    RUN("LDS across FFFF", 0xc5, 0x06, 0xfc, 0xff, 0xb8, 1, 0);
    NOT_TCG("LDS beyond FFFF", 0xc5, 0x06, 0xfd, 0xff);
    NOT_TCG("BOUND across FFFF", 0x62, 0x06, 0xfe, 0xff);
}

static void end_of_segment(void)
{
    ip = 0xfff0;
    ((volatile u16 *)CODE)[0] = 0xffcd;
    RUN("JMP over the end", 0xe9, 0x0d, 0x00); // to 0000: IP has 16 bits
    ip = 0xfffe;
    NOT_TCG("running over the end", 0x90, 0x90, 0x90);
    ip = 0xffff;
    NOT_TCG("instruction over the end", 0xb8, 0x34, 0x12);
    ip = 0xfffd;
    RUN("JMP as the last instruction", 0xe9, 0x00, 0x00);
    ip = 0xfffc;
    NOT_TCG("JNZ not taken as the last instruction", 0x39, 0xc0, 0x75, 0x10);
    NOT_TCG("JZ taken as the last instruction", 0x39, 0xc0, 0x74, 0x00);
    ip = 0;
    ((volatile u16 *)CODE)[0xffe2 / 2] = 0xffcd;
    RUN("JMP under the start", 0xeb, 0xe0);
}

static void vectors(void)
{
    set_table(0x28000, 0x3ff);
    RUN("table elsewhere, INT 40", 0xcd, 0x40);
    set_table(0x28001, 0x3ff);
    RUN("table at an odd address, INT 41", 0xcd, 0x41);
    set_table(TABLE, 0x40 * 4 - 1);
    NOT_TCG("INT 3F with a table of 40 vectors", 0xcd, 0x3f);
    NOT_TCG("INT 40 with a table of 40 vectors", 0xcd, 0x40);
    set_table(TABLE, 0x40 * 4 + 2);
    NOT_TCG("INT 40 with a table of 40 vectors and 3 bytes", 0xcd, 0x40);
    set_table(TABLE, 9 * 4 - 1);
    NOT_TCG("INT 40 with a table of 9 vectors", 0xcd, 0x40);
    set_table(TABLE, 0x3ff);
}

static void address_line_20(void)
{
    *(volatile u16 *)0x500 = 0x1234;
    *(volatile u16 *)0x100500 = 0x5678;
    RUN("FFFF:0510 with A20", 0x64, 0xa1, 0x10, 0x05);
    out8(0x92, in8(0x92) & ~2u & ~1u);
    RUN("FFFF:0510 without A20", 0x64, 0xa1, 0x10, 0x05);
    RUN("store to FFFF:0510 without A20", 0x64, 0xa3, 0x10, 0x05);
    RUN("code at FFFF:0000 without A20", 0xea, 0x20, 0x05, 0xff, 0xff); // 520 and 100520
    out8(0x92, in8(0x92) | 2u);
    RUN("code at FFFF:0000 with A20", 0xea, 0x20, 0x05, 0xff, 0xff);
    put("memory:");
    put_field("500", *(volatile u16 *)0x500, 4);
    put_field("100500", *(volatile u16 *)0x100500, 4);
    end_line();
}

int main(void);
int main(void)
{
    set_segment(0x58, 0x10000, 0xffff, 0x9b, 0);
    set_segment(0x60, 0, 0xffff, 0x93, 0);
    set_table(TABLE, 0x3ff);
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    static const u8 place[2][7] = {{0xb8, 0x11, 0x11, 0xcd, 0xff}, {0xb8, 0x22, 0x22, 0xcd, 0xff}};
    for (unsigned i = 0; i < 7; i++) {
        ((volatile u8 *)0x510)[i] = place[0][i];
        ((volatile u8 *)0x100510)[i] = place[1][i];
    }
    exceptions();
    illegal();
    flag_images();
    limits();
    end_of_segment();
    vectors();
    address_line_20();
    return 0;
}
