// Integer rows against the host's processor: each row in random forms and with random operands runs natively, through
// a small trampoline, and in the interpreter, on the same addresses; registers, flags less the row's undefined ones,
// memory and faults must agree. Rows that 64-bit code does not have are checked by vectors. No row may be left over.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/block.h"
#include "cpu/support_rows.h"

// ---- The guest: 64-bit (or 32-bit compatibility) code at CPL 3, a code page and 32 KiB of data -----------------

#define CODE_LINEAR UINT64_C(0x30000000)
#define INSN_LINEAR (CODE_LINEAR + 0x400)
#define TARGET_LINEAR (CODE_LINEAR + 0xa00) // where taken branches go
#define DATA_LINEAR UINT64_C(0x30010000)
#define DATA_SIZE 0x8000u
#define BRANCH_DISTANCE 0x20 // of relative branches

struct guest {
    struct memory memory;
    struct address_space space, ports;
    struct log log;
    struct cpu_model model;
    struct block_cache *blocks;
    struct cpu *cpu;
    uint8_t *data;
};

enum { PHYSICAL_TABLES = 0x1000, PHYSICAL_CODE = 0x8000, PHYSICAL_DATA = 0x10000, PHYSICAL_SIZE = 0x40000 };

static void guest_map_pages(struct guest *guest)
{
    uint8_t *ram = guest->memory.host;
    const unsigned table = PHYSICAL_TABLES;
    store_le64(ram + table, (table + 0x1000) | 7);
    store_le64(ram + table + 0x1000 + (CODE_LINEAR >> 30) * 8, (table + 0x2000) | 7);
    store_le64(ram + table + 0x2000 + (CODE_LINEAR >> 21 & 511) * 8, (table + 0x3000) | 7);
    uint8_t *leaf = ram + table + 0x3000;
    store_le64(leaf, PHYSICAL_CODE | 5);
    for (unsigned i = 0; i < DATA_SIZE / PAGE_SIZE; i++)
        store_le64(leaf + ((DATA_LINEAR >> 12 & 511) + i) * 8, (PHYSICAL_DATA + i * PAGE_SIZE) | 7);
}

static void guest_set_code(struct guest *guest, bool code64)
{
    struct cpu *cpu = guest->cpu;
    for (unsigned n = SEG_ES; n <= SEG_GS; n++) {
        uint32_t type = n == SEG_CS ? 0xb : 0x3;
        cpu->segment[n] = (struct segment){.selector = n == SEG_CS ? 0x33 : 0x2b,
                                           .rights = type | SEGMENT_S | SEGMENT_DPL | SEGMENT_P | SEGMENT_G |
                                                     (n == SEG_CS && code64 ? SEGMENT_L : SEGMENT_DB),
                                           .limit = UINT32_MAX};
        cpu_set_segment_base(cpu, n, 0);
    }
    cpu->cpl = 3;
    cpu->cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_NE | CR0_ET;
    cpu->cr3 = PHYSICAL_TABLES;
    cpu->cr4 = CR4_PAE | CR4_OSFXSR;
    cpu->efer = EFER_LME | EFER_LMA;
    cpu_update_paging(cpu, true);
    cpu_set_rflags(cpu, FLAG_IF | 2);
}

static struct guest *guest_create(void)
{
    struct guest *guest = calloc(1, sizeof *guest);
    struct error error = {{0}};
    assert_non_null(guest);
    log_init(&guest->log);
    guest->model = support_full_model();
    guest->model.physical_bits = 40;
    guest->model.linear_bits = 48;
    assert_true(memory_create(&guest->memory, PHYSICAL_SIZE, &error));
    uint64_t offset = memory_allocate(&guest->memory, PHYSICAL_SIZE);
    address_space_init(&guest->space, "memory", &guest->memory, UINT64_C(1) << 40, &guest->log);
    address_space_init(&guest->ports, "ports", NULL, 0x10000, &guest->log);
    assert_non_null(address_space_map_memory(&guest->space, "ram", 0, PHYSICAL_SIZE, 0, offset, false, &error));
    guest->blocks = block_cache_create(&guest->memory, &guest->model, 8 << 20, &guest->log, &error);
    assert_non_null(guest->blocks);
    const struct cpu_config config = {.model = &guest->model,
                                      .memory = &guest->space,
                                      .smm_memory = &guest->space,
                                      .ports = &guest->ports,
                                      .blocks = guest->blocks,
                                      .log = &guest->log};
    guest->cpu = cpu_create(&config, &error);
    assert_non_null(guest->cpu);
    guest->data = guest->memory.host + offset + PHYSICAL_DATA;
    guest_map_pages(guest);
    guest_set_code(guest, true);
    return guest;
}

static void guest_destroy(struct guest *guest)
{
    cpu_destroy(guest->cpu);
    block_cache_destroy(guest->blocks);
    address_space_destroy(&guest->space);
    address_space_destroy(&guest->ports);
    memory_destroy(&guest->memory);
    free(guest);
}

/// State before and after an instruction.
struct machine_state {
    uint64_t gpr[16], flags, rip;
    int fault; // vector, or -1
};

static void guest_put_code(struct guest *guest, const uint8_t *bytes, unsigned length)
{
    // As a store, so that the blocks of the instruction before are dropped.
    address_space_write_bytes(&guest->space, PHYSICAL_CODE + (INSN_LINEAR - CODE_LINEAR), bytes, length, false);
}

