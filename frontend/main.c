// The program `doppel`: from the command line to a running machine and its exit code.
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/host.h"
#include "frontend/linux_loader.h"
#include "frontend/machine.h"
#include "frontend/options.h"
#include "frontend/snapshot.h"
#include "frontend/terminal.h"

#define FIRMWARE_FOLDER "/usr/share/seabios"
#define FIRMWARE_NAME "bios-256k.bin"
#define FIRMWARE_LIMIT ((size_t)16 << 20)
#define COUNTING_RTC_BASE 946684800 // 2000-01-01: a run that repeats exactly does not begin today

/// Everything that main has to give back.
struct program {
    struct options options;
    struct terminal terminal;
    struct linux_image image;
    bool has_image;
    uint8_t *firmware;
    size_t firmware_size;
    FILE *log_file;
    struct machine *machine;
};

// ---- the default guest ------------------------------------------------------------------------------------------

static bool guest_files(const char *folder, struct options *options)
{
    int kernel = snprintf(options->kernel, sizeof options->kernel, "%s/cloud/vmlinuz", folder);
    int initrd = snprintf(options->initrd, sizeof options->initrd, "%s/initramfs.gz", folder);
    return kernel < (int)sizeof options->kernel && initrd < (int)sizeof options->initrd &&
           !access(options->kernel, R_OK) && !access(options->initrd, R_OK);
}

/// $DOPPEL_GUESTS, else guests/ or build/guests/ beside or above the program, else under the working directory.
static bool find_default_guest(struct options *options, struct error *error)
{
    char folder[PATH_MAX + 32], place[PATH_MAX];
    const char *given = getenv("DOPPEL_GUESTS");
    if (given)
        return guest_files(given, options) ||
               error_set(error, "DOPPEL_GUESTS=%.256s holds no cloud/vmlinuz and initramfs.gz", given);
    ssize_t length = readlink("/proc/self/exe", place, sizeof place - 1);
    place[length > 0 ? length : 0] = 0;
    for (unsigned level = 0; level < 4; level++) {
        char *slash = strrchr(place, '/');
        if (!slash)
            break;
        *slash = 0;
        snprintf(folder, sizeof folder, "%s/guests", place);
        if (guest_files(folder, options))
            return true;
    }
    return guest_files("build/guests", options) || guest_files("guests", options) ||
           error_set(error, "the default guest is missing: ./dev run builds it, or DOPPEL_GUESTS names a folder with "
                            "cloud/vmlinuz and initramfs.gz (--help lists the options for other guests)");
}

static bool set_default_guest(struct options *options, struct error *error)
{
    char kernel[sizeof options->kernel], initrd[sizeof options->initrd];
    strcpy(kernel, options->kernel);
    strcpy(initrd, options->initrd);
    if ((!kernel[0] || !initrd[0]) && !find_default_guest(options, error))
        return false;
    if (kernel[0])
        strcpy(options->kernel, kernel);
    if (initrd[0])
        strcpy(options->initrd, initrd);
    if (!options->has_append)
        strcpy(options->append, "console=ttyS0 panic=-1");
    return true;
}

// ---- preparation ------------------------------------------------------------------------------------------------

static bool read_firmware(struct program *program, struct error *error)
{
    const struct options *options = &program->options;
    char path[PATH_MAX];
    const char *name = options->bios[0] ? options->bios : FIRMWARE_NAME;
    const char *folder = options->firmware_path[0] ? options->firmware_path : FIRMWARE_FOLDER;
    if (options->bios[0] && (strchr(name, '/') || !access(name, R_OK) || !options->firmware_path[0]))
        snprintf(path, sizeof path, "%s", name);
    else
        snprintf(path, sizeof path, "%s/%s", folder, name);
    if (access(path, R_OK) && !options->bios[0])
        return error_set(error, "cannot read the firmware %s: %s (install the package seabios, or use -bios)", path,
                         strerror(errno));
    program->firmware = host_file_read(path, FIRMWARE_LIMIT, &program->firmware_size, error);
    if (!program->firmware)
        return error_prefix(error, "cannot read the firmware");
    if (!program->firmware_size || program->firmware_size % 65536)
        return error_set(error, "firmware %s has %zu bytes; it must be a multiple of 64 KiB", path,
                         program->firmware_size);
    return true;
}

