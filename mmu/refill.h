// New entries of the soft TLB, internal to mmu/.
#ifndef DOPPEL_MMU_REFILL_H
#define DOPPEL_MMU_REFILL_H

#include "mmu/walk.h"

static inline bool refill_is_watched(const struct mmu *mmu, enum mmu_access kind, uint64_t linear)
{
    for (unsigned i = 0; i < MMU_WATCHES; i++) {
        if ((mmu->watch[i].kinds >> kind & 1) && mmu->watch[i].page == (linear & PAGE_MASK))
            return true;
    }
    return false;
}

static inline bool refill_is_canonical(const struct mmu *mmu, uint64_t linear)
{
    return (uint64_t)bits_sign_extend(linear, mmu->linear_bits) == linear;
}

/// The host address of a whole page of RAM that a walk used lately; NULL: not known here.
static inline uint8_t *refill_ram_page(const struct mmu *mmu, uint64_t page)
{
    for (unsigned i = 0; i < ARRAY_SIZE(mmu->ram); i++) {
        const struct mmu_ram *ram = &mmu->ram[i];
        uint64_t inside = page - ram->start;
        if (inside < ram->span && ram->span - inside >= PAGE_SIZE - 7)
            return ram->host + inside;
    }
    return NULL;
}

/// Regions of three sizes share the filter: a page, and the 2 MiB and the GiB around it for INVLPG of large pages.
static inline uint32_t refill_fetched_hash(uint64_t linear, unsigned shift)
{
    uint64_t region = (linear >> shift) << 6 | shift;
    return (uint32_t)(region * MMU_FETCHED_FACTOR >> MMU_FETCHED_SHIFT) % MMU_FETCHED_BITS;
}

/// Somebody keeps what a fetch found, which has a TLB entry or is watched, until fetch_epoch changes.
void refill_note_fetch(struct mmu *mmu, enum mmu_mode mode, uint64_t linear);

/// Makes the entry of a page whose walk allowed the access and whose bytes are all at `host_page`, for a write the one
/// for reading too; none for a watched page.
void refill_entry(struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint64_t linear, const uint8_t *host_page,
                  const struct walk *walk);

#endif
