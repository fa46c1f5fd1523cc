// The passes over hand-made uops: which flags stay alive, which copies go, where temporaries end.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "translate/passes.h"

#define T(n) (VAR_TEMP + (n))

static struct pass_block pass;
static struct pass_numbering numbering;

static bool refuse(const struct uop *u)
{
    return false;
}

static const struct pass_support all_supported, no_multiplication = {.asked = {BIT(UOP_MUL)}, .answer = refuse};

static void run(struct uop *uops, unsigned count, const struct pass_support *supported)
{
    struct block block = {.uop_count = (uint16_t)count};
    passes_start(&numbering);
    passes_run(&pass, &block, uops, supported, &numbering);
}

static struct uop alu(enum uop_op op, unsigned dst, unsigned a, unsigned b, unsigned insn)
{
    return (struct uop){.op = (uint8_t)op,
                        .width = WIDTH_32,
                        .dst = (uint8_t)dst,
                        .a = (uint8_t)a,
                        .b = (uint8_t)b,
                        .c = VAR_ZERO,
                        .insn = (uint8_t)insn,
                        .aux = UOP_SETS_FLAGS};
}

static struct uop plain(enum uop_op op, unsigned dst, unsigned a, unsigned b, unsigned insn)
{
    struct uop u = alu(op, dst, a, b, insn);
    u.aux = 0;
    return u;
}

static void test_flags_die_when_overwritten(void **state)
{
    struct uop uops[] = {
        alu(UOP_ADD, VAR_RAX, VAR_RAX, VAR_RCX, 0), // dead
        alu(UOP_SUB, VAR_RDX, VAR_RDX, VAR_RCX, 1), // dead
        alu(UOP_AND, VAR_NONE, VAR_RDX, VAR_RDX, 2),
        plain(UOP_EXIT, VAR_NONE, VAR_ZERO, VAR_ZERO, 2),
    };
    run(uops, ARRAY_SIZE(uops), &all_supported);
    assert_false(pass.facts[0].flags_live);
    assert_false(pass.facts[1].flags_live);
    assert_true(pass.facts[2].flags_live);
}

static void test_flags_live_where_the_block_can_be_left(void **state)
{
    static const enum uop_op leavers[] = {UOP_XLAT, UOP_CALL, UOP_ROW, UOP_SEG, UOP_DIV, UOP_IDIV};
    for (unsigned i = 0; i < ARRAY_SIZE(leavers); i++) {
        struct uop uops[] = {
            alu(UOP_ADD, VAR_RAX, VAR_RAX, VAR_RCX, 0),
            plain(leavers[i], T(0), VAR_RDI, VAR_ZERO, 1),
            alu(UOP_SUB, VAR_RDX, VAR_RDX, VAR_RCX, 2),
            plain(UOP_EXIT, VAR_NONE, VAR_ZERO, VAR_ZERO, 2),
        };
        run(uops, ARRAY_SIZE(uops), &all_supported);
        assert_true(pass.facts[0].flags_live);
        assert_true(pass.facts[2].flags_live);
    }
}

static void test_flags_live_before_what_the_backend_lacks(void **state)
{
    struct uop uops[] = {
        alu(UOP_ADD, VAR_RAX, VAR_RAX, VAR_RCX, 0),
        alu(UOP_MUL, VAR_RDX, VAR_RDX, VAR_RCX, 1),
        plain(UOP_EXIT, VAR_NONE, VAR_ZERO, VAR_ZERO, 1),
    };
    run(uops, ARRAY_SIZE(uops), &all_supported);
    assert_false(pass.facts[0].flags_live);
    run(uops, ARRAY_SIZE(uops), &no_multiplication);
    assert_true(pass.facts[0].flags_live);
}

/// A CALL may ask to leave after its instruction: flags made behind it in the same instruction are needed there.
static void test_flags_live_after_a_call(void **state)
{
    struct uop uops[] = {
        plain(UOP_CALL, T(0), VAR_RAX, VAR_ZERO, 0),
        alu(UOP_SUB, VAR_NONE, T(0), VAR_RCX, 0),
        alu(UOP_ADD, VAR_RAX, VAR_RAX, VAR_RCX, 1),
        plain(UOP_EXIT, VAR_NONE, VAR_ZERO, VAR_ZERO, 1),
    };
    run(uops, ARRAY_SIZE(uops), &all_supported);
    assert_true(pass.facts[1].flags_live);
    uops[0].op = UOP_BSWAP;
    run(uops, ARRAY_SIZE(uops), &all_supported);
    assert_false(pass.facts[1].flags_live);
}

