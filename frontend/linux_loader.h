// Linux kernels in the bzImage format (the kernel's Documentation/arch/x86/boot.rst): checks, direct start at the 32-
// or 64-bit entry, and start through the firmware with an option ROM of our own.
#ifndef DOPPEL_FRONTEND_LINUX_LOADER_H
#define DOPPEL_FRONTEND_LINUX_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct machine;

/// A kernel with what goes with it; read and checked once, loaded at each reset.
struct linux_image {
    char name[256]; // file name for messages
    uint8_t *kernel;
    size_t kernel_size;
    uint8_t *initrd; // NULL: none
    size_t initrd_size;
    char *command_line;

    // From the setup header.
    uint16_t protocol;
    size_t setup_size; // bytes of boot sector and real-mode code; the rest is the protected-mode kernel
    bool entry64;      // has a 64-bit entry point
    uint64_t load_address;
    uint64_t initrd_limit;  // highest address the initrd may occupy
    uint64_t memory_needed; // bytes from 0 that the kernel occupies until it has found its place
};

/// Reads and checks the files; initrd_path may be NULL or empty.
bool linux_image_read(struct linux_image *image, const char *kernel_path, const char *initrd_path,
                      const char *command_line, struct error *error);
/// Takes bytes instead of files (tests); takes ownership of nothing, copies.
bool linux_image_set(struct linux_image *image, const char *name, const void *kernel, size_t kernel_size,
                     const void *initrd, size_t initrd_size, const char *command_line, struct error *error);
void linux_image_free(struct linux_image *image);

/// Whether kernel and initrd fit in a machine with so much RAM; says what is missing. Before anything is built.
bool linux_image_fits(const struct linux_image *image, uint64_t ram_size, struct error *error);
/// Writes everything into guest memory and puts the CPU at the kernel's entry. `opaque` is a struct linux_image: this
/// is a machine's boot function.
bool linux_boot_direct(void *opaque, struct machine *machine, struct error *error);
/// Hands kernel and option ROM to the firmware through fw_cfg. Once, before the machine starts.
bool linux_boot_by_firmware(const struct linux_image *image, struct machine *machine, struct error *error);

#endif
