// Task switches that go wrong in the middle, and the rarer kinds: which error code, in whose context, what the link and
// the busy bits are then (SDM vol. 3 sec. 7.3, table 7-1); 16-bit tasks, virtual-8086 tasks, error codes through task
// gates, a task's own LDT and CR3, nested returns along a broken link.
#include "guest.h"

struct tss32 {
    u32 link, sp0, ss0, sp1, ss1, sp2, ss2, cr3, ip, flags, ax, cx, dx, bx, sp, bp, si, di, es, cs, ss, ds, fs, gs, ldt;
    u16 trap, io_map;
} __attribute__((packed));
struct tss16 {
    u16 link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags, ax, cx, dx, bx, sp, bp, si, di, es, cs, ss, ds, ldt;
} __attribute__((packed));

#define OTHER 0x58
#define OTHER16 0x60
#define GATE 0x68
#define LDT 0x70
#define ABSENT_CODE 0x78
#define ABSENT_DATA 0x80
#define EXECUTE 0x88
#define ABSENT_LDT 0x90
#define SHORT_CODE 0x98
#define CODE16 0xa0 // ring 3, 16 bits, based at the image
#define EMPTY 0x1f8

static struct tss32 other;
static struct tss16 other16;
static u64 ldt[4];
static __attribute__((aligned(4096))) u32 directory[2][1024];
u32 task_ax, task_error, task_value;

// What the tasks run, in ring 3: notes AX and what lies on the stack.
asm(".text\ntask_code: nop\nint $0x80\n"
    "task_pops: pop task_error\nint $0x80\n"
    "task_reads: mov 0x40000000,%eax\nmov %eax,task_value\nint $0x80\n"
    ".code16\ntask_code16: nop\nint $0x80\n.code32\n");
extern u8 task_code[], task_pops[], task_reads[], task_code16[];

SNIPPET(by_call, "mov $0x55aa1122,%eax\nlcall $0x58,$0");
SNIPPET(by_jump, "mov $0x55aa1122,%eax\nljmp $0x58,$0");
SNIPPET(by_gate, "lcall $0x68,$0");
SNIPPET(by_int, "int $0x60");
SNIPPET(by_call16, "mov $0x55aa1122,%eax\nmov $0x66bb3344,%ebx\nlcall $0x60,$0");
SNIPPET(by_iret, "pushf\norl $0x4000,(%esp)\npopf\nby_iret_at: iret");
SNIPPET(by_fault, "mov $0x1f8,%eax\nby_fault_at: mov %eax,%fs");
extern u8 by_iret_at[], by_fault_at[];

static void prepare(void)
{
    set_segment(OTHER, (u32)&other, sizeof other - 1, 0x89, 0);
    set_segment(OTHER16, (u32)&other16, sizeof other16 - 1, 0x81, 0);
    other = (struct tss32){.sp0 = (u32)trap_stack_top,
                           .ss0 = KERNEL_DATA,
                           .cr3 = (u32)directory[0],
                           .ip = (u32)task_code,
                           .flags = 2,
                           .ax = 0xaaaa,
                           .sp = (u32)user_stack_top,
                           .es = USER_DATA,
                           .cs = USER_CODE,
                           .ss = USER_DATA,
                           .ds = USER_DATA,
                           .fs = USER_DATA,
                           .gs = USER_DATA,
                           .io_map = sizeof other};
    other16 = (struct tss16){.sp0 = 0xff00, // ring 0's stack needs 16 bits: at the end of the image's 64 KiB
                             .ss0 = KERNEL_DATA,
                             .ip = (u16)((u32)task_code16 - 0x10000),
                             .flags = 2,
                             .ax = 0xaaaa,
                             .bx = 0xbbbb,
                             .sp = 0x8000,
                             .es = USER_DATA,
                             .cs = CODE16 | 3,
                             .ss = USER_DATA,
                             .ds = USER_DATA};
    gdt[GATE / 8] = (u64)OTHER << 16 | (u64)0xe5 << 40;
    write_cr3((word)directory[0]);
}

