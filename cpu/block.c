// Finds, lifts, and invalidates blocks. Executors run them; the memory tells of writes to code.
#include "cpu/block.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/host.h"
#include "cpu/block_lift.h"
#include "cpu/block_table.h"
#include "cpu/model.h"

#define GRANULES (PAGE_SIZE / GRANULE_SIZE)
#define DEAD_BLOCKS 16u // of a page that are remembered

#define PAGE_EMPTIED_OFTEN 4 // times that a page's code died, from which on it is watched without code
#define PAGE_QUIET 16        // stores into it that end that

struct dead_block {
    struct block *block;
    uint32_t offset; // in the page
};

/// What is known of one backing page that carries code.
struct code_page {
    uint64_t granules;             // bit per 64 bytes that some block covers
    struct block *first[GRANULES]; // blocks by the granule of their first byte
    struct block *crossing;        // blocks of the page before that end here
    struct dead_block *dead;       // DEAD_BLOCKS that can be used again when their bytes come back, the last one last;
                                   // NULL: there was none
    unsigned dead_count;
    struct code_page *next; // all pages with code
    uint64_t number;
    uint16_t slot;     // struct cpu_pages; 0: none was free
    bool stale;        // lists forgotten blocks
    uint8_t emptied;   // how often all its code died, lately
    uint8_t quiet;     // stores since it did
    uint8_t edge_bits; // linear addresses had so many bits when the next two were noted; 0: they were not
    uint64_t edge[2]; // where the page ran that is nearest to what is not canonical, below [0] and above it; 0: nowhere
};

struct block_cache {
    struct block_store store; // stays the first, as block_cache_store says
    struct block_table table; // ... and the second, as block_cache_table says
    struct memory *memory;
    struct block_lifter lifter;
    struct row_index *rows;
    struct cpu *cpu[BLOCK_CACHE_MAX_CPUS];
    struct code_page **pages; // by backing page
    uint64_t page_count;
    struct code_page *used;
    uint16_t free_slot[PAGE_SLOTS]; // of struct cpu_pages that pages gave back
    unsigned free_slots, next_slot;
    struct block_listener listener;
    struct block_statistics statistics;
    struct block uncached; // a block from MMIO, or over the end of CS: lives until the next is lifted
    uint8_t uncached_bytes[BLOCK_PACKED_MAX];
    uint8_t scratch[BLOCK_PACKED_MAX];
};
_Static_assert(offsetof(struct block_cache, table) == sizeof(struct block_store), "block_cache_table");

static void code_written(void *opaque, uint64_t offset, uint32_t size);

/// Stores to the page need not come to us any more.
static void unwatch_page(struct block_cache *cache, uint64_t number)
{
    __atomic_fetch_and(&cache->memory->page_flags[number], (uint8_t)~PAGE_HAS_CODE, __ATOMIC_RELAXED);
}

static uint16_t take_slot(struct block_cache *cache)
{
    if (cache->free_slots)
        return cache->free_slot[--cache->free_slots];
    return (uint16_t)(cache->next_slot + 1 < PAGE_SLOTS ? ++cache->next_slot : 0);
}

/// No jump of host code asks for the page any more.
static void free_page(struct block_cache *cache, struct code_page *page)
{
    if (page->slot) {
        cache->free_slot[cache->free_slots++] = page->slot;
        for (unsigned i = 0; i < BLOCK_CACHE_MAX_CPUS; i++) {
            if (cache->cpu[i])
                cpu_forget_pages(cache->cpu[i]);
        }
    }
    free(page->dead);
    free(page);
}

static void free_pages(struct block_cache *cache)
{
    while (cache->used) {
        struct code_page *page = cache->used;
        cache->used = page->next;
        free_page(cache, page);
    }
}

static size_t slots_size(const struct block_cache *cache)
{
    return cache->table.slot_count * sizeof *cache->table.slots;
}

