// Firmware configuration device. See fw_cfg.h.
#include "devices/fw_cfg.h"

#include <stdlib.h>

#define DIRECTORY_ENTRY 64 // be32 size, be16 key, 2 reserved, name
#define DMA_ERROR 0x01u
#define DMA_READ 0x02u
#define DMA_SKIP 0x04u
#define DMA_SELECT 0x08u
#define DMA_WRITE 0x10u
// Past an item's end there are zeros without end; nobody needs more of them than this at once.
#define DMA_MAX_PADDING (1u << 20)

static const uint8_t dma_signature[8] = {'Q', 'E', 'M', 'U', ' ', 'C', 'F', 'G'};

static struct fw_cfg_item *find_key(const struct fw_cfg *fw, uint16_t key)
{
    for (uint32_t i = 0; i < fw->item_count; i++)
        if (fw->items[i].key == key)
            return &fw->items[i];
    return NULL;
}

static bool set_item(struct fw_cfg *fw, uint16_t key, const char *name, const void *data, size_t size,
                     struct error *error)
{
    struct fw_cfg_item *item = find_key(fw, key);
    if ((!item && fw->item_count == FW_CFG_MAX_ITEMS) || size > UINT32_MAX)
        return error_set(error, "fw_cfg has no room for item 0x%x of %zu bytes", key, size);
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        return error_set(error, "out of memory for a fw_cfg item of %zu bytes", size);
    if (size)
        memcpy(copy, data, size);
    if (item)
        free(item->data);
    else
        item = &fw->items[fw->item_count++];
    item->key = key;
    item->data = copy;
    item->size = (uint32_t)size;
    memset(item->name, 0, sizeof item->name);
    for (size_t i = 0; name && name[i] && i < sizeof item->name - 1; i++)
        item->name[i] = name[i];
    return true;
}

bool fw_cfg_add_item(struct fw_cfg *fw, uint16_t key, const void *data, size_t size, struct error *error)
{
    return set_item(fw, key, NULL, data, size, error);
}

const struct fw_cfg_item *fw_cfg_find_file(const struct fw_cfg *fw, const char *name)
{
    for (uint32_t i = 0; i < fw->item_count; i++)
        if (fw->items[i].name[0] && strcmp(fw->items[i].name, name) == 0)
            return &fw->items[i];
    return NULL;
}

static void put_be(uint8_t *to, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        to[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
}

static uint64_t get_be(const uint8_t *from, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value = value << 8 | from[i];
    return value;
}

/// Rebuilds the directory item: the files in order of their names, as readers may search it so.
static bool build_directory(struct fw_cfg *fw, struct error *error)
{
    uint8_t *bytes = calloc(1, 4 + (size_t)fw->file_count * DIRECTORY_ENTRY);
    if (!bytes)
        return error_set(error, "out of memory for the fw_cfg directory");
    put_be(bytes, fw->file_count, 4);
    uint32_t placed = 0;
    for (uint32_t i = 0; i < fw->item_count; i++) {
        const struct fw_cfg_item *item = &fw->items[i];
        if (!item->name[0])
            continue;
        uint8_t *entry = bytes + 4 + (size_t)placed++ * DIRECTORY_ENTRY;
        while (entry > bytes + 4 && strcmp((char *)entry - DIRECTORY_ENTRY + 8, item->name) > 0) {
            memcpy(entry, entry - DIRECTORY_ENTRY, DIRECTORY_ENTRY);
            entry -= DIRECTORY_ENTRY;
        }
        put_be(entry, item->size, 4);
        put_be(entry + 4, item->key, 2);
        put_be(entry + 6, 0, 2);
        memcpy(entry + 8, item->name, FW_CFG_FILE_NAME);
    }
    bool ok = set_item(fw, FW_CFG_FILE_DIRECTORY, NULL, bytes, 4 + (size_t)fw->file_count * DIRECTORY_ENTRY, error);
    free(bytes);
    return ok;
}

bool fw_cfg_add_file(struct fw_cfg *fw, const char *name, const void *data, size_t size, struct error *error)
{
    if (!name[0] || strlen(name) >= FW_CFG_FILE_NAME)
        return error_set(error, "fw_cfg file name '%s' is empty or longer than %d characters", name,
                         FW_CFG_FILE_NAME - 1);
    const struct fw_cfg_item *old = fw_cfg_find_file(fw, name);
    uint16_t key = old ? old->key : (uint16_t)(FW_CFG_FILE_FIRST + fw->file_count);
    if (!set_item(fw, key, name, data, size, error))
        return false;
    if (!old)
        fw->file_count++;
    return build_directory(fw, error);
}

// ---- registers

static void select_item(struct fw_cfg *fw, uint16_t key)
{
    fw->selected = key;
    fw->offset = 0;
}

static uint8_t next_byte(struct fw_cfg *fw)
{
    const struct fw_cfg_item *item = find_key(fw, fw->selected);
    return item && fw->offset < item->size ? item->data[fw->offset++] : 0;
}

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
    struct fw_cfg *fw = opaque;
    if (size == 1 && offset == 1)
        return next_byte(fw);
    return size == 1 ? 0 : fw->selected;
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct fw_cfg *fw = opaque;
    if (size == 2)
        select_item(fw, (uint16_t)value);
    else if (offset == 0)
        select_item(fw, (uint16_t)((fw->selected & 0xFF00) | (value & 0xFF)));
    else
        log_print(fw->device.context->log, LOG_DEVICE, "fw_cfg: write to the data port\n");
}

