#include "cpu/block_store.h"

#include <string.h>

#include "base/bits.h"
#include "base/host.h"

#define SPARSE 4                    // one block in so many lives
#define RING_BYTES (1u << 22)       // less is read anew too often, more is not in the host's caches
#define RING_START (2 * RING_BYTES) // so a place of 0 is none
_Static_assert(RING_BYTES >= (BLOCK_UOPS_KEPT + 2) * LIFT_MAX_UOPS * sizeof(struct uop),
               "whoever asks for some blocks reads them all");

static size_t part_size(const struct block_store *store)
{
    return store->size / BLOCK_PARTS / sizeof(struct block) * sizeof(struct block); // block_number counts through
}

static void empty(struct block_store *store, struct block_part *part)
{
    size_t number = (size_t)(part - store->part);
    part->blocks = (struct block *)(void *)(store->arena + number * part_size(store));
    part->end = store->arena + (number + 1) * part_size(store);
    part->bytes = part->end - UOP_PACKED_BEHIND;
    part->count = part->live = part->age = 0;
}

void block_store_reset(struct block_store *store)
{
    for (unsigned i = 0; i < BLOCK_PARTS; i++)
        empty(store, &store->part[i]);
    store->present = 0;
}

bool block_store_create(struct block_store *store, size_t bytes, struct error *error)
{
    store->size = bytes < BLOCK_STORE_LEAST ? BLOCK_STORE_LEAST : bytes;
    store->arena = host_memory_reserve(store->size, error);
    store->ring.uops = store->arena ? host_memory_reserve(RING_BYTES, error) : NULL;
    if (!store->ring.uops)
        return false;
    host_memory_prefer_large_pages(store->arena, store->size);
    store->ring.mask = RING_BYTES - 1;
    store->ring.next = RING_START;
    block_store_reset(store);
    return true;
}

void block_store_release(struct block_store *store)
{
    if (store->arena)
        host_memory_release(store->arena, store->size);
    if (store->ring.uops)
        host_memory_release(store->ring.uops, RING_BYTES);
}

/// Whether so few of a part's blocks live that it goes before older ones. A guest that changes its code all the time
/// fills the same parts again and again then, and what else it runs stays.
static bool is_sparse(const struct block_part *part)
{
    return part->live < part->count / SPARSE;
}

/// Whether `part` goes before `other`.
static bool goes_first(const struct block_part *part, const struct block_part *other)
{
    if (is_sparse(part) != is_sparse(other))
        return is_sparse(part);
    return is_sparse(part) ? part->live < other->live : part->age < other->age;
}

struct block_part *block_store_choose(struct block_store *store, bool must_go)
{
    struct block_part *best = NULL;
    for (unsigned i = 0; i < BLOCK_PARTS; i++) {
        struct block_part *part = &store->part[i];
        if (!part->count && !must_go)
            return part;
        if (part->count && (!best || goes_first(part, best)))
            best = part;
    }
    return best ? best : store->part;
}

void block_store_renew(struct block_store *store, struct block_part *part)
{
    unsigned age = store->part[store->present].age + 1;
    empty(store, part);
    part->age = age;
    store->present = (unsigned)(part - store->part);
}

static struct block_part *part_of(struct block_store *store, const struct block *block)
{
    return &store->part[(size_t)((const uint8_t *)block - store->arena) / part_size(store)];
}

void block_store_died(struct block_store *store, const struct block *block)
{
    part_of(store, block)->live--;
}

void block_store_revived(struct block_store *store, const struct block *block)
{
    part_of(store, block)->live++;
}

static size_t room(const struct block_part *part)
{
    return (size_t)(part->bytes - (const uint8_t *)(part->blocks + part->count));
}

uint8_t *block_store_bytes(struct block_store *store, size_t bytes)
{
    struct block_part *part = &store->part[store->present];
    return room(part) < bytes ? NULL : (part->bytes -= bytes);
}

struct block *block_store_block(struct block_store *store, size_t bytes)
{
    struct block_part *part = &store->part[store->present];
    struct block *block = part->blocks + part->count;
    if (room(part) < bytes + sizeof *block)
        return NULL;
    memset(block, 0, sizeof *block);
    part->bytes -= bytes;
    block->packed = (int32_t)(part->bytes - (uint8_t *)block);
    part->count++;
    part->live++;
    return block;
}

size_t block_store_used(const struct block_store *store)
{
    size_t used = 0;
    for (unsigned i = 0; i < BLOCK_PARTS; i++) {
        const struct block_part *part = &store->part[i];
        used += part->count * sizeof *part->blocks + (size_t)(part->end - part->bytes) - UOP_PACKED_BEHIND;
    }
    return used;
}

// ---- uops -----------------------------------------------------------------------------------------------------------
// A block's bytes: the length of each instruction, the last uop, the others. The last one is wanted more often.

size_t block_pack(const struct lift *lift, uint8_t *to)
{
    struct uop exit = lift->uops[lift->uop_count - 1];
    uint8_t *at = to;
    exit.insn = (uint8_t)(exit.insn - (lift->insn_count - 1));
    for (unsigned i = 0; i < lift->insn_count; i++)
        *at++ = (uint8_t)(lift->insn_offset[i + 1] - lift->insn_offset[i]);
    at += uop_pack(&exit, 1, at);
    at += uop_pack(lift->uops, lift->uop_count - 1, at);
    return (size_t)(at - to);
}

/// The count of places begins anew; no block knows one of before.
static void restart(struct block_store *store)
{
    for (unsigned i = 0; i < BLOCK_PARTS; i++) {
        for (unsigned k = 0; k < store->part[i].count; k++)
            store->part[i].blocks[k].place = 0;
    }
    store->ring.next = RING_START;
}

/// A place in the ring for the block's uops.
static struct uop *take_place(struct block_store *store, struct block *block)
{
    struct block_ring *ring = &store->ring;
    uint32_t bytes = block->uop_count * (uint32_t)sizeof(struct uop);
    if (ring->next > UINT32_MAX - RING_START)
        restart(store);
    if ((ring->next & ring->mask) + bytes > ring->mask) // not over the ring's end
        ring->next = (ring->next | ring->mask) + 1;
    block->place = ring->next;
    ring->next += bytes;
    return (struct uop *)(void *)(ring->uops + (block->place & ring->mask));
}

const struct uop *block_unpack(struct block_store *store, struct block *block)
{
    const uint8_t *from = block_packed(block) + block->insn_count;
    __builtin_prefetch(from + 64); // mostly they lie in two lines of the host's cache
    struct uop *uops = take_place(store, block), *last = uops + block->uop_count - 1;
    from = uop_unpack(from, last, 1);
    last->insn = (uint8_t)(last->insn + block->insn_count - 1);
    uop_unpack(from, uops, block->uop_count - 1u);
    return uops;
}

void block_place(struct block_store *store, struct block *block, const struct uop *uops)
{
    memcpy(take_place(store, block), uops, block->uop_count * sizeof *uops);
}
