// A 16550A UART. Transmission takes no time: a byte leaves for the sink as it is written, so the transmitter is
// always empty; the interrupt that tells so still comes and goes as the data sheet has it.
#include "devices/serial.h"

enum serial_register {
    SERIAL_DATA = 0,               // divisor low with DLAB
    SERIAL_INTERRUPT_ENABLE = 1,   // divisor high with DLAB
    SERIAL_INTERRUPT_IDENTITY = 2, // write: FIFO control
    SERIAL_LINE_CONTROL = 3,
    SERIAL_MODEM_CONTROL = 4,
    SERIAL_LINE_STATUS = 5,
    SERIAL_MODEM_STATUS = 6,
    SERIAL_SCRATCH = 7,
};

enum {
    IER_RECEIVE = 1 << 0,
    IER_TRANSMIT = 1 << 1,
    IER_LINE = 1 << 2,
    IER_MODEM = 1 << 3,

    IIR_NONE = 0x01,
    IIR_MODEM = 0x00,
    IIR_TRANSMIT = 0x02,
    IIR_RECEIVE = 0x04,
    IIR_LINE = 0x06,
    IIR_TIMEOUT = 0x0C,
    IIR_FIFO = 0xC0,

    FCR_ENABLE = 1 << 0,
    FCR_CLEAR_RECEIVE = 1 << 1,
    FCR_KEPT = 0xC9, // enable, DMA mode, trigger level

    LCR_DIVISOR = 1 << 7,

    MCR_DTR = 1 << 0,
    MCR_RTS = 1 << 1,
    MCR_OUT1 = 1 << 2,
    MCR_OUT2 = 1 << 3, // in a PC: lets the interrupt out
    MCR_LOOPBACK = 1 << 4,

    LSR_READY = 1 << 0,
    LSR_OVERRUN = 1 << 1,
    LSR_BREAK = 1 << 4,
    LSR_ERRORS = 0x1E,
    LSR_TRANSMITTER_EMPTY = 0x60,
    LSR_FIFO_ERROR = 1 << 7,

    MSR_DELTAS = 0x0F,
    MSR_DELTA_RING = 1 << 2,
    MSR_CTS = 1 << 4,
    MSR_DSR = 1 << 5,
    MSR_RING = 1 << 6,
    MSR_CARRIER = 1 << 7,
};

#define SERIAL_CLOCK_HZ 1843200
#define NS_PER_SECOND UINT64_C(1000000000)

static bool serial_has_fifo(const struct serial *serial)
{
    return serial->fifo_control & FCR_ENABLE;
}

static unsigned serial_trigger(const struct serial *serial)
{
    static const uint8_t levels[4] = {1, 4, 8, 14};
    return serial_has_fifo(serial) ? levels[serial->fifo_control >> 6] : 1;
}

static unsigned serial_capacity(const struct serial *serial)
{
    return serial_has_fifo(serial) ? SERIAL_FIFO_SIZE : 1;
}

/// The interrupt identity of the highest pending source.
static uint8_t serial_interrupt(const struct serial *serial)
{
    uint8_t enable = serial->interrupt_enable;
    if (enable & IER_LINE && serial->line_status & LSR_ERRORS)
        return IIR_LINE;
    if (enable & IER_RECEIVE && serial->fifo_count >= serial_trigger(serial))
        return IIR_RECEIVE;
    if (enable & IER_RECEIVE && serial->timeout_interrupt)
        return IIR_TIMEOUT;
    if (enable & IER_TRANSMIT && serial->transmit_interrupt)
        return IIR_TRANSMIT;
    if (enable & IER_MODEM && serial->modem_status & MSR_DELTAS)
        return IIR_MODEM;
    return IIR_NONE;
}

static void serial_update(struct serial *serial)
{
    bool output = serial_interrupt(serial) != IIR_NONE && serial->modem_control & MCR_OUT2;
    if (output != serial->output) {
        serial->output = output;
        wire_set(&serial->irq, output);
    }
}

