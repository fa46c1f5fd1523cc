// See setup.h.
#include "frontend/setup.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/host.h"
#include "frontend/snapshot.h"

#define FIRMWARE_FOLDER "/usr/share/seabios"
#define FIRMWARE_NAME "bios-256k.bin"
#define FIRMWARE_LIMIT ((size_t)16 << 20)
#define COUNTING_RTC_BASE 946684800 // 2000-01-01: a run that repeats exactly does not begin today

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

static bool read_firmware(struct setup *setup, struct error *error)
{
    const struct options *options = setup->options;
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
    setup->firmware = host_file_read(path, FIRMWARE_LIMIT, &setup->firmware_size, error);
    if (!setup->firmware)
        return error_prefix(error, "cannot read the firmware");
    if (!setup->firmware_size || setup->firmware_size % 65536)
        return error_set(error, "firmware %s has %zu bytes; it must be a multiple of 64 KiB", path,
                         setup->firmware_size);
    return true;
}

static bool open_log(struct setup *setup, struct error *error)
{
    struct options *options = setup->options;
    if (!options->log_path[0])
        return true;
    setup->log_file = fopen(options->log_path, "we");
    if (!setup->log_file)
        return error_set(error, "cannot open log file %s: %s", options->log_path, strerror(errno));
    options->log.file = setup->log_file;
    return true;
}

bool setup_prepare(struct setup *setup, struct error *error)
{
    struct options *options = setup->options;
    if (options->default_guest && !set_default_guest(options, error))
        return false;
    if (options->kernel[0]) {
        if (!linux_image_read(&setup->image, options->kernel, options->initrd, options->append, error))
            return false;
        setup->has_image = true;
        if (!linux_image_fits(&setup->image, options->ram_size, error))
            return false;
    }
    if ((!setup->has_image || !options->direct) && !read_firmware(setup, error))
        return false;
    return open_log(setup, error);
}

struct machine_translator setup_translator(const struct accelerator *accelerator)
{
    struct machine_translator translator = {
        .code_mib = accelerator->code_mib,
        .single_mapping = accelerator->single_mapping,
        .threshold_plus = accelerator->threshold + 1, // UINT32_MAX, not given, becomes 0
        .perf_map = accelerator->perf_map,
    };
    memcpy(translator.host_features, accelerator->host_features, sizeof translator.host_features);
    return translator;
}

struct machine_config setup_config(const struct setup *setup)
{
    const struct options *options = setup->options;
    struct machine_config config = {
        .name = options->name,
        .ram_size = options->ram_size,
        .model = options->model,
        .engine = machine_find_engine(options->accelerator.name),
        .paranoid = options->accelerator.paranoid,
        .translator = setup_translator(&options->accelerator),
        .counting = options->counting,
        .count_shift = options->count_shift,
        .rtc_base = options->has_rtc_base ? options->rtc_base
                    : options->counting   ? COUNTING_RTC_BASE
                                          : host_wall_seconds(),
        .firmware = setup->firmware,
        .firmware_size = setup->firmware_size,
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
    for (unsigned i = 0; i < options->serial_count; i++)
        config.serial_present[i] = options->serial[i].kind != CHARACTER_NONE;
    return config;
}

struct machine *setup_machine(struct setup *setup, const struct machine_config *config, struct error *error)
{
    const struct options *options = setup->options;
    struct machine *machine = machine_create(config, error);
    bool good = machine != NULL;
    if (good && setup->has_image && options->direct) {
        machine->boot = linux_boot_direct;
        machine->boot_opaque = &setup->image;
    } else if (good && setup->has_image) {
        good = linux_boot_by_firmware(&setup->image, machine, error);
    }
    if (good && options->load_path[0])
        good = snapshot_load(machine, options->load_path, error);
    else if (good && machine->boot)
        good = machine->boot(machine->boot_opaque, machine, error);
    if (good)
        return machine;
    machine_destroy(machine);
    return NULL;
}

void setup_free(struct setup *setup)
{
    linux_image_free(&setup->image);
    free(setup->firmware);
    if (setup->log_file)
        fclose(setup->log_file);
}
