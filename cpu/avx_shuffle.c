// What AVX and AVX2 have beside longer registers: permutations, broadcasts, halves, shifts by element, sign tests.
#include "cpu/avx.h"

/// Writes 32 bytes, of which those above the instruction's length are zeros.
static uint64_t put(union vreg *dst, const union vreg *result, uint64_t operand)
{
    union vreg whole = {0};
    memcpy(&whole, result, avx_bytes(operand));
    memcpy(dst, &whole, AVX_BYTES);
    return 0;
}

// ---- In each lane ---------------------------------------------------------------------------------------------------
uint64_t avx_permilps(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg result;
    for (unsigned i = 0; i < 4; i++)
        result.u32[i] = dst->u32[src->u32[i] & 3];
    memcpy(dst, &result, 16);
    return 0;
}

uint64_t avx_permilpd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    uint64_t low = dst->u64[src->u64[0] >> 1 & 1], high = dst->u64[src->u64[1] >> 1 & 1];
    dst->u64[0] = low;
    dst->u64[1] = high;
    return 0;
}

uint64_t avx_permilpd_by(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    dst->u64[0] = src->u64[operand & 1];
    dst->u64[1] = src->u64[operand >> 1 & 1];
    return 0;
}

uint64_t avx_psllvd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    for (unsigned i = 0; i < 4; i++)
        dst->u32[i] = src->u32[i] < 32 ? dst->u32[i] << src->u32[i] : 0;
    return 0;
}

uint64_t avx_psllvq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    for (unsigned i = 0; i < 2; i++)
        dst->u64[i] = src->u64[i] < 64 ? dst->u64[i] << src->u64[i] : 0;
    return 0;
}

uint64_t avx_psrlvd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    for (unsigned i = 0; i < 4; i++)
        dst->u32[i] = src->u32[i] < 32 ? dst->u32[i] >> src->u32[i] : 0;
    return 0;
}

uint64_t avx_psrlvq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    for (unsigned i = 0; i < 2; i++)
        dst->u64[i] = src->u64[i] < 64 ? dst->u64[i] >> src->u64[i] : 0;
    return 0;
}

uint64_t avx_psravd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    for (unsigned i = 0; i < 4; i++)
        dst->s32[i] >>= src->u32[i] < 31 ? src->u32[i] : 31;
    return 0;
}

// ---- Across lanes ---------------------------------------------------------------------------------------------------
/// The row's argument: bytes of an element, whose sign in the third source chooses.
uint64_t avx_blendv(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg result = *cpu_vreg(cpu, AVX_FIRST(operand));
    const union vreg *mask = cpu_vreg(cpu, AVX_THIRD(operand));
    unsigned element = row_get(AVX_ROW(operand))->argument;
    for (unsigned i = 0; i < 32; i += element)
        if (mask->u8[i + element - 1] & 0x80)
            memcpy(&result.u8[i], &src->u8[i], element);
    return put(dst, &result, operand);
}

/// VPERM2F128: two bits of the immediate choose a lane, a third one zeros.
uint64_t avx_perm2(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    const union vreg *first = cpu_vreg(cpu, AVX_FIRST(operand));
    union vreg result = {0};
    for (unsigned lane = 0; lane < 2; lane++) {
        unsigned control = operand >> 4 * lane & 15;
        const union vreg *from = control & 2 ? src : first;
        if (!(control & 8))
            memcpy(&result.u8[16 * lane], &from->u8[control & 1 ? 16 : 0], 16);
    }
    return put(dst, &result, operand);
}

uint64_t avx_insert(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg result = *cpu_vreg(cpu, AVX_FIRST(operand));
    memcpy(&result.u8[operand & 1 ? 16 : 0], src, 16);
    return put(dst, &result, operand);
}

uint64_t avx_extract(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg result = {0};
    memcpy(&result, &src->u8[operand & 1 ? 16 : 0], 16);
    return put(dst, &result, operand);
}

/// The row's argument: bytes that are repeated.
uint64_t avx_broadcast(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    unsigned element = row_get(AVX_ROW(operand))->argument;
    union vreg result = {0};
    for (unsigned i = 0; i < 32; i += element)
        memcpy(&result.u8[i], src, element);
    return put(dst, &result, operand);
}

uint64_t avx_permd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    const union vreg *index = cpu_vreg(cpu, AVX_FIRST(operand));
    union vreg result = {0};
    for (unsigned i = 0; i < 8; i++)
        result.u32[i] = src->u32[index->u32[i] & 7];
    return put(dst, &result, operand);
}

uint64_t avx_permq(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    union vreg result = {0};
    for (unsigned i = 0; i < 4; i++)
        result.u64[i] = src->u64[operand >> 2 * i & 3];
    return put(dst, &result, operand);
}

// ---- To general registers and flags: 32 bytes -----------------------------------------------------------------------
uint64_t avx_movmskps(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    uint64_t mask = 0;
    for (unsigned i = 0; i < 8; i++)
        mask |= (uint64_t)(src->u32[i] >> 31) << i;
    return mask;
}

uint64_t avx_movmskpd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    uint64_t mask = 0;
    for (unsigned i = 0; i < 4; i++)
        mask |= src->u64[i] >> 63 << i;
    return mask;
}

uint64_t avx_pmovmskb(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    uint64_t mask = 0;
    for (unsigned i = 0; i < 32; i++)
        mask |= (uint64_t)(src->u8[i] >> 7) << i;
    return mask;
}

uint64_t avx_ptest(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    uint64_t both = 0, more = 0;
    for (unsigned i = 0; i < 4; i++) {
        both |= dst->u64[i] & src->u64[i];
        more |= ~dst->u64[i] & src->u64[i];
    }
    return (both ? 0 : FLAG_ZF) | (more ? 0 : FLAG_CF);
}

/// VTESTPS, VTESTPD: as VPTEST, but with the signs of elements alone. The row's argument: AVX_TEST.
uint64_t avx_test_signs(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    unsigned argument = SIMD_OPERATION(operand), element = argument & 12, bytes = argument & 48;
    uint8_t both = 0, more = 0;
    for (unsigned i = element - 1; i < bytes; i += element) {
        both |= dst->u8[i] & src->u8[i];
        more |= (uint8_t)~dst->u8[i] & src->u8[i];
    }
    return (both & 0x80 ? 0 : FLAG_ZF) | (more & 0x80 ? 0 : FLAG_CF);
}

// ---- Zeros: outside 64-bit code there are eight registers -----------------------------------------------------------
static unsigned registers_of(const struct cpu *cpu)
{
    return (cpu->mode & MODE_CODE_MASK) == MODE_CODE64 ? 16 : 8;
}

uint64_t avx_zeroupper(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    for (unsigned i = 0; i < registers_of(cpu); i++)
        cpu->vreg[i].u64[2] = cpu->vreg[i].u64[3] = 0;
    return 0;
}

uint64_t avx_zeroall(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    for (unsigned i = 0; i < registers_of(cpu); i++)
        memset(&cpu->vreg[i], 0, AVX_BYTES);
    return 0;
}
