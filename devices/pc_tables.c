// What the board tells firmware and guests about itself: CMOS bytes, fw_cfg files, RAM map, ACPI and SMBIOS tables;
// and the state that firmware would have left, for a direct boot.
#include "devices/acpi_tables.h"
#include "devices/pc_internal.h"
#include "devices/smbios.h"

#define TABLES_ROOM 0x10000u    // at the top of low RAM, for ACPI tables in a direct boot
#define RSDP_ADDRESS 0xE0000u   // where guests search for it
#define SMBIOS_ADDRESS 0xF0000u // anchor; the tables follow
#define SMBIOS_TABLES_OFFSET 0x40u
#define EBDA_START 0x9FC00u

unsigned pc_ram_pieces(const struct pc *pc, struct pc_ram_piece *pieces, unsigned max)
{
    unsigned count = 0;
    if (count < max)
        pieces[count++] = (struct pc_ram_piece){0, pc->low_offset, pc->low_ram};
    if (count < max && pc->high_ram)
        pieces[count++] = (struct pc_ram_piece){PC_4_GIB, pc->high_offset, pc->high_ram};
    return count;
}

// ---- CMOS, as PC firmware of emulators reads it

static void fill_cmos(struct pc *pc)
{
    struct rtc *rtc = pc->rtc;
    uint64_t extended = (pc->low_ram - 0x100000) >> 10;
    uint64_t above_16m = pc->low_ram > 16u << 20 ? (pc->low_ram - (16u << 20)) >> 16 : 0;
    uint64_t high = pc->high_ram >> 16;
    extended = extended < 0xFFFF ? extended : 0xFFFF;
    above_16m = above_16m < 0xFFFF ? above_16m : 0xFFFF;
    const struct {
        uint8_t index;
        uint64_t value;
    } bytes[] = {
        {0x0F, 0},                                  // shutdown status
        {0x10, 0},                                  // no floppy drives
        {0x14, 0x06},                               // coprocessor, PS/2 mouse
        {0x15, 640 & 0xFF}, {0x16, 640 >> 8},       // KiB of base memory
        {0x17, extended},   {0x18, extended >> 8},  // KiB above 1 MiB
        {0x30, extended},   {0x31, extended >> 8},  //
        {0x34, above_16m},  {0x35, above_16m >> 8}, // 64 KiB blocks above 16 MiB
        {0x38, 0x30},       {0x3D, 0x12},           // boot from disk, floppy, CD
        {0x5B, high},       {0x5C, high >> 8},      // 64 KiB blocks above 4 GiB
        {0x5D, high >> 16}, {0x5F, pc->config.cpu_count - 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bytes); i++)
        rtc_cmos_set(rtc, bytes[i].index, (uint8_t)bytes[i].value);
}

// ---- fw_cfg

static bool add_e820_file(struct pc *pc, struct error *error)
{
    uint8_t bytes[2 * 20];
    struct pc_ram_piece pieces[2];
    unsigned count = pc_ram_pieces(pc, pieces, 2);
    for (unsigned i = 0; i < count; i++) {
        store_le64(bytes + 20 * i, pieces[i].physical);
        store_le64(bytes + 20 * i + 8, pieces[i].size);
        store_le32(bytes + 20 * i + 16, 1);
    }
    return fw_cfg_add_file(pc->fw_cfg, "etc/e820", bytes, 20 * count, error);
}

static bool build_acpi(const struct pc *pc, struct acpi_tables *acpi, struct error *error)
{
    // The hole is described where it can be, whatever the size of RAM: above the lowest place that RAM leaves free.
    struct acpi_config config = {
        .cpu_count = pc->config.cpu_count, .pci_hole_start = (uint32_t)pc->low_ram, .has_lapic = pc->apic != NULL};
    if (config.pci_hole_start < 0x80000000u)
        config.pci_hole_start = 0x80000000u;
    for (unsigned i = 0; i < 4; i++)
        config.serial_present[i] = pc->serial[i] != NULL;
    return acpi_tables_build(acpi, &config, error);
}

static bool add_table_files(struct pc *pc, struct error *error)
{
    struct acpi_tables acpi;
    struct smbios smbios;
    if (!build_acpi(pc, &acpi, error))
        return false;
    struct fw_cfg *fw = pc->fw_cfg;
    bool ok = fw_cfg_add_file(fw, "etc/acpi/rsdp", acpi.rsdp, sizeof acpi.rsdp, error) &&
              fw_cfg_add_file(fw, "etc/acpi/tables", acpi.tables, acpi.tables_size, error) &&
              fw_cfg_add_file(fw, "etc/table-loader", acpi.loader, acpi.loader_size, error);
    acpi_tables_free(&acpi);
    return ok && smbios_build(&smbios, pc->config.cpu_count, pc->low_ram, pc->high_ram, error) &&
           fw_cfg_add_file(fw, "etc/smbios/smbios-anchor", smbios.anchor, sizeof smbios.anchor, error) &&
           fw_cfg_add_file(fw, "etc/smbios/smbios-tables", smbios.tables, smbios.tables_size, error);
}

