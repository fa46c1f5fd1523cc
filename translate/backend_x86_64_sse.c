// The x86-64 backend's SIMD and x87 rows: the guest's instruction again, on the host's registers of the same number,
// made from the row's own encoding. What needs residency, and how it comes about, is backend_x86_64_fpu.c's business. A
// row that the host lacks, or that a test hides from us, is a call of the row's function.
#ifdef __x86_64__

#include "cpu/avx.h"
#include "cpu/cc.h"
#include "cpu/helper.h"
#include "cpu/lift_fpu.h"
#include "cpu/model.h"
#include "translate/backend_x86_64_encoding.h"

/// How a row's uop is to be read: one kind a lift function.
enum kind {
    KIND_NONE,
    KIND_BINARY,  // a = f(a, b)
    KIND_ONE,     // a = f(a), or no operands
    KIND_TO_GPR,  // variable dst = f(b)
    KIND_EXTRACT, // variable dst = f(a), a stands in ModRM.reg
    KIND_FROM_GPR,
    KIND_TO_FLAGS,
    KIND_STORE_HIGH,
    KIND_MMX_STORE,
    KIND_STRING_INDEX,
    KIND_STRING_MASK,
    KIND_LOAD_CONTROL,
    KIND_STORE_CONTROL,
    KIND_X87,
    KIND_X87_FLAGS,
    KIND_X87_CMOV,
    KIND_WAIT,
    KIND_AVX, // a = f(first, b, third), as avx.h says
};

