// Page walks after SDM vol. 3 ch. 4: 32-bit with PSE and PSE-36, PAE, 4-level and 5-level. Entries are read straight
// from RAM where they lie there, else through the address space. On x86-64 this is compiled without vector registers,
// for mmu_refill.
#include "mmu/walk.h"

#include "mmu/guest_bytes.h"

#define CR0_WP BIT(16)
#define CR0_PG BIT(31)
#define CR4_PSE BIT(4)
#define CR4_PAE BIT(5)
#define CR4_PGE BIT(7)
#define CR4_LA57 BIT(12)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

void walk_set_mode(struct mmu *mmu)
{
    if (!(mmu->cr0 & CR0_PG))
        mmu->paging = PAGING_NONE;
    else if (mmu->efer & EFER_LMA)
        mmu->paging = mmu->cr4 & CR4_LA57 ? PAGING_5LEVEL : PAGING_4LEVEL;
    else
        mmu->paging = mmu->cr4 & CR4_PAE ? PAGING_PAE : PAGING_32BIT;
    mmu->linear_bits = mmu->cr4 & CR4_LA57 ? 57 : 48;
    mmu->physical_mask = bits_mask(mmu->physical_bits) & PAGE_MASK;
    // Bits 62:52 are reserved in PAE paging and ignored in IA-32e paging.
    mmu->reserved = bits_mask(mmu->paging == PAGING_PAE ? 63 : 52) & ~bits_mask(mmu->physical_bits);
    if (!(mmu->efer & EFER_NXE))
        mmu->reserved |= ENTRY_XD;
    bool execute_disable = (mmu->cr4 & CR4_PAE) && (mmu->efer & EFER_NXE);
    mmu->fetch_error = (mmu->cr4 & CR4_SMEP) || execute_disable ? PF_FETCH : 0;
}

/// Finds the RAM piece of `physical` and keeps it in front. NULL: the entry is not in RAM.
static __attribute__((noinline)) uint8_t *ram_pointer_slow(struct mmu *mmu, uint64_t physical, bool quick)
{
    struct mmu_ram *ram = mmu->ram;
    if (physical - ram[1].start < ram[1].span) {
        struct mmu_ram other = ram[1];
        ram[1] = ram[0];
        ram[0] = other;
        return ram[0].host + (physical - ram[0].start);
    }
    if (quick)
        return NULL;
    const struct memory *memory = mmu->space->memory;
    const struct flat_range *piece = address_space_find(mmu->space, physical);
    uint64_t size = piece->end - piece->start, offset = piece->memory_offset;
    if (offset == UINT64_MAX || piece->kind != RANGE_MEMORY || size < 8)
        return NULL;
    // Only pieces where aligned guest entries are aligned on the host.
    if (((offset ^ piece->start) & (PAGE_SIZE - 1)) || physical - piece->start > size - 8)
        return NULL;
    ram[1] = ram[0];
    ram[0] = (struct mmu_ram){.start = piece->start, .span = size - 7, .host = memory->host + offset};
    return ram[0].host + (physical - ram[0].start);
}

static inline uint8_t *ram_pointer(struct mmu *mmu, uint64_t physical, bool quick)
{
    const struct mmu_ram *ram = &mmu->ram[0];
    if (LIKELY(physical - ram->start < ram->span))
        return ram->host + (physical - ram->start);
    return ram_pointer_slow(mmu, physical, quick);
}

/// An entry that is not in RAM. A quiet walk leaves devices alone.
static __attribute__((noinline)) uint64_t read_entry_slow(struct mmu *mmu, const struct walk *walk, uint64_t physical,
                                                          unsigned size)
{
    if (walk->quick)
        return 0; // not present: given up
    if (walk->quiet) {
        const struct flat_range *piece = address_space_find(mmu->space, physical);
        if (piece->memory_offset == UINT64_MAX || piece->end - physical < size)
            return bits_mask(8 * size);
    }
    return address_space_read(mmu->space, physical, size);
}

