// Single-stepping (TF) and the debug registers: which boundary traps, DR6, what clears TF.
#include "guest.h"

#define R(n) "%" IF64("r", "e") n

static const u8 *base;
static unsigned steps;
static bool stop_stepping;

static bool step(struct frame *frame)
{
    if (frame->vector != 1) {
        if (frame->vector == 0x40) { // an interrupt gate on the way
            put(" int");
            put_field("TF", frame->flags >> 8 & 1, 1);
            return true;
        }
        return false;
    }
    word dr6 = read_dr6();
    write_dr(6, 0xffff0ff0);
    put(" ");
    put_hex(frame->ip - (word)base, 2);
    if ((dr6 & 0xe00f) != 0x4000)
        put_field("dr6", dr6 & 0xe00f, 4);
    if (stop_stepping || ++steps > 24)
        frame->flags &= ~(word)0x100;
    return true;
}

#define TRACED(name, code)                                                                                             \
    SNIPPET(name, "pushf\n" IF64("orq $0x100,(%rsp)", "orl $0x100,(%esp)") "\npopf\n" code "\npushf\n" IF64(           \
                      "andq $~0x100,(%rsp)", "andl $~0x100,(%esp)") "\npopf\nnop")
TRACED(plain, "nop\nmov $1,%eax\nadd $2,%eax");
TRACED(jumps, "xor %eax,%eax\njz 1f\nnop\n1: call 2f\njmp 3f\n2: ret\n3:");
TRACED(stack_segment, "mov %ss,%eax\nmov %eax,%ss\nnop\nnop");
TRACED(pop_stack_segment, "mov %ss,%eax\nnop\nnop");
TRACED(repeated, "mov $3,%ecx\nmov $scratch," R("si") "\nmov $scratch+16," R("di") "\nrep movsb\nnop");
TRACED(interrupt, "int $0x40\nnop");
TRACED(identify, "xor %eax,%eax\ncpuid\nnop");
TRACED(sti_shadow, "sti\nnop\ncli\nnop");
TRACED(flags_read, "pushf\npop " R("ax") "\nand $0x100,%eax");
TRACED(string_one, "mov $scratch," R("si") "\nlodsb\nnop");
TRACED(io, "mov $0x3fd,%edx\nin %dx,%al\nnop");
TRACED(fault, "xor %ecx,%ecx\ndiv %ecx");
SNIPPET(general_detect, "nop\nmov %dr0," R("ax"));
SNIPPET(dr4_alias, "mov %dr6," R("ax") "\nmov %dr4," R("cx") "\nsub " R("cx") "," R("ax"));
SNIPPET(dr4_de, "nop\nmov %dr4," R("cx"));
SNIPPET(dr_user, "nop\nmov %dr0," R("ax"));
u8 scratch[64];

static void trace(const char *name, const void *code)
{
    put(name);
    put(":");
    base = code;
    steps = 0;
    stop_stepping = false;
    trap_hook = step;
    attempt(code);
    trap_hook = 0;
    asm volatile("pushf\nandl $~0x300,(%%" IF64("rsp", "esp") ")\npopf" : : : "memory", "cc");
    if (trap.vector >= 0) {
        put_field("trap", (u32)trap.vector, 2);
        put_field("flags TF", trap.flags >> 8 & 1, 1);
        put_field("dr6", read_dr6() & 0xe00f, 4);
    }
    end_line();
}

int main(void);
int main(void)
{
    set_gate(0x40, trap_entries + 16 * 0x40, KERNEL_CODE, 0x8e);
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    write_dr(6, 0xffff0ff0);
    trace("step plain", plain);
    trace("step jumps", jumps);
    trace("step MOV SS", stack_segment);
    trace("step moves", pop_stack_segment);
    trace("step REP MOVSB", repeated);
    trace("step INT", interrupt);
    trace("step CPUID", identify);
    trace("step STI", sti_shadow);
    trace("step PUSHF", flags_read);
    trace("step LODSB", string_one);
    trace("step IN", io);
    trace("step fault", fault);
    write_dr(6, 0xffff0ff0);
    write_dr(6, 0xffff0ff0);
    write_dr(7, 0x2400);
    base = general_detect;
    attempt(general_detect);
    report("general detect", general_detect, 0);
    put("general detect left:");
    put_field("dr6", read_dr6() & 0xe00f, 4);
    write_dr(7, 0x400);
    end_line();
    write_dr(6, 0xffff0ff0);
    probe("DR4 is DR6", dr4_alias);
    write_cr4(read_cr4() | 8);
    probe("DR4 with CR4.DE", dr4_de);
    probe_user("user DR0", dr_user);
    write_dr(6, 0);
    write_dr(7, 0);
    word dr7;
    asm volatile("mov %%dr7,%0" : "=r"(dr7));
    put("DR6 and DR7 after 0:");
    put_field("dr6", read_dr6(), 8);
    put_field("dr7", dr7, 8);
    end_line();
    return 0;
}
