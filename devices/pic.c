// The AT's pair of 8259A interrupt controllers, after the data sheet, with the PIIX3's ELCR.
#include "devices/pic.h"

#define PIC_CASCADE 2
#define PIC_SPURIOUS 7

// Lines that the PIIX3 always treats as edge triggered: timer, keyboard, cascade; clock, coprocessor.
static const uint8_t pic_elcr_writable[2] = {0xF8, 0xDE};

enum {
    ICW1_NEEDS_ICW4 = 1 << 0,
    ICW1_SINGLE = 1 << 1,
    ICW1_LEVEL = 1 << 3,
    ICW1_MARK = 1 << 4,
    ICW4_AUTOMATIC_EOI = 1 << 1,
    ICW4_FULLY_NESTED = 1 << 4,
    OCW3_READ_SERVICE = 1 << 0,
    OCW3_READ_SELECT = 1 << 1,
    OCW3_POLL = 1 << 2,
    OCW3_MARK = 1 << 3,
    OCW3_SPECIAL_MASK = 1 << 5,
    OCW3_SPECIAL_SELECT = 1 << 6,
};

// OCW2 bits 7:5: rotate, specific level, end of interrupt.
enum pic_ocw2 {
    OCW2_ROTATE_AUTOMATIC_CLEAR = 0,
    OCW2_EOI = 1,
    OCW2_SPECIFIC_EOI = 3,
    OCW2_ROTATE_AUTOMATIC_SET = 4,
    OCW2_ROTATE_EOI = 5,
    OCW2_SET_PRIORITY = 6,
    OCW2_ROTATE_SPECIFIC_EOI = 7,
};

static uint8_t pic_level_lines(const struct pic_chip *chip)
{
    return chip->level_mode ? 0xFF : chip->elcr;
}

/// Input of highest priority among `bits`, or -1. `*rank` is 0 for the highest.
static int pic_highest(const struct pic_chip *chip, uint8_t bits, unsigned *rank)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned line = (chip->lowest + 1u + i) & 7;
        if (bits >> line & 1) {
            *rank = i;
            return (int)line;
        }
    }
    *rank = 8;
    return -1;
}

/// The input that the chip would give at INTA now, or -1.
static int pic_deliverable(const struct pic_chip *chip)
{
    if (chip->expected_icw)
        return -1;
    unsigned rank, service_rank;
    int line = pic_highest(chip, chip->request & ~chip->mask, &rank);
    if (line < 0)
        return -1;
    // Special mask mode: a level that is in service but masked does not hold back the others.
    uint8_t service = chip->special_mask ? chip->service & ~chip->mask : chip->service;
    pic_highest(chip, service, &service_rank);
    if (rank < service_rank)
        return line;
    // Special fully nested mode: the slave in service may ask again for a higher one of its inputs.
    bool from_slave = !chip->single && chip->wiring >> line & 1;
    return chip->fully_nested && from_slave && rank == service_rank ? line : -1;
}

static void pic_set_line(struct pic_chip *chip, unsigned line, bool level)
{
    uint8_t bit = (uint8_t)(1u << line);
    if (level) {
        if (!(chip->lines & bit) || pic_level_lines(chip) & bit)
            chip->request |= bit;
        chip->lines |= bit;
    } else {
        // An edge request, too, must stay high until INTA; otherwise it is lost (and may end as spurious).
        chip->request &= ~bit;
        chip->lines &= ~bit;
    }
}

static void pic_update(struct pic_pair *pair)
{
    pic_set_line(&pair->chips[0], PIC_CASCADE, pic_deliverable(&pair->chips[1]) >= 0);
    bool output = pic_deliverable(&pair->chips[0]) >= 0;
    if (output != pair->output) {
        pair->output = output;
        wire_set(&pair->intr, output);
    }
}

void pic_set_irq(void *pic, unsigned line, bool level)
{
    struct pic_pair *pair = pic;
    if (line > 15 || line == PIC_CASCADE)
        return;
    pic_set_line(&pair->chips[line >> 3], line & 7, level);
    pic_update(pair);
}

/// The INTA cycle of one chip: the input, or -1 when nothing is deliverable.
static int pic_chip_acknowledge(struct pic_chip *chip)
{
    int line = pic_deliverable(chip);
    if (line < 0)
        return -1;
    uint8_t bit = (uint8_t)(1u << line);
    if (!(pic_level_lines(chip) & bit))
        chip->request &= ~bit;
    if (!chip->automatic_eoi)
        chip->service |= bit;
    else if (chip->rotate_automatic)
        chip->lowest = (uint8_t)line;
    return line;
}

