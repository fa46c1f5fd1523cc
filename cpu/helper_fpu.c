// Helpers of x87 and SIMD: memory images (FXSAVE, FNSAVE, FNSTENV), stores that may be held back, masked stores.
#include "cpu/fpu.h"
#include "cpu/helper.h"
#include "cpu/segment.h"

// ---- Guest memory in pieces, all checked before the first is used -------------------------------------------------
enum { IMAGE_MAX = 512, PIECE = 64, PIECES = IMAGE_MAX / PIECE };

struct image {
    struct mmu_handle handle[PIECES];
    unsigned size;
};

/// One piece, as an ordinary access would find it: the TLB first, where a stale entry may still be what host code for
/// the same instruction goes by.
static bool piece_open(struct cpu *cpu, struct mmu_handle *handle, enum mmu_access kind, uint64_t linear, unsigned size)
{
    struct mmu_fault fault;
    uint8_t *host = cpu->mode & MODE_PARANOID ? NULL : tlb_lookup(&cpu->mmu, cpu->data_mode, kind, linear, size);
    if (LIKELY(host != NULL)) {
        *handle = (struct mmu_handle){.size = size, .piece[0] = {.host = host, .size = size}};
        return true;
    }
    if (mmu_access(&cpu->mmu, cpu->data_mode, kind, linear, size, handle, &fault))
        return true;
    cpu_raise_mmu(cpu, &fault, false);
    return false;
}

/// align: what alignment checks ask for.
static bool image_open(struct cpu *cpu, struct image *image, uint64_t linear, unsigned size, unsigned align, bool write)
{
    image->size = size;
    if (!cpu_check_alignment(cpu, linear, align))
        return false;
    for (unsigned at = 0; at < size; at += PIECE) {
        unsigned bytes = size - at < PIECE ? size - at : PIECE;
        if (!piece_open(cpu, &image->handle[at / PIECE], write ? MMU_WRITE : MMU_READ, linear + at, bytes))
            return false;
    }
    return true;
}

static bool has_device(const struct image *image)
{
    for (unsigned at = 0; at < image->size; at += PIECE) {
        const struct mmu_handle *handle = &image->handle[at / PIECE];
        if (!handle->piece[0].host || (handle->crosses && !handle->piece[1].host))
            return true;
    }
    return false;
}

/// Moves all bytes, under the machine lock where a device is behind them.
static void image_move(struct cpu *cpu, const struct image *image, uint8_t *to, const uint8_t *from)
{
    bool locked = cpu->outside.lock && has_device(image);
    if (locked)
        cpu->outside.lock(cpu->outside.opaque);
    for (unsigned at = 0; at < image->size; at += PIECE) {
        if (to)
            mmu_handle_load_bytes(&cpu->mmu, &image->handle[at / PIECE], to + at);
        else
            mmu_handle_store_bytes(&cpu->mmu, &image->handle[at / PIECE], from + at);
    }
    if (locked)
        cpu->outside.unlock(cpu->outside.opaque);
}

static void image_read(struct cpu *cpu, const struct image *image, uint8_t *bytes)
{
    image_move(cpu, image, bytes, NULL);
}

static void image_write(struct cpu *cpu, const struct image *image, const uint8_t *bytes)
{
    image_move(cpu, image, NULL, bytes);
}

uint64_t helper_vector_set(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    union vreg *vreg = cpu_vreg(cpu, imm & (VREG_COUNT - 1));
    vreg->u64[0] = a;
    vreg->u64[1] = 0;
    return 0;
}

uint64_t helper_x87_check(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    return x87_must_fault(cpu) ? cpu_raise(cpu, VECTOR_MF) : 0;
}

// ---- FST and its like ---------------------------------------------------------------------------------------------
uint64_t helper_x87_store(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    struct image image;
    uint8_t bytes[16] = {0};
    if (x87_must_fault(cpu))
        return cpu_raise(cpu, VECTOR_MF);
    unsigned size = x87_format_bytes(X87_ARGUMENT(imm) >> 16);
    if (!image_open(cpu, &image, a, size, cpu_alignment(size), true))
        return 0;
    cpu->var[VAR_X87_DATA] = b;
    if (x87_store_value(cpu, imm, bytes))
        image_write(cpu, &image, bytes);
    return 0;
}

// ---- FNSTENV, FNSAVE and back (SDM vol. 1 fig. 8-9 to 8-12) -------------------------------------------------------
struct environment {
    unsigned control, status, tag, opcode, cs, ds;
    uint32_t ip, dp;
};

/// FCS and FDS in the images of a model that has given them up (CPUID.7.0:EBX bit 13).
static uint16_t selector(const struct cpu *cpu, uint16_t value)
{
    return cpu->x87_policy & X87_SELECTORS_ZERO ? 0 : value;
}

static void put_bytes(uint8_t *to, uint64_t value, unsigned bytes)
{
    memcpy(to, &value, bytes);
}

