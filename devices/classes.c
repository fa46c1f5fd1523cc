// The list of all device classes, for help and for the contract suite.
#include "devices/debug_exit.h"
#include "devices/debug_port.h"
#include "devices/dma.h"
#include "devices/fpu_error.h"
#include "devices/fw_cfg.h"
#include "devices/i440fx.h"
#include "devices/i8042.h"
#include "devices/io_apic.h"
#include "devices/local_apic.h"
#include "devices/pci.h"
#include "devices/pic.h"
#include "devices/piix3.h"
#include "devices/piix4_pm.h"
#include "devices/pit.h"
#include "devices/port92.h"
#include "devices/rtc.h"
#include "devices/serial.h"

const struct device_class *const device_classes[] = {
    &pic_class,      &pit_class,        &rtc_class,        &serial_class,  &i8042_class,     &port92_class,
    &dma_class,      &debug_port_class, &debug_exit_class, &pci_bus_class, &i440fx_class,    &piix3_class,
    &piix4_pm_class, &local_apic_class, &io_apic_class,    &fw_cfg_class,  &fpu_error_class,
};
const unsigned device_class_count = ARRAY_SIZE(device_classes);
