// C helpers of the integer chapter: strings, decimal arithmetic, ENTER, PUSHA/POPA, CMPXCHG8B/16B, CRC32.
#include "cpu/block.h"
#include "cpu/cc.h"
#include "cpu/helper.h"
#include "cpu/lift.h"
#include "cpu/segment.h"

static uint64_t width_mask(unsigned width)
{
    return bits_mask(8u << width);
}

static bool access(struct cpu *cpu, uint64_t linear, unsigned bytes, bool write, struct mmu_handle *handle, bool stack)
{
    struct mmu_fault fault;
    if (!cpu_check_alignment(cpu, linear, cpu_alignment(bytes)))
        return false;
    if (mmu_access(&cpu->mmu, cpu->data_mode, write ? MMU_WRITE : MMU_READ, linear, bytes, handle, &fault))
        return true;
    cpu_raise_mmu(cpu, &fault, stack);
    return false;
}

static bool is_device(const struct mmu_handle *handle)
{
    return !handle->piece[0].host || (handle->crosses && !handle->piece[1].host);
}

static uint64_t load(struct cpu *cpu, const struct mmu_handle *handle)
{
    bool device = is_device(handle);
    uint64_t value;
    if (device && cpu->outside.lock)
        cpu->outside.lock(cpu->outside.opaque);
    value = mmu_handle_load(&cpu->mmu, handle);
    if (device && cpu->outside.unlock)
        cpu->outside.unlock(cpu->outside.opaque);
    return value;
}

static void store(struct cpu *cpu, const struct mmu_handle *handle, uint64_t value)
{
    bool device = is_device(handle);
    if (device && cpu->outside.lock)
        cpu->outside.lock(cpu->outside.opaque);
    mmu_handle_store(&cpu->mmu, handle, value);
    if (device && cpu->outside.unlock)
        cpu->outside.unlock(cpu->outside.opaque);
}

// ---- strings (SDM vol. 2, MOVS CMPS STOS LODS SCAS; vol. 1 sec. 7.3.9.3) ---------------------------------------
struct string {
    enum string_op op;
    unsigned bytes, segment, address; // address: WIDTH_*
    bool rep, repne;
};

/// One element. False: fault, nothing changed.
static bool string_element(struct cpu *cpu, const struct string *s)
{
    bool source = s->op == STRING_MOVS || s->op == STRING_CMPS || s->op == STRING_LODS;
    bool destination = s->op != STRING_LODS, writes = s->op == STRING_MOVS || s->op == STRING_STOS;
    uint64_t mask = width_mask(s->address), step = cpu->var[VAR_FLAGS] & FLAG_DF ? -(uint64_t)s->bytes : s->bytes;
    uint64_t from = cpu->var[VAR_RSI] & mask, to = cpu->var[VAR_RDI] & mask, value = cpu->var[VAR_RAX], linear;
    unsigned width = width_of(s->bytes);
    struct mmu_handle source_handle, destination_handle;

    if (source) {
        linear = cpu_segment_linear(cpu, s->segment, from, s->bytes, false);
        if (cpu->fault.pending || !access(cpu, linear, s->bytes, false, &source_handle, s->segment == SEG_SS))
            return false;
    }
    if (destination) {
        linear = cpu_segment_linear(cpu, SEG_ES, to, s->bytes, writes);
        if (cpu->fault.pending || !access(cpu, linear, s->bytes, writes, &destination_handle, false))
            return false;
    }
    if (source)
        value = load(cpu, &source_handle);
    if (writes)
        store(cpu, &destination_handle, value);
    else if (s->op == STRING_LODS)
        cpu_write_var(cpu, VAR_RAX, width, value);
    else {
        uint64_t other = load(cpu, &destination_handle);
        cpu->var[VAR_CC_OP] = cc_pack(CC_SUB, width);
        cpu->var[VAR_CC_RESULT] = value - other;
        cpu->var[VAR_CC_SRC] = other;
    }
    if (source)
        cpu_write_var(cpu, VAR_RSI, s->address, from + step);
    if (destination)
        cpu_write_var(cpu, VAR_RDI, s->address, to + step);
    return true;
}

