// The six arithmetic flags from the recipe (SDM vol. 1 sec. 3.4.3.1), inline for the executors.
#ifndef DOPPEL_CPU_CC_H
#define DOPPEL_CPU_CC_H

#include "cpu/cpu.h"

static inline uint64_t cc_pack(enum cc_op op, unsigned width)
{
    return (uint64_t)op << 2 | width;
}

static inline unsigned cc_op_of(uint64_t cc)
{
    return (cc & CC_OP_BITS) >> 2;
}

/// The operation of a recipe, less the forms of others: those become the others.
static inline unsigned cc_plain(uint64_t cc, uint64_t *result, uint64_t *src)
{
    unsigned op = cc_op_of(cc);
    if (LIKELY(op < CC_TEST || op >= CC_OPS))
        return op;
    if (op >= CC_TEST_IMM)
        *src = (uint64_t)(int16_t)(cc >> CC_IMM_SHIFT);
    switch (op) {
    case CC_TEST:
    case CC_TEST_IMM:
        *result &= *src;
        return CC_LOGIC;
    case CC_CMP:
    case CC_CMP_IMM:
        *result -= *src;
        return CC_SUB;
    case CC_ADD_IMM:
        return CC_ADD;
    default:
        return CC_SUB;
    }
}

static inline uint64_t cc_parity(uint64_t result)
{
    return __builtin_parity(result & 0xff) ? 0 : FLAG_PF;
}

/// ZF, SF and PF of a result of `width`.
static inline uint64_t cc_result_flags(uint64_t result, unsigned width)
{
    unsigned bits = 8u << width;
    uint64_t flags = cc_parity(result);
    if ((result & bits_mask(bits)) == 0)
        flags |= FLAG_ZF;
    if (result >> (bits - 1) & 1)
        flags |= FLAG_SF;
    return flags;
}

/// All six flags of a recipe, none of them replaced. result, src: upper bits are ignored.
static inline uint64_t cc_recipe_flags(uint64_t cc, uint64_t result, uint64_t src, uint64_t extra)
{
    unsigned width = cc & 3, bits = 8u << width;
    uint64_t mask = bits_mask(bits), sign = UINT64_C(1) << (bits - 1), first, flags;

    unsigned op = cc_plain(cc, &result, &src);
    if (op == CC_LITERAL)
        return extra;
    result &= mask;
    src &= mask;
    flags = cc_result_flags(result, width);
    switch (op) {
    case CC_ADD:
    case CC_ADC:
        extra = op == CC_ADC ? extra & 1 : 0;
        first = (result - src - extra) & mask;
        flags |= (result < src || (extra && result == src)) ? FLAG_CF : 0;
        flags |= (first ^ src ^ result) & FLAG_AF;
        flags |= (first ^ result) & (src ^ result) & sign ? FLAG_OF : 0;
        break;
    case CC_SUB:
    case CC_SBB:
        extra = op == CC_SBB ? extra & 1 : 0;
        first = (result + src + extra) & mask;
        flags |= (first < src || (extra && first == src)) ? FLAG_CF : 0;
        flags |= (first ^ src ^ result) & FLAG_AF;
        flags |= (first ^ src) & (first ^ result) & sign ? FLAG_OF : 0;
        break;
    case CC_INC:
        flags |= extra & FLAG_CF;
        flags |= (result & 0xf) == 0 ? FLAG_AF : 0;
        flags |= result == sign ? FLAG_OF : 0;
        break;
    case CC_DEC:
        flags |= extra & FLAG_CF;
        flags |= (result & 0xf) == 0xf ? FLAG_AF : 0;
        flags |= result == sign - 1 ? FLAG_OF : 0;
        break;
    case CC_SHL:
        flags |= src & sign ? FLAG_CF : 0;
        flags |= (src ^ result) & sign ? FLAG_OF : 0;
        break;
    case CC_SHR:
        flags |= src & 1 ? FLAG_CF : 0;
        // The top bit of the first operand was lost unless count is 1; OF for other counts is undefined, and the
        // hardware gives the top bit of the value shifted by count-1.
        flags |= src & sign ? FLAG_OF : 0;
        break;
    case CC_SAR:
        flags |= src & 1 ? FLAG_CF : 0;
        break;
    case CC_CARRY:
        flags |= extra & FLAG_CF;
        break;
    case CC_MUL:
        flags &= FLAG_SF | FLAG_PF;
        flags |= extra & 1 ? FLAG_CF | FLAG_OF : 0;
        break;
    default: // CC_LOGIC
        break;
    }
    return flags;
}

