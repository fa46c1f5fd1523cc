// The soft TLB of one vCPU and guest-linear accesses: what is cached, when it is dropped, where the bytes are.
// Page walks are in walk.c, new entries in refill.c. Knows no instruction.
#include "mmu/mmu.h"

#include <string.h>

#include "mmu/guest_bytes.h"
#include "mmu/refill.h"
#include "mmu/space.h"
#include "mmu/walk.h"

#define CR0_WP BIT(16)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)
#define CR4_PSE BIT(4)
#define CR4_PAE BIT(5)
#define CR4_PGE BIT(7)
#define CR4_LA57 BIT(12)
#define CR4_PCIDE BIT(17)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)
#define CR3_KEEP BIT(63)

/// How often a walk starts again when other processors change the entries under it.
#define WALK_RETRIES 16

#define TLB_ARRAYS (MMU_MODES * MMU_ACCESS_KINDS)
#define FILLED_WORDS (TLB_ENTRIES / 64)
_Static_assert(FILLED_WORDS <= 64, "filled_words has a bit for each");

static void on_map_changed(void *opaque)
{
    struct mmu *mmu = opaque;
    atomic_store(&mmu->map_stale, true);
}

static void tell_fetches_changed(struct mmu *mmu)
{
    if (mmu->flushed)
        mmu->flushed(mmu->opaque);
}

static void new_epoch(struct mmu *mmu, bool user)
{
    if (UNLIKELY(mmu->last_epoch == UINT32_MAX)) {
        mmu->epochs_restarted = true;
        mmu->last_epoch = 0;
        mmu->fetch_epoch[!user] = ++mmu->last_epoch;
        for (unsigned i = 0; i < MMU_SPACES; i++)
            mmu->spaces[i].fetch_epoch = 0;
    }
    mmu->fetch_epoch[user] = ++mmu->last_epoch;
}

void mmu_forget_fetches(struct mmu *mmu)
{
    new_epoch(mmu, false);
    new_epoch(mmu, true);
    for (unsigned i = 0; i < MMU_SPACES; i++)
        mmu->spaces[i].fetch_epoch = 0;
    memset(mmu->fetched, 0, sizeof mmu->fetched);
    mmu->local_supervisor_code = mmu->low_supervisor_code = false;
    tell_fetches_changed(mmu);
}

/// The present space's entries are gone or about to go.
static void forget_local_fetches(struct mmu *mmu)
{
    new_epoch(mmu, true);
    if (mmu->local_supervisor_code)
        new_epoch(mmu, false);
    mmu->local_supervisor_code = false;
}

/// Whether code of a privilege may have been fetched from the page of `size` bytes that begins at `first`. Kernels
/// seldom run code in the lower half; programs drop its pages all the time.
static bool was_fetched(const struct mmu *mmu, bool user, uint64_t first, uint64_t size)
{
    if (!user && !(first >> 63) && !mmu->low_supervisor_code)
        return false;
    unsigned shift = size >= BIT(30) ? 30 : size >= BIT(21) ? 21 : PAGE_SHIFT;
    for (uint64_t at = 0; at < size; at += BIT(shift)) {
        uint32_t hash = refill_fetched_hash(first + at, shift);
        if (mmu->fetched[user][hash / 64] >> (hash % 64) & 1)
            return true;
    }
    return false;
}

/// Drops an array's entries in the slots that `slots` has bits for, from slot `first` on.
static void drop_slots(struct mmu *mmu, unsigned array, unsigned first, uint64_t slots)
{
    for (; slots; slots &= slots - 1)
        *space_tlb_tag(mmu, array, first + (unsigned)__builtin_ctzll(slots)) = TLB_INVALID;
}

/// Drops the entries in the TLB; with `keep_global`, only those that are not.
static void drop_entries(struct mmu *mmu, bool keep_global)
{
    walk_forget_tables(mmu);
    for (unsigned array = 0; array < TLB_ARRAYS; array++) {
        for (uint64_t words = mmu->filled_words[array]; words; words &= words - 1) {
            unsigned word = (unsigned)__builtin_ctzll(words);
            uint64_t stay = keep_global ? mmu->global[array][word] : 0;
            drop_slots(mmu, array, 64 * word, mmu->filled[array][word] & ~stay);
            mmu->filled[array][word] &= stay;
            mmu->global[array][word] = stay;
            if (!mmu->filled[array][word])
                mmu->filled_words[array] &= ~BIT(word);
        }
    }
}

