// The outside of a machine as devices see it: small interfaces that the frontend implements and tests fake.
// Input reaches a device through one door: the machine delivers it at an event-queue boundary (so that it can be
// recorded and replayed), by calling the device's *_receive function.
#ifndef DOPPEL_DEVICES_HOST_H
#define DOPPEL_DEVICES_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Where the bytes of a serial line, or of a debug port, go.
struct character_sink {
    void (*write)(void *opaque, const uint8_t *bytes, size_t length);
    void *opaque;
};

static inline void character_sink_write(const struct character_sink *sink, const uint8_t *bytes, size_t length)
{
    if (sink->write)
        sink->write(sink->opaque, bytes, length);
}

/// What a guest can ask of the machine as a whole.
struct machine_control {
    void (*power_off)(void *opaque);                 // ACPI S5
    void (*reset)(void *opaque);                     // port 0x92, 0x64, 0xCF9, triple fault
    void (*debug_exit)(void *opaque, uint32_t code); // isa-debug-exit: program exits with code << 1 | 1
    void *opaque;
};

#endif
