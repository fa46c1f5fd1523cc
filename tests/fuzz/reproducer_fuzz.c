// libFuzzer: reproducer files of arbitrary bytes, and of a good one with bytes changed; what is accepted runs.
#include <stdlib.h>
#include <string.h>

#include "translate/lockstep.h"
#include "translate/reproducer.h"

#define MOST_MEMORY (UINT64_C(16) << 20)
#define MOST_INSTRUCTIONS 200

static const char good_file[] = "doppel reproducer 1\n"
                                "model max\n"
                                "memory 10000\n"
                                "map ram 0 8000 0\n"
                                "map device 8000 1000\n"
                                "map rom 9000 1000 8000\n"
                                "device 12\n"
                                "device-interrupts 3\n"
                                "uncounted 7\n"
                                "interrupt 5 21\n"
                                "run 20\n"
                                "block-length 4\n"
                                "set var[16] 100\n"
                                "set var[23] 0\n"
                                "set cr0 60000010\n"
                                "set x87.control 37f\n"
                                "page 0\n"
                                "+100 e2fe4189c8a300900101c3eb0ef400000000000000000000000000000000aa55\n"
                                "end\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_text(const char *text, size_t size)
{
    struct world_description d;
    struct error error = {0};
    struct world world;
    FILE *file = size ? fmemopen((void *)(uintptr_t)text, size, "r") : NULL;
    if (!file)
        return;
    bool good = reproducer_read(&d, file, &error);
    fclose(file);
    if (!good) {
        if (!error.text[0])
            abort();
        return;
    }
    if (d.memory_size <= MOST_MEMORY && world_create(&world, &d, &engine_interp, NULL, &error)) {
        uint64_t most = d.instructions < MOST_INSTRUCTIONS ? d.instructions : MOST_INSTRUCTIONS;
        // A string instruction counts once: without one there is no run that does not end soon.
        world.cpu->var[VAR_RCX] &= 0xff;
        world.cpu->counting = true; // nor is it one that nothing ends
        world_run_to(&world, d.first + most < d.first ? UINT64_MAX : d.first + most);
        world_destroy(&world);
    }
    world_description_free(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[sizeof good_file];
    try_text((const char *)data, size);
    // Bytes laid over a good file, three at a time: where, and what.
    memcpy(text, good_file, sizeof text);
    for (size_t i = 0; i + 2 < size; i += 3)
        text[(size_t)(data[i] | data[i + 1] << 8) % (sizeof text - 1)] = (char)data[i + 2];
    try_text(text, sizeof text - 1);
    return 0;
}
