// Accesses through an address space: single ones as a CPU or bus master makes them, and bulk copies. Cuts them at
// pieces, at what a device accepts, and tells the memory's listener before code changes.
#include <string.h>

#include "base/bits.h"
#include "mmu/guest_bytes.h"
#include "mmu/memory.h"

static unsigned device_max_size(const struct region_ops *ops)
{
    switch (ops->max_size) {
    case 1:
    case 2:
    case 8:
        return ops->max_size;
    default:
        return 4;
    }
}

/// Reads 1, 2, 4 or 8 bytes that the device accepts, or widens to what it accepts.
static uint64_t device_read_one(const struct range *range, uint64_t offset, unsigned size)
{
    const struct region_ops *ops = range->ops;
    unsigned wide = ops->min_size;
    uint64_t start = wide ? offset & ~(uint64_t)(wide - 1) : offset;
    if (wide <= size || wide > 8 || (wide & (wide - 1)) || start + wide > range->size || offset + size > start + wide)
        return ops->read(range->opaque, offset, size) & bits_mask(8 * size);
    return ops->read(range->opaque, start, wide) >> (8 * (offset - start)) & bits_mask(8 * size);
}

/// The next access to make of `size` bytes that remain at `offset`: 1, 2, 4, 8 go as they are or in units of what
/// the device takes, other sizes (an access that crosses pieces) naturally aligned.
static unsigned device_chunk(unsigned max_size, bool whole, uint64_t offset, unsigned size)
{
    unsigned chunk = whole ? size : guest_bytes_chunk(offset, size);
    return chunk < max_size ? chunk : max_size;
}

static bool is_power_of_two(unsigned size)
{
    return (size & (size - 1)) == 0;
}

static uint64_t device_read(const struct range *range, uint64_t offset, unsigned size)
{
    unsigned max_size = device_max_size(range->ops);
    bool whole = is_power_of_two(size);
    uint64_t value = 0;
    for (unsigned done = 0; done < size;) {
        unsigned chunk = device_chunk(max_size, whole, offset + done, size - done);
        value |= device_read_one(range, offset + done, chunk) << (8 * done);
        done += chunk;
    }
    return value;
}

static void device_write(const struct range *range, uint64_t offset, uint64_t value, unsigned size)
{
    unsigned max_size = device_max_size(range->ops);
    bool whole = is_power_of_two(size);
    for (unsigned done = 0; done < size;) {
        unsigned chunk = device_chunk(max_size, whole, offset + done, size - done);
        range->ops->write(range->opaque, offset + done, value >> (8 * done) & bits_mask(8 * chunk), chunk);
        done += chunk;
    }
}

static uint64_t unassigned_read(struct address_space *as, uint64_t address, unsigned size)
{
    __atomic_fetch_add(&as->unassigned_reads, 1, __ATOMIC_RELAXED);
    if (log_on(as->log, LOG_MEM))
        log_print(as->log, LOG_MEM, "%s: unassigned read of %u bytes at 0x%llx\n", as->name, size,
                  (unsigned long long)address);
    return bits_mask(8 * size);
}

static void unassigned_write(struct address_space *as, uint64_t address, uint64_t value, unsigned size)
{
    __atomic_fetch_add(&as->unassigned_writes, 1, __ATOMIC_RELAXED);
    if (log_on(as->log, LOG_MEM))
        log_print(as->log, LOG_MEM, "%s: unassigned write of %u bytes at 0x%llx: 0x%llx\n", as->name, size,
                  (unsigned long long)address, (unsigned long long)value);
}

/// The host address of a byte of a piece that has memory behind it.
static uint8_t *memory_at(const struct address_space *as, const struct flat_range *piece, uint64_t address)
{
    return as->memory->host + piece->memory_offset + (address - piece->start);
}

static uint64_t device_offset(const struct flat_range *piece, uint64_t address)
{
    return piece->range_offset + (address - piece->start);
}

static bool reads_reach_device(const struct flat_range *piece)
{
    return piece->range && piece->kind == RANGE_DEVICE && piece->range->ops && piece->range->ops->read;
}

static bool writes_reach_device(const struct flat_range *piece)
{
    return piece->range && (piece->kind == RANGE_DEVICE || piece->kind == RANGE_SPLIT) && piece->range->ops &&
           piece->range->ops->write;
}

/// Whether writes reach the memory behind the piece; `force` is a loader's.
static bool writes_reach_memory(const struct flat_range *piece, bool force)
{
    return piece->memory_offset != UINT64_MAX && (piece->kind == RANGE_MEMORY || force);
}

