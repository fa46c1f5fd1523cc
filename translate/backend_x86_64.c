// The x86-64 backend: a table of emitters by uop, and the ways in and out of host code. Empty on other
// hosts, as are its companions.
//
// rsp is struct cpu, the base of GS the TLB of user code. Guest rax..r9 have their namesakes and rsp has r12, from
// block to block; guest r10..r15 stay in memory, which costs little (x86_home). r13 and r14 are scratch, r10, r11 and
// r15 are for temporaries. A new value goes to its register at once, flags as a recipe to struct cpu unless they are
// dead. Ways in and out: backend_x86_64_exit.c.
#include "translate/backend.h"

#ifdef __x86_64__

#include "cpu/cc.h"
#include "cpu/helper.h"
#include "cpu/interp_alu.h"
#include "translate/backend_x86_64.h"

const struct register_file x86_file = {
    .pin = {HOST_RAX, HOST_RCX, HOST_RDX, HOST_RBX, HOST_R12, HOST_RBP, HOST_RSI, HOST_RDI, HOST_R8, HOST_R9,
            NO_REGISTER, NO_REGISTER, NO_REGISTER, NO_REGISTER, NO_REGISTER, NO_REGISTER},
    .temporary = 1u << HOST_R10 | 1u << T0,
    .load = x86_load_home,
    .store = x86_store_home,
};

static bool fits(int64_t value)
{
    return value == (int32_t)value;
}

// ---- calls --------------------------------------------------------------------------------------------------------
void x86_add_resume(struct translation *t, emit_place from)
{
    x86_add_exit(t, SIDE_RESUME, from);
}

/// Uops after which the interpreter's functions leave the flags themselves as recipe.
static bool makes_literal_flags(const struct uop *u)
{
    switch (u->op) {
    case UOP_POPCNT:
    case UOP_ADX:
        return u->aux & UOP_SETS_FLAGS;
    default:
        return false;
    }
}

void x86_emit_by_alu(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    const struct uop *original = &t->pass->original[t->index];
    x86_prepare_call(t);
    emit_move_imm(e, HOST_RSI, alu_word(original));
    emit_move_imm(e, HOST_RDX, (uint64_t)original->imm);
    x86_call(t, (const void *)alu_execute_word);
    if (makes_literal_flags(u))
        t->recipe = (int32_t)cc_pack(CC_LITERAL, 0);
    if (u->op == UOP_DIV || u->op == UOP_IDIV) {
        emit_test(e, WIDTH_8, S0, S0);
        x86_add_exit(t, SIDE_FAULT, emit_jump_if(e, EMIT_EQUAL));
    }
}

static void check_fault(struct translation *t)
{
    emit_alu_memory_imm(&t->emit, EMIT_CMP, WIDTH_8, FIELD(fault.pending), 0);
    x86_add_exit(t, SIDE_FAULT, emit_jump_if(&t->emit, EMIT_NOT_EQUAL));
}

static void emit_uop_call(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    const struct uop_helper_entry *helper = &uop_helpers[u->param];
    if (x86_emit_system(t, u) || x86_emit_inline_call(t, u))
        return;
    t->called = true;
    x86_prepare_call(t);
    emit_store_imm(e, WIDTH_32, FIELD(insn_in_block), u->insn);
    emit_alu_memory_imm(e, EMIT_ADD, WIDTH_64, FIELD(stat_call[u->param]), 1);
    emit_move_imm(e, S0, (uint64_t)(uintptr_t)t->block);
    emit_store(e, WIDTH_64, FIELD(running), S0);
    emit_load(e, WIDTH_64, HOST_RSI, x86_c_home(u->a));
    if (u->b == VAR_IMM)
        emit_move_imm(e, HOST_RDX, (uint64_t)u->imm);
    else
        emit_load(e, WIDTH_64, HOST_RDX, x86_c_home(u->b));
    emit_move_imm(e, HOST_RCX, (uint64_t)u->imm);
    x86_call(t, (const void *)helper->function);
    check_fault(t);
    x86_write_var(t, u->dst, WIDTH_64, S0);
}

static size_t vreg_offset(const struct translation *t, unsigned number)
{
    return (size_t)((const uint8_t *)cpu_vreg((struct cpu *)(uintptr_t)t->cpu, number) - (const uint8_t *)t->cpu);
}

