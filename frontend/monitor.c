// See monitor.h. Commands run on the main loop with the vCPU parked, so that they see an instruction boundary.
#include "frontend/monitor.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/state.h"
#include "cpu/block.h"
#include "cpu/uop.h"
#include "frontend/machine.h"
#include "frontend/snapshot.h"
#include "translate/translate.h"

#define MAX_ARGUMENTS 3
#define EXAMINE_LIMIT 65536 // units that one x command shows at most

enum argument_type {
    ARGUMENT_END,
    ARGUMENT_WORD, // as typed
    ARGUMENT_OPTIONAL_WORD,
    ARGUMENT_ADDRESS, // number, or $register
};

struct argument {
    enum argument_type type;
    const char *name;
};

struct command_values {
    const char *word[MAX_ARGUMENTS];
    uint64_t number[MAX_ARGUMENTS];
    const char *format; // after the slash; "" without
};

struct command_row {
    const char *name, *alias;
    bool has_format;
    struct argument arguments[MAX_ARGUMENTS];
    const char *help;
    bool (*run)(struct machine *machine, const struct command_values *values, FILE *out, struct error *error);
};

// ---- info -------------------------------------------------------------------------------------------------------

static bool info_registers(struct machine *machine, const struct command_values *values, FILE *out, struct error *error)
{
    cpu_print(machine->cpu, out);
    return true;
}

static bool info_mtree(struct machine *machine, const struct command_values *values, FILE *out, struct error *error)
{
    address_space_print(&machine->memory_space, out);
    address_space_print(&machine->port_space, out);
    return true;
}

static bool info_devices(struct machine *machine, const struct command_values *values, FILE *out, struct error *error)
{
    for (unsigned i = 0; i < pc_device_count(machine->pc); i++) {
        const struct device *device = pc_device(machine->pc, i);
        fprintf(out, "%-16s %-20s %s\n", device->id, device->class->name, device->class->description);
    }
    return true;
}

static bool info_device(struct machine *machine, const struct command_values *values, FILE *out, struct error *error)
{
    if (!values->word[1])
        return error_set(error, "info device: write the device's id (info devices lists them)");
    for (unsigned i = 0; i < pc_device_count(machine->pc); i++) {
        const struct device *device = pc_device(machine->pc, i);
        if (strcmp(device->id, values->word[1]))
            continue;
        if (device->class->state)
            state_print(out, device->class->state, device);
        return true;
    }
    return error_set(error, "info device: there is no device '%.64s' (info devices lists them)", values->word[1]);
}

static bool info_status(struct machine *machine, const struct command_values *values, FILE *out, struct error *error)
{
    fprintf(out, "%s: %s, %" PRIu64 " instructions, %" PRIu64 " ns of guest time, %" PRIu64 " resets\n",
            machine->config.name ? machine->config.name : "doppel", machine->paused ? "stopped" : "running",
            machine_count(machine), clock_now(&machine->clock), machine->resets);
    return true;
}

/// How many instructions went to C helpers, and the helpers that were called most. (Few instructions have two.)
/// `instructions`: 0 where host code does not count them.
static void print_calls(const struct cpu *cpu, uint64_t instructions, FILE *out)
{
    uint64_t calls = 0, left[CPU_HELPERS_MAX] = {0};
    for (unsigned i = 0; i < uop_helper_count; i++)
        calls += left[i] = cpu->stat_call[i];
    fprintf(out, "calls of helpers %" PRIu64, calls);
    if (instructions)
        fprintf(out, ", %.3f %% of the instructions", 100.0 * (double)calls / (double)instructions);
    fprintf(out, "\n");
    for (unsigned n = 0; n < 12; n++) {
        unsigned most = 0;
        for (unsigned i = 1; i < uop_helper_count; i++)
            if (left[i] > left[most])
                most = i;
        if (!left[most])
            break;
        fprintf(out, "  %-20s %" PRIu64 "\n", uop_helpers[most].name, left[most]);
        left[most] = 0;
    }
}

