// The rarer arithmetic uops: double shifts, rotates, multiplication, division, bit operations (SDM vol. 2).
#include "cpu/interp_alu.h"

#include "base/bits.h"
#include "cpu/cc.h"

static uint64_t operand_b(const struct cpu *cpu, const struct uop *u)
{
    uint64_t value = u->b == VAR_IMM ? (uint64_t)u->imm : cpu->var[u->b];
    return value & bits_mask(8u << u->width);
}

/// Replaces the flags in `mask`.
static void set_flags(struct cpu *cpu, const struct uop *u, uint64_t mask, uint64_t flags)
{
    if (u->aux & UOP_SETS_FLAGS)
        cpu_set_flags_literal(cpu, (cc_all(cpu) & ~mask) | (flags & mask));
}

/// Of a logical operation, but for the carry.
static void set_logic_flags(struct cpu *cpu, const struct uop *u, uint64_t result, bool carry)
{
    if (!(u->aux & UOP_SETS_FLAGS))
        return;
    cpu->var[VAR_CC_OP] = cc_pack(CC_CARRY, u->width);
    cpu->var[VAR_CC_RESULT] = result;
    cpu->var[VAR_CC_EXTRA] = carry;
}

/// BSF, BSR: ZF by the operand; the others are undefined, and follow it as well.
static void set_operand_flags(struct cpu *cpu, const struct uop *u, uint64_t operand)
{
    if (!(u->aux & UOP_SETS_FLAGS))
        return;
    cpu->var[VAR_CC_OP] = cc_pack(CC_LOGIC, u->width);
    cpu->var[VAR_CC_RESULT] = operand;
}

static void rotate(struct cpu *cpu, const struct uop *u)
{
    unsigned bits = 8u << u->width, masked = (unsigned)operand_b(cpu, u) & (bits == 64 ? 63 : 31);
    uint64_t a = cpu->var[u->a] & bits_mask(bits), result;
    unsigned count = masked % bits;
    bool left = u->op == UOP_ROL, carry, other;

    result = a;
    if (count)
        result = left ? a << count | a >> (bits - count) : a >> count | a << (bits - count);
    result &= bits_mask(bits);
    cpu_write_var(cpu, u->dst, u->width, result);
    if (!masked)
        return;
    carry = left ? result & 1 : result >> (bits - 1) & 1;
    other = left ? result >> (bits - 1) & 1 : result >> (bits - 2) & 1;
    if (u->aux & UOP_SETS_FLAGS)
        cpu->var[VAR_CC_OP] = (cpu->var[VAR_CC_OP] & ~(uint64_t)(CC_CARRY_VALUE | CC_OVERFLOW_VALUE)) |
                              CC_CARRY_REPLACED | CC_OVERFLOW_REPLACED | (carry ? CC_CARRY_VALUE : 0) |
                              (carry != other ? CC_OVERFLOW_VALUE : 0);
}

static void rotate_carry(struct cpu *cpu, const struct uop *u)
{
    unsigned bits = 8u << u->width, masked = (unsigned)operand_b(cpu, u) & (bits == 64 ? 63 : 31);
    uint64_t result = cpu->var[u->a] & bits_mask(bits), flags = 0;
    unsigned carry = cc_carry(cpu), count = masked % (bits + 1);
    bool left = u->op == UOP_RCL;

    for (unsigned i = 0; i < count; i++) {
        unsigned out = left ? result >> (bits - 1) & 1 : result & 1;
        result = left ? (result << 1 | carry) & bits_mask(bits) : result >> 1 | (uint64_t)carry << (bits - 1);
        carry = out;
    }
    cpu_write_var(cpu, u->dst, u->width, result);
    if (!masked)
        return;
    flags |= carry ? FLAG_CF : 0;
    if (left)
        flags |= ((result >> (bits - 1)) ^ carry) & 1 ? FLAG_OF : 0;
    else
        flags |= ((result >> (bits - 1)) ^ (result >> (bits - 2))) & 1 ? FLAG_OF : 0;
    set_flags(cpu, u, FLAG_CF | FLAG_OF, flags);
}

