// The program's terminal: raw mode, the Ctrl-A escapes, signals, and files for serial lines. Joins a machine's serial
// port and the monitor to stdin and stdout.
#ifndef DOPPEL_FRONTEND_TERMINAL_H
#define DOPPEL_FRONTEND_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

#include "base/error.h"
#include "devices/host.h"
#include "frontend/monitor.h"
#include "frontend/options.h"

struct machine;

#define TERMINAL_SINKS (OPTIONS_SERIAL_PORTS + 1)

struct terminal_sink {
    int file;
    bool owned;
    bool dead; // the reader is gone: bytes vanish, as on an unplugged line
};

struct terminal {
    bool has_serial; // stdin goes to serial port `serial_port`
    unsigned serial_port;
    bool has_monitor;
    bool escapes;    // Ctrl-A commands
    bool in_monitor; // who gets what is typed
    bool escape_begun;
    bool end_of_input;
    bool is_terminal;  // stdin is a terminal, put in raw mode
    bool keep_signals; // Ctrl-C ends the program
    struct termios saved;
    int signal_file;
    struct monitor monitor;
    struct terminal_sink sinks[TERMINAL_SINKS];
};

/// Opens files and decides who has stdin. Blocks the signals that the main loop takes as files: before any thread.
bool terminal_open(struct terminal *terminal, const struct options *options, struct error *error);
/// Sinks for a machine's configuration; `port` OPTIONS_SERIAL_PORTS is the debug console.
struct character_sink terminal_sink(struct terminal *terminal, unsigned port);
/// Raw mode, as late as possible: error messages come before it.
void terminal_start(struct terminal *terminal);
/// Restores the terminal; repeatable.
void terminal_close(struct terminal *terminal);
/// A machine's poll function; `opaque` is the terminal.
void terminal_poll(void *opaque, struct machine *machine, uint64_t timeout_ns);

#endif
