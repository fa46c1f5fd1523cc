// The board: i440FX + PIIX3 PC. It alone maps device regions to addresses and connects lines; the frontend gives it
// address spaces, firmware and the outside, and connects the CPU's pins to the outputs here.
#ifndef DOPPEL_DEVICES_PC_H
#define DOPPEL_DEVICES_PC_H

#include "devices/device.h"
#include "devices/host.h"

#define PC_MAX_DEVICES 64

struct pc_config {
    uint64_t ram_size;       // bytes, multiple of 1 MiB... up to 1 TiB; split at 3 GiB (PCI hole), rest at 4 GiB up
    unsigned cpu_count;      // 1 for now
    const uint8_t *firmware; // NULL: none (direct boot, tests)
    size_t firmware_size;    // multiple of 64 KiB, mapped ending at 4 GiB, top 128 KiB also below 1 MiB
    int64_t rtc_base;        // seconds since 1970 at power-on
    uint64_t tsc_hz;         // for tables; the guest's TSC frequency
    struct character_sink serial[4]; // COM1..COM4; write NULL: port not present except COM1
    bool serial_present[4];
    struct character_sink debug_console; // ports 0x402 and 0xE9
    bool has_debug_exit;
    uint32_t debug_exit_port; // 0x501 or 0xf4
    struct machine_control control;
    // Outputs to the CPU's pins.
    struct wire a20;            // level: A20 passes
    struct wire intr;           // level: the local APIC (or the 8259 in virtual wire mode) has an interrupt
    struct wire nmi, smi, init; // edges
    struct wire ignne;          // level: x87 errors are to be ignored
    bool no_lapic;              // tests
};

struct pc;

/// Builds and resets the board. NULL and `error` on failure; nothing stays behind.
struct pc *pc_create(const struct device_context *context, const struct pc_config *config, struct error *error);
void pc_destroy(struct pc *pc);
void pc_reset(struct pc *pc);

/// INTA: the vector that the CPU takes now, or -1 when the interrupt went away (spurious at the pins).
int pc_interrupt_acknowledge(struct pc *pc);
/// True while an interrupt is deliverable at the present TPR.
bool pc_interrupt_pending(const struct pc *pc);

/// The local APIC's other face, for the CPU's MSRs and CR8. False: #GP.
uint64_t pc_apic_base_read(struct pc *pc);
bool pc_apic_base_write(struct pc *pc, uint64_t value);
bool pc_x2apic_read(struct pc *pc, uint32_t msr, uint64_t *value);
bool pc_x2apic_write(struct pc *pc, uint32_t msr, uint64_t value);
uint8_t pc_apic_tpr_read(struct pc *pc); // bits 7:4 of the TPR as CR8 0..15
void pc_apic_tpr_write(struct pc *pc, uint8_t cr8);
/// IA32_TSC_DEADLINE: the local APIC timer fires when the TSC reaches it (0 disarms). TSC = clock * tsc_hz / 1e9.
uint64_t pc_tsc_deadline_read(struct pc *pc);
void pc_tsc_deadline_write(struct pc *pc, uint64_t deadline, uint64_t tsc_now);

/// The processor's FERR pin: an x87 error while CR0.NE is clear.
void pc_set_ferr(struct pc *pc, bool level);

/// Input for a serial port: returns how many bytes the device took now (its FIFO may be full; the frontend keeps
/// the rest and tries again).
size_t pc_serial_receive(struct pc *pc, unsigned port, const uint8_t *bytes, size_t length);
/// Presses the ACPI power button (monitor: system_powerdown).
void pc_power_button(struct pc *pc);
/// Adds a fw_cfg file or a numbered item (copied). Numbered: kernel, initrd, command line keys 0x07..0x18.
bool pc_fw_cfg_add_file(struct pc *pc, const char *name, const void *data, size_t size, struct error *error);
bool pc_fw_cfg_add_item(struct pc *pc, uint16_t key, const void *data, size_t size, struct error *error);
/// Maps an option ROM image at a free 2 KiB-aligned place in 0xC8000..0xEFFFF. Also through genroms/ for SeaBIOS.
bool pc_add_option_rom(struct pc *pc, const char *name, const void *data, size_t size, struct error *error);
/// For direct boot without firmware: writes RSDP, tables and SMBIOS straight into guest memory (RSDP at 0xE0000
/// area, tables below the top of low RAM) and the e820 entries into `entries` (at most `max`; returns count).
struct pc_e820_entry {
    uint64_t start, size;
    uint32_t type; // 1 RAM, 2 reserved, 3 ACPI
};
unsigned pc_e820(const struct pc *pc, struct pc_e820_entry *entries, unsigned max);
bool pc_install_tables(struct pc *pc, uint64_t *rsdp_address, struct error *error);
/// Puts board devices into the state that firmware leaves for a direct kernel boot (PIC vectors masked, A20 on,
/// PCI IRQ routing, ACPI mode enabled, PAM as RAM).
void pc_prepare_direct_boot(struct pc *pc);

/// All devices, in creation order, for snapshots, hashes, `info`.
unsigned pc_device_count(const struct pc *pc);
struct device *pc_device(const struct pc *pc, unsigned index);

/// RAM: pieces of the memory file behind guest RAM, for snapshots.
struct pc_ram_piece {
    uint64_t physical, offset, size;
};
unsigned pc_ram_pieces(const struct pc *pc, struct pc_ram_piece *pieces, unsigned max);

#endif
