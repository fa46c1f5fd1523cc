// Floating point for hosts without x87: everything computed in integers (softfloat.h). Results and flags are the
// processor's, bit by bit; of the transcendental x87 functions they are those of the exact function, rounded.
#if !defined(__x86_64__) || defined(DOPPEL_PORTABLE_FPU)

#include "cpu/fpu_host.h"
#include "cpu/softfloat.h"

// ---- SSE ----------------------------------------------------------------------------------------------------------
static uint64_t get_bits(const union vreg *v, bool is_double, unsigned i)
{
    return is_double ? v->u64[i] : v->u32[i];
}

static void set_bits(union vreg *v, bool is_double, unsigned i, uint64_t bits)
{
    if (is_double)
        v->u64[i] = bits;
    else
        v->u32[i] = (uint32_t)bits;
}

static bool is_nan(struct soft a)
{
    return a.class == SOFT_QNAN || a.class == SOFT_SNAN;
}

static struct soft sse_operand(uint64_t bits, bool is_double, uint32_t mxcsr)
{
    struct soft value = soft_unpack(bits, is_double);
    if (value.denormal && (mxcsr & MXCSR_DAZ))
        value = (struct soft){.class = SOFT_ZERO, .sign = value.sign};
    return value;
}

static struct soft quiet(struct soft a)
{
    a.class = SOFT_QNAN;
    a.significand |= BIT(62);
    return a;
}

static struct soft_context sse_context(bool is_double, uint32_t mxcsr)
{
    return (struct soft_context){.format = is_double ? soft_double : soft_single,
                                 .rounding = mxcsr >> 13 & 3,
                                 .masks = X87_EXCEPTIONS,
                                 .flush = mxcsr & MXCSR_FTZ};
}

/// One lane of ADD .. SQRT.
static uint64_t arithmetic(unsigned operation, uint64_t a_bits, uint64_t b_bits, bool is_double, uint32_t mxcsr,
                           uint32_t *flags)
{
    struct soft_context context = sse_context(is_double, mxcsr);
    struct soft b = sse_operand(b_bits, is_double, mxcsr);
    struct soft a = operation == SSE_SQRTPS / 4 ? b : sse_operand(a_bits, is_double, mxcsr), result;
    bool minimum = operation == SSE_MINPS / 4, maximum = operation == SSE_MAXPS / 4;
    if (is_nan(a) || is_nan(b)) {
        if (a.class == SOFT_SNAN || b.class == SOFT_SNAN || minimum || maximum)
            *flags |= MXCSR_IE;
        return soft_pack(minimum || maximum ? b : quiet(is_nan(a) ? a : b), is_double);
    }
    if (minimum || maximum) {
        *flags |= a.denormal || b.denormal ? MXCSR_DE : 0;
        int order = soft_compare(a, b);
        return soft_pack(minimum ? (order < 0 ? a : b) : (order > 0 ? a : b), is_double);
    }
    switch (operation) {
    case SSE_ADDPS / 4:
        result = soft_add(&context, a, b);
        break;
    case SSE_SUBPS / 4:
        b.sign = !b.sign;
        result = soft_add(&context, a, b);
        break;
    case SSE_MULPS / 4:
        result = soft_multiply(&context, a, b);
        break;
    case SSE_DIVPS / 4:
        result = soft_divide(&context, a, b);
        break;
    default:
        result = soft_sqrt(&context, a);
    }
    if (!(context.flags & (SOFT_IE | SOFT_ZE)) && (a.denormal || b.denormal))
        context.flags |= SOFT_DE;
    *flags |= context.flags;
    return soft_pack(result, is_double);
}

/// Ordering of a and b with the exceptions of a comparison: -1, 0, 1, or 2 for unordered.
static int compare(uint64_t a_bits, uint64_t b_bits, bool is_double, bool signals, uint32_t mxcsr, uint32_t *flags)
{
    struct soft a = sse_operand(a_bits, is_double, mxcsr), b = sse_operand(b_bits, is_double, mxcsr);
    if (is_nan(a) || is_nan(b)) {
        if (signals || a.class == SOFT_SNAN || b.class == SOFT_SNAN)
            *flags |= MXCSR_IE;
        return 2;
    }
    *flags |= a.denormal || b.denormal ? MXCSR_DE : 0;
    return soft_compare(a, b);
}

