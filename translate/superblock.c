// Which blocks one piece of host code holds: the block that is translated and those that follow it likely.
#include <string.h>

#include "base/bits.h"
#include "cpu/block.h"
#include "translate/driver.h"

#define ADOPT_USES 5 // of a guest register without a place that earn it one
#define ADOPT_LAST_USES 10
#define SUPERBLOCK_UOPS 320 // TRANSLATION_MAX_EXITS bounds it too

struct part {
    struct block *block;
    unsigned exit; // that leads to the next part
};

/// Where exit `which` of a block goes when that is known and in the block's page, as a place in the memory file;
/// UINT64_MAX: not.
static uint64_t exit_backing(const struct block *block, const struct uop *exit, unsigned which)
{
    int64_t offset = (int64_t)(block->backing & ~PAGE_MASK) + (which ? (int32_t)exit->param : exit->imm);
    if (exit->width != mode_code_width(block->mode) || offset < 0 || offset >= (int64_t)PAGE_SIZE)
        return UINT64_MAX;
    return (block->backing & PAGE_MASK) + (uint64_t)offset;
}

/// The key's IP of the place `backing` in the block's page.
static uint64_t ip_at(const struct block *block, uint64_t backing)
{
    return block->mode & MODE_FLAT ? 0 : block->ip + (backing - block->backing);
}

/// The block behind exit `which`, if it was run before and can be a part.
static struct block *successor(const struct translation *t, const struct block *last, unsigned which)
{
    uint64_t backing = exit_backing(last, &last->uops[last->uop_count - 1], which);
    struct block *next = backing == UINT64_MAX
                             ? NULL
                             : block_peek(t->cpu->blocks, backing, last->mode & ~MODE_UNSHARED, ip_at(last, backing));
    return next && translate_worth(t->backend, next) ? next : NULL;
}

static bool is_part(const struct block *const *parts, unsigned count, const struct block *block)
{
    for (unsigned i = 0; i < count; i++) {
        if (parts[i] == block)
            return true;
    }
    return false;
}

/// How a superblock goes on: along a jump, or along the one way of a branch that was ever taken. Not where it is a
/// loop.
static void choose_next(struct translation *t, const struct block *const *parts, unsigned count)
{
    const struct block *last = parts[count - 1];
    struct block *taken, *other;
    t->next = NULL;
    if (count == SUPERBLOCK_PARTS || !t->chained || !mode_links(last->mode) || last->crosses || last->has_call)
        return;
    switch (last->uops[last->uop_count - 1].op) {
    case UOP_EXIT:
        t->next = successor(t, last, 0);
        t->next_exit = 0;
        break;
    case UOP_EXIT_IF:
    case UOP_EXIT_IF_ZERO:
        taken = successor(t, last, 0);
        other = successor(t, last, 1);
        if (!taken == !other)
            return;
        t->next = taken ? taken : other;
        t->next_exit = taken ? 0 : 1;
        break;
    default:
        break;
    }
    if (t->next && is_part(parts, count, t->next))
        t->next = NULL;
}

/// translation.killers for a superblock that ends with `last`.
static unsigned count_killers(const struct translation *t, const struct block *last)
{
    const struct uop *exit = &last->uops[last->uop_count - 1];
    unsigned ways = exit->op == UOP_EXIT ? 1 : 2, killers = 0;
    if (!t->chained || t->counting || !mode_links(last->mode) || last->crosses || last->has_call ||
        (exit->op != UOP_EXIT && exit->op != UOP_EXIT_IF))
        return 0;
    for (unsigned way = 0; way < ways; way++) {
        uint64_t backing = exit_backing(last, exit, way);
        const struct block *next =
            backing == UINT64_MAX
                ? NULL
                : block_peek(t->cpu->blocks, backing, last->mode & ~MODE_UNSHARED, ip_at(last, backing));
        killers += next && pass_kills_flags(next->uops, next->uop_count, t->backend->supported);
    }
    return killers == ways ? 2 : killers;
}

/// The parts, after their passes. Returns how many.
static unsigned choose_parts(struct translation *t, struct part *parts, const struct translate_hooks *hooks)
{
    const struct block *blocks[SUPERBLOCK_PARTS];
    unsigned count = 0, uops = 0;
    passes_start(&t->numbering);
    for (struct block *block = t->head; block; block = t->next) {
        struct part *part = &parts[count];
        blocks[count] = t->block = block;
        t->pass = &t->passes[count++];
        uops += block->uop_count;
        choose_next(t, blocks, count);
        if (t->next && uops + t->next->uop_count > SUPERBLOCK_UOPS)
            t->next = NULL;
        *part = (struct part){.block = block, .exit = t->next_exit};
        t->pass->stays = t->backend->stays;
        t->pass->translation = t;
        passes_run(t->pass, block, t->backend->supported, &t->numbering);
        if (UNLIKELY(hooks->before != NULL))
            hooks->before(hooks->opaque, block, t->pass);
    }
    // With exact counts a part may be left before its first uop.
    for (unsigned i = count; i-- > 1 && !t->counting;) {
        if (!t->passes[i].flags_before)
            pass_flags_die_behind(&t->passes[i - 1]);
    }
    return count;
}

