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
    if (!fpu_bench_open(&bench, fpu_host_policy())) {
        fpu_bench_close(&bench);
        skip();
    }
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

// ---- Modes that the host does not show, and policies --------------------------------------------------------------
enum { REAL, VM86, PROTECTED16, PROTECTED32 };

/// Code at FPU_INSN is CS:0100 in code segment 1234, RDI is offset 1400 in data segment 2345.
static void enter_mode(struct cpu *cpu, unsigned mode)
{
    bool protected = mode >= PROTECTED16;
    cpu->efer = 0;
    cpu->cr0 = CR0_ET | CR0_NE | (mode == REAL ? 0 : CR0_PE);
    for (unsigned i = 0; i < SEG_LDTR; i++) {
        cpu->segment[i].selector = i == SEG_CS ? 0x1234 : 0x2345;
        cpu->segment[i].limit = 0xffff;
        cpu->segment[i].rights =
            SEGMENT_P | SEGMENT_S | (i == SEG_CS && protected ? 0xb : 3) | (mode == PROTECTED32 ? SEGMENT_DB : 0);
        cpu_set_segment_base(cpu, i, FPU_BASE);
    }
    cpu->cpl = mode == VM86 ? 3 : 0;
    cpu_update_paging(cpu, true);
    cpu_set_rflags(cpu, 2 | (mode == VM86 ? FLAG_VM | FLAG_IOPL : 0));
}

static void run_at_offset(struct fpu_bench *bench, const char *bytes, unsigned length)
{
    struct cpu *cpu = bench->cpu;
    fpu_bench_set_code(bench, (const uint8_t *)bytes, length);
    cpu->var[VAR_RIP] = FPU_INSN - FPU_BASE;
    cpu->fault.pending = false;
    struct block *block = block_find(cpu, MODE_ONE);
    assert_non_null(block);
    interp_block(cpu, block);
    assert_false(cpu->fault.pending);
}

/// FLD m64 at CS:0100 from DS:1400 (the row's code in 16 and 32 bits), then FNSTENV in both sizes.
static void environment_formats(void **state)
{
    struct fpu_bench bench;
    fpu_bench_open(&bench, 0);
    struct cpu *cpu = bench.cpu;
    const uint8_t *data = bench.ram + (FPU_DATA - FPU_BASE);
    for (unsigned mode = REAL; mode <= PROTECTED32; mode++) {
        const char *load = mode == PROTECTED32 ? "\xdd\x07" : "\xdd\x05"; // [edi], [di]
        const char *store = mode == PROTECTED32 ? "\xd9\x37" : "\xd9\x35";
        const char *other = mode == PROTECTED32 ? "\x66\xd9\x37" : "\x66\xd9\x35";
        enter_mode(cpu, mode);
        x87_fninit(cpu, NULL, NULL, 0);
        cpu->var[VAR_RDI] = FPU_DATA - FPU_BASE;
        run_at_offset(&bench, load, 2);
        uint16_t opcode = 0x500 | (uint8_t)load[1];
        for (unsigned size = 0; size < 2; size++) {
            bool wide = size ^ (mode == PROTECTED32);
            memset(bench.ram + (FPU_DATA - FPU_BASE), 0xee, 32);
            run_at_offset(&bench, size ? other : store, size ? 3 : 2);
            if (mode <= VM86 && !wide) {
                assert_int_equal(load_le16(data + 6), (0x12340 + 0x100) & 0xffff);
                assert_int_equal(load_le16(data + 8), 1 << 12 | opcode);
                assert_int_equal(load_le16(data + 10), (0x23450 + 0x1400) & 0xffff);
                assert_int_equal(load_le16(data + 12), 2 << 12);
            } else if (mode <= VM86) {
                assert_int_equal(load_le32(data + 12), 0xffff0000u | ((0x12340 + 0x100) & 0xffff));
                assert_int_equal(load_le32(data + 16), 1 << 12 | opcode);
                assert_int_equal(load_le32(data + 20), 0xffff0000u | ((0x23450 + 0x1400) & 0xffff));
                assert_int_equal(load_le32(data + 24), 2 << 12);
            } else if (!wide) {
                assert_int_equal(load_le16(data + 6), 0x100);
                assert_int_equal(load_le16(data + 8), 0x1234);
                assert_int_equal(load_le16(data + 10), 0x1400);
                assert_int_equal(load_le16(data + 12), 0x2345);
            } else {
                assert_int_equal(load_le32(data + 12), 0x100);
                assert_int_equal(load_le32(data + 16), 0x1234 | opcode << 16);
                assert_int_equal(load_le32(data + 20), 0x1400);
                assert_int_equal(load_le32(data + 24), 0xffff2345u);
            }
            assert_int_equal(data[wide ? 28 : 14], 0xee);
            // And back: linear addresses stay what they are.
            const uint64_t ip = mode <= VM86 ? 0x12440 : 0x100, dp = mode <= VM86 ? 0x24850 : 0x1400;
            struct x87 saved = cpu->x87;
            cpu->x87.ip = cpu->x87.dp = cpu->x87.cs = cpu->x87.ds = 0xaaaa;
            run_at_offset(&bench,
                          mode == PROTECTED32 ? wide ? "\xd9\x27" : "\x66\xd9\x27"
                          : wide              ? "\x66\xd9\x25"
                                              : "\xd9\x25",
                          mode == PROTECTED32 ? wide ? 2 : 3
                          : wide              ? 3
                                              : 2);
            assert_int_equal(cpu->x87.ip, ip);
            assert_int_equal(cpu->x87.dp, dp);
            assert_int_equal(cpu->x87.cs, mode <= VM86 ? 0 : 0x1234);
            assert_int_equal(cpu->x87.opcode, mode <= VM86 || wide ? opcode : 0);
            cpu->x87 = saved;
        }
    }
    fpu_bench_close(&bench);
}