static void double_shift(struct cpu *cpu, const struct uop *u)
{
    unsigned bits = 8u << u->width;
    uint64_t raw = u->c == VAR_IMM ? (uint64_t)u->imm : cpu->var[u->c];
    unsigned count = raw & (bits == 64 ? 63 : 31);
    uint64_t mask = bits_mask(bits), a = cpu->var[u->a] & mask, b = cpu->var[u->b] & mask, result, flags;
    bool left = u->op == UOP_SHLD, carry;

    if (!count) {
        cpu_write_var(cpu, u->dst, u->width, a);
        return;
    }
    // 16-bit operands may be shifted by more than their width (undefined): the bits come around from the first operand.
    if (left) {
        unsigned total = bits == 16 ? 48 : 2 * bits;
        unsigned __int128 all =
            bits == 16 ? (unsigned __int128)a << 32 | b << 16 | a : (unsigned __int128)a << bits | b;
        result = (uint64_t)(all >> (total - bits - count)) & mask;
        carry = (uint64_t)(all >> (total - count)) & 1;
    } else {
        unsigned __int128 all = (unsigned __int128)b << bits | a;
        if (bits == 16)
            all |= (unsigned __int128)a << 32;
        result = (uint64_t)(all >> count) & mask;
        carry = (uint64_t)(all >> (count - 1)) & 1;
    }
    cpu_write_var(cpu, u->dst, u->width, result);
    flags = cc_result_flags(result, u->width) | (carry ? FLAG_CF : 0);
    flags |= (a ^ result) >> (bits - 1) & 1 ? FLAG_OF : 0;
    set_flags(cpu, u, FLAGS_ARITHMETIC, flags);
}

static void multiply(struct cpu *cpu, const struct uop *u)
{
    unsigned bits = 8u << u->width;
    uint64_t a = cpu->var[u->a], b = operand_b(cpu, u), low, high;
    bool overflow;

    if (u->op == UOP_MUL) {
        unsigned __int128 product = (unsigned __int128)(a & bits_mask(bits)) * b;
        low = (uint64_t)product & bits_mask(bits);
        high = (uint64_t)(product >> bits) & bits_mask(bits);
        overflow = high != 0;
    } else {
        __int128 product = (__int128)bits_sign_extend(a, bits) * bits_sign_extend(b, bits);
        low = (uint64_t)product & bits_mask(bits);
        high = (uint64_t)(product >> bits) & bits_mask(bits);
        overflow = product != (__int128)bits_sign_extend(low, bits);
    }
    cpu_write_var(cpu, u->dst, u->width, low);
    if (u->op != UOP_IMUL_LOW)
        cpu_write_var(cpu, u->c, u->width, high);
    // SF as processors set it; ZF, AF and PF are undefined.
    if (!(u->aux & UOP_SETS_FLAGS))
        return;
    cpu->var[VAR_CC_OP] = cc_pack(CC_MUL, u->width);
    cpu->var[VAR_CC_RESULT] = low;
    cpu->var[VAR_CC_EXTRA] = overflow;
}

static bool divide_error(struct cpu *cpu)
{
    cpu_raise(cpu, VECTOR_DE);
    return false;
}

/// dst = quotient, c = remainder of b:a by the variable `sub`.
static bool divide(struct cpu *cpu, const struct uop *u)
{
    unsigned bits = 8u << u->width;
    uint64_t mask = bits_mask(bits), divisor = cpu->var[u->sub] & mask;
    unsigned __int128 dividend = (unsigned __int128)(cpu->var[u->b] & mask) << bits | (cpu->var[u->a] & mask);

    if (divisor == 0)
        return divide_error(cpu);
    if (u->op == UOP_DIV) {
        unsigned __int128 quotient;
        if ((cpu->var[u->b] & mask) == 0 && bits <= 64) {
            cpu_write_var(cpu, u->c, u->width, (cpu->var[u->a] & mask) % divisor);
            cpu_write_var(cpu, u->dst, u->width, (cpu->var[u->a] & mask) / divisor);
            return true;
        }
        quotient = dividend / divisor;
        if (quotient > mask)
            return divide_error(cpu);
        cpu_write_var(cpu, u->c, u->width, (uint64_t)(dividend % divisor));
        cpu_write_var(cpu, u->dst, u->width, (uint64_t)quotient);
        return true;
    }
    unsigned shift = 128 - 2 * bits;
    __int128 value = (__int128)(dividend << shift) >> shift, by = bits_sign_extend(divisor, bits), quotient;
    unsigned __int128 magnitude = value < 0 ? -(unsigned __int128)value : (unsigned __int128)value;
    unsigned __int128 q = magnitude / (unsigned __int128)(by < 0 ? -by : by);
    bool negative = (value < 0) != (by < 0);
    if (q > (unsigned __int128)(mask >> 1) + negative)
        return divide_error(cpu);
    quotient = negative ? -(__int128)q : (__int128)q;
    cpu_write_var(cpu, u->c, u->width, (uint64_t)(value - quotient * by));
    cpu_write_var(cpu, u->dst, u->width, (uint64_t)quotient);
    return true;
}

