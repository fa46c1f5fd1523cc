// ACPI and SMBIOS tables: checksums, links, the loader script, and iasl's opinion of the AML.
#include "devices/support_board.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "devices/acpi_tables.h"
#include "devices/aml.h"
#include "devices/smbios.h"

#define BASE 0x7F0000u

static uint8_t sum(const uint8_t *bytes, size_t length)
{
    uint8_t total = 0;
    for (size_t i = 0; i < length; i++)
        total = (uint8_t)(total + bytes[i]);
    return total;
}

static void build(struct acpi_tables *acpi)
{
    struct error error = {{0}};
    struct acpi_config config = {
        .cpu_count = 1, .pci_hole_start = 0x80000000, .serial_present = {true, true}, .has_lapic = true};
    if (!acpi_tables_build(acpi, &config, &error) || !acpi_tables_link(acpi, BASE, &error))
        fail_msg("%s", error.text);
}

static uint8_t *table(struct acpi_tables *acpi, uint64_t address, const char *signature)
{
    assert_in_range(address, BASE, BASE + acpi->tables_size - 36);
    uint8_t *t = acpi->tables + (address - BASE);
    assert_memory_equal(t, signature, 4);
    uint32_t length = load_le32(t + 4);
    assert_true(address - BASE + length <= acpi->tables_size);
    if (strcmp(signature, "FACS") != 0)
        assert_int_equal(sum(t, length), 0);
    return t;
}

static void test_links_and_checksums(void **state)
{
    struct acpi_tables acpi;
    build(&acpi);
    assert_memory_equal(acpi.rsdp, "RSD PTR ", 8);
    assert_int_equal(sum(acpi.rsdp, 20), 0);
    assert_int_equal(sum(acpi.rsdp, 36), 0);
    uint8_t *rsdt = table(&acpi, load_le32(acpi.rsdp + 16), "RSDT");
    uint8_t *xsdt = table(&acpi, load_le64(acpi.rsdp + 24), "XSDT");
    assert_int_equal(load_le32(rsdt + 4), 36 + 2 * 4);
    assert_int_equal(load_le32(xsdt + 4), 36 + 2 * 8);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(load_le32(rsdt + 36 + 4 * i), load_le64(xsdt + 36 + 8 * i));
    uint8_t *fadt = table(&acpi, load_le32(rsdt + 36), "FACP");
    table(&acpi, load_le32(fadt + 36), "FACS");
    assert_int_equal(load_le32(fadt + 36) % 64, 0);
    table(&acpi, load_le32(fadt + 40), "DSDT");
    assert_int_equal(load_le32(fadt + 40), load_le64(fadt + 140));
    uint8_t *madt = table(&acpi, load_le32(rsdt + 40), "APIC");
    // The entries fill the table exactly; IRQ 0 goes to input 2.
    uint32_t length = load_le32(madt + 4), at = 44;
    bool timer = false, sci = false;
    while (at < length && madt[at + 1]) {
        timer |= madt[at] == 2 && madt[at + 3] == 0 && load_le32(madt + at + 4) == 2;
        sci |= madt[at] == 2 && madt[at + 3] == 9 && load_le16(madt + at + 8) == 0x0D;
        at += madt[at + 1];
    }
    assert_int_equal(at, length);
    assert_true(timer && sci);
    acpi_tables_free(&acpi);
}

/// Runs a command in a shell; its output ends up in `output`.
static int run(const char *command, char *output, size_t size)
{
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t length = fread(output, 1, size - 1, pipe);
    output[length] = 0;
    return pclose(pipe);
}

static void check_with_iasl(const uint8_t *t, const char *name)
{
    char directory[] = "/tmp/doppel-acpi-XXXXXX", path[128], command[512], output[16384];
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/t.dat", directory);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(t, 1, load_le32(t + 4), file), load_le32(t + 4));
    fclose(file);
    snprintf(command, sizeof command, "cd %s && iasl -d t.dat 2>&1 && iasl -p out t.dsl 2>&1", directory);
    int status = run(command, output, sizeof output);
    bool clean = status == 0 && strstr(output, "0 Errors, 0 Warnings") && !strstr(output, "Could not parse");
    if (!clean)
        print_message("%s: %s\n", name, output);
    snprintf(command, sizeof command, "rm -r %s", directory);
    run(command, output, sizeof output);
    assert_true(clean);
}

