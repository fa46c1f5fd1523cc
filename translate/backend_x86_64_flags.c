// The x86-64 backend's subroutines that make the six flags of the recipe in struct cpu, where a block does not know
// what the recipe is: cpu/cc.h in host code, because a call of C costs all registers. The host makes them itself, by
// the recipe's operation once more. All change S0, S1 and the host's flags and nothing else.
#ifdef __x86_64__

#include "cpu/cc.h"
#include "translate/backend_x86_64.h"

#define RECIPE_OPS (CC_OP_BITS / 4 + 1u) // VAR_CC_OP cannot lead outside of the table
#define STUB_SHIFT 6u                    // of the table's parts, bytes
#define HOST_BELOW 2u

_Static_assert(CC_OPS <= RECIPE_OPS, "all recipes have a part");

/// S0 and S1 = result and second operand.
static void emit_operands(struct emit *e)
{
    x86_load_home(e, S0, VAR_CC_RESULT);
    x86_load_home(e, S1, VAR_CC_SRC);
}

/// CF = the carry that the recipe keeps in its extra part, of which one byte may be all that was stored.
static void emit_extra_carry(struct emit *e)
{
    emit_alu_memory_imm(e, EMIT_CMP, WIDTH_8, x86_home(VAR_CC_EXTRA), 1);
    emit_complement_carry(e);
}

/// S1 = the second operand that is part of VAR_CC_OP.
static void emit_recipe_imm(struct emit *e)
{
    struct emit_memory imm = x86_home(VAR_CC_OP);
    imm.displacement += CC_IMM_SHIFT / 8;
    emit_load(e, WIDTH_16, S1, imm);
    emit_extend(e, true, WIDTH_16, S1, S1);
}

bool x86_emit_recipe_flags(struct emit *e, unsigned op, unsigned width)
{
    static const uint8_t shifts[] = {EMIT_SHL, EMIT_SHR, EMIT_SAR};
    switch (op) {
    case CC_TEST:
        x86_load_home(e, S0, VAR_CC_RESULT);
        emit_alu_load(e, EMIT_AND, width, S0, x86_home(VAR_CC_SRC));
        emit_alu_imm(e, EMIT_CMP, width, S0, 0); // see CC_LOGIC
        return true;
    case CC_TEST_IMM:
        x86_load_home(e, S0, VAR_CC_RESULT);
        emit_recipe_imm(e);
        emit_alu(e, EMIT_AND, width, S0, S1);
        emit_alu_imm(e, EMIT_CMP, width, S0, 0);
        return true;
    case CC_CMP:
        x86_load_home(e, S0, VAR_CC_RESULT);
        emit_alu_load(e, EMIT_CMP, width, S0, x86_home(VAR_CC_SRC));
        return true;
    case CC_CMP_IMM:
        x86_load_home(e, S0, VAR_CC_RESULT);
        emit_recipe_imm(e);
        emit_alu(e, EMIT_CMP, width, S0, S1);
        return true;
    case CC_ADD_IMM:
        x86_load_home(e, S0, VAR_CC_RESULT);
        emit_recipe_imm(e);
        emit_alu(e, EMIT_SUB, width, S0, S1);
        emit_alu(e, EMIT_ADD, width, S0, S1);
        return true;
    case CC_SUB_IMM:
        x86_load_home(e, S0, VAR_CC_RESULT);
        emit_recipe_imm(e);
        emit_alu(e, EMIT_ADD, width, S0, S1);
        emit_alu(e, EMIT_CMP, width, S0, S1);
        return true;
    case CC_ADD:
        emit_operands(e);
        emit_alu(e, EMIT_SUB, width, S0, S1);
        emit_alu(e, EMIT_ADD, width, S0, S1);
        return true;
    case CC_ADC:
        emit_operands(e);
        emit_alu(e, EMIT_SUB, width, S0, S1);
        emit_extra_carry(e);
        emit_alu_imm(e, EMIT_SBB, width, S0, 0);
        emit_extra_carry(e);
        emit_alu(e, EMIT_ADC, width, S0, S1);
        return true;
    case CC_SUB:
        emit_operands(e);
        emit_alu(e, EMIT_ADD, width, S0, S1);
        emit_alu(e, EMIT_CMP, width, S0, S1);
        return true;
    case CC_SBB:
        emit_operands(e);
        emit_extra_carry(e);
        emit_alu(e, EMIT_ADC, width, S0, S1);
        emit_extra_carry(e);
        emit_alu(e, EMIT_SBB, width, S0, S1);
        return true;
    case CC_LOGIC: // by CMP, because AF is 0
        x86_load_home(e, S0, VAR_CC_RESULT);
        emit_alu_imm(e, EMIT_CMP, width, S0, 0);
        return true;
    case CC_INC:
    case CC_DEC:
        x86_load_home(e, S0, VAR_CC_RESULT);
        emit_increment(e, op == CC_INC, width, S0);
        emit_extra_carry(e);
        emit_increment(e, op == CC_DEC, width, S0);
        return true;
    case CC_SHL:
    case CC_SHR:
    case CC_SAR:
        x86_load_home(e, S0, VAR_CC_SRC);
        emit_shift_imm(e, (enum emit_shift)shifts[op - CC_SHL], width, S0, 1);
        return true;
    default:
        return false;
    }
}

