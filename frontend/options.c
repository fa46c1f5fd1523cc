// Command line: one table of options drives parsing and --help. Each option has one function that reads its argument.
#include "frontend/options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/property.h"
#include "devices/device.h"
#include "frontend/machine.h"
#include "translate/translate.h"

struct option_context {
    struct options *options;
    FILE *out;
};

struct option_row {
    const char *name, *alias;
    const char *argument; // NULL: takes none
    const char *help;
    bool (*parse)(struct option_context *context, const char *argument, struct error *error);
};

static bool copy_text(char *to, size_t size, const char *from, struct error *error)
{
    if (strlen(from) >= size)
        return error_set(error, "the text is too long (at most %zu characters)", size - 1);
    strcpy(to, from);
    return true;
}

static bool parse_count(const char *text, uint64_t *value, struct error *error)
{
    char *end;
    errno = 0;
    *value = strtoull(text, &end, 0);
    if (text[0] < '0' || text[0] > '9' || *end || errno)
        return error_set(error, "'%.64s' is not a number", text);
    return true;
}

// ---- the machine ------------------------------------------------------------------------------------------------

static bool parse_ram(struct option_context *context, const char *argument, struct error *error)
{
    const char *text = strncmp(argument, "size=", 5) ? argument : argument + 5;
    uint64_t bytes;
    if (strchr(text, ','))
        return error_set(error, "only a size is supported, as in -m 512 or -m 2G");
    if (!property_parse_size(text, UINT64_C(1) << 20, &bytes, error))
        return false;
    if (bytes < UINT64_C(1) << 20 || bytes > MACHINE_MAX_RAM || bytes & 0xfffff)
        return error_set(error, "%.64s is not a possible amount of RAM: whole MiB from 1M to 512G", text);
    context->options->ram_size = bytes;
    return true;
}

static bool parse_smp(struct option_context *context, const char *argument, struct error *error)
{
    const char *text = strncmp(argument, "cpus=", 5) ? argument : argument + 5;
    uint64_t count;
    if (!parse_count(text, &count, error))
        return false;
    return count == 1 || error_set(error, "doppel runs one virtual CPU so far, not %" PRIu64, count);
}

static bool parse_cpu(struct option_context *context, const char *argument, struct error *error)
{
    if (!strcmp(argument, "help")) {
        model_help(context->out);
        context->options->help_printed = true;
        return true;
    }
    return model_parse(argument, &context->options->model, error);
}

_Static_assert(TRANSLATE_CODE_DEFAULT == (size_t)90 << 20, "tb-size, as the help says");
_Static_assert(TRANSLATE_THRESHOLD_DEFAULT == 10, "threshold, likewise");
static const struct property accelerator_rows[] = {
    {"paranoid", PROPERTY_BOOL, offsetof(struct accelerator, paranoid), sizeof(bool), 0, 0, "off",
     "walks again at every TLB hit and reports differences (-d mmu); interpreted, slow"},
    {"tb-size", PROPERTY_UINT32, offsetof(struct accelerator, code_mib), 4, TRANSLATE_CODE_MINIMUM >> 20,
     TRANSLATE_CODE_MAXIMUM >> 20, "90", "jit: MiB for host code, and as much for what it is made of"},
    {"single-mapping", PROPERTY_BOOL, offsetof(struct accelerator, single_mapping), sizeof(bool), 0, 0, "off",
     "jit: host code is written where it runs, in memory that is writable and executable at once"},
    {"threshold", PROPERTY_UINT32, offsetof(struct accelerator, threshold), 4, 0, 1000000, "10",
     "jit: a block is interpreted so often before it is translated"},
    {"perf", PROPERTY_BOOL, offsetof(struct accelerator, perf_map), sizeof(bool), 0, 0, "off",
     "jit: writes /tmp/perf-PID.map, with which perf names translated code; brings single-mapping"},
    {"host-features", PROPERTY_STRING, offsetof(struct accelerator, host_features), 8, 0, 0, "all",
     "jit: none, sse2, sse3, ssse3, sse4.1, sse4.2: newer vector instructions of the host are not used"},
};
static const struct property_table accelerator_table = {"ENGINE,property=value,...", accelerator_rows,
                                                        ARRAY_SIZE(accelerator_rows)};

