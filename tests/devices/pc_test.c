// The board as a whole: memory map, interrupt paths, power and reset, fuzz, save and restore.
#include "devices/support_board.h"

#include "devices/local_apic.h"

#define APIC 0xFEE00000u
#define IOAPIC 0xFEC00000u

static void io_apic_set(struct board *b, unsigned index, uint32_t value)
{
    set_mem32(b, IOAPIC, index);
    set_mem32(b, IOAPIC + 0x10, value);
}

static uint32_t io_apic_get(struct board *b, unsigned index)
{
    set_mem32(b, IOAPIC, index);
    return mem32(b, IOAPIC + 0x10);
}

/// Initializes the 8259s with vectors 0x20.. and 0x28.. and these masks.
static void pic_setup(struct board *b, uint8_t master, uint8_t slave)
{
    out8(b, 0x20, 0x11), out8(b, 0x21, 0x20), out8(b, 0x21, 0x04), out8(b, 0x21, 0x01), out8(b, 0x21, master);
    out8(b, 0xA0, 0x11), out8(b, 0xA1, 0x28), out8(b, 0xA1, 0x02), out8(b, 0xA1, 0x01), out8(b, 0xA1, slave);
}

static void pit_periodic(struct board *b)
{
    out8(b, 0x43, 0x34), out8(b, 0x40, 0xA9), out8(b, 0x40, 0x04); // 1193: about a millisecond
}

static void test_irq_through_pic(void **state)
{
    struct board b;
    board_setup(&b, 8u << 20, NULL, 0);
    pit_periodic(&b); // its output rises with the mode: an edge that ICW1 forgets
    pic_setup(&b, 0xFE, 0xFF);
    assert_false(b.intr);
    assert_int_equal(pc_interrupt_acknowledge(b.pc), -1);
    clock_step(&b.clock, 1100000);
    assert_true(b.intr);
    assert_true(pc_interrupt_pending(b.pc));
    assert_int_equal(pc_interrupt_acknowledge(b.pc), 0x20);
    assert_false(b.intr);
    out8(&b, 0x20, 0x20);
    clock_step(&b.clock, 1100000);
    assert_int_equal(pc_interrupt_acknowledge(b.pc), 0x20);
    out8(&b, 0x20, 0x20);
    // LINT0 masked: the 8259 stays outside. The APIC switched off: straight to the pin.
    set_mem32(&b, APIC + 0xF0, 0x1FF);
    set_mem32(&b, APIC + 0x350, 0x10700);
    clock_step(&b.clock, 1100000);
    assert_false(b.intr);
    assert_int_equal(pc_interrupt_acknowledge(b.pc), -1);
    assert_true(pc_apic_base_write(b.pc, pc_apic_base_read(b.pc) & ~(uint64_t)APIC_BASE_ENABLE));
    assert_true(b.intr);
    assert_int_equal(pc_interrupt_acknowledge(b.pc), 0x20);
    board_teardown(&b);
}

static void test_irq_through_io_apic(void **state)
{
    struct board b;
    board_setup(&b, 8u << 20, NULL, 0);
    set_mem32(&b, APIC + 0xF0, 0x1FF);
    set_mem32(&b, APIC + 0x350, 0x10000);
    io_apic_set(&b, 0x10 + 2 * 2, 0x31); // input 2, edge, vector 0x31
    pit_periodic(&b);
    clock_step(&b.clock, 2200000);
    assert_true(b.intr);
    pc_apic_tpr_write(b.pc, 3); // class 3 is held back
    assert_false(b.intr);
    assert_false(pc_interrupt_pending(b.pc));
    assert_int_equal(pc_interrupt_acknowledge(b.pc), -1);
    assert_int_equal(mem32(&b, APIC + 0x80), 0x30);
    pc_apic_tpr_write(b.pc, 2);
    assert_true(b.intr);
    assert_int_equal(pc_interrupt_acknowledge(b.pc), 0x31);
    assert_false(b.intr);
    set_mem32(&b, APIC + 0xB0, 0);
    // Level: SCI on input 9 by the power button, held until the status is cleared.
    pci_write32(&b, 1, 3, 0x40, 0x601);
    pci_write8(&b, 1, 3, 0x80, 1);
    io_apic_set(&b, 0x10, 0x10000);
    io_apic_set(&b, 0x10 + 2 * 2, 0x10000);
    io_apic_set(&b, 0x10 + 9 * 2, 0x8059);
    out8(&b, 0xB2, 0xF1);
    out16(&b, 0x602, 0x0100);
    pc_power_button(b.pc);
    assert_int_equal(pc_interrupt_acknowledge(b.pc), 0x59);
    assert_int_equal(io_apic_get(&b, 0x10 + 9 * 2), 0xC059);
    set_mem32(&b, APIC + 0xB0, 0); // still asserted: again
    assert_int_equal(pc_interrupt_acknowledge(b.pc), 0x59);
    out16(&b, 0x600, 0x0100);
    set_mem32(&b, APIC + 0xB0, 0);
    assert_int_equal(pc_interrupt_acknowledge(b.pc), -1);
    assert_int_equal(io_apic_get(&b, 0x10 + 9 * 2), 0x8059);
    board_teardown(&b);
}

