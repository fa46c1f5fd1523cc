// Host code on its way into memory: what every host's encoder writes with. Knows no host and no instruction.
#ifndef DOPPEL_TRANSLATE_EMIT_H
#define DOPPEL_TRANSLATE_EMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bits.h"
#include "base/host.h"

struct emit {
    uint8_t *start, *at, *end;
    bool full;     // something did not fit: the code is worthless
    int32_t depth; // bytes on the host's stack here, above what encoders address from its pointer
};

/// A place to be patched, in a branch whose target was not known. The encoder that wrote it knows what is there.
typedef uint8_t *emit_place;

static inline void emit_start(struct emit *e, uint8_t *start, size_t size)
{
    *e = (struct emit){.start = start, .at = start, .end = start + size};
}

static inline size_t emit_size(const struct emit *e)
{
    return (size_t)(e->at - e->start);
}

/// The low `bytes` (up to 8) of value, the lowest first. What is behind them may change, up to e->end.
static inline void emit_put(struct emit *e, uint64_t value, unsigned bytes)
{
    if (LIKELY(e->end - e->at >= 8)) {
        store_le64(e->at, value);
        e->at += bytes;
        return;
    }
    if (e->end - e->at < (ptrdiff_t)bytes) {
        e->full = true;
        return;
    }
    for (unsigned i = 0; i < bytes; i++)
        e->at[i] = (uint8_t)(value >> (8 * i));
    e->at += bytes;
}

#endif