/// One instruction at INSN_LINEAR; a REP until it is through.
static void guest_run(struct guest *guest, const struct machine_state *before, struct machine_state *after)
{
    struct cpu *cpu = guest->cpu;
    memcpy(&cpu->var[VAR_RAX], before->gpr, sizeof before->gpr);
    cpu->var[VAR_RIP] = INSN_LINEAR;
    cpu_set_rflags(cpu, before->flags);
    cpu->fault.pending = false;
    for (unsigned round = 0; round < 1000 && !cpu->fault.pending && cpu->var[VAR_RIP] == INSN_LINEAR; round++) {
        struct block *block = block_find(cpu, MODE_ONE);
        if (block)
            interp_block(cpu, block);
    }
    memcpy(after->gpr, &cpu->var[VAR_RAX], sizeof after->gpr);
    after->flags = cpu_rflags(cpu) & (FLAGS_ARITHMETIC | FLAG_DF);
    after->rip = cpu->var[VAR_RIP];
    after->fault = cpu->fault.pending ? cpu->fault.vector : -1;
}

// ---- Vectors: rows that 64-bit code does not have -------------------------------------------------------------

struct vector {
    const char *encoding; // of the row
    uint8_t bytes[4], length;
    uint32_t eax, flags;
    uint32_t eax_after, flags_after;
    int fault;
};

#define CF FLAG_CF
#define PF FLAG_PF
#define AF FLAG_AF
#define ZF FLAG_ZF
#define SF FLAG_SF
#define OF FLAG_OF

/// From the SDM's pseudo code and its examples. Undefined flags are not compared.
static const struct vector vectors[] = {
    {"40+r", {0x40}, 1, 0xffffffff, CF, 0, CF | PF | AF | ZF, -1},
    {"40+r", {0x40}, 1, 0x7fffffff, 0, 0x80000000, PF | AF | SF | OF, -1},
    {"40+r", {0x66, 0x40}, 2, 0x1234ffff, 0, 0x12340000, PF | AF | ZF, -1},
    {"48+r", {0x48}, 1, 0, CF, 0xffffffff, CF | PF | AF | SF, -1},
    {"48+r", {0x48}, 1, 0x80000000, 0, 0x7fffffff, PF | AF | OF, -1},
    {"48+r", {0x66, 0x48}, 2, 0x12340001, 0, 0x12340000, PF | ZF, -1},
    {"82 /0 ib", {0x82, 0xc0, 0x01}, 3, 0xff, 0, 0, CF | PF | AF | ZF, -1},
    {"82 /1 ib", {0x82, 0xc8, 0x81}, 3, 0x02, CF, 0x83, SF, -1},
    {"82 /2 ib", {0x82, 0xd0, 0x01}, 3, 0x7f, CF, 0x81, PF | AF | SF | OF, -1},
    {"82 /3 ib", {0x82, 0xd8, 0x01}, 3, 0x01, CF, 0xff, CF | PF | AF | SF, -1},
    {"82 /4 ib", {0x82, 0xe0, 0x0f}, 3, 0xf0, CF, 0, PF | ZF, -1},
    {"82 /5 ib", {0x82, 0xe8, 0x01}, 3, 0x80, 0, 0x7f, AF | OF, -1},
    {"82 /6 ib", {0x82, 0xf0, 0xff}, 3, 0x0f, 0, 0xf0, PF | SF, -1},
    {"82 /7 ib", {0x82, 0xf8, 0x20}, 3, 0x10, 0, 0x10, CF | PF | SF, -1},
    {"27", {0x27}, 1, 0xae, 0, 0x14, CF | AF | PF, -1}, // SDM: 79 + 35 = AE, DAA gives 14 with carry
    {"27", {0x27}, 1, 0x2e, 0, 0x34, AF, -1},
    {"27", {0x27}, 1, 0x42, 0, 0x42, PF, -1},
    {"27", {0x27}, 1, 0x12, CF, 0x72, CF | PF, -1},
    {"2F", {0x2f}, 1, 0xee, CF | AF, 0x88, CF | PF | AF | SF, -1}, // SDM: 35 - 47 = EE, DAS gives 88 with borrow
    {"2F", {0x2f}, 1, 0x42, 0, 0x42, PF, -1},
    {"2F", {0x2f}, 1, 0x05, AF, 0xff, CF | PF | AF | SF, -1},
    {"37", {0x37}, 1, 0x000b, 0, 0x0101, CF | AF, -1},
    {"37", {0x37}, 1, 0x0205, AF, 0x030b, CF | AF, -1},
    {"37", {0x37}, 1, 0x1234, 0, 0x1204, 0, -1},
    {"37", {0x37}, 1, 0x00fb, 0, 0x0201, CF | AF, -1}, // AX + 106h: the carry out of AL goes to AH
    {"3F", {0x3f}, 1, 0x02ff, AF, 0x0109, CF | AF, -1},
    {"3F", {0x3f}, 1, 0x0204, 0, 0x0204, 0, -1},
    {"3F", {0x3f}, 1, 0x0200, AF, 0x000a, CF | AF, -1}, // AX - 6 borrows from AH, then AH - 1
    {"D4 ib", {0xd4, 0x0a}, 2, 0x55ff, 0, 0x1905, PF, -1},
    {"D4 ib", {0xd4, 0x10}, 2, 0x00ff, 0, 0x0f0f, PF, -1},
    {"D4 ib", {0xd4, 0x00}, 2, 0x1234, 0, 0x1234, 0, VECTOR_DE},
    {"D5 ib", {0xd5, 0x0a}, 2, 0x0905, 0, 0x005f, PF, -1},
    {"D5 ib", {0xd5, 0x10}, 2, 0x0f0f, 0, 0x00ff, PF | SF, -1},
    {"D6", {0xd6}, 1, 0x12345678, CF, 0x123456ff, CF, -1},
    {"D6", {0xd6}, 1, 0x12345678, 0, 0x12345600, 0, -1},
    {"9E", {0x9e}, 1, 0xff00, OF, 0xff00, CF | PF | AF | ZF | SF | OF, -1},
    {"9E", {0x9e}, 1, 0x2a00, CF | PF | AF | ZF | SF, 0x2a00, 0, -1},
    {"9F", {0x9f}, 1, 0, CF | PF | AF | ZF | SF | OF, 0xd700, CF | PF | AF | ZF | SF | OF, -1},
    {"9F", {0x9f}, 1, 0xffff, 0, 0x02ff, 0, -1},
};

