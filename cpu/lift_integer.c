// Lifts of the integer chapter, first part: moves, arithmetic, logic, shifts, multiplication, bits, flags.
#include "cpu/lift.h"
#include "cpu/lift_common.h"

void lift_alu(struct lift *l, const struct insn *insn)
{
    uint8_t width = width_of(insn->operand[0].bytes), handle, old, value, source;
    const struct operand *to = &insn->operand[0];
    int64_t imm;

    source = lift_source(l, insn, 1, &imm);
    if (lift_plain_register(to)) {
        lift_op(l, (enum uop_op)insn->row->argument, width, to->reg, to->reg, source, true);
        l->uops[l->uop_count - 1].imm = imm;
        return;
    }
    old = lift_rmw(l, insn, 0, &handle);
    value = lift_temp(l);
    lift_op(l, (enum uop_op)insn->row->argument, width, value, old, source, true);
    l->uops[l->uop_count - 1].imm = imm;
    lift_rmw_end(l, insn, 0, handle, value);
}

void lift_cmp(struct lift *l, const struct insn *insn)
{
    uint8_t width = width_of(insn->operand[0].bytes), first = lift_read(l, insn, 0), source;
    int64_t imm;
    source = lift_source(l, insn, 1, &imm);
    lift_op(l, (enum uop_op)insn->row->argument, width, VAR_NONE, first, source, true);
    l->uops[l->uop_count - 1].imm = imm;
}

void lift_unary(struct lift *l, const struct insn *insn)
{
    uint8_t width = width_of(insn->operand[0].bytes), handle, old, value;
    const struct operand *to = &insn->operand[0];
    bool flags = insn->row->argument != UOP_NOT;

    if (lift_plain_register(to)) {
        lift_op(l, (enum uop_op)insn->row->argument, width, to->reg, to->reg, VAR_ZERO, flags);
        return;
    }
    old = lift_rmw(l, insn, 0, &handle);
    value = lift_temp(l);
    lift_op(l, (enum uop_op)insn->row->argument, width, value, old, VAR_ZERO, flags);
    lift_rmw_end(l, insn, 0, handle, value);
}

void lift_mov(struct lift *l, const struct insn *insn)
{
    const struct operand *to = &insn->operand[0], *from = &insn->operand[1];
    uint8_t width = width_of(to->bytes), source, handle;
    int64_t imm;

    if (to->kind == OPERAND_GPR && width >= WIDTH_32 &&
        (from->kind == OPERAND_MEMORY || from->kind == OPERAND_OFFSET)) {
        lift_load_register(l, to->reg, lift_memory(l, insn, 1, false), width);
        return;
    }
    source = lift_source(l, insn, 1, &imm);
    if (lift_plain_register(to)) {
        lift_op(l, UOP_MOV, width, to->reg, VAR_ZERO, source, false);
        l->uops[l->uop_count - 1].imm = imm;
        return;
    }
    if (to->kind == OPERAND_GPR) {
        if (source == VAR_IMM)
            source = lift_const(l, (uint64_t)imm);
        lift_rmw_end(l, insn, 0, VAR_NONE, source);
        return;
    }
    handle = lift_memory(l, insn, 0, true);
    lift_store(l, handle, source, width);
    l->uops[l->uop_count - 1].imm = imm;
}

void lift_mov_extend(struct lift *l, const struct insn *insn)
{
    uint8_t source;
    struct uop *u;
    if (insn->row->argument == UOP_ZEXT && insn->operand[1].kind == OPERAND_MEMORY && insn->operand[0].bytes >= 4) {
        lift_load_register(l, insn->operand[0].reg, lift_memory(l, insn, 1, false), width_of(insn->operand[1].bytes));
        return;
    }
    source = lift_read(l, insn, 1);
    u = lift_emit(l, (enum uop_op)insn->row->argument, width_of(insn->operand[0].bytes));
    u->dst = insn->operand[0].reg;
    u->a = source;
    u->sub = width_of(insn->operand[1].bytes);
}

