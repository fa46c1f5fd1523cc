// See support_host.h. A trampoline at USER_CODE loads the registers, goes to the instruction (by a far jump where it is
// 32-bit code), and what comes behind the instruction saves them.
#ifndef __x86_64__
#error "the host is the oracle here"
#endif
#include "support_host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <asm/ldt.h>
#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define CONTEXT_LINEAR (USER_CODE + 0x1000)
enum { START64 = 0, START32 = 0x200, END64 = 0x800, TAKEN64 = 0xa00, END32 = 0xbe0, TAKEN32 = 0xc00, FROM32 = 0xc20 };

/// At CONTEXT_LINEAR, where the trampoline reaches it by absolute addresses.
struct host_context {
    uint64_t gpr[16], flags, host_stack;
    uint32_t taken, unused;
    uint16_t selector[6];
    uint32_t to32; // far pointer: offset, selector
    uint16_t to32_selector;
    uint16_t user_ds, user_gs;
};

// What the signal handler must know: handlers have no other way to reach it.
static volatile sig_atomic_t running, caught;
static ucontext_t fault_context;

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)info;
    if (!running) { // a fault of our own: let it be one
        signal(number, SIG_DFL);
        return;
    }
    // On through the trampoline's way back, as after an instruction that went well.
    ucontext_t *user = context;
    greg_t *gregs = user->uc_mcontext.gregs;
    memcpy(&fault_context, context, sizeof fault_context);
    caught = number;
    gregs[REG_RIP] = (greg_t)(USER_CODE + END64);
    gregs[REG_CSGSFS] = (gregs[REG_CSGSFS] & ~(greg_t)0xffff) | USER_CS64;
    gregs[REG_EFL] = FLAG_IF | 2;
}

static const int signals[] = {SIGFPE, SIGSEGV, SIGILL, SIGBUS, SIGTRAP};
static struct sigaction old_actions[ARRAY_SIZE(signals)];
static uint8_t signal_stack[65536];

void host_catch_signals(void)
{
    stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack};
    sigaltstack(&stack, NULL);
    for (unsigned i = 0; i < ARRAY_SIZE(signals); i++) {
        struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
        sigaction(signals[i], &action, &old_actions[i]);
    }
}

// ---- The trampoline -----------------------------------------------------------------------------------------------

/// An instruction with reg and an absolute address into the context.
static uint8_t *emit_absolute(uint8_t *at, uint8_t rex, uint8_t opcode, uint8_t reg, size_t field)
{
    if (rex)
        *at++ = rex;
    *at++ = opcode;
    *at++ = (uint8_t)(0x04 | reg << 3);
    *at++ = 0x25;
    store_le32(at, (uint32_t)(CONTEXT_LINEAR + field));
    return at + 4;
}

static uint8_t *emit_registers(uint8_t *at, uint8_t opcode)
{
    for (unsigned n = 0; n < 16; n++)
        at = emit_absolute(at, (uint8_t)(0x48 | (n >= 8 ? 4 : 0)), opcode, n & 7,
                           offsetof(struct host_context, gpr) + n * 8);
    return at;
}

static uint8_t *emit_jump(uint8_t *at, uint64_t here, uint64_t to)
{
    *at++ = 0xe9;
    store_le32(at, (uint32_t)(to - (here + 5)));
    return at + 4;
}

static void emit_start(uint8_t *at, uint64_t linear, bool code64)
{
    static const uint8_t start[] = {0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57};
    const uint8_t *first = at;
    memcpy(at, start, sizeof start);
    at = emit_absolute(at + sizeof start, 0x48, 0x89, 4, offsetof(struct host_context, host_stack));
    at = emit_absolute(at, 0, 0xff, 6, offsetof(struct host_context, flags));
    *at++ = 0x9d; // popfq
    at = emit_registers(at, 0x8b);
    if (code64)
        emit_jump(at, linear + (uint64_t)(at - first), USER_INSN);
    else
        emit_absolute(at, 0, 0xff, 5, offsetof(struct host_context, to32));
}

/// Saves everything and returns.
static void emit_end(uint8_t *at)
{
    static const uint8_t end[] = {0xfc, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3};
    at = emit_registers(at, 0x89);
    at = emit_absolute(at, 0x48, 0x8b, 4, offsetof(struct host_context, host_stack));
    *at++ = 0x9c; // pushfq
    at = emit_absolute(at, 0, 0x8f, 0, offsetof(struct host_context, flags));
    for (uint8_t n = SEG_ES; n <= SEG_GS; n++)
        at = emit_absolute(at, 0, 0x8c, n, offsetof(struct host_context, selector) + n * 2);
    for (uint8_t n = SEG_ES; n <= SEG_GS; n++) // not FS, which is the C library's, nor CS
        if (n != SEG_FS && n != SEG_CS)
            at = emit_absolute(at, 0, 0x8e, n,
                               n == SEG_GS ? offsetof(struct host_context, user_gs)
                                           : offsetof(struct host_context, user_ds));
    memcpy(at, end, sizeof end);
}

