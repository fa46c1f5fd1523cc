// The 8254 interval timer and system control port B (0x61: speaker gate, timer outputs). Regions, 8-bit registers:
//   0: ports 0x40-0x43 (counters 0..2, control)   1: port 0x61
#ifndef DOPPEL_DEVICES_PIT_H
#define DOPPEL_DEVICES_PIT_H

#include "devices/device.h"

#define PIT_HZ UINT64_C(1193182)

/// One counter. Times are in ticks of PIT_HZ since power-on; the count is never stepped but derived from them.
struct pit_counter {
    uint64_t loaded_at;   // tick at which the counting element got `period` (may be one ahead of now)
    uint64_t frozen;      // ticks that had passed when counting stopped (gate low in modes 0 and 4)
    uint32_t period;      // initial count in the counting element, 1..65536
    uint32_t next_period; // written, waiting for the end of the (half) cycle; 0: none
    uint16_t latched;     // count latched
    uint8_t mode;         // 0..5
    uint8_t access;       // 1 low byte, 2 high byte, 3 low then high
    bool bcd;
    bool gate;
    bool counting;         // the counting element runs (modes 1, 5: has been triggered)
    bool written;          // a count was written since the control word
    bool halted;           // counting stopped, see `frozen`
    bool low_first;        // mode 3: the present cycle began with the low half
    bool write_high;       // next write is the high byte
    bool read_high;        // next read is the high byte
    uint8_t write_low;     // low byte waiting for the high one
    uint8_t latched_bytes; // bytes of `latched` still to be read
    uint8_t latched_status;
    bool status_latched;
};

struct pit {
    struct device device;
    struct pit_counter counters[3];
    uint8_t port61;          // bits 3:0 as written
    bool output;             // level that `irq` was driven to
    struct event transition; // next change of counter 0's output
    struct wire irq;         // level of counter 0's output: IRQ 0
    struct wire speaker;     // level of the speaker data (counter 2's output and bit 1); driven on port 0x61 writes
};

extern const struct device_class pit_class;

#endif
