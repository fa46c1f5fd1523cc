// Accesses of AVX that touch some elements and not others: masked moves and gathers. An element that is not chosen is
// not looked at, so that neither a segment's limit nor its page can make it fault.
#include "cpu/avx.h"
#include "cpu/data_access.h"
#include "cpu/helper.h"

/// The operands, from AVX_ACCESS_* fields.
struct access {
    union vreg *vreg, *mask;
    const union vreg *index;
    unsigned segment, scale, element, step, count, address;
    bool store;
};

static struct access access_of(struct cpu *cpu, uint64_t imm)
{
    return (struct access){
        .vreg = cpu_vreg(cpu, imm >> AVX_ACCESS_VREG & 31),
        .mask = cpu_vreg(cpu, imm >> AVX_ACCESS_MASK & 31),
        .index = cpu_vreg(cpu, imm >> AVX_ACCESS_INDEX & 31),
        .segment = imm >> AVX_ACCESS_SEGMENT & 7,
        .scale = imm >> AVX_ACCESS_SCALE & 3,
        .element = imm >> AVX_ACCESS_ELEMENT & 15,
        .step = imm >> AVX_ACCESS_STEP & 15,
        .count = imm >> AVX_ACCESS_COUNT & 15,
        .address = imm >> AVX_ACCESS_ADDRESS & 15,
        .store = imm >> AVX_ACCESS_STORE & 1,
    };
}

static bool is_chosen(const struct access *access, unsigned i)
{
    return access->mask->u8[(i + 1) * access->element - 1] & 0x80;
}

/// Checks an element's place. False: a fault is pending.
static bool open_element(struct cpu *cpu, const struct access *access, uint64_t offset, struct mmu_handle *handle)
{
    uint64_t cut = access->address == 8 ? offset : (access->address == 4 ? (uint32_t)offset : (uint16_t)offset);
    uint64_t linear = cpu_segment_linear(cpu, access->segment, cut, access->element, access->store);
    return !cpu->fault.pending &&
           data_access(cpu, linear, access->element, access->store, handle, access->segment == SEG_SS);
}

/// VMASKMOVPS and its like: a = offset of the first element. All are checked before the first is moved.
uint64_t helper_avx_mask(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    struct access access = access_of(cpu, imm);
    struct mmu_handle handle[8] = {0};
    union vreg result = {0};
    for (unsigned i = 0; i < access.count; i++)
        if (is_chosen(&access, i) && !open_element(cpu, &access, a + i * access.element, &handle[i]))
            return 0;
    for (unsigned i = 0; i < access.count; i++) {
        uint64_t value = 0;
        if (!is_chosen(&access, i))
            continue;
        if (access.store) {
            memcpy(&value, &access.vreg->u8[i * access.element], access.element);
            data_store(cpu, &handle[i], value);
        } else {
            value = data_load(cpu, &handle[i]);
            memcpy(&result.u8[i * access.element], &value, access.element);
        }
    }
    if (!access.store)
        memcpy(access.vreg, &result, AVX_BYTES);
    return 0;
}

/// VGATHERDPS and its like: a = base and displacement. What was loaded before a fault stays, and the mask is clear
/// as far as it went (SDM vol. 2 "VGATHERDPS").
uint64_t helper_avx_gather(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    struct access access = access_of(cpu, imm);
    unsigned bytes = access.count * access.element;
    for (unsigned i = 0; i < access.count; i++) {
        int64_t index = access.step == 4 ? access.index->s32[i] : access.index->s64[i];
        struct mmu_handle handle;
        if (is_chosen(&access, i)) {
            if (!open_element(cpu, &access, a + ((uint64_t)index << access.scale), &handle))
                return 0;
            uint64_t value = data_load(cpu, &handle);
            memcpy(&access.vreg->u8[i * access.element], &value, access.element);
        }
        memset(&access.mask->u8[i * access.element], 0, access.element);
    }
    memset(&access.vreg->u8[bytes], 0, AVX_BYTES - bytes);
    memset(access.mask, 0, AVX_BYTES);
    return 0;
}
