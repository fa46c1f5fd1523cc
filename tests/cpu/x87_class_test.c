// Every x87 row against the host processor, run from memory: all classes of operands, precision and rounding control,
// exceptions masked and not, pending ones, TOP, empty and full registers, pointers. DOPPEL_TEST_STATES says how many
// states an encoding gets.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cpu/lift_fpu.h"
#include "cpu/support_fpu.h"
#include "cpu/support_native.h"

enum { FAST_STATES = 500 };

static enum x87_format memory_format(const struct row *row)
{
    if (row->execute == x87_load80)
        return X87_FLOAT80;
    return (enum x87_format)(row->argument >> 16 & 7);
}

static void make_memory(const struct row *row, unsigned class, uint64_t *random, uint8_t *to)
{
    static const uint64_t integers[] = {0,
                                        1,
                                        UINT64_MAX,
                                        0x7fff,
                                        0x8000,
                                        0xffff,
                                        0x7fffffff,
                                        0x80000000,
                                        0xffffffff,
                                        UINT64_C(0x7fffffffffffffff),
                                        UINT64_C(0x8000000000000000),
                                        UINT64_C(0x8000000000000001),
                                        UINT64_C(0xfffffffffffffff),
                                        100};
    uint64_t r = support_random(random);
    for (unsigned i = 0; i < 16; i += 8)
        store_le64(to + i, support_random(random));
    switch (memory_format(row)) {
    case X87_FLOAT32:
        store_le32(to, fpu_class_single(class, random));
        break;
    case X87_FLOAT64:
        store_le64(to, fpu_class_double(class, random));
        break;
    case X87_BCD80:
        if (r & 7) // else digits that are none, too
            for (unsigned i = 0; i < 9; i++)
                to[i] = (uint8_t)((to[i] & 15) % 10 | (to[i] >> 4) % 10 << 4);
        if ((r & 0x70) == 0x70)
            memset(to, r & 0x80 ? 0x99 : 0, 9);
        if ((r & 0x300) == 0)
            memset(to + 4, 0, 5);
        break;
    case X87_FLOAT80:
        fpu_class_x87(class, random, to);
        break;
    default:
        if (r & 3)
            store_le64(to, integers[(r >> 8) % ARRAY_SIZE(integers)]);
    }
}

static void make_control(uint64_t r, struct fnsave_image *image)
{
    unsigned masks = r & 3 ? 0x3f : (r & 12) == 0 ? 0 : (unsigned)(r >> 4 & 0x3f);
    image->control = (uint32_t)(0x40 | masks | (r >> 10 & 0x0f00) | (r >> 30 & 0x1000));
    if ((r >> 22 & 3) == 0) // precision 1 is reserved
        image->control &= ~0x100u;
    unsigned flags = (r >> 24 & 3) == 0 ? (unsigned)(r >> 26 & 0x7f) & (masks | 0x40) : 0;
    if ((r >> 36 & 15) == 0)
        flags = (unsigned)(r >> 26 & 0x7f);
    image->status = (uint32_t)(flags | (r >> 32 & 0x4700) | (r >> 44 & 0x3800));
    if (flags & ~masks & 0x3f)
        image->status |= X87_ES | X87_BUSY;
}

static uint32_t make_tags(uint64_t r, unsigned top)
{
    switch (r & 15) {
    case 0:
        return 0xffff;
    case 1: // ST0 or ST1 alone
    case 2:
        return 0xffffu & ~(3u << 2 * ((top + (r & 1)) & 7));
    case 3: // all but ST0, ST1
    case 4:
        return 3u << 2 * ((top + (r & 1)) & 7);
    case 5: { // by chance
        uint32_t tags = 0;
        for (unsigned i = 0; i < 8; i++)
            tags |= r >> (8 + i) & 1 ? 3u << 2 * i : 0;
        return tags;
    }
    case 6:
    case 7:
        return 0;
    default: // room for a push
        return 3u << 2 * ((top + 7) & 7);
    }
}

static void make_state(const struct row *row, unsigned number, unsigned i, uint64_t *random, struct fpu_state *state)
{
    uint64_t r = support_random(random);
    unsigned first = (unsigned)r % FPU_CLASSES, second = (unsigned)(r >> 8) % FPU_CLASSES;
    if (number % 8 < 4 && number / 8 < FPU_CLASSES * FPU_CLASSES) { // all pairs, if there are states for that
        first = number / 8 % FPU_CLASSES;
        second = (number / 8 / FPU_CLASSES + first) % FPU_CLASSES;
    }
    fpu_state_init(state);
    make_control(support_random(random), &state->x87);
    state->x87.tag = make_tags(r >> 16, state->x87.status >> 11 & 7);
    for (unsigned n = 0; n < 8; n++)
        fpu_class_x87((unsigned)(r >> 20 >> n) & 63, random, state->x87.st[n]);
    fpu_class_x87(first, random, state->x87.st[0]);
    fpu_class_x87(second, random, state->x87.st[row->operands[0] == 'S' && i ? i : 1]);
    make_memory(row, second, random, state->memory);
    r = support_random(random);
    state->x87.ip = (uint32_t)r;
    state->x87.dp = (uint32_t)(r >> 32);
    r = support_random(random);
    state->x87.opcode = (uint16_t)r & 0x7ff;
    state->x87.cs = (uint16_t)(r >> 16);
    state->x87.ds = (uint16_t)(r >> 32);
    if ((r & 31) == 0) // not canonical: a pending #MF comes first
        state->rdi = BIT(63);
    state->rax = support_random(random);
    state->rflags = r >> 48 & FLAGS_ARITHMETIC;
}

