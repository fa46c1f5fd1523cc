// Floating point on the host's own units, for x86-64 hosts: the one file that touches x87 and MXCSR. Both are left as
// the C ABI wants them (MXCSR at its default, x87 initialized).
#if defined(__x86_64__) && !defined(DOPPEL_PORTABLE_FPU)

#include "cpu/fpu_host.h"

typedef uint64_t vec __attribute__((vector_size(16)));

// One instruction between the loads of the guest's and the host's MXCSR: no compiler can move it out.
#define UNDER_GUEST(instruction) "ldmxcsr %[guest]\n\t" instruction "\n\tstmxcsr %[after]\n\tldmxcsr %[host]"
#define INPUTS [guest] "m"(guest), [host] "m"(host)

// a = a op b
#define BINARY(instruction)                                                                                            \
    __asm__ volatile(UNDER_GUEST(instruction " %[b], %[a]") : [a] "+x"(a), [after] "=m"(after) : [b] "x"(b), INPUTS)
#define COMPARE(instruction, predicate)                                                                                \
    __asm__ volatile(UNDER_GUEST(instruction " $" #predicate ", %[b], %[a]")                                           \
                     : [a] "+x"(a), [after] "=m"(after)                                                                \
                     : [b] "x"(b), INPUTS)
#define COMPARE_CASES(first, instruction)                                                                              \
    case first + 0:                                                                                                    \
        COMPARE(instruction, 0);                                                                                       \
        break;                                                                                                         \
    case first + 1:                                                                                                    \
        COMPARE(instruction, 1);                                                                                       \
        break;                                                                                                         \
    case first + 2:                                                                                                    \
        COMPARE(instruction, 2);                                                                                       \
        break;                                                                                                         \
    case first + 3:                                                                                                    \
        COMPARE(instruction, 3);                                                                                       \
        break;                                                                                                         \
    case first + 4:                                                                                                    \
        COMPARE(instruction, 4);                                                                                       \
        break;                                                                                                         \
    case first + 5:                                                                                                    \
        COMPARE(instruction, 5);                                                                                       \
        break;                                                                                                         \
    case first + 6:                                                                                                    \
        COMPARE(instruction, 6);                                                                                       \
        break;                                                                                                         \
    case first + 7:                                                                                                    \
        COMPARE(instruction, 7);                                                                                       \
        break
// Flags of a comparison: the loads and stores of MXCSR leave them alone.
#define FLAGS(instruction)                                                                                             \
    __asm__ volatile(UNDER_GUEST(instruction " %[b], %[a]")                                                            \
                     : "=@ccz"(zf), "=@ccp"(pf), "=@ccc"(cf), [after] "=m"(after)                                      \
                     : [a] "x"(a), [b] "x"(b), INPUTS)
#define TO_INTEGER(instruction)                                                                                        \
    __asm__ volatile(UNDER_GUEST(instruction) : [integer] "=r"(integer), [after] "=m"(after) : [b] "x"(b), INPUTS)
#define FROM_INTEGER(instruction)                                                                                      \
    __asm__ volatile(UNDER_GUEST(instruction " %[integer], %[a]")                                                      \
                     : [a] "+x"(a), [after] "=m"(after)                                                                \
                     : [integer] "r"(integer), INPUTS)

static const uint32_t host = MXCSR_DEFAULT;

/// CMPPS, CMPPD, CMPSS, CMPSD with a predicate.
static vec compare(unsigned form, unsigned predicate, vec a, vec b, uint32_t guest, uint32_t *flags)
{
    uint32_t after = 0;
    switch (form * 8 + (predicate & 7)) {
        COMPARE_CASES(0, "cmpps");
        COMPARE_CASES(8, "cmppd");
        COMPARE_CASES(16, "cmpss");
        COMPARE_CASES(24, "cmpsd");
    }
    *flags = after;
    return a;
}

/// UCOMIS*, COMIS*: ZF, PF, CF in their places.
static uint64_t compare_flags(enum sse_operation operation, vec a, vec b, uint32_t guest, uint32_t *flags)
{
    uint32_t after = 0;
    bool zf = false, pf = false, cf = false;
    if (operation == SSE_UCOMISS)
        FLAGS("ucomiss");
    else if (operation == SSE_UCOMISD)
        FLAGS("ucomisd");
    else if (operation == SSE_COMISS)
        FLAGS("comiss");
    else
        FLAGS("comisd");
    *flags = after;
    return (zf ? FLAG_ZF : 0) | (pf ? FLAG_PF : 0) | (cf ? FLAG_CF : 0);
}

static uint64_t to_integer(enum sse_operation operation, bool wide, vec b, uint32_t guest, uint32_t *flags)
{
    uint32_t after = 0;
    uint64_t integer = 0;
    switch ((unsigned)operation * 2 + wide) {
    case SSE_CVTSS2SI * 2:
        TO_INTEGER("cvtss2si %[b], %k[integer]");
        break;
    case SSE_CVTSS2SI * 2 + 1:
        TO_INTEGER("cvtss2si %[b], %q[integer]");
        break;
    case SSE_CVTSD2SI * 2:
        TO_INTEGER("cvtsd2si %[b], %k[integer]");
        break;
    case SSE_CVTSD2SI * 2 + 1:
        TO_INTEGER("cvtsd2si %[b], %q[integer]");
        break;
    case SSE_CVTTSS2SI * 2:
        TO_INTEGER("cvttss2si %[b], %k[integer]");
        break;
    case SSE_CVTTSS2SI * 2 + 1:
        TO_INTEGER("cvttss2si %[b], %q[integer]");
        break;
    case SSE_CVTTSD2SI * 2:
        TO_INTEGER("cvttsd2si %[b], %k[integer]");
        break;
    default:
        TO_INTEGER("cvttsd2si %[b], %q[integer]");
        break;
    }
    *flags = after;
    return wide ? integer : (uint32_t)integer;
}

uint32_t fpu_host_sse(enum sse_operation operation, union vreg *dst, const union vreg *src, uint32_t mxcsr,
                      unsigned immediate, uint64_t *value)
{
    uint32_t guest = (mxcsr | MXCSR_MASKS) & ~MXCSR_FLAGS & MXCSR_DEFINED, after = 0;
    uint64_t integer = value ? *value : 0;
    vec a, b;
    memcpy(&a, dst, sizeof a);
    memcpy(&b, src, sizeof b);
    switch (operation) {
    case SSE_ADDPS:
        BINARY("addps");
        break;
    case SSE_ADDPD:
        BINARY("addpd");
        break;
    case SSE_ADDSS:
        BINARY("addss");
        break;
    case SSE_ADDSD:
        BINARY("addsd");
        break;
    case SSE_SUBPS:
        BINARY("subps");
        break;
    case SSE_SUBPD:
        BINARY("subpd");
        break;
    case SSE_SUBSS:
        BINARY("subss");
        break;
    case SSE_SUBSD:
        BINARY("subsd");
        break;
    case SSE_MULPS:
        BINARY("mulps");
        break;
    case SSE_MULPD:
        BINARY("mulpd");
        break;
    case SSE_MULSS:
        BINARY("mulss");
        break;
    case SSE_MULSD:
        BINARY("mulsd");
        break;
    case SSE_DIVPS:
        BINARY("divps");
        break;
    case SSE_DIVPD:
        BINARY("divpd");
        break;
    case SSE_DIVSS:
        BINARY("divss");
        break;
    case SSE_DIVSD:
        BINARY("divsd");
        break;
    case SSE_MINPS:
        BINARY("minps");
        break;
    case SSE_MINPD:
        BINARY("minpd");
        break;
    case SSE_MINSS:
        BINARY("minss");
        break;
    case SSE_MINSD:
        BINARY("minsd");
        break;
    case SSE_MAXPS:
        BINARY("maxps");
        break;
    case SSE_MAXPD:
        BINARY("maxpd");
        break;
    case SSE_MAXSS:
        BINARY("maxss");
        break;
    case SSE_MAXSD:
        BINARY("maxsd");
        break;
    case SSE_SQRTPS:
        BINARY("sqrtps");
        break;
    case SSE_SQRTPD:
        BINARY("sqrtpd");
        break;
    case SSE_SQRTSS:
        BINARY("sqrtss");
        break;
    case SSE_SQRTSD:
        BINARY("sqrtsd");
        break;
    case SSE_CVTPS2PD:
        BINARY("cvtps2pd");
        break;
    case SSE_CVTPD2PS:
        BINARY("cvtpd2ps");
        break;
    case SSE_CVTSS2SD:
        BINARY("cvtss2sd");
        break;
    case SSE_CVTSD2SS:
        BINARY("cvtsd2ss");
        break;
    case SSE_CVTDQ2PS:
        BINARY("cvtdq2ps");
        break;
    case SSE_CVTPS2DQ:
        BINARY("cvtps2dq");
        break;
    case SSE_CVTTPS2DQ:
        BINARY("cvttps2dq");
        break;
    case SSE_CVTDQ2PD:
        BINARY("cvtdq2pd");
        break;
    case SSE_CVTPD2DQ:
        BINARY("cvtpd2dq");
        break;
    case SSE_CVTTPD2DQ:
        BINARY("cvttpd2dq");
        break;
    case SSE_RCPPS:
        BINARY("rcpps");
        break;
    case SSE_RCPSS:
        BINARY("rcpss");
        break;
    case SSE_RSQRTPS:
        BINARY("rsqrtps");
        break;
    case SSE_RSQRTSS:
        BINARY("rsqrtss");
        break;
    case SSE_CMPPS:
    case SSE_CMPPD:
    case SSE_CMPSS:
    case SSE_CMPSD:
        a = compare(operation - SSE_CMPPS, immediate, a, b, guest, &after);
        break;
    case SSE_CVTSI2SS:
        FROM_INTEGER("cvtsi2ssq");
        break;
    case SSE_CVTSI2SD:
        FROM_INTEGER("cvtsi2sdq");
        break;
    case SSE_UCOMISS:
    case SSE_UCOMISD:
    case SSE_COMISS:
    case SSE_COMISD:
        integer = compare_flags(operation, a, b, guest, &after);
        if (value)
            *value = integer;
        return after & MXCSR_FLAGS;
    case SSE_CVTSS2SI:
    case SSE_CVTSD2SI:
    case SSE_CVTTSS2SI:
    case SSE_CVTTSD2SI:
        integer = to_integer(operation, immediate == 8, b, guest, &after);
        if (value)
            *value = integer;
        return after & MXCSR_FLAGS;
    case SSE_OPERATIONS:
        break;
    }
    memcpy(dst, &a, sizeof a);
    return after & MXCSR_FLAGS;
}

// ---- x87 ----------------------------------------------------------------------------------------------------------
// Every operation starts from an initialized x87, gets its operands and the guest's control word, and ends with FNSAVE,
// which takes everything out without waiting for unmasked exceptions and initializes again.

struct fnsave_image {
    uint32_t control, status, tag, ip, cs, dp, ds;
    uint8_t reg[8][10];
    uint32_t unused;
};

static struct f80 image_register(const struct fnsave_image *image, unsigned i)
{
    struct f80 value = {0};
    memcpy(&value, image->reg[i], 10);
    return value;
}

#define X87_BEFORE (X87_IE | X87_DE | X87_ZE) // exceptions that keep an operation from happening

static struct x87_result image_result(const struct fnsave_image *image, uint16_t control)
{
    struct x87_result result = {
        .status = (uint16_t)(image->status & (X87_EXCEPTIONS | X87_CONDITIONS)),
        .done = !(image->status & ~control & X87_BEFORE),
        .pushed = (image->status & X87_TOP) == 5u << 11,
        .st0 = image_register(image, 0),
        .st1 = image_register(image, 1),
    };
    return result;
}

#define X87_RUN(instruction)                                                                                           \
    __asm__ volatile("fninit\n\tfldt %[st1]\n\tfldt %[st0]\n\tfldcw %[control]\n\t" instruction "\n\tfnsave %[image]"  \
                     : [image] "=m"(image)                                                                             \
                     : [st0] "m"(st0), [st1] "m"(st1), [control] "m"(control))
#define X87_CASE(operation, instruction)                                                                               \
    case operation:                                                                                                    \
        X87_RUN(instruction);                                                                                          \
        break

struct x87_result fpu_host_x87(enum x87_operation operation, struct f80 st0, struct f80 st1, uint16_t control)
{
    struct fnsave_image image;
    switch (operation) {
        X87_CASE(X87_ADD, "fadd %%st(1), %%st");
        X87_CASE(X87_MUL, "fmul %%st(1), %%st");
        X87_CASE(X87_COM, "fcom %%st(1)");
        X87_CASE(X87_SUB, "fsub %%st(1), %%st");
        X87_CASE(X87_SUBR, "fsubr %%st(1), %%st");
        X87_CASE(X87_DIV, "fdiv %%st(1), %%st");
        X87_CASE(X87_DIVR, "fdivr %%st(1), %%st");
        X87_CASE(X87_SQRT, "fsqrt");
        X87_CASE(X87_CHS, "fchs");
        X87_CASE(X87_ABS, "fabs");
        X87_CASE(X87_RNDINT, "frndint");
        X87_CASE(X87_2XM1, "f2xm1");
        X87_CASE(X87_SIN, "fsin");
        X87_CASE(X87_COS, "fcos");
        X87_CASE(X87_PREM, "fprem");
        X87_CASE(X87_PREM1, "fprem1");
        X87_CASE(X87_SCALE, "fscale");
        X87_CASE(X87_YL2X, "fyl2x");
        X87_CASE(X87_YL2XP1, "fyl2xp1");
        X87_CASE(X87_PATAN, "fpatan");
        X87_CASE(X87_PTAN, "fptan");
        X87_CASE(X87_SINCOS, "fsincos");
        X87_CASE(X87_XTRACT, "fxtract");
        X87_CASE(X87_UCOM, "fucom %%st(1)");
        X87_CASE(X87_TST, "ftst");
        X87_CASE(X87_XAM, "fxam");
    default:
        return (struct x87_result){0};
    }
    return image_result(&image, control);
}

#define MEMORY_RUN(instruction)                                                                                        \
    __asm__ volatile("fninit\n\tfldt %[st0]\n\tfldcw %[control]\n\t" instruction " %[from]\n\tfnsave %[image]"         \
                     : [image] "=m"(image)                                                                             \
                     : [st0] "m"(st0), [from] "m"(*(const uint8_t(*)[8])from), [control] "m"(control))
#define MEMORY_CASES(operation, name, integer_name)                                                                    \
    case operation * 4 + X87_FLOAT32:                                                                                  \
        MEMORY_RUN(name "s");                                                                                          \
        break;                                                                                                         \
    case operation * 4 + X87_FLOAT64:                                                                                  \
        MEMORY_RUN(name "l");                                                                                          \
        break;                                                                                                         \
    case operation * 4 + X87_INT16:                                                                                    \
        MEMORY_RUN(integer_name "s");                                                                                  \
        break;                                                                                                         \
    case operation * 4 + X87_INT32:                                                                                    \
        MEMORY_RUN(integer_name "l");                                                                                  \
        break

struct x87_result fpu_host_x87_memory(enum x87_operation operation, enum x87_format format, struct f80 st0,
                                      const void *from, uint16_t control)
{
    struct fnsave_image image;
    switch ((unsigned)operation * 4 + ((unsigned)format & 3)) {
        MEMORY_CASES(X87_ADD, "fadd", "fiadd");
        MEMORY_CASES(X87_MUL, "fmul", "fimul");
        MEMORY_CASES(X87_COM, "fcom", "ficom");
        MEMORY_CASES(X87_SUB, "fsub", "fisub");
        MEMORY_CASES(X87_SUBR, "fsubr", "fisubr");
        MEMORY_CASES(X87_DIV, "fdiv", "fidiv");
        MEMORY_CASES(X87_DIVR, "fdivr", "fidivr");
    default:
        return (struct x87_result){0};
    }
    return image_result(&image, control);
}

#define LOAD_RUN(instruction)                                                                                          \
    __asm__ volatile("fninit\n\t" instruction " %[from]\n\tfnsave %[image]"                                            \
                     : [image] "=m"(image)                                                                             \
                     : [from] "m"(*(const uint8_t(*)[10])from))

struct x87_result fpu_host_x87_load(enum x87_format format, const void *from, uint16_t control)
{
    struct fnsave_image image;
    switch (format) {
    case X87_FLOAT32:
        LOAD_RUN("flds");
        break;
    case X87_FLOAT64:
        LOAD_RUN("fldl");
        break;
    case X87_INT16:
        LOAD_RUN("filds");
        break;
    case X87_INT32:
        LOAD_RUN("fildl");
        break;
    case X87_INT64:
        LOAD_RUN("fildll");
        break;
    case X87_BCD80:
        LOAD_RUN("fbld");
        break;
    default: // X87_FLOAT80 needs no conversion
        return (struct x87_result){0};
    }
    struct x87_result result = image_result(&image, control);
    result.done = !(image.status & ~control & X87_IE); // denormals are loaded, exception or not
    return result;
}

#define STORE_RUN(instruction)                                                                                         \
    __asm__ volatile("fninit\n\tfldt %[st0]\n\tfldcw %[control]\n\t" instruction " %[to]\n\tfnsave %[image]"           \
                     : [image] "=m"(image), [to] "+m"(buffer)                                                          \
                     : [st0] "m"(st0), [control] "m"(control))

struct x87_result fpu_host_x87_store(enum x87_format format, struct f80 st0, void *to, uint16_t control, bool truncate)
{
    static const uint8_t sizes[] = {4, 8, 2, 4, 8, 10};
    struct fnsave_image image;
    uint8_t buffer[16] = {0};
    if (truncate)
        control |= 0x0c00;
    switch (format) {
    case X87_FLOAT32:
        STORE_RUN("fsts");
        break;
    case X87_FLOAT64:
        STORE_RUN("fstl");
        break;
    case X87_INT16:
        STORE_RUN("fists");
        break;
    case X87_INT32:
        STORE_RUN("fistl");
        break;
    case X87_INT64:
        STORE_RUN("fistpll");
        break;
    case X87_BCD80:
        STORE_RUN("fbstp");
        break;
    default: // X87_FLOAT80 needs no conversion
        return (struct x87_result){0};
    }
    struct x87_result result = image_result(&image, control);
    result.done = !(image.status & ~control & (X87_IE | X87_OE | X87_UE));
    if (truncate)
        result.status &= (uint16_t)~X87_C1;
    if (result.done)
        memcpy(to, buffer, sizes[format]);
    return result;
}

#define CONSTANT_RUN(instruction)                                                                                      \
    __asm__ volatile("fninit\n\tfldcw %[control]\n\t" instruction "\n\tfnsave %[image]"                                \
                     : [image] "=m"(image)                                                                             \
                     : [control] "m"(control))

struct f80 fpu_host_x87_constant(unsigned number, uint16_t control)
{
    struct fnsave_image image;
    switch (number) {
    case 0:
        CONSTANT_RUN("fld1");
        break;
    case 1:
        CONSTANT_RUN("fldl2t");
        break;
    case 2:
        CONSTANT_RUN("fldl2e");
        break;
    case 3:
        CONSTANT_RUN("fldpi");
        break;
    case 4:
        CONSTANT_RUN("fldlg2");
        break;
    case 5:
        CONSTANT_RUN("fldln2");
        break;
    default:
        CONSTANT_RUN("fldz");
        break;
    }
    return image_register(&image, 0);
}

#else
typedef int fpu_host_x86_is_for_other_hosts; // ISO C wants a declaration
#endif
