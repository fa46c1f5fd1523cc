// Accesses that share a check and lie on two pages: host code goes on with a block that checks each. A small program
// slides two such groups, its data and its stack, over page ends, behind which is memory, nothing, read-only memory, a
// device, or its own code; and it changes its code now and then.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "support_guest.h"
#include "translate/translate.h"

#define FUNCTION (GUEST_CODE + 7) // at the start of a page, so that its constant can be stored to
#define PROGRAM (GUEST_CODE + 0x100)
#define ROUNDS 5000u
#define PHASES 4u
#define SLIDE_PAGE 0xff8u                                  // over all of a page
#define SLIDE_END 0x38u                                    // about its end
#define ENTRY(page) (0x13000 + ((page) >> PAGE_SHIFT) * 8) // of the page in the page table
#define PRESENT 3u
#define READ_ONLY 1u

static const uint8_t function[] = {
    0xba, 0x01, 0x00, 0x00, 0x00, // mov edx, 1
    0xc3,                         // ret
};
static const uint8_t program[] = {
    0xb9, 0x88, 0x13, 0x00, 0x00,             // start: mov ecx, ROUNDS
    0x89, 0xc8,                               // loop: mov eax, ecx
    0xc1, 0xe0, 0x03,                         // shl eax, 3
    0x44, 0x21, 0xd8,                         // and eax, r11d
    0x49, 0x8d, 0x3c, 0x00,                   // lea rdi, [r8 + rax]
    0x4c, 0x89, 0xcc,                         // mov rsp, r9
    0x48, 0x29, 0xc4,                         // sub rsp, rax
    0x48, 0x39, 0xc8,                         // cmp rax, rcx
    0x48, 0x8b, 0x57, 0x08,                   // mov rdx, [rdi + 8]
    0x48, 0x11, 0xd3,                         // adc rbx, rdx
    0x0f, 0x92, 0x47, 0xf0,                   // setc [rdi - 0x10]: the byte is made before the address is checked
    0x48, 0x89, 0x5f, 0xe0,                   // mov [rdi - 0x20], rbx
    0x89, 0x4f, 0x20,                         // mov [rdi + 0x20], ecx
    0x48, 0x13, 0x5f, 0xe8,                   // adc rbx, [rdi - 0x18]
    0x48, 0x8d, 0x5b, 0x01,                   // lea rbx, [rbx + 1]
    0x53,                                     // push rbx
    0xff, 0x77, 0x10,                         // push qword [rdi + 0x10]
    0x51,                                     // push rcx
    0xe8, 0xc9, 0xfe, 0xff, 0xff,             // call FUNCTION
    0x48, 0x01, 0xd3,                         // add rbx, rdx
    0x59,                                     // pop rcx
    0x5a,                                     // pop rdx
    0x48, 0x31, 0xd3,                         // xor rbx, rdx
    0x5a,                                     // pop rdx
    0xff, 0xc9,                               // dec ecx
    0x75, 0xba,                               // jnz loop
    0xfe, 0x04, 0x25, 0x33, 0x01, 0x10, 0x00, // inc byte [the lea's 1]
    0x4d, 0x87, 0xd0,                         // xchg r8, r10
    0xff, 0xce,                               // dec esi
    0x75, 0xa7,                               // jnz start
    0xf4,                                     // hlt
};

struct variant {
    uint64_t data[2]; // where the data slide from, in turns
    uint64_t stack;
    uint32_t slide;
    bool counting;
    uint64_t slice; // instructions of a run, on the average; 0: all
    uint64_t flags; // of page 2's entry, which is 0 else
};

static uint64_t page(unsigned number)
{
    return GUEST_DATA + number * PAGE_SIZE;
}

