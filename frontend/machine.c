// Puts a machine together from memory, clock, board, vCPU and engine, and connects the CPU's pins to the board.
#include "frontend/machine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/host.h"
#include "cpu/block.h"
#include "frontend/perf_map.h"
#include "translate/translate.h"

#define ROM_AND_VIDEO_SPACE (UINT64_C(32) << 20) // beside RAM in the memory file: firmware, option ROMs, video RAM
#define TSC_SPAN_TICKS (UINT64_C(1) << 20)       // for so long the vCPU reads the TSC without looking at the clock

const struct engine *const machine_engines[] = {
    &engine_interp,
    &engine_jit,
};
const unsigned machine_engine_count = ARRAY_SIZE(machine_engines);

const struct engine *machine_find_engine(const char *name)
{
    for (unsigned i = 0; i < machine_engine_count; i++)
        if (!strcmp(machine_engines[i]->name, name))
            return machine_engines[i];
    return NULL;
}

void machine_lock(struct machine *machine)
{
    pthread_mutex_lock(&machine->lock);
}

void machine_unlock(struct machine *machine)
{
    pthread_mutex_unlock(&machine->lock);
}

uint64_t machine_count(const struct machine *machine)
{
    const struct cpu *cpu = machine->cpu;
    return cpu ? cpu->instructions + (cpu->running ? cpu->insn_in_block : 0) : 0;
}

// ---- what the CPU sees of the board; every call takes the machine lock ------------------------------------------

static void outside_lock(void *opaque)
{
    machine_lock(opaque);
}

static void outside_unlock(void *opaque)
{
    machine_unlock(opaque);
}

static int outside_acknowledge(void *opaque)
{
    struct machine *machine = opaque;
    machine_lock(machine);
    int vector = machine->pc ? pc_interrupt_acknowledge(machine->pc) : -1;
    machine_unlock(machine);
    return vector;
}

/// On the vCPU's thread. In host mode the TSC follows the clock by the host's ticks, so that host code can read it.
static uint64_t outside_tsc(void *opaque)
{
    struct machine *machine = opaque;
    uint64_t hz = machine->config.model.tsc_hz, ticks;
    struct tick_follower *tsc = &machine->cpu->tsc;
    if (!machine->has_steady_ticks || machine->cpu->counting)
        return clock_scale(clock_now(&machine->clock), hz, 1000000000);
    ticks = host_ticks();
    if (tick_line_holds(&tsc->line, ticks))
        return tick_line_value(&tsc->line, ticks);
    return tick_follower_read(tsc, ticks, clock_scale(clock_now(&machine->clock), hz, 1000000000), hz, TSC_SPAN_TICKS);
}

static uint64_t outside_apic_base_read(void *opaque)
{
    struct machine *machine = opaque;
    if (!machine->pc)
        return 0;
    machine_lock(machine);
    uint64_t value = pc_apic_base_read(machine->pc);
    machine_unlock(machine);
    return value;
}

static bool outside_apic_base_write(void *opaque, uint64_t value)
{
    struct machine *machine = opaque;
    if (!machine->pc)
        return false;
    machine_lock(machine);
    bool good = pc_apic_base_write(machine->pc, value);
    machine_unlock(machine);
    return good;
}

static bool outside_x2apic_read(void *opaque, uint32_t msr, uint64_t *value)
{
    struct machine *machine = opaque;
    if (!machine->pc)
        return false;
    machine_lock(machine);
    bool good = pc_x2apic_read(machine->pc, msr, value);
    machine_unlock(machine);
    return good;
}

static bool outside_x2apic_write(void *opaque, uint32_t msr, uint64_t value)
{
    struct machine *machine = opaque;
    if (!machine->pc)
        return false;
    machine_lock(machine);
    bool good = pc_x2apic_write(machine->pc, msr, value);
    machine_unlock(machine);
    return good;
}

static uint8_t outside_tpr_read(void *opaque)
{
    struct machine *machine = opaque;
    if (!machine->pc)
        return 0;
    machine_lock(machine);
    uint8_t value = pc_apic_tpr_read(machine->pc);
    machine_unlock(machine);
    return value;
}

