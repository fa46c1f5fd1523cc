// Integer SIMD, lane by lane: what each row computes, the same bits on any host. MMX rows share the functions: they
// compute 16 bytes and keep 8.
#include "cpu/fpu.h"

uint64_t simd_paddb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_u8)vec_get(dst) + (vec_u8)vec_get(src)), operand);
}

uint64_t simd_paddw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_u16)vec_get(dst) + (vec_u16)vec_get(src)), operand);
}

uint64_t simd_paddd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_u32)vec_get(dst) + (vec_u32)vec_get(src)), operand);
}

uint64_t simd_paddq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_u64)vec_get(dst) + (vec_u64)vec_get(src)), operand);
}

uint64_t simd_psubb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_u8)vec_get(dst) - (vec_u8)vec_get(src)), operand);
}

uint64_t simd_psubw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_u16)vec_get(dst) - (vec_u16)vec_get(src)), operand);
}

uint64_t simd_psubd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_u32)vec_get(dst) - (vec_u32)vec_get(src)), operand);
}

uint64_t simd_psubq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_u64)vec_get(dst) - (vec_u64)vec_get(src)), operand);
}

static inline int saturate(int value, int low, int high)
{
    return value < low ? low : value > high ? high : value;
}

uint64_t simd_paddsb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_s8 a = (vec_s8)vec_get(dst), b = (vec_s8)vec_get(src);
    for (unsigned i = 0; i < 16; i++)
        a[i] = (int8_t)saturate(a[i] + b[i], INT8_MIN, INT8_MAX);
    return simd_put(cpu, dst, (vec_u64)(a), operand);
}

uint64_t simd_paddsw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_s16 a = (vec_s16)vec_get(dst), b = (vec_s16)vec_get(src);
    for (unsigned i = 0; i < 8; i++)
        a[i] = (int16_t)saturate(a[i] + b[i], INT16_MIN, INT16_MAX);
    return simd_put(cpu, dst, (vec_u64)(a), operand);
}

uint64_t simd_psubsb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_s8 a = (vec_s8)vec_get(dst), b = (vec_s8)vec_get(src);
    for (unsigned i = 0; i < 16; i++)
        a[i] = (int8_t)saturate(a[i] - b[i], INT8_MIN, INT8_MAX);
    return simd_put(cpu, dst, (vec_u64)(a), operand);
}

uint64_t simd_psubsw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_s16 a = (vec_s16)vec_get(dst), b = (vec_s16)vec_get(src);
    for (unsigned i = 0; i < 8; i++)
        a[i] = (int16_t)saturate(a[i] - b[i], INT16_MIN, INT16_MAX);
    return simd_put(cpu, dst, (vec_u64)(a), operand);
}

uint64_t simd_paddusb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u8 a = (vec_u8)vec_get(dst), b = (vec_u8)vec_get(src);
    for (unsigned i = 0; i < 16; i++)
        a[i] = (uint8_t)saturate(a[i] + b[i], 0, UINT8_MAX);
    return simd_put(cpu, dst, (vec_u64)(a), operand);
}

uint64_t simd_paddusw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u16 a = (vec_u16)vec_get(dst), b = (vec_u16)vec_get(src);
    for (unsigned i = 0; i < 8; i++)
        a[i] = (uint16_t)saturate(a[i] + b[i], 0, UINT16_MAX);
    return simd_put(cpu, dst, (vec_u64)(a), operand);
}

uint64_t simd_psubusb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u8 a = (vec_u8)vec_get(dst), b = (vec_u8)vec_get(src);
    for (unsigned i = 0; i < 16; i++)
        a[i] = (uint8_t)saturate(a[i] - b[i], 0, UINT8_MAX);
    return simd_put(cpu, dst, (vec_u64)(a), operand);
}

uint64_t simd_psubusw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u16 a = (vec_u16)vec_get(dst), b = (vec_u16)vec_get(src);
    for (unsigned i = 0; i < 8; i++)
        a[i] = (uint16_t)saturate(a[i] - b[i], 0, UINT16_MAX);
    return simd_put(cpu, dst, (vec_u64)(a), operand);
}

uint64_t simd_pcmpeqb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_u8)vec_get(dst) == (vec_u8)vec_get(src)), operand);
}

uint64_t simd_pcmpeqw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_u16)vec_get(dst) == (vec_u16)vec_get(src)), operand);
}

uint64_t simd_pcmpeqd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_u32)vec_get(dst) == (vec_u32)vec_get(src)), operand);
}

