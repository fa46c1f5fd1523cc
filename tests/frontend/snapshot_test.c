// Snapshots: round trip, equal hashes, and that no damaged, truncated or misfit file is ever loaded.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/host.h"
#include "frontend/checksum.h"
#include "frontend/snapshot.h"
#include "support_machine.h"

#define RAM (UINT64_C(8) << 20)

static char path[64];

static void save(struct machine *machine)
{
    struct error error = {0};
    if (!snapshot_save(machine, path, &error))
        fail_msg("%s", error.text);
}

static void write_file(const uint8_t *bytes, size_t length)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    fclose(file);
}

static void refused(struct machine *machine, const char *reason)
{
    struct error error = {0};
    uint64_t before = snapshot_hash(machine);
    if (snapshot_load(machine, path, &error))
        fail_msg("loaded, should have been refused: %s", reason);
    if (!strstr(error.text, reason))
        fail_msg("'%s' does not name '%s'", error.text, reason);
    assert_int_equal(snapshot_hash(machine), before);
}

static void goes_on_as_uninterrupted(void **state)
{
    struct error error = {0};
    struct machine *first = support_machine_create(RAM, true);
    assert_int_equal(support_machine_run_to(first, 5003), EXIT_POWER_OFF);
    assert_int_equal(machine_count(first), 5003);
    save(first);
    uint64_t at_save = snapshot_hash(first);
    support_machine_run_to(first, 20011);
    uint64_t at_end = snapshot_hash(first);
    assert_int_not_equal(at_save, at_end);
    assert_true(address_space_read(&first->memory_space, SUPPORT_COUNTER, 2) > 1000);
    machine_destroy(first);

    struct machine *second = support_machine_create(RAM, true);
    if (!snapshot_load(second, path, &error))
        fail_msg("%s", error.text);
    assert_int_equal(snapshot_hash(second), at_save);
    assert_int_equal(machine_count(second), 5003);
    support_machine_run_to(second, 20011);
    assert_int_equal(snapshot_hash(second), at_end);
    // Back in time, in the same machine: what was written and translated since is forgotten.
    if (!snapshot_load(second, path, &error))
        fail_msg("%s", error.text);
    assert_int_equal(snapshot_hash(second), at_save);
    support_machine_run_to(second, 20011);
    assert_int_equal(snapshot_hash(second), at_end);
    machine_destroy(second);
}

static void hash_sees_everything(void **state)
{
    struct machine *machine = support_machine_create(RAM, true);
    uint64_t hash = snapshot_hash(machine);
    assert_int_equal(snapshot_hash(machine), hash);
    address_space_write(&machine->memory_space, RAM - 1, 1, 1);
    assert_int_not_equal(snapshot_hash(machine), hash);
    address_space_write(&machine->memory_space, RAM - 1, 0, 1);
    assert_int_equal(snapshot_hash(machine), hash); // a page that was touched and is zero again is no difference
    machine->cpu->var[VAR_R9] ^= 1;
    assert_int_not_equal(snapshot_hash(machine), hash);
    machine->cpu->var[VAR_R9] ^= 1;
    address_space_write(&machine->port_space, 0x3ff, 0x5a, 1); // the serial port's scratch register
    assert_int_not_equal(snapshot_hash(machine), hash);
    machine_destroy(machine);
}

static void damaged_files(void **state)
{
    struct machine *machine = support_machine_create(RAM, true);
    struct error error = {0};
    support_machine_run_to(machine, 1000);
    save(machine);
    size_t length;
    uint8_t *file = host_file_read(path, 64 << 20, &length, &error);
    assert_non_null(file);
    support_machine_run_to(machine, 2000);
    // One bit anywhere: header and sections closely, pages now and then, the checksum itself.
    for (size_t at = 0; at < length; at += at < 160 ? 1 : at < 20000 ? 97 : 9973) {
        file[at] ^= 0x10;
        write_file(file, length);
        refused(machine, "snapshot");
        file[at] ^= 0x10;
    }
    file[length - 1] ^= 1;
    write_file(file, length);
    refused(machine, "checksum");
    file[length - 1] ^= 1;
    for (size_t cut = 0; cut < length; cut += cut < 160 ? 7 : 8111) {
        write_file(file, cut);
        refused(machine, cut < 16 ? "not a snapshot" : "truncated");
    }
    write_file(file, length - 1);
    refused(machine, "truncated");
    uint8_t *longer = calloc(1, length + 1);
    memcpy(longer, file, length);
    write_file(longer, length + 1);
    refused(machine, "damaged");
    write_file((const uint8_t *)"Just some text, longer than the magic number", 44);
    refused(machine, "not a snapshot");
    unlink(path);
    refused(machine, "cannot open");
    // After all that the good file still loads.
    write_file(file, length);
    assert_true(snapshot_load(machine, path, &error));
    assert_int_equal(machine_count(machine), 1000);
    free(longer);
    free(file);
    machine_destroy(machine);
}

