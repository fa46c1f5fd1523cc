// Runs one instruction on the host processor itself, with all x87, MMX, SSE registers and a few general ones given.
#ifndef DOPPEL_TESTS_CPU_SUPPORT_NATIVE_H
#define DOPPEL_TESTS_CPU_SUPPORT_NATIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/cpu.h"
#include "cpu/row.h"

/// FXSAVE64's layout.
struct fxsave_image {
    uint16_t control, status;
    uint8_t valid, reserved;
    uint16_t opcode;
    uint64_t ip, dp;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t st[8][16];
    uint8_t xmm[16][16];
    uint8_t unused[96];
};

struct native {
    struct fxsave_image before, after;
    uint64_t rax, rcx, rdi, rflags; // in and out; rdi: memory[] for memory operands
    uint64_t rdx;                   // in
    _Alignas(64) uint8_t memory[896];
    uint8_t upper_before[16][16], upper_after[16][16]; // of the YMM registers
    uint64_t has_upper;                                // the host has them; native_run knows
    bool faulted;                                      // SIGFPE: #XM, #MF
};

/// False where the host is no x86-64.
bool native_available(void);
bool native_open(void);
void native_close(void);
/// Runs `bytes`; the state after it, or at the fault, is in `after` and the general registers.
void native_run(struct native *native, const uint8_t *bytes, unsigned length);

/// Puts a row's instruction together with register operands reg and rm (memory: [rdi]); returns its length.
unsigned native_encode(const struct row *row, bool rex_w, unsigned reg, unsigned rm, bool memory, uint8_t immediate,
                       uint8_t bytes[16]);

/// Of a VEX-encoded row; the memory operand of one with a vector index is [rdi + register 5 * 4]. wide: 32 bytes, for
/// rows that leave the length open.
struct native_vex {
    uint8_t reg, vvvv, rm;
    bool memory, rex_w, wide;
    uint8_t immediate;
};
unsigned native_encode_vex(const struct row *row, const struct native_vex *how, uint8_t bytes[16]);

/// State between the processor and a vCPU.
void native_to_cpu(const struct native *native, struct cpu *cpu);
/// Compares the vCPU with `after`; a difference is described in `text`. FIP, FDP, FOP are left out: hosts differ.
bool native_equals_cpu(const struct native *native, const struct cpu *cpu, char *text, size_t size);

/// Deterministic random numbers, and operands with interesting values.
struct random {
    uint64_t state;
};
uint64_t random_next(struct random *random);
void random_vector(struct random *random, uint8_t to[16]);
void random_x87(struct random *random, uint8_t to[16]);

#endif
