// Runs two vCPUs to equal instruction counts, compares them, and narrows down where they part.
#include "translate/lockstep.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "cpu/cc.h"

struct report {
    char *text;
    size_t size;
    bool equal;
};

static void compare(struct report *r, const char *name, uint64_t a, uint64_t b)
{
    size_t used = strlen(r->text);
    if (a == b)
        return;
    r->equal = false;
    if (used + 1 < r->size)
        snprintf(r->text + used, r->size - used, "%s%s %" PRIx64 " / %" PRIx64, used ? "  " : "", name, a, b);
}

static void compare_registers(struct report *r, const struct cpu *a, const struct cpu *b)
{
    static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8",
                                        "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "rip"};
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
        compare(r, names[i], a->var[i], b->var[i]);
    compare(r, "rflags", cpu_rflags(a), cpu_rflags(b));
    compare(r, "instructions", a->instructions, b->instructions);
    compare(r, "activity", a->activity, b->activity);
    compare(r, "shadow", a->shadow, b->shadow);
    compare(r, "cpl", a->cpl, b->cpl);
    compare(r, "mode", a->mode, b->mode);
}

static void compare_segments(struct report *r, const struct cpu *a, const struct cpu *b)
{
    static const char *const names[SEG_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};
    char name[16];
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        compare(r, names[i], a->segment[i].selector, b->segment[i].selector);
        snprintf(name, sizeof name, "%s.base", names[i]);
        compare(r, name, cpu_segment_base(a, i), cpu_segment_base(b, i));
        snprintf(name, sizeof name, "%s.limit", names[i]);
        compare(r, name, a->segment[i].limit, b->segment[i].limit);
        snprintf(name, sizeof name, "%s.rights", names[i]);
        compare(r, name, a->segment[i].rights, b->segment[i].rights);
    }
    compare(r, "gdtr", a->gdt.base, b->gdt.base);
    compare(r, "idtr", a->idt.base, b->idt.base);
}

static void compare_system(struct report *r, const struct cpu *a, const struct cpu *b)
{
    compare(r, "cr0", a->cr0, b->cr0);
    compare(r, "cr2", a->cr2, b->cr2);
    compare(r, "cr3", a->cr3, b->cr3);
    compare(r, "cr4", a->cr4, b->cr4);
    compare(r, "efer", a->efer, b->efer);
    compare(r, "star", a->star, b->star);
    compare(r, "lstar", a->lstar, b->lstar);
    compare(r, "kernel_gs_base", a->kernel_gs_base, b->kernel_gs_base);
    compare(r, "tsc_adjust", a->tsc_adjust, b->tsc_adjust);
    compare(r, "dr6", a->dr[6], b->dr[6]);
    compare(r, "dr7", a->dr[7], b->dr[7]);
    compare(r, "in_smm", a->in_smm, b->in_smm);
    compare(r, "nmi_blocked", a->nmi_blocked, b->nmi_blocked);
}

static void compare_float(struct report *r, const struct cpu *a, const struct cpu *b)
{
    char name[16];
    for (unsigned i = 0; i < 16; i++) {
        snprintf(name, sizeof name, "xmm%u.low", i);
        compare(r, name, a->vreg[i].u64[0], b->vreg[i].u64[0]);
        snprintf(name, sizeof name, "xmm%u.high", i);
        compare(r, name, a->vreg[i].u64[1], b->vreg[i].u64[1]);
    }
    for (unsigned i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "fpr%u", i);
        compare(r, name, a->x87.reg[i].significand, b->x87.reg[i].significand);
        compare(r, name, a->x87.reg[i].sign_exponent, b->x87.reg[i].sign_exponent);
    }
    compare(r, "mxcsr", a->mxcsr, b->mxcsr);
    compare(r, "fcw", a->x87.control, b->x87.control);
    compare(r, "fsw", a->x87.status, b->x87.status);
    compare(r, "top", a->x87.top, b->x87.top);
    compare(r, "valid", a->x87.valid, b->x87.valid);
}

