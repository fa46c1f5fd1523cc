// Disassembly text of all rows, in all operand forms and modes, against capstone's.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <capstone/capstone.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/support_rows.h"

static struct row_index *row_index;
static struct cpu_model model;

static const struct {
    const char *name;
    uint32_t mode;
    cs_mode capstone;
} modes[3] = {
    {"16", MODE_CODE16 | MODE_PROTECTED, CS_MODE_16},
    {"32", MODE_CODE32 | MODE_PROTECTED, CS_MODE_32},
    {"64", MODE_CODE64 | MODE_PROTECTED | MODE_LONG, CS_MODE_64},
};

#define RIP UINT64_C(0x1000)

/// One space between words, none at the end.
static void normalise(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++)
        if (*from != ' ' || (to > text && to[-1] != ' '))
            *to++ = *from;
    while (to > text && to[-1] == ' ')
        to--;
    *to = 0;
    // Capstone marks some operands of no size, others not.
    char *sizeless = strstr(text, ", ptr ");
    if (sizeless)
        memmove(sizeless + 2, sizeless + 6, strlen(sizeless + 6) + 1);
    char *first = strchr(text, ' ');
    if (first && !strncmp(first, " ptr ", 5))
        memmove(first, first + 4, strlen(first + 4) + 1);
}

