// Wires: a one-bit line from one device's output to another's input. The board connects them.
#ifndef DOPPEL_BASE_WIRE_H
#define DOPPEL_BASE_WIRE_H

#include <stdbool.h>
#include <stddef.h>

/// Receives a level on input `line` of `opaque`. Called with the machine lock held.
typedef void wire_receiver(void *opaque, unsigned line, bool level);

struct wire {
    wire_receiver *receiver; // NULL: not connected
    void *opaque;
    unsigned line;
};

static inline void wire_connect(struct wire *wire, wire_receiver *receiver, void *opaque, unsigned line)
{
    *wire = (struct wire){.receiver = receiver, .opaque = opaque, .line = line};
}

/// Drives the line. Drivers may repeat a level; receivers that care keep the last one.
static inline void wire_set(const struct wire *wire, bool level)
{
    if (wire->receiver)
        wire->receiver(wire->opaque, wire->line, level);
}

/// A rising and a falling edge.
static inline void wire_pulse(const struct wire *wire)
{
    wire_set(wire, true);
    wire_set(wire, false);
}

#endif
