// The I/O APIC (82093AA with the EOI register of version 0x20): 24 inputs, a redirection entry each.
#ifndef DOPPEL_DEVICES_IO_APIC_H
#define DOPPEL_DEVICES_IO_APIC_H

#include "devices/device.h"
#include "devices/local_apic.h"

#define IO_APIC_PINS 24

struct io_apic {
    struct device device;
    uint8_t index;  // IOREGSEL
    uint8_t id;     // 4 bits
    uint32_t lines; // input levels
    uint64_t entries[IO_APIC_PINS];
    // Wiring: sends to the local APICs; false when none took it.
    bool (*send)(void *opaque, const struct apic_message *message);
    void *opaque;
};

extern const struct device_class io_apic_class;

/// wire_receiver, line 0..23. An asserted line is `true`, whatever polarity the guest programs.
void io_apic_set_line(void *opaque, unsigned line, bool level);
/// A local APIC finished level interrupt `vector`.
void io_apic_end_of_interrupt(struct io_apic *apic, uint8_t vector);

#endif