static void test_serial_ports_share_a_line(void **state)
{
    struct board b;
    board_setup(&b, 8u << 20, NULL, 0);
    pic_setup(&b, 0xEF, 0xFF);
    out8(&b, 0x3FC, 0x08), out8(&b, 0x3EC, 0x08); // OUT2
    out8(&b, 0x3F9, 0x02), out8(&b, 0x3E9, 0x02); // transmitter empty
    assert_true(b.intr);
    assert_int_equal(in8(&b, 0x3FA) & 0x0F, 0x02); // COM1's cause is read; COM3's is still there
    assert_int_equal(pc_interrupt_acknowledge(b.pc), 0x24);
    assert_int_equal(in8(&b, 0x3EA) & 0x0F, 0x02);
    out8(&b, 0x20, 0x20);
    assert_int_equal(pc_interrupt_acknowledge(b.pc), -1);
    out8(&b, 0x3F8, 'x');
    assert_string_equal(b.console, "x");
    board_teardown(&b);
}

static void test_memory_map(void **state)
{
    uint8_t *firmware = test_malloc(0x40000);
    for (unsigned i = 0; i < 0x40000; i++)
        firmware[i] = (uint8_t)(i >> 10);
    struct board b;
    board_setup(&b, UINT64_C(4) << 30, firmware, 0x40000);
    test_free(firmware);
    assert_int_equal(mem32(&b, 0xFFFFFFFC), 0xFFFFFFFF);
    assert_int_equal(address_space_read(&b.space, 0xFFFC0400, 1), 1);
    assert_int_equal(address_space_read(&b.space, 0xE0000, 1), 0x80);
    assert_int_equal(address_space_read(&b.space, 0xFFC00, 1), 0xFF);
    assert_int_equal(mem32(&b, 0xA0000), 0xFFFFFFFF); // nothing there
    set_mem32(&b, 0xBFFFFFFC, 0x12345678);
    set_mem32(&b, 0xC0000000, 0x12345678);
    assert_int_equal(mem32(&b, 0xBFFFFFFC), 0x12345678);
    assert_int_equal(mem32(&b, 0xC0000000), 0xFFFFFFFF);
    address_space_write(&b.space, (UINT64_C(5) << 30) - 4, 0xABCD, 4); // 1 GiB from 4 GiB on
    assert_int_equal(mem32(&b, (UINT64_C(5) << 30) - 4), 0xABCD);
    assert_int_equal(mem32(&b, UINT64_C(5) << 30), 0xFFFFFFFF);
    struct pc_ram_piece pieces[4];
    assert_int_equal(pc_ram_pieces(b.pc, pieces, 4), 2);
    assert_int_equal(pieces[1].physical, UINT64_C(1) << 32);
    assert_int_equal(pieces[0].size + pieces[1].size, UINT64_C(4) << 30);
    // CMOS agrees.
    const struct {
        uint8_t index, value;
    } cmos[] = {{0x15, 0x80}, {0x16, 2}, {0x17, 0xFF}, {0x30, 0xFF}, {0x34, 0x00},
                {0x35, 0xBF}, {0x5B, 0}, {0x5C, 0x40}, {0x5D, 0}};
    for (size_t i = 0; i < ARRAY_SIZE(cmos); i++) {
        out8(&b, 0x70, cmos[i].index);
        assert_int_equal(in8(&b, 0x71), cmos[i].value);
    }
    struct pc_e820_entry map[16];
    unsigned count = pc_e820(b.pc, map, 16);
    for (unsigned i = 1; i < count; i++)
        assert_true(map[i - 1].start + map[i - 1].size <= map[i].start);
    assert_int_equal(map[count - 1].start, UINT64_C(1) << 32);
    board_teardown(&b);
}

