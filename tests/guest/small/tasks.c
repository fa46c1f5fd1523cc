// Hardware task switches: JMP, CALL, INT and IRET through TSS descriptors and task gates; link, NT, busy bits, TS, what
// is saved and loaded; a double fault through a task gate with a broken stack.
#include "guest.h"

struct tss {
    u32 link, sp0, ss0, sp1, ss1, sp2, ss2, cr3, ip, flags, ax, cx, dx, bx, sp, bp, si, di, es, cs, ss, ds, fs, gs, ldt;
    u16 trap, io_map;
} __attribute__((packed));

#define OTHER 0x58
#define GATE 0x60
#define DOUBLE 0x68
#define GATE3 0x78

struct tss other, faulting;
u32 in_task[8];

// The other task: notes what it found, comes back by IRET (when nested), JMP or CALL ends.
asm(".text\nother_task: mov %eax,in_task\npushf\npop in_task+4\nstr %eax\nmov %eax,in_task+8\nmov %cr0,%eax\nmov "
    "%eax,in_task+12\n"
    "mov gdt+0x4c,%eax\nmov %eax,in_task+16\nmov gdt+0x5c,%eax\nmov %eax,in_task+20\nmov other,%eax\nmov "
    "%eax,in_task+24\nclts\n"
    "addl $1,in_task+28\nmov $0x1234,%ebx\niret\njmp other_task\n"
    "jump_task: mov %eax,in_task\npushf\npop in_task+4\nstr %eax\nmov %eax,in_task+8\nmov gdt+0x4c,%eax\nmov "
    "%eax,in_task+16\n"
    "mov gdt+0x5c,%eax\nmov %eax,in_task+20\nclts\nljmp $0x48,$0\njmp jump_task\n"
    "double_task: mov (%esp),%eax\nmov %eax,in_task\nstr %eax\nmov %eax,in_task+8\nmov faulting,%eax\nmov "
    "%eax,in_task+12\n"
    "mov tss+0x20,%eax\nsub $double_fault,%eax\nmov %eax,in_task+16\nmov tss+0x38,%eax\nmov %eax,in_task+20\n"
    "movl $double_back,tss+0x20\nmov double_stack,%eax\nmov %eax,tss+0x38\nclts\nadd $4,%esp\niret\njmp double_task\n");
extern u8 other_task[], jump_task[], double_task[];
u32 double_stack;

SNIPPET(by_call, "mov $0x55,%eax\nlcall $0x58,$0x1234");
SNIPPET(by_gate, "mov $0x66,%eax\nlcall $0x60,$0x1234");
SNIPPET(by_jump, "mov $0x77,%eax\nljmp $0x58,$0x1234\nmov $3,%eax");
SNIPPET(by_interrupt, "mov $0x88,%eax\nint $0x50");
SNIPPET(call_busy, "nop\nlcall $0x48,$0");
SNIPPET(jump_busy, "nop\nljmp $0x48,$0");
SNIPPET(double_fault,
        "mov %esp,double_stack\nmov $0x50000,%esp\nmov $0x80,%eax\nmov %eax,%ss\nmov $0x10,%esp\npush %eax\n"
        "double_back: mov $0x10,%eax\nmov %eax,%ss\nmov $7,%eax");
SNIPPET(user_call, "nop\nlcall $0x58,$0");
SNIPPET(user_gate, "mov $0x99,%eax\nlcall $0x7b,$0");

static void show(const char *name)
{
    put(name);
    put(" saw:");
    for (unsigned i = 0; i < COUNT_OF(in_task); i++) {
        put(" ");
        put_hex(in_task[i], 8);
        in_task[i] = 0;
    }
    put_field("busy", (u32)(gdt[TSS_SELECTOR / 8] >> 40) & 0xff, 2);
    put_field("and", (u32)(gdt[OTHER / 8] >> 40) & 0xff, 2);
    u16 tr;
    asm volatile("str %0" : "=r"(tr));
    put_field("tr", tr, 4);
    put_field("TS", (u32)read_cr0() >> 3 & 1, 1);
    word flags;
    asm volatile("pushf\npop %0" : "=r"(flags));
    put_field("NT", flags >> 14 & 1, 1);
    put_field("saved bx", other.bx, 8);
    end_line();
    asm volatile("clts\npushf\nandl $~0x4000,(%%esp)\npopf" : : : "memory", "cc");
}

static void prepare(struct tss *t, const void *entry)
{
    *t = (struct tss){.ip = (u32)entry,
                      .flags = 2,
                      .ax = 0xaaaa,
                      .bx = 0xbbbb,
                      .sp = (u32)other_stack_top,
                      .es = 0x10,
                      .cs = 8,
                      .ss = 0x10,
                      .ds = 0x10,
                      .fs = 0x10,
                      .gs = 0x10,
                      .io_map = sizeof *t,
                      .sp0 = (u32)trap_stack_top,
                      .ss0 = 0x10};
}

int main(void);
int main(void)
{
    set_segment(OTHER, (u32)&other, sizeof other - 1, 0x89, 0);
    set_segment(DOUBLE, (u32)&faulting, sizeof faulting - 1, 0x89, 0);
    gdt[GATE / 8] = (u64)OTHER << 16 | (u64)0x85 << 40;
    gdt[GATE3 / 8] = (u64)OTHER << 16 | (u64)0xe5 << 40;
    set_segment(0x80, 0x50000, 0xfff, 0x97, 4); // expand-down: nothing below 0x1000
    prepare(&other, other_task);
    prepare(&faulting, double_task);
    set_gate(0x50, 0, OTHER, 0x85);
    probe("CALL of a TSS", by_call);
    show("CALL of a TSS");
    prepare(&other, other_task);
    probe("CALL of a task gate", by_gate);
    show("CALL of a task gate");
    prepare(&other, other_task);
    probe("INT through a task gate", by_interrupt);
    show("INT through a task gate");
    prepare(&other, jump_task);
    probe("JMP of a TSS", by_jump);
    show("JMP of a TSS");
    probe("CALL of the busy TSS", call_busy);
    probe("JMP to the busy TSS", jump_busy);
    prepare(&other, other_task);
    probe_user("user CALL of a TSS", user_call);
    prepare(&other, other_task);
    probe_user("user CALL of a task gate", user_gate);
    show("user CALL of a task gate");
    set_gate(8, 0, DOUBLE, 0x85);
    probe_not_tcg("double fault through a task gate", double_fault);
    show("double fault through a task gate");
    return 0;
}
