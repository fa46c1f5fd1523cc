// The x86-64 backend's way into the MMU: what host code calls when the soft TLB cannot say where an access goes, and
// string instructions. Compiled without vector registers: refill and string_quick run with the guest's in the host's.
#ifdef __x86_64__

#include "cpu/block.h"
#include "cpu/cpu.h"
#include "cpu/helper.h"
#include "cpu/lift.h"
#include "translate/backend_x86_64.h"

#define SHORT_BYTES 64u // what the host's instructions take longer to begin than to do

/// Few elements; the last ones go in units of their own.
static void move_short(uint8_t *to, const uint8_t *from, uint64_t length)
{
    for (; length >= 8; length -= 8, to += 8, from += 8)
        store_le64(to, load_le64(from));
    if (length & 4) {
        store_le32(to, load_le32(from));
        to += 4, from += 4;
    }
    if (length & 2) {
        store_le16(to, load_le16(from));
        to += 2, from += 2;
    }
    if (length & 1)
        *to = *from;
}

// ---- misses ---------------------------------------------------------------------------------------------------------
/// mmu_access. False: a fault, or bits that the walk set are in code, and blocks died for that. One may be at work, so
/// the interpreter goes on, with this instruction alone if need be.
static bool access_beside_code(struct cpu *cpu, uint64_t linear, uint32_t access, struct mmu_handle *handle,
                               struct mmu_fault *fault)
{
    uint64_t deaths = block_cache_deaths(cpu->blocks);
    return mmu_access(&cpu->mmu, (enum mmu_mode)(access >> X86_ACCESS_MODE_SHIFT & 3),
                      access & X86_ACCESS_WRITE ? MMU_WRITE : MMU_READ, linear, access & X86_ACCESS_SIZE, handle,
                      fault) &&
           block_cache_deaths(cpu->blocks) == deaths;
}

static uint64_t walk(struct cpu *cpu, uint64_t linear, uint32_t access)
{
    struct mmu_handle handle;
    struct mmu_fault fault = {.kind = MMU_OK};
    enum mmu_access kind = access & X86_ACCESS_WRITE ? MMU_WRITE : MMU_READ;
    enum mmu_mode mode = (enum mmu_mode)(access >> X86_ACCESS_MODE_SHIFT & 3);
    if ((linear ^ (linear + (access & X86_ACCESS_SIZE) - 1)) & PAGE_MASK) // the interpreter's, which looks itself
        return 0;
    if (!access_beside_code(cpu, linear, access, &handle, &fault)) {
        cpu->walk_fault = fault; // whoever host code leaves to need not walk again
        return 0;
    }
    // Beside code the address is good for this one access.
    if (handle.code && (handle.watched || block_cache_covers(cpu->blocks, handle.piece[0].host, handle.size)))
        return 0;
    // What has no entry in the TLB (code, watched pages) is seen access by access. Who watches was told of none here.
    if ((access & X86_ACCESS_GROUP) && !tlb_lookup(&cpu->mmu, mode, kind, linear, access & X86_ACCESS_SIZE)) {
        cpu->group_failed = handle.piece[0].host != NULL;
        return 0;
    }
    return (uint64_t)(uintptr_t)handle.piece[0].host;
}

// What refill may answer besides a host address, and 0 where it is to be looked at more closely: with a host address
// that it is beside code; alone that what is in cpu->bounce may be written.
#define LOOK_CLOSER BIT(63) // no host address has it

