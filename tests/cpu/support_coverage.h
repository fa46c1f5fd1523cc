// How each row is tested: by which program against the host's processor, by which small guest or unit test. isa_test
// makes docs/isa.md of it and fails for a row that nothing tests.
#ifndef DOPPEL_TESTS_CPU_SUPPORT_COVERAGE_H
#define DOPPEL_TESTS_CPU_SUPPORT_COVERAGE_H

#include <stdbool.h>

#include "cpu/row.h"

struct coverage {
    bool host64, host32;   // runs on the host's processor with random states, as 64- and 32-bit code
    bool fault_only;       // ... but only the fault of CPL 3
    const char *host;      // the program that does it
    const char *elsewhere; // a file below tests/: a small guest, or a unit test with vectors; NULL: none
    const char *word;      // what stands in that file: the mnemonic, or bytes
};

struct coverage coverage_of(const struct row *row);

#endif
