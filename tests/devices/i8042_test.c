// The keyboard controller and what hangs on it.
#include "tests/devices/support_bench.h"

#include "devices/i8042.h"

#define DATA 0
#define COMMAND 1

struct lines {
    struct probe keyboard, mouse, a20, reset;
};

static struct i8042 *i8042_new(struct chip_bench *bench, struct lines *lines)
{
    struct i8042 *controller = chip_new(bench, &i8042_class);
    *lines = (struct lines){probe_on(bench), probe_on(bench), probe_on(bench), probe_on(bench)};
    wire_connect(&controller->keyboard_irq, probe_set, &lines->keyboard, 0);
    wire_connect(&controller->mouse_irq, probe_set, &lines->mouse, 0);
    wire_connect(&controller->a20, probe_set, &lines->a20, 0);
    wire_connect(&controller->reset, probe_set, &lines->reset, 0);
    device_reset(controller);
    return controller;
}

/// Reads the output buffer, which must hold a byte from the mouse or not.
static uint8_t take(struct i8042 *controller, bool mouse)
{
    uint8_t status = chip_read(controller, COMMAND, 0);
    assert_int_equal(status & 0x21, mouse ? 0x21 : 0x01);
    return chip_read(controller, DATA, 0);
}

static void expect_empty(struct i8042 *controller)
{
    assert_int_equal(chip_read(controller, COMMAND, 0) & 1, 0);
}

static void send_mouse(struct i8042 *controller, uint8_t byte)
{
    chip_write(controller, COMMAND, 0, 0xD4);
    chip_write(controller, DATA, 0, byte);
    assert_int_equal(take(controller, true), 0xFA);
}

static void test_controller(void **unused)
{
    struct chip_bench bench;
    struct lines lines;
    struct i8042 *controller = i8042_new(&bench, &lines);
    expect_empty(controller);
    chip_write(controller, COMMAND, 0, 0xAA);
    assert_int_equal(take(controller, false), 0x55);
    assert_int_equal(chip_read(controller, COMMAND, 0) & 0x04, 0x04);
    chip_write(controller, COMMAND, 0, 0xAB);
    assert_int_equal(take(controller, false), 0x00);
    chip_write(controller, COMMAND, 0, 0x60);
    assert_int_equal(chip_read(controller, COMMAND, 0) & 0x08, 0x08);
    chip_write(controller, DATA, 0, 0x65);
    assert_int_equal(chip_read(controller, COMMAND, 0) & 0x08, 0);
    chip_write(controller, COMMAND, 0, 0x20);
    assert_int_equal(take(controller, false), 0x65);
    chip_write(controller, COMMAND, 0, 0xD3); // a byte that seems to come from the mouse, as Linux probes
    chip_write(controller, DATA, 0, 0x5A);
    assert_int_equal(take(controller, true), 0x5A);
    expect_empty(controller);
    device_free(controller);
}

static void test_a20_and_reset(void **unused)
{
    struct chip_bench bench;
    struct lines lines;
    struct i8042 *controller = i8042_new(&bench, &lines);
    assert_true(lines.a20.level);
    chip_write(controller, COMMAND, 0, 0xD1);
    chip_write(controller, DATA, 0, 0xDD);
    assert_false(lines.a20.level);
    chip_write(controller, COMMAND, 0, 0xD0);
    assert_int_equal(take(controller, false) & 0x03, 0x01);
    chip_write(controller, COMMAND, 0, 0xDF);
    assert_true(lines.a20.level);
    assert_int_equal(lines.reset.rises, 0);
    chip_write(controller, COMMAND, 0, 0xFE);
    assert_int_equal(lines.reset.rises, 1);
    chip_write(controller, COMMAND, 0, 0xFF); // pulses nothing
    assert_int_equal(lines.reset.rises, 1);
    chip_write(controller, COMMAND, 0, 0xD1);
    chip_write(controller, DATA, 0, 0x02);
    assert_int_equal(lines.reset.rises, 2);
    device_free(controller);
}

