// The portable transcendental functions against MPFR: at most one unit in the last place from the exact value, in every
// rounding. DOPPEL_TEST_STATES says how many arguments a function gets.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <mpfr.h>

#include "cpu/support_fpu.h"

enum { FAST_STATES = 1500, PRECISION = 400 };

static void set_f80(mpfr_t to, struct f80 value)
{
    mpfr_set_ui(to, value.significand, MPFR_RNDN);
    unsigned exponent = value.sign_exponent & 0x7fff;
    mpfr_mul_2si(to, to, (long)(exponent ? exponent : 1) - 16383 - 63, MPFR_RNDN);
    if (value.sign_exponent >> 15)
        mpfr_neg(to, to, MPFR_RNDN);
}

/// Distance in units of the last place of `exact`.
static double distance(struct f80 result, mpfr_t exact)
{
    mpfr_t value;
    mpfr_init2(value, PRECISION);
    set_f80(value, result);
    long exponent = mpfr_zero_p(exact) ? -16382 : mpfr_get_exp(exact) - 1;
    mpfr_sub(value, value, exact, MPFR_RNDN);
    mpfr_mul_2si(value, value, 63 - (exponent < -16382 ? -16382 : exponent), MPFR_RNDN);
    double ulps = mpfr_get_d(value, MPFR_RNDN);
    mpfr_clear(value);
    return ulps < 0 ? -ulps : ulps;
}

static void log2_times(mpfr_t to, mpfr_t x, mpfr_t y, bool plus_one)
{
    mpfr_t ln_2;
    mpfr_init2(ln_2, PRECISION);
    mpfr_const_log2(ln_2, MPFR_RNDN);
    if (plus_one)
        mpfr_log1p(to, x, MPFR_RNDN);
    else
        mpfr_log(to, x, MPFR_RNDN);
    mpfr_div(to, to, ln_2, MPFR_RNDN);
    mpfr_mul(to, to, y, MPFR_RNDN);
    mpfr_clear(ln_2);
}

/// What st0 and, of two results, the deeper st1 should be.
static void exact_values(enum x87_operation operation, struct f80 st0, struct f80 st1, mpfr_t first, mpfr_t second)
{
    mpfr_t x, y;
    mpfr_inits2(PRECISION, x, y, (mpfr_ptr)0);
    set_f80(x, st0);
    set_f80(y, st1);
    switch ((int)operation) {
    case X87_2XM1: {
        mpfr_t ln_2;
        mpfr_init2(ln_2, PRECISION);
        mpfr_const_log2(ln_2, MPFR_RNDN);
        mpfr_mul(x, x, ln_2, MPFR_RNDN);
        mpfr_expm1(first, x, MPFR_RNDN);
        mpfr_clear(ln_2);
        break;
    }
    case X87_SIN:
        mpfr_sin(first, x, MPFR_RNDN);
        break;
    case X87_COS:
        mpfr_cos(first, x, MPFR_RNDN);
        break;
    case X87_PTAN:
        mpfr_set_ui(first, 1, MPFR_RNDN);
        mpfr_tan(second, x, MPFR_RNDN);
        break;
    case X87_SINCOS:
        mpfr_sin_cos(second, first, x, MPFR_RNDN);
        break;
    case X87_YL2X:
    case X87_YL2XP1:
        log2_times(first, x, y, operation == X87_YL2XP1);
        break;
    default:
        mpfr_atan2(first, y, x, MPFR_RNDN);
    }
    mpfr_clears(x, y, (mpfr_ptr)0);
}

static struct f80 argument(uint64_t *random, unsigned lowest, unsigned count)
{
    uint64_t r = support_random(random), significand = support_random(random) | BIT(63);
    if ((r & 7) == 0)
        significand &= UINT64_C(0xffff000000000000);
    if ((r & 0x78) == 0)
        significand = BIT(63) - (r >> 7 & 1) + (r >> 8 & 1); // around powers of two
    return (struct f80){.significand = significand | BIT(63),
                        .sign_exponent = (uint16_t)(lowest + (r >> 16) % count + (r >> 40 & 1 ? 0x8000 : 0))};
}