/// As CC_LOGIC with a carry.
static void emit_logic_with_carry(struct emit *e, unsigned width)
{
    emit_place clear;
    x86_load_home(e, S0, VAR_CC_RESULT);
    emit_test_memory_imm(e, x86_home(VAR_CC_EXTRA), 1);
    clear = emit_jump_if(e, EMIT_EQUAL);
    emit_alu_imm(e, EMIT_CMP, width, S0, 0);
    emit_set_carry(e);
    emit_return(e);
    emit_patch_here(e, clear);
    emit_alu_imm(e, EMIT_CMP, width, S0, 0);
}

/// SF and PF of the result; CF and OF are an overflow. Ends with a jump to `pour`.
static emit_place emit_multiplied(struct emit *e, unsigned width)
{
    x86_load_home(e, S0, VAR_CC_RESULT);
    emit_alu_imm(e, EMIT_CMP, width, S0, 0);
    emit_push_flags(e);
    emit_pop(e, S0);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, (int32_t)(FLAG_SF | FLAG_PF));
    emit_load(e, WIDTH_8, S1, x86_home(VAR_CC_EXTRA));
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S1, 1);
    emit_multiply_imm(e, WIDTH_32, S1, S1, (int32_t)(FLAG_CF | FLAG_OF));
    emit_alu(e, EMIT_OR, WIDTH_32, S0, S1);
    return emit_jump(e);
}

/// One part of the table: the host's flags = those of a recipe. Returns a jump to `pour`, or NULL.
static emit_place emit_part(struct emit *e, unsigned op, unsigned width)
{
    if (op == CC_LITERAL) {
        x86_load_home(e, S0, VAR_CC_EXTRA);
        return emit_jump(e);
    }
    if (op == CC_MUL)
        return emit_multiplied(e, width);
    if (op == CC_CARRY)
        emit_logic_with_carry(e, width);
    else if (!x86_emit_recipe_flags(e, op, width))
        x86_emit_recipe_flags(e, CC_LOGIC, width); // no such recipe
    emit_return(e);
    return NULL;
}

/// The host's flags = the six in S0. POPF is slow, SAHF lacks OF, which an addition makes.
static void emit_pour(struct emit *e)
{
    emit_move(e, WIDTH_64, S1, HOST_RAX);
    emit_move(e, WIDTH_32, HOST_RAX, S0);
    emit_shift_imm(e, EMIT_SHL, WIDTH_32, HOST_RAX, 8);
    emit_shift_imm(e, EMIT_SHR, WIDTH_32, S0, 11);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, 1);
    emit_alu_imm(e, EMIT_ADD, WIDTH_8, S0, 0x7f);
    emit_store_flags(e);
    emit_move(e, WIDTH_64, HOST_RAX, S1);
    emit_return(e);
}

static emit_place jump_unless_bit(struct emit *e, unsigned bit)
{
    emit_bit_imm(e, EMIT_BT, WIDTH_32, S1, bit);
    return emit_jump_if(e, HOST_BELOW ^ 1);
}