static void emit_uop_row(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    if (x86_emit_inline_row(t, u))
        return;
    x86_prepare_call(t);
    emit_store_imm(e, WIDTH_32, FIELD(insn_in_block), u->insn);
    x86_field_address(t, HOST_RSI, vreg_offset(t, u->a));
    x86_field_address(t, HOST_RDX, vreg_offset(t, u->b));
    if (u->c == VAR_IMM)
        emit_move_imm(e, HOST_RCX, (uint64_t)u->imm);
    else
        emit_load(e, WIDTH_64, HOST_RCX, x86_c_home(u->c));
    x86_call(t, (const void *)row_get(u->param)->execute);
    check_fault(t);
    x86_write_var(t, u->dst, u->width, S0);
}

static void emit_uop_multiply_low(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    uint8_t to;
    if (u->width == WIDTH_8) {
        if (t->b_memory)
            x86_load_home(e, t->b = S1, u->b);
        x86_emit_by_alu(t, u);
        return;
    }
    to = x86_result_register(t, u);
    if (u->b == VAR_IMM && t->b == NO_REGISTER) {
        emit_multiply_imm(e, u->width, to, t->a, t->imm);
    } else {
        x86_copy(t, x86_at_least_32(u->width), to, t->a);
        if (t->b_memory)
            emit_multiply_load(e, u->width, to, x86_home(u->b));
        else
            emit_multiply(e, u->width, to, t->b);
    }
    if (t->flags) {
        emit_set_memory(&t->emit, 2, x86_home(VAR_CC_EXTRA));
        x86_made_flags(t, CC_MUL, u, to, FLAG_CF | FLAG_OF);
    }
    x86_finish_result(t, u, to);
}

// ---- moves --------------------------------------------------------------------------------------------------------
static void emit_uop_nop(struct translation *t, const struct uop *u)
{
}

static void emit_uop_move(struct translation *t, const struct uop *u)
{
    uint8_t reg;
    if (t->b_memory) {
        reg = u->width >= WIDTH_32 && u->dst != VAR_NONE ? registers_define(&t->registers, &x86_file, &t->emit, u->dst)
                                                         : NO_REGISTER;
        if (reg != NO_REGISTER) {
            emit_load(&t->emit, u->width, reg, x86_home(u->b));
            registers_written(&t->registers, u->dst);
            return;
        }
        x86_load_home(&t->emit, t->b = S1, u->b);
    }
    if (u->b != VAR_IMM) {
        x86_write_var(t, u->dst, u->width, t->b);
        return;
    }
    reg =
        u->width >= WIDTH_32 && u->dst != VAR_NONE ? registers_define(&t->registers, &x86_file, &t->emit, u->dst) : S0;
    if (reg == NO_REGISTER && fits(u->width == WIDTH_32 ? (uint32_t)u->imm : u->imm)) {
        emit_store_imm(&t->emit, WIDTH_64, x86_home(u->dst), (int32_t)u->imm);
        return;
    }
    if (reg == NO_REGISTER)
        reg = S0;
    emit_move_imm(&t->emit, reg, u->width == WIDTH_32 ? (uint32_t)u->imm : (uint64_t)u->imm);
    x86_finish_result(t, u, reg);
}

static void emit_uop_extend(struct translation *t, const struct uop *u)
{
    bool is_signed = u->op == UOP_SEXT;
    uint8_t to = u->width >= WIDTH_32 ? x86_result_register(t, u) : S0;
    emit_extend(&t->emit, is_signed, u->sub, to, t->a);
    if (is_signed && u->width == WIDTH_32)
        emit_move(&t->emit, WIDTH_32, to, to);
    x86_finish_result(t, u, to);
}

static void emit_uop_get_high(struct translation *t, const struct uop *u)
{
    emit_move(&t->emit, WIDTH_32, S0, t->a);
    emit_shift_imm(&t->emit, EMIT_SHR, WIDTH_32, S0, 8);
    x86_write_var(t, u->dst, WIDTH_8, S0);
}

static void emit_uop_set_high(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    uint8_t reg = registers_read(&t->registers, u->dst);
    emit_extend(e, false, WIDTH_8, S1, t->a);
    if (reg == NO_REGISTER)
        x86_load_home(e, S0, u->dst);
    else
        emit_move(e, WIDTH_64, S0, reg);
    emit_shift_imm(e, EMIT_ROR, WIDTH_64, S0, 8);
    emit_move(e, WIDTH_8, S0, S1);
    emit_shift_imm(e, EMIT_ROL, WIDTH_64, S0, 8);
    x86_write_var(t, u->dst, WIDTH_64, S0);
}

