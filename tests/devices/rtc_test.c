// The MC146818: calendar in its formats, setting the time, update cycle, the three interrupts.
#include "tests/devices/support_bench.h"

#include "devices/rtc.h"

#define SECOND UINT64_C(1000000000)

static uint8_t get(struct rtc *rtc, uint8_t index)
{
    chip_write(rtc, 0, 0, index);
    return chip_read(rtc, 0, 1);
}

static void set(struct rtc *rtc, uint8_t index, uint8_t value)
{
    chip_write(rtc, 0, 0, index);
    chip_write(rtc, 0, 1, value);
}

static struct rtc *rtc_new(struct chip_bench *bench, struct probe *probe, uint64_t base)
{
    struct error error = {0};
    clock_init(&bench->clock, CLOCK_MANUAL);
    bench->context = (struct device_context){.clock = &bench->clock};
    struct rtc *rtc = device_new(&rtc_class, "rtc", &bench->context, &error);
    assert_non_null(rtc);
    rtc->base = base;
    assert_true(device_init(rtc, &error));
    *probe = probe_on(bench);
    wire_connect(&rtc->irq, probe_set, probe, 0);
    device_reset(rtc);
    return rtc;
}

static void expect_time(struct rtc *rtc, const char *expected)
{
    char text[64];
    snprintf(text, sizeof text, "%02x%02x-%02x-%02x %02x:%02x:%02x/%x", get(rtc, 0x32), get(rtc, 9), get(rtc, 8),
             get(rtc, 7), get(rtc, 4), get(rtc, 2), get(rtc, 0), get(rtc, 6));
    assert_string_equal(text, expected);
}

