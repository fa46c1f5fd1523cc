// See lockstep.h: the subcommand, its two machines, and how they are compared and brought back.
#include "frontend/lockstep.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/host.h"
#include "cpu/block.h"
#include "frontend/snapshot.h"
#include "translate/reproducer.h"

#define STEP 10007          // not a multiple of anything that a guest does
#define EVERY 2000000       // memory and devices
#define SAVE_EVERY 20000000 // snapshots to narrow down from
#define MAX_CONTEXT 4096    // instructions before the difference that are tried in a small world

/// What a machine said on its serial lines: a hash of all, and the text of the first machine for people.
struct console {
    FILE *to; // NULL: nobody reads it
    bool silent;
    uint64_t hash, length;
};

struct session;

struct side {
    struct session *session;
    unsigned which; // 0, 1
    struct machine *machine;
    struct console console;
    struct console saved[LOCKSTEP_SLOTS];
};

struct session {
    struct lockstep_command *command;
    struct setup setup;
    struct side side[2];
    FILE *slot[LOCKSTEP_SLOTS]; // snapshots of the first machine, which both go back to
    FILE *out;
};

// ---- options ------------------------------------------------------------------------------------------------------
static bool parse_number(const char *name, const char *text, uint64_t *value, struct error *error)
{
    char *end;
    errno = 0;
    *value = strtoull(text, &end, 0);
    if (text[0] < '0' || text[0] > '9' || *end || errno)
        return error_set(error, "%s: '%.64s' is not a number", name, text);
    return true;
}

static bool parse_path(char *to, size_t size, const char *text, struct error *error)
{
    if (strlen(text) >= size)
        return error_set(error, "the file name is too long");
    strcpy(to, text);
    return true;
}

static bool parse_own(struct lockstep_command *command, const char *name, const char *value, struct error *error)
{
    if (!value)
        return error_set(error, "%s needs an argument", name);
    if (!strcmp(name, "-against"))
        return options_parse_accelerator(value, &command->against, error) || error_prefix(error, "-against");
    if (!strcmp(name, "-step") && !strcmp(value, "block")) {
        command->step = 0;
        return true;
    }
    if (!strcmp(name, "-step"))
        return parse_number(name, value, &command->step, error) &&
               (command->step || error_set(error, "-step: 0 instructions lead nowhere (-step block exists)"));
    if (!strcmp(name, "-every"))
        return parse_number(name, value, &command->every, error) &&
               (command->every || error_set(error, "-every: 0 instructions lead nowhere"));
    if (!strcmp(name, "-replay"))
        return parse_path(command->replay, sizeof command->replay, value, error);
    return parse_path(command->reproducer, sizeof command->reproducer, value, error);
}

static void print_help(FILE *out)
{
    fprintf(out, "usage: doppel lockstep [-accel ENGINE,...] [-against ENGINE,...] [options of a run]\n"
                 "       doppel lockstep -replay FILE [-accel ENGINE,...] [-against ENGINE,...]\n\n"
                 "  -accel ENGINE[,prop=value]   the first engine (default interp)\n"
                 "  -against ENGINE[,prop=value] the second engine (default jit)\n"
                 "  -step N|block                instructions from one comparison of the CPUs to the next\n"
                 "  -every N                     ... of memory and devices\n"
                 "  -reproducer FILE             where a difference is written (default lockstep.reproducer)\n"
                 "  -replay FILE                 runs such a file\n"
                 "  -limit N                     ends after N instructions\n\n"
                 "The guest's options are those of a run; it runs with -icount. Its console is the first machine's.\n"
                 "exit codes: 0 no difference, 1 an error, 3 the engines differ\n");
}

static bool is_own(const char *text)
{
    static const char *const names[] = {"-against", "-step", "-every", "-replay", "-reproducer"};
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
        if (!strcmp(text, names[i]))
            return true;
    return false;
}

