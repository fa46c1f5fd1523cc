// Shared by the SIMD and x87 chapter: operands of its rows' C functions, vector types, the functions themselves.
#ifndef DOPPEL_CPU_FPU_H
#define DOPPEL_CPU_FPU_H

#include "cpu/cpu.h"
#include "cpu/fpu_host.h"
#include "cpu/row.h"

// ---- Operand of a SIMD row's function, where it is no register's value -----------------------------------------
#define SIMD_IMMEDIATE UINT64_C(0xff) // the immediate byte
#define SIMD_MMX BIT(8)               // registers are MMX: 8 bytes, and the x87 state becomes that of MMX
#define SIMD_STORE BIT(9)             // MOVQ to memory: the register is only read
#define SIMD_OPERATION(operand) ((unsigned)((operand) >> 16)) // the row's argument: enum sse_operation

static inline uint64_t simd_operand(const struct row *row, bool mmx, uint64_t immediate)
{
    return (immediate & SIMD_IMMEDIATE) | (mmx ? SIMD_MMX : 0) | (uint64_t)row->argument << 16;
}

/// Bytes of the registers: 8 or 16.
static inline unsigned simd_bytes(uint64_t operand)
{
    return operand & SIMD_MMX ? 8 : 16;
}

typedef uint8_t vec_u8 __attribute__((vector_size(16)));
typedef uint16_t vec_u16 __attribute__((vector_size(16)));
typedef uint32_t vec_u32 __attribute__((vector_size(16)));
typedef uint64_t vec_u64 __attribute__((vector_size(16)));
typedef int8_t vec_s8 __attribute__((vector_size(16)));
typedef int16_t vec_s16 __attribute__((vector_size(16)));
typedef int32_t vec_s32 __attribute__((vector_size(16)));
typedef int64_t vec_s64 __attribute__((vector_size(16)));

/// The low 16 bytes of a register (an MMX register's upper 8 are x87's exponent: not for use).
static inline vec_u64 vec_get(const union vreg *v)
{
    vec_u64 value;
    memcpy(&value, v, sizeof value);
    return value;
}

// ---- Shared state changes -----------------------------------------------------------------------------------------
/// An unmasked x87 exception waits, and this instruction must not run before it is handled: its function raises #MF.
/// With CR0.NE clear run_deliver_fault makes FERR of that; the IGNNE pin lets instructions run nevertheless.
static inline bool x87_must_fault(const struct cpu *cpu)
{
    return UNLIKELY(cpu->x87.status & X87_ES) && ((cpu->cr0 & CR0_NE) || !cpu->ignne);
}

/// What every MMX instruction does first: pending #MF (then false), all registers valid, TOP 0.
static inline bool simd_enter_mmx(struct cpu *cpu)
{
    if (x87_must_fault(cpu)) {
        cpu_raise(cpu, VECTOR_MF);
        return false;
    }
    cpu->x87.top = 0;
    cpu->x87.valid = 0xff;
    return true;
}

static inline uint64_t simd_put_mmx(struct cpu *cpu, union vreg *dst, uint64_t value)
{
    if (simd_enter_mmx(cpu)) {
        dst->u64[0] = value;
        dst->u16[4] = 0xffff;
    }
    return 0;
}

/// Writes a result of 16 bytes, or of 8 where the operand says MMX.
static inline uint64_t simd_put(struct cpu *cpu, union vreg *dst, vec_u64 value, uint64_t operand)
{
    if (UNLIKELY(operand & SIMD_MMX))
        return simd_put_mmx(cpu, dst, value[0]);
    memcpy(dst, &value, sizeof value);
    return 0;
}

// ---- sse_integer.c -----------------------------------------------------------------------------------------------
row_execute simd_paddb, simd_paddw, simd_paddd, simd_paddq, simd_psubb, simd_psubw, simd_psubd, simd_psubq;
row_execute simd_paddsb, simd_paddsw, simd_paddusb, simd_paddusw, simd_psubsb, simd_psubsw, simd_psubusb, simd_psubusw;
row_execute simd_pcmpeqb, simd_pcmpeqw, simd_pcmpeqd, simd_pcmpeqq, simd_pcmpgtb, simd_pcmpgtw, simd_pcmpgtd;
row_execute simd_pcmpgtq;
row_execute simd_pand, simd_pandn, simd_por, simd_pxor;
row_execute simd_pmullw, simd_pmulhw, simd_pmulhuw, simd_pmuludq, simd_pmaddwd, simd_psadbw, simd_pavgb, simd_pavgw;
row_execute simd_pminub, simd_pminsw, simd_pmaxub, simd_pmaxsw;
row_execute simd_psllw, simd_pslld, simd_psllq, simd_psrlw, simd_psrld, simd_psrlq, simd_psraw, simd_psrad;
row_execute simd_psllw_by, simd_pslld_by, simd_psllq_by, simd_psrlw_by, simd_psrld_by, simd_psrlq_by, simd_psraw_by;
row_execute simd_psrad_by, simd_pslldq_by, simd_psrldq_by;

