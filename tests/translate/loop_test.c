// Loops in both engines: flags that are pending on the way back to the start must be right wherever the loop is left:
// at its end, by a fault in any round, and between any two blocks.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support_guest.h"
#include "translate/translate.h"

#define PLAIN (GUEST_DATA + 0xa000) // five pages without tricks
#define MOST_CODE 160u

struct piece {
    const char *bytes;
    uint8_t size;
};

#define PIECE(text)                                                                                                    \
    {                                                                                                                  \
        text, sizeof text - 1                                                                                          \
    }
static const struct piece body[] = {
    PIECE("\x8a\x06"),                             // mov al, [rsi]
    PIECE("\x89\x07"),                             // mov [rdi], eax
    PIECE("\x0f\xb6\x14\x0e"),                     // movzx edx, byte [rsi + rcx]
    PIECE("\x48\x83\xc6\x18"),                     // add rsi, 24
    PIECE("\x48\x81\xc7\x90\x01\x00\x00"),         // add rdi, 400
    PIECE("\x48\x8d\x5c\x43\x03"),                 // lea rbx, [rbx + rax * 2 + 3]
    PIECE("\x31\xc3"),                             // xor ebx, eax
    PIECE("\x49\xff\xc0"),                         // inc r8
    PIECE("\x49\x11\xc1"),                         // adc r9, rax
    PIECE("\x49\x89\xda"),                         // mov r10, rbx
    PIECE("\x41\x29\xdb"),                         // sub r11d, ebx
    PIECE("\x80\x3e\x50"),                         // cmp byte [rsi], 80
    PIECE("\x0f\x92\xc2"),                         // setb dl
    PIECE("\x48\xc1\xe3\x03"),                     // shl rbx, 3
    PIECE("\x48\xd3\xe3"),                         // shl rbx, cl
    PIECE("\x48\x0f\xaf\xd8"),                     // imul rbx, rax
    PIECE("\x0f\xa3\xc3"),                         // bt ebx, eax
    PIECE("\xc1\xc3\x07"),                         // rol ebx, 7
    PIECE("\x75\x00"),                             // jne on
    PIECE("\x72\x03\x49\xff\xc0"),                 // jb on; inc r8
    PIECE("\xeb\x00"),                             // jmp on
    PIECE("\x00\xc3"),                             // add bl, al
    PIECE("\x66\x39\xc3"),                         // cmp bx, ax
    PIECE("\x4d\x01\xe5"),                         // add r13, r12
    PIECE("\x66\x0f\xef\xc1"),                     // pxor xmm0, xmm1
    PIECE("\x66\x0f\x2f\xc1"),                     // comisd xmm0, xmm1
    PIECE("\x9f"),                                 // lahf
    PIECE("\xf7\xdb"),                             // neg ebx
    PIECE("\x01\x07"),                             // add [rdi], eax
    PIECE("\x4c\x8b\x2e"),                         // mov r13, [rsi]
    PIECE("\x48\x8b\x45\x08"),                     // mov rax, [rbp + 8]
    PIECE("\x01\x45\xfc"),                         // add [rbp - 4], eax
    PIECE("\x48\x89\x5c\x24\x10"),                 // mov [rsp + 16], rbx
    PIECE("\x48\xff\x44\x24\x10"),                 // inc qword [rsp + 16]
    PIECE("\x43\x88\x04\x37"),                     // mov [r15 + r14], al
    PIECE("\x45\x03\x07"),                         // add r8d, [r15]
    PIECE("\x48\x8d\x6d\x08"),                     // lea rbp, [rbp + 8]
    PIECE("\x53\x5b"),                             // push rbx; pop rbx
    PIECE("\x0f\x10\x4d\x00"),                     // movups xmm1, [rbp]
    PIECE("\x67\x03\x45\x24"),                     // add eax, [ebp + 36]
    PIECE("\x48\x85\xe4\x74\x03\x49\xff\xc0"),     // test rsp, rsp; je on (never); inc r8
    PIECE("\x48\x85\xe4\x74\x04\x48\x03\x5d\x10"), // test rsp, rsp; je on; add rbx, [rbp + 16]
    PIECE("\x48\x85\xe4\x74\x04\x66\x03\x5e\x06"), // test rsp, rsp; je on; add bx, [rsi + 6]
};
static const struct piece tests[] = {
    PIECE("\x48\x39\xcb"),             // cmp rbx, rcx
    PIECE("\x83\xe9\x01"),             // sub ecx, 1
    PIECE("\xff\xc9"),                 // dec ecx
    PIECE("\x84\xc0"),                 // test al, al
    PIECE("\xa8\x21"),                 // test al, 0x21
    PIECE("\x48\x85\xda"),             // test rdx, rbx
    PIECE("\x3c\xf0"),                 // cmp al, 0xf0
    PIECE("\x81\xfb\x00\x00\x00\x80"), // cmp ebx, 0x80000000
    PIECE("\x4c\x39\xe9"),             // cmp rcx, r13
    PIECE("\x4d\x39\xe5"),             // cmp r13, r12
    PIECE("\x48\x01\xcb"),             // add rbx, rcx
    PIECE("\x39\x0f"),                 // cmp [rdi], ecx
    PIECE("\x38\xe8"),                 // cmp al, ch
};

