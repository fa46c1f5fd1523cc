// The board's DSDT: what ACPI's interpreter is told about the PC.
#ifndef DOPPEL_DEVICES_DSDT_H
#define DOPPEL_DEVICES_DSDT_H

#include "devices/acpi_tables.h"
#include "devices/aml.h"

/// Emits the definition block's contents (without the table header). False when it does not fit.
bool dsdt_emit(struct aml *aml, const struct acpi_config *config);

#endif
