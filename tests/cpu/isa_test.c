// docs/isa.md: what it says is made from the rows and from how they are tested; the checked-in file must be what is
// made now. `cpu_isa_test --write PATH` writes it (`./dev docs`). A row that nothing tests fails.
#ifndef __x86_64__
#error "the rows tested on the host are listed"
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/model.h"
#include "cpu/support_coverage.h"
#include "cpu/support_rows.h"

#define ISA_FILE "docs/isa.md"
#define STATES "10,240"

static const char *feature_title(unsigned feature)
{
    const char *name = feature == FEATURE_NONE ? "always there" : model_feature_name((enum cpu_feature)feature);
    return name ? name : "?";
}

/// "cbw|cwde|cdqe" for people; "@" chooses by address size.
static void print_mnemonic(FILE *to, const struct row *row)
{
    const char *at = row->mnemonic + (row->mnemonic[0] == '@'), *before = "";
    size_t last = 0;
    while (*at) {
        size_t length = strcspn(at, "|");
        if (length && (length != last || strncmp(before, at, length) != 0))
            fprintf(to, "%s%.*s", last ? " / " : "", (int)length, at);
        if (length) {
            before = at;
            last = length;
        }
        at += length + (at[length] == '|');
    }
}

static void print_tested(FILE *to, const struct coverage *coverage)
{
    const char *separator = "";
    if (coverage->host) {
        const char *modes = coverage->host64 && coverage->host32 ? "64, 32" : coverage->host64 ? "64" : "32";
        fprintf(to, "host (%s%s): `%s`", modes, coverage->fault_only ? "; its fault in user mode" : "", coverage->host);
        separator = "; ";
    }
    if (coverage->elsewhere)
        fprintf(to, "%s%s: `%s`", separator, strstr(coverage->elsewhere, "guest/") ? "guest" : "vectors",
                strrchr(coverage->elsewhere, '/') + 1);
}

static void print_undefined(FILE *to, const struct row *row)
{
    static const char names[] = "cf\0pf\0af\0zf\0sf\0of";
    static const uint16_t flags[] = {FLAG_CF, FLAG_PF, FLAG_AF, FLAG_ZF, FLAG_SF, FLAG_OF};
    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++)
        if (row->flags_undefined & flags[i])
            fprintf(to, "%s ", names + i * 3);
    if (row->attributes & ROW_COUNT_FLAGS)
        fprintf(to, "by count ");
    if (row->attributes & ROW_APPROXIMATE)
        fprintf(to, "approximate ");
}

static unsigned count_of(unsigned feature)
{
    unsigned count = 0;
    for (unsigned n = 0; n < row_count(); n++)
        count += row_get(n)->feature == feature;
    return count;
}

static void print_feature(FILE *to, unsigned feature)
{
    unsigned count = count_of(feature);
    if (!count)
        return;
    fprintf(
        to,
        "\n## %s (%u encodings)\n\n| Encoding | Instruction | Operands | Undefined | Tested |\n|---|---|---|---|---|\n",
        feature_title(feature), count);
    for (unsigned n = 0; n < row_count(); n++) {
        const struct row *row = row_get(n);
        if (row->feature != feature)
            continue;
        struct coverage coverage = coverage_of(row);
        fprintf(to, "| %s | ", row->encoding);
        print_mnemonic(to, row);
        fprintf(to, " | %s | ", row->operands);
        print_undefined(to, row);
        fprintf(to, "| ");
        print_tested(to, &coverage);
        fprintf(to, " |\n");
    }
}

static void print_summary(FILE *to)
{
    unsigned host = 0, guest = 0, vectors = 0, only_fault = 0;
    for (unsigned n = 0; n < row_count(); n++) {
        struct coverage coverage = coverage_of(row_get(n));
        host += coverage.host != NULL;
        only_fault += coverage.fault_only;
        guest += coverage.elsewhere && strstr(coverage.elsewhere, "guest/");
        vectors += coverage.elsewhere && !strstr(coverage.elsewhere, "guest/");
    }
    fprintf(to,
            "%u encodings: %u run on the host's processor (of %u only the fault at CPL 3), %u in small guests, %u by "
            "vectors.\nNone is untested.\n",
            row_count(), host, only_fault, guest, vectors);
}

static void print_isa(FILE *to)
{
    fputs("# Instructions\n\n"
          "Made from the rows in `cpu/rows_*.c` by `./dev docs`; a test compares. By CPUID feature: the encodings in "
          "the\n"
          "notation of `cpu/row.h`, what the manual leaves undefined (flags, and results that vendors approximate\n"
          "differently), and how each is tested:\n\n"
          "- *host*: with random states as 64- and 32-bit code on the host's processor and in the interpreter; "
          "registers,\n"
          "  flags, memory, faults with error code and CR2 must agree. `./dev test --all` takes " STATES
          " states an encoding and\n"
          "  mode, `./dev test` fewer; integer operands in memory also lie at every offset around the ends of pages "
          "with\n"
          "  other rights. Both engines are compared by the random blocks of `tests/translate`.\n"
          "- *guest*: a small guest whose output is the same in QEMU and Bochs, or differs where the manual says.\n"
          "- *vectors*: a unit test with states written down.\n\n"
          "What is not in this list is #UD, which `host_illegal_test` sweeps against Zydis and the host.\n\n",
          to);
    print_summary(to);
    for (unsigned feature = FEATURE_NONE; feature < FEATURE_COUNT; feature++)
        print_feature(to, feature);
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    if (!file)
        return text;
    size_t length = fread(text, 1, (1 << 20) - 1, file);
    text[length] = 0;
    fclose(file);
    return text;
}

static void test_file_is_new(void **state)
{
    (void)state;
    char *wanted = read_file(ISA_FILE), *made = NULL;
    size_t length;
    FILE *to = open_memstream(&made, &length);
    assert_non_null(to);
    print_isa(to);
    fclose(to);
    if (strcmp(made, wanted) != 0)
        fail_msg("%s is not what the rows say now: run ./dev docs", ISA_FILE);
    free(made);
    free(wanted);
}

static void test_every_row_is_tested(void **state)
{
    (void)state;
    unsigned untested = 0;
    for (unsigned n = 0; n < row_count(); n++) {
        const struct row *row = row_get(n);
        struct coverage coverage = coverage_of(row);
        if ((!coverage.host || coverage.fault_only) && !coverage.elsewhere) {
            fprintf(stderr, "row \"%s\" (%s) is untested\n", row->encoding, row->mnemonic);
            untested++;
        }
        if (coverage.elsewhere) {
            char path[96];
            snprintf(path, sizeof path, "tests/%s", coverage.elsewhere);
            char *text = read_file(path);
            if (!strstr(text, coverage.word)) {
                fprintf(stderr, "row \"%s\" (%s): there is no \"%s\" in %s\n", row->encoding, row->mnemonic,
                        coverage.word, path);
                untested++;
            }
            free(text);
        }
    }
    assert_int_equal(untested, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_row_is_tested), cmocka_unit_test(test_file_is_new)};
    if (argc == 3 && !strcmp(argv[1], "--write")) {
        FILE *to = fopen(argv[2], "w");
        if (!to)
            return 1;
        print_isa(to);
        return fclose(to) != 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
