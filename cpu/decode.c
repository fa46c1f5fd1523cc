// The decoder: bytes to struct insn, by the index built from the rows. Knows prefixes, ModRM, immediates and modes;
// which instruction an opcode is, it learns from the index alone.
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/model.h"
#include "cpu/row_index.h"

enum {
    NOT_A_PREFIX,
    PREFIX_REX,
    PREFIX_LOCK,
    PREFIX_REPNE,
    PREFIX_REP,
    PREFIX_OPERAND,
    PREFIX_ADDRESS,
    PREFIX_SEGMENT
};

static const uint8_t prefix_class[256] = {
    [0x26] = PREFIX_SEGMENT + SEG_ES,
    [0x2e] = PREFIX_SEGMENT + SEG_CS,
    [0x36] = PREFIX_SEGMENT + SEG_SS,
    [0x3e] = PREFIX_SEGMENT + SEG_DS,
    [0x64] = PREFIX_SEGMENT + SEG_FS,
    [0x65] = PREFIX_SEGMENT + SEG_GS,
    [0x40 ... 0x4f] = PREFIX_REX,
    [0x66] = PREFIX_OPERAND,
    [0x67] = PREFIX_ADDRESS,
    [0xf0] = PREFIX_LOCK,
    [0xf2] = PREFIX_REPNE,
    [0xf3] = PREFIX_REP,
};

/// Bytes of each enum operand_size, by operand size 2, 4, 8.
static const uint8_t size_bytes[SIZE_COUNT][3] = {
    [SIZE_1] = {1, 1, 1},          [SIZE_2] = {2, 2, 2},     [SIZE_4] = {4, 4, 4},     [SIZE_8] = {8, 8, 8},
    [SIZE_10] = {10, 10, 10},      [SIZE_16] = {16, 16, 16}, [SIZE_32] = {32, 32, 32}, [SIZE_V] = {2, 4, 8},
    [SIZE_Z] = {2, 4, 4},          [SIZE_Y] = {4, 4, 8},     [SIZE_FAR] = {4, 6, 10},  [SIZE_PAIR] = {4, 8, 8},
    [SIZE_DESCRIPTOR] = {6, 6, 6},
};

/// The bytes, and how far the decoder is.
struct reader {
    const uint8_t *start, *at, *end;
    bool cut; // by the length limit, not by what is available
};

static inline bool reader_has(const struct reader *reader, unsigned bytes)
{
    return (size_t)(reader->end - reader->at) >= bytes;
}

static enum decode_status stop(const struct reader *reader, struct insn *insn, enum decode_status status)
{
    insn->row = NULL;
    insn->length = (uint8_t)(reader->at - reader->start);
    return status;
}

static enum decode_status stop_short(const struct reader *reader, struct insn *insn)
{
    return stop(reader, insn, reader->cut ? DECODE_TOO_LONG : DECODE_MORE);
}

/// Signed number of 1, 2 or 4 bytes; the caller has checked that they are there.
static int64_t read_signed(struct reader *reader, unsigned bytes)
{
    int64_t value = bytes == 1   ? (int8_t)*reader->at
                    : bytes == 2 ? (int16_t)load_le16(reader->at)
                                 : (int32_t)load_le32(reader->at);
    reader->at += bytes;
    return value;
}

static uint64_t read_unsigned(struct reader *reader, unsigned bytes)
{
    uint64_t value = bytes == 1   ? *reader->at
                     : bytes == 2 ? load_le16(reader->at)
                     : bytes == 4 ? load_le32(reader->at)
                                  : load_le64(reader->at);
    reader->at += bytes;
    return value;
}