#define CARRY_VALUE_BIT 1u // in the second byte of VAR_CC_OP
#define OVERFLOW_VALUE_BIT 0u
#define OVERFLOW_REPLACED_BIT 3u
_Static_assert(CC_CARRY_VALUE == 0x100 << CARRY_VALUE_BIT && CC_OVERFLOW_VALUE == 0x100 << OVERFLOW_VALUE_BIT &&
                   CC_OVERFLOW_REPLACED == 0x100 << OVERFLOW_REPLACED_BIT && CC_CARRY_REPLACED == 0x80,
               "places of what is replaced");

/// The recipe's flags but for carry, and overflow perhaps. `base`: the routine for the recipe in S0. Goes on in `pour`.
static void emit_replaced(struct emit *e, const uint8_t *base)
{
    emit_place carry_only, no_overflow;
    emit_pop_memory(e, FIELD(host_word[WORD_FLAGS])); // the return address: what is called finds the state as we do
    emit_call_to(e, base);
    emit_push_flags(e);
    emit_pop(e, S0);
    emit_load(e, WIDTH_8, S1, x86_replaced_home());
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, (int32_t)(FLAGS_ARITHMETIC & ~FLAG_CF));
    emit_bit_imm(e, EMIT_BT, WIDTH_32, S1, CARRY_VALUE_BIT);
    emit_alu_imm(e, EMIT_ADC, WIDTH_32, S0, 0);
    carry_only = jump_unless_bit(e, OVERFLOW_REPLACED_BIT);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, (int32_t)~FLAG_OF);
    no_overflow = jump_unless_bit(e, OVERFLOW_VALUE_BIT);
    emit_alu_imm(e, EMIT_OR, WIDTH_32, S0, (int32_t)FLAG_OF);
    emit_patch_here(e, carry_only);
    emit_patch_here(e, no_overflow);
    emit_push_memory(e, FIELD(host_word[WORD_FLAGS]));
}

static void emit_flags(struct emit *e, struct backend_entries *entries)
{
    emit_place replaced, table, pour[RECIPE_OPS * 4], jump;
    const uint8_t *base;
    unsigned jumps = 0;

    entries->flags = e->at;
    x86_begin_routine(e);
    // All that is read of it, here and above, is in one piece of what is stored: else it would wait for the store.
    emit_load(e, WIDTH_8, S0, x86_home(VAR_CC_OP));
    emit_test(e, WIDTH_8, S0, S0);
    replaced = emit_jump_if(e, EMIT_SIGN); // CC_CARRY_REPLACED
    base = e->at;
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, RECIPE_OPS * 4 - 1);
    emit_shift_imm(e, EMIT_SHL, WIDTH_32, S0, STUB_SHIFT);
    table = emit_lea_relative(e, S1);
    emit_alu(e, EMIT_ADD, WIDTH_64, S1, S0);
    emit_jump_register(e, S1);
    emit_patch_here(e, table);
    for (unsigned cc = 0; cc < RECIPE_OPS * 4; cc++) {
        uint8_t *end = e->at + (1u << STUB_SHIFT);
        if ((jump = emit_part(e, cc >> 2, cc & 3)) != NULL)
            pour[jumps++] = jump;
        if (e->at > end)
            e->full = true; // does not fit: never
        while (e->at < end && !e->full)
            emit_byte(e, 0xcc);
    }
    emit_patch_here(e, replaced);
    emit_replaced(e, base);
    for (unsigned i = 0; i < jumps; i++)
        emit_patch_here(e, pour[i]);
    emit_pour(e);
}

/// S0 = the six flags. After a shift the host's AF may be anything; the recipe's is 0.
static void emit_flags_value(struct emit *e, struct backend_entries *entries)
{
    emit_place done;
    entries->flags_value = e->at;
    x86_begin_routine(e);
    emit_pop_memory(e, FIELD(host_word[WORD_FLAGS_VALUE]));
    emit_call_to(e, entries->flags);
    emit_push_flags(e);
    emit_pop(e, S0);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, (int32_t)FLAGS_ARITHMETIC);
    emit_load(e, WIDTH_8, S1, x86_home(VAR_CC_OP));
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S1, CC_OP_BITS);
    emit_alu_imm(e, EMIT_SUB, WIDTH_32, S1, CC_SHL << 2);
    _Static_assert(CC_SHR == CC_SHL + 1 && CC_SAR == CC_SHL + 2, "a range");
    emit_alu_imm(e, EMIT_CMP, WIDTH_32, S1, 3 << 2);
    done = emit_jump_if(e, HOST_BELOW ^ 1);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, (int32_t)~FLAG_AF);
    emit_patch_here(e, done);
    emit_push_memory(e, FIELD(host_word[WORD_FLAGS_VALUE]));
    emit_return(e);
}

