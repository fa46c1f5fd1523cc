// The translating engine: decides what to translate, drives a backend over a block's uops, runs host code, and gives to
// the interpreter what host code leaves.
#include "translate/translate.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/host.h"
#include "cpu/block.h"
#include "cpu/block_table.h"
#include "cpu/model.h"
#include "cpu/run.h"
#include "translate/backend.h"
#include "translate/code_cache.h"
#include "translate/driver.h"

#define MOST_PATIENCE 256             // executions of a block that dies often, about, before it is translated again
#define DETOUR_PATIENCE 256           // detours until one is looked at
#define STRADDLES 4                   // times that they were those of the same block, until
#define STRADDLE_NS 1000u             // their mean distance in time is looked at
#define GUARD_PATIENCE 16             // guards of jumps between pages that fail until one of them gets a new one
#define BLOCK_CODE_BYTES (256u << 10) // more than any block's host code

// ---- blocks to host code ------------------------------------------------------------------------------------------
bool translate_worth(const struct backend *backend, const struct cpu *cpu, const struct block *block)
{
    return !(block->mode & (MODE_TF | MODE_ONE | MODE_ALIGN | MODE_PARANOID)) && block->backing != UINT64_MAX &&
           block->uop_count > 0 && block->uop_count <= LIFT_MAX_UOPS &&
           pass_supports(backend->supported, block_uops(cpu->blocks, block));
}

/// Writes a block's host code as bytes, for a disassembler. `exec`: where it runs.
static void log_code(const struct cpu *cpu, const struct block *block, const uint8_t *code, const uint8_t *exec,
                     size_t size)
{
    uint64_t rip = cpu->var[VAR_RIP];
    if (!log_on_at(cpu->log, LOG_OUT_ASM, rip))
        return;
    log_print(cpu->log, LOG_OUT_ASM, "block %016" PRIx64 ", %u instructions, %zu bytes of host code at %p", rip,
              block->insn_count, size, exec);
    for (size_t i = 0; i < size; i++)
        log_print(cpu->log, LOG_OUT_ASM, "%s%02x", i % 32 ? " " : "\n  ", code[i]);
    log_print(cpu->log, LOG_OUT_ASM, "\n");
}

/// What is known of the host code's jumps goes behind it, so that both are overwritten together. False: no room, there
/// or before.
static bool keep_edges(struct translation *t)
{
    struct emit *e = &t->emit;
    size_t bytes = t->edge_count * sizeof(struct host_edge);
    while ((uintptr_t)e->at % _Alignof(struct host_edge) && !e->full)
        emit_put(e, 0, 1);
    if (e->full || (size_t)(e->end - e->at) < bytes)
        return false;
    t->head->edge = (struct host_edge *)(void *)e->at;
    t->head->edges = (uint8_t)t->edge_count;
    for (unsigned i = 0; i < t->edge_count; i++) {
        const struct host_jump *jump = &t->edges[i];
        struct host_edge *edge = &t->head->edge[i];
        *edge = (struct host_edge){.place = jump->place ? (uint32_t)((uint8_t *)edge - jump->place) : 0,
                                   .offset = jump->offset,
                                   .kind = jump->kind,
                                   .back = jump->back,
                                   .changes = jump->changes};
    }
    e->at += bytes;
    return true;
}

