// Virtual-8086 mode: IOPL-sensitive instructions, interrupts and traps that leave it, IRET back into it, addresses and
// limits, I/O permission bitmap; VME: interrupts redirected to the program, VIF and VIP; PVI. The monitor's handler
// prints each trap.
#include "guest.h"

#define CODE 0x30000 // real-mode segment 0x3000

#define REDIRECTION 104 // in the TSS: a bit per vector, 0 redirects
#define IO_MAP (REDIRECTION + 32)

static u8 big_tss[IO_MAP + 8192 + 1];

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

// ---- VME --------------------------------------------------------------------------------------------------------

#define VIF 0x80000
#define VIP 0x100000

#define VME(name, iopl, flags, ...)                                                                                    \
    do {                                                                                                               \
        if (!leaves_out("VME " name))                                                                                  \
            RUN("VME " name, iopl, flags, __VA_ARGS__);                                                                \
    } while (0)

SNIPPET(pvi_cli, "cli\nint $0x80");
SNIPPET(pvi_sti, "sti\nint $0x80");
SNIPPET(pvi_pushf, "pushf\npop %eax\nint $0x80");
SNIPPET(pvi_popf, "push $0x203202\npopf\nint $0x80");

static void pvi(const char *name, const u8 *code, word flags)
{
    if (leaves_out(name))
        return;
    word ax = attempt_user_at((word)code, USER_CODE, (word)user_stack_top, USER_DATA, flags);
    put(name);
    put(":");
    if (trap.vector >= 0) {
        put_field("trap", (u32)trap.vector, 2);
        put_field("e", trap.error, 4);
    } else if (code == pvi_pushf) {
        put_field("image", ax & 0x1f7700, 6);
    }
    put_field("flags", trap.flags & 0x1f7700, 6);
    end_line();
}

/// The frame that a redirected INT leaves: HLT stands at its handler.
static void show_redirected(const char *name)
{
    if (leaves_out(name))
        return;
    put(name);
    put(":");
    for (unsigned i = 0; i < 3; i++)
        put_field("word", ((volatile u16 *)0x47ffa)[i], 4);
    end_line();
}

