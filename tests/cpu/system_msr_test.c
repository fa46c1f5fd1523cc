// MSRs, control and debug registers, descriptor tables, ports: what is accepted, what is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support_system.h"

static bool write_msr(struct fixture *f, uint32_t number, uint64_t value)
{
    f->cpu->var[VAR_RCX] = number;
    f->cpu->var[VAR_RAX] = (uint32_t)value;
    f->cpu->var[VAR_RDX] = value >> 32;
    helper_wrmsr(f->cpu, 0, 0, 0);
    bool ok = !f->cpu->fault.pending;
    if (!ok)
        expect_fault(f, VECTOR_GP, 0);
    return ok;
}

static bool read_msr(struct fixture *f, uint32_t number, uint64_t *value)
{
    f->cpu->var[VAR_RCX] = number;
    helper_rdmsr(f->cpu, 0, 0, 0);
    bool ok = !f->cpu->fault.pending;
    if (!ok)
        expect_fault(f, VECTOR_GP, 0);
    *value = (uint32_t)f->cpu->var[VAR_RAX] | f->cpu->var[VAR_RDX] << 32;
    return ok;
}

static void values(void **state)
{
    static const struct {
        uint32_t number;
        uint64_t value;
        bool accepted;
    } cases[] = {
        {0xc0000080, EFER_SCE | EFER_LME | EFER_NXE, true},
        {0xc0000080, BIT(12), false},
        {0xc0000082, UINT64_C(0xffff800000000000), true},
        {0xc0000082, UINT64_C(0x0000800000000000), false},
        {0xc0000084, 0x47700, true},
        {0xc0000100, UINT64_C(0x7fffffffffff), true},
        {0xc0000101, UINT64_C(0x8000000000000000), false},
        {0xc0000102, UINT64_C(0xffff888000000000), true},
        {0xc0000103, 5, true},
        {0xc0000103, BIT(32), false},
        {0x174, 0x10, true},
        {0x176, UINT64_C(0x1000000000000000), false},
        {0x277, UINT64_C(0x0407050600070106), true},
        {0x277, UINT64_C(0x0202020202020202), false},
        {0x200, 0xe0000000 | 6, true},
        {0x200, 2, false},
        {0x200, UINT64_C(0x10000000000), false}, // beyond the physical bits
        {0x20f, UINT64_C(0xffe0000800), true},
        {0x250, UINT64_C(0x0606060606060606), true},
        {0x26f, UINT64_C(0x0202020202020202), false},
        {0x2ff, 0xc06, true},
        {0x2ff, 0x1000, false},
        {0x3b, 0x1234, true},
        {0x48, 1, true},
        {0x48, 0x100, false},
        {0x1d9, 2, true},
        {0x17a, 4, true},
        {0x400, UINT64_MAX, true},
        {0x401, 1, false},
        {0x401, 0, true},
    };
    struct fixture f;
    fixture_start(&f, "max");
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t value;
        assert_int_equal(write_msr(&f, cases[i].number, cases[i].value), cases[i].accepted);
        if (cases[i].accepted && cases[i].number != 0x3b) {
            assert_true(read_msr(&f, cases[i].number, &value));
            assert_true(value == cases[i].value);
        }
    }
    fixture_end(&f);
}

static void unknown_and_read_only(void **state)
{
    static const uint32_t unknown[] = {0x2,   0xc1,       0x186,      0x345,      0x38f, 0x428, 0x610,
                                       0x802, 0xc0000085, 0xc0010015, 0xffffffff, 0x210, 0x251, 0x270};
    static const uint32_t constants[] = {0xfe, 0x10a, 0x179, 0x3a};
    struct fixture f;
    uint64_t value;
    fixture_start(&f, "max");
    for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++) {
        assert_false(read_msr(&f, unknown[i], &value));
        assert_false(write_msr(&f, unknown[i], 0));
    }
    for (unsigned i = 0; i < ARRAY_SIZE(constants); i++) {
        assert_true(read_msr(&f, constants[i], &value));
        assert_false(write_msr(&f, constants[i], value));
    }
    fixture_end(&f);
    fixture_start(&f, "pentium");
    assert_false(read_msr(&f, 0xc0000080, &value));
    assert_false(read_msr(&f, 0x277, &value));
    assert_true(read_msr(&f, 0x10, &value));
    fixture_end(&f);
}

// What the board is to the MSRs below: a TSC that stands, a timer that remembers, an APIC that takes any base.
struct board {
    uint64_t tsc, deadline, base;
};