/// False: the host code does not fit into what is left of the present region.
static bool make_host_code(struct jit *jit, struct block *block)
{
    struct translation *t = &jit->translation;
    size_t straight, size, room, place = code_cache_place(&jit->cache, &room);
    uint8_t *start = jit->code.write + place;

    t->backend = jit->backend;
    t->cpu = jit->cpu;
    t->block = block;
    t->entries = &jit->entries;
    t->counting = jit->cpu->counting;
    t->chained = !log_on(jit->cpu->log, LOG_EXEC);
    t->start_stub = NULL;
    t->carried_to = t->folded_to = UINT16_MAX;
    t->host_flags = 0;
    t->recipe = -1;
    t->called = false;
    t->pending.words = 0;
    t->join.at = t->loop = t->loop_stub = NULL;
    t->loops = t->turns = false;
    t->exit_count = t->edge_count = 0;
    t->leaves.block_count = t->leaves.shared_count = 0;
    t->fpu = &jit->fpu;
    memcpy(t->host_features, jit->host_features, sizeof t->host_features);
    t->resident = 0;
    t->pointers.pending = false;
    emit_start(&t->emit, start, room < BLOCK_CODE_BYTES ? room : BLOCK_CODE_BYTES);
    t->head = block;
    superblock_translate(t, &jit->hooks, &jit->statistics);
    straight = emit_size(&t->emit);
    for (unsigned i = 0; i < t->exit_count; i++)
        jit->backend->side_exit(t, &t->exits[i]);
    size = emit_size(&t->emit);
    if (!keep_edges(t))
        return room >= BLOCK_CODE_BYTES;
    host_code_memory_flush(&jit->code, place, size);
    block->kills_flags = pass_kills_flags(t->passes[0].uops, t->passes[0].count, jit->backend->supported);
    block->host_chain = jit_to_exec(jit, t->chain);
    assert(t->body - t->chain <= UINT8_MAX && t->chain - t->start_stub <= UINT8_MAX);
    block->host_code = (uint8_t)(t->body - t->chain);
    block->start_stub = (uint8_t)(t->chain - t->start_stub);
    if (t->loop) { // then the block does not cross
        block->host_loop = (int32_t)(t->loop - t->chain);
        block->loop_stub = (int32_t)(t->loop_stub - t->chain);
    }
    block_host_code_changed(jit->cpu, block);
    log_code(jit->cpu, block, start, jit_to_exec(jit, start), size);
    if (UNLIKELY(jit->hooks.made != NULL))
        jit->hooks.made(jit->hooks.opaque, block, start, straight, size);
    code_cache_add(&jit->cache, block, emit_size(&t->emit));
    jit->statistics.translated_blocks++;
    return true;
}

static bool translate_block(struct jit *jit, struct block *block)
{
    uint64_t start = host_ticks();
    bool fits = make_host_code(jit, block);
    jit->ticks += host_ticks() - start;
    return fits;
}

// ---- accesses with one check that do not lie in one page -----------------------------------------------------------
// The interpreter could go on; but where a program's stack lies decides which groups of accesses straddle pages, and
// how often. So host code goes on with another form of the block, from the instruction at work on, that has no groups.

/// What write_detour in the backend computes.
static uint64_t detour_key(const struct block *block, unsigned number)
{
    return (uint64_t)~number << 48 | (uint64_t)(uintptr_t)block;
}

static struct cpu_detour *detour_at(struct cpu *cpu, const struct block *block, unsigned number)
{
    uint32_t mixed = ((uint32_t)(uintptr_t)block + 8 * ~number) * (uint32_t)DETOUR_FACTOR;
    return &cpu->detour[mixed >> (32 - DETOUR_BITS)];
}

/// No detour leads to the block, which is about to lose its host code, or to any (NULL).
static void forget_detours(struct jit *jit, const struct block *to)
{
    if (!jit->detours || (to && !(to->mode & MODE_UNSHARED)))
        return;
    for (unsigned i = 0; i < DETOURS; i++) {
        if (!to || jit->cpu->detour[i].chain == to->host_chain)
            jit->cpu->detour[i] = (struct cpu_detour){0};
    }
    jit->detours = to != NULL;
}

/// Who comes to an entry goes on to its stub.
static void kill(struct jit *jit, uint8_t *entry, const uint8_t *stub)
{
    jit->backend->kill(entry, stub);
    host_code_memory_flush(&jit->code, (size_t)(entry - jit->code.write), 8);
}

static void lose_host_code(struct block *block)
{
    block->host_chain = NULL;
    if (!block->crosses)
        block->host_loop = 0;
}