/// A chunk of MOVS or STOS in RAM in one go: forwards, inside one page on each side. Returns the elements done.
static uint64_t string_bulk(struct cpu *cpu, const struct string *s, uint64_t count)
{
    uint64_t mask = width_mask(s->address), from = cpu->var[VAR_RSI] & mask, to = cpu->var[VAR_RDI] & mask;
    uint64_t source = 0, destination, room, elements, length;
    const struct segment *es = &cpu->segment[SEG_ES], *other = &cpu->segment[s->segment];
    uint8_t *host_to, *host_from = NULL;

    if ((cpu->var[VAR_FLAGS] & FLAG_DF) || (s->op != STRING_MOVS && s->op != STRING_STOS) || (cpu->mode & MODE_ALIGN))
        return 0;
    room = PAGE_SIZE - (to & (PAGE_SIZE - 1));
    if ((cpu->mode & MODE_CODE_MASK) != MODE_CODE64 && (es->limit != UINT32_MAX || other->limit != UINT32_MAX ||
                                                        (es->rights & 0xc) == 4 || (other->rights & 0xc) == 4))
        room = 0; // limits are checked element by element
    destination = cpu_segment_linear(cpu, SEG_ES, to, s->bytes, true);
    if (cpu->fault.pending || !room)
        goto element_wise;
    room = PAGE_SIZE - (destination & (PAGE_SIZE - 1));
    if (s->op == STRING_MOVS) {
        source = cpu_segment_linear(cpu, s->segment, from, s->bytes, false);
        if (cpu->fault.pending)
            goto element_wise;
        if (PAGE_SIZE - (source & (PAGE_SIZE - 1)) < room)
            room = PAGE_SIZE - (source & (PAGE_SIZE - 1));
    }
    elements = room / s->bytes < count ? room / s->bytes : count;
    // Offsets must not wrap at the address size inside the chunk.
    if (elements < 2 || to + elements * s->bytes - 1 > mask || from + elements * s->bytes - 1 > mask)
        return 0;
    host_to = tlb_lookup(&cpu->mmu, cpu->data_mode, MMU_WRITE, destination, 1);
    if (!host_to)
        return 0;
    length = elements * s->bytes;
    if (s->op == STRING_MOVS) {
        host_from = tlb_lookup(&cpu->mmu, cpu->data_mode, MMU_READ, source, 1);
        // An overlap ahead of the source repeats a pattern: element-wise.
        if (!host_from || (host_to > host_from && host_to < host_from + length))
            return 0;
        memmove(host_to, host_from, length);
        cpu_write_var(cpu, VAR_RSI, s->address, from + length);
    } else if (s->bytes == 1)
        memset(host_to, (uint8_t)cpu->var[VAR_RAX], length);
    else
        for (uint64_t i = 0; i < elements; i++)
            memcpy(host_to + i * s->bytes, &cpu->var[VAR_RAX], s->bytes);
    cpu_write_var(cpu, VAR_RDI, s->address, to + length);
    return elements;

element_wise: // finds the same fault in its exact place
    cpu->fault.pending = false;
    return 0;
}

static bool string_ends(const struct cpu *cpu, const struct string *s)
{
    if (s->op != STRING_CMPS && s->op != STRING_SCAS)
        return false;
    return ((cc_all(cpu) & FLAG_ZF) != 0) == s->repne;
}

uint64_t helper_string(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    struct string s = {.op = imm & 15,
                       .bytes = imm >> 4 & 15,
                       .address = imm >> 8 & 3,
                       .segment = imm >> 12 & 7,
                       .rep = imm >> 16 & 1,
                       .repne = imm >> 17 & 1};
    uint64_t count, done, chunk = cpu->mode & MODE_TF ? 1 : 1024; // a trap comes after each iteration

    if (!s.rep && !s.repne) {
        string_element(cpu, &s);
        return 0;
    }
    // The chunk depends on guest state only: engines must agree on where an interrupt can come.
    while ((count = cpu->var[VAR_RCX] & width_mask(s.address)) != 0) {
        if (chunk == 0 || cpu->leave) {
            cpu->instructions -= cpu->counting; // counts once, when it ends
            // What comes between iterations pushes RF.
            cpu->var[VAR_FLAGS] |= FLAG_RF;
            atomic_store(&cpu->exit_request, 1);
            return a;
        }
        done = string_bulk(cpu, &s, count < chunk ? count : chunk);
        if (!done) {
            if (!string_element(cpu, &s))
                return 0;
            done = 1;
        }
        chunk -= done;
        cpu_write_var(cpu, VAR_RCX, s.address, count - done);
        if (string_ends(cpu, &s))
            break;
    }
    return b;
}