void x86_flag_routines(struct emit *e, struct backend_entries *entries)
{
    emit_flags(e, entries);
    emit_flags_value(e, entries);
}

// ---- flags as values ------------------------------------------------------------------------------------------------
void x86_emit_get_flags(struct translation *t, const struct uop *u)
{
    emit_call_to(&t->emit, t->entries->flags_value);
    x86_write_var(t, u->dst, WIDTH_64, S0);
}

/// S1 = what is replaced of the recipe in memory, less the carry.
static void load_replaced(struct translation *t)
{
    struct emit *e = &t->emit;
    if (t->recipe != -1 && !(t->recipe & CC_CARRY_REPLACED)) { // nothing
        emit_alu(e, EMIT_XOR, WIDTH_32, S1, S1);
        return;
    }
    emit_load(e, WIDTH_8, S1, x86_home(VAR_CC_OP));
    emit_bit_imm(e, EMIT_BT, WIDTH_32, S1, 7);
    emit_alu(e, EMIT_SBB, WIDTH_32, S1, S1);
    emit_alu_load(e, EMIT_AND, WIDTH_8, S1, x86_replaced_home());
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S1, 0xff & ~(1 << CARRY_VALUE_BIT));
}

void x86_replace_carry(struct translation *t)
{
    struct emit *e = &t->emit;
    load_replaced(t);
    emit_lea(e, WIDTH_32, S0, (struct emit_memory){.base = S1, .index = S0, .scale = CARRY_VALUE_BIT});
    emit_store(e, WIDTH_8, x86_replaced_home(), S0);
    emit_alu_memory_imm(e, EMIT_OR, WIDTH_8, x86_home(VAR_CC_OP), (int8_t)CC_CARRY_REPLACED);
    emit_bit_imm(e, EMIT_BT, WIDTH_32, S0, CARRY_VALUE_BIT);
    t->recipe = -1;
}

void x86_replace_carry_and_overflow(struct translation *t)
{
    struct emit *e = &t->emit;
    _Static_assert(OVERFLOW_VALUE_BIT == 0 && CARRY_VALUE_BIT == 1, "bits 0 and 1");
    emit_alu_imm(e, EMIT_OR, WIDTH_32, S1, 1 << OVERFLOW_REPLACED_BIT);
    emit_store(e, WIDTH_8, x86_replaced_home(), S1);
    emit_alu_memory_imm(e, EMIT_OR, WIDTH_8, x86_home(VAR_CC_OP), (int8_t)CC_CARRY_REPLACED);
    t->recipe = -1;
}

void x86_emit_set_flags(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    uint64_t mask = (uint64_t)u->imm & FLAGS_ARITHMETIC;
    uint8_t value;
    if (!t->flags)
        return;
    if (mask == FLAG_CF) {
        x86_copy(t, WIDTH_32, S0, t->a);
        emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, 1);
        x86_replace_carry(t);
        return;
    }
    if (mask != FLAGS_ARITHMETIC) {
        emit_call_to(e, t->entries->flags_value);
        emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, (int32_t)(FLAGS_ARITHMETIC & ~mask));
        emit_store(e, WIDTH_64, x86_home(VAR_CC_EXTRA), S0);
    }
    // The call has changed the scratch register that the operand may be in.
    value = registers_read(&t->registers, u->a);
    if (value == NO_REGISTER)
        x86_load_home(e, S0, u->a);
    else
        emit_move(e, WIDTH_32, S0, value);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, (int32_t)mask);
    if (mask != FLAGS_ARITHMETIC)
        emit_alu_load(e, EMIT_OR, WIDTH_32, S0, x86_home(VAR_CC_EXTRA));
    emit_store(e, WIDTH_64, x86_home(VAR_CC_EXTRA), S0);
    x86_literal_recipe(t);
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_flags_is_empty;

#endif