static void emit_uop_bswap(struct translation *t, const struct uop *u)
{
    unsigned width = u->width == WIDTH_32 ? WIDTH_32 : WIDTH_64;
    emit_move(&t->emit, width, S0, t->a);
    emit_bswap(&t->emit, width, S0);
    x86_write_var(t, u->dst, WIDTH_64, S0);
}

static void emit_uop_setcc(struct translation *t, const struct uop *u)
{
    uint8_t reg = registers_define(&t->registers, &x86_file, &t->emit, u->dst);
    if (reg == NO_REGISTER) {
        emit_set_memory(&t->emit, t->condition, x86_home(u->dst));
        return;
    }
    emit_set(&t->emit, t->condition, reg);
    registers_written(&t->registers, u->dst);
}

static void emit_uop_select(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    unsigned width = x86_at_least_32(u->width);
    uint8_t to;
    if (t->b == NO_REGISTER) {
        emit_move_imm(e, S1, (uint64_t)(int64_t)t->imm);
        t->b = S1;
    }
    to = u->width >= WIDTH_32 ? x86_result_register(t, u) : S0;
    x86_copy(t, width, to, t->a);
    emit_cmov(e, t->condition, width, to, t->b);
    if (u->width >= WIDTH_32)
        x86_finish_result(t, u, to);
    else
        x86_write_var(t, u->dst, u->width, to);
}

/// Moves 64 bits, whatever its width: that is c's.
static void emit_uop_select_zero(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    uint8_t c = registers_read(&t->registers, u->c);
    if (t->b == NO_REGISTER) {
        emit_move_imm(e, S1, (uint64_t)(int64_t)t->imm);
        t->b = S1;
    }
    x86_copy(t, WIDTH_64, S0, t->a);
    if (c == NO_REGISTER)
        emit_alu_memory_imm(e, EMIT_CMP, u->width, x86_home(u->c), 0);
    else
        emit_test(e, u->width, c, c);
    emit_cmov(e, EMIT_EQUAL, WIDTH_64, S0, t->b);
    x86_write_var(t, u->dst, WIDTH_64, S0);
}

/// Whether the address is a register plus a constant and the next uop's check is all that wants it: then that, and the
/// access behind it, add them themselves. The interpreter makes it again.
static bool folds(struct translation *t, const struct uop *u)
{
    const struct uop *next = u + 1;
    if (u->width != WIDTH_64 || u->b != VAR_ZERO || u->a > VAR_R15 || u->dst < VAR_TEMP || !fits(u->imm) ||
        t->index + 1u >= t->pass->count || next->op != UOP_XLAT || next->a != u->dst || next->insn != u->insn ||
        (next->aux & UOP_ALIGNED) || t->pass->variables[u->dst].uses != 1 || t->pass->facts[t->index + 1].refused ||
        registers_read(&t->registers, u->a) == NO_REGISTER || !x86_made_again(t, t->index))
        return false;
    t->folded_to = (uint16_t)(t->index + 1);
    t->folded = u->dst;
    t->folded_base = u->a;
    t->folded_distance = (int32_t)u->imm;
    return true;
}

/// The register for a sum, which may be that of the second operand, too.
static uint8_t sum_register(struct translation *t, const struct uop *u)
{
    uint8_t reg = u->dst < VAR_TEMP ? t->registers.of[u->dst] : NO_REGISTER;
    return reg != NO_REGISTER ? reg : x86_result_register(t, u);
}

static void emit_uop_ea(struct translation *t, const struct uop *u)
{
    if (folds(t, u))
        return;
    struct emit *e = &t->emit;
    uint8_t to = u->width >= WIDTH_32 ? sum_register(t, u) : S0;
    struct emit_memory m = x86_at_register(t->a);
    int64_t constant = u->imm;

    if (u->a == VAR_RIP && x86_rip_is_page_relative(t)) {
        emit_load(e, WIDTH_64, S0, FIELD(code_page));
        constant += (int64_t)(t->block->backing & ~PAGE_MASK);
    } else if (u->a == VAR_RIP)
        x86_load_rip(t, S0, 0);
    if (u->b != VAR_ZERO) {
        if (t->b == NO_REGISTER) // the lifter scales variables only
            emit_move_imm(e, S1, (uint64_t)(int64_t)t->imm), t->b = S1;
        m.index = t->b;
        m.scale = u->sub;
    }
    if (fits(constant)) {
        m.displacement = (int32_t)constant;
        emit_lea(e, x86_at_least_32(u->width), to, m);
    } else {
        emit_lea(e, WIDTH_64, to, m);
        emit_move_imm(e, S1, (uint64_t)constant);
        m = (struct emit_memory){.base = to, .index = S1};
        emit_lea(e, x86_at_least_32(u->width), to, m);
    }
    if (u->width < WIDTH_32) { // the one uop that zero-extends 16 bits, whatever it writes
        emit_extend(e, false, u->width, to, to);
        x86_write_var(t, u->dst, WIDTH_64, to);
    } else
        x86_finish_result(t, u, to);
}