static void outside_tpr_write(void *opaque, uint8_t value)
{
    struct machine *machine = opaque;
    if (!machine->pc)
        return;
    machine_lock(machine);
    pc_apic_tpr_write(machine->pc, value);
    machine_unlock(machine);
}

static uint64_t outside_tsc_deadline_read(void *opaque)
{
    struct machine *machine = opaque;
    if (!machine->pc)
        return 0;
    machine_lock(machine);
    uint64_t value = pc_tsc_deadline_read(machine->pc);
    machine_unlock(machine);
    return value;
}

static void outside_tsc_deadline_write(void *opaque, uint64_t value)
{
    struct machine *machine = opaque;
    if (!machine->pc)
        return;
    machine_lock(machine);
    pc_tsc_deadline_write(machine->pc, value, outside_tsc(machine));
    machine_unlock(machine);
}

// ---- what the board drives; called with the lock held ----------------------------------------------------------

/// Sets pins and wakes the vCPU. In counting mode the caller runs on the vCPU's own thread, often inside a block: the
/// block is left after this instruction, so that every engine takes the pin at the same boundary.
static void raise_pins(struct machine *machine, uint32_t bits)
{
    if (!machine->cpu)
        return;
    cpu_set_pending(machine->cpu, bits);
    if (machine->config.counting && machine->cpu->running)
        machine->cpu->leave = true;
    pthread_cond_broadcast(&machine->wake);
}

static void receive_intr(void *opaque, unsigned line, bool level)
{
    struct machine *machine = opaque;
    if (level)
        raise_pins(machine, PENDING_INTR);
    else if (machine->cpu)
        cpu_clear_pending(machine->cpu, PENDING_INTR);
}

/// NMI, SMI and INIT are edges; `line` is the pending bit.
static void receive_edge(void *opaque, unsigned line, bool level)
{
    if (level)
        raise_pins(opaque, line);
}

static void receive_a20(void *opaque, unsigned line, bool level)
{
    struct machine *machine = opaque;
    if (!machine->cpu)
        return;
    mmu_set_a20(&machine->cpu->mmu, level);
    if (machine->cpu->running)
        machine->cpu->leave = true; // the next instruction may lie elsewhere
}

static void receive_ignne(void *opaque, unsigned line, bool level)
{
    struct machine *machine = opaque;
    if (machine->cpu)
        cpu_set_ignne(machine->cpu, level);
}

/// What the vCPU drives.
static void receive_ferr(void *opaque, unsigned line, bool level)
{
    struct machine *machine = opaque;
    pc_set_ferr(machine->pc, level);
}

/// The MMU drops its translations at the next instruction boundary: make that come soon.
static void map_changed(void *opaque)
{
    struct machine *machine = opaque;
    raise_pins(machine, PENDING_MAP);
    if (machine->cpu && machine->cpu->running)
        machine->cpu->leave = true;
}

static void control_power_off(void *opaque)
{
    struct machine *machine = opaque;
    if (machine->config.no_shutdown) {
        machine->paused = true;
        raise_pins(machine, PENDING_STOP);
        return;
    }
    machine_exit(machine, EXIT_POWER_OFF, NULL);
}

static void control_reset(void *opaque)
{
    struct machine *machine = opaque;
    raise_pins(machine, PENDING_RESET);
}

static void control_debug_exit(void *opaque, uint32_t code)
{
    machine_exit(opaque, (int)((code << 1 | 1) & 0xff), NULL);
}

// ---- clock ------------------------------------------------------------------------------------------------------

static uint64_t read_count(void *opaque)
{
    return machine_count(opaque);
}

/// The earliest deadline moved earlier: whoever sleeps or runs towards the old one must hear of it.
static void deadline_changed(void *opaque)
{
    struct machine *machine = opaque;
    uint64_t deadline = clock_next_deadline(&machine->clock);
    if (!machine->config.counting) {
        if (deadline < machine->sleep_until) {
            uint64_t one = 1;
            machine->sleep_until = deadline;
            if (write(machine->wake_file, &one, sizeof one) < 0 && errno != EAGAIN)
                machine->sleep_until = CLOCK_NEVER;
        }
        return;
    }
    struct cpu *cpu = machine->cpu;
    if (!cpu || deadline == CLOCK_NEVER)
        return;
    uint64_t count = clock_count_at(&machine->clock, deadline);
    if (count < cpu->instruction_limit) {
        cpu->instruction_limit = count;
        if (cpu->running)
            cpu->leave = true;
    }
}