struct block_cache *block_cache_create(struct memory *memory, const struct cpu_model *model, size_t limit_bytes,
                                       const struct log *log, struct error *error)
{
    struct block_cache *cache = host_memory_reserve(sizeof *cache, error);
    if (!cache)
        return NULL;
    cache->memory = memory;
    cache->lifter.memory = memory;
    cache->lifter.model = model;
    cache->lifter.log = log;
    cache->lifter.length = BLOCK_MAX_INSNS;
    cache->page_count = memory->size >> PAGE_SHIFT;
    if (limit_bytes < BLOCK_STORE_LEAST)
        limit_bytes = BLOCK_STORE_LEAST;
    for (cache->table.slot_count = 1; cache->table.slot_count <= limit_bytes / BLOCK_BYTES_A_SLOT;)
        cache->table.slot_count *= 2;
    if (limit_bytes - slots_size(cache) >= BLOCK_STORE_LEAST)
        limit_bytes -= slots_size(cache);
    cache->lifter.rows = cache->rows = row_index_build(error);
    if (cache->rows)
        cache->table.slots = host_memory_reserve(slots_size(cache), error);
    if (cache->table.slots)
        cache->pages = host_memory_reserve(cache->page_count * sizeof *cache->pages, error);
    if (!cache->pages || !block_store_create(&cache->store, limit_bytes, error)) {
        block_cache_destroy(cache);
        return NULL;
    }
    cache->table.arena = cache->store.arena;
    host_memory_prefer_large_pages(cache->table.slots, slots_size(cache));
    memory->listener = (struct memory_listener){.code_written = code_written, .opaque = cache};
    return cache;
}

void block_cache_destroy(struct block_cache *cache)
{
    if (!cache)
        return;
    cache->memory->listener = (struct memory_listener){0};
    free_pages(cache);
    block_store_release(&cache->store);
    if (cache->pages)
        host_memory_release(cache->pages, cache->page_count * sizeof *cache->pages);
    if (cache->table.slots)
        host_memory_release(cache->table.slots, slots_size(cache));
    if (cache->rows)
        row_index_free(cache->rows);
    host_memory_release(cache, sizeof *cache);
}

void block_cache_attach(struct block_cache *cache, struct cpu *cpu)
{
    cache->cpu[cpu->index % BLOCK_CACHE_MAX_CPUS] = cpu;
}

void block_cache_detach(struct block_cache *cache, struct cpu *cpu)
{
    cache->cpu[cpu->index % BLOCK_CACHE_MAX_CPUS] = NULL;
}

void block_cache_listen(struct block_cache *cache, struct block_listener listener)
{
    cache->listener = listener;
}

const struct row_index *block_cache_rows(const struct block_cache *cache)
{
    return cache->rows;
}

void block_cache_statistics(const struct block_cache *cache, struct block_statistics *statistics)
{
    *statistics = cache->statistics;
    statistics->bytes_used = block_store_used(&cache->store);
}

uint64_t block_cache_deaths(const struct block_cache *cache)
{
    return cache->statistics.invalidated;
}

void block_cache_flush(struct block_cache *cache)
{
    for (struct code_page *page = cache->used; page; page = page->next) {
        cache->pages[page->number] = NULL;
        unwatch_page(cache, page->number);
    }
    free_pages(cache);
    block_store_reset(&cache->store);
    memset(cache->table.slots, 0, slots_size(cache));
    cache->table.used = 0;
    cache->table.missed_known = false;
    cache->statistics.flushes++;
    for (unsigned i = 0; i < BLOCK_CACHE_MAX_CPUS; i++) {
        if (cache->cpu[i])
            cpu_drop_jump_cache(cache->cpu[i]);
    }
    if (cache->listener.invalidated)
        cache->listener.invalidated(cache->listener.opaque, NULL);
}

void block_cache_set_length(struct block_cache *cache, unsigned instructions)
{
    cache->lifter.length = instructions < 1 || instructions > BLOCK_MAX_INSNS ? BLOCK_MAX_INSNS : instructions;
    block_cache_flush(cache);
}