uint64_t simd_pcmpeqq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_u64)vec_get(dst) == (vec_u64)vec_get(src)), operand);
}

uint64_t simd_pcmpgtb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_s8)vec_get(dst) > (vec_s8)vec_get(src)), operand);
}

uint64_t simd_pcmpgtw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_s16)vec_get(dst) > (vec_s16)vec_get(src)), operand);
}

uint64_t simd_pcmpgtd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_s32)vec_get(dst) > (vec_s32)vec_get(src)), operand);
}

uint64_t simd_pcmpgtq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_s64)vec_get(dst) > (vec_s64)vec_get(src)), operand);
}

uint64_t simd_pand(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(vec_get(dst) & vec_get(src)), operand);
}

uint64_t simd_pandn(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(~vec_get(dst) & vec_get(src)), operand);
}

uint64_t simd_por(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(vec_get(dst) | vec_get(src)), operand);
}

uint64_t simd_pxor(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(vec_get(dst) ^ vec_get(src)), operand);
}

uint64_t simd_pmullw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_u16)vec_get(dst) * (vec_u16)vec_get(src)), operand);
}

uint64_t simd_pmulhw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_s16 a = (vec_s16)vec_get(dst), b = (vec_s16)vec_get(src);
    for (unsigned i = 0; i < 8; i++)
        a[i] = (int16_t)(a[i] * b[i] >> 16);
    return simd_put(cpu, dst, (vec_u64)(a), operand);
}

uint64_t simd_pmulhuw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u16 a = (vec_u16)vec_get(dst), b = (vec_u16)vec_get(src);
    for (unsigned i = 0; i < 8; i++)
        a[i] = (uint16_t)((uint32_t)a[i] * b[i] >> 16);
    return simd_put(cpu, dst, (vec_u64)(a), operand);
}

uint64_t simd_pmuludq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)((vec_get(dst) & UINT32_MAX) * (vec_get(src) & UINT32_MAX)), operand);
}

uint64_t simd_pmaddwd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_s16 a = (vec_s16)vec_get(dst), b = (vec_s16)vec_get(src);
    vec_u32 sum = {0};
    for (unsigned i = 0; i < 4; i++)
        sum[i] = (uint32_t)(a[2 * i] * b[2 * i]) + (uint32_t)(a[2 * i + 1] * b[2 * i + 1]);
    return simd_put(cpu, dst, (vec_u64)(sum), operand);
}

uint64_t simd_psadbw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u8 a = (vec_u8)vec_get(dst), b = (vec_u8)vec_get(src);
    vec_u64 sum = {0, 0};
    for (unsigned i = 0; i < 16; i++)
        sum[i / 8] += (unsigned)(a[i] > b[i] ? a[i] - b[i] : b[i] - a[i]);
    return simd_put(cpu, dst, (vec_u64)(sum), operand);
}

uint64_t simd_pavgb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u8 a = (vec_u8)vec_get(dst), b = (vec_u8)vec_get(src);
    for (unsigned i = 0; i < 16; i++)
        a[i] = (uint8_t)((a[i] + b[i] + 1) >> 1);
    return simd_put(cpu, dst, (vec_u64)(a), operand);
}

uint64_t simd_pavgw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u16 a = (vec_u16)vec_get(dst), b = (vec_u16)vec_get(src);
    for (unsigned i = 0; i < 8; i++)
        a[i] = (uint16_t)((a[i] + b[i] + 1) >> 1);
    return simd_put(cpu, dst, (vec_u64)(a), operand);
}

uint64_t simd_pminub(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u8 a = (vec_u8)vec_get(dst), b = (vec_u8)vec_get(src);
    for (unsigned i = 0; i < 16; i++)
        a[i] = a[i] < b[i] ? a[i] : b[i];
    return simd_put(cpu, dst, (vec_u64)(a), operand);
}

uint64_t simd_pminsw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_s16 a = (vec_s16)vec_get(dst), b = (vec_s16)vec_get(src);
    for (unsigned i = 0; i < 8; i++)
        a[i] = a[i] < b[i] ? a[i] : b[i];
    return simd_put(cpu, dst, (vec_u64)(a), operand);
}

uint64_t simd_pmaxub(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_u8 a = (vec_u8)vec_get(dst), b = (vec_u8)vec_get(src);
    for (unsigned i = 0; i < 16; i++)
        a[i] = a[i] > b[i] ? a[i] : b[i];
    return simd_put(cpu, dst, (vec_u64)(a), operand);
}