static enum kind kind_of(const struct row *row)
{
    static const struct {
        lift_function *lift;
        enum kind kind;
    } kinds[] = {
        {lift_simd, KIND_BINARY},
        {lift_simd_move, KIND_BINARY},
        {lift_simd_insertps, KIND_BINARY},
        {lift_simd_one, KIND_ONE},
        {lift_simd_to_gpr, KIND_TO_GPR},
        {lift_simd_extract, KIND_EXTRACT},
        {lift_simd_from_gpr, KIND_FROM_GPR},
        {lift_simd_to_flags, KIND_TO_FLAGS},
        {lift_simd_store_high, KIND_STORE_HIGH},
        {lift_mmx_store, KIND_MMX_STORE},
        {lift_string_index, KIND_STRING_INDEX},
        {lift_string_mask, KIND_STRING_MASK},
        {lift_ldmxcsr, KIND_LOAD_CONTROL},
        {lift_fldcw, KIND_LOAD_CONTROL},
        {lift_stmxcsr, KIND_STORE_CONTROL},
        {lift_fnstcw, KIND_STORE_CONTROL},
        {lift_x87, KIND_X87},
        {lift_x87_to_flags, KIND_X87_FLAGS},
        {lift_x87_cmov, KIND_X87_CMOV},
        {lift_fwait, KIND_WAIT},
        {lift_avx, KIND_AVX},
        {lift_avx_move, KIND_AVX},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
        if (row->lift == kinds[i].lift)
            return kinds[i].kind;
    return KIND_NONE;
}

// ---- what can be done -----------------------------------------------------------------------------------------------
static bool has(const struct translation *t, unsigned feature)
{
    return feature == FEATURE_NONE || x86_host_has(t, feature);
}

static const struct uop *uop_at(const struct translation *t, unsigned index)
{
    static const struct uop none = {.op = UOP_NOP, .dst = VAR_NONE};
    return index < t->pass->count ? &t->pass->uops[index] : &none;
}

/// The uop behind takes the result as the six flags.
static bool flags_follow(const struct translation *t, unsigned index, unsigned result)
{
    const struct uop *u = uop_at(t, index);
    return u->op == UOP_SET_FLAGS && u->a == result && u->imm == (int64_t)FLAGS_ARITHMETIC;
}

/// Control byte of a string row, and REX.W of the explicit-length ones; false: the definition was not found.
static bool string_control(const struct translation *t, unsigned index, uint8_t *control, bool *wide)
{
    const struct uop *u = uop_at(t, index);
    *wide = false;
    if (u->c == VAR_IMM) {
        *control = (uint8_t)u->imm;
        return !row_get(u->param)->argument;
    }
    for (unsigned i = index; i-- > 0 && t->pass->uops[i].insn == u->insn;) {
        const struct uop *definition = &t->pass->uops[i];
        bool is_call = definition->op == UOP_CALL && uop_helpers[definition->param].function == helper_string_lengths;
        if (definition->dst != u->c || (!is_call && (definition->op != UOP_MOV || definition->b != VAR_IMM)))
            continue;
        *control = (uint8_t)definition->imm;
        *wide = is_call && (definition->imm & 0x100);
        return is_call == (row_get(u->param)->argument != 0);
    }
    return false;
}

/// A string row is done with what its lift puts around it, or not at all.
static bool inlines_string(const struct translation *t, unsigned index, enum kind kind)
{
    const struct uop *u = uop_at(t, index), *next = uop_at(t, index + 1);
    const uint8_t *of = t->registers.of;
    uint8_t control;
    bool wide;
    if (!string_control(t, index, &control, &wide) || !flags_follow(t, index + 2, u->dst))
        return false;
    if (row_get(u->param)->argument && (of[VAR_RAX] != HOST_RAX || of[VAR_RDX] != HOST_RDX))
        return false;
    if (kind == KIND_STRING_INDEX)
        return next->op == UOP_SHR && next->dst == VAR_RCX && next->a == u->dst && of[VAR_RCX] == HOST_RCX;
    return index > 0 && uop_at(t, index - 1)->op == UOP_VMOV && uop_at(t, index - 1)->dst == u->a &&
           next->op == UOP_VMOV && next->dst == VREG_XMM && next->b == u->a;
}

bool x86_inlines_row(const struct translation *t, unsigned index)
{
    const struct uop *u = uop_at(t, index);
    const struct row *row = u->op == UOP_ROW ? row_get(u->param) : NULL;
    if (!row || !row->execute || !has(t, row->feature) || !has(t, FEATURE_SSE2) || !has(t, FEATURE_FPU) ||
        ((row->attributes & ROW_AVX) && !has(t, FEATURE_AVX)))
        return false;
    enum kind kind = kind_of(row);
    switch (kind) {
    case KIND_NONE:
        return false;
    case KIND_TO_FLAGS:
    case KIND_X87_FLAGS:
        return flags_follow(t, index + 1, u->dst);
    case KIND_STRING_INDEX:
    case KIND_STRING_MASK:
        return inlines_string(t, index, kind);
    case KIND_X87_CMOV:
        return index > 0 && uop_at(t, index - 1)->op == UOP_OR && uop_at(t, index - 1)->dst == u->c &&
               uop_at(t, index - 1)->b == VAR_IMM;
    case KIND_WAIT:
        return !(t->block->mode & MODE_TS); // else CR0.MP decides
    case KIND_AVX:                          // VZEROUPPER and VZEROALL: the host's change 16 registers
        return row->operands[0] || (t->block->mode & MODE_CODE_MASK) == MODE_CODE64;
    default:
        return true;
    }
}

static bool is_x87(enum kind kind)
{
    return kind == KIND_X87 || kind == KIND_X87_FLAGS || kind == KIND_X87_CMOV || kind == KIND_WAIT;
}

static uint8_t row_needs(const struct translation *t, unsigned index)
{
    const struct uop *u = uop_at(t, index);
    if (!x86_inlines_row(t, index))
        return 0;
    const struct row *row = row_get(u->param);
    uint8_t need = row->attributes & ROW_SSE ? RESIDENT_SSE : RESIDENT_X87;
    if (row->attributes & ROW_AVX)
        return RESIDENT_SSE | RESIDENT_AVX;
    if (is_x87(kind_of(row)))
        return RESIDENT_X87;
    if (x86_is_mmx(u->a) || x86_is_mmx(u->b))
        need |= RESIDENT_X87;
    return need;
}

/// Between a load and its x87 row stands where it came from, for FDP; before a string's row its constant operand.
static unsigned row_behind_load(const struct translation *t, unsigned index)
{
    const struct uop *u = uop_at(t, index + 1), *next = uop_at(t, index + 2);
    bool is_operand = u->op == UOP_MOV && u->b == VAR_IMM && next->op == UOP_ROW && next->c == u->dst;
    return index + (is_operand || (u->op == UOP_MOV && u->dst == VAR_X87_DATA) ? 2 : 1);
}

/// A load into a temporary for the row behind, whose instruction can have the memory operand itself.
static bool fuses_load(const struct translation *t, unsigned index)
{
    const struct uop *u = uop_at(t, index), *next = uop_at(t, row_behind_load(t, index));
    if (u->op != UOP_VLOAD || u->dst != VREG_TEMP || next->op != UOP_ROW || next->b != VREG_TEMP ||
        next->insn != u->insn || !x86_inlines_row(t, row_behind_load(t, index)))
        return false;
    const struct row *row = row_get(next->param);
    switch (kind_of(row)) {
    case KIND_BINARY:
    case KIND_TO_GPR:
    case KIND_TO_FLAGS:
    case KIND_AVX:
        return u->param < 16 || (row->attributes & (ROW_ALIGNED | ROW_AVX));
    case KIND_X87:
    case KIND_STRING_INDEX:
        return true;
    default:
        return false;
    }
}

/// A general register that goes through a temporary into the row behind: PINSRB and its like can have it themselves.
static bool fuses_insertion(const struct translation *t, const struct uop *u)
{
    unsigned index = (unsigned)(u - t->pass->uops) + 1;
    const struct uop *row = uop_at(t, index);
    if (uop_helpers[u->param].function != helper_vector_set || row->op != UOP_ROW || row->b != VREG_TEMP ||
        row->insn != u->insn || !x86_inlines_row(t, index))
        return false;
    row_execute *execute = row_get(row->param)->execute;
    if (kind_of(row_get(row->param)) == KIND_AVX)
        return strpbrk(row_get(row->param)->operands, "ER");
    return execute == simd_pinsrb || execute == simd_pinsrw || execute == simd_pinsrd || execute == simd_pinsrq;
}

/// A copy of a string that the row behind would put the mask in.
static bool fuses_copy(const struct translation *t, unsigned index)
{
    const struct uop *u = uop_at(t, index);
    return u->op == UOP_VMOV && x86_is_vector_temporary(u->dst) && x86_inlines_row(t, index + 1) &&
           kind_of(row_get(uop_at(t, index + 1)->param)) == KIND_STRING_MASK;
}

uint8_t x86_simd_needs(const struct translation *t, unsigned index)
{
    const struct uop *u = uop_at(t, index);
    uint8_t sse = has(t, FEATURE_SSE2) ? RESIDENT_SSE : 0;
    uint8_t avx = has(t, FEATURE_AVX) ? RESIDENT_SSE | RESIDENT_AVX : 0;
    switch (u->op) {
    case UOP_VLOAD:
        if (fuses_load(t, index))
            return row_needs(t, row_behind_load(t, index));
        return x86_is_vector_temporary(u->dst) ? 0 : u->sub ? avx : sse;
    case UOP_VSTORE:
        if (x86_is_mmx(u->b)) // the row before has made the state that of MMX
            return has(t, FEATURE_MMX) && has(t, FEATURE_FPU) && sse ? RESIDENT_X87 : 0;
        return x86_is_vector_temporary(u->b) ? 0 : u->param == 32 ? avx : sse;
    case UOP_VMOV:
        if (fuses_copy(t, index))
            return row_needs(t, index + 1);
        return u->sub ? avx : sse;
    case UOP_CALL:
        if (fuses_insertion(t, u))
            return row_needs(t, index + 1);
        return uop_helpers[u->param].function == helper_x87_store && x86_inlines_call(t, u) ? RESIDENT_X87 : 0;
    case UOP_ROW:
        return row_needs(t, index);
    default:
        return 0;
    }
}

bool x86_inlines_call(const struct translation *t, const struct uop *u)
{
    uop_helper *function = uop_helpers[u->param].function;
    unsigned index = (unsigned)(u - t->pass->uops);
    if (x86_inlines_system(t, u))
        return true;
    if (function == helper_vector_set)
        return true;
    if (function == helper_crc32)
        return has(t, FEATURE_SSE42);
    if (function == helper_x87_store)
        return has(t, FEATURE_FPU) && has(t, FEATURE_SSE2);
    if (function == helper_string_lengths)
        return x86_inlines_row(t, index + 1) || x86_inlines_row(t, index + 2);
    return false;
}

bool x86_stays(const struct pass_block *pass, unsigned index)
{
    const struct translation *t = pass->translation;
    const struct uop *u = uop_at(t, index);
    if (u->op == UOP_CALL && x86_inlines_system(t, u))
        return x86_system_stays(t, u);
    if (u->op == UOP_CALL)
        return x86_inlines_call(t, u) && uop_helpers[u->param].function != helper_x87_store &&
               uop_helpers[u->param].function != helper_string_lengths;
    if (!x86_inlines_row(t, index))
        return false;
    enum kind kind = kind_of(row_get(u->param)); // the strings' rows depend on registers that are not given yet
    return kind != KIND_LOAD_CONTROL && kind != KIND_STRING_INDEX && kind != KIND_STRING_MASK;
}

// ---- flags ----------------------------------------------------------------------------------------------------------
/// The host's flags are the guest's now: to the recipe as literals. `wide`: OF may be set.
static void take_flags(struct translation *t, bool live, bool wide)
{
    struct emit *e = &t->emit;
    t->made_flags = FLAG_CF | FLAG_PF | FLAG_ZF | FLAG_SF | FLAG_OF;
    if (!live)
        return;
    emit_push_flags(e);
    emit_pop(e, S0);
    if (wide) {
        emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, (int32_t)FLAGS_ARITHMETIC);
        t->made_flags = 0;
    } else { // bit 1 is set, 3 and 5 are clear; LEA keeps flags
        emit_extend(e, false, WIDTH_8, S0, S0);
        emit_lea(e, WIDTH_64, S0, (struct emit_memory){.base = S0, .index = HOST_NO_INDEX, .displacement = -2});
    }
    x86_store_home(e, VAR_CC_EXTRA, S0);
    x86_literal_recipe(t);
}

