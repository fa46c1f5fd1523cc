// MONITOR and MWAIT: what they refuse, when MWAIT sleeps, what wakes it (SDM vol. 2, vol. 3 sec. 9.10).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cpu/engine.h"
#include "cpu/lift_system.h"
#include "cpu/run.h"
#include "cpu/support_rows.h"
#include "cpu/support_system.h"

enum { LINE = 0x9040 };

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    fixture_start(f, "max");
    enter_long(f, 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture_end(*state);
    free(*state);
    return 0;
}

static void monitor(struct fixture *f, uint64_t address)
{
    f->cpu->var[VAR_RCX] = 0;
    helper_monitor(f->cpu, address, 0, 0);
    expect_fault(f, -1, 0);
}

/// Whether the vCPU sleeps afterwards.
static bool mwait(struct fixture *f, uint64_t extensions)
{
    enum engine_stop stop;
    f->cpu->var[VAR_RCX] = extensions;
    helper_mwait(f->cpu, 0, 0, 0);
    expect_fault(f, -1, 0);
    return !engine_poll(f->cpu, &stop) && stop == STOP_HALT;
}

static bool still_sleeps(struct fixture *f)
{
    enum engine_stop stop;
    return !engine_poll(f->cpu, &stop) && stop == STOP_HALT;
}

static int fault_of(struct fixture *f, uop_helper *helper, uint64_t rcx)
{
    f->cpu->var[VAR_RCX] = rcx;
    helper(f->cpu, LINE, 0, 0);
    int vector = f->cpu->fault.pending ? f->cpu->fault.vector : -1;
    f->cpu->fault.pending = false;
    return vector;
}

static void test_refused(void **state)
{
    struct fixture *f = *state;
    for (unsigned bit = 0; bit < 32; bit++) {
        assert_int_equal(fault_of(f, helper_monitor, BIT(bit)), VECTOR_GP);
        if (bit)
            assert_int_equal(fault_of(f, helper_mwait, BIT(bit)), VECTOR_GP);
    }
    assert_int_equal(fault_of(f, helper_monitor, BIT(32)), -1); // ECX is looked at
    assert_int_equal(fault_of(f, helper_mwait, BIT(40) | 1), -1);
    f->cpu->activity = ACTIVITY_RUN;
    // Switched off, and on again, by IA32_MISC_ENABLE.
    assert_int_equal(model_cpuid(f->cpu, 1, 0).ecx >> 3 & 1, 1);
    f->cpu->var[VAR_RCX] = 0x1a0;
    f->cpu->var[VAR_RAX] = 1;
    f->cpu->var[VAR_RDX] = 0;
    helper_wrmsr(f->cpu, 0, 0, 0);
    assert_int_equal(model_cpuid(f->cpu, 1, 0).ecx >> 3 & 1, 0);
    assert_int_equal(fault_of(f, helper_monitor, 0), VECTOR_UD);
    assert_int_equal(fault_of(f, helper_mwait, 0), VECTOR_UD);
    f->cpu->var[VAR_RCX] = 0x1a0;
    f->cpu->var[VAR_RAX] = 1 | MISC_ENABLE_MONITOR;
    helper_wrmsr(f->cpu, 0, 0, 0);
    assert_int_equal(fault_of(f, helper_monitor, 0), -1);
    cpu_reset(f->cpu, false);
    assert_true(f->cpu->misc_enable & MISC_ENABLE_MONITOR);
}

/// Outside ring 0 both are #UD, not #GP.
static void test_rings(void **state)
{
    static const uint32_t modes[] = {MODE_CODE64 | MODE_PROTECTED | MODE_LONG, MODE_CODE32 | MODE_PROTECTED,
                                     MODE_CODE16 | MODE_PROTECTED | MODE_VM86};
    static const char *const code[] = {"\x0f\x01\xc8", "\x0f\x01\xc9"};
    struct error error = {{0}};
    struct row_index *rows = row_index_build(&error);
    struct cpu_model model = support_full_model();
    struct lift *l = malloc(sizeof *l);
    (void)state;
    assert_non_null(rows);
    for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
        for (unsigned cpl = m == 2 ? 3 : 0; cpl < 4; cpl++) {
            for (unsigned i = 0; i < 2; i++) {
                struct insn insn;
                assert_int_equal(decode(rows, &model, modes[m], (const uint8_t *)code[i], 3, &insn), DECODE_OK);
                assert_false(insn.row->attributes & ROW_CPL0);
                *l = (struct lift){.mode = modes[m] | cpl, .model = &model, .next_temp = VAR_TEMP, .next_offset = 3};
                insn.row->lift(l, &insn);
                const struct uop *last = &l->uops[l->uop_count - 1];
                if (cpl)
                    assert_true(last->op == UOP_RAISE && last->imm == VECTOR_UD);
                else
                    assert_int_equal(last->op, UOP_CALL);
            }
        }
    }
    free(l);
    row_index_free(rows);
}

