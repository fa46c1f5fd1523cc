// Features against what they switch: in every model, and in `max` with each feature off, rows decode or are #UD, bits
// of CR4 and EFER and MSRs exist or are #GP, CPUID says the same, and whatever `max` reports has somebody who tests it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/support_rows.h"
#include "support_system.h"

static const char *const model_names[] = {"max", "qemu64", "pentium", "486"};

/// The model less one feature, without what else would go with it.
static struct cpu_model without(const char *name, unsigned feature)
{
    struct cpu_model model;
    struct error error = {0};
    assert_true(model_parse(name, &model, &error));
    model.features[feature / 64] &= ~BIT(feature % 64);
    return model;
}

static struct cpu_model with(unsigned feature)
{
    struct cpu_model model = without("max", FEATURE_NONE);
    model.features[feature / 64] |= BIT(feature % 64);
    return model;
}

// ---- Rows -------------------------------------------------------------------------------------------------------

/// An encoding of the row, and a mode in which it decodes to it when everything is there.
static bool find_encoding(const struct row_index *index, const struct row_form *form, uint8_t bytes[32], uint32_t *mode)
{
    static const uint32_t modes[] = {MODE_CODE64 | MODE_PROTECTED | MODE_LONG, MODE_CODE32 | MODE_PROTECTED};
    struct cpu_model full = support_full_model();
    for (unsigned n = 0; n < 512; n++) {
        struct support_encoding how = {.modrm = (uint8_t)n, .sib = 2 << 3, .filler = n};
        struct insn insn;
        *mode = modes[n / 256];
        support_encode(form, &how, bytes);
        if (decode(index, &full, *mode, bytes, 15, &insn) == DECODE_OK && insn.row == form->row)
            return true;
    }
    return false;
}

/// Encodings that mean something else on processors without the feature.
static bool falls_back(const struct row *row, const struct row *to)
{
    static const struct {
        const char *from, *to;
    } pairs[] = {{"tzcnt", "bsf"}, {"lzcnt", "bsr"}};
    if (row->attributes & ROW_NOP_IF_NO_FEATURE)
        return true;
    for (unsigned i = 0; i < ARRAY_SIZE(pairs); i++) {
        if (strcmp(row->mnemonic, pairs[i].from) == 0 && strcmp(to->mnemonic, pairs[i].to) == 0)
            return true;
    }
    return strstr(to->mnemonic, "nop") != NULL; // the hint space
}

static void check_row(const struct row_index *index, const struct cpu_model *model, const char *name,
                      const struct row_form *form, const uint8_t *bytes, uint32_t mode)
{
    const struct row *row = form->row;
    struct insn insn;
    enum decode_status status = decode(index, model, mode, bytes, 15, &insn);
    if (model_has(model, (enum cpu_feature)row->feature)) {
        if (status != DECODE_OK || insn.row != row)
            fail_msg("%s: row \"%s\" (%s) is not there", name, row->encoding, row->mnemonic);
    } else if (status == DECODE_OK && (insn.row == row || !falls_back(row, insn.row)) &&
               !(row->attributes & ROW_NOP_IF_NO_FEATURE)) {
        fail_msg("%s: row \"%s\" (%s) decodes as %s", name, row->encoding, row->mnemonic, insn.row->mnemonic);
    } else if (status != DECODE_OK && status != DECODE_ILLEGAL) {
        fail_msg("%s: row \"%s\": status %d", name, row->encoding, status);
    }
}

