// Lifts of XSAVE, XRSTOR and their kin. The row's argument: the helper, and XSAVE_* from bit 16 on.
#include "cpu/lift_system.h"
#include "cpu/xsave.h"

void lift_xsave(struct lift *l, const struct insn *insn)
{
    uint32_t helper = insn->row->argument & 0xffff, how = insn->row->argument >> 16;
    if (!lift_is_64(l) && !(l->mode & MODE_FLAT)) // #UD and #NM come before a segment's limits
        lift_call(l, HELPER_xsave_check, VAR_NONE, VAR_ZERO, VAR_ZERO, how);
    uint8_t linear = lift_linear(l, insn, XSAVE_LEGACY_AND_HEADER, helper == HELPER_xsave, 0);
    lift_call(l, (enum helper)helper, VAR_NONE, linear, VAR_ZERO,
              how | (insn->rex & 8 ? XSAVE_WIDE : 0) | (insn->segment == SEG_SS ? XSAVE_STACK : 0));
}
