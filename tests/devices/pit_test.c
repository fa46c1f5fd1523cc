// The 8254 in all modes, tick by tick, and port 0x61 as kernels calibrate with it.
#include "tests/devices/support_bench.h"

#include "devices/pit.h"

#define CONTROL 3
#define PORT61 1

/// Moves time to the first nanosecond of tick `tick`.
static void go_to_tick(struct chip_bench *bench, uint64_t tick)
{
    uint64_t ns = clock_scale(tick, 1000000000, PIT_HZ);
    while (clock_scale(ns, PIT_HZ, 1000000000) < tick)
        ns++;
    clock_step(&bench->clock, ns - clock_now(&bench->clock));
}

static void program(struct pit *pit, unsigned counter, unsigned mode, uint16_t count, bool bcd)
{
    chip_write(pit, 0, CONTROL, (uint8_t)(counter << 6 | 0x30 | mode << 1 | bcd));
    chip_write(pit, 0, counter, (uint8_t)count);
    chip_write(pit, 0, counter, (uint8_t)(count >> 8));
}

static uint16_t latched_count(struct pit *pit, unsigned counter)
{
    chip_write(pit, 0, CONTROL, (uint8_t)(counter << 6));
    uint8_t low = chip_read(pit, 0, counter);
    return (uint16_t)(low | chip_read(pit, 0, counter) << 8);
}

static uint8_t status(struct pit *pit, unsigned counter)
{
    chip_write(pit, 0, CONTROL, (uint8_t)(0xE0 | 2u << counter));
    return chip_read(pit, 0, counter);
}

static bool out2(struct pit *pit)
{
    return chip_read(pit, PORT61, 0) >> 5 & 1;
}

static struct pit *pit_new(struct chip_bench *bench, struct probe *probe)
{
    struct pit *pit = chip_new(bench, &pit_class);
    *probe = probe_on(bench);
    wire_connect(&pit->irq, probe_set, probe, 0);
    device_reset(pit);
    return pit;
}

static void test_mode_0(void **unused)
{
    struct chip_bench bench;
    struct probe irq;
    struct pit *pit = pit_new(&bench, &irq);
    program(pit, 0, 0, 10, false);
    assert_int_equal(status(pit, 0) & 0xC0, 0x40); // low; not loaded before the next clock
    go_to_tick(&bench, 1);
    assert_int_equal(status(pit, 0), 0x30);
    assert_int_equal(latched_count(pit, 0), 10);
    go_to_tick(&bench, 10);
    assert_false(irq.level);
    assert_int_equal(latched_count(pit, 0), 1);
    go_to_tick(&bench, 11); // N + 1 clocks after the write
    assert_true(irq.level);
    go_to_tick(&bench, 13);
    assert_int_equal(latched_count(pit, 0), 0xFFFE); // it counts on
    assert_int_equal(irq.rises, 1);
    chip_write(pit, 0, 0, 5); // the first byte of a new count takes the output low
    assert_false(irq.level);
    device_free(pit);
}

static void test_mode_2(void **unused)
{
    struct chip_bench bench;
    struct probe irq;
    struct pit *pit = pit_new(&bench, &irq);
    program(pit, 0, 2, 100, false);
    assert_true(irq.level);
    irq.rises = 0;
    go_to_tick(&bench, 1 + 99);
    assert_false(irq.level); // the last clock of the cycle is low
    assert_int_equal(latched_count(pit, 0), 1);
    go_to_tick(&bench, 1 + 100);
    assert_true(irq.level);
    assert_int_equal(latched_count(pit, 0), 100);
    chip_write(pit, 0, 0, 50); // a new count waits for the end of the cycle
    chip_write(pit, 0, 0, 0);
    assert_int_equal(status(pit, 0) & 0x40, 0x40);
    go_to_tick(&bench, 1 + 199);
    assert_int_equal(irq.rises, 1);
    go_to_tick(&bench, 1 + 200);
    assert_int_equal(irq.rises, 2);
    assert_int_equal(status(pit, 0) & 0x40, 0);
    go_to_tick(&bench, 1 + 250);
    assert_int_equal(irq.rises, 3);
    go_to_tick(&bench, 1 + 250 + 50 * 1000);
    assert_int_equal(irq.rises, 1003);
    device_free(pit);
}

static void test_mode_3(void **unused)
{
    struct chip_bench bench;
    struct probe irq;
    struct pit *pit = pit_new(&bench, &irq);
    program(pit, 0, 3, 101, false);
    go_to_tick(&bench, 1 + 50);
    assert_true(irq.level);
    assert_int_equal(latched_count(pit, 0), 0);
    go_to_tick(&bench, 1 + 51); // an odd count is high a clock longer
    assert_false(irq.level);
    assert_int_equal(latched_count(pit, 0), 100);
    go_to_tick(&bench, 1 + 100);
    assert_false(irq.level);
    assert_int_equal(latched_count(pit, 0), 2);
    go_to_tick(&bench, 1 + 101);
    assert_true(irq.level);
    chip_write(pit, 0, 0, 40); // a new count is taken at the end of the half cycle
    chip_write(pit, 0, 0, 0);
    go_to_tick(&bench, 1 + 101 + 51);
    assert_false(irq.level);
    assert_int_equal(latched_count(pit, 0), 40);
    go_to_tick(&bench, 1 + 101 + 51 + 20);
    assert_true(irq.level);
    device_free(pit);
}