static void rows_follow_features(void **state)
{
    struct error error = {0};
    struct row_index *index = row_index_build(&error);
    unsigned with_feature = 0;
    assert_non_null(index);
    for (unsigned n = 0; n < row_count(); n++) {
        const struct row_form *form = &index->forms[n];
        unsigned feature = form->row->feature;
        uint8_t bytes[32];
        uint32_t mode;
        if (feature == FEATURE_NONE)
            continue;
        with_feature++;
        assert_true(find_encoding(index, form, bytes, &mode));
        for (unsigned i = 0; i < ARRAY_SIZE(model_names); i++) {
            struct cpu_model model = without(model_names[i], FEATURE_NONE);
            if (!(mode & MODE_LONG) || model_has(&model, FEATURE_LM))
                check_row(index, &model, model_names[i], form, bytes, mode);
        }
        struct cpu_model off = without("max", feature), on = with(feature);
        check_row(index, &off, "max less the feature", form, bytes, mode);
        check_row(index, &on, "max and the feature", form, bytes, mode);
    }
    assert_true(with_feature > 300);
    row_index_free(index);
}

// ---- CPUID ------------------------------------------------------------------------------------------------------

static uint32_t cpuid_register_of(struct fixture *f, const struct cpuid_place *place)
{
    struct cpuid_result r = model_cpuid(f->cpu, place->leaf, place->subleaf);
    const uint32_t words[4] = {r.eax, r.ebx, r.ecx, r.edx};
    return words[place->reg];
}

/// Each feature is its bit and nothing else of CPUID, but for what is listed.
static void each_feature_is_its_bit(void **state)
{
    static const struct {
        uint32_t leaf, subleaf;
    } leaves[] = {{1, 0},           {7, 0},           {7, 2},           {0x80000001u, 0},
                  {0x80000007u, 0}, {0x80000008u, 0}, {0x80000021u, 0}, {0xd, 1}};
    unsigned tested = 0;
    for (unsigned feature = 1; feature < FEATURE_COUNT; feature++) {
        struct cpuid_place place;
        struct fixture f;
        if (!model_implements((enum cpu_feature)feature) || feature == FEATURE_CMOV ||
            feature == FEATURE_XSAVE) // they decide which leaves there are
            continue;
        assert_true(model_feature_place((enum cpu_feature)feature, &place));
        fixture_start(&f, "max,+btc-no,+srso-no,+tsa-sq-no");
        f.model.features[feature / 64] |= BIT(feature % 64);
        assert_true(cpuid_register_of(&f, &place) >> place.bit & 1);
        struct cpuid_result before[ARRAY_SIZE(leaves)];
        for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++)
            before[i] = model_cpuid(f.cpu, leaves[i].leaf, leaves[i].subleaf);
        f.model.features[feature / 64] &= ~BIT(feature % 64);
        assert_false(cpuid_register_of(&f, &place) >> place.bit & 1);
        unsigned bits = 0;
        for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++) {
            struct cpuid_result now = model_cpuid(f.cpu, leaves[i].leaf, leaves[i].subleaf);
            if (feature == FEATURE_CLFLUSH) // has its line size, too
                now.ebx = before[i].ebx;
            if (leaves[i].leaf == 0xd) // sizes follow the formats
                now.ebx = before[i].ebx;
            bits += (unsigned)__builtin_popcount(now.eax ^ before[i].eax) +
                    (unsigned)__builtin_popcount(now.ebx ^ before[i].ebx) +
                    (unsigned)__builtin_popcount(now.ecx ^ before[i].ecx) +
                    (unsigned)__builtin_popcount(now.edx ^ before[i].edx);
        }
        if (bits != 1)
            fail_msg("%s changes %u bits", model_feature_name((enum cpu_feature)feature), bits);
        tested++;
        fixture_end(&f);
    }
    assert_true(tested > 50);
}

