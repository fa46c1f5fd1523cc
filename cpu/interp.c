// The uop interpreter: oracle of the backends, tier for cold code, single-step. One dispatch a uop on `code`, which
// interp_prepare derives from op, width, immediate and flags; the most frequent pairs run as one.
#include <stdlib.h>

#include "cpu/block_store.h"
#include "cpu/cc.h"
#include "cpu/engine.h"
#include "cpu/fpu.h"
#include "cpu/interp_alu.h"
#include "cpu/run.h"
#include "cpu/segment.h"

#define CODE UOP_CODE

/// Code of an XLAT by the uop behind it: 0 when they do not run as one.
static unsigned xlat_code(const struct uop *u)
{
    if (u->param > 8 || (u->aux & UOP_MODE) || u[1].insn != u->insn || u[1].a != u->dst ||
        (1u << u[1].width) != u->param)
        return 0;
    if (u[1].op == UOP_LOAD && !(u->aux & UOP_WRITE))
        return UOP_CODE_XLAT_LOAD + u[1].width;
    if (u[1].op == UOP_STORE && (u->aux & UOP_WRITE))
        return UOP_CODE_XLAT_STORE + u[1].width + (u[1].b == VAR_IMM) * 4u;
    return 0;
}

/// Code of an EA of 64 bits without index by that of the uop behind it.
static unsigned simple_ea_code(const struct uop *u, unsigned next)
{
    if (next < UOP_CODE_XLAT_LOAD || next >= UOP_CODE_EA_XLAT_LOAD || u[1].insn != u->insn || u[1].a != u->dst)
        return UOP_CODE_EA_SIMPLE;
    return next - UOP_CODE_XLAT_LOAD + UOP_CODE_EA_XLAT_LOAD;
}
_Static_assert(UOP_CODE_XLAT_STORE - UOP_CODE_XLAT_LOAD == UOP_CODE_EA_XLAT_STORE - UOP_CODE_EA_XLAT_LOAD,
               "by the same distance");

/// Code of a uop before an EXIT_IF: 0 when they do not run as one.
static unsigned compare_code(const struct uop *u)
{
    if ((u->op != UOP_SUB && u->op != UOP_AND) || u->dst != VAR_NONE || !(u->aux & UOP_SETS_FLAGS) ||
        u[1].insn == u->insn)
        return 0;
    return (u->op == UOP_SUB ? UOP_CODE_COMPARE_EXIT : UOP_CODE_TEST_EXIT) + u->width + (u->b == VAR_IMM) * 4u;
}

void interp_prepare(struct uop *uops, unsigned count)
{
    unsigned next = 0; // code of the uop behind
    for (unsigned i = count; i-- > 0;) {
        struct uop *u = &uops[i];
        unsigned code = 0;
        if (u->op == UOP_XLAT && i + 1 < count)
            code = xlat_code(u);
        else if (u->op == UOP_EA && u->width == WIDTH_64 && u->b == VAR_ZERO)
            code = simple_ea_code(u, next);
        else if (i + 2 == count && u[1].op == UOP_EXIT_IF)
            code = compare_code(u);
        if (!code)
            code = CODE(u->op, u->width, u->b == VAR_IMM, (u->aux & UOP_SETS_FLAGS) != 0);
        u->code = (uint16_t)(next = code);
    }
}

// ---- memory ------------------------------------------------------------------------------------------------------
// A handle value of 4096 and more is a host address; 1..8 names cpu->handle[]; faults give 0.

/// A pending x87 exception comes before the faults of an instruction that waits for it.
static inline void raise_waiting(struct cpu *cpu, const struct uop *u)
{
    if (UNLIKELY(u->aux & UOP_X87) && x87_must_fault(cpu))
        cpu_raise(cpu, VECTOR_MF);
}

__attribute__((noinline)) static uint64_t xlat_slow(struct cpu *cpu, const struct uop *u, uint64_t linear)
{
    enum mmu_access kind = u->aux & UOP_WRITE ? MMU_WRITE : MMU_READ;
    enum mmu_mode mode = u->aux & UOP_MODE ? (enum mmu_mode)u->c : cpu->data_mode;
    bool allowed;
    unsigned slot = cpu->next_handle++ & 7;
    struct mmu_handle *handle = &cpu->handle[slot];
    struct mmu_fault fault;

    if (UNLIKELY(cpu->mode & MODE_PARANOID)) {
        const void *host = tlb_lookup(&cpu->mmu, mode, kind, linear, u->param);
        if (host)
            mmu_paranoid_check(&cpu->mmu, mode, kind, linear, host);
    }
    if (UNLIKELY(cpu->mode & MODE_ALIGN) && !(u->aux & UOP_MODE) && (linear & (cpu_alignment(u->param) - 1))) {
        raise_waiting(cpu, u);
        if (!cpu_raise_alignment(cpu, linear))
            return 0;
    }
    if (cpu->mode & MODE_PARANOID)
        allowed = mmu_access(&cpu->mmu, mode, kind, linear, u->param, handle, &fault);
    else
        allowed = mmu_access_missed(&cpu->mmu, mode, kind, linear, u->param, handle, &fault);
    if (!allowed) {
        raise_waiting(cpu, u);
        return cpu_raise_mmu(cpu, &fault, u->aux & UOP_STACK);
    }
    if (!handle->crosses && handle->piece[0].host &&
        (!handle->code || (!handle->watched && !block_cache_covers(cpu->blocks, handle->piece[0].host, handle->size))))
        return (uint64_t)(uintptr_t)handle->piece[0].host;
    return slot + 1;
}

