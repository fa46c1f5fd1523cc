// I/O APIC. See io_apic.h.
#include "devices/io_apic.h"

#define VERSION (0x20u | (IO_APIC_PINS - 1) << 16)
#define ENTRY_LOGICAL BIT(11)
#define ENTRY_REMOTE_IRR BIT(14)
#define ENTRY_LEVEL BIT(15)
#define ENTRY_MASKED BIT(16)
#define ENTRY_WRITABLE UINT64_C(0xFF0000000001AFFF)

static void deliver(struct io_apic *apic, unsigned pin)
{
    uint64_t *entry = &apic->entries[pin];
    struct apic_message message = {
        .destination = (uint32_t)(*entry >> 56),
        .logical = *entry & ENTRY_LOGICAL,
        .level = *entry & ENTRY_LEVEL,
        .delivery = *entry >> 8 & 7,
        .vector = (uint8_t)*entry,
    };
    bool remembered = message.delivery == APIC_FIXED || message.delivery == APIC_LOWEST;
    bool taken = apic->send && apic->send(apic->opaque, &message);
    if (taken && message.level && remembered)
        *entry |= ENTRY_REMOTE_IRR;
}

/// A level input that is asserted, unmasked and not in service asks (again).
static void service_level(struct io_apic *apic, unsigned pin)
{
    uint64_t entry = apic->entries[pin];
    if ((apic->lines >> pin & 1) && (entry & ENTRY_LEVEL) && !(entry & (ENTRY_MASKED | ENTRY_REMOTE_IRR)))
        deliver(apic, pin);
}

void io_apic_set_line(void *opaque, unsigned line, bool level)
{
    struct io_apic *apic = opaque;
    if (line >= IO_APIC_PINS)
        return;
    bool rising = level && !(apic->lines >> line & 1);
    apic->lines = level ? apic->lines | 1u << line : apic->lines & ~(1u << line);
    if (apic->entries[line] & ENTRY_LEVEL)
        service_level(apic, line);
    else if (rising && !(apic->entries[line] & ENTRY_MASKED))
        deliver(apic, line); // an edge at a masked pin is lost
}

void io_apic_end_of_interrupt(struct io_apic *apic, uint8_t vector)
{
    for (unsigned pin = 0; pin < IO_APIC_PINS; pin++) {
        uint64_t *entry = &apic->entries[pin];
        if ((uint8_t)*entry != vector || !(*entry & ENTRY_REMOTE_IRR))
            continue;
        *entry &= ~ENTRY_REMOTE_IRR;
        service_level(apic, pin);
    }
}

static uint32_t read_register(const struct io_apic *apic)
{
    switch (apic->index) {
    case 0: // ID
    case 2: // arbitration ID
        return (uint32_t)apic->id << 24;
    case 1:
        return VERSION;
    default:
        break;
    }
    unsigned pin = (apic->index - 0x10u) >> 1;
    if (apic->index >= 0x10 && pin < IO_APIC_PINS)
        return (uint32_t)(apic->entries[pin] >> (apic->index & 1 ? 32 : 0));
    log_print(apic->device.context->log, LOG_DEVICE, "ioapic: read of register 0x%02x\n", apic->index);
    return 0;
}

static void write_entry(struct io_apic *apic, unsigned pin, uint32_t value, bool high)
{
    uint64_t old = apic->entries[pin];
    uint64_t raw = high ? (old & 0xFFFFFFFFu) | (uint64_t)value << 32 : (old & ~UINT64_C(0xFFFFFFFF)) | value;
    uint64_t entry = raw & ENTRY_WRITABLE;
    // Remote IRR is read-only, and gone in edge mode (guests use that as an EOI).
    if (entry & ENTRY_LEVEL)
        entry |= old & ENTRY_REMOTE_IRR;
    apic->entries[pin] = entry;
    service_level(apic, pin);
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    struct io_apic *apic = opaque;
    if (offset == 0)
        return apic->index;
    return offset == 0x10 && size == 4 ? read_register(apic) : 0;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct io_apic *apic = opaque;
    if (offset == 0) {
        apic->index = (uint8_t)value;
    } else if (offset == 0x40 && size == 4) {
        io_apic_end_of_interrupt(apic, (uint8_t)value);
    } else if (offset == 0x10 && size == 4) {
        unsigned pin = (apic->index - 0x10u) >> 1;
        if (apic->index == 0)
            apic->id = value >> 24 & 15;
        else if (apic->index >= 0x10 && pin < IO_APIC_PINS)
            write_entry(apic, pin, (uint32_t)value, apic->index & 1);
    } else {
        log_print(apic->device.context->log, LOG_DEVICE, "ioapic: %u byte write at 0x%x\n", size, (unsigned)offset);
    }
}

static void reset(void *device)
{
    struct io_apic *apic = device;
    apic->index = 0;
    apic->id = 0;
    apic->lines = 0;
    for (unsigned i = 0; i < IO_APIC_PINS; i++)
        apic->entries[i] = ENTRY_MASKED;
}

static const struct state_field fields[] = {
    STATE_SKIP(io_apic, device),   STATE_U(io_apic, index),   STATE_U(io_apic, id),        STATE_U(io_apic, lines),
    STATE_ARRAY(io_apic, entries), STATE_SKIP(io_apic, send), STATE_SKIP(io_apic, opaque),
};

static bool after_load(void *object, struct error *error)
{
    struct io_apic *apic = object;
    apic->lines &= (1u << IO_APIC_PINS) - 1;
    apic->id &= 15;
    for (unsigned i = 0; i < IO_APIC_PINS; i++)
        apic->entries[i] &= ENTRY_WRITABLE | ENTRY_REMOTE_IRR;
    return true;
}

static const struct state_table state = STATE_TABLE("ioapic", 1, io_apic, fields, after_load);
static const struct region_ops regions[] = {{.read = mmio_read, .write = mmio_write, .max_size = 4, .name = "ioapic"}};
static const uint32_t region_sizes[] = {PAGE_SIZE};

const struct device_class io_apic_class = {
    .name = "ioapic",
    .description = "I/O APIC",
    .size = sizeof(struct io_apic),
    .state = &state,
    .reset = reset,
    .regions = regions,
    .region_sizes = region_sizes,
    .region_count = 1,
};
