// Faults while an event is delivered (SDM vol. 3 sec. 6.15, tables 6-4 and 6-5): for each first event, and each way in
// which its gate can fail, which vector and error code arrive. All first events come from user code.
#include "guest.h"

#define R(n) "%" IF64("r", "e") n
#define DOUBLE_TSS 0x68   // 32 bits: the double fault's task
#define RING1_CODE 0x70   // 32 bits: handlers in ring 1, whose stack is bad
#define ABSENT_STACK 0x79 // a stack of ring 1 that is not present
#define SMALL_TSS 0x80    // 64 bits: a TSS that ends before IST 7
#define ABSENT 0x9b       // data of ring 3 that is not present
#define EMPTY 0x1f8
#define UNMAPPED 0x40000000u
#define APIC 0xfee00000u

void on_trap(struct frame *frame);

SNIPPET(first_de, "xor %ecx,%ecx\ndiv %ecx");
SNIPPET(first_db, ".byte 0xf1");
SNIPPET(first_bp, "int3");
SNIPPET(first_int, "int $0x60");
SNIPPET(first_ud, "ud2");
SNIPPET(first_nm, "fnop");
SNIPPET(first_ts, IF64("mov $0x3b,%eax\nlar %ax,%eax", "pushf\norl $0x4000,(%esp)\npopf\niret"));
SNIPPET(first_np, "mov $0x9b,%eax\nmov %eax,%fs");
SNIPPET(first_ss, "mov $0x9b,%eax\nmov %eax,%ss");
SNIPPET(first_gp, "cli");
SNIPPET(first_pf, "mov %eax,0x40001238");
SNIPPET(first_mf, "fldcw control\nfld1\nfldz\nfdivrp\nfwait");
SNIPPET(first_ac, "mov $control," R("cx") "\nmov 1(" R("cx") "),%eax");
SNIPPET(first_xm, "ldmxcsr mxcsr\nxorps %xmm0,%xmm0\ndivss %xmm0,%xmm0");
SNIPPET(first_external, "nop\nnop");
#ifndef __x86_64__
SNIPPET(first_of, "mov $0x7f,%al\nadd %al,%al\ninto");
SNIPPET(first_br, "mov $7,%eax\nbound %eax,control");
#endif
__attribute__((aligned(64))) u32 control[4] = {0x37b, 0, 0, 0};
u32 mxcsr = 0x1f80 & ~0x80u;

static const struct first {
    const char *name;
    const u8 *code;
    unsigned vector;
} firsts[] = {{"#DE", first_de, 0},
              {"#DB", first_db, 1},
              {"INT3", first_bp, 3},
#ifndef __x86_64__
              {"INTO", first_of, 4},
              {"#BR", first_br, 5},
              {"#TS", first_ts, 10},
#endif
              {"#UD", first_ud, 6},
              {"#NM", first_nm, 7},
              {"#NP", first_np, 11},
              {"#SS", first_ss, 12},
              {"#GP", first_gp, 13},
              {"#PF", first_pf, 14},
              {"#MF", first_mf, 16},
              {"#AC", first_ac, 17},
              {"#XM", first_xm, 19},
              {"INT 60", first_int, 0x60},
              {"interrupt", first_external, 0x50}};

enum second { GATE_ABSENT, NO_CODE, BAD_STACK, ABSENT_STACK_SEGMENT, UNMAPPED_STACK, SECONDS };
static const char *const seconds[SECONDS] = {"gate absent", "no code", "TS", "SS", "PF"};

#ifdef __x86_64__
// IST 2 leads to unmapped memory, IST 3 is not canonical, IST 7 lies beyond the limit of the small TSS.
static void spoil(unsigned vector, enum second second)
{
    static const u8 ist[SECONDS] = {0, 0, 7, 3, 2};
    idt[vector].type |= ist[second];
}

static void prepare(void)
{
    *(u64 *)(void *)(tss + 0x24 + 8) = UNMAPPED + 0x1000;
    *(u64 *)(void *)(tss + 0x24 + 16) = UINT64_C(0x800000000000);
    set_segment(SMALL_TSS, (u32)(word)tss, 0x5a, 0x89, 0);
    asm volatile("ltr %w0" : : "r"(SMALL_TSS));
}
#else
// The handler's ring is 1, and the task's stack for ring 1 is bad.
struct tss32 {
    u32 link, sp0, ss0, sp1, ss1, sp2, ss2, cr3, ip, flags, ax, cx, dx, bx, sp, bp, si, di, es, cs, ss, ds, fs, gs, ldt;
    u16 trap, io_map;
} __attribute__((packed));
static struct tss32 double_tss;
static __attribute__((aligned(4096))) u32 directory[1024];

