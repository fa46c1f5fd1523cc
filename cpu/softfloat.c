// See softfloat.h.
#include "cpu/softfloat.h"

#include "base/bits.h"

typedef unsigned __int128 u128;

const struct soft_format soft_half = {11, -14, 15};
const struct soft_format soft_single = {24, -126, 127};
const struct soft_format soft_double = {53, -1022, 1023};
const struct soft_format soft_extended = {64, -16382, 16383};

struct soft soft_default_nan(void)
{
    return (struct soft){.class = SOFT_QNAN, .sign = true, .significand = UINT64_C(3) << 62};
}

static struct soft zero(bool sign)
{
    return (struct soft){.class = SOFT_ZERO, .sign = sign};
}

static struct soft infinity(bool sign)
{
    return (struct soft){.class = SOFT_INFINITY, .sign = sign, .significand = BIT(63)};
}

static struct soft invalid(struct soft_context *context)
{
    context->flags |= SOFT_IE;
    return soft_default_nan();
}

// ---- Formats ------------------------------------------------------------------------------------------------------
static struct soft classify(bool sign, bool top, bool bottom, int exponent, uint64_t fraction)
{
    struct soft value = {.sign = sign, .exponent = exponent, .significand = fraction};
    if (top)
        value.class = !(fraction << 1) ? SOFT_INFINITY : fraction & BIT(62) ? SOFT_QNAN : SOFT_SNAN;
    else if (!fraction)
        value.class = SOFT_ZERO;
    else
        value.class = SOFT_FINITE;
    value.denormal = bottom && fraction;
    if (value.class == SOFT_FINITE) {
        unsigned shift = (unsigned)__builtin_clzll(fraction);
        value.significand = fraction << shift;
        value.exponent -= (int)shift;
    }
    return value;
}

struct soft soft_unpack(uint64_t bits, bool is_double)
{
    unsigned width = is_double ? 52 : 23, top = is_double ? 0x7ff : 0xff;
    unsigned exponent = (unsigned)(bits >> width) & top;
    uint64_t fraction = (bits & bits_mask(width)) << (63 - width);
    if (exponent)
        fraction |= BIT(63);
    int unbiased = (int)(exponent ? exponent : 1) - (int)(top >> 1);
    return classify(bits >> (is_double ? 63 : 31) & 1, exponent == top, !exponent, unbiased, fraction);
}

struct soft soft_unpack80(uint64_t significand, uint16_t sign_exponent)
{
    unsigned exponent = sign_exponent & 0x7fff;
    struct soft value = classify(sign_exponent >> 15, exponent == 0x7fff, !exponent,
                                 (int)(exponent ? exponent : 1) - 16383, significand);
    if (exponent && !(significand >> 63))
        value.class = SOFT_UNSUPPORTED;
    return value;
}

static uint64_t pack_parts(struct soft value, int minimum, unsigned top, uint64_t *significand)
{
    switch (value.class) {
    case SOFT_ZERO:
        *significand = 0;
        return 0;
    case SOFT_FINITE:
        *significand = value.significand;
        if (value.exponent >= minimum)
            return (uint64_t)value.exponent - (uint64_t)minimum + 1;
        *significand = minimum - value.exponent < 64 ? value.significand >> (minimum - value.exponent) : 0;
        return 0;
    default:
        *significand = value.significand | BIT(63);
        return top;
    }
}

uint64_t soft_pack(struct soft value, bool is_double)
{
    unsigned width = is_double ? 52 : 23;
    uint64_t significand,
        exponent = pack_parts(value, is_double ? -1022 : -126, is_double ? 0x7ff : 0xff, &significand);
    return (uint64_t)value.sign << (is_double ? 63 : 31) | exponent << width |
           (significand >> (63 - width) & bits_mask(width));
}

void soft_pack80(struct soft value, uint64_t *significand, uint16_t *sign_exponent)
{
    *sign_exponent = (uint16_t)(pack_parts(value, -16382, 0x7fff, significand) | (value.sign ? 0x8000u : 0));
}

