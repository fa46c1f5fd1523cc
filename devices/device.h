// What every device is: a state struct, a class of constant tables, and wires. A device knows neither the CPU nor
// its own address: the board (pc.c) maps its regions and connects its lines.
#ifndef DOPPEL_DEVICES_DEVICE_H
#define DOPPEL_DEVICES_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/property.h"
#include "base/state.h"
#include "base/wire.h"
#include "mmu/memory.h"

/// What every device may reach; owned by the machine, outlives the devices.
struct device_context {
    struct clock *clock;
    const struct log *log;
    struct address_space *memory; // bus masters (DMA), the PCI host bridge (PAM)
    struct address_space *ports;
};

struct device_class {
    const char *name;        // as QEMU names it where QEMU has it: "isa-serial", "mc146818rtc"
    const char *description; // one line, for -device help
    size_t size;             // of the device's struct, which begins with `struct device`
    const struct state_table *state;
    const struct property_table *properties; // NULL: none
    /// Called once after properties are set. Must not touch other devices.
    bool (*init)(void *device, struct error *error);
    /// Power-on state. Must be repeatable and must leave output wires at their idle level.
    void (*reset)(void *device);
    void (*destroy)(void *device); // may be NULL
    /// Register blocks by index; the board maps them.
    const struct region_ops *regions;
    const uint32_t *region_sizes;
    unsigned region_count;
};

/// First member of every device struct. In the state table as STATE_SKIP(type, device).
struct device {
    const struct device_class *class;
    const struct device_context *context;
    const char *id; // instance name in snapshots and `info`, unique in a machine: "pit", "com1"
};

/// Allocates a zeroed device and sets property defaults; the caller then sets properties, connects wires, and calls
/// device_init and device_reset.
void *device_new(const struct device_class *class, const char *id, const struct device_context *context,
                 struct error *error);
bool device_init(void *device, struct error *error);
void device_reset(void *device);
void device_free(void *device);

/// All classes, for help and for the contract suite.
extern const struct device_class *const device_classes[];
extern const unsigned device_class_count;

#endif
