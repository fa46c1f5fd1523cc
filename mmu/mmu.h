// The MMU of one vCPU: page walks (SDM vol. 3 ch. 4), the soft TLB, guest-linear accesses. Knows no instruction:
// the CPU tells it control registers and the access mode; faults come back as data.
#ifndef DOPPEL_MMU_MMU_H
#define DOPPEL_MMU_MMU_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bits.h"
#include "mmu/memory.h"

enum mmu_access { MMU_READ, MMU_WRITE, MMU_EXECUTE, MMU_ACCESS_KINDS };

/// Which privileges an access has. Selects the TLB arrays.
enum mmu_mode {
    MMU_KERNEL,    // supervisor; SMAP enforced when CR4.SMAP (explicit with AC=0, and all implicit accesses)
    MMU_KERNEL_AC, // supervisor, explicit, EFLAGS.AC=1: SMAP off
    MMU_USER,      // CPL 3
    MMU_MODES
};

#define TLB_BITS 12
#define TLB_ENTRIES (1u << TLB_BITS)
/// Tag of an entry that never matches: no page has this number.
#define TLB_INVALID UINT64_MAX

/// Hit: (linear + size - 1) >> PAGE_SHIFT == tag, of the entry that the first byte's page has (so the access does not
/// cross, see tlb_lookup); then host address = linear + addend. MMIO, ROM writes, code pages (writes), watchpoints
/// never have a valid entry: they go through mmu_access every time.
struct tlb_entry {
    uint64_t tag; // linear >> PAGE_SHIFT
    uint64_t addend;
};

/// The entries' words by mode and slot, each kind of word in a row of its own, which host code finds with the slot's
/// number as index. Entries for reading and writing share the addend. The rows do not begin on the same line of a page,
/// or the words of a slot would compete for places in the host's caches.
enum tlb_word { TLB_READ, TLB_ADDEND, TLB_WRITE, TLB_EXECUTE, TLB_EXECUTE_ADDEND, TLB_WORDS };
#define TLB_PLACE 0xc10u // see X86_TLB_OFFSET, where this is the shortest way to the first row
struct tlb {
    uint8_t before[TLB_PLACE];
    uint64_t word[MMU_MODES][TLB_WORDS][TLB_ENTRIES + 40]; // by tlb_place
};
static inline unsigned tlb_place(enum mmu_mode mode)
{
    return mode == MMU_USER ? 0 : mode + 1u;
}
_Static_assert(MMU_USER == MMU_MODES - 1, "the places are different");

/// Error code bits of #PF (SDM vol. 3 sec. 4.7).
#define PF_PRESENT 0x01u
#define PF_WRITE 0x02u
#define PF_USER 0x04u
#define PF_RESERVED 0x08u
#define PF_FETCH 0x10u

enum mmu_fault_kind {
    MMU_OK,
    MMU_PAGE_FAULT,    // #PF with error_code, linear for CR2
    MMU_NON_CANONICAL, // #GP(0), or #SS(0) for stack references: the caller knows the segment
};

struct mmu_fault {
    enum mmu_fault_kind kind;
    uint32_t error_code;
    uint64_t linear; // the faulting byte: start of the access, or start of the second page
};

/// What a slow access found: one or two pieces, both checked. Loads and stores through it cannot fault.
struct mmu_piece {
    uint8_t *host;     // RAM or ROM read; NULL: through the address space at `physical`
    uint64_t physical; // after A20
    uint32_t size;
};
struct mmu_handle {
    struct mmu_piece piece[2];
    uint32_t size;
    bool crosses; // piece[1] is used
    bool code;    // write: some piece lies on a page with PAGE_HAS_CODE; or watched: no plain host address
    bool watched; // mmu.watched said yes
};

/// A linear page whose accesses of some kinds (a bit per enum mmu_access) the CPU wants to see, for its debug
/// registers.
#define MMU_WATCHES 4
struct mmu_watch {
    uint64_t page;
    uint8_t kinds;
};

enum mmu_paging { PAGING_NONE, PAGING_32BIT, PAGING_PAE, PAGING_4LEVEL, PAGING_5LEVEL };

/// A piece of RAM as walks see it: entries at physical start .. start + span - 1 can be used through host. span
/// leaves out the last 7 bytes; 0: nothing.
struct mmu_ram {
    uint64_t start, span;
    uint8_t *host;
};

