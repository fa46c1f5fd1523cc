// The 8254 interval timer, after the data sheet. Nothing ticks: each counter's element and output are derived from
// the guest clock, and only counter 0, which drives an interrupt line, has an event at its output's next change.
#include "devices/pit.h"

#define NS_PER_SECOND UINT64_C(1000000000)
#define TICK_NEVER UINT64_MAX

// Counter 0 with a cycle shorter than this many ticks (20 us) has its output's changes gathered: a guest must not
// be able to keep the main loop busy with events that no guest could serve.
#define PIT_SHORT_CYCLE 24
#define PIT_SHORT_EVENT_NS UINT64_C(20000)

// The PIIX3's refresh toggle changes each 15 us, which is 18 ticks as counter 1 is programmed in every PC.
#define PIT_REFRESH_TICKS 18

enum {
    PORT61_GATE = 1 << 0,
    PORT61_SPEAKER = 1 << 1,
    PORT61_WRITABLE = 0x0F,
    PORT61_REFRESH_SHIFT = 4,
    PORT61_OUTPUT_SHIFT = 5,
};

enum pit_access { PIT_LATCH = 0, PIT_LOW = 1, PIT_HIGH = 2, PIT_LOW_HIGH = 3 };

static uint64_t pit_ticks_at(uint64_t ns)
{
    return clock_scale(ns, PIT_HZ, NS_PER_SECOND);
}

/// First nanosecond at which `tick` has come.
static uint64_t pit_ns_at(uint64_t tick)
{
    uint64_t ns = clock_scale(tick, NS_PER_SECOND, PIT_HZ);
    return pit_ticks_at(ns) < tick ? ns + 1 : ns;
}

static uint64_t pit_now(const struct pit *pit)
{
    return pit_ticks_at(clock_now(pit->device.context->clock));
}

static uint32_t pit_modulus(const struct pit_counter *counter)
{
    return counter->bcd ? 10000 : 65536;
}

/// Ticks since the counting element was loaded.
static uint64_t pit_elapsed(const struct pit_counter *counter, uint64_t now)
{
    if (counter->halted)
        return counter->frozen;
    return now > counter->loaded_at ? now - counter->loaded_at : 0;
}

static bool pit_loaded(const struct pit_counter *counter, uint64_t now)
{
    return counter->counting && now >= counter->loaded_at;
}

/// Mode 3: an odd count has its longer half high.
static uint32_t pit_half(const struct pit_counter *counter)
{
    return counter->low_half ? counter->period / 2 : (counter->period + 1) / 2;
}

static void pit_take_count(struct pit_counter *counter)
{
    if (counter->null_count) {
        counter->period = counter->count_register;
        counter->null_count = false;
    }
}

/// Modes 2 and 3 reload themselves: moves `loaded_at` to the present cycle (mode 3: half cycle) and takes over a
/// count that waited for the first boundary.
static void pit_advance(struct pit_counter *counter, uint64_t now)
{
    if (!counter->counting || counter->halted || now < counter->loaded_at || counter->mode < 2 || counter->mode > 3)
        return;
    uint64_t length = counter->mode == 2 ? counter->period : pit_half(counter);
    if (now - counter->loaded_at < length)
        return;
    counter->loaded_at += length;
    counter->low_half = counter->mode == 3 && !counter->low_half;
    pit_take_count(counter);
    uint64_t since = now - counter->loaded_at;
    counter->loaded_at += since - since % counter->period;
    if (counter->mode == 3 && now - counter->loaded_at >= pit_half(counter)) {
        counter->loaded_at += pit_half(counter);
        counter->low_half = !counter->low_half;
    }
}

/// OUT; pit_advance was called for `now`.
static bool pit_output(const struct pit_counter *counter, uint64_t now)
{
    uint64_t elapsed = pit_elapsed(counter, now);
    bool loaded = pit_loaded(counter, now);
    switch (counter->mode) {
    case 0:
        return loaded && elapsed >= counter->period;
    case 1:
        return !loaded || elapsed >= counter->period;
    case 2:
        return !loaded || counter->halted || counter->period == 1 || elapsed != counter->period - 1;
    case 3:
        return !loaded || counter->halted || !counter->low_half;
    default:
        return !loaded || elapsed != counter->period;
    }
}

