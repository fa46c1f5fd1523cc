// Rows of the system chapter: segments, far transfers, interrupts, flags, ports, control registers, MSRs, system calls.
#include "cpu/lift_system.h"
#include "cpu/model.h"
#include "cpu/privileged.h"
#include "cpu/xsave.h"

#define ENDS ROW_ENDS_BLOCK
#define CPL0 ROW_CPL0
#define SIX FLAGS_ARITHMETIC
#define IDT (1u << 16)
#define XSAVE HELPER_xsave
#define XRSTOR HELPER_xrstor

const struct row rows_system[] = {
    // Segment registers.
    {"8C /r", "mov", "Rv/Mw,S", lift_mov_from_segment, 0, 0, 0, 0, 0},
    {"8E /r", "mov", "S,Ew", lift_mov_to_segment, 0, ENDS, 0, 0, 0},
    {"06", "push", "ES", lift_push_segment, SEG_ES, ROW_NO_64, 0, 0, 0},
    {"0E", "push", "CS", lift_push_segment, SEG_CS, ROW_NO_64, 0, 0, 0},
    {"16", "push", "SS", lift_push_segment, SEG_SS, ROW_NO_64, 0, 0, 0},
    {"1E", "push", "DS", lift_push_segment, SEG_DS, ROW_NO_64, 0, 0, 0},
    {"0F A0", "push", "FS", lift_push_segment, SEG_FS, ROW_DEFAULT_64, 0, 0, 0},
    {"0F A8", "push", "GS", lift_push_segment, SEG_GS, ROW_DEFAULT_64, 0, 0, 0},
    {"07", "pop", "ES", lift_pop_segment, SEG_ES, ROW_NO_64 | ENDS, 0, 0, 0},
    {"17", "pop", "SS", lift_pop_segment, SEG_SS, ROW_NO_64 | ENDS, 0, 0, 0},
    {"1F", "pop", "DS", lift_pop_segment, SEG_DS, ROW_NO_64 | ENDS, 0, 0, 0},
    {"0F A1", "pop", "FS", lift_pop_segment, SEG_FS, ROW_DEFAULT_64 | ENDS, 0, 0, 0},
    {"0F A9", "pop", "GS", lift_pop_segment, SEG_GS, ROW_DEFAULT_64 | ENDS, 0, 0, 0},
    {"C4 /r", "les", "Gv,Mp", lift_load_far_pointer, SEG_ES, ROW_NO_64 | ENDS, 0, 0, 0},
    {"C5 /r", "lds", "Gv,Mp", lift_load_far_pointer, SEG_DS, ROW_NO_64 | ENDS, 0, 0, 0},
    {"0F B2 /r", "lss", "Gv,Mp", lift_load_far_pointer, SEG_SS, ENDS, 0, 0, 0},
    {"0F B4 /r", "lfs", "Gv,Mp", lift_load_far_pointer, SEG_FS, ENDS, 0, 0, 0},
    {"0F B5 /r", "lgs", "Gv,Mp", lift_load_far_pointer, SEG_GS, ENDS, 0, 0, 0},

    // Descriptors.
    {"0F 00 /0", "sldt", "Rv/Mw", lift_store_selector, SEG_LDTR, ROW_NO_REAL, 0, 0, 0},
    {"0F 00 /1", "str", "Rv/Mw", lift_store_selector, SEG_TR, ROW_NO_REAL, 0, 0, 0},
    {"0F 00 /2", "lldt", "Ew", lift_load_system_segment, HELPER_load_ldt, ROW_NO_REAL | CPL0 | ENDS, 0, 0, 0},
    {"0F 00 /3", "ltr", "Ew", lift_load_system_segment, HELPER_load_task, ROW_NO_REAL | CPL0 | ENDS, 0, 0, 0},
    {"0F 00 /4", "verr", "Ew", lift_query_descriptor, SYSTEM_VERR, ROW_NO_REAL, 0, FLAG_ZF, 0},
    {"0F 00 /5", "verw", "Ew", lift_query_descriptor, SYSTEM_VERW, ROW_NO_REAL, 0, FLAG_ZF, 0},
    {"0F 02 /r", "lar", "Gv,Ew", lift_query_descriptor, SYSTEM_LAR, ROW_NO_REAL, 0, FLAG_ZF, 0},
    {"0F 03 /r", "lsl", "Gv,Ew", lift_query_descriptor, SYSTEM_LSL, ROW_NO_REAL, 0, FLAG_ZF, 0},
    {"63 /r", "arpl", "Ew,Gw", lift_arpl, 0, ROW_NO_REAL | ROW_NO_64, 0, FLAG_ZF, 0},
    {"0F 01 /0", "sgdt", "Ms", lift_table, HELPER_store_table, 0, 0, 0, 0},
    {"0F 01 /1", "sidt", "Ms", lift_table, HELPER_store_table | IDT, 0, 0, 0, 0},
    {"0F 01 /2", "lgdt", "Ms", lift_table, HELPER_load_table, CPL0 | ENDS, 0, 0, 0},
    {"0F 01 /3", "lidt", "Ms", lift_table, HELPER_load_table | IDT, CPL0 | ENDS, 0, 0, 0},

    // Far transfers.
    {"9A cp", "lcall", "Ap", lift_far_direct, 1, ROW_NO_64 | ENDS, 0, 0, 0},
    {"EA cp", "ljmp", "Ap", lift_far_direct, 0, ROW_NO_64 | ENDS, 0, 0, 0},
    {"FF /3", "lcall", "Mp", lift_far_indirect, 1, ENDS, 0, 0, 0},
    {"FF /5", "ljmp", "Mp", lift_far_indirect, 0, ENDS, 0, 0, 0},
    {"CA iw", "retf", "Iw", lift_far_return, 0, ENDS, 0, 0, 0},
    {"CB", "retf", "", lift_far_return, 0, ENDS, 0, 0, 0},

    // Interrupts.
    {"CC", "int3", "", lift_interrupt, VECTOR_BP | 0x100, ENDS, 0, 0, 0},
    {"CD ib", "int", "Ib", lift_interrupt, 0, ENDS, 0, 0, 0},
    {"CE", "into", "", lift_into, 0, ROW_NO_64 | ENDS, FLAG_OF, 0, 0},
    {"F1", "int1", "", lift_interrupt, VECTOR_DB | 0x200, ENDS, 0, 0, 0},
    {"CF", "iret|iretd|iretq", "", lift_iret, 0, ENDS, 0, SIX, 0},
    {"62 /r", "bound", "Gv,Ma", lift_bound, 0, ROW_NO_64, 0, 0, 0},
    {"F4", "hlt", "", lift_system_call, HELPER_hlt, CPL0 | ENDS, 0, 0, 0},

    // Flags.
    {"9C", "pushf|pushfd|pushfq", "", lift_pushf, 0, ROW_DEFAULT_64, SIX, 0, 0},
    {"9D", "popf|popfd|popfq", "", lift_popf, 0, ROW_DEFAULT_64 | ENDS, 0, SIX, 0},
    {"FA", "cli", "", lift_cli, 0, 0, 0, 0, 0},
    {"FB", "sti", "", lift_sti, 0, ENDS, 0, 0, 0},
    {"NP 0F 01 CA", "clac", "", lift_set_ac, 0, ENDS, 0, 0, 0, FEATURE_SMAP},
    {"NP 0F 01 CB", "stac", "", lift_set_ac, 1, ENDS, 0, 0, 0, FEATURE_SMAP},

    // Ports.
    {"E4 ib", "in", "AL,Ib", lift_in, 0, ENDS, 0, 0, 0},
    {"E5 ib", "in", "eAX,Ib", lift_in, 0, ENDS, 0, 0, 0},
    {"EC", "in", "AL,DX", lift_in, 0, ENDS, 0, 0, 0},
    {"ED", "in", "eAX,DX", lift_in, 0, ENDS, 0, 0, 0},
    {"E6 ib", "out", "Ib,AL", lift_out, 0, ENDS, 0, 0, 0},
    {"E7 ib", "out", "Ib,eAX", lift_out, 0, ENDS, 0, 0, 0},
    {"EE", "out", "DX,AL", lift_out, 0, ENDS, 0, 0, 0},
    {"EF", "out", "DX,eAX", lift_out, 0, ENDS, 0, 0, 0},
    {"6C", "insb", "Yb,DX", lift_string_io, STRING_INS | 1 << 8, ENDS | ROW_REP | ROW_PARTIAL, 0, 0, 0},
    {"6D", "insw|insd|insd", "Yz,DX", lift_string_io, STRING_INS, ENDS | ROW_REP | ROW_PARTIAL, 0, 0, 0},
    {"6E", "outsb", "DX,Xb", lift_string_io, STRING_OUTS | 1 << 8, ENDS | ROW_REP | ROW_PARTIAL, 0, 0, 0},
    {"6F", "outsw|outsd|outsd", "DX,Xz", lift_string_io, STRING_OUTS, ENDS | ROW_REP | ROW_PARTIAL, 0, 0, 0},

    // Control and debug registers, TLB, caches.
    {"0F 20 /r", "mov", "Ry,C", lift_mov_from_control, 0, CPL0 | ROW_FORCE_64 | ROW_MODRM_IGNORED_MOD, 0, 0, 0},
    {"0F 22 /r", "mov", "C,Ry", lift_mov_to_control, 0, CPL0 | ROW_FORCE_64 | ROW_MODRM_IGNORED_MOD | ENDS, 0, 0, 0},
    {"0F 21 /r", "mov", "Ry,D", lift_mov_from_debug, 0, CPL0 | ROW_FORCE_64 | ROW_MODRM_IGNORED_MOD, 0, 0, 0},
    {"0F 23 /r", "mov", "D,Ry", lift_mov_to_debug, 0, CPL0 | ROW_FORCE_64 | ROW_MODRM_IGNORED_MOD | ENDS, 0, 0, 0},
    {"0F 01 /4", "smsw", "Rv/Mw", lift_smsw, 0, 0, 0, 0, 0},
    {"0F 01 /6", "lmsw", "Ew", lift_lmsw, 0, CPL0 | ENDS, 0, 0, 0},
    {"0F 06", "clts", "", lift_system_call, HELPER_clts, CPL0 | ENDS, 0, 0, 0},
    {"0F 01 /7", "invlpg", "Mb", lift_invlpg, 0, CPL0 | ENDS, 0, 0, 0},
    {"66 0F 38 82 /r", "invpcid", "Gy,Mdq", lift_invpcid, 0, CPL0 | ENDS | ROW_FORCE_64, 0, 0, 0, FEATURE_INVPCID},
    {"0F 08", "invd", "", lift_nop, 0, CPL0 | ENDS, 0, 0, 0},
    {"0F 09", "wbinvd", "", lift_nop, 0, CPL0 | ENDS, 0, 0, 0},
    {"NP 0F AE /7", "clflush", "Mb", lift_cache_line, 0, 0, 0, 0, 0, FEATURE_CLFLUSH},
    {"66 0F AE /7", "clflushopt", "Mb", lift_cache_line, 0, 0, 0, 0, 0, FEATURE_CLFLUSHOPT},
    {"66 0F AE /6", "clwb", "Mb", lift_cache_line, 0, 0, 0, 0, 0, FEATURE_CLWB},
    {"NP 0F 01 D0", "xgetbv", "", lift_system_call, HELPER_xgetbv, 0, 0, 0, 0, FEATURE_XSAVE},
    {"NP 0F AE /4", "xsave|xsave|xsave64", "M", lift_xsave, XSAVE, 0, 0, 0, 0, FEATURE_XSAVE},
    {"NP 0F AE /5", "xrstor|xrstor|xrstor64", "M", lift_xsave, XRSTOR, 0, 0, 0, 0, FEATURE_XSAVE},
    {"NP 0F AE /6", "xsaveopt|xsaveopt|xsaveopt64", "M", lift_xsave, XSAVE | XSAVE_OPTIMIZED << 16, 0, 0, 0, 0,
     FEATURE_XSAVEOPT},
    {"NP 0F C7 /4", "xsavec|xsavec|xsavec64", "M", lift_xsave, XSAVE | XSAVE_COMPACTED << 16, 0, 0, 0, 0,
     FEATURE_XSAVEC},
    {"NP 0F C7 /5", "xsaves|xsaves|xsaves64", "M", lift_xsave, XSAVE | (XSAVE_COMPACTED | XSAVE_SUPERVISOR) << 16, 0, 0,
     0, 0, FEATURE_XSAVES},
    {"NP 0F C7 /3", "xrstors|xrstors|xrstors64", "M", lift_xsave, XRSTOR | XSAVE_SUPERVISOR << 16, 0, 0, 0, 0,
     FEATURE_XSAVES},
    {"NP 0F 01 D1", "xsetbv", "", lift_system_call, HELPER_xsetbv, ENDS, 0, 0, 0, FEATURE_XSAVE},

    // Identification, MSRs, time, random numbers.
    {"0F A2", "cpuid", "", lift_system_call, HELPER_cpuid, 0, 0, 0, 0},
    {"0F 32", "rdmsr", "", lift_system_call, HELPER_rdmsr, CPL0 | ENDS, 0, 0, 0, FEATURE_MSR},
    {"0F 30", "wrmsr", "", lift_system_call, HELPER_wrmsr, CPL0 | ENDS, 0, 0, 0, FEATURE_MSR},
    {"0F 31", "rdtsc", "", lift_rdtsc, 0, 0, 0, 0, 0, FEATURE_TSC},
    {"0F 01 F9", "rdtscp", "", lift_rdtsc, 1, 0, 0, 0, 0, FEATURE_RDTSCP},
    {"0F 33", "rdpmc", "", lift_system_call, HELPER_rdpmc, 0, 0, 0, 0, FEATURE_MMX},
    {"F3 0F C7 /7", "rdpid", "Ry", lift_rdpid, 0, ROW_FORCE_64, 0, 0, 0, FEATURE_RDPID},
    {"NFx 0F C7 /6", "rdrand", "Rv", lift_random, 0, 0, 0, SIX, 0, FEATURE_RDRAND},
    {"NFx 0F C7 /7", "rdseed", "Rv", lift_random, 0, 0, 0, SIX, 0, FEATURE_RDSEED},

    // System calls.
    {"0F 05", "syscall", "", lift_syscall, 0, ENDS, SIX, 0, 0, FEATURE_SYSCALL},
    {"0F 07", "sysret|sysret|sysretq", "", lift_to_rip, HELPER_sysret, ENDS, 0, SIX, 0, FEATURE_SYSCALL},
    {"0F 34", "sysenter", "", lift_to_rip, HELPER_sysenter, ENDS, 0, 0, 0, FEATURE_SEP},
    {"0F 35", "sysexit|sysexit|sysexitq", "", lift_to_rip, HELPER_sysexit, ENDS, 0, 0, 0, FEATURE_SEP},
    {"0F 01 F8", "swapgs", "", lift_system_call, HELPER_swapgs, ROW_ONLY_64 | CPL0, 0, 0, 0, FEATURE_LM},
    {"F3 0F AE /0", "rdfsbase", "Ry", lift_fsgsbase, SEG_FS, ROW_ONLY_64, 0, 0, 0, FEATURE_FSGSBASE},
    {"F3 0F AE /1", "rdgsbase", "Ry", lift_fsgsbase, SEG_GS, ROW_ONLY_64, 0, 0, 0, FEATURE_FSGSBASE},
    {"F3 0F AE /2", "wrfsbase", "Ry", lift_fsgsbase, SEG_FS | 1 << 8, ROW_ONLY_64, 0, 0, 0, FEATURE_FSGSBASE},
    {"F3 0F AE /3", "wrgsbase", "Ry", lift_fsgsbase, SEG_GS | 1 << 8, ROW_ONLY_64, 0, 0, 0, FEATURE_FSGSBASE},
    {"NP 0F 01 C8", "monitor", "", lift_monitor, 0, 0, 0, 0, 0, FEATURE_MONITOR},
    {"NP 0F 01 C9", "mwait", "", lift_mwait, 0, ENDS, 0, 0, 0, FEATURE_MONITOR},
    {"0F AA", "rsm", "", lift_to_rip, HELPER_rsm, ENDS, 0, SIX, 0},
};
const unsigned rows_system_count = ARRAY_SIZE(rows_system);
