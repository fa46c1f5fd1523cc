// The table of live blocks by place and mode. Says in one line of the host's cache which blocks may fit; of a block,
// its first line decides.
#ifndef DOPPEL_CPU_BLOCK_TABLE_H
#define DOPPEL_CPU_BLOCK_TABLE_H

#include "cpu/block.h"

#define BLOCK_ALIGNMENT 64u    // of blocks: the line that a find reads
#define BLOCK_BUCKET_SLOTS 8u  // in one line; all live blocks that begin in 64 bytes of code have the same bucket
#define BLOCK_BYTES_A_SLOT 256 // of the arena; no block takes less, and there is a slot more

/// A block whose place and mode have this hash; block 0: none. Slots are used from the bucket's first one on, without
/// gaps, over the bucket's end if need be.
struct block_slot {
    uint32_t tag;
    uint32_t block; // (its address - the arena's) / BLOCK_ALIGNMENT + 1
};

struct block_table {
    struct block_slot *slots;
    uint32_t slot_count; // a power of two
    uint8_t *arena;
};

static inline uint32_t block_tag(uint64_t backing, uint32_t mode)
{
    uint64_t granule = (backing >> 6) ^ (uint64_t)mode << 40;
    uint64_t scattered = granule * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    return (uint32_t)(scattered << 6 | (backing & 63));
}

/// Where the search for a tag begins.
static inline uint32_t block_home(const struct block_table *table, uint32_t tag)
{
    return (tag >> 6) * BLOCK_BUCKET_SLOTS & (table->slot_count - 1);
}

static inline struct block *block_of_slot(const struct block_table *table, struct block_slot slot)
{
    return (struct block *)(void *)(table->arena + (size_t)(slot.block - 1) * BLOCK_ALIGNMENT);
}

/// The next block that may be at a place, from slot *at on, which moves behind it; begins at block_home. NULL: there is
/// none.
static inline struct block *block_next(const struct block_table *table, uint32_t tag, uint32_t *at)
{
    for (;;) {
        struct block_slot slot = table->slots[*at];
        if (!slot.block)
            return NULL;
        *at = (*at + 1) & (table->slot_count - 1);
        if (slot.tag == tag)
            return block_of_slot(table, slot);
    }
}

/// Whether the relative branch of 64-bit code leads to no canonical address when the block stands at `linear`: for that
/// it is lifted with a check, which other places of the page do without.
static inline bool block_branch_faults(const struct cpu *cpu, uint64_t linear, const struct block *block)
{
    uint64_t target = linear + (uint64_t)block->branch;
    return block->branch && (uint64_t)bits_sign_extend(target, cpu->mmu.linear_bits) != target;
}

/// What a cache's table is.
static inline const struct block_table *block_cache_table(const struct block_cache *cache)
{
    return (const struct block_table *)(const void *)cache; // its first member
}

void block_table_insert(struct block_table *table, struct block *block);
/// Nothing happens when it is not in the table.
void block_table_remove(struct block_table *table, const struct block *block);

#endif
