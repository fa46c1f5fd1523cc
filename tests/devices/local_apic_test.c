// The local APIC by itself: priorities, timer, IPIs, x2APIC.
#include "devices/support_board.h"

#include "devices/local_apic.h"

struct fixture {
    struct board board;
    struct local_apic *apic;
    struct probe intr, nmi, smi, init;
    unsigned eois;
    uint8_t last_eoi;
};

static void eoi(void *opaque, uint8_t vector)
{
    struct fixture *f = opaque;
    f->eois++;
    f->last_eoi = vector;
}

static void setup(struct fixture *f)
{
    struct error error = {{0}};
    memset(f, 0, sizeof *f);
    board_setup_bare(&f->board, 1 << 20);
    f->apic = device_new(&local_apic_class, "apic0", &f->board.context, &error);
    assert_non_null(f->apic);
    f->apic->tsc_hz = 2000000000;
    f->apic->end_of_interrupt = eoi;
    f->apic->opaque = f;
    probe_connect(&f->apic->intr, &f->intr);
    probe_connect(&f->apic->nmi, &f->nmi);
    probe_connect(&f->apic->smi, &f->smi);
    probe_connect(&f->apic->init, &f->init);
    assert_true(device_init(f->apic, &error));
    device_reset(f->apic);
    local_apic_write(f->apic, 0xF0, 0x1FF);
}

static void teardown(struct fixture *f)
{
    device_free(f->apic);
    board_teardown(&f->board);
}

static bool send(struct fixture *f, uint8_t vector, bool level)
{
    struct apic_message message = {.vector = vector, .level = level};
    return local_apic_matches(f->apic, &message) && local_apic_deliver(f->apic, &message);
}

static void test_priorities(void **state)
{
    struct fixture f;
    setup(&f);
    assert_true(send(&f, 0x45, false));
    assert_true(send(&f, 0x61, false));
    assert_true(send(&f, 0x63, true));
    assert_true(f.intr.level);
    assert_int_equal(local_apic_acknowledge(f.apic), 0x63);
    assert_int_equal(local_apic_read(f.apic, 0xA0), 0x60);
    assert_false(f.intr.level); // 0x61 is of the class in service
    assert_int_equal(local_apic_acknowledge(f.apic), -1);
    assert_true(send(&f, 0x71, false));
    assert_true(f.intr.level);
    assert_int_equal(local_apic_acknowledge(f.apic), 0x71); // nests
    local_apic_write(f.apic, 0xB0, 0);
    assert_int_equal(f.eois, 0); // 0x71 was edge
    local_apic_write(f.apic, 0xB0, 0);
    assert_int_equal(f.eois, 1);
    assert_int_equal(f.last_eoi, 0x63);
    assert_int_equal(local_apic_acknowledge(f.apic), 0x61);
    local_apic_write(f.apic, 0xB0, 0);
    local_apic_set_tpr(f.apic, 0x40);
    assert_false(f.intr.level);
    assert_int_equal(local_apic_read(f.apic, 0x220), 0x20); // 0x45 waits in IRR
    local_apic_set_tpr(f.apic, 0x3F);
    assert_true(f.intr.level);
    assert_int_equal(local_apic_acknowledge(f.apic), 0x45);
    local_apic_write(f.apic, 0xB0, 0);
    local_apic_write(f.apic, 0xB0, 0); // one EOI too many
    assert_int_equal(local_apic_read(f.apic, 0x120), 0);
    assert_false(send(&f, 0x0F, false)); // illegal vector
    assert_int_equal(local_apic_read(f.apic, 0x280), 0);
    local_apic_write(f.apic, 0x280, 0);
    assert_int_equal(local_apic_read(f.apic, 0x280), 0x40);
    teardown(&f);
}

