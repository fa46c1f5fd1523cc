// isa-debug-exit: lets a test guest end the program with a code.
#include "devices/debug_exit.h"

static uint64_t debug_exit_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void debug_exit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    const struct debug_exit *port = opaque;
    if (port->control.debug_exit)
        port->control.debug_exit(port->control.opaque, (uint32_t)value);
}

static const struct property debug_exit_property_list[] = {
    {.name = "iobase",
     .type = PROPERTY_UINT32,
     .offset = offsetof(struct debug_exit, iobase),
     .size = sizeof(uint32_t),
     .minimum = 0,
     .maximum = 0xFFFF,
     .default_text = "0x501",
     .help = "first port"},
    {.name = "iosize",
     .type = PROPERTY_UINT32,
     .offset = offsetof(struct debug_exit, iosize),
     .size = sizeof(uint32_t),
     .minimum = 1,
     .maximum = 4,
     .default_text = "0x02",
     .help = "number of ports"},
};
static const struct property_table debug_exit_properties = {
    .name = "isa-debug-exit",
    .properties = debug_exit_property_list,
    .count = ARRAY_SIZE(debug_exit_property_list),
};

static const struct state_field debug_exit_fields[] = {
    STATE_SKIP(debug_exit, device),
    STATE_SKIP(debug_exit, iobase),
    STATE_SKIP(debug_exit, iosize),
    STATE_SKIP(debug_exit, control),
};
static const struct state_table debug_exit_state = STATE_TABLE("debug-exit", 1, debug_exit, debug_exit_fields, NULL);

static const struct region_ops debug_exit_regions[] = {
    {.read = debug_exit_read, .write = debug_exit_write, .max_size = 4, .name = "debug-exit"},
};
static const uint32_t debug_exit_region_sizes[] = {4};

const struct device_class debug_exit_class = {
    .name = "isa-debug-exit",
    .description = "a guest's write ends the program",
    .size = sizeof(struct debug_exit),
    .state = &debug_exit_state,
    .properties = &debug_exit_properties,
    .regions = debug_exit_regions,
    .region_sizes = debug_exit_region_sizes,
    .region_count = ARRAY_SIZE(debug_exit_regions),
};