/// Jumps to the dead block lead elsewhere; who comes by the jump cache leaves at its entry. Its own jumps stay: the
/// block may be running.
static void unlink_block(struct jit *jit, struct block *block)
{
    uint8_t *chain;
    if (!block->host_chain)
        return;
    chain = jit_to_write(jit, block->host_chain);
    links_take_away(jit, block);
    forget_detours(jit, block);
    kill(jit, chain, chain - block->start_stub);
    if (!block->crosses && block->host_loop)
        kill(jit, chain + block->host_loop, chain + block->loop_stub);
    lose_host_code(block);
    block_host_code_changed(jit->cpu, block);
    block->is_superblock = false;
}

/// The block's host code is about to be overwritten: no jump leads to it any more, none of its own is known.
static void forget_code(struct jit *jit, struct block *block)
{
    code_cache_remove(block);
    links_take_away(jit, block);
    for (unsigned i = 0; i < block->edges; i++)
        code_edge_disconnect(&jit->cache, &block->edge[i]);
    block->edge = NULL;
    block->edges = 0;
    if (block->host_chain) {
        lose_host_code(block);
        block_host_code_changed(jit->cpu, block);
    }
    block->is_superblock = false;
}

/// Makes room: the oldest region is written anew. Only while no host code runs.
static void evict(struct jit *jit)
{
    const struct code_region *region;
    struct block *block;
    if (!code_cache_advance(&jit->cache, &block))
        return;
    forget_detours(jit, NULL);
    for (struct block *next; block; block = next) {
        next = block->code_next;
        jit->statistics.evicted_blocks += block->host_chain != NULL;
        forget_code(jit, block);
        block->executions = 0; // translated again when it is still in use
    }
    region = &jit->cache.region[jit->cache.current];
    cpu_drop_jumps_to_code(jit->cpu, jit->code.exec + region->start, jit->code.exec + region->end);
    jit->statistics.code_evictions++;
}

/// Makes host code when the block's time has come.
static void consider(struct jit *jit, struct block *block)
{
    uint32_t threshold = jit->threshold;
    for (uint32_t i = 0; i < block->deaths && threshold < MOST_PATIENCE; i++)
        threshold *= 2;
    if (block->executions > threshold || ++block->executions <= threshold ||
        !translate_worth(jit->backend, jit->cpu, block))
        return;
    forget_code(jit, block); // of a former life
    if (translate_block(jit, block) || code_cache_region_empty(&jit->cache))
        return;
    evict(jit);
    translate_block(jit, block);
}

/// Some part of a superblock in the page died: they all lose their host code, so none is left that has the part.
/// Nothing behind the store runs in it: a superblock ends with a CALL, and other stores into code leave for the
/// interpreter.
static void drop_superblock(void *opaque, struct block *block)
{
    struct jit *jit = opaque;
    if (!block->is_superblock || !block->valid)
        return;
    unlink_block(jit, block);
    block->is_superblock = false;
    block->executions = 0;
    block_died(block);
    if (block == jit->running || block == jit->cpu->running)
        jit->cpu->leave = true;
}

static void drop_host_code(void *opaque, struct block *block)
{
    if (!block->is_superblock || !block->valid)
        return;
    unlink_block(opaque, block);
    block->executions = 0;
}

static void forget_superblock(void *opaque, struct block *block)
{
    block->in_superblock = false; // once for all of the page
    drop_host_code(opaque, block);
}

/// The block's memory is about to be reused, while no host code runs: who has it as a part loses its host code too.
static void forgotten(void *opaque, struct block *block)
{
    struct jit *jit = opaque;
    if (block->valid && block->in_superblock)
        block_cache_visit_page(jit->cpu->blocks, block->backing, forget_superblock, jit);
    forget_detours(jit, NULL); // its place may soon be another's
    forget_code(jit, block);
}

