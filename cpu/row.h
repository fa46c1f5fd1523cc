// Instruction rows: one plain const description of each encoding, in the SDM's notation. Decoder, disassembly, lifts,
// tests and docs/isa.md are all consumers; nothing else in the project knows opcodes.
#ifndef DOPPEL_CPU_ROW_H
#define DOPPEL_CPU_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "cpu/cpu.h"

struct lift;
struct insn;

/// Row attributes.
#define ROW_LOCKABLE BIT(0) // LOCK allowed with a memory destination
#define ROW_ENDS_BLOCK BIT(1)
#define ROW_CPL0 BIT(2)          // #GP(0) when CPL > 0
#define ROW_NO_REAL BIT(3)       // #UD in real and virtual-8086 mode
#define ROW_NO_64 BIT(4)         // #UD in 64-bit code
#define ROW_ONLY_64 BIT(5)       // #UD outside
#define ROW_DEFAULT_64 BIT(6)    // 64-bit operand size by default in 64-bit code (PUSH, near CALL, ...)
#define ROW_FORCE_64 BIT(7)      // ... and 66 is ignored (near branches; Intel's behaviour)
#define ROW_MEMORY_ONLY BIT(8)   // ModRM must be memory, else #UD
#define ROW_REGISTER_ONLY BIT(9) // ModRM must be a register, else #UD
#define ROW_PARTIAL BIT(10)      // commits partially (REP, POPA, ...)
#define ROW_X87 BIT(11)          // #NM on TS/EM, checks pending #MF
#define ROW_X87_NO_WAIT BIT(12)  // ... without the pending check (FN*)
#define ROW_MMX BIT(13)
#define ROW_SSE BIT(14)               // #UD on EM or !OSFXSR, #NM on TS; unmasked exceptions are #XM
#define ROW_ALIGNED BIT(15)           // 16-byte memory operand must be aligned, else #GP(0)
#define ROW_APPROXIMATE BIT(16)       // vendors differ: RCP*, RSQRT* by 1.5 * 2^-12, x87 functions by one ulp
#define ROW_REP BIT(17)               // F3/F2 is REP/REPNE (string instructions)
#define ROW_MODRM_IGNORED_MOD BIT(18) // MOV CR/DR: mod is ignored, always registers
#define ROW_NOP_IF_NO_FEATURE BIT(19) // hint space: without the feature it is a NOP, not #UD
// Which flags are undefined depends on the count (SDM vol. 2, shifts and SHLD): none for 0; OF is defined for 1; CF is
// undefined for SHL and SHR beyond the width, and for SHLD and SHRD by more than the width everything is.
#define ROW_COUNT_FLAGS BIT(20)
#define ROW_AVX BIT(21) // VEX-encoded, on vector registers: #UD unless XCR0 has SSE and AVX, #NM on TS; as ROW_SSE else
#define ROW_VSIB BIT(22) // the memory operand's index is a vector register; no two of the three may be the same

enum cpu_feature; // model.h

/// Semantics in C for SIMD and x87 rows (uop ROW): see UOP_ROW. `operand` is the immediate or a GPR's value; the
/// result (a GPR's value, flags) goes to a variable. Faults by cpu_raise, then nothing has changed.
typedef uint64_t row_execute(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand);

