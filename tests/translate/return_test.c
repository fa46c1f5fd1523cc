// Returns whose target is not canonical: the exit finds out only where the jump cache does not know the target, and the
// fault comes with the state from before the RET.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "support_guest.h"
#include "translate/translate.h"

#define TARGET (GUEST_CODE + 0x800)
#define NOWHERE UINT64_C(0x0001000000000000)
#define HIGH UINT64_C(0xffff800000000000) // canonical, in the other half, not mapped
#define LOOK_ALIKE UINT64_C(0x8000000012345678)

struct form {
    const char *name;
    uint8_t code[24];
    unsigned size, ret, words; // in all, where the RET is, what is popped before it
};

static const struct form forms[] = {
    {"alone", {0xc3}, 1, 0, 0},
    {"with a step", {0xc2, 0x10, 0}, 3, 0, 0},
    {"behind pops", {0x5b, 0x5d, 0xc3}, 3, 2, 2},
    {"behind a step", {0x48, 0x8d, 0x64, 0x24, 0x10, 0xc2, 0x08, 0}, 8, 5, 2},
    {"behind flags", {0x83, 0xc1, 5, 0x5b, 0xc3}, 5, 4, 1},
    {"behind a jump", {0x01, 0xd1, 0x5b, 0xeb, 0x02, 0xf4, 0xf4, 0x5d, 0xc3}, 9, 8, 2},
    {"with a temporary", {0x4c, 0x8b, 0x08, 0x4d, 0x01, 0xca, 0x5b, 0xc3}, 8, 7, 1},
    {"behind CPUID", {0x31, 0xc0, 0x0f, 0xa2, 0x5b, 0xc3}, 6, 5, 1},
    {"of another width", {0x5b, 0x66, 0xc3}, 3, 1, 1},
};

static const uint64_t targets[] = {TARGET,    TARGET,           NOWHERE,    TARGET, HIGH,
                                   ~HIGH + 1, NOWHERE + TARGET, LOOK_ALIKE, TARGET};

static void start(struct guest *g, const struct form *form, uint64_t target)
{
    struct cpu *cpu = g->cpu;
    cpu_set_rflags(cpu, 2);
    for (unsigned var = VAR_RAX; var <= VAR_R15; var++)
        cpu->var[var] = GUEST_DATA + var * 0x100;
    cpu->var[VAR_RSP] = GUEST_STACK;
    cpu->var[VAR_RIP] = GUEST_CODE;
    for (unsigned i = 0; i < 8; i++)
        guest_load(g, GUEST_STACK + 8 * i, &(uint64_t){i == form->words ? target : i}, 8);
    cpu->activity = ACTIVITY_RUN;
}

/// The jump cache has the address, though it is no address: code that is not flat made it.
static void make_look_alike(struct cpu *cpu)
{
    struct cpu_jump_entry *entry = &cpu->jump_cache[jump_cache_index(LOOK_ALIKE)];
    *entry = (struct cpu_jump_entry){
        .linear = LOOK_ALIKE, .mode = cpu->mode ^ MODE_FLAT, .epoch = cpu->jump_epoch, .chain = cpu->no_chain};
}

/// What a target leads to, in case both engines are wrong.
static void look_at_fault(const struct guest *g, const struct form *form, uint64_t target)
{
    bool faults = target != TARGET && target != HIGH;
    uint64_t frame[5]; // error code, RIP, CS, RFLAGS, RSP
    assert_int_equal(g->cpu->var[VAR_RIP] == GUEST_HANDLERS + VECTOR_GP + 1, faults);
    if (!faults)
        return;
    memcpy(frame, g->memory.host + g->cpu->var[VAR_RSP], sizeof frame);
    assert_int_equal(frame[1], GUEST_CODE + form->ret);
    assert_int_equal(frame[4], GUEST_STACK + 8 * form->words);
}

static void run_form(struct guest_pair *p, const struct form *form, bool counting)
{
    struct guest *guests[] = {&p->interp, &p->jit};
    static const uint8_t end[] = {0xff, 0xc6, 0xf4}; // inc esi; hlt
    for (unsigned i = 0; i < 2; i++) {
        guests[i]->cpu->counting = counting;
        guest_reset(guests[i], GUEST_64_CPL0, 1);
        guest_load(guests[i], GUEST_CODE, form->code, form->size);
        guest_load(guests[i], TARGET, end, sizeof end);
    }
    for (unsigned round = 0; round < 3 * ARRAY_SIZE(targets); round++) {
        uint64_t target = targets[round % ARRAY_SIZE(targets)];
        char text[1000] = "";
        for (unsigned i = 0; i < 2; i++) {
            start(guests[i], form, target);
            if (target == LOOK_ALIKE)
                make_look_alike(guests[i]->cpu);
            guest_run(guests[i], 40);
        }
        if (!counting)
            p->jit.cpu->instructions = p->interp.cpu->instructions;
        if (!guest_equal(guests[0], guests[1], text, sizeof text))
            fail_msg("%s, counting %u, round %u: %s", form->name, counting, round, text);
        if (form->code[form->ret] != 0x66) // whose target is cut
            look_at_fault(&p->jit, form, target);
        if (round % 4 == 3)
            for (unsigned i = 0; i < 2; i++)
                mmu_forget_fetches(&guests[i]->cpu->mmu);
    }
    for (unsigned i = 0; i < 2; i++)
        guests[i]->cpu->counting = false;
}

static void test_forms(void **state)
{
    for (unsigned i = 0; i < ARRAY_SIZE(forms); i++) {
        for (unsigned counting = 0; counting < 2; counting++)
            run_form(*state, &forms[i], counting);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
    };
    return cmocka_run_group_tests(tests, guest_pair_open, guest_pair_close);
}
