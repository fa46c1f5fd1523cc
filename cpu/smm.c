// System management mode: entry by SMI, RSM (SDM vol. 3 ch. 31). The save map is AMD64's for models with long mode (as
// firmware for this chipset expects), else the 32-bit one.
#include "cpu/debug.h"
#include "cpu/privileged.h"

#define SMM_REVISION32 0x00020000u
#define SMM_REVISION64 0x00020064u
#define SMM_HALT64 0x7ec9u // auto halt restart: the SMI came while the processor halted
#define SMM_HALT32 0x7f02u
#define SMM_SAVE 0x8000u // offsets below are from SMBASE + this, as manuals give them

struct smm_map {
    struct cpu *cpu;
    uint64_t base;
    bool save;
};

/// Saves or restores one field.
static void field(const struct smm_map *m, unsigned offset, uint64_t *value, unsigned bytes)
{
    if (m->save)
        address_space_write(m->cpu->smm_memory, m->base + offset, cut_bytes(*value, bytes), bytes);
    else
        *value = address_space_read(m->cpu->smm_memory, m->base + offset, bytes);
}

static uint64_t read_field(const struct smm_map *m, unsigned offset, unsigned bytes)
{
    return address_space_read(m->cpu->smm_memory, m->base + offset, bytes);
}

static void write_field(const struct smm_map *m, unsigned offset, uint64_t value, unsigned bytes)
{
    address_space_write(m->cpu->smm_memory, m->base + offset, cut_bytes(value, bytes), bytes);
}

/// Rights in the 16-bit form of the map: descriptor bits 8..15 and 20..23 without a gap.
static uint64_t pack_rights(uint32_t rights)
{
    return rights & SEGMENT_UNUSABLE ? 0 : (rights & 0xff) | (rights >> 4 & 0xf00);
}

static uint32_t unpack_rights(uint64_t packed)
{
    uint32_t rights = (packed & 0xff) | (packed & 0xf00) << 4;
    return rights & SEGMENT_P ? rights : rights | SEGMENT_UNUSABLE;
}

static void segment64(const struct smm_map *m, unsigned segment, unsigned offset)
{
    struct segment *s = &m->cpu->segment[segment];
    if (m->save) {
        write_field(m, offset, s->selector, 2);
        write_field(m, offset + 2, pack_rights(s->rights), 2);
        write_field(m, offset + 4, s->limit, 4);
        write_field(m, offset + 8, cpu_segment_base(m->cpu, segment), 8);
    } else
        segment_set(m->cpu, segment, (uint16_t)read_field(m, offset, 2), read_field(m, offset + 8, 8),
                    (uint32_t)read_field(m, offset + 4, 4), unpack_rights(read_field(m, offset + 2, 2)));
}

static void segment32(const struct smm_map *m, unsigned segment, unsigned selector, unsigned offset)
{
    struct segment *s = &m->cpu->segment[segment];
    if (m->save) {
        write_field(m, selector, s->selector, 4);
        write_field(m, offset, pack_rights(s->rights), 4);
        write_field(m, offset + 4, s->limit, 4);
        write_field(m, offset + 8, cpu_segment_base(m->cpu, segment), 4);
    } else
        segment_set(m->cpu, segment, (uint16_t)read_field(m, selector, 4), read_field(m, offset + 8, 4),
                    (uint32_t)read_field(m, offset + 4, 4), unpack_rights(read_field(m, offset, 4)));
}

static void table(const struct smm_map *m, struct descriptor_table *t, unsigned base, unsigned limit, unsigned bytes)
{
    uint64_t value = t->limit;
    field(m, base, &t->base, bytes);
    field(m, limit, &value, 4);
    t->limit = (uint16_t)value;
}

static void map64(const struct smm_map *m, uint64_t *flags, uint64_t *cr0, uint64_t *cr3, uint64_t *cr4, uint64_t *efer)
{
    struct cpu *cpu = m->cpu;
    for (unsigned i = 0; i < 6; i++)
        segment64(m, i, 0x7e00 + i * 16);
    table(m, &cpu->gdt, 0x7e68, 0x7e64, 8);
    segment64(m, SEG_LDTR, 0x7e70);
    table(m, &cpu->idt, 0x7e88, 0x7e84, 8);
    segment64(m, SEG_TR, 0x7e90);
    field(m, 0x7ed0, efer, 8);
    // RAX RCX RDX RBX RSP RBP RSI RDI R8..R15 downwards from 7FF8.
    for (unsigned i = 0; i < 16; i++)
        field(m, 0x7ff8 - i * 8, &cpu->var[VAR_RAX + i], 8);
    field(m, 0x7f78, &cpu->var[VAR_RIP], 8);
    field(m, 0x7f70, flags, 8);
    field(m, 0x7f68, &cpu->dr[6], 8);
    field(m, 0x7f60, &cpu->dr[7], 8);
    field(m, 0x7f58, cr0, 8);
    field(m, 0x7f50, cr3, 8);
    field(m, 0x7f48, cr4, 8);
}

