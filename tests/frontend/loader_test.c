// The bzImage loader against made-up and damaged images, and what it leaves in memory and CPU.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "frontend/linux_loader.h"
#include "frontend/machine.h"

#define SETUP 1024
#define KERNEL 4096

/// A small but correct 64-bit image.
static void make_kernel(uint8_t *file)
{
    memset(file, 0, SETUP + KERNEL);
    file[0x1f1] = SETUP / 512 - 1;
    store_le32(file + 0x1f4, KERNEL / 16);
    store_le16(file + 0x1fe, 0xaa55);
    store_le16(file + 0x200, 0x66eb);
    memcpy(file + 0x202, "HdrS", 4);
    store_le16(file + 0x206, 0x20f);
    file[0x211] = 1;
    store_le32(file + 0x22c, 0x7fffffff);
    file[0x234] = 1;
    store_le16(file + 0x236, 1);
    store_le32(file + 0x238, 2047);
    store_le32(file + 0x248, 0x100);
    store_le32(file + 0x24c, 0x200);
    store_le64(file + 0x258, 0x1000000);
    store_le32(file + 0x260, 0x800000);
    for (unsigned i = 0; i < KERNEL; i++)
        file[SETUP + i] = (uint8_t)(i * 7);
}

static bool set_image(struct linux_image *image, const uint8_t *file, size_t size, struct error *error)
{
    *error = (struct error){0};
    return linux_image_set(image, "k", file, size, "initrd", 6, "console=ttyS0", error);
}

static void refused(const uint8_t *file, size_t size, const char *reason)
{
    struct linux_image image;
    struct error error;
    if (set_image(&image, file, size, &error))
        fail_msg("accepted, should have been refused: %s", reason);
    if (!strstr(error.text, reason))
        fail_msg("'%s' does not name '%s'", error.text, reason);
}

static void header_checks(void **state)
{
    uint8_t file[SETUP + KERNEL];
    struct linux_image image;
    struct error error;
    make_kernel(file);
    assert_true(set_image(&image, file, sizeof file, &error));
    assert_true(image.entry64);
    assert_int_equal(image.setup_size, SETUP);
    assert_int_equal(image.memory_needed, 0x1800000);
    linux_image_free(&image);
    refused(file, 0, "not a Linux kernel");
    refused(file, 600, "not a Linux kernel");
    refused(file, sizeof file - 16, "truncated");
    refused(file, SETUP, "truncated");
    store_le16(file + 0x206, 0x205);
    refused(file, sizeof file, "2.05");
    make_kernel(file);
    file[0x202] ^= 1;
    refused(file, sizeof file, "not a Linux kernel");
    make_kernel(file);
    file[0x211] = 0;
    refused(file, sizeof file, "zImage");
    make_kernel(file);
    store_le32(file + 0x24c, KERNEL);
    refused(file, sizeof file, "payload");
    make_kernel(file);
    store_le32(file + 0x248, 0xffffffff);
    refused(file, sizeof file, "payload");
    make_kernel(file);
    store_le64(file + 0x258, UINT64_MAX);
    refused(file, sizeof file, "preferred address");
    make_kernel(file);
    store_le32(file + 0x22c, 0);
    refused(file, sizeof file, "initrd address");
    make_kernel(file);
    store_le32(file + 0x238, 5);
    refused(file, sizeof file, "command line");
    make_kernel(file);
    file[0x1f1] = 255;
    refused(file, sizeof file, "truncated");
}

/// No damage of the header crashes the checks or the loader: every byte, several values.
static void any_damage(void **state)
{
    uint8_t file[SETUP + KERNEL];
    for (unsigned at = 0x1f1; at < 0x268; at++) {
        for (unsigned value = 0; value < 256; value += 51) {
            struct linux_image image;
            struct error error;
            make_kernel(file);
            file[at] = (uint8_t)value;
            if (!set_image(&image, file, sizeof file, &error)) {
                assert_true(error.text[0]);
                continue;
            }
            error.text[0] = 0;
            if (!linux_image_fits(&image, UINT64_C(128) << 20, &error))
                assert_true(error.text[0]);
            linux_image_free(&image);
        }
    }
}

