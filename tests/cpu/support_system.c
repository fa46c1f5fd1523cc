#include "support_system.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define RAM (1u << 20)

void fixture_start(struct fixture *f, const char *model)
{
    struct error error = {0};
    struct cpu_config config;

    memset(f, 0, sizeof *f);
    assert_true(memory_create(&f->memory, RAM, &error));
    address_space_init(&f->space, "memory", &f->memory, BIT(40), NULL);
    address_space_init(&f->ports, "ports", NULL, 0x10000, NULL);
    assert_non_null(
        address_space_map_memory(&f->space, "ram", 0, RAM, 0, memory_allocate(&f->memory, RAM), false, &error));
    assert_true(model_parse(model, &f->model, &error));
    config = (struct cpu_config){.model = &f->model, .memory = &f->space, .ports = &f->ports};
    f->cpu = cpu_create(&config, &error);
    assert_non_null(f->cpu);

    poke_descriptor(f, SEL_CODE0, 0, 0xfffff, 0x9a, 0xc);
    poke_descriptor(f, SEL_DATA0, 0, 0xfffff, 0x92, 0xc);
    poke_descriptor(f, SEL_CODE3, 0, 0xfffff, 0xfa, 0xc);
    poke_descriptor(f, SEL_DATA3, 0, 0xfffff, 0xf2, 0xc);
    poke_descriptor(f, SEL_CONFORMING, 0, 0xfffff, 0x9e, 0xc);
    poke_descriptor(f, SEL_CODE1, 0, 0xfffff, 0xba, 0xc);
    poke_descriptor(f, SEL_DATA1, 0, 0xfffff, 0xb2, 0xc);
    poke_descriptor(f, SEL_READONLY, 0, 0xfffff, 0x90, 0xc);
    poke_descriptor(f, SEL_ABSENT, 0, 0xfffff, 0x72, 0xc);
    poke_descriptor(f, SEL_EXECUTE_ONLY, 0, 0xfffff, 0x98, 0xc);
    poke_descriptor(f, SEL_TSS, TSS_BASE, 0x67, 0x89, 0);
    poke_descriptor(f, SEL_LDT, LDT_BASE, 0xff, 0x82, 0);
    poke_descriptor(f, SEL_TSS2, TSS2_BASE, 0x67, 0x89, 0);
    poke_descriptor(f, SEL_CODE16, 0x100, 0xffff, 0x9a, 0);
    poke_descriptor(f, SEL_CODE64, 0, 0xfffff, 0x9a, 0xa);
    poke_descriptor(f, SEL_TSS64, TSS_BASE, 0x67, 0x89, 0);
    poke_descriptor(f, SEL_STACK_ABSENT, 0, 0xfffff, 0x12, 0xc);
    poke(f, TSS_BASE + 4, STACK0, 4);
    poke(f, TSS_BASE + 8, SEL_DATA0, 4);
    poke(f, TSS_BASE + 12, STACK1, 4);
    poke(f, TSS_BASE + 16, SEL_DATA1, 4);
    f->cpu->gdt = (struct descriptor_table){.base = GDT_BASE, .limit = GDT_LIMIT};
    f->cpu->idt = (struct descriptor_table){.base = IDT_BASE, .limit = 0x7ff};
}

void fixture_end(struct fixture *f)
{
    cpu_destroy(f->cpu);
    address_space_destroy(&f->space);
    address_space_destroy(&f->ports);
    memory_destroy(&f->memory);
}

uint64_t peek(struct fixture *f, uint64_t address, unsigned bytes)
{
    return address_space_read(&f->space, address, bytes);
}

void poke(struct fixture *f, uint64_t address, uint64_t value, unsigned bytes)
{
    address_space_write(&f->space, address, value, bytes);
}

void poke_descriptor(struct fixture *f, uint16_t selector, uint32_t base, uint32_t limit, unsigned access,
                     unsigned flags)
{
    uint32_t low = (limit & 0xffff) | base << 16;
    uint32_t high = (base >> 16 & 0xff) | access << 8 | (limit & 0xf0000) | flags << 20 | (base & 0xff000000u);
    poke(f, GDT_BASE + (selector & 0xfff8u), low | (uint64_t)high << 32, 8);
}

void poke_gate(struct fixture *f, unsigned vector, uint16_t selector, uint32_t offset, unsigned type)
{
    uint32_t low = (offset & 0xffff) | (uint32_t)selector << 16, high = (offset & 0xffff0000u) | type << 8;
    poke(f, IDT_BASE + vector * 8, low | (uint64_t)high << 32, 8);
}

