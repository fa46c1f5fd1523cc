// See support_user.h.
#include "support_user.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TABLES_LINEAR UINT64_C(0xffff800000000000) // GDT, LDT, TSS: where the host, too, has its own
enum {
    PHYSICAL_TABLES = 0x1000,
    PHYSICAL_CODE = 0x8000,
    PHYSICAL_DESCRIPTORS = 0xa000,
    PHYSICAL_DATA = 0x10000,
    PHYSICAL_SIZE = 0x40000
};

enum user_page user_page_rights(unsigned page)
{
    if (page == 10)
        return USER_PAGE_READ;
    return page == 8 || page >= 12 ? USER_PAGE_NONE : USER_PAGE_WRITE;
}

uint32_t user_mode(bool code64)
{
    return MODE_PROTECTED | MODE_LONG | 3 | (code64 ? MODE_CODE64 : MODE_CODE32 | MODE_STACK32);
}

static void map_pages(struct user_guest *guest)
{
    static const uint8_t bits[] = {[USER_PAGE_NONE] = 0, [USER_PAGE_READ] = 5, [USER_PAGE_WRITE] = 7};
    uint8_t *ram = guest->memory.host;
    const unsigned table = PHYSICAL_TABLES;
    store_le64(ram + table, (table + 0x1000) | 7);
    store_le64(ram + table + 0x1000 + (USER_CODE >> 30) * 8, (table + 0x2000) | 7);
    store_le64(ram + table + 0x2000 + (USER_CODE >> 21 & 511) * 8, (table + 0x3000) | 7);
    uint8_t *leaf = ram + table + 0x3000;
    store_le64(leaf, PHYSICAL_CODE | 5);
    for (unsigned level = 0; level < 3; level++)
        store_le64(ram + (level ? table + 0x3000 + level * 0x1000 : table + 256 * 8),
                   (table + 0x4000 + level * 0x1000) | 3);
    store_le64(ram + table + 0x6000, PHYSICAL_DESCRIPTORS | 3);
    for (unsigned i = 0; i < USER_DATA_PAGES; i++)
        store_le64(leaf + ((USER_DATA >> 12 & 511) + i) * 8,
                   (PHYSICAL_DATA + i * PAGE_SIZE) | bits[user_page_rights(i)]);
}

static void make_descriptors(struct user_guest *guest)
{
    uint8_t *gdt = guest->memory.host + PHYSICAL_DESCRIPTORS;
    store_le64(gdt + (USER_CS32 & ~7), UINT64_C(0x00cffb000000ffff));
    store_le64(gdt + (USER_DS & ~7), UINT64_C(0x00cff3000000ffff));
    store_le64(gdt + (USER_CS64 & ~7), UINT64_C(0x00affb000000ffff));
    uint64_t base = USER_DATA;
    store_le64(gdt + 0x800,
               UINT64_C(0x0040f3000000ffff) | (base & 0xffffff) << 16 | (base & UINT64_C(0xff000000)) << 32);
    struct cpu *cpu = guest->cpu;
    cpu->gdt = (struct descriptor_table){.base = TABLES_LINEAR, .limit = 0x7f};
    store_le16(gdt + 0xc00 + 0x66, 0xffff); // the TSS has no I/O map
    cpu->segment[SEG_TR] =
        (struct segment){.selector = 0x40, .rights = SEGMENT_P | 0xb, .limit = 0x67, .base = TABLES_LINEAR + 0xc00};
    cpu->segment[SEG_LDTR] =
        (struct segment){.selector = 0x50, .rights = SEGMENT_P | 2, .limit = 7, .base = TABLES_LINEAR + 0x800};
}

void user_guest_set_code(struct user_guest *guest, bool code64)
{
    struct cpu *cpu = guest->cpu;
    guest->code64 = code64;
    for (unsigned n = SEG_ES; n <= SEG_GS; n++) {
        uint32_t type = n == SEG_CS ? 0xb : 0x3;
        cpu->segment[n] = (struct segment){.selector = USER_DS,
                                           .rights = type | SEGMENT_S | SEGMENT_DPL | SEGMENT_P | SEGMENT_G |
                                                     (n == SEG_CS && code64 ? SEGMENT_L : SEGMENT_DB),
                                           .limit = UINT32_MAX};
        cpu_set_segment_base(cpu, n, 0);
    }
    cpu->segment[SEG_CS].selector = code64 ? USER_CS64 : USER_CS32;
    cpu->segment[SEG_FS] = (struct segment){.rights = SEGMENT_UNUSABLE};
    cpu_set_segment_base(cpu, SEG_FS, guest->fs_base);
    cpu->segment[SEG_GS].selector = USER_GS;
    cpu->segment[SEG_GS].rights &= ~SEGMENT_G;
    cpu->segment[SEG_GS].limit = 0xffff;
    cpu_set_segment_base(cpu, SEG_GS, USER_DATA);
    cpu->cpl = 3;
    cpu->cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_NE | CR0_ET;
    cpu->cr3 = PHYSICAL_TABLES;
    cpu->cr4 = CR4_PAE | CR4_OSFXSR | CR4_FSGSBASE;
    cpu->efer = EFER_LME | EFER_LMA;
    cpu_update_paging(cpu, true);
    cpu_set_rflags(cpu, FLAG_IF | 2);
}

