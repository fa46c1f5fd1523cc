// Errors keep the first cause; log categories and ranges are parsed strictly.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"

static void first_text_stays(void **state)
{
    struct error error = {0};
    assert_false(error_set(&error, "cause %d", 1));
    assert_false(error_set(&error, "later %d", 2));
    assert_string_equal(error.text, "cause 1");
    assert_false(error_prefix(&error, "file '%s'", "x"));
    assert_string_equal(error.text, "file 'x': cause 1");
    assert_false(error_set(NULL, "nobody listens"));
    assert_false(error_prefix(NULL, "nobody listens"));
}

static void long_text_is_cut(void **state)
{
    char text[2000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    struct error error = {0};
    error_set(&error, "%s", text);
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
    error_prefix(&error, "before");
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
    assert_memory_equal(error.text, "before: aaa", 11);
    error_prefix(&error, "%s", text);
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
}

static void categories(void **state)
{
    struct log log;
    struct error error = {0};
    log_init(&log);
    assert_int_equal(log.enabled, 0);
    assert_true(log_enable(&log, "int,mmu", &error));
    assert_int_equal(log.enabled, 1u << LOG_INT | 1u << LOG_MMU);
    assert_false(log_enable(&log, "exec,nonsense", &error));
    assert_non_null(strstr(error.text, "'nonsense'"));
    assert_non_null(strstr(error.text, "firmware"));
    assert_int_equal(log.enabled, 1u << LOG_INT | 1u << LOG_MMU);
    struct error help = {0};
    assert_false(log_enable(&log, "help", &help));
    assert_non_null(strstr(help.text, "in_asm"));
    assert_false(log_enable(&log, "int,,mmu", NULL));
    assert_false(log_enable(&log, "", NULL));
    assert_false(log_enable(&log, "in", NULL));
}

static void ranges(void **state)
{
    struct log log;
    log_init(&log);
    log.enabled = 1u << LOG_EXEC;
    assert_true(log_on_at(&log, LOG_EXEC, UINT64_MAX));
    assert_true(log_set_range(&log, "0x1000..0x1fff", NULL));
    assert_true(log_on_at(&log, LOG_EXEC, 0x1fff));
    assert_false(log_on_at(&log, LOG_EXEC, 0x2000));
    assert_true(log_set_range(&log, "0xffffffffffffff00+0x100", NULL));
    assert_true(log.range_to == UINT64_MAX);
    const char *const bad[] = {"",      "12",    "1..",
                               "..1",   "5..4",  "1+0",
                               "-1..5", "1..2x", "0xffffffffffffff00+0x101",
                               " 1..2", "1-2",   "0x10000000000000000..1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error error = {0};
        assert_false(log_set_range(&log, bad[i], &error));
        assert_true(error.text[0]);
    }
    assert_true(log.range_from == 0xffffffffffffff00);
}

static void printing(void **state)
{
    struct log log;
    char *text = NULL;
    size_t size = 0;
    log_init(&log);
    log.file = open_memstream(&text, &size);
    log.enabled = 1u << LOG_INT;
    log_print(&log, LOG_INT, "vector %d\n", 14);
    log_print(&log, LOG_MMU, "not this\n");
    log_print(NULL, LOG_INT, "nor this\n");
    fclose(log.file);
    assert_string_equal(text, "vector 14\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_text_stays), cmocka_unit_test(long_text_is_cut), cmocka_unit_test(categories),
        cmocka_unit_test(ranges),           cmocka_unit_test(printing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