/// A read that lies on two pages of plain RAM finds its bytes in cpu->bounce, copied for the load that follows before
/// anything else is looked up. What a store is to write is there already, so it is done, and the store that follows
/// does it in cpu->bounce once more. Leaves the walker, which goes page by page as well, the addresses of which it
/// knows more: where bytes may not be canonical, or go on at address 0.
static uint64_t two_pages(struct cpu *cpu, uint64_t linear, uint32_t access)
{
    enum mmu_mode mode = (enum mmu_mode)(access >> X86_ACCESS_MODE_SHIFT & 3);
    enum mmu_access kind = access & X86_ACCESS_WRITE ? MMU_WRITE : MMU_READ;
    unsigned size = access & X86_ACCESS_SIZE, low = (unsigned)(PAGE_SIZE - (linear & (PAGE_SIZE - 1)));
    uint64_t last = linear + size - 1, second = last & PAGE_MASK;
    uint8_t *host[2], *bounce = cpu->bounce;
    bool code;
    if ((access & X86_ACCESS_GROUP) || (kind == MMU_WRITE && !(access & X86_ACCESS_STORE)) || size > CPU_BOUNCE_BYTES ||
        (linear ^ last) >> 32)
        return 0;
    if (!tlb_lookup_two(&cpu->mmu, mode, kind, linear, low, second, size - low, host)) {
        if (kind == MMU_WRITE)
            return LOOK_CLOSER;
        host[0] = mmu_refill(&cpu->mmu, mode, kind, linear, low, &code);
        host[1] = host[0] ? mmu_refill(&cpu->mmu, mode, kind, second, size - low, &code) : NULL;
        if (!host[1])
            return 0;
    }
    if (kind == MMU_WRITE) {
        move_short(host[0], bounce, low);
        move_short(host[1], bounce + low, size - low);
    } else {
        move_short(bounce, host[0], low);
        move_short(bounce + low, host[1], size - low);
    }
    return (uint64_t)(uintptr_t)bounce;
}

/// The plain case, with vector registers in place.
static uint64_t refill(struct cpu *cpu, uint64_t linear, uint32_t access)
{
    enum mmu_mode mode = (enum mmu_mode)(access >> X86_ACCESS_MODE_SHIFT & 3);
    bool code;
    uint64_t host;
    if (UNLIKELY((linear ^ (linear + (access & X86_ACCESS_SIZE) - 1)) & PAGE_MASK))
        return two_pages(cpu, linear, access);
    host = (uint64_t)(uintptr_t)mmu_refill(&cpu->mmu, mode, access & X86_ACCESS_WRITE ? MMU_WRITE : MMU_READ, linear,
                                           access & X86_ACCESS_SIZE, &code);
    if (UNLIKELY(code))
        return access & X86_ACCESS_GROUP ? 0 : host | LOOK_CLOSER;
    return host;
}

/// A store that lies on two pages which the TLB does not both know. Returns what two_pages does.
static uint64_t write_two_pages(struct cpu *cpu, uint64_t linear, uint32_t access)
{
    struct mmu_handle handle;
    struct mmu_fault fault;
    if (cpu->mmu.watch_kinds || // who watches is told once
        !access_beside_code(cpu, linear, access, &handle, &fault))
        return 0;
    for (unsigned i = 0; i < ARRAY_SIZE(handle.piece); i++) {
        const struct mmu_piece *piece = &handle.piece[i];
        if (!piece->host || (handle.code && block_cache_covers(cpu->blocks, piece->host, piece->size)))
            return 0;
    }
    mmu_handle_store_bytes(&cpu->mmu, &handle, cpu->bounce);
    return (uint64_t)(uintptr_t)cpu->bounce;
}

static uint64_t look_closer(struct cpu *cpu, uint64_t host, uint32_t access)
{
    host &= ~LOOK_CLOSER;
    if (!host)
        return write_two_pages(cpu, cpu->host_word[WORD_LINEAR], access);
    return block_cache_covers(cpu->blocks, (const uint8_t *)(uintptr_t)host, access & X86_ACCESS_SIZE) ? 0 : host;
}

/// Calls the function in rax and tests its result. `keep`: the routine by which residency survives other functions.
static void call_rax(struct emit *e, const uint8_t *keep)
{
    if (keep)
        emit_call_to(e, keep);
    else
        emit_call_register(e, HOST_RAX);
    emit_test(e, WIDTH_64, HOST_RAX, HOST_RAX);
}

/// rax = what the function makes of the value in `from` and the access in S1, with the host's flags of it.
static void call(struct emit *e, uint64_t (*function)(struct cpu *, uint64_t, uint32_t), uint8_t from,
                 const uint8_t *keep)
{
    emit_load(e, WIDTH_64, HOST_RDI, FIELD(self));
    emit_move(e, WIDTH_64, HOST_RSI, from);
    emit_move(e, WIDTH_32, HOST_RDX, S1);
    emit_move_imm(e, HOST_RAX, (uint64_t)(uintptr_t)function);
    call_rax(e, keep);
}

