// See support_native.h. The host's side is for x86-64 only; elsewhere native_available says no.
#include "support_native.h"

#include "cpu/row_index.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__x86_64__)

// What the signal handler must know: handlers have no other way to reach it.
static struct {
    uint8_t *code;
    unsigned length;
    struct native *running;
} host;

void native_call(struct native *native, const void *code);
__asm__(".text\n"
        ".globl native_call\n"
        "native_call:\n\t"
        "push %rbx\n\tpush %rbp\n\tsub $520, %rsp\n\t"
        "mov %rdi, %rbx\n\tmov %rsi, %rbp\n\t"
        "fxsave64 (%rsp)\n\t"
        "fxrstor64 (%rbx)\n\t"
        "cmpq $0, 2496(%rbx)\n\tje 1f\n\t"
        "vinsertf128 $1, 1984(%rbx), %ymm0, %ymm0\n\t"
        "vinsertf128 $1, 2000(%rbx), %ymm1, %ymm1\n\t"
        "vinsertf128 $1, 2016(%rbx), %ymm2, %ymm2\n\t"
        "vinsertf128 $1, 2032(%rbx), %ymm3, %ymm3\n\t"
        "vinsertf128 $1, 2048(%rbx), %ymm4, %ymm4\n\t"
        "vinsertf128 $1, 2064(%rbx), %ymm5, %ymm5\n\t"
        "vinsertf128 $1, 2080(%rbx), %ymm6, %ymm6\n\t"
        "vinsertf128 $1, 2096(%rbx), %ymm7, %ymm7\n\t"
        "vinsertf128 $1, 2112(%rbx), %ymm8, %ymm8\n\t"
        "vinsertf128 $1, 2128(%rbx), %ymm9, %ymm9\n\t"
        "vinsertf128 $1, 2144(%rbx), %ymm10, %ymm10\n\t"
        "vinsertf128 $1, 2160(%rbx), %ymm11, %ymm11\n\t"
        "vinsertf128 $1, 2176(%rbx), %ymm12, %ymm12\n\t"
        "vinsertf128 $1, 2192(%rbx), %ymm13, %ymm13\n\t"
        "vinsertf128 $1, 2208(%rbx), %ymm14, %ymm14\n\t"
        "vinsertf128 $1, 2224(%rbx), %ymm15, %ymm15\n\t"
        "1:\n\t"
        "mov 1024(%rbx), %rax\n\tmov 1032(%rbx), %rcx\n\tmov 1040(%rbx), %rdi\n\tmov 1056(%rbx), %rdx\n\t"
        "pushq 1048(%rbx)\n\tpopfq\n\t"
        "call *%rbp\n\t"
        "pushfq\n\tpopq 1048(%rbx)\n\t"
        "fxsave64 512(%rbx)\n\t"
        "cmpq $0, 2496(%rbx)\n\tje 1f\n\t"
        "vextractf128 $1, %ymm0, 2240(%rbx)\n\t"
        "vextractf128 $1, %ymm1, 2256(%rbx)\n\t"
        "vextractf128 $1, %ymm2, 2272(%rbx)\n\t"
        "vextractf128 $1, %ymm3, 2288(%rbx)\n\t"
        "vextractf128 $1, %ymm4, 2304(%rbx)\n\t"
        "vextractf128 $1, %ymm5, 2320(%rbx)\n\t"
        "vextractf128 $1, %ymm6, 2336(%rbx)\n\t"
        "vextractf128 $1, %ymm7, 2352(%rbx)\n\t"
        "vextractf128 $1, %ymm8, 2368(%rbx)\n\t"
        "vextractf128 $1, %ymm9, 2384(%rbx)\n\t"
        "vextractf128 $1, %ymm10, 2400(%rbx)\n\t"
        "vextractf128 $1, %ymm11, 2416(%rbx)\n\t"
        "vextractf128 $1, %ymm12, 2432(%rbx)\n\t"
        "vextractf128 $1, %ymm13, 2448(%rbx)\n\t"
        "vextractf128 $1, %ymm14, 2464(%rbx)\n\t"
        "vextractf128 $1, %ymm15, 2480(%rbx)\n\t"
        "vzeroupper\n\t"
        "1:\n\t"
        "mov %rax, 1024(%rbx)\n\tmov %rcx, 1032(%rbx)\n\tmov %rdi, 1040(%rbx)\n\t"
        "fnclex\n\tfxrstor64 (%rsp)\n\tcld\n\t"
        "add $520, %rsp\n\tpop %rbp\n\tpop %rbx\n\tret\n");

