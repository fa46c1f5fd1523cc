// Intel 440FX host bridge (82441FX PMC, data sheet 290549): PCI function 8086:1237 whose PAM and SMRAM registers
// decide what 0xA0000..0xFFFFF shows.
#ifndef DOPPEL_DEVICES_I440FX_H
#define DOPPEL_DEVICES_I440FX_H

#include "devices/pci.h"

#define I440FX_PAM 0x59   // 7 registers, two nibbles each: 0x59 high is 0xF0000, then 16 KiB steps from 0xC0000
#define I440FX_SMRAM 0x72 // D_OPEN 0x40, D_CLS 0x20, D_LCK 0x10, G_SMRAME 0x08
#define I440FX_SEGMENTS 13

struct i440fx;

/// One PAM area: RAM that covers the PCI side as far as its nibble says (bit 0 reads, bit 1 writes).
struct i440fx_segment {
    uint32_t start, size;
    struct range *ram;       // RAM, or RAM without writes
    struct range *write_ram; // write-only mode: reads from the PCI side
    struct i440fx *bridge;
};

struct i440fx {
    struct device device;
    struct pci_function pci;
    // Wiring.
    struct i440fx_segment segments[I440FX_SEGMENTS];
    struct range *smram;            // RAM over the VGA hole while D_OPEN
    struct address_space *pci_side; // what lies under PAM: 1 MiB, firmware mirror and option ROMs
    uint64_t ram_offset;            // of guest-physical 0 in the memory file
};

extern const struct device_class i440fx_class;

/// Creates the ranges. `ram_offset`: where RAM of guest-physical 0 lies in the memory file. `pci_side` outlives us.
bool i440fx_map(struct i440fx *bridge, uint64_t ram_offset, struct address_space *pci_side, struct error *error);

#endif
