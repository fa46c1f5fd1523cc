// Which accesses of hand-made blocks share a check with one before them. That sharing is right is shown by the random
// blocks of the other tests, and by builds with debug checks, which compare every shared handle.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "translate/passes.h"

#define T(n) (VAR_TEMP + (n))
#define MOST_UOPS 64

static struct pass_block pass;
static struct pass_numbering numbering;
static struct uop uops[MOST_UOPS];
static unsigned count, temps;

static const struct pass_support all_supported;

static void start(void)
{
    count = temps = 0;
}

static unsigned add(enum uop_op op, unsigned width, unsigned dst, unsigned a, unsigned b, int64_t imm)
{
    uops[count] = (struct uop){.op = (uint8_t)op,
                               .width = (uint8_t)width,
                               .dst = (uint8_t)dst,
                               .a = (uint8_t)a,
                               .b = (uint8_t)b,
                               .imm = imm,
                               .c = VAR_ZERO,
                               .insn = (uint8_t)(count / 3)};
    return count++;
}

static unsigned temp(void)
{
    return T(temps++);
}

/// [base + index + displacement] of `size` bytes to RAX, or RAX there. Returns the number of the load or store.
static unsigned access_at(unsigned base, unsigned index, int64_t displacement, unsigned size, unsigned aux)
{
    unsigned address = temp(), handle = temp(), xlat;
    add(UOP_EA, WIDTH_64, address, base, index, displacement);
    xlat = add(UOP_XLAT, WIDTH_8, handle, address, VAR_ZERO, 0);
    uops[xlat].param = size;
    uops[xlat].aux = (uint8_t)aux;
    if (aux & UOP_WRITE)
        return add(UOP_STORE, WIDTH_64, VAR_NONE, handle, VAR_RAX, 0);
    return add(UOP_LOAD, WIDTH_64, VAR_RAX, handle, VAR_ZERO, 0);
}

static void run(bool no_reuse)
{
    struct block block = {.no_reuse = no_reuse};
    add(UOP_EXIT, WIDTH_64, VAR_NONE, VAR_ZERO, VAR_ZERO, 0);
    block.uop_count = (uint16_t)count;
    passes_start(&numbering);
    passes_run(&pass, &block, uops, &all_supported, &numbering);
}

/// The load or store `follower` uses the handle of `leader`, `distance` bytes on.
static void assert_follows(unsigned follower, unsigned leader, int32_t distance)
{
    assert_int_equal(pass.uops[follower].a, uops[leader - 1].dst);
    assert_int_equal(pass.facts[follower].displacement, distance);
}

static void assert_checks(unsigned number)
{
    assert_int_equal(pass.uops[number].a, uops[number - 1].dst);
    assert_int_equal(pass.facts[number].displacement, 0);
    assert_int_equal(pass.uops[number - 1].op, UOP_XLAT);
}

static void test_same_base(void **state)
{
    unsigned first, second, third;
    start();
    first = access_at(VAR_RDI, VAR_ZERO, 8, 8, 0);
    second = access_at(VAR_RDI, VAR_ZERO, 32, 8, 0);
    third = access_at(VAR_RDI, VAR_ZERO, -4, 4, 0);
    run(false);
    assert_int_equal(pass.followers, 2);
    assert_checks(first);
    assert_follows(second, first, 24);
    assert_follows(third, first, -12);
    assert_int_equal(pass.facts[first - 1].group_low, -12);
    assert_int_equal(pass.facts[first - 1].group_bytes, 44);
    assert_true(pass.variables[uops[first - 1].dst].last_use == third);
}

static void test_can_be_switched_off(void **state)
{
    start();
    access_at(VAR_RDI, VAR_ZERO, 8, 8, 0);
    access_at(VAR_RDI, VAR_ZERO, 16, 8, 0);
    run(true);
    assert_int_equal(pass.followers, 0);
}

