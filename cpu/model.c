// CPU models: names, features, parsing of -cpu. What CPUID says of them: model_cpuid.c.
#include "cpu/model.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/bits.h"
#include "cpu/model_words.h"

// ---- Features: name as -cpu and /proc/cpuinfo know it, and where CPUID reports it --------------------------------
static const struct cpuid_place word_places[WORD_NONE] = {
    [WORD_1_EDX] = {1, 0, CPUID_EDX, 0},
    [WORD_1_ECX] = {1, 0, CPUID_ECX, 0},
    [WORD_7_EBX] = {7, 0, CPUID_EBX, 0},
    [WORD_7_ECX] = {7, 0, CPUID_ECX, 0},
    [WORD_7_EDX] = {7, 0, CPUID_EDX, 0},
    [WORD_D1_EAX] = {0xd, 1, CPUID_EAX, 0},
    [WORD_7_2_EDX] = {7, 2, CPUID_EDX, 0},
    [WORD_EXT1_ECX] = {0x80000001u, 0, CPUID_ECX, 0},
    [WORD_EXT1_EDX] = {0x80000001u, 0, CPUID_EDX, 0},
    [WORD_EXT7_EDX] = {0x80000007u, 0, CPUID_EDX, 0},
    [WORD_EXT8_EBX] = {0x80000008u, 0, CPUID_EBX, 0},
    [WORD_EXT21_EAX] = {0x80000021u, 0, CPUID_EAX, 0},
    [WORD_EXT21_ECX] = {0x80000021u, 0, CPUID_ECX, 0},
};

struct feature_info {
    const char *name;
    uint8_t word, bit;
};