/// For the features that no row asks for: a file that tests them and a word of it. Rows have their tests by themselves
/// (tests/cpu/host_test.c and those for the privileged ones).
static const struct {
    uint8_t feature;
    const char *file, *word;
} covered[] = {
    {FEATURE_VME, "tests/guest/small/vm86.c", "VME"},
    {FEATURE_DE, "tests/guest/small/debugging.c", "dr4"},
    {FEATURE_PSE, "tests/mmu/walk_test.c", "pse"},
    {FEATURE_PSE36, "tests/mmu/walk_test.c", "pse36"},
    {FEATURE_PAE, "tests/mmu/walk_test.c", "pae"},
    {FEATURE_NX, "tests/mmu/walk_test.c", "execute_disable"},
    {FEATURE_SMEP, "tests/mmu/walk_test.c", "smep"},
    {FEATURE_SMAP, "tests/mmu/walk_test.c", "smap"},
    {FEATURE_PDPE1GB, "tests/mmu/walk_test.c", "gigabyte_pages"},
    {FEATURE_PGE, "tests/mmu/tlb_test.c", "cr3_writes_keep_global_pages"},
    {FEATURE_PCID, "tests/mmu/space_test.c", "random_spaces_agree"},
    {FEATURE_MCE, "tests/cpu/feature_test.c", "CR4_MCE"},
    {FEATURE_MCA, "tests/cpu/system_msr_test.c", "0x179"},
    {FEATURE_MTRR, "tests/cpu/system_msr_test.c", "0x2ff"},
    {FEATURE_PAT, "tests/cpu/system_msr_test.c", "0x277"},
    {FEATURE_APIC, "tests/devices/local_apic_test.c", "apic"},
    {FEATURE_X2APIC, "tests/devices/local_apic_test.c", "x2apic"},
    {FEATURE_TSC_DEADLINE, "tests/devices/local_apic_test.c", "deadline"},
    {FEATURE_TSC_ADJUST, "tests/cpu/feature_test.c", "adjusted_time"},
    {FEATURE_INVARIANT_TSC, "tests/base/clock_test.c", "clock"},
    {FEATURE_UMIP, "tests/cpu/system_msr_test.c", "UMIP"},
    {FEATURE_XGETBV1, "tests/cpu/feature_test.c", "extended_control"},
    {FEATURE_ERMS, "tests/guest/small/strings.c", "movsb"},
    {FEATURE_HYPERVISOR, "tests/cpu/feature_test.c", "DoppelDoppel"},
    {FEATURE_SPEC_CTRL, "tests/cpu/feature_test.c", "0x48"},
    {FEATURE_BHI_CTRL, "tests/cpu/feature_test.c", "0x48"},
    {FEATURE_ARCH_CAPABILITIES, "tests/cpu/feature_test.c", "0x10a"},
    {FEATURE_MCDT_NO, "tests/cpu/feature_test.c", "no_bugs"}, // a statement, like ARCH_CAPABILITIES
    {FEATURE_FDP_EXCPTN_ONLY, "tests/cpu/support_fpu.c", "fdp"},
    {FEATURE_ZERO_FCS_FDS, "tests/cpu/support_fpu.c", "fcs"},
};

static bool has_row(unsigned feature)
{
    for (unsigned n = 0; n < row_count(); n++) {
        if (row_get(n)->feature == feature)
            return true;
    }
    return false;
}

static bool file_says(const char *path, const char *word)
{
    static char text[1 << 20];
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    return strcasestr(text, word) != NULL;
}