/// What lies in the bytes that are checked anyway needs no more of the page.
static void test_same_bytes_all_the_same(void **state)
{
    unsigned first, again, half, behind;
    (void)state;
    start();
    first = access_at(VAR_RBX, VAR_ZERO, 8, 8, 0);
    again = access_at(VAR_RBX, VAR_ZERO, 8, 8, 0);
    half = access_at(VAR_RBX, VAR_ZERO, 12, 4, 0);
    behind = access_at(VAR_RBX, VAR_ZERO, 12, 8, 0);
    run(true);
    assert_int_equal(pass.followers, 2);
    assert_follows(again, first, 0);
    assert_follows(half, first, 4);
    assert_checks(behind);
}

static void test_base_that_moves(void **state)
{
    unsigned first, second, third;
    start();
    first = access_at(VAR_RSP, VAR_ZERO, -8, 8, UOP_WRITE);
    add(UOP_ADD, WIDTH_64, VAR_RSP, VAR_RSP, VAR_IMM, -8);
    second = access_at(VAR_RSP, VAR_ZERO, -8, 8, UOP_WRITE);
    add(UOP_ADD, WIDTH_64, VAR_RSP, VAR_RSP, VAR_RCX, 0);
    third = access_at(VAR_RSP, VAR_ZERO, -8, 8, UOP_WRITE);
    run(false);
    assert_int_equal(pass.followers, 1);
    assert_follows(second, first, -8);
    assert_checks(third);
}

static void test_loaded_base(void **state)
{
    unsigned second;
    start();
    access_at(VAR_RAX, VAR_ZERO, 0, 8, 0); // changes RAX
    second = access_at(VAR_RAX, VAR_ZERO, 0, 8, 0);
    run(false);
    assert_checks(second);
}

static void test_sum_of_two(void **state)
{
    unsigned first, second, other;
    start();
    first = access_at(VAR_RDI, VAR_RCX, 0, 8, 0);
    second = access_at(VAR_RDI, VAR_RCX, 8, 8, 0);
    other = access_at(VAR_RDI, VAR_RDX, 8, 8, 0);
    run(false);
    assert_follows(second, first, 8);
    assert_checks(other);
}

static void test_calls_end_groups(void **state)
{
    unsigned second;
    start();
    access_at(VAR_RDI, VAR_ZERO, 0, 8, 0);
    add(UOP_CALL, WIDTH_64, VAR_NONE, VAR_ZERO, VAR_ZERO, 0);
    second = access_at(VAR_RDI, VAR_ZERO, 8, 8, 0);
    run(false);
    assert_int_equal(pass.followers, 0);
    assert_checks(second);
}

static void test_write_after_read(void **state)
{
    unsigned read, write, other;
    start();
    read = access_at(VAR_RDI, VAR_ZERO, 0, 8, 0);
    write = access_at(VAR_RDI, VAR_ZERO, 8, 8, UOP_WRITE);
    other = access_at(VAR_RDI, VAR_ZERO, 16, 8, 0);
    run(false);
    assert_checks(read); // for writing
    assert_true(pass.facts[read - 1].early_write);
    assert_true(pass.uops[read - 1].aux & UOP_WRITE);
    assert_follows(write, read, 8);
    assert_follows(other, read, 16);
}

static void test_only_reads(void **state)
{
    unsigned read, write;
    start();
    read = access_at(VAR_RDI, VAR_ZERO, 0, 8, 0);
    access_at(VAR_RDI, VAR_ZERO, 8, 8, 0);
    write = access_at(VAR_RSI, VAR_ZERO, 8, 8, UOP_WRITE);
    run(false);
    assert_false(pass.facts[read - 1].early_write);
    assert_false(pass.uops[read - 1].aux & UOP_WRITE);
    assert_checks(write);
    assert_false(pass.facts[write - 1].early_write);
}

