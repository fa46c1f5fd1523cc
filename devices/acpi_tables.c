// ACPI tables and loader script. See acpi_tables.h.
#include "devices/acpi_tables.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "devices/dsdt.h"
#include "devices/piix4_pm.h"

#define TABLES_FILE "etc/acpi/tables"
#define RSDP_FILE "etc/acpi/rsdp"
#define CAPACITY 65536
#define HEADER 36
#define LOADER_ENTRY 128
#define LOADER_ALLOCATE 1
#define LOADER_POINTER 2
#define LOADER_CHECKSUM 3

struct builder {
    uint8_t *bytes;
    size_t length;
    uint8_t *loader;
    size_t loader_entries, loader_capacity;
    bool failed;
};

// ---- loader script entries: le32 command, then names of 56 bytes and numbers

static uint8_t *loader_add(struct builder *b, uint32_t command)
{
    if (b->loader_entries == b->loader_capacity) {
        b->failed = true;
        return NULL;
    }
    uint8_t *entry = b->loader + b->loader_entries++ * LOADER_ENTRY;
    store_le32(entry, command);
    return entry;
}

static void loader_allocate(struct builder *b, const char *file, uint32_t alignment, uint8_t zone)
{
    uint8_t *entry = loader_add(b, LOADER_ALLOCATE);
    if (!entry)
        return;
    memcpy(entry + 4, file, strlen(file));
    store_le32(entry + 60, alignment);
    entry[64] = zone; // 1 high memory, 2 the F segment
}

static void loader_pointer(struct builder *b, const char *in, uint32_t offset, uint8_t size)
{
    uint8_t *entry = loader_add(b, LOADER_POINTER);
    if (!entry)
        return;
    memcpy(entry + 4, in, strlen(in));
    memcpy(entry + 60, TABLES_FILE, sizeof TABLES_FILE - 1);
    store_le32(entry + 116, offset);
    entry[120] = size;
}

static void loader_checksum(struct builder *b, const char *file, uint32_t at, uint32_t start, uint32_t length)
{
    uint8_t *entry = loader_add(b, LOADER_CHECKSUM);
    if (!entry)
        return;
    memcpy(entry + 4, file, strlen(file));
    store_le32(entry + 60, at);
    store_le32(entry + 64, start);
    store_le32(entry + 68, length);
}

// ---- tables

/// Reserves a table of `size` bytes with its header filled; returns its offset.
static uint32_t table_begin(struct builder *b, const char *signature, uint8_t revision, size_t size)
{
    b->length = align_up(b->length, 16);
    if (b->length + size > CAPACITY) {
        b->failed = true;
        return 0;
    }
    uint8_t *t = b->bytes + b->length;
    memcpy(t, signature, 4);
    store_le32(t + 4, (uint32_t)size);
    t[8] = revision;
    memcpy(t + 10, "DOPPEL", 6);
    memcpy(t + 16, "DOPPELPC", 8);
    store_le32(t + 24, 1);
    memcpy(t + 28, "DPPL", 4);
    store_le32(t + 32, 1);
    uint32_t offset = (uint32_t)b->length;
    b->length += size;
    loader_checksum(b, TABLES_FILE, offset + 9, offset, (uint32_t)size);
    return offset;
}

/// A pointer inside `tables` to offset `target` there.
static void link_table(struct builder *b, uint32_t at, uint32_t target, uint8_t size)
{
    if (size == 8)
        store_le64(b->bytes + at, target);
    else
        store_le32(b->bytes + at, target);
    loader_pointer(b, TABLES_FILE, at, size);
}

static void put_port_address(uint8_t *at, uint8_t bits, uint8_t access, uint32_t port)
{
    at[0] = 1; // system I/O
    at[1] = bits;
    at[2] = 0;
    at[3] = access;
    store_le64(at + 4, port);
}

static void build_facs(struct builder *b)
{
    memcpy(b->bytes, "FACS", 4);
    store_le32(b->bytes + 4, 64);
    b->bytes[32] = 1; // version
    b->length = 64;
}

static uint32_t build_dsdt(struct builder *b, const struct acpi_config *config)
{
    struct aml *aml = calloc(1, sizeof *aml);
    if (!aml || !dsdt_emit(aml, config)) {
        b->failed = true;
        free(aml);
        return 0;
    }
    uint32_t at = table_begin(b, "DSDT", 2, HEADER + aml->length);
    if (!b->failed)
        memcpy(b->bytes + at + HEADER, aml->bytes, aml->length);
    free(aml);
    return at;
}

