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

/// With underflow unmasked, tiny results count even when exact (SDM vol. 1 sec. 4.9.1.5).
static bool has_tiny_result(enum sse_operation operation, const union vreg *result)
{
    bool is_double = operation % 4 & 1, scalar = operation % 4 >= 2;
    if (operation == SSE_CVTPD2PS || operation == SSE_CVTSD2SS) {
        is_double = false;
        scalar = operation == SSE_CVTSD2SS;
    } else if (operation > SSE_DIVSD) {
        return false;
    }
    for (unsigned i = 0; i < (scalar ? 1u : is_double ? 2u : 4u); i++) {
        if (is_double && !(result->u64[i] & UINT64_C(0x7ff0000000000000)) && result->u64[i] << 1)
            return true;
        if (!is_double && !(result->u32[i] & 0x7f800000u) && (uint32_t)(result->u32[i] << 1))
            return true;
    }
    return false;
}

/// Runs the operation on *a; false: it faulted.
static bool run(struct cpu *cpu, enum sse_operation operation, union vreg *a, const union vreg *b, unsigned immediate,
                uint64_t *value)
{
    bool catch_underflow = !(cpu->mxcsr & MXCSR_UE << 7);
    uint32_t mxcsr = catch_underflow ? cpu->mxcsr & ~MXCSR_FTZ : cpu->mxcsr; // FTZ is for masked underflow only
    uint32_t flags = fpu_host_sse(operation, a, b, mxcsr, immediate, value);
    if (UNLIKELY(catch_underflow) && has_tiny_result(operation, a))
        flags |= MXCSR_UE;
    return sse_commit_flags(cpu, flags);
}

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

// ---- Between MMX and XMM
// ----------------------------------------------------------------------------------------------
static bool mmx_pending(struct cpu *cpu)
{
    if (x87_must_fault(cpu))
        cpu_raise(cpu, VECTOR_MF);
    return x87_must_fault(cpu);
}

/// CVTPI2PS: two integers to the low half.
uint64_t sse_cvtpi2ps(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg from = {.u64 = {src->u64[0]}}, result;
    if (mmx_pending(cpu))
        return 0;
    if (run(cpu, SSE_CVTDQ2PS, &result, &from, 0, NULL)) {
        dst->u64[0] = result.u64[0];
        simd_enter_mmx(cpu);
    }
    return 0;
}

/// CVTPI2PD is exact; from memory it is no MMX instruction (then the lift leaves SIMD_MMX out).
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
    if (mmx_pending(cpu))
        return 0;
    if (run(cpu, operation, &result, &from, 0, NULL))
        simd_put_mmx(cpu, dst, result.u64[0]);
    return 0;
}

// ---- MXCSR
// ----------------------------------------------------------------------------------------------------------------
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