static void test_timer(void **state)
{
    struct fixture f;
    setup(&f);
    struct clock *clock = &f.board.clock;
    local_apic_write(f.apic, 0x320, 0x40);
    local_apic_write(f.apic, 0x3E0, 0x0B); // by 1
    local_apic_write(f.apic, 0x380, 1000);
    clock_step(clock, 400);
    assert_int_equal(local_apic_read(f.apic, 0x390), 600);
    local_apic_write(f.apic, 0x3E0, 0x00);                  // by 2: the rest takes twice as long
    assert_int_equal(local_apic_read(f.apic, 0x390), 1000); // the start would lie before time 0
    clock_step(clock, 1999);
    assert_false(f.intr.level);
    clock_step(clock, 1);
    assert_true(f.intr.level);
    assert_int_equal(local_apic_acknowledge(f.apic), 0x40);
    local_apic_write(f.apic, 0xB0, 0);
    assert_int_equal(local_apic_read(f.apic, 0x390), 0);
    clock_step(clock, 100000);
    assert_false(f.intr.level); // once
    // Periodic, by 16, with the count turning over.
    local_apic_write(f.apic, 0x3E0, 0x03);
    local_apic_write(f.apic, 0x320, 0x20041);
    local_apic_write(f.apic, 0x380, 1000);
    for (unsigned i = 0; i < 3; i++) {
        clock_step(clock, 15999);
        assert_false(f.intr.level);
        assert_int_equal(local_apic_read(f.apic, 0x390), 1);
        clock_step(clock, 1);
        assert_int_equal(local_apic_acknowledge(f.apic), 0x41);
        local_apic_write(f.apic, 0xB0, 0);
        assert_int_equal(local_apic_read(f.apic, 0x390), 1000);
    }
    local_apic_write(f.apic, 0x320, 0x30041); // masked: it runs on, silently
    clock_step(clock, 16000);
    assert_false(f.intr.level);
    // A period of a nanosecond must not hang the host.
    local_apic_write(f.apic, 0x3E0, 0x0B);
    local_apic_write(f.apic, 0x320, 0x20041);
    local_apic_write(f.apic, 0x380, 1);
    clock_step(clock, 10000000);
    assert_true(f.intr.level);
    local_apic_write(f.apic, 0x380, 0); // stops
    assert_int_equal(clock_next_deadline(clock), CLOCK_NEVER);
    teardown(&f);
}

static void test_tsc_deadline(void **state)
{
    struct fixture f;
    setup(&f);
    local_apic_set_tsc_deadline(f.apic, 5000, 0); // not in that mode: ignored
    assert_int_equal(local_apic_tsc_deadline(f.apic), 0);
    local_apic_write(f.apic, 0x320, 0x40050);
    local_apic_write(f.apic, 0x380, 100); // ignored in this mode
    local_apic_set_tsc_deadline(f.apic, 5001, 1);
    assert_int_equal(local_apic_tsc_deadline(f.apic), 5001);
    clock_step(&f.board.clock, 2499);
    assert_false(f.intr.level);
    clock_step(&f.board.clock, 2);
    assert_true(f.intr.level);
    assert_int_equal(local_apic_tsc_deadline(f.apic), 0);
    assert_int_equal(local_apic_acknowledge(f.apic), 0x50);
    local_apic_write(f.apic, 0xB0, 0);
    local_apic_set_tsc_deadline(f.apic, 5, 10); // past: at once
    assert_int_equal(local_apic_acknowledge(f.apic), 0x50);
    local_apic_write(f.apic, 0xB0, 0);
    local_apic_set_tsc_deadline(f.apic, UINT64_MAX, 0); // centuries
    local_apic_set_tsc_deadline(f.apic, 0, 0);
    assert_int_equal(clock_next_deadline(&f.board.clock), CLOCK_NEVER);
    local_apic_set_tsc_deadline(f.apic, 5000, 0);
    local_apic_write(f.apic, 0x320, 0x50); // leaving the mode disarms
    clock_step(&f.board.clock, 100000);
    assert_false(f.intr.level);
    teardown(&f);
}

static void test_disable_and_lvt(void **state)
{
    struct fixture f;
    setup(&f);
    local_apic_write(f.apic, 0x360, 0x400); // LINT1: NMI
    local_apic_set_lint(f.apic, 1, true);
    local_apic_set_lint(f.apic, 1, false);
    assert_int_equal(f.nmi.edges, 1);
    local_apic_write(f.apic, 0x350, 0x700); // LINT0: ExtINT follows the level
    local_apic_set_lint(f.apic, 0, true);
    assert_true(f.intr.level);
    assert_int_equal(local_apic_acknowledge(f.apic), LOCAL_APIC_EXTERNAL);
    local_apic_set_lint(f.apic, 0, false);
    assert_false(f.intr.level);
    local_apic_write(f.apic, 0xF0, 0xFF);
    for (unsigned offset = 0x320; offset <= 0x370; offset += 16)
        assert_true(local_apic_read(f.apic, offset) & 0x10000);
    local_apic_write(f.apic, 0x360, 0x400); // the mask bit stays while disabled
    assert_int_equal(local_apic_read(f.apic, 0x360), 0x10400);
    local_apic_set_lint(f.apic, 1, true);
    assert_int_equal(f.nmi.edges, 1);
    assert_false(send(&f, 0x44, false));
    teardown(&f);
}

