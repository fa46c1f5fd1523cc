// State tables looked at: hash, comparison, printing, and the check that a table accounts for its struct.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/state.h"

// Odd constants with well-spread bits.
#define MIX_A UINT64_C(0x9e3779b97f4a7c15)
#define MIX_B UINT64_C(0xd1342543de82ef95)

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * MIX_A;
    return hash ^ hash >> 29;
}

// Four independent chains keep the multiplier busy: whole RAMs pass here.
uint64_t state_hash_bytes(uint64_t hash, const void *bytes, size_t length)
{
    const uint8_t *p = bytes;
    size_t left = length;
    hash = mix(hash, length);
    if (left >= 32) {
        uint64_t lane[4] = {hash, hash ^ MIX_A, hash ^ MIX_B, hash ^ (MIX_A + MIX_B)};
        for (; left >= 32; left -= 32, p += 32) {
            for (unsigned i = 0; i < 4; i++)
                lane[i] = mix(lane[i], load_le64(p + 8 * i));
        }
        for (unsigned i = 0; i < 4; i++)
            hash = mix(hash ^ hash >> 32, lane[i]);
    }
    for (; left >= 8; left -= 8, p += 8)
        hash = mix(hash, load_le64(p));
    uint64_t tail = 0;
    if (left)
        memcpy(&tail, p, left);
    hash = mix(hash, tail) * MIX_B;
    return hash ^ hash >> 32;
}

static uint64_t integer_at(const struct state_field *field, const uint8_t *object, uint32_t n)
{
    return state_integer_get(object + field->offset + (size_t)n * field->size, field->size);
}

static const struct event *event_at(const struct state_field *field, const uint8_t *object, uint32_t n)
{
    return (const struct event *)(const void *)(object + field->offset + (size_t)n * field->size);
}

uint64_t state_hash(uint64_t hash, const struct state_table *table, const void *object)
{
    const uint8_t *base = object;
    for (uint32_t i = 0; i < table->field_count; i++) {
        const struct state_field *field = &table->fields[i];
        for (uint32_t n = 0; n < field->count; n++) {
            const struct event *event;
            switch (field->type) {
            case STATE_UNSIGNED:
            case STATE_BOOL:
                hash = mix(hash, integer_at(field, base, n));
                break;
            case STATE_BYTES:
                hash = state_hash_bytes(hash, base + field->offset + (size_t)n * field->size, field->size);
                break;
            case STATE_STRUCT:
                hash = state_hash(hash, field->nested, base + field->offset + (size_t)n * field->size);
                break;
            case STATE_EVENT:
                // Not the sequence: it counts what happened since power-on, and only its order matters.
                event = event_at(field, base, n);
                hash = mix(hash, event->armed);
                hash = mix(hash, event->armed ? event->deadline : 0);
                break;
            case STATE_TRANSIENT:
                break;
            }
        }
    }
    return mix(hash, table->version);
}

// The name of element n, "field" or "field[n]", after `prefix`.
static void element_name(char *to, size_t size, const char *prefix, const struct state_field *field, uint32_t n)
{
    if (field->count > 1)
        snprintf(to, size, "%s%s[%u]", prefix, field->name, n);
    else
        snprintf(to, size, "%s%s", prefix, field->name);
}

static bool bytes_equal(const uint8_t *a, const uint8_t *b, uint32_t size, const char *name, char *where,
                        size_t where_size)
{
    for (uint32_t i = 0; i < size; i++) {
        if (a[i] != b[i]) {
            snprintf(where, where_size, "%s[%u]: %u != %u", name, i, a[i], b[i]);
            return false;
        }
    }
    return true;
}

static bool events_equal(const struct event *a, const struct event *b, const char *name, char *where, size_t where_size)
{
    if (a->armed != b->armed)
        snprintf(where, where_size, "%s: %s != %s", name, a->armed ? "armed" : "not armed",
                 b->armed ? "armed" : "not armed");
    else if (a->armed && a->deadline != b->deadline)
        snprintf(where, where_size, "%s.deadline: %" PRIu64 " != %" PRIu64, name, a->deadline, b->deadline);
    else
        return true;
    return false;
}

static bool equal_from(const struct state_table *table, const uint8_t *a, const uint8_t *b, const char *prefix,
                       char *where, size_t where_size);

static bool element_equal(const struct state_field *field, uint32_t n, const uint8_t *a, const uint8_t *b,
                          const char *prefix, char *where, size_t where_size)
{
    char name[256];
    size_t offset = field->offset + (size_t)n * field->size;
    element_name(name, sizeof name, prefix, field, n);
    switch (field->type) {
    case STATE_UNSIGNED:
    case STATE_BOOL:
        if (integer_at(field, a, n) == integer_at(field, b, n))
            return true;
        snprintf(where, where_size, "%s: %" PRIu64 " != %" PRIu64, name, integer_at(field, a, n),
                 integer_at(field, b, n));
        return false;
    case STATE_BYTES:
        return bytes_equal(a + offset, b + offset, field->size, name, where, where_size);
    case STATE_STRUCT:
        strncat(name, ".", sizeof name - strlen(name) - 1);
        return equal_from(field->nested, a + offset, b + offset, name, where, where_size);
    case STATE_EVENT:
        return events_equal(event_at(field, a, n), event_at(field, b, n), name, where, where_size);
    case STATE_TRANSIENT:
        break;
    }
    return true;
}