/// Rows whose text differs from capstone 4.0.2's, and why. A row may stand for several modes.
static const struct {
    const char *encoding;
    const char *capstone; // starts its text, or NULL: it does not know the instruction
    const char *reason;
} exceptions[] = {
    {"0F 0D /0", NULL, "3DNow! prefetch, in its tables only with AMD's features"},
    {"0F 0D /2", NULL, "PREFETCHWT1 is newer"},
    {"0F 0D /r", NULL, "reserved hint"},
    {"0F 18 /r", NULL, "reserved hint"},
    {"0F 18 /r", "nop", "shows 16- and 64-bit operands as 32-bit ones"},
    {"0F 19 /r", "nop", "shows ModRM.reg too"},
    {"0F 1A /r", NULL, "register forms of hints"},
    {"0F 1B /r", NULL, "likewise"},
    {"0F 1C /r", NULL, "likewise"},
    {"0F 1D /r", NULL, "likewise"},
    {"0F 1E /r", NULL, "likewise"},
    {"0F 1F /r", NULL, "likewise"},
    {"0F 1A /r", "nop", "operand size with REX.W"},
    {"0F 1B /r", "nop", "operand size with REX.W"},
    {"0F 1C /r", "nop", "operand size with REX.W"},
    {"0F 1D /r", "nop", "operand size with REX.W"},
    {"0F 1E /r", "nop", "operand size with REX.W"},
    {"0F 1F /r", "nop", "operand size with REX.W"},
    {"F3 0F 1E FA", NULL, "ENDBR only without further prefixes and in its own mode"},
    {"F3 0F 1E FB", NULL, "likewise"},
    {"NP 0F AE E8+i", NULL, "ModRM.rm other than 0"},
    {"NP 0F AE F0+i", NULL, "likewise"},
    {"NP 0F AE F8+i", NULL, "likewise"},
    {"NP 0F AE F8+i", "pcommit", "takes any prefix for 66"},
    {"F3 REX.B=0 90", "xchg", "REX.W does not undo PAUSE"},
    {"A2 mo", "movabs", "32-bit addresses are not 64-bit ones"},
    {"A3 mo", "movabs", "likewise"},
    {"C8 iw ib", "enter", "both immediates are unsigned"},
    {"D5 ib", "aad", "leaves the usual 0x0a out"},
    {"D4 ib", "aam", "likewise"},
    {"D9 D8+i", "fstpnce", "an alias of FSTP"},
    {"DD /4", "frstor dword", "94 or 108 bytes"},
    {"DD /6", "fnsave dword", "likewise"},
    {"DD /7", "fnstsw dword", "a word"},
    {"DF /4", "fbld tbyte", "FLD has xword there"},
    {"DF /6", "fbstp tbyte", "likewise"},
    {"66 0F 2F /r", "comisd", "a quadword"},
    {"NP 0F 2F /r", "comiss", "a doubleword"},
    {"F3 0F 7E /r", "movd", "REX.W does not make it another instruction"},
    {"NP 0F 60 /r", "punpcklbw", "MMX: a doubleword"},
    {"NP 0F 61 /r", "punpcklwd", "likewise"},
    {"NP 0F 62 /r", "punpckldq", "likewise"},
    {"NP 0F AE /0", "fxsave64", "one row for both sizes"},
    {"NP 0F AE /1", "fxrstor64", "likewise"},
    {"NP REX.W 0F 6E /r", "movd", "the SDM's name with REX.W is MOVQ"},
    {"NP REX.W 0F 7E /r", "movd", "likewise"},
    {"0F 02 /r", "lar", "the selector is a word, whatever the register's size"},
    {"0F 03 /r", "lsl", "likewise"},
    {"0F 07", "sysret", "with REX.W it returns to 64-bit code"},
    {"0F 35", "sysexit", "likewise"},
    {"66 0F AE /6", "xsaveopt64", "66 makes it CLWB"},
    {"F3 0F C7 /7", "rdseed", "F3 makes it RDPID"},
    {"8C /r", "mov", "16-bit code; operand sizes of register forms"},
    {"8C /r", NULL, "REX.R, which segment registers ignore"},
    {"8E /r", "mov", "the selector is a word"},
    {"8E /r", NULL, "REX.R, which segment registers ignore"},
    {"CA iw", "retfq", "the operand size is no part of the name"},
    {"CB", "retfq", "likewise"},
    {"6D", "insw", "REX.W goes before 66"},
    {"6F", "outsw", "likewise"},
    {"9C", "pushf", "likewise"},
    {"9D", "popf", "likewise"},
    {"E5 ib", "in ax", "likewise"},
    {"E7 ib", "out", "likewise"},
    {"ED", "in ax", "likewise"},
    {"EF", "out dx, ax", "likewise"},
    {"FF /6", "push word", "REX.W goes before 66"},
    {"8F /0", "pop word", "likewise"},
    {"0F B9 /r", "ud2b", "UD1 has a ModRM byte and operands"},
    {"0F FF /r", "ud0", "likewise UD0"},
    {"0F FF /r", NULL, "takes its ModRM for the next instruction"},
    {"63 /r", "movsxd", "32-bit destinations"},
    {"68 iz", "push", "an immediate that is extended to 64 bits, with 67"},
    {"90+r", "pause", "F3 with REX.B is XCHG R8 (shown by a real processor)"},
    {"98", "cwde", "16-bit code"},
    {"99", "cdq", "16-bit code"},
    {"A0 mo", "movabs", "32-bit addresses are not 64-bit ones"},
    {"A1 mo", "movabs", "likewise"},
    {"C2 iw", "ret", "66 with REX.W: the immediate stays a word"},
    {"E3 cb", "jrcxz", "67 with REX"},
    {"VEX.LZ.F2.0F3A.WIG F0 /r ib", "rorx", "the count is unsigned"},
    {"VEX.256.66.0F38.W0 5A /r", NULL, "VBROADCASTI128 is newer"},
    {"VEX.LIG.0F.WIG 2F /r", "vcomiss", "a doubleword"},
    {"VEX.LIG.66.0F.WIG 2F /r", "vcomisd", "a quadword"},
    {"VEX.128.66.0F.WIG 5A /r", "vcvtpd2psx", "AT&T's name"},
    {"VEX.128.F2.0F.WIG E6 /r", "vcvtpd2dqx", "likewise"},
    {"VEX.128.66.0F.WIG E6 /r", "vcvttpd2dqx", "likewise"},
    {"VEX.128.66.0F3A.WIG 22 /r ib", "vpinsrq", "W says nothing outside 64-bit code"},
    {"VEX.128.66.0F3A.WIG 16 /r ib", "vpextrq", "likewise"},
    {"VEX.128.66.0F3A.W0 4C /r ib", "vpblendvb", "there is no eighth register outside 64-bit code"},
    {"VEX.256.66.0F3A.W0 4C /r ib", "vpblendvb", "likewise"},
    {"VEX.66.0F3A.W0 4A /r ib", "vblendvps", "likewise"},
    {"VEX.66.0F3A.W0 4B /r ib", "vblendvpd", "likewise"},
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

static bool is_exception(const struct insn *insn, const char *theirs)
{
    for (unsigned i = 0; i < ARRAY_SIZE(exceptions); i++) {
        const char *start = exceptions[i].capstone;
        if (strcmp(insn->row->encoding, exceptions[i].encoding) || !theirs != !start)
            continue;
        if (!start || (theirs && !strncmp(theirs, start, strlen(start))))
            return true;
    }
    return false;
}

/// Where mandatory prefixes choose the row, capstone 4.0.2 does not look at them in 16-bit code and takes 67 for 66 in
/// 64-bit code; and it has its own names for compares (CMPEQPS).
static bool is_comparable(const struct insn *insn, unsigned m)
{
    const struct row_form *form = &row_index->forms[row_number(insn->row)];
    if ((form->map == MAP_0F || form->map == MAP_VEX_0F) && form->opcode == 0xc2)
        return false;
    bool chosen = form->mask & KEY_PREFIX;
    return !chosen ||
           (m == 0 ? !(insn->operand_prefix || insn->rep || insn->repne) : m == 1 || insn->address_bytes == 8);
}

/// x87: capstone leaves out one ST(0) or names it where the instruction has it anyway.
static bool same_but_st0(const struct insn *insn, char *ours, char *theirs)
{
    if (!insn->operand_count || insn->operand[0].kind != OPERAND_ST)
        return false;
    char *texts[2] = {ours, theirs};
    for (unsigned i = 0; i < 2; i++) {
        char *first = strstr(texts[i], "st(0), ");
        char *last = strstr(texts[i], ", st(0)");
        if (first)
            memmove(first, first + 7, strlen(first + 7) + 1);
        else if (last)
            *last = 0;
    }
    return !strcmp(ours, theirs);
}

/// Capstone 4.0.2 leaves out the XMM0 that some SSE4.1 and SHA instructions imply.
static bool same_but_xmm0(const struct insn *insn, char *ours, const char *theirs)
{
    size_t length = strlen(ours);
    if (!strstr(insn->row->operands, ",XMM0") || length < 6)
        return false;
    ours[length - 6] = 0; // ", xmm0"
    return !strcmp(ours, theirs);
}

/// Cuts a text's branch target, or the displacement of an address without base.
static void cut_number(char *text)
{
    char *at = strstr(text, "0x");
    size_t length = strlen(text);
    if (!at && length >= 2 && !strcmp(text + length - 2, " 0"))
        at = text + length - 1; // zero has no prefix
    if (at)
        *at = 0;
}

/// Numbers that capstone 4.0.2 prints by the mode and not by the instruction's sizes: absolute addresses (cut to 16
/// bits in 16-bit code, not sign-extended with an index, sign-extended from 16 bits in 32-bit code), and relative
/// targets with 66 or 67 (67 taken for 66, 66 not ignored in 64-bit code, which Intel does).
static bool numbers_are_odd(const struct insn *insn, bool prefix)
{
    if (insn->operand_count && insn->operand[0].kind == OPERAND_RELATIVE)
        return prefix;
    bool memory = false;
    for (unsigned i = 0; i < insn->operand_count; i++)
        memory |= insn->operand[i].kind == OPERAND_MEMORY || insn->operand[i].kind == OPERAND_OFFSET;
    return memory && insn->base == -1 && (prefix || insn->code64);
}

#ifndef MAX_REPORTED
#define MAX_REPORTED 40
#endif

struct counts {
    unsigned compared, unknown, failed;
};

static void compare_bytes(csh capstone, unsigned m, const uint8_t *bytes, struct counts *counts)
{
    struct insn insn;
    if (decode(row_index, &model, modes[m].mode, bytes, 15, &insn) != DECODE_OK || !is_comparable(&insn, m))
        return;
    char ours[160], theirs[256];
    disassemble(&insn, RIP, ours, sizeof ours);
    cs_insn *result;
    if (!cs_disasm(capstone, bytes, 15, RIP, 1, &result)) {
        counts->unknown++;
        if (!is_exception(&insn, NULL) && counts->failed++ < MAX_REPORTED)
            fprintf(stderr, "%s-bit: capstone does not know row %s: %s\n", modes[m].name, insn.row->encoding, ours);
        return;
    }
    snprintf(theirs, sizeof theirs, "%s %s", result->mnemonic, result->op_str);
    unsigned length = result->size;
    cs_free(result, 1);
    normalise(theirs);
    normalise(ours);
    counts->compared++;
    bool prefix = insn.operand_prefix || insn.address_bytes != (m == 0 ? 2 : m == 1 ? 4 : 8);
    bool odd = numbers_are_odd(&insn, prefix);
    if (odd) {
        cut_number(theirs);
        cut_number(ours);
    }
    bool relative = insn.operand_count && insn.operand[0].kind == OPERAND_RELATIVE;
    if (!strcmp(ours, theirs) && (length == insn.length || (odd && relative)))
        return;
    if (is_exception(&insn, theirs) || same_but_st0(&insn, ours, theirs) || same_but_xmm0(&insn, ours, theirs))
        return;
    if (counts->failed++ >= MAX_REPORTED)
        return;
    fprintf(stderr, "%s-bit:", modes[m].name);
    for (unsigned i = 0; i < insn.length; i++)
        fprintf(stderr, " %02x", bytes[i]);
    fprintf(stderr, " row %s: \"%s\", capstone (%u bytes) \"%s\"\n", insn.row->encoding, ours, length, theirs);
}

static void compare_row(csh capstone, unsigned m, const struct row_form *form, uint64_t *seed, struct counts *counts)
{
    static const uint8_t prefixes[] = {0, 0x66, 0x67, 0x64, 0x65, 0xf0, 0xf3, 0xf2};
    static const uint8_t rex[] = {0, 0x41, 0x44, 0x48, 0x4f};
    for (unsigned p = 0; p < ARRAY_SIZE(prefixes); p++) {
        if (prefixes[p] >= 0xf2 && !(form->row->attributes & ROW_REP))
            continue; // capstone shows repeat prefixes that mean nothing
        if (prefixes[p] == 0xf2 && !(form->row->flags_written & FLAG_ZF))
            continue; // REPNE where it is REP: of no defined meaning
        for (unsigned r = 0; r < (m == 2 ? ARRAY_SIZE(rex) : 1); r++) {
            for (unsigned n = 0; n < (form->modrm || form->opcode_register ? 32u : 1u); n++) {
                uint64_t random = support_random(seed);
                struct support_encoding how = {
                    .prefixes = &prefixes[p],
                    .prefix_count = prefixes[p] != 0,
                    .rex = rex[r],
                    .modrm = (uint8_t)((n & 7) | (n & 24) << 3 | (random & 7) << 3),
                    .sib = (uint8_t)(random >> 8),
                    .filler = random >> 16,
                };
                uint8_t bytes[32];
                support_encode(form, &how, bytes);
                compare_bytes(capstone, m, bytes, counts);
            }
        }
    }
}

static void test_rows_against_capstone(void **state)
{
    (void)state;
    uint64_t seed = 3;
    struct counts counts = {0};
    for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
        csh capstone;
        assert_int_equal(cs_open(CS_ARCH_X86, modes[m].capstone, &capstone), CS_ERR_OK);
        for (unsigned n = 0; n < row_count(); n++)
            if (m < 2 || !(row_get(n)->attributes & ROW_NO_64))
                compare_row(capstone, m, &row_index->forms[n], &seed, &counts);
        cs_close(&capstone);
    }
    printf("%u texts compared, %u that capstone does not know\n", counts.compared, counts.unknown);
    assert_int_equal(counts.failed, 0);
}