static const struct row *row_by_encoding(const char *encoding)
{
    for (unsigned n = 0; n < rows_integer_count; n++)
        if ((rows_integer[n].attributes & ROW_NO_64) && !strcmp(rows_integer[n].encoding, encoding))
            return &rows_integer[n];
    fail_msg("no row \"%s\"", encoding);
    return NULL;
}

static void test_vectors(void **state)
{
    struct guest *guest = *state;
    guest_set_code(guest, false);
    for (unsigned i = 0; i < ARRAY_SIZE(vectors); i++) {
        const struct vector *vector = &vectors[i];
        const struct row *row = row_by_encoding(vector->encoding);
        struct machine_state before = {.flags = vector->flags | FLAG_IF | 2}, after;
        before.gpr[VAR_RAX] = vector->eax;
        before.gpr[VAR_RSP] = DATA_LINEAR + DATA_SIZE / 2;
        guest_put_code(guest, vector->bytes, vector->length);
        guest_run(guest, &before, &after);
        uint64_t defined = FLAGS_ARITHMETIC & ~(uint64_t)row->flags_undefined;
        uint64_t rip = INSN_LINEAR + (vector->fault < 0 ? vector->length : 0);
        if (after.gpr[VAR_RAX] != vector->eax_after || after.fault != vector->fault || after.rip != rip ||
            (vector->fault < 0 && ((after.flags ^ vector->flags_after) & defined)))
            fail_msg("vector %u (%s): eax %08x flags %03x fault %d rip %llx", i, vector->encoding,
                     (unsigned)after.gpr[VAR_RAX], (unsigned)after.flags, after.fault, (unsigned long long)after.rip);
    }
    guest_set_code(guest, true);
}

static void test_pusha_popa(void **state)
{
    struct guest *guest = *state;
    guest_set_code(guest, false);
    for (unsigned bytes = 2; bytes <= 4; bytes += 2) {
        struct machine_state before = {.flags = FLAG_IF | 2}, pushed, popped;
        const uint32_t stack = (uint32_t)DATA_LINEAR + 0x1000;
        for (unsigned n = 0; n < 8; n++)
            before.gpr[n] = 0x11111111u * (n + 1);
        before.gpr[VAR_RSP] = stack;
        guest_put_code(guest, bytes == 2 ? (const uint8_t *)"\x66\x60" : (const uint8_t *)"\x60", 3 - bytes / 2);
        guest_run(guest, &before, &pushed);
        assert_int_equal(pushed.fault, -1);
        assert_int_equal(pushed.gpr[VAR_RSP], stack - 8 * bytes);
        // From the top down: (E)AX CX DX BX, SP as it was, BP SI DI.
        for (unsigned n = 0; n < 8; n++) {
            const uint8_t *at = guest->data + 0x1000 - (n + 1) * bytes;
            assert_int_equal(bytes == 2 ? load_le16(at) : load_le32(at), before.gpr[n] & bits_mask(bytes * 8));
        }
        struct machine_state empty = {.flags = FLAG_IF | 2};
        empty.gpr[VAR_RSP] = pushed.gpr[VAR_RSP];
        guest_put_code(guest, bytes == 2 ? (const uint8_t *)"\x66\x61" : (const uint8_t *)"\x61", 3 - bytes / 2);
        guest_run(guest, &empty, &popped);
        assert_int_equal(popped.fault, -1);
        for (unsigned n = 0; n < 8; n++)
            assert_int_equal(popped.gpr[n], n == VAR_RSP ? stack : before.gpr[n] & bits_mask(bytes * 8));
        // A POPA that runs off its stack changes nothing below the fault's start that matters: RSP stays.
        empty.gpr[VAR_RSP] = (uint32_t)DATA_LINEAR + DATA_SIZE - 4;
        guest_run(guest, &empty, &popped);
        assert_int_equal(popped.fault, VECTOR_PF);
        assert_int_equal(popped.gpr[VAR_RSP], empty.gpr[VAR_RSP]);
    }
    guest_set_code(guest, true);
}

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

