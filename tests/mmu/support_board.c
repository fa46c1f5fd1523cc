// See support_board.h.
#include "support_board.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t device_read(void *opaque, uint64_t offset, unsigned size)
{
    struct board *b = opaque;
    uint64_t value = 0;
    memcpy(&value, b->device + offset, size);
    b->device_reads++;
    return value;
}

static void device_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct board *b = opaque;
    memcpy(b->device + offset, &value, size);
    b->device_writes++;
}

const struct region_ops board_device_ops = {.read = device_read, .write = device_write, .max_size = 8};

static void on_code_written(void *opaque, uint64_t offset, uint32_t size)
{
    struct board *b = opaque;
    b->code_calls++;
    b->code_offset = offset;
    b->code_size = size;
    b->code_old = b->memory.host[offset];
}

static void on_flushed(void *opaque)
{
    struct board *b = opaque;
    b->flushes++;
}

struct board *board_create(void)
{
    struct board *b = calloc(1, sizeof *b);
    assert_non_null(b);
    assert_true(memory_create(&b->memory, RAM_SIZE + PAGE_SIZE, NULL));
    address_space_init(&b->space, "memory", &b->memory, UINT64_C(1) << 52, NULL);
    assert_non_null(address_space_map_memory(&b->space, "ram", 0, RAM_SIZE, 0, 0, false, NULL));
    b->rom = address_space_map_memory(&b->space, "rom", ROM_START, PAGE_SIZE, 0, RAM_SIZE, true, NULL);
    assert_non_null(b->rom);
    assert_non_null(
        address_space_map_device(&b->space, "device", DEVICE_START, PAGE_SIZE, 0, &board_device_ops, b, NULL));
    b->memory.listener = (struct memory_listener){.code_written = on_code_written, .opaque = b};
    b->mmu = aligned_alloc(64, (sizeof *b->mmu + 63) & ~(size_t)63);
    assert_non_null(b->mmu);
    mmu_init(b->mmu, &b->space, 40, NULL);
    b->mmu->flushed = on_flushed;
    b->mmu->opaque = b;
    b->next_table = TABLES_START;
    return b;
}

void board_destroy(struct board *b)
{
    mmu_destroy(b->mmu);
    free(b->mmu);
    address_space_destroy(&b->space);
    memory_destroy(&b->memory);
    free(b);
}

uint64_t *board_entry(struct board *b, uint64_t physical)
{
    return (uint64_t *)(b->memory.host + physical);
}

uint64_t board_new_table(struct board *b)
{
    b->next_table += PAGE_SIZE;
    assert_true(b->next_table < RAM_SIZE);
    return b->next_table - PAGE_SIZE;
}

uint64_t *board_table_entry(struct board *b, uint64_t linear, unsigned shift)
{
    uint64_t table = b->cr3;
    for (unsigned level = 39;; level -= 9) {
        uint64_t *entry = board_entry(b, table + (linear >> level & 0x1ff) * 8);
        if (level == shift)
            return entry;
        if (!(*entry & P))
            *entry = board_new_table(b) | P | RW | US | A;
        table = *entry & PAGE_MASK;
    }
}

void board_map(struct board *b, uint64_t linear, uint64_t physical, unsigned flags)
{
    *board_table_entry(b, linear, 12) = physical | flags;
}

void board_long_mode(struct board *b, uint64_t cr4)
{
    b->cr3 = board_new_table(b);
    mmu_set_control(b->mmu, CR0_ON, b->cr3, CR4_PAE | cr4, EFER_LONG, true);
}

bool board_access(struct board *b, enum mmu_access kind, uint64_t linear)
{
    struct mmu_handle handle;
    struct mmu_fault fault;
    return mmu_access(b->mmu, MMU_KERNEL, kind, linear, 1, &handle, &fault);
}

bool board_cached(struct board *b, enum mmu_access kind, uint64_t linear)
{
    return tlb_lookup(b->mmu, MMU_KERNEL, kind, linear, 1) != NULL;
}