static void expect(unsigned m, const char *bytes, const char *text)
{
    struct insn insn;
    uint8_t padded[16] = {0};
    memcpy(padded, bytes, strlen(bytes));
    assert_int_equal(decode(row_index, &model, modes[m].mode, padded, 15, &insn), DECODE_OK);
    char ours[160];
    disassemble(&insn, RIP, ours, sizeof ours);
    assert_string_equal(ours, text);
}

/// What capstone is not asked about, and a few to look at.
static void test_texts(void **state)
{
    (void)state;
    expect(2, "\x01\x4c\x18\x10", "add dword ptr [rax + rbx + 0x10], ecx");
    expect(2, "\x48\x83\xe4\xf0", "and rsp, 0xfffffffffffffff0");
    expect(2, "\x83\xec\x08", "sub esp, 8");
    expect(2, "\x65\x48\x8b\x04\x25\x28", "mov rax, qword ptr gs:[0x28]");
    expect(2, "\x74\xfe", "je 0x1000");
    expect(2, "\xf3\x48\xa5", "rep movsq qword ptr [rdi], qword ptr [rsi]");
    expect(1, "\xf3\xa6", "repe cmpsb byte ptr [esi], byte ptr es:[edi]");
    expect(0, "\x8b\x42\xfe", "mov ax, word ptr [bp + si - 2]");
    expect(0, "\xe9\xfd\xef", "jmp 0");
    expect(2, "\xf0\x48\x0f\xb1\x0a", "lock cmpxchg qword ptr [rdx], rcx");
    expect(2, "\xc4\x43\xfb\xf0\xc8\xff", "rorx r9, r8, 0xff");
    expect(1, "\xc4\xe2\xf8\xf2\x03", "andn eax, eax, dword ptr [ebx]");
}

static void test_small_buffers(void **state)
{
    (void)state;
    struct insn insn;
    static const uint8_t bytes[16] = {0x64, 0x81, 0x84, 0x88, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88};
    assert_int_equal(decode(row_index, &model, modes[2].mode, bytes, 15, &insn), DECODE_OK);
    char whole[160];
    disassemble(&insn, RIP, whole, sizeof whole);
    for (size_t size = 0; size < sizeof whole; size++) {
        char *text = malloc(size + 1);
        text[size] = 'x';
        disassemble(&insn, RIP, text, size);
        assert_int_equal(text[size], 'x');
        if (size)
            assert_int_equal(strncmp(text, whole, size - 1), 0);
        free(text);
    }
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
        cmocka_unit_test(test_rows_against_capstone),
        cmocka_unit_test(test_exceptions_name_rows),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_small_buffers),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