struct user_guest *user_guest_create(void)
{
    struct user_guest *guest = calloc(1, sizeof *guest);
    struct error error = {{0}};
    assert_non_null(guest);
    guest->start = USER_INSN;
    log_init(&guest->log);
    guest->model = support_full_model();
    guest->model.features[FEATURE_LA57 / 64] &= ~BIT(FEATURE_LA57 % 64); // as the host runs: 48 bits
    guest->model.physical_bits = 40;
    guest->model.linear_bits = 48;
    assert_true(memory_create(&guest->memory, PHYSICAL_SIZE, &error));
    uint64_t offset = memory_allocate(&guest->memory, PHYSICAL_SIZE);
    address_space_init(&guest->space, "memory", &guest->memory, UINT64_C(1) << 40, &guest->log);
    address_space_init(&guest->ports, "ports", NULL, 0x10000, &guest->log);
    assert_non_null(address_space_map_memory(&guest->space, "ram", 0, PHYSICAL_SIZE, 0, offset, false, &error));
    guest->blocks = block_cache_create(&guest->memory, &guest->model, 8 << 20, &guest->log, &error);
    assert_non_null(guest->blocks);
    const struct cpu_config config = {.model = &guest->model,
                                      .memory = &guest->space,
                                      .smm_memory = &guest->space,
                                      .ports = &guest->ports,
                                      .blocks = guest->blocks,
                                      .log = &guest->log};
    guest->cpu = cpu_create(&config, &error);
    assert_non_null(guest->cpu);
    guest->data = guest->memory.host + offset + PHYSICAL_DATA;
    map_pages(guest);
    make_descriptors(guest);
    user_guest_set_code(guest, true);
    return guest;
}

void user_guest_destroy(struct user_guest *guest)
{
    cpu_destroy(guest->cpu);
    block_cache_destroy(guest->blocks);
    address_space_destroy(&guest->space);
    address_space_destroy(&guest->ports);
    memory_destroy(&guest->memory);
    free(guest);
}

void user_guest_put_code(struct user_guest *guest, const uint8_t *bytes, unsigned length)
{
    // As a store, so that the blocks of the instruction before are dropped.
    address_space_write_bytes(&guest->space, PHYSICAL_CODE + (USER_INSN - USER_CODE), bytes, length, false);
    guest->start = USER_INSN;
}

void user_guest_put_code_at(struct user_guest *guest, uint64_t linear, const uint8_t *bytes, unsigned length)
{
    address_space_write_bytes(&guest->space, PHYSICAL_DATA + (linear - USER_DATA), bytes, length, false);
    guest->start = linear;
}

void user_guest_run(struct user_guest *guest, const struct user_state *before, struct user_state *after)
{
    struct cpu *cpu = guest->cpu;
    memcpy(&cpu->var[VAR_RAX], before->gpr, sizeof before->gpr);
    cpu->var[VAR_RIP] = guest->start;
    cpu_set_rflags(cpu, before->flags);
    cpu->fault = (struct cpu_fault){0};
    cpu->cr2 = 0;
    for (unsigned round = 0; round < 1000 && !cpu->fault.pending && cpu->var[VAR_RIP] == guest->start; round++) {
        struct block *block = block_find(cpu, MODE_ONE);
        if (block)
            interp_block(cpu, block);
    }
    memcpy(after->gpr, &cpu->var[VAR_RAX], sizeof after->gpr);
    after->flags = cpu_rflags(cpu) & (FLAGS_ARITHMETIC | FLAG_DF);
    after->rip = cpu->var[VAR_RIP];
    after->vector = cpu->fault.pending ? cpu->fault.vector : -1;
    after->error_code = cpu->fault.pending && cpu->fault.has_error_code ? cpu->fault.error_code : 0;
    after->cr2 = after->vector == VECTOR_PF ? cpu->cr2 : 0;
    bool moved = false;
    for (unsigned n = SEG_ES; n <= SEG_GS; n++) {
        after->selector[n] = cpu->segment[n].selector;
        moved |= n != SEG_CS && after->selector[n] != (n == SEG_FS ? 0 : n == SEG_GS ? USER_GS : USER_DS);
    }
    if (moved || cpu_segment_base(cpu, SEG_GS) != USER_DATA || cpu_segment_base(cpu, SEG_FS) != guest->fs_base ||
        cpu->segment[SEG_CS].selector != (guest->code64 ? USER_CS64 : USER_CS32) || cpu->shadow)
        user_guest_set_code(guest, guest->code64);
    cpu->shadow = SHADOW_NONE;
}
