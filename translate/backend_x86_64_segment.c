// The x86-64 backend's segments: linear addresses with their checks, targets of near branches, faults that are certain.
// What is unusual (expand-down segments, violations) goes on in the interpreter, which raises what there is to raise.
#ifdef __x86_64__

#include "cpu/cpu.h"
#include "cpu/fpu.h"
#include "translate/backend_x86_64.h"

#define SEGMENT_FIELD(number, member) x86_memory_at(offsetof(struct cpu, segment[number].member))

/// Rights that an access asks for: (rights & mask) == value. A data segment never expands down here.
struct wanted_rights {
    uint32_t mask, value;
};

static struct wanted_rights wanted_rights(const struct translation *t, unsigned segment, bool write)
{
    bool code = t->cpu->segment[segment].rights & 8; // it will most likely stay what it is
    if (!(t->block->mode & MODE_PROTECTED) || (t->block->mode & MODE_VM86))
        return (struct wanted_rights){4, 0};
    if (write)
        return (struct wanted_rights){SEGMENT_UNUSABLE | 0xe, 2};
    return code ? (struct wanted_rights){SEGMENT_UNUSABLE | 0xa, 0xa}
                : (struct wanted_rights){SEGMENT_UNUSABLE | 0xc, 0};
}

/// No segment changes inside a block but by a call, so each is asked once for reading and once for writing.
static void check_rights(struct translation *t, unsigned segment, bool write)
{
    struct emit *e = &t->emit;
    struct wanted_rights wanted = wanted_rights(t, segment, write);
    unsigned bit = 1u << (2 * segment + write);
    if (t->segments_checked & bit)
        return;
    emit_load(e, WIDTH_32, S1, SEGMENT_FIELD(segment, rights));
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S1, (int32_t)wanted.mask);
    if (wanted.value)
        emit_alu_imm(e, EMIT_CMP, WIDTH_32, S1, (int32_t)wanted.value);
    x86_add_resume(t, emit_jump_if(e, EMIT_NOT_EQUAL));
    t->segments_checked |= (uint16_t)bit;
}

/// The last byte of [S0, + bytes) within the limit.
static void check_limit(struct translation *t, unsigned segment, unsigned bytes)
{
    struct emit *e = &t->emit;
    if (bytes == 1) {
        emit_alu_load(e, EMIT_CMP, WIDTH_32, S0, SEGMENT_FIELD(segment, limit));
        x86_add_resume(t, emit_jump_if(e, EMIT_ABOVE));
        return;
    }
    emit_load(e, WIDTH_32, S1, SEGMENT_FIELD(segment, limit));
    emit_alu_imm(e, EMIT_SUB, WIDTH_64, S1, (int32_t)bytes - 1);
    emit_alu(e, EMIT_CMP, WIDTH_64, S0, S1);
    x86_add_resume(t, emit_jump_if(e, EMIT_GREATER));
}

void x86_emit_segment(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    uint8_t to = S0;

    if (u->aux & UOP_X87) { // a pending exception comes first; where x87 is resident there is none, here neither
        emit_test_memory_imm(e, FIELD(x87.status), X87_ES);
        x86_add_resume(t, emit_jump_if(e, EMIT_NOT_EQUAL));
    }
    check_rights(t, u->sub, u->aux & UOP_WRITE);
    emit_move(e, WIDTH_32, S0, t->a);
    check_limit(t, u->sub, u->param);
    if (u->dst != VAR_NONE) {
        if (x86_dies(t, u->a))
            registers_inherit(&t->registers, u->a, u->dst);
        to = registers_define(&t->registers, &x86_file, e, u->dst);
    }
    emit_alu_load(e, EMIT_ADD, WIDTH_32, S0, x86_home(VAR_ES_BASE + u->sub));
    if (to == NO_REGISTER || to == S0) {
        x86_write_var(t, u->dst, WIDTH_64, S0);
        return;
    }
    emit_move(e, WIDTH_32, to, S0);
    registers_written(&t->registers, u->dst);
}

void x86_compare_half(struct translation *t, uint8_t scratch, uint8_t target)
{
    struct emit *e = &t->emit;
    bool high = t->cpu->var[VAR_RIP] >> 63;
    emit_move(e, WIDTH_64, scratch, target);
    emit_shift_imm(e, high ? EMIT_SAR : EMIT_SHR, WIDTH_64, scratch, 47);
    if (high)
        emit_alu_imm(e, EMIT_ADD, WIDTH_64, scratch, 1);
}

void x86_emit_check_target(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    if ((t->block->mode & MODE_CODE_MASK) == MODE_CODE64) {
        x86_compare_half(t, S1, t->a);
        x86_add_resume(t, emit_jump_if(e, EMIT_NOT_EQUAL));
        return;
    }
    emit_load(e, WIDTH_32, S1, SEGMENT_FIELD(SEG_CS, limit));
    emit_alu(e, EMIT_CMP, WIDTH_64, S1, t->a);
    x86_add_resume(t, emit_jump_if(e, EMIT_BELOW));
}

/// As cpu_raise does, with nothing pending before.
void x86_emit_raise(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    bool has_error_code = u->aux & UOP_ERROR_CODE;
    uint32_t head = 1u | (has_error_code ? 0x100u : 0) | (uint32_t)(uint8_t)u->imm << 24;
    _Static_assert(offsetof(struct cpu_fault, pending) == 0 && offsetof(struct cpu_fault, has_error_code) == 1 &&
                       offsetof(struct cpu_fault, software) == 2 && offsetof(struct cpu_fault, vector) == 3 &&
                       offsetof(struct cpu_fault, error_code) == 4,
                   "one store of 32 bits writes the first four");
    emit_store_imm(e, WIDTH_32, FIELD(fault), (int32_t)head);
    emit_store_imm(e, WIDTH_32, FIELD(fault.error_code), has_error_code ? (int32_t)u->param : 0);
    x86_add_exit(t, SIDE_FAULT, emit_jump(e));
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_segment_is_empty;

#endif
