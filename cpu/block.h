// Block descriptors: the lifted form of guest code, keyed by backing page, offset and mode; found by jump cache or by
// page, invalidated by the bytes they were made of. One cache a machine.
#ifndef DOPPEL_CPU_BLOCK_H
#define DOPPEL_CPU_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "cpu/cpu.h"
#include "cpu/lift.h"
#include "cpu/row.h"
#include "cpu/uop.h"

#define BLOCK_MAX_INSNS 32

/// A jump of host code to other blocks, kept behind the host code that it is of: code_cache.h.
struct host_edge {
    uint32_t next;        // among the jumps to the same block: number of an edge, 0: the last
    uint32_t link;        // what points here: number of an edge, or a block's with EDGE_OF_BLOCK; 0: it is not patched
    uint32_t place : 18;  // from there to here: the jump's relative target, or the guard; 0: it is not used
    uint32_t offset : 12; // in the page, of where it leads
    uint32_t kind : 2;    // enum edge_kind
    int32_t back : 19;    // from a jump's place to where it leads while it is not patched
    uint32_t changes : 8; // EDGE_INDIRECT: so often it was another place. EDGE_FLAGS: from the stores' start to `place`
};
_Static_assert(sizeof(struct host_edge) == 16, "it takes room of host code");
#define EDGE_OF_BLOCK (UINT32_C(1) << 31)

enum edge_kind {
    EDGE_JUMP,     // inside the page
    EDGE_GUARD,    // to another page
    EDGE_INDIRECT, // its guard compares where to go
    EDGE_FLAGS     // inside the page, behind stores of flags; `back` is to the jump that may pass them by
};

#define BLOCK_DEATHS_MAX 15u

struct block {
    // What finding a block and its executions look at comes first, in one line of the host's cache.
    _Alignas(64) uint64_t backing; // offset of the first byte in the memory file; UINT64_MAX: never cached
    const void *host_chain;        // a backend's entry for other host code, which polls first; NULL: not translated
    int32_t packed;                // from here to lengths of its instructions and its uops: block_store.c
    uint32_t place;                // of its uops in the ring, if they are there: block_uops
    uint32_t ip;                   // key of non-flat code: the offset in CS
    int32_t branch;                // from its end to the target of its relative branch, 64-bit code; see block_branch
    uint32_t mode;
    uint32_t link[2]; // executors' own: in-page successors of a direct exit, taken/only, not taken; block_number
    uint16_t bytes;
    uint16_t uop_count;
    uint16_t page_slot; // of its page, while it is valid (struct cpu_pages); 0: none
    uint8_t insn_count;
    uint8_t edges; // how many `edge` has
    bool valid : 1;
    bool crosses : 1;
    bool branches : 1;      // `branch` is set
    bool branch_faults : 1; // the target of its relative branch is not canonical
    bool has_call : 1;      // may change mode, pins or activity: is linked to no block, nor goes on in a superblock
    bool forgotten : 1;     // its memory is about to be reused
    bool in_superblock : 1; // part of another block's host code: when it dies, so does that
    bool is_superblock : 1; // its host code has more parts
    bool kills_flags : 1;   // its host code makes all flags before anybody can see the old ones
    bool many_targets : 1;  // the indirect jump or call that ends its host code goes to many places
    bool no_reuse : 1;      // no check is for more bytes than its own: accesses off a base straddle pages too often
    bool place_matters : 1; // at some place where its page ran its relative branch faults: no link leads to it
    uint8_t deaths : 4;     // by stores, BLOCK_DEATHS_MAX at most
    uint8_t ways; // two bits for each of its host code's parts: 1 + the exit that leads to the next; 0: there is none
    uint8_t host_code;   // from host_chain to the entry for C
    uint32_t executions; // since it was made, or used again
    uint32_t link_epoch; // its links are stale when it is not the CPU's
    // Here a second line begins.
    struct block *next; // in the page's granule list
    union {
        struct block *next_all; // crossing blocks of the second page
        struct {                // of others, from host_chain
            int32_t host_loop;  // where host code goes on from its end to its start; 0: it does not
            int32_t loop_stub;  // ... and where that leaves
        };
    };
    struct host_edge *edge; // the host code's jumps, kept beside it
    uint32_t copy;     // of a dead block: where in the blocks' memory the bytes are that it was made of; 0: nowhere
    uint32_t incoming; // number of the first patched jump that leads here; 0: there is none
    struct block *code_next, **code_link; // with host code in the same region of the code memory, and what points here
    union {
        uint32_t page2;           // number of the second page when `crosses`
        uint32_t straddles_since; // else when that was looked at: microseconds of the host's, about
    };
    uint8_t start_stub; // from there to host_chain: where the way from other host code goes to leave
    uint8_t straddles;  // how often accesses off a base straddled pages since that was looked at
};
_Static_assert(sizeof(struct block) == 128 && offsetof(struct block, next) == 64, "lines");

/// The host code's entry for C; of a block that has some.
static inline const void *block_host_code(const struct block *block)
{
    return (const uint8_t *)block->host_chain + block->host_code;
}

/// Lengths of its instructions, then its uops.
static inline const uint8_t *block_packed(const struct block *block)
{
    return (const uint8_t *)block + block->packed;
}

/// The block did not live long.
static inline void block_died(struct block *block)
{
    block->deaths += block->deaths != BLOCK_DEATHS_MAX;
}

/// From the start of 64-bit code to the target of its relative branch; 0: it has none.
static inline int64_t block_branch(const struct block *block)
{
    return block->branches ? block->bytes + (int64_t)block->branch : 0;
}

#define BLOCK_CACHE_MAX_CPUS 1