static bool is_here(const struct row *row)
{
    return row->lift != lift_x87_environment && row->lift != lift_fxsave;
}

static void print_case(const struct row *row, const struct fpu_state *state, const char *text)
{
    print_message("%s %s: %s (fcw %04x fsw %04x tag %04x st0 %04x%016llx st1 %04x%016llx m %016llx)\n", row->encoding,
                  row->mnemonic, text, state->x87.control, state->x87.status, state->x87.tag,
                  load_le16(state->x87.st[0] + 8), (unsigned long long)load_le64(state->x87.st[0]),
                  load_le16(state->x87.st[1] + 8), (unsigned long long)load_le64(state->x87.st[1]),
                  (unsigned long long)load_le64(state->memory));
}

#ifdef DOPPEL_PORTABLE_FPU
/// Two units in the last place apart, over a power of two as well; or both numbers at all, where `far`.
static bool is_near(const uint8_t *a, const uint8_t *b, bool far)
{
    uint64_t low_a = load_le64(a), low_b = load_le64(b);
    unsigned high_a = load_le16(a + 8), high_b = load_le16(b + 8);
    if (high_a == high_b)
        return low_a - low_b <= 2 || low_b - low_a <= 2 || (far && (high_a & 0x7fff) != 0x7fff);
    if (far)
        return (high_a & 0x7fff) < 0x4040 && (high_b & 0x7fff) < 0x4040;
    if (high_a == high_b + 1)
        return low_a - BIT(63) <= 1 && ~low_b <= 1;
    return high_b == high_a + 1 && low_b - BIT(63) <= 1 && ~low_a <= 1;
}
#endif

/// The portable transcendental functions are the exact ones (tests/cpu/x87_function.c). The host's are within a unit of
/// the last place, or, of angles beyond pi/4, what a pi of 66 bits gives. C1 and the borders of underflow follow.
static void forgive(const struct row *row, const struct fpu_state *before, const struct fpu_state *host,
                    struct fpu_state *ours)
{
#ifdef DOPPEL_PORTABLE_FPU
    const uint32_t status = X87_C1 | X87_UE | X87_ES | X87_BUSY;
    bool angle = !strcmp(row->mnemonic, "fsin") || !strcmp(row->mnemonic, "fcos") || !strcmp(row->mnemonic, "fptan") ||
                 !strcmp(row->mnemonic, "fsincos");
    bool far = angle && (load_le16(before->x87.st[0] + 8) & 0x7fff) >= 0x3ffe;
    if (!(row->attributes & ROW_APPROXIMATE))
        return;
    ours->x87.status = (ours->x87.status & ~status) | (host->x87.status & status);
    for (unsigned i = 0; i < 2; i++)
        if (is_near(host->x87.st[i], ours->x87.st[i], far))
            memcpy(ours->x87.st[i], host->x87.st[i], 10);
#endif
}

/// Runs one state on both sides. The kernel keeps no selectors when it takes the processor away in between: only a
/// difference that stays is one.
static bool same(struct fpu_bench *bench, const struct row *row, const struct fpu_state *before, char *text,
                 size_t size)
{
    struct fpu_state host, ours;
    fpu_bench_run_guest(bench, before, &ours);
    for (unsigned round = 0; round < 3; round++) {
        fpu_bench_run_host(bench, before, &host);
        forgive(row, before, &host, &ours);
        if (fpu_state_equal(&host, &ours, !host.fault, text, size))
            return true;
    }
    return false;
}

static unsigned check_row(struct fpu_bench *bench, const struct row *row, unsigned states, uint64_t *random)
{
    bool memory = row->operands[0] == 'M', numbered = strstr(row->encoding, "+i");
    unsigned bad = 0;
    for (unsigned number = 0; number < states; number++) {
        struct fpu_state before;
        uint8_t bytes[16];
        char text[256];
        unsigned i = numbered ? number * 8 / states : 0;
        if (!numbered ? number == 0 : number == 0 || i != (number - 1) * 8 / states)
            fpu_bench_set_code(bench, bytes, native_encode(row, false, 0, i, memory, 0, bytes));
        make_state(row, number, i, random, &before);
        if (!same(bench, row, &before, text, sizeof text) && bad++ < 3)
            print_case(row, &before, text);
    }
    return bad;
}

static void rows_match_the_host(void **state)
{
    uint64_t random = 1;
    struct fpu_bench bench;
    unsigned bad = 0, states = fpu_wanted_states(FAST_STATES);
    if (!fpu_bench_open(&bench, fpu_host_policy())) {
        fpu_bench_close(&bench);
        skip();
    }
    for (unsigned n = 0; n < rows_x87_count; n++) {
        const struct row *row = &rows_x87[n];
        unsigned row_bad = is_here(row) ? check_row(&bench, row, states, &random) : 0;
        if (row_bad)
            print_message("%s %s: %u of %u wrong\n", row->encoding, row->mnemonic, row_bad, states);
        bad += row_bad;
    }
    fpu_bench_close(&bench);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_match_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
