// Jumps of host code from block to block: patched when both have host code, taken away when the one behind dies.
#include "translate/driver.h"

#define INDIRECT_PATIENCE 4 // places that an indirect jump's guard is made for until there is none any more
#define JUMP_PLACE_BYTES 4  // that are patched in a jump

static void patch(struct jit *jit, uint8_t *place, const uint8_t *target)
{
    jit->backend->patch(place, target);
    host_code_memory_flush(&jit->code, (size_t)(place - jit->code.write), 4);
}

static bool is_user(const struct cpu *cpu)
{
    return cpu->fetch_mode == MMU_USER;
}

static void set_guard(struct jit *jit, uint8_t *guard, unsigned slot, const uint8_t *target)
{
    jit->backend->set_guard(guard, is_user(jit->cpu), slot, target);
    host_code_memory_flush(&jit->code, (size_t)(guard - jit->code.write), jit->backend->guard_bytes);
}

static void set_indirect(struct jit *jit, uint8_t *guard, unsigned slot, unsigned offset, const uint8_t *target)
{
    jit->backend->set_indirect(guard, is_user(jit->cpu), slot, offset, target);
    host_code_memory_flush(&jit->code, (size_t)(guard - jit->code.write), jit->backend->guard_bytes);
}

void links_take_away(struct jit *jit, struct block *block)
{
    while (block->incoming) {
        struct host_edge *edge = code_edge(&jit->cache, block->incoming);
        uint8_t *place = code_edge_place(edge);
        if (edge->kind == EDGE_FLAGS) {
            patch(jit, place + edge->back, place - edge->changes);
            patch(jit, place, place + JUMP_PLACE_BYTES);
        } else if (edge->kind == EDGE_INDIRECT)
            set_indirect(jit, place, 0, 0, place); // no page's
        else if (edge->kind == EDGE_GUARD)
            set_guard(jit, place, 0, place);
        else
            patch(jit, place, place + edge->back);
        code_edge_disconnect(&jit->cache, edge);
    }
}

/// Where a jump inside the page goes on. Only cycles need a poll, and each has a jump that does not lead to a block
/// higher up in the page. Exact counts ask at every entry.
static uint8_t *in_page_entry(const struct jit *jit, const struct block *from, const struct block *to)
{
    bool polls = jit->cpu->counting || to->backing <= from->backing;
    return jit_to_write(jit, polls ? to->host_chain : block_host_code(to));
}

/// Likewise for a jump with a guard, which leads as far wherever the pages are mapped: higher up in the address space,
/// though it may go over its end here. Around all of it lead jumps of 32-bit code only.
static uint8_t *guarded_entry(const struct jit *jit, const struct block *from, const struct block *to)
{
    const struct cpu *cpu = jit->cpu;
    int64_t distance = (int64_t)(block_linear(cpu) - cpu->code_page - (from->backing & ~PAGE_MASK));
    bool polls = cpu->counting || distance <= 0 || mode_code_width(from->mode) != WIDTH_64;
    return jit_to_write(jit, polls ? to->host_chain : block_host_code(to));
}

/// Patches a jump with stores of flags before it: past them, where the next block kills flags and the poll comes before
/// both, as whoever leaves there needs the flags.
static void link_flags(struct jit *jit, struct host_edge *edge, const struct block *from, const struct block *to)
{
    uint8_t *place = code_edge_place(edge), *stores = place - edge->changes, *entry = stores;
    if (!to->kills_flags || jit->cpu->counting)
        patch(jit, place, in_page_entry(jit, from, to));
    else if (to->backing > from->backing)
        entry = jit_to_write(jit, block_host_code(to));
    else {
        entry = stores - jit->backend->poll_bytes;
        patch(jit, stores - JUMP_PLACE_BYTES, jit_to_write(jit, block_host_code(to)));
    }
    patch(jit, place + edge->back, entry);
}

bool links_is_guarded(const struct block *block, unsigned number)
{
    return block->edge[number].kind == EDGE_GUARD || block->edge[number].kind == EDGE_INDIRECT;
}

bool links_connect(struct jit *jit, struct block *from, unsigned which, struct block *next)
{
    struct cpu *cpu = jit->cpu;
    struct host_edge *edge;
    uint8_t *place;
    if (which >= from->edges || !from->valid || !next->host_chain || next->crosses || next->place_matters)
        return true;
    edge = &from->edge[which];
    place = code_edge_place(edge);
    if (links_is_guarded(from, which)) {
        if (!next->page_slot)
            return true;
        cpu_note_page(cpu, next->page_slot, block_linear(cpu));
    }
    if (edge->kind == EDGE_INDIRECT) {
        if (edge->changes++ == INDIRECT_PATIENCE)
            return false;
        set_indirect(jit, place, next->page_slot, (unsigned)(next->backing & ~PAGE_MASK),
                     jit_to_write(jit, next->host_chain));
    } else if (edge->kind == EDGE_GUARD)
        set_guard(jit, place, next->page_slot, guarded_entry(jit, from, next));
    else if (place && ((next->backing ^ from->backing) >> PAGE_SHIFT))
        return true;
    else if (edge->kind == EDGE_FLAGS)
        link_flags(jit, edge, from, next);
    else if (place)
        patch(jit, place, in_page_entry(jit, from, next));
    else
        return true;
    code_edge_connect(&jit->cache, edge, next);
    jit->statistics.links++;
    return true;
}
