// A counter that follows a clock: lines through (ticks, clock), with the slope of all that was measured.
#include "base/tick_line.h"

#define SPANS_TO_MEASURE 16
#define SLOWER_SHIFT 10 // a line that is ahead of the clock is slower than it by 2^-10

/// What the value may not fall below at `ticks`: the most that may have been given out. The line was used inside its
/// span only, however long ago that was; ticks of another processor may be a little behind.
static uint64_t given_out(const struct tick_follower *f, uint64_t ticks)
{
    uint64_t passed = ticks - f->line.from;
    if (!f->line.span)
        return f->last;
    if (passed > INT64_MAX)
        return f->line.base;
    return tick_line_value(&f->line, passed < f->line.span ? ticks : f->line.from + f->line.span);
}

uint64_t tick_follower_read(struct tick_follower *f, uint64_t ticks, uint64_t clock, uint64_t clock_hz, uint64_t span)
{
    uint64_t least = given_out(f, ticks), ahead = least > clock ? least - clock : 0, passed;
    if (ahead > clock_hz / 1000) { // the clock was set
        ahead = 0;
        f->measuring = false;
    }
    f->last = clock + ahead;
    f->line.span = 0;
    passed = ticks - f->first_ticks;
    if (!f->measuring || passed > INT64_MAX || clock < f->first_value) {
        f->measuring = true;
        f->first_ticks = ticks;
        f->first_value = clock;
    } else if (passed >= SPANS_TO_MEASURE * span) {
        unsigned __int128 slope = ((unsigned __int128)(clock - f->first_value) << 32) / passed;
        uint64_t multiplier = slope > UINT64_MAX ? 0 : (uint64_t)slope;
        f->line = (struct tick_line){
            .from = ticks,
            .span = multiplier ? span : 0,
            .base = f->last,
            .multiplier = ahead ? multiplier - (multiplier >> SLOWER_SHIFT) : multiplier,
        };
    }
    return f->last;
}

void tick_follower_stop(struct tick_follower *f, uint64_t ticks)
{
    f->last = given_out(f, ticks);
    f->line.span = 0;
    f->measuring = false;
}
