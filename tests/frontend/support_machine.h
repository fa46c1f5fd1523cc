// A small machine with a small real-mode program, in counting mode.
#ifndef TESTS_FRONTEND_SUPPORT_MACHINE_H
#define TESTS_FRONTEND_SUPPORT_MACHINE_H

#include "frontend/machine.h"

#define SUPPORT_PROGRAM 0x1000 // where the program is; it counts in the word at 0x2000 and walks through memory
#define SUPPORT_COUNTER 0x2000

/// NULL never: fails the test instead.
struct machine *support_machine_create(uint64_t ram_size, bool counting);
/// Runs until `count` instructions; the exit code.
int support_machine_run_to(struct machine *machine, uint64_t count);

#endif
