// The x86-64 backend's ways from block to block that may turn out to be others: the jump cache, and guards, which ask
// what they were patched for.
#ifdef __x86_64__

#include <assert.h>
#include <string.h>

#include "cpu/block.h"
#include "cpu/cpu.h"
#include "translate/backend_x86_64.h"

/// reg = block_jump_key of IP S1 in code that is not flat. Uses S0.
static void make_jump_key(struct emit *e, uint8_t reg)
{
    emit_move(e, WIDTH_32, S0, S1);
    emit_alu_load(e, EMIT_ADD, WIDTH_32, S0, x86_home(VAR_CS_BASE));
    emit_move(e, WIDTH_64, reg, S1);
    emit_shift_imm(e, EMIT_SHL, WIDTH_64, reg, 32);
    emit_alu(e, EMIT_OR, WIDTH_64, reg, S0);
}

#define JUMP_SCALE 3 // of an entry's index where the jump cache is looked into

void x86_load_tlb(struct emit *e)
{
    emit_lea(e, WIDTH_64, TLB, x86_memory_at(X86_TLB_OFFSET));
}

/// The page of the block that the jump cache's entry S0 knows stands where S1 is: cpu_note_page. Keeps S0 and S1.
static void write_note_page(struct emit *e, bool user)
{
    struct emit_memory entry = FIELD(jump_cache), slot = x86_at_register(T0), at = FIELD(pages[user].at);
    struct emit_memory known = FIELD(pages[user].known);
    const uint8_t page = HOST_R10, other = TLB;
    emit_place done[2], has_one;
    entry.displacement += (int32_t)offsetof(struct cpu_jump_entry, block);
    entry.index = S0;
    entry.scale = JUMP_SCALE;
    slot.displacement = offsetof(struct block, page_slot);
    at.index = T0;
    at.scale = 3;
    known.index = other;
    known.scale = 1;
    emit_load(e, WIDTH_64, T0, entry);
    emit_load(e, WIDTH_16, T0, slot);
    emit_move(e, WIDTH_64, page, S1);
    emit_alu_imm(e, EMIT_AND, WIDTH_64, page, (int32_t)PAGE_MASK);
    emit_test(e, WIDTH_32, T0, T0);
    done[0] = emit_jump_if_short(e, EMIT_EQUAL);
    emit_alu_load(e, EMIT_CMP, WIDTH_64, page, at);
    done[1] = emit_jump_if_short(e, EMIT_EQUAL);
    emit_test_memory_imm(e, at, 1); // PAGE_NOWHERE
    has_one = emit_jump_if_short(e, EMIT_EQUAL);
    emit_load(e, WIDTH_32, other, FIELD(pages[user].count));
    emit_store(e, WIDTH_16, known, T0);
    emit_alu_memory_imm(e, EMIT_ADD, WIDTH_32, FIELD(pages[user].count), 1);
    emit_patch_short(e, has_one);
    emit_store(e, WIDTH_64, at, page);
    x86_load_tlb(e);
    emit_patch_short(e, done[0]);
    emit_patch_short(e, done[1]);
}

/// The jump cache's entry, whose index is in S0, is asked for `key` in the mode that holds now. *entry: where it leads.
/// Returns the branch to where it is another's.
static emit_place write_ask(struct emit *e, struct emit_memory *entry, uint8_t key)
{
    const uint8_t *other;
    emit_place branch;
    entry->index = S0;
    emit_alu_load(e, EMIT_CMP, WIDTH_64, key, *entry);
    other = e->at;
    branch = emit_jump_if(e, EMIT_NOT_EQUAL);
    emit_load(e, WIDTH_64, T0, FIELD(mode)); // and the epoch
    entry->displacement += (int32_t)offsetof(struct cpu_jump_entry, mode);
    emit_alu_load(e, EMIT_CMP, WIDTH_64, T0, *entry);
    emit_jump_back_if(e, EMIT_NOT_EQUAL, other);
    entry->displacement += (int32_t)(offsetof(struct cpu_jump_entry, chain) - offsetof(struct cpu_jump_entry, mode));
    return branch;
}