static void test_power_and_reset(void **state)
{
    struct board b;
    board_setup(&b, 8u << 20, NULL, 0);
    out8(&b, 0xCF9, 0x02);
    assert_int_equal(b.resets, 0);
    out8(&b, 0xCF9, 0x06);
    assert_int_equal(b.resets, 1);
    assert_int_equal(in8(&b, 0xCF9), 0x02);
    out8(&b, 0x92, 0x03);
    assert_int_equal(b.resets, 2);
    out8(&b, 0x64, 0xFE);
    assert_int_equal(b.resets, 3);
    // Soft off only with SLP_EN, in either access size.
    pc_prepare_direct_boot(b.pc);
    out16(&b, 0x604, 0x0001);
    assert_int_equal(b.power_offs, 0);
    out16(&b, 0x604, 0x2001);
    assert_int_equal(b.power_offs, 1);
    out8(&b, 0x605, 0x20);
    assert_int_equal(b.power_offs, 2);
    out8(&b, 0x501, 0x10);
    assert_int_equal(b.exits, 1);
    assert_int_equal(b.exit_code, 0x10);
    board_teardown(&b);
}

static void test_apic_moves(void **state)
{
    struct board b;
    board_setup(&b, 8u << 20, NULL, 0);
    set_mem32(&b, 0x200030, 0x11111111);
    assert_int_equal(mem32(&b, APIC + 0x30) & 0xFF, 0x14);
    assert_true(pc_apic_base_write(b.pc, 0x200900));
    assert_int_equal(mem32(&b, APIC + 0x30), 0xFFFFFFFF);
    assert_int_equal(mem32(&b, 0x200030) & 0xFF, 0x14);
    assert_true(pc_apic_base_write(b.pc, UINT64_C(0xFFFFFFFFFF900))); // beyond the space: nowhere
    assert_int_equal(mem32(&b, 0x200030), 0x11111111);
    pc_reset(b.pc);
    assert_int_equal(mem32(&b, APIC + 0x30) & 0xFF, 0x14);
    board_teardown(&b);
}

static void test_option_rom(void **state)
{
    struct board b;
    board_setup(&b, 8u << 20, NULL, 0);
    struct error error = {{0}};
    uint8_t rom[2048] = {0x55, 0xAA, 4};
    assert_true(pc_add_option_rom(b.pc, "one.rom", rom, sizeof rom, &error));
    assert_true(pc_add_option_rom(b.pc, "two.rom", rom, sizeof rom, &error));
    assert_int_equal(mem32(&b, 0xC8000) & 0xFFFFFF, 0x04AA55);
    assert_int_equal(mem32(&b, 0xC9000) & 0xFFFFFF, 0x04AA55);
    assert_false(pc_add_option_rom(b.pc, "big.rom", rom, 1u << 20, &error));
    assert_true(error.text[0]);
    board_teardown(&b);
}

static void expect_refusal(uint64_t ram_size, unsigned cpus, size_t firmware_size)
{
    struct board b;
    static const uint8_t firmware[0x11000];
    struct error error = {{0}};
    board_setup_bare(&b, 64u << 20);
    struct pc_config config = {.ram_size = ram_size, .cpu_count = cpus, .firmware_size = firmware_size};
    config.firmware = firmware_size ? firmware : NULL;
    assert_null(pc_create(&b.context, &config, &error));
    assert_true(error.text[0]);
    board_teardown(&b);
}

static void test_bad_configuration(void **state)
{
    expect_refusal(0, 1, 0);
    expect_refusal((1u << 20) + 4096, 1, 0);
    expect_refusal(UINT64_C(2) << 40, 1, 0);
    expect_refusal(128u << 20, 1, 0); // more than the memory file has
    expect_refusal(8u << 20, 0, 0);
    expect_refusal(8u << 20, 1, 0x11000);
}

// ---- whole-board properties

static struct state_writer save_all(struct board *b)
{
    struct state_writer w = {0};
    for (unsigned i = 0; i < pc_device_count(b->pc); i++) {
        struct device *device = pc_device(b->pc, i);
        state_save(&w, device->class->state, device->id, device);
    }
    assert_false(w.failed);
    return w;
}

static uint64_t hash_all(struct board *b)
{
    uint64_t hash = 0;
    for (unsigned i = 0; i < pc_device_count(b->pc); i++)
        hash = state_hash(hash, pc_device(b->pc, i)->class->state, pc_device(b->pc, i));
    return hash;
}

