// Intel PIIX3 (82371SB, data sheet 290550), function 0: the PCI-to-ISA bridge 8086:7000. It gathers ISA interrupt
// lines and the PIRQ lines into the 16 (and 24) inputs of the interrupt controllers, and owns reset control.
#ifndef DOPPEL_DEVICES_PIIX3_H
#define DOPPEL_DEVICES_PIIX3_H

#include "devices/host.h"
#include "devices/pci.h"

#define PIIX3_PIRQ_ROUTE 0x60 // 4 registers: bit 7 off, bits 3:0 ISA interrupt
#define PIIX3_PIRQ_LINE 16    // input lines 16..19 of piix3_set_line are PIRQA..PIRQD; 0..15 are ISA interrupts

struct piix3 {
    struct device device;
    struct pci_function pci;
    uint32_t lines;        // input levels: bits 15:0 ISA, 19:16 PIRQ
    uint8_t reset_control; // 0xCF9
    // Wiring.
    struct wire irq[16]; // outputs to 8259 pair and I/O APIC
    struct machine_control control;
};

extern const struct device_class piix3_class;

/// Input lines (a wire_receiver).
void piix3_set_line(void *opaque, unsigned line, bool level);

#endif