/// Nothing is set that is no feature, and every feature of `max` is tested by somebody.
static void what_max_reports_is_tested(void **state)
{
    static const struct {
        uint32_t leaf, subleaf;
        uint8_t reg;
    } words[] = {{1, 0, CPUID_ECX},           {1, 0, CPUID_EDX},           {7, 0, CPUID_EBX},
                 {7, 0, CPUID_ECX},           {7, 0, CPUID_EDX},           {7, 1, CPUID_EAX},
                 {7, 2, CPUID_EDX},           {0x80000001u, 0, CPUID_ECX}, {0x80000001u, 0, CPUID_EDX},
                 {0x80000007u, 0, CPUID_EDX}, {0x80000008u, 0, CPUID_EBX}};
    bool in_tree = file_says("tests/cpu/feature_test.c", "in_tree");
    struct fixture f;
    fixture_start(&f, "max");
    for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
        struct cpuid_place at = {words[i].leaf, words[i].subleaf, words[i].reg, 0}, place;
        uint32_t left = cpuid_register_of(&f, &at);
        for (unsigned feature = 1; feature < FEATURE_COUNT; feature++) {
            if (model_feature_place((enum cpu_feature)feature, &place) && place.leaf == at.leaf &&
                place.subleaf == at.subleaf && place.reg == at.reg && model_has(&f.model, (enum cpu_feature)feature))
                left &= ~(1u << place.bit);
        }
        if (left)
            fail_msg("leaf %x/%x register %u: bits %08x are no feature", at.leaf, at.subleaf, at.reg, left);
    }
    for (unsigned feature = 1; feature < FEATURE_COUNT; feature++) {
        bool found = has_row(feature);
        for (unsigned i = 0; i < ARRAY_SIZE(covered); i++) {
            if (covered[i].feature != feature)
                continue;
            found = true;
            if (in_tree && !file_says(covered[i].file, covered[i].word))
                fail_msg("%s says nothing of %s", covered[i].file, covered[i].word);
        }
        if (model_has(&f.model, (enum cpu_feature)feature) && !found)
            fail_msg("nothing covers %s", model_feature_name((enum cpu_feature)feature));
    }
    struct cpuid_result r = model_cpuid(f.cpu, 0x40000000u, 0);
    assert_memory_equal(&r.ebx, "DoppelDoppel", 4);
    fixture_end(&f);
}

// ---- Control registers ------------------------------------------------------------------------------------------

static bool set_cr4(struct fixture *f, uint64_t value)
{
    helper_set_control(f->cpu, value, 0, 4);
    bool good = !f->cpu->fault.pending;
    f->cpu->fault.pending = false;
    return good;
}

static void cr4_follows_features(void **state)
{
    static const struct {
        uint8_t feature;
        uint64_t bits;
    } rows[] = {{FEATURE_VME, CR4_VME},           {FEATURE_VME, CR4_PVI},
                {FEATURE_TSC, CR4_TSD},           {FEATURE_DE, CR4_DE},
                {FEATURE_PSE, CR4_PSE},           {FEATURE_PAE, CR4_PAE},
                {FEATURE_MCE, CR4_MCE},           {FEATURE_PGE, CR4_PGE},
                {FEATURE_FXSR, CR4_OSFXSR},       {FEATURE_SSE, CR4_OSXMMEXCPT},
                {FEATURE_UMIP, CR4_UMIP},         {FEATURE_LA57, CR4_LA57},
                {FEATURE_FSGSBASE, CR4_FSGSBASE}, {FEATURE_XSAVE, CR4_OSXSAVE},
                {FEATURE_SMEP, CR4_SMEP},         {FEATURE_SMAP, CR4_SMAP}};
    struct fixture f;
    uint64_t known = CR4_PCE | CR4_PCIDE;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        for (unsigned on = 0; on < 2; on++) {
            fixture_start(&f, "max");
            unsigned feature = rows[i].feature;
            f.model.features[feature / 64] &= ~BIT(feature % 64);
            f.model.features[feature / 64] |= on ? BIT(feature % 64) : 0;
            enter_protected(&f, 0);
            assert_int_equal(set_cr4(&f, rows[i].bits), on);
            assert_true(f.cpu->cr4 == (on ? rows[i].bits : 0));
            fixture_end(&f);
        }
        known |= rows[i].bits;
    }
    for (unsigned bit = 0; bit < 64; bit++) {
        if (known >> bit & 1)
            continue;
        fixture_start(&f, "max,+la57");
        enter_long(&f, 0);
        assert_false(set_cr4(&f, f.cpu->cr4 | BIT(bit)));
        fixture_end(&f);
    }
}