static const struct feature_info features[FEATURE_COUNT] = {
    [FEATURE_NONE] = {"", WORD_NONE, 0},
    [FEATURE_FPU] = {"fpu", WORD_1_EDX, 0},
    [FEATURE_VME] = {"vme", WORD_1_EDX, 1},
    [FEATURE_DE] = {"de", WORD_1_EDX, 2},
    [FEATURE_PSE] = {"pse", WORD_1_EDX, 3},
    [FEATURE_TSC] = {"tsc", WORD_1_EDX, 4},
    [FEATURE_MSR] = {"msr", WORD_1_EDX, 5},
    [FEATURE_PAE] = {"pae", WORD_1_EDX, 6},
    [FEATURE_MCE] = {"mce", WORD_1_EDX, 7},
    [FEATURE_CX8] = {"cx8", WORD_1_EDX, 8},
    [FEATURE_APIC] = {"apic", WORD_1_EDX, 9},
    [FEATURE_SEP] = {"sep", WORD_1_EDX, 11},
    [FEATURE_MTRR] = {"mtrr", WORD_1_EDX, 12},
    [FEATURE_PGE] = {"pge", WORD_1_EDX, 13},
    [FEATURE_MCA] = {"mca", WORD_1_EDX, 14},
    [FEATURE_CMOV] = {"cmov", WORD_1_EDX, 15},
    [FEATURE_PAT] = {"pat", WORD_1_EDX, 16},
    [FEATURE_PSE36] = {"pse36", WORD_1_EDX, 17},
    [FEATURE_CLFLUSH] = {"clflush", WORD_1_EDX, 19},
    [FEATURE_MMX] = {"mmx", WORD_1_EDX, 23},
    [FEATURE_FXSR] = {"fxsr", WORD_1_EDX, 24},
    [FEATURE_SSE] = {"sse", WORD_1_EDX, 25},
    [FEATURE_SSE2] = {"sse2", WORD_1_EDX, 26},
    [FEATURE_SSE3] = {"pni", WORD_1_ECX, 0},
    [FEATURE_PCLMULQDQ] = {"pclmulqdq", WORD_1_ECX, 1},
    [FEATURE_MONITOR] = {"monitor", WORD_1_ECX, 3},
    [FEATURE_SSSE3] = {"ssse3", WORD_1_ECX, 9},
    [FEATURE_CX16] = {"cx16", WORD_1_ECX, 13},
    [FEATURE_PCID] = {"pcid", WORD_1_ECX, 17},
    [FEATURE_SSE41] = {"sse4.1", WORD_1_ECX, 19},
    [FEATURE_SSE42] = {"sse4.2", WORD_1_ECX, 20},
    [FEATURE_X2APIC] = {"x2apic", WORD_1_ECX, 21},
    [FEATURE_MOVBE] = {"movbe", WORD_1_ECX, 22},
    [FEATURE_POPCNT] = {"popcnt", WORD_1_ECX, 23},
    [FEATURE_TSC_DEADLINE] = {"tsc-deadline", WORD_1_ECX, 24},
    [FEATURE_AES] = {"aes", WORD_1_ECX, 25},
    [FEATURE_XSAVE] = {"xsave", WORD_1_ECX, 26},
    [FEATURE_FMA] = {"fma", WORD_1_ECX, 12},
    [FEATURE_AVX] = {"avx", WORD_1_ECX, 28},
    [FEATURE_F16C] = {"f16c", WORD_1_ECX, 29},
    [FEATURE_AVX2] = {"avx2", WORD_7_EBX, 5},
    [FEATURE_RDRAND] = {"rdrand", WORD_1_ECX, 30},
    [FEATURE_HYPERVISOR] = {"hypervisor", WORD_1_ECX, 31},
    [FEATURE_FSGSBASE] = {"fsgsbase", WORD_7_EBX, 0},
    [FEATURE_TSC_ADJUST] = {"tsc-adjust", WORD_7_EBX, 1},
    [FEATURE_BMI1] = {"bmi1", WORD_7_EBX, 3},
    [FEATURE_FDP_EXCPTN_ONLY] = {"fdp-excptn-only", WORD_7_EBX, 6},
    [FEATURE_ZERO_FCS_FDS] = {"zero-fcs-fds", WORD_7_EBX, 13},
    [FEATURE_SMEP] = {"smep", WORD_7_EBX, 7},
    [FEATURE_BMI2] = {"bmi2", WORD_7_EBX, 8},
    [FEATURE_ERMS] = {"erms", WORD_7_EBX, 9},
    [FEATURE_INVPCID] = {"invpcid", WORD_7_EBX, 10},
    [FEATURE_RDSEED] = {"rdseed", WORD_7_EBX, 18},
    [FEATURE_ADX] = {"adx", WORD_7_EBX, 19},
    [FEATURE_SMAP] = {"smap", WORD_7_EBX, 20},
    [FEATURE_CLFLUSHOPT] = {"clflushopt", WORD_7_EBX, 23},
    [FEATURE_CLWB] = {"clwb", WORD_7_EBX, 24},
    [FEATURE_SHA] = {"sha-ni", WORD_7_EBX, 29},
    [FEATURE_UMIP] = {"umip", WORD_7_ECX, 2},
    [FEATURE_RDPID] = {"rdpid", WORD_7_ECX, 22},
    [FEATURE_FSRM] = {"fsrm", WORD_7_EDX, 4},
    [FEATURE_SYSCALL] = {"syscall", WORD_EXT1_EDX, 11},
    [FEATURE_NX] = {"nx", WORD_EXT1_EDX, 20},
    [FEATURE_PDPE1GB] = {"pdpe1gb", WORD_EXT1_EDX, 26},
    [FEATURE_RDTSCP] = {"rdtscp", WORD_EXT1_EDX, 27},
    [FEATURE_LM] = {"lm", WORD_EXT1_EDX, 29},
    [FEATURE_LAHF_LM] = {"lahf-lm", WORD_EXT1_ECX, 0},
    [FEATURE_ABM] = {"abm", WORD_EXT1_ECX, 5},
    [FEATURE_PREFETCHW] = {"3dnowprefetch", WORD_EXT1_ECX, 8},
    [FEATURE_CR8_LEGACY] = {"cr8legacy", WORD_EXT1_ECX, 4},
    [FEATURE_INVARIANT_TSC] = {"invtsc", WORD_EXT7_EDX, 8},
    [FEATURE_SPEC_CTRL] = {"spec-ctrl", WORD_7_EDX, 26},
    [FEATURE_ARCH_CAPABILITIES] = {"arch-capabilities", WORD_7_EDX, 29},
    [FEATURE_XSAVEOPT] = {"xsaveopt", WORD_D1_EAX, 0},
    [FEATURE_XSAVEC] = {"xsavec", WORD_D1_EAX, 1},
    [FEATURE_XGETBV1] = {"xgetbv1", WORD_D1_EAX, 2},
    [FEATURE_XSAVES] = {"xsaves", WORD_D1_EAX, 3},
    [FEATURE_LA57] = {"la57", WORD_7_ECX, 16},
    [FEATURE_BHI_CTRL] = {"bhi-ctrl", WORD_7_2_EDX, 4},
    [FEATURE_MCDT_NO] = {"mcdt-no", WORD_7_2_EDX, 5},
    [FEATURE_XSAVEERPTR] = {"xsaveerptr", WORD_EXT8_EBX, 2},
    [FEATURE_AMD_SSB_NO] = {"amd-no-ssb", WORD_EXT8_EBX, 26},
    [FEATURE_BTC_NO] = {"btc-no", WORD_EXT8_EBX, 29},
    [FEATURE_LFENCE_SERIALIZES] = {"lfence-always-serializing", WORD_EXT21_EAX, 2},
    [FEATURE_AUTO_IBRS] = {"auto-ibrs", WORD_EXT21_EAX, 8},
    [FEATURE_SRSO_NO] = {"srso-no", WORD_EXT21_EAX, 29},
    [FEATURE_TSA_SQ_NO] = {"tsa-sq-no", WORD_EXT21_ECX, 1},
    [FEATURE_TSA_L1_NO] = {"tsa-l1-no", WORD_EXT21_ECX, 2},
};