/// One of the block's detours in DETOUR_PATIENCE. Where they are not rare it is made anew, with checks for one access.
static void note_straddle(struct jit *jit, struct block *block)
{
    uint32_t now;
    if (block->crosses || block->no_reuse || ++block->straddles < STRADDLES)
        return;
    now = (uint32_t)(host_monotonic_ns() >> 10);
    if (now - block->straddles_since < STRADDLES * DETOUR_PATIENCE * STRADDLE_NS >> 10) {
        block->no_reuse = true;
        unlink_block(jit, block);
        block->executions = 0;
        if (block->in_superblock)
            block_cache_visit_page(jit->cpu->blocks, block->backing, drop_host_code, jit);
    }
    block->straddles = 0;
    block->straddles_since = now;
}

/// The cache tells that a block died, or all (NULL).
static void invalidated(void *opaque, struct block *block)
{
    struct jit *jit = opaque;
    if (!block) {
        code_cache_reset(&jit->cache);
        forget_detours(jit, NULL);
        return;
    }
    unlink_block(jit, block);
    if (block->in_superblock)
        block_cache_visit_page(jit->cpu->blocks, block->backing, drop_superblock, jit);
    if (block == jit->running)
        jit->cpu->leave = true;
}

// ---- running ------------------------------------------------------------------------------------------------------
/// The block where a link of `block` leads; NULL: none yet.
static struct block *linked(struct cpu *cpu, const struct block *block, unsigned which)
{
    return block_linked(block_cache_store(cpu->blocks), block, which, cpu->link_epoch);
}

/// What comes behind the block is fetched into the host's caches while it is interpreted.
static inline __attribute__((always_inline)) void expect(struct cpu *cpu, const struct block *block)
{
    const struct block *next[2] = {linked(cpu, block, 0), linked(cpu, block, 1)};
    if (next[0] || next[1]) {
        // Not of NULL, for which hosts walk page tables each time.
        __builtin_prefetch(next[next[0] ? 0 : 1]);
        __builtin_prefetch(next[next[1] ? 1 : 0]);
    } else if (block->executions > 1) { // else it was just made, and all is on the way
        block_expect(block_cache_table(cpu->blocks), cpu, block_linear(cpu), block->backing, block->mode,
                     block_branch(block), block->bytes);
    }
}

/// The interpreter from uop number `from` to the block's end. Returns what interp_rest_of_block does.
static int interpret(struct jit *jit, struct cpu *cpu, struct block *block, unsigned from)
{
    const struct uop *uops = block_uops(cpu->blocks, block);
    uint64_t before = cpu->instructions;
    int which;
    jit->running = block;
    if (from == 0)
        expect(cpu, block);
    // Who asked to leave behind an instruction of which nothing is done yet was this instruction, and will ask again.
    if (from == 0 || uops[from - 1].insn != uops[from].insn)
        cpu->leave = false;
    // A walk for host code may have changed the block's own bytes.
    cpu->leave |= !block->valid;
    which = interp_rest_of_block(cpu, block, uops + from);
    jit->running = NULL;
    jit->statistics.interpreted_instructions += cpu->instructions - before;
    return which;
}

/// Not to 16 bits: in such code only branches do that.
static uint64_t cut_rip(const struct block *block, uint64_t rip)
{
    return mode_code_width(block->mode) == WIDTH_64 ? rip : (uint32_t)rip;
}

/// The block at RIP by the jump cache; NULL: through the dispatcher, which does more than look there.
static struct block *look_up(struct cpu *cpu)
{
    uint64_t key = block_jump_key(cpu, block_linear(cpu));
    struct cpu_jump_entry *entry = &cpu->jump_cache[jump_cache_index(key)];
    struct block *next = entry->block;
    // Single-stepping is the loop's business.
    if (!mode_links(cpu->mode) || !goes_straight_on(cpu) || entry->linear != key || entry->epoch != cpu->jump_epoch ||
        entry->mode != cpu->mode || !next->valid || cpu->instructions + next->insn_count > cpu->instruction_limit)
        return NULL;
    entry->chain = block_jump_chain(cpu, next);
    return next;
}