static void emit_uop_fence(struct translation *t, const struct uop *u)
{
    if (u->sub != 1 && u->sub != 2) // loads and stores are ordered enough
        emit_fence(&t->emit);
}

// ---- memory -------------------------------------------------------------------------------------------------------
static enum mmu_mode access_mode(const struct translation *t, const struct uop *u)
{
    if (u->aux & UOP_MODE)
        return (enum mmu_mode)u->c;
    if ((t->block->mode & MODE_CPL_MASK) == 3)
        return MMU_USER;
    return t->block->mode & MODE_AC ? MMU_KERNEL_AC : MMU_KERNEL;
}

/// The register for the handle of an access; S0: none. A leader's handle lives long.
static uint8_t handle_register(struct translation *t, const struct uop *u)
{
    uint8_t reg = NO_REGISTER;
    if (u->dst == VAR_NONE)
        return S0;
    if (t->pass->facts[t->index].group_bytes || u->dst >= VAR_ANCHOR)
        reg = registers_define_lasting(&t->registers, &x86_file, &t->emit, u->dst);
    else if (x86_dies(t, u->a) && t->a != S0 && t->folded_to != t->index &&
             registers_inherit(&t->registers, u->a, u->dst))
        reg = t->registers.of[u->dst];
    else
        reg = registers_define(&t->registers, &x86_file, &t->emit, u->dst);
    return reg == NO_REGISTER ? S0 : reg;
}

/// Whether the next uop is a load or store that finds the handle in S0 yet.
static bool is_used_next(const struct translation *t, const struct uop *u)
{
    const struct uop *next = u + 1;
    return u->op == UOP_XLAT && t->index + 1u < t->pass->count && !t->pending.words && u->dst >= VAR_TEMP &&
           next->a == u->dst && next->insn == u->insn && (next->op == UOP_LOAD || next->op == UOP_STORE);
}

/// The handle in `reg` is the variable's.
static void finish_handle(struct translation *t, const struct uop *u, uint8_t reg)
{
    if (u->dst == VAR_NONE)
        return;
    if (reg == S0) {
        x86_store_home(&t->emit, u->dst, S0);
        if (is_used_next(t, u)) {
            t->carried = u->dst;
            t->carried_to = (uint16_t)(t->index + 1);
            t->carried_base = NO_REGISTER;
            t->carried_distance = 0;
        }
    } else
        registers_written(&t->registers, u->dst);
}

/// Whether the next uop is a load or store, and all that wants the handle: then it stays in S0, less the address, whose
/// register is kept for so long.
static bool carries_addend(struct translation *t, const struct uop *u)
{
    const struct uop *next = u + 1;
    if (u->op != UOP_XLAT || t->index + 1u >= t->pass->count || u->dst < VAR_TEMP || u->dst >= VAR_ANCHOR ||
        t->a == S0 || t->pass->facts[t->index].group_bytes || t->pass->variables[u->dst].uses != 1 ||
        next->a != u->dst || next->insn != u->insn || (next->op != UOP_LOAD && next->op != UOP_STORE))
        return false;
    if (t->pending.words) { // what that would do in between needs S0
        const struct pending_flags pending = t->pending;
        t->index++;
        x86_settle_flags(t, next);
        t->index--;
        if (!t->pass->facts[t->index + 1]
                 .flags_after) // nothing was written: dead behind, but who leaves here wants them
            t->pending = pending;
    }
    t->carried = u->dst;
    t->carried_to = (uint16_t)(t->index + 1);
    t->carried_base = t->a;
    t->carried_distance = t->folded_to == t->index ? t->folded_distance : 0;
    return true;
}