// ---- creation ---------------------------------------------------------------------------------------------------

static bool create_locks(struct machine *machine, struct error *error)
{
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&machine->lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    pthread_cond_init(&machine->wake, NULL);
    pthread_cond_init(&machine->parked_changed, NULL);
    machine->has_locks = true;
    machine->wake_file = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (machine->wake_file < 0)
        return error_set(error, "cannot create an eventfd: %s", strerror(errno));
    return true;
}

static bool create_memory(struct machine *machine, struct error *error)
{
    const struct machine_config *config = &machine->config;
    if (!memory_create(&machine->memory, config->ram_size + ROM_AND_VIDEO_SPACE, error))
        return error_prefix(error, "%" PRIu64 " MiB of guest memory", config->ram_size >> 20);
    machine->has_memory = true;
    unsigned physical_bits = config->model.physical_bits ? config->model.physical_bits : 40;
    address_space_init(&machine->memory_space, "memory", &machine->memory, BIT(physical_bits), config->log);
    address_space_init(&machine->port_space, "ports", NULL, 0x10000, config->log);
    machine->has_spaces = true;
    return true;
}

static void create_clock(struct machine *machine)
{
    clock_init(&machine->clock, machine->config.counting ? CLOCK_COUNTING : CLOCK_HOST);
    machine->clock.deadline_changed = deadline_changed;
    machine->clock.deadline_opaque = machine;
    machine->clock.read_count = read_count;
    machine->clock.count_opaque = machine;
    machine->clock.ns_per_1024 = UINT64_C(1024) << machine->config.count_shift;
}

static bool create_board(struct machine *machine, struct error *error)
{
    const struct machine_config *config = &machine->config;
    machine->context = (struct device_context){
        .clock = &machine->clock,
        .log = config->log,
        .memory = &machine->memory_space,
        .ports = &machine->port_space,
    };
    struct pc_config pc = {
        .ram_size = config->ram_size,
        .cpu_count = 1,
        .firmware = config->firmware,
        .firmware_size = config->firmware_size,
        .rtc_base = config->rtc_base,
        .tsc_hz = config->model.tsc_hz,
        .debug_console = config->debug_console,
        .has_debug_exit = config->has_debug_exit,
        .debug_exit_port = config->debug_exit_port,
        .control = {control_power_off, control_reset, control_debug_exit, machine},
    };
    for (unsigned i = 0; i < MACHINE_SERIAL_PORTS; i++) {
        pc.serial[i] = config->serial[i];
        pc.serial_present[i] = config->serial_present[i];
    }
    wire_connect(&pc.a20, receive_a20, machine, 0);
    wire_connect(&pc.intr, receive_intr, machine, 0);
    wire_connect(&pc.nmi, receive_edge, machine, PENDING_NMI);
    wire_connect(&pc.smi, receive_edge, machine, PENDING_SMI);
    wire_connect(&pc.init, receive_edge, machine, PENDING_INIT);
    wire_connect(&pc.ignne, receive_ignne, machine, 0);
    machine->pc = pc_create(&machine->context, &pc, error);
    struct pc_ram_piece low;
    if (!machine->pc || pc_ram_pieces(machine->pc, &low, 1) != 1)
        return false;
    machine->has_smm_view = smm_view_create(&machine->smm_view, &machine->memory_space, low.offset, error);
    return machine->has_smm_view;
}

static size_t code_bytes(const struct machine_translator *wanted)
{
    return wanted->code_mib ? (size_t)wanted->code_mib << 20 : TRANSLATE_CODE_DEFAULT;
}