/// Runs, prints the trap and the links, then puts the first task back.
static void show(const char *name, const u8 *code)
{
    u16 tr;
    word dr6;
    struct tss32 *first = (struct tss32 *)(void *)tss;
    asm volatile("mov %0,%%dr6" : : "r"(0xffff0ff0));
    attempt(code);
    asm volatile("str %0\nmov %%dr6,%1" : "=r"(tr), "=r"(dr6));
    put(name);
    put(":");
    if (trap.vector == 0x80) {
        put(" arrived");
    } else {
        put_field("trap", (u32)trap.vector, 2);
        put_field("e", trap.error, 4);
        put(trap.ip - (u32)code < 0x20 ? " in the old" : trap.ip - (u32)task_code <= 1 ? " in the new" : " elsewhere");
    }
    put_field("cs", trap.cs, 4);
    put_field("tr", tr, 2);
    put_field("link", tr == OTHER16 ? other16.link : other.link & 0xffff, 2);
    put_field("busy", (u32)(gdt[TSS_SELECTOR / 8] >> 40) & 0xff, 2);
    put_field("and", (u32)(gdt[OTHER / 8] >> 40) & 0xff, 2);
    put_field("flags", trap.flags & 0x27700, 5);
    put_field("TS", (u32)read_cr0() >> 3 & 1, 1);
    if (dr6 & 0xe00f)
        put_field("dr6", dr6 & 0xe00f, 4);
    if (tr != TSS_SELECTOR)
        put_field("saved ip+", first->ip - (u32)code, 2);
    end_line();
    gdt[TSS_SELECTOR / 8] &= ~((u64)2 << 40);
    asm volatile("ltr %w0\nclts\npushf\nandl $~0x4000,(%%esp)\npopf" : : "r"(TSS_SELECTOR) : "memory", "cc");
    asm volatile("lldt %w0" : : "r"(0));
    first->link = 0;
    prepare();
}

#define WITH(name, code, change)                                                                                       \
    do {                                                                                                               \
        change;                                                                                                        \
        show(name, code);                                                                                              \
    } while (0)

// QEMU's triple faults.
#define NOT_TCG_WITH(name, code, change)                                                                               \
    do {                                                                                                               \
        if (!leaves_out(name))                                                                                         \
            WITH(name, code, change);                                                                                  \
    } while (0)

static void descriptors(void)
{
    show("CALL", by_call);
    show("JMP", by_jump);
    WITH("TSS not present", by_call, set_segment(OTHER, (u32)&other, 0x67, 0x09, 0));
    WITH("TSS busy", by_call, set_segment(OTHER, (u32)&other, 0x67, 0x8b, 0));
    WITH("TSS busy and not present", by_call, set_segment(OTHER, (u32)&other, 0x67, 0x0b, 0));
    WITH("TSS of 103 bytes", by_call, set_segment(OTHER, (u32)&other, 0x66, 0x89, 0));
    WITH("TSS of 103 bytes by JMP", by_jump, set_segment(OTHER, (u32)&other, 0x66, 0x89, 0));
    WITH("gate not present", by_gate, gdt[GATE / 8] = (u64)OTHER << 16 | (u64)0x65 << 40);
    WITH("gate to null", by_gate, gdt[GATE / 8] = (u64)0xe5 << 40);
    WITH("gate to an LDT selector", by_gate, gdt[GATE / 8] = (u64)(OTHER | 4) << 16 | (u64)0xe5 << 40);
    WITH("gate to data", by_gate, gdt[GATE / 8] = (u64)KERNEL_DATA << 16 | (u64)0xe5 << 40);
    WITH("gate to an empty slot", by_gate, gdt[GATE / 8] = (u64)EMPTY << 16 | (u64)0xe5 << 40);
    WITH("gate to a busy TSS", by_gate, set_segment(OTHER, (u32)&other, 0x67, 0x8b, 0));
    WITH("gate to an absent TSS", by_gate, set_segment(OTHER, (u32)&other, 0x67, 0x09, 0));
    set_gate(0x60, 0, OTHER, 0xe5);
    show("INT through a task gate", by_int);
    WITH("INT, TSS busy", by_int, set_segment(OTHER, (u32)&other, 0x67, 0x8b, 0));
    WITH("INT, TSS not present", by_int, set_segment(OTHER, (u32)&other, 0x67, 0x09, 0));
    WITH("INT, TSS of 103 bytes", by_int, set_segment(OTHER, (u32)&other, 0x66, 0x89, 0));
    WITH("INT, gate not present", by_int, set_gate(0x60, 0, OTHER, 0x65));
}

