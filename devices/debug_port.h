// Debug consoles: bytes that firmware and hypervisor-aware guests write go to a sink. Regions, one 8-bit register:
//   0: port 0x402 (SeaBIOS, OVMF)   1: port 0xE9 (Bochs)
#ifndef DOPPEL_DEVICES_DEBUG_PORT_H
#define DOPPEL_DEVICES_DEBUG_PORT_H

#include "devices/device.h"
#include "devices/host.h"

struct debug_port {
    struct device device;
    struct character_sink sink; // set by the board
};

extern const struct device_class debug_port_class;

#endif
