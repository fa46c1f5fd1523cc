// Lifts of the system chapter: what is common becomes uops, the rest one CALL. Everything that changes mode, RIP,
// interrupts or paging ends the block.
#include "cpu/lift_system.h"

#include "cpu/privileged.h"

/// Calls a helper that returns the new RIP, and goes there.
static void exit_by_call(struct lift *l, enum helper helper, uint8_t a, uint8_t b, uint64_t imm)
{
    uint8_t target = lift_temp(l);
    lift_call(l, helper, target, a, b, imm);
    lift_exit_to(l, target);
}

/// Operand n zero-extended to a 64-bit temporary.
static uint8_t read_zero_extended(struct lift *l, const struct insn *insn, unsigned n)
{
    uint8_t value = lift_read(l, insn, n), wide;
    unsigned width = width_of(insn->operand[n].bytes);
    if (width == WIDTH_64)
        return value;
    wide = lift_temp(l);
    struct uop *uop = lift_emit(l, UOP_ZEXT, WIDTH_64);
    uop->dst = wide;
    uop->a = value;
    uop->sub = (uint8_t)width;
    return wide;
}

/// Linear address of the memory operand without any check (INVLPG).
static uint8_t unchecked_linear(struct lift *l, const struct insn *insn)
{
    uint8_t offset = lift_effective(l, insn), linear;
    if (lift_is_64(l) && insn->segment < SEG_FS)
        return offset;
    linear = lift_temp(l);
    lift_op(l, UOP_ADD, lift_is_64(l) ? WIDTH_64 : WIDTH_32, linear, offset, (uint8_t)(VAR_ES_BASE + insn->segment),
            false);
    return linear;
}

void lift_system_call(struct lift *l, const struct insn *insn)
{
    lift_call(l, (enum helper)insn->row->argument, VAR_NONE, VAR_ZERO, VAR_ZERO, 0);
}

void lift_undefined(struct lift *l, const struct insn *insn)
{
    lift_raise(l, VECTOR_UD);
}

// ---- Segment registers ------------------------------------------------------------------------------------------

void lift_mov_from_segment(struct lift *l, const struct insn *insn)
{
    uint8_t value = lift_temp(l);
    lift_call(l, HELPER_get_selector, value, VAR_ZERO, VAR_ZERO, insn->operand[1].reg);
    lift_write(l, insn, 0, value);
}

void lift_mov_to_segment(struct lift *l, const struct insn *insn)
{
    uint8_t value = lift_read(l, insn, 1);
    lift_call(l, HELPER_load_segment, VAR_NONE, value, VAR_ZERO, insn->operand[0].reg | 0x100u);
}

void lift_push_segment(struct lift *l, const struct insn *insn)
{
    // A 32- or 64-bit push writes the selector zero-extended.
    uint8_t value = lift_temp(l);
    lift_call(l, HELPER_get_selector, value, VAR_ZERO, VAR_ZERO, insn->row->argument);
    lift_push(l, value, insn->operand_bytes);
}

void lift_pop_segment(struct lift *l, const struct insn *insn)
{
    uint8_t sp, value = lift_pop(l, insn->operand_bytes, &sp);
    // A load of SS may change the stack's width: the pointer moves first where no fault can follow, so last here; the
    // width is that of the old stack, which lift_set_sp has from the block's mode.
    lift_call(l, HELPER_load_segment, VAR_NONE, value, VAR_ZERO, insn->row->argument | 0x100u);
    lift_set_sp(l, sp);
}

void lift_load_far_pointer(struct lift *l, const struct insn *insn)
{
    unsigned bytes = insn->operand_bytes;
    uint8_t first = lift_linear(l, insn, bytes + 2, false, 0), second = lift_temp(l), offset, selector;
    lift_op_imm(l, UOP_ADD, lift_is_64(l) ? WIDTH_64 : WIDTH_32, second, first, bytes, false);
    offset = lift_load(l, lift_xlat(l, first, bytes, false, insn->segment == SEG_SS), width_of(bytes));
    selector = lift_load(l, lift_xlat(l, second, 2, false, insn->segment == SEG_SS), WIDTH_16);
    lift_call(l, HELPER_load_segment, VAR_NONE, selector, VAR_ZERO, insn->row->argument);
    lift_write(l, insn, 0, offset);
}

