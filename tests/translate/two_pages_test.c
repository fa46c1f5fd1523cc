// Accesses that lie on two pages which are not neighbours in memory: host code reads their bytes from a copy. A small
// program slides reads of all sizes over page ends, behind which is memory, nothing, a device or no address.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "support_guest.h"
#include "translate/translate.h"

#define ROUNDS 20000u
#define SLIDE 0xfffu
#define ENTRIES 0x13000u // the page table of the first 2 MiB
#define ENTRY(page) (ENTRIES + ((page) >> PAGE_SHIFT) * 8)
#define RIGHTS 7u
#define DEVICE_PAGE 5u

static const uint8_t slides[] = {
    0xdb, 0xe3,                         // fninit
    0xb9, 0x20, 0x4e, 0x00, 0x00,       // mov ecx, ROUNDS
    0x89, 0xc8,                         // loop: mov eax, ecx
    0x44, 0x21, 0xd8,                   // and eax, r11d
    0x41, 0x0f, 0xb7, 0x14, 0x00,       // movzx edx, word [r8 + rax]
    0x48, 0x01, 0xd3,                   // add rbx, rdx
    0x49, 0x03, 0x1c, 0x40,             // add rbx, [r8 + rax * 2]
    0x41, 0x8b, 0x14, 0x01,             // mov edx, [r9 + rax]
    0x48, 0x11, 0xd3,                   // adc rbx, rdx
    0xf3, 0x41, 0x0f, 0x6f, 0x04, 0x41, // movdqu xmm0, [r9 + rax * 2]
    0x66, 0x0f, 0xd4, 0xc8,             // paddq xmm1, xmm0
    0x41, 0xdb, 0x2c, 0x02,             // fld tbyte [r10 + rax]
    0xdd, 0xd8,                         // fstp st0
    0x49, 0x8d, 0x34, 0x42,             // lea rsi, [r10 + rax * 2]
    0x49, 0x8d, 0x3c, 0x04,             // lea rdi, [r12 + rax]
    0x48, 0xa7,                         // cmpsq: two reads
    0x48, 0x83, 0xd3, 0x00,             // adc rbx, 0
    0x41, 0xff, 0x34, 0x44,             // push qword [r12 + rax * 2]
    0x5a,                               // pop rdx
    0x48, 0x01, 0xd3,                   // add rbx, rdx
    0x49, 0x89, 0x5c, 0x05, 0x00,       // mov [r13 + rax], rbx
    0xff, 0xc9,                         // dec ecx
    0x75, 0xb9,                         // jnz loop
    0xf4,                               // hlt
};
static const uint8_t kept[] = {
    0xb9, 0x20, 0x4e, 0x00, 0x00, // mov ecx, ROUNDS
    0x49, 0x8b, 0x10,             // loop: mov rdx, [r8]: the same address in each turn
    0x48, 0x01, 0xd3,             // add rbx, rdx
    0x49, 0x89, 0x19,             // mov [r9], rbx: some of its bytes
    0xff, 0xc9,                   // dec ecx
    0x75, 0xf3,                   // jnz loop
    0xf4,                         // hlt
};

static uint64_t page(unsigned number)
{
    return GUEST_DATA + number * PAGE_SIZE;
}

static void map(struct guest *g, uint64_t at, uint64_t entry)
{
    guest_load(g, ENTRY(at), &entry, sizeof entry);
}

static uint64_t entry_of(const struct guest *g, uint64_t at)
{
    return load_le64(g->memory.host + ENTRY(at));
}

/// Pages 12, 13 and 14 lead to pages 11, 10 and 3; page 2 where `second` says.
static void start(struct guest *g, enum guest_mode mode, const uint8_t *program, unsigned size, uint64_t second,
                  bool counting)
{
    guest_reset(g, mode, 1);
    map(g, page(12), page(11) | RIGHTS);
    map(g, page(13), page(10) | RIGHTS);
    map(g, page(14), page(3) | RIGHTS);
    map(g, page(2), second);
    guest_load(g, GUEST_CODE, program, size);
    g->cpu->counting = counting;
    g->cpu->var[VAR_RIP] = GUEST_CODE;
    g->cpu->var[VAR_RBX] = 0;
    g->cpu->var[VAR_RSP] = GUEST_STACK;
    g->cpu->var[VAR_R8] = page(0);
    g->cpu->var[VAR_R8 + 1] = page(12);
    g->cpu->var[VAR_R8 + 2] = page(12) + 0x30b;
    g->cpu->var[VAR_R8 + 3] = SLIDE;
    g->cpu->var[VAR_R12] = page(12) + 0x984;
    g->cpu->var[VAR_R13] = page(10) + 0x123;
}

