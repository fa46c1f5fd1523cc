// Images of x87 and SSE state: FNSTENV, FNSAVE, FXSAVE and back, with pointers, against the host; the formats that only
// other modes have by vectors; what models with and without CPUID's promises keep in the pointers.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cpu/model.h"
#include "cpu/support_fpu.h"

enum { FAST_STATES = 1500 };

struct image_instruction {
    const char *name;
    uint8_t bytes[4], length;
    bool fxsave;
};

static const struct image_instruction instructions[] = {
    {"fnstenv", {0xd9, 0x37}, 2, false},      {"fnstenv (16)", {0x66, 0xd9, 0x37}, 3, false},
    {"fnsave", {0xdd, 0x37}, 2, false},       {"fnsave (16)", {0x66, 0xdd, 0x37}, 3, false},
    {"fldenv", {0xd9, 0x27}, 2, false},       {"fldenv (16)", {0x66, 0xd9, 0x27}, 3, false},
    {"frstor", {0xdd, 0x27}, 2, false},       {"frstor (16)", {0x66, 0xdd, 0x27}, 3, false},
    {"fxsave", {0x0f, 0xae, 0x07}, 3, true},  {"fxsave64", {0x48, 0x0f, 0xae, 0x07}, 4, true},
    {"fxrstor", {0x0f, 0xae, 0x0f}, 3, true}, {"fxrstor64", {0x48, 0x0f, 0xae, 0x0f}, 4, true},
};

static void make_state(uint64_t *random, bool fxsave, struct fpu_state *state)
{
    uint64_t r = support_random(random);
    fpu_state_init(state);
    state->x87.control = 0x40 | (r & 0x1f3f);
    if (r & 0x40) // nothing pending
        state->x87.control |= 0x3f;
    state->x87.status = r >> 16 & 0x7f7f;
    if (state->x87.status & ~state->x87.control & 0x3f)
        state->x87.status |= X87_ES | X87_BUSY;
    state->x87.tag = (uint32_t)(r >> 32 & 0xffff);
    for (unsigned i = 0; i < 8; i++)
        fpu_class_x87((unsigned)(r >> 7 * i) & 63, random, state->x87.st[i]);
    r = support_random(random);
    state->x87.ip = (uint32_t)r;
    state->x87.dp = (uint32_t)(r >> 32);
    r = support_random(random);
    state->x87.opcode = (uint16_t)r & 0x7ff;
    state->x87.cs = (uint16_t)(r >> 16);
    state->x87.ds = (uint16_t)(r >> 32);
    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < 16; k += 8)
            store_le64(state->xmm[i] + k, support_random(random));
    state->mxcsr = (uint32_t)(r >> 40 & 0xff80);
    for (unsigned i = 0; i < sizeof state->memory; i += 8)
        store_le64(state->memory + i, support_random(random));
    for (unsigned i = 0; i < 8; i++)
        fpu_class_x87((unsigned)(r >> 6 * i) & 63, random, state->memory + (fxsave ? 32 + 16 * i : 28 + 10 * i));
    if (!fxsave) {
        if ((r >> 56 & 3) == 0)
            state->rdi += 1;
        return;
    }
    store_le32(state->memory + 24, load_le32(state->memory + 24) & (r >> 56 & 7 ? 0xffff : 0xfffdffff));
    if ((r >> 60) == 0)
        state->rdi += 8;
    if (r >> 59 & 1) // nothing pending in the image
        state->memory[0] |= 0x3f;
}

/// FXSAVE stores the mask of what MXCSR has, of which hosts have more.
static void forgive(const struct fpu_state *host, struct fpu_state *ours)
{
    memcpy(ours->memory + 28, host->memory + 28, 4);
}

static void images_match_the_host(void **state)
{
    uint64_t random = 1;
    struct fpu_bench bench;
    unsigned bad = 0, states = fpu_wanted_states(FAST_STATES);
    if (!fpu_bench_open(&bench, fpu_host_policy()))
        skip();
    for (unsigned n = 0; n < ARRAY_SIZE(instructions); n++) {
        const struct image_instruction *instruction = &instructions[n];
        unsigned wrong = 0;
        fpu_bench_set_code(&bench, instruction->bytes, instruction->length);
        for (unsigned i = 0; i < states; i++) {
            struct fpu_state before, host, ours;
            char text[256];
            bool equal = false;
            make_state(&random, instruction->fxsave, &before);
            fpu_bench_run_guest(&bench, &before, &ours);
            for (unsigned round = 0; round < 3 && !equal; round++) {
                fpu_bench_run_host(&bench, &before, &host);
                if (instruction->fxsave)
                    forgive(&host, &ours);
                equal = fpu_state_equal(&host, &ours, !host.fault, text, sizeof text);
            }
            if (!equal && wrong++ < 3)
                print_message("%s: %s (fcw %04x fsw %04x; image %08x %08x)\n", instruction->name, text,
                              before.x87.control, before.x87.status, load_le32(before.memory),
                              load_le32(before.memory + 4));
        }
        bad += wrong;
    }
    fpu_bench_close(&bench);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_match_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
