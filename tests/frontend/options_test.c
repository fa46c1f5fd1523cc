// The command line: what is accepted, what it means, and that everything else is an error of one line.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "frontend/options.h"

static bool parse_text(struct options *options, struct error *error, const char *text, char **output)
{
    static char copy[1024];
    char *argv[32] = {"doppel"}, *rest = NULL;
    int argc = 1;
    size_t length = 0;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *word = strtok_r(copy, " ", &rest); word && argc < 31; word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    *error = (struct error){0};
    char *buffer = NULL;
    FILE *out = open_memstream(&buffer, &length);
    bool good = options_parse(options, argc, argv, out, error);
    fclose(out);
    if (output)
        *output = buffer;
    else
        free(buffer);
    return good;
}

static struct options *good(const char *text)
{
    static struct options options;
    struct error error;
    if (!parse_text(&options, &error, text, NULL))
        fail_msg("'%s' is refused: %s", text, error.text);
    return &options;
}

static void bad(const char *text, const char *reason)
{
    static struct options options;
    struct error error;
    if (parse_text(&options, &error, text, NULL))
        fail_msg("'%s' is accepted", text);
    if (!strstr(error.text, reason) || strchr(error.text, '\n'))
        fail_msg("'%s' gives '%s', which does not name '%s' in one line", text, error.text, reason);
}

static void memory_sizes(void **state)
{
    assert_int_equal(good("-m 128")->ram_size, UINT64_C(128) << 20);
    assert_int_equal(good("-m 2G")->ram_size, UINT64_C(2) << 30);
    assert_int_equal(good("-m size=6144M")->ram_size, UINT64_C(6) << 30);
    assert_int_equal(good("-nographic")->ram_size, UINT64_C(512) << 20);
    assert_int_equal(good("--m 512G")->ram_size, UINT64_C(512) << 30);
    bad("-m 0", "-m");
    bad("-m 1025K", "whole MiB");
    bad("-m 1T", "512G");
    bad("-m 100T", "512G");
    bad("-m 99999999999999999999", "-m");
    bad("-m -5", "-m");
    bad("-m lots", "-m");
    bad("-m", "needs an argument");
    bad("-m 512,slots=4", "-m");
}

static void machine_and_cpu(void **state)
{
    assert_true(good("-machine pc")->direct);
    assert_false(good("-M pc,direct=off")->direct);
    assert_false(good("-cpu pentium")->direct);
    assert_false(good("-cpu max,-cmov -machine pc")->direct);
    assert_true(good("-machine pc,direct=on -cpu 486")->direct);
    assert_true(good("-cpu qemu64")->direct);
    bad("-machine pc,direct=perhaps", "on, off or auto");
    assert_false(good("-machine type=pc,direct=off")->direct);
    assert_string_equal(good("-machine pc,accel=interp")->accelerator.name, "interp");
    assert_true(good("-accel interp,paranoid=on")->accelerator.paranoid);
    assert_int_equal(good("-accel jit,tb-size=7,threshold=0,perf=on")->accelerator.code_mib, 7);
    assert_int_equal(good("-accel jit,threshold=0,perf=on")->accelerator.threshold, 0);
    assert_true(good("-accel jit,perf=on")->accelerator.perf_map);
    assert_false(good("-accel jit")->accelerator.perf_map);
    assert_true(good("-accel jit,single-mapping=on")->accelerator.single_mapping);
    assert_false(good("-accel jit")->accelerator.single_mapping);
    assert_int_equal(good("-accel jit")->accelerator.code_mib, 0);
    assert_string_equal(good("-accel jit,host-features=sse4.1")->accelerator.host_features, "sse4.1");
    assert_true(good("-accel jit")->accelerator.threshold == UINT32_MAX);
    good("-machine pc-i440fx-7.2");
    good("-smp 1");
    good("-smp cpus=1");
    good("-cpu max");
    bad("-machine q35", "q35");
    bad("-machine pc,fast=on", "fast");
    bad("-accel hyper", "hyper");
    bad("-accel interp,speed=9", "speed");
    bad("-accel jit,tb-size=0", "1");
    bad("-accel jit,tb-size=1025", "1024");
    bad("-accel jit,tb-size=big", "tb-size");
    bad("-accel jit,threshold=1000001", "threshold");
    bad("-accel jit,host-features=sse5", "sse5");
    bad("-accel jit,host-features=quitelong", "host-features");
    bad("-accel interp,host-features=sse2", "host-features");
    bad("-accel interp,tb-size=8", "tb-size");
    bad("-accel interp,perf=on", "perf");
    bad("-accel interp,single-mapping=on", "single-mapping");
    bad("-smp 4", "one virtual CPU");
    bad("-smp many", "many");
    bad("-cpu 80286sx", "80286sx");
}