static bool add_number(struct pc *pc, uint16_t key, uint64_t value, unsigned size, struct error *error)
{
    uint8_t bytes[8];
    store_le64(bytes, value);
    return fw_cfg_add_item(pc->fw_cfg, key, bytes, size, error);
}

bool pc_describe(struct pc *pc, struct error *error)
{
    fill_cmos(pc);
    unsigned cpus = pc->config.cpu_count;
    uint8_t uuid[16] = {0}, numa[16] = {0}; // no nodes
    // Sleep states: S3 absent, S4 absent with value 2, S5 present with value 0.
    static const uint8_t states[6] = {0x80, 0, 0, 0x01, 0x02, 0x80};
    return add_number(pc, FW_CFG_RAM_SIZE, pc->config.ram_size, 8, error) &&
           add_number(pc, FW_CFG_NOGRAPHIC, 1, 2, error) && add_number(pc, FW_CFG_CPU_COUNT, cpus, 2, error) &&
           add_number(pc, FW_CFG_MAX_CPUS, cpus, 2, error) && add_number(pc, FW_CFG_BOOT_MENU, 0, 2, error) &&
           add_number(pc, FW_CFG_IRQ0_OVERRIDE, 1, 4, error) &&
           fw_cfg_add_item(pc->fw_cfg, FW_CFG_UUID, uuid, sizeof uuid, error) &&
           fw_cfg_add_item(pc->fw_cfg, FW_CFG_NUMA, numa, sizeof numa, error) && add_e820_file(pc, error) &&
           fw_cfg_add_file(pc->fw_cfg, "etc/system-states", states, sizeof states, error) && add_table_files(pc, error);
}

// ---- direct boot

unsigned pc_e820(const struct pc *pc, struct pc_e820_entry *entries, unsigned max)
{
    uint64_t top = pc->low_ram - TABLES_ROOM;
    const struct pc_e820_entry all[] = {
        {0, EBDA_START, 1},
        {EBDA_START, 0xA0000 - EBDA_START, 2},
        {RSDP_ADDRESS, 0x100000 - RSDP_ADDRESS, 2},
        {0x100000, top > 0x100000 ? top - 0x100000 : 0, 1},
        {top, top > 0x100000 ? TABLES_ROOM : 0, 3},
        {0xFFFC0000, 0x40000, 2},
        {PC_4_GIB, pc->high_ram, 1},
    };
    unsigned count = 0;
    for (size_t i = 0; i < ARRAY_SIZE(all) && count < max; i++)
        if (all[i].size)
            entries[count++] = all[i];
    return count;
}

/// Writes low RAM itself, whatever PAM shows there now. Before the guest runs, so no code stands on it.
static void write_low_ram(struct pc *pc, uint64_t physical, const void *bytes, size_t length)
{
    memcpy(pc->context->memory->memory->host + pc->low_offset + physical, bytes, length);
}

bool pc_install_tables(struct pc *pc, uint64_t *rsdp_address, struct error *error)
{
    if (pc->low_ram < 4u << 20)
        return error_set(error, "a direct boot needs at least 4 MiB of RAM");
    uint64_t base = pc->low_ram - TABLES_ROOM;
    struct acpi_tables acpi;
    struct smbios smbios;
    if (!build_acpi(pc, &acpi, error))
        return false;
    bool ok = acpi.tables_size <= TABLES_ROOM && acpi_tables_link(&acpi, base, error) &&
              smbios_build(&smbios, pc->config.cpu_count, pc->low_ram, pc->high_ram, error);
    if (ok) {
        write_low_ram(pc, base, acpi.tables, acpi.tables_size);
        write_low_ram(pc, RSDP_ADDRESS, acpi.rsdp, sizeof acpi.rsdp);
        smbios_link(&smbios, SMBIOS_ADDRESS + SMBIOS_TABLES_OFFSET);
        write_low_ram(pc, SMBIOS_ADDRESS, smbios.anchor, sizeof smbios.anchor);
        write_low_ram(pc, SMBIOS_ADDRESS + SMBIOS_TABLES_OFFSET, smbios.tables, smbios.tables_size);
        *rsdp_address = RSDP_ADDRESS;
    }
    acpi_tables_free(&acpi);
    return ok;
}

void pc_prepare_direct_boot(struct pc *pc)
{
    struct address_space *ports = pc->context->ports;
    pic_set_masks(pc->pic, 0xFF, 0xFF);
    address_space_write(ports, 0x92, 0x02, 1);  // A20
    address_space_write(ports, 0x4D1, 0x0C, 1); // PCI interrupts 10 and 11 are level triggered
    i8042_firmware_ready(pc->i8042);
    pci_config_write(pc->pci, pc->i440fx->pci.devfn, I440FX_PAM, 0x33333330, 4);
    pci_config_write(pc->pci, pc->i440fx->pci.devfn, I440FX_PAM + 4, 0x333333, 3);
    static const uint8_t routes[4] = {10, 10, 11, 11};
    for (unsigned i = 0; i < 4; i++)
        pci_config_write(pc->pci, pc->piix3->pci.devfn, PIIX3_PIRQ_ROUTE + i, routes[i], 1);
    piix4_pm_firmware_ready(pc->pm, true);
}
