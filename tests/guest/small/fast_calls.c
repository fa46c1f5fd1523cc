// SYSENTER and SYSEXIT in 32-bit mode, their MSRs and errors; SYSCALL, which belongs to 64-bit mode there. 64 bits: the
// rare cases of SYSCALL, SYSRET, SYSENTER and SYSEXIT: other modes, masks, addresses that are not canonical, TF and RF.
#include "guest.h"

#define EFER 0xc0000080
#define STAR 0xc0000081
#define LSTAR 0xc0000082
#define CSTAR 0xc0000083
#define SFMASK 0xc0000084
#define R(n) "%" IF64("r", "e") n
#define BASE 0x80 // SYSENTER_CS: code, stack; SYSEXIT: +10, +18; to 64 bits +20, +28

word seen[8], target_ip, target_sp, exit_flags; // rcx, r11 or edx, cs, ss, sp, flags

#ifdef __x86_64__
#define NOTE                                                                                                           \
    "mov %rax,seen+56\nmov %rcx,seen\nmov %r11,seen+8\nmov %cs,%eax\nmov %rax,seen+16\nmov %ss,%eax\nmov "             \
    "%rax,seen+24\nmov %rsp,seen+32\nmov $trap_stack_top-256,%esp\npushfq\npop seen+40\n"
asm(".text\nnote_and_end: " NOTE "int $0x80\n"
    "note_and_exit: " NOTE "mov target_ip,%rdx\nmov target_sp,%rcx\nexit32_at: .byte 0x0f,0x35\n"
    "note_and_exit64: " NOTE "mov target_ip,%rdx\nmov target_sp,%rcx\nexit64_at: sysexitq\n"
    "note_and_sysret: " NOTE "mov target_ip,%rcx\nmov exit_flags,%r11\nmov target_sp,%rsp\nsysret64_at: sysretq\n"
    "note_and_sysret32: " NOTE "mov target_ip,%rcx\nmov exit_flags,%r11\nmov target_sp,%rsp\nsysretl\n"
    "landed: nop\nint $0x80\n");
extern u8 note_and_exit64[], note_and_sysret[], note_and_sysret32[];
#else
#define NOTE                                                                                                           \
    "mov $0x10,%eax\nmov %eax,%ds\nmov %ecx,seen\nmov %edx,seen+4\nmov %cs,%eax\nmov %eax,seen+8\nmov %ss,%eax\nmov "  \
    "%eax,seen+12\nmov "                                                                                               \
    "%esp,seen+16\nmov $trap_stack_top-256,%esp\npushf\npop seen+20\n"
asm(".text\nnote_and_end: " NOTE "int $0x80\n"
    "note_and_exit: " NOTE "mov target_ip,%edx\nmov target_sp,%ecx\nexit32_at: .byte 0x0f,0x35\n"
    "landed: nop\nint $0x80\n");
#endif
extern u8 note_and_end[], note_and_exit[], landed[];
SNIPPET(by_sysenter, "mov $0x1111,%ecx\nmov $0x2222,%edx\nsysenter");
SNIPPET(by_syscall, "mov $0x1111,%ecx\nsyscall");
SNIPPET(by_sysexit, ".byte 0x0f,0x35");
SNIPPET(by_sysret, ".byte 0x0f,0x07");

