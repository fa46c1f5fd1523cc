// Events through the IDT in every mode, their faults up to the triple fault, and IRET back.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support_system.h"

#define HANDLER 0x9000u

static void raise_and_deliver(struct fixture *f, uint8_t vector, int error_code)
{
    if (error_code >= 0)
        cpu_raise_error(f->cpu, vector, (uint32_t)error_code);
    else
        cpu_raise(f->cpu, vector);
    cpu_deliver_fault(f->cpu);
}

static void real_mode(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    f.cpu->idt = (struct descriptor_table){.base = 0, .limit = 0x3ff};
    segment_set_real(f.cpu, SEG_SS, 0x600, false);
    segment_set_real(f.cpu, SEG_CS, 0x100, false);
    f.cpu->var[VAR_RSP] = 0xabcd0000 | 0x100;
    f.cpu->var[VAR_RIP] = 0x1234;
    cpu_set_rflags(f.cpu, 2 | FLAG_IF | FLAG_TF | FLAG_CF);
    poke(&f, 0x20 * 4, 0x20003000, 4);
    cpu_deliver_interrupt(f.cpu, 0x20);
    assert_int_equal(f.cpu->var[VAR_RIP], 0x3000);
    assert_int_equal(f.cpu->var[VAR_CS_BASE], 0x20000);
    assert_int_equal(f.cpu->var[VAR_RSP], 0xabcd00fa);
    assert_int_equal(peek(&f, 0x60fa, 2), 0x1234);
    assert_int_equal(peek(&f, 0x60fc, 2), 0x100);
    assert_int_equal(peek(&f, 0x60fe, 2), 0x303);
    assert_int_equal(cpu_rflags(f.cpu), 2 | FLAG_CF);
    assert_int_equal(helper_iret(f.cpu, 0, 0, 2), 0x1234);
    assert_int_equal(cpu_rflags(f.cpu), 2 | FLAG_IF | FLAG_TF | FLAG_CF);
    assert_int_equal(f.cpu->segment[SEG_CS].selector, 0x100);
    assert_int_equal(f.cpu->var[VAR_RSP], 0xabcd0100);
    // An entry beyond the limit: #GP, which has no error code here.
    f.cpu->idt.limit = 0x7f;
    poke(&f, VECTOR_GP * 4, 0x20005000, 4);
    cpu_deliver_interrupt(f.cpu, 0x20);
    assert_int_equal(f.cpu->var[VAR_RIP], 0x5000);
    assert_int_equal(f.cpu->var[VAR_RSP], 0xabcd00fa);
    fixture_end(&f);
}

static void same_ring(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_protected(&f, 0);
    cpu_set_rflags(f.cpu, 2 | FLAG_IF | FLAG_NT | FLAG_ZF);
    poke_gate(&f, VECTOR_GP, SEL_CODE0, HANDLER, 0x8e);
    raise_and_deliver(&f, VECTOR_GP, 0x1230);
    expect_fault(&f, -1, 0);
    assert_int_equal(f.cpu->var[VAR_RIP], HANDLER);
    assert_int_equal(f.cpu->var[VAR_RSP], STACK0 - 16);
    assert_int_equal(peek(&f, STACK0 - 16, 4), 0x1230);
    assert_int_equal(peek(&f, STACK0 - 12, 4), 0x8000);
    assert_int_equal(peek(&f, STACK0 - 8, 4), SEL_CODE0);
    assert_int_equal(peek(&f, STACK0 - 4, 4), 2 | FLAG_IF | FLAG_NT | FLAG_ZF | FLAG_RF);
    assert_int_equal(cpu_rflags(f.cpu), 2 | FLAG_ZF);
    f.cpu->var[VAR_RSP] += 4;
    assert_int_equal(helper_iret(f.cpu, 0, 0, 4), 0x8000);
    assert_int_equal(cpu_rflags(f.cpu), 2 | FLAG_IF | FLAG_NT | FLAG_ZF | FLAG_RF);
    fixture_end(&f);
}