static uint64_t board_tsc(void *opaque)
{
    return ((struct board *)opaque)->tsc;
}

static uint64_t board_deadline(void *opaque)
{
    return ((struct board *)opaque)->deadline;
}

static void board_set_deadline(void *opaque, uint64_t value)
{
    ((struct board *)opaque)->deadline = value;
}

static uint64_t board_base(void *opaque)
{
    return ((struct board *)opaque)->base;
}

static bool board_set_base(void *opaque, uint64_t value)
{
    ((struct board *)opaque)->base = value;
    return true;
}

static void board_connect(struct fixture *f, struct board *board)
{
    f->cpu->outside = (struct cpu_outside){.opaque = board,
                                           .tsc = board_tsc,
                                           .tsc_deadline_read = board_deadline,
                                           .tsc_deadline_write = board_set_deadline,
                                           .apic_base_read = board_base,
                                           .apic_base_write = board_set_base};
}

/// The deadline is a time of the guest's TSC, whatever IA32_TSC_ADJUST is, and stays so when that changes.
static void deadline(void **state)
{
    struct board board = {.tsc = 1000};
    struct fixture f;
    uint64_t value;
    fixture_start(&f, "max");
    board_connect(&f, &board);
    assert_true(write_msr(&f, 0x6e0, 5000));
    assert_int_equal(board.deadline, 5000);
    assert_true(write_msr(&f, 0x3b, 500)); // the TSC is 1500 now
    assert_int_equal(board.deadline, 4500);
    assert_true(read_msr(&f, 0x6e0, &value));
    assert_int_equal(value, 5000);
    assert_true(write_msr(&f, 0x10, 200)); // ... and 200
    assert_true(read_msr(&f, 0x3b, &value));
    assert_true(value == (uint64_t)-800);
    assert_int_equal(board.deadline, 5800);
    assert_true(write_msr(&f, 0x10, 5000)); // over: the board fires at once
    assert_int_equal(board.deadline, 1000);
    assert_true(write_msr(&f, 0x6e0, 0));
    assert_int_equal(board.deadline, 0);
    assert_true(write_msr(&f, 0x6e0, 4999));
    assert_int_equal(board.deadline, 1000);
    assert_true(write_msr(&f, 0x10, 10));
    assert_true(write_msr(&f, 0x6e0, UINT64_MAX));
    assert_true(board.deadline == UINT64_MAX); // as far as it goes
    assert_true(write_msr(&f, 0x6e0, 0));
    board.deadline = 0;
    assert_true(write_msr(&f, 0x3b, 7)); // nothing armed: nothing to move
    assert_int_equal(board.deadline, 0);
    fixture_end(&f);
    fixture_start(&f, "qemu64");
    assert_false(read_msr(&f, 0x6e0, &value));
    fixture_end(&f);
}

static void apic_base(void **state)
{
    struct board board = {0};
    struct fixture f;
    fixture_start(&f, "max");
    board_connect(&f, &board);
    assert_true(write_msr(&f, 0x1b, 0xfee00000 | BIT(11) | BIT(10)));
    assert_true(write_msr(&f, 0x1b, BIT(f.model.physical_bits - 1) | BIT(11)));
    assert_false(write_msr(&f, 0x1b, BIT(f.model.physical_bits) | BIT(11)));
    assert_true(board.base == (BIT(f.model.physical_bits - 1) | BIT(11)));
    fixture_end(&f);
    fixture_start(&f, "pentium");
    board_connect(&f, &board);
    assert_false(write_msr(&f, 0x1b, 0xfee00000 | BIT(11) | BIT(10)));
    assert_true(write_msr(&f, 0x1b, 0xfee00000 | BIT(11)));
    fixture_end(&f);
}

static void fuzz(void **state)
{
    static const uint32_t areas[] = {0, 0x200, 0x400, 0x800, 0xc0000080, 0xc0010000, 0xc0011000};
    struct fixture f;
    uint64_t random = 1, value;
    unsigned accepted = 0;
    fixture_start(&f, "max");
    enter_long(&f, 0);
    for (unsigned i = 0; i < 20000; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        uint32_t number = areas[(random >> 40) % ARRAY_SIZE(areas)] + (random >> 33 & 0x3ff);
        accepted += write_msr(&f, number, random * random);
        read_msr(&f, number, &value);
        assert_int_equal(f.cpu->efer & EFER_LMA, EFER_LMA);
    }
    assert_true(accepted > 0);
    fixture_end(&f);
}

