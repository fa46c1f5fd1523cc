// A counter that follows a clock by ticks: it never goes back, stays near the clock, and begins anew after a stop.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/tick_line.h"

#define HZ UINT64_C(2000000000) // of the counter
#define SPAN 100000u

/// Reads at `ticks` as host code and C do together.
static uint64_t read_at(struct tick_follower *f, uint64_t ticks, uint64_t clock)
{
    if (tick_line_holds(&f->line, ticks))
        return tick_line_value(&f->line, ticks);
    return tick_follower_read(f, ticks, clock, HZ, SPAN);
}

/// A clock that runs at num/den of the ticks' speed and is slewed by one part in a thousand for a time.
static void follows(void **state)
{
    struct tick_follower f = {0};
    uint64_t last = 0, by_line = 0;
    double clock = 5e9;
    for (unsigned i = 0; i < 200000; i++) {
        uint64_t ticks = 123456789 + (uint64_t)i * 777, value;
        clock += 777 * 0.61 * (i > 60000 && i < 90000 ? 1.001 : 1.0);
        by_line += tick_line_holds(&f.line, ticks);
        value = read_at(&f, ticks, (uint64_t)clock);
        assert_true(value >= last);
        assert_true(value < (uint64_t)clock + 1000 && value + 1000 > (uint64_t)clock);
        last = value;
    }
    assert_true(by_line > 190000);
}

static void never_early(void **state)
{
    struct tick_follower f = {0};
    for (uint64_t ticks = 0; ticks < 16 * SPAN; ticks += SPAN / 4) {
        assert_int_equal(read_at(&f, ticks, ticks * 3), ticks * 3);
        assert_int_equal(f.line.span, 0);
    }
    read_at(&f, 16 * SPAN, 16 * SPAN * 3);
    assert_int_equal(f.line.span, SPAN);
    assert_int_equal(read_at(&f, 16 * SPAN + 7, 0), (16 * SPAN + 7) * 3);
}

/// While stopped the ticks go on and the clock does not.
static void stops(void **state)
{
    struct tick_follower f = {0};
    uint64_t ticks = 0, before;
    for (; ticks < 40 * SPAN; ticks += 1000)
        read_at(&f, ticks, ticks);
    before = read_at(&f, ticks, ticks);
    tick_follower_stop(&f, ticks + 1000 * SPAN);
    for (uint64_t more = 0; more < 40 * SPAN; more += 1000) {
        uint64_t value = read_at(&f, ticks + 1000 * SPAN + more, ticks + more);
        assert_true(value >= before);
        assert_true(value <= ticks + more + 2 * SPAN);
        before = value;
    }
}

/// A snapshot was loaded: the clock is another one.
static void set_back(void **state)
{
    struct tick_follower f = {0};
    uint64_t ticks = 0;
    for (; ticks < 40 * SPAN; ticks += 1000)
        read_at(&f, ticks, 50 * HZ + ticks);
    tick_follower_stop(&f, ticks);
    assert_int_equal(read_at(&f, ticks + 1, 12345), 12345);
    assert_int_equal(read_at(&f, ticks + 2, 12346), 12346);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows),
        cmocka_unit_test(never_early),
        cmocka_unit_test(stops),
        cmocka_unit_test(set_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