static void terminals(void **state)
{
    struct options *options = good("-nographic");
    assert_int_equal(options->serial[0].kind, CHARACTER_STDIO);
    assert_true(options->serial[0].multiplexed);
    options = good("-display none");
    assert_int_equal(options->serial[0].kind, CHARACTER_NULL);
    options = good("-serial stdio -serial file:x.log -serial none -serial null");
    assert_int_equal(options->serial_count, 4);
    assert_false(options->serial[0].multiplexed);
    assert_string_equal(options->serial[1].path, "x.log");
    assert_int_equal(options->serial[2].kind, CHARACTER_NONE);
    assert_int_equal(options->serial[3].kind, CHARACTER_NULL);
    assert_int_equal(good("-nodefaults")->serial_count, 0);
    options = good("-monitor stdio");
    assert_int_equal(options->serial[0].kind, CHARACTER_NULL);
    bad("-serial pty", "pty");
    bad("-serial file:", "not supported");
    bad("-serial mon:null", "mon:");
    bad("-serial stdio -monitor stdio", "only one");
    bad("-serial null -serial null -serial null -serial null -serial null", "4");
    bad("-monitor file:x", "monitor");
    bad("-display gtk", "display");
    bad("-vga std", "display");
}

static void devices(void **state)
{
    struct options *options = good("-device isa-debug-exit,iobase=0xf4,iosize=0x04");
    assert_true(options->has_debug_exit);
    assert_int_equal(options->debug_exit.iobase, 0xf4);
    assert_int_equal(options->debug_exit.iosize, 4);
    assert_int_equal(good("-device isa-debug-exit")->debug_exit.iobase, 0x501);
    bad("-device isa-debug-exit,iobsae=1", "iobsae");
    bad("-device warp-drive", "warp-drive");
    bad("-device isa-debug-exit -device isa-debug-exit", "only one");
}

static void counting(void **state)
{
    struct options *options = good("-icount shift=3,sleep=off -limit 5000 -hash-every 1000 -save-at 2000,/x/y,z");
    assert_true(options->counting);
    assert_int_equal(options->count_shift, 3);
    assert_int_equal(options->limit, 5000);
    assert_int_equal(options->hash_every, 1000);
    assert_int_equal(options->save_at, 2000);
    assert_string_equal(options->save_path, "/x/y,z");
    assert_int_equal(good("-icount 5")->count_shift, 5);
    assert_string_equal(good("-load f")->load_path, "f");
    assert_string_equal(good("-loadvm f")->load_path, "f");
    assert_int_equal(good("-rtc base=2024-01-31T12:00:00")->rtc_base, 1706702400);
    assert_false(good("-rtc base=utc")->has_rtc_base);
    bad("-icount shift=auto", "auto");
    bad("-icount shift=40", "shift");
    bad("-icount shift=1,sleep=on", "sleep");
    bad("-hash-every 10", "-icount");
    bad("-save-at 10,f", "-icount");
    bad("-icount 0 -save-at 10", "N,FILE");
    bad("-limit ten", "ten");
    bad("-rtc base=tomorrow", "tomorrow");
}

static void unsupported(void **state)
{
    bad("-hda disk.img", "-hda");
    bad("-snapshot", "-snapshot");
    bad("-kernl vmlinuz", "-kernl");
    bad("-no-such-option", "-no-such-option");
    bad("disk.img", "disk.img");
    bad("-initrd x", "-kernel");
    bad("-append x", "-kernel");
    bad("-d nonsense", "nonsense");
    bad("-dfilter what", "-dfilter");
    bad("-kernel k -bios b", "direct=off");
}

static void help(void **state)
{
    static const char *const texts[] = {"--help",        "-h",          "--version",
                                        "-cpu help",     "-d help",     "-device help",
                                        "-machine help", "-accel help", "-device isa-debug-exit,help"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        static struct options options;
        struct error error;
        char *output;
        assert_true(parse_text(&options, &error, texts[i], &output));
        assert_true(options.help_printed);
        assert_true(strlen(output) > 10);
        free(output);
    }
}

static void default_guest(void **state)
{
    assert_true(good("")->default_guest);
    assert_false(good("-nographic")->default_guest);
    assert_true(good("-default-guest -m 256")->default_guest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_sizes), cmocka_unit_test(machine_and_cpu), cmocka_unit_test(terminals),
        cmocka_unit_test(devices),      cmocka_unit_test(counting),        cmocka_unit_test(unsupported),
        cmocka_unit_test(help),         cmocka_unit_test(default_guest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
