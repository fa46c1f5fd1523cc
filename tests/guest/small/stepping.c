// Single-step over what enters and leaves privileged code and switches tasks; BTF; RF with interrupts.
#include "guest.h"

#define R(n) "%" IF64("r", "e") n
#define APIC 0xfee00000u
#define DEBUGCTL 0x1d9
#define EFER 0xc0000080
#define STAR 0xc0000081
#define LSTAR 0xc0000082
#define SFMASK 0xc0000084

static const u8 *base;
static unsigned steps;
static bool keep_btf;
extern u8 branches[], branches_start[], entry[], fast_entry[], handler[], task_start[];
word back_flags, plain_flags;

static const struct {
    const char *name;
    const u8 *at;
    unsigned length;
} places[] = {{"entry+", entry, 64}, {"fast+", fast_entry, 32}, {"handler+", handler, 16}, {"task+", task_start, 32}};

static void put_place(word ip)
{
    for (unsigned i = 0; i < COUNT_OF(places); i++) {
        if (ip - (word)places[i].at < places[i].length) {
            put(places[i].name);
            put_number((u32)(ip - (word)places[i].at));
            return;
        }
    }
    if (ip - (word)base < 0x100)
        put_hex(ip - (word)base, 2);
    else
        put("elsewhere");
}

static bool step(struct frame *frame)
{
    if (frame->vector == 0x50) { // the interrupt
        put(" interrupt@");
        put_place(frame->ip);
        put_field("RF", frame->flags >> 16 & 1, 1);
        *(volatile u32 *)(word)(APIC + 0xb0) = 0;
        return true;
    }
    if (frame->vector != 1)
        return false;
    word dr6 = read_dr6();
    write_dr(6, 0xffff0ff0);
    put(" ");
    put_place(frame->ip);
    if ((dr6 & 0xe00f) != 0x4000) {
        put("/");
        put_hex(dr6 & 0xe00f, 4);
    }
    if (frame->flags & 0x10000)
        put("RF");
    if (!(frame->flags & 0x100))
        put("(TF clear)");
    if (keep_btf) {
        if (read_msr(DEBUGCTL) & 2)
            put("(BTF set)");
        write_msr(DEBUGCTL, 2);
    }
    if (dr6 & 1)
        frame->flags |= 0x10000;
    if (++steps > 30) {
        frame->flags &= ~(word)0x100;
        write_dr(7, 0x400);
    }
    return true;
}

static void begin(const char *name, const void *code)
{
    put(name);
    put(":");
    base = code;
    steps = 0;
    trap_hook = step;
}

static void end(void)
{
    trap_hook = 0;
    asm volatile("pushf\nandl $~0x300,(%%" IF64("rsp", "esp") ")\npopf" : : : "memory", "cc");
    if (trap.vector >= 0) {
        put_field("trap", (u32)trap.vector, 2);
        put_field("TF", trap.flags >> 8 & 1, 1);
    }
    write_dr(6, 0xffff0ff0);
    end_line();
}

static void kernel(const char *name, const void *code)
{
    begin(name, code == branches_start ? branches : code);
    attempt(code);
    end();
}

/// In ring 3, with TF from the start.
static void user(const char *name, const void *code)
{
    word *sp = (word *)user_stack_top;
    *--sp = (word)user_return;
    begin(name, code);
    attempt_user_at((word)code, USER_CODE, (word)sp, USER_DATA, 0x102);
    end();
}

#define TF_ON "pushf\n" IF64("orq $0x100,(%rsp)", "orl $0x100,(%esp)") "\npopf\n"
#define TF_OFF "\npushf\n" IF64("andq $~0x100,(%rsp)", "andl $~0x100,(%esp)") "\npopf\nnop"
#define TRACED(name, code) SNIPPET(name, TF_ON code TF_OFF)
#define IRET IF64("iretq", "iretl")
// A frame for IRET to label 1 with flags changed by `change`.
#ifdef __x86_64__
#define FRAME(change)                                                                                                  \
    "mov %rsp,%rdx\npush $0x20\npush %rdx\npushf\n" change "\npush $0x18\nlea 1f(%rip),%rax\npush %rax\niretq\n1: "
#define SET_FLAG(bit) "orl $" #bit ",(%rsp)"
#define CLEAR_FLAG(bit) "andl $~" #bit ",(%rsp)"
#else
#define FRAME(change) "pushf\n" change "\npush $0x08\npush $1f\niretl\n1: "
#define SET_FLAG(bit) "orl $" #bit ",(%esp)"
#define CLEAR_FLAG(bit) "andl $~" #bit ",(%esp)"
#endif