bool options_parse_accelerator(const char *text, struct accelerator *accelerator, struct error *error)
{
    const struct accelerator unset = {.code_mib = UINT32_MAX, .threshold = UINT32_MAX};
    const char *comma = strchrnul(text, ',');
    size_t length = (size_t)(comma - text);
    *accelerator = unset;
    if (*comma && !property_parse(&accelerator_table, accelerator, comma + 1, error))
        return false;
    if (length < sizeof accelerator->name) {
        memcpy(accelerator->name, text, length);
        accelerator->name[length] = 0;
    }
    if (!machine_find_engine(accelerator->name))
        return error_set(error, "there is no engine '%.*s' (-accel help lists them)", length > 32 ? 32 : (int)length,
                         text);
    bool translates = machine_find_engine(accelerator->name) == &engine_jit;
    if (!translates && (accelerator->code_mib != unset.code_mib || accelerator->threshold != unset.threshold ||
                        accelerator->perf_map || accelerator->single_mapping || accelerator->host_features[0]))
        return error_set(
            error, "%s translates nothing: tb-size, single-mapping, threshold, perf and host-features go with jit",
            accelerator->name);
    uint64_t ignored[2];
    if (accelerator->host_features[0] && !translate_host_generation(accelerator->host_features, ignored))
        return error_set(error, "host-features: no generation '%s' (none, sse2, sse3, ssse3, sse4.1, sse4.2, all)",
                         accelerator->host_features);
    if (accelerator->code_mib == unset.code_mib)
        accelerator->code_mib = 0;
    return true;
}

static bool parse_accelerator(struct option_context *context, const char *argument, struct error *error)
{
    struct options *options = context->options;
    if (strcmp(argument, "help"))
        return options_parse_accelerator(argument, &options->accelerator, error);
    for (unsigned i = 0; i < machine_engine_count; i++)
        if (machine_engines[i] != &engine_jit || translate_available())
            fprintf(context->out, "%-8s %s\n", machine_engines[i]->name, machine_engines[i]->description);
        else
            fprintf(context->out, "  %s has no backend for this host\n", machine_engines[i]->name);
    fputs("  ", context->out); // scripts take the lines that begin with a name
    property_help(context->out, &accelerator_table);
    options->help_printed = true;
    return true;
}

struct machine_properties {
    char type[64];
    char accel[64];
    char direct[8];
};
static const struct property machine_rows[] = {
    {"type", PROPERTY_STRING, offsetof(struct machine_properties, type), 64, 0, 0, "pc", "pc: i440FX and PIIX3"},
    {"accel", PROPERTY_STRING, offsetof(struct machine_properties, accel), 64, 0, 0, "", "as -accel"},
    {"direct", PROPERTY_STRING, offsetof(struct machine_properties, direct), 8, 0, 0, "auto",
     "start -kernel at its 32- or 64-bit entry; off: through the firmware and an option ROM; auto: on, but off for CPU "
     "models below x86-64, so that the kernel can say what it lacks"},
};
static const struct property_table machine_table = {"machine", machine_rows, ARRAY_SIZE(machine_rows)};

static bool parse_machine(struct option_context *context, const char *argument, struct error *error)
{
    struct options *options = context->options;
    struct machine_properties properties;
    char text[512];
    if (!strcmp(argument, "help")) {
        fprintf(context->out, "pc       PC with i440FX and PIIX3 (default)\n");
        property_help(context->out, &machine_table);
        options->help_printed = true;
        return true;
    }
    property_set_defaults(&machine_table, &properties);
    size_t first = strcspn(argument, ",=");
    const char *prefix = argument[first] == '=' ? "" : "type=";
    if (snprintf(text, sizeof text, "%s%s", prefix, argument) >= (int)sizeof text)
        return error_set(error, "the text is too long");
    if (!property_parse(&machine_table, &properties, text, error))
        return false;
    if (strcmp(properties.type, "pc") && strncmp(properties.type, "pc-i440fx-", 10))
        return error_set(error, "there is no machine '%s' (-machine help lists them)", properties.type);
    strcpy(options->machine_type, properties.type);
    options->has_direct = strcmp(properties.direct, "auto") != 0;
    options->direct = strcmp(properties.direct, "off") != 0;
    if (options->has_direct && options->direct && strcmp(properties.direct, "on"))
        return error_set(error, "direct must be on, off or auto, not '%s'", properties.direct);
    return !properties.accel[0] || parse_accelerator(context, properties.accel, error);
}

static bool parse_name(struct option_context *context, const char *argument, struct error *error)
{
    return copy_text(context->options->name, sizeof context->options->name, argument, error);
}

// ---- what to boot -----------------------------------------------------------------------------------------------

