// The transcendental functions of x87 in integers: 128 bits of significand until the one rounding at the end, so that
// results are those of the exact function but for one case in 2^50. Every finite argument is reduced with as many bits
// of pi as it needs.
#include "cpu/softfloat.h"

#include "base/bits.h"

typedef unsigned __int128 u128;

/// (-1)^sign * significand / 2^127 * 2^exponent; bit 127 is set, or the number is 0. Operations round towards zero and
/// keep "something was lost" in the lowest bit.
struct wide {
    u128 significand;
    int exponent;
    bool sign;
};

#define WIDE(high, low) ((u128)UINT64_C(high) << 64 | UINT64_C(low))
static const struct wide one = {.significand = (u128)1 << 127};
static const struct wide pi = {.significand = WIDE(0xc90fdaa22168c234, 0xc4c6628b80dc1cd1), .exponent = 1};
static const struct wide half_pi = {.significand = WIDE(0xc90fdaa22168c234, 0xc4c6628b80dc1cd1), .exponent = 0};
static const struct wide ln_2 = {.significand = WIDE(0xb17217f7d1cf79ab, 0xc9e3b39803f2f6af), .exponent = -1};
static const struct wide two_log2_e = {.significand = WIDE(0xb8aa3b295c17f0bb, 0xbe87fed0691d3e88), .exponent = 1};

// ---- Arithmetic ---------------------------------------------------------------------------------------------------
static struct wide normal(bool sign, int exponent, u128 significand)
{
    uint64_t high = (uint64_t)(significand >> 64), low = (uint64_t)significand;
    if (!significand)
        return (struct wide){.sign = sign};
    unsigned shift = high ? (unsigned)__builtin_clzll(high) : 64 + (unsigned)__builtin_clzll(low);
    return (struct wide){.significand = significand << shift, .exponent = exponent - (int)shift, .sign = sign};
}

static struct wide from_soft(struct soft a)
{
    return (struct wide){.significand = (u128)a.significand << 64, .exponent = a.exponent, .sign = a.sign};
}

static struct wide negate(struct wide a)
{
    a.sign = !a.sign;
    return a;
}

static struct wide multiply(struct wide a, struct wide b)
{
    uint64_t a1 = (uint64_t)(a.significand >> 64), a0 = (uint64_t)a.significand;
    uint64_t b1 = (uint64_t)(b.significand >> 64), b0 = (uint64_t)b.significand;
    u128 low = (u128)a0 * b0, middle = (u128)a1 * b0, other = (u128)a0 * b1, high = (u128)a1 * b1;
    u128 carry = (low >> 64) + (uint64_t)middle + (uint64_t)other;
    high += (middle >> 64) + (other >> 64) + (carry >> 64);
    bool lost = (uint64_t)carry || (uint64_t)low;
    if (!a.significand || !b.significand)
        return (struct wide){.sign = a.sign != b.sign};
    return normal(a.sign != b.sign, a.exponent + b.exponent + 1, high | lost);
}

static u128 shift_right(u128 value, unsigned count)
{
    if (count == 0)
        return value;
    if (count > 127)
        return value != 0;
    return value >> count | ((value << (128 - count)) != 0);
}

static struct wide add(struct wide a, struct wide b)
{
    if (!a.significand || !b.significand)
        return a.significand ? a : b;
    if (a.exponent < b.exponent || (a.exponent == b.exponent && a.significand < b.significand)) {
        struct wide swap = a;
        a = b;
        b = swap;
    }
    u128 small = shift_right(b.significand >> 1 | (b.significand & 1), (unsigned)(a.exponent - b.exponent));
    u128 big = a.significand >> 1 | (a.significand & 1);
    return normal(a.sign, a.exponent + 1, a.sign == b.sign ? big + small : big - small);
}

static struct wide subtract(struct wide a, struct wide b)
{
    return add(a, negate(b));
}

/// b is not 0.
static struct wide divide(struct wide a, struct wide b)
{
    u128 rest = a.significand, quotient = 0;
    bool carry = false;
    for (unsigned i = 0; i < 128; i++) { // a < 2b: one bit a step, the first before the point
        quotient <<= 1;
        if (carry || rest >= b.significand) {
            rest -= b.significand;
            quotient |= 1;
        }
        carry = rest >> 127;
        rest <<= 1;
    }
    return normal(a.sign != b.sign, a.exponent - b.exponent, quotient | (rest != 0 || carry));
}

