// isa-debug-exit: a write ends the program with exit code (value << 1) | 1. Region:
//   0: `iosize` (at most 4) ports at `iobase`
#ifndef DOPPEL_DEVICES_DEBUG_EXIT_H
#define DOPPEL_DEVICES_DEBUG_EXIT_H

#include "devices/device.h"
#include "devices/host.h"

struct debug_exit {
    struct device device;
    uint32_t iobase; // properties: where the board maps the region
    uint32_t iosize;
    struct machine_control control; // set by the board; debug_exit gets the value written
};

extern const struct device_class debug_exit_class;

#endif
