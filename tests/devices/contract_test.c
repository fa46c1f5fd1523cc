// What every device owes: a state table that accounts for every byte, a repeatable reset, registers that take any
// access, and a state that survives save and load, into itself and into a fresh device.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "devices/device.h"

#define FUZZ_STEPS 20000
#define RAM_SIZE (UINT64_C(1) << 20)

/// A machine without a board: RAM at 0 for bus masters, and a clock that moves by hand.
struct bench {
    struct memory memory;
    struct address_space space, ports;
    struct clock clock;
    struct device_context context;
    uint64_t random;
};

static uint64_t bench_random(struct bench *bench)
{
    bench->random ^= bench->random << 13;
    bench->random ^= bench->random >> 7;
    bench->random ^= bench->random << 17;
    return bench->random;
}

static uint64_t bench_seed(uint64_t seed)
{
    return seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
}

static void bench_create(struct bench *bench, uint64_t seed)
{
    struct error error = {0};
    *bench = (struct bench){.random = bench_seed(seed)};
    assert_true(memory_create(&bench->memory, RAM_SIZE, &error));
    address_space_init(&bench->space, "memory", &bench->memory, UINT64_C(1) << 40, NULL);
    address_space_init(&bench->ports, "ports", NULL, 0x10000, NULL);
    uint64_t offset = memory_allocate(&bench->memory, RAM_SIZE);
    assert_non_null(address_space_map_memory(&bench->space, "ram", 0, RAM_SIZE, 0, offset, false, &error));
    clock_init(&bench->clock, CLOCK_MANUAL);
    bench->context = (struct device_context){.clock = &bench->clock, .memory = &bench->space, .ports = &bench->ports};
}

static void bench_destroy(struct bench *bench)
{
    address_space_destroy(&bench->space);
    address_space_destroy(&bench->ports);
    memory_destroy(&bench->memory);
}

static struct device *bench_device(struct bench *bench, const struct device_class *class)
{
    struct error error = {0};
    struct device *device = device_new(class, class->name, &bench->context, &error);
    if (!device || !device_init(device, &error))
        fail_msg("%s: %s", class->name, error.text);
    device_reset(device);
    return device;
}

static void poke(struct bench *bench, struct device *device)
{
    const struct device_class *class = device->class;
    if (!class->region_count)
        return;
    unsigned index = (unsigned)(bench_random(bench) % class->region_count);
    const struct region_ops *ops = &class->regions[index];
    unsigned max_size = ops->max_size ? ops->max_size : 4;
    unsigned size = 1u << bench_random(bench) % 4;
    if (size > max_size || size > class->region_sizes[index])
        size = 1;
    uint64_t choice = bench_random(bench);
    // Most registers are low, so half of the pokes go there.
    uint64_t span = choice & 1 && class->region_sizes[index] > 64 ? 64 : class->region_sizes[index];
    uint64_t offset = bench_random(bench) % (span - size + 1);
    uint64_t value = bench_random(bench) & bits_mask(size * 8);
    if (choice & 2)
        value = choice & 4 ? value & 0x0F : bits_mask(size * 8);
    if (choice & 8)
        ops->write(device, offset, value, size);
    else
        ops->read(device, offset, size);
}

static void fuzz(struct bench *bench, struct device *device, unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        poke(bench, device);
        uint64_t choice = bench_random(bench);
        if (choice % 8 == 0)
            clock_step(&bench->clock, (choice >> 8) % 20000);
        else if (choice % 512 == 1)
            clock_step(&bench->clock, (choice >> 16) % 100000000);
    }
}

static void expect_equal(const struct device *a, const struct device *b, const char *when)
{
    char where[256];
    if (!state_equal(a->class->state, a, b, where, sizeof where))
        fail_msg("%s %s: %s", a->class->name, when, where);
    assert_int_equal(state_hash(0, a->class->state, a), state_hash(0, b->class->state, b));
}

static void save(struct state_writer *writer, const struct device *device)
{
    *writer = (struct state_writer){0};
    state_save(writer, device->class->state, device->id, device);
    assert_false(writer->failed);
}

static void load(const struct state_writer *writer, struct device *device)
{
    struct error error = {0};
    struct state_reader reader = {.data = writer->data, .length = writer->length};
    if (!state_load(&reader, device->class->state, device->id, device, &error))
        fail_msg("%s: %s", device->class->name, error.text);
}

static void expect_saved(const struct state_writer *writer, const struct device *device, const char *when)
{
    struct state_writer again;
    save(&again, device);
    if (again.length != writer->length || memcmp(again.data, writer->data, again.length) != 0)
        fail_msg("%s: another state %s", device->class->name, when);
    state_writer_free(&again);
}

