// x87, MMX and SSE instructions as the interpreter runs them from guest memory, decoded and lifted: register and memory
// forms against the host processor; images of FXSAVE and FNSAVE; alignment; TS, EM and OSFXSR.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/block.h"
#include "cpu/fpu.h"
#include "cpu/lift_fpu.h"
#include "cpu/model.h"
#include "support_native.h"

enum { CASES = 60, CODE = 0x20000, CODE_END = 0x80000, DATA = 0x90000, RAM = 0x100000 };

struct guest {
    struct log log;
    struct memory memory;
    struct address_space space, ports;
    struct cpu_model model;
    struct block_cache *blocks;
    struct cpu *cpu;
    uint64_t next;
};

static void guest_open(struct guest *guest)
{
    struct error error = {0};
    memset(guest, 0, sizeof *guest);
    log_init(&guest->log);
    assert_true(model_parse("max", &guest->model, &error));
    memset(guest->model.features, 0xff, sizeof guest->model.features);
    assert_true(memory_create(&guest->memory, RAM, &error));
    address_space_init(&guest->space, "memory", &guest->memory, BIT(36), &guest->log);
    address_space_init(&guest->ports, "ports", NULL, 0x10000, &guest->log);
    uint64_t offset = memory_allocate(&guest->memory, RAM);
    assert_non_null(address_space_map_memory(&guest->space, "ram", 0, RAM, 0, offset, false, &error));
    guest->blocks = block_cache_create(&guest->memory, &guest->model, 8 << 20, &guest->log, &error);
    assert_non_null(guest->blocks);
    struct cpu_config config = {.model = &guest->model,
                                .memory = &guest->space,
                                .smm_memory = &guest->space,
                                .ports = &guest->ports,
                                .blocks = guest->blocks,
                                .log = &guest->log};
    guest->cpu = cpu_create(&config, &error);
    assert_non_null(guest->cpu);
    // 64-bit code without paging is no real mode, but what is tested here does not see the difference.
    struct cpu *cpu = guest->cpu;
    cpu->cr0 = CR0_PE | CR0_NE | CR0_ET;
    cpu->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT;
    cpu->efer = EFER_LMA | EFER_LME;
    for (unsigned i = 0; i < SEG_LDTR; i++) {
        cpu->segment[i].rights = SEGMENT_P | SEGMENT_S | SEGMENT_G | (i == SEG_CS ? 0xbu | SEGMENT_L : 3u | SEGMENT_DB);
        cpu->segment[i].limit = UINT32_MAX;
        cpu_set_segment_base(cpu, i, 0);
    }
    cpu_update_paging(cpu, true);
    cpu_update_mode(cpu);
    guest->next = CODE;
}

static void guest_close(struct guest *guest)
{
    cpu_destroy(guest->cpu);
    block_cache_destroy(guest->blocks);
    address_space_destroy(&guest->space);
    address_space_destroy(&guest->ports);
    memory_destroy(&guest->memory);
}

/// Runs one instruction; faults stay in cpu->fault.
static void guest_run(struct guest *guest, const uint8_t *bytes, unsigned length)
{
    struct cpu *cpu = guest->cpu;
    if (guest->next >= CODE_END) {
        block_cache_flush(guest->blocks);
        guest->next = CODE;
    }
    memcpy(guest->memory.host + guest->next, bytes, length);
    cpu->var[VAR_RIP] = guest->next;
    guest->next += 32;
    cpu->fault.pending = false;
    struct block *block = block_find(cpu, MODE_ONE);
    if (block)
        interp_block(cpu, block);
}