struct soft soft_unpack16(uint16_t bits)
{
    unsigned exponent = bits >> 10 & 31;
    uint64_t fraction = ((uint64_t)bits & 0x3ff) << 53;
    if (exponent)
        fraction |= BIT(63);
    return classify(bits >> 15, exponent == 31, !exponent, (int)(exponent ? exponent : 1) - 15, fraction);
}

uint16_t soft_pack16(struct soft value)
{
    uint64_t significand, exponent = pack_parts(value, soft_half.minimum, 31, &significand);
    return (uint16_t)((value.sign ? 0x8000u : 0) | exponent << 10 | (significand >> 53 & 0x3ff));
}

struct soft soft_from_integer(int64_t integer)
{
    uint64_t magnitude = integer < 0 ? -(uint64_t)integer : (uint64_t)integer;
    return classify(integer < 0, false, false, 63, magnitude);
}

// ---- Rounding -----------------------------------------------------------------------------------------------------
static u128 shift_jam(u128 value, unsigned count)
{
    if (count == 0)
        return value;
    if (count > 127)
        return value != 0;
    return value >> count | ((value << (128 - count)) != 0);
}

static bool rounds_up(unsigned rounding, bool sign, bool odd, u128 rest, u128 half)
{
    switch (rounding) {
    case SOFT_NEAREST:
        return rest > half || (rest == half && odd);
    case SOFT_DOWN:
        return sign && rest;
    case SOFT_UP:
        return !sign && rest;
    default:
        return false;
    }
}

/// Cuts `value` (bit 127 stands for 1.0 or is clear for a denormal) to the upper `bits`; a carry out of bit 127 shifts
/// and increments *exponent.
static uint64_t cut(u128 value, unsigned bits, unsigned rounding, bool sign, int *exponent, bool *inexact, bool *up)
{
    u128 unit = (u128)1 << (128 - bits), rest = value & (unit - 1);
    value -= rest;
    *inexact = rest != 0;
    *up = rounds_up(rounding, sign, (value & unit) != 0, rest, unit >> 1);
    if (*up) {
        value += unit;
        if (!value) {
            value = (u128)1 << 127;
            ++*exponent;
        }
    }
    return (uint64_t)(value >> 64);
}

static struct soft overflow(struct soft_context *context, struct soft value, bool inexact)
{
    context->flags |= SOFT_OE;
    if (!(context->masks & SOFT_OE)) {
        context->flags |= inexact ? SOFT_PE : 0;
        value.exponent -= 24576;
        return value;
    }
    context->flags |= SOFT_PE;
    bool to_infinity = context->rounding == SOFT_NEAREST || context->rounding == (value.sign ? SOFT_DOWN : SOFT_UP);
    context->rounded_up = to_infinity;
    if (to_infinity)
        return infinity(value.sign);
    value.exponent = context->format.maximum;
    value.significand = UINT64_MAX << (64 - context->format.bits);
    return value;
}

struct soft soft_finish(struct soft_context *context, bool sign, int exponent, u128 value)
{
    if (!value)
        return zero(sign);
    uint64_t high = (uint64_t)(value >> 64);
    unsigned shift = high ? (unsigned)__builtin_clzll(high) : 64 + (unsigned)__builtin_clzll((uint64_t)value);
    value <<= shift;
    exponent -= (int)shift;
    struct soft result = {.class = SOFT_FINITE, .sign = sign, .exponent = exponent};
    bool inexact, up;
    result.significand = cut(value, context->format.bits, context->rounding, sign, &result.exponent, &inexact, &up);
    context->rounded_up = up;
    if (result.exponent > context->format.maximum)
        return overflow(context, result, inexact);
    bool tiny = result.exponent < context->format.minimum;
    if (tiny && !(context->masks & SOFT_UE)) {
        context->flags |= SOFT_UE | (inexact ? SOFT_PE : 0);
        result.exponent += 24576;
        return result;
    }
    if (tiny && context->flush) {
        context->flags |= SOFT_UE | SOFT_PE;
        return zero(sign);
    }
    if (exponent < context->format.minimum) { // lose bits as a denormal must
        unsigned lost = (unsigned)(context->format.minimum - exponent);
        int carry = 0;
        uint64_t significand =
            cut(shift_jam(value, lost), context->format.bits, context->rounding, sign, &carry, &inexact, &up);
        context->rounded_up = up;
        if (!significand) {
            context->flags |= SOFT_UE | SOFT_PE;
            return zero(sign);
        }
        unsigned leading = (unsigned)__builtin_clzll(significand);
        result.significand = significand << leading;
        result.exponent = context->format.minimum - (int)leading;
    }
    context->flags |= inexact ? SOFT_PE | (tiny ? SOFT_UE : 0) : 0;
    return result;
}

