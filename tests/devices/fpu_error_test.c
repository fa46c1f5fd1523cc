// The x87 error latch by itself, and on the board: FERR to IRQ 13, port 0xF0 to IGNNE.
#include "devices/fpu_error.h"
#include "devices/support_board.h"

static void latch(void **state)
{
    struct board b;
    struct error error = {0};
    struct probe irq = {0}, ignne = {0};
    board_setup_bare(&b, 1 << 20);
    struct fpu_error *latch = (struct fpu_error *)device_new(&fpu_error_class, "latch", &b.context, &error);
    assert_non_null(latch);
    assert_true(device_init(latch, &error));
    probe_connect(&latch->irq_out, &irq);
    probe_connect(&latch->ignne_out, &ignne);
    const struct region_ops *ops = &fpu_error_class.regions[0];

    ops->write(latch, 0, 0, 1); // no error: nothing to ignore
    assert_false(irq.level);
    assert_false(ignne.level);
    fpu_error_set_ferr(latch, 0, true);
    assert_true(irq.level);
    assert_false(ignne.level);
    ops->write(latch, 1, 0, 1); // the 80287's reset
    assert_true(irq.level);
    ops->write(latch, 0, 0, 1);
    assert_false(irq.level);
    assert_true(ignne.level);
    fpu_error_set_ferr(latch, 0, true); // no edge: no new interrupt
    assert_false(irq.level);
    fpu_error_set_ferr(latch, 0, false);
    assert_false(ignne.level);

    // The error goes before the interrupt is answered: the latch keeps it.
    fpu_error_set_ferr(latch, 0, true);
    fpu_error_set_ferr(latch, 0, false);
    assert_true(irq.level);
    ops->write(latch, 0, 0xff, 1);
    assert_false(irq.level);
    assert_false(ignne.level);
    assert_int_equal(irq.edges, 2);

    fpu_error_set_ferr(latch, 0, true);
    ops->write(latch, 0, 0, 1);
    device_reset((struct device *)latch);
    assert_false(irq.level);
    assert_false(ignne.level);
    device_free((struct device *)latch);
    board_teardown(&b);
}

static void board_raises_irq_13(void **state)
{
    struct board b;
    board_setup(&b, 8u << 20, NULL, 0);
    out8(&b, 0x20, 0x11), out8(&b, 0x21, 0x20), out8(&b, 0x21, 0x04), out8(&b, 0x21, 0x01), out8(&b, 0x21, 0xFB);
    out8(&b, 0xA0, 0x11), out8(&b, 0xA1, 0x28), out8(&b, 0xA1, 0x02), out8(&b, 0xA1, 0x01), out8(&b, 0xA1, 0xDF);
    pc_set_ferr(b.pc, true);
    assert_true(b.intr);
    assert_int_equal(pc_interrupt_acknowledge(b.pc), 0x2D);
    out8(&b, 0xF0, 0);
    pc_set_ferr(b.pc, false);
    out8(&b, 0xA0, 0x20), out8(&b, 0x20, 0x20);
    assert_false(b.intr);
    pc_set_ferr(b.pc, true);
    assert_int_equal(pc_interrupt_acknowledge(b.pc), 0x2D);
    board_teardown(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latch),
        cmocka_unit_test(board_raises_irq_13),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