void lift_store_selector(struct lift *l, const struct insn *insn) // SLDT, STR
{
    uint8_t value = lift_temp(l);
    lift_call(l, HELPER_check_umip, VAR_NONE, VAR_ZERO, VAR_ZERO, 0);
    lift_call(l, HELPER_get_selector, value, VAR_ZERO, VAR_ZERO, insn->row->argument);
    lift_write(l, insn, 0, value);
}

void lift_load_system_segment(struct lift *l, const struct insn *insn) // LLDT, LTR
{
    uint8_t value = lift_read(l, insn, 0);
    lift_call(l, (enum helper)insn->row->argument, VAR_NONE, value, VAR_ZERO, 0);
}

/// ZF = bit 32 of a helper's result.
static void zero_flag_from(struct lift *l, uint8_t result)
{
    uint8_t bit = lift_temp(l);
    struct uop *uop;
    lift_op_imm(l, UOP_SHR, WIDTH_64, bit, result, 32 - 6, false);
    uop = lift_emit(l, UOP_SET_FLAGS, WIDTH_64);
    uop->a = bit;
    uop->imm = FLAG_ZF;
    uop->aux = UOP_SETS_FLAGS;
}

void lift_query_descriptor(struct lift *l, const struct insn *insn)
{
    bool verify = insn->row->argument == SYSTEM_VERR || insn->row->argument == SYSTEM_VERW;
    uint8_t selector = lift_read(l, insn, verify ? 0 : 1), result = lift_temp(l), chosen, value;
    struct uop *uop;

    lift_call(l, HELPER_query_descriptor, result, selector, VAR_ZERO, insn->row->argument);
    zero_flag_from(l, result);
    if (verify)
        return;
    value = lift_temp(l);
    uop = lift_emit(l, UOP_ZEXT, WIDTH_64); // without bit 32
    uop->dst = value;
    uop->a = result;
    uop->sub = WIDTH_32;
    chosen = lift_temp(l);
    uop = lift_emit(l, UOP_SELECT, WIDTH_64);
    uop->dst = chosen;
    uop->a = insn->operand[0].reg;
    uop->b = value;
    uop->sub = 4; // Z
    // A register that is not written keeps even its upper half.
    lift_op(l, UOP_MOV, insn->operand_bytes == 2 ? WIDTH_16 : WIDTH_64, insn->operand[0].reg, VAR_ZERO, chosen, false);
}

void lift_arpl(struct lift *l, const struct insn *insn)
{
    uint8_t handle, old = lift_rmw(l, insn, 0, &handle), source = lift_read(l, insn, 1), result = lift_temp(l);
    lift_call(l, HELPER_adjust_rpl, result, old, source, 0);
    lift_rmw_end(l, insn, 0, handle, result);
    zero_flag_from(l, result);
}

// ---- Far transfers and interrupts -------------------------------------------------------------------------------

void lift_far_direct(struct lift *l, const struct insn *insn)
{
    uint8_t next = lift_next_rip(l);
    uint8_t target = lift_const(l, (uint32_t)insn->operand[0].kind == OPERAND_FAR
                                       ? (uint32_t)insn->immediate | (uint64_t)insn->far_selector << 32
                                       : 0);
    exit_by_call(l, HELPER_far_direct, target, next, insn->operand_bytes | insn->row->argument << 8);
}

void lift_far_indirect(struct lift *l, const struct insn *insn)
{
    uint8_t linear = lift_linear(l, insn, insn->operand_bytes + 2u, false, 0);
    exit_by_call(l, HELPER_far_indirect, linear, lift_next_rip(l),
                 insn->operand_bytes | insn->row->argument << 8 | (insn->segment == SEG_SS ? 0x200u : 0));
}

