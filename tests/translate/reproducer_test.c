// Differences that were found once (doppel lockstep, jit_stress) stay away: every reproducer of the folder beside this
// file runs in the interpreter and in the translator.
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "translate/lockstep.h"
#include "translate/reproducer.h"
#include "translate/translate.h"

#define FOLDER "tests/translate/reproducers/"

static void at_once(void *opaque, void *state)
{
    translate_set_threshold(state, 0);
}

/// Runs one file; `most` instructions of it are what must have been in host code.
static void run_file(const char *name)
{
    static const struct lockstep_engine a = {.engine = &engine_interp};
    static const struct lockstep_engine b[] = {{.engine = &engine_jit, .configure = at_once}, {.engine = &engine_jit}};
    struct world_description d;
    struct error error = {0};
    char path[512], text[1024];
    snprintf(path, sizeof path, FOLDER "%s", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    if (!reproducer_read(&d, file, &error))
        fail_msg("%s: %s", name, error.text);
    fclose(file);
    for (unsigned i = 0; i < ARRAY_SIZE(b); i++) {
        struct lockstep_pair pair;
        struct translate_statistics statistics;
        if (!lockstep_pair_create(&pair, &d, &a, &b[i], NULL, &error))
            fail_msg("%s: %s", name, error.text);
        if (!lockstep_pair_run(&pair, &d, text, sizeof text))
            fail_msg("%s: %s", name, text);
        if (pair.a.cpu->activity != ACTIVITY_SHUTDOWN)
            assert_int_equal(pair.a.cpu->instructions, d.first + d.instructions);
        translate_statistics(pair.b.state, &statistics);
        assert_true(i || statistics.translated_blocks > 0);
        lockstep_pair_destroy(&pair);
    }
    world_description_free(&d);
}

static void test_all(void **state)
{
    struct dirent *entry;
    unsigned count = 0;
    DIR *folder = opendir(FOLDER);
    assert_non_null(folder);
    while ((entry = readdir(folder))) {
        if (!strstr(entry->d_name, ".reproducer"))
            continue;
        run_file(entry->d_name);
        count++;
    }
    closedir(folder);
    assert_in_range(count, 2, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all)};
    if (!translate_available())
        return 77;
    return cmocka_run_group_tests_name("translate: reproducers", tests, NULL, NULL);
}
