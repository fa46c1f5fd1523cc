// Instructions of the system chapter that neither the host's user mode nor the small guests show in every form: ports
// of each width, SLDT, STR, SMSW, LMSW, CLTS, INVD, WBINVD, RDPMC, loads of FS, at ring 0 of 64- and 32-bit code.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "cpu/support_user.h"

#define PORT 0x60u

struct test {
    struct user_guest *guest;
    uint64_t written;
    unsigned offset, size, accesses; // of the last access
};

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
    struct test *test = opaque;
    test->offset = (unsigned)offset;
    test->size = size;
    test->accesses++;
    return UINT64_C(0x88776655a4a3a2a1);
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct test *test = opaque;
    test->written = value;
    test->offset = (unsigned)offset;
    test->size = size;
    test->accesses++;
}

static const struct region_ops ports = {.read = port_read, .write = port_write, .max_size = 4, .name = "ports"};

static void set_ring0(struct test *test, bool code64)
{
    user_guest_set_code(test->guest, code64);
    test->guest->cpu->cpl = 0;
    for (unsigned n = SEG_ES; n <= SEG_GS; n++)
        test->guest->cpu->segment[n].rights &= ~SEGMENT_DPL;
    cpu_update_mode(test->guest->cpu);
}

/// Runs one instruction; state is in and out.
static void run(struct test *test, const char *bytes, unsigned length, struct user_state *state)
{
    struct user_state after;
    state->flags = FLAG_IF | 2;
    user_guest_put_code(test->guest, (const uint8_t *)bytes, length);
    user_guest_run(test->guest, state, &after);
    assert_int_equal(after.vector, -1);
    assert_int_equal(after.rip, USER_INSN + length);
    *state = after;
    set_ring0(test, test->guest->code64);
}
#define RUN(test, text, state) run(test, text, sizeof text - 1, state)

static struct user_state start(void)
{
    struct user_state state = {.gpr = {[VAR_RAX] = 0x1122334455667788, [VAR_RDX] = PORT + 8}};
    state.gpr[VAR_RSP] = USER_DATA + 0x1000;
    return state;
}

static void test_ports(void **opaque)
{
    struct test *test = *opaque;
    static const struct {
        const char *bytes;
        unsigned length, offset, size;
        bool read, merges;
    } accesses[] = {
        {"\xe4\x63", 2, 3, 1, true, true},       {"\x66\xe5\x64", 3, 4, 2, true, true},
        {"\xe5\x64", 2, 4, 4, true, false},      {"\xec", 1, 8, 1, true, true},
        {"\x66\xed", 2, 8, 2, true, true},       {"\xed", 1, 8, 4, true, false},
        {"\x48\xed", 2, 8, 4, true, false},      {"\xe6\x63", 2, 3, 1, false, false},
        {"\x66\xe7\x64", 3, 4, 2, false, false}, {"\xe7\x64", 2, 4, 4, false, false},
        {"\xee", 1, 8, 1, false, false},         {"\x66\xef", 2, 8, 2, false, false},
        {"\xef", 1, 8, 4, false, false},
    };
    set_ring0(test, true);
    for (unsigned i = 0; i < ARRAY_SIZE(accesses); i++) {
        struct user_state state = start();
        uint64_t mask = bits_mask(accesses[i].size * 8), kept = accesses[i].merges ? state.gpr[VAR_RAX] & ~mask : 0;
        test->accesses = 0;
        run(test, accesses[i].bytes, accesses[i].length, &state);
        assert_int_equal(test->accesses, 1);
        assert_int_equal(test->offset, accesses[i].offset);
        assert_int_equal(test->size, accesses[i].size);
        if (accesses[i].read)
            assert_int_equal(state.gpr[VAR_RAX], kept | (UINT64_C(0x88776655a4a3a2a1) & mask));
        else
            assert_int_equal(test->written & mask, UINT64_C(0x1122334455667788) & mask);
    }
}

static void test_string_ports(void **opaque)
{
    struct test *test = *opaque;
    set_ring0(test, true);
    for (unsigned bytes = 2; bytes <= 4; bytes += 2) {
        struct user_state state = start();
        state.gpr[VAR_RDI] = state.gpr[VAR_RSI] = USER_DATA + 0x200;
        memset(test->guest->data + 0x200, 0, 8);
        if (bytes == 2)
            RUN(test, "\x66\x6d", &state); // insw
        else
            RUN(test, "\x6d", &state); // insd
        assert_int_equal(test->size, bytes);
        assert_int_equal(state.gpr[VAR_RDI], USER_DATA + 0x200 + bytes);
        assert_int_equal(load_le64(test->guest->data + 0x200), 0xa4a3a2a1 & bits_mask(bytes * 8));
        if (bytes == 2)
            RUN(test, "\x66\x6f", &state); // outsw
        else
            RUN(test, "\x6f", &state); // outsd
        assert_int_equal(test->size, bytes);
        assert_int_equal(test->written, 0xa4a3a2a1 & bits_mask(bytes * 8));
        assert_int_equal(state.gpr[VAR_RSI], USER_DATA + 0x200 + bytes);
    }
}