/// By a small number that is not 0.
static struct wide divide_by(struct wide a, uint32_t by)
{
    u128 quotient = a.significand / by, rest = a.significand % by;
    unsigned shift = quotient >> 64 ? (unsigned)__builtin_clzll((uint64_t)(quotient >> 64)) : 63;
    quotient = quotient << shift | (rest << shift) / by;
    return normal(a.sign, a.exponent - (int)shift, quotient);
}

static bool is_negligible(struct wide term, struct wide sum)
{
    return !term.significand || term.exponent < sum.exponent - 130;
}

// ---- Sine, cosine, tangent ----------------------------------------------------------------------------------------
/// 320 bits of 2/pi behind the point, the highest first.
static const uint64_t two_over_pi[5] = {UINT64_C(0xa2f9836e4e441529), UINT64_C(0xfc2757d1f534ddc0),
                                        UINT64_C(0xdb6295993c439041), UINT64_C(0xfe5163abdebbc561),
                                        UINT64_C(0xb7246e3a424dd2e0)};

/// words[0] is the highest.
static void shift_left(uint64_t *words, unsigned count, unsigned by)
{
    unsigned whole = by / 64, bits = by % 64;
    for (unsigned i = 0; i < count; i++) {
        uint64_t high = i + whole < count ? words[i + whole] : 0,
                 low = i + whole + 1 < count ? words[i + whole + 1] : 0;
        words[i] = bits ? high << bits | low >> (64 - bits) : high;
    }
}

/// a = n * pi/2 + rest, |rest| <= pi/4; returns n & 3 for |a|, the rest with a's sign taken off. |a| < 2^63.
static unsigned reduce(struct soft a, struct wide *rest)
{
    uint64_t words[7] = {0}; // whole part, then the fraction
    u128 carry = 0;
    if (a.exponent < -1) { // below 1/2
        *rest = from_soft(a);
        rest->sign = false;
        return 0;
    }
    for (unsigned i = 5; i-- > 0;) {
        carry += (u128)a.significand * two_over_pi[i];
        words[i + 2] = (uint64_t)carry;
        carry >>= 64;
    }
    words[1] = (uint64_t)carry;
    shift_left(words, 7, (unsigned)(a.exponent + 1)); // the point stood 63 - exponent bits into the product
    unsigned quadrant = (unsigned)words[0] & 3;
    if (words[1] >> 63) { // nearer to the next multiple
        quadrant = (quadrant + 1) & 3;
        for (unsigned i = 1; i < 7; i++)
            words[i] = ~words[i];
        rest->sign = true;
    } else {
        rest->sign = false;
    }
    unsigned zeros = 0;
    while (zeros < 320 && !words[1 + zeros / 64])
        zeros += 64;
    if (words[1 + zeros / 64])
        zeros += (unsigned)__builtin_clzll(words[1 + zeros / 64]);
    shift_left(words + 1, 6, zeros);
    struct wide fraction = {
        .significand = (u128)words[1] << 64 | words[2] | 1, .exponent = -1 - (int)zeros, .sign = rest->sign};
    *rest = multiply(fraction, half_pi);
    return quadrant;
}

/// Sum of (-1)^k r^2k / (first + 1)(first + 2)..(first + 2k) for k from 0 on: cosine for first 0, sine / r for first 1.
static struct wide alternating_factorials(struct wide r, unsigned first)
{
    struct wide square = multiply(r, r), term = one, sum = one;
    for (unsigned n = first + 1; n < 200; n += 2) {
        term = negate(divide_by(multiply(term, square), n * (n + 1)));
        if (!term.significand)
            break;
        sum = add(sum, term);
        if (is_negligible(term, sum))
            break;
    }
    return sum;
}

static struct wide sine(struct wide r)
{
    return multiply(r, alternating_factorials(r, 1));
}

static struct wide cosine(struct wide r)
{
    return alternating_factorials(r, 0);
}

/// Sine and cosine of a finite number below 2^63.
static void sine_and_cosine(struct soft a, struct wide *sin, struct wide *cos)
{
    struct wide r;
    unsigned quadrant = reduce(a, &r);
    *sin = quadrant & 1 ? cosine(r) : sine(r);
    *cos = quadrant & 1 ? sine(r) : cosine(r);
    sin->sign ^= quadrant >= 2;
    cos->sign ^= quadrant == 1 || quadrant == 2;
    sin->sign ^= a.sign;
}

static struct soft invalid(struct soft_context *context)
{
    context->flags |= SOFT_IE;
    return soft_default_nan();
}

