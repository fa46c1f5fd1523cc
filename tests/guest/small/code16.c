// 16-bit code in protected mode at ring 3: exceptions, operand and address sizes, branches against the segment's limit,
// 16-bit stacks; and 16-bit branches in 32-bit code. Each line runs a few bytes up to a trap; the end is INT 80.
#include "guest.h"

#define PLACE 0x30000u
#define DATA 0x60000u
#define CODE16 0x58
#define DATA16 0x60   // limit 0xffff
#define CODE_BIG 0x70 // 16 bits, limit 4 GiB
#define CODE32 0x78   // 32 bits, limit 0x3fff, from PLACE on
#define ABSENT 0x80

static word code_selector = CODE16 | 3, stack_selector = DATA16 | 3, start, sp = 0x8000, flags = 2;

static void run(const char *name, const u8 *code, unsigned length)
{
    volatile u8 *at = (volatile u8 *)PLACE + start;
    for (unsigned i = 0; i < length; i++)
        at[i] = code[i];
    at[length] = 0xcd; // INT 80
    at[length + 1] = 0x80;
    word ax = attempt_user_at(start, code_selector, sp, stack_selector, flags);
    put(name);
    put(":");
    if (trap.vector < 0) {
        put(" end");
        put_field("ax", ax, 8);
    } else {
        put_field("trap", (u32)trap.vector, 2);
        put_field("e", trap.error, 4);
    }
    if (trap.vector >= 0 || trap.ip != start + length + 2)
        put_field("ip", trap.ip, 8);
    put_field("sp", trap.sp, 8);
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

static void exceptions(void)
{
    RUN("nothing", 0xb8, 0x34, 0x12, 0x66, 0x98); // CWDE
    RUN("DIV 0", 0x31, 0xc9, 0xf7, 0xf1);
    RUN("AAM 0", 0xd4, 0x00);
    RUN("INT1", 0x90, 0xf1);
    RUN("INT3", 0x90, 0xcc);
    RUN("INTO", 0xb0, 0x7f, 0x00, 0xc0, 0xce);
    RUN("INT 21", 0xcd, 0x21);
    RUN("BOUND", 0xc7, 0x06, 0, 0x40, 1, 0, 0xc7, 0x06, 2, 0x40, 5, 0, 0xb8, 6, 0, 0x62, 0x06, 0, 0x40);
    RUN("UD2", 0x90, 0x0f, 0x0b);
    RUN("LOCK ADD AX,AX", 0xf0, 0x01, 0xc0);
    RUN("CLI", 0xfa);
    RUN("IN 60", 0xe4, 0x60);
    RUN("HLT", 0xf4);
    RUN("MOV DS,absent", 0xb8, ABSENT | 3, 0, 0x8e, 0xd8);
    RUN("MOV SS,absent", 0xb8, ABSENT | 3, 0, 0x8e, 0xd0);
    RUN("MOV DS,kernel", 0xb8, KERNEL_DATA, 0, 0x8e, 0xd8);
    RUN("MOV ES,null and a store", 0x31, 0xc0, 0x8e, 0xc0, 0x26, 0xa3, 0, 0);
    RUN("far JMP null", 0xea, 0, 0, 0, 0);
    RUN("far JMP 32-bit offset", 0x66, 0xea, 0, 0, 1, 0, CODE16 | 3, 0);
    RUN("IRET with NT", 0x9c, 0x58, 0x80, 0xcc, 0x40, 0x50, 0x9d, 0xcf);
    write_cr0(read_cr0() | 0x2a);
    RUN("FNOP with TS", 0xd9, 0xd0);
    write_cr0(read_cr0() & ~(word)8);
    RUN("FDIV by 0 unmasked", 0xdb, 0xe3, 0xc7, 0x06, 0, 0x40, 0x7b, 3, 0xd9, 0x2e, 0, 0x40, 0xd9, 0xe8, 0xd9, 0xee,
        0xde, 0xf9, 0x9b);
    asm volatile("fninit");
    flags = 0x40002;
    write_cr0(read_cr0() | 0x40000);
    if (!leaves_out("word at an odd address with AC"))
        RUN("word at an odd address with AC", 0xa1, 0x01, 0x40);
    write_cr0(read_cr0() & ~(word)0x40000);
    flags = 2;
}

static void limits(void)
{
    NOT_TCG("word at FFFF", 0xa1, 0xff, 0xff);
    NOT_TCG("word at 10000", 0x67, 0xa1, 0, 0, 1, 0);
    RUN("BX and SI wrap", 0xbb, 0xf0, 0xff, 0xbe, 0x10, 0x40, 0xc7, 0x00, 0x78, 0x56, 0xa1, 0, 0x40);
    RUN("PUSH at 0", 0x31, 0xc0, 0xbc, 0, 0, 0x50, 0x89, 0xe0);
    NOT_TCG("PUSH at 1", 0xbc, 1, 0, 0x50);
    NOT_TCG("POP at FFFF", 0xbc, 0xff, 0xff, 0x58);
    NOT_TCG("PUSHAD at 1E", 0xbc, 0x1e, 0, 0x66, 0x60);
    RUN("PUSHA at E", 0x31, 0xc0, 0xbc, 0x10, 0, 0x60, 0x89, 0xe0);
    NOT_TCG("PUSHA at D", 0xbc, 0x0d, 0, 0x60);
    NOT_TCG("ENTER at 1", 0xbc, 1, 0, 0xc8, 0, 0, 0);
    RUN("upper half of ESP stays", 0x66, 0xbc, 0x00, 0x70, 0xcd, 0xab, 0x50, 0x66, 0x89, 0xe0);
    RUN("LEAVE", 0x66, 0xbd, 0x00, 0x60, 0x55, 0x55, 0xc9, 0x66, 0x89, 0xe0);
    set_segment(CODE16, PLACE, 0x1ff, 0xfb, 0);
    NOT_TCG("JMP beyond the limit", 0x90, 0xe9, 0x00, 0x02);
    NOT_TCG("short JMP beyond the limit", 0x90, 0xeb, 0x80);
    NOT_TCG("CALL beyond the limit", 0x90, 0xe8, 0x00, 0x02);
    NOT_TCG("JZ beyond the limit, taken", 0x31, 0xc0, 0x0f, 0x84, 0x00, 0x02);
    RUN("JNZ beyond the limit, not taken", 0x31, 0xc0, 0x0f, 0x85, 0x00, 0x02);
    NOT_TCG("LOOP beyond the limit, taken", 0xb9, 2, 0, 0xe2, 0x80);
    RUN("LOOP beyond the limit, not taken", 0xb9, 1, 0, 0xe2, 0x80, 0x89, 0xc8);
    NOT_TCG("JCXZ beyond the limit, taken", 0x31, 0xc9, 0xe3, 0x80);
    NOT_TCG("JMP BX beyond the limit", 0xbb, 0x00, 0x02, 0xff, 0xe3);
    NOT_TCG("RET beyond the limit", 0x68, 0x00, 0x02, 0xc3);
    NOT_TCG("RET to 32 bits beyond", 0x66, 0x68, 0, 0, 1, 0, 0x66, 0xc3);
    start = 0x1fc;
    NOT_TCG("running to the limit", 0x90, 0x90, 0x90, 0x90);
    NOT_TCG("JNZ not taken before the limit", 0x39, 0xc0, 0x75, 0x80);
    NOT_TCG("instruction across the limit", 0x90, 0x90, 0xb8, 0x34, 0x12);
    start = 0;
    set_segment(CODE16, PLACE, 0xffff, 0xfb, 0);
}

/// Where the segment goes on behind 64 KiB, only branches cut IP to 16 bits.
static void beyond(void)
{
    code_selector = CODE_BIG | 3;
    start = 0xfffe;
    NOT_TCG("running over 64 KiB", 0x90, 0x90, 0x90, 0x90);
    NOT_TCG("JNZ not taken over 64 KiB", 0x39, 0xc0, 0x75, 0x10);
    start = 0x10010;
    ((volatile u16 *)PLACE)[0] = 0x80cd;
    NOT_TCG("CALL pushes 16 bits", 0xe8, 0xed, 0xff); // to 0000
    put("what it pushed:");
    put_field("word", *(volatile u16 *)(DATA + 0x7ffe), 4);
    end_line();
    start = 0x10100;
    RUN("fault above 64 KiB", 0x90, 0x0f, 0x0b);
    RUN("LOOP above 64 KiB, not taken", 0xb9, 1, 0, 0xe2, 0x10);
    ((volatile u16 *)PLACE)[0x110 / 2] = 0x80cd;
    NOT_TCG("JMP above 64 KiB", 0xe9, 0x0d, 0x00); // to 0110
    RUN("32-bit JMP above 64 KiB", 0x66, 0xe9, 0, 0, 0, 0);
    start = 0;
    code_selector = CODE16 | 3;
}

/// 32-bit code whose branches have 16-bit operands.
static void cut(void)
{
    code_selector = CODE32 | 3;
    RUN("32-bit code, 66 JMP", 0x66, 0xe9, 0x00, 0x00);
    NOT_TCG("32-bit code, JZ beyond the limit", 0x31, 0xc0, 0x74, 0x80);
    RUN("32-bit code, word RET", 0x66, 0x6a, 0x05, 0x66, 0xc3);
    code_selector = USER_CODE;
    stack_selector = USER_DATA;
    sp = (word)user_stack_top;
    // The code runs at start + PLACE, the test's offsets are without PLACE: a flat segment.
    static const u8 taken[] = {0x39, 0xc0, 0x66, 0x74, 0x10}, not_taken[] = {0x39, 0xc0, 0x66, 0x75, 0x10, 0x90};
    volatile u8 *at = (volatile u8 *)PLACE + 0x500;
    ((volatile u16 *)0x514)[0] = ((volatile u16 *)0x515)[0] = 0x80cd;
    for (unsigned i = 0; i < 2; i++) {
        const u8 *code = i ? not_taken : taken;
        for (unsigned k = 0; k < 8; k++)
            at[k] = k < 6 - (i ? 0 : 1) ? code[k] : k & 1 ? 0x80 : 0xcd;
        at[i ? 6 : 5] = 0xcd;
        at[i ? 7 : 6] = 0x80;
        ((volatile u8 *)0x515)[0] = 0xcd;
        ((volatile u8 *)0x516)[0] = 0x80;
        attempt_user_at((word)at, USER_CODE, (word)user_stack_top, USER_DATA, 2);
        put(i ? "flat code, 66 JNZ not taken:" : "flat code, 66 JZ taken:");
        put_field("ip", trap.ip, 8);
        end_line();
    }
}

int main(void);
int main(void)
{
    set_segment(CODE16, PLACE, 0xffff, 0xfb, 0);
    set_segment(DATA16, DATA, 0xffff, 0xf3, 0);
    set_segment(CODE_BIG, PLACE, 0xfffff, 0xfb, 0x8);
    set_segment(CODE32, PLACE, 0x3fff, 0xfb, 0x4);
    set_segment(ABSENT, PLACE, 0xffff, 0x73, 0);
    exceptions();
    limits();
    beyond();
    cut();
    return 0;
}