static bool predicate_holds(unsigned predicate, int order)
{
    bool holds = (const bool[]){order == 0, order == -1, order == -1 || order == 0, order == 2}[predicate & 3];
    return holds != (predicate >> 2 & 1);
}

static uint64_t convert_to_integer(uint64_t bits, bool is_double, bool truncate, unsigned width, uint32_t mxcsr,
                                   uint32_t *flags)
{
    struct soft_context context = sse_context(is_double, mxcsr);
    if (truncate)
        context.rounding = SOFT_TRUNCATE;
    uint64_t integer = (uint64_t)soft_to_integer(&context, sse_operand(bits, is_double, mxcsr), width);
    *flags |= context.flags;
    return integer;
}

static uint64_t convert_float(uint64_t bits, bool from_double, uint32_t mxcsr, uint32_t *flags)
{
    struct soft_context context = sse_context(!from_double, mxcsr);
    struct soft value = sse_operand(bits, from_double, mxcsr);
    if (is_nan(value)) {
        *flags |= value.class == SOFT_SNAN ? MXCSR_IE : 0;
        return soft_pack(quiet(value), !from_double);
    }
    struct soft result = soft_round(&context, value);
    *flags |= context.flags | (value.denormal ? MXCSR_DE : 0);
    return soft_pack(result, !from_double);
}

static uint64_t convert_integer(int64_t integer, bool to_double, uint32_t mxcsr, uint32_t *flags)
{
    struct soft_context context = sse_context(to_double, mxcsr);
    struct soft result = soft_round(&context, soft_from_integer(integer));
    *flags |= context.flags;
    return soft_pack(result, to_double);
}

/// 12 bits of 1/x or 1/sqrt(x): denormals count as zeros.
static uint32_t approximate(uint32_t bits, bool root)
{
    uint32_t ignored = 0, zeros = MXCSR_DEFAULT | MXCSR_DAZ | MXCSR_FTZ;
    const uint64_t one = 0x3f800000;
    uint64_t value = root ? arithmetic(SSE_SQRTPS / 4, 0, bits, false, zeros, &ignored) : bits;
    uint64_t result = arithmetic(SSE_DIVPS / 4, one, value, false, zeros, &ignored);
    bool finite = (result & 0x7f800000) != 0x7f800000;
    return (uint32_t)(finite ? (result + 0x400) & ~UINT64_C(0x7ff) : result);
}

static void convert_lanes(enum sse_operation operation, union vreg *a, const union vreg *b, uint32_t mxcsr,
                          uint32_t *flags)
{
    union vreg r = {0};
    for (unsigned i = 0; i < 4; i++) {
        unsigned half = i & 1;
        if (operation == SSE_CVTDQ2PS)
            r.u32[i] = (uint32_t)convert_integer(b->s32[i], false, mxcsr, flags);
        else if (operation == SSE_CVTPS2DQ || operation == SSE_CVTTPS2DQ)
            r.u32[i] = (uint32_t)convert_to_integer(b->u32[i], false, operation == SSE_CVTTPS2DQ, 32, mxcsr, flags);
        else if (i >= 2)
            break;
        else if (operation == SSE_CVTPS2PD)
            r.u64[half] = convert_float(b->u32[i], false, mxcsr, flags);
        else if (operation == SSE_CVTPD2PS)
            r.u32[half] = (uint32_t)convert_float(b->u64[i], true, mxcsr, flags);
        else if (operation == SSE_CVTDQ2PD)
            r.u64[half] = convert_integer(b->s32[i], true, mxcsr, flags);
        else
            r.u32[half] = (uint32_t)convert_to_integer(b->u64[i], true, operation == SSE_CVTTPD2DQ, 32, mxcsr, flags);
    }
    memcpy(a, &r, 16);
}

