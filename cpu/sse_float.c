// SSE floating point rows: the host computes, here the results and exceptions become the guest's.
#include "cpu/fpu.h"

bool sse_commit_flags(struct cpu *cpu, uint32_t flags)
{
    uint32_t unmasked = flags & ~(cpu->mxcsr >> 7) & MXCSR_FLAGS;
    if (LIKELY(!unmasked)) {
        cpu->mxcsr |= flags;
        return true;
    }
    // An unmasked exception of the operands keeps the computation from happening: no flags from it.
    const uint32_t before = MXCSR_IE | MXCSR_DE | MXCSR_ZE;
    cpu->mxcsr |= unmasked & before ? flags & before : flags;
    cpu_raise(cpu, cpu->cr4 & CR4_OSXMMEXCPT ? VECTOR_XM : VECTOR_UD);
    return false;
}

// ---- Unmasked overflow, underflow: flags as of an unbounded exponent (SDM vol. 1 sec. 4.9.1.4, 4.9.1.5) -----------
/// Operations that can overflow or underflow, lane by lane.
struct shape {
    bool from_double, to_double;
    unsigned lanes;
    enum sse_operation scalar;
};

static bool find_shape(enum sse_operation operation, struct shape *shape)
{
    bool narrows = operation == SSE_CVTPD2PS || operation == SSE_CVTSD2SS, is_double = operation % 4 & 1;
    if (narrows)
        *shape = (struct shape){true, false, operation == SSE_CVTPD2PS ? 2 : 1, SSE_CVTSD2SS};
    else if (operation <= SSE_DIVSD)
        *shape = (struct shape){is_double, is_double,
                                operation % 4 >= 2 ? 1
                                : is_double        ? 2
                                                   : 4,
                                (enum sse_operation)(operation | 2)};
    return narrows || operation <= SSE_DIVSD;
}

static void get_lane(union vreg *to, const union vreg *from, bool is_double, unsigned lane)
{
    if (is_double)
        to->u64[0] = from->u64[lane];
    else
        to->u32[0] = from->u32[lane];
}

static bool is_denormal(const union vreg *value, bool is_double)
{
    if (is_double)
        return !(value->u64[0] & UINT64_C(0x7ff0000000000000)) && value->u64[0] << 1;
    return !(value->u32[0] & 0x7f800000u) && (uint32_t)(value->u32[0] << 1);
}

/// Is the result inexact when rounded to its precision with an exponent that fits? x87 has the range for that.
static bool is_inexact(const struct shape *shape, const union vreg *a, const union vreg *b, uint32_t mxcsr)
{
    static const enum x87_operation operations[] = {X87_ADD, X87_SUB, X87_MUL, X87_DIV};
    enum x87_format format = shape->from_double ? X87_FLOAT64 : X87_FLOAT32;
    uint16_t control = (uint16_t)(X87_EXCEPTIONS | (mxcsr & MXCSR_RC) >> 3 | (shape->to_double ? 0x200 : 0));
    bool narrows = shape->scalar == SSE_CVTSD2SS;
    struct f80 second = fpu_host_x87_load(format, b, control).st0;
    struct f80 first = narrows ? second : fpu_host_x87_load(format, a, control).st0;
    if (narrows)
        second = (struct f80){.significand = BIT(63), .sign_exponent = 0x3fff}; // times one rounds
    enum x87_operation operation = narrows ? X87_MUL : operations[shape->scalar / 4];
    return fpu_host_x87(operation, first, second, control).status & X87_PE;
}

/// The flags of an operation for which underflow or overflow are unmasked, from the operands as they were.
static uint32_t precise_flags(const struct shape *shape, const union vreg *a, const union vreg *b, uint32_t mxcsr)
{
    uint32_t all = 0;
    for (unsigned i = 0; i < shape->lanes; i++) {
        union vreg first = {0}, second = {0};
        get_lane(&first, a, shape->from_double, i);
        get_lane(&second, b, shape->from_double, i);
        union vreg result = first;
        uint32_t flags = fpu_host_sse(shape->scalar, &result, &second, mxcsr, 0, NULL);
        if (!(mxcsr & MXCSR_UE << 7) && is_denormal(&result, shape->to_double))
            flags |= MXCSR_UE; // tiny counts even when exact
        if (flags & ~(mxcsr >> 7) & (MXCSR_OE | MXCSR_UE))
            flags = (flags & ~MXCSR_PE) | (is_inexact(shape, &first, &second, mxcsr) ? MXCSR_PE : 0);
        all |= flags;
    }
    return all;
}