static void test_mode_4(void **unused)
{
    struct chip_bench bench;
    struct probe irq;
    struct pit *pit = pit_new(&bench, &irq);
    program(pit, 0, 4, 200, false);
    assert_true(irq.level);
    go_to_tick(&bench, 200);
    assert_true(irq.level);
    go_to_tick(&bench, 201); // a strobe of one clock
    assert_false(irq.level);
    go_to_tick(&bench, 202);
    assert_true(irq.level);
    assert_int_equal(clock_next_deadline(&bench.clock), CLOCK_NEVER); // once only
    device_free(pit);
}

static void test_gate(void **unused)
{
    struct chip_bench bench;
    struct probe irq;
    struct pit *pit = pit_new(&bench, &irq);
    // Mode 0 as Linux calibrates: gate up, count down, output visible at bit 5.
    chip_write(pit, PORT61, 0, 1);
    program(pit, 2, 0, 1000, false);
    go_to_tick(&bench, 101);
    chip_write(pit, PORT61, 0, 0); // the gate holds the count
    go_to_tick(&bench, 501);
    assert_int_equal(latched_count(pit, 2), 900);
    chip_write(pit, PORT61, 0, 1);
    go_to_tick(&bench, 501 + 899);
    assert_false(out2(pit));
    go_to_tick(&bench, 501 + 900);
    assert_true(out2(pit));
    // Modes 1 and 5: a rising gate triggers, and triggers again.
    chip_write(pit, PORT61, 0, 0);
    program(pit, 2, 1, 10, false);
    uint64_t tick = 501 + 900;
    go_to_tick(&bench, tick += 50);
    assert_true(out2(pit));
    chip_write(pit, PORT61, 0, 1);
    go_to_tick(&bench, tick + 1);
    assert_false(out2(pit));
    go_to_tick(&bench, tick += 6);
    chip_write(pit, PORT61, 0, 0);
    chip_write(pit, PORT61, 0, 1);
    go_to_tick(&bench, tick + 10);
    assert_false(out2(pit));
    go_to_tick(&bench, tick += 11);
    assert_true(out2(pit));
    chip_write(pit, PORT61, 0, 0);
    program(pit, 2, 5, 10, false);
    chip_write(pit, PORT61, 0, 1);
    go_to_tick(&bench, tick + 10);
    assert_true(out2(pit));
    go_to_tick(&bench, tick + 11);
    assert_false(out2(pit));
    go_to_tick(&bench, tick += 12);
    assert_true(out2(pit));
    // Mode 3: a low gate forces the output high, a rising one starts the cycle anew.
    program(pit, 2, 3, 20, false);
    go_to_tick(&bench, tick += 12);
    assert_false(out2(pit));
    chip_write(pit, PORT61, 0, 0);
    assert_true(out2(pit));
    chip_write(pit, PORT61, 0, 1);
    go_to_tick(&bench, tick + 10);
    assert_true(out2(pit));
    go_to_tick(&bench, tick + 11);
    assert_false(out2(pit));
    device_free(pit);
}

static void test_reading(void **unused)
{
    struct chip_bench bench;
    struct probe irq;
    struct pit *pit = pit_new(&bench, &irq);
    program(pit, 1, 2, 0x2000, true); // BCD 2000
    go_to_tick(&bench, 1 + 1);
    assert_int_equal(latched_count(pit, 1), 0x1999);
    program(pit, 1, 2, 0, true); // 10000
    go_to_tick(&bench, 3 + 1);
    assert_int_equal(latched_count(pit, 1), 0x9999);
    program(pit, 0, 0, 0x1234, false);
    go_to_tick(&bench, 10);
    uint8_t expected_status = 0x30;
    chip_write(pit, 0, CONTROL, 0xC2); // read back count and status; both stay until read
    uint16_t count = (uint16_t)(0x1234 - (10 - 5));
    go_to_tick(&bench, 500);
    chip_write(pit, 0, CONTROL, 0xC2); // and are not latched over
    assert_int_equal(chip_read(pit, 0, 0), expected_status);
    assert_int_equal(chip_read(pit, 0, 0), count & 0xFF);
    assert_int_equal(chip_read(pit, 0, 0), count >> 8);
    chip_write(pit, 0, CONTROL, 0x14); // low byte only, mode 2
    chip_write(pit, 0, 0, 77);
    go_to_tick(&bench, 501);
    assert_int_equal(chip_read(pit, 0, 0), 77);
    assert_int_equal(chip_read(pit, 0, 0), 77);
    device_free(pit);
}

static void test_port61(void **unused)
{
    struct chip_bench bench;
    struct probe irq;
    struct pit *pit = pit_new(&bench, &irq);
    unsigned toggles = 0;
    bool last = false;
    for (unsigned tick = 1; tick <= 1800; tick++) {
        go_to_tick(&bench, tick);
        bool now = chip_read(pit, PORT61, 0) >> 4 & 1;
        toggles += now != last;
        last = now;
    }
    assert_int_equal(toggles, 100); // each 15.08 us
    chip_write(pit, PORT61, 0, 0xFF);
    assert_int_equal(chip_read(pit, PORT61, 0) & 0xCF, 0x0F);
    device_free(pit);
}

static void test_short_cycles_are_bounded(void **unused)
{
    struct chip_bench bench;
    struct probe irq;
    struct pit *pit = pit_new(&bench, &irq);
    program(pit, 0, 2, 2, false);
    irq.rises = 0;
    clock_step(&bench.clock, 10000000); // 10 ms: 5966 cycles
    assert_in_range(irq.rises, 100, 501);
    device_free(pit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mode_0), cmocka_unit_test(test_mode_2),
        cmocka_unit_test(test_mode_3), cmocka_unit_test(test_mode_4),
        cmocka_unit_test(test_gate),   cmocka_unit_test(test_reading),
        cmocka_unit_test(test_port61), cmocka_unit_test(test_short_cycles_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