#define REFILL_KEEP (X86_KEEP_ALWAYS ? fpu->keep : NULL)
#define IF_NOT_NEGATIVE 9u

void x86_miss_routine(struct emit *e, const struct fpu_routines *fpu)
{
    emit_place slow, plain, done;
    x86_push_caller_saved(e);
    call(e, refill, S0, REFILL_KEEP);
    slow = emit_jump_if(e, EMIT_EQUAL);
    plain = emit_jump_if(e, IF_NOT_NEGATIVE);
    emit_store(e, WIDTH_64, FIELD(host_word[WORD_LINEAR]), S0);
    call(e, look_closer, HOST_RAX, fpu->keep);
    done = emit_jump(e);
    emit_patch_here(e, slow);
    call(e, walk, S0, fpu->keep);
    emit_patch_here(e, done);
    emit_patch_here(e, plain);
    emit_move(e, WIDTH_64, S0, HOST_RAX);
    x86_pop_caller_saved(e);
    emit_return(e);
}

// ---- string instructions --------------------------------------------------------------------------------------------
/// `count` elements by the host's own instruction, which does what the guest's would.
static void host_movs(uint8_t *to, const uint8_t *from, uint64_t count, unsigned width)
{
    switch (width) {
    case WIDTH_8:
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
        break;
    case WIDTH_16:
        __asm__ volatile("rep movsw" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
        break;
    case WIDTH_32:
        __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
        break;
    default:
        __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    }
}

static void host_stos(uint8_t *to, uint64_t value, uint64_t count, unsigned width)
{
    switch (width) {
    case WIDTH_8:
        __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
        break;
    case WIDTH_16:
        __asm__ volatile("rep stosw" : "+D"(to), "+c"(count) : "a"(value) : "memory");
        break;
    case WIDTH_32:
        __asm__ volatile("rep stosl" : "+D"(to), "+c"(count) : "a"(value) : "memory");
        break;
    default:
        __asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(value) : "memory");
    }
}

static void fill_short(uint8_t *to, uint64_t value, uint64_t length, unsigned width)
{
    static const uint64_t repeat[] = {0x0101010101010101, 0x0001000100010001, 0x0000000100000001, 1};
    value = (value & bits_mask(8u << width)) * repeat[width];
    for (; length >= 8; length -= 8, to += 8)
        store_le64(to, value);
    if (length & 4) {
        store_le32(to, (uint32_t)value);
        to += 4;
    }
    if (length & 2) {
        store_le16(to, (uint16_t)value);
        to += 2;
    }
    if (length & 1)
        *to = (uint8_t)value;
}

/// The bytes of one pointer's next elements: where they are, and how many in the page (*count is lowered). NULL: not in
/// plain RAM, or the next element is not as a whole in one page and below the end of offsets.
static uint8_t *string_bytes(struct cpu *cpu, enum mmu_access kind, uint64_t base, uint64_t offset, uint64_t mask,
                             unsigned width, uint64_t *count)
{
    uint64_t linear = base + offset, room = PAGE_SIZE - (linear & (PAGE_SIZE - 1));
    uint8_t *host;
    bool code;
    if (mask - offset < room)
        room = mask - offset + 1;
    room >>= width;
    if (!room)
        return NULL;
    if (room < *count)
        *count = room;
    host = tlb_lookup(&cpu->mmu, cpu->data_mode, kind, linear, 1u << width);
    if (LIKELY(host != NULL))
        return host;
    host = mmu_refill(&cpu->mmu, cpu->data_mode, kind, linear, 1u << width, &code);
    return code ? NULL : host;
}