/// The tick after `now` at which OUT changes by itself; pit_advance was called for `now`.
static uint64_t pit_next_change(const struct pit_counter *counter, uint64_t now)
{
    uint64_t end = counter->loaded_at + counter->period;
    if (!counter->counting || counter->halted)
        return TICK_NEVER;
    switch (counter->mode) {
    case 0:
        return now < end ? end : TICK_NEVER;
    case 1:
        if (now < counter->loaded_at)
            return counter->loaded_at;
        return now < end ? end : TICK_NEVER;
    case 2:
        if (counter->period == 1 && !counter->null_count)
            return TICK_NEVER;
        return now < end - 1 ? end - 1 : end;
    case 3:
        if (counter->period == 1 && !counter->null_count)
            return TICK_NEVER;
        return counter->loaded_at + pit_half(counter) > now ? counter->loaded_at + pit_half(counter) : now + 1;
    default:
        if (now < end)
            return end;
        return now == end ? end + 1 : TICK_NEVER;
    }
}

/// The counting element as a 16-bit register.
static uint16_t pit_count(const struct pit_counter *counter, uint64_t now)
{
    uint32_t modulus = pit_modulus(counter), value;
    uint64_t elapsed = pit_elapsed(counter, now);
    if (!counter->counting) {
        value = counter->count_register;
    } else if (counter->mode == 3) {
        uint32_t even = counter->period & ~1u;
        value = elapsed * 2 < even ? even - (uint32_t)elapsed * 2 : 0;
    } else {
        value = counter->period % modulus + modulus - (uint32_t)(elapsed % modulus);
    }
    value %= modulus;
    if (!counter->bcd)
        return (uint16_t)value;
    return (uint16_t)(value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 | value / 1000 << 12);
}

static uint8_t pit_status(const struct pit_counter *counter, uint64_t now)
{
    bool null_count = counter->null_count || (counter->counting && now < counter->loaded_at);
    return (uint8_t)(pit_output(counter, now) << 7 | null_count << 6 | counter->access << 4 | counter->mode << 1 |
                     counter->bcd);
}

/// Brings counter 0's wire up to date and arms the event of its next change.
static void pit_update(struct pit *pit, uint64_t now)
{
    struct pit_counter *counter = &pit->counters[0];
    pit_advance(counter, now);
    bool level = pit_output(counter, now);
    if (level != pit->output)
        wire_set(&pit->irq, level);
    else if (now >= pit->next_change) {
        // Whole cycles passed unseen (the host was late): one edge stands for them.
        wire_set(&pit->irq, !level);
        wire_set(&pit->irq, level);
    }
    pit->output = level;
    pit->next_change = pit_next_change(counter, now);
    if (pit->next_change == TICK_NEVER) {
        event_cancel(&pit->transition);
        return;
    }
    uint64_t deadline = pit_ns_at(pit->next_change);
    if ((counter->mode == 2 || counter->mode == 3) && counter->period < PIT_SHORT_CYCLE) {
        uint64_t earliest = clock_now(pit->device.context->clock) + PIT_SHORT_EVENT_NS;
        deadline = deadline > earliest ? deadline : earliest;
    }
    event_arm(&pit->transition, deadline);
}

static void pit_transition(void *opaque)
{
    struct pit *pit = opaque;
    pit_update(pit, pit_now(pit));
}

/// Moves the count register to the counting element with the next clock pulse.
static void pit_load(struct pit_counter *counter, uint64_t now)
{
    counter->period = counter->count_register;
    counter->null_count = false;
    counter->counting = true;
    counter->loaded_at = now + 1;
    counter->low_half = false;
    counter->frozen = 0;
    counter->halted = !counter->gate && counter->mode != 1 && counter->mode != 5;
}

static void pit_set_gate(struct pit_counter *counter, bool level, uint64_t now)
{
    if (counter->gate == level)
        return;
    pit_advance(counter, now);
    counter->gate = level;
    bool pauses = counter->mode == 0 || counter->mode == 4;
    if (!level) {
        if (counter->mode != 1 && counter->mode != 5 && counter->counting) {
            counter->frozen = pit_elapsed(counter, now);
            counter->halted = true;
        }
    } else if (!pauses) {
        if (counter->written) // a trigger: modes 1 and 5 start, modes 2 and 3 start anew
            pit_load(counter, now);
    } else if (counter->halted) {
        counter->halted = false;
        counter->loaded_at = now - counter->frozen;
    }
}

/// The bytes of a count are complete.
static void pit_write_count(struct pit_counter *counter, uint16_t raw, uint64_t now)
{
    uint32_t count = raw;
    if (counter->bcd)
        count = (raw >> 12) * 1000u + (raw >> 8 & 15) * 100u + (raw >> 4 & 15) * 10u + (raw & 15);
    counter->count_register = count ? count : pit_modulus(counter);
    counter->null_count = true;
    bool first = !counter->counting;
    counter->written = true;
    if (counter->mode == 0 || counter->mode == 4 || ((counter->mode == 2 || counter->mode == 3) && first))
        pit_load(counter, now);
}

