// Far transfers: segments, call gates with stack switch and parameters, returns, task switches, system calls.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support_system.h"

static uint64_t jump(struct fixture *f, uint16_t selector, uint32_t offset)
{
    return helper_far_direct(f->cpu, offset | (uint64_t)selector << 32, 0x8007, 4);
}

static uint64_t call(struct fixture *f, uint16_t selector, uint32_t offset)
{
    return helper_far_direct(f->cpu, offset | (uint64_t)selector << 32, 0x8007, 4 | 1 << 8);
}

static void jump_checks(void **state)
{
    static const struct {
        unsigned cpl;
        uint16_t selector;
        int vector, error;
    } cases[] = {
        {0, SEL_CODE0, -1, 0},
        {0, 0, VECTOR_GP, 0},
        {0, SEL_DATA0, VECTOR_GP, SEL_DATA0},
        {0, SEL_CODE3, VECTOR_GP, SEL_CODE3 & ~3},
        {0, SEL_CODE0 | 1, VECTOR_GP, SEL_CODE0},
        {3, SEL_CODE3 & ~3, -1, 0},
        {3, SEL_CODE0, VECTOR_GP, SEL_CODE0},
        {3, SEL_CONFORMING, -1, 0},
        {0, SEL_LDT, VECTOR_GP, SEL_LDT},
        {0, GDT_LIMIT + 1, VECTOR_GP, GDT_LIMIT + 1},
    };
    struct fixture f;
    fixture_start(&f, "max");
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        enter_protected(&f, cases[i].cpl);
        uint64_t rip = jump(&f, cases[i].selector, 0x9000);
        if (cases[i].vector < 0) {
            assert_int_equal(rip, 0x9000);
            assert_int_equal(f.cpu->segment[SEG_CS].selector, (cases[i].selector & ~3u) | cases[i].cpl);
        }
        assert_int_equal(f.cpu->cpl, cases[i].cpl);
        expect_fault(&f, cases[i].vector, cases[i].error);
    }
    // Beyond the limit.
    enter_protected(&f, 0);
    jump(&f, SEL_CODE16, 0x10000);
    expect_fault(&f, VECTOR_GP, 0);
    fixture_end(&f);
}

static void call_and_return(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_protected(&f, 0);
    assert_int_equal(call(&f, SEL_CODE16, 0x1234), 0x1234);
    assert_int_equal(f.cpu->mode & MODE_CODE_MASK, MODE_CODE16);
    assert_int_equal(f.cpu->var[VAR_RSP], STACK0 - 8);
    assert_int_equal(peek(&f, STACK0 - 8, 4), 0x8007);
    assert_int_equal(peek(&f, STACK0 - 4, 4), SEL_CODE0);
    assert_int_equal(helper_far_return(f.cpu, 0, 0, 4 | 16 << 16), 0x8007);
    assert_int_equal(f.cpu->var[VAR_RSP], STACK0 + 16);
    assert_int_equal(f.cpu->mode & MODE_CODE_MASK, MODE_CODE32);
    fixture_end(&f);
}

static void real_mode(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    segment_set_real(f.cpu, SEG_SS, 0x600, false);
    segment_set_real(f.cpu, SEG_CS, 0x500, false);
    f.cpu->var[VAR_RSP] = 0x100;
    assert_int_equal(helper_far_direct(f.cpu, 0x42 | UINT64_C(0x7777) << 32, 0x1005, 2 | 1 << 8), 0x42);
    assert_int_equal(f.cpu->var[VAR_CS_BASE], 0x77770);
    assert_int_equal(peek(&f, 0x60fc, 4), 0x05001005);
    assert_int_equal(helper_far_return(f.cpu, 0, 0, 2), 0x1005);
    assert_int_equal(f.cpu->var[VAR_CS_BASE], 0x5000);
    fixture_end(&f);
}

