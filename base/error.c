// Errors as one line of text. Knows nothing of who prints them.
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void error_fill(struct error *error, const char *format, ...)
{
    if (!error || error->text[0])
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
}

void error_put_before(struct error *error, const char *format, ...)
{
    if (!error)
        return;
    char cause[sizeof error->text];
    memcpy(cause, error->text, sizeof cause);
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    if (used >= 0 && (size_t)used < sizeof error->text)
        snprintf(error->text + used, sizeof error->text - (size_t)used, ": %s", cause);
}