// ---- stack frames ------------------------------------------------------------------------------------------------
static unsigned stack_width(const struct cpu *cpu)
{
    if ((cpu->mode & MODE_CODE_MASK) == MODE_CODE64)
        return WIDTH_64;
    return cpu->mode & MODE_STACK32 ? WIDTH_32 : WIDTH_16;
}

/// Handle for stack bytes at an offset, cut to the stack's width.
static bool stack_access(struct cpu *cpu, uint64_t offset, unsigned bytes, bool write, struct mmu_handle *handle)
{
    uint64_t linear = cpu_segment_linear(cpu, SEG_SS, offset & width_mask(stack_width(cpu)), bytes, write);
    return !cpu->fault.pending && access(cpu, linear, bytes, write, handle, true);
}

uint64_t helper_pusha(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    struct mmu_handle handle[8];
    unsigned bytes = (unsigned)imm;
    uint64_t sp = cpu->var[VAR_RSP];
    for (unsigned i = 0; i < 8; i++) {
        if (!stack_access(cpu, sp - (i + 1) * bytes, bytes, true, &handle[i]))
            return 0;
    }
    for (unsigned i = 0; i < 8; i++)
        store(cpu, &handle[i], cpu->var[VAR_RAX + i]);
    cpu_write_var(cpu, VAR_RSP, stack_width(cpu), sp - 8 * bytes);
    return 0;
}

uint64_t helper_popa(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    struct mmu_handle handle[8];
    unsigned bytes = (unsigned)imm;
    uint64_t sp = cpu->var[VAR_RSP];
    for (unsigned i = 0; i < 8; i++) {
        if (!stack_access(cpu, sp + i * bytes, bytes, false, &handle[i]))
            return 0;
    }
    for (unsigned i = 0; i < 8; i++) {
        uint64_t value = load(cpu, &handle[i]);
        if (7 - i != VAR_RSP)
            cpu_write_var(cpu, 7 - i, width_of(bytes), value);
    }
    cpu_write_var(cpu, VAR_RSP, stack_width(cpu), sp + 8 * bytes);
    return 0;
}

/// ENTER (SDM vol. 2): imm = size | level << 16 | bytes << 24.
uint64_t helper_enter(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    unsigned size = imm & 0xffff, level = imm >> 16 & 31, bytes = imm >> 24 & 15, pushes = 1;
    uint64_t sp = cpu->var[VAR_RSP], bp = cpu->var[VAR_RBP], frame = sp - bytes;
    struct mmu_handle handle[33], from[32];
    uint32_t traps;

    // All checks first, then reads and pushes in turn: an old frame may overlap the new one.
    for (unsigned i = 1; i < level; i++) {
        if (!stack_access(cpu, bp - i * bytes, bytes, false, &from[i]))
            return 0;
    }
    pushes = level ? level + 1 : 1;
    for (unsigned i = 0; i < pushes; i++) {
        if (!stack_access(cpu, sp - (i + 1) * bytes, bytes, true, &handle[i]))
            return 0;
    }
    traps = cpu->debug_traps;
    if (!stack_access(cpu, sp - pushes * bytes - size, bytes, true, &from[0])) // the new top must be writable
        return 0;
    cpu->debug_traps = traps; // no access, so no breakpoint either
    store(cpu, &handle[0], bp);
    for (unsigned i = 1; i < level; i++)
        store(cpu, &handle[i], load(cpu, &from[i]));
    if (level)
        store(cpu, &handle[level], frame);
    cpu_write_var(cpu, VAR_RBP, stack_width(cpu) == WIDTH_16 ? WIDTH_16 : width_of(bytes), frame);
    cpu_write_var(cpu, VAR_RSP, stack_width(cpu), sp - pushes * bytes - size);
    return 0;
}