static inline uint64_t read_entry(struct mmu *mmu, struct walk *walk, unsigned number, uint64_t physical, unsigned size)
{
    physical &= mmu->a20_mask;
    struct walk_step *step = &walk->step[number];
    step->host = ram_pointer(mmu, physical, walk->quick);
    if (UNLIKELY(!step->host))
        step->entry = read_entry_slow(mmu, walk, physical, size);
    else if (size == 8)
        step->entry = __atomic_load_n((uint64_t *)step->host, __ATOMIC_RELAXED);
    else
        step->entry = __atomic_load_n((uint32_t *)step->host, __ATOMIC_RELAXED);
    return step->entry;
}

static bool missing(struct walk *walk, uint32_t error)
{
    walk->missing = true;
    walk->error = error;
    return false;
}

/// Takes what all entries say together and what the leaf says.
static inline void set_rights(struct walk *walk, uint64_t all, uint64_t any, uint64_t leaf)
{
    walk->all = all;
    walk->any = any;
    walk->leaf = leaf;
}

static bool find_32bit(struct mmu *mmu, uint64_t linear, struct walk *walk)
{
    walk->entry_size = 4;
    uint64_t pde = read_entry(mmu, walk, 0, (mmu->cr3 & 0xfffff000) + (linear >> 22 & 0x3ff) * 4, 4);
    if (!(pde & ENTRY_P))
        return missing(walk, 0);
    if ((pde & ENTRY_PS) && (mmu->cr4 & CR4_PSE)) {
        // PSE-36: bits 20:13 are address bits 39:32, as far as MAXPHYADDR goes; the rest up to 21 is reserved.
        unsigned width = mmu->no_pse36 ? 32 : mmu->physical_bits < 40 ? mmu->physical_bits : 40;
        if (pde & bits_mask(22) & ~bits_mask(width - 19))
            return missing(walk, PF_PRESENT | PF_RESERVED);
        walk->page_bits = 22;
        walk->step_count = 1;
        walk->physical = bits_get(pde, 20, 13) << 32 | (pde & 0xffc00000) | (linear & 0x3fffff);
        set_rights(walk, pde, 0, pde);
        return true;
    }
    uint64_t pte = read_entry(mmu, walk, 1, (pde & 0xfffff000) + (linear >> 12 & 0x3ff) * 4, 4);
    if (!(pte & ENTRY_P))
        return missing(walk, 0);
    walk->page_bits = 12;
    walk->step_count = 2;
    walk->physical = (pte & 0xfffff000) | (linear & 0xfff);
    set_rights(walk, pde & pte, 0, pte);
    return true;
}

static inline uint64_t table_tag(const struct mmu *mmu, uint64_t linear)
{
    return linear >> 21 | (uint64_t)mmu->table_generation << MMU_TABLE_GENERATION_SHIFT;
}

static inline struct mmu_table *table_place(struct mmu *mmu, uint64_t linear)
{
    return &mmu->table[linear >> 21 & (MMU_TABLES - 1)];
}

/// The entry of `linear` in a page table, which comes after `number` others.
static inline bool find_leaf(struct mmu *mmu, uint64_t linear, uint64_t entry, uint64_t all, uint64_t any,
                             unsigned number, struct walk *walk)
{
    if (UNLIKELY(!(entry & ENTRY_P)))
        return missing(walk, 0);
    if (UNLIKELY(entry & mmu->reserved))
        return missing(walk, PF_PRESENT | PF_RESERVED);
    walk->page_bits = PAGE_SHIFT;
    walk->step_count = (uint8_t)(number + 1);
    walk->physical = (entry & mmu->physical_mask) | (linear & (PAGE_SIZE - 1));
    set_rights(walk, all & entry, any | entry, entry);
    return true;
}

/// By a page table that is known.
static inline bool find_in_table(struct mmu *mmu, uint64_t linear, const struct mmu_table *table, struct walk *walk)
{
    struct walk_step *step = &walk->step[0];
    walk->entry_size = 8;
    step->host = table->host + (linear >> PAGE_SHIFT & 0x1ff) * 8;
    step->entry = __atomic_load_n((uint64_t *)step->host, __ATOMIC_RELAXED);
    return find_leaf(mmu, linear, step->entry, table->all, table->any, 0, walk);
}