/// To S1, where the entry leads.
static void write_go(struct emit *e, struct emit_memory entry)
{
    emit_move(e, WIDTH_64, T0, S1);
    emit_alu_imm(e, EMIT_AND, WIDTH_64, T0, (int32_t)PAGE_MASK);
    emit_store(e, WIDTH_64, FIELD(code_page), T0);
    emit_jump_memory(e, entry);
}

enum note { NOTE_NOTHING, NOTE_SUPERVISOR, NOTE_USER };

/// Through the jump cache to the block at S1, in the mode that holds now. Every temporary is dead. `called`: a CALL may
/// have told to leave. `note`: the block's page, with a guard to another page's code of whose failure this is. Returns
/// the branch to where the cache does not know S1.
static emit_place write_look_up(struct emit *e, const struct backend_entries *entries, bool flat, bool called,
                                enum note note)
{
    uint8_t key = flat ? S1 : T0;
    const uint8_t *unknown = flat ? entries->find : entries->no_chain;
    if (!flat)
        make_jump_key(e, key);
    if (called) {
        emit_alu_memory_imm(e, EMIT_CMP, WIDTH_8, FIELD(leave), 0);
        emit_patch(e, emit_jump_if(e, EMIT_NOT_EQUAL), entries->no_chain);
    }
    struct emit_memory entry = FIELD(jump_cache);
    emit_place branch;
    _Static_assert(sizeof(struct cpu_jump_entry) == 1 << JUMP_CACHE_SHIFT << JUMP_SCALE, "the index needs no shift");
    entry.scale = JUMP_SCALE;
    emit_move(e, WIDTH_32, S0, key); // jump_cache_index
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, (JUMP_CACHE_HOMES - 1) << JUMP_CACHE_SHIFT);
    branch = write_ask(e, &entry, key);
    emit_patch(e, branch, unknown);
    if (note != NOTE_NOTHING)
        write_note_page(e, note == NOTE_USER);
    if (flat)
        write_go(e, entry);
    else
        emit_jump_memory(e, entry);
    return branch;
}

void x86_look_at_victims(struct emit *e)
{
    struct emit_memory entry = x86_memory_at(offsetof(struct cpu, jump_cache[JUMP_CACHE_HOMES]));
    emit_place other, home;
    _Static_assert(sizeof(struct cpu_jump_entry) == 1 << JUMP_VICTIM_SHIFT, "the product needs no shift");
    emit_multiply_imm(e, WIDTH_32, S0, S1, JUMP_VICTIM_FACTOR); // jump_victim_index
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, (JUMP_VICTIMS - 1) << JUMP_VICTIM_SHIFT);
    other = write_ask(e, &entry, S1);
    emit_alu_memory_imm(e, EMIT_SUB, WIDTH_32, FIELD(victim_patience), 1);
    home = emit_jump_if(e, EMIT_SIGN);
    write_go(e, entry);
    emit_patch_here(e, other);
    emit_patch_here(e, home);
}

emit_place x86_look_up_return(struct translation *t)
{
    return write_look_up(&t->emit, t->entries, true, false, NOTE_NOTHING);
}

void x86_look_up(struct translation *t)
{
    bool flat = x86_rip_is_page_relative(t);
    if (t->block->has_call && !flat) // perhaps in a flat mode now
        emit_jump_to(&t->emit, t->entries->no_chain);
    else
        write_look_up(&t->emit, t->entries, flat, t->called, NOTE_NOTHING);
}

static bool is_user(const struct translation *t)
{
    return (t->block->mode & MODE_CPL_MASK) == 3;
}

/// Where the linear address is kept of the page with a slot.
static struct emit_memory page_at(bool user, unsigned slot)
{
    return x86_memory_at(offsetof(struct cpu, pages[user].at[slot]));
}
_Static_assert(offsetof(struct cpu, pages) > INT8_MAX, "a displacement of 4 bytes");

static void put_displacement(const struct emit *e, uint8_t *place, int32_t displacement)
{
    if (!e->full)
        memcpy(place, &displacement, sizeof displacement);
}

static void set_page(uint8_t *place, bool user, unsigned slot)
{
    int32_t displacement = page_at(user, slot).displacement;
    memcpy(place, &displacement, sizeof displacement);
}

