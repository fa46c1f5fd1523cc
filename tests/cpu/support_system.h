// A vCPU with a megabyte of RAM and descriptor tables at known places, for tests of the privileged machinery.
#ifndef DOPPEL_TESTS_SUPPORT_SYSTEM_H
#define DOPPEL_TESTS_SUPPORT_SYSTEM_H

#include "cpu/privileged.h"
#include "mmu/memory.h"

#define GDT_BASE 0x1000u
#define IDT_BASE 0x2000u
#define TSS_BASE 0x3000u  // 32-bit TSS, present task
#define TSS2_BASE 0x3800u // another one
#define LDT_BASE 0x4000u
#define STACK0 0x6000u // initial ESP of rings
#define STACK1 0x6800u
#define STACK3 0x7000u
#define PAGES 0x10000u // page tables of long mode: identity for 2 MiB

// Selectors of the fixture's GDT.
enum {
    SEL_CODE0 = 0x08,
    SEL_DATA0 = 0x10,
    SEL_CODE3 = 0x18 | 3,
    SEL_DATA3 = 0x20 | 3,
    SEL_CONFORMING = 0x28,
    SEL_CODE1 = 0x30 | 1,
    SEL_DATA1 = 0x38 | 1,
    SEL_READONLY = 0x40,
    SEL_ABSENT = 0x48,
    SEL_EXECUTE_ONLY = 0x50,
    SEL_TSS = 0x58,
    SEL_LDT = 0x60,
    SEL_TSS2 = 0x68,
    SEL_GATE = 0x70,
    SEL_CODE16 = 0x78,
    SEL_CODE64 = 0x80,
    SEL_TASK_GATE = 0x88,
    SEL_TSS64 = 0x90,
    SEL_STACK_ABSENT = 0xa0,
    SEL_FREE = 0xa8,
    GDT_LIMIT = 0xff
};

struct fixture {
    struct memory memory;
    struct address_space space, ports;
    struct cpu_model model;
    struct cpu *cpu;
};

void fixture_start(struct fixture *f, const char *model);
void fixture_end(struct fixture *f);
uint64_t peek(struct fixture *f, uint64_t address, unsigned bytes);
void poke(struct fixture *f, uint64_t address, uint64_t value, unsigned bytes);
/// access: bits 8..15 of the second dword; flags: bits 20..23.
void poke_descriptor(struct fixture *f, uint16_t selector, uint32_t base, uint32_t limit, unsigned access,
                     unsigned flags);
/// IDT entry; type with P and DPL.
void poke_gate(struct fixture *f, unsigned vector, uint16_t selector, uint32_t offset, unsigned type);
void poke_gate64(struct fixture *f, unsigned vector, uint16_t selector, uint64_t offset, unsigned type, unsigned ist);
void poke_call_gate(struct fixture *f, uint16_t at, uint16_t selector, uint32_t offset, unsigned type,
                    unsigned parameters);
/// Protected mode, flat 32-bit segments of a ring; RIP 0x8000, RSP of the ring's stack.
void enter_protected(struct fixture *f, unsigned cpl);
/// Long mode with identity paging, 64-bit code of a ring.
void enter_long(struct fixture *f, unsigned cpl);
void enter_vm86(struct fixture *f, unsigned iopl);
/// Asserts the pending fault (vector -1: none) and clears it.
void expect_fault(struct fixture *f, int vector, int error_code);

#endif
