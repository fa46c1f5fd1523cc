// The board: creates the devices, maps their regions, connects their lines. See pc.h. What firmware and guests find
// in memory (RAM map, tables) is in pc_tables.c.
#include "devices/pc_internal.h"

#include <stdlib.h>

#include "devices/debug_exit.h"
#include "devices/debug_port.h"
#include "devices/dma.h"
#include "devices/fpu_error.h"
#include "devices/pit.h"
#include "devices/port92.h"

#define LAPIC_PRIORITY 20 // above RAM and PAM: the page moves wherever the guest puts it

// ---- lines

/// An ISA interrupt as the ISA bridge sees it goes to both interrupt controllers.
static void interrupt_line(void *opaque, unsigned line, bool level)
{
    struct pc *pc = opaque;
    if (line == 2)
        return; // the cascade
    pic_set_irq(pc->pic, line, level);
    if (pc->io_apic)
        io_apic_set_line(pc->io_apic, line == 0 ? 2 : line, level);
}

/// COM1 and COM3, COM2 and COM4 share a line.
static void serial_line(void *opaque, unsigned port, bool level)
{
    struct pc *pc = opaque;
    const struct serial *other = pc->serial[port ^ 2];
    piix3_set_line(pc->piix3, port & 1 ? 3 : 4, level || (other && other->output));
}

static void reset_line(void *opaque, unsigned line, bool level)
{
    struct pc *pc = opaque;
    if (level && pc->config.control.reset)
        pc->config.control.reset(pc->config.control.opaque);
}

static bool send_to_local_apic(void *opaque, const struct apic_message *message)
{
    struct pc *pc = opaque;
    return local_apic_matches(pc->apic, message) && local_apic_deliver(pc->apic, message);
}

static void end_of_interrupt(void *opaque, uint8_t vector)
{
    struct pc *pc = opaque;
    io_apic_end_of_interrupt(pc->io_apic, vector);
}