void mmu_flush_all(struct mmu *mmu)
{
    drop_entries(mmu, false);
    space_drop_all(mmu);
    mmu->large_count = 0;
    mmu->flush_count++;
    mmu_forget_fetches(mmu);
}

void mmu_flush_non_global(struct mmu *mmu)
{
    drop_entries(mmu, true);
    forget_local_fetches(mmu);
    mmu->flush_count++;
    tell_fetches_changed(mmu);
}

static uint16_t present_pcid(const struct mmu *mmu)
{
    return mmu->cr4 & CR4_PCIDE ? mmu->cr3 & 0xfff : 0;
}

/// Drops the entries that watched pages may not have.
static void drop_watched(struct mmu *mmu)
{
    for (unsigned i = 0; i < MMU_WATCHES; i++) {
        const struct mmu_watch *watch = &mmu->watch[i];
        for (unsigned array = 0; array < TLB_ARRAYS && watch->kinds; array++) {
            uint64_t *tag = space_tlb_tag(mmu, array, tlb_index(watch->page));
            if ((watch->kinds >> array % MMU_ACCESS_KINDS & 1) && *tag == watch->page >> PAGE_SHIFT)
                *tag = TLB_INVALID;
        }
    }
}

/// Another PCID: the entries of the one that is left wait, those of the new one come back if they may.
static void change_space(struct mmu *mmu, uint16_t from, uint16_t to, bool keep)
{
    space_leave(mmu, from);
    if (!keep)
        space_drop(mmu, to);
    forget_local_fetches(mmu);
    space_enter(mmu, to);
    drop_watched(mmu);
    mmu->space_count++;
    tell_fetches_changed(mmu);
}

/// Drops entries of linear pages in a large page, which is aligned to its size.
static void drop_large_page(struct mmu *mmu, uint64_t first, uint64_t last)
{
    uint64_t inside = UINT64_MAX; // words of slots where its pages can be
    if (last - first < (uint64_t)TLB_ENTRIES * PAGE_SIZE)
        inside = bits_mask(tlb_index(last) / 64 + 1) & ~bits_mask(tlb_index(first) / 64);
    for (unsigned array = 0; array < TLB_ARRAYS; array++) {
        for (uint64_t words = mmu->filled_words[array] & inside; words; words &= words - 1) {
            unsigned word = (unsigned)__builtin_ctzll(words);
            for (uint64_t slots = mmu->filled[array][word]; slots; slots &= slots - 1) {
                uint64_t *tag = space_tlb_tag(mmu, array, 64 * word + (unsigned)__builtin_ctzll(slots));
                if (*tag >= first >> PAGE_SHIFT && *tag <= last >> PAGE_SHIFT)
                    *tag = TLB_INVALID;
            }
        }
    }
}

/// Code of a page was fetched that is dropped now, perhaps through a global entry, which every space knows.
static void forget_fetched(struct mmu *mmu, bool user)
{
    new_epoch(mmu, user);
    memset(mmu->fetched[user], 0, sizeof mmu->fetched[user]);
    for (unsigned i = 0; i < MMU_SPACES && user; i++)
        mmu->spaces[i].fetch_epoch = 0;
    if (!user)
        mmu->local_supervisor_code = mmu->low_supervisor_code = false;
}

void mmu_flush_page(struct mmu *mmu, uint64_t linear)
{
    bool fetched[2] = {was_fetched(mmu, false, linear, PAGE_SIZE), was_fetched(mmu, true, linear, PAGE_SIZE)};
    walk_forget_tables(mmu);
    for (unsigned array = 0; array < TLB_ARRAYS; array++) {
        uint64_t *tag = space_tlb_tag(mmu, array, tlb_index(linear));
        if (*tag == linear >> PAGE_SHIFT)
            *tag = TLB_INVALID;
    }
    for (uint32_t i = 0; i < mmu->large_count; i++) {
        const struct mmu_large_range *large = &mmu->large[i];
        if (linear < large->first || linear > large->last)
            continue;
        uint64_t first = align_down(linear, large->page_size);
        drop_large_page(mmu, first, first + large->page_size - 1);
        fetched[0] |= was_fetched(mmu, false, first, large->page_size);
        fetched[1] |= was_fetched(mmu, true, first, large->page_size);
    }
    mmu->flush_count++;
    for (unsigned user = 0; user < 2; user++) {
        if (fetched[user])
            forget_fetched(mmu, user);
    }
    if (fetched[0] || fetched[1])
        tell_fetches_changed(mmu);
}