static inline uint64_t xlat(struct cpu *cpu, const struct uop *u, uint64_t linear)
{
    enum mmu_mode mode = u->aux & UOP_MODE ? (enum mmu_mode)u->c : cpu->data_mode;
    if (UNLIKELY(u->aux & UOP_ALIGNED) && (linear & (u->param - 1))) {
        raise_waiting(cpu, u);
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    }
    void *host = tlb_lookup(&cpu->mmu, mode, u->aux & UOP_WRITE ? MMU_WRITE : MMU_READ, linear, u->param);
    if (LIKELY(host != NULL) && LIKELY(!(cpu->mode & (MODE_ALIGN | MODE_PARANOID))))
        return (uint64_t)(uintptr_t)host;
    return xlat_slow(cpu, u, linear);
}

static void device_begin(struct cpu *cpu, const struct mmu_handle *handle)
{
    if ((!handle->piece[0].host || (handle->crosses && !handle->piece[1].host)) && cpu->outside.lock)
        cpu->outside.lock(cpu->outside.opaque);
}

static void device_end(struct cpu *cpu, const struct mmu_handle *handle)
{
    if (handle->piece[0].host && (!handle->crosses || handle->piece[1].host))
        return;
    if (cpu->outside.unlock)
        cpu->outside.unlock(cpu->outside.opaque);
    if (atomic_load_explicit(&cpu->exit_request, memory_order_relaxed))
        cpu->leave = true;
}

__attribute__((noinline)) static uint64_t load_slow(struct cpu *cpu, const struct uop *u)
{
    const struct mmu_handle *handle = &cpu->handle[(cpu->var[u->a] - 1) & 7];
    uint64_t value;
    cpu->insn_in_block = u->insn;
    device_begin(cpu, handle);
    value = mmu_handle_load(&cpu->mmu, handle);
    device_end(cpu, handle);
    return value;
}

__attribute__((noinline)) static void store_slow(struct cpu *cpu, const struct uop *u, uint64_t value)
{
    const struct mmu_handle *handle = &cpu->handle[(cpu->var[u->a] - 1) & 7];
    cpu->insn_in_block = u->insn;
    device_begin(cpu, handle);
    mmu_handle_store(&cpu->mmu, handle, value);
    device_end(cpu, handle);
}

static void vector_load(struct cpu *cpu, const struct uop *u)
{
    union vreg *to = cpu_vreg(cpu, u->dst);
    uint64_t handle = cpu->var[u->a];
    union vreg value = {0};
    size_t size = u->dst >= VREG_MM ? 8 : 16;
    if (LIKELY(handle >= PAGE_SIZE))
        memcpy(value.u8, (const void *)(uintptr_t)handle, u->param);
    else {
        cpu->insn_in_block = u->insn;
        device_begin(cpu, &cpu->handle[(handle - 1) & 7]);
        mmu_handle_load_bytes(&cpu->mmu, &cpu->handle[(handle - 1) & 7], value.u8);
        device_end(cpu, &cpu->handle[(handle - 1) & 7]);
    }
    if (u->sub)
        size = AVX_BYTES;
    memcpy(to->u8, value.u8, u->param > size ? u->param : size);
}

static void vector_move(struct cpu *cpu, const struct uop *u)
{
    union vreg *to = cpu_vreg(cpu, u->dst);
    const union vreg *from = cpu_vreg(cpu, u->b);
    if (!u->sub) {
        memcpy(to, from, u->dst >= VREG_MM || u->b >= VREG_MM ? 8 : 16);
        return;
    }
    if (to != from)
        memcpy(to, from, u->param);
    memset(&to->u8[u->param], 0, AVX_BYTES - u->param);
}

static void vector_store(struct cpu *cpu, const struct uop *u)
{
    const union vreg *from = cpu_vreg(cpu, u->b);
    uint64_t handle = cpu->var[u->a];
    if (LIKELY(handle >= PAGE_SIZE)) {
        memcpy((void *)(uintptr_t)handle, from->u8, u->param);
        return;
    }
    cpu->insn_in_block = u->insn;
    device_begin(cpu, &cpu->handle[(handle - 1) & 7]);
    mmu_handle_store_bytes(&cpu->mmu, &cpu->handle[(handle - 1) & 7], from->u8);
    device_end(cpu, &cpu->handle[(handle - 1) & 7]);
}

// ---- leaving -----------------------------------------------------------------------------------------------------
static uint64_t cut(uint64_t value, unsigned width)
{
    return width == WIDTH_64 ? value : value & bits_mask(8u << width);
}