/// Ports and MMIO at random, weighted to where devices are.
static void poke(struct board *b, uint64_t *seed, unsigned times)
{
    static const uint32_t bases[] = {APIC,    APIC + 0x100, APIC + 0x300, IOAPIC,     0xC0000,
                                     0xF0000, 0xA0000,      0x1000,       0xFFFFFFF0, APIC + 0x380};
    for (unsigned i = 0; i < times; i++) {
        uint64_t r = random_next(seed);
        unsigned size = 1u << (r >> 8 & 3);
        uint64_t value = random_next(seed);
        if (r & 16)
            value &= 0xFF;
        if (r & 1) {
            uint64_t address = bases[(r >> 16 & 0xFF) % ARRAY_SIZE(bases)] + (r >> 24 & (r & 32 ? 0xFF0 : 0xFFF));
            if (r & 2)
                address_space_read(&b->space, address, size);
            else
                address_space_write(&b->space, address, value, size);
        } else {
            uint16_t port = (uint16_t)(r & 64 ? r >> 32 : r >> 32 & 0x3FF);
            if ((r >> 48 & 7) == 0)
                port = (uint16_t)(0xCF8 + (r >> 32 & 7));
            if ((r >> 48 & 7) == 1)
                port = (uint16_t)(0x600 + (r >> 32 & 0x3F));
            if (port == 0xCF8 && (r & 2) == 0) {
                value = 0x80000000u | (r >> 32 & 0xFFFC & ~0xE000u);
                size = 4;
            }
            if (size == 8)
                size = 4;
            if (r & 2)
                address_space_read(&b->ports, port, size);
            else
                address_space_write(&b->ports, port, value, size);
        }
        if ((r >> 52 & 15) == 0)
            clock_step(&b->clock, r >> 40 & 0xFFFF);
        if ((r >> 56 & 15) == 0)
            pc_interrupt_acknowledge(b->pc);
        if ((r >> 56 & 63) == 1)
            pc_x2apic_write(b->pc, 0x800 + (uint32_t)(value & 0xFF), value >> 8);
        if ((r >> 56 & 255) == 2)
            pc_apic_base_write(b->pc, r & 0xC00 ? value & 0xFFFFFFFFFFF00 : APIC_BASE_DEFAULT | APIC_BASE_ENABLE);
        if ((r >> 56 & 63) == 3)
            pc_tsc_deadline_write(b->pc, value, random_next(seed));
        assert_true(b->intr == pc_interrupt_pending(b->pc));
    }
}

static void test_fuzz(void **state)
{
    struct board b;
    board_setup(&b, 8u << 20, NULL, 0);
    uint64_t seed = 1;
    for (unsigned round = 0; round < 20; round++) {
        poke(&b, &seed, 3000);
        pc_reset(b.pc);
        assert_int_equal(b.intr, pc_interrupt_pending(b.pc));
    }
    board_teardown(&b);
}

static void test_save_restore(void **state)
{
    struct board b;
    board_setup(&b, 8u << 20, NULL, 0);
    uint64_t seed = 7;
    for (unsigned round = 0; round < 10; round++) {
        poke(&b, &seed, 500);
        uint64_t hash = hash_all(&b), now = clock_now(&b.clock), again = seed;
        bool intr = b.intr;
        struct state_writer w = save_all(&b);
        poke(&b, &seed, 500);
        uint64_t later = hash_all(&b);
        bool later_intr = b.intr;
        clock_set(&b.clock, now);
        struct state_reader r = {.data = w.data, .length = w.length};
        for (unsigned i = 0; i < pc_device_count(b.pc); i++) {
            struct error error = {{0}};
            struct device *device = pc_device(b.pc, i);
            if (!state_load(&r, device->class->state, device->id, device, &error))
                fail_msg("%s", error.text);
        }
        state_writer_free(&w);
        assert_int_equal(hash_all(&b), hash);
        b.intr = intr; // pins are the CPU's state
        poke(&b, &again, 500);
        assert_int_equal(hash_all(&b), later);
        assert_int_equal(b.intr, later_intr);
    }
    board_teardown(&b);
}

static void test_reset_repeats(void **state)
{
    struct board b;
    board_setup(&b, 8u << 20, NULL, 0);
    uint64_t seed = 3;
    poke(&b, &seed, 2000);
    pc_reset(b.pc);
    uint64_t once = hash_all(&b);
    pc_reset(b.pc);
    assert_int_equal(hash_all(&b), once);
    assert_false(b.intr);
    board_teardown(&b);
}

static void test_state_is_complete(void **state)
{
    for (unsigned i = 0; i < device_class_count; i++) {
        struct error error = {{0}};
        if (!state_check(device_classes[i]->state, &error))
            fail_msg("%s: %s", device_classes[i]->name, error.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_irq_through_pic),
        cmocka_unit_test(test_irq_through_io_apic),
        cmocka_unit_test(test_serial_ports_share_a_line),
        cmocka_unit_test(test_memory_map),
        cmocka_unit_test(test_power_and_reset),
        cmocka_unit_test(test_apic_moves),
        cmocka_unit_test(test_option_rom),
        cmocka_unit_test(test_bad_configuration),
        cmocka_unit_test(test_fuzz),
        cmocka_unit_test(test_save_restore),
        cmocka_unit_test(test_reset_repeats),
        cmocka_unit_test(test_state_is_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