static void call_gate_with_parameters(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_protected(&f, 3);
    poke_call_gate(&f, SEL_GATE, SEL_CODE0, 0x9000, 0xec, 2);
    f.cpu->var[VAR_RSP] = STACK3 - 8;
    poke(&f, STACK3 - 8, 0xaaaa, 4);
    poke(&f, STACK3 - 4, 0xbbbb, 4);
    assert_int_equal(call(&f, SEL_GATE, 0x55555), 0x9000);
    assert_int_equal(f.cpu->cpl, 0);
    assert_int_equal(f.cpu->var[VAR_RSP], STACK0 - 24);
    assert_int_equal(peek(&f, STACK0 - 24, 4), 0x8007);
    assert_int_equal(peek(&f, STACK0 - 20, 4), SEL_CODE3);
    assert_int_equal(peek(&f, STACK0 - 16, 4), 0xaaaa);
    assert_int_equal(peek(&f, STACK0 - 12, 4), 0xbbbb);
    assert_int_equal(peek(&f, STACK0 - 8, 4), STACK3 - 8);
    assert_int_equal(peek(&f, STACK0 - 4, 4), SEL_DATA3);
    assert_int_equal(helper_far_return(f.cpu, 0, 0, 4 | 8 << 16), 0x8007);
    assert_int_equal(f.cpu->cpl, 3);
    assert_int_equal(f.cpu->var[VAR_RSP], STACK3);
    assert_int_equal(f.cpu->segment[SEG_SS].selector, SEL_DATA3);
    // A jump through the gate may not change the ring; its DPL counts.
    jump(&f, SEL_GATE, 0);
    expect_fault(&f, VECTOR_GP, SEL_CODE0);
    poke_call_gate(&f, SEL_GATE, SEL_CODE0, 0x9000, 0x8c, 2);
    call(&f, SEL_GATE, 0);
    expect_fault(&f, VECTOR_GP, SEL_GATE);
    poke_call_gate(&f, SEL_GATE, SEL_CODE0, 0x9000, 0x6c, 2);
    call(&f, SEL_GATE, 0);
    expect_fault(&f, VECTOR_NP, SEL_GATE);
    fixture_end(&f);
}

static void fill_task(struct fixture *f, uint16_t code, uint16_t data, uint32_t flags)
{
    poke(f, TSS2_BASE + 0x20, 0x9000, 4);
    poke(f, TSS2_BASE + 0x24, flags, 4);
    for (unsigned i = 0; i < 8; i++)
        poke(f, TSS2_BASE + 0x28 + i * 4, 0x1000 + i, 4);
    for (unsigned i = 0; i < 6; i++)
        poke(f, TSS2_BASE + 0x48 + i * 4, i == SEG_CS ? code : data, 4);
    poke(f, TSS2_BASE + 0x38, 0x5800, 4); // ESP
    poke(f, TSS2_BASE + 0x60, SEL_LDT, 4);
}

static void task_call_and_return(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_protected(&f, 0);
    fill_task(&f, SEL_CODE0, SEL_DATA0, 2 | FLAG_CF);
    f.cpu->var[VAR_RBX] = 0x1234;
    assert_int_equal(call(&f, SEL_TSS2, 0), 0x9000);
    expect_fault(&f, -1, 0);
    assert_int_equal(f.cpu->segment[SEG_TR].selector, SEL_TSS2);
    assert_int_equal(f.cpu->segment[SEG_LDTR].base, LDT_BASE);
    assert_int_equal(cpu_rflags(f.cpu), 2 | FLAG_CF | FLAG_NT);
    assert_int_equal(f.cpu->var[VAR_RBX], 0x1003);
    assert_int_equal(f.cpu->var[VAR_RSP], 0x5800);
    assert_true(f.cpu->cr0 & CR0_TS);
    assert_int_equal(peek(&f, TSS2_BASE, 2), SEL_TSS); // back link
    assert_int_equal(peek(&f, TSS_BASE + 0x20, 4), 0x8007);
    assert_int_equal(peek(&f, TSS_BASE + 0x34, 4), 0x1234);
    assert_int_equal(peek(&f, GDT_BASE + SEL_TSS + 5, 1), 0x8b); // both busy
    assert_int_equal(peek(&f, GDT_BASE + SEL_TSS2 + 5, 1), 0x8b);
    // A busy task cannot be called.
    call(&f, SEL_TSS2, 0);
    expect_fault(&f, VECTOR_GP, SEL_TSS2);
    // IRET with NT goes back.
    assert_int_equal(helper_iret(f.cpu, 0x9004, 0, 4), 0x8007);
    expect_fault(&f, -1, 0);
    assert_int_equal(f.cpu->segment[SEG_TR].selector, SEL_TSS);
    assert_int_equal(f.cpu->var[VAR_RBX], 0x1234);
    assert_int_equal(peek(&f, GDT_BASE + SEL_TSS2 + 5, 1), 0x89);
    assert_int_equal(peek(&f, TSS2_BASE + 0x20, 4), 0x9004);
    assert_int_equal(peek(&f, TSS2_BASE + 0x24, 4) & FLAG_NT, 0);
    fixture_end(&f);
}