/// Four characters' time at the programmed speed: start, data, parity and stop bits.
static uint64_t serial_timeout_ns(const struct serial *serial)
{
    unsigned bits = 7 + (serial->line_control & 3) + (serial->line_control >> 2 & 1) + (serial->line_control >> 3 & 1);
    uint64_t divisor = serial->divisor ? serial->divisor : 1;
    return 4 * bits * 16 * divisor * NS_PER_SECOND / SERIAL_CLOCK_HZ;
}

/// Starts the character timeout anew, or stops it when nothing waits.
static void serial_watch_timeout(struct serial *serial)
{
    if (serial_has_fifo(serial) && serial->fifo_count)
        event_arm(&serial->timeout, clock_now(serial->device.context->clock) + serial_timeout_ns(serial));
    else
        event_cancel(&serial->timeout);
}

static void serial_timeout(void *opaque)
{
    struct serial *serial = opaque;
    if (serial_has_fifo(serial) && serial->fifo_count)
        serial->timeout_interrupt = true;
    serial_update(serial);
}

/// A character with its error bits arrives in the receiver.
static void serial_push(struct serial *serial, uint8_t byte, uint8_t errors)
{
    if (serial->fifo_count >= serial_capacity(serial)) {
        serial->line_status |= LSR_OVERRUN;
        if (serial_has_fifo(serial))
            return; // the FIFO keeps what it has; without one the new byte replaces the old
        serial->fifo_count = 0;
    }
    unsigned slot = (serial->fifo_start + serial->fifo_count) % SERIAL_FIFO_SIZE;
    serial->fifo[slot] = byte;
    serial->fifo_errors[slot] = errors;
    if (serial->fifo_count++ == 0)
        serial->line_status |= errors;
    serial_watch_timeout(serial);
}

static void serial_clear_receiver(struct serial *serial)
{
    serial->fifo_start = 0;
    serial->fifo_count = 0;
    serial->timeout_interrupt = false;
    event_cancel(&serial->timeout);
}

size_t serial_room(const struct serial *serial)
{
    if (serial->modem_control & MCR_LOOPBACK)
        return 0;
    unsigned capacity = serial_capacity(serial);
    return serial->fifo_count < capacity ? capacity - serial->fifo_count : 0;
}

size_t serial_receive(struct serial *serial, const uint8_t *bytes, size_t length)
{
    size_t room = serial_room(serial);
    size_t taken = length < room ? length : room;
    for (size_t i = 0; i < taken; i++)
        serial_push(serial, bytes[i], 0);
    serial_update(serial);
    return taken;
}

void serial_receive_break(struct serial *serial)
{
    if (serial->modem_control & MCR_LOOPBACK)
        return;
    serial_push(serial, 0, LSR_BREAK);
    serial_update(serial);
}

static uint8_t serial_read_data(struct serial *serial)
{
    if (!serial->fifo_count)
        return 0;
    uint8_t byte = serial->fifo[serial->fifo_start];
    serial->fifo_start = (serial->fifo_start + 1) % SERIAL_FIFO_SIZE;
    serial->fifo_count--;
    if (serial->fifo_count)
        serial->line_status |= serial->fifo_errors[serial->fifo_start];
    serial->timeout_interrupt = false;
    serial_watch_timeout(serial);
    return byte;
}

static void serial_transmit(struct serial *serial, uint8_t byte)
{
    if (serial->modem_control & MCR_LOOPBACK)
        serial_push(serial, byte, 0);
    else
        character_sink_write(&serial->sink, &byte, 1);
    serial->transmit_interrupt = true; // it was cleared by the write and is empty again
}

/// What the modem inputs are now: the far end is always ready; looped back they are our own outputs.
static uint8_t serial_modem_inputs(const struct serial *serial)
{
    uint8_t control = serial->modem_control;
    if (!(control & MCR_LOOPBACK))
        return MSR_CTS | MSR_DSR | MSR_CARRIER;
    return (uint8_t)((control & MCR_RTS ? MSR_CTS : 0) | (control & MCR_DTR ? MSR_DSR : 0) |
                     (control & MCR_OUT1 ? MSR_RING : 0) | (control & MCR_OUT2 ? MSR_CARRIER : 0));
}