static void test_stores(void **state)
{
    struct fixture *f = *state;
    assert_false(mwait(f, 0)); // without MONITOR
    monitor(f, LINE + 20);
    assert_true(mwait(f, 0));
    assert_true(still_sleeps(f));
    poke(f, LINE - 8, 1, 8);
    poke(f, LINE + 64, 1, 8);
    assert_true(still_sleeps(f));
    poke(f, LINE + 63, 1, 1);
    assert_false(still_sleeps(f));
    assert_int_equal(f->cpu->activity, ACTIVITY_RUN);
    assert_false(mwait(f, 0)); // it takes another MONITOR
    // A store in between.
    monitor(f, LINE);
    poke(f, LINE, 0x55, 1);
    assert_false(mwait(f, 0));
    // What is no memory cannot be monitored.
    monitor(f, 0x180000);
    assert_false(mwait(f, 0));
}

static void test_interrupts(void **state)
{
    struct fixture *f = *state;
    struct cpu *cpu = f->cpu;
    cpu->var[VAR_FLAGS] &= ~FLAG_IF;
    monitor(f, LINE);
    assert_true(mwait(f, 0));
    cpu_set_pending(cpu, PENDING_INTR);
    assert_true(still_sleeps(f)); // masked
    cpu_clear_pending(cpu, PENDING_INTR);
    poke(f, LINE, 9, 1);
    assert_false(still_sleeps(f));
    monitor(f, LINE);
    assert_true(mwait(f, 1));
    cpu_set_pending(cpu, PENDING_INTR);
    uint64_t rip = cpu->var[VAR_RIP];
    assert_false(still_sleeps(f)); // masked, but it breaks the wait
    assert_int_equal(cpu->var[VAR_RIP], rip);
    cpu_clear_pending(cpu, PENDING_INTR);
    // An NMI wakes, and is delivered.
    poke_gate64(f, VECTOR_NMI, SEL_CODE0, 0x8100, 0x8e, 0);
    cpu->var[VAR_RSP] = STACK0;
    monitor(f, LINE);
    assert_true(mwait(f, 0));
    cpu_set_pending(cpu, PENDING_NMI);
    assert_false(still_sleeps(f));
    assert_int_equal(cpu->var[VAR_RIP], 0x8100);
    assert_int_equal(cpu->activity, ACTIVITY_RUN);
    // An event between the two: MWAIT does not sleep.
    poke_gate64(f, VECTOR_DE, SEL_CODE0, 0x8200, 0x8e, 0);
    monitor(f, LINE);
    cpu_raise(cpu, VECTOR_DE);
    run_deliver_fault(cpu);
    assert_int_equal(cpu->var[VAR_RIP], 0x8200);
    assert_false(mwait(f, 0));
}

/// A snapshot may say anything.
static void test_wild_lines(void **state)
{
    struct fixture *f = *state;
    static const uint64_t addresses[] = {UINT64_MAX, UINT64_MAX - 63, 1u << 20, (1u << 20) - 63, 7};
    for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++) {
        f->cpu->monitor_armed = true;
        f->cpu->monitor_address = addresses[i];
        f->cpu->activity = ACTIVITY_MWAIT;
        assert_int_equal(still_sleeps(f), addresses[i] == 7);
    }
}

static void test_cpuid(void **state)
{
    struct fixture *f = *state;
    struct cpuid_result r = model_cpuid(f->cpu, 5, 0);
    assert_int_equal(r.eax, 64);
    assert_int_equal(r.ebx, 64);
    assert_int_equal(r.ecx, 3);
    assert_int_equal(r.edx, 0); // guests that idle look for substates of C1 here, and halt
    f->model.features[FEATURE_MONITOR / 64] &= ~BIT(FEATURE_MONITOR % 64);
    assert_int_equal(model_cpuid(f->cpu, 5, 0).eax, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test(test_rings),
        cmocka_unit_test_setup_teardown(test_stores, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_interrupts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wild_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cpuid, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
