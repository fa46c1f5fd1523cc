// C helpers of the integer chapter: decimal arithmetic, ENTER, PUSHA/POPA, CMPXCHG8B/16B, CRC32.
#include "cpu/block.h"
#include "cpu/cc.h"
#include "cpu/data_access.h"
#include "cpu/helper.h"
#include "cpu/lift.h"
#include "cpu/segment.h"

static uint64_t width_mask(unsigned width)
{
    return bits_mask(8u << width);
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
    return !cpu->fault.pending && data_access(cpu, linear, bytes, write, handle, true);
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
        data_store(cpu, &handle[i], cpu->var[VAR_RAX + i]);
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
        uint64_t value = data_load(cpu, &handle[i]);
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
    data_store(cpu, &handle[0], bp);
    for (unsigned i = 1; i < level; i++)
        data_store(cpu, &handle[i], data_load(cpu, &from[i]));
    if (level)
        data_store(cpu, &handle[level], frame);
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
    if (!data_access(cpu, a, bytes, true, &handle, imm & 0x100))
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
