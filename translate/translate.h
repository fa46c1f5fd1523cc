// The translating engine: blocks become host code on their second execution; what the backend lacks is interpreted.
#ifndef DOPPEL_TRANSLATE_TRANSLATE_H
#define DOPPEL_TRANSLATE_TRANSLATE_H

#include <stddef.h>

#include "cpu/engine.h"

/// Its create fails with "no backend for this host" where there is none.
extern const struct engine engine_jit;
/// Whether this host has a backend.
bool translate_available(void);

struct translate_statistics {
    uint64_t host_instructions;        // guest instructions retired in host code
    uint64_t interpreted_instructions; // ... by the interpreter
    uint64_t translated_blocks, translated_instructions;
    uint64_t translation_ns; // that took; 0 on hosts without a clock that is read in no time
    uint64_t resumed;        // host code left in the middle of a block for the interpreter
    uint64_t links;          // jumps patched to lead to another block directly
    uint64_t detours;        // ways that host code was told to go where accesses with one check straddle pages
    uint64_t code_evictions; // the code memory was full, its oldest region was written anew
    uint64_t evicted_blocks; // ... and so many blocks that still lived lost their host code
    uint64_t code_bytes;     // in use
    unsigned code_regions;
};
/// `state`: what engine_jit.create gave.
void translate_statistics(const void *state, struct translate_statistics *statistics);

/// How often a block is interpreted before it is translated. Few: one execution by the interpreter costs a tenth of a
/// translation, host code that is hardly used displaces other from the host's caches and the code memory, and a loop of
/// some turns that was not left yet would be taken for one that never is.
#define TRANSLATE_THRESHOLD_DEFAULT 10u
/// ... unless told.
void translate_set_threshold(void *state, uint32_t executions);
/// Host code uses no instruction of a feature whose bit (enum cpu_feature) is clear, whatever the host has: rows of
/// others call their C function. At least SSE2 and the x87 are one: without either there is neither. Drops what was
/// translated.
void translate_limit_host_features(void *state, const uint64_t allowed[2]);
/// What `allowed` above is on a host of a generation: "none" (C functions for all of x87, MMX and SSE), "sse2", "sse3",
/// "ssse3", "sse4.1", "sse4.2", "all" (what the host has). False: no such name.
bool translate_host_generation(const char *name, uint64_t allowed[2]);
/// Uses at most this much of the code memory, but room for one small region (a block that is larger stays with the
/// interpreter); what was translated is dropped. For tests of a full one.
void translate_set_code_limit(void *state, size_t bytes);

/// Limits of the code memory that a user can ask for (-accel jit,tb-size=).
#define TRANSLATE_CODE_MINIMUM ((size_t)1 << 20)
#define TRANSLATE_CODE_DEFAULT ((size_t)90 << 20)
#define TRANSLATE_CODE_MAXIMUM ((size_t)1024 << 20)
/// Exchanges the code memory for one of `bytes`, between the limits above; what was translated is dropped. single: one
/// mapping that is writable and executable, where else host code is written through one and run through another. Only
/// while nothing runs. False: `error`, and the engine is as it was.
bool translate_set_code_memory(void *state, size_t bytes, bool single, struct error *error);

/// Who looks at translations: profiles, listings, tests. Functions may be NULL.
struct pass_block;
struct translate_hooks {
    /// After the passes, before host code is made of `pass->uops`. For tests: what it changes there is wrong on
    /// purpose.
    void (*before)(void *opaque, const struct block *block, struct pass_block *pass);
    /// The block has host code: `size` bytes that can be read at `code` and run at block_host_code(block). The first
    /// `straight` bytes are the way through, what follows is for misses, faults and the like.
    void (*made)(void *opaque, const struct block *block, const uint8_t *code, size_t straight, size_t size);
    void *opaque;
};
/// NULL: none. The struct is copied.
void translate_set_hooks(void *state, const struct translate_hooks *hooks);

#endif
