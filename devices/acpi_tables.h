// ACPI tables of the board, as files for fw_cfg with the loader script that firmware runs to place and link them.
// The same script is run here for a direct boot.
#ifndef DOPPEL_DEVICES_ACPI_TABLES_H
#define DOPPEL_DEVICES_ACPI_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct acpi_config {
    unsigned cpu_count;
    uint32_t pci_hole_start; // first address above low RAM
    bool serial_present[4];
    bool has_lapic; // MADT
};

struct acpi_tables {
    uint8_t *tables; // etc/acpi/tables: FACS first, 64-byte aligned
    size_t tables_size;
    uint8_t rsdp[36]; // etc/acpi/rsdp
    uint8_t *loader;  // etc/table-loader
    size_t loader_size;
};

bool acpi_tables_build(struct acpi_tables *acpi, const struct acpi_config *config, struct error *error);
void acpi_tables_free(struct acpi_tables *acpi);
/// Runs the loader script on the blobs themselves, as if `tables` lay at guest-physical `tables_address`. To be
/// done once.
bool acpi_tables_link(struct acpi_tables *acpi, uint64_t tables_address, struct error *error);

#endif
