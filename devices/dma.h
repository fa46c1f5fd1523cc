// The pair of 8237A DMA controllers of an AT and their page registers. Regions, 8-bit registers:
//   0: ports 0x00-0x0F (channels 0..3)   1: ports 0xC0-0xDF (channels 4..7, a register at each even port)
//   2: ports 0x80-0x8F (page registers; the ones without a channel keep what is written)
#ifndef DOPPEL_DEVICES_DMA_H
#define DOPPEL_DEVICES_DMA_H

#include "devices/device.h"

struct dma_channel {
    uint16_t base_address, base_count;
    uint16_t address, count; // current
    uint8_t mode;            // bits 7:2 as written
};

struct dma_controller {
    struct dma_channel channels[4];
    uint8_t command;
    uint8_t requests; // software requests, bit per channel
    uint8_t mask;     // bit per channel
    uint8_t reached;  // terminal count reached, bit per channel
    uint8_t temporary;
    bool high_byte; // the byte pointer flip-flop
};

struct dma {
    struct device device;
    struct dma_controller controllers[2];
    uint8_t pages[16];
};

extern const struct device_class dma_class;

#endif
