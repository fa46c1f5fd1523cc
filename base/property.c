// Property tables: parsing values and lists of them, defaults, help. Does not know whose properties they are.
#include "base/property.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

// A whole unsigned number, decimal or 0x; *end is what follows it.
static bool property_parse_number(const char *text, uint64_t *value, const char **end)
{
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    const char *digits = hex ? text + 2 : text;
    static const char accepted[] = "0123456789abcdefABCDEF";
    size_t length = strspn(digits, hex ? accepted : "0123456789");
    if (length == 0)
        return false;
    char *stop;
    errno = 0;
    *value = strtoull(digits, &stop, hex ? 16 : 10);
    *end = digits + length;
    return errno == 0 && stop == digits + length;
}

bool property_parse_size(const char *text, uint64_t unit, uint64_t *bytes, struct error *error)
{
    uint64_t value;
    const char *end;
    if (!property_parse_number(text, &value, &end))
        return error_set(error, "'%.64s' is no size: write a number with an optional suffix K, M, G or T", text);
    uint64_t factor = unit;
    if (*end) {
        static const char suffixes[] = "BKMGTPE";
        char upper = *end >= 'a' && *end <= 'z' ? (char)(*end - 'a' + 'A') : *end;
        const char *suffix = strchr(suffixes, upper);
        if (!suffix || end[1])
            return error_set(error, "'%.64s' is no size: write a number with an optional suffix K, M, G or T", text);
        factor = UINT64_C(1) << (10 * (suffix - suffixes));
    }
    if (factor && value > UINT64_MAX / factor)
        return error_set(error, "size '%.64s' does not fit in 64 bits", text);
    *bytes = value * factor;
    return true;
}

static bool property_parse_bool(const char *text, uint64_t *value)
{
    static const char *const words[] = {"off", "on", "false", "true", "no", "yes"};
    for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
        if (!strcmp(text, words[i])) {
            *value = i & 1;
            return true;
        }
    }
    return false;
}

static void property_store(const struct property *property, void *object, uint64_t value)
{
    uint8_t *at = (uint8_t *)object + property->offset;
    uint32_t narrow = (uint32_t)value;
    bool flag = value != 0;
    switch (property->type) {
    case PROPERTY_BOOL:
        memcpy(at, &flag, sizeof flag);
        break;
    case PROPERTY_UINT32:
        memcpy(at, &narrow, sizeof narrow);
        break;
    case PROPERTY_UINT64:
    case PROPERTY_SIZE:
        memcpy(at, &value, sizeof value);
        break;
    case PROPERTY_STRING:
        break;
    }
}

static bool property_set_string(const struct property *property, void *object, const char *value, struct error *error)
{
    size_t length = strlen(value);
    if (length >= property->size)
        return error_set(error, "%s: '%.64s' is too long (at most %u characters)", property->name, value,
                         property->size ? property->size - 1 : 0);
    memset((uint8_t *)object + property->offset, 0, property->size);
    memcpy((uint8_t *)object + property->offset, value, length);
    return true;
}

static bool property_assign(const struct property *property, void *object, const char *value, struct error *error)
{
    uint64_t number = 0;
    const char *end;
    uint64_t widest = property->type == PROPERTY_UINT32 ? UINT32_MAX : UINT64_MAX;
    bool bounded = property->minimum || property->maximum;
    switch (property->type) {
    case PROPERTY_STRING:
        return property_set_string(property, object, value, error);
    case PROPERTY_BOOL:
        if (!property_parse_bool(value, &number))
            return error_set(error, "%s: '%.64s' is neither on nor off", property->name, value);
        bounded = false;
        break;
    case PROPERTY_UINT32:
    case PROPERTY_UINT64:
        if (!property_parse_number(value, &number, &end) || *end || number > widest)
            return error_set(error, "%s: '%.64s' is no number from 0 to %" PRIu64, property->name, value, widest);
        break;
    case PROPERTY_SIZE:
        if (!property_parse_size(value, 1, &number, error))
            return error_prefix(error, "%s", property->name);
        break;
    }
    if (bounded && (number < property->minimum || number > property->maximum))
        return error_set(error, "%s: %.64s is not between %" PRIu64 " and %" PRIu64, property->name, value,
                         property->minimum, property->maximum);
    property_store(property, object, number);
    return true;
}

void property_set_defaults(const struct property_table *table, void *object)
{
    for (uint32_t i = 0; i < table->count; i++) {
        const struct property *property = &table->properties[i];
        if (property->default_text)
            property_assign(property, object, property->default_text, NULL);
    }
}

static const struct property *property_find(const struct property_table *table, const char *name)
{
    for (uint32_t i = 0; i < table->count; i++) {
        if (!strcmp(table->properties[i].name, name))
            return &table->properties[i];
    }
    return NULL;
}

static bool property_unknown(const struct property_table *table, const char *name, struct error *error)
{
    char list[300] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < table->count && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", table->properties[i].name);
    return error_set(error, "%s has no property '%.64s' (it has: %s)", table->name, name, table->count ? list : "none");
}

bool property_set(const struct property_table *table, void *object, const char *name, const char *value,
                  struct error *error)
{
    const struct property *property = property_find(table, name);
    if (!property)
        return property_unknown(table, name, error);
    return property_assign(property, object, value, error) || error_prefix(error, "%s", table->name);
}

// Copies one element of a list up to a single comma ("" stands for the end), halving doubled commas; returns
// where the next one begins, or NULL when `item` is too small.
static const char *property_next_item(const char *text, char *item, size_t item_size)
{
    size_t used = 0;
    for (; *text; text++) {
        if (*text == ',') {
            if (text[1] != ',') {
                item[used] = 0;
                return text + 1;
            }
            text++;
        }
        if (used + 1 >= item_size)
            return NULL;
        item[used++] = *text;
    }
    item[used] = 0;
    return text;
}

static bool property_parse_item(const struct property_table *table, void *object, char *item, struct error *error)
{
    char *equals = strchr(item, '=');
    if (equals) {
        *equals = 0;
        return property_set(table, object, item, equals + 1, error);
    }
    const struct property *property = property_find(table, item);
    if (!property)
        return property_unknown(table, item, error);
    if (property->type != PROPERTY_BOOL)
        return error_set(error, "%s: '%s' needs a value (%s=...)", table->name, item, item);
    return property_set(table, object, item, "on", error);
}

bool property_parse(const struct property_table *table, void *object, const char *text, struct error *error)
{
    char item[4096];
    while (*text) {
        text = property_next_item(text, item, sizeof item);
        if (!text)
            return error_set(error, "%s: a property is longer than %zu characters", table->name, sizeof item - 1);
        if (!item[0])
            return error_set(error, "%s: empty property in the list", table->name);
        if (!property_parse_item(table, object, item, error))
            return false;
    }
    return true;
}

void property_help(FILE *to, const struct property_table *table)
{
    static const char *const types[] = {
        [PROPERTY_BOOL] = "on/off", [PROPERTY_UINT32] = "number", [PROPERTY_UINT64] = "number",
        [PROPERTY_SIZE] = "size",   [PROPERTY_STRING] = "text",
    };
    fprintf(to, "%s:\n", table->name);
    for (uint32_t i = 0; i < table->count; i++) {
        const struct property *property = &table->properties[i];
        char left[128];
        snprintf(left, sizeof left, "%s=<%s>", property->name, types[property->type]);
        fprintf(to, "  %-28s %s", left, property->help ? property->help : "");
        if (property->default_text && property->default_text[0])
            fprintf(to, " (default: %s)", property->default_text);
        fputc('\n', to);
    }
}
