// A whole board over a manual clock, with outputs that tests look at. Also a bare context for single devices.
#ifndef DOPPEL_TESTS_SUPPORT_BOARD_H
#define DOPPEL_TESTS_SUPPORT_BOARD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "devices/pc.h"

struct board {
    struct memory memory;
    struct address_space space, ports;
    struct log log;
    struct clock clock;
    struct device_context context;
    struct pc_config config;
    struct pc *pc;
    // What the outputs did.
    bool intr, a20;
    unsigned nmi, smi, init;
    unsigned power_offs, resets, exits;
    uint32_t exit_code;
    char console[256];
    size_t console_length;
};

/// Address spaces and clock only.
void board_setup_bare(struct board *board, uint64_t memory_size);
/// A PC with `ram_size` bytes and, if given, firmware.
void board_setup(struct board *board, uint64_t ram_size, const uint8_t *firmware, size_t firmware_size);
void board_teardown(struct board *board);

/// Remembers what a wire carried.
struct probe {
    bool level;
    unsigned edges; // rising
};
void probe_connect(struct wire *wire, struct probe *probe);

uint8_t in8(struct board *board, uint16_t port);
uint32_t in32(struct board *board, uint16_t port);
void out8(struct board *board, uint16_t port, uint8_t value);
void out16(struct board *board, uint16_t port, uint16_t value);
void out32(struct board *board, uint16_t port, uint32_t value);
uint32_t pci_read(struct board *board, unsigned slot, unsigned function, unsigned offset);
void pci_write8(struct board *board, unsigned slot, unsigned function, unsigned offset, uint8_t value);
void pci_write32(struct board *board, unsigned slot, unsigned function, unsigned offset, uint32_t value);
uint32_t mem32(struct board *board, uint64_t address);
void set_mem32(struct board *board, uint64_t address, uint32_t value);

/// A small generator; the same numbers in every run.
uint64_t random_next(uint64_t *state);

#endif
