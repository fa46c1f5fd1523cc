// Integer rows that 64-bit code does not have, by vectors from the SDM's pseudo code: on hosts that cannot run them.
// host_test runs all of them on x86-64 hosts.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "cpu/support_user.h"

struct vector {
    const char *encoding; // of the row
    uint8_t bytes[4], length;
    uint32_t eax, flags;
    uint32_t eax_after, flags_after;
    int fault;
};

#define CF FLAG_CF
#define PF FLAG_PF
#define AF FLAG_AF
#define ZF FLAG_ZF
#define SF FLAG_SF
#define OF FLAG_OF

/// From the SDM's pseudo code and its examples. Undefined flags are not compared.
static const struct vector vectors[] = {
    {"40+r", {0x40}, 1, 0xffffffff, CF, 0, CF | PF | AF | ZF, -1},
    {"40+r", {0x40}, 1, 0x7fffffff, 0, 0x80000000, PF | AF | SF | OF, -1},
    {"40+r", {0x66, 0x40}, 2, 0x1234ffff, 0, 0x12340000, PF | AF | ZF, -1},
    {"48+r", {0x48}, 1, 0, CF, 0xffffffff, CF | PF | AF | SF, -1},
    {"48+r", {0x48}, 1, 0x80000000, 0, 0x7fffffff, PF | AF | OF, -1},
    {"48+r", {0x66, 0x48}, 2, 0x12340001, 0, 0x12340000, PF | ZF, -1},
    {"82 /0 ib", {0x82, 0xc0, 0x01}, 3, 0xff, 0, 0, CF | PF | AF | ZF, -1},
    {"82 /1 ib", {0x82, 0xc8, 0x81}, 3, 0x02, CF, 0x83, SF, -1},
    {"82 /2 ib", {0x82, 0xd0, 0x01}, 3, 0x7f, CF, 0x81, PF | AF | SF | OF, -1},
    {"82 /3 ib", {0x82, 0xd8, 0x01}, 3, 0x01, CF, 0xff, CF | PF | AF | SF, -1},
    {"82 /4 ib", {0x82, 0xe0, 0x0f}, 3, 0xf0, CF, 0, PF | ZF, -1},
    {"82 /5 ib", {0x82, 0xe8, 0x01}, 3, 0x80, 0, 0x7f, AF | OF, -1},
    {"82 /6 ib", {0x82, 0xf0, 0xff}, 3, 0x0f, 0, 0xf0, PF | SF, -1},
    {"82 /7 ib", {0x82, 0xf8, 0x20}, 3, 0x10, 0, 0x10, CF | PF | SF, -1},
    {"27", {0x27}, 1, 0xae, 0, 0x14, CF | AF | PF, -1}, // SDM: 79 + 35 = AE, DAA gives 14 with carry
    {"27", {0x27}, 1, 0x2e, 0, 0x34, AF, -1},
    {"27", {0x27}, 1, 0x42, 0, 0x42, PF, -1},
    {"27", {0x27}, 1, 0x12, CF, 0x72, CF | PF, -1},
    {"2F", {0x2f}, 1, 0xee, CF | AF, 0x88, CF | PF | AF | SF, -1}, // SDM: 35 - 47 = EE, DAS gives 88 with borrow
    {"2F", {0x2f}, 1, 0x42, 0, 0x42, PF, -1},
    {"2F", {0x2f}, 1, 0x05, AF, 0xff, CF | PF | AF | SF, -1},
    {"37", {0x37}, 1, 0x000b, 0, 0x0101, CF | AF, -1},
    {"37", {0x37}, 1, 0x0205, AF, 0x030b, CF | AF, -1},
    {"37", {0x37}, 1, 0x1234, 0, 0x1204, 0, -1},
    {"37", {0x37}, 1, 0x00fb, 0, 0x0201, CF | AF, -1}, // AX + 106h: the carry out of AL goes to AH
    {"3F", {0x3f}, 1, 0x02ff, AF, 0x0109, CF | AF, -1},
    {"3F", {0x3f}, 1, 0x0204, 0, 0x0204, 0, -1},
    {"3F", {0x3f}, 1, 0x0200, AF, 0x000a, CF | AF, -1}, // AX - 6 borrows from AH, then AH - 1
    {"D4 ib", {0xd4, 0x0a}, 2, 0x55ff, 0, 0x1905, PF, -1},
    {"D4 ib", {0xd4, 0x10}, 2, 0x00ff, 0, 0x0f0f, PF, -1},
    {"D4 ib", {0xd4, 0x00}, 2, 0x1234, 0, 0x1234, 0, VECTOR_DE},
    {"D5 ib", {0xd5, 0x0a}, 2, 0x0905, 0, 0x005f, PF, -1},
    {"D5 ib", {0xd5, 0x10}, 2, 0x0f0f, 0, 0x00ff, PF | SF, -1},
    {"D6", {0xd6}, 1, 0x12345678, CF, 0x123456ff, CF, -1},
    {"D6", {0xd6}, 1, 0x12345678, 0, 0x12345600, 0, -1},
    {"9E", {0x9e}, 1, 0xff00, OF, 0xff00, CF | PF | AF | ZF | SF | OF, -1},
    {"9E", {0x9e}, 1, 0x2a00, CF | PF | AF | ZF | SF, 0x2a00, 0, -1},
    {"9F", {0x9f}, 1, 0, CF | PF | AF | ZF | SF | OF, 0xd700, CF | PF | AF | ZF | SF | OF, -1},
    {"9F", {0x9f}, 1, 0xffff, 0, 0x02ff, 0, -1},
};

