// Random worlds without end in the interpreter and in the translator, until the two differ: then the case is shrunk and
// written as a reproducer (doppel lockstep -replay runs it). The seed says everything.
//
// jit_stress [--seed N] [--seconds N] [--cases N] [--case N] [--out FILE] [--break yes]
//
// With --break the translator takes ADC for ADD: finding that, down to a few instructions, is success.
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/host.h"
#include "cpu/block.h"
#include "stress.h"
#include "translate/passes.h"
#include "translate/reproducer.h"
#include "translate/translate.h"

#define EXIT_DIFFERS 3
#define LONG_SECONDS 2  // a case that takes longer is given up: a string instruction of billions of elements
#define HANG_SECONDS 60 // one that cannot even be given up hangs
#define PAIRS 5
#define FEW_INSTRUCTIONS 3
#define UNCOUNTED_MOST 3000 // instructions that runs without counts take, or they are left out

struct run {
    uint64_t seed, seconds, cases, only;
    bool has_only, broken, found_broken;
    const char *out;
    struct stress stress;
    struct cpu_model model, plain_model; // the second tracks all x87 pointers, and has fewer features
    struct cpu_model wide_model;         // bases of 57 bits
    struct lockstep_engine a, b[PAIRS];
    struct lockstep_pair pair[PAIRS];
    _Atomic(struct cpu *) poked; // that poke asks to poll, all the time
    atomic_bool over;
    uint64_t done, instructions, abandoned, faults, interrupts, uncounted, endless;
};

// What a signal handler must know: handlers have no other way to reach it.
static volatile uint64_t running_case;
static struct lockstep_pair *volatile running_pair;
static volatile sig_atomic_t given_up;

static void on_signal(int number)
{
    char text[96];
    int length = snprintf(text, sizeof text, "\nsignal %d in case %" PRIu64 " (--case %" PRIu64 ")\n", number,
                          running_case, running_case);
    if (write(STDERR_FILENO, text, (size_t)length) < 0)
        _exit(2);
    _exit(2);
}

static void on_alarm(int number)
{
    if (given_up)
        on_signal(number);
    given_up = true;
    world_abandon(&running_pair->a);
    world_abandon(&running_pair->b);
    alarm(HANG_SECONDS);
}

static void catch_signals(void)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    signal(SIGALRM, on_alarm);
    for (unsigned i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        signal(numbers[i], on_signal);
}

static void translate_at_once(void *opaque, void *state)
{
    translate_set_threshold(state, 0);
}

/// Hardly any code memory: host code is dropped and made again all the time.
static void translate_little(void *opaque, void *state)
{
    translate_set_threshold(state, 1);
    translate_set_code_limit(state, 64u << 10);
}

/// A host without SSE and x87 of its own, so to say: C functions do all that.
static void translate_plainly(void *opaque, void *state)
{
    uint64_t allowed[2];
    translate_set_threshold(state, 0);
    if (translate_host_generation("none", allowed))
        translate_limit_host_features(state, allowed);
}

/// Host code follows the ways that were taken before.
static void translate_later(void *opaque, void *state)
{
    translate_set_threshold(state, 3);
}

/// Wrong on purpose.
static void forget_carry(void *opaque, const struct block *block, struct pass_block *pass)
{
    for (unsigned i = 0; i < pass->count; i++)
        if (pass->uops[i].op == UOP_ADC)
            pass->uops[i].op = UOP_ADD;
}

static void translate_wrongly(void *opaque, void *state)
{
    static const struct translate_hooks hooks = {.before = forget_carry};
    translate_set_threshold(state, 0);
    translate_set_hooks(state, &hooks);
}

static bool parse(struct run *run, int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        char *end = NULL;
        uint64_t number = value ? strtoull(value, &end, 0) : 0;
        if (value && !strcmp(name, "--out")) {
            run->out = value;
            continue;
        }
        if (value && !strcmp(name, "--break")) {
            run->broken = true;
            continue;
        }
        if (!value || !*value || *end)
            return false;
        if (!strcmp(name, "--seed"))
            run->seed = number;
        else if (!strcmp(name, "--seconds"))
            run->seconds = number;
        else if (!strcmp(name, "--cases"))
            run->cases = number;
        else if (!strcmp(name, "--case"))
            run->only = number, run->has_only = true;
        else
            return false;
    }
    return true;
}

