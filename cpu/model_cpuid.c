// CPUID leaves of the CPU models (SDM vol. 2 "CPUID"), and what else follows from vendor and signature.
#include <string.h>

#include "base/bits.h"
#include "cpu/cpu.h"
#include "cpu/model_words.h"
#include "cpu/xsave.h"

uint32_t model_signature(const struct cpu_model *model)
{
    uint32_t family = model->family > 15 ? 15 : model->family, extended = model->family - family;
    return extended << 20 | (model->model >> 4) << 16 | family << 8 | (model->model & 15) << 4 | model->stepping;
}

static bool is_amd(const struct cpu_model *model)
{
    return strcmp(model->vendor, "AuthenticAMD") == 0;
}

uint8_t model_x87_policy(const struct cpu_model *model)
{
    uint8_t policy = 0;
    if (model_has(model, FEATURE_ZERO_FCS_FDS))
        policy |= X87_SELECTORS_ZERO;
    if (model_has(model, FEATURE_FDP_EXCPTN_ONLY))
        policy |= X87_DATA_ON_FAULT;
    // Without bits of their own: Intel since the Pentium 4 (SDM vol. 1 sec. 8.1.9.1), AMD's FXSAVE (APM vol. 2).
    if (!is_amd(model) && model_has(model, FEATURE_SSE2))
        policy |= X87_OPCODE_ON_FAULT;
    if (is_amd(model))
        policy |= X87_SAVE_IF_PENDING | (model_has(model, FEATURE_XSAVEERPTR) ? 0 : X87_LOAD_IF_PENDING);
    return policy;
}

static uint32_t max_leaf(const struct cpu_model *model)
{
    if (!model_has(model, FEATURE_CMOV))
        return 1;
    return is_amd(model) ? 0xd : 0x16;
}

static uint32_t max_extended_leaf(const struct cpu_model *model)
{
    return model_feature_word(model, WORD_EXT21_EAX) || model_feature_word(model, WORD_EXT21_ECX) ? 0x80000021u
                                                                                                  : 0x80000008u;
}

static bool apic_enabled(const struct cpu *cpu)
{
    return !cpu->outside.apic_base_read || (cpu->outside.apic_base_read(cpu->outside.opaque) & BIT(11));
}

static struct cpuid_result leaf_vendor(const struct cpu_model *model, uint32_t max)
{
    struct cpuid_result r = {.eax = max};
    memcpy(&r.ebx, model->vendor, 4);
    memcpy(&r.edx, model->vendor + 4, 4);
    memcpy(&r.ecx, model->vendor + 8, 4);
    return r;
}

static struct cpuid_result leaf_1(const struct cpu *cpu)
{
    const struct cpu_model *model = cpu->model;
    struct cpuid_result r = {
        .eax = model_signature(model),
        .ebx = (cpu->index & 0xff) << 24 | 1 << 16,
        .ecx = model_feature_word(model, WORD_1_ECX),
        .edx = model_feature_word(model, WORD_1_EDX),
    };
    if (model_has(model, FEATURE_CLFLUSH))
        r.ebx |= 8 << 8;
    if (cpu->cr4 & CR4_OSXSAVE)
        r.ecx |= 1u << 27;
    if (!(cpu->misc_enable & MISC_ENABLE_MONITOR))
        r.ecx &= ~(1u << 3);
    if (!apic_enabled(cpu))
        r.edx &= ~(1u << 9);
    return r;
}

/// Deterministic cache parameters: 32 KiB + 32 KiB, 1 MiB, 16 MiB, one processor each.
static struct cpuid_result leaf_4(uint32_t subleaf)
{
    static const struct {
        uint8_t type, level, ways;
        uint16_t sets;
    } caches[] = {{1, 1, 8, 64}, {2, 1, 8, 64}, {3, 2, 16, 1024}, {3, 3, 16, 16384}};
    if (subleaf >= ARRAY_SIZE(caches))
        return (struct cpuid_result){0};
    return (struct cpuid_result){
        .eax = caches[subleaf].type | (uint32_t)caches[subleaf].level << 5 | 1 << 8,
        .ebx = 63 | (uint32_t)(caches[subleaf].ways - 1) << 22,
        .ecx = caches[subleaf].sets - 1u,
    };
}

/// One thread a core, one core a package.
static struct cpuid_result leaf_topology(const struct cpu *cpu, uint32_t subleaf)
{
    struct cpuid_result r = {.ecx = subleaf & 0xff, .edx = cpu->index};
    if (subleaf < 2) {
        r.ebx = 1;
        r.ecx |= (subleaf + 1) << 8;
    }
    return r;
}

static struct cpuid_result leaf_tsc(const struct cpu_model *model)
{
    // TSC = crystal * EBX / EAX. Guests multiply kHz by EBX in 32 bits: crystal_khz * EBX stays below 2^32.
    return (struct cpuid_result){.eax = 1000, .ebx = (uint32_t)(model->tsc_hz / 1000000), .ecx = MODEL_CRYSTAL_HZ};
}