void lift_lea(struct lift *l, const struct insn *insn)
{
    unsigned at = l->uop_count;
    uint8_t width = width_of(insn->operand[0].bytes), address = lift_effective(l, insn);
    struct uop *u = &l->uops[at];
    if (l->uop_count == at + 1 && width >= WIDTH_32) { // one EA: to the register itself, cut to its size
        u->dst = insn->operand[0].reg;
        u->width = width < u->width ? width : u->width;
        return;
    }
    lift_op(l, UOP_MOV, width, insn->operand[0].reg, VAR_ZERO, address, false);
}

void lift_movbe(struct lift *l, const struct insn *insn)
{
    uint8_t width = width_of(insn->operand[0].bytes), value = lift_read(l, insn, 1), swapped = lift_temp(l);
    if (width == WIDTH_16)
        lift_op_imm(l, UOP_ROL, WIDTH_16, swapped, value, 8, false);
    else
        lift_op(l, UOP_BSWAP, width, swapped, value, VAR_ZERO, false);
    lift_write(l, insn, 0, swapped);
}

void lift_movnti(struct lift *l, const struct insn *insn)
{
    lift_mov(l, insn);
}

void lift_bswap(struct lift *l, const struct insn *insn)
{
    uint8_t reg = insn->operand[0].reg, width = width_of(insn->operand[0].bytes);
    // With 16 bits the result is undefined; processors give zero.
    if (width == WIDTH_16)
        lift_op_imm(l, UOP_MOV, WIDTH_16, reg, VAR_ZERO, 0, false);
    else
        lift_op(l, UOP_BSWAP, width, reg, reg, VAR_ZERO, false);
}

void lift_shift(struct lift *l, const struct insn *insn)
{
    const struct operand *to = &insn->operand[0];
    uint8_t width = width_of(to->bytes), handle, old, value, count;
    int64_t imm;

    count = lift_source(l, insn, 1, &imm);
    if (count == VAR_IMM)
        imm &= width == WIDTH_64 ? 63 : 31;
    old = lift_rmw(l, insn, 0, &handle);
    value = lift_plain_register(to) ? to->reg : lift_temp(l);
    lift_op(l, (enum uop_op)insn->row->argument, width, value, old, count, true);
    l->uops[l->uop_count - 1].imm = imm;
    if (value != to->reg || handle != VAR_NONE || to->high)
        lift_rmw_end(l, insn, 0, handle, value);
}

void lift_double_shift(struct lift *l, const struct insn *insn)
{
    uint8_t width = width_of(insn->operand[0].bytes), handle, old, value, count;
    struct uop *u;
    int64_t imm;

    count = lift_source(l, insn, 2, &imm);
    old = lift_rmw(l, insn, 0, &handle);
    value = lift_temp(l);
    u = lift_emit(l, (enum uop_op)insn->row->argument, width);
    u->dst = value;
    u->a = old;
    u->b = insn->operand[1].reg;
    u->c = count;
    u->imm = imm;
    u->aux = UOP_SETS_FLAGS;
    lift_rmw_end(l, insn, 0, handle, value);
}

void lift_mul(struct lift *l, const struct insn *insn)
{
    uint8_t width = width_of(insn->operand[0].bytes), source = lift_read(l, insn, 0), low = lift_temp(l);
    uint8_t high = lift_temp(l);
    struct uop *u = lift_emit(l, (enum uop_op)insn->row->argument, width);
    u->dst = low;
    u->a = VAR_RAX;
    u->b = source;
    u->c = high;
    u->aux = UOP_SETS_FLAGS;
    lift_op(l, UOP_MOV, width, VAR_RAX, VAR_ZERO, low, false);
    if (width == WIDTH_8)
        lift_op(l, UOP_SET_HIGH, WIDTH_8, VAR_RAX, high, VAR_ZERO, false);
    else
        lift_op(l, UOP_MOV, width, VAR_RDX, VAR_ZERO, high, false);
}

