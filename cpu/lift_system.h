// Lift functions of the system chapter, for its rows.
#ifndef DOPPEL_CPU_LIFT_SYSTEM_H
#define DOPPEL_CPU_LIFT_SYSTEM_H

#include "cpu/lift.h"

lift_function lift_system_call; // argument: helper without operands
lift_function lift_undefined;
lift_function lift_mov_from_segment, lift_mov_to_segment, lift_push_segment, lift_pop_segment, lift_load_far_pointer;
lift_function lift_store_selector, lift_load_system_segment, lift_query_descriptor, lift_arpl;
lift_function lift_far_direct, lift_far_indirect, lift_far_return; // argument: 1 CALL
lift_function lift_iret, lift_interrupt, lift_into, lift_bound;
lift_function lift_syscall;
lift_function lift_to_rip; // argument: helper(next rip, imm = operand bytes) that returns RIP
lift_function lift_pushf, lift_popf, lift_cli, lift_sti, lift_set_ac;
lift_function lift_mov_from_control, lift_mov_to_control, lift_mov_from_debug, lift_mov_to_debug;
lift_function lift_smsw, lift_lmsw, lift_table, lift_invlpg, lift_invpcid, lift_cache_line;
lift_function lift_rdtsc, lift_rdpid, lift_random, lift_fsgsbase, lift_monitor, lift_mwait;
lift_function lift_in, lift_out, lift_string_io;
lift_function lift_xsave; // lift_xsave.c

#endif
