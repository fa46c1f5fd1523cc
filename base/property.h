// Property tables: what a user can set on a device or machine. Parsing, help, errors and the man page walk them.
#ifndef DOPPEL_BASE_PROPERTY_H
#define DOPPEL_BASE_PROPERTY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

enum property_type {
    PROPERTY_BOOL,   // on|off|true|false|yes|no
    PROPERTY_UINT32, // decimal or 0x
    PROPERTY_UINT64,
    PROPERTY_SIZE,   // uint64_t bytes; suffix K M G T as QEMU
    PROPERTY_STRING, // char[size] in the struct
};

struct property {
    const char *name;
    enum property_type type;
    uint32_t offset, size;
    uint64_t minimum, maximum; // integers; 0,0: no bound
    const char *default_text;
    const char *help;
};

struct property_table {
    const char *name;
    const struct property *properties;
    uint32_t count;
};

/// Sets every property to its default.
void property_set_defaults(const struct property_table *table, void *object);
bool property_set(const struct property_table *table, void *object, const char *name, const char *value,
                  struct error *error);
/// `a=1,b=2,flag` ("flag" alone means on; ",," is a literal comma as in QEMU).
bool property_parse(const struct property_table *table, void *object, const char *text, struct error *error);
void property_help(FILE *to, const struct property_table *table);
/// `512`, `512M`, `0x1000`, `6G`; a number without suffix is multiplied by `unit`.
bool property_parse_size(const char *text, uint64_t unit, uint64_t *bytes, struct error *error);

#endif
