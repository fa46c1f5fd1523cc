// What a debugger of user programs sees: breakpoints of the debug registers and single-step through ptrace, and
// alignment faults. Runs under Linux, natively and as the only program of a guest; both must print the same.
#define _GNU_SOURCE
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum { ON_CODE = 0, WRITE_1 = 1, WRITE_2 = 5, WRITE_4 = 13, WRITE_8 = 9, ACCESS_1 = 3, ACCESS_4 = 15 };

// ---- Breakpoints: snippets end with INT3; the data they use is at `data` ----
uint8_t pages[3 * 4096] __attribute__((aligned(4096)));
static uint8_t *const data = pages + 0x800;

#define SNIPPET(name, code)                                                                                            \
    extern uint8_t name[];                                                                                             \
    asm(".text\n.balign 64\n" #name ": lea pages+0x800(%rip),%rbx\n" code "\nnop\nint3\n")
SNIPPET(nops, "nop\nnop\nnop\nnop");
SNIPPET(loop, "mov $3,%ecx\n1: dec %ecx\nnop\njnz 1b");
SNIPPET(stosb, "mov $12,%ecx\nlea -3(%rbx),%rdi\nrep stosb");
SNIPPET(stosb_here, "mov $5,%ecx\nmov %rbx,%rdi\nrep stosb");
SNIPPET(stosb_long, "lea pages(%rip),%rdi\nmov $0x1800,%ecx\nrep stosb");
SNIPPET(movsb, "lea -2(%rbx),%rsi\nlea 14(%rbx),%rdi\nmov $6,%ecx\nrep movsb");
SNIPPET(cmpsw, "mov %rbx,%rsi\nmov %rbx,%rdi\nmov $3,%ecx\nrepe cmpsw");
SNIPPET(stack_segment, "mov %ss,(%rbx)\nmov (%rbx),%ss\nnop\nnop");
SNIPPET(behind_stack, "mov %ss,%eax\nmov %eax,%ss\nnop\nnop");
SNIPPET(divides, "mov (%rbx),%ecx\nxor %ecx,%ecx\ndivl (%rbx)");
SNIPPET(enters, "mov %rbx,%rsp\nenter $8,$0");
SNIPPET(masked, "lea 4(%rbx),%rdi\npxor %mm0,%mm0\nmaskmovq %mm0,%mm0");
SNIPPET(compares, "mov $1,%eax\nmovl $2,(%rbx)\nlock cmpxchg %eax,(%rbx)\nnop\ncmpxchg %eax,(%rbx)");
SNIPPET(crossing,
        "lea 0x800(%rbx),%rbx\nmovl $1,-4(%rbx)\nmovl $1,-3(%rbx)\nmovl $1,-1(%rbx)\nmovl $1,(%rbx)\nmovw $1,-1(%rbx)\n"
        "mov -2(%rbx),%eax");
SNIPPET(writes,
        "movb $1,-1(%rbx)\nmovb $1,(%rbx)\nmovb $1,3(%rbx)\nmovb $1,4(%rbx)\nmovl $1,-3(%rbx)\nmovl $1,-4(%rbx)\n"
        "movl $1,7(%rbx)\nmovl $1,8(%rbx)");
SNIPPET(vectors,
        "pxor %xmm0,%xmm0\nmovaps %xmm0,(%rbx)\nmovups %xmm0,-13(%rbx)\nmovups %xmm0,-12(%rbx)\nmovss (%rbx),%xmm0\n"
        "movq %xmm0,-8(%rbx)\naddps (%rbx),%xmm0");
SNIPPET(x87, "fninit\nfldz\nfstpt -9(%rbx)\nfnstcw (%rbx)\nfildl (%rbx)\nfnstenv -24(%rbx)\nfnstenv -28(%rbx)\nfldenv "
             "-28(%rbx)");
SNIPPET(calls, "lea 8(%rbx),%rsp\ncall 1f\n1: push %rax\npop %rax\npop %rax");
SNIPPET(traced, "pushf\nandl $~0x100,(%rsp)\npopf\nnop\nnop");
SNIPPET(system_call, "mov $39,%eax\nsyscall\nnop");

static void run(const char *name, uint8_t *code, const void *first, unsigned kind1, const void *second, unsigned kind2,
                bool step)
{
    pid_t child = fork();
    struct user_regs_struct r;
    unsigned long control =
        (first ? 1 | (unsigned long)kind1 << 16 : 0) | (second ? 4 | (unsigned long)kind2 << 20 : 0);
    long failed = 0;
    int status;

    if (!child) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        _exit(0);
    }
    waitpid(child, &status, 0);
    ptrace(PTRACE_GETREGS, child, 0, &r);
    r.rip = (uintptr_t)code;
    r.orig_rax = -1;
    ptrace(PTRACE_SETREGS, child, 0, &r);
    failed |= first ? ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[0]), first) : 0;
    failed |= second ? ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[1]), second) : 0;
    failed |= ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[7]), control);
    printf("%s:%s", name, failed ? " no debug registers" : "");
    for (unsigned i = 0; i < 40 && !failed; i++) {
        long dr6;
        ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[6]), 0);
        ptrace(step ? PTRACE_SINGLESTEP : PTRACE_CONT, child, 0, 0);
        waitpid(child, &status, 0);
        if (!WIFSTOPPED(status))
            break;
        ptrace(PTRACE_GETREGS, child, 0, &r);
        dr6 = ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, u_debugreg[6]), 0);
        printf(" %02llx/%04lx%s", r.rip - (uintptr_t)code, dr6 & 0xe00f, r.eflags & 0x10000 ? "RF" : "");
        if (WSTOPSIG(status) != SIGTRAP) {
            printf(" signal %d", WSTOPSIG(status));
            break;
        }
        if (((uint8_t *)r.rip)[-1] == 0xcc && !(dr6 & 0xf) && !(dr6 & 0x4000))
            break;
    }
    printf("\n");
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
}