// ---- rows -----------------------------------------------------------------------------------------------------------
/// A register for the variable that the row defines, to be finished.
static uint8_t define(struct translation *t, const struct uop *u)
{
    uint8_t reg = u->dst == VAR_NONE ? NO_REGISTER : registers_define(&t->registers, &x86_file, &t->emit, u->dst);
    return reg == NO_REGISTER ? S0 : reg;
}

static void finish(struct translation *t, const struct uop *u, uint8_t reg)
{
    if (u->dst != VAR_NONE && t->registers.of[u->dst] == reg)
        registers_written(&t->registers, u->dst);
    else
        x86_write_var(t, u->dst, WIDTH_64, reg);
}

static void emit_string(struct translation *t, unsigned index, const struct x86_encoding *encoding, uint8_t first,
                        struct x86_place source)
{
    const struct uop *u = uop_at(t, index);
    struct x86_encoding wide = *encoding;
    uint8_t control;
    if (!string_control(t, index, &control, &wide.op.wide)) // inlines_string has looked
        return;
    x86_emit_encoding(t, &wide, first, source, control);
    if (kind_of(row_get(u->param)) == KIND_STRING_INDEX) {
        registers_define(&t->registers, &x86_file, &t->emit, VAR_RCX);
        registers_written(&t->registers, VAR_RCX);
    }
    take_flags(t, t->pass->facts[index + 2].flags_live, true);
}

