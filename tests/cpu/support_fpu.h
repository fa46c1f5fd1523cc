// x87, MMX and SSE instructions run one at a time on the host's processor and in the interpreter, from the same memory
// at the same addresses, decoded and lifted. Whole state goes in and comes out: registers, tags, pointers, MXCSR.
#ifndef DOPPEL_TESTS_CPU_SUPPORT_FPU_H
#define DOPPEL_TESTS_CPU_SUPPORT_FPU_H

#include "cpu/block.h"
#include "cpu/engine.h"
#include "cpu/fpu.h"
#include "cpu/support_rows.h"

#define FPU_BASE UINT64_C(0x38000000)
#define FPU_INSN (FPU_BASE + 0x100)
#define FPU_DATA (FPU_BASE + 0x1400) // RDI
#define FPU_DATA_BYTES 1024

/// FNSAVE's 32-bit format.
struct fnsave_image {
    uint32_t control, status, tag, ip;
    uint16_t cs, opcode;
    uint32_t dp;
    uint16_t ds, ds_high;
    uint8_t st[8][10];
};
_Static_assert(sizeof(struct fnsave_image) == 108, "SDM vol. 1 fig. 8-9");

/// #MF and #XM are SIGFPE to a host's program, all others here SIGSEGV.
enum fpu_fault { FPU_FAULT_NONE, FPU_FAULT_NUMERIC, FPU_FAULT_OTHER, FPU_FAULT_SOME };

struct fpu_state {
    struct fnsave_image x87;
    uint32_t mxcsr;
    uint8_t xmm[16][16];
    uint64_t rax, rcx, rdx, rdi, rflags;
    uint8_t upper[16][16];          // of the YMM registers
    uint64_t has_upper;             // the host has them; fpu_bench_run_host knows
    uint8_t memory[FPU_DATA_BYTES]; // at FPU_DATA
    enum fpu_fault fault;           // after
};

struct fpu_bench {
    struct memory memory;
    struct address_space space, ports;
    struct log log;
    struct cpu_model model;
    struct block_cache *blocks;
    struct cpu *cpu;
    uint8_t *ram; // the guest's side of FPU_BASE
    uint8_t *native;
    unsigned length;             // of the instruction
    const struct engine *engine; // NULL: the interpreter
    void *engine_state;
};

/// Where a program defines these, the guest's side runs in another engine.
const struct engine *fpu_bench_engine(void) __attribute__((weak));
void fpu_bench_engine_opened(void *state) __attribute__((weak));
void fpu_bench_engine_closing(void *state) __attribute__((weak));

/// How the host's processor tracks pointers, as cpu->x87_policy.
uint8_t fpu_host_policy(void);
/// Whether the host has what rows of `feature` need, for those that not every x86-64 has.
bool fpu_host_has(unsigned feature);
/// False where the host is no x86-64: then there is only the guest's side.
bool fpu_bench_open(struct fpu_bench *bench, uint8_t policy);
void fpu_bench_close(struct fpu_bench *bench);
void fpu_bench_set_code(struct fpu_bench *bench, const uint8_t *bytes, unsigned length);
/// The state after the instruction, or at its fault.
void fpu_bench_run_host(struct fpu_bench *bench, const struct fpu_state *before, struct fpu_state *after);
void fpu_bench_run_guest(struct fpu_bench *bench, const struct fpu_state *before, struct fpu_state *after);

/// An initialized state: FNINIT's x87, MXCSR 0x1F80, RDI at FPU_DATA.
void fpu_state_init(struct fpu_state *state);
/// Names the first difference in `text`; FCS and FDS count only if `selectors`.
bool fpu_state_equal(const struct fpu_state *host, const struct fpu_state *ours, bool selectors, char *text,
                     size_t size);

/// States to run for each encoding: `fast`, or what DOPPEL_TEST_STATES in the environment says.
unsigned fpu_wanted_states(unsigned fast);

/// x87 registers, and floats, of every class (zeros, denormals, pseudo-denormals, unnormals, infinities, NaNs, edges of
/// formats); numbers from FPU_CLASSES on are random.
enum { FPU_CLASSES = 64 };
void fpu_class_x87(unsigned number, uint64_t *random, uint8_t to[10]);
uint64_t fpu_class_double(unsigned number, uint64_t *random);
uint32_t fpu_class_single(unsigned number, uint64_t *random);

#endif
