// Which blocks one piece of host code holds: the block that is translated and those that follow it likely.
#include <string.h>

#include "base/bits.h"
#include "cpu/block_table.h"
#include "translate/driver.h"

#define ADOPT_USES 5 // of a guest register without a place that earn it one
#define ADOPT_LAST_USES 10
#define SUPERBLOCK_UOPS 320 // TRANSLATION_MAX_EXITS bounds it too
#define TURN_UOPS 120       // of a loop that is translated twice

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
    const struct uop exit = block_exit(last);
    uint64_t backing = exit_backing(last, &exit, which);
    struct block *next = backing == UINT64_MAX
                             ? NULL
                             : block_peek(t->cpu->blocks, backing, last->mode & ~MODE_UNSHARED, ip_at(last, backing));
    return next && !next->place_matters && translate_worth(t->backend, t->cpu, next) ? next : NULL;
}

/// What the search for the blocks behind the last exit reads is fetched into the host's caches.
static void expect_successors(const struct translation *t, const struct block *block)
{
    const struct uop exit = block_exit(block);
    unsigned ways = exit.op == UOP_EXIT ? 1 : exit.op == UOP_EXIT_IF || exit.op == UOP_EXIT_IF_ZERO ? 2 : 0;
    for (unsigned way = 0; way < ways; way++) {
        uint64_t backing = exit_backing(block, &exit, way);
        if (backing != UINT64_MAX)
            block_table_fetch(block_cache_table(t->cpu->blocks), backing, block->mode & ~MODE_UNSHARED);
    }
}

static bool is_part(const struct block *const *parts, unsigned count, const struct block *block)
{
    for (unsigned i = 0; i < count; i++) {
        if (parts[i] == block)
            return true;
    }
    return false;
}

/// Host code that is made anew because its jump goes to many places keeps its parts, though by now the other ways of
/// their branches may have been taken. 1 + the exit that leads on from a part; 0: not known.
static unsigned known_way(const struct block *head, unsigned part)
{
    return head->many_targets ? head->ways >> 2 * part & 3u : 0;
}

