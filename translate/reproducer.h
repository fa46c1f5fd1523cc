// Reproducers: a world's description as a text file, small enough to keep beside a test, that two engines can be run
// from again. One item a line, numbers in hexadecimal unless said otherwise, "#" begins a comment:
//
//   doppel reproducer 1
//   model NAME                      as for -cpu; then the feature words, which only take features away
//   features WORD...
//   memory SIZE                     of the memory file, bytes
//   map ram|rom START SIZE OFFSET   guest-physical range, place in the memory file
//   map device START SIZE           answers with a hash of all accesses so far
//   a20 off
//   device VALUE                    that hash at the start
//   device-interrupts N             a write to the device in N (decimal) raises an interrupt
//   uncounted N                     instructions are not counted: it ends behind N (decimal) time stamps and accesses
//                                   to the device
//   interrupt COUNT VECTOR          the pin rises when COUNT instructions (decimal) have retired; below 20, 2 is an
//                                   NMI, others are SMIs
//   run N                           so many instructions (decimal)
//   block-length N                  blocks of at most N instructions (decimal)
//   set FIELD VALUE                 a field of the CPU's state table that differs from a CPU after reset; integers as
//                                   numbers, bytes (FIELD+offset) as two digits each, in the order of memory
//   page NUMBER                     the following lines are its bytes; what is not written is zero
//   +OFFSET BYTES
//   end
#ifndef DOPPEL_TRANSLATE_REPRODUCER_H
#define DOPPEL_TRANSLATE_REPRODUCER_H

#include <stdio.h>

#include "translate/world.h"

/// Writes `d`. `comment`: lines for people, may be NULL. False: `error`.
bool reproducer_write(const struct world_description *d, const char *comment, FILE *to, struct error *error);
/// Reads what reproducer_write writes. A file is not trusted: what is not as above is an error that names the line.
/// world_description_free afterwards.
bool reproducer_read(struct world_description *d, FILE *from, struct error *error);

#endif
