// The keyboard controller with a PS/2 keyboard and a PS/2 mouse. Regions, 8-bit registers:
//   0: port 0x60 (data)   1: port 0x64 (status, command)
#ifndef DOPPEL_DEVICES_I8042_H
#define DOPPEL_DEVICES_I8042_H

#include "devices/device.h"

#define I8042_QUEUE_SIZE 64 // power of two

/// Bytes on their way to the controller.
struct i8042_queue {
    uint8_t bytes[I8042_QUEUE_SIZE];
    uint8_t start;
    uint8_t count;
};

struct i8042_keyboard {
    struct i8042_queue queue;
    uint8_t command; // waits for this command's parameter; 0: none
    uint8_t leds;
    uint8_t rate;
    uint8_t scan_set; // 1..3
    uint8_t last;     // last byte sent, for resend
    bool scanning;
};

struct i8042_mouse {
    struct i8042_queue queue;
    uint8_t command;
    uint8_t rate;
    uint8_t resolution;
    uint8_t id;              // 0 standard, 3 wheel, 4 five buttons
    uint8_t rate_history[2]; // the last rates set, for the knock that selects `id`
    uint8_t buttons;
    uint8_t last;
    bool scaling;
    bool remote;
    bool wrap;
    bool reporting;
    bool changed;       // something to report
    int16_t dx, dy, dz; // not reported yet
};

struct i8042 {
    struct device device;
    uint8_t command_byte;       // RAM byte 0
    uint8_t ram[32];            // bytes 1..31 of the controller's RAM
    uint8_t output_port;        // P2: bit 0 not reset, bit 1 A20
    uint8_t pending;            // command that waits for a byte on port 0x60; 0: none
    uint8_t data;               // output buffer
    uint8_t status;             // as port 0x64 reads
    bool break_prefix;          // translation: 0xF0 was seen
    struct i8042_queue replies; // of the controller itself; the byte's port follows each byte
    struct i8042_keyboard keyboard;
    struct i8042_mouse mouse;
    struct wire keyboard_irq; // level: IRQ 1
    struct wire mouse_irq;    // level: IRQ 12
    struct wire a20; // level: output port bit 1, driven on changes. Port 0x92 has such a line too: the last change wins
    struct wire reset; // pulse: the guest asks for a system reset
};

extern const struct device_class i8042_class;

/// The state in which firmware leaves the controller: self test passed, translation and keyboard interrupt on.
void i8042_firmware_ready(struct i8042 *controller);

/// A key goes down or up. `key` is its scan code in set 1 (0x01..0x7F), with bit 7 set for the keys with an E0
/// prefix. Lost when the keyboard's buffer is full or scanning is off.
void i8042_key(struct i8042 *controller, uint8_t key, bool pressed);
/// The mouse moved (right, down and wheel towards the user are positive) and has these buttons pressed (bit 0
/// left, 1 right, 2 middle).
void i8042_mouse_move(struct i8042 *controller, int dx, int dy, int dz, unsigned buttons);

#endif
