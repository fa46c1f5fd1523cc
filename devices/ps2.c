// PS/2 keyboard (sets 1 and 2) and PS/2 mouse (standard, wheel, five buttons).
#include "devices/ps2.h"

enum {
    PS2_ACKNOWLEDGE = 0xFA,
    PS2_SELF_TEST_PASSED = 0xAA,
    PS2_RESEND = 0xFE,
};

enum keyboard_command {
    KEYBOARD_LEDS = 0xED,
    KEYBOARD_ECHO = 0xEE,
    KEYBOARD_SCAN_SET = 0xF0,
    KEYBOARD_IDENTIFY = 0xF2,
    KEYBOARD_RATE = 0xF3,
    KEYBOARD_ENABLE = 0xF4,
    KEYBOARD_DISABLE = 0xF5,
    KEYBOARD_DEFAULTS = 0xF6,
    KEYBOARD_ALL_TYPEMATIC = 0xF7, // ..0xFA: kinds of key events in set 3
    KEYBOARD_KEY_TYPEMATIC = 0xFB, // ..0xFD: the same for the one key that follows
    KEYBOARD_KEY_MAKE = 0xFD,
    KEYBOARD_RESEND = 0xFE,
    KEYBOARD_RESET = 0xFF,
};

enum mouse_command {
    MOUSE_SCALE_1 = 0xE6,
    MOUSE_SCALE_2 = 0xE7,
    MOUSE_RESOLUTION = 0xE8,
    MOUSE_STATUS = 0xE9,
    MOUSE_STREAM = 0xEA,
    MOUSE_READ = 0xEB,
    MOUSE_WRAP_OFF = 0xEC,
    MOUSE_WRAP = 0xEE,
    MOUSE_REMOTE = 0xF0,
    MOUSE_IDENTIFY = 0xF2,
    MOUSE_RATE = 0xF3,
    MOUSE_ENABLE = 0xF4,
    MOUSE_DISABLE = 0xF5,
    MOUSE_DEFAULTS = 0xF6,
    MOUSE_RESEND = 0xFE,
    MOUSE_RESET = 0xFF,
};

static void keyboard_defaults(struct i8042_keyboard *keyboard)
{
    keyboard->queue = (struct i8042_queue){.count = 0};
    keyboard->command = 0;
    keyboard->rate = 0x2B; // 10.9 characters a second after 500 ms
    keyboard->scan_set = 2;
}

void ps2_keyboard_reset(struct i8042_keyboard *keyboard)
{
    keyboard_defaults(keyboard);
    keyboard->leds = 0;
    keyboard->last = 0;
    keyboard->scanning = true;
}

static void keyboard_send(struct i8042_keyboard *keyboard, uint8_t byte)
{
    keyboard->last = byte;
    i8042_queue_push(&keyboard->queue, byte);
}

/// The parameter of a two-byte command. False: the byte is a new command instead.
static bool keyboard_parameter(struct i8042_keyboard *keyboard, uint8_t byte)
{
    uint8_t command = keyboard->command;
    keyboard->command = 0;
    if (!command || (byte >= KEYBOARD_LEDS && command < KEYBOARD_KEY_TYPEMATIC))
        return false;
    if (command == KEYBOARD_SCAN_SET && byte > 3) {
        keyboard_send(keyboard, PS2_RESEND);
        return true;
    }
    keyboard_send(keyboard, PS2_ACKNOWLEDGE);
    if (command == KEYBOARD_LEDS)
        keyboard->leds = byte & 7;
    else if (command == KEYBOARD_RATE)
        keyboard->rate = byte & 0x7F;
    else if (command == KEYBOARD_SCAN_SET && byte == 0)
        keyboard_send(keyboard, keyboard->scan_set);
    else if (command == KEYBOARD_SCAN_SET)
        keyboard->scan_set = byte;
    return true;
}

