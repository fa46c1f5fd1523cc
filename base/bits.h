// Small integer helpers that every folder may use. Knows nothing of guests or hosts.
#ifndef DOPPEL_BASE_BITS_H
#define DOPPEL_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (UINT64_C(1) << (n))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/// `count` (0..64) low bits set.
static inline uint64_t bits_mask(unsigned count)
{
    return count >= 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
}

/// Bits `high`..`low` of `value`, both included, moved to bit 0.
static inline uint64_t bits_get(uint64_t value, unsigned high, unsigned low)
{
    return (value >> low) & bits_mask(high - low + 1);
}

/// Sign-extends the low `count` (1..64) bits of `value`.
static inline int64_t bits_sign_extend(uint64_t value, unsigned count)
{
    unsigned shift = 64 - count;
    return (int64_t)(value << shift) >> shift;
}

static inline uint64_t align_down(uint64_t value, uint64_t power_of_two)
{
    return value & ~(power_of_two - 1);
}

static inline uint64_t align_up(uint64_t value, uint64_t power_of_two)
{
    return align_down(value + power_of_two - 1, power_of_two);
}

/// Unaligned little-endian access to host memory that no other thread writes.
static inline uint16_t load_le16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint32_t load_le32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint64_t load_le64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void store_le16(void *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
}
static inline void store_le32(void *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
}
static inline void store_le64(void *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
}

#endif
