// What is no instruction: the opcode maps, systematically, against Zydis for which encodings exist and against the
// host's processor for what happens to those that do not (#UD, nothing changed); instructions of more than 15 bytes;
// and both at the end of a page. DOPPEL_TEST_STATES, when it is given, means every ModRM byte.
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
#include "cpu/support_zydis.h"

struct tester {
    struct user_guest *guest;
    struct host_runner host;
    struct row_index *index;
    ZydisDecoder zydis[2]; // of 32- and 64-bit code
    uint64_t seed;
    bool code64, whole;
    unsigned failures;
    unsigned long compared, illegal, missing, ran;
};

__attribute__((format(printf, 4, 5))) static void report(struct tester *tester, const uint8_t *bytes, unsigned length,
                                                         const char *format, ...)
{
    if (tester->failures++ >= 40)
        return;
    va_list arguments;
    fprintf(stderr, "%s-bit", tester->code64 ? "64" : "32");
    for (unsigned i = 0; i < length; i++)
        fprintf(stderr, " %02x", bytes[i]);
    fprintf(stderr, ": ");
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n");
}

static void draw_state(struct tester *tester, struct user_state *state)
{
    for (unsigned n = 0; n < 16; n++)
        state->gpr[n] = tester->code64 ? support_random(&tester->seed)
                        : n < 8        ? (uint32_t)support_random(&tester->seed)
                                       : 0;
    state->gpr[VAR_RSP] = USER_DATA + USER_DATA_SIZE / 2;
    state->flags = (support_random(&tester->seed) & FLAGS_ARITHMETIC) | FLAG_IF | 2;
}

/// Runs what must fault in both; the fault, its place and that nothing has changed must agree.
static void compare_fault(struct tester *tester, uint64_t at, const uint8_t *bytes, unsigned length)
{
    struct user_state before = {{0}}, ours, theirs;
    draw_state(tester, &before);
    user_guest_run(tester->guest, &before, &ours);
    if (ours.vector < 0) {
        report(tester, bytes, length, "no fault, goes on at %llx", (unsigned long long)ours.rip);
        return;
    }
    host_run(&tester->host, tester->code64, &before, &theirs);
    tester->ran++;
    bool fetched_on = ours.vector == VECTOR_UD && theirs.vector == VECTOR_PF && at + length == theirs.cr2 &&
                      theirs.cr2 == USER_DATA + USER_DATA_SIZE && theirs.rip == at;
    if (fetched_on)
        return;
    if (ours.vector != theirs.vector || ours.error_code != theirs.error_code || ours.cr2 != theirs.cr2)
        report(tester, bytes, length, "vector %d error %x cr2 %llx, host %d %x %llx", ours.vector, ours.error_code,
               (unsigned long long)ours.cr2, theirs.vector, theirs.error_code, (unsigned long long)theirs.cr2);
    else if (ours.rip != at || theirs.rip != at)
        report(tester, bytes, length, "faults at %llx, host at %llx", (unsigned long long)ours.rip,
               (unsigned long long)theirs.rip);
    else if (memcmp(ours.gpr, before.gpr, (tester->code64 ? 16 : 8) * 8) != 0 ||
             memcmp(theirs.gpr, before.gpr, (tester->code64 ? 16 : 8) * 8) != 0 ||
             ((ours.flags ^ before.flags) & FLAGS_ARITHMETIC) || ((theirs.flags ^ before.flags) & FLAGS_ARITHMETIC))
        report(tester, bytes, length, "registers or flags changed");
}

static void put_at_end(struct tester *tester, const uint8_t *bytes, unsigned length)
{
    uint64_t at = USER_DATA + USER_DATA_SIZE - length;
    user_guest_put_code_at(tester->guest, at, bytes, length);
    host_put_code_at(&tester->host, at, bytes, length);
}

// ---- The opcode maps ------------------------------------------------------------------------------------------------