static void gate_kinds(void **state)
{
    static const struct {
        unsigned type, bytes;
        bool keeps_if;
    } cases[] = {{0x8e, 4, false}, {0x8f, 4, true}, {0x86, 2, false}, {0x87, 2, true}};
    struct fixture f;
    fixture_start(&f, "max");
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        enter_protected(&f, 0);
        cpu_set_rflags(f.cpu, 2 | FLAG_IF);
        poke_gate(&f, 0x40, SEL_CODE0, HANDLER, cases[i].type);
        cpu_deliver_interrupt(f.cpu, 0x40);
        expect_fault(&f, -1, 0);
        assert_int_equal(f.cpu->var[VAR_RIP], HANDLER);
        assert_int_equal(f.cpu->var[VAR_RSP], STACK0 - 3 * cases[i].bytes);
        assert_int_equal(!!(f.cpu->var[VAR_FLAGS] & FLAG_IF), cases[i].keeps_if);
        assert_int_equal(peek(&f, STACK0 - 3 * cases[i].bytes, cases[i].bytes), 0x8000);
    }
    fixture_end(&f);
}

static void ring_change(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_protected(&f, 3);
    helper_load_segment(f.cpu, SEL_DATA3, 0, SEG_FS);
    cpu_set_rflags(f.cpu, 2 | FLAG_IF);
    poke_gate(&f, 0x80, SEL_CODE0, HANDLER, 0xee);
    assert_int_equal(helper_interrupt(f.cpu, 0x8002, 0, 0x80), HANDLER);
    assert_int_equal(f.cpu->cpl, 0);
    assert_int_equal(f.cpu->segment[SEG_SS].selector, SEL_DATA0);
    assert_int_equal(f.cpu->segment[SEG_CS].selector, SEL_CODE0);
    assert_int_equal(f.cpu->var[VAR_RSP], STACK0 - 20);
    assert_int_equal(peek(&f, STACK0 - 20, 4), 0x8002);
    assert_int_equal(peek(&f, STACK0 - 16, 4), SEL_CODE3);
    assert_int_equal(peek(&f, STACK0 - 8, 4), STACK3);
    assert_int_equal(peek(&f, STACK0 - 4, 4), SEL_DATA3);
    helper_load_segment(f.cpu, SEL_DATA0, 0, SEG_GS); // the return must take it away
    assert_int_equal(helper_iret(f.cpu, 0, 0, 4), 0x8002);
    assert_int_equal(f.cpu->cpl, 3);
    assert_int_equal(f.cpu->var[VAR_RSP], STACK3);
    assert_int_equal(f.cpu->segment[SEG_GS].selector, 0);
    assert_true(f.cpu->segment[SEG_GS].rights & SEGMENT_UNUSABLE);
    assert_int_equal(f.cpu->segment[SEG_FS].selector, SEL_DATA3);
    fixture_end(&f);
}

static void software_faults(void **state)
{
    static const struct {
        uint16_t code;
        unsigned type;
        int vector, error;
    } cases[] = {
        {SEL_CODE0, 0x8e, VECTOR_GP, 0x80 * 8 + 2}, // gate DPL 0 from ring 3
        {SEL_CODE0, 0x6e, VECTOR_NP, 0x80 * 8 + 2}, // not present
        {SEL_CODE0, 0xe2, VECTOR_GP, 0x80 * 8 + 2}, // no gate at all
        {0, 0xee, VECTOR_GP, 0},
        {SEL_DATA0, 0xee, VECTOR_GP, SEL_DATA0},
        {GDT_LIMIT + 1, 0xee, VECTOR_GP, GDT_LIMIT + 1},
    };
    struct fixture f;
    fixture_start(&f, "max");
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        enter_protected(&f, 3);
        poke_gate(&f, 0x80, cases[i].code, HANDLER, cases[i].type);
        helper_interrupt(f.cpu, 0x8002, 0, 0x80);
        expect_fault(&f, cases[i].vector, cases[i].error);
        assert_int_equal(f.cpu->cpl, 3);
        assert_int_equal(f.cpu->var[VAR_RSP], STACK3);
        assert_int_equal(f.cpu->var[VAR_RIP], 0x8000);
    }
    // INT1 does not look at the gate's DPL; beyond the limit is #GP.
    enter_protected(&f, 3);
    poke_gate(&f, 1, SEL_CODE0, HANDLER, 0x8e);
    assert_int_equal(helper_interrupt(f.cpu, 0x8001, 0, 1 | 0x200), HANDLER);
    enter_protected(&f, 3);
    f.cpu->idt.limit = 0x3ff;
    helper_interrupt(f.cpu, 0x8002, 0, 0x80);
    expect_fault(&f, VECTOR_GP, 0x80 * 8 + 2);
    fixture_end(&f);
}