void lift_imul(struct lift *l, const struct insn *insn)
{
    uint8_t width = width_of(insn->operand[0].bytes), a, b;
    int64_t imm = 0;
    if (insn->operand_count == 3) {
        a = lift_read(l, insn, 1);
        b = lift_source(l, insn, 2, &imm);
    } else {
        a = insn->operand[0].reg;
        b = lift_source(l, insn, 1, &imm);
    }
    lift_op(l, UOP_IMUL_LOW, width, insn->operand[0].reg, a, b, true);
    l->uops[l->uop_count - 1].imm = imm;
}

void lift_div(struct lift *l, const struct insn *insn)
{
    uint8_t width = width_of(insn->operand[0].bytes), divisor = lift_read(l, insn, 0), high = VAR_RDX;
    uint8_t quotient = lift_temp(l), remainder = lift_temp(l);
    struct uop *u;
    if (width == WIDTH_8) {
        high = lift_temp(l);
        lift_op(l, UOP_GET_HIGH, WIDTH_8, high, VAR_RAX, VAR_ZERO, false);
    }
    u = lift_emit(l, (enum uop_op)insn->row->argument, width);
    u->dst = quotient;
    u->a = VAR_RAX;
    u->b = high;
    u->c = remainder;
    u->sub = divisor;
    lift_op(l, UOP_MOV, width, VAR_RAX, VAR_ZERO, quotient, false);
    if (width == WIDTH_8)
        lift_op(l, UOP_SET_HIGH, WIDTH_8, VAR_RAX, remainder, VAR_ZERO, false);
    else
        lift_op(l, UOP_MOV, width, VAR_RDX, VAR_ZERO, remainder, false);
}

/// Handle of the operand-sized piece of a bit string in memory that holds the bit of a register operand.
static uint8_t bit_string(struct lift *l, const struct insn *insn, bool write)
{
    unsigned bytes = insn->operand[0].bytes;
    uint8_t base = lift_effective(l, insn), index = lift_temp(l), piece = lift_temp(l), offset = lift_temp(l);
    struct uop *u = lift_emit(l, UOP_SEXT, WIDTH_64);
    u->dst = index;
    u->a = insn->operand[1].reg;
    u->sub = width_of(bytes);
    lift_op_imm(l, UOP_SAR, WIDTH_64, piece, index, width_of(bytes) + 3, false);
    u = lift_emit(l, UOP_EA, width_of(insn->address_bytes));
    u->dst = offset;
    u->a = base;
    u->b = piece;
    u->sub = width_of(bytes);
    return lift_xlat(l, lift_segment(l, insn->segment, offset, bytes, write), bytes, write, insn->segment == SEG_SS);
}

void lift_bit_test(struct lift *l, const struct insn *insn)
{
    enum uop_op op = (enum uop_op)insn->row->argument;
    uint8_t width = width_of(insn->operand[0].bytes), handle = VAR_NONE, old, value, bit;
    int64_t imm = 0;

    if (insn->operand[0].kind == OPERAND_MEMORY && insn->operand[1].kind == OPERAND_GPR) {
        handle = bit_string(l, insn, op != UOP_BT);
        old = lift_load(l, handle, width);
        bit = insn->operand[1].reg;
    } else {
        bit = lift_source(l, insn, 1, &imm);
        old = op == UOP_BT ? lift_read(l, insn, 0) : lift_rmw(l, insn, 0, &handle);
    }
    value = op == UOP_BT ? VAR_NONE : lift_temp(l);
    lift_op(l, op, width, value, old, bit, true);
    l->uops[l->uop_count - 1].imm = imm;
    if (op != UOP_BT)
        lift_rmw_end(l, insn, 0, handle, value);
}

void lift_bit_scan(struct lift *l, const struct insn *insn)
{
    uint8_t reg = insn->operand[0].reg, source = lift_read(l, insn, 1);
    lift_op(l, (enum uop_op)insn->row->argument, width_of(insn->operand[0].bytes), reg, reg, source, true);
}

void lift_setcc(struct lift *l, const struct insn *insn)
{
    bool direct = lift_plain_register(&insn->operand[0]);
    uint8_t value = direct ? insn->operand[0].reg : lift_temp(l);
    struct uop *u = lift_emit(l, UOP_SETCC, WIDTH_8);
    u->dst = value;
    u->sub = (uint8_t)insn->row->argument;
    if (!direct)
        lift_write(l, insn, 0, value);
}