static void test_partial_flags_keep_the_old_alive(void **state)
{
    static const enum uop_op partial[] = {UOP_INC, UOP_DEC, UOP_SHL, UOP_ROL, UOP_BT, UOP_ADC};
    for (unsigned i = 0; i < ARRAY_SIZE(partial); i++) {
        struct uop uops[] = {
            alu(UOP_ADD, VAR_RAX, VAR_RAX, VAR_RCX, 0),
            alu(partial[i], VAR_RDX, VAR_RDX, VAR_RCX, 1),
            plain(UOP_EXIT, VAR_NONE, VAR_ZERO, VAR_ZERO, 1),
        };
        run(uops, ARRAY_SIZE(uops), &all_supported);
        assert_true(pass.facts[0].flags_live);
    }
    // A shift by a constant makes all flags, one by 0 none.
    struct uop uops[] = {
        alu(UOP_ADD, VAR_RAX, VAR_RAX, VAR_RCX, 0),
        alu(UOP_SHL, VAR_RDX, VAR_RDX, VAR_IMM, 1),
        plain(UOP_EXIT, VAR_NONE, VAR_ZERO, VAR_ZERO, 1),
    };
    uops[1].imm = 3;
    run(uops, ARRAY_SIZE(uops), &all_supported);
    assert_false(pass.facts[0].flags_live);
    uops[1].imm = 32;
    run(uops, ARRAY_SIZE(uops), &all_supported);
    assert_true(pass.facts[0].flags_live);
}

/// Flags that the next part of a superblock makes anew are dead at the end of this one, but where it can be left.
static void test_flags_die_in_the_next_part(void **state)
{
    struct uop first[] = {
        alu(UOP_SUB, VAR_RDX, VAR_RDX, VAR_RCX, 0), // the next one may leave
        plain(UOP_XLAT, T(0), VAR_RDI, VAR_ZERO, 1),
        alu(UOP_ADD, VAR_RAX, VAR_RAX, VAR_RCX, 2),
        plain(UOP_EXIT, VAR_NONE, VAR_ZERO, VAR_ZERO, 2),
    };
    struct uop next[] = {
        alu(UOP_ROR, VAR_RDX, VAR_RDX, VAR_IMM, 0),
        alu(UOP_INC, VAR_RDX, VAR_RDX, VAR_IMM, 1),
        alu(UOP_XOR, VAR_RAX, VAR_RAX, VAR_RDX, 2),
        plain(UOP_EXIT, VAR_NONE, VAR_ZERO, VAR_ZERO, 2),
    };
    run(next, ARRAY_SIZE(next), &all_supported);
    assert_false(pass.flags_before);
    assert_false(pass.facts[0].flags_live);
    assert_true(pass_kills_flags(next, ARRAY_SIZE(next), &all_supported));
    assert_false(pass_kills_flags(next, 2, &all_supported));
    next[1].op = UOP_ADC;
    run(next, ARRAY_SIZE(next), &all_supported);
    assert_true(pass.flags_before);
    assert_false(pass_kills_flags(next, ARRAY_SIZE(next), &all_supported));

    run(first, ARRAY_SIZE(first), &all_supported);
    assert_true(pass.facts[2].flags_live);
    pass_flags_die_behind(&pass);
    assert_false(pass.facts[2].flags_live);
    assert_true(pass.facts[0].flags_live);
    first[3].op = UOP_EXIT_IF; // may leave for elsewhere
    run(first, ARRAY_SIZE(first), &all_supported);
    pass_flags_die_behind(&pass);
    assert_true(pass.facts[2].flags_live);
}

static void test_copies(void **state)
{
    struct uop uops[] = {
        alu(UOP_ADD, T(0), VAR_RAX, VAR_RCX, 0),
        plain(UOP_MOV, VAR_RAX, VAR_ZERO, T(0), 0), // goes
        alu(UOP_ADD, T(1), VAR_RAX, VAR_RCX, 1),
        plain(UOP_MOV, VAR_RDX, VAR_ZERO, T(1), 1), // stays: T(1) is read again
        plain(UOP_STORE, VAR_NONE, VAR_RDI, T(1), 1),
        plain(UOP_LOAD, T(2), VAR_RDI, VAR_ZERO, 2),
        plain(UOP_MOV, VAR_RBX, VAR_ZERO, T(2), 2), // stays: a byte merges, the load does not
        plain(UOP_EXIT, VAR_NONE, VAR_ZERO, VAR_ZERO, 2),
    };
    uops[5].width = uops[6].width = WIDTH_8;
    run(uops, ARRAY_SIZE(uops), &all_supported);
    assert_int_equal(pass.uops[0].dst, VAR_RAX);
    assert_int_equal(pass.uops[1].op, UOP_NOP);
    assert_int_equal(pass.uops[2].dst, T(1));
    assert_int_equal(pass.uops[3].op, UOP_MOV);
    assert_int_equal(pass.uops[6].op, UOP_MOV);
    assert_int_equal(pass.variables[T(1)].last_use, 4);
    assert_int_equal(pass.guest_used, BIT(VAR_RAX) | BIT(VAR_RCX) | BIT(VAR_RDX) | BIT(VAR_RBX) | BIT(VAR_RDI));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags_die_when_overwritten),
        cmocka_unit_test(test_flags_live_where_the_block_can_be_left),
        cmocka_unit_test(test_flags_live_before_what_the_backend_lacks),
        cmocka_unit_test(test_flags_live_after_a_call),
        cmocka_unit_test(test_partial_flags_keep_the_old_alive),
        cmocka_unit_test(test_flags_die_in_the_next_part),
        cmocka_unit_test(test_copies),
    };
    return cmocka_run_group_tests_name("translate: passes", tests, NULL, NULL);
}