static void kill(struct block_cache *cache, struct block *block)
{
    block_store_died(&cache->store, block);
    block->valid = false;
    block->page_slot = 0; // which may be another page's before the jump cache forgets the block
    block_table_remove(&cache->table, block);
    cache->statistics.invalidated++;
    for (unsigned i = 0; i < BLOCK_CACHE_MAX_CPUS; i++) {
        if (cache->cpu[i] && cache->cpu[i]->running == block)
            cache->cpu[i]->leave = true;
    }
    if (cache->listener.invalidated)
        cache->listener.invalidated(cache->listener.opaque, block);
}

/// A write to this granule may hit blocks that begin in it or in so many before it.
#define REACH ((BLOCK_MAX_INSNS * INSN_MAX_LENGTH + GRANULE_SIZE - 2) / GRANULE_SIZE)

static unsigned reach_below(unsigned granule)
{
    return granule > REACH ? granule - REACH : 0;
}

static uint64_t granule_bits(unsigned from, unsigned to)
{
    return bits_mask(to / GRANULE_SIZE - from / GRANULE_SIZE + 1) << from / GRANULE_SIZE;
}

/// Bytes of a page, first and last.
struct byte_range {
    unsigned from, to;
};

/// The bytes that `block` was made of, in its first or its second page. That an instruction is illegal can depend on
/// bytes that it does not have; it is a block of its own, which then counts as long as an instruction can be.
static struct byte_range block_range(const struct block *block, bool second)
{
    unsigned bytes = block->insn_count > 1 || block->bytes > INSN_MAX_LENGTH ? block->bytes : INSN_MAX_LENGTH;
    unsigned offset = (unsigned)(block->backing & ~PAGE_MASK), room = PAGE_SIZE - offset;
    if (second)
        return (struct byte_range){0, bytes - room - 1};
    return (struct byte_range){offset, offset + (bytes < room ? bytes : room) - 1};
}

static unsigned range_bytes(struct byte_range range)
{
    return range.to - range.from + 1;
}

static bool touches(const struct block *block, bool second, struct byte_range hit)
{
    struct byte_range range = block_range(block, second);
    return block->valid && range.from <= hit.to && hit.from <= range.to;
}

/// Whether a block was made of any of these bytes.
static bool is_covered(const struct code_page *page, struct byte_range hit)
{
    if (!(page->granules & granule_bits(hit.from, hit.to)))
        return false;
    for (const struct block *block = page->crossing; block; block = block->next_all) {
        if (touches(block, true, hit))
            return true;
    }
    for (unsigned i = reach_below(hit.from / GRANULE_SIZE); i <= hit.to / GRANULE_SIZE; i++) {
        for (const struct block *block = page->first[i]; block; block = block->next) {
            if (touches(block, false, hit))
                return true;
        }
    }
    return false;
}

static void take_dead(struct code_page *page, unsigned number)
{
    page->dead_count--;
    memmove(page->dead + number, page->dead + number + 1, (page->dead_count - number) * sizeof page->dead[0]);
}

/// Remembers a dead block with the bytes that it was made of, which are about to change. Code that changes itself often
/// does so between few variants.
static void remember(struct block_cache *cache, struct code_page *page, struct block *block)
{
    unsigned bytes = range_bytes(block_range(block, false));
    uint8_t *copy;
    if (block->crosses)
        return;
    if (!block->copy) { // its first death; it lives again with the same bytes only
        copy = block_store_bytes(&cache->store, bytes);
        if (!copy)
            return;
        memcpy(copy, cache->memory->host + block->backing, bytes);
        block->copy = (uint32_t)(copy - cache->store.arena);
    }
    block_died(block);
    if (!page->dead && !(page->dead = calloc(DEAD_BLOCKS, sizeof *page->dead)))
        return;
    if (page->dead_count == DEAD_BLOCKS)
        take_dead(page, 0);
    page->dead[page->dead_count++] =
        (struct dead_block){.block = block, .offset = (uint32_t)(block->backing & ~PAGE_MASK)};
}

