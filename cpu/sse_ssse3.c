// SSSE3: horizontal sums, signs, absolute values, byte shuffles. MMX forms share the functions and keep 8 bytes.
#include "cpu/fpu.h"

static inline int16_t saturate16(int value)
{
    return (int16_t)(value < INT16_MIN ? INT16_MIN : value > INT16_MAX ? INT16_MAX : value);
}

/// A control byte's top bit clears the byte; else its low bits select one of the destination's.
uint64_t simd_pshufb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg result;
    unsigned bytes = simd_bytes(operand);
    memset(&result, 0, 16);
    for (unsigned i = 0; i < bytes; i++)
        result.u8[i] = src->u8[i] & 0x80 ? 0 : dst->u8[src->u8[i] & (bytes - 1)];
    return simd_put(cpu, dst, vec_get(&result), operand);
}

/// PALIGNR: the bytes of src from `immediate` on, then those of dst, then zeros.
uint64_t simd_palignr(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg result;
    unsigned bytes = simd_bytes(operand), shift = (unsigned)(operand & SIMD_IMMEDIATE);
    memset(&result, 0, 16);
    for (unsigned i = 0; i < bytes; i++) {
        unsigned from = i + shift;
        result.u8[i] = from < bytes ? src->u8[from] : from < 2 * bytes ? dst->u8[from - bytes] : 0;
    }
    return simd_put(cpu, dst, vec_get(&result), operand);
}

// ---- Sums and differences of neighbours: first the destination's pairs, then the source's -------------------------
static uint64_t horizontal16(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand, int sign,
                             bool saturate)
{
    union vreg result;
    unsigned half = simd_bytes(operand) / 4;
    memset(&result, 0, 16);
    for (unsigned i = 0; i < 2 * half; i++) {
        const int16_t *pair = i < half ? &dst->s16[2 * i] : &src->s16[2 * (i - half)];
        int value = pair[0] + sign * pair[1];
        result.s16[i] = saturate ? saturate16(value) : (int16_t)value;
    }
    return simd_put(cpu, dst, vec_get(&result), operand);
}

static uint64_t horizontal32(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand, bool subtract)
{
    union vreg result;
    unsigned half = simd_bytes(operand) / 8;
    memset(&result, 0, 16);
    for (unsigned i = 0; i < 2 * half; i++) {
        const uint32_t *pair = i < half ? &dst->u32[2 * i] : &src->u32[2 * (i - half)];
        result.u32[i] = subtract ? pair[0] - pair[1] : pair[0] + pair[1];
    }
    return simd_put(cpu, dst, vec_get(&result), operand);
}

uint64_t simd_phaddw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return horizontal16(cpu, dst, src, operand, 1, false);
}

uint64_t simd_phaddsw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return horizontal16(cpu, dst, src, operand, 1, true);
}

uint64_t simd_phsubw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return horizontal16(cpu, dst, src, operand, -1, false);
}

uint64_t simd_phsubsw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return horizontal16(cpu, dst, src, operand, -1, true);
}

uint64_t simd_phaddd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return horizontal32(cpu, dst, src, operand, false);
}

uint64_t simd_phsubd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return horizontal32(cpu, dst, src, operand, true);
}

// ---- Multiplications ----------------------------------------------------------------------------------------------
/// Unsigned bytes of dst times signed bytes of src, neighbours added with saturation.
uint64_t simd_pmaddubsw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg result;
    for (unsigned i = 0; i < 8; i++)
        result.s16[i] = saturate16(dst->u8[2 * i] * src->s8[2 * i] + dst->u8[2 * i + 1] * src->s8[2 * i + 1]);
    return simd_put(cpu, dst, vec_get(&result), operand);
}

/// Products of fractions in Q15, rounded.
uint64_t simd_pmulhrsw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg result;
    for (unsigned i = 0; i < 8; i++)
        result.u16[i] = (uint16_t)(((dst->s16[i] * src->s16[i] >> 14) + 1) >> 1);
    return simd_put(cpu, dst, vec_get(&result), operand);
}

// ---- Signs: unsigned arithmetic, as the lowest numbers stay what they are -----------------------------------------
uint64_t simd_psignb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u8 a = (vec_u8)vec_get(dst);
    vec_s8 b = (vec_s8)vec_get(src);
    vec_u8 negative = (vec_u8)(b < 0), zero = (vec_u8)(b == 0);
    return simd_put(cpu, dst, (vec_u64)(((a ^ negative) - negative) & ~zero), operand);
}

uint64_t simd_psignw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u16 a = (vec_u16)vec_get(dst);
    vec_s16 b = (vec_s16)vec_get(src);
    vec_u16 negative = (vec_u16)(b < 0), zero = (vec_u16)(b == 0);
    return simd_put(cpu, dst, (vec_u64)(((a ^ negative) - negative) & ~zero), operand);
}

uint64_t simd_psignd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u32 a = (vec_u32)vec_get(dst);
    vec_s32 b = (vec_s32)vec_get(src);
    vec_u32 negative = (vec_u32)(b < 0), zero = (vec_u32)(b == 0);
    return simd_put(cpu, dst, (vec_u64)(((a ^ negative) - negative) & ~zero), operand);
}

uint64_t simd_pabsb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u8 a = (vec_u8)vec_get(src), negative = (vec_u8)((vec_s8)a < 0);
    return simd_put(cpu, dst, (vec_u64)((a ^ negative) - negative), operand);
}

uint64_t simd_pabsw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u16 a = (vec_u16)vec_get(src), negative = (vec_u16)((vec_s16)a < 0);
    return simd_put(cpu, dst, (vec_u64)((a ^ negative) - negative), operand);
}

uint64_t simd_pabsd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u32 a = (vec_u32)vec_get(src), negative = (vec_u32)((vec_s32)a < 0);
    return simd_put(cpu, dst, (vec_u64)((a ^ negative) - negative), operand);
}
