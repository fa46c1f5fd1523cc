// What x87 and SSE floating point ask of the host's floating point unit. One implementation touches the host's own x87
// and MXCSR (fpu_host_x86.c), one computes everything itself (fpu_host_portable.c). Knows no guest but by its values.
#ifndef DOPPEL_CPU_FPU_HOST_H
#define DOPPEL_CPU_FPU_HOST_H

#include "cpu/cpu.h"

/// SSE operations that look at MXCSR. The first groups come as packed single, packed double, scalar single, scalar
/// double, in this order, so that number / 4 is the operation and number % 4 the form.
enum sse_operation {
    SSE_ADDPS,
    SSE_ADDPD,
    SSE_ADDSS,
    SSE_ADDSD,
    SSE_SUBPS,
    SSE_SUBPD,
    SSE_SUBSS,
    SSE_SUBSD,
    SSE_MULPS,
    SSE_MULPD,
    SSE_MULSS,
    SSE_MULSD,
    SSE_DIVPS,
    SSE_DIVPD,
    SSE_DIVSS,
    SSE_DIVSD,
    SSE_MINPS,
    SSE_MINPD,
    SSE_MINSS,
    SSE_MINSD,
    SSE_MAXPS,
    SSE_MAXPD,
    SSE_MAXSS,
    SSE_MAXSD,
    SSE_SQRTPS,
    SSE_SQRTPD,
    SSE_SQRTSS,
    SSE_SQRTSD,
    SSE_CMPPS,
    SSE_CMPPD,
    SSE_CMPSS,
    SSE_CMPSD, // predicate 0..7 in `immediate`
    SSE_UCOMISS,
    SSE_UCOMISD,
    SSE_COMISS,
    SSE_COMISD, // flags in *value
    SSE_CVTSS2SI,
    SSE_CVTSD2SI,
    SSE_CVTTSS2SI,
    SSE_CVTTSD2SI, // integer in *value, `immediate` bytes wide (4, 8)
    SSE_CVTSI2SS,
    SSE_CVTSI2SD, // from the 64-bit integer *value
    SSE_CVTPS2PD,
    SSE_CVTPD2PS,
    SSE_CVTSS2SD,
    SSE_CVTSD2SS,
    SSE_CVTDQ2PS,
    SSE_CVTPS2DQ,
    SSE_CVTTPS2DQ,
    SSE_CVTDQ2PD,
    SSE_CVTPD2DQ,
    SSE_CVTTPD2DQ,
    SSE_RCPPS,
    SSE_RCPSS,
    SSE_RSQRTPS,
    SSE_RSQRTSS, // no exceptions
    SSE_OPERATIONS
};

#define MXCSR_IE 0x0001u
#define MXCSR_DE 0x0002u
#define MXCSR_ZE 0x0004u
#define MXCSR_OE 0x0008u
#define MXCSR_UE 0x0010u
#define MXCSR_PE 0x0020u
#define MXCSR_FLAGS 0x003fu
#define MXCSR_DAZ 0x0040u
#define MXCSR_MASKS 0x1f80u
#define MXCSR_RC 0x6000u
#define MXCSR_FTZ 0x8000u
#define MXCSR_DEFAULT 0x1f80u
#define MXCSR_DEFINED 0xffffu

/// a = a op b in the low 16 bytes, as if all exceptions of `mxcsr` were masked; returns the exception flags that the
/// operation raises. `value`: in or out as the operation says, else untouched.
uint32_t fpu_host_sse(enum sse_operation operation, union vreg *a, const union vreg *b, uint32_t mxcsr,
                      unsigned immediate, uint64_t *value);

/// x87 operations on register values.
enum x87_operation {
    X87_ADD,
    X87_MUL,
    X87_COM,
    X87_SUB,
    X87_SUBR,
    X87_DIV,
    X87_DIVR, // st0 = st0 op st1 (R: st1 op st0)
    X87_SQRT,
    X87_CHS,
    X87_ABS,
    X87_RNDINT,
    X87_2XM1,
    X87_SIN,
    X87_COS, // st0 = op(st0)
    X87_PREM,
    X87_PREM1,
    X87_SCALE, // st0 = st0 op st1
    X87_YL2X,
    X87_YL2XP1,
    X87_PATAN, // st0 (popped) and st1: result in st0
    X87_PTAN,
    X87_SINCOS,
    X87_XTRACT, // two results: st1 is the deeper one
    X87_UCOM,
    X87_TST,
    X87_XAM, // like COM: condition codes only
    X87_OPERATIONS
};

/// FSW and FCW bits.
#define X87_IE 0x0001u
#define X87_DE 0x0002u
#define X87_ZE 0x0004u
#define X87_OE 0x0008u
#define X87_UE 0x0010u
#define X87_PE 0x0020u
#define X87_SF 0x0040u
#define X87_ES 0x0080u
#define X87_C0 0x0100u
#define X87_C1 0x0200u
#define X87_C2 0x0400u
#define X87_TOP 0x3800u
#define X87_C3 0x4000u
#define X87_BUSY 0x8000u
#define X87_EXCEPTIONS 0x003fu
#define X87_CONDITIONS (X87_C0 | X87_C1 | X87_C2 | X87_C3)

struct x87_result {
    uint16_t status; // exceptions and condition codes that the operation gives (an FSW without TOP, ES, B)
    bool done;       // false: an unmasked exception before the computation; registers keep their values
    bool pushed;     // of operations with two results: there are two
    struct f80 st0, st1;
};

/// Runs an operation under the guest's control word; results of unmasked overflow and underflow have the wrapped
/// exponent of SDM vol. 1 sec. 8.5.4 and 8.5.5. Operands are never empty registers.
struct x87_result fpu_host_x87(enum x87_operation operation, struct f80 st0, struct f80 st1, uint16_t control);

/// Memory formats. The 80-bit one needs no conversion and never comes here.
enum x87_format { X87_FLOAT32, X87_FLOAT64, X87_INT16, X87_INT32, X87_INT64, X87_BCD80, X87_FLOAT80 };

/// ADD..DIVR with an integer or float operand from memory in the place of st1.
struct x87_result fpu_host_x87_memory(enum x87_operation operation, enum x87_format format, struct f80 st0,
                                      const void *from, uint16_t control);

/// Loads: st0 from the bits of a memory operand (BCD has 10 bytes).
struct x87_result fpu_host_x87_load(enum x87_format format, const void *from, uint16_t control);
/// Stores st0; `truncate` as FISTTP. done false: nothing is to be stored. Writes up to 10 bytes at `to`.
struct x87_result fpu_host_x87_store(enum x87_format format, struct f80 st0, void *to, uint16_t control, bool truncate);

/// Constants of FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ (0..6) as rounded under the control word.
struct f80 fpu_host_x87_constant(unsigned number, uint16_t control);

#endif
