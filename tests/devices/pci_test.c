// PCI configuration mechanism 1, BARs and interrupt routing.
#include "devices/support_board.h"

#include "devices/pci.h"
#include "devices/piix3.h"

/// A function of our own on a bus of its own.
struct toy {
    struct board board;
    struct pci_bus *bus;
    struct pci_function function;
    struct probe pirq[4];
    uint32_t registers;
    unsigned notified;
};

static uint64_t toy_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0xABCD0000u + offset;
}

static void toy_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    ((struct toy *)opaque)->registers = (uint32_t)value;
}

static void toy_config_written(void *opaque, unsigned offset, unsigned size)
{
    ((struct toy *)opaque)->notified++;
}

static const struct region_ops toy_ops = {.read = toy_read, .write = toy_write, .max_size = 4, .name = "toy"};

static void setup(struct toy *t)
{
    struct error error = {{0}};
    memset(t, 0, sizeof *t);
    board_setup_bare(&t->board, 1 << 20);
    t->bus = device_new(&pci_bus_class, "pci", &t->board.context, &error);
    assert_non_null(t->bus);
    for (unsigned i = 0; i < 4; i++)
        probe_connect(&t->bus->pirq[i], &t->pirq[i]);
    address_space_map_device(&t->board.ports, "pci", 0xCF8, 8, 0, &pci_bus_class.regions[0], t->bus, &error);
    device_reset(t->bus);
    pci_function_init(&t->function, 0x1234, 0x5678, 0x0200, 7);
    t->function.initial[PCI_INTERRUPT_PIN] = 1;
    t->function.config_written = toy_config_written;
    t->function.opaque = t;
    assert_true(pci_bus_add(t->bus, &t->function, 3, 0, &error));
    assert_false(pci_bus_add(t->bus, &t->function, 3, 0, &error));
    assert_false(pci_bus_add(t->bus, &t->function, 32, 0, &error));
    assert_true(pci_function_add_bar(&t->function, 0, 0x20, true, &toy_ops, t, &error));
    assert_true(pci_function_add_bar(&t->function, 1, 0x1000, false, &toy_ops, t, &error));
    assert_false(pci_function_add_bar(&t->function, 2, 0x30, true, &toy_ops, t, &error));
    pci_function_reset(&t->function);
}

static void teardown(struct toy *t)
{
    device_free(t->bus);
    board_teardown(&t->board);
}

static void test_mechanism(void **state)
{
    struct toy t;
    setup(&t);
    struct board *b = &t.board;
    assert_int_equal(pci_read(b, 3, 0, 0), 0x56781234);
    assert_int_equal(pci_read(b, 4, 0, 0), 0xFFFFFFFF);
    assert_int_equal(pci_read(b, 3, 1, 0), 0xFFFFFFFF);
    assert_int_equal(in32(b, 0xCF8), 0x80001900);
    out32(b, 0xCF8, 0x00001800); // not enabled
    assert_int_equal(in32(b, 0xCFC), 0xFFFFFFFF);
    out32(b, 0xCF8, 0x80011800); // bus 1
    assert_int_equal(in32(b, 0xCFC), 0xFFFFFFFF);
    out32(b, 0xCF8, 0x80001808);
    out8(b, 0xCF8, 0x55); // only dwords reach the address register
    assert_int_equal(in32(b, 0xCF8), 0x80001808);
    assert_int_equal(in8(b, 0xCFC), 7);
    assert_int_equal(in8(b, 0xCFF), 2);
    assert_int_equal(address_space_read(&b->ports, 0xCFE, 2), 0x0200);
    pci_write32(b, 3, 0, 0, 0); // identity is read-only
    assert_int_equal(pci_read(b, 3, 0, 0), 0x56781234);
    pci_write8(b, 3, 0, 0x3C, 0x0B);
    assert_int_equal(pci_read(b, 3, 0, 0x3C), 0x010B);
    assert_true(t.notified > 0);
    teardown(&t);
}

