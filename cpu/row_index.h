// The lookup index between row_index.c, which builds it from the rows, and decode.c, which reads it. Nobody else's.
#ifndef DOPPEL_CPU_ROW_INDEX_H
#define DOPPEL_CPU_ROW_INDEX_H

#include "cpu/row.h"

/// What decides between the rows of one opcode, as bits of a key. A row is the pair (mask, value) that it asks of it.
#define KEY_MODRM 0x00ffu
#define KEY_MODRM_REG 0x0038u
#define KEY_REGISTER 0x0100u // ModRM.mod is 3
#define KEY_PREFIX_SHIFT 9   // two bits, enum key_prefix
#define KEY_PREFIX (3u << KEY_PREFIX_SHIFT)
#define KEY_PREFIX_REP (2u << KEY_PREFIX_SHIFT) // set with F2 and F3
#define KEY_REX_W 0x0800u
#define KEY_REX_B 0x1000u
#define KEY_CODE64 0x2000u
#define KEY_VEX_L 0x4000u

/// In the order of VEX.pp.
enum key_prefix { KEY_NO_PREFIX, KEY_66, KEY_F3, KEY_F2 };
/// VEX-encoded instructions have maps of their own, in the order of VEX.mmmmm.
enum opcode_map { MAP_ONE_BYTE, MAP_0F, MAP_0F38, MAP_0F3A, MAP_VEX_0F, MAP_VEX_0F38, MAP_VEX_0F3A, MAP_COUNT };

static inline bool map_is_vex(unsigned map)
{
    return map >= MAP_VEX_0F && map < MAP_COUNT;
}

/// Where an operand is found. E, W, Q and the two-form operands are one of these for each form.
enum place {
    PLACE_NONE,
    PLACE_FIXED_GPR,
    PLACE_FIXED_SEGMENT,
    PLACE_FIXED_XMM,
    PLACE_FIXED_ST,
    PLACE_ONE,     // the constant 1
    PLACE_RM_GPR,  // ModRM.rm
    PLACE_REG_GPR, // ModRM.reg
    PLACE_OPCODE_GPR,
    PLACE_MEMORY,
    PLACE_RM_XMM,
    PLACE_REG_XMM,
    PLACE_VEX_GPR, // VEX.vvvv
    PLACE_VEX_XMM,
    PLACE_IMMEDIATE_XMM, // bits 4.. of the immediate
    PLACE_RM_MMX,
    PLACE_REG_MMX,
    PLACE_RM_ST,
    PLACE_SEGMENT,
    PLACE_CONTROL,
    PLACE_DEBUG,
    PLACE_IMMEDIATE,
    PLACE_RELATIVE,
    PLACE_FAR,
    PLACE_OFFSET,
    PLACE_STRING_SOURCE,
    PLACE_STRING_DESTINATION,
};

enum operand_size {
    SIZE_NONE,
    SIZE_1,
    SIZE_2,
    SIZE_4,
    SIZE_8,
    SIZE_10,
    SIZE_16,
    SIZE_32,
    SIZE_X,          // vector length: 16, or 32 with VEX.L
    SIZE_V,          // 2, 4, 8
    SIZE_Z,          // 2, 4
    SIZE_Y,          // 4, 8
    SIZE_FAR,        // 4, 6, 10
    SIZE_PAIR,       // 4, 8
    SIZE_DESCRIPTOR, // 6, or 10 in 64-bit code
    SIZE_COUNT
};

enum immediate_form {
    IMMEDIATE_NONE,
    IMMEDIATE_U8,
    IMMEDIATE_S8,
    IMMEDIATE_16,
    IMMEDIATE_U32,
    IMMEDIATE_S32,
    IMMEDIATE_64,
    IMMEDIATE_Z, // sign-extended
    IMMEDIATE_V,
    IMMEDIATE_S16,
    IMMEDIATE_FAR,
    IMMEDIATE_OFFSET,
};

/// Where a register's number stands in a word that the decoder makes of ModRM and opcode.
enum plain_shift { PLAIN_RM = 0, PLAIN_REG = 8, PLAIN_OPCODE = 16, PLAIN_NO_REGISTER = 24 };

struct operand_place {
    uint8_t place, size;
    uint8_t number; // of a fixed register; of the immediate (0, 1)
    bool high;      // AH CH DH BH
    // Of most places the decoder needs to know but this:
    uint8_t plain; // enum operand_kind; OPERAND_NONE: it looks at `place`
    uint8_t plain_shift;
    bool may_be_high; // AH CH DH BH without REX
};

/// A row, parsed.
struct row_form {
    const struct row *row;
    uint16_t mask, value;
    uint8_t map, opcode;
    bool opcode_register; // "+r": stands at eight opcodes
    bool modrm;
    bool prefix_66;    // mandatory: then 66 is no operand size
    bool vex_register; // an operand is in VEX.vvvv, which must be 1111 otherwise
    uint8_t immediate[2];
    uint8_t operand_count;
    struct operand_place operand[INSN_MAX_OPERANDS][2]; // [1]: when ModRM says register
};

/// A form that may be it, and what the key must say for that.
struct row_candidate {
    uint16_t mask, value;
    uint16_t feature; // of the row
    uint16_t form;    // 1 + its number; 0: the list ends, which fits any key
};

struct opcode_slot {
    bool modrm;
    uint16_t lists; // in row_index.lists: one, or 16 by (register form, ModRM.reg)
};

struct row_index {
    struct opcode_slot slot[MAP_COUNT][256];
    struct row_form *forms;           // row_count() of them, by row number
    uint32_t *lists;                  // where they begin in `candidates`
    struct row_candidate *candidates; // the most special first
};

/// Parses one row; false and an error naming it when it is malformed.
bool row_form_parse(const struct row *row, struct row_form *form, struct error *error);
/// Index from these forms (taken over, also on failure), `count` < 65536.
struct row_index *row_index_from_forms(struct row_form *forms, unsigned count, struct error *error);

#endif