/// What the user asked of an engine that translates.
static bool configure_translator(struct machine *machine, struct error *error)
{
    const struct machine_translator *wanted = &machine->config.translator;
    if (machine->config.engine != &engine_jit)
        return true;
    // perf asks its map for anonymous memory only; of a mapped file it looks for symbols in the file.
    bool single = wanted->single_mapping || wanted->perf_map;
    if ((wanted->code_mib || single) &&
        !translate_set_code_memory(machine->engine_state, code_bytes(wanted), single, error))
        return false;
    if (wanted->threshold_plus)
        translate_set_threshold(machine->engine_state, wanted->threshold_plus - 1);
    uint64_t allowed[2];
    if (wanted->host_features[0] && translate_host_generation(wanted->host_features, allowed))
        translate_limit_host_features(machine->engine_state, allowed);
    if (!wanted->perf_map)
        return true;
    machine->perf_map = perf_map_open(machine->cpu, error);
    if (!machine->perf_map)
        return false;
    struct translate_hooks hooks = {.made = perf_map_add, .opaque = machine->perf_map};
    translate_set_hooks(machine->engine_state, &hooks);
    return true;
}

/// Memory for blocks: programs that run much code once (cc1) fill it and the code memory about alike. Both together are
/// what the emulator takes beside guest RAM.
static size_t blocks_bytes(const struct machine_translator *wanted)
{
    return code_bytes(wanted);
}

static bool create_cpu(struct machine *machine, struct error *error)
{
    struct machine_config *config = &machine->config;
    machine->blocks =
        block_cache_create(&machine->memory, &config->model, blocks_bytes(&config->translator), config->log, error);
    if (!machine->blocks)
        return false;
    struct cpu_config cpu = {
        .model = &config->model,
        .memory = &machine->memory_space,
        .smm_memory = &machine->smm_view.space,
        .ports = &machine->port_space,
        .blocks = machine->blocks,
        .log = config->log,
        .outside =
            {
                .opaque = machine,
                .acknowledge = outside_acknowledge,
                .tsc = outside_tsc,
                .apic_base_read = outside_apic_base_read,
                .apic_base_write = outside_apic_base_write,
                .x2apic_read = outside_x2apic_read,
                .x2apic_write = outside_x2apic_write,
                .tpr_read = outside_tpr_read,
                .tpr_write = outside_tpr_write,
                .tsc_deadline_read = outside_tsc_deadline_read,
                .tsc_deadline_write = outside_tsc_deadline_write,
                .lock = outside_lock,
                .unlock = outside_unlock,
            },
        .ferr = {receive_ferr, machine, 0},
    };
    machine->cpu = cpu_create(&cpu, error);
    if (!machine->cpu)
        return false;
    machine->cpu->instruction_limit = UINT64_MAX;
    machine->has_steady_ticks = host_ticks_are_steady();
    machine->cpu->counting = config->counting || config->limit;
    machine->map_listener = (struct address_space_listener){.map_changed = map_changed, .opaque = machine};
    address_space_listen(&machine->memory_space, &machine->map_listener);
    machine->cpu->mmu.paranoid = config->paranoid;
    cpu_update_mode(machine->cpu);
    if (!config->counting) // counted runs repeat
        machine->cpu->random_state = host_random64();
    machine->engine_state = config->engine->create(machine->cpu, error);
    if (!machine->engine_state && error && error->text[0])
        return error_prefix(error, "-accel %s", config->engine->name);
    return configure_translator(machine, error) || error_prefix(error, "-accel %s", config->engine->name);
}

static void input_due(void *opaque);

struct input_door {
    struct machine *machine;
    unsigned port;
};

static bool create_parts(struct machine *machine, struct error *error)
{
    if (!create_locks(machine, error) || !create_memory(machine, error))
        return false;
    create_clock(machine);
    if (!create_board(machine, error) || !create_cpu(machine, error))
        return false;
    for (unsigned i = 0; i < MACHINE_SERIAL_PORTS; i++) {
        struct input_door *door = calloc(1, sizeof *door);
        if (!door)
            return error_set(error, "out of memory");
        *door = (struct input_door){machine, i};
        event_init(&machine->input[i].event, &machine->clock, input_due, door);
    }
    // The board was reset before the CPU was there to hear its lines.
    if (pc_interrupt_pending(machine->pc))
        raise_pins(machine, PENDING_INTR);
    return true;
}

