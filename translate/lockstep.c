// Runs two vCPUs to equal instruction counts, compares them, and narrows down where they part. See lockstep.h.
#include "translate/lockstep.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "base/host.h"
#include "cpu/block.h"
#include "cpu/cc.h"

struct report {
    char *text;
    size_t size;
    bool equal;
};

// ---- comparing ----------------------------------------------------------------------------------------------------
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
    static const char *const bases[] = {"es.base", "cs.base", "ss.base", "ds.base", "fs.base", "gs.base"};
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
        compare(r, names[i], a->var[i], b->var[i]);
    compare(r, "rflags", cpu_rflags(a), cpu_rflags(b));
    for (unsigned i = 0; i < ARRAY_SIZE(bases); i++)
        compare(r, bases[i], a->var[VAR_ES_BASE + i], b->var[VAR_ES_BASE + i]);
    compare(r, "instructions", a->instructions, b->instructions);
    compare(r, "mode", a->mode, b->mode);
}

static void compare_bytes(struct report *r, const char *name, const uint8_t *a, const uint8_t *b, uint32_t size)
{
    char part[160];
    for (uint32_t i = 0; i < size; i += 8) {
        uint64_t x = 0, y = 0;
        memcpy(&x, a + i, size - i < 8 ? size - i : 8);
        memcpy(&y, b + i, size - i < 8 ? size - i : 8);
        snprintf(part, sizeof part, "%s+%x", name, i);
        compare(r, part, x, y);
    }
}

static void compare_table(struct report *r, const struct state_table *table, const uint8_t *a, const uint8_t *b,
                          const char *prefix);

static void compare_field(struct report *r, const struct state_field *field, const uint8_t *a, const uint8_t *b,
                          const char *prefix)
{
    char name[128];
    for (uint32_t n = 0; n < field->count; n++) {
        size_t at = (size_t)n * field->size;
        snprintf(name, sizeof name, field->count > 1 ? "%s%s[%u]" : "%s%s", prefix, field->name, n);
        if (field->type == STATE_STRUCT) {
            strncat(name, ".", sizeof name - strlen(name) - 1);
            compare_table(r, field->nested, a + at, b + at, name);
        } else if (field->type == STATE_BYTES) {
            compare_bytes(r, name, a + at, b + at, field->size);
        } else if (field->type == STATE_UNSIGNED || field->type == STATE_BOOL) {
            compare(r, name, state_integer_get(a + at, field->size), state_integer_get(b + at, field->size));
        }
    }
}

/// Fields whose bytes are equal, nearly all, cost no more than that.
static void compare_table(struct report *r, const struct state_table *table, const uint8_t *a, const uint8_t *b,
                          const char *prefix)
{
    for (uint32_t i = 0; i < table->field_count; i++) {
        const struct state_field *field = &table->fields[i];
        if (field->type != STATE_TRANSIENT &&
            memcmp(a + field->offset, b + field->offset, (size_t)field->size * field->count))
            compare_field(r, field, a + field->offset, b + field->offset, prefix);
    }
}

/// All but var[], where the recipe of the flags may differ that gives equal flags, and requests to the engine.
static void compare_rest(struct report *r, const struct cpu *a, const struct cpu *b)
{
    const uint8_t *x = (const uint8_t *)a, *y = (const uint8_t *)b;
    for (uint32_t i = 0; i < cpu_state_table.field_count; i++) {
        const struct state_field *field = &cpu_state_table.fields[i];
        if (field->type == STATE_TRANSIENT || field->offset == offsetof(struct cpu, var) ||
            field->offset == offsetof(struct cpu, pending) || field->offset == offsetof(struct cpu, instructions))
            continue;
        if (memcmp(x + field->offset, y + field->offset, (size_t)field->size * field->count))
            compare_field(r, field, x + field->offset, y + field->offset, "");
    }
    compare(r, "pending", atomic_load(&a->pending) & ~(PENDING_STOP | PENDING_MAP),
            atomic_load(&b->pending) & ~(PENDING_STOP | PENDING_MAP));
}

