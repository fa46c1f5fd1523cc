// System control port A (0x92) as the PIIX3 has it.
#include "devices/port92.h"

enum {
    PORT92_FAST_RESET = 1 << 0,
    PORT92_A20 = 1 << 1,
};

static uint64_t port92_read(void *opaque, uint64_t offset, unsigned size)
{
    const struct port92 *port = opaque;
    return port->value;
}

static void port92_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct port92 *port = opaque;
    uint8_t old = port->value;
    port->value = (uint8_t)value;
    wire_set(&port->a20, value & PORT92_A20);
    if (value & ~old & PORT92_FAST_RESET)
        wire_pulse(&port->reset);
}

static void port92_reset(void *device)
{
    struct port92 *port = device;
    // A20 passes after reset, or the processor could not reach its reset vector.
    port->value = PORT92_A20;
    wire_set(&port->reset, false);
    wire_set(&port->a20, true);
}

static const struct state_field port92_fields[] = {
    STATE_SKIP(port92, device),
    STATE_U(port92, value),
    STATE_SKIP(port92, a20),
    STATE_SKIP(port92, reset),
};
static const struct state_table port92_state = STATE_TABLE("port92", 1, port92, port92_fields, NULL);

static const struct region_ops port92_regions[] = {
    {.read = port92_read, .write = port92_write, .max_size = 1, .name = "port92"},
};
static const uint32_t port92_region_sizes[] = {1};

const struct device_class port92_class = {
    .name = "port92",
    .description = "fast A20 gate and reset (system control port A)",
    .size = sizeof(struct port92),
    .state = &port92_state,
    .reset = port92_reset,
    .regions = port92_regions,
    .region_sizes = port92_region_sizes,
    .region_count = ARRAY_SIZE(port92_regions),
};