uint32_t fpu_host_sse(enum sse_operation operation, union vreg *a, const union vreg *b, uint32_t mxcsr,
                      unsigned immediate, uint64_t *value)
{
    uint32_t flags = 0;
    if (operation < SSE_UCOMISS) {
        bool is_double = operation & 1;
        for (unsigned i = 0; i < (operation & 2 ? 1u : is_double ? 2u : 4u); i++) {
            uint64_t x = get_bits(a, is_double, i), y = get_bits(b, is_double, i);
            if (operation < SSE_CMPPS) {
                set_bits(a, is_double, i, arithmetic(operation / 4, x, y, is_double, mxcsr, &flags));
                continue;
            }
            bool signals = (immediate & 3) == 1 || (immediate & 3) == 2;
            int order = compare(x, y, is_double, signals, mxcsr, &flags);
            set_bits(a, is_double, i, predicate_holds(immediate & 7, order) ? UINT64_MAX : 0);
        }
        return flags;
    }
    switch (operation) {
    case SSE_UCOMISS:
    case SSE_UCOMISD:
    case SSE_COMISS:
    case SSE_COMISD: {
        bool is_double = operation == SSE_UCOMISD || operation == SSE_COMISD;
        int order = compare(get_bits(a, is_double, 0), get_bits(b, is_double, 0), is_double, operation >= SSE_COMISS,
                            mxcsr, &flags);
        *value = order == 2 ? FLAG_ZF | FLAG_PF | FLAG_CF : order == 0 ? FLAG_ZF : order < 0 ? FLAG_CF : 0;
        break;
    }
    case SSE_CVTSS2SI:
    case SSE_CVTSD2SI:
    case SSE_CVTTSS2SI:
    case SSE_CVTTSD2SI: {
        bool is_double = operation == SSE_CVTSD2SI || operation == SSE_CVTTSD2SI;
        *value = convert_to_integer(get_bits(b, is_double, 0), is_double, operation >= SSE_CVTTSS2SI,
                                    immediate == 8 ? 64 : 32, mxcsr, &flags);
        if (immediate != 8)
            *value = (uint32_t)*value;
        break;
    }
    case SSE_CVTSI2SS:
        a->u32[0] = (uint32_t)convert_integer((int64_t)*value, false, mxcsr, &flags);
        break;
    case SSE_CVTSI2SD:
        a->u64[0] = convert_integer((int64_t)*value, true, mxcsr, &flags);
        break;
    case SSE_CVTSS2SD:
        a->u64[0] = convert_float(b->u32[0], false, mxcsr, &flags);
        break;
    case SSE_CVTSD2SS:
        a->u32[0] = (uint32_t)convert_float(b->u64[0], true, mxcsr, &flags);
        break;
    case SSE_RCPPS:
    case SSE_RSQRTPS:
    case SSE_RCPSS:
    case SSE_RSQRTSS: {
        bool root = operation == SSE_RSQRTPS || operation == SSE_RSQRTSS;
        for (unsigned i = 0; i < (operation == SSE_RCPPS || operation == SSE_RSQRTPS ? 4u : 1u); i++)
            a->u32[i] = approximate(b->u32[i], root);
        break;
    }
    default:
        convert_lanes(operation, a, b, mxcsr, &flags);
    }
    return flags;
}

// ---- x87 ----------------------------------------------------------------------------------------------------------
static struct soft_context x87_context(uint16_t control)
{
    static const unsigned bits[] = {24, 64, 53, 64};
    struct soft_context context = {
        .format = soft_extended, .rounding = control >> 10 & 3, .masks = control & X87_EXCEPTIONS};
    context.format.bits = bits[control >> 8 & 3];
    return context;
}

static struct soft x87_get(struct f80 value)
{
    return soft_unpack80(value.significand, value.sign_exponent);
}

static struct f80 x87_put(struct soft value)
{
    struct f80 result = {0};
    soft_pack80(value, &result.significand, &result.sign_exponent);
    return result;
}