static void show(const char *name, const u8 *code)
{
    put(name);
    put(":");
    if (trap.vector >= 0) {
        put_field("trap", (u32)trap.vector, 2);
        put_field("e", trap.error, 4);
        put(trap.ip - (word)code < 0x20 ? " in the program" : " elsewhere");
    }
    put_field("cs", trap.cs, 2);
    put_field("ss", trap.ss, 2);
    if (trap.ip == (word)landed + 3)
        put(" landed");
    put_field("sp", trap.sp == target_sp ? 0 : trap.sp == (word)user_stack_top ? 1 : 2, 1);
    put_field("flags", trap.flags & (trap.vector < 0 ? 0x3f7700 : 0x3e7700), 6);
    end_line();
    if (seen[IF64(2, 2)]) {
        put(name);
        put(", kernel:");
        put_field("cs", seen[2], 2);
        put_field("ss", seen[3], 2);
        put_field("flags", seen[5] & 0x3f7702, 6);
#ifdef __x86_64__
        put_field("r11", seen[1] & 0x3f7702, 6);
        put(seen[0] - (word)code < 0x20 ? " rcx" : " no rcx");
#endif
        end_line();
    }
    for (unsigned i = 0; i < COUNT_OF(seen); i++)
        seen[i] = 0;
}

static void user(const char *name, const u8 *code, unsigned cs, unsigned ss, word flags)
{
    attempt_user_at((word)code, cs, (word)user_stack_top, ss, flags);
    show(name, code);
}

static void kernel(const char *name, const u8 *code)
{
    attempt(code);
    show(name, code);
}

static void set_entry(const void *entry)
{
    write_msr(0x174, BASE);
    write_msr(0x175, (word)trap_stack_top - 512);
    write_msr(0x176, (word)entry);
}

static void by_msrs(void)
{
    target_ip = (word)landed;
    target_sp = (word)user_stack_top - 64;
    for (unsigned i = 0; i < 6; i++)
        gdt[BASE / 8 + i] = 0; // the descriptors are never looked at on the way in
    write_msr(0x174, 0);
    user("SYSENTER with CS 0", by_sysenter, USER_CODE, USER_DATA, 0x202);
    write_msr(0x174, 3);
    if (!leaves_out("SYSENTER with CS 3")) // QEMU takes it
        user("SYSENTER with CS 3", by_sysenter, USER_CODE, USER_DATA, 0x202);
    set_entry(note_and_end);
    write_msr(0x174, BASE | 3);
    user("SYSENTER with RPL in its CS", by_sysenter, USER_CODE, USER_DATA, 0x203202);
    set_entry(note_and_exit);
    user("SYSENTER, SYSEXIT", by_sysenter, USER_CODE, USER_DATA, 0x203202);
    kernel("SYSENTER from ring 0, SYSEXIT", by_sysenter);
    write_msr(0x174, 0);
    kernel("SYSEXIT with CS 0", by_sysexit);
    write_msr(0x174, BASE);
    user("SYSEXIT at ring 3", by_sysexit, USER_CODE, USER_DATA, 2);
}

#ifndef __x86_64__
static void legacy(void)
{
    user("SYSCALL", by_syscall, USER_CODE, USER_DATA, 2);
    kernel("SYSRET", by_sysret);
    write_msr(EFER, 1);
    if (!leaves_out("SYSCALL with SCE"))
        user("SYSCALL with SCE", by_syscall, USER_CODE, USER_DATA, 2);
    if (!leaves_out("SYSRET with SCE"))
        kernel("SYSRET with SCE", by_sysret);
    // Virtual-8086 mode leaves through SYSENTER like any other.
    set_entry(note_and_end);
    ((volatile u16 *)0x30000)[0] = 0x340f;
    static u32 frame[] = {0, 0x3000, 0x20202, 0x1000, 0x3000, 0, 0, 0, 0};
    extern u32 *frame_at;
    extern u8 enter_frame[];
    frame_at = frame;
    attempt(enter_frame);
    show("SYSENTER in virtual-8086 mode", 0);
}
u32 *frame_at;
asm(".text\nenter_frame: mov frame_at,%eax\nmov $9,%ecx\n1: pushl -4(%eax,%ecx,4)\nloop 1b\niret\n");
#else
static bool stepped(struct frame *frame)
{
    if (frame->vector != 1)
        return false;
    put_field("step", frame->ip == (word)landed ? 1 : frame->ip == (word)landed + 1 ? 2 : 3, 1);
    frame->flags &= ~(word)0x100;
    return true;
}

