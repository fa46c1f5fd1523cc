// Every system call of doppel outside frontend/, for Linux. Knows nothing of guests.
#include "base/host.h"

#ifdef __x86_64__
#include <cpuid.h>
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"

// Larger than any address space that a host gives, small enough that sums with it do not wrap.
#define MEMORY_LIMIT (UINT64_C(1) << 52)

static size_t host_page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

int host_memory_file_create(const char *name, uint64_t size, struct error *error)
{
    if (size == 0 || size % 4096 || size > MEMORY_LIMIT) {
        error_set(error, "cannot make a memory file of %llu bytes: the size must be a multiple of 4096 within reason",
                  (unsigned long long)size);
        return -1;
    }
    int file = memfd_create(name, MFD_CLOEXEC);
    if (file < 0) {
        error_set(error, "cannot make a memory file: %s", strerror(errno));
        return -1;
    }
    if (ftruncate(file, (off_t)size) < 0) {
        error_set(error, "cannot make a memory file of %llu MiB: %s", (unsigned long long)(size >> 20),
                  strerror(errno));
        close(file);
        return -1;
    }
    return file;
}

void host_memory_file_close(int file)
{
    if (file >= 0)
        close(file);
}

void *host_memory_file_map(int file, uint64_t size, struct error *error)
{
    size_t guard = host_page_size();
    if (size == 0 || size > MEMORY_LIMIT) {
        error_set(error, "cannot map %llu bytes of memory", (unsigned long long)size);
        return NULL;
    }
    size_t whole = (size_t)align_up(size, guard);
    uint8_t *area = mmap(NULL, whole + 2 * guard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED) {
        error_set(error, "cannot map %llu MiB of memory: %s", (unsigned long long)(size >> 20), strerror(errno));
        return NULL;
    }
    void *map = mmap(area + guard, whole, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, file, 0);
    if (map == MAP_FAILED) {
        error_set(error, "cannot map %llu MiB of memory: %s", (unsigned long long)(size >> 20), strerror(errno));
        munmap(area, whole + 2 * guard);
        return NULL;
    }
    return map;
}

void host_memory_unmap(void *address, uint64_t size)
{
    if (!address)
        return;
    size_t guard = host_page_size();
    munmap((uint8_t *)address - guard, (size_t)align_up(size, guard) + 2 * guard);
}

bool host_memory_file_find(int file, uint64_t from, uint64_t size, uint64_t *start, uint64_t *end)
{
    off_t data, hole;
    if (from >= size)
        return false;
    data = lseek(file, (off_t)from, SEEK_DATA);
    if (data < 0 && errno == ENXIO)
        return false; // a hole up to the end
    hole = data < 0 ? -1 : lseek(file, data, SEEK_HOLE);
    *start = data < 0 ? from : (uint64_t)data;
    *end = hole < 0 || (uint64_t)hole > size ? size : (uint64_t)hole;
    return *start < size;
}

void host_memory_file_discard(int file, uint64_t offset, uint64_t size)
{
    static const uint8_t zeros[4096];
    if (fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size) == 0)
        return;
    // A host without hole punching keeps the pages, but they must read as zero all the same.
    for (uint64_t done = 0; done < size;) {
        size_t piece = size - done < sizeof zeros ? (size_t)(size - done) : sizeof zeros;
        ssize_t written = pwrite(file, zeros, piece, (off_t)(offset + done));
        if (written <= 0)
            return;
        done += (uint64_t)written;
    }
}

#define LARGE_PAGE ((size_t)2 << 20)

/// What is mapped for so much: whole large pages where it is large enough for one.
static size_t mapped_size(size_t size)
{
    return (size_t)align_up(size, size < LARGE_PAGE ? host_page_size() : LARGE_PAGE);
}

/// Anonymous memory; where it can have large pages it begins with one.
static void *map_anonymous(size_t size)
{
    size_t spare = size < LARGE_PAGE ? 0 : LARGE_PAGE, before;
    uint8_t *area;
    if (size > SIZE_MAX / 2)
        return MAP_FAILED;
    size = mapped_size(size);
    area = mmap(NULL, size + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED || !spare)
        return area;
    before = -(uintptr_t)area % LARGE_PAGE;
    if (before)
        munmap(area, before);
    if (before < spare)
        munmap(area + before + size, spare - before);
    return area + before;
}

void *host_memory_reserve(size_t size, struct error *error)
{
    void *area = MAP_FAILED;
    errno = EINVAL;
    if (size)
        area = map_anonymous(size);
    if (area == MAP_FAILED) {
        error_set(error, "cannot get %zu bytes of memory: %s", size, strerror(errno));
        return NULL;
    }
    return area;
}

void host_memory_prefer_large_pages(void *address, size_t size)
{
    madvise(address, size, MADV_HUGEPAGE);
}

void host_memory_guard(void *page)
{
    mprotect(page, host_page_size(), PROT_NONE);
}

void host_memory_release(void *address, size_t size)
{
    if (address)
        munmap(address, mapped_size(size));
}