/// SDM vol. 2 table 2-1. False: bytes are missing.
__attribute__((noinline)) static bool decode_memory16(struct reader *reader, struct insn *insn)
{
    static const int8_t bases[8] = {VAR_RBX, VAR_RBX, VAR_RBP, VAR_RBP, VAR_RSI, VAR_RDI, VAR_RBP, VAR_RBX};
    static const int8_t indexes[8] = {VAR_RSI, VAR_RDI, VAR_RSI, VAR_RDI, -1, -1, -1, -1};
    unsigned mod = insn->modrm >> 6, rm = insn->modrm & 7;
    unsigned bytes = mod == 0 ? (rm == 6 ? 2 : 0) : mod;
    if (!reader_has(reader, bytes))
        return false;
    if (mod || rm != 6) {
        insn->base = bases[rm];
        insn->index = indexes[rm];
    }
    if (bytes)
        insn->displacement = read_signed(reader, bytes);
    insn->segment = insn->base == VAR_RBP ? SEG_SS : SEG_DS;
    return true;
}

/// SDM vol. 2 tables 2-2 and 2-3.
static inline bool decode_memory(struct reader *reader, struct insn *insn, bool code64, bool vector_index)
{
    unsigned mod = insn->modrm >> 6, rm = insn->modrm & 7;
    unsigned base = rm;
    if (rm == 4) {
        if (!reader_has(reader, 1))
            return false;
        uint8_t sib = *reader->at++;
        unsigned index = (sib >> 3 & 7) | (insn->rex & 2u) << 2;
        base = sib & 7;
        if (index != 4 || vector_index) {
            insn->index = (int8_t)index;
            insn->scale = sib >> 6;
        }
    }
    unsigned bytes = mod == 1 ? 1 : mod == 2 || base == 5 ? 4 : 0;
    if (!reader_has(reader, bytes))
        return false;
    if (bytes)
        insn->displacement = read_signed(reader, bytes);
    insn->segment = SEG_DS;
    if (mod == 0 && base == 5) {
        // No base: a displacement alone, from RIP in 64-bit code unless there is a SIB byte.
        insn->base = rm == 5 && code64 ? -2 : -1;
        return true;
    }
    if (base == 4 || base == 5)
        insn->segment = insn->rex & 1 ? SEG_DS : SEG_SS;
    insn->base = (int8_t)(base | (insn->rex & 1u) << 3);
    return true;
}

/// What follows ModRM for a memory operand. False: bytes are missing.
static inline bool decode_address(struct reader *reader, struct insn *insn, bool code64, bool vector_index)
{
    bool good;
    if (LIKELY(insn->address_bytes != 2))
        return decode_memory(reader, insn, code64, vector_index);
    struct reader rare = *reader; // so that compilers keep the other one in registers
    good = decode_memory16(&rare, insn);
    reader->at = rare.at;
    return good;
}

/// Bytes of an immediate by operand size 2, 4, 8; that of a far pointer and an offset in memory are the decoder's.
static const uint8_t immediate_bytes[][3] = {
    [IMMEDIATE_NONE] = {0, 0, 0}, [IMMEDIATE_U8] = {1, 1, 1},  [IMMEDIATE_S8] = {1, 1, 1},
    [IMMEDIATE_16] = {2, 2, 2},   [IMMEDIATE_U32] = {4, 4, 4}, [IMMEDIATE_S32] = {4, 4, 4},
    [IMMEDIATE_64] = {8, 8, 8},   [IMMEDIATE_Z] = {2, 4, 4},   [IMMEDIATE_V] = {2, 4, 8},
    [IMMEDIATE_S16] = {2, 2, 2},  [IMMEDIATE_FAR] = {4, 6, 6}, [IMMEDIATE_OFFSET] = {0, 0, 0},
};

static inline bool is_signed(uint8_t form)
{
    return form == IMMEDIATE_S8 || form == IMMEDIATE_Z || form == IMMEDIATE_S16 || form == IMMEDIATE_S32;
}