/// The way into 64-bit code at `to`, from 32-bit code.
static void emit_to64(uint8_t *at, uint64_t to)
{
    *at++ = 0xea;
    store_le32(at, (uint32_t)to);
    store_le16(at + 4, USER_CS64);
}

/// Notes that the branch was taken, in 64-bit code; then END64.
static void emit_taken(uint8_t *at, uint64_t linear)
{
    const uint8_t *first = at;
    at = emit_absolute(at, 0, 0xc7, 0, offsetof(struct host_context, taken));
    store_le32(at, 1);
    at += 4;
    emit_jump(at, linear + (uint64_t)(at - first), USER_CODE + END64);
}

static void make_trampoline(uint8_t *code)
{
    emit_start(code + START64, USER_CODE + START64, true);
    emit_start(code + START32, USER_CODE + START32, false);
    emit_end(code + END64);
    emit_taken(code + TAKEN64, USER_CODE + TAKEN64);
    emit_taken(code + FROM32, USER_CODE + FROM32);
    emit_to64(code + END32, USER_CODE + END64);
    emit_to64(code + TAKEN32, USER_CODE + FROM32);
}

static uint64_t read_fs_base(void)
{
    uint64_t base = 0;
    syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &base);
    return base;
}

void host_open(struct host_runner *host)
{
    uint8_t *base = mmap((void *)USER_CODE, 0x2000, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    uint8_t *data = mmap((void *)USER_DATA, USER_DATA_PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    assert_ptr_equal(base, (void *)USER_CODE);
    assert_ptr_equal(data, (void *)USER_DATA);
    memset(data, 0, USER_DATA_PAGES * PAGE_SIZE); // every page is there: no fault of the host's own
    for (unsigned i = 0; i < USER_DATA_PAGES; i++)
        if (user_page_rights(i) != USER_PAGE_WRITE)
            mprotect(data + i * PAGE_SIZE, PAGE_SIZE, user_page_rights(i) == USER_PAGE_READ ? PROT_READ : PROT_NONE);
    memset(base, 0xcc, 0x1000);
    make_trampoline(base);
    *host = (struct host_runner){base, data, (struct host_context *)(base + 0x1000), read_fs_base(), true};
    const struct user_desc ldt = {.base_addr = (unsigned)USER_DATA, .limit = 0xffff, .seg_32bit = 1, .useable = 1};
    host->code32 = syscall(SYS_modify_ldt, 1, &ldt, sizeof ldt) == 0;
    *host->context = (struct host_context){.to32 = (uint32_t)USER_INSN,
                                           .to32_selector = USER_CS32,
                                           .user_ds = USER_DS,
                                           .user_gs = host->code32 ? USER_GS : 0};
    if (host->code32) {
        __asm__ volatile("mov %0, %%ds\n\tmov %0, %%es\n\tmov %1, %%gs" : : "r"(USER_DS), "r"(USER_GS));
    }
}

void host_close(struct host_runner *host)
{
    for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
        sigaction(signals[i], &old_actions[i], NULL);
    munmap(host->code, 0x2000);
    munmap(host->data, USER_DATA_PAGES * PAGE_SIZE);
}

void host_put_code(struct host_runner *host, bool code64, const uint8_t *bytes, unsigned length)
{
    uint64_t end = code64 ? END64 : END32, taken = code64 ? TAKEN64 : TAKEN32;
    uint8_t *at = host->code + (USER_INSN - USER_CODE);
    memset(at, 0xcc, 0x40);
    memcpy(at, bytes, length);
    emit_jump(at + length, USER_INSN + length, USER_CODE + end);
    emit_jump(at + length + USER_BRANCH_DISTANCE, USER_INSN + length + USER_BRANCH_DISTANCE, USER_CODE + taken);
}

void host_put_code_at(struct host_runner *host, uint64_t linear, const uint8_t *bytes, unsigned length)
{
    emit_jump(host->code + (USER_INSN - USER_CODE), USER_INSN, linear);
    memcpy(host->data + (linear - USER_DATA), bytes, length);
}

static void read_fault(int signal_number, struct user_state *after)
{
    // REG_* of the ucontext in the order of register numbers.
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    const greg_t *gregs = fault_context.uc_mcontext.gregs;
    for (unsigned n = 0; n < 16; n++)
        after->gpr[n] = (uint64_t)gregs[order[n]];
    after->flags = (uint64_t)gregs[REG_EFL] & (FLAGS_ARITHMETIC | FLAG_DF);
    after->rip = (uint64_t)gregs[REG_RIP];
    after->vector = signal_number == SIGFPE ? VECTOR_DE : (int)gregs[REG_TRAPNO];
    after->error_code = (uint32_t)gregs[REG_ERR];
    after->cr2 = after->vector == VECTOR_PF ? (uint64_t)gregs[REG_CR2] : 0;
    if (after->vector == VECTOR_PF)
        after->error_code &=
            after->cr2 >= UINT64_C(0x7ffffffff000) ? 6 : 7; // Linux says of its own pages that they are there
}

void host_run(struct host_runner *host, bool code64, const struct user_state *before, struct user_state *after)
{
    struct host_context *context = host->context;
    memset(after, 0, sizeof *after);
    memcpy(context->gpr, before->gpr, sizeof before->gpr);
    context->flags = before->flags;
    context->taken = 0;
    caught = 0;
    running = 1;
    ((void (*)(void))(uintptr_t)(USER_CODE + (code64 ? START64 : START32)))();
    running = 0;
    if (!caught) {
        memcpy(after->gpr, context->gpr, sizeof after->gpr);
        memcpy(after->selector, context->selector, sizeof after->selector);
        after->selector[SEG_CS] = code64 ? USER_CS64 : USER_CS32; // the trampoline's own
        after->flags = context->flags & (FLAGS_ARITHMETIC | FLAG_DF);
        after->rip = context->taken ? USER_CODE + (code64 ? TAKEN64 : TAKEN32) : 0; // 0: the next instruction
        after->vector = -1;
        return;
    }
    read_fault(caught, after);
    // A fault leaves segment registers alone, so they are what they were before.
    static const uint16_t selectors[6] = {USER_DS, 0, USER_DS, USER_DS, 0, USER_GS};
    memcpy(after->selector, selectors, sizeof selectors);
    after->selector[SEG_CS] = code64 ? USER_CS64 : USER_CS32;
    if (!code64) // what the handler's way back makes of the upper halves is no matter
        for (unsigned n = 0; n < 8; n++)
            after->gpr[n] = (uint32_t)after->gpr[n];
}

// ---- The host -------------------------------------------------------------------------------------------------------

bool host_has(unsigned feature)
{
    static const struct {
        uint16_t feature;
        uint32_t leaf;
        uint8_t reg, bit; // reg: 1 EBX, 2 ECX, 3 EDX
    } bits[] = {
        {FEATURE_CX8, 1, 3, 8},          {FEATURE_CMOV, 1, 3, 15},
        {FEATURE_CLFLUSH, 1, 3, 19},     {FEATURE_MMX, 1, 3, 23},
        {FEATURE_SSE, 1, 3, 25},         {FEATURE_SSE2, 1, 3, 26},
        {FEATURE_CX16, 1, 2, 13},        {FEATURE_SSE42, 1, 2, 20},
        {FEATURE_MOVBE, 1, 2, 22},       {FEATURE_POPCNT, 1, 2, 23},
        {FEATURE_FSGSBASE, 7, 1, 0},     {FEATURE_BMI1, 7, 1, 3},
        {FEATURE_INVPCID, 7, 1, 10},     {FEATURE_BMI2, 7, 1, 8},
        {FEATURE_ADX, 7, 1, 19},         {FEATURE_CLFLUSHOPT, 7, 1, 23},
        {FEATURE_CLWB, 7, 1, 24},        {FEATURE_LAHF_LM, 0x80000001, 2, 0},
        {FEATURE_ABM, 0x80000001, 2, 5}, {FEATURE_PREFETCHW, 0x80000001, 2, 8},
        {FEATURE_LM, 0x80000001, 3, 29}, {FEATURE_MSR, 1, 3, 5},
    };
    if (feature == FEATURE_NONE)
        return true;
    for (unsigned i = 0; i < ARRAY_SIZE(bits); i++) {
        unsigned regs[4];
        if (bits[i].feature == feature && __get_cpuid_count(bits[i].leaf, 0, &regs[0], &regs[1], &regs[2], &regs[3]))
            return regs[bits[i].reg] >> bits[i].bit & 1;
    }
    return false;
}

bool host_has_page(uint64_t linear)
{
    unsigned char resident;
    return mincore((void *)(uintptr_t)(linear & ~(PAGE_SIZE - UINT64_C(1))), PAGE_SIZE, &resident) == 0 ||
           errno != ENOMEM;
}
