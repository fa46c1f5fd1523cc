// SMBIOS 2.8 tables of the board (DSP0134): what dmidecode shows, and guests use to recognize the machine.
#ifndef DOPPEL_DEVICES_SMBIOS_H
#define DOPPEL_DEVICES_SMBIOS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define SMBIOS_ANCHOR_SIZE 31

struct smbios {
    uint8_t anchor[SMBIOS_ANCHOR_SIZE]; // etc/smbios/smbios-anchor
    uint8_t tables[2048];               // etc/smbios/smbios-tables
    size_t tables_size;
};

/// `low_ram` bytes from 0, `high_ram` bytes from 4 GiB.
bool smbios_build(struct smbios *smbios, unsigned cpu_count, uint64_t low_ram, uint64_t high_ram, struct error *error);
/// Sets where the tables lie and the checksums (firmware does the same for its copy).
void smbios_link(struct smbios *smbios, uint32_t tables_address);

#endif