/// LDMXCSR, FLDCW. Words that unmask an exception, or that are wrong, are the interpreter's.
static void emit_load_control(struct translation *t, const struct uop *u, bool x87)
{
    struct emit *e = &t->emit;
    uint8_t value = x86_value_of(t, u->c, S0);
    emit_move(e, WIDTH_32, S1, value);
    if (x87) {
        emit_alu_imm(e, EMIT_AND, WIDTH_32, S1, X87_EXCEPTIONS);
        emit_alu_imm(e, EMIT_CMP, WIDTH_32, S1, X87_EXCEPTIONS);
    } else {
        emit_alu_imm(e, EMIT_AND, WIDTH_32, S1, (int32_t)(~MXCSR_DEFINED | MXCSR_MASKS));
        emit_alu_imm(e, EMIT_CMP, WIDTH_32, S1, MXCSR_MASKS);
    }
    x86_add_resume(t, emit_jump_if(e, EMIT_NOT_EQUAL));
    if (x87) {
        emit_store(e, WIDTH_16, FIELD(x87.control), value);
        emit_x87_memory(e, 1, 5, FIELD(x87.control));
    } else {
        emit_store(e, WIDTH_32, FIELD(mxcsr), value);
        emit_load_mxcsr(e, FIELD(mxcsr));
    }
}

