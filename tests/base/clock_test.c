// The clock in its three modes and the order of events.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/host.h"

struct trace {
    struct clock clock;
    struct event events[4];
    unsigned order[64];
    uint64_t at[64];
    unsigned count;
    uint64_t rearm; // ns after now at which event 0 arms itself again; 0: never
    unsigned notified;
    uint64_t instructions;
};

struct tag {
    struct trace *trace;
    unsigned number;
};

static void fired(void *opaque)
{
    struct tag *tag = opaque;
    struct trace *t = tag->trace;
    if (t->count < 64) {
        t->order[t->count] = tag->number;
        t->at[t->count] = clock_now(&t->clock);
    }
    t->count++;
    if (tag->number == 0 && t->rearm)
        event_arm(&t->events[0], clock_now(&t->clock) + t->rearm - 1);
}

static uint64_t count_of(void *opaque)
{
    return ((struct trace *)opaque)->instructions;
}

static void notified(void *opaque)
{
    ((struct trace *)opaque)->notified++;
}

static void trace_init(struct trace *t, struct tag tags[4], enum clock_mode mode)
{
    *t = (struct trace){0};
    clock_init(&t->clock, mode);
    t->clock.read_count = count_of;
    t->clock.count_opaque = t;
    t->clock.deadline_changed = notified;
    t->clock.deadline_opaque = t;
    for (unsigned i = 0; i < 4; i++) {
        tags[i] = (struct tag){t, i};
        event_init(&t->events[i], &t->clock, fired, &tags[i]);
    }
}

static void manual_order(void **state)
{
    struct trace t;
    struct tag tags[4];
    trace_init(&t, tags, CLOCK_MANUAL);
    event_arm(&t.events[2], 100);
    event_arm(&t.events[1], 100);
    event_arm(&t.events[0], 50);
    event_arm(&t.events[3], 70);
    event_cancel(&t.events[3]);
    event_cancel(&t.events[3]);
    assert_int_equal(clock_next_deadline(&t.clock), 50);
    clock_step(&t.clock, 99);
    assert_int_equal(t.count, 1);
    clock_step(&t.clock, 1000);
    assert_int_equal(t.count, 3);
    assert_int_equal(t.order[0], 0);
    assert_int_equal(t.order[1], 2);
    assert_int_equal(t.order[2], 1);
    assert_int_equal(t.at[0], 50);
    assert_int_equal(t.at[2], 100);
    assert_int_equal(clock_now(&t.clock), 1099);
    assert_true(clock_next_deadline(&t.clock) == CLOCK_NEVER);
    assert_false(t.events[1].armed);
}

static void moving_an_armed_event(void **state)
{
    struct trace t;
    struct tag tags[4];
    trace_init(&t, tags, CLOCK_MANUAL);
    event_arm(&t.events[1], 10);
    event_arm(&t.events[2], 20);
    event_arm(&t.events[1], 30);
    clock_step(&t.clock, 40);
    assert_int_equal(t.count, 2);
    assert_int_equal(t.order[0], 2);
    assert_int_equal(t.order[1], 1);
}

static void rearming_ends(void **state)
{
    struct trace t;
    struct tag tags[4];
    trace_init(&t, tags, CLOCK_MANUAL);
    t.rearm = 11;
    event_arm(&t.events[0], 10);
    clock_step(&t.clock, 35);
    assert_int_equal(t.count, 3);
    assert_int_equal(t.at[2], 30);
    // An event that is always due runs a bounded number of times.
    t.rearm = 1;
    t.count = 0;
    event_arm(&t.events[0], 0);
    clock_run_due(&t.clock);
    assert_int_equal(t.count, 1);
    assert_true(t.events[0].armed);
    clock_step(&t.clock, 5);
    assert_in_range(t.count, 2, 4);
    // It does not hide a later event that is due as well.
    t.count = 0;
    event_arm(&t.events[3], clock_now(&t.clock));
    clock_run_due(&t.clock);
    assert_int_equal(t.count, 2);
    assert_int_equal(t.order[1], 3);
}

static void notification_on_earlier_only(void **state)
{
    struct trace t;
    struct tag tags[4];
    trace_init(&t, tags, CLOCK_MANUAL);
    event_arm(&t.events[0], 100);
    assert_int_equal(t.notified, 1);
    event_arm(&t.events[1], 200);
    event_arm(&t.events[2], 100);
    assert_int_equal(t.notified, 1);
    event_arm(&t.events[3], 99);
    assert_int_equal(t.notified, 2);
}