/// INVLPG for a space that was left; its large pages are in the common list.
static void flush_page_of(struct mmu *mmu, uint16_t pcid, uint64_t linear)
{
    space_drop_range(mmu, pcid, linear & PAGE_MASK, linear & PAGE_MASK, was_fetched(mmu, true, linear, PAGE_SIZE));
    for (uint32_t i = 0; i < mmu->large_count; i++) {
        const struct mmu_large_range *large = &mmu->large[i];
        if (linear < large->first || linear > large->last)
            continue;
        uint64_t first = align_down(linear, large->page_size);
        space_drop_range(mmu, pcid, first, first + large->page_size - 1,
                         was_fetched(mmu, true, first, large->page_size));
    }
}

void mmu_invalidate_pcid(struct mmu *mmu, unsigned type, uint16_t pcid, uint64_t linear)
{
    bool present = pcid == present_pcid(mmu);
    switch (type) {
    case 0:
        if (present)
            mmu_flush_page(mmu, linear);
        else
            flush_page_of(mmu, pcid, linear);
        break;
    case 1:
        if (present)
            mmu_flush_non_global(mmu);
        else
            space_drop(mmu, pcid);
        break;
    case 2:
        mmu_flush_all(mmu);
        break;
    default:
        space_drop_all(mmu);
        mmu_flush_non_global(mmu);
    }
}

void mmu_protect_code_page(struct mmu *mmu, uint64_t page)
{
    const struct memory *memory = mmu->space->memory;
    if (!memory || page >= memory->size >> PAGE_SHIFT)
        return;
    uint64_t host = (uint64_t)(uintptr_t)(memory->host + (page << PAGE_SHIFT));
    for (unsigned mode = 0; mode < MMU_MODES; mode++) {
        unsigned array = mode * MMU_ACCESS_KINDS + MMU_WRITE;
        for (uint64_t words = mmu->filled_words[array]; words; words &= words - 1) {
            unsigned word = (unsigned)__builtin_ctzll(words);
            for (uint64_t slots = mmu->filled[array][word]; slots; slots &= slots - 1) {
                uint32_t index = 64 * word + (unsigned)__builtin_ctzll(slots);
                uint64_t *tag = space_tlb_tag(mmu, array, index);
                if ((*tag << PAGE_SHIFT) + *space_tlb_addend(mmu, array, index) == host)
                    *tag = TLB_INVALID;
            }
        }
    }
}

void mmu_set_watches(struct mmu *mmu, const struct mmu_watch watch[MMU_WATCHES])
{
    mmu->watch_kinds = 0;
    for (unsigned i = 0; i < MMU_WATCHES; i++) {
        mmu->watch[i] = watch[i];
        mmu->watch_kinds |= watch[i].kinds;
    }
    drop_watched(mmu);
}

/// Tells of one page's part of an access.
static void tell_watched(struct mmu *mmu, enum mmu_access kind, uint64_t linear, unsigned size,
                         struct mmu_handle *handle)
{
    if (kind != MMU_EXECUTE && refill_is_watched(mmu, kind, linear) && mmu->watched &&
        mmu->watched(mmu->opaque, kind, linear, size))
        handle->code = handle->watched = true;
}

