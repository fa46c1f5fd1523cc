// Intel PIIX4 power management (82371AB function 3, data sheet 290562 ch. 7), as PC emulators pair it with a PIIX3:
// PCI function 8086:7113 with the ACPI fixed registers, a general purpose event block, and the APM/SMI command port.
#ifndef DOPPEL_DEVICES_PIIX4_PM_H
#define DOPPEL_DEVICES_PIIX4_PM_H

#include "devices/host.h"
#include "devices/pci.h"

#define PM_TIMER_HZ UINT64_C(3579545)
#define PIIX4_PM_BASE 0x40 // configuration: port of the 64-byte register block, bit 0 set
#define PIIX4_PM_MISC 0x80 // bit 0: the block is decoded
#define PIIX4_PM_PORTS 64
#define PIIX4_GPE_PORT 0xAFE0       // 4 bytes: status 16, enable 16
#define PIIX4_PM_DEFAULT_PORT 0x600 // where firmware puts the block, and the FADT says it is
#define ACPI_ENABLE 0xF1u           // command port values of the FADT
#define ACPI_DISABLE 0xF0u
#define ACPI_S5 0u // SLP_TYP of soft off

// PM1 status and enable bits.
#define PM1_TIMER 0x0001u
#define PM1_GLOBAL 0x0020u
#define PM1_POWER_BUTTON 0x0100u
#define PM1_SLEEP_BUTTON 0x0200u
#define PM1_RTC 0x0400u
#define PM1_WAKE 0x8000u
// PM1 control bits.
#define PM1_SCI_ENABLE 0x0001u
#define PM1_SLEEP_ENABLE 0x2000u

/// Regions: 0 the PM block (64 ports at PMBASE), 1 GPE block (4 ports), 2 command and status ports 0xB2-0xB3, 3 the
/// SMBus host controller's 16 ports.
struct piix4_pm {
    struct device device;
    struct pci_function pci;
    uint16_t status, enable, control; // PM1
    uint16_t gpe_status, gpe_enable;
    uint8_t command, command_status; // 0xB2, 0xB3
    uint8_t smbus[16];
    bool sci;                // level that `irq` was driven to
    uint64_t timer_overflow; // PM timer tick at which TMR_STS sets next
    struct event timer;      // at timer_overflow while enabled
    // Wiring.
    struct range *ports;       // region 0, moved by PMBASE
    struct range *smbus_ports; // region 3
    struct wire irq;           // level: SCI, IRQ 9
    struct machine_control control_out;
};

extern const struct device_class piix4_pm_class;

void piix4_pm_press_power_button(struct piix4_pm *pm);
/// The state that firmware leaves: registers at PIIX4_PM_DEFAULT_PORT; with `acpi`, SCI_EN set.
void piix4_pm_firmware_ready(struct piix4_pm *pm, bool acpi);
/// Sets general purpose event `bit` (0..15): hot-plug and the like.
void piix4_pm_set_gpe(struct piix4_pm *pm, unsigned bit, bool on);

#endif