/// Copies what is left of instruction `insn`, from `next` on, with an exit behind it, so that the block is left at the
/// boundary.
static struct uop *detour(struct cpu *cpu, const struct block *block, const struct uop *next, unsigned insn,
                          struct uop *copy)
{
    const struct uop *end = block_uops(cpu->blocks, block) + block->uop_count;
    unsigned count = 0;
    cpu->leave = false;
    while (next < end && next->insn == insn && count < 62)
        copy[count++] = *next++;
    if (count == 0 || copy[count - 1].op < UOP_RAISE) {
        copy[count] = (struct uop){.op = UOP_EXIT, .insn = (uint8_t)insn, .imm = block_insn_offset(block, insn + 1)};
        copy[count].width = (uint8_t)mode_code_width(cpu->mode);
        count++;
    }
    interp_prepare(copy, count);
    return copy;
}

/// The block that follows a direct exit by `delta` bytes from the start of `block`, or NULL: through the dispatcher.
/// Only successors in the same guest page are linked: while a block of a page runs, the page's mapping stands.
static struct block *follow(struct cpu *cpu, struct block *block, unsigned which, int64_t delta)
{
    const struct block_store *store = block_cache_store(cpu->blocks);
    struct block *next = block_linked(store, block, which, cpu->link_epoch);
    if (UNLIKELY(!next)) {
        uint64_t key = block_jump_key(cpu, block_linear(cpu)), offset = (block->backing & ~PAGE_MASK) + (uint64_t)delta;
        struct cpu_jump_entry *entry = &cpu->jump_cache[jump_cache_index(key)];
        if (!mode_links(block->mode) || block->crosses || block->backing == UINT64_MAX || block->has_call ||
            (block->mode & (MODE_TF | MODE_ONE)) || offset >= PAGE_SIZE || entry->linear != key ||
            entry->epoch != cpu->jump_epoch || entry->mode != block->mode || log_on(cpu->log, LOG_EXEC))
            return NULL;
        next = entry->block;
        // The guest may have changed its tables without a word, and the page was looked up anew.
        if (next->crosses || next->place_matters || next->backing != block->backing + (uint64_t)delta)
            return NULL;
        block_link(store, block, which, cpu->link_epoch, next);
    }
    if (UNLIKELY(!next->valid) || UNLIKELY(!block->valid))
        return NULL;
    if (UNLIKELY(atomic_load_explicit(&cpu->exit_request, memory_order_relaxed)))
        return NULL;
    if (UNLIKELY(cpu->instructions + next->insn_count > cpu->instruction_limit))
        return NULL;
    return next;
}

#define OTHER_EXIT (-1)

#define V(n) (cpu->var[n])
#define OPERAND_B(T, imm_) ((T)((imm_) ? (uint64_t)u->imm : V(u->b)))
// Reads and writes at width: the slots are little-endian 64-bit values.
#define WRITE8(n, value) (*(uint8_t *)&V(n) = (uint8_t)(value))
#define WRITE16(n, value) (*(uint16_t *)&V(n) = (uint16_t)(value))
#define WRITE32(n, value) (V(n) = (uint32_t)(value))
#define WRITE64(n, value) (V(n) = (uint64_t)(value))
#define RECIPE(op, width, result, src)                                                                                 \
    (V(VAR_CC_OP) = cc_pack(op, width), V(VAR_CC_RESULT) = (result), V(VAR_CC_SRC) = (src))

// One case per width, immediate and flags. BODY(T, WRITE, width, imm, flags).
#define CASES_W(op, imm, flags, BODY)                                                                                  \
    case CODE(op, WIDTH_8, imm, flags):                                                                                \
        BODY(uint8_t, WRITE8, WIDTH_8, imm, flags);                                                                    \
        break;                                                                                                         \
    case CODE(op, WIDTH_16, imm, flags):                                                                               \
        BODY(uint16_t, WRITE16, WIDTH_16, imm, flags);                                                                 \
        break;                                                                                                         \
    case CODE(op, WIDTH_32, imm, flags):                                                                               \
        BODY(uint32_t, WRITE32, WIDTH_32, imm, flags);                                                                 \
        break;                                                                                                         \
    case CODE(op, WIDTH_64, imm, flags):                                                                               \
        BODY(uint64_t, WRITE64, WIDTH_64, imm, flags);                                                                 \
        break;
#define CASES_WI(op, flags, BODY) CASES_W(op, 0, flags, BODY) CASES_W(op, 1, flags, BODY)
#define CASES_WIF(op, BODY) CASES_WI(op, 0, BODY) CASES_WI(op, 1, BODY)
#define CASES_WF(op, BODY) CASES_W(op, 0, 0, BODY) CASES_W(op, 0, 1, BODY)

#define BODY_MOV(T, WRITE, width, imm, flags) WRITE(u->dst, OPERAND_B(T, imm))
#define BODY_ADD(T, WRITE, width, imm, flags)                                                                          \
    do {                                                                                                               \
        T src_ = OPERAND_B(T, imm), result_ = (T)((T)V(u->a) + src_);                                                  \
        WRITE(u->dst, result_);                                                                                        \
        if (flags)                                                                                                     \
            RECIPE(CC_ADD, width, result_, src_);                                                                      \
    } while (0)