static bool start(struct run *run, struct error *error)
{
    struct world_description map;
    if (!model_parse("max", &run->model, error) || !model_parse("qemu64", &run->plain_model, error) ||
        !model_parse("max,+la57", &run->wide_model, error))
        return false;
    run->stress.row_seen = calloc(row_count(), 1);
    run->stress.rows = row_index_build(error);
    if (!run->stress.rows || !run->stress.row_seen)
        return false;
    run->a = (struct lockstep_engine){.engine = &engine_interp};
    run->b[0] = (struct lockstep_engine){.engine = &engine_jit, .configure = translate_at_once};
    run->b[1] = (struct lockstep_engine){.engine = &engine_jit, .configure = translate_little};
    run->b[2] = (struct lockstep_engine){.engine = &engine_jit, .configure = translate_plainly};
    run->b[3] = run->b[0];
    run->b[4] = (struct lockstep_engine){.engine = &engine_jit, .configure = translate_later};
    if (run->broken)
        run->b[0].configure = translate_wrongly;
    for (unsigned i = 0; i < PAIRS; i++) {
        stress_map(&map, i == 3 ? &run->plain_model : i == 1 ? &run->wide_model : &run->model);
        if (!lockstep_pair_create(&run->pair[i], &map, &run->a, &run->b[i], NULL, error))
            return false;
    }
    return true;
}

static bool write_file(const struct run *run, const struct world_description *d, const char *comment,
                       struct error *error)
{
    FILE *file = fopen(run->out, "w");
    if (!file)
        return error_set(error, "cannot create %s", run->out);
    bool good = reproducer_write(d, comment, file, error);
    fclose(file);
    return good;
}

/// The difference, shrunk, in words and in a file.
static void report(struct run *run, unsigned which, uint64_t seed, struct world_description *d, const char *text)
{
    static const char *const names[PAIRS] = {"", " (little code memory, la57)", " (C functions for SSE and x87)",
                                             " (qemu64)", " (made later)"};
    char comment[3000];
    struct error error = {0};
    bool differs;
    snprintf(comment, sizeof comment, "case %" PRIu64 ": interpreter / host code%s: %s", seed, names[which], text);
    printf("\n%s\n", comment);
    fflush(stdout);
    if (!write_file(run, d, comment, &error) || !lockstep_shrink(d, &run->a, &run->b[which], &differs, &error) ||
        !write_file(run, d, comment, &error)) {
        printf("%s\n", error.text);
        return;
    }
    if (!differs)
        printf("it does not differ when it begins with empty caches: --case %" PRIu64 " alone may not show it\n", seed);
    printf("%" PRIu64 " instructions are left, in %s\n", d->instructions, run->out);
    run->found_broken = differs && d->instructions <= FEW_INSTRUCTIONS;
}

/// Polls that find nothing change nothing, wherever host code makes them. Nobody says where they come.
static void *poke(void *opaque)
{
    struct run *run = opaque;
    struct stress_random random = {run->seed};
    const struct timespec wait = {.tv_nsec = 200000};
    while (!atomic_load(&run->over)) {
        struct cpu *cpu = atomic_load(&run->poked);
        if (!cpu) {
            nanosleep(&wait, NULL);
            continue;
        }
        atomic_store(&cpu->exit_request, 1);
        for (volatile unsigned i = stress_below(&random, 3000); i > 0; i--)
            ;
    }
    return NULL;
}

/// A run that is not counted, but is here: with `instructions` it is over. False: it may never be.
static bool comes_to_an_end(struct run *run, struct world *world, struct world_description *d, struct error *error)
{
    if (!world_load(world, d, error))
        return false;
    world->cpu->counting = true;
    if (world_run_to(world, d->first + UNCOUNTED_MOST) || given_up) {
        run->endless++;
        return false;
    }
    d->instructions = world->cpu->instructions - d->first;
    run->uncounted++;
    return true;
}