static void start(struct guest *g, const struct variant *v)
{
    uint64_t second = v->flags ? page(2) | v->flags : 0, third = page(3) | PRESENT;
    guest_reset(g, GUEST_64_CPL0, 1);
    guest_load(g, ENTRY(page(2)), &second, sizeof second);
    guest_load(g, ENTRY(page(3)), &third, sizeof third);
    guest_load(g, FUNCTION, function, sizeof function);
    guest_load(g, PROGRAM, program, sizeof program);
    g->cpu->counting = v->counting;
    g->cpu->var[VAR_RIP] = PROGRAM;
    g->cpu->var[VAR_RBX] = 0;
    g->cpu->var[VAR_RSI] = PHASES;
    g->cpu->var[VAR_R8] = v->data[0];
    g->cpu->var[VAR_R8 + 1] = v->stack;
    g->cpu->var[VAR_R8 + 2] = v->data[1];
    g->cpu->var[VAR_R8 + 3] = v->slide;
}

static struct translate_statistics try(struct guest_pair *p, struct variant v)
{
    struct translate_statistics before, after;
    uint64_t random = 7;
    char text[400] = "";

    start(&p->interp, &v);
    start(&p->jit, &v);
    translate_statistics(p->jit.state, &before);
    do {
        uint64_t slice = v.slice ? guest_random(&random) % (2 * v.slice) + 1 : 10000000;
        guest_run(&p->interp, slice);
        guest_run(&p->jit, slice);
        if (!v.counting)
            p->interp.cpu->instructions = p->jit.cpu->instructions = 0;
        if (!guest_equal(&p->interp, &p->jit, text, sizeof text))
            fail_msg("%s", text);
    } while (p->interp.cpu->activity == ACTIVITY_RUN);
    translate_statistics(p->jit.state, &after);
    assert_int_equal(p->interp.cpu->activity, ACTIVITY_HALT);
    after.resumed -= before.resumed;
    after.detours -= before.detours;
    after.host_instructions -= before.host_instructions;
    assert_true(after.detours > 0);
    return after;
}

/// Neither the interpreter nor C has much to do with it.
static void test_memory(void **state)
{
    struct guest_pair *p = *state;
    for (unsigned counting = 0; counting < 2; counting++) {
        struct variant v = {{page(0), page(10)}, GUEST_STACK, SLIDE_PAGE, .counting = counting};
        struct translate_statistics s = try(p, v);
        assert_int_equal(p->interp.cpu->var[VAR_RSI], 0);
        assert_true(s.host_instructions > PHASES * ROUNDS * 24 || !counting);
        // The data straddle pages in 12 of 512 rounds, the stack in 4.
        assert_in_range(s.detours + s.resumed, 2, PHASES * ROUNDS * 16 / 512 / 4);
    }
}

/// A run ends at any instruction.
static void test_slices(void **state)
{
    struct variant v = {{page(0), page(10)}, GUEST_STACK, SLIDE_PAGE, true, 300};
    try(*state, v);
    v.slide = SLIDE_END;
    v.data[0] = v.data[1] = page(1) - 0x28;
    try(*state, v);
}

/// More detours than a block may make.
static void test_often(void **state)
{
    try(*state, (struct variant){{page(1) - 0x28, page(11) - 0x30}, page(10) + 0x30, SLIDE_END});
    try(*state, (struct variant){{page(1) - 0x28, page(11) - 0x30}, page(10) + 0x30, SLIDE_END, true});
}

/// The detour is known already from where page 0 ends when an access of the group faults on page 2. Everything before
/// it is done, and nothing of its own instruction.
static void test_faults(void **state)
{
    struct guest_pair *p = *state;
    for (unsigned i = 0; i < 8; i++) {
        bool of_stack = i & 4, missing = i & 2 || of_stack;
        uint64_t data = of_stack ? page(0) : page(1) - 0x10;
        uint64_t stack = of_stack ? page(3) + SLIDE_PAGE + 0x10 : GUEST_STACK;
        struct variant v = {{data, data}, stack, SLIDE_PAGE, .counting = i & 1, .flags = missing ? 0 : READ_ONLY};
        try(p, v);
        assert_int_equal(p->interp.cpu->var[VAR_RIP], GUEST_HANDLERS + 14 + 1);
        assert_int_equal(p->interp.cpu->cr2, of_stack ? page(3) - 8 : page(2) + 8);
        assert_int_equal(p->interp.cpu->var[VAR_RSI], PHASES);
        assert_true(p->interp.cpu->var[VAR_RCX] < ROUNDS - 300);
    }
}

