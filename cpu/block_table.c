// Changes of the table of live blocks.
#include "cpu/block_table.h"

void block_table_insert(struct block_table *table, struct block *block)
{
    uint64_t key = block_key(block->backing, block->mode);
    uint32_t at = table->missed_known && table->missed == key ? table->missed_at : block_home(table, key);
    while (table->slots[at].block)
        at = (at + 1) & (table->slot_count - 1);
    table->missed_known = false;
    table->used++;
    table->slots[at] = (struct block_slot){
        .key = key, .block = (uint32_t)((size_t)((uint8_t *)block - table->arena) / BLOCK_ALIGNMENT) + 1};
}

/// The slot becomes free: what a search does not find any more behind a free one moves up.
static void close_gap(struct block_table *table, uint32_t gap)
{
    uint32_t mask = table->slot_count - 1;
    table->missed_known = false;
    for (uint32_t at = (gap + 1) & mask; table->slots[at].block; at = (at + 1) & mask) {
        uint32_t home = block_home(table, table->slots[at].key);
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            table->slots[gap] = table->slots[at];
            gap = at;
        }
    }
    table->slots[gap] = (struct block_slot){0};
    table->used--;
}

/// The block's slot, or NULL.
static struct block_slot *slot_of(const struct block_table *table, const struct block *block)
{
    uint64_t key = block_key(block->backing, block->mode);
    uint32_t at = block_home(table, key);
    for (const struct block *other; (other = block_next(table, key, &at)) != NULL;) {
        if (other == block)
            return &table->slots[(at - 1) & (table->slot_count - 1)];
    }
    return NULL;
}

void block_table_remove(struct block_table *table, const struct block *block)
{
    const struct block_slot *slot = slot_of(table, block);
    if (slot)
        close_gap(table, (uint32_t)(slot - table->slots));
}

void block_table_chain(struct block_table *table, const struct cpu *cpu, const struct block *block)
{
    struct block_slot *slot = slot_of(table, block);
    bool plain = (block->mode & MODE_FLAT) && !block->crosses && !block->branch_faults && block->host_chain;
    if (slot)
        slot->chain = plain ? (uint32_t)((const uint8_t *)block->host_chain - (const uint8_t *)cpu->no_chain) : 0;
}