/// XSAVE: components and sizes, then the instructions; then size and offset of each component but 0 and 1.
static struct cpuid_result leaf_xsave(const struct cpu *cpu, uint32_t subleaf)
{
    const struct cpu_model *model = cpu->model;
    uint64_t components = xsave_components(model);
    struct cpuid_result r = {0};
    if (!model_has(model, FEATURE_XSAVE) || subleaf > 2)
        return r;
    if (subleaf == 2 && (components & XCR0_AVX))
        return (struct cpuid_result){.eax = XSAVE_AVX_BYTES, .ebx = XSAVE_LEGACY_AND_HEADER};
    if (subleaf == 0) {
        r.eax = (uint32_t)components;
        r.ebx = xsave_area_size(cpu->xcr0);
        r.ecx = xsave_area_size(components);
        r.edx = components >> 32;
    } else if (subleaf == 1) {
        r.eax = model_feature_word(model, WORD_D1_EAX);
        if (model_has(model, FEATURE_XSAVEC))
            r.ebx = xsave_area_size(cpu->xcr0 | cpu->xss);
    }
    return r;
}

static struct cpuid_result basic_leaf(const struct cpu *cpu, uint32_t leaf, uint32_t subleaf)
{
    const struct cpu_model *model = cpu->model;
    switch (leaf) {
    case 0:
        return leaf_vendor(model, max_leaf(model));
    case 1:
        return leaf_1(cpu);
    case 2: // caches: see leaf 4
        return (struct cpuid_result){.eax = is_amd(model) ? 0 : 0x00feff01};
    case 4:
        return !is_amd(model) ? leaf_4(subleaf) : (struct cpuid_result){0};
    case 5: // MONITOR: the line; extensions, masked interrupts. No substates of C1: an idle guest shall halt
        if (!model_has(model, FEATURE_MONITOR))
            return (struct cpuid_result){0};
        return (struct cpuid_result){.eax = MONITOR_LINE_BYTES, .ebx = MONITOR_LINE_BYTES, .ecx = 3};
    case 6: // the APIC timer runs always
        return (struct cpuid_result){.eax = model_has(model, FEATURE_APIC) ? 4 : 0};
    case 7:
        if (subleaf == 2)
            return (struct cpuid_result){.edx = model_feature_word(model, WORD_7_2_EDX)};
        if (subleaf)
            return (struct cpuid_result){0};
        return (struct cpuid_result){.eax = model_feature_word(model, WORD_7_2_EDX) ? 2 : 0,
                                     .ebx = model_feature_word(model, WORD_7_EBX),
                                     .ecx = model_feature_word(model, WORD_7_ECX),
                                     .edx = model_feature_word(model, WORD_7_EDX)};
    case 0xb:
        return model_has(model, FEATURE_X2APIC) ? leaf_topology(cpu, subleaf) : (struct cpuid_result){0};
    case 0xd:
        return leaf_xsave(cpu, subleaf);
    case 0x15:
        return leaf_tsc(model);
    case 0x16: {
        uint32_t mhz = (uint32_t)(model->tsc_hz / 1000000);
        return (struct cpuid_result){.eax = mhz, .ebx = mhz, .ecx = 100};
    }
    default:
        return (struct cpuid_result){0};
    }
}

static struct cpuid_result extended_leaf(const struct cpu *cpu, uint32_t leaf)
{
    const struct cpu_model *model = cpu->model;
    struct cpuid_result r = {0};
    switch (leaf) {
    case 0x80000000u:
        r.eax = max_extended_leaf(model);
        if (is_amd(model))
            r = leaf_vendor(model, r.eax);
        break;
    case 0x80000001u:
        r.ecx = model_feature_word(model, WORD_EXT1_ECX);
        r.edx = model_feature_word(model, WORD_EXT1_EDX);
        if (is_amd(model)) {
            r.eax = model_signature(model);
            r.edx |= model_feature_word(model, WORD_1_EDX) & 0x0183f3ffu;
        }
        break;
    case 0x80000002u:
    case 0x80000003u:
    case 0x80000004u:
        memcpy(&r, model->brand + (leaf - 0x80000002u) * 16, 16);
        break;
    case 0x80000005u: // AMD's first level caches
        if (is_amd(model))
            r = (struct cpuid_result){.eax = 0x01ff01ff, .ebx = 0x01ff01ff, .ecx = 0x40020140, .edx = 0x40020140};
        break;
    case 0x80000006u: // second level: 1 MiB, 64-byte lines
        r.ecx = 1024 << 16 | 8 << 12 | 64;
        break;
    case 0x80000007u:
        r.edx = model_feature_word(model, WORD_EXT7_EDX);
        break;
    case 0x80000008u:
        r.eax = model->physical_bits | model->linear_bits << 8;
        r.ebx = model_feature_word(model, WORD_EXT8_EBX);
        break;
    case 0x80000021u:
        r.eax = model_feature_word(model, WORD_EXT21_EAX);
        r.ecx = model_feature_word(model, WORD_EXT21_ECX);
        break;
    default:
        break;
    }
    return r;
}

struct cpuid_result model_cpuid(const struct cpu *cpu, uint32_t leaf, uint32_t subleaf)
{
    const struct cpu_model *model = cpu->model;
    if (leaf == 0x40000000u && model_has(model, FEATURE_HYPERVISOR)) {
        struct cpuid_result r = {.eax = 0x40000000u};
        memcpy(&r.ebx, "Dopp", 4);
        memcpy(&r.ecx, "elDo", 4);
        memcpy(&r.edx, "ppel", 4);
        return r;
    }
    if (leaf >= 0x80000000u && leaf <= max_extended_leaf(model) && max_leaf(model) > 1)
        return extended_leaf(cpu, leaf);
    // Beyond the last leaf, processors repeat the data of the highest basic one.
    if (leaf > max_leaf(model)) {
        if (is_amd(model))
            return (struct cpuid_result){0};
        leaf = max_leaf(model);
    }
    return basic_leaf(cpu, leaf, subleaf);
}
