// Port 0x92, the debug ports, isa-debug-exit, and the registers of the DMA controllers.
#include "tests/devices/support_bench.h"

#include "devices/debug_exit.h"
#include "devices/debug_port.h"
#include "devices/dma.h"
#include "devices/port92.h"

static void test_port92(void **unused)
{
    struct chip_bench bench;
    struct port92 *port = chip_new(&bench, &port92_class);
    struct probe a20 = probe_on(&bench), reset = probe_on(&bench);
    wire_connect(&port->a20, probe_set, &a20, 0);
    wire_connect(&port->reset, probe_set, &reset, 0);
    device_reset(port);
    assert_true(a20.level);
    chip_write(port, 0, 0, 0x00);
    assert_false(a20.level);
    chip_write(port, 0, 0, 0x02);
    assert_true(a20.level);
    assert_int_equal(chip_read(port, 0, 0), 0x02);
    chip_write(port, 0, 0, 0x03);
    chip_write(port, 0, 0, 0x03); // only the bit's rise resets
    assert_int_equal(reset.rises, 1);
    device_free(port);
}

static void keep_byte(void *opaque, const uint8_t *bytes, size_t length)
{
    assert_int_equal(length, 1);
    *(uint8_t *)opaque = bytes[0];
}

static void test_debug_port(void **unused)
{
    struct chip_bench bench;
    struct debug_port *port = chip_new(&bench, &debug_port_class);
    uint8_t byte = 0;
    device_reset(port);
    chip_write(port, 0, 0, 'n'); // nobody listens
    port->sink = (struct character_sink){.write = keep_byte, .opaque = &byte};
    for (unsigned region = 0; region < 2; region++) {
        assert_int_equal(chip_read(port, region, 0), 0xE9);
        chip_write(port, region, 0, (uint8_t)('a' + region));
        assert_int_equal(byte, 'a' + region);
    }
    device_free(port);
}

static void keep_code(void *opaque, uint32_t code)
{
    *(uint32_t *)opaque = code;
}

static void test_debug_exit(void **unused)
{
    struct chip_bench bench;
    struct debug_exit *port = chip_new(&bench, &debug_exit_class);
    struct error error = {0};
    uint32_t code = 0;
    assert_int_equal(port->iobase, 0x501);
    assert_int_equal(port->iosize, 2);
    assert_true(property_parse(debug_exit_class.properties, port, "iobase=0xf4,iosize=0x04", &error));
    assert_int_equal(port->iobase, 0xF4);
    assert_false(property_parse(debug_exit_class.properties, port, "iosize=5", &error));
    device_reset(port);
    port->control = (struct machine_control){.debug_exit = keep_code, .opaque = &code};
    debug_exit_class.regions[0].write(port, 0, 0x12345678, 4);
    assert_int_equal(code, 0x12345678);
    device_free(port);
}

static void test_dma(void **unused)
{
    struct chip_bench bench;
    struct dma *dma = chip_new(&bench, &dma_class);
    device_reset(dma);
    for (unsigned i = 0; i < 2; i++) {
        unsigned step = i + 1; // the second controller has a register at each even port
        assert_int_equal(chip_read(dma, i, 15 * step), 0xFF);
        chip_write(dma, i, 12 * step, 0);
        chip_write(dma, i, 2 * step, 0x34);
        chip_write(dma, i, 2 * step, 0x12);
        chip_write(dma, i, 3 * step, 0xFF);
        chip_write(dma, i, 12 * step, 0); // the byte pointer starts anew
        assert_int_equal(chip_read(dma, i, 2 * step), 0x34);
        assert_int_equal(chip_read(dma, i, 2 * step), 0x12);
        assert_int_equal(chip_read(dma, i, 3 * step), 0xFF);
        chip_write(dma, i, 9 * step, 0x06); // software request of channel 2
        assert_int_equal(chip_read(dma, i, 8 * step), 0x40);
        chip_write(dma, i, 10 * step, 0x02);
        assert_int_equal(chip_read(dma, i, 15 * step), 0xFB);
        chip_write(dma, i, 14 * step, 0);
        assert_int_equal(chip_read(dma, i, 15 * step), 0xF0);
        chip_write(dma, i, 13 * step, 0); // master clear masks all
        assert_int_equal(chip_read(dma, i, 15 * step), 0xFF);
        assert_int_equal(chip_read(dma, i, 8 * step), 0x00);
    }
    chip_write(dma, 2, 7, 0xA5);
    assert_int_equal(chip_read(dma, 2, 7), 0xA5);
    device_free(dma);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_port92),
        cmocka_unit_test(test_debug_port),
        cmocka_unit_test(test_debug_exit),
        cmocka_unit_test(test_dma),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
