// The ways in and out of the x86-64 backend's host code, from block to block and between it and C.
//
// Guest registers stay in their host registers from block to block. A direct exit inside the page is one jump, patched
// to the next block's chain entry when that has host code; one to another page goes there through a guard that compares
// the epoch and the page it comes from. Every other exit asks the jump cache in line.
// Each chain entry polls, so that every cycle does. RIP is not kept: flat blocks know where in their page they are, and
// cpu->code_page is that page's linear address; blocks that are not flat know their IP.
//
// rsp points to struct cpu, which a stack of its own stands in front of (CPU_HOST_STACK): C that host code calls runs
// on that. A multiple of 16, as C wants it.
#ifdef __x86_64__

#include <assert.h>
#include <string.h>

#include "cpu/cpu.h"
#include "translate/backend_x86_64.h"

#define FRAME_BYTES 8 // keeps rsp a multiple of 16

static const uint8_t callee_saved[] = {HOST_RBX, HOST_RBP, HOST_R12, HOST_R13, HOST_R14, HOST_R15};

#define LOOP_PREFIX_UOPS 40u

struct side_exit *x86_add_exit(struct translation *t, int kind, emit_place from)
{
    struct side_exit *exit = &t->exits[t->exit_count < TRANSLATION_MAX_EXITS ? t->exit_count++ : 0];
    t->emit.full |= t->exit_count == TRANSLATION_MAX_EXITS;
    exit->kind = kind;
    exit->from = from;
    exit->block = t->block;
    exit->pass = t->pass;
    exit->registers = registers_keep(&t->registers);
    exit->pointers = t->pointers;
    exit->pending = t->pending;
    exit->uop = (uint16_t)t->index;
    exit->of_loop = false;
    return exit;
}

// ---- RIP ----------------------------------------------------------------------------------------------------------
/// reg += value, keeping flags. `reg` is not S1.
static void add_constant(struct translation *t, uint8_t reg, int64_t value)
{
    struct emit_memory m = x86_at_register(reg);
    if (value == (int32_t)value)
        m.displacement = (int32_t)value;
    else {
        emit_move_imm(&t->emit, S1, (uint64_t)value);
        m.index = S1;
    }
    if (value)
        emit_lea(&t->emit, WIDTH_64, reg, m);
}

void x86_load_rip(struct translation *t, uint8_t reg, int64_t displacement)
{
    if (!x86_rip_is_page_relative(t)) {
        emit_move_imm(&t->emit, reg, t->block->ip + (uint64_t)displacement);
        return;
    }
    emit_load(&t->emit, WIDTH_64, reg, FIELD(code_page));
    add_constant(t, reg, (int64_t)(t->block->backing & ~PAGE_MASK) + displacement);
}

/// VAR_RIP = the block's start + displacement, cut to a width.
static void store_rip(struct translation *t, int64_t displacement, unsigned width)
{
    x86_load_rip(t, S0, displacement);
    if (width != WIDTH_64)
        emit_extend(&t->emit, false, width, S0, S0);
    x86_store_home(&t->emit, VAR_RIP, S0);
}

// ---- calls of C ---------------------------------------------------------------------------------------------------
void x86_field_address(struct translation *t, uint8_t reg, size_t offset)
{
    struct emit_memory m = x86_at_register(reg);
    m.displacement = (int32_t)offset;
    emit_load(&t->emit, WIDTH_64, reg, FIELD(self));
    emit_lea(&t->emit, WIDTH_64, reg, m);
}

void x86_prepare_call(struct translation *t)
{
    x86_flush_flags(t);
    x86_x87_flush_pointers(t, &t->pointers);
    registers_settle(&t->registers, &x86_file, &t->emit);
    store_rip(t, 0, WIDTH_64);
    emit_call_to(&t->emit, t->entries->store);
    emit_load(&t->emit, WIDTH_64, HOST_RDI, FIELD(self));
}

