// The keyboard controller: its registers, its commands, the translation of scan codes, and the routing of bytes
// from keyboard and mouse into one output buffer. The PS/2 devices themselves are in ps2.c.
#include "devices/i8042.h"

#include "devices/ps2.h"

enum {
    STATUS_OUTPUT_FULL = 1 << 0,
    STATUS_SYSTEM = 1 << 2,
    STATUS_COMMAND = 1 << 3,
    STATUS_UNLOCKED = 1 << 4,
    STATUS_MOUSE_DATA = 1 << 5,

    MODE_KEYBOARD_INTERRUPT = 1 << 0,
    MODE_MOUSE_INTERRUPT = 1 << 1,
    MODE_SYSTEM = 1 << 2,
    MODE_KEYBOARD_OFF = 1 << 4,
    MODE_MOUSE_OFF = 1 << 5,
    MODE_TRANSLATE = 1 << 6,

    PORT_NOT_RESET = 1 << 0,
    PORT_A20 = 1 << 1,
    PORT_KEYBOARD_FULL = 1 << 4,
    PORT_MOUSE_FULL = 1 << 5,
    PORT_ALWAYS = 0xCC,
};

enum i8042_command {
    COMMAND_READ_RAM = 0x20,  // ..0x3F
    COMMAND_WRITE_RAM = 0x60, // ..0x7F
    COMMAND_MOUSE_OFF = 0xA7,
    COMMAND_MOUSE_ON = 0xA8,
    COMMAND_TEST_MOUSE = 0xA9,
    COMMAND_SELF_TEST = 0xAA,
    COMMAND_TEST_KEYBOARD = 0xAB,
    COMMAND_KEYBOARD_OFF = 0xAD,
    COMMAND_KEYBOARD_ON = 0xAE,
    COMMAND_READ_INPUT_PORT = 0xC0,
    COMMAND_READ_OUTPUT_PORT = 0xD0,
    COMMAND_WRITE_OUTPUT_PORT = 0xD1,
    COMMAND_WRITE_KEYBOARD_BUFFER = 0xD2,
    COMMAND_WRITE_MOUSE_BUFFER = 0xD3,
    COMMAND_WRITE_MOUSE = 0xD4,
    COMMAND_A20_OFF = 0xDD,
    COMMAND_A20_ON = 0xDF,
    COMMAND_READ_TEST_INPUTS = 0xE0,
    COMMAND_PULSE = 0xF0, // ..0xFF
};

// Set 2 to set 1, as the controller's ROM has it.
static const uint8_t i8042_translation[128] = {
    0xFF, 0x43, 0x41, 0x3F, 0x3D, 0x3B, 0x3C, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3E, 0x0F, 0x29, 0x59, //
    0x65, 0x38, 0x2A, 0x70, 0x1D, 0x10, 0x02, 0x5A, 0x66, 0x71, 0x2C, 0x1F, 0x1E, 0x11, 0x03, 0x5B, //
    0x67, 0x2E, 0x2D, 0x20, 0x12, 0x05, 0x04, 0x5C, 0x68, 0x39, 0x2F, 0x21, 0x14, 0x13, 0x06, 0x5D, //
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5E, 0x6A, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5F, //
    0x6B, 0x33, 0x25, 0x17, 0x18, 0x0B, 0x0A, 0x60, 0x6C, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0C, 0x61, //
    0x6D, 0x73, 0x28, 0x74, 0x1A, 0x0D, 0x62, 0x6E, 0x3A, 0x36, 0x1C, 0x1B, 0x75, 0x2B, 0x63, 0x76, //
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7A, 0x0E, 0x7B, 0x7C, 0x4F, 0x7D, 0x4B, 0x47, 0x7E, 0x7F, 0x6F, //
    0x52, 0x53, 0x50, 0x4C, 0x4D, 0x48, 0x01, 0x45, 0x57, 0x4E, 0x51, 0x4A, 0x37, 0x49, 0x46, 0x54, //
};

static uint8_t i8042_translate(uint8_t code)
{
    if (code < 0x80)
        return i8042_translation[code];
    return code == 0x83 ? 0x41 : code == 0x84 ? 0x54 : code; // F7 and Alt-SysRq; replies pass as they are
}

/// Set 2 code of the set 1 code `key`.
static uint8_t i8042_set2_code(uint8_t key)
{
    if (key == 0x41)
        return 0x83;
    for (unsigned i = 1; i < sizeof i8042_translation; i++) {
        if (i8042_translation[i] == key)
            return (uint8_t)i;
    }
    return 0;
}

