// State tables: a round trip gives an equal object, any damage gives an error and leaves the object alone.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/state.h"

struct inner {
    uint16_t index;
    bool on;
};

struct outer {
    uint8_t byte;
    uint32_t word[3];
    uint64_t wide;
    bool flags[2];
    struct inner inner[2];
    uint8_t raw[5];
    struct event timer;
    struct event timers[2];
    void *pointer;
};

static bool inner_check(void *object, struct error *error)
{
    struct inner *inner = object;
    return inner->index < 100 || error_set(error, "index %u is out of range", inner->index);
}

static const struct state_field inner_fields[] = {STATE_U(inner, index), STATE_U(inner, on)};
static const struct state_table inner_table = STATE_TABLE("inner", 1, inner, inner_fields, inner_check);
static const struct state_field outer_fields[] = {
    STATE_U(outer, byte),
    STATE_ARRAY(outer, word),
    STATE_U(outer, wide),
    STATE_ARRAY(outer, flags),
    STATE_NESTED_ARRAY(outer, inner, &inner_table),
    STATE_RAW(outer, raw),
    STATE_TIMER(outer, timer),
    STATE_TIMER_ARRAY(outer, timers),
    STATE_SKIP(outer, pointer),
};
static const struct state_table outer_table = STATE_TABLE("outer", 3, outer, outer_fields, NULL);

static void nothing(void *opaque)
{
}

static void fill(struct outer *o, struct clock *clock, unsigned seed)
{
    memset(o, 0, sizeof *o);
    o->byte = (uint8_t)seed;
    for (unsigned i = 0; i < 3; i++)
        o->word[i] = seed * 1000003 + i;
    o->wide = UINT64_C(0x123456789abcdef) * seed;
    o->flags[1] = seed & 1;
    o->inner[0].index = (uint16_t)(seed % 100);
    o->inner[1].on = true;
    memset(o->raw, (int)seed, sizeof o->raw);
    event_init(&o->timer, clock, nothing, o);
    event_init(&o->timers[0], clock, nothing, o);
    event_init(&o->timers[1], clock, nothing, o);
    event_arm(seed & 1 ? &o->timer : &o->timers[0], 1000 + seed);
}

static void round_trip(void **state)
{
    struct clock clock;
    clock_init(&clock, CLOCK_MANUAL);
    struct outer a, b;
    fill(&a, &clock, 1);
    fill(&b, &clock, 2);
    b.pointer = &b;
    char where[200];
    assert_false(state_equal(&outer_table, &a, &b, where, sizeof where));
    assert_string_equal(where, "byte: 1 != 2");
    assert_true(state_hash(0, &outer_table, &a) != state_hash(0, &outer_table, &b));
    struct state_writer w = {0};
    state_save(&w, &outer_table, "thing0", &a);
    state_write_bytes(&w, "tail", 4);
    assert_false(w.failed);
    struct state_reader r = {.data = w.data, .length = w.length};
    struct error error = {0};
    if (!state_load(&r, &outer_table, "thing0", &b, &error))
        fail_msg("%s", error.text);
    assert_int_equal(r.position, w.length - 4);
    assert_true(state_equal(&outer_table, &a, &b, where, sizeof where));
    assert_true(state_hash(0, &outer_table, &a) == state_hash(0, &outer_table, &b));
    assert_ptr_equal(b.pointer, &b);
    assert_ptr_equal(b.timer.opaque, &b);
    assert_true(b.timer.armed && b.timer.deadline == 1001 && !b.timers[0].armed);
    struct state_writer again = {0};
    state_save(&again, &outer_table, "thing0", &b);
    state_write_bytes(&again, "tail", 4);
    assert_int_equal(again.length, w.length);
    assert_memory_equal(again.data, w.data, w.length);
    state_writer_free(&again);
    state_writer_free(&w);
}

static void differences_are_named(void **state)
{
    struct clock clock;
    clock_init(&clock, CLOCK_MANUAL);
    struct outer a, b;
    char where[200];
    fill(&a, &clock, 3);
    fill(&b, &clock, 3);
    assert_true(state_equal(&outer_table, &a, &b, where, sizeof where));
    b.inner[1].index = 7;
    assert_false(state_equal(&outer_table, &a, &b, where, sizeof where));
    assert_string_equal(where, "inner[1].index: 0 != 7");
    b.inner[1].index = 0;
    b.raw[4] = 9;
    assert_false(state_equal(&outer_table, &a, &b, where, sizeof where));
    assert_string_equal(where, "raw[4]: 3 != 9");
    b.raw[4] = 3;
    event_arm(&b.timer, 5);
    assert_false(state_equal(&outer_table, &a, &b, where, sizeof where));
    assert_string_equal(where, "timer.deadline: 1003 != 5");
    assert_true(state_hash(0, &outer_table, &a) != state_hash(0, &outer_table, &b));
    event_cancel(&b.timer);
    assert_false(state_equal(&outer_table, &a, &b, where, 3));
}