/// STMXCSR, FNSTCW, FNSTSW: by way of the word in struct cpu, which is stale while the state is resident.
static void emit_store_control(struct translation *t, const struct uop *u, const struct row *row)
{
    struct emit *e = &t->emit;
    uint8_t to = define(t, u);
    if (row->execute == x87_fnstcw) {
        emit_x87_memory(e, 1, 7, FIELD(x87.control));
        emit_load(e, WIDTH_16, to, FIELD(x87.control));
    } else if (row->execute == x87_fnstsw) {
        emit_x87_memory(e, 5, 7, FIELD(x87.status));
        emit_load(e, WIDTH_16, to, FIELD(x87.status));
    } else {
        emit_store_mxcsr(e, FIELD(mxcsr));
        emit_load(e, WIDTH_32, to, FIELD(mxcsr));
    }
    finish(t, u, to);
}

static void forget_pointers(struct translation *t)
{
    struct emit *e = &t->emit;
    t->pointers.pending = false;
    emit_store_imm(e, WIDTH_64, FIELD(x87.ip), 0);
    emit_store_imm(e, WIDTH_64, FIELD(x87.dp), 0);
    emit_store_imm(e, WIDTH_16, FIELD(x87.opcode), 0);
    emit_store_imm(e, WIDTH_16, FIELD(x87.cs), 0);
    emit_store_imm(e, WIDTH_16, FIELD(x87.ds), 0);
}

/// Control instructions leave the pointers alone.
static bool notes_pointers(const struct row *row)
{
    return row->execute != x87_fninit && row->execute != x87_fnclex;
}

static void emit_x87(struct translation *t, const struct uop *u, const struct row *row, struct x86_place memory)
{
    unsigned opcode = X87_OPCODE(u->imm), modrm = opcode & 0xff;
    if (row->execute == x87_fnop_quiet)
        return;
    if (modrm >= 0xc0)
        emit_x87_registers(&t->emit, opcode >> 8, (uint8_t)modrm);
    else
        emit_x87_memory(&t->emit, opcode >> 8, modrm >> 3 & 7, memory.m);
    if (notes_pointers(row))
        x86_x87_note_pointers(t, (uint64_t)u->imm);
    else if (row->execute == x87_fninit)
        forget_pointers(t);
}

/// FCMOVcc: the condition is the operand's top bit, whatever it was; the low bits are those of any x87 row.
static void emit_x87_cmov(struct translation *t, const struct uop *u)
{
    const struct uop * or = uop_at(t, t->index - 1);
    uint8_t value = x86_value_of(t, u->c, S0);
    emit_bit_imm(&t->emit, EMIT_BT, WIDTH_64, value, 63);
    emit_x87_registers(&t->emit, 2, (uint8_t)(0xc0 | X87_STI(or->imm))); // FCMOVB
    x86_x87_note_pointers(t, (uint64_t) or->imm);
}

/// The letter of operand n in a row's text; 0: there is none.
static char letter_of(const struct row *row, unsigned n)
{
    const char *at = row->operands;
    for (; n && at; n--) {
        at = strchr(at, ',');
        at = at ? at + 1 : NULL;
    }
    return at ? *at : 0;
}

/// Each operand goes where its letter says. The last vector but a third one is the source.
static void emit_avx_row(struct translation *t, const struct uop *u, struct x86_place source)
{
    const struct row *row = row_get(u->param);
    struct x86_encoding encoding = x86_encoding_of(row);
    uint64_t operand = (uint64_t)u->imm, immediate = operand & SIMD_IMMEDIATE;
    unsigned places = 0, reg = encoding.digit >= 0 ? (unsigned)encoding.digit : 0;
    struct x86_place rm = source;
    if (operand & AVX_WIDE)
        encoding.avx.is_long = true;
    if (row->lane == avx_cvtsi2ss || row->lane == avx_cvtsi2sd) // the value is extended to 64 bits
        encoding.op.wide = true;
    while (letter_of(row, places) && letter_of(row, places) != 'I')
        places++;
    for (unsigned i = 0; i < places; i++) {
        bool is_source = i == (places > 2 ? 2 : 1);
        unsigned vreg = i == 0 ? u->a : i == 1 ? AVX_FIRST(operand) : AVX_THIRD(operand);
        struct x86_place place = is_source ? source : x86_place_of(vreg);
        switch (letter_of(row, i)) {
        case 'V':
            reg = place.reg;
            break;
        case 'H':
            encoding.second = place.reg;
            break;
        case 'L':
            immediate = (immediate & 15) | (uint64_t)place.reg << 4;
            break;
        default:
            rm = place;
        }
    }
    x86_emit_encoding(t, &encoding, (uint8_t)reg, rm, immediate);
}