static void state(void)
{
    WITH("LDT null", by_call, other.ldt = 0);
    NOT_TCG_WITH("LDT in the LDT", by_call, other.ldt = 4);
    NOT_TCG_WITH("LDT is code", by_call, other.ldt = KERNEL_CODE);
    NOT_TCG_WITH("LDT not present", by_call, other.ldt = ABSENT_LDT);
    NOT_TCG_WITH("LDT beyond the GDT", by_call, other.ldt = 0xff8);
    NOT_TCG_WITH("CS null", by_call, other.cs = 3);
    NOT_TCG_WITH("CS empty", by_call, other.cs = EMPTY | 3);
    NOT_TCG_WITH("CS data", by_call, other.cs = USER_DATA);
    NOT_TCG_WITH("CS of ring 0 with RPL 3", by_call, other.cs = KERNEL_CODE | 3);
    NOT_TCG_WITH("CS not present", by_call, other.cs = ABSENT_CODE | 3);
    NOT_TCG_WITH("CS in an LDT that is not there", by_call, other.cs = 0xf);
    NOT_TCG_WITH("SS null", by_call, other.ss = 0);
    NOT_TCG_WITH("SS empty", by_call, other.ss = EMPTY | 3);
    NOT_TCG_WITH("SS with RPL 0", by_call, other.ss = USER_DATA & ~3u);
    NOT_TCG_WITH("SS of ring 0", by_call, other.ss = KERNEL_DATA | 3);
    NOT_TCG_WITH("SS code", by_call, other.ss = USER_CODE);
    NOT_TCG_WITH("SS not present", by_call, other.ss = ABSENT_DATA | 3);
    WITH("DS null", by_call, other.ds = 0);
    WITH("DS empty", by_call, other.ds = EMPTY | 3);
    WITH("ES of ring 0", by_call, other.es = KERNEL_DATA | 3);
    WITH("FS execute-only", by_call, other.fs = EXECUTE | 3);
    WITH("GS not present", by_call, other.gs = ABSENT_DATA | 3);
    WITH("DS a TSS", by_call, other.ds = TSS_SELECTOR);
    NOT_TCG_WITH("SS and DS bad", by_call, (other.ss = KERNEL_DATA | 3, other.ds = EMPTY));
    NOT_TCG_WITH("LDT and CS bad", by_call, (other.ldt = KERNEL_CODE, other.cs = EMPTY | 3));
    WITH("IP beyond the limit", by_call, other.cs = SHORT_CODE | 3);
    WITH("T bit", by_call, other.trap = 1);
    WITH("TF in the new flags", by_call, other.flags = 0x102);
    NOT_TCG_WITH("by JMP, SS null", by_jump, other.ss = 0);
    NOT_TCG_WITH("by INT, SS null", by_int, (set_gate(0x60, 0, OTHER, 0xe5), other.ss = 0));
}

static void links(void)
{
    struct tss32 *first = (struct tss32 *)(void *)tss;
    WITH("IRET along an empty link", by_iret, first->link = 0);
    WITH("IRET to a TSS that is not busy", by_iret, first->link = OTHER);
    WITH("IRET to code", by_iret, first->link = KERNEL_CODE);
    WITH("IRET to an LDT selector", by_iret, first->link = OTHER | 4);
    WITH("IRET beyond the GDT", by_iret, first->link = 0xff8);
    WITH("IRET to an absent TSS", by_iret, (first->link = OTHER, set_segment(OTHER, (u32)&other, 0x67, 0x0b, 0)));
    WITH("IRET to a busy TSS", by_iret, (first->link = OTHER, set_segment(OTHER, (u32)&other, 0x67, 0x8b, 0)));
    WITH("IRET to a short TSS", by_iret, (first->link = OTHER, set_segment(OTHER, (u32)&other, 0x66, 0x8b, 0)));
    NOT_TCG_WITH("IRET to a TSS with a bad SS", by_iret,
                 (first->link = OTHER, set_segment(OTHER, (u32)&other, 0x67, 0x8b, 0), other.ss = 0));
}