static bool parse_kernel(struct option_context *context, const char *argument, struct error *error)
{
    return copy_text(context->options->kernel, sizeof context->options->kernel, argument, error);
}

static bool parse_initrd(struct option_context *context, const char *argument, struct error *error)
{
    return copy_text(context->options->initrd, sizeof context->options->initrd, argument, error);
}

static bool parse_append(struct option_context *context, const char *argument, struct error *error)
{
    context->options->has_append = true;
    return copy_text(context->options->append, sizeof context->options->append, argument, error);
}

static bool parse_bios(struct option_context *context, const char *argument, struct error *error)
{
    return copy_text(context->options->bios, sizeof context->options->bios, argument, error);
}

static bool parse_firmware_path(struct option_context *context, const char *argument, struct error *error)
{
    return copy_text(context->options->firmware_path, sizeof context->options->firmware_path, argument, error);
}

static bool parse_default_guest(struct option_context *context, const char *argument, struct error *error)
{
    context->options->default_guest = true;
    return true;
}

// ---- terminals --------------------------------------------------------------------------------------------------

static bool parse_character(struct character_option *to, const char *argument, struct error *error)
{
    *to = (struct character_option){0};
    if (!strncmp(argument, "mon:", 4)) {
        to->multiplexed = true;
        argument += 4;
        if (strcmp(argument, "stdio"))
            return error_set(error, "mon: goes with stdio only, not with '%.64s'", argument);
    }
    if (!strcmp(argument, "none"))
        to->kind = CHARACTER_NONE;
    else if (!strcmp(argument, "null"))
        to->kind = CHARACTER_NULL;
    else if (!strcmp(argument, "stdio"))
        to->kind = CHARACTER_STDIO;
    else if (!strncmp(argument, "file:", 5) && argument[5])
        to->kind = CHARACTER_FILE;
    else
        return error_set(error, "'%.64s' is not supported; there are none, null, stdio, mon:stdio and file:PATH",
                         argument);
    return to->kind != CHARACTER_FILE || copy_text(to->path, sizeof to->path, argument + 5, error);
}

static bool parse_serial(struct option_context *context, const char *argument, struct error *error)
{
    struct options *options = context->options;
    if (options->serial_count == OPTIONS_SERIAL_PORTS)
        return error_set(error, "a PC has %d serial ports at most", OPTIONS_SERIAL_PORTS);
    return parse_character(&options->serial[options->serial_count++], argument, error);
}

static bool parse_monitor(struct option_context *context, const char *argument, struct error *error)
{
    if (!parse_character(&context->options->monitor, argument, error))
        return false;
    return context->options->monitor.kind != CHARACTER_FILE || error_set(error, "the monitor needs input: use stdio");
}

static bool parse_debugcon(struct option_context *context, const char *argument, struct error *error)
{
    return parse_character(&context->options->debug_console, argument, error);
}

static bool parse_display(struct option_context *context, const char *argument, struct error *error)
{
    context->options->display_none = true;
    return !strcmp(argument, "none") || error_set(error, "doppel has no display so far: only 'none' is supported");
}

static bool parse_vga(struct option_context *context, const char *argument, struct error *error)
{
    return !strcmp(argument, "none") || error_set(error, "doppel has no display so far: only 'none' is supported");
}

static bool parse_nographic(struct option_context *context, const char *argument, struct error *error)
{
    context->options->nographic = true;
    return true;
}

static bool parse_nodefaults(struct option_context *context, const char *argument, struct error *error)
{
    context->options->no_defaults = true;
    return true;
}

// ---- devices ----------------------------------------------------------------------------------------------------

static void print_devices(FILE *to)
{
    fprintf(to, "can be added with -device:\n");
    fprintf(to, "  %-16s %s\n", debug_exit_class.name, debug_exit_class.description);
    fprintf(to, "part of every machine:\n");
    for (unsigned i = 0; i < device_class_count; i++)
        if (device_classes[i] != &debug_exit_class)
            fprintf(to, "  %-16s %s\n", device_classes[i]->name, device_classes[i]->description);
}