/// CR4.PCIDE (SDM vol. 3 sec. 2.5, 4.10.1) and bit 63 of CR3.
static void pcide_rules(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_protected(&f, 0);
    assert_false(set_cr4(&f, CR4_PCIDE)); // not in long mode
    fixture_end(&f);
    fixture_start(&f, "max,-pcid");
    enter_long(&f, 0);
    assert_false(set_cr4(&f, f.cpu->cr4 | CR4_PCIDE));
    fixture_end(&f);

    fixture_start(&f, "max");
    enter_long(&f, 0);
    struct cpu *cpu = f.cpu;
    uint64_t root = cpu->cr3, cr4 = cpu->cr4;
    helper_set_control(cpu, root | BIT(63), 0, 3); // bit 63 is reserved without PCIDE
    expect_fault(&f, VECTOR_GP, 0);
    helper_set_control(cpu, root | 0x18, 0, 3);
    expect_fault(&f, -1, 0);
    assert_false(set_cr4(&f, cr4 | CR4_PCIDE)); // CR3[11:0] is not 0
    helper_set_control(cpu, root, 0, 3);
    assert_true(set_cr4(&f, cr4 | CR4_PCIDE));
    helper_set_control(cpu, root | 0xfff | BIT(63), 0, 3);
    expect_fault(&f, -1, 0);
    assert_true(cpu->cr3 == (root | 0xfff));   // reads without bit 63
    assert_true(set_cr4(&f, cr4 | CR4_PCIDE)); // no change of PCIDE: bits 11:0 may be anything
    helper_set_control(cpu, root | BIT(62), 0, 3);
    expect_fault(&f, VECTOR_GP, 0);
    helper_set_control(cpu, root | BIT(cpu->model->physical_bits), 0, 3);
    expect_fault(&f, VECTOR_GP, 0);
    assert_true(cpu->cr3 == (root | 0xfff));
    helper_set_control(cpu, cpu->cr0 & ~CR0_PG, 0, 0);
    expect_fault(&f, VECTOR_GP, 0);
    assert_false(set_cr4(&f, cr4 & ~CR4_PAE));
    assert_false(set_cr4(&f, (cr4 | CR4_PCIDE) ^ CR4_LA57)); // the model lacks it
    assert_true(set_cr4(&f, cr4));                           // 1 to 0 may be any time
    assert_true(cpu->cr3 == (root | 0xfff));
    fixture_end(&f);

    fixture_start(&f, "max,+la57");
    enter_long(&f, 0);
    assert_false(set_cr4(&f, f.cpu->cr4 | CR4_LA57)); // not in long mode
    assert_int_equal(model_cpuid(f.cpu, 0x80000008u, 0).eax >> 8 & 0xff, 57);
    fixture_end(&f);
}

static void invpcid_faults(void **state)
{
    static const struct {
        uint64_t type, pcid, linear;
        bool pcide, good;
    } rows[] = {
        {0, 0, 0x1000, false, true},  {0, 5, 0x1000, false, false}, // another PCID without PCIDE
        {1, 5, 0, false, false},      {2, 5, 0, false, true},       {3, 5, 0, false, true},
        {0, 5, 0x1000, true, true},   {1, 0xfff, 0, true, true},    {0, 0x1000, 0, true, false}, // bits 63:12
        {1, BIT(63), 0, true, false}, {2, 0x1000, 0, true, false},  {3, 0x1000, 0, true, false},
        {0, 1, BIT(47), true, false}, // not canonical: type 0 only
        {1, 1, BIT(47), true, true},  {2, 1, BIT(47), true, true},  {3, 1, BIT(47), true, true},
        {4, 1, 0, true, false},       {BIT(32), 1, 0, true, false}, {UINT64_MAX, 1, 0, true, false},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct fixture f;
        fixture_start(&f, "max");
        enter_long(&f, 0);
        assert_true(set_cr4(&f, f.cpu->cr4 | (rows[i].pcide ? CR4_PCIDE : 0)));
        poke(&f, 0x9000, rows[i].pcid, 8);
        poke(&f, 0x9008, rows[i].linear, 8);
        helper_invpcid(f.cpu, rows[i].type, 0x9000, 0);
        expect_fault(&f, rows[i].good ? -1 : VECTOR_GP, 0);
        fixture_end(&f);
    }
    // The descriptor's faults come first.
    struct fixture f;
    fixture_start(&f, "max");
    enter_long(&f, 0);
    helper_invpcid(f.cpu, 9, UINT64_C(0x40000000), 0);
    expect_fault(&f, VECTOR_PF, 0);
    assert_true(f.cpu->cr2 == 0x40000000);
    helper_invpcid(f.cpu, 0, BIT(47), 0);
    expect_fault(&f, VECTOR_GP, 0);
    fixture_end(&f);
}

