// libFuzzer: a snapshot's section made of arbitrary bytes, its header and checksum put right so that the parser
// behind them is reached.
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/state.h"

struct part {
    uint16_t index;
    bool on;
};
struct whole {
    uint32_t words[2];
    struct part parts[2];
    uint8_t raw[3];
    struct event timer;
};

static const struct state_field part_fields[] = {STATE_U(part, index), STATE_U(part, on)};
static const struct state_table part_table = STATE_TABLE("part", 1, part, part_fields, NULL);
static const struct state_field whole_fields[] = {STATE_ARRAY(whole, words),
                                                  STATE_NESTED_ARRAY(whole, parts, &part_table), STATE_RAW(whole, raw),
                                                  STATE_TIMER(whole, timer)};
static const struct state_table whole_table = STATE_TABLE("whole", 1, whole, whole_fields, NULL);

static void nothing(void *opaque)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct clock clock;
    struct whole object, before;
    memset(&object, 0, sizeof object);
    clock_init(&clock, CLOCK_MANUAL);
    event_init(&object.timer, &clock, nothing, &object);
    struct state_writer w = {0};
    state_save(&w, &whole_table, "w", &object);
    // Start from a good section; the input's bytes are laid over it, three at a time: where, and what.
    for (size_t i = 0; i + 2 < size; i += 3) {
        size_t at = 8 + (size_t)(data[i] | data[i + 1] << 8) % (w.length - 16);
        w.data[at] = data[i + 2];
    }
    store_le64(w.data + w.length - 8, state_hash_bytes(0, w.data + 8, w.length - 16));
    memcpy(&before, &object, sizeof before);
    struct state_reader r = {.data = w.data, .length = w.length};
    struct error error = {0};
    if (!state_load(&r, &whole_table, "w", &object, &error) &&
        (!error.text[0] || memcmp(&before, &object, sizeof before) != 0))
        abort();
    state_writer_free(&w);
    // And the bytes as they are.
    r = (struct state_reader){.data = data, .length = size};
    struct error raw_error = {0};
    state_load(&r, &whole_table, "w", &object, &raw_error);
    return 0;
}
