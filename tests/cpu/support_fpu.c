// See support_fpu.h.
#include "cpu/support_fpu.h"

#include "cpu/model.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cmocka.h>

enum { RAM_BYTES = 0x2000 };

// ---- The host -----------------------------------------------------------------------------------------------------
#if defined(__x86_64__)
// A handler has no other way to know where to go on.
static const uint8_t *native_return;
static struct fpu_state *native_running;

void fpu_native_call(struct fpu_state *state, const void *code);
// The state of the caller is kept in 512 bytes on the stack; FNSAVE comes right behind the instruction.
__asm__(
    ".text\n"
    ".globl fpu_native_call\n"
    "fpu_native_call:\n\t"
    "push %rbx\n\tpush %rbp\n\tsub $520, %rsp\n\t"
    "mov %rdi, %rbx\n\tmov %rsi, %rbp\n\t"
    "fxsave64 (%rsp)\n\t"
    "ldmxcsr 108(%rbx)\n\t"
    "lea 112(%rbx), %rax\n\t"
    "movups (%rax), %xmm0\n\tmovups 16(%rax), %xmm1\n\tmovups 32(%rax), %xmm2\n\tmovups 48(%rax), %xmm3\n\t"
    "movups 64(%rax), %xmm4\n\tmovups 80(%rax), %xmm5\n\tmovups 96(%rax), %xmm6\n\tmovups 112(%rax), %xmm7\n\t"
    "movups 128(%rax), %xmm8\n\tmovups 144(%rax), %xmm9\n\tmovups 160(%rax), %xmm10\n\tmovups 176(%rax), %xmm11\n\t"
    "movups 192(%rax), %xmm12\n\tmovups 208(%rax), %xmm13\n\tmovups 224(%rax), %xmm14\n\tmovups 240(%rax), %xmm15\n\t"
    "cmpq $0, 664(%rbx)\n\tje 1f\n\tlea 408(%rbx), %rax\n\t"
    "vinsertf128 $1, 0(%rax), %ymm0, %ymm0\n\t"
    "vinsertf128 $1, 16(%rax), %ymm1, %ymm1\n\t"
    "vinsertf128 $1, 32(%rax), %ymm2, %ymm2\n\t"
    "vinsertf128 $1, 48(%rax), %ymm3, %ymm3\n\t"
    "vinsertf128 $1, 64(%rax), %ymm4, %ymm4\n\t"
    "vinsertf128 $1, 80(%rax), %ymm5, %ymm5\n\t"
    "vinsertf128 $1, 96(%rax), %ymm6, %ymm6\n\t"
    "vinsertf128 $1, 112(%rax), %ymm7, %ymm7\n\t"
    "vinsertf128 $1, 128(%rax), %ymm8, %ymm8\n\t"
    "vinsertf128 $1, 144(%rax), %ymm9, %ymm9\n\t"
    "vinsertf128 $1, 160(%rax), %ymm10, %ymm10\n\t"
    "vinsertf128 $1, 176(%rax), %ymm11, %ymm11\n\t"
    "vinsertf128 $1, 192(%rax), %ymm12, %ymm12\n\t"
    "vinsertf128 $1, 208(%rax), %ymm13, %ymm13\n\t"
    "vinsertf128 $1, 224(%rax), %ymm14, %ymm14\n\t"
    "vinsertf128 $1, 240(%rax), %ymm15, %ymm15\n\t"
    "1:\n\t"
    "mov 368(%rbx), %rax\n\tmov 376(%rbx), %rcx\n\tmov 384(%rbx), %rdx\n\tmov 392(%rbx), %rdi\n\t"
    "pushq 400(%rbx)\n\tpopfq\n\t"
    "frstor (%rbx)\n\t"
    "call *%rbp\n\t"
    "fnsave (%rbx)\n\t"
    "pushfq\n\tpopq 400(%rbx)\n\tcld\n\t"
    "stmxcsr 108(%rbx)\n\t"
    "mov %rax, 368(%rbx)\n\tmov %rcx, 376(%rbx)\n\tmov %rdx, 384(%rbx)\n\tmov %rdi, 392(%rbx)\n\t"
    "lea 112(%rbx), %rax\n\t"
    "movups %xmm0, (%rax)\n\tmovups %xmm1, 16(%rax)\n\tmovups %xmm2, 32(%rax)\n\tmovups %xmm3, 48(%rax)\n\t"
    "movups %xmm4, 64(%rax)\n\tmovups %xmm5, 80(%rax)\n\tmovups %xmm6, 96(%rax)\n\tmovups %xmm7, 112(%rax)\n\t"
    "movups %xmm8, 128(%rax)\n\tmovups %xmm9, 144(%rax)\n\tmovups %xmm10, 160(%rax)\n\tmovups %xmm11, 176(%rax)\n\t"
    "movups %xmm12, 192(%rax)\n\tmovups %xmm13, 208(%rax)\n\tmovups %xmm14, 224(%rax)\n\tmovups %xmm15, 240(%rax)\n\t"
    "cmpq $0, 664(%rbx)\n\tje 1f\n\tlea 408(%rbx), %rax\n\t"
    "vextractf128 $1, %ymm0, 0(%rax)\n\t"
    "vextractf128 $1, %ymm1, 16(%rax)\n\t"
    "vextractf128 $1, %ymm2, 32(%rax)\n\t"
    "vextractf128 $1, %ymm3, 48(%rax)\n\t"
    "vextractf128 $1, %ymm4, 64(%rax)\n\t"
    "vextractf128 $1, %ymm5, 80(%rax)\n\t"
    "vextractf128 $1, %ymm6, 96(%rax)\n\t"
    "vextractf128 $1, %ymm7, 112(%rax)\n\t"
    "vextractf128 $1, %ymm8, 128(%rax)\n\t"
    "vextractf128 $1, %ymm9, 144(%rax)\n\t"
    "vextractf128 $1, %ymm10, 160(%rax)\n\t"
    "vextractf128 $1, %ymm11, 176(%rax)\n\t"
    "vextractf128 $1, %ymm12, 192(%rax)\n\t"
    "vextractf128 $1, %ymm13, 208(%rax)\n\t"
    "vextractf128 $1, %ymm14, 224(%rax)\n\t"
    "vextractf128 $1, %ymm15, 240(%rax)\n\t"
    "vzeroupper\n\t"
    "1:\n\t"
    "fxrstor64 (%rsp)\n\t"
    "add $520, %rsp\n\tpop %rbp\n\tpop %rbx\n\tret\n");
