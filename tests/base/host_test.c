// Host services: memory files, code memory, whole files.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/host.h"

static void memory_file(void **state)
{
    struct error error = {0};
    int file = host_memory_file_create("test", 1 << 20, &error);
    assert_true(file >= 0);
    uint8_t *a = host_memory_file_map(file, 1 << 20, &error);
    uint8_t *b = host_memory_file_map(file, 1 << 20, &error);
    assert_non_null(a);
    assert_non_null(b);
    a[0x5000] = 7;
    a[0x6000] = 8;
    assert_int_equal(b[0x5000], 7);
    host_memory_file_discard(file, 0x5000, 0x1000);
    assert_int_equal(b[0x5000], 0);
    assert_int_equal(b[0x6000], 8);
    host_memory_unmap(a, 1 << 20);
    host_memory_unmap(b, 1 << 20);
    host_memory_unmap(NULL, 4096);
    host_memory_file_close(file);
}

static void absurd_sizes(void **state)
{
    const uint64_t bad[] = {0, 4097, UINT64_MAX, UINT64_MAX - 4095, UINT64_C(1) << 60};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error error = {0};
        assert_int_equal(host_memory_file_create("test", bad[i], &error), -1);
        assert_true(error.text[0]);
    }
    struct error error = {0};
    assert_null(host_memory_reserve(0, &error));
    assert_true(error.text[0]);
    struct error map_error = {0};
    assert_null(host_memory_file_map(-1, 4096, &map_error));
    assert_true(map_error.text[0]);
    struct error huge = {0};
    assert_null(host_memory_file_map(-1, UINT64_MAX, &huge));
    assert_true(huge.text[0]);
}

static void reserve(void **state)
{
    uint8_t *p = host_memory_reserve(1 << 16, NULL);
    assert_non_null(p);
    assert_int_equal(p[65535], 0);
    p[65535] = 1;
    host_memory_release(p, 1 << 16);
    p = host_memory_reserve((5 << 20) + 1, NULL); // begins where a large page can
    assert_non_null(p);
    assert_int_equal((uintptr_t)p & ((2 << 20) - 1), 0);
    assert_int_equal(p[5 << 20], 0);
    p[5 << 20] = 1;
    host_memory_release(p, (5 << 20) + 1);
    assert_null(host_memory_reserve(SIZE_MAX - 100, &(struct error){0}));
}

static void code_memory(void **state)
{
    for (int single = 0; single < 2; single++) {
        struct host_code_memory code;
        struct error error = {0};
        assert_true(host_code_memory_create(&code, 100, single, &error));
        assert_true(code.size >= 100);
        code.write[3] = 0xc3;
        host_code_memory_flush(&code, 3, 1);
        assert_int_equal(code.exec[3], 0xc3);
        assert_int_equal(code.write == code.exec, single);
        host_code_memory_free(&code);
        assert_null(code.write);
        assert_false(host_code_memory_create(&code, 0, single, &error));
        assert_true(error.text[0]);
        host_code_memory_free(&code);
    }
}

static void time_and_chance(void **state)
{
    uint64_t first = host_monotonic_ns();
    assert_true(host_monotonic_ns() >= first);
    assert_true(host_wall_seconds() > 1600000000);
    assert_true(host_random64() != host_random64());
}

static void whole_files(void **state)
{
    char path[] = "/tmp/doppel_host_test_XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, "hello", 5), 5);
    close(file);
    size_t size = 99;
    struct error error = {0};
    char *data = host_file_read(path, 5, &size, &error);
    assert_non_null(data);
    assert_int_equal(size, 5);
    assert_string_equal(data, "hello");
    free(data);
    assert_null(host_file_read(path, 4, &size, &error));
    assert_non_null(strstr(error.text, path));
    assert_non_null(strstr(error.text, "too large"));
    assert_int_equal(truncate(path, 0), 0);
    data = host_file_read(path, 4, &size, NULL);
    assert_non_null(data);
    assert_int_equal(size, 0);
    free(data);
    unlink(path);
    struct error missing = {0}, directory = {0}, endless = {0};
    assert_null(host_file_read(path, 4, &size, &missing));
    assert_non_null(strstr(missing.text, path));
    assert_null(host_file_read("/tmp", 4, &size, &directory));
    assert_non_null(strstr(directory.text, "directory"));
    assert_null(host_file_read("/dev/zero", 100000, &size, &endless));
    assert_non_null(strstr(endless.text, "too large"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_file), cmocka_unit_test(absurd_sizes),    cmocka_unit_test(reserve),
        cmocka_unit_test(code_memory), cmocka_unit_test(time_and_chance), cmocka_unit_test(whole_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