static void serial_write_modem_control(struct serial *serial, uint8_t value)
{
    serial->modem_control = value & 0x1F;
    uint8_t old = serial->modem_status & 0xF0, inputs = serial_modem_inputs(serial);
    uint8_t deltas = (uint8_t)((old ^ inputs) >> 4);
    if (inputs & MSR_RING) // the ring indicator is noted at its end only
        deltas &= ~MSR_DELTA_RING;
    serial->modem_status = inputs | (serial->modem_status & MSR_DELTAS) | deltas;
}

static void serial_write_fifo_control(struct serial *serial, uint8_t value)
{
    bool toggled = (value ^ serial->fifo_control) & FCR_ENABLE;
    if (toggled || value & FCR_CLEAR_RECEIVE)
        serial_clear_receiver(serial);
    // The other bits are taken only together with the enable bit.
    serial->fifo_control = value & FCR_ENABLE ? value & FCR_KEPT : 0;
}

static uint8_t serial_read_identity(struct serial *serial)
{
    uint8_t identity = serial_interrupt(serial);
    if (identity == IIR_TRANSMIT)
        serial->transmit_interrupt = false;
    return identity | (serial_has_fifo(serial) ? IIR_FIFO : 0);
}

static uint8_t serial_read_line_status(struct serial *serial)
{
    uint8_t status = serial->line_status | LSR_TRANSMITTER_EMPTY | (serial->fifo_count ? LSR_READY : 0);
    if (serial_has_fifo(serial)) {
        for (unsigned i = 0; i < serial->fifo_count; i++) {
            if (serial->fifo_errors[(serial->fifo_start + i) % SERIAL_FIFO_SIZE])
                status |= LSR_FIFO_ERROR;
        }
    }
    serial->line_status = 0;
    return status;
}

static uint64_t serial_read(void *opaque, uint64_t offset, unsigned size)
{
    struct serial *serial = opaque;
    uint8_t value = 0;
    bool divisor = serial->line_control & LCR_DIVISOR;
    switch ((enum serial_register)(offset & 7)) {
    case SERIAL_DATA:
        value = divisor ? (uint8_t)serial->divisor : serial_read_data(serial);
        break;
    case SERIAL_INTERRUPT_ENABLE:
        value = divisor ? (uint8_t)(serial->divisor >> 8) : serial->interrupt_enable;
        break;
    case SERIAL_INTERRUPT_IDENTITY:
        value = serial_read_identity(serial);
        break;
    case SERIAL_LINE_CONTROL:
        value = serial->line_control;
        break;
    case SERIAL_MODEM_CONTROL:
        value = serial->modem_control;
        break;
    case SERIAL_LINE_STATUS:
        value = serial_read_line_status(serial);
        break;
    case SERIAL_MODEM_STATUS:
        value = serial->modem_status;
        serial->modem_status &= ~MSR_DELTAS;
        break;
    case SERIAL_SCRATCH:
        value = serial->scratch;
        break;
    }
    serial_update(serial);
    return value;
}

static void serial_write_interrupt_enable(struct serial *serial, uint8_t value)
{
    // Enabling the transmitter's interrupt while the transmitter is empty raises it (again).
    if (value & ~serial->interrupt_enable & IER_TRANSMIT)
        serial->transmit_interrupt = true;
    serial->interrupt_enable = value & 0x0F;
}