static void test_iasl(void **state)
{
    char output[256];
    if (run("command -v iasl", output, sizeof output) != 0)
        skip();
    struct acpi_tables acpi;
    build(&acpi);
    uint8_t *rsdt = table(&acpi, load_le32(acpi.rsdp + 16), "RSDT");
    uint8_t *fadt = table(&acpi, load_le32(rsdt + 36), "FACP");
    check_with_iasl(table(&acpi, load_le32(fadt + 40), "DSDT"), "DSDT");
    check_with_iasl(fadt, "FADT");
    check_with_iasl(table(&acpi, load_le32(rsdt + 40), "APIC"), "MADT");
    check_with_iasl(table(&acpi, load_le64(acpi.rsdp + 24), "XSDT"), "XSDT");
    acpi_tables_free(&acpi);
}

static void test_aml_lengths(void **state)
{
    // Package lengths of one, two and three bytes count themselves (ACPI 6.4 sec. 20.2.4).
    static const struct {
        unsigned content, first, size;
    } cases[] = {{0x3E, 0x3F, 1}, {0x3F, 0x41, 2}, {0xFFD, 0x4F, 2}, {0xFFE, 0x81, 3}};
    struct aml *aml = test_malloc(sizeof *aml);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        memset(aml, 0, sizeof *aml);
        aml_if(aml);
        for (unsigned n = 0; n < cases[i].content; n++)
            aml_byte(aml, 0xA3);
        aml_end(aml);
        assert_false(aml->failed);
        assert_int_equal(aml->bytes[1], cases[i].first);
        assert_int_equal(aml->length, 1 + cases[i].content + cases[i].size);
    }
    aml_end(aml);
    assert_true(aml->failed);
    memset(aml, 0, sizeof *aml);
    for (unsigned n = 0; n <= AML_CAPACITY; n++)
        aml_byte(aml, 0);
    assert_true(aml->failed);
    test_free(aml);
}

static void test_smbios(void **state)
{
    struct smbios s;
    struct error error = {{0}};
    assert_true(smbios_build(&s, 1, UINT64_C(3) << 30, UINT64_C(3) << 30, &error));
    smbios_link(&s, 0xF0040);
    assert_int_equal(sum(s.anchor, SMBIOS_ANCHOR_SIZE), 0);
    assert_int_equal(sum(s.anchor + 16, 15), 0);
    assert_int_equal(load_le32(s.anchor + 24), 0xF0040);
    unsigned count = 0, types[256] = {0}, largest = 0;
    size_t at = 0;
    while (at < s.tables_size) {
        size_t start = at;
        types[s.tables[at]]++;
        count++;
        at += s.tables[at + 1];
        while (at + 1 < s.tables_size && (s.tables[at] || s.tables[at + 1]))
            at++;
        at += 2;
        if (at - start > largest)
            largest = (unsigned)(at - start);
    }
    assert_int_equal(at, s.tables_size);
    assert_int_equal(count, load_le16(s.anchor + 28));
    assert_int_equal(largest, load_le16(s.anchor + 8));
    static const uint8_t needed[] = {0, 1, 3, 4, 16, 17, 32, 127};
    for (size_t i = 0; i < sizeof needed; i++)
        assert_int_equal(types[needed[i]], 1);
    assert_int_equal(types[19], 2);
}

static void test_direct_boot(void **state)
{
    struct board b;
    board_setup(&b, 8u << 20, NULL, 0);
    uint64_t rsdp = 0;
    struct error error = {{0}};
    pc_prepare_direct_boot(b.pc);
    assert_true(pc_install_tables(b.pc, &rsdp, &error));
    uint8_t bytes[36];
    address_space_read_bytes(&b.space, rsdp, bytes, sizeof bytes);
    assert_memory_equal(bytes, "RSD PTR ", 8);
    assert_int_equal(sum(bytes, 36), 0);
    uint32_t xsdt = load_le32(bytes + 24);
    assert_int_equal(mem32(&b, xsdt), 0x54445358);
    struct pc_e820_entry map[16];
    unsigned count = pc_e820(b.pc, map, 16), inside = 0;
    for (unsigned i = 0; i < count; i++)
        inside += map[i].type == 3 && xsdt >= map[i].start && xsdt < map[i].start + map[i].size;
    assert_int_equal(inside, 1);
    assert_int_equal(mem32(&b, 0xF0000), 0x5F4D535F);
    board_teardown(&b);
    board_setup(&b, 1u << 20, NULL, 0);
    assert_false(pc_install_tables(b.pc, &rsdp, &error));
    board_teardown(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links_and_checksums), cmocka_unit_test(test_iasl),
        cmocka_unit_test(test_aml_lengths),         cmocka_unit_test(test_smbios),
        cmocka_unit_test(test_direct_boot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