// ---- The native side ----------------------------------------------------------------------------------------------

#define CONTEXT_LINEAR (CODE_LINEAR + 0x1000)

/// At CONTEXT_LINEAR, where the trampoline reaches it by absolute addresses.
struct native_context {
    uint64_t gpr[16], flags, host_stack, taken;
};

struct native {
    uint8_t *code, *data;
    struct native_context *context;
};

static sigjmp_buf native_escape;
static volatile sig_atomic_t native_signal, native_running;
static ucontext_t native_fault_context;

static void native_handler(int number, siginfo_t *info, void *context)
{
    (void)info;
    if (!native_running) { // a fault of our own: let it be one
        signal(number, SIG_DFL);
        return;
    }
    native_signal = number;
    memcpy(&native_fault_context, context, sizeof native_fault_context);
    siglongjmp(native_escape, 1);
}

static const int native_signals[] = {SIGFPE, SIGSEGV, SIGILL, SIGBUS, SIGTRAP};
static struct sigaction native_old[ARRAY_SIZE(native_signals)];
static uint8_t native_signal_stack[65536];

static void native_catch(void)
{
    stack_t stack = {.ss_sp = native_signal_stack, .ss_size = sizeof native_signal_stack};
    sigaltstack(&stack, NULL);
    for (unsigned i = 0; i < ARRAY_SIZE(native_signals); i++) {
        struct sigaction action = {.sa_sigaction = native_handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
        sigaction(native_signals[i], &action, &native_old[i]);
    }
}

static void native_release(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(native_signals); i++)
        sigaction(native_signals[i], &native_old[i], NULL);
}

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
                           offsetof(struct native_context, gpr) + n * 8);
    return at;
}

static uint8_t *emit_jump(uint8_t *at, uint64_t here, uint64_t to)
{
    *at++ = 0xe9;
    store_le32(at, (uint32_t)(to - (here + 5)));
    return at + 4;
}

static void emit_epilogue(uint8_t *at, uint32_t taken)
{
    static const uint8_t end[] = {0xfc, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3};
    at = emit_registers(at, 0x89);
    at = emit_absolute(at, 0, 0xc7, 0, offsetof(struct native_context, taken));
    store_le32(at, taken);
    at = emit_absolute(at + 4, 0x48, 0x8b, 4, offsetof(struct native_context, host_stack));
    *at++ = 0x9c; // pushfq
    at = emit_absolute(at, 0, 0x8f, 0, offsetof(struct native_context, flags));
    memcpy(at, end, sizeof end);
}