// ---- Models -----------------------------------------------------------------------------------------------------
struct model_info {
    const char *name, *description, *vendor, *brand;
    uint8_t family, model, stepping, physical_bits, linear_bits;
    const uint8_t *features;
    unsigned feature_count;
};

static const uint8_t features_486[] = {FEATURE_FPU, FEATURE_VME};
static const uint8_t features_pentium[] = {FEATURE_FPU, FEATURE_VME, FEATURE_DE,  FEATURE_PSE, FEATURE_TSC,
                                           FEATURE_MSR, FEATURE_MCE, FEATURE_CX8, FEATURE_MMX, FEATURE_APIC};

#define FEATURES_X86_64                                                                                                \
    FEATURE_FPU, FEATURE_DE, FEATURE_PSE, FEATURE_TSC, FEATURE_MSR, FEATURE_PAE, FEATURE_MCE, FEATURE_CX8,             \
        FEATURE_APIC, FEATURE_SEP, FEATURE_MTRR, FEATURE_PGE, FEATURE_MCA, FEATURE_CMOV, FEATURE_PAT, FEATURE_PSE36,   \
        FEATURE_CLFLUSH, FEATURE_MMX, FEATURE_FXSR, FEATURE_SSE, FEATURE_SSE2, FEATURE_SYSCALL, FEATURE_NX,            \
        FEATURE_LM, FEATURE_LAHF_LM, FEATURE_CX16, FEATURE_X2APIC, FEATURE_HYPERVISOR

static const uint8_t features_qemu64[] = {FEATURES_X86_64, FEATURE_CR8_LEGACY};

/// What the rows implement and tests cover. The hypervisor bit keeps guests from looking for microcode updates, uncore
/// counters and idle states of a real package.
static const uint8_t features_max[] = {
    FEATURES_X86_64,      FEATURE_VME,
    FEATURE_PDPE1GB,      FEATURE_RDTSCP,
    FEATURE_POPCNT,       FEATURE_MOVBE,
    FEATURE_TSC_DEADLINE, FEATURE_RDRAND,
    FEATURE_RDSEED,       FEATURE_FSGSBASE,
    FEATURE_TSC_ADJUST,   FEATURE_SMEP,
    FEATURE_SMAP,         FEATURE_ERMS,
    FEATURE_UMIP,         FEATURE_RDPID,
    FEATURE_CLFLUSHOPT,   FEATURE_CLWB,
    FEATURE_PREFETCHW,    FEATURE_INVARIANT_TSC,
    FEATURE_SPEC_CTRL,    FEATURE_ARCH_CAPABILITIES,
    FEATURE_SSE3,         FEATURE_SSSE3,
    FEATURE_SSE41,        FEATURE_SSE42,
    FEATURE_PCLMULQDQ,    FEATURE_AES,
    FEATURE_SHA,          FEATURE_BMI1,
    FEATURE_BMI2,         FEATURE_ADX,
    FEATURE_ABM,          FEATURE_PCID,
    FEATURE_INVPCID,      FEATURE_FDP_EXCPTN_ONLY,
    FEATURE_ZERO_FCS_FDS, FEATURE_XSAVE,
    FEATURE_XSAVEOPT,     FEATURE_XSAVEC,
    FEATURE_XGETBV1,      FEATURE_XSAVES,
    FEATURE_BHI_CTRL,     FEATURE_MCDT_NO,
    FEATURE_MONITOR,      FEATURE_AVX,
    FEATURE_AVX2,         FEATURE_FMA,
    FEATURE_F16C,
};