/// Kills the list's blocks that were made of bytes of `hit`; returns the granules that they covered.
static uint64_t sweep(struct block_cache *cache, struct code_page *page, struct block **list, bool second,
                      struct byte_range hit)
{
    uint64_t covered = 0;
    while (*list) {
        struct block *block = *list;
        struct byte_range range = block_range(block, second);
        bool dies = touches(block, second, hit);
        if (dies)
            kill(cache, block);
        if (!block->valid) {
            *list = second ? block->next_all : block->next;
            covered |= granule_bits(range.from, range.to);
            if (dies)
                remember(cache, page, block);
        } else {
            list = second ? &block->next_all : &block->next;
        }
    }
    return covered;
}

/// Of these granules those that blocks of the page cover.
static uint64_t still_covered(const struct code_page *page, uint64_t granules)
{
    uint64_t covered = 0;
    unsigned last = 63 - (unsigned)__builtin_clzll(granules);
    for (const struct block *block = page->crossing; block; block = block->next_all) {
        struct byte_range range = block_range(block, true);
        if (block->valid)
            covered |= granule_bits(range.from, range.to);
    }
    for (unsigned i = reach_below((unsigned)__builtin_ctzll(granules)); i <= last; i++) {
        for (const struct block *block = page->first[i]; block; block = block->next) {
            struct byte_range range = block_range(block, false);
            if (block->valid)
                covered |= granule_bits(range.from, range.to);
        }
    }
    return covered & granules;
}

/// All code of the page died, or the page had none at this store. Where code comes back each time, the page is watched
/// on: to begin anew costs a search of the TLB. Stores end that when no code came for some time.
static void page_empty(struct block_cache *cache, struct code_page *page, bool died)
{
    if (died) {
        page->emptied += page->emptied < PAGE_EMPTIED_OFTEN;
        page->quiet = 0;
    } else if (++page->quiet == PAGE_QUIET) {
        page->emptied = 0;
    }
    if (page->emptied < PAGE_EMPTIED_OFTEN)
        unwatch_page(cache, page->number);
}

static void code_written(void *opaque, uint64_t offset, uint32_t size)
{
    struct block_cache *cache = opaque;
    uint64_t number = offset >> PAGE_SHIFT;
    unsigned from = (unsigned)(offset & ~PAGE_MASK);
    struct byte_range hit = {from, from + size - 1};
    struct code_page *page = cache->pages[number];
    uint64_t lost;

    if (!page) {
        unwatch_page(cache, number);
        return;
    }
    if (!page->granules) {
        page_empty(cache, page, false);
        return;
    }
    if (!is_covered(page, hit))
        return;
    lost = sweep(cache, page, &page->crossing, true, hit);
    for (unsigned i = reach_below(hit.from / GRANULE_SIZE); i <= hit.to / GRANULE_SIZE; i++)
        lost |= sweep(cache, page, &page->first[i], false, hit);
    if (lost)
        page->granules = (page->granules & ~lost) | still_covered(page, lost);
    if (!page->granules)
        page_empty(cache, page, true);
}

bool block_cache_covers(const struct block_cache *cache, const uint8_t *host, unsigned size)
{
    uint64_t offset = (uint64_t)(host - cache->memory->host);
    unsigned from = (unsigned)(offset & ~PAGE_MASK);
    const struct code_page *page = cache->pages[offset >> PAGE_SHIFT];
    return !page || !page->granules || is_covered(page, (struct byte_range){from, from + size - 1});
}

static struct code_page *code_page(struct block_cache *cache, uint64_t number)
{
    struct code_page *page = cache->pages[number];
    if (page)
        return page;
    page = calloc(1, sizeof *page);
    if (!page)
        return NULL;
    page->number = number;
    page->slot = take_slot(cache);
    page->next = cache->used;
    cache->used = page;
    return cache->pages[number] = page;
}

