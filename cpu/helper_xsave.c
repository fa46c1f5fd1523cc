// XSAVE, XRSTOR and their kin, XCR0 (SDM vol. 1 ch. 13). State components 0 (x87) and 1 (SSE), both in the legacy
// region, and 2 (AVX) behind the header, in either format; later ones get a place behind it and a bit in
// xsave_components. No supervisor components: IA32_XSS is 0.
#include "cpu/fpu.h"
#include "cpu/privileged.h"
#include "cpu/xsave.h"

#define COMPONENT_X87 XCR0_X87
#define COMPONENT_SSE XCR0_SSE
#define COMPONENT_AVX XCR0_AVX // shares MXCSR with SSE
#define COMPACTED BIT(63)      // of XCOMP_BV

enum {
    AREA_MXCSR = 24,
    AREA_X87 = 32,
    AREA_XMM = 160,
    AREA_HEADER = 512,
    AREA_AVX = XSAVE_LEGACY_AND_HEADER,
    AREA_PIECES = 20,
    HEADER_BYTES = 64,
};

uint64_t xsave_components(const struct cpu_model *model)
{
    if (!model_has(model, FEATURE_XSAVE))
        return 0;
    return COMPONENT_X87 | COMPONENT_SSE | (model_has(model, FEATURE_AVX) ? COMPONENT_AVX : 0);
}

unsigned xsave_area_size(uint64_t components)
{
    return XSAVE_LEGACY_AND_HEADER + (components & COMPONENT_AVX ? XSAVE_AVX_BYTES : 0);
}

// ---- The area: pieces of guest memory, all checked before the first is stored to ------------------------------------
struct area {
    struct cpu *cpu;
    uint64_t linear;
    bool stack; // in SS
    unsigned count;
    struct mmu_handle handle[AREA_PIECES];
    uint16_t offset[AREA_PIECES];
    uint8_t image[XSAVE_LEGACY_AND_HEADER + XSAVE_AVX_BYTES];
};

/// Checks [offset, +size) of the area, in pieces that an access can have. False: a fault is pending.
static bool area_open(struct area *area, unsigned offset, unsigned size, enum mmu_access kind)
{
    while (size) {
        unsigned bytes = size < 64 - offset % 64 ? size : 64 - offset % 64;
        struct mmu_fault fault;
        if (!mmu_access_cached(&area->cpu->mmu, area->cpu->data_mode, kind, area->linear + offset, bytes,
                               &area->handle[area->count], &fault)) {
            cpu_raise_mmu(area->cpu, &fault, area->stack);
            return false;
        }
        area->offset[area->count++] = (uint16_t)offset;
        offset += bytes;
        size -= bytes;
    }
    return true;
}

static bool area_has_device(const struct area *area)
{
    for (unsigned i = 0; i < area->count; i++)
        if (!area->handle[i].piece[0].host || (area->handle[i].crosses && !area->handle[i].piece[1].host))
            return true;
    return false;
}

/// Moves what is open, from piece `first` on, between guest memory and the image.
static void area_move(struct area *area, unsigned first, bool store)
{
    struct cpu *cpu = area->cpu;
    bool locked = cpu->outside.lock && area_has_device(area);
    if (locked)
        cpu->outside.lock(cpu->outside.opaque);
    for (unsigned i = first; i < area->count; i++) {
        uint8_t *bytes = area->image + area->offset[i];
        if (store)
            mmu_handle_store_bytes(&cpu->mmu, &area->handle[i], bytes);
        else
            mmu_handle_load_bytes(&cpu->mmu, &area->handle[i], bytes);
    }
    if (locked)
        cpu->outside.unlock(cpu->outside.opaque);
}

/// XMM registers that the mode has.
static unsigned xmm_bytes(const struct cpu *cpu)
{
    return cpu_is_64(cpu) ? 16 * 16 : 8 * 16;
}

static bool open_components(struct area *area, uint64_t components, bool mxcsr, enum mmu_access kind)
{
    bool x87 = components & COMPONENT_X87;
    return (!x87 || area_open(area, 0, AREA_MXCSR, kind)) && (!mxcsr || area_open(area, AREA_MXCSR, 8, kind)) &&
           (!x87 || area_open(area, AREA_X87, AREA_XMM - AREA_X87, kind)) &&
           (!(components & COMPONENT_SSE) || area_open(area, AREA_XMM, xmm_bytes(area->cpu), kind)) &&
           (!(components & COMPONENT_AVX) || area_open(area, AREA_AVX, xmm_bytes(area->cpu), kind));
}