/// Until both halt, in step. Returns what the jit did.
static struct translate_statistics run(struct guest_pair *p)
{
    struct translate_statistics before, after;
    char text[400] = "";
    translate_statistics(p->jit.state, &before);
    guest_run(&p->interp, 10000000);
    guest_run(&p->jit, 10000000);
    if (!p->jit.cpu->counting)
        p->interp.cpu->instructions = p->jit.cpu->instructions = 0;
    if (!guest_equal(&p->interp, &p->jit, text, sizeof text))
        fail_msg("%s", text);
    assert_int_equal(p->interp.cpu->activity, ACTIVITY_HALT);
    translate_statistics(p->jit.state, &after);
    after.resumed -= before.resumed;
    return after;
}

static struct translate_statistics slide(struct guest_pair *p, enum guest_mode mode, uint64_t second, bool counting)
{
    start(&p->interp, mode, slides, sizeof slides, second, counting);
    start(&p->jit, mode, slides, sizeof slides, second, counting);
    return run(p);
}

/// Rounds in which the store lies on two pages.
static unsigned straddling_stores(void)
{
    unsigned count = 0;
    for (unsigned i = 1; i <= ROUNDS; i++)
        count += ((0x123 + (i & SLIDE)) & (PAGE_SIZE - 1)) > PAGE_SIZE - 8;
    return count;
}

/// Only what is stored goes by the interpreter; reads are on two pages five times as often.
static void test_memory(void **state)
{
    for (unsigned i = 0; i < 4; i++) {
        enum guest_mode mode = i & 1 ? GUEST_64_CPL3 : GUEST_64_CPL0;
        struct translate_statistics s = slide(*state, mode, page(4) | RIGHTS, i & 2);
        struct guest_pair *p = *state;
        assert_int_equal(p->interp.cpu->var[VAR_RCX], 0);
        assert_in_range(s.resumed, straddling_stores(), straddling_stores() + 8);
    }
}

/// Nothing, or a device, is behind the end of page 1.
static void test_elsewhere(void **state)
{
    struct guest_pair *p = *state;
    slide(p, GUEST_64_CPL0, 0, true);
    assert_int_equal(p->jit.cpu->var[VAR_RIP], GUEST_HANDLERS + 14 + 1);
    assert_int_equal(p->jit.cpu->cr2, page(2));
    slide(p, GUEST_64_CPL0, entry_of(&p->interp, page(DEVICE_PAGE)), true);
    assert_int_equal(p->jit.cpu->var[VAR_RCX], 0);
}

/// The last page before the hole in the address space: its Accessed bit stays clear.
static void test_hole(void **state)
{
    static const uint64_t to[] = {0x11000 | RIGHTS, 0x12000 | RIGHTS, ENTRIES | RIGHTS};
    struct guest_pair *p = *state;
    struct guest *guests[] = {&p->interp, &p->jit};
    for (unsigned i = 0; i < 2; i++) {
        struct guest *g = guests[i];
        start(g, GUEST_64_CPL0, slides, sizeof slides, 0, true);
        guest_load(g, 0x10000 + 255 * 8, &to[0], 8);
        guest_load(g, 0x11000 + 511 * 8, &to[1], 8);
        guest_load(g, 0x12000 + 511 * 8, &to[2], 8);
        g->cpu->var[VAR_R8] = UINT64_C(0x7fffffffffff) - 0x2000;
        g->cpu->var[VAR_R8 + 3] = 0x2000; // which RCX has after 3,617 rounds
    }
    run(p);
    assert_int_equal(p->jit.cpu->var[VAR_RIP], GUEST_HANDLERS + 13 + 1);
    assert_int_equal(entry_of(&p->jit, 511 * PAGE_SIZE) & 0x20, 0);
    assert_int_equal(entry_of(&p->interp, 511 * PAGE_SIZE) & 0x20, 0);
}

/// A loop whose later turns do without the check must not do with the first turn's copy.
static void test_kept(void **state)
{
    struct guest_pair *p = *state;
    struct guest *guests[] = {&p->interp, &p->jit};
    for (int distance = -7; distance <= 7; distance++) {
        for (unsigned i = 0; i < 2; i++) {
            start(guests[i], GUEST_64_CPL0, kept, sizeof kept, 0, distance & 1);
            guests[i]->cpu->var[VAR_R8] = page(13) - 3;
            guests[i]->cpu->var[VAR_R8 + 1] = distance < 0 ? page(11) + PAGE_SIZE - 8 : page(10) + (unsigned)distance;
        }
        run(p);
        assert_int_equal(p->jit.cpu->var[VAR_RCX], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_elsewhere),
        cmocka_unit_test(test_hole),
        cmocka_unit_test(test_kept),
    };
    return cmocka_run_group_tests(tests, guest_pair_open, guest_pair_close);
}