static void test_ipi(void **state)
{
    struct fixture f;
    setup(&f);
    local_apic_write(f.apic, 0x310, 0);
    local_apic_write(f.apic, 0x300, 0x4051); // physical, to 0: itself
    assert_int_equal(local_apic_acknowledge(f.apic), 0x51);
    local_apic_write(f.apic, 0xB0, 0);
    local_apic_write(f.apic, 0x300, 0x44052); // shorthand self
    assert_int_equal(local_apic_acknowledge(f.apic), 0x52);
    local_apic_write(f.apic, 0xB0, 0);
    local_apic_write(f.apic, 0x300, 0xC4053); // all but itself
    assert_int_equal(local_apic_acknowledge(f.apic), -1);
    local_apic_write(f.apic, 0x310, 0x05000000);
    local_apic_write(f.apic, 0x300, 0x4054); // to another
    assert_int_equal(local_apic_acknowledge(f.apic), -1);
    local_apic_write(f.apic, 0xD0, 0x04000000);
    local_apic_write(f.apic, 0x300, 0x4855); // logical, flat: 5 has bit 4
    assert_int_equal(local_apic_acknowledge(f.apic), 0x55);
    local_apic_write(f.apic, 0xB0, 0);
    local_apic_write(f.apic, 0xE0, 0); // clusters: 0x05 is cluster 0, members 0 and 2
    local_apic_write(f.apic, 0x300, 0x4856);
    assert_int_equal(local_apic_acknowledge(f.apic), 0x56);
    local_apic_write(f.apic, 0xB0, 0);
    local_apic_write(f.apic, 0x310, 0x14000000); // cluster 1
    local_apic_write(f.apic, 0x300, 0x4857);
    assert_int_equal(local_apic_acknowledge(f.apic), -1);
    local_apic_write(f.apic, 0x310, 0);
    local_apic_write(f.apic, 0x300, 0x4500); // INIT to itself
    local_apic_write(f.apic, 0x300, 0x4609); // start-up
    assert_int_equal(f.init.edges, 0);
    local_apic_write(f.apic, 0x300, 0x44400); // NMI to itself
    assert_int_equal(f.nmi.edges, 1);
    local_apic_write(f.apic, 0x300, 0x4005); // bad vector
    local_apic_write(f.apic, 0x280, 0);
    assert_int_equal(local_apic_read(f.apic, 0x280), 0x20);
    assert_int_equal(local_apic_read(f.apic, 0x300) & 0x1000, 0);
    teardown(&f);
}

static void test_x2apic(void **state)
{
    struct fixture f;
    setup(&f);
    uint64_t value;
    assert_false(local_apic_x2apic_read(f.apic, 0x802, &value));                       // not in that mode
    assert_false(local_apic_base_write(f.apic, APIC_BASE_DEFAULT | APIC_BASE_X2APIC)); // x2APIC without enable
    assert_true(local_apic_base_write(f.apic, APIC_BASE_DEFAULT | APIC_BASE_ENABLE | APIC_BASE_X2APIC));
    assert_int_equal(f.apic->base, APIC_BASE_DEFAULT | 0xD00);                         // BSP is read-only
    assert_false(local_apic_base_write(f.apic, APIC_BASE_DEFAULT | APIC_BASE_ENABLE)); // no way back
    assert_true(local_apic_x2apic_read(f.apic, 0x80D, &value));
    assert_int_equal(value, 1);
    assert_false(local_apic_x2apic_read(f.apic, 0x80E, &value));
    assert_false(local_apic_x2apic_write(f.apic, 0x80E, 0));
    assert_false(local_apic_x2apic_read(f.apic, 0x80B, &value));
    assert_false(local_apic_x2apic_write(f.apic, 0x80B, 1));
    assert_false(local_apic_x2apic_write(f.apic, 0x808, 0x100));
    assert_false(local_apic_x2apic_write(f.apic, 0x802, 0));
    assert_false(local_apic_x2apic_write(f.apic, 0x831, 0));
    assert_true(local_apic_x2apic_write(f.apic, 0x83F, 0x61)); // self IPI
    assert_int_equal(local_apic_acknowledge(f.apic), 0x61);
    assert_true(local_apic_x2apic_write(f.apic, 0x80B, 0));
    assert_true(local_apic_x2apic_write(f.apic, 0x830, UINT64_C(0x0000000100000862))); // logical cluster 0, member 0
    assert_int_equal(local_apic_acknowledge(f.apic), 0x62);
    assert_true(local_apic_x2apic_read(f.apic, 0x830, &value));
    assert_int_equal(value, UINT64_C(0x0000000100000862));
    assert_true(local_apic_base_write(f.apic, APIC_BASE_DEFAULT)); // off clears
    assert_false(local_apic_base_write(f.apic, APIC_BASE_DEFAULT | APIC_BASE_ENABLE | APIC_BASE_X2APIC));
    assert_false(local_apic_base_write(f.apic, UINT64_C(1) << 60));
    local_apic_set_lint(f.apic, 0, true); // the 8259's request passes a disabled APIC
    assert_true(f.intr.level);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_priorities),      cmocka_unit_test(test_timer), cmocka_unit_test(test_tsc_deadline),
        cmocka_unit_test(test_disable_and_lvt), cmocka_unit_test(test_ipi),   cmocka_unit_test(test_x2apic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