static void wide(void)
{
    const word bad = 0x800000000000;
    user("SYSENTER from compatibility code", by_sysenter, 0x2b, 0x33, 0x202);
    set_entry(note_and_exit64);
    user("SYSENTER, SYSEXIT to 64 bits", by_sysenter, USER_CODE, USER_DATA, 0x202);
    target_ip = bad;
    user("SYSEXIT to a bad IP", by_sysenter, USER_CODE, USER_DATA, 0x202);
    target_ip = (word)landed;
    target_sp = bad;
    user("SYSEXIT to a bad SP", by_sysenter, USER_CODE, USER_DATA, 0x202);
    set_entry(note_and_exit);
    target_sp = (word)user_stack_top - 64 + UINT64_C(0x123400000000);
    user("SYSEXIT to 32 bits cuts SP", by_sysenter, USER_CODE, USER_DATA, 0x202);
    target_sp = (word)user_stack_top - 64;

    write_msr(STAR, (u64)0x2b << 48 | (u64)KERNEL_CODE << 32);
    write_msr(LSTAR, (word)note_and_end);
    write_msr(CSTAR, (word)note_and_end);
    write_msr(SFMASK, 0);
    user("SYSCALL without SCE", by_syscall, USER_CODE, USER_DATA, 2);
    kernel("SYSRET without SCE", by_sysret);
    write_msr(EFER, read_msr(EFER) | 1);
    if (!leaves_out("SYSCALL from compatibility code"))
        user("SYSCALL from compatibility code", by_syscall, 0x2b, 0x33, 2);
    user("SYSCALL, no mask", by_syscall, USER_CODE, USER_DATA, 0x203602);
    write_msr(SFMASK, 0x3f7fd5);
    user("SYSCALL, all masked", by_syscall, USER_CODE, USER_DATA, 0x203602);
    write_msr(SFMASK, 0x47700);
    kernel("SYSCALL in ring 0", by_syscall);
    write_msr(LSTAR, (word)note_and_sysret);
    exit_flags = ~(word)0x30100;
    user("SYSRET with all flags", by_syscall, USER_CODE, USER_DATA, 2);
    exit_flags = 0x10002;
    user("SYSRET with RF", by_syscall, USER_CODE, USER_DATA, 2);
    exit_flags = 0x20002;
    user("SYSRET with VM", by_syscall, USER_CODE, USER_DATA, 2);
    exit_flags = 0x102;
    put("stepping:");
    trap_hook = stepped;
    attempt_user_at((word)by_syscall, USER_CODE, (word)user_stack_top, USER_DATA, 2);
    trap_hook = 0;
    end_line();
    show("SYSRET with TF", by_syscall);
    exit_flags = 2;
    write_msr(STAR, (u64)0x2a << 48 | (u64)KERNEL_CODE << 32);
    user("SYSRET with RPL 2 in STAR", by_syscall, USER_CODE, USER_DATA, 2);
    write_msr(STAR, (u64)0x28 << 48 | (u64)(KERNEL_CODE | 3) << 32);
    user("SYSCALL with RPL 3 in STAR", by_syscall, USER_CODE, USER_DATA, 2);
    target_ip = bad;
    user("SYSRET to a bad IP", by_syscall, USER_CODE, USER_DATA, 2);
    target_ip = (word)landed;
    target_sp = bad;
    user("SYSRET with a bad SP", by_syscall, USER_CODE, USER_DATA, 2);
    target_sp = (word)user_stack_top - 64;
    write_msr(LSTAR, (word)note_and_sysret32);
    target_ip = (word)landed | UINT64_C(0xffffffff00000000);
    user("SYSRET to 32 bits cuts IP", by_syscall, USER_CODE, USER_DATA, 2);
}
#endif

int main(void);
int main(void)
{
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    by_msrs();
#ifdef __x86_64__
    wide();
#else
    legacy();
#endif
    return 0;
}
