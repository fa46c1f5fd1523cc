// The local APIC (SDM vol. 3 ch. 11): interrupt priorities, timer, interprocessor interrupts, xAPIC and x2APIC
// faces. It is a device wired to pins; the CPU reaches it by MMIO and through the functions below.
#ifndef DOPPEL_DEVICES_LOCAL_APIC_H
#define DOPPEL_DEVICES_LOCAL_APIC_H

#include "devices/device.h"

#define APIC_BASE_BSP 0x100u
#define APIC_BASE_X2APIC 0x400u
#define APIC_BASE_ENABLE 0x800u
#define APIC_BASE_DEFAULT UINT64_C(0xFEE00000)
#define APIC_TIMER_HZ 1000000000u // before the divider

enum apic_delivery {
    APIC_FIXED = 0,
    APIC_LOWEST = 1,
    APIC_SMI = 2,
    APIC_NMI = 4,
    APIC_INIT = 5,
    APIC_STARTUP = 6,
    APIC_EXTINT = 7,
};

/// What travels between I/O APICs, bus masters (MSI) and local APICs.
struct apic_message {
    uint32_t destination; // xAPIC: 8 bits
    bool logical;
    bool level; // trigger mode
    uint8_t delivery;
    uint8_t vector;
};

enum apic_lvt {
    APIC_LVT_TIMER,
    APIC_LVT_THERMAL,
    APIC_LVT_PERFORMANCE,
    APIC_LVT_LINT0,
    APIC_LVT_LINT1,
    APIC_LVT_ERROR,
    APIC_LVT_COUNT
};

struct local_apic {
    struct device device;
    uint64_t base; // IA32_APIC_BASE
    uint32_t id;   // xAPIC: 8 bits, as written by the guest; x2APIC: initial_id
    uint32_t tpr;
    uint32_t logical_destination; // LDR, bits 31:24
    uint32_t destination_format;  // DFR
    uint32_t spurious;            // SVR
    uint32_t error_pending, error_status;
    uint32_t command_low, command_high; // ICR
    uint32_t lvt[APIC_LVT_COUNT];
    uint32_t request[8], service[8], trigger[8]; // IRR, ISR, TMR
    uint32_t initial_count;
    uint32_t divide;
    uint64_t timer_start;  // guest ns at which initial_count was loaded
    uint64_t tsc_deadline; // 0: disarmed
    bool lint[2];          // input levels
    bool external_pending; // an ExtINT message waits
    bool output;           // level that `intr` was driven to
    struct event timer;
    // Wiring.
    uint32_t initial_id;
    uint64_t tsc_hz;
    struct wire intr;           // level
    struct wire nmi, smi, init; // pulses
    /// Level interrupt `vector` was finished: the I/O APICs look at their lines again. May be NULL.
    void (*end_of_interrupt)(void *opaque, uint8_t vector);
    /// An IPI to others (`all`: a shorthand for everybody but the sender). May be NULL: there are no others.
    void (*send)(void *opaque, const struct apic_message *message, bool all);
    void *opaque;
    /// Called after IA32_APIC_BASE changed: the board moves the register page. May be NULL.
    void (*base_changed)(void *opaque);
};

extern const struct device_class local_apic_class;

/// True when `message` is meant for this APIC.
bool local_apic_matches(const struct local_apic *apic, const struct apic_message *message);
/// Takes a message. False when the APIC cannot take it (disabled).
bool local_apic_deliver(struct local_apic *apic, const struct apic_message *message);
/// Local interrupt inputs (wire_receiver): line 0 LINT0, 1 LINT1.
void local_apic_set_lint(void *opaque, unsigned line, bool level);

bool local_apic_enabled(const struct local_apic *apic);
/// True while LINT0 (or the disabled APIC) passes the 8259's request to the CPU.
bool local_apic_external_pending(const struct local_apic *apic);
/// True while something can be taken at the present priority.
bool local_apic_pending(const struct local_apic *apic);
#define LOCAL_APIC_EXTERNAL (-2)
/// Takes the highest deliverable vector into service. LOCAL_APIC_EXTERNAL: ask the 8259. -1: nothing.
int local_apic_acknowledge(struct local_apic *apic);

/// Registers by xAPIC offset (0x000..0x3F0).
uint32_t local_apic_read(struct local_apic *apic, uint32_t offset);
void local_apic_write(struct local_apic *apic, uint32_t offset, uint32_t value);
/// MSRs 0x800..0x8FF. False: #GP.
bool local_apic_x2apic_read(struct local_apic *apic, uint32_t msr, uint64_t *value);
bool local_apic_x2apic_write(struct local_apic *apic, uint32_t msr, uint64_t value);
bool local_apic_base_write(struct local_apic *apic, uint64_t value);
void local_apic_set_tpr(struct local_apic *apic, uint8_t tpr);
uint64_t local_apic_tsc_deadline(const struct local_apic *apic);
void local_apic_set_tsc_deadline(struct local_apic *apic, uint64_t deadline, uint64_t tsc_now);

#endif
