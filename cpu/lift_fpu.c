// Lifting of x87, MMX and SSE rows: moves become vector loads and stores, the rest one ROW uop with its operands.
#include "cpu/lift_fpu.h"

#include "cpu/fpu.h"

bool lift_fpu_check(struct lift *l, const struct insn *insn)
{
    uint32_t attributes = insn->row->attributes;
    bool undefined = ((attributes & ROW_SSE) && (l->mode & (MODE_EM | MODE_NO_SSE))) ||
                     ((attributes & ROW_MMX) && (l->mode & MODE_EM)) ||
                     ((attributes & ROW_AVX) && !(l->mode & MODE_AVX));
    bool absent = (attributes & (ROW_X87 | ROW_X87_NO_WAIT)) && (l->mode & MODE_EM);
    absent |= (attributes & (ROW_X87 | ROW_X87_NO_WAIT | ROW_MMX | ROW_SSE | ROW_AVX)) && (l->mode & MODE_TS);
    if (undefined || absent)
        lift_raise(l, undefined ? VECTOR_UD : VECTOR_NM);
    return !undefined && !absent; // a pending #MF is seen by the rows' own functions
}

static uint8_t vreg_of(const struct operand *operand)
{
    return operand->kind == OPERAND_MMX ? VREG_MM + (operand->reg & 7) : operand->reg;
}

static bool is_vector(const struct operand *operand)
{
    return operand->kind == OPERAND_XMM || operand->kind == OPERAND_MMX;
}

// ---- Vector operands ----------------------------------------------------------------------------------------------
/// The uops from number `from` on belong to an instruction that a pending x87 exception comes before.
static void mark_waiting(struct lift *l, unsigned from)
{
    for (unsigned i = from; i < l->uop_count; i++)
        if (l->uops[i].op == UOP_SEG || l->uops[i].op == UOP_XLAT)
            l->uops[i].aux |= UOP_X87;
}

/// MMX instructions do, but not CVTPI2PS and CVTPI2PD from memory, which touch no MMX register.
static bool waits(const struct insn *insn)
{
    if (!(insn->row->attributes & ROW_MMX))
        return false;
    for (unsigned i = 0; i < insn->operand_count; i++)
        if (insn->operand[i].kind == OPERAND_MMX)
            return true;
    return false;
}

uint8_t lift_vector_handle(struct lift *l, const struct insn *insn, unsigned n, bool write)
{
    unsigned bytes = insn->operand[n].bytes;
    unsigned from = l->uop_count;
    uint8_t linear = lift_linear(l, insn, bytes, write, 0);
    uint8_t handle = lift_xlat(l, linear, bytes, write, insn->segment == SEG_SS);
    if (waits(insn))
        mark_waiting(l, from);
    if ((insn->row->attributes & ROW_ALIGNED) && bytes >= 16)
        l->uops[l->uop_count - 1].aux |= UOP_ALIGNED;
    return handle;
}

struct uop *lift_vload(struct lift *l, uint8_t vreg, uint8_t handle, unsigned bytes)
{
    struct uop *uop = lift_emit(l, UOP_VLOAD, WIDTH_8);
    uop->dst = vreg;
    uop->a = handle;
    uop->param = bytes;
    return uop;
}

void lift_vstore(struct lift *l, uint8_t handle, uint8_t vreg, unsigned bytes)
{
    struct uop *uop = lift_emit(l, UOP_VSTORE, WIDTH_8);
    uop->a = handle;
    uop->b = vreg;
    uop->param = bytes;
}

static void emit_vmov(struct lift *l, uint8_t to, uint8_t from)
{
    struct uop *uop = lift_emit(l, UOP_VMOV, WIDTH_8);
    uop->dst = to;
    uop->b = from;
}

uint8_t lift_vector_read(struct lift *l, const struct insn *insn, unsigned n)
{
    if (is_vector(&insn->operand[n]))
        return vreg_of(&insn->operand[n]);
    lift_vload(l, VREG_TEMP, lift_vector_handle(l, insn, n, false), insn->operand[n].bytes);
    return VREG_TEMP;
}

void lift_vector_write(struct lift *l, const struct insn *insn, unsigned n, uint8_t vreg)
{
    if (is_vector(&insn->operand[n]))
        emit_vmov(l, vreg_of(&insn->operand[n]), vreg);
    else
        lift_vstore(l, lift_vector_handle(l, insn, n, true), vreg, insn->operand[n].bytes);
}