// ---- the rest -----------------------------------------------------------------------------------------------------
uint64_t helper_cmpxchg16b(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    unsigned bytes = imm & 0xff, half = bytes / 2;
    uint64_t memory[2] = {0}, mask = bits_mask(half * 8), flags = cc_all(cpu), next[2];
    struct mmu_handle handle;
    uint8_t image[16];

    if (bytes == 16 && (a & 15))
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    if (!access(cpu, a, bytes, true, &handle, imm & 0x100))
        return 0;
    mmu_handle_load_bytes(&cpu->mmu, &handle, image);
    memcpy(&memory[0], image, half);
    memcpy(&memory[1], image + half, half);
    next[0] = memory[0];
    next[1] = memory[1];
    if (memory[0] == (cpu->var[VAR_RAX] & mask) && memory[1] == (cpu->var[VAR_RDX] & mask)) {
        next[0] = cpu->var[VAR_RBX];
        next[1] = cpu->var[VAR_RCX];
        flags |= FLAG_ZF;
    } else {
        cpu_write_var(cpu, VAR_RAX, width_of(half), memory[0]);
        cpu_write_var(cpu, VAR_RDX, width_of(half), memory[1]);
        flags &= ~FLAG_ZF;
    }
    memcpy(image, &next[0], half);
    memcpy(image + half, &next[1], half);
    mmu_handle_store_bytes(&cpu->mmu, &handle, image);
    cpu_set_flags_literal(cpu, flags);
    return 0;
}

uint64_t helper_crc32(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    uint32_t crc = (uint32_t)a;
    for (unsigned i = 0; i < imm; i++) {
        crc ^= (uint8_t)(b >> (i * 8));
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0); // Castagnoli, reflected
    }
    return crc;
}

static void decimal_adjust_al(struct cpu *cpu, bool subtract)
{
    uint64_t flags = cc_all(cpu), carry = flags & FLAG_CF;
    uint8_t al = (uint8_t)cpu->var[VAR_RAX], old = al;
    bool adjust = (al & 0xf) > 9 || (flags & FLAG_AF);
    uint64_t out = 0;
    if (adjust) {
        if (subtract ? old < 6 : old > 0xf9)
            out |= FLAG_CF;
        al = subtract ? al - 6 : al + 6;
        out |= carry | FLAG_AF;
    }
    if (old > 0x99 || carry) {
        al = subtract ? al - 0x60 : al + 0x60;
        out |= FLAG_CF;
    } else if (!subtract)
        out &= ~FLAG_CF;
    cpu_write_var(cpu, VAR_RAX, WIDTH_8, al);
    cpu_set_flags_literal(cpu, out | cc_result_flags(al, WIDTH_8));
}

static void ascii_adjust(struct cpu *cpu, bool subtract)
{
    uint64_t flags = cc_all(cpu);
    uint16_t ax = (uint16_t)cpu->var[VAR_RAX];
    bool adjust = (ax & 0xf) > 9 || (flags & FLAG_AF);
    if (adjust)
        ax = subtract ? ax - 0x106 : ax + 0x106;
    ax &= 0xff0f;
    cpu_write_var(cpu, VAR_RAX, WIDTH_16, ax);
    cpu_set_flags_literal(cpu, (adjust ? FLAG_AF | FLAG_CF : 0) | cc_result_flags(ax & 0xff, WIDTH_8));
}

uint64_t helper_bcd(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    uint8_t base = (uint8_t)(imm >> 8), al = (uint8_t)cpu->var[VAR_RAX], ah = (uint8_t)(cpu->var[VAR_RAX] >> 8);
    switch (imm & 0xff) {
    case 0x27:
    case 0x2f:
        decimal_adjust_al(cpu, (imm & 0xff) == 0x2f);
        return 0;
    case 0x37:
    case 0x3f:
        ascii_adjust(cpu, (imm & 0xff) == 0x3f);
        return 0;
    case 0xd4: // AAM
        if (base == 0)
            return cpu_raise(cpu, VECTOR_DE);
        cpu_write_var(cpu, VAR_RAX, WIDTH_16, (uint64_t)(al / base) << 8 | al % base);
        break;
    default: // AAD
        cpu_write_var(cpu, VAR_RAX, WIDTH_16, (uint8_t)(al + ah * base));
        break;
    }
    cpu_set_flags_literal(cpu, cc_result_flags(cpu->var[VAR_RAX] & 0xff, WIDTH_8));
    return 0;
}