/// The NaN that two operands give: a quiet one before a signalling one, else the larger significand, else the positive.
static struct soft propagate(struct soft a, struct soft b)
{
    if (!is_nan(a) || !is_nan(b))
        return quiet(is_nan(a) ? a : b);
    if (a.class != b.class)
        return a.class == SOFT_QNAN ? a : b;
    if (a.significand != b.significand)
        return quiet(a.significand > b.significand ? a : b);
    return quiet(a.sign ? b : a);
}

/// What NaNs and unsupported encodings make of an operation, before it is computed. True: *result is it.
static bool special(struct soft_context *context, struct soft a, struct soft b, struct soft *result)
{
    if (a.class == SOFT_UNSUPPORTED || b.class == SOFT_UNSUPPORTED) {
        context->flags |= SOFT_IE;
        *result = soft_default_nan();
        return true;
    }
    if (!is_nan(a) && !is_nan(b))
        return false;
    if (a.class == SOFT_SNAN || b.class == SOFT_SNAN)
        context->flags |= SOFT_IE;
    *result = propagate(a, b);
    return true;
}

static struct x87_result x87_finish(const struct soft_context *context, struct soft value, struct f80 old,
                                    unsigned conditions)
{
    struct x87_result result = {.status = (uint16_t)(context->flags | conditions)};
    result.done = !(context->flags & ~context->masks & (SOFT_IE | SOFT_DE | SOFT_ZE));
    if (!result.done)
        result.status &= (uint16_t) ~(X87_OE | X87_UE | X87_PE);
    else if (context->rounded_up)
        result.status |= X87_C1;
    result.st0 = result.done ? x87_put(value) : old;
    return result;
}

static struct x87_result x87_arithmetic_soft(enum x87_operation operation, struct soft a, struct soft b,
                                             uint16_t control, struct f80 old)
{
    struct soft_context context = x87_context(control);
    struct soft result;
    if (operation == X87_SUBR || operation == X87_DIVR) {
        struct soft swap = a;
        a = b;
        b = swap;
    }
    if (special(&context, a, b, &result))
        return x87_finish(&context, result, old, 0);
    bool denormal = a.denormal || b.denormal;
    if (operation == X87_SUB || operation == X87_SUBR)
        b.sign = !b.sign;
    if (operation == X87_MUL)
        result = soft_multiply(&context, a, b);
    else if (operation == X87_DIV || operation == X87_DIVR)
        result = soft_divide(&context, a, b);
    else if (operation == X87_SQRT)
        result = soft_sqrt(&context, a);
    else
        result = soft_add(&context, a, b);
    if (denormal && !(context.flags & (SOFT_IE | SOFT_ZE)))
        context.flags |= SOFT_DE;
    return x87_finish(&context, result, old, 0);
}

static struct x87_result x87_compare_soft(struct soft a, struct soft b, bool quietly, uint16_t control)
{
    struct x87_result result = {.done = true};
    bool bad =
        a.class == SOFT_UNSUPPORTED || b.class == SOFT_UNSUPPORTED || a.class == SOFT_SNAN || b.class == SOFT_SNAN;
    if (bad || is_nan(a) || is_nan(b)) {
        result.status = X87_C3 | X87_C2 | X87_C0 | (bad || !quietly ? X87_IE : 0);
    } else {
        int order = soft_compare(a, b);
        result.status = order == 0 ? X87_C3 : order < 0 ? X87_C0 : 0;
        result.status |= a.denormal || b.denormal ? X87_DE : 0;
    }
    result.done = !(result.status & ~control & (X87_IE | X87_DE));
    return result;
}

