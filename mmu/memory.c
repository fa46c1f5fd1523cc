// The memory file, and address spaces as maps: ranges with priorities, flattened into sorted pieces. Accesses
// through them are in access.c. Knows no CPU and no device.
#include "mmu/memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/host.h"

bool memory_create(struct memory *memory, uint64_t size, struct error *error)
{
    *memory = (struct memory){.file = -1};
    if (size == 0 || size % PAGE_SIZE)
        return error_set(error, "guest memory of %llu bytes is not a positive multiple of %u", (unsigned long long)size,
                         PAGE_SIZE);
    memory->file = host_memory_file_create("doppel-memory", size, error);
    if (memory->file < 0)
        return false;
    memory->size = size;
    memory->host = host_memory_file_map(memory->file, size, error);
    if (memory->host)
        memory->page_flags = host_memory_reserve(size >> PAGE_SHIFT, error);
    if (memory->page_flags)
        return true;
    memory_destroy(memory);
    return false;
}

void memory_destroy(struct memory *memory)
{
    if (memory->page_flags)
        host_memory_release(memory->page_flags, memory->size >> PAGE_SHIFT);
    if (memory->host)
        host_memory_unmap(memory->host, memory->size);
    if (memory->file >= 0)
        host_memory_file_close(memory->file);
    *memory = (struct memory){.file = -1};
}

uint64_t memory_allocate(struct memory *memory, uint64_t size)
{
    if (size > memory->size)
        return UINT64_MAX;
    size = align_up(size, PAGE_SIZE);
    if (size > memory->size - memory->allocated)
        return UINT64_MAX;
    uint64_t offset = memory->allocated;
    memory->allocated += size;
    return offset;
}

/// The piece where nothing is mapped, for spaces without ranges and for addresses past the limit.
static const struct flat_range unassigned_everywhere = {.start = 0, .end = UINT64_MAX, .memory_offset = UINT64_MAX};

void address_space_init(struct address_space *as, const char *name, struct memory *memory, uint64_t limit,
                        const struct log *log)
{
    *as = (struct address_space){.name = name, .memory = memory, .limit = limit, .log = log};
}

void address_space_destroy(struct address_space *as)
{
    for (size_t i = 0; i < as->range_count; i++)
        free(as->ranges[i]);
    free(as->ranges);
    free(as->flat);
    *as = (struct address_space){.name = as->name};
}

void address_space_listen(struct address_space *as, struct address_space_listener *listener)
{
    listener->next = as->listeners;
    as->listeners = listener;
}

void address_space_unlisten(struct address_space *as, struct address_space_listener *listener)
{
    for (struct address_space_listener **at = &as->listeners; *at; at = &(*at)->next) {
        if (*at == listener) {
            *at = listener->next;
            listener->next = NULL;
            return;
        }
    }
}

/// Where the visible part of a range ends. The guest moves ranges, so the sum may overflow or leave the space.
static uint64_t range_end(const struct address_space *as, const struct range *range)
{
    if (range->start >= as->limit)
        return range->start;
    return range->size < as->limit - range->start ? range->start + range->size : as->limit;
}

