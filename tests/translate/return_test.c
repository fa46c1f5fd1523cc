// Returns and jumps whose target is not canonical: the exit finds out only where the jump cache does not know the
// target, and the fault comes with the state from before the instruction.
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

#define PLACES 8u
#define PLACE_BYTES 16u

static void find_head(void *opaque, struct block *block)
{
    const struct block **head = opaque;
    if (block->backing == GUEST_CODE)
        *head = block;
}

/// An indirect jump, behind a branch that is part of its host code, goes to its own block and to so many other places
/// that it loses its guard, now and then to no canonical address.
static void run_jump(struct guest_pair *p, const uint8_t *code, unsigned size, unsigned jump, bool counting)
{
    struct guest *guests[] = {&p->interp, &p->jit};
    const struct block *head = NULL;
    static const uint8_t end[] = {0xff, 0xc6, 0xf4}; // inc esi; hlt
    char text[1000] = "";
    for (unsigned i = 0; i < 2; i++) {
        guests[i]->cpu->counting = counting;
        guest_reset(guests[i], GUEST_64_CPL0, 1);
        guest_load(guests[i], GUEST_CODE, code, size);
        for (unsigned place = 0; place < PLACES; place++)
            guest_load(guests[i], TARGET + place * PLACE_BYTES, end, sizeof end);
    }
    for (unsigned round = 0; round < 400; round++) {
        bool faults = round % 7 == 6;
        uint64_t frame[5], place = round / 20 % PLACES, target = TARGET + place * PLACE_BYTES;
        if (place % 2 == 0)
            target = GUEST_CODE;
        if (faults)
            target = targets[2 + round / 7 % 2 * 3];
        for (unsigned i = 0; i < 2; i++) {
            start(guests[i], &forms[0], target);
            guest_load(guests[i], GUEST_DATA, &target, 8);
            guests[i]->cpu->var[VAR_RBX] = target;
            guests[i]->cpu->var[VAR_RCX] = round > 30 && round % 3 == 0 ? 0 : 3; // 0: the branch's other way
            guest_run(guests[i], 40);
        }
        if (!counting)
            p->jit.cpu->instructions = p->interp.cpu->instructions;
        if (!guest_equal(guests[0], guests[1], text, sizeof text))
            fail_msg("jump %u, counting %u, round %u: %s", jump, counting, round, text);
        if (!faults || (int32_t)p->jit.cpu->var[VAR_RCX] < 0)
            continue;
        memcpy(frame, p->jit.memory.host + p->jit.cpu->var[VAR_RSP], sizeof frame);
        assert_int_equal(p->jit.cpu->var[VAR_RIP], GUEST_HANDLERS + VECTOR_GP + 1);
        assert_int_equal(frame[1], GUEST_CODE + jump);
        assert_int_equal(frame[4], GUEST_STACK);
    }
    block_cache_visit_page(p->jit.blocks, GUEST_CODE, find_head, &head);
    assert_non_null(head);
    assert_true(head->many_targets && head->host_chain);
    assert_int_equal(head->is_superblock, 1);
    for (unsigned i = 0; i < 2; i++)
        guests[i]->cpu->counting = false;
}

static void test_jumps(void **state)
{
    static const uint8_t by_register[] = {0xff, 0xc9, 0x78, 0x02, 0xff, 0xe3, 0xf4}; // dec ecx; js; jmp rbx; hlt
    static const uint8_t by_memory[] = {0xff, 0xc9, 0x78, 0x08, 0xff, 0x24, 0x25, 0x00, 0x00, 0x11, 0x00, 0x90, 0xf4};
    static const uint8_t by_call[] = {0xff, 0xc9, 0x78, 0x02, 0xff, 0xd3, 0xf4};
    struct guest_pair *p = *state;
    translate_set_threshold(p->jit.state, 2);
    for (unsigned counting = 0; counting < 2; counting++) {
        run_jump(p, by_register, sizeof by_register, 4, counting);
        run_jump(p, by_memory, sizeof by_memory, 4, counting);
        run_jump(p, by_call, sizeof by_call, 4, counting);
    }
    translate_set_threshold(p->jit.state, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_jumps),
    };
    return cmocka_run_group_tests(tests, guest_pair_open, guest_pair_close);
}
