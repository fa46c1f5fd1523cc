// Rows against the host's processor: each row that user-mode code can run, in random forms and with random operands,
// runs natively and in the interpreter, on the same addresses, as 64-bit code and as 32-bit code; registers, flags less
// the row's undefined ones, memory and faults with error code and CR2 must agree. DOPPEL_TEST_STATES is the number of
// random states a row and mode.
#ifndef __x86_64__
#error "the host is the oracle here"
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/support_cases.h"
#include "cpu/support_host.h"

#define CASES_PER_FORM 32
#define FAST_STATES 2048

struct tester {
    struct cases cases;
    struct host_runner host;
    struct row_index *index;
    unsigned states;
    unsigned failures;
    unsigned long run, faults;
};

/// What ran before and after in one case.
struct result {
    struct user_state before, ours, theirs;
};

static unsigned wanted_states(void)
{
    const char *text = getenv("DOPPEL_TEST_STATES");
    return text ? (unsigned)strtoul(text, NULL, 10) : FAST_STATES;
}

// ---- Comparison ---------------------------------------------------------------------------------------------------

static void print_state(const char *who, const struct user_state *state)
{
    fprintf(stderr, "  %s: rip %llx flags %03x vector %d error %x cr2 %llx selectors", who,
            (unsigned long long)state->rip, (unsigned)state->flags, state->vector, state->error_code,
            (unsigned long long)state->cr2);
    for (unsigned n = 0; n < 6; n++)
        fprintf(stderr, " %x", state->selector[n]);
    for (unsigned n = 0; n < 16; n++)
        fprintf(stderr, "%s%016llx", n % 4 ? " " : "\n    ", (unsigned long long)state->gpr[n]);
    fprintf(stderr, "\n");
}

static void report(struct tester *tester, const struct insn *insn, const uint8_t *bytes, const char *what,
                   const struct result *result)
{
    if (tester->failures++ >= 30)
        return;
    char text[160];
    disassemble(insn, USER_INSN, text, sizeof text);
    fprintf(stderr, "%s-bit %s (", tester->cases.code64 ? "64" : "32", text);
    for (unsigned i = 0; i < insn->length; i++)
        fprintf(stderr, "%s%02x", i ? " " : "", bytes[i]);
    fprintf(stderr, "): %s\n", what);
    if (!result)
        return;
    print_state("before", &result->before);
    print_state("ours  ", &result->ours);
    print_state("host  ", &result->theirs);
}

static bool is_string(const struct insn *insn)
{
    return insn->row->lift == lift_string && (insn->rep || insn->repne);
}

/// Several accesses and checks whose order no manual tells: that both fault is enough.
static bool has_any_order(const struct insn *insn)
{
    static lift_function *const any[] = {lift_far_return, lift_iret,  lift_far_direct,       lift_far_indirect,
                                         lift_enter,      lift_bound, lift_load_far_pointer, lift_arpl};
    for (unsigned i = 0; i < ARRAY_SIZE(any); i++)
        if (insn->row->lift == any[i])
            return true;
    return false;
}

/// The host's kernel loads null selectors again as 0 when it switches tasks, whatever their RPL was.
static bool same_selectors(const uint16_t *ours, const uint16_t *theirs, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (ours[i] != theirs[i] && !(ours[i] <= 3 && theirs[i] == 0))
            return false;
    }
    return true;
}

static const char *compare(const struct tester *tester, const struct insn *insn, const struct result *result)
{
    const struct user_state *ours = &result->ours, *theirs = &result->theirs;
    unsigned registers = tester->cases.code64 ? 16 : 8;
    bool any_order = has_any_order(insn) && ours->vector >= 0 && theirs->vector >= 0;
    if (insn->row->lift == lift_arpl && ours->vector >= 0 && theirs->vector < 0)
        return NULL; // some processors write only what changes
    if (!any_order && ours->vector != theirs->vector)
        return "faults differ";
    if (!any_order && ours->error_code != theirs->error_code)
        return "error codes differ";
    if (!any_order && ours->cr2 != theirs->cr2)
        return "CR2 differs";
    if (ours->rip != theirs->rip)
        return "next instructions differ";
    bool partial = ours->vector >= 0 && insn->row->lift == lift_popa;
    if (!partial && memcmp(ours->gpr, theirs->gpr, registers * sizeof ours->gpr[0]) != 0)
        return "registers differ";
    if (!same_selectors(ours->selector, theirs->selector, ARRAY_SIZE(ours->selector)))
        return "selectors differ";
    uint64_t defined = cases_defined_flags(insn, &result->before);
    if (ours->vector >= 0) // nothing has happened, but that a REP may have come some way
        defined = is_string(insn) ? 0 : ~UINT64_C(0);
    if ((ours->flags ^ theirs->flags) & defined & (FLAGS_ARITHMETIC | FLAG_DF))
        return "flags differ";
    if (ours->vector >= 0 && !is_string(insn) && (ours->flags ^ result->before.flags) & (FLAGS_ARITHMETIC | FLAG_DF))
        return "flags changed by a fault";
    return NULL;
}

