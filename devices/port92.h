// System control port A: fast A20 gate and fast reset. Region, 8-bit register:
//   0: port 0x92
#ifndef DOPPEL_DEVICES_PORT92_H
#define DOPPEL_DEVICES_PORT92_H

#include "devices/device.h"

struct port92 {
    struct device device;
    uint8_t value;
    struct wire a20;   // level: bit 1, driven on writes and reset (high)
    struct wire reset; // pulse: bit 0 went from 0 to 1
};

extern const struct device_class port92_class;

#endif