bool lockstep_parse(struct lockstep_command *command, int argc, char **argv, FILE *out, struct error *error)
{
    static char defaults[][16] = {"-accel", "interp", "-icount", "0", "-default-guest"};
    char **rest = calloc((size_t)argc + 8, sizeof *rest);
    int count = 0;
    bool good = rest || error_set(error, "out of memory");
    *command = (struct lockstep_command){.step = STEP, .every = EVERY};
    strcpy(command->reproducer, "lockstep.reproducer");
    if (good)
        good = options_parse_accelerator("jit", &command->against, error);
    for (int i = 0; good && i < 5; i++)
        rest[count++] = i ? defaults[i - 1] : argv[0];
    for (int i = 1; good && i < argc; i++) {
        const char *name = argv[i][0] == '-' && argv[i][1] == '-' ? argv[i] + 1 : argv[i];
        if (!strcmp(name, "-help") || !strcmp(name, "-h")) {
            print_help(out);
            free(rest);
            return command->options.help_printed = true;
        }
        if (is_own(name)) {
            i++;
            good = parse_own(command, name, i < argc ? argv[i] : NULL, error);
        } else {
            rest[count++] = argv[i];
        }
    }
    if (good && count == 5 && !command->replay[0])
        rest[count++] = defaults[4];
    good = good && options_parse(&command->options, count, rest, out, error);
    free(rest);
    if (good && (command->options.hash_every || command->options.save_path[0] || command->options.start_stopped))
        good = error_set(error, "-hash-every, -save-at and -S do not go with lockstep");
    return good;
}

// ---- machines -----------------------------------------------------------------------------------------------------
static void console_write(void *opaque, const uint8_t *bytes, size_t length)
{
    struct console *console = opaque;
    console->hash = state_hash_bytes(console->hash, bytes, length);
    console->length += length;
    if (console->to && !console->silent)
        fwrite(bytes, 1, length, console->to);
}

static void no_poll(void *opaque, struct machine *machine, uint64_t timeout_ns)
{
}

static bool run_to(void *opaque, uint64_t instructions)
{
    const struct side *side = opaque;
    return machine_run_to(side->machine, instructions);
}

static bool create_side(struct session *session, unsigned which, struct error *error)
{
    struct side *side = &session->side[which];
    const struct options *options = &session->command->options;
    const struct accelerator *accelerator = which ? &session->command->against : &options->accelerator;
    struct machine_config config = setup_config(&session->setup);
    config.engine = machine_find_engine(accelerator->name);
    config.paranoid = accelerator->paranoid;
    config.translator = setup_translator(accelerator);
    config.limit = 0;
    for (unsigned i = 0; i < options->serial_count; i++)
        config.serial[i] = (struct character_sink){console_write, &side->console};
    side->machine = setup_machine(&session->setup, &config, error);
    if (!side->machine)
        return false;
    side->session = session;
    side->which = which;
    side->machine->poll = no_poll;
    if (which && config.engine == &engine_jit && session->command->hooks.before)
        translate_set_hooks(side->machine->engine_state, &session->command->hooks);
    if (!which && options->serial_count && options->serial[0].kind == CHARACTER_STDIO)
        side->console.to = session->out;
    return true;
}

static bool same_devices(const struct machine *a, const struct machine *b, char *text, size_t size)
{
    char where[256];
    for (unsigned i = 0; i < pc_device_count(a->pc) && i < pc_device_count(b->pc); i++) {
        const struct device *x = pc_device(a->pc, i), *y = pc_device(b->pc, i);
        if (!x->class->state || state_equal(x->class->state, x, y, where, sizeof where))
            continue;
        snprintf(text + strlen(text), size - strlen(text), "%s%s.%s", text[0] ? "  " : "", x->id, where);
        return false;
    }
    return true;
}

static bool same(void *opaque, char *text, size_t size)
{
    const struct session *session = opaque;
    const struct side *a = &session->side[0], *b = &session->side[1];
    bool equal = lockstep_compare_memory(&a->machine->memory, &b->machine->memory, text, size);
    equal &= same_devices(a->machine, b->machine, text, size);
    if (clock_now(&a->machine->clock) != clock_now(&b->machine->clock)) {
        snprintf(text + strlen(text), size - strlen(text), "  clock %" PRIu64 " / %" PRIu64,
                 clock_now(&a->machine->clock), clock_now(&b->machine->clock));
        equal = false;
    }
    if (a->console.hash != b->console.hash || a->console.length != b->console.length) {
        snprintf(text + strlen(text), size - strlen(text), "  serial output (%" PRIu64 " / %" PRIu64 " bytes)",
                 a->console.length, b->console.length);
        equal = false;
    }
    return equal;
}

/// The first machine's state serves both.
static bool save(void *opaque, enum lockstep_slot slot, struct error *error)
{
    struct side *side = opaque;
    FILE *file = side->session->slot[slot];
    side->saved[slot] = side->console;
    if (side->which)
        return true;
    rewind(file);
    return (ftruncate(fileno(file), 0) == 0 || error_set(error, "%s", strerror(errno))) &&
           snapshot_write(side->machine, file, error);
}

