// See reproducer.h: the text form of a world's description.
#include "translate/reproducer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/block.h"

#define FIRST_LINE "doppel reproducer 1"
#define BYTES_A_LINE 32u
#define MAX_LINE 1024
#define COMMENT_COLUMNS 110u
#define MAX_FIELDS 4096
#define MAX_WORDS 8

// ---- the CPU's state, field by field ------------------------------------------------------------------------------
/// `at`: an integer of `size` bytes, or `size` raw bytes. False ends the walk.
typedef bool field_visitor(void *opaque, const char *name, uint8_t *at, uint32_t size, bool bytes);

static bool walk(const struct state_table *table, uint8_t *object, const char *prefix, field_visitor *visit,
                 void *opaque);

static bool walk_bytes(const char *name, uint8_t *at, uint32_t size, field_visitor *visit, void *opaque)
{
    char part[256];
    for (uint32_t i = 0; i < size; i += BYTES_A_LINE) {
        snprintf(part, sizeof part, "%s+%x", name, i);
        if (!visit(opaque, part, at + i, size - i < BYTES_A_LINE ? size - i : BYTES_A_LINE, true))
            return false;
    }
    return true;
}

static bool walk_element(const struct state_field *field, const char *name, uint8_t *at, field_visitor *visit,
                         void *opaque)
{
    char prefix[256];
    switch (field->type) {
    case STATE_UNSIGNED:
    case STATE_BOOL:
        return visit(opaque, name, at, field->size, false);
    case STATE_BYTES:
        return walk_bytes(name, at, field->size, visit, opaque);
    case STATE_STRUCT:
        snprintf(prefix, sizeof prefix, "%s.", name);
        return walk(field->nested, at, prefix, visit, opaque);
    case STATE_EVENT:
    case STATE_TRANSIENT:
        break;
    }
    return true;
}

static bool walk(const struct state_table *table, uint8_t *object, const char *prefix, field_visitor *visit,
                 void *opaque)
{
    char name[256];
    for (uint32_t i = 0; i < table->field_count; i++) {
        const struct state_field *field = &table->fields[i];
        for (uint32_t n = 0; n < field->count && field->type != STATE_TRANSIENT; n++) {
            snprintf(name, sizeof name, field->count > 1 ? "%s%s[%u]" : "%s%s", prefix, field->name, n);
            if (!walk_element(field, name, object + field->offset + (size_t)n * field->size, visit, opaque))
                return false;
        }
    }
    return true;
}

static void put_integer(uint8_t *at, uint32_t size, uint64_t value)
{
    switch (size) {
    case 1:
        *at = (uint8_t)value;
        break;
    case 2:
        memcpy(at, &(uint16_t){(uint16_t)value}, 2);
        break;
    case 4:
        memcpy(at, &(uint32_t){(uint32_t)value}, 4);
        break;
    default:
        memcpy(at, &value, 8);
        break;
    }
}

// ---- writing ----------------------------------------------------------------------------------------------------
struct field_writer {
    FILE *to;
    const uint8_t *state, *reset; // the two CPUs
};

static bool write_field(void *opaque, const char *name, uint8_t *at, uint32_t size, bool bytes)
{
    const struct field_writer *w = opaque;
    if (!memcmp(at, w->reset + (at - w->state), size))
        return true;
    fprintf(w->to, "set %s ", name);
    if (bytes)
        for (uint32_t i = 0; i < size; i++)
            fprintf(w->to, "%02x", at[i]);
    else
        fprintf(w->to, "%" PRIx64, state_integer_get(at, size));
    fputc('\n', w->to);
    return true;
}

static bool write_state(const struct world_description *d, FILE *to, struct error *error)
{
    struct world_description plain = {.model = d->model, .memory_size = d->memory_size}, full = plain;
    struct world reset, state;
    full.state = d->state;
    if (!world_create(&reset, &plain, &engine_interp, NULL, error))
        return false;
    if (!world_create(&state, &full, &engine_interp, NULL, error)) {
        world_destroy(&reset);
        return false;
    }
    cpu_normalize(reset.cpu);
    struct field_writer w = {.to = to, .state = (uint8_t *)state.cpu, .reset = (uint8_t *)reset.cpu};
    walk(&cpu_state_table, (uint8_t *)state.cpu, "", write_field, &w);
    world_destroy(&reset);
    world_destroy(&state);
    return true;
}

static void write_page(const struct world_page *page, FILE *to)
{
    static const uint8_t zero[BYTES_A_LINE];
    fprintf(to, "page %" PRIx64 "\n", page->number);
    for (unsigned at = 0; at < PAGE_SIZE; at += BYTES_A_LINE) {
        if (!memcmp(page->bytes + at, zero, BYTES_A_LINE))
            continue;
        fprintf(to, "+%03x ", at);
        for (unsigned i = 0; i < BYTES_A_LINE; i++)
            fprintf(to, "%02x", page->bytes[at + i]);
        fputc('\n', to);
    }
}

