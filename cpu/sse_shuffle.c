// SIMD rows that rearrange: pack, unpack, shuffle, merge, insert and extract, masks, moves between register files.
#include "cpu/fpu.h"

static inline int64_t saturate(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

// ---- Pack: first the destination's lanes, then the source's ---------------------------------------------------------
uint64_t simd_packsswb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg packed;
    unsigned half = simd_bytes(operand) / 2;
    for (unsigned i = 0; i < half; i++) {
        packed.s8[i] = (int8_t)saturate(dst->s16[i], INT8_MIN, INT8_MAX);
        packed.s8[half + i] = (int8_t)saturate(src->s16[i], INT8_MIN, INT8_MAX);
    }
    return simd_put(cpu, dst, vec_get(&packed), operand);
}

uint64_t simd_packuswb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg packed;
    unsigned half = simd_bytes(operand) / 2;
    for (unsigned i = 0; i < half; i++) {
        packed.u8[i] = (uint8_t)saturate(dst->s16[i], 0, UINT8_MAX);
        packed.u8[half + i] = (uint8_t)saturate(src->s16[i], 0, UINT8_MAX);
    }
    return simd_put(cpu, dst, vec_get(&packed), operand);
}

uint64_t simd_packssdw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg packed;
    unsigned half = simd_bytes(operand) / 4;
    for (unsigned i = 0; i < half; i++) {
        packed.s16[i] = (int16_t)saturate(dst->s32[i], INT16_MIN, INT16_MAX);
        packed.s16[half + i] = (int16_t)saturate(src->s32[i], INT16_MIN, INT16_MAX);
    }
    return simd_put(cpu, dst, vec_get(&packed), operand);
}

// ---- Unpack: lanes of both in turn, from the low or the high half -------------------------------------------------
static uint64_t unpack(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand, unsigned lane,
                       bool high)
{
    union vreg result;
    unsigned bytes = simd_bytes(operand), from = high ? bytes / 2 : 0;
    for (unsigned i = 0; i < bytes / 2; i += lane) {
        memcpy(&result.u8[2 * i], &dst->u8[from + i], lane);
        memcpy(&result.u8[2 * i + lane], &src->u8[from + i], lane);
    }
    return simd_put(cpu, dst, vec_get(&result), operand);
}

uint64_t simd_punpcklbw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return unpack(cpu, dst, src, operand, 1, false);
}

uint64_t simd_punpcklwd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return unpack(cpu, dst, src, operand, 2, false);
}

uint64_t simd_punpckldq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return unpack(cpu, dst, src, operand, 4, false);
}

uint64_t simd_punpcklqdq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    dst->u64[1] = src->u64[0];
    return 0;
}

uint64_t simd_punpckhbw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return unpack(cpu, dst, src, operand, 1, true);
}

uint64_t simd_punpckhwd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return unpack(cpu, dst, src, operand, 2, true);
}

uint64_t simd_punpckhdq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return unpack(cpu, dst, src, operand, 4, true);
}

uint64_t simd_punpckhqdq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    dst->u64[0] = dst->u64[1];
    dst->u64[1] = src->u64[1];
    return 0;
}

// ---- Shuffles by an immediate of four two-bit selectors -----------------------------------------------------------
static inline unsigned selector(uint64_t operand, unsigned lane)
{
    return operand >> 2 * lane & 3;
}

uint64_t simd_pshufw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    uint64_t result = 0;
    for (unsigned i = 0; i < 4; i++)
        result |= (uint64_t)src->u16[selector(operand, i)] << 16 * i;
    return simd_put_mmx(cpu, dst, result);
}

uint64_t simd_pshufd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u32 from = (vec_u32)vec_get(src), result = {0};
    for (unsigned i = 0; i < 4; i++)
        result[i] = from[selector(operand, i)];
    return simd_put(cpu, dst, (vec_u64)result, 0);
}