_Static_assert(offsetof(struct fpu_state, mxcsr) == 108 && offsetof(struct fpu_state, xmm) == 112 &&
                   offsetof(struct fpu_state, rax) == 368 && offsetof(struct fpu_state, rflags) == 400 &&
                   offsetof(struct fpu_state, upper) == 408 && offsetof(struct fpu_state, has_upper) == 664,
               "as in fpu_native_call");

static void on_fault(int number, siginfo_t *info, void *context)
{
    ucontext_t *user = context;
    if (!native_running)
        abort();
    native_running->fault = number == SIGFPE ? FPU_FAULT_NUMERIC : FPU_FAULT_OTHER;
    user->uc_mcontext.gregs[REG_RIP] = (greg_t)native_return;
}

static bool open_host(struct fpu_bench *bench)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    bench->native = mmap((void *)FPU_BASE, RAM_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (bench->native == MAP_FAILED)
        fail_msg("no memory at the test's address");
    return sigaction(SIGFPE, &action, NULL) == 0 && sigaction(SIGSEGV, &action, NULL) == 0;
}

void fpu_bench_run_host(struct fpu_bench *bench, const struct fpu_state *before, struct fpu_state *after)
{
    uint8_t *data = (uint8_t *)(uintptr_t)FPU_DATA;
    *after = *before;
    after->has_upper = __builtin_cpu_supports("avx") != 0;
    after->fault = FPU_FAULT_NONE;
    after->rflags = (before->rflags & FLAGS_ARITHMETIC) | 0x202;
    memcpy(data, before->memory, FPU_DATA_BYTES);
    native_return = (const uint8_t *)(uintptr_t)FPU_INSN + bench->length;
    native_running = after;
    fpu_native_call(after, (const void *)(uintptr_t)FPU_INSN);
    native_running = NULL;
    memcpy(after->memory, data, FPU_DATA_BYTES);
    after->rflags &= FLAGS_ARITHMETIC;
}