/// What doppel implements but `max` leaves off.
static const uint8_t features_more[] = {
    FEATURE_LA57,      FEATURE_CR8_LEGACY,        FEATURE_AMD_SSB_NO, FEATURE_BTC_NO,
    FEATURE_SRSO_NO,   FEATURE_LFENCE_SERIALIZES, FEATURE_AUTO_IBRS,  FEATURE_TSA_SQ_NO,
    FEATURE_TSA_L1_NO, FEATURE_XSAVEERPTR,
};

/// Of `host` whatever the host has: that doppel is a hypervisor, and by what a vendor's processors tell that they are
/// not open to hardware bugs.
static const uint8_t features_intel_safe[] = {FEATURE_HYPERVISOR, FEATURE_SPEC_CTRL, FEATURE_ARCH_CAPABILITIES,
                                              FEATURE_BHI_CTRL, FEATURE_MCDT_NO};
static const uint8_t features_amd_safe[] = {FEATURE_HYPERVISOR, FEATURE_AMD_SSB_NO,        FEATURE_BTC_NO,
                                            FEATURE_SRSO_NO,    FEATURE_LFENCE_SERIALIZES, FEATURE_AUTO_IBRS,
                                            FEATURE_TSA_SQ_NO,  FEATURE_TSA_L1_NO};

/// The left one does nothing, or cannot be used, without the right one.
static const struct {
    uint8_t feature, needs;
} dependencies[] = {
    {FEATURE_MMX, FEATURE_FPU},
    {FEATURE_SSE, FEATURE_FXSR},
    {FEATURE_SSE2, FEATURE_SSE},
    {FEATURE_SSE3, FEATURE_SSE2},
    {FEATURE_SSSE3, FEATURE_SSE3},
    {FEATURE_SSE41, FEATURE_SSSE3},
    {FEATURE_SSE42, FEATURE_SSE41},
    {FEATURE_PCLMULQDQ, FEATURE_SSE2},
    {FEATURE_AES, FEATURE_SSE2},
    {FEATURE_SHA, FEATURE_SSE2},
    {FEATURE_MTRR, FEATURE_MSR},
    {FEATURE_PAT, FEATURE_MSR},
    {FEATURE_MCA, FEATURE_MCE},
    {FEATURE_SYSCALL, FEATURE_MSR},
    {FEATURE_SEP, FEATURE_MSR},
    {FEATURE_NX, FEATURE_PAE},
    {FEATURE_LM, FEATURE_PAE},
    {FEATURE_LM, FEATURE_SYSCALL},
    {FEATURE_LM, FEATURE_SSE2},
    {FEATURE_PCID, FEATURE_LM},
    {FEATURE_LA57, FEATURE_LM},
    {FEATURE_PDPE1GB, FEATURE_LM},
    {FEATURE_LAHF_LM, FEATURE_LM},
    {FEATURE_FSGSBASE, FEATURE_LM},
    {FEATURE_CX16, FEATURE_LM},
    {FEATURE_CX16, FEATURE_CX8},
    {FEATURE_RDTSCP, FEATURE_TSC},
    {FEATURE_TSC_ADJUST, FEATURE_TSC},
    {FEATURE_INVARIANT_TSC, FEATURE_TSC},
    {FEATURE_X2APIC, FEATURE_APIC},
    {FEATURE_X2APIC, FEATURE_MSR},
    {FEATURE_TSC_DEADLINE, FEATURE_APIC},
    {FEATURE_TSC_DEADLINE, FEATURE_TSC},
    {FEATURE_SPEC_CTRL, FEATURE_MSR},
    {FEATURE_ARCH_CAPABILITIES, FEATURE_MSR},
    {FEATURE_BHI_CTRL, FEATURE_SPEC_CTRL},
    {FEATURE_AVX, FEATURE_XSAVE},
    {FEATURE_AVX, FEATURE_SSE42},
    {FEATURE_AVX2, FEATURE_AVX},
    {FEATURE_FMA, FEATURE_AVX},
    {FEATURE_F16C, FEATURE_AVX},
    {FEATURE_XSAVEOPT, FEATURE_XSAVE},
    {FEATURE_XSAVEC, FEATURE_XSAVE},
    {FEATURE_XGETBV1, FEATURE_XSAVE},
    {FEATURE_XSAVES, FEATURE_XSAVEC},
};