#ifdef DOPPEL_DEBUG_CHECKS
/// A handle that was made without a check must be what the check gives.
static void compare_handle(struct translation *t, const struct uop *u, uint8_t reg)
{
    struct emit *e = &t->emit;
    uint8_t leader = t->pass->facts[t->index].leader, base = t->registers.of[leader];
    struct emit_memory m;
    emit_place same;
    if (leader == VAR_ZERO)
        return;
    if (base == NO_REGISTER)
        x86_load_home(e, base = S1, leader);
    m = x86_at_register(base);
    m.displacement = t->pass->facts[t->index].displacement;
    emit_lea(e, WIDTH_64, S1, m);
    emit_alu(e, EMIT_CMP, WIDTH_64, S1, reg);
    same = emit_jump_if(e, EMIT_EQUAL);
    emit_byte(e, 0x0f); // UD2
    emit_byte(e, 0x0b);
    emit_patch_here(e, same);
}
#endif

#define EARLY_BYTES 256 // behind a base to the access's end: with more, too often they are on different pages

/// The register whose page is looked up in the TLB: the base's, which is known earlier, where the address is so little
/// above it that the last byte's page can be found there only if the base is on the same page. NO_REGISTER: that of the
/// address.
static uint8_t early_page(const struct translation *t, const struct uop *u, int32_t low, int32_t last)
{
    uint8_t base = t->pass->facts[t->index].tlb_base;
    if (t->folded_to == t->index)
        return low >= 0 && last < EARLY_BYTES ? t->a : NO_REGISTER;
    if (base == VAR_NONE || low < 0 || u->op != UOP_XLAT || (u->aux & UOP_ALIGNED))
        return NO_REGISTER;
    return registers_read(&t->registers, base);
}

/// Whether the next uop is a store, and all that wants the handle, and what it writes is at hand already.
static bool stores_next(const struct translation *t, const struct uop *u)
{
    const struct uop *next = &t->pass->uops[t->index + 1u];
    if (u->dst < VAR_TEMP || u->dst >= VAR_ANCHOR || t->index + 1u >= t->pass->count || next->a != u->dst ||
        t->pass->variables[u->dst].uses != 1 || (u->aux & UOP_ALIGNED) || t->pass->facts[t->index + 1].refused)
        return false;
    if (next->op == UOP_STORE)
        return u->param == 1u << next->width && u->param > 1;
    return next->op == UOP_VSTORE && u->param == next->param && !(x86_simd_needs(t, t->index + 1u) & ~t->resident);
}

