// The rows themselves and the index: numbers, columns that make sense, and the refusal of bad rows.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/avx.h"
#include "cpu/support_rows.h"

static void test_numbers(void **state)
{
    (void)state;
    unsigned count = row_count();
    assert_true(count > 300);
    for (unsigned n = 0; n < count; n++)
        assert_int_equal(row_number(row_get(n)), n);
    assert_null(row_get(count));
    assert_null(row_get(UINT32_MAX));
    struct row stranger = {0};
    assert_int_equal(row_number(&stranger), count);
}

static void check_row(const struct row *row)
{
    const uint32_t kinds = ROW_X87 | ROW_X87_NO_WAIT | ROW_MMX | ROW_SSE | ROW_AVX;
    const unsigned flags = FLAGS_ARITHMETIC | FLAG_DF | FLAG_TF | FLAG_IF;
    const char *bad = NULL;
    if (!row->lift)
        bad = "has no lift function";
    else if (row->feature >= FEATURE_COUNT)
        bad = "has an unknown feature";
    else if ((row->flags_read | row->flags_written) & ~flags)
        bad = "reads or writes bits that are no flags of its column";
    else if (row->flags_undefined & ~FLAGS_ARITHMETIC)
        bad = "leaves undefined what is always defined";
    else if ((row->attributes & ROW_LOCKABLE) && (row->attributes & (ROW_REGISTER_ONLY | kinds)))
        bad = "cannot be lockable";
    else if ((row->attributes & ROW_DEFAULT_64) && (row->attributes & ROW_FORCE_64))
        bad = "has two 64-bit rules";
    else if ((row->attributes & ROW_ALIGNED) && !(row->attributes & (ROW_SSE | ROW_AVX)))
        bad = "is aligned without being SSE or AVX";
    else if ((row->execute == avx_lanes || row->execute == avx_narrow) != (row->lane != NULL))
        bad = "has no function for a lane, or one too many";
    else if (row->mnemonic[0] == 0 || strlen(row->mnemonic) > 40)
        bad = "has no proper mnemonic";
    if (bad)
        fail_msg("row \"%s\" (%s) %s", row->encoding, row->mnemonic, bad);
}

static void test_columns(void **state)
{
    (void)state;
    for (unsigned n = 0; n < row_count(); n++)
        check_row(row_get(n));
}

static void test_index(void **state)
{
    (void)state;
    struct error error = {{0}};
    struct row_index *index = row_index_build(&error);
    assert_string_equal(error.text, "");
    assert_non_null(index);
    row_index_free(index);
    row_index_free(NULL);
}

static void expect_malformed(const char *encoding, const char *operands, uint32_t attributes, const char *what)
{
    struct row row = {.encoding = encoding, .mnemonic = "test", .operands = operands, .attributes = attributes};
    struct row_form form;
    struct error error = {{0}};
    assert_false(row_form_parse(&row, &form, &error));
    if (!strstr(error.text, what) || !strstr(error.text, encoding))
        fail_msg("the error of \"%s\" \"%s\" is: %s", encoding, operands, error.text);
}