static bool zydis_takes(struct tester *tester, const uint8_t *bytes, ZydisDecodedInstruction *zydis)
{
    return ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&tester->zydis[tester->code64], NULL, bytes, 15, zydis));
}

/// Nothing for doppel and for Zydis, but something on some processors: what a hypervisor asks for by VMCALL with a
/// prefix, AMD's LOCK MOV CR0 for MOV CR8, and VPERMQ and VPERMPD without W, which AMD's do not look at.
static bool host_may_have(const uint8_t *bytes, unsigned length)
{
    const uint8_t *end = bytes + length;
    bool vmcall = length >= 3 && end[-3] == 0x0f && end[-2] == 0x01 && end[-1] == 0xc1;
    if (bytes[0] == 0xc4 && (bytes[1] & 31) == 3 && (bytes[2] & 0x87) == 5 && bytes[3] <= 1)
        return true;
    return vmcall || (bytes[0] == 0xf0 && end[-3] == 0x0f && (end[-2] == 0x20 || end[-2] == 0x22));
}

static void check(struct tester *tester, const uint8_t *bytes, unsigned length)
{
    struct insn insn;
    ZydisDecodedInstruction zydis;
    bool legal = decode(tester->index, &tester->guest->model, user_mode(tester->code64), bytes, 15, &insn) == DECODE_OK;
    bool theirs = zydis_takes(tester, bytes, &zydis);
    tester->compared++;
    if (legal && !theirs)
        report(tester, bytes, length, "is row \"%s\" (%s), nothing for Zydis", insn.row->encoding, insn.row->mnemonic);
    if (!legal && theirs) {
        tester->missing++;
        if (!zydis_extension_may_be_missing(&zydis))
            report(tester, bytes, length, "is nothing, Zydis has %s", ZydisMnemonicGetString(zydis.mnemonic));
        return;
    }
    if (legal || host_may_have(bytes, length))
        return;
    tester->illegal++;
    user_guest_put_code(tester->guest, bytes, 15);
    host_put_code(&tester->host, tester->code64, bytes, 15);
    compare_fault(tester, USER_INSN, bytes, length);
    // The last byte that says so at the end of a page. How much of what is no instruction is fetched before that is
    // noticed, is up to the processor: the page fault may come first.
    if (tester->illegal % 16 == 0) {
        put_at_end(tester, bytes, insn.length);
        compare_fault(tester, USER_DATA + USER_DATA_SIZE - insn.length, bytes, insn.length);
    }
}

static const struct {
    uint8_t bytes[3], length;
} prefix_sets[] = {{{0}, 0},          {{0x66}, 1},       {{0xf3}, 1},       {{0xf2}, 1},
                   {{0xf0}, 1},       {{0x66, 0xf3}, 2}, {{0x66, 0xf2}, 2}, {{0x48}, 1},
                   {{0x66, 0x48}, 2}, {{0xf3, 0x48}, 2}, {{0xf2, 0x48}, 2}, {{0xf0, 0x66}, 2}};
#define FAST_PREFIX_SETS 5
static const struct {
    uint8_t bytes[2], length;
} maps[] = {{{0}, 0}, {{0x0f}, 1}, {{0x0f, 0x38}, 2}, {{0x0f, 0x3a}, 2}};

static bool is_prefix_or_escape(const struct tester *tester, unsigned map, unsigned opcode)
{
    if (map == 1)
        return opcode == 0x38 || opcode == 0x3a || opcode == 0x0f; // 0F 0F: 3DNow!, its opcode comes last
    if (map)
        return false;
    // C4, C5, 62 and 8F /1.. lead to VEX, EVEX and XOP.
    return opcode == 0x0f || opcode == 0x66 || opcode == 0x67 || opcode == 0xf0 || opcode == 0xf2 || opcode == 0xf3 ||
           (opcode & 0xe7) == 0x26 || opcode == 0x64 || opcode == 0x65 || opcode == 0xc4 || opcode == 0xc5 ||
           opcode == 0x62 || opcode == 0x8f || (tester->code64 && (opcode & 0xf0) == 0x40);
}