/// A page table that a walk used: what its entries for the same 2 MiB need not look up again (a paging-structure cache,
/// SDM vol. 3 sec. 4.10.3). All entries above it have A set.
#define MMU_TABLES 64
struct mmu_table {
    uint64_t tag; // linear >> 21 | generation << MMU_TABLE_GENERATION_SHIFT
    uint8_t *host;
    uint64_t all, any; // of the entries above
};
#define MMU_TABLE_GENERATION_SHIFT 43
#define MMU_TABLE_GENERATIONS (1u << 21)

/// Address spaces (PCIDs) whose entries are kept while others run, and how many entries of each.
#define MMU_SPACES 8
#define MMU_SPACE_ENTRIES 1024

struct mmu_space {
    bool used;
    uint16_t pcid;
    uint32_t count;
    uint32_t fetch_epoch;                      // of user code when the space was left; 0: not to be taken again
    uint64_t left;                             // when, by space_clock
    struct tlb_entry entry[MMU_SPACE_ENTRIES]; // tag: page | number of the TLB array
};

/// A bit per page (hashed) whose code may be known to jump caches.
#define MMU_FETCHED_BITS 65536u
#define MMU_FETCHED_FACTOR UINT64_C(0x9e3779b97f4a7c15) // of the hash,
#define MMU_FETCHED_SHIFT 40                            // and which bits of the product

struct mmu {
    struct tlb tlb; // of the present space
    // Control state, set by mmu_set_control.
    uint64_t cr0, cr3, cr4, efer;
    uint64_t a20_mask;           // all ones, or with bit 20 clear
    unsigned physical_bits;      // MAXPHYADDR, 36..52
    unsigned linear_bits;        // 48, or 57 with LA57
    struct address_space *space; // the present view (SMM switches it)
    const struct log *log;

    uint64_t flush_count, fill_count, space_count; // statistics; space_count: changes of PCID
    /// Numbers that stand for all that instruction fetches found, of supervisor [0] and user code [1]. What was looked
    /// up by mmu_fetch_page under a number is valid as long as, and whenever again, the number is this one. Never 0.
    uint32_t fetch_epoch[2];
    /// Told after fetch_epoch changed (jump caches hang here); may be NULL. With epochs_restarted, which the callee
    /// clears, numbers begin anew: everything that was looked up is void.
    bool epochs_restarted;
    void (*flushed)(void *opaque);
    /// Told of every read and write of a watched kind that touches a watched page, after its checks and before it
    /// happens, page by page. True: the access is slow (handle.code).
    bool (*watched)(void *opaque, enum mmu_access kind, uint64_t linear, unsigned size);
    void *opaque;
    struct address_space_listener map_listener;
    atomic_bool map_stale; // the map changed: mmu_poll flushes
    /// The paranoid build (and -accel interp,paranoid=on) walks again at every hit and aborts on a difference.
    bool paranoid;

    /// PAE paging: the four page-directory-pointer entries, loaded at MOV to CR3 and not looked up again (SDM vol. 3
    /// sec. 4.4.1). State of the processor: a snapshot keeps them.
    uint64_t pdpte[4];
    bool no_1g_pages; // the CPU model lacks them: PS in a PDPTE is reserved
    bool no_pse36;    // likewise: bits 21:13 of a 4 MiB page's entry are reserved

    // What follows is derived from the above, and detail of mmu.c and walk.c.
    enum mmu_paging paging;
    uint64_t reserved;      // bits reserved in every 8-byte entry
    uint64_t physical_mask; // address bits of an 8-byte entry
    uint32_t fetch_error;   // PF_FETCH where the error code has it
    struct mmu_ram ram[2];  // pieces of RAM that walks used last
    struct mmu_table table[MMU_TABLES];
    uint32_t table_generation; // of the valid ones; 1 .. MMU_TABLE_GENERATIONS - 1
    struct mmu_watch watch[MMU_WATCHES];
    uint8_t watch_kinds; // of all of them
    // A bit per TLB entry: filled since the last flush; and global. CR3 writes drop what is filled and not global.
    uint64_t filled[MMU_MODES * MMU_ACCESS_KINDS][TLB_ENTRIES / 64];
    uint64_t global[MMU_MODES * MMU_ACCESS_KINDS][TLB_ENTRIES / 64];
    uint64_t filled_words[MMU_MODES * MMU_ACCESS_KINDS]; // a bit per word of `filled` that is not 0
    uint32_t last_epoch;
    bool local_supervisor_code;                 // supervisor code was fetched through entries that are not global
    bool low_supervisor_code;                   // ... from the lower half of the address space
    uint64_t fetched[2][MMU_FETCHED_BITS / 64]; // by supervisor [0] and user code [1]
    uint64_t space_clock;
    // Linear ranges where entries come from large pages, so that INVLPG inside one drops all its 4K entries. Grown
    // together when they are too many; page_size is the largest inside.
    uint32_t large_count;
    struct mmu_large_range {
        uint64_t first, last; // last byte
        uint64_t page_size;
    } large[16];