/// FPREM, FPREM1: exact, at most 63 bits of quotient at a time; C2 says that there is more to do.
static struct x87_result remainder_soft(struct soft a, struct soft b, bool nearest, uint16_t control, struct f80 old)
{
    struct soft_context context = x87_context(control | 0x300);
    struct soft result;
    unsigned conditions = 0;
    uint64_t quotient = 0;
    if (special(&context, a, b, &result))
        return x87_finish(&context, result, old, 0);
    if (a.class == SOFT_INFINITY || b.class == SOFT_ZERO) {
        context.flags |= SOFT_IE;
        return x87_finish(&context, soft_default_nan(), old, 0);
    }
    context.flags |= a.denormal || b.denormal ? SOFT_DE : 0;
    int distance = a.exponent - b.exponent;
    if (a.class == SOFT_ZERO || b.class == SOFT_INFINITY || distance < -1)
        return x87_finish(&context, soft_round(&context, a), old, 0);
    unsigned __int128 rest = a.significand;
    bool sign = a.sign, whole = distance < 64;
    int steps = whole ? distance : 32 + distance % 32;
    for (int i = 0; i <= steps; i++) {
        quotient <<= 1;
        rest <<= i > 0;
        if (rest >= b.significand) {
            rest -= b.significand;
            quotient |= 1;
        }
    }
    unsigned __int128 twice = distance < 0 ? rest : rest << 1; // with distance -1 the divisor counts double
    if (nearest && whole && (twice > b.significand || (twice == b.significand && (quotient & 1)))) {
        rest = distance < 0 ? ((unsigned __int128)b.significand << 1) - rest : b.significand - rest;
        sign = !sign;
        quotient++;
    }
    if (whole)
        conditions = (quotient & 1 ? X87_C1 : 0) | (quotient & 2 ? X87_C3 : 0) | (quotient & 4 ? X87_C0 : 0);
    else
        conditions = X87_C2;
    if (rest >> 64) { // only the doubled divisor of distance -1 makes it that big
        result = (struct soft){
            .class = SOFT_FINITE, .sign = sign, .exponent = a.exponent + 1, .significand = (uint64_t)(rest >> 1)};
    } else if (rest) {
        unsigned shift = (unsigned)__builtin_clzll((uint64_t)rest);
        result = (struct soft){.class = SOFT_FINITE,
                               .sign = sign,
                               .exponent = a.exponent - (steps > 0 ? steps : 0) - (int)shift,
                               .significand = (uint64_t)rest << shift};
    } else {
        result = (struct soft){.class = SOFT_ZERO, .sign = a.sign};
    }
    struct x87_result finished = x87_finish(&context, soft_round(&context, result), old, 0);
    finished.status = (uint16_t)((finished.status & ~X87_C1) | (finished.done ? conditions : 0));
    return finished;
}

static struct x87_result scale_soft(struct soft a, struct soft b, uint16_t control, struct f80 old)
{
    struct soft_context context = x87_context(control | 0x300), chop = {.rounding = SOFT_TRUNCATE};
    struct soft result;
    if (special(&context, a, b, &result))
        return x87_finish(&context, result, old, 0);
    bool down = b.class == SOFT_INFINITY && b.sign, up = b.class == SOFT_INFINITY && !b.sign;
    if ((down && a.class == SOFT_INFINITY) || (up && a.class == SOFT_ZERO)) {
        context.flags |= SOFT_IE;
        return x87_finish(&context, soft_default_nan(), old, 0);
    }
    context.flags |= a.denormal || b.denormal ? SOFT_DE : 0;
    if (a.class != SOFT_FINITE || up || down) {
        if (a.class == SOFT_FINITE)
            a = (struct soft){.class = up ? SOFT_INFINITY : SOFT_ZERO, .sign = a.sign, .significand = BIT(63)};
        return x87_finish(&context, a, old, 0);
    }
    int64_t by = soft_to_integer(&chop, b, 32);
    if (chop.flags & SOFT_IE || by > 65536 || by < -65536)
        by = b.sign ? -65536 : 65536;
    a.exponent += (int)by;
    bool over = a.exponent > 16383 + 24576 && !(context.masks & SOFT_OE);
    bool under = a.exponent < -16382 - 24576 && !(context.masks & SOFT_UE);
    if (over || under) { // too far for the wrapped exponent: infinity or zero, whatever the rounding
        context.flags |= SOFT_PE | (over ? SOFT_OE : SOFT_UE);
        context.rounded_up = over;
        a = (struct soft){.class = over ? SOFT_INFINITY : SOFT_ZERO, .sign = a.sign, .significand = BIT(63)};
        return x87_finish(&context, a, old, 0);
    }
    return x87_finish(&context, soft_round(&context, a), old, 0);
}

