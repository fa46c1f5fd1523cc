// Uops: what an instruction means. Lifts emit them; the interpreter runs them, backends compile them. Width is data.
//
// Values are variables (enum cpu_var). An operation of width w reads the low w bits of its operands and writes: to a
// guest register, 8 and 16 bits merge into the register, 32 bits zero-extend, as x86 does; to a temporary the low w
// bits (32: zero-extended to 64), the rest is undefined. `b` may be VAR_IMM: then the operand is imm.
#ifndef DOPPEL_CPU_UOP_H
#define DOPPEL_CPU_UOP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

#define VAR_IMM 31 // = VAR_RESERVED1: as operand b, "the immediate"

// X(name): flags in the comment are those it defines when UOP_SETS_FLAGS is in `aux`; others keep their value.
#define UOPS(X)                                                                                                        \
    X(NOP)                                                                                                             \
    X(MOV)          /* dst = b */                                                                                      \
    X(ZEXT)         /* dst (width) = zero-extended low 8 << sub bits of a */                                           \
    X(SEXT)         /* dst (width) = sign-extended low 8 << sub bits of a */                                           \
    X(GET_HIGH)     /* dst (8 bits) = bits 15..8 of a */                                                               \
    X(SET_HIGH)     /* bits 15..8 of dst = low 8 bits of a */                                                          \
    X(ADD)          /* dst = a + b; six flags */                                                                       \
    X(ADC)          /* dst = a + b + CF; six flags */                                                                  \
    X(SUB)          /* dst = a - b; six flags */                                                                       \
    X(SBB)          /* dst = a - b - CF; six flags */                                                                  \
    X(AND)          /* six flags (AF 0) */                                                                             \
    X(OR)           /* likewise */                                                                                     \
    X(XOR)          /* likewise */                                                                                     \
    X(NOT)          /* dst = ~a */                                                                                     \
    X(NEG)          /* dst = -a; six flags */                                                                          \
    X(INC)          /* dst = a + 1; all but CF */                                                                      \
    X(DEC)          /* dst = a - 1; all but CF */                                                                      \
    X(SHL)          /* dst = a << (b & mask); count 0 keeps all flags; AF undefined */                                 \
    X(SHR)          /* likewise */                                                                                     \
    X(SAR)          /* likewise */                                                                                     \
    X(ROL)          /* CF, OF; count 0 keeps */                                                                        \
    X(ROR)          /* likewise */                                                                                     \
    X(RCL)          /* likewise, through CF */                                                                         \
    X(RCR)          /* likewise */                                                                                     \
    X(SHLD)         /* dst = a shifted left by c's low bits (or imm if c is VAR_IMM), filled from b */                 \
    X(SHRD)         /* right */                                                                                        \
    X(MUL)          /* dst = low half, c (a variable) = high half of unsigned a * b; CF OF */                          \
    X(IMUL)         /* signed; CF OF */                                                                                \
    X(IMUL_LOW)     /* dst = low half of signed a * b; CF OF */                                                        \
    X(DIV)          /* dst = quotient, c = remainder of (high: b, low: a) by imm-as-variable `sub`; #DE */             \
    X(IDIV)         /* signed */                                                                                       \
    X(BT)           /* CF = bit (b & width-1) of a; others kept */                                                     \
    X(BTS)          /* dst = a with the bit set; CF */                                                                 \
    X(BTR)          /* cleared */                                                                                      \
    X(BTC)          /* flipped */                                                                                      \
    X(BSF)          /* dst = index of lowest set bit of b, or a when b is 0; flags of b as AND's */                    \
    X(BSR)          /* highest */                                                                                      \
    X(TZCNT)        /* CF = (b == 0), other flags by dst */                                                            \
    X(LZCNT)        /* likewise */                                                                                     \
    X(POPCNT)       /* ZF; others 0 */                                                                                 \
    X(BLSI)         /* dst = lowest set bit of a, others clear; CF = (a != 0), other flags by dst */                   \
    X(BLSR)         /* dst = a less its lowest set bit; CF = (a == 0), other flags by dst */                           \
    X(BLSMSK)       /* dst = ones up to the lowest set bit of a; likewise */                                           \
    X(BZHI)         /* dst = a's bits below b (8 bits); CF = (b >= width), other flags by dst */                       \
    X(BEXTR)        /* dst = a's bits from b on (8 bits), b's bits 8..15 of them; flags as AND */                      \
    X(PDEP)         /* dst = a's low bits put where mask b has ones */                                                 \
    X(PEXT)         /* dst = a's bits where mask b has ones, put together */                                           \
    X(ADX)          /* dst = a + b + a flag, which becomes the carry; others kept. sub 0: CF, 1: OF */                 \
    X(BSWAP)        /* width 32, 64 */                                                                                 \
    X(SETCC)        /* dst (8 bits) = condition sub (x86 number 0..15) */                                              \
    X(SELECT)       /* dst = condition sub ? b : a (width; 32 zero-extends either way) */                              \
    X(SELECT_Z)     /* dst = low `width` bits of c are zero ? b : a; 64-bit move */                                    \
    X(CHECK_TARGET) /* #GP(0) unless a is canonical (64-bit code) or within CS.limit */                                \
    X(GET_FLAGS)    /* dst = the six flags, in RFLAGS places */                                                        \
    X(SET_FLAGS)    /* the six flags = (old & ~imm) | (a & imm) */                                                     \
    X(EA)           /* dst = (a + (b << sub) + imm) cut to width (16, 32: zero-extended) */                            \
    X(SEG)          /* dst = linear of segment sub, offset a, 1 << width.. `param` bytes; aux UOP_WRITE; #GP #SS */    \
    X(XLAT)         /* dst = handle for `param` bytes at linear a; aux UOP_WRITE, UOP_STACK; #PF #GP #SS #AC */        \
    X(LOAD)         /* dst = value at handle a (zero-extended) */                                                      \
    X(STORE)        /* handle a = b */                                                                                 \
    X(FENCE)        /* sub: 1 load, 2 store, 3 full */                                                                 \
    X(VLOAD)        /* vreg dst = `param` bytes at handle a; bytes above, up to 16 (sub 1: 32), are zero */            \
    X(VSTORE)       /* `param` bytes at handle a = vreg b */                                                           \
    X(VMOV)         /* vreg dst = vreg b, low 16 bytes; sub 1: low `param` bytes, above zeros up to 32 */              \
    X(ROW)          /* var dst = row[param].execute(cpu, vreg a, vreg b, var c or imm); may fault */                   \
    X(CALL)         /* var dst = helper[param](cpu, a, b, imm); may fault if the helper says so */                     \
    X(RAISE)        /* fault imm (vector), param = error code, aux UOP_ERROR_CODE; ends the block */                   \
    X(EXIT)         /* rip = (RIP + imm) cut to width; ends the block */                                               \
    X(EXIT_IF)      /* condition sub ? RIP + imm : RIP + (int32)param; ends the block */                               \
    X(EXIT_IF_ZERO) /* low `c`-coded width bits of a zero (aux UOP_NEGATE: not zero) ? RIP + imm : RIP + param */      \
    X(EXIT_TO)      /* rip = a; ends the block */

