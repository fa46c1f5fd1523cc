// From guest code to uops: what block.c does before it keeps a block.
#ifndef DOPPEL_CPU_BLOCK_LIFT_H
#define DOPPEL_CPU_BLOCK_LIFT_H

#include "base/log.h"
#include "cpu/cpu.h"
#include "cpu/lift.h"
#include "cpu/row_index.h"
#include "mmu/memory.h"

struct block_lifter {
    const struct row_index *rows;
    const struct cpu_model *model;
    const struct log *log;
    const struct memory *memory;
    unsigned length;  // instructions in a block at most
    struct lift lift; // the block that was lifted last
};

/// Where a block's bytes come from.
struct block_source {
    const uint8_t *bytes;
    unsigned available;
    uint64_t backing, backing2; // of the first byte, and of the second page's; UINT64_MAX: not in the memory file
    bool crosses;
    uint8_t buffer[2 * INSN_MAX_LENGTH];
};

/// Bytes that CS's limit still allows from `ip`; 64-bit code has no limit.
uint64_t block_code_room(const struct cpu *cpu, uint64_t ip);
/// Lifts the block at the CPU's RIP, which is at `linear`, for `mode`. The caller sets source->backing and a backing2
/// of UINT64_MAX, and knows that CS's limit allows a byte. False: the fetch faulted and cpu->fault is set.
bool block_lift(struct block_lifter *lifter, struct cpu *cpu, uint64_t linear, uint32_t mode,
                struct block_source *source);

#endif