void x86_call(struct translation *t, const void *function)
{
    struct emit *e = &t->emit;
    x86_fpu_spill(e, t->fpu);
    emit_move_imm(e, HOST_RAX, (uint64_t)(uintptr_t)function);
    emit_call_register(e, HOST_RAX);
    x86_fpu_after_call(t);
    emit_move(e, WIDTH_64, S0, HOST_RAX);
    emit_call_to(e, t->entries->load);
    t->host_flags = 0;
    t->recipe = -1;
    t->segments_checked = 0;
}

// ---- leaving ------------------------------------------------------------------------------------------------------
_Static_assert((TRANSLATION_MAX_EXITS << HOST_NUMBER_SHIFT) <= 1 << (64 - X86_LEAVE_SHIFT), "numbers of uops fit");

static uint64_t leave_word(uint32_t value, const struct block *block)
{
    return (uint64_t)value << X86_LEAVE_SHIFT | (uint64_t)(uintptr_t)block;
}

static uint32_t result(uint32_t kind, unsigned number)
{
    return kind | number << HOST_NUMBER_SHIFT;
}

void x86_count(struct translation *t, int insns)
{
    if (t->counting)
        emit_alu_memory_imm(&t->emit, EMIT_ADD, WIDTH_64, FIELD(instructions), insns);
}

/// reg = block_jump_key of IP S1 in code that is not flat. Uses S0.
static void make_jump_key(struct emit *e, uint8_t reg)
{
    emit_move(e, WIDTH_32, S0, S1);
    emit_alu_load(e, EMIT_ADD, WIDTH_32, S0, x86_home(VAR_CS_BASE));
    emit_move(e, WIDTH_64, reg, S1);
    emit_shift_imm(e, EMIT_SHL, WIDTH_64, reg, 32);
    emit_alu(e, EMIT_OR, WIDTH_64, reg, S0);
}

static void load_tlb(struct emit *e)
{
    emit_lea(e, WIDTH_64, TLB, x86_memory_at(X86_TLB_OFFSET));
}

/// The page of the block that the jump cache's entry S0 knows stands where S1 is: cpu_note_page. Keeps S0 and S1.
static void write_note_page(struct emit *e, bool user)
{
    struct emit_memory entry = FIELD(jump_cache), slot = x86_at_register(T0), at = FIELD(pages[user].at);
    struct emit_memory known = FIELD(pages[user].known);
    const uint8_t page = HOST_R10, other = TLB;
    emit_place done[3], has_one;
    entry.displacement += (int32_t)offsetof(struct cpu_jump_entry, block);
    entry.index = S0;
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
    emit_move_imm(e, other, PAGE_INLAND_ADDEND); // cpu_page_is_inland
    emit_alu(e, EMIT_ADD, WIDTH_64, other, page);
    emit_shift_imm(e, EMIT_SHR, WIDTH_64, other, PAGE_INLAND_SHIFT);
    emit_alu_imm(e, EMIT_CMP, WIDTH_64, other, (int32_t)PAGE_INLAND_LIMIT);
    done[2] = emit_jump_if_short(e, EMIT_BELOW ^ 1);
    emit_test_memory_imm(e, at, 1); // PAGE_NOWHERE
    has_one = emit_jump_if_short(e, EMIT_EQUAL);
    emit_load(e, WIDTH_32, other, FIELD(pages[user].count));
    emit_store(e, WIDTH_16, known, T0);
    emit_alu_memory_imm(e, EMIT_ADD, WIDTH_32, FIELD(pages[user].count), 1);
    emit_patch_short(e, has_one);
    emit_store(e, WIDTH_64, at, page);
    emit_patch_short(e, done[2]);
    load_tlb(e);
    emit_patch_short(e, done[0]);
    emit_patch_short(e, done[1]);
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
    const uint8_t *other;
    emit_place branch;
    entry.index = S0;
    _Static_assert(sizeof(struct cpu_jump_entry) == 1 << JUMP_CACHE_SHIFT, "the product needs no shift");
    emit_multiply_imm(e, WIDTH_32, S0, key, JUMP_CACHE_FACTOR); // jump_cache_index
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, (JUMP_CACHE_ENTRIES - 1) << JUMP_CACHE_SHIFT);
    emit_alu_load(e, EMIT_CMP, WIDTH_64, key, entry);
    other = e->at;
    branch = emit_jump_if(e, EMIT_NOT_EQUAL);
    emit_patch(e, branch, unknown);
    emit_load(e, WIDTH_64, T0, FIELD(mode)); // and the epoch
    entry.displacement += (int32_t)offsetof(struct cpu_jump_entry, mode);
    emit_alu_load(e, EMIT_CMP, WIDTH_64, T0, entry);
    emit_jump_back_if(e, EMIT_NOT_EQUAL, other);
    entry.displacement += (int32_t)(offsetof(struct cpu_jump_entry, chain) - offsetof(struct cpu_jump_entry, mode));
    if (note != NOTE_NOTHING)
        write_note_page(e, note == NOTE_USER);
    if (flat) {
        emit_move(e, WIDTH_64, T0, S1);
        emit_alu_imm(e, EMIT_AND, WIDTH_64, T0, (int32_t)PAGE_MASK);
        emit_store(e, WIDTH_64, FIELD(code_page), T0);
    }
    emit_jump_memory(e, entry);
    return branch;
}