void ps2_keyboard_write(struct i8042_keyboard *keyboard, uint8_t byte)
{
    if (keyboard_parameter(keyboard, byte))
        return;
    switch (byte) {
    case KEYBOARD_LEDS:
    case KEYBOARD_SCAN_SET:
    case KEYBOARD_RATE:
    case KEYBOARD_KEY_TYPEMATIC:
    case KEYBOARD_KEY_TYPEMATIC + 1:
    case KEYBOARD_KEY_MAKE:
        keyboard->command = byte;
        keyboard_send(keyboard, PS2_ACKNOWLEDGE);
        break;
    case KEYBOARD_ECHO:
        keyboard_send(keyboard, KEYBOARD_ECHO);
        break;
    case KEYBOARD_IDENTIFY:
        keyboard_send(keyboard, PS2_ACKNOWLEDGE);
        keyboard_send(keyboard, 0xAB);
        keyboard_send(keyboard, 0x83);
        break;
    case KEYBOARD_ENABLE:
        keyboard->queue = (struct i8042_queue){.count = 0};
        keyboard->scanning = true;
        keyboard_send(keyboard, PS2_ACKNOWLEDGE);
        break;
    case KEYBOARD_DISABLE:
    case KEYBOARD_DEFAULTS:
        keyboard_defaults(keyboard);
        keyboard->scanning = byte == KEYBOARD_DEFAULTS;
        keyboard_send(keyboard, PS2_ACKNOWLEDGE);
        break;
    case KEYBOARD_ALL_TYPEMATIC:
    case KEYBOARD_ALL_TYPEMATIC + 1:
    case KEYBOARD_ALL_TYPEMATIC + 2:
    case KEYBOARD_ALL_TYPEMATIC + 3:
        keyboard_send(keyboard, PS2_ACKNOWLEDGE);
        break;
    case KEYBOARD_RESEND:
        keyboard_send(keyboard, keyboard->last);
        break;
    case KEYBOARD_RESET:
        ps2_keyboard_reset(keyboard);
        keyboard_send(keyboard, PS2_ACKNOWLEDGE);
        keyboard_send(keyboard, PS2_SELF_TEST_PASSED);
        break;
    default:
        keyboard_send(keyboard, PS2_RESEND);
    }
}

void ps2_keyboard_key(struct i8042_keyboard *keyboard, uint8_t set1, uint8_t set2, bool extended, bool pressed)
{
    // A key is reported whole or not at all.
    if (!keyboard->scanning || keyboard->queue.count > I8042_QUEUE_SIZE - 3)
        return;
    if (extended)
        keyboard_send(keyboard, 0xE0);
    if (keyboard->scan_set == 1) {
        keyboard_send(keyboard, pressed ? set1 : set1 | 0x80);
        return;
    }
    if (!pressed)
        keyboard_send(keyboard, 0xF0);
    keyboard_send(keyboard, set2);
}

static void mouse_defaults(struct i8042_mouse *mouse)
{
    mouse->queue = (struct i8042_queue){.count = 0};
    mouse->command = 0;
    mouse->rate = 100;
    mouse->resolution = 2;
    mouse->scaling = false;
    mouse->remote = false;
    mouse->wrap = false;
    mouse->reporting = false;
    mouse->changed = false;
    mouse->dx = mouse->dy = mouse->dz = 0;
}

void ps2_mouse_reset(struct i8042_mouse *mouse)
{
    mouse_defaults(mouse);
    mouse->id = 0;
    memset(mouse->rate_history, 0, sizeof mouse->rate_history);
    mouse->buttons = 0;
    mouse->last = 0;
}

static void mouse_send(struct i8042_mouse *mouse, uint8_t byte)
{
    mouse->last = byte;
    i8042_queue_push(&mouse->queue, byte);
}

static int clamp(int value, int low, int high)
{
    return value < low ? low : value > high ? high : value;
}

/// One packet with as much of the motion as fits into it; the rest stays for the next.
static void mouse_send_packet(struct i8042_mouse *mouse)
{
    int dx = clamp(mouse->dx, -255, 255), dy = clamp(mouse->dy, -255, 255), dz = clamp(mouse->dz, -7, 7);
    mouse->dx = (int16_t)(mouse->dx - dx);
    mouse->dy = (int16_t)(mouse->dy - dy);
    mouse->dz = (int16_t)(mouse->id ? mouse->dz - dz : 0);
    mouse->changed = mouse->dx || mouse->dy || mouse->dz;
    int up = -dy;
    mouse_send(mouse, (uint8_t)(0x08 | (mouse->buttons & 7) | (dx < 0 ? 0x10 : 0) | (up < 0 ? 0x20 : 0)));
    mouse_send(mouse, (uint8_t)dx);
    mouse_send(mouse, (uint8_t)up);
    if (mouse->id == 3)
        mouse_send(mouse, (uint8_t)dz);
    else if (mouse->id == 4)
        mouse_send(mouse, (uint8_t)((dz & 0x0F) | (mouse->buttons & 0x18) << 1));
}

/// Three rates in a row are the knock that makes a mouse show its wheel (200, 100, 80) and buttons (200, 200, 80).
static void mouse_set_rate(struct i8042_mouse *mouse, uint8_t rate)
{
    if (mouse->rate_history[0] == 200 && rate == 80) {
        if (mouse->rate_history[1] == 100)
            mouse->id = 3;
        else if (mouse->rate_history[1] == 200 && mouse->id == 3)
            mouse->id = 4;
    }
    mouse->rate_history[0] = mouse->rate_history[1];
    mouse->rate_history[1] = rate;
    mouse->rate = rate;
}