SNIPPET(iret_sets, FRAME(SET_FLAG(0x100)) "nop\nnop" TF_OFF);
TRACED(iret_clears, FRAME(CLEAR_FLAG(0x100)) "nop\nnop");
SNIPPET(popf_clears, TF_ON "pushf\n" CLEAR_FLAG(0x100) "\npopf\nnop\nnop");
TRACED(breakpoint, "int3\nnop");
TRACED(breakpoint_shadow, "mov %ss,%eax\nmov %eax,%ss\nint3\nnop");
TRACED(int1, ".byte 0xf1\nnop");
TRACED(undefined, "nop\nud2");
TRACED(repeated_none, "xor %ecx,%ecx\nrep stosb\nnop");
TRACED(far_return, IF64("push $0x18", "push $0x08") "\npush $1f\n" IF64("lretq", "lretl") "\n1: nop");
TRACED(write_tf_flags, "lahf\nsahf\npushf\npop " R("ax") "\nnop");
TRACED(control, "mov %cr3," R("ax") "\nmov " R("ax") ",%cr3\ninvlpg (" R("ax") ")\nnop");
TRACED(loops, "mov $3,%ecx\n2: loop 2b\nnop");
TRACED(port, "in $0x84,%al\nout %al,$0x84\nnop");
#ifndef __x86_64__
TRACED(into_not, "xor %eax,%eax\ninto\nnop");
TRACED(into_taken, "mov $0x7f,%al\nadd $1,%al\ninto\nnop");
TRACED(pop_stack, "push %ss\npop %ss\nnop\nnop");
TRACED(load_stack, "mov %esp,%eax\npush %ss\npush %eax\nlss (%esp),%esp\nnop\nnop");
SNIPPET(to_task, "nop\nljmp $0x60,$0\nnop");
TRACED(to_task_stepped, "ljmp $0x60,$0\nnop");
#endif

// ---- BTF ----
SNIPPET(branches,
        "xor %eax,%eax\n" TF_ON "nop\njnz 1f\nnop\njz 1f\nnop\n1: nop\njmp 2f\n2: call 3f\njmp 4f\n3: nop\nret\n4: "
        "nop\nmov $2,%ecx\nrep stosb\nmov $3,%ecx\n5: loop 5b\nnop" TF_OFF);
SNIPPET(branches_start,
        "mov $scratch," R("di") "\nmov $0x1d9,%ecx\nxor %edx,%edx\nmov $2,%eax\nwrmsr\nmov $branches," R(
            "ax") "\njmp *" R("ax"));
SNIPPET(read_debugctl, "mov $0x1d9,%ecx\nrdmsr");
SNIPPET(clear_debugctl, "mov $0x1d9,%ecx\nxor %eax,%eax\nxor %edx,%edx\nwrmsr");
u8 scratch[64];

// ---- RF ----
SNIPPET(rf_once, FRAME(SET_FLAG(0x10000)) "here: nop\nthere: nop\nnop");
SNIPPET(rf_image, FRAME(SET_FLAG(0x10000)) "pushf\npop " R("ax") "\nshr $16,%eax\nand $1,%eax");
SNIPPET(rf_popf, "pushf\n" SET_FLAG(0x10000) "\npopf\nhere2: nop\nnop");
SNIPPET(rf_interrupt, "cli\nmov $0xfee00000," R("bx") "\nmovl $0x40050,0x300(" R("bx") ")\nmov 0x300(" R(
                          "bx") "),%eax\n" FRAME(SET_FLAG(0x10200)) "here3: nop\ncli\nnop");
SNIPPET(no_rf_interrupt, "cli\nmov $0xfee00000," R("bx") "\nmovl $0x40050,0x300(" R("bx") ")\nmov 0x300(" R(
                             "bx") "),%eax\n" FRAME(SET_FLAG(0x200)) "nop\ncli\nnop");
SNIPPET(sti_interrupt, "cli\nmov $0xfee00000," R("bx") "\nmovl $0x40050,0x300(" R("bx") ")\nmov 0x300(" R(
                           "bx") "),%eax\nsti\nhere4: nop\ncli\nnop");
SNIPPET(step_interrupt, "cli\nmov $0xfee00000," R("bx") "\nmovl $0x40050,0x300(" R("bx") ")\nmov 0x300(" R(
                            "bx") "),%eax\n" FRAME(SET_FLAG(0x300)) "nop\ncli\nnop" TF_OFF);
extern u8 here[], there[], here2[], here3[], here4[];

// ---- entries ----
SNIPPET(call, "nop\n" IF64("syscall", "nop") "\nnop\nnop");
SNIPPET(fast_call, "nop\nmov " R("sp") "," R("cx") "\nmov $1f," R("dx") "\nsysenter\n1: nop\nnop");
SNIPPET(user_interrupt, "nop\nint $0x41\nnop");
asm(".text\n.balign 64\nentry: nop\n" IF64(
    "mov back_flags,%r11\nsysretq", "nop") "\n.balign 64\n"
                                           "fast_entry: nop\npushf\n" CLEAR_FLAG(0x100) "\npopf\nnop\nsysexit" IF64(
                                               "q",
                                               "") "\n.balign 16\n"
                                                   "handler: nop\n" IRET "\n.balign 16\n"
                                                   "task_start: nop\nnop\nmov $0x48,%eax\nint $0x80\n.balign 32\n");

