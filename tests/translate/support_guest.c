#include "support_guest.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "cpu/cc.h"
#include "translate/translate.h"

#define GDT 0x1000u
#define IDT 0x2000u
#define TSS 0x3000u
#define TABLES 0x10000u
#define HANDLER_STACK 0x9000u
#define DEVICE UINT64_C(0x10000000)

static uint64_t device_read(void *opaque, uint64_t offset, unsigned size)
{
    struct guest *g = opaque;
    g->device = (g->device ^ offset ^ (uint64_t)size << 32) * UINT64_C(0x9e3779b97f4a7c15) + 1;
    return g->device >> 7;
}

static void device_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct guest *g = opaque;
    g->device = (g->device ^ offset ^ (uint64_t)size << 40 ^ value) * UINT64_C(0xbf58476d1ce4e5b9) + 3;
}

static const struct region_ops device_ops = {.read = device_read, .write = device_write, .max_size = 8, .name = "test"};

void guest_start(struct guest *g, const struct engine *engine)
{
    struct error error = {0};
    struct cpu_config config;

    memset(g, 0, sizeof *g);
    assert_true(memory_create(&g->memory, GUEST_RAM, &error));
    address_space_init(&g->space, "memory", &g->memory, BIT(40), NULL);
    address_space_init(&g->ports, "ports", NULL, 0x10000, NULL);
    assert_non_null(address_space_map_memory(&g->space, "ram", 0, GUEST_RAM, 0, memory_allocate(&g->memory, GUEST_RAM),
                                             false, &error));
    assert_non_null(address_space_map_device(&g->space, "device", DEVICE, PAGE_SIZE, 0, &device_ops, g, &error));
    assert_true(model_parse("max", &g->model, &error));
    g->blocks = block_cache_create(&g->memory, &g->model, 8 << 20, NULL, &error);
    assert_non_null(g->blocks);
    config = (struct cpu_config){.model = &g->model, .memory = &g->space, .ports = &g->ports, .blocks = g->blocks};
    g->cpu = cpu_create(&config, &error);
    assert_non_null(g->cpu);
    g->engine = engine;
    g->state = engine->create(g->cpu, &error);
    assert_non_null(g->state);
}

void guest_end(struct guest *g)
{
    g->engine->destroy(g->state);
    cpu_destroy(g->cpu);
    block_cache_destroy(g->blocks);
    address_space_destroy(&g->space);
    address_space_destroy(&g->ports);
    memory_destroy(&g->memory);
}

void guest_load(struct guest *g, uint64_t address, const void *bytes, unsigned size)
{
    memcpy(g->memory.host + address, bytes, size);
}

static void put64(struct guest *g, uint64_t address, uint64_t value)
{
    guest_load(g, address, &value, 8);
}

static void make_tables(struct guest *g, enum guest_mode mode)
{
    put64(g, TABLES, (TABLES + 0x1000) | 7);
    put64(g, TABLES + 0x1000, (TABLES + 0x2000) | 7);
    put64(g, TABLES + 0x2000, (TABLES + 0x3000) | 7);
    for (uint64_t page = 0; page < 512; page++)
        put64(g, TABLES + 0x3000 + page * 8, page << PAGE_SHIFT | (page < 0x100 ? 3 : 7));
    uint64_t data = TABLES + 0x3000 + (GUEST_DATA >> PAGE_SHIFT) * 8;
    put64(g, data + 2 * 8, 0);                                   // page 2: not present
    put64(g, data + 3 * 8, (GUEST_DATA + 0x3000) | 5);           // page 3: read-only
    put64(g, data + 5 * 8, DEVICE | 7);                          // page 5: a device
    put64(g, data + 6 * 8, (GUEST_DATA + 0x6000) | 3);           // page 6: supervisor only
    put64(g, data + 7 * 8, GUEST_DATA | 7);                      // page 7: page 0 again
    put64(g, data + 8 * 8, GUEST_CODE | 7);                      // page 8: the code again
    put64(g, data + 9 * 8, (GUEST_DATA + 0x9000) | 7 | BIT(63)); // page 9: no execution
    (void)mode;
}

static void make_gates(struct guest *g)
{
    uint8_t halts[256];
    put64(g, GDT + 8, UINT64_C(0x00af9b000000ffff));  // 64-bit code, ring 0
    put64(g, GDT + 16, UINT64_C(0x00cf93000000ffff)); // data, ring 0
    memset(halts, 0xf4, sizeof halts);
    guest_load(g, GUEST_HANDLERS, halts, sizeof halts);
    for (unsigned i = 0; i < 256; i++) {
        put64(g, IDT + i * 16, ((GUEST_HANDLERS + i) & 0xffff) | 8u << 16 | UINT64_C(0x8e01) << 32);
        put64(g, IDT + i * 16 + 8, 0);
    }
    put64(g, TSS + 0x24, HANDLER_STACK);
}

static void set_segments(struct cpu *cpu, enum guest_mode mode)
{
    unsigned dpl = mode == GUEST_64_CPL3 ? 3 : 0;
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        struct segment *s = &cpu->segment[i];
        s->selector = (uint16_t)((i == SEG_CS ? 8 : 16) | dpl);
        s->limit = UINT32_MAX;
        s->rights = SEGMENT_P | SEGMENT_S | dpl << 5 | SEGMENT_G | (i == SEG_CS ? 0xbu : 0x3u);
        if (mode == GUEST_32_CPL0 || i != SEG_CS)
            s->rights |= SEGMENT_DB;
        else
            s->rights |= SEGMENT_L;
        cpu_set_segment_base(cpu, i, 0);
    }
    cpu->var[VAR_FS_BASE] = 0x100;
    cpu->var[VAR_GS_BASE] = GUEST_DATA;
    cpu->cpl = (uint8_t)dpl;
    cpu->segment[SEG_TR] = (struct segment){.selector = 0x18, .limit = 0x67, .base = TSS, .rights = SEGMENT_P | 0xb};
    if (mode != GUEST_16)
        return;
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        uint64_t base = i == SEG_CS ? GUEST_CODE : GUEST_DATA - 0x1000 * i;
        cpu->segment[i].limit = i == SEG_DS ? 0x7fff : 0xffff;
        cpu->segment[i].rights &= ~(SEGMENT_DB | SEGMENT_L | SEGMENT_G);
        cpu_set_segment_base(cpu, i, base);
    }
}