void poke_gate64(struct fixture *f, unsigned vector, uint16_t selector, uint64_t offset, unsigned type, unsigned ist)
{
    uint32_t low = (offset & 0xffff) | (uint32_t)selector << 16;
    uint32_t high = ((uint32_t)offset & 0xffff0000u) | type << 8 | ist;
    poke(f, IDT_BASE + vector * 16, low | (uint64_t)high << 32, 8);
    poke(f, IDT_BASE + vector * 16 + 8, offset >> 32, 8);
}

void poke_call_gate(struct fixture *f, uint16_t at, uint16_t selector, uint32_t offset, unsigned type,
                    unsigned parameters)
{
    uint32_t low = (offset & 0xffff) | (uint32_t)selector << 16;
    uint32_t high = (offset & 0xffff0000u) | type << 8 | parameters;
    poke(f, GDT_BASE + (at & 0xfff8u), low | (uint64_t)high << 32, 8);
}

static void load(struct fixture *f, unsigned segment, uint16_t selector)
{
    struct descriptor d = {.low = (uint32_t)peek(f, GDT_BASE + (selector & 0xfff8u), 4),
                           .high = (uint32_t)peek(f, GDT_BASE + (selector & 0xfff8u) + 4, 4)};
    descriptor_decode(&d);
    segment_set_descriptor(f->cpu, segment, selector, &d);
}

static void load_ring(struct fixture *f, unsigned cpl, uint16_t code)
{
    static const uint16_t data[4] = {SEL_DATA0, SEL_DATA1, 0, SEL_DATA3};
    static const uint32_t stack[4] = {STACK0, STACK1, 0, STACK3};
    load(f, SEG_CS, code);
    load(f, SEG_SS, data[cpl]);
    load(f, SEG_DS, data[cpl]);
    load(f, SEG_ES, data[cpl]);
    f->cpu->segment[SEG_FS].rights = f->cpu->segment[SEG_GS].rights = SEGMENT_UNUSABLE;
    f->cpu->var[VAR_RSP] = stack[cpl];
    f->cpu->var[VAR_RIP] = 0x8000;
    f->cpu->cpl = (uint8_t)cpl;
}

void enter_protected(struct fixture *f, unsigned cpl)
{
    static const uint16_t code[4] = {SEL_CODE0, SEL_CODE1, 0, SEL_CODE3};
    f->cpu->cr0 |= CR0_PE;
    poke_descriptor(f, SEL_TSS, TSS_BASE, 0x67, 0x8b, 0);
    load(f, SEG_TR, SEL_TSS);
    load_ring(f, cpl, code[cpl]);
    cpu_set_rflags(f->cpu, 2);
    cpu_update_paging(f->cpu, true);
}

void enter_long(struct fixture *f, unsigned cpl)
{
    poke(f, PAGES, (PAGES + 0x1000) | 7, 8);
    poke(f, PAGES + 0x1000, (PAGES + 0x2000) | 7, 8);
    poke(f, PAGES + 0x2000, 0x87, 8);
    if (cpl == 3)
        poke_descriptor(f, SEL_CODE3, 0, 0xfffff, 0xfa, 0xa);
    poke_descriptor(f, SEL_CODE0, 0, 0xfffff, 0x9a, 0xa);
    poke(f, TSS_BASE + 4, STACK0, 8);
    f->cpu->cr0 |= CR0_PE | CR0_PG;
    f->cpu->cr4 |= CR4_PAE;
    f->cpu->cr3 = PAGES;
    f->cpu->efer |= EFER_LME | EFER_LMA | EFER_SCE;
    f->cpu->idt.limit = 0xfff;
    load(f, SEG_TR, SEL_TSS64);
    load_ring(f, cpl, cpl == 3 ? SEL_CODE3 : SEL_CODE0);
    cpu_set_rflags(f->cpu, 2);
    cpu_update_paging(f->cpu, true);
}

void enter_vm86(struct fixture *f, unsigned iopl)
{
    enter_protected(f, 3);
    for (unsigned i = 0; i < 6; i++)
        segment_set_real(f->cpu, i, (uint16_t)(0x700 + i), true);
    f->cpu->var[VAR_RSP] = 0x800;
    f->cpu->var[VAR_RIP] = 0x100;
    cpu_set_rflags(f->cpu, 2 | FLAG_VM | (uint64_t)iopl << 12);
}

void expect_fault(struct fixture *f, int vector, int error_code)
{
    struct cpu_fault *fault = &f->cpu->fault;
    assert_int_equal(fault->pending ? fault->vector : -1, vector);
    if (vector >= 0 && error_code >= 0) {
        assert_true(fault->has_error_code);
        assert_int_equal(fault->error_code, error_code);
    }
    *fault = (struct cpu_fault){0};
}