static void on_fault(int number, siginfo_t *info, void *context)
{
    ucontext_t *user = context;
    if (!host.running)
        abort();
    host.running->faulted = true;
    user->uc_mcontext.gregs[REG_RIP] = (greg_t)(host.code + host.length); // the RET behind the instruction
}

bool native_available(void)
{
    return true;
}

bool native_open(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    host.code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return host.code != MAP_FAILED && sigaction(SIGFPE, &action, NULL) == 0;
}

void native_close(void)
{
    munmap(host.code, 4096);
}

void native_run(struct native *native, const uint8_t *bytes, unsigned length)
{
    _Static_assert(offsetof(struct native, rax) == 1024 && offsetof(struct native, rflags) == 1048 &&
                       offsetof(struct native, rdx) == 1056 && offsetof(struct native, upper_before) == 1984 &&
                       offsetof(struct native, upper_after) == 2240 && offsetof(struct native, has_upper) == 2496,
                   "as in native_call");
    if (host.length != length || memcmp(host.code, bytes, length)) {
        memcpy(host.code, bytes, length);
        host.code[length] = 0xc3;
        host.length = length;
    }
    native->faulted = false;
    native->has_upper = __builtin_cpu_supports("avx") != 0;
    memcpy(native->upper_after, native->upper_before, sizeof native->upper_after);
    native->rdi = (uint64_t)(uintptr_t)native->memory;
    native->rflags = (native->rflags & FLAGS_ARITHMETIC) | 0x202;
    host.running = native;
    native_call(native, host.code);
    host.running = NULL;
}

#else
bool native_available(void)
{
    return false;
}

bool native_open(void)
{
    return false;
}

void native_close(void)
{
}

void native_run(struct native *native, const uint8_t *bytes, unsigned length)
{
}
#endif

// ---- Encoding -----------------------------------------------------------------------------------------------------
unsigned native_encode(const struct row *row, bool rex_w, unsigned reg, unsigned rm, bool memory, uint8_t immediate,
                       uint8_t bytes[16])
{
    unsigned length = 0, opcodes = 0;
    char text[64], *save = NULL;
    snprintf(text, sizeof text, "%s", row->encoding);
    bool first = true, rex_done = false;
    for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save), first = false) {
        if (!strcmp(word, "NP") || !strcmp(word, "REX.W=0"))
            continue;
        if (!strcmp(word, "REX.W")) {
            rex_w = true;
            continue;
        }
        bool prefix = first && (!strcmp(word, "66") || !strcmp(word, "F2") || !strcmp(word, "F3"));
        if (!prefix && !rex_done) {
            if (rex_w)
                bytes[length++] = 0x48;
            rex_done = true;
        }
        if (word[0] == '/') {
            unsigned field = word[1] == 'r' ? reg : (unsigned)(word[1] - '0');
            bytes[length++] = (uint8_t)((memory ? 0x07 : 0xc0 | rm) | field << 3);
        } else if (!strcmp(word, "ib")) {
            bytes[length++] = immediate;
        } else {
            unsigned byte = (unsigned)strtoul(word, NULL, 16);
            bytes[length++] = (uint8_t)(strstr(word, "+i") ? byte + rm : byte);
            opcodes += !prefix;
        }
    }
    return length;
}

