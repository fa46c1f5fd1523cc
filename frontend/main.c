// The program `doppel`: from the command line to a running machine and its exit code, or to a subcommand.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/lockstep.h"
#include "frontend/monitor.h"
#include "frontend/setup.h"
#include "frontend/terminal.h"

/// Everything that main has to give back.
struct program {
    struct options options;
    struct terminal terminal;
    struct setup setup;
    struct machine *machine;
};

static bool build(struct program *program, struct error *error)
{
    struct machine_config config = setup_config(&program->setup);
    for (unsigned i = 0; i < program->options.serial_count; i++)
        config.serial[i] = terminal_sink(&program->terminal, i);
    config.debug_console = terminal_sink(&program->terminal, OPTIONS_SERIAL_PORTS);
    program->machine = setup_machine(&program->setup, &config, error);
    if (!program->machine)
        return false;
    program->machine->poll = terminal_poll;
    program->machine->poll_opaque = &program->terminal;
    return true;
}

static void say_hello(const struct program *program)
{
    const struct options *options = &program->options;
    if (options->default_guest && program->terminal.escapes)
        fprintf(stderr,
                "doppel: booting %s with %u MiB of RAM, console on this terminal; Ctrl-A x leaves, Ctrl-A h helps\n",
                options->kernel, (unsigned)(options->ram_size >> 20));
}

static void cleanup(struct program *program)
{
    terminal_close(&program->terminal);
    machine_destroy(program->machine);
    setup_free(&program->setup);
}

static int run(struct program *program, int argc, char **argv)
{
    struct error error = {0};
    program->setup.options = &program->options;
    program->terminal.signal_file = -1;
    for (unsigned i = 0; i < TERMINAL_SINKS; i++)
        program->terminal.sinks[i].file = -1;
    bool good = options_parse(&program->options, argc, argv, stdout, &error);
    if (good && program->options.help_printed)
        return EXIT_POWER_OFF;
    if (!good || !setup_prepare(&program->setup, &error) ||
        !terminal_open(&program->terminal, &program->options, &error) || !build(program, &error)) {
        terminal_close(&program->terminal);
        fprintf(stderr, "doppel: %s\n", error.text);
        return EXIT_HOST_ERROR;
    }
    say_hello(program);
    terminal_start(&program->terminal);
    int code = machine_run(program->machine);
    fflush(stdout);
    terminal_close(&program->terminal);
    if (log_on(&program->options.log, LOG_STATISTICS)) {
        monitor_execute(program->machine, "info statistics", program->options.log.file, &error);
        monitor_execute(program->machine, "info jit", program->options.log.file, &error);
    }
    if (program->machine->exit_reason[0])
        fprintf(stderr, "doppel: %s\n", program->machine->exit_reason);
    return code;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "lockstep"))
        return lockstep_main(argc - 1, argv + 1);
    struct program *program = calloc(1, sizeof *program);
    if (!program) {
        fprintf(stderr, "doppel: out of memory\n");
        return EXIT_HOST_ERROR;
    }
    int code = run(program, argc, argv);
    cleanup(program);
    free(program);
    return code;
}
