// PCI bus and configuration mechanism 1. See pci.h.
#include "devices/pci.h"

// ---- functions

void pci_function_init(struct pci_function *function, uint16_t vendor, uint16_t device, uint16_t class_code,
                       uint8_t revision)
{
    uint8_t *initial = function->initial;
    store_le16(initial + PCI_VENDOR_ID, vendor);
    store_le16(initial + PCI_DEVICE_ID, device);
    store_le16(initial + PCI_CLASS, class_code);
    initial[PCI_REVISION] = revision;
    store_le16(function->write_mask + PCI_COMMAND,
               PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE);
    function->write_mask[PCI_INTERRUPT_LINE] = 0xFF;
    function->write_mask[0x0C] = 0xFF; // cache line size
    store_le16(function->clear_mask + PCI_STATUS, 0xF900);
    memcpy(function->config, function->initial, PCI_CONFIG_SIZE);
}

static uint32_t bar_address(const struct pci_function *function, unsigned index)
{
    return load_le32(function->config + PCI_BAR(index)) & ~(function->bars[index].size - 1);
}

static void update_mappings(struct pci_function *function)
{
    uint16_t command = load_le16(function->config + PCI_COMMAND);
    for (unsigned i = 0; i < PCI_MAX_BARS; i++) {
        struct pci_bar *bar = &function->bars[i];
        if (!bar->range)
            continue;
        struct address_space *space =
            bar->io ? function->bus->device.context->ports : function->bus->device.context->memory;
        uint32_t address = bar_address(function, i);
        bool enabled = command & (bar->io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY);
        // Address 0 is "not assigned", and the all-ones of a size probe is no place either.
        uint64_t end = (uint64_t)address + bar->size;
        if (address == 0 || end > space->limit || end > UINT32_MAX)
            enabled = false;
        address_space_update(space, bar->range, enabled ? address : bar->range->start, enabled, RANGE_DEVICE);
    }
}

static void notify(struct pci_function *function, unsigned offset, unsigned size)
{
    if (function->bus)
        update_mappings(function);
    if (function->config_written)
        function->config_written(function->opaque, offset, size);
}

bool pci_bus_add(struct pci_bus *bus, struct pci_function *function, unsigned slot, unsigned number,
                 struct error *error)
{
    if (slot > 31 || number > 7 || bus->functions[slot << 3 | number])
        return error_set(error, "PCI slot %02x.%x is taken or does not exist", slot, number);
    function->bus = bus;
    function->devfn = (uint8_t)(slot << 3 | number);
    bus->functions[function->devfn] = function;
    return true;
}

bool pci_function_add_bar(struct pci_function *function, unsigned index, uint32_t size, bool io,
                          const struct region_ops *ops, void *opaque, struct error *error)
{
    if (index >= PCI_MAX_BARS || size < (io ? 4u : 16u) || (size & (size - 1)))
        return error_set(error, "bad PCI BAR %u of %u bytes", index, size);
    struct pci_bar *bar = &function->bars[index];
    const struct device_context *context = function->bus->device.context;
    struct address_space *space = io ? context->ports : context->memory;
    bar->range = address_space_map_device(space, ops->name, 0, size, 1, ops, opaque, error);
    if (!bar->range)
        return false;
    bar->size = size;
    bar->io = io;
    address_space_update(space, bar->range, 0, false, RANGE_DEVICE);
    function->initial[PCI_BAR(index)] = io ? 1 : 0;
    store_le32(function->write_mask + PCI_BAR(index), ~(size - 1));
    return true;
}

void pci_function_reset(struct pci_function *function)
{
    memcpy(function->config, function->initial, PCI_CONFIG_SIZE);
    notify(function, 0, PCI_CONFIG_SIZE);
}

void pci_function_set_interrupt(struct pci_function *function, bool level)
{
    struct pci_bus *bus = function->bus;
    unsigned pin = function->config[PCI_INTERRUPT_PIN];
    if (!bus || pin < 1 || pin > 4)
        return;
    unsigned slot = function->devfn >> 3;
    uint8_t bit = (uint8_t)(1u << (pin - 1));
    bus->intx[slot] = level ? bus->intx[slot] | bit : bus->intx[slot] & (uint8_t)~bit;
    // Boards rotate the pins from slot to slot; slot 1 is the ISA bridge and leaves them straight.
    unsigned line = (slot + 3 + pin - 1) & 3;
    bool any = false;
    for (unsigned s = 0; s < 32 && !any; s++)
        any = bus->intx[s] >> ((line - s - 3) & 3) & 1;
    wire_set(&bus->pirq[line], any);
}

// ---- configuration cycles

uint32_t pci_config_read(struct pci_bus *bus, unsigned devfn, unsigned offset, unsigned size)
{
    const struct pci_function *function = bus->functions[devfn & 0xFF];
    uint32_t value = 0;
    for (unsigned i = 0; i < size && i < 4; i++)
        value |= (uint32_t)(function ? function->config[(offset + i) & 0xFF] : 0xFF) << (8 * i);
    return value;
}