void lift_far_return(struct lift *l, const struct insn *insn)
{
    uint64_t release = insn->operand_count ? insn->immediate & 0xffff : 0;
    exit_by_call(l, HELPER_far_return, VAR_ZERO, VAR_ZERO, insn->operand_bytes | release << 16);
}

void lift_iret(struct lift *l, const struct insn *insn)
{
    exit_by_call(l, HELPER_iret, lift_next_rip(l), VAR_ZERO, insn->operand_bytes);
}

void lift_interrupt(struct lift *l, const struct insn *insn)
{
    uint64_t imm = insn->operand_count ? insn->immediate & 0xff : insn->row->argument;
    exit_by_call(l, HELPER_interrupt, lift_next_rip(l), VAR_ZERO, imm);
}

void lift_into(struct lift *l, const struct insn *insn)
{
    // INTO is rare: the helper looks at OF.
    exit_by_call(l, HELPER_interrupt_overflow, lift_next_rip(l), VAR_ZERO, 0);
}

void lift_bound(struct lift *l, const struct insn *insn)
{
    uint8_t index = lift_read(l, insn, 0), linear = lift_linear(l, insn, insn->operand_bytes * 2u, false, 0);
    lift_call(l, HELPER_bound, VAR_NONE, index, linear, insn->operand_bytes);
}

void lift_to_rip(struct lift *l, const struct insn *insn)
{
    exit_by_call(l, (enum helper)insn->row->argument, lift_next_rip(l), VAR_ZERO, insn->operand_bytes);
}

void lift_syscall(struct lift *l, const struct insn *insn)
{
    uint8_t six = lift_temp(l);
    lift_emit(l, UOP_GET_FLAGS, WIDTH_64)->dst = six;
    exit_by_call(l, HELPER_syscall, lift_next_rip(l), six, 0);
}

// ---- Flags ------------------------------------------------------------------------------------------------------

void lift_pushf(struct lift *l, const struct insn *insn)
{
    uint8_t six, image = lift_temp(l), upper;
    if (l->mode & MODE_VM86) {
        lift_call(l, HELPER_pushf, image, VAR_ZERO, VAR_ZERO, insn->operand_bytes);
    } else {
        six = lift_temp(l);
        lift_emit(l, UOP_GET_FLAGS, WIDTH_64)->dst = six;
        upper = lift_temp(l);
        lift_op_imm(l, UOP_AND, WIDTH_64, upper, VAR_FLAGS, (int64_t) ~(FLAG_RF | FLAG_VM), false);
        lift_op(l, UOP_OR, WIDTH_64, image, upper, six, false);
    }
    lift_push(l, image, insn->operand_bytes);
}

void lift_popf(struct lift *l, const struct insn *insn)
{
    uint8_t sp, value = lift_pop(l, insn->operand_bytes, &sp);
    lift_call(l, HELPER_popf, VAR_NONE, value, VAR_ZERO, insn->operand_bytes);
    lift_set_sp(l, sp);
}

void lift_cli(struct lift *l, const struct insn *insn)
{
    if (l->mode & MODE_IOPL)
        lift_op_imm(l, UOP_AND, WIDTH_64, VAR_FLAGS, VAR_FLAGS, (int64_t)~FLAG_IF, false);
    else
        lift_call(l, HELPER_set_interrupts, VAR_NONE, VAR_ZERO, VAR_ZERO, 0);
}

void lift_sti(struct lift *l, const struct insn *insn)
{
    lift_call(l, HELPER_set_interrupts, VAR_NONE, VAR_ZERO, VAR_ZERO, 1);
}

void lift_set_ac(struct lift *l, const struct insn *insn)
{
    lift_call(l, HELPER_set_ac, VAR_NONE, VAR_ZERO, VAR_ZERO, insn->row->argument);
}

// ---- Control ----------------------------------------------------------------------------------------------------

void lift_mov_from_control(struct lift *l, const struct insn *insn)
{
    uint8_t value = lift_temp(l);
    lift_call(l, HELPER_get_control, value, VAR_ZERO, VAR_ZERO, insn->operand[1].reg);
    lift_op(l, UOP_MOV, lift_is_64(l) ? WIDTH_64 : WIDTH_32, insn->operand[0].reg, VAR_ZERO, value, false);
}

