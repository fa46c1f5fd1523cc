// Snapshot files: a header of fixed size, the state sections, the memory pages that are not zero, and a checksum over
// all that. The checksum is verified before anything is loaded, and what the sections refuse afterwards is rolled back.
#include "frontend/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/host.h"
#include "base/state.h"
#include "cpu/block.h"
#include "frontend/checksum.h"
#include "frontend/machine.h"

#define SNAPSHOT_VERSION 1
#define STATE_LIMIT (UINT64_C(64) << 20) // sections are small; a header that says otherwise is damaged

static const char snapshot_magic[16] = "doppel snapshot";

struct snapshot_header {
    char magic[16];
    uint32_t version;
    uint32_t device_count;
    uint64_t ram_size;
    uint64_t memory_size; // bytes handed out of the memory file
    uint64_t features[2];
    uint64_t tsc_hz;
    uint64_t counting; // 0, or 1 + shift
    char model[32];
    uint64_t state_length;
    uint64_t page_count;
};

/// What belongs to no device and to no table of the CPU.
struct machine_state {
    uint64_t clock_now;
    uint64_t instructions;
    uint64_t resets;
    uint32_t pending;
    bool a20;
};

static const struct state_field machine_state_fields[] = {
    STATE_U(machine_state, clock_now), STATE_U(machine_state, instructions), STATE_U(machine_state, resets),
    STATE_U(machine_state, pending),   STATE_U(machine_state, a20),
};

static const struct state_table machine_state_table =
    STATE_TABLE("machine", 1, machine_state, machine_state_fields, NULL);

static struct machine_state machine_state_get(const struct machine *machine)
{
    const struct cpu *cpu = machine->cpu;
    return (struct machine_state){
        .clock_now = clock_now(&machine->clock),
        .instructions = cpu->instructions,
        .resets = machine->resets,
        .pending = atomic_load(&cpu->pending) & ~(PENDING_STOP | PENDING_MAP),
        .a20 = cpu->mmu.a20_mask == UINT64_MAX,
    };
}

static void machine_state_put(struct machine *machine, const struct machine_state *state)
{
    struct cpu *cpu = machine->cpu;
    cpu->instructions = state->instructions;
    clock_set(&machine->clock, state->clock_now);
    machine->resets = state->resets;
    cpu_clear_pending(cpu, PENDING_INTR | PENDING_NMI | PENDING_SMI | PENDING_INIT | PENDING_RESET);
    if (state->pending)
        cpu_set_pending(cpu,
                        state->pending & (PENDING_INTR | PENDING_NMI | PENDING_SMI | PENDING_INIT | PENDING_RESET));
    mmu_set_a20(&cpu->mmu, state->a20);
}

// ---- sections ---------------------------------------------------------------------------------------------------

static bool save_sections(struct machine *machine, struct state_writer *writer, struct error *error)
{
    struct machine_state state = machine_state_get(machine);
    cpu_normalize(machine->cpu);
    state_save(writer, &machine_state_table, "machine", &state);
    state_save(writer, &cpu_state_table, "cpu0", machine->cpu);
    for (unsigned i = 0; i < pc_device_count(machine->pc); i++) {
        struct device *device = pc_device(machine->pc, i);
        if (device->class->state)
            state_save(writer, device->class->state, device->id, device);
    }
    return !writer->failed || error_set(error, "out of memory for the machine's state");
}

static bool load_sections(struct machine *machine, const uint8_t *data, size_t length, struct error *error)
{
    struct state_reader reader = {.data = data, .length = length};
    struct machine_state state = {0};
    if (!state_load(&reader, &machine_state_table, "machine", &state, error))
        return false;
    // The clock goes first: timers are armed relative to it. The CPU's own table may restore counters: set them after.
    clock_set(&machine->clock, state.clock_now);
    if (!state_load(&reader, &cpu_state_table, "cpu0", machine->cpu, error))
        return false;
    for (unsigned i = 0; i < pc_device_count(machine->pc); i++) {
        struct device *device = pc_device(machine->pc, i);
        if (device->class->state && !state_load(&reader, device->class->state, device->id, device, error))
            return false;
    }
    if (reader.position != reader.length)
        return error_set(error, "%zu bytes follow the last device's state", reader.length - reader.position);
    machine_state_put(machine, &state);
    cpu_update_mode(machine->cpu);
    mmu_flush_all(&machine->cpu->mmu);
    return true;
}

