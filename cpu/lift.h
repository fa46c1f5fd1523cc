// Lifting: the tools with which a row's lift function turns a decoded instruction into uops.
#ifndef DOPPEL_CPU_LIFT_H
#define DOPPEL_CPU_LIFT_H

#include "cpu/cpu.h"
#include "cpu/helper.h"
#include "cpu/row.h"
#include "cpu/uop.h"

#define LIFT_MAX_UOPS 512
#define LIFT_MAX_INSNS 64

struct lift {
    uint32_t mode; // of the block
    const struct cpu_model *model;
    unsigned uop_count, insn_count;
    unsigned next_temp;
    unsigned offset;      // of this instruction from the block's start, in bytes
    unsigned next_offset; // of the following one
    bool ended;           // an exit or raise was emitted
    bool has_call;        // a CALL was
    uint64_t rip;         // of the block's start
    unsigned linear_bits; // of 64-bit code; 0: targets of relative branches are not looked at
    int64_t branch;       // from the block's start to the target of its relative branch, in 64-bit code; else 0
    bool branch_faults;   // that target is not canonical
    bool beyond_limit;    // the only instruction goes over the end of CS, which is not part of a block's key
    bool partial[LIFT_MAX_INSNS];
    uint16_t insn_offset[LIFT_MAX_INSNS + 1];
    struct uop uops[LIFT_MAX_UOPS];
};

static inline bool lift_is_64(const struct lift *l)
{
    return (l->mode & MODE_CODE_MASK) == MODE_CODE64;
}
static inline unsigned lift_cpl(const struct lift *l)
{
    return l->mode & MODE_CPL_MASK;
}

/// Appends a uop (op, width set; the rest zero, dst/a/b/c VAR_NONE/VAR_ZERO) and returns it for completion.
struct uop *lift_emit(struct lift *l, enum uop_op op, uint8_t width);
uint8_t lift_temp(struct lift *l);
/// dst = op(a, b) / op(a, imm). `flags`: sets flags.
void lift_op(struct lift *l, enum uop_op op, uint8_t width, uint8_t dst, uint8_t a, uint8_t b, bool flags);
void lift_op_imm(struct lift *l, enum uop_op op, uint8_t width, uint8_t dst, uint8_t a, int64_t imm, bool flags);
/// A temporary with a constant (64 bits).
uint8_t lift_const(struct lift *l, uint64_t value);

/// Linear address of the instruction's memory operand plus `extra` bytes, checked against its segment for `bytes`
/// bytes (segmentation faults come here, page faults in lift_xlat).
uint8_t lift_linear(struct lift *l, const struct insn *insn, unsigned bytes, bool write, int64_t extra);
/// Effective address (offset) only, cut to the address size.
uint8_t lift_effective(struct lift *l, const struct insn *insn);
/// Linear address from an offset variable in a given segment.
uint8_t lift_segment(struct lift *l, unsigned segment, uint8_t offset, unsigned bytes, bool write);
/// Handle for `bytes` at a linear address.
uint8_t lift_xlat(struct lift *l, uint8_t linear, unsigned bytes, bool write, bool stack);
uint8_t lift_load(struct lift *l, uint8_t handle, uint8_t width);
void lift_store(struct lift *l, uint8_t handle, uint8_t value, uint8_t width);

/// Value of operand n (GPR, high byte, memory, immediate) as a variable of the operand's width.
uint8_t lift_read(struct lift *l, const struct insn *insn, unsigned n);
/// Writes operand n; memory is translated here, so it must be the last uop but exits, or use lift_rmw.
void lift_write(struct lift *l, const struct insn *insn, unsigned n, uint8_t value);
/// Read-modify-write of operand n: returns the old value; *handle is VAR_NONE for registers. lift_rmw_end writes.
uint8_t lift_rmw(struct lift *l, const struct insn *insn, unsigned n, uint8_t *handle);
void lift_rmw_end(struct lift *l, const struct insn *insn, unsigned n, uint8_t handle, uint8_t value);
/// Memory (or vector register) operand n into a vreg: returns the vreg number (a temporary for memory; #GP when
/// ROW_ALIGNED and unaligned).
uint8_t lift_vector_read(struct lift *l, const struct insn *insn, unsigned n);
void lift_vector_write(struct lift *l, const struct insn *insn, unsigned n, uint8_t vreg);

/// dst = helper(a, b, imm).
void lift_call(struct lift *l, enum helper helper, uint8_t dst, uint8_t a, uint8_t b, uint64_t imm);
/// dst = row->execute(vreg a, vreg b, c) of the instruction's own row; c VAR_IMM: imm.
void lift_row(struct lift *l, const struct insn *insn, uint8_t dst, uint8_t vreg_a, uint8_t vreg_b, uint8_t c,
              uint64_t imm);
