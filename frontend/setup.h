// From options to a machine that is ready to run: files are read and checked once, machines are made of them.
#ifndef DOPPEL_FRONTEND_SETUP_H
#define DOPPEL_FRONTEND_SETUP_H

#include <stdbool.h>
#include <stdio.h>

#include "base/error.h"
#include "frontend/linux_loader.h"
#include "frontend/machine.h"
#include "frontend/options.h"

struct setup {
    struct options *options;
    struct linux_image image;
    bool has_image;
    uint8_t *firmware;
    size_t firmware_size;
    FILE *log_file;
};

/// Finds and reads all files that setup->options name, before anything is built. False: `error`; setup_free either way.
bool setup_prepare(struct setup *setup, struct error *error);
/// The configuration that the options describe; where serial ports and the debug console lead is the caller's.
struct machine_config setup_config(const struct setup *setup);
struct machine_translator setup_translator(const struct accelerator *accelerator);
/// A machine with its guest loaded, or its snapshot. It uses the files of `setup` as long as it lives. NULL: `error`.
struct machine *setup_machine(struct setup *setup, const struct machine_config *config, struct error *error);
void setup_free(struct setup *setup);

#endif