static struct soft zero(bool sign)
{
    return (struct soft){.class = SOFT_ZERO, .sign = sign};
}

static struct soft infinity(bool sign)
{
    return (struct soft){.class = SOFT_INFINITY, .sign = sign, .significand = BIT(63)};
}

static struct soft number_one(void)
{
    return (struct soft){.class = SOFT_FINITE, .significand = BIT(63)};
}

/// Rounds; what these functions give of finite numbers is never exact, or processors say so.
static struct soft inexact(struct soft_context *context, struct wide a)
{
    struct soft result = soft_finish(context, a.sign, a.exponent, a.significand);
    context->flags |= SOFT_PE;
    return result;
}

static struct soft irrational(struct soft_context *context, struct wide a)
{
    a.significand |= 1;
    return inexact(context, a);
}

struct soft soft_sin(struct soft_context *context, struct soft a)
{
    struct wide sin, cos;
    if (a.class == SOFT_INFINITY)
        return invalid(context);
    if (a.class == SOFT_ZERO)
        return a;
    sine_and_cosine(a, &sin, &cos);
    return irrational(context, sin);
}

struct soft soft_cos(struct soft_context *context, struct soft a)
{
    struct wide sin, cos;
    if (a.class == SOFT_INFINITY)
        return invalid(context);
    if (a.class == SOFT_ZERO)
        return number_one();
    sine_and_cosine(a, &sin, &cos);
    return irrational(context, cos);
}

struct soft soft_tan(struct soft_context *context, struct soft a)
{
    struct wide sin, cos;
    if (a.class == SOFT_INFINITY)
        return invalid(context);
    if (a.class == SOFT_ZERO)
        return a;
    sine_and_cosine(a, &sin, &cos);
    return irrational(context, divide(sin, cos));
}

// ---- Arctangent ---------------------------------------------------------------------------------------------------
/// atan(k/8)
static const struct wide arctangents[9] = {
    {0},
    {.significand = WIDE(0xfeadd4d5617b6e32, 0xc897989f3e888ef7), .exponent = -4},
    {.significand = WIDE(0xfadbafc96406eb15, 0x6dc79ef5f7a217e5), .exponent = -3},
    {.significand = WIDE(0xb7b0ca0f26f78473, 0x8aa32122dcfe4483), .exponent = -2},
    {.significand = WIDE(0xed63382b0dda7b45, 0x6fe445ecbc3a8d03), .exponent = -2},
    {.significand = WIDE(0x8f005d5ef7f59f9b, 0x5c835e1665c43747), .exponent = -1},
    {.significand = WIDE(0xa4bc7d1934f70924, 0x19a87f2a457dac9e), .exponent = -1},
    {.significand = WIDE(0xb8053e2bc2319e73, 0xcb2da55210a4443d), .exponent = -1},
    {.significand = WIDE(0xc90fdaa22168c234, 0xc4c6628b80dc1cd1), .exponent = -1},
};

/// Sum of sign^k s^2k / (2k + 1): atan(s) / s with alternating signs, atanh(s) / s without.
static struct wide odd_series(struct wide s, bool alternating)
{
    struct wide square = multiply(s, s), power = one, sum = one;
    for (unsigned n = 3; n < 400; n += 2) {
        power = multiply(power, square);
        power.sign = alternating && n % 4 == 3;
        struct wide term = divide_by(power, n);
        if (!term.significand)
            break;
        sum = add(sum, term);
        if (is_negligible(term, sum))
            break;
    }
    return sum;
}

/// 0 < t <= 1
static struct wide arctangent(struct wide t)
{
    unsigned k = 0; // t is near k/8
    if (t.exponent >= -4)
        k = (unsigned)((t.significand >> 64) >> (60 - t.exponent - 1)) + 1;
    k /= 2;
    if (k == 0)
        return multiply(t, odd_series(t, true));
    struct wide c = normal(false, 127 - 3, k); // k/8
    struct wide s = divide(subtract(t, c), add(one, multiply(t, c)));
    if (!s.significand)
        return arctangents[k];
    return add(arctangents[k], multiply(s, odd_series(s, true)));
}

