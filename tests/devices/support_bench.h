// A device alone: a clock that moves by hand, and a wire that remembers.
#ifndef DOPPEL_TESTS_DEVICES_SUPPORT_BENCH_H
#define DOPPEL_TESTS_DEVICES_SUPPORT_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "devices/device.h"

struct chip_bench {
    struct clock clock;
    struct device_context context;
};

struct probe {
    bool level;
    unsigned rises;
    uint64_t rise_at; // guest ns of the last rise
    const struct clock *clock;
};

static inline void probe_set(void *opaque, unsigned line, bool level)
{
    struct probe *probe = opaque;
    if (level && !probe->level) {
        probe->rises++;
        probe->rise_at = clock_now(probe->clock);
    }
    probe->level = level;
}

/// A device of `class`, not yet reset, so that wires can be connected.
static inline void *chip_new(struct chip_bench *bench, const struct device_class *class)
{
    struct error error = {0};
    clock_init(&bench->clock, CLOCK_MANUAL);
    bench->context = (struct device_context){.clock = &bench->clock};
    void *device = device_new(class, class->name, &bench->context, &error);
    assert_non_null(device);
    assert_true(device_init(device, &error));
    return device;
}

static inline struct probe probe_on(struct chip_bench *bench)
{
    return (struct probe){.clock = &bench->clock};
}

static inline uint8_t chip_read(void *device, unsigned region, uint64_t offset)
{
    const struct device *self = device;
    return (uint8_t)self->class->regions[region].read(device, offset, 1);
}

static inline void chip_write(void *device, unsigned region, uint64_t offset, uint8_t value)
{
    const struct device *self = device;
    self->class->regions[region].write(device, offset, value, 1);
}

#endif
