// The encodings of vector and x87 rows in host code, from the rows' own texts.
#ifdef __x86_64__

#include <string.h>

#include "translate/backend_x86_64_encoding.h"

static unsigned hex(const char *text)
{
    unsigned value = 0;
    for (unsigned i = 0; i < 2; i++)
        value = value * 16 + (unsigned)(text[i] <= '9' ? text[i] - '0' : text[i] - 'A' + 10);
    return value;
}

static const char *next_word(const char *text)
{
    while (*text && *text != ' ')
        text++;
    while (*text == ' ')
        text++;
    return text;
}

/// "VEX.256.66.0F38.W0 00 /r ib": what is before the opcode.
static void read_vex(struct x86_encoding *encoding, const char *text)
{
    const char *end = next_word(text);
    encoding->vex = true;
    while (text < end) {
        if (!strncmp(text, "0F", 2))
            encoding->avx.map = text[2] == '3' ? (text[3] == '8' ? 2 : 3) : 1;
        else if (!strncmp(text, "66", 2) || !strncmp(text, "F2", 2) || !strncmp(text, "F3", 2))
            encoding->avx.prefix = text[0] == '6' ? 1 : text[1] == '3' ? 2 : 3;
        else if (!strncmp(text, "256", 3))
            encoding->avx.is_long = true;
        else if (!strncmp(text, "W1", 2))
            encoding->op.wide = true;
        text += strcspn(text, ". ") + 1;
    }
}

struct x86_encoding x86_encoding_of(const struct row *row)
{
    struct x86_encoding encoding = {.digit = -1};
    const char *text = row->encoding;
    if (row->attributes & ROW_AVX) {
        read_vex(&encoding, text);
        text = next_word(text);
        encoding.avx.opcode = (uint8_t)hex(text);
        text = next_word(text);
    }
    for (; !encoding.vex && *text && strncmp(text, "0F", 2); text = next_word(text)) {
        if (!strncmp(text, "66", 2) || !strncmp(text, "F2", 2) || !strncmp(text, "F3", 2))
            encoding.op.prefix = (uint8_t)hex(text);
        else if (!strncmp(text, "REX.W ", 6))
            encoding.op.wide = true;
    }
    for (; !encoding.vex && *text && text[0] != '/' && text[0] != 'i'; text = next_word(text))
        encoding.op.opcode = encoding.op.opcode << 8 | hex(text);
    if (*text == '/') {
        encoding.modrm = true;
        if (text[1] != 'r')
            encoding.digit = (int8_t)(text[1] - '0');
        text = next_word(text);
    }
    encoding.immediate = *text == 'i';
    encoding.rm_first = row->operands[0] && strchr("WQUNEMR", row->operands[0]) != NULL;
    return encoding;
}

struct x86_place x86_place_of(unsigned vreg)
{
    if (x86_is_vector_temporary(vreg))
        return x86_place_of_memory(x86_vector_temporary(vreg));
    return x86_place_of_register(vreg & (x86_is_mmx(vreg) ? 7 : 15));
}

void x86_emit_encoding(struct translation *t, const struct x86_encoding *encoding, uint8_t reg, struct x86_place rm,
                       uint64_t immediate)
{
    struct emit_avx_op avx = encoding->avx;
    avx.wide = encoding->op.wide;
    if (encoding->vex && !encoding->modrm)
        emit_avx_plain(&t->emit, avx);
    else if (encoding->vex && rm.memory)
        emit_avx_memory(&t->emit, avx, reg, encoding->second, rm.m);
    else if (encoding->vex)
        emit_avx_registers(&t->emit, avx, reg, encoding->second, rm.reg);
    else if (!encoding->modrm)
        emit_vector_plain(&t->emit, encoding->op);
    else if (rm.memory)
        emit_vector_memory(&t->emit, encoding->op, reg, rm.m);
    else
        emit_vector_registers(&t->emit, encoding->op, reg, rm.reg);
    if (encoding->immediate)
        emit_byte(&t->emit, (uint8_t)immediate);
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_encoding_is_empty;

#endif
