// The board's struct, shared by pc.c (devices and lines) and pc_tables.c (what guests are told about it).
#ifndef DOPPEL_DEVICES_PC_INTERNAL_H
#define DOPPEL_DEVICES_PC_INTERNAL_H

#include "devices/fw_cfg.h"
#include "devices/i440fx.h"
#include "devices/i8042.h"
#include "devices/io_apic.h"
#include "devices/local_apic.h"
#include "devices/pc.h"
#include "devices/pic.h"
#include "devices/piix3.h"
#include "devices/piix4_pm.h"
#include "devices/rtc.h"
#include "devices/serial.h"

#define PC_4_GIB (UINT64_C(1) << 32)
#define PC_HOLE_START UINT64_C(0xC0000000) // RAM ends here at the latest and goes on at 4 GiB

struct fpu_error;

struct pc {
    const struct device_context *context;
    struct pc_config config;
    struct device *devices[PC_MAX_DEVICES];
    unsigned device_count;
    struct pic_pair *pic;
    struct local_apic *apic; // NULL: no_lapic
    struct io_apic *io_apic;
    struct range *apic_range;
    struct pci_bus *pci;
    struct i440fx *i440fx;
    struct piix3 *piix3;
    struct piix4_pm *pm;
    struct rtc *rtc;
    struct i8042 *i8042;
    struct fpu_error *fpu_error;
    struct serial *serial[4];
    struct fw_cfg *fw_cfg;
    struct address_space pci_side; // what PAM covers: ROMs below 1 MiB
    uint64_t low_ram, high_ram;    // bytes from 0 and from 4 GiB
    uint64_t low_offset, high_offset;
    uint64_t next_option_rom;
};

/// Fills CMOS and fw_cfg with what firmware asks about the board.
bool pc_describe(struct pc *pc, struct error *error);

#endif