#define LIST(array) array, ARRAY_SIZE(array)
static const struct model_info models[] = {
    {"max", "all that doppel implements (default)", "GenuineIntel", "doppel Virtual CPU", 6, 143, 8, 40, 48,
     LIST(features_max)},
    {"qemu64", "as QEMU's model of this name", "AuthenticAMD", "QEMU Virtual CPU version 2.5+", 15, 107, 1, 40, 48,
     LIST(features_qemu64)},
    {"pentium", "Pentium MMX, 32-bit", "GenuineIntel", "", 5, 4, 3, 36, 32, LIST(features_pentium)},
    {"486", "80486DX with CPUID", "GenuineIntel", "", 4, 8, 0, 36, 32, LIST(features_486)},
};

#define DEFAULT_TSC_HZ UINT64_C(2000000000)

static void set_feature(struct cpu_model *model, unsigned feature, bool on)
{
    if (on)
        model->features[feature / 64] |= BIT(feature % 64);
    else
        model->features[feature / 64] &= ~BIT(feature % 64);
}

static void from_info(const struct model_info *info, struct cpu_model *model)
{
    *model = (struct cpu_model){
        .name = info->name,
        .family = info->family,
        .model = info->model,
        .stepping = info->stepping,
        .physical_bits = info->physical_bits,
        .linear_bits = info->linear_bits,
        .tsc_hz = DEFAULT_TSC_HZ,
    };
    memcpy(model->vendor, info->vendor, 12);
    snprintf(model->brand, sizeof model->brand, "%s", info->brand);
    for (unsigned i = 0; i < info->feature_count; i++)
        set_feature(model, info->features[i], true);
}

// ---- Parsing ----------------------------------------------------------------------------------------------------

static void append(char *text, size_t size, const char *name)
{
    size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s", used ? ", " : "", name);
}

static bool unknown_model(const char *name, struct error *error)
{
    char list[128] = "host";
    for (unsigned i = 0; i < ARRAY_SIZE(models); i++)
        append(list, sizeof list, models[i].name);
    return error_set(error, "unknown model '%.40s'; there are %s", name, list);
}

static bool is_in(const uint8_t *list, unsigned count, unsigned feature)
{
    for (unsigned i = 0; i < count; i++) {
        if (list[i] == feature)
            return true;
    }
    return false;
}

bool model_implements(enum cpu_feature feature)
{
    return is_in(LIST(features_max), feature) || is_in(LIST(features_more), feature);
}

bool model_has_x86_64_baseline(const struct cpu_model *model)
{
    static const uint8_t baseline[] = {FEATURE_FPU, FEATURE_PSE,  FEATURE_TSC,     FEATURE_MSR, FEATURE_PAE,
                                       FEATURE_CX8, FEATURE_PGE,  FEATURE_CMOV,    FEATURE_MMX, FEATURE_FXSR,
                                       FEATURE_SSE, FEATURE_SSE2, FEATURE_SYSCALL, FEATURE_LM};
    for (unsigned i = 0; i < ARRAY_SIZE(baseline); i++) {
        if (!model_has(model, (enum cpu_feature)baseline[i]))
            return false;
    }
    return true;
}

const char *model_feature_name(enum cpu_feature feature)
{
    return feature < FEATURE_COUNT && features[feature].name && *features[feature].name ? features[feature].name : NULL;
}

bool model_feature_place(enum cpu_feature feature, struct cpuid_place *place)
{
    if (!model_feature_name(feature) || features[feature].word == WORD_NONE)
        return false;
    *place = word_places[features[feature].word];
    place->bit = features[feature].bit;
    return true;
}