/// A vreg with operand n: its own register, or a temporary for memory and general registers. Vector loads take no
/// bytes or words: those go through a variable.
static uint8_t read_source(struct lift *l, const struct insn *insn, unsigned n)
{
    if (insn->operand[n].kind != OPERAND_GPR && (is_vector(&insn->operand[n]) || insn->operand[n].bytes >= 4))
        return lift_vector_read(l, insn, n);
    unsigned from = l->uop_count;
    uint8_t value = lift_read(l, insn, n);
    if (waits(insn))
        mark_waiting(l, from);
    lift_call(l, HELPER_vector_set, VAR_NONE, value, VAR_ZERO, VREG_TEMP);
    return VREG_TEMP;
}

static bool uses_mmx(const struct insn *insn)
{
    for (unsigned i = 0; i < insn->operand_count; i++)
        if (insn->operand[i].kind == OPERAND_MMX)
            return true;
    return false;
}

static uint64_t row_operand(const struct insn *insn)
{
    return simd_operand(insn->row, uses_mmx(insn), insn->immediate);
}

/// op0 = f(op0, op1, immediate) between vector registers, op1 also memory or a general register.
void lift_simd(struct lift *l, const struct insn *insn)
{
    if (!lift_fpu_check(l, insn))
        return;
    uint8_t source = read_source(l, insn, 1);
    lift_row(l, insn, VAR_NONE, vreg_of(&insn->operand[0]), source, VAR_IMM, row_operand(insn));
}

/// INSERTPS: from memory there is but one lane to take.
void lift_simd_insertps(struct lift *l, const struct insn *insn)
{
    uint64_t operand = row_operand(insn);
    if (!lift_fpu_check(l, insn))
        return;
    if (insn->operand[1].kind == OPERAND_MEMORY)
        operand &= ~UINT64_C(0xc0);
    lift_row(l, insn, VAR_NONE, vreg_of(&insn->operand[0]), read_source(l, insn, 1), VAR_IMM, operand);
}

/// op0 = f(op0, immediate), and instructions without operands.
void lift_simd_one(struct lift *l, const struct insn *insn)
{
    if (!lift_fpu_check(l, insn))
        return;
    uint8_t vreg = insn->operand_count ? vreg_of(&insn->operand[0]) : VREG_TEMP;
    lift_row(l, insn, VAR_NONE, vreg, vreg, VAR_IMM, row_operand(insn));
}

/// General register op0 = f(op1, immediate).
void lift_simd_to_gpr(struct lift *l, const struct insn *insn)
{
    if (!lift_fpu_check(l, insn))
        return;
    bool conversion = insn->row->execute == sse_to_integer;
    uint8_t source = read_source(l, insn, 1), value = lift_temp(l);
    uint64_t operand = conversion ? simd_operand(insn->row, false, insn->operand[0].bytes) : row_operand(insn);
    lift_row(l, insn, value, source, source, VAR_IMM, operand);
    lift_write(l, insn, 0, value);
}

static void set_flags(struct lift *l, uint8_t flags)
{
    struct uop *uop = lift_emit(l, UOP_SET_FLAGS, WIDTH_64);
    uop->a = flags;
    uop->imm = FLAGS_ARITHMETIC;
}

/// COMIS*, UCOMIS*: op0 against op1 to the flags.
void lift_simd_to_flags(struct lift *l, const struct insn *insn)
{
    if (!lift_fpu_check(l, insn))
        return;
    uint8_t source = read_source(l, insn, 1), flags = lift_temp(l);
    lift_row(l, insn, flags, vreg_of(&insn->operand[0]), source, VAR_IMM, row_operand(insn));
    set_flags(l, flags);
}

/// PCMPESTRx (the row's argument is 1) take the strings' lengths from RAX and RDX.
static uint8_t string_operand(struct lift *l, const struct insn *insn)
{
    if (!insn->row->argument)
        return lift_const(l, insn->immediate & SIMD_IMMEDIATE);
    uint8_t operand = lift_temp(l);
    lift_call(l, HELPER_string_lengths, operand, VAR_RAX, VAR_RDX,
              (insn->immediate & SIMD_IMMEDIATE) | (insn->rex & 8 ? 0x100 : 0));
    return operand;
}