int pic_acknowledge(struct pic_pair *pair)
{
    struct pic_chip *master = &pair->chips[0], *slave = &pair->chips[1];
    int line = pic_chip_acknowledge(master);
    int vector = master->vector_base | (line < 0 ? PIC_SPURIOUS : line);
    if (line == PIC_CASCADE) {
        int slave_line = pic_chip_acknowledge(slave);
        vector = slave->vector_base | (slave_line < 0 ? PIC_SPURIOUS : slave_line);
        // INT of the slave falls at INTA, so that its next request is an edge for the master.
        pic_set_line(master, PIC_CASCADE, false);
    }
    pic_update(pair);
    return vector;
}

bool pic_output(const struct pic_pair *pair)
{
    return pair->output;
}

void pic_set_masks(struct pic_pair *pair, uint8_t master, uint8_t slave)
{
    pair->chips[0].mask = master;
    pair->chips[1].mask = slave;
    pic_update(pair);
}

static void pic_write_icw1(struct pic_chip *chip, uint8_t value)
{
    chip->level_mode = value & ICW1_LEVEL;
    chip->single = value & ICW1_SINGLE;
    chip->needs_icw4 = value & ICW1_NEEDS_ICW4;
    // The edge latches are cleared: a line that is high must fall and rise to be seen.
    chip->request = chip->lines & pic_level_lines(chip);
    chip->mask = 0;
    chip->service = 0;
    chip->lowest = 7;
    chip->special_mask = false;
    chip->read_service = false;
    chip->poll = false;
    chip->rotate_automatic = false;
    chip->automatic_eoi = false;
    chip->fully_nested = false;
    chip->expected_icw = 2;
}

static void pic_write_ocw2(struct pic_chip *chip, uint8_t value)
{
    unsigned rank;
    uint8_t level = value & 7;
    // A non-specific EOI in special mask mode leaves masked levels in service.
    uint8_t service = chip->special_mask ? chip->service & ~chip->mask : chip->service;
    int highest = pic_highest(chip, service, &rank);
    switch ((enum pic_ocw2)(value >> 5)) {
    case OCW2_ROTATE_AUTOMATIC_CLEAR:
    case OCW2_ROTATE_AUTOMATIC_SET:
        chip->rotate_automatic = value >> 7;
        break;
    case OCW2_EOI:
    case OCW2_ROTATE_EOI:
        if (highest < 0)
            break;
        chip->service &= ~(1u << highest);
        if (value >> 7)
            chip->lowest = (uint8_t)highest;
        break;
    case OCW2_SPECIFIC_EOI:
    case OCW2_ROTATE_SPECIFIC_EOI:
        chip->service &= ~(1u << level);
        if (value >> 7)
            chip->lowest = level;
        break;
    case OCW2_SET_PRIORITY:
        chip->lowest = level;
        break;
    }
}

static void pic_write_ocw3(struct pic_chip *chip, uint8_t value)
{
    if (value & OCW3_SPECIAL_SELECT)
        chip->special_mask = value & OCW3_SPECIAL_MASK;
    if (value & OCW3_READ_SELECT)
        chip->read_service = value & OCW3_READ_SERVICE;
    chip->poll = value & OCW3_POLL;
}

static void pic_write_odd(struct pic_chip *chip, uint8_t value)
{
    uint8_t after_wiring = chip->needs_icw4 ? 4 : 0;
    switch (chip->expected_icw) {
    case 2:
        chip->vector_base = value & 0xF8;
        chip->expected_icw = chip->single ? after_wiring : 3;
        break;
    case 3:
        chip->wiring = value;
        chip->expected_icw = after_wiring;
        break;
    case 4:
        chip->automatic_eoi = value & ICW4_AUTOMATIC_EOI;
        chip->fully_nested = value & ICW4_FULLY_NESTED;
        chip->expected_icw = 0;
        break;
    default:
        chip->mask = value;
    }
}

static void pic_write(struct pic_pair *pair, unsigned index, uint64_t offset, uint8_t value)
{
    struct pic_chip *chip = &pair->chips[index];
    if (offset & 1)
        pic_write_odd(chip, value);
    else if (value & ICW1_MARK)
        pic_write_icw1(chip, value);
    else if (value & OCW3_MARK)
        pic_write_ocw3(chip, value);
    else
        pic_write_ocw2(chip, value);
    pic_update(pair);
}

