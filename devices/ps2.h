// The PS/2 keyboard and mouse behind the keyboard controller: what they answer to command bytes and how they report
// keys and motion. They know nothing of the controller but the queues that it empties.
#ifndef DOPPEL_DEVICES_PS2_H
#define DOPPEL_DEVICES_PS2_H

#include "devices/i8042.h"

static inline bool i8042_queue_pop(struct i8042_queue *queue, uint8_t *byte)
{
    if (!queue->count)
        return false;
    *byte = queue->bytes[queue->start];
    queue->start = (queue->start + 1) % I8042_QUEUE_SIZE;
    queue->count--;
    return true;
}

/// Drops the byte when the queue is full.
static inline void i8042_queue_push(struct i8042_queue *queue, uint8_t byte)
{
    if (queue->count >= I8042_QUEUE_SIZE)
        return;
    queue->bytes[(queue->start + queue->count) % I8042_QUEUE_SIZE] = byte;
    queue->count++;
}

static inline bool i8042_queue_valid(const struct i8042_queue *queue)
{
    return queue->start < I8042_QUEUE_SIZE && queue->count <= I8042_QUEUE_SIZE;
}

void ps2_keyboard_reset(struct i8042_keyboard *keyboard);
/// A command or parameter byte from the host.
void ps2_keyboard_write(struct i8042_keyboard *keyboard, uint8_t byte);
/// A key by its codes in set 1 and set 2; `extended`: with the E0 prefix.
void ps2_keyboard_key(struct i8042_keyboard *keyboard, uint8_t set1, uint8_t set2, bool extended, bool pressed);

void ps2_mouse_reset(struct i8042_mouse *mouse);
void ps2_mouse_write(struct i8042_mouse *mouse, uint8_t byte);
void ps2_mouse_move(struct i8042_mouse *mouse, int dx, int dy, int dz, unsigned buttons);
/// The next byte for the host; composes a report when motion waits.
bool ps2_mouse_take(struct i8042_mouse *mouse, uint8_t *byte);

#endif
