// A small emitter of AML (ACPI 6 ch. 20): just the objects that the board's DSDT needs. Knows nothing of the board.
#ifndef DOPPEL_DEVICES_AML_H
#define DOPPEL_DEVICES_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AML_CAPACITY 16384
#define AML_MAX_DEPTH 16

struct aml {
    uint8_t bytes[AML_CAPACITY];
    size_t length;
    size_t open[AML_MAX_DEPTH]; // where the package lengths of open objects go
    unsigned depth;
    bool failed; // out of room, or unbalanced
};

void aml_byte(struct aml *aml, uint8_t byte);
/// A name path: `\`, segments of up to four characters (padded with `_`), `.` between.
void aml_path(struct aml *aml, const char *path);
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *text);
/// An EISA id ("PNP0A03") as its compressed integer.
void aml_eisa_id(struct aml *aml, const char *id);

/// Objects with contents; each is closed by aml_end.
void aml_scope(struct aml *aml, const char *path);
void aml_device(struct aml *aml, const char *name);
void aml_method(struct aml *aml, const char *name, unsigned arguments, bool serialized);
void aml_package(struct aml *aml, unsigned elements);
void aml_if(struct aml *aml);
void aml_field(struct aml *aml, const char *region, uint8_t flags);
void aml_end(struct aml *aml);

/// Name (path, ...): the object follows.
void aml_name(struct aml *aml, const char *path);
void aml_name_integer(struct aml *aml, const char *path, uint64_t value);
void aml_name_eisa_id(struct aml *aml, const char *path, const char *id);
void aml_field_unit(struct aml *aml, const char *name, unsigned bits); // up to 63 bits
void aml_region(struct aml *aml, const char *name, uint8_t space, uint64_t offset, uint64_t length);
/// A buffer of resource descriptors; adds the end tag.
void aml_resources(struct aml *aml, const uint8_t *bytes, size_t length);

#endif