struct soft soft_round(struct soft_context *context, struct soft a)
{
    return a.class == SOFT_FINITE ? soft_finish(context, a.sign, a.exponent, (u128)a.significand << 64) : a;
}

// ---- Arithmetic ---------------------------------------------------------------------------------------------------
struct soft soft_add(struct soft_context *context, struct soft a, struct soft b)
{
    if (a.class == SOFT_INFINITY || b.class == SOFT_INFINITY) {
        if (a.class == b.class && a.sign != b.sign)
            return invalid(context);
        return infinity(a.class == SOFT_INFINITY ? a.sign : b.sign);
    }
    if (a.class == SOFT_ZERO && b.class == SOFT_ZERO)
        return zero(a.sign == b.sign ? a.sign : context->rounding == SOFT_DOWN);
    if (a.class == SOFT_ZERO || b.class == SOFT_ZERO)
        return soft_round(context, a.class == SOFT_ZERO ? b : a);
    if (a.exponent < b.exponent || (a.exponent == b.exponent && a.significand < b.significand)) {
        struct soft swap = a;
        a = b;
        b = swap;
    }
    u128 big = (u128)a.significand << 62,
         small = shift_jam((u128)b.significand << 62, (unsigned)(a.exponent - b.exponent));
    u128 sum = a.sign == b.sign ? big + small : big - small;
    if (!sum)
        return zero(context->rounding == SOFT_DOWN);
    return soft_finish(context, a.sign, a.exponent + 2, sum);
}

struct soft soft_multiply(struct soft_context *context, struct soft a, struct soft b)
{
    bool sign = a.sign != b.sign;
    if (a.class == SOFT_INFINITY || b.class == SOFT_INFINITY)
        return a.class == SOFT_ZERO || b.class == SOFT_ZERO ? invalid(context) : infinity(sign);
    if (a.class == SOFT_ZERO || b.class == SOFT_ZERO)
        return zero(sign);
    return soft_finish(context, sign, a.exponent + b.exponent + 1, (u128)a.significand * b.significand);
}

struct soft soft_multiply_add(struct soft_context *context, struct soft a, struct soft b, struct soft c)
{
    bool sign = a.sign != b.sign, swap;
    if (a.class == SOFT_INFINITY || b.class == SOFT_INFINITY) {
        if (a.class == SOFT_ZERO || b.class == SOFT_ZERO || (c.class == SOFT_INFINITY && c.sign != sign))
            return invalid(context);
        return infinity(sign);
    }
    if (c.class == SOFT_INFINITY)
        return c;
    if (a.class == SOFT_ZERO || b.class == SOFT_ZERO) {
        if (c.class == SOFT_ZERO)
            return zero(sign == c.sign ? sign : context->rounding == SOFT_DOWN);
        return soft_round(context, c);
    }
    if (c.class == SOFT_ZERO)
        return soft_multiply(context, a, b);
    // The low 22 bits of the product are zeros, so that it can make room for a carry, and for one place more, exactly.
    // Farther away only the sum's lowest bit is not.
    u128 product = (u128)a.significand * b.significand >> 2, addend = (u128)c.significand << 62;
    int exponent = a.exponent + b.exponent + 1, difference = exponent - c.exponent;
    swap = difference < 0;
    u128 big = swap ? addend : product, small = swap ? product : addend;
    small = shift_jam(small, (unsigned)(swap ? -difference : difference));
    exponent = swap ? c.exponent : exponent;
    if (sign == c.sign)
        return soft_finish(context, sign, exponent + 2, big + small);
    if (big == small)
        return zero(context->rounding == SOFT_DOWN);
    bool negative = big < small; // their exponents are the same, but the product may begin one place lower
    return soft_finish(context, swap != negative ? c.sign : sign, exponent + 2, negative ? small - big : big - small);
}