/// Copies (or skips) `length` bytes of the selected item; zeros after its end.
static bool transfer(struct fw_cfg *fw, uint64_t address, uint32_t length, bool copy)
{
    const struct fw_cfg_item *item = find_key(fw, fw->selected);
    uint32_t left = item && fw->offset < item->size ? item->size - fw->offset : 0;
    uint32_t real = length < left ? length : left;
    if (!copy) {
        fw->offset += real;
        return true;
    }
    if (length - real > DMA_MAX_PADDING)
        return false;
    struct address_space *memory = fw->device.context->memory;
    if (real)
        address_space_write_bytes(memory, address, item->data + fw->offset, real, false);
    fw->offset += real;
    static const uint8_t zeros[256];
    for (uint32_t done = real; done < length;) {
        uint32_t chunk = length - done < sizeof zeros ? length - done : (uint32_t)sizeof zeros;
        address_space_write_bytes(memory, address + done, zeros, chunk, false);
        done += chunk;
    }
    return true;
}

static void run_dma(struct fw_cfg *fw)
{
    struct address_space *memory = fw->device.context->memory;
    uint64_t at = fw->dma_address;
    fw->dma_address = 0;
    uint8_t raw[16];
    // The descriptor and its buffer must be memory, not this device or another's registers: no recursion.
    if (at > memory->limit - sizeof raw) {
        log_print(fw->device.context->log, LOG_DEVICE, "fw_cfg: DMA descriptor at 0x%llx\n", (unsigned long long)at);
        return;
    }
    address_space_read_bytes(memory, at, raw, sizeof raw);
    uint32_t control = (uint32_t)get_be(raw, 4), length = (uint32_t)get_be(raw + 4, 4);
    uint64_t buffer = get_be(raw + 8, 8);
    if (control & DMA_SELECT)
        select_item(fw, (uint16_t)(control >> 16));
    bool ok = true;
    if (control & DMA_READ)
        ok = buffer <= memory->limit && length <= memory->limit - buffer && transfer(fw, buffer, length, true);
    else if (control & DMA_SKIP)
        ok = transfer(fw, 0, length, false);
    else if (control & DMA_WRITE)
        ok = false; // no item is writable
    uint8_t result[4];
    put_be(result, ok ? 0 : DMA_ERROR, 4);
    address_space_write_bytes(memory, at, result, sizeof result, false);
}

static uint64_t dma_read(void *opaque, uint64_t offset, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)dma_signature[(offset + i) & 7] << (8 * i);
    return value;
}

static void dma_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct fw_cfg *fw = opaque;
    if (size == 8 && offset == 0) {
        fw->dma_address = __builtin_bswap64(value);
        run_dma(fw);
    } else if (size == 4 && offset == 0) {
        fw->dma_address = (uint64_t)__builtin_bswap32((uint32_t)value) << 32;
    } else if (size == 4 && offset == 4) {
        fw->dma_address |= __builtin_bswap32((uint32_t)value);
        run_dma(fw);
    } else {
        log_print(fw->device.context->log, LOG_DEVICE, "fw_cfg: %u byte write to the DMA address\n", size);
    }
}

static bool init(void *device, struct error *error)
{
    struct fw_cfg *fw = device;
    fw->items = calloc(FW_CFG_MAX_ITEMS, sizeof *fw->items);
    if (!fw->items)
        return error_set(error, "out of memory for fw_cfg items");
    static const uint8_t id[4] = {3}; // the ports, and DMA
    return fw_cfg_add_item(fw, FW_CFG_SIGNATURE, "QEMU", 4, error) &&
           fw_cfg_add_item(fw, FW_CFG_ID, id, sizeof id, error) && build_directory(fw, error);
}

static void reset(void *device)
{
    struct fw_cfg *fw = device;
    select_item(fw, 0);
    fw->dma_address = 0;
}

static void destroy(void *device)
{
    struct fw_cfg *fw = device;
    for (uint32_t i = 0; i < fw->item_count; i++)
        free(fw->items[i].data);
    free(fw->items);
}

static const struct state_field fields[] = {
    STATE_SKIP(fw_cfg, device),     STATE_U(fw_cfg, selected), STATE_U(fw_cfg, offset),
    STATE_U(fw_cfg, dma_address),   STATE_SKIP(fw_cfg, items), STATE_SKIP(fw_cfg, item_count),
    STATE_SKIP(fw_cfg, file_count),
};

static const struct state_table state = STATE_TABLE("fw-cfg", 1, fw_cfg, fields, NULL);
static const struct region_ops regions[] = {
    {.read = port_read, .write = port_write, .max_size = 2, .name = "fw-cfg"},
    {.read = dma_read, .write = dma_write, .max_size = 8, .name = "fw-cfg-dma"},
};
static const uint32_t region_sizes[] = {2, 8};

const struct device_class fw_cfg_class = {
    .name = "fw_cfg",
    .description = "firmware configuration",
    .size = sizeof(struct fw_cfg),
    .state = &state,
    .init = init,
    .reset = reset,
    .destroy = destroy,
    .regions = regions,
    .region_sizes = region_sizes,
    .region_count = 2,
};