static void random_state(struct random *random, struct native *native)
{
    struct fxsave_image *image = &native->before;
    memset(image, 0, sizeof *image);
    image->control = 0x037f;
    image->status = (uint16_t)(random_next(random) & 0x3800);
    image->valid = (uint8_t)random_next(random);
    image->mxcsr = 0x1f80;
    for (unsigned i = 0; i < 8; i++)
        random_x87(random, image->st[i]);
    for (unsigned i = 0; i < 16; i++)
        random_vector(random, image->xmm[i]);
    for (unsigned i = 0; i < 8; i += 4)
        random_vector(random, native->memory + 16 * i);
    random_vector(random, native->memory);
    native->rax = random_next(random);
    native->rcx = random_next(random);
    native->rdx = random_next(random) % 20;
    native->rflags = random_next(random);
}

static bool row_is_host_only(const struct row *row)
{
    return row->lift == lift_simd_maskmov; // its address is rdi, as here; but it has no memory operand: tested alone
}

static unsigned check(struct guest *guest, const struct row *row, bool memory, struct random *random)
{
    struct cpu *cpu = guest->cpu;
    unsigned bad = 0;
    for (unsigned i = 0; i < CASES; i++) {
        struct native native;
        uint8_t bytes[16], ours[sizeof native.memory], immediate = (uint8_t)random_next(random);
        bool rex_w = (strchr(row->operands, 'y') || row->lift == lift_string_index) && i % 2;
        char text[256];
        unsigned reg = strchr(row->operands, 'G') ? 0 : 3;
        unsigned rm = strchr(row->operands, 'E') || strchr(row->operands, 'R') ? 1 : 4;
        unsigned length = native_encode(row, rex_w, reg, rm, memory, immediate, bytes);
        random_state(random, &native);
        if (row->lift == lift_ldmxcsr)
            store_le32(native.memory, (uint32_t)random_next(random) & 0xffff);
        native_to_cpu(&native, cpu);
        memcpy(guest->memory.host + DATA, native.memory, sizeof native.memory);
        cpu->var[VAR_RDI] = DATA;
        guest_run(guest, bytes, length);
        memcpy(ours, guest->memory.host + DATA, sizeof ours);
        native_run(&native, bytes, length);
        bool same = native_equals_cpu(&native, cpu, text, sizeof text);
        if (same && native.faulted != cpu->fault.pending)
            same = snprintf(text, sizeof text, "fault: host %d, doppel %d", native.faulted, cpu->fault.pending) < 0;
        if (same && memcmp(native.memory, ours, sizeof ours))
            same = snprintf(text, sizeof text, "memory") < 0;
        if (same && (native.rax != cpu->var[VAR_RAX] || native.rcx != cpu->var[VAR_RCX]))
            same = snprintf(text, sizeof text, "rax rcx: host %llx %llx, doppel %llx %llx",
                            (unsigned long long)native.rax, (unsigned long long)native.rcx,
                            (unsigned long long)cpu->var[VAR_RAX], (unsigned long long)cpu->var[VAR_RCX]) < 0;
        if (same && ((native.rflags ^ cpu_flags_arithmetic(cpu)) & FLAGS_ARITHMETIC))
            same = snprintf(text, sizeof text, "flags") < 0;
        if (same && !cpu->fault.pending && cpu->var[VAR_RIP] != guest->next - 32 + length)
            same = snprintf(text, sizeof text, "rip %llx", (unsigned long long)cpu->var[VAR_RIP]) < 0;
        if (!same && bad++ < 2)
            print_message("%s %s %s (%s): %s; vector %d\n", row->encoding, row->mnemonic, row->operands,
                          memory ? "memory" : "register", text, cpu->fault.pending ? cpu->fault.vector : -1);
    }
    return bad;
}

static void check_table(const struct row *rows, unsigned count)
{
    struct random random = {.state = 3};
    struct guest guest;
    unsigned bad = 0;
    if (!native_available())
        skip();
    assert_true(native_open());
    guest_open(&guest);
    for (unsigned i = 0; i < count; i++) {
        const struct row *row = &rows[i];
        bool fixed = !strchr(row->encoding, '/'), shift = strchr(row->operands, 'U') || strchr(row->operands, 'N');
        bool memory_only = row->operands[0] == 'M' || strstr(row->operands, ",M");
        if (strchr(row->operands, '/'))
            memory_only = false;
        if (row_is_host_only(row) || row->lift == lift_x87_environment || row->lift == lift_fxsave)
            continue;
        if (!memory_only)
            bad += check(&guest, row, false, &random);
        if (!fixed && (memory_only || !shift))
            bad += check(&guest, row, true, &random);
    }
    guest_close(&guest);
    native_close();
    assert_int_equal(bad, 0);
}