/// The block at RIP, in the page of `from`, by the page. NULL: through the dispatcher, as above.
static struct block *look_in_page(struct cpu *cpu, const struct block *from)
{
    uint64_t linear = block_linear(cpu);
    struct block *next;
    bool flat = cpu->mode & MODE_FLAT; // else the exit says that it is this page
    if (!mode_links(cpu->mode) || !goes_straight_on(cpu) || !from->valid ||
        (flat && (linear & PAGE_MASK) != cpu->code_page))
        return NULL;
    next = block_peek(cpu->blocks, (from->backing & PAGE_MASK) | (linear & ~PAGE_MASK), cpu->mode,
                      flat ? 0 : cpu->var[VAR_RIP]);
    if (!next || block_branch_faults(cpu, linear, next) != next->branch_faults) // one of another place of the page
        return NULL;
    return cpu->instructions + next->insn_count <= cpu->instruction_limit ? next : NULL;
}

/// A direct exit that host code left through, until the block behind it has host code.
struct open_exit {
    struct block *from; // NULL: none
    unsigned which;
};

/// Patches direct exit `which` of `from`. If it is an indirect jump that goes to many places, it is made anew without
/// its guard.
static void connect(struct jit *jit, struct block *from, unsigned which, struct block *next)
{
    if (links_connect(jit, from, which, next))
        return;
    from->many_targets = true;
    from->executions = 0;
    unlink_block(jit, from);
}

/// Sets VAR_RIP where host code leaves that to us: the block's start, or where a direct exit leads.
static void restore_rip(struct cpu *cpu, const struct block *block, unsigned kind, unsigned number)
{
    uint64_t start, rip;
    if (!block || kind == HOST_DONE || kind == HOST_LOOKUP || (kind == HOST_LINK && links_is_guarded(block, number)))
        return;
    start = block->backing & ~PAGE_MASK;
    rip = block->mode & MODE_FLAT ? cpu->code_page + start : block->ip;
    cpu->var[VAR_RIP] = kind == HOST_LINK ? cut_rip(block, rip - start + block->edge[number].offset) : rip;
}

/// Host code left at a uop whose address it could not use. Raises the page fault that the walk found, if the
/// interpreter would find no other one first.
static bool raise_walk_fault(struct cpu *cpu, const struct uop *u)
{
    struct mmu_fault fault = cpu->walk_fault;
    cpu->walk_fault.kind = MMU_OK;
    while (u->op == UOP_EA) // what makes the address
        u++;
    if (fault.kind != MMU_PAGE_FAULT || u->op != UOP_XLAT || (u->aux & UOP_X87))
        return false;
    cpu_raise_mmu(cpu, &fault, false);
    return true;
}

/// Whether another form of the block may go on at uop `number`: nothing of its instruction was done, and RIP and mode
/// are certain.
static bool can_detour(const struct cpu *cpu, const struct block *block, unsigned number)
{
    const struct uop *uops = block_uops(cpu->blocks, block);
    for (unsigned i = 0; i < number; i++) {
        if (uops[i].op == UOP_CALL || (i + 1 == number && uops[i].insn == uops[number].insn))
            return false;
    }
    return block->valid && !block->crosses && cpu->mode == (block->mode & ~MODE_UNSHARED) && mode_links(cpu->mode) &&
           goes_straight_on(cpu) && cpu->instructions + block->insn_count <= cpu->instruction_limit;
}