// Fixed ACPI description table of ACPI 2.0 (revision 3, 244 bytes).
static uint32_t build_fadt(struct builder *b, uint32_t dsdt)
{
    uint32_t at = table_begin(b, "FACP", 3, 244);
    if (b->failed)
        return 0;
    uint8_t *t = b->bytes + at;
    t[45] = 1; // desktop
    store_le16(t + 46, 9);
    store_le32(t + 48, 0xB2);
    t[52] = ACPI_ENABLE;
    t[53] = ACPI_DISABLE;
    store_le32(t + 56, PIIX4_PM_DEFAULT_PORT);
    store_le32(t + 64, PIIX4_PM_DEFAULT_PORT + 4);
    store_le32(t + 76, PIIX4_PM_DEFAULT_PORT + 8);
    store_le32(t + 80, PIIX4_GPE_PORT);
    t[88] = 4;
    t[89] = 2;
    t[91] = 4;
    t[92] = 4;
    store_le16(t + 96, 0xFFF);   // no C2
    store_le16(t + 98, 0xFFF);   // no C3
    t[108] = 0x32;               // century in CMOS
    store_le16(t + 109, 0x0003); // ISA devices, keyboard controller
    // WBINVD works, C1 works, no fixed sleep button, no fixed RTC wake, reset register.
    store_le32(t + 112, 0x00000001 | 0x00000004 | 0x00000020 | 0x00000040 | 0x00000400);
    put_port_address(t + 116, 8, 1, 0xCF9);
    t[128] = 0x06;
    put_port_address(t + 148, 32, 2, PIIX4_PM_DEFAULT_PORT);
    put_port_address(t + 172, 16, 2, PIIX4_PM_DEFAULT_PORT + 4);
    put_port_address(t + 208, 32, 3, PIIX4_PM_DEFAULT_PORT + 8);
    put_port_address(t + 220, 32, 1, PIIX4_GPE_PORT);
    link_table(b, at + 36, 0, 4); // FACS
    link_table(b, at + 40, dsdt, 4);
    link_table(b, at + 140, dsdt, 8);
    return at;
}

static uint32_t build_madt(struct builder *b, const struct acpi_config *config)
{
    // Interrupt 0 arrives at input 2; PCI and SCI interrupts are level, active high.
    static const uint8_t overrides[][3] = {{0, 2, 0}, {5, 5, 0x0D}, {9, 9, 0x0D}, {10, 10, 0x0D}, {11, 11, 0x0D}};
    size_t size = HEADER + 8 + 8 * (size_t)config->cpu_count + 12 + 10 * ARRAY_SIZE(overrides) + 6;
    uint32_t at = table_begin(b, "APIC", 1, size);
    if (b->failed)
        return 0;
    uint8_t *t = b->bytes + at;
    store_le32(t + 36, 0xFEE00000);
    store_le32(t + 40, 1); // 8259 pair present
    t += 44;
    for (unsigned i = 0; i < config->cpu_count; i++, t += 8) {
        const uint8_t entry[] = {0, 8, (uint8_t)i, (uint8_t)i, 1, 0, 0, 0};
        memcpy(t, entry, sizeof entry);
    }
    t[0] = 1;
    t[1] = 12;
    store_le32(t + 4, 0xFEC00000);
    t += 12;
    for (size_t i = 0; i < ARRAY_SIZE(overrides); i++, t += 10) {
        t[0] = 2;
        t[1] = 10;
        t[3] = overrides[i][0];
        store_le32(t + 4, overrides[i][1]);
        store_le16(t + 8, overrides[i][2]);
    }
    const uint8_t nmi[] = {4, 6, 0xFF, 0, 0, 1}; // all processors, LINT1
    memcpy(t, nmi, sizeof nmi);
    return at;
}

static uint32_t build_root(struct builder *b, const char *signature, uint8_t size, const uint32_t *tables,
                           unsigned count)
{
    uint32_t at = table_begin(b, signature, 1, HEADER + (size_t)count * size);
    for (unsigned i = 0; i < count && !b->failed; i++)
        link_table(b, at + HEADER + i * size, tables[i], size);
    return at;
}

