// The 16550A: interrupts and how they clear, FIFO and timeout, loopback, break.
#include "tests/devices/support_bench.h"

#include "devices/serial.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCRATCH };

struct output {
    uint8_t bytes[64];
    size_t length;
};

static void output_write(void *opaque, const uint8_t *bytes, size_t length)
{
    struct output *output = opaque;
    for (size_t i = 0; i < length && output->length < sizeof output->bytes; i++)
        output->bytes[output->length++] = bytes[i];
}

static struct serial *serial_new(struct chip_bench *bench, struct probe *probe, struct output *output)
{
    struct serial *serial = chip_new(bench, &serial_class);
    *probe = probe_on(bench);
    *output = (struct output){.length = 0};
    serial->sink = (struct character_sink){.write = output_write, .opaque = output};
    wire_connect(&serial->irq, probe_set, probe, 0);
    device_reset(serial);
    chip_write(serial, 0, LCR, 0x83);
    chip_write(serial, 0, DATA, 1); // 115200
    chip_write(serial, 0, IER, 0);
    chip_write(serial, 0, LCR, 0x03);
    chip_write(serial, 0, MCR, 0x0B);
    return serial;
}

static void test_transmit(void **unused)
{
    struct chip_bench bench;
    struct probe irq;
    struct output output;
    struct serial *serial = serial_new(&bench, &irq, &output);
    chip_write(serial, 0, DATA, 'a');
    assert_int_equal(output.length, 1);
    assert_int_equal(chip_read(serial, 0, LSR), 0x60);
    assert_int_equal(chip_read(serial, 0, IIR), 0x01);
    chip_write(serial, 0, IER, 0x02); // enabling with an empty transmitter asks at once
    assert_true(irq.level);
    assert_int_equal(chip_read(serial, 0, IIR), 0x02); // and reading the identity answers it
    assert_false(irq.level);
    assert_int_equal(chip_read(serial, 0, IIR), 0x01);
    chip_write(serial, 0, IER, 0x02); // nothing new
    assert_false(irq.level);
    chip_write(serial, 0, DATA, 'b');
    assert_true(irq.level);
    chip_write(serial, 0, IER, 0x00);
    assert_false(irq.level);
    chip_write(serial, 0, IER, 0x02); // as Linux probes for UARTs that do not ask again
    assert_int_equal(chip_read(serial, 0, IIR), 0x02);
    chip_write(serial, 0, DATA, 'c');
    chip_write(serial, 0, MCR, 0x03); // OUT2 lets the interrupt out of a PC's card
    assert_false(irq.level);
    assert_memory_equal(output.bytes, "abc", 3);
    device_free(serial);
}

static void test_receive(void **unused)
{
    struct chip_bench bench;
    struct probe irq;
    struct output output;
    struct serial *serial = serial_new(&bench, &irq, &output);
    chip_write(serial, 0, IER, 0x05);
    assert_int_equal(serial_receive(serial, (const uint8_t *)"xy", 2), 1); // without FIFO: one
    assert_int_equal(chip_read(serial, 0, IIR), 0x04);
    assert_int_equal(chip_read(serial, 0, LSR), 0x61);
    assert_int_equal(chip_read(serial, 0, DATA), 'x');
    assert_false(irq.level);
    chip_write(serial, 0, IIR, 0x81); // FIFO, trigger at 8
    assert_int_equal(serial_receive(serial, (const uint8_t *)"0123456", 7), 7);
    assert_int_equal(chip_read(serial, 0, IIR), 0xC1);
    clock_step(&bench.clock, 347000); // four characters of 10 bits at 115200 are 347.2 us
    assert_false(irq.level);
    clock_step(&bench.clock, 1000);
    assert_int_equal(chip_read(serial, 0, IIR), 0xCC);
    assert_int_equal(chip_read(serial, 0, DATA), '0'); // a read answers the timeout
    assert_int_equal(chip_read(serial, 0, IIR), 0xC1);
    assert_int_equal(serial_receive(serial, (const uint8_t *)"abcdefghijklmn", 14), 10);
    assert_int_equal(serial_room(serial), 0);
    assert_int_equal(chip_read(serial, 0, IIR), 0xC4);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(chip_read(serial, 0, IIR), 0xC4), chip_read(serial, 0, DATA);
    chip_read(serial, 0, DATA);
    assert_int_equal(chip_read(serial, 0, IIR), 0xC1); // 7 left: below the trigger
    chip_write(serial, 0, IIR, 0x83);
    assert_int_equal(chip_read(serial, 0, LSR), 0x60);
    serial_receive_break(serial);
    assert_int_equal(chip_read(serial, 0, IIR), 0xC6);
    assert_int_equal(chip_read(serial, 0, LSR), 0xF1);
    assert_int_equal(chip_read(serial, 0, LSR) & 0x1E, 0); // read once
    assert_int_equal(chip_read(serial, 0, DATA), 0);
    device_free(serial);
}

static void test_loopback(void **unused)
{
    struct chip_bench bench;
    struct probe irq;
    struct output output;
    struct serial *serial = serial_new(&bench, &irq, &output);
    assert_int_equal(chip_read(serial, 0, MSR) & 0xF0, 0xB0);
    chip_write(serial, 0, MCR, 0x1A);
    assert_int_equal(chip_read(serial, 0, MSR) & 0xF0, 0x90); // as Linux looks for a UART
    assert_int_equal(chip_read(serial, 0, MSR) & 0x0F, 0);    // the changes are told once
    chip_write(serial, 0, DATA, 'z');
    chip_write(serial, 0, DATA, 'w'); // overrun: without FIFO the later byte stays
    assert_int_equal(output.length, 0);
    assert_int_equal(chip_read(serial, 0, LSR) & 0x03, 0x03);
    assert_int_equal(chip_read(serial, 0, DATA), 'w');
    assert_int_equal(serial_receive(serial, (const uint8_t *)"q", 1), 0);
    chip_write(serial, 0, MCR, 0x1E);
    assert_int_equal(chip_read(serial, 0, MSR), 0xD0);
    chip_write(serial, 0, MCR, 0x1A);
    assert_int_equal(chip_read(serial, 0, MSR), 0x94); // the ring's end
    chip_write(serial, 0, SCRATCH, 0xA5);
    assert_int_equal(chip_read(serial, 0, SCRATCH), 0xA5);
    device_free(serial);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transmit),
        cmocka_unit_test(test_receive),
        cmocka_unit_test(test_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