// Loads a copy of `length` bytes that is exactly as long (so that sanitizers see a read too far) and checks
// that a refusal has a reason and left everything as it was.
static bool try_load(const uint8_t *data, size_t length, struct outer *o, struct clock *clock)
{
    uint8_t *copy = malloc(length ? length : 1);
    memcpy(copy, data, length);
    struct outer before;
    memcpy(&before, o, sizeof before);
    struct state_reader r = {.data = copy, .length = length};
    struct error error = {0};
    bool good = state_load(&r, &outer_table, "thing0", o, &error);
    free(copy);
    if (!good) {
        assert_non_null(strstr(error.text, "thing0"));
        assert_memory_equal(&before, o, sizeof before);
    }
    return good;
}

static void damage(void **state)
{
    struct clock clock;
    clock_init(&clock, CLOCK_MANUAL);
    struct outer a, b;
    fill(&a, &clock, 5);
    fill(&b, &clock, 6);
    struct state_writer w = {0};
    state_save(&w, &outer_table, "thing0", &a);
    for (size_t length = 0; length < w.length; length++)
        assert_false(try_load(w.data, length, &b, &clock));
    for (size_t bit = 0; bit < w.length * 8; bit++) {
        w.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(try_load(w.data, w.length, &b, &clock));
        w.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(try_load(w.data, w.length, &b, &clock));
    state_writer_free(&w);
}

// Damage by somebody who knows the checksum: nothing may be read or written out of bounds, and what loads is
// a state that saves to the same bytes.
static void hostile(void **state)
{
    struct clock clock;
    clock_init(&clock, CLOCK_MANUAL);
    struct outer a;
    fill(&a, &clock, 5);
    struct state_writer w = {0};
    state_save(&w, &outer_table, "thing0", &a);
    unsigned refused = 0, accepted = 0;
    static const uint8_t values[] = {0x00, 0x01, 0x02, 0x7f, 0x80, 0xff};
    for (size_t at = 8; at < w.length - 8; at++) {
        for (size_t v = 0; v < sizeof values; v++) {
            uint8_t *copy = malloc(w.length);
            memcpy(copy, w.data, w.length);
            copy[at] = values[v];
            uint64_t checksum = state_hash_bytes(0, copy + 8, w.length - 16);
            memcpy(copy + w.length - 8, &checksum, 8);
            struct clock own;
            struct outer b;
            clock_init(&own, CLOCK_MANUAL);
            fill(&b, &own, 6);
            struct state_reader r = {.data = copy, .length = w.length};
            struct error error = {0};
            if (state_load(&r, &outer_table, "thing0", &b, &error)) {
                accepted++;
                assert_in_range(b.inner[0].index, 0, 99);
            } else {
                refused++;
                assert_true(error.text[0]);
            }
            free(copy);
        }
    }
    assert_true(accepted > 50 && refused > 500);
    state_writer_free(&w);
}

static void refused_with(const struct state_table *writer, const char *instance, const struct state_table *reader,
                         const char *reason)
{
    struct clock clock;
    clock_init(&clock, CLOCK_MANUAL);
    struct outer a, b;
    fill(&a, &clock, 5);
    fill(&b, &clock, 6);
    struct state_writer w = {0};
    state_save(&w, writer, instance, &a);
    struct state_reader r = {.data = w.data, .length = w.length};
    struct error error = {0};
    assert_false(state_load(&r, reader, "thing0", &b, &error));
    if (!strstr(error.text, reason))
        fail_msg("'%s' does not say '%s'", error.text, reason);
    assert_int_equal(b.byte, 6);
    state_writer_free(&w);
}

static void reasons(void **state)
{
    struct state_table other = outer_table;
    refused_with(&outer_table, "thing1", &outer_table, "thing1");
    other.version = 4;
    refused_with(&other, "thing0", &outer_table, "version 4");
    other = outer_table;
    other.name = "stranger";
    refused_with(&other, "thing0", &outer_table, "stranger");
    other = outer_table;
    other.field_count = 3;
    refused_with(&other, "thing0", &outer_table, "3 fields");
    struct state_field fields[sizeof outer_fields / sizeof outer_fields[0]];
    memcpy(fields, outer_fields, sizeof fields);
    other = outer_table;
    other.fields = fields;
    fields[0].name = "novelty";
    refused_with(&other, "thing0", &outer_table, "unknown field 'novelty'");
    fields[0].name = "wide";
    refused_with(&other, "thing0", &outer_table, "out of order");
    fields[0] = outer_fields[0];
    fields[1].count = 2;
    refused_with(&other, "thing0", &outer_table, "another shape");
    fields[1] = outer_fields[1];
    fields[0].size = 2;
    refused_with(&other, "thing0", &outer_table, "another shape");
}

static void after_load_is_reported(void **state)
{
    struct clock clock;
    clock_init(&clock, CLOCK_MANUAL);
    struct outer a;
    fill(&a, &clock, 5);
    a.inner[1].index = 100;
    struct state_writer w = {0};
    state_save(&w, &outer_table, "thing0", &a);
    struct state_reader r = {.data = w.data, .length = w.length};
    struct error error = {0};
    assert_false(state_load(&r, &outer_table, "thing0", &a, &error));
    assert_non_null(strstr(error.text, "inner[1]: index 100 is out of range"));
    state_writer_free(&w);
}

static void armed_without_clock(void **state)
{
    struct clock clock;
    clock_init(&clock, CLOCK_MANUAL);
    struct outer a, b;
    fill(&a, &clock, 5);
    memset(&b, 0, sizeof b);
    struct state_writer w = {0};
    state_save(&w, &outer_table, "thing0", &a);
    struct state_reader r = {.data = w.data, .length = w.length};
    struct error error = {0};
    assert_false(state_load(&r, &outer_table, "thing0", &b, &error));
    assert_non_null(strstr(error.text, "clock"));
    assert_int_equal(b.byte, 0);
    state_writer_free(&w);
}

static void equal_deadlines_keep_their_order(void **state)
{
    struct clock clock;
    clock_init(&clock, CLOCK_MANUAL);
    struct outer a, b;
    fill(&a, &clock, 2);
    event_arm(&a.timers[1], 50);
    event_arm(&a.timers[0], 50);
    struct state_writer w = {0};
    state_save(&w, &outer_table, "thing0", &a);
    struct clock second;
    clock_init(&second, CLOCK_MANUAL);
    fill(&b, &second, 1);
    struct state_reader r = {.data = w.data, .length = w.length};
    assert_true(state_load(&r, &outer_table, "thing0", &b, NULL));
    assert_ptr_equal(second.first, &b.timers[1]);
    assert_ptr_equal(second.first->next, &b.timers[0]);
    assert_null(second.first->next->next);
    state_writer_free(&w);
}

static void hash_of_bytes(void **state)
{
    uint8_t bytes[200];
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    // Every bit and the length count, at every alignment of the tail.
    for (size_t length = 0; length < sizeof bytes; length++) {
        uint64_t hash = state_hash_bytes(1, bytes, length);
        assert_true(hash == state_hash_bytes(1, bytes, length));
        assert_true(hash != state_hash_bytes(2, bytes, length));
        assert_true(hash != state_hash_bytes(1, bytes, length + 1));
        for (size_t bit = 0; bit < length * 8; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_true(hash != state_hash_bytes(1, bytes, length));
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
    uint8_t zeros[64] = {0};
    assert_true(state_hash_bytes(0, zeros, 32) != state_hash_bytes(0, zeros, 64));
}

static void tables_are_checked(void **state)
{
    struct error error = {0};
    if (!state_check(&outer_table, &error))
        fail_msg("%s", error.text);
    struct state_field fields[sizeof outer_fields / sizeof outer_fields[0]];
    struct state_table table = outer_table;
    table.fields = fields;
    memcpy(fields, outer_fields, sizeof fields);
    fields[2] = fields[8]; // "wide" forgotten, "pointer" twice
    assert_false(state_check(&table, &error));
    assert_non_null(strstr(error.text, "pointer"));
    struct error gap = {0}, shape = {0}, outside = {0};
    memcpy(fields, outer_fields, sizeof fields);
    table.field_count--; // the pointer at the end
    assert_false(state_check(&table, &gap));
    assert_non_null(strstr(gap.text, "in no field"));
    table.field_count++;
    fields[1].size = 3;
    assert_false(state_check(&table, &shape));
    assert_non_null(strstr(shape.text, "no integer"));
    fields[1].size = 4;
    fields[5].size = 100000;
    assert_false(state_check(&table, &outside));
    assert_non_null(strstr(outside.text, "outside"));
}

static void printing(void **state)
{
    struct clock clock;
    clock_init(&clock, CLOCK_MANUAL);
    struct outer a;
    fill(&a, &clock, 1);
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    state_print(file, &outer_table, &a);
    fclose(file);
    assert_non_null(strstr(text, "byte = 0x1\n"));
    assert_non_null(strstr(text, "inner[1].on = 0x1\n"));
    assert_non_null(strstr(text, "timer = at 1001 ns\n"));
    assert_non_null(strstr(text, "raw = 01 01 01 01 01\n"));
    assert_null(strstr(text, "pointer"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(differences_are_named),
        cmocka_unit_test(damage),
        cmocka_unit_test(hostile),
        cmocka_unit_test(reasons),
        cmocka_unit_test(after_load_is_reported),
        cmocka_unit_test(armed_without_clock),
        cmocka_unit_test(equal_deadlines_keep_their_order),
        cmocka_unit_test(hash_of_bytes),
        cmocka_unit_test(tables_are_checked),
        cmocka_unit_test(printing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