static void make_arguments(enum x87_operation operation, uint64_t *random, struct f80 *st0, struct f80 *st1)
{
    uint64_t r = support_random(random);
    bool wide = (r & 7) == 0;
    *st1 = wide ? argument(random, 1, 0x7ffd) : argument(random, 0x3fff - 20, 40);
    switch ((int)operation) {
    case X87_2XM1:
        *st0 = wide ? argument(random, 1, 0x3ffe) : argument(random, 0x3fff - 70, 70);
        break;
    case X87_SIN:
    case X87_COS:
    case X87_PTAN:
    case X87_SINCOS:
        *st0 = wide ? argument(random, 1, 0x403d) : argument(random, 0x3fff - 40, 103);
        if ((r & 0x38) == 0) { // near multiples of pi/2
            const uint64_t half_pi = UINT64_C(0xc90fdaa22168c235);
            st0->significand = half_pi - 2 + (r >> 6 & 3);
            st0->sign_exponent = (uint16_t)(0x3fff + (r >> 8) % 63);
        }
        break;
    case X87_YL2X:
        *st0 = wide ? argument(random, 1, 0x7ffd) : argument(random, 0x3fff - 3, 6);
        st0->sign_exponent &= 0x7fff;
        if ((r & 0x38) == 0) // near 1
            *st0 = (struct f80){.significand = r & 64 ? BIT(63) | r >> 48 : UINT64_MAX - (r >> 48),
                                .sign_exponent = r & 64 ? 0x3fff : 0x3ffe};
        break;
    case X87_YL2XP1:
        *st0 = wide ? argument(random, 1, 0x3ffb) : argument(random, 0x3fff - 70, 69);
        break;
    default:
        *st0 = wide ? argument(random, 1, 0x7ffd) : argument(random, 0x3fff - 20, 40);
    }
}

static unsigned check(enum x87_operation operation, const char *name, unsigned states)
{
    uint64_t random = 1 + operation;
    double worst = 0, worst_nearest = 0;
    unsigned bad = 0;
    mpfr_t first, second;
    mpfr_inits2(PRECISION, first, second, (mpfr_ptr)0);
    for (unsigned i = 0; i < states; i++) {
        struct f80 st0, st1;
        make_arguments(operation, &random, &st0, &st1);
        uint16_t control = (uint16_t)(0x037f | (i & 3) << 10);
        struct x87_result result = fpu_host_x87(operation, st0, st1, control);
        bool two = operation == X87_PTAN || operation == X87_SINCOS;
        exact_values(operation, st0, st1, first, second);
        if (mpfr_get_exp(first) > 16384 || !result.done || result.pushed != two)
            continue; // overflow is the rounding's business
        double ulps = distance(result.st0, first), other = two ? distance(result.st1, second) : 0;
        ulps = other > ulps ? other : ulps;
        worst = ulps > worst ? ulps : worst;
        worst_nearest = !(i & 3) && ulps > worst_nearest ? ulps : worst_nearest;
        if (ulps > 1 && bad++ < 3)
            print_message("%s(%04x %016llx, %04x %016llx) fcw %04x: %04x %016llx is off by %g\n", name,
                          st0.sign_exponent, (unsigned long long)st0.significand, st1.sign_exponent,
                          (unsigned long long)st1.significand, control, result.st0.sign_exponent,
                          (unsigned long long)result.st0.significand, ulps);
    }
    mpfr_clears(first, second, (mpfr_ptr)0);
    print_message("%s: %u arguments, at most %.4f ulp, to nearest %.4f\n", name, states, worst, worst_nearest);
    return bad + (worst_nearest > 0.5001);
}

static void functions_are_within_one_ulp(void **state)
{
    static const struct {
        enum x87_operation operation;
        const char *name;
    } functions[] = {{X87_2XM1, "F2XM1"}, {X87_SIN, "FSIN"},       {X87_COS, "FCOS"},     {X87_PTAN, "FPTAN"},
                     {X87_YL2X, "FYL2X"}, {X87_SINCOS, "FSINCOS"}, {X87_PATAN, "FPATAN"}, {X87_YL2XP1, "FYL2XP1"}};
    unsigned bad = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(functions); i++)
        bad += check(functions[i].operation, functions[i].name, fpu_wanted_states(FAST_STATES));
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_are_within_one_ulp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