static struct x87_result round_to_integer(struct soft a, uint16_t control, struct f80 old)
{
    struct soft_context context = x87_context(control);
    struct soft result = a;
    if (special(&context, a, a, &result) || a.class != SOFT_FINITE)
        return x87_finish(&context, result, old, 0);
    context.flags |= a.denormal ? SOFT_DE : 0;
    if (a.exponent < 63) {
        struct soft_context trial = context;
        result = soft_from_integer(soft_to_integer(&trial, a, 64));
        if (trial.flags & SOFT_IE) { // 2^63 less a fraction, rounded up
            result = (struct soft){.class = SOFT_FINITE, .exponent = 63, .significand = BIT(63)};
            trial.flags = context.flags | SOFT_PE;
            trial.rounded_up = true;
        }
        context = trial;
        result.sign = a.sign;
    }
    return x87_finish(&context, result, old, 0);
}

static struct x87_result extract_soft(struct soft a, uint16_t control, struct f80 old)
{
    struct soft_context context = x87_context(control);
    struct soft result, exponent = {.class = SOFT_INFINITY, .significand = BIT(63)};
    if (special(&context, a, a, &result)) {
        exponent = result;
    } else if (a.class == SOFT_ZERO) {
        context.flags |= SOFT_ZE;
        result = a;
        exponent.sign = true;
    } else {
        context.flags |= a.denormal ? SOFT_DE : 0;
        result = a;
        if (a.class == SOFT_FINITE) {
            exponent = soft_from_integer(a.exponent);
            result.exponent = 0;
        }
    }
    struct x87_result finished = x87_finish(&context, result, old, 0);
    finished.pushed = true;
    finished.st1 = x87_put(exponent);
    return finished;
}

static uint16_t examine(struct soft a, struct f80 bits)
{
    static const uint16_t codes[] = {[SOFT_ZERO] = X87_C3, [SOFT_FINITE] = X87_C2, [SOFT_INFINITY] = X87_C2 | X87_C0,
                                     [SOFT_QNAN] = X87_C0, [SOFT_SNAN] = X87_C0,   [SOFT_UNSUPPORTED] = 0};
    uint16_t code = a.class == SOFT_FINITE && a.denormal ? X87_C3 | X87_C2 : codes[a.class];
    return code | (bits.sign_exponent >> 15 ? X87_C1 : 0);
}

// ---- Transcendental functions: always with 64 bits ----------------------------------------------------------------
static struct soft first_function(struct soft_context *context, enum x87_operation operation, struct soft a,
                                  struct soft b)
{
    switch (operation) {
    case X87_2XM1:
        return soft_exp2m1(context, a);
    case X87_SIN:
        return soft_sin(context, a);
    case X87_COS:
    case X87_SINCOS:
        return soft_cos(context, a);
    case X87_PTAN:
        return a.class == SOFT_INFINITY ? soft_tan(context, a) : soft_from_integer(1);
    case X87_YL2X:
        return soft_y_log2(context, b, a);
    case X87_YL2XP1:
        return soft_y_log2p1(context, b, a);
    default:
        return soft_atan2(context, b, a);
    }
}