void lift_raise(struct lift *l, uint8_t vector);
void lift_raise_error(struct lift *l, uint8_t vector, uint32_t error_code);
/// RIP (or IP/EIP, cut as the mode says) of this instruction / of the next one, as a variable.
uint8_t lift_this_rip(struct lift *l);
uint8_t lift_next_rip(struct lift *l);
/// Ends the block: at the next instruction; at an address in a variable (already cut and checked).
void lift_exit_next(struct lift *l);
void lift_exit_to(struct lift *l, uint8_t target);
/// Faults unless a near branch may go to `target`; before the instruction's first write.
void lift_check_target(struct lift *l, uint8_t target);
/// From the block's start to the target of a relative branch, where lift_chains.
int64_t lift_distance(const struct lift *l, const struct insn *insn);
/// A near branch whose target is a constant away and needs no check, so that blocks can be linked: 64-bit code, flat
/// code with 32-bit operands, and code that is not flat, whose IP and limit are known.
bool lift_chains(struct lift *l, const struct insn *insn);
/// The target of a relative branch, cut to the operand size.
uint8_t lift_relative_target(struct lift *l, const struct insn *insn);
/// Near branch relative to the next instruction, cut to the operand size, limit-checked.
void lift_exit_relative(struct lift *l, const struct insn *insn);

/// Push and pop with the mode's stack size; pop: value and new stack pointer, commit with lift_set_sp last.
void lift_push(struct lift *l, uint8_t value, unsigned bytes);
uint8_t lift_pop(struct lift *l, unsigned bytes, uint8_t *new_sp);
void lift_set_sp(struct lift *l, uint8_t new_sp);

/// x87/MMX/SSE preamble by the row's attributes: emits #NM, #UD or pending-#MF checks. Returns false when the
/// instruction always faults in this mode (block ended).
bool lift_fpu_check(struct lift *l, const struct insn *insn);

// ---- Lift functions of the integer chapter (lift_integer.c); `argument` of the row as noted ---------------------
typedef void lift_function(struct lift *l, const struct insn *insn);
lift_function lift_alu;        // UOP_ADD ADC SUB SBB AND OR XOR: op0 = op0 op op1 (lockable)
lift_function lift_cmp;        // UOP_SUB (cmp) or UOP_AND (test): flags only
lift_function lift_unary;      // UOP_INC DEC NEG NOT (lockable)
lift_function lift_mov;        // op0 = op1 (any kinds: Ev,Gv  Gv,Ev  Zv,Iv  moffs; Ev,Iz)
lift_function lift_mov_extend; // UOP_ZEXT, UOP_SEXT: movzx, movsx, movsxd
lift_function lift_lea;
lift_function lift_push_operand; // GPR, memory, immediate
lift_function lift_pop_operand;  // GPR, memory
lift_function lift_pusha, lift_popa;
lift_function lift_shift;        // UOP_SHL SHR SAR ROL ROR RCL RCR: op1 is 1, CL or Ib
lift_function lift_double_shift; // UOP_SHLD, UOP_SHRD: Ev,Gv,Ib/CL
lift_function lift_mul;          // UOP_MUL, UOP_IMUL: one operand form
lift_function lift_imul;         // two and three operand forms
lift_function lift_div;          // UOP_DIV, UOP_IDIV
lift_function lift_bit_test;     // UOP_BT BTS BTR BTC: Ev,Gv (bit string addressing) and Ev,Ib
lift_function lift_bit_scan;     // UOP_BSF BSR TZCNT LZCNT POPCNT
lift_function lift_bswap;
lift_function lift_setcc, lift_cmovcc, lift_jcc; // condition 0..15
lift_function lift_jmp, lift_call_near;          // Jz/Jb or Ev
lift_function lift_ret_near;                     // with or without Iw
lift_function lift_loop;                         // 0 loopne, 1 loope, 2 loop, 3 jcxz
lift_function lift_xchg, lift_xadd, lift_cmpxchg, lift_cmpxchg8b;
lift_function lift_cbw, lift_cwd; // 98, 99 by operand size
lift_function lift_flag_op;       // clc stc cmc cld std: argument is the opcode byte F5 F8 F9 FC FD
lift_function lift_lahf, lift_sahf, lift_nop, lift_leave, lift_xlat_table;
lift_function lift_enter;
lift_function lift_bcd;    // daa das aaa aas aam aad: argument is the opcode byte
lift_function lift_string; // enum string_op: movs cmps stos lods scas (REP aware)
lift_function lift_salc, lift_movbe, lift_fence, lift_ud;
lift_function lift_adx; // 0 adcx, 1 adox
lift_function lift_crc32, lift_movnti;

// ---- BMI1 and BMI2 (lift_bmi.c) ---------------------------------------------------------------------------------
lift_function lift_andn, lift_mulx;
lift_function lift_lowest_bit; // UOP_BLSI BLSR BLSMSK
lift_function lift_bit_field;  // UOP_BEXTR BZHI PDEP PEXT: op0 = op1 op op2
lift_function lift_shiftx;     // UOP_ROR SHL SAR SHR without flags

enum string_op { STRING_MOVS, STRING_CMPS, STRING_STOS, STRING_LODS, STRING_SCAS, STRING_INS, STRING_OUTS };

#endif