// ---- sse_shuffle.c: registers rearranged, moves --------------------------------------------------------------------
row_execute simd_packsswb, simd_packssdw, simd_packuswb;
row_execute simd_punpcklbw, simd_punpcklwd, simd_punpckldq, simd_punpcklqdq;
row_execute simd_punpckhbw, simd_punpckhwd, simd_punpckhdq, simd_punpckhqdq;
row_execute simd_pshufw, simd_pshufd, simd_pshuflw, simd_pshufhw, simd_shufps, simd_shufpd;
row_execute simd_pinsrw, simd_pextrw, simd_pmovmskb, simd_movmskps, simd_movmskpd;
row_execute simd_movss, simd_movq, simd_movlps, simd_movhps, simd_movhlps;
row_execute simd_from_integer, simd_to_integer, simd_mmx_from_integer, simd_mmx_to_integer, simd_mmx_move;
row_execute simd_movq2dq, simd_emms;

// ---- sse_ssse3.c ---------------------------------------------------------------------------------------------------
row_execute simd_pshufb, simd_palignr, simd_phaddw, simd_phaddd, simd_phaddsw, simd_phsubw, simd_phsubd, simd_phsubsw;
row_execute simd_pmaddubsw, simd_pmulhrsw, simd_psignb, simd_psignw, simd_psignd, simd_pabsb, simd_pabsw, simd_pabsd;

// ---- sse_float.c --------------------------------------------------------------------------------------------------
row_execute sse_float, sse_to_integer, sse_cvtsi2ss, sse_cvtsi2sd;
row_execute sse_cvtpi2ps, sse_cvtpi2pd, sse_to_mmx;
row_execute sse_ldmxcsr, sse_stmxcsr;
/// Exception flags into MXCSR; an unmasked one raises #XM (#UD without CR4.OSXMMEXCPT) and returns false: then the
/// destination must stay.
bool sse_commit_flags(struct cpu *cpu, uint32_t flags);

/// As fpu_host_sse, but with the flags that unmasked overflow and underflow give: what sse_commit_flags takes.
uint32_t sse_compute(enum sse_operation operation, union vreg *a, const union vreg *b, uint32_t mxcsr,
                     unsigned immediate, uint64_t *value);

// ---- sse_horizontal.c ----------------------------------------------------------------------------------------------
row_execute sse_horizontal, sse_addsub, simd_movddup, simd_movsldup, simd_movshdup;
row_execute sse_round, sse_dpps, sse_dppd;

// ---- sse_sse41.c ---------------------------------------------------------------------------------------------------
row_execute simd_pblendvb, simd_blendvps, simd_blendvpd, simd_pblendw, simd_blendps, simd_blendpd, simd_ptest;
row_execute simd_pmovsxbw, simd_pmovsxbd, simd_pmovsxbq, simd_pmovsxwd, simd_pmovsxwq, simd_pmovsxdq;
row_execute simd_pmovzxbw, simd_pmovzxbd, simd_pmovzxbq, simd_pmovzxwd, simd_pmovzxwq, simd_pmovzxdq;
row_execute simd_pmuldq, simd_pmulld, simd_packusdw, simd_pminsb, simd_pminsd, simd_pminuw, simd_pminud;
row_execute simd_pmaxsb, simd_pmaxsd, simd_pmaxuw, simd_pmaxud, simd_phminposuw, simd_mpsadbw;
row_execute simd_insertps, simd_pinsrb, simd_pinsrd, simd_pinsrq, simd_pextrb, simd_pextrd, simd_pextrq;

