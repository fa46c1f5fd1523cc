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

/// AVX asks XCR0 and CR0.TS, not CR0.EM nor CR4.OSFXSR (SDM vol. 2 sec. 2.4), and few of its accesses must be aligned.
static void avx_needs_its_state_enabled(void **state)
{
    static const struct {
        const char *bytes;
        unsigned length;
        int unaligned; // by 8 bytes
    } insns[] = {
        {"\xc5\xfc\x28\x07", 4, VECTOR_GP},     // vmovaps ymm0, [rdi]
        {"\xc5\xfc\x10\x07", 4, -1},            // vmovups ymm0, [rdi]
        {"\xc5\xfd\xe7\x07", 4, VECTOR_GP},     // vmovntdq [rdi], ymm0
        {"\xc4\xe2\x7d\x2a\x07", 5, VECTOR_GP}, // vmovntdqa ymm0, [rdi]
        {"\xc5\xfd\xfc\x07", 4, -1},            // vpaddb ymm0, ymm0, [rdi]
        {"\xc5\xfb\x51\x07", 4, -1},            // vsqrtsd xmm0, xmm0, [rdi]
        {"\xc4\xe2\x7d\x98\x07", 5, -1},        // vfmadd132ps ymm0, ymm0, [rdi]
        {"\xc5\xf8\xae\x1f", 4, -1},            // vstmxcsr [rdi]
        {"\xc4\xe2\x7d\x2c\x07", 5, -1},        // vmaskmovps ymm0, ymm0, [rdi]
        {"\xc4\xe2\x75\x90\x04\x97", 6, -1},    // vpgatherdd ymm0, [rdi + ymm2*4], ymm1
        {"\xc5\xf8\x77", 3, -1},                // vzeroupper
    };
    struct guest guest;
    guest_open(&guest);
    struct cpu *cpu = guest.cpu;
    for (unsigned i = 0; i < ARRAY_SIZE(insns); i++) {
        cpu->var[VAR_RDI] = DATA;
        for (unsigned xcr0 = 1; xcr0 < 8; xcr0 += 2) {
            cpu->xcr0 = xcr0;
            cpu->cr4 = CR4_OSFXSR | CR4_OSXSAVE;
            cpu_update_mode(cpu);
            expect_fault(&guest, insns[i].bytes, insns[i].length, xcr0 == 7 ? -1 : VECTOR_UD);
        }
        cpu->cr4 = CR4_OSXSAVE;
        cpu->cr0 |= CR0_EM;
        cpu_update_mode(cpu);
        expect_fault(&guest, insns[i].bytes, insns[i].length, -1);
        cpu->cr0 = (cpu->cr0 & ~CR0_EM) | CR0_TS;
        cpu_update_mode(cpu);
        expect_fault(&guest, insns[i].bytes, insns[i].length, VECTOR_NM);
        cpu->cr4 = CR4_OSFXSR;
        cpu_update_mode(cpu);
        expect_fault(&guest, insns[i].bytes, insns[i].length, VECTOR_UD); // before #NM
        cpu->cr0 &= ~CR0_TS;
        cpu->cr4 = CR4_OSFXSR | CR4_OSXSAVE;
        cpu_update_mode(cpu);
        cpu->var[VAR_RDI] = DATA + 8;
        expect_fault(&guest, insns[i].bytes, insns[i].length, insns[i].unaligned);
    }
    cpu->var[VAR_RDI] = DATA + 16; // 32 bytes are aligned to 32
    expect_fault(&guest, "\xc5\xfc\x28\x07", 4, VECTOR_GP);
    expect_fault(&guest, "\xc5\xf8\x28\x07", 4, -1);
    guest_close(&guest);
}

/// VEX clears what it does not write, SSE keeps it; outside 64-bit code VZEROALL has eight registers.
static void upper_halves_are_kept_or_cleared(void **state)
{
    struct guest guest;
    guest_open(&guest);
    struct cpu *cpu = guest.cpu;
    cpu->cr4 |= CR4_OSXSAVE;
    cpu->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    cpu_update_mode(cpu);
    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < 4; k++)
            cpu->vreg[i].u64[k] = 0x11 * (k + 1);
    guest_run(&guest, (const uint8_t *)"\x0f\x28\xc1", 3); // movaps xmm0, xmm1
    guest_run(&guest, (const uint8_t *)"\x0f\xef\xc0", 3); // pxor mm0, mm0
    assert_int_equal(cpu->vreg[0].u64[2], 0x33);
    guest_run(&guest, (const uint8_t *)"\xc5\xf8\x28\xc1", 4); // vmovaps xmm0, xmm1
    assert_int_equal(cpu->vreg[0].u64[1], 0x22);
    assert_int_equal(cpu->vreg[0].u64[2] | cpu->vreg[0].u64[3], 0);
    guest_run(&guest, (const uint8_t *)"\xc5\xfc\x28\xd9", 4); // vmovaps ymm3, ymm1
    assert_int_equal(cpu->vreg[3].u64[3], 0x44);
    guest_run(&guest, (const uint8_t *)"\xc5\xe9\xfe\xd2", 4); // vpaddd xmm2, xmm2, xmm2
    assert_int_equal(cpu->vreg[2].u64[1], 0x44);
    assert_int_equal(cpu->vreg[2].u64[2] | cpu->vreg[2].u64[3], 0);
    guest_run(&guest, (const uint8_t *)"\xc5\xf8\x77", 3); // vzeroupper
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(cpu->vreg[i].u64[2] | cpu->vreg[i].u64[3], 0);
    assert_int_equal(cpu->vreg[15].u64[1], 0x22);
    for (unsigned i = 0; i < 16; i++)
        cpu->vreg[i].u64[3] = 7;
    cpu->segment[SEG_CS].rights = (cpu->segment[SEG_CS].rights & ~SEGMENT_L) | SEGMENT_DB;
    cpu_update_mode(cpu);
    guest_run(&guest, (const uint8_t *)"\xc5\xfc\x77", 3); // vzeroall
    assert_false(cpu->fault.pending);
    assert_int_equal(cpu->vreg[7].u64[0] | cpu->vreg[7].u64[3], 0);
    assert_int_equal(cpu->vreg[8].u64[0], 0x11);
    assert_int_equal(cpu->vreg[8].u64[3], 7);
    guest_close(&guest);
}

