// x87 rows: the register stack, tags, status word and exceptions. Arithmetic itself is the host's business
// (fpu_host.h).
#include "cpu/fpu.h"

static const struct f80 indefinite = {.significand = UINT64_C(0xc000000000000000), .sign_exponent = 0xffff};

// ---- The stack ------------------------------------------------------------------------------------------------------
static inline unsigned physical(const struct cpu *cpu, unsigned i)
{
    return (cpu->x87.top + i) & 7;
}

static inline struct f80 *st(struct cpu *cpu, unsigned i)
{
    return &cpu->x87.reg[physical(cpu, i)];
}

static inline bool is_empty(const struct cpu *cpu, unsigned i)
{
    return !(cpu->x87.valid >> physical(cpu, i) & 1);
}

static inline void set_st(struct cpu *cpu, unsigned i, struct f80 value)
{
    unsigned n = physical(cpu, i);
    cpu->x87.reg[n].significand = value.significand;
    cpu->x87.reg[n].sign_exponent = value.sign_exponent;
    cpu->x87.valid |= (uint8_t)(1u << n);
}

static inline void push(struct cpu *cpu, struct f80 value)
{
    cpu->x87.top = (uint8_t)physical(cpu, 7);
    set_st(cpu, 0, value);
}

static inline void pop(struct cpu *cpu)
{
    cpu->x87.valid &= (uint8_t) ~(1u << physical(cpu, 0));
    cpu->x87.top = (uint8_t)physical(cpu, 1);
}

static void pop_as(struct cpu *cpu, unsigned argument)
{
    if (argument & (X87_POP | X87_POP_TWICE))
        pop(cpu);
    if (argument & X87_POP_TWICE)
        pop(cpu);
}

static inline bool is_nan(struct f80 value)
{
    return (value.sign_exponent & 0x7fff) == 0x7fff && value.significand << 1;
}

// ---- The FERR pin -------------------------------------------------------------------------------------------------
static void drive_ferr(struct cpu *cpu, bool level)
{
    cpu->ferr = level;
    if (cpu->outside.lock)
        cpu->outside.lock(cpu->outside.opaque);
    wire_set(&cpu->ferr_out, level);
    if (cpu->outside.unlock)
        cpu->outside.unlock(cpu->outside.opaque);
}

void x87_wait_for_handler(struct cpu *cpu)
{
    cpu->activity = ACTIVITY_HALT;
    if (!cpu->ferr)
        drive_ferr(cpu, true);
}

static void release_ferr(struct cpu *cpu)
{
    if (UNLIKELY(cpu->ferr))
        drive_ferr(cpu, false);
}

// ---- Status -------------------------------------------------------------------------------------------------------
void x87_update_summary(struct cpu *cpu)
{
    bool pending = cpu->x87.status & ~cpu->x87.control & X87_EXCEPTIONS;
    cpu->x87.status &= (uint16_t) ~(X87_ES | X87_BUSY);
    if (pending)
        cpu->x87.status |= X87_ES | X87_BUSY;
    else
        release_ferr(cpu);
}

uint16_t x87_status_word(const struct cpu *cpu)
{
    return (uint16_t)((cpu->x87.status & ~X87_TOP) | (cpu->x87.top & 7) << 11);
}

void x87_set_status_word(struct cpu *cpu, uint16_t status)
{
    cpu->x87.status = status & (uint16_t)~X87_TOP;
    cpu->x87.top = status >> 11 & 7;
    x87_update_summary(cpu);
}

uint16_t x87_tag_word(const struct cpu *cpu)
{
    unsigned tags = 0;
    for (unsigned i = 0; i < 8; i++) {
        const struct f80 *value = &cpu->x87.reg[i];
        unsigned exponent = value->sign_exponent & 0x7fff, tag = 0;
        if (!(cpu->x87.valid >> i & 1))
            tag = 3;
        else if (!exponent && !value->significand)
            tag = 1;
        else if (!exponent || exponent == 0x7fff || !(value->significand >> 63))
            tag = 2;
        tags |= tag << 2 * i;
    }
    return (uint16_t)tags;
}

static bool has_selectors(const struct cpu *cpu)
{
    return !(cpu->x87_policy & X87_SELECTORS_ZERO) || x87_real_format(cpu);
}

static void remember_data(struct cpu *cpu, uint64_t operand)
{
    if (!(operand & X87_MEMORY))
        return;
    cpu->x87.dp = cpu->var[VAR_X87_DATA];
    cpu->x87.ds = has_selectors(cpu) ? cpu->segment[X87_SEGMENT(operand)].selector : 0;
}

