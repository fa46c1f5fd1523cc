// Loads of segment registers, LDTR and TR, and the questions about descriptors: every check and its error code.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support_system.h"

static void loads(void **state)
{
    static const struct {
        unsigned cpl, segment;
        uint16_t selector;
        int vector, error;
    } cases[] = {
        {0, SEG_DS, SEL_DATA0, -1, 0},
        {0, SEG_DS, SEL_DATA3, -1, 0},
        {0, SEG_DS, 0, -1, 0},
        {0, SEG_DS, 3, -1, 0},
        {0, SEG_ES, SEL_CODE0, -1, 0}, // readable code
        {0, SEG_FS, SEL_EXECUTE_ONLY, VECTOR_GP, SEL_EXECUTE_ONLY},
        {0, SEG_GS, SEL_READONLY, -1, 0},
        {0, SEG_DS, SEL_ABSENT, VECTOR_NP, SEL_ABSENT}, // DPL 3
        {0, SEG_DS, SEL_TSS, VECTOR_GP, SEL_TSS},
        {0, SEG_DS, SEL_DATA0 | 3, VECTOR_GP, SEL_DATA0}, // RPL > DPL
        {3, SEG_DS, SEL_DATA0, VECTOR_GP, SEL_DATA0},     // CPL > DPL
        {3, SEG_DS, SEL_CONFORMING, -1, 0},               // conforming code: no privilege check
        {0, SEG_DS, GDT_LIMIT + 1, VECTOR_GP, GDT_LIMIT + 1},
        {0, SEG_DS, 0x0c, VECTOR_GP, 0x0c}, // LDT without LDTR
        {0, SEG_SS, SEL_DATA0, -1, 0},
        {0, SEG_SS, 0, VECTOR_GP, 0},
        {0, SEG_SS, SEL_DATA3, VECTOR_GP, SEL_DATA3 & ~3},
        {0, SEG_SS, SEL_DATA0 | 3, VECTOR_GP, SEL_DATA0},
        {0, SEG_SS, SEL_READONLY, VECTOR_GP, SEL_READONLY},
        {0, SEG_SS, SEL_CODE0, VECTOR_GP, SEL_CODE0},
        {0, SEG_SS, SEL_STACK_ABSENT, VECTOR_SS, SEL_STACK_ABSENT},
        {3, SEG_SS, SEL_DATA3, -1, 0},
        {1, SEG_SS, SEL_DATA1, -1, 0},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        struct fixture f;
        fixture_start(&f, "max");
        enter_protected(&f, cases[i].cpl);
        struct segment before = f.cpu->segment[cases[i].segment];
        helper_load_segment(f.cpu, cases[i].selector, 0, cases[i].segment);
        if (cases[i].vector >= 0)
            assert_memory_equal(&before, &f.cpu->segment[cases[i].segment], sizeof before);
        else
            assert_int_equal(f.cpu->segment[cases[i].segment].selector, cases[i].selector);
        expect_fault(&f, cases[i].vector, cases[i].error);
        fixture_end(&f);
    }
}

static void load_fills_hidden_part(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_protected(&f, 0);
    poke_descriptor(&f, SEL_FREE, 0x12345678, 0x54321, 0x92, 0xc);
    helper_load_segment(f.cpu, SEL_FREE, 0, SEG_FS);
    expect_fault(&f, -1, 0);
    assert_int_equal(f.cpu->var[VAR_FS_BASE], 0x12345678);
    assert_int_equal(f.cpu->segment[SEG_FS].limit, 0x54321fff);
    assert_int_equal(f.cpu->segment[SEG_FS].rights, 0xc093);
    assert_int_equal(peek(&f, GDT_BASE + SEL_FREE + 5, 1), 0x93); // accessed
    // A null selector makes it unusable.
    helper_load_segment(f.cpu, 0, 0, SEG_FS);
    assert_true(f.cpu->segment[SEG_FS].rights & SEGMENT_UNUSABLE);
    fixture_end(&f);
}

static void stack_shadow(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_protected(&f, 0);
    helper_load_segment(f.cpu, SEL_DATA0, 0, SEG_SS | 0x100); // MOV, POP
    assert_int_equal(f.cpu->shadow, SHADOW_MOV_SS);
    f.cpu->shadow = 0;
    helper_load_segment(f.cpu, SEL_DATA0, 0, SEG_SS); // LSS
    assert_int_equal(f.cpu->shadow, 0);
    helper_load_segment(f.cpu, SEL_READONLY, 0, SEG_SS | 0x100); // faults: no shadow
    assert_int_equal(f.cpu->shadow, 0);
    expect_fault(&f, VECTOR_GP, SEL_READONLY);
    fixture_end(&f);
}

static void real_mode_keeps_limit(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    f.cpu->segment[SEG_DS].limit = 0xffffffff;
    helper_load_segment(f.cpu, 0x1234, 0, SEG_DS);
    assert_int_equal(f.cpu->var[VAR_DS_BASE], 0x12340);
    assert_int_equal(f.cpu->segment[SEG_DS].limit, 0xffffffff);
    enter_vm86(&f, 3);
    helper_load_segment(f.cpu, 0x1234, 0, SEG_DS);
    assert_int_equal(f.cpu->segment[SEG_DS].limit, 0xffff);
    fixture_end(&f);
}