/// PCMPxSTRI: the index to ECX, and flags.
void lift_string_index(struct lift *l, const struct insn *insn)
{
    if (!lift_fpu_check(l, insn))
        return;
    uint8_t source = read_source(l, insn, 1), operand = string_operand(l, insn), result = lift_temp(l);
    lift_row(l, insn, result, vreg_of(&insn->operand[0]), source, operand, 0);
    lift_op_imm(l, UOP_SHR, WIDTH_64, VAR_RCX, result, 32, false);
    set_flags(l, result);
}

/// PCMPxSTRM: the mask to XMM0, and flags. The function puts the mask where the first string was: in a copy.
void lift_string_mask(struct lift *l, const struct insn *insn)
{
    const uint8_t copy = VREG_TEMP + 1;
    if (!lift_fpu_check(l, insn))
        return;
    uint8_t source = read_source(l, insn, 1), operand = string_operand(l, insn), result = lift_temp(l);
    emit_vmov(l, copy, vreg_of(&insn->operand[0]));
    lift_row(l, insn, result, copy, source, operand, 0);
    emit_vmov(l, VREG_XMM, copy);
    if (insn->row->attributes & ROW_AVX) {
        l->uops[l->uop_count - 1].sub = 1;
        l->uops[l->uop_count - 1].param = 16;
    }
    set_flags(l, result);
}

/// The value of a general register or memory operand in 64 bits.
static uint8_t read_integer(struct lift *l, const struct insn *insn, unsigned n, bool sign)
{
    uint8_t value = lift_read(l, insn, n);
    if (insn->operand[n].bytes == 8)
        return value;
    uint8_t wide = lift_temp(l);
    struct uop *uop = lift_emit(l, sign ? UOP_SEXT : UOP_ZEXT, WIDTH_64);
    uop->dst = wide;
    uop->a = value;
    uop->sub = width_of(insn->operand[n].bytes);
    return wide;
}

/// CVTSI2SS, CVTSI2SD; MOVD and MOVQ from a general register or memory.
void lift_simd_from_gpr(struct lift *l, const struct insn *insn)
{
    if (!lift_fpu_check(l, insn))
        return;
    bool conversion = insn->row->execute == sse_cvtsi2ss || insn->row->execute == sse_cvtsi2sd;
    unsigned from = l->uop_count;
    uint8_t value = read_integer(l, insn, 1, conversion), vreg = vreg_of(&insn->operand[0]);
    if (waits(insn))
        mark_waiting(l, from);
    lift_row(l, insn, VAR_NONE, vreg, vreg, value, 0);
}

// ---- Moves --------------------------------------------------------------------------------------------------------
/// MOVAPS, MOVUPS, MOVDQA ... : op0 = op1, one of them perhaps in memory. Between registers all 16 bytes move, or, for
/// rows with a function (MOVSS, MOVSD, MOVQ), what that function says.
void lift_simd_move(struct lift *l, const struct insn *insn)
{
    const struct operand *to = &insn->operand[0], *from = &insn->operand[1];
    if (!lift_fpu_check(l, insn))
        return;
    if (to->kind == OPERAND_MEMORY) {
        lift_vector_write(l, insn, 0, vreg_of(from));
    } else if (from->kind == OPERAND_MEMORY) {
        lift_vload(l, vreg_of(to), lift_vector_handle(l, insn, 1, false), from->bytes);
    } else if (insn->row->execute) {
        lift_row(l, insn, VAR_NONE, vreg_of(to), vreg_of(from), VAR_IMM, row_operand(insn));
    } else {
        emit_vmov(l, vreg_of(to), vreg_of(from));
    }
}

/// MOVHPS, MOVHPD to memory: the high half goes through a temporary.
void lift_simd_store_high(struct lift *l, const struct insn *insn)
{
    if (!lift_fpu_check(l, insn))
        return;
    lift_row(l, insn, VAR_NONE, VREG_TEMP, vreg_of(&insn->operand[1]), VAR_IMM, 0);
    lift_vector_write(l, insn, 0, VREG_TEMP);
}