static void check_opcode(struct tester *tester, unsigned prefixes, unsigned map, unsigned opcode)
{
    uint8_t bytes[32] = {0};
    unsigned at = prefix_sets[prefixes].length;
    memcpy(bytes, prefix_sets[prefixes].bytes, at);
    memcpy(bytes + at, maps[map].bytes, maps[map].length);
    at += maps[map].length;
    bytes[at++] = (uint8_t)opcode;
    for (unsigned modrm = 0; modrm < 256; modrm++) {
        if (!tester->whole && (modrm & 0xc7) != 0x01 && (modrm & 0xc7) != 0xc0)
            continue;
        bytes[at] = (uint8_t)modrm;
        check(tester, bytes, at + 1);
    }
}

/// VEX: every opcode of the three maps with each pp, L and W, with vvvv 1111 and others, the upper one of which is no
/// register outside 64-bit code.
static void sweep_vex(struct tester *tester)
{
    static const uint8_t registers[] = {0x78, 0x38, 0x08};
    for (unsigned n = 0; n < 3 * 16 * ARRAY_SIZE(registers); n++) {
        unsigned map = n % 3 + 1, fields = n / 3 % 16;
        uint8_t vvvv = registers[n / 48], w_l_pp = (uint8_t)((fields & 8) << 4 | (fields & 7));
        if (!tester->whole && vvvv != 0x78 && fields % 5)
            continue;
        for (unsigned opcode = 0; opcode < 256; opcode++) {
            uint8_t bytes[32] = {0xc4, (uint8_t)(0xe0 | map), (uint8_t)(vvvv | w_l_pp), (uint8_t)opcode};
            for (unsigned modrm = 0; modrm < 256; modrm++) {
                if ((modrm & 0xc7) != 0x01 && (modrm & 0xc7) != 0xc0)
                    continue;
                if (!tester->whole && (modrm & 0x38))
                    continue;
                bytes[4] = (uint8_t)modrm;
                check(tester, bytes, 5);
            }
        }
    }
}

static void sweep(struct tester *tester, bool code64)
{
    host_catch_signals();
    tester->code64 = code64;
    user_guest_set_code(tester->guest, code64);
    for (unsigned prefixes = 0; prefixes < (tester->whole ? ARRAY_SIZE(prefix_sets) : FAST_PREFIX_SETS); prefixes++) {
        bool has_rex =
            prefix_sets[prefixes].bytes[prefix_sets[prefixes].length ? prefix_sets[prefixes].length - 1 : 0] == 0x48;
        for (unsigned map = 0; map < ARRAY_SIZE(maps) && (code64 || !has_rex); map++)
            for (unsigned opcode = 0; opcode < 256; opcode++)
                if (!is_prefix_or_escape(tester, map, opcode))
                    check_opcode(tester, prefixes, map, opcode);
    }
    sweep_vex(tester);
    printf("%s-bit code: %lu encodings, %lu of them illegal, %lu run on the host, %lu of extensions that are missing\n",
           code64 ? "64" : "32", tester->compared, tester->illegal, tester->ran, tester->missing);
    assert_int_equal(tester->failures, 0);
    assert_true(tester->illegal > 10000 && tester->ran > tester->illegal);
}

static void test_sweep_64(void **state)
{
    sweep(*state, true);
}

static void test_sweep_32(void **state)
{
    struct tester *tester = *state;
    if (!tester->host.code32) {
        printf("skip: no 32-bit segments\n");
        skip();
    }
    sweep(tester, false);
}

// ---- Too long, and cut by a page's end ------------------------------------------------------------------------------

