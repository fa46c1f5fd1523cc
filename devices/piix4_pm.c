// PIIX4 power management. See piix4_pm.h.
#include "devices/piix4_pm.h"

#define STATUS_BITS (PM1_TIMER | 0x10u | PM1_GLOBAL | PM1_POWER_BUTTON | PM1_SLEEP_BUTTON | PM1_RTC | PM1_WAKE)
#define ENABLE_BITS (PM1_TIMER | PM1_GLOBAL | PM1_POWER_BUTTON | PM1_SLEEP_BUTTON | PM1_RTC)
#define CONTROL_BITS 0x1C07u           // SCI_EN, BM_RLD, GBL_RLS (reads as 0), SLP_TYP
#define TIMER_HALF (UINT64_C(1) << 23) // TMR_STS sets when bit 23 of the count changes
#define SMBUS_BASE 0x90
#define SMBUS_CONFIG 0xD2
#define DEVACTB_SMI 0x5B // bit 1 (bit 25 of DEVACTB): the command port raises SMI

static uint64_t now_ns(const struct piix4_pm *pm)
{
    return clock_now(pm->device.context->clock);
}

static uint64_t timer_ticks(const struct piix4_pm *pm)
{
    return clock_scale(now_ns(pm), PM_TIMER_HZ, 1000000000);
}

/// First nanosecond at which the timer shows `ticks`.
static uint64_t ticks_to_ns(uint64_t ticks)
{
    uint64_t ns = clock_scale(ticks, 1000000000, PM_TIMER_HZ);
    return ns < CLOCK_NEVER - 1 ? ns + 1 : CLOCK_NEVER;
}

static void collect_timer(struct piix4_pm *pm)
{
    uint64_t ticks = timer_ticks(pm);
    if (ticks >= pm->timer_overflow) {
        pm->status |= PM1_TIMER;
        pm->timer_overflow = (ticks | (TIMER_HALF - 1)) + 1;
    }
}

static void update(struct piix4_pm *pm)
{
    collect_timer(pm);
    bool level = (pm->control & PM1_SCI_ENABLE) &&
                 ((pm->status & pm->enable & ENABLE_BITS) || (pm->gpe_status & pm->gpe_enable));
    if (level != pm->sci) {
        pm->sci = level;
        wire_set(&pm->irq, level);
    }
    if ((pm->enable & PM1_TIMER) && !(pm->status & PM1_TIMER))
        event_arm(&pm->timer, ticks_to_ns(pm->timer_overflow));
    else
        event_cancel(&pm->timer);
}

static void timer_due(void *opaque)
{
    update(opaque);
}

static void write_control(struct piix4_pm *pm, uint16_t value)
{
    pm->control = value & CONTROL_BITS & ~0x0004u;
    update(pm);
    if (!(value & PM1_SLEEP_ENABLE))
        return;
    unsigned type = value >> 10 & 7;
    if (type == ACPI_S5) {
        if (pm->control_out.power_off)
            pm->control_out.power_off(pm->control_out.opaque);
    } else {
        log_print(pm->device.context->log, LOG_UNIMP, "pm: sleep type %u\n", type);
    }
}

// ---- PM block. Registers are 16 bits; bytes work as halves of them, dwords are two.

static uint16_t read_word(struct piix4_pm *pm, unsigned offset)
{
    switch (offset) {
    case 0:
        collect_timer(pm);
        return pm->status;
    case 2:
        return pm->enable;
    case 4:
        return pm->control;
    case 8:
        return (uint16_t)timer_ticks(pm);
    case 10:
        return timer_ticks(pm) >> 16 & 0xFF; // 24 bits
    default:
        return 0;
    }
}

static uint64_t pm_read(void *opaque, uint64_t offset, unsigned size)
{
    struct piix4_pm *pm = opaque;
    unsigned word = (unsigned)offset & ~1u;
    if (word == 8 && size == 4) // one instant
        return timer_ticks(pm) & 0xFFFFFF;
    uint64_t value =
        read_word(pm, word) | (uint64_t)read_word(pm, word + 2) << 16 | (uint64_t)read_word(pm, word + 4) << 32;
    return value >> (offset & 1 ? 8 : 0) & bits_mask(8 * size);
}

static void write_word(struct piix4_pm *pm, unsigned offset, uint16_t value, uint16_t mask)
{
    switch (offset) {
    case 0:
        collect_timer(pm);
        pm->status &= (uint16_t) ~(value & mask & STATUS_BITS);
        update(pm);
        break;
    case 2:
        pm->enable = (uint16_t)((pm->enable & ~mask) | (value & mask)) & ENABLE_BITS;
        update(pm);
        break;
    case 4: {
        // SLP_EN acts when its own byte is written, not when the low byte is.
        uint16_t kept = (uint16_t)(pm->control & ~mask);
        write_control(pm, (uint16_t)(kept | (value & mask)));
        break;
    }
    default:
        log_print(pm->device.context->log, LOG_DEVICE, "pm: write of 0x%04x to register 0x%02x\n", value, offset);
    }
}