enum uop_op {
#define X(name) UOP_##name,
    UOPS(X)
#undef X
        UOP_OPS
};

// aux bits
#define UOP_SETS_FLAGS 0x01u
#define UOP_WRITE 0x02u      // XLAT, SEG: for writing (read-modify-write too)
#define UOP_STACK 0x04u      // XLAT: non-canonical is #SS
#define UOP_ERROR_CODE 0x08u // RAISE
#define UOP_X87 0x10u        // XLAT, SEG: a pending x87 exception comes before their faults
#define UOP_NEGATE 0x20u
#define UOP_MODE 0x40u    // XLAT: `c` is an enum mmu_mode in place of the block's (implicit supervisor accesses)
#define UOP_ALIGNED 0x80u // XLAT: linear must be a multiple of `param` (16), else #GP(0)

#define UOP_CODE(op, width, imm, flags) ((op)*16 + (flags)*8 + (imm)*4 + (width))
#define UOP_CODE_PAIRS (UOP_OPS * 16) // uops that run as one with those behind them
enum uop_pair {
    UOP_CODE_XLAT_LOAD = UOP_CODE_PAIRS,             // + width
    UOP_CODE_XLAT_STORE = UOP_CODE_XLAT_LOAD + 4,    // + width + immediate * 4
    UOP_CODE_EA_XLAT_LOAD = UOP_CODE_XLAT_STORE + 8, // EA of 64 bits without index
    UOP_CODE_EA_XLAT_STORE = UOP_CODE_EA_XLAT_LOAD + 4,
    UOP_CODE_EA_SIMPLE = UOP_CODE_EA_XLAT_STORE + 8, // 64 bits, base + displacement
    UOP_CODE_COMPARE_EXIT,                           // + width + immediate * 4: SUB for flags only, then EXIT_IF
    UOP_CODE_TEST_EXIT = UOP_CODE_COMPARE_EXIT + 8,  // likewise, AND
    UOP_CODES = UOP_CODE_TEST_EXIT + 8
};

struct uop {
    uint16_t code; // the interpreter's: filled by interp_prepare. UOP_CODE, or one of UOP_CODE_PAIRS on
    uint8_t op;    // enum uop_op
    uint8_t width; // WIDTH_*
    uint8_t dst, a, b, c;
    int64_t imm;
    uint8_t insn; // number of the instruction in the block: finds its rip
    uint8_t sub;
    uint8_t aux;
    uint32_t param;
};

/// A helper is a rare or big piece of semantics in C. Faults by cpu_raise (then it must have changed nothing
/// architectural, unless its row commits partially). It may call anything in cpu/ and mmu/.
struct cpu;
typedef uint64_t uop_helper(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm);

struct uop_helper_entry {
    const char *name;
    uop_helper *function;
    bool may_fault;
};
/// All helpers; uop.param is the index. Built from helper.def's X-macro (helper.h).
extern const struct uop_helper_entry uop_helpers[];
extern const unsigned uop_helper_count;

const char *uop_name(enum uop_op op);
/// One line without newline, e.g. "add.32 rax = rax, 5 !flags(zc)".
void uop_print(const struct uop *uop, char *text, size_t size);
/// Checks a block's uops: operands exist, temporaries are defined before use and once, nothing that can fault comes
/// after an architectural write of the same instruction (unless `partial[insn]`), the last uop ends the block.
bool uop_verify(const struct uop *uops, unsigned count, const bool *partial, struct error *error);

#endif