static void emit_simd_row(struct translation *t, unsigned index, struct x86_place source)
{
    const struct uop *u = uop_at(t, index);
    const struct row *row = row_get(u->param);
    struct x86_encoding encoding = x86_encoding_of(row);
    struct x86_place to;
    switch (kind_of(row)) {
    case KIND_BINARY:
        if (encoding.rm_first) // the store's encoding between registers
            x86_emit_encoding(t, &encoding, source.reg, x86_place_of(u->a), (uint64_t)u->imm);
        else
            x86_emit_encoding(t, &encoding, x86_place_of(u->a).reg, source, (uint64_t)u->imm);
        break;
    case KIND_ONE:
        x86_emit_encoding(t, &encoding, (uint8_t)encoding.digit, source, (uint64_t)u->imm);
        break;
    case KIND_TO_GPR:
        if (row->execute == sse_to_integer)
            encoding.op.wide = (u->imm & SIMD_IMMEDIATE) == 8;
        to = x86_place_of_register(define(t, u));
        x86_emit_encoding(t, &encoding, to.reg, source, (uint64_t)u->imm);
        finish(t, u, to.reg);
        break;
    case KIND_EXTRACT:
        to = x86_place_of_register(define(t, u));
        x86_emit_encoding(t, &encoding, x86_place_of(u->a).reg, to, (uint64_t)u->imm);
        finish(t, u, to.reg);
        break;
    case KIND_FROM_GPR: // the value is extended to 64 bits
        encoding.op.wide = true;
        x86_emit_encoding(t, &encoding, x86_place_of(u->a).reg, x86_place_of_register(x86_value_of(t, u->c, S0)), 0);
        break;
    case KIND_TO_FLAGS:
        x86_emit_encoding(t, &encoding, x86_place_of(u->a).reg, source, (uint64_t)u->imm);
        take_flags(t, t->pass->facts[index + 1].flags_live, false);
        break;
    case KIND_AVX:
        emit_avx_row(t, u, source);
        break;
    case KIND_STORE_HIGH:
        x86_emit_encoding(t, &encoding, source.reg, x86_place_of(u->a), 0);
        break;
    case KIND_MMX_STORE:
        if (!(u->imm & SIMD_STORE)) // else the VSTORE behind does it
            x86_emit_encoding(t, &encoding, source.reg, x86_place_of(u->a), 0);
        break;
    default:
        break;
    }
}

/// The row at `index`, its source perhaps in memory.
static void emit_row(struct translation *t, unsigned index, struct x86_place source)
{
    const struct uop *u = uop_at(t, index);
    const struct row *row = row_get(u->param);
    struct x86_encoding encoding;
    t->made_flags = t->host_flags;
    switch (kind_of(row)) {
    case KIND_LOAD_CONTROL:
        emit_load_control(t, u, row->execute == x87_fldcw);
        t->made_flags = 0;
        break;
    case KIND_STORE_CONTROL:
        emit_store_control(t, u, row);
        break;
    case KIND_X87:
        emit_x87(t, u, row, source);
        break;
    case KIND_X87_FLAGS:
        emit_x87(t, u, row, source);
        take_flags(t, t->pass->facts[index + 1].flags_live, false);
        break;
    case KIND_X87_CMOV:
        emit_x87_cmov(t, u);
        t->made_flags = 0;
        break;
    case KIND_WAIT: // nothing can be pending
        break;
    case KIND_STRING_INDEX:
        encoding = x86_encoding_of(row);
        emit_string(t, index, &encoding, x86_place_of(u->a).reg, source);
        break;
    default:
        emit_simd_row(t, index, source);
        break;
    }
}

/// Uops behind the row that were done with it.
static unsigned row_tail(const struct row *row)
{
    switch (kind_of(row)) {
    case KIND_TO_FLAGS:
    case KIND_X87_FLAGS:
        return 1;
    case KIND_STRING_INDEX:
        return 2;
    default:
        return 0;
    }
}

bool x86_emit_inline_row(struct translation *t, const struct uop *u)
{
    if (!x86_inlines_row(t, t->index))
        return false;
    emit_row(t, t->index, x86_place_of(u->b));
    t->fused = row_tail(row_get(u->param));
    return true;
}

// ---- vector moves -------------------------------------------------------------------------------------------------
static struct emit_memory at(struct emit_memory m, int32_t offset)
{
    m.displacement += offset;
    return m;
}

