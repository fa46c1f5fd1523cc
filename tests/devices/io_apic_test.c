// The I/O APIC by itself, with a recording bus.
#include "devices/support_board.h"

#include "devices/io_apic.h"

struct fixture {
    struct board board;
    struct io_apic *apic;
    struct apic_message last;
    unsigned sent;
    bool taken;
};

static bool record(void *opaque, const struct apic_message *message)
{
    struct fixture *f = opaque;
    f->last = *message;
    f->sent++;
    return f->taken;
}

static void setup(struct fixture *f)
{
    struct error error = {{0}};
    memset(f, 0, sizeof *f);
    board_setup_bare(&f->board, 1 << 20);
    f->apic = device_new(&io_apic_class, "ioapic", &f->board.context, &error);
    assert_non_null(f->apic);
    f->apic->send = record;
    f->apic->opaque = f;
    f->taken = true;
    assert_true(device_init(f->apic, &error));
    device_reset(f->apic);
}

static void teardown(struct fixture *f)
{
    device_free(f->apic);
    board_teardown(&f->board);
}

static void put(struct fixture *f, uint8_t index, uint32_t value)
{
    const struct region_ops *ops = &io_apic_class.regions[0];
    ops->write(f->apic, 0, index, 4);
    ops->write(f->apic, 0x10, value, 4);
}

static uint32_t get(struct fixture *f, uint8_t index)
{
    const struct region_ops *ops = &io_apic_class.regions[0];
    ops->write(f->apic, 0, index, 4);
    return (uint32_t)ops->read(f->apic, 0x10, 4);
}

static void test_registers(void **state)
{
    struct fixture f;
    setup(&f);
    assert_int_equal(get(&f, 1), 0x00170020);
    put(&f, 0, 0xFFFFFFFF);
    assert_int_equal(get(&f, 0), 0x0F000000);
    for (unsigned i = 0; i < 24; i++)
        assert_int_equal(get(&f, (uint8_t)(0x10 + 2 * i)), 0x10000);
    put(&f, 0x12, 0xFFFFFFFF);
    put(&f, 0x13, 0xFFFFFFFF);
    assert_int_equal(get(&f, 0x12), 0x1AFFF); // status bits are read-only
    assert_int_equal(get(&f, 0x13), 0xFF000000);
    put(&f, 0x40, 0xFFFFFFFF); // no such entry
    assert_int_equal(get(&f, 0x40), 0);
    assert_int_equal(get(&f, 0xFF), 0);
    teardown(&f);
}

static void test_edge(void **state)
{
    struct fixture f;
    setup(&f);
    io_apic_set_line(f.apic, 4, true); // masked: lost
    put(&f, 0x18, 0x0844);
    put(&f, 0x19, 0x03000000);
    assert_int_equal(f.sent, 0);
    io_apic_set_line(f.apic, 4, true); // no edge
    assert_int_equal(f.sent, 0);
    io_apic_set_line(f.apic, 4, false);
    io_apic_set_line(f.apic, 4, true);
    assert_int_equal(f.sent, 1);
    assert_int_equal(f.last.vector, 0x44);
    assert_int_equal(f.last.destination, 3);
    assert_true(f.last.logical);
    assert_false(f.last.level);
    assert_int_equal(get(&f, 0x18), 0x0844);
    io_apic_set_line(f.apic, 24, true); // no such input
    assert_int_equal(f.sent, 1);
    teardown(&f);
}

static void test_level(void **state)
{
    struct fixture f;
    setup(&f);
    put(&f, 0x24, 0x8055);
    io_apic_set_line(f.apic, 10, true);
    assert_int_equal(f.sent, 1);
    assert_int_equal(get(&f, 0x24), 0xC055);
    io_apic_set_line(f.apic, 10, false);
    io_apic_set_line(f.apic, 10, true); // in service: waits
    assert_int_equal(f.sent, 1);
    io_apic_end_of_interrupt(f.apic, 0x54); // another's
    assert_int_equal(f.sent, 1);
    io_apic_end_of_interrupt(f.apic, 0x55);
    assert_int_equal(f.sent, 2);
    io_apic_set_line(f.apic, 10, false);
    io_apic_class.regions[0].write(f.apic, 0x40, 0x55, 4); // the EOI register
    assert_int_equal(f.sent, 2);
    assert_int_equal(get(&f, 0x24), 0x8055);
    // Masked while asserted, then unmasked: it is still there.
    put(&f, 0x24, 0x18055);
    io_apic_set_line(f.apic, 10, true);
    assert_int_equal(f.sent, 2);
    put(&f, 0x24, 0x8055);
    assert_int_equal(f.sent, 3);
    // Nobody took it: it does not count as in service. Edge mode forgets remote IRR.
    put(&f, 0x24, 0x0055);
    assert_int_equal(get(&f, 0x24), 0x0055);
    f.taken = false;
    put(&f, 0x24, 0x8055);
    assert_int_equal(f.sent, 4);
    assert_int_equal(get(&f, 0x24), 0x8055);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_registers), cmocka_unit_test(test_edge),
                                       cmocka_unit_test(test_level)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
