// See world.h.
#include "translate/world.h"

#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "cpu/block.h"

#define WORLD_BLOCK_BYTES ((size_t)8 << 20)
#define REDUCE_ROUNDS 4096 // each adds a page at least

// ---- the description --------------------------------------------------------------------------------------------
void world_description_free(struct world_description *d)
{
    for (unsigned i = 0; i < d->page_count; i++)
        free(d->page[i].bytes);
    free(d->page);
    d->page = NULL;
    d->page_count = d->page_capacity = 0;
    state_writer_free(&d->state);
}

static bool describe_map(struct world_description *d, const struct address_space *space, struct error *error)
{
    for (size_t i = 0; i < space->flat_count; i++) {
        const struct flat_range *flat = &space->flat[i];
        bool memory = flat->kind != RANGE_DEVICE && flat->memory_offset != UINT64_MAX;
        if (!flat->range)
            continue;
        if (d->piece_count == WORLD_MAX_PIECES)
            return error_set(error, "the memory map has more than %d pieces", WORLD_MAX_PIECES);
        if ((flat->start | flat->end) & ~PAGE_MASK)
            return error_set(error, "a piece of the memory map is no whole pages");
        d->piece[d->piece_count++] = (struct world_piece){
            .start = flat->start,
            .size = flat->end - flat->start,
            .offset = memory ? flat->memory_offset : 0,
            .kind = !memory                      ? WORLD_DEVICE
                    : flat->kind == RANGE_MEMORY ? WORLD_RAM
                                                 : WORLD_ROM,
        };
    }
    return true;
}

bool world_describe(struct world_description *d, struct cpu *cpu, struct error *error)
{
    *d = (struct world_description){
        .model = *cpu->model,
        .memory_size = cpu->memory->memory->size,
        .a20_off = cpu->mmu.a20_mask != UINT64_MAX,
        .first = cpu->instructions,
    };
    cpu_normalize(cpu);
    state_save(&d->state, &cpu_state_table, "cpu", cpu);
    if (d->state.failed)
        return error_set(error, "out of memory");
    return describe_map(d, cpu->mmu.space, error);
}

static struct world_page *find_page(struct world_description *d, uint64_t number)
{
    for (unsigned i = 0; i < d->page_count; i++)
        if (d->page[i].number == number)
            return &d->page[i];
    return NULL;
}

bool world_add_page(struct world_description *d, uint64_t number, const void *bytes, struct error *error)
{
    struct world_page *page = find_page(d, number);
    if (number >= d->memory_size >> PAGE_SHIFT)
        return error_set(error, "there is no page %llx", (unsigned long long)number);
    if (!page) {
        if (d->page_count == WORLD_MAX_PAGES)
            return error_set(error, "more than %d pages", WORLD_MAX_PAGES);
        if (d->page_count == d->page_capacity) {
            unsigned capacity = d->page_capacity ? d->page_capacity * 2 : 32;
            struct world_page *more = realloc(d->page, capacity * sizeof *more);
            if (!more)
                return error_set(error, "out of memory");
            d->page = more;
            d->page_capacity = capacity;
        }
        page = &d->page[d->page_count];
        *page = (struct world_page){.number = number, .bytes = malloc(PAGE_SIZE)};
        if (!page->bytes)
            return error_set(error, "out of memory");
        d->page_count++;
    }
    memcpy(page->bytes, bytes, PAGE_SIZE);
    return true;
}

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && !memcmp(page, page + 1, PAGE_SIZE - 1);
}

bool world_add_memory(struct world_description *d, const struct memory *memory, struct error *error)
{
    uint64_t start = 0, end = 0;
    while (host_memory_file_find(memory->file, end, memory->size, &start, &end)) {
        for (uint64_t at = start & PAGE_MASK; at < end; at += PAGE_SIZE)
            if (!is_zero(memory->host + at) && !world_add_page(d, at >> PAGE_SHIFT, memory->host + at, error))
                return false;
    }
    return true;
}

static int compare_pages(const void *a, const void *b)
{
    uint64_t x = ((const struct world_page *)a)->number, y = ((const struct world_page *)b)->number;
    return x < y ? -1 : x > y;
}

/// Adds what the run has touched and the description lacks; *grew tells whether there was something.
static bool add_touched(struct world_description *d, const struct world *world, const uint8_t *memory, bool *grew,
                        struct error *error)
{
    uint64_t start = 0, end = 0;
    *grew = false;
    while (host_memory_file_find(world->memory.file, end, world->memory.size, &start, &end)) {
        for (uint64_t at = start & PAGE_MASK; at < end; at += PAGE_SIZE) {
            if (find_page(d, at >> PAGE_SHIFT))
                continue;
            if (!world_add_page(d, at >> PAGE_SHIFT, memory + at, error))
                return false;
            *grew = true;
        }
    }
    return true;
}

static void drop_zero_pages(struct world_description *d)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < d->page_count; i++) {
        if (is_zero(d->page[i].bytes))
            free(d->page[i].bytes);
        else
            d->page[kept++] = d->page[i];
    }
    d->page_count = kept;
    qsort(d->page, kept, sizeof *d->page, compare_pages);
}