/// Copies through S1, for temporaries and for hosts without SSE2: never in vector registers. 1, 2, 4, 8, 10, 16 or 32
/// bytes; `extend`: zeros up to 16.
static void copy(struct translation *t, struct emit_memory to, struct emit_memory from, unsigned bytes, bool extend)
{
    struct emit *e = &t->emit;
    unsigned low = bytes < 8 ? width_of(bytes) : WIDTH_64;
    if (bytes == 32) {
        copy(t, to, from, 16, false);
        to = at(to, 16);
        from = at(from, 16);
    }
    unsigned high = bytes == 10 ? WIDTH_16 : WIDTH_64;
    emit_load(e, low, S1, from);
    emit_store(e, extend ? WIDTH_64 : low, to, S1);
    if (bytes > 8) {
        emit_load(e, high, S1, at(from, 8));
        emit_store(e, extend ? WIDTH_64 : high, at(to, 8), S1);
    } else if (extend)
        emit_store_imm(e, WIDTH_64, at(to, 8), 0);
}

static struct emit_memory home(unsigned vreg)
{
    if (x86_is_vector_temporary(vreg))
        return x86_vector_temporary(vreg);
    return x86_memory_at(offsetof(struct cpu, vreg) + (vreg & 31) * sizeof(union vreg));
}

/// The host has no registers of 32 bytes: the guest's are to be found in struct cpu. Keeps flags.
static void spill_for_copy(struct translation *t)
{
    struct emit *e = &t->emit;
    emit_push_flags(e);
    emit_pop_memory(e, FIELD(host_word[WORD_FLAGS]));
    x86_fpu_spill(e, t->fpu);
    emit_push_memory(e, FIELD(host_word[WORD_FLAGS]));
    emit_pop_flags(e);
    t->resident = 0;
}

static void zero_above(struct translation *t, struct emit_memory to, unsigned bytes)
{
    for (unsigned i = bytes < 16 ? 16 : bytes; i < AVX_BYTES; i += 8)
        emit_store_imm(&t->emit, WIDTH_64, at(to, (int32_t)i), 0);
}

void x86_emit_vector_load(struct translation *t, const struct uop *u)
{
    struct emit_memory from = x86_at_handle(t);
    t->made_flags = t->host_flags;
    if (fuses_load(t, t->index)) {
        unsigned index = row_behind_load(t, t->index);
        emit_row(t, index, x86_place_of_memory(from));
        if (uop_at(t, t->index + 1)->dst == VAR_X87_DATA && index != t->index + 1)
            x86_x87_store_data(t, (uint64_t)uop_at(t, index)->imm, uop_at(t, t->index + 1)->b);
        t->fused = index - t->index + row_tail(row_get(uop_at(t, index)->param));
    } else if (u->sub && !x86_is_vector_temporary(u->dst) && !has(t, FEATURE_AVX)) {
        spill_for_copy(t);
        copy(t, home(u->dst), from, u->param, true);
        zero_above(t, home(u->dst), u->param);
    } else if (x86_is_vector_temporary(u->dst) || !has(t, FEATURE_SSE2)) {
        copy(t, home(u->dst), from, u->param, true);
        if (u->sub)
            zero_above(t, home(u->dst), u->param);
    } else if (u->sub) {
        emit_avx_load(&t->emit, u->param, u->dst & 15, from);
    } else {
        emit_vector_load(&t->emit, u->param, u->dst & 15, from);
    }
}

void x86_emit_vector_store_to(struct translation *t, const struct uop *u, struct emit_memory to)
{
    static const struct emit_vector_op movq = {.opcode = 0x0f7f};
    if (x86_is_mmx(u->b) && x86_simd_needs(t, t->index))
        emit_vector_memory(&t->emit, movq, u->b & 7, to);
    else if (x86_is_mmx(u->b))
        copy(t, to, x86_memory_at(offsetof(struct cpu, x87.reg) + (u->b & 7) * sizeof(struct f80)), 8, false);
    else if (u->param == 32 && !x86_is_vector_temporary(u->b) && !has(t, FEATURE_AVX)) {
        spill_for_copy(t);
        copy(t, to, home(u->b), u->param, false);
    } else if (x86_is_vector_temporary(u->b) || !has(t, FEATURE_SSE2))
        copy(t, to, home(u->b), u->param, false);
    else if (u->param == 32)
        emit_avx_store(&t->emit, u->param, to, u->b & 15);
    else
        emit_vector_store(&t->emit, u->param, to, u->b & 15);
}