/// Long lines are broken: at a blank where there is one.
static void write_comment(const char *comment, FILE *to)
{
    while (comment && *comment) {
        size_t length = strcspn(comment, "\n");
        if (length > COMMENT_COLUMNS)
            for (length = COMMENT_COLUMNS; length > COMMENT_COLUMNS / 2 && comment[length] != ' ';)
                length--;
        fprintf(to, "# %.*s\n", (int)length, comment);
        comment += length + (comment[length] == '\n' || comment[length] == ' ');
    }
}

static void write_surroundings(const struct world_description *d, FILE *to)
{
    static const char *const kinds[] = {"ram", "rom", "device"};
    fprintf(to, "model %s\nfeatures", d->model.name);
    for (unsigned i = 0; i < ARRAY_SIZE(d->model.features); i++)
        fprintf(to, " %" PRIx64, d->model.features[i]);
    fprintf(to, "\nmemory %" PRIx64 "\n", d->memory_size);
    for (unsigned i = 0; i < d->piece_count; i++) {
        const struct world_piece *p = &d->piece[i];
        fprintf(to, "map %s %" PRIx64 " %" PRIx64, kinds[p->kind], p->start, p->size);
        if (p->kind != WORLD_DEVICE)
            fprintf(to, " %" PRIx64, p->offset);
        fputc('\n', to);
    }
    if (d->a20_off)
        fprintf(to, "a20 off\n");
    fprintf(to, "device %" PRIx64 "\n", d->device);
    if (d->device_interrupts)
        fprintf(to, "device-interrupts %" PRIu32 "\n", d->device_interrupts);
    if (d->uncounted)
        fprintf(to, "uncounted %" PRIu32 "\n", d->uncounted);
    for (unsigned i = 0; i < d->interrupt_count; i++)
        fprintf(to, "interrupt %" PRIu64 " %x\n", d->interrupt[i].count, d->interrupt[i].vector);
    fprintf(to, "run %" PRIu64 "\n", d->instructions);
    if (d->block_length)
        fprintf(to, "block-length %u\n", d->block_length);
}

bool reproducer_write(const struct world_description *d, const char *comment, FILE *to, struct error *error)
{
    fprintf(to, FIRST_LINE "\n");
    write_comment(comment, to);
    write_surroundings(d, to);
    if (!write_state(d, to, error))
        return false;
    for (unsigned i = 0; i < d->page_count; i++)
        write_page(&d->page[i], to);
    fprintf(to, "end\n");
    return !ferror(to) || error_set(error, "cannot write the reproducer");
}

// ---- reading ----------------------------------------------------------------------------------------------------
struct field_line {
    char *name, *value; // one allocation
    bool used;
};

struct reading {
    struct world_description *d;
    struct field_line *field;
    unsigned field_count;
    bool in_page, ended, has_model, has_run;
    uint64_t page_number;
    uint8_t page[PAGE_SIZE];
    char *words[MAX_WORDS];
    unsigned word_count;
};

static bool number(const char *text, int base, uint64_t maximum, uint64_t *value, struct error *error)
{
    char *end;
    size_t digits = strspn(text, base == 16 ? "0123456789abcdefABCDEF" : "0123456789");
    *value = strtoull(text, &end, base);
    if (!digits || digits > (base == 16 ? 16 : 19) || text[digits] || *value > maximum)
        return error_set(error, "'%.40s' is no number that fits", text);
    return true;
}

