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
#define ROW_LOCKABLE BIT(0)      // LOCK allowed with a memory destination
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
#define ROW_SSE BIT(14)          // #UD on EM or !OSFXSR, #NM on TS; unmasked exceptions are #XM
#define ROW_ALIGNED BIT(15)      // 16-byte memory operand must be aligned, else #GP(0)
#define ROW_APPROXIMATE BIT(16)  // RCPPS and friends: vendors differ
#define ROW_REP BIT(17)          // F3/F2 is REP/REPNE (string instructions)
#define ROW_MODRM_IGNORED_MOD BIT(18) // MOV CR/DR: mod is ignored, always registers
#define ROW_NOP_IF_NO_FEATURE BIT(19) // hint space: without the feature it is a NOP, not #UD

enum cpu_feature; // model.h

/// Semantics in C for SIMD and x87 rows (uop ROW): see UOP_ROW. `operand` is the immediate or a GPR's value; the
/// result (a GPR's value, flags) goes to a variable. Faults by cpu_raise, then nothing has changed.
typedef uint64_t row_execute(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand);

struct row {
    /// SDM notation: "01 /r", "81 /4 iz", "0F AF /r", "F3 0F B8 /r", "66 0F 6F /r", "NP 0F 10 /r", "50+r",
    /// "0F 01 F8" (fixed ModRM byte), "D8 C0+i", "REX.W 0F C7 /1", "0F 38 F0 /r". Mandatory prefixes NP, 66, F2, F3
    /// come first. ib iw id iz io cb cw cz mo say which immediates follow; /r or /0../7 that a ModRM follows.
    const char *encoding;
    const char *mnemonic; // lower case, as capstone's Intel syntax prints it
    /// SDM appendix A letters, comma-separated: "Ev,Gv", "Eb,Ib", "Zv,Iv"; fixed registers by name: "AL,Ib",
    /// "rAX,Iz", "DX,AL"; "1" is the constant one; "M" memory of no size; "Vx,Wx" xmm; "Pq,Qq" mmx; "ST0,STi".
    const char *operands;
    void (*lift)(struct lift *lift, const struct insn *insn);
    uint32_t argument; // for the lift function: enum uop_op, helper, condition, ...
    uint32_t attributes; // ROW_*
    uint16_t flags_read, flags_written, flags_undefined; // FLAG_* (CF..OF fit 12 bits)
    uint16_t feature; // enum cpu_feature; 0: always there
    row_execute *execute;
};

/// Row tables by chapter; row_find's index is built from all. A row's number (uop.param) counts through them in order.
struct row_table {
    const char *name;
    const struct row *rows;
    unsigned count;
};
extern const struct row_table row_tables[]; // rows.c
extern const unsigned row_table_count;
extern const struct row rows_integer[], rows_system[], rows_x87[], rows_sse[];
extern const unsigned rows_integer_count, rows_system_count, rows_x87_count, rows_sse_count;

unsigned row_count(void);
const struct row *row_get(unsigned number);
unsigned row_number(const struct row *row);

enum operand_kind {
    OPERAND_NONE,
    OPERAND_GPR,       // reg 0..15; high: AH CH DH BH (reg 0..3)
    OPERAND_MEMORY,    // insn's address; size = width below, or operand-specific bytes
    OPERAND_IMMEDIATE, // imm, already sign- or zero-extended as the letter says
    OPERAND_RELATIVE,  // imm = displacement from the next instruction
    OPERAND_SEGMENT,   // reg 0..5
    OPERAND_CONTROL, OPERAND_DEBUG,
    OPERAND_XMM,       // reg 0..15
    OPERAND_MMX,       // reg 0..7
    OPERAND_ST,        // reg 0..7
    OPERAND_FAR,       // imm = offset, selector in insn->far_selector
    OPERAND_OFFSET,    // moffs: like memory, address = imm
    OPERAND_STRING_SOURCE, OPERAND_STRING_DESTINATION, // X, Y
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
    uint8_t rex;           // whole byte or 0
    bool lock, rep, repne, operand_prefix;
    uint8_t modrm;
    // Memory operand: segment:[base + index << scale + displacement]; base/index: GPR number, -1 none, base -2 RIP.
    int8_t base, index;
    uint8_t scale;
    uint8_t segment;          // effective, after overrides and defaults
    int8_t segment_override;  // -1: none
    int64_t displacement;
    uint64_t immediate, immediate2;
    uint16_t far_selector;
    unsigned operand_count;
    struct operand operand[INSN_MAX_OPERANDS];
};

enum decode_status {
    DECODE_OK,
    DECODE_ILLEGAL,   // #UD; length tells how many bytes were looked at
    DECODE_TOO_LONG,  // over 15 bytes: #GP(0)
    DECODE_MORE,      // `available` bytes were not enough: fetch on (may fault on the next page)
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