static bool info_statistics(struct machine *machine, const struct command_values *values, FILE *out,
                            struct error *error)
{
    const struct cpu *cpu = machine->cpu;
    fprintf(out,
            "instructions %" PRIu64 "\nblocks %" PRIu64 "\nfaults %" PRIu64 "\ninterrupts %" PRIu64
            "\nTLB fills %" PRIu64 "\nTLB flushes %" PRIu64 "\n",
            machine_count(machine), cpu->stat_blocks, cpu->stat_faults, cpu->stat_interrupts, cpu->mmu.fill_count,
            cpu->mmu.flush_count);
    bool counted = machine->config.counting || machine->config.engine != &engine_jit;
    print_calls(cpu, counted ? machine_count(machine) : 0, out);
    return true;
}

/// The shares of host code and interpreter.
static void print_shares(const struct machine *machine, const struct translate_statistics *code, FILE *out)
{
    uint64_t executed = code->host_instructions + code->interpreted_instructions;
    if (!machine->cpu->counting) {
        fprintf(out, "executed in host code             unknown: without -icount it does not count instructions\n");
        return;
    }
    fprintf(out,
            "executed in host code  %12" PRIu64 " instructions, %.3f %%\n"
            "executed interpreted   %12" PRIu64 " instructions\n",
            code->host_instructions, executed ? 100.0 * (double)code->host_instructions / (double)executed : 0.0,
            code->interpreted_instructions);
}

/// What the translator did and has; block counts for every engine.
static bool info_jit(struct machine *machine, const struct command_values *values, FILE *out, struct error *error)
{
    struct block_statistics blocks;
    struct translate_statistics code;
    block_cache_statistics(machine->blocks, &blocks);
    fprintf(out,
            "blocks lifted          %12" PRIu64 " of %" PRIu64 " instructions\n"
            "blocks invalidated     %12" PRIu64 ", %" PRIu64 " of them lived again\n"
            "block memory           %12zu bytes in use, emptied %" PRIu64 " times, %" PRIu64 " parts renewed\n",
            blocks.lifted_blocks, blocks.lifted_insns, blocks.invalidated, blocks.revived, blocks.bytes_used,
            blocks.flushes, blocks.evictions);
    if (machine->config.engine != &engine_jit) {
        fprintf(out, "the engine %s translates nothing\n", machine->config.engine->name);
        return true;
    }
    translate_statistics(machine->engine_state, &code);
    fprintf(out, "blocks translated      %12" PRIu64 " of %" PRIu64 " instructions, %.0f ns each\n",
            code.translated_blocks, code.translated_instructions,
            code.translated_instructions ? (double)code.translation_ns / (double)code.translated_instructions : 0.0);
    print_shares(machine, &code, out);
    fprintf(out,
            "left in mid-block      %12" PRIu64 " times for the interpreter\n"
            "code memory            %12" PRIu64 " bytes in use, in %u regions\n"
            "regions evicted        %12" PRIu64 " times, with %" PRIu64 " blocks\n",
            code.resumed, code.code_bytes, code.code_regions, code.code_evictions, code.evicted_blocks);
    return true;
}

static bool info_hash(struct machine *machine, const struct command_values *values, FILE *out, struct error *error)
{
    fprintf(out, "%016" PRIx64 "\n", snapshot_hash(machine));
    return true;
}

static const struct command_row info_rows[] = {
    {"registers", NULL, false, {{0}}, "the CPU's registers", info_registers},
    {"mtree", NULL, false, {{0}}, "maps of memory and I/O ports", info_mtree},
    {"devices", "qtree", false, {{0}}, "all devices", info_devices},
    {"device", NULL, false, {{ARGUMENT_WORD, "ID"}}, "state of one device", info_device},
    {"status", NULL, false, {{0}}, "whether the machine runs, and its time", info_status},
    {"statistics", NULL, false, {{0}}, "counters of the CPU", info_statistics},
    {"jit", NULL, false, {{0}}, "blocks and their translation: counts, share, memory", info_jit},
    {"hash", NULL, false, {{0}}, "hash of the machine's state", info_hash},
};