/// The page got code: writes to it must come to us from now on.
static void cover(struct block_cache *cache, struct code_page *page, uint64_t number, struct byte_range range)
{
    page->granules |= granule_bits(range.from, range.to);
    if (__atomic_load_n(&cache->memory->page_flags[number], __ATOMIC_RELAXED) & PAGE_HAS_CODE)
        return;
    __atomic_fetch_or(&cache->memory->page_flags[number], PAGE_HAS_CODE, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < BLOCK_CACHE_MAX_CPUS; i++) {
        if (cache->cpu[i])
            mmu_protect_code_page(&cache->cpu[i]->mmu, number);
    }
}

// ---- making room ---------------------------------------------------------------------------------------------------
/// A block whose memory is about to be reused leaves table and backend; its pages are to look for it.
static void forget(struct block_cache *cache, struct block *block)
{
    struct code_page *page = cache->pages[block->backing >> PAGE_SHIFT];
    block->forgotten = true;
    if (page)
        page->stale = true;
    if (block->crosses && (page = cache->pages[block->page2]) != NULL)
        page->stale = true;
    if (cache->listener.forgotten)
        cache->listener.forgotten(cache->listener.opaque, block);
    if (block->valid)
        block_table_remove(&cache->table, block);
    block->valid = false;
    block->page_slot = 0;
}

/// Takes the forgotten blocks from a list of a page; returns the granules of those that stay.
static uint64_t keep_others(struct block **list, bool second)
{
    uint64_t stay = 0;
    while (*list) {
        struct block *block = *list;
        if (block->forgotten) {
            *list = second ? block->next_all : block->next;
        } else {
            struct byte_range range = block_range(block, second);
            stay |= granule_bits(range.from, range.to);
            list = second ? &block->next_all : &block->next;
        }
    }
    return stay;
}

/// ... from the page. False: it has no block any more, and is gone.
static bool tidy_page(struct block_cache *cache, struct code_page *page)
{
    page->stale = false;
    for (unsigned i = page->dead_count; i-- > 0;) {
        if (page->dead[i].block->forgotten)
            take_dead(page, i);
    }
    page->granules = keep_others(&page->crossing, true);
    for (unsigned i = 0; i < GRANULES; i++)
        page->granules |= keep_others(&page->first[i], false);
    if (page->granules || page->dead_count) {
        if (!page->granules)
            unwatch_page(cache, page->number);
        return true;
    }
    unwatch_page(cache, page->number);
    cache->pages[page->number] = NULL;
    free_page(cache, page);
    return false;
}

/// Drops a part of the blocks' memory, which becomes the present one. Only between blocks.
static void evict(struct block_cache *cache)
{
    struct block_part *part = block_store_choose(&cache->store, block_table_full(&cache->table));
    for (unsigned i = 0; i < part->count; i++)
        forget(cache, &part->blocks[i]);
    for (unsigned i = 0; i < BLOCK_CACHE_MAX_CPUS; i++) {
        if (!cache->cpu[i])
            continue;
        cpu_drop_jumps_to_blocks(cache->cpu[i], part->blocks, part->end);
        cache->cpu[i]->link_epoch++;
    }
    cache->statistics.evictions += part->count != 0;
    block_store_renew(&cache->store, part);
    for (struct code_page **at = &cache->used; *at;) {
        struct code_page *page = *at, *next = page->next;
        if (!page->stale || tidy_page(cache, page))
            at = &page->next;
        else
            *at = next;
    }
}

// ---- near addresses that are not canonical -------------------------------------------------------------------------
// A block is lifted for places where its relative branch faults, or for all others, but links and what is made of them
// hold for every place of its page. So a page knows how near it ever ran, and nothing leads to those of its blocks for
// which it matters; they are found with a look at the place.

