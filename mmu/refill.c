// New entries of the soft TLB, and the whole of a miss in the plain case. On x86-64 this file and walk.c are compiled
// without vector registers, and what mmu_refill does stays in them: host code calls it with the guest's vector
// registers in the host's.
#include "mmu/refill.h"

#define CR4_PGE BIT(7)
#define EFER_LMA BIT(10)

/// Adds a large page to the list; when it is full, the range that grows least takes the page in.
static void note_large_page(struct mmu *mmu, uint64_t linear, unsigned page_bits)
{
    uint64_t size = BIT(page_bits), first = align_down(linear, size), last = first + size - 1;
    uint64_t least = UINT64_MAX;
    uint32_t best = 0;
    for (uint32_t i = 0; i < mmu->large_count; i++) {
        struct mmu_large_range *large = &mmu->large[i];
        if (first >= large->first && last <= large->last && size <= large->page_size)
            return;
        uint64_t low = first < large->first ? large->first - first : 0;
        uint64_t high = last > large->last ? last - large->last : 0;
        if (low + high < least) {
            least = low + high;
            best = i;
        }
    }
    if (mmu->large_count < ARRAY_SIZE(mmu->large)) {
        mmu->large[mmu->large_count++] = (struct mmu_large_range){.first = first, .last = last, .page_size = size};
        return;
    }
    struct mmu_large_range *large = &mmu->large[best];
    large->first = first < large->first ? first : large->first;
    large->last = last > large->last ? last : large->last;
    large->page_size = size > large->page_size ? size : large->page_size;
}

static inline void put_entry(struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint32_t index, uint64_t tag,
                             uint64_t addend)
{
    uint64_t *shared = mmu_tlb_addend(mmu, mode, kind, index);
    if (kind != MMU_EXECUTE && *shared != addend)
        *mmu_tlb_tag(mmu, mode, kind == MMU_READ ? MMU_WRITE : MMU_READ, index) = TLB_INVALID;
    *shared = addend;
    *mmu_tlb_tag(mmu, mode, kind, index) = tag;
}

static inline void fill_one(struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint64_t linear,
                            const uint8_t *host_page, bool global)
{
    uint32_t index = tlb_index(linear);
    unsigned array = mode * MMU_ACCESS_KINDS + kind;
    uint64_t bit = BIT(index % 64), page = linear & PAGE_MASK;
    if (UNLIKELY(mmu->watch_kinds >> kind & 1) && refill_is_watched(mmu, kind, linear))
        return;
    put_entry(mmu, mode, kind, index, page >> PAGE_SHIFT, (uint64_t)(uintptr_t)host_page - page);
    mmu->filled[array][index / 64] |= bit;
    mmu->filled_words[array] |= BIT(index / 64);
    if (global)
        mmu->global[array][index / 64] |= bit;
    else
        mmu->global[array][index / 64] &= ~bit;
}

/// A new entry for reading ends one for writing in its slot that is another page's, or lives longer (the guest has
/// changed its tables in between). One that leads elsewhere is gone already.
static inline void drop_other_write(struct mmu *mmu, enum mmu_mode mode, uint64_t linear)
{
    uint32_t index = tlb_index(linear);
    uint64_t *write = mmu_tlb_tag(mmu, mode, MMU_WRITE, index);
    const uint64_t *global = mmu->global[mode * MMU_ACCESS_KINDS + MMU_READ] + index / 64;
    const uint64_t *write_global = mmu->global[mode * MMU_ACCESS_KINDS + MMU_WRITE] + index / 64;
    if (*write != TLB_INVALID && (*write != linear >> PAGE_SHIFT || ((*global ^ *write_global) >> index % 64 & 1)))
        *write = TLB_INVALID;
}

// What may be written may be read: with each entry for writing goes an equal one for reading. Loads behind a store, or
// before one, find that, so that host code may let them share its check: also where the guest changes page tables and
// does not tell.
void refill_entry(struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint64_t linear, const uint8_t *host_page,
                  const struct walk *walk)
{
    bool global = (walk->leaf & ENTRY_G) && (mmu->cr4 & CR4_PGE);
    fill_one(mmu, mode, kind, linear, host_page, global);
    if (kind == MMU_WRITE)
        fill_one(mmu, mode, MMU_READ, linear, host_page, global);
    else if (kind == MMU_READ)
        drop_other_write(mmu, mode, linear);
    if (walk->page_bits != PAGE_SHIFT)
        note_large_page(mmu, linear, walk->page_bits);
    mmu->fill_count++;
}

void *mmu_refill(struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint64_t linear, unsigned size, bool *code)
{
    struct walk walk;
    const struct memory *memory = mmu->space->memory;
    uint8_t *page, flags = 0;
    *code = false;
    walk.quiet = false;
    walk.quick = true;
    if (UNLIKELY((linear ^ (linear + size - 1)) & PAGE_MASK))
        return NULL;
    if (UNLIKELY((mmu->efer & EFER_LMA) && !refill_is_canonical(mmu, linear)))
        return NULL;
    if (UNLIKELY(!walk_find(mmu, linear, &walk)) || UNLIKELY(!walk_allows(mmu, &walk, mode, kind)) ||
        UNLIKELY(!walk_set_accessed(mmu, &walk, kind == MMU_WRITE)))
        return NULL;
    page = refill_ram_page(mmu, walk.physical & mmu->a20_mask & PAGE_MASK);
    if (UNLIKELY(!page) || (UNLIKELY(mmu->watch_kinds >> kind & 1) && refill_is_watched(mmu, kind, linear)))
        return NULL;
    if (kind == MMU_WRITE) {
        flags = __atomic_load_n(&memory->page_flags[(page - memory->host) >> PAGE_SHIFT], __ATOMIC_RELAXED);
        if (UNLIKELY((flags & ~PAGE_HAS_CODE) || !(walk.leaf & ENTRY_D)))
            return NULL;
        *code = flags;
    }
    if (LIKELY(!flags))
        refill_entry(mmu, mode, kind, linear, page, &walk);
    return page + (linear & (PAGE_SIZE - 1));
}

static inline void set_fetched(struct mmu *mmu, bool user, uint64_t linear, unsigned shift)
{
    uint32_t hash = refill_fetched_hash(linear, shift);
    mmu->fetched[user][hash / 64] |= BIT(hash % 64);
}

void refill_note_fetch(struct mmu *mmu, enum mmu_mode mode, uint64_t linear)
{
    uint32_t index = tlb_index(linear);
    bool user = mode == MMU_USER;
    set_fetched(mmu, user, linear, PAGE_SHIFT);
    set_fetched(mmu, user, linear, 21);
    set_fetched(mmu, user, linear, 30);
    mmu->low_supervisor_code |= !user && !(linear >> 63);
    if (mode != MMU_USER && !(mmu->global[mode * MMU_ACCESS_KINDS + MMU_EXECUTE][index / 64] >> (index % 64) & 1))
        mmu->local_supervisor_code = true;
}

bool mmu_fetch_quick(struct mmu *mmu, enum mmu_mode mode, uint64_t linear, uint64_t *backing)
{
    const uint8_t *host = tlb_lookup(mmu, mode, MMU_EXECUTE, linear, 1);
    bool code;
    if (UNLIKELY(!host))
        host = mmu_refill(mmu, mode, MMU_EXECUTE, linear, 1, &code);
    if (UNLIKELY(!host))
        return false;
    refill_note_fetch(mmu, mode, linear);
    *backing = (uint64_t)(host - mmu->space->memory->host);
    return true;
}
