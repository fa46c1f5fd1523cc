// The uops of the hundred most frequent instructions of the Debian boots (those that make 97 % of what is executed),
// against frequent_uops.txt, so that a change of a lift shows what it does to them. DOPPEL_GOLDEN_WRITE=1 writes the
// file anew, for review. The share of each was counted over the boots of both 64-bit kernels, in counting mode.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/lift.h"
#include "cpu/support_rows.h"

#define GOLDEN_FILE "tests/cpu/frequent_uops.txt"
#define MODE (MODE_CODE64 | MODE_STACK32 | MODE_FLAT | MODE_PROTECTED | MODE_LONG | MODE_IOPL)

/// No instruction but PUSH, POP, CALL, RET of a memory operand needs more; most take far fewer.
#define MOST_UOPS 8

struct golden {
    struct row_index *index;
    struct cpu_model model;
    struct lift lift;
    char *wanted, *made;
    size_t made_length;
    FILE *to;
};

/// Bytes of a line "0.439 4421e2  ..."; their number.
static unsigned parse_bytes(const char *line, uint8_t bytes[16])
{
    unsigned length = 0, byte;
    line += strcspn(line, " ");
    for (line += *line == ' '; length < 15 && isxdigit((unsigned char)*line) && sscanf(line, "%2x", &byte) == 1;
         line += 2)
        bytes[length++] = (uint8_t)byte;
    return length;
}

static void print_instruction(struct golden *golden, const char *line)
{
    uint8_t bytes[16] = {0};
    unsigned length = parse_bytes(line, bytes);
    struct insn insn;
    struct error error = {{0}};
    char text[160];
    if (decode(golden->index, &golden->model, MODE, bytes, 15, &insn) != DECODE_OK || insn.length != length)
        fail_msg("no instruction: %s", line);
    struct lift *l = &golden->lift;
    *l = (struct lift){.mode = MODE, .model = &golden->model, .next_temp = VAR_TEMP, .next_offset = length};
    insn.row->lift(l, &insn);
    bool ended = l->ended;
    if (!ended)
        lift_exit_next(l);
    assert_true(uop_verify(l->uops, l->uop_count, l->partial, &error));
    unsigned count = l->uop_count - !ended;
    disassemble(&insn, 0, text, sizeof text);
    size_t head = strcspn(line + strcspn(line, " ") + 1, " \n") + strcspn(line, " ") + 1;
    fprintf(golden->to, "%.*s  %s\n", (int)head, line, text);
    for (unsigned i = 0; i < count; i++) {
        uop_print(&l->uops[i], text, sizeof text);
        fprintf(golden->to, "    %s\n", text);
    }
    if (count > MOST_UOPS)
        fail_msg("%u uops: %s", count, line);
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *text = calloc(1, 1 << 18);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 18) - 1, file) > 0);
    fclose(file);
    return text;
}

static void test_golden(void **state)
{
    (void)state;
    static struct golden golden;
    struct error error = {{0}};
    golden = (struct golden){.index = row_index_build(&error), .model = support_full_model()};
    assert_non_null(golden.index);
    golden.wanted = read_file(GOLDEN_FILE);
    golden.to = open_memstream(&golden.made, &golden.made_length);
    assert_non_null(golden.to);
    unsigned instructions = 0;
    for (const char *line = golden.wanted; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        if (*line == '#')
            fprintf(golden.to, "%.*s\n", (int)strcspn(line, "\n"), line);
        else if (*line != ' ' && *line != '\n') {
            print_instruction(&golden, line);
            instructions++;
        }
    }
    fclose(golden.to);
    assert_int_equal(instructions, 100);
    if (getenv("DOPPEL_GOLDEN_WRITE")) {
        FILE *file = fopen(GOLDEN_FILE, "w");
        assert_non_null(file);
        fputs(golden.made, file);
        fclose(file);
    } else if (strcmp(golden.made, golden.wanted) != 0) {
        size_t at = 0, line = 1;
        for (; golden.made[at] && golden.made[at] == golden.wanted[at]; at++)
            line += golden.made[at] == '\n';
        fail_msg("%s, line %zu, differs: \"%.*s\"; run this test with DOPPEL_GOLDEN_WRITE=1 and review", GOLDEN_FILE,
                 line, (int)strcspn(golden.made + at, "\n"), golden.made + at);
    }
    free(golden.wanted);
    free(golden.made);
    row_index_free(golden.index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