static bool run_info(struct machine *machine, const struct command_values *values, FILE *out, struct error *error)
{
    for (unsigned i = 0; values->word[0] && i < ARRAY_SIZE(info_rows); i++) {
        const struct command_row *row = &info_rows[i];
        if (!strcmp(row->name, values->word[0]) || (row->alias && !strcmp(row->alias, values->word[0])))
            return row->run(machine, values, out, error);
    }
    if (values->word[0])
        return error_set(error, "info: there is no '%.64s' (info alone lists what there is)", values->word[0]);
    for (unsigned i = 0; i < ARRAY_SIZE(info_rows); i++)
        fprintf(out, "info %-12s %s\n", info_rows[i].name, info_rows[i].help);
    return true;
}

// ---- memory -----------------------------------------------------------------------------------------------------

struct examine_format {
    unsigned count;
    char letter; // x d u o c
    unsigned size;
};

static bool parse_format(const char *text, struct examine_format *format, struct error *error)
{
    *format = (struct examine_format){1, 'x', 4};
    if (isdigit((unsigned char)*text)) {
        char *end;
        unsigned long count = strtoul(text, &end, 10);
        if (count > EXAMINE_LIMIT)
            return error_set(error, "at most %d units at once", EXAMINE_LIMIT);
        format->count = (unsigned)count;
        text = end;
    }
    for (; *text; text++) {
        const char *size = strchr("bhwg", *text);
        if (size)
            format->size = 1u << (size - "bhwg");
        else if (strchr("xduoc", *text))
            format->letter = *text;
        else
            return error_set(error, "'%c' is no format: write /[count][x|d|u|o|c][b|h|w|g]", *text);
    }
    if (format->letter == 'c')
        format->size = 1;
    return true;
}

static void print_unit(FILE *out, const struct examine_format *format, uint64_t value)
{
    unsigned bits = format->size * 8;
    switch (format->letter) {
    case 'd':
        fprintf(out, " %*" PRId64, (int)format->size * 3, bits_sign_extend(value, bits));
        break;
    case 'u':
        fprintf(out, " %*" PRIu64, (int)format->size * 3, value);
        break;
    case 'o':
        fprintf(out, " 0%0*" PRIo64, (int)(bits + 2) / 3, value);
        break;
    case 'c':
        fprintf(out, isprint((int)value) ? " '%c'" : " \\x%02x", (int)value);
        break;
    default:
        fprintf(out, " 0x%0*" PRIx64, (int)format->size * 2, value);
        break;
    }
}

static bool examine(struct machine *machine, const struct command_values *values, bool physical, FILE *out,
                    struct error *error)
{
    struct examine_format format;
    uint64_t address = values->number[0];
    if (!parse_format(values->format, &format, error))
        return false;
    unsigned per_line = 16 / format.size;
    for (unsigned i = 0; i < format.count; i++, address += format.size) {
        uint8_t bytes[8] = {0};
        if (i % per_line == 0)
            fprintf(out, "%s%016" PRIx64 ":", i ? "\n" : "", address);
        if (physical) {
            // Memory only: reading a device's register would change its state.
            const struct flat_range *flat = address_space_find(&machine->memory_space, address);
            if (flat && flat->range && flat->range->kind != RANGE_DEVICE && flat->end - address >= format.size)
                address_space_read_bytes(&machine->memory_space, address, bytes, format.size);
            else
                memset(bytes, 0xff, sizeof bytes);
        } else if (!cpu_debug_read(machine->cpu, address, bytes, format.size)) {
            fprintf(out, " not mapped\n");
            return true;
        }
        uint64_t value = load_le64(bytes) & bits_mask(format.size * 8);
        print_unit(out, &format, value);
    }
    fprintf(out, "\n");
    return true;
}

static bool run_examine(struct machine *machine, const struct command_values *values, FILE *out, struct error *error)
{
    return examine(machine, values, false, out, error);
}

static bool run_examine_physical(struct machine *machine, const struct command_values *values, FILE *out,
                                 struct error *error)
{
    return examine(machine, values, true, out, error);
}

