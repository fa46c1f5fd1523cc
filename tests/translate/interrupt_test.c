// An interrupt or NMI at every instruction boundary of a small program changes nothing for the
// program and is the same in both engines: shadows, REP, self-modifying code, single-stepping. And no loop keeps the
// engines from looking at the pins.
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bits.h"
#include "support_guest.h"
#include "translate/translate.h"

#define VECTOR 0x40u
#define HANDLER 0x6000u
#define DEBUG_HANDLER 0x6100u
#define COUNTS 0x8000u // interrupts, a hash of where they came, debug traps
#define BOUNDARIES_MAX 2000u

static const uint8_t program[] = {
    0xfb,                                                 // 00 sti
    0xb9, 0x06, 0x00, 0x00, 0x00,                         // 01 mov ecx, 6
    0x51,                                                 // 06 push rcx
    0xbe, 0x00, 0x00, 0x11, 0x00,                         // 07 mov esi, GUEST_DATA
    0xbf, 0x00, 0x04, 0x11, 0x00,                         // 0c mov edi, GUEST_DATA + 0x400
    0xb9, 0x14, 0x00, 0x00, 0x00,                         // 11 mov ecx, 20
    0xf3, 0xa4,                                           // 16 rep movsb
    0x59,                                                 // 18 pop rcx
    0x8c, 0xd0,                                           // 19 mov eax, ss
    0x8e, 0xd0,                                           // 1b mov ss, eax: nothing comes behind it
    0x49, 0xff, 0xc0,                                     // 1d inc r8
    0xfa,                                                 // 20 cli
    0x49, 0xff, 0xc1,                                     // 21 inc r9
    0xfb,                                                 // 24 sti: no interrupt behind it
    0x49, 0xff, 0xc2,                                     // 25 inc r10
    0x9c,                                                 // 28 pushfq
    0x9d,                                                 // 29 popfq
    0x31, 0xd2,                                           // 2a xor edx, edx
    0xb8, 0xbc, 0x02, 0x00, 0x00,                         // 2c mov eax, 700
    0xf7, 0xf1,                                           // 31 div ecx
    0xe8, 0x1a, 0x00, 0x00, 0x00,                         // 33 call 52
    0x88, 0x0d, 0x01, 0x00, 0x00, 0x00,                   // 38 mov byte ptr [3f], cl: the next instruction
    0xb0, 0x00,                                           // 3e mov al, 0
    0x49, 0x01, 0xc3,                                     // 40 add r11, rax
    0xf0, 0x83, 0x04, 0x25, 0x00, 0x08, 0x11, 0x00, 0x03, // 43 lock add dword ptr [GUEST_DATA + 0x800], 3
    0xff, 0xc9,                                           // 4c dec ecx
    0x75, 0xb6,                                           // 4e jnz 06
    0xfa,                                                 // 50 cli
    0xf4,                                                 // 51 hlt
    0x48, 0x83, 0xc0, 0x05,                               // 52 add rax, 5
    0xff, 0x25, 0x01, 0x00, 0x00, 0x00,                   // 56 jmp qword ptr [5d]
    0xc3,                                                 // 5c ret
    0x5c, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00,       // 5d GUEST_CODE + 5c
};
static const uint8_t handler[] = {
    0x50,                                           // push rax
    0x48, 0xff, 0x04, 0x25, 0x00, 0x80, 0x00, 0x00, // inc qword ptr [COUNTS]
    0x48, 0x8b, 0x44, 0x24, 0x08,                   // mov rax, [rsp + 8]: RIP
    0x48, 0xc1, 0xc0, 0x07,                         // rol rax, 7
    0x48, 0x31, 0x04, 0x25, 0x08, 0x80, 0x00, 0x00, // xor [COUNTS + 8], rax
    0x58,                                           // pop rax
    0x48, 0xcf,                                     // iretq
};
static const uint8_t debug_handler[] = {
    0x48, 0xff, 0x04, 0x25, 0x10, 0x80, 0x00, 0x00, // inc qword ptr [COUNTS + 16]
    0x48, 0xcf,                                     // iretq
};

