// A board for the tests of mmu/: RAM, a ROM, a device, a hole, and 4-level tables that are built by hand.
#ifndef DOPPEL_TESTS_MMU_SUPPORT_BOARD_H
#define DOPPEL_TESTS_MMU_SUPPORT_BOARD_H

#include <stdbool.h>
#include <stdint.h>

#include "mmu/mmu.h"

#define MIB (UINT64_C(1) << 20)
#define RAM_SIZE (16 * MIB)
#define DEVICE_START (64 * MIB)
#define ROM_START (65 * MIB)
#define HOLE_START (66 * MIB)
#define TABLES_START (8 * MIB)

#define CR0_ON (BIT(31) | BIT(16) | BIT(0))
#define CR4_PSE BIT(4)
#define CR4_PAE BIT(5)
#define CR4_PGE BIT(7)
#define CR4_PCIDE BIT(17)
#define CR4_SMAP BIT(21)
#define EFER_LONG (BIT(8) | BIT(10) | BIT(11))

#define P 0x01u
#define RW 0x02u
#define US 0x04u
#define A 0x20u
#define D 0x40u
#define PS 0x80u
#define G 0x100u

struct board {
    struct memory memory;
    struct address_space space;
    struct range *rom;
    struct mmu *mmu;
    uint64_t next_table, cr3;
    uint8_t device[PAGE_SIZE];
    unsigned device_reads, device_writes;
    unsigned code_calls, flushes;
    uint64_t code_offset, code_old;
    uint32_t code_size;
};

extern const struct region_ops board_device_ops;
struct board *board_create(void);
void board_destroy(struct board *b);
uint64_t *board_entry(struct board *b, uint64_t physical);
uint64_t board_new_table(struct board *b);
/// The entry of `linear` that is indexed by `shift` in 4-level tables, with all tables above it.
uint64_t *board_table_entry(struct board *b, uint64_t linear, unsigned shift);
void board_map(struct board *b, uint64_t linear, uint64_t physical, unsigned flags);
/// New tables in long mode.
void board_long_mode(struct board *b, uint64_t cr4);
/// A byte, as supervisor.
bool board_access(struct board *b, enum mmu_access kind, uint64_t linear);
bool board_cached(struct board *b, enum mmu_access kind, uint64_t linear);

#endif