/// `form` is one. False: bytes are missing.
static inline bool decode_immediate(struct reader *reader, uint8_t form, struct insn *insn, unsigned operand_bytes,
                                    uint64_t *value)
{
    unsigned bytes = form == IMMEDIATE_OFFSET ? insn->address_bytes : immediate_bytes[form][operand_bytes >> 2];
    if (!reader_has(reader, bytes))
        return false;
    if (is_signed(form)) {
        *value = (uint64_t)read_signed(reader, bytes);
    } else if (UNLIKELY(form == IMMEDIATE_FAR)) {
        *value = read_unsigned(reader, bytes - 2);
        insn->far_selector = (uint16_t)read_unsigned(reader, 2);
    } else {
        *value = read_unsigned(reader, bytes);
    }
    if (UNLIKELY(form == IMMEDIATE_OFFSET)) {
        insn->displacement = (int64_t)*value;
        insn->segment = SEG_DS;
    }
    return true;
}

static void set_gpr(struct operand *operand, unsigned number, uint8_t rex)
{
    operand->kind = OPERAND_GPR;
    operand->high = operand->bytes == 1 && !rex && number >= 4;
    operand->reg = (uint8_t)(operand->high ? number - 4 : number);
}

/// SDM vol. 3 sec. 2.5: the other control registers do not exist.
static bool control_register_exists(unsigned number)
{
    return number == 0 || (number >= 2 && number <= 4) || number == 8;
}

/// The word that plain operands take their numbers from.
static inline uint32_t plain_numbers(unsigned modrm, unsigned rex, unsigned opcode)
{
    uint32_t rex_b = (rex & 1) << 3, rex_r = (rex & 4) << 1;
    return ((modrm & 7) | rex_b) << PLAIN_RM | ((modrm >> 3 & 7) | rex_r) << PLAIN_REG |
           ((opcode & 7) | rex_b) << PLAIN_OPCODE;
}

static inline uint8_t operand_size(const struct operand_place *place, unsigned operand_bytes, unsigned vector_bytes)
{
    return (uint8_t)(place->size == SIZE_X ? vector_bytes : size_bytes[place->size][operand_bytes >> 2]);
}

/// Fills a plain operand, without a branch for each place. False: it is another one.
static inline bool decode_plain(const struct operand_place *place, unsigned bytes, unsigned rex, uint32_t numbers,
                                struct operand *operand)
{
    unsigned number = place->number + (numbers >> place->plain_shift & 0xff);
    bool high = place->high;
    if (UNLIKELY(place->plain == OPERAND_NONE))
        return false;
    if (bytes == 1 && number >= 4 && !rex && place->may_be_high) {
        high = true;
        number -= 4;
    }
    *operand = (struct operand){.kind = place->plain, .bytes = (uint8_t)bytes, .reg = (uint8_t)number, .high = high};
    return true;
}