static void vme(void)
{
    ((volatile u16 *)0)[0x21 * 2] = 0x100; // handlers of the 8086 program
    ((volatile u16 *)0)[0x21 * 2 + 1] = CODE >> 4;
    ((volatile u16 *)0)[0x80 * 2] = 0x101;
    ((volatile u16 *)0)[0x80 * 2 + 1] = CODE >> 4;
    ((volatile u16 *)0)[3 * 2] = ((volatile u16 *)0)[4 * 2] = 0x102;
    ((volatile u16 *)0)[3 * 2 + 1] = ((volatile u16 *)0)[4 * 2 + 1] = CODE >> 4;
    for (unsigned i = 0; i < 4; i++)
        ((volatile u8 *)CODE)[0x100 + i] = 0xf4;
    big_tss[REDIRECTION + 0x80 / 8] = 1;
    if (!leaves_out("VME and PVI")) {
        write_cr4(read_cr4() | 3);
        put("VME and PVI: on\n");
    }
    VME("INT 21 redirected, IOPL 0", 0, 0, 0xcd, 0x21);
    show_redirected("VME frame, IOPL 0, IF 0, VIF 0");
    VME("INT 21 redirected, VIF set", 0, 0x200 | VIF, 0xcd, 0x21);
    show_redirected("VME frame, IOPL 0, IF 1, VIF 1");
    VME("INT 21 redirected, VIF clear", 0, 0x4200, 0xcd, 0x21);
    show_redirected("VME frame, IOPL 0, IF 1, VIF 0, NT");
    VME("INT 21 redirected, IOPL 3", 3, 0x200, 0xcd, 0x21);
    show_redirected("VME frame, IOPL 3, IF 1");
    VME("INT 80 not redirected, IOPL 0", 0, 0, 0xcd, 0x80);
    VME("INT 80 not redirected, IOPL 3", 3, 0, 0xcd, 0x80);
    VME("INT3", 0, 0, 0xcc);
    VME("INTO", 0, 0x800, 0xce);
    VME("INT 3", 0, 0, 0xcd, 0x03);
    VME("CLI", 0, VIF, 0xfa);
    VME("STI", 0, 0, 0xfb);
    VME("STI with VIP", 0, VIP, 0xfb);
    VME("VIF and VIP", 0, VIP | VIF, 0xfa);
    VME("CLI with VIP", 0, VIP, 0xfa);
    VME("CLI, IOPL 3", 3, 0x200 | VIF, 0xfa);
    VME("STI with VIP, IOPL 3", 3, VIP, 0xfb);
    VME("PUSHF, VIF clear", 0, 0x200, 0x9c, 0x58);
    VME("PUSHF, VIF set", 0, VIF, 0x9c, 0x58);
    VME("PUSHF, IOPL 3", 3, VIF, 0x9c, 0x58);
    VME("PUSHFD, IOPL 0", 0, 0, 0x66, 0x9c);
    VME("POPF sets IF", 0, 0, 0x68, 0x02, 0x02, 0x9d);
    VME("POPF sets IF with VIP", 0, VIP, 0x68, 0x02, 0x02, 0x9d);
    VME("POPF clears IF with VIP", 0, VIP, 0x6a, 0x02, 0x9d);
    VME("POPF sets TF", 0, 0, 0x68, 0x02, 0x01, 0x9d);
    VME("POPF sets IOPL, NT", 0, 0, 0x68, 0x02, 0x70, 0x9d);
    VME("POPFD, IOPL 0", 0, 0, 0x66, 0x9d);
    VME("VIF and VIP, IOPL 3", 3, VIF | VIP, 0x90);
    VME("POPFD, IOPL 3, VIF", 3, VIF, 0x66, 0x6a, 0x02, 0x66, 0x9d);
    VME("IRET sets IF", 0, 0, 0x68, 0x02, 0x02, 0x68, 0x00, 0x31, 0x6a, 0x05, 0xcf);
    VME("IRET sets IF with VIP", 0, VIP, 0x68, 0x02, 0x02, 0x68, 0x00, 0x31, 0x6a, 0x05, 0xcf);
    VME("IRET clears IF", 0, VIF, 0x6a, 0x02, 0x68, 0x00, 0x31, 0x6a, 0x05, 0xcf);
    VME("IRET sets TF", 0, 0, 0x68, 0x02, 0x01, 0x68, 0x00, 0x31, 0x6a, 0x05, 0xcf);
    VME("IRETD", 0, 0, 0x66, 0xcf);
    pvi("PVI CLI", pvi_cli, 0x202 | VIF);
    pvi("PVI STI", pvi_sti, 0x202);
    pvi("PVI STI with VIP", pvi_sti, 0x202 | VIP);
    pvi("PVI VIF and VIP", pvi_cli, 0x202 | VIF | VIP);
    pvi("PVI STI, IOPL 3", pvi_sti, 0x3002);
    pvi("PVI CLI, IOPL 3", pvi_cli, 0x3202 | VIF);
    pvi("PVI PUSHF", pvi_pushf, 2 | VIF);
    pvi("PVI POPF", pvi_popf, 2 | VIF);
    write_cr4(read_cr4() & ~(word)3);
    RUN("INT 21, IOPL 3, VME off again", 3, 0, 0xcd, 0x21);
}

int main(void);
int main(void)
{
    *(u32 *)(void *)(big_tss + 4) = (word)trap_stack_top;
    *(u32 *)(void *)(big_tss + 8) = KERNEL_DATA;
    *(u16 *)(void *)(big_tss + 102) = IO_MAP;
    for (unsigned i = 0; i < 0x100; i++)
        big_tss[IO_MAP + i] = 0xff;
    big_tss[IO_MAP + 0x7e / 8] = 0xbf; // port 7e
    set_segment(FREE_SELECTOR, (u32)big_tss, IO_MAP + 0x100, 0x89, 0);
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
    vme();
    return 0;
}
