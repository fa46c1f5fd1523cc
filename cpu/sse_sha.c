// SHA-1 and SHA-256 steps (FIPS 180-4), as the SHA extension gives them. Doubleword 3 is the first of a group.
#include "cpu/fpu.h"

static inline uint32_t left(uint32_t value, unsigned count)
{
    return value << count | value >> (32 - count);
}

static inline uint32_t right(uint32_t value, unsigned count)
{
    return value >> count | value << (32 - count);
}

static uint64_t put(union vreg *dst, uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3)
{
    dst->u32[0] = w0;
    dst->u32[1] = w1;
    dst->u32[2] = w2;
    dst->u32[3] = w3;
    return 0;
}

// ---- SHA-1 --------------------------------------------------------------------------------------------------------
uint64_t simd_sha1nexte(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return put(dst, src->u32[0], src->u32[1], src->u32[2], src->u32[3] + left(dst->u32[3], 30));
}

uint64_t simd_sha1msg1(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return put(dst, dst->u32[0] ^ src->u32[2], dst->u32[1] ^ src->u32[3], dst->u32[2] ^ dst->u32[0],
               dst->u32[3] ^ dst->u32[1]);
}

uint64_t simd_sha1msg2(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    uint32_t w16 = left(dst->u32[3] ^ src->u32[2], 1), w17 = left(dst->u32[2] ^ src->u32[1], 1);
    uint32_t w18 = left(dst->u32[1] ^ src->u32[0], 1), w19 = left(dst->u32[0] ^ w16, 1);
    return put(dst, w19, w18, w17, w16);
}

static uint32_t sha1_function(unsigned group, uint32_t b, uint32_t c, uint32_t d)
{
    switch (group) {
    case 0:
        return (b & c) ^ (~b & d);
    case 2:
        return (b & c) ^ (b & d) ^ (c & d);
    default:
        return b ^ c ^ d;
    }
}

/// Four rounds; immediate: which twenty of the eighty they are of. src has E added to its first word already.
uint64_t simd_sha1rnds4(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    static const uint32_t constants[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    unsigned group = operand & 3;
    uint32_t a = dst->u32[3], b = dst->u32[2], c = dst->u32[1], d = dst->u32[0], e = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint32_t next = sha1_function(group, b, c, d) + left(a, 5) + src->u32[3 - i] + e + constants[group];
        e = d;
        d = c;
        c = left(b, 30);
        b = a;
        a = next;
    }
    return put(dst, d, c, b, a);
}

// ---- SHA-256 ------------------------------------------------------------------------------------------------------
static inline uint32_t sigma0(uint32_t value)
{
    return right(value, 7) ^ right(value, 18) ^ value >> 3;
}

static inline uint32_t sigma1(uint32_t value)
{
    return right(value, 17) ^ right(value, 19) ^ value >> 10;
}

uint64_t simd_sha256msg1(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return put(dst, dst->u32[0] + sigma0(dst->u32[1]), dst->u32[1] + sigma0(dst->u32[2]),
               dst->u32[2] + sigma0(dst->u32[3]), dst->u32[3] + sigma0(src->u32[0]));
}

uint64_t simd_sha256msg2(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    uint32_t w16 = dst->u32[0] + sigma1(src->u32[2]), w17 = dst->u32[1] + sigma1(src->u32[3]);
    return put(dst, w16, w17, dst->u32[2] + sigma1(w16), dst->u32[3] + sigma1(w17));
}

/// Two rounds: dst has C D G H, src A B E F (from doubleword 3 down), XMM0 the words with their constants.
uint64_t simd_sha256rnds2(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    uint32_t a = src->u32[3], b = src->u32[2], c = dst->u32[3], d = dst->u32[2];
    uint32_t e = src->u32[1], f = src->u32[0], g = dst->u32[1], h = dst->u32[0];
    const uint32_t words[2] = {cpu->vreg[0].u32[0], cpu->vreg[0].u32[1]};
    for (unsigned i = 0; i < 2; i++) {
        uint32_t first = h + ((e & f) ^ (~e & g)) + (right(e, 6) ^ right(e, 11) ^ right(e, 25)) + words[i];
        uint32_t second = ((a & b) ^ (a & c) ^ (b & c)) + (right(a, 2) ^ right(a, 13) ^ right(a, 22));
        h = g;
        g = f;
        f = e;
        e = d + first;
        d = c;
        c = b;
        b = a;
        a = first + second;
    }
    return put(dst, f, e, b, a);
}