static void test_keyboard(void **unused)
{
    struct chip_bench bench;
    struct lines lines;
    struct i8042 *controller = i8042_new(&bench, &lines);
    chip_write(controller, DATA, 0, 0xFF);
    assert_true(lines.keyboard.level);
    assert_int_equal(take(controller, false), 0xFA);
    assert_true(lines.keyboard.level);
    assert_int_equal(lines.keyboard.rises, 2); // an edge a byte
    assert_int_equal(take(controller, false), 0xAA);
    assert_false(lines.keyboard.level);
    chip_write(controller, DATA, 0, 0xF2);
    assert_int_equal(take(controller, false), 0xFA);
    assert_int_equal(take(controller, false), 0xAB);
    assert_int_equal(take(controller, false), 0x83);
    static const uint8_t pairs[][2] = {{0xED, 0x07}, {0xF3, 0x00}, {0xF0, 0x02}};
    for (unsigned i = 0; i < ARRAY_SIZE(pairs); i++) {
        chip_write(controller, DATA, 0, pairs[i][0]);
        assert_int_equal(take(controller, false), 0xFA);
        chip_write(controller, DATA, 0, pairs[i][1]);
        assert_int_equal(take(controller, false), 0xFA);
    }
    chip_write(controller, DATA, 0, 0xF0);
    assert_int_equal(take(controller, false), 0xFA);
    chip_write(controller, DATA, 0, 0x00);
    assert_int_equal(take(controller, false), 0xFA);
    assert_int_equal(take(controller, false), 0x02);
    chip_write(controller, DATA, 0, 0x12); // no command
    assert_int_equal(take(controller, false), 0xFE);
    expect_empty(controller);
    device_free(controller);
}

static void test_keys(void **unused)
{
    struct chip_bench bench;
    struct lines lines;
    struct i8042 *controller = i8042_new(&bench, &lines);
    i8042_key(controller, 0x1E, true); // A, untranslated: set 2
    i8042_key(controller, 0x1E, false);
    assert_int_equal(take(controller, false), 0x1C);
    assert_int_equal(take(controller, false), 0xF0);
    assert_int_equal(take(controller, false), 0x1C);
    i8042_firmware_ready(controller);
    // Every key comes out as the set 1 code that went in.
    for (unsigned key = 1; key < 0x59; key++) {
        if (key == 0x54 || key == 0x55)
            continue; // SysRq has a code of its own; 0x55 is no key
        i8042_key(controller, (uint8_t)key, true);
        assert_int_equal(take(controller, false), key);
        i8042_key(controller, (uint8_t)key, false);
        assert_int_equal(take(controller, false), key | 0x80);
    }
    i8042_key(controller, 0xC8, true); // cursor up: E0 48
    assert_int_equal(take(controller, false), 0xE0);
    assert_int_equal(take(controller, false), 0x48);
    i8042_key(controller, 0xC8, false);
    assert_int_equal(take(controller, false), 0xE0);
    assert_int_equal(take(controller, false), 0xC8);
    chip_write(controller, COMMAND, 0, 0xAD); // interface off: the byte waits
    i8042_key(controller, 0x01, true);
    expect_empty(controller);
    chip_write(controller, COMMAND, 0, 0xAE);
    assert_int_equal(take(controller, false), 0x01);
    for (unsigned i = 0; i < 1000; i++)
        i8042_key(controller, 0x01, i & 1);
    device_free(controller);
}

static void test_mouse(void **unused)
{
    struct chip_bench bench;
    struct lines lines;
    struct i8042 *controller = i8042_new(&bench, &lines);
    send_mouse(controller, 0xFF);
    assert_int_equal(take(controller, true), 0xAA);
    assert_int_equal(take(controller, true), 0x00);
    static const uint8_t knock[] = {200, 100, 80};
    for (unsigned i = 0; i < 3; i++) {
        send_mouse(controller, 0xF3);
        send_mouse(controller, knock[i]);
    }
    send_mouse(controller, 0xF2);
    assert_int_equal(take(controller, true), 3);
    i8042_mouse_move(controller, 5, 5, 0, 0);
    expect_empty(controller); // not reporting
    send_mouse(controller, 0xF6);
    send_mouse(controller, 0xF4);
    lines.mouse.rises = 0;
    i8042_mouse_move(controller, 3, -2, 1, 1);
    assert_int_equal(take(controller, true), 0x09);
    assert_int_equal(take(controller, true), 3);
    assert_int_equal(take(controller, true), 2);
    assert_int_equal(take(controller, true), 1);
    assert_int_equal(lines.mouse.rises, 4);
    i8042_mouse_move(controller, -300, 0, 0, 0); // more than one packet holds
    assert_int_equal(take(controller, true), 0x18);
    assert_int_equal(take(controller, true), 0x01);
    take(controller, true);
    take(controller, true);
    assert_int_equal(take(controller, true), 0x18);
    assert_int_equal(take(controller, true), (uint8_t)-45);
    take(controller, true);
    take(controller, true);
    expect_empty(controller);
    device_free(controller);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_controller), cmocka_unit_test(test_a20_and_reset), cmocka_unit_test(test_keyboard),
        cmocka_unit_test(test_keys),       cmocka_unit_test(test_mouse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