static void apic_base_changed(void *opaque)
{
    struct pc *pc = opaque;
    if (!pc->apic_range)
        return;
    bool mapped = (pc->apic->base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == APIC_BASE_ENABLE;
    address_space_update(pc->context->memory, pc->apic_range, pc->apic->base & PAGE_MASK, mapped, RANGE_DEVICE);
}

// ---- building blocks

static bool map_region(struct pc *pc, void *device, unsigned region, struct address_space *space, uint64_t start,
                       int priority, struct range **range, struct error *error)
{
    const struct device_class *class = ((struct device *)device)->class;
    struct range *mapped =
        address_space_map_device(space, class->regions[region].name, start, class->region_sizes[region], priority,
                                 &class->regions[region], device, error);
    if (range)
        *range = mapped;
    return mapped;
}

static bool map_ports(struct pc *pc, void *device, unsigned region, uint16_t start, struct error *error)
{
    return map_region(pc, device, region, pc->context->ports, start, 1, NULL, error);
}

/// A new device on the board's list; init still to be called.
static void *add_device(struct pc *pc, const struct device_class *class, const char *id, struct error *error)
{
    if (pc->device_count == PC_MAX_DEVICES) {
        error_set(error, "too many devices (%d)", PC_MAX_DEVICES);
        return NULL;
    }
    struct device *device = device_new(class, id, pc->context, error);
    if (device)
        pc->devices[pc->device_count++] = device;
    return device;
}

// ---- memory

static bool create_ram(struct pc *pc, struct error *error)
{
    struct address_space *space = pc->context->memory;
    struct memory *memory = space->memory;
    uint64_t low = pc->low_ram, high = pc->high_ram;
    pc->low_offset = memory_allocate(memory, low);
    pc->high_offset = high ? memory_allocate(memory, high) : 0;
    if (pc->low_offset == UINT64_MAX || pc->high_offset == UINT64_MAX)
        return error_set(error, "the memory file has no room for %llu MiB of RAM",
                         (unsigned long long)((low + high) >> 20));
    // Between them: the VGA hole and the PAM areas, which the host bridge maps.
    if (!address_space_map_memory(space, "ram-low", 0, 0xA0000, 0, pc->low_offset, false, error))
        return false;
    if (low > 0x100000 &&
        !address_space_map_memory(space, "ram", 0x100000, low - 0x100000, 0, pc->low_offset + 0x100000, false, error))
        return false;
    return !high || address_space_map_memory(space, "ram-high", PC_4_GIB, high, 0, pc->high_offset, false, error);
}

/// Maps ROM below 1 MiB, where PAM may cover it.
static bool map_low_rom(struct pc *pc, const char *name, uint64_t start, uint64_t size, uint64_t offset,
                        struct error *error)
{
    return address_space_map_memory(pc->context->memory, name, start, size, 0, offset, true, error) &&
           address_space_map_memory(&pc->pci_side, name, start, size, 0, offset, true, error);
}

static bool create_firmware(struct pc *pc, struct error *error)
{
    const struct pc_config *config = &pc->config;
    uint64_t size = config->firmware_size;
    if (!config->firmware)
        return true;
    if (size == 0 || size % 0x10000 || size > 16u << 20)
        return error_set(error, "firmware of %llu bytes: it must be a multiple of 64 KiB, at most 16 MiB",
                         (unsigned long long)size);
    struct memory *memory = pc->context->memory->memory;
    uint64_t offset = memory_allocate(memory, size), mirror = size < 0x20000 ? size : 0x20000;
    if (offset == UINT64_MAX)
        return error_set(error, "the memory file has no room for the firmware");
    memcpy(memory->host + offset, config->firmware, size);
    return address_space_map_memory(pc->context->memory, "firmware", PC_4_GIB - size, size, 1, offset, true, error) &&
           map_low_rom(pc, "firmware-low", 0x100000 - mirror, mirror, offset + size - mirror, error);
}

bool pc_add_option_rom(struct pc *pc, const char *name, const void *data, size_t size, struct error *error)
{
    uint64_t start = pc->next_option_rom, padded = align_up(size, PAGE_SIZE);
    if (size < 512 || size > 0xF0000 - 0xC8000 || start + padded > 0xF0000 - 0x10000)
        return error_set(error, "option ROM '%s' of %zu bytes does not fit below 0xE0000", name, size);
    char file[FW_CFG_FILE_NAME] = "genroms/";
    if (strlen(name) >= sizeof file - strlen(file))
        return error_set(error, "option ROM name '%s' is too long", name);
    memcpy(file + strlen(file), name, strlen(name) + 1);
    struct memory *memory = pc->context->memory->memory;
    uint64_t offset = memory_allocate(memory, padded);
    if (offset == UINT64_MAX)
        return error_set(error, "the memory file has no room for option ROM '%s'", name);
    memcpy(memory->host + offset, data, size);
    if (!map_low_rom(pc, "option-rom", start, padded, offset, error))
        return false;
    pc->next_option_rom = start + padded;
    return fw_cfg_add_file(pc->fw_cfg, file, data, size, error);
}

// ---- devices

static bool create_interrupt_controllers(struct pc *pc, struct error *error)
{
    struct address_space *memory = pc->context->memory;
    const struct pc_config *config = &pc->config;
    if (!(pc->pic = add_device(pc, &pic_class, "pic", error)) || !device_init(pc->pic, error) ||
        !map_ports(pc, pc->pic, 0, 0x20, error) || !map_ports(pc, pc->pic, 1, 0xA0, error) ||
        !map_ports(pc, pc->pic, 2, 0x4D0, error))
        return false;
    if (config->no_lapic) {
        pc->pic->intr = config->intr;
        return true;
    }
    struct local_apic *apic = pc->apic = add_device(pc, &local_apic_class, "apic0", error);
    if (!apic || !device_init(apic, error) ||
        !map_region(pc, apic, 0, memory, APIC_BASE_DEFAULT, LAPIC_PRIORITY, &pc->apic_range, error))
        return false;
    struct io_apic *io_apic = pc->io_apic = add_device(pc, &io_apic_class, "ioapic", error);
    if (!io_apic || !device_init(io_apic, error) || !map_region(pc, io_apic, 0, memory, 0xFEC00000, 1, NULL, error))
        return false;
    apic->tsc_hz = config->tsc_hz ? config->tsc_hz : 1000000000;
    apic->intr = config->intr;
    apic->nmi = config->nmi;
    apic->smi = config->smi;
    apic->init = config->init;
    apic->end_of_interrupt = end_of_interrupt;
    apic->base_changed = apic_base_changed;
    apic->opaque = pc;
    io_apic->send = send_to_local_apic;
    io_apic->opaque = pc;
    wire_connect(&pc->pic->intr, local_apic_set_lint, apic, 0);
    return true;
}

static bool create_chipset(struct pc *pc, struct error *error)
{
    if (!(pc->pci = add_device(pc, &pci_bus_class, "pci", error)) || !device_init(pc->pci, error) ||
        !map_ports(pc, pc->pci, 0, 0xCF8, error))
        return false;
    if (!(pc->i440fx = add_device(pc, &i440fx_class, "i440fx", error)) || !device_init(pc->i440fx, error) ||
        !pci_bus_add(pc->pci, &pc->i440fx->pci, 0, 0, error) ||
        !i440fx_map(pc->i440fx, pc->low_offset, &pc->pci_side, error))
        return false;
    struct piix3 *piix3 = pc->piix3 = add_device(pc, &piix3_class, "piix3", error);
    if (!piix3 || !device_init(piix3, error) || !pci_bus_add(pc->pci, &piix3->pci, 1, 0, error))
        return false;
    piix3->control = pc->config.control;
    pc->pci->reset_control = &piix3_class.regions[0];
    pc->pci->reset_control_opaque = piix3;
    for (unsigned i = 0; i < 16; i++)
        wire_connect(&piix3->irq[i], interrupt_line, pc, i);
    for (unsigned i = 0; i < 4; i++)
        wire_connect(&pc->pci->pirq[i], piix3_set_line, piix3, PIIX3_PIRQ_LINE + i);
    struct piix4_pm *pm = pc->pm = add_device(pc, &piix4_pm_class, "pm", error);
    if (!pm || !device_init(pm, error) || !pci_bus_add(pc->pci, &pm->pci, 1, 3, error) ||
        !map_region(pc, pm, 0, pc->context->ports, PIIX4_PM_DEFAULT_PORT, 1, &pm->ports, error) ||
        !map_ports(pc, pm, 1, PIIX4_GPE_PORT, error) || !map_ports(pc, pm, 2, 0xB2, error) ||
        !map_region(pc, pm, 3, pc->context->ports, 0x700, 1, &pm->smbus_ports, error))
        return false;
    pm->control_out = pc->config.control;
    wire_connect(&pm->irq, piix3_set_line, piix3, 9);
    return true;
}

static bool create_serial(struct pc *pc, struct error *error)
{
    static const char *const names[4] = {"com1", "com2", "com3", "com4"};
    static const uint16_t ports[4] = {0x3F8, 0x2F8, 0x3E8, 0x2E8};
    for (unsigned i = 0; i < 4; i++) {
        if (!pc->config.serial_present[i])
            continue;
        struct serial *serial = add_device(pc, &serial_class, names[i], error);
        if (!serial || !device_init(serial, error) || !map_ports(pc, serial, 0, ports[i], error))
            return false;
        pc->serial[i] = serial;
        serial->sink = pc->config.serial[i];
        wire_connect(&serial->irq, serial_line, pc, i);
    }
    return true;
}

static bool create_isa_chips(struct pc *pc, struct error *error)
{
    struct pit *pit = add_device(pc, &pit_class, "pit", error);
    if (!pit || !device_init(pit, error) || !map_ports(pc, pit, 0, 0x40, error) || !map_ports(pc, pit, 1, 0x61, error))
        return false;
    wire_connect(&pit->irq, piix3_set_line, pc->piix3, 0);
    struct rtc *rtc = pc->rtc = add_device(pc, &rtc_class, "rtc", error);
    if (!rtc)
        return false;
    rtc->base = pc->config.rtc_base > 0 ? (uint64_t)pc->config.rtc_base : 0;
    if (!device_init(rtc, error) || !map_ports(pc, rtc, 0, 0x70, error))
        return false;
    wire_connect(&rtc->irq, piix3_set_line, pc->piix3, 8);
    struct i8042 *keyboard = pc->i8042 = add_device(pc, &i8042_class, "i8042", error);
    if (!keyboard || !device_init(keyboard, error) || !map_ports(pc, keyboard, 0, 0x60, error) ||
        !map_ports(pc, keyboard, 1, 0x64, error))
        return false;
    wire_connect(&keyboard->keyboard_irq, piix3_set_line, pc->piix3, 1);
    wire_connect(&keyboard->mouse_irq, piix3_set_line, pc->piix3, 12);
    wire_connect(&keyboard->reset, reset_line, pc, 0);
    keyboard->a20 = pc->config.a20;
    struct port92 *port92 = add_device(pc, &port92_class, "port92", error);
    if (!port92 || !device_init(port92, error) || !map_ports(pc, port92, 0, 0x92, error))
        return false;
    port92->a20 = pc->config.a20;
    wire_connect(&port92->reset, reset_line, pc, 0);
    struct fpu_error *fpu_error = pc->fpu_error = add_device(pc, &fpu_error_class, "fpu-error", error);
    if (!fpu_error || !device_init(fpu_error, error) || !map_ports(pc, fpu_error, 0, 0xF0, error))
        return false;
    wire_connect(&fpu_error->irq_out, piix3_set_line, pc->piix3, 13);
    fpu_error->ignne_out = pc->config.ignne;
    struct dma *dma = add_device(pc, &dma_class, "dma", error);
    return dma && device_init(dma, error) && map_ports(pc, dma, 0, 0x00, error) && map_ports(pc, dma, 1, 0xC0, error) &&
           map_ports(pc, dma, 2, 0x80, error) && create_serial(pc, error);
}

static bool create_debug_devices(struct pc *pc, struct error *error)
{
    struct debug_port *debug = add_device(pc, &debug_port_class, "debugcon", error);
    if (!debug || !device_init(debug, error) || !map_ports(pc, debug, 0, 0x402, error) ||
        !map_ports(pc, debug, 1, 0xE9, error))
        return false;
    debug->sink = pc->config.debug_console;
    if (!pc->config.has_debug_exit)
        return true;
    struct debug_exit *exit_port = add_device(pc, &debug_exit_class, "debug-exit", error);
    if (!exit_port)
        return false;
    exit_port->iobase = pc->config.debug_exit_port;
    exit_port->control = pc->config.control;
    if (!device_init(exit_port, error))
        return false;
    if (exit_port->iobase > 0xFFFF || exit_port->iosize < 1 || exit_port->iosize > 4)
        return error_set(error, "isa-debug-exit: port 0x%x does not exist", exit_port->iobase);
    return address_space_map_device(pc->context->ports, "isa-debug-exit", exit_port->iobase, exit_port->iosize, 2,
                                    &debug_exit_class.regions[0], exit_port, error);
}

// ---- the board

static bool build(struct pc *pc, struct error *error)
{
    if (pc->config.ram_size < 1 << 20 || pc->config.ram_size % (1 << 20) || pc->config.ram_size > UINT64_C(1) << 40)
        return error_set(error, "RAM of %llu bytes: it must be whole MiB, from 1 MiB to 1 TiB",
                         (unsigned long long)pc->config.ram_size);
    if (pc->config.cpu_count != 1)
        return error_set(error, "%u processors: the board has one", pc->config.cpu_count);
    pc->low_ram = pc->config.ram_size < PC_HOLE_START ? pc->config.ram_size : PC_HOLE_START;
    pc->high_ram = pc->config.ram_size - pc->low_ram;
    if (!create_ram(pc, error) || !create_firmware(pc, error) || !create_interrupt_controllers(pc, error) ||
        !create_chipset(pc, error) || !create_isa_chips(pc, error) || !create_debug_devices(pc, error))
        return false;
    pc->fw_cfg = add_device(pc, &fw_cfg_class, "fw-cfg", error);
    return pc->fw_cfg && device_init(pc->fw_cfg, error) && map_ports(pc, pc->fw_cfg, 0, 0x510, error) &&
           map_ports(pc, pc->fw_cfg, 1, 0x514, error) && pc_describe(pc, error);
}

struct pc *pc_create(const struct device_context *context, const struct pc_config *config, struct error *error)
{
    struct pc *pc = calloc(1, sizeof *pc);
    if (!pc) {
        error_set(error, "out of memory for the board");
        return NULL;
    }
    pc->context = context;
    pc->config = *config;
    pc->next_option_rom = 0xC8000;
    address_space_init(&pc->pci_side, "pci-below-1m", context->memory->memory, 0x100000, context->log);
    address_space_begin(context->memory);
    address_space_begin(context->ports);
    bool ok = build(pc, error);
    if (ok)
        pc_reset(pc);
    address_space_commit(context->ports);
    address_space_commit(context->memory);
    if (ok)
        return pc;
    pc_destroy(pc);
    return NULL;
}

void pc_destroy(struct pc *pc)
{
    if (!pc)
        return;
    for (unsigned i = pc->device_count; i > 0; i--)
        device_free(pc->devices[i - 1]);
    address_space_destroy(&pc->pci_side);
    free(pc);
}

void pc_reset(struct pc *pc)
{
    address_space_begin(pc->context->memory);
    address_space_begin(pc->context->ports);
    for (unsigned i = 0; i < pc->device_count; i++)
        device_reset(pc->devices[i]);
    address_space_commit(pc->context->ports);
    address_space_commit(pc->context->memory);
}

unsigned pc_device_count(const struct pc *pc)
{
    return pc->device_count;
}

struct device *pc_device(const struct pc *pc, unsigned index)
{
    return index < pc->device_count ? pc->devices[index] : NULL;
}

// ---- the CPU's side of the interrupt controllers

int pc_interrupt_acknowledge(struct pc *pc)
{
    if (pc->apic) {
        int vector = local_apic_acknowledge(pc->apic);
        if (vector != LOCAL_APIC_EXTERNAL)
            return vector;
    }
    // At the pins the request may be gone: the 8259 would answer a spurious vector, but nobody asked.
    return pic_output(pc->pic) ? pic_acknowledge(pc->pic) : -1;
}

bool pc_interrupt_pending(const struct pc *pc)
{
    return pc->apic ? local_apic_pending(pc->apic) : pic_output(pc->pic);
}

uint64_t pc_apic_base_read(struct pc *pc)
{
    return pc->apic ? pc->apic->base : 0;
}

bool pc_apic_base_write(struct pc *pc, uint64_t value)
{
    return pc->apic && local_apic_base_write(pc->apic, value);
}

bool pc_x2apic_read(struct pc *pc, uint32_t msr, uint64_t *value)
{
    return pc->apic && local_apic_x2apic_read(pc->apic, msr, value);
}

bool pc_x2apic_write(struct pc *pc, uint32_t msr, uint64_t value)
{
    return pc->apic && local_apic_x2apic_write(pc->apic, msr, value);
}

uint8_t pc_apic_tpr_read(struct pc *pc)
{
    return pc->apic ? (uint8_t)(pc->apic->tpr >> 4) : 0;
}

void pc_apic_tpr_write(struct pc *pc, uint8_t cr8)
{
    if (pc->apic)
        local_apic_set_tpr(pc->apic, (uint8_t)(cr8 << 4));
}

uint64_t pc_tsc_deadline_read(struct pc *pc)
{
    return pc->apic ? local_apic_tsc_deadline(pc->apic) : 0;
}

void pc_tsc_deadline_write(struct pc *pc, uint64_t deadline, uint64_t tsc_now)
{
    if (pc->apic)
        local_apic_set_tsc_deadline(pc->apic, deadline, tsc_now);
}

void pc_set_ferr(struct pc *pc, bool level)
{
    fpu_error_set_ferr(pc->fpu_error, 0, level);
}

// ---- from outside

size_t pc_serial_receive(struct pc *pc, unsigned port, const uint8_t *bytes, size_t length)
{
    return port < 4 && pc->serial[port] ? serial_receive(pc->serial[port], bytes, length) : 0;
}

void pc_power_button(struct pc *pc)
{
    piix4_pm_press_power_button(pc->pm);
}

bool pc_fw_cfg_add_file(struct pc *pc, const char *name, const void *data, size_t size, struct error *error)
{
    return fw_cfg_add_file(pc->fw_cfg, name, data, size, error);
}

bool pc_fw_cfg_add_item(struct pc *pc, uint16_t key, const void *data, size_t size, struct error *error)
{
    return fw_cfg_add_item(pc->fw_cfg, key, data, size, error);
}
