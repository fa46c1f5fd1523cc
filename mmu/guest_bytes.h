// Touching guest memory from C: naturally aligned sizes are single relaxed atomics, so that another vCPU never sees
// half of them; everything else is as good as the host makes it. Internal to mmu/. Little-endian hosts.
#ifndef DOPPEL_MMU_GUEST_BYTES_H
#define DOPPEL_MMU_GUEST_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bits.h"
#include "mmu/memory.h"

/// Loads 1..8 bytes, little-endian.
static inline uint64_t guest_bytes_load(const uint8_t *at, unsigned size)
{
    if (LIKELY(((uintptr_t)at & (size - 1)) == 0)) {
        switch (size) {
        case 1:
            return __atomic_load_n(at, __ATOMIC_RELAXED);
        case 2:
            return __atomic_load_n((const uint16_t *)at, __ATOMIC_RELAXED);
        case 4:
            return __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED);
        case 8:
            return __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
        default:
            break;
        }
    }
    switch (size) { // constant sizes become one host access where the host can
    case 2:
        return load_le16(at);
    case 4:
        return load_le32(at);
    case 8:
        return load_le64(at);
    default:
        break;
    }
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)__atomic_load_n(at + i, __ATOMIC_RELAXED) << (8 * i);
    return value;
}

/// Stores the low `size` (1..8) bytes of `value`, little-endian.
static inline void guest_bytes_store(uint8_t *at, unsigned size, uint64_t value)
{
    if (LIKELY(((uintptr_t)at & (size - 1)) == 0)) {
        switch (size) {
        case 1:
            __atomic_store_n(at, (uint8_t)value, __ATOMIC_RELAXED);
            return;
        case 2:
            __atomic_store_n((uint16_t *)at, (uint16_t)value, __ATOMIC_RELAXED);
            return;
        case 4:
            __atomic_store_n((uint32_t *)at, (uint32_t)value, __ATOMIC_RELAXED);
            return;
        case 8:
            __atomic_store_n((uint64_t *)at, value, __ATOMIC_RELAXED);
            return;
        default:
            break;
        }
    }
    switch (size) {
    case 2:
        store_le16(at, (uint16_t)value);
        return;
    case 4:
        store_le32(at, (uint32_t)value);
        return;
    case 8:
        store_le64(at, value);
        return;
    default:
        break;
    }
    for (unsigned i = 0; i < size; i++)
        __atomic_store_n(at + i, (uint8_t)(value >> (8 * i)), __ATOMIC_RELAXED);
}

/// The largest naturally aligned power of two, at most 8, that fits at `address` in `length` (> 0) bytes.
static inline unsigned guest_bytes_chunk(uint64_t address, uint64_t length)
{
    unsigned size = 8;
    while ((address & (size - 1)) || size > length)
        size >>= 1;
    return size;
}

/// Bulk forms; naturally aligned units of the guest side stay whole.
static inline void guest_bytes_copy_out(void *to, const uint8_t *from, size_t length)
{
    uint8_t *out = to;
    while (length) {
        unsigned size = guest_bytes_chunk((uintptr_t)from, length);
        uint64_t value = guest_bytes_load(from, size);
        memcpy(out, &value, size);
        out += size, from += size, length -= size;
    }
}

static inline void guest_bytes_copy_in(uint8_t *to, const void *from, size_t length)
{
    const uint8_t *in = from;
    while (length) {
        unsigned size = guest_bytes_chunk((uintptr_t)to, length);
        uint64_t value = 0;
        memcpy(&value, in, size);
        guest_bytes_store(to, size, value);
        to += size, in += size, length -= size;
    }
}

/// Must precede every change of [offset, +length) of the memory file: tells the listener where code stands.
static inline void memory_before_write(struct memory *memory, uint64_t offset, uint64_t length)
{
    while (length) {
        uint64_t part = PAGE_SIZE - (offset & (PAGE_SIZE - 1));
        if (part > length)
            part = length;
        uint8_t flags = __atomic_load_n(&memory->page_flags[offset >> PAGE_SHIFT], __ATOMIC_RELAXED);
        if (UNLIKELY(flags & PAGE_HAS_CODE) && memory->listener.code_written)
            memory->listener.code_written(memory->listener.opaque, offset, (uint32_t)part);
        offset += part;
        length -= part;
    }
}

#endif
