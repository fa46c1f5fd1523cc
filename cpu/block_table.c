// Changes of the table of live blocks.
#include "cpu/block_table.h"

void block_table_insert(struct block_table *table, struct block *block)
{
    uint32_t tag = block_tag(block->backing, block->mode), at = block_home(table, tag);
    while (table->slots[at].block)
        at = (at + 1) & (table->slot_count - 1);
    table->slots[at] = (struct block_slot){
        .tag = tag, .block = (uint32_t)((size_t)((uint8_t *)block - table->arena) / BLOCK_ALIGNMENT) + 1};
}

/// The slot becomes free: what a search does not find any more behind a free one moves up.
static void close_gap(struct block_table *table, uint32_t gap)
{
    uint32_t mask = table->slot_count - 1;
    for (uint32_t at = (gap + 1) & mask; table->slots[at].block; at = (at + 1) & mask) {
        uint32_t home = block_home(table, table->slots[at].tag);
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            table->slots[gap] = table->slots[at];
            gap = at;
        }
    }
    table->slots[gap] = (struct block_slot){0};
}

void block_table_remove(struct block_table *table, const struct block *block)
{
    uint32_t tag = block_tag(block->backing, block->mode), at = block_home(table, tag);
    for (const struct block *other; (other = block_next(table, tag, &at)) != NULL;) {
        if (other == block) {
            close_gap(table, (at - 1) & (table->slot_count - 1));
            return;
        }
    }
}