static void must_fit(void **state)
{
    uint8_t file[SETUP + KERNEL];
    struct linux_image image;
    struct error error = {0};
    uint8_t *initrd = calloc(1, 8 << 20);
    make_kernel(file);
    assert_true(linux_image_set(&image, "k", file, sizeof file, initrd, 8 << 20, NULL, &error));
    assert_true(linux_image_fits(&image, 64 << 20, &error));
    assert_false(linux_image_fits(&image, 32 << 20, &error)); // 24 MiB of kernel, 8 of initrd, and the tables
    assert_non_null(strstr(error.text, "initrd"));
    error.text[0] = 0;
    assert_false(linux_image_fits(&image, 16 << 20, &error));
    assert_non_null(strstr(error.text, "kernel k needs"));
    linux_image_free(&image);
    store_le32(file + 0x22c, 0x1ffffff); // an initrd above 32 MiB is out of this kernel's reach
    error.text[0] = 0;
    assert_true(linux_image_set(&image, "k", file, sizeof file, initrd, 8 << 20, NULL, &error));
    assert_true(linux_image_fits(&image, 512 << 20, &error));
    linux_image_free(&image);
    store_le32(file + 0x22c, 0x1fff000 - 1);
    assert_true(linux_image_set(&image, "k", file, sizeof file, initrd, 8 << 20, NULL, &error));
    assert_false(linux_image_fits(&image, 512 << 20, &error));
    linux_image_free(&image);
    free(initrd);
}

static uint64_t peek(struct machine *machine, uint64_t address, unsigned size)
{
    return address_space_read(&machine->memory_space, address, size);
}

static void direct_boot_state(void **state)
{
    uint8_t file[SETUP + KERNEL];
    struct linux_image image;
    struct error error = {0};
    struct machine_config config = {.ram_size = 64 << 20, .engine = &engine_interp, .counting = true};
    make_kernel(file);
    assert_true(model_parse("max", &config.model, &error));
    assert_true(set_image(&image, file, sizeof file, &error));
    struct machine *machine = machine_create(&config, &error);
    if (!machine)
        fail_msg("%s", error.text);
    if (!linux_boot_direct(&image, machine, &error))
        fail_msg("%s", error.text);
    const struct cpu *cpu = machine->cpu;
    uint64_t params = cpu->var[VAR_RSI];
    assert_int_equal(cpu->var[VAR_RIP], 0x100200);
    assert_int_equal(cpu->mode & MODE_CODE_MASK, MODE_CODE64);
    assert_int_equal(cpu->cpl, 0);
    assert_int_equal(peek(machine, 0x100000 + 5, 1), 5 * 7);
    assert_int_equal(peek(machine, params + 0x1fe, 2), 0xaa55);
    assert_int_equal(peek(machine, params + 0x210, 1), 0xff);
    assert_int_equal(peek(machine, params + 0x21c, 4), 6);
    uint64_t initrd = peek(machine, params + 0x218, 4), line = peek(machine, params + 0x228, 4);
    assert_int_equal(initrd & 4095, 0);
    assert_true(initrd >= image.memory_needed && initrd < 64 << 20);
    assert_int_equal(peek(machine, initrd, 4), load_le32("init"));
    assert_int_equal(peek(machine, line, 8), load_le64("console="));
    assert_int_equal(peek(machine, line + 13, 1), 0);
    assert_int_equal(peek(machine, peek(machine, params + 0x70, 8), 8), load_le64("RSD PTR "));
    unsigned entries = (unsigned)peek(machine, params + 0x1e8, 1);
    assert_true(entries >= 2);
    // What the kernel and the loader's own structures need is mapped one to one.
    static const uint64_t linear[] = {0x8000, 0x10000, 0x100200, 0xfee00000, 0xffffffff};
    for (unsigned i = 0; i < sizeof linear / sizeof linear[0]; i++) {
        uint64_t physical = 0;
        assert_true(mmu_debug_translate(&machine->cpu->mmu, linear[i], &physical));
        assert_int_equal(physical, linear[i]);
    }
    // A 64-bit kernel on a CPU without long mode is refused with a reason.
    machine->config.model.features[FEATURE_LM / 64] &= ~BIT(FEATURE_LM % 64);
    assert_false(linux_boot_direct(&image, machine, &error));
    assert_non_null(strstr(error.text, "long mode"));
    machine_destroy(machine);
    linux_image_free(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_checks),
        cmocka_unit_test(any_damage),
        cmocka_unit_test(must_fit),
        cmocka_unit_test(direct_boot_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
