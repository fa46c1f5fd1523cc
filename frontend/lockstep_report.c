// What a person wants to know of two engines that differ: the instruction, the state before, what differs after, the
// uops, and the host code that did it. See lockstep.h.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/block.h"
#include "cpu/row.h"
#include "frontend/host_listing.h"
#include "frontend/lockstep.h"

/// The first side is the oracle, or what the user chose; both translate at once, so that a short run is translated.
static void configure(const struct lockstep_command *command, void *state, bool second)
{
    const struct accelerator *accelerator = second ? &command->against : &command->options.accelerator;
    if (machine_find_engine(accelerator->name) != &engine_jit)
        return;
    uint64_t allowed[2];
    translate_set_threshold(state, 0);
    if (accelerator->host_features[0] && translate_host_generation(accelerator->host_features, allowed))
        translate_limit_host_features(state, allowed);
    if (second)
        translate_set_hooks(state, &command->hooks);
}

static void configure_first(void *opaque, void *state)
{
    configure(opaque, state, false);
}

static void configure_second(void *opaque, void *state)
{
    configure(opaque, state, true);
}

struct lockstep_engine lockstep_engine_of(const struct lockstep_command *command, bool second)
{
    const struct accelerator *accelerator = second ? &command->against : &command->options.accelerator;
    return (struct lockstep_engine){.engine = machine_find_engine(accelerator->name),
                                    .configure = second ? configure_second : configure_first,
                                    .opaque = (void *)(uintptr_t)command};
}

static void print_instruction(struct world *world, FILE *out)
{
    uint8_t bytes[INSN_MAX_LENGTH] = {0};
    struct insn insn = {0};
    char text[128] = "(not decodable)";
    struct cpu *cpu = world->cpu;
    unsigned available = 0;
    while (available < sizeof bytes && cpu_debug_read(cpu, block_linear(cpu) + available, bytes + available, 1))
        available++;
    if (available &&
        decode(block_cache_rows(world->blocks), &world->model, cpu->mode, bytes, available, &insn) == DECODE_OK)
        disassemble(&insn, cpu->var[VAR_RIP], text, sizeof text);
    fprintf(out, "  %016" PRIx64 "  %s  [", cpu->var[VAR_RIP], text);
    for (unsigned i = 0; i < insn.length && i < available; i++)
        fprintf(out, "%s%02x", i ? " " : "", bytes[i]);
    fprintf(out, "]\n");
}

/// All instructions of the run, as the first engine takes them.
static bool print_instructions(struct world *world, const struct world_description *d, FILE *out, struct error *error)
{
    for (uint64_t i = 0; i < d->instructions && i < BLOCK_MAX_INSNS; i++) {
        if (!world_load(world, d, error))
            return false;
        world_run_to(world, d->first + i);
        print_instruction(world, out);
    }
    return true;
}

struct listing {
    FILE *out;
    const struct lockstep_command *command;
};

static void list_before(void *opaque, const struct block *block, struct pass_block *pass)
{
    const struct translate_hooks *hooks = &((struct listing *)opaque)->command->hooks;
    if (hooks->before)
        hooks->before(hooks->opaque, block, pass);
}

static void list_made(void *opaque, const struct block *block, const uint8_t *code, size_t straight, size_t size)
{
    struct listing *listing = opaque;
    fprintf(listing->out, "host code, %zu bytes for %u instructions\n", size, block->insn_count);
    host_listing_print(listing->out, code, straight, (uintptr_t)block_host_code(block));
    fprintf(listing->out, "  (out of line)\n");
    host_listing_print(listing->out, code + straight, size - straight, (uintptr_t)block_host_code(block) + straight);
}

/// Runs the second engine once more while it tells what it makes.
static bool print_translation(const struct lockstep_command *command, const struct world_description *d, FILE *out,
                              struct error *error)
{
    struct lockstep_engine engine = lockstep_engine_of(command, true);
    struct listing listing = {out, command};
    struct translate_hooks hooks = {.before = list_before, .made = list_made, .opaque = &listing};
    struct world world;
    struct log log;
    log_init(&log);
    log.file = out;
    fprintf(out, "-- blocks, uops and host code\n");
    if (!log_enable(&log, "in_asm,op", error) || !world_create(&world, d, engine.engine, &log, error))
        return false;
    engine.configure(engine.opaque, world.state);
    if (engine.engine == &engine_jit)
        translate_set_hooks(world.state, &hooks);
    world_run_to(&world, d->first + d->instructions);
    world_destroy(&world);
    return true;
}

bool lockstep_report(const struct lockstep_command *command, const struct world_description *d, FILE *out,
                     struct error *error)
{
    struct lockstep_engine a = lockstep_engine_of(command, false), b = lockstep_engine_of(command, true);
    struct lockstep_pair pair;
    char text[2048];
    if (!lockstep_pair_create(&pair, d, &a, &b, NULL, error))
        return false;
    fprintf(out, "-- %" PRIu64 " instruction%s after count %" PRIu64 ", blocks of at most %u; the last one differs\n",
            d->instructions, d->instructions == 1 ? "" : "s", d->first,
            d->block_length ? d->block_length : BLOCK_MAX_INSNS);
    bool good = print_instructions(&pair.a, d, out, error) && world_load(&pair.a, d, error);
    if (good) {
        fprintf(out, "-- before\n");
        cpu_print(pair.a.cpu, out);
        bool equal = lockstep_pair_run(&pair, d, text, sizeof text);
        fprintf(out, "-- after, %s / %s\n  %s\n-- after, %s\n", a.engine->name, b.engine->name,
                equal ? "no difference" : text, a.engine->name);
        cpu_print(pair.a.cpu, out);
        fprintf(out, "-- after, %s\n", b.engine->name);
        cpu_print(pair.b.cpu, out);
    }
    lockstep_pair_destroy(&pair);
    return good && print_translation(command, d, out, error);
}
