// Guest-physical memory: one memory file a machine (RAM, ROM, VGA RAM), and address spaces whose ranges lead to
// pieces of it or to device ops. Memory and I/O ports are both address spaces. Knows no CPU and no device.
#ifndef DOPPEL_MMU_MEMORY_H
#define DOPPEL_MMU_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/log.h"

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096u
#define PAGE_MASK (~(uint64_t)(PAGE_SIZE - 1))
#define GRANULE_SIZE 64u // code is tracked by 64-byte granules, 64 a page

/// Flags of a backing page, one byte each in memory->page_flags, changed atomically.
#define PAGE_HAS_CODE 0x01u  // translated code stands on it: writes go the slow way
#define PAGE_DIRTY_LOG 0x02u // reserved for dirty logging

/// Told when bytes that carry code are written, whoever writes (CPU stores, DMA). One for all vCPUs of a machine.
struct memory_listener {
    /// [offset, +size) of the memory file lies in one page that has PAGE_HAS_CODE and is about to change (the
    /// bytes are still old).
    void (*code_written)(void *opaque, uint64_t offset, uint32_t size);
    void *opaque;
};

struct memory {
    uint8_t *host;      // mapping of the whole file
    uint64_t size;      // bytes, multiple of PAGE_SIZE
    uint64_t allocated; // bytes handed out by memory_allocate
    int file;
    uint8_t *page_flags; // one a backing page
    struct memory_listener listener;
};

/// Creates the memory file. `size` bytes are reserved, not committed.
bool memory_create(struct memory *memory, uint64_t size, struct error *error);
void memory_destroy(struct memory *memory);
/// Hands out `size` (rounded up to pages) bytes of the file: returns the offset, or UINT64_MAX when full.
uint64_t memory_allocate(struct memory *memory, uint64_t size);

/// A device's registers at offsets from the start of its range. size is 1, 2, 4 or 8 and offset+size lies in the
/// range. Accesses wider than max_size are split by the address space (little-endian, low part first); narrower
/// than min_size: reads are widened and cut, writes pass as they are with their size.
struct region_ops {
    uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
    void (*write)(void *opaque, uint64_t offset, uint64_t value, unsigned size);
    uint8_t max_size; // 0 means 4
    uint8_t min_size; // 0 means 1
    const char *name;
};

enum range_kind {
    RANGE_MEMORY, // reads and writes go to the memory file
    RANGE_ROM,    // reads go to the memory file, writes are dropped
    RANGE_DEVICE, // ops
    RANGE_SPLIT,  // reads from memory, writes to ops (flash, PAM read-only with side effects)
};

struct range {
    uint64_t start, size;
    enum range_kind kind;
    int priority; // the higher covers the lower where they overlap
    bool enabled;
    uint64_t offset; // memory kinds: in the memory file
    const struct region_ops *ops;
    void *opaque;
    const char *name;
};

/// One piece of the flattened map that address_space_find returns, valid until the map changes. It holds its own
/// copies of what the range said when the map was made, so that it stays consistent while a batch changes ranges.
struct flat_range {
    uint64_t start, end;       // end excluded
    const struct range *range; // NULL: unassigned
    uint64_t range_offset;     // of start, from the range's start
    uint64_t memory_offset;    // of start, in the memory file; UINT64_MAX: no memory behind it
    enum range_kind kind;
};

struct address_space_listener {
    /// The map changed: TLBs drop what they derived from it. Acts at the next instruction boundary.
    void (*map_changed)(void *opaque);
    void *opaque;
    struct address_space_listener *next;
};

struct address_space {
    const char *name;
    struct memory *memory; // NULL for ports
    uint64_t limit;        // size of the space in bytes
    struct range **ranges; // stable pointers
    size_t range_count, range_capacity;
    struct flat_range *flat;
    size_t flat_count;
    unsigned batch; // > 0: flattening waits for address_space_commit
    bool stale;
    const struct log *log;
    struct address_space_listener *listeners;
    uint64_t unassigned_reads; // counters for `info`
    uint64_t unassigned_writes;
};

void address_space_init(struct address_space *as, const char *name, struct memory *memory, uint64_t limit,
                        const struct log *log);
void address_space_destroy(struct address_space *as);
/// A listener's node belongs to the caller.
void address_space_listen(struct address_space *as, struct address_space_listener *listener);
void address_space_unlisten(struct address_space *as, struct address_space_listener *listener);

/// Adds a range; start+size must lie inside the space. Returns NULL (error) if not.
struct range *address_space_map_memory(struct address_space *as, const char *name, uint64_t start, uint64_t size,
                                       int priority, uint64_t offset, bool rom, struct error *error);
struct range *address_space_map_device(struct address_space *as, const char *name, uint64_t start, uint64_t size,
                                       int priority, const struct region_ops *ops, void *opaque, struct error *error);
/// Moves, enables or changes a range (a PCI BAR, PAM, SMRAM). Cheap when nothing changes. `start` may come from the
/// guest: what lies outside the space is cut off.
void address_space_update(struct address_space *as, struct range *range, uint64_t start, bool enabled,
                          enum range_kind kind);
/// Groups several changes into one flattening and one notification; nests.
void address_space_begin(struct address_space *as);
void address_space_commit(struct address_space *as);

/// A range that a device owns becomes RANGE_SPLIT or another kind by address_space_update; this sets where its
/// memory kinds lead and its ops, so that one range can be both.
void address_space_set_backing(struct address_space *as, struct range *range, uint64_t offset,
                               const struct region_ops *ops, void *opaque);

/// The piece that holds `address` (always one: unassigned pieces have range NULL).
const struct flat_range *address_space_find(const struct address_space *as, uint64_t address);

/// Single accesses of 1, 2, 4 or 8 bytes, as a CPU or a bus master makes them. Unassigned reads give all ones,
/// unassigned writes vanish. Memory ranges that lead outside the memory file behave as unassigned. Accesses over the
/// end of a piece are split. RAM accesses are relaxed atomics when naturally aligned. Writes to RAM honour
/// PAGE_HAS_CODE through the memory's listener.
uint64_t address_space_read(struct address_space *as, uint64_t address, unsigned size);
void address_space_write(struct address_space *as, uint64_t address, uint64_t value, unsigned size);
/// Bulk copies for DMA and loaders (loaders may write ROM: `force`).
void address_space_read_bytes(struct address_space *as, uint64_t address, void *to, uint64_t length);
void address_space_write_bytes(struct address_space *as, uint64_t address, const void *from, uint64_t length,
                               bool force);
/// Writes the flattened map, a line a piece (monitor: info mtree).
void address_space_print(const struct address_space *as, FILE *to);

#endif