/// FIP, FCS, FDP, FDS, FOP (SDM vol. 1 sec. 8.1.8, 8.1.9).
static inline void remember(struct cpu *cpu, uint64_t operand)
{
    cpu->x87.ip = cpu->var[VAR_RIP] + X87_OFFSET(operand);
    if (UNLIKELY((cpu->mode & MODE_CODE_MASK) != MODE_CODE64))
        cpu->x87.ip &= bits_mask(8u << mode_code_width(cpu->mode));
    cpu->x87.cs = has_selectors(cpu) ? cpu->segment[SEG_CS].selector : 0;
    if (!(cpu->x87_policy & X87_OPCODE_ON_FAULT))
        cpu->x87.opcode = (uint16_t)X87_OPCODE(operand);
    if (!(cpu->x87_policy & X87_DATA_ON_FAULT))
        remember_data(cpu, operand);
}

/// Takes in an operation's exceptions and those condition codes that `conditions` names.
static void commit_status(struct cpu *cpu, uint64_t operand, unsigned status, unsigned conditions)
{
    cpu->x87.status = (uint16_t)((cpu->x87.status & ~conditions) | (status & (conditions | X87_EXCEPTIONS | X87_SF)));
    if (LIKELY(!(status & ~cpu->x87.control & X87_EXCEPTIONS)))
        return;
    cpu->x87.status |= X87_ES | X87_BUSY;
    if (cpu->x87_policy & X87_OPCODE_ON_FAULT)
        cpu->x87.opcode = (uint16_t)X87_OPCODE(operand);
    if (cpu->x87_policy & X87_DATA_ON_FAULT)
        remember_data(cpu, operand);
}

/// A stack fault; true when masked: the operation goes on with the indefinite value.
static bool stack_fault(struct cpu *cpu, uint64_t operand, bool overflow)
{
    commit_status(cpu, operand, X87_IE | X87_SF | (overflow ? X87_C1 : 0), X87_C1);
    return cpu->x87.control & X87_IE;
}

/// What all but control instructions begin with: the pending exception, then the pointers.
static inline bool begin(struct cpu *cpu, uint64_t operand)
{
    if (x87_must_fault(cpu)) {
        cpu_raise(cpu, VECTOR_MF);
        return false;
    }
    remember(cpu, operand);
    return true;
}

// ---- Arithmetic ---------------------------------------------------------------------------------------------------
static void arithmetic_result(struct cpu *cpu, uint64_t operand, const struct x87_result *result, unsigned to,
                              unsigned argument)
{
    commit_status(cpu, operand, result->status, X87_C1);
    if (!result->done)
        return;
    set_st(cpu, to, result->st0);
    pop_as(cpu, argument);
}

/// FADD ST0,STi; FADD STi,ST0; FADDP and the like.
uint64_t x87_arithmetic(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    unsigned argument = X87_ARGUMENT(operand), i = X87_STI(operand);
    if (!begin(cpu, operand))
        return 0;
    unsigned to = argument & X87_TO_STI ? i : 0, other = argument & X87_TO_STI ? 0 : i;
    if (is_empty(cpu, 0) || is_empty(cpu, i)) {
        if (stack_fault(cpu, operand, false)) {
            set_st(cpu, to, indefinite);
            pop_as(cpu, argument);
        }
        return 0;
    }
    struct x87_result result = fpu_host_x87(argument & 0xff, *st(cpu, to), *st(cpu, other), cpu->x87.control);
    arithmetic_result(cpu, operand, &result, to, argument);
    return 0;
}

/// The other operand is in memory: src holds its bytes.
uint64_t x87_arithmetic_memory(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    unsigned argument = X87_ARGUMENT(operand);
    if (!begin(cpu, operand))
        return 0;
    if (is_empty(cpu, 0)) {
        if (stack_fault(cpu, operand, false))
            set_st(cpu, 0, indefinite);
        return 0;
    }
    struct x87_result result = fpu_host_x87_memory(argument & 0xff, argument >> 16, *st(cpu, 0), src, cpu->x87.control);
    arithmetic_result(cpu, operand, &result, 0, argument);
    return 0;
}

static void compare_result(struct cpu *cpu, uint64_t operand, const struct x87_result *result, unsigned argument)
{
    commit_status(cpu, operand, result->status & ~X87_C1, X87_CONDITIONS); // unmasked exceptions only hold back the pop
    if (result->done)
        pop_as(cpu, argument);
}

static void compare_empty(struct cpu *cpu, uint64_t operand, unsigned argument)
{
    bool masked = stack_fault(cpu, operand, false);
    cpu->x87.status |= X87_C3 | X87_C2 | X87_C0;
    if (masked)
        pop_as(cpu, argument);
}