bool lockstep_compare(const struct cpu *a, const struct cpu *b, char *text, size_t size)
{
    struct report r = {.text = text, .size = size, .equal = true};
    compare_registers(&r, a, b);
    compare_rest(&r, a, b);
    return r.equal;
}

static void compare_page(struct report *r, const struct memory *a, const struct memory *b, uint64_t at)
{
    char name[48];
    for (unsigned i = 0; i < PAGE_SIZE; i += 8) {
        uint64_t x, y;
        memcpy(&x, a->host + at + i, 8);
        memcpy(&y, b->host + at + i, 8);
        snprintf(name, sizeof name, "memory file at %" PRIx64, at + i);
        compare(r, name, x, y);
    }
}

/// Pages of `from` that were touched, in both.
static void compare_touched(struct report *r, const struct memory *a, const struct memory *b, const struct memory *from)
{
    uint64_t start, end = 0, size = a->size < b->size ? a->size : b->size;
    while (r->equal && host_memory_file_find(from->file, end, size, &start, &end)) {
        start &= PAGE_MASK;
        if (!memcmp(a->host + start, b->host + start, end - start))
            continue;
        for (uint64_t at = start; at < end; at += PAGE_SIZE)
            if (memcmp(a->host + at, b->host + at, PAGE_SIZE))
                compare_page(r, a, b, at);
    }
}

bool lockstep_compare_memory(const struct memory *a, const struct memory *b, char *text, size_t size)
{
    struct report r = {.text = text, .size = size, .equal = true};
    compare(&r, "memory size", a->size, b->size);
    compare_touched(&r, a, b, a);
    compare_touched(&r, a, b, b);
    return r.equal;
}

// ---- running ------------------------------------------------------------------------------------------------------
struct lockstep {
    struct lockstep_side *a, *b;
    const struct lockstep_options *options;
    struct lockstep_result *result;
};

static bool run_side(struct lockstep_side *side, uint64_t instructions)
{
    if (side->run_to)
        return side->run_to(side->opaque, instructions);
    side->cpu->instruction_limit = instructions;
    return side->engine->run(side->state, side->cpu) == STOP_DEADLINE;
}

static bool everything_equal(const struct lockstep *l)
{
    struct lockstep_result *result = l->result;
    if (l->options->same)
        return l->options->same(l->options->opaque, result->text, sizeof result->text);
    return lockstep_compare_memory(l->a->cpu->memory->memory, l->b->cpu->memory->memory, result->text,
                                   sizeof result->text);
}

/// Both to `instructions`; *equal says whether they agree there. False: both have ended.
static bool run_both(const struct lockstep *l, uint64_t instructions, bool everything, bool *equal)
{
    struct lockstep_result *result = l->result;
    bool more = run_side(l->a, instructions), more_b = run_side(l->b, instructions);
    result->text[0] = 0;
    result->comparisons++;
    *equal = lockstep_compare(l->a->cpu, l->b->cpu, result->text, sizeof result->text);
    if (more != more_b) {
        size_t used = strlen(result->text);
        snprintf(result->text + used, sizeof result->text - used, "%s%s came to an end, %s did not", used ? "  " : "",
                 more ? l->b->name : l->a->name, more ? l->a->name : l->b->name);
        *equal = false;
    }
    if (*equal && (everything || !more) && l->options->every)
        *equal = everything_equal(l);
    return more && more_b;
}

/// The length of the block that side a comes to; 1 where something else may come first.
static uint64_t next_block(struct cpu *cpu)
{
    struct block *block;
    uint64_t cr2 = cpu->cr2;
    if (atomic_load(&cpu->exit_request) || cpu->shadow || cpu->activity != ACTIVITY_RUN)
        return 1;
    block = block_find(cpu, 0);
    if (block)
        return block->insn_count;
    cpu->fault.pending = false; // found again when it runs
    cpu->cr2 = cr2;
    return 1;
}