static void breakpoints(void)
{
    run("execution", nops, nops + 9, ON_CODE, NULL, 0, false);
    run("execution, stepped", nops, nops + 9, ON_CODE, NULL, 0, true);
    run("execution, two at one place", nops, nops + 9, ON_CODE, nops + 9, ON_CODE, false);
    run("execution in a loop", loop, loop + 12, ON_CODE, NULL, 0, false);
    run("execution of REP STOSB", stosb_here, stosb_here + 15, ON_CODE, NULL, 0, false);
    run("execution behind MOV SS", behind_stack, behind_stack + 11, ON_CODE, NULL, 0, false);
    run("execution behind that", behind_stack, behind_stack + 12, ON_CODE, NULL, 0, false);
    run("REP STOSB", stosb, data, WRITE_2, NULL, 0, false);
    run("REP STOSB, stepped", stosb_here, data + 2, WRITE_1, NULL, 0, true);
    run("REP STOSB, long", stosb_long, data, WRITE_2, NULL, 0, false);
    run("REP MOVSB", movsb, data, ACCESS_1, data + 18, WRITE_2, false);
    run("REPE CMPSW", cmpsw, data, ACCESS_4, NULL, 0, false);
    run("MOV SS", stack_segment, data, ACCESS_1, NULL, 0, false);
    run("MOV SS, stepped", stack_segment, data, ACCESS_1, NULL, 0, true);
    run("DIV that faults", divides, data, ACCESS_4, NULL, 0, false);
    run("ENTER, below the frame", enters, data - 16, WRITE_4, NULL, 0, false);
    run("ENTER, the frame", enters, data - 8, WRITE_4, NULL, 0, false);
    run("MASKMOVQ of nothing", masked, data + 4, WRITE_4, NULL, 0, false);
    run("CMPXCHG", compares, data, WRITE_4, NULL, 0, false);
    run("end of a page", crossing, pages + 0xffc, WRITE_4, NULL, 0, false);
    run("both pages", crossing, pages + 0xfff, ACCESS_1, pages + 0x1000, WRITE_1, false);
    run("writes, 4 bytes", writes, data, WRITE_4, NULL, 0, false);
    run("writes, 8 bytes", writes, data, WRITE_8, NULL, 0, false);
    run("SSE, writes", vectors, data, WRITE_4, NULL, 0, false);
    run("SSE, accesses", vectors, data, ACCESS_4, NULL, 0, false);
    run("x87", x87, data, ACCESS_1, NULL, 0, false);
    run("stack", calls, data, ACCESS_4, NULL, 0, false);
    run("POPF, stepped", traced, NULL, 0, NULL, 0, true);
    run("SYSCALL, stepped", system_call, NULL, 0, NULL, 0, true);
}