/// What of several stores a fault leaves behind is not defined.
static bool commits_partially(const struct insn *insn)
{
    return insn->row->lift == lift_enter || insn->row->lift == lift_pusha || insn->row->lift == lift_far_direct ||
           insn->row->lift == lift_far_indirect;
}

static void copy_memory(struct tester *tester)
{
    for (unsigned page = 0; page < USER_DATA_PAGES; page++)
        if (user_page_rights(page) != USER_PAGE_NONE)
            memcpy(tester->cases.guest->data + page * PAGE_SIZE, tester->host.data + page * PAGE_SIZE, PAGE_SIZE);
}

static bool memory_agrees(const struct tester *tester)
{
    for (unsigned page = 0; page < USER_DATA_PAGES; page++)
        if (user_page_rights(page) != USER_PAGE_NONE &&
            memcmp(tester->cases.guest->data + page * PAGE_SIZE, tester->host.data + page * PAGE_SIZE, PAGE_SIZE) != 0)
            return false;
    return true;
}

/// Not where the process has memory that the guest has not, nor when the branch goes astray: the place of its target
/// may have been one that this test could not write.
static bool host_may_run(const struct tester *tester, const struct insn *insn, const struct result *result)
{
    const struct user_state *ours = &result->ours;
    uint64_t next = USER_INSN + insn->length;
    // Whether an access over the end of a 4 GiB segment is #GP is up to the processor (SDM vol. 3 sec. 6.3).
    if (ours->vector == VECTOR_PF && !tester->cases.code64 && ours->cr2 >= 0xffffffe0)
        return false;
    if (ours->vector == VECTOR_PF)
        return ours->cr2 - USER_DATA < USER_DATA_PAGES * PAGE_SIZE || !host_has_page(ours->cr2);
    return ours->vector >= 0 || ours->rip == next || ours->rip == next + USER_BRANCH_DISTANCE ||
           ours->rip == (tester->cases.code64 ? USER_TARGET64 : USER_TARGET32);
}

static void run_case(struct tester *tester, const struct insn *insn, const uint8_t *bytes)
{
    struct result result;
    struct user_guest *guest = tester->cases.guest;
    cases_draw_state(&tester->cases, insn, &result.before);
    if (cases_result_is_undefined(insn, &result.before))
        return;
    user_guest_run(guest, &result.before, &result.ours);
    if (!host_may_run(tester, insn, &result)) {
        copy_memory(tester); // undoes what the guest has stored
        return;
    }
    host_run(&tester->host, tester->cases.code64, &result.before, &result.theirs);
    if (!result.theirs.rip && result.theirs.vector < 0)
        result.theirs.rip = USER_INSN + insn->length;
    if (result.ours.rip == USER_INSN + insn->length + USER_BRANCH_DISTANCE)
        result.ours.rip = tester->cases.code64 ? USER_TARGET64 : USER_TARGET32;
    tester->run++;
    tester->faults += result.ours.vector >= 0;
    const char *what = compare(tester, insn, &result);
    if (what)
        report(tester, insn, bytes, what, &result);
    if (result.ours.vector >= 0 && commits_partially(insn))
        copy_memory(tester);
}

static void start_form(struct tester *tester, const struct insn *insn, const uint8_t *bytes)
{
    user_guest_put_code(tester->cases.guest, bytes, insn->length);
    host_put_code(&tester->host, tester->cases.code64, bytes, insn->length);
}

/// False: a failure was reported.
static bool end_form(struct tester *tester, const struct insn *insn, const uint8_t *bytes, unsigned failures)
{
    if (memory_agrees(tester))
        return tester->failures == failures;
    if (tester->failures == failures)
        report(tester, insn, bytes, "memory differs", NULL);
    copy_memory(tester);
    return false;
}

// ---- Rows ---------------------------------------------------------------------------------------------------------

/// True: the row was tested.
static bool test_row(struct tester *tester, const struct row_form *form)
{
    unsigned forms = 0, wanted = (tester->states + CASES_PER_FORM - 1) / CASES_PER_FORM, failures = tester->failures;
    unsigned long faults = tester->faults, run = tester->run;
    for (unsigned draw = 0; draw < wanted * 16 && forms < wanted; draw++) {
        uint8_t bytes[32];
        struct insn insn;
        if (!cases_make_instruction(&tester->cases, form, bytes, &insn))
            continue;
        forms++;
        start_form(tester, &insn, bytes);
        for (unsigned i = 0; i < CASES_PER_FORM && tester->failures == failures; i++)
            run_case(tester, &insn, bytes);
        if (!end_form(tester, &insn, bytes, failures))
            return true; // one report a row
    }
    bool always_faults = (form->row->attributes & ROW_CPL0) || form->row->lift == lift_ud ||
                         form->row->lift == lift_cli || form->row->lift == lift_sti || form->row->lift == lift_in ||
                         form->row->lift == lift_out || form->row->lift == lift_string_io;
    bool good = forms == wanted && (always_faults || tester->faults - faults < (tester->run - run) * 3 / 4);
    if (!good)
        fprintf(stderr, "row \"%s\" (%s): %u forms, %lu of %lu cases fault\n", form->row->encoding, form->row->mnemonic,
                forms, tester->faults - faults, tester->run - run);
    return good;
}