/// What the host and doppel have in common.
static bool from_host(struct cpu_model *model, struct error *error)
{
    *model = (struct cpu_model){.name = "host", .physical_bits = 40, .linear_bits = 48, .tsc_hz = DEFAULT_TSC_HZ};
    if (!model_ask_host(model))
        return error_set(error, "model 'host' needs an x86 host; 'max' runs everywhere");
    for (unsigned i = 1; i < FEATURE_COUNT; i++) {
        if (!model_implements((enum cpu_feature)i))
            set_feature(model, i, false);
    }
    set_feature(model, FEATURE_LA57, false); // as in `max`, only when asked for
    bool amd = strcmp(model->vendor, "AuthenticAMD") == 0;
    const uint8_t *safe = amd ? features_amd_safe : features_intel_safe;
    unsigned count = amd ? ARRAY_SIZE(features_amd_safe) : ARRAY_SIZE(features_intel_safe);
    for (unsigned i = 0; i < count; i++)
        set_feature(model, safe[i], true);
    return true;
}

static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        char x = *a == '_' ? '-' : *a, y = *b == '_' ? '-' : *b;
        if (x != y)
            return false;
    }
    return *a == *b;
}

/// A feature by its name, or by another that people and QEMU use. 0: there is none.
static unsigned find_feature(const char *name)
{
    static const struct {
        const char *name;
        uint8_t feature;
    } others[] = {{"sse3", FEATURE_SSE3},    {"sse4-1", FEATURE_SSE41},
                  {"sse4-2", FEATURE_SSE42}, {"lzcnt", FEATURE_ABM},
                  {"sha", FEATURE_SHA},      {"i64", FEATURE_LM},
                  {"xd", FEATURE_NX},        {"tsc-deadline-timer", FEATURE_TSC_DEADLINE},
                  {"sep", FEATURE_SEP}};
    for (unsigned i = 1; i < FEATURE_COUNT; i++) {
        if (features[i].name && same_name(features[i].name, name))
            return i;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
        if (same_name(others[i].name, name))
            return others[i].feature;
    }
    return 0;
}

/// A model as -cpu describes it, and what the user asked for by name.
struct wish {
    struct cpu_model *model;
    uint64_t asked[2];
};

static bool switch_feature(struct wish *wish, const char *name, bool on, struct error *error)
{
    unsigned feature = find_feature(name);
    if (feature) {
        if (on && !model_implements((enum cpu_feature)feature))
            return error_set(error, "feature '%s' is not implemented by doppel yet", name);
        set_feature(wish->model, feature, on);
        wish->asked[feature / 64] &= ~BIT(feature % 64);
        wish->asked[feature / 64] |= on ? BIT(feature % 64) : 0;
        return true;
    }
    return error_set(error, "unknown feature '%.40s' (-cpu help lists them)", name);
}

/// vendor=, model-id=, family=, model=, stepping=: how the processor is called. False: `item` is something else.
static bool parse_name(struct cpu_model *model, const char *item, const char *value, bool *good, struct error *error)
{
    static const struct {
        const char *name;
        size_t offset;
        unsigned limit;
    } numbers[] = {{"family", offsetof(struct cpu_model, family), 15 + 255},
                   {"model", offsetof(struct cpu_model, model), 255},
                   {"stepping", offsetof(struct cpu_model, stepping), 15}};
    *good = true;
    for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
        if (!same_name(item, numbers[i].name))
            continue;
        char *end;
        unsigned long number = strtoul(value, &end, 0);
        if (!*value || *end || *value == '-' || number > numbers[i].limit)
            *good = error_set(error, "%s must be a number up to %u, not '%.40s'", item, numbers[i].limit, value);
        else
            *(unsigned *)((char *)model + numbers[i].offset) = (unsigned)number;
        return true;
    }
    if (same_name(item, "vendor")) {
        if (strlen(value) != 12)
            *good = error_set(error, "vendor must have 12 characters, as GenuineIntel has, not '%.40s'", value);
        else
            memcpy(model->vendor, value, 13);
        return true;
    }
    if (same_name(item, "model-id")) {
        snprintf(model->brand, sizeof model->brand, "%s", value);
        return true;
    }
    return false;
}