// ---- Alignment: the operand is at (RBX) ----
#define OPERANDS(X)                                                                                                    \
    X(mov_2, "mov (%rbx),%ax")                                                                                         \
    X(mov_4, "mov (%rbx),%eax")                                                                                        \
    X(mov_8, "mov %rax,(%rbx)")                                                                                        \
    X(lock_inc, "lock incl (%rbx)")                                                                                    \
    X(cmpxchg8b, "cmpxchg8b (%rbx)")                                                                                   \
    X(cmpxchg16b, "cmpxchg16b (%rbx)")                                                                                 \
    X(push, "lea 64(%rbx),%rsp\npush %rax")                                                                            \
    X(pop_2, "mov %rbx,%rsp\npop %ax")                                                                                 \
    X(call, "lea 64(%rbx),%rsp\ncall back")                                                                            \
    X(enter, "lea 64(%rbx),%rsp\nlea 64(%rbx),%rbp\nenter $8,$2")                                                      \
    X(leave, "mov %rbx,%rbp\nleave")                                                                                   \
    X(far_return, "mov %rbx,%rsp\nlretq")                                                                              \
    X(iret, "mov %rbx,%rsp\niretq")                                                                                    \
    X(far_jump, "ljmp *(%rbx)")                                                                                        \
    X(jump, "jmp *(%rbx)")                                                                                             \
    X(movups, "movups (%rbx),%xmm0")                                                                                   \
    X(movdqu, "movdqu %xmm0,(%rbx)")                                                                                   \
    X(movaps, "movaps (%rbx),%xmm0")                                                                                   \
    X(movss, "movss (%rbx),%xmm0")                                                                                     \
    X(movhps, "movhps %xmm0,(%rbx)")                                                                                   \
    X(cvtpi2ps, "cvtpi2ps (%rbx),%xmm0")                                                                               \
    X(cvtps2pd, "cvtps2pd (%rbx),%xmm0")                                                                               \
    X(pinsrw, "pinsrw $1,(%rbx),%xmm0")                                                                                \
    X(punpcklbw, "punpcklbw (%rbx),%mm0")                                                                              \
    X(maskmovq, "mov %rbx,%rdi\nmaskmovq %mm0,%mm0")                                                                   \
    X(maskmovdqu, "mov %rbx,%rdi\nmaskmovdqu %xmm0,%xmm0")                                                             \
    X(stmxcsr, "stmxcsr (%rbx)")                                                                                       \
    X(fld_4, "flds (%rbx)")                                                                                            \
    X(fld_10, "fldt (%rbx)")                                                                                           \
    X(fstp_10, "fldz\nfstpt (%rbx)")                                                                                   \
    X(fbstp, "fldz\nfbstp (%rbx)")                                                                                     \
    X(fild_2, "filds (%rbx)")                                                                                          \
    X(fnstcw, "fnstcw (%rbx)")                                                                                         \
    X(fnstenv, "fnstenv (%rbx)")                                                                                       \
    X(fldenv, "fldenv (%rbx)")                                                                                         \
    X(fnstenv_2, "data16 fnstenv (%rbx)")                                                                              \
    X(fnsave, "fnsave (%rbx)")                                                                                         \
    X(frstor_2, "data16 frstor (%rbx)")                                                                                \
    X(movsb_, "mov %rbx,%rsi\nmov %rbx,%rdi\nmovsb")                                                                   \
    X(movsl_, "mov %rbx,%rsi\nmov %rbx,%rdi\nmovsl")                                                                   \
    X(rep_stosq, "mov %rbx,%rdi\nmov $8,%ecx\nrep stosq")                                                              \
    X(bt, "btl %ecx,(%rbx)")                                                                                           \
    X(xlat, "xlat")                                                                                                    \
    X(clflush, "clflush (%rbx)")                                                                                       \
    X(mov_segment, "mov %ds,(%rbx)")                                                                                   \
    X(verr, "verr (%rbx)")
#define DEFINE(name, code)                                                                                             \
    extern uint8_t operand_##name[];                                                                                   \
    asm(".text\noperand_" #name ": " code "\njmp back\n");
OPERANDS(DEFINE)

static const struct {
    const char *name;
    uint8_t *code;
} operands[] = {
#define ENTRY(name, code) {#name, operand_##name},
    OPERANDS(ENTRY)};

extern uint8_t back[];
uint64_t saved_sp;
static volatile sig_atomic_t caught;

/// Calls code with the operand's address, alignment checks on. It comes back through `back`, if need be by the signal.
void try_operand(const void *code, void *operand);
asm(".text\ntry_operand: push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\nmov %rsp,saved_sp(%rip)\n"
    "mov %rsi,%rbx\nmov %rdi,%r15\npxor %xmm0,%xmm0\nxor %eax,%eax\nmov $1,%ecx\nxor %edx,%edx\nfninit\n"
    "pushf\norl $0x40000,(%rsp)\npopf\njmp *%r15\n"
    "back: mov saved_sp(%rip),%rsp\npushf\nandl $~0x40000,(%rsp)\npopf\ncld\nfninit\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n");

static void on_signal(int number, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    caught = number;
    c->uc_mcontext.gregs[REG_EFL] &= ~0x40000L;
    c->uc_mcontext.gregs[REG_RIP] = (long)back;
    (void)info;
}

static char result(void)
{
    return !caught ? '.' : caught == SIGBUS ? 'A' : caught == SIGSEGV ? 'G' : '?';
}

static void alignment(void)
{
    static uint8_t signal_stack[1 << 16];
    stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack};
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    uint8_t *memory =
        mmap((void *)0x10000000, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

    sigaltstack(&stack, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGILL, &action, NULL);
    for (unsigned i = 0; i < sizeof operands / sizeof *operands; i++) {
        printf("%s: ", operands[i].name);
        for (unsigned offset = 0; offset < 16; offset++) {
            uint64_t target = (uintptr_t)back;
            memset(memory, 0, 8192);
            memcpy(memory + 1024 + offset, &target, sizeof target);
            caught = 0;
            try_operand(operands[i].code, memory + 1024 + offset);
            putchar(result());
        }
        putchar('\n');
    }
    static const uint64_t places[] = {0x20000001, 0x20000000, 0x10000000 + 8192 - 2, 0x800000000001};
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        caught = 0;
        try_operand(operand_mov_4, (void *)places[i]);
        printf("%llx: %c\n", (unsigned long long)places[i], result());
    }
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    printf("BEGIN\n");
    breakpoints();
    alignment();
    printf("END\n");
    if (getpid() == 1)
        reboot(RB_POWER_OFF);
    return 0;
}