static bool parse_device(struct option_context *context, const char *argument, struct error *error)
{
    struct options *options = context->options;
    const char *comma = strchrnul(argument, ',');
    size_t length = (size_t)(comma - argument);
    if (!strcmp(argument, "help") || !strcmp(argument, "?")) {
        print_devices(context->out);
        options->help_printed = true;
        return true;
    }
    const struct device_class *class = NULL;
    for (unsigned i = 0; i < device_class_count; i++)
        if (strlen(device_classes[i]->name) == length && !strncmp(device_classes[i]->name, argument, length))
            class = device_classes[i];
    if (!class)
        return error_set(error, "there is no device '%.*s' (-device help lists them)", length > 64 ? 64 : (int)length,
                         argument);
    if (!strcmp(comma, ",help") || !strcmp(comma, ",?")) {
        static const struct property_table none = {0};
        property_help(context->out, class->properties ? class->properties : &none);
        options->help_printed = true;
        return true;
    }
    if (class != &debug_exit_class)
        return error_set(error, "%s is part of every machine and cannot be added", class->name);
    if (options->has_debug_exit)
        return error_set(error, "only one %s is supported", class->name);
    options->has_debug_exit = true;
    return !*comma || property_parse(class->properties, &options->debug_exit, comma + 1, error);
}

// ---- running ----------------------------------------------------------------------------------------------------

static bool parse_no_reboot(struct option_context *context, const char *argument, struct error *error)
{
    context->options->no_reboot = true;
    return true;
}

static bool parse_no_shutdown(struct option_context *context, const char *argument, struct error *error)
{
    context->options->no_shutdown = true;
    return true;
}

static bool parse_start_stopped(struct option_context *context, const char *argument, struct error *error)
{
    context->options->start_stopped = true;
    return true;
}

struct icount_properties {
    uint32_t shift;
    bool sleep;
};
static const struct property icount_rows[] = {
    {"shift", PROPERTY_UINT32, offsetof(struct icount_properties, shift), 4, 0, 10, "0", "2^shift ns an instruction"},
    {"sleep", PROPERTY_BOOL, offsetof(struct icount_properties, sleep), sizeof(bool), 0, 0, "off",
     "off: a halted guest's time jumps to its next event"},
};
static const struct property_table icount_table = {"icount", icount_rows, ARRAY_SIZE(icount_rows)};

static bool parse_icount(struct option_context *context, const char *argument, struct error *error)
{
    struct icount_properties properties = {0};
    char text[64];
    bool bare = argument[0] >= '0' && argument[0] <= '9';
    if (snprintf(text, sizeof text, "%s%s", bare ? "shift=" : "", argument) >= (int)sizeof text)
        return error_set(error, "the text is too long");
    if (strstr(text, "shift=auto"))
        return error_set(error, "shift=auto is not supported: give a shift from 0 to 10");
    if (!property_parse(&icount_table, &properties, text, error))
        return false;
    if (properties.sleep)
        return error_set(error, "sleep=on is not supported: a halted guest's time jumps to its next event");
    context->options->counting = true;
    context->options->count_shift = properties.shift;
    return true;
}

static bool parse_rtc(struct option_context *context, const char *argument, struct error *error)
{
    struct tm date = {0};
    if (strncmp(argument, "base=", 5))
        return error_set(error, "'%.64s' is not supported: base=utc, or base=2024-01-31T12:00:00", argument);
    context->options->has_rtc_base = false;
    if (!strcmp(argument + 5, "utc"))
        return true;
    const char *end = strptime(argument + 5, "%Y-%m-%dT%H:%M:%S", &date);
    if (!end)
        end = strptime(argument + 5, "%Y-%m-%d", &date);
    if (!end || *end)
        return error_set(error, "'%.64s' is no date: write utc, 2024-01-31 or 2024-01-31T12:00:00", argument + 5);
    context->options->has_rtc_base = true;
    context->options->rtc_base = timegm(&date);
    return true;
}

static bool parse_log(struct option_context *context, const char *argument, struct error *error)
{
    if (!strcmp(argument, "help") || !strcmp(argument, "?")) {
        log_help(context->out);
        context->options->help_printed = true;
        return true;
    }
    return log_enable(&context->options->log, argument, error);
}

static bool parse_log_file(struct option_context *context, const char *argument, struct error *error)
{
    return copy_text(context->options->log_path, sizeof context->options->log_path, argument, error);
}

static bool parse_log_filter(struct option_context *context, const char *argument, struct error *error)
{
    return log_set_range(&context->options->log, argument, error);
}

static bool parse_load(struct option_context *context, const char *argument, struct error *error)
{
    return copy_text(context->options->load_path, sizeof context->options->load_path, argument, error);
}

static bool parse_limit(struct option_context *context, const char *argument, struct error *error)
{
    return parse_count(argument, &context->options->limit, error);
}

static bool parse_hash_every(struct option_context *context, const char *argument, struct error *error)
{
    return parse_count(argument, &context->options->hash_every, error);
}

