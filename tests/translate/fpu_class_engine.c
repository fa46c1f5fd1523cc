// The tests of x87, MMX and SSE against the host's processor run their instructions in this engine.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "cpu/support_fpu.h"
#include "translate/translate.h"

const struct engine *fpu_bench_engine(void)
{
    return translate_available() ? &engine_jit : NULL;
}

void fpu_bench_engine_opened(void *state)
{
    translate_set_threshold(state, 0);
}

/// The test must be one of host code. What has an unmasked exception is the interpreter's.
void fpu_bench_engine_closing(void *state)
{
    struct translate_statistics statistics;
    translate_statistics(state, &statistics);
    print_message("%llu instructions in host code, %llu interpreted\n",
                  (unsigned long long)statistics.host_instructions,
                  (unsigned long long)statistics.interpreted_instructions);
    assert_true(statistics.host_instructions > statistics.interpreted_instructions);
}
