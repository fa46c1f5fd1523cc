// Breakpoints of the debug registers: on execution, data and ports; what they cover, when they hit, RF.
#include "guest.h"

#define R(n) "%" IF64("r", "e") n
#define CODE 0u // R/W fields of DR7, with LEN above
#define WRITE(bytes) (1u | LENGTH(bytes))
#define PORT(bytes) (2u | LENGTH(bytes))
#define ACCESS(bytes) (3u | LENGTH(bytes))
#define LENGTH(bytes) ((bytes) == 1 ? 0u : (bytes) == 2 ? 4u : (bytes) == 4 ? 12u : 8u)

__attribute__((aligned(4096))) u8 pages[3 * 4096]; // its inner page ends are watched
static u8 *const scratch = pages + 0x800;
extern u8 here[], there[], handler[], hot[], hot_inside[];

static const u8 *base;
static bool resume; // the hook sets RF: past the breakpoint
static unsigned hits;

static void put_place(const struct frame *frame)
{
    long offset = (long)(frame->ip - (word)base);
    if (frame->ip == (word)handler)
        put("handler");
    else if (frame->ip - (word)hot < 16)
        put("hot");
    else if (offset >= 0 && offset < 0x100)
        put_hex((u64)offset, 2);
    else
        put("elsewhere");
}

/// Writes place, DR6, and what else is of interest in the frame of each debug exception.
static bool log_debug(struct frame *frame)
{
    if (frame->vector != 1)
        return false;
    word dr6 = read_dr6();
    write_dr(6, 0xffff0ff0);
    put(" ");
    put_place(frame);
    put("/");
    put_hex(dr6 & 0xe00f, 4);
    if (frame->flags & 0x10000)
        put("RF");
    if (resume)
        frame->flags |= 0x10000;
    if (++hits > 30) {
        write_dr(7, 0x400);
        frame->flags &= ~(word)0x100;
    }
    return true;
}

static void run(const char *name, const void *code, bool user)
{
    put(name);
    put(":");
    base = code;
    hits = 0;
    trap_hook = log_debug;
    if (user)
        attempt_user(code);
    else
        attempt(code);
    write_dr(7, 0x400);
    write_dr(6, 0xffff0ff0);
    trap_hook = 0;
    asm volatile("pushf\nandl $~0x300,(%%" IF64("rsp", "esp") ")\npopf" : : : "memory", "cc");
    if (trap.vector >= 0) {
        put_field("trap", (u32)trap.vector, 2);
        put_field("RF", trap.flags >> 16 & 1, 1);
    }
    end_line();
}

/// What is not enabled may still show in DR6.
static void others_nowhere(void)
{
    for (unsigned i = 0; i < 4; i++)
        write_dr(i, 0xfffff000);
}

/// One breakpoint, in DR0, by its local flag.
static void one(const char *name, const void *code, const void *address, unsigned kind)
{
    others_nowhere();
    write_dr(0, (word)address);
    write_dr(7, 0x401 | kind << 16);
    run(name, code, false);
}

/// Two breakpoints, in DR1 and DR2, by their global flags.
static void two(const char *name, const void *code, const void *first, unsigned kind1, const void *second,
                unsigned kind2)
{
    others_nowhere();
    write_dr(1, (word)first);
    write_dr(2, (word)second);
    write_dr(7, 0x428 | kind1 << 20 | kind2 << 24);
    run(name, code, false);
}

#define STEPPED "pushf\n" IF64("orq $0x100,(%rsp)", "orl $0x100,(%esp)") "\npopf\n"
#define STEPPED_END "\npushf\n" IF64("andq $~0x100,(%rsp)", "andl $~0x100,(%esp)") "\npopf\nnop"
#define BX "mov $pages+0x800," R("bx") "\n"

