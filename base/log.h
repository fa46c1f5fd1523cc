// Log categories that are switched at run time (`-d int,mmu`, `-d help`) and filtered by guest address range.
#ifndef DOPPEL_BASE_LOG_H
#define DOPPEL_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

enum log_category {
    LOG_INT,        // interrupts and exceptions delivered
    LOG_RESET,      // cpu state at reset and shutdown
    LOG_MMU,        // page walks that fault, TLB flushes
    LOG_MEM,        // unassigned memory and port accesses
    LOG_IN_ASM,     // guest code as it is lifted
    LOG_UOPS,       // its uops
    LOG_OUT_ASM,    // host code
    LOG_EXEC,       // every block as it is entered
    LOG_DEVICE,     // guest errors in register accesses
    LOG_UNIMP,      // what doppel lacks and a guest used
    LOG_FIRMWARE,   // bytes of the debug ports 0x402 and 0xE9
    LOG_STATISTICS, // counters when the program ends
    LOG_CATEGORIES
};

struct log {
    uint32_t enabled;    // bit per category
    FILE *file;          // where lines go; the log does not close it
    uint64_t range_from; // LOG_IN_ASM..LOG_EXEC only when from <= rip <= to
    uint64_t range_to;
};

/// All off, to stderr, every address.
void log_init(struct log *log);
/// Parses `int,mmu,...`; "help" and unknown names are errors whose text lists the categories.
bool log_enable(struct log *log, const char *names, struct error *error);
/// Prints a line per category with its meaning.
void log_help(FILE *to);
/// `0x1000..0x1fff` or `0x1000+0x1000` (-dfilter).
bool log_set_range(struct log *log, const char *range, struct error *error);

static inline bool log_on(const struct log *log, enum log_category category)
{
    return log && __builtin_expect(log->enabled >> category & 1, 0);
}
static inline bool log_on_at(const struct log *log, enum log_category category, uint64_t rip)
{
    return log_on(log, category) && rip >= log->range_from && rip <= log->range_to;
}
/// Writes printf-style if `category` is on; no newline is added.
__attribute__((format(printf, 3, 4))) void log_print(const struct log *log, enum log_category category,
                                                     const char *format, ...);

#endif
