// See support_coverage.h.
#include "support_coverage.h"

#include <string.h>

#include "cpu/lift_fpu.h"
#include "cpu/support_cases.h"

/// Rows of the system chapter that user-mode code of a host cannot show, or not in full.
static const struct {
    const char *encoding, *file, *word;
} elsewhere[] = {
    {"0F A1", "cpu/system_vector_test.c", "pop fs"},
    {"0F B4 /r", "cpu/system_vector_test.c", "lfs"},
    {"0F 00 /0", "cpu/system_vector_test.c", "sldt"},
    {"0F 00 /1", "cpu/system_vector_test.c", "str ax"},
    {"0F 00 /2", "guest/small/exceptions.c", "lldt"},
    {"0F 00 /3", "guest/small/gates.c", "ltr"},
    {"0F 01 /0", "guest/small/exceptions.c", "sgdt"},
    {"0F 01 /1", "guest/small/real_mode_code.S", "sidt"},
    {"0F 01 /2", "guest/small/exceptions.c", "lgdt"},
    {"0F 01 /3", "guest/small/breakpoints.c", "lidt"},
    {"CC", "guest/small/exceptions.c", "int3"},
    {"CD ib", "guest/small/debugging.c", "int $0x40"},
    {"F1", "guest/small/stepping.c", "int1"},
    {"CE", "guest/small/exceptions.c", "into"},
    {"F4", "guest/small/interrupts.c", "hlt"},
    {"FA", "guest/small/interrupts.c", "cli"},
    {"FB", "guest/small/interrupts.c", "sti"},
    {"NP 0F 01 CA", "guest/small/features.c", "clac"},
    {"NP 0F 01 CB", "guest/small/paging.c", "stac"},
    {"E4 ib", "cpu/system_vector_test.c", "\\xe4"},
    {"E5 ib", "cpu/system_vector_test.c", "\\xe5"},
    {"EC", "cpu/system_vector_test.c", "\\xec"},
    {"ED", "cpu/system_vector_test.c", "\\xed"},
    {"E6 ib", "cpu/system_vector_test.c", "\\xe6"},
    {"E7 ib", "cpu/system_vector_test.c", "\\xe7"},
    {"EE", "cpu/system_vector_test.c", "\\xee"},
    {"EF", "cpu/system_vector_test.c", "\\xef"},
    {"6C", "guest/small/strings.c", "insb"},
    {"6D", "cpu/system_vector_test.c", "insd"},
    {"6E", "guest/small/strings.c", "outsb"},
    {"6F", "cpu/system_vector_test.c", "outsd"},
    {"0F 20 /r", "guest/small/exceptions.c", "mov %cr4"},
    {"0F 22 /r", "guest/small/exceptions.c", ",%cr3"},
    {"0F 21 /r", "guest/small/guest.h", "%%dr6"},
    {"0F 23 /r", "guest/small/guest.h", "%%dr7"},
    {"0F 01 /4", "cpu/system_vector_test.c", "smsw"},
    {"0F 01 /6", "cpu/system_vector_test.c", "lmsw"},
    {"0F 06", "cpu/system_vector_test.c", "clts"},
    {"0F 01 /7", "guest/small/paging.c", "invlpg"},
    {"66 0F 38 82 /r", "guest/small/spaces.c", "invpcid"},
    {"0F 08", "cpu/system_vector_test.c", "invd"},
    {"0F 09", "cpu/system_vector_test.c", "wbinvd"},
    {"NP 0F 01 D0", "guest/small/features.c", "xgetbv"},
    {"NP 0F 01 D1", "cpu/xsave_test.c", "xsetbv"},
    {"0F A2", "guest/small/features.c", "cpuid"},
    {"0F 32", "guest/small/exceptions.c", "rdmsr"},
    {"0F 30", "guest/small/exceptions.c", "wrmsr"},
    {"0F 31", "guest/small/features.c", "rdtsc"},
    {"0F 01 F9", "guest/small/features.c", "rdtscp"},
    {"0F 33", "cpu/system_vector_test.c", "rdpmc"},
    {"F3 0F C7 /7", "cpu/feature_test.c", "rdpid"},
    {"NFx 0F C7 /6", "guest/small/features.c", "rdrand"},
    {"NFx 0F C7 /7", "guest/small/features.c", "rdseed"},
    {"0F 05", "guest/small/syscall.c", "syscall"},
    {"0F 07", "guest/small/syscall.c", "sysret"},
    {"0F 34", "guest/small/syscall.c", "sysenter"},
    {"0F 35", "guest/small/syscall.c", "sysexit"},
    {"0F 01 F8", "guest/small/syscall.c", "swapgs"},
    {"NP 0F 01 C8", "cpu/mwait_test.c", "monitor"},
    {"NP 0F 01 C9", "cpu/mwait_test.c", "mwait"},
    {"0F AA", "guest/small/smm.c", "rsm"},
    {"CF", "guest/small/returns.c", "iret"},
    {"9B", "cpu/fpu_lift_test.c", "wait"},
    {"NP 0F C7 /5", "cpu/xsave_test.c", "xsaves"},
    {"NP 0F C7 /3", "cpu/xsave_test.c", "xrstors"},
};

static bool is_image(const struct row *row)
{
    static const char *const names[] = {"fnstenv", "fnsave", "fldenv", "frstor", "fxsave", "fxrstor"};
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
        if (!strncmp(row->mnemonic, names[i], strlen(names[i])))
            return true;
    return false;
}

static const char *host_program(const struct row *row, bool user)
{
    if (user)
        return "host_test";
    if (!strncmp(row->mnemonic, "xsave", 5) || !strncmp(row->mnemonic, "xrstor", 6))
        return strstr(row->mnemonic, "saves") || strstr(row->mnemonic, "rstors") ? NULL : "xsave_test";
    if (row->attributes & (ROW_X87 | ROW_X87_NO_WAIT))
        return is_image(row) ? "x87_image_test" : "x87_class_test";
    if (row->attributes & (ROW_MMX | ROW_SSE | ROW_AVX))
        return "sse_class_test";
    return is_image(row) ? "x87_image_test" : NULL;
}

struct coverage coverage_of(const struct row *row)
{
    struct coverage coverage = {.host64 = cases_row_is_user(row, true), .host32 = cases_row_is_user(row, false)};
    coverage.host = host_program(row, coverage.host64 || coverage.host32);
    if (coverage.host && !coverage.host32)
        coverage.host64 = true;
    for (unsigned i = 0; i < ARRAY_SIZE(elsewhere); i++)
        if (!strcmp(elsewhere[i].encoding, row->encoding) && (!coverage.host || coverage.host64 || coverage.host32)) {
            coverage.elsewhere = elsewhere[i].file;
            coverage.word = elsewhere[i].word;
        }
    // What faults at CPL 3 has shown nothing more there.
    coverage.fault_only =
        coverage.host && ((row->attributes & ROW_CPL0) || row->lift == lift_in || row->lift == lift_out ||
                          row->lift == lift_string_io || row->lift == lift_cli || row->lift == lift_sti);
    return coverage;
}