static int compare_addresses(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/// The range that is seen at `address`: the highest priority, of equals the one that was mapped last.
static const struct range *range_on_top(const struct address_space *as, uint64_t address)
{
    const struct range *top = NULL;
    for (size_t i = 0; i < as->range_count; i++) {
        const struct range *range = as->ranges[i];
        if (range->enabled && address >= range->start && address < range_end(as, range) &&
            (!top || range->priority >= top->priority))
            top = range;
    }
    return top;
}

/// Takes over from the range what accesses need.
static void describe_piece(const struct address_space *as, struct flat_range *piece)
{
    const struct range *range = piece->range;
    const struct memory *memory = as->memory;
    piece->memory_offset = UINT64_MAX;
    if (!range)
        return;
    uint64_t inside = piece->start - range->start, size = piece->end - piece->start;
    piece->range_offset = inside;
    piece->kind = range->kind;
    if (range->kind != RANGE_DEVICE && memory && range->offset <= memory->size &&
        inside <= memory->size - range->offset && size <= memory->size - range->offset - inside)
        piece->memory_offset = range->offset + inside;
}

/// Builds the flat map. Quadratic in the number of ranges (some dozens) and rare. The arrays have room since
/// add_range made it.
static void flatten(struct address_space *as)
{
    // Every piece begins where a range begins or ends.
    uint64_t *edges = (uint64_t *)(as->flat + 2 * as->range_capacity + 2);
    size_t edge_count = 0;
    edges[edge_count++] = 0;
    for (size_t i = 0; i < as->range_count; i++) {
        const struct range *range = as->ranges[i];
        uint64_t end = range_end(as, range);
        if (!range->enabled || end == range->start)
            continue;
        edges[edge_count++] = range->start;
        edges[edge_count++] = end;
    }
    qsort(edges, edge_count, sizeof *edges, compare_addresses);
    as->flat_count = 0;
    for (size_t i = 0; i < edge_count; i++) {
        if (i && edges[i] == edges[i - 1])
            continue;
        const struct range *top = range_on_top(as, edges[i]);
        struct flat_range *last = as->flat_count ? &as->flat[as->flat_count - 1] : NULL;
        if (last && last->range == top)
            continue;
        if (last)
            last->end = edges[i];
        as->flat[as->flat_count++] = (struct flat_range){.start = edges[i], .end = UINT64_MAX, .range = top};
    }
    for (size_t i = 0; i < as->flat_count; i++)
        describe_piece(as, &as->flat[i]);
}

/// Acts on a change now, or at the commit that ends the batch.
static void map_changed(struct address_space *as)
{
    as->stale = true;
    if (as->batch)
        return;
    as->stale = false;
    flatten(as);
    for (struct address_space_listener *l = as->listeners, *next; l; l = next) {
        next = l->next;
        l->map_changed(l->opaque);
    }
}

void address_space_begin(struct address_space *as)
{
    as->batch++;
}

void address_space_commit(struct address_space *as)
{
    if (as->batch && --as->batch == 0 && as->stale)
        map_changed(as);
}

/// Makes room for one more range in the range list and in the flat map, so that later changes cannot fail.
static bool reserve_range(struct address_space *as)
{
    if (as->range_count < as->range_capacity)
        return true;
    size_t capacity = as->range_capacity ? 2 * as->range_capacity : 16;
    // n ranges have at most 2n edges and one more at 0; the edges are sorted behind the pieces.
    size_t pieces = 2 * capacity + 2;
    struct flat_range *flat = realloc(as->flat, pieces * (sizeof *flat + sizeof(uint64_t)));
    if (!flat)
        return false;
    as->flat = flat;
    struct range **ranges = realloc(as->ranges, capacity * sizeof *ranges);
    if (!ranges)
        return false;
    as->ranges = ranges;
    as->range_capacity = capacity;
    return true;
}

static struct range *add_range(struct address_space *as, struct range settings, struct error *error)
{
    if (settings.size == 0 || settings.start >= as->limit || settings.size > as->limit - settings.start) {
        error_set(error, "range %s at 0x%llx of 0x%llx bytes does not fit into address space %s", settings.name,
                  (unsigned long long)settings.start, (unsigned long long)settings.size, as->name);
        return NULL;
    }
    struct range *range = malloc(sizeof *range);
    if (!range || !reserve_range(as)) {
        free(range);
        error_set(error, "no memory for range %s of address space %s", settings.name, as->name);
        return NULL;
    }
    *range = settings;
    as->ranges[as->range_count++] = range;
    map_changed(as);
    return range;
}

struct range *address_space_map_memory(struct address_space *as, const char *name, uint64_t start, uint64_t size,
                                       int priority, uint64_t offset, bool rom, struct error *error)
{
    if (!as->memory || offset > as->memory->size || size > as->memory->size - offset) {
        error_set(error, "range %s of address space %s lies outside the memory file", name, as->name);
        return NULL;
    }
    return add_range(as,
                     (struct range){.start = start,
                                    .size = size,
                                    .kind = rom ? RANGE_ROM : RANGE_MEMORY,
                                    .priority = priority,
                                    .enabled = true,
                                    .offset = offset,
                                    .name = name},
                     error);
}

struct range *address_space_map_device(struct address_space *as, const char *name, uint64_t start, uint64_t size,
                                       int priority, const struct region_ops *ops, void *opaque, struct error *error)
{
    // offset leads nowhere until address_space_set_backing gives the range memory.
    return add_range(as,
                     (struct range){.start = start,
                                    .size = size,
                                    .kind = RANGE_DEVICE,
                                    .priority = priority,
                                    .enabled = true,
                                    .offset = UINT64_MAX,
                                    .ops = ops,
                                    .opaque = opaque,
                                    .name = name},
                     error);
}

void address_space_update(struct address_space *as, struct range *range, uint64_t start, bool enabled,
                          enum range_kind kind)
{
    if (range->start == start && range->enabled == enabled && range->kind == kind)
        return;
    bool visible = range->enabled || enabled;
    range->start = start;
    range->enabled = enabled;
    range->kind = kind;
    if (visible)
        map_changed(as);
}

void address_space_set_backing(struct address_space *as, struct range *range, uint64_t offset,
                               const struct region_ops *ops, void *opaque)
{
    if (range->offset == offset && range->ops == ops && range->opaque == opaque)
        return;
    range->offset = offset;
    range->ops = ops;
    range->opaque = opaque;
    if (range->enabled)
        map_changed(as);
}

const struct flat_range *address_space_find(const struct address_space *as, uint64_t address)
{
    if (UNLIKELY(as->flat_count == 0))
        return &unassigned_everywhere;
    // The last piece that starts at or before the address; flat[0].start is 0.
    size_t low = 0, count = as->flat_count;
    while (count > 1) {
        size_t half = count / 2;
        low += as->flat[low + half].start <= address ? half : 0;
        count -= half;
    }
    return &as->flat[low];
}

static const char *kind_name(enum range_kind kind)
{
    switch (kind) {
    case RANGE_MEMORY:
        return "ram";
    case RANGE_ROM:
        return "rom";
    case RANGE_DEVICE:
        return "i/o";
    case RANGE_SPLIT:
        return "split";
    }
    return "?";
}

void address_space_print(const struct address_space *as, FILE *to)
{
    fprintf(to, "address space %s: %zu ranges, %llu unassigned reads, %llu unassigned writes\n", as->name,
            as->range_count, (unsigned long long)as->unassigned_reads, (unsigned long long)as->unassigned_writes);
    for (size_t i = 0; i < as->flat_count; i++) {
        const struct flat_range *piece = &as->flat[i];
        const struct range *range = piece->range;
        uint64_t end = piece->end < as->limit ? piece->end : as->limit;
        if (!range || piece->start >= end)
            continue;
        fprintf(to, "  %016llx-%016llx %-5s %s", (unsigned long long)piece->start, (unsigned long long)end - 1,
                kind_name(piece->kind), range->name);
        if (piece->memory_offset != UINT64_MAX)
            fprintf(to, " (file offset 0x%llx)", (unsigned long long)piece->memory_offset);
        fputc('\n', to);
    }
}