/// `unit` is 2 or 4: seven words or doublewords.
static void write_environment(const struct cpu *cpu, uint8_t *to, unsigned unit)
{
    const struct x87 *x87 = &cpu->x87;
    uint64_t upper = unit == 4 ? 0xffff0000u : 0; // unused upper halves read as ones
    memset(to, 0, 7 * unit);
    put_bytes(to, x87->control | upper, unit);
    put_bytes(to + unit, x87_status_word(cpu) | upper, unit);
    put_bytes(to + 2 * unit, x87_tag_word(cpu) | upper, unit);
    if (x87_real_format(cpu)) {
        uint32_t ip = (uint32_t)(x87->ip + ((uint32_t)x87->cs << 4)),
                 dp = (uint32_t)(x87->dp + ((uint32_t)x87->ds << 4));
        unsigned shift = unit == 4 ? 12 : 0; // upper 16 or 4 bits of the linear addresses stand at bit 12
        uint32_t ip_high = ip >> 16, dp_high = dp >> 16;
        put_bytes(to + 3 * unit, (ip & 0xffff) | upper, unit);
        put_bytes(to + 4 * unit, (shift ? ip_high << 12 : ip_high << 12 & 0xf000) | x87->opcode, unit);
        put_bytes(to + 5 * unit, (dp & 0xffff) | upper, unit);
        put_bytes(to + 6 * unit, shift ? dp_high << 12 : dp_high << 12 & 0xf000, unit);
        return;
    }
    put_bytes(to + 3 * unit, x87->ip, unit);
    put_bytes(to + 4 * unit, selector(cpu, x87->cs) | (unit == 4 ? (uint32_t)x87->opcode << 16 : 0), unit);
    put_bytes(to + 5 * unit, x87->dp, unit);
    put_bytes(to + 6 * unit, selector(cpu, x87->ds) | upper, unit);
}

static uint32_t get_unit(const uint8_t *from, unsigned unit)
{
    return unit == 4 ? load_le32(from) : load_le16(from);
}

static void read_environment(struct cpu *cpu, const uint8_t *from, unsigned unit)
{
    struct x87 *x87 = &cpu->x87;
    uint16_t tag = (uint16_t)get_unit(from + 2 * unit, unit);
    uint32_t ip = get_unit(from + 3 * unit, unit), code = get_unit(from + 4 * unit, unit);
    uint32_t dp = get_unit(from + 5 * unit, unit), data = get_unit(from + 6 * unit, unit);
    x87->valid = 0;
    for (unsigned i = 0; i < 8; i++)
        if ((tag >> 2 * i & 3) != 3)
            x87->valid |= (uint8_t)(1u << i);
    x87->cs = x87->ds = 0;
    if (x87_real_format(cpu)) {
        uint32_t high = unit == 4 ? 0x0ffff000u : 0xf000u;
        x87->ip = (ip & 0xffff) | (code & high) << 4;
        x87->dp = (dp & 0xffff) | (data & high) << 4;
        x87->opcode = code & 0x7ff;
    } else {
        x87->ip = ip;
        x87->dp = dp;
        x87->cs = selector(cpu, (uint16_t)code);
        x87->ds = selector(cpu, (uint16_t)data);
        x87->opcode = unit == 4 ? code >> 16 & 0x7ff : 0;
    }
    x87->control = 0x037f;
    x87_set_status_word(cpu, (uint16_t)get_unit(from + unit, unit));
    x87_set_control(cpu, (uint16_t)get_unit(from, unit));
}

uint64_t helper_fnstenv(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    unsigned unit = imm & 4 ? 4 : 2, size = 7 * unit;
    uint8_t bytes[IMAGE_MAX];
    struct image image;
    if (!image_open(cpu, &image, a, size + (imm & 8 ? 80 : 0), unit, true))
        return 0;
    write_environment(cpu, bytes, unit);
    for (unsigned i = 0; i < 8; i++)
        memcpy(bytes + size + 10 * i, &cpu->x87.reg[(cpu->x87.top + i) & 7], 10);
    image_write(cpu, &image, bytes);
    if (imm & 8)
        return x87_fninit(cpu, NULL, NULL, 0);
    cpu->x87.control |= X87_EXCEPTIONS;
    x87_update_summary(cpu);
    return 0;
}

uint64_t helper_fldenv(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    unsigned unit = imm & 4 ? 4 : 2, size = 7 * unit;
    uint8_t bytes[IMAGE_MAX];
    struct image image;
    if (x87_must_fault(cpu))
        return cpu_raise(cpu, VECTOR_MF);
    if (!image_open(cpu, &image, a, size + (imm & 8 ? 80 : 0), unit, false))
        return 0;
    image_read(cpu, &image, bytes);
    read_environment(cpu, bytes, unit);
    for (unsigned i = 0; i < 8 && (imm & 8); i++) {
        struct f80 *reg = &cpu->x87.reg[(cpu->x87.top + i) & 7];
        reg->significand = load_le64(bytes + size + 10 * i);
        reg->sign_exponent = load_le16(bytes + size + 10 * i + 8);
    }
    return 0;
}

// ---- FXSAVE, FXRSTOR (SDM vol. 1 sec. 10.5) -----------------------------------------------------------------------
enum { FXSAVE_USED = 416 }; // what follows belongs to software and stays