static bool open_log(struct program *program, struct error *error)
{
    struct options *options = &program->options;
    if (!options->log_path[0])
        return true;
    program->log_file = fopen(options->log_path, "we");
    if (!program->log_file)
        return error_set(error, "cannot open log file %s: %s", options->log_path, strerror(errno));
    options->log.file = program->log_file;
    return true;
}

/// All files are read and checked before anything is built.
static bool prepare(struct program *program, struct error *error)
{
    struct options *options = &program->options;
    if (options->default_guest && !set_default_guest(options, error))
        return false;
    if (options->kernel[0]) {
        if (!linux_image_read(&program->image, options->kernel, options->initrd, options->append, error))
            return false;
        program->has_image = true;
        if (!linux_image_fits(&program->image, options->ram_size, error))
            return false;
    }
    if ((!program->has_image || !options->direct) && !read_firmware(program, error))
        return false;
    return open_log(program, error) && terminal_open(&program->terminal, options, error);
}

static struct machine_translator options_translator(const struct accelerator *accelerator)
{
    return (struct machine_translator){
        .code_mib = accelerator->code_mib,
        .threshold_plus = accelerator->threshold + 1, // UINT32_MAX, not given, becomes 0
        .perf_map = accelerator->perf_map,
    };
}

static struct machine_config make_config(struct program *program)
{
    const struct options *options = &program->options;
    struct machine_config config = {
        .name = options->name,
        .ram_size = options->ram_size,
        .model = options->model,
        .engine = machine_find_engine(options->accelerator.name),
        .paranoid = options->accelerator.paranoid,
        .translator = options_translator(&options->accelerator),
        .counting = options->counting,
        .count_shift = options->count_shift,
        .rtc_base = options->has_rtc_base ? options->rtc_base
                    : options->counting   ? COUNTING_RTC_BASE
                                          : host_wall_seconds(),
        .firmware = program->firmware,
        .firmware_size = program->firmware_size,
        .debug_console = terminal_sink(&program->terminal, OPTIONS_SERIAL_PORTS),
        .has_debug_exit = options->has_debug_exit,
        .debug_exit_port = options->debug_exit.iobase,
        .no_reboot = options->no_reboot,
        .no_shutdown = options->no_shutdown,
        .start_stopped = options->start_stopped,
        .limit = options->limit,
        .hash_every = options->hash_every,
        .hash_to = stderr,
        .save_at = options->save_at,
        .save_path = options->save_path[0] ? options->save_path : NULL,
        .log = &options->log,
    };
    for (unsigned i = 0; i < options->serial_count; i++) {
        config.serial_present[i] = options->serial[i].kind != CHARACTER_NONE;
        config.serial[i] = terminal_sink(&program->terminal, i);
    }
    return config;
}

static bool build(struct program *program, struct error *error)
{
    const struct options *options = &program->options;
    struct machine_config config = make_config(program);
    struct machine *machine = program->machine = machine_create(&config, error);
    if (!machine)
        return false;
    machine->poll = terminal_poll;
    machine->poll_opaque = &program->terminal;
    if (program->has_image && options->direct) {
        machine->boot = linux_boot_direct;
        machine->boot_opaque = &program->image;
    } else if (program->has_image && !linux_boot_by_firmware(&program->image, machine, error)) {
        return false;
    }
    if (options->load_path[0])
        return snapshot_load(machine, options->load_path, error);
    return !machine->boot || machine->boot(machine->boot_opaque, machine, error);
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
    linux_image_free(&program->image);
    free(program->firmware);
    if (program->log_file)
        fclose(program->log_file);
}

static int run(struct program *program, int argc, char **argv)
{
    struct error error = {0};
    program->terminal.signal_file = -1;
    for (unsigned i = 0; i < TERMINAL_SINKS; i++)
        program->terminal.sinks[i].file = -1;
    bool good = options_parse(&program->options, argc, argv, stdout, &error);
    if (good && program->options.help_printed)
        return EXIT_POWER_OFF;
    if (!good || !prepare(program, &error) || !build(program, &error)) {
        terminal_close(&program->terminal);
        fprintf(stderr, "doppel: %s\n", error.text);
        return EXIT_HOST_ERROR;
    }
    say_hello(program);
    terminal_start(&program->terminal);
    int code = machine_run(program->machine);
    fflush(stdout);
    terminal_close(&program->terminal);
    if (program->machine->exit_reason[0])
        fprintf(stderr, "doppel: %s\n", program->machine->exit_reason);
    return code;
}

int main(int argc, char **argv)
{
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