bool host_code_memory_create(struct host_code_memory *code, size_t size, bool single, struct error *error)
{
    *code = (struct host_code_memory){.file = -1};
    if (size == 0)
        return error_set(error, "code memory cannot be empty");
    size = (size_t)align_up(size, host_page_size());
    if (single) {
        void *area =
            mmap(NULL, size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (area == MAP_FAILED)
            return error_set(error, "cannot get code memory of %zu bytes: %s", size, strerror(errno));
        *code = (struct host_code_memory){.write = area, .exec = area, .size = size, .file = -1};
        return true;
    }
    int file = host_memory_file_create("doppel-code", size, error);
    if (file < 0)
        return false;
    void *write = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    void *exec = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
    if (write == MAP_FAILED || exec == MAP_FAILED) {
        error_set(error, "cannot map code memory of %zu bytes: %s", size, strerror(errno));
        if (write != MAP_FAILED)
            munmap(write, size);
        if (exec != MAP_FAILED)
            munmap(exec, size);
        close(file);
        return false;
    }
    *code = (struct host_code_memory){.write = write, .exec = exec, .size = size, .file = file};
    return true;
}

void host_code_memory_free(struct host_code_memory *code)
{
    if (code->write)
        munmap(code->write, code->size);
    if (code->exec && code->exec != code->write)
        munmap((void *)(uintptr_t)code->exec, code->size);
    host_memory_file_close(code->file);
    *code = (struct host_code_memory){.file = -1};
}

void host_code_memory_flush(const struct host_code_memory *code, size_t offset, size_t size)
{
    // The data cache is cleaned through the alias that was written, the instruction cache through the other.
    char *write = (char *)code->write + offset;
    __builtin___clear_cache(write, write + size);
    if (code->exec != code->write) {
        char *exec = (char *)(uintptr_t)code->exec + offset;
        __builtin___clear_cache(exec, exec + size);
    }
}

#ifdef __x86_64__
void host_set_gs_base(void *base)
{
    if (getauxval(AT_HWCAP2) & 2) // the kernel lets programs use WRGSBASE
        __asm__ volatile("wrgsbase %0" : : "r"(base));
    else
        syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, base);
}
#else
void host_set_gs_base(void *base)
{
    (void)base;
}
#endif

#ifdef __x86_64__
uint64_t host_ticks(void)
{
    return __builtin_ia32_rdtsc();
}

bool host_ticks_are_steady(void)
{
    unsigned eax, ebx, ecx, edx = 0;
    return __get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) && (edx >> 8 & 1); // invariant TSC
}
#else
uint64_t host_ticks(void)
{
    return 0;
}

bool host_ticks_are_steady(void)
{
    return false;
}
#endif

uint64_t host_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

int64_t host_wall_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec;
}

uint64_t host_random64(void)
{
    uint64_t value;
    if (getrandom(&value, sizeof value, 0) == (ssize_t)sizeof value)
        return value;
    // No entropy source at all: still different from run to run.
    value = host_monotonic_ns() ^ (uint64_t)getpid() << 32;
    return value * UINT64_C(0x9e3779b97f4a7c15);
}

// Reads from an open file until its end or `limit` bytes and one more; NULL with errno on failure.
static uint8_t *host_read_all(int file, size_t hint, size_t limit, size_t *size)
{
    size_t capacity = hint + 1, used = 0;
    uint8_t *data = malloc(capacity + 1);
    while (data) {
        ssize_t got = read(file, data + used, capacity - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            break;
        used += (size_t)got;
        if (got == 0 || used > limit) {
            *size = used;
            data[used] = 0;
            return data;
        }
        if (used < capacity)
            continue;
        capacity *= 2;
        uint8_t *larger = realloc(data, capacity + 1);
        if (!larger)
            break;
        data = larger;
    }
    int saved = errno;
    free(data);
    errno = saved;
    return NULL;
}

void *host_file_read(const char *path, size_t limit, size_t *size, struct error *error)
{
    *size = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (file < 0 || fstat(file, &status) < 0) {
        error_set(error, "cannot read '%s': %s", path, strerror(errno));
        if (file >= 0)
            close(file);
        return NULL;
    }
    uint8_t *data = NULL;
    size_t length = 0;
    if (S_ISDIR(status.st_mode)) {
        error_set(error, "cannot read '%s': it is a directory", path);
    } else if (S_ISREG(status.st_mode) && (uint64_t)status.st_size > limit) {
        error_set(error, "'%s' is too large: %llu bytes where at most %zu fit", path,
                  (unsigned long long)status.st_size, limit);
    } else {
        data = host_read_all(file, S_ISREG(status.st_mode) ? (size_t)status.st_size : 4096, limit, &length);
        if (!data)
            error_set(error, "cannot read '%s': %s", path, strerror(errno));
    }
    close(file);
    if (data && length > limit) {
        error_set(error, "'%s' is too large: more than %zu bytes", path, limit);
        free(data);
        return NULL;
    }
    *size = length;
    return data;
}