// ---- State components -----------------------------------------------------------------------------------------------
/// XINUSE: what is not in its initial configuration (SDM vol. 1 sec. 13.6).
static uint64_t components_in_use(const struct cpu *cpu)
{
    const struct x87 *x87 = &cpu->x87;
    uint64_t used = 0;
    if (x87->control != 0x037f || x87->status || x87->top || x87->valid || x87->opcode || x87->ip || x87->dp ||
        x87->cs || x87->ds)
        used = COMPONENT_X87;
    for (unsigned i = 0; i < 8; i++)
        if (x87->reg[i].significand || x87->reg[i].sign_exponent)
            used |= COMPONENT_X87;
    for (unsigned i = 0; i < xmm_bytes(cpu) / 16; i++) {
        if (cpu->vreg[i].u64[0] | cpu->vreg[i].u64[1])
            used |= COMPONENT_SSE;
        if (cpu->vreg[i].u64[2] | cpu->vreg[i].u64[3])
            used |= COMPONENT_AVX;
    }
    return used;
}

static void initialise(struct cpu *cpu, uint64_t components)
{
    if (components & COMPONENT_X87)
        x87_fninit(cpu, NULL, NULL, 0);
    for (unsigned i = 0; (components & COMPONENT_X87) && i < 8; i++)
        cpu->x87.reg[i] = (struct f80){0};
    for (unsigned i = 0; (components & COMPONENT_SSE) && i < xmm_bytes(cpu) / 16; i++)
        cpu->vreg[i].u64[0] = cpu->vreg[i].u64[1] = 0;
    for (unsigned i = 0; (components & COMPONENT_AVX) && i < xmm_bytes(cpu) / 16; i++)
        cpu->vreg[i].u64[2] = cpu->vreg[i].u64[3] = 0;
}

// ---- Instructions ---------------------------------------------------------------------------------------------------
static uint64_t general_protection(struct cpu *cpu)
{
    return cpu_raise_error(cpu, VECTOR_GP, 0);
}

/// imm: XSAVE_*. What forbids the instruction before its operand is looked at.
uint64_t helper_xsave_check(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    if (!(cpu->cr4 & CR4_OSXSAVE))
        return cpu_raise(cpu, VECTOR_UD);
    if (cpu->cr0 & CR0_TS)
        return cpu_raise(cpu, VECTOR_NM);
    if ((imm & XSAVE_SUPERVISOR) && cpu->cpl > 0)
        return general_protection(cpu);
    return 0;
}

/// False: a fault is pending.
static bool begin(struct cpu *cpu, struct area *area, uint64_t linear, uint64_t imm)
{
    helper_xsave_check(cpu, 0, 0, imm);
    if (cpu->fault.pending)
        return false;
    if (linear % 64) {
        general_protection(cpu);
        return false;
    }
    area->cpu = cpu;
    area->linear = linear;
    area->stack = imm & XSAVE_STACK;
    area->count = 0;
    return true;
}

static uint64_t requested(const struct cpu *cpu, uint64_t imm)
{
    uint64_t mask = (uint32_t)cpu->var[VAR_RAX] | cpu->var[VAR_RDX] << 32;
    return mask & (cpu->xcr0 | (imm & XSAVE_SUPERVISOR ? cpu->xss : 0));
}

/// XSAVE, XSAVEOPT, XSAVEC, XSAVES. XMODIFIED is not tracked: everything counts as modified since the last XRSTOR,
/// which the SDM allows (vol. 1 sec. 13.6).
uint64_t helper_xsave(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    struct area area;
    bool compacted = imm & XSAVE_COMPACTED;
    if (!begin(cpu, &area, a, imm))
        return 0;
    uint64_t rfbm = requested(cpu, imm), used = components_in_use(cpu), save = rfbm;
    if (compacted && cpu->mxcsr != MXCSR_DEFAULT)
        used |= COMPONENT_SSE;
    if (compacted || (imm & XSAVE_OPTIMIZED))
        save &= used;
    bool mxcsr = compacted ? save & COMPONENT_SSE : rfbm & (COMPONENT_SSE | COMPONENT_AVX);
    // The header first: of an old-style one a part stays.
    uint8_t *header = area.image + AREA_HEADER;
    if (!area_open(&area, AREA_HEADER, compacted ? 16 : 8, MMU_WRITE))
        return 0;
    if (!open_components(&area, save, mxcsr, MMU_WRITE))
        return 0;
    if (!compacted) {
        struct area only_header = area;
        only_header.count = 1;
        area_move(&only_header, 0, false);
        used = (load_le64(only_header.image + AREA_HEADER) & ~rfbm) | (used & rfbm);
    }
    store_le64(header, compacted ? save : used);
    store_le64(header + 8, rfbm | COMPACTED);
    if (save & COMPONENT_X87) {
        memset(area.image, 0, AREA_XMM);
        x87_put_image(cpu, area.image, imm & XSAVE_WIDE, X87_LOAD_IF_PENDING);
    }
    store_le32(area.image + AREA_MXCSR, cpu->mxcsr);
    store_le32(area.image + AREA_MXCSR + 4, MXCSR_DEFINED);
    for (unsigned i = 0; i < xmm_bytes(cpu) / 16; i++) {
        memcpy(area.image + AREA_XMM + 16 * i, &cpu->vreg[i].u8[0], 16);
        memcpy(area.image + AREA_AVX + 16 * i, &cpu->vreg[i].u8[16], 16);
    }
    area_move(&area, 0, true);
    return 0;
}

