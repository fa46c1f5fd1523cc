// Lifting of AVX rows: moves, one ROW uop for what has two or three sources, calls for masked moves and gathers.
#include "cpu/avx.h"
#include "cpu/lift_fpu.h"

static bool is_memory(const struct operand *operand)
{
    return operand->kind == OPERAND_MEMORY;
}

/// With zeros above, as VEX has it.
static void load_zeroing(struct lift *l, uint8_t vreg, uint8_t handle, unsigned bytes)
{
    lift_vload(l, vreg, handle, bytes)->sub = 1;
}

/// A general register goes to a temporary, zero-extended; those of VCVTSI2SS and VCVTSI2SD sign-extended.
static uint8_t read_general(struct lift *l, const struct insn *insn, unsigned n)
{
    bool sign = insn->row->lane == avx_cvtsi2ss || insn->row->lane == avx_cvtsi2sd;
    uint8_t value = lift_read(l, insn, n);
    if (insn->operand[n].bytes < 8) {
        struct uop *uop;
        uint8_t narrow = value;
        value = lift_temp(l);
        uop = lift_emit(l, sign ? UOP_SEXT : UOP_ZEXT, WIDTH_64);
        uop->dst = value;
        uop->a = narrow;
        uop->sub = width_of(insn->operand[n].bytes);
    }
    lift_call(l, HELPER_vector_set, VAR_NONE, value, VAR_ZERO, VREG_TEMP);
    return VREG_TEMP;
}

/// The vreg with operand n; memory and general registers by way of a temporary.
static uint8_t read_source(struct lift *l, const struct insn *insn, unsigned n)
{
    const struct operand *operand = &insn->operand[n];
    bool is_integer = insn->row->lane == avx_cvtsi2ss || insn->row->lane == avx_cvtsi2sd;
    if (operand->kind == OPERAND_XMM)
        return operand->reg;
    if (operand->kind == OPERAND_GPR || is_integer)
        return read_general(l, insn, n);
    load_zeroing(l, VREG_TEMP, lift_vector_handle(l, insn, n, false), operand->bytes);
    return VREG_TEMP;
}

static unsigned count_places(const struct insn *insn)
{
    unsigned count = 0;
    while (count < insn->operand_count && insn->operand[count].kind != OPERAND_IMMEDIATE)
        count++;
    return count;
}

static uint64_t row_operand(const struct insn *insn, uint8_t first, uint8_t third)
{
    uint64_t immediate = insn->immediate & SIMD_IMMEDIATE, wide = 0;
    for (unsigned i = 0; i < insn->operand_count; i++)
        if (insn->operand[i].bytes == 32)
            wide = AVX_WIDE;
    if (insn->row->lane == simd_insertps && is_memory(&insn->operand[2])) // there is but one element to take
        immediate &= ~UINT64_C(0xc0);
    return immediate | wide | (uint64_t)first << AVX_FIRST_SHIFT | (uint64_t)third << AVX_THIRD_SHIFT |
           (uint64_t)row_number(insn->row) << AVX_ROW_SHIFT;
}

/// op0 = f(op1), f(op1, op2) or f(op1, op2, op3), and an immediate: the last of op1 and op2 may be in memory. op0 in
/// memory: its place is checked first.
void lift_avx(struct lift *l, const struct insn *insn)
{
    unsigned places = count_places(insn);
    uint8_t handle = VAR_NONE, source, first, to;
    if (!lift_fpu_check(l, insn))
        return;
    if (places == 0) {
        lift_row(l, insn, VAR_NONE, VREG_TEMP, VREG_TEMP, VAR_IMM, row_operand(insn, VREG_TEMP, VREG_TEMP));
        return;
    }
    if (is_memory(&insn->operand[0]))
        handle = lift_vector_handle(l, insn, 0, true);
    to = is_memory(&insn->operand[0]) ? VREG_TEMP : insn->operand[0].reg;
    source = read_source(l, insn, places > 2 ? 2 : 1);
    first = places > 2 ? insn->operand[1].reg : source;
    lift_row(l, insn, VAR_NONE, to, source, VAR_IMM,
             row_operand(insn, first, places > 3 ? insn->operand[3].reg : VREG_TEMP));
    if (handle != VAR_NONE)
        lift_vstore(l, handle, VREG_TEMP, insn->operand[0].bytes);
}

/// op0 = op1, one of them perhaps in memory. Rows with a function do not move all of a register to another one.
void lift_avx_move(struct lift *l, const struct insn *insn)
{
    const struct operand *to = &insn->operand[0], *from = &insn->operand[1];
    struct uop *uop;
    if (!is_memory(to) && !is_memory(from) && insn->row->execute) {
        lift_avx(l, insn);
        return;
    }
    if (!lift_fpu_check(l, insn))
        return;
    if (is_memory(to)) {
        lift_vstore(l, lift_vector_handle(l, insn, 0, true), from->reg, to->bytes);
    } else if (is_memory(from)) {
        load_zeroing(l, to->reg, lift_vector_handle(l, insn, 1, false), from->bytes);
    } else {
        uop = lift_emit(l, UOP_VMOV, WIDTH_8);
        uop->dst = to->reg;
        uop->b = from->reg;
        uop->param = to->bytes;
        uop->sub = 1;
    }
}

/// Base and displacement of the memory operand, cut to the address size; an index only where it is a general register.
static uint64_t access_fields(const struct insn *insn, unsigned vreg, unsigned mask, unsigned element, unsigned count)
{
    return (uint64_t)vreg << AVX_ACCESS_VREG | (uint64_t)mask << AVX_ACCESS_MASK |
           (uint64_t)insn->segment << AVX_ACCESS_SEGMENT | (uint64_t)element << AVX_ACCESS_ELEMENT |
           (uint64_t)count << AVX_ACCESS_COUNT | (uint64_t)insn->address_bytes << AVX_ACCESS_ADDRESS;
}

/// VMASKMOV, VPMASKMOV. The row's argument: bytes of an element.
void lift_avx_mask(struct lift *l, const struct insn *insn)
{
    bool store = is_memory(&insn->operand[0]);
    unsigned vreg = insn->operand[store ? 2 : 0].reg, element = insn->row->argument;
    if (!lift_fpu_check(l, insn))
        return;
    lift_call(l, HELPER_avx_mask, VAR_NONE, lift_effective(l, insn), VAR_ZERO,
              access_fields(insn, vreg, insn->operand[1].reg, element, insn->vector_bytes / element) |
                  (uint64_t)store << AVX_ACCESS_STORE);
}

/// VGATHER, VPGATHER. The row's argument: AVX_GATHER.
void lift_avx_gather(struct lift *l, const struct insn *insn)
{
    struct insn plain = *insn;
    uint32_t argument = insn->row->argument;
    unsigned count = avx_gather_count(argument, insn->vector_bytes);
    if (!lift_fpu_check(l, insn))
        return;
    plain.index = -1;
    lift_call(l, HELPER_avx_gather, VAR_NONE, lift_effective(l, &plain), VAR_ZERO,
              access_fields(insn, insn->operand[0].reg, insn->operand[2].reg, AVX_GATHER_ELEMENT(argument), count) |
                  (uint64_t)(uint8_t)insn->index << AVX_ACCESS_INDEX | (uint64_t)insn->scale << AVX_ACCESS_SCALE |
                  (uint64_t)AVX_GATHER_INDEX(argument) << AVX_ACCESS_STEP);
}