static void offsets_are_cut_to_16_bits(void **state)
{
    struct fpu_bench bench;
    fpu_bench_open(&bench, 0);
    enter_mode(bench.cpu, REAL);
    x87_fninit(bench.cpu, NULL, NULL, 0);
    bench.cpu->var[VAR_RDI] = UINT64_C(0xffffffff00001400); // DI alone counts
    run_at_offset(&bench, "\xdd\x05", 2);
    assert_int_equal(bench.cpu->x87.dp, 0x1400);
    fpu_bench_close(&bench);
}

/// What each model keeps, from CPUID's two bits and its family.
static void models_have_policies(void **state)
{
    static const struct {
        const char *name;
        uint8_t policy;
    } models[] = {
        {"max", X87_SELECTORS_ZERO | X87_DATA_ON_FAULT | X87_OPCODE_ON_FAULT},
        {"max,-fdp-excptn-only,-zero-fcs-fds", X87_OPCODE_ON_FAULT},
        {"qemu64", X87_SAVE_IF_PENDING | X87_LOAD_IF_PENDING},
        {"qemu64,+xsaveerptr", X87_SAVE_IF_PENDING},
        {"pentium", 0},
        {"486", 0},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
        struct cpu_model model;
        struct error error = {0};
        assert_true(model_parse(models[i].name, &model, &error));
        assert_int_equal(model_x87_policy(&model), models[i].policy);
    }
}

static void pointers_follow_the_policy(void **state)
{
    struct fpu_bench bench;
    struct fpu_state before, after;
    const uint8_t load[] = {0xdd, 0x07}, add[] = {0xdc, 0xc1}; // fld m64; fadd st1, st0
    fpu_bench_open(&bench, X87_SELECTORS_ZERO | X87_DATA_ON_FAULT | X87_OPCODE_ON_FAULT);
    fpu_state_init(&before);
    before.x87.dp = 0x11111111;
    before.x87.opcode = 0x222;
    store_le64(before.memory, UINT64_C(0x7ff0000000000001)); // a signalling NaN

    fpu_bench_set_code(&bench, load, sizeof load);
    fpu_bench_run_guest(&bench, &before, &after); // masked
    assert_int_equal(after.x87.status & X87_IE, X87_IE);
    assert_int_equal(after.x87.ip, (uint32_t)FPU_INSN);
    assert_int_equal(after.x87.cs, 0);
    assert_int_equal(after.x87.dp, 0x11111111);
    assert_int_equal(after.x87.ds, 0);
    assert_int_equal(after.x87.opcode, 0x222);
    before.x87.control &= ~(uint32_t)X87_IE;
    fpu_bench_run_guest(&bench, &before, &after);
    assert_int_equal(after.x87.status & X87_ES, X87_ES);
    assert_int_equal(after.x87.dp, (uint32_t)FPU_DATA);
    assert_int_equal(after.x87.ds, 0);
    assert_int_equal(after.x87.opcode, 0x507);

    fpu_bench_set_code(&bench, add, sizeof add); // without a memory operand: empty registers
    fpu_bench_run_guest(&bench, &before, &after);
    assert_int_equal(after.x87.status & X87_ES, X87_ES);
    assert_int_equal(after.x87.dp, 0x11111111);
    assert_int_equal(after.x87.opcode, 0x4c1);
    fpu_bench_close(&bench);

    // AMD's images: nothing but zeros, and nothing loaded, unless an exception is pending.
    const uint8_t save[] = {0x0f, 0xae, 0x07}, restore[] = {0x0f, 0xae, 0x0f};
    fpu_bench_open(&bench, X87_SAVE_IF_PENDING | X87_LOAD_IF_PENDING);
    before.x87.ip = 0x33333333;
    for (unsigned pending = 0; pending < 2; pending++) {
        before.x87.status = pending ? X87_IE | X87_ES | X87_BUSY : 0;
        fpu_bench_set_code(&bench, save, sizeof save);
        fpu_bench_run_guest(&bench, &before, &after);
        assert_int_equal(load_le16(after.memory + 6), pending ? 0x222 : 0);
        assert_int_equal(load_le32(after.memory + 8), pending ? 0x33333333 : 0);
        assert_int_equal(load_le32(after.memory + 16), pending ? 0x11111111 : 0);
        memcpy(before.memory, after.memory, sizeof before.memory);
        store_le32(before.memory + 8, 0x44444444);
        fpu_bench_set_code(&bench, restore, sizeof restore);
        fpu_bench_run_guest(&bench, &before, &after);
        assert_int_equal(after.x87.ip, pending ? 0x44444444 : 0x33333333);
    }
    fpu_bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_match_the_host),      cmocka_unit_test(environment_formats),
        cmocka_unit_test(offsets_are_cut_to_16_bits), cmocka_unit_test(models_have_policies),
        cmocka_unit_test(pointers_follow_the_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
