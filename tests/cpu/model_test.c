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
                                       "max,tsc-frequency=3000000000"};
    static const struct {
        const char *text, *part;
    } bad[] = {{"nehalem", "there are max"},
               {"", "unknown model"},
               {"max,+nonsense", "unknown feature"},
               {"max,avx512=on", "unknown feature"},
               {"max,smap=perhaps", "on or off"},
               {"max,+monitor", "not implemented"},
               {"max,tsc-frequency=1", "tsc-frequency"},
               {"max,tsc-frequency=9000000000", "tsc-frequency"}};
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

/// Every feature can be switched off, and exactly one bit of CPUID goes with it.
static void each_feature_is_one_bit(void **state)
{
    static const uint32_t leaves[] = {1, 7, 0x80000001u, 0x80000007u};
    struct fixture f;
    unsigned tested = 0;
    fixture_start(&f, "max");
    for (unsigned feature = 1; feature < FEATURE_COUNT; feature++) {
        unsigned bits = 0;
        if (!model_has(&f.model, (enum cpu_feature)feature))
            continue;
        for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++) {
            struct cpuid_result with = leaf(&f, leaves[i]), without;
            f.model.features[feature / 64] ^= BIT(feature % 64);
            without = leaf(&f, leaves[i]);
            f.model.features[feature / 64] ^= BIT(feature % 64);
            if (feature == FEATURE_CLFLUSH) // has its line size, too
                without.ebx = with.ebx;
            bits += (unsigned)__builtin_popcount(with.eax ^ without.eax) +
                    (unsigned)__builtin_popcount(with.ebx ^ without.ebx) +
                    (unsigned)__builtin_popcount(with.ecx ^ without.ecx) +
                    (unsigned)__builtin_popcount(with.edx ^ without.edx);
        }
        if (feature >= FEATURE_XSAVEOPT && feature <= FEATURE_XSAVES) {
            struct cpuid_result with = model_cpuid(f.cpu, 0xd, 1), without;
            f.model.features[feature / 64] ^= BIT(feature % 64);
            without = model_cpuid(f.cpu, 0xd, 1);
            f.model.features[feature / 64] ^= BIT(feature % 64);
            bits += (unsigned)__builtin_popcount(with.eax ^ without.eax);
        }
        if (feature != FEATURE_CMOV) // decides how many leaves there are
            assert_int_equal(bits, 1);
        tested++;
    }
    assert_true(tested > 40);
    fixture_end(&f);
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
        cmocka_unit_test(names),     cmocka_unit_test(identification), cmocka_unit_test(each_feature_is_one_bit),
        cmocka_unit_test(frequency), cmocka_unit_test(dynamic_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