static void test_rows(struct tester *tester, bool code64)
{
    host_catch_signals();
    tester->cases.code64 = code64;
    user_guest_set_code(tester->cases.guest, code64);
    unsigned tested = 0, lacking = 0, untested = 0;
    for (unsigned n = 0; n < row_count(); n++) {
        const struct row *row = row_get(n);
        if (!cases_row_is_user(row, code64))
            continue;
        if (!host_has(row->feature)) {
            lacking++;
            printf("the host does not have \"%s\" (%s)\n", row->encoding, row->mnemonic);
        } else if (test_row(tester, &tester->index->forms[n])) {
            tested++;
        } else {
            untested++;
        }
    }
    printf(
        "%s-bit code: %u rows host-tested (%u states each; %lu of %lu cases fault), %u not on this host, %u untested\n",
        code64 ? "64" : "32", tested, tester->states, tester->faults, tester->run, lacking, untested);
    assert_int_equal(untested, 0);
    assert_int_equal(tester->failures, 0);
}

static void test_64(void **state)
{
    test_rows(*state, true);
}

static void test_32(void **state)
{
    struct tester *tester = *state;
    if (!tester->host.code32) {
        printf("skip: no 32-bit segments\n");
        skip();
    }
    test_rows(tester, false);
}

// ---- Page ends ----------------------------------------------------------------------------------------------------

/// Every place of an operand near the border between two pages of different rights: what faults must have changed
/// nothing, and say where. False: no such operand.
static bool test_borders(struct tester *tester, const struct row_form *form)
{
    static const uint8_t borders[] = {8, 9, 10, 11, 12};
    unsigned failures = tester->failures, forms = tester->states / FAST_STATES * 4;
    for (unsigned draw = 0; draw < ARRAY_SIZE(borders) * 17 * (forms ? forms : 1); draw++) {
        uint8_t bytes[32];
        struct insn insn;
        tester->cases.aim =
            USER_DATA + borders[draw % ARRAY_SIZE(borders)] * PAGE_SIZE - draw / ARRAY_SIZE(borders) % 17;
        bool made = false;
        for (unsigned tries = 0; tries < 30 && !made; tries++)
            made = cases_make_instruction(&tester->cases, form, bytes, &insn) && cases_touches_memory(&insn);
        if (!made)
            return draw > 0;
        start_form(tester, &insn, bytes);
        for (unsigned i = 0; i < 3 && tester->failures == failures; i++)
            run_case(tester, &insn, bytes);
        if (!end_form(tester, &insn, bytes, failures))
            return true;
    }
    return true;
}

static void test_all_borders(struct tester *tester, bool code64)
{
    host_catch_signals();
    tester->cases.code64 = code64;
    user_guest_set_code(tester->cases.guest, code64);
    unsigned rows = 0;
    for (unsigned n = 0; n < row_count(); n++)
        if (cases_row_is_user(row_get(n), code64) && host_has(row_get(n)->feature) &&
            !(row_get(n)->attributes & ROW_CPL0))
            rows += test_borders(tester, &tester->index->forms[n]);
    tester->cases.aim = 0;
    printf("%s-bit code: %u rows at page ends, %lu of %lu cases fault\n", code64 ? "64" : "32", rows, tester->faults,
           tester->run);
    assert_int_equal(tester->failures, 0);
    assert_true(rows > 150 && tester->faults > tester->run / 10);
}

static void test_borders_64(void **state)
{
    test_all_borders(*state, true);
}

static void test_borders_32(void **state)
{
    struct tester *tester = *state;
    if (!tester->host.code32) {
        printf("skip: no 32-bit segments\n");
        skip();
    }
    test_all_borders(tester, false);
}

static int set_up(void **state)
{
    struct tester *tester = calloc(1, sizeof *tester);
    struct error error = {{0}};
    assert_non_null(tester);
    host_open(&tester->host);
    tester->index = row_index_build(&error);
    assert_non_null(tester->index);
    tester->states = wanted_states();
    tester->cases =
        (struct cases){.index = tester->index, .guest = user_guest_create(), .host_data = tester->host.data, .seed = 7};
    tester->cases.guest->fs_base = tester->host.fs_base;
    for (unsigned i = 0; i < USER_DATA_PAGES * PAGE_SIZE; i += 8)
        cases_store(&tester->cases, USER_DATA + i, support_random(&tester->cases.seed), 8);
    memset(tester->cases.guest->data + 10 * PAGE_SIZE, 0, PAGE_SIZE); // as the host's page that cannot be written
    *state = tester;
    return 0;
}

static int tear_down(void **state)
{
    struct tester *tester = *state;
    user_guest_destroy(tester->cases.guest);
    row_index_free(tester->index);
    host_close(&tester->host);
    free(tester);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_64, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_32, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_borders_64, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_borders_32, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
