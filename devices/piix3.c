// Intel PIIX3 ISA bridge. See piix3.h.
#include "devices/piix3.h"

// Only these ISA interrupts may carry a PIRQ (290550 sec. 2.2.7).
#define ROUTABLE 0xDEF8u
#define RESET_CONTROL_HARD 0x02u
#define RESET_CONTROL_GO 0x04u

/// The ISA interrupts that are asserted, whoever asserts them.
static uint32_t interrupt_levels(const struct piix3 *bridge)
{
    uint32_t levels = bridge->lines & 0xFFFF;
    for (unsigned i = 0; i < 4; i++) {
        uint8_t route = bridge->pci.config[PIIX3_PIRQ_ROUTE + i];
        if ((bridge->lines >> (PIIX3_PIRQ_LINE + i) & 1) && !(route & 0x80) && (ROUTABLE >> (route & 15) & 1))
            levels |= 1u << (route & 15);
    }
    return levels;
}

static void drive(struct piix3 *bridge, uint32_t mask)
{
    uint32_t levels = interrupt_levels(bridge);
    for (unsigned i = 0; i < 16; i++)
        if (mask >> i & 1)
            wire_set(&bridge->irq[i], levels >> i & 1);
}

void piix3_set_line(void *opaque, unsigned line, bool level)
{
    struct piix3 *bridge = opaque;
    if (line >= PIIX3_PIRQ_LINE + 4)
        return;
    uint32_t before = interrupt_levels(bridge);
    bridge->lines = level ? bridge->lines | 1u << line : bridge->lines & ~(1u << line);
    // Only changes go on: the controllers' edge detectors see each edge once.
    drive(bridge, before ^ interrupt_levels(bridge));
}

static void config_written(void *opaque, unsigned offset, unsigned size)
{
    if (offset < PIIX3_PIRQ_ROUTE + 4 && offset + size > PIIX3_PIRQ_ROUTE)
        drive(opaque, ROUTABLE);
}

static uint64_t reset_control_read(void *opaque, uint64_t offset, unsigned size)
{
    struct piix3 *bridge = opaque;
    return bridge->reset_control;
}

static void reset_control_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct piix3 *bridge = opaque;
    bool go = (value & RESET_CONTROL_GO) && !(bridge->reset_control & RESET_CONTROL_GO);
    bridge->reset_control = value & RESET_CONTROL_HARD;
    if (go && bridge->control.reset)
        bridge->control.reset(bridge->control.opaque);
}

static bool init(void *device, struct error *error)
{
    struct piix3 *bridge = device;
    pci_function_init(&bridge->pci, 0x8086, 0x7000, 0x0601, 0x00);
    bridge->pci.opaque = bridge;
    bridge->pci.config_written = config_written;
    uint8_t *initial = bridge->pci.initial, *mask = bridge->pci.write_mask;
    store_le16(initial + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    store_le16(mask + PCI_COMMAND, PCI_COMMAND_SERR);
    store_le16(initial + PCI_STATUS, 0x0200);
    store_le16(initial + PCI_SUBSYSTEM_VENDOR, 0x1AF4);
    store_le16(initial + PCI_SUBSYSTEM_ID, 0x1100);
    initial[PCI_HEADER_TYPE] = 0x80; // several functions
    mask[PCI_INTERRUPT_LINE] = 0;
    initial[0x4C] = 0x4D; // ISA recovery timer
    initial[0x4E] = 0x03; // X-bus chip select
    mask[0x4C] = mask[0x4E] = mask[0x4F] = 0xFF;
    memset(initial + PIIX3_PIRQ_ROUTE, 0x80, 4);
    memset(mask + PIIX3_PIRQ_ROUTE, 0x8F, 4);
    initial[0x69] = 0x02; // top of memory
    mask[0x69] = 0xFE;
    initial[0x70] = 0x80; // motherboard device routing
    mask[0x70] = mask[0x71] = 0xCF;
    initial[0x76] = initial[0x77] = 0x0C;
    mask[0x76] = mask[0x77] = 0x8F;
    initial[0x78] = 0x02;
    initial[0xA0] = 0x08; // SMI control
    memset(mask + 0xA0, 0xFF, 16);
    return true;
}

static void reset(void *device)
{
    struct piix3 *bridge = device;
    bridge->reset_control = 0;
    bridge->lines = 0;
    pci_function_reset(&bridge->pci);
    drive(bridge, 0xFFFF);
}

static const struct state_field fields[] = {
    STATE_SKIP(piix3, device), STATE_NESTED(piix3, pci, &pci_function_state),
    STATE_U(piix3, lines),     STATE_U(piix3, reset_control),
    STATE_SKIP(piix3, irq),    STATE_SKIP(piix3, control),
};

static bool after_load(void *object, struct error *error)
{
    struct piix3 *bridge = object;
    bridge->lines &= 0xFFFFF;
    bridge->reset_control &= RESET_CONTROL_HARD;
    return true;
}

static const struct state_table state = STATE_TABLE("piix3", 1, piix3, fields, after_load);
static const struct region_ops regions[] = {
    {.read = reset_control_read, .write = reset_control_write, .max_size = 1, .name = "reset-control"}};
static const uint32_t region_sizes[] = {1};

const struct device_class piix3_class = {
    .name = "PIIX3",
    .description = "Intel PIIX3 PCI-to-ISA bridge",
    .size = sizeof(struct piix3),
    .state = &state,
    .init = init,
    .reset = reset,
    .regions = regions,
    .region_sizes = region_sizes,
    .region_count = 1,
};