static void test_calendar(void **unused)
{
    static const struct {
        uint64_t base;
        const char *text;
    } rows[] = {
        {0, "1970-01-01 00:00:00/5"},
        {951782399, "2000-02-28 23:59:59/2"},
        {951782400, "2000-02-29 00:00:00/3"},
        {4107542399, "2100-02-28 23:59:59/1"},
        {4107542400, "2100-03-01 00:00:00/2"},
        {1735689599, "2024-12-31 23:59:59/3"},
        {253402300799, "9999-12-31 23:59:59/6"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct chip_bench bench;
        struct probe irq;
        struct rtc *rtc = rtc_new(&bench, &irq, rows[i].base);
        expect_time(rtc, rows[i].text);
        // What a guest reads it can write back.
        set(rtc, 0x0B, 0x82);
        set(rtc, 0x0B, 0x02);
        expect_time(rtc, rows[i].text);
        device_free(rtc);
    }
}

static void test_formats(void **unused)
{
    struct chip_bench bench;
    struct probe irq;
    struct rtc *rtc = rtc_new(&bench, &irq, 951782399);
    set(rtc, 0x0B, 0x06); // binary
    assert_int_equal(get(rtc, 4), 23);
    assert_int_equal(get(rtc, 0x32), 20);
    set(rtc, 0x0B, 0x00); // BCD, 12 hours
    assert_int_equal(get(rtc, 4), 0x91);
    clock_step(&bench.clock, SECOND);
    assert_int_equal(get(rtc, 4), 0x12); // midnight
    clock_step(&bench.clock, 12 * 3600 * SECOND);
    assert_int_equal(get(rtc, 4), 0x92); // noon
    assert_int_equal(get(rtc, 0x0D), 0x80);
    device_free(rtc);
}

static void test_set(void **unused)
{
    struct chip_bench bench;
    struct probe irq;
    struct rtc *rtc = rtc_new(&bench, &irq, 0);
    clock_step(&bench.clock, 300000000);
    set(rtc, 0x0B, 0x82);
    clock_step(&bench.clock, 5 * SECOND);
    expect_time(rtc, "1970-01-01 00:00:00/5"); // stopped
    static const uint8_t values[][2] = {{0, 0x58}, {2, 0x59}, {4, 0x23}, {6, 7},
                                        {7, 0x31}, {8, 0x12}, {9, 0x38}, {0x32, 0x20}};
    for (unsigned i = 0; i < ARRAY_SIZE(values); i++)
        set(rtc, values[i][0], values[i][1]);
    set(rtc, 0x0B, 0x02);
    expect_time(rtc, "2038-12-31 23:59:58/7");
    clock_step(&bench.clock, SECOND); // the divider kept its phase
    expect_time(rtc, "2038-12-31 23:59:59/7");
    clock_step(&bench.clock, SECOND);
    expect_time(rtc, "2039-01-01 00:00:00/1"); // the weekday counts on from what was set
    // After a reset of the divider the first update comes half a second later.
    set(rtc, 0x0A, 0x76);
    clock_step(&bench.clock, 10 * SECOND);
    set(rtc, 0x0A, 0x26);
    clock_step(&bench.clock, SECOND / 2 - 1);
    assert_int_equal(get(rtc, 0), 0x00);
    clock_step(&bench.clock, 1);
    assert_int_equal(get(rtc, 0), 0x01);
    set(rtc, 0x40, 0x5A);
    rtc_cmos_set(rtc, 0x34, 0x77);
    device_reset(rtc);
    assert_int_equal(get(rtc, 0x40), 0x5A); // the battery keeps it
    assert_int_equal(get(rtc, 0x34), 0x77);
    assert_int_equal(get(rtc, 0), 0x01);
    device_free(rtc);
}

static void test_update_cycle(void **unused)
{
    struct chip_bench bench;
    struct probe irq;
    struct rtc *rtc = rtc_new(&bench, &irq, 0);
    clock_step(&bench.clock, SECOND - 2228001);
    assert_int_equal(get(rtc, 0x0A), 0x26);
    clock_step(&bench.clock, 1);
    assert_int_equal(get(rtc, 0x0A), 0xA6);
    assert_int_equal(get(rtc, 0x0C), 0x40); // periodic flag without its enable
    clock_step(&bench.clock, 2227999);
    assert_int_equal(get(rtc, 0x0A), 0xA6);
    assert_int_equal(get(rtc, 0), 0x00);
    clock_step(&bench.clock, 1);
    assert_int_equal(get(rtc, 0x0A), 0x26);
    assert_int_equal(get(rtc, 0), 0x01);
    assert_int_equal(get(rtc, 0x0C) & 0x90, 0x10);
    assert_int_equal(irq.rises, 0);
    device_free(rtc);
}

static void test_interrupts(void **unused)
{
    struct chip_bench bench;
    struct probe irq;
    struct rtc *rtc = rtc_new(&bench, &irq, 0);
    set(rtc, 0x0B, 0x12); // update
    clock_step(&bench.clock, SECOND - 1);
    assert_false(irq.level);
    clock_step(&bench.clock, 1);
    assert_true(irq.level);
    assert_int_equal(irq.rise_at, SECOND);
    assert_int_equal(get(rtc, 0x0C) & 0x90, 0x90);
    assert_false(irq.level);
    set(rtc, 0x0B, 0x42); // periodic at 1024 Hz
    get(rtc, 0x0C);
    irq.rises = 0;
    for (unsigned i = 0; i < 1024; i++) {
        clock_step(&bench.clock, clock_next_deadline(&bench.clock) - clock_now(&bench.clock));
        assert_true(irq.level);
        assert_int_equal(get(rtc, 0x0C) & 0xC0, 0xC0);
    }
    assert_int_equal(irq.rises, 1024);
    assert_int_equal(clock_now(&bench.clock), 2 * SECOND);
    set(rtc, 0x01, 0x30); // alarm at any hour and minute, second 30
    set(rtc, 0x03, 0xFF);
    set(rtc, 0x05, 0xC0);
    set(rtc, 0x0B, 0x22);
    get(rtc, 0x0C);
    clock_step(&bench.clock, 100 * SECOND);
    assert_int_equal(irq.rise_at, 30 * SECOND);
    assert_int_equal(get(rtc, 0x0C) & 0xA0, 0xA0);
    set(rtc, 0x03, 0x15);
    set(rtc, 0x05, 0x07);
    clock_step(&bench.clock, 86400 * SECOND);
    assert_int_equal(irq.rise_at, (7 * 3600 + 15 * 60 + 30) * SECOND);
    get(rtc, 0x0C);
    set(rtc, 0x05, 0x77); // an hour that never comes
    assert_int_equal(clock_next_deadline(&bench.clock), CLOCK_NEVER);
    device_free(rtc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calendar),     cmocka_unit_test(test_formats),    cmocka_unit_test(test_set),
        cmocka_unit_test(test_update_cycle), cmocka_unit_test(test_interrupts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
