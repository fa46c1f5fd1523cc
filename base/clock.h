// The guest clock (one a machine) and its event queue. Times are guest nanoseconds since power-on.
#ifndef DOPPEL_BASE_CLOCK_H
#define DOPPEL_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct event;
typedef void event_callback(void *opaque);

struct event {
    uint64_t deadline; // guest ns
    uint64_t sequence; // order among equal deadlines; kept by the queue
    bool armed;
    event_callback *callback;
    void *opaque;
    struct clock *clock;
    struct event *next; // sorted list
};

enum clock_mode {
    CLOCK_HOST,     // host monotonic time, offset, stopped with the machine
    CLOCK_COUNTING, // instructions executed * ns_per_1024_instructions / 1024: deterministic
    CLOCK_MANUAL,   // tests: moves by clock_step only
};

struct clock {
    enum clock_mode mode;
    bool running;
    // Host mode: guest ns = host ns - offset while running; counting mode: guest ns = scaled count + offset
    // (modulo 2^64) while running; both: the stopped time while stopped.
    uint64_t offset;
    uint64_t manual;
    uint64_t (*read_count)(void *opaque); // counting mode: instructions executed so far, exact at any device access
    void *count_opaque;
    uint64_t ns_per_1024; // counting mode; 1024 (a nanosecond an instruction) after clock_init
    struct event *first;
    uint64_t next_sequence;
    void (*deadline_changed)(void *opaque); // called when the earliest deadline moves earlier; may be NULL
    void *deadline_opaque;
};

#define CLOCK_NEVER UINT64_MAX

/// A clock at time 0, stopped, without events.
void clock_init(struct clock *clock, enum clock_mode mode);
uint64_t clock_now(const struct clock *clock);
/// Host and counting mode: start and stop guest time. Time does not move while stopped.
void clock_start(struct clock *clock);
void clock_stop(struct clock *clock);
/// Sets the present guest time (loading a snapshot). In counting mode the instruction count must be restored
/// before, or time would jump when it is.
void clock_set(struct clock *clock, uint64_t now);
/// Manual mode: moves time, running due events in order, each seeing its own deadline as now. An event that is
/// armed by a callback for now or the past runs when time moves next (or at the next step).
void clock_step(struct clock *clock, uint64_t ns);

void event_init(struct event *event, struct clock *clock, event_callback *callback, void *opaque);
/// Arms (or moves) the event; a deadline in the past runs at the next clock_run_due.
void event_arm(struct event *event, uint64_t deadline);
void event_cancel(struct event *event);
/// Arms the event with the order among equal deadlines that it had when it was saved (for base/state.c).
void event_restore(struct event *event, uint64_t deadline, uint64_t sequence);
/// Earliest deadline, or CLOCK_NEVER.
uint64_t clock_next_deadline(const struct clock *clock);
/// Runs all events whose deadline is <= now, in order; what their callbacks arm runs at the next call at the earliest.
/// Only the main loop (host mode) or the counting loop calls it.
void clock_run_due(struct clock *clock);
/// Counting mode: instructions count at which guest time `ns` is reached (rounded up).
uint64_t clock_count_at(const struct clock *clock, uint64_t ns);
/// value * numerator / denominator in 128 bits, rounded down; UINT64_MAX when it does not fit or denominator is 0.
uint64_t clock_scale(uint64_t value, uint64_t numerator, uint64_t denominator);

#endif
