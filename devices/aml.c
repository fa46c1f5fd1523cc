// AML emitter. See aml.h.
#include "devices/aml.h"

#include <string.h>

void aml_byte(struct aml *aml, uint8_t byte)
{
    if (aml->length < AML_CAPACITY)
        aml->bytes[aml->length++] = byte;
    else
        aml->failed = true;
}

static void put(struct aml *aml, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        aml_byte(aml, (uint8_t)(value >> (8 * i)));
}

static void segment(struct aml *aml, const char **at)
{
    for (unsigned i = 0; i < 4; i++) {
        bool more = **at && **at != '.';
        aml_byte(aml, more ? (uint8_t) * (*at)++ : '_');
    }
    if (**at == '.')
        (*at)++;
}

void aml_path(struct aml *aml, const char *path)
{
    if (*path == '\\')
        aml_byte(aml, (uint8_t)*path++);
    unsigned segments = *path ? 1 : 0;
    for (const char *c = path; *c; c++)
        segments += *c == '.';
    if (segments == 0)
        aml_byte(aml, 0);
    else if (segments == 2)
        aml_byte(aml, 0x2E);
    else if (segments > 2) {
        aml_byte(aml, 0x2F);
        aml_byte(aml, (uint8_t)segments);
    }
    while (*path)
        segment(aml, &path);
}

void aml_integer(struct aml *aml, uint64_t value)
{
    if (value <= 1) {
        aml_byte(aml, (uint8_t)value);
        return;
    }
    unsigned size = value <= 0xFF ? 1 : value <= 0xFFFF ? 2 : value <= 0xFFFFFFFF ? 4 : 8;
    aml_byte(aml, size == 1 ? 0x0A : size == 2 ? 0x0B : size == 4 ? 0x0C : 0x0E);
    put(aml, value, size);
}

void aml_string(struct aml *aml, const char *text)
{
    aml_byte(aml, 0x0D);
    do
        aml_byte(aml, (uint8_t)*text);
    while (*text++);
}

static unsigned hex_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10) & 15;
}

void aml_eisa_id(struct aml *aml, const char *id)
{
    if (strlen(id) != 7) {
        aml->failed = true;
        return;
    }
    unsigned letters =
        (unsigned)((id[0] - 0x40) & 31) << 10 | (unsigned)((id[1] - 0x40) & 31) << 5 | (unsigned)((id[2] - 0x40) & 31);
    aml_byte(aml, 0x0C);
    aml_byte(aml, (uint8_t)(letters >> 8));
    aml_byte(aml, (uint8_t)letters);
    aml_byte(aml, (uint8_t)(hex_digit(id[3]) << 4 | hex_digit(id[4])));
    aml_byte(aml, (uint8_t)(hex_digit(id[5]) << 4 | hex_digit(id[6])));
}

// ---- objects with a package length, which is known at their end

static void begin(struct aml *aml)
{
    if (aml->depth == AML_MAX_DEPTH) {
        aml->failed = true;
        return;
    }
    aml->open[aml->depth++] = aml->length;
}

void aml_end(struct aml *aml)
{
    if (aml->depth == 0) {
        aml->failed = true;
        return;
    }
    size_t at = aml->open[--aml->depth], content = aml->length - at;
    // The length counts its own bytes.
    unsigned size = content + 1 <= 0x3F ? 1 : content + 2 <= 0xFFF ? 2 : 3;
    size_t total = content + size;
    if (aml->length + size > AML_CAPACITY) {
        aml->failed = true;
        return;
    }
    memmove(aml->bytes + at + size, aml->bytes + at, content);
    aml->length += size;
    if (size == 1) {
        aml->bytes[at] = (uint8_t)total;
        return;
    }
    aml->bytes[at] = (uint8_t)((size - 1) << 6 | (total & 15));
    for (unsigned i = 1; i < size; i++)
        aml->bytes[at + i] = (uint8_t)(total >> (8 * i - 4));
}

void aml_scope(struct aml *aml, const char *path)
{
    aml_byte(aml, 0x10);
    begin(aml);
    aml_path(aml, path);
}

void aml_device(struct aml *aml, const char *name)
{
    aml_byte(aml, 0x5B);
    aml_byte(aml, 0x82);
    begin(aml);
    aml_path(aml, name);
}

void aml_method(struct aml *aml, const char *name, unsigned arguments, bool serialized)
{
    aml_byte(aml, 0x14);
    begin(aml);
    aml_path(aml, name);
    aml_byte(aml, (uint8_t)((arguments & 7) | (serialized ? 8 : 0)));
}

void aml_package(struct aml *aml, unsigned elements)
{
    aml_byte(aml, 0x12);
    begin(aml);
    aml_byte(aml, (uint8_t)elements);
}

void aml_if(struct aml *aml)
{
    aml_byte(aml, 0xA0);
    begin(aml);
}

void aml_field(struct aml *aml, const char *region, uint8_t flags)
{
    aml_byte(aml, 0x5B);
    aml_byte(aml, 0x81);
    begin(aml);
    aml_path(aml, region);
    aml_byte(aml, flags);
}

// ---- plain objects

void aml_name(struct aml *aml, const char *path)
{
    aml_byte(aml, 0x08);
    aml_path(aml, path);
}

void aml_name_integer(struct aml *aml, const char *path, uint64_t value)
{
    aml_name(aml, path);
    aml_integer(aml, value);
}

void aml_name_eisa_id(struct aml *aml, const char *path, const char *id)
{
    aml_name(aml, path);
    aml_eisa_id(aml, id);
}

void aml_field_unit(struct aml *aml, const char *name, unsigned bits)
{
    aml_path(aml, name);
    aml_byte(aml, bits & 0x3F);
}

void aml_region(struct aml *aml, const char *name, uint8_t space, uint64_t offset, uint64_t length)
{
    aml_byte(aml, 0x5B);
    aml_byte(aml, 0x80);
    aml_path(aml, name);
    aml_byte(aml, space);
    aml_integer(aml, offset);
    aml_integer(aml, length);
}

void aml_resources(struct aml *aml, const uint8_t *bytes, size_t length)
{
    aml_byte(aml, 0x11);
    begin(aml);
    aml_integer(aml, length + 2);
    for (size_t i = 0; i < length; i++)
        aml_byte(aml, bytes[i]);
    aml_byte(aml, 0x79); // end tag; checksum 0 means "not checked"
    aml_byte(aml, 0x00);
    aml_end(aml);
}