uint8_t fpu_host_policy(void)
{
    unsigned a, b = 0, c, d;
    bool amd = __builtin_cpu_is("amd"), always_loads = false;
    if (amd && __get_cpuid(0x80000008, &a, &b, &c, &d))
        always_loads = b >> 2 & 1;
    b = 0;
    __get_cpuid_count(7, 0, &a, &b, &c, &d);
    return (uint8_t)((b >> 13 & 1 ? X87_SELECTORS_ZERO : 0) | (b >> 6 & 1 ? X87_DATA_ON_FAULT : 0) |
                     (amd ? X87_SAVE_IF_PENDING : X87_OPCODE_ON_FAULT) |
                     (amd && !always_loads ? X87_LOAD_IF_PENDING : 0));
}

bool fpu_host_has(unsigned feature)
{
    unsigned a, b, c = 0, d;
    switch (feature) {
    case FEATURE_AVX:
        return __builtin_cpu_supports("avx");
    case FEATURE_AVX2:
        return __builtin_cpu_supports("avx2");
    case FEATURE_FMA:
        return __builtin_cpu_supports("fma");
    case FEATURE_F16C:
        __get_cpuid(1, &a, &b, &c, &d);
        return __builtin_cpu_supports("avx") && (c >> 29 & 1);
    default:
        return true;
    }
}

static void get_selectors(struct cpu *cpu)
{
    uint16_t cs, ds, ss;
    __asm__("mov %%cs, %0\n\tmov %%ds, %1\n\tmov %%ss, %2" : "=r"(cs), "=r"(ds), "=r"(ss));
    cpu->segment[SEG_CS].selector = cs;
    cpu->segment[SEG_DS].selector = ds;
    cpu->segment[SEG_SS].selector = ss;
}
#else
uint8_t fpu_host_policy(void)
{
    return 0;
}

bool fpu_host_has(unsigned feature)
{
    return false;
}

static bool open_host(struct fpu_bench *bench)
{
    return false;
}

void fpu_bench_run_host(struct fpu_bench *bench, const struct fpu_state *before, struct fpu_state *after)
{
}

static void get_selectors(struct cpu *cpu)
{
}
#endif

// ---- The guest ----------------------------------------------------------------------------------------------------
static void make_64_bit(struct cpu *cpu)
{
    // 64-bit code without paging is no real mode, but what is tested here does not see the difference.
    cpu->cr0 = CR0_PE | CR0_NE | CR0_ET;
    cpu->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    cpu->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    cpu->efer = EFER_LMA | EFER_LME;
    for (unsigned i = 0; i < SEG_LDTR; i++) {
        cpu->segment[i].rights = SEGMENT_P | SEGMENT_S | SEGMENT_G | (i == SEG_CS ? 0xbu | SEGMENT_L : 3u | SEGMENT_DB);
        cpu->segment[i].limit = UINT32_MAX;
        cpu_set_segment_base(cpu, i, 0);
    }
    get_selectors(cpu);
    cpu_update_paging(cpu, true);
    cpu_update_mode(cpu);
}

static void open_engine(struct fpu_bench *bench)
{
    struct error error = {0};
    bench->engine = fpu_bench_engine ? fpu_bench_engine() : NULL;
    if (!bench->engine)
        return;
    bench->engine_state = bench->engine->create(bench->cpu, &error);
    assert_non_null(bench->engine_state);
    fpu_bench_engine_opened(bench->engine_state);
    bench->cpu->idt.limit = 0; // a fault ends in shutdown, and changes nothing
}

bool fpu_bench_open(struct fpu_bench *bench, uint8_t policy)
{
    struct error error = {0};
    memset(bench, 0, sizeof *bench);
    log_init(&bench->log);
    bench->model = support_full_model();
    bench->model.physical_bits = 40;
    bench->model.linear_bits = 48;
    assert_true(memory_create(&bench->memory, RAM_BYTES, &error));
    address_space_init(&bench->space, "memory", &bench->memory, BIT(40), &bench->log);
    address_space_init(&bench->ports, "ports", NULL, 0x10000, &bench->log);
    uint64_t offset = memory_allocate(&bench->memory, RAM_BYTES);
    bench->ram = bench->memory.host + offset;
    assert_non_null(address_space_map_memory(&bench->space, "ram", FPU_BASE, RAM_BYTES, 0, offset, false, &error));
    bench->blocks = block_cache_create(&bench->memory, &bench->model, 8 << 20, &bench->log, &error);
    assert_non_null(bench->blocks);
    struct cpu_config config = {.model = &bench->model,
                                .memory = &bench->space,
                                .smm_memory = &bench->space,
                                .ports = &bench->ports,
                                .blocks = bench->blocks,
                                .log = &bench->log};
    bench->cpu = cpu_create(&config, &error);
    assert_non_null(bench->cpu);
    bench->cpu->x87_policy = policy;
    make_64_bit(bench->cpu);
    open_engine(bench);
    return open_host(bench);
}