static unsigned put(uint8_t *code, unsigned size, const struct piece *piece)
{
    memcpy(code + size, piece->bytes, piece->size);
    return size + piece->size;
}

/// A loop of up to eight pieces; behind it the flags go to rbx.
static unsigned random_loop(uint64_t *random, uint8_t *code)
{
    uint64_t r = guest_random(random);
    unsigned size = 0, start, count = r & 7, before = r >> 3 & 1;
    if (before)
        size = put(code, size, &body[(r >> 8) % ARRAY_SIZE(body)]);
    start = size;
    for (unsigned i = 0; i < count; i++)
        size = put(code, size, &body[guest_random(random) % ARRAY_SIZE(body)]);
    r = guest_random(random);
    if (r & 7)
        size = put(code, size, &tests[(r >> 8) % ARRAY_SIZE(tests)]);
    if ((r >> 3 & 7) == 0) { // the test at the top: out of the loop, or on
        code[size++] = (uint8_t)(0x70 | (r >> 16 & 15));
        code[size++] = 4;
        code[size++] = 0x48;
        code[size++] = 0x90;
        code[size++] = 0xeb;
    } else {
        code[size++] = (r >> 3 & 7) == 1 ? 0xe2 : (uint8_t)(0x70 | (r >> 16 & 15)); // loop, jcc
    }
    code[size] = (uint8_t)(start - (size + 1));
    size++;
    memcpy(code + size, "\x9c\x5b\xf4", 3); // pushfq; pop rbx; hlt
    return size + 3;
}

static void set_registers(struct guest *g, uint64_t random)
{
    for (unsigned i = VAR_RAX; i <= VAR_R15; i++)
        g->cpu->var[i] = guest_random(&random) >> (random >> 7 & 63);
    g->cpu->var[VAR_RSP] = GUEST_STACK;
    g->cpu->var[VAR_RCX] = guest_random(&random) % 40;
    g->cpu->var[VAR_RSI] = PLAIN + guest_random(&random) % (5 * PAGE_SIZE - 200);
    g->cpu->var[VAR_RBP] = PLAIN + guest_random(&random) % (5 * PAGE_SIZE - 200);
    g->cpu->var[VAR_R15] = PLAIN + guest_random(&random) % (5 * PAGE_SIZE - 200);
    g->cpu->var[VAR_R15 - 1] = guest_random(&random) % 4096;
    g->cpu->var[VAR_RDI] = PLAIN + guest_random(&random) % (5 * PAGE_SIZE - 200);
    cpu_set_rflags(g->cpu, 2 | (guest_random(&random) & FLAGS_ARITHMETIC));
    for (unsigned i = 0; i < 2; i++)
        g->cpu->vreg[i].u64[0] = g->cpu->vreg[i].u64[1] = guest_random(&random);
}

/// A guest in the middle of its loop is stopped at other instructions than at blocks' ends, too; one that began anew
/// has host code of the loop at once, or of more blocks together.
static void test_loops(void **state)
{
    struct guest_pair *pair = *state;
    struct guest *guests[] = {&pair->interp, &pair->jit};
    uint8_t code[MOST_CODE];
    char text[1024];
    uint64_t random = 11;
    unsigned cases = getenv("DOPPEL_TEST_STATES") ? 60000 : 4000, ends = 0;

    for (unsigned i = 0; i < cases; i++) {
        unsigned size = random_loop(&random, code);
        enum engine_stop stop[2] = {STOP_DEADLINE, STOP_DEADLINE};
        uint64_t seed = guest_random(&random);
        translate_set_threshold(pair->jit.state, i % 3);
        for (unsigned k = 0; k < 2; k++) {
            guest_reset(guests[k], GUEST_64_CPL0, seed);
            guest_load(guests[k], GUEST_CODE, code, size);
        }
        for (unsigned round = 0; round < 4; round++) {
            for (unsigned k = 0; k < 2; k++) {
                set_registers(guests[k], seed + round);
                guests[k]->cpu->var[VAR_RIP] = GUEST_CODE;
                guests[k]->cpu->activity = ACTIVITY_RUN;
            }
            for (unsigned part = 0; part < 6 && stop[0] == STOP_DEADLINE; part++) {
                uint64_t limit = 1 + guest_random(&random) % (part ? 90 : 30);
                for (unsigned k = 0; k < 2; k++)
                    stop[k] = guest_run(guests[k], limit);
                if (!guest_equal(&pair->interp, &pair->jit, text, sizeof text) || stop[0] != stop[1]) {
                    print_message("loop %u, round %u, part %u: %s\n   ", i, round, part, text);
                    for (unsigned b = 0; b < size; b++)
                        print_message(" %02x", code[b]);
                    print_message("\n");
                    fail();
                }
            }
            ends += stop[0] == STOP_HALT;
            stop[0] = stop[1] = STOP_DEADLINE;
        }
    }
    assert_true(ends > cases / 2);
}