static void build_rsdp(struct builder *b, uint8_t rsdp[36], uint32_t rsdt, uint32_t xsdt)
{
    memset(rsdp, 0, 36);
    memcpy(rsdp, "RSD PTR ", 8);
    memcpy(rsdp + 9, "DOPPEL", 6);
    rsdp[15] = 2;
    store_le32(rsdp + 16, rsdt);
    store_le32(rsdp + 20, 36);
    store_le64(rsdp + 24, xsdt);
    loader_pointer(b, RSDP_FILE, 16, 4);
    loader_pointer(b, RSDP_FILE, 24, 8);
    loader_checksum(b, RSDP_FILE, 8, 0, 20);
    loader_checksum(b, RSDP_FILE, 32, 0, 36);
}

/// Firmware runs the script in order: allocations, then pointers, then the checksums over them.
static void sort_loader(struct builder *b, uint8_t *sorted)
{
    size_t n = 0;
    for (uint32_t command = LOADER_ALLOCATE; command <= LOADER_CHECKSUM; command++)
        for (size_t i = 0; i < b->loader_entries; i++)
            if (load_le32(b->loader + i * LOADER_ENTRY) == command)
                memcpy(sorted + n++ * LOADER_ENTRY, b->loader + i * LOADER_ENTRY, LOADER_ENTRY);
}

bool acpi_tables_build(struct acpi_tables *acpi, const struct acpi_config *config, struct error *error)
{
    struct builder b = {.loader_capacity = 64};
    *acpi = (struct acpi_tables){.tables = NULL};
    b.bytes = calloc(1, CAPACITY);
    b.loader = calloc(b.loader_capacity, LOADER_ENTRY);
    acpi->loader = calloc(b.loader_capacity, LOADER_ENTRY);
    acpi->tables = b.bytes;
    b.failed = !b.bytes || !b.loader || !acpi->loader || config->cpu_count > 255;
    if (!b.failed) {
        loader_allocate(&b, TABLES_FILE, 64, 1);
        loader_allocate(&b, RSDP_FILE, 16, 2);
        build_facs(&b);
        uint32_t tables[2], count = 0;
        tables[count++] = build_fadt(&b, build_dsdt(&b, config));
        if (config->has_lapic)
            tables[count++] = build_madt(&b, config);
        uint32_t rsdt = build_root(&b, "RSDT", 4, tables, count), xsdt = build_root(&b, "XSDT", 8, tables, count);
        build_rsdp(&b, acpi->rsdp, rsdt, xsdt);
    }
    if (!b.failed) {
        sort_loader(&b, acpi->loader);
        acpi->tables_size = b.length;
        acpi->loader_size = b.loader_entries * LOADER_ENTRY;
    }
    free(b.loader);
    if (!b.failed)
        return true;
    acpi_tables_free(acpi);
    return error_set(error, "the ACPI tables for %u processors cannot be built", config->cpu_count);
}

void acpi_tables_free(struct acpi_tables *acpi)
{
    free(acpi->tables);
    free(acpi->loader);
    *acpi = (struct acpi_tables){.tables = NULL};
}

static uint8_t *file_bytes(struct acpi_tables *acpi, const uint8_t *name, size_t *size)
{
    bool rsdp = strcmp((const char *)name, RSDP_FILE) == 0;
    *size = rsdp ? sizeof acpi->rsdp : acpi->tables_size;
    return rsdp ? acpi->rsdp : acpi->tables;
}

bool acpi_tables_link(struct acpi_tables *acpi, uint64_t tables_address, struct error *error)
{
    for (size_t i = 0; i < acpi->loader_size; i += LOADER_ENTRY) {
        const uint8_t *entry = acpi->loader + i;
        uint32_t command = load_le32(entry);
        size_t size;
        uint8_t *file = file_bytes(acpi, entry + 4, &size);
        if (command == LOADER_POINTER) {
            uint32_t at = load_le32(entry + 116);
            uint64_t value = entry[120] == 8 ? load_le64(file + at) : load_le32(file + at);
            value += tables_address;
            if (entry[120] == 8)
                store_le64(file + at, value);
            else if (value <= UINT32_MAX)
                store_le32(file + at, (uint32_t)value);
            else
                return error_set(error, "ACPI tables must lie below 4 GiB");
        } else if (command == LOADER_CHECKSUM) {
            uint32_t at = load_le32(entry + 60), start = load_le32(entry + 64), length = load_le32(entry + 68);
            uint8_t sum = 0;
            file[at] = 0;
            for (uint32_t k = 0; k < length && start + k < size; k++)
                sum = (uint8_t)(sum + file[start + k]);
            file[at] = (uint8_t)-sum;
        }
    }
    return true;
}
