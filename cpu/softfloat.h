// Binary floating point in integers: numbers of up to 64 bits of significand, every rounding, x86's exceptions. What
// hosts without x87 compute with (fpu_host_portable.c). Knows no guest.
#ifndef DOPPEL_CPU_SOFTFLOAT_H
#define DOPPEL_CPU_SOFTFLOAT_H

#include <stdbool.h>
#include <stdint.h>

enum soft_class { SOFT_ZERO, SOFT_FINITE, SOFT_INFINITY, SOFT_QNAN, SOFT_SNAN, SOFT_UNSUPPORTED };

/// value = significand / 2^63 * 2^exponent, bit 63 set when finite. NaNs keep their fraction from bit 62 down.
struct soft {
    enum soft_class class;
    bool sign;
    bool denormal; // came as one
    int exponent;
    uint64_t significand;
};

/// A format to round to: bits of significand, exponents of normal numbers.
struct soft_format {
    unsigned bits;
    int minimum, maximum;
};
extern const struct soft_format soft_half, soft_single, soft_double, soft_extended;

/// Exceptions are bits as in FSW and MXCSR: IE DE ZE OE UE PE.
enum { SOFT_IE = 1, SOFT_DE = 2, SOFT_ZE = 4, SOFT_OE = 8, SOFT_UE = 16, SOFT_PE = 32 };
enum { SOFT_NEAREST, SOFT_DOWN, SOFT_UP, SOFT_TRUNCATE }; // as in RC

struct soft_context {
    struct soft_format format; // of results
    unsigned rounding;
    unsigned masks;  // bit set: masked; unmasked over- and underflow wrap the exponent by 24576 (x87)
    bool flush;      // FTZ
    unsigned flags;  // gathered
    bool rounded_up; // C1
};

struct soft soft_unpack(uint64_t bits, bool is_double);
struct soft soft_unpack80(uint64_t significand, uint16_t sign_exponent);
uint64_t soft_pack(struct soft value, bool is_double);
void soft_pack80(struct soft value, uint64_t *significand, uint16_t *sign_exponent);
/// Half precision.
struct soft soft_unpack16(uint16_t bits);
uint16_t soft_pack16(struct soft value);
struct soft soft_from_integer(int64_t integer);

/// Operands are no NaNs and none unsupported (the callers have their own rules for those). Invalid combinations give
/// the default NaN and SOFT_IE.
struct soft soft_add(struct soft_context *context, struct soft a, struct soft b);
struct soft soft_multiply(struct soft_context *context, struct soft a, struct soft b);
/// a * b + c with one rounding; significands of at most 53 bits.
struct soft soft_multiply_add(struct soft_context *context, struct soft a, struct soft b, struct soft c);
struct soft soft_divide(struct soft_context *context, struct soft a, struct soft b);
struct soft soft_sqrt(struct soft_context *context, struct soft a);
/// Rounds to the context's format.
struct soft soft_round(struct soft_context *context, struct soft a);
/// To a signed integer of `bits`; out of range or no number: SOFT_IE and the lowest integer.
int64_t soft_to_integer(struct soft_context *context, struct soft a, unsigned bits);
/// A number with any position of the leading one in 128 bits (value = significand / 2^127 * 2^exponent, a lost
/// remainder in the lowest bit), rounded to the context's format.
struct soft soft_finish(struct soft_context *context, bool sign, int exponent, unsigned __int128 significand);
/// -1, 0, 1; NaNs are the caller's.
int soft_compare(struct soft a, struct soft b);
struct soft soft_default_nan(void);

/// softfloat_functions.c: x87's transcendental functions, with the limits that SDM vol. 2 gives for infinities and
/// zeros. Sine, cosine and tangent: |a| < 2^63.
struct soft soft_sin(struct soft_context *context, struct soft a);
struct soft soft_cos(struct soft_context *context, struct soft a);
struct soft soft_tan(struct soft_context *context, struct soft a);
struct soft soft_atan2(struct soft_context *context, struct soft y, struct soft x);
struct soft soft_y_log2(struct soft_context *context, struct soft y, struct soft x);
struct soft soft_y_log2p1(struct soft_context *context, struct soft y, struct soft x);
/// 2^a - 1 for |a| <= 1.
struct soft soft_exp2m1(struct soft_context *context, struct soft a);

#endif