#define BODY_SUB(T, WRITE, width, imm, flags)                                                                          \
    do {                                                                                                               \
        T src_ = OPERAND_B(T, imm), result_ = (T)((T)V(u->a) - src_);                                                  \
        WRITE(u->dst, result_);                                                                                        \
        if (flags)                                                                                                     \
            RECIPE(CC_SUB, width, result_, src_);                                                                      \
    } while (0)
#define BODY_ADC(T, WRITE, width, imm, flags)                                                                          \
    do {                                                                                                               \
        T src_ = OPERAND_B(T, imm), carry_ = cc_carry(cpu), result_ = (T)((T)V(u->a) + src_ + carry_);                 \
        WRITE(u->dst, result_);                                                                                        \
        if (flags) {                                                                                                   \
            RECIPE(CC_ADC, width, result_, src_);                                                                      \
            V(VAR_CC_EXTRA) = carry_;                                                                                  \
        }                                                                                                              \
    } while (0)
#define BODY_SBB(T, WRITE, width, imm, flags)                                                                          \
    do {                                                                                                               \
        T src_ = OPERAND_B(T, imm), carry_ = cc_carry(cpu), result_ = (T)((T)V(u->a) - src_ - carry_);                 \
        WRITE(u->dst, result_);                                                                                        \
        if (flags) {                                                                                                   \
            RECIPE(CC_SBB, width, result_, src_);                                                                      \
            V(VAR_CC_EXTRA) = carry_;                                                                                  \
        }                                                                                                              \
    } while (0)
#define BODY_LOGIC(T, WRITE, width, flags, expression)                                                                 \
    do {                                                                                                               \
        T result_ = (T)(expression);                                                                                   \
        WRITE(u->dst, result_);                                                                                        \
        if (flags)                                                                                                     \
            RECIPE(CC_LOGIC, width, result_, 0);                                                                       \
    } while (0)
#define BODY_AND(T, WRITE, width, imm, flags) BODY_LOGIC(T, WRITE, width, flags, (T)V(u->a) & OPERAND_B(T, imm))
#define BODY_OR(T, WRITE, width, imm, flags) BODY_LOGIC(T, WRITE, width, flags, (T)V(u->a) | OPERAND_B(T, imm))
#define BODY_XOR(T, WRITE, width, imm, flags) BODY_LOGIC(T, WRITE, width, flags, (T)V(u->a) ^ OPERAND_B(T, imm))
#define BODY_NOT(T, WRITE, width, imm, flags) WRITE(u->dst, (T)~V(u->a))
#define BODY_NEG(T, WRITE, width, imm, flags)                                                                          \
    do {                                                                                                               \
        T src_ = (T)V(u->a), result_ = (T)-src_;                                                                       \
        WRITE(u->dst, result_);                                                                                        \
        if (flags)                                                                                                     \
            RECIPE(CC_SUB, width, result_, src_);                                                                      \
    } while (0)
#define BODY_STEP(T, WRITE, width, flags, recipe, delta)                                                               \
    do {                                                                                                               \
        T result_ = (T)((T)V(u->a) + (T)(delta));                                                                      \
        if (flags) {                                                                                                   \
            uint64_t carry_ = cc_carry(cpu);                                                                           \
            RECIPE(recipe, width, result_, 0);                                                                         \
            V(VAR_CC_EXTRA) = carry_;                                                                                  \
        }                                                                                                              \
        WRITE(u->dst, result_);                                                                                        \
    } while (0)
#define BODY_INC(T, WRITE, width, imm, flags) BODY_STEP(T, WRITE, width, flags, CC_INC, 1)
#define BODY_DEC(T, WRITE, width, imm, flags) BODY_STEP(T, WRITE, width, flags, CC_DEC, -1)
#define SHIFT_COUNT(T, imm) (OPERAND_B(uint8_t, imm) & (sizeof(T) == 8 ? 63 : 31))
#define BODY_SHL(T, WRITE, width, imm, flags)                                                                          \
    do {                                                                                                               \
        unsigned count_ = SHIFT_COUNT(T, imm);                                                                         \
        if (count_) {                                                                                                  \
            uint64_t before_ = (uint64_t)(T)V(u->a) << (count_ - 1);                                                   \
            WRITE(u->dst, (T)(before_ << 1));                                                                          \
            if (flags)                                                                                                 \
                RECIPE(CC_SHL, width, (T)(before_ << 1), (T)before_);                                                  \
        } else                                                                                                         \
            WRITE(u->dst, (T)V(u->a));                                                                                 \
    } while (0)
#define BODY_SHR(T, WRITE, width, imm, flags)                                                                          \
    do {                                                                                                               \
        unsigned count_ = SHIFT_COUNT(T, imm);                                                                         \
        if (count_) {                                                                                                  \
            uint64_t before_ = (uint64_t)(T)V(u->a) >> (count_ - 1);                                                   \
            WRITE(u->dst, (T)(before_ >> 1));                                                                          \
            if (flags)                                                                                                 \
                RECIPE(CC_SHR, width, (T)(before_ >> 1), (T)before_);                                                  \
        } else                                                                                                         \
            WRITE(u->dst, (T)V(u->a));                                                                                 \
    } while (0)