static void write_only(void **state)
{
    struct fixture f;
    uint64_t value;
    fixture_start(&f, "max");
    assert_true(write_msr(&f, 0x49, 1)); // IBPB
    assert_false(write_msr(&f, 0x49, 2));
    assert_false(read_msr(&f, 0x49, &value));
    f.model.features[FEATURE_SPEC_CTRL / 64] &= ~BIT(FEATURE_SPEC_CTRL % 64);
    assert_false(write_msr(&f, 0x49, 1));
    fixture_end(&f);
}

static void time_stamps(void **state)
{
    struct fixture f;
    uint64_t value;
    fixture_start(&f, "max");
    f.cpu->instructions = 1000;
    assert_true(write_msr(&f, 0x10, 0));
    assert_true(read_msr(&f, 0x3b, &value));
    assert_true(value == (uint64_t)-1000);
    f.cpu->instructions = 1500;
    helper_rdtsc(f.cpu, 0, 0, 0);
    assert_int_equal(f.cpu->var[VAR_RAX], 500);
    enter_protected(&f, 3);
    f.cpu->cr4 |= CR4_TSD;
    helper_rdtsc(f.cpu, 0, 0, 0);
    expect_fault(&f, VECTOR_GP, 0);
    fixture_end(&f);
}

static void control_registers(void **state)
{
    static const struct {
        unsigned number;
        uint64_t value;
        bool accepted;
    } cases[] = {
        {0, CR0_PE | CR0_ET, true},
        {0, CR0_PG, false},
        {0, CR0_NW, false},
        {0, CR0_PE | BIT(32), false},
        {4, CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE, true},
        {4, CR4_LA57, false},
        {4, CR4_PCIDE, false},
        {4, CR4_OSXSAVE, true},
        {4, BIT(22), false}, // PKE
        {4, BIT(63), false},
        {2, UINT64_C(0xdeadbeefdeadbeef), true},
        {8, 15, true},
        {8, 16, false},
    };
    struct fixture f;
    fixture_start(&f, "max");
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t before = helper_get_control(f.cpu, 0, 0, cases[i].number);
        helper_set_control(f.cpu, cases[i].value, 0, cases[i].number);
        assert_int_equal(!f.cpu->fault.pending, cases[i].accepted);
        f.cpu->fault.pending = false;
        if (cases[i].number != 8)
            assert_true(helper_get_control(f.cpu, 0, 0, cases[i].number) ==
                        (cases[i].accepted ? cases[i].value : before));
    }
    fixture_end(&f);
}

static void long_mode_switch(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    enter_protected(&f, 0);
    poke(&f, PAGES, (PAGES + 0x1000) | 7, 8);
    poke(&f, PAGES + 0x1000, (PAGES + 0x2000) | 7, 8);
    poke(&f, PAGES + 0x2000, 0x87, 8);
    helper_set_control(f.cpu, PAGES, 0, 3);
    assert_true(write_msr(&f, 0xc0000080, EFER_LME));
    helper_set_control(f.cpu, CR0_PE | CR0_PG, 0, 0); // without PAE
    expect_fault(&f, VECTOR_GP, 0);
    helper_set_control(f.cpu, CR4_PAE, 0, 4);
    helper_set_control(f.cpu, CR0_PE | CR0_PG, 0, 0);
    expect_fault(&f, -1, 0);
    assert_true(f.cpu->efer & EFER_LMA);
    assert_true(f.cpu->mode & MODE_LONG);
    assert_int_equal(f.cpu->mode & MODE_CODE_MASK, MODE_CODE32); // compatibility mode
    assert_false(write_msr(&f, 0xc0000080, 0));                  // LME while paging
    helper_set_control(f.cpu, 0, 0, 4);                          // PAE must stay
    expect_fault(&f, VECTOR_GP, 0);
    assert_int_equal(helper_far_direct(f.cpu, 0x9000 | (uint64_t)SEL_CODE64 << 32, 0, 4), 0x9000);
    assert_int_equal(f.cpu->mode & MODE_CODE_MASK, MODE_CODE64);
    helper_set_control(f.cpu, CR0_PE, 0, 0); // not from 64-bit code
    expect_fault(&f, VECTOR_GP, 0);
    helper_set_control(f.cpu, UINT64_C(1) << 45, 0, 3); // beyond the physical bits
    expect_fault(&f, VECTOR_GP, 0);
    assert_int_equal(f.cpu->cr3, PAGES);
    fixture_end(&f);
}