unsigned native_encode_vex(const struct row *row, const struct native_vex *how, uint8_t bytes[16])
{
    struct row_form form;
    struct error error = {{0}};
    unsigned length = 0;
    if (!row_form_parse(row, &form, &error))
        return 0;
    bool w = form.mask & KEY_REX_W ? form.value & KEY_REX_W : how->rex_w;
    bool l = form.mask & KEY_VEX_L ? form.value & KEY_VEX_L : how->wide;
    unsigned vvvv = form.vex_register ? how->vvvv : 0;
    bytes[length++] = 0xc4;
    bytes[length++] = (uint8_t)(0xe0 | (form.map - MAP_VEX_0F + 1));
    bytes[length++] =
        (uint8_t)((w ? 0x80 : 0) | (~vvvv & 15) << 3 | (l ? 4 : 0) | (form.value >> KEY_PREFIX_SHIFT & 3));
    bytes[length++] = form.opcode;
    if (form.modrm) {
        unsigned reg = (form.mask & KEY_MODRM_REG) == KEY_MODRM_REG ? (form.value & KEY_MODRM_REG) >> 3 : how->reg;
        bool vector_index = row->attributes & ROW_VSIB;
        bytes[length++] = (uint8_t)((how->memory ? (vector_index ? 4 : 7) : 0xc0 | how->rm) | reg << 3);
        if (vector_index)
            bytes[length++] = 2 << 6 | 5 << 3 | 7;
    }
    if (form.immediate[0])
        bytes[length++] = how->immediate;
    return length;
}

// ---- State --------------------------------------------------------------------------------------------------------
void native_to_cpu(const struct native *native, struct cpu *cpu)
{
    const struct fxsave_image *image = &native->before;
    cpu->x87.control = image->control;
    cpu->x87.status = image->status & ~0x3800;
    cpu->x87.top = image->status >> 11 & 7;
    cpu->x87.valid = image->valid;
    for (unsigned i = 0; i < 8; i++)
        memcpy(&cpu->x87.reg[(cpu->x87.top + i) & 7], image->st[i], 10);
    for (unsigned i = 0; i < 16; i++)
        memcpy(&cpu->vreg[i].u8[0], image->xmm[i], 16);
    for (unsigned i = 0; i < 16; i++)
        memcpy(&cpu->vreg[i].u8[16], native->upper_before[i], 16);
    cpu->mxcsr = image->mxcsr;
    cpu->var[VAR_RAX] = native->rax;
    cpu->var[VAR_RCX] = native->rcx;
    cpu->var[VAR_RDX] = native->rdx;
    cpu_set_flags_literal(cpu, native->rflags);
    cpu->fault.pending = false;
}

static bool differs(char *text, size_t size, const char *what, unsigned number, const void *host_bytes,
                    const void *our_bytes, unsigned count)
{
    if (!memcmp(host_bytes, our_bytes, count))
        return false;
    size_t at = (size_t)snprintf(text, size, "%s%u: host ", what, number);
    for (unsigned i = count; i-- > 0 && at < size;)
        at += (size_t)snprintf(text + at, size - at, "%02x", ((const uint8_t *)host_bytes)[i]);
    if (at < size)
        at += (size_t)snprintf(text + at, size - at, ", doppel ");
    for (unsigned i = count; i-- > 0 && at < size;)
        at += (size_t)snprintf(text + at, size - at, "%02x", ((const uint8_t *)our_bytes)[i]);
    return true;
}