static void kinds(void)
{
    // An exception with an error code through a task gate.
    struct gate saved = idt[13];
    set_gate(13, 0, OTHER, 0x85);
    task_error = 0;
    WITH("#GP through a task gate", by_fault, other.ip = (u32)task_pops);
    idt[13] = saved;
    put("its error code:");
    put_field("e", task_error, 8);
    end_line();
    // Its own address space.
    *(volatile u32 *)0x800000 = 0x11111111;
    *(volatile u32 *)0xc00000 = 0x22222222;
    WITH("another CR3", by_call, (other.cr3 = (u32)directory[1], other.ip = (u32)task_reads));
    put("what it read:");
    put_field("value", task_value, 8);
    end_line();
    // Code and data in its own LDT.
    ldt[1] = gdt[USER_CODE / 8];
    ldt[2] = gdt[USER_DATA / 8];
    WITH("code in its LDT", by_call, (other.ldt = LDT, other.cs = 0xf, other.ss = 0x17, other.ds = 0x17));
    // Virtual-8086 mode.
    *(volatile u16 *)0x30000 = 0x80cd; // INT 80
    WITH("virtual-8086 task", by_call,
         (other.flags = 0x23002, other.cs = 0x3000, other.ip = 0, other.ss = 0x3000, other.sp = 0x1000,
          other.ds = 0x1234, other.es = 0xffff, other.fs = 0x4321, other.gs = 1));
    WITH("virtual-8086 task with a bad LDT", by_call,
         (other.flags = 0x23002, other.cs = 0x3000, other.ip = 0, other.ss = 0x3000, other.ldt = KERNEL_CODE));
    // 16 bits.
    show("16-bit task", by_call16);
    put("16-bit task saw:");
    put_field("ax", task_ax & 0xffff, 4);
    put_field("ss", trap.ss, 4);
    put_field("sp", trap.sp & 0xffff, 4);
    end_line();
    WITH("16-bit TSS of 43 bytes", by_call16, set_segment(OTHER16, (u32)&other16, 0x2a, 0x81, 0));
    WITH("16-bit TSS, busy", by_call16, set_segment(OTHER16, (u32)&other16, 0x2b, 0x83, 0));
    WITH("16-bit task with a bad DS", by_call16, other16.ds = EMPTY);
}

static bool note(struct frame *frame)
{
    task_ax = frame->ax;
    return false;
}

int main(void);
int main(void)
{
    for (u32 i = 0; i < 1024; i++)
        directory[0][i] = directory[1][i] = i << 22 | 0x87;
    directory[0][0x100] = 0x800087; // 40000000 is not the same in the two
    directory[1][0x100] = 0xc00087;
    write_cr4(read_cr4() | 0x10);
    write_cr3((word)directory[0]);
    write_cr0(read_cr0() | 0x80000000);
    set_segment(LDT, (u32)ldt, sizeof ldt - 1, 0x82, 0);
    set_segment(ABSENT_LDT, (u32)ldt, sizeof ldt - 1, 0x02, 0);
    set_segment(ABSENT_CODE, 0, 0xfffff, 0x7b, 0xc);
    set_segment(ABSENT_DATA, 0, 0xfffff, 0x73, 0xc);
    set_segment(EXECUTE, 0, 0xfffff, 0xf9, 0xc);
    set_segment(SHORT_CODE, 0, 0xff, 0xfb, 4);
    set_segment(CODE16, 0x10000, 0xffff, 0xfb, 0);
    prepare();
    trap_hook = note;
    descriptors();
    state();
    links();
    kinds();
    return 0;
}