static void select_condition(struct lift *l, unsigned condition, uint8_t width, uint8_t dst, uint8_t no, uint8_t yes)
{
    struct uop *u = lift_emit(l, UOP_SELECT, width);
    u->dst = dst;
    u->a = no;
    u->b = yes;
    u->sub = (uint8_t)condition;
}

void lift_cmovcc(struct lift *l, const struct insn *insn)
{
    uint8_t reg = insn->operand[0].reg, source = lift_read(l, insn, 1);
    select_condition(l, insn->row->argument, width_of(insn->operand[0].bytes), reg, reg, source);
}

void lift_xchg(struct lift *l, const struct insn *insn)
{
    uint8_t width = width_of(insn->operand[0].bytes), handle, old = lift_rmw(l, insn, 0, &handle), copy = old, other;
    if (old < VAR_TEMP) {
        copy = lift_temp(l);
        lift_op(l, UOP_MOV, WIDTH_64, copy, VAR_ZERO, old, false);
    }
    other = lift_read(l, insn, 1);
    lift_rmw_end(l, insn, 0, handle, other);
    if (insn->operand[1].high)
        lift_op(l, UOP_SET_HIGH, WIDTH_8, insn->operand[1].reg, copy, VAR_ZERO, false);
    else
        lift_op(l, UOP_MOV, width, insn->operand[1].reg, VAR_ZERO, copy, false);
}

void lift_xadd(struct lift *l, const struct insn *insn)
{
    uint8_t width = width_of(insn->operand[0].bytes), handle, old = lift_rmw(l, insn, 0, &handle), copy = old;
    uint8_t other = lift_read(l, insn, 1), sum = lift_temp(l);
    if (old < VAR_TEMP) {
        copy = lift_temp(l);
        lift_op(l, UOP_MOV, WIDTH_64, copy, VAR_ZERO, old, false);
    }
    lift_op(l, UOP_ADD, width, sum, old, other, true);
    // The sum goes last: with the same register twice it is what stays.
    if (handle != VAR_NONE)
        lift_store(l, handle, sum, width);
    if (insn->operand[1].high)
        lift_op(l, UOP_SET_HIGH, WIDTH_8, insn->operand[1].reg, copy, VAR_ZERO, false);
    else
        lift_op(l, UOP_MOV, width, insn->operand[1].reg, VAR_ZERO, copy, false);
    if (handle == VAR_NONE)
        lift_rmw_end(l, insn, 0, VAR_NONE, sum);
}

void lift_cmpxchg(struct lift *l, const struct insn *insn)
{
    uint8_t width = width_of(insn->operand[0].bytes), handle, old = lift_rmw(l, insn, 0, &handle), reg;
    uint8_t other = lift_read(l, insn, 1), next = lift_temp(l), accumulator = lift_temp(l), wide = old, yes = other;
    lift_op(l, UOP_SUB, width, VAR_NONE, VAR_RAX, old, true);
    if (width == WIDTH_32) {
        wide = lift_temp(l);
        lift_op(l, UOP_MOV, WIDTH_32, wide, VAR_ZERO, old, false);
        yes = lift_temp(l);
        lift_op(l, UOP_MOV, WIDTH_32, yes, VAR_ZERO, other, false);
    }
    select_condition(l, 4, WIDTH_64, next, old, yes);
    // Whichever of accumulator and destination is not replaced keeps even its upper half.
    select_condition(l, 4, WIDTH_64, accumulator, wide, VAR_RAX);
    if (handle != VAR_NONE)
        lift_store(l, handle, next, width);
    lift_op(l, UOP_MOV, width == WIDTH_32 ? WIDTH_64 : width, VAR_RAX, VAR_ZERO, accumulator, false);
    if (handle != VAR_NONE)
        return;
    reg = insn->operand[0].reg;
    if (width != WIDTH_32)
        lift_rmw_end(l, insn, 0, VAR_NONE, next);
    else if (reg != VAR_RAX) // with the accumulator itself the compare always succeeds: the source was written
        lift_op(l, UOP_MOV, WIDTH_64, reg, VAR_ZERO, next, false);
    else
        lift_op(l, UOP_MOV, WIDTH_64, reg, VAR_ZERO, yes, false);
}