#define BODY_SAR(T, WRITE, width, imm, flags)                                                                          \
    do {                                                                                                               \
        unsigned count_ = SHIFT_COUNT(T, imm);                                                                         \
        if (count_) {                                                                                                  \
            int64_t before_ = bits_sign_extend(V(u->a), sizeof(T) * 8) >> (count_ - 1);                                \
            WRITE(u->dst, (T)(before_ >> 1));                                                                          \
            if (flags)                                                                                                 \
                RECIPE(CC_SAR, width, (T)(before_ >> 1), (T)before_);                                                  \
        } else                                                                                                         \
            WRITE(u->dst, (T)V(u->a));                                                                                 \
    } while (0)
#define BODY_ZEXT(T, WRITE, width, imm, flags) WRITE(u->dst, (T)(V(u->a) & bits_mask(8u << u->sub)))
#define BODY_SEXT(T, WRITE, width, imm, flags) WRITE(u->dst, (T)bits_sign_extend(V(u->a), 8u << u->sub))
#define BODY_LOAD(T, WRITE, width, imm, flags)                                                                         \
    do {                                                                                                               \
        uint64_t handle_ = V(u->a);                                                                                    \
        V(u->dst) = LIKELY(handle_ >= PAGE_SIZE) ? LOAD_##T(handle_) : load_slow(cpu, u);                              \
    } while (0)
#define BODY_STORE(T, WRITE, width, imm, flags)                                                                        \
    do {                                                                                                               \
        uint64_t handle_ = V(u->a);                                                                                    \
        if (LIKELY(handle_ >= PAGE_SIZE))                                                                              \
            STORE_##T(handle_, OPERAND_B(T, imm));                                                                     \
        else                                                                                                           \
            store_slow(cpu, u, OPERAND_B(T, imm));                                                                     \
    } while (0)
// Guest RAM: one access a value, so that no other vCPU sees it torn where it is naturally aligned.
typedef uint16_t unaligned_u16 __attribute__((aligned(1), may_alias));
typedef uint32_t unaligned_u32 __attribute__((aligned(1), may_alias));
typedef uint64_t unaligned_u64 __attribute__((aligned(1), may_alias));
#define LOAD_uint8_t(h) (*(const volatile uint8_t *)(uintptr_t)(h))
#define LOAD_uint16_t(h) (*(const volatile unaligned_u16 *)(uintptr_t)(h))
#define LOAD_uint32_t(h) (*(const volatile unaligned_u32 *)(uintptr_t)(h))
#define LOAD_uint64_t(h) (*(const volatile unaligned_u64 *)(uintptr_t)(h))
#define STORE_uint8_t(h, v) (*(volatile uint8_t *)(uintptr_t)(h) = (v))
#define STORE_uint16_t(h, v) (*(volatile unaligned_u16 *)(uintptr_t)(h) = (v))
#define STORE_uint32_t(h, v) (*(volatile unaligned_u32 *)(uintptr_t)(h) = (v))
#define STORE_uint64_t(h, v) (*(volatile unaligned_u64 *)(uintptr_t)(h) = (v))

#define FAULT_IF_PENDING()                                                                                             \
    do {                                                                                                               \
        if (UNLIKELY(cpu->fault.pending))                                                                              \
            goto fault;                                                                                                \
    } while (0)
#define NEXT_OR_LEAVE()                                                                                                \
    do {                                                                                                               \
        if (UNLIKELY(cpu->leave))                                                                                      \
            goto leave;                                                                                                \
    } while (0)

#define BODY_XLAT_LOAD(T)                                                                                              \
    do {                                                                                                               \
        uint64_t handle_ = xlat(cpu, u, V(u->a));                                                                      \
        V(u->dst) = handle_;                                                                                           \
        if (UNLIKELY(!handle_))                                                                                        \
            goto fault;                                                                                                \
        u++;                                                                                                           \
        V(u->dst) = LIKELY(handle_ >= PAGE_SIZE) ? LOAD_##T(handle_) : load_slow(cpu, u);                              \
        NEXT_OR_LEAVE();                                                                                               \
    } while (0)
#define BODY_XLAT_STORE(T, imm)                                                                                        \
    do {                                                                                                               \
        uint64_t handle_ = xlat(cpu, u, V(u->a));                                                                      \
        V(u->dst) = handle_;                                                                                           \
        if (UNLIKELY(!handle_))                                                                                        \
            goto fault;                                                                                                \
        u++;                                                                                                           \
        if (LIKELY(handle_ >= PAGE_SIZE))                                                                              \
            STORE_##T(handle_, OPERAND_B(T, imm));                                                                     \
        else                                                                                                           \
            store_slow(cpu, u, OPERAND_B(T, imm));                                                                     \
        NEXT_OR_LEAVE();                                                                                               \
    } while (0)
