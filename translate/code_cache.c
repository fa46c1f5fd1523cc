#include "translate/code_cache.h"

#include "base/bits.h"

void code_cache_divide(struct code_cache *cache, size_t start, size_t end)
{
    size_t count = (end - start) / CODE_REGION_LEAST, size;
    cache->count = count < 1 ? 1 : count > CODE_REGIONS ? CODE_REGIONS : (unsigned)count;
    size = (size_t)align_down((end - start) / cache->count, CODE_ALIGNMENT);
    for (unsigned i = 0; i < cache->count; i++) {
        cache->region[i].start = start + i * size;
        cache->region[i].end = start + (i + 1) * size;
    }
    code_cache_reset(cache);
}

void code_cache_reset(struct code_cache *cache)
{
    cache->current = 0;
    for (unsigned i = 0; i < cache->count; i++) {
        cache->region[i].used = cache->region[i].start;
        cache->region[i].blocks = NULL;
    }
}

size_t code_cache_place(const struct code_cache *cache, size_t *room)
{
    const struct code_region *region = &cache->region[cache->current];
    *room = region->end - region->used;
    return region->used;
}

bool code_cache_region_empty(const struct code_cache *cache)
{
    return cache->region[cache->current].used == cache->region[cache->current].start;
}

void code_cache_add(struct code_cache *cache, struct block *block, size_t size)
{
    struct code_region *region = &cache->region[cache->current];
    size_t used = (size_t)align_up(region->used + size, CODE_ALIGNMENT);
    region->used = used > region->end ? region->end : used;
    block->code_next = region->blocks;
    block->code_link = &region->blocks;
    if (block->code_next)
        block->code_next->code_link = &block->code_next;
    region->blocks = block;
}

void code_cache_remove(struct block *block)
{
    if (!block->code_link)
        return;
    *block->code_link = block->code_next;
    if (block->code_next)
        block->code_next->code_link = block->code_link;
    block->code_next = NULL;
    block->code_link = NULL;
}

bool code_cache_advance(struct code_cache *cache, struct block **blocks)
{
    struct code_region *region;
    bool used;
    cache->current = (cache->current + 1) % cache->count;
    region = &cache->region[cache->current];
    used = region->used != region->start;
    *blocks = region->blocks;
    region->used = region->start;
    return used;
}

size_t code_cache_used(const struct code_cache *cache)
{
    size_t used = 0;
    for (unsigned i = 0; i < cache->count; i++)
        used += cache->region[i].used - cache->region[i].start;
    return used;
}

void code_edge_connect(const struct code_cache *cache, struct host_edge *edge, struct block *to)
{
    code_edge_disconnect(cache, edge);
    edge->next = to->incoming;
    edge->link = block_number(cache->blocks, to) | EDGE_OF_BLOCK;
    to->incoming = code_edge_number(cache, edge);
    if (edge->next)
        code_edge(cache, edge->next)->link = to->incoming;
}

void code_edge_disconnect(const struct code_cache *cache, struct host_edge *edge)
{
    if (!edge->link)
        return;
    if (edge->link & EDGE_OF_BLOCK)
        block_numbered(cache->blocks, edge->link & ~EDGE_OF_BLOCK)->incoming = edge->next;
    else
        code_edge(cache, edge->link)->next = edge->next;
    if (edge->next)
        code_edge(cache, edge->next)->link = edge->link;
    edge->next = edge->link = 0;
}