void pci_config_write(struct pci_bus *bus, unsigned devfn, unsigned offset, uint32_t value, unsigned size)
{
    struct pci_function *function = bus->functions[devfn & 0xFF];
    if (!function) {
        log_print(bus->device.context->log, LOG_DEVICE, "pci: write to absent function %02x.%x\n", devfn >> 3 & 31,
                  devfn & 7);
        return;
    }
    for (unsigned i = 0; i < size && i < 4; i++) {
        unsigned at = (offset + i) & 0xFF;
        uint8_t byte = (uint8_t)(value >> (8 * i)), mask = function->write_mask[at];
        uint8_t now = (uint8_t)((function->config[at] & ~mask) | (byte & mask));
        function->config[at] = now & (uint8_t) ~(byte & function->clear_mask[at]);
    }
    notify(function, offset & 0xFF, size);
}

// ---- ports 0xCF8..0xCFF

/// True when the address register selects a configuration cycle on this, the only, bus.
static bool config_selected(const struct pci_bus *bus)
{
    return (bus->address & 0x80000000u) && (bus->address >> 16 & 0xFF) == 0;
}

static uint64_t bus_port_read(void *opaque, uint64_t offset, unsigned size)
{
    struct pci_bus *bus = opaque;
    if (offset < 4) {
        if (offset == 0 && size == 4)
            return bus->address;
        if (offset == 1 && size == 1 && bus->reset_control)
            return bus->reset_control->read(bus->reset_control_opaque, 0, 1);
        return bits_mask(8 * size);
    }
    if (!config_selected(bus))
        return bits_mask(8 * size);
    return pci_config_read(bus, bus->address >> 8 & 0xFF, (bus->address & 0xFC) | (offset & 3), size);
}

static void bus_port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct pci_bus *bus = opaque;
    if (offset < 4) {
        if (offset == 0 && size == 4)
            bus->address = (uint32_t)value & 0x80FFFFFCu;
        else if (offset == 1 && size == 1 && bus->reset_control)
            bus->reset_control->write(bus->reset_control_opaque, 0, value, 1);
        return;
    }
    if (config_selected(bus))
        pci_config_write(bus, bus->address >> 8 & 0xFF, (bus->address & 0xFC) | (offset & 3), (uint32_t)value, size);
}

static void bus_reset(void *device)
{
    struct pci_bus *bus = device;
    bus->address = 0;
    memset(bus->intx, 0, sizeof bus->intx);
    for (unsigned i = 0; i < 4; i++)
        wire_set(&bus->pirq[i], false);
}

// ---- state

static bool function_after_load(void *object, struct error *error)
{
    // Only the map: lines that the configuration routes have their level in the state of what they lead to.
    struct pci_function *function = object;
    if (function->bus)
        update_mappings(function);
    return true;
}

static const struct state_field function_fields[] = {
    STATE_RAW(pci_function, config),      STATE_SKIP(pci_function, initial),
    STATE_SKIP(pci_function, write_mask), STATE_SKIP(pci_function, clear_mask),
    STATE_SKIP(pci_function, bars),       STATE_SKIP(pci_function, bus),
    STATE_SKIP(pci_function, devfn),      STATE_SKIP(pci_function, config_written),
    STATE_SKIP(pci_function, opaque),
};
const struct state_table pci_function_state =
    STATE_TABLE("pci-function", 1, pci_function, function_fields, function_after_load);

static const struct state_field bus_fields[] = {
    STATE_SKIP(pci_bus, device),
    STATE_U(pci_bus, address),
    STATE_ARRAY(pci_bus, intx),
    STATE_SKIP(pci_bus, functions),
    STATE_SKIP(pci_bus, pirq),
    STATE_SKIP(pci_bus, reset_control),
    STATE_SKIP(pci_bus, reset_control_opaque),
};

static bool bus_after_load(void *object, struct error *error)
{
    struct pci_bus *bus = object;
    bus->address &= 0x80FFFFFCu;
    return true;
}

static const struct state_table bus_state = STATE_TABLE("pci-bus", 1, pci_bus, bus_fields, bus_after_load);
static const struct region_ops bus_ports[] = {
    {.read = bus_port_read, .write = bus_port_write, .max_size = 4, .name = "pci-config"}};
static const uint32_t bus_port_sizes[] = {8};

const struct device_class pci_bus_class = {
    .name = "pci-bus",
    .description = "PCI bus with configuration mechanism 1",
    .size = sizeof(struct pci_bus),
    .state = &bus_state,
    .reset = bus_reset,
    .regions = bus_ports,
    .region_sizes = bus_port_sizes,
    .region_count = 1,
};
