// Errors as one line for a person: what, why, and what to do. Functions that can fail return bool (or
// NULL) and fill the `struct error` they were given; nobody prints but the frontend.
#ifndef DOPPEL_BASE_ERROR_H
#define DOPPEL_BASE_ERROR_H

#include <stdbool.h>

struct error {
    char text[512]; // empty: no error
};

/// Fills `error` (which may be NULL) printf-style and returns false, so that `return error_set(...)` works.
/// A second call keeps the first text: the cause is named first.
#define error_set(...) (error_fill(__VA_ARGS__), error_result())

/// Puts `format...` and ": " before the text that is there. Returns false.
#define error_prefix(...) (error_put_before(__VA_ARGS__), error_result())

// Behind the macros: these make the constant false visible where they are used, to analyzers too.
__attribute__((format(printf, 2, 3))) void error_fill(struct error *error, const char *format, ...);
__attribute__((format(printf, 2, 3))) void error_put_before(struct error *error, const char *format, ...);
static inline bool error_result(void)
{
    return false;
}

#endif
