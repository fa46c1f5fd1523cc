// The vCPU's state table (snapshots, hashes, comparison) and its printed form.
#include <inttypes.h>

#include "cpu/block.h"
#include "cpu/cpu.h"
#include "cpu/debug.h"

static const struct state_field segment_fields[] = {
    STATE_U(segment, selector),
    STATE_U(segment, rights),
    STATE_U(segment, limit),
    STATE_U(segment, base),
};
static const struct state_table segment_table = STATE_TABLE("segment", 1, segment, segment_fields, NULL);

static const struct state_field descriptor_table_fields[] = {
    STATE_U(descriptor_table, base),
    STATE_U(descriptor_table, limit),
};
static const struct state_table descriptor_table_table =
    STATE_TABLE("descriptor_table", 1, descriptor_table, descriptor_table_fields, NULL);

static const struct state_field f80_fields[] = {
    STATE_U(f80, significand),
    STATE_U(f80, sign_exponent),
    STATE_SKIP(f80, unused),
};
static const struct state_table f80_table = STATE_TABLE("f80", 1, f80, f80_fields, NULL);

static bool x87_after_load(void *object, struct error *error)
{
    struct x87 *x87 = object;
    return x87->top < 8 || error_set(error, "x87 top of stack is %u, must be below 8", x87->top);
}

static const struct state_field x87_fields[] = {
    STATE_NESTED_ARRAY(x87, reg, &f80_table),
    STATE_U(x87, control),
    STATE_U(x87, status),
    STATE_U(x87, top),
    STATE_U(x87, valid),
    STATE_U(x87, opcode),
    STATE_U(x87, ip),
    STATE_U(x87, dp),
    STATE_U(x87, cs),
    STATE_U(x87, ds),
};
static const struct state_table x87_table = STATE_TABLE("x87", 1, x87, x87_fields, x87_after_load);

static const struct state_field fault_fields[] = {
    STATE_U(cpu_fault, pending), STATE_U(cpu_fault, has_error_code), STATE_U(cpu_fault, software),
    STATE_U(cpu_fault, vector),  STATE_U(cpu_fault, error_code),
};
static const struct state_table fault_table = STATE_TABLE("cpu_fault", 1, cpu_fault, fault_fields, NULL);

static bool cpu_after_load(void *object, struct error *error)
{
    struct cpu *cpu = object;
    uint64_t pdpte[4];
    if (cpu->cpl > 3 || (unsigned)cpu->activity > ACTIVITY_MWAIT || cpu->shadow > SHADOW_MOV_SS ||
        cpu->var[VAR_ZERO] != 0 || cpu->var[VAR_CC_OP] != CC_LITERAL << 2 ||
        (cpu->var[VAR_CC_EXTRA] & ~FLAGS_ARITHMETIC))
        return error_set(error, "the CPU section holds values that no CPU can have");
    mmu_set_space(&cpu->mmu, cpu->in_smm ? cpu->smm_memory : cpu->memory);
    memcpy(pdpte, cpu->mmu.pdpte, sizeof pdpte);
    cpu_update_paging(cpu, true);
    memcpy(cpu->mmu.pdpte, pdpte, sizeof pdpte); // not from memory, which may differ by now
    mmu_flush_all(&cpu->mmu);
    cpu_update_mode(cpu);
    cpu->debug_traps &= DR6_KNOWN;
    debug_update(cpu);
    cpu->leave = false;
    atomic_store(&cpu->exit_request, 1);
    return true;
}

#define MMU_PDPTE offsetof(struct mmu, pdpte)