/// FCOM, FUCOM, FTST: ST0 against ST(i).
uint64_t x87_compare(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    unsigned argument = X87_ARGUMENT(operand), operation = argument & 0xff;
    unsigned i = operation == X87_TST ? 0 : X87_STI(operand);
    if (!begin(cpu, operand))
        return 0;
    if (is_empty(cpu, 0) || is_empty(cpu, i)) {
        compare_empty(cpu, operand, argument);
        return 0;
    }
    struct x87_result result = fpu_host_x87(operation, *st(cpu, 0), *st(cpu, i), cpu->x87.control);
    compare_result(cpu, operand, &result, argument);
    return 0;
}

uint64_t x87_compare_memory(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    unsigned argument = X87_ARGUMENT(operand);
    if (!begin(cpu, operand))
        return 0;
    if (is_empty(cpu, 0)) {
        compare_empty(cpu, operand, argument);
        return 0;
    }
    struct x87_result result = fpu_host_x87_memory(X87_COM, argument >> 16, *st(cpu, 0), src, cpu->x87.control);
    compare_result(cpu, operand, &result, argument);
    return 0;
}

/// FCOMI, FUCOMI: returns the flags, which change even where an unmasked exception holds back the pop.
uint64_t x87_compare_flags(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    unsigned argument = X87_ARGUMENT(operand), i = X87_STI(operand);
    if (!begin(cpu, operand))
        return 0;
    if (is_empty(cpu, 0) || is_empty(cpu, i)) {
        if (stack_fault(cpu, operand, false))
            pop_as(cpu, argument);
        return FLAG_ZF | FLAG_PF | FLAG_CF;
    }
    struct x87_result result = fpu_host_x87(argument & 0xff, *st(cpu, 0), *st(cpu, i), cpu->x87.control);
    commit_status(cpu, operand, result.status, 0);
    if (result.done)
        pop_as(cpu, argument);
    return (result.status & X87_C3 ? FLAG_ZF : 0) | (result.status & X87_C2 ? FLAG_PF : 0) |
           (result.status & X87_C0 ? FLAG_CF : 0);
}

/// FXAM: knows empty registers too.
uint64_t x87_examine(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    if (!begin(cpu, operand))
        return 0;
    struct x87_result result = fpu_host_x87(X87_XAM, *st(cpu, 0), *st(cpu, 0), cpu->x87.control);
    if (is_empty(cpu, 0))
        result.status = (uint16_t)((result.status & X87_C1) | X87_C3 | X87_C0);
    commit_status(cpu, operand, result.status & X87_CONDITIONS, X87_CONDITIONS);
    return 0;
}

/// ST0 = op(ST0). FSIN and FCOS tell in C2 that the operand is out of range, and leave it.
uint64_t x87_unary(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    unsigned operation = X87_ARGUMENT(operand) & 0xff;
    bool trigonometric = operation == X87_SIN || operation == X87_COS;
    if (!begin(cpu, operand))
        return 0;
    if (is_empty(cpu, 0)) {
        if (stack_fault(cpu, operand, false))
            set_st(cpu, 0, indefinite);
        if (trigonometric)
            cpu->x87.status &= (uint16_t)~X87_C2;
        return 0;
    }
    struct x87_result result = fpu_host_x87(operation, *st(cpu, 0), *st(cpu, 0), cpu->x87.control);
    commit_status(cpu, operand, result.status, X87_C1 | (trigonometric ? X87_C2 : 0));
    if (result.done)
        set_st(cpu, 0, result.st0);
    return 0;
}

/// FPREM, FPREM1, FSCALE: ST0 from ST0 and ST1. FYL2X, FYL2XP1, FPATAN: to ST1, then pop.
uint64_t x87_two_operands(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    unsigned argument = X87_ARGUMENT(operand), operation = argument & 0xff;
    bool remainder = operation == X87_PREM || operation == X87_PREM1;
    unsigned to = argument & X87_POP ? 1 : 0;
    if (!begin(cpu, operand))
        return 0;
    if (is_empty(cpu, 0) || is_empty(cpu, 1)) {
        if (stack_fault(cpu, operand, false)) {
            set_st(cpu, to, indefinite);
            pop_as(cpu, argument);
        }
        if (remainder)
            cpu->x87.status &= (uint16_t)~X87_C2;
        return 0;
    }
    struct x87_result result = fpu_host_x87(operation, *st(cpu, 0), *st(cpu, 1), cpu->x87.control);
    if (!remainder)
        commit_status(cpu, operand, result.status, X87_C1);
    else // no quotient, no quotient bits
        commit_status(cpu, operand, result.status,
                      is_nan(result.st0) || !result.done ? X87_C1 | X87_C2 : X87_CONDITIONS);
    if (!result.done)
        return 0;
    set_st(cpu, to, result.st0);
    pop_as(cpu, argument);
    return 0;
}

