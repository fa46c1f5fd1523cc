// Intel 440FX host bridge. See i440fx.h.
#include "devices/i440fx.h"

#define SMRAM_DEFAULT 0x02u
#define SMRAM_OPEN 0x40u
#define SMRAM_CLOSED 0x20u
#define SMRAM_LOCKED 0x10u
#define SMRAM_ENABLE 0x08u
#define PRIORITY_PAM 10

static unsigned pam_nibble(const struct i440fx *bridge, unsigned segment)
{
    // Segment 0 is the BIOS area (high nibble of 0x59); 1.. are 16 KiB areas, low nibble first from 0x5A.
    const uint8_t *pam = bridge->pci.config + I440FX_PAM;
    if (segment == 0)
        return pam[0] >> 4 & 3;
    unsigned i = segment - 1;
    return pam[1 + i / 2] >> (i % 2 * 4) & 3;
}

static void update_map(struct i440fx *bridge)
{
    if (!bridge->smram)
        return;
    struct address_space *memory = bridge->device.context->memory;
    address_space_begin(memory);
    for (unsigned i = 0; i < I440FX_SEGMENTS; i++) {
        struct i440fx_segment *segment = &bridge->segments[i];
        unsigned mode = pam_nibble(bridge, i);
        address_space_update(memory, segment->ram, segment->start, mode & 1, mode & 2 ? RANGE_MEMORY : RANGE_ROM);
        address_space_update(memory, segment->write_ram, segment->start, mode == 2, RANGE_DEVICE);
    }
    uint8_t smram = bridge->pci.config[I440FX_SMRAM];
    bool open = (smram & (SMRAM_ENABLE | SMRAM_OPEN)) == (SMRAM_ENABLE | SMRAM_OPEN) && !(smram & SMRAM_CLOSED);
    address_space_update(memory, bridge->smram, 0xA0000, open, RANGE_MEMORY);
    address_space_commit(memory);
}

static void config_written(void *opaque, unsigned offset, unsigned size)
{
    struct i440fx *bridge = opaque;
    uint8_t *smram = &bridge->pci.config[I440FX_SMRAM];
    if (*smram & SMRAM_LOCKED) {
        // Locked until reset: D_OPEN is forced off and the register becomes read-only.
        *smram &= (uint8_t)~SMRAM_OPEN;
        bridge->pci.write_mask[I440FX_SMRAM] = 0;
    } else {
        bridge->pci.write_mask[I440FX_SMRAM] = SMRAM_OPEN | SMRAM_CLOSED | SMRAM_LOCKED | SMRAM_ENABLE;
    }
    if (offset <= I440FX_SMRAM && offset + size > I440FX_PAM)
        update_map(bridge);
}

// Write-only PAM: the classic way to shadow a ROM in place (read PCI, write DRAM at the same address).
static uint64_t segment_read(void *opaque, uint64_t offset, unsigned size)
{
    struct i440fx_segment *segment = opaque;
    return address_space_read(segment->bridge->pci_side, segment->start + offset, size);
}

static void segment_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct i440fx_segment *segment = opaque;
    struct memory *memory = segment->bridge->device.context->memory->memory;
    uint64_t at = segment->bridge->ram_offset + segment->start + offset;
    for (unsigned i = 0; i < size; i++, at++) {
        // Code that was translated while the area was readable must notice.
        if (__atomic_load_n(&memory->page_flags[at >> PAGE_SHIFT], __ATOMIC_RELAXED) & PAGE_HAS_CODE &&
            memory->listener.code_written)
            memory->listener.code_written(memory->listener.opaque, at, 1);
        __atomic_store_n(&memory->host[at], (uint8_t)(value >> (8 * i)), __ATOMIC_RELAXED);
    }
}

static const struct region_ops segment_ops = {
    .read = segment_read, .write = segment_write, .max_size = 8, .name = "pam-write-only"};