/// Where [physical, +size), inside one page, is: fills `piece`. Returns the host address of the page if all of it
/// lies there, page by page as in the memory file; else NULL.
static uint8_t *locate(const struct mmu *mmu, enum mmu_access kind, uint64_t physical, uint32_t size,
                       struct mmu_piece *piece)
{
    uint64_t page = physical & PAGE_MASK;
    *piece = (struct mmu_piece){.physical = physical, .size = size};
    uint8_t *host_page = refill_ram_page(mmu, page);
    if (LIKELY(host_page != NULL)) {
        piece->host = host_page + (physical - page);
        return host_page;
    }
    const struct memory *memory = mmu->space->memory;
    const struct flat_range *flat = address_space_find(mmu->space, physical);
    if (flat->memory_offset == UINT64_MAX || (kind == MMU_WRITE && flat->kind != RANGE_MEMORY) ||
        flat->end - physical < size)
        return NULL;
    uint64_t offset = flat->memory_offset + (physical - flat->start);
    piece->host = memory->host + offset;
    bool whole = flat->start <= page && flat->end - page >= PAGE_SIZE;
    if (!whole || (offset ^ physical) & (PAGE_SIZE - 1))
        return NULL;
    return piece->host - (physical - page);
}

static bool page_fault(const struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint64_t linear, uint32_t error,
                       struct mmu_fault *fault)
{
    if (kind == MMU_WRITE)
        error |= PF_WRITE;
    if (mode == MMU_USER)
        error |= PF_USER;
    if (kind == MMU_EXECUTE)
        error |= mmu->fetch_error;
    *fault = (struct mmu_fault){.kind = MMU_PAGE_FAULT, .error_code = error, .linear = linear};
    if (log_on(mmu->log, LOG_MMU))
        log_print(mmu->log, LOG_MMU, "page fault at 0x%llx, error code 0x%x, cr3 0x%llx\n", (unsigned long long)linear,
                  error, (unsigned long long)mmu->cr3);
    return false;
}

/// Walks and checks. `use`: sets A and D.
static inline bool translate(struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint64_t linear, bool use,
                             struct walk *walk, struct mmu_fault *fault)
{
    walk->quiet = walk->quick = false;
    for (unsigned tries = 0;; tries++) {
        if (UNLIKELY(!walk_find(mmu, linear, walk)))
            return page_fault(mmu, mode, kind, linear, walk->error, fault);
        if (UNLIKELY(!walk_allows(mmu, walk, mode, kind)))
            return page_fault(mmu, mode, kind, linear, PF_PRESENT, fault);
        if (!use || LIKELY(walk_set_accessed(mmu, walk, kind == MMU_WRITE)))
            return true;
        if (tries == WALK_RETRIES) {
            walk_force_accessed(mmu, walk, kind == MMU_WRITE);
            return true;
        }
    }
}

/// One piece of an access: [linear, +size) inside one page.
static bool access_piece(struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint64_t linear, uint32_t size,
                         struct mmu_handle *handle, unsigned number, struct mmu_fault *fault)
{
    struct walk walk;
    if (UNLIKELY(!translate(mmu, mode, kind, linear, true, &walk, fault)))
        return false;
    struct mmu_piece *piece = &handle->piece[number];
    uint8_t *host_page = locate(mmu, kind, walk.physical & mmu->a20_mask, size, piece);
    if (kind == MMU_WRITE && piece->host) {
        const struct memory *memory = mmu->space->memory;
        uint64_t offset = (uint64_t)(piece->host - memory->host);
        uint8_t flags = __atomic_load_n(&memory->page_flags[offset >> PAGE_SHIFT], __ATOMIC_RELAXED) |
                        __atomic_load_n(&memory->page_flags[(offset + size - 1) >> PAGE_SHIFT], __ATOMIC_RELAXED);
        if (flags & PAGE_HAS_CODE)
            handle->code = true;
        if (flags || !(walk.leaf & ENTRY_D))
            return true;
    }
    if (host_page)
        refill_entry(mmu, mode, kind, linear, host_page, &walk);
    return true;
}

bool mmu_access(struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint64_t linear, unsigned size,
                struct mmu_handle *handle, struct mmu_fault *fault)
{
    uint64_t last = linear + size - 1;
    bool long_mode = mmu->efer & EFER_LMA;
    handle->size = size;
    handle->crosses = false;
    handle->code = handle->watched = false;
    if (long_mode && UNLIKELY(!refill_is_canonical(mmu, linear) || !refill_is_canonical(mmu, last))) {
        *fault = (struct mmu_fault){.kind = MMU_NON_CANONICAL, .linear = linear};
        return false;
    }
    if (LIKELY(((linear ^ last) & PAGE_MASK) == 0)) {
        if (!access_piece(mmu, mode, kind, linear, size, handle, 0, fault))
            return false;
        if (UNLIKELY(mmu->watch_kinds))
            tell_watched(mmu, kind, linear, size, handle);
        return true;
    }

