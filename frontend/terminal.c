// See terminal.h. Output is written at once and completely: a full pipe makes the guest wait, no byte is lost.
#include "frontend/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "frontend/machine.h"

#define ESCAPE 0x01 // Ctrl-A

static void write_all(struct terminal_sink *sink, const uint8_t *bytes, size_t length)
{
    while (length && !sink->dead) {
        ssize_t written = write(sink->file, bytes, length);
        if (written >= 0) {
            bytes += written;
            length -= (size_t)written;
        } else if (errno == EAGAIN) {
            struct pollfd wait = {.fd = sink->file, .events = POLLOUT};
            poll(&wait, 1, -1);
        } else if (errno != EINTR) {
            sink->dead = true;
        }
    }
}

static void sink_write(void *opaque, const uint8_t *bytes, size_t length)
{
    write_all(opaque, bytes, length);
}

static bool open_sink(struct terminal_sink *sink, const struct character_option *option, struct error *error)
{
    sink->file = -1;
    if (option->kind == CHARACTER_STDIO)
        sink->file = STDOUT_FILENO;
    if (option->kind != CHARACTER_FILE)
        return true;
    sink->file = open(option->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    sink->owned = sink->file >= 0;
    return sink->file >= 0 || error_set(error, "cannot open %s: %s", option->path, strerror(errno));
}

static bool open_signals(struct terminal *terminal, struct error *error)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCONT);
    signal(SIGPIPE, SIG_IGN);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        return error_set(error, "cannot block signals: %s", strerror(errno));
    terminal->signal_file = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return terminal->signal_file >= 0 || error_set(error, "cannot create a signalfd: %s", strerror(errno));
}

bool terminal_open(struct terminal *terminal, const struct options *options, struct error *error)
{
    *terminal = (struct terminal){.signal_file = -1};
    for (unsigned i = 0; i < TERMINAL_SINKS; i++)
        terminal->sinks[i].file = -1;
    for (unsigned i = 0; i < options->serial_count; i++) {
        if (!open_sink(&terminal->sinks[i], &options->serial[i], error))
            return false;
        if (options->serial[i].kind == CHARACTER_STDIO) {
            terminal->has_serial = true;
            terminal->serial_port = i;
            terminal->escapes = options->serial[i].multiplexed;
        }
    }
    if (!open_sink(&terminal->sinks[OPTIONS_SERIAL_PORTS], &options->debug_console, error))
        return false;
    terminal->has_monitor = terminal->escapes || options->monitor.kind == CHARACTER_STDIO;
    terminal->in_monitor = options->monitor.kind == CHARACTER_STDIO;
    terminal->keep_signals = !terminal->escapes;
    terminal->monitor.out = stdout;
    return open_signals(terminal, error);
}

struct character_sink terminal_sink(struct terminal *terminal, unsigned port)
{
    struct terminal_sink *sink = &terminal->sinks[port];
    if (sink->file < 0)
        return (struct character_sink){0};
    return (struct character_sink){sink_write, sink};
}

static void set_raw(struct terminal *terminal)
{
    struct termios raw = terminal->saved;
    raw.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN);
    if (!terminal->keep_signals)
        raw.c_lflag &= ~(tcflag_t)ISIG;
    raw.c_cflag = (raw.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

void terminal_start(struct terminal *terminal)
{
    terminal->end_of_input = !terminal->has_serial && !terminal->has_monitor;
    if (!terminal->end_of_input && isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &terminal->saved) == 0) {
        terminal->is_terminal = true;
        terminal->monitor.echo = true;
        set_raw(terminal);
    }
    if (terminal->in_monitor) {
        printf("doppel %s monitor - type 'help' for more information\n", DOPPEL_VERSION);
        monitor_prompt(&terminal->monitor);
    }
}

void terminal_close(struct terminal *terminal)
{
    if (terminal->is_terminal)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal->saved);
    terminal->is_terminal = false;
    for (unsigned i = 0; i < TERMINAL_SINKS; i++) {
        if (terminal->sinks[i].owned)
            close(terminal->sinks[i].file);
        terminal->sinks[i] = (struct terminal_sink){.file = -1};
    }
    if (terminal->signal_file >= 0)
        close(terminal->signal_file);
    terminal->signal_file = -1;
}