static bool place_matters(const struct code_page *page, const struct block *block)
{
    uint64_t offset = block->backing & ~PAGE_MASK;
    if (!page->edge_bits)
        return block->branch_faults;
    return block->branch_faults || block_branch_leaves(page->edge_bits, page->edge[0] + offset, block) ||
           block_branch_leaves(page->edge_bits, page->edge[1] + offset, block);
}

/// Kills the list's blocks that others may lead to, and may not any more.
static void kill_linked(struct block_cache *cache, const struct code_page *page, struct block **list)
{
    while (*list) {
        struct block *block = *list;
        if (block->valid && !block->place_matters && place_matters(page, block)) {
            *list = block->next;
            kill(cache, block);
        } else {
            list = &block->next;
        }
    }
}

/// The page runs at `linear`, which is near the edge.
static void note_edge(struct block_cache *cache, const struct cpu *cpu, struct code_page *page, uint64_t linear)
{
    uint64_t *edge = &page->edge[linear >> 63];
    linear &= PAGE_MASK;
    if (page->edge_bits != cpu->mmu.linear_bits) {
        page->edge[0] = page->edge[1] = 0;
        page->edge_bits = (uint8_t)cpu->mmu.linear_bits;
    }
    if (*edge && (linear >> 63 ? *edge <= linear : *edge >= linear))
        return;
    *edge = linear;
    for (unsigned i = 0; i < GRANULES; i++)
        kill_linked(cache, page, &page->first[i]);
}

static void fill(struct block_cache *cache, struct block *block, const struct block_source *source,
                 const struct cpu *cpu)
{
    const struct lift *l = &cache->lifter.lift;
    block->backing = source->backing;
    block->crosses = source->crosses;
    if (source->crosses)
        block->page2 = (uint32_t)(source->backing2 >> PAGE_SHIFT);
    block->ip = l->mode & MODE_FLAT ? 0 : (uint32_t)cpu->var[VAR_RIP];
    block->mode = l->mode;
    block->bytes = (uint16_t)l->offset;
    block->insn_count = (uint8_t)l->insn_count;
    block->uop_count = (uint16_t)l->uop_count;
    block->valid = true;
    block->branches = l->branch != 0;
    block->branch = (int32_t)(l->branch - (int64_t)l->offset);
    block->branch_faults = l->branch_faults;
    block->has_call = l->has_call;
    cache->statistics.lifted_blocks++;
    cache->statistics.lifted_insns += l->insn_count;
}

/// Copies the lifted block into the store and hooks it into its pages; NULL when that is full.
static struct block *keep(struct block_cache *cache, const struct cpu *cpu, const struct block_source *source)
{
    size_t bytes = block_pack(&cache->lifter.lift, cache->scratch);
    uint64_t number = source->backing >> PAGE_SHIFT, number2 = source->backing2 >> PAGE_SHIFT;
    struct code_page *page = code_page(cache, number), *page2 = NULL;
    struct block *block;
    unsigned granule = (unsigned)(source->backing & ~PAGE_MASK) / GRANULE_SIZE;

    if (source->crosses)
        page2 = code_page(cache, number2);
    if (!page || (source->crosses && !page2) || block_table_full(&cache->table) ||
        !(block = block_store_block(&cache->store, bytes)))
        return NULL;
    fill(cache, block, source, cpu);
    if (UNLIKELY(block_near_edge(cpu, block_linear(cpu))))
        note_edge(cache, cpu, page, block_linear(cpu));
    block->place_matters = place_matters(page, block);
    memcpy((uint8_t *)(uintptr_t)block_packed(block), cache->scratch, bytes);
    block_place(&cache->store, block, cache->lifter.lift.uops);
    block->page_slot = page->slot;
    block_table_insert(&cache->table, block);
    block->next = page->first[granule];
    page->first[granule] = block;
    cover(cache, page, number, block_range(block, false));
    if (page2) {
        block->next_all = page2->crossing;
        page2->crossing = block;
        cover(cache, page2, number2, block_range(block, true));
    }
    return block;
}

