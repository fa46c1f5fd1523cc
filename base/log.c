// Log categories: names, parsing and printing. Does not know what is logged.
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

static const struct {
    const char *name;
    const char *meaning;
} categories[LOG_CATEGORIES] = {
    [LOG_INT] = {"int", "interrupts and exceptions as they are delivered"},
    [LOG_RESET] = {"cpu_reset", "processor state at reset and at a shutdown"},
    [LOG_MMU] = {"mmu", "page walks that fault, TLB flushes"},
    [LOG_MEM] = {"mem", "accesses to addresses and ports where nothing answers"},
    [LOG_IN_ASM] = {"in_asm", "guest code when it is translated"},
    [LOG_UOPS] = {"op", "the uops of translated code"},
    [LOG_OUT_ASM] = {"out_asm", "the host code generated, as bytes"},
    [LOG_EXEC] = {"exec", "every block as it is entered"},
    [LOG_DEVICE] = {"guest_errors", "accesses to device registers that a data sheet forbids"},
    [LOG_UNIMP] = {"unimp", "what a guest used and doppel lacks"},
    [LOG_STATISTICS] = {"statistics", "the counters of `info statistics` and `info jit` when the program ends"},
    [LOG_FIRMWARE] = {"firmware", "what firmware writes to the debug ports 0x402 and 0xe9"},
};

void log_init(struct log *log)
{
    *log = (struct log){.file = stderr, .range_to = UINT64_MAX};
}

static bool log_unknown(const char *name, size_t length, struct error *error)
{
    char list[256];
    size_t used = 0;
    for (unsigned i = 0; i < LOG_CATEGORIES; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", categories[i].name);
    if (length == 4 && !memcmp(name, "help", 4))
        return error_set(error, "log categories are: %s", list);
    int shown = length < 64 ? (int)length : 64;
    return error_set(error, "unknown log category '%.*s' (known: %s)", shown, name, list);
}

bool log_enable(struct log *log, const char *names, struct error *error)
{
    uint32_t enabled = log->enabled;
    for (const char *name = names;;) {
        size_t length = strcspn(name, ",");
        unsigned i = 0;
        while (i < LOG_CATEGORIES &&
               (strlen(categories[i].name) != length || memcmp(categories[i].name, name, length) != 0))
            i++;
        if (i == LOG_CATEGORIES)
            return log_unknown(name, length, error);
        enabled |= UINT32_C(1) << i;
        if (!name[length])
            break;
        name += length + 1;
    }
    log->enabled = enabled;
    return true;
}

void log_help(FILE *to)
{
    for (unsigned i = 0; i < LOG_CATEGORIES; i++)
        fprintf(to, "%-14s %s\n", categories[i].name, categories[i].meaning);
}

// One unsigned number without sign or leading blanks; moves *text behind it.
static bool log_parse_number(const char **text, uint64_t *value)
{
    if (**text < '0' || **text > '9')
        return false;
    char *end;
    errno = 0;
    *value = strtoull(*text, &end, 0);
    *text = end;
    return errno == 0;
}

bool log_set_range(struct log *log, const char *range, struct error *error)
{
    const char *p = range;
    uint64_t from, second;
    bool good = log_parse_number(&p, &from);
    bool is_size = good && *p == '+';
    if (good && is_size)
        p++;
    else if (good && p[0] == '.' && p[1] == '.')
        p += 2;
    else
        good = false;
    if (!good || !log_parse_number(&p, &second) || *p)
        return error_set(error, "'%.64s' is no address range: write 0x1000..0x1fff or 0x1000+0x1000", range);
    if (is_size && (second == 0 || second - 1 > UINT64_MAX - from))
        return error_set(error, "address range '%.64s' is empty or ends beyond 64 bits", range);
    uint64_t to = is_size ? from + (second - 1) : second;
    if (to < from)
        return error_set(error, "address range '%.64s' ends before it begins", range);
    log->range_from = from;
    log->range_to = to;
    return true;
}

void log_print(const struct log *log, enum log_category category, const char *format, ...)
{
    if (!log_on(log, category) || !log->file)
        return;
    va_list arguments;
    va_start(arguments, format);
    vfprintf(log->file, format, arguments);
    va_end(arguments);
}
