// Which blocks have their host code where: the code memory's regions, filled one after the other, the oldest first to
// be written anew, and the jumps that were patched from one block to another. Knows neither backend nor code memory:
// the caller patches what it is told.
#ifndef DOPPEL_TRANSLATE_CODE_CACHE_H
#define DOPPEL_TRANSLATE_CODE_CACHE_H

#include <stdbool.h>
#include <stddef.h>

#include "cpu/block_store.h"

#define CODE_REGIONS 8u
/// Smaller ones would be mostly ends that no block fits into; little memory has fewer regions.
#define CODE_REGION_LEAST ((size_t)32 << 10)
#define CODE_ALIGNMENT 16u // of a block's host code

struct code_region {
    size_t start, used, end; // offsets in the code memory
    struct block *blocks;    // with host code here, dead ones too: their jumps still stand in it
};

struct code_cache {
    struct code_region region[CODE_REGIONS];
    unsigned count, current;
    uint8_t *memory;                  // the code memory, as written; all jumps are in it
    const struct block_store *blocks; // and all blocks here
};

/// Divides [start, end) of the code memory, at least one CODE_REGION_LEAST, into empty regions.
void code_cache_divide(struct code_cache *cache, size_t start, size_t end);
/// All blocks are gone, memory and all.
void code_cache_reset(struct code_cache *cache);
/// Where the next block's host code goes, and how much may follow.
size_t code_cache_place(const struct code_cache *cache, size_t *room);
/// Whether nothing was put into the present region yet.
bool code_cache_region_empty(const struct code_cache *cache);
/// `size` bytes at code_cache_place are the block's now. A block has host code in one place only.
void code_cache_add(struct code_cache *cache, struct block *block, size_t size);
/// The block has no host code any more that it could ever come back to.
void code_cache_remove(struct block *block);
/// The oldest region becomes the present one. *blocks: those that have their host code there (a list by
/// block.code_next, each to be removed), which the caller must separate from it before it writes there. False: nothing
/// ever was there.
bool code_cache_advance(struct code_cache *cache, struct block **blocks);
/// Bytes that host code occupies.
size_t code_cache_used(const struct code_cache *cache);

/// A jump by its number, which is not 0.
static inline struct host_edge *code_edge(const struct code_cache *cache, uint32_t number)
{
    return (struct host_edge *)(void *)(cache->memory + (size_t)(number - 1) * _Alignof(struct host_edge));
}

static inline uint32_t code_edge_number(const struct code_cache *cache, const struct host_edge *edge)
{
    return (uint32_t)((size_t)((const uint8_t *)edge - cache->memory) / _Alignof(struct host_edge)) + 1;
}

/// The jump's relative target, or the guard, as written. NULL: it is not used.
static inline uint8_t *code_edge_place(struct host_edge *edge)
{
    return edge->place ? (uint8_t *)edge - edge->place : NULL;
}

/// The jump at `edge` leads to `to` from now on.
void code_edge_connect(const struct code_cache *cache, struct host_edge *edge, struct block *to);
/// ... leads to no block, if it did.
void code_edge_disconnect(const struct code_cache *cache, struct host_edge *edge);

#endif
