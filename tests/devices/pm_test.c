// ACPI fixed hardware: PM timer, events and SCI, soft off, the command port.
#include "devices/support_board.h"

#include "devices/piix4_pm.h"

static void setup(struct board *b)
{
    board_setup(b, 8u << 20, NULL, 0);
    pci_write32(b, 1, 3, 0x40, 0x601);
    pci_write8(b, 1, 3, 0x80, 1);
    // SCI alone through the 8259s: vector 0x29.
    out8(b, 0x20, 0x11), out8(b, 0x21, 0x20), out8(b, 0x21, 0x04), out8(b, 0x21, 0x01), out8(b, 0x21, 0xFB);
    out8(b, 0xA0, 0x11), out8(b, 0xA1, 0x28), out8(b, 0xA1, 0x02), out8(b, 0xA1, 0x01), out8(b, 0xA1, 0xFD);
    out8(b, 0x4D1, 0x02);
}

static uint16_t in16(struct board *b, uint16_t port)
{
    return (uint16_t)address_space_read(&b->ports, port, 2);
}

static void test_base_moves(void **state)
{
    struct board b;
    board_setup(&b, 8u << 20, NULL, 0);
    assert_int_equal(in32(&b, 0x608), 0xFFFFFFFF);
    pci_write32(&b, 1, 3, 0x40, 0xFFFFFFFF);
    assert_int_equal(pci_read(&b, 1, 3, 0x40), 0xFFC1);
    pci_write32(&b, 1, 3, 0x40, 0xB000);
    pci_write8(&b, 1, 3, 0x80, 1);
    assert_int_equal(in32(&b, 0xB008), 0);
    assert_int_equal(in32(&b, 0x608), 0xFFFFFFFF);
    pc_reset(b.pc);
    assert_int_equal(in32(&b, 0xB008), 0xFFFFFFFF);
    board_teardown(&b);
}

static void test_timer(void **state)
{
    struct board b;
    setup(&b);
    assert_int_equal(in32(&b, 0x608), 0);
    clock_step(&b.clock, 1000000000);
    assert_int_equal(in32(&b, 0x608), 3579545);
    clock_step(&b.clock, 1343000000); // 8386873 ticks in all: bit 23 is about to change
    assert_int_equal(in16(&b, 0x600) & PM1_TIMER, 0);
    clock_step(&b.clock, 1000000);
    assert_int_equal(in16(&b, 0x600) & PM1_TIMER, PM1_TIMER);
    out16(&b, 0x600, PM1_TIMER);
    assert_int_equal(in16(&b, 0x600) & PM1_TIMER, 0);
    clock_step(&b.clock, 2343500000u); // turned over
    assert_true(in32(&b, 0x608) < 1u << 23);
    assert_int_equal(in16(&b, 0x600) & PM1_TIMER, PM1_TIMER);
    assert_int_equal(in8(&b, 0x609), in32(&b, 0x608) >> 8 & 0xFF);
    out16(&b, 0x600, PM1_TIMER);
    // As an interrupt.
    out8(&b, 0xB2, ACPI_ENABLE);
    assert_int_equal(in16(&b, 0x604), 1);
    out16(&b, 0x602, PM1_TIMER);
    clock_step(&b.clock, 2342000000);
    assert_false(b.intr);
    clock_step(&b.clock, 4000000);
    assert_true(b.intr);
    assert_int_equal(pc_interrupt_acknowledge(b.pc), 0x29);
    board_teardown(&b);
}

static void test_events(void **state)
{
    struct board b;
    setup(&b);
    pc_power_button(b.pc);
    assert_int_equal(in16(&b, 0x600), PM1_POWER_BUTTON);
    out8(&b, 0x603, 0x01); // enable by its byte
    assert_int_equal(in16(&b, 0x602), PM1_POWER_BUTTON);
    assert_false(b.intr); // ACPI is not enabled
    out8(&b, 0xB2, ACPI_ENABLE);
    assert_true(b.intr);
    assert_int_equal(in8(&b, 0xB2), ACPI_ENABLE);
    out8(&b, 0x600, 0xFF); // the low byte does not clear the high one
    assert_true(b.intr);
    out8(&b, 0x601, 0x01);
    assert_false(b.intr);
    out8(&b, 0xB2, ACPI_DISABLE);
    assert_int_equal(in16(&b, 0x604), 0);
    out16(&b, 0x602, 0xFFFF); // bits that do not exist
    assert_int_equal(in16(&b, 0x602), 0x0721);
    out16(&b, PIIX4_GPE_PORT + 2, 0xFFFF);
    assert_int_equal(in32(&b, PIIX4_GPE_PORT), 0xFFFF0000);
    assert_int_equal(pc_interrupt_acknowledge(b.pc), -1);
    board_teardown(&b);
}

static void test_sleep(void **state)
{
    struct board b;
    setup(&b);
    out16(&b, 0x604, 0x0401 | PM1_SLEEP_ENABLE); // S3 is not there
    assert_int_equal(b.power_offs, 0);
    assert_int_equal(in16(&b, 0x604), 0x0401); // SLP_EN reads as 0
    out32(&b, 0x604, PM1_SLEEP_ENABLE);
    assert_int_equal(b.power_offs, 1);
    board_teardown(&b);
}

static void test_smbus_answers(void **state)
{
    struct board b;
    setup(&b);
    pci_write32(&b, 1, 3, 0x90, 0x701);
    pci_write8(&b, 1, 3, 0xD2, 0x09);
    assert_int_equal(in8(&b, 0x700), 0);
    out8(&b, 0x702, 0x48); // start: nobody answers, but it ends
    assert_int_equal(in8(&b, 0x700), 0x04);
    out8(&b, 0x700, 0xFF);
    assert_int_equal(in8(&b, 0x700), 0);
    board_teardown(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_base_moves), cmocka_unit_test(test_timer),
                                       cmocka_unit_test(test_events), cmocka_unit_test(test_sleep),
                                       cmocka_unit_test(test_smbus_answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