// ---- execution ----
SNIPPET(plain, "nop\nhere: nop\nnop");
SNIPPET(twice, "mov $2,%ecx\n1: dec %ecx\nnop\njnz 1b\nnop");
SNIPPET(prefixed, "nop\n.byte 0x2e,0x66\nnop\nnop");
SNIPPET(after_stack, "mov %ss,%eax\nmov %eax,%ss\nnop\nnop");
SNIPPET(repeated, BX "mov " R("bx") "," R("di") "\nmov $5,%ecx\nrep stosb\nnop");
SNIPPET(divides, "xor %ecx,%ecx\ndiv %ecx");
SNIPPET(undefined, "nop\nud2");
SNIPPET(calls, "call there\nnop");
SNIPPET(interrupts, "nop\nint $0x41\nnop");
SNIPPET(stepped, STEPPED "nop\nnop\nnop" STEPPED_END);
SNIPPET(flags_image, "pushf\npop " R("ax") "\nshr $16,%eax\nand $1,%eax");
asm(".text\n.balign 64\nthere: nop\nret\n"
    "handler: nop\n" IF64("iretq", "iretl") "\n");

SNIPPET(loops, "mov $3,%ecx\n1: call hot\ndec %ecx\njnz 1b");
asm(".text\n.balign 4096\nhot: nop\nmov $1,%eax\nhot_inside: nop\nret\n.balign 64\n");
#ifdef __x86_64__
SNIPPET(jumps_away, "mov $0x140000000,%rax\njmp *%rax");
#else
SNIPPET(jumps_away, "nop");
#endif

static void execution(void)
{
    resume = true;
    one("execution", plain, here, CODE);
    one("execution, other byte", prefixed, prefixed + 2, CODE);
    one("execution, first prefix", prefixed, prefixed + 1, CODE);
    one("execution in a loop", twice, twice + 5, CODE);
    one("execution behind MOV SS", after_stack, after_stack + IF64(4, 4), CODE);
    one("execution behind that", after_stack, after_stack + IF64(5, 5), CODE);
    one("execution of REP STOSB", repeated, repeated + IF64(15, 12), CODE);
    one("execution of a DIV that faults", divides, divides + 2, CODE);
    one("execution of UD2", undefined, undefined + 1, CODE);
    one("execution of a called function", calls, there, CODE);
    one("execution of a handler", interrupts, handler, CODE);
    one("execution, stepped", stepped, stepped + IF64(11, 10), CODE);
    two("execution, two", plain, here, CODE, plain + 2, CODE);
    two("execution, two at one place", plain, here, CODE, here, CODE);
    others_nowhere();
    write_dr(0, (word)here);
    write_dr(3, (word)here);
    write_dr(7, 0x401);
    run("execution, one of two enabled", plain, false);
    write_dr(7, 0x400);
    run("execution, none enabled", plain, false);
    write_dr(0, (word)here);
    write_dr(7, 0x402);
    run("execution in ring 3", plain, true);
    one("execution before PUSHF", flags_image, flags_image, CODE);
    // Code that ran long before there was a breakpoint, called from another page.
    for (unsigned i = 0; i < 8; i++)
        attempt(loops);
    one("execution of hot code", loops, hot_inside, CODE);
    attempt(loops);
    one("execution of its caller", loops, loops + 5, CODE);
    one("execution of hot code again", loops, hot, CODE);
    if (BITS == 64)
        one("execution where nothing is mapped", jumps_away, (const void *)(word)0x140000000, CODE);
    resume = false;
    one("execution without RF", calls, there, CODE);
    resume = true;
}

// ---- data ----
SNIPPET(write4, BX "nop\nmovl $5,(" R("bx") ")\nnop");
SNIPPET(read4, BX "nop\nmov (" R("bx") "),%eax\nnop");
SNIPPET(writes1, BX "movb $1,-1(" R("bx") ")\nmovb $1,(" R("bx") ")\nmovb $1,3(" R("bx") ")\nmovb $1,4(" R(
                     "bx") ")\nmovb $1,7(" R("bx") ")\nmovb $1,8(" R("bx") ")\nnop");