bool world_reduce(struct world_description *d, const struct engine *engine, const uint8_t *memory, struct error *error)
{
    struct world world;
    bool good, grew = true;
    for (unsigned i = 0; i < d->page_count; i++)
        free(d->page[i].bytes);
    d->page_count = 0;
    if (!world_create(&world, d, engine, NULL, error))
        return false;
    // Without its pages the run goes wrong soon, but not before it has touched the first one that it lacks.
    good = true;
    for (unsigned i = 0; good && grew && i < REDUCE_ROUNDS; i++) {
        good = world_load(&world, d, error);
        if (good) {
            world_run_to(&world, d->first + d->instructions);
            good = add_touched(d, &world, memory, &grew, error);
        }
    }
    world_destroy(&world);
    drop_zero_pages(d);
    return good;
}

// ---- the device and the pins ------------------------------------------------------------------------------------
static void raise(struct world *world, uint8_t vector)
{
    if (vector >= 32)
        world->vector = vector;
    cpu_set_pending(world->cpu, vector >= 32 ? PENDING_INTR : vector == VECTOR_NMI ? PENDING_NMI : PENDING_SMI);
    if (!world->cpu->running)
        return;
    world->cpu->leave = true; // taken at the next boundary, by every engine
    // Without counts a shadow of STI stays behind. The instruction that writes is the last that it can have held.
    if (world->uncounted && world->cpu->shadow == SHADOW_STI)
        world->cpu->shadow = SHADOW_NONE;
}

/// What ends a run that is not counted: both engines see as many of these at the same places.
static void note_event(struct world *world)
{
    if (!world->uncounted || ++world->events < world->uncounted)
        return;
    cpu_set_pending(world->cpu, PENDING_STOP);
    if (world->cpu->running)
        world->cpu->leave = true;
}

static uint64_t device_read(void *opaque, uint64_t offset, unsigned size)
{
    struct world *world = opaque;
    // Code is fetched once more behind a poll that finds nothing, and nobody says where those come without counts.
    if (world->uncounted && !world->cpu->running)
        return (offset + 1) * UINT64_C(0x9e3779b97f4a7c15) >> 7;
    note_event(world);
    world->device = (world->device ^ offset ^ (uint64_t)size << 32) * UINT64_C(0x9e3779b97f4a7c15) + 1;
    return world->device >> 7;
}

static void device_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct world *world = opaque;
    note_event(world);
    world->device = (world->device ^ offset ^ (uint64_t)size << 40 ^ value) * UINT64_C(0xbf58476d1ce4e5b9) + 3;
    if (world->device_interrupts && (world->device >> 20) % world->device_interrupts == 0)
        raise(world, (uint8_t)(32 + (world->device >> 52) % 64));
}

static const struct region_ops device_ops = {
    .read = device_read, .write = device_write, .max_size = 8, .name = "world"};

static int acknowledge(void *opaque)
{
    struct world *world = opaque;
    cpu_clear_pending(world->cpu, PENDING_INTR);
    return world->vector;
}

/// Time stamps count instructions, also inside a block; where those are not counted, time stamps.
static uint64_t read_tsc(void *opaque)
{
    struct world *world = opaque;
    note_event(world);
    if (world->uncounted)
        return world->events * UINT64_C(0x9e3779b9);
    return world->cpu->instructions + (world->cpu->running ? world->cpu->insn_in_block : 0);
}

// ---- the world --------------------------------------------------------------------------------------------------
static bool check_piece(const struct world_piece *piece, uint64_t memory_size, struct error *error)
{
    uint64_t limit = BIT(WORLD_PHYSICAL_BITS);
    if (((piece->start | piece->size | piece->offset) & ~PAGE_MASK) || !piece->size || piece->size > limit ||
        piece->start > limit - piece->size)
        return error_set(error, "a piece of the memory map is no range of pages");
    if (piece->kind != WORLD_DEVICE && (piece->size > memory_size || piece->offset > memory_size - piece->size))
        return error_set(error, "a piece of the memory map leads outside the memory file");
    return true;
}

static bool make_map(struct world *world, const struct world_description *d, struct error *error)
{
    address_space_begin(&world->space);
    for (unsigned i = 0; i < d->piece_count; i++) {
        const struct world_piece *p = &d->piece[i];
        struct range *range;
        if (!check_piece(p, d->memory_size, error))
            return false;
        if (p->kind == WORLD_DEVICE)
            range = address_space_map_device(&world->space, "device", p->start, p->size, 0, &device_ops, world, error);
        else
            range = address_space_map_memory(&world->space, "memory", p->start, p->size, 0, p->offset,
                                             p->kind == WORLD_ROM, error);
        if (!range)
            return false;
    }
    address_space_commit(&world->space);
    return address_space_map_device(&world->ports, "ports", 0, 0x10000, 0, &device_ops, world, error) != NULL;
}