/// Fills operand n. False: the operand makes the instruction illegal.
static bool decode_operand(const struct operand_place *place, struct insn *insn, unsigned n, unsigned opcode,
                           bool code64)
{
    struct operand *operand = &insn->operand[n];
    unsigned rm = insn->modrm & 7, reg = insn->modrm >> 3 & 7;
    unsigned rex_r = (insn->rex & 4u) << 1;
    operand->bytes = operand_size(place, insn->operand_bytes, insn->vector_bytes);
    operand->high = false;
    operand->reg = 0;
    switch ((enum place)place->place) {
    case PLACE_NONE:
    case PLACE_FIXED_GPR: // plain ones
    case PLACE_RM_GPR:
    case PLACE_REG_GPR:
    case PLACE_OPCODE_GPR:
    case PLACE_RM_XMM:
    case PLACE_REG_XMM:
    case PLACE_IMMEDIATE:
    case PLACE_RELATIVE:
        return false;
    case PLACE_FIXED_SEGMENT:
        operand->kind = OPERAND_SEGMENT;
        operand->reg = place->number;
        return true;
    case PLACE_FIXED_XMM:
        operand->kind = OPERAND_XMM;
        return true;
    case PLACE_FIXED_ST:
        operand->kind = OPERAND_ST;
        return true;
    case PLACE_ONE:
        operand->kind = OPERAND_IMMEDIATE;
        insn->immediate = 1;
        return true;
    case PLACE_MEMORY:
        operand->kind = OPERAND_MEMORY;
        if (place->size == SIZE_DESCRIPTOR && code64)
            operand->bytes = 10;
        return true;
    case PLACE_VEX_GPR:
        set_gpr(operand, insn->vex_register & (code64 ? 15 : 7), insn->rex);
        return true;
    case PLACE_VEX_XMM:
        operand->kind = OPERAND_XMM;
        operand->reg = insn->vex_register & (code64 ? 15 : 7);
        return true;
    case PLACE_IMMEDIATE_XMM: // there are eight registers outside 64-bit code
        operand->kind = OPERAND_XMM;
        operand->reg = (uint8_t)(insn->immediate >> 4 & (code64 ? 15 : 7));
        return true;
    case PLACE_RM_MMX:
        operand->kind = OPERAND_MMX;
        operand->reg = (uint8_t)rm;
        return true;
    case PLACE_REG_MMX:
        operand->kind = OPERAND_MMX;
        operand->reg = (uint8_t)reg;
        return true;
    case PLACE_RM_ST:
        operand->kind = OPERAND_ST;
        operand->reg = (uint8_t)rm;
        return true;
    case PLACE_SEGMENT:
        operand->kind = OPERAND_SEGMENT;
        operand->reg = (uint8_t)reg;
        return reg <= SEG_GS && (n > 0 || reg != SEG_CS);
    case PLACE_CONTROL:
        operand->kind = OPERAND_CONTROL;
        operand->bytes = code64 ? 8 : 4;
        operand->reg = (uint8_t)(reg | rex_r);
        return control_register_exists(reg | rex_r);
    case PLACE_DEBUG:
        operand->kind = OPERAND_DEBUG;
        operand->bytes = code64 ? 8 : 4;
        operand->reg = (uint8_t)reg;
        return !rex_r;
    case PLACE_FAR:
        operand->kind = OPERAND_FAR;
        return true;
    case PLACE_OFFSET:
        operand->kind = OPERAND_OFFSET;
        return true;
    case PLACE_STRING_SOURCE:
        operand->kind = OPERAND_STRING_SOURCE;
        insn->segment = SEG_DS;
        return true;
    case PLACE_STRING_DESTINATION:
        operand->kind = OPERAND_STRING_DESTINATION;
        return true;
    }
    return false;
}

/// Reads prefixes and leaves the reader behind the first byte that is none, which it returns; -1: bytes are missing.
static __attribute__((noinline)) int decode_prefixes(struct reader *reader, struct insn *insn, bool code64,
                                                     bool *address_prefix)
{
    while (reader_has(reader, 1)) {
        uint8_t byte = *reader->at++;
        uint8_t class = prefix_class[byte];
        if (LIKELY(class == NOT_A_PREFIX))
            return byte;
        if (class == PREFIX_REX) {
            if (!code64)
                return byte;
            insn->rex = byte; // the last one counts, and only directly before the opcode
            continue;
        }
        insn->rex = 0;
        if (class == PREFIX_OPERAND)
            insn->operand_prefix = true;
        else if (class == PREFIX_ADDRESS)
            *address_prefix = true;
        else if (class == PREFIX_LOCK)
            insn->lock = true;
        else if (class == PREFIX_REP || class == PREFIX_REPNE) {
            insn->rep = class == PREFIX_REP;
            insn->repne = !insn->rep;
        } else if (!code64 || class >= PREFIX_SEGMENT + SEG_FS) // 64-bit code ignores the other four
            insn->segment_override = (int8_t)(class - PREFIX_SEGMENT);
    }
    return -1;
}