static const struct row *row_by_encoding(const char *encoding)
{
    for (unsigned n = 0; n < rows_integer_count; n++)
        if ((rows_integer[n].attributes & ROW_NO_64) && !strcmp(rows_integer[n].encoding, encoding))
            return &rows_integer[n];
    fail_msg("no row \"%s\"", encoding);
    return NULL;
}

static void test_vectors(void **state)
{
    struct user_guest *guest = *state;
    user_guest_set_code(guest, false);
    for (unsigned i = 0; i < ARRAY_SIZE(vectors); i++) {
        const struct vector *vector = &vectors[i];
        const struct row *row = row_by_encoding(vector->encoding);
        struct user_state before = {.flags = vector->flags | FLAG_IF | 2}, after;
        before.gpr[VAR_RAX] = vector->eax;
        before.gpr[VAR_RSP] = USER_DATA + USER_DATA_SIZE / 2;
        user_guest_put_code(guest, vector->bytes, vector->length);
        user_guest_run(guest, &before, &after);
        uint64_t defined = FLAGS_ARITHMETIC & ~(uint64_t)row->flags_undefined;
        uint64_t rip = USER_INSN + (vector->fault < 0 ? vector->length : 0);
        if (after.gpr[VAR_RAX] != vector->eax_after || after.vector != vector->fault || after.rip != rip ||
            (vector->fault < 0 && ((after.flags ^ vector->flags_after) & defined)))
            fail_msg("vector %u (%s): eax %08x flags %03x fault %d rip %llx", i, vector->encoding,
                     (unsigned)after.gpr[VAR_RAX], (unsigned)after.flags, after.vector, (unsigned long long)after.rip);
    }
    user_guest_set_code(guest, true);
}

static void test_pusha_popa(void **state)
{
    struct user_guest *guest = *state;
    user_guest_set_code(guest, false);
    for (unsigned bytes = 2; bytes <= 4; bytes += 2) {
        struct user_state before = {.flags = FLAG_IF | 2}, pushed, popped;
        const uint32_t stack = (uint32_t)USER_DATA + 0x1000;
        for (unsigned n = 0; n < 8; n++)
            before.gpr[n] = 0x11111111u * (n + 1);
        before.gpr[VAR_RSP] = stack;
        user_guest_put_code(guest, bytes == 2 ? (const uint8_t *)"\x66\x60" : (const uint8_t *)"\x60", 3 - bytes / 2);
        user_guest_run(guest, &before, &pushed);
        assert_int_equal(pushed.vector, -1);
        assert_int_equal(pushed.gpr[VAR_RSP], stack - 8 * bytes);
        // From the top down: (E)AX CX DX BX, SP as it was, BP SI DI.
        for (unsigned n = 0; n < 8; n++) {
            const uint8_t *at = guest->data + 0x1000 - (n + 1) * bytes;
            assert_int_equal(bytes == 2 ? load_le16(at) : load_le32(at), before.gpr[n] & bits_mask(bytes * 8));
        }
        struct user_state empty = {.flags = FLAG_IF | 2};
        empty.gpr[VAR_RSP] = pushed.gpr[VAR_RSP];
        user_guest_put_code(guest, bytes == 2 ? (const uint8_t *)"\x66\x61" : (const uint8_t *)"\x61", 3 - bytes / 2);
        user_guest_run(guest, &empty, &popped);
        assert_int_equal(popped.vector, -1);
        for (unsigned n = 0; n < 8; n++)
            assert_int_equal(popped.gpr[n], n == VAR_RSP ? stack : before.gpr[n] & bits_mask(bytes * 8));
        // A POPA that runs off its stack changes nothing below the fault's start that matters: RSP stays.
        empty.gpr[VAR_RSP] = (uint32_t)USER_DATA + USER_DATA_SIZE - 4;
        user_guest_run(guest, &empty, &popped);
        assert_int_equal(popped.vector, VECTOR_PF);
        assert_int_equal(popped.gpr[VAR_RSP], empty.gpr[VAR_RSP]);
    }
    user_guest_set_code(guest, true);
}

static int set_up(void **state)
{
    *state = user_guest_create();
    return 0;
}

static int tear_down(void **state)
{
    user_guest_destroy(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_vectors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pusha_popa, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