static int acknowledge(void *opaque)
{
    struct guest *g = opaque;
    cpu_clear_pending(g->cpu, PENDING_INTR);
    return VECTOR;
}

static void set_handler(struct guest *g, unsigned vector, uint32_t at)
{
    uint64_t gate = (at & 0xffff) | 8u << 16 | UINT64_C(0x8e01) << 32;
    guest_load(g, g->cpu->idt.base + vector * 16, &gate, 8);
}

static void prepare(struct guest *g, uint64_t flags)
{
    guest_reset(g, GUEST_64_CPL0, 1);
    g->cpu->outside.opaque = g;
    g->cpu->outside.acknowledge = acknowledge;
    cpu_clear_pending(g->cpu, PENDING_INTR | PENDING_NMI);
    guest_load(g, GUEST_CODE, program, sizeof program);
    guest_load(g, HANDLER, handler, sizeof handler);
    guest_load(g, DEBUG_HANDLER, debug_handler, sizeof debug_handler);
    set_handler(g, VECTOR, HANDLER);
    set_handler(g, VECTOR_NMI, HANDLER);
    set_handler(g, VECTOR_DB, DEBUG_HANDLER);
    g->cpu->var[VAR_RSP] = GUEST_STACK;
    cpu_set_rflags(g->cpu, flags);
}

static uint64_t count(const struct guest *g, unsigned number)
{
    uint64_t value;
    memcpy(&value, g->memory.host + COUNTS + number * 8, 8);
    return value;
}

/// What the program computes.
static void expect_result(const struct guest *g, const struct guest *plain)
{
    static const uint8_t registers[] = {VAR_RAX, VAR_RCX, VAR_RDX, VAR_RSP, VAR_RSI, VAR_RDI,
                                        VAR_R8,  VAR_R9,  VAR_R10, VAR_R11, VAR_RIP};
    for (unsigned i = 0; i < sizeof registers; i++)
        assert_int_equal(g->cpu->var[registers[i]], plain->cpu->var[registers[i]]);
    assert_int_equal(cpu_rflags(g->cpu), cpu_rflags(plain->cpu));
    assert_memory_equal(g->memory.host + GUEST_DATA, plain->memory.host + GUEST_DATA, PAGE_SIZE);
}

/// The pin rises when `at` instructions have retired.
static enum engine_stop run_with(struct guest *g, uint64_t flags, uint64_t at, uint32_t pin)
{
    prepare(g, flags);
    if (at)
        guest_run(g, at);
    if (pin)
        cpu_set_pending(g->cpu, pin);
    return guest_run(g, 100000);
}

static void at_every_boundary(uint64_t flags, uint32_t pin)
{
    struct guest plain, interp, jit;
    uint64_t length, taken = 0;
    char text[1024];

    guest_start(&plain, &engine_interp);
    guest_start(&interp, &engine_interp);
    guest_start(&jit, &engine_jit);
    assert_int_equal(run_with(&plain, flags, 0, 0), STOP_HALT);
    length = plain.cpu->instructions;
    assert_in_range(length, 100, BOUNDARIES_MAX);
    for (uint64_t at = 0; at < length; at++) {
        assert_int_equal(run_with(&interp, flags, at, pin), STOP_HALT);
        assert_int_equal(run_with(&jit, flags, at, pin), STOP_HALT);
        if (!guest_equal(&interp, &jit, text, sizeof text))
            fail_msg("pin at %u: interpreter / host code: %s", (unsigned)at, text);
        if (count(&interp, 0)) // otherwise it came behind the last CLI and ended the halt
            expect_result(&interp, &plain);
        assert_int_equal(count(&interp, 2), count(&plain, 2)); // an interrupt loses and adds no single step
        taken += count(&interp, 0);
    }
    assert_in_range(taken, length - 32, length); // but those behind the last CLI
    guest_end(&plain);
    guest_end(&interp);
    guest_end(&jit);
}

static void interrupts(void **state)
{
    (void)state;
    at_every_boundary(2, PENDING_INTR);
}

static void nmis(void **state)
{
    (void)state;
    at_every_boundary(2, PENDING_NMI);
}

static void interrupts_while_stepping(void **state)
{
    (void)state;
    at_every_boundary(2 | FLAG_TF, PENDING_INTR);
}