static struct block *keep_not(struct block_cache *cache, const struct cpu *cpu, const struct block_source *source)
{
    struct block *block = &cache->uncached;
    memset(block, 0, sizeof *block);
    fill(cache, block, source, cpu);
    block->backing = UINT64_MAX;
    block_pack(&cache->lifter.lift, cache->uncached_bytes);
    block->packed = (int32_t)(cache->uncached_bytes - (uint8_t *)block);
    return block;
}

/// Lifts the block at the CPU's RIP.
static struct block *make(struct block_cache *cache, struct cpu *cpu, uint64_t linear, uint64_t backing, uint32_t mode)
{
    struct block_source source = {.backing = backing, .backing2 = UINT64_MAX};
    struct block *block;

    if (!block_lift(&cache->lifter, cpu, linear, mode, &source))
        return NULL;
    interp_prepare(cache->lifter.lift.uops, cache->lifter.lift.uop_count);
    block_expect(&cache->table, cpu, linear, backing, mode, cache->lifter.lift.branch, cache->lifter.lift.offset);
    if (backing == UINT64_MAX || (source.crosses && source.backing2 == UINT64_MAX) || cache->lifter.lift.beyond_limit)
        return keep_not(cache, cpu, &source);
    block = keep(cache, cpu, &source);
    if (!block) {
        evict(cache);
        block = keep(cache, cpu, &source);
    }
    return block ? block : keep_not(cache, cpu, &source);
}

/// Whether the block is what `cpu` would make at `linear` in `mode` of the same bytes.
static bool fits(const struct block *block, const struct cpu *cpu, uint64_t linear, uint64_t backing, uint32_t mode)
{
    uint64_t ip = mode & MODE_FLAT ? 0 : cpu->var[VAR_RIP];
    if (block->backing != backing || block->mode != mode || block->ip != ip)
        return false;
    if (!(mode & MODE_FLAT) && block_code_room(cpu, ip) < block->bytes)
        return false;
    return block_branch_faults(cpu, linear, block) == block->branch_faults;
}

/// A block that fits key and mapping.
static struct block *search(struct block_cache *cache, struct cpu *cpu, uint64_t linear, uint64_t backing,
                            uint32_t mode)
{
    uint64_t key = block_key(backing, mode);
    uint32_t at = block_home(&cache->table, key);
    for (struct block *block; (block = block_next(&cache->table, key, &at)) != NULL;) {
        uint64_t backing2;
        struct mmu_fault fault;
        if (!fits(block, cpu, linear, backing, mode))
            continue;
        if (!block->crosses)
            return block;
        if (mmu_fetch_page(&cpu->mmu, cpu->fetch_mode, (linear & PAGE_MASK) + PAGE_SIZE, &backing2, &fault) &&
            backing2 >> PAGE_SHIFT == block->page2)
            return block;
    }
    block_table_missed(&cache->table, key, at);
    return NULL;
}

struct block *block_peek(const struct block_cache *cache, uint64_t backing, uint32_t mode, uint64_t ip)
{
    uint64_t key = block_key(backing, mode);
    uint32_t at = block_home(&cache->table, key);
    for (struct block *block; (block = block_next(&cache->table, key, &at)) != NULL;) {
        if (block->backing == backing && block->mode == mode && block->ip == ip && !block->crosses)
            return block;
    }
    return NULL;
}