bool native_equals_cpu(const struct native *native, const struct cpu *cpu, char *text, size_t size)
{
    const struct fxsave_image *image = &native->after;
    uint16_t status = (uint16_t)(cpu->x87.status | cpu->x87.top << 11);
    if (differs(text, size, "fcw", 0, &image->control, &cpu->x87.control, 2) ||
        differs(text, size, "fsw", 0, &image->status, &status, 2) ||
        differs(text, size, "tags", 0, &image->valid, &cpu->x87.valid, 1) ||
        differs(text, size, "mxcsr", 0, &image->mxcsr, &cpu->mxcsr, 4))
        return false;
    for (unsigned i = 0; i < 8; i++)
        if (differs(text, size, "st", i, image->st[i], &cpu->x87.reg[(cpu->x87.top + i) & 7], 10))
            return false;
    for (unsigned i = 0; i < 16; i++)
        if (differs(text, size, "xmm", i, image->xmm[i], &cpu->vreg[i].u8[0], 16) ||
            differs(text, size, "upper half of ymm", i, native->upper_after[i], &cpu->vreg[i].u8[16], 16))
            return false;
    return true;
}

// ---- Random operands ----------------------------------------------------------------------------------------------
uint64_t random_next(struct random *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint32_t random_single(struct random *random)
{
    static const uint32_t special[] = {0,          0x00000001, 0x007fffff, 0x00800000, 0x00800001, 0x3f800000,
                                       0x3f7fffff, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fbfffff, 0x7fc00000,
                                       0x7fffffff, 0x4effffff, 0x4f000000, 0x5effffff, 0x5f000000, 0x3fc00000,
                                       0x40200000, 0x3f000000, 0x4b000001, 0x33800000, 0x1a000000};
    uint64_t r = random_next(random);
    uint32_t value = special[(r >> 8) % ARRAY_SIZE(special)];
    if (r & 1)
        value = (uint32_t)(r >> 32 & 0x7fffff) | (uint32_t)(120 + (r >> 8) % 16) << 23;
    if ((r & 7) == 7)
        value = (uint32_t)(r >> 32);
    return value ^ (uint32_t)(r >> 1 & 1) << 31;
}

static uint64_t random_double(struct random *random)
{
    static const uint64_t special[] = {0,
                                       1,
                                       UINT64_C(0x000fffffffffffff),
                                       UINT64_C(0x0010000000000000),
                                       UINT64_C(0x3ff0000000000000),
                                       UINT64_C(0x3fefffffffffffff),
                                       UINT64_C(0x7fefffffffffffff),
                                       UINT64_C(0x7ff0000000000000),
                                       UINT64_C(0x7ff0000000000001),
                                       UINT64_C(0x7ff7ffffffffffff),
                                       UINT64_C(0x7ff8000000000000),
                                       UINT64_C(0x7fffffffffffffff),
                                       UINT64_C(0x41dfffffffc00000),
                                       UINT64_C(0x41e0000000000000),
                                       UINT64_C(0x43dfffffffffffff),
                                       UINT64_C(0x43e0000000000000),
                                       UINT64_C(0x3ff8000000000000),
                                       UINT64_C(0x4004000000000000),
                                       UINT64_C(0x36a0000000000000),
                                       UINT64_C(0x3810000000000000),
                                       UINT64_C(0x380fffffffffffff),
                                       UINT64_C(0x47efffffffffffff),
                                       UINT64_C(0x1a00000000000000)};
    uint64_t r = random_next(random), value = special[(r >> 8) % ARRAY_SIZE(special)];
    if (r & 1)
        value = (random_next(random) & UINT64_C(0xfffffffffffff)) | (1016 + (r >> 8) % 16) << 52;
    if ((r & 7) == 7)
        value = random_next(random);
    if ((r & 15) == 13) // near the edges of single precision
        value = (random_next(random) & UINT64_C(0xfffffffe00000)) | (868 + (r >> 8) % 40) << 52;
    return value ^ (r >> 1 & 1) << 63;
}

void random_vector(struct random *random, uint8_t to[16])
{
    uint64_t r = random_next(random), pair[2] = {random_next(random), random_next(random)};
    uint32_t singles[4];
    switch (r & 7) {
    case 0: // small integers
        for (unsigned i = 0; i < 16; i++)
            to[i] = i % 2 ? 0 : to[i] & 0x1f;
        memcpy(to, (uint64_t[]){pair[0] & 0x7f, pair[1] & 0x0000001f0000001f}, 16);
        return;
    case 1: // bytes at the edges
        for (unsigned i = 0; i < 16; i++)
            to[i] = (const uint8_t[]){0, 1, 0x7f, 0x80, 0xff, 0xfe, 0x81, 0x40}[pair[i / 8] >> 3 * (i % 8) & 7];
        return;
    case 2:
        memcpy(to, pair, 16);
        return;
    case 3:
    case 4:
        for (unsigned i = 0; i < 4; i++)
            singles[i] = random_single(random);
        memcpy(to, singles, 16);
        return;
    default:
        for (unsigned i = 0; i < 2; i++)
            pair[i] = random_double(random);
        memcpy(to, pair, 16);
    }
}

void random_x87(struct random *random, uint8_t to[16])
{
    static const struct {
        uint16_t exponent;
        uint64_t significand;
    } special[] = {
        {0, 0},
        {0, 1},
        {0, UINT64_C(0x7fffffffffffffff)},
        {0, UINT64_C(0x8000000000000000)}, // pseudo-denormal
        {0, UINT64_C(0xffffffffffffffff)},
        {1, UINT64_C(0x8000000000000000)},
        {0x3fff, UINT64_C(0x8000000000000000)},
        {0x3ffe, UINT64_C(0xffffffffffffffff)},
        {0x4000, UINT64_C(0xc90fdaa22168c235)},
        {0x7ffe, UINT64_C(0xffffffffffffffff)},
        {0x7fff, UINT64_C(0x8000000000000000)},
        {0x7fff, UINT64_C(0x8000000000000001)},
        {0x7fff, UINT64_C(0xbfffffffffffffff)},
        {0x7fff, UINT64_C(0xc000000000000000)},
        {0x7fff, UINT64_C(0xffffffffffffffff)},
        {0x7fff, 0},                            // pseudo-infinity
        {0x7fff, UINT64_C(0x4000000000000001)}, // pseudo-NaN
        {0x4000, UINT64_C(0x4000000000000000)}, // unnormal
        {0x403e, UINT64_C(0x8000000000000000)}, // 2^63
        {0x403d, UINT64_C(0xffffffffffffffff)},
        {0x401e, UINT64_C(0x8000000000000000)},
        {0x400e, UINT64_C(0x8000000000000000)},
        {0x3fff, UINT64_C(0xc000000000000000)},
        {0x3ffe, UINT64_C(0x8000000000000000)},
        {0x4005, UINT64_C(0x8000000000000000)},
    };
    uint64_t r = random_next(random), significand = random_next(random);
    uint16_t exponent;
    unsigned n = (unsigned)(r >> 8) % ARRAY_SIZE(special);
    switch (r & 7) {
    case 0:
    case 1:
        exponent = special[n].exponent;
        significand = special[n].significand;
        break;
    case 2: // few bits, so that results are exact
        exponent = (uint16_t)(0x3ffc + (r >> 16) % 16);
        significand = (significand | BIT(63)) & UINT64_C(0xff00000000000000);
        break;
    case 3:
        exponent = (uint16_t)(r >> 16 & 0x7fff);
        significand |= BIT(63);
        break;
    case 4: // edges of the smaller formats and of this one
        exponent = (uint16_t)((const uint16_t[]){0x3f69, 0x3f80, 0x3c00, 0x3bcc, 0x407e, 0x43fe, 0x7ff0, 0x0001, 0x0030,
                                                 0x1fff, 0x5fff}[(r >> 16) % 11] +
                              (r >> 24) % 8);
        significand |= BIT(63);
        break;
    default:
        exponent = (uint16_t)(0x3fff - 8 + (r >> 16) % 75);
        significand |= BIT(63);
    }
    exponent |= (uint16_t)((r >> 3 & 1) << 15);
    memset(to, 0, 16);
    memcpy(to, &significand, 8);
    memcpy(to + 8, &exponent, 2);
}
