// Property values, bounds, lists and sizes; every refusal names the culprit.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/property.h"

struct thing {
    bool flag;
    uint32_t number;
    uint64_t wide;
    uint64_t size;
    char text[8];
};

static const struct property properties[] = {
    {"flag", PROPERTY_BOOL, offsetof(struct thing, flag), sizeof(bool), 0, 0, "on", "a flag"},
    {"number", PROPERTY_UINT32, offsetof(struct thing, number), 4, 1, 16, "4", "a number"},
    {"wide", PROPERTY_UINT64, offsetof(struct thing, wide), 8, 0, 0, "0x100", "wide"},
    {"size", PROPERTY_SIZE, offsetof(struct thing, size), 8, 0, 0, "2M", "bytes"},
    {"text", PROPERTY_STRING, offsetof(struct thing, text), 8, 0, 0, "abc", "words"},
};
static const struct property_table table = {"thing", properties, 5};

static void defaults(void **state)
{
    struct thing t = {0};
    property_set_defaults(&table, &t);
    assert_true(t.flag);
    assert_int_equal(t.number, 4);
    assert_int_equal(t.wide, 0x100);
    assert_int_equal(t.size, 2 << 20);
    assert_string_equal(t.text, "abc");
}

static void lists(void **state)
{
    struct thing t = {0};
    struct error error = {0};
    assert_true(property_parse(&table, &t, "flag,number=0x10,wide=18446744073709551615,size=1G,text=a,,b", &error));
    assert_true(t.flag && t.number == 16 && t.wide == UINT64_MAX && t.size == 1u << 30);
    assert_string_equal(t.text, "a,b");
    assert_true(property_parse(&table, &t, "flag=off,text=", &error));
    assert_false(t.flag);
    assert_string_equal(t.text, "");
    assert_true(property_parse(&table, &t, "", &error));
}

static void refusals(void **state)
{
    static const char *const bad[][2] = {
        {"number=0", "between 1 and 16"},
        {"number=17", "between 1 and 16"},
        {"number=4294967296", "number"},
        {"number=-1", "'-1'"},
        {"number=", "number"},
        {"number= 5", "' 5'"},
        {"number=5x", "'5x'"},
        {"number", "needs a value"},
        {"flag=maybe", "'maybe'"},
        {"wide=18446744073709551616", "wide"},
        {"wide=0x", "wide"},
        {"size=1Q", "size"},
        {"size=16777216T", "64 bits"},
        {"text=12345678", "too long"},
        {"nonsense=1", "'nonsense'"},
        {"nonsense", "it has: flag"},
        {"flag,=1", "''"},
        {",flag", "''"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct thing t, before;
        memset(&t, 0, sizeof t);
        property_set_defaults(&table, &t);
        before = t;
        struct error error = {0};
        assert_false(property_parse(&table, &t, bad[i][0], &error));
        if (!strstr(error.text, "thing") || (!strstr(error.text, bad[i][1]) && bad[i][1][0] != '\''))
            fail_msg("%s: %s", bad[i][0], error.text);
        assert_int_equal(t.number, before.number);
        assert_string_equal(t.text, before.text);
    }
    struct thing t = {0};
    char *longest = malloc(10000);
    memset(longest, 'x', 9999);
    longest[9999] = 0;
    assert_false(property_parse(&table, &t, longest, NULL));
    free(longest);
}

static void sizes(void **state)
{
    uint64_t bytes = 0;
    assert_true(property_parse_size("512", 1 << 20, &bytes, NULL));
    assert_int_equal(bytes, 512 << 20);
    assert_true(property_parse_size("512M", 1, &bytes, NULL));
    assert_int_equal(bytes, 512 << 20);
    assert_true(property_parse_size("6g", 1, &bytes, NULL));
    assert_true(bytes == UINT64_C(6) << 30);
    assert_true(property_parse_size("0x1000", 1, &bytes, NULL));
    assert_int_equal(bytes, 4096);
    assert_true(property_parse_size("7B", 1 << 20, &bytes, NULL));
    assert_int_equal(bytes, 7);
    const char *const bad[] = {"",   "M", "-1", "1MM", "1 M", "99999999999999999999", "18446744073709551615K",
                               "0x", "+5"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error error = {0};
        bytes = 99;
        assert_false(property_parse_size(bad[i], 1, &bytes, &error));
        assert_true(error.text[0]);
        assert_int_equal(bytes, 99);
    }
}

static void help(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    property_help(file, &table);
    fclose(file);
    for (size_t i = 0; i < 5; i++) {
        assert_non_null(strstr(text, properties[i].name));
        assert_non_null(strstr(text, properties[i].help));
    }
    assert_non_null(strstr(text, "default: 2M"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults), cmocka_unit_test(lists), cmocka_unit_test(refusals),
        cmocka_unit_test(sizes),    cmocka_unit_test(help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
