// The option ROM that starts a Linux kernel under firmware (linuxboot_rom.S).
#ifndef DOPPEL_FRONTEND_LINUXBOOT_ROM_H
#define DOPPEL_FRONTEND_LINUXBOOT_ROM_H

#include <stddef.h>
#include <stdint.h>

extern const uint8_t linuxboot_rom[];
extern const size_t linuxboot_rom_size;

#endif