static const struct state_field cpu_fields[] = {
    {.name = "var", .type = STATE_UNSIGNED, .offset = offsetof(struct cpu, var), .size = 8, .count = VAR_NONE},
    {.name = "temporaries",
     .type = STATE_TRANSIENT,
     .offset = offsetof(struct cpu, var) + VAR_NONE * 8,
     .size = (VAR_COUNT - VAR_NONE) * 8,
     .count = 1},
    STATE_SKIP(cpu, exit_request),
    STATE_U(cpu, pending),
    STATE_U(cpu, instructions),
    STATE_SKIP(cpu, instruction_limit),
    STATE_SKIP(cpu, insn_in_block),
    STATE_SKIP(cpu, mode),
    STATE_SKIP(cpu, data_mode),
    STATE_SKIP(cpu, fetch_mode),
    STATE_NESTED(cpu, fault, &fault_table),
    STATE_SKIP(cpu, leave),
    STATE_SKIP(cpu, trap_cancelled),
    STATE_SKIP(cpu, next_handle),
    STATE_SKIP(cpu, resident),
    STATE_SKIP(cpu, code_breakpoints),
    STATE_SKIP(cpu, port_breakpoints),
    STATE_U(cpu, debug_traps),
    STATE_SKIP(cpu, jump_epoch),
    STATE_SKIP(cpu, handle),
    STATE_NESTED_ARRAY(cpu, segment, &segment_table),
    STATE_NESTED(cpu, gdt, &descriptor_table_table),
    STATE_NESTED(cpu, idt, &descriptor_table_table),
    STATE_U(cpu, cr0),
    STATE_U(cpu, cr2),
    STATE_U(cpu, cr3),
    STATE_U(cpu, cr4),
    STATE_ARRAY(cpu, dr),
    STATE_U(cpu, efer),
    STATE_U(cpu, star),
    STATE_U(cpu, lstar),
    STATE_U(cpu, cstar),
    STATE_U(cpu, sfmask),
    STATE_U(cpu, kernel_gs_base),
    STATE_U(cpu, sysenter_cs),
    STATE_U(cpu, sysenter_esp),
    STATE_U(cpu, sysenter_eip),
    STATE_U(cpu, tsc_adjust),
    STATE_U(cpu, tsc_aux),
    STATE_U(cpu, pat),
    STATE_U(cpu, misc_enable),
    STATE_U(cpu, debugctl),
    STATE_U(cpu, smbase),
    STATE_U(cpu, xcr0),
    STATE_U(cpu, xss),
    STATE_ARRAY(cpu, mtrr_fixed),
    STATE_ARRAY(cpu, mtrr_base),
    STATE_ARRAY(cpu, mtrr_mask),
    STATE_U(cpu, mtrr_default),
    STATE_U(cpu, mcg_status),
    {.name = "mc_bank", .type = STATE_UNSIGNED, .offset = offsetof(struct cpu, mc_bank), .size = 8, .count = 40},
    STATE_U(cpu, microcode),
    STATE_U(cpu, spec_ctrl),
    STATE_U(cpu, activity),
    STATE_U(cpu, shadow),
    STATE_U(cpu, nmi_blocked),
    STATE_U(cpu, in_smm),
    STATE_U(cpu, cpl),
    STATE_U(cpu, monitor_address),
    STATE_U(cpu, monitor_armed),
    STATE_U(cpu, mwait_breaks),
    STATE_RAW(cpu, monitor_line),
    STATE_U(cpu, random_state),
    STATE_RAW(cpu, vreg),
    STATE_SKIP(cpu, vtemp),
    STATE_U(cpu, mxcsr),
    STATE_NESTED(cpu, x87, &x87_table),
    STATE_SKIP(cpu, x87_policy),
    STATE_U(cpu, ferr),
    STATE_U(cpu, ignne),
    STATE_SKIP(cpu, model),
    STATE_SKIP(cpu, outside),
    STATE_SKIP(cpu, ferr_out),
    STATE_SKIP(cpu, memory),
    STATE_SKIP(cpu, smm_memory),
    STATE_SKIP(cpu, ports),
    STATE_SKIP(cpu, log),
    STATE_SKIP(cpu, blocks),
    STATE_SKIP(cpu, jump_cache),
    STATE_SKIP(cpu, self),
    STATE_SKIP(cpu, area),
    STATE_SKIP(cpu, host_stack),
    STATE_SKIP(cpu, host_word),
    STATE_SKIP(cpu, bounce),
    STATE_SKIP(cpu, lent),
    STATE_SKIP(cpu, code_page),
    STATE_SKIP(cpu, walk_fault),
    STATE_SKIP(cpu, tsc),
    STATE_SKIP(cpu, victim_patience),
    STATE_SKIP(cpu, guard_patience),
    STATE_SKIP(cpu, detour_patience),
    STATE_SKIP(cpu, detour),
    STATE_SKIP(cpu, pages),
    STATE_SKIP(cpu, no_chain),
    STATE_SKIP(cpu, counting),
    STATE_SKIP(cpu, running),
    STATE_SKIP(cpu, index),
    STATE_SKIP(cpu, stat_faults),
    STATE_SKIP(cpu, stat_interrupts),
    STATE_SKIP(cpu, stat_blocks),
    STATE_SKIP(cpu, stat_call),
    // Of the MMU only the PDPTEs are state: with PAE they are registers, loaded by MOV CR3.
    {.name = "mmu", .type = STATE_TRANSIENT, .offset = offsetof(struct cpu, mmu), .size = MMU_PDPTE, .count = 1},
    {.name = "pdpte", .type = STATE_UNSIGNED, .offset = offsetof(struct cpu, mmu) + MMU_PDPTE, .size = 8, .count = 4},
    {.name = "tlb",
     .type = STATE_TRANSIENT,
     .offset = offsetof(struct cpu, mmu) + MMU_PDPTE + 32,
     .size = sizeof(struct mmu) - MMU_PDPTE - 32,
     .count = 1},
};
const struct state_table cpu_state_table = STATE_TABLE("cpu", 1, cpu, cpu_fields, cpu_after_load);