    handle->crosses = true;
    uint64_t second = last & PAGE_MASK;
    uint32_t low_size = (uint32_t)(second - linear);
    if (!long_mode)
        second &= UINT32_MAX;
    // The lower page gets its Dirty bit only when the upper one is known to be good.
    struct walk walk;
    if (kind == MMU_WRITE && !translate(mmu, mode, kind, linear, false, &walk, fault))
        return false;
    if (kind != MMU_WRITE && !access_piece(mmu, mode, kind, linear, low_size, handle, 0, fault))
        return false;
    if (!access_piece(mmu, mode, kind, second, size - low_size, handle, 1, fault))
        return false;
    if (kind == MMU_WRITE && !access_piece(mmu, mode, kind, linear, low_size, handle, 0, fault))
        return false;
    if (UNLIKELY(mmu->watch_kinds)) {
        tell_watched(mmu, kind, linear, low_size, handle);
        tell_watched(mmu, kind, second, size - low_size, handle);
    }
    return true;
}

bool mmu_access_missed(struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint64_t linear, unsigned size,
                       struct mmu_handle *handle, struct mmu_fault *fault)
{
    uint64_t second = (linear + size - 1) & PAGE_MASK;
    uint32_t low_size = (uint32_t)(second - linear);
    uint8_t *host[2];
    if (!((linear ^ second) & PAGE_MASK) ||
        !tlb_lookup_two(mmu, mode, kind, linear, low_size, second, size - low_size, host))
        return mmu_access(mmu, mode, kind, linear, size, handle, fault);
    handle->piece[0] = (struct mmu_piece){.host = host[0], .size = low_size};
    handle->piece[1] = (struct mmu_piece){.host = host[1], .size = size - low_size};
    handle->size = size;
    handle->crosses = true;
    handle->code = handle->watched = false;
    return true;
}

static uint64_t piece_load(struct mmu *mmu, const struct mmu_piece *piece)
{
    if (LIKELY(piece->host != NULL))
        return guest_bytes_load(piece->host, piece->size);
    return address_space_read(mmu->space, piece->physical, piece->size);
}

static void piece_store(struct mmu *mmu, const struct mmu_piece *piece, uint64_t value)
{
    if (UNLIKELY(!piece->host)) {
        address_space_write(mmu->space, piece->physical, value, piece->size);
        return;
    }
    struct memory *memory = mmu->space->memory;
    memory_before_write(memory, (uint64_t)(piece->host - memory->host), piece->size);
    guest_bytes_store(piece->host, piece->size, value);
}

uint64_t mmu_handle_load(struct mmu *mmu, const struct mmu_handle *handle)
{
    uint64_t value = piece_load(mmu, &handle->piece[0]);
    if (UNLIKELY(handle->crosses)) // the first piece has 1 to 7 bytes
        value |= piece_load(mmu, &handle->piece[1]) << (8 * handle->piece[0].size & 63);
    return value;
}

void mmu_handle_store(struct mmu *mmu, const struct mmu_handle *handle, uint64_t value)
{
    piece_store(mmu, &handle->piece[0], value);
    if (UNLIKELY(handle->crosses))
        piece_store(mmu, &handle->piece[1], value >> (8 * handle->piece[0].size & 63));
}

void mmu_handle_load_bytes(struct mmu *mmu, const struct mmu_handle *handle, void *to)
{
    uint8_t *out = to;
    for (unsigned i = 0; i < 1u + handle->crosses; i++) {
        const struct mmu_piece *piece = &handle->piece[i];
        if (piece->host)
            guest_bytes_copy_out(out, piece->host, piece->size);
        else
            address_space_read_bytes(mmu->space, piece->physical, out, piece->size);
        out += piece->size;
    }
}

