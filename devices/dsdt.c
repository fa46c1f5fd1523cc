// DSDT. See dsdt.h. Addresses here are the ones that pc.c maps.
#include "devices/dsdt.h"

#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "devices/piix4_pm.h"

#define REGION_PCI_CONFIG 2
#define FIELD_BYTE_PRESERVE 0x01
#define OP_STORE 0x70
#define OP_AND 0x7B
#define OP_OR 0x7D
#define OP_CREATE_DWORD_FIELD 0x8A
#define OP_LESS 0x95
#define OP_RETURN 0xA4
#define OP_ARGUMENT_0 0x68

/// Resource descriptors under construction (ACPI 6.4 sec. 6.4).
struct resources {
    uint8_t bytes[192];
    size_t length;
};

static void add(struct resources *r, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size && r->length < sizeof r->bytes; i++)
        r->bytes[r->length++] = (uint8_t)(value >> (8 * i));
}

static void add_ports(struct resources *r, uint16_t start, uint8_t count)
{
    add(r, 0x47, 1);
    add(r, 1, 1); // 16-bit decode
    add(r, start, 2);
    add(r, start, 2);
    add(r, 1, 1);
    add(r, count, 1);
}

static void add_irq(struct resources *r, unsigned irq)
{
    add(r, 0x22, 1);
    add(r, 1u << irq, 2);
}

/// Address space descriptor with fixed ends; type 0 memory, 1 ports, 2 bus numbers; size of numbers 2 or 4.
static void add_window(struct resources *r, unsigned type, uint8_t flags, uint64_t first, uint64_t last, unsigned size)
{
    add(r, size == 2 ? 0x88 : 0x87, 1);
    add(r, 3 + 5 * size, 2);
    add(r, type, 1);
    add(r, 0x0C, 1); // producer, both ends fixed
    add(r, flags, 1);
    add(r, 0, size);
    add(r, first, size);
    add(r, last, size);
    add(r, 0, size);
    add(r, last - first + 1, size);
}

static void name_resources(struct aml *aml, const char *name, const struct resources *r)
{
    aml_name(aml, name);
    aml_resources(aml, r->bytes, r->length);
}

/// A device with a PNP id and fixed resources.
static void simple_device(struct aml *aml, const char *name, const char *id, unsigned uid, const struct resources *r)
{
    aml_device(aml, name);
    aml_name_eisa_id(aml, "_HID", id);
    aml_name_integer(aml, "_UID", uid);
    name_resources(aml, "_CRS", r);
    aml_end(aml);
}

static void emit_isa_devices(struct aml *aml, const struct acpi_config *config)
{
    struct resources r = {.length = 0};
    add_ports(&r, 0x70, 8);
    add_irq(&r, 8);
    simple_device(aml, "RTC", "PNP0B00", 0, &r);
    r.length = 0;
    add_ports(&r, 0x60, 1);
    add_ports(&r, 0x64, 1);
    add_irq(&r, 1);
    simple_device(aml, "KBD", "PNP0303", 0, &r);
    r.length = 0;
    add_irq(&r, 12);
    simple_device(aml, "MOU", "PNP0F13", 0, &r);
    static const uint16_t ports[4] = {0x3F8, 0x2F8, 0x3E8, 0x2E8};
    for (unsigned i = 0; i < 4; i++) {
        if (!config->serial_present[i])
            continue;
        char name[5] = {'C', 'O', 'M', (char)('1' + i), 0};
        r.length = 0;
        add_ports(&r, ports[i], 8);
        add_irq(&r, i & 1 ? 3 : 4);
        simple_device(aml, name, "PNP0501", i + 1, &r);
    }
    // Ports of the power management function, which no BAR shows.
    r.length = 0;
    add_ports(&r, PIIX4_PM_DEFAULT_PORT, PIIX4_PM_PORTS);
    add_ports(&r, 0x700, 16);
    add_ports(&r, PIIX4_GPE_PORT, 4);
    add_ports(&r, 0xB2, 2);
    add_ports(&r, 0x4D0, 2);
    simple_device(aml, "SYSR", "PNP0C02", 1, &r);
}