static void test_malformed(void **state)
{
    (void)state;
    expect_malformed("", "", 0, "no opcode");
    expect_malformed("66", "", 0, "no opcode");
    expect_malformed("0F", "", 0, "no opcode");
    expect_malformed("0F 38", "", 0, "no opcode");
    expect_malformed("0x01 /r", "Ev,Gv", 0, "no opcode");
    expect_malformed("5", "", 0, "no opcode");
    expect_malformed("0a /r", "Ev,Gv", 0, "no opcode");
    expect_malformed("51+r", "Zv", 0, "low bits");
    expect_malformed("01 /8", "Ev", 0, "\"/8\"");
    expect_malformed("01 /r /r", "Ev", 0, "\"/r\"");
    expect_malformed("01 ib /r", "Ev,Ib", 0, "\"/r\"");
    expect_malformed("01 /r ib ib ib", "Ev,Ib", 0, "\"ib\"");
    expect_malformed("D8 C1+i", "STi", 0, "\"C1+i\"");
    expect_malformed("50+r C0", "Zv", 0, "\"C0\"");
    expect_malformed("01 /r NP", "Ev", 0, "\"NP\"");
    expect_malformed("01 /r", "Ev,Qx1", 0, "\"Qx1\"");
    expect_malformed("01", "Ev", 0, "\"Ev\"");
    expect_malformed("01 /r", "Zv", 0, "\"Zv\"");
    expect_malformed("01 /r", "Ev,Ib", 0, "\"Ib\"");
    expect_malformed("01 /r ib", "Ev", 0, "immediate");
    expect_malformed("01 /r iz", "Ev,Ibs", 0, "\"Ibs\"");
    expect_malformed("01 iz", "Ap", 0, "\"Ap\"");
    expect_malformed("01 mo", "Iv", 0, "\"Iv\"");
    expect_malformed("01 /r", "Ev,Gv,Gv,Gv,Gv", 0, "\"Gv\"");
    expect_malformed("01 /r", "Rv/Gv", 0, "\"Rv/Gv\"");
    expect_malformed("01 /r", "Mv,Nq", 0, "contradict");
    expect_malformed("01 /r", "Mv", ROW_REGISTER_ONLY, "contradict");
    expect_malformed("01 C0", "Mv", 0, "contradict");
    expect_malformed("01", "", ROW_MEMORY_ONLY, "contradict");
    expect_malformed("01", "", ROW_NO_64 | ROW_ONLY_64, "both");
    expect_malformed("VEX.L0 58 /r", "Gy", 0, "no opcode");
    expect_malformed("VEX.L2.0F 58 /r", "Gy", 0, "no opcode");
    expect_malformed("66 VEX.L0.0F 58 /r", "Gy", 0, "no opcode");
    expect_malformed("VEX.66.F3.0F 58 /r", "Gy,By", 0, "no opcode");
    expect_malformed("0F 58 /r", "Gy,By", 0, "\"By\"");
    expect_malformed("VEX.L0.0F 58 /r", "By,By", 0, "\"By\"");
    struct row row = {.encoding = "01", .operands = ""};
    struct row_form form;
    struct error error = {{0}};
    assert_false(row_form_parse(&row, &form, &error));
}

/// VEX rows with vector operands of both lengths: the third operand's place, sizes by L.
static void test_vex_vectors(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {.encoding = "VEX.0F.WIG 58 /r", .mnemonic = "vaddps", .operands = "Vps,Hps,Wps"},
        {.encoding = "VEX.L1.66.0F3A.W0 18 /r ib", .mnemonic = "vinsertf128", .operands = "Vqq,Hqq,Wdq,Ib"},
        {.encoding = "VEX.LIG.F3.0F.WIG 58 /r", .mnemonic = "vaddss", .operands = "Vdq,Hdq,Wss"},
    };
    struct row_form *forms = calloc(ARRAY_SIZE(rows), sizeof *forms);
    struct error error = {{0}};
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        assert_true(row_form_parse(&rows[i], &forms[i], &error));
    struct row_index *index = row_index_from_forms(forms, ARRAY_SIZE(rows), &error);
    assert_non_null(index);
    static const struct {
        const char *bytes, *text;
    } cases[] = {
        {"\xc5\xf0\x58\xc2", "vaddps xmm0, xmm1, xmm2"},
        {"\xc5\xf4\x58\xc2", "vaddps ymm0, ymm1, ymm2"},
        {"\xc5\x34\x58\x00", "vaddps ymm8, ymm9, ymmword ptr [rax]"},
        {"\xc5\xf0\x58\x00", "vaddps xmm0, xmm1, xmmword ptr [rax]"},
        {"\xc4\x43\x35\x18\xc2\x01", "vinsertf128 ymm8, ymm9, xmm10, 1"},
        {"\xc4\xe3\x71\x18\xc2\x01", "(bad)"}, // L0
        {"\xc4\xe3\xf5\x18\xc2\x01", "(bad)"}, // W1
        {"\xc5\xf6\x58\x00", "vaddss xmm0, xmm1, dword ptr [rax]"},
    };
    struct cpu_model model = support_full_model();
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        uint8_t bytes[16] = {0};
        struct insn insn;
        char text[128];
        memcpy(bytes, cases[i].bytes, strlen(cases[i].bytes));
        decode(index, &model, MODE_CODE64 | MODE_PROTECTED | MODE_LONG, bytes, 15, &insn);
        disassemble(&insn, 0, text, sizeof text);
        assert_string_equal(text, cases[i].text);
    }
    row_index_free(index);
}