static void map32(const struct smm_map *m, uint64_t *flags, uint64_t *cr0, uint64_t *cr3, uint64_t *cr4)
{
    static const uint16_t gpr[8] = {0x7fd0, 0x7fd4, 0x7fd8, 0x7fdc, 0x7fe0, 0x7fe4, 0x7fe8, 0x7fec};
    struct cpu *cpu = m->cpu;
    field(m, 0x7ffc, cr0, 4);
    field(m, 0x7ff8, cr3, 4);
    field(m, 0x7ff4, flags, 4);
    field(m, 0x7ff0, &cpu->var[VAR_RIP], 4);
    for (unsigned i = 0; i < 8; i++)
        field(m, gpr[i], &cpu->var[VAR_RAX + i], 4);
    field(m, 0x7fcc, &cpu->dr[6], 4);
    field(m, 0x7fc8, &cpu->dr[7], 4);
    segment32(m, SEG_TR, 0x7fc4, 0x7f5c);
    segment32(m, SEG_LDTR, 0x7fc0, 0x7f78);
    table(m, &cpu->gdt, 0x7f74, 0x7f70, 4);
    table(m, &cpu->idt, 0x7f58, 0x7f54, 4);
    for (unsigned i = 0; i < 6; i++)
        segment32(m, i, 0x7fa8 + i * 4, i < 3 ? 0x7f84 + i * 12 : 0x7f2c + (i - 3) * 12);
    field(m, 0x7f14, cr4, 4);
}

void cpu_enter_smm(struct cpu *cpu)
{
    struct smm_map m = {.cpu = cpu, .base = cpu->smbase + SMM_SAVE, .save = true};
    bool wide = model_has(cpu->model, FEATURE_LM);
    uint64_t flags = cpu_rflags(cpu);

    cpu->in_smm = true;
    cpu->nmi_blocked = true;
    write_field(&m, 0x7efc, wide ? SMM_REVISION64 : SMM_REVISION32, 4);
    write_field(&m, wide ? 0x7f00 : 0x7ef8, cpu->smbase, 4);
    write_field(&m, wide ? SMM_HALT64 : SMM_HALT32, cpu->activity == ACTIVITY_HALT, wide ? 1 : 2);
    cpu->activity = ACTIVITY_RUN;
    if (wide)
        map64(&m, &flags, &cpu->cr0, &cpu->cr3, &cpu->cr4, &cpu->efer);
    else
        map32(&m, &flags, &cpu->cr0, &cpu->cr3, &cpu->cr4);

    cpu->efer = 0;
    cpu->cr0 &= ~(CR0_PE | CR0_EM | CR0_TS | CR0_PG);
    cpu->cr4 = 0;
    cpu->dr[7] = DR7_ONES;
    debug_update(cpu);
    cpu->cpl = 0;
    for (unsigned i = 0; i < 6; i++)
        segment_set(cpu, i, 0, 0, UINT32_MAX, SEGMENT_P | SEGMENT_S | 3 | SEGMENT_G);
    segment_set(cpu, SEG_CS, (uint16_t)(cpu->smbase >> 4), (uint32_t)cpu->smbase, UINT32_MAX,
                SEGMENT_P | SEGMENT_S | 3 | SEGMENT_G);
    cpu->var[VAR_RIP] = 0x8000;
    mmu_set_space(&cpu->mmu, cpu->smm_memory);
    mmu_flush_all(&cpu->mmu);
    cpu_update_paging(cpu, false);
    cpu_set_rflags(cpu, 2);
}

/// What RSM must refuse: a state no processor can have leads to shutdown.
static bool state_possible(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    if (((cr0 & CR0_PG) && !(cr0 & CR0_PE)) || ((cr0 & CR0_NW) && !(cr0 & CR0_CD)) || cr0 >> 32)
        return false;
    return !(efer & EFER_LMA) || ((cr0 & CR0_PG) && (cr4 & CR4_PAE) && (efer & EFER_LME));
}

uint64_t helper_rsm(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    struct smm_map m = {.cpu = cpu, .base = cpu->smbase + SMM_SAVE};
    bool wide = model_has(cpu->model, FEATURE_LM);
    uint64_t flags = 0, cr0 = 0, cr3 = 0, cr4 = 0, efer = 0;
    bool halted;

    if (!cpu->in_smm)
        return cpu_raise(cpu, VECTOR_UD);
    if (wide)
        map64(&m, &flags, &cr0, &cr3, &cr4, &efer);
    else
        map32(&m, &flags, &cr0, &cr3, &cr4);
    // SMBASE relocation.
    cpu->smbase = (uint32_t)read_field(&m, wide ? 0x7f00 : 0x7ef8, 4);
    halted = read_field(&m, wide ? SMM_HALT64 : SMM_HALT32, 1) & 1; // the handler may have changed it
    cpu->in_smm = false;
    cpu->nmi_blocked = false;
    mmu_set_space(&cpu->mmu, cpu->memory);
    mmu_flush_all(&cpu->mmu);
    if (!state_possible(cr0, cr4, efer)) {
        cpu->activity = ACTIVITY_SHUTDOWN;
        cpu_request_poll(cpu);
        cpu_update_mode(cpu);
        return cpu->var[VAR_RIP];
    }
    cpu->cr0 = cr0 | CR0_ET;
    cpu->cr3 = cr3;
    cpu->cr4 = cr4 & cpu_cr4_known(cpu);
    cpu->efer = efer & (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
    cpu->dr[6] = (cpu->dr[6] & DR6_KNOWN) | DR6_ONES;
    cpu->dr[7] = (cpu->dr[7] & DR7_KNOWN) | DR7_ONES;
    debug_update(cpu);
    cpu->cpl = !(cr0 & CR0_PE) ? 0 : flags & FLAG_VM ? 3 : cpu->segment[SEG_CS].selector & 3;
    cpu_update_paging(cpu, true);
    if ((cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA))
        mmu_load_pdptes(&cpu->mmu, cr3);
    cpu_set_rflags(cpu, (flags & UINT64_C(0x3f7fd5)) | 2);
    if (halted)
        cpu->activity = ACTIVITY_HALT;
    cpu_request_poll(cpu);
    return cpu->var[VAR_RIP];
}