SNIPPET(writes4, BX "movl $1,-4(" R("bx") ")\nmovl $1,-3(" R("bx") ")\nmovl $1,3(" R("bx") ")\nmovl $1,4(" R(
                     "bx") ")\nmovl $1,7(" R("bx") ")\nmovl $1,8(" R("bx") ")\nnop");
SNIPPET(changes,
        BX "incl (" R("bx") ")\nxchg %eax,(" R("bx") ")\nmov $1,%eax\nmovl $2,(" R("bx") ")\nlock cmpxchg %eax,(" R(
            "bx") ")\nbtl $1,(" R("bx") ")\nlock xadd %eax,(" R("bx") ")\ncmp %eax,(" R("bx") ")\nnop");
SNIPPET(stack, BX "mov " R("sp") "," R("dx") "\nlea 4+" IF64("4", "0") "(" R("bx") ")," R("sp") "\npush " R(
                   "ax") "\npop " R("ax") "\ncall 1f\n1: pushf\npopf\nmov " R("dx") "," R("sp") "\nnop");
SNIPPET(frame_enter,
        BX "mov " R("sp") "," R("dx") "\nmov " R("bp") "," R("si") "\nlea 16(" R("bx") ")," R("sp") "\nenter $" IF64(
            "8", "12") ",$0\nnop\nmov " R("dx") "," R("sp") "\nmov " R("si") "," R("bp") "\nnop");
SNIPPET(crossing, "mov $pages+0x1000," R("bx") "\nmovl $1,-4(" R("bx") ")\nmovl $1,-3(" R("bx") ")\nmovl $1,-1(" R(
                      "bx") ")\nmovl $1,(" R("bx") ")\nmovw $1,-1(" R("bx") ")\nmov -2(" R("bx") "),%eax\nnop");
SNIPPET(string, BX "lea -3(" R("bx") ")," R("di") "\nmov $12,%ecx\nrep stosb\nnop");
SNIPPET(string_copy,
        BX "lea -2(" R("bx") ")," R("si") "\nlea 14(" R("bx") ")," R("di") "\nmov $6,%ecx\nrep movsb\nnop");
SNIPPET(string_compare, BX "mov " R("bx") "," R("si") "\nmov " R("bx") "," R("di") "\nmov $3,%ecx\nrepe cmpsw\nnop");
SNIPPET(string_long, "mov $pages," R("di") "\nmov $0x1800,%ecx\nxor %eax,%eax\nrep stosb\nnop");
SNIPPET(string_last, BX "mov " R("bx") "," R("di") "\nmov $2,%ecx\nrep stosb\nnop");
SNIPPET(vector, BX "movaps %xmm0,(" R("bx") ")\nmovups %xmm0,-13(" R("bx") ")\nmovups %xmm0,-12(" R(
                    "bx") ")\nmovss (" R("bx") "),%xmm0\nmovq %xmm0,-8(" R("bx") ")\naddps (" R("bx") "),%xmm0\nnop");
SNIPPET(x87, BX "fldz\nfstpt -9(" R("bx") ")\nfnstcw (" R("bx") ")\nfildl (" R("bx") ")\nfstp %st(0)\nfnstenv -24(" R(
                 "bx") ")\nfnstenv -28(" R("bx") ")\nfldenv -28(" R("bx") ")\nnop");
SNIPPET(saves, BX "fxsave -512(" R("bx") ")\nfxsave -16(" R("bx") ")\nfxrstor -16(" R("bx") ")\nnop");
SNIPPET(faults, BX "mov %cs:(" R("bx") "),%eax\nxor %ecx,%ecx\ndivl (" R("bx") ")\n");
SNIPPET(stack_segment, BX "mov %ss,(" R("bx") ")\nmov (" R("bx") "),%ss\nnop\nnop");
SNIPPET(stack_segment_int, BX "mov (" R("bx") "),%ss\nint $0x41\nnop\nnop");
SNIPPET(stepped_write, BX STEPPED "movl $1,(" R("bx") ")\nnop" STEPPED_END);
SNIPPET(handler_push, "nop\nint $0x41\nnop");
SNIPPET(segment_load, "mov $0x58,%eax\nmov %eax,%ds\nnop\nmov %eax,%es\nnop");
SNIPPET(segment_store, BX "mov %ds,%eax\nsidt (" R("bx") ")\nnop\nlidt (" R("bx") ")\nnop");
SNIPPET(jump_memory, BX "lea 1f," R("ax") "\nmov " R("ax") ",(" R("bx") ")\njmp *(" R("bx") ")\nnop\n1: nop");
SNIPPET(no_access, BX "prefetchnta (" R("bx") ")\nnop\ninvlpg (" R("bx") ")\nlea (" R("bx") "),%eax\nnop");