// ---- no loop starves the poll ------------------------------------------------------------------------------------

static void *raise_soon(void *opaque)
{
    struct cpu *cpu = opaque;
    usleep(2000);
    cpu_set_pending(cpu, PENDING_INTR);
    return NULL;
}

static void loops_end(const struct engine *engine, bool counting)
{
    static const struct {
        const char *name;
        uint8_t size, code[24];
    } loops[] = {
        {"jmp", 2, {0xeb, 0xfe}},
        {"two blocks", 6, {0x85, 0xc0, 0x74, 0xfc, 0xeb, 0xfa}}, // test eax, eax; jz; jmp
        {"call and ret", 8, {0xe8, 0x02, 0, 0, 0, 0xeb, 0xf9, 0xc3}},
        {"indirect", 7, {0xb8, 0x00, 0x00, 0x10, 0x00, 0xff, 0xe0}}, // mov eax, GUEST_CODE; jmp rax
        {"over a page's end", 10, {0xe9, 0xfb, 0x0f, 0, 0}},         // jmp to the next page, which jumps back
        {"mov ss", 6, {0x8c, 0xd0, 0x8e, 0xd0, 0xeb, 0xfa}},
        {"popf", 4, {0x9c, 0x9d, 0xeb, 0xfc}},
        {"sti", 3, {0xfb, 0xeb, 0xfd}},
        // mov ecx, ROUNDS; a: nop; b: dec ecx; jz end; sti; nop; cli; cmp ecx, ROUNDS - 0x100; ja b; jmp a; end: hlt.
        // So host code for both a and b leads through the window.
        {"sti and cli", 24, {0xb9, 0,    0,    0x20, 0,    0x90, 0xff, 0xc9, 0x74, 0x0d, 0xfb, 0x90,
                             0xfa, 0x81, 0xf9, 0,    0xff, 0x1f, 0,    0x77, 0xf1, 0xeb, 0xee, 0xf4}},
        {"rep stosb", 14, {0xb9, 0, 0x10, 0, 0, 0xbf, 0, 0, 0x11, 0, 0xf3, 0xaa, 0xeb, 0xf2}}, // a page
        {"own code", 9, {0xc6, 0x05, 0x00, 0x00, 0x00, 0x00, 0xeb, 0xeb, 0xf7}}, // mov byte ptr [next], 0xeb
        {"device", 10, {0x8b, 0x04, 0x25, 0x00, 0x50, 0x11, 0x00, 0xeb, 0xf7}},
    };
    struct guest g;
    guest_start(&g, engine);
    if (engine == &engine_jit)
        translate_set_threshold(g.state, 0);
    for (unsigned i = 0; i < sizeof loops / sizeof loops[0]; i++) {
        static const uint8_t back[] = {0xe9, 0xfb, 0xef, 0xff, 0xff};
        pthread_t thread;
        prepare(&g, 2 | FLAG_IF);
        g.cpu->counting = counting;
        set_handler(&g, VECTOR, GUEST_HANDLERS + VECTOR); // halts
        guest_load(&g, GUEST_CODE, loops[i].code, loops[i].size);
        guest_load(&g, GUEST_CODE + 0x1000, back, sizeof back);
        assert_int_equal(pthread_create(&thread, NULL, raise_soon, g.cpu), 0);
        assert_int_equal(guest_run(&g, UINT64_C(1) << 40), STOP_HALT);
        assert_int_equal(g.cpu->var[VAR_RIP], GUEST_HANDLERS + VECTOR + 1);
        pthread_join(thread, NULL);
    }
    guest_end(&g);
}

static void loops_of_the_interpreter(void **state)
{
    (void)state;
    loops_end(&engine_interp, true);
    loops_end(&engine_interp, false);
}

static void loops_in_host_code(void **state)
{
    (void)state;
    loops_end(&engine_jit, true);
    loops_end(&engine_jit, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interrupts),
        cmocka_unit_test(nmis),
        cmocka_unit_test(interrupts_while_stepping),
        cmocka_unit_test(loops_of_the_interpreter),
        cmocka_unit_test(loops_in_host_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
