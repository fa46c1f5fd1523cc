// Random worlds for two engines: code over every row, in every mode, with pages, segments, gates and interrupts that
// make all kinds of trouble. Everything follows from one number.
#ifndef DOPPEL_TESTS_FUZZ_STRESS_H
#define DOPPEL_TESTS_FUZZ_STRESS_H

#include "cpu/row.h"
#include "translate/lockstep.h"

#define STRESS_MEMORY 0x120000u
#define STRESS_CODE 0x40000u // two pages of code
#define STRESS_CODE_SIZE 0x2000u
#define STRESS_DATA 0x50000u // sixteen pages, each of its own kind
#define STRESS_DATA_PAGES 16u
#define STRESS_STACK 0x5a800u
#define STRESS_HANDLERS 0x5000u // of vector n: 16 bytes at + 16 * n
#define STRESS_TABLES 0x10000u  // tables above the page tables: the top, in long mode the next, the page directory
#define STRESS_TABLE 0x13000u   // the page table of all this, where there is one
#define STRESS_TABLE2 0x14000u  // another one, that the code may put in its place
#define STRESS_TABLES2 0x15000u // like STRESS_TABLES, with the other one, in long mode
#define STRESS_WINDOWS 4u
#define STRESS_WINDOW 0x200000u // bytes of one
#define STRESS_DEVICE 0x55000u  // physical: page 5 of the data

enum stress_mode {
    STRESS_64_KERNEL,
    STRESS_64_USER,
    STRESS_COMPATIBILITY, // 32-bit code in long mode, user
    STRESS_32_FLAT,
    STRESS_32_USER,
    STRESS_32_SEGMENTS,
    STRESS_16_PROTECTED,
    STRESS_REAL,
    STRESS_VM86,
    STRESS_MODES
};

#define STRESS_STARTS 64 // places in the code that handlers go on at

struct stress_random {
    uint64_t state;
};

static inline uint64_t stress_next(struct stress_random *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}
/// 0 .. below - 1.
static inline unsigned stress_below(struct stress_random *random, unsigned below)
{
    return (unsigned)((stress_next(random) >> 32) * below >> 32);
}
static inline bool stress_one_in(struct stress_random *random, unsigned n)
{
    return stress_below(random, n) == 0;
}

/// What cases are like; counts for the report.
struct stress {
    const struct row_index *rows;
    uint8_t *row_seen; // by row number: it was put into some code
    uint64_t instructions_made;
    uint16_t starts[STRESS_STARTS]; // instructions of the code made last, from STRESS_CODE
    // Of the case at work: with 0 operands nearly always hit plain RAM, with 2 everything happens all the time.
    unsigned trouble;
    // Where else the first 2 MiB are, mostly; the last one ends where linear addresses, or a half of them, do. With
    // `conflicts` pages of several compete for slots of the TLB. How long an entry lives must not be seen then: the
    // code leaves page tables alone.
    uint64_t window[STRESS_WINDOWS];
    unsigned window_count;
    bool conflicts;
};

/// One random instruction that decodes in `mode`; its length, at most INSN_MAX_LENGTH.
unsigned stress_instruction(struct stress *stress, const struct cpu_model *model, uint32_t mode,
                            struct stress_random *random, uint8_t *bytes);
#define STRESS_SHAPE 192u
/// Several instructions that belong together, in at most `room` bytes (STRESS_SHAPE): accesses off one base, loops,
/// flags in use, segment registers, to stand `at` bytes from STRESS_CODE. Returns how many bytes they are.
unsigned stress_shape(const struct stress *stress, uint32_t mode, struct stress_random *random, uint8_t *bytes,
                      unsigned room, uint32_t at);
/// Fills STRESS_CODE_SIZE bytes with code that branches around in itself.
void stress_code(struct stress *stress, const struct cpu_model *model, uint32_t mode, struct stress_random *random,
                 uint8_t *bytes);

/// A whole case. `cpu` is a CPU of a world that was made from stress_map: its state is changed, and its memory. The
/// description is freed by the caller.
bool stress_case(struct stress *stress, struct world *scratch, uint64_t seed, struct world_description *d,
                 struct error *error);
/// The part of a description that all cases share: model, memory, map.
void stress_map(struct world_description *d, const struct cpu_model *model);

#endif