static unsigned xmm_count(const struct cpu *cpu)
{
    return (cpu->mode & MODE_CODE_MASK) == MODE_CODE64 ? 16 : 8;
}

/// Bytes that are written: registers that the mode does not have stay as they are in memory.
static unsigned fxsave_size(const struct cpu *cpu)
{
    return 160 + 16 * xmm_count(cpu);
}

static void put_pointers(const struct cpu *cpu, uint8_t *to, bool wide)
{
    const struct x87 *x87 = &cpu->x87;
    store_le16(to + 6, x87->opcode);
    put_bytes(to + 8, x87->ip, wide ? 8 : 4);
    put_bytes(to + 16, x87->dp, wide ? 8 : 4);
    if (!wide) {
        store_le16(to + 12, selector(cpu, x87->cs));
        store_le16(to + 20, selector(cpu, x87->ds));
    }
}

static void get_pointers(struct cpu *cpu, const uint8_t *from, bool wide)
{
    struct x87 *x87 = &cpu->x87;
    x87->opcode = load_le16(from + 6) & 0x7ff;
    x87->ip = wide ? load_le64(from + 8) : load_le32(from + 8);
    x87->dp = wide ? load_le64(from + 16) : load_le32(from + 16);
    x87->cs = wide ? 0 : selector(cpu, load_le16(from + 12));
    x87->ds = wide ? 0 : selector(cpu, load_le16(from + 20));
}

void x87_put_image(const struct cpu *cpu, uint8_t *to, bool wide, uint8_t rule)
{
    const struct x87 *x87 = &cpu->x87;
    store_le16(to, x87->control);
    store_le16(to + 2, x87_status_word(cpu));
    to[4] = x87->valid;
    if (!(cpu->x87_policy & rule) || (x87->status & X87_ES))
        put_pointers(cpu, to, wide);
    for (unsigned i = 0; i < 8; i++)
        memcpy(to + 32 + 16 * i, &x87->reg[(x87->top + i) & 7], 10);
}

void x87_get_image(struct cpu *cpu, const uint8_t *from, bool wide)
{
    struct x87 *x87 = &cpu->x87;
    x87->valid = from[4];
    if (!(cpu->x87_policy & X87_LOAD_IF_PENDING) || (load_le16(from + 2) & X87_ES))
        get_pointers(cpu, from, wide);
    x87_set_status_word(cpu, load_le16(from + 2));
    x87_set_control(cpu, load_le16(from));
    for (unsigned i = 0; i < 8; i++) {
        struct f80 *reg = &x87->reg[(x87->top + i) & 7];
        reg->significand = load_le64(from + 32 + 16 * i);
        reg->sign_exponent = load_le16(from + 32 + 16 * i + 8);
    }
}

uint64_t helper_fxsave(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    uint8_t bytes[FXSAVE_USED] = {0};
    struct image image;
    if (a & 15)
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    if (!image_open(cpu, &image, a, fxsave_size(cpu), 16, true))
        return 0;
    x87_put_image(cpu, bytes, imm & 1, X87_SAVE_IF_PENDING);
    store_le32(bytes + 24, cpu->mxcsr);
    store_le32(bytes + 28, MXCSR_DEFINED);
    for (unsigned i = 0; i < xmm_count(cpu); i++)
        memcpy(bytes + 160 + 16 * i, &cpu->vreg[i], 16);
    image_write(cpu, &image, bytes);
    return 0;
}

uint64_t helper_fxrstor(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    uint8_t bytes[FXSAVE_USED] = {0};
    struct image image;
    if (a & 15)
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    if (!image_open(cpu, &image, a, fxsave_size(cpu), 16, false))
        return 0;
    image_read(cpu, &image, bytes);
    uint32_t mxcsr = load_le32(bytes + 24);
    if (mxcsr & ~MXCSR_DEFINED)
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    x87_get_image(cpu, bytes, imm & 1);
    cpu->mxcsr = mxcsr;
    for (unsigned i = 0; i < xmm_count(cpu); i++)
        memcpy(&cpu->vreg[i], bytes + 160 + 16 * i, 16);
    return 0;
}

// ---- MASKMOVQ, MASKMOVDQU -----------------------------------------------------------------------------------------
uint64_t helper_maskmov(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    const union vreg *data = cpu_vreg(cpu, imm & 63), *mask = cpu_vreg(cpu, imm >> 8 & 63);
    unsigned bytes = imm >> 16 & 16 ? 16 : 8;
    uint32_t traps = cpu->debug_traps;
    struct image image;
    if (bytes == 8 && x87_must_fault(cpu))
        return cpu_raise(cpu, VECTOR_MF);
    if (!image_open(cpu, &image, a, bytes, 8, true))
        return 0;
    cpu->debug_traps = traps; // breakpoints see what is written
    for (unsigned i = 0; i < bytes; i++) {
        struct mmu_fault fault;
        if ((mask->u8[i] & 0x80) && !mmu_write(&cpu->mmu, cpu->data_mode, a + i, 1, data->u8[i], &fault))
            return cpu_raise_mmu(cpu, &fault, false);
    }
    if (bytes == 8)
        simd_enter_mmx(cpu);
    return 0;
}
