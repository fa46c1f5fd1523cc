// CPU models: which features CPUID reports, hence which rows exist.
#ifndef DOPPEL_CPU_MODEL_H
#define DOPPEL_CPU_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/bits.h"
#include "base/error.h"

// clang-format off
/// Features that rows, control registers and CPUID ask for.
enum cpu_feature {
    FEATURE_NONE, // always there
    FEATURE_FPU, FEATURE_VME, FEATURE_DE, FEATURE_PSE, FEATURE_TSC, FEATURE_MSR, FEATURE_PAE, FEATURE_MCE,
    FEATURE_CX8, FEATURE_APIC, FEATURE_SEP, FEATURE_MTRR, FEATURE_PGE, FEATURE_MCA, FEATURE_CMOV, FEATURE_PAT,
    FEATURE_PSE36, FEATURE_CLFLUSH, FEATURE_MMX, FEATURE_FXSR, FEATURE_SSE, FEATURE_SSE2,
    FEATURE_SSE3, FEATURE_PCLMULQDQ, FEATURE_MONITOR, FEATURE_SSSE3, FEATURE_CX16, FEATURE_PCID, FEATURE_SSE41,
    FEATURE_SSE42, FEATURE_X2APIC, FEATURE_MOVBE, FEATURE_POPCNT, FEATURE_TSC_DEADLINE, FEATURE_AES, FEATURE_XSAVE,
    FEATURE_RDRAND, FEATURE_HYPERVISOR,
    FEATURE_FSGSBASE, FEATURE_TSC_ADJUST, FEATURE_BMI1, FEATURE_FDP_EXCPTN_ONLY, FEATURE_ZERO_FCS_FDS, FEATURE_SMEP, FEATURE_BMI2, FEATURE_ERMS, FEATURE_INVPCID,
    FEATURE_RDSEED, FEATURE_ADX, FEATURE_SMAP, FEATURE_CLFLUSHOPT, FEATURE_CLWB, FEATURE_SHA, FEATURE_UMIP,
    FEATURE_RDPID, FEATURE_FSRM,
    FEATURE_SYSCALL, FEATURE_NX, FEATURE_PDPE1GB, FEATURE_RDTSCP, FEATURE_LM, FEATURE_LAHF_LM, FEATURE_ABM,
    FEATURE_PREFETCHW, FEATURE_CR8_LEGACY,
    FEATURE_INVARIANT_TSC,
    FEATURE_SPEC_CTRL, FEATURE_ARCH_CAPABILITIES,
    FEATURE_XSAVEOPT, FEATURE_XSAVEC, FEATURE_XGETBV1, FEATURE_XSAVES,
    FEATURE_LA57, FEATURE_BHI_CTRL, FEATURE_MCDT_NO,
    FEATURE_XSAVEERPTR, FEATURE_AMD_SSB_NO, FEATURE_BTC_NO, FEATURE_LFENCE_SERIALIZES, FEATURE_AUTO_IBRS, FEATURE_SRSO_NO,
    FEATURE_TSA_SQ_NO, FEATURE_TSA_L1_NO,
    FEATURE_AVX, FEATURE_AVX2, FEATURE_FMA, FEATURE_F16C,
    FEATURE_COUNT
};
// clang-format on

struct cpu_model {
    const char *name;
    char vendor[13];
    char brand[49];
    unsigned family, model, stepping;
    unsigned physical_bits, linear_bits;
    uint64_t features[2]; // bit per enum cpu_feature
    uint64_t tsc_hz;
};

static inline bool model_has(const struct cpu_model *model, enum cpu_feature feature)
{
    return feature == FEATURE_NONE || (model->features[feature / 64] >> (feature % 64) & 1);
}

/// The crystal that CPUID leaf 15H reports; Linux takes it as the clock of the local APIC's timer.
#define MODEL_CRYSTAL_HZ UINT64_C(1000000000)

/// IA32_ARCH_CAPABILITIES: none of the known hardware bugs, so that guests leave their mitigations off. Bits: RDCL_NO
/// 0, IBRS_ALL 1, SKIP_L1DFL 3, SSB_NO 4, MDS_NO 5, PSCHANGE_MC_NO 6, TAA_NO 8, SBDR_SSDP_NO 13, FBSDP_NO 14, PSDP_NO
/// 15, BHI_NO 20, PBRSB_NO 24, GDS_NO 26, RFDS_NO 27, ITS_NO 62.
#define MODEL_ARCH_CAPABILITIES UINT64_C(0x400000000d10e17b)

/// Where CPUID reports a feature.
enum cpuid_register { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };
struct cpuid_place {
    uint32_t leaf, subleaf;
    uint8_t reg, bit;
};
/// False: CPUID has no bit for it.
bool model_feature_place(enum cpu_feature feature, struct cpuid_place *place);
/// Its name for -cpu; NULL: it has none.
const char *model_feature_name(enum cpu_feature feature);
/// Whether doppel can do it, so that -cpu NAME,+feature works.
bool model_implements(enum cpu_feature feature);

/// Fills in vendor, family, model, stepping, brand and all features of the host (model_host.c). False: it is no x86.
bool model_ask_host(struct cpu_model *model);

/// Whether the model has what every x86-64 processor has, so that a kernel need not ask.
bool model_has_x86_64_baseline(const struct cpu_model *model);

/// CPUID.1:EAX, EDX after reset: family, model, stepping.
uint32_t model_signature(const struct cpu_model *model);
/// How the model tracks x87 pointers: bits of cpu->x87_policy.
uint8_t model_x87_policy(const struct cpu_model *model);
/// Parses `-cpu NAME,+feature,-feature,feature=on`; unknown names are errors that list what there is.
/// So is a feature that needs another one which is off; features of the model that do go with it silently.
bool model_parse(const char *text, struct cpu_model *model, struct error *error);
void model_help(FILE *to);
/// The CPUID leaf of a model; `osxsave`, `apic_id`, `apic_enabled` and XCR0 are dynamic.
struct cpuid_result {
    uint32_t eax, ebx, ecx, edx;
};
struct cpu;
struct cpuid_result model_cpuid(const struct cpu *cpu, uint32_t leaf, uint32_t subleaf);

#endif