static void pm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct piix4_pm *pm = opaque;
    for (unsigned i = 0; i < size;) {
        unsigned at = (unsigned)offset + i;
        if (at & 1 || size - i == 1) {
            uint8_t byte = (uint8_t)(value >> (8 * i));
            write_word(pm, at & ~1u, at & 1 ? (uint16_t)(byte << 8) : byte, at & 1 ? 0xFF00 : 0x00FF);
            i++;
        } else {
            write_word(pm, at, (uint16_t)(value >> (8 * i)), 0xFFFF);
            i += 2;
        }
    }
}

// ---- general purpose events

static uint64_t gpe_read(void *opaque, uint64_t offset, unsigned size)
{
    struct piix4_pm *pm = opaque;
    uint32_t both = pm->gpe_status | (uint32_t)pm->gpe_enable << 16;
    return both >> (8 * (offset & 3)) & bits_mask(8 * size);
}

static void gpe_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct piix4_pm *pm = opaque;
    for (unsigned i = 0; i < size; i++) {
        unsigned at = ((unsigned)offset + i) & 3;
        uint8_t byte = (uint8_t)(value >> (8 * i));
        unsigned shift = at & 1 ? 8 : 0;
        if (at < 2)
            pm->gpe_status &= (uint16_t) ~((unsigned)byte << shift);
        else
            pm->gpe_enable = (uint16_t)((pm->gpe_enable & ~(0xFFu << shift)) | (unsigned)byte << shift);
    }
    update(pm);
}

void piix4_pm_set_gpe(struct piix4_pm *pm, unsigned bit, bool on)
{
    if (bit < 16 && on)
        pm->gpe_status |= (uint16_t)(1u << bit);
    update(pm);
}

// ---- command port

static uint64_t command_read(void *opaque, uint64_t offset, unsigned size)
{
    struct piix4_pm *pm = opaque;
    return offset == 0 ? pm->command : pm->command_status;
}

static void command_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct piix4_pm *pm = opaque;
    if (offset != 0) {
        pm->command_status = (uint8_t)value;
        return;
    }
    pm->command = (uint8_t)value;
    // On the real machine an SMI handler does this.
    if (pm->command == ACPI_ENABLE)
        pm->control |= PM1_SCI_ENABLE;
    else if (pm->command == ACPI_DISABLE)
        pm->control &= (uint16_t)~PM1_SCI_ENABLE;
    update(pm);
}

// ---- SMBus: a host controller without anybody on the bus

static uint64_t smbus_read(void *opaque, uint64_t offset, unsigned size)
{
    struct piix4_pm *pm = opaque;
    return pm->smbus[offset & 15];
}

static void smbus_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct piix4_pm *pm = opaque;
    if (offset == 0) // host status: write 1 to clear
        pm->smbus[0] &= (uint8_t) ~(value & 0x1E);
    else if (offset == 2) { // host control; START ends at once with a device error: nobody acknowledged
        pm->smbus[2] = value & 0x1F;
        if (value & 0x40)
            pm->smbus[0] = 0x04;
    } else {
        pm->smbus[offset & 15] = (uint8_t)value;
    }
}

// ---- configuration

static void move_ports(struct piix4_pm *pm, struct range *range, unsigned base, bool enabled, uint64_t size)
{
    if (!range)
        return;
    struct address_space *ports = pm->device.context->ports;
    uint64_t start = load_le16(pm->pci.config + base) & ~(size - 1);
    address_space_update(ports, range, start, enabled && start != 0, RANGE_DEVICE);
}

static void update_map(struct piix4_pm *pm)
{
    move_ports(pm, pm->ports, PIIX4_PM_BASE, pm->pci.config[PIIX4_PM_MISC] & 1, PIIX4_PM_PORTS);
    move_ports(pm, pm->smbus_ports, SMBUS_BASE, pm->pci.config[SMBUS_CONFIG] & 1, 16);
}

static void config_written(void *opaque, unsigned offset, unsigned size)
{
    update_map(opaque);
}

void piix4_pm_press_power_button(struct piix4_pm *pm)
{
    pm->status |= PM1_POWER_BUTTON;
    update(pm);
}

