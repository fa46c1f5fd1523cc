// SSE4.1's integer rows: blends, extensions, minima and maxima, insertions and extractions, sums of differences.
#include "cpu/fpu.h"

// ---- Blends: where the selector says so, the source's lane --------------------------------------------------------
static uint64_t blend(union vreg *dst, const union vreg *src, vec_u64 select)
{
    vec_u64 result = (vec_get(dst) & ~select) | (vec_get(src) & select);
    memcpy(dst, &result, 16);
    return 0;
}

uint64_t simd_pblendvb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return blend(dst, src, (vec_u64)((vec_s8)vec_get(&cpu->vreg[0]) < 0));
}

uint64_t simd_blendvps(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return blend(dst, src, (vec_u64)((vec_s32)vec_get(&cpu->vreg[0]) < 0));
}

uint64_t simd_blendvpd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return blend(dst, src, (vec_u64)((vec_s64)vec_get(&cpu->vreg[0]) < 0));
}

/// Lanes of `bytes` bytes by the bits of the immediate.
static uint64_t blend_immediate(union vreg *dst, const union vreg *src, uint64_t operand, unsigned bytes)
{
    for (unsigned i = 0; i < 16 / bytes; i++)
        if (operand >> i & 1)
            memcpy(&dst->u8[i * bytes], &src->u8[i * bytes], bytes);
    return 0;
}

uint64_t simd_pblendw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return blend_immediate(dst, src, operand, 2);
}

uint64_t simd_blendps(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return blend_immediate(dst, src, operand, 4);
}

uint64_t simd_blendpd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return blend_immediate(dst, src, operand, 8);
}

/// ZF: no common bit; CF: no bit of src that dst lacks.
uint64_t simd_ptest(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u64 both = vec_get(dst) & vec_get(src), more = ~vec_get(dst) & vec_get(src);
    return (both[0] | both[1] ? 0 : FLAG_ZF) | (more[0] | more[1] ? 0 : FLAG_CF);
}

// ---- Extensions of the low lanes ----------------------------------------------------------------------------------
static inline uint64_t get_lane(const union vreg *v, unsigned bytes, unsigned lane, bool sign)
{
    uint64_t value = 0;
    memcpy(&value, &v->u8[lane * bytes], bytes); // guest order is the host's little-endian one
    unsigned up = 64 - 8 * bytes;
    return sign ? (uint64_t)((int64_t)(value << up) >> up) : value;
}

static uint64_t extend(union vreg *dst, const union vreg *src, unsigned from, unsigned to, bool sign)
{
    union vreg result;
    for (unsigned i = 0; i < 16 / to; i++) {
        uint64_t value = get_lane(src, from, i, sign);
        memcpy(&result.u8[i * to], &value, to);
    }
    memcpy(dst, &result, 16);
    return 0;
}

uint64_t simd_pmovsxbw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return extend(dst, src, 1, 2, true);
}

uint64_t simd_pmovsxbd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return extend(dst, src, 1, 4, true);
}

uint64_t simd_pmovsxbq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return extend(dst, src, 1, 8, true);
}

uint64_t simd_pmovsxwd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return extend(dst, src, 2, 4, true);
}

uint64_t simd_pmovsxwq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return extend(dst, src, 2, 8, true);
}

uint64_t simd_pmovsxdq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return extend(dst, src, 4, 8, true);
}

uint64_t simd_pmovzxbw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return extend(dst, src, 1, 2, false);
}

uint64_t simd_pmovzxbd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return extend(dst, src, 1, 4, false);
}

uint64_t simd_pmovzxbq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return extend(dst, src, 1, 8, false);
}

uint64_t simd_pmovzxwd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return extend(dst, src, 2, 4, false);
}

uint64_t simd_pmovzxwq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return extend(dst, src, 2, 8, false);
}

uint64_t simd_pmovzxdq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return extend(dst, src, 4, 8, false);
}