static void mouse_send_status(struct i8042_mouse *mouse)
{
    uint8_t buttons = (uint8_t)((mouse->buttons & 1) << 2 | (mouse->buttons & 4) >> 1 | (mouse->buttons & 2) >> 1);
    mouse_send(mouse, (uint8_t)(mouse->remote << 6 | mouse->reporting << 5 | mouse->scaling << 4 | buttons));
    mouse_send(mouse, mouse->resolution);
    mouse_send(mouse, mouse->rate);
}

static void mouse_command(struct i8042_mouse *mouse, uint8_t byte)
{
    mouse_send(mouse, PS2_ACKNOWLEDGE);
    switch ((enum mouse_command)byte) {
    case MOUSE_SCALE_1:
    case MOUSE_SCALE_2:
        mouse->scaling = byte == MOUSE_SCALE_2;
        break;
    case MOUSE_RESOLUTION:
    case MOUSE_RATE:
        mouse->command = byte;
        break;
    case MOUSE_STATUS:
        mouse_send_status(mouse);
        break;
    case MOUSE_STREAM:
    case MOUSE_REMOTE:
        mouse->remote = byte == MOUSE_REMOTE;
        break;
    case MOUSE_READ:
        mouse_send_packet(mouse);
        break;
    case MOUSE_WRAP:
    case MOUSE_WRAP_OFF:
        mouse->wrap = byte == MOUSE_WRAP;
        break;
    case MOUSE_IDENTIFY:
        mouse_send(mouse, mouse->id);
        break;
    case MOUSE_ENABLE:
    case MOUSE_DISABLE:
        mouse->reporting = byte == MOUSE_ENABLE;
        break;
    case MOUSE_DEFAULTS:
        mouse_defaults(mouse);
        mouse_send(mouse, PS2_ACKNOWLEDGE);
        break;
    case MOUSE_RESET:
        ps2_mouse_reset(mouse);
        mouse_send(mouse, PS2_ACKNOWLEDGE);
        mouse_send(mouse, PS2_SELF_TEST_PASSED);
        mouse_send(mouse, mouse->id);
        break;
    case MOUSE_RESEND:
        break; // never gets here
    }
}

static bool mouse_knows(uint8_t byte)
{
    return (byte >= MOUSE_SCALE_1 && byte <= MOUSE_WRAP_OFF) || byte == MOUSE_WRAP || byte == MOUSE_REMOTE ||
           (byte >= MOUSE_IDENTIFY && byte <= MOUSE_DEFAULTS) || byte == MOUSE_RESET;
}

void ps2_mouse_write(struct i8042_mouse *mouse, uint8_t byte)
{
    uint8_t command = mouse->command;
    mouse->command = 0;
    if (mouse->wrap && byte != MOUSE_WRAP_OFF && byte != MOUSE_RESET) {
        mouse_send(mouse, byte);
    } else if (command == MOUSE_RESOLUTION) {
        mouse->resolution = byte & 3;
        mouse_send(mouse, PS2_ACKNOWLEDGE);
    } else if (command == MOUSE_RATE) {
        mouse_set_rate(mouse, byte);
        mouse_send(mouse, PS2_ACKNOWLEDGE);
    } else if (byte == MOUSE_RESEND) {
        mouse_send(mouse, mouse->last);
    } else if (mouse_knows(byte)) {
        mouse_command(mouse, byte);
    } else {
        mouse_send(mouse, PS2_RESEND);
    }
}

void ps2_mouse_move(struct i8042_mouse *mouse, int dx, int dy, int dz, unsigned buttons)
{
    mouse->dx = (int16_t)clamp(mouse->dx + clamp(dx, -10000, 10000), -10000, 10000);
    mouse->dy = (int16_t)clamp(mouse->dy + clamp(dy, -10000, 10000), -10000, 10000);
    mouse->dz = (int16_t)clamp(mouse->dz + clamp(dz, -10000, 10000), -10000, 10000);
    mouse->buttons = buttons & 0x1F;
    mouse->changed = true;
}

bool ps2_mouse_take(struct i8042_mouse *mouse, uint8_t *byte)
{
    if (!mouse->queue.count && mouse->changed && mouse->reporting && !mouse->remote)
        mouse_send_packet(mouse);
    return i8042_queue_pop(&mouse->queue, byte);
}
