// A 16550A serial port. Region, 8-bit registers:
//   0: 8 ports (COM1 0x3F8 IRQ 4, COM2 0x2F8 IRQ 3, COM3 0x3E8 IRQ 4, COM4 0x2E8 IRQ 3)
#ifndef DOPPEL_DEVICES_SERIAL_H
#define DOPPEL_DEVICES_SERIAL_H

#include "devices/device.h"
#include "devices/host.h"

#define SERIAL_FIFO_SIZE 16

struct serial {
    struct device device;
    struct character_sink sink; // set by the board; bytes leave at once
    uint16_t divisor;
    uint8_t interrupt_enable;
    uint8_t fifo_control;
    uint8_t line_control;
    uint8_t modem_control;
    uint8_t line_status; // error bits and break of the byte at the head, overrun; data ready is derived
    uint8_t modem_status;
    uint8_t scratch;
    bool transmit_interrupt; // transmitter empty, not yet told
    bool timeout_interrupt;  // received bytes waited for four characters' time
    uint8_t fifo[SERIAL_FIFO_SIZE];
    uint8_t fifo_errors[SERIAL_FIFO_SIZE]; // line status bits that came with each byte
    uint8_t fifo_start;
    uint8_t fifo_count;
    bool output;          // level that `irq` was driven to
    struct event timeout; // character timeout
    struct wire irq;      // level
};

extern const struct device_class serial_class;

/// Bytes from outside; returns how many were taken (the receiver may be full, or looped back).
size_t serial_receive(struct serial *serial, const uint8_t *bytes, size_t length);
/// How many bytes serial_receive would take now.
size_t serial_room(const struct serial *serial);
/// A break condition on the line.
void serial_receive_break(struct serial *serial);

#endif
