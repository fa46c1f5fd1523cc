// Creation, reset and end of a device. Knows no concrete device.
#include "devices/device.h"

#include <stdlib.h>

void *device_new(const struct device_class *class, const char *id, const struct device_context *context,
                 struct error *error)
{
    struct device *device = calloc(1, class->size);
    if (!device) {
        error_set(error, "%s: out of memory for a device of %zu bytes", id, class->size);
        return NULL;
    }
    device->class = class;
    device->context = context;
    device->id = id;
    if (class->properties)
        property_set_defaults(class->properties, device);
    return device;
}

bool device_init(void *device, struct error *error)
{
    const struct device *self = device;
    if (!self->class->init || self->class->init(device, error))
        return true;
    error_prefix(error, "%s", self->id);
    return false;
}

void device_reset(void *device)
{
    const struct device *self = device;
    if (self->class->reset)
        self->class->reset(device);
}

void device_free(void *device)
{
    struct device *self = device;
    if (!self)
        return;
    if (self->class->destroy)
        self->class->destroy(device);
    free(device);
}
