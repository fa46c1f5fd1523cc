// The pair of 8259A interrupt controllers of an AT, with the ELCR of PCI chipsets. Regions, all of 8-bit registers:
//   0: ports 0x20-0x21 (master)   1: ports 0xA0-0xA1 (slave)   2: ports 0x4D0-0x4D1 (ELCR)
#ifndef DOPPEL_DEVICES_PIC_H
#define DOPPEL_DEVICES_PIC_H

#include "devices/device.h"

/// One 8259A. A slave's output is input 2 of the master.
struct pic_chip {
    uint8_t request;       // IRR: edges latched and levels present
    uint8_t mask;          // IMR
    uint8_t service;       // ISR
    uint8_t lines;         // levels at the inputs
    uint8_t elcr;          // 1: level triggered
    uint8_t vector_base;   // ICW2, bits 7:3
    uint8_t wiring;        // ICW3
    uint8_t lowest;        // input of lowest priority, 7 after ICW1
    uint8_t expected_icw;  // 0: none, 2..4: the ICW that the odd port takes next
    bool level_mode;       // ICW1.LTIM: all inputs level triggered
    bool single;           // ICW1.SNGL
    bool needs_icw4;       // ICW1.IC4
    bool automatic_eoi;    // ICW4.AEOI
    bool fully_nested;     // ICW4.SFNM
    bool rotate_automatic; // rotate in automatic EOI mode
    bool special_mask;     // OCW3.SMM
    bool read_service;     // OCW3: the even port reads ISR, else IRR
    bool poll;             // OCW3.P: the next read is a poll
};

struct pic_pair {
    struct device device;
    struct pic_chip chips[2]; // master, slave
    bool output;              // level that `intr` was driven to
    struct wire intr;         // level: the CPU's INTR (or the local APIC's LINT0)
};

extern const struct device_class pic_class;

/// wire_receiver; line 0..15 as IRQ numbers (line 2, the cascade, is ignored).
void pic_set_irq(void *pic, unsigned line, bool level);
/// Two INTA cycles: the vector. When no request is there any more it is the spurious vector (IRQ 7 or 15).
int pic_acknowledge(struct pic_pair *pic);
/// Level of the INT output.
bool pic_output(const struct pic_pair *pic);
/// Writes both interrupt mask registers (direct boot: 0xFF, 0xFF).
void pic_set_masks(struct pic_pair *pic, uint8_t master, uint8_t slave);

#endif