uint32_t sse_compute(enum sse_operation operation, union vreg *a, const union vreg *b, uint32_t mxcsr,
                     unsigned immediate, uint64_t *value)
{
    const uint32_t range_masks = (MXCSR_OE | MXCSR_UE) << 7;
    struct shape shape;
    if (LIKELY((mxcsr & range_masks) == range_masks) || !find_shape(operation, &shape))
        return fpu_host_sse(operation, a, b, mxcsr, immediate, value);
    union vreg before;
    memcpy(&before, a, 16);
    if (!(mxcsr & MXCSR_UE << 7))
        mxcsr &= ~MXCSR_FTZ; // which is for masked underflow only
    fpu_host_sse(operation, a, b, mxcsr, immediate, value);
    return precise_flags(&shape, &before, b, mxcsr);
}

/// Runs the operation on *a; false: it faulted.
static bool run(struct cpu *cpu, enum sse_operation operation, union vreg *a, const union vreg *b, unsigned immediate,
                uint64_t *value)
{
    return sse_commit_flags(cpu, sse_compute(operation, a, b, cpu->mxcsr, immediate, value));
}

// ---- Rows ---------------------------------------------------------------------------------------------------------
uint64_t sse_float(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg result;
    uint64_t value = 0;
    memcpy(&result, dst, 16);
    if (run(cpu, SIMD_OPERATION(operand), &result, src, operand & SIMD_IMMEDIATE, &value))
        memcpy(dst, &result, 16);
    return 0;
}

/// COMIS*, UCOMIS*: the flags are the result. Converts to integers: `immediate` is the integer's bytes.
uint64_t sse_to_integer(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg first;
    uint64_t value = 0;
    memcpy(&first, dst, 16);
    run(cpu, SIMD_OPERATION(operand), &first, src, operand & SIMD_IMMEDIATE, &value);
    return value;
}

static uint64_t from_integer(struct cpu *cpu, enum sse_operation operation, union vreg *dst, uint64_t integer)
{
    union vreg result;
    memcpy(&result, dst, 16);
    if (run(cpu, operation, &result, &result, 0, &integer))
        memcpy(dst, &result, 16);
    return 0;
}

/// CVTSI2SS: the operand is the integer, sign-extended to 64 bits.
uint64_t sse_cvtsi2ss(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return from_integer(cpu, SSE_CVTSI2SS, dst, operand);
}

uint64_t sse_cvtsi2sd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return from_integer(cpu, SSE_CVTSI2SD, dst, operand);
}

// ---- Between MMX and XMM; an unmasked exception comes after the change to MMX -------------------------------------
/// CVTPI2PS: two integers to the low half. From memory it and CVTPI2PD are no MMX instructions: no SIMD_MMX then.
uint64_t sse_cvtpi2ps(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg from = {.u64 = {src->u64[0]}}, result;
    if ((operand & SIMD_MMX) && !simd_enter_mmx(cpu))
        return 0;
    if (run(cpu, SSE_CVTDQ2PS, &result, &from, 0, NULL))
        dst->u64[0] = result.u64[0];
    return 0;
}

/// CVTPI2PD is exact.
uint64_t sse_cvtpi2pd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg from = {.u64 = {src->u64[0]}}, result;
    if ((operand & SIMD_MMX) && !simd_enter_mmx(cpu))
        return 0;
    fpu_host_sse(SSE_CVTDQ2PD, &result, &from, cpu->mxcsr, 0, NULL);
    memcpy(dst, &result, 16);
    return 0;
}

/// CVTPS2PI, CVTTPS2PI: from the low half. CVTPD2PI, CVTTPD2PI: from both doubles.
uint64_t sse_to_mmx(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    enum sse_operation operation = SIMD_OPERATION(operand);
    bool single = operation == SSE_CVTPS2DQ || operation == SSE_CVTTPS2DQ;
    union vreg from = {.u64 = {src->u64[0], single ? 0 : src->u64[1]}}, result;
    if (simd_enter_mmx(cpu) && run(cpu, operation, &result, &from, 0, NULL))
        simd_put_mmx(cpu, dst, result.u64[0]);
    return 0;
}

// ---- MXCSR --------------------------------------------------------------------------------------------------------
uint64_t sse_ldmxcsr(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    if ((uint32_t)operand & ~MXCSR_DEFINED)
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    cpu->mxcsr = (uint32_t)operand;
    return 0;
}

uint64_t sse_stmxcsr(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return cpu->mxcsr;
}