/// An encoding, in the SDM's notation, words in this order:
///   prefixes   NP (no 66, F2, F3), NFx (no F2, F3), 66, F2, F3, REX.W, REX.W=0, REX.B=0 (90 NOP against XCHG r8)
///              or VEX.L0.66.0F38.W0 and so on: 128 L0 LZ, 256 L1, or LIG; 66 F3 F2 or none of them; 0F 0F38 0F3A;
///              W0 W1 WIG. Such a row wants protected mode and no other of these prefixes.
///   opcode     XX, 0F XX, 0F 38 XX, 0F 3A XX; the last may be XX+r (eight opcodes, register in the low bits)
///   ModRM      /r, /0../7, a whole byte (0F 01 F8), or XX+i (D8 C0+i: eight bytes)
///   immediates ib iw id io (1 2 4 8 bytes), iz (2 or 4, by operand size), iv (2, 4 or 8), cb cw cd (relative, that
///              many bytes), cz (by operand size), cp (far pointer, offset by operand size), mo (moffs, by address
///              size)
/// A row without mandatory prefix takes any: it is what remains when no more special row fits. Of two rows whose
/// encodings meet, one must be a proper special case of the other (prefix, REX bit, /digit or fixed ModRM, memory or
/// register form, ROW_NO_64/ROW_ONLY_64): it wins where it fits and the model has its feature; otherwise the next
/// general row is looked at (TZCNT "F3 0F BC /r" before BSF "0F BC /r"). Anything else is an overlap, refused.
/// F2 and F3 have priority over 66 as mandatory prefix; 66 then still is the operand size. A mandatory 66 is not.
///
/// Operands: SDM appendix A letters, comma-separated. First the place:
///   E (ModRM: GPR or memory)  G (ModRM.reg: GPR)  R (ModRM.rm: GPR)  M (memory)  Z (GPR in the opcode's low bits)
///   P Q N (MMX: reg, rm or memory, rm)  V W U (XMM likewise)  S C D (segment, control, debug register in reg)
///   B H (VEX.vvvv: GPR, XMM or YMM)  L (XMM or YMM: the upper four bits of an immediate byte)
///   I (immediate)  J (relative)  A (far pointer)  O (moffs)  X Y (string source DS:rSI, destination ES:rDI)
/// then the size: b 1, w 2, d 4, q 8, dq 16, qq 32, ss 4, sd 8, ps pd x (16; 32 with VEX.L), t 10, v (operand size: 2,
/// 4, 8), z (2 or 4), y (4, or 8 with REX.W), p (far pointer in memory), s (6 or 10: GDTR, IDTR), a (BOUND's pair); M
/// alone has none. S, C, D need no size. Two forms: "Rv/Mw", "Ry/Mb", "Udq/Mq" (register form / memory form). M, R, N,
/// U alone imply ROW_MEMORY_ONLY and ROW_REGISTER_ONLY. Immediates: Ib Iw Id Iv are zero-extended to 64 bits, Ibs
/// (sign-extended byte) and Iz sign-extended. Fixed: AL CL DX rAX rCX (operand size) eAX (2 or 4) ..., ES CS SS DS FS
/// GS, XMM0, ST0, STi (low bits of ModRM), "1". The decoder refuses S with reg 6, 7 and CS as destination,
/// CR1, 5..7, 9.., DR8...
struct row {
    const char *encoding;
    /// Lower case, as capstone's Intel syntax prints it. "cbw|cwde|cdqe" chooses by operand size 2|4|8;
    /// "@jcxz|jecxz|jrcxz" by address size.
    const char *mnemonic;
    const char *operands;
    void (*lift)(struct lift *lift, const struct insn *insn);
    uint32_t argument;                                   // for the lift function: enum uop_op, helper, condition, ...
    uint32_t attributes;                                 // ROW_*
    uint16_t flags_read, flags_written, flags_undefined; // FLAG_* (CF..OF fit 12 bits)
    uint16_t feature;                                    // enum cpu_feature; 0: always there
    row_execute *execute;
    row_execute *lane; // ROW_AVX: what avx_lanes does in each lane of 128 bits
};

/// Row tables by chapter; the lookup index is built from all. A row's number (uop.param) counts through them in order.
struct row_table {
    const char *name;
    const struct row *rows;
    const unsigned *count; // the chapter's own constant
};
extern const struct row_table row_tables[]; // rows.c
extern const unsigned row_table_count;
extern const struct row rows_integer[], rows_system[], rows_x87[], rows_sse[], rows_sse4[], rows_bmi[], rows_avx[],
    rows_fma[];
extern const unsigned rows_integer_count, rows_system_count, rows_x87_count, rows_sse_count, rows_sse4_count,
    rows_bmi_count, rows_avx_count, rows_fma_count;