static void spoil(unsigned vector, enum second second)
{
    struct tss32 *t = (struct tss32 *)(void *)tss;
    idt[vector].selector = RING1_CODE;
    t->sp1 = second == UNMAPPED_STACK ? UNMAPPED + 0x1000 : (u32)other_stack_top;
    t->ss1 = second == BAD_STACK ? EMPTY + 1 : second == UNMAPPED_STACK ? 0x89 : ABSENT_STACK;
}

// The double fault's task: makes a frame of what it finds and goes back to the old task by hand.
void double_fault(u32 error);
void double_fault(u32 error)
{
    struct tss32 *old = (struct tss32 *)(void *)tss;
    struct frame frame = {.vector = 8, .error = error, .ip = old->ip, .cs = old->cs, .flags = old->flags};
    gdt[TSS_SELECTOR / 8] &= ~((u64)2 << 40);
    gdt[DOUBLE_TSS / 8] &= ~((u64)2 << 40);
    asm volatile("ltr %w0\nclts\npushf\nandl $~0x4000,(%%esp)\npopf" : : "r"(TSS_SELECTOR) : "memory", "cc");
    on_trap(&frame);
}
asm(".text\ndouble_entry: call double_fault\n");
extern u8 double_entry[];

static void prepare(void)
{
    for (u32 i = 0; i < 1024; i++)
        directory[i] = i << 22 | (i == UNMAPPED >> 22 ? 0 : 0x87);
    write_cr4(read_cr4() | 0x10);
    write_cr3((word)directory);
    write_cr0(read_cr0() | 0x80000000);
    set_segment(DOUBLE_TSS, (u32)&double_tss, sizeof double_tss - 1, 0x89, 0);
    double_tss = (struct tss32){.cr3 = (u32)directory,
                                .ip = (u32)double_entry,
                                .flags = 2,
                                .sp = (u32)stack_top - 4096,
                                .es = KERNEL_DATA,
                                .cs = KERNEL_CODE,
                                .ss = KERNEL_DATA,
                                .ds = KERNEL_DATA};
    set_gate(8, 0, DOUBLE_TSS, 0x85);
    set_segment(RING1_CODE, 0, 0xfffff, 0xbb, 0xc);
    set_segment(ABSENT_STACK, 0, 0xfffff, 0x33, 0xc);
    set_segment(0x88, 0, 0xfffff, 0xb3, 0xc);
}
#endif

static void nested(const struct first *first)
{
    put(first->name);
    put(":");
    for (enum second second = 0; second < SECONDS; second++) {
        struct gate saved = idt[first->vector];
        word *sp = (word *)user_stack_top;
        *--sp = (word)user_return;
        if (second == GATE_ABSENT)
            idt[first->vector].type &= 0x7fff;
        else if (second == NO_CODE)
            idt[first->vector].selector = EMPTY;
        else
            spoil(first->vector, second);
        if (first->vector == 7)
            write_cr0(read_cr0() | 8);
        if (first->vector == 0x50)
            *(volatile u32 *)(word)(APIC + 0x300) = 0x40050;
#ifndef __x86_64__
        double_tss.sp = (u32)stack_top - 4096;
        double_tss.ip = (u32)double_entry;
#endif
        attempt_user_at((word)first->code, USER_CODE, (word)sp, USER_DATA, first->vector == 0x50 ? 0x202 : 0x40002);
        write_cr0(read_cr0() & ~(word)8);
        asm volatile("fninit");
        idt[first->vector] = saved;
        put(" ");
        put(seconds[second]);
        put(" ");
        if (trap.vector < 0) {
            put("none");
        } else {
            put_number((u32)trap.vector);
            put("/");
            put_hex(trap.error, 4);
        }
        if (first->vector == 14 || trap.vector == 14 || second == UNMAPPED_STACK)
            put_field("cr2", trap.cr2, 8);
        if (second + 1 < SECONDS)
            put(",");
        if (first->vector == 0x50) // it was acknowledged all the same
            *(volatile u32 *)(word)(APIC + 0xb0) = 0;
    }
    end_line();
}

int main(void);
int main(void)
{
    prepare();
    set_segment(ABSENT & ~7u, 0, 0xfffff, 0x73, 0xc);
    set_gate(0x60, trap_entries + 16 * 0x60, KERNEL_CODE, 0xee);
    write_cr0(read_cr0() | 0x40022); // AM, NE, MP
    write_cr4(read_cr4() | 0x600);
    *(volatile u32 *)(word)(APIC + 0xf0) = 0x1ff;
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    for (unsigned i = 0; i < COUNT_OF(firsts); i++)
        nested(&firsts[i]);
    return 0;
}