void x86_emit_xlat(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    bool write = u->aux & UOP_WRITE;
    enum mmu_mode mode = access_mode(t, u);
    struct emit_memory tag = x86_tlb_tag(mode, write, S0), addend_word = x86_tlb_word(mode, TLB_ADDEND, S0),
                       first = x86_at_register(t->a), last = first;
    // Of a group the whole range is checked, as one access.
    unsigned group = t->pass->facts[t->index].group_bytes, bytes = group ? group : u->param;
    int32_t distance = t->folded_to == t->index ? t->folded_distance : 0;
    int32_t low = distance + (group ? t->pass->facts[t->index].group_low : 0);
    struct side_exit *exit;
    bool in_place; // the handle takes the address's register
    bool addend;   // it is left apart from the address
    uint8_t to, page = early_page(t, u, low, low + (int32_t)bytes - 1), page_of = page != NO_REGISTER ? page : t->a;

    // The compare with the TLB's tag can tell of an address that is not aligned, too: what is below the alignment goes
    // above the page's number.
    bool folds = (u->aux & UOP_ALIGNED) && !group && !(bytes & (bytes - 1)) && x86_host_has(t, FEATURE_BMI2);

    if ((u->aux & UOP_ALIGNED) && !folds) {
        emit_test_imm(e, WIDTH_32, t->a, (int32_t)u->param - 1);
        x86_add_exit(t, SIDE_RESUME, emit_jump_if(e, EMIT_NOT_EQUAL));
    }
    if (u->a == VAR_RIP) // its slot is not kept, and needed below
        x86_store_home(e, VAR_RIP, t->a);
    addend = carries_addend(t, u);
    to = addend ? S0 : handle_register(t, u);
    in_place = to == t->a && to != S0;
    first.displacement = low;
    last.displacement = low + (int32_t)bytes - 1;
    if (folds) {
        unsigned shift = (unsigned)__builtin_ctz(bytes);
        emit_rotate_right(e, WIDTH_64, S1, t->a, shift);
        emit_shift_imm(e, EMIT_SHR, WIDTH_64, S1, PAGE_SHIFT - shift);
    } else {
        if (last.displacement)
            emit_lea(e, WIDTH_64, S1, last);
        x86_page_number(e, x86_host_has(t, FEATURE_BMI2), last.displacement ? S1 : t->a);
    }
    if (low && page == NO_REGISTER) {
        emit_lea(e, WIDTH_32, S0, first);
        page_of = S0;
    }
    x86_tlb_slot(e, x86_host_has(t, FEATURE_BMI1), page_of);
    emit_alu_load(e, EMIT_CMP, WIDTH_64, S1, tag);
    exit = x86_add_exit(t, SIDE_MISS, emit_jump_if(e, EMIT_NOT_EQUAL));
    if (in_place) { // as it was at the branch
        exit->registers.var[to] = u->a;
        exit->registers.dirty |= 1u << to;
    }
    if (in_place)
        emit_alu_load(e, EMIT_ADD, WIDTH_64, to, addend_word);
    else {
        emit_load(e, WIDTH_64, to, addend_word);
        if (t->a == S0)
            emit_alu_load(e, EMIT_ADD, WIDTH_64, to, x86_home(u->a));
        else if (!addend)
            x86_add_to(t, to, t->a, distance);
    }
    exit->linear = t->folded_to == t->index ? t->folded_base : u->a;
    exit->distance = distance;
    exit->aligned = folds;
    exit->addend = addend;
    exit->by_base = page != NO_REGISTER;
    exit->result = to;
    exit->access = x86_access(u->param, write, mode);
    if (group || t->pass->facts[t->index].advances)
        exit->access |= X86_ACCESS_GROUP;
    if (t->pass->facts[t->index].held)
        exit->access |= X86_ACCESS_KEPT;
    if (exit->access & (X86_ACCESS_GROUP | X86_ACCESS_KEPT))
        exit->access |= x86_access_span(low - distance, bytes);
    if (t->pass->facts[t->index].early_write)
        exit->access |= X86_ACCESS_EARLY;
    if (!(exit->access & (X86_ACCESS_GROUP | X86_ACCESS_KEPT | X86_ACCESS_EARLY)) && stores_next(t, u))
        exit->access |= X86_ACCESS_STORE;
    exit->back = e->at;
    if (!addend)
        finish_handle(t, u, to);
#ifdef DOPPEL_DEBUG_CHECKS
    compare_handle(t, u, to);
#endif
}

/// Where a load or store finds its bytes.
struct emit_memory x86_at_handle(const struct translation *t)
{
    struct emit_memory m = x86_at_register(t->a);
    m.displacement = t->pass->facts[t->index].displacement;
    if (t->carried_to == t->index && t->a == S0 && t->carried == t->pass->uops[t->index].a &&
        t->carried_base != NO_REGISTER) {
        m.base = t->carried_base;
        m.index = S0;
        m.displacement += t->carried_distance;
    }
    return m;
}

static void emit_uop_load(struct translation *t, const struct uop *u)
{
    uint8_t to = NO_REGISTER;
    if (u->dst != VAR_NONE) {
        if (x86_dies(t, u->a))
            registers_inherit(&t->registers, u->a, u->dst);
        to = registers_define(&t->registers, &x86_file, &t->emit, u->dst);
    }
    if (to != NO_REGISTER) {
        emit_load(&t->emit, u->width, to, x86_at_handle(t));
        registers_written(&t->registers, u->dst);
        return;
    }
    emit_load(&t->emit, u->width, S0, x86_at_handle(t));
    x86_write_var(t, u->dst, WIDTH_64, S0);
}

static void emit_uop_store(struct translation *t, const struct uop *u)
{
    if (t->b == NO_REGISTER)
        emit_store_imm(&t->emit, u->width, x86_at_handle(t), t->imm);
    else
        emit_store(&t->emit, u->width, x86_at_handle(t), t->b);
}