static void look_up(struct translation *t)
{
    bool flat = x86_rip_is_page_relative(t);
    if (t->block->has_call && !flat) // perhaps in a flat mode now
        emit_jump_to(&t->emit, t->entries->no_chain);
    else
        write_look_up(&t->emit, t->entries, flat, t->called, NOTE_NOTHING);
}

static bool may_chain(const struct translation *t)
{
    return t->chained && mode_links(t->block->mode);
}

/// Whether what is at the target lies in the block's page: not where an instruction may reach into the next one.
static bool in_page(const struct translation *t, int64_t displacement)
{
    int64_t offset = (int64_t)(t->block->backing & ~PAGE_MASK) + displacement;
    return !t->block->crosses && offset >= 0 && offset <= (int64_t)(PAGE_SIZE - INSN_MAX_LENGTH);
}

/// One way out by a direct branch: the jump at `from` leads to side code until it is patched.
static struct side_exit *direct(struct translation *t, const struct uop *u, int64_t displacement, emit_place from)
{
    struct side_exit *exit = x86_add_exit(t, SIDE_DIRECT, from);
    exit->width = u->width;
    exit->displacement = displacement;
    exit->edge = NO_EDGE;
    exit->uncounted = false;
    // C code may have changed the mode, which the jump cache compares. What host code makes of it is always the same.
    if (may_chain(t) && !t->called && u->width == mode_code_width(t->block->mode) &&
        (in_page(t, displacement) || x86_rip_is_page_relative(t)) && t->edge_count < TRANSLATION_MAX_EDGES) {
        t->edges[t->edge_count] = (struct host_edge){0};
        exit->edge = (uint8_t)t->edge_count++;
    }
    return exit;
}

bool x86_may_loop(const struct translation *t, const struct uop *u, unsigned *which)
{
    int64_t start = (int64_t)(t->head->backing - t->block->backing);
    unsigned prefix = t->join.at ? t->join.index : t->index;
    *which = u->op != UOP_EXIT && u->imm != start;
    return (t->holds || ((t->join.at || t->block == t->head) && prefix <= LOOP_PREFIX_UOPS)) && may_chain(t) &&
           !t->called && x86_rip_is_page_relative(t) && !t->block->crosses &&
           u->width == mode_code_width(t->block->mode) && !t->pointers.pending &&
           (*which ? (int32_t)u->param : u->imm) == start &&
           t->exit_count + (t->holds ? t->exit_count : prefix) + 8 < TRANSLATION_MAX_EXITS;
}

/// The way back to the start comes next, if there is one and flags would have to be written else, or checks be made.
/// Registers stay as they are up to there.
static bool loop(struct translation *t, const struct uop *u, unsigned *which)
{
    if (!(t->holds || (t->join.at && t->pending.words)) || !x86_may_loop(t, u, which))
        return false;
    registers_end_part(&t->registers, &x86_file, &t->emit);
    t->loops = true;
    t->loop_exit = *u;
    t->loop_which = *which;
    return true;
}

