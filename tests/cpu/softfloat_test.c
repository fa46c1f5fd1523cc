// softfloat computes the same bits on every host: sums over many operations with random and special operands, taken
// once on x86-64, where other tests compare the operations with the processor and with MPFR.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cpu/softfloat.h"
#include "cpu/support_fpu.h"

enum { STATES = 20000 };

typedef struct soft operation(struct soft_context *context, struct soft a, struct soft b);

static struct soft op_sqrt(struct soft_context *context, struct soft a, struct soft b)
{
    return soft_sqrt(context, a);
}
static struct soft op_round(struct soft_context *context, struct soft a, struct soft b)
{
    return soft_round(context, a);
}
static struct soft op_integer(struct soft_context *context, struct soft a, struct soft b)
{
    return soft_from_integer(soft_to_integer(context, a, b.significand & 1 ? 64 : 32));
}
static struct soft op_sin(struct soft_context *context, struct soft a, struct soft b)
{
    return a.exponent < 63 ? soft_sin(context, a) : a;
}
static struct soft op_cos(struct soft_context *context, struct soft a, struct soft b)
{
    return a.exponent < 63 ? soft_cos(context, a) : a;
}
static struct soft op_tan(struct soft_context *context, struct soft a, struct soft b)
{
    return a.exponent < 63 ? soft_tan(context, a) : a;
}
static struct soft op_exp2m1(struct soft_context *context, struct soft a, struct soft b)
{
    return soft_exp2m1(context, a);
}

static struct soft operand(unsigned class, uint64_t *random)
{
    uint8_t bytes[10];
    struct soft value;
    do { // NaNs and what is no number are the callers' business
        fpu_class_x87(class, random, bytes);
        value = soft_unpack80(load_le64(bytes), load_le16(bytes + 8));
        class ++;
    } while (value.class > SOFT_INFINITY);
    return value;
}

static uint64_t sum_of(operation *compute, unsigned states)
{
    static const struct soft_format *const formats[] = {&soft_extended, &soft_single, &soft_double, &soft_extended};
    uint64_t random = 7, sum = 0;
    for (unsigned i = 0; i < states; i++) {
        uint64_t r = support_random(&random), significand;
        uint16_t sign_exponent;
        struct soft a = operand((unsigned)r & 127, &random), b = operand((unsigned)(r >> 8) & 127, &random);
        struct soft_context context = {.format = *formats[r >> 16 & 3],
                                       .rounding = (unsigned)(r >> 18) & 3,
                                       .masks = r >> 20 & 1 ? 0x3f : (unsigned)(r >> 21) & 0x3f,
                                       .flush = (r >> 27 & 15) == 0};
        soft_pack80(compute(&context, a, b), &significand, &sign_exponent);
        const uint64_t parts[] = {significand, sign_exponent, context.flags | (context.rounded_up ? 64u : 0)};
        for (unsigned k = 0; k < ARRAY_SIZE(parts); k++)
            sum = (sum ^ parts[k]) * UINT64_C(0x9e3779b97f4a7c15) + (sum >> 29);
    }
    return sum;
}

static void same_bits_everywhere(void **state)
{
    static const struct {
        const char *name;
        operation *compute;
        unsigned states;
        uint64_t sum;
    } operations[] = {
        {"add", soft_add, STATES, UINT64_C(0x4a9b1d5f04be5271)},
        {"multiply", soft_multiply, STATES, UINT64_C(0xf280e44e79d36351)},
        {"divide", soft_divide, STATES, UINT64_C(0x02a31c1342285e10)},
        {"sqrt", op_sqrt, STATES, UINT64_C(0x3c6145d8a0d370cd)},
        {"round", op_round, STATES, UINT64_C(0xb57af1cf03ccd2f5)},
        {"integer", op_integer, STATES, UINT64_C(0xe78c13f2aea3607a)},
        {"sin", op_sin, STATES / 20, UINT64_C(0x110d69dc95aaf230)},
        {"cos", op_cos, STATES / 20, UINT64_C(0xa9205a48eeb49b94)},
        {"tan", op_tan, STATES / 20, UINT64_C(0xf938039db5a4dd74)},
        {"atan2", soft_atan2, STATES / 20, UINT64_C(0x94077dcc8dda8ba9)},
        {"y log2", soft_y_log2, STATES / 20, UINT64_C(0x003e5d5a28b2fced)},
        {"y log2p1", soft_y_log2p1, STATES / 20, UINT64_C(0x2118454bee5a1e69)},
        {"exp2m1", op_exp2m1, STATES / 20, UINT64_C(0x7f21d07f0b9a9788)},
    };
    unsigned bad = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(operations); i++) {
        uint64_t sum = sum_of(operations[i].compute, operations[i].states);
        if (sum == operations[i].sum)
            continue;
        print_message("%s: 0x%016llx\n", operations[i].name, (unsigned long long)sum);
        bad++;
    }
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