static void data(void)
{
    static const u8 lengths[] = {1, 2, 4, 8};
    one("write", write4, scratch, WRITE(4));
    one("write, read", read4, scratch, WRITE(4));
    one("access, read", read4, scratch, ACCESS(4));
    one("access, write", write4, scratch, ACCESS(1));
    for (unsigned i = 0; i < (BITS == 64 ? 4 : 3); i++) {
        put_number(lengths[i]);
        one(" bytes, writes of 1", writes1, scratch, WRITE(lengths[i]));
        put_number(lengths[i]);
        one(" bytes, writes of 4", writes4, scratch, WRITE(lengths[i]));
        put_number(lengths[i]);
        one(" bytes, address not aligned", writes1, scratch + 7, WRITE(lengths[i]));
    }
    one("write, changes", changes, scratch, WRITE(4));
    one("access, changes", changes, scratch, ACCESS(4));
    one("write, stack", stack, scratch, WRITE(4));
    if (BITS == 64) // where the handler's frame stays off the watched bytes
        one("access, stack", stack, scratch, ACCESS(4));
    one("write, ENTER", frame_enter, scratch, WRITE(4));
    one("write, end of a page", crossing, pages + 0xffc, WRITE(4));
    one("write, start of a page", crossing, pages + 0x1000, WRITE(4));
    one("access, last byte of a page", crossing, pages + 0xfff, ACCESS(1));
    two("write, both pages", crossing, pages + 0xfff, WRITE(1), pages + 0x1000, WRITE(1));
    two("write, two at one place", write4, scratch, WRITE(4), scratch + 2, WRITE(2));
    two("write and access", read4, scratch, WRITE(4), scratch + 2, ACCESS(2));
    one("write, REP STOSB", string, scratch, WRITE(2));
    one("write, long REP STOSB", string_long, scratch + 0x800, WRITE(2));
    one("write, REP STOSB, last", string_last, scratch + 1, WRITE(1));
    two("access, REP MOVSB", string_copy, scratch, ACCESS(1), scratch + 18, WRITE(2));
    one("access, REPE CMPSW", string_compare, scratch, ACCESS(4));
    one("write, SSE", vector, scratch, WRITE(4));
    one("access, SSE", vector, scratch, ACCESS(4));
    one("access, x87", x87, scratch, ACCESS(1));
    one("write, FXSAVE", saves, scratch, WRITE(4));
    one("access, FXSAVE", saves, scratch + 4, ACCESS(4));
    *(u32 *)(void *)scratch = 0;
    one("access, a fault behind it", faults, scratch, ACCESS(4));
    one("write, MOV SS", stack_segment, scratch, WRITE(2));
    *(u32 *)(void *)scratch = KERNEL_DATA;
    one("access, MOV SS", stack_segment, scratch, ACCESS(2));
    one("access, MOV SS and INT", stack_segment_int, scratch, ACCESS(2));
    one("write, stepped", stepped_write, scratch, WRITE(4));
    set_segment(FREE_SELECTOR, 0, 0xfffff, 0x93, 12);
    if (BITS == 64) // elsewhere the trap entry loads DS as well
        one("access, GDT", segment_load, (const u8 *)gdt + FREE_SELECTOR, ACCESS(4));
    one("write, SIDT", segment_store, scratch + 2, WRITE(4));
    one("access, LIDT", segment_store, scratch + 2, ACCESS(4));
    one("access, jump", jump_memory, scratch, ACCESS(4));
    one("access, no access", no_access, scratch, ACCESS(4));
    struct cpuid id = cpuid(0x40000000, 0);
    if (id.b == 0x54474354) // TCG fails an assertion
        put("access, IDT: left out\n");
    else
        one("access, IDT", interrupts, (const u8 *)&idt[0x41], ACCESS(4));
    write_dr(0, (word)scratch);
    write_dr(7, 0x401 | WRITE(4) << 16);
    run("write in ring 3", write4, true);
    write_dr(0, (word)scratch);
    write_dr(3, (word)scratch + 2);
    write_dr(7, 0x401 | WRITE(4) << 16 | WRITE(2) << 28);
    run("write, one of two enabled", write4, false);
    write_dr(7, 0x400 | WRITE(4) << 16);
    run("write, not enabled", write4, false);
}