    struct mmu_space spaces[MMU_SPACES]; // that were left
};

void mmu_init(struct mmu *mmu, struct address_space *space, unsigned physical_bits, const struct log *log);
void mmu_destroy(struct mmu *mmu);
/// Takes the CPU's control registers after a change and flushes what the SDM (vol. 3 sec. 4.10.4) asks for.
/// `cr3_written`: an instruction or a task switch loaded CR3, even with the same value: drops non-global entries.
/// With CR4.PCIDE, bit 63 of `cr3` (as MOV to CR3 has it; it is not kept) asks to flush nothing: the entries of the
/// PCID that were left are found again. Without it the new PCID's entries are dropped, others' stay. In PAE paging the
/// PDPTEs are loaded again whenever the processor does it; to restore a snapshot, call this first and then put back
/// mmu->pdpte.
void mmu_set_control(struct mmu *mmu, uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer, bool cr3_written);
/// Reads the four PDPTEs that `cr3` points to and keeps them if they are well-formed. False: a present one has
/// reserved bits set, which is #GP(0); nothing changed. The CPU calls it before it changes CR3, or CR0/CR4 bits that
/// load PDPTEs, when the new state is PAE paging; mmu_set_control loads them again by itself.
bool mmu_load_pdptes(struct mmu *mmu, uint64_t cr3);
void mmu_set_a20(struct mmu *mmu, bool enabled);
void mmu_set_space(struct mmu *mmu, struct address_space *space);
/// Of all PCIDs, global ones too.
void mmu_flush_all(struct mmu *mmu);
/// The present PCID's entries.
void mmu_flush_non_global(struct mmu *mmu);
/// INVLPG: drops every entry (global too) of the page, large or small, that holds `linear`, for the present PCID.
void mmu_flush_page(struct mmu *mmu, uint64_t linear);
/// INVPCID (SDM vol. 2) with checked operands. type 0: one address of `pcid`; 1: all of `pcid`; 2: everything, global
/// entries too; 3: everything that is not global.
void mmu_invalidate_pcid(struct mmu *mmu, unsigned type, uint16_t pcid, uint64_t linear);
/// New fetch epochs: whoever keeps results of mmu_fetch_page must look again.
void mmu_forget_fetches(struct mmu *mmu);
/// Drops write entries that lead to backing page `page` (memory file offset >> 12): it got code.
void mmu_protect_code_page(struct mmu *mmu, uint64_t page);
/// Replaces the watched pages. They never have a TLB entry of their kinds, so that nothing else costs anything. After a
/// change of what is watched for MMU_EXECUTE the caller drops its jump caches.
void mmu_set_watches(struct mmu *mmu, const struct mmu_watch watch[MMU_WATCHES]);
/// Called by the CPU at instruction boundaries when it sees an exit request: acts on map changes.
void mmu_poll(struct mmu *mmu);

static inline uint32_t tlb_index(uint64_t linear)
{
    return (uint32_t)(linear >> PAGE_SHIFT) & (TLB_ENTRIES - 1);
}

/// The tag of slot `index` for a kind of access, and the addend.
static inline uint64_t *mmu_tlb_tag(struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint32_t index)
{
    enum tlb_word word = kind == MMU_EXECUTE ? TLB_EXECUTE : kind == MMU_WRITE ? TLB_WRITE : TLB_READ;
    return &mmu->tlb.word[tlb_place(mode)][word][index];
}
static inline uint64_t *mmu_tlb_addend(struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint32_t index)
{
    return &mmu->tlb.word[tlb_place(mode)][kind == MMU_EXECUTE ? TLB_EXECUTE_ADDEND : TLB_ADDEND][index];
}

/// The fast path: the host address of [linear, +size), or NULL when the TLB cannot say. size 1..64.
static inline void *tlb_lookup(const struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint64_t linear,
                               unsigned size)
{
    struct mmu *tlb = (struct mmu *)(uintptr_t)mmu;
    uint32_t index = tlb_index(linear);
    if (LIKELY((linear + size - 1) >> PAGE_SHIFT == *mmu_tlb_tag(tlb, mode, kind, index)))
        return (void *)(uintptr_t)(linear + *mmu_tlb_addend(tlb, mode, kind, index));
    return NULL;
}