// ---- MSRs -------------------------------------------------------------------------------------------------------

static bool access_msr(struct fixture *f, uint32_t number, bool write, uint64_t value)
{
    f->cpu->var[VAR_RCX] = number;
    f->cpu->var[VAR_RAX] = (uint32_t)value;
    f->cpu->var[VAR_RDX] = value >> 32;
    if (write)
        helper_wrmsr(f->cpu, 0, 0, 0);
    else
        helper_rdmsr(f->cpu, 0, 0, 0);
    bool good = !f->cpu->fault.pending;
    f->cpu->fault.pending = false;
    return good;
}

static void msrs_follow_features(void **state)
{
    static const struct {
        uint8_t feature;
        uint32_t number;
        bool write;
        uint64_t value;
    } rows[] = {
        {FEATURE_TSC, 0x10, false, 0},
        {FEATURE_APIC, 0x1b, false, 0},
        {FEATURE_TSC_ADJUST, 0x3b, false, 0},
        {FEATURE_SPEC_CTRL, 0x48, false, 0},
        {FEATURE_SPEC_CTRL, 0x48, true, 1},
        {FEATURE_BHI_CTRL, 0x48, true, BIT(10)},
        {FEATURE_SPEC_CTRL, 0x49, true, 1},
        {FEATURE_MTRR, 0xfe, false, 0},
        {FEATURE_MTRR, 0x2ff, false, 0},
        {FEATURE_ARCH_CAPABILITIES, 0x10a, false, 0},
        {FEATURE_SEP, 0x174, false, 0},
        {FEATURE_SEP, 0x176, true, 0},
        {FEATURE_MCA, 0x179, false, 0},
        {FEATURE_MCA, 0x400, false, 0},
        {FEATURE_PAT, 0x277, false, 0},
        {FEATURE_TSC_DEADLINE, 0x6e0, false, 0},
        {FEATURE_SYSCALL, 0xc0000080, true, EFER_SCE},
        {FEATURE_NX, 0xc0000080, true, EFER_NXE},
        {FEATURE_LM, 0xc0000080, true, EFER_LME},
        {FEATURE_AUTO_IBRS, 0xc0000080, true, EFER_AIBRSE},
        {FEATURE_SYSCALL, 0xc0000081, false, 0},
        {FEATURE_LM, 0xc0000082, false, 0},
        {FEATURE_LM, 0xc0000084, false, 0},
        {FEATURE_LM, 0xc0000100, false, 0},
        {FEATURE_LM, 0xc0000102, true, 0},
        {FEATURE_LA57, 0xc0000100, true, BIT(48)}, // canonical in 57 bits
    };
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        for (unsigned n = 0; n < 4; n++) {
            struct fixture f;
            unsigned feature = rows[i].feature, on = n & 1;
            fixture_start(&f, n < 2 ? "max" : "max,vendor=AuthenticAMD");
            f.model.features[feature / 64] &= ~BIT(feature % 64);
            f.model.features[feature / 64] |= on ? BIT(feature % 64) : 0;
            if (access_msr(&f, rows[i].number, rows[i].write, rows[i].value) != on)
                fail_msg("%s %s: MSR %x", model_feature_name((enum cpu_feature)feature), on ? "on" : "off",
                         rows[i].number);
            fixture_end(&f);
        }
    }
    // Registers of a vendor. HWCR of AMD's says that the TSC is constant, DE_CFG that LFENCE waits.
    static const struct {
        const char *model;
        bool amd;
    } vendors[] = {
        {"max", false}, {"qemu64", true}, {"max,vendor=AuthenticAMD", true}, {"qemu64,vendor=GenuineIntel", false}};
    for (unsigned i = 0; i < ARRAY_SIZE(vendors); i++) {
        struct fixture f;
        fixture_start(&f, vendors[i].model);
        assert_int_equal(access_msr(&f, 0xc0010015, false, 0), vendors[i].amd);
        assert_true(!vendors[i].amd || f.cpu->var[VAR_RAX] == BIT(24));
        assert_int_equal(access_msr(&f, 0xc0011029, false, 0), vendors[i].amd);
        assert_int_equal(access_msr(&f, 0x1a0, false, 0), !vendors[i].amd);
        fixture_end(&f);
    }
    // TSC_AUX comes with either of two.
    for (unsigned i = 0; i < 4; i++) {
        struct fixture f;
        fixture_start(&f, i == 0 ? "max" : i == 1 ? "max,-rdtscp" : i == 2 ? "max,-rdpid" : "max,-rdtscp,-rdpid");
        assert_int_equal(access_msr(&f, 0xc0000103, false, 0), i != 3);
        fixture_end(&f);
    }
}