/// The rules for the header (SDM vol. 1 sec. 13.8.1, 13.8.2, 13.12).
static bool header_is_good(const struct cpu *cpu, const uint8_t *header, uint64_t imm)
{
    uint64_t state = load_le64(header), compaction = load_le64(header + 8), rest = 0;
    uint64_t enabled = cpu->xcr0 | (imm & XSAVE_SUPERVISOR ? cpu->xss : 0);
    if (!(compaction & COMPACTED))
        return !(imm & XSAVE_SUPERVISOR) && !(state & ~cpu->xcr0) && !compaction && !load_le64(header + 16);
    for (unsigned i = 16; i < HEADER_BYTES; i += 8)
        rest |= load_le64(header + i);
    return model_has(cpu->model, FEATURE_XSAVEC) && !(compaction & ~COMPACTED & ~enabled) && !(state & ~compaction) &&
           !(state & COMPACTED) && !rest;
}

/// XRSTOR, XRSTORS.
uint64_t helper_xrstor(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    struct area area;
    const uint8_t *header = area.image + AREA_HEADER;
    if (!begin(cpu, &area, a, imm) || !area_open(&area, AREA_HEADER, HEADER_BYTES, MMU_READ))
        return 0;
    area_move(&area, 0, false);
    if (!header_is_good(cpu, header, imm))
        return general_protection(cpu);
    bool compacted = load_le64(header + 8) & COMPACTED;
    uint64_t rfbm = requested(cpu, imm), load = rfbm & load_le64(header), clear = rfbm & ~load;
    // The standard form takes MXCSR from memory, whatever XSTATE_BV says.
    bool mxcsr = compacted ? load & COMPONENT_SSE : rfbm & (COMPONENT_SSE | COMPONENT_AVX);
    unsigned first = area.count;
    if (!open_components(&area, load, mxcsr, MMU_READ))
        return 0;
    area_move(&area, first, false);
    uint32_t value = mxcsr ? load_le32(area.image + AREA_MXCSR) : MXCSR_DEFAULT;
    if (value & ~MXCSR_DEFINED)
        return general_protection(cpu);
    initialise(cpu, clear);
    if (load & COMPONENT_X87)
        x87_get_image(cpu, area.image, imm & XSAVE_WIDE);
    for (unsigned i = 0; (load & COMPONENT_SSE) && i < xmm_bytes(cpu) / 16; i++)
        memcpy(&cpu->vreg[i].u8[0], area.image + AREA_XMM + 16 * i, 16);
    for (unsigned i = 0; (load & COMPONENT_AVX) && i < xmm_bytes(cpu) / 16; i++)
        memcpy(&cpu->vreg[i].u8[16], area.image + AREA_AVX + 16 * i, 16);
    if (mxcsr || (clear & COMPONENT_SSE))
        cpu->mxcsr = value;
    return 0;
}

uint64_t helper_xgetbv(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    uint32_t number = (uint32_t)cpu->var[VAR_RCX];
    uint64_t value = cpu->xcr0;
    if (!(cpu->cr4 & CR4_OSXSAVE))
        return cpu_raise(cpu, VECTOR_UD);
    if (number > 1 || (number == 1 && !model_has(cpu->model, FEATURE_XGETBV1)))
        return general_protection(cpu);
    if (number == 1)
        value &= components_in_use(cpu) | (cpu->mxcsr != MXCSR_DEFAULT ? COMPONENT_SSE : 0);
    cpu->var[VAR_RAX] = (uint32_t)value;
    cpu->var[VAR_RDX] = value >> 32;
    return 0;
}

uint64_t helper_xsetbv(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    uint64_t value = (uint32_t)cpu->var[VAR_RAX] | cpu->var[VAR_RDX] << 32;
    if (!(cpu->cr4 & CR4_OSXSAVE))
        return cpu_raise(cpu, VECTOR_UD);
    if (cpu->cpl > 0 || (uint32_t)cpu->var[VAR_RCX] != 0 || !(value & COMPONENT_X87) ||
        (value & ~xsave_components(cpu->model)) || (value & (COMPONENT_SSE | COMPONENT_AVX)) == COMPONENT_AVX)
        return general_protection(cpu);
    cpu->xcr0 = value;
    cpu_update_mode(cpu);
    return 0;
}