void x86_indirect_guard(struct translation *t)
{
    struct emit *e = &t->emit;
    struct emit_memory target = x86_at_register(S0);
    uint8_t *guard = e->at;
    emit_place wrong;
    unsigned edge = t->edge_count++;
    t->edges[edge] = (struct host_jump){.place = guard, .kind = EDGE_INDIRECT};
    target.displacement = PAGE_SIZE; // 4 bytes
    emit_load(e, WIDTH_64, S0, page_at(is_user(t), 0));
    emit_lea(e, WIDTH_64, T0, target);
    emit_alu(e, EMIT_CMP, WIDTH_64, S1, T0);
    wrong = emit_jump_if_short(e, EMIT_NOT_EQUAL);
    emit_store(e, WIDTH_64, FIELD(code_page), S0);
    emit_jump(e);
    assert(e->full || e->at == guard + X86_INDIRECT_BYTES);
    emit_patch_short(e, wrong);
    emit_move_imm(e, T0, x86_leave_word(x86_result(HOST_LINK, edge), t->head));
    emit_jump_to(e, t->entries->guard_failed[is_user(t)]);
}

/// Places in what x86_indirect_guard writes.
void x86_set_indirect(uint8_t *guard, bool user, unsigned slot, unsigned offset, const uint8_t *target)
{
    set_page(guard + 4, user, slot);
    memcpy(guard + 11, &(int32_t){(int32_t)offset}, 4);
    x86_patch(guard + 26, target);
}

void x86_page_guard(struct translation *t, const struct side_exit *exit)
{
    struct emit *e = &t->emit;
    uint8_t *guard = e->at;
    emit_place wrong;
    int64_t displacement =
        (int64_t)((uint64_t)((int64_t)(t->block->backing & ~PAGE_MASK) + exit->displacement) & PAGE_MASK);
    struct emit_memory target = x86_at_register(S0);
    target.displacement = PAGE_SIZE;
    emit_load(e, WIDTH_64, S0, FIELD(code_page));
    emit_lea(e, mode_code_width(t->block->mode), S0, target);
    // Four bytes, whatever it is. No page stands at one that does not fit.
    put_displacement(e, e->at - 4, displacement == (int32_t)displacement ? (int32_t)displacement : 1);
    emit_alu_load(e, EMIT_CMP, WIDTH_64, S0, page_at(is_user(t), 0));
    wrong = emit_jump_if_short(e, EMIT_NOT_EQUAL);
    emit_store(e, WIDTH_64, FIELD(code_page), S0);
    emit_jump(e);
    assert(e->full || e->at == guard + X86_GUARD_BYTES);
    (void)guard;
    emit_patch_short(e, wrong);
    x86_load_target(t, exit);
    emit_move_imm(e, T0, x86_leave_word(x86_result(HOST_LINK, exit->edge), t->head));
    emit_jump_to(e, t->entries->guard_failed[is_user(t)]);
}

/// Places in what x86_page_guard writes.
void x86_set_guard(uint8_t *guard, bool user, unsigned slot, const uint8_t *target)
{
    set_page(guard + 16, user, slot);
    x86_patch(guard + 28, target);
}

/// To RIP S1; T0 is what goes to C.
static void write_guard_failed(struct emit *e, struct backend_entries *entries, bool user)
{
    emit_place ask;
    entries->guard_failed[user] = e->at;
    e->depth = 0;
    emit_alu_memory_imm(e, EMIT_SUB, WIDTH_32, FIELD(guard_patience), 1);
    ask = emit_jump_if(e, EMIT_SIGN);
    write_look_up(e, entries, true, false, user ? NOTE_USER : NOTE_SUPERVISOR);
    emit_patch_here(e, ask);
    x86_store_home(e, VAR_RIP, S1);
    emit_move(e, WIDTH_64, S0, T0);
    emit_jump_to(e, entries->leave);
}

void x86_guard_routines(struct emit *e, struct backend_entries *entries)
{
    write_guard_failed(e, entries, false);
    write_guard_failed(e, entries, true);
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_jump_is_empty;

#endif
