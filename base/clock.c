// The guest clock and its event queue: a list sorted by deadline, then by the order of arming. Locking is
// the caller's (the machine lock).
#include "base/clock.h"

#include <stddef.h>

#include "base/host.h"

uint64_t clock_scale(uint64_t value, uint64_t numerator, uint64_t denominator)
{
    if (denominator == 0)
        return UINT64_MAX;
    unsigned __int128 result = (unsigned __int128)value * numerator / denominator;
    return result > UINT64_MAX ? UINT64_MAX : (uint64_t)result;
}

static uint64_t clock_count(const struct clock *clock)
{
    return clock->read_count ? clock->read_count(clock->count_opaque) : 0;
}

// The raw time that `offset` refers to. In counting mode it is computed from the absolute count, so that a
// snapshot taken and loaded at the same count goes on with the same fraction of a nanosecond.
static uint64_t clock_raw(const struct clock *clock)
{
    if (clock->mode == CLOCK_HOST)
        return host_monotonic_ns();
    return clock_scale(clock_count(clock), clock->ns_per_1024, 1024);
}

void clock_init(struct clock *clock, enum clock_mode mode)
{
    *clock = (struct clock){.mode = mode, .ns_per_1024 = 1024};
}

uint64_t clock_now(const struct clock *clock)
{
    if (clock->mode == CLOCK_MANUAL)
        return clock->manual;
    if (!clock->running)
        return clock->offset;
    // Counting mode adds: its offset is what guest time had over the raw time, modulo 2^64.
    if (clock->mode == CLOCK_COUNTING)
        return clock_raw(clock) + clock->offset;
    return clock_raw(clock) - clock->offset;
}

void clock_set(struct clock *clock, uint64_t now)
{
    if (clock->mode == CLOCK_MANUAL)
        clock->manual = now;
    else if (!clock->running)
        clock->offset = now;
    else if (clock->mode == CLOCK_COUNTING)
        clock->offset = now - clock_raw(clock);
    else
        clock->offset = clock_raw(clock) - now;
    // Every deadline has come nearer or moved away: whoever sleeps must look again.
    if (clock->first && clock->deadline_changed)
        clock->deadline_changed(clock->deadline_opaque);
}

static void clock_switch(struct clock *clock, bool running)
{
    if (clock->running == running)
        return;
    uint64_t now = clock_now(clock);
    clock->running = running;
    clock_set(clock, now);
}

void clock_start(struct clock *clock)
{
    clock_switch(clock, true);
}

void clock_stop(struct clock *clock)
{
    clock_switch(clock, false);
}

uint64_t clock_count_at(const struct clock *clock, uint64_t ns)
{
    uint64_t count = clock_count(clock);
    uint64_t now = clock_now(clock);
    if (ns <= now)
        return count;
    if (clock->ns_per_1024 == 0)
        return UINT64_MAX;
    // count * ns_per_1024 / 1024, rounded down, reaches `raw` at the quotient below, rounded up.
    unsigned __int128 raw = (unsigned __int128)clock_scale(count, clock->ns_per_1024, 1024) + (ns - now);
    unsigned __int128 at = (raw * 1024 + clock->ns_per_1024 - 1) / clock->ns_per_1024;
    return at > UINT64_MAX ? UINT64_MAX : (uint64_t)at;
}

void event_init(struct event *event, struct clock *clock, event_callback *callback, void *opaque)
{
    *event = (struct event){.callback = callback, .opaque = opaque, .clock = clock};
}

void event_cancel(struct event *event)
{
    if (!event->armed)
        return;
    struct event **link = &event->clock->first;
    while (*link && *link != event)
        link = &(*link)->next;
    if (*link)
        *link = event->next;
    event->next = NULL;
    event->armed = false;
}

static void event_insert(struct event *event, uint64_t deadline, uint64_t sequence)
{
    struct clock *clock = event->clock;
    uint64_t earliest = clock_next_deadline(clock);
    event_cancel(event);
    struct event **link = &clock->first;
    while (*link && ((*link)->deadline < deadline || ((*link)->deadline == deadline && (*link)->sequence < sequence)))
        link = &(*link)->next;
    event->deadline = deadline;
    event->sequence = sequence;
    event->armed = true;
    event->next = *link;
    *link = event;
    if (deadline < earliest && clock->deadline_changed)
        clock->deadline_changed(clock->deadline_opaque);
}

void event_arm(struct event *event, uint64_t deadline)
{
    event_insert(event, deadline, event->clock->next_sequence++);
}

void event_restore(struct event *event, uint64_t deadline, uint64_t sequence)
{
    if (sequence >= event->clock->next_sequence)
        event->clock->next_sequence = sequence + 1;
    event_insert(event, deadline, sequence);
}

uint64_t clock_next_deadline(const struct clock *clock)
{
    return clock->first ? clock->first->deadline : CLOCK_NEVER;
}

// Only events armed before the call run in it: a callback that arms a deadline in the past (a guest can
// program a period of next to nothing) must not keep the caller here for ever.
void clock_run_due(struct clock *clock)
{
    uint64_t now = clock_now(clock);
    uint64_t limit = clock->next_sequence;
    for (;;) {
        struct event *event = clock->first;
        while (event && event->deadline <= now && event->sequence >= limit)
            event = event->next;
        if (!event || event->deadline > now)
            return;
        event_cancel(event);
        event->callback(event->opaque);
    }
}

// First deadline later than now: what was armed for the past meanwhile waits for the next move of time.
static uint64_t clock_next_future(const struct clock *clock)
{
    const struct event *event = clock->first;
    while (event && event->deadline <= clock->manual)
        event = event->next;
    return event ? event->deadline : CLOCK_NEVER;
}

void clock_step(struct clock *clock, uint64_t ns)
{
    if (clock->mode != CLOCK_MANUAL)
        return;
    uint64_t target = ns > UINT64_MAX - clock->manual ? UINT64_MAX : clock->manual + ns;
    clock_run_due(clock);
    while (clock->manual < target) {
        uint64_t next = clock_next_future(clock);
        clock->manual = next < target ? next : target;
        clock_run_due(clock);
    }
}