void fpu_bench_close(struct fpu_bench *bench)
{
    if (bench->native)
        munmap(bench->native, RAM_BYTES);
    if (bench->engine) {
        fpu_bench_engine_closing(bench->engine_state);
        bench->engine->destroy(bench->engine_state);
    }
    cpu_destroy(bench->cpu);
    block_cache_destroy(bench->blocks);
    address_space_destroy(&bench->space);
    address_space_destroy(&bench->ports);
    memory_destroy(&bench->memory);
}

void fpu_bench_set_code(struct fpu_bench *bench, const uint8_t *bytes, unsigned length)
{
    const unsigned at = (unsigned)(FPU_INSN - FPU_BASE);
    bench->length = length;
    // As a store, so that the block of the instruction before is dropped.
    address_space_write_bytes(&bench->space, FPU_INSN, bytes, length, false);
    // An engine's block ends with a jump, so that it has two instructions.
    address_space_write_bytes(&bench->space, FPU_INSN + length, (const uint8_t[]){0xeb, 0}, 2, false);
    if (bench->native) {
        memcpy(bench->native + at, bytes, length);
        bench->native[at + length] = 0xc3;
    }
}

static void to_cpu(const struct fpu_state *state, struct cpu *cpu)
{
    const struct fnsave_image *image = &state->x87;
    x87_set_control(cpu, (uint16_t)image->control);
    x87_set_status_word(cpu, (uint16_t)image->status);
    cpu->x87.valid = 0;
    for (unsigned i = 0; i < 8; i++)
        if ((image->tag >> 2 * i & 3) != 3)
            cpu->x87.valid |= (uint8_t)(1u << i);
    cpu->x87.ip = image->ip;
    cpu->x87.cs = image->cs;
    cpu->x87.dp = image->dp;
    cpu->x87.ds = image->ds;
    cpu->x87.opcode = image->opcode & 0x7ff;
    for (unsigned i = 0; i < 8; i++)
        memcpy(&cpu->x87.reg[(cpu->x87.top + i) & 7], image->st[i], 10);
    cpu->mxcsr = state->mxcsr;
    for (unsigned i = 0; i < 16; i++)
        memcpy(&cpu->vreg[i].u8[0], state->xmm[i], 16);
    for (unsigned i = 0; i < 16; i++)
        memcpy(&cpu->vreg[i].u8[16], state->upper[i], 16);
    cpu->var[VAR_RAX] = state->rax;
    cpu->var[VAR_RCX] = state->rcx;
    cpu->var[VAR_RDX] = state->rdx;
    cpu->var[VAR_RDI] = state->rdi;
    cpu->var[VAR_RIP] = FPU_INSN;
    cpu_set_flags_literal(cpu, state->rflags);
    cpu->fault.pending = false;
}

static void from_cpu(struct cpu *cpu, struct fpu_state *state)
{
    struct fnsave_image *image = &state->x87;
    image->control = cpu->x87.control | 0xffff0000u;
    image->status = x87_status_word(cpu) | 0xffff0000u;
    image->tag = x87_tag_word(cpu) | 0xffff0000u;
    image->ip = (uint32_t)cpu->x87.ip;
    image->cs = cpu->x87.cs;
    image->dp = (uint32_t)cpu->x87.dp;
    image->ds = cpu->x87.ds;
    image->opcode = cpu->x87.opcode;
    for (unsigned i = 0; i < 8; i++)
        memcpy(image->st[i], &cpu->x87.reg[(cpu->x87.top + i) & 7], 10);
    state->mxcsr = cpu->mxcsr;
    for (unsigned i = 0; i < 16; i++)
        memcpy(state->xmm[i], &cpu->vreg[i].u8[0], 16);
    for (unsigned i = 0; i < 16; i++)
        memcpy(state->upper[i], &cpu->vreg[i].u8[16], 16);
    state->rax = cpu->var[VAR_RAX];
    state->rcx = cpu->var[VAR_RCX];
    state->rdx = cpu->var[VAR_RDX];
    state->rdi = cpu->var[VAR_RDI];
    state->rflags = cpu_flags_arithmetic(cpu);
    bool numeric = cpu->fault.vector == VECTOR_MF || cpu->fault.vector == VECTOR_XM;
    state->fault = !cpu->fault.pending ? FPU_FAULT_NONE : numeric ? FPU_FAULT_NUMERIC : FPU_FAULT_OTHER;
}