/// Two digits a byte, `size` bytes exactly.
static bool parse_bytes(const char *text, uint8_t *to, uint32_t size, struct error *error)
{
    if (strlen(text) != 2 * (size_t)size || strspn(text, "0123456789abcdefABCDEF") != 2 * (size_t)size)
        return error_set(error, "%u bytes are expected, two digits each", size);
    for (uint32_t i = 0; i < size; i++) {
        char digits[3] = {text[2 * i], text[2 * i + 1], 0};
        to[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return true;
}

static bool end_page(struct reading *r, struct error *error)
{
    bool was = r->in_page;
    r->in_page = false;
    return !was || world_add_page(r->d, r->page_number, r->page, error);
}

static bool read_model(struct reading *r, struct error *error)
{
    r->has_model = true;
    return model_parse(r->words[1], &r->d->model, error);
}

static bool read_features(struct reading *r, struct error *error)
{
    struct cpu_model most;
    if (!r->has_model || !model_parse("max", &most, error))
        return error_set(error, "features come after the model");
    for (unsigned i = 0; i < ARRAY_SIZE(most.features); i++) {
        uint64_t word = 0;
        if (i + 1 < r->word_count && !number(r->words[i + 1], 16, UINT64_MAX, &word, error))
            return false;
        r->d->model.features[i] = word & most.features[i];
    }
    return true;
}

static bool read_memory(struct reading *r, struct error *error)
{
    return number(r->words[1], 16, WORLD_MAX_MEMORY, &r->d->memory_size, error);
}

static bool read_map(struct reading *r, struct error *error)
{
    static const char *const kinds[] = {"ram", "rom", "device"};
    struct world_piece piece = {0};
    unsigned kind = 0;
    while (kind < ARRAY_SIZE(kinds) && strcmp(kinds[kind], r->words[1]))
        kind++;
    if (kind == ARRAY_SIZE(kinds) || r->word_count != (kind == WORLD_DEVICE ? 4u : 5u))
        return error_set(error, "map is followed by ram, rom or device and its numbers");
    piece.kind = (enum world_kind)kind;
    if (!number(r->words[2], 16, UINT64_MAX, &piece.start, error) ||
        !number(r->words[3], 16, UINT64_MAX, &piece.size, error) ||
        (kind != WORLD_DEVICE && !number(r->words[4], 16, UINT64_MAX, &piece.offset, error)))
        return false;
    if (r->d->piece_count == WORLD_MAX_PIECES)
        return error_set(error, "the map has more than %d pieces", WORLD_MAX_PIECES);
    r->d->piece[r->d->piece_count++] = piece;
    return true;
}

static bool read_a20(struct reading *r, struct error *error)
{
    r->d->a20_off = true;
    return !strcmp(r->words[1], "off") || error_set(error, "a20 is followed by off");
}

static bool read_device(struct reading *r, struct error *error)
{
    return number(r->words[1], 16, UINT64_MAX, &r->d->device, error);
}

static bool read_device_interrupts(struct reading *r, struct error *error)
{
    uint64_t value = 0;
    bool good = number(r->words[1], 10, UINT32_MAX, &value, error);
    r->d->device_interrupts = (uint32_t)value;
    return good;
}

static bool read_uncounted(struct reading *r, struct error *error)
{
    uint64_t value = 0;
    bool good = number(r->words[1], 10, UINT32_MAX, &value, error);
    r->d->uncounted = (uint32_t)value;
    return good;
}

static bool read_interrupt(struct reading *r, struct error *error)
{
    struct world_interrupt interrupt = {0};
    uint64_t vector;
    if (!number(r->words[1], 10, UINT64_MAX, &interrupt.count, error) || !number(r->words[2], 16, 255, &vector, error))
        return false;
    if (r->d->interrupt_count == WORLD_MAX_INTERRUPTS)
        return error_set(error, "more than %d interrupts", WORLD_MAX_INTERRUPTS);
    interrupt.vector = (uint8_t)vector;
    r->d->interrupt[r->d->interrupt_count++] = interrupt;
    return true;
}

static bool read_run(struct reading *r, struct error *error)
{
    r->has_run = true;
    return number(r->words[1], 10, UINT32_MAX, &r->d->instructions, error);
}

static bool read_block_length(struct reading *r, struct error *error)
{
    uint64_t value = 0;
    bool good = number(r->words[1], 10, BLOCK_MAX_INSNS, &value, error);
    r->d->block_length = (unsigned)value;
    return good;
}

static bool read_set(struct reading *r, struct error *error)
{
    struct field_line *more, *line;
    if (r->field_count == MAX_FIELDS)
        return error_set(error, "more than %d fields", MAX_FIELDS);
    more = realloc(r->field, (r->field_count + 1) * sizeof *more);
    if (!more)
        return error_set(error, "out of memory");
    r->field = more;
    line = &more[r->field_count];
    *line = (struct field_line){.name = malloc(strlen(r->words[1]) + strlen(r->words[2]) + 2)};
    if (!line->name)
        return error_set(error, "out of memory");
    line->value = stpcpy(line->name, r->words[1]) + 1;
    strcpy(line->value, r->words[2]);
    r->field_count++;
    return true;
}

static bool read_page(struct reading *r, struct error *error)
{
    memset(r->page, 0, sizeof r->page);
    r->in_page = true;
    return number(r->words[1], 16, UINT64_MAX, &r->page_number, error);
}

static bool read_end(struct reading *r, struct error *error)
{
    return r->ended = true;
}

static const struct item {
    const char *name;
    unsigned least, most; // words on the line
    bool (*read)(struct reading *r, struct error *error);
} items[] = {
    {"model", 2, 2, read_model},
    {"features", 2, MAX_WORDS, read_features},
    {"memory", 2, 2, read_memory},
    {"map", 4, 5, read_map},
    {"a20", 2, 2, read_a20},
    {"device", 2, 2, read_device},
    {"device-interrupts", 2, 2, read_device_interrupts},
    {"uncounted", 2, 2, read_uncounted},
    {"interrupt", 3, 3, read_interrupt},
    {"run", 2, 2, read_run},
    {"block-length", 2, 2, read_block_length},
    {"set", 3, 3, read_set},
    {"page", 2, 2, read_page},
    {"end", 1, 1, read_end},
};

static bool read_bytes(struct reading *r, struct error *error)
{
    uint64_t offset;
    if (!r->in_page || r->word_count != 2)
        return error_set(error, "bytes belong to a page");
    return number(r->words[0] + 1, 16, PAGE_SIZE - BYTES_A_LINE, &offset, error) &&
           parse_bytes(r->words[1], r->page + offset, BYTES_A_LINE, error);
}

static bool read_line(struct reading *r, char *text, struct error *error)
{
    char *rest = NULL;
    text[strcspn(text, "#\r\n")] = 0;
    r->word_count = 0;
    for (char *word = strtok_r(text, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest)) {
        if (r->word_count == MAX_WORDS)
            return error_set(error, "too many words");
        r->words[r->word_count++] = word;
    }
    if (!r->word_count)
        return true;
    if (r->words[0][0] == '+')
        return read_bytes(r, error);
    if (!end_page(r, error))
        return false;
    for (unsigned i = 0; i < ARRAY_SIZE(items); i++) {
        if (strcmp(items[i].name, r->words[0]))
            continue;
        if (r->word_count < items[i].least || r->word_count > items[i].most)
            return error_set(error, "%s has another number of words", items[i].name);
        return items[i].read(r, error);
    }
    return error_set(error, "'%.40s' is unknown", r->words[0]);
}

struct field_reader {
    struct reading *reading;
    struct error *error;
};

static bool read_field(void *opaque, const char *name, uint8_t *at, uint32_t size, bool bytes)
{
    struct field_reader *f = opaque;
    for (unsigned i = 0; i < f->reading->field_count; i++) {
        struct field_line *line = &f->reading->field[i];
        uint64_t value;
        if (line->used || strcmp(line->name, name))
            continue;
        line->used = true;
        if (bytes)
            return parse_bytes(line->value, at, size, f->error) || error_prefix(f->error, "%s", name);
        if (!number(line->value, 16, bits_mask(size * 8), &value, f->error))
            return error_prefix(f->error, "%s", name);
        put_integer(at, size, value);
    }
    return true;
}

/// From a CPU after reset and the fields of the file to the section that world_load takes, which validates it.
static bool make_state(struct reading *r, struct error *error)
{
    struct world world;
    struct field_reader f = {.reading = r, .error = error};
    if (!world_create(&world, r->d, &engine_interp, NULL, error))
        return false;
    cpu_normalize(world.cpu);
    bool good = walk(&cpu_state_table, (uint8_t *)world.cpu, "", read_field, &f);
    for (unsigned i = 0; good && i < r->field_count; i++)
        if (!r->field[i].used)
            good = error_set(error, "the CPU has no field '%.80s' (any more)", r->field[i].name);
    if (good) {
        r->d->first = world.cpu->instructions;
        state_save(&r->d->state, &cpu_state_table, "cpu", world.cpu);
        good = !r->d->state.failed || error_set(error, "out of memory");
    }
    if (good)
        good = world_load(&world, r->d, error);
    world_destroy(&world);
    return good;
}

static bool read_lines(struct reading *r, FILE *from, struct error *error)
{
    char text[MAX_LINE];
    if (!fgets(text, sizeof text, from) || strncmp(text, FIRST_LINE, strlen(FIRST_LINE)))
        return error_set(error, "it is no reproducer of this version");
    for (unsigned line = 2; !r->ended; line++) {
        if (!fgets(text, sizeof text, from))
            return error_set(error, "it ends too early");
        if (!strchr(text, '\n'))
            return error_set(error, "line %u is too long", line);
        if (!read_line(r, text, error))
            return error_prefix(error, "line %u", line);
    }
    return (r->has_model && r->has_run) || error_set(error, "it has no model, or says not what to run");
}

bool reproducer_read(struct world_description *d, FILE *from, struct error *error)
{
    struct reading *r = calloc(1, sizeof *r);
    if (!r)
        return error_set(error, "out of memory");
    memset(d, 0, sizeof *d);
    r->d = d;
    bool good = read_lines(r, from, error) && make_state(r, error);
    for (unsigned i = 0; i < r->field_count; i++)
        free(r->field[i].name);
    free(r->field);
    free(r);
    if (!good)
        world_description_free(d);
    return good;
}