/// ... of an access that lies on two pages, the upper part at linear address `second`. False: it cannot say of both.
static inline bool tlb_lookup_two(const struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint64_t linear,
                                  unsigned low_size, uint64_t second, unsigned high_size, uint8_t *host[2])
{
    host[0] = tlb_lookup(mmu, mode, kind, linear, low_size);
    host[1] = tlb_lookup(mmu, mode, kind, second, high_size);
    return host[0] && host[1];
}

/// The whole access check for 1..64 bytes: walks where needed, sets A (and D for writes), fills the TLB, and
/// describes where the bytes are. A read-modify-write is a write. False: `fault` says why and nothing but A bits
/// changed. Both pages of a crossing access are checked (first fault wins, the lower page first) before either
/// is used. An address that is not canonical in any byte is reported before pages are looked at. A fault sets no
/// Accessed or Dirty bit in the walk that faults. Without long mode, the second page wraps at 4 GiB.
bool mmu_access(struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint64_t linear, unsigned size,
                struct mmu_handle *handle, struct mmu_fault *fault);
/// A miss in the plain case: does what mmu_access does and fills an entry where the access is to RAM, needs no help
/// from outside the MMU and does not fault. `*code`: there is no entry, because it is a write to a page with
/// PAGE_HAS_CODE; the address is good for one access if no code stands there. NULL: mmu_access has to look, nothing but
/// A bits (and D, for a write) changed. On x86-64 hosts changes no vector register, unless sanitizers are built in.
void *mmu_refill(struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint64_t linear, unsigned size, bool *code);
/// mmu_access behind a tlb_lookup that failed: where that is because the access lies on two pages, and the TLB knows
/// both, they are not walked again, and `physical` is not told.
bool mmu_access_missed(struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint64_t linear, unsigned size,
                       struct mmu_handle *handle, struct mmu_fault *fault);
/// mmu_access, but the TLB is asked first, as executors do: what it knows is not walked again. `physical` of a piece of
/// RAM is not told.
static inline bool mmu_access_cached(struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint64_t linear,
                                     unsigned size, struct mmu_handle *handle, struct mmu_fault *fault)
{
    uint8_t *host = tlb_lookup(mmu, mode, kind, linear, size);
    if (UNLIKELY(!host))
        return mmu_access_missed(mmu, mode, kind, linear, size, handle, fault);
    handle->piece[0] = (struct mmu_piece){.host = host, .size = size};
    handle->size = size;
    handle->crosses = handle->code = handle->watched = false;
    return true;
}
/// Load and store through a handle: 1, 2, 4 or 8 bytes; bytes variants for 10, 16, 32, 64.
uint64_t mmu_handle_load(struct mmu *mmu, const struct mmu_handle *handle);
void mmu_handle_store(struct mmu *mmu, const struct mmu_handle *handle, uint64_t value);
void mmu_handle_load_bytes(struct mmu *mmu, const struct mmu_handle *handle, void *to);
void mmu_handle_store_bytes(struct mmu *mmu, const struct mmu_handle *handle, const void *from);

/// Access and load (store) in one, for helpers (descriptor tables, stacks of gates). size 1, 2, 4, 8.
bool mmu_read(struct mmu *mmu, enum mmu_mode mode, uint64_t linear, unsigned size, uint64_t *value,
              struct mmu_fault *fault);
bool mmu_write(struct mmu *mmu, enum mmu_mode mode, uint64_t linear, unsigned size, uint64_t value,
               struct mmu_fault *fault);

/// Instruction fetch: where the page of `linear` is. backing: the offset in the memory file of that byte (RAM and
/// ROM), or UINT64_MAX for MMIO/unassigned (then fetch byte-wise with mmu_read kind execute through mmu_access).
bool mmu_fetch_page(struct mmu *mmu, enum mmu_mode mode, uint64_t linear, uint64_t *backing, struct mmu_fault *fault);

/// The same in the plain case, in RAM or where the TLB knows. False: mmu_fetch_page has to look, nothing but A bits
/// changed. On x86-64 hosts changes no vector register, unless sanitizers are built in.
bool mmu_fetch_quick(struct mmu *mmu, enum mmu_mode mode, uint64_t linear, uint64_t *backing);

/// A walk without side effects, for debuggers: physical address of `linear`, or false. Ignores permissions.
bool mmu_debug_translate(struct mmu *mmu, uint64_t linear, uint64_t *physical);
/// Paranoid mode, after a hit that gave `host` for `linear`: walks again without side effects. False (and a line in
/// LOG_MMU) when a walk would not allow the access now or leads elsewhere: a missing flush here, or a guest that
/// changed its tables and has not invalidated yet.
bool mmu_paranoid_check(struct mmu *mmu, enum mmu_mode mode, enum mmu_access kind, uint64_t linear, const void *host);

#endif