/// All six flags.
static inline uint64_t cc_flags(uint64_t cc, uint64_t result, uint64_t src, uint64_t extra)
{
    uint64_t flags = cc_recipe_flags(cc, result, src, extra);
    if (!(cc & CC_CARRY_REPLACED))
        return flags;
    flags = (flags & ~(uint64_t)FLAG_CF) | (cc & CC_CARRY_VALUE ? FLAG_CF : 0);
    if (cc & CC_OVERFLOW_REPLACED)
        flags = (flags & ~(uint64_t)FLAG_OF) | (cc & CC_OVERFLOW_VALUE ? FLAG_OF : 0);
    return flags;
}

/// CF alone.
static inline void cc_replace_carry(struct cpu *cpu, bool carry)
{
    uint64_t cc = cpu->var[VAR_CC_OP] & ~(uint64_t)CC_CARRY_VALUE;
    if (!(cc & CC_CARRY_REPLACED))
        cc &= ~(uint64_t)CC_OVERFLOW_REPLACED;
    cpu->var[VAR_CC_OP] = cc | CC_CARRY_REPLACED | (carry ? CC_CARRY_VALUE : 0);
}

static inline uint64_t cc_all(const struct cpu *cpu)
{
    return cc_flags(cpu->var[VAR_CC_OP], cpu->var[VAR_CC_RESULT], cpu->var[VAR_CC_SRC], cpu->var[VAR_CC_EXTRA]);
}

static inline bool cc_carry(const struct cpu *cpu)
{
    uint64_t cc = cpu->var[VAR_CC_OP], result = cpu->var[VAR_CC_RESULT], src = cpu->var[VAR_CC_SRC];
    unsigned shift = 64 - (8u << (cc & 3));
    if (cc & CC_CARRY_REPLACED)
        return cc & CC_CARRY_VALUE;
    switch (cc_plain(cc, &result, &src)) {
    case CC_LITERAL:
    case CC_INC:
    case CC_DEC:
    case CC_CARRY:
    case CC_MUL:
        return cpu->var[VAR_CC_EXTRA] & FLAG_CF;
    case CC_ADD:
        return result << shift < src << shift;
    case CC_SUB:
        return (result + src) << shift < src << shift;
    case CC_LOGIC:
        return false;
    default:
        return cc_all(cpu) & FLAG_CF;
    }
}

/// Condition 0..15 (SDM vol. 1 appendix B) of given flags.
static inline bool cc_condition_of(uint64_t flags, unsigned condition)
{
    bool value;
    switch (condition >> 1) {
    case 0:
        value = flags & FLAG_OF;
        break;
    case 1:
        value = flags & FLAG_CF;
        break;
    case 2:
        value = flags & FLAG_ZF;
        break;
    case 3:
        value = flags & (FLAG_CF | FLAG_ZF);
        break;
    case 4:
        value = flags & FLAG_SF;
        break;
    case 5:
        value = flags & FLAG_PF;
        break;
    case 6:
        value = !(flags & FLAG_SF) != !(flags & FLAG_OF);
        break;
    default:
        value = !(flags & FLAG_SF) != !(flags & FLAG_OF) || (flags & FLAG_ZF);
        break;
    }
    return value != (condition & 1);
}

/// The condition of the recipe, without making all six flags where the common recipes allow.
static inline bool cc_condition(const struct cpu *cpu, unsigned condition)
{
    uint64_t cc = cpu->var[VAR_CC_OP];
    unsigned shift = 64 - (8u << (cc & 3)), op;
    uint64_t result = cpu->var[VAR_CC_RESULT], src = cpu->var[VAR_CC_SRC];
    bool value;

    if (cc & CC_CARRY_REPLACED)
        return cc_condition_of(cc_all(cpu), condition);
    op = cc_plain(cc, &result, &src);
    result <<= shift;
    if (op == CC_LITERAL)
        return cc_condition_of(cpu->var[VAR_CC_EXTRA], condition);
    if (op == CC_MUL)
        return cc_condition_of(cc_all(cpu), condition);
    if (condition >> 1 == 2)
        return (result == 0) != (condition & 1);
    if (condition >> 1 == 4)
        return ((int64_t)result < 0) != (condition & 1);
    if (op == CC_SUB) {
        uint64_t first;
        src <<= shift;
        first = result + src;
        switch (condition >> 1) {
        case 1:
            value = first < src;
            break;
        case 3:
            value = first <= src;
            break;
        case 6:
            value = (int64_t)first < (int64_t)src;
            break;
        case 7:
            value = (int64_t)first <= (int64_t)src;
            break;
        default:
            return cc_condition_of(cc_all(cpu), condition);
        }
        return value != (condition & 1);
    }
    return cc_condition_of(cc_all(cpu), condition);
}

#endif
