// Monitor commands on a machine without a guest.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "frontend/monitor.h"
#include "support_machine.h"

static struct machine *machine;

static int create(void **state)
{
    machine = support_machine_create(UINT64_C(8) << 20, true);
    return 0;
}

static int destroy(void **state)
{
    machine_destroy(machine);
    return 0;
}

/// The text that a command prints; the caller frees.
static char *run(const char *line)
{
    char *text = NULL;
    size_t length = 0;
    struct error error = {0};
    FILE *out = open_memstream(&text, &length);
    bool good = monitor_execute(machine, line, out, &error);
    fclose(out);
    if (!good)
        fail_msg("'%s' fails: %s", line, error.text);
    return text;
}

static void shows(const char *line, const char *part)
{
    char *text = run(line);
    if (!strstr(text, part))
        fail_msg("'%s' prints '%s', without '%s'", line, text, part);
    free(text);
}

static void refused(const char *line, const char *reason)
{
    struct error error = {0};
    FILE *out = fopen("/dev/null", "w");
    bool good = monitor_execute(machine, line, out, &error);
    fclose(out);
    if (good || !strstr(error.text, reason))
        fail_msg("'%s' gives '%s', not '%s'", line, error.text, reason);
}

static void shows_state(void **state)
{
    shows("help", "system_powerdown");
    shows("info", "registers");
    shows("info registers", "RIP");
    shows("info mtree", "ram");
    shows("info devices", "com1");
    shows("info device pic", "chips[0].mask");
    shows("info status", "running");
    shows("info statistics", "blocks");
    shows("info jit", "blocks lifted");
    shows("info jit", "interp translates nothing");
    shows("info hash", "\n");
    free(run(""));
}

static void shows_memory(void **state)
{
    shows("xp/4xb 0x1000", "0000000000001000: 0xfb 0xff 0x06 0x00");
    shows("x/2xh 0x1000", "0xfffb 0x0006");
    shows("x $rip", "0x0006fffb");
    shows("xp/1xg 0x1000", "0x830701200006fffb");
    shows("xp/1db 0x1001", "-1");
    shows("xp/2c 0x1000", "\\xfb");
    shows("xp/1x 0xfffffffffffffff0", "0xffffffff");
    shows("xp/1xg 0xfee00ffc", "0xffffffffffffffff"); // a device: not read
    refused("x", "missing");
    refused("x/99999999999 0", "at most");
    refused("x/q 0", "format");
    refused("x 1 2", "too many");
    refused("x zero", "no address");
    refused("x $rzz", "no register");
    refused("stop/4", "FMT");
}

static void controls(void **state)
{
    char line[128], path[64];
    free(run("stop"));
    assert_true(machine->paused);
    shows("info status", "stopped");
    free(run("cont"));
    assert_false(machine->paused);
    assert_true(machine->clock.running);
    snprintf(path, sizeof path, "/tmp/doppel-monitor-test-%ld", (long)getpid());
    snprintf(line, sizeof line, "savevm %s", path);
    free(run(line));
    machine->cpu->var[VAR_RAX] = 0x1234;
    snprintf(line, sizeof line, "loadvm %s", path);
    free(run(line));
    assert_int_not_equal(machine->cpu->var[VAR_RAX], 0x1234);
    unlink(path);
    refused(line, "cannot open");
    free(run("system_reset"));
    assert_true(atomic_load(&machine->cpu->pending) & PENDING_RESET);
    free(run("system_powerdown"));
    refused("savevm", "missing");
    refused("savevm a b", "too many");
    refused("make coffee", "no command");
    refused("info coffee", "no 'coffee'");
    refused("info device coffee", "no device");
    refused("a b c d e f g", "too many");
    free(run("quit"));
    assert_true(atomic_load(&machine->exiting));
    assert_int_equal(machine->exit_code, 0);
}

static void typing(void **state)
{
    char *text = NULL;
    size_t length = 0;
    struct monitor monitor = {.out = open_memstream(&text, &length), .echo = true};
    static const char typed[] = "xyz\x15inff\x7fo statuss\x08\r";
    for (size_t i = 0; i < sizeof typed - 1; i++)
        monitor_input(&monitor, machine, (uint8_t)typed[i]);
    for (unsigned i = 0; i < 2000; i++) // longer than a line: cut, not overrun
        monitor_input(&monitor, machine, 'a');
    monitor_input(&monitor, machine, '\n');
    fclose(monitor.out);
    assert_non_null(strstr(text, "running"));
    assert_non_null(strstr(text, "no command 'aaa"));
    assert_non_null(strstr(text, "(doppel) "));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(shows_state, create, destroy),
        cmocka_unit_test_setup_teardown(shows_memory, create, destroy),
        cmocka_unit_test_setup_teardown(controls, create, destroy),
        cmocka_unit_test_setup_teardown(typing, create, destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