/// False: the engines differ, or there is an error.
static bool one_case(struct run *run, uint64_t seed, struct error *error)
{
    unsigned which = seed % 8 > 3 ? 8 - seed % 8 : 0;
    struct lockstep_pair *pair = &run->pair[which];
    struct world_description d = {0};
    char text[2048];
    bool good = stress_case(&run->stress, &pair->a, seed, &d, error);
    running_case = seed;
    running_pair = pair;
    given_up = false;
    alarm(LONG_SECONDS);
    if (good && d.uncounted && !comes_to_an_end(run, &pair->a, &d, error)) {
        alarm(0);
        run->abandoned += given_up != 0;
        world_description_free(&d);
        return !error->text[0];
    }
    if (good) {
        uint64_t faults = pair->a.cpu->stat_faults, interrupts = pair->a.cpu->stat_interrupts;
        if (d.uncounted && seed % 3 == 0)
            atomic_store(&run->poked, pair->b.cpu);
        good = lockstep_pair_run(pair, &d, text, sizeof text) || given_up;
        atomic_store(&run->poked, NULL);
        alarm(0);
        run->abandoned += given_up != 0;
        run->instructions += pair->a.cpu->instructions;
        run->faults += pair->a.cpu->stat_faults - faults;
        run->interrupts += pair->a.cpu->stat_interrupts - interrupts;
        if (!good)
            report(run, which, seed, &d, text);
    }
    world_description_free(&d);
    return good;
}

static void summary(const struct run *run, uint64_t seconds)
{
    struct translate_statistics s;
    unsigned rows = 0;
    uint64_t host = 0, all = 0;
    for (unsigned i = 0; i < row_count(); i++)
        rows += run->stress.row_seen[i];
    for (unsigned i = 0; i < PAIRS; i++) {
        translate_statistics(run->pair[i].b.state, &s);
        host += s.host_instructions;
        all += s.host_instructions + s.interpreted_instructions;
    }
    printf("seed %" PRIu64 ": %" PRIu64 " cases (%" PRIu64 " given up) in %" PRIu64 " s, %" PRIu64
           " instructions (%.1f %% in host code), %" PRIu64 " faults, %" PRIu64 " interrupts, %" PRIu64
           " without counts (%" PRIu64 " endless), %u of %u rows\n",
           run->seed, run->done, run->abandoned, seconds, run->instructions,
           all ? 100.0 * (double)host / (double)all : 0.0, run->faults, run->interrupts, run->uncounted, run->endless,
           rows, row_count());
    fflush(stdout);
}

static int go(struct run *run, struct error *error)
{
    uint64_t begin = host_monotonic_ns(), told = 0, seconds = 0;
    if (run->has_only)
        return one_case(run, run->only, error) ? 0 : error->text[0] ? 1 : EXIT_DIFFERS;
    while ((!run->cases || run->done < run->cases) && seconds < run->seconds) {
        if (!one_case(run, run->seed * 1000000000 + run->done, error))
            return error->text[0] ? 1 : EXIT_DIFFERS;
        run->done++;
        seconds = (host_monotonic_ns() - begin) / 1000000000;
        if (seconds >= told + 60) {
            told = seconds;
            summary(run, seconds);
        }
    }
    summary(run, seconds);
    return 0;
}

static int go_poked(struct run *run, struct error *error)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, poke, run))
        return 1;
    int code = go(run, error);
    atomic_store(&run->over, true);
    pthread_join(thread, NULL);
    return code;
}

int main(int argc, char **argv)
{
    struct run *run = calloc(1, sizeof *run);
    struct error error = {0};
    int code = 1;
    if (!run || !translate_available())
        return 77;
    *run = (struct run){.seed = host_random64() % 1000000, .seconds = 60, .out = "jit_stress.reproducer"};
    catch_signals();
    if (!parse(run, argc, argv))
        fprintf(stderr, "usage: jit_stress [--seed N] [--seconds N] [--cases N] [--case N] [--out FILE]\n");
    else if (start(run, &error))
        code = go_poked(run, &error);
    if (run->broken)
        code = run->found_broken ? 0 : 1;
    if (error.text[0])
        fprintf(stderr, "%s\n", error.text);
    for (unsigned i = 0; i < PAIRS; i++)
        if (run->pair[i].a.cpu)
            lockstep_pair_destroy(&run->pair[i]);
    row_index_free((struct row_index *)(uintptr_t)run->stress.rows);
    free(run->stress.row_seen);
    free(run);
    return code;
}