// A list whose nodes lie in two pages: what one turn finds of them is not the next one's. One register of a guest's is
// free for what goes from part to part of the loop.
#define NODES 60u
static const uint8_t list[] = {
    0x48, 0x8b, 0x46, 0x08,       // next: mov rax, [rsi + 8]
    0x48, 0x01, 0xc1,             // add rcx, rax
    0x48, 0x85, 0xe4,             // test rsp, rsp
    0x74, 0x1d,                   // jz end
    0x48, 0x03, 0x56, 0x10,       // add rdx, [rsi + 16]
    0x48, 0x03, 0x55, 0x28,       // add rdx, [rbp + 40]
    0x48, 0x8d, 0x7c, 0x0f, 0x01, // lea rdi, [rdi + rcx + 1]
    0x49, 0x01, 0xc8,             // add r8, rcx
    0x49, 0x01, 0xd1,             // add r9, rdx
    0x48, 0x8b, 0x36,             // mov rsi, [rsi]
    0x48, 0x85, 0xf6,             // test rsi, rsi
    0x75, 0xd9,                   // jnz next
    0x90, 0x90,                   //
    0xf4,                         // end: hlt
};

static void test_list(void **state)
{
    struct guest_pair *pair = *state;
    struct guest *guests[] = {&pair->interp, &pair->jit};
    char text[400] = "";
    translate_set_threshold(pair->jit.state, 2);
    for (unsigned counting = 0; counting < 2; counting++) {
        uint64_t expected = 0, random = 5;
        for (unsigned k = 0; k < 2; k++) {
            guest_reset(guests[k], GUEST_64_CPL0, 1);
            guest_load(guests[k], GUEST_CODE, list, sizeof list);
            guests[k]->cpu->counting = counting;
        }
        for (unsigned i = 0; i < NODES; i++) {
            uint64_t at = PLAIN + (i & 1) * PAGE_SIZE + i * 32, next = PLAIN + (~i & 1) * PAGE_SIZE + (i + 1) * 32;
            uint64_t node[3] = {i + 1 < NODES ? next : 0, guest_random(&random), guest_random(&random)};
            uint64_t constant = 1000;
            expected += node[2] + constant;
            for (unsigned k = 0; k < 2; k++) {
                guest_load(guests[k], at, node, sizeof node);
                guest_load(guests[k], PLAIN + 3 * PAGE_SIZE + 40, &constant, sizeof constant);
            }
        }
        for (unsigned round = 0; round < 5; round++) {
            for (unsigned k = 0; k < 2; k++) {
                struct cpu *cpu = guests[k]->cpu;
                for (unsigned var = VAR_RAX; var <= VAR_R15; var++)
                    cpu->var[var] = var;
                cpu->var[VAR_RSP] = GUEST_STACK;
                cpu->var[VAR_RSI] = PLAIN;
                cpu->var[VAR_RBP] = PLAIN + 3 * PAGE_SIZE;
                cpu->var[VAR_RDX] = 0;
                cpu->var[VAR_RIP] = GUEST_CODE;
                cpu->activity = ACTIVITY_RUN;
                assert_int_equal(guest_run(guests[k], 100000), STOP_HALT);
                assert_int_equal(cpu->var[VAR_RDX], expected);
            }
            if (!counting)
                pair->interp.cpu->instructions = pair->jit.cpu->instructions = 0;
            if (!guest_equal(&pair->interp, &pair->jit, text, sizeof text))
                fail_msg("%s", text);
        }
    }
}