/// SDM vol. 2 sec. 2.3.5, 2.7: C4, C5 and 62 are LES, LDS and BOUND outside 64-bit code when what follows is a ModRM
/// byte with a memory operand; with a register it is a prefix, but not in real and virtual-8086 mode.
static bool is_vex(const struct reader *reader, unsigned byte, uint32_t mode)
{
    if ((byte != 0xc4 && byte != 0xc5 && byte != 0x62) || (mode & (MODE_PROTECTED | MODE_VM86)) != MODE_PROTECTED)
        return false;
    return (mode & MODE_CODE_MASK) == MODE_CODE64 || (reader_has(reader, 1) && *reader->at >= 0xc0);
}

/// Reads what follows `byte`, and the opcode. *map is MAP_COUNT where no row can be. -1: bytes are missing.
static __attribute__((noinline)) int decode_vex(struct reader *reader, struct insn *insn, unsigned byte, unsigned *map)
{
    unsigned bytes = byte == 0x62 ? 3 : byte == 0xc4 ? 2 : 1;
    if (!reader_has(reader, bytes + 1))
        return -1;
    unsigned first = reader->at[0], last = reader->at[bytes - 1], number = byte == 0xc5 ? 1 : first & 0x1f;
    bool void_prefix = insn->rex || insn->lock || insn->rep || insn->repne || insn->operand_prefix;
    insn->vex = true;
    insn->lock = insn->rep = insn->repne = insn->operand_prefix = false;
    insn->rex = (uint8_t)(0x40 | (~first >> 5 & 4)); // the inverse of R (X, B)
    if (byte != 0xc5)
        insn->rex |= (~first >> 5 & 3) | (last >> 4 & 8);
    insn->vex_prefix = last & 3;
    insn->vex_register = ~last >> 3 & 15;
    insn->vector_bytes = last & 4 ? 32 : 16;
    if (!insn->code64) // there are eight registers; R and X made it no LES or LDS
        insn->rex &= 0x48;
    *map = number >= 1 && number <= 3 && byte != 0x62 && !void_prefix ? MAP_VEX_0F + number - 1 : MAP_COUNT;
    if (byte == 0x62)
        number = first & 7;
    reader->at += bytes;
    insn->vex_map = (uint8_t)number;
    return *reader->at++;
}

/// The map alone tells how long a VEX-encoded instruction is, in 0F as that of the legacy opcode.
static bool vex_has_modrm(const struct row_index *index, const struct insn *insn, unsigned opcode)
{
    return insn->vex_map != 1 || index->slot[MAP_0F][opcode].modrm;
}

static bool vex_has_immediate(const struct insn *insn, unsigned opcode)
{
    static const uint8_t with[] = {0x70, 0x71, 0x72, 0x73, 0xa4, 0xac, 0xba, 0xc2, 0xc4, 0xc5, 0xc6};
    for (unsigned i = 0; insn->vex_map == 1 && i < ARRAY_SIZE(with); i++)
        if (opcode == with[i])
            return true;
    return insn->vex_map == 3;
}

/// No row fits. Processors fetch all of an instruction before they refuse it, so that a page fault comes first.
/// `modrm`: that byte was read.
static __attribute__((noinline)) enum decode_status refuse(const struct row_index *index, struct reader rest,
                                                           struct insn *insn, unsigned opcode, bool modrm)
{
    struct reader *reader = &rest;
    if (insn->vex && !modrm && vex_has_modrm(index, insn, opcode)) {
        if (!reader_has(reader, 1))
            return stop_short(reader, insn);
        insn->modrm = *reader->at++;
        modrm = true;
    }
    if (modrm && insn->modrm < 0xc0 && !decode_address(reader, insn, insn->code64, false))
        return stop_short(reader, insn);
    if (insn->vex && vex_has_immediate(insn, opcode)) {
        if (!reader_has(reader, 1))
            return stop_short(reader, insn);
        reader->at++;
    }
    return stop(reader, insn, DECODE_ILLEGAL);
}

