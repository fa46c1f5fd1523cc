// A counter that follows a clock by the host's tick counter: a line through the clock's recent past, cheap enough for
// host code to compute. Knows neither clock nor counter; both come as numbers.
#ifndef DOPPEL_BASE_TICK_LINE_H
#define DOPPEL_BASE_TICK_LINE_H

#include <stdbool.h>
#include <stdint.h>

/// While ticks - from < span the value is base + ((ticks - from) * multiplier >> 32), all modulo 2^64. span 0: never.
struct tick_line {
    uint64_t from, span, base, multiplier;
};

struct tick_follower {
    struct tick_line line;
    bool measuring; // since the two below
    uint64_t first_ticks, first_value;
    uint64_t last; // value given out last
};

/// Whether the line says what the value is at `ticks`.
static inline bool tick_line_holds(const struct tick_line *line, uint64_t ticks)
{
    return ticks - line->from < line->span;
}
static inline uint64_t tick_line_value(const struct tick_line *line, uint64_t ticks)
{
    return line->base + (uint64_t)((unsigned __int128)(ticks - line->from) * line->multiplier >> 32);
}

/// The value at `ticks`, where the clock says `clock` and counts `clock_hz` a second. Draws a new line, which holds for
/// about `span` ticks; none before the clock's speed is known, after 16 * span ticks. Values never decrease, unless the
/// clock was set back by more than a millisecond.
uint64_t tick_follower_read(struct tick_follower *follower, uint64_t ticks, uint64_t clock, uint64_t clock_hz,
                            uint64_t span);
/// The clock stops at `ticks`: it is measured anew when it runs again.
void tick_follower_stop(struct tick_follower *follower, uint64_t ticks);

#endif
