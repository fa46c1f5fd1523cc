// PCI: a bus of functions with 256 bytes of configuration space each, reached through configuration mechanism 1
// (PCI 2.1 sec. 3.7.4). The bus maps BARs into the address spaces and gathers the interrupt pins into PIRQ lines.
#ifndef DOPPEL_DEVICES_PCI_H
#define DOPPEL_DEVICES_PCI_H

#include "devices/device.h"

#define PCI_CONFIG_SIZE 256
#define PCI_MAX_BARS 6

#define PCI_VENDOR_ID 0x00
#define PCI_DEVICE_ID 0x02
#define PCI_COMMAND 0x04
#define PCI_COMMAND_IO 0x0001u
#define PCI_COMMAND_MEMORY 0x0002u
#define PCI_COMMAND_MASTER 0x0004u
#define PCI_COMMAND_SERR 0x0100u
#define PCI_COMMAND_INTX_DISABLE 0x0400u
#define PCI_STATUS 0x06
#define PCI_STATUS_INTERRUPT 0x0008u
#define PCI_REVISION 0x08
#define PCI_CLASS_INTERFACE 0x09
#define PCI_CLASS 0x0A
#define PCI_HEADER_TYPE 0x0E
#define PCI_BAR(n) (0x10 + 4 * (n))
#define PCI_SUBSYSTEM_VENDOR 0x2C
#define PCI_SUBSYSTEM_ID 0x2E
#define PCI_INTERRUPT_LINE 0x3C
#define PCI_INTERRUPT_PIN 0x3D

struct pci_bus;

struct pci_bar {
    uint32_t size; // bytes, a power of two; 0: absent
    bool io;
    struct range *range; // mapped disabled at creation, moved by configuration writes
};

/// The PCI face of a device; lives inside the device's struct (state: STATE_NESTED with pci_function_state).
struct pci_function {
    uint8_t config[PCI_CONFIG_SIZE];
    // All below is wiring, set up once.
    uint8_t initial[PCI_CONFIG_SIZE];    // contents after reset
    uint8_t write_mask[PCI_CONFIG_SIZE]; // bits that configuration writes change
    uint8_t clear_mask[PCI_CONFIG_SIZE]; // bits that writing 1 clears
    struct pci_bar bars[PCI_MAX_BARS];
    struct pci_bus *bus;
    uint8_t devfn;
    /// Called after the guest (or reset: offset 0, size 256) changed [offset, +size).
    void (*config_written)(void *opaque, unsigned offset, unsigned size);
    void *opaque;
};

extern const struct state_table pci_function_state;

struct pci_bus {
    struct device device;
    uint32_t address;                    // 0xCF8
    uint8_t intx[32];                    // asserted pins by slot, bit 0 INTA
    struct pci_function *functions[256]; // by device << 3 | function
    struct wire pirq[4];                 // outputs: level
    // Byte accesses to 0xCF9 are not the bridge's: they go on to the ISA bridge's reset control.
    const struct region_ops *reset_control;
    void *reset_control_opaque;
};

extern const struct device_class pci_bus_class;

/// Fills vendor, device, class (16 bits), revision and the usual write masks of a type 0 header.
void pci_function_init(struct pci_function *function, uint16_t vendor, uint16_t device, uint16_t class_code,
                       uint8_t revision);
/// Puts the function on the bus at device `slot` (0..31), `number` (0..7).
bool pci_bus_add(struct pci_bus *bus, struct pci_function *function, unsigned slot, unsigned number,
                 struct error *error);
/// Gives the function a BAR of `size` bytes (a power of two, >= 4 for ports and >= 16 for memory) that maps `ops`.
bool pci_function_add_bar(struct pci_function *function, unsigned index, uint32_t size, bool io,
                          const struct region_ops *ops, void *opaque, struct error *error);
/// Contents after reset; unmaps BARs.
void pci_function_reset(struct pci_function *function);
/// Drives the function's interrupt pin (INTA# unless its config says otherwise). Level.
void pci_function_set_interrupt(struct pci_function *function, bool level);

/// Configuration accesses as the bus cycle: size 1, 2 or 4 inside one dword.
uint32_t pci_config_read(struct pci_bus *bus, unsigned devfn, unsigned offset, unsigned size);
void pci_config_write(struct pci_bus *bus, unsigned devfn, unsigned offset, uint32_t value, unsigned size);

#endif