/// The instruction and the jump behind it, in another engine.
static void run_engine(struct fpu_bench *bench, struct fpu_state *after)
{
    struct cpu *cpu = bench->cpu;
    cpu->activity = ACTIVITY_RUN;
    cpu->instruction_limit = cpu->instructions + 2;
    enum engine_stop stop = bench->engine->run(bench->engine_state, cpu);
    from_cpu(cpu, after);
    if (stop == STOP_SHUTDOWN) // of what kind the fault was is not left
        after->fault = FPU_FAULT_SOME;
    else
        assert_int_equal(stop, STOP_DEADLINE);
}

void fpu_bench_run_guest(struct fpu_bench *bench, const struct fpu_state *before, struct fpu_state *after)
{
    uint8_t *data = bench->ram + (FPU_DATA - FPU_BASE);
    struct cpu *cpu = bench->cpu;
    memcpy(data, before->memory, FPU_DATA_BYTES);
    to_cpu(before, cpu);
    if (bench->engine) {
        run_engine(bench, after);
    } else {
        struct block *block = block_find(cpu, MODE_ONE);
        assert_non_null(block);
        interp_block(cpu, block);
        from_cpu(cpu, after);
    }
    memcpy(after->memory, data, FPU_DATA_BYTES);
}

// ---- States -------------------------------------------------------------------------------------------------------
void fpu_state_init(struct fpu_state *state)
{
    memset(state, 0, sizeof *state);
    state->x87.control = 0x037f;
    state->x87.tag = 0xffff;
    state->mxcsr = MXCSR_DEFAULT;
    state->rdi = FPU_DATA;
}

static bool differs(char *text, size_t size, const char *what, unsigned number, const void *host, const void *ours,
                    unsigned count)
{
    if (!memcmp(host, ours, count))
        return false;
    size_t at = (size_t)snprintf(text, size, "%s%u: host ", what, number);
    for (unsigned i = count; i-- > 0 && at < size;)
        at += (size_t)snprintf(text + at, size - at, "%02x", ((const uint8_t *)host)[i]);
    if (at < size)
        at += (size_t)snprintf(text + at, size - at, ", doppel ");
    for (unsigned i = count; i-- > 0 && at < size;)
        at += (size_t)snprintf(text + at, size - at, "%02x", ((const uint8_t *)ours)[i]);
    return true;
}

bool fpu_state_equal(const struct fpu_state *host, const struct fpu_state *ours, bool selectors, char *text,
                     size_t size)
{
    const struct fnsave_image *a = &host->x87, *b = &ours->x87;
    if (host->fault != ours->fault && !(host->fault && ours->fault == FPU_FAULT_SOME)) {
        snprintf(text, size, "fault: host %d, doppel %d", host->fault, ours->fault);
        return false;
    }
    if (differs(text, size, "fcw", 0, &a->control, &b->control, 2) ||
        differs(text, size, "fsw", 0, &a->status, &b->status, 2) || differs(text, size, "tag", 0, &a->tag, &b->tag, 2))
        return false;
    for (unsigned i = 0; i < 8; i++)
        if (differs(text, size, "st", i, a->st[i], b->st[i], 10))
            return false;
    if (differs(text, size, "mxcsr", 0, &host->mxcsr, &ours->mxcsr, 4))
        return false;
    for (unsigned i = 0; i < 16; i++)
        if (differs(text, size, "xmm", i, host->xmm[i], ours->xmm[i], 16) ||
            differs(text, size, "upper half of ymm", i, host->upper[i], ours->upper[i], 16))
            return false;
    if (differs(text, size, "rax", 0, &host->rax, &ours->rax, 8) ||
        differs(text, size, "rcx", 0, &host->rcx, &ours->rcx, 8) ||
        differs(text, size, "rdx", 0, &host->rdx, &ours->rdx, 8) ||
        differs(text, size, "rflags", 0, &host->rflags, &ours->rflags, 8))
        return false;
    for (unsigned i = 0; i < FPU_DATA_BYTES; i += 16)
        if (differs(text, size, "memory", i, host->memory + i, ours->memory + i, 16))
            return false;
    if (host->fault && !(a->status & X87_ES)) // the kernel keeps pointers over a signal only with an exception
        return true;
    uint16_t opcode_a = a->opcode & 0x7ff, opcode_b = b->opcode & 0x7ff;
    return !(differs(text, size, "fip", 0, &a->ip, &b->ip, 4) || differs(text, size, "fdp", 0, &a->dp, &b->dp, 4) ||
             differs(text, size, "fop", 0, &opcode_a, &opcode_b, 2) ||
             (selectors && differs(text, size, "fcs", 0, &a->cs, &b->cs, 2)) ||
             (selectors && differs(text, size, "fds", 0, &a->ds, &b->ds, 2)));
}