/// Elements that the mask leaves out are not looked at, neither by the segment's limit nor otherwise.
static void masked_elements_do_not_fault(void **state)
{
    struct guest guest;
    guest_open(&guest);
    struct cpu *cpu = guest.cpu;
    cpu->cr4 |= CR4_OSXSAVE;
    cpu->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    cpu->efer = 0; // 32-bit code, a data segment that ends in the middle of the access
    cpu->segment[SEG_CS].rights = (cpu->segment[SEG_CS].rights & ~SEGMENT_L) | SEGMENT_DB;
    cpu->segment[SEG_DS].limit = DATA + 15;
    cpu_update_paging(cpu, true);
    cpu_update_mode(cpu);
    cpu->var[VAR_RDI] = DATA;
    for (unsigned i = 0; i < 32; i++)
        guest.memory.host[DATA + i] = (uint8_t)(i + 1);
    cpu->vreg[1] = (union vreg){.u32 = {BIT(31), 0, 0, BIT(31), 0, 0, 0, 0}};
    expect_fault(&guest, "\xc4\xe2\x75\x2c\x07", 5, -1); // vmaskmovps ymm0, ymm1, [edi]
    assert_int_equal(cpu->vreg[0].u32[0], 0x04030201);
    assert_int_equal(cpu->vreg[0].u32[1], 0);
    assert_int_equal(cpu->vreg[0].u32[3], 0x100f0e0d);
    cpu->vreg[1].u32[4] = BIT(31);
    cpu->vreg[0].u32[0] = 5;
    expect_fault(&guest, "\xc4\xe2\x75\x2c\x07", 5, VECTOR_GP);
    expect_fault(&guest, "\xc4\xe2\x75\x2e\x07", 5, VECTOR_GP); // vmaskmovps [edi], ymm1, ymm0: nothing is stored
    assert_int_equal(cpu->vreg[0].u32[0], 5);
    assert_int_equal(guest.memory.host[DATA], 1);
    cpu->vreg[1].u32[4] = 0;
    expect_fault(&guest, "\xc4\xe2\x75\x2e\x07", 5, -1);
    assert_int_equal(load_le32(guest.memory.host + DATA), 5);
    assert_int_equal(guest.memory.host[DATA + 4], 5);
    // A gather that faults at its second element keeps the first, and the mask of what is left.
    cpu->vreg[1] = (union vreg){.u32 = {BIT(31), BIT(31), BIT(31), 0}};
    cpu->vreg[2] = (union vreg){.u32 = {2, 4, 1, 4}};
    cpu->vreg[0].u32[1] = 77;
    expect_fault(&guest, "\xc4\xe2\x71\x90\x04\x97", 6, VECTOR_GP); // vpgatherdd xmm0, [edi + xmm2*4], xmm1
    assert_int_equal(cpu->vreg[0].u32[0], 0x0c0b0a09);
    assert_int_equal(cpu->vreg[0].u32[1], 77);
    assert_int_equal(cpu->vreg[1].u32[0], 0);
    assert_int_equal(cpu->vreg[1].u32[1], BIT(31));
    cpu->vreg[2].u32[1] = 0;
    expect_fault(&guest, "\xc4\xe2\x71\x90\x04\x97", 6, -1);
    assert_int_equal(cpu->vreg[0].u32[1], 5);
    assert_int_equal(cpu->vreg[1].u64[0] | cpu->vreg[1].u64[1], 0);
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
        cmocka_unit_test(avx_needs_its_state_enabled),
        cmocka_unit_test(upper_halves_are_kept_or_cleared),
        cmocka_unit_test(masked_elements_do_not_fault),
        cmocka_unit_test(instruction_pointer_is_remembered),
        cmocka_unit_test(maskmovdqu_writes_only_what_the_mask_selects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
