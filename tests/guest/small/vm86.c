// Virtual-8086 mode: IOPL-sensitive instructions, interrupts and traps that leave it, IRET back into it, addresses and
// limits, I/O permission bitmap. The monitor's handler prints each trap.
#include "guest.h"

#define CODE 0x30000 // real-mode segment 0x3000

static u8 big_tss[104 + 8192 + 1];

static bool show_trap(struct frame *frame)
{
    word *outer = &frame->ss + 1; // ES, DS, FS, GS
    if (!(frame->flags & 0x20000))
        return false;
    put_field("trap", frame->vector, 2);
    put_field("e", frame->error, 4);
    put_field("ip", frame->ip, 4);
    put_field("cs", frame->cs, 4);
    put_field("flags", frame->flags & ~0x8d5u & ~0x10000u, 6);
    put_field("sp", frame->sp, 4);
    put_field("ax", frame->ax, 8);
    put_field("es", outer[0], 4);
    put_field("ds", outer[1], 4);
    put_field("now", frame->ds, 4);
    return false;
}

static void run(const char *name, const u8 *code, unsigned length, u32 iopl, u32 flags)
{
    for (unsigned i = 0; i < length; i++)
        ((volatile u8 *)CODE)[i] = code[i];
    ((volatile u8 *)CODE)[length] = 0xf4; // HLT: back to ring 0
    put(name);
    put(":");
    trap_hook = show_trap;
    static struct {
        u32 ip, cs, flags, sp, ss, es, ds, fs, gs;
    } frame;
    frame.cs = CODE >> 4;
    frame.flags = 0x20002 | iopl << 12 | flags;
    frame.sp = 0x8000;
    frame.ss = 0x4000;
    frame.es = 0x5000;
    frame.ds = 0x6000;
    frame.fs = 0x7000;
    frame.gs = 0x7fff;
    extern u32 vm86_frame;
    *(u32 *)&vm86_frame = (u32)&frame;
    extern u8 enter_vm86[];
    attempt(enter_vm86);
    trap_hook = 0;
    end_line();
}
u32 vm86_frame;
asm(".text\nenter_vm86: mov vm86_frame,%eax\nmov $9,%ecx\n1: pushl -4(%eax,%ecx,4)\nloop 1b\nmov $0x1111,%eax\niret\n");

#define RUN(name, iopl, flags, ...)                                                                                    \
    do {                                                                                                               \
        static const u8 code[] = {__VA_ARGS__};                                                                        \
        run(name, code, sizeof code, iopl, flags);                                                                     \
    } while (0)

int main(void);
int main(void)
{
    *(u32 *)(void *)(big_tss + 4) = (word)trap_stack_top;
    *(u32 *)(void *)(big_tss + 8) = KERNEL_DATA;
    *(u16 *)(void *)(big_tss + 102) = 104;
    for (unsigned i = 0; i < 0x100; i++)
        big_tss[104 + i] = 0xff;
    big_tss[104 + 0x7e / 8] = 0xbf; // port 7e
    set_segment(FREE_SELECTOR, (u32)big_tss, 104 + 0x100, 0x89, 0);
    asm volatile("ltr %w0" : : "r"(FREE_SELECTOR));
    static const u16 numbers[] = {0x1234, 0x5678};
    ((volatile u16 *)0x60010)[0] = numbers[0];
    ((volatile u16 *)0x4fffe)[0] = numbers[1];

    *(volatile u8 *)0x31005 = 0xf4; // where IRET leads

    RUN("nothing", 0, 0);
    RUN("MOV AX,CS", 0, 0, 0x8c, 0xc8);
    RUN("MOV AX,[10]", 0, 0, 0xa1, 0x10, 0x00);
    RUN("MOV ES,AX", 0, 0, 0x8e, 0xc0);
    RUN("MOV AX,[FFFF]", 0, 0, 0xa1, 0xff, 0xff);
    RUN("MOV EAX,[10000]", 0, 0, 0x66, 0x67, 0xa1, 0, 0, 1, 0);
    RUN("CLI, IOPL 0", 0, 0, 0xfa);
    RUN("CLI, IOPL 3", 3, 0x200, 0xfa);
    RUN("PUSHF, IOPL 0", 0, 0, 0x9c);
    RUN("PUSHF, IOPL 3", 3, 0x200, 0x9c, 0x58);
    RUN("PUSHFD, IOPL 3", 3, 0x200, 0x66, 0x9c, 0x66, 0x58);
    RUN("POPF, IOPL 3", 3, 0, 0x68, 0xff, 0x7e, 0x9d, 0x9c, 0x58);
    RUN("INT 21, IOPL 0", 0, 0, 0xcd, 0x21);
    RUN("INT 21, IOPL 3", 3, 0, 0xcd, 0x21);
    RUN("INT 80, IOPL 3", 3, 0, 0xcd, 0x80);
    RUN("INT3, IOPL 0", 0, 0, 0xcc);
    RUN("INTO, IOPL 0", 0, 0x800, 0xce);
    RUN("IRET, IOPL 0", 0, 0, 0xcf);
    RUN("IRET, IOPL 3", 3, 0, 0x68, 0x02, 0x00, 0x68, 0x00, 0x31, 0x6a, 0x05, 0xcf);
    RUN("IN 60", 3, 0, 0xe4, 0x60);
    RUN("OUT 7E", 0, 0, 0xe6, 0x7e);
    RUN("IN 7E of 16 bits", 3, 0, 0xe5, 0x7e);
    RUN("LLDT", 3, 0, 0x0f, 0x00, 0xd0);
    RUN("MOV EAX,CR0", 3, 0, 0x0f, 0x20, 0xc0);
    RUN("SMSW", 0, 0, 0x0f, 0x01, 0xe0);
    RUN("ARPL", 0, 0, 0x63, 0xc0);
    RUN("far JMP", 0, 0, 0xea, 0x05, 0x10, 0x00, 0x2f);
    RUN("far CALL", 0, 0, 0x9a, 0x06, 0x00, 0x00, 0x30, 0xf4, 0x58);
    RUN("UD2", 0, 0, 0x0f, 0x0b);
    RUN("POP at FFFF", 0, 0, 0xbc, 0xff, 0xff, 0x58);
    RUN("POP at FFFE", 0, 0, 0xbc, 0xfe, 0xff, 0x58);
    RUN("PUSH at 1", 0, 0, 0xbc, 0x01, 0x00, 0x50);
    RUN("DIV 0", 0, 0, 0x31, 0xc9, 0xf7, 0xf1);
    RUN("AAA, AAS, AAM, AAD", 0, 0, 0xb8, 0x0b, 0x03, 0x37, 0x3f, 0xd4, 0x0a, 0xd5, 0x0a);
    return 0;
}