struct block_cache;
/// `limit_bytes`: memory for blocks and their table; when it is full an eighth is dropped. Installs itself as
/// the memory's listener.
struct block_cache *block_cache_create(struct memory *memory, const struct cpu_model *model, size_t limit_bytes,
                                       const struct log *log, struct error *error);
void block_cache_destroy(struct block_cache *cache);
void block_cache_attach(struct block_cache *cache, struct cpu *cpu);
void block_cache_detach(struct block_cache *cache, struct cpu *cpu);
/// Drops every block. Only between blocks.
void block_cache_flush(struct block_cache *cache);
/// Blocks made from now on hold at most so many instructions, 1 to BLOCK_MAX_INSNS; drops what there is. For finding
/// the instruction that a difference comes from.
void block_cache_set_length(struct block_cache *cache, unsigned instructions);
const struct row_index *block_cache_rows(const struct block_cache *cache);

/// A backend's hook: told when blocks die (one, or NULL for all), before their memory is reused.
struct block_listener {
    void (*invalidated)(void *opaque, struct block *block);
    /// A block's memory is about to be reused, be it valid or dead long since; between blocks. block_cache_visit_page
    /// still finds it. May be NULL.
    void (*forgotten)(void *opaque, struct block *block);
    void *opaque;
};
void block_cache_listen(struct block_cache *cache, struct block_listener listener);

/// Whether some block was made of the bytes that a store of `size` at `host` would change; `host` is in the memory
/// file, on a page with PAGE_HAS_CODE, and the store ends in that page. Then, and when it is not known, the store must
/// come to the memory's listener; else it may go through.
bool block_cache_covers(const struct block_cache *cache, const uint8_t *host, unsigned size);

/// The block at the CPU's RIP in its mode | extra_mode (MODE_ONE, MODE_UNSHARED), lifted if need be. NULL: the fetch
/// faulted and cpu->fault is set. Valid until the next call after it returns to the dispatcher.
struct block *block_find(struct cpu *cpu, uint32_t extra_mode);

/// The block has got host code, or has none any more (host_chain).
void block_host_code_changed(struct cpu *cpu, const struct block *block);

/// The block that begins at `backing` in a mode that links, if there is one and it lies in one page; `ip` is 0 for flat
/// code. Changes nothing.
struct block *block_peek(const struct block_cache *cache, uint64_t backing, uint32_t mode, uint64_t ip);
/// Calls `each` for all blocks that begin in the page of `backing`.
void block_cache_visit_page(struct block_cache *cache, uint64_t backing,
                            void (*each)(void *opaque, struct block *block), void *opaque);

struct block_statistics {
    uint64_t lifted_blocks, lifted_insns, invalidated, revived, flushes, evictions;
    size_t bytes_used;
};
void block_cache_statistics(const struct block_cache *cache, struct block_statistics *statistics);
/// How many blocks have died, one by one; whether some did meanwhile.
uint64_t block_cache_deaths(const struct block_cache *cache);

/// interp.c: fills uop.code for the interpreter.
void interp_prepare(struct uop *uops, unsigned count);
/// interp.c: executes a block from its start until it leaves it (or its in-page successors). Faults stay in
/// cpu->fault with VAR_RIP at the faulting instruction. With cpu->leave set it is left behind the instruction of its
/// first uop.
void interp_block(struct cpu *cpu, struct block *block);
/// ... from its uop `from` to its end. Returns by which direct exit it left, 0 or 1 as of block->link; negative: by
/// another.
int interp_rest_of_block(struct cpu *cpu, struct block *block, const struct uop *from);

static inline uint64_t block_linear(const struct cpu *cpu)
{
    uint64_t rip = cpu->var[VAR_RIP];
    if ((cpu->mode & MODE_CODE_MASK) == MODE_CODE64)
        return rip;
    return (uint32_t)(rip + cpu->var[VAR_CS_BASE]);
}

/// What the jump cache compares of the place `linear` where the CPU is: in code that is not flat, IP is part of it.
static inline uint64_t block_jump_key(const struct cpu *cpu, uint64_t linear)
{
    return cpu->mode & MODE_FLAT ? linear : cpu->var[VAR_RIP] << 32 | linear;
}

/// Where host code that comes by the jump cache goes on. It looks with RIP alone when it does not know yet that the
/// code is not flat any more, which must not fit the key of IP 0.
static inline const void *block_jump_chain(const struct cpu *cpu, const struct block *block)
{
    bool chains = block->mode & MODE_FLAT || (mode_links(block->mode) && block->ip != 0);
    return block->host_chain && chains ? block->host_chain : cpu->no_chain;
}

/// The home of what the key stands for.
static inline unsigned jump_cache_index(uint64_t key)
{
    return (unsigned)(key >> JUMP_CACHE_SHIFT) & (JUMP_CACHE_HOMES - 1);
}

/// Where it is when another has its home.
static inline unsigned jump_victim_index(uint64_t key)
{
    uint32_t product = (uint32_t)key * (uint32_t)JUMP_VICTIM_FACTOR;
    return JUMP_CACHE_HOMES + (product >> JUMP_VICTIM_SHIFT & (JUMP_VICTIMS - 1));
}

/// The jump cache knows the block under the key from now on, in the present mode. Returns where host code goes on.
static inline const void *block_jump_known(struct cpu *cpu, uint64_t key, struct block *block, const void *chain)
{
    struct cpu_jump_entry *entry = &cpu->jump_cache[jump_cache_index(key)];
    // Blocks without host code are found by other ways, too.
    if (entry->linear != key && entry->epoch == cpu->jump_epoch && entry->chain != cpu->no_chain)
        cpu->jump_cache[jump_victim_index(entry->linear)] = *entry;
    entry->linear = key;
    entry->block = block;
    entry->mode = cpu->mode;
    entry->epoch = cpu->jump_epoch;
    return entry->chain = chain;
}

#endif