struct machine *machine_create(const struct machine_config *config, struct error *error)
{
    struct machine *machine = calloc(1, sizeof *machine);
    if (!machine) {
        error_set(error, "out of memory");
        return NULL;
    }
    machine->config = *config;
    machine->wake_file = -1;
    machine->sleep_until = CLOCK_NEVER;
    machine->paused = config->start_stopped;
    machine->next_hash = config->hash_every;
    log_init(&machine->quiet);
    if (!machine->config.log)
        machine->config.log = &machine->quiet;
    if (!create_parts(machine, error)) {
        machine_destroy(machine);
        return NULL;
    }
    return machine;
}

void machine_destroy(struct machine *machine)
{
    if (!machine)
        return;
    for (unsigned i = 0; i < MACHINE_SERIAL_PORTS; i++) {
        if (!machine->input[i].event.opaque)
            continue;
        event_cancel(&machine->input[i].event);
        free(machine->input[i].event.opaque);
    }
    if (machine->cpu && machine->engine_state)
        machine->config.engine->destroy(machine->engine_state);
    perf_map_close(machine->perf_map);
    cpu_destroy(machine->cpu);
    machine->cpu = NULL;
    pc_destroy(machine->pc);
    if (machine->blocks)
        block_cache_destroy(machine->blocks);
    if (machine->has_smm_view)
        smm_view_destroy(&machine->smm_view);
    if (machine->has_spaces) {
        address_space_destroy(&machine->memory_space);
        address_space_destroy(&machine->port_space);
    }
    if (machine->has_memory)
        memory_destroy(&machine->memory);
    if (machine->has_locks) {
        pthread_cond_destroy(&machine->parked_changed);
        pthread_cond_destroy(&machine->wake);
        pthread_mutex_destroy(&machine->lock);
    }
    if (machine->wake_file >= 0)
        close(machine->wake_file);
    free(machine);
}

bool machine_reset(struct machine *machine, struct error *error)
{
    struct cpu *cpu = machine->cpu;
    uint64_t instructions = cpu->instructions; // counting goes on over a reset
    machine_lock(machine);
    machine->resets++;
    block_cache_flush(machine->blocks); // the board and the loader write to memory behind everybody's back
    cpu_clear_pending(cpu, PENDING_NMI | PENDING_SMI | PENDING_INIT | PENDING_RESET);
    pc_reset(machine->pc);
    cpu_reset(cpu, false);
    cpu->instructions = instructions;
    bool good = !machine->boot || machine->boot(machine->boot_opaque, machine, error);
    machine_unlock(machine);
    return good;
}

// ---- input ------------------------------------------------------------------------------------------------------

#define INPUT_RETRY_NS 1000000 // a full receiver is asked again so much later: about 11 characters at 115200 baud

static void input_due(void *opaque)
{
    struct input_door *door = opaque;
    struct machine_input *input = &door->machine->input[door->port];
    while (input->length) {
        size_t run = input->length;
        if (run > MACHINE_INPUT_SIZE - input->start)
            run = MACHINE_INPUT_SIZE - input->start;
        size_t taken = pc_serial_receive(door->machine->pc, door->port, input->bytes + input->start, run);
        if (taken > run)
            taken = run;
        input->start = (input->start + taken) % MACHINE_INPUT_SIZE;
        input->length -= taken;
        if (taken < run)
            break;
    }
    if (input->length)
        event_arm(&input->event, clock_now(&door->machine->clock) + INPUT_RETRY_NS);
}

size_t machine_input_room(const struct machine *machine, unsigned port)
{
    return MACHINE_INPUT_SIZE - machine->input[port].length;
}

void machine_input_add(struct machine *machine, unsigned port, const uint8_t *bytes, size_t length)
{
    struct machine_input *input = &machine->input[port];
    machine_lock(machine);
    for (size_t i = 0; i < length && input->length < MACHINE_INPUT_SIZE; i++) {
        input->bytes[(input->start + input->length) % MACHINE_INPUT_SIZE] = bytes[i];
        input->length++;
    }
    if (!input->event.armed)
        event_arm(&input->event, clock_now(&machine->clock));
    machine_unlock(machine);
}