static uint64_t shuffle_words(union vreg *dst, const union vreg *src, uint64_t operand, unsigned first)
{
    union vreg result;
    memcpy(&result, src, 16);
    for (unsigned i = 0; i < 4; i++)
        result.u16[first + i] = src->u16[first + selector(operand, i)];
    memcpy(dst, &result, 16);
    return 0;
}

uint64_t simd_pshuflw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return shuffle_words(dst, src, operand, 0);
}

uint64_t simd_pshufhw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return shuffle_words(dst, src, operand, 4);
}

uint64_t simd_shufps(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u32 a = (vec_u32)vec_get(dst), b = (vec_u32)vec_get(src);
    vec_u32 result = {a[selector(operand, 0)], a[selector(operand, 1)], b[selector(operand, 2)],
                      b[selector(operand, 3)]};
    return simd_put(cpu, dst, (vec_u64)result, 0);
}

uint64_t simd_shufpd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    uint64_t low = dst->u64[operand & 1], high = src->u64[operand >> 1 & 1];
    dst->u64[0] = low;
    dst->u64[1] = high;
    return 0;
}

// ---- Insert, extract, sign masks ----------------------------------------------------------------------------------
/// The word to insert is the low one of src.
uint64_t simd_pinsrw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg result;
    uint16_t word = src->u16[0];
    memcpy(&result, dst, 16);
    result.u16[operand & (simd_bytes(operand) / 2 - 1)] = word;
    return simd_put(cpu, dst, vec_get(&result), operand);
}

uint64_t simd_pextrw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    if ((operand & SIMD_MMX) && !simd_enter_mmx(cpu))
        return 0;
    return src->u16[operand & (simd_bytes(operand) / 2 - 1)];
}

uint64_t simd_pmovmskb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    if ((operand & SIMD_MMX) && !simd_enter_mmx(cpu))
        return 0;
    uint64_t mask = 0;
    for (unsigned i = 0; i < simd_bytes(operand); i++)
        mask |= (uint64_t)(src->u8[i] >> 7) << i;
    return mask;
}

uint64_t simd_movmskps(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return src->u32[0] >> 31 | src->u32[1] >> 31 << 1 | src->u32[2] >> 31 << 2 | src->u32[3] >> 31 << 3;
}

uint64_t simd_movmskpd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return src->u64[0] >> 63 | src->u64[1] >> 63 << 1;
}

// ---- Moves that merge or cross register files ---------------------------------------------------------------------
uint64_t simd_movss(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    dst->u32[0] = src->u32[0];
    return 0;
}

/// MOVSD between registers, and MOVLPS, MOVLPD from memory: the low half is replaced.
uint64_t simd_movlps(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    dst->u64[0] = src->u64[0];
    return 0;
}

uint64_t simd_movhps(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    dst->u64[1] = src->u64[0];
    return 0;
}

uint64_t simd_movhlps(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    dst->u64[0] = src->u64[1];
    return 0;
}

uint64_t simd_movq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    dst->u64[0] = src->u64[0];
    dst->u64[1] = 0;
    return 0;
}

/// MOVD, MOVQ between general and vector registers; 32 bits come zero-extended.
uint64_t simd_from_integer(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    dst->u64[0] = operand;
    dst->u64[1] = 0;
    return 0;
}

uint64_t simd_to_integer(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return src->u64[0];
}

uint64_t simd_mmx_from_integer(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put_mmx(cpu, dst, operand);
}

uint64_t simd_mmx_to_integer(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_enter_mmx(cpu) ? src->u64[0] : 0;
}

uint64_t simd_mmx_move(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    if (operand & SIMD_STORE) {
        simd_enter_mmx(cpu);
        return 0;
    }
    return simd_put_mmx(cpu, dst, src->u64[0]);
}

/// MOVQ2DQ: from MMX.
uint64_t simd_movq2dq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    if (simd_enter_mmx(cpu)) {
        dst->u64[0] = src->u64[0];
        dst->u64[1] = 0;
    }
    return 0;
}

uint64_t simd_emms(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    if (simd_enter_mmx(cpu))
        cpu->x87.valid = 0;
    return 0;
}