/// FPTAN, FSINCOS, FXTRACT: one becomes two.
uint64_t x87_two_results(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    unsigned operation = X87_ARGUMENT(operand) & 0xff;
    unsigned conditions = operation == X87_XTRACT ? X87_C1 : X87_C1 | X87_C2;
    if (!begin(cpu, operand))
        return 0;
    if (is_empty(cpu, 0) || !is_empty(cpu, 7)) {
        cpu->x87.status &= (uint16_t) ~(conditions & X87_C2);
        if (stack_fault(cpu, operand, !is_empty(cpu, 0))) {
            set_st(cpu, 0, indefinite);
            push(cpu, indefinite);
        }
        return 0;
    }
    struct x87_result result = fpu_host_x87(operation, *st(cpu, 0), *st(cpu, 0), cpu->x87.control);
    commit_status(cpu, operand, result.status, conditions);
    if (!result.done || !result.pushed)
        return 0;
    set_st(cpu, 0, result.st1);
    push(cpu, result.st0);
    return 0;
}

// ---- Loads, stores, moves -----------------------------------------------------------------------------------------
static void push_or_overflow(struct cpu *cpu, uint64_t operand, struct f80 value)
{
    if (is_empty(cpu, 7)) {
        cpu->x87.status &= (uint16_t)~X87_C1;
        push(cpu, value);
    } else if (stack_fault(cpu, operand, true)) {
        push(cpu, indefinite);
    }
}

/// FLD m32/m64, FILD, FBLD: src holds the bytes.
uint64_t x87_load(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    if (!begin(cpu, operand))
        return 0;
    if (!is_empty(cpu, 7)) {
        push_or_overflow(cpu, operand, indefinite);
        return 0;
    }
    struct x87_result result = fpu_host_x87_load(X87_ARGUMENT(operand) >> 16, src, cpu->x87.control);
    commit_status(cpu, operand, result.status & ~X87_C1, X87_C1);
    if (result.done)
        push(cpu, result.st0);
    return 0;
}

uint64_t x87_load80(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    if (begin(cpu, operand))
        push_or_overflow(cpu, operand, (struct f80){.significand = src->u64[0], .sign_exponent = src->u16[4]});
    return 0;
}

uint64_t x87_load_sti(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    unsigned i = X87_STI(operand);
    if (!begin(cpu, operand))
        return 0;
    if (!is_empty(cpu, i))
        push_or_overflow(cpu, operand, *st(cpu, i));
    else if (stack_fault(cpu, operand, false))
        push(cpu, indefinite);
    return 0;
}

uint64_t x87_constant(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    if (begin(cpu, operand))
        push_or_overflow(cpu, operand, fpu_host_x87_constant(X87_ARGUMENT(operand), cpu->x87.control));
    return 0;
}

/// FST STi, FSTP STi. The old alias D9 D8 only pops where ST0 is empty.
uint64_t x87_store_sti(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    unsigned argument = X87_ARGUMENT(operand);
    if (!begin(cpu, operand))
        return 0;
    if (!is_empty(cpu, 0)) {
        cpu->x87.status &= (uint16_t)~X87_C1;
        set_st(cpu, X87_STI(operand), *st(cpu, 0));
    } else if (argument & X87_QUIET) {
        cpu->x87.status &= (uint16_t)~X87_C1;
    } else if (stack_fault(cpu, operand, false)) {
        set_st(cpu, X87_STI(operand), indefinite);
    } else {
        return 0;
    }
    pop_as(cpu, argument);
    return 0;
}

uint64_t x87_exchange(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    unsigned i = X87_STI(operand);
    if (!begin(cpu, operand))
        return 0;
    cpu->x87.status &= (uint16_t)~X87_C1;
    if (is_empty(cpu, 0) || is_empty(cpu, i)) {
        if (!stack_fault(cpu, operand, false))
            return 0;
        if (is_empty(cpu, 0))
            set_st(cpu, 0, indefinite);
        if (is_empty(cpu, i))
            set_st(cpu, i, indefinite);
    }
    struct f80 value = *st(cpu, 0);
    set_st(cpu, 0, *st(cpu, i));
    set_st(cpu, i, value);
    return 0;
}