/// What the interpreter does: odd sizes.
static bool is_supported(const struct uop *u)
{
    switch (u->op) {
    case UOP_SEG:
        return u->sub <= SEG_GS && u->param >= 1 && u->param <= 4096;
    case UOP_XLAT:
        return u->param >= 1 && u->param <= 64 && (!(u->aux & UOP_MODE) || u->c < MMU_MODES);
    case UOP_VLOAD: // 1, 2 and 10 bytes by way of a temporary
        return u->dst < VREG_MM && (u->param == 4 || u->param == 8 || u->param == 16 || (u->param == 32 && u->sub) ||
                                    (u->dst >= VREG_TEMP && (u->param <= 2 || u->param == 10)));
    case UOP_VSTORE:
        return u->param == 4 || u->param == 8 || ((u->param == 16 || u->param == 32) && u->b < VREG_MM);
    case UOP_VMOV:
        return u->dst < VREG_MM && u->b < VREG_MM;
    case UOP_CALL:
        return (u->width == WIDTH_8 || u->width == WIDTH_64) && u->param < uop_helper_count;
    case UOP_EXIT_IF_ZERO:
        return u->c <= WIDTH_64;
    default:
        return true;
    }
}

#define ASKED(op, word) ((op) / 64 == (word) ? BIT((op) % 64) : 0)
#define ASKED_OF(word)                                                                                                 \
    (ASKED(UOP_SEG, word) | ASKED(UOP_XLAT, word) | ASKED(UOP_VLOAD, word) | ASKED(UOP_VSTORE, word) |                 \
     ASKED(UOP_VMOV, word) | ASKED(UOP_CALL, word) | ASKED(UOP_EXIT_IF_ZERO, word))
static const struct pass_support supported = {.asked = {ASKED_OF(0), ASKED_OF(1)}, .answer = is_supported};

static void load_var(struct translation *t, uint8_t to, unsigned var)
{
    if (var == VAR_RIP)
        x86_load_rip(t, to, 0);
    else
        x86_load_home(&t->emit, to, var);
}