static void restored_order(void **state)
{
    struct trace t;
    struct tag tags[4];
    trace_init(&t, tags, CLOCK_MANUAL);
    event_restore(&t.events[0], 5, 9);
    event_restore(&t.events[1], 5, 7);
    event_arm(&t.events[2], 5);
    clock_step(&t.clock, 5);
    assert_int_equal(t.count, 3);
    assert_int_equal(t.order[0], 1);
    assert_int_equal(t.order[1], 0);
    assert_int_equal(t.order[2], 2);
}

static void counting(void **state)
{
    struct trace t;
    struct tag tags[4];
    trace_init(&t, tags, CLOCK_COUNTING);
    t.clock.ns_per_1024 = 3000;
    t.instructions = 12345;
    assert_int_equal(clock_now(&t.clock), 0);
    clock_start(&t.clock);
    assert_int_equal(clock_now(&t.clock), 0);
    t.instructions = 12345 + 1024;
    assert_int_equal(clock_now(&t.clock), 3000);
    for (uint64_t ns = 3001; ns < 3050; ns++) {
        uint64_t at = clock_count_at(&t.clock, ns), before = t.instructions;
        t.instructions = at;
        assert_true(clock_now(&t.clock) >= ns);
        t.instructions = at - 1;
        assert_true(clock_now(&t.clock) < ns);
        t.instructions = before;
    }
    assert_int_equal(clock_count_at(&t.clock, 0), t.instructions);
    clock_stop(&t.clock);
    t.instructions += 5000;
    assert_int_equal(clock_now(&t.clock), 3000);
    clock_start(&t.clock);
    assert_int_equal(clock_now(&t.clock), 3000);
    t.clock.ns_per_1024 = 0;
    assert_true(clock_count_at(&t.clock, UINT64_MAX) == UINT64_MAX);
}

static void counting_goes_on_after_set(void **state)
{
    // A second clock set to the first one's time at the same count agrees with it ever after.
    struct trace a, b;
    struct tag ta[4], tb[4];
    trace_init(&a, ta, CLOCK_COUNTING);
    trace_init(&b, tb, CLOCK_COUNTING);
    a.clock.ns_per_1024 = b.clock.ns_per_1024 = 777;
    clock_start(&a.clock);
    a.instructions = b.instructions = 1000001;
    clock_set(&b.clock, clock_now(&a.clock));
    clock_start(&b.clock);
    for (unsigned i = 0; i < 5000; i++) {
        a.instructions++;
        b.instructions++;
        assert_int_equal(clock_now(&a.clock), clock_now(&b.clock));
    }
    clock_set(&b.clock, 17);
    assert_int_equal(clock_now(&b.clock), 17);
    // Far beyond what 64 bits of count * factor would hold.
    a.instructions = UINT64_MAX / 2;
    a.clock.ns_per_1024 = 1024;
    clock_set(&a.clock, 5);
    a.instructions += 10;
    assert_int_equal(clock_now(&a.clock), 15);
}

static void host_time(void **state)
{
    struct clock clock;
    clock_init(&clock, CLOCK_HOST);
    assert_int_equal(clock_now(&clock), 0);
    clock_set(&clock, 1000);
    assert_int_equal(clock_now(&clock), 1000);
    clock_start(&clock);
    uint64_t begin = host_monotonic_ns();
    uint64_t first = clock_now(&clock);
    while (host_monotonic_ns() - begin < 1000000)
        ;
    uint64_t second = clock_now(&clock);
    assert_true(first >= 1000 && second >= first + 900000);
    clock_stop(&clock);
    uint64_t stopped = clock_now(&clock);
    assert_true(stopped >= second);
    assert_int_equal(clock_now(&clock), stopped);
    clock_start(&clock);
    clock_set(&clock, 5);
    assert_true(clock_now(&clock) >= 5 && clock_now(&clock) < UINT64_C(10000000000));
}

static void scaling(void **state)
{
    assert_true(clock_scale(UINT64_MAX, 3, 3) == UINT64_MAX);
    assert_true(clock_scale(UINT64_MAX, 2, 1) == UINT64_MAX);
    assert_true(clock_scale(1, 1, 0) == UINT64_MAX);
    assert_int_equal(clock_scale(UINT64_C(1193182) * 1000, 1000000000, 1193182), 1000000000000);
    assert_int_equal(clock_scale(7, 1, 2), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manual_order),
        cmocka_unit_test(moving_an_armed_event),
        cmocka_unit_test(rearming_ends),
        cmocka_unit_test(notification_on_earlier_only),
        cmocka_unit_test(restored_order),
        cmocka_unit_test(counting),
        cmocka_unit_test(counting_goes_on_after_set),
        cmocka_unit_test(host_time),
        cmocka_unit_test(scaling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
