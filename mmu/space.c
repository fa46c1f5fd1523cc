// Entries of address spaces that do not run. A change of space moves its live entries, a few dozen as a rule, which
// costs less than the walks to find them again, and leaves the inline check of generated code as it is.
#include "mmu/space.h"

#include <string.h>

#define TLB_ARRAYS (MMU_MODES * MMU_ACCESS_KINDS)

static struct mmu_space *find(struct mmu *mmu, uint16_t pcid)
{
    for (unsigned i = 0; i < MMU_SPACES; i++) {
        if (mmu->spaces[i].used && mmu->spaces[i].pcid == pcid)
            return &mmu->spaces[i];
    }
    return NULL;
}

/// The place for `pcid`: its own, a free one, or that of the space left longest ago.
static struct mmu_space *place_for(struct mmu *mmu, uint16_t pcid)
{
    struct mmu_space *best = find(mmu, pcid);
    for (unsigned i = 0; i < MMU_SPACES && !best; i++) {
        if (!mmu->spaces[i].used)
            best = &mmu->spaces[i];
    }
    if (best)
        return best;
    best = &mmu->spaces[0];
    for (unsigned i = 1; i < MMU_SPACES; i++) {
        if (mmu->spaces[i].left < best->left)
            best = &mmu->spaces[i];
    }
    return best;
}

/// Moves the local entries of one TLB array to the end of the space's list; what finds no room there is dropped.
static void move_out(struct mmu *mmu, unsigned array, struct mmu_space *space)
{
    for (uint64_t words = mmu->filled_words[array]; words; words &= words - 1) {
        unsigned word = (unsigned)__builtin_ctzll(words);
        uint64_t slots = mmu->filled[array][word] & ~mmu->global[array][word];
        mmu->filled[array][word] &= mmu->global[array][word];
        if (!mmu->filled[array][word])
            mmu->filled_words[array] &= ~BIT(word);
        for (; slots; slots &= slots - 1) {
            uint32_t index = 64 * word + (unsigned)__builtin_ctzll(slots);
            uint64_t *tag = space_tlb_tag(mmu, array, index);
            if (*tag != TLB_INVALID && space->count < MMU_SPACE_ENTRIES)
                space->entry[space->count++] = (struct tlb_entry){.tag = *tag << PAGE_SHIFT | array,
                                                                  .addend = *space_tlb_addend(mmu, array, index)};
            *tag = TLB_INVALID;
        }
    }
}

void space_leave(struct mmu *mmu, uint16_t pcid)
{
    struct mmu_space *space = place_for(mmu, pcid);
    space->used = true;
    space->pcid = pcid;
    space->count = 0;
    space->left = ++mmu->space_clock;
    space->fetch_epoch = mmu->fetch_epoch[1];
    // The user's arrays first: the supervisor's entries are mostly global, and room is limited. Of each privilege those
    // for reading first: one for writing is never without.
    for (unsigned mode = MMU_MODES; mode-- > 0;) {
        for (unsigned kind = 0; kind < MMU_ACCESS_KINDS; kind++)
            move_out(mmu, mode * MMU_ACCESS_KINDS + kind, space);
    }
}

void space_enter(struct mmu *mmu, uint16_t pcid)
{
    struct mmu_space *space = find(mmu, pcid);
    const struct memory *memory = mmu->space->memory;
    if (!space)
        return;
    space->used = false;
    for (uint32_t i = 0; i < space->count; i++) {
        uint64_t page = space->entry[i].tag & PAGE_MASK, addend = space->entry[i].addend;
        unsigned array = (unsigned)(space->entry[i].tag & ~PAGE_MASK), kind = array % MMU_ACCESS_KINDS;
        uint32_t index = tlb_index(page);
        // The page may have got code (or a watch) since: mmu_protect_code_page does not look here.
        uint64_t backing = page + addend - (uint64_t)(uintptr_t)memory->host;
        if (kind == MMU_WRITE && __atomic_load_n(&memory->page_flags[backing >> PAGE_SHIFT], __ATOMIC_RELAXED))
            continue;
        if (kind == MMU_READ) // another page's, that may have come meanwhile
            *space_tlb_tag(mmu, array + 1, index) = TLB_INVALID;
        // The one for reading, which came before, has the same addend.
        if (kind == MMU_WRITE && *space_tlb_tag(mmu, array - 1, index) != page >> PAGE_SHIFT)
            continue;
        *space_tlb_tag(mmu, array, index) = page >> PAGE_SHIFT;
        *space_tlb_addend(mmu, array, index) = addend;
        mmu->filled[array][index / 64] |= BIT(index % 64);
        mmu->global[array][index / 64] &= ~BIT(index % 64);
        mmu->filled_words[array] |= BIT(index / 64);
    }
    if (space->fetch_epoch)
        mmu->fetch_epoch[1] = space->fetch_epoch;
}

void space_drop(struct mmu *mmu, uint16_t pcid)
{
    struct mmu_space *space = find(mmu, pcid);
    if (space)
        space->used = false;
}

void space_drop_all(struct mmu *mmu)
{
    for (unsigned i = 0; i < MMU_SPACES; i++)
        mmu->spaces[i].used = false;
}

void space_drop_range(struct mmu *mmu, uint16_t pcid, uint64_t first, uint64_t last, bool fetched)
{
    struct mmu_space *space = find(mmu, pcid);
    if (!space)
        return;
    if (fetched)
        space->fetch_epoch = 0;
    for (uint32_t i = 0; i < space->count;) {
        uint64_t page = space->entry[i].tag & PAGE_MASK;
        if (page >= first && page <= last)
            space->entry[i] = space->entry[--space->count];
        else
            i++;
    }
}