/// All or nothing: what a refused file has changed is undone from a copy.
static bool load_sections_or_roll_back(struct machine *machine, const uint8_t *data, size_t length, struct error *error)
{
    struct state_writer before = {0};
    bool good = save_sections(machine, &before, error);
    if (good && !load_sections(machine, data, length, error)) {
        good = false;
        struct error ignored = {0};
        load_sections(machine, before.data, before.length, &ignored);
    }
    state_writer_free(&before);
    return good;
}

// ---- pages ------------------------------------------------------------------------------------------------------

static bool page_is_zero(const uint8_t *page)
{
    uint64_t any = 0;
    for (unsigned i = 0; i < PAGE_SIZE; i += 64) {
        for (unsigned j = 0; j < 64; j += 8)
            any |= load_le64(page + i + j);
        if (any)
            return false;
    }
    return true;
}

/// Calls `visit` for every page that is not zero, in order. Holes of the memory file are skipped unread.
static bool for_each_page(struct machine *machine, bool (*visit)(void *opaque, uint64_t number, const uint8_t *page),
                          void *opaque)
{
    const struct memory *memory = &machine->memory;
    uint64_t position = 0, end = memory->allocated;
    while (position < end) {
        off_t data = lseek(memory->file, (off_t)position, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            return true; // nothing but a hole up to the end
        off_t hole = data < 0 ? -1 : lseek(memory->file, data, SEEK_HOLE);
        uint64_t from = data < 0 ? position : align_down((uint64_t)data, PAGE_SIZE);
        uint64_t to = hole < 0 ? end : align_up((uint64_t)hole, PAGE_SIZE);
        if (to > end)
            to = end;
        for (; from < to; from += PAGE_SIZE)
            if (!page_is_zero(memory->host + from) && !visit(opaque, from / PAGE_SIZE, memory->host + from))
                return false;
        position = to;
    }
    return true;
}

static bool count_page(void *opaque, uint64_t number, const uint8_t *page)
{
    ++*(uint64_t *)opaque;
    return true;
}

static bool hash_page(void *opaque, uint64_t number, const uint8_t *page)
{
    struct checksum sum;
    checksum_init(&sum);
    checksum_add(&sum, page, PAGE_SIZE);
    *(uint64_t *)opaque += checksum_mix(checksum_finish(&sum) ^ checksum_mix(number + 1));
    return true;
}

uint64_t snapshot_hash(struct machine *machine)
{
    uint64_t pages = 0;
    for_each_page(machine, hash_page, &pages);
    cpu_normalize(machine->cpu);
    struct machine_state state = machine_state_get(machine);
    uint64_t hash = state_hash(0, &machine_state_table, &state);
    hash = state_hash(hash, &cpu_state_table, machine->cpu);
    for (unsigned i = 0; i < pc_device_count(machine->pc); i++) {
        struct device *device = pc_device(machine->pc, i);
        if (device->class->state)
            hash = state_hash(hash, device->class->state, device);
    }
    return checksum_mix(hash ^ checksum_mix(pages));
}

// ---- the file ---------------------------------------------------------------------------------------------------

struct output {
    FILE *file;
    struct checksum sum;
};

static bool put(struct output *out, const void *bytes, size_t length)
{
    checksum_add(&out->sum, bytes, length);
    return fwrite(bytes, 1, length, out->file) == length;
}

static bool put_page(void *opaque, uint64_t number, const uint8_t *page)
{
    uint8_t key[8];
    store_le64(key, number);
    return put(opaque, key, sizeof key) && put(opaque, page, PAGE_SIZE);
}

#define HEADER_SIZE 128

static struct snapshot_header make_header(struct machine *machine)
{
    const struct machine_config *config = &machine->config;
    struct snapshot_header header = {
        .version = SNAPSHOT_VERSION,
        .device_count = pc_device_count(machine->pc),
        .ram_size = config->ram_size,
        .memory_size = machine->memory.allocated,
        .features = {config->model.features[0], config->model.features[1]},
        .tsc_hz = config->model.tsc_hz,
        .counting = config->counting ? 1 + config->count_shift : 0,
    };
    memcpy(header.magic, snapshot_magic, sizeof header.magic);
    snprintf(header.model, sizeof header.model, "%s", config->model.name ? config->model.name : "");
    return header;
}

static void encode_header(const struct snapshot_header *header, uint8_t *to)
{
    memset(to, 0, HEADER_SIZE);
    memcpy(to, header->magic, 16);
    store_le32(to + 16, header->version);
    store_le32(to + 20, header->device_count);
    store_le64(to + 24, header->ram_size);
    store_le64(to + 32, header->memory_size);
    store_le64(to + 40, header->features[0]);
    store_le64(to + 48, header->features[1]);
    store_le64(to + 56, header->tsc_hz);
    store_le64(to + 64, header->counting);
    memcpy(to + 72, header->model, 32);
    store_le64(to + 104, header->state_length);
    store_le64(to + 112, header->page_count);
}

static struct snapshot_header decode_header(const uint8_t *from)
{
    struct snapshot_header header = {
        .version = load_le32(from + 16),
        .device_count = load_le32(from + 20),
        .ram_size = load_le64(from + 24),
        .memory_size = load_le64(from + 32),
        .features = {load_le64(from + 40), load_le64(from + 48)},
        .tsc_hz = load_le64(from + 56),
        .counting = load_le64(from + 64),
        .state_length = load_le64(from + 104),
        .page_count = load_le64(from + 112),
    };
    memcpy(header.magic, from, 16);
    memcpy(header.model, from + 72, 32);
    header.model[31] = 0;
    return header;
}

bool snapshot_write(struct machine *machine, FILE *file, struct error *error)
{
    struct output out = {.file = file};
    struct state_writer state = {0};
    struct snapshot_header header = make_header(machine);
    uint8_t bytes[HEADER_SIZE], trailer[8];
    checksum_init(&out.sum);
    bool good = save_sections(machine, &state, error);
    header.state_length = state.length;
    for_each_page(machine, count_page, &header.page_count);
    encode_header(&header, bytes);
    errno = 0;
    good = good && put(&out, bytes, sizeof bytes) && put(&out, state.data, state.length) &&
           for_each_page(machine, put_page, &out);
    store_le64(trailer, checksum_finish(&out.sum));
    good = good && fwrite(trailer, 1, sizeof trailer, file) == sizeof trailer && fflush(file) == 0;
    state_writer_free(&state);
    return good || error_set(error, "%s", errno ? strerror(errno) : "write failed");
}

bool snapshot_save(struct machine *machine, const char *path, struct error *error)
{
    char temporary[4096];
    if (snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid()) >= (int)sizeof temporary)
        return error_set(error, "the file name is too long: %s", path);
    FILE *file = fopen(temporary, "wxbe");
    if (!file)
        return error_set(error, "cannot create %s: %s", temporary, strerror(errno));
    bool good =
        snapshot_write(machine, file, error) && (fsync(fileno(file)) == 0 || error_set(error, "%s", strerror(errno)));
    if (fclose(file) != 0 && good)
        good = error_set(error, "%s", strerror(errno));
    if (good && rename(temporary, path) != 0)
        good = error_set(error, "%s", strerror(errno));
    if (!good) {
        unlink(temporary);
        return error_prefix(error, "cannot save to %s", path);
    }
    return true;
}