static bool parse_save_at(struct option_context *context, const char *argument, struct error *error)
{
    char number[32];
    const char *comma = strchr(argument, ',');
    if (!comma || !comma[1] || (size_t)(comma - argument) >= sizeof number)
        return error_set(error, "write N,FILE");
    memcpy(number, argument, (size_t)(comma - argument));
    number[comma - argument] = 0;
    return parse_count(number, &context->options->save_at, error) &&
           copy_text(context->options->save_path, sizeof context->options->save_path, comma + 1, error);
}

static bool parse_help(struct option_context *context, const char *argument, struct error *error)
{
    options_help(context->out);
    context->options->help_printed = true;
    return true;
}

static bool parse_version(struct option_context *context, const char *argument, struct error *error)
{
    fprintf(context->out, "doppel version %s\n", DOPPEL_VERSION);
    context->options->help_printed = true;
    return true;
}

// ---- the table --------------------------------------------------------------------------------------------------

static const struct option_row option_rows[] = {
    {"m", NULL, "SIZE", "RAM in MiB, or with suffix K, M, G, T (default 512)", parse_ram},
    {"smp", NULL, "N", "number of virtual CPUs (1 so far)", parse_smp},
    {"cpu", NULL, "MODEL[,+f,-f]", "CPU model and features (help lists them; default max)", parse_cpu},
    {"accel", NULL, "ENGINE[,prop=value]", "how guest code is executed (help lists them)", parse_accelerator},
    {"machine", "M", "pc[,direct=on|off]", "kind of machine, and how -kernel starts (help)", parse_machine},
    {"name", NULL, "TEXT", "a name for this machine, shown by the monitor", parse_name},
    {"kernel", NULL, "FILE", "boot this Linux kernel (bzImage)", parse_kernel},
    {"initrd", NULL, "FILE", "initial RAM disk for -kernel", parse_initrd},
    {"append", NULL, "TEXT", "command line for -kernel", parse_append},
    {"bios", NULL, "FILE", "firmware (default bios-256k.bin of SeaBIOS)", parse_bios},
    {"L", NULL, "DIR", "where firmware is looked for", parse_firmware_path},
    {"default-guest", NULL, NULL, "boot the default guest with the other options (as without any option)",
     parse_default_guest},
    {"serial", NULL, "DEV", "a serial port: none, null, stdio, mon:stdio, file:PATH; up to four times", parse_serial},
    {"monitor", NULL, "DEV", "the monitor: none, stdio", parse_monitor},
    {"debugcon", NULL, "DEV", "output of debug ports 0x402 and 0xE9: stdio, file:PATH, null", parse_debugcon},
    {"nographic", NULL, NULL, "serial port and monitor on the terminal", parse_nographic},
    {"display", NULL, "none", "no display", parse_display},
    {"vga", NULL, "none", "no graphics adapter", parse_vga},
    {"nodefaults", NULL, NULL, "no serial port and no monitor unless asked for", parse_nodefaults},
    {"device", NULL, "NAME[,prop=value]", "adds a device (help, NAME,help)", parse_device},
    {"no-reboot", NULL, NULL, "exit instead of resetting", parse_no_reboot},
    {"no-shutdown", NULL, NULL, "stop instead of exiting at power-off", parse_no_shutdown},
    {"S", NULL, NULL, "do not run before the monitor says cont", parse_start_stopped},
    {"icount", NULL, "[shift=]N", "counting mode: time passes 2^N ns an instruction, runs repeat exactly",
     parse_icount},
    {"rtc", NULL, "base=utc|DATE", "date at power-on (-icount: 2000-01-01 unless given)", parse_rtc},
    {"loadvm", "load", "FILE", "start from a snapshot", parse_load},
    {"d", NULL, "ITEM,...", "log these items (help lists them)", parse_log},
    {"D", NULL, "FILE", "log to a file instead of stderr", parse_log_file},
    {"dfilter", NULL, "FROM..TO|FROM+N", "log code in this address range only", parse_log_filter},
    {"limit", NULL, "N", "exit after N instructions", parse_limit},
    {"hash-every", NULL, "N", "-icount: print a hash of the machine's state every N instructions", parse_hash_every},
    {"save-at", NULL, "N,FILE", "-icount: save a snapshot after N instructions", parse_save_at},
    {"help", "h", NULL, "this text", parse_help},
    {"version", NULL, NULL, "the version", parse_version},
};

