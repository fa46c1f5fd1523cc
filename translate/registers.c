// Register assignment inside a block: fixed places for guest registers, first free for temporaries.
#include "translate/registers.h"

#include <string.h>

void registers_next(struct registers *r, const struct register_file *file, uint32_t guest_used)
{
    r->borrowable = 0;
    for (uint32_t left = r->pinned & ~guest_used; left; left &= left - 1)
        r->borrowable |= 1u << file->pin[__builtin_ctz(left)];
    r->borrowable &= ~r->borrowed;
}

void registers_start(struct registers *r, const struct register_file *file, uint32_t all_used)
{
    memset(r->of, NO_REGISTER, sizeof r->of);
    memset(r->var, VAR_NONE, sizeof r->var);
    r->free = file->temporary;
    r->borrowed = r->dirty = r->adopted = r->pinned = 0;
    for (unsigned var = VAR_RAX; var <= VAR_R15; var++) {
        uint8_t reg = file->pin[var];
        if (reg == NO_REGISTER)
            continue;
        r->of[var] = reg;
        r->var[reg] = (uint8_t)var;
        r->pinned |= 1u << var;
    }
    registers_next(r, file, all_used);
    r->lasting = r->borrowable;
}

void registers_restore(struct registers *r, const struct registers_kept *kept)
{
    uint32_t other = 0; // registers that hold something else
    for (unsigned reg = 0; reg < HOST_REGISTERS; reg += 8) {
        if (load_le64(&r->var[reg]) == load_le64(&kept->var[reg]))
            continue;
        for (unsigned i = reg; i < reg + 8; i++)
            other |= (uint32_t)(r->var[i] != kept->var[i]) << i;
    }
    for (uint32_t left = other; left; left &= left - 1) {
        unsigned reg = (unsigned)__builtin_ctz(left);
        if (r->var[reg] != VAR_NONE)
            r->of[r->var[reg]] = NO_REGISTER;
        r->var[reg] = kept->var[reg];
    }
    for (uint32_t left = other; left; left &= left - 1) {
        unsigned reg = (unsigned)__builtin_ctz(left);
        if (r->var[reg] != VAR_NONE)
            r->of[r->var[reg]] = (uint8_t)reg;
    }
    r->free = kept->free;
    r->borrowable = kept->borrowable;
    r->borrowed = kept->borrowed;
    r->adopted = kept->adopted;
    r->dirty = kept->dirty;
}

bool registers_same(const struct registers *r, const struct registers_kept *kept)
{
    return r->free == kept->free && r->borrowable == kept->borrowable && r->borrowed == kept->borrowed &&
           r->dirty == kept->dirty && r->adopted == kept->adopted && !memcmp(r->var, kept->var, sizeof r->var);
}

/// Takes the place of a guest register among those of a mask; its value goes to memory.
static void borrow(struct registers *r, const struct register_file *file, struct emit *e, uint32_t mask)
{
    // The highest first: what compilers use least.
    unsigned reg = 31 - (unsigned)__builtin_clz(r->borrowable & mask);
    r->borrowable &= ~(1u << reg);
    r->borrowed |= 1u << reg;
    r->free |= 1u << reg;
    file->store(e, r->var[reg], (uint8_t)reg);
    r->of[r->var[reg]] = NO_REGISTER;
}

/// One of the free registers of a mask, or one that is borrowed for it.
static uint8_t take(struct registers *r, const struct register_file *file, struct emit *e, uint32_t mask, unsigned var)
{
    unsigned reg;
    if (!(r->free & mask) && (r->borrowable & mask))
        borrow(r, file, e, mask);
    if (!(r->free & mask))
        return NO_REGISTER;
    reg = (unsigned)__builtin_ctz(r->free & mask);
    r->free &= ~(1u << reg);
    r->dirty &= ~(1u << reg);
    r->of[var] = (uint8_t)reg;
    r->var[reg] = (uint8_t)var;
    return (uint8_t)reg;
}

uint8_t registers_define(struct registers *r, const struct register_file *file, struct emit *e, unsigned var)
{
    if (r->of[var] != NO_REGISTER || var < VAR_TEMP)
        return r->of[var];
    return take(r, file, e, UINT32_MAX, var);
}

