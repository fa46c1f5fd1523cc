// State tables: one description of a struct's bytes, walked by save, load, hash, compare and info.
#ifndef DOPPEL_BASE_STATE_H
#define DOPPEL_BASE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

enum state_type {
    STATE_UNSIGNED,  // integer of `size` 1, 2, 4 or 8 bytes, `count` of them in a row
    STATE_BOOL,      // bool: as an integer of 1 byte, but nothing else than 0 and 1 loads
    STATE_BYTES,     // `size` raw bytes, `count` 1
    STATE_STRUCT,    // `count` elements of `nested->size` bytes
    STATE_EVENT,     // a struct event (base/clock.h): deadline, whether it is armed, order among equal deadlines
    STATE_TRANSIENT, // not saved: pointers, wires, caches, configuration; still accounted for
};

struct state_table;

struct state_field {
    const char *name;
    enum state_type type;
    uint32_t offset;
    uint32_t size; // of one element
    uint32_t count;
    const struct state_table *nested; // STATE_STRUCT
};

struct state_table {
    const char *name;
    uint32_t version; // raise when fields change; a file of another version is an error that says so
    uint32_t size;    // sizeof the struct
    const struct state_field *fields;
    uint32_t field_count;
    /// Checks values from a file and rebuilds derived state; may be NULL. Guest-controlled indices must be
    /// validated here: a snapshot is untrusted input.
    bool (*after_load)(void *object, struct error *error);
};

#define STATE_FIELD_(type_, s, f, size_, count_, nested_)                                                              \
    {                                                                                                                  \
        .name = #f, .type = type_, .offset = offsetof(struct s, f), .size = size_, .count = count_, .nested = nested_  \
    }
#define STATE_INTEGER_(x) _Generic((x), bool : STATE_BOOL, default : STATE_UNSIGNED)
/// One integer member, or an array of integers (STATE_ARRAY), of struct `s`.
#define STATE_U(s, f) STATE_FIELD_(STATE_INTEGER_(((struct s *)0)->f), s, f, sizeof(((struct s *)0)->f), 1, NULL)
#define STATE_ARRAY(s, f)                                                                                              \
    STATE_FIELD_(STATE_INTEGER_(((struct s *)0)->f[0]), s, f, sizeof(((struct s *)0)->f[0]),                           \
                 sizeof(((struct s *)0)->f) / sizeof(((struct s *)0)->f[0]), NULL)
#define STATE_RAW(s, f) STATE_FIELD_(STATE_BYTES, s, f, sizeof(((struct s *)0)->f), 1, NULL)
#define STATE_NESTED(s, f, table) STATE_FIELD_(STATE_STRUCT, s, f, sizeof(((struct s *)0)->f), 1, table)
#define STATE_NESTED_ARRAY(s, f, table)                                                                                \
    STATE_FIELD_(STATE_STRUCT, s, f, sizeof(((struct s *)0)->f[0]),                                                    \
                 sizeof(((struct s *)0)->f) / sizeof(((struct s *)0)->f[0]), table)
#define STATE_TIMER(s, f) STATE_FIELD_(STATE_EVENT, s, f, sizeof(((struct s *)0)->f), 1, NULL)
#define STATE_TIMER_ARRAY(s, f)                                                                                        \
    STATE_FIELD_(STATE_EVENT, s, f, sizeof(((struct s *)0)->f[0]),                                                     \
                 sizeof(((struct s *)0)->f) / sizeof(((struct s *)0)->f[0]), NULL)
#define STATE_SKIP(s, f) STATE_FIELD_(STATE_TRANSIENT, s, f, sizeof(((struct s *)0)->f), 1, NULL)
#define STATE_TABLE(name_, version_, s, fields_, after_)                                                               \
    {                                                                                                                  \
        .name = name_, .version = version_, .size = sizeof(struct s), .fields = fields_,                               \
        .field_count = sizeof(fields_) / sizeof(fields_[0]), .after_load = after_                                      \
    }

/// A growing byte buffer for saving; `failed` is set when memory ran out.
struct state_writer {
    uint8_t *data;
    size_t length, capacity;
    bool failed;
};
/// A bounded cursor for loading.
struct state_reader {
    const uint8_t *data;
    size_t length, position;
};

void state_write_bytes(struct state_writer *w, const void *bytes, size_t length);
bool state_read_bytes(struct state_reader *r, void *bytes, size_t length, struct error *error);
void state_writer_free(struct state_writer *w);

/// Appends `object` as a section: instance name, table name, version, fields by name. Endian-neutral (LE).
void state_save(struct state_writer *w, const struct state_table *table, const char *instance, const void *object);
/// Reads one section that must be `instance` of `table`. Unknown, missing or misfit fields are errors. `object`
/// is changed only if the whole section is well-formed.
bool state_load(struct state_reader *r, const struct state_table *table, const char *instance, void *object,
                struct error *error);
/// Folds the object's saved fields into a running 64-bit hash (start with 0).
uint64_t state_hash(uint64_t hash, const struct state_table *table, const void *object);
uint64_t state_hash_bytes(uint64_t hash, const void *bytes, size_t length);
/// The integer of `size` 1, 2, 4 or 8 bytes at `at`.
uint64_t state_integer_get(const void *at, uint32_t size);
/// True when all saved fields are equal; else names the first difference ("name[2].field: 1 != 2") in `where`.
bool state_equal(const struct state_table *table, const void *a, const void *b, char *where, size_t where_size);
/// Prints a line per field.
void state_print(FILE *to, const struct state_table *table, const void *object);
/// For tests: every byte of the struct is in exactly one field or is padding (offsets up to 7 bytes between
/// fields); false names the gap or the overlap.
bool state_check(const struct state_table *table, struct error *error);

#endif