static uint64_t next_count(const struct lockstep *l, uint64_t count, bool *everything)
{
    const struct lockstep_options *o = l->options;
    uint64_t next = count + (o->step ? o->step : next_block(l->a->cpu)), all;
    if (next > o->until)
        next = o->until;
    *everything = next == o->until;
    if (!o->every)
        return next;
    all = (count / o->every + 1) * o->every;
    if (next >= all) {
        // Not cut in block mode: a block would be.
        next = o->step ? all : next;
        *everything = true;
    }
    return next;
}

static bool restore(const struct lockstep *l, enum lockstep_slot slot, struct error *error)
{
    return l->a->restore(l->a->opaque, slot, error) && l->b->restore(l->b->opaque, slot, error);
}

static bool save(const struct lockstep *l, enum lockstep_slot slot, struct error *error)
{
    return l->a->save(l->a->opaque, slot, error) && l->b->save(l->b->opaque, slot, error);
}

/// Halves (equal, different] until one instruction is left. Every probe runs from the slot, so that blocks are
/// translated as they were. *again: the difference is there at all.
static bool narrow_from(const struct lockstep *l, enum lockstep_slot slot, bool *again, struct error *error)
{
    struct lockstep_result *result = l->result, before = *result;
    uint64_t low, high = result->different_at;
    bool equal;
    if (!restore(l, slot, error))
        return false;
    low = l->a->cpu->instructions;
    result->rip = l->a->cpu->var[VAR_RIP];
    run_both(l, high, true, &equal);
    *again = !equal;
    if (equal) {
        *result = before;
        return true;
    }
    memcpy(before.text, result->text, sizeof before.text);
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (!restore(l, slot, error))
            return false;
        run_both(l, middle, true, &equal);
        if (equal) {
            low = middle;
            result->rip = l->a->cpu->var[VAR_RIP];
        } else {
            high = middle;
            memcpy(before.text, result->text, sizeof before.text);
        }
    }
    memcpy(result->text, before.text, sizeof result->text);
    result->instructions = low;
    result->different_at = high;
    result->narrowed = true;
    result->slot = slot;
    return true;
}

static bool narrow(const struct lockstep *l, bool recent, struct error *error)
{
    bool again = false;
    if (!l->a->restore || !l->b->restore)
        return true;
    if (recent && !narrow_from(l, LOCKSTEP_RECENT, &again, error))
        return false;
    return again || narrow_from(l, LOCKSTEP_START, &again, error);
}

bool lockstep_run(struct lockstep_side *a, struct lockstep_side *b, const struct lockstep_options *options,
                  struct lockstep_result *result, struct error *error)
{
    bool equal, more = true, everything, recent = false, can_save = a->save && b->save;
    uint64_t count = a->cpu->instructions, saved = count;
    memset(result, 0, sizeof *result);
    struct lockstep l = {a, b, options, result};
    result->instructions = count;
    result->rip = a->cpu->var[VAR_RIP];
    if (!lockstep_compare(a->cpu, b->cpu, result->text, sizeof result->text))
        return error_set(error, "the two differ before they run: %s", result->text);
    if (can_save && !save(&l, LOCKSTEP_START, error))
        return false;
    while (more && count < options->until) {
        uint64_t next = next_count(&l, count, &everything);
        more = run_both(&l, next, everything, &equal);
        if (!equal) {
            result->diverged = true;
            result->different_at = next;
            return narrow(&l, recent, error);
        }
        count = a->cpu->instructions;
        if (!everything && options->every)
            continue;
        result->instructions = count;
        result->rip = a->cpu->var[VAR_RIP];
        if (options->progress)
            options->progress(options->opaque, count);
        if (more && can_save && options->save_every && count - saved >= options->save_every) {
            if (!save(&l, LOCKSTEP_RECENT, error))
                return false;
            recent = true;
            saved = count;
        }
    }
    result->instructions = count;
    result->rip = a->cpu->var[VAR_RIP];
    result->ended = !more;
    return true;
}
