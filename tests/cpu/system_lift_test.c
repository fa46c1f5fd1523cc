// Every system row in every mode lifts to uops that the verifier accepts; small programs run in the interpreter.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cpu/block.h"
#include "cpu/engine.h"
#include "cpu/support_rows.h"
#include "support_system.h"

static const uint32_t modes[] = {
    MODE_CODE16 | MODE_IOPL,
    MODE_CODE16 | MODE_PROTECTED | MODE_VM86 | 3,
    MODE_CODE16 | MODE_PROTECTED | MODE_IOPL,
    MODE_CODE32 | MODE_PROTECTED | MODE_STACK32 | MODE_FLAT | MODE_IOPL,
    MODE_CODE32 | MODE_PROTECTED | MODE_STACK32 | 3,
    MODE_CODE64 | MODE_PROTECTED | MODE_LONG | MODE_FLAT | MODE_IOPL,
    MODE_CODE64 | MODE_PROTECTED | MODE_LONG | MODE_FLAT | 3,
};

static bool lifts(struct lift *l, const struct cpu_model *model, const struct insn *insn, uint32_t mode)
{
    struct error error = {0};
    *l = (struct lift){.mode = mode, .model = model, .next_temp = VAR_TEMP, .next_offset = insn->length};
    l->partial[0] = insn->row->attributes & ROW_PARTIAL;
    insn->row->lift(l, insn);
    if (!l->ended)
        lift_exit_next(l);
    if (uop_verify(l->uops, l->uop_count, l->partial, &error))
        return true;
    print_error("%s %s, mode %x: %s\n", insn->row->encoding, insn->row->mnemonic, mode, error.text);
    return false;
}

static void rows_lift(void **state)
{
    static const uint8_t modrms[] = {0x00, 0x43, 0x85, 0xc0, 0xcb, 0xd3, 0xe4, 0xff, 0xd8, 0xe0};
    static const uint8_t prefixes[] = {0x66, 0x67, 0x64};
    struct error error = {0};
    struct row_index *index = row_index_build(&error);
    struct cpu_model model = support_full_model();
    static struct lift l;
    unsigned lifted = 0, failed = 0;

    assert_non_null(index);
    for (unsigned r = 0; r < rows_system_count; r++) {
        struct row_form form;
        unsigned here = 0;
        assert_true(row_form_parse(&rows_system[r], &form, &error));
        for (unsigned i = 0; i < ARRAY_SIZE(modes) * ARRAY_SIZE(modrms) * 8; i++) {
            uint8_t bytes[32], chosen[3];
            struct support_encoding how = {.modrm = modrms[i / 8 % ARRAY_SIZE(modrms)],
                                           .prefixes = chosen,
                                           .filler = UINT64_C(0x1122334455667788)};
            struct insn insn;
            uint32_t mode = modes[i / 8 / ARRAY_SIZE(modrms)];
            for (unsigned p = 0; p < 3; p++)
                if (i >> p & 1)
                    chosen[how.prefix_count++] = prefixes[p];
            support_encode(&form, &how, bytes);
            if (decode(index, &model, mode, bytes, sizeof bytes, &insn) != DECODE_OK || insn.row != &rows_system[r])
                continue;
            here++;
            failed += !lifts(&l, &model, &insn, mode);
        }
        if (!here)
            print_error("never decoded: %s %s\n", rows_system[r].encoding, rows_system[r].mnemonic);
        assert_true(here > 0);
        lifted += here;
    }
    assert_int_equal(failed, 0);
    assert_true(lifted > 1000);
    row_index_free(index);
}

// ---- Programs ---------------------------------------------------------------------------------------------------

struct program {
    struct fixture f;
    struct block_cache *blocks;
};

static void program_start(struct program *p)
{
    struct error error = {0};
    fixture_start(&p->f, "max");
    p->blocks = block_cache_create(&p->f.memory, &p->f.model, 1 << 22, NULL, &error);
    assert_non_null(p->blocks);
    p->f.cpu->blocks = p->blocks;
    block_cache_attach(p->blocks, p->f.cpu);
}

static void program_end(struct program *p)
{
    fixture_end(&p->f);
    block_cache_destroy(p->blocks);
}

/// Runs from `at` until HLT, a shutdown or 10000 instructions.
static enum engine_stop run(struct program *p, uint64_t at, const void *code, unsigned size)
{
    struct cpu *cpu = p->f.cpu;
    struct error error = {0};
    void *engine = engine_interp.create(cpu, &error);
    enum engine_stop stop;
    address_space_write_bytes(&p->f.space, at + cpu->var[VAR_CS_BASE], code, size, true);
    cpu->var[VAR_RIP] = at;
    cpu->instruction_limit = cpu->instructions + 10000;
    stop = engine_interp.run(engine, cpu);
    engine_interp.destroy(engine);
    return stop;
}