/// MOVD and MOVQ from a vector register to a general register or memory; PEXTRW's memory forms and MMX stores too: the
/// function gives the value.
void lift_simd_extract(struct lift *l, const struct insn *insn)
{
    if (!lift_fpu_check(l, insn))
        return;
    // The address first: the function of an MMX row changes tags and TOP.
    bool memory = insn->operand[0].kind == OPERAND_MEMORY;
    uint8_t handle = memory ? lift_vector_handle(l, insn, 0, true) : VAR_NONE;
    uint8_t value = lift_temp(l), vreg = vreg_of(&insn->operand[1]);
    lift_row(l, insn, value, vreg, vreg, VAR_IMM, row_operand(insn));
    if (memory)
        lift_store(l, handle, value, width_of(insn->operand[0].bytes));
    else
        lift_write(l, insn, 0, value);
}

/// MOVQ mm/m64, mm.
void lift_mmx_store(struct lift *l, const struct insn *insn)
{
    if (!lift_fpu_check(l, insn))
        return;
    uint8_t from = vreg_of(&insn->operand[1]);
    if (insn->operand[0].kind == OPERAND_MMX) {
        lift_row(l, insn, VAR_NONE, vreg_of(&insn->operand[0]), from, VAR_IMM, row_operand(insn));
        return;
    }
    uint8_t handle = lift_vector_handle(l, insn, 0, true);
    lift_row(l, insn, VAR_NONE, from, from, VAR_IMM, SIMD_MMX | SIMD_STORE);
    lift_vstore(l, handle, from, 8);
}

/// MASKMOVQ, MASKMOVDQU: bytes of op0 that op1's sign bits select, to DS:rDI.
void lift_simd_maskmov(struct lift *l, const struct insn *insn)
{
    if (!lift_fpu_check(l, insn))
        return;
    unsigned bytes = insn->operand[0].kind == OPERAND_MMX ? 8 : 16;
    unsigned segment = insn->segment_override >= 0 ? (unsigned)insn->segment_override : SEG_DS;
    uint8_t offset = lift_temp(l);
    struct uop *uop = lift_emit(l, UOP_EA, width_of(insn->address_bytes));
    uop->dst = offset;
    uop->a = VAR_RDI;
    uop->b = VAR_ZERO;
    unsigned from = l->uop_count;
    uint8_t linear = lift_segment(l, segment, offset, bytes, true);
    if (bytes == 8)
        mark_waiting(l, from);
    lift_call(l, HELPER_maskmov, VAR_NONE, linear, VAR_ZERO,
              vreg_of(&insn->operand[0]) | (uint64_t)vreg_of(&insn->operand[1]) << 8 | (uint64_t)bytes << 16);
}

void lift_ldmxcsr(struct lift *l, const struct insn *insn)
{
    if (!lift_fpu_check(l, insn))
        return;
    lift_row(l, insn, VAR_NONE, VREG_TEMP, VREG_TEMP, lift_read(l, insn, 0), 0);
}

void lift_stmxcsr(struct lift *l, const struct insn *insn)
{
    if (!lift_fpu_check(l, insn))
        return;
    uint8_t value = lift_temp(l);
    lift_row(l, insn, value, VREG_TEMP, VREG_TEMP, VAR_IMM, 0);
    lift_write(l, insn, 0, value);
}

// ---- x87 ----------------------------------------------------------------------------------------------------------
/// Place in the block, 11-bit opcode, argument. The opcode byte is in the row's text: "D8 /0" or "D8 C0+i".
static uint64_t x87_operand(const struct lift *l, const struct insn *insn)
{
    const char *text = insn->row->encoding;
    unsigned escape = (unsigned)(text[1] <= '9' ? text[1] - '0' : text[1] - 'A' + 10) & 7;
    uint64_t operand =
        (l->offset & 0xffff) | (uint64_t)(escape << 8 | insn->modrm) << 16 | (uint64_t)insn->row->argument << 32;
    if (insn->operand_count && insn->operand[0].kind == OPERAND_MEMORY)
        operand |= X87_MEMORY | (uint64_t)insn->segment << 52;
    return operand;
}

/// The memory operand's bytes in VREG_TEMP, its offset in VAR_X87_DATA.
static void read_memory(struct lift *l, const struct insn *insn)
{
    unsigned bytes = insn->operand[0].bytes;
    unsigned from = l->uop_count;
    uint8_t offset = lift_effective(l, insn), linear = lift_segment(l, insn->segment, offset, bytes, false);
    uint8_t handle = lift_xlat(l, linear, bytes, false, insn->segment == SEG_SS);
    mark_waiting(l, from);
    lift_vload(l, VREG_TEMP, handle, bytes);
    struct uop *uop = lift_emit(l, UOP_MOV, WIDTH_64);
    uop->dst = VAR_X87_DATA;
    uop->b = offset;
}