static void inner_stack_faults(void **state)
{
    static const struct {
        uint16_t stack;
        int vector, error; // of the nested fault, with EXT when delivered for an exception
    } cases[] = {
        {0, VECTOR_TS, 0},
        {SEL_DATA3, VECTOR_TS, SEL_DATA3 & ~3},
        {SEL_READONLY, VECTOR_TS, SEL_READONLY},
        {SEL_STACK_ABSENT, VECTOR_SS, SEL_STACK_ABSENT},
    };
    struct fixture f;
    fixture_start(&f, "max");
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        enter_protected(&f, 3);
        poke(&f, TSS_BASE + 8, cases[i].stack, 4);
        poke_gate(&f, 0x80, SEL_CODE0, HANDLER, 0xee);
        helper_interrupt(f.cpu, 0x8002, 0, 0x80);
        expect_fault(&f, cases[i].vector, cases[i].error);
        struct event_delivery external = {.source = EVENT_EXTERNAL, .vector = 0x80, .return_rip = 0x8000};
        assert_int_equal(event_deliver(f.cpu, &external), TASK_FAULT);
        expect_fault(&f, cases[i].vector, cases[i].error | 1);
    }
    // A stack that leaves its limit: #SS with the new selector.
    poke_descriptor(&f, SEL_FREE, 0, 0xff, 0x92, 4);
    poke(&f, TSS_BASE + 8, SEL_FREE, 4);
    enter_protected(&f, 3);
    helper_interrupt(f.cpu, 0x8002, 0, 0x80);
    expect_fault(&f, VECTOR_SS, SEL_FREE);
    fixture_end(&f);
}

static void vm86(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_vm86(&f, 3);
    poke_gate(&f, 0x20, SEL_CODE0, HANDLER, 0x8e);
    cpu_deliver_interrupt(f.cpu, 0x20);
    expect_fault(&f, -1, 0);
    assert_int_equal(f.cpu->cpl, 0);
    assert_false(f.cpu->var[VAR_FLAGS] & FLAG_VM);
    assert_int_equal(f.cpu->var[VAR_RSP], STACK0 - 36);
    assert_int_equal(peek(&f, STACK0 - 4, 4), 0x705);  // GS
    assert_int_equal(peek(&f, STACK0 - 16, 4), 0x700); // ES
    assert_int_equal(peek(&f, STACK0 - 20, 4), 0x702); // SS
    assert_int_equal(peek(&f, STACK0 - 24, 4), 0x800); // ESP
    assert_true(peek(&f, STACK0 - 28, 4) & FLAG_VM);
    assert_int_equal(f.cpu->segment[SEG_DS].selector, 0);
    assert_int_equal(helper_iret(f.cpu, 0, 0, 4), 0x100);
    assert_int_equal(f.cpu->cpl, 3);
    assert_true(f.cpu->var[VAR_FLAGS] & FLAG_VM);
    assert_int_equal(f.cpu->var[VAR_GS_BASE], 0x7050);
    assert_int_equal(f.cpu->var[VAR_SS_BASE], 0x7020);
    assert_int_equal(f.cpu->var[VAR_RSP], 0x800);
    // INT n needs IOPL 3.
    enter_vm86(&f, 0);
    helper_interrupt(f.cpu, 0x102, 0, 0x20);
    expect_fault(&f, VECTOR_GP, 0);
    helper_pushf(f.cpu, 0, 0, 2);
    expect_fault(&f, VECTOR_GP, 0);
    helper_popf(f.cpu, 2, 0, 2);
    expect_fault(&f, VECTOR_GP, 0);
    fixture_end(&f);
}

