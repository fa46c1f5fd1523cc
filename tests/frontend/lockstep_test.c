// `doppel lockstep` with a firmware of a few bytes: engines that agree, one that is wrong on purpose deep inside a run,
// and the reproducer that comes of it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "frontend/lockstep.h"
#include "translate/passes.h"

// clang-format off
static const uint8_t program[] = {
    0x31, 0xc0,             // 00 xor ax, ax
    0x8e, 0xd8,             // 02 mov ds, ax
    0x8e, 0xc0,             // 04 mov es, ax
    0xff, 0x06, 0x00, 0x20, // 06 again: inc word [0x2000]
    0x01, 0x07,             // 0a add [bx], ax
    0x83, 0xc3, 0x40,       // 0c add bx, 64
    0x80, 0xe7, 0x3f,       // 0f and bh, 0x3f
    0x40,                   // 12 inc ax
    0x75, 0xf1,             // 13 jne again
    0x69, 0xc9, 0x35, 0x00, // 15 imul cx, cx, 0x35
    0x41,                   // 19 inc cx
    0x89, 0x0e, 0x00, 0x30, // 1a mov [0x3000], cx
    0xb0, 0x2e,             // 1e mov al, '.'
    0xba, 0xf8, 0x03,       // 20 mov dx, 0x3f8
    0xee,                   // 23 out dx, al
    0xeb, 0xe0,             // 24 jmp again
};
// clang-format on

struct files {
    char folder[64], rom[96], reproducer[96];
};

static int setup(void **state)
{
    struct files *files = calloc(1, sizeof *files);
    uint8_t *rom = calloc(1, 65536);
    strcpy(files->folder, "/tmp/doppel-lockstep-XXXXXX");
    assert_non_null(mkdtemp(files->folder));
    snprintf(files->rom, sizeof files->rom, "%s/rom", files->folder);
    snprintf(files->reproducer, sizeof files->reproducer, "%s/reproducer", files->folder);
    memcpy(rom, program, sizeof program);
    memcpy(rom + 0xfff0, "\xe9\x0d\x00", 3); // jmp 0
    FILE *file = fopen(files->rom, "w");
    assert_int_equal(fwrite(rom, 1, 65536, file), 65536);
    fclose(file);
    free(rom);
    *state = files;
    return 0;
}

static int teardown(void **state)
{
    struct files *files = *state;
    unlink(files->rom);
    unlink(files->reproducer);
    rmdir(files->folder);
    free(files);
    return 0;
}

/// The subcommand with `extra` (words) and hooks; its exit code. *text: what it prints, or its error; the caller frees.
static int run(const struct files *files, const char *extra, const struct translate_hooks *hooks, char **text)
{
    static struct lockstep_command command;
    struct error error = {0};
    char line[512], *argv[32], *rest = NULL;
    size_t length;
    int argc = 0, code = EXIT_HOST_ERROR;
    FILE *out = open_memstream(text, &length);
    snprintf(line, sizeof line, "lockstep -bios %s -m 16 -display none -reproducer %s %s", files->rom,
             files->reproducer, extra);
    for (char *word = strtok_r(line, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    if (lockstep_parse(&command, argc, argv, out, &error)) {
        if (hooks)
            command.hooks = *hooks;
        code = command.options.help_printed ? 0 : lockstep_execute(&command, out, &error);
    }
    if (code == EXIT_HOST_ERROR)
        fprintf(out, "%s", error.text);
    fclose(out);
    return code;
}

static void says(const struct files *files, const char *extra, int code, const char *part)
{
    char *text;
    int seen = run(files, extra, NULL, &text);
    if (seen != code || !strstr(text, part))
        fail_msg("'%s': exit code %d, not %d; '%s' lacks '%s'", extra, seen, code, text, part);
    free(text);
}

static void test_agreement(void **state)
{
    says(*state, "-limit 300000 -step 100", 0, "agree over 300000 instructions");
    says(*state, "-limit 50000 -step block", 0, "agree over 50000 instructions");
    says(*state, "-limit 3000000 -every 100000 -serial stdio", 0, "..."); // the console is heard, once
    says(*state, "-limit 200000 -accel jit,threshold=0,host-features=none -against jit,tb-size=1", 0,
         "jit and jit agree");
}

static void test_options(void **state)
{
    const struct files *files = *state;
    says(files, "-help", 0, "-against");
    says(files, "-step 0", EXIT_HOST_ERROR, "-step");
    says(files, "-step x", EXIT_HOST_ERROR, "number");
    says(files, "-every 0", EXIT_HOST_ERROR, "-every");
    says(files, "-against warp", EXIT_HOST_ERROR, "warp");
    says(files, "-against", EXIT_HOST_ERROR, "argument");
    says(files, "-hash-every 5", EXIT_HOST_ERROR, "-hash-every");
    says(files, "-replay /nonexistent", EXIT_HOST_ERROR, "/nonexistent");
    char replay[128];
    snprintf(replay, sizeof replay, "-replay %s", files->rom);
    says(files, replay, EXIT_HOST_ERROR, "no reproducer");
}

/// The multiplication that comes every 65536 rounds goes wrong.
static void break_multiplication(void *opaque, const struct block *block, struct pass_block *pass)
{
    for (unsigned i = 0; i < pass->count; i++)
        if (pass->uops[i].op == UOP_IMUL_LOW)
            pass->uops[i].op = UOP_ADD;
}

static void test_difference(void **state)
{
    static const struct translate_hooks hooks = {.before = break_multiplication};
    const struct files *files = *state;
    char *text, replay[160];
    // The block with the multiplication comes every 65536 rounds of 6 instructions, and is interpreted the first time.
    assert_int_equal(run(files, "-limit 3000000 -serial null -against jit,threshold=1", &hooks, &text), EXIT_DIVERGED);
    if (!strstr(text, "imul cx, cx, 0x35") || !strstr(text, "1 instruction after count ") ||
        !strstr(text, "-- before") || !strstr(text, "rcx ") || !strstr(text, "IMUL_LOW") ||
        !strstr(text, "host code, ")) {
        fputs(text, stderr);
        fail_msg("the report lacks something");
    }
    const char *count = strstr(text, "after count ");
    assert_in_range(strtoull(count + strlen("after count "), NULL, 10), 65536 * 6, 4 * 65536 * 6);
    free(text);

    snprintf(replay, sizeof replay, "-replay %s", files->reproducer);
    assert_int_equal(run(files, replay, &hooks, &text), EXIT_DIVERGED);
    assert_non_null(strstr(text, "imul cx, cx, 0x35"));
    free(text);
    says(files, replay, 0, "agree over 1 instructions");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agreement),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_difference),
    };
    if (!translate_available())
        return 77;
    return cmocka_run_group_tests_name("frontend: lockstep", tests, setup, teardown);
}