/// dst = c is zero ? yes : no, all of 64 bits.
static uint8_t select_zero(struct lift *l, uint8_t c, uint8_t yes, uint8_t no)
{
    struct uop *u = lift_emit(l, UOP_SELECT_Z, WIDTH_64);
    u->a = no;
    u->b = yes;
    u->c = c;
    return u->dst = lift_temp(l);
}

/// Memory gets its own value back where it differs, so that RAX and RDX can be loaded in either case.
static void lift_cmpxchg16b(struct lift *l, const struct insn *insn)
{
    uint8_t first = lift_linear(l, insn, 16, true, 0), second = lift_temp(l), handle[2], old[2], next[2], differs[3],
            zero;
    bool stack = insn->segment == SEG_SS;
    struct uop *u;

    lift_xlat(l, first, 16, true, stack);
    l->uops[l->uop_count - 1].aux |= UOP_ALIGNED;
    lift_op_imm(l, UOP_ADD, WIDTH_64, second, first, 8, false);
    handle[0] = lift_xlat(l, first, 8, true, stack);
    handle[1] = lift_xlat(l, second, 8, true, stack);
    for (unsigned i = 0; i < 2; i++) {
        old[i] = lift_load(l, handle[i], WIDTH_64);
        lift_op(l, UOP_XOR, WIDTH_64, differs[i] = lift_temp(l), old[i], i ? VAR_RDX : VAR_RAX, false);
    }
    lift_op(l, UOP_OR, WIDTH_64, differs[2] = lift_temp(l), differs[0], differs[1], false);
    next[0] = select_zero(l, differs[2], VAR_RBX, old[0]);
    next[1] = select_zero(l, differs[2], VAR_RCX, old[1]);
    lift_store(l, handle[0], next[0], WIDTH_64);
    lift_store(l, handle[1], next[1], WIDTH_64);
    lift_op(l, UOP_MOV, WIDTH_64, VAR_RAX, VAR_ZERO, old[0], false);
    lift_op(l, UOP_MOV, WIDTH_64, VAR_RDX, VAR_ZERO, old[1], false);
    zero = select_zero(l, differs[2], lift_const(l, FLAG_ZF), VAR_ZERO);
    u = lift_emit(l, UOP_SET_FLAGS, WIDTH_64);
    u->a = zero;
    u->imm = FLAG_ZF;
    u->aux = UOP_SETS_FLAGS;
}

void lift_cmpxchg8b(struct lift *l, const struct insn *insn)
{
    unsigned bytes = insn->operand[0].bytes;
    if (bytes == 16) {
        lift_cmpxchg16b(l, insn);
        return;
    }
    lift_call(l, HELPER_cmpxchg16b, VAR_NONE, lift_linear(l, insn, bytes, true, 0), VAR_ZERO,
              bytes | (insn->segment == SEG_SS ? 0x100u : 0));
}

void lift_cbw(struct lift *l, const struct insn *insn)
{
    uint8_t width = width_of(insn->operand_bytes);
    struct uop *u = lift_emit(l, UOP_SEXT, width);
    u->dst = u->a = VAR_RAX;
    u->sub = (uint8_t)(width - 1);
}

void lift_cwd(struct lift *l, const struct insn *insn)
{
    uint8_t width = width_of(insn->operand_bytes);
    lift_op_imm(l, UOP_SAR, width, VAR_RDX, VAR_RAX, (8 << width) - 1, false);
}