static struct x87_result transcendental(enum x87_operation operation, struct soft a, struct soft b, uint16_t control,
                                        struct f80 old)
{
    struct soft_context context = x87_context(control | 0x300);
    struct soft result, second = {0};
    bool two = operation == X87_YL2X || operation == X87_YL2XP1 || operation == X87_PATAN;
    bool pushes = operation == X87_PTAN || operation == X87_SINCOS;
    bool trigonometric = pushes || operation == X87_SIN || operation == X87_COS;
    if (special(&context, a, two ? b : a, &result)) {
        struct x87_result finished = x87_finish(&context, result, old, 0);
        finished.pushed = pushes;
        finished.st1 = finished.st0;
        return finished;
    }
    if (trigonometric && a.class == SOFT_FINITE && a.exponent >= 63)
        return (struct x87_result){.status = X87_C2, .done = true, .st0 = old};
    result = first_function(&context, operation, a, b);
    if (pushes)
        second = operation == X87_PTAN ? soft_tan(&context, a) : soft_sin(&context, a);
    if ((a.denormal || (two && b.denormal)) && !(context.flags & (SOFT_IE | SOFT_ZE)))
        context.flags |= SOFT_DE;
    struct x87_result finished = x87_finish(&context, result, old, 0);
    finished.pushed = pushes;
    finished.st1 = x87_put(second);
    return finished;
}

struct x87_result fpu_host_x87(enum x87_operation operation, struct f80 st0, struct f80 st1, uint16_t control)
{
    struct soft a = x87_get(st0), b = x87_get(st1);
    struct x87_result result = {.done = true, .st0 = st0, .st1 = st1};
    switch (operation) {
    case X87_ADD:
    case X87_MUL:
    case X87_SUB:
    case X87_SUBR:
    case X87_DIV:
    case X87_DIVR:
        return x87_arithmetic_soft(operation, a, b, control, st0);
    case X87_SQRT:
        return x87_arithmetic_soft(operation, a, a, control, st0);
    case X87_CHS:
        result.st0.sign_exponent ^= 0x8000;
        return result;
    case X87_ABS:
        result.st0.sign_exponent &= 0x7fff;
        return result;
    case X87_COM:
    case X87_UCOM:
        return x87_compare_soft(a, b, operation == X87_UCOM, control);
    case X87_TST:
        return x87_compare_soft(a, (struct soft){.class = SOFT_ZERO}, false, control);
    case X87_XAM:
        result.status = examine(a, st0);
        return result;
    case X87_PREM:
    case X87_PREM1:
        return remainder_soft(a, b, operation == X87_PREM1, control, st0);
    case X87_SCALE:
        return scale_soft(a, b, control, st0);
    case X87_RNDINT:
        return round_to_integer(a, control, st0);
    case X87_XTRACT:
        return extract_soft(a, control, st0);
    default:
        return transcendental(operation, a, b, control, st0);
    }
}

static struct soft memory_value(enum x87_format format, const void *from)
{
    switch (format) {
    case X87_FLOAT32:
        return soft_unpack(load_le32(from), false);
    case X87_FLOAT64:
        return soft_unpack(load_le64(from), true);
    case X87_INT16:
        return soft_from_integer((int16_t)load_le16(from));
    case X87_INT32:
        return soft_from_integer((int32_t)load_le32(from));
    default:
        return soft_from_integer((int64_t)load_le64(from));
    }
}

struct x87_result fpu_host_x87_memory(enum x87_operation operation, enum x87_format format, struct f80 st0,
                                      const void *from, uint16_t control)
{
    struct soft a = x87_get(st0), b = memory_value(format, from);
    if (operation == X87_COM)
        return x87_compare_soft(a, b, false, control);
    return x87_arithmetic_soft(operation, a, b, control, st0);
}

struct x87_result fpu_host_x87_load(enum x87_format format, const void *from, uint16_t control)
{
    struct x87_result result = {.done = true};
    const uint8_t *bytes = from;
    if (format == X87_BCD80) {
        uint64_t magnitude = 0;
        for (unsigned i = 9; i-- > 0;)
            magnitude = magnitude * 100 + (bytes[i] >> 4) * 10u + (bytes[i] & 15);
        struct soft value = soft_from_integer((int64_t)magnitude);
        value.sign = bytes[9] >> 7;
        result.st0 = x87_put(value);
        return result;
    }
    struct soft value = memory_value(format, from);
    if (value.denormal)
        result.status |= X87_DE;
    if (value.class == SOFT_SNAN) {
        result.status |= X87_IE;
        value = quiet(value);
    }
    result.done = !(result.status & ~control & X87_IE);
    result.st0 = x87_put(value);
    return result;
}