static void task_jump_and_gate(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_protected(&f, 0);
    fill_task(&f, SEL_CODE3, SEL_DATA3, 2);
    assert_int_equal(jump(&f, SEL_TSS2, 0), 0x9000);
    assert_int_equal(f.cpu->cpl, 3);
    assert_int_equal(peek(&f, GDT_BASE + SEL_TSS + 5, 1), 0x89); // not busy any more
    assert_false(f.cpu->var[VAR_FLAGS] & FLAG_NT);
    // Too short.
    enter_protected(&f, 0);
    poke_descriptor(&f, SEL_TSS2, TSS2_BASE, 0x66, 0x89, 0);
    jump(&f, SEL_TSS2, 0);
    expect_fault(&f, VECTOR_TS, SEL_TSS2);
    // An exception through a task gate pushes its error code on the new task's stack.
    poke_descriptor(&f, SEL_TSS2, TSS2_BASE, 0x67, 0x89, 0);
    fill_task(&f, SEL_CODE0, SEL_DATA0, 2);
    enter_protected(&f, 0);
    poke_gate(&f, VECTOR_DF, SEL_TSS2, 0, 0x85);
    cpu_raise_error(f.cpu, VECTOR_DF, 0);
    cpu_deliver_fault(f.cpu);
    assert_int_equal(f.cpu->activity, ACTIVITY_RUN);
    assert_int_equal(f.cpu->var[VAR_RIP], 0x9000);
    assert_int_equal(f.cpu->var[VAR_RSP], 0x5800 - 4);
    assert_int_equal(peek(&f, TSS_BASE + 0x20, 4), 0x8000);
    assert_int_equal(peek(&f, TSS2_BASE, 2), SEL_TSS);
    fixture_end(&f);
}

static void fault_in_new_task(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_protected(&f, 0);
    fill_task(&f, SEL_CODE0, SEL_READONLY, 2); // bad stack
    poke_gate(&f, VECTOR_TS, SEL_CODE0, 0xa000, 0x8e);
    // The handler cannot push on the bad stack either: #TS, then #SS during delivery: double fault by a task gate to
    // nowhere, so shutdown. What matters: the new task is current, and the host is fine.
    jump(&f, SEL_TSS2, 0);
    assert_false(f.cpu->fault.pending);
    assert_int_equal(f.cpu->segment[SEG_TR].selector, SEL_TSS2);
    assert_int_equal(f.cpu->activity, ACTIVITY_SHUTDOWN);
    fixture_end(&f);
}

static void task_of_16_bits(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_protected(&f, 0);
    poke_descriptor(&f, SEL_TSS2, TSS2_BASE, 0x2b, 0x81, 0);
    poke(&f, TSS2_BASE + 0x0e, 0x9000, 2);
    poke(&f, TSS2_BASE + 0x10, 2, 2);
    poke(&f, TSS2_BASE + 0x1a, 0x5800, 2); // SP
    poke(&f, TSS2_BASE + 0x22, SEL_DATA0, 2);
    poke(&f, TSS2_BASE + 0x24, SEL_CODE0, 2);
    poke(&f, TSS2_BASE + 0x26, SEL_DATA0, 2);
    poke(&f, TSS2_BASE + 0x28, SEL_DATA0, 2);
    assert_int_equal(jump(&f, SEL_TSS2, 0), 0x9000);
    expect_fault(&f, -1, 0);
    assert_int_equal(f.cpu->var[VAR_RSP] & 0xffff, 0x5800);
    assert_int_equal(f.cpu->segment[SEG_FS].selector, 0);
    fixture_end(&f);
}

