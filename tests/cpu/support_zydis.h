// What the tests against Zydis share.
#ifndef DOPPEL_TESTS_CPU_SUPPORT_ZYDIS_H
#define DOPPEL_TESTS_CPU_SUPPORT_ZYDIS_H

#include <stdbool.h>

#include <Zydis/Zydis.h>

/// ISA extensions of Zydis whose encodings need not be in our rows (yet).
bool zydis_extension_may_be_missing(const ZydisDecodedInstruction *zydis);

#endif