static void system_calls(void)
{
#ifdef __x86_64__
    write_msr(EFER, read_msr(EFER) | 1);
    write_msr(STAR, (u64)0x2b << 48 | (u64)0x18 << 32);
    write_msr(LSTAR, (word)entry);
    set_segment(0x30, 0, 0xfffff, 0xf3, 12);
    back_flags = 2;
    write_msr(SFMASK, 0);
    user("SYSCALL keeps TF, SYSRET clears it", call);
    back_flags = 0x102;
    user("SYSCALL keeps TF, SYSRET sets it", call);
    write_msr(SFMASK, 0x100);
    user("SYSCALL masks TF, SYSRET sets it", call);
    back_flags = 2;
    user("SYSCALL masks TF, SYSRET does not", call);
#endif
    write_msr(0x174, KERNEL_CODE);
    write_msr(0x175, (word)trap_stack_top);
    write_msr(0x176, (word)fast_entry);
    user("SYSENTER", fast_call);
    user("INT in ring 3", user_interrupt);
}

#ifndef __x86_64__
static u32 task2[26] __attribute__((aligned(128)));
static u8 task_stack[512];

static void tasks(void)
{
    static const char *const names[] = {"task without T", "task with T", "task without T but RF", "task with T and RF"};
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned j = 0; j < COUNT_OF(task2); j++)
            task2[j] = 0;
        task2[7] = read_cr3();
        task2[8] = (word)task_start;
        task2[9] = i & 2 ? 0x10002 : 2;
        task2[14] = (word)task_stack + sizeof task_stack;
        for (unsigned j = 0; j < 6; j++)
            task2[18 + j] = j == 1 ? KERNEL_CODE : KERNEL_DATA;
        task2[25] = 104u << 16 | (i & 1);
        set_segment(0x60, (word)task2, 103, 0x89, 0);
        set_segment(TSS_SELECTOR, (word)tss, 103, 0x8b, 0);
        write_dr(0, (word)task_start);
        write_dr(7, i & 2 ? 0x402 : 0x400);
        begin(names[i], to_task);
        attempt(to_task);
        write_dr(7, 0x400);
        end();
        set_segment(TSS_SELECTOR, (word)tss, 103, 0x89, 0);
        asm volatile("ltr %w0" : : "r"(TSS_SELECTOR));
    }
}
#endif

static void resume_flag(void)
{
    *(volatile u32 *)(word)(APIC + 0xf0) = 0x1ff;
    write_dr(0, (word)here);
    write_dr(7, 0x402);
    kernel("RF passes a breakpoint", rf_once);
    write_dr(0, (word)there);
    kernel("RF passes one instruction only", rf_once);
    write_dr(7, 0x400);
    probe("RF in PUSHF's image", rf_image);
    write_dr(0, (word)here2);
    write_dr(7, 0x402);
    kernel("POPF does not set RF", rf_popf);
    write_dr(7, 0x400);
    kernel("interrupt with RF", rf_interrupt);
    kernel("interrupt without", no_rf_interrupt);
    write_dr(0, (word)here3);
    write_dr(7, 0x402);
    kernel("interrupt with RF and a breakpoint", rf_interrupt);
    write_dr(0, (word)here4);
    kernel("interrupt behind STI and a breakpoint", sti_interrupt);
    write_dr(7, 0x400);
    kernel("interrupt and single-step", step_interrupt);
}

int main(void);
int main(void)
{
    set_gate(0x41, handler, KERNEL_CODE, 0xee);
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    write_dr(6, 0xffff0ff0);
    kernel("IRET sets TF", iret_sets);
    kernel("IRET clears TF", iret_clears);
    kernel("POPF clears TF", popf_clears);
    kernel("INT3", breakpoint);
    kernel("INT3 behind MOV SS", breakpoint_shadow);
    kernel("INT1", int1);
    kernel("UD2", undefined);
    kernel("REP without iterations", repeated_none);
    kernel("far return", far_return);
    kernel("flags", write_tf_flags);
    kernel("control registers", control);
    kernel("LOOP", loops);
    kernel("ports", port);
#ifndef __x86_64__
    kernel("INTO, not taken", into_not);
    kernel("INTO, taken", into_taken);
    kernel("POP SS", pop_stack);
    kernel("LSS", load_stack);
#endif
    keep_btf = true;
    kernel("BTF", branches_start);
    keep_btf = false;
    kernel("BTF once", branches_start);
    probe("DEBUGCTL", read_debugctl);
    attempt(clear_debugctl);
    system_calls();
#ifndef __x86_64__
    tasks();
#endif
    resume_flag();
    return 0;
}