/// Interrupt link `index` (LNKA..LNKD) over the PIRQ route register PRQ0..PRQ3.
static void emit_link(struct aml *aml, unsigned index)
{
    char name[5] = {'L', 'N', 'K', (char)('A' + index), 0}, reg[5] = {'P', 'R', 'Q', (char)('0' + index), 0};
    static const uint8_t possible[] = {0x89, 14, 0, 0x09, 3, 5, 0, 0, 0, 10, 0, 0, 0, 11, 0, 0, 0};
    static const uint8_t current[] = {0x89, 6, 0, 0x09, 1, 0, 0, 0, 0};
    aml_device(aml, name);
    aml_name_eisa_id(aml, "_HID", "PNP0C0F");
    aml_name_integer(aml, "_UID", index);
    aml_name(aml, "_PRS");
    aml_resources(aml, possible, sizeof possible);

    aml_method(aml, "_STA", 0, false); // present; working unless routed nowhere
    aml_if(aml);
    aml_byte(aml, OP_AND);
    aml_path(aml, reg);
    aml_integer(aml, 0x80);
    aml_byte(aml, 0); // no target
    aml_byte(aml, OP_RETURN);
    aml_integer(aml, 0x09);
    aml_end(aml);
    aml_byte(aml, OP_RETURN);
    aml_integer(aml, 0x0B);
    aml_end(aml);

    aml_method(aml, "_DIS", 0, false);
    aml_byte(aml, OP_OR);
    aml_path(aml, reg);
    aml_integer(aml, 0x80);
    aml_path(aml, reg);
    aml_end(aml);

    aml_name(aml, "BUFF");
    aml_resources(aml, current, sizeof current);
    aml_method(aml, "_CRS", 0, true);
    aml_byte(aml, OP_CREATE_DWORD_FIELD);
    aml_path(aml, "BUFF");
    aml_integer(aml, 5);
    aml_path(aml, "IRQV");
    aml_if(aml);
    aml_byte(aml, OP_LESS);
    aml_path(aml, reg);
    aml_integer(aml, 0x80);
    aml_byte(aml, OP_STORE);
    aml_path(aml, reg);
    aml_path(aml, "IRQV");
    aml_end(aml);
    aml_byte(aml, OP_RETURN);
    aml_path(aml, "BUFF");
    aml_end(aml);

    aml_method(aml, "_SRS", 1, true);
    aml_byte(aml, OP_CREATE_DWORD_FIELD);
    aml_byte(aml, OP_ARGUMENT_0);
    aml_integer(aml, 5);
    aml_path(aml, "IRQW");
    aml_byte(aml, OP_STORE);
    aml_path(aml, "IRQW");
    aml_path(aml, reg);
    aml_end(aml);
    aml_end(aml);
}

static void emit_interrupt_routing(struct aml *aml)
{
    aml_name(aml, "_PRT");
    aml_package(aml, 31 * 4);
    for (unsigned slot = 1; slot < 32; slot++) {
        for (unsigned pin = 0; pin < 4; pin++) {
            char link[5] = {'L', 'N', 'K', (char)('A' + ((slot + 3 + pin) & 3)), 0};
            bool sci = slot == 1 && pin == 0; // the power management function: wired to interrupt 9
            aml_package(aml, 4);
            aml_integer(aml, slot << 16 | 0xFFFF);
            aml_integer(aml, pin);
            if (sci)
                aml_integer(aml, 0);
            else
                aml_path(aml, link);
            aml_integer(aml, sci ? 9 : 0);
            aml_end(aml);
        }
    }
    aml_end(aml);
}

static void emit_host_bridge(struct aml *aml, const struct acpi_config *config)
{
    aml_device(aml, "PCI0");
    aml_name_eisa_id(aml, "_HID", "PNP0A03");
    aml_name_integer(aml, "_UID", 0);
    struct resources r = {.length = 0};
    add_window(&r, 2, 0, 0, 0xFF, 2);
    add_ports(&r, 0xCF8, 8);
    add_window(&r, 1, 3, 0, 0xCF7, 2);
    add_window(&r, 1, 3, 0xD00, 0xFFFF, 2);
    add_window(&r, 0, 3, 0xA0000, 0xBFFFF, 4);
    add_window(&r, 0, 1, config->pci_hole_start, 0xFEBFFFFF, 4);
    name_resources(aml, "_CRS", &r);
    aml_device(aml, "ISA");
    aml_name_integer(aml, "_ADR", 0x10000);
    aml_region(aml, "PIRQ", REGION_PCI_CONFIG, 0x60, 4);
    emit_isa_devices(aml, config);
    aml_end(aml);
    aml_end(aml);
}

bool dsdt_emit(struct aml *aml, const struct acpi_config *config)
{
    aml_scope(aml, "\\_SB");
    emit_host_bridge(aml, config);
    aml_field(aml, "PCI0.ISA.PIRQ", FIELD_BYTE_PRESERVE);
    for (unsigned i = 0; i < 4; i++) {
        char name[5] = {'P', 'R', 'Q', (char)('0' + i), 0};
        aml_field_unit(aml, name, 8);
    }
    aml_end(aml);
    for (unsigned i = 0; i < 4; i++)
        emit_link(aml, i);
    for (unsigned i = 0; i < config->cpu_count && i < 256; i++) {
        char name[5];
        snprintf(name, sizeof name, "C%03X", i & 0xFFF);
        aml_device(aml, name);
        aml_name(aml, "_HID");
        aml_string(aml, "ACPI0007");
        aml_name_integer(aml, "_UID", i);
        aml_end(aml);
    }
    aml_end(aml);
    aml_scope(aml, "\\_SB.PCI0"); // after the links that it names
    emit_interrupt_routing(aml);
    aml_end(aml);
    aml_name(aml, "\\_S5");
    aml_package(aml, 4);
    aml_integer(aml, ACPI_S5);
    aml_integer(aml, ACPI_S5);
    aml_integer(aml, 0);
    aml_integer(aml, 0);
    aml_end(aml);
    return !aml->failed && aml->depth == 0;
}