static void test_bars(void **state)
{
    struct toy t;
    setup(&t);
    struct board *b = &t.board;
    pci_write32(b, 3, 0, 0x10, 0xFFFFFFFF);
    pci_write32(b, 3, 0, 0x14, 0xFFFFFFFF);
    assert_int_equal(pci_read(b, 3, 0, 0x10), 0xFFFFFFE1);
    assert_int_equal(pci_read(b, 3, 0, 0x14), 0xFFFFF000);
    pci_write32(b, 3, 0, 0x18, 0xFFFFFFFF);
    assert_int_equal(pci_read(b, 3, 0, 0x18), 0); // absent
    pci_write8(b, 3, 0, 4, 3);                    // sizes still in the BARs: nowhere to map
    pci_write32(b, 3, 0, 0x10, 0xC000);
    pci_write32(b, 3, 0, 0x14, 0xE0000000);
    assert_int_equal(in32(b, 0xC004), 0xABCD0004);
    assert_int_equal(mem32(b, 0xE0000010), 0xABCD0010);
    set_mem32(b, 0xE0000000, 77);
    assert_int_equal(t.registers, 77);
    pci_write32(b, 3, 0, 0x14, 0xE0010000); // moves
    assert_int_equal(mem32(b, 0xE0000010), 0xFFFFFFFF);
    assert_int_equal(mem32(b, 0xE0010010), 0xABCD0010);
    pci_write8(b, 3, 0, 4, 1); // memory off
    assert_int_equal(mem32(b, 0xE0010010), 0xFFFFFFFF);
    assert_int_equal(in32(b, 0xC004), 0xABCD0004);
    pci_function_reset(&t.function);
    assert_int_equal(in32(b, 0xC004), 0xFFFFFFFF);
    teardown(&t);
}

static void test_interrupt_pins(void **state)
{
    struct toy t;
    struct error error = {{0}};
    setup(&t);
    struct pci_function other = {.bus = NULL};
    pci_function_init(&other, 1, 2, 3, 4);
    other.initial[PCI_INTERRUPT_PIN] = other.config[PCI_INTERRUPT_PIN] = 3;
    assert_true(pci_bus_add(t.bus, &other, 5, 0, &error));
    pci_function_set_interrupt(&t.function, true); // slot 3 INTA: PIRQ 2
    assert_true(t.pirq[2].level);
    pci_function_set_interrupt(&other, true); // slot 5 INTC: (4 + 2) & 3 is 2 too
    pci_function_set_interrupt(&t.function, false);
    assert_true(t.pirq[2].level); // shared
    pci_function_set_interrupt(&other, false);
    assert_false(t.pirq[2].level);
    assert_int_equal(t.pirq[0].edges + t.pirq[1].edges + t.pirq[3].edges, 0);
    teardown(&t);
}

static void test_pirq_routing(void **state)
{
    struct board b;
    board_setup(&b, 8u << 20, NULL, 0);
    assert_int_equal(pci_read(&b, 0, 0, 0), 0x12378086);
    assert_int_equal(pci_read(&b, 1, 0, 0), 0x70008086);
    assert_int_equal(pci_read(&b, 1, 3, 0), 0x71138086);
    assert_int_equal(pci_read(&b, 1, 0, 0x0C) >> 16 & 0xFF, 0x80);
    assert_int_equal(pci_read(&b, 1, 0, 0x60), 0x80808080);
    board_teardown(&b);
    board_setup_bare(&b, 1 << 20);
    struct error error = {{0}};
    struct piix3 *piix3 = device_new(&piix3_class, "piix3", &b.context, &error);
    struct pci_bus *bus = device_new(&pci_bus_class, "pci", &b.context, &error);
    struct probe irq[16] = {{0}};
    for (unsigned i = 0; i < 16; i++)
        probe_connect(&piix3->irq[i], &irq[i]);
    assert_true(device_init(piix3, &error));
    assert_true(pci_bus_add(bus, &piix3->pci, 1, 0, &error));
    device_reset(piix3);
    piix3_set_line(piix3, 17, true); // PIRQB, routed nowhere
    pci_config_write(bus, 8, 0x61, 0x0B, 1);
    assert_true(irq[11].level);
    piix3_set_line(piix3, 11, true); // an ISA device on the same line
    piix3_set_line(piix3, 17, false);
    assert_true(irq[11].level);
    piix3_set_line(piix3, 11, false);
    assert_false(irq[11].level);
    piix3_set_line(piix3, 17, true);
    pci_config_write(bus, 8, 0x61, 0x0A, 1); // moves while asserted
    assert_false(irq[11].level);
    assert_true(irq[10].level);
    pci_config_write(bus, 8, 0x61, 0x02, 1); // a reserved target: nowhere
    assert_false(irq[10].level || irq[2].level);
    piix3_set_line(piix3, 99, true);
    device_free(piix3);
    device_free(bus);
    board_teardown(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mechanism), cmocka_unit_test(test_bars),
                                       cmocka_unit_test(test_interrupt_pins), cmocka_unit_test(test_pirq_routing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
