// A 64-bit checksum that runs at memory speed: eight lanes of multiply and rotate. Finds damage and differences; it is
// no protection against forgery.
#ifndef DOPPEL_FRONTEND_CHECKSUM_H
#define DOPPEL_FRONTEND_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#define CHECKSUM_BLOCK 64
#define CHECKSUM_LANES 8

struct checksum {
    uint64_t lane[CHECKSUM_LANES];
    uint8_t buffer[CHECKSUM_BLOCK];
    size_t filled;
    uint64_t total;
};

void checksum_init(struct checksum *sum);
void checksum_add(struct checksum *sum, const void *bytes, size_t length);
uint64_t checksum_finish(const struct checksum *sum);
/// The finishing mix, also for combining: every input bit reaches every output bit.
uint64_t checksum_mix(uint64_t value);

#endif