struct soft soft_atan2(struct soft_context *context, struct soft y, struct soft x)
{
    bool y_infinite = y.class == SOFT_INFINITY, x_infinite = x.class == SOFT_INFINITY;
    struct wide angle = {0};
    if (y.class == SOFT_ZERO || (x_infinite && !y_infinite)) {
        if (!x.sign)
            return zero(y.sign);
        angle = pi;
    } else if (x.class == SOFT_ZERO || (y_infinite && !x_infinite)) {
        angle = half_pi;
    } else if (y_infinite) {
        angle = arctangents[8];
        if (x.sign)
            angle = subtract(pi, angle);
    } else {
        struct wide a = from_soft(y), b = from_soft(x);
        a.sign = b.sign = false;
        bool steep = y.exponent > x.exponent || (y.exponent == x.exponent && y.significand > x.significand);
        angle = arctangent(steep ? divide(b, a) : divide(a, b));
        if (steep)
            angle = subtract(half_pi, angle);
        if (x.sign)
            angle = subtract(pi, angle);
    }
    angle.sign = y.sign;
    return irrational(context, angle);
}

// ---- Logarithms, powers -------------------------------------------------------------------------------------------
/// 2 atanh(s) / ln 2 = log2((1 + s) / (1 - s))
static struct wide log2_of_ratio(struct wide s)
{
    return s.significand ? multiply(multiply(s, two_log2_e), odd_series(s, false)) : s;
}

/// a > 0
static struct wide log2_of(struct wide a)
{
    const u128 root = WIDE(0xb504f333f9de6484, 0x597d89b3754abe9f); // of 2
    int exponent = a.exponent;
    a.exponent = 0;
    if (a.significand > root) {
        a.exponent = -1;
        exponent++;
    }
    struct wide fraction = log2_of_ratio(divide(subtract(a, one), add(a, one)));
    struct wide whole = normal(exponent < 0, 127, (u128)(exponent < 0 ? -exponent : exponent));
    return add(whole, fraction);
}

/// y log: the operands with signs; log is not 0 unless it is exactly so.
static struct soft times_logarithm(struct soft_context *context, struct soft y, struct wide log)
{
    if (y.class == SOFT_INFINITY)
        return log.significand ? infinity(y.sign != log.sign) : invalid(context);
    if (y.class == SOFT_ZERO || !log.significand)
        return zero(y.sign != log.sign);
    return inexact(context, multiply(from_soft(y), log));
}

struct soft soft_y_log2(struct soft_context *context, struct soft y, struct soft x)
{
    if (x.class != SOFT_ZERO && x.sign)
        return invalid(context);
    if (x.class == SOFT_ZERO) {
        if (y.class == SOFT_ZERO)
            return invalid(context);
        context->flags |= y.class == SOFT_INFINITY ? 0 : SOFT_ZE;
        return infinity(!y.sign);
    }
    if (x.class == SOFT_INFINITY)
        return y.class == SOFT_ZERO ? invalid(context) : infinity(y.sign);
    struct wide log = log2_of(from_soft(x));
    if (!log.significand)
        log.sign = false; // of 1: +0
    return times_logarithm(context, y, log);
}

struct soft soft_y_log2p1(struct soft_context *context, struct soft y, struct soft x)
{
    struct wide log = {.sign = x.sign};
    if (x.class == SOFT_INFINITY) {
        if (x.sign || y.class == SOFT_ZERO)
            return invalid(context);
        return infinity(y.sign);
    }
    if (x.class == SOFT_FINITE) {
        if (x.sign && x.exponent >= 0 && y.class == SOFT_FINITE) { // no logarithm: processors give x back
            context->flags |= SOFT_PE;
            return x;
        }
        struct wide a = from_soft(x);
        if (x.exponent < -2)
            log = log2_of_ratio(divide(a, add(add(one, one), a)));
        else if (!x.sign || x.exponent < 0)
            log = log2_of(add(one, a));
        else
            log.significand = one.significand; // of what the sign is all that counts
    }
    return times_logarithm(context, y, log);
}

struct soft soft_exp2m1(struct soft_context *context, struct soft a)
{
    if (a.class == SOFT_INFINITY && a.sign)
        return (struct soft){.class = SOFT_FINITE, .sign = true, .significand = BIT(63)};
    if (a.class != SOFT_FINITE)
        return a;
    bool is_one = a.exponent == 0 && a.significand == BIT(63);
    if (a.exponent >= 0) { // out of range: processors give a back; 1 and -1 are exact
        context->flags |= SOFT_PE;
        a.exponent -= is_one && a.sign;
        return a;
    }
    struct wide z = multiply(from_soft(a), ln_2), term = one, sum = one;
    for (unsigned n = 2; n < 200; n++) {
        term = divide_by(multiply(term, z), n);
        if (!term.significand)
            break;
        sum = add(sum, term);
        if (is_negligible(term, sum))
            break;
    }
    return irrational(context, multiply(z, sum));
}