static void pit_write_byte(struct pit_counter *counter, uint8_t value, uint64_t now)
{
    pit_advance(counter, now);
    switch ((enum pit_access)counter->access) {
    case PIT_LOW:
        pit_write_count(counter, value, now);
        break;
    case PIT_HIGH:
        pit_write_count(counter, (uint16_t)(value << 8), now);
        break;
    default:
        if (counter->write_high) {
            counter->write_high = false;
            pit_write_count(counter, (uint16_t)(value << 8 | counter->write_low), now);
            break;
        }
        counter->write_high = true;
        counter->write_low = value;
        if (counter->mode == 0) { // the first byte stops the count and takes OUT low
            counter->count_register = pit_count(counter, now);
            counter->counting = false;
            counter->halted = false;
        }
    }
}

static uint8_t pit_read_byte(struct pit_counter *counter, uint64_t now)
{
    if (counter->status_latched) {
        counter->status_latched = false;
        return counter->latched_status;
    }
    if (counter->latched_bytes) {
        counter->latched_bytes--;
        bool high = counter->access == PIT_HIGH || (counter->access == PIT_LOW_HIGH && counter->latched_bytes == 0);
        return (uint8_t)(high ? counter->latched >> 8 : counter->latched);
    }
    pit_advance(counter, now);
    uint16_t count = pit_count(counter, now);
    bool high = counter->access == PIT_HIGH;
    if (counter->access == PIT_LOW_HIGH) {
        high = counter->read_high;
        counter->read_high = !high;
    }
    return (uint8_t)(high ? count >> 8 : count);
}

static void pit_latch_count(struct pit_counter *counter, uint64_t now)
{
    if (counter->latched_bytes) // a latched count stays until it is read
        return;
    pit_advance(counter, now);
    counter->latched = pit_count(counter, now);
    counter->latched_bytes = counter->access == PIT_LOW_HIGH ? 2 : 1;
}

static void pit_latch_status(struct pit_counter *counter, uint64_t now)
{
    if (counter->status_latched)
        return;
    pit_advance(counter, now);
    counter->latched_status = pit_status(counter, now);
    counter->status_latched = true;
}

static void pit_read_back(struct pit *pit, uint8_t command, uint64_t now)
{
    for (unsigned i = 0; i < ARRAY_SIZE(pit->counters); i++) {
        if (!(command >> (i + 1) & 1))
            continue;
        if (!(command & 0x20))
            pit_latch_count(&pit->counters[i], now);
        if (!(command & 0x10))
            pit_latch_status(&pit->counters[i], now);
    }
}

static void pit_write_control(struct pit *pit, uint8_t value, uint64_t now)
{
    unsigned select = value >> 6;
    if (select == 3) {
        pit_read_back(pit, value, now);
        return;
    }
    struct pit_counter *counter = &pit->counters[select];
    unsigned access = value >> 4 & 3, mode = value >> 1 & 7;
    if (access == PIT_LATCH) {
        pit_latch_count(counter, now);
        return;
    }
    pit_advance(counter, now);
    uint16_t count = pit_count(counter, now); // the counting element keeps its value until a count is loaded
    *counter = (struct pit_counter){
        .access = (uint8_t)access,
        .mode = (uint8_t)(mode > 5 ? mode - 4 : mode), // 6 and 7 are 2 and 3
        .bcd = value & 1,
        .gate = counter->gate,
        .null_count = true,
        .count_register = count,
        .period = 1,
    };
}

static uint64_t pit_read(void *opaque, uint64_t offset, unsigned size)
{
    struct pit *pit = opaque;
    if (offset >= ARRAY_SIZE(pit->counters))
        return 0xFF; // the control word register cannot be read
    return pit_read_byte(&pit->counters[offset], pit_now(pit));
}

static void pit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct pit *pit = opaque;
    uint64_t now = pit_now(pit);
    bool touches_irq = offset == 0 || (offset == 3 && value >> 6 == 0);
    if (touches_irq)
        pit_update(pit, now);
    if (offset < ARRAY_SIZE(pit->counters))
        pit_write_byte(&pit->counters[offset], (uint8_t)value, now);
    else
        pit_write_control(pit, (uint8_t)value, now);
    if (touches_irq) {
        pit->next_change = TICK_NEVER; // what was to come is void
        pit_update(pit, now);
    }
}

