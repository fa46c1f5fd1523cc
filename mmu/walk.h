// Page walks, internal to mmu/: from a linear address to a translation with its rights, without side effects; and the
// update of Accessed and Dirty bits that a use of the translation asks for.
#ifndef DOPPEL_MMU_WALK_H
#define DOPPEL_MMU_WALK_H

#include <string.h>

#include "mmu/mmu.h"

#define WALK_LEVELS 5

struct walk_step {
    uint8_t *host; // of the entry in RAM; NULL: elsewhere, never updated
    uint64_t entry;
};

/// A translation, or why there is none.
struct walk {
    bool quiet; // set by the caller: for debugging, devices are not read
    bool quick; // set by the caller: gives up where code outside walk.c would be called
    uint64_t linear;
    uint32_t error;     // 0, or P and RSVD bits of the error code with `missing` set
    bool missing;       // an entry is not present or has reserved bits set
    uint64_t all;       // AND of the entries used
    uint64_t any;       // OR of them; XD counts
    uint64_t leaf;      // the last one
    uint8_t page_bits;  // 12, 21, 22, 30
    uint8_t step_count; // entries used, the leaf is last
    uint8_t entry_size; // 4 or 8
    uint64_t physical;  // of the linear address, before A20
    struct walk_step step[WALK_LEVELS];
};

#define ENTRY_P BIT(0)
#define ENTRY_RW BIT(1)
#define ENTRY_US BIT(2)
#define ENTRY_A BIT(5)
#define ENTRY_D BIT(6)
#define ENTRY_PS BIT(7)
#define ENTRY_G BIT(8)
#define ENTRY_XD BIT(63)

/// Looks up `linear` by the present paging mode. False: walk->missing.
bool walk_find(struct mmu *mmu, uint64_t linear, struct walk *walk);
/// Whether the translation allows the access (SDM vol. 3 sec. 4.6.1).
bool walk_allows(const struct mmu *mmu, const struct walk *walk, enum mmu_mode mode, enum mmu_access kind);
/// Sets A at all levels and D for a write. False: an entry changed meanwhile, walk again. Where an entry cannot be
/// written (ROM, MMIO) the update is dropped; walk->leaf says what it has.
bool walk_set_missing_bits(struct mmu *mmu, struct walk *walk, bool write);
static inline bool walk_set_accessed(struct mmu *mmu, struct walk *walk, bool write)
{
    if (LIKELY((walk->all & ENTRY_A) && (!write || (walk->leaf & ENTRY_D))))
        return true;
    return walk_set_missing_bits(mmu, walk, write);
}
/// Like it, without looking: for the case that other processors keep changing the entries.
void walk_force_accessed(struct mmu *mmu, struct walk *walk, bool write);
/// Forgets page tables: with every flush, because SDM vol. 3 sec. 4.10.4 drops them for INVLPG of any page too.
static inline void walk_forget_tables(struct mmu *mmu)
{
    if (UNLIKELY(++mmu->table_generation >= MMU_TABLE_GENERATIONS)) {
        memset(mmu->table, 0, sizeof mmu->table);
        mmu->table_generation = 1;
    }
}
/// Takes CR0, CR4, EFER and physical_bits into the derived fields.
void walk_set_mode(struct mmu *mmu);

#endif