unsigned fpu_wanted_states(unsigned fast)
{
    const char *text = getenv("DOPPEL_TEST_STATES");
    return text ? (unsigned)strtoul(text, NULL, 10) : fast;
}

// ---- Classes of operands ------------------------------------------------------------------------------------------
void fpu_class_x87(unsigned number, uint64_t *random, uint8_t to[10])
{
    static const struct {
        uint16_t exponent;
        uint64_t significand;
    } classes[] = {
        {0, 0},
        {0, 1},
        {0, UINT64_C(0x7fffffffffffffff)},
        {0, UINT64_C(0x0000000080000000)},
        {0, UINT64_C(0x8000000000000000)}, // pseudo-denormals
        {0, UINT64_C(0xffffffffffffffff)},
        {1, UINT64_C(0x8000000000000000)},
        {1, UINT64_C(0xffffffffffffffff)},
        {0x3fff, UINT64_C(0x8000000000000000)},
        {0x3ffe, UINT64_C(0xffffffffffffffff)},
        {0x3fff, UINT64_C(0x8000000000000001)},
        {0x3fff, UINT64_C(0xc000000000000000)}, // 1.5
        {0x4000, UINT64_C(0xa000000000000000)}, // 2.5
        {0x4000, UINT64_C(0xc90fdaa22168c235)}, // pi
        {0x7ffe, UINT64_C(0xffffffffffffffff)},
        {0x7ffe, UINT64_C(0x8000000000000000)},
        {0x7fff, UINT64_C(0x8000000000000000)}, // infinity
        {0x7fff, UINT64_C(0x8000000000000001)}, // signalling NaNs
        {0x7fff, UINT64_C(0xbfffffffffffffff)},
        {0x7fff, UINT64_C(0xc000000000000000)}, // quiet NaNs
        {0x7fff, UINT64_C(0xffffffffffffffff)},
        {0x7fff, UINT64_C(0xc000000000000001)},
        {0x7fff, 0},                            // pseudo-infinity
        {0x7fff, UINT64_C(0x4000000000000001)}, // pseudo-NaN
        {0x4000, UINT64_C(0x4000000000000000)}, // unnormals
        {0x0001, UINT64_C(0x7fffffffffffffff)},
        {0x4000, 0},
        {0x403e, UINT64_C(0x8000000000000000)}, // 2^63
        {0x403d, UINT64_C(0xffffffffffffffff)},
        {0x403a, UINT64_C(0xde0b6b3a763fffff)}, // around 10^18
        {0x403a, UINT64_C(0xde0b6b3a76400000)},
        {0x401e, UINT64_C(0x8000000000000000)}, // 2^31
        {0x401d, UINT64_C(0xffffffff00000000)},
        {0x400e, UINT64_C(0x8000000000000000)}, // 2^15
        {0x400d, UINT64_C(0xfffe000000000000)},
        {0x3ffe, UINT64_C(0x8000000000000000)}, // 1/2
        {0x3ffd, UINT64_C(0xffffffffffffffff)},
        {0x3f81, UINT64_C(0x8000000000000000)}, // the smallest normal float, and around it
        {0x3f80, UINT64_C(0xffffffffffffffff)},
        {0x3f6a, UINT64_C(0x8000000000000000)},
        {0x3f69, UINT64_C(0x8000000000000000)},
        {0x407e, UINT64_C(0xffffff0000000000)}, // the largest float
        {0x407e, UINT64_C(0xffffff8000000000)},
        {0x3c01, UINT64_C(0x8000000000000000)}, // double
        {0x3c00, UINT64_C(0xffffffffffffffff)},
        {0x3bcd, UINT64_C(0x8000000000000000)},
        {0x43fe, UINT64_C(0xfffffffffffff800)},
        {0x43fe, UINT64_C(0xfffffffffffffc00)},
        {0x4005, UINT64_C(0x8000000000000000)}, // 64: FPREM, FSCALE
        {0x400c, UINT64_C(0xfffc000000000000)}, // 16383
        {0x400d, UINT64_C(0x8000000000000000)},
        {0x400e, UINT64_C(0xc000000000000000)}, // 49152
        {0x3ffd, UINT64_C(0xaaaaaaaaaaaaaaab)}, // 1/3
    };
    uint64_t r = support_random(random), significand = support_random(random) | BIT(63);
    uint16_t exponent;
    if (number < ARRAY_SIZE(classes)) {
        exponent = classes[number].exponent;
        significand = classes[number].significand;
    } else if (number % 4 == 0) { // few bits, so that results are exact
        exponent = (uint16_t)(0x3ffc + (r >> 16) % 16);
        significand &= UINT64_C(0xff00000000000000);
    } else if (number % 4 == 1) {
        exponent = (uint16_t)(r >> 16 & 0x7fff);
    } else {
        exponent = (uint16_t)(0x3fff - 8 + (r >> 16) % 75);
    }
    exponent |= (uint16_t)((r >> 3 & 1) << 15);
    memcpy(to, &significand, 8);
    memcpy(to + 8, &exponent, 2);
}

