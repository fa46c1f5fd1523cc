// x87 rows against the host's x87: random registers, tags, control and status words, memory operands; registers, status
// word, tags and memory must agree bit by bit.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/fpu.h"
#include "cpu/lift_fpu.h"
#include "support_native.h"

enum { CASES = 2000 };

static struct cpu *new_cpu(void)
{
    struct cpu *cpu = NULL;
    if (posix_memalign((void **)&cpu, 64, sizeof *cpu))
        abort();
    memset(cpu, 0, sizeof *cpu);
    cpu->cr0 = CR0_NE;
    return cpu;
}

static void random_state(struct random *random, struct native *native)
{
    struct fxsave_image *image = &native->before;
    memset(image, 0, sizeof *image);
    uint64_t r = random_next(random);
    unsigned masks = r & 3 ? 0x3f : (unsigned)(r >> 8) & 0x3f;
    image->control = (uint16_t)(0x40 | masks | (r >> 16 & 0xf00));
    image->status = (uint16_t)((r >> 32 & 0x7f00) | (r >> 2 & 7 ? 0 : r >> 48 & 0x7f));
    if (image->status & ~image->control & 0x3f)
        image->status |= 0x8080;
    image->valid =
        r >> 5 & 3 ? (r >> 7 & 1 ? 0xff : (uint8_t) ~(1u << (((image->status >> 11) - 1) & 7))) : (uint8_t)(r >> 40);
    image->mxcsr = 0x1f80;
    for (unsigned i = 0; i < 8; i++)
        random_x87(random, image->st[i]);
    native->rax = random_next(random);
    native->rflags = random_next(random);
    random_x87(random, native->memory);
    if (r >> 54 & 1)
        random_vector(random, native->memory);
    if (r >> 55 & 1) // decimal digits, for FBLD
        for (unsigned i = 0; i < 9; i++)
            native->memory[i] = (uint8_t)((native->memory[i] & 0x0f) % 10 | (native->memory[i] >> 4) % 10 << 4);
}

static uint64_t x87_row_operand(const struct row *row, const uint8_t *bytes)
{
    return (uint64_t)((bytes[0] & 7) << 8 | bytes[1]) << 16 | (uint64_t)row->argument << 32;
}

/// What the lifts do with a row, in short. False: this row has its own test.
static bool run_row(struct cpu *cpu, const struct row *row, const uint8_t *bytes, struct native *ours)
{
    uint64_t operand = x87_row_operand(row, bytes);
    union vreg source = {0}, scratch = {0};
    memcpy(&source, ours->memory, 10);
    if (row->lift == lift_x87 || row->lift == lift_fwait) {
        row->execute(cpu, &scratch, &source, operand);
    } else if (row->lift == lift_x87_to_flags) {
        uint64_t flags = row->execute(cpu, &scratch, &source, operand);
        if (!cpu->fault.pending)
            ours->rflags = (ours->rflags & ~FLAGS_ARITHMETIC) | flags;
    } else if (row->lift == lift_x87_cmov) {
        uint64_t flags = ours->rflags;
        bool taken = (row->flags_read & FLAG_CF && flags & FLAG_CF) || (row->flags_read & FLAG_ZF && flags & FLAG_ZF) ||
                     (row->flags_read & FLAG_PF && flags & FLAG_PF);
        row->execute(cpu, &scratch, &source, operand | (taken != (row->argument & 1) ? X87_CONDITION_TRUE : 0));
    } else if (row->lift == lift_x87_store) {
        uint8_t stored[16];
        if (x87_must_fault(cpu)) {
            cpu_raise(cpu, VECTOR_MF);
            return true;
        }
        unsigned count = x87_store_value(cpu, operand, stored);
        memcpy(ours->memory, stored, count);
    } else if (row->lift == lift_fldcw) {
        row->execute(cpu, &scratch, &source, load_le16(ours->memory));
    } else if (row->lift == lift_fnstcw) {
        uint16_t value = (uint16_t)row->execute(cpu, &scratch, &source, 0);
        if (strcmp(row->operands, "AX"))
            memcpy(ours->memory, &value, 2);
        else
            ours->rax = (ours->rax & ~UINT64_C(0xffff)) | value;
    } else {
        return false;
    }
    return true;
}

static unsigned check_row(struct cpu *cpu, const struct row *row, struct random *random)
{
    struct native native, ours;
    bool memory = row->operands[0] == 'M';
    unsigned bad = 0;
    for (unsigned i = 0; i < CASES; i++) {
        uint8_t bytes[16];
        char text[256];
        unsigned length = native_encode(row, false, 0, (unsigned)random_next(random) & 7, memory, 0, bytes);
        random_state(random, &native);
        ours = native;
        native_to_cpu(&native, cpu);
        native_run(&native, bytes, length);
        if (!run_row(cpu, row, bytes, &ours)) {
            print_message("%s %s: not tested here\n", row->encoding, row->mnemonic);
            return 0;
        }
        bool same = native_equals_cpu(&native, cpu, text, sizeof text);
        if (same && native.faulted != cpu->fault.pending)
            same = snprintf(text, sizeof text, "fault: host %d, doppel %d", native.faulted, cpu->fault.pending) < 0;
        if (same && memcmp(native.memory, ours.memory, sizeof native.memory))
            same =
                snprintf(text, sizeof text, "memory: host %016llx, doppel %016llx",
                         (unsigned long long)load_le64(native.memory), (unsigned long long)load_le64(ours.memory)) < 0;
        if (same && ((native.rflags ^ ours.rflags) & FLAGS_ARITHMETIC || native.rax != ours.rax))
            same = snprintf(text, sizeof text, "rflags or rax: host %llx %llx, doppel %llx %llx",
                            (unsigned long long)native.rflags, (unsigned long long)native.rax,
                            (unsigned long long)ours.rflags, (unsigned long long)ours.rax) < 0;
        if (same)
            continue;
        if (bad++ < 3)
            print_message("%s %s %s: %s (fcw %04x fsw %04x tags %02x st0 %04x%016llx st1 %04x%016llx m %016llx)\n",
                          row->encoding, row->mnemonic, row->operands, text, native.before.control,
                          native.before.status, native.before.valid, load_le16(native.before.st[0] + 8),
                          (unsigned long long)load_le64(native.before.st[0]), load_le16(native.before.st[1] + 8),
                          (unsigned long long)load_le64(native.before.st[1]),
                          (unsigned long long)load_le64(native.memory));
    }
    return bad;
}

static void x87_rows_match_the_host(void **state)
{
    struct random random = {.state = 1};
    struct cpu *cpu = new_cpu();
    unsigned bad = 0, rows_bad = 0;
    if (!native_available())
        skip();
    assert_true(native_open());
    for (unsigned i = 0; i < rows_x87_count; i++) {
        unsigned row_bad = check_row(cpu, &rows_x87[i], &random);
        if (row_bad)
            print_message("%s %s: %u of %u wrong\n", rows_x87[i].encoding, rows_x87[i].mnemonic, row_bad, CASES);
        bad += row_bad;
        rows_bad += row_bad != 0;
    }
    native_close();
    free(cpu);
    print_message("%u rows, %u wrong\n", rows_x87_count, rows_bad);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(x87_rows_match_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