/// Takes the next byte from the keyboard, translated if so set; false when none is there.
static bool i8042_take_keyboard(struct i8042 *controller, uint8_t *byte)
{
    while (i8042_queue_pop(&controller->keyboard.queue, byte)) {
        if (!(controller->command_byte & MODE_TRANSLATE))
            return true;
        if (*byte == 0xF0) {
            controller->break_prefix = true;
            continue;
        }
        *byte = i8042_translate(*byte);
        if (controller->break_prefix)
            *byte |= 0x80;
        controller->break_prefix = false;
        return true;
    }
    return false;
}

/// Finds the next byte for the output buffer: the controller's own replies first, then the keyboard, the mouse.
static bool i8042_next_byte(struct i8042 *controller, uint8_t *byte, bool *from_mouse)
{
    if (i8042_queue_pop(&controller->replies, byte)) {
        uint8_t port = 0;
        i8042_queue_pop(&controller->replies, &port);
        *from_mouse = port;
        return true;
    }
    *from_mouse = false;
    if (!(controller->command_byte & MODE_KEYBOARD_OFF) && i8042_take_keyboard(controller, byte))
        return true;
    *from_mouse = true;
    return !(controller->command_byte & MODE_MOUSE_OFF) && ps2_mouse_take(&controller->mouse, byte);
}

/// Fills the output buffer if it is free, and drives the interrupt lines.
static void i8042_update(struct i8042 *controller)
{
    uint8_t byte;
    bool from_mouse;
    if (!(controller->status & STATUS_OUTPUT_FULL) && i8042_next_byte(controller, &byte, &from_mouse)) {
        controller->data = byte;
        controller->status &= ~STATUS_MOUSE_DATA;
        controller->status |= STATUS_OUTPUT_FULL | (from_mouse ? STATUS_MOUSE_DATA : 0);
    }
    bool full = controller->status & STATUS_OUTPUT_FULL, mouse = controller->status & STATUS_MOUSE_DATA;
    wire_set(&controller->keyboard_irq, full && !mouse && controller->command_byte & MODE_KEYBOARD_INTERRUPT);
    wire_set(&controller->mouse_irq, full && mouse && controller->command_byte & MODE_MOUSE_INTERRUPT);
}

static void i8042_reply(struct i8042 *controller, uint8_t byte, bool as_mouse)
{
    // Two entries a reply: the byte, and the port that it seems to come from.
    if (controller->replies.count > I8042_QUEUE_SIZE - 2)
        return;
    i8042_queue_push(&controller->replies, byte);
    i8042_queue_push(&controller->replies, as_mouse);
}

static void i8042_write_output_port(struct i8042 *controller, uint8_t value)
{
    bool a20 = value & PORT_A20;
    bool changed = (value ^ controller->output_port) & PORT_A20;
    controller->output_port = value & (PORT_NOT_RESET | PORT_A20);
    if (changed)
        wire_set(&controller->a20, a20);
    if (!(value & PORT_NOT_RESET)) {
        controller->output_port |= PORT_NOT_RESET;
        wire_pulse(&controller->reset);
    }
}

static uint8_t i8042_read_output_port(const struct i8042 *controller)
{
    uint8_t value = controller->output_port | PORT_ALWAYS;
    if (controller->status & STATUS_OUTPUT_FULL)
        value |= controller->status & STATUS_MOUSE_DATA ? PORT_MOUSE_FULL : PORT_KEYBOARD_FULL;
    return value;
}

static void i8042_set_mode(struct i8042 *controller, uint8_t mode)
{
    controller->command_byte = mode;
    controller->status &= ~STATUS_SYSTEM;
    controller->status |= mode & MODE_SYSTEM ? STATUS_SYSTEM : 0;
}

static void i8042_ram_command(struct i8042 *controller, uint8_t command)
{
    unsigned index = command & 0x1F;
    if (command >= COMMAND_WRITE_RAM)
        controller->pending = command;
    else
        i8042_reply(controller, index ? controller->ram[index] : controller->command_byte, false);
}