// ---- Arithmetic ---------------------------------------------------------------------------------------------------
uint64_t simd_pmuldq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    int64_t low = (int64_t)dst->s32[0] * src->s32[0], high = (int64_t)dst->s32[2] * src->s32[2];
    dst->s64[0] = low;
    dst->s64[1] = high;
    return 0;
}

uint64_t simd_pmulld(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_u32)vec_get(dst) * (vec_u32)vec_get(src)), 0);
}

uint64_t simd_packusdw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg packed;
    for (unsigned i = 0; i < 8; i++) {
        int32_t value = i < 4 ? dst->s32[i] : src->s32[i - 4];
        packed.u16[i] = (uint16_t)(value < 0 ? 0 : value > UINT16_MAX ? UINT16_MAX : value);
    }
    memcpy(dst, &packed, 16);
    return 0;
}

uint64_t simd_pminsb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return blend(dst, src, (vec_u64)((vec_s8)vec_get(src) < (vec_s8)vec_get(dst)));
}

uint64_t simd_pminsd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return blend(dst, src, (vec_u64)((vec_s32)vec_get(src) < (vec_s32)vec_get(dst)));
}

uint64_t simd_pminuw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return blend(dst, src, (vec_u64)((vec_u16)vec_get(src) < (vec_u16)vec_get(dst)));
}

uint64_t simd_pminud(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return blend(dst, src, (vec_u64)((vec_u32)vec_get(src) < (vec_u32)vec_get(dst)));
}

uint64_t simd_pmaxsb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return blend(dst, src, (vec_u64)((vec_s8)vec_get(src) > (vec_s8)vec_get(dst)));
}

uint64_t simd_pmaxsd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return blend(dst, src, (vec_u64)((vec_s32)vec_get(src) > (vec_s32)vec_get(dst)));
}

uint64_t simd_pmaxuw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return blend(dst, src, (vec_u64)((vec_u16)vec_get(src) > (vec_u16)vec_get(dst)));
}

uint64_t simd_pmaxud(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return blend(dst, src, (vec_u64)((vec_u32)vec_get(src) > (vec_u32)vec_get(dst)));
}

/// The least word, and the number of the first lane that has it.
uint64_t simd_phminposuw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    unsigned least = 0;
    for (unsigned i = 1; i < 8; i++)
        if (src->u16[i] < src->u16[least])
            least = i;
    dst->u64[0] = src->u16[least] | (uint64_t)least << 16;
    dst->u64[1] = 0;
    return 0;
}

/// Four bytes of src (immediate bits 0, 1) against those from each of eight places in dst (from 4 * bit 2 on).
uint64_t simd_mpsadbw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg result;
    const uint8_t *block = &src->u8[(operand & 3) * 4], *window = &dst->u8[(operand >> 2 & 1) * 4];
    for (unsigned i = 0; i < 8; i++) {
        unsigned sum = 0;
        for (unsigned n = 0; n < 4; n++)
            sum += (unsigned)(window[i + n] > block[n] ? window[i + n] - block[n] : block[n] - window[i + n]);
        result.u16[i] = (uint16_t)sum;
    }
    memcpy(dst, &result, 16);
    return 0;
}

// ---- Insertions and extractions -----------------------------------------------------------------------------------
/// Immediate: bits 0..3 lanes to clear, 4, 5 the lane to write, 6, 7 the lane of src (0 when it comes from memory).
uint64_t simd_insertps(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    dst->u32[operand >> 4 & 3] = src->u32[operand >> 6 & 3];
    for (unsigned i = 0; i < 4; i++)
        if (operand >> i & 1)
            dst->u32[i] = 0;
    return 0;
}

uint64_t simd_pinsrb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    dst->u8[operand & 15] = src->u8[0];
    return 0;
}

uint64_t simd_pinsrd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    dst->u32[operand & 3] = src->u32[0];
    return 0;
}

uint64_t simd_pinsrq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    dst->u64[operand & 1] = src->u64[0];
    return 0;
}

uint64_t simd_pextrb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return src->u8[operand & 15];
}

uint64_t simd_pextrd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return src->u32[operand & 3];
}

uint64_t simd_pextrq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return src->u64[operand & 1];
}
