// The ways in and out of the x86-64 backend's host code, from block to block and between it and C.
//
// Guest registers stay in their host registers from block to block. A direct exit inside the page is one jump, patched
// to the next block's chain entry when that has host code; one to another page goes there through a guard. Every other
// exit asks the jump cache in line (backend_x86_64_jump.c).
// Each chain entry polls, so that every cycle does. RIP is not kept: flat blocks know where in their page they are, and
// cpu->code_page is that page's linear address; blocks that are not flat know their IP.
//
// rsp points to struct cpu, which a stack of its own stands in front of (CPU_HOST_STACK): C that host code calls runs
// on that. A multiple of 16, as C wants it.
#ifdef __x86_64__

#include <assert.h>
#include <stdlib.h>

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

void x86_count(struct translation *t, int insns)
{
    if (t->counting)
        emit_alu_memory_imm(&t->emit, EMIT_ADD, WIDTH_64, FIELD(instructions), insns);
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
        t->edges[t->edge_count] = (struct host_jump){0};
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
           !(t->head->mode & MODE_UNSHARED) && // a detour ends here
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
    t->host_flags = 0; // not the guest's, for the next part neither
    exit_on(t, u, u->aux & UOP_NEGATE ? EMIT_NOT_EQUAL : EMIT_EQUAL);
}