struct soft soft_divide(struct soft_context *context, struct soft a, struct soft b)
{
    bool sign = a.sign != b.sign;
    if (a.class == b.class && a.class != SOFT_FINITE)
        return invalid(context);
    if (a.class == SOFT_INFINITY)
        return infinity(sign);
    if (b.class == SOFT_INFINITY || a.class == SOFT_ZERO)
        return zero(sign);
    if (b.class == SOFT_ZERO) {
        context->flags |= SOFT_ZE;
        return infinity(sign);
    }
    u128 dividend = (u128)a.significand << 63;
    u128 high = dividend / b.significand, rest = dividend % b.significand;
    u128 low = (rest << 64) / b.significand;
    u128 quotient = high << 64 | low | ((rest << 64) % b.significand != 0);
    return soft_finish(context, sign, a.exponent - b.exponent, quotient);
}

struct soft soft_sqrt(struct soft_context *context, struct soft a)
{
    if (a.class == SOFT_ZERO || (a.class == SOFT_INFINITY && !a.sign))
        return a;
    if (a.sign)
        return invalid(context);
    // Digit by digit, two bits of the radicand (1 <= r < 4, 64 bits of fraction) a step.
    u128 radicand = (u128)a.significand << (a.exponent & 1 ? 2 : 1), rest = 0, root = 0;
    for (unsigned i = 0; i < 66; i++) {
        rest = rest << 2 | (i < 33 ? radicand >> (64 - 2 * i) & 3 : 0);
        u128 trial = root << 2 | 1;
        root <<= 1;
        if (rest >= trial) {
            rest -= trial;
            root |= 1;
        }
    }
    return soft_finish(context, false, a.exponent >> 1, root << 62 | (rest != 0));
}

int64_t soft_to_integer(struct soft_context *context, struct soft a, unsigned bits)
{
    int64_t lowest = (int64_t)(UINT64_MAX << (bits - 1));
    if (a.class == SOFT_ZERO)
        return 0;
    if (a.class != SOFT_FINITE || a.exponent >= 64) {
        context->flags |= SOFT_IE;
        return lowest;
    }
    u128 value = shift_jam((u128)a.significand << 63, 63 - (unsigned)(a.exponent < -64 ? -64 : a.exponent));
    // Now the integer stands above bit 62.
    u128 rest = value & (BIT(63) - 1), integer = value >> 63;
    bool up = rounds_up(context->rounding, a.sign, integer & 1, rest, BIT(62));
    integer += up;
    if (integer > BIT(bits - 1) - !a.sign) {
        context->flags |= SOFT_IE;
        return lowest;
    }
    context->rounded_up = up;
    context->flags |= rest ? SOFT_PE : 0;
    return a.sign ? (int64_t) - (uint64_t)integer : (int64_t)integer;
}

int soft_compare(struct soft a, struct soft b)
{
    if (a.class == SOFT_ZERO && b.class == SOFT_ZERO)
        return 0;
    int sign_a = a.class == SOFT_ZERO ? 0 : a.sign ? -1 : 1, sign_b = b.class == SOFT_ZERO ? 0 : b.sign ? -1 : 1;
    if (sign_a != sign_b)
        return sign_a < sign_b ? -1 : 1;
    int magnitude;
    if (a.class == SOFT_INFINITY || b.class == SOFT_INFINITY)
        magnitude = (a.class == SOFT_INFINITY) - (b.class == SOFT_INFINITY);
    else if (a.exponent != b.exponent)
        magnitude = a.exponent < b.exponent ? -1 : 1;
    else
        magnitude = (a.significand > b.significand) - (a.significand < b.significand);
    return sign_a * magnitude;
}
