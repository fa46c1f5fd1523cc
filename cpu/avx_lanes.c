// AVX forms of SSE's instructions: what SSE does with 16 bytes, done in each lane of a longer register, from two
// sources to a third register.
#include "cpu/avx.h"

/// What a vector instruction gathers over its lanes, so that its exceptions come once and together.
struct exceptions {
    uint32_t before; // MXCSR
    uint32_t flags;
    struct cpu_fault fault;
};

static struct exceptions exceptions_begin(const struct cpu *cpu)
{
    return (struct exceptions){.before = cpu->mxcsr, .fault = cpu->fault};
}

/// Before a lane. An unmasked exception in one must not keep the flags of another from being seen.
static void exceptions_next(struct cpu *cpu, struct exceptions *exceptions)
{
    exceptions->flags |= cpu->mxcsr & MXCSR_FLAGS;
    cpu->mxcsr &= ~MXCSR_FLAGS;
    cpu->fault = exceptions->fault;
}

/// False: one is unmasked.
static bool exceptions_end(struct cpu *cpu, struct exceptions *exceptions)
{
    exceptions_next(cpu, exceptions);
    cpu->mxcsr = exceptions->before;
    return sse_commit_flags(cpu, exceptions->flags);
}

/// The row's function in one lane: *to has the first source's bytes before, the result behind.
static void run_lane(struct cpu *cpu, const struct row *row, unsigned lane, union vreg *to, const union vreg *source,
                     uint64_t operand)
{
    unsigned step = row->argument >> 16 & 0xff, shift = row->argument >> 24;
    uint64_t immediate = operand & SIMD_IMMEDIATE;
    union vreg from = {0};
    if (lane)
        immediate >>= shift;
    memcpy(&from, &source->u8[lane * (step ? step - 1 : 16)], 16);
    row->lane(cpu, to, &from, immediate | (uint64_t)(row->argument & 0xffff) << 16);
}

uint64_t avx_lanes(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    const struct row *row = row_get(AVX_ROW(operand));
    const union vreg *first = cpu_vreg(cpu, AVX_FIRST(operand));
    struct exceptions exceptions = exceptions_begin(cpu);
    union vreg result = {0};
    cpu->mxcsr &= ~MXCSR_FLAGS;
    for (unsigned lane = 0; lane < avx_bytes(operand) / 16; lane++) {
        union vreg part = {0};
        exceptions_next(cpu, &exceptions);
        memcpy(&part, &first->u8[16 * lane], 16);
        run_lane(cpu, row, lane, &part, src, operand);
        memcpy(&result.u8[16 * lane], &part, 16);
    }
    if (exceptions_end(cpu, &exceptions))
        memcpy(dst, &result, AVX_BYTES);
    return 0;
}

uint64_t avx_narrow(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    const struct row *row = row_get(AVX_ROW(operand));
    struct exceptions exceptions = exceptions_begin(cpu);
    union vreg result = {0};
    cpu->mxcsr &= ~MXCSR_FLAGS;
    for (unsigned lane = 0; lane < 2; lane++) {
        union vreg part = {0};
        exceptions_next(cpu, &exceptions);
        run_lane(cpu, row, lane, &part, src, operand);
        result.u64[lane] = part.u64[0];
    }
    if (exceptions_end(cpu, &exceptions))
        memcpy(dst, &result, AVX_BYTES);
    return 0;
}

// ---- Lanes that differ from SSE's -----------------------------------------------------------------------------------
/// VCVTSI2SS, VCVTSI2SD: the integer, extended to 64 bits, is in the source.
uint64_t avx_cvtsi2ss(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return sse_cvtsi2ss(cpu, dst, src, src->u64[0]);
}

uint64_t avx_cvtsi2sd(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    return sse_cvtsi2sd(cpu, dst, src, src->u64[0]);
}

/// VCMPPS and its like: 32 predicates (SDM vol. 2, CMPPD), put together from "less", "equal" and "unordered" of SSE's.
uint64_t avx_compare(struct cpu *cpu, union vreg *dst, const union vreg *src, uint64_t operand)
{
    enum { LESS = 1, EQUAL = 2, GREATER = 4, UNORDERED = 8 };
    static const uint8_t holds[16] = {
        EQUAL,
        LESS,
        LESS | EQUAL,
        UNORDERED,
        LESS | GREATER | UNORDERED,
        EQUAL | GREATER | UNORDERED,
        GREATER | UNORDERED,
        LESS | EQUAL | GREATER,
        EQUAL | UNORDERED,
        LESS | UNORDERED,
        LESS | EQUAL | UNORDERED,
        0,
        LESS | GREATER,
        EQUAL | GREATER,
        GREATER,
        LESS | EQUAL | GREATER | UNORDERED,
    };
    enum sse_operation operation = SIMD_OPERATION(operand);
    unsigned predicate = operand & 31, when = holds[predicate & 15];
    bool signals = ((predicate ^ predicate >> 1) & 1) != predicate >> 4;
    union vreg less, equal, unordered, result;
    memcpy(&less, dst, 16);
    memcpy(&equal, dst, 16);
    memcpy(&unordered, dst, 16);
    memcpy(&result, dst, 16);
    uint32_t signalling = fpu_host_sse(operation, &less, src, cpu->mxcsr, 1, NULL);
    uint32_t quiet = fpu_host_sse(operation, &equal, src, cpu->mxcsr, 0, NULL);
    fpu_host_sse(operation, &unordered, src, cpu->mxcsr, 3, NULL);
    vec_u64 l = vec_get(&less), e = vec_get(&equal), u = vec_get(&unordered), none = {0}, all = ~none;
    vec_u64 holding = (when & LESS ? l : none) | (when & EQUAL ? e : none) | (when & UNORDERED ? u : none) |
                      ((when & GREATER ? all : none) & ~(l | e | u));
    unsigned bytes = operation == SSE_CMPSS ? 4 : operation == SSE_CMPSD ? 8 : 16;
    if (sse_commit_flags(cpu, signals ? signalling : quiet)) {
        memcpy(&result, &holding, bytes);
        memcpy(dst, &result, 16);
    }
    return 0;
}
