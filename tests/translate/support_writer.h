// Random programs of guest code, written piece by piece.
#ifndef DOPPEL_TESTS_TRANSLATE_SUPPORT_WRITER_H
#define DOPPEL_TESTS_TRANSLATE_SUPPORT_WRITER_H

#include <string.h>

#include "support_guest.h"

#define WRITER_MOST_CODE 1500u // bytes

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R14 = 14, NO_INDEX };

struct writer {
    uint8_t code[WRITER_MOST_CODE];
    unsigned size;
    bool long_mode;
    int back; // bytes that a pointer goes back in each turn of a loop, at most, where a test must know
    uint64_t random;
};

static inline unsigned pick(struct writer *w, unsigned below)
{
    return (unsigned)(guest_random(&w->random) >> 20) % below;
}

static inline void put(struct writer *w, const void *bytes, unsigned size)
{
    memcpy(w->code + w->size, bytes, size);
    w->size += size;
}

static inline void put_byte(struct writer *w, unsigned byte)
{
    w->code[w->size++] = (uint8_t)byte;
}

static inline void put_number(struct writer *w, uint64_t value, unsigned size)
{
    put(w, &value, size);
}

#endif