uint64_t simd_pmaxsw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    vec_s16 a = (vec_s16)vec_get(dst), b = (vec_s16)vec_get(src);
    for (unsigned i = 0; i < 8; i++)
        a[i] = a[i] > b[i] ? a[i] : b[i];
    return simd_put(cpu, dst, (vec_u64)(a), operand);
}

// Shifts: a count beyond the lane gives zeros, or signs. It is one 64-bit number for all lanes, a register's or the
// immediate (functions ending in _by).
static vec_u64 psllw(vec_u64 value, uint64_t count)
{
    return count < 16 ? (vec_u64)((vec_u16)value << (uint16_t)count) : (vec_u64){0, 0};
}

static vec_u64 pslld(vec_u64 value, uint64_t count)
{
    return count < 32 ? (vec_u64)((vec_u32)value << (uint32_t)count) : (vec_u64){0, 0};
}

static vec_u64 psllq(vec_u64 value, uint64_t count)
{
    return count < 64 ? (vec_u64)((vec_u64)value << (uint64_t)count) : (vec_u64){0, 0};
}

static vec_u64 psrlw(vec_u64 value, uint64_t count)
{
    return count < 16 ? (vec_u64)((vec_u16)value >> (uint16_t)count) : (vec_u64){0, 0};
}

static vec_u64 psrld(vec_u64 value, uint64_t count)
{
    return count < 32 ? (vec_u64)((vec_u32)value >> (uint32_t)count) : (vec_u64){0, 0};
}

static vec_u64 psrlq(vec_u64 value, uint64_t count)
{
    return count < 64 ? (vec_u64)((vec_u64)value >> (uint64_t)count) : (vec_u64){0, 0};
}

static vec_u64 psraw(vec_u64 value, uint64_t count)
{
    return (vec_u64)((vec_s16)value >> (int16_t)(count < 16 ? count : 15));
}

static vec_u64 psrad(vec_u64 value, uint64_t count)
{
    return (vec_u64)((vec_s32)value >> (int32_t)(count < 32 ? count : 31));
}

uint64_t simd_psllw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(psllw(vec_get(dst), src->u64[0])), operand);
}

uint64_t simd_psllw_by(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(psllw(vec_get(dst), operand & SIMD_IMMEDIATE)), operand);
}

uint64_t simd_pslld(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(pslld(vec_get(dst), src->u64[0])), operand);
}

uint64_t simd_pslld_by(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(pslld(vec_get(dst), operand & SIMD_IMMEDIATE)), operand);
}

uint64_t simd_psllq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(psllq(vec_get(dst), src->u64[0])), operand);
}

uint64_t simd_psllq_by(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(psllq(vec_get(dst), operand & SIMD_IMMEDIATE)), operand);
}

uint64_t simd_psrlw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(psrlw(vec_get(dst), src->u64[0])), operand);
}

uint64_t simd_psrlw_by(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(psrlw(vec_get(dst), operand & SIMD_IMMEDIATE)), operand);
}

uint64_t simd_psrld(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(psrld(vec_get(dst), src->u64[0])), operand);
}

uint64_t simd_psrld_by(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(psrld(vec_get(dst), operand & SIMD_IMMEDIATE)), operand);
}

uint64_t simd_psrlq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(psrlq(vec_get(dst), src->u64[0])), operand);
}

uint64_t simd_psrlq_by(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(psrlq(vec_get(dst), operand & SIMD_IMMEDIATE)), operand);
}

uint64_t simd_psraw(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(psraw(vec_get(dst), src->u64[0])), operand);
}

uint64_t simd_psraw_by(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(psraw(vec_get(dst), operand & SIMD_IMMEDIATE)), operand);
}

uint64_t simd_psrad(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(psrad(vec_get(dst), src->u64[0])), operand);
}

uint64_t simd_psrad_by(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return simd_put(cpu, dst, (vec_u64)(psrad(vec_get(dst), operand & SIMD_IMMEDIATE)), operand);
}

uint64_t simd_pslldq_by(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    unsigned count = (unsigned)(operand & SIMD_IMMEDIATE);
    unsigned __int128 value;
    memcpy(&value, dst, sizeof value);
    value = count < 16 ? value << 8 * count : 0;
    memcpy(dst, &value, sizeof value);
    return 0;
}

uint64_t simd_psrldq_by(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    unsigned count = (unsigned)(operand & SIMD_IMMEDIATE);
    unsigned __int128 value;
    memcpy(&value, dst, sizeof value);
    value = count < 16 ? value >> 8 * count : 0;
    memcpy(dst, &value, sizeof value);
    return 0;
}
