// The latch between FERR, IRQ 13 and IGNNE.
#include "devices/fpu_error.h"

static void drive(struct fpu_error *error, bool irq, bool ignne)
{
    bool irq_changed = irq != error->irq, ignne_changed = ignne != error->ignne;
    error->irq = irq;
    error->ignne = ignne;
    if (irq_changed)
        wire_set(&error->irq_out, irq);
    if (ignne_changed)
        wire_set(&error->ignne_out, ignne);
}

void fpu_error_set_ferr(void *fpu_error, unsigned line, bool level)
{
    struct fpu_error *error = fpu_error;
    bool rises = level && !error->ferr;
    error->ferr = level;
    drive(error, error->irq || rises, error->ignne && level);
}

static uint64_t fpu_error_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0xff;
}

static void fpu_error_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct fpu_error *error = opaque;
    if (offset == 0) // whatever the value
        drive(error, false, error->ferr);
}

static void fpu_error_reset(void *device)
{
    struct fpu_error *error = device;
    error->ferr = false;
    drive(error, false, false);
}

static const struct state_field fpu_error_fields[] = {
    STATE_SKIP(fpu_error, device), STATE_U(fpu_error, ferr),       STATE_U(fpu_error, irq),
    STATE_U(fpu_error, ignne),     STATE_SKIP(fpu_error, irq_out), STATE_SKIP(fpu_error, ignne_out),
};
static const struct state_table fpu_error_state = STATE_TABLE("fpu_error", 1, fpu_error, fpu_error_fields, NULL);

static const struct region_ops fpu_error_regions[] = {
    {.read = fpu_error_read, .write = fpu_error_write, .max_size = 1, .name = "fpu-error"},
};
static const uint32_t fpu_error_region_sizes[] = {2};

const struct device_class fpu_error_class = {
    .name = "fpu-error",
    .description = "x87 error latch: FERR to IRQ 13, port 0xF0",
    .size = sizeof(struct fpu_error),
    .state = &fpu_error_state,
    .reset = fpu_error_reset,
    .regions = fpu_error_regions,
    .region_sizes = fpu_error_region_sizes,
    .region_count = ARRAY_SIZE(fpu_error_regions),
};