static void sse_blocks_match_the_host(void **state)
{
    check_table(rows_sse, rows_sse_count);
}

static void sse4_blocks_match_the_host(void **state)
{
    check_table(rows_sse4, rows_sse4_count);
}

static void x87_blocks_match_the_host(void **state)
{
    check_table(rows_x87, rows_x87_count);
}

static void expect_fault(struct guest *guest, const char *bytes, unsigned length, int vector)
{
    guest_run(guest, (const uint8_t *)bytes, length);
    assert_int_equal(guest->cpu->fault.pending ? guest->cpu->fault.vector : -1, vector);
}

static void control_bits_and_alignment_fault(void **state)
{
    struct guest guest;
    guest_open(&guest);
    struct cpu *cpu = guest.cpu;
    cpu->var[VAR_RDI] = DATA + 8;
    expect_fault(&guest, "\x0f\x28\x07", 3, VECTOR_GP);     // movaps xmm0, [rdi]
    expect_fault(&guest, "\x0f\x10\x07", 3, -1);            // movups
    expect_fault(&guest, "\x66\x0f\xfc\x07", 4, VECTOR_GP); // paddb xmm0, [rdi]
    expect_fault(&guest, "\x0f\x2b\x07", 3, VECTOR_GP);     // movntps [rdi], xmm0
    expect_fault(&guest, "\x0f\xae\x07", 3, VECTOR_GP);     // fxsave [rdi]
    expect_fault(&guest, "\x0f\x51\x07", 3, VECTOR_GP);     // sqrtps
    expect_fault(&guest, "\xf2\x0f\x51\x07", 4, -1);        // sqrtsd
    cpu->cr0 |= CR0_TS;
    cpu_update_mode(cpu);
    expect_fault(&guest, "\x0f\x10\x07", 3, VECTOR_NM);
    expect_fault(&guest, "\xd9\xe8", 2, VECTOR_NM);     // fld1
    expect_fault(&guest, "\x0f\x6f\xc1", 3, VECTOR_NM); // movq mm0, mm1
    expect_fault(&guest, "\x9b", 1, -1);                // wait, MP clear
    cpu->cr0 = (cpu->cr0 & ~CR0_TS) | CR0_EM;
    cpu_update_mode(cpu);
    expect_fault(&guest, "\x0f\x10\x07", 3, VECTOR_UD);
    expect_fault(&guest, "\xd9\xe8", 2, VECTOR_NM);
    expect_fault(&guest, "\x0f\x6f\xc1", 3, VECTOR_UD);
    cpu->cr0 &= ~CR0_EM;
    cpu->cr4 &= ~CR4_OSFXSR;
    cpu_update_mode(cpu);
    expect_fault(&guest, "\x0f\x10\x07", 3, VECTOR_UD);
    expect_fault(&guest, "\x0f\x6f\xc1", 3, -1);
    guest_close(&guest);
}

