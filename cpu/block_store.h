// Memory for blocks: parts that are filled one after the other, blocks from a part's start, the bytes that belong to
// them from its end; the next to be used anew is one where little lives, or the oldest. Uops are packed there; those
// that were asked for lately stand in a ring as executors read them.
#ifndef DOPPEL_CPU_BLOCK_STORE_H
#define DOPPEL_CPU_BLOCK_STORE_H

#include "cpu/block.h"
#include "cpu/uop_pack.h"

#define BLOCK_PARTS 8u
#define BLOCK_STORE_LEAST ((size_t)256 << 10)

/// So many blocks that were asked for last keep their uops, however long they are.
#define BLOCK_UOPS_KEPT 48u

struct block_part {
    struct block *blocks; // the first one
    uint8_t *end;         // of the part; bytes are taken from `bytes` down
    uint8_t *bytes;
    unsigned count, live; // blocks, and how many of them did not die
    unsigned age;         // the present part's is the highest
};

/// Places in the ring are counted on and on, in bytes; a block whose place is less than a ring behind the next one is
/// there.
struct block_ring {
    uint8_t *uops;
    uint32_t mask; // its size less one
    uint32_t next;
};

struct block_store {
    struct block_ring ring;
    uint8_t *arena;
    size_t size;
    struct block_part part[BLOCK_PARTS];
    unsigned present;
};

/// `bytes` for blocks, BLOCK_STORE_LEAST at least. Owned by the caller until block_store_release, which takes one that
/// was not made too.
bool block_store_create(struct block_store *store, size_t bytes, struct error *error);
void block_store_release(struct block_store *store);
/// All blocks are gone.
void block_store_reset(struct block_store *store);
/// The part to be used anew: one that is empty, unless blocks `must_go`, else one where little lives, else the oldest.
struct block_part *block_store_choose(struct block_store *store, bool must_go);
/// Makes it the present one, and it empty: who knows its blocks is told before.
void block_store_renew(struct block_store *store, struct block_part *part);
/// A block died, or lives again.
void block_store_died(struct block_store *store, const struct block *block);
void block_store_revived(struct block_store *store, const struct block *block);
/// Memory for `bytes` that stand as long as blocks that are made now. NULL: the part is full.
uint8_t *block_store_bytes(struct block_store *store, size_t bytes);
/// An empty block with as many bytes at block_packed. NULL: likewise.
struct block *block_store_block(struct block_store *store, size_t bytes);
size_t block_store_used(const struct block_store *store);

/// Packs what was lifted and prepared for the interpreter. `to` has BLOCK_PACKED_MAX bytes; returns how many are used.
size_t block_pack(const struct lift *lift, uint8_t *to);
#define BLOCK_PACKED_MAX (LIFT_MAX_INSNS + LIFT_MAX_UOPS * UOP_PACKED_MAX + UOP_PACKED_BEHIND)

/// Puts the block's uops into the ring.
const struct uop *block_unpack(struct block_store *store, struct block *block);
/// Likewise, where `uops` are these.
void block_place(struct block_store *store, struct block *block, const struct uop *uops);

/// What a cache's store is.
static inline struct block_store *block_cache_store(struct block_cache *cache)
{
    return (struct block_store *)(void *)cache; // its first member
}

/// The block's uops. They stand there until BLOCK_UOPS_KEPT other blocks were asked for theirs.
static inline const struct uop *block_uops(struct block_cache *cache, const struct block *block)
{
    struct block_store *store = block_cache_store(cache);
    if (LIKELY(store->ring.next - block->place <= store->ring.mask))
        return (const struct uop *)(const void *)(store->ring.uops + (block->place & store->ring.mask));
    return block_unpack(store, (struct block *)(uintptr_t)block); // only where its uops are changes
}

/// Number of a block in the store, for 32 bits; 0: none.
static inline uint32_t block_number(const struct block_store *store, const struct block *block)
{
    return block ? (uint32_t)(block - (const struct block *)(const void *)store->arena) + 1 : 0;
}

static inline struct block *block_numbered(const struct block_store *store, uint32_t number)
{
    return number ? (struct block *)(void *)store->arena + (number - 1) : NULL;
}

/// Where link `which` of the block leads, if it was made in this epoch (cpu->link_epoch); NULL: nowhere yet.
static inline struct block *block_linked(const struct block_store *store, const struct block *block, unsigned which,
                                         uint32_t epoch)
{
    return block->link_epoch == epoch ? block_numbered(store, block->link[which]) : NULL;
}

/// It leads to `next` from now on.
static inline void block_link(const struct block_store *store, struct block *block, unsigned which, uint32_t epoch,
                              const struct block *next)
{
    if (block->link_epoch != epoch)
        block->link[0] = block->link[1] = 0;
    block->link_epoch = epoch;
    block->link[which] = block_number(store, next);
}

/// The block's last uop.
static inline struct uop block_exit(const struct block *block)
{
    struct uop exit;
    uop_unpack(block_packed(block) + block->insn_count, &exit, 1);
    exit.insn = (uint8_t)(exit.insn + block->insn_count - 1);
    return exit;
}

/// From the block's start to that of instruction `insn`, or, the number of instructions, to its end.
static inline unsigned block_insn_offset(const struct block *block, unsigned insn)
{
    unsigned offset = 0;
    for (unsigned i = 0; i < insn && i < block->insn_count; i++)
        offset += block_packed(block)[i];
    return offset;
}

#endif
