// How a PC reports x87 errors when CR0.NE is clear: FERR sets a latch that is IRQ 13; port 0xF0 clears it and lets the
// processor go on by IGNNE until FERR falls (PIIX3 data sheet, "coprocessor error register"). Region, 8-bit registers:
//   0: ports 0xF0 and 0xF1 (the 80287's reset, without effect)
#ifndef DOPPEL_DEVICES_FPU_ERROR_H
#define DOPPEL_DEVICES_FPU_ERROR_H

#include "devices/device.h"

struct fpu_error {
    struct device device;
    bool ferr;             // level of the input
    bool irq, ignne;       // levels of the outputs
    struct wire irq_out;   // level: IRQ 13
    struct wire ignne_out; // level: the processor's IGNNE pin
};

extern const struct device_class fpu_error_class;

/// The processor's FERR pin. A rising edge sets the latch; falling, it ends IGNNE.
void fpu_error_set_ferr(void *fpu_error, unsigned line, bool level);

#endif