static uint64_t msr_value(struct fixture *f, uint32_t number)
{
    assert_true(access_msr(f, number, false, 0));
    return (uint32_t)f->cpu->var[VAR_RAX] | f->cpu->var[VAR_RDX] << 32;
}

/// IA32_TSC_ADJUST moves with the time-stamp counter, and moves it (SDM vol. 3 sec. 17.17.3).
static void adjusted_time(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    uint64_t before = msr_value(&f, 0x10);
    assert_true(msr_value(&f, 0x3b) == 0);
    assert_true(access_msr(&f, 0x3b, true, 5000));
    assert_true(msr_value(&f, 0x10) == before + 5000); // no instruction was counted between
    assert_true(access_msr(&f, 0x10, true, BIT(40)));
    assert_true(msr_value(&f, 0x10) == BIT(40));
    assert_true(msr_value(&f, 0x3b) == BIT(40) - before);
    fixture_end(&f);
}

/// XGETBV with ECX = 1 is #GP without its feature: which components are in use.
static void extended_control(void **state)
{
    for (unsigned on = 0; on < 2; on++) {
        struct fixture f;
        fixture_start(&f, on ? "max" : "max,-xgetbv1");
        enter_long(&f, 0);
        assert_true(set_cr4(&f, f.cpu->cr4 | CR4_OSXSAVE));
        f.cpu->var[VAR_RCX] = 1;
        helper_xgetbv(f.cpu, 0, 0, 0);
        expect_fault(&f, on ? -1 : VECTOR_GP, 0);
        fixture_end(&f);
    }
}

/// No processor with one of these bits has one of the bugs; bits that need an MSR of their own are not set.
static void no_bugs(void **state)
{
    static const uint8_t safe[] = {0, 1, 3, 4, 5, 6, 8, 13, 14, 15, 20, 24, 26, 27, 62};
    struct fixture f;
    uint64_t expected = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(safe); i++)
        expected |= BIT(safe[i]);
    fixture_start(&f, "max");
    assert_true(access_msr(&f, 0x10a, false, 0));
    assert_true(((uint32_t)f.cpu->var[VAR_RAX] | f.cpu->var[VAR_RDX] << 32) == expected);
    assert_false(access_msr(&f, 0x10a, true, 0));
    assert_int_equal(model_cpuid(f.cpu, 7, 0).eax, 2);
    assert_int_equal(model_cpuid(f.cpu, 7, 2).edx, 0x30);
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_follow_features),
        cmocka_unit_test(each_feature_is_its_bit),
        cmocka_unit_test(what_max_reports_is_tested),
        cmocka_unit_test(cr4_follows_features),
        cmocka_unit_test(pcide_rules),
        cmocka_unit_test(invpcid_faults),
        cmocka_unit_test(msrs_follow_features),
        cmocka_unit_test(adjusted_time),
        cmocka_unit_test(extended_control),
        cmocka_unit_test(no_bugs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