// ---- control ----------------------------------------------------------------------------------------------------

static bool run_stop(struct machine *machine, const struct command_values *values, FILE *out, struct error *error)
{
    machine_set_paused(machine, true);
    return true;
}

static bool run_continue(struct machine *machine, const struct command_values *values, FILE *out, struct error *error)
{
    machine_set_paused(machine, false);
    return true;
}

static bool run_reset(struct machine *machine, const struct command_values *values, FILE *out, struct error *error)
{
    machine_request_reset(machine);
    return true;
}

static bool run_powerdown(struct machine *machine, const struct command_values *values, FILE *out, struct error *error)
{
    machine_lock(machine);
    pc_power_button(machine->pc);
    machine_unlock(machine);
    return true;
}

static bool run_save(struct machine *machine, const struct command_values *values, FILE *out, struct error *error)
{
    return snapshot_save(machine, values->word[0], error);
}

static bool run_load(struct machine *machine, const struct command_values *values, FILE *out, struct error *error)
{
    return snapshot_load(machine, values->word[0], error);
}

static bool run_quit(struct machine *machine, const struct command_values *values, FILE *out, struct error *error)
{
    machine_exit(machine, EXIT_POWER_OFF, NULL);
    return true;
}

static bool run_help(struct machine *machine, const struct command_values *values, FILE *out, struct error *error);

static const struct command_row command_rows[] = {
    {"help", "?", false, {{0}}, "this list", run_help},
    {"info",
     NULL,
     false,
     {{ARGUMENT_OPTIONAL_WORD, "WHAT"}, {ARGUMENT_OPTIONAL_WORD, "ID"}},
     "shows something (info alone lists what)",
     run_info},
    {"x",
     NULL,
     true,
     {{ARGUMENT_ADDRESS, "ADDRESS"}},
     "memory at a linear address, or at $rip, $rsp, ...",
     run_examine},
    {"xp", NULL, true, {{ARGUMENT_ADDRESS, "ADDRESS"}}, "memory at a physical address", run_examine_physical},
    {"stop", "s", false, {{0}}, "stops the machine and its time", run_stop},
    {"cont", "c", false, {{0}}, "lets it run on", run_continue},
    {"system_reset", NULL, false, {{0}}, "presses the reset button", run_reset},
    {"system_powerdown", NULL, false, {{0}}, "presses the ACPI power button", run_powerdown},
    {"savevm", NULL, false, {{ARGUMENT_WORD, "FILE"}}, "saves the whole machine", run_save},
    {"loadvm", NULL, false, {{ARGUMENT_WORD, "FILE"}}, "loads what savevm saved", run_load},
    {"quit", "q", false, {{0}}, "ends the program", run_quit},
};

static bool run_help(struct machine *machine, const struct command_values *values, FILE *out, struct error *error)
{
    for (unsigned i = 0; i < ARRAY_SIZE(command_rows); i++) {
        const struct command_row *row = &command_rows[i];
        char left[64];
        int used = snprintf(left, sizeof left, "%s%s", row->name, row->has_format ? "/FMT" : "");
        for (unsigned j = 0; j < MAX_ARGUMENTS && row->arguments[j].type; j++)
            used +=
                snprintf(left + used, sizeof left - (size_t)used,
                         row->arguments[j].type == ARGUMENT_OPTIONAL_WORD ? " [%s]" : " %s", row->arguments[j].name);
        fprintf(out, "%-24s %s\n", left, row->help);
    }
    return true;
}

// ---- parsing ----------------------------------------------------------------------------------------------------

static bool parse_address(const struct machine *machine, const char *text, uint64_t *value, struct error *error)
{
    static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8",
                                        "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "rip"};
    if (text[0] == '$') {
        for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
            if (strcmp(names[i], text + 1))
                continue;
            *value = machine->cpu->var[VAR_RAX + i];
            if (VAR_RAX + i == VAR_RIP)
                *value += cpu_segment_base(machine->cpu, SEG_CS);
            return true;
        }
        return error_set(error, "'%.64s' is no register ($rax to $r15, $rip)", text);
    }
    char *end;
    errno = 0;
    *value = strtoull(text, &end, 0);
    if (!isdigit((unsigned char)text[0]) || *end || errno)
        return error_set(error, "'%.64s' is no address", text);
    return true;
}

