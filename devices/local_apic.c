// Local APIC. See local_apic.h. Sections are of SDM vol. 3.
#include "devices/local_apic.h"

#define LVT_MASKED 0x10000u
#define LVT_LEVEL 0x8000u
#define LVT_REMOTE_IRR 0x4000u
#define LVT_ACTIVE_LOW 0x2000u
#define SVR_ENABLE 0x100u
#define VERSION 0x00050014u // version 0x14, six LVT entries
#define ESR_SEND_VECTOR 0x20u
#define ESR_RECEIVE_VECTOR 0x40u
#define ESR_ILLEGAL_REGISTER 0x80u

enum timer_mode { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_TSC_DEADLINE };

// A guest may ask for a period of a nanosecond; interrupts closer than this merge into one.
#define SHORTEST_PERIOD_NS 5000

static const uint32_t lvt_writable[APIC_LVT_COUNT] = {0x700FF, 0x107FF, 0x107FF, 0x1A7FF, 0x1A7FF, 0x100FF};

static const struct log *log_of(const struct local_apic *apic)
{
    return apic->device.context->log;
}

bool local_apic_enabled(const struct local_apic *apic)
{
    return apic->base & APIC_BASE_ENABLE;
}

static bool x2apic_mode(const struct local_apic *apic)
{
    return (apic->base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == (APIC_BASE_ENABLE | APIC_BASE_X2APIC);
}

static bool software_enabled(const struct local_apic *apic)
{
    return local_apic_enabled(apic) && (apic->spurious & SVR_ENABLE);
}

// ---- priorities (11.8.3)

static bool vector_test(const uint32_t *set, unsigned vector)
{
    return set[vector >> 5] >> (vector & 31) & 1;
}

static void vector_put(uint32_t *set, unsigned vector, bool on)
{
    uint32_t bit = 1u << (vector & 31);
    set[vector >> 5] = on ? set[vector >> 5] | bit : set[vector >> 5] & ~bit;
}

/// The highest vector in the set, or -1.
static int vector_highest(const uint32_t *set)
{
    for (int i = 7; i >= 0; i--)
        if (set[i])
            return i * 32 + 31 - __builtin_clz(set[i]);
    return -1;
}

static uint32_t processor_priority(const struct local_apic *apic)
{
    int service = vector_highest(apic->service);
    uint32_t class = service < 0 ? 0 : (uint32_t)service & 0xF0;
    return (apic->tpr & 0xF0) >= class ? apic->tpr : class;
}

/// The vector that the CPU would get now, or -1.
static int deliverable(const struct local_apic *apic)
{
    if (!software_enabled(apic))
        return -1;
    int vector = vector_highest(apic->request);
    return vector >= 0 && ((uint32_t)vector & 0xF0) > (processor_priority(apic) & 0xF0) ? vector : -1;
}

bool local_apic_external_pending(const struct local_apic *apic)
{
    if (!local_apic_enabled(apic))
        return apic->lint[0];
    if (apic->external_pending)
        return true;
    uint32_t lvt = apic->lvt[APIC_LVT_LINT0];
    return apic->lint[0] && !(lvt & LVT_MASKED) && (lvt >> 8 & 7) == APIC_EXTINT;
}

bool local_apic_pending(const struct local_apic *apic)
{
    return deliverable(apic) >= 0 || local_apic_external_pending(apic);
}

static void update_output(struct local_apic *apic)
{
    bool level = local_apic_pending(apic);
    if (level != apic->output) {
        apic->output = level;
        wire_set(&apic->intr, level);
    }
}

int local_apic_acknowledge(struct local_apic *apic)
{
    int vector = deliverable(apic);
    if (vector >= 0) {
        vector_put(apic->request, (unsigned)vector, false);
        vector_put(apic->service, (unsigned)vector, true);
    } else if (local_apic_external_pending(apic)) {
        apic->external_pending = false;
        vector = LOCAL_APIC_EXTERNAL;
    }
    update_output(apic);
    return vector;
}

// ---- accepting interrupts

static void raise_error(struct local_apic *apic, uint32_t bits);

static void accept_vector(struct local_apic *apic, uint8_t vector, bool level)
{
    if (vector < 16) {
        raise_error(apic, ESR_RECEIVE_VECTOR);
        return;
    }
    vector_put(apic->request, vector, true);
    vector_put(apic->trigger, vector, level);
    update_output(apic);
}

static void raise_error(struct local_apic *apic, uint32_t bits)
{
    apic->error_pending |= bits;
    uint32_t lvt = apic->lvt[APIC_LVT_ERROR];
    // An error vector below 16 would be the next error: no recursion.
    if (!(lvt & LVT_MASKED) && (lvt & 0xFF) >= 16 && software_enabled(apic))
        accept_vector(apic, (uint8_t)lvt, false);
}

/// A local source (timer, LINT pins) with its LVT entry fires.
static void fire_lvt(struct local_apic *apic, enum apic_lvt which)
{
    uint32_t lvt = apic->lvt[which];
    if ((lvt & LVT_MASKED) || !local_apic_enabled(apic))
        return;
    switch (lvt >> 8 & 7) {
    case APIC_FIXED: {
        bool level = which == APIC_LVT_LINT0 && (lvt & LVT_LEVEL);
        if (level)
            apic->lvt[which] |= LVT_REMOTE_IRR;
        accept_vector(apic, (uint8_t)lvt, level);
        break;
    }
    case APIC_SMI:
        wire_pulse(&apic->smi);
        break;
    case APIC_NMI:
        wire_pulse(&apic->nmi);
        break;
    case APIC_INIT:
        wire_pulse(&apic->init);
        break;
    case APIC_EXTINT: // follows the pin's level, see local_apic_external_pending
        break;
    default:
        log_print(log_of(apic), LOG_DEVICE, "%s: reserved delivery mode in LVT entry %d\n", apic->device.id, which);
    }
}

/// A level LINT0 in fixed mode asks again after EOI and after unmasking.
static void retry_level_lint(struct local_apic *apic)
{
    uint32_t lvt = apic->lvt[APIC_LVT_LINT0];
    if (apic->lint[0] && (lvt & LVT_LEVEL) && !(lvt & (LVT_MASKED | LVT_REMOTE_IRR)) && (lvt >> 8 & 7) == APIC_FIXED)
        fire_lvt(apic, APIC_LVT_LINT0);
}

void local_apic_set_lint(void *opaque, unsigned line, bool level)
{
    struct local_apic *apic = opaque;
    if (line > 1)
        return;
    bool rising = level && !apic->lint[line];
    apic->lint[line] = level;
    uint32_t lvt = apic->lvt[APIC_LVT_LINT0 + line];
    if (rising && !((lvt & LVT_REMOTE_IRR) && (lvt & LVT_LEVEL)))
        fire_lvt(apic, line ? APIC_LVT_LINT1 : APIC_LVT_LINT0);
    update_output(apic);
}

bool local_apic_matches(const struct local_apic *apic, const struct apic_message *message)
{
    if (!local_apic_enabled(apic))
        return false;
    uint32_t destination = message->destination;
    if (x2apic_mode(apic)) {
        // Sources outside x2APIC have 8-bit destinations; 0xFF means everybody there too.
        if (destination == 0xFFFFFFFFu || destination == 0xFF)
            return true;
        if (!message->logical)
            return destination == apic->initial_id;
        return destination >> 16 == apic->initial_id >> 4 && (destination >> (apic->initial_id & 15) & 1);
    }
    destination &= 0xFF;
    if (!message->logical)
        return destination == 0xFF || destination == apic->id;
    uint32_t logical = apic->logical_destination >> 24;
    if (apic->destination_format >> 28 == 0xF)
        return destination & logical;
    if (apic->destination_format >> 28 == 0) // clusters
        return (destination >> 4 == 0xF || destination >> 4 == logical >> 4) && (destination & logical & 15);
    return false;
}

bool local_apic_deliver(struct local_apic *apic, const struct apic_message *message)
{
    if (!local_apic_enabled(apic))
        return false;
    switch (message->delivery) {
    case APIC_FIXED:
    case APIC_LOWEST:
        if (!software_enabled(apic))
            return false;
        accept_vector(apic, message->vector, message->level);
        return message->vector >= 16;
    case APIC_SMI:
        wire_pulse(&apic->smi);
        return true;
    case APIC_NMI:
        wire_pulse(&apic->nmi);
        return true;
    case APIC_INIT:
        wire_pulse(&apic->init);
        return true;
    case APIC_EXTINT:
        apic->external_pending = true;
        update_output(apic);
        return true;
    default:
        return false;
    }
}

static void end_of_interrupt(struct local_apic *apic)
{
    int vector = vector_highest(apic->service);
    if (vector < 0)
        return;
    vector_put(apic->service, (unsigned)vector, false);
    bool level = vector_test(apic->trigger, (unsigned)vector);
    if (level) {
        uint32_t *lint = &apic->lvt[APIC_LVT_LINT0];
        if ((*lint & LVT_REMOTE_IRR) && (*lint & 0xFF) == (uint32_t)vector)
            *lint &= ~LVT_REMOTE_IRR;
        if (apic->end_of_interrupt)
            apic->end_of_interrupt(apic->opaque, (uint8_t)vector);
        retry_level_lint(apic);
    }
    update_output(apic);
}

// ---- interprocessor interrupts (11.6)

static void send_command(struct local_apic *apic)
{
    uint32_t low = apic->command_low;
    struct apic_message message = {
        .destination = x2apic_mode(apic) ? apic->command_high : apic->command_high >> 24,
        .logical = low & 0x800,
        .delivery = low >> 8 & 7,
        .vector = (uint8_t)low,
    };
    bool de_assert = message.delivery == APIC_INIT && (low & 0xC000) == 0x8000;
    if (de_assert)
        return; // INIT level de-assert has no effect on processors since the Pentium 4
    if ((message.delivery == APIC_FIXED || message.delivery == APIC_LOWEST) && message.vector < 16) {
        raise_error(apic, ESR_SEND_VECTOR);
        return;
    }
    unsigned shorthand = low >> 18 & 3;
    bool self = shorthand == 1 || shorthand == 2 || (shorthand == 0 && local_apic_matches(apic, &message));
    // INIT and start-up to oneself are not valid; ExtINT cannot be sent.
    bool to_self = message.delivery != APIC_INIT && message.delivery != APIC_STARTUP && message.delivery != APIC_EXTINT;
    if (self && to_self)
        local_apic_deliver(apic, &message);
    if (shorthand != 1 && apic->send)
        apic->send(apic->opaque, &message, shorthand != 0);
}

// ---- timer (11.5.4)

static enum timer_mode timer_mode(const struct local_apic *apic)
{
    unsigned mode = apic->lvt[APIC_LVT_TIMER] >> 17 & 3;
    return mode == 3 ? TIMER_ONE_SHOT : (enum timer_mode)mode;
}

/// log2 of the divider.
static unsigned divide_shift(const struct local_apic *apic)
{
    unsigned code = (apic->divide & 3) | (apic->divide >> 1 & 4);
    return (code + 1) & 7;
}

static uint64_t period_ns(const struct local_apic *apic)
{
    return (uint64_t)apic->initial_count << divide_shift(apic);
}

static uint32_t current_count(const struct local_apic *apic)
{
    if (timer_mode(apic) == TIMER_TSC_DEADLINE || apic->initial_count == 0)
        return 0;
    uint64_t elapsed = (clock_now(apic->device.context->clock) - apic->timer_start) >> divide_shift(apic);
    if (timer_mode(apic) == TIMER_PERIODIC)
        return apic->initial_count - (uint32_t)(elapsed % apic->initial_count);
    return elapsed >= apic->initial_count ? 0 : apic->initial_count - (uint32_t)elapsed;
}

static void arm_timer(struct local_apic *apic)
{
    uint64_t now = clock_now(apic->device.context->clock), period = period_ns(apic);
    event_cancel(&apic->timer);
    if (!local_apic_enabled(apic) || timer_mode(apic) == TIMER_TSC_DEADLINE || period == 0)
        return;
    if (timer_mode(apic) == TIMER_ONE_SHOT) {
        if (now - apic->timer_start < period)
            event_arm(&apic->timer, apic->timer_start + period);
        return;
    }
    uint64_t ahead = period < SHORTEST_PERIOD_NS ? SHORTEST_PERIOD_NS : 1;
    uint64_t cycles = (now - apic->timer_start + ahead + period - 1) / period;
    event_arm(&apic->timer, apic->timer_start + (cycles ? cycles : 1) * period);
}

static void timer_expired(void *opaque)
{
    struct local_apic *apic = opaque;
    if (timer_mode(apic) == TIMER_TSC_DEADLINE)
        apic->tsc_deadline = 0;
    else if (timer_mode(apic) == TIMER_PERIODIC)
        arm_timer(apic);
    fire_lvt(apic, APIC_LVT_TIMER);
}

static void write_timer_lvt(struct local_apic *apic, uint32_t value)
{
    enum timer_mode before = timer_mode(apic);
    apic->lvt[APIC_LVT_TIMER] = value;
    if (timer_mode(apic) == before)
        return;
    // Going to or from TSC deadline disarms; one-shot and periodic share the count.
    if (before == TIMER_TSC_DEADLINE || timer_mode(apic) == TIMER_TSC_DEADLINE) {
        apic->tsc_deadline = 0;
        apic->initial_count = 0;
    }
    arm_timer(apic);
}

uint64_t local_apic_tsc_deadline(const struct local_apic *apic)
{
    return apic->tsc_deadline;
}

void local_apic_set_tsc_deadline(struct local_apic *apic, uint64_t deadline, uint64_t tsc_now)
{
    if (timer_mode(apic) != TIMER_TSC_DEADLINE || !local_apic_enabled(apic))
        return;
    apic->tsc_deadline = deadline;
    event_cancel(&apic->timer);
    if (deadline == 0)
        return;
    if (deadline <= tsc_now) {
        timer_expired(apic);
        return;
    }
    uint64_t now = clock_now(apic->device.context->clock);
    uint64_t wait = clock_scale(deadline - tsc_now, APIC_TIMER_HZ, apic->tsc_hz);
    // Rounded up: a handler must not see a TSC before its deadline.
    if (wait < CLOCK_NEVER - now - 2)
        event_arm(&apic->timer, now + wait + 1);
}

// ---- registers

static uint32_t read_spurious_or_command(struct local_apic *apic, uint32_t offset)
{
    switch (offset) {
    case 0x0D0:
        if (x2apic_mode(apic))
            return apic->initial_id >> 4 << 16 | 1u << (apic->initial_id & 15);
        return apic->logical_destination;
    case 0x0E0:
        return apic->destination_format;
    case 0x0F0:
        return apic->spurious;
    case 0x280:
        return apic->error_status;
    case 0x300:
        return apic->command_low;
    case 0x310:
        return apic->command_high;
    case 0x380:
        return apic->initial_count;
    case 0x390:
        return current_count(apic);
    case 0x3E0:
        return apic->divide;
    case 0x0B0: // EOI: write only
    case 0x090: // APR: not on processors of this age
    case 0x0C0: // RRD
    case 0x2F0: // CMCI: absent
    case 0x3F0: // self IPI: x2APIC only
        return 0;
    default:
        raise_error(apic, ESR_ILLEGAL_REGISTER);
        log_print(log_of(apic), LOG_DEVICE, "%s: read of register 0x%03x\n", apic->device.id, offset);
        return 0;
    }
}

uint32_t local_apic_read(struct local_apic *apic, uint32_t offset)
{
    unsigned index = offset >> 4 & 7;
    if (offset >= 0x100 && offset < 0x180)
        return apic->service[index];
    if (offset >= 0x180 && offset < 0x200)
        return apic->trigger[index];
    if (offset >= 0x200 && offset < 0x280)
        return apic->request[index];
    if (offset >= 0x320 && offset <= 0x370)
        return apic->lvt[(offset - 0x320) >> 4];
    if (offset == 0x020)
        return x2apic_mode(apic) ? apic->initial_id : apic->id << 24;
    if (offset == 0x030)
        return VERSION;
    if (offset == 0x080)
        return apic->tpr;
    if (offset == 0x0A0)
        return processor_priority(apic);
    return read_spurious_or_command(apic, offset);
}

static void write_spurious(struct local_apic *apic, uint32_t value)
{
    apic->spurious = value & 0x1FF;
    if (!(value & SVR_ENABLE))
        for (unsigned i = 0; i < APIC_LVT_COUNT; i++)
            apic->lvt[i] |= LVT_MASKED;
}

static void write_lvt(struct local_apic *apic, enum apic_lvt which, uint32_t value)
{
    value &= lvt_writable[which];
    if (!(apic->spurious & SVR_ENABLE))
        value |= LVT_MASKED;
    if (which == APIC_LVT_TIMER) {
        write_timer_lvt(apic, value);
        return;
    }
    if (value & LVT_LEVEL)
        value |= apic->lvt[which] & LVT_REMOTE_IRR;
    apic->lvt[which] = value;
    if (which == APIC_LVT_LINT0)
        retry_level_lint(apic);
}

static void write_register(struct local_apic *apic, uint32_t offset, uint32_t value)
{
    switch (offset) {
    case 0x020:
        apic->id = value >> 24;
        break;
    case 0x080:
        apic->tpr = value & 0xFF;
        break;
    case 0x0B0:
        end_of_interrupt(apic);
        break;
    case 0x0D0:
        apic->logical_destination = value & 0xFF000000u;
        break;
    case 0x0E0:
        apic->destination_format = value | 0x0FFFFFFFu;
        break;
    case 0x0F0:
        write_spurious(apic, value);
        break;
    case 0x280: // latches what happened since the last write
        apic->error_status = apic->error_pending;
        apic->error_pending = 0;
        break;
    case 0x300:
        apic->command_low = value & 0x000CCFFFu;
        send_command(apic);
        break;
    case 0x310:
        apic->command_high = x2apic_mode(apic) ? value : value & 0xFF000000u;
        break;
    case 0x380:
        if (timer_mode(apic) == TIMER_TSC_DEADLINE)
            break;
        apic->initial_count = value;
        apic->timer_start = clock_now(apic->device.context->clock);
        arm_timer(apic);
        break;
    case 0x3E0: {
        // The count goes on from where it is, at the new rate.
        uint32_t count = current_count(apic), done = apic->initial_count - count;
        apic->divide = value & 0x0B;
        uint64_t shifted = (uint64_t)done << divide_shift(apic), now = clock_now(apic->device.context->clock);
        // Early after power-on the start would lie before time 0: then the count starts anew.
        apic->timer_start = shifted <= now ? now - shifted : now;
        arm_timer(apic);
        break;
    }
    default:
        log_print(log_of(apic), LOG_DEVICE, "%s: write of 0x%08x to register 0x%03x\n", apic->device.id, value, offset);
        raise_error(apic, ESR_ILLEGAL_REGISTER);
    }
}

void local_apic_write(struct local_apic *apic, uint32_t offset, uint32_t value)
{
    if (offset >= 0x320 && offset <= 0x370)
        write_lvt(apic, (enum apic_lvt)((offset - 0x320) >> 4), value);
    else
        write_register(apic, offset, value);
    update_output(apic);
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    struct local_apic *apic = opaque;
    // In x2APIC mode the page is dead; only the low 4 of each 16 bytes carry a register.
    if (x2apic_mode(apic) || offset >= 0x400 || (offset & 15) + size > 4)
        return x2apic_mode(apic) ? bits_mask(8 * size) : 0;
    return local_apic_read(apic, (uint32_t)offset & ~15u) >> (8 * (offset & 3)) & bits_mask(8 * size);
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct local_apic *apic = opaque;
    if (x2apic_mode(apic) || offset >= 0x400 || (offset & 15) || size != 4) {
        log_print(log_of(apic), LOG_DEVICE, "%s: %u byte write at 0x%03x\n", apic->device.id, size, (unsigned)offset);
        return;
    }
    local_apic_write(apic, (uint32_t)offset, (uint32_t)value);
}

// ---- x2APIC (11.12)

#define X2_READ 1
#define X2_WRITE 2
/// What x2APIC mode allows with the register at xAPIC `offset`.
static unsigned x2apic_access(uint32_t offset)
{
    if (offset >= 0x100 && offset < 0x280)
        return X2_READ;
    if (offset >= 0x320 && offset <= 0x370)
        return X2_READ | X2_WRITE;
    switch (offset) {
    case 0x020:
    case 0x030:
    case 0x0A0:
    case 0x0D0:
    case 0x390:
        return X2_READ;
    case 0x080:
    case 0x0F0:
    case 0x280:
    case 0x300:
    case 0x380:
    case 0x3E0:
        return X2_READ | X2_WRITE;
    case 0x0B0:
    case 0x3F0:
        return X2_WRITE;
    default:
        return 0;
    }
}

/// Bits that must be zero when written (#GP else).
static uint64_t x2apic_reserved(uint32_t offset)
{
    switch (offset) {
    case 0x080:
    case 0x3F0:
        return ~UINT64_C(0xFF);
    case 0x0B0:
    case 0x280:
        return ~UINT64_C(0);
    case 0x0F0:
        return ~UINT64_C(0x1FF);
    case 0x300:
        return UINT64_C(0xFFF33000);
    case 0x3E0:
        return ~UINT64_C(0x0B);
    default:
        break;
    }
    if (offset >= 0x320 && offset <= 0x370) // read-only bits may be written with anything
        return ~(uint64_t)(lvt_writable[(offset - 0x320) >> 4] | 0x5000);
    return UINT64_C(0xFFFFFFFF00000000);
}

bool local_apic_x2apic_read(struct local_apic *apic, uint32_t msr, uint64_t *value)
{
    uint32_t offset = (msr & 0xFF) << 4;
    if (!x2apic_mode(apic) || msr < 0x800 || msr > 0x8FF || !(x2apic_access(offset) & X2_READ))
        return false;
    *value = local_apic_read(apic, offset);
    if (offset == 0x300)
        *value |= (uint64_t)apic->command_high << 32;
    return true;
}

bool local_apic_x2apic_write(struct local_apic *apic, uint32_t msr, uint64_t value)
{
    uint32_t offset = (msr & 0xFF) << 4;
    if (!x2apic_mode(apic) || msr < 0x800 || msr > 0x8FF || !(x2apic_access(offset) & X2_WRITE) ||
        (value & x2apic_reserved(offset)))
        return false;
    if (offset == 0x3F0) {
        if (value < 16)
            raise_error(apic, ESR_SEND_VECTOR);
        else if (software_enabled(apic))
            accept_vector(apic, (uint8_t)value, false);
        return true;
    }
    if (offset == 0x300)
        apic->command_high = (uint32_t)(value >> 32);
    local_apic_write(apic, offset, (uint32_t)value);
    return true;
}

// ---- base, reset

static void reset_registers(struct local_apic *apic)
{
    event_cancel(&apic->timer);
    apic->id = apic->initial_id & 0xFF;
    apic->tpr = 0;
    apic->logical_destination = 0;
    apic->destination_format = 0xFFFFFFFFu;
    apic->spurious = 0xFF;
    apic->error_pending = apic->error_status = 0;
    apic->command_low = apic->command_high = 0;
    for (unsigned i = 0; i < APIC_LVT_COUNT; i++)
        apic->lvt[i] = LVT_MASKED;
    // The boot processor's virtual wire: 8259 interrupts pass from the first instruction on, as old firmware expects.
    if (apic->base & APIC_BASE_BSP)
        apic->lvt[APIC_LVT_LINT0] = APIC_EXTINT << 8;
    memset(apic->request, 0, sizeof apic->request);
    memset(apic->service, 0, sizeof apic->service);
    memset(apic->trigger, 0, sizeof apic->trigger);
    apic->initial_count = 0;
    apic->divide = 0;
    apic->timer_start = 0;
    apic->tsc_deadline = 0;
    apic->external_pending = false;
}

bool local_apic_base_write(struct local_apic *apic, uint64_t value)
{
    uint64_t reserved =
        ~(bits_mask(52) & ~UINT64_C(0xFFF)) & ~(uint64_t)(APIC_BASE_BSP | APIC_BASE_X2APIC | APIC_BASE_ENABLE);
    unsigned from = apic->base >> 10 & 3, to = value >> 10 & 3;
    // 10.12.5: x2APIC cannot be reached from disabled nor left to xAPIC; extended without enable does not exist.
    if ((value & reserved) || to == 1 || (from == 0 && to == 3) || (from == 3 && to == 2))
        return false;
    apic->base = (value & ~(uint64_t)APIC_BASE_BSP) | (apic->base & APIC_BASE_BSP);
    if (from != 0 && to == 0)
        reset_registers(apic);
    if (apic->base_changed)
        apic->base_changed(apic->opaque);
    update_output(apic);
    return true;
}

void local_apic_set_tpr(struct local_apic *apic, uint8_t tpr)
{
    apic->tpr = tpr;
    update_output(apic);
}

static bool init(void *device, struct error *error)
{
    struct local_apic *apic = device;
    event_init(&apic->timer, apic->device.context->clock, timer_expired, apic);
    return true;
}

static void reset(void *device)
{
    struct local_apic *apic = device;
    apic->base = APIC_BASE_DEFAULT | APIC_BASE_ENABLE | (apic->initial_id == 0 ? APIC_BASE_BSP : 0);
    reset_registers(apic);
    apic->lint[0] = apic->lint[1] = false;
    apic->output = false;
    wire_set(&apic->intr, false);
    if (apic->base_changed)
        apic->base_changed(apic->opaque);
}

static void destroy(void *device)
{
    struct local_apic *apic = device;
    event_cancel(&apic->timer);
}

static const struct state_field fields[] = {
    STATE_SKIP(local_apic, device),
    STATE_U(local_apic, base),
    STATE_U(local_apic, id),
    STATE_U(local_apic, tpr),
    STATE_U(local_apic, logical_destination),
    STATE_U(local_apic, destination_format),
    STATE_U(local_apic, spurious),
    STATE_U(local_apic, error_pending),
    STATE_U(local_apic, error_status),
    STATE_U(local_apic, command_low),
    STATE_U(local_apic, command_high),
    STATE_ARRAY(local_apic, lvt),
    STATE_ARRAY(local_apic, request),
    STATE_ARRAY(local_apic, service),
    STATE_ARRAY(local_apic, trigger),
    STATE_U(local_apic, initial_count),
    STATE_U(local_apic, divide),
    STATE_U(local_apic, timer_start),
    STATE_U(local_apic, tsc_deadline),
    STATE_ARRAY(local_apic, lint),
    STATE_U(local_apic, external_pending),
    STATE_U(local_apic, output),
    STATE_TIMER(local_apic, timer),
    STATE_SKIP(local_apic, initial_id),
    STATE_SKIP(local_apic, tsc_hz),
    STATE_SKIP(local_apic, intr),
    STATE_SKIP(local_apic, nmi),
    STATE_SKIP(local_apic, smi),
    STATE_SKIP(local_apic, init),
    STATE_SKIP(local_apic, end_of_interrupt),
    STATE_SKIP(local_apic, send),
    STATE_SKIP(local_apic, opaque),
    STATE_SKIP(local_apic, base_changed),
};

static bool after_load(void *object, struct error *error)
{
    struct local_apic *apic = object;
    if ((apic->base >> 10 & 3) == 1)
        return error_set(error, "local APIC in a mode that does not exist");
    apic->id &= 0xFF;
    apic->tpr &= 0xFF;
    apic->divide &= 0x0B;
    if (apic->timer_start > clock_now(apic->device.context->clock))
        return error_set(error, "local APIC timer started in the future");
    if (apic->base_changed)
        apic->base_changed(apic->opaque);
    return true;
}

static const struct state_table state = STATE_TABLE("local-apic", 1, local_apic, fields, after_load);
static const struct region_ops regions[] = {
    {.read = mmio_read, .write = mmio_write, .max_size = 4, .name = "local-apic"}};
static const uint32_t region_sizes[] = {PAGE_SIZE};

const struct device_class local_apic_class = {
    .name = "apic",
    .description = "local APIC",
    .size = sizeof(struct local_apic),
    .state = &state,
    .init = init,
    .reset = reset,
    .destroy = destroy,
    .regions = regions,
    .region_sizes = region_sizes,
    .region_count = 1,
};
