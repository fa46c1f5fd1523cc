// The firmware configuration device: items, directory, ports, DMA.
#include "devices/support_board.h"

#include <stdio.h>

#include "devices/fw_cfg.h"

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void read_item(struct board *b, uint16_t key, uint8_t *to, unsigned length)
{
    out16(b, 0x510, key);
    for (unsigned i = 0; i < length; i++)
        to[i] = in8(b, 0x511);
}

/// Key and size of a file by the directory, as firmware finds it.
static uint16_t find(struct board *b, const char *name, uint32_t *size)
{
    uint8_t count[4], entry[64];
    read_item(b, FW_CFG_FILE_DIRECTORY, count, 4);
    for (uint32_t i = 0; i < be32(count); i++) {
        for (unsigned k = 0; k < 64; k++)
            entry[k] = in8(b, 0x511);
        if (strcmp((char *)entry + 8, name) == 0) {
            *size = be32(entry);
            return (uint16_t)(entry[4] << 8 | entry[5]);
        }
    }
    return 0;
}

static void test_items(void **state)
{
    struct board b;
    board_setup(&b, UINT64_C(3200) << 20, NULL, 0);
    uint8_t bytes[64];
    uint32_t size;
    read_item(&b, 0, bytes, 6);
    assert_memory_equal(bytes, "QEMU\0\0", 6); // zeros after the end
    read_item(&b, 1, bytes, 4);
    assert_int_equal(bytes[0], 3);
    read_item(&b, FW_CFG_CPU_COUNT, bytes, 2);
    assert_int_equal(load_le16(bytes), 1);
    read_item(&b, 0x7777, bytes, 4);
    assert_int_equal(load_le32(bytes), 0);
    uint16_t key = find(&b, "etc/e820", &size);
    assert_int_equal(size, 40);
    read_item(&b, key, bytes, 40);
    assert_int_equal(load_le64(bytes), 0);
    assert_int_equal(load_le64(bytes + 8), 0xC0000000);
    assert_int_equal(load_le64(bytes + 20), UINT64_C(1) << 32);
    assert_int_equal(load_le64(bytes + 28), UINT64_C(128) << 20);
    assert_int_equal(load_le32(bytes + 36), 1);
    static const char *const names[] = {"etc/acpi/rsdp",
                                        "etc/acpi/tables",
                                        "etc/table-loader",
                                        "etc/smbios/smbios-anchor",
                                        "etc/smbios/smbios-tables",
                                        "etc/system-states"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        assert_true(find(&b, names[i], &size) >= FW_CFG_FILE_FIRST);
        assert_true(size > 0);
    }
    board_teardown(&b);
}

static void test_files(void **state)
{
    struct board b;
    struct error error = {{0}};
    uint8_t bytes[8];
    uint32_t size;
    board_setup(&b, 8u << 20, NULL, 0);
    assert_true(pc_fw_cfg_add_file(b.pc, "opt/a", "one", 3, &error));
    assert_true(pc_fw_cfg_add_file(b.pc, "bootorder", "", 0, &error));
    uint16_t key = find(&b, "opt/a", &size);
    assert_int_equal(size, 3);
    assert_true(pc_fw_cfg_add_file(b.pc, "opt/a", "three", 5, &error)); // replaced
    assert_int_equal(find(&b, "opt/a", &size), key);
    assert_int_equal(size, 5);
    read_item(&b, key, bytes, 6);
    assert_memory_equal(bytes, "three\0", 6);
    assert_false(pc_fw_cfg_add_file(b.pc, "", "x", 1, &error));
    char name[64] = {0};
    memset(name, 'n', 56);
    assert_false(pc_fw_cfg_add_file(b.pc, name, "x", 1, &error));
    bool full = false;
    for (unsigned i = 0; i < 200 && !full; i++) {
        snprintf(name, sizeof name, "opt/%u", i);
        full = !pc_fw_cfg_add_file(b.pc, name, "x", 1, &error);
    }
    assert_true(full);
    board_teardown(&b);
}

static void put_descriptor(struct board *b, uint32_t control, uint32_t length, uint64_t address)
{
    address_space_write(&b->space, 0x1000, __builtin_bswap32(control), 4);
    address_space_write(&b->space, 0x1004, __builtin_bswap32(length), 4);
    address_space_write(&b->space, 0x1008, __builtin_bswap64(address), 8);
    out32(b, 0x514, 0);
    out32(b, 0x518, __builtin_bswap32(0x1000));
}

static void test_dma(void **state)
{
    struct board b;
    board_setup(&b, 8u << 20, NULL, 0);
    assert_int_equal(in32(&b, 0x514), 0x554D4551);
    assert_int_equal(in32(&b, 0x518), 0x47464320);
    set_mem32(&b, 0x2004, 0xFFFFFFFF);
    put_descriptor(&b, 0x0000000A, 6, 0x2000); // select 0, read
    assert_int_equal(mem32(&b, 0x1000), 0);
    assert_int_equal(mem32(&b, 0x2000), 0x554D4551);
    assert_int_equal(mem32(&b, 0x2004), 0xFFFF0000);
    put_descriptor(&b, 0x0000000C, 2, 0); // select, skip 2
    put_descriptor(&b, 0x00000002, 2, 0x2000);
    assert_int_equal(mem32(&b, 0x2000) & 0xFFFF, 0x554D);
    put_descriptor(&b, 0x00000010, 2, 0x2000); // no item is writable
    assert_int_equal(__builtin_bswap32(mem32(&b, 0x1000)), 1);
    put_descriptor(&b, 0x0000000A, 0xFFFFFFFF, 0x2000); // would take seconds
    assert_int_equal(__builtin_bswap32(mem32(&b, 0x1000)), 1);
    put_descriptor(&b, 0x0000000A, 16, UINT64_MAX - 4);
    assert_int_equal(__builtin_bswap32(mem32(&b, 0x1000)), 1);
    out32(&b, 0x514, 0xFFFFFFFF); // descriptor nowhere
    out32(&b, 0x518, 0xFFFFFFFF);
    board_teardown(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_items), cmocka_unit_test(test_files),
                                       cmocka_unit_test(test_dma)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