/// MOVS and STOS upwards in plain RAM, flat, in runs that are not counted. Page by page also where pages follow each
/// other: runs of 64 KiB were slower where it was measured. False: something else is to be
/// done at the present pointers and count, or somebody waits.
static uint64_t string_quick(struct cpu *cpu, uint64_t imm)
{
    bool moves = (imm & 15) == STRING_MOVS, repeats = imm >> 16 & 3;
    unsigned width = width_of(imm >> 4 & 15), address = imm >> 8 & 3, segment = imm >> 12 & 7;
    uint64_t mask = bits_mask(8u << address), base = segment >= SEG_FS ? cpu->var[VAR_ES_BASE + segment] : 0;
    uint64_t left = repeats ? cpu->var[VAR_RCX] & mask : 1;
    if (UNLIKELY(cpu->var[VAR_FLAGS] & FLAG_DF))
        return false;
    while (left) {
        uint64_t part = left, length;
        uint8_t *from = NULL, *to;
        if (moves && !(from = string_bytes(cpu, MMU_READ, base, cpu->var[VAR_RSI] & mask, mask, width, &part)))
            return false;
        to = string_bytes(cpu, MMU_WRITE, 0, cpu->var[VAR_RDI] & mask, mask, width, &part);
        if (!to)
            return false;
        length = part << width;
        if (!moves && length <= SHORT_BYTES)
            fill_short(to, cpu->var[VAR_RAX], length, width);
        else if (!moves)
            host_stos(to, cpu->var[VAR_RAX], part, width);
        else if (length <= SHORT_BYTES && (uint64_t)(to - from) >= length)
            move_short(to, from, length);
        else
            host_movs(to, from, part, width);
        if (moves)
            cpu_write_var(cpu, VAR_RSI, address, cpu->var[VAR_RSI] + length);
        cpu_write_var(cpu, VAR_RDI, address, cpu->var[VAR_RDI] + length);
        left -= part;
        if (repeats)
            cpu_write_var(cpu, VAR_RCX, address, left);
        if (left && atomic_load_explicit(&cpu->exit_request, memory_order_relaxed))
            return false;
    }
    return true;
}

void x86_string_routine(struct emit *e, const struct fpu_routines *fpu)
{
    static const uint8_t saved[] = {HOST_RDX, HOST_R8, HOST_R9, HOST_R10, HOST_R11};
    static const struct {
        uint8_t reg, var;
    } used[] = {{HOST_RAX, VAR_RAX}, {HOST_RCX, VAR_RCX}, {HOST_RSI, VAR_RSI}, {HOST_RDI, VAR_RDI}};
    x86_begin_routine(e);
    for (unsigned i = 0; i < ARRAY_SIZE(used); i++)
        emit_store(e, WIDTH_64, x86_c_home(used[i].var), used[i].reg);
    for (unsigned i = 0; i < ARRAY_SIZE(saved); i++)
        emit_push(e, saved[i]);
    emit_load(e, WIDTH_64, HOST_RDI, FIELD(self));
    emit_move(e, WIDTH_64, HOST_RSI, S1);
    emit_move_imm(e, HOST_RAX, (uint64_t)(uintptr_t)string_quick);
    call_rax(e, REFILL_KEEP);
    for (unsigned i = ARRAY_SIZE(saved); i-- > 0;)
        emit_pop(e, saved[i]);
    for (unsigned i = 0; i < ARRAY_SIZE(used); i++)
        emit_load(e, WIDTH_64, used[i].reg, x86_c_home(used[i].var));
    emit_return(e);
}

bool x86_does_string(const struct translation *t, const struct uop *u)
{
    unsigned operation = u->imm & 15, segment = u->imm >> 12 & 7;
    return !t->counting && (operation == STRING_MOVS || operation == STRING_STOS) &&
           ((t->block->mode & MODE_CODE_MASK) == MODE_CODE64 || ((t->block->mode & MODE_FLAT) && segment < SEG_FS));
}

void x86_emit_string(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    x86_flush_flags(t);
    registers_settle(&t->registers, &x86_file, e);
    emit_move_imm(e, S1, (uint64_t)u->imm);
    emit_call_to(e, t->entries->string);
    x86_add_resume(t, emit_jump_if(e, EMIT_EQUAL));
    if (u->dst == VAR_NONE)
        return;
    x86_load_home(e, S0, u->b); // the next RIP
    x86_write_var(t, u->dst, WIDTH_64, S0);
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_memory_is_empty;

#endif