/// Host code left before uop `number`, because accesses with one check do not lie in one page. *next: the form of the
/// block without such, from the instruction on, where the CPU is then; NULL: a fault. `block` may be gone then.
/// False: the interpreter is to go on.
static bool take_detour(struct jit *jit, struct cpu *cpu, struct block *block, unsigned number, struct block **next)
{
    struct cpu_detour *detour = detour_at(cpu, block, number);
    uint64_t key = detour_key(block, number);
    unsigned insn = block_uops(cpu->blocks, block)[number].insn;
    uint64_t place = block->backing + block_insn_offset(block, insn);

    cpu->group_failed = false;
    if (cpu->detour_patience < 0) {
        if (detour->key == key) // else that is why it came
            note_straddle(jit, block);
        cpu->detour_patience = DETOUR_PATIENCE;
    }
    if (!can_detour(cpu, block, number))
        return false;
    cpu->var[VAR_RIP] = cut_rip(block, cpu->var[VAR_RIP] + block_insn_offset(block, insn));
    cpu->instructions += insn;
    *next = block_find(cpu, MODE_UNSHARED);
    if (*next && cpu->instructions + (*next)->insn_count > cpu->instruction_limit)
        *next = block_find(cpu, MODE_ONE);
    // What is kept holds wherever the page stands; perhaps the guest has changed its tables and this is another one.
    if (*next && (*next)->host_chain && !(*next)->crosses && !(*next)->place_matters && (*next)->backing == place) {
        *detour = (struct cpu_detour){.key = key, .chain = (*next)->host_chain, .completed = cpu->counting ? insn : 0};
        jit->detours = true;
        jit->statistics.detours++;
    }
    return true;
}

/// Runs host code from `block` on. Returns the block that follows when it is known.
static struct block *run_host_code(struct jit *jit, struct cpu *cpu, struct block *block, struct open_exit *open)
{
    uint64_t before = cpu->instructions;
    struct host_result result;
    struct block *next = NULL;
    const struct uop *u;
    unsigned number;

    cpu->running = block;
    cpu->code_page = block_linear(cpu) & PAGE_MASK;
    cpu->stat_blocks++;
    result = jit->enter(cpu, block_host_code(block));
    cpu->running = NULL;
    number = (unsigned)(result.value >> HOST_NUMBER_SHIFT);
    restore_rip(cpu, result.block, (unsigned)(result.value & HOST_KIND), number);
    switch (result.value & HOST_KIND) {
    case HOST_RESUME:
        u = &block_uops(cpu->blocks, result.block)[number];
        if (raise_walk_fault(cpu, u)) {
            cpu->var[VAR_RIP] = cut_rip(result.block, cpu->var[VAR_RIP] + block_insn_offset(result.block, u->insn));
            cpu->instructions += u->insn;
            break;
        }
        if (cpu->group_failed && take_detour(jit, cpu, result.block, number, &next))
            break;
        // The instructions before it were completed, but the interpreter counts from the block's start.
        jit->statistics.host_instructions += cpu->instructions - before + u->insn;
        jit->statistics.interpreted_instructions -= u->insn;
        jit->statistics.resumed++;
        cpu->stat_blocks--;
        interpret(jit, cpu, result.block, number);
        return NULL;
    case HOST_FAULT:
        cpu->var[VAR_RIP] = cut_rip(result.block, cpu->var[VAR_RIP] + block_insn_offset(result.block, number));
        cpu->instructions += number;
        break;
    case HOST_LINK:
        if (!links_is_guarded(result.block, number))
            next = look_in_page(cpu, result.block);
        if (!next)
            next = look_up(cpu);
        *open = (struct open_exit){.from = result.block, .which = number};
        cpu->guard_patience = GUARD_PATIENCE;
        break;
    case HOST_LOOKUP:
        next = look_up(cpu);
        break;
    default:
        break;
    }
    cpu->leave = false;
    jit->statistics.host_instructions += cpu->instructions - before;
    return next;
}

/// The block that follows direct exit `which` of an interpreted one, if that stands in the same page: by the link,
/// which is made when it was found by the page once. NULL: through the dispatcher, as above.
static struct block *follow(struct cpu *cpu, struct block *block, unsigned which)
{
    struct block *next = linked(cpu, block, which);
    if (next && next->valid && block->valid && goes_straight_on(cpu))
        return cpu->instructions + next->insn_count <= cpu->instruction_limit ? next : NULL;
    next = look_in_page(cpu, block);
    if (next && !next->place_matters)
        block_link(block_cache_store(cpu->blocks), block, which, cpu->link_epoch, next);
    return next;
}

