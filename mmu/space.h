// TLB entries of address spaces that do not run, internal to mmu/: PCIDs (SDM vol. 3 sec. 4.10.1). The TLB itself holds
// the present space's entries and the global ones, so that its lookup knows nothing of PCIDs.
#ifndef DOPPEL_MMU_SPACE_H
#define DOPPEL_MMU_SPACE_H

#include "mmu/mmu.h"

/// The TLB as a row of arrays, mode * MMU_ACCESS_KINDS + kind, as the bitmaps and the lists of entries number them.
static inline uint64_t *space_tlb_tag(struct mmu *mmu, unsigned array, uint32_t index)
{
    return mmu_tlb_tag(mmu, (enum mmu_mode)(array / MMU_ACCESS_KINDS), (enum mmu_access)(array % MMU_ACCESS_KINDS),
                       index);
}
static inline uint64_t *space_tlb_addend(struct mmu *mmu, unsigned array, uint32_t index)
{
    return mmu_tlb_addend(mmu, (enum mmu_mode)(array / MMU_ACCESS_KINDS), (enum mmu_access)(array % MMU_ACCESS_KINDS),
                          index);
}

/// Moves the present space's entries out of the TLB, to be found again under `pcid`. Global entries stay.
void space_leave(struct mmu *mmu, uint16_t pcid);
/// Puts the entries that were left under `pcid` back and forgets them there.
void space_enter(struct mmu *mmu, uint16_t pcid);
/// Forgets what was left under `pcid`.
void space_drop(struct mmu *mmu, uint16_t pcid);
void space_drop_all(struct mmu *mmu);
/// Forgets the entries of [first, last] that were left under `pcid`. `fetched`: code of the page may have been looked
/// up, so jump caches must not be trusted either.
void space_drop_range(struct mmu *mmu, uint16_t pcid, uint64_t first, uint64_t last, bool fetched);

#endif
