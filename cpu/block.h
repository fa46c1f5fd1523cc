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

/// A patched jump of host code from one block to another.
struct host_edge {
    uint8_t *place;                 // the jump's relative target, or the guard; NULL: it is not used
    struct host_edge *next, **link; // among the jumps to the same block, and what points here; link NULL: not patched
    int32_t back;                   // from a jump's place to where it leads while it is not patched
    uint16_t offset;                // in the page, of where it leads
    enum {
        EDGE_JUMP,     // inside the page
        EDGE_GUARD,    // to another page
        EDGE_INDIRECT, // its guard compares where to go
        EDGE_FLAGS     // inside the page, behind stores of flags; `back` is to the jump that may pass them by
    } kind : 8;
    uint8_t changes; // EDGE_INDIRECT: so often it was another place. EDGE_FLAGS: from the stores' start to `place`
};
_Static_assert(sizeof(struct host_edge) == 32, "it takes room of host code");

struct block {
    // What finding a block and its first executions look at comes first, in one line of the host's cache.
    uint64_t backing;       // offset of the first byte in the memory file; UINT64_MAX: never cached
    const void *host_chain; // a backend's entry for other host code, which polls first; NULL: not translated
    const void *host_code;  // ... and for C
    int64_t branch;         // from the start to the target of the relative branch, 64-bit code; 0: none
    uint64_t ip;            // key of non-flat code: the offset in CS
    uint32_t mode;
    uint16_t bytes;
    uint8_t insn_count;
    bool valid;
    bool crosses;
    bool branch_faults; // the target of its relative branch is not canonical
    bool has_call;      // may change mode, pins or activity: is linked to no block, nor goes on in a superblock
    uint16_t uop_count;
    uint16_t page_slot; // of its page, while it is valid (struct cpu_pages); 0: none
    struct uop *uops;
    struct block *link[2];       // for the interpreter: in-page successors of a direct exit, taken/only, not taken
    uint32_t link_epoch;         // they are stale when it is not the CPU's
    uint32_t executions;         // since it was made, or used again
    uint32_t deaths;             // by stores
    const uint16_t *insn_offset; // insn_count + 1 byte offsets
    // What interp_block looks at ends here.
    struct block *next;      // in the page's granule list
    struct block *next_all;  // crossing blocks of the second page
    struct block *next_made; // in the same part of the blocks' memory
    uint64_t backing2;       // of the second page's first byte when `crosses`
    const void *start_stub;  // where the way from other host code goes to leave
    const void *host_loop;   // where host code goes on from its end to its start, and where that leaves; or NULL
    const void *loop_stub;
    struct host_edge *edge; // the host code's jumps, kept beside it
    struct host_edge *incoming;
    struct block *code_next, **code_link; // with host code in the same region of the code memory, and what points here
    const uint8_t *copy;                  // of a dead block: the bytes that it was made of
    bool forgotten;                       // its memory is about to be reused
    bool in_superblock;                   // part of another block's host code: when it dies, so does that
    bool is_superblock;                   // its host code has more parts
    bool kills_flags;                     // its host code makes all flags before anybody can see the old ones
    uint8_t edges;                        // how many `edge` has
    bool many_targets;                    // the indirect jump or call that ends its host code goes to many places
    uint8_t ways;  // two bits for each of its host code's parts: 1 + the exit that leads to the next; 0: there is none
    bool no_reuse; // every access gets its own check: accesses off a base straddle pages too often
    uint16_t straddles; // how often they did when that was looked at, and since when (host nanoseconds)
    uint64_t straddles_since;
};
#define BLOCK_INTERP_BYTES offsetof(struct block, next)
_Static_assert(offsetof(struct block, link) == 64 && BLOCK_INTERP_BYTES <= 128, "lines");

#define BLOCK_CACHE_MAX_CPUS 1

struct block_cache;
/// `limit_bytes`: memory for blocks and their table; when it is full the oldest eighth is dropped. Installs itself as
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

/// interp.c: fills uop.code for the interpreter.
void interp_prepare(struct uop *uops, unsigned count);
/// interp.c: executes a block from its start until it leaves it (or its in-page successors). Faults stay in
/// cpu->fault with VAR_RIP at the faulting instruction. With cpu->leave set it is left behind the instruction of its
/// first uop.
void interp_block(struct cpu *cpu, struct block *block);

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

static inline unsigned jump_cache_index(uint64_t linear)
{
    return (uint32_t)linear * (uint32_t)JUMP_CACHE_FACTOR >> JUMP_CACHE_SHIFT & (JUMP_CACHE_ENTRIES - 1);
}

/// The jump cache knows the block under the key from now on, in the present mode. Returns where host code goes on.
static inline const void *block_jump_known(struct cpu *cpu, uint64_t key, struct block *block, const void *chain)
{
    struct cpu_jump_entry *entry = &cpu->jump_cache[jump_cache_index(key)];
    entry->linear = key;
    entry->block = block;
    entry->mode = cpu->mode;
    entry->epoch = cpu->jump_epoch;
    return entry->chain = chain;
}

#endif
