// Host code as text for people.
#ifndef DOPPEL_FRONTEND_HOST_LISTING_H
#define DOPPEL_FRONTEND_HOST_LISTING_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/// A line an instruction, as if the code stood at `address`; bytes where there is no disassembler for this host.
void host_listing_print(FILE *to, const uint8_t *code, size_t size, uint64_t address);

#endif