/// How a superblock goes on: along a jump, or along the one way of a branch that was ever taken. Not where it is a
/// loop.
static void choose_next(struct translation *t, const struct block *const *parts, unsigned count)
{
    const struct block *last = parts[count - 1];
    struct block *taken, *other;
    unsigned known;
    t->next = NULL;
    if (count == SUPERBLOCK_PARTS || !t->chained || !mode_links(last->mode) || last->crosses || last->has_call)
        return;
    switch (block_exit(last).op) {
    case UOP_EXIT:
        t->next = successor(t, last, 0);
        t->next_exit = 0;
        break;
    case UOP_EXIT_IF:
    case UOP_EXIT_IF_ZERO:
        taken = successor(t, last, 0);
        other = successor(t, last, 1);
        known = known_way(t->head, count - 1);
        if (taken && other && !known)
            return;
        t->next_exit = known ? known - 1 : taken ? 0 : 1;
        t->next = t->next_exit ? other : taken;
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
    const struct uop exit = block_exit(last);
    unsigned ways = exit.op == UOP_EXIT ? 1 : 2, killers = 0;
    if (!t->chained || t->counting || !mode_links(last->mode) || last->crosses || last->has_call ||
        (exit.op != UOP_EXIT && exit.op != UOP_EXIT_IF))
        return 0;
    for (unsigned way = 0; way < ways; way++) {
        uint64_t backing = exit_backing(last, &exit, way);
        const struct block *next =
            backing == UINT64_MAX
                ? NULL
                : block_peek(t->cpu->blocks, backing, last->mode & ~MODE_UNSHARED, ip_at(last, backing));
        killers += next && pass_kills_flags(block_uops(t->cpu->blocks, next), next->uop_count, t->backend->supported);
    }
    return killers == ways ? 2 : killers;
}

/// The parts, after their passes. Returns how many.
static unsigned choose_parts(struct translation *t, struct part *parts, const struct translate_hooks *hooks)
{
    const struct block *blocks[SUPERBLOCK_PARTS];
    struct block *block = t->head;
    unsigned count = 0, uops = 0;
    passes_start(&t->numbering);
    do {
        struct part *part = &parts[count];
        blocks[count] = t->block = block;
        t->pass = &t->passes[count++];
        uops += block->uop_count;
        expect_successors(t, block);
        t->pass->stays = t->backend->stays;
        t->pass->translation = t;
        t->pass->no_guard = t->head->many_targets;
        passes_run(t->pass, block, block_uops(t->cpu->blocks, block), t->backend->supported, &t->numbering);
        choose_next(t, blocks, count);
        if (t->next && uops + t->next->uop_count > SUPERBLOCK_UOPS)
            t->next = NULL;
        *part = (struct part){.block = block, .exit = t->next_exit};
        if (UNLIKELY(hooks->before != NULL))
            hooks->before(hooks->opaque, block, t->pass);
        block = t->next;
    } while (block);
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

/// Whether the last part leads back to the start. Then every turn runs all of the parts.
static bool is_loop(const struct translation *t, const struct part *parts, unsigned count)
{
    const struct block *last = parts[count - 1].block;
    const struct uop exit = block_exit(last);
    unsigned ways = exit.op == UOP_EXIT ? 1 : 2, uops = 0;
    if (!t->chained || !mode_links(last->mode) || last->crosses ||
        (exit.op != UOP_EXIT && exit.op != UOP_EXIT_IF && exit.op != UOP_EXIT_IF_ZERO))
        return false;
    for (unsigned i = 0; i < count; i++) {
        uops += parts[i].block->uop_count;
        if (parts[i].block->has_call)
            return false;
    }
    for (unsigned way = 0; way < ways && uops <= TURN_UOPS; way++) {
        if (exit_backing(last, &exit, way) == t->head->backing)
            return true;
    }
    return false;
}

/// What a way back to the start that does not work out must not have changed.
struct end_of_turn {
    struct registers registers;
    struct pending_flags pending;
    struct emit emit;
    struct block *block, *next;
    struct pass_block *pass;
    unsigned index, exits, edges, next_exit, killers;
    uint8_t resident;
};

static struct end_of_turn keep_end(const struct translation *t)
{
    return (struct end_of_turn){.registers = t->registers,
                                .pending = t->pending,
                                .emit = t->emit,
                                .block = t->block,
                                .next = t->next,
                                .pass = t->pass,
                                .index = t->index,
                                .exits = t->exit_count,
                                .edges = t->edge_count,
                                .next_exit = t->next_exit,
                                .killers = t->killers,
                                .resident = t->resident};
}

static void restore_end(struct translation *t, const struct end_of_turn *end)
{
    t->registers = end->registers;
    t->pending = end->pending;
    t->emit = end->emit;
    t->block = end->block;
    t->next = end->next;
    t->next_exit = end->next_exit;
    t->killers = end->killers;
    t->pass = end->pass;
    t->index = end->index;
    t->exit_count = end->exits;
    t->edge_count = end->edges;
    t->resident = end->resident;
    t->loop = NULL;
    t->recipe = -1;
}

/// The part at work, and what follows.
static void enter_part(struct translation *t, const struct part *parts, unsigned count, unsigned part)
{
    t->block = parts[part].block;
    t->pass = &t->passes[part];
    t->next = part + 1 < count ? parts[part + 1].block : NULL;
    t->next_exit = parts[part].exit;
    t->killers = t->next ? 0 : count_killers(t, t->block);
}

static void start_turn(struct translation *t, const struct part *parts, unsigned count)
{
    enter_part(t, parts, count, 0);
    t->backend->loop_start(t);
    t->host_flags = t->segments_checked = 0; // what is resident stays so
    t->recipe = -1;
}

/// The way back: the uops up to where all flags are new once more, then on behind them. So flags that are pending at
/// the end are never written. `afresh`: registers are given back before. False: not possible.
static bool join_loop(struct translation *t, const struct part *parts, unsigned count, uint32_t all_used, bool afresh)
{
    const struct end_of_turn end = keep_end(t);
    const struct register_file *file = t->backend->file;
    if (!t->join.at || !t->pending.words)
        return false;
    if (afresh)
        registers_give_back(&t->registers, file, &t->emit);
    start_turn(t, parts, count);
    if (afresh)
        registers_start(&t->registers, file, all_used);
    registers_next(&t->registers, file, t->pass->guest_used);
    if (afresh)
        adopt(t, count, all_used);
    translate_until_join(t);
    if (joins(t)) {
        t->backend->loop_end(t, t->join.at);
        return true;
    }
    restore_end(t, &end);
    return false;
}

/// One turn, or what there is. False: some uop leaves for the interpreter.
static bool translate_parts(struct translation *t, const struct part *parts, unsigned count, uint32_t all_used)
{
    for (unsigned i = 0; i < count; i++) {
        enter_part(t, parts, count, i);
        registers_next(&t->registers, t->backend->file, t->pass->guest_used);
        if (i == 0 && !t->turns) {
            t->backend->block_start(t);
            adopt(t, count, all_used);
        } else if (i > 0) {
            t->block->in_superblock = true;
            t->backend->part_start(t);
        }
        if (!translate_uops(t))
            return false;
    }
    return true;
}

/// The way back: all of the loop once more, for all turns but the first, less the checks that hold for all. False: not
/// possible.
static bool repeat_loop(struct translation *t, const struct part *parts, unsigned count, uint32_t all_used)
{
    const struct end_of_turn end = keep_end(t);
    struct registers_kept registers;
    struct pending_flags pending = t->pending;
    uint8_t resident = t->resident;
    bool good;
    if (!t->holds)
        return false;
    t->turns = true;
    start_turn(t, parts, count);
    registers_next(&t->registers, t->backend->file, t->pass->guest_used);
    registers = registers_keep(&t->registers);
    t->loops = false;
    good = translate_parts(t, parts, count, all_used) && t->loops;
    t->turns = false;
    t->loops = true;
    if (good) {
        registers_next(&t->registers, t->backend->file, t->passes[0].guest_used);
        good = registers_same(&t->registers, &registers) && pending_flags_equal(&t->pending, &pending) &&
               (t->resident & resident) == resident && !t->pointers.pending;
    }
    if (good)
        t->backend->loop_end(t, t->loop);
    else
        restore_end(t, &end);
    return good;
}

/// From the end back to the start, as t->loops says.
static void close_loop(struct translation *t, const struct part *parts, unsigned count, uint32_t all_used)
{
    if (!repeat_loop(t, parts, count, all_used) && !join_loop(t, parts, count, all_used, false) &&
        !join_loop(t, parts, count, all_used, true))
        t->backend->loop_end(t, NULL);
}

void superblock_translate(struct translation *t, const struct translate_hooks *hooks,
                          struct translate_statistics *statistics)
{
    struct part parts[SUPERBLOCK_PARTS];
    unsigned count = choose_parts(t, parts, hooks);
    uint32_t all_used = 0;

    for (unsigned i = 0; i < count; i++) {
        all_used |= t->passes[i].guest_used;
        statistics->translated_instructions += parts[i].block->insn_count;
    }
    t->holds = is_loop(t, parts, count) ? pass_hold(t->passes, count, &t->numbering) : 0;
    registers_start(&t->registers, t->backend->file, all_used);
    if (translate_parts(t, parts, count, all_used) && t->loops)
        close_loop(t, parts, count, all_used);
    t->head->is_superblock = count > 1;
    t->head->ways = 0;
    for (unsigned i = 0; i + 1 < count; i++)
        t->head->ways |= (uint8_t)((parts[i].exit + 1u) << 2 * i);
}