// ---- input ------------------------------------------------------------------------------------------------------

static void print_escapes(struct terminal *terminal)
{
    fprintf(terminal->monitor.out, "\nCtrl-A h    this help\nCtrl-A x    ends doppel\n"
                                   "Ctrl-A c    from the serial line to the monitor and back\n"
                                   "Ctrl-A Ctrl-A    sends Ctrl-A\n");
    fflush(terminal->monitor.out);
}

static void deliver(struct terminal *terminal, struct machine *machine, uint8_t byte)
{
    if (terminal->in_monitor)
        monitor_input(&terminal->monitor, machine, byte);
    else if (terminal->has_serial)
        machine_input_add(machine, terminal->serial_port, &byte, 1);
}

static void escape(struct terminal *terminal, struct machine *machine, uint8_t byte)
{
    switch (byte) {
    case 'x':
        machine_exit(machine, EXIT_POWER_OFF, NULL);
        break;
    case 'c':
        if (!terminal->has_serial)
            break;
        terminal->in_monitor = !terminal->in_monitor;
        if (terminal->in_monitor) {
            fprintf(terminal->monitor.out, "\n");
            monitor_prompt(&terminal->monitor);
        }
        break;
    case 'h':
    case '?':
        print_escapes(terminal);
        break;
    case ESCAPE:
        deliver(terminal, machine, ESCAPE);
        break;
    default:
        break;
    }
}

static void type(struct terminal *terminal, struct machine *machine, uint8_t byte)
{
    if (terminal->escape_begun) {
        terminal->escape_begun = false;
        escape(terminal, machine, byte);
    } else if (terminal->escapes && byte == ESCAPE) {
        terminal->escape_begun = true;
    } else {
        deliver(terminal, machine, byte);
    }
}

static void read_input(struct terminal *terminal, struct machine *machine)
{
    uint8_t bytes[256];
    size_t room = terminal->has_serial ? machine_input_room(machine, terminal->serial_port) : sizeof bytes;
    ssize_t got = read(STDIN_FILENO, bytes, room < sizeof bytes ? room : sizeof bytes);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        terminal->end_of_input = true; // no error: the guest runs on
    for (ssize_t i = 0; i < got; i++)
        type(terminal, machine, bytes[i]);
}

static void read_signal(struct terminal *terminal, struct machine *machine)
{
    struct signalfd_siginfo info;
    if (read(terminal->signal_file, &info, sizeof info) != sizeof info)
        return;
    if (info.ssi_signo == SIGCONT) {
        if (terminal->is_terminal)
            set_raw(terminal); // the shell had set its own mode
        return;
    }
    char reason[64];
    snprintf(reason, sizeof reason, "ended by signal %u", info.ssi_signo);
    machine_exit(machine, EXIT_HOST_ERROR, reason);
}

void terminal_poll(void *opaque, struct machine *machine, uint64_t timeout_ns)
{
    struct terminal *terminal = opaque;
    bool room = !terminal->has_serial || machine_input_room(machine, terminal->serial_port) > 0;
    struct pollfd files[3] = {
        {.fd = terminal->signal_file, .events = POLLIN},
        {.fd = machine->wake_file, .events = POLLIN},
        {.fd = terminal->end_of_input || !room ? -1 : STDIN_FILENO, .events = POLLIN},
    };
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000), .tv_nsec = (long)(timeout_ns % 1000000000)};
    if (ppoll(files, 3, timeout_ns == UINT64_MAX ? NULL : &timeout, NULL) <= 0)
        return;
    if (files[0].revents)
        read_signal(terminal, machine);
    if (files[1].revents) {
        uint64_t count;
        if (read(machine->wake_file, &count, sizeof count) < 0)
            return; // somebody else has read it
    }
    if (files[2].revents)
        read_input(terminal, machine);
}