static void store_integer(enum x87_format format, int64_t integer, uint8_t *to)
{
    static const uint8_t sizes[] = {[X87_INT16] = 2, [X87_INT32] = 4, [X87_INT64] = 8};
    memcpy(to, &integer, sizes[format]);
}

struct x87_result fpu_host_x87_store(enum x87_format format, struct f80 st0, void *to, uint16_t control, bool truncate)
{
    static const uint8_t bits[] = {[X87_INT16] = 16, [X87_INT32] = 32, [X87_INT64] = 64, [X87_BCD80] = 64};
    const int64_t digits = INT64_C(1000000000000000000);
    struct soft_context context = x87_context(control);
    struct soft value = x87_get(st0), result = value;
    struct x87_result finished = {0};
    uint8_t bytes[10] = {0};
    if (format == X87_FLOAT32 || format == X87_FLOAT64) {
        context.format = format == X87_FLOAT64 ? soft_double : soft_single;
        if (!special(&context, value, value, &result))
            result = soft_round(&context, value);
        bool held_back = context.flags & ~context.masks & (SOFT_OE | SOFT_UE);
        uint64_t packed = held_back ? 0 : soft_pack(result, format == X87_FLOAT64);
        if (held_back) {
            context.flags &= ~(unsigned)SOFT_PE;
            context.rounded_up = false;
        }
        memcpy(bytes, &packed, 8);
    } else {
        if (truncate)
            context.rounding = SOFT_TRUNCATE;
        int64_t integer = soft_to_integer(&context, value, bits[format]);
        if (format != X87_BCD80) {
            store_integer(format, integer, bytes);
        } else if (context.flags & SOFT_IE || integer >= digits || integer <= -digits) {
            context.flags = SOFT_IE;
            context.rounded_up = false;
            memcpy(bytes, (const uint8_t[]){0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff}, 10);
        } else {
            uint64_t magnitude = integer < 0 ? -(uint64_t)integer : (uint64_t)integer;
            for (unsigned i = 0; i < 9; i++, magnitude /= 100)
                bytes[i] = (uint8_t)(magnitude / 10 % 10 << 4 | magnitude % 10);
            bytes[9] = value.sign ? 0x80 : 0;
        }
    }
    finished.status = (uint16_t)(context.flags | (context.rounded_up && !truncate ? X87_C1 : 0));
    finished.done = !(context.flags & ~control & (X87_IE | X87_OE | X87_UE));
    static const uint8_t sizes[] = {4, 8, 2, 4, 8, 10};
    if (finished.done && format < X87_FLOAT80)
        memcpy(to, bytes, sizes[format]);
    return finished;
}

struct f80 fpu_host_x87_constant(unsigned number, uint16_t control)
{
    // Truncated significands, and whether rounding to nearest or up takes the next one.
    static const struct {
        uint64_t significand;
        uint16_t sign_exponent;
        bool nearest_up, inexact;
    } constants[] = {
        {UINT64_C(0x8000000000000000), 0x3fff, false, false},
        {UINT64_C(0xd49a784bcd1b8afe), 0x4000, false, true},
        {UINT64_C(0xb8aa3b295c17f0bb), 0x3fff, true, true},
        {UINT64_C(0xc90fdaa22168c234), 0x4000, true, true},
        {UINT64_C(0x9a209a84fbcff798), 0x3ffd, true, true},
        {UINT64_C(0xb17217f7d1cf79ab), 0x3ffe, true, true},
        {0, 0, false, false},
    };
    unsigned n = number < ARRAY_SIZE(constants) ? number : 6, rounding = control >> 10 & 3;
    bool up = constants[n].inexact && (rounding == SOFT_UP || (rounding == SOFT_NEAREST && constants[n].nearest_up));
    return (struct f80){.significand = constants[n].significand + up, .sign_exponent = constants[n].sign_exponent};
}

#else
typedef int fpu_host_portable_is_for_other_hosts; // ISO C wants a declaration
#endif
