// Parses the text of a row (encoding, operands) into the form that the index and the decoder use.
#include <stdio.h>
#include <string.h>

#include "cpu/row_index.h"

static bool malformed(const struct row *row, struct error *error, const char *why, const char *word)
{
    return error_set(error, "row \"%s\" (%s %s): %s \"%s\"", row->encoding, row->mnemonic, row->operands, why, word);
}

/// Cuts the next word (ended by a separator) from *text; false at the end. A word longer than `size` is cut, which
/// then is an unknown word.
static bool next_word(const char **text, char separator, char *word, size_t size)
{
    const char *at = *text;
    while (*at == separator)
        at++;
    if (!*at)
        return false;
    size_t length = 0;
    for (; *at && *at != separator; at++)
        if (length + 1 < size)
            word[length++] = *at;
    word[length] = 0;
    *text = at;
    return true;
}

static int hex_byte(const char *word)
{
    static const char digits[] = "0123456789ABCDEF";
    const char *high = word[0] ? strchr(digits, word[0]) : NULL;
    const char *low = high && word[1] ? strchr(digits, word[1]) : NULL;
    return low ? (int)((high - digits) * 16 + (low - digits)) : -1;
}

static void form_require(struct row_form *form, unsigned mask, unsigned value)
{
    form->mask |= (uint16_t)mask;
    form->value |= (uint16_t)value;
}

static bool parse_prefix(struct row_form *form, const char *word)
{
    static const struct {
        const char *word;
        unsigned mask, value;
    } prefixes[] = {
        {"NP", KEY_PREFIX, KEY_NO_PREFIX << KEY_PREFIX_SHIFT},
        {"NFx", KEY_PREFIX_REP, 0},
        {"66", KEY_PREFIX, KEY_66 << KEY_PREFIX_SHIFT},
        {"F3", KEY_PREFIX, KEY_F3 << KEY_PREFIX_SHIFT},
        {"F2", KEY_PREFIX, KEY_F2 << KEY_PREFIX_SHIFT},
        {"REX.W", KEY_REX_W, KEY_REX_W},
        {"REX.W=0", KEY_REX_W, 0},
        {"REX.B=0", KEY_REX_B, 0},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(prefixes); i++)
        if (!strcmp(word, prefixes[i].word)) {
            form_require(form, prefixes[i].mask, prefixes[i].value);
            form->prefix_66 |= prefixes[i].mask == KEY_PREFIX && prefixes[i].value == KEY_66 << KEY_PREFIX_SHIFT;
            return true;
        }
    return false;
}

/// "VEX.L0.66.0F38.W0": the fields in any order, of which only the map must be there. No pp means that none of 66, F3
/// and F2 is encoded.
static bool parse_vex(struct row_form *form, const char *word)
{
    static const struct {
        const char *field;
        unsigned mask, value, prefix, map;
    } fields[] = {
        {"128", KEY_VEX_L, 0},     {"256", KEY_VEX_L, KEY_VEX_L}, {"LZ", KEY_VEX_L, 0},
        {"L0", KEY_VEX_L, 0},      {"L1", KEY_VEX_L, KEY_VEX_L},  {"LIG"},
        {"W0", KEY_REX_W, 0},      {"W1", KEY_REX_W, KEY_REX_W},  {"WIG"},
        {"66", .prefix = KEY_66},  {"F3", .prefix = KEY_F3},      {"F2", .prefix = KEY_F2},
        {"0F", .map = MAP_VEX_0F}, {"0F38", .map = MAP_VEX_0F38}, {"0F3A", .map = MAP_VEX_0F3A},
    };
    char field[8];
    unsigned prefix = KEY_NO_PREFIX;
    if (form->mask || !next_word(&word, '.', field, sizeof field) || strcmp(field, "VEX") != 0)
        return false;
    while (next_word(&word, '.', field, sizeof field)) {
        unsigned i = 0;
        while (i < ARRAY_SIZE(fields) && strcmp(field, fields[i].field) != 0)
            i++;
        if (i == ARRAY_SIZE(fields))
            return false;
        if ((fields[i].prefix && prefix) || (fields[i].map && form->map))
            return false;
        form_require(form, fields[i].mask, fields[i].value);
        prefix |= fields[i].prefix;
        form->map = (uint8_t)(form->map | fields[i].map);
    }
    form_require(form, KEY_PREFIX, prefix << KEY_PREFIX_SHIFT);
    return map_is_vex(form->map);
}

