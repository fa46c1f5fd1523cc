// What lifts of x87, MMX and SSE instructions do that the tests against the host do not see: alignment, TS, EM and
// OSFXSR, the last instruction's address, masked stores.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/block.h"
#include "cpu/fpu.h"
#include "cpu/model.h"

enum { CODE = 0x20000, CODE_END = 0x80000, DATA = 0x90000, RAM = 0x100000 };

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
        cmocka_unit_test(control_bits_and_alignment_fault),
        cmocka_unit_test(instruction_pointer_is_remembered),
        cmocka_unit_test(maskmovdqu_writes_only_what_the_mask_selects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