static void vme(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_vm86(&f, 0);
    f.cpu->cr4 |= CR4_VME;
    // The bitmap is right below the I/O bitmap's offset: all zero sends INT n to the 8086 program's own table.
    poke_descriptor(&f, SEL_TSS, TSS_BASE, 0xff, 0x8b, 0);
    f.cpu->segment[SEG_TR].limit = 0xff;
    poke(&f, TSS_BASE + 0x66, 0x88, 2);
    poke(&f, 0x21 * 4, 0x07100044, 4);
    assert_int_equal(helper_interrupt(f.cpu, 0x102, 0, 0x21), 0x44);
    expect_fault(&f, -1, 0);
    assert_int_equal(f.cpu->var[VAR_CS_BASE], 0x7100);
    assert_int_equal(f.cpu->var[VAR_RSP], 0x800 - 6);
    assert_int_equal(peek(&f, 0x7020 + 0x800 - 2, 2) & 0x3200, 0x3000); // IOPL 3 and VIF as IF
    // STI sets VIF; a pending VIP makes it #GP.
    helper_set_interrupts(f.cpu, 0, 0, 1);
    assert_true(f.cpu->var[VAR_FLAGS] & FLAG_VIF);
    assert_false(f.cpu->var[VAR_FLAGS] & FLAG_IF);
    f.cpu->var[VAR_FLAGS] |= FLAG_VIP;
    helper_set_interrupts(f.cpu, 0, 0, 1);
    expect_fault(&f, VECTOR_GP, 0);
    f.cpu->var[VAR_FLAGS] &= ~FLAG_VIP;
    // A set bit leaves it to the gate, which needs IOPL 3.
    poke(&f, TSS_BASE + 0x68 + 0x21 / 8, 1 << (0x21 & 7), 1);
    helper_interrupt(f.cpu, 0x102, 0, 0x21);
    expect_fault(&f, VECTOR_GP, 0);
    fixture_end(&f);
}

static void long_mode(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_long(&f, 3);
    f.cpu->var[VAR_RSP] = STACK3 - 3;
    poke_gate64(&f, VECTOR_PF, SEL_CODE0, UINT64_C(0xffffffff81000000), 0x8e, 0);
    raise_and_deliver(&f, VECTOR_PF, 7);
    expect_fault(&f, -1, 0);
    assert_int_equal(f.cpu->cpl, 0);
    assert_true(f.cpu->var[VAR_RIP] == UINT64_C(0xffffffff81000000));
    assert_int_equal(f.cpu->var[VAR_RSP], STACK0 - 48);
    assert_int_equal(peek(&f, STACK0 - 48, 8), 7);
    assert_int_equal(peek(&f, STACK0 - 40, 8), 0x8000);
    assert_int_equal(peek(&f, STACK0 - 32, 8), SEL_CODE3);
    assert_int_equal(peek(&f, STACK0 - 16, 8), STACK3 - 3);
    assert_int_equal(peek(&f, STACK0 - 8, 8), SEL_DATA3);
    assert_int_equal(f.cpu->segment[SEG_SS].selector, 0);
    f.cpu->var[VAR_RSP] += 8;
    f.cpu->var[VAR_FS_BASE] = 0x7f0000001000; // of a null FS: the return must not touch it
    assert_int_equal(helper_iret(f.cpu, 0, 0, 8), 0x8000);
    assert_true(f.cpu->var[VAR_FS_BASE] == 0x7f0000001000);
    assert_int_equal(f.cpu->cpl, 3);
    assert_int_equal(f.cpu->var[VAR_RSP], STACK3 - 3);
    assert_true(cpu_is_64(f.cpu));
    fixture_end(&f);
}