static bool restore(void *opaque, enum lockstep_slot slot, struct error *error)
{
    struct side *side = opaque;
    side->console = side->saved[slot];
    side->console.silent = true; // it was heard once
    atomic_store(&side->machine->exiting, false);
    side->machine->exit_reason[0] = 0;
    cpu_clear_pending(side->machine->cpu, PENDING_STOP);
    rewind(side->session->slot[slot]);
    return snapshot_read(side->machine, side->session->slot[slot], error);
}

static bool open_slots(struct session *session, struct error *error)
{
    for (unsigned i = 0; i < LOCKSTEP_SLOTS; i++) {
        int file = memfd_create("lockstep", MFD_CLOEXEC);
        session->slot[i] = file < 0 ? NULL : fdopen(file, "w+");
        if (!session->slot[i])
            return error_set(error, "cannot create a memory file: %s", strerror(errno));
    }
    return true;
}

static void close_session(struct session *session)
{
    for (unsigned i = 0; i < 2; i++)
        machine_destroy(session->side[i].machine);
    for (unsigned i = 0; i < LOCKSTEP_SLOTS; i++)
        if (session->slot[i])
            fclose(session->slot[i]);
    setup_free(&session->setup);
}

// ---- findings -----------------------------------------------------------------------------------------------------
static bool write_reproducer(const struct lockstep_command *command, const struct world_description *d,
                             const char *comment, FILE *out, struct error *error)
{
    FILE *file = fopen(command->reproducer, "we");
    if (!file)
        return error_set(error, "cannot create %s: %s", command->reproducer, strerror(errno));
    bool good = reproducer_write(d, comment, file, error);
    if (fclose(file) != 0 && good)
        good = error_set(error, "cannot write %s: %s", command->reproducer, strerror(errno));
    if (good)
        fprintf(out, "reproducer: %s (doppel lockstep -replay runs it)\n", command->reproducer);
    return good;
}

/// The first machine's state at instruction `from`, to be run up to `to`, with the pages that such a run touches.
static bool describe(struct session *session, enum lockstep_slot slot, uint64_t from, uint64_t to,
                     struct world_description *d, struct error *error)
{
    struct machine *machine = session->side[0].machine;
    memset(d, 0, sizeof *d);
    if (!restore(&session->side[0], slot, error))
        return false;
    machine_run_to(machine, from);
    if (!world_describe(d, machine->cpu, error))
        return false;
    d->instructions = to - d->first;
    return world_reduce(d, &engine_interp, machine->memory.host, error);
}

/// Looks for a small world without the machine's devices in which the engines still differ, from ever earlier starts.
static bool find_world(struct session *session, const struct lockstep_result *result, struct world_description *d,
                       bool *found, struct error *error)
{
    const struct lockstep_command *command = session->command;
    struct lockstep_engine a = lockstep_engine_of(command, false), b = lockstep_engine_of(command, true);
    uint64_t start = 0;
    *found = false;
    if (!restore(&session->side[0], result->slot, error))
        return false;
    start = machine_count(session->side[0].machine);
    for (uint64_t context = 1; context <= MAX_CONTEXT && result->different_at - start >= context; context *= 2) {
        uint64_t from = result->different_at - context;
        if (!describe(session, result->slot, from, result->different_at, d, error) ||
            !lockstep_shrink(d, &a, &b, found, error)) {
            world_description_free(d);
            return false;
        }
        if (*found)
            return true;
        if (context < BLOCK_MAX_INSNS) { // one block, or it is taken apart at its end
            d->block_length = (unsigned)context;
            if (!lockstep_shrink(d, &a, &b, found, error) || *found)
                return *found;
        }
        world_description_free(d);
    }
    return true;
}

/// What no small world shows: the machine's state from which it happens again.
static bool write_snapshot(struct session *session, const struct lockstep_result *result, struct error *error)
{
    char path[sizeof session->command->reproducer + 16];
    snprintf(path, sizeof path, "%s.snapshot", session->command->reproducer);
    if (!restore(&session->side[0], result->slot, error) || !snapshot_save(session->side[0].machine, path, error))
        return false;
    fprintf(session->out,
            "no small world without the machine's devices shows it; the instruction is near %016" PRIx64 "\n"
            "snapshot: %s (the same command with -loadvm begins there)\n",
            result->rip, path);
    return true;
}