#define EA_STEP() (V(u->dst) = V(u->a) + (uint64_t)u->imm, u++)
#define BODY_COMPARE(T, S, width, imm)                                                                                 \
    do {                                                                                                               \
        T first_ = (T)V(u->a), src_ = OPERAND_B(T, imm), result_ = (T)(first_ - src_);                                 \
        RECIPE(CC_SUB, width, result_, src_);                                                                          \
        u++;                                                                                                           \
        switch (u->sub >> 1) {                                                                                         \
        case 1:                                                                                                        \
            taken = first_ < src_;                                                                                     \
            break;                                                                                                     \
        case 2:                                                                                                        \
            taken = first_ == src_;                                                                                    \
            break;                                                                                                     \
        case 3:                                                                                                        \
            taken = first_ <= src_;                                                                                    \
            break;                                                                                                     \
        case 4:                                                                                                        \
            taken = (S)result_ < 0;                                                                                    \
            break;                                                                                                     \
        case 6:                                                                                                        \
            taken = (S)first_ < (S)src_;                                                                               \
            break;                                                                                                     \
        case 7:                                                                                                        \
            taken = (S)first_ <= (S)src_;                                                                              \
            break;                                                                                                     \
        default:                                                                                                       \
            taken = cc_condition(cpu, u->sub & ~1u);                                                                   \
            break;                                                                                                     \
        }                                                                                                              \
        taken ^= u->sub & 1;                                                                                           \
        goto exit_if;                                                                                                  \
    } while (0)
#define BODY_TEST(T, S, width, imm)                                                                                    \
    do {                                                                                                               \
        T result_ = (T)((T)V(u->a) & OPERAND_B(T, imm));                                                               \
        RECIPE(CC_LOGIC, width, result_, 0);                                                                           \
        u++;                                                                                                           \
        taken = cc_condition(cpu, u->sub);                                                                             \
        goto exit_if;                                                                                                  \
    } while (0)