static bool parse_item(struct wish *wish, char *item, struct error *error)
{
    char *value = strchr(item, '=');
    bool good;
    if (strcmp(item, "check") == 0 || strcmp(item, "enforce") == 0) // what cannot be had is an error in any case
        return true;
    if (item[0] == '+' || item[0] == '-')
        return switch_feature(wish, item + 1, item[0] == '+', error);
    if (!value)
        return switch_feature(wish, item, true, error);
    *value++ = 0;
    if (parse_name(wish->model, item, value, &good, error))
        return good;
    if (strcmp(value, "on") == 0 || strcmp(value, "off") == 0)
        return switch_feature(wish, item, strcmp(value, "on") == 0, error);
    if (same_name(item, "tsc-frequency")) {
        char *end;
        unsigned long long hz = strtoull(value, &end, 10);
        if (*end || hz < 1000000 || hz > 4200000000ull)
            return error_set(error, "tsc-frequency must be 1000000 to 4200000000 (Hz), not '%.40s'", value);
        wish->model->tsc_hz = hz;
        return true;
    }
    return error_set(error, "'%.40s' must be on or off, not '%.40s'", item, value);
}

/// Drops what cannot be without something that is off; an error if it was asked for.
static bool apply_dependencies(struct wish *wish, struct error *error)
{
    struct cpu_model *model = wish->model;
    for (bool again = true; again;) {
        again = false;
        for (unsigned i = 0; i < ARRAY_SIZE(dependencies); i++) {
            unsigned feature = dependencies[i].feature, needs = dependencies[i].needs;
            if (!model_has(model, (enum cpu_feature)feature) || model_has(model, (enum cpu_feature)needs))
                continue;
            if (wish->asked[feature / 64] >> (feature % 64) & 1)
                return error_set(error, "feature '%s' needs '%s', which is off", features[feature].name,
                                 features[needs].name);
            set_feature(model, feature, false);
            again = true;
        }
    }
    model->linear_bits = model_has(model, FEATURE_LA57) ? 57 : model_has(model, FEATURE_LM) ? 48 : 32;
    return true;
}

static bool find_model(const char *name, struct cpu_model *model, struct error *error)
{
    if (strcmp(name, "host") == 0)
        return from_host(model, error);
    for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
        if (strcmp(name, models[i].name) == 0) {
            from_info(&models[i], model);
            return true;
        }
    }
    return unknown_model(name, error);
}

bool model_parse(const char *text, struct cpu_model *model, struct error *error)
{
    char copy[1024], *item, *rest = copy;
    struct wish wish = {.model = model};
    if (strlen(text) >= sizeof copy)
        return error_set(error, "the text is longer than %zu characters", sizeof copy - 1);
    memcpy(copy, text, strlen(text) + 1);
    item = strsep(&rest, ",");
    if (!find_model(item, model, error))
        return false;
    while ((item = strsep(&rest, ","))) {
        if (*item && !parse_item(&wish, item, error))
            return false;
    }
    return apply_dependencies(&wish, error);
}

void model_help(FILE *to)
{
    unsigned column = 0;
    fprintf(to, "Models:\n");
    for (unsigned i = 0; i < ARRAY_SIZE(models); i++)
        fprintf(to, "  %-10s %s\n", models[i].name, models[i].description);
    fprintf(to, "  %-10s %s\n", "host", "what the host and doppel have in common, under the host's name");
    fprintf(to, "Features, as +name, -name, name=on or name=off:\n ");
    for (unsigned i = 1; i < FEATURE_COUNT; i++) {
        if (!features[i].name || !model_implements((enum cpu_feature)i))
            continue;
        if (column + strlen(features[i].name) > 74) {
            fprintf(to, "\n ");
            column = 0;
        }
        column += (unsigned)fprintf(to, " %s", features[i].name);
    }
    fprintf(to, "\nAlso tsc-frequency=HZ, vendor=, model-id=, family=, model= and stepping=.\n");
}

uint32_t model_feature_word(const struct cpu_model *model, enum cpuid_word word)
{
    uint32_t value = 0;
    for (unsigned i = 1; i < FEATURE_COUNT; i++) {
        if (features[i].name && features[i].word == word && model_has(model, (enum cpu_feature)i))
            value |= 1u << features[i].bit;
    }
    return value;
}