void x86_emit_exit_to(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    x86_copy(t, WIDTH_64, S1, t->a);
    registers_give_back(&t->registers, &x86_file, e);
    x86_count(t, u->insn + 1u);
    if (t->pass->checks_late && may_chain(t) && !t->called) {
        x86_add_exit(t, SIDE_RETURN, x86_look_up_return(t));
        return;
    }
    if (t->pass->checks_late) {
        x86_compare_half(t, S0, S1);
        x86_add_exit(t, SIDE_RETURN, emit_jump_if(e, EMIT_NOT_EQUAL));
    }
    if (may_chain(t)) {
        if (!u->sub && !t->head->many_targets && !t->called && x86_rip_is_page_relative(t) &&
            t->edge_count < TRANSLATION_MAX_EDGES)
            x86_indirect_guard(t);
        x86_look_up(t);
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
void x86_load_target(struct translation *t, const struct side_exit *exit)
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
static void pass_by_flags(struct host_jump *edge, const uint8_t *from, const uint8_t *stores)
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
    struct host_jump *edge = exit->edge == NO_EDGE ? NULL : &t->edges[exit->edge];
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
            x86_page_guard(t, exit);
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
        x86_leave(t, x86_result(HOST_LINK, exit->edge));
        return;
    }
    if (may_chain(t)) {
        x86_load_target(t, exit);
        x86_look_up(t);
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
        x86_leave(t, x86_result(HOST_FAULT, t->pass->original[exit->uop].insn));
        break;
    case SIDE_LEAVE: // uop is the instruction that was completed
        x86_x87_flush_pointers(t, &t->pointers);
        registers_settle(&t->registers, &x86_file, &t->emit);
        x86_count(t, exit->uop + 1u);
        store_rip(t, block_insn_offset(t->block, exit->uop + 1u), mode_code_width(t->block->mode));
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

/// How many bytes the streams advance together; 0: not all the same.
static unsigned common_step(const struct pass_numbering *n)
{
    int first = abs(n->stream[0].step);
    for (unsigned i = 1; i < n->stream_count; i++) {
        if (abs(n->stream[i].step) != first)
            return 0;
    }
    return (unsigned)first;
}

/// reg = how many bytes, or turns, a stream may advance until it reaches the end of the page that it is on.
static void find_room(struct translation *t, const struct pass_stream *stream, bool turns, uint8_t reg)
{
    struct emit *e = &t->emit;
    uint8_t handle = registers_read(&t->registers, stream->handle);
    struct emit_memory at;
    if (handle == NO_REGISTER)
        x86_load_home(e, handle = reg, stream->handle);
    at = x86_at_register(handle);
    at.displacement = stream->step > 0 ? stream->low + (int32_t)stream->bytes - 1 : stream->low;
    emit_lea(e, WIDTH_32, reg, at);
    if (stream->step > 0)
        emit_unary(e, EMIT_NOT, WIDTH_32, reg);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, reg, PAGE_SIZE - 1);
    if (turns && abs(stream->step) > 1)
        emit_shift_imm(e, EMIT_SHR, WIDTH_32, reg, 32u - (unsigned)__builtin_clz((unsigned)abs(stream->step) - 1));
}

/// Before the later turns of a loop with streams: how many may be done.
static void find_rooms(struct translation *t)
{
    struct emit *e = &t->emit;
    const struct pass_numbering *n = &t->numbering;
    bool words = t->pending.words & (PENDING_HOST_RESULT | PENDING_HOST_SOURCE), turns = !common_step(n);
    uint8_t scratch = words && t->pending.host == S0 ? S1 : S0;
    uint8_t room = registers_define_lasting(&t->registers, &x86_file, e, n->room);
    for (unsigned i = 0; i < n->stream_count; i++) {
        uint8_t reg = i == 0 && room != NO_REGISTER ? room : scratch;
        find_room(t, &n->stream[i], turns, reg);
        if (i > 0 && room != NO_REGISTER) {
            emit_alu(e, EMIT_CMP, WIDTH_32, scratch, room);
            emit_cmov(e, EMIT_BELOW, WIDTH_32, room, scratch);
        } else if (i > 0) {
            emit_place more;
            emit_alu_load(e, EMIT_CMP, WIDTH_32, scratch, x86_home(n->room));
            more = emit_jump_if_short(e, EMIT_BELOW ^ 1);
            emit_store(e, WIDTH_32, x86_home(n->room), scratch);
            emit_patch_short(e, more);
        } else if (room == NO_REGISTER)
            emit_store(e, WIDTH_32, x86_home(n->room), scratch);
    }
    if (room != NO_REGISTER)
        registers_written(&t->registers, n->room);
}

/// The streams' handles advance; where there is no room the loop begins anew.
static void advance(struct translation *t)
{
    struct emit *e = &t->emit;
    const struct pass_numbering *n = &t->numbering;
    unsigned common = common_step(n);
    int32_t part = common ? (int32_t)common : 1;
    uint8_t room = registers_read(&t->registers, n->room);
    if (room == NO_REGISTER)
        emit_alu_memory_imm(e, EMIT_SUB, WIDTH_32, x86_home(n->room), part);
    else
        emit_alu_imm(e, EMIT_SUB, WIDTH_32, room, part);
    direct(t, &t->loop_exit, 0, emit_jump_if(e, EMIT_BELOW));
    for (unsigned i = 0; i < n->stream_count; i++) {
        uint8_t handle = registers_read(&t->registers, n->stream[i].handle);
        if (handle == NO_REGISTER)
            emit_alu_memory_imm(e, EMIT_ADD, WIDTH_64, x86_home(n->stream[i].handle), n->stream[i].step);
        else
            emit_alu_imm(e, EMIT_ADD, WIDTH_64, handle, n->stream[i].step);
    }
}

void x86_loop_start(struct translation *t)
{
    struct emit *e = &t->emit;
    bool streams = t->turns && t->numbering.stream_count;
    if (streams)
        find_rooms(t);
    t->loop = e->at;
    compare_request(e);
    x86_add_exit(t, SIDE_START, emit_jump_if(e, EMIT_NOT_EQUAL))->of_loop = true;
    if (streams && !t->counting) // later turns are as many as a page has room for, then comes the start, which polls
        t->loop = e->at;
    if (t->counting) {
        compare_limit(t);
        x86_add_exit(t, SIDE_START, emit_jump_if(e, IF_ABOVE))->of_loop = true;
    }
    if (streams)
        advance(t);
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
        emit_load(e, var == VAR_CC_OP ? WIDTH_32 : WIDTH_64, HOST_RAX, x86_c_home(var)); // as x86_store_recipe_op
        x86_store_home(e, var, HOST_RAX);
    }
    emit_load(e, WIDTH_64, HOST_RAX, x86_c_home(VAR_RAX));
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
    x86_load_tlb(e);
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
    x86_guard_routines(e, entries);

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