// ---- ports ----
SNIPPET(ports, "mov $0x87,%edx\nin %dx,%al\nmov $0x85,%edx\nin %dx,%al\nin %dx,%ax\nmov $0x86,%edx\nin %dx,%ax\nin "
               "%dx,%eax\nout %al,$0x84\nnop");
SNIPPET(port_strings, BX "mov " R("bx") "," R("di") "\nmov $0x86,%edx\nmov $3,%ecx\nrep insb\nmov " R("bx") "," R(
                          "si") "\nmov $0x87,%edx\noutsb\nnop");

static void port_breakpoints(void)
{
    word de = read_cr4() & ~(word)8;
    write_cr4(de);
    one("port without DE", ports, (const void *)0x87, PORT(1));
    write_cr4(de | 8);
    one("port, 1 byte", ports, (const void *)0x87, PORT(1));
    one("port, 2 bytes", ports, (const void *)0x87, PORT(2));
    one("port, 4 bytes", ports, (const void *)0x85, PORT(4));
    one("port 84", ports, (const void *)0x84, PORT(1));
    two("port, REP INSB", port_strings, (const void *)0x86, PORT(1), scratch + 1, WRITE(1));
    one("port, OUTSB", port_strings, (const void *)0x87, PORT(1));
}

// ---- DR6, DR7 ----
SNIPPET(detect, "nop\nmov %dr7," R("ax") "\nnop");
SNIPPET(stepped_detect, "mov $5,%ecx\n" STEPPED "nop" STEPPED_END);

static bool keep_dr6(struct frame *frame)
{
    if (frame->vector != 1)
        return false;
    put(" ");
    put_hex(frame->ip - (word)base, 2);
    put("/");
    put_hex(read_dr6() & 0xe00f, 4);
    return true;
}

static void status(void)
{
    word dr7;
    write_dr(7, 0x2400);
    run("general detect", detect, false);
    put("DR6 is kept:");
    base = stepped_write;
    write_dr(6, 0xffff2ff8);
    write_dr(0, (word)scratch);
    write_dr(7, 0x401 | WRITE(4) << 16);
    trap_hook = keep_dr6;
    attempt(stepped_write);
    trap_hook = 0;
    write_dr(6, 0xffff0ff0);
    end_line();
    write_dr(7, 0xffffd000 & ~0x2000u);
    asm volatile("mov %%dr7,%0" : "=r"(dr7));
    write_dr(7, 0x400);
    put("DR7:");
    put_field("", dr7, 8);
    end_line();
    write_dr(6, 0xffffffff);
    put("DR6:");
    put_field("", read_dr6(), 8);
    end_line();
    write_dr(6, 0xffff0ff0);
}

int main(void);
int main(void)
{
    set_gate(0x41, handler, KERNEL_CODE, 0x8e);
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    write_cr4(read_cr4() | 0x600); // OSFXSR, OSXMMEXCPT
    asm volatile("fninit");
    write_dr(6, 0xffff0ff0);
    execution();
    data();
    port_breakpoints();
    status();
    return 0;
}