/// The row's instruction behind so many prefixes that it has `length` bytes.
static bool make_long(struct tester *tester, const struct row_form *form, unsigned length, uint8_t bytes[64])
{
    static const uint8_t fillers[] = {0x2e, 0x36, 0x3e, 0x26, 0x67};
    struct support_encoding how = {.modrm = (uint8_t)support_random(&tester->seed),
                                   .sib = (uint8_t)support_random(&tester->seed)};
    uint8_t plain[32];
    struct insn insn;
    support_encode(form, &how, plain);
    if (decode(tester->index, &tester->guest->model, user_mode(tester->code64), plain, 15, &insn) != DECODE_OK ||
        insn.row != form->row || insn.length >= length)
        return false;
    unsigned prefixes = length - insn.length;
    memset(bytes, fillers[support_random(&tester->seed) % ARRAY_SIZE(fillers)], prefixes);
    memcpy(bytes + prefixes, plain, insn.length);
    if (insn.address_bytes == 2 || bytes[0] == 0x67) // the address size changes the length
        memset(bytes, 0x3e, prefixes);
    return true;
}

static void test_lengths(struct tester *tester, bool code64)
{
    host_catch_signals();
    tester->code64 = code64;
    user_guest_set_code(tester->guest, code64);
    for (unsigned n = 0; n < row_count(); n++) {
        const struct row_form *form = &tester->index->forms[n];
        uint8_t bytes[64];
        if (map_is_vex(form->map) || (form->row->attributes & (code64 ? ROW_NO_64 : ROW_ONLY_64)) ||
            !host_has(form->row->feature))
            continue;
        if (form->row->lift == lift_ud && form->modrm)
            continue; // UD0 and UD1 have a ModRM byte for Intel, none for AMD
        for (unsigned length = 16; length < 20; length++)
            if (make_long(tester, form, length, bytes)) {
                user_guest_put_code(tester->guest, bytes, length);
                host_put_code(&tester->host, code64, bytes, length);
                compare_fault(tester, USER_INSN, bytes, length);
                // All 15 bytes that count are there: the length is wrong before the next page is missing.
                put_at_end(tester, bytes, 15);
                compare_fault(tester, USER_DATA + USER_DATA_SIZE - 15, bytes, length);
            }
        for (unsigned length = 2; length < 16; length++)
            if (make_long(tester, form, length, bytes)) {
                unsigned there = 1 + (unsigned)(support_random(&tester->seed) % (length - 1));
                put_at_end(tester, bytes, there);
                compare_fault(tester, USER_DATA + USER_DATA_SIZE - there, bytes, there);
            }
    }
    printf("%s-bit code: %lu instructions that are too long or cut\n", code64 ? "64" : "32", tester->ran);
    assert_int_equal(tester->failures, 0);
    assert_true(tester->ran > 1000);
}

static void test_lengths_64(void **state)
{
    test_lengths(*state, true);
}

static void test_lengths_32(void **state)
{
    struct tester *tester = *state;
    if (!tester->host.code32) {
        printf("skip: no 32-bit segments\n");
        skip();
    }
    test_lengths(tester, false);
}

static int set_up(void **state)
{
    struct tester *tester = calloc(1, sizeof *tester);
    struct error error = {{0}};
    assert_non_null(tester);
    host_open(&tester->host);
    tester->index = row_index_build(&error);
    assert_non_null(tester->index);
    tester->guest = user_guest_create();
    tester->guest->fs_base = tester->host.fs_base;
    tester->whole = getenv("DOPPEL_TEST_STATES") != NULL;
    ZydisDecoderInit(&tester->zydis[0], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    ZydisDecoderInit(&tester->zydis[1], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    for (unsigned i = 0; i < 2; i++) {
        // Extensions that take over the hint space and that doppel does not have.
        ZydisDecoderEnableMode(&tester->zydis[i], ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
        ZydisDecoderEnableMode(&tester->zydis[i], ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
        ZydisDecoderEnableMode(&tester->zydis[i], ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
    }
    *state = tester;
    return 0;
}

static int tear_down(void **state)
{
    struct tester *tester = *state;
    user_guest_destroy(tester->guest);
    row_index_free(tester->index);
    host_close(&tester->host);
    free(tester);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sweep_64, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sweep_32, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lengths_64, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lengths_32, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