static void print_segment(const struct cpu *cpu, unsigned n, FILE *to)
{
    static const char *const names[] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR"};
    const struct segment *s = &cpu->segment[n];
    fprintf(to, "%-3s=%04x %016" PRIx64 " %08x %08x\n", names[n], s->selector, cpu_segment_base(cpu, n), s->limit,
            s->rights);
}

void cpu_print(const struct cpu *cpu, FILE *to)
{
    static const char *const names[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                        "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"};
    static const uint8_t order[] = {VAR_RAX, VAR_RBX, VAR_RCX, VAR_RDX, VAR_RSI, VAR_RDI, VAR_RBP, VAR_RSP,
                                    VAR_R8,  VAR_R9,  VAR_R10, VAR_R11, VAR_R12, VAR_R13, VAR_R14, VAR_R15};
    uint64_t flags = cpu_rflags(cpu);
    for (unsigned i = 0; i < 16; i++)
        fprintf(to, "%s=%016" PRIx64 "%c", names[order[i]], cpu->var[order[i]], i % 4 == 3 ? '\n' : ' ');
    fprintf(to, "RIP=%016" PRIx64 " RFL=%08" PRIx64 " [%c%c%c%c%c%c%c] CPL=%u SMM=%u HLT=%u\n", cpu->var[VAR_RIP],
            flags, flags & FLAG_DF ? 'D' : '-', flags & FLAG_OF ? 'O' : '-', flags & FLAG_SF ? 'S' : '-',
            flags & FLAG_ZF ? 'Z' : '-', flags & FLAG_AF ? 'A' : '-', flags & FLAG_PF ? 'P' : '-',
            flags & FLAG_CF ? 'C' : '-', cpu->cpl, cpu->in_smm, cpu->activity == ACTIVITY_HALT);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        print_segment(cpu, i, to);
    fprintf(to, "GDT=     %016" PRIx64 " %08x\n", cpu->gdt.base, cpu->gdt.limit);
    fprintf(to, "IDT=     %016" PRIx64 " %08x\n", cpu->idt.base, cpu->idt.limit);
    fprintf(to, "CR0=%08" PRIx64 " CR2=%016" PRIx64 " CR3=%016" PRIx64 " CR4=%08" PRIx64 "\n", cpu->cr0, cpu->cr2,
            cpu->cr3, cpu->cr4);
    fprintf(to, "DR0=%016" PRIx64 " DR1=%016" PRIx64 " DR2=%016" PRIx64 " DR3=%016" PRIx64 "\n", cpu->dr[0], cpu->dr[1],
            cpu->dr[2], cpu->dr[3]);
    fprintf(to, "DR6=%016" PRIx64 " DR7=%016" PRIx64 "\n", cpu->dr[6], cpu->dr[7]);
    fprintf(to, "EFER=%016" PRIx64 "\n", cpu->efer);
    fprintf(to, "FCW=%04x FSW=%04x [ST=%u] FTW=%02x MXCSR=%08x\n", cpu->x87.control,
            cpu->x87.status | cpu->x87.top << 11, cpu->x87.top, cpu->x87.valid, cpu->mxcsr);
    for (unsigned i = 0; i < 16; i++)
        fprintf(to, "XMM%02u=%016" PRIx64 "%016" PRIx64 "%c", i, cpu->vreg[i].u64[1], cpu->vreg[i].u64[0],
                i % 2 ? '\n' : ' ');
    fprintf(to, "instructions=%" PRIu64 " blocks=%" PRIu64 " faults=%" PRIu64 " interrupts=%" PRIu64 "\n",
            cpu->instructions, cpu->stat_blocks, cpu->stat_faults, cpu->stat_interrupts);
}