static void bit_test(struct cpu *cpu, const struct uop *u)
{
    unsigned bits = 8u << u->width;
    uint64_t a = cpu->var[u->a], bit = UINT64_C(1) << (operand_b(cpu, u) & (bits - 1));
    bool was = a & bit;
    if (u->op == UOP_BTS)
        cpu_write_var(cpu, u->dst, u->width, a | bit);
    else if (u->op == UOP_BTR)
        cpu_write_var(cpu, u->dst, u->width, a & ~bit);
    else if (u->op == UOP_BTC)
        cpu_write_var(cpu, u->dst, u->width, a ^ bit);
    if (u->aux & UOP_SETS_FLAGS)
        cc_replace_carry(cpu, was);
}

static void bit_scan(struct cpu *cpu, const struct uop *u)
{
    unsigned bits = 8u << u->width;
    uint64_t b = operand_b(cpu, u), result;
    switch (u->op) {
    case UOP_BSF:
        result = b ? (unsigned)__builtin_ctzll(b) : cpu->var[u->a];
        set_operand_flags(cpu, u, b);
        break;
    case UOP_BSR:
        result = b ? 63u - (unsigned)__builtin_clzll(b) : cpu->var[u->a];
        set_operand_flags(cpu, u, b);
        break;
    case UOP_TZCNT:
    case UOP_LZCNT:
        if (!b)
            result = bits;
        else
            result = u->op == UOP_TZCNT ? (unsigned)__builtin_ctzll(b) : (unsigned)__builtin_clzll(b) - (64 - bits);
        set_logic_flags(cpu, u, result, !b); // all but CF and ZF are undefined
        break;
    default: // UOP_POPCNT
        result = (unsigned)__builtin_popcountll(b);
        set_flags(cpu, u, FLAGS_ARITHMETIC, b ? 0 : FLAG_ZF);
        break;
    }
    // An unchanged destination of BSF/BSR keeps its upper half too.
    if (!b && (u->op == UOP_BSF || u->op == UOP_BSR)) {
        if (u->width != WIDTH_32 || u->dst != u->a)
            cpu_write_var(cpu, u->dst, u->width == WIDTH_32 ? WIDTH_64 : u->width, result);
        return;
    }
    cpu_write_var(cpu, u->dst, u->width, result);
}

/// BLSI, BLSR, BLSMSK.
static void lowest_bit(struct cpu *cpu, const struct uop *u)
{
    uint64_t a = cpu->var[u->a] & bits_mask(8u << u->width), result;
    bool carry = a == 0;
    if (u->op == UOP_BLSI) {
        result = a & -a;
        carry = !carry;
    } else
        result = u->op == UOP_BLSR ? a & (a - 1) : a ^ (a - 1);
    cpu_write_var(cpu, u->dst, u->width, result);
    set_logic_flags(cpu, u, result, carry);
}

/// BZHI, BEXTR.
static void bit_field(struct cpu *cpu, const struct uop *u)
{
    unsigned bits = 8u << u->width, low = (uint8_t)cpu->var[u->b], length = (uint8_t)(cpu->var[u->b] >> 8);
    uint64_t result = cpu->var[u->a] & bits_mask(bits);
    bool carry = u->op == UOP_BZHI && low >= bits;
    if (u->op == UOP_BZHI) {
        result &= low < bits ? bits_mask(low) : bits_mask(bits);
    } else {
        result = low < bits ? result >> low : 0;
        result &= length < bits ? bits_mask(length) : bits_mask(bits);
    }
    cpu_write_var(cpu, u->dst, u->width, result);
    set_logic_flags(cpu, u, result, carry);
}

/// PDEP, PEXT.
static void scatter_gather(struct cpu *cpu, const struct uop *u)
{
    uint64_t a = cpu->var[u->a], mask = cpu->var[u->b] & bits_mask(8u << u->width), result = 0;
    for (unsigned i = 0; mask; i++, mask &= mask - 1) {
        uint64_t bit = mask & -mask;
        if (u->op == UOP_PDEP)
            result |= a >> i & 1 ? bit : 0;
        else
            result |= a & bit ? UINT64_C(1) << i : 0;
    }
    cpu_write_var(cpu, u->dst, u->width, result);
}

