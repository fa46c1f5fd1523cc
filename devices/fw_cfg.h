// The firmware configuration device of PC emulators: numbered items and named files that firmware reads through a
// selector and a data port, or by DMA. Regions: 0 ports 0x510-0x511, 1 the DMA address (8 ports at 0x514).
#ifndef DOPPEL_DEVICES_FW_CFG_H
#define DOPPEL_DEVICES_FW_CFG_H

#include "devices/device.h"

#define FW_CFG_SIGNATURE 0x00
#define FW_CFG_ID 0x01
#define FW_CFG_UUID 0x02
#define FW_CFG_RAM_SIZE 0x03
#define FW_CFG_NOGRAPHIC 0x04
#define FW_CFG_CPU_COUNT 0x05
#define FW_CFG_KERNEL_ADDRESS 0x07
#define FW_CFG_KERNEL_SIZE 0x08
#define FW_CFG_INITRD_ADDRESS 0x0A
#define FW_CFG_INITRD_SIZE 0x0B
#define FW_CFG_NUMA 0x0D
#define FW_CFG_BOOT_MENU 0x0E
#define FW_CFG_MAX_CPUS 0x0F
#define FW_CFG_FILE_DIRECTORY 0x19
#define FW_CFG_FILE_FIRST 0x20
#define FW_CFG_IRQ0_OVERRIDE 0x8002
#define FW_CFG_MAX_ITEMS 128
#define FW_CFG_FILE_NAME 56

struct fw_cfg_item {
    uint16_t key;
    char name[FW_CFG_FILE_NAME]; // empty: a numbered item
    uint8_t *data;
    uint32_t size;
};

struct fw_cfg {
    struct device device;
    uint16_t selected;
    uint32_t offset;      // of the next byte in the selected item
    uint64_t dma_address; // as far as written
    // Configuration, not state.
    struct fw_cfg_item *items; // FW_CFG_MAX_ITEMS
    uint32_t item_count, file_count;
};

extern const struct device_class fw_cfg_class;

/// Adds (or replaces) an item; the data is copied.
bool fw_cfg_add_item(struct fw_cfg *fw, uint16_t key, const void *data, size_t size, struct error *error);
bool fw_cfg_add_file(struct fw_cfg *fw, const char *name, const void *data, size_t size, struct error *error);
/// The file's contents, or NULL.
const struct fw_cfg_item *fw_cfg_find_file(const struct fw_cfg *fw, const char *name);

#endif