static bool check_header(struct machine *machine, const struct snapshot_header *file, struct error *error)
{
    struct snapshot_header here = make_header(machine);
    if (file->version != SNAPSHOT_VERSION)
        return error_set(error, "it has format version %" PRIu32 ", this doppel reads version %d", file->version,
                         SNAPSHOT_VERSION);
    if (file->ram_size != here.ram_size)
        return error_set(error, "it was made with %" PRIu64 " MiB of RAM, this machine has %" PRIu64 " (use -m)",
                         file->ram_size >> 20, here.ram_size >> 20);
    if (memcmp(file->features, here.features, sizeof here.features) || strcmp(file->model, here.model) ||
        file->tsc_hz != here.tsc_hz)
        return error_set(error, "it was made with another CPU (%s), this machine has %s (use -cpu)", file->model,
                         here.model);
    if (file->counting != here.counting)
        return error_set(error, "it was made %s -icount%s, this machine runs %s", file->counting ? "with" : "without",
                         file->counting && here.counting ? " and another shift" : "",
                         here.counting ? "with it" : "without it");
    if (file->device_count != here.device_count || file->memory_size != here.memory_size)
        return error_set(error,
                         "it was made with other devices or another firmware (%" PRIu32 " devices, here %" PRIu32
                         "; %" PRIu64 " KiB of memory, here %" PRIu64 ")",
                         file->device_count, here.device_count, file->memory_size >> 10, here.memory_size >> 10);
    return true;
}