/// Reads 1..8 bytes inside one piece.
static uint64_t read_piece(struct address_space *as, const struct flat_range *piece, uint64_t address, unsigned size)
{
    if (LIKELY(piece->memory_offset != UINT64_MAX))
        return guest_bytes_load(memory_at(as, piece, address), size);
    if (reads_reach_device(piece))
        return device_read(piece->range, device_offset(piece, address), size);
    return unassigned_read(as, address, size);
}

static void write_piece(struct address_space *as, const struct flat_range *piece, uint64_t address, uint64_t value,
                        unsigned size)
{
    if (LIKELY(writes_reach_memory(piece, false))) {
        memory_before_write(as->memory, piece->memory_offset + (address - piece->start), size);
        guest_bytes_store(memory_at(as, piece, address), size, value);
    } else if (writes_reach_device(piece)) {
        device_write(piece->range, device_offset(piece, address), value, size);
    } else if (!piece->range || piece->kind != RANGE_ROM) {
        unassigned_write(as, address, value, size);
    }
}

/// How much of [address, +length) the piece holds; the last piece has no end.
static uint64_t piece_length(const struct flat_range *piece, uint64_t address, uint64_t length)
{
    if (piece->end == UINT64_MAX)
        return length;
    return length < piece->end - address ? length : piece->end - address;
}

// The loops below work on copies of the pieces: what a device does in an access may change the map.

uint64_t address_space_read(struct address_space *as, uint64_t address, unsigned size)
{
    uint64_t value = 0;
    for (unsigned done = 0; done < size;) {
        struct flat_range piece = *address_space_find(as, address + done);
        unsigned part = (unsigned)piece_length(&piece, address + done, size - done);
        value |= read_piece(as, &piece, address + done, part) << (8 * done);
        done += part;
    }
    return value;
}

void address_space_write(struct address_space *as, uint64_t address, uint64_t value, unsigned size)
{
    for (unsigned done = 0; done < size;) {
        struct flat_range piece = *address_space_find(as, address + done);
        unsigned part = (unsigned)piece_length(&piece, address + done, size - done);
        write_piece(as, &piece, address + done, value >> (8 * done), part);
        done += part;
    }
}

/// Device pieces of a bulk copy go as naturally aligned accesses.
static void read_piece_bytes(struct address_space *as, const struct flat_range *piece, uint64_t address, uint8_t *to,
                             uint64_t length)
{
    if (piece->memory_offset != UINT64_MAX) {
        guest_bytes_copy_out(to, memory_at(as, piece, address), length);
        return;
    }
    if (!reads_reach_device(piece)) {
        unassigned_read(as, address, 8);
        memset(to, 0xff, length);
        return;
    }
    while (length) {
        unsigned size = guest_bytes_chunk(address, length);
        uint64_t value = device_read(piece->range, device_offset(piece, address), size);
        memcpy(to, &value, size);
        to += size, address += size, length -= size;
    }
}

static void write_piece_bytes(struct address_space *as, const struct flat_range *piece, uint64_t address,
                              const uint8_t *from, uint64_t length, bool force)
{
    if (writes_reach_memory(piece, force)) {
        memory_before_write(as->memory, piece->memory_offset + (address - piece->start), length);
        guest_bytes_copy_in(memory_at(as, piece, address), from, length);
        return;
    }
    if (!writes_reach_device(piece)) {
        if (!piece->range || piece->kind != RANGE_ROM)
            unassigned_write(as, address, 0, 8);
        return;
    }
    while (length) {
        unsigned size = guest_bytes_chunk(address, length);
        uint64_t value = 0;
        memcpy(&value, from, size);
        device_write(piece->range, device_offset(piece, address), value, size);
        from += size, address += size, length -= size;
    }
}

void address_space_read_bytes(struct address_space *as, uint64_t address, void *to, uint64_t length)
{
    uint8_t *out = to;
    while (length) {
        struct flat_range piece = *address_space_find(as, address);
        uint64_t part = piece_length(&piece, address, length);
        read_piece_bytes(as, &piece, address, out, part);
        out += part, address += part, length -= part;
    }
}

void address_space_write_bytes(struct address_space *as, uint64_t address, const void *from, uint64_t length,
                               bool force)
{
    const uint8_t *in = from;
    while (length) {
        struct flat_range piece = *address_space_find(as, address);
        uint64_t part = piece_length(&piece, address, length);
        write_piece_bytes(as, &piece, address, in, part, force);
        in += part, address += part, length -= part;
    }
}