/// The index of two rows: NULL, or an error that names both.
static void expect_pair(const char *first, uint32_t first_attributes, const char *second, uint32_t second_attributes,
                        bool good)
{
    const struct row rows[2] = {
        {.encoding = first, .mnemonic = "one", .operands = "", .attributes = first_attributes},
        {.encoding = second, .mnemonic = "two", .operands = "", .attributes = second_attributes},
    };
    struct error error = {{0}};
    for (unsigned order = 0; order < 2; order++) {
        struct row_form *forms = calloc(2, sizeof *forms);
        assert_true(row_form_parse(&rows[order], &forms[0], &error));
        assert_true(row_form_parse(&rows[!order], &forms[1], &error));
        struct row_index *index = row_index_from_forms(forms, 2, &error);
        if (!index != !good)
            fail_msg("\"%s\" and \"%s\": %s", first, second, index ? "accepted" : error.text);
        if (!good && (!strstr(error.text, first) || !strstr(error.text, second)))
            fail_msg("the error does not name both: %s", error.text);
        row_index_free(index);
    }
}

static void test_overlaps(void **state)
{
    (void)state;
    expect_pair("01 /r", 0, "01 /r", 0, false);
    expect_pair("50+r", 0, "53", 0, false);
    expect_pair("50+r", 0, "REX.B=0 53", 0, true);
    expect_pair("01 /r", 0, "01 /3", 0, true);
    expect_pair("01 /2", 0, "01 /3", 0, true);
    expect_pair("01 /r", ROW_MEMORY_ONLY, "01 /3", 0, false);
    expect_pair("01 /r", ROW_MEMORY_ONLY, "01 /r", ROW_REGISTER_ONLY, true);
    expect_pair("01 /r", ROW_MEMORY_ONLY, "01 D0", 0, true);
    expect_pair("01 /2", 0, "01 D0", 0, true);
    expect_pair("01 D0+i", 0, "01 D1", 0, true);
    expect_pair("01 /r", ROW_NO_64, "01 /r", ROW_ONLY_64, true);
    expect_pair("01 /r", ROW_NO_64, "01 /r", 0, true);
    expect_pair("01 /r", ROW_NO_64, "01 /3", 0, false);
    expect_pair("66 0F 10 /r", 0, "F3 0F 10 /r", 0, true);
    expect_pair("NP 0F 10 /r", 0, "NFx 0F 10 /r", 0, true);
    expect_pair("66 0F 10 /r", 0, "NFx 0F 10 /r", 0, true);
    expect_pair("NP 0F 10 /r", 0, "0F 10 /3", 0, false);
    expect_pair("0F 10 /r", 0, "0F 38 10 /r", 0, true);
    expect_pair("REX.W 0F 10 /r", 0, "0F 10 /r", 0, true);
    expect_pair("REX.W 0F 10 /r", 0, "REX.W=0 0F 10 /r", 0, true);
    expect_pair("REX.W 0F 10 /r", 0, "66 0F 10 /r", 0, false);
    expect_pair("01 /r", 0, "NP 01", 0, false); // one has a ModRM byte, the other none
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),   cmocka_unit_test(test_columns),  cmocka_unit_test(test_index),
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_overlaps), cmocka_unit_test(test_vex_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