void options_help(FILE *to)
{
    fprintf(to,
            "doppel %s: an x86 PC in software\n\n"
            "usage: doppel [options]        without options: boots the default guest\n\n",
            DOPPEL_VERSION);
    for (unsigned i = 0; i < ARRAY_SIZE(option_rows); i++) {
        const struct option_row *row = &option_rows[i];
        char left[64];
        snprintf(left, sizeof left, "-%s %s", row->name, row->argument ? row->argument : "");
        fprintf(to, "  %-28s %s\n", left, row->help);
    }
    fprintf(to, "\nexit codes: 0 power-off or quit, 1 an error (one line on stderr), 2 triple fault with -no-reboot,\n"
                "otherwise what the guest wrote to isa-debug-exit (value * 2 + 1)\n");
}

static const struct option_row *find_option(const char *argument)
{
    const char *name = argument + (argument[1] == '-' ? 2 : 1);
    for (unsigned i = 0; i < ARRAY_SIZE(option_rows); i++)
        if (!strcmp(option_rows[i].name, name) || (option_rows[i].alias && !strcmp(option_rows[i].alias, name)))
            return &option_rows[i];
    return NULL;
}

/// The kernel's setup code, which firmware runs, refuses a processor that lacks something, and says what. A direct
/// start would leave that out and die in silence.
static void choose_start(struct options *options)
{
    if (!options->has_direct)
        options->direct = model_has_x86_64_baseline(&options->model);
}

/// What one option alone cannot see.
static bool check_options(const struct options *options, struct error *error)
{
    unsigned terminals = options->monitor.kind == CHARACTER_STDIO;
    for (unsigned i = 0; i < options->serial_count; i++)
        terminals += options->serial[i].kind == CHARACTER_STDIO;
    if (options->initrd[0] && !options->kernel[0] && !options->default_guest)
        return error_set(error, "-initrd needs -kernel");
    if (options->has_append && !options->kernel[0] && !options->default_guest)
        return error_set(error, "-append needs -kernel");
    if (terminals > 1)
        return error_set(error, "only one of -serial and -monitor can use stdio (-serial mon:stdio is for both)");
    if (options->hash_every && !options->counting)
        return error_set(error, "-hash-every needs -icount");
    if (options->save_path[0] && !options->counting)
        return error_set(error, "-save-at needs -icount (the monitor's savevm saves at any time)");
    if (options->direct && options->kernel[0] && options->bios[0])
        return error_set(error, "-bios is not used when -kernel starts directly: add -machine pc,direct=off");
    return true;
}

static void set_defaults(struct options *options)
{
    struct error ignored = {0};
    *options = (struct options){.ram_size = OPTIONS_DEFAULT_RAM, .direct = true};
    log_init(&options->log);
    options_parse_accelerator(translate_available() ? "jit" : "interp", &options->accelerator, &ignored);
    strcpy(options->machine_type, "pc");
    strcpy(options->name, "doppel");
    model_parse("max", &options->model, &ignored);
    if (debug_exit_class.properties)
        property_set_defaults(debug_exit_class.properties, &options->debug_exit);
}

/// Who has the terminal when nobody asked for it.
static void set_terminal_defaults(struct options *options)
{
    bool taken = options->monitor.kind == CHARACTER_STDIO || options->debug_console.kind == CHARACTER_STDIO;
    if (options->serial_count || options->no_defaults)
        return;
    options->serial_count = 1;
    options->serial[0].kind =
        taken || (options->display_none && !options->nographic) ? CHARACTER_NULL : CHARACTER_STDIO;
    options->serial[0].multiplexed = options->monitor.kind != CHARACTER_NONE;
}

bool options_parse(struct options *options, int argc, char **argv, FILE *out, struct error *error)
{
    struct option_context context = {options, out};
    set_defaults(options);
    options->default_guest = argc <= 1;
    for (int i = 1; i < argc; i++) {
        const char *text = argv[i], *argument = NULL;
        if (text[0] != '-' || !text[1])
            return error_set(error, "'%.64s' is no option, and disk images are not supported so far", text);
        const struct option_row *row = find_option(text);
        if (!row)
            return error_set(error, "%.64s: no such option, or not supported so far (--help lists what there is)",
                             text);
        if (row->argument) {
            argument = ++i < argc ? argv[i] : NULL;
            if (!argument)
                return error_set(error, "-%s needs an argument: %s", row->name, row->argument);
        }
        if (!row->parse(&context, argument, error))
            return error_prefix(error, "-%s", row->name);
        if (options->help_printed)
            return true;
    }
    set_terminal_defaults(options);
    choose_start(options);
    return check_options(options, error);
}