void x86_emit_vector_store(struct translation *t, const struct uop *u)
{
    x86_emit_vector_store_to(t, u, x86_at_handle(t));
}

void x86_emit_vector_move(struct translation *t, const struct uop *u)
{
    static const struct emit_vector_op movaps = {.opcode = 0x0f28};
    struct emit_avx_op vmovaps = {1, 0, 0x28, false, u->param == 32};
    t->made_flags = t->host_flags;
    if (fuses_copy(t, t->index)) {
        struct x86_encoding encoding = x86_encoding_of(row_get(uop_at(t, t->index + 1)->param));
        emit_string(t, t->index + 1, &encoding, x86_place_of(u->b).reg, x86_place_of(uop_at(t, t->index + 1)->b));
        t->fused = 3;
    } else if (u->sub && !has(t, FEATURE_AVX)) {
        spill_for_copy(t);
        copy(t, home(u->dst), home(u->b), u->param, false);
        zero_above(t, home(u->dst), u->param);
    } else if (u->sub && x86_is_vector_temporary(u->b)) {
        emit_avx_load(&t->emit, u->param, u->dst & 15, home(u->b));
    } else if (u->sub) {
        emit_avx_registers(&t->emit, vmovaps, u->dst & 15, 0, u->b & 15);
    } else if (!has(t, FEATURE_SSE2)) {
        copy(t, home(u->dst), home(u->b), 16, false);
    } else if (x86_is_vector_temporary(u->dst)) {
        emit_vector_store(&t->emit, 16, home(u->dst), u->b & 15);
    } else if (x86_is_vector_temporary(u->b)) {
        emit_vector_load(&t->emit, 16, u->dst & 15, home(u->b));
    } else {
        emit_vector_registers(&t->emit, movaps, u->dst & 15, u->b & 15);
    }
}

// ---- calls that are none ------------------------------------------------------------------------------------------
static void emit_crc(struct translation *t, const struct uop *u)
{
    unsigned width = u->imm == 1 ? WIDTH_8 : u->imm == 2 ? WIDTH_16 : u->imm == 4 ? WIDTH_32 : WIDTH_64;
    uint8_t data = x86_value_of(t, u->b, S1), to;
    t->b = data;
    to = define(t, u);
    if (to == data)
        to = S0;
    x86_copy(t, WIDTH_32, to, x86_value_of(t, u->a, S0));
    emit_crc32(&t->emit, width, to, data);
    finish(t, u, to);
}

/// FST and its like: the check of the address, then the instruction.
static void emit_x87_store(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    struct uop access = {.op = UOP_XLAT, .dst = VAR_NONE, .a = u->a, .aux = UOP_WRITE, .insn = u->insn};
    unsigned opcode = X87_OPCODE(u->imm);
    access.param = x87_format_bytes(X87_ARGUMENT(u->imm) >> 16);
    t->a = x86_value_of(t, u->a, S0);
    x86_emit_xlat(t, &access); // the address is in S0
    emit_x87_memory(e, opcode >> 8, opcode >> 3 & 7, x86_at_register(S0));
    x86_x87_store_data(t, (uint64_t)u->imm, u->b);
    x86_x87_note_pointers(t, (uint64_t)u->imm);
}

bool x86_emit_inline_call(struct translation *t, const struct uop *u)
{
    uop_helper *function = uop_helpers[u->param].function;
    if (!x86_inlines_call(t, u))
        return false;
    t->made_flags = t->host_flags;
    if (fuses_insertion(t, u)) {
        emit_row(t, t->index + 1, x86_place_of_register(x86_value_of(t, u->a, S0)));
        t->fused = 1;
    } else if (function == helper_vector_set) {
        struct emit_memory to = x86_vector_temporary((unsigned)u->imm);
        emit_store(&t->emit, WIDTH_64, to, x86_value_of(t, u->a, S0));
        emit_store_imm(&t->emit, WIDTH_64, at(to, 8), 0);
    } else if (function == helper_crc32) {
        emit_crc(t, u);
    } else if (function == helper_x87_store) {
        emit_x87_store(t, u);
        t->made_flags = 0;
    } // else string_lengths: the instruction takes them from the registers
    t->stayed = true;
    return true;
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_sse_is_empty;

#endif