uint8_t registers_define_lasting(struct registers *r, const struct register_file *file, struct emit *e, unsigned var)
{
    if (var >= VAR_ANCHOR)
        return r->of[var] != NO_REGISTER ? r->of[var] : take(r, file, e, r->lasting, var);
    // The last temporary register only where others can be had.
    uint32_t left = r->free & file->temporary;
    return take(r, file, e, r->borrowable || (left & (left - 1)) ? UINT32_MAX : ~file->temporary, var);
}

bool registers_adopt(struct registers *r, const struct register_file *file, struct emit *e, unsigned var, bool written)
{
    uint8_t reg = take(r, file, e, r->lasting, var);
    if (reg == NO_REGISTER)
        return false;
    file->load(e, reg, var);
    r->adopted |= 1u << reg;
    if (written)
        r->dirty |= 1u << reg;
    return true;
}

void registers_written(struct registers *r, unsigned var)
{
    if (var >= VAR_TEMP && r->of[var] != NO_REGISTER)
        r->dirty |= 1u << r->of[var];
}

bool registers_inherit(struct registers *r, unsigned from, unsigned to)
{
    uint8_t reg = r->of[from];
    if (from < VAR_TEMP || to < VAR_TEMP || reg == NO_REGISTER || r->of[to] != NO_REGISTER)
        return false;
    r->of[from] = NO_REGISTER;
    r->of[to] = reg;
    r->var[reg] = (uint8_t)to;
    r->dirty &= ~(1u << reg);
    return true;
}

static void drop(struct registers *r, unsigned reg)
{
    r->of[r->var[reg]] = NO_REGISTER;
    r->var[reg] = VAR_NONE;
    r->dirty &= ~(1u << reg);
    r->adopted &= ~(1u << reg);
    r->free |= 1u << reg;
}

void registers_release(struct registers *r, unsigned var)
{
    if (var >= VAR_TEMP && r->of[var] != NO_REGISTER)
        drop(r, r->of[var]);
}

/// Temporaries before `end` are not needed any more.
static void release_all(struct registers *r, const struct register_file *file, unsigned end)
{
    for (uint32_t left = (file->temporary | r->borrowed) & ~r->free; left; left &= left - 1) {
        unsigned reg = (unsigned)__builtin_ctz(left), var = r->var[reg];
        if (var >= VAR_TEMP && var < end)
            drop(r, reg);
    }
}

void registers_release_all(struct registers *r, const struct register_file *file)
{
    release_all(r, file, VAR_COUNT);
}

/// Borrowed places of a mask get their guest registers back.
static void give_back(struct registers *r, const struct register_file *file, struct emit *e, uint32_t mask)
{
    for (uint32_t left = r->borrowed & mask; left; left &= left - 1) {
        unsigned reg = (unsigned)__builtin_ctz(left), var = VAR_RAX;
        while (file->pin[var] != reg)
            var++;
        if (r->adopted & r->dirty & 1u << reg)
            file->store(e, r->var[reg], (uint8_t)reg);
        if (r->var[reg] != VAR_NONE)
            drop(r, reg);
        r->of[var] = (uint8_t)reg;
        r->var[reg] = (uint8_t)var;
        file->load(e, (uint8_t)reg, var);
    }
    r->free &= ~(r->borrowed & mask);
    r->borrowable |= r->borrowed & mask;
    r->borrowed &= ~mask;
}

void registers_give_back(struct registers *r, const struct register_file *file, struct emit *e)
{
    give_back(r, file, e, UINT32_MAX);
}

void registers_end_part(struct registers *r, const struct register_file *file, struct emit *e)
{
    release_all(r, file, VAR_ANCHOR);
    give_back(r, file, e, ~r->lasting);
}

void registers_store_temporaries(struct registers *r, const struct register_file *file, struct emit *e)
{
    for (uint32_t left = r->dirty & ~r->adopted; left; left &= left - 1) {
        unsigned reg = (unsigned)__builtin_ctz(left);
        file->store(e, r->var[reg], (uint8_t)reg);
        drop(r, reg);
    }
}

void registers_settle(struct registers *r, const struct register_file *file, struct emit *e)
{
    for (uint32_t left = r->dirty; left; left &= left - 1) {
        unsigned reg = (unsigned)__builtin_ctz(left);
        file->store(e, r->var[reg], (uint8_t)reg);
    }
    r->dirty = 0;
    registers_release_all(r, file);
    registers_give_back(r, file, e);
}