static void long_mode_program(void **state)
{
    static const uint8_t code[] = {
        0x0f, 0x20, 0xd8,                         // mov rax, cr3
        0x48, 0x89, 0xc3,                         // mov rbx, rax
        0x9c,                                     // pushfq
        0x5a,                                     // pop rdx
        0xb9, 0x00, 0x01, 0x00, 0xc0,             // mov ecx, FS_BASE
        0xb8, 0x00, 0x50, 0x00, 0x00,             // mov eax, 0x5000
        0x31, 0xd2,                               // xor edx, edx
        0x0f, 0x30,                               // wrmsr
        0x64, 0x48, 0x8b, 0x34, 0x25, 8, 0, 0, 0, // mov rsi, fs:[8]
        0x0f, 0x01, 0xf8,                         // swapgs
        0xcd, 0x30,                               // int 0x30
        0xfb,                                     // sti
        0xf4,                                     // hlt
    };
    static const uint8_t handler[] = {
        0x49, 0xc7, 0xc0, 0x77, 0, 0, 0, // mov r8, 0x77
        0x48, 0xcf,                      // iretq
    };
    struct program p;
    program_start(&p);
    enter_long(&p.f, 0);
    p.f.cpu->kernel_gs_base = 0x1234;
    poke_gate64(&p.f, 0x30, SEL_CODE0, 0x9000, 0x8e, 0);
    poke(&p.f, 0x5008, UINT64_C(0xfeedfacecafebeef), 8);
    address_space_write_bytes(&p.f.space, 0x9000, handler, sizeof handler, true);
    assert_int_equal(run(&p, 0x8000, code, sizeof code), STOP_HALT);
    assert_int_equal(p.f.cpu->var[VAR_RBX], PAGES);
    assert_true(p.f.cpu->var[VAR_RSI] == UINT64_C(0xfeedfacecafebeef));
    assert_int_equal(p.f.cpu->var[VAR_GS_BASE], 0x1234);
    assert_int_equal(p.f.cpu->var[VAR_R8], 0x77);
    assert_int_equal(p.f.cpu->var[VAR_RIP], 0x8000 + sizeof code);
    assert_int_equal(p.f.cpu->var[VAR_RSP], STACK0);
    assert_true(p.f.cpu->var[VAR_FLAGS] & FLAG_IF);
    program_end(&p);
}

/// From reset's real mode to protected mode and back, as every boot loader does.
static void real_to_protected_and_back(void **state)
{
    static const uint8_t code[] = {
        0xfa,                                     // cli
        0x0f, 0x20, 0xc0,                         // mov eax, cr0
        0x0c, 0x01,                               // or al, 1
        0x0f, 0x22, 0xc0,                         // mov cr0, eax
        0x66, 0xea, 0x11, 0x80, 0, 0, 0x08, 0x00, // ljmp 8:0x8011
        // 32-bit code at 0x8011
        0x66, 0xb8, 0x10, 0x00,       // mov ax, 0x10
        0x8e, 0xd8,                   // mov ds, ax
        0x8e, 0xd0,                   // mov ss, ax
        0xbc, 0x00, 0x60, 0x00, 0x00, // mov esp, 0x6000
        0x68, 0x78, 0x56, 0x34, 0x12, // push 0x12345678
        0x5b,                         // pop ebx
        0x0f, 0x20, 0xc0,             // mov eax, cr0
        0x24, 0xfe,                   // and al, 0xfe
        0x0f, 0x22, 0xc0,             // mov cr0, eax
        0xf4,                         // hlt
    };
    struct program p;
    program_start(&p);
    segment_set_real(p.f.cpu, SEG_CS, 0, false);
    assert_int_equal(run(&p, 0x8000, code, sizeof code), STOP_HALT);
    assert_int_equal(p.f.cpu->var[VAR_RBX], 0x12345678);
    assert_false(p.f.cpu->cr0 & CR0_PE);
    assert_int_equal(p.f.cpu->segment[SEG_DS].limit, UINT32_MAX);
    program_end(&p);
}

static void user_program_faults_into_kernel(void **state)
{
    static const uint8_t code[] = {0xfa};          // cli at ring 3: #GP(0)
    static const uint8_t handler[] = {0x58, 0xf4}; // pop rax; hlt
    struct program p;
    program_start(&p);
    enter_long(&p.f, 3);
    poke_gate64(&p.f, VECTOR_GP, SEL_CODE0, 0x9000, 0x8e, 0);
    address_space_write_bytes(&p.f.space, 0x9000, handler, sizeof handler, true);
    assert_int_equal(run(&p, 0x8000, code, sizeof code), STOP_HALT);
    assert_int_equal(p.f.cpu->var[VAR_RAX], 0);
    assert_int_equal(peek(&p.f, STACK0 - 40, 8), 0x8000); // the fault's RIP
    program_end(&p);
}

/// PUSH, POP, LES and far returns with a 16-bit stack in real mode.
static void real_mode_program(void **state)
{
    static const uint8_t code[] = {
        0x68, 0x34, 0x12,             // push 0x1234
        0x07,                         // pop es
        0x06,                         // push es
        0x58,                         // pop ax
        0x9a, 0x10, 0x80, 0x00, 0x00, // lcall 0:0x8010
        0xeb, 0x0b,                   // jmp 0x8018
        0x90, 0x90, 0x90,             //
        0xbb, 0x55, 0x00,             // mov bx, 0x55
        0x9c,                         // pushf
        0x9d,                         // popf
        0xcb,                         // retf
        0x90, 0x90,                   //
        0xf4,                         // hlt at 0x8018
    };
    struct program p;
    program_start(&p);
    segment_set_real(p.f.cpu, SEG_CS, 0, false);
    segment_set_real(p.f.cpu, SEG_SS, 0x600, false);
    p.f.cpu->var[VAR_RSP] = 0x100;
    assert_int_equal(run(&p, 0x8000, code, sizeof code), STOP_HALT);
    assert_int_equal(p.f.cpu->var[VAR_RAX], 0x1234);
    assert_int_equal(p.f.cpu->var[VAR_ES_BASE], 0x12340);
    assert_int_equal(p.f.cpu->var[VAR_RBX], 0x55);
    assert_int_equal(p.f.cpu->var[VAR_RSP], 0x100);
    program_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_lift),
        cmocka_unit_test(long_mode_program),
        cmocka_unit_test(real_to_protected_and_back),
        cmocka_unit_test(user_program_faults_into_kernel),
        cmocka_unit_test(real_mode_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
