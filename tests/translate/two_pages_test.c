// Accesses that lie on two pages which are not neighbours in memory: host code reads their bytes from a copy, and
// writes them to one that is divided. Small programs slide reads and writes of all sizes over page ends, behind which
// is memory, code, nothing, a device or no address.
#include <limits.h>
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
static const uint8_t stores[] = {
    0xdb, 0xe3,                                     // fninit
    0xb9, 0x20, 0x4e, 0x00, 0x00,                   // mov ecx, ROUNDS
    0x89, 0xc8,                                     // loop: mov eax, ecx
    0x44, 0x21, 0xd8,                               // and eax, r11d
    0x41, 0xff, 0xd6,                               // call r14
    0x66, 0x48, 0x0f, 0x6e, 0xd1,                   // movq xmm2, rcx
    0x66, 0x0f, 0xd4, 0xc2,                         // paddq xmm0, xmm2
    0x48, 0x0f, 0x6e, 0xc9,                         // movq mm1, rcx
    0x49, 0x89, 0x0c, 0x41,                         // mov [r9 + rax * 2], rcx
    0x41, 0xc7, 0x04, 0x01, 0xef, 0xcd, 0xab, 0x89, // mov dword [r9 + rax], 89abcdefh
    0x66, 0x41, 0xc7, 0x04, 0x02, 0x34, 0x12,       // mov word [r10 + rax], 1234h
    0x4d, 0x89, 0x1c, 0x42,                         // mov [r10 + rax * 2], r11
    0x49, 0xc7, 0x04, 0x04, 0xfe, 0xff, 0xff, 0xff, // mov qword [r12 + rax], -2
    0xf3, 0x41, 0x0f, 0x7f, 0x04, 0x44,             // movdqu [r12 + rax * 2], xmm0
    0xc4, 0xc1, 0x7e, 0x7f, 0x0c, 0x40,             // vmovdqu [r8 + rax * 2], ymm1
    0xf3, 0x41, 0x0f, 0x11, 0x04, 0x00,             // movss [r8 + rax], xmm0
    0x41, 0x0f, 0x17, 0x44, 0x04, 0x09,             // movhps [r12 + rax + 9], xmm0
    0x41, 0x0f, 0x7f, 0x4c, 0x05, 0x00,             // movq [r13 + rax], mm1
    0xff, 0xc9,                                     // dec ecx
    0x75, 0xaa,                                     // jnz loop
    0x0f, 0x77,                                     // emms
    0xf4,                                           // hlt
};
#define FUNCTION (GUEST_CODE + 0x1008u)
static const uint8_t function[] = {
    0x48, 0xff, 0xc5, // inc rbp
    0xc3,             // ret
};
#define TURNS 200u
#define CHANGE 100u // the turn, counted down, whose store changes the way back
static const uint8_t way_back[] = {
    0x48, 0xff, 0xc5, // inc rbp
    0xff, 0xc9,       // dec ecx
    0x75, 0x39,       // jnz to the store
    0xf4,             // hlt
};
static const uint8_t changed_way_back[] = {
    0x48, 0xff, 0xcd, // dec rbp
    0xff, 0xc9, 0x75, 0x39, 0xf4,
};
#define STORE (GUEST_CODE + PAGE_SIZE + 0x40u)
static const uint8_t changing_store[] = {
    0x49, 0x8b, 0x04, 0xc9, // mov rax, [r9 + rcx * 8]
    0xf3, 0x0f, 0x7f, 0x00, // movdqu [rax], xmm0
    0xeb, 0xb6,             // jmp to the start of the page
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

static void lock(void *opaque)
{
    ++*(unsigned *)opaque;
}

static void unlock(void *opaque)
{
}

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
    guest_load(g, FUNCTION, function, sizeof function);
    memset(&g->cpu->vreg[1], 0x90, sizeof g->cpu->vreg[1]); // NOPs
    g->cpu->counting = counting;
    g->cpu->var[VAR_RIP] = GUEST_CODE;
    g->cpu->var[VAR_RBX] = 0;
    g->cpu->var[VAR_RBP] = 0;
    g->cpu->var[VAR_RSP] = GUEST_STACK;
    g->cpu->var[VAR_R8] = page(0);
    g->cpu->var[VAR_R8 + 1] = page(12);
    g->cpu->var[VAR_R8 + 2] = page(12) + 0x30b;
    g->cpu->var[VAR_R8 + 3] = SLIDE;
    g->cpu->var[VAR_R12] = page(12) + 0x984;
    g->cpu->var[VAR_R13] = page(10) + 0x123;
    g->cpu->var[VAR_R14] = FUNCTION;
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

static struct translate_statistics slide(struct guest_pair *p, const uint8_t *program, unsigned size,
                                         enum guest_mode mode, uint64_t second, bool counting)
{
    start(&p->interp, mode, program, size, second, counting);
    start(&p->jit, mode, program, size, second, counting);
    return run(p);
}

#define SLIDE_OVER(p, program, ...) slide(p, program, sizeof(program), __VA_ARGS__)

/// Rounds in which the store of an MMX register lies on two pages.
static unsigned straddling_mmx(void)
{
    unsigned count = 0;
    for (unsigned i = 1; i <= ROUNDS; i++)
        count += ((0x123 + (i & SLIDE)) & (PAGE_SIZE - 1)) > PAGE_SIZE - 8;
    return count;
}

/// All but MMX in host code.
static void test_memory(void **state)
{
    struct guest_pair *p = *state;
    for (unsigned i = 0; i < 8; i++) {
        enum guest_mode mode = i & 1 ? GUEST_64_CPL3 : GUEST_64_CPL0;
        uint64_t second = page(4) | RIGHTS;
        unsigned most = i & 4 ? straddling_mmx() : 0;
        struct translate_statistics s =
            i & 4 ? SLIDE_OVER(p, stores, mode, second, i & 2) : SLIDE_OVER(p, slides, mode, second, i & 2);
        assert_int_equal(p->interp.cpu->var[VAR_RCX], 0);
        assert_in_range(s.resumed, 0, most + 8);
    }
}

/// Nothing, a device, or what may not be written is behind the end of page 1. Then the lower page's Dirty bit is left
/// alone.
static void test_elsewhere(void **state)
{
    struct guest_pair *p = *state;
    unsigned locked[2] = {0};
    SLIDE_OVER(p, slides, GUEST_64_CPL0, 0, true);
    assert_int_equal(p->jit.cpu->var[VAR_RIP], GUEST_HANDLERS + 14 + 1);
    assert_int_equal(p->jit.cpu->cr2, page(2));
    SLIDE_OVER(p, slides, GUEST_64_CPL0, entry_of(&p->interp, page(DEVICE_PAGE)), true);
    assert_int_equal(p->jit.cpu->var[VAR_RCX], 0);
    for (unsigned i = 0; i < 2; i++) {
        SLIDE_OVER(p, stores, GUEST_64_CPL0, i ? page(4) | 5 : 0, true);
        assert_int_equal(p->jit.cpu->var[VAR_RIP], GUEST_HANDLERS + 14 + 1);
        assert_int_equal(p->jit.cpu->cr2, page(2));
    }
    p->interp.cpu->outside = (struct cpu_outside){.opaque = &locked[0], .lock = lock, .unlock = unlock};
    p->jit.cpu->outside = (struct cpu_outside){.opaque = &locked[1], .lock = lock, .unlock = unlock};
    SLIDE_OVER(p, stores, GUEST_64_CPL0, entry_of(&p->interp, page(DEVICE_PAGE)), true);
    assert_int_equal(p->jit.cpu->var[VAR_RCX], 0);
    assert_in_range(locked[0], 1, UINT_MAX);
    assert_int_equal(locked[0], locked[1]);
    p->interp.cpu->outside = p->jit.cpu->outside = (struct cpu_outside){0};
}

/// The upper page has code, part of which is written over.
static void test_code(void **state)
{
    struct guest_pair *p = *state;
    for (unsigned i = 0; i < 2; i++) {
        SLIDE_OVER(p, stores, GUEST_64_CPL0, (GUEST_CODE + PAGE_SIZE) | RIGHTS, i);
        assert_in_range(p->jit.cpu->var[VAR_RBP], 1, ROUNDS - 1);
    }
}

/// The upper page has the code that comes next, in the same superblock.
static void test_code_behind(void **state)
{
    struct guest_pair *p = *state;
    struct guest *guests[] = {&p->interp, &p->jit};
    for (unsigned i = 0; i < 4; i++) {
        struct guest *g = guests[i & 1];
        start(g, GUEST_64_CPL0, changing_store, sizeof changing_store, (GUEST_CODE + PAGE_SIZE) | RIGHTS, i & 2);
        guest_load(g, GUEST_CODE + PAGE_SIZE, way_back, sizeof way_back);
        guest_load(g, STORE, changing_store, sizeof changing_store);
        memcpy(&g->cpu->vreg[0].u8[8], changed_way_back, sizeof changed_way_back);
        for (unsigned turn = 1; turn <= TURNS; turn++) {
            uint64_t to = turn == CHANGE ? page(2) - 8 : page(4);
            guest_load(g, page(0) + turn * 8, &to, sizeof to);
        }
        g->cpu->var[VAR_RIP] = GUEST_CODE + PAGE_SIZE; // is known when the store is translated, so they are one
        g->cpu->var[VAR_RCX] = TURNS + 1;
        g->cpu->var[VAR_R8 + 1] = page(0);
        if (!(i & 1))
            continue;
        run(p);
        assert_int_equal(p->jit.cpu->var[VAR_RBP], TURNS + 1 - CHANGE - CHANGE);
    }
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

/// A loop whose later turns do without the check must not do with the first turn's copy: it goes by another form of the
/// block, in host code.
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
        assert_in_range(run(p).resumed, 0, 8);
        assert_int_equal(p->jit.cpu->var[VAR_RCX], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),      cmocka_unit_test(test_elsewhere), cmocka_unit_test(test_code),
        cmocka_unit_test(test_code_behind), cmocka_unit_test(test_hole),      cmocka_unit_test(test_kept),
    };
    return cmocka_run_group_tests(tests, guest_pair_open, guest_pair_close);
}