/// The register as a control register takes it: 32 bits outside 64-bit code.
static uint8_t control_value(struct lift *l, unsigned reg)
{
    uint8_t value;
    struct uop *uop;
    if (lift_is_64(l))
        return (uint8_t)reg;
    value = lift_temp(l);
    uop = lift_emit(l, UOP_ZEXT, WIDTH_64);
    uop->dst = value;
    uop->a = (uint8_t)reg;
    uop->sub = WIDTH_32;
    return value;
}

void lift_mov_to_control(struct lift *l, const struct insn *insn)
{
    lift_call(l, HELPER_set_control, VAR_NONE, control_value(l, insn->operand[1].reg), VAR_ZERO, insn->operand[0].reg);
}

void lift_mov_from_debug(struct lift *l, const struct insn *insn)
{
    uint8_t value = lift_temp(l);
    lift_call(l, HELPER_get_debug, value, VAR_ZERO, VAR_ZERO, insn->operand[1].reg);
    lift_op(l, UOP_MOV, lift_is_64(l) ? WIDTH_64 : WIDTH_32, insn->operand[0].reg, VAR_ZERO, value, false);
}

void lift_mov_to_debug(struct lift *l, const struct insn *insn)
{
    lift_call(l, HELPER_set_debug, VAR_NONE, control_value(l, insn->operand[1].reg), VAR_ZERO, insn->operand[0].reg);
}

void lift_smsw(struct lift *l, const struct insn *insn)
{
    uint8_t value = lift_temp(l);
    lift_call(l, HELPER_check_umip, VAR_NONE, VAR_ZERO, VAR_ZERO, 0);
    lift_call(l, HELPER_get_control, value, VAR_ZERO, VAR_ZERO, 0);
    lift_write(l, insn, 0, value);
}

void lift_lmsw(struct lift *l, const struct insn *insn)
{
    lift_call(l, HELPER_lmsw, VAR_NONE, lift_read(l, insn, 0), VAR_ZERO, 0);
}

void lift_table(struct lift *l, const struct insn *insn) // LGDT LIDT SGDT SIDT: argument is the helper | IDT << 16
{
    enum helper helper = (enum helper)(insn->row->argument & 0xffff);
    bool store = helper == HELPER_store_table;
    unsigned bytes = lift_is_64(l) ? 10 : 6;
    uint8_t limit = lift_linear(l, insn, bytes, store, 0), base = lift_temp(l);
    lift_op_imm(l, UOP_ADD, lift_is_64(l) ? WIDTH_64 : WIDTH_32, base, limit, 2, false);
    lift_call(l, helper, VAR_NONE, limit, base, (insn->row->argument >> 16) | (uint64_t)insn->operand_bytes << 8);
}

void lift_invlpg(struct lift *l, const struct insn *insn)
{
    lift_call(l, HELPER_invlpg, VAR_NONE, unchecked_linear(l, insn), VAR_ZERO, 0);
}

void lift_invpcid(struct lift *l, const struct insn *insn)
{
    uint8_t type = control_value(l, insn->operand[0].reg);
    lift_call(l, HELPER_invpcid, VAR_NONE, type, lift_linear(l, insn, 16, false, 0), 0);
}

void lift_cache_line(struct lift *l, const struct insn *insn) // CLFLUSH and friends: checked as a read of a byte
{
    lift_xlat(l, lift_linear(l, insn, 1, false, 0), 1, false, insn->segment == SEG_SS);
}

void lift_rdtsc(struct lift *l, const struct insn *insn)
{
    lift_call(l, HELPER_rdtsc, VAR_NONE, VAR_ZERO, VAR_ZERO, insn->row->argument);
}

