// CPU models: parsing, and that CPUID says what the model has.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "support_system.h"

static void names(void **state)
{
    static const char *const good[] = {"max",
                                       "qemu64",
                                       "486",
                                       "pentium",
                                       "max,-smap,+rdrand",
                                       "max,smep=off,tsc-adjust=on",
                                       "qemu64,tsc_adjust",
                                       "max,tsc-frequency=3000000000",
                                       "max,vendor=AuthenticAMD,family=25,model=0x61,stepping=2",
                                       "max,model-id=My CPU,check,enforce"};
    static const struct {
        const char *text, *part;
    } bad[] = {{"nehalem", "there are host, max"},
               {"", "unknown model"},
               {"max,+nonsense", "unknown feature"},
               {"max,avx512=on", "unknown feature"},
               {"max,smap=perhaps", "on or off"},
               {"max,+fsrm", "not implemented"},
               {"max,tsc-frequency=1", "tsc-frequency"},
               {"max,tsc-frequency=9000000000", "tsc-frequency"},
               {"max,vendor=Intel", "12 characters"},
               {"max,family=300", "up to 270"},
               {"max,model=-1", "up to 255"},
               {"max,stepping=x", "up to 15"}};
    for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
        struct cpu_model model;
        struct error error = {0};
        assert_true(model_parse(good[i], &model, &error));
    }
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct cpu_model model;
        struct error error = {0};
        assert_false(model_parse(bad[i].text, &model, &error));
        assert_non_null(strstr(error.text, bad[i].part));
    }
    struct cpu_model model;
    struct error error = {0};
    char text[2000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    assert_false(model_parse(text, &model, &error));
    assert_true(model_parse("max,-smap", &model, &error));
    assert_false(model_has(&model, FEATURE_SMAP));
    assert_true(model_has(&model, FEATURE_SMEP));
}

static struct cpuid_result leaf(struct fixture *f, uint32_t n)
{
    return model_cpuid(f->cpu, n, 0);
}

static void identification(void **state)
{
    struct fixture f;
    struct cpuid_result r;
    char brand[49] = "";
    fixture_start(&f, "max");
    r = leaf(&f, 0);
    assert_memory_equal(&r.ebx, "Genu", 4);
    assert_memory_equal(&r.edx, "ineI", 4);
    assert_memory_equal(&r.ecx, "ntel", 4);
    assert_int_equal(r.eax, 0x16);
    assert_int_equal(leaf(&f, 1).eax, 0x806f8); // family 6, model 143, stepping 8
    for (unsigned i = 0; i < 3; i++) {
        r = leaf(&f, 0x80000002u + i);
        memcpy(brand + i * 16, &r, 16);
    }
    assert_string_equal(brand, f.model.brand);
    r = leaf(&f, 0x80000008u);
    assert_int_equal(r.eax & 0xff, f.model.physical_bits);
    assert_int_equal(r.eax >> 8 & 0xff, 48);
    // Beyond the end: the last basic leaf.
    struct cpuid_result a = leaf(&f, 0x77), b = leaf(&f, 0x16);
    assert_memory_equal(&a, &b, sizeof a);
    fixture_end(&f);
    fixture_start(&f, "486");
    assert_int_equal(leaf(&f, 1).eax, 0x480);
    assert_int_equal(leaf(&f, 1).edx, 3);
    assert_int_equal(leaf(&f, 0).eax, 1);
    fixture_end(&f);
    fixture_start(&f, "qemu64");
    assert_int_equal(leaf(&f, 1).eax, 0x60fb1);
    assert_memory_equal(&(uint32_t){leaf(&f, 0).ebx}, "Auth", 4);
    assert_int_equal(leaf(&f, 0x80000001u).edx & 1, 1); // AMD repeats leaf 1
    fixture_end(&f);
}

static void called_otherwise(void **state)
{
    struct fixture f;
    fixture_start(&f, "max,vendor=AuthenticAMD,family=25,model=0x61,stepping=2,model-id=Ours,-lm");
    assert_int_equal(leaf(&f, 1).eax, 0x00a60f12);
    assert_memory_equal(&(uint32_t){leaf(&f, 0).ebx}, "Auth", 4);
    assert_memory_equal(&(uint32_t){leaf(&f, 0x80000002u).eax}, "Ours", 4);
    assert_int_equal(leaf(&f, 0x80000008u).eax >> 8 & 0xff, 32); // no long mode
    fixture_end(&f);
}

