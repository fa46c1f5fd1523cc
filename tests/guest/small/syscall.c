// SYSCALL and SYSRET to 64-bit and compatibility code, SYSENTER and SYSEXIT, SWAPGS, FS and GS bases, IRET to
// compatibility code.
#include "guest.h"

#define EFER 0xc0000080
#define STAR 0xc0000081
#define LSTAR 0xc0000082
#define SFMASK 0xc0000084
#define FS_BASE 0xc0000100
#define GS_BASE 0xc0000101
#define KERNEL_GS 0xc0000102

u64 seen[8], back_flags, user_data[4] = {0x1111, 0x2222, 0x3333, 0x4444}, kernel_data[2] = {0xaaaa, 0xbbbb};

asm(".text\n"
    ".macro see\nmov %rcx,seen\nmov %r11,seen+8\nmov %cs,%ecx\nmov %ecx,seen+16\nmov %ss,%ecx\nmov %ecx,seen+24\n"
    "mov %rsp,seen+32\nmov $trap_stack_top,%rsp\npushf\npop seen+40\nmov seen+32,%rsp\nmov seen,%rcx\n.endm\n"
    "entry64: see\nmov back_flags,%r11\nsysretq\n"
    "entry32: see\nmov back_flags,%r11\nsysretl\n"
    "entry_fast: see\nmov $user_stack_top-64,%ecx\nmov $fast_target,%edx\nsysexitl\n"
    "entry_fast64: see\nmov $user_stack_top-64,%ecx\nmov $fast_target64,%edx\nsysexitq\n"
    "entry_bad: see\nmovabs $0x800000000000,%rcx\nsysretq\n"
    "fast_target64: mov %cs,%eax\nint $0x80\n"
    ".code32\nfast_target: mov %cs,%eax\ndec %eax\nint $0x80\n" // DEC EAX would be a prefix in 64-bit code
    "compatible: mov $0x12345678,%eax\ninc %eax\nmov %ss,%ecx\nint $0x80\n.code64\n");
extern u8 entry64[], entry32[], entry_fast[], entry_fast64[], entry_bad[], compatible[];

SNIPPET(call, "mov $0x55,%eax\nsyscall\nadd $1,%eax");
SNIPPET(call_compatible, "mov $0x55,%eax\nsyscall\n.byte 0x40,0x48,0xcd,0x80"); // in 32 bits: INC, DEC; INT 0x80
SNIPPET(enter_kernel, "mov $0x66,%eax\nsysenter");
SNIPPET(user_sysret, "nop\nsysretq");
SNIPPET(user_sysexit, "nop\nsysexitl");
SNIPPET(user_swapgs, "nop\nswapgs");
SNIPPET(swapgs_read, "mov %gs:8,%rax\nswapgs\nmov %gs:8,%rcx\nswapgs\nshl $16,%rax\nor %rcx,%rax");
SNIPPET(fs_relative, "mov %fs:0,%rax\nadd %fs:8,%rax");
SNIPPET(fs_address32, "mov $0xfffffff8,%ecx\nmov %fs:8(%ecx),%rax"); // the sum wraps at 32 bits before the base
SNIPPET(read_fs_base, "rdfsbase %rax\nsub $user_data,%rax");
SNIPPET(read_gs_base, "rdgsbase %rax\nsub $user_data,%rax");
SNIPPET(write_fs_base, "mov $user_data+8,%eax\nwrfsbase %rax\nmov %fs:0,%rax");
SNIPPET(write_fs_base32, "mov $-1,%rax\nmov $user_data+16,%ecx\nwrfsbase %ecx\nmov %fs:0,%rax");
SNIPPET(write_bad_base, "movabs $0x800000000000,%rax\nwrfsbase %rax");
SNIPPET(ds_base_ignored, "mov user_data,%rax");

static void clear_seen(void)
{
    for (unsigned i = 0; i < COUNT_OF(seen); i++)
        seen[i] = 0;
}

static void show(const char *name, const void *code)
{
    word ax = attempt_user(code);
    report(name, code, ax);
    put(name);
    put(" saw:");
    if (seen[2]) {
        put_field("rcx", seen[0] - (word)code, 4);
        put_field("r11", seen[1], 8);
        put_field("cs", seen[2], 2);
        put_field("ss", seen[3], 2);
        put_field("below", (word)user_stack_top - seen[4], 2);
        put_field("flags", seen[5], 6);
    }
    put_field("back cs", trap.cs, 2);
    put_field("ss", trap.ss, 2);
    put_field("flags", trap.flags & ~0x10000ul, 6);
    put_field("below", (word)user_stack_top - trap.sp, 4);
    end_line();
    clear_seen();
}