static void add_with_flag(struct cpu *cpu, const struct uop *u)
{
    unsigned bits = 8u << u->width;
    uint64_t flags = cc_all(cpu), flag = u->sub ? FLAG_OF : FLAG_CF;
    unsigned __int128 sum = (unsigned __int128)(cpu->var[u->a] & bits_mask(bits)) + operand_b(cpu, u);
    sum += (flags & flag) != 0;
    cpu_write_var(cpu, u->dst, u->width, (uint64_t)sum);
    set_flags(cpu, u, flag, sum >> bits ? flag : 0);
}

/// A near branch faults itself, before it is taken (SDM vol. 2, JMP).
static bool check_target(struct cpu *cpu, uint64_t target)
{
    bool bad = target > cpu->segment[SEG_CS].limit;
    if ((cpu->mode & MODE_CODE_MASK) == MODE_CODE64)
        bad = (uint64_t)bits_sign_extend(target, cpu->mmu.linear_bits) != target;
    if (bad)
        cpu_raise_error(cpu, VECTOR_GP, 0);
    return !bad;
}

bool alu_execute(struct cpu *cpu, const struct uop *u)
{
    switch (u->op) {
    case UOP_NOP:
        break;
    case UOP_ROL:
    case UOP_ROR:
        rotate(cpu, u);
        break;
    case UOP_RCL:
    case UOP_RCR:
        rotate_carry(cpu, u);
        break;
    case UOP_SHLD:
    case UOP_SHRD:
        double_shift(cpu, u);
        break;
    case UOP_MUL:
    case UOP_IMUL:
    case UOP_IMUL_LOW:
        multiply(cpu, u);
        break;
    case UOP_DIV:
    case UOP_IDIV:
        return divide(cpu, u);
    case UOP_BT:
    case UOP_BTS:
    case UOP_BTR:
    case UOP_BTC:
        bit_test(cpu, u);
        break;
    case UOP_BSF:
    case UOP_BSR:
    case UOP_TZCNT:
    case UOP_LZCNT:
    case UOP_POPCNT:
        bit_scan(cpu, u);
        break;
    case UOP_BLSI:
    case UOP_BLSR:
    case UOP_BLSMSK:
        lowest_bit(cpu, u);
        break;
    case UOP_BZHI:
    case UOP_BEXTR:
        bit_field(cpu, u);
        break;
    case UOP_PDEP:
    case UOP_PEXT:
        scatter_gather(cpu, u);
        break;
    case UOP_ADX:
        add_with_flag(cpu, u);
        break;
    case UOP_BSWAP:
        cpu->var[u->dst] =
            u->width == WIDTH_32 ? __builtin_bswap32((uint32_t)cpu->var[u->a]) : __builtin_bswap64(cpu->var[u->a]);
        break;
    case UOP_SELECT_Z:
        cpu->var[u->dst] = cpu->var[u->c] & bits_mask(8u << u->width) ? cpu->var[u->a] : cpu->var[u->b];
        break;
    case UOP_CHECK_TARGET:
        return check_target(cpu, cpu->var[u->a]);
    case UOP_GET_FLAGS:
        cpu->var[u->dst] = cc_all(cpu);
        break;
    case UOP_SET_FLAGS:
        cpu_set_flags_literal(cpu, (cc_all(cpu) & ~(uint64_t)u->imm) | (cpu->var[u->a] & (uint64_t)u->imm));
        break;
    case UOP_FENCE:
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        break;
    case UOP_CALL: // of an odd width: a lift that forgot it is a bug that tests must see
    default:
        cpu_raise(cpu, VECTOR_UD);
        return false;
    }
    return true;
}

bool alu_execute_word(struct cpu *cpu, uint64_t word, uint64_t imm)
{
    const struct uop u = {.op = (uint8_t)word,
                          .width = (uint8_t)(word >> 8),
                          .dst = (uint8_t)(word >> 16),
                          .a = (uint8_t)(word >> 24),
                          .b = (uint8_t)(word >> 32),
                          .c = (uint8_t)(word >> 40),
                          .sub = (uint8_t)(word >> 48),
                          .aux = (uint8_t)(word >> 56),
                          .imm = (int64_t)imm};
    return alu_execute(cpu, &u);
}
