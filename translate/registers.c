// Register assignment inside a block: fixed places for guest registers, first free for temporaries.
#include "translate/registers.h"

#include <string.h>

void registers_start(struct registers *r, const struct register_file *file, uint32_t guest_used)
{
    memset(r->of, NO_REGISTER, sizeof r->of);
    memset(r->var, VAR_NONE, sizeof r->var);
    r->valid = r->dirty = 0;
    r->free = file->pinned;
    for (unsigned var = VAR_RAX; var <= VAR_R15; var++) {
        uint8_t reg = file->pin[var];
        if (reg == NO_REGISTER || !(guest_used >> var & 1))
            continue;
        r->of[var] = reg;
        r->var[reg] = (uint8_t)var;
        r->free &= ~(1u << reg);
    }
}

uint8_t registers_read(struct registers *r, const struct register_file *file, struct emit *e, unsigned var)
{
    uint8_t reg = r->of[var];
    if (reg == NO_REGISTER || (r->valid >> reg & 1))
        return reg;
    file->load(e, reg, var);
    r->valid |= 1u << reg;
    return reg;
}

uint8_t registers_define(struct registers *r, unsigned var)
{
    unsigned reg;
    if (r->of[var] != NO_REGISTER || var < VAR_TEMP || !r->free)
        return r->of[var];
    reg = (unsigned)__builtin_ctz(r->free);
    r->free &= ~(1u << reg);
    r->valid &= ~(1u << reg);
    r->dirty &= ~(1u << reg);
    r->of[var] = (uint8_t)reg;
    r->var[reg] = (uint8_t)var;
    return (uint8_t)reg;
}

void registers_written(struct registers *r, unsigned var)
{
    uint8_t reg = r->of[var];
    if (reg == NO_REGISTER)
        return;
    r->valid |= 1u << reg;
    r->dirty |= 1u << reg;
}

void registers_release(struct registers *r, unsigned var)
{
    uint8_t reg = r->of[var];
    if (var < VAR_TEMP || reg == NO_REGISTER)
        return;
    r->of[var] = NO_REGISTER;
    r->var[reg] = VAR_NONE;
    r->valid &= ~(1u << reg);
    r->dirty &= ~(1u << reg);
    r->free |= 1u << reg;
}

void registers_store(struct registers *r, const struct register_file *file, struct emit *e)
{
    for (uint32_t left = r->dirty; left; left &= left - 1) {
        unsigned reg = (unsigned)__builtin_ctz(left);
        file->store(e, r->var[reg], (uint8_t)reg);
    }
    r->dirty = 0;
}

void registers_forget(struct registers *r, uint32_t mask)
{
    r->valid &= ~mask;
    r->dirty &= ~mask;
}