static bool parse_modrm(struct row_form *form, const char *word)
{
    int byte = hex_byte(word);
    if (word[0] == '/' && word[1] && !word[2]) {
        if (word[1] >= '0' && word[1] <= '7')
            form_require(form, KEY_MODRM_REG, (unsigned)(word[1] - '0') << 3);
        else if (word[1] != 'r')
            return false;
    } else if (byte >= 0 && (!word[2] || !strcmp(word + 2, "+i"))) {
        form_require(form, word[2] ? 0xf8 : 0xff, (unsigned)byte);
        form_require(form, KEY_REGISTER, byte >= 0xc0 ? KEY_REGISTER : 0);
        if (word[2] && (byte & 7))
            return false;
    } else {
        return false;
    }
    form->modrm = true;
    return true;
}

static uint8_t parse_immediate(const char *word)
{
    static const struct {
        const char *word;
        uint8_t form;
    } immediates[] = {
        {"ib", IMMEDIATE_U8},  {"iw", IMMEDIATE_16}, {"id", IMMEDIATE_U32}, {"io", IMMEDIATE_64},
        {"iz", IMMEDIATE_Z},   {"iv", IMMEDIATE_V},  {"cb", IMMEDIATE_S8},  {"cw", IMMEDIATE_S16},
        {"cd", IMMEDIATE_S32}, {"cz", IMMEDIATE_Z},  {"cp", IMMEDIATE_FAR}, {"mo", IMMEDIATE_OFFSET},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(immediates); i++)
        if (!strcmp(word, immediates[i].word))
            return immediates[i].form;
    return IMMEDIATE_NONE;
}

static bool parse_encoding(const struct row *row, struct row_form *form, struct error *error)
{
    const char *text = row->encoding;
    char word[24] = "";
    bool have = next_word(&text, ' ', word, sizeof word);
    while (have && parse_prefix(form, word))
        have = next_word(&text, ' ', word, sizeof word);
    if (have && parse_vex(form, word)) {
        have = next_word(&text, ' ', word, sizeof word);
    } else if (have && !strcmp(word, "0F")) {
        form->map = MAP_0F;
        have = next_word(&text, ' ', word, sizeof word);
        if (have && (!strcmp(word, "38") || !strcmp(word, "3A"))) {
            form->map = word[1] == '8' ? MAP_0F38 : MAP_0F3A;
            have = next_word(&text, ' ', word, sizeof word);
        }
    }
    if (!have || hex_byte(word) < 0 || (word[2] && strcmp(word + 2, "+r")))
        return malformed(row, error, "no opcode in", have ? word : "");
    form->opcode = (uint8_t)hex_byte(word);
    form->opcode_register = word[2];
    if (form->opcode_register && (form->opcode & 7))
        return malformed(row, error, "+r needs an opcode of low bits 0", word);
    unsigned immediates = 0;
    while (next_word(&text, ' ', word, sizeof word)) {
        uint8_t immediate = parse_immediate(word);
        if (immediate != IMMEDIATE_NONE && immediates < ARRAY_SIZE(form->immediate))
            form->immediate[immediates++] = immediate;
        else if (form->modrm || immediates || form->opcode_register || !parse_modrm(form, word))
            return malformed(row, error, "unknown or misplaced", word);
    }
    return true;
}