void guest_reset(struct guest *g, enum guest_mode mode, uint64_t seed)
{
    struct cpu *cpu = g->cpu;

    block_cache_flush(g->blocks);
    memset(g->memory.host, 0, 0x20000);
    for (uint64_t at = GUEST_CODE; at < GUEST_DATA + GUEST_DATA_PAGES * PAGE_SIZE; at += 8)
        put64(g, at, at < GUEST_DATA ? UINT64_C(0xf4f4f4f4f4f4f4f4) : guest_random(&seed));
    make_tables(g, mode);
    make_gates(g);
    g->device = seed;
    cpu_reset(cpu, false);
    cpu->cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_ET | CR0_NE;
    cpu->cr3 = TABLES;
    cpu->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    cpu->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    cpu->efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
    cpu->gdt = (struct descriptor_table){.base = GDT, .limit = 0x1f};
    cpu->idt = (struct descriptor_table){.base = IDT, .limit = 0xfff};
    set_segments(cpu, mode);
    cpu->instructions = 0;
    cpu_update_paging(cpu, true);
    mmu_flush_all(&cpu->mmu);
    cpu_set_rflags(cpu, 2);
    cpu->var[VAR_RIP] = mode == GUEST_16 ? 0 : GUEST_CODE;
    atomic_store(&cpu->exit_request, 0);
}

enum engine_stop guest_run(struct guest *g, uint64_t instructions)
{
    g->cpu->instruction_limit = g->cpu->instructions + instructions;
    return g->engine->run(g->state, g->cpu);
}

static bool same(const char *name, uint64_t a, uint64_t b, char *text, size_t size)
{
    size_t used = strlen(text);
    if (a != b)
        snprintf(text + used, size - used, "%s %" PRIx64 " / %" PRIx64 "  ", name, a, b);
    return a == b;
}

static bool same_memory(const struct guest *a, const struct guest *b, uint64_t from, uint64_t to, char *text,
                        size_t size)
{
    char name[40];
    if (!memcmp(a->memory.host + from, b->memory.host + from, to - from))
        return true;
    while (a->memory.host[from] == b->memory.host[from])
        from++;
    snprintf(name, sizeof name, "memory %" PRIx64, from);
    return same(name, a->memory.host[from], b->memory.host[from], text, size);
}

bool guest_equal(struct guest *a, struct guest *b, char *text, size_t size)
{
    static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8",
                                        "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "rip"};
    struct cpu *x = a->cpu, *y = b->cpu;
    bool equal = true;
    text[0] = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
        equal &= same(names[i], x->var[i], y->var[i], text, size);
    equal &= same("rflags", cpu_rflags(x), cpu_rflags(y), text, size);
    equal &= same("cr2", x->cr2, y->cr2, text, size);
    equal &= same("instructions", x->instructions, y->instructions, text, size);
    equal &= same("activity", x->activity, y->activity, text, size);
    equal &= same("device", a->device, b->device, text, size);
    equal &= same("mode", x->mode, y->mode, text, size);
    equal &= same("xmm", (uint64_t)memcmp(x->vreg, y->vreg, sizeof x->vreg), 0, text, size);
    equal &= same("mxcsr", x->mxcsr, y->mxcsr, text, size);
    equal &= same("x87", (uint64_t)memcmp(&x->x87, &y->x87, sizeof x->x87), 0, text, size);
    equal &= same("cr0", x->cr0, y->cr0, text, size);
    equal &= same("cr3", x->cr3, y->cr3, text, size);
    equal &= same("cr4", x->cr4, y->cr4, text, size);
    equal &= same("efer", x->efer, y->efer, text, size);
    equal &= same("cpl", x->cpl, y->cpl, text, size);
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        equal &= same("selector", x->segment[i].selector, y->segment[i].selector, text, size);
        equal &= same("rights", x->segment[i].rights, y->segment[i].rights, text, size);
        equal &= same("limit", x->segment[i].limit, y->segment[i].limit, text, size);
        equal &= same("base", cpu_segment_base(x, i), cpu_segment_base(y, i), text, size);
    }
    equal &= same("gdt", x->gdt.base ^ x->gdt.limit, y->gdt.base ^ y->gdt.limit, text, size);
    equal &= same("idt", x->idt.base ^ x->idt.limit, y->idt.base ^ y->idt.limit, text, size);
    equal &= same_memory(a, b, 0, 0x20000, text, size);
    equal &= same_memory(a, b, GUEST_CODE, GUEST_DATA + GUEST_DATA_PAGES * PAGE_SIZE, text, size);
    return equal;
}

int guest_pair_open(void **state)
{
    struct guest_pair *pair = calloc(1, sizeof *pair);
    guest_start(&pair->interp, &engine_interp);
    guest_start(&pair->jit, &engine_jit);
    translate_set_threshold(pair->jit.state, 0);
    *state = pair;
    return 0;
}

int guest_pair_close(void **state)
{
    struct guest_pair *pair = *state;
    guest_end(&pair->interp);
    guest_end(&pair->jit);
    free(pair);
    return 0;
}