/// LOOP between what makes flags and what reads them, in one superblock: its own test changes the host's flags.
static void test_flags_over_loop(void **state)
{
    static const uint8_t code[] = {
        0x39, 0xd8, // cmp eax, ebx
        0xe2, 0x01, // loop on
        0xf4,       // hlt
        0x77, 0x02, // on: ja end
        0xff, 0xc2, // inc edx
        0xf4,       // end: hlt
    };
    struct guest_pair *pair = *state;
    struct guest *guests[] = {&pair->interp, &pair->jit};
    translate_set_threshold(pair->jit.state, 2);
    for (unsigned counting = 0; counting < 2; counting++) {
        for (unsigned k = 0; k < 2; k++) {
            struct cpu *cpu = guests[k]->cpu;
            guest_reset(guests[k], GUEST_64_CPL0, 1);
            guest_load(guests[k], GUEST_CODE, code, sizeof code);
            cpu->counting = counting;
            for (unsigned round = 0; round < 10; round++) {
                cpu->var[VAR_RAX] = round & 1 ? 7 : 3;
                cpu->var[VAR_RBX] = 5;
                cpu->var[VAR_RCX] = 9;
                cpu->var[VAR_RDX] = 0;
                cpu->var[VAR_RIP] = GUEST_CODE;
                cpu->activity = ACTIVITY_RUN;
                assert_int_equal(guest_run(guests[k], 100), STOP_HALT);
                assert_int_equal(cpu->var[VAR_RDX], !(round & 1));
            }
        }
    }
}

/// Flags that die in the next part of a superblock, but not before its first instruction on vectors or on x87, which
/// the interpreter does where exceptions are unmasked: its handler sees them.
static void test_flags_before_vectors(void **state)
{
    static const uint8_t codes[][12] = {
        {0x39, 0xd8, 0xeb, 0x00, 0x0f, 0x58, 0xc1, 0x83, 0xc2, 0x01, 0xf4}, // cmp; jmp on; addps xmm0, xmm1; add edx, 1
        {0x39, 0xd8, 0xeb, 0x00, 0xd8, 0xc1, 0x83, 0xc2, 0x01, 0xf4},       // ... fadd st, st(1)
        {0x39, 0xd8, 0xeb, 0x00, 0xdb, 0xf1, 0x83, 0xc2, 0x01, 0xf4},       // ... fcomi st, st(1), which makes all
    };
    struct guest_pair *pair = *state;
    struct guest *guests[] = {&pair->interp, &pair->jit};
    char text[400] = "";
    translate_set_threshold(pair->jit.state, 2);
    for (unsigned i = 0; i < 2 * ARRAY_SIZE(codes); i++) {
        for (unsigned k = 0; k < 2; k++) {
            struct cpu *cpu = guests[k]->cpu;
            guest_reset(guests[k], GUEST_64_CPL0, 1);
            guest_load(guests[k], GUEST_CODE, codes[i / 2], sizeof codes[0]);
            cpu->counting = i & 1;
            for (unsigned round = 0; round < 6; round++) {
                bool unmasked = round == 5;
                cpu->var[VAR_RAX] = unmasked ? 3 : 7;
                cpu->var[VAR_RBX] = unmasked ? 5 : 7;
                cpu->var[VAR_RDX] = 0;
                cpu->var[VAR_RSP] = GUEST_STACK;
                cpu->vreg[0].u64[0] = 0x7f800001; // a signaling NaN
                cpu->mxcsr = unmasked ? 0x1f00 : 0x1f80;
                cpu->x87.control = unmasked ? 0x37e : 0x37f;
                cpu->x87.status = unmasked ? 0x8081 : 0; // invalid, and pending
                cpu->var[VAR_RIP] = GUEST_CODE;
                cpu->activity = ACTIVITY_RUN;
                assert_int_equal(guest_run(guests[k], 100), STOP_HALT);
                assert_int_equal(cpu->var[VAR_RDX], !unmasked);
            }
            if (!cpu->counting)
                cpu->instructions = 0;
        }
        if (!guest_equal(&pair->interp, &pair->jit, text, sizeof text))
            fail_msg("%u: %s", i, text);
    }
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup_teardown(test_loops, guest_pair_open, guest_pair_close),
        cmocka_unit_test_setup_teardown(test_list, guest_pair_open, guest_pair_close),
        cmocka_unit_test_setup_teardown(test_flags_over_loop, guest_pair_open, guest_pair_close),
        cmocka_unit_test_setup_teardown(test_flags_before_vectors, guest_pair_open, guest_pair_close),
    };
    if (!engine_jit.create)
        return 77;
    return cmocka_run_group_tests_name("translate: loops", all, NULL, NULL);
}