static void serial_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct serial *serial = opaque;
    uint8_t byte = (uint8_t)value;
    bool divisor = serial->line_control & LCR_DIVISOR;
    switch ((enum serial_register)(offset & 7)) {
    case SERIAL_DATA:
        if (divisor)
            serial->divisor = (serial->divisor & 0xFF00) | byte;
        else
            serial_transmit(serial, byte);
        break;
    case SERIAL_INTERRUPT_ENABLE:
        if (divisor)
            serial->divisor = (uint16_t)(byte << 8 | (serial->divisor & 0x00FF));
        else
            serial_write_interrupt_enable(serial, byte);
        break;
    case SERIAL_INTERRUPT_IDENTITY:
        serial_write_fifo_control(serial, byte);
        break;
    case SERIAL_LINE_CONTROL:
        serial->line_control = byte;
        break;
    case SERIAL_MODEM_CONTROL:
        serial_write_modem_control(serial, byte);
        break;
    case SERIAL_LINE_STATUS: // a factory test in the data sheet; read-only for software
    case SERIAL_MODEM_STATUS:
        log_print(serial->device.context->log, LOG_DEVICE, "%s: write of %#x to read-only register %u\n",
                  serial->device.id, byte, (unsigned)offset & 7);
        break;
    case SERIAL_SCRATCH:
        serial->scratch = byte;
        break;
    }
    serial_update(serial);
}

static bool serial_init(void *device, struct error *error)
{
    struct serial *serial = device;
    event_init(&serial->timeout, serial->device.context->clock, serial_timeout, serial);
    return true;
}

static void serial_destroy(void *device)
{
    struct serial *serial = device;
    if (serial->timeout.clock)
        event_cancel(&serial->timeout);
}

static void serial_reset(void *device)
{
    struct serial *serial = device;
    serial_clear_receiver(serial);
    memset(serial->fifo, 0, sizeof serial->fifo);
    memset(serial->fifo_errors, 0, sizeof serial->fifo_errors);
    serial->divisor = 12; // 9600 baud; the data sheet leaves it undefined
    serial->interrupt_enable = 0;
    serial->fifo_control = 0;
    serial->line_control = 0;
    serial->modem_control = 0;
    serial->line_status = 0;
    serial->modem_status = serial_modem_inputs(serial);
    serial->scratch = 0;
    serial->transmit_interrupt = false;
    serial->output = false;
    wire_set(&serial->irq, false);
}

static bool serial_after_load(void *object, struct error *error)
{
    const struct serial *serial = object;
    if (serial->fifo_start >= SERIAL_FIFO_SIZE || serial->fifo_count > SERIAL_FIFO_SIZE)
        return error_set(error, "serial port: impossible receiver state");
    return true;
}

static const struct state_field serial_fields[] = {
    STATE_SKIP(serial, device),
    STATE_SKIP(serial, sink),
    STATE_U(serial, divisor),
    STATE_U(serial, interrupt_enable),
    STATE_U(serial, fifo_control),
    STATE_U(serial, line_control),
    STATE_U(serial, modem_control),
    STATE_U(serial, line_status),
    STATE_U(serial, modem_status),
    STATE_U(serial, scratch),
    STATE_U(serial, transmit_interrupt),
    STATE_U(serial, timeout_interrupt),
    STATE_RAW(serial, fifo),
    STATE_RAW(serial, fifo_errors),
    STATE_U(serial, fifo_start),
    STATE_U(serial, fifo_count),
    STATE_U(serial, output),
    STATE_TIMER(serial, timeout),
    STATE_SKIP(serial, irq),
};
static const struct state_table serial_state = STATE_TABLE("serial", 1, serial, serial_fields, serial_after_load);

static const struct region_ops serial_regions[] = {
    {.read = serial_read, .write = serial_write, .max_size = 1, .name = "serial"},
};
static const uint32_t serial_region_sizes[] = {8};

const struct device_class serial_class = {
    .name = "isa-serial",
    .description = "16550A serial port",
    .size = sizeof(struct serial),
    .state = &serial_state,
    .init = serial_init,
    .reset = serial_reset,
    .destroy = serial_destroy,
    .regions = serial_regions,
    .region_sizes = serial_region_sizes,
    .region_count = ARRAY_SIZE(serial_regions),
};
