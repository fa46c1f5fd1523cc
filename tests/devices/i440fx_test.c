// PAM and SMRAM of the host bridge.
#include "devices/support_board.h"

#include "devices/i440fx.h"

static void setup(struct board *b)
{
    static uint8_t firmware[0x20000];
    memset(firmware, 0xF0, sizeof firmware);
    board_setup(b, 8u << 20, firmware, sizeof firmware);
}

static void test_bios_shadow(void **state)
{
    struct board b;
    setup(&b);
    assert_int_equal(mem32(&b, 0xF0000), 0xF0F0F0F0);
    set_mem32(&b, 0xF0000, 1); // ROM
    assert_int_equal(mem32(&b, 0xF0000), 0xF0F0F0F0);
    pci_write8(&b, 0, 0, 0x59, 0x20); // reads ROM, writes RAM
    set_mem32(&b, 0xF0000, mem32(&b, 0xF0000) ^ 0xFF);
    address_space_write(&b.space, 0xF0008, UINT64_C(0x1122334455667788), 8);
    assert_int_equal(mem32(&b, 0xF0000), 0xF0F0F0F0);
    pci_write8(&b, 0, 0, 0x59, 0x10); // reads RAM, no writes
    assert_int_equal(mem32(&b, 0xF0000), 0xF0F0F00F);
    assert_int_equal(mem32(&b, 0xF000C), 0x11223344);
    set_mem32(&b, 0xF0000, 5);
    assert_int_equal(mem32(&b, 0xF0000), 0xF0F0F00F);
    pci_write8(&b, 0, 0, 0x59, 0x30);
    set_mem32(&b, 0xF0000, 5);
    assert_int_equal(mem32(&b, 0xF0000), 5);
    assert_int_equal(mem32(&b, 0xFFFF0000), 0xF0F0F0F0); // the high copy stays ROM
    pci_write8(&b, 0, 0, 0x59, 0x00);
    assert_int_equal(mem32(&b, 0xF0000), 0xF0F0F0F0);
    pc_reset(b.pc);
    assert_int_equal(mem32(&b, 0xF0000), 0xF0F0F0F0);
    board_teardown(&b);
}

static void test_every_segment(void **state)
{
    struct board b;
    setup(&b);
    // Twelve 16 KiB areas by the nibbles of 0x5A..0x5F, low nibble first; only the selected one becomes RAM.
    for (unsigned i = 0; i < 12; i++) {
        uint32_t start = 0xC0000 + i * 0x4000;
        uint32_t before = mem32(&b, start);
        pci_write8(&b, 0, 0, 0x5A + i / 2, i & 1 ? 0x30 : 0x03);
        set_mem32(&b, start, 0xCAFE0000 + i);
        set_mem32(&b, start + 0x3FFC, 0xBEEF0000 + i);
        assert_int_equal(mem32(&b, start), 0xCAFE0000 + i);
        assert_int_equal(mem32(&b, start + 0x3FFC), 0xBEEF0000 + i);
        assert_int_not_equal(mem32(&b, start + 0x4000) >> 16, 0xBEEF);
        pci_write8(&b, 0, 0, 0x5A + i / 2, 0);
        assert_int_equal(mem32(&b, start), before);
    }
    pci_write8(&b, 0, 0, 0x5A, 0xFF); // reserved bits do not stick
    assert_int_equal(pci_read(&b, 0, 0, 0x58) >> 16 & 0xFF, 0x33);
    board_teardown(&b);
}

static unsigned code_writes;

static void count_code(void *opaque, uint64_t offset, uint32_t size)
{
    code_writes += size;
}

static void test_write_only_tells_of_code(void **state)
{
    struct board b;
    setup(&b);
    code_writes = 0;
    b.memory.listener.code_written = count_code;
    struct pc_ram_piece piece;
    pc_ram_pieces(b.pc, &piece, 1);
    b.memory.page_flags[(piece.offset + 0xF0000) >> PAGE_SHIFT] |= PAGE_HAS_CODE;
    pci_write8(&b, 0, 0, 0x59, 0x20);
    set_mem32(&b, 0xF0010, 1);
    assert_int_equal(code_writes, 4);
    set_mem32(&b, 0xF1010, 1);
    assert_int_equal(code_writes, 4);
    board_teardown(&b);
}

static void test_smram(void **state)
{
    struct board b;
    setup(&b);
    assert_int_equal(pci_read(&b, 0, 0, 0x70) >> 16 & 0xFF, 0x02);
    pci_write8(&b, 0, 0, 0x72, 0x48); // open, enabled
    set_mem32(&b, 0xA8000, 0x534D4D21);
    assert_int_equal(mem32(&b, 0xA8000), 0x534D4D21);
    pci_write8(&b, 0, 0, 0x72, 0x08);
    assert_int_equal(mem32(&b, 0xA8000), 0xFFFFFFFF);
    pci_write8(&b, 0, 0, 0x72, 0x58); // lock: open falls, the register freezes
    assert_int_equal(pci_read(&b, 0, 0, 0x70) >> 16 & 0xFF, 0x1A);
    pci_write8(&b, 0, 0, 0x72, 0x48);
    assert_int_equal(pci_read(&b, 0, 0, 0x70) >> 16 & 0xFF, 0x1A);
    assert_int_equal(mem32(&b, 0xA8000), 0xFFFFFFFF);
    pc_reset(b.pc);
    pci_write8(&b, 0, 0, 0x72, 0x48);
    assert_int_equal(mem32(&b, 0xA8000), 0x534D4D21);
    board_teardown(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bios_shadow), cmocka_unit_test(test_every_segment),
                                       cmocka_unit_test(test_write_only_tells_of_code), cmocka_unit_test(test_smram)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