static const struct backend_rule rules[UOP_OPS] = {
    [UOP_NOP] = {emit_uop_nop, KEEP_FLAGS},
    [UOP_MOV] = {emit_uop_move, IN_B | B_MEMORY | KEEP_FLAGS},
    [UOP_ZEXT] = {emit_uop_extend, IN_A | KEEP_FLAGS},
    [UOP_SEXT] = {emit_uop_extend, IN_A | KEEP_FLAGS},
    [UOP_GET_HIGH] = {emit_uop_get_high, IN_A},
    [UOP_SET_HIGH] = {emit_uop_set_high, IN_A},
    [UOP_ADD] = {x86_emit_add, IN_A | IN_B | A_MEMORY | B_MEMORY},
    [UOP_ADC] = {x86_emit_adc, IN_A | IN_B | NEED_CARRY},
    [UOP_SUB] = {x86_emit_sub, IN_A | IN_B | A_MEMORY | B_MEMORY},
    [UOP_SBB] = {x86_emit_sbb, IN_A | IN_B | NEED_CARRY},
    [UOP_AND] = {x86_emit_and, IN_A | IN_B | A_MEMORY | B_MEMORY},
    [UOP_OR] = {x86_emit_or, IN_A | IN_B | A_MEMORY | B_MEMORY},
    [UOP_XOR] = {x86_emit_xor, IN_A | IN_B | A_MEMORY | B_MEMORY},
    [UOP_NOT] = {x86_emit_not, IN_A | KEEP_FLAGS},
    [UOP_NEG] = {x86_emit_neg, IN_A},
    [UOP_INC] = {x86_emit_inc, IN_A | CARRY_IF_LIVE},
    [UOP_DEC] = {x86_emit_dec, IN_A | CARRY_IF_LIVE},
    [UOP_SHL] = {x86_emit_shift, IN_A | IN_B},
    [UOP_SHR] = {x86_emit_shift, IN_A | IN_B},
    [UOP_SAR] = {x86_emit_shift, IN_A | IN_B},
    [UOP_ROL] = {x86_emit_rotate, IN_A | IN_B},
    [UOP_ROR] = {x86_emit_rotate, IN_A | IN_B},
    [UOP_RCL] = {x86_emit_rotate_carry},
    [UOP_RCR] = {x86_emit_rotate_carry},
    [UOP_SHLD] = {x86_emit_double_shift},
    [UOP_SHRD] = {x86_emit_double_shift},
    [UOP_MUL] = {x86_emit_multiply, IN_A | IN_B},
    [UOP_IMUL] = {x86_emit_multiply, IN_A | IN_B},
    [UOP_IMUL_LOW] = {emit_uop_multiply_low, IN_A | IN_B | B_MEMORY},
    [UOP_DIV] = {x86_emit_divide},
    [UOP_IDIV] = {x86_emit_divide},
    [UOP_BT] = {x86_emit_bit_test, IN_A | IN_B},
    [UOP_BTS] = {x86_emit_bit_test, IN_A | IN_B},
    [UOP_BTR] = {x86_emit_bit_test, IN_A | IN_B},
    [UOP_BTC] = {x86_emit_bit_test, IN_A | IN_B},
    [UOP_BSF] = {x86_emit_scan, IN_A | IN_B},
    [UOP_BSR] = {x86_emit_scan, IN_A | IN_B},
    [UOP_TZCNT] = {x86_emit_count, IN_B},
    [UOP_LZCNT] = {x86_emit_count, IN_B},
    [UOP_POPCNT] = {x86_emit_count, IN_B},
    [UOP_BLSI] = {x86_emit_lowest_bit, IN_A},
    [UOP_BLSR] = {x86_emit_lowest_bit, IN_A},
    [UOP_BLSMSK] = {x86_emit_lowest_bit, IN_A},
    [UOP_BZHI] = {x86_emit_bit_field, IN_A | IN_B},
    [UOP_BEXTR] = {x86_emit_bit_field, IN_A | IN_B},
    [UOP_PDEP] = {x86_emit_scatter_gather, IN_A | IN_B},
    [UOP_PEXT] = {x86_emit_scatter_gather, IN_A | IN_B},
    [UOP_ADX] = {x86_emit_adx, IN_A | IN_B},
    [UOP_BSWAP] = {emit_uop_bswap, IN_A | KEEP_FLAGS},
    [UOP_SETCC] = {emit_uop_setcc, NEED_FLAGS | KEEP_FLAGS},
    [UOP_SELECT] = {emit_uop_select, IN_A | IN_B | NEED_FLAGS | KEEP_FLAGS},
    [UOP_SELECT_Z] = {emit_uop_select_zero, IN_A | IN_B},
    [UOP_CHECK_TARGET] = {x86_emit_check_target, IN_A},
    [UOP_GET_FLAGS] = {x86_emit_get_flags},
    [UOP_SET_FLAGS] = {x86_emit_set_flags, IN_A},
    [UOP_EA] = {emit_uop_ea, IN_A | IN_B | KEEP_FLAGS},
    [UOP_SEG] = {x86_emit_segment, IN_A},
    [UOP_XLAT] = {x86_emit_xlat, IN_A},
    [UOP_LOAD] = {emit_uop_load, IN_A | KEEP_FLAGS},
    [UOP_STORE] = {emit_uop_store, IN_A | IN_B | KEEP_FLAGS},
    [UOP_FENCE] = {emit_uop_fence, KEEP_FLAGS},
    [UOP_VLOAD] = {x86_emit_vector_load, IN_A},
    [UOP_VSTORE] = {x86_emit_vector_store, IN_A | KEEP_FLAGS},
    [UOP_VMOV] = {x86_emit_vector_move},
    [UOP_ROW] = {emit_uop_row},
    [UOP_CALL] = {emit_uop_call},
    [UOP_RAISE] = {x86_emit_raise},
    [UOP_EXIT] = {x86_emit_exit},
    [UOP_EXIT_IF] = {x86_emit_exit_if, NEED_FLAGS},
    [UOP_EXIT_IF_ZERO] = {x86_emit_exit_if_zero, IN_A},
    [UOP_EXIT_TO] = {x86_emit_exit_to, IN_A},
};

const struct backend backend_x86_64 = {
    .name = "x86_64",
    .file = &x86_file,
    .rules = rules,
    .supported = &supported,
    .enter = x86_enter,
    .block_start = x86_block_start,
    .loop_start = x86_loop_start,
    .loop_end = x86_loop_end,
    .part_start = x86_part_start,
    .kill = x86_kill,
    .patch = x86_patch,
    .set_guard = x86_set_guard,
    .set_indirect = x86_set_indirect,
    .base_offset = X86_GS_OFFSET,
    .guard_bytes = X86_GUARD_BYTES,
    .poll_bytes = X86_POLL_BYTES,
    .prepare = x86_fpu_prepare,
    .stays = x86_stays,
    .features = x86_host_features,
    .load_imm = emit_move_imm,
    .load_var = load_var,
    .settle_flags = x86_settle_flags,
    .save_carry = x86_save_carry,
    .condition = x86_make_condition,
    .resume = x86_resume,
    .check_leave = x86_check_leave,
    .side_exit = x86_side_exit,
    .scratch = {S0, S1},
};

#endif