/// From uop `u` on. A block that does not `go_on` is the last one: returns by which direct exit it left, or OTHER_EXIT.
__attribute__((noinline)) static int interpret(struct cpu *cpu, struct block *block, const struct uop *u, bool go_on)
{
    struct uop copy[64];
    uint64_t target;
    int64_t delta;
    unsigned which;
    bool taken, detoured = cpu->leave; // after the instruction in which host code gave up

    if (UNLIKELY(detoured))
        u = detour(cpu, block, u, u->insn, copy);
enter:
    cpu->running = block;
    cpu->stat_blocks++;
    for (;; u++) {
        switch (u->code) {
            CASES_WI(UOP_MOV, 0, BODY_MOV)
            CASES_WIF(UOP_ADD, BODY_ADD)
            CASES_WIF(UOP_SUB, BODY_SUB)
            CASES_WIF(UOP_ADC, BODY_ADC)
            CASES_WIF(UOP_SBB, BODY_SBB)
            CASES_WIF(UOP_AND, BODY_AND)
            CASES_WIF(UOP_OR, BODY_OR)
            CASES_WIF(UOP_XOR, BODY_XOR)
            CASES_W(UOP_ZEXT, 0, 0, BODY_ZEXT)
            CASES_W(UOP_SEXT, 0, 0, BODY_SEXT)
            CASES_W(UOP_NOT, 0, 0, BODY_NOT)
            CASES_WF(UOP_NEG, BODY_NEG)
            CASES_WF(UOP_INC, BODY_INC)
            CASES_WF(UOP_DEC, BODY_DEC)
            CASES_WIF(UOP_SHL, BODY_SHL)
            CASES_WIF(UOP_SHR, BODY_SHR)
            CASES_WIF(UOP_SAR, BODY_SAR)
#define BODY_LOAD_LEAVE(T, WRITE, width, imm, flags)                                                                   \
    BODY_LOAD(T, WRITE, width, imm, flags);                                                                            \
    NEXT_OR_LEAVE()
            CASES_W(UOP_LOAD, 0, 0, BODY_LOAD_LEAVE)
#define BODY_STORE_LEAVE(T, WRITE, width, imm, flags)                                                                  \
    BODY_STORE(T, WRITE, width, imm, flags);                                                                           \
    NEXT_OR_LEAVE()
            CASES_WI(UOP_STORE, 0, BODY_STORE_LEAVE)

        case UOP_CODE_XLAT_LOAD + WIDTH_8:
            BODY_XLAT_LOAD(uint8_t);
            break;
        case UOP_CODE_XLAT_LOAD + WIDTH_16:
            BODY_XLAT_LOAD(uint16_t);
            break;
        case UOP_CODE_XLAT_LOAD + WIDTH_32:
            BODY_XLAT_LOAD(uint32_t);
            break;
        case UOP_CODE_XLAT_LOAD + WIDTH_64:
            BODY_XLAT_LOAD(uint64_t);
            break;
        case UOP_CODE_EA_XLAT_LOAD + WIDTH_8:
            EA_STEP();
            BODY_XLAT_LOAD(uint8_t);
            break;
        case UOP_CODE_EA_XLAT_LOAD + WIDTH_16:
            EA_STEP();
            BODY_XLAT_LOAD(uint16_t);
            break;
        case UOP_CODE_EA_XLAT_LOAD + WIDTH_32:
            EA_STEP();
            BODY_XLAT_LOAD(uint32_t);
            break;
        case UOP_CODE_EA_XLAT_LOAD + WIDTH_64:
            EA_STEP();
            BODY_XLAT_LOAD(uint64_t);
            break;
#define STORE_CASES(base, step, imm)                                                                                   \
    case base + WIDTH_8 + imm * 4:                                                                                     \
        step;                                                                                                          \
        BODY_XLAT_STORE(uint8_t, imm);                                                                                 \
        break;                                                                                                         \
    case base + WIDTH_16 + imm * 4:                                                                                    \
        step;                                                                                                          \
        BODY_XLAT_STORE(uint16_t, imm);                                                                                \
        break;                                                                                                         \
    case base + WIDTH_32 + imm * 4:                                                                                    \
        step;                                                                                                          \
        BODY_XLAT_STORE(uint32_t, imm);                                                                                \
        break;                                                                                                         \
    case base + WIDTH_64 + imm * 4:                                                                                    \
        step;                                                                                                          \
        BODY_XLAT_STORE(uint64_t, imm);                                                                                \
        break;
            STORE_CASES(UOP_CODE_XLAT_STORE, (void)0, 0)
            STORE_CASES(UOP_CODE_XLAT_STORE, (void)0, 1)
            STORE_CASES(UOP_CODE_EA_XLAT_STORE, EA_STEP(), 0)
            STORE_CASES(UOP_CODE_EA_XLAT_STORE, EA_STEP(), 1)
#define BRANCH_CASES(base, BODY, imm)                                                                                  \
    case base + WIDTH_8 + imm * 4:                                                                                     \
        BODY(uint8_t, int8_t, WIDTH_8, imm);                                                                           \
    case base + WIDTH_16 + imm * 4:                                                                                    \
        BODY(uint16_t, int16_t, WIDTH_16, imm);                                                                        \
    case base + WIDTH_32 + imm * 4:                                                                                    \
        BODY(uint32_t, int32_t, WIDTH_32, imm);                                                                        \
    case base + WIDTH_64 + imm * 4:                                                                                    \
        BODY(uint64_t, int64_t, WIDTH_64, imm);
            BRANCH_CASES(UOP_CODE_COMPARE_EXIT, BODY_COMPARE, 0)
            BRANCH_CASES(UOP_CODE_COMPARE_EXIT, BODY_COMPARE, 1)
            BRANCH_CASES(UOP_CODE_TEST_EXIT, BODY_TEST, 0)
            BRANCH_CASES(UOP_CODE_TEST_EXIT, BODY_TEST, 1)

        case UOP_CODE_EA_SIMPLE:
            V(u->dst) = V(u->a) + (uint64_t)u->imm;
            break;
        case CODE(UOP_EA, WIDTH_64, 0, 0):
            V(u->dst) = V(u->a) + (V(u->b) << u->sub) + (uint64_t)u->imm;
            break;
        case CODE(UOP_EA, WIDTH_32, 0, 0):
            V(u->dst) = (uint32_t)(V(u->a) + (V(u->b) << u->sub) + (uint64_t)u->imm);
            break;
        case CODE(UOP_EA, WIDTH_16, 0, 0):
            V(u->dst) = (uint16_t)(V(u->a) + (V(u->b) << u->sub) + (uint64_t)u->imm);
            break;
        case CODE(UOP_SETCC, WIDTH_8, 0, 0):
            WRITE8(u->dst, cc_condition(cpu, u->sub));
            break;
        case CODE(UOP_SELECT, WIDTH_64, 0, 0):
            V(u->dst) = cc_condition(cpu, u->sub) ? V(u->b) : V(u->a);
            break;
        case CODE(UOP_SELECT, WIDTH_32, 0, 0):
            V(u->dst) = (uint32_t)(cc_condition(cpu, u->sub) ? V(u->b) : V(u->a));
            break;
        case CODE(UOP_SELECT, WIDTH_16, 0, 0):
            WRITE16(u->dst, cc_condition(cpu, u->sub) ? V(u->b) : V(u->a));
            break;
        case CODE(UOP_GET_HIGH, WIDTH_8, 0, 0):
            WRITE8(u->dst, V(u->a) >> 8);
            break;
        case CODE(UOP_SET_HIGH, WIDTH_8, 0, 0):
            ((uint8_t *)&V(u->dst))[1] = (uint8_t)V(u->a);
            break;
        case CODE(UOP_XLAT, WIDTH_8, 0, 0):
            V(u->dst) = xlat(cpu, u, V(u->a));
            if (UNLIKELY(!V(u->dst)))
                goto fault;
            NEXT_OR_LEAVE(); // where no load or store follows
            break;
        case CODE(UOP_SEG, WIDTH_8, 0, 0):
        case CODE(UOP_SEG, WIDTH_16, 0, 0):
        case CODE(UOP_SEG, WIDTH_32, 0, 0):
        case CODE(UOP_SEG, WIDTH_64, 0, 0):
            if (UNLIKELY(u->aux & UOP_X87)) // before the limit is looked at
                raise_waiting(cpu, u);
            V(u->dst) = cpu_segment_linear(cpu, u->sub, V(u->a), u->param, u->aux & UOP_WRITE);
            FAULT_IF_PENDING();
            break;
        case CODE(UOP_VLOAD, WIDTH_8, 0, 0):
            vector_load(cpu, u);
            NEXT_OR_LEAVE();
            break;
        case CODE(UOP_VMOV, WIDTH_8, 0, 0):
            vector_move(cpu, u);
            break;
        case CODE(UOP_CALL, WIDTH_8, 0, 0):
        case CODE(UOP_CALL, WIDTH_64, 0, 0):
            cpu->insn_in_block = u->insn;
            cpu->stat_call[u->param]++;
            target = uop_helpers[u->param].function(cpu, V(u->a), V(u->b), (uint64_t)u->imm);
            FAULT_IF_PENDING();
            V(u->dst) = target;
            NEXT_OR_LEAVE();
            break;
        case CODE(UOP_EXIT, WIDTH_64, 0, 0):
            delta = u->imm;
            V(VAR_RIP) += (uint64_t)delta;
            goto exit_direct;
        case CODE(UOP_EXIT, WIDTH_32, 0, 0):
        case CODE(UOP_EXIT, WIDTH_16, 0, 0):
            delta = u->imm;
            V(VAR_RIP) = cut(V(VAR_RIP) + (uint64_t)delta, u->width);
            goto exit_direct;
        case CODE(UOP_EXIT_IF, WIDTH_64, 0, 0):
        case CODE(UOP_EXIT_IF, WIDTH_32, 0, 0):
        case CODE(UOP_EXIT_IF, WIDTH_16, 0, 0):
            taken = cc_condition(cpu, u->sub);
            goto exit_if;
        case CODE(UOP_EXIT_IF_ZERO, WIDTH_64, 0, 0):
        case CODE(UOP_EXIT_IF_ZERO, WIDTH_32, 0, 0):
        case CODE(UOP_EXIT_IF_ZERO, WIDTH_16, 0, 0):
            taken = ((V(u->a) & bits_mask(8u << u->c)) == 0) != ((u->aux & UOP_NEGATE) != 0);
            goto exit_if;
        case CODE(UOP_EXIT_TO, WIDTH_8, 0, 0):
        case CODE(UOP_EXIT_TO, WIDTH_64, 0, 0):
            V(VAR_RIP) = V(u->a);
            cpu->instructions += u->insn + 1u;
            cpu->running = NULL;
            cpu->leave = false;
            return OTHER_EXIT;
        case CODE(UOP_RAISE, WIDTH_8, 0, 0):
            if (u->aux & UOP_ERROR_CODE)
                cpu_raise_error(cpu, (uint8_t)u->imm, u->param);
            else
                cpu_raise(cpu, (uint8_t)u->imm);
            goto fault;
        case CODE(UOP_VSTORE, WIDTH_8, 0, 0):
            vector_store(cpu, u);
            NEXT_OR_LEAVE();
            break;
        case CODE(UOP_ROW, WIDTH_8, 0, 0):
        case CODE(UOP_ROW, WIDTH_64, 0, 0):
            target = row_get(u->param)->execute(cpu, cpu_vreg(cpu, u->a), cpu_vreg(cpu, u->b),
                                                u->c == VAR_IMM ? (uint64_t)u->imm : V(u->c));
            FAULT_IF_PENDING();
            V(u->dst) = target;
            break;
        default:
            if (!alu_execute(cpu, u))
                goto fault;
            break;
        }
        continue;

    exit_if:
        which = !taken;
        delta = taken ? u->imm : (int64_t)(int32_t)u->param;
        V(VAR_RIP) = cut(V(VAR_RIP) + (uint64_t)delta, u->width);
        cpu->instructions += u->insn + 1u;
        goto chain;
    exit_direct:
        which = 0;
        cpu->instructions += u->insn + 1u;
    chain:
        cpu->running = NULL;
        if (UNLIKELY(detoured)) {
            cpu->leave = false;
            return OTHER_EXIT;
        }
        if (!go_on)
            return (int)which;
        block = follow(cpu, block, which, delta);
        if (!block)
            return OTHER_EXIT;
        u = block_uops(cpu->blocks, block);
        goto enter;
    leave:
        if (detoured) {
            cpu->leave = false;
            continue;
        }
        detoured = true;
        u = detour(cpu, block, u + 1, u->insn, copy) - 1;
    }

fault:
    V(VAR_RIP) = cut(V(VAR_RIP) + block_insn_offset(block, u->insn), mode_code_width(cpu->mode));
    cpu->instructions += u->insn;
    cpu->running = NULL;
    cpu->leave = false;
    return OTHER_EXIT;
}

void interp_block(struct cpu *cpu, struct block *block)
{
    interpret(cpu, block, block_uops(cpu->blocks, block), true);
}

int interp_rest_of_block(struct cpu *cpu, struct block *block, const struct uop *from)
{
    return interpret(cpu, block, from, false);
}

static void *interp_create(struct cpu *cpu, struct error *error)
{
    return cpu;
}

static void interp_destroy(void *state)
{
}

static void execute(void *state, struct cpu *cpu, struct block *block)
{
    interp_block(cpu, block);
}

static enum engine_stop interp_run(void *state, struct cpu *cpu)
{
    return run_loop(cpu, execute, state);
}

const struct engine engine_interp = {
    .name = "interp",
    .description = "uop interpreter: any host, exact, the oracle of the others",
    .create = interp_create,
    .destroy = interp_destroy,
    .run = interp_run,
};
