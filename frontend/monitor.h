// The monitor: commands about a machine, one table row each. Knows no terminal: bytes come in, text goes to a FILE.
#ifndef DOPPEL_FRONTEND_MONITOR_H
#define DOPPEL_FRONTEND_MONITOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

struct machine;

#define MONITOR_LINE 512

struct monitor {
    FILE *out;
    bool echo; // the terminal is raw: show what is typed
    char line[MONITOR_LINE];
    size_t length;
};

void monitor_prompt(struct monitor *monitor);
/// A typed byte; runs the command at the end of a line.
void monitor_input(struct monitor *monitor, struct machine *machine, uint8_t byte);
/// Runs one command line. False: `error` says why not.
bool monitor_execute(struct machine *machine, const char *line, FILE *out, struct error *error);

#endif