static void fast(void)
{
    write_msr(0x174, 0);
    probe_user("SYSENTER without CS", enter_kernel);
    // SYSENTER_CS 80: code and stack of ring 0; SYSEXIT: 90, 98 (32 bits) or a0, a8.
    gdt[0x80 / 8] = gdt[KERNEL_CODE / 8];
    gdt[0x88 / 8] = gdt[KERNEL_DATA / 8];
    gdt[0x90 / 8] = gdt[0x28 / 8];
    gdt[0x98 / 8] = gdt[0x30 / 8];
    gdt[0xa0 / 8] = gdt[0x38 / 8];
    gdt[0xa8 / 8] = gdt[0x40 / 8];
    write_msr(0x174, 0x80);
    write_msr(0x175, (word)trap_stack_top - 16);
    write_msr(0x176, (word)entry_fast);
    static const char *const names[] = {"SYSENTER, SYSEXIT to 32 bits", "SYSENTER, SYSEXIT to 64 bits"};
    for (unsigned i = 0; i < 2; i++) {
        write_msr(0x176, (word)(i ? entry_fast64 : entry_fast));
        word ax = attempt_user(enter_kernel);
        put(names[i]);
        put(":");
        put_field("cs", seen[2], 2);
        put_field("ss", seen[3], 2);
        put_field("sp", (word)trap_stack_top - seen[4], 2);
        put_field("flags", seen[5], 6);
        put_field("ax", ax, 8);
        put_field("back cs", trap.cs, 2);
        put_field("ss", trap.ss, 2);
        put_field("below", (word)user_stack_top - trap.sp, 4);
        end_line();
        clear_seen();
    }
    probe_user("user SYSEXIT", user_sysexit);
}

int main(void);
int main(void)
{
    probe_user("SYSCALL without SCE", call);
    write_msr(EFER, read_msr(EFER) | 1);
    write_msr(STAR, (u64)0x18 << 32 | (u64)0x2b << 48);
    write_msr(LSTAR, (word)entry64);
    write_msr(SFMASK, 0x4 | 0x100 | 0x200 | 0x400 | 0x40000);
    back_flags = 2;
    show("SYSCALL", call);
    back_flags = 0x00244cd7 & ~0x100;
    show("SYSCALL, flags back", call);
    back_flags = 0xffffffffffffffff & ~0x74300ull; // reserved bits, VM and RF do not come back
    show("SYSCALL, all flags back", call);
    back_flags = 2;
    write_msr(LSTAR, (word)entry32);
    show("SYSRET to 32 bits", call_compatible);
    write_msr(SFMASK, 0);
    write_msr(LSTAR, (word)entry64);
    show("SYSCALL without mask", call);
    write_msr(LSTAR, (word)entry_bad);
    attempt_user(call);
    put("SYSRET to a non-canonical address:");
    put_field("trap", (u32)trap.vector, 2);
    put_field("e", trap.error, 4);
    put_field("cs", trap.cs, 2);
    end_line();
    probe_user("user SYSRET", user_sysret);
    fast();

    word ax = attempt_user_at((word)compatible, 0x2b, (word)user_stack_top, USER_DATA, 2);
    put("IRET to 32 bits:");
    put_field("ax", ax, 8);
    put_field("cs", trap.cs, 2);
    put_field("trap", (u32)trap.vector, 2);
    end_line();

    write_msr(GS_BASE, (word)user_data);
    write_msr(KERNEL_GS, (word)kernel_data);
    write_msr(FS_BASE, (word)user_data);
    probe("SWAPGS", swapgs_read);
    probe_user("user SWAPGS", user_swapgs);
    probe("loads by FS", fs_relative);
    asm volatile("mov %0,%%fs" : : "r"(0)); // a null selector outlives a return to ring 3, and so does the base
    write_msr(FS_BASE, (word)user_data);
    probe_user("user loads by FS", fs_relative);
    probe("FS and 32-bit addresses", fs_address32);
    probe("RDFSBASE without CR4.FSGSBASE", read_fs_base);
    write_cr4(read_cr4() | 0x10000);
    probe_user("user RDFSBASE", read_fs_base);
    probe_user("user RDGSBASE", read_gs_base);
    probe_user("user WRFSBASE", write_fs_base);
    probe_user("user WRFSBASE of 32 bits", write_fs_base32);
    probe("WRFSBASE non-canonical", write_bad_base);
    probe("DS has no base", ds_base_ignored);
    return 0;
}
