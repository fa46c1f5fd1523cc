// MXCSR and faults of SSE that the host cannot show; the rest is in sse_class_test.c.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/fpu.h"

static struct cpu *new_cpu(void)
{
    struct cpu *cpu = NULL;
    if (posix_memalign((void **)&cpu, _Alignof(struct cpu), sizeof *cpu))
        abort();
    memset(cpu, 0, sizeof *cpu);
    cpu->cr0 = CR0_NE;
    cpu->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT;
    return cpu;
}

static void ldmxcsr_refuses_reserved_bits(void **state)
{
    struct cpu *cpu = new_cpu();
    cpu->mxcsr = MXCSR_DEFAULT;
    sse_ldmxcsr(cpu, NULL, NULL, 0x10000);
    assert_true(cpu->fault.pending);
    assert_int_equal(cpu->fault.vector, VECTOR_GP);
    assert_int_equal(cpu->mxcsr, MXCSR_DEFAULT);
    free(cpu);
}

static void unmasked_exception_without_osxmmexcpt_is_ud(void **state)
{
    struct cpu *cpu = new_cpu();
    cpu->cr4 = CR4_OSFXSR;
    cpu->mxcsr = MXCSR_DEFAULT & ~(MXCSR_ZE << 7);
    cpu->vreg[0].f32[0] = 1;
    union vreg before = cpu->vreg[0];
    sse_float(cpu, &cpu->vreg[0], &cpu->vreg[1], (uint64_t)SSE_DIVSS << 16);
    assert_true(cpu->fault.pending);
    assert_int_equal(cpu->fault.vector, VECTOR_UD);
    assert_memory_equal(&before, &cpu->vreg[0], 16);
    assert_int_equal(cpu->mxcsr & MXCSR_FLAGS, MXCSR_ZE);
    free(cpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ldmxcsr_refuses_reserved_bits),
        cmocka_unit_test(unmasked_exception_without_osxmmexcpt_is_ud),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