static void debug_registers(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    helper_set_debug(f.cpu, 0x1234, 0, 0);
    assert_int_equal(helper_get_debug(f.cpu, 0, 0, 0), 0x1234);
    helper_set_debug(f.cpu, 0, 0, 6);
    assert_int_equal(helper_get_debug(f.cpu, 0, 0, 4), 0xffff0ff0); // an alias
    f.cpu->cr4 |= CR4_DE;
    helper_get_debug(f.cpu, 0, 0, 4);
    expect_fault(&f, VECTOR_UD, -1);
    helper_set_debug(f.cpu, BIT(32), 0, 7);
    expect_fault(&f, VECTOR_GP, 0);
    helper_set_debug(f.cpu, BIT(13), 0, 7);
    assert_int_equal(helper_get_debug(f.cpu, 0, 0, 7), 0);
    expect_fault(&f, VECTOR_DB, -1);
    assert_true(f.cpu->dr[6] & BIT(13));
    fixture_end(&f);
}

static void port_permissions(void **state)
{
    struct fixture f;
    fixture_start(&f, "max");
    assert_true(io_check(f.cpu, 0x60, 1)); // real mode
    enter_protected(&f, 3);
    poke(&f, TSS_BASE + 0x66, 0x68, 2);
    assert_false(io_check(f.cpu, 0x60, 1)); // the TSS ends before any bitmap
    expect_fault(&f, VECTOR_GP, 0);
    f.cpu->segment[SEG_TR].limit = 0x68 + 0x100;
    poke(&f, TSS_BASE + 0x68 + 0x60 / 8, 0x02, 1); // 0x61
    assert_true(io_check(f.cpu, 0x60, 1));
    assert_false(io_check(f.cpu, 0x60, 2));
    expect_fault(&f, VECTOR_GP, 0);
    assert_false(io_check(f.cpu, 0xffff, 1)); // beyond the limit
    expect_fault(&f, VECTOR_GP, 0);
    cpu_set_rflags(f.cpu, 2 | FLAG_IOPL);
    assert_true(io_check(f.cpu, 0x61, 1));
    fixture_end(&f);
}

static uint64_t ramp_read(void *opaque, uint64_t offset, unsigned size)
{
    return (*(unsigned *)opaque)++;
}

static void ramp_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    *(unsigned *)opaque = (unsigned)value;
}

static void string_ports(void **state)
{
    static const struct region_ops ops = {.read = ramp_read, .write = ramp_write, .max_size = 4, .name = "ramp"};
    struct fixture f;
    unsigned next = 1;
    struct error error;
    uint64_t imm = 0 | 1 << 8 | 4 << 16 | (uint64_t)SEG_ES << 24 | BIT(32);
    fixture_start(&f, "max");
    address_space_map_device(&f.ports, "ramp", 0x100, 4, 0, &ops, &next, &error);
    enter_protected(&f, 0);
    f.cpu->var[VAR_RDX] = 0x100;
    f.cpu->var[VAR_RDI] = 0x5000;
    f.cpu->var[VAR_RCX] = 200;
    // It gives way between chunks, and goes on where it was.
    assert_int_equal(helper_string_io(f.cpu, 0x8000, 0x8002, imm), 0x8000);
    assert_true(f.cpu->var[VAR_RCX] > 0 && f.cpu->var[VAR_RCX] < 200);
    assert_int_equal(helper_string_io(f.cpu, 0x8000, 0x8002, imm), 0x8002);
    assert_int_equal(f.cpu->var[VAR_RCX], 0);
    assert_int_equal(f.cpu->var[VAR_RDI], 0x5000 + 200);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(peek(&f, 0x5000 + i, 1), (i + 1) & 0xff);
    // OUTS, no REP, backwards.
    f.cpu->var[VAR_FLAGS] |= FLAG_DF;
    f.cpu->var[VAR_RSI] = 0x5010;
    assert_int_equal(helper_string_io(f.cpu, 0x8000, 0x8002, 1 | 2 << 8 | 4 << 16 | (uint64_t)SEG_DS << 24), 0x8002);
    assert_int_equal(f.cpu->var[VAR_RSI], 0x500e);
    assert_int_equal(next, peek(&f, 0x5010, 2));
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(unknown_and_read_only),
        cmocka_unit_test(fuzz),
        cmocka_unit_test(deadline),
        cmocka_unit_test(apic_base),
        cmocka_unit_test(write_only),
        cmocka_unit_test(time_stamps),
        cmocka_unit_test(control_registers),
        cmocka_unit_test(long_mode_switch),
        cmocka_unit_test(debug_registers),
        cmocka_unit_test(port_permissions),
        cmocka_unit_test(string_ports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
