// The register file of the AT's two 8237A DMA controllers and the page registers. No device transfers through it
// yet; software sees the registers of the data sheet.
#include "devices/dma.h"

// Register numbers of one 8237A above the address and count registers (0..7).
enum dma_register {
    DMA_STATUS_COMMAND = 8,
    DMA_REQUEST = 9,
    DMA_SINGLE_MASK = 10,
    DMA_MODE = 11,
    DMA_CLEAR_POINTER = 12,
    DMA_MASTER_CLEAR = 13, // reads the temporary register
    DMA_CLEAR_MASK = 14,
    DMA_ALL_MASK = 15,
};

static void dma_master_clear(struct dma_controller *controller)
{
    controller->command = 0;
    controller->requests = 0;
    controller->reached = 0;
    controller->temporary = 0;
    controller->high_byte = false;
    controller->mask = 0x0F;
}

static uint8_t dma_controller_read(struct dma_controller *controller, unsigned number)
{
    if (number < 8) {
        const struct dma_channel *channel = &controller->channels[number >> 1];
        uint16_t value = number & 1 ? channel->count : channel->address;
        bool high = controller->high_byte;
        controller->high_byte = !high;
        return (uint8_t)(high ? value >> 8 : value);
    }
    uint8_t status;
    switch (number) {
    case DMA_STATUS_COMMAND:
        status = (uint8_t)(controller->requests << 4 | controller->reached);
        controller->reached = 0;
        return status;
    case DMA_MASTER_CLEAR:
        return controller->temporary;
    case DMA_ALL_MASK: // the PIIX3 lets software read the mask here
        return 0xF0 | controller->mask;
    default:
        return 0xFF;
    }
}

static void dma_channel_write(struct dma_controller *controller, unsigned number, uint8_t value)
{
    struct dma_channel *channel = &controller->channels[number >> 1];
    uint16_t *base = number & 1 ? &channel->base_count : &channel->base_address;
    uint16_t *current = number & 1 ? &channel->count : &channel->address;
    if (controller->high_byte)
        *base = (uint16_t)(value << 8 | (*base & 0x00FF));
    else
        *base = (uint16_t)((*base & 0xFF00) | value);
    *current = *base;
    controller->high_byte = !controller->high_byte;
}

static void dma_controller_write(struct dma_controller *controller, unsigned number, uint8_t value)
{
    if (number < 8) {
        dma_channel_write(controller, number, value);
        return;
    }
    uint8_t bit = (uint8_t)(1u << (value & 3));
    switch (number) {
    case DMA_STATUS_COMMAND:
        controller->command = value;
        break;
    case DMA_REQUEST:
        controller->requests = value & 4 ? controller->requests | bit : controller->requests & ~bit;
        break;
    case DMA_SINGLE_MASK:
        controller->mask = value & 4 ? controller->mask | bit : controller->mask & ~bit;
        break;
    case DMA_MODE:
        controller->channels[value & 3].mode = value & 0xFC;
        break;
    case DMA_CLEAR_POINTER:
        controller->high_byte = false;
        break;
    case DMA_MASTER_CLEAR:
        dma_master_clear(controller);
        break;
    case DMA_CLEAR_MASK:
        controller->mask = 0;
        break;
    case DMA_ALL_MASK:
        controller->mask = value & 0x0F;
        break;
    }
}

static uint64_t dma_read_first(void *opaque, uint64_t offset, unsigned size)
{
    struct dma *dma = opaque;
    return dma_controller_read(&dma->controllers[0], offset & 15);
}

static void dma_write_first(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct dma *dma = opaque;
    dma_controller_write(&dma->controllers[0], offset & 15, (uint8_t)value);
}

// The second controller sits on a 16-bit bus: address line 0 is not decoded.
static uint64_t dma_read_second(void *opaque, uint64_t offset, unsigned size)
{
    struct dma *dma = opaque;
    return dma_controller_read(&dma->controllers[1], offset >> 1 & 15);
}

static void dma_write_second(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct dma *dma = opaque;
    dma_controller_write(&dma->controllers[1], offset >> 1 & 15, (uint8_t)value);
}

static uint64_t dma_read_page(void *opaque, uint64_t offset, unsigned size)
{
    const struct dma *dma = opaque;
    return dma->pages[offset & 15];
}

static void dma_write_page(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct dma *dma = opaque;
    dma->pages[offset & 15] = (uint8_t)value;
}

static void dma_reset(void *device)
{
    struct dma *dma = device;
    memset(dma->controllers, 0, sizeof dma->controllers);
    memset(dma->pages, 0, sizeof dma->pages);
    dma_master_clear(&dma->controllers[0]);
    dma_master_clear(&dma->controllers[1]);
}

static const struct state_field dma_channel_fields[] = {
    STATE_U(dma_channel, base_address), STATE_U(dma_channel, base_count), STATE_U(dma_channel, address),
    STATE_U(dma_channel, count),        STATE_U(dma_channel, mode),
};
static const struct state_table dma_channel_state =
    STATE_TABLE("dma-channel", 1, dma_channel, dma_channel_fields, NULL);

static const struct state_field dma_controller_fields[] = {
    STATE_NESTED_ARRAY(dma_controller, channels, &dma_channel_state),
    STATE_U(dma_controller, command),
    STATE_U(dma_controller, requests),
    STATE_U(dma_controller, mask),
    STATE_U(dma_controller, reached),
    STATE_U(dma_controller, temporary),
    STATE_U(dma_controller, high_byte),
};
static const struct state_table dma_controller_state =
    STATE_TABLE("dma-controller", 1, dma_controller, dma_controller_fields, NULL);

static const struct state_field dma_fields[] = {
    STATE_SKIP(dma, device),
    STATE_NESTED_ARRAY(dma, controllers, &dma_controller_state),
    STATE_RAW(dma, pages),
};
static const struct state_table dma_state = STATE_TABLE("dma", 1, dma, dma_fields, NULL);

static const struct region_ops dma_regions[] = {
    {.read = dma_read_first, .write = dma_write_first, .max_size = 1, .name = "dma-first"},
    {.read = dma_read_second, .write = dma_write_second, .max_size = 1, .name = "dma-second"},
    {.read = dma_read_page, .write = dma_write_page, .max_size = 1, .name = "dma-pages"},
};
static const uint32_t dma_region_sizes[] = {16, 32, 16};

const struct device_class dma_class = {
    .name = "i8257",
    .description = "pair of 8237A DMA controllers with page registers",
    .size = sizeof(struct dma),
    .state = &dma_state,
    .reset = dma_reset,
    .regions = dma_regions,
    .region_sizes = dma_region_sizes,
    .region_count = ARRAY_SIZE(dma_regions),
};