/// What prefixes other than REX add to a key.
static unsigned prefix_key(const struct insn *insn)
{
    unsigned prefix = insn->repne ? KEY_F2 : insn->rep ? KEY_F3 : insn->operand_prefix ? KEY_66 : insn->vex_prefix;
    return prefix << KEY_PREFIX_SHIFT | (insn->vector_bytes > 16 ? KEY_VEX_L : 0);
}

/// As decode_prefixes does; where there is none or just a REX, as mostly, at once. Adds to `key` what others say.
static inline int decode_first(struct reader *reader, struct insn *insn, bool code64, bool *address_prefix,
                               unsigned *key)
{
    const uint8_t *at = reader->at;
    if (LIKELY(reader_has(reader, 2))) {
        if (LIKELY(prefix_class[at[0]] == NOT_A_PREFIX)) {
            reader->at++;
            return at[0];
        }
        if (prefix_class[at[0]] == PREFIX_REX && code64 && prefix_class[at[1]] == NOT_A_PREFIX) {
            insn->rex = at[0];
            reader->at += 2;
            return at[1];
        }
    }
    struct reader rare = *reader; // so that compilers keep the other one in registers
    bool address = false;
    int byte = decode_prefixes(&rare, insn, code64, &address);
    reader->at = rare.at;
    *address_prefix = address;
    *key |= prefix_key(insn);
    return byte;
}

/// The most special row that fits and that the model has.
static inline const struct row_form *find_form(const struct row_index *index, struct opcode_slot slot, unsigned key,
                                               const struct cpu_model *model)
{
    unsigned list_number = slot.lists;
    if (slot.modrm)
        list_number += (key & KEY_MODRM_REG) >> 3 | (key & KEY_REGISTER) >> 5;
    const struct row_candidate *candidate = &index->candidates[index->lists[list_number]];
    while (((key ^ candidate->value) & candidate->mask) || !model_has(model, candidate->feature))
        candidate++;
    return candidate->form ? &index->forms[candidate->form - 1] : NULL;
}

static inline unsigned operand_bytes(const struct row_form *form, const struct insn *insn, unsigned code_size,
                                     unsigned rex)
{
    bool prefix = insn->operand_prefix && !form->prefix_66;
    if (UNLIKELY(insn->vex))
        return code_size == MODE_CODE64 && (rex & 8) ? 8 : 4;
    if (code_size != MODE_CODE64)
        return (code_size == MODE_CODE16) == prefix ? 4 : 2;
    uint32_t attributes = form->row->attributes;
    if ((rex & 8) || (attributes & ROW_FORCE_64))
        return 8;
    return prefix ? 2 : attributes & ROW_DEFAULT_64 ? 8 : 4;
}

/// A gather has a SIB byte, and its destination, index and mask are three registers (SDM vol. 2 sec. 2.3.12).
static __attribute__((noinline)) bool vector_index_is_good(const struct insn *insn)
{
    uint8_t destination = insn->operand[0].reg, mask = insn->operand[2].reg, index = (uint8_t)insn->index;
    return (insn->modrm & 7) == 4 && insn->address_bytes != 2 && destination != mask && destination != index &&
           mask != index;
}

/// What the row forbids in this mode and with these prefixes.
static inline bool row_allows(const struct row *row, const struct insn *insn, uint32_t mode)
{
    if ((row->attributes & ROW_NO_REAL) && (mode & (MODE_PROTECTED | MODE_VM86)) != MODE_PROTECTED)
        return false;
    if ((row->attributes & ROW_VSIB) && !vector_index_is_good(insn))
        return false;
    if (insn->lock)
        return (row->attributes & ROW_LOCKABLE) && insn->operand[0].kind == OPERAND_MEMORY;
    return true;
}

