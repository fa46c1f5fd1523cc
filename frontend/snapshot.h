// The whole machine in a file, and in one number. The machine must not run meanwhile (held, or counting mode between
// slices).
#ifndef DOPPEL_FRONTEND_SNAPSHOT_H
#define DOPPEL_FRONTEND_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

struct machine;

/// Writes CPU, devices, clock and memory to `path`; the file appears complete or not at all.
bool snapshot_save(struct machine *machine, const char *path, struct error *error);
/// Loads a file that a machine of the same configuration wrote. Damaged, truncated, or misfit files are errors with a
/// reason, and leave the machine as it was.
bool snapshot_load(struct machine *machine, const char *path, struct error *error);
/// The same with an open file, from its start on (it must be empty, or be cut afterwards); snapshot_read seeks.
bool snapshot_write(struct machine *machine, FILE *file, struct error *error);
bool snapshot_read(struct machine *machine, FILE *file, struct error *error);
/// CPU, devices, clock and memory. Equal states give equal numbers, in every process and with every engine.
uint64_t snapshot_hash(struct machine *machine);

#endif