static void test_device(void **state)
{
    struct guest_pair *p = *state;
    try(p, (struct variant){{page(0), page(4) + 0x20}, GUEST_STACK, SLIDE_PAGE, true});
    assert_int_equal(p->interp.cpu->var[VAR_RSI], 0);
    try(p, (struct variant){{page(4) + 0x20, page(4) + 0x28}, GUEST_STACK, SLIDE_PAGE, true, 5000});
    assert_int_equal(p->interp.cpu->var[VAR_RSI], 0);
}

/// Page 8 is the program's: stores behind the end of page 7 lie beside code, and now and then change the function.
static void test_code(void **state)
{
    struct guest_pair *p = *state;
    try(p, (struct variant){{page(7), page(7)}, GUEST_STACK, SLIDE_PAGE, true});
    try(p, (struct variant){{page(7), page(0)}, GUEST_STACK, SLIDE_PAGE, false});
    assert_int_equal(p->interp.cpu->var[VAR_RSI], 0);
}

static const uint8_t remapping[] = {
    0x41, 0x0f, 0x01, 0x38, // loop: invlpg [r8]
    0x49, 0x8b, 0x00,       // mov rax, [r8]
    0x49, 0x31, 0xd9,       // xor r9, rbx
    0x4d, 0x89, 0x0a,       // mov [r10], r9: the page's entry, which leads to two places in turns
    0xeb, 0x00,             // jmp next
    0x49, 0x8b, 0x50, 0x08, // next: mov rdx, [r8 + 8]: where the first one read
    0x48, 0x01, 0xd6,       // add rsi, rdx
    0x41, 0xff, 0x40, 0x08, // inc dword [r8 + 8]: where the entry leads now
    0x31, 0xc0,             // xor eax, eax
    0xff, 0xc9,             // dec ecx
    0x75, 0xe2,             // jnz loop
    0xf4,                   // hlt
};

/// A read whose check is for a write that follows reads by the TLB's entry for reading, and sets no Dirty before.
static void test_write_after_read(void **state)
{
    struct guest_pair *p = *state;
    struct guest *guests[] = {&p->interp, &p->jit};
    char text[400] = "";
    for (unsigned i = 0; i < 2; i++) {
        struct guest *g = guests[i];
        struct cpu *cpu = g->cpu;
        uint64_t entry = page(2) | PRESENT;
        guest_reset(g, GUEST_64_CPL0, 1);
        guest_load(g, ENTRY(page(2)), &entry, sizeof entry);
        guest_load(g, PROGRAM, remapping, sizeof remapping);
        cpu->counting = true;
        cpu->var[VAR_RIP] = PROGRAM;
        cpu->var[VAR_RCX] = 1000;
        cpu->var[VAR_RSI] = 0;
        cpu->var[VAR_RBX] = page(2) ^ page(3);
        cpu->var[VAR_R8] = page(2);
        cpu->var[VAR_R8 + 1] = entry;
        cpu->var[VAR_R8 + 2] = ENTRY(page(2));
        guest_run(g, 1000000);
        assert_int_equal(cpu->activity, ACTIVITY_HALT);
        assert_int_equal(cpu->var[VAR_RCX], 0);
    }
    if (!guest_equal(&p->interp, &p->jit, text, sizeof text))
        fail_msg("%s", text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),           cmocka_unit_test(test_slices), cmocka_unit_test(test_often),
        cmocka_unit_test(test_faults),           cmocka_unit_test(test_device), cmocka_unit_test(test_code),
        cmocka_unit_test(test_write_after_read),
    };
    return cmocka_run_group_tests(tests, guest_pair_open, guest_pair_close);
}
