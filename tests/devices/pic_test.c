// The pair of 8259A: initialization, priorities, modes, spurious requests, polling, ELCR.
#include "tests/devices/support_bench.h"

#include "devices/pic.h"

static struct pic_pair *pic_new(struct chip_bench *bench, struct probe *probe, uint8_t icw4)
{
    struct pic_pair *pic = chip_new(bench, &pic_class);
    *probe = probe_on(bench);
    wire_connect(&pic->intr, probe_set, probe, 0);
    device_reset(pic);
    for (unsigned i = 0; i < 2; i++) {
        chip_write(pic, i, 0, 0x11);
        chip_write(pic, i, 1, i ? 0x28 : 0x20);
        chip_write(pic, i, 1, i ? 0x02 : 0x04);
        chip_write(pic, i, 1, icw4);
    }
    return pic;
}

static uint8_t in_service(struct pic_pair *pic, unsigned chip)
{
    chip_write(pic, chip, 0, 0x0B);
    return chip_read(pic, chip, 0);
}

static uint8_t requests(struct pic_pair *pic, unsigned chip)
{
    chip_write(pic, chip, 0, 0x0A);
    return chip_read(pic, chip, 0);
}

static void test_priorities(void **unused)
{
    struct chip_bench bench;
    struct probe intr;
    struct pic_pair *pic = pic_new(&bench, &intr, 0x01);
    pic_set_irq(pic, 4, true);
    assert_true(intr.level);
    assert_int_equal(pic_acknowledge(pic), 0x24);
    assert_false(intr.level);
    assert_int_equal(in_service(pic, 0), 0x10);
    pic_set_irq(pic, 5, true); // lower: waits
    assert_false(intr.level);
    pic_set_irq(pic, 1, true); // higher: interrupts the handler
    assert_int_equal(pic_acknowledge(pic), 0x21);
    chip_write(pic, 0, 0, 0x20);
    assert_int_equal(in_service(pic, 0), 0x10); // the highest ended
    chip_write(pic, 0, 0, 0x64);                // specific end
    assert_true(intr.level);
    assert_int_equal(pic_acknowledge(pic), 0x25);
    chip_write(pic, 0, 0, 0x20);
    // An edge asks once: the line must fall and rise again.
    assert_false(intr.level);
    pic_set_irq(pic, 5, false);
    pic_set_irq(pic, 5, true);
    assert_true(intr.level);
    chip_write(pic, 0, 1, 0x20); // masked
    assert_false(intr.level);
    assert_int_equal(requests(pic, 0), 0x20);
    assert_int_equal(chip_read(pic, 0, 1), 0x20);
    device_free(pic);
}

static void test_cascade(void **unused)
{
    struct chip_bench bench;
    struct probe intr;
    struct pic_pair *pic = pic_new(&bench, &intr, 0x01);
    pic_set_irq(pic, 12, true);
    pic_set_irq(pic, 8, true);
    assert_int_equal(pic_acknowledge(pic), 0x28);
    assert_int_equal(in_service(pic, 0), 0x04);
    assert_int_equal(in_service(pic, 1), 0x01);
    chip_write(pic, 1, 0, 0x20);
    assert_false(intr.level); // the master still has its input 2 in service
    chip_write(pic, 0, 0, 0x20);
    assert_true(intr.level);
    assert_int_equal(pic_acknowledge(pic), 0x2C);
    device_free(pic);
}

static void test_spurious(void **unused)
{
    struct chip_bench bench;
    struct probe intr;
    struct pic_pair *pic = pic_new(&bench, &intr, 0x01);
    pic_set_irq(pic, 3, true);
    pic_set_irq(pic, 3, false); // gone before INTA
    assert_false(intr.level);
    assert_int_equal(pic_acknowledge(pic), 0x27);
    assert_int_equal(in_service(pic, 0), 0);
    device_free(pic);
}