static void test_tables(void **unused)
{
    assert_true(device_class_count > 0);
    for (unsigned i = 0; i < device_class_count; i++) {
        const struct device_class *class = device_classes[i];
        struct error error = {0};
        assert_non_null(class->name);
        assert_non_null(class->description);
        assert_non_null(class->state);
        assert_int_equal(class->size, class->state->size);
        if (!state_check(class->state, &error))
            fail_msg("%s: %s", class->name, error.text);
        for (unsigned r = 0; r < class->region_count; r++) {
            assert_non_null(class->regions[r].read);
            assert_non_null(class->regions[r].write);
            assert_true(class->region_sizes[r] > 0);
        }
    }
}

static void test_reset_repeats(void **unused)
{
    for (unsigned i = 0; i < device_class_count; i++) {
        struct bench bench;
        struct state_writer first;
        bench_create(&bench, i + 1);
        struct device *device = bench_device(&bench, device_classes[i]);
        save(&first, device);
        device_reset(device);
        expect_saved(&first, device, "after the second reset");
        state_writer_free(&first);
        fuzz(&bench, device, 2000);
        device_reset(device);
        save(&first, device);
        device_reset(device);
        expect_saved(&first, device, "after two resets of a used device");
        state_writer_free(&first);
        device_free(device);
        assert_null(bench.clock.first); // a device that is gone leaves no event behind
        bench_destroy(&bench);
    }
}

static void test_registers_take_anything(void **unused)
{
    for (unsigned i = 0; i < device_class_count; i++) {
        struct bench bench;
        bench_create(&bench, 1000 + i);
        struct device *device = bench_device(&bench, device_classes[i]);
        fuzz(&bench, device, FUZZ_STEPS);
        device_free(device);
        bench_destroy(&bench);
    }
}

static void test_state_returns(void **unused)
{
    for (unsigned i = 0; i < device_class_count; i++) {
        for (unsigned round = 0; round < 8; round++) {
            struct bench bench;
            struct state_writer saved;
            bench_create(&bench, 2000 + i * 16 + round);
            struct device *device = bench_device(&bench, device_classes[i]);
            fuzz(&bench, device, 1000);
            uint64_t now = clock_now(&bench.clock);
            save(&saved, device);
            fuzz(&bench, device, 1000);
            clock_set(&bench.clock, now);
            load(&saved, device);
            expect_saved(&saved, device, "after loading what was saved");

            // A fresh device that loads it is the same, and stays the same under the same accesses.
            struct device *twin = bench_device(&bench, device_classes[i]);
            load(&saved, twin);
            expect_saved(&saved, twin, "in a fresh device");
            expect_equal(device, twin, "in a fresh device");
            device_free(twin);
            device_free(device);
            state_writer_free(&saved);
            bench_destroy(&bench);
        }
    }
}

/// Runs `steps` after loading `saved` into a fresh device on a bench of its own, and saves the result.
static void continue_from(const struct device_class *class, const struct state_writer *saved, const struct clock *clock,
                          uint64_t seed, struct state_writer *result)
{
    struct bench bench;
    bench_create(&bench, seed);
    struct device *device = bench_device(&bench, class);
    bench.clock.manual = clock->manual;
    bench.clock.next_sequence = clock->next_sequence;
    load(saved, device);
    fuzz(&bench, device, 1000);
    save(result, device);
    device_free(device);
    bench_destroy(&bench);
}

static void test_loaded_runs_on_alike(void **unused)
{
    for (unsigned i = 0; i < device_class_count; i++) {
        struct bench bench;
        struct state_writer saved, first, second;
        bench_create(&bench, 3000 + i);
        struct device *device = bench_device(&bench, device_classes[i]);
        fuzz(&bench, device, 1000);
        struct clock at_save = bench.clock;
        save(&saved, device);
        // The original goes on; a copy loaded elsewhere must come to the same state by the same accesses.
        continue_from(device_classes[i], &saved, &at_save, 7, &first);
        bench.random = bench_seed(7);
        fuzz(&bench, device, 1000);
        save(&second, device);
        if (first.length != second.length || memcmp(first.data, second.data, first.length) != 0)
            fail_msg("%s: a loaded device runs on differently", device_classes[i]->name);
        state_writer_free(&saved);
        state_writer_free(&first);
        state_writer_free(&second);
        device_free(device);
        bench_destroy(&bench);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_reset_repeats),
        cmocka_unit_test(test_registers_take_anything),
        cmocka_unit_test(test_state_returns),
        cmocka_unit_test(test_loaded_runs_on_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