void lift_rdpid(struct lift *l, const struct insn *insn)
{
    uint8_t value = lift_temp(l);
    lift_call(l, HELPER_rdpid, value, VAR_ZERO, VAR_ZERO, 0);
    lift_op(l, UOP_MOV, WIDTH_64, insn->operand[0].reg, VAR_ZERO, value, false);
}

void lift_random(struct lift *l, const struct insn *insn)
{
    uint8_t value = lift_temp(l), carry;
    struct uop *uop;
    lift_call(l, HELPER_random, value, VAR_ZERO, VAR_ZERO, 0);
    lift_write(l, insn, 0, value);
    carry = lift_const(l, FLAG_CF);
    uop = lift_emit(l, UOP_SET_FLAGS, WIDTH_64);
    uop->a = carry;
    uop->imm = FLAGS_ARITHMETIC;
    uop->aux = UOP_SETS_FLAGS;
}

void lift_fsgsbase(struct lift *l, const struct insn *insn) // argument: segment | write << 8
{
    uint8_t base = (uint8_t)(VAR_ES_BASE + (insn->row->argument & 0xff));
    bool write = insn->row->argument >> 8;
    uint8_t value = write ? read_zero_extended(l, insn, 0) : VAR_ZERO;
    lift_call(l, HELPER_check_fsgsbase, VAR_NONE, value, VAR_ZERO, write);
    if (write)
        lift_op(l, UOP_MOV, WIDTH_64, base, VAR_ZERO, value, false);
    else
        lift_write(l, insn, 0, base);
}

void lift_monitor(struct lift *l, const struct insn *insn)
{
    unsigned segment = insn->segment_override >= 0 ? (unsigned)insn->segment_override : SEG_DS;
    if (lift_cpl(l) > 0) {
        lift_raise(l, VECTOR_UD);
        return;
    }
    uint8_t offset = lift_temp(l);
    struct uop *uop = lift_emit(l, UOP_EA, width_of(insn->address_bytes));
    uop->dst = offset;
    uop->a = VAR_RAX;
    uop->b = VAR_ZERO;
    lift_call(l, HELPER_monitor, VAR_NONE, lift_segment(l, segment, offset, 1, false), VAR_ZERO, segment == SEG_SS);
}

void lift_mwait(struct lift *l, const struct insn *insn)
{
    if (lift_cpl(l) > 0)
        lift_raise(l, VECTOR_UD);
    else
        lift_call(l, HELPER_mwait, VAR_NONE, VAR_ZERO, VAR_ZERO, 0);
}

// ---- Ports ------------------------------------------------------------------------------------------------------

/// The port: an immediate byte or DX.
static uint8_t port_of(struct lift *l, const struct insn *insn, unsigned n)
{
    return insn->operand[n].kind == OPERAND_IMMEDIATE ? lift_const(l, insn->immediate & 0xff) : VAR_RDX;
}

void lift_in(struct lift *l, const struct insn *insn)
{
    uint8_t value = lift_temp(l);
    lift_call(l, HELPER_in, value, port_of(l, insn, 1), VAR_ZERO, insn->operand[0].bytes);
    lift_write(l, insn, 0, value);
}

void lift_out(struct lift *l, const struct insn *insn)
{
    lift_call(l, HELPER_out, VAR_NONE, port_of(l, insn, 0), VAR_RAX, insn->operand[1].bytes);
}

void lift_string_io(struct lift *l, const struct insn *insn) // argument: enum string_op | bytes << 8; 0 bytes: 2 or 4
{
    bool out = (insn->row->argument & 0xff) == STRING_OUTS;
    unsigned bytes = insn->row->argument >> 8 ? insn->row->argument >> 8 : insn->operand_bytes == 2 ? 2 : 4;
    unsigned segment = !out ? SEG_ES : insn->segment_override >= 0 ? (unsigned)insn->segment_override : SEG_DS;
    uint64_t imm = out | bytes << 8 | (uint64_t)insn->address_bytes << 16 | (uint64_t)segment << 24 |
                   (uint64_t)(insn->rep || insn->repne) << 32;
    exit_by_call(l, HELPER_string_io, lift_this_rip(l), lift_next_rip(l), imm);
}