/// An index of 8 bits lets the base stand for the address, unless something changes it in between.
static void test_small_index(void **state)
{
    unsigned small, shifted, large, moved;
    start();
    add(UOP_ZEXT, WIDTH_32, VAR_RCX, VAR_RCX, VAR_ZERO, 0);
    small = access_at(VAR_RDI, VAR_RCX, 0, 8, 0);
    add(UOP_SHR, WIDTH_32, VAR_RDX, VAR_RDX, VAR_IMM, 23);
    shifted = access_at(VAR_RDI, VAR_RDX, 8, 8, 0);
    add(UOP_ADD, WIDTH_32, VAR_RCX, VAR_RCX, VAR_RCX, 0);
    large = access_at(VAR_RSI, VAR_RCX, 0, 8, 0);
    add(UOP_AND, WIDTH_64, VAR_RCX, VAR_RCX, VAR_IMM, 0xff);
    moved = access_at(VAR_RBX, VAR_RCX, 0, 8, 0);
    uops[moved + 1] = uops[moved];
    uops[moved] = uops[moved - 1];
    uops[moved - 1] = (struct uop){.op = UOP_MOV, .width = WIDTH_64, .dst = VAR_RBX, .b = VAR_RDX, .c = VAR_ZERO};
    count++;
    run(false);
    assert_int_equal(pass.facts[small - 1].tlb_base, VAR_RDI);
    assert_int_equal(pass.facts[shifted - 1].tlb_base, VAR_RDI);
    assert_int_equal(pass.facts[large - 1].tlb_base, VAR_NONE);
    assert_int_equal(pass.facts[moved].tlb_base, VAR_NONE);
}

static void test_too_far(void **state)
{
    start();
    access_at(VAR_RDI, VAR_ZERO, 0, 8, 0);
    access_at(VAR_RDI, VAR_ZERO, PASS_GROUP_BYTES, 8, 0);
    access_at(VAR_RDI, VAR_ZERO, INT64_MAX, 8, 0);
    run(false);
    assert_int_equal(pass.followers, 0);
}

static void test_alignment(void **state)
{
    unsigned first, second, third;
    start();
    first = access_at(VAR_RDI, VAR_ZERO, 0, 16, UOP_ALIGNED);
    second = access_at(VAR_RDI, VAR_ZERO, 32, 16, UOP_ALIGNED);
    third = access_at(VAR_RDI, VAR_ZERO, 40, 16, UOP_ALIGNED); // faults when the first does not
    run(false);
    assert_follows(second, first, 32);
    assert_checks(third);
}

/// What 32 bits were cut from is no base for 64 bits.
static void test_cut_base(void **state)
{
    unsigned first, second;
    start();
    add(UOP_EA, WIDTH_32, VAR_RCX, VAR_RDI, VAR_ZERO, 8);
    first = access_at(VAR_RCX, VAR_ZERO, 0, 8, 0);
    second = access_at(VAR_RDI, VAR_ZERO, 8, 8, 0);
    run(false);
    assert_checks(first);
    assert_checks(second);
}

/// The interpreter may take over while it wants the handle: the access keeps its own.
static void test_handle_that_is_wanted(void **state)
{
    unsigned second;
    start();
    access_at(VAR_RDI, VAR_ZERO, 0, 8, 0);
    second = access_at(VAR_RDI, VAR_ZERO, 8, 8, 0);
    uops[second + 1] = uops[second];
    uops[second] = (struct uop){.op = UOP_CHECK_TARGET, .dst = VAR_NONE, .a = VAR_RDX, .c = VAR_ZERO};
    count++;
    run(false);
    assert_int_equal(pass.followers, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_base),
        cmocka_unit_test(test_can_be_switched_off),
        cmocka_unit_test(test_same_bytes_all_the_same),
        cmocka_unit_test(test_base_that_moves),
        cmocka_unit_test(test_loaded_base),
        cmocka_unit_test(test_sum_of_two),
        cmocka_unit_test(test_calls_end_groups),
        cmocka_unit_test(test_write_after_read),
        cmocka_unit_test(test_only_reads),
        cmocka_unit_test(test_small_index),
        cmocka_unit_test(test_too_far),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_cut_base),
        cmocka_unit_test(test_handle_that_is_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
