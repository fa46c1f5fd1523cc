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
__attribute__((format(printf, 2, 3))) bool error_set(struct error *error, const char *format, ...);

/// Puts `format...` and ": " before the text that is there. Returns false.
__attribute__((format(printf, 2, 3))) bool error_prefix(struct error *error, const char *format, ...);

#endif