static bool report_difference(struct session *session, const struct lockstep_result *result, struct error *error)
{
    struct world_description d;
    FILE *out = session->out;
    bool found = false, good = true;
    char comment[2600];
    snprintf(comment, sizeof comment,
             "%s and %s are equal up to instruction %" PRIu64 " and differ after %" PRIu64 ":\n%s",
             session->command->options.accelerator.name, session->command->against.name, result->instructions,
             result->different_at, result->text);
    fprintf(out, "\n%s\n", comment);
    if (!result->narrowed) {
        fprintf(out, "it did not happen again from a snapshot: it depends on more than the state\n");
        return true;
    }
    good = find_world(session, result, &d, &found, error);
    if (good && found) {
        good = lockstep_report(session->command, &d, out, error) &&
               write_reproducer(session->command, &d, comment, out, error);
        world_description_free(&d);
    } else if (good) {
        good = write_snapshot(session, result, error);
    }
    return good;
}

static void show_progress(void *opaque, uint64_t instructions)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%" PRIu64 " million instructions ", instructions / 1000000);
}

static int run_session(struct session *session, struct error *error)
{
    struct lockstep_command *command = session->command;
    struct lockstep_side sides[2];
    struct lockstep_result result;
    struct lockstep_options options = {
        .step = command->step,
        .until = command->options.limit ? command->options.limit : UINT64_MAX,
        .every = command->every,
        .save_every = SAVE_EVERY,
        .same = same,
        .progress = show_progress,
        .opaque = session,
    };
    if (!open_slots(session, error) || !setup_prepare(&session->setup, error) || !create_side(session, 0, error) ||
        !create_side(session, 1, error))
        return EXIT_HOST_ERROR;
    for (unsigned i = 0; i < 2; i++)
        sides[i] = (struct lockstep_side){.name = session->side[i].machine->config.engine->name,
                                          .cpu = session->side[i].machine->cpu,
                                          .run_to = run_to,
                                          .save = save,
                                          .restore = restore,
                                          .opaque = &session->side[i]};
    if (!lockstep_run(&sides[0], &sides[1], &options, &result, error))
        return EXIT_HOST_ERROR;
    if (result.diverged)
        return report_difference(session, &result, error) ? EXIT_DIVERGED : EXIT_HOST_ERROR;
    fprintf(session->out, "\nlockstep: %s and %s agree over %" PRIu64 " instructions%s, %" PRIu64 " comparisons\n",
            command->options.accelerator.name, command->against.name, result.instructions,
            result.ended ? ", to the guest's end" : "", result.comparisons);
    return 0;
}

static int replay(struct lockstep_command *command, FILE *out, struct error *error)
{
    struct lockstep_engine a = lockstep_engine_of(command, false), b = lockstep_engine_of(command, true);
    struct world_description d;
    struct lockstep_pair pair;
    char text[2048];
    int code = EXIT_HOST_ERROR;
    FILE *file = fopen(command->replay, "re");
    if (!file) {
        error_set(error, "cannot open %s: %s", command->replay, strerror(errno));
        return EXIT_HOST_ERROR;
    }
    bool good = reproducer_read(&d, file, error) || error_prefix(error, "%s", command->replay);
    fclose(file);
    if (!good)
        return EXIT_HOST_ERROR;
    if (lockstep_pair_create(&pair, &d, &a, &b, NULL, error)) {
        bool equal = lockstep_pair_run(&pair, &d, text, sizeof text);
        lockstep_pair_destroy(&pair);
        if (equal)
            fprintf(out, "lockstep: %s and %s agree over %" PRIu64 " instructions\n", a.engine->name, b.engine->name,
                    d.instructions);
        if (equal || lockstep_report(command, &d, out, error))
            code = equal ? 0 : EXIT_DIVERGED;
    }
    world_description_free(&d);
    return code;
}

int lockstep_execute(struct lockstep_command *command, FILE *out, struct error *error)
{
    struct session *session;
    int code;
    if (command->replay[0])
        return replay(command, out, error);
    session = calloc(1, sizeof *session);
    if (!session) {
        error_set(error, "out of memory");
        return EXIT_HOST_ERROR;
    }
    session->command = command;
    session->setup.options = &command->options;
    session->out = out;
    code = run_session(session, error);
    close_session(session);
    free(session);
    return code;
}

int lockstep_main(int argc, char **argv)
{
    struct lockstep_command *command = calloc(1, sizeof *command);
    struct error error = {0};
    int code = EXIT_HOST_ERROR;
    if (!command)
        error_set(&error, "out of memory");
    else if (lockstep_parse(command, argc, argv, stdout, &error))
        code = command->options.help_printed ? 0 : lockstep_execute(command, stdout, &error);
    fflush(stdout);
    if (code == EXIT_HOST_ERROR)
        fprintf(stderr, "doppel lockstep: %s\n", error.text);
    free(command);
    return code;
}