void piix4_pm_firmware_ready(struct piix4_pm *pm, bool acpi)
{
    store_le32(pm->pci.config + PIIX4_PM_BASE, PIIX4_PM_DEFAULT_PORT | 1);
    pm->pci.config[PIIX4_PM_MISC] |= 1;
    pm->pci.config[PCI_INTERRUPT_LINE] = 9;
    if (acpi)
        pm->control |= PM1_SCI_ENABLE;
    update_map(pm);
    update(pm);
}

static bool init(void *device, struct error *error)
{
    struct piix4_pm *pm = device;
    pci_function_init(&pm->pci, 0x8086, 0x7113, 0x0680, 0x03);
    pm->pci.opaque = pm;
    pm->pci.config_written = config_written;
    event_init(&pm->timer, pm->device.context->clock, timer_due, pm);
    uint8_t *initial = pm->pci.initial, *mask = pm->pci.write_mask;
    store_le16(initial + PCI_STATUS, 0x0280);
    store_le16(initial + PCI_SUBSYSTEM_VENDOR, 0x1AF4);
    store_le16(initial + PCI_SUBSYSTEM_ID, 0x1100);
    initial[PCI_INTERRUPT_PIN] = 1;
    initial[PIIX4_PM_BASE] = 1;
    store_le32(mask + PIIX4_PM_BASE, 0xFFC0);
    memset(mask + 0x44, 0xFF, 0x2C); // device activity and resources: stored
    // There is no system management mode behind the command port yet: show it as already set up, so that firmware
    // does not wait for a handler.
    initial[DEVACTB_SMI] = 0x02;
    mask[PIIX4_PM_MISC] = 0x01;
    initial[SMBUS_BASE] = 1;
    store_le32(mask + SMBUS_BASE, 0xFFF0);
    mask[SMBUS_CONFIG] = 0x0F;
    return true;
}

static void reset(void *device)
{
    struct piix4_pm *pm = device;
    pm->status = pm->enable = pm->control = 0;
    pm->gpe_status = pm->gpe_enable = 0;
    pm->command = pm->command_status = 0;
    memset(pm->smbus, 0, sizeof pm->smbus);
    pm->sci = false;
    pm->timer_overflow = (timer_ticks(pm) | (TIMER_HALF - 1)) + 1;
    event_cancel(&pm->timer);
    pci_function_reset(&pm->pci);
    update_map(pm);
    wire_set(&pm->irq, false);
}

static void destroy(void *device)
{
    struct piix4_pm *pm = device;
    event_cancel(&pm->timer);
}

static const struct state_field fields[] = {
    STATE_SKIP(piix4_pm, device),
    STATE_NESTED(piix4_pm, pci, &pci_function_state),
    STATE_U(piix4_pm, status),
    STATE_U(piix4_pm, enable),
    STATE_U(piix4_pm, control),
    STATE_U(piix4_pm, gpe_status),
    STATE_U(piix4_pm, gpe_enable),
    STATE_U(piix4_pm, command),
    STATE_U(piix4_pm, command_status),
    STATE_RAW(piix4_pm, smbus),
    STATE_U(piix4_pm, sci),
    STATE_U(piix4_pm, timer_overflow),
    STATE_TIMER(piix4_pm, timer),
    STATE_SKIP(piix4_pm, ports),
    STATE_SKIP(piix4_pm, smbus_ports),
    STATE_SKIP(piix4_pm, irq),
    STATE_SKIP(piix4_pm, control_out),
};

static bool after_load(void *object, struct error *error)
{
    struct piix4_pm *pm = object;
    pm->status &= STATUS_BITS;
    pm->enable &= ENABLE_BITS;
    pm->control &= CONTROL_BITS;
    update_map(pm);
    return true;
}

static const struct state_table state = STATE_TABLE("piix4-pm", 1, piix4_pm, fields, after_load);
static const struct region_ops regions[] = {
    {.read = pm_read, .write = pm_write, .max_size = 4, .name = "acpi-pm"},
    {.read = gpe_read, .write = gpe_write, .max_size = 4, .name = "acpi-gpe"},
    {.read = command_read, .write = command_write, .max_size = 1, .name = "apm"},
    {.read = smbus_read, .write = smbus_write, .max_size = 1, .name = "smbus"},
};
static const uint32_t region_sizes[] = {PIIX4_PM_PORTS, 4, 2, 16};

const struct device_class piix4_pm_class = {
    .name = "PIIX4_PM",
    .description = "Intel PIIX4 power management",
    .size = sizeof(struct piix4_pm),
    .state = &state,
    .init = init,
    .reset = reset,
    .destroy = destroy,
    .regions = regions,
    .region_sizes = region_sizes,
    .region_count = 4,
};