/// Guest registers that live in memory get a place where they are used much and others are not.
static void adopt(struct translation *t, unsigned count, uint32_t all_used)
{
    unsigned uses[VAR_R15 + 1] = {0}, writes[VAR_R15 + 1] = {0};
    uint32_t without = all_used & ~t->registers.pinned;
    if (!without)
        return;
    for (uint32_t left = without; left; left &= left - 1) {
        unsigned var = (unsigned)__builtin_ctz(left);
        for (unsigned i = 0; i < count; i++) {
            writes[var] += t->passes[i].variables[var].writes;
            uses[var] += t->passes[i].variables[var].uses + t->passes[i].variables[var].writes;
        }
    }
    for (;;) {
        unsigned most = VAR_RAX, places = (unsigned)__builtin_popcount(t->registers.lasting & ~t->registers.borrowed);
        for (unsigned var = VAR_RAX; var <= VAR_R15; var++)
            most = uses[var] > uses[most] ? var : most;
        // The last place is for temporaries, mostly.
        if (uses[most] < (places > 1 ? ADOPT_USES : ADOPT_LAST_USES) ||
            !registers_adopt(&t->registers, t->backend->file, &t->emit, most, writes[most] > 0))
            return;
        uses[most] = 0;
    }
}

/// The state that the code behind the join was made for.
static bool joins(const struct translation *t)
{
    const struct loop_join *join = &t->join;
    return t->index == join->index + 1 && registers_same(&t->registers, &join->registers) &&
           pending_flags_equal(&t->pending, &join->pending) && (t->host_flags & join->host_flags) == join->host_flags &&
           (t->segments_checked & join->segments_checked) == join->segments_checked &&
           (t->resident & join->resident) == join->resident && !t->pointers.pending;
}

/// From the end back to the start, which t->loops says: the uops up to where all flags are new once more, then on
/// behind them, as if part `second` followed. So flags that are pending at the end are never written.
static void close_loop(struct translation *t, unsigned count, struct block *second, uint32_t all_used)
{
    const struct registers registers = t->registers;
    const struct pending_flags pending = t->pending;
    const struct emit emit = t->emit;
    struct block *last = t->block;
    unsigned exits = t->exit_count;
    t->block = t->head;
    t->backend->loop_start(t);
    t->pass = &t->passes[0];
    registers_start(&t->registers, t->backend->file, all_used);
    registers_next(&t->registers, t->backend->file, t->pass->guest_used);
    adopt(t, count, all_used);
    t->host_flags = t->segments_checked = 0; // what is resident stays so
    t->recipe = -1;
    t->next = second;
    translate_until_join(t);
    t->next = NULL;
    if (joins(t)) {
        t->backend->loop_end(t, t->join.at);
        return;
    }
    t->emit = emit;
    t->exit_count = exits;
    t->registers = registers;
    t->pending = pending;
    t->block = last;
    t->loop = NULL;
    t->recipe = -1;
    t->backend->loop_end(t, NULL);
}

void superblock_translate(struct translation *t, const struct translate_hooks *hooks,
                          struct translate_statistics *statistics)
{
    struct part parts[SUPERBLOCK_PARTS];
    unsigned count = choose_parts(t, parts, hooks);
    uint32_t all_used = 0;

    for (unsigned i = 0; i < count; i++)
        all_used |= t->passes[i].guest_used;
    registers_start(&t->registers, t->backend->file, all_used);
    for (unsigned i = 0; i < count; i++) {
        t->block = parts[i].block;
        t->pass = &t->passes[i];
        t->next = i + 1 < count ? parts[i + 1].block : NULL;
        t->next_exit = parts[i].exit;
        t->killers = t->next ? 0 : count_killers(t, t->block);
        registers_next(&t->registers, t->backend->file, t->pass->guest_used);
        if (i == 0) {
            t->backend->block_start(t);
            adopt(t, count, all_used);
        } else {
            t->block->in_superblock = true;
            t->backend->part_start(t);
        }
        statistics->translated_instructions += t->block->insn_count;
        if (!translate_uops(t))
            break;
        if (t->loops)
            close_loop(t, count, count > 1 ? parts[1].block : NULL, all_used);
    }
    t->head->is_superblock = count > 1;
}