// ---- sse_string.c: flags; PCMPxSTRI has the index from bit 32 on, too ---------------------------------------------
row_execute simd_pcmpestri, simd_pcmpestrm, simd_pcmpistri, simd_pcmpistrm;

// ---- sse_crypto.c, sse_sha.c ---------------------------------------------------------------------------------------
row_execute simd_aesenc, simd_aesenclast, simd_aesdec, simd_aesdeclast, simd_aesimc, simd_aeskeygenassist;
row_execute simd_pclmulqdq;
row_execute simd_sha1nexte, simd_sha1msg1, simd_sha1msg2, simd_sha1rnds4;
row_execute simd_sha256msg1, simd_sha256msg2, simd_sha256rnds2;

// ---- x87.c ----------------------------------------------------------------------------------------------------------
// Operand of an x87 row's function: offset of the instruction in the block, its 11-bit opcode, the row's argument.
#define X87_OFFSET(operand) ((operand)&0xffff)
#define X87_OPCODE(operand) ((unsigned)((operand) >> 16) & 0x7ff)
#define X87_STI(operand) ((unsigned)((operand) >> 16) & 7)
#define X87_ARGUMENT(operand) ((unsigned)((operand) >> 32) & 0xfffff)

/// Arguments of rows: an operation or format, and what happens to the stack.
#define X87_POP 0x100u
#define X87_POP_TWICE 0x200u
#define X87_TO_STI 0x800u    // destination is ST(i)
#define X87_QUIET 0x1000u    // no fault from an empty ST0
#define X87_TRUNCATE 0x2000u // FISTTP
#define X87_FORMAT(format) ((uint32_t)(format) << 16)

#define X87_SEGMENT(operand) ((unsigned)((operand) >> 52) & 7) // of the memory operand
#define X87_MEMORY BIT(55)                                     // there is one, at VAR_X87_DATA in its segment
#define X87_CONDITION_TRUE BIT(63)                             // FCMOVcc moves

row_execute x87_arithmetic, x87_arithmetic_memory, x87_compare, x87_compare_memory, x87_compare_flags;
row_execute x87_unary, x87_examine, x87_two_operands, x87_two_results;
row_execute x87_load, x87_load80, x87_load_sti, x87_constant, x87_store_sti, x87_exchange, x87_cmov;
row_execute x87_fninit, x87_fnclex, x87_fldcw, x87_fnstcw, x87_fnstsw, x87_fdecstp, x87_fincstp, x87_ffree, x87_fwait;
row_execute x87_fnop, x87_fnop_quiet;

/// FSW with TOP; the tag word in its 16-bit form.
uint16_t x87_status_word(const struct cpu *cpu);
void x87_set_status_word(struct cpu *cpu, uint16_t status);
uint16_t x87_tag_word(const struct cpu *cpu);
void x87_set_control(struct cpu *cpu, uint16_t control);
static inline unsigned x87_format_bytes(enum x87_format format)
{
    static const uint8_t sizes[] = {4, 8, 2, 4, 8, 10, 10};
    return sizes[format];
}
/// Real-address and virtual-8086 mode: images hold linear addresses.
static inline bool x87_real_format(const struct cpu *cpu)
{
    return !(cpu->mode & MODE_PROTECTED) || (cpu->mode & MODE_VM86);
}
/// CR0.NE is clear: asserts FERR and waits, as if halted, for an interrupt (SDM vol. 1 sec. 8.7.2).
void x87_wait_for_handler(struct cpu *cpu);
/// The x87 part of the images of FXSAVE and XSAVE (SDM vol. 1 table 10-2), bytes 0 to 23 and 32 to 159; `to` is zeros.
/// `wide`: REX.W, pointers of 64 bits. Where the model's x87_policy has `rule` (X87_SAVE_IF_PENDING for FXSAVE,
/// X87_LOAD_IF_PENDING for XSAVE), pointers stay out while no exception is pending.
void x87_put_image(const struct cpu *cpu, uint8_t *to, bool wide, uint8_t rule);
void x87_get_image(struct cpu *cpu, const uint8_t *from, bool wide);
/// Recomputes ES and B after a change of masks or flags.
void x87_update_summary(struct cpu *cpu);
/// Stores to memory, for helper_x87_store: fills up to 10 bytes and returns how many; 0: nothing to store. Pops.
unsigned x87_store_value(struct cpu *cpu, uint64_t operand, uint8_t bytes[16]);

#endif