static void test_stores(void **opaque)
{
    struct test *test = *opaque;
    struct user_state state = start();
    set_ring0(test, true);
    RUN(test, "\x0f\x00\xc0", &state); // sldt eax
    assert_int_equal(state.gpr[VAR_RAX], 0x50);
    state.gpr[VAR_RAX] = UINT64_MAX;
    RUN(test, "\x66\x0f\x00\xc8", &state); // str ax
    assert_int_equal(state.gpr[VAR_RAX], UINT64_C(0xffffffffffff0040));
    RUN(test, "\x48\x0f\x01\xe0", &state); // smsw rax
    assert_int_equal(state.gpr[VAR_RAX], test->guest->cpu->cr0);
    state.gpr[VAR_RBX] = USER_DATA + 0x100;
    memset(test->guest->data + 0x100, 0xee, 8);
    RUN(test, "\x0f\x00\x03", &state); // sldt [rbx]: always a word
    assert_int_equal(load_le32(test->guest->data + 0x100), 0xeeee0050);
}

static void test_control(void **opaque)
{
    struct test *test = *opaque;
    struct user_state state = start(), after;
    struct cpu *cpu = test->guest->cpu;
    set_ring0(test, true);
    const uint64_t cr0 = cpu->cr0;
    state.gpr[VAR_RAX] = 0xfff8 | CR0_TS; // lmsw writes PE, MP, EM, TS and cannot clear PE
    user_guest_put_code(test->guest, (const uint8_t *)"\x0f\x01\xf0", 3);
    user_guest_run(test->guest, &state, &after);
    assert_int_equal(after.vector, -1);
    assert_int_equal(cpu->cr0, cr0 | CR0_TS);
    user_guest_put_code(test->guest, (const uint8_t *)"\x0f\x06", 2); // clts
    user_guest_run(test->guest, &state, &after);
    assert_int_equal(cpu->cr0, cr0);
    RUN(test, "\x0f\x08", &state); // invd
    RUN(test, "\x0f\x09", &state); // wbinvd
    assert_int_equal(cpu->cr0, cr0);
    user_guest_put_code(test->guest, (const uint8_t *)"\x0f\x33", 2); // rdpmc: there are no counters
    user_guest_run(test->guest, &state, &after);
    assert_int_equal(after.vector, VECTOR_GP);
    assert_int_equal(after.error_code, 0);
}

static void test_segments(void **opaque)
{
    struct test *test = *opaque;
    for (unsigned code64 = 0; code64 < 2; code64++) {
        struct user_state state = start();
        set_ring0(test, code64);
        state.gpr[VAR_RAX] &= UINT32_MAX;
        store_le64(test->guest->data + 0x1000, USER_GS); // the LDT's segment
        RUN(test, "\x0f\xa1", &state);                   // pop fs
        assert_int_equal(state.selector[SEG_FS], USER_GS);
        assert_int_equal(state.gpr[VAR_RSP], USER_DATA + 0x1000 + (code64 ? 8 : 4));
        store_le32(test->guest->data + 0x2000, 0x12345678);
        store_le16(test->guest->data + 0x2004, USER_DS);
        state.gpr[VAR_RBX] = USER_DATA + 0x2000;
        RUN(test, "\x0f\xb4\x03", &state); // lfs eax, [rbx]
        assert_int_equal(state.gpr[VAR_RAX], 0x12345678);
        assert_int_equal(state.selector[SEG_FS], USER_DS);
    }
}

static int set_up(void **state)
{
    static struct test test;
    struct error error = {{0}};
    test = (struct test){.guest = user_guest_create()};
    assert_non_null(address_space_map_device(&test.guest->ports, "ports", PORT, 16, 0, &ports, &test, &error));
    *state = &test;
    return 0;
}

static int tear_down(void **state)
{
    struct test *test = *state;
    user_guest_destroy(test->guest);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ports, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_string_ports, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stores, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_control, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_segments, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
