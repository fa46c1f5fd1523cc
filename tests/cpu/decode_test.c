// The decoder against Zydis: every row in many forms, random bytes, illegal encodings, limits; and its speed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu/support_rows.h"
#include "cpu/support_zydis.h"

static struct row_index *row_index;
static struct cpu_model model;

struct test_mode {
    const char *name;
    uint32_t mode;
    ZydisMachineMode machine;
    ZydisStackWidth stack;
};
static const struct test_mode modes[3] = {
    {"16", MODE_CODE16 | MODE_PROTECTED, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
    {"32", MODE_CODE32 | MODE_PROTECTED, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
    {"64", MODE_CODE64 | MODE_PROTECTED | MODE_LONG, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
};

static void zydis_init(ZydisDecoder *decoder, const struct test_mode *mode)
{
    assert_true(ZYAN_SUCCESS(ZydisDecoderInit(decoder, mode->machine, mode->stack)));
    // Extensions that take over the hint space and that doppel does not have.
    ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
    ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
    ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
}

// ---- Mnemonics ----------------------------------------------------------------------------------------------------

/// Capstone's name (the row's) and Zydis', where they differ.
static const char *const same_mnemonics[][2] = {
    {"jae", "jnb"},
    {"je", "jz"},
    {"jne", "jnz"},
    {"ja", "jnbe"},
    {"jge", "jnl"},
    {"jg", "jnle"},
    {"setae", "setnb"},
    {"sete", "setz"},
    {"setne", "setnz"},
    {"seta", "setnbe"},
    {"setge", "setnl"},
    {"setg", "setnle"},
    {"cmovae", "cmovnb"},
    {"cmove", "cmovz"},
    {"cmovne", "cmovnz"},
    {"cmova", "cmovnbe"},
    {"cmovge", "cmovnl"},
    {"cmovg", "cmovnle"},
    {"movabs", "mov"},
    {"xlatb", "xlat"},
    {"pushaw", "pusha"},
    {"pushal", "pushad"},
    {"popaw", "popa"},
    {"popal", "popad"},
    {"lcall", "call"},
    {"ljmp", "jmp"},
    {"retf", "ret"},
    {"wait", "fwait"},
    {"sal", "shl"},
    {"sysretq", "sysret"},
    {"sysexitq", "sysexit"},
    {"fxsave", "fxsave64"},
    {"fxrstor", "fxrstor64"},
    {"fstp", "fstpnce"},
    {"fsetpm", "fsetpm287_nop"},
};

/// The row's mnemonic for these sizes.
static void row_mnemonic(const struct insn *insn, char *text, size_t size)
{
    char whole[128];
    disassemble(insn, 0, whole, sizeof whole);
    char *at = whole;
    static const char *const prefixes[] = {"lock ", "rep ", "repe ", "repne "};
    for (unsigned i = 0; i < ARRAY_SIZE(prefixes); i++)
        if (!strncmp(at, prefixes[i], strlen(prefixes[i])))
            at += strlen(prefixes[i]);
    snprintf(text, size, "%.*s", (int)strcspn(at, " "), at);
}

static bool mnemonics_agree(const struct insn *insn, const char *zydis)
{
    char ours[64];
    row_mnemonic(insn, ours, sizeof ours);
    if (!strcmp(ours, zydis))
        return true;
    for (unsigned i = 0; i < ARRAY_SIZE(same_mnemonics); i++)
        if (!strcmp(ours, same_mnemonics[i][0]) && !strcmp(zydis, same_mnemonics[i][1]))
            return true;
    return false;
}

// ---- Comparison ---------------------------------------------------------------------------------------------------

static unsigned missing_by_extension[ZYDIS_ISA_EXT_MAX_VALUE + 1];
static unsigned long compared, both_legal;

struct failure {
    char text[400];
};

__attribute__((format(printf, 2, 3))) static bool fail_with(struct failure *failure, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(failure->text, sizeof failure->text, format, arguments);
    va_end(arguments);
    return false;
}

static int gpr_number(ZydisRegister reg)
{
    ZyanI8 id = ZydisRegisterGetId(reg);
    return reg == ZYDIS_REGISTER_NONE ? -1 : reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP ? -2 : id;
}

static int segment_number(ZydisRegister reg)
{
    return reg >= ZYDIS_REGISTER_ES && reg <= ZYDIS_REGISTER_GS ? (int)(reg - ZYDIS_REGISTER_ES) : -1;
}

/// The ModRM memory operand.
static bool compare_memory(const struct insn *insn, const ZydisDecodedInstruction *zydis,
                           const ZydisDecodedOperand *operands, struct failure *failure)
{
    for (unsigned i = 0; i < zydis->operand_count; i++) {
        const ZydisDecodedOperand *operand = &operands[i];
        if (operand->type != ZYDIS_OPERAND_TYPE_MEMORY || operand->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM)
            continue;
        bool has = false;
        for (unsigned n = 0; n < insn->operand_count; n++)
            has |= insn->operand[n].kind == OPERAND_MEMORY;
        if (!has)
            return insn->operand_count == 0 || fail_with(failure, "no memory operand");
        int base = gpr_number(operand->mem.base), index = gpr_number(operand->mem.index);
        unsigned scale = index >= 0 ? (unsigned)__builtin_ctz(operand->mem.scale) : 0;
        int64_t displacement = operand->mem.disp.has_displacement ? operand->mem.disp.value : 0;
        uint64_t mask = bits_mask(insn->address_bytes * 8);
        // Zydis 4.0.0 takes the missing base of a SIB byte for R13 when REX.B meets 32-bit addresses (SDM vol. 2
        // table 2-3, note 1: mod 0 has none, whatever REX.B says; without 67 Zydis agrees).
        if (insn->code64 && insn->address_bytes == 4 && base == VAR_R13 && insn->base == -1 &&
            (insn->modrm & 0xc7) == 4)
            continue;
        if (insn->base != base || insn->index != index || insn->scale != scale ||
            ((uint64_t)(insn->displacement ^ displacement) & mask))
            return fail_with(failure, "address %d+%d<<%u+%lld, Zydis %d+%d<<%u+%lld", insn->base, insn->index,
                             insn->scale, (long long)insn->displacement, base, index, scale, (long long)displacement);
        int segment = segment_number(operand->mem.segment);
        // An address that is only generated (LEA) has no segment for Zydis.
        if (operand->mem.type != ZYDIS_MEMOP_TYPE_AGEN && segment >= 0 && insn->segment != segment)
            return fail_with(failure, "segment %u, Zydis %d", insn->segment, segment);
    }
    return true;
}

/// Explicit operands one by one, where kinds correspond.
static bool compare_operands(const struct insn *insn, const ZydisDecodedInstruction *zydis,
                             const ZydisDecodedOperand *operands, struct failure *failure)
{
    unsigned visible = zydis->operand_count_visible;
    if (visible != insn->operand_count)
        return true; // rows leave fixed operands out as capstone's text does
    for (unsigned i = 0; i < visible; i++) {
        const struct operand *ours = &insn->operand[i];
        const ZydisDecodedOperand *theirs = &operands[i];
        if (ours->kind == OPERAND_GPR && theirs->type == ZYDIS_OPERAND_TYPE_REGISTER) {
            unsigned bytes = theirs->size / 8;
            if (ours->bytes != bytes)
                return fail_with(failure, "operand %u has %u bytes, Zydis %u (%s)", i, ours->bytes, bytes,
                                 ZydisRegisterGetString(theirs->reg.value));
        } else if (ours->kind == OPERAND_MEMORY && theirs->type == ZYDIS_OPERAND_TYPE_MEMORY) {
            if (ours->bytes && theirs->mem.type != ZYDIS_MEMOP_TYPE_AGEN && theirs->size &&
                ours->bytes != theirs->size / 8)
                return fail_with(failure, "operand %u has %u bytes, Zydis %u", i, ours->bytes, theirs->size / 8);
        } else if (ours->kind == OPERAND_IMMEDIATE && theirs->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
            uint64_t value = ours->reg ? insn->immediate2 : insn->immediate;
            uint64_t mask = bits_mask(ours->bytes ? ours->bytes * 8u : 64);
            if ((value ^ theirs->imm.value.u) & mask)
                return fail_with(failure, "immediate 0x%llx, Zydis 0x%llx", (unsigned long long)value,
                                 (unsigned long long)theirs->imm.value.u);
        } else if (ours->kind == OPERAND_RELATIVE && theirs->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
            if (insn->immediate != theirs->imm.value.u)
                return fail_with(failure, "relative %lld, Zydis %lld", (long long)insn->immediate,
                                 (long long)theirs->imm.value.s);
        }
    }
    return true;
}

/// Register operands by their names in both texts.
static bool compare_registers(const struct insn *insn, const ZydisDecodedInstruction *zydis,
                              const ZydisDecodedOperand *operands, struct failure *failure)
{
    if (zydis->operand_count_visible != insn->operand_count)
        return true;
    char text[128];
    disassemble(insn, 0, text, sizeof text);
    for (unsigned i = 0; i < insn->operand_count; i++) {
        unsigned kind = insn->operand[i].kind;
        if (operands[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        if (kind != OPERAND_GPR && kind != OPERAND_XMM && kind != OPERAND_MMX && kind != OPERAND_SEGMENT &&
            kind != OPERAND_CONTROL && kind != OPERAND_DEBUG)
            continue;
        const char *name = ZydisRegisterGetString(operands[i].reg.value);
        const char *at = strchr(text, ' ');
        bool found = false;
        while (at && (at = strstr(at, name)) && !found) {
            size_t length = strlen(name);
            found = (at[-1] == ' ') && (at[length] == 0 || at[length] == ',');
            at++;
        }
        if (!found)
            return fail_with(failure, "no register %s in \"%s\"", name, text);
    }
    return true;
}

/// Rows that Zydis knows by another name, with other operands, or not at all; and why we are right or it is the same.
static const struct {
    const char *encoding; // of our row
    const char *zydis;    // its mnemonic
    const char *reason;
} exceptions[] = {
    {"F3 0F 1E FA", "nop", "ENDBR64 is a NOP with CET off, as it is told to be"},
    {"F3 0F 1E FB", "nop", "ENDBR32 likewise"},
    {"0F 0D /r", "prefetch", "reserved /2../7 are NOPs for Intel, prefetches for AMD: both without effect"},
    {"0F 0D /2", "prefetch", "PREFETCHWT1's place, likewise"},
    {"0F 18 /r", "nop", "Zydis lists the ModRM.reg register of hint NOPs"},
    {"0F 0D /r", "nop", "likewise"},
    {"0F 19 /r", "nop", "likewise"},
    {"0F 1A /r", "nop", "likewise"},
    {"0F 1B /r", "nop", "likewise"},
    {"0F 1C /r", "nop", "likewise"},
    {"0F 1D /r", "nop", "likewise"},
    {"0F 1E /r", "nop", "likewise"},
    {"0F 1F /r", "nop", "likewise"},
    {"90+r", "pause", "F3 with REX.B is XCHG R8 (shown by a real processor)"},
    {"NP 0F 50 /r", "movmskps", "writes 32 bits and zeroes the rest, REX.W or not"},
    {"66 0F 50 /r", "movmskpd", "likewise"},
    {"0F 02 /r", "lar", "the selector is a word, whatever the register's size"},
    {"0F 03 /r", "lsl", "likewise"},
    {"NP 0F AE /7", "clflush", "likewise"},
    {"66 0F AE /7", "clflushopt", "likewise"},
    {"66 0F AE /6", "clwb", "likewise"},
    {"63 /r", "movsxd", "with 66 the SDM has r/m16, Zydis a doubleword"},
};

static void test_exceptions_name_rows(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(exceptions); i++) {
        bool found = false;
        for (unsigned n = 0; n < row_count(); n++)
            found |= !strcmp(row_get(n)->encoding, exceptions[i].encoding);
        if (!found)
            fail_msg("no row \"%s\" for its exception (%s)", exceptions[i].encoding, exceptions[i].reason);
    }
}

static bool is_exception(const struct insn *insn, const char *zydis)
{
    for (unsigned i = 0; i < ARRAY_SIZE(exceptions); i++)
        if (!strcmp(insn->row->encoding, exceptions[i].encoding) && !strcmp(zydis, exceptions[i].zydis))
            return true;
    return false;
}

static bool compare_legal(const struct insn *insn, const ZydisDecodedInstruction *zydis,
                          const ZydisDecodedOperand *operands, struct failure *failure)
{
    if (insn->length != zydis->length)
        return fail_with(failure, "%s is %u bytes, Zydis' %s %u", insn->row->mnemonic, insn->length,
                         ZydisMnemonicGetString(zydis->mnemonic), zydis->length);
    const char *mnemonic = ZydisMnemonicGetString(zydis->mnemonic);
    if (is_exception(insn, mnemonic))
        return true;
    if (!mnemonics_agree(insn, mnemonic))
        return fail_with(failure, "row %s \"%s\", Zydis %s", insn->row->encoding, insn->row->mnemonic, mnemonic);
    if (insn->address_bytes * 8 != zydis->address_width)
        return fail_with(failure, "address size %u, Zydis %u bits", insn->address_bytes, zydis->address_width);
    return compare_memory(insn, zydis, operands, failure) && compare_operands(insn, zydis, operands, failure) &&
           compare_registers(insn, zydis, operands, failure);
}

/// Both decoders on the same bytes.
static bool compare(const ZydisDecoder *decoder, const struct test_mode *mode, const uint8_t *bytes, unsigned length,
                    struct failure *failure)
{
    struct insn insn;
    enum decode_status status = decode(row_index, &model, mode->mode, bytes, length, &insn);
    ZydisDecodedInstruction zydis;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    ZyanStatus zydis_status = ZydisDecoderDecodeFull(decoder, bytes, length, &zydis, operands);
    bool legal = ZYAN_SUCCESS(zydis_status);
    compared++;
    if (status == DECODE_OK && legal) {
        both_legal++;
        return compare_legal(&insn, &zydis, operands, failure);
    }
    if (status == DECODE_OK)
        return fail_with(failure, "row %s \"%s\" fits, Zydis says 0x%x", insn.row->encoding, insn.row->mnemonic,
                         (unsigned)zydis_status);
    if (!legal)
        return true;
    if (zydis_extension_may_be_missing(&zydis)) {
        missing_by_extension[zydis.meta.isa_ext]++;
        return true;
    }
    return fail_with(failure, "status %u, but Zydis has %s, %u bytes, ISA set %s", status,
                     ZydisMnemonicGetString(zydis.mnemonic), zydis.length, ZydisISASetGetString(zydis.meta.isa_set));
}

#ifndef MAX_REPORTED
#define MAX_REPORTED 40
#endif

/// Prints a failure; the bytes that both looked at.
static void report(const struct test_mode *mode, const uint8_t *bytes, const struct failure *failure,
                   unsigned *failures)
{
    if ((*failures)++ >= MAX_REPORTED)
        return;
    fprintf(stderr, "%s-bit:", mode->name);
    for (unsigned i = 0; i < 15; i++)
        fprintf(stderr, " %02x", bytes[i]);
    fprintf(stderr, ": %s\n", failure->text);
}

// ---- Tests --------------------------------------------------------------------------------------------------------

static const uint8_t prefix_sets[][3] = {
    {0},          {0x66},       {0x67},       {0xf3},       {0xf2},       {0xf0},       {0x64},
    {0x2e},       {0x36},       {0x66, 0x67}, {0xf3, 0x66}, {0x66, 0xf2}, {0xf2, 0xf3}, {0xf3, 0xf2},
    {0x65, 0x64}, {0x64, 0x3e}, {0xf0, 0x66}, {0xf0, 0xf3}, {0xf0, 0x67},
};
static const uint8_t rex_bytes[] = {0, 0x40, 0x41, 0x42, 0x44, 0x48, 0x4f};

static unsigned compare_form(const struct row_form *form, const struct test_mode *mode, const ZydisDecoder *decoder,
                             uint64_t *seed, unsigned *failures)
{
    struct failure failure;
    unsigned count = 0;
    uint8_t bytes[32];
    for (unsigned p = 0; p < ARRAY_SIZE(prefix_sets); p++) {
        for (unsigned r = 0; r < (mode->machine == ZYDIS_MACHINE_MODE_LONG_64 ? ARRAY_SIZE(rex_bytes) : 1); r++) {
            for (unsigned m = 0; m < (form->modrm || form->opcode_register ? 32u : 1u); m++) {
                // All forms of mod and rm; reg varies.
                uint64_t random = support_random(seed);
                struct support_encoding how = {
                    .prefixes = prefix_sets[p],
                    .prefix_count = (unsigned)strnlen((const char *)prefix_sets[p], 3),
                    .rex = rex_bytes[r],
                    .modrm = (uint8_t)((m & 7) | (m & 24) << 3 | (random & 7) << 3),
                    .sib = (uint8_t)(random >> 8),
                    .filler = random >> 16,
                };
                support_encode(form, &how, bytes);
                count++;
                if (!compare(decoder, mode, bytes, 15, &failure))
                    report(mode, bytes, &failure, failures);
            }
        }
    }
    return count;
}

static void test_rows_against_zydis(void **state)
{
    (void)state;
    uint64_t seed = 1;
    unsigned failures = 0, count = 0;
    for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
        ZydisDecoder decoder;
        zydis_init(&decoder, &modes[m]);
        for (unsigned n = 0; n < row_count(); n++)
            count += compare_form(&row_index->forms[n], &modes[m], &decoder, &seed, &failures);
    }
    printf("%u instructions from %u rows\n", count, row_count());
    assert_int_equal(failures, 0);
}

static bool row_is_reached(const struct row_form *form)
{
    for (unsigned n = 0; n < ARRAY_SIZE(modes) * 256; n++) {
        struct support_encoding how = {.modrm = (uint8_t)n, .sib = 2 << 3, .filler = n};
        uint8_t bytes[32];
        struct insn insn;
        support_encode(form, &how, bytes);
        if (decode(row_index, &model, modes[n / 256].mode, bytes, 15, &insn) == DECODE_OK && insn.row == form->row)
            return true;
    }
    return false;
}

/// Every row is reached by its own plain encoding in a mode that has it.
static void test_rows_are_reached(void **state)
{
    (void)state;
    for (unsigned n = 0; n < row_count(); n++)
        if (!row_is_reached(&row_index->forms[n]))
            fail_msg("row \"%s\" (%s) is never found", row_get(n)->encoding, row_get(n)->mnemonic);
}

static void test_random_against_zydis(void **state)
{
    (void)state;
    uint64_t seed = 20;
    unsigned failures = 0;
    both_legal = 0;
    for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
        ZydisDecoder decoder;
        zydis_init(&decoder, &modes[m]);
        for (unsigned n = 0; n < 400000; n++) {
            uint8_t bytes[16];
            store_le64(bytes, support_random(&seed));
            store_le64(bytes + 8, support_random(&seed));
            if (n & 1) // half of them in the two-byte map
                bytes[n >> 1 & 1] = 0x0f;
            else if ((n & 14) == 2) // and some with VEX, mostly in a map that there is and with the general rows' pp
                bytes[n >> 4 & 1] = n & 32 ? 0xc5 : 0xc4;
            if ((n & 0xdf) == 2) {
                bytes[1] = (uint8_t)((bytes[1] & 0xe0) | 2);
                bytes[3] = (uint8_t)(0xf0 | (bytes[3] & 7));
            }
            struct failure failure;
            if (!compare(&decoder, &modes[m], bytes, 15, &failure))
                report(&modes[m], bytes, &failure, &failures);
        }
    }
    printf("%lu random instructions legal for both\n", both_legal);
    for (unsigned i = 0; i <= ZYDIS_ISA_EXT_MAX_VALUE; i++)
        if (missing_by_extension[i])
            printf("  not in rows: %s %u times\n", ZydisISAExtGetString((ZydisISAExt)i), missing_by_extension[i]);
    assert_int_equal(failures, 0);
}

static enum decode_status decode_bytes(uint32_t mode, const char *bytes, unsigned length, struct insn *insn)
{
    return decode(row_index, &model, mode, (const uint8_t *)bytes, length, insn);
}
#define DECODE(mode, bytes, insn) decode_bytes(mode, bytes, sizeof bytes - 1, insn)

static void test_length_limits(void **state)
{
    (void)state;
    struct insn insn;
    // Thirteen prefixes and two bytes are fifteen.
    assert_int_equal(DECODE(modes[1].mode, "\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x01\xc0", &insn),
                     DECODE_OK);
    assert_int_equal(insn.length, 15);
    assert_int_equal(DECODE(modes[1].mode, "\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x01\xc0", &insn),
                     DECODE_TOO_LONG);
    assert_int_equal(DECODE(modes[1].mode, "\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x90", &insn),
                     DECODE_TOO_LONG);
    // Displacement and immediate count.
    assert_int_equal(DECODE(modes[2].mode, "\x64\x64\x64\x64\x64\x81\x80\0\0\0\0\0\0\0\0", &insn), DECODE_OK);
    assert_int_equal(insn.length, 15);
    assert_int_equal(DECODE(modes[2].mode, "\x64\x64\x64\x64\x64\x64\x81\x80\0\0\0\0\0\0\0\0", &insn), DECODE_TOO_LONG);
    // Every proper start of an instruction asks for more.
    static const char instruction[] = "\x66\x67\x48\x81\x84\x88\x11\x22\x33\x44\x55\x66\x77\x88";
    for (unsigned length = 0; length < sizeof instruction - 1; length++)
        assert_int_equal(decode_bytes(modes[2].mode, instruction, length, &insn), DECODE_MORE);
    assert_int_equal(DECODE(modes[2].mode, instruction, &insn), DECODE_OK);
    assert_int_equal(insn.length, sizeof instruction - 1);
}

static void test_illegal(void **state)
{
    (void)state;
    struct insn insn;
    static const struct {
        unsigned mode;
        const char bytes[5];
    } illegal[] = {
        {2, "\x06"},         {2, "\x27"},         {2, "\x60"},         {2, "\x82\xc0\x00"}, {2, "\xd4\x0a"},
        {2, "\xc4\x00"},     {2, "\x62\x00"},     {1, "\x8d\xc0"},     {1, "\x0f\x04"},     {1, "\x0f\xff"},
        {1, "\xc5\xc0"},     {1, "\x8f\xc8"},     {1, "\xfe\xd0"},     {1, "\x0f\xc7\xc8"}, {1, "\x0f\x38\xf0\xc0"},
        {1, "\xf0\x90"},     {1, "\xf0\x01\xc0"}, {1, "\xf0\x03\x00"}, {1, "\xf0\x39\x00"}, {1, "\xf0\x0f\xa3\x00"},
        {1, "\xf0\x8b\x00"}, {1, "\xf0\xa4"},     {1, "\xf0\xd1\x00"}, {1, "\x0f\x0f"},     {1, "\xf0\x0f\xb1\xc8"},
        {1, "\xf0\x87\xc8"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(illegal); i++) {
        uint8_t bytes[16] = {0};
        memcpy(bytes, illegal[i].bytes, 4);
        if (bytes[0] == 0x0f && bytes[1] == 0xff)
            continue; // UD0 has a row
        if (decode(row_index, &model, modes[illegal[i].mode].mode, bytes, 15, &insn) != DECODE_ILLEGAL)
            fail_msg("number %u is legal: %s", i, insn.row ? insn.row->mnemonic : "?");
        assert_null(insn.row);
    }
    // LOCK where it is allowed.
    static const char *const locked[] = {"\xf0\x01\x00", "\xf0\x0f\xb1\x08", "\xf0\x0f\xc7\x08", "\xf0\x86\x00",
                                         "\xf0\xff\x00", "\xf0\xf7\x18",     "\xf0\x0f\xab\x00", "\xf0\x83\x00"};
    for (unsigned i = 0; i < ARRAY_SIZE(locked); i++) {
        uint8_t bytes[16] = {0};
        memcpy(bytes, locked[i], 4);
        assert_int_equal(decode(row_index, &model, modes[2].mode, bytes, 15, &insn), DECODE_OK);
        assert_true(insn.lock);
    }
}

/// VEX: where it is no prefix, and what else it forbids.
static void test_vex(void **state)
{
    (void)state;
    struct insn insn;
    const uint32_t real = MODE_CODE16, vm86 = MODE_CODE16 | MODE_PROTECTED | MODE_VM86;
    assert_int_equal(DECODE(modes[2].mode, "\xc4\xe2\x78\xf2\xc1", &insn), DECODE_OK);
    assert_string_equal(insn.row->mnemonic, "andn");
    assert_int_equal(insn.operand[0].bytes, 4);
    assert_int_equal(DECODE(modes[2].mode, "\xc4\x42\xb0\xf2\xc1", &insn), DECODE_OK); // R, B, W, vvvv
    assert_int_equal(insn.operand[0].bytes, 8);
    assert_int_equal(insn.operand[0].reg, 8);
    assert_int_equal(insn.operand[1].reg, 9);
    assert_int_equal(insn.operand[2].reg, 9);
    assert_int_equal(DECODE(modes[1].mode, "\xc4\xe2\xb0\xf2\xc1", &insn), DECODE_OK); // no W, no eighth register
    assert_int_equal(insn.operand[0].bytes, 4);
    assert_int_equal(insn.operand[1].reg, 1);
    assert_int_equal(DECODE(modes[0].mode, "\xc4\xe2\x78\xf2\xc1", &insn), DECODE_OK);
    assert_int_equal(insn.operand[0].bytes, 4);
    // LES, LDS and BOUND have memory operands. Without protection there is nothing else.
    assert_int_equal(DECODE(modes[1].mode, "\xc4\x22\x78\xf2\xc1", &insn), DECODE_OK);
    assert_string_equal(insn.row->mnemonic, "les");
    assert_int_equal(DECODE(modes[1].mode, "\xc5\x38\x58", &insn), DECODE_OK);
    assert_string_equal(insn.row->mnemonic, "lds");
    assert_int_equal(DECODE(modes[1].mode, "\x62\x00", &insn), DECODE_OK);
    assert_string_equal(insn.row->mnemonic, "bound");
    assert_int_equal(DECODE(real, "\xc4\xe2\x78\xf2\xc1", &insn), DECODE_ILLEGAL);
    assert_int_equal(DECODE(vm86, "\xc4\xe2\x78\xf2\xc1", &insn), DECODE_ILLEGAL);
    // 66, F2, F3, LOCK and REX before it, L, a vvvv that means nothing.
    static const char *const forbidden[] = {
        "\x66\xc4\xe2\x78\xf2\xc1", "\xf2\xc4\xe2\x78\xf2\xc1", "\xf3\xc4\xe2\x78\xf2\xc1", "\xf0\xc4\xe2\x78\xf2\x01",
        "\x48\xc4\xe2\x78\xf2\xc1", "\xc4\xe2\x7c\xf2\xc1\x90", "\xc4\xe3\x73\xf0\xc1\x01", "\xc4\xe2\x79\xf2\xc1\x90"};
    for (unsigned i = 0; i < ARRAY_SIZE(forbidden); i++)
        assert_int_equal(decode_bytes(modes[2].mode, forbidden[i], 6, &insn), DECODE_ILLEGAL);
    assert_int_equal(DECODE(modes[2].mode, "\x48\x64\xc4\xe2\x78\xf2\x01", &insn), DECODE_OK); // REX is void
    assert_int_equal(insn.segment, SEG_FS);
}

/// How much of an instruction that no row fits is fetched before it is refused, as a real processor does at the end of
/// a page: a whole instruction by its map.
static void test_refused_length(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        unsigned length;
        bool more;
    } cases[] = {
        {"\xc5\xf8", 2, true},
        {"\xc5\xf8\x0b", 3, false}, // as UD2: no ModRM
        {"\x66\xc5\xf8\x58", 4, true},
        {"\x66\xc5\xf8\x58\x05", 5, true},
        {"\x66\xc5", 2, true},
        {"\xf0\xc5\xf8\x58", 4, true},
        {"\xc4\xff\x78\x00", 4, true}, // map 31
        {"\xc4\xe0\x78\x58", 4, true},
        {"\xc4\xe3\x78\x0d\xc0", 5, true}, // the immediate
        {"\xc4\xe3\x79\x70\xc0", 5, true},
        {"\xc4\xe3\x79\x70\xc0\x00", 6, false},
        {"\xc4\xe2\x7c\xf2", 4, true}, // ANDN with L
        {"\xc4\xe2\x7c\xf2\x05", 5, true},
        {"\xc4\xe2\x7c\xf2\xc1", 5, false},
        {"\xc4\xe2\x78\xf3\x05", 5, true},
        {"\x62", 1, true},
        {"\x62\xf1\x7c\x48\x0b", 5, false},
        {"\x62\xf1\x78\x48\x58", 5, true},
        {"\xff\x3d", 2, true}, // FF /7
        {"\xfe\x15", 2, true},
        {"\xff\xf8", 2, false},
        {"\x0f\xc7\x05", 3, true},
        {"\x0f\x04", 2, false},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        struct insn insn;
        enum decode_status status = decode_bytes(modes[2].mode, cases[i].bytes, cases[i].length, &insn);
        if (status != (cases[i].more ? DECODE_MORE : DECODE_ILLEGAL))
            fail_msg("case %u has status %u", i, status);
    }
}

static void test_features(void **state)
{
    (void)state;
    struct insn insn;
    assert_int_equal(DECODE(modes[2].mode, "\xf3\x0f\xbc\xc1", &insn), DECODE_OK);
    assert_string_equal(insn.row->mnemonic, "tzcnt");
    assert_int_equal(DECODE(modes[2].mode, "\x0f\x40\xc1", &insn), DECODE_OK);
    struct cpu_model all = model;
    model.features[FEATURE_BMI1 / 64] &= ~BIT(FEATURE_BMI1 % 64);
    model.features[FEATURE_CMOV / 64] &= ~BIT(FEATURE_CMOV % 64);
    model.features[FEATURE_CX16 / 64] &= ~BIT(FEATURE_CX16 % 64);
    enum decode_status bsf = DECODE(modes[2].mode, "\xf3\x0f\xbc\xc1", &insn);
    const char *mnemonic = insn.row ? insn.row->mnemonic : "";
    enum decode_status cmov = DECODE(modes[2].mode, "\x0f\x40\xc1", &insn);
    enum decode_status cmpxchg16b = DECODE(modes[2].mode, "\x48\x0f\xc7\x08", &insn);
    model = all;
    assert_int_equal(bsf, DECODE_OK);
    assert_string_equal(mnemonic, "bsf");
    assert_int_equal(cmov, DECODE_ILLEGAL);
    assert_int_equal(cmpxchg16b, DECODE_ILLEGAL);
}

static void test_prefixes(void **state)
{
    (void)state;
    struct insn insn;
    // A REX that another prefix follows is void.
    assert_int_equal(DECODE(modes[2].mode, "\x48\x66\x01\xc0", &insn), DECODE_OK);
    assert_int_equal(insn.operand_bytes, 2);
    assert_int_equal(insn.rex, 0);
    // W beats 66.
    assert_int_equal(DECODE(modes[2].mode, "\x66\x48\x01\xc0", &insn), DECODE_OK);
    assert_int_equal(insn.operand_bytes, 8);
    // The last repeat and segment prefix count.
    assert_int_equal(DECODE(modes[1].mode, "\xf3\xf2\xa6", &insn), DECODE_OK);
    assert_true(insn.repne && !insn.rep);
    assert_int_equal(DECODE(modes[1].mode, "\x64\x26\x8b\x00", &insn), DECODE_OK);
    assert_int_equal(insn.segment, SEG_ES);
    assert_int_equal(DECODE(modes[2].mode, "\x64\x26\x8b\x00", &insn), DECODE_OK);
    assert_int_equal(insn.segment, SEG_FS);
    // Segments by default.
    assert_int_equal(DECODE(modes[1].mode, "\x8b\x45\x00", &insn), DECODE_OK);
    assert_int_equal(insn.segment, SEG_SS);
    assert_int_equal(DECODE(modes[1].mode, "\x8b\x05\x00\x00\x00\x00", &insn), DECODE_OK);
    assert_int_equal(insn.segment, SEG_DS);
    assert_int_equal(DECODE(modes[0].mode, "\x8b\x03", &insn), DECODE_OK);
    assert_int_equal(insn.segment, SEG_SS);
    // Near branches ignore 66 in 64-bit code.
    assert_int_equal(DECODE(modes[2].mode, "\x66\xe8\x00\x00\x00\x00", &insn), DECODE_OK);
    assert_int_equal(insn.length, 6);
    assert_int_equal(insn.operand_bytes, 8);
    assert_int_equal(DECODE(modes[2].mode, "\x66\x50", &insn), DECODE_OK);
    assert_int_equal(insn.operand_bytes, 2);
    assert_int_equal(DECODE(modes[2].mode, "\x50", &insn), DECODE_OK);
    assert_int_equal(insn.operand_bytes, 8);
    // High bytes without REX, low ones with.
    assert_int_equal(DECODE(modes[2].mode, "\x88\xe0", &insn), DECODE_OK);
    assert_true(insn.operand[1].high && insn.operand[1].reg == 0);
    assert_int_equal(DECODE(modes[2].mode, "\x40\x88\xe0", &insn), DECODE_OK);
    assert_true(!insn.operand[1].high && insn.operand[1].reg == 4);
}

static void test_speed(void **state)
{
    (void)state;
    static const char code[] =
        "\x48\x89\x44\x24\x08\x55\x48\x89\xe5\x48\x83\xec\x20\x8b\x05\x00\x10\x00\x00\x0f\xb6\x04\x08\x3d\xff\x00\x00"
        "\x00"
        "\x74\x10\xe8\x00\x00\x00\x00\x0f\x84\x00\x01\x00\x00\x48\x8d\x7c\x88\x10\x31\xc0\xc3\xf0\x0f\xb1\x0a\xf3\xa5"
        "\x41\x57\x66\x90\x0f\x1f\x44\x00\x00\x85\xc0\x0f\x45\xc1\x0f\x94\xc0\xc1\xe0\x03\x5d";
    unsigned long count = 0;
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (unsigned round = 0; round < 20000; round++) {
        for (unsigned at = 0; at < sizeof code - 1; count++) {
            struct insn insn;
            assert_int_equal(decode_bytes(modes[2].mode, code + at, sizeof code - 1 - at, &insn), DECODE_OK);
            at += insn.length;
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    double ns = (double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec);
    printf("decode: %.1f ns per instruction\n", ns / (double)count);
}

static int set_up(void **state)
{
    (void)state;
    struct error error = {{0}};
    model = support_full_model();
    row_index = row_index_build(&error);
    if (!row_index)
        fprintf(stderr, "%s\n", error.text);
    return row_index ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    row_index_free(row_index);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_reached),
        cmocka_unit_test(test_exceptions_name_rows),
        cmocka_unit_test(test_rows_against_zydis),
        cmocka_unit_test(test_random_against_zydis),
        cmocka_unit_test(test_length_limits),
        cmocka_unit_test(test_illegal),
        cmocka_unit_test(test_vex),
        cmocka_unit_test(test_refused_length),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
