// State tables walked: save and load. A section in a file is untrusted: everything is checked before the
// object is touched. Layout, all numbers little-endian:
//   u32 magic, u32 length of the rest without the checksum, string instance, body, u64 checksum of the rest
//   body: string table name, u32 version, u32 number of fields, fields
//   field: string name, u8 type, u32 size, u32 count, payload; a nested element is a body again
//   string: u16 length, bytes without NUL
#include "base/state.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"

#define SECTION_MAGIC UINT32_C(0x54535044)
#define NAME_LIMIT 128
// What an event takes in a file: deadline, sequence, armed.
#define EVENT_BYTES 17

void state_write_bytes(struct state_writer *w, const void *bytes, size_t length)
{
    if (w->failed || length == 0)
        return;
    if (length > w->capacity - w->length) {
        size_t capacity = w->capacity ? w->capacity : 1024;
        while (capacity - w->length < length) {
            if (capacity > SIZE_MAX / 2) {
                w->failed = true;
                return;
            }
            capacity *= 2;
        }
        uint8_t *larger = realloc(w->data, capacity);
        if (!larger) {
            w->failed = true;
            return;
        }
        w->data = larger;
        w->capacity = capacity;
    }
    memcpy(w->data + w->length, bytes, length);
    w->length += length;
}

void state_writer_free(struct state_writer *w)
{
    free(w->data);
    *w = (struct state_writer){0};
}

// The next `length` bytes in place, or NULL.
static const uint8_t *state_take(struct state_reader *r, uint64_t length, struct error *error)
{
    if (r->position > r->length || length > r->length - r->position) {
        error_set(error, "the data ends too early");
        return NULL;
    }
    const uint8_t *at = r->data + r->position;
    r->position += (size_t)length;
    return at;
}

bool state_read_bytes(struct state_reader *r, void *bytes, size_t length, struct error *error)
{
    if (length == 0)
        return true;
    const uint8_t *from = state_take(r, length, error);
    if (!from)
        return false;
    memcpy(bytes, from, length);
    return true;
}

static void encode(uint8_t *to, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size && i < 8; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t decode(const uint8_t *from, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size && i < 8; i++)
        value |= (uint64_t)from[i] << (8 * i);
    return value;
}

// `size` is 1 to 8: state_check holds tables to it.
static void write_number(struct state_writer *w, uint64_t value, unsigned size)
{
    uint8_t bytes[8];
    size = size < sizeof bytes ? size : sizeof bytes;
    encode(bytes, value, size);
    state_write_bytes(w, bytes, size);
}

static bool read_number(struct state_reader *r, unsigned size, uint64_t *value, struct error *error)
{
    const uint8_t *from = state_take(r, size, error);
    if (from)
        *value = decode(from, size);
    return from != NULL;
}

static void write_string(struct state_writer *w, const char *text)
{
    size_t length = strlen(text);
    write_number(w, length, 2);
    state_write_bytes(w, text, length);
}

static bool read_string(struct state_reader *r, char text[NAME_LIMIT], struct error *error)
{
    uint64_t length = 0;
    if (!read_number(r, 2, &length, error))
        return false;
    if (length >= NAME_LIMIT)
        return error_set(error, "a name of %u bytes is damaged", (unsigned)length);
    if (!state_read_bytes(r, text, (size_t)length, error))
        return false;
    text[length] = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < ' ' || text[i] > '~')
            return error_set(error, "a name is damaged");
    }
    return true;
}

uint64_t state_integer_get(const void *at, uint32_t size)
{
    uint8_t v8;
    uint16_t v16;
    uint32_t v32;
    uint64_t v64;
    switch (size) {
    case 1:
        memcpy(&v8, at, sizeof v8);
        return v8;
    case 2:
        memcpy(&v16, at, sizeof v16);
        return v16;
    case 4:
        memcpy(&v32, at, sizeof v32);
        return v32;
    default:
        memcpy(&v64, at, sizeof v64);
        return v64;
    }
}

static void integer_put(void *at, uint32_t size, uint64_t value)
{
    uint8_t v8 = (uint8_t)value;
    uint16_t v16 = (uint16_t)value;
    uint32_t v32 = (uint32_t)value;
    const void *from = size == 1 ? (void *)&v8 : size == 2 ? (void *)&v16 : size == 4 ? (void *)&v32 : (void *)&value;
    memcpy(at, from, size <= 4 ? size : 8);
}

static void save_body(struct state_writer *w, const struct state_table *table, const void *object);

