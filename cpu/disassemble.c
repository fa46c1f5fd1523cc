// Disassembly text of a decoded instruction, in Intel syntax as capstone lays it out. Reads rows and struct insn only.
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cpu/avx.h"

/// A text that grows inside a fixed buffer; what does not fit is cut.
struct writer {
    char *text;
    size_t size, length;
};

__attribute__((format(printf, 2, 3))) static void write_text(struct writer *writer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t space = writer->size - writer->length;
    int wanted = vsnprintf(writer->text + writer->length, space, format, arguments);
    va_end(arguments);
    if (wanted > 0)
        writer->length += (size_t)wanted < space ? (size_t)wanted : space - 1;
}

/// Small numbers in decimal, the rest in hexadecimal.
static void write_unsigned(struct writer *writer, uint64_t value)
{
    write_text(writer, value > 9 ? "0x%" PRIx64 : "%" PRIx64, value);
}

static void write_signed(struct writer *writer, int64_t value)
{
    if (value < 0)
        write_text(writer, "-");
    write_unsigned(writer, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

static const char *const segment_names[8] = {"es", "cs", "ss", "ds", "fs", "gs", "?", "?"};

static void write_gpr(struct writer *writer, unsigned number, unsigned bytes, bool high)
{
    static const char *const words[8] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
    static const char *const low[8] = {"al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"};
    static const char *const highs[4] = {"ah", "ch", "dh", "bh"};
    if (high)
        write_text(writer, "%s", highs[number & 3]);
    else if (number >= 8)
        write_text(writer, "r%u%s", number, bytes == 1 ? "b" : bytes == 2 ? "w" : bytes == 4 ? "d" : "");
    else if (bytes == 1)
        write_text(writer, "%s", low[number]);
    else
        write_text(writer, "%s%s", bytes == 4 ? "e" : bytes == 8 ? "r" : "", words[number]);
}

static uint64_t cut(uint64_t value, unsigned bytes)
{
    return value & bits_mask(bytes * 8);
}

static const char *size_name(unsigned bytes)
{
    switch (bytes) {
    case 1:
        return "byte ptr ";
    case 2:
        return "word ptr ";
    case 4:
        return "dword ptr ";
    case 6:
        return "fword ptr ";
    case 8:
        return "qword ptr ";
    case 10:
        return "xword ptr ";
    case 16:
        return "xmmword ptr ";
    case 32:
        return "ymmword ptr ";
    }
    return "";
}

/// Far pointers and descriptor table operands are written without their size.
static bool operand_hides_size(const struct row *row, unsigned n)
{
    const char *at = row->operands;
    for (; n > 0 && at; n--) {
        at = strchr(at, ',');
        at = at ? at + 1 : NULL;
    }
    return at && (at[1] == 'p' || at[1] == 's') && (at[2] == 0 || at[2] == ',');
}

static void write_vector_index(struct writer *writer, const struct insn *insn)
{
    uint32_t argument = insn->row->argument;
    unsigned bytes = avx_gather_count(argument, insn->vector_bytes) * AVX_GATHER_INDEX(argument);
    write_text(writer, "%cmm%d", bytes == 32 ? 'y' : 'x', insn->index);
}

static void write_address(struct writer *writer, const struct insn *insn)
{
    write_text(writer, "[");
    bool first = true;
    if (insn->base == -2) {
        write_text(writer, insn->address_bytes == 8 ? "rip" : "eip");
        first = false;
    } else if (insn->base >= 0) {
        write_gpr(writer, (unsigned)insn->base, insn->address_bytes, false);
        first = false;
    }
    if (insn->index >= 0) {
        write_text(writer, first ? "" : " + ");
        if (insn->row->attributes & ROW_VSIB)
            write_vector_index(writer, insn);
        else
            write_gpr(writer, (unsigned)insn->index, insn->address_bytes, false);
        if (insn->scale)
            write_text(writer, "*%u", 1u << insn->scale);
        first = false;
    }
    if (first) {
        write_unsigned(writer, cut((uint64_t)insn->displacement, insn->address_bytes));
    } else if (insn->displacement) {
        bool negative = insn->displacement < 0;
        write_text(writer, negative ? " - " : " + ");
        write_unsigned(writer, negative ? -(uint64_t)insn->displacement : (uint64_t)insn->displacement);
    }
    write_text(writer, "]");
}

/// Logical operations, and immediates that the row does not sign-extend, are shown as bits.
static bool immediate_is_signed(const struct insn *insn, unsigned n)
{
    const char *mnemonic = insn->row->mnemonic;
    if (!strcmp(mnemonic, "and") || !strcmp(mnemonic, "or") || !strcmp(mnemonic, "xor"))
        return false;
    if (strstr(insn->row->operands, "Ibs"))
        return true;
    return strstr(insn->row->operands, "Iz") && insn->operand_bytes == 8 && insn->operand[n].bytes == 4;
}

static void write_immediate(struct writer *writer, const struct insn *insn, unsigned n)
{
    const struct operand *operand = &insn->operand[n];
    uint64_t value = operand->reg ? insn->immediate2 : insn->immediate;
    if (immediate_is_signed(insn, n)) {
        write_signed(writer, (int64_t)value);
        return;
    }
    bool extended = strstr(insn->row->operands, "Ibs") || strstr(insn->row->operands, "Iz");
    write_unsigned(writer, cut(value, extended ? insn->operand_bytes : operand->bytes));
}

static void write_string_operand(struct writer *writer, const struct insn *insn, unsigned n, bool code64)
{
    bool source = insn->operand[n].kind == OPERAND_STRING_SOURCE;
    write_text(writer, "%s", size_name(insn->operand[n].bytes));
    if (!source && !code64)
        write_text(writer, "es:");
    if (source && insn->segment_override >= 0)
        write_text(writer, "%s:", segment_names[insn->segment & 7]);
    write_text(writer, "[");
    write_gpr(writer, source ? VAR_RSI : VAR_RDI, insn->address_bytes, false);
    write_text(writer, "]");
}

static void write_operand(struct writer *writer, const struct insn *insn, unsigned n, uint64_t rip)
{
    const struct operand *operand = &insn->operand[n];
    switch ((enum operand_kind)operand->kind) {
    case OPERAND_NONE:
        break;
    case OPERAND_GPR:
        write_gpr(writer, operand->reg, operand->bytes, operand->high);
        break;
    case OPERAND_MEMORY:
    case OPERAND_OFFSET:
        if (!operand_hides_size(insn->row, n))
            write_text(writer, "%s", size_name(operand->bytes));
        if (insn->segment_override >= 0)
            write_text(writer, "%s:", segment_names[insn->segment & 7]);
        write_address(writer, insn);
        break;
    case OPERAND_IMMEDIATE:
        write_immediate(writer, insn, n);
        break;
    case OPERAND_RELATIVE:
        write_unsigned(writer, cut(rip + insn->length + insn->immediate, insn->operand_bytes));
        break;
    case OPERAND_SEGMENT:
        write_text(writer, "%s", segment_names[operand->reg & 7]);
        break;
    case OPERAND_CONTROL:
        write_text(writer, "cr%u", operand->reg);
        break;
    case OPERAND_DEBUG:
        write_text(writer, "dr%u", operand->reg);
        break;
    case OPERAND_XMM:
        write_text(writer, "%cmm%u", operand->bytes == 32 ? 'y' : 'x', operand->reg);
        break;
    case OPERAND_MMX:
        write_text(writer, "mm%u", operand->reg);
        break;
    case OPERAND_ST:
        write_text(writer, "st(%u)", operand->reg);
        break;
    case OPERAND_FAR:
        write_unsigned(writer, insn->far_selector);
        write_text(writer, ":");
        write_unsigned(writer, insn->immediate);
        break;
    case OPERAND_STRING_SOURCE:
    case OPERAND_STRING_DESTINATION:
        write_string_operand(writer, insn, n, insn->code64);
        break;
    }
}

/// One of the alternatives "two|four|eight" by operand size, or "@two|four|eight" by address size.
static void write_mnemonic(struct writer *writer, const struct insn *insn)
{
    const char *at = insn->row->mnemonic;
    unsigned bytes = insn->operand_bytes;
    if (*at == '@') {
        at++;
        bytes = insn->address_bytes;
    }
    for (unsigned skip = bytes == 2 ? 0 : bytes == 4 ? 1 : 2; skip > 0; skip--) {
        const char *bar = strchr(at, '|');
        if (bar)
            at = bar + 1;
    }
    write_text(writer, "%.*s", (int)strcspn(at, "|"), at);
}

static void write_prefixes(struct writer *writer, const struct insn *insn)
{
    if (insn->lock)
        write_text(writer, "lock ");
    if (!(insn->row->attributes & ROW_REP) || !(insn->rep || insn->repne))
        return;
    bool compares = insn->row->flags_written & FLAG_ZF;
    write_text(writer, insn->repne ? "repne " : compares ? "repe " : "rep ");
}

void disassemble(const struct insn *insn, uint64_t rip, char *text, size_t size)
{
    if (!size)
        return;
    struct writer writer = {text, size, 0};
    text[0] = 0;
    if (!insn->row) {
        write_text(&writer, "(bad)");
        return;
    }
    write_prefixes(&writer, insn);
    write_mnemonic(&writer, insn);
    for (unsigned i = 0; i < insn->operand_count; i++) {
        write_text(&writer, i ? ", " : " ");
        write_operand(&writer, insn, i, rip);
    }
}
