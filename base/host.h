// Every host system call outside frontend/. host_linux.c implements it; another host gets another file.
#ifndef DOPPEL_BASE_HOST_H
#define DOPPEL_BASE_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/// A memory file (memfd) of `size` bytes (multiple of 4096), zero-filled, not yet backed by pages.
int host_memory_file_create(const char *name, uint64_t size, struct error *error);
/// Mappings of the file stay valid.
void host_memory_file_close(int file);
/// Maps it read-write (shared) with a guard page on either side; NULL on failure.
void *host_memory_file_map(int file, uint64_t size, struct error *error);
void host_memory_unmap(void *address, uint64_t size);
/// Gives the pages of [offset, +size) back to the host; they read as zero.
void host_memory_file_discard(int file, uint64_t offset, uint64_t size);
/// The first piece of the file at or after `from` that has pages behind it, as [*start, *end); pages that were never
/// touched, not even read, have none. False: there is no more. Where the host cannot tell, the rest of the file.
bool host_memory_file_find(int file, uint64_t from, uint64_t size, uint64_t *start, uint64_t *end);
/// Anonymous zero memory; aborts the process never: NULL on failure.
void *host_memory_reserve(size_t size, struct error *error);
/// Asks for large host pages in reserved memory that will be filled from its start on: fewer faults. Advice only.
void host_memory_prefer_large_pages(void *address, size_t size);
/// Nobody may touch the (host's) page of reserved memory that begins here from now on.
void host_memory_guard(void *page);
void host_memory_release(void *address, size_t size);

/// Code memory mapped twice: written through `write`, run through `exec` (W^X). single: one RWX mapping.
struct host_code_memory {
    uint8_t *write;
    const uint8_t *exec;
    size_t size;
    int file;
};
bool host_code_memory_create(struct host_code_memory *code, size_t size, bool single, struct error *error);
void host_code_memory_free(struct host_code_memory *code);
/// After writing [offset, +size): makes it visible to instruction fetch (a no-op on x86).
void host_code_memory_flush(const struct host_code_memory *code, size_t offset, size_t size);

/// x86-64: the base of this thread's GS segment, which C code does not use here. Elsewhere nothing.
void host_set_gs_base(void *base);

uint64_t host_monotonic_ns(void);
/// The processor's tick counter, which generated code can read too (on x86 the TSC).
uint64_t host_ticks(void);
/// Whether that counts at one speed, always, and alike on all processors, for all that is known.
bool host_ticks_are_steady(void);
/// Seconds since 1970 (UTC).
int64_t host_wall_seconds(void);
uint64_t host_random64(void);

/// Reads a whole file (at most `limit` bytes; a longer one is an error). A NUL that `size` does not count follows
/// the bytes. Caller frees. Errors name the file.
void *host_file_read(const char *path, size_t limit, size_t *size, struct error *error);

#endif