static void long_mode_same_ring_aligns_and_uses_ist(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_long(&f, 0);
    f.cpu->var[VAR_RSP] = STACK0 - 5;
    poke_gate64(&f, 0x30, SEL_CODE0, HANDLER, 0x8f, 0);
    cpu_deliver_interrupt(f.cpu, 0x30);
    assert_int_equal(f.cpu->var[VAR_RSP], ((STACK0 - 5) & ~15u) - 40);
    assert_int_equal(peek(&f, f.cpu->var[VAR_RSP] + 24, 8), STACK0 - 5);
    assert_int_equal(helper_iret(f.cpu, 0, 0, 8), 0x8000);
    assert_int_equal(f.cpu->var[VAR_RSP], STACK0 - 5);
    poke(&f, TSS_BASE + 0x1c + 8 * 7, STACK1, 8);
    poke_gate64(&f, VECTOR_NMI, SEL_CODE0, HANDLER, 0x8e, 7);
    cpu_deliver_interrupt(f.cpu, VECTOR_NMI);
    assert_int_equal(f.cpu->var[VAR_RSP], STACK1 - 40);
    assert_true(f.cpu->nmi_blocked);
    helper_iret(f.cpu, 0, 0, 8);
    expect_fault(&f, -1, 0);
    assert_false(f.cpu->nmi_blocked);
    // Only 64-bit code can handle.
    poke_gate64(&f, 0x31, SEL_CODE16, HANDLER, 0x8e, 0);
    struct event_delivery event = {.source = EVENT_SOFTWARE, .vector = 0x31, .return_rip = 0x8000};
    assert_int_equal(event_deliver(f.cpu, &event), TASK_FAULT);
    expect_fault(&f, VECTOR_GP, SEL_CODE16);
    // NT is not for 64-bit mode.
    f.cpu->var[VAR_FLAGS] |= FLAG_NT;
    helper_iret(f.cpu, 0, 0, 8);
    expect_fault(&f, VECTOR_GP, 0);
    fixture_end(&f);
}

/// Which handler runs, and with which error code, when the first fault's gate is missing (SDM vol. 3 table 6-5).
static void fault_on_fault(void **state)
{
    static const struct {
        uint8_t first, handled;
        uint32_t error;
    } cases[] = {
        {VECTOR_UD, VECTOR_NP, VECTOR_UD * 8 + 3}, // benign, then contributory: serially
        {VECTOR_GP, VECTOR_DF, 0},
        {VECTOR_DE, VECTOR_DF, 0},
        {VECTOR_PF, VECTOR_DF, 0},
        {VECTOR_BR, VECTOR_NP, VECTOR_BR * 8 + 3},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        struct fixture f;
        fixture_start(&f, "max");
        enter_protected(&f, 0);
        for (unsigned v = 0; v < 32; v++)
            poke_gate(&f, v, SEL_CODE0, HANDLER + v, 0x8e);
        poke_gate(&f, cases[i].first, SEL_CODE0, HANDLER, 0x0e); // not present
        raise_and_deliver(&f, cases[i].first, cases[i].first == VECTOR_GP || cases[i].first == VECTOR_PF ? 0 : -1);
        assert_int_equal(f.cpu->activity, ACTIVITY_RUN);
        assert_int_equal(f.cpu->var[VAR_RIP], HANDLER + cases[i].handled);
        assert_int_equal(peek(&f, f.cpu->var[VAR_RSP], 4), cases[i].error);
        fixture_end(&f);
    }
}

static void triple_fault(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_protected(&f, 0);
    f.cpu->idt.limit = 0;
    raise_and_deliver(&f, VECTOR_UD, -1);
    assert_int_equal(f.cpu->activity, ACTIVITY_SHUTDOWN);
    assert_false(f.cpu->fault.pending);
    assert_int_equal(f.cpu->var[VAR_RIP], 0x8000);
    fixture_end(&f);
}