static inline void note_table(struct mmu *mmu, uint64_t linear, const struct walk *walk, unsigned number, uint64_t all,
                              uint64_t any)
{
    uint64_t inside = (linear >> PAGE_SHIFT & 0x1ff) * 8;
    uint8_t *host = walk->step[number].host;
    const struct mmu_ram *ram = &mmu->ram[0]; // where it was found, if in RAM
    if (!host || !(all & ENTRY_A) || walk->quiet || (uint64_t)(host - inside - ram->host) >= ram->span ||
        ram->span - (uint64_t)(host - inside - ram->host) < PAGE_SIZE - 7)
        return;
    *table_place(mmu, linear) =
        (struct mmu_table){.tag = table_tag(mmu, linear), .host = host - inside, .all = all, .any = any};
}

/// The levels with 8-byte entries, from the one that `shift` indexes down.
static inline bool find_64bit(struct mmu *mmu, uint64_t linear, uint64_t table, unsigned shift, struct walk *walk)
{
    uint64_t all = ~UINT64_C(0), any = 0;
    walk->entry_size = 8;
    for (unsigned number = 0;; number++, shift -= 9) {
        uint64_t entry = read_entry(mmu, walk, number, table + (linear >> shift & 0x1ff) * 8, 8);
        if (shift == PAGE_SHIFT) {
            note_table(mmu, linear, walk, number, all, any);
            return find_leaf(mmu, linear, entry, all, any, number, walk);
        }
        if (UNLIKELY(!(entry & ENTRY_P)))
            return missing(walk, 0);
        uint64_t reserved = mmu->reserved;
        if (UNLIKELY(entry & ENTRY_PS)) {
            // PS is reserved in PML5E and PML4E; a large page's address is aligned, but for the PAT bit 12.
            if (shift >= 39 || (shift == 30 && mmu->no_1g_pages))
                reserved |= ENTRY_PS;
            reserved |= bits_mask(shift) & ~bits_mask(13);
        }
        if (UNLIKELY(entry & reserved))
            return missing(walk, PF_PRESENT | PF_RESERVED);
        all &= entry;
        any |= entry;
        if (entry & ENTRY_PS) {
            uint64_t inside = bits_mask(shift);
            walk->page_bits = (uint8_t)shift;
            walk->step_count = (uint8_t)(number + 1);
            walk->physical = (entry & mmu->physical_mask & ~inside) | (linear & inside);
            set_rights(walk, all, any, entry);
            return true;
        }
        table = entry & mmu->physical_mask;
    }
}

static bool find_pae(struct mmu *mmu, uint64_t linear, struct walk *walk)
{
    uint64_t pdpte = mmu->pdpte[linear >> 30 & 3];
    if (!(pdpte & ENTRY_P))
        return missing(walk, 0);
    return find_64bit(mmu, linear, pdpte & mmu->physical_mask, 21, walk);
}

static __attribute__((noinline)) bool find_from_root(struct mmu *mmu, uint64_t linear, struct walk *walk)
{
    switch (mmu->paging) {
    case PAGING_32BIT:
        return find_32bit(mmu, linear, walk);
    case PAGING_PAE:
        return find_pae(mmu, linear, walk);
    case PAGING_4LEVEL:
        return find_64bit(mmu, linear, mmu->cr3 & mmu->physical_mask, 39, walk);
    case PAGING_5LEVEL:
        return find_64bit(mmu, linear, mmu->cr3 & mmu->physical_mask, 48, walk);
    case PAGING_NONE:
        break;
    }
    set_rights(walk, ENTRY_US | ENTRY_RW | ENTRY_A, 0, ENTRY_D);
    walk->page_bits = 12;
    walk->step_count = 0;
    walk->physical = linear;
    return true;
}