/// The interpreter does the block. Returns the one that follows, if that stands in the same page and nothing else is
/// due.
static struct block *interpret_whole(struct jit *jit, struct cpu *cpu, struct block *block)
{
    bool stays =
        (block->mode & MODE_FLAT) && block->mode == cpu->mode && !block->has_call && block->backing != UINT64_MAX;
    int which;
    cpu->code_page = block_linear(cpu) & PAGE_MASK;
    which = interpret(jit, cpu, block, 0);
    if (!stays || cpu->leave || cpu->fault.pending || run_boundary_is_due(cpu) || cpu->mode != block->mode)
        return NULL;
    return which < 0 ? look_in_page(cpu, block) : follow(cpu, block, (unsigned)which);
}

static void execute(void *state, struct cpu *cpu, struct block *block)
{
    struct jit *jit = state;
    struct open_exit open = {0};
    while (block) {
        if (!block->host_chain) {
            if (open.from == block)
                open.from = NULL; // its jumps get other numbers
            consider(jit, block);
        }
        if (!block->host_chain) {
            block = interpret_whole(jit, cpu, block);
            open.from = NULL;
            continue;
        }
        if (open.from)
            connect(jit, open.from, open.which, block);
        open.from = NULL;
        if (block->host_chain) // else it is the one whose jump goes to many places
            block = run_host_code(jit, cpu, block, &open);
    }
}

// ---- the engine ---------------------------------------------------------------------------------------------------
static void destroy(void *state)
{
    struct jit *jit = state;
    if (jit->cpu->blocks) {
        block_cache_listen(jit->cpu->blocks, (struct block_listener){0});
        block_cache_flush(jit->cpu->blocks); // the blocks know our host code
    }
    host_code_memory_free(&jit->code);
    host_memory_release(jit, sizeof *jit);
}

static void write_entry(struct jit *jit)
{
    struct emit e;
    emit_start(&e, jit->code.write, jit->code.size);
    jit->backend->enter(&e, &jit->entries, &jit->fpu);
    host_code_memory_flush(&jit->code, 0, emit_size(&e));
    jit->code_start = (size_t)align_up(emit_size(&e), CODE_ALIGNMENT);
    code_cache_divide(&jit->cache, jit->code_start, jit->code.size);
    jit->cache.memory = jit->code.write;
    jit->cache.blocks = block_cache_store(jit->cpu->blocks);
    jit->enter = (enter_host_code *)(uintptr_t)jit->code.exec;
    jit->cpu->no_chain = jit_to_exec(jit, jit->entries.no_chain);
}

bool translate_available(void)
{
    return backend_host() != NULL;
}

static void *create(struct cpu *cpu, struct error *error)
{
    const struct backend *backend = backend_host();
    struct jit *jit;
    if (!backend) {
        error_set(error, "no backend for this host; use the interpreter (-accel interp)");
        return NULL;
    }
    jit = host_memory_reserve(sizeof *jit, error);
    if (!jit)
        return NULL;
    jit->cpu = cpu;
    jit->first_tick = host_ticks();
    jit->first_ns = host_monotonic_ns();
    jit->backend = backend;
    jit->threshold = TRANSLATE_THRESHOLD_DEFAULT;
    backend->features(jit->host_features);
    if (!host_code_memory_create(&jit->code, TRANSLATE_CODE_DEFAULT, false, error)) {
        host_memory_release(jit, sizeof *jit);
        return NULL;
    }
    write_entry(jit);
    block_cache_listen(cpu->blocks,
                       (struct block_listener){.invalidated = invalidated, .forgotten = forgotten, .opaque = jit});
    return jit;
}