bool i440fx_map(struct i440fx *bridge, uint64_t ram_offset, struct address_space *pci_side, struct error *error)
{
    struct address_space *memory = bridge->device.context->memory;
    bridge->ram_offset = ram_offset;
    bridge->pci_side = pci_side;
    for (unsigned i = 0; i < I440FX_SEGMENTS; i++) {
        struct i440fx_segment *segment = &bridge->segments[i];
        segment->bridge = bridge;
        segment->start = i == 0 ? 0xF0000 : 0xC0000 + (i - 1) * 0x4000;
        segment->size = i == 0 ? 0x10000 : 0x4000;
        segment->ram = address_space_map_memory(memory, "pam-ram", segment->start, segment->size, PRIORITY_PAM,
                                                ram_offset + segment->start, true, error);
        segment->write_ram = address_space_map_device(memory, segment_ops.name, segment->start, segment->size,
                                                      PRIORITY_PAM, &segment_ops, segment, error);
        if (!segment->ram || !segment->write_ram)
            return false;
    }
    bridge->smram =
        address_space_map_memory(memory, "smram", 0xA0000, 0x20000, PRIORITY_PAM, ram_offset + 0xA0000, false, error);
    if (!bridge->smram)
        return false;
    update_map(bridge);
    return true;
}

static bool init(void *device, struct error *error)
{
    struct i440fx *bridge = device;
    pci_function_init(&bridge->pci, 0x8086, 0x1237, 0x0600, 0x02);
    bridge->pci.opaque = bridge;
    bridge->pci.config_written = config_written;
    uint8_t *initial = bridge->pci.initial, *mask = bridge->pci.write_mask;
    // Memory is always on and the bridge is always master; the bits read as set.
    store_le16(initial + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    store_le16(mask + PCI_COMMAND, PCI_COMMAND_SERR);
    store_le16(initial + PCI_STATUS, 0x0280);
    store_le16(initial + PCI_SUBSYSTEM_VENDOR, 0x1AF4);
    store_le16(initial + PCI_SUBSYSTEM_ID, 0x1100);
    mask[PCI_INTERRUPT_LINE] = 0;
    memset(mask + 0x50, 0xFF, 2); // PMC configuration
    memset(mask + 0x57, 0xFF, 2); // DRAM control and timing: no effect here, firmware sets them
    memset(mask + I440FX_PAM, 0x33, 7);
    mask[I440FX_PAM] = 0x30;
    memset(mask + 0x60, 0xFF, 8); // DRAM row boundaries
    mask[0x68] = 0xC0;            // fixed DRAM hole: stored, no hole is made
    initial[I440FX_SMRAM] = SMRAM_DEFAULT;
    mask[I440FX_SMRAM] = SMRAM_OPEN | SMRAM_CLOSED | SMRAM_LOCKED | SMRAM_ENABLE;
    mask[0x93] = 0x06; // turbo reset control: stored
    return true;
}

static void reset(void *device)
{
    struct i440fx *bridge = device;
    pci_function_reset(&bridge->pci);
    update_map(bridge);
}

static const struct state_field fields[] = {
    STATE_SKIP(i440fx, device),   STATE_NESTED(i440fx, pci, &pci_function_state),
    STATE_SKIP(i440fx, segments), STATE_SKIP(i440fx, smram),
    STATE_SKIP(i440fx, pci_side), STATE_SKIP(i440fx, ram_offset),
};

static bool after_load(void *object, struct error *error)
{
    struct i440fx *bridge = object;
    config_written(bridge, 0, PCI_CONFIG_SIZE);
    return true;
}

static const struct state_table state = STATE_TABLE("i440fx", 1, i440fx, fields, after_load);

const struct device_class i440fx_class = {
    .name = "i440FX",
    .description = "Intel 440FX host bridge",
    .size = sizeof(struct i440fx),
    .state = &state,
    .init = init,
    .reset = reset,
};
