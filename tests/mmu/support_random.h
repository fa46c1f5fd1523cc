// Repeatable random numbers for the tests of mmu/.
#ifndef DOPPEL_TESTS_MMU_SUPPORT_RANDOM_H
#define DOPPEL_TESTS_MMU_SUPPORT_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct random {
    uint64_t state;
};

/// splitmix64.
static inline uint64_t random_next(struct random *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline uint64_t random_below(struct random *random, uint64_t limit)
{
    return random_next(random) % limit;
}

/// True once in `n` times.
static inline bool random_one_in(struct random *random, unsigned n)
{
    return random_below(random, n) == 0;
}

#endif