static int parse_size(const char *text)
{
    static const struct {
        const char *text;
        uint8_t size;
    } sizes[] = {
        {"", SIZE_NONE}, {"b", SIZE_1},    {"w", SIZE_2},          {"d", SIZE_4},   {"q", SIZE_8},
        {"t", SIZE_10},  {"dq", SIZE_16},  {"ps", SIZE_X},         {"pd", SIZE_X},  {"x", SIZE_X},
        {"ss", SIZE_4},  {"sd", SIZE_8},   {"v", SIZE_V},          {"z", SIZE_Z},   {"y", SIZE_Y},
        {"p", SIZE_FAR}, {"a", SIZE_PAIR}, {"s", SIZE_DESCRIPTOR}, {"qq", SIZE_32},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
        if (!strcmp(text, sizes[i].text))
            return sizes[i].size;
    return -1;
}

/// Fixed registers by name.
static bool parse_fixed(const char *word, struct operand_place *place)
{
    static const char *const bytes[8] = {"AL", "CL", "DL", "BL", "AH", "CH", "DH", "BH"};
    static const char *const words[8] = {"AX", "CX", "DX", "BX", "SP", "BP", "SI", "DI"};
    static const char *const segments[6] = {"ES", "CS", "SS", "DS", "FS", "GS"};
    for (unsigned i = 0; i < 8; i++) {
        if (!strcmp(word, bytes[i])) {
            *place = (struct operand_place){
                .place = PLACE_FIXED_GPR, .size = SIZE_1, .number = (uint8_t)(i & 3), .high = i >= 4};
            return true;
        }
        bool prefixed = (word[0] == 'e' || word[0] == 'r') && !strcmp(word + 1, words[i]);
        if (prefixed || !strcmp(word, words[i])) {
            uint8_t size = !prefixed ? SIZE_2 : word[0] == 'e' ? SIZE_Z : SIZE_V;
            *place = (struct operand_place){PLACE_FIXED_GPR, size, (uint8_t)i, false};
            return true;
        }
        if (i < 6 && !strcmp(word, segments[i])) {
            *place = (struct operand_place){PLACE_FIXED_SEGMENT, SIZE_2, (uint8_t)i, false};
            return true;
        }
    }
    if (!strcmp(word, "1"))
        *place = (struct operand_place){PLACE_ONE, SIZE_1};
    else if (!strcmp(word, "XMM0"))
        *place = (struct operand_place){PLACE_FIXED_XMM, SIZE_16};
    else if (!strcmp(word, "ST0") || !strcmp(word, "ST"))
        *place = (struct operand_place){PLACE_FIXED_ST, SIZE_10};
    else if (!strcmp(word, "STi"))
        *place = (struct operand_place){PLACE_RM_ST, SIZE_10};
    else
        return false;
    return true;
}

/// Letters: the place when ModRM says memory, and when it says register. PLACE_NONE: the row has no such form.
static const struct {
    char letter;
    uint8_t memory, rm_register;
    uint8_t size; // when the letter comes without
} letters[] = {
    {'E', PLACE_MEMORY, PLACE_RM_GPR, SIZE_NONE},
    {'G', PLACE_REG_GPR, PLACE_REG_GPR, SIZE_NONE},
    {'R', PLACE_NONE, PLACE_RM_GPR, SIZE_NONE},
    {'M', PLACE_MEMORY, PLACE_NONE, SIZE_NONE},
    {'Z', PLACE_OPCODE_GPR, PLACE_OPCODE_GPR, SIZE_NONE},
    {'V', PLACE_REG_XMM, PLACE_REG_XMM, SIZE_16},
    {'W', PLACE_MEMORY, PLACE_RM_XMM, SIZE_16},
    {'U', PLACE_NONE, PLACE_RM_XMM, SIZE_16},
    {'B', PLACE_VEX_GPR, PLACE_VEX_GPR, SIZE_NONE},
    {'H', PLACE_VEX_XMM, PLACE_VEX_XMM, SIZE_16},
    {'L', PLACE_IMMEDIATE_XMM, PLACE_IMMEDIATE_XMM, SIZE_16},
    {'P', PLACE_REG_MMX, PLACE_REG_MMX, SIZE_8},
    {'Q', PLACE_MEMORY, PLACE_RM_MMX, SIZE_8},
    {'N', PLACE_NONE, PLACE_RM_MMX, SIZE_8},
    {'S', PLACE_SEGMENT, PLACE_SEGMENT, SIZE_2},
    {'C', PLACE_CONTROL, PLACE_CONTROL, SIZE_NONE},
    {'D', PLACE_DEBUG, PLACE_DEBUG, SIZE_NONE},
    {'I', PLACE_IMMEDIATE, PLACE_IMMEDIATE, SIZE_NONE},
    {'J', PLACE_RELATIVE, PLACE_RELATIVE, SIZE_NONE},
    {'A', PLACE_FAR, PLACE_FAR, SIZE_NONE},
    {'O', PLACE_OFFSET, PLACE_OFFSET, SIZE_NONE},
    {'X', PLACE_STRING_SOURCE, PLACE_STRING_SOURCE, SIZE_NONE},
    {'Y', PLACE_STRING_DESTINATION, PLACE_STRING_DESTINATION, SIZE_NONE},
};

static bool parse_letter(const char *word, struct operand_place places[2])
{
    for (unsigned i = 0; i < ARRAY_SIZE(letters); i++) {
        if (word[0] != letters[i].letter)
            continue;
        int size = word[1] ? parse_size(word + 1) : letters[i].size;
        if (size < 0)
            return false;
        if (letters[i].memory)
            places[0] = (struct operand_place){letters[i].memory, (uint8_t)size};
        if (letters[i].rm_register)
            places[1] = (struct operand_place){letters[i].rm_register, (uint8_t)size};
        return true;
    }
    return false;
}

/// An immediate must have come with the encoding; Ibs makes it a signed one.
static bool bind_immediate(struct row_form *form, struct operand_place places[2], bool sign, unsigned *bound)
{
    static const uint8_t wanted[] = {
        [PLACE_FAR] = IMMEDIATE_FAR, [PLACE_OFFSET] = IMMEDIATE_OFFSET, [PLACE_STRING_DESTINATION] = 0};
    if (*bound >= ARRAY_SIZE(form->immediate) || !form->immediate[*bound])
        return false;
    uint8_t *immediate = &form->immediate[*bound];
    uint8_t want = wanted[places[0].place];
    bool special = *immediate == IMMEDIATE_FAR || *immediate == IMMEDIATE_OFFSET;
    if (want ? *immediate != want : special)
        return false;
    if (sign && *immediate != IMMEDIATE_U8)
        return false;
    if (sign)
        *immediate = IMMEDIATE_S8;
    places[0].number = places[1].number = (uint8_t)(*bound)++;
    return true;
}

static bool parse_operand(struct row_form *form, char *word, unsigned *bound)
{
    struct operand_place *places = form->operand[form->operand_count];
    bool sign = !strcmp(word, "Ibs");
    if (parse_fixed(word, &places[0])) {
        places[1] = places[0];
        return true;
    }
    char *second = strchr(word, '/');
    if (second)
        *second++ = 0;
    if (!parse_letter(sign ? "Ib" : word, places) || (second && !parse_letter(second, places)))
        return false;
    if (second && (places[0].place != PLACE_MEMORY || !places[1].place))
        return false;
    uint8_t place = places[0].place;
    if (place == PLACE_VEX_GPR || place == PLACE_VEX_XMM) {
        bool first = !form->vex_register;
        form->vex_register = true;
        return first && map_is_vex(form->map);
    }
    if (place == PLACE_IMMEDIATE || place == PLACE_IMMEDIATE_XMM || place == PLACE_RELATIVE || place == PLACE_FAR ||
        place == PLACE_OFFSET)
        return bind_immediate(form, places, sign, bound);
    bool wants_modrm = place != PLACE_OPCODE_GPR && place != PLACE_STRING_SOURCE && place != PLACE_STRING_DESTINATION;
    return wants_modrm ? form->modrm : place != PLACE_OPCODE_GPR || form->opcode_register;
}

/// Fills what most places come down to.
static void find_plain(struct operand_place *place)
{
    static const struct {
        uint8_t kind, shift;
        bool may_be_high;
    } plain[] = {
        [PLACE_FIXED_GPR] = {OPERAND_GPR, PLAIN_NO_REGISTER, false},
        [PLACE_RM_GPR] = {OPERAND_GPR, PLAIN_RM, true},
        [PLACE_REG_GPR] = {OPERAND_GPR, PLAIN_REG, true},
        [PLACE_OPCODE_GPR] = {OPERAND_GPR, PLAIN_OPCODE, true},
        [PLACE_MEMORY] = {OPERAND_MEMORY, PLAIN_NO_REGISTER, false},
        [PLACE_RM_XMM] = {OPERAND_XMM, PLAIN_RM, false},
        [PLACE_REG_XMM] = {OPERAND_XMM, PLAIN_REG, false},
        [PLACE_IMMEDIATE] = {OPERAND_IMMEDIATE, PLAIN_NO_REGISTER, false},
        [PLACE_RELATIVE] = {OPERAND_RELATIVE, PLAIN_NO_REGISTER, false},
    };
    if (place->place >= ARRAY_SIZE(plain) || place->size == SIZE_DESCRIPTOR)
        return;
    place->plain = plain[place->place].kind;
    place->plain_shift = plain[place->place].shift;
    place->may_be_high = plain[place->place].may_be_high;
}

static bool parse_operands(const struct row *row, struct row_form *form, struct error *error)
{
    const char *text = row->operands;
    char word[16];
    unsigned bound = 0;
    while (next_word(&text, ',', word, sizeof word)) {
        char whole[sizeof word];
        memcpy(whole, word, sizeof word);
        if (form->operand_count == INSN_MAX_OPERANDS || !parse_operand(form, word, &bound))
            return malformed(row, error, "unknown or misplaced operand", whole);
        find_plain(&form->operand[form->operand_count][0]);
        find_plain(&form->operand[form->operand_count][1]);
        form->operand_count++;
    }
    unsigned immediates = (form->immediate[0] != 0) + (form->immediate[1] != 0);
    if (bound != immediates)
        return malformed(row, error, "an immediate that no operand names in", row->operands);
    return true;
}

/// Memory or register form only: said by an attribute, or because an operand has no other.
static bool parse_restrictions(const struct row *row, struct row_form *form, struct error *error)
{
    bool memory = row->attributes & ROW_MEMORY_ONLY, reg = row->attributes & ROW_REGISTER_ONLY;
    for (unsigned i = 0; i < form->operand_count; i++) {
        memory |= !form->operand[i][1].place;
        reg |= !form->operand[i][0].place;
    }
    if (row->attributes & ROW_MODRM_IGNORED_MOD)
        memory = reg = false;
    if ((memory && reg) || ((memory || reg) && !form->modrm))
        return malformed(row, error, "memory and register forms contradict in", row->operands);
    if ((memory || reg) && (form->mask & KEY_REGISTER) && !(form->value & KEY_REGISTER) != memory)
        return malformed(row, error, "the ModRM byte contradicts the operands", row->operands);
    if (memory || reg)
        form_require(form, KEY_REGISTER, reg ? KEY_REGISTER : 0);
    uint32_t sixty_four = row->attributes & (ROW_NO_64 | ROW_ONLY_64);
    if (sixty_four == (ROW_NO_64 | ROW_ONLY_64))
        return malformed(row, error, "both ROW_NO_64 and ROW_ONLY_64", "");
    if (sixty_four)
        form_require(form, KEY_CODE64, sixty_four == ROW_ONLY_64 ? KEY_CODE64 : 0);
    return true;
}

bool row_form_parse(const struct row *row, struct row_form *form, struct error *error)
{
    *form = (struct row_form){.row = row};
    if (!row->encoding || !row->mnemonic || !row->operands)
        return error_set(error, "row without %s", !row->encoding ? "encoding" : "mnemonic or operands");
    return parse_encoding(row, form, error) && parse_operands(row, form, error) && parse_restrictions(row, form, error);
}
