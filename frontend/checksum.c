// See checksum.h. Each lane's step is a bijection of the lane for a given word, and of the word for a given lane, so
// that a change inside one block is never lost.
#include "frontend/checksum.h"

#include <string.h>

#include "base/bits.h"

#define MULTIPLIER UINT64_C(0x9e3779b97f4a7c15)

void checksum_init(struct checksum *sum)
{
    memset(sum, 0, sizeof *sum);
    for (unsigned i = 0; i < CHECKSUM_LANES; i++)
        sum->lane[i] = (i + 1) * MULTIPLIER;
}

static inline void add_block(uint64_t *lane, const uint8_t *bytes)
{
    for (unsigned i = 0; i < CHECKSUM_LANES; i++) {
        uint64_t value = lane[i] ^ load_le64(bytes + 8 * i);
        lane[i] = (value << 29 | value >> 35) * MULTIPLIER;
    }
}

void checksum_add(struct checksum *sum, const void *bytes, size_t length)
{
    const uint8_t *from = bytes;
    sum->total += length;
    while (length) {
        if (!sum->filled && length >= CHECKSUM_BLOCK) {
            uint64_t lane[CHECKSUM_LANES]; // local, so that the lanes stay in registers
            memcpy(lane, sum->lane, sizeof lane);
            for (; length >= CHECKSUM_BLOCK; length -= CHECKSUM_BLOCK, from += CHECKSUM_BLOCK)
                add_block(lane, from);
            memcpy(sum->lane, lane, sizeof lane);
            continue;
        }
        size_t part = CHECKSUM_BLOCK - sum->filled;
        if (part > length)
            part = length;
        memcpy(sum->buffer + sum->filled, from, part);
        sum->filled += part;
        from += part;
        length -= part;
        if (sum->filled == CHECKSUM_BLOCK) {
            add_block(sum->lane, sum->buffer);
            sum->filled = 0;
        }
    }
}

uint64_t checksum_mix(uint64_t value)
{
    value = (value ^ value >> 32) * MULTIPLIER;
    value = (value ^ value >> 29) * MULTIPLIER;
    return value ^ value >> 32;
}

uint64_t checksum_finish(const struct checksum *sum)
{
    struct checksum last = *sum;
    if (last.filled) {
        memset(last.buffer + last.filled, 0, CHECKSUM_BLOCK - last.filled);
        add_block(last.lane, last.buffer);
    }
    uint64_t hash = last.total;
    for (unsigned i = 0; i < CHECKSUM_LANES; i++)
        hash = checksum_mix(hash ^ last.lane[i]) + i;
    return hash;
}
