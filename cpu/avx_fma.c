// FMA and F16C: fused multiplication and addition, half precision. Computed in integers (softfloat.h), with the
// exceptions of the processor.
#include "cpu/avx.h"
#include "cpu/softfloat.h"

static bool is_nan(struct soft a)
{
    return a.class == SOFT_QNAN || a.class == SOFT_SNAN;
}

static struct soft quiet(struct soft a)
{
    a.class = SOFT_QNAN;
    a.significand |= BIT(62);
    return a;
}

static struct soft operand_of(uint64_t bits, bool is_double, uint32_t mxcsr)
{
    struct soft value = soft_unpack(bits, is_double);
    if (value.denormal && (mxcsr & MXCSR_DAZ))
        value = (struct soft){.class = SOFT_ZERO, .sign = value.sign};
    return value;
}

static struct soft_context context_of(const struct soft_format *format, uint32_t mxcsr)
{
    return (struct soft_context){
        .format = *format, .rounding = mxcsr >> 13 & 3, .masks = mxcsr >> 7 & MXCSR_FLAGS, .flush = mxcsr & MXCSR_FTZ};
}

/// x * y + z. The first NaN of x, y, z is the result's (SDM vol. 1 table 14-17).
static struct soft fused(struct soft_context *context, unsigned argument, struct soft x, struct soft y, struct soft z)
{
    bool signalling = x.class == SOFT_SNAN || y.class == SOFT_SNAN || z.class == SOFT_SNAN;
    if (is_nan(x) || is_nan(y) || is_nan(z)) {
        context->flags |= signalling ? SOFT_IE : 0;
        return quiet(is_nan(x) ? x : is_nan(y) ? y : z);
    }
    x.sign ^= (argument & AVX_FMA_NEGATE) != 0;
    z.sign ^= (argument & AVX_FMA_SUBTRACT) != 0;
    struct soft result = soft_multiply_add(context, x, y, z);
    if (!(context->flags & SOFT_IE) && (x.denormal || y.denormal || z.denormal))
        context->flags |= SOFT_DE;
    return result;
}

static uint64_t element(const union vreg *v, bool is_double, unsigned i)
{
    return is_double ? v->u64[i] : v->u32[i];
}

/// The row's argument: AVX_FMA_*.
uint64_t avx_fma(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    const union vreg *first = cpu_vreg(cpu, AVX_FIRST(operand));
    unsigned argument = row_get(AVX_ROW(operand))->argument, form = argument & 3;
    bool is_double = argument & AVX_FMA_DOUBLE;
    const union vreg *x = form == AVX_FMA_132 ? dst : first, *y = form == AVX_FMA_213 ? dst : src;
    const union vreg *z = form == AVX_FMA_132 ? first : form == AVX_FMA_213 ? src : dst;
    unsigned bytes = argument & AVX_FMA_SCALAR ? (is_double ? 8 : 4) : avx_bytes(operand);
    uint32_t flags = 0;
    union vreg result = {0};
    memcpy(&result, dst, avx_bytes(operand));
    for (unsigned i = 0; i < bytes / (is_double ? 8 : 4); i++) {
        struct soft_context context = context_of(is_double ? &soft_double : &soft_single, cpu->mxcsr);
        unsigned signs = argument ^ ((argument & AVX_FMA_ALTERNATE) && !(i & 1) ? AVX_FMA_SUBTRACT : 0);
        uint64_t bits = soft_pack(fused(&context, signs, operand_of(element(x, is_double, i), is_double, cpu->mxcsr),
                                        operand_of(element(y, is_double, i), is_double, cpu->mxcsr),
                                        operand_of(element(z, is_double, i), is_double, cpu->mxcsr)),
                                  is_double);
        if (is_double)
            result.u64[i] = bits;
        else
            result.u32[i] = (uint32_t)bits;
        flags |= context.flags;
    }
    if (sse_commit_flags(cpu, flags))
        memcpy(dst, &result, AVX_BYTES);
    return 0;
}

// ---- Half precision (SDM vol. 1 sec. 14.4) --------------------------------------------------------------------------
/// VCVTPH2PS is exact; denormals raise nothing.
uint64_t avx_cvtph2ps(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg result = {0};
    uint32_t flags = 0;
    for (unsigned i = 0; i < avx_bytes(operand) / 4; i++) {
        struct soft value = soft_unpack16(src->u16[i]);
        flags |= value.class == SOFT_SNAN ? MXCSR_IE : 0;
        result.u32[i] = (uint32_t)soft_pack(is_nan(value) ? quiet(value) : value, false);
    }
    if (sse_commit_flags(cpu, flags))
        memcpy(dst, &result, AVX_BYTES);
    return 0;
}

/// VCVTPS2PH: the immediate's low bits are the rounding, unless bit 2 leaves it to MXCSR. FTZ does not count.
uint64_t avx_cvtps2ph(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg result = {0};
    uint32_t flags = 0;
    for (unsigned i = 0; i < avx_bytes(operand) / 4; i++) {
        struct soft_context context = context_of(&soft_half, cpu->mxcsr);
        struct soft value = operand_of(src->u32[i], false, cpu->mxcsr);
        context.flush = false;
        if (!(operand & 4))
            context.rounding = operand & 3;
        if (is_nan(value)) {
            context.flags = value.class == SOFT_SNAN ? SOFT_IE : 0;
            result.u16[i] = soft_pack16(quiet(value));
        } else {
            context.flags = value.denormal ? SOFT_DE : 0;
            result.u16[i] = soft_pack16(soft_round(&context, value));
        }
        flags |= context.flags;
    }
    if (sse_commit_flags(cpu, flags))
        memcpy(dst, &result, AVX_BYTES);
    return 0;
}
