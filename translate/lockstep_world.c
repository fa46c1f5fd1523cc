// Lockstep in small worlds: two of them from one description, and making a description small. See lockstep.h.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/block.h"
#include "translate/lockstep.h"

#define SHRINK_MOST 4096 // instructions; a longer run is cut to its last ones by the caller

static void configure(const struct lockstep_engine *engine, struct world *world)
{
    if (engine->configure)
        engine->configure(engine->opaque, world->state);
}

bool lockstep_pair_create(struct lockstep_pair *pair, const struct world_description *d,
                          const struct lockstep_engine *a, const struct lockstep_engine *b, const struct log *log_b,
                          struct error *error)
{
    if (!world_create(&pair->a, d, a->engine, NULL, error))
        return false;
    if (!world_create(&pair->b, d, b->engine, log_b, error)) {
        world_destroy(&pair->a);
        return false;
    }
    configure(a, &pair->a);
    configure(b, &pair->b);
    return true;
}

void lockstep_pair_destroy(struct lockstep_pair *pair)
{
    world_destroy(&pair->a);
    world_destroy(&pair->b);
}

/// What a world has beyond the CPU.
static bool same_devices(const struct world *a, const struct world *b, char *text, size_t size)
{
    size_t used = strlen(text);
    if (a->device == b->device && a->vector == b->vector && a->next_interrupt == b->next_interrupt)
        return true;
    snprintf(text + used, size - used, "%sdevice %" PRIx64 " / %" PRIx64 "  vector %x / %x", used ? "  " : "",
             a->device, b->device, a->vector, b->vector);
    return false;
}

/// Where instructions are not counted, neither engine keeps their number exactly, nor where STI's shadow ends.
static void forget_counts(struct cpu *cpu)
{
    cpu->instructions = 0;
    if (cpu->shadow == SHADOW_STI)
        cpu->shadow = SHADOW_NONE;
}

bool lockstep_pair_run(struct lockstep_pair *pair, const struct world_description *d, char *text, size_t size)
{
    struct error error = {0};
    text[0] = 0;
    if (!world_load(&pair->a, d, &error) || !world_load(&pair->b, d, &error)) {
        snprintf(text, size, "%s", error.text);
        return false;
    }
    bool more_a = world_run_to(&pair->a, d->first + d->instructions);
    bool more_b = world_run_to(&pair->b, d->first + d->instructions);
    if (d->uncounted) {
        forget_counts(pair->a.cpu);
        forget_counts(pair->b.cpu);
    }
    bool equal = lockstep_compare(pair->a.cpu, pair->b.cpu, text, size);
    equal &= same_devices(&pair->a, &pair->b, text, size);
    equal &= lockstep_compare_memory(&pair->a.memory, &pair->b.memory, text, size);
    if (more_a != more_b) {
        size_t used = strlen(text);
        snprintf(text + used, size - used, "%sonly one came to an end", used ? "  " : "");
        equal = false;
    }
    return equal;
}

struct shrink {
    struct world_description *d;
    struct lockstep_pair pair;
    char text[512];
};

static bool differs_with(struct shrink *s, uint64_t instructions, unsigned block_length)
{
    uint64_t old_instructions = s->d->instructions;
    unsigned old_length = s->d->block_length;
    s->d->instructions = instructions;
    s->d->block_length = block_length;
    if (!lockstep_pair_run(&s->pair, s->d, s->text, sizeof s->text))
        return true;
    s->d->instructions = old_instructions;
    s->d->block_length = old_length;
    return false;
}

/// Block lengths that are worth a try for a run of `instructions`: a block that does not end where the run ends is
/// taken apart there. Ends with 0.
static void likely_lengths(uint64_t instructions, unsigned present, unsigned lengths[5])
{
    lengths[0] = 1;
    lengths[1] = instructions < BLOCK_MAX_INSNS ? (unsigned)instructions : BLOCK_MAX_INSNS;
    lengths[2] = 2;
    lengths[3] = present;
    lengths[4] = 0;
}

static void fewest_instructions(struct shrink *s)
{
    unsigned lengths[5];
    for (uint64_t n = 1; n < s->d->instructions && !s->d->uncounted; n++) {
        likely_lengths(n, s->d->block_length, lengths);
        for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++)
            if (differs_with(s, n, lengths[i]))
                return;
    }
}