static void test_level_triggered(void **unused)
{
    struct chip_bench bench;
    struct probe intr;
    struct pic_pair *pic = pic_new(&bench, &intr, 0x01);
    chip_write(pic, 2, 0, 0xFF);
    chip_write(pic, 2, 1, 0xFF);
    assert_int_equal(chip_read(pic, 2, 0), 0xF8); // timer, keyboard and cascade stay edges
    assert_int_equal(chip_read(pic, 2, 1), 0xDE); // clock and coprocessor, too
    pic_set_irq(pic, 11, true);
    assert_int_equal(pic_acknowledge(pic), 0x2B);
    chip_write(pic, 1, 0, 0x20);
    chip_write(pic, 0, 0, 0x20);
    assert_true(intr.level); // still asked for
    pic_set_irq(pic, 11, false);
    assert_false(intr.level);
    device_free(pic);
}

static void test_rotation_and_automatic_end(void **unused)
{
    struct chip_bench bench;
    struct probe intr;
    struct pic_pair *pic = pic_new(&bench, &intr, 0x01);
    chip_write(pic, 0, 0, 0xC3); // 3 is lowest, so 4 is highest
    pic_set_irq(pic, 0, true);
    pic_set_irq(pic, 4, true);
    assert_int_equal(pic_acknowledge(pic), 0x24);
    chip_write(pic, 0, 0, 0xA0); // end and rotate: 4 is lowest
    assert_int_equal(pic_acknowledge(pic), 0x20);
    chip_write(pic, 0, 0, 0xE0);
    device_free(pic);

    pic = pic_new(&bench, &intr, 0x03); // automatic end
    pic_set_irq(pic, 6, true);
    assert_int_equal(pic_acknowledge(pic), 0x26);
    assert_int_equal(in_service(pic, 0), 0);
    chip_write(pic, 0, 0, 0x80); // and rotation with it
    pic_set_irq(pic, 0, true);
    assert_int_equal(pic_acknowledge(pic), 0x20);
    pic_set_irq(pic, 0, false);
    pic_set_irq(pic, 0, true);
    pic_set_irq(pic, 1, true);
    assert_int_equal(pic_acknowledge(pic), 0x21); // 0 became the lowest
    device_free(pic);
}

static void test_special_modes(void **unused)
{
    struct chip_bench bench;
    struct probe intr;
    struct pic_pair *pic = pic_new(&bench, &intr, 0x01);
    pic_set_irq(pic, 1, true);
    pic_acknowledge(pic);
    pic_set_irq(pic, 6, true);
    assert_false(intr.level);
    chip_write(pic, 0, 1, 0x02); // mask what is in service,
    chip_write(pic, 0, 0, 0x68); // and in special mask mode lower ones pass
    assert_true(intr.level);
    assert_int_equal(pic_acknowledge(pic), 0x26);
    chip_write(pic, 0, 0, 0x20);
    assert_int_equal(in_service(pic, 0), 0x02); // a plain end leaves the masked one
    device_free(pic);

    pic = pic_new(&bench, &intr, 0x11); // special fully nested: the slave may ask again
    pic_set_irq(pic, 12, true);
    assert_int_equal(pic_acknowledge(pic), 0x2C);
    pic_set_irq(pic, 8, true);
    assert_true(intr.level);
    assert_int_equal(pic_acknowledge(pic), 0x28);
    device_free(pic);
}

static void test_poll(void **unused)
{
    struct chip_bench bench;
    struct probe intr;
    struct pic_pair *pic = pic_new(&bench, &intr, 0x01);
    chip_write(pic, 0, 0, 0x0C);
    assert_int_equal(chip_read(pic, 0, 0) & 0x80, 0);
    pic_set_irq(pic, 3, true);
    chip_write(pic, 0, 0, 0x0C);
    assert_int_equal(chip_read(pic, 0, 0), 0x83);
    assert_int_equal(in_service(pic, 0), 0x08);
    assert_false(intr.level);
    device_free(pic);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_cascade),
        cmocka_unit_test(test_spurious),
        cmocka_unit_test(test_level_triggered),
        cmocka_unit_test(test_rotation_and_automatic_end),
        cmocka_unit_test(test_special_modes),
        cmocka_unit_test(test_poll),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