bool walk_find(struct mmu *mmu, uint64_t linear, struct walk *walk)
{
    const struct mmu_table *known = table_place(mmu, linear);
    walk->error = 0;
    walk->missing = false;
    walk->linear = linear;
    if (LIKELY(known->tag == table_tag(mmu, linear)) && !walk->quiet)
        return find_in_table(mmu, linear, known, walk);
    return find_from_root(mmu, linear, walk);
}

bool walk_allows(const struct mmu *mmu, const struct walk *walk, enum mmu_mode mode, enum mmu_access kind)
{
    if (mmu->paging == PAGING_NONE)
        return true;
    bool user = walk->all & ENTRY_US, writable = walk->all & ENTRY_RW;
    if (kind == MMU_EXECUTE) {
        if (walk->any & ENTRY_XD)
            return false;
        return mode == MMU_USER ? user : !user || !(mmu->cr4 & CR4_SMEP);
    }
    if (mode == MMU_USER)
        return user && (kind == MMU_READ || writable);
    if (mode == MMU_KERNEL && user && (mmu->cr4 & CR4_SMAP))
        return false;
    return kind == MMU_READ || writable || !(mmu->cr0 & CR0_WP);
}

/// Page tables may share a page with code. False: a quick walk gives up.
static bool before_entry_write(struct mmu *mmu, const struct walk *walk, const struct walk_step *step)
{
    struct memory *memory = mmu->space->memory;
    uint64_t offset = (uint64_t)(step->host - memory->host);
    if (walk->quick)
        return !__atomic_load_n(&memory->page_flags[offset >> PAGE_SHIFT], __ATOMIC_RELAXED);
    memory_before_write(memory, offset, walk->entry_size);
    return true;
}

/// All entries above the page table have A set now: it is noted by the first walk that comes through, not only by the
/// second. How often an access is tried then makes no difference to what is known.
static void note_updated_table(struct mmu *mmu, const struct walk *walk)
{
    uint64_t all = UINT64_MAX, any = 0;
    unsigned number = walk->step_count - 1u;
    if (walk->entry_size != 8 || walk->page_bits != PAGE_SHIFT || number == 0)
        return;
    for (unsigned i = 0; i < number; i++) {
        all &= walk->step[i].entry;
        any |= walk->step[i].entry;
    }
    note_table(mmu, walk->linear, walk, number, all, any);
}

bool walk_set_missing_bits(struct mmu *mmu, struct walk *walk, bool write)
{
    for (unsigned i = 0; i < walk->step_count; i++) {
        struct walk_step *step = &walk->step[i];
        bool leaf = i + 1 == walk->step_count;
        uint64_t entry = step->entry | ENTRY_A | (leaf && write ? ENTRY_D : 0);
        if (entry == step->entry || !step->host)
            continue;
        if (!before_entry_write(mmu, walk, step))
            return false;
        bool done;
        if (walk->entry_size == 8) {
            done = __atomic_compare_exchange_n((uint64_t *)step->host, &step->entry, entry, false, __ATOMIC_SEQ_CST,
                                               __ATOMIC_RELAXED);
        } else {
            uint32_t old = (uint32_t)step->entry;
            done = __atomic_compare_exchange_n((uint32_t *)step->host, &old, (uint32_t)entry, false, __ATOMIC_SEQ_CST,
                                               __ATOMIC_RELAXED);
        }
        if (!done)
            return false;
        step->entry = entry;
        if (leaf && write)
            walk->leaf |= ENTRY_D;
    }
    note_updated_table(mmu, walk);
    return true;
}

void walk_force_accessed(struct mmu *mmu, struct walk *walk, bool write)
{
    for (unsigned i = 0; i < walk->step_count; i++) {
        struct walk_step *step = &walk->step[i];
        bool leaf = i + 1 == walk->step_count;
        if (!step->host)
            continue;
        before_entry_write(mmu, walk, step);
        // A and D are in the lowest byte of entries of both sizes.
        __atomic_fetch_or(step->host, (uint8_t)(ENTRY_A | (leaf && write ? ENTRY_D : 0)), __ATOMIC_SEQ_CST);
        if (leaf && write)
            walk->leaf |= ENTRY_D;
    }
}