static uint64_t pit_read_port61(void *opaque, uint64_t offset, unsigned size)
{
    struct pit *pit = opaque;
    uint64_t now = pit_now(pit);
    pit_advance(&pit->counters[2], now);
    return (uint64_t)(pit->port61 | (now / PIT_REFRESH_TICKS & 1) << PORT61_REFRESH_SHIFT |
                      (uint64_t)pit_output(&pit->counters[2], now) << PORT61_OUTPUT_SHIFT);
}

static void pit_write_port61(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct pit *pit = opaque;
    pit->port61 = value & PORT61_WRITABLE;
    pit_set_gate(&pit->counters[2], value & PORT61_GATE, pit_now(pit));
}

static bool pit_init(void *device, struct error *error)
{
    struct pit *pit = device;
    event_init(&pit->transition, pit->device.context->clock, pit_transition, pit);
    return true;
}

static void pit_destroy(void *device)
{
    struct pit *pit = device;
    if (pit->transition.clock)
        event_cancel(&pit->transition);
}

static void pit_reset(void *device)
{
    struct pit *pit = device;
    event_cancel(&pit->transition);
    for (unsigned i = 0; i < ARRAY_SIZE(pit->counters); i++) {
        // The chip's state is undefined until it is programmed; ours counts nothing and has its output low.
        pit->counters[i] = (struct pit_counter){
            .access = PIT_LOW_HIGH, .gate = i != 2, .null_count = true, .period = 1, .count_register = 65536};
    }
    pit->port61 = 0;
    pit->output = false;
    pit->next_change = TICK_NEVER;
    wire_set(&pit->irq, false);
}

static bool pit_after_load(void *object, struct error *error)
{
    const struct pit *pit = object;
    for (unsigned i = 0; i < ARRAY_SIZE(pit->counters); i++) {
        const struct pit_counter *counter = &pit->counters[i];
        if (counter->mode > 5 || counter->access < 1 || counter->access > 3 || counter->latched_bytes > 2 ||
            counter->loaded_at > TICK_NEVER / 4 || counter->period < 1 || counter->period > 65536 ||
            counter->count_register > 65536)
            return error_set(error, "timer counter %u: impossible state", i);
    }
    return true;
}

static const struct state_field pit_counter_fields[] = {
    STATE_U(pit_counter, loaded_at),      STATE_U(pit_counter, frozen),         STATE_U(pit_counter, period),
    STATE_U(pit_counter, count_register), STATE_U(pit_counter, latched),        STATE_U(pit_counter, mode),
    STATE_U(pit_counter, access),         STATE_U(pit_counter, write_low),      STATE_U(pit_counter, latched_status),
    STATE_U(pit_counter, latched_bytes),  STATE_U(pit_counter, status_latched), STATE_U(pit_counter, bcd),
    STATE_U(pit_counter, gate),           STATE_U(pit_counter, written),        STATE_U(pit_counter, counting),
    STATE_U(pit_counter, null_count),     STATE_U(pit_counter, halted),         STATE_U(pit_counter, low_half),
    STATE_U(pit_counter, write_high),     STATE_U(pit_counter, read_high),
};
static const struct state_table pit_counter_state =
    STATE_TABLE("pit-counter", 1, pit_counter, pit_counter_fields, NULL);

static const struct state_field pit_fields[] = {
    STATE_SKIP(pit, device),   STATE_NESTED_ARRAY(pit, counters, &pit_counter_state),
    STATE_U(pit, port61),      STATE_U(pit, output),
    STATE_U(pit, next_change), STATE_TIMER(pit, transition),
    STATE_SKIP(pit, irq),
};
static const struct state_table pit_state = STATE_TABLE("pit", 1, pit, pit_fields, pit_after_load);

static const struct region_ops pit_regions[] = {
    {.read = pit_read, .write = pit_write, .max_size = 1, .name = "pit"},
    {.read = pit_read_port61, .write = pit_write_port61, .max_size = 1, .name = "port61"},
};
static const uint32_t pit_region_sizes[] = {4, 1};

const struct device_class pit_class = {
    .name = "isa-pit",
    .description = "8254 interval timer and port 0x61",
    .size = sizeof(struct pit),
    .state = &pit_state,
    .init = pit_init,
    .reset = pit_reset,
    .destroy = pit_destroy,
    .regions = pit_regions,
    .region_sizes = pit_region_sizes,
    .region_count = ARRAY_SIZE(pit_regions),
};