static uint8_t pic_read(struct pic_pair *pair, unsigned index, uint64_t offset)
{
    struct pic_chip *chip = &pair->chips[index];
    if (chip->poll) {
        chip->poll = false;
        int line = pic_chip_acknowledge(chip);
        if (index == 1)
            pic_set_line(&pair->chips[0], PIC_CASCADE, false);
        pic_update(pair);
        return line < 0 ? 0 : 0x80 | (uint8_t)line;
    }
    if (offset & 1)
        return chip->mask;
    return chip->read_service ? chip->service : chip->request;
}

static uint64_t pic_read_master(void *opaque, uint64_t offset, unsigned size)
{
    return pic_read(opaque, 0, offset);
}

static void pic_write_master(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    pic_write(opaque, 0, offset, (uint8_t)value);
}

static uint64_t pic_read_slave(void *opaque, uint64_t offset, unsigned size)
{
    return pic_read(opaque, 1, offset);
}

static void pic_write_slave(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    pic_write(opaque, 1, offset, (uint8_t)value);
}

static uint64_t pic_read_elcr(void *opaque, uint64_t offset, unsigned size)
{
    const struct pic_pair *pair = opaque;
    return pair->chips[offset & 1].elcr;
}

static void pic_write_elcr(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct pic_pair *pair = opaque;
    struct pic_chip *chip = &pair->chips[offset & 1];
    chip->elcr = value & pic_elcr_writable[offset & 1];
    chip->request |= chip->lines & pic_level_lines(chip);
    pic_update(pair);
}

static void pic_reset(void *device)
{
    struct pic_pair *pair = device;
    for (unsigned i = 0; i < 2; i++) {
        // The levels at the inputs belong to who drives them; everything else starts anew.
        uint8_t lines = i == 0 ? pair->chips[0].lines & ~(1u << PIC_CASCADE) : pair->chips[1].lines;
        pair->chips[i] = (struct pic_chip){.lines = lines, .lowest = 7};
    }
    pair->output = false;
    wire_set(&pair->intr, false);
}

static bool pic_after_load(void *object, struct error *error)
{
    const struct pic_pair *pair = object;
    for (unsigned i = 0; i < 2; i++) {
        const struct pic_chip *chip = &pair->chips[i];
        if (chip->lowest > 7 || chip->expected_icw > 4 || chip->expected_icw == 1 || chip->vector_base & 7)
            return error_set(error, "interrupt controller %u: impossible state", i);
    }
    return true;
}

static const struct state_field pic_chip_fields[] = {
    STATE_U(pic_chip, request),       STATE_U(pic_chip, mask),         STATE_U(pic_chip, service),
    STATE_U(pic_chip, lines),         STATE_U(pic_chip, elcr),         STATE_U(pic_chip, vector_base),
    STATE_U(pic_chip, wiring),        STATE_U(pic_chip, lowest),       STATE_U(pic_chip, expected_icw),
    STATE_U(pic_chip, level_mode),    STATE_U(pic_chip, single),       STATE_U(pic_chip, needs_icw4),
    STATE_U(pic_chip, automatic_eoi), STATE_U(pic_chip, fully_nested), STATE_U(pic_chip, rotate_automatic),
    STATE_U(pic_chip, special_mask),  STATE_U(pic_chip, read_service), STATE_U(pic_chip, poll),
};
static const struct state_table pic_chip_state = STATE_TABLE("pic-chip", 1, pic_chip, pic_chip_fields, NULL);

static const struct state_field pic_fields[] = {
    STATE_SKIP(pic_pair, device),
    STATE_NESTED_ARRAY(pic_pair, chips, &pic_chip_state),
    STATE_U(pic_pair, output),
    STATE_SKIP(pic_pair, intr),
};
static const struct state_table pic_state = STATE_TABLE("pic", 1, pic_pair, pic_fields, pic_after_load);

static const struct region_ops pic_regions[] = {
    {.read = pic_read_master, .write = pic_write_master, .max_size = 1, .name = "pic-master"},
    {.read = pic_read_slave, .write = pic_write_slave, .max_size = 1, .name = "pic-slave"},
    {.read = pic_read_elcr, .write = pic_write_elcr, .max_size = 1, .name = "pic-elcr"},
};
static const uint32_t pic_region_sizes[] = {2, 2, 2};

const struct device_class pic_class = {
    .name = "isa-i8259",
    .description = "pair of 8259A interrupt controllers",
    .size = sizeof(struct pic_pair),
    .state = &pic_state,
    .reset = pic_reset,
    .regions = pic_regions,
    .region_sizes = pic_region_sizes,
    .region_count = ARRAY_SIZE(pic_regions),
};