void x86_loop_end(struct translation *t, const uint8_t *join)
{
    const struct uop *u = &t->loop_exit;
    if (join) {
        emit_jump_to(&t->emit, join);
        return;
    }
    x86_flush_flags(t);
    direct(t, u, t->loop_which ? (int32_t)u->param : u->imm, emit_jump(&t->emit));
}

/// On with the next part of a superblock.
static void go_on(struct translation *t, const struct uop *u)
{
    if (!t->counting && !t->pass[1].flags_before) // the next part makes all anew
        t->pending.words = 0;
    x86_store_host_words(t);
    x86_count(t, u->insn + 1u);
    if (t->counting)
        t->host_flags = 0;
    t->made_flags = t->host_flags;
}

void x86_emit_exit(struct translation *t, const struct uop *u)
{
    unsigned which;
    if (t->next) {
        registers_end_part(&t->registers, &x86_file, &t->emit);
        go_on(t, u);
        return;
    }
    if (loop(t, u, &which)) {
        x86_count(t, u->insn + 1u);
        return;
    }
    registers_give_back(&t->registers, &x86_file, &t->emit);
    x86_count(t, u->insn + 1u);
    direct(t, u, u->imm, emit_jump(&t->emit));
}

/// The other exit of a branch that goes back to the start, by way `which`, on a condition.
static void leave_loop(struct translation *t, const struct uop *u, unsigned which, unsigned condition)
{
    struct emit *e = &t->emit;
    int64_t displacement = which ? u->imm : (int32_t)u->param;
    if (t->counting) {
        emit_place stay = emit_jump_if(e, condition);
        x86_count(t, u->insn + 1u);
        direct(t, u, displacement, emit_jump(e));
        emit_patch_here(e, stay);
        x86_count(t, u->insn + 1u);
    } else
        direct(t, u, displacement, emit_jump_if(e, condition ^ 1));
}

/// The host's flags hold the condition.
static void exit_on(struct translation *t, const struct uop *u, unsigned condition)
{
    struct emit *e = &t->emit;
    unsigned which;
    if (t->next) {
        registers_end_part(&t->registers, &x86_file, e);
        emit_place from = emit_jump_if(e, t->next_exit == 0 ? condition ^ 1 : condition);
        direct(t, u, t->next_exit == 0 ? (int32_t)u->param : u->imm, from)->uncounted = t->counting;
        go_on(t, u);
        return;
    }
    if (loop(t, u, &which)) {
        leave_loop(t, u, which, which ? condition ^ 1 : condition);
        return;
    }
    registers_give_back(&t->registers, &x86_file, e);
    if (t->counting) {
        emit_place taken = emit_jump_if(e, condition);
        x86_count(t, u->insn + 1u);
        direct(t, u, (int32_t)u->param, emit_jump(&t->emit));
        emit_patch_here(e, taken);
        x86_count(t, u->insn + 1u);
    } else
        direct(t, u, (int32_t)u->param, emit_jump_if(e, condition ^ 1));
    direct(t, u, u->imm, emit_jump(&t->emit));
}

void x86_emit_exit_if(struct translation *t, const struct uop *u)
{
    exit_on(t, u, t->condition);
}