static bool equal_from(const struct state_table *table, const uint8_t *a, const uint8_t *b, const char *prefix,
                       char *where, size_t where_size)
{
    for (uint32_t i = 0; i < table->field_count; i++) {
        for (uint32_t n = 0; n < table->fields[i].count; n++) {
            if (!element_equal(&table->fields[i], n, a, b, prefix, where, where_size))
                return false;
        }
    }
    return true;
}

bool state_equal(const struct state_table *table, const void *a, const void *b, char *where, size_t where_size)
{
    if (where_size)
        where[0] = 0;
    return equal_from(table, a, b, "", where, where_size);
}

static void print_bytes(FILE *to, const uint8_t *bytes, uint32_t size)
{
    uint32_t shown = size < 32 ? size : 32;
    for (uint32_t i = 0; i < shown; i++)
        fprintf(to, "%s%02x", i ? " " : "", bytes[i]);
    if (shown < size)
        fprintf(to, " ... (%u bytes, hash %016" PRIx64 ")", size, state_hash_bytes(0, bytes, size));
    fputc('\n', to);
}

static void print_from(FILE *to, const struct state_table *table, const uint8_t *object, const char *prefix);

static void print_nested(FILE *to, const struct state_field *field, const uint8_t *object, const char *prefix)
{
    for (uint32_t n = 0; n < field->count; n++) {
        char name[256];
        element_name(name, sizeof name, prefix, field, n);
        strncat(name, ".", sizeof name - strlen(name) - 1);
        print_from(to, field->nested, object + field->offset + (size_t)n * field->size, name);
    }
}

static void print_from(FILE *to, const struct state_table *table, const uint8_t *object, const char *prefix)
{
    for (uint32_t i = 0; i < table->field_count; i++) {
        const struct state_field *field = &table->fields[i];
        if (field->type == STATE_TRANSIENT)
            continue;
        if (field->type == STATE_STRUCT) {
            print_nested(to, field, object, prefix);
            continue;
        }
        fprintf(to, "%s%s = ", prefix, field->name);
        if (field->type == STATE_BYTES) {
            print_bytes(to, object + field->offset, field->size);
            continue;
        }
        for (uint32_t n = 0; n < field->count; n++) {
            if (n)
                fputc(' ', to);
            if (field->type != STATE_EVENT)
                fprintf(to, "0x%" PRIx64, integer_at(field, object, n));
            else if (event_at(field, object, n)->armed)
                fprintf(to, "at %" PRIu64 " ns", event_at(field, object, n)->deadline);
            else
                fputs("not armed", to);
        }
        fputc('\n', to);
    }
}

void state_print(FILE *to, const struct state_table *table, const void *object)
{
    print_from(to, table, object, "");
}

static bool check_shape(const struct state_table *table, const struct state_field *field, struct error *error)
{
    if (field->count == 0 || field->size == 0)
        return error_set(error, "%s.%s is empty", table->name, field->name);
    if ((uint64_t)field->offset + (uint64_t)field->size * field->count > table->size)
        return error_set(error, "%s.%s lies outside of the struct", table->name, field->name);
    switch (field->type) {
    case STATE_UNSIGNED:
        if (field->size > 8 || (field->size & (field->size - 1)))
            return error_set(error, "%s.%s: %u bytes are no integer", table->name, field->name, field->size);
        break;
    case STATE_BOOL:
        if (field->size != sizeof(bool))
            return error_set(error, "%s.%s: %u bytes are no bool", table->name, field->name, field->size);
        break;
    case STATE_EVENT:
        if (field->size != sizeof(struct event))
            return error_set(error, "%s.%s: %u bytes are no event", table->name, field->name, field->size);
        break;
    case STATE_STRUCT:
        if (!field->nested || field->nested->size != field->size)
            return error_set(error, "%s.%s: the nested table is of another size", table->name, field->name);
        return state_check(field->nested, error) || error_prefix(error, "%s.%s", table->name, field->name);
    case STATE_BYTES:
    case STATE_TRANSIENT:
        break;
    }
    return true;
}

// Marks the bytes of every field in `owner` (field number + 1).
static bool check_overlap(const struct state_table *table, uint32_t *owner, struct error *error)
{
    for (uint32_t i = 0; i < table->field_count; i++) {
        const struct state_field *field = &table->fields[i];
        for (uint32_t k = 0; k < i; k++) {
            if (!strcmp(table->fields[k].name, field->name))
                return error_set(error, "%s.%s is there twice", table->name, field->name);
        }
        if (!check_shape(table, field, error))
            return false;
        for (size_t at = field->offset; at < field->offset + (size_t)field->size * field->count; at++) {
            if (owner[at])
                return error_set(error, "%s.%s overlaps %s at byte %zu", table->name, field->name,
                                 table->fields[owner[at] - 1].name, at);
            owner[at] = i + 1;
        }
    }
    return true;
}

static bool check_gaps(const struct state_table *table, const uint32_t *owner, struct error *error)
{
    size_t gap = 0;
    const char *before = "its start";
    for (size_t at = 0; at < table->size; at++) {
        gap = owner[at] ? 0 : gap + 1;
        if (owner[at])
            before = table->fields[owner[at] - 1].name;
        // Padding aligns what follows to 8 bytes at most, so more than 7 are a forgotten member.
        if (gap > 7)
            return error_set(error, "%s: bytes from %zu on (after %s) are in no field", table->name, at + 1 - gap,
                             before);
    }
    return true;
}

bool state_check(const struct state_table *table, struct error *error)
{
    uint32_t *owner = calloc(table->size ? table->size : 1, sizeof *owner);
    if (!owner)
        return error_set(error, "%s: out of memory", table->name);
    bool good = check_overlap(table, owner, error) && check_gaps(table, owner, error);
    free(owner);
    return good;
}