void mmu_handle_store_bytes(struct mmu *mmu, const struct mmu_handle *handle, const void *from)
{
    const uint8_t *in = from;
    struct memory *memory = mmu->space->memory;
    for (unsigned i = 0; i < 1u + handle->crosses; i++) {
        const struct mmu_piece *piece = &handle->piece[i];
        if (piece->host) {
            memory_before_write(memory, (uint64_t)(piece->host - memory->host), piece->size);
            guest_bytes_copy_in(piece->host, in, piece->size);
        } else {
            address_space_write_bytes(mmu->space, piece->physical, in, piece->size, false);
        }
        in += piece->size;
    }
}

bool mmu_read(struct mmu *mmu, enum mmu_mode mode, uint64_t linear, unsigned size, uint64_t *value,
              struct mmu_fault *fault)
{
    const void *host = tlb_lookup(mmu, mode, MMU_READ, linear, size);
    if (LIKELY(host != NULL)) {
        *value = guest_bytes_load(host, size);
        return true;
    }
    struct mmu_handle handle;
    if (!mmu_access(mmu, mode, MMU_READ, linear, size, &handle, fault))
        return false;
    *value = mmu_handle_load(mmu, &handle);
    return true;
}

bool mmu_write(struct mmu *mmu, enum mmu_mode mode, uint64_t linear, unsigned size, uint64_t value,
               struct mmu_fault *fault)
{
    void *host = tlb_lookup(mmu, mode, MMU_WRITE, linear, size);
    if (LIKELY(host != NULL)) {
        guest_bytes_store(host, size, value);
        return true;
    }
    struct mmu_handle handle;
    if (!mmu_access(mmu, mode, MMU_WRITE, linear, size, &handle, fault))
        return false;
    mmu_handle_store(mmu, &handle, value);
    return true;
}

bool mmu_fetch_page(struct mmu *mmu, enum mmu_mode mode, uint64_t linear, uint64_t *backing, struct mmu_fault *fault)
{
    const uint8_t *host = tlb_lookup(mmu, mode, MMU_EXECUTE, linear, 1);
    if (!host) {
        struct mmu_handle handle;
        if (!mmu_access(mmu, mode, MMU_EXECUTE, linear, 1, &handle, fault))
            return false;
        // The access filled an entry if the page is memory as a whole, and not watched.
        host = tlb_lookup(mmu, mode, MMU_EXECUTE, linear, 1);
        if (UNLIKELY(mmu->watch_kinds) && refill_is_watched(mmu, MMU_EXECUTE, linear)) {
            struct mmu_piece piece;
            if (locate(mmu, MMU_EXECUTE, handle.piece[0].physical, 1, &piece))
                host = piece.host;
            mmu->local_supervisor_code |= mode != MMU_USER; // there is no entry that could say "global"
        }
    }
    if (host)
        refill_note_fetch(mmu, mode, linear);
    *backing = host ? (uint64_t)(host - mmu->space->memory->host) : UINT64_MAX;
    return true;
}

bool mmu_debug_translate(struct mmu *mmu, uint64_t linear, uint64_t *physical)
{
    struct walk walk = {.quiet = true};
    if ((mmu->efer & EFER_LMA) && !refill_is_canonical(mmu, linear))
        return false;
    if (!walk_find(mmu, linear, &walk))
        return false;
    *physical = walk.physical & mmu->a20_mask;
    return true;
}

bool mmu_paranoid_check(struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint64_t linear, const void *host)
{
    struct walk walk = {.quiet = true};
    struct mmu_piece piece;
    const char *reason = NULL;
    bool found = walk_find(mmu, linear, &walk);
    if (found)
        locate(mmu, kind, walk.physical & mmu->a20_mask, 1, &piece);
    if (!found)
        reason = "is not mapped";
    else if (!walk_allows(mmu, &walk, mode, kind))
        reason = "may not be accessed so";
    else if (kind == MMU_WRITE && !(walk.leaf & ENTRY_D))
        reason = "is not dirty";
    else if (piece.host != host)
        reason = "leads elsewhere";
    if (reason && log_on(mmu->log, LOG_MMU))
        log_print(mmu->log, LOG_MMU, "stale TLB entry (mode %d, kind %d): 0x%llx %s\n", mode, kind,
                  (unsigned long long)linear, reason);
    return !reason;
}

