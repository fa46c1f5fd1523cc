// Debug consoles at 0x402 and 0xE9. Both read as 0xE9, which is how guests find out that somebody listens.
#include "devices/debug_port.h"

#define DEBUG_PORT_SIGNATURE 0xE9

static uint64_t debug_port_read(void *opaque, uint64_t offset, unsigned size)
{
    return DEBUG_PORT_SIGNATURE;
}

static void debug_port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    const struct debug_port *port = opaque;
    uint8_t byte = (uint8_t)value;
    log_print(port->device.context->log, LOG_FIRMWARE, "%c", byte);
    character_sink_write(&port->sink, &byte, 1);
}

static const struct state_field debug_port_fields[] = {
    STATE_SKIP(debug_port, device),
    STATE_SKIP(debug_port, sink),
};
static const struct state_table debug_port_state = STATE_TABLE("debug-port", 1, debug_port, debug_port_fields, NULL);

static const struct region_ops debug_port_regions[] = {
    {.read = debug_port_read, .write = debug_port_write, .max_size = 1, .name = "debug-port-402"},
    {.read = debug_port_read, .write = debug_port_write, .max_size = 1, .name = "debug-port-e9"},
};
static const uint32_t debug_port_region_sizes[] = {1, 1};

const struct device_class debug_port_class = {
    .name = "isa-debugcon",
    .description = "debug console of firmware and guests",
    .size = sizeof(struct debug_port),
    .state = &debug_port_state,
    .regions = debug_port_regions,
    .region_sizes = debug_port_region_sizes,
    .region_count = ARRAY_SIZE(debug_port_regions),
};