static bool create_parts(struct world *world, const struct world_description *d, const struct log *log,
                         struct error *error)
{
    struct cpu_config config = {
        .model = &world->model,
        .memory = &world->space,
        .smm_memory = &world->space,
        .ports = &world->ports,
        .log = log,
        .outside = {.opaque = world, .acknowledge = acknowledge, .tsc = read_tsc},
    };
    if (!d->memory_size || d->memory_size > WORLD_MAX_MEMORY || (d->memory_size & ~PAGE_MASK))
        return error_set(error, "a memory of %llu bytes is not possible", (unsigned long long)d->memory_size);
    if (!memory_create(&world->memory, d->memory_size, error))
        return false;
    world->has_memory = true;
    if (memory_allocate(&world->memory, d->memory_size) != 0)
        return error_set(error, "the memory file is too small");
    address_space_init(&world->space, "memory", &world->memory, BIT(WORLD_PHYSICAL_BITS), log);
    address_space_init(&world->ports, "ports", NULL, 0x10000, log);
    world->has_spaces = true;
    if (!make_map(world, d, error))
        return false;
    world->blocks = block_cache_create(&world->memory, &world->model, WORLD_BLOCK_BYTES, log, error);
    config.blocks = world->blocks;
    if (world->blocks)
        world->cpu = cpu_create(&config, error);
    if (!world->cpu)
        return false;
    world->state = world->engine->create(world->cpu, error);
    return world->state && world_load(world, d, error);
}

bool world_create(struct world *world, const struct world_description *d, const struct engine *engine,
                  const struct log *log, struct error *error)
{
    memset(world, 0, sizeof *world);
    world->engine = engine;
    world->model = d->model;
    log_init(&world->quiet);
    if (create_parts(world, d, log ? log : &world->quiet, error))
        return true;
    world_destroy(world);
    return false;
}

bool world_load(struct world *world, const struct world_description *d, struct error *error)
{
    struct state_reader reader = {.data = d->state.data, .length = d->state.length};
    block_cache_flush(world->blocks);
    block_cache_set_length(world->blocks, d->block_length);
    host_memory_file_discard(world->memory.file, 0, world->memory.size);
    for (unsigned i = 0; i < d->page_count; i++)
        memcpy(world->memory.host + (d->page[i].number << PAGE_SHIFT), d->page[i].bytes, PAGE_SIZE);
    world->device = d->device;
    world->device_interrupts = d->device_interrupts;
    world->uncounted = d->uncounted;
    world->events = 0;
    world->cpu->counting = !d->uncounted;
    world->vector = 0;
    atomic_store(&world->abandoned, false);
    memcpy(world->interrupt, d->interrupt, sizeof world->interrupt);
    world->interrupt_count = d->interrupt_count;
    world->next_interrupt = 0;
    cpu_clear_pending(world->cpu, UINT32_MAX);
    cpu_reset(world->cpu, false);
    if (d->state.length && !state_load(&reader, &cpu_state_table, "cpu", world->cpu, error))
        return false;
    // The state can hold an interrupt whose source is not part of it.
    cpu_clear_pending(world->cpu, PENDING_INTR | PENDING_STOP);
    mmu_set_a20(&world->cpu->mmu, !d->a20_off);
    return true;
}

void world_destroy(struct world *world)
{
    if (world->cpu && world->state)
        world->engine->destroy(world->state);
    cpu_destroy(world->cpu);
    block_cache_destroy(world->blocks);
    if (world->has_spaces) {
        address_space_destroy(&world->space);
        address_space_destroy(&world->ports);
    }
    if (world->has_memory)
        memory_destroy(&world->memory);
    memset(world, 0, sizeof *world);
}

static bool is_due(const struct world *world, bool halted)
{
    if (world->next_interrupt == world->interrupt_count)
        return false;
    return halted || (!world->uncounted && world->interrupt[world->next_interrupt].count <= world->cpu->instructions);
}

/// The pin rises with the interrupts that are due; `halted`: the next one is, and without counts no other.
static void raise_due(struct world *world, bool halted)
{
    for (; is_due(world, halted); halted = false)
        raise(world, world->interrupt[world->next_interrupt++].vector);
}

bool world_run_to(struct world *world, uint64_t count)
{
    struct cpu *cpu = world->cpu;
    if (!cpu->counting)
        count = UINT64_MAX;
    while (cpu->instructions < count) {
        raise_due(world, false);
        cpu->instruction_limit = count;
        if (!world->uncounted && world->next_interrupt < world->interrupt_count &&
            world->interrupt[world->next_interrupt].count < cpu->instruction_limit)
            cpu->instruction_limit = world->interrupt[world->next_interrupt].count;
        switch (world->engine->run(world->state, cpu)) {
        case STOP_DEADLINE:
            break;
        case STOP_REQUEST:
            if (atomic_load(&world->abandoned) || world->uncounted)
                return false;
            break;
        case STOP_HALT:
            if (world->next_interrupt == world->interrupt_count)
                return false;
            raise_due(world, true);
            break;
        default:
            return false;
        }
    }
    return true;
}

void world_abandon(struct world *world)
{
    atomic_store(&world->abandoned, true);
    cpu_set_pending(world->cpu, PENDING_STOP);
}