void x86_emit_exit_if_zero(struct translation *t, const struct uop *u)
{
    emit_test(&t->emit, u->c, t->a, t->a);
    exit_on(t, u, u->aux & UOP_NEGATE ? EMIT_NOT_EQUAL : EMIT_EQUAL);
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

/// Many indirect jumps and calls always go to the same place: what the jump to S1 asks before it looks up. Host code
/// of those that do not is made anew without it.
static void emit_indirect_guard(struct translation *t)
{
    struct emit *e = &t->emit;
    struct emit_memory target = x86_at_register(S0);
    uint8_t *guard = e->at;
    emit_place wrong;
    unsigned edge = t->edge_count++;
    t->edges[edge] = (struct host_edge){.place = guard, .kind = EDGE_INDIRECT};
    target.displacement = PAGE_SIZE; // 4 bytes
    emit_load(e, WIDTH_64, S0, page_at(is_user(t), 0));
    emit_lea(e, WIDTH_64, T0, target);
    emit_alu(e, EMIT_CMP, WIDTH_64, S1, T0);
    wrong = emit_jump_if_short(e, EMIT_NOT_EQUAL);
    emit_store(e, WIDTH_64, FIELD(code_page), S0);
    emit_jump(e);
    assert(e->full || e->at == guard + X86_INDIRECT_BYTES);
    emit_patch_short(e, wrong);
    emit_move_imm(e, T0, leave_word(result(HOST_LINK, edge), t->head));
    emit_jump_to(e, t->entries->guard_failed[is_user(t)]);
}

/// Places in what emit_indirect_guard writes.
void x86_set_indirect(uint8_t *guard, bool user, unsigned slot, unsigned offset, const uint8_t *target)
{
    set_page(guard + 4, user, slot);
    memcpy(guard + 11, &(int32_t){(int32_t)offset}, 4);
    x86_patch(guard + 26, target);
}

void x86_emit_exit_to(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    x86_copy(t, WIDTH_64, S1, t->a);
    registers_give_back(&t->registers, &x86_file, e);
    x86_count(t, u->insn + 1u);
    if (t->pass->checks_late && may_chain(t) && !t->called) {
        x86_add_exit(t, SIDE_RETURN, write_look_up(e, t->entries, true, false, NOTE_NOTHING));
        return;
    }
    if (t->pass->checks_late) {
        x86_compare_half(t, S0, S1);
        x86_add_exit(t, SIDE_RETURN, emit_jump_if(e, EMIT_NOT_EQUAL));
    }
    if (may_chain(t)) {
        if (!u->sub && !t->head->many_targets && !t->called && x86_rip_is_page_relative(t) &&
            t->edge_count < TRANSLATION_MAX_EDGES)
            emit_indirect_guard(t);
        look_up(t);
        return;
    }
    x86_store_home(e, VAR_RIP, S1);
    x86_leave(t, HOST_DONE);
}

void x86_check_leave(struct translation *t, unsigned insn)
{
    struct side_exit *exit;
    emit_alu_memory_imm(&t->emit, EMIT_CMP, WIDTH_8, FIELD(leave), 0);
    exit = x86_add_exit(t, SIDE_LEAVE, emit_jump_if(&t->emit, EMIT_NOT_EQUAL));
    exit->uop = (uint16_t)insn;
    t->host_flags = 0;
}

// ---- code out of line ---------------------------------------------------------------------------------------------
/// S1 = where a direct exit leads.
static void load_target(struct translation *t, const struct side_exit *exit)
{
    int64_t displacement = (int64_t)(t->block->backing & ~PAGE_MASK) + exit->displacement;
    struct emit_memory target = x86_at_register(S1);
    if (exit->width != WIDTH_64 || !x86_rip_is_page_relative(t) || displacement != (int32_t)displacement) {
        x86_load_rip(t, S0, exit->displacement);
        emit_extend(&t->emit, false, exit->width, S1, S0);
        return;
    }
    target.displacement = (int32_t)displacement;
    emit_load(&t->emit, WIDTH_64, S1, FIELD(code_page));
    emit_lea(&t->emit, WIDTH_64, S1, target);
}

/// What a jump to another page has to ask: whether the page of memory that it was patched for stands there. The two
/// pages may be mapped elsewhere, and in another process, as long as it is side by side. Else the jump cache decides,
/// now and then C about a new guard, so that code which runs a few times is not patched at all.
static void emit_guard(struct translation *t, const struct side_exit *exit)
{
    struct emit *e = &t->emit;
    uint8_t *guard = e->at;
    emit_place wrong;
    int64_t displacement =
        (int64_t)((uint64_t)((int64_t)(t->block->backing & ~PAGE_MASK) + exit->displacement) & PAGE_MASK);
    struct emit_memory target = x86_at_register(S0);
    target.displacement = PAGE_SIZE;
    emit_load(e, WIDTH_64, S0, FIELD(code_page));
    emit_lea(e, WIDTH_64, S0, target);
    // Four bytes, whatever it is. No page stands at one that does not fit.
    put_displacement(e, e->at - 4, displacement == (int32_t)displacement ? (int32_t)displacement : 1);
    emit_alu_load(e, EMIT_CMP, WIDTH_64, S0, page_at(is_user(t), 0));
    wrong = emit_jump_if_short(e, EMIT_NOT_EQUAL);
    emit_store(e, WIDTH_64, FIELD(code_page), S0);
    emit_jump(e);
    assert(e->full || e->at == guard + X86_GUARD_BYTES);
    (void)guard;
    emit_patch_short(e, wrong);
    load_target(t, exit);
    emit_move_imm(e, T0, leave_word(result(HOST_LINK, exit->edge), t->head));
    emit_jump_to(e, t->entries->guard_failed[is_user(t)]);
}

/// Whether the jump may pass by the stores of its flags: nothing else is to be done behind it.
static bool may_pass_by(const struct translation *t, const struct side_exit *exit)
{
    return exit->kind == SIDE_DIRECT && exit->pending.words && exit->edge != NO_EDGE && !t->counting &&
           !exit->registers.borrowed && in_page(t, exit->displacement);
}

/// ... with a poll: the jump may be the last of a cycle.
static bool needs_poll(const struct translation *t, const struct side_exit *exit)
{
    return may_pass_by(t, exit) && (int64_t)(t->block->backing - t->head->backing) + exit->displacement <= 0;
}

/// A poll before the stores of flags, and the jump that passes them by.
static void emit_poll_before_stores(struct emit *e)
{
    const uint8_t *start = e->at;
    emit_alu_memory_imm(e, EMIT_CMP, WIDTH_32, FIELD(exit_request), 0);
    emit_patch(e, emit_jump_if(e, EMIT_NOT_EQUAL), start + X86_POLL_BYTES);
    emit_jump(e);
    assert(e->full || e->at == start + X86_POLL_BYTES);
}

/// The jump at `from` may pass by the stores that begin at `stores`.
static void pass_by_flags(struct host_edge *edge, const uint8_t *from, const uint8_t *stores)
{
    size_t bytes = (size_t)(edge->place - stores);
    if (bytes > UINT8_MAX)
        return;
    edge->kind = EDGE_FLAGS;
    edge->changes = (uint8_t)bytes;
    edge->back = (int32_t)(from - edge->place);
}

/// A direct exit: asks C for the block to patch in. Where it cannot be, the jump cache.
/// `stores`: where those of its flags begin, which another jump may pass by; or NULL.
static void emit_direct(struct translation *t, const struct side_exit *exit, const uint8_t *stores)
{
    struct emit *e = &t->emit;
    struct host_edge *edge = exit->edge == NO_EDGE ? NULL : &t->edges[exit->edge];
    bool here = in_page(t, exit->displacement);
    bool late = exit->pending.words || exit->uncounted || t->registers.borrowed;
    registers_give_back(&t->registers, &x86_file, e);
    if (exit->uncounted)
        x86_count(t, t->block->insn_count);
    if (edge) {
        edge->place = exit->from;
        edge->offset = (uint16_t)(((t->block->backing & ~PAGE_MASK) + (uint64_t)exit->displacement) & ~PAGE_MASK);
        if (!here) {
            edge->kind = EDGE_GUARD;
            edge->place = e->at;
            emit_guard(t, exit);
            return;
        }
        if (late) { // the jump to patch comes behind what was written here
            edge->place = emit_jump(e);
            emit_patch_here(e, edge->place);
        }
        edge->back = (int32_t)(e->at - edge->place);
        if (stores)
            pass_by_flags(edge, exit->from, stores);
        t->block = t->head; // has the edges
        x86_leave(t, result(HOST_LINK, exit->edge));
        return;
    }
    if (may_chain(t)) {
        load_target(t, exit);
        look_up(t);
        return;
    }
    store_rip(t, exit->displacement, exit->width);
    x86_leave(t, HOST_DONE);
}

void x86_side_exit(struct translation *t, const struct side_exit *exit)
{
    const uint8_t *stub;
    t->emit.depth = 0;
    t->block = exit->block;
    t->pass = exit->pass;
    if (needs_poll(t, exit))
        emit_poll_before_stores(&t->emit);
    stub = t->emit.at;
    emit_patch_here(&t->emit, exit->from);
    registers_restore(&t->registers, &exit->registers);
    t->pointers = exit->pointers;
    t->pending = exit->pending;
    t->recipe = -1;
    t->host_flags = 0; // nobody wants them
    if (exit->kind != SIDE_MISS)
        x86_flush_flags(t);
    switch (exit->kind) {
    case SIDE_MISS:
        x86_miss(t, exit);
        break;
    case SIDE_RESUME:
        t->index = exit->uop;
        x86_resume(t);
        break;
    case SIDE_FAULT:
        x86_x87_flush_pointers(t, &t->pointers);
        registers_settle(&t->registers, &x86_file, &t->emit);
        x86_leave(t, result(HOST_FAULT, t->block->uops[exit->uop].insn));
        break;
    case SIDE_LEAVE: // uop is the instruction that was completed
        x86_x87_flush_pointers(t, &t->pointers);
        registers_settle(&t->registers, &x86_file, &t->emit);
        x86_count(t, exit->uop + 1u);
        store_rip(t, t->block->insn_offset[exit->uop + 1u], mode_code_width(t->block->mode));
        x86_leave(t, HOST_DONE);
        break;
    case SIDE_START:
        if (exit->of_loop)
            t->loop_stub = stub;
        registers_settle(&t->registers, &x86_file, &t->emit);
        x86_leave(t, HOST_START);
        break;
    case SIDE_RETURN:
        t->index = exit->uop;
        x86_return_elsewhere(t);
        break;
    case SIDE_DIRECT:
        emit_direct(t, exit, may_pass_by(t, exit) ? stub : NULL);
        break;
    }
}

// ---- entries --------------------------------------------------------------------------------------------------------
/// With exact counts, the condition that the limit comes before the part's end.
static void compare_limit(struct translation *t)
{
    struct emit *e = &t->emit;
    struct emit_memory after = x86_at_register(S0);
    after.displacement = t->block->insn_count;
    emit_load(e, WIDTH_64, S0, FIELD(instructions));
    emit_lea(e, WIDTH_64, S0, after);
    emit_alu_load(e, EMIT_CMP, WIDTH_64, S0, FIELD(instruction_limit));
}
#define IF_ABOVE 7u

static void compare_request(struct emit *e)
{
    emit_alu_memory_imm(e, EMIT_CMP, WIDTH_32, FIELD(exit_request), 0);
}

void x86_part_start(struct translation *t)
{
    if (!t->counting)
        return;
    compare_limit(t);
    x86_add_exit(t, SIDE_START, emit_jump_if(&t->emit, IF_ABOVE));
}

void x86_loop_start(struct translation *t)
{
    struct emit *e = &t->emit;
    t->loop = e->at;
    compare_request(e);
    x86_add_exit(t, SIDE_START, emit_jump_if(e, EMIT_NOT_EQUAL))->of_loop = true;
    if (t->counting) {
        compare_limit(t);
        x86_add_exit(t, SIDE_START, emit_jump_if(e, IF_ABOVE))->of_loop = true;
    }
    x86_keep_host_words(t);
}

void x86_block_start(struct translation *t)
{
    struct emit *e = &t->emit;
    t->segments_checked = 0;
    t->start_stub = e->at; // before the entry, which so has a short way to it
    x86_leave(t, HOST_START);
    t->chain = e->at;
    compare_request(e);
    emit_jump_back_if(e, EMIT_NOT_EQUAL, t->start_stub);
    if (t->counting) {
        compare_limit(t);
        emit_jump_back_if(e, IF_ABOVE, t->start_stub);
    }
    t->body = e->at;
}

void x86_kill(uint8_t *chain, const uint8_t *stub)
{
    struct emit e;
    emit_start(&e, chain, 5);
    emit_jump_to(&e, stub);
}

void x86_patch(emit_place place, const uint8_t *target)
{
    struct emit e;
    emit_start(&e, place, 4);
    emit_patch(&e, place, target);
}

/// Places in what emit_guard writes.
void x86_set_guard(uint8_t *guard, bool user, unsigned slot, const uint8_t *target)
{
    set_page(guard + 16, user, slot);
    x86_patch(guard + 28, target);
}

/// Guest registers, recipe and what else is elsewhere to where C has it. rax is for use behind it.
static void store_guest(struct emit *e)
{
    emit_store(e, WIDTH_64, x86_c_home(VAR_RAX), HOST_RAX);
    for (unsigned var = 0; var < VAR_TEMP; var++) {
        if (!x86_moved_by[var])
            continue;
        x86_load_home(e, HOST_RAX, var);
        emit_store(e, WIDTH_64, x86_c_home(var), HOST_RAX);
    }
    for (unsigned var = VAR_RCX; var <= VAR_R15; var++) {
        if (x86_file.pin[var] != NO_REGISTER)
            emit_store(e, WIDTH_64, x86_c_home(var), x86_file.pin[var]);
    }
}

static void load_guest(struct emit *e)
{
    for (unsigned var = VAR_RCX; var <= VAR_R15; var++) {
        if (x86_file.pin[var] != NO_REGISTER)
            emit_load(e, WIDTH_64, x86_file.pin[var], x86_c_home(var));
    }
    for (unsigned var = 0; var < VAR_TEMP; var++) {
        if (!x86_moved_by[var])
            continue;
        emit_load(e, var == VAR_CC_OP ? WIDTH_32 : WIDTH_64, HOST_RAX, x86_c_home(var)); // see store_recipe_op
        x86_store_home(e, var, HOST_RAX);
    }
    emit_load(e, WIDTH_64, HOST_RAX, x86_c_home(VAR_RAX));
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

void x86_enter(struct emit *e, struct backend_entries *entries, struct fpu_routines *fpu)
{
    for (unsigned i = 0; i < ARRAY_SIZE(callee_saved); i++)
        emit_push(e, callee_saved[i]);
    emit_alu_imm(e, EMIT_SUB, WIDTH_64, HOST_RSP, FRAME_BYTES);
    emit_store(e, WIDTH_64, (struct emit_memory){HOST_RDI, HOST_NO_INDEX, 0, offsetof(struct cpu, host_stack)},
               HOST_RSP);
    emit_move(e, WIDTH_64, HOST_RSP, HOST_RDI);
    emit_move(e, WIDTH_64, S0, HOST_RSI);
    e->depth = 0;
    load_tlb(e);
    load_guest(e);
    emit_jump_register(e, S0);

    x86_fpu_routines(e, fpu);
    entries->no_chain = e->at;
    e->depth = 0;
    x86_store_home(e, VAR_RIP, S1);
    emit_move_imm(e, S0, (uint64_t)HOST_LOOKUP << X86_LEAVE_SHIFT);
    entries->leave = e->at;
    x86_fpu_spill(e, fpu);
    emit_move(e, WIDTH_64, S1, S0);
    emit_shift_imm(e, EMIT_SHR, WIDTH_64, S0, X86_LEAVE_SHIFT);
    emit_shift_imm(e, EMIT_SHL, WIDTH_64, S1, 64 - X86_LEAVE_SHIFT);
    emit_shift_imm(e, EMIT_SHR, WIDTH_64, S1, 64 - X86_LEAVE_SHIFT);
    store_guest(e);
    emit_move(e, WIDTH_64, HOST_RAX, S0);
    emit_move(e, WIDTH_64, HOST_RDX, S1);
    emit_load(e, WIDTH_64, HOST_RSP, FIELD(host_stack));
    emit_alu_imm(e, EMIT_ADD, WIDTH_64, HOST_RSP, FRAME_BYTES);
    for (unsigned i = ARRAY_SIZE(callee_saved); i-- > 0;)
        emit_pop(e, callee_saved[i]);
    emit_return(e);

    x86_find_routine(e, entries, fpu);
    write_guard_failed(e, entries, false);
    write_guard_failed(e, entries, true);

    entries->store = e->at;
    x86_begin_routine(e);
    store_guest(e);
    emit_return(e);
    entries->load = e->at;
    x86_begin_routine(e);
    load_guest(e);
    emit_return(e);
    x86_leave_routine(e, entries);
    x86_miss_routines(e, entries, fpu);
    entries->string = e->at;
    x86_string_routine(e, fpu);
    x86_flag_routines(e, entries);
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_exit_is_empty;

#endif