static void null_stack_in_64_bit_code(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_long(&f, 0);
    helper_load_segment(f.cpu, 0, 0, SEG_SS);
    expect_fault(&f, -1, 0);
    helper_load_segment(f.cpu, 3, 0, SEG_SS); // RPL is not CPL
    expect_fault(&f, VECTOR_GP, 0);
    fixture_end(&f);
}

static void ldt_and_task(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_protected(&f, 0);
    helper_load_ldt(f.cpu, SEL_LDT, 0, 0);
    expect_fault(&f, -1, 0);
    assert_int_equal(f.cpu->segment[SEG_LDTR].base, LDT_BASE);
    poke(&f, LDT_BASE + 8, peek(&f, GDT_BASE + SEL_DATA0, 8), 8);
    helper_load_segment(f.cpu, 0x0c, 0, SEG_DS); // LDT entry 1
    expect_fault(&f, -1, 0);
    helper_load_ldt(f.cpu, SEL_LDT | 4, 0, 0);
    expect_fault(&f, VECTOR_GP, SEL_LDT | 4);
    helper_load_ldt(f.cpu, SEL_TSS2, 0, 0);
    expect_fault(&f, VECTOR_GP, SEL_TSS2);
    helper_load_task(f.cpu, SEL_TSS2, 0, 0);
    expect_fault(&f, -1, 0);
    assert_int_equal(peek(&f, GDT_BASE + SEL_TSS2 + 5, 1), 0x8b); // busy
    helper_load_task(f.cpu, SEL_TSS2, 0, 0);
    expect_fault(&f, VECTOR_GP, SEL_TSS2);
    helper_load_task(f.cpu, 0, 0, 0);
    expect_fault(&f, VECTOR_GP, 0);
    fixture_end(&f);
}

static void questions(void **state)
{
    static const struct {
        unsigned cpl, op;
        uint16_t selector;
        bool yes;
        uint32_t value;
    } cases[] = {
        {0, SYSTEM_LAR, SEL_DATA0, true, 0xcf9200},
        {0, SYSTEM_LSL, SEL_DATA0, true, 0xffffffff},
        {3, SYSTEM_LAR, SEL_DATA0, false, 0},
        {3, SYSTEM_LAR, SEL_CONFORMING, true, 0xcf9e00},
        {0, SYSTEM_LAR, SEL_TSS2, true, 0x008900},
        {0, SYSTEM_LSL, SEL_TSS2, true, 0x67},
        {0, SYSTEM_LAR, 0, false, 0},
        {0, SYSTEM_LAR, GDT_LIMIT + 1, false, 0},
        {0, SYSTEM_VERR, SEL_DATA0, true, 0},
        {0, SYSTEM_VERW, SEL_DATA0, true, 0},
        {0, SYSTEM_VERW, SEL_READONLY, false, 0},
        {0, SYSTEM_VERR, SEL_EXECUTE_ONLY, false, 0},
        {0, SYSTEM_VERW, SEL_CODE0, false, 0},
        {0, SYSTEM_VERR, SEL_TSS2, false, 0},
        {3, SYSTEM_VERR, SEL_DATA3, true, 0},
        {0, SYSTEM_VERR, SEL_DATA0 | 3, false, 0},
    };
    struct fixture f;
    fixture_start(&f, "max");
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        enter_protected(&f, cases[i].cpl);
        uint64_t result = helper_query_descriptor(f.cpu, cases[i].selector, 0, cases[i].op);
        expect_fault(&f, -1, 0);
        assert_int_equal(result >> 32, cases[i].yes);
        if (cases[i].yes && cases[i].op <= SYSTEM_LSL)
            assert_int_equal((uint32_t)result, cases[i].value);
    }
    // Gates and 16-bit TSSs answer to LAR in legacy mode only.
    poke_call_gate(&f, SEL_GATE, SEL_CODE0, 0, 0xec, 0);
    enter_protected(&f, 0);
    assert_true(helper_query_descriptor(f.cpu, SEL_GATE, 0, SYSTEM_LAR) >> 32);
    assert_false(helper_query_descriptor(f.cpu, SEL_GATE, 0, SYSTEM_LSL) >> 32);
    assert_int_equal(helper_adjust_rpl(f.cpu, 0x10, 0x13, 0), 0x13 | BIT(32));
    assert_int_equal(helper_adjust_rpl(f.cpu, 0x13, 0x10, 0), 0x13);
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads),
        cmocka_unit_test(load_fills_hidden_part),
        cmocka_unit_test(stack_shadow),
        cmocka_unit_test(real_mode_keeps_limit),
        cmocka_unit_test(null_stack_in_64_bit_code),
        cmocka_unit_test(ldt_and_task),
        cmocka_unit_test(questions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