static void save_event(struct state_writer *w, const struct event *event)
{
    // An event that is not armed has no time: stale ones would make equal machines differ.
    write_number(w, event->armed ? event->deadline : 0, 8);
    write_number(w, event->armed ? event->sequence : 0, 8);
    write_number(w, event->armed, 1);
}

static void save_element(struct state_writer *w, const struct state_field *field, const uint8_t *at)
{
    switch (field->type) {
    case STATE_UNSIGNED:
    case STATE_BOOL:
        write_number(w, state_integer_get(at, field->size), field->size);
        break;
    case STATE_BYTES:
        state_write_bytes(w, at, field->size);
        break;
    case STATE_STRUCT:
        save_body(w, field->nested, at);
        break;
    case STATE_EVENT:
        save_event(w, (const struct event *)(const void *)at);
        break;
    case STATE_TRANSIENT:
        break;
    }
}

static uint32_t saved_fields(const struct state_table *table)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < table->field_count; i++)
        count += table->fields[i].type != STATE_TRANSIENT;
    return count;
}

static void save_body(struct state_writer *w, const struct state_table *table, const void *object)
{
    write_string(w, table->name);
    write_number(w, table->version, 4);
    write_number(w, saved_fields(table), 4);
    for (uint32_t i = 0; i < table->field_count; i++) {
        const struct state_field *field = &table->fields[i];
        if (field->type == STATE_TRANSIENT)
            continue;
        write_string(w, field->name);
        write_number(w, field->type, 1);
        write_number(w, field->size, 4);
        write_number(w, field->count, 4);
        for (uint32_t n = 0; n < field->count; n++)
            save_element(w, field, (const uint8_t *)object + field->offset + (size_t)n * field->size);
    }
}

void state_save(struct state_writer *w, const struct state_table *table, const char *instance, const void *object)
{
    size_t start = w->length;
    write_number(w, SECTION_MAGIC, 4);
    write_number(w, 0, 4);
    write_string(w, instance);
    save_body(w, table, object);
    if (w->failed)
        return;
    size_t length = w->length - start - 8;
    if (length > UINT32_MAX) {
        w->failed = true;
        return;
    }
    encode(w->data + start + 4, length, 4);
    write_number(w, state_hash_bytes(0, w->data + start + 8, length), 8);
}

// Loading walks the section twice with the same code: once to check all of it (apply false), once to apply.
struct load {
    struct state_reader *reader;
    bool apply;
    struct error *error;
};

static bool load_body(struct load *load, const struct state_table *table, uint8_t *object);

static bool load_bool(struct load *load, uint8_t *at)
{
    uint64_t value = 0;
    if (!read_number(load->reader, 1, &value, load->error))
        return false;
    if (value > 1)
        return error_set(load->error, "%u is neither 0 nor 1", (unsigned)value);
    bool flag = value;
    if (load->apply)
        memcpy(at, &flag, sizeof flag);
    return true;
}

static bool load_event(struct load *load, struct event *event)
{
    const uint8_t *from = state_take(load->reader, EVENT_BYTES, load->error);
    if (!from)
        return false;
    uint64_t deadline = decode(from, 8), sequence = decode(from + 8, 8);
    if (from[16] > 1 || sequence > INT64_MAX)
        return error_set(load->error, "the event is damaged");
    if (from[16] && !event->clock)
        return error_set(load->error, "the event is armed, but has no clock here");
    if (!load->apply)
        return true;
    if (from[16]) {
        event_restore(event, deadline, sequence);
    } else {
        event_cancel(event);
        event->deadline = 0;
    }
    return true;
}

static bool load_element(struct load *load, const struct state_field *field, uint8_t *at)
{
    uint64_t value = 0;
    const uint8_t *from;
    switch (field->type) {
    case STATE_UNSIGNED:
        if (!read_number(load->reader, field->size, &value, load->error))
            return false;
        if (load->apply)
            integer_put(at, field->size, value);
        return true;
    case STATE_BOOL:
        return load_bool(load, at);
    case STATE_BYTES:
        from = state_take(load->reader, field->size, load->error);
        if (from && load->apply)
            memcpy(at, from, field->size);
        return from != NULL;
    case STATE_STRUCT:
        return load_body(load, field->nested, at);
    case STATE_EVENT:
        return load_event(load, (struct event *)(void *)at);
    case STATE_TRANSIENT:
        break;
    }
    return true;
}

// Fields come in the table's order. Which of the two mistakes is it when the names differ?
static bool wrong_field(const struct state_table *table, const char *found, const char *expected, struct error *error)
{
    for (uint32_t i = 0; i < table->field_count; i++) {
        if (table->fields[i].type != STATE_TRANSIENT && !strcmp(table->fields[i].name, found))
            return error_set(error, "field '%s' is missing or out of order ('%s' found)", expected, found);
    }
    return error_set(error, "unknown field '%s'", found);
}

