// A map of translated code for profilers: perf reads /tmp/perf-PID.map to give names to addresses that no program file
// holds. One line a block: address, size, name, in the hexadecimal that perf asks for.
#ifndef DOPPEL_FRONTEND_PERF_MAP_H
#define DOPPEL_FRONTEND_PERF_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct block;
struct cpu;
struct perf_map;

/// Creates the file; the directory is open to everybody, so nothing that somebody else put there is followed or
/// written to. NULL: `error`.
struct perf_map *perf_map_open(const struct cpu *cpu, struct error *error);
/// A hook of the translator (translate_hooks.made): the block's guest address is the CPU's RIP.
void perf_map_add(void *opaque, const struct block *block, const uint8_t *code, size_t straight, size_t size);
/// Closes the file and leaves it for the profiler. NULL is fine.
void perf_map_close(struct perf_map *map);

#endif