/// A number of a format with `bits` of fraction below an exponent with the maximum `top`.
static uint64_t class_of_format(unsigned number, uint64_t *random, unsigned bits, unsigned top)
{
    const uint64_t one = (uint64_t)(top >> 1) << bits, fraction = bits_mask(bits), quiet = BIT(bits - 1);
    const uint64_t infinity = (uint64_t)top << bits;
    const uint64_t classes[] = {
        0,
        1,
        2,
        fraction,
        fraction >> 1,
        quiet,
        fraction + 1,
        fraction + 2,
        one,
        one - 1,
        one + 1,
        one | quiet,
        one + fraction + 1,
        (one + ((fraction + 1) << 1)) | quiet >> 1,
        infinity - 1,
        infinity - 1 - fraction,
        infinity,
        infinity + 1,
        infinity | (quiet - 1),
        infinity | quiet,
        infinity | fraction,
        infinity | quiet | 1,
        one + ((uint64_t)15 << bits),
        one + ((uint64_t)31 << bits),
        one + ((uint64_t)31 << bits) - 1,
        one + ((uint64_t)63 << bits),
        one + ((uint64_t)63 << bits) - 1,
        one + ((uint64_t)32 << bits),
        one - (fraction + 1),
        one - (fraction + 1) + 1,
        one - (fraction + 1) - 1,
        one / 2,
        one - ((uint64_t)bits << bits),
        one - ((uint64_t)(bits + 1) << bits),
        one + ((uint64_t)bits << bits) + 1,
        (one / 2) & ~fraction,
    };
    uint64_t r = support_random(random), value = support_random(random) & fraction,
             sign = (r & 1) << (bits == 23 ? 31 : 63);
    if (number < ARRAY_SIZE(classes))
        return classes[number] | sign;
    if (number % 4 == 0)
        return ((uint64_t)((r >> 8) % top) << bits) | value | sign;
    if (number % 4 == 1)
        value &= ~(fraction >> 6);
    // Singles and doubles around one; doubles also around the edges of singles.
    unsigned exponent = (top >> 1) - 8 + (unsigned)((r >> 8) % 16);
    if (number % 4 == 2 && bits == 52)
        exponent = 1023 - 155 + (unsigned)((r >> 8) % 40);
    return ((uint64_t)exponent << bits) | value | sign;
}

uint64_t fpu_class_double(unsigned number, uint64_t *random)
{
    return class_of_format(number, random, 52, 0x7ff);
}

uint32_t fpu_class_single(unsigned number, uint64_t *random)
{
    return (uint32_t)class_of_format(number, random, 23, 0xff);
}