/// A dead block that checks its bytes and finds them as they were: it lives again, without host code.
static struct block *revive(struct block_cache *cache, const struct cpu *cpu, uint64_t linear, uint64_t backing,
                            uint32_t mode)
{
    struct code_page *page = cache->pages[backing >> PAGE_SHIFT];
    struct block *block;

    for (unsigned i = page && !block_table_full(&cache->table) ? page->dead_count : 0; i-- > 0;) {
        struct block **list = &page->first[(backing & ~PAGE_MASK) / GRANULE_SIZE];
        struct byte_range range;
        if (page->dead[i].offset != (backing & ~PAGE_MASK))
            continue;
        block = page->dead[i].block;
        range = block_range(block, false);
        if (!fits(block, cpu, linear, backing, mode))
            continue;
        if (memcmp(cache->memory->host + backing, cache->store.arena + block->copy, range_bytes(range)) != 0)
            continue;
        cover(cache, page, page->number, range); // from now on writes are seen: those that came meanwhile, too
        if (memcmp(cache->memory->host + backing, cache->store.arena + block->copy, range_bytes(range)) != 0)
            continue;
        take_dead(page, i);
        block->next = *list;
        *list = block;
        block->valid = true;
        block_store_revived(&cache->store, block);
        block->page_slot = page->slot;
        block_table_insert(&cache->table, block);
        block->executions = 0;
        block->place_matters = place_matters(page, block);
        cache->statistics.revived++;
        return block;
    }
    return NULL;
}

void block_cache_visit_page(struct block_cache *cache, uint64_t backing,
                            void (*each)(void *opaque, struct block *block), void *opaque)
{
    const struct code_page *page = cache->pages[backing >> PAGE_SHIFT];
    for (unsigned i = 0; page && i < GRANULES; i++)
        for (struct block *block = page->first[i]; block; block = block->next)
            each(opaque, block);
}

void block_host_code_changed(struct cpu *cpu, const struct block *block)
{
    block_table_chain(&cpu->blocks->table, cpu, block);
}

/// block_find where the jump cache does not know. Apart, so that the way by the jump cache saves no registers.
static __attribute__((noinline)) struct block *find_by_page(struct cpu *cpu, uint64_t linear, uint32_t extra_mode)
{
    struct block_cache *cache = cpu->blocks;
    uint32_t mode = cpu->mode | extra_mode;
    uint64_t backing;
    struct mmu_fault fault;
    struct block *block;

    if (!(mode & MODE_FLAT) && UNLIKELY(block_code_room(cpu, cpu->var[VAR_RIP]) == 0)) {
        cpu_raise_error(cpu, VECTOR_GP, 0);
        return NULL;
    }
    if (!mmu_fetch_page(&cpu->mmu, cpu->fetch_mode, linear, &backing, &fault)) {
        cpu_raise_mmu(cpu, &fault, false);
        return NULL;
    }
    if (UNLIKELY(block_near_edge(cpu, linear)) && backing != UINT64_MAX && cache->pages[backing >> PAGE_SHIFT])
        note_edge(cache, cpu, cache->pages[backing >> PAGE_SHIFT], linear);
    block = backing == UINT64_MAX ? NULL : search(cache, cpu, linear, backing, mode);
    if (block)
        block_expect(&cache->table, cpu, linear, backing, mode, block_branch(block), block->bytes);
    if (!block && backing != UINT64_MAX)
        block = revive(cache, cpu, linear, backing, mode);
    if (!block)
        block = make(cache, cpu, linear, backing, mode);
    // Others would push out the one that is wanted next time.
    if (block && block != &cache->uncached && !extra_mode)
        block_jump_known(cpu, block_jump_key(cpu, linear), block, block_jump_chain(cpu, block));
    return block;
}

struct block *block_find(struct cpu *cpu, uint32_t extra_mode)
{
    uint64_t linear = block_linear(cpu), key = block_jump_key(cpu, linear);
    uint32_t mode = cpu->mode | extra_mode;
    struct cpu_jump_entry *entry = &cpu->jump_cache[jump_cache_index(key)];

    if (mode_links(mode) && entry->linear == key && entry->mode == mode && entry->epoch == cpu->jump_epoch &&
        entry->block->valid) {
        entry->chain = block_jump_chain(cpu, entry->block);
        return entry->block;
    }
    return find_by_page(cpu, linear, extra_mode);
}