/// What a feature needs goes first: silently when the model had it, an error when the user asked for it.
static void dependencies(void **state)
{
    static const struct {
        const char *text;
        uint8_t off, on;
    } good[] = {{"max,-sse", FEATURE_SSE42, FEATURE_MMX},
                {"max,-sse", FEATURE_LM, FEATURE_FXSR},
                {"max,-lm", FEATURE_PCID, FEATURE_PAE},
                {"max,-fpu", FEATURE_MMX, FEATURE_CMOV},
                {"max,-apic", FEATURE_X2APIC, FEATURE_TSC},
                {"max,-spec-ctrl", FEATURE_BHI_CTRL, FEATURE_MSR},
                {"max,sse=off,sse=on", FEATURE_LA57, FEATURE_SSE42}};
    static const struct {
        const char *text, *part;
    } bad[] = {{"max,-sse,+sse2", "'sse2' needs 'sse'"},
               {"max,+ssse3,-pni", "'ssse3' needs 'pni'"},
               {"486,+sse", "'sse' needs 'fxsr'"},
               {"pentium,lm=on", "'lm' needs"}};
    struct cpu_model model;
    struct error error = {0};
    for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
        assert_true(model_parse(good[i].text, &model, &error));
        assert_false(model_has(&model, (enum cpu_feature)good[i].off));
        assert_true(model_has(&model, (enum cpu_feature)good[i].on));
    }
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        error = (struct error){0};
        assert_false(model_parse(bad[i].text, &model, &error));
        if (!strstr(error.text, bad[i].part))
            fail_msg("%s: %s", bad[i].text, error.text);
    }
    assert_true(model_parse("max,+la57", &model, &error) && model.linear_bits == 57);
    assert_true(model_parse("max,+sse4_1,+lzcnt,sha=off", &model, &error));
    assert_true(model_has(&model, FEATURE_ABM) && !model_has(&model, FEATURE_SHA));
}

/// `host` is what both have, never more; and says so on other hosts.
static void host(void **state)
{
    struct cpu_model model, asked = {0};
    struct error error = {0};
    bool good = model_parse("host", &model, &error);
    if (!model_ask_host(&asked)) {
        assert_false(good);
        assert_non_null(strstr(error.text, "x86"));
        return;
    }
    assert_true(good);
    assert_string_equal(model.vendor, asked.vendor);
    assert_string_equal(model.brand, asked.brand);
    assert_int_equal(model_signature(&model), model_signature(&asked));
    assert_true(model_has(&model, FEATURE_SSE2) && model_has(&model, FEATURE_LM)); // of every x86-64 host
    for (unsigned i = 1; i < FEATURE_COUNT; i++) {
        enum cpu_feature feature = (enum cpu_feature)i;
        if (model_has(&model, feature))
            assert_true(model_implements(feature));
        static const uint8_t always[] = {FEATURE_HYPERVISOR, FEATURE_SPEC_CTRL, FEATURE_ARCH_CAPABILITIES,
                                         FEATURE_BHI_CTRL,   FEATURE_MCDT_NO,   FEATURE_AMD_SSB_NO,
                                         FEATURE_BTC_NO,     FEATURE_SRSO_NO,   FEATURE_LFENCE_SERIALIZES,
                                         FEATURE_AUTO_IBRS,  FEATURE_TSA_SQ_NO, FEATURE_TSA_L1_NO};
        if (model_has(&model, feature) && !model_has(&asked, feature))
            assert_non_null(memchr(always, (int)i, sizeof always));
    }
    assert_true(model_parse("host,-sse4.2", &model, &error) && !model_has(&model, FEATURE_SSE42));
}

/// TSC = crystal * numerator / denominator, computed as a guest does in 32 bits of kHz.
static void frequency(void **state)
{
    static const char *const texts[] = {"max", "max,tsc-frequency=4200000000", "max,tsc-frequency=1000000"};
    for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
        struct fixture f;
        struct cpuid_result r;
        fixture_start(&f, texts[i]);
        r = leaf(&f, 0x15);
        assert_true(r.eax > 0);
        assert_int_equal((uint32_t)(r.ecx / 1000) * r.ebx / r.eax, f.model.tsc_hz / 1000);
        fixture_end(&f);
    }
}

static void dynamic_bits(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    assert_false(leaf(&f, 1).ecx >> 27 & 1);
    f.cpu->cr4 |= CR4_OSXSAVE;
    assert_true(leaf(&f, 1).ecx >> 27 & 1);
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),        cmocka_unit_test(identification), cmocka_unit_test(called_otherwise),
        cmocka_unit_test(dependencies), cmocka_unit_test(host),           cmocka_unit_test(frequency),
        cmocka_unit_test(dynamic_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
