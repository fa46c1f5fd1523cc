// Breakpoints of the debug registers, and the traps between instructions (SDM vol. 3 sec. 17.2, 17.3). The MMU tells of
// accesses to pages with data breakpoints, run.c asks before instructions while code breakpoints are there.
#include "cpu/debug.h"

#include "cpu/block.h"
#include "cpu/privileged.h"
#include "cpu/run.h"

/// What a debug register breaks on: the R/W field of DR7.
enum { BREAK_CODE, BREAK_WRITE, BREAK_PORT, BREAK_ACCESS };

static unsigned break_kind(const struct cpu *cpu, unsigned n)
{
    return cpu->dr[7] >> (16 + 4 * n) & 3;
}

static bool break_enabled(const struct cpu *cpu, unsigned n)
{
    return cpu->dr[7] >> 2 * n & 3; // L or G
}

/// Bytes that it covers; the address is aligned to them.
static unsigned break_bytes(const struct cpu *cpu, unsigned n)
{
    static const uint8_t bytes[4] = {1, 2, 8, 4};
    return bytes[cpu->dr[7] >> (18 + 4 * n) & 3];
}

static bool break_overlaps(const struct cpu *cpu, unsigned n, uint64_t first, unsigned size)
{
    uint64_t bytes = break_bytes(cpu, n), start = cpu->dr[n] & ~(bytes - 1);
    return first <= start + bytes - 1 && start <= first + size - 1;
}

void debug_update(struct cpu *cpu)
{
    struct mmu_watch watch[MMU_WATCHES] = {0};
    uint8_t code = 0, ports = 0;
    bool code_before = cpu->code_breakpoints != 0;

    for (unsigned n = 0; n < 4; n++) {
        if (!break_enabled(cpu, n))
            continue;
        watch[n].page = cpu->dr[n] & PAGE_MASK;
        switch (break_kind(cpu, n)) {
        case BREAK_CODE:
            watch[n].kinds = 1u << MMU_EXECUTE;
            code |= (uint8_t)(1u << n);
            break;
        case BREAK_WRITE:
            watch[n].kinds = 1u << MMU_WRITE;
            break;
        case BREAK_ACCESS:
            watch[n].kinds = 1u << MMU_READ | 1u << MMU_WRITE;
            break;
        default:
            ports |= (uint8_t)(1u << n);
        }
    }
    cpu->code_breakpoints = code;
    cpu->port_breakpoints = ports;
    mmu_set_watches(&cpu->mmu, watch);
    if (code || code_before)
        cpu_drop_jump_cache(cpu);
}

void debug_trap(struct cpu *cpu, uint64_t bits)
{
    cpu->debug_traps |= (uint32_t)bits;
    cpu_request_poll(cpu);
}

/// DR6 as a debug exception leaves it: the breakpoints' bits are those of this one, the others stay until software
/// clears them.
static void set_status(struct cpu *cpu, uint64_t bits)
{
    cpu->dr[6] = (cpu->dr[6] & ~(uint64_t)DR6_BREAKPOINTS) | (bits & DR6_KNOWN);
}

void debug_deliver(struct cpu *cpu)
{
    uint64_t bits = cpu->debug_traps;
    cpu->debug_traps = 0;
    cpu->activity = ACTIVITY_RUN; // a trap after HLT wakes
    debug_fault(cpu, bits);
    run_deliver_fault(cpu);
}

void debug_fault(struct cpu *cpu, uint64_t bits)
{
    set_status(cpu, bits);
    cpu_raise(cpu, VECTOR_DB);
}

bool debug_before(struct cpu *cpu, bool resume, uint32_t *extra_mode)
{
    uint64_t linear = block_linear(cpu), bits = 0;
    bool hit = false;

    for (unsigned n = 0; n < 4; n++) {
        if (break_kind(cpu, n) != BREAK_CODE)
            continue;
        if (break_enabled(cpu, n) && !((cpu->dr[n] ^ linear) & PAGE_MASK))
            *extra_mode |= MODE_ONE;
        if (cpu->dr[n] == linear) {
            bits |= BIT(n);
            hit |= break_enabled(cpu, n);
        }
    }
    if (!hit || resume)
        return true;
    debug_fault(cpu, bits);
    return false;
}

bool debug_watched(void *opaque, enum mmu_access kind, uint64_t linear, unsigned size)
{
    struct cpu *cpu = opaque;
    uint64_t bits = 0;
    bool hit = false;

    for (unsigned n = 0; n < 4; n++) {
        unsigned rw = break_kind(cpu, n);
        if ((rw == BREAK_ACCESS || (rw == BREAK_WRITE && kind == MMU_WRITE)) && break_overlaps(cpu, n, linear, size)) {
            bits |= BIT(n); // of those that are not enabled, too, when one is
            hit |= break_enabled(cpu, n);
        }
    }
    if (!hit)
        return false;
    debug_trap(cpu, bits);
    cpu->leave |= cpu->running != NULL;
    return true;
}

void debug_port(struct cpu *cpu, uint16_t port, unsigned bytes)
{
    uint64_t bits = 0;
    bool hit = false;

    if (!(cpu->cr4 & CR4_DE))
        return;
    for (unsigned n = 0; n < 4; n++) {
        if (break_kind(cpu, n) == BREAK_PORT && break_overlaps(cpu, n, port, bytes)) {
            bits |= BIT(n);
            hit |= break_enabled(cpu, n);
        }
    }
    if (!hit)
        return;
    debug_trap(cpu, bits);
    cpu->leave |= cpu->running != NULL;
}

// ---- Single-step on branches ------------------------------------------------------------------------------------

/// Mnemonics of what counts as a branch. REP strings and the like that end blocks do not.
static bool is_branch(const char *mnemonic)
{
    static const char *const branches[] = {"call", "lcall", "ret",    "retf",     "iret",    "loop",
                                           "int",  "into",  "sysret", "sysenter", "sysexit", "syscall"};
    if (*mnemonic == '@')
        mnemonic++;
    if (*mnemonic == 'j' || !strncmp(mnemonic, "ljmp", 4))
        return true;
    for (unsigned i = 0; i < ARRAY_SIZE(branches); i++) {
        if (!strncmp(mnemonic, branches[i], strlen(branches[i])))
            return true;
    }
    return false;
}

bool debug_may_branch(struct cpu *cpu, uint64_t *next_rip)
{
    uint8_t bytes[INSN_MAX_LENGTH];
    unsigned count = 0;
    struct insn insn;
    uint64_t linear = block_linear(cpu);

    *next_rip = UINT64_MAX;
    while (count < sizeof bytes && cpu_debug_read(cpu, linear + count, bytes + count, 1))
        count++;
    if (decode(block_cache_rows(cpu->blocks), cpu->model, cpu->mode, bytes, count, &insn) != DECODE_OK)
        return false; // it will fault, or comes from a device
    if (!is_branch(insn.row->mnemonic))
        return false;
    // A conditional one is a branch when it goes elsewhere.
    if (strcmp(insn.row->mnemonic, "jmp") != 0 && strncmp(insn.row->mnemonic, "call", 4) != 0)
        *next_rip = cut_bytes(cpu->var[VAR_RIP] + insn.length, 1u << mode_code_width(cpu->mode));
    return true;
}