/// FCMOVcc: the condition comes as a bit of the operand.
uint64_t x87_cmov(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    unsigned i = X87_STI(operand);
    if (!begin(cpu, operand))
        return 0;
    if (is_empty(cpu, 0) || is_empty(cpu, i)) {
        if (stack_fault(cpu, operand, false))
            set_st(cpu, 0, indefinite);
    } else if (operand & X87_CONDITION_TRUE) {
        set_st(cpu, 0, *st(cpu, i));
    }
    return 0;
}

unsigned x87_store_value(struct cpu *cpu, uint64_t operand, uint8_t bytes[16])
{
    // Indefinite values of the formats, little-endian: QNaN, lowest integer, BCD's own.
    static const uint8_t indefinites[][10] = {
        [X87_FLOAT32] = {0, 0, 0xc0, 0xff},
        [X87_FLOAT64] = {0, 0, 0, 0, 0, 0, 0xf8, 0xff},
        [X87_INT16] = {0, 0x80},
        [X87_INT32] = {0, 0, 0, 0x80},
        [X87_INT64] = {0, 0, 0, 0, 0, 0, 0, 0x80},
        [X87_BCD80] = {0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff},
        [X87_FLOAT80] = {0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff},
    };
    unsigned argument = X87_ARGUMENT(operand);
    enum x87_format format = argument >> 16;
    remember(cpu, operand);
    if (is_empty(cpu, 0)) {
        if (!stack_fault(cpu, operand, false))
            return 0;
        memcpy(bytes, indefinites[format], 10);
    } else if (format == X87_FLOAT80) {
        cpu->x87.status &= (uint16_t)~X87_C1;
        memcpy(bytes, st(cpu, 0), 10);
    } else {
        struct x87_result result =
            fpu_host_x87_store(format, *st(cpu, 0), bytes, cpu->x87.control, argument & X87_TRUNCATE);
        commit_status(cpu, operand, result.status, X87_C1);
        if (!result.done)
            return 0;
    }
    pop_as(cpu, argument);
    return x87_format_bytes(format);
}

// ---- Control ------------------------------------------------------------------------------------------------------
static bool wait(struct cpu *cpu)
{
    if (x87_must_fault(cpu))
        cpu_raise(cpu, VECTOR_MF);
    return !cpu->fault.pending;
}

uint64_t x87_fninit(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    cpu->x87.control = 0x037f;
    cpu->x87.status = 0;
    cpu->x87.top = 0;
    cpu->x87.valid = 0;
    cpu->x87.opcode = 0;
    cpu->x87.ip = cpu->x87.dp = 0;
    cpu->x87.cs = cpu->x87.ds = 0;
    release_ferr(cpu);
    return 0;
}

uint64_t x87_fnclex(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    cpu->x87.status &= X87_CONDITIONS;
    release_ferr(cpu);
    return 0;
}

/// The operand is the new control word.
uint64_t x87_fldcw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    if (wait(cpu))
        x87_set_control(cpu, (uint16_t)operand);
    return 0;
}

void x87_set_control(struct cpu *cpu, uint16_t control)
{
    cpu->x87.control = (control & 0x1f3f) | 0x0040;
    x87_update_summary(cpu);
}

uint64_t x87_fnstcw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return cpu->x87.control;
}

uint64_t x87_fnstsw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return x87_status_word(cpu);
}

/// FINCSTP, FDECSTP, FFREE and FNOP are no control instructions as far as the pointers go: processors note them.
static uint64_t rotate(struct cpu *cpu, uint64_t operand, unsigned by)
{
    if (!begin(cpu, operand))
        return 0;
    cpu->x87.top = (uint8_t)physical(cpu, by);
    cpu->x87.status &= (uint16_t)~X87_C1;
    return 0;
}

uint64_t x87_fdecstp(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return rotate(cpu, operand, 7);
}

uint64_t x87_fincstp(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return rotate(cpu, operand, 1);
}

/// FFREE and FFREEP.
uint64_t x87_ffree(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    if (!begin(cpu, operand))
        return 0;
    cpu->x87.valid &= (uint8_t) ~(1u << physical(cpu, X87_STI(operand)));
    cpu->x87.status &= (uint16_t)~X87_C1;
    pop_as(cpu, X87_ARGUMENT(operand));
    return 0;
}

/// FWAIT: #NM only when TS and MP are both set, whatever EM says.
uint64_t x87_fwait(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    if ((cpu->cr0 & (CR0_TS | CR0_MP)) == (CR0_TS | CR0_MP))
        return cpu_raise(cpu, VECTOR_NM);
    wait(cpu);
    return 0;
}

uint64_t x87_fnop(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    begin(cpu, operand);
    return 0;
}

/// FENI, FDISI, FSETPM: meant something on the 8087 and 80287.
uint64_t x87_fnop_quiet(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return 0;
}