enum decode_status decode(const struct row_index *index, const struct cpu_model *model, uint32_t mode,
                          const uint8_t *bytes, unsigned available, struct insn *insn)
{
    bool cut = available >= INSN_MAX_LENGTH;
    struct reader reader = {bytes, bytes, bytes + (cut ? INSN_MAX_LENGTH : available), cut};
    unsigned code_size = mode & MODE_CODE_MASK;
    bool code64 = code_size == MODE_CODE64, address_prefix = false;
    unsigned map = MAP_ONE_BYTE, key = code64 ? KEY_CODE64 : 0, modrm = 0;
    int byte;
    *insn = (struct insn){
        .segment_override = -1, .base = -1, .index = -1, .vector_bytes = 16, .code64 = code64, .segment = SEG_DS};

    byte = decode_first(&reader, insn, code64, &address_prefix, &key);
    if (byte == 0x0f) {
        map = MAP_0F;
        byte = reader_has(&reader, 1) ? *reader.at++ : -1;
        if (byte == 0x38 || byte == 0x3a) {
            map = byte == 0x38 ? MAP_0F38 : MAP_0F3A;
            byte = reader_has(&reader, 1) ? *reader.at++ : -1;
        }
    } else if (UNLIKELY(byte >= 0x62) && UNLIKELY(is_vex(&reader, (unsigned)byte, mode))) {
        struct reader rare = reader;
        byte = decode_vex(&rare, insn, (unsigned)byte, &map);
        reader.at = rare.at;
        key |= prefix_key(insn);
    }
    if (byte < 0)
        return stop_short(&reader, insn);
    unsigned rex = insn->rex;
    key |= (rex & 8) * (KEY_REX_W / 8) | (rex & 1) * KEY_REX_B;
    insn->address_bytes = code64 ? (address_prefix ? 4 : 8) : (code_size == MODE_CODE16) == address_prefix ? 4 : 2;
    if (UNLIKELY(map == MAP_COUNT))
        return refuse(index, reader, insn, (unsigned)byte, false);

    struct opcode_slot slot = index->slot[map][byte];
    if (slot.modrm) {
        if (!reader_has(&reader, 1))
            return stop_short(&reader, insn);
        insn->modrm = *reader.at++;
        modrm = insn->modrm;
        key |= modrm | (modrm >= 0xc0) * KEY_REGISTER;
    }
    const struct row_form *form = find_form(index, slot, key, model);
    if (UNLIKELY(!form) || UNLIKELY(insn->vex_register && !form->vex_register))
        return refuse(index, reader, insn, (unsigned)byte, slot.modrm);

    const struct row *row = form->row;
    unsigned size = operand_bytes(form, insn, code_size, rex);
    insn->operand_bytes = (uint8_t)size;
    bool reg = slot.modrm && (modrm >= 0xc0 || (row->attributes & ROW_MODRM_IGNORED_MOD));
    if (slot.modrm && !reg && !decode_address(&reader, insn, code64, row->attributes & ROW_VSIB))
        return stop_short(&reader, insn);
    if (form->immediate[0] && (!decode_immediate(&reader, form->immediate[0], insn, size, &insn->immediate) ||
                               (UNLIKELY(form->immediate[1]) &&
                                !decode_immediate(&reader, form->immediate[1], insn, size, &insn->immediate2))))
        return stop_short(&reader, insn);

    uint32_t numbers = plain_numbers(modrm, rex, (unsigned)byte);
    unsigned vector_bytes = insn->vector_bytes;
    insn->operand_count = form->operand_count;
    for (unsigned i = 0; i < insn->operand_count; i++) {
        const struct operand_place *place = &form->operand[i][reg];
        if (!decode_plain(place, operand_size(place, size, vector_bytes), rex, numbers, &insn->operand[i]) &&
            !decode_operand(place, insn, i, (unsigned)byte, code64))
            return stop(&reader, insn, DECODE_ILLEGAL);
    }
    if (!row_allows(row, insn, mode))
        return stop(&reader, insn, DECODE_ILLEGAL);
    if (UNLIKELY(insn->segment_override >= 0))
        insn->segment = (uint8_t)insn->segment_override;
    insn->row = row;
    insn->length = (uint8_t)(reader.at - reader.start);
    return DECODE_OK;
}
