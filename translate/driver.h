// What the files of the translating engine share that know no host: translate.c drives, superblock.c chooses, links.c
// lets host code go from block to block.
#ifndef DOPPEL_TRANSLATE_DRIVER_H
#define DOPPEL_TRANSLATE_DRIVER_H

#include "translate/backend.h"
#include "translate/code_cache.h"
#include "translate/translate.h"

typedef struct host_result enter_host_code(struct cpu *cpu, const void *code);

struct jit {
    struct cpu *cpu;
    const struct backend *backend;
    struct host_code_memory code;
    size_t code_start; // behind the way in and out
    struct code_cache cache;
    enter_host_code *enter;
    struct backend_entries entries;
    struct fpu_routines fpu;     // likewise
    uint64_t host_features[2];   // instructions that host code may use
    const struct block *running; // the interpreter runs a copy of it
    uint32_t threshold;
    bool detours; // there may be some
    struct translate_hooks hooks;
    struct translate_statistics statistics;
    uint64_t ticks;                 // of the host's, for translations
    uint64_t first_tick, first_ns;  // when the engine was made
    struct translation translation; // scratch
};

static inline const uint8_t *jit_to_exec(const struct jit *jit, const uint8_t *written)
{
    return jit->code.exec + (written - jit->code.write);
}

static inline uint8_t *jit_to_write(const struct jit *jit, const void *run)
{
    return jit->code.write + ((const uint8_t *)run - jit->code.exec);
}

/// Whether host code for the block would do anything at all.
bool translate_worth(const struct backend *backend, const struct cpu *cpu, const struct block *block);
/// Host code for the uops of the part at work. False: the interpreter goes on somewhere in it.
bool translate_uops(struct translation *t);
/// ... for those up to t->join.index again.
void translate_until_join(struct translation *t);
/// Host code for t->head and the blocks that follow it likely, but for what is out of line.
void superblock_translate(struct translation *t, const struct translate_hooks *hooks,
                          struct translate_statistics *statistics);

/// Patches direct exit `which` of `from` to jump to `next`, which stands at RIP. An exit that stays inside its page,
/// guest address and backing alike, holds for every alias of the page; one that does not has a guard. False: it is an
/// indirect jump that changed its mind too often.
bool links_connect(struct jit *jit, struct block *from, unsigned which, struct block *next);
/// Whether jump `number` of the block leads to another page.
bool links_is_guarded(const struct block *block, unsigned number);
/// No jump leads to the block's host code any more.
void links_take_away(struct jit *jit, struct block *block);

#endif