/// Of a run that is not counted.
static void fewest_events(struct shrink *s)
{
    uint32_t most = s->d->uncounted;
    for (s->d->uncounted = 1; s->d->uncounted < most; s->d->uncounted++)
        if (!lockstep_pair_run(&s->pair, s->d, s->text, sizeof s->text))
            return;
}

static void shortest_blocks(struct shrink *s)
{
    for (unsigned length = 1; length <= BLOCK_MAX_INSNS; length++)
        if (differs_with(s, s->d->instructions, length))
            return;
}

/// The state after `count` instructions of side a, as a description.
static bool later(struct shrink *s, uint64_t count, struct world_description *to, struct error *error)
{
    struct world *a = &s->pair.a;
    if (!world_load(a, s->d, error))
        return false;
    a->cpu->counting = true;
    world_run_to(a, s->d->first + count);
    if (!world_describe(to, a->cpu, error))
        return false;
    to->device = a->device;
    to->device_interrupts = a->device_interrupts;
    to->uncounted = a->uncounted - (a->uncounted ? a->events : 0);
    to->instructions = s->d->first + s->d->instructions - to->first;
    to->block_length = s->d->block_length;
    for (unsigned i = a->next_interrupt; i < a->interrupt_count; i++)
        to->interrupt[to->interrupt_count++] = a->interrupt[i];
    return world_add_memory(to, &a->memory, error);
}

static bool differs_somehow(struct shrink *s, struct world_description *d)
{
    unsigned lengths[5];
    likely_lengths(d->instructions, d->block_length, lengths);
    for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
        d->block_length = lengths[i];
        if (!lockstep_pair_run(&s->pair, d, s->text, sizeof s->text))
            return true;
    }
    return false;
}

static bool latest_start(struct shrink *s, struct error *error)
{
    for (uint64_t skip = s->d->instructions - 1; skip > 0; skip--) {
        struct world_description to;
        bool good = later(s, skip, &to, error);
        if (good && to.first == s->d->first + skip && differs_somehow(s, &to)) {
            world_description_free(s->d);
            *s->d = to;
            return true;
        }
        world_description_free(&to);
        if (!good)
            return false;
    }
    return true;
}

/// Only pages that the run touches; kept as they were if that makes the difference go away.
static bool fewest_pages(struct shrink *s, const struct engine *engine, struct error *error)
{
    struct world_description less = *s->d;
    if (!world_load(&s->pair.a, s->d, error))
        return false;
    less.page = NULL;
    less.page_count = less.page_capacity = 0;
    less.state = (struct state_writer){0};
    state_write_bytes(&less.state, s->d->state.data, s->d->state.length);
    bool good = !less.state.failed || error_set(error, "out of memory");
    good = good && world_reduce(&less, engine, s->pair.a.memory.host, error);
    if (good && !lockstep_pair_run(&s->pair, &less, s->text, sizeof s->text)) {
        world_description_free(s->d);
        *s->d = less;
    } else {
        world_description_free(&less);
    }
    return good;
}

bool lockstep_shrink(struct world_description *d, const struct lockstep_engine *a, const struct lockstep_engine *b,
                     bool *differs, struct error *error)
{
    struct shrink *s = calloc(1, sizeof *s);
    bool good;
    if (!s)
        return error_set(error, "out of memory");
    s->d = d;
    *differs = false;
    good = lockstep_pair_create(&s->pair, d, a, b, NULL, error);
    if (good) {
        *differs = !lockstep_pair_run(&s->pair, d, s->text, sizeof s->text);
        // What one step makes shorter can let another go on.
        for (uint64_t before = UINT64_MAX; good && *differs && d->instructions < before && before > 1;) {
            before = d->instructions;
            if (before > SHRINK_MOST)
                break;
            fewest_instructions(s);
            if (d->uncounted)
                fewest_events(s);
            good = latest_start(s, error);
            shortest_blocks(s);
        }
        good = good && (!*differs || fewest_pages(s, a->engine, error));
        lockstep_pair_destroy(&s->pair);
    }
    free(s);
    return good;
}