/// Everything that is one function over the state and at most one memory operand to read.
void lift_x87(struct lift *l, const struct insn *insn)
{
    if (!lift_fpu_check(l, insn))
        return;
    if (insn->operand_count && insn->operand[0].kind == OPERAND_MEMORY)
        read_memory(l, insn);
    lift_row(l, insn, VAR_NONE, VREG_TEMP, VREG_TEMP, VAR_IMM, x87_operand(l, insn));
}

/// FWAIT: only its function knows whether CR0.TS and MP make it fault.
void lift_fwait(struct lift *l, const struct insn *insn)
{
    lift_row(l, insn, VAR_NONE, VREG_TEMP, VREG_TEMP, VAR_IMM, 0);
}

/// FCOMI and its like.
void lift_x87_to_flags(struct lift *l, const struct insn *insn)
{
    if (!lift_fpu_check(l, insn))
        return;
    uint8_t flags = lift_temp(l);
    lift_row(l, insn, flags, VREG_TEMP, VREG_TEMP, VAR_IMM, x87_operand(l, insn));
    set_flags(l, flags);
}

/// FCMOVcc; the row's argument is the condition's number.
void lift_x87_cmov(struct lift *l, const struct insn *insn)
{
    if (!lift_fpu_check(l, insn))
        return;
    uint8_t condition = lift_temp(l), wide = lift_temp(l), top = lift_temp(l), operand = lift_temp(l);
    struct uop *uop = lift_emit(l, UOP_SETCC, WIDTH_8);
    uop->dst = condition;
    uop->sub = insn->row->argument & 15;
    uop = lift_emit(l, UOP_ZEXT, WIDTH_64);
    uop->dst = wide;
    uop->a = condition;
    uop->sub = WIDTH_8;
    lift_op_imm(l, UOP_SHL, WIDTH_64, top, wide, 63, false);
    lift_op_imm(l, UOP_OR, WIDTH_64, operand, top, (int64_t)x87_operand(l, insn), false);
    lift_row(l, insn, VAR_NONE, VREG_TEMP, VREG_TEMP, operand, 0);
}

/// Stores that convert, can be held back by an exception, and pop.
void lift_x87_store(struct lift *l, const struct insn *insn)
{
    if (!lift_fpu_check(l, insn))
        return;
    unsigned from = l->uop_count;
    uint8_t offset = lift_effective(l, insn);
    uint8_t linear = lift_segment(l, insn->segment, offset, insn->operand[0].bytes, true);
    mark_waiting(l, from);
    lift_call(l, HELPER_x87_store, VAR_NONE, linear, offset, x87_operand(l, insn));
}

void lift_fldcw(struct lift *l, const struct insn *insn)
{
    unsigned from = l->uop_count;
    lift_ldmxcsr(l, insn);
    mark_waiting(l, from);
}

/// FNSTCW, FNSTSW to memory or AX.
void lift_fnstcw(struct lift *l, const struct insn *insn)
{
    lift_stmxcsr(l, insn);
}

/// FNSTENV, FLDENV (argument 0), FNSAVE, FRSTOR (8): the image depends on the operand size.
void lift_x87_environment(struct lift *l, const struct insn *insn)
{
    bool store = insn->row->attributes & ROW_X87_NO_WAIT, registers = insn->row->argument;
    if (!lift_fpu_check(l, insn))
        return;
    unsigned bytes = insn->operand_bytes == 2 ? 14 : 28;
    unsigned from = l->uop_count;
    uint8_t linear = lift_linear(l, insn, bytes + (registers ? 80 : 0), store, 0);
    if (!store)
        mark_waiting(l, from);
    lift_call(l, store ? HELPER_fnstenv : HELPER_fldenv, VAR_NONE, linear, VAR_ZERO,
              (insn->operand_bytes == 2 ? 2 : 4) | insn->row->argument);
}

void lift_fxsave(struct lift *l, const struct insn *insn)
{
    bool store = insn->row->argument == HELPER_fxsave;
    if (!lift_fpu_check(l, insn))
        return;
    uint8_t linear = lift_linear(l, insn, 512, store, 0);
    lift_call(l, insn->row->argument, VAR_NONE, linear, VAR_ZERO, insn->rex >> 3 & 1);
}
