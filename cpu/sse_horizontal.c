// SSE3's sums across lanes, SSE4.1's dot products and roundings: what MXCSR governs and is put together from simpler
// operations.
#include "cpu/avx.h"

// ---- SSE3 ---------------------------------------------------------------------------------------------------------
/// HADDPS, HADDPD, HSUBPS, HSUBPD: the row's argument is the operation on lanes; neighbours become its operands.
uint64_t sse_horizontal(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    enum sse_operation operation = SIMD_OPERATION(operand);
    union vreg first, second;
    if (operation == SSE_ADDPD || operation == SSE_SUBPD) {
        first.u64[0] = dst->u64[0], first.u64[1] = src->u64[0];
        second.u64[0] = dst->u64[1], second.u64[1] = src->u64[1];
    } else {
        for (unsigned i = 0; i < 2; i++) {
            first.u32[i] = dst->u32[2 * i], first.u32[2 + i] = src->u32[2 * i];
            second.u32[i] = dst->u32[2 * i + 1], second.u32[2 + i] = src->u32[2 * i + 1];
        }
    }
    if (sse_commit_flags(cpu, sse_compute(operation, &first, &second, cpu->mxcsr, 0, NULL)))
        memcpy(dst, &first, 16);
    return 0;
}

/// ADDSUBPS, ADDSUBPD: even lanes are subtracted, odd ones added; zeros in the other lanes raise nothing.
uint64_t sse_addsub(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    enum sse_operation add = SIMD_OPERATION(operand);
    const vec_u64 even = add == SSE_ADDPD ? (vec_u64){UINT64_MAX, 0} : (vec_u64){UINT32_MAX, UINT32_MAX};
    vec_u64 a = vec_get(dst), b = vec_get(src), part[4] = {a & even, b & even, a & ~even, b & ~even};
    union vreg value[4];
    for (unsigned i = 0; i < 4; i++)
        memcpy(&value[i], &part[i], 16);
    uint32_t flags = sse_compute(add - SSE_ADDPS + SSE_SUBPS, &value[0], &value[1], cpu->mxcsr, 0, NULL);
    flags |= sse_compute(add, &value[2], &value[3], cpu->mxcsr, 0, NULL);
    if (sse_commit_flags(cpu, flags)) {
        vec_u64 result = (vec_get(&value[0]) & even) | (vec_get(&value[2]) & ~even);
        memcpy(dst, &result, 16);
    }
    return 0;
}

uint64_t simd_movddup(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    uint64_t low = src->u64[0];
    dst->u64[0] = dst->u64[1] = low;
    return 0;
}

uint64_t simd_movsldup(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u64 low = vec_get(src) & UINT32_MAX;
    return simd_put(cpu, dst, low | low << 32, 0);
}

uint64_t simd_movshdup(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u64 high = vec_get(src) >> 32;
    return simd_put(cpu, dst, high | high << 32, 0);
}

// ---- ROUNDPS, ROUNDPD, ROUNDSS, ROUNDSD ---------------------------------------------------------------------------
struct format {
    unsigned fraction, width; // bits
    uint64_t bias;
};

/// Numbers of which nothing but a fraction is there: 0 or 1.
static bool rounds_to_one(uint64_t magnitude, uint64_t half, bool sign, unsigned rounding)
{
    switch (rounding) {
    case 0:
        return magnitude > half; // the tie goes to 0, which is even
    case 1:
        return sign;
    case 2:
        return !sign;
    default:
        return false;
    }
}

/// The bits of an integral number; MXCSR_PE and MXCSR_IE to *flags.
static uint64_t round_bits(const struct format *format, uint64_t bits, unsigned rounding, bool daz, uint32_t *flags)
{
    uint64_t sign = bits & BIT(format->width - 1), magnitude = bits ^ sign;
    uint64_t exponent = magnitude >> format->fraction, unit = BIT(format->fraction);
    if (exponent == 2 * format->bias + 1) {
        bool quiet = magnitude >> (format->fraction - 1) & 1;
        if (!(magnitude & (unit - 1)))
            return bits;
        *flags |= quiet ? 0 : MXCSR_IE;
        return bits | unit >> 1;
    }
    if (magnitude == 0 || (daz && exponent == 0))
        return sign;
    if (exponent >= format->bias + format->fraction)
        return bits;
    if (exponent < format->bias) {
        *flags |= MXCSR_PE;
        uint64_t one = format->bias << format->fraction, half = one - unit;
        return sign | (rounds_to_one(magnitude, half, sign, rounding) ? one : 0);
    }
    unit >>= exponent - format->bias; // the lowest bit that stays; a carry goes on into the exponent
    uint64_t rest = magnitude & (unit - 1);
    if (!rest)
        return bits;
    *flags |= MXCSR_PE;
    magnitude -= rest;
    // Biases are odd: bit `fraction` says "odd" for 1.x, too.
    bool up = rounding == 0   ? rest > unit / 2 || (rest == unit / 2 && (magnitude & unit))
              : rounding == 1 ? sign
                              : rounding == 2 && !sign;
    return sign | (magnitude + (up ? unit : 0));
}

