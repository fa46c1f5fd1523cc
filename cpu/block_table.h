// The table of live blocks by place and mode. Says in one line of the host's cache which blocks may fit, and where host
// code goes on with those that need no closer look; of the others their first line decides.
#ifndef DOPPEL_CPU_BLOCK_TABLE_H
#define DOPPEL_CPU_BLOCK_TABLE_H

#include "cpu/block_store.h"

#define BLOCK_ALIGNMENT 64u    // of blocks: the line that a find reads
#define BLOCK_BUCKET_SLOTS 4u  // in one line; all live blocks that begin in 64 bytes of code have the same bucket
#define BLOCK_BYTES_A_SLOT 256 // of the arena

/// A live block; block 0: none. Slots are used from the bucket's first one on, without
/// gaps, over the bucket's end if need be.
struct block_slot {
    uint64_t key;
    uint32_t block; // (its address - the arena's) / BLOCK_ALIGNMENT + 1
    uint32_t chain; // its host_chain - cpu->no_chain, where whoever comes to the place by the jump cache may go on
                    // unless the place is near the edge of linear addresses; or 0
};

struct block_table {
    struct block_slot *slots;
    uint32_t slot_count; // a power of two
    uint32_t used;       // slots
    uint8_t *arena;
    // A search that found nothing: whoever makes that block need not search for its slot.
    uint64_t missed; // key
    uint32_t missed_at;
    bool missed_known;
};

#define BLOCK_BACKING_BITS 41
#define BLOCK_MODE_BITS 23
_Static_assert(BLOCK_BACKING_BITS + BLOCK_MODE_BITS == 64 && MODE_AVX == 1u << (BLOCK_MODE_BITS - 1), "a key");

static inline uint64_t block_key(uint64_t backing, uint32_t mode)
{
    return backing | (uint64_t)mode << BLOCK_BACKING_BITS;
}

/// Where the search for a key begins.
static inline uint32_t block_home(const struct block_table *table, uint64_t key)
{
    uint64_t scattered = (key >> 6) * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    return (uint32_t)scattered * BLOCK_BUCKET_SLOTS & (table->slot_count - 1);
}

static inline struct block *block_of_slot(const struct block_table *table, struct block_slot slot)
{
    return (struct block *)(void *)(table->arena + (size_t)(slot.block - 1) * BLOCK_ALIGNMENT);
}

/// The next block at a place in a mode, from slot *at on, which moves behind it; begins at block_home. NULL: there is
/// none.
static inline struct block *block_next(const struct block_table *table, uint64_t key, uint32_t *at)
{
    for (;;) {
        struct block_slot slot = table->slots[*at];
        if (!slot.block)
            return NULL;
        *at = (*at + 1) & (table->slot_count - 1);
        if (slot.key == key)
            return block_of_slot(table, slot);
    }
}

/// A search for the key ended at slot `at`, without a block.
static inline void block_table_missed(struct block_table *table, uint64_t key, uint32_t at)
{
    table->missed = key;
    table->missed_at = at;
    table->missed_known = true;
}

/// Whether the relative branch of 64-bit code at `linear` leads to no canonical address of so many bits.
static inline bool block_branch_leaves(unsigned linear_bits, uint64_t linear, const struct block *block)
{
    uint64_t target = linear + (uint64_t)block_branch(block);
    return block->branches && (uint64_t)bits_sign_extend(target, linear_bits) != target;
}

/// ... as they are now: for that the block is lifted with a check, which other places of the page do without.
static inline bool block_branch_faults(const struct cpu *cpu, uint64_t linear, const struct block *block)
{
    return block_branch_leaves(cpu->mmu.linear_bits, linear, block);
}

/// What a cache's table is.
static inline const struct block_table *block_cache_table(const struct block_cache *cache)
{
    return (const struct block_table *)(const void *)((const struct block_store *)(const void *)cache +
                                                      1); // its second
}

/// The farthest that a relative branch of 64-bit code leads from its block's start is less.
#define BLOCK_BRANCH_REACH (INT64_C(1) << 32)

/// Whether some relative branch of code at `linear` may lead to no canonical address.
static inline bool block_near_edge(const struct cpu *cpu, uint64_t linear)
{
    uint64_t low = linear - BLOCK_BRANCH_REACH, high = linear + BLOCK_BRANCH_REACH;
    return (uint64_t)bits_sign_extend(low, cpu->mmu.linear_bits) != low ||
           (uint64_t)bits_sign_extend(high, cpu->mmu.linear_bits) != high;
}

/// A search for the key is to come: what it reads first is fetched into the host's caches. Not always inlined it would
/// be nothing: to compilers a function that only fetches has no effect, and they drop calls of it.
static inline __attribute__((always_inline)) void block_table_fetch(const struct block_table *table, uint64_t backing,
                                                                    uint32_t mode)
{
    __builtin_prefetch(&table->slots[block_home(table, block_key(backing, mode))], 1);
}

/// The code at `linear`, `bytes` long, with a relative branch by `branch` from its start, or none (0), runs soon: what
/// finding the blocks behind it will look at is fetched into the host's caches meanwhile. It is hardly ever there for
/// code that runs for the first times.
static inline __attribute__((always_inline)) void block_expect(const struct block_table *table, const struct cpu *cpu,
                                                               uint64_t linear, uint64_t backing, uint32_t mode,
                                                               int64_t branch, unsigned bytes)
{
    int64_t way[2] = {bytes, branch};
    for (unsigned i = 0; i < (branch ? 2 : 1) && (mode & MODE_FLAT); i++) {
        uint64_t to = linear + (uint64_t)way[i];
        __builtin_prefetch(&cpu->jump_cache[jump_cache_index(to)], 1);
        if (!((to ^ linear) >> PAGE_SHIFT))
            block_table_fetch(table, backing + (uint64_t)way[i], mode);
    }
}

/// Whether one more block would make searches long.
static inline bool block_table_full(const struct block_table *table)
{
    return table->used > table->slot_count / 8 * 7;
}

void block_table_insert(struct block_table *table, struct block *block);
/// Nothing happens when it is not in the table.
void block_table_remove(struct block_table *table, const struct block *block);
/// Takes over what the block, if it is in the table, says of its host code now.
void block_table_chain(struct block_table *table, const struct cpu *cpu, const struct block *block);

#endif