static void i8042_command(struct i8042 *controller, uint8_t command)
{
    if ((command & 0xE0) == COMMAND_READ_RAM || (command & 0xE0) == COMMAND_WRITE_RAM) {
        i8042_ram_command(controller, command);
        return;
    }
    if (command >= COMMAND_PULSE) { // a zero bit pulses its line of the output port; only the reset line matters
        if (!(command & PORT_NOT_RESET))
            wire_pulse(&controller->reset);
        return;
    }
    switch ((enum i8042_command)command) {
    case COMMAND_MOUSE_OFF:
        controller->command_byte |= MODE_MOUSE_OFF;
        break;
    case COMMAND_MOUSE_ON:
        controller->command_byte &= ~MODE_MOUSE_OFF;
        break;
    case COMMAND_KEYBOARD_OFF:
        controller->command_byte |= MODE_KEYBOARD_OFF;
        break;
    case COMMAND_KEYBOARD_ON:
        controller->command_byte &= ~MODE_KEYBOARD_OFF;
        break;
    case COMMAND_SELF_TEST:
        i8042_set_mode(controller, controller->command_byte | MODE_SYSTEM);
        i8042_reply(controller, 0x55, false);
        break;
    case COMMAND_TEST_MOUSE:
    case COMMAND_TEST_KEYBOARD:
    case COMMAND_READ_TEST_INPUTS:
        i8042_reply(controller, 0x00, false); // no line is stuck
        break;
    case COMMAND_READ_INPUT_PORT:
        i8042_reply(controller, 0x80, false); // keyboard not locked
        break;
    case COMMAND_READ_OUTPUT_PORT:
        i8042_reply(controller, i8042_read_output_port(controller), false);
        break;
    case COMMAND_A20_OFF:
    case COMMAND_A20_ON:
        i8042_write_output_port(controller, PORT_NOT_RESET | (command & PORT_A20));
        break;
    case COMMAND_WRITE_OUTPUT_PORT:
    case COMMAND_WRITE_KEYBOARD_BUFFER:
    case COMMAND_WRITE_MOUSE_BUFFER:
    case COMMAND_WRITE_MOUSE:
        controller->pending = command;
        break;
    default:
        log_print(controller->device.context->log, LOG_DEVICE, "%s: unknown command %#x\n", controller->device.id,
                  command);
    }
}

/// A byte on port 0x60: the parameter of a controller command, or a byte for the keyboard.
static void i8042_write_parameter(struct i8042 *controller, uint8_t value)
{
    uint8_t command = controller->pending;
    controller->pending = 0;
    switch (command) {
    case 0: // talking to the keyboard turns its interface on
        controller->command_byte &= ~MODE_KEYBOARD_OFF;
        ps2_keyboard_write(&controller->keyboard, value);
        break;
    case COMMAND_WRITE_RAM:
        i8042_set_mode(controller, value);
        break;
    case COMMAND_WRITE_OUTPUT_PORT:
        i8042_write_output_port(controller, value);
        break;
    case COMMAND_WRITE_KEYBOARD_BUFFER:
        i8042_reply(controller, value, false);
        break;
    case COMMAND_WRITE_MOUSE_BUFFER:
        i8042_reply(controller, value, true);
        break;
    case COMMAND_WRITE_MOUSE:
        controller->command_byte &= ~MODE_MOUSE_OFF;
        ps2_mouse_write(&controller->mouse, value);
        break;
    default:
        controller->ram[command & 0x1F] = value;
    }
}

static uint64_t i8042_read_data(void *opaque, uint64_t offset, unsigned size)
{
    struct i8042 *controller = opaque;
    uint8_t value = controller->data;
    if (controller->status & STATUS_OUTPUT_FULL) {
        controller->status &= ~STATUS_OUTPUT_FULL;
        // The lines fall before the next byte raises them: the interrupt controller sees an edge a byte.
        wire_set(&controller->keyboard_irq, false);
        wire_set(&controller->mouse_irq, false);
        i8042_update(controller);
    }
    return value;
}

static void i8042_write_data(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct i8042 *controller = opaque;
    controller->status &= ~STATUS_COMMAND;
    i8042_write_parameter(controller, (uint8_t)value);
    i8042_update(controller);
}

static uint64_t i8042_read_status(void *opaque, uint64_t offset, unsigned size)
{
    const struct i8042 *controller = opaque;
    return controller->status;
}

static void i8042_write_command(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct i8042 *controller = opaque;
    controller->status |= STATUS_COMMAND;
    controller->pending = 0;
    i8042_command(controller, (uint8_t)value);
    i8042_update(controller);
}

void i8042_firmware_ready(struct i8042 *controller)
{
    i8042_set_mode(controller, MODE_KEYBOARD_INTERRUPT | MODE_SYSTEM | MODE_MOUSE_OFF | MODE_TRANSLATE);
    controller->keyboard.scanning = true;
    i8042_update(controller);
}

void i8042_key(struct i8042 *controller, uint8_t key, bool pressed)
{
    uint8_t code = i8042_set2_code(key & 0x7F);
    if (code)
        ps2_keyboard_key(&controller->keyboard, key & 0x7F, code, key >> 7, pressed);
    i8042_update(controller);
}

void i8042_mouse_move(struct i8042 *controller, int dx, int dy, int dz, unsigned buttons)
{
    ps2_mouse_move(&controller->mouse, dx, dy, dz, buttons);
    i8042_update(controller);
}