/// The row's argument: 0 packed single, 1 packed double, 2 scalar single, 3 scalar double. Immediate: bits 0, 1 the
/// rounding, unless bit 2 leaves it to MXCSR; bit 3: inexact results raise nothing.
uint64_t sse_round(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    static const struct format formats[] = {{23, 32, 127}, {52, 64, 1023}};
    unsigned form = SIMD_OPERATION(operand) & 3, lanes = form & 2 ? 1 : form & 1 ? 2 : 4;
    unsigned rounding = (unsigned)(operand & 4 ? (cpu->mxcsr & MXCSR_RC) >> 13 : operand & 3);
    uint32_t flags = 0;
    union vreg result;
    memcpy(&result, dst, 16);
    for (unsigned i = 0; i < lanes; i++) {
        uint64_t bits = form & 1 ? src->u64[i] : src->u32[i];
        bits = round_bits(&formats[form & 1], bits, rounding, cpu->mxcsr & MXCSR_DAZ, &flags);
        if (form & 1)
            result.u64[i] = bits;
        else
            result.u32[i] = (uint32_t)bits;
    }
    if (operand & 8)
        flags &= ~MXCSR_PE;
    if (sse_commit_flags(cpu, flags))
        memcpy(dst, &result, 16);
    return 0;
}

// ---- Dot products: immediate bits 4.. choose the products, bits 0.. the lanes that get the sum --------------------
/// A step in all lanes of 16 bytes at once. False: a fault.
static bool step(struct cpu *cpu, enum sse_operation operation, union vreg *a, const union vreg *b, unsigned lanes)
{
    uint32_t flags = 0;
    for (unsigned lane = 0; lane < lanes; lane++)
        flags |= sse_compute(operation, &a[lane], &b[lane], cpu->mxcsr, 0, NULL);
    return sse_commit_flags(cpu, flags);
}

static bool dot_single(struct cpu *cpu, union vreg *result, const union vreg *first, const union vreg *second,
                       uint64_t operand, unsigned lanes)
{
    union vreg a[2] = {{{0}}}, b[2] = {{{0}}};
    for (unsigned i = 0; i < 4 * lanes; i++) {
        bool chosen = operand >> (4 + i % 4) & 1;
        a[i / 4].u32[i % 4] = chosen ? first->u32[i] : 0;
        b[i / 4].u32[i % 4] = chosen ? second->u32[i] : 0;
    }
    if (!step(cpu, SSE_MULPS, a, b, lanes))
        return false;
    for (unsigned lane = 0; lane < lanes; lane++) {
        b[lane] = (union vreg){.u32 = {a[lane].u32[1], a[lane].u32[3]}};
        a[lane] = (union vreg){.u32 = {a[lane].u32[0], a[lane].u32[2]}};
    }
    if (!step(cpu, SSE_ADDPS, a, b, lanes))
        return false;
    for (unsigned lane = 0; lane < lanes; lane++)
        b[lane] = (union vreg){.u32 = {a[lane].u32[1]}};
    if (!step(cpu, SSE_ADDSS, a, b, lanes))
        return false;
    for (unsigned i = 0; i < 4 * lanes; i++)
        result->u32[i] = operand >> i % 4 & 1 ? a[i / 4].u32[0] : 0;
    return true;
}

static bool dot_double(struct cpu *cpu, union vreg *result, const union vreg *first, const union vreg *second,
                       uint64_t operand)
{
    union vreg a, b;
    for (unsigned i = 0; i < 2; i++) {
        bool chosen = operand >> (4 + i) & 1;
        a.u64[i] = chosen ? first->u64[i] : 0;
        b.u64[i] = chosen ? second->u64[i] : 0;
    }
    if (!step(cpu, SSE_MULPD, &a, &b, 1))
        return false;
    b = (union vreg){.u64 = {a.u64[1]}};
    if (!step(cpu, SSE_ADDSD, &a, &b, 1))
        return false;
    for (unsigned i = 0; i < 2; i++)
        result->u64[i] = operand >> i & 1 ? a.u64[0] : 0;
    return true;
}

uint64_t sse_dpps(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    dot_single(cpu, dst, dst, src, operand, 1);
    return 0;
}

uint64_t sse_dppd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    dot_double(cpu, dst, dst, src, operand);
    return 0;
}

/// Not lane by lane: a step's exceptions come before the next step.
uint64_t avx_dpps(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg result = {0};
    if (dot_single(cpu, &result, cpu_vreg(cpu, AVX_FIRST(operand)), src, operand, avx_bytes(operand) / 16))
        memcpy(dst, &result, AVX_BYTES);
    return 0;
}

uint64_t avx_dppd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg result = {0};
    if (dot_double(cpu, &result, cpu_vreg(cpu, AVX_FIRST(operand)), src, operand))
        memcpy(dst, &result, AVX_BYTES);
    return 0;
}