static void native_create(struct native *native)
{
    uint8_t *base = mmap((void *)CODE_LINEAR, 0x2000, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    uint8_t *data = mmap((void *)DATA_LINEAR, DATA_SIZE, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    assert_ptr_equal(base, (void *)CODE_LINEAR);
    assert_ptr_equal(data, (void *)DATA_LINEAR);
    static const uint8_t start[] = {0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57};
    memcpy(base, start, sizeof start);
    uint8_t *at = emit_absolute(base + sizeof start, 0x48, 0x89, 4, offsetof(struct native_context, host_stack));
    at = emit_absolute(at, 0, 0xff, 6, offsetof(struct native_context, flags));
    *at++ = 0x9d; // popfq
    at = emit_registers(at, 0x8b);
    emit_jump(at, CODE_LINEAR + (uint64_t)(at - base), INSN_LINEAR);
    emit_epilogue(base + 0x800, 0);
    emit_epilogue(base + (TARGET_LINEAR - CODE_LINEAR), 1);
    *native = (struct native){base, data, (struct native_context *)(base + 0x1000)};
}

static void native_put_code(struct native *native, const uint8_t *bytes, unsigned length)
{
    uint8_t *at = native->code + (INSN_LINEAR - CODE_LINEAR);
    memset(at, 0xcc, 0x40);
    memcpy(at, bytes, length);
    emit_jump(at + length, INSN_LINEAR + length, CODE_LINEAR + 0x800);
    emit_jump(at + length + BRANCH_DISTANCE, INSN_LINEAR + length + BRANCH_DISTANCE, TARGET_LINEAR);
}

static void native_run(struct native *native, const struct machine_state *before, struct machine_state *after)
{
    // REG_* of the ucontext in the order of register numbers.
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    memcpy(native->context->gpr, before->gpr, sizeof before->gpr);
    native->context->flags = before->flags;
    native->context->taken = 0;
    native_signal = 0;
    if (!sigsetjmp(native_escape, 0)) {
        native_running = 1;
        ((void (*)(void))(uintptr_t)CODE_LINEAR)();
        native_running = 0;
        memcpy(after->gpr, native->context->gpr, sizeof after->gpr);
        after->flags = native->context->flags & (FLAGS_ARITHMETIC | FLAG_DF);
        after->rip = native->context->taken ? TARGET_LINEAR : 0; // 0: the next instruction
        after->fault = -1;
        return;
    }
    native_running = 0;
    const greg_t *gregs = native_fault_context.uc_mcontext.gregs;
    for (unsigned n = 0; n < 16; n++)
        after->gpr[n] = (uint64_t)gregs[order[n]];
    after->flags = (uint64_t)gregs[REG_EFL] & (FLAGS_ARITHMETIC | FLAG_DF);
    after->rip = (uint64_t)gregs[REG_RIP];
    after->fault = native_signal == SIGFPE ? VECTOR_DE : native_signal == SIGILL ? VECTOR_UD : VECTOR_GP;
}

static bool host_has(unsigned feature)
{
    static const struct {
        uint16_t feature;
        uint32_t leaf;
        uint8_t reg, bit; // reg: 1 EBX, 2 ECX, 3 EDX
    } bits[] = {
        {FEATURE_CX8, 1, 3, 8},
        {FEATURE_CMOV, 1, 3, 15},
        {FEATURE_SSE, 1, 3, 25},
        {FEATURE_SSE2, 1, 3, 26},
        {FEATURE_CX16, 1, 2, 13},
        {FEATURE_SSE42, 1, 2, 20},
        {FEATURE_MOVBE, 1, 2, 22},
        {FEATURE_POPCNT, 1, 2, 23},
        {FEATURE_BMI1, 7, 1, 3},
        {FEATURE_BMI2, 7, 1, 8},
        {FEATURE_ADX, 7, 1, 19},
        {FEATURE_LAHF_LM, 0x80000001, 2, 0},
        {FEATURE_ABM, 0x80000001, 2, 5},
        {FEATURE_PREFETCHW, 0x80000001, 2, 8},
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

// ---- Random cases ---------------------------------------------------------------------------------------------

#define ENCODINGS_PER_ROW 64
#define CASES_PER_ENCODING 32

struct tester {
    struct guest *guest;
    struct native native;
    struct row_index *index;
    uint64_t seed;
    unsigned failures;
};

static uint64_t pick_value(uint64_t *seed)
{
    static const uint64_t specials[] = {0,
                                        1,
                                        2,
                                        0x7f,
                                        0x80,
                                        0xff,
                                        0x100,
                                        0x7fff,
                                        0x8000,
                                        0xffff,
                                        0x10000,
                                        0x7fffffff,
                                        0x80000000,
                                        0xffffffff,
                                        UINT64_C(0x100000000),
                                        INT64_MAX,
                                        UINT64_MAX,
                                        UINT64_C(1) << 63,
                                        UINT64_C(0xffffffff80000000),
                                        UINT64_MAX - 1,
                                        0x0f,
                                        0x10};
    uint64_t random = support_random(seed);
    switch (random & 7) {
    case 0:
    case 1:
    case 2:
        return specials[(random >> 8) % ARRAY_SIZE(specials)];
    case 3:
        return UINT64_C(1) << (random >> 8 & 63);
    case 4:
        return random >> 8 & 0x3f;
    default:
        return support_random(seed);
    }
}

static bool has_lift(const struct row *row, lift_function *lift)
{
    return row->lift == lift;
}

static bool memory_operand(const struct insn *insn)
{
    for (unsigned i = 0; i < insn->operand_count; i++)
        if (insn->operand[i].kind == OPERAND_MEMORY)
            return true;
    return false;
}

static bool is_branch(const struct row *row)
{
    return (row->attributes & ROW_ENDS_BLOCK) && !has_lift(row, lift_ud);
}

/// Makes an instruction of the row that this test can run; false: this draw is none.
static bool make_instruction(struct tester *tester, const struct row_form *form, uint8_t bytes[32], struct insn *insn)
{
    uint64_t random = support_random(&tester->seed);
    const struct row *row = form->row;
    uint8_t prefixes[3];
    unsigned count = 0;
    if ((row->attributes & ROW_LOCKABLE) && (random & 7) == 0)
        prefixes[count++] = 0xf0;
    if ((row->attributes & ROW_REP) && (random >> 3 & 1))
        prefixes[count++] = random >> 4 & 1 ? 0xf3 : 0xf2;
    // Vendors differ in near branches with 66.
    if ((random >> 5 & 3) == 0 && !is_branch(row) && !(form->mask & KEY_PREFIX))
        prefixes[count++] = 0x66;
    if ((random >> 7 & 7) == 0)
        prefixes[count < 3 ? count++ : 2] = 0x67;
    uint8_t rex = random >> 10 & 1 ? (uint8_t)(0x40 | (random >> 11 & 15)) : 0;
    struct support_encoding how = {
        prefixes, count, rex, (uint8_t)(random >> 16), (uint8_t)(random >> 24), support_random(&tester->seed)};
    unsigned modrm_at = support_encode(form, &how, bytes);
    if (decode(tester->index, &tester->guest->model, MODE_CODE64 | MODE_PROTECTED | MODE_LONG, bytes, 15, insn) !=
            DECODE_OK ||
        insn->row != row)
        return false;
    if (memory_operand(insn)) {
        // Displacements of four bytes become small, or the whole address.
        unsigned disp_at = modrm_at + ((insn->modrm & 7) == 4 ? 2 : 1);
        uint64_t target = DATA_LINEAR + DATA_SIZE / 2 + (random >> 32 & 0xff0);
        if (insn->base == -2)
            store_le32(bytes + disp_at, (uint32_t)(target - (INSN_LINEAR + insn->length)));
        else if (insn->base == -1)
            store_le32(bytes + disp_at, (uint32_t)target);
        else if (insn->modrm >> 6 == 2)
            store_le32(bytes + disp_at, (uint32_t)((random >> 32 & 0xff) - 0x80));
    }
    if (has_lift(row, lift_enter)) { // a small frame, few levels
        bytes[insn->length - 2] &= 3;
        bytes[insn->length - 1] &= (random >> 40 & 3) ? 0x23 : 0xff;
    }
    if (insn->operand_count && insn->operand[0].kind == OPERAND_RELATIVE) {
        memset(bytes + modrm_at, 0, 4);
        bytes[modrm_at] = BRANCH_DISTANCE;
    }
    if (!strcmp(row->encoding, "0F 0D /r") && insn->modrm >= 0xc0)
        return false; // a NOP for Intel (and Zydis), #UD for AMD
    if (is_branch(row) && insn->operand_count && insn->operand[0].kind == OPERAND_GPR &&
        insn->operand[0].reg == VAR_RSP)
        return false; // the target would be the stack
    return decode(tester->index, &tester->guest->model, MODE_CODE64 | MODE_PROTECTED | MODE_LONG, bytes, 15, insn) ==
           DECODE_OK;
}

static void store_both(struct tester *tester, uint64_t linear, uint64_t value)
{
    if (linear < DATA_LINEAR || linear + 8 > DATA_LINEAR + DATA_SIZE)
        return;
    store_le64(tester->native.data + (linear - DATA_LINEAR), value);
    store_le64(tester->guest->data + (linear - DATA_LINEAR), value);
}

static uint64_t load_data(struct tester *tester, uint64_t linear)
{
    if (linear < DATA_LINEAR || linear + 8 > DATA_LINEAR + DATA_SIZE)
        return 0;
    return load_le64(tester->native.data + (linear - DATA_LINEAR));
}

static uint64_t data_address(struct tester *tester)
{
    uint64_t random = support_random(&tester->seed);
    return DATA_LINEAR + DATA_SIZE / 2 + (random & 0xfff) - (random >> 12 & 1 ? 0 : random & 15);
}

/// Sets base and index so that the memory operand lies in the data; its address.
static uint64_t aim_memory(struct tester *tester, const struct insn *insn, struct machine_state *before)
{
    uint64_t target = data_address(tester), displacement = (uint64_t)insn->displacement;
    if (insn->index >= 0)
        before->gpr[insn->index] = support_random(&tester->seed) & 0xff;
    uint64_t index = insn->index >= 0 ? before->gpr[insn->index] << insn->scale : 0;
    if (insn->base >= 0 && insn->base == insn->index)
        before->gpr[insn->base] = (target - displacement) / (1 + (UINT64_C(1) << insn->scale));
    else if (insn->base >= 0)
        before->gpr[insn->base] = target - displacement - index;
    uint64_t address = displacement;
    if (insn->base == -2)
        address += INSN_LINEAR + insn->length;
    if (insn->base >= 0)
        address += before->gpr[insn->base];
    if (insn->index >= 0)
        address += before->gpr[insn->index] << insn->scale;
    if (insn->address_bytes == 4 && insn->base >= 0 && insn->base != insn->index && insn->base != VAR_RSP)
        before->gpr[insn->base] |= support_random(&tester->seed) << 32; // ignored
    return insn->address_bytes == 4 ? (uint32_t)address : address;
}

static void aim_implicit(struct tester *tester, const struct insn *insn, struct machine_state *before)
{
    const struct row *row = insn->row;
    uint64_t *seed = &tester->seed;
    if (has_lift(row, lift_string)) {
        before->gpr[VAR_RSI] = data_address(tester);
        before->gpr[VAR_RDI] = support_random(seed) & 3 ? data_address(tester) : before->gpr[VAR_RSI] + 3;
        if (insn->rep || insn->repne)
            before->gpr[VAR_RCX] = support_random(seed) & 31;
        if (support_random(seed) & 1)
            before->flags |= FLAG_DF;
    }
    if (has_lift(row, lift_xlat_table))
        before->gpr[VAR_RBX] = data_address(tester);
    if (has_lift(row, lift_leave) || has_lift(row, lift_enter))
        before->gpr[VAR_RBP] = data_address(tester);
    if (has_lift(row, lift_div) && (support_random(seed) & 3)) {
        // A quotient that fits is likely.
        before->gpr[VAR_RDX] = support_random(seed) & 1 ? 0 : (uint64_t)((int64_t)before->gpr[VAR_RAX] >> 63);
    }
    if (has_lift(row, lift_bit_test) && insn->operand[1].kind == OPERAND_GPR) {
        uint64_t offset = (support_random(seed) & 0x7fff) - 0x4000;
        before->gpr[insn->operand[1].reg] = insn->operand_bytes == 4 ? (uint32_t)offset : offset;
    }
    if (has_lift(row, lift_loop) && (support_random(seed) & 1))
        before->gpr[VAR_RCX] = support_random(seed) & 3;
}

/// Branch targets, and comparands that are equal sometimes. `address`: of the memory operand, or 0.
static void aim_values(struct tester *tester, const struct insn *insn, struct machine_state *before, uint64_t address)
{
    const struct row *row = insn->row;
    const struct operand *first = &insn->operand[0];
    if (address && !(support_random(&tester->seed) & 3))
        store_both(tester, address, pick_value(&tester->seed));
    if ((has_lift(row, lift_jmp) || has_lift(row, lift_call_near)) && first->kind == OPERAND_GPR)
        before->gpr[first->reg] = TARGET_LINEAR;
    if ((has_lift(row, lift_jmp) || has_lift(row, lift_call_near)) && first->kind == OPERAND_MEMORY)
        store_both(tester, address, TARGET_LINEAR);
    if (has_lift(row, lift_ret_near))
        store_both(tester, before->gpr[VAR_RSP], TARGET_LINEAR);
    // Comparands, unless they are part of the address.
    for (unsigned n = 0; n < 2; n++) {
        int reg = n ? insn->index : insn->base;
        if (address && (reg == VAR_RAX || (reg == VAR_RDX && has_lift(row, lift_cmpxchg8b))))
            return;
    }
    if (has_lift(row, lift_cmpxchg) && (support_random(&tester->seed) & 1))
        before->gpr[VAR_RAX] = first->kind == OPERAND_MEMORY ? load_data(tester, address) : before->gpr[first->reg];
    if (has_lift(row, lift_cmpxchg8b)) {
        bool wide = insn->operand[0].bytes == 16;
        if (support_random(&tester->seed) & 1) {
            uint64_t low = load_data(tester, address), high = load_data(tester, address + 8);
            before->gpr[VAR_RAX] = wide ? low : (uint32_t)low;
            before->gpr[VAR_RDX] = wide ? high : low >> 32;
        }
    }
}

static void draw_state(struct tester *tester, const struct insn *insn, struct machine_state *before)
{
    for (unsigned n = 0; n < 16; n++)
        before->gpr[n] = pick_value(&tester->seed);
    before->gpr[VAR_RSP] = data_address(tester) & ~UINT64_C(7);
    before->flags = (support_random(&tester->seed) & FLAGS_ARITHMETIC) | FLAG_IF | 2;
    uint64_t address = 0;
    aim_implicit(tester, insn, before);
    if (memory_operand(insn)) {
        address = aim_memory(tester, insn, before);
        if (insn->operand[0].bytes == 16 && insn->base >= 0 && (support_random(&tester->seed) & 7)) {
            before->gpr[insn->base] -= address & 15;
            address &= ~UINT64_C(15);
        }
    }
    aim_values(tester, insn, before, address);
}

/// Flags that must agree.
static uint64_t defined_flags(const struct insn *insn, const struct machine_state *before)
{
    const struct row *row = insn->row;
    uint64_t undefined = row->flags_undefined;
    if (!has_lift(row, lift_shift) && !has_lift(row, lift_double_shift))
        return ~undefined;
    const struct operand *last = &insn->operand[insn->operand_count - 1];
    bool rotate =
        row->argument == UOP_ROL || row->argument == UOP_ROR || row->argument == UOP_RCL || row->argument == UOP_RCR;
    unsigned count = last->kind == OPERAND_IMMEDIATE ? (unsigned)insn->immediate : (unsigned)before->gpr[VAR_RCX];
    unsigned size = insn->operand[0].bytes * 8;
    count &= size == 64 ? 63 : 31;
    if (count == 0)
        return ~UINT64_C(0); // unchanged
    if (count == 1)
        undefined &= ~FLAG_OF;
    if (!rotate && row->argument != UOP_SAR && count > size)
        undefined |= FLAG_CF;
    if (has_lift(row, lift_double_shift) && count > size)
        undefined |= FLAGS_ARITHMETIC;
    return ~undefined;
}

/// The SDM leaves the whole result undefined.
static bool result_is_undefined(const struct insn *insn, const struct machine_state *before)
{
    if (!has_lift(insn->row, lift_double_shift) || insn->operand_bytes != 2)
        return false;
    unsigned count =
        insn->operand[2].kind == OPERAND_IMMEDIATE ? (unsigned)insn->immediate : (unsigned)before->gpr[VAR_RCX];
    return (count & 31) > 16;
}

static int fault_class(int fault)
{
    return fault == VECTOR_PF || fault == VECTOR_SS ? VECTOR_GP : fault; // all of them are SIGSEGV
}

static void report(struct tester *tester, const struct insn *insn, const uint8_t *bytes, const char *what,
                   const struct machine_state *before, const struct machine_state *ours,
                   const struct machine_state *theirs)
{
    if (tester->failures++ >= 30)
        return;
    char text[160];
    disassemble(insn, INSN_LINEAR, text, sizeof text);
    fprintf(stderr, "%s (", text);
    for (unsigned i = 0; i < insn->length; i++)
        fprintf(stderr, "%s%02x", i ? " " : "", bytes[i]);
    fprintf(stderr, "): %s\n", what);
    if (!before)
        return;
    for (unsigned n = 0; n < 16; n++)
        if (ours->gpr[n] != theirs->gpr[n])
            fprintf(stderr, "  gpr %u: before %016llx ours %016llx host %016llx\n", n,
                    (unsigned long long)before->gpr[n], (unsigned long long)ours->gpr[n],
                    (unsigned long long)theirs->gpr[n]);
    fprintf(
        stderr,
        "  rax %016llx rcx %016llx rdx %016llx flags: before %03x ours %03x host %03x; rip %llx %llx; fault %d %d\n",
        (unsigned long long)before->gpr[0], (unsigned long long)before->gpr[1], (unsigned long long)before->gpr[2],
        (unsigned)before->flags, (unsigned)ours->flags, (unsigned)theirs->flags, (unsigned long long)ours->rip,
        (unsigned long long)theirs->rip, ours->fault, theirs->fault);
}

/// The host's process has memory where the guest has none (libraries, a sanitizer's shadow): nothing to compare, and
/// nothing that an instruction under test may write to.
static bool host_has_page(uint64_t linear)
{
    unsigned char resident;
    return mincore((void *)(uintptr_t)(linear & ~(PAGE_SIZE - UINT64_C(1))), PAGE_SIZE, &resident) == 0 ||
           errno != ENOMEM;
}

static void run_case(struct tester *tester, const struct insn *insn, const uint8_t *bytes)
{
    struct machine_state before, ours, theirs;
    draw_state(tester, insn, &before);
    if (result_is_undefined(insn, &before))
        return;
    guest_run(tester->guest, &before, &ours);
    if (ours.fault == VECTOR_PF && host_has_page(tester->guest->cpu->cr2)) {
        memcpy(tester->guest->data, tester->native.data, DATA_SIZE); // a string instruction may have come this far
        return;
    }
    native_run(&tester->native, &before, &theirs);
    if (!theirs.rip)
        theirs.rip = INSN_LINEAR + insn->length;
    if (ours.rip == INSN_LINEAR + insn->length + BRANCH_DISTANCE)
        ours.rip = TARGET_LINEAR;
    const char *what = NULL;
    if (fault_class(ours.fault) != theirs.fault)
        what = "faults differ";
    else if (ours.rip != theirs.rip)
        what = "next instructions differ";
    else if (memcmp(ours.gpr, theirs.gpr, sizeof ours.gpr) != 0)
        what = "registers differ";
    else if (ours.fault < 0 && ((ours.flags ^ theirs.flags) & defined_flags(insn, &before)))
        what = "flags differ";
    if (what)
        report(tester, insn, bytes, what, &before, &ours, &theirs);
}

static bool row_has_vector(const struct row *row)
{
    for (unsigned i = 0; i < ARRAY_SIZE(vectors); i++)
        if ((row->attributes & ROW_NO_64) && !strcmp(row->encoding, vectors[i].encoding))
            return true;
    return (row->attributes & ROW_NO_64) && (!strcmp(row->encoding, "60") || !strcmp(row->encoding, "61"));
}

/// True: the row was tested.
static bool test_row(struct tester *tester, const struct row_form *form)
{
    unsigned encodings = 0;
    for (unsigned draw = 0; draw < ENCODINGS_PER_ROW * 8 && encodings < ENCODINGS_PER_ROW; draw++) {
        uint8_t bytes[32];
        struct insn insn;
        if (!make_instruction(tester, form, bytes, &insn))
            continue;
        encodings++;
        guest_put_code(tester->guest, bytes, insn.length);
        native_put_code(&tester->native, bytes, insn.length);
        unsigned failures = tester->failures;
        for (unsigned i = 0; i < CASES_PER_ENCODING && tester->failures == failures; i++)
            run_case(tester, &insn, bytes);
        if (memcmp(tester->native.data, tester->guest->data, DATA_SIZE) != 0) {
            if (tester->failures == failures)
                report(tester, &insn, bytes, "memory differs", NULL, NULL, NULL);
            memcpy(tester->guest->data, tester->native.data, DATA_SIZE);
        }
        if (tester->failures != failures)
            break; // one report a row
    }
    return encodings == ENCODINGS_PER_ROW || tester->failures;
}

static void test_host(void **state)
{
    struct tester tester = {.guest = *state, .seed = 7};
    struct error error = {{0}};
    native_create(&tester.native);
    tester.index = row_index_build(&error);
    assert_non_null(tester.index);
    for (unsigned i = 0; i < DATA_SIZE; i += 8)
        store_both(&tester, DATA_LINEAR + i, pick_value(&tester.seed));
    native_catch();
    unsigned tested = 0, by_vector = 0, lacking = 0, untested = 0;
    for (unsigned n = 0; n < rows_integer_count + rows_bmi_count; n++) {
        const struct row *row = n < rows_integer_count ? &rows_integer[n] : &rows_bmi[n - rows_integer_count];
        if (row_has_vector(row)) {
            by_vector++;
        } else if (!host_has(row->feature)) {
            lacking++;
            printf("the host does not have \"%s\" (%s)\n", row->encoding, row->mnemonic);
        } else if (test_row(&tester, &tester.index->forms[row_number(row)])) {
            tested++;
        } else {
            untested++;
            fprintf(stderr, "row \"%s\" (%s) is untested\n", row->encoding, row->mnemonic);
        }
    }
    native_release();
    row_index_free(tester.index);
    printf("integer rows: %u host-tested (%u cases each), %u vector-tested, %u not on this host, %u untested\n", tested,
           ENCODINGS_PER_ROW * CASES_PER_ENCODING, by_vector, lacking, untested);
    assert_int_equal(untested, 0);
    assert_int_equal(tester.failures, 0);
}
#else
static void test_host(void **state)
{
    (void)state;
    printf("skip: the host is no x86-64\n");
    skip();
}
#endif

static int set_up(void **state)
{
    *state = guest_create();
    return 0;
}

static int tear_down(void **state)
{
    guest_destroy(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_vectors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pusha_popa, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_host, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