/// FXSAVE64, FRSTOR after FNSAVE, FNSTENV: the host's images, but for the pointers.
static void images_match_the_host(void **state)
{
    static const struct {
        const char *bytes;
        unsigned length, pointers, pointers_end;
    } saves[] = {{"\x48\x0f\xae\x07", 4, 6, 24}, {"\xdd\x37", 2, 12, 28}, {"\xd9\x37", 2, 12, 28}};
    struct random random = {.state = 4};
    struct guest guest;
    if (!native_available())
        skip();
    assert_true(native_open());
    guest_open(&guest);
    for (unsigned i = 0; i < 200; i++) {
        struct native native = {0};
        unsigned n = i % ARRAY_SIZE(saves);
        random_state(&random, &native);
        memset(native.memory, 0xee, sizeof native.memory);
        native_to_cpu(&native, guest.cpu);
        memset(guest.memory.host + DATA, 0xee, sizeof native.memory);
        guest.cpu->var[VAR_RDI] = DATA;
        native_run(&native, (const uint8_t *)saves[n].bytes, saves[n].length);
        guest_run(&guest, (const uint8_t *)saves[n].bytes, saves[n].length);
        assert_false(guest.cpu->fault.pending);
        uint8_t *ours = guest.memory.host + DATA, *hosts = native.memory;
        if (n == 0)
            store_le32(hosts + 28, load_le32(ours + 28)); // MXCSR_MASK: hosts have more
        memset(ours + saves[n].pointers, 0, saves[n].pointers_end - saves[n].pointers);
        memset(hosts + saves[n].pointers, 0, saves[n].pointers_end - saves[n].pointers);
        assert_memory_equal(ours, hosts, 416);
        char text[256];
        assert_true(native_equals_cpu(&native, guest.cpu, text, sizeof text));
        // And back: registers return from the image.
        struct x87 saved = guest.cpu->x87;
        union vreg xmm5 = guest.cpu->vreg[5];
        if (n == 2)
            continue;
        guest_run(&guest, (const uint8_t *)(n ? "\xdd\x27" : "\x48\x0f\xae\x0f"), n ? 2 : 4);
        assert_false(guest.cpu->fault.pending);
        if (n == 0) {
            assert_memory_equal(saved.reg, guest.cpu->x87.reg, sizeof saved.reg);
            assert_int_equal(saved.valid, guest.cpu->x87.valid);
            assert_memory_equal(&xmm5, &guest.cpu->vreg[5], 16);
        } else {
            assert_int_equal(native.before.valid, guest.cpu->x87.valid);
            assert_int_equal(native.before.status, x87_status_word(guest.cpu));
            assert_memory_equal(native.before.st[0], &guest.cpu->x87.reg[guest.cpu->x87.top], 10);
        }
    }
    guest_close(&guest);
    native_close();
}

/// The last instruction's address is what FNSTENV stores; control instructions leave it.
static void instruction_pointer_is_remembered(void **state)
{
    struct guest guest;
    guest_open(&guest);
    guest_run(&guest, (const uint8_t *)"\xd9\xee", 2);
    uint64_t rip = guest.next - 32;
    guest.cpu->var[VAR_RDI] = DATA;
    guest_run(&guest, (const uint8_t *)"\xd9\x37", 2);
    assert_int_equal(load_le32(guest.memory.host + DATA + 12), rip);
    guest_close(&guest);
}

static void maskmovdqu_writes_only_what_the_mask_selects(void **state)
{
    struct guest guest;
    guest_open(&guest);
    struct cpu *cpu = guest.cpu;
    memset(guest.memory.host + DATA, 0xee, 32);
    for (unsigned i = 0; i < 16; i++) {
        cpu->vreg[1].u8[i] = (uint8_t)i;
        cpu->vreg[2].u8[i] = i % 3 ? 0x7f : 0x80;
    }
    cpu->var[VAR_RDI] = DATA + 1;
    guest_run(&guest, (const uint8_t *)"\x66\x0f\xf7\xca", 4);
    assert_false(cpu->fault.pending);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(guest.memory.host[DATA + 1 + i], i % 3 ? 0xee : i);
    guest_close(&guest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sse_blocks_match_the_host),
        cmocka_unit_test(sse4_blocks_match_the_host),
        cmocka_unit_test(x87_blocks_match_the_host),
        cmocka_unit_test(control_bits_and_alignment_fault),
        cmocka_unit_test(images_match_the_host),
        cmocka_unit_test(instruction_pointer_is_remembered),
        cmocka_unit_test(maskmovdqu_writes_only_what_the_mask_selects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