static enum engine_stop run(void *state, struct cpu *cpu)
{
    const struct jit *jit = state;
    host_set_gs_base((uint8_t *)cpu + jit->backend->base_offset);
    return run_loop(cpu, execute, state);
}

void translate_statistics(const void *state, struct translate_statistics *statistics)
{
    const struct jit *jit = state;
    *statistics = jit->statistics;
    if (host_ticks_are_steady() && host_ticks() > jit->first_tick)
        statistics->translation_ns = (uint64_t)((double)jit->ticks * (double)(host_monotonic_ns() - jit->first_ns) /
                                                (double)(host_ticks() - jit->first_tick));
    statistics->code_bytes = jit->code_start + code_cache_used(&jit->cache);
    statistics->code_regions = jit->cache.count;
}

void translate_set_threshold(void *state, uint32_t executions)
{
    struct jit *jit = state;
    jit->threshold = executions;
}

bool translate_host_generation(const char *name, uint64_t allowed[2])
{
    static const struct {
        const char *name;
        uint8_t count; // of `features` that there are
    } generations[] = {{"none", 1}, {"sse2", 5}, {"sse3", 6}, {"ssse3", 7}, {"sse4.1", 8}, {"sse4.2", 9}};
    static const uint8_t features[] = {FEATURE_NONE, FEATURE_CMOV,  FEATURE_MMX,   FEATURE_SSE,  FEATURE_SSE2,
                                       FEATURE_SSE3, FEATURE_SSSE3, FEATURE_SSE41, FEATURE_SSE42};
    allowed[0] = allowed[1] = UINT64_MAX;
    if (!strcmp(name, "all"))
        return true;
    for (unsigned i = 0; i < ARRAY_SIZE(generations); i++) {
        if (strcmp(name, generations[i].name))
            continue;
        allowed[0] = allowed[1] = 0;
        allowed[FEATURE_FPU / 64] |= BIT(FEATURE_FPU % 64);
        for (unsigned k = 1; k < generations[i].count; k++)
            allowed[features[k] / 64] |= BIT(features[k] % 64);
        return true;
    }
    return false;
}

void translate_limit_host_features(void *state, const uint64_t allowed[2])
{
    struct jit *jit = state;
    jit->backend->features(jit->host_features);
    for (unsigned i = 0; i < ARRAY_SIZE(jit->host_features); i++)
        jit->host_features[i] &= allowed[i];
    block_cache_flush(jit->cpu->blocks);
}

void translate_set_code_limit(void *state, size_t bytes)
{
    struct jit *jit = state;
    size_t least = jit->code_start + CODE_REGION_LEAST;
    block_cache_flush(jit->cpu->blocks);
    code_cache_divide(&jit->cache, jit->code_start,
                      bytes < least            ? least
                      : bytes > jit->code.size ? jit->code.size
                                               : bytes);
}

bool translate_set_code_memory(void *state, size_t bytes, bool single, struct error *error)
{
    struct jit *jit = state;
    struct host_code_memory code;
    if (bytes < TRANSLATE_CODE_MINIMUM || bytes > TRANSLATE_CODE_MAXIMUM)
        return error_set(error, "a code memory of %zu bytes is not possible: %zu to %zu MiB", bytes,
                         TRANSLATE_CODE_MINIMUM >> 20, TRANSLATE_CODE_MAXIMUM >> 20);
    if (!host_code_memory_create(&code, bytes, single, error))
        return false;
    block_cache_flush(jit->cpu->blocks);
    host_code_memory_free(&jit->code);
    jit->code = code;
    write_entry(jit);
    return true;
}

void translate_set_hooks(void *state, const struct translate_hooks *hooks)
{
    struct jit *jit = state;
    jit->hooks = hooks ? *hooks : (struct translate_hooks){0};
}

const struct engine engine_jit = {
    .name = "jit",
    .description = "translates blocks into host code; what the backend lacks is interpreted",
    .create = create,
    .destroy = destroy,
    .run = run,
};