void lift_flag_op(struct lift *l, const struct insn *insn)
{
    uint8_t value = VAR_ZERO;
    struct uop *u;
    switch (insn->row->argument) {
    case 0xfc: // CLD
        lift_op_imm(l, UOP_AND, WIDTH_64, VAR_FLAGS, VAR_FLAGS, ~(int64_t)FLAG_DF, false);
        return;
    case 0xfd: // STD
        lift_op_imm(l, UOP_OR, WIDTH_64, VAR_FLAGS, VAR_FLAGS, FLAG_DF, false);
        return;
    case 0xf9: // STC
        value = lift_const(l, FLAG_CF);
        break;
    case 0xf5: { // CMC
        uint8_t flags = lift_temp(l);
        lift_emit(l, UOP_GET_FLAGS, WIDTH_64)->dst = flags;
        value = lift_temp(l);
        lift_op_imm(l, UOP_XOR, WIDTH_64, value, flags, FLAG_CF, false);
        break;
    }
    default: // CLC
        break;
    }
    u = lift_emit(l, UOP_SET_FLAGS, WIDTH_64);
    u->a = value;
    u->imm = FLAG_CF;
}

void lift_lahf(struct lift *l, const struct insn *insn)
{
    uint8_t flags = lift_temp(l), value = lift_temp(l);
    lift_emit(l, UOP_GET_FLAGS, WIDTH_64)->dst = flags;
    lift_op_imm(l, UOP_OR, WIDTH_64, value, flags, 2, false);
    lift_op(l, UOP_SET_HIGH, WIDTH_8, VAR_RAX, value, VAR_ZERO, false);
}

void lift_sahf(struct lift *l, const struct insn *insn)
{
    uint8_t value = lift_temp(l);
    struct uop *u;
    lift_op(l, UOP_GET_HIGH, WIDTH_8, value, VAR_RAX, VAR_ZERO, false);
    u = lift_emit(l, UOP_SET_FLAGS, WIDTH_64);
    u->a = value;
    u->imm = FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF | FLAG_CF;
}

void lift_salc(struct lift *l, const struct insn *insn)
{
    uint8_t carry = lift_temp(l);
    struct uop *u = lift_emit(l, UOP_SETCC, WIDTH_8);
    u->dst = carry;
    u->sub = 2;
    lift_op(l, UOP_NEG, WIDTH_8, VAR_RAX, carry, VAR_ZERO, false);
}

void lift_nop(struct lift *l, const struct insn *insn)
{
    lift_emit(l, UOP_NOP, WIDTH_8);
}

void lift_ud(struct lift *l, const struct insn *insn)
{
    lift_raise(l, VECTOR_UD);
}

void lift_fence(struct lift *l, const struct insn *insn)
{
    lift_emit(l, UOP_FENCE, WIDTH_8)->sub = (uint8_t)insn->row->argument;
}

/// ADCX and ADOX: a full add whose carry lives in one flag, the others kept.
void lift_adx(struct lift *l, const struct insn *insn)
{
    uint8_t source = lift_read(l, insn, 1), reg = insn->operand[0].reg;
    lift_op(l, UOP_ADX, width_of(insn->operand[0].bytes), reg, reg, source, true);
    l->uops[l->uop_count - 1].sub = (uint8_t)insn->row->argument;
}

void lift_crc32(struct lift *l, const struct insn *insn)
{
    uint8_t source = lift_read(l, insn, 1), value = lift_temp(l);
    lift_call(l, HELPER_crc32, value, insn->operand[0].reg, source, insn->operand[1].bytes);
    lift_op(l, UOP_MOV, WIDTH_32, insn->operand[0].reg, VAR_ZERO, value, false);
}

void lift_xlat_table(struct lift *l, const struct insn *insn)
{
    uint8_t index = lift_temp(l), address = lift_temp(l), handle, value;
    struct uop *u = lift_emit(l, UOP_ZEXT, WIDTH_64);
    u->dst = index;
    u->a = VAR_RAX;
    u->sub = WIDTH_8;
    u = lift_emit(l, UOP_EA, width_of(insn->address_bytes));
    u->dst = address;
    u->a = VAR_RBX;
    u->b = index;
    handle = lift_xlat(l, lift_segment(l, insn->segment, address, 1, false), 1, false, insn->segment == SEG_SS);
    value = lift_load(l, handle, WIDTH_8);
    lift_op(l, UOP_MOV, WIDTH_8, VAR_RAX, VAR_ZERO, value, false);
}