static void system_calls(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_long(&f, 3);
    f.cpu->star = UINT64_C(0x0023001000000000);
    f.cpu->lstar = UINT64_C(0xffffffff81000000);
    f.cpu->sfmask = FLAG_IF | FLAG_DF;
    cpu_set_rflags(f.cpu, 2 | FLAG_IF | FLAG_ZF);
    assert_true(helper_syscall(f.cpu, 0x8002, cpu_flags_arithmetic(f.cpu), 0) == f.cpu->lstar);
    assert_int_equal(f.cpu->cpl, 0);
    assert_int_equal(f.cpu->segment[SEG_CS].selector, 0x10);
    assert_int_equal(f.cpu->segment[SEG_SS].selector, 0x18);
    assert_int_equal(f.cpu->var[VAR_RCX], 0x8002);
    assert_int_equal(f.cpu->var[VAR_R11], 2 | FLAG_IF | FLAG_ZF);
    assert_int_equal(cpu_rflags(f.cpu), 2 | FLAG_ZF);
    assert_int_equal(helper_sysret(f.cpu, 0, 0, 8), 0x8002);
    assert_int_equal(f.cpu->cpl, 3);
    assert_int_equal(f.cpu->segment[SEG_CS].selector, 0x33);
    assert_int_equal(f.cpu->segment[SEG_SS].selector, 0x2b);
    assert_int_equal(cpu_rflags(f.cpu), 2 | FLAG_IF | FLAG_ZF);
    helper_sysret(f.cpu, 0, 0, 8);
    expect_fault(&f, VECTOR_GP, 0);
    enter_long(&f, 0);
    f.cpu->var[VAR_RCX] = UINT64_C(0x800000000000);
    helper_sysret(f.cpu, 0, 0, 8);
    expect_fault(&f, VECTOR_GP, 0);
    assert_int_equal(f.cpu->cpl, 0);
    f.cpu->efer &= ~EFER_SCE;
    helper_syscall(f.cpu, 0x8002, cpu_flags_arithmetic(f.cpu), 0);
    expect_fault(&f, VECTOR_UD, -1);
    // SYSENTER from 32-bit code.
    fixture_end(&f);
    fixture_start(&f, "max");
    enter_protected(&f, 3);
    helper_sysenter(f.cpu, 0, 0, 4);
    expect_fault(&f, VECTOR_GP, 0);
    f.cpu->sysenter_cs = SEL_CODE0;
    f.cpu->sysenter_esp = STACK1;
    f.cpu->sysenter_eip = 0xa000;
    assert_int_equal(helper_sysenter(f.cpu, 0, 0, 4), 0xa000);
    assert_int_equal(f.cpu->cpl, 0);
    assert_int_equal(f.cpu->var[VAR_RSP], STACK1);
    f.cpu->var[VAR_RDX] = 0x8100;
    f.cpu->var[VAR_RCX] = STACK3;
    assert_int_equal(helper_sysexit(f.cpu, 0, 0, 4), 0x8100);
    assert_int_equal(f.cpu->segment[SEG_CS].selector, SEL_CODE3);
    assert_int_equal(f.cpu->segment[SEG_SS].selector, SEL_DATA3);
    assert_int_equal(f.cpu->cpl, 3);
    fixture_end(&f);
}

static void smm(void **state)
{
    static const char *const models[] = {"max", "pentium"};
    for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
        struct fixture f;
        struct segment ss;
        fixture_start(&f, models[i]);
        enter_protected(&f, 3);
        cpu_set_rflags(f.cpu, 2 | FLAG_IF | FLAG_SF);
        f.cpu->var[VAR_RDI] = 0x12345678;
        ss = f.cpu->segment[SEG_SS];
        cpu_enter_smm(f.cpu);
        assert_true(f.cpu->in_smm);
        assert_int_equal(f.cpu->cpl, 0);
        assert_int_equal(f.cpu->var[VAR_RIP], 0x8000);
        assert_int_equal(f.cpu->var[VAR_CS_BASE], 0x30000);
        assert_false(f.cpu->cr0 & CR0_PE);
        assert_int_equal(peek(&f, 0x3fefc, 4), i == 0 ? 0x20064 : 0x20000);
        f.cpu->var[VAR_RDI] = 0;
        poke(&f, i == 0 ? 0x3ff00 : 0x3fef8, 0xa0000, 4);
        assert_int_equal(helper_rsm(f.cpu, 0, 0, 4), 0x8000);
        assert_int_equal(f.cpu->smbase, 0xa0000);
        assert_int_equal(f.cpu->cpl, 3);
        assert_int_equal(f.cpu->var[VAR_RDI], 0x12345678);
        assert_int_equal(f.cpu->var[VAR_RSP], STACK3);
        assert_memory_equal(&f.cpu->segment[SEG_SS], &ss, sizeof ss);
        assert_int_equal(cpu_rflags(f.cpu), 2 | FLAG_IF | FLAG_SF);
        helper_rsm(f.cpu, 0, 0, 4);
        expect_fault(&f, VECTOR_UD, -1);
        fixture_end(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jump_checks),
        cmocka_unit_test(call_and_return),
        cmocka_unit_test(real_mode),
        cmocka_unit_test(call_gate_with_parameters),
        cmocka_unit_test(task_call_and_return),
        cmocka_unit_test(task_jump_and_gate),
        cmocka_unit_test(fault_in_new_task),
        cmocka_unit_test(task_of_16_bits),
        cmocka_unit_test(system_calls),
        cmocka_unit_test(smm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
