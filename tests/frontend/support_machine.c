#include "support_machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const uint8_t program[] = {
    0xfb,                   // sti
    0xff, 0x06, 0x00, 0x20, // again: inc word [0x2000]
    0x01, 0x07,             // add [bx], ax
    0x83, 0xc3, 0x40,       // add bx, 64
    0x40,                   // inc ax
    0xeb, 0xf4,             // jmp again
};

static void no_poll(void *opaque, struct machine *machine, uint64_t timeout_ns)
{
}

struct machine *support_machine_create(uint64_t ram_size, bool counting)
{
    struct machine_config config = {.ram_size = ram_size, .engine = &engine_interp, .counting = counting};
    struct error error = {0};
    config.serial_present[0] = true;
    if (!model_parse("max", &config.model, &error))
        fail_msg("%s", error.text);
    struct machine *machine = machine_create(&config, &error);
    if (!machine)
        fail_msg("%s", error.text);
    machine->poll = no_poll;
    address_space_write_bytes(&machine->memory_space, SUPPORT_PROGRAM, program, sizeof program, false);
    struct cpu *cpu = machine->cpu;
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        cpu->segment[i].selector = 0;
        cpu_set_segment_base(cpu, i, 0);
    }
    cpu->var[VAR_RIP] = SUPPORT_PROGRAM;
    cpu->var[VAR_RSP] = 0x8000;
    cpu->var[VAR_RBX] = 0x3000;
    cpu_update_mode(cpu);
    return machine;
}

int support_machine_run_to(struct machine *machine, uint64_t count)
{
    machine->config.limit = count;
    atomic_store(&machine->exiting, false);
    return machine_run(machine);
}
