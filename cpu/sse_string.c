// SSE4.2's string comparisons, PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM vol. 2, "Imm8 control byte").
#include "cpu/fpu.h"
#include "cpu/helper.h"

// The operand of the functions: immediate, then (PCMPESTRx) the numbers of valid elements.
#define STRING_LENGTH_DST 16
#define STRING_LENGTH_SRC 24

static inline unsigned elements(uint64_t immediate)
{
    return immediate & 1 ? 8 : 16;
}

static uint64_t clamp_length(uint64_t value, bool wide, unsigned count)
{
    int64_t length = wide ? (int64_t)value : (int32_t)(uint32_t)value;
    return length >= (int64_t)count || length <= -(int64_t)count ? count : (uint64_t)(length < 0 ? -length : length);
}

/// a = RAX, b = RDX, imm = immediate byte | 0x100 for 64-bit lengths; returns the operand for the row's function.
uint64_t helper_string_lengths(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    bool wide = imm & 0x100;
    unsigned count = elements(imm);
    return (imm & SIMD_IMMEDIATE) | clamp_length(a, wide, count) << STRING_LENGTH_DST |
           clamp_length(b, wide, count) << STRING_LENGTH_SRC;
}

struct strings {
    unsigned count; // elements of a register
    unsigned dst_length, src_length;
    int32_t dst[16], src[16];
};

static int32_t element(const union vreg *v, unsigned format, unsigned i)
{
    switch (format) {
    case 0:
        return v->u8[i];
    case 1:
        return v->u16[i];
    case 2:
        return v->s8[i];
    default:
        return v->s16[i];
    }
}

static void get_elements(struct strings *strings, const union vreg *dst, const union vreg *src, uint64_t operand)
{
    strings->count = elements(operand);
    for (unsigned i = 0; i < strings->count; i++) {
        strings->dst[i] = element(dst, operand & 3, i);
        strings->src[i] = element(src, operand & 3, i);
    }
}

/// Up to the first zero.
static unsigned implicit_length(const int32_t *from, unsigned count)
{
    unsigned length = 0;
    while (length < count && from[length])
        length++;
    return length;
}

// ---- Aggregations: a bit for each element of the source -----------------------------------------------------------
static uint32_t equal_any(const struct strings *s)
{
    uint32_t bits = 0;
    for (unsigned j = 0; j < s->src_length; j++)
        for (unsigned i = 0; i < s->dst_length; i++)
            bits |= (uint32_t)(s->src[j] == s->dst[i]) << j;
    return bits;
}

/// dst has pairs: from, to.
static uint32_t ranges(const struct strings *s)
{
    uint32_t bits = 0;
    for (unsigned j = 0; j < s->src_length; j++)
        for (unsigned i = 0; i + 1 < s->dst_length; i += 2)
            bits |= (uint32_t)(s->src[j] >= s->dst[i] && s->src[j] <= s->dst[i + 1]) << j;
    return bits;
}

static uint32_t equal_each(const struct strings *s)
{
    uint32_t bits = 0;
    for (unsigned i = 0; i < s->count; i++) {
        bool in_dst = i < s->dst_length, in_src = i < s->src_length;
        bits |= (uint32_t)(in_dst && in_src ? s->dst[i] == s->src[i] : in_dst == in_src) << i;
    }
    return bits;
}

/// Where dst begins inside src; it may reach beyond the register's end.
static uint32_t equal_ordered(const struct strings *s)
{
    uint32_t bits = 0;
    for (unsigned j = 0; j < s->count; j++) {
        bool same = true;
        for (unsigned i = 0; i < s->dst_length && j + i < s->count; i++)
            same &= j + i < s->src_length && s->dst[i] == s->src[j + i];
        bits |= (uint32_t)same << j;
    }
    return bits;
}

static uint32_t aggregate(const struct strings *strings, uint64_t operand)
{
    uint32_t bits = 0, all = (1u << strings->count) - 1;
    switch (operand >> 2 & 3) {
    case 0:
        bits = equal_any(strings);
        break;
    case 1:
        bits = ranges(strings);
        break;
    case 2:
        bits = equal_each(strings);
        break;
    default:
        bits = equal_ordered(strings);
    }
    switch (operand >> 4 & 3) {
    case 1:
        return bits ^ all;
    case 3:
        return bits ^ ((1u << strings->src_length) - 1);
    default:
        return bits;
    }
}

// ---- Results ------------------------------------------------------------------------------------------------------
static uint32_t compare(struct strings *strings, uint64_t operand, uint64_t *flags)
{
    uint32_t bits = aggregate(strings, operand);
    *flags = (bits ? FLAG_CF : 0) | (strings->src_length < strings->count ? FLAG_ZF : 0) |
             (strings->dst_length < strings->count ? FLAG_SF : 0) | (bits & 1 ? FLAG_OF : 0);
    return bits;
}

static uint32_t compare_explicit(const union vreg *dst, const union vreg *src, uint64_t operand, uint64_t *flags)
{
    struct strings strings;
    get_elements(&strings, dst, src, operand);
    strings.dst_length = (unsigned)(operand >> STRING_LENGTH_DST) & 0x1f;
    strings.src_length = (unsigned)(operand >> STRING_LENGTH_SRC) & 0x1f;
    return compare(&strings, operand, flags);
}

static uint32_t compare_implicit(const union vreg *dst, const union vreg *src, uint64_t operand, uint64_t *flags)
{
    struct strings strings;
    get_elements(&strings, dst, src, operand);
    strings.dst_length = implicit_length(strings.dst, strings.count);
    strings.src_length = implicit_length(strings.src, strings.count);
    return compare(&strings, operand, flags);
}

/// The first or last element that was found, from bit 32 on; flags below.
static uint64_t index_result(uint32_t bits, uint64_t flags, uint64_t operand)
{
    unsigned index = elements(operand);
    if (bits)
        index = (unsigned)(operand & 0x40 ? 31 - __builtin_clz(bits) : __builtin_ctz(bits));
    return flags | (uint64_t)index << 32;
}

/// The mask to dst: as bits, or a whole element for each bit.
static uint64_t mask_result(union vreg *dst, uint32_t bits, uint64_t flags, uint64_t operand)
{
    union vreg result;
    memset(&result, 0, 16);
    if (!(operand & 0x40)) {
        result.u32[0] = bits;
    } else {
        unsigned size = 16 / elements(operand);
        for (unsigned i = 0; i < 16; i++)
            result.u8[i] = bits >> i / size & 1 ? 0xff : 0;
    }
    memcpy(dst, &result, 16);
    return flags;
}

uint64_t simd_pcmpestri(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    uint64_t flags;
    uint32_t bits = compare_explicit(dst, src, operand, &flags);
    return index_result(bits, flags, operand);
}

uint64_t simd_pcmpistri(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    uint64_t flags;
    uint32_t bits = compare_implicit(dst, src, operand, &flags);
    return index_result(bits, flags, operand);
}

/// The mask takes the place of the string in dst: the lift gives a copy.
uint64_t simd_pcmpestrm(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    uint64_t flags;
    uint32_t bits = compare_explicit(dst, src, operand, &flags);
    return mask_result(dst, bits, flags, operand);
}

uint64_t simd_pcmpistrm(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    uint64_t flags;
    uint32_t bits = compare_implicit(dst, src, operand, &flags);
    return mask_result(dst, bits, flags, operand);
}