static void compare_memory(struct report *r, const struct memory *a, const struct memory *b)
{
    uint64_t size = a->size < b->size ? a->size : b->size;
    char name[40];
    compare(r, "memory size", a->size, b->size);
    for (uint64_t page = 0; page < size; page += PAGE_SIZE) {
        uint64_t at = page;
        if (!memcmp(a->host + page, b->host + page, PAGE_SIZE))
            continue;
        while (a->host[at] == b->host[at])
            at++;
        snprintf(name, sizeof name, "memory file at %" PRIx64, at);
        compare(r, name, a->host[at], b->host[at]);
        return;
    }
}

bool lockstep_compare(const struct cpu *a, const struct cpu *b, bool memory, char *text, size_t size)
{
    struct report r = {.text = text, .size = size, .equal = true};
    compare_registers(&r, a, b);
    compare_segments(&r, a, b);
    compare_system(&r, a, b);
    compare_float(&r, a, b);
    if (memory && a->memory->memory && b->memory->memory)
        compare_memory(&r, a->memory->memory, b->memory->memory);
    return r.equal;
}

static bool run_side(struct lockstep_side *side, uint64_t instructions)
{
    enum engine_stop stop;
    if (side->run_to)
        return side->run_to(side->opaque, instructions);
    side->cpu->instruction_limit = instructions;
    stop = side->engine->run(side->state, side->cpu);
    return stop == STOP_DEADLINE;
}

/// Both to `instructions`; *equal says whether they agree there. False: both have ended.
static bool run_both(struct lockstep_side *a, struct lockstep_side *b, uint64_t instructions, bool memory, bool *equal,
                     struct lockstep_result *result)
{
    bool more = run_side(a, instructions), more_b = run_side(b, instructions);
    result->text[0] = 0;
    *equal = lockstep_compare(a->cpu, b->cpu, memory, result->text, sizeof result->text);
    if (more != more_b) {
        snprintf(result->text, sizeof result->text, "%s came to an end, %s did not", more ? b->name : a->name,
                 more ? a->name : b->name);
        *equal = false;
    }
    return more && more_b;
}

static bool restart(struct lockstep_side *a, struct lockstep_side *b, struct error *error)
{
    return a->restart(a->opaque, error) && b->restart(b->opaque, error);
}

/// Halves (equal, different] until one instruction is left. Every probe runs from the start, so that blocks are
/// translated as they were.
static bool narrow(struct lockstep_side *a, struct lockstep_side *b, bool memory, struct lockstep_result *result,
                   struct error *error)
{
    while (result->different_at - result->instructions > 1) {
        uint64_t middle = result->instructions + (result->different_at - result->instructions) / 2;
        struct lockstep_result probe = *result;
        bool equal;
        if (!restart(a, b, error))
            return false;
        run_both(a, b, middle, memory, &equal, &probe);
        if (equal) {
            result->instructions = middle;
            result->rip = a->cpu->var[VAR_RIP];
        } else {
            result->different_at = middle;
            memcpy(result->text, probe.text, sizeof result->text);
        }
    }
    return true;
}

bool lockstep_run(struct lockstep_side *a, struct lockstep_side *b, uint64_t step, uint64_t until, bool memory,
                  struct lockstep_result *result, struct error *error)
{
    bool equal, more = true;
    if (step == 0)
        return error_set(error, "lockstep: a step of 0 instructions leads nowhere");
    memset(result, 0, sizeof *result);
    result->instructions = a->cpu->instructions;
    result->rip = a->cpu->var[VAR_RIP];
    if (!lockstep_compare(a->cpu, b->cpu, memory, result->text, sizeof result->text))
        return error_set(error, "lockstep: the two differ before they run: %s", result->text);
    while (more && result->instructions < until) {
        uint64_t left = until - result->instructions, next = result->instructions + (left < step ? left : step);
        more = run_both(a, b, next, memory, &equal, result);
        if (!equal) {
            result->diverged = true;
            result->different_at = next;
            return !a->restart || !b->restart || narrow(a, b, memory, result, error);
        }
        result->instructions = a->cpu->instructions;
        result->rip = a->cpu->var[VAR_RIP];
    }
    result->ended = !more;
    return true;
}