/// First pass: lengths add up and the checksum is right. Leaves the file after the header.
static bool verify_file(FILE *file, struct snapshot_header *header, struct error *error)
{
    uint8_t bytes[HEADER_SIZE], trailer[8], chunk[16384];
    size_t got = fread(bytes, 1, sizeof bytes, file);
    if (got < sizeof snapshot_magic || memcmp(bytes, snapshot_magic, sizeof snapshot_magic))
        return error_set(error, "it is not a snapshot of doppel");
    if (got < sizeof bytes)
        return error_set(error, "it is truncated");
    *header = decode_header(bytes);
    if (header->version != SNAPSHOT_VERSION)
        return true; // the caller says so; another version may have another layout
    if (header->state_length > STATE_LIMIT || header->memory_size > MACHINE_MAX_RAM * 2 ||
        header->page_count > header->memory_size / PAGE_SIZE)
        return error_set(error, "it is damaged (impossible lengths)");
    uint64_t rest = header->state_length + header->page_count * (8 + PAGE_SIZE);
    if (fseeko(file, 0, SEEK_END) != 0 || ftello(file) < 0)
        return error_set(error, "%s", strerror(errno));
    uint64_t length = (uint64_t)ftello(file), expected = HEADER_SIZE + rest + sizeof trailer;
    if (length != expected)
        return error_set(error, "it is %s: %" PRIu64 " bytes instead of %" PRIu64,
                         length < expected ? "truncated" : "damaged", length, expected);
    if (fseeko(file, HEADER_SIZE, SEEK_SET) != 0)
        return error_set(error, "%s", strerror(errno));
    struct checksum sum;
    checksum_init(&sum);
    checksum_add(&sum, bytes, sizeof bytes);
    while (rest) {
        size_t part = rest < sizeof chunk ? (size_t)rest : sizeof chunk;
        if (fread(chunk, 1, part, file) != part)
            return error_set(error, "it cannot be read: %s", strerror(errno));
        checksum_add(&sum, chunk, part);
        rest -= part;
    }
    if (fread(trailer, 1, sizeof trailer, file) != sizeof trailer || load_le64(trailer) != checksum_finish(&sum))
        return error_set(error, "it is damaged (wrong checksum)");
    return fseeko(file, HEADER_SIZE, SEEK_SET) == 0 || error_set(error, "%s", strerror(errno));
}

/// The numbers of the pages must rise and lie in memory. Checked before memory is touched.
static bool check_pages(FILE *file, const struct snapshot_header *header, struct error *error)
{
    uint64_t last = 0;
    for (uint64_t i = 0; i < header->page_count; i++) {
        uint8_t key[8];
        if (fread(key, 1, sizeof key, file) != sizeof key || fseeko(file, PAGE_SIZE, SEEK_CUR) != 0)
            return error_set(error, "it cannot be read: %s", strerror(errno));
        uint64_t number = load_le64(key);
        if (number >= header->memory_size / PAGE_SIZE || (i && number <= last))
            return error_set(error, "it is damaged (page %" PRIu64 " out of order)", number);
        last = number;
    }
    return true;
}

static bool load_pages(struct machine *machine, FILE *file, uint64_t page_count, struct error *error)
{
    struct memory *memory = &machine->memory;
    block_cache_flush(machine->blocks);
    host_memory_file_discard(memory->file, 0, memory->allocated);
    for (uint64_t i = 0; i < page_count; i++) {
        uint8_t key[8];
        if (fread(key, 1, sizeof key, file) != sizeof key)
            return error_set(error, "it cannot be read any more");
        uint64_t number = load_le64(key);
        if (number >= memory->allocated / PAGE_SIZE ||
            fread(memory->host + number * PAGE_SIZE, 1, PAGE_SIZE, file) != PAGE_SIZE)
            return error_set(error, "it cannot be read any more");
    }
    return true;
}

bool snapshot_read(struct machine *machine, FILE *file, struct error *error)
{
    struct snapshot_header header;
    if (!verify_file(file, &header, error) || !check_header(machine, &header, error))
        return false;
    uint8_t *state = malloc(header.state_length ? header.state_length : 1);
    if (!state)
        return error_set(error, "out of memory");
    bool good = fread(state, 1, header.state_length, file) == header.state_length ||
                error_set(error, "it cannot be read: %s", strerror(errno));
    off_t pages = ftello(file);
    good = good && check_pages(file, &header, error) &&
           (fseeko(file, pages, SEEK_SET) == 0 || error_set(error, "%s", strerror(errno))) &&
           load_sections_or_roll_back(machine, state, header.state_length, error) &&
           load_pages(machine, file, header.page_count, error);
    free(state);
    if (good && machine->config.hash_every)
        machine->next_hash = (machine_count(machine) / machine->config.hash_every + 1) * machine->config.hash_every;
    return good;
}

bool snapshot_load(struct machine *machine, const char *path, struct error *error)
{
    FILE *file = fopen(path, "rbe");
    if (!file)
        return error_set(error, "cannot open snapshot %s: %s", path, strerror(errno));
    bool good = snapshot_read(machine, file, error);
    fclose(file);
    return good || error_prefix(error, "cannot load snapshot %s", path);
}