static void i8042_reset(void *device)
{
    struct i8042 *controller = device;
    controller->command_byte = MODE_KEYBOARD_INTERRUPT | MODE_MOUSE_INTERRUPT;
    memset(controller->ram, 0, sizeof controller->ram);
    controller->output_port = PORT_NOT_RESET | PORT_A20;
    controller->pending = 0;
    controller->data = 0;
    controller->status = STATUS_COMMAND | STATUS_UNLOCKED;
    controller->break_prefix = false;
    controller->replies = (struct i8042_queue){.count = 0};
    ps2_keyboard_reset(&controller->keyboard);
    ps2_mouse_reset(&controller->mouse);
    wire_set(&controller->keyboard_irq, false);
    wire_set(&controller->mouse_irq, false);
    wire_set(&controller->reset, false);
    wire_set(&controller->a20, true);
}

static bool i8042_after_load(void *object, struct error *error)
{
    const struct i8042 *controller = object;
    if (controller->replies.count & 1 || !i8042_queue_valid(&controller->replies) ||
        !i8042_queue_valid(&controller->keyboard.queue) || !i8042_queue_valid(&controller->mouse.queue))
        return error_set(error, "keyboard controller: impossible state");
    return true;
}

static const struct state_field i8042_queue_fields[] = {
    STATE_RAW(i8042_queue, bytes),
    STATE_U(i8042_queue, start),
    STATE_U(i8042_queue, count),
};
static const struct state_table i8042_queue_state =
    STATE_TABLE("i8042-queue", 1, i8042_queue, i8042_queue_fields, NULL);

static const struct state_field i8042_keyboard_fields[] = {
    STATE_NESTED(i8042_keyboard, queue, &i8042_queue_state),
    STATE_U(i8042_keyboard, command),
    STATE_U(i8042_keyboard, leds),
    STATE_U(i8042_keyboard, rate),
    STATE_U(i8042_keyboard, scan_set),
    STATE_U(i8042_keyboard, last),
    STATE_U(i8042_keyboard, scanning),
};
static const struct state_table i8042_keyboard_state =
    STATE_TABLE("ps2-keyboard", 1, i8042_keyboard, i8042_keyboard_fields, NULL);

static const struct state_field i8042_mouse_fields[] = {
    STATE_NESTED(i8042_mouse, queue, &i8042_queue_state),
    STATE_U(i8042_mouse, command),
    STATE_U(i8042_mouse, rate),
    STATE_U(i8042_mouse, resolution),
    STATE_U(i8042_mouse, id),
    STATE_RAW(i8042_mouse, rate_history),
    STATE_U(i8042_mouse, buttons),
    STATE_U(i8042_mouse, last),
    STATE_U(i8042_mouse, scaling),
    STATE_U(i8042_mouse, remote),
    STATE_U(i8042_mouse, wrap),
    STATE_U(i8042_mouse, reporting),
    STATE_U(i8042_mouse, changed),
    STATE_U(i8042_mouse, dx),
    STATE_U(i8042_mouse, dy),
    STATE_U(i8042_mouse, dz),
};
static const struct state_table i8042_mouse_state = STATE_TABLE("ps2-mouse", 1, i8042_mouse, i8042_mouse_fields, NULL);

static const struct state_field i8042_fields[] = {
    STATE_SKIP(i8042, device),
    STATE_U(i8042, command_byte),
    STATE_RAW(i8042, ram),
    STATE_U(i8042, output_port),
    STATE_U(i8042, pending),
    STATE_U(i8042, data),
    STATE_U(i8042, status),
    STATE_U(i8042, break_prefix),
    STATE_NESTED(i8042, replies, &i8042_queue_state),
    STATE_NESTED(i8042, keyboard, &i8042_keyboard_state),
    STATE_NESTED(i8042, mouse, &i8042_mouse_state),
    STATE_SKIP(i8042, keyboard_irq),
    STATE_SKIP(i8042, mouse_irq),
    STATE_SKIP(i8042, a20),
    STATE_SKIP(i8042, reset),
};
static const struct state_table i8042_state = STATE_TABLE("i8042", 1, i8042, i8042_fields, i8042_after_load);

static const struct region_ops i8042_regions[] = {
    {.read = i8042_read_data, .write = i8042_write_data, .max_size = 1, .name = "i8042-data"},
    {.read = i8042_read_status, .write = i8042_write_command, .max_size = 1, .name = "i8042-command"},
};
static const uint32_t i8042_region_sizes[] = {1, 1};

const struct device_class i8042_class = {
    .name = "i8042",
    .description = "keyboard controller with PS/2 keyboard and mouse",
    .size = sizeof(struct i8042),
    .state = &i8042_state,
    .reset = i8042_reset,
    .regions = i8042_regions,
    .region_sizes = i8042_region_sizes,
    .region_count = ARRAY_SIZE(i8042_regions),
};
