// See support_board.h.
#include "devices/support_board.h"

static void intr_changed(void *opaque, unsigned line, bool level)
{
    ((struct board *)opaque)->intr = level;
}

static void a20_changed(void *opaque, unsigned line, bool level)
{
    ((struct board *)opaque)->a20 = level;
}

static void pulsed(void *opaque, unsigned line, bool level)
{
    struct board *board = opaque;
    unsigned *counters[] = {&board->nmi, &board->smi, &board->init};
    *counters[line] += level;
}

static void power_off(void *opaque)
{
    ((struct board *)opaque)->power_offs++;
}

static void reset_asked(void *opaque)
{
    ((struct board *)opaque)->resets++;
}

static void debug_exit(void *opaque, uint32_t code)
{
    struct board *board = opaque;
    board->exits++;
    board->exit_code = code;
}

static void console_write(void *opaque, const uint8_t *bytes, size_t length)
{
    struct board *board = opaque;
    for (size_t i = 0; i < length && board->console_length < sizeof board->console - 1; i++)
        board->console[board->console_length++] = (char)bytes[i];
}

void board_setup_bare(struct board *board, uint64_t memory_size)
{
    struct error error = {{0}};
    memset(board, 0, sizeof *board);
    log_init(&board->log);
    clock_init(&board->clock, CLOCK_MANUAL);
    if (!memory_create(&board->memory, memory_size, &error))
        fail_msg("%s", error.text);
    address_space_init(&board->space, "memory", &board->memory, UINT64_C(1) << 40, &board->log);
    address_space_init(&board->ports, "ports", NULL, 0x10000, &board->log);
    board->context = (struct device_context){&board->clock, &board->log, &board->space, &board->ports};
}

void board_setup(struct board *board, uint64_t ram_size, const uint8_t *firmware, size_t firmware_size)
{
    struct error error = {{0}};
    board_setup_bare(board, ram_size + (16u << 20));
    struct pc_config *config = &board->config;
    config->ram_size = ram_size;
    config->cpu_count = 1;
    config->firmware = firmware;
    config->firmware_size = firmware_size;
    config->rtc_base = 1700000000;
    config->tsc_hz = 2000000000;
    config->serial_present[0] = config->serial_present[1] = config->serial_present[2] = true;
    config->serial[0] = config->debug_console = (struct character_sink){console_write, board};
    config->has_debug_exit = true;
    config->debug_exit_port = 0x501;
    config->control = (struct machine_control){power_off, reset_asked, debug_exit, board};
    wire_connect(&config->intr, intr_changed, board, 0);
    wire_connect(&config->a20, a20_changed, board, 0);
    wire_connect(&config->nmi, pulsed, board, 0);
    wire_connect(&config->smi, pulsed, board, 1);
    wire_connect(&config->init, pulsed, board, 2);
    board->pc = pc_create(&board->context, config, &error);
    if (!board->pc)
        fail_msg("%s", error.text);
}

void board_teardown(struct board *board)
{
    pc_destroy(board->pc);
    address_space_destroy(&board->space);
    address_space_destroy(&board->ports);
    memory_destroy(&board->memory);
}

static void probe_changed(void *opaque, unsigned line, bool level)
{
    struct probe *probe = opaque;
    probe->edges += level && !probe->level;
    probe->level = level;
}

void probe_connect(struct wire *wire, struct probe *probe)
{
    wire_connect(wire, probe_changed, probe, 0);
}

uint8_t in8(struct board *board, uint16_t port)
{
    return (uint8_t)address_space_read(&board->ports, port, 1);
}

uint32_t in32(struct board *board, uint16_t port)
{
    return (uint32_t)address_space_read(&board->ports, port, 4);
}

void out8(struct board *board, uint16_t port, uint8_t value)
{
    address_space_write(&board->ports, port, value, 1);
}

void out16(struct board *board, uint16_t port, uint16_t value)
{
    address_space_write(&board->ports, port, value, 2);
}

void out32(struct board *board, uint16_t port, uint32_t value)
{
    address_space_write(&board->ports, port, value, 4);
}

static void select_config(struct board *board, unsigned slot, unsigned function, unsigned offset)
{
    out32(board, 0xCF8, 0x80000000u | slot << 11 | function << 8 | (offset & 0xFC));
}

uint32_t pci_read(struct board *board, unsigned slot, unsigned function, unsigned offset)
{
    select_config(board, slot, function, offset);
    return in32(board, 0xCFC);
}

void pci_write8(struct board *board, unsigned slot, unsigned function, unsigned offset, uint8_t value)
{
    select_config(board, slot, function, offset);
    out8(board, (uint16_t)(0xCFC + (offset & 3)), value);
}

void pci_write32(struct board *board, unsigned slot, unsigned function, unsigned offset, uint32_t value)
{
    select_config(board, slot, function, offset);
    out32(board, 0xCFC, value);
}

uint32_t mem32(struct board *board, uint64_t address)
{
    return (uint32_t)address_space_read(&board->space, address, 4);
}

void set_mem32(struct board *board, uint64_t address, uint32_t value)
{
    address_space_write(&board->space, address, value, 4);
}

uint64_t random_next(uint64_t *state)
{
    *state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = *state;
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}
