// See perf_map.h. Code memory is used again after it was full, so an address can have several lines: the last counts.
#include "frontend/perf_map.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu/block.h"

struct perf_map {
    FILE *file;
    const struct cpu *cpu;
};

struct perf_map *perf_map_open(const struct cpu *cpu, struct error *error)
{
    char path[64];
    struct perf_map *map = calloc(1, sizeof *map);
    if (!map) {
        error_set(error, "out of memory");
        return NULL;
    }
    snprintf(path, sizeof path, "/tmp/perf-%ld.map", (long)getpid());
    // One of our own that an earlier process with this number left may go; somebody else's stays (the directory is
    // sticky) and makes the exclusive creation fail. A link is never followed.
    unlink(path);
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    map->file = file < 0 ? NULL : fdopen(file, "w");
    map->cpu = cpu;
    if (map->file) {
        setvbuf(map->file, NULL, _IOLBF, 0); // a profiler may look while we run, and we may be killed
        return map;
    }
    error_set(error, "perf=on: cannot create %s: %s", path, strerror(errno));
    if (file >= 0)
        close(file);
    free(map);
    return NULL;
}

void perf_map_add(void *opaque, const struct block *block, const uint8_t *code, size_t straight, size_t size)
{
    struct perf_map *map = opaque;
    fprintf(map->file, "%" PRIxPTR " %zx guest_%s_%016" PRIx64 "\n", (uintptr_t)block_host_code(block), size,
            (block->mode & MODE_CPL_MASK) == 3 ? "user" : "kernel", block_linear(map->cpu));
}

void perf_map_close(struct perf_map *map)
{
    if (!map)
        return;
    fclose(map->file);
    free(map);
}