unsigned row_count(void);
const struct row *row_get(unsigned number);
unsigned row_number(const struct row *row);

enum operand_kind {
    OPERAND_NONE,
    OPERAND_GPR,       // reg 0..15; high: AH CH DH BH (reg 0..3)
    OPERAND_MEMORY,    // insn's address; size = width below, or operand-specific bytes
    OPERAND_IMMEDIATE, // insn->immediate, or immediate2 if reg is 1; extended to 64 bits as the letter says
    OPERAND_RELATIVE,  // imm = displacement from the next instruction
    OPERAND_SEGMENT,   // reg 0..5
    OPERAND_CONTROL,
    OPERAND_DEBUG,
    OPERAND_XMM,    // reg 0..15; of 32 bytes: YMM
    OPERAND_MMX,    // reg 0..7
    OPERAND_ST,     // reg 0..7
    OPERAND_FAR,    // imm = offset, selector in insn->far_selector
    OPERAND_OFFSET, // moffs: like memory without base and index, displacement = immediate
    OPERAND_STRING_SOURCE,
    OPERAND_STRING_DESTINATION, // X, Y
};

struct operand {
    uint8_t kind;
    uint8_t bytes; // size: 1, 2, 4, 8, 10, 16, ... (0: none, e.g. LEA's M)
    uint8_t reg;
    bool high;
};

#define INSN_MAX_LENGTH 15
#define INSN_MAX_OPERANDS 4

/// A decoded instruction.
struct insn {
    const struct row *row; // NULL: #UD
    uint8_t length;
    uint8_t operand_bytes; // 2, 4, 8: effective operand size
    uint8_t address_bytes; // 2, 4, 8
    uint8_t rex;           // whole byte or 0; of a VEX prefix what it says of W, R, X, B
    bool vex;              // then rep, repne and operand_prefix are clear, and these mean something:
    uint8_t vex_prefix;    // enum key_prefix: 66, F3 or F2 as pp
    uint8_t vex_map;       // mmmmm
    uint8_t vex_register;  // vvvv
    uint8_t vector_bytes;  // vector length, 16 or 32; 16 without VEX
    bool lock, rep, repne, operand_prefix;
    bool code64; // decoded as 64-bit code
    uint8_t modrm;
    // Memory operand: segment:[base + index << scale + displacement]; base/index: GPR number, -1 none, base -2 RIP.
    int8_t base, index;
    uint8_t scale;
    uint8_t segment;         // effective, after overrides and defaults
    int8_t segment_override; // -1: none
    int64_t displacement;
    uint64_t immediate, immediate2; // immediate2: the second one (ENTER)
    uint16_t far_selector;
    unsigned operand_count;
    struct operand operand[INSN_MAX_OPERANDS];
};

enum decode_status {
    DECODE_OK,
    DECODE_ILLEGAL,  // #UD; length tells how many bytes were looked at
    DECODE_TOO_LONG, // over 15 bytes: #GP(0)
    DECODE_MORE,     // `available` bytes were not enough: fetch on (may fault on the next page)
};

struct row_index; // the lookup index; built once a process from const rows, immutable afterwards
/// Builds the index; overlapping encodings or malformed rows are errors that name the rows.
struct row_index *row_index_build(struct error *error);
void row_index_free(struct row_index *index);

/// Decodes one instruction from `bytes` in the mode (MODE_CODE*, MODE_PROTECTED, MODE_VM86, CPL matter); `model` tells
/// which features exist (a row whose feature is missing is illegal). #GP by ROW_CPL0 is not the decoder's business.
enum decode_status decode(const struct row_index *index, const struct cpu_model *model, uint32_t mode,
                          const uint8_t *bytes, unsigned available, struct insn *insn);

/// Text in Intel syntax as capstone writes it: "add dword ptr [rax + rbx*4 + 0x10], ecx". rip: of the instruction.
void disassemble(const struct insn *insn, uint64_t rip, char *text, size_t size);

#endif