static void pushes_are_all_or_nothing(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_long(&f, 0);
    // 4 KiB pages for the first 2 MiB, one of them absent: the frame's upper half can be written, the lower not.
    poke(&f, PAGES + 0x2000, (PAGES + 0x3000) | 7, 8);
    for (unsigned i = 0; i < 256; i++)
        poke(&f, PAGES + 0x3000 + i * 8, i * 0x1000 | (i == 5 ? 6 : 7), 8);
    mmu_flush_all(&f.cpu->mmu);
    poke_gate64(&f, 0x30, SEL_CODE0, HANDLER, 0x8e, 0);
    f.cpu->var[VAR_RSP] = 0x6010;
    poke(&f, 0x6000, 0x1111, 8);
    poke(&f, 0x6008, 0x2222, 8);
    struct event_delivery event = {.source = EVENT_SOFTWARE, .vector = 0x30, .return_rip = 0x8000};
    assert_int_equal(event_deliver(f.cpu, &event), TASK_FAULT);
    expect_fault(&f, VECTOR_PF, PF_WRITE);
    assert_int_equal(peek(&f, 0x6000, 8), 0x1111);
    assert_int_equal(peek(&f, 0x6008, 8), 0x2222);
    assert_int_equal(f.cpu->var[VAR_RSP], 0x6010);
    assert_int_equal(f.cpu->cr2, 0x5ff8);
    fixture_end(&f);
}

static void iret_checks(void **state)
{
    static const struct {
        uint16_t code, stack;
        int vector, error;
    } cases[] = {
        {0, SEL_DATA3, VECTOR_GP, 0},
        {SEL_DATA0, SEL_DATA3, VECTOR_GP, SEL_DATA0},
        {SEL_CODE3, SEL_DATA0, VECTOR_GP, SEL_DATA0},
        {SEL_CODE3, 0, VECTOR_GP, 0},
        {SEL_CODE0 | 3, SEL_DATA3, VECTOR_GP, SEL_CODE0},
        {SEL_CODE3, SEL_DATA3, -1, 0},
    };
    struct fixture f;
    fixture_start(&f, "max");
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        enter_protected(&f, 0);
        f.cpu->var[VAR_RSP] = STACK0 - 20;
        poke(&f, STACK0 - 20, 0x8100, 4);
        poke(&f, STACK0 - 16, cases[i].code, 4);
        poke(&f, STACK0 - 12, 2 | FLAG_IF, 4);
        poke(&f, STACK0 - 8, STACK3, 4);
        poke(&f, STACK0 - 4, cases[i].stack, 4);
        helper_iret(f.cpu, 0, 0, 4);
        if (cases[i].vector >= 0) {
            assert_int_equal(f.cpu->cpl, 0);
            assert_int_equal(f.cpu->var[VAR_RSP], STACK0 - 20);
        }
        expect_fault(&f, cases[i].vector, cases[i].error);
    }
    fixture_end(&f);
}

static void popf_by_ring(void **state)
{
    static const struct {
        unsigned cpl, iopl;
        uint64_t changes; // of IF and IOPL
    } cases[] = {{0, 0, FLAG_IF | FLAG_IOPL}, {3, 0, 0}, {3, 3, FLAG_IF}, {1, 1, FLAG_IF}};
    struct fixture f;
    fixture_start(&f, "max");
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t old;
        enter_protected(&f, cases[i].cpl);
        cpu_set_rflags(f.cpu, 2 | (uint64_t)cases[i].iopl << 12);
        old = cpu_rflags(f.cpu);
        helper_popf(f.cpu, (old ^ (FLAG_IF | FLAG_IOPL | FLAG_VM)) | FLAG_AC | FLAG_ID, 0, 4);
        assert_int_equal(cpu_rflags(f.cpu) ^ old, cases[i].changes | FLAG_AC | FLAG_ID);
        expect_fault(&f, -1, 0);
    }
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_mode),
        cmocka_unit_test(same_ring),
        cmocka_unit_test(gate_kinds),
        cmocka_unit_test(ring_change),
        cmocka_unit_test(software_faults),
        cmocka_unit_test(inner_stack_faults),
        cmocka_unit_test(vm86),
        cmocka_unit_test(vme),
        cmocka_unit_test(long_mode),
        cmocka_unit_test(long_mode_same_ring_aligns_and_uses_ist),
        cmocka_unit_test(fault_on_fault),
        cmocka_unit_test(triple_fault),
        cmocka_unit_test(pushes_are_all_or_nothing),
        cmocka_unit_test(iret_checks),
        cmocka_unit_test(popf_by_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