bool mmu_load_pdptes(struct mmu *mmu, uint64_t cr3)
{
    uint64_t pdpte[4];
    uint64_t reserved = (~bits_mask(mmu->physical_bits)) | 0x1e6;
    for (unsigned i = 0; i < 4; i++) {
        uint64_t physical = ((cr3 & 0xffffffe0) + 8 * i) & mmu->a20_mask;
        pdpte[i] = address_space_read(mmu->space, physical, 8);
        if ((pdpte[i] & 1) && (pdpte[i] & reserved))
            return false;
    }
    memcpy(mmu->pdpte, pdpte, sizeof pdpte);
    walk_forget_tables(mmu);
    return true;
}

void mmu_set_control(struct mmu *mmu, uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer, bool cr3_written)
{
    uint16_t left = present_pcid(mmu);
    bool keep = false;
    if (cr4 & CR4_PCIDE) {
        keep = cr3 & CR3_KEEP;
        cr3 &= ~CR3_KEEP;
    }
    uint64_t changed0 = cr0 ^ mmu->cr0, changed4 = cr4 ^ mmu->cr4, changed_efer = efer ^ mmu->efer;
    cr3_written |= cr3 != mmu->cr3;
    mmu->cr0 = cr0;
    mmu->cr3 = cr3;
    mmu->cr4 = cr4;
    mmu->efer = efer;
    walk_set_mode(mmu);
    if (cr3_written)
        walk_forget_tables(mmu);
    if (mmu->paging == PAGING_PAE &&
        (cr3_written || (changed0 & (CR0_PG | CR0_CD | CR0_NW)) ||
         (changed4 & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) || (changed_efer & EFER_LMA)))
        mmu_load_pdptes(mmu, cr3);
    // Entries hold rights as they were checked, so every bit that takes part in the check drops them.
    if ((changed0 & (CR0_PG | CR0_WP)) || (changed_efer & (EFER_LMA | EFER_NXE)) ||
        (changed4 & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP)))
        mmu_flush_all(mmu);
    else if (cr3_written && left != present_pcid(mmu))
        change_space(mmu, left, present_pcid(mmu), keep);
    else if (cr3_written && !keep)
        mmu_flush_non_global(mmu);
}

void mmu_set_a20(struct mmu *mmu, bool enabled)
{
    uint64_t mask = enabled ? UINT64_MAX : ~BIT(20);
    if (mask == mmu->a20_mask)
        return;
    mmu->a20_mask = mask;
    mmu_flush_all(mmu);
}

/// Forgets what was taken from the map.
static void drop_map(struct mmu *mmu)
{
    memset(mmu->ram, 0, sizeof mmu->ram);
    mmu_flush_all(mmu);
}

void mmu_set_space(struct mmu *mmu, struct address_space *space)
{
    if (space == mmu->space)
        return;
    address_space_unlisten(mmu->space, &mmu->map_listener);
    mmu->space = space;
    address_space_listen(space, &mmu->map_listener);
    drop_map(mmu);
}

void mmu_poll(struct mmu *mmu)
{
    if (UNLIKELY(atomic_load_explicit(&mmu->map_stale, memory_order_relaxed)) &&
        atomic_exchange(&mmu->map_stale, false))
        drop_map(mmu);
}

void mmu_init(struct mmu *mmu, struct address_space *space, unsigned physical_bits, const struct log *log)
{
    memset(mmu, 0, sizeof *mmu);
    mmu->space = space;
    mmu->log = log;
    mmu->physical_bits = physical_bits < 36 ? 36 : physical_bits > 52 ? 52 : physical_bits;
    mmu->a20_mask = UINT64_MAX;
    mmu->table_generation = 1;
    for (unsigned array = 0; array < TLB_ARRAYS; array++)
        for (unsigned i = 0; i < TLB_ENTRIES; i++)
            *space_tlb_tag(mmu, array, i) = TLB_INVALID;
    atomic_init(&mmu->map_stale, false);
    mmu_forget_fetches(mmu);
    mmu->map_listener = (struct address_space_listener){.map_changed = on_map_changed, .opaque = mmu};
    address_space_listen(space, &mmu->map_listener);
    walk_set_mode(mmu);
}

void mmu_destroy(struct mmu *mmu)
{
    address_space_unlisten(mmu->space, &mmu->map_listener);
}
