// The 8254 interval timer and system control port B (0x61: speaker gate, timer outputs). Regions, 8-bit registers:
//   0: ports 0x40-0x43 (counters 0..2, control)   1: port 0x61
#ifndef DOPPEL_DEVICES_PIT_H
#define DOPPEL_DEVICES_PIT_H

#include "devices/device.h"

#define PIT_HZ UINT64_C(1193182)

/// One counter. Times are in ticks of PIT_HZ since power-on; the count is never stepped but derived from them.
struct pit_counter {
    uint64_t loaded_at;      // tick at which the counting element got `period` (at most one ahead of now); in
                             // modes 2 and 3 moved on to the start of the present cycle or half cycle
    uint64_t frozen;         // ticks counted when the gate halted counting
    uint32_t period;         // initial count in the counting element, 1..65536
    uint32_t count_register; // as written, 1..65536
    uint16_t latched;        // count latched
    uint8_t mode;            // 0..5
    uint8_t access;          // 1 low byte, 2 high byte, 3 low then high
    uint8_t write_low;       // low byte waiting for the high one
    uint8_t latched_status;
    uint8_t latched_bytes; // bytes of `latched` still to be read
    bool status_latched;
    bool bcd;
    bool gate;
    bool written;    // a count was written since the control word
    bool counting;   // the counting element was loaded since the control word
    bool null_count; // the count register was not yet moved to the counting element
    bool halted;     // the gate stops counting
    bool low_half;   // mode 3: the present half cycle is the low one
    bool write_high; // next write is the high byte
    bool read_high;  // next read is the high byte
};

struct pit {
    struct device device;
    struct pit_counter counters[3];
    uint8_t port61;          // bits 3:0 as written
    bool output;             // level that `irq` was driven to
    uint64_t next_change;    // tick of the next change of counter 0's output, UINT64_MAX: none
    struct event transition; // at next_change
    struct wire irq;         // level of counter 0's output: IRQ 0
};

extern const struct device_class pit_class;

#endif
