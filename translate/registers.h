// Which variable is in which host register while a block is translated. Guest registers have fixed places and stay
// there from block to block; temporaries take the backend's temporary registers, then borrow places of guest registers
// that the block does not use (whose values wait in struct cpu), else they live in memory. Guest registers without a
// place borrow one likewise where they are used much. Knows no host.
#ifndef DOPPEL_TRANSLATE_REGISTERS_H
#define DOPPEL_TRANSLATE_REGISTERS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "cpu/cpu.h"
#include "translate/emit.h"

#define NO_REGISTER 0xffu
#define HOST_REGISTERS 32

/// A backend's registers.
struct register_file {
    uint8_t pin[VAR_R15 + 1]; // of guest registers; NO_REGISTER: in memory
    uint32_t temporary;       // mask of registers for temporaries
    void (*load)(struct emit *e, uint8_t reg, unsigned var);
    void (*store)(struct emit *e, unsigned var, uint8_t reg);
};

struct registers {
    uint32_t free;       // registers that a temporary may take
    uint32_t borrowable; // places of guest registers that the part does not use
    uint32_t lasting;    // places of those that no part uses
    uint32_t borrowed;   // those taken: the guest register's value is in memory
    uint32_t adopted;    // borrowed for guest registers without a place
    uint32_t pinned;     // guest registers that have a place
    uint32_t dirty;      // temporaries that are newer than memory, and adopted guest registers that may be
    uint8_t var[HOST_REGISTERS];
    uint8_t of[VAR_COUNT];
};

/// struct registers without what can be made of the rest, and what stays the same for all of the host code: ways out of
/// line keep many.
struct registers_kept {
    uint32_t free, borrowable, borrowed, adopted, dirty;
    uint8_t var[HOST_REGISTERS];
};

static inline struct registers_kept registers_keep(const struct registers *r)
{
    struct registers_kept kept = {.free = r->free,
                                  .borrowable = r->borrowable,
                                  .borrowed = r->borrowed,
                                  .adopted = r->adopted,
                                  .dirty = r->dirty};
    memcpy(kept.var, r->var, sizeof kept.var);
    return kept;
}
/// As they were then, in the same host code.
void registers_restore(struct registers *r, const struct registers_kept *kept);
bool registers_same(const struct registers *r, const struct registers_kept *kept);

/// all_used: bit per guest register that some part of the host code touches.
void registers_start(struct registers *r, const struct register_file *file, uint32_t all_used);
/// The beginning of a part. guest_used: those that it touches.
void registers_next(struct registers *r, const struct register_file *file, uint32_t guest_used);
/// The register that holds `var`; NO_REGISTER: it is in memory.
static inline uint8_t registers_read(const struct registers *r, unsigned var)
{
    return r->of[var];
}
/// The register for a new value of `var`, which registers_written declares there; NO_REGISTER: it goes to memory.
/// Borrowing stores a register and keeps the host's flags.
uint8_t registers_define(struct registers *r, const struct register_file *file, struct emit *e, unsigned var);
/// Likewise for a temporary that is read for long: not the last of the registers that short-lived ones want.
uint8_t registers_define_lasting(struct registers *r, const struct register_file *file, struct emit *e, unsigned var);
/// A guest register without a place gets one that no part uses, until registers_give_back or registers_settle.
/// `written`: some part changes it. False: there is none. Keeps the host's flags.
bool registers_adopt(struct registers *r, const struct register_file *file, struct emit *e, unsigned var, bool written);
void registers_written(struct registers *r, unsigned var);
/// Temporary `to` gets the register of temporary `from`, which nobody reads any more. False: no such register.
bool registers_inherit(struct registers *r, unsigned from, unsigned to);
/// A temporary that nobody reads any more.
void registers_release(struct registers *r, unsigned var);
/// ... all of them, VAR_ANCHOR and those behind it too.
void registers_release_all(struct registers *r, const struct register_file *file);
/// Temporaries go to memory and borrowed places get their guest registers back; the host's flags are kept.
void registers_settle(struct registers *r, const struct register_file *file, struct emit *e);
/// Temporaries go to memory, and are not in registers any more as far as that is remembered. The host's flags are kept.
void registers_store_temporaries(struct registers *r, const struct register_file *file, struct emit *e);
/// The end of a part that is not the last: only variables from VAR_ANCHOR on are needed any more, and keep registers
/// that no part uses. The host's flags are kept.
void registers_end_part(struct registers *r, const struct register_file *file, struct emit *e);
/// The second half of registers_settle, where temporaries are not needed any more.
void registers_give_back(struct registers *r, const struct register_file *file, struct emit *e);

#endif
