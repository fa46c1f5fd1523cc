// Names, text and the verifier of uops, and the table of helpers.
#include "cpu/uop.h"

#include <inttypes.h>

#include "base/bits.h"
#include "cpu/cpu.h"
#include "cpu/helper.h"
#include "cpu/row.h"

static const char *const uop_names[] = {
#define X(name) [UOP_##name] = #name,
    UOPS(X)
#undef X
};

const struct uop_helper_entry uop_helpers[] = {
#define X(name_, may_fault_) {.name = #name_, .function = helper_##name_, .may_fault = may_fault_},
    HELPERS_INTEGER(X) HELPERS_SYSTEM(X) HELPERS_FPU(X)
#undef X
};
const unsigned uop_helper_count = HELPER_COUNT;
_Static_assert(HELPER_COUNT <= CPU_HELPERS_MAX, "struct cpu counts calls by helper");

const char *uop_name(enum uop_op op)
{
    return op < UOP_OPS ? uop_names[op] : "?";
}

static const char *var_name(unsigned var, char *text, size_t size)
{
    static const char *const names[VAR_TEMP] = {
        "rax",     "rcx",     "rdx",       "rbx",     "rsp",      "rbp",  "rsi",     "rdi",
        "r8",      "r9",      "r10",       "r11",     "r12",      "r13",  "r14",     "r15",
        "rip",     "cc_op",   "cc_result", "cc_src",  "cc_extra", "zero", "es_base", "cs_base",
        "ss_base", "ds_base", "fs_base",   "gs_base", "flags",    "-",    "r0",      "imm"};
    if (var < VAR_TEMP)
        return names[var];
    snprintf(text, size, "t%u", var - VAR_TEMP);
    return text;
}

static const char *vreg_name(unsigned vreg, char *text, size_t size)
{
    if (vreg >= VREG_MM)
        snprintf(text, size, "mm%u", vreg - VREG_MM);
    else
        snprintf(text, size, vreg >= VREG_TEMP ? "v%u" : "xmm%u", vreg >= VREG_TEMP ? vreg - VREG_TEMP : vreg);
    return text;
}

/// Operands that are not used are zero, and left out.
void uop_print(const struct uop *u, char *text, size_t size)
{
    const bool vector_a = u->op == UOP_ROW;
    const bool vector_b = u->op == UOP_VSTORE || u->op == UOP_VMOV || u->op == UOP_ROW;
    const bool vector_dst = u->op == UOP_VLOAD || u->op == UOP_VMOV;
    const uint8_t operands[3] = {u->a, u->b, u->c};
    char name[8];
    size_t at = (size_t)snprintf(text, size, "%s.%u", uop_name(u->op), 8u << u->width);
#define APPEND(...) (at += at < size ? (size_t)snprintf(text + at, size - at, __VA_ARGS__) : 0)
    if (u->dst != VAR_NONE)
        APPEND(" %s =", vector_dst ? vreg_name(u->dst, name, sizeof name) : var_name(u->dst, name, sizeof name));
    for (unsigned i = 0; i < 3; i++) {
        bool vector = (i == 0 && vector_a) || (i == 1 && vector_b);
        if (vector)
            APPEND(" %s", vreg_name(operands[i], name, sizeof name));
        else if (operands[i] != VAR_ZERO && operands[i] != VAR_IMM)
            APPEND(" %s", var_name(operands[i], name, sizeof name));
    }
    if (u->imm || u->b == VAR_IMM || u->c == VAR_IMM)
        APPEND(" %s0x%" PRIx64, u->imm < 0 ? "-" : "", u->imm < 0 ? -(uint64_t)u->imm : (uint64_t)u->imm);
    if (u->sub)
        APPEND(" sub=%u", u->sub);
    if (u->op == UOP_CALL)
        APPEND(" %s", u->param < uop_helper_count ? uop_helpers[u->param].name : "?");
    else if (u->op == UOP_ROW)
        APPEND(" %s", u->param < row_count() ? row_get(u->param)->mnemonic : "?");
    else if (u->param)
        APPEND(" param=%" PRIu32, u->param);
    APPEND("%s%s%s", u->aux & UOP_SETS_FLAGS ? " flags" : "", u->aux & UOP_WRITE ? " write" : "",
           u->aux & UOP_STACK ? " stack" : "");
#undef APPEND
}

static bool can_fault(const struct uop *u)
{
    switch (u->op) {
    case UOP_XLAT:
    case UOP_SEG:
    case UOP_DIV:
    case UOP_IDIV:
    case UOP_RAISE:
    case UOP_ROW:
    case UOP_CHECK_TARGET:
        return true;
    case UOP_CALL:
        return uop_helpers[u->param].may_fault;
    default:
        return false;
    }
}

/// Does the uop change what a guest can see? Exits change RIP, but nothing comes after them.
static bool writes_architecture(const struct uop *u)
{
    switch (u->op) {
    case UOP_STORE:
    case UOP_VSTORE:
    case UOP_SET_FLAGS:
        return true;
    case UOP_VLOAD:
    case UOP_VMOV:
        return u->dst < 32 || u->dst >= 40;
    case UOP_XLAT:
    case UOP_SEG:
    case UOP_NOP:
    case UOP_FENCE:
        return false;
    default:
        return u->op < UOP_RAISE && (u->dst < VAR_NONE || (u->aux & UOP_SETS_FLAGS));
    }
}

static bool vector_operands(const struct uop *u)
{
    return u->op == UOP_VLOAD || u->op == UOP_VSTORE || u->op == UOP_VMOV || u->op == UOP_ROW;
}

bool uop_verify(const struct uop *uops, unsigned count, const bool *partial, struct error *error)
{
    bool defined[256] = {false}, written = false;
    unsigned insn = 0;

    for (unsigned i = 0; i < count; i++) {
        const struct uop *u = &uops[i];
        char text[160];
        const uint8_t operands[] = {u->a, u->b, u->c};
        uop_print(u, text, sizeof text);
        if (u->op >= UOP_OPS || u->width > WIDTH_64)
            return error_set(error, "uop %u has no such operation or width", i);
        if (u->insn != insn) {
            insn = u->insn;
            written = false;
        }
        for (unsigned k = 0; k < 3 && !vector_operands(u); k++) {
            bool output = k == 2 && (u->op == UOP_MUL || u->op == UOP_IMUL || u->op == UOP_DIV || u->op == UOP_IDIV);
            if (operands[k] >= VAR_TEMP && !output && !defined[operands[k]])
                return error_set(error, "uop %u uses an undefined temporary: %s", i, text);
            if (output && operands[k] >= VAR_TEMP)
                defined[operands[k]] = true;
        }
        if (can_fault(u) && written && !partial[insn])
            return error_set(error, "uop %u can fault after an architectural write: %s", i, text);
        written |= writes_architecture(u);
        if (u->dst >= VAR_TEMP && (!vector_operands(u) || u->op == UOP_ROW)) {
            if (defined[u->dst])
                return error_set(error, "uop %u defines a temporary twice: %s", i, text);
            defined[u->dst] = true;
        }
        if ((u->op >= UOP_RAISE) != (i + 1 == count))
            return error_set(error, "uop %u: a block has one exit, its last uop: %s", i, text);
    }
    return count > 0 || error_set(error, "an empty block");
}