static bool load_field(struct load *load, const struct state_table *table, const struct state_field *field,
                       uint8_t *object)
{
    char name[NAME_LIMIT];
    uint64_t type = 0, size = 0, count = 0;
    if (!read_string(load->reader, name, load->error))
        return false;
    if (strcmp(name, field->name) != 0)
        return wrong_field(table, name, field->name, load->error);
    if (!read_number(load->reader, 1, &type, load->error) || !read_number(load->reader, 4, &size, load->error) ||
        !read_number(load->reader, 4, &count, load->error))
        return false;
    // The size of a nested struct or an event is this build's own affair: what is inside is checked by name.
    bool sized = field->type != STATE_STRUCT && field->type != STATE_EVENT;
    if (type != (uint64_t)field->type || count != field->count || (sized && size != field->size))
        return error_set(load->error, "field '%s' has another shape (%u elements of %u bytes, %u of %u expected)", name,
                         (unsigned)count, (unsigned)size, field->count, field->size);
    for (uint32_t n = 0; n < field->count; n++) {
        if (!load_element(load, field, object + field->offset + (size_t)n * field->size))
            return error_prefix(load->error, "%s[%u]", name, n);
    }
    return true;
}

static bool load_body(struct load *load, const struct state_table *table, uint8_t *object)
{
    char name[NAME_LIMIT];
    uint64_t version = 0, fields = 0;
    if (!read_string(load->reader, name, load->error) || !read_number(load->reader, 4, &version, load->error) ||
        !read_number(load->reader, 4, &fields, load->error))
        return false;
    if (strcmp(name, table->name) != 0)
        return error_set(load->error, "it is the state of a '%s', a '%s' is expected", name, table->name);
    if (version != table->version)
        return error_set(load->error, "version %u of '%s' cannot be read, only version %u", (unsigned)version, name,
                         table->version);
    if (fields != saved_fields(table))
        return error_set(load->error, "'%s' has %u fields, %u are expected", name, (unsigned)fields,
                         saved_fields(table));
    for (uint32_t i = 0; i < table->field_count; i++) {
        if (table->fields[i].type != STATE_TRANSIENT && !load_field(load, table, &table->fields[i], object))
            return false;
    }
    return true;
}

// Nested structs first: the outer check may rely on them.
static bool run_after_load(const struct state_table *table, uint8_t *object, struct error *error)
{
    for (uint32_t i = 0; i < table->field_count; i++) {
        const struct state_field *field = &table->fields[i];
        for (uint32_t n = 0; field->type == STATE_STRUCT && n < field->count; n++) {
            if (!run_after_load(field->nested, object + field->offset + (size_t)n * field->size, error))
                return error_prefix(error, "%s[%u]", field->name, n);
        }
    }
    if (!table->after_load || table->after_load(object, error))
        return true;
    return error_set(error, "the values do not fit together");
}

// Header and checksum; `section` becomes a reader over what is between them.
static bool open_section(struct state_reader *r, struct state_reader *section, struct error *error)
{
    uint64_t magic = 0, length = 0, checksum = 0;
    if (!read_number(r, 4, &magic, error) || !read_number(r, 4, &length, error))
        return false;
    if (magic != SECTION_MAGIC)
        return error_set(error, "there is no section here");
    const uint8_t *data = state_take(r, length, error);
    if (!data || !read_number(r, 8, &checksum, error))
        return false;
    if (checksum != state_hash_bytes(0, data, (size_t)length))
        return error_set(error, "the checksum is wrong, the data is damaged");
    *section = (struct state_reader){.data = data, .length = (size_t)length};
    return true;
}

bool state_load(struct state_reader *r, const struct state_table *table, const char *instance, void *object,
                struct error *error)
{
    struct state_reader section = {0};
    char name[NAME_LIMIT];
    if (!open_section(r, &section, error) || !read_string(&section, name, error))
        return error_prefix(error, "state of '%s'", instance);
    if (strcmp(name, instance) != 0)
        return error_set(error, "state of '%s': it is the state of '%s'", instance, name);
    size_t body = section.position;
    struct load load = {.reader = &section, .error = error};
    if (!load_body(&load, table, object))
        return error_prefix(error, "state of '%s'", instance);
    if (section.position != section.length)
        return error_set(error, "state of '%s': %zu bytes too many", instance, section.length - section.position);
    section.position = body;
    load.apply = true;
    if (!load_body(&load, table, object) || !run_after_load(table, object, error))
        return error_prefix(error, "state of '%s'", instance);
    return true;
}