/// A file whose outer checksum is right and whose sections are damaged is still refused as a whole.
static void forged_files(void **state)
{
    struct machine *machine = support_machine_create(RAM, true);
    struct error error = {0};
    save(machine);
    size_t length;
    uint8_t *file = host_file_read(path, 64 << 20, &length, &error);
    assert_non_null(file);
    support_machine_run_to(machine, 500);
    unsigned loaded = 0, refusals = 0;
    size_t sections = load_le64(file + 104);
    for (size_t at = 128; at < 128 + sections; at += 3) {
        struct checksum sum;
        file[at] ^= 1;
        checksum_init(&sum);
        checksum_add(&sum, file, length - 8);
        store_le64(file + length - 8, checksum_finish(&sum));
        write_file(file, length);
        struct error reason = {0};
        uint64_t before = snapshot_hash(machine);
        if (snapshot_load(machine, path, &reason)) {
            loaded++;
            support_machine_run_to(machine, machine_count(machine) + 50);
        } else {
            refusals++;
            assert_true(reason.text[0]);
            assert_int_equal(snapshot_hash(machine), before);
        }
        file[at] ^= 1;
    }
    assert_true(refusals > 1000);
    assert_int_equal(loaded, 0); // each section has a checksum of its own
    free(file);
    machine_destroy(machine);
}

static void misfit_machines(void **state)
{
    struct machine *machine = support_machine_create(RAM, true);
    save(machine);
    machine_destroy(machine);
    machine = support_machine_create(RAM * 2, true);
    refused(machine, "MiB of RAM");
    machine_destroy(machine);
    machine = support_machine_create(RAM, false);
    refused(machine, "-icount");
    machine_destroy(machine);
    machine = support_machine_create(RAM, true);
    machine->config.model.features[0] ^= BIT(FEATURE_SSE2);
    refused(machine, "CPU");
    machine_destroy(machine);
}

static void saving_fails_cleanly(void **state)
{
    struct machine *machine = support_machine_create(RAM, true);
    struct error error = {0};
    assert_false(snapshot_save(machine, "/nonexistent-folder/snapshot", &error));
    assert_non_null(strstr(error.text, "/nonexistent-folder/snapshot"));
    machine_destroy(machine);
}

static void checksums(void **state)
{
    uint8_t bytes[300];
    struct checksum whole, pieces;
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 31);
    checksum_init(&whole);
    checksum_add(&whole, bytes, sizeof bytes);
    for (size_t step = 1; step < sizeof bytes; step += 13) {
        checksum_init(&pieces);
        for (size_t at = 0; at < sizeof bytes; at += step)
            checksum_add(&pieces, bytes + at, at + step < sizeof bytes ? step : sizeof bytes - at);
        assert_int_equal(checksum_finish(&pieces), checksum_finish(&whole));
    }
    for (unsigned bit = 0; bit < sizeof bytes * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        checksum_init(&pieces);
        checksum_add(&pieces, bytes, sizeof bytes);
        assert_int_not_equal(checksum_finish(&pieces), checksum_finish(&whole));
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksums),
        cmocka_unit_test(goes_on_as_uninterrupted),
        cmocka_unit_test(hash_sees_everything),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(forged_files),
        cmocka_unit_test(misfit_machines),
        cmocka_unit_test(saving_fails_cleanly),
    };
    snprintf(path, sizeof path, "/tmp/doppel-snapshot-test-%ld", (long)getpid());
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failures;
}