static bool parse_arguments(const struct machine *machine, const struct command_row *row, char **words,
                            unsigned word_count, struct command_values *values, struct error *error)
{
    unsigned used = 0;
    for (unsigned i = 0; i < MAX_ARGUMENTS && row->arguments[i].type != ARGUMENT_END; i++) {
        const struct argument *argument = &row->arguments[i];
        if (used == word_count) {
            if (argument->type == ARGUMENT_OPTIONAL_WORD)
                break;
            return error_set(error, "%s: %s is missing", row->name, argument->name);
        }
        values->word[i] = words[used++];
        if (argument->type == ARGUMENT_ADDRESS && !parse_address(machine, values->word[i], &values->number[i], error))
            return error_prefix(error, "%s", row->name);
    }
    return used == word_count || error_set(error, "%s: too many arguments", row->name);
}

bool monitor_execute(struct machine *machine, const char *line, FILE *out, struct error *error)
{
    char text[MONITOR_LINE], *words[MAX_ARGUMENTS + 2], *rest = NULL;
    unsigned count = 0;
    if (strlen(line) >= sizeof text)
        return error_set(error, "the line is too long");
    strcpy(text, line);
    for (char *word = strtok_r(text, " \t\r\n", &rest); word; word = strtok_r(NULL, " \t\r\n", &rest)) {
        if (count == ARRAY_SIZE(words))
            return error_set(error, "%s: too many arguments", words[0]);
        words[count++] = word;
    }
    if (!count)
        return true;
    struct command_values values = {.format = ""};
    char *slash = strchr(words[0], '/');
    if (slash) {
        *slash = 0;
        values.format = slash + 1;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(command_rows); i++) {
        const struct command_row *row = &command_rows[i];
        if (strcmp(row->name, words[0]) && (!row->alias || strcmp(row->alias, words[0])))
            continue;
        if (slash && !row->has_format)
            return error_set(error, "%s takes no /FMT", row->name);
        machine_hold(machine);
        bool good = parse_arguments(machine, row, words + 1, count - 1, &values, error) &&
                    row->run(machine, &values, out, error);
        machine_release(machine);
        return good;
    }
    return error_set(error, "there is no command '%.64s' (help lists them)", words[0]);
}

// ---- typing -----------------------------------------------------------------------------------------------------

void monitor_prompt(struct monitor *monitor)
{
    fprintf(monitor->out, "(doppel) ");
    fflush(monitor->out);
}

static void end_line(struct monitor *monitor, struct machine *machine)
{
    struct error error = {0};
    monitor->line[monitor->length] = 0;
    monitor->length = 0;
    if (monitor->echo)
        fputc('\n', monitor->out);
    if (!monitor_execute(machine, monitor->line, monitor->out, &error))
        fprintf(monitor->out, "%s\n", error.text);
    if (!atomic_load(&machine->exiting))
        monitor_prompt(monitor);
    fflush(monitor->out);
}

void monitor_input(struct monitor *monitor, struct machine *machine, uint8_t byte)
{
    if (byte == '\r' || byte == '\n') {
        end_line(monitor, machine);
        return;
    }
    if (byte == 0x7f || byte == 0x08) {
        if (monitor->length && monitor->echo)
            fputs("\b \b", monitor->out);
        monitor->length -= monitor->length > 0;
    } else if (byte == 0x15) { // Ctrl-U
        for (; monitor->length; monitor->length--)
            if (monitor->echo)
                fputs("\b \b", monitor->out);
    } else if (byte >= 0x20 && monitor->length < MONITOR_LINE - 1) {
        monitor->line[monitor->length++] = (char)byte;
        if (monitor->echo)
            fputc(byte, monitor->out);
    }
    fflush(monitor->out);
}
