// Which variable is in which host register while a block is translated. Guest registers have fixed places (loaded when
// first read, stored at exits); temporaries take registers whose guest register the block does not use, else they
// live in memory. Knows no host.
#ifndef DOPPEL_TRANSLATE_REGISTERS_H
#define DOPPEL_TRANSLATE_REGISTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/cpu.h"
#include "translate/emit_x86_64.h"

#define NO_REGISTER 0xffu
#define HOST_REGISTERS 32

/// A backend's registers.
struct register_file {
    uint8_t pin[VAR_R15 + 1]; // of guest registers; NO_REGISTER: in memory
    uint32_t pinned;          // mask of those
    uint32_t caller_saved;    // ... that C functions do not preserve
    void (*load)(struct emit *e, uint8_t reg, unsigned var);
    void (*store)(struct emit *e, unsigned var, uint8_t reg);
};

struct registers {
    uint32_t valid; // registers that hold their variable
    uint32_t dirty; // ... newer than memory
    uint32_t free;  // registers that a temporary may take
    uint8_t var[HOST_REGISTERS];
    uint8_t of[VAR_COUNT];
};

/// guest_used: bit per guest register that the block touches.
void registers_start(struct registers *r, const struct register_file *file, uint32_t guest_used);
/// The register that holds `var`, loaded if need be (without changing the host's flags); NO_REGISTER: it is in memory.
uint8_t registers_read(struct registers *r, const struct register_file *file, struct emit *e, unsigned var);
/// The register for a new value of `var`, which registers_written declares there; NO_REGISTER: it goes to memory.
uint8_t registers_define(struct registers *r, unsigned var);
void registers_written(struct registers *r, unsigned var);
/// A temporary that nobody reads any more.
void registers_release(struct registers *r, unsigned var);
/// Stores what is newer than memory.
void registers_store(struct registers *r, const struct register_file *file, struct emit *e);
/// The registers in `mask` lose their values (memory has them).
void registers_forget(struct registers *r, uint32_t mask);

#endif
