#include "cpu/support_rows.h"

#include <string.h>

struct cpu_model support_full_model(void)
{
    struct cpu_model model = {.name = "full"};
    memset(model.features, 0xff, sizeof model.features);
    return model;
}

uint64_t support_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint8_t fit_modrm(const struct row_form *form, uint8_t modrm)
{
    if ((form->mask & KEY_REGISTER) && (form->value & KEY_REGISTER))
        modrm |= 0xc0;
    else if ((form->mask & KEY_REGISTER) && modrm >= 0xc0)
        modrm &= 0x3f;
    uint8_t fixed = form->mask & KEY_MODRM;
    return (uint8_t)((modrm & ~fixed) | (form->value & fixed));
}

/// A VEX prefix for the row; two bytes where they do and the filler says so. Returns where the opcode goes.
static unsigned put_vex(const struct row_form *form, const struct support_encoding *how, uint8_t *bytes)
{
    unsigned map = form->map - MAP_VEX_0F + 1u, rex = how->rex & 15u;
    unsigned vvvv = form->vex_register ? (unsigned)(how->filler >> 40) & (how->rex ? 15 : 7) : 0;
    unsigned l = form->mask & KEY_VEX_L ? form->value & KEY_VEX_L : (unsigned)(how->filler >> 44) & 1;
    if (form->mask & KEY_REX_W)
        rex = (rex & 7) | (form->value & KEY_REX_W ? 8 : 0);
    unsigned last = (~vvvv & 15) << 3 | (l ? 4 : 0) | (form->value >> KEY_PREFIX_SHIFT & 3);
    if (map == 1 && !(rex & 11) && (how->filler >> 45 & 1)) {
        bytes[0] = 0xc5;
        bytes[1] = (uint8_t)((~rex & 4) << 5 | last);
        return 2;
    }
    bytes[0] = 0xc4;
    bytes[1] = (uint8_t)((~rex & 7) << 5 | map);
    bytes[2] = (uint8_t)((rex & 8) << 4 | last);
    return 3;
}

unsigned support_encode(const struct row_form *form, const struct support_encoding *how, uint8_t bytes[32])
{
    static const uint8_t mandatory[4] = {0, 0x66, 0xf3, 0xf2};
    uint64_t filler = how->filler;
    for (unsigned i = 0; i < 32; i += 8)
        store_le64(bytes + i, support_random(&filler));
    unsigned at = 0;
    for (unsigned i = 0; i < how->prefix_count; i++)
        bytes[at++] = how->prefixes[i];
    if (map_is_vex(form->map)) {
        at += put_vex(form, how, bytes + at);
        bytes[at++] = form->opcode;
        if (form->modrm) {
            bytes[at] = fit_modrm(form, how->modrm);
            bytes[at + 1] = how->sib;
        }
        return at;
    }
    unsigned prefix = form->value >> KEY_PREFIX_SHIFT & 3;
    if ((form->mask & KEY_PREFIX) == KEY_PREFIX && prefix)
        bytes[at++] = mandatory[prefix];
    uint8_t rex = how->rex;
    if (form->mask & form->value & KEY_REX_W)
        rex |= 0x48;
    if (rex)
        bytes[at++] = rex;
    if (form->map != MAP_ONE_BYTE)
        bytes[at++] = 0x0f;
    if (form->map == MAP_0F38 || form->map == MAP_0F3A)
        bytes[at++] = form->map == MAP_0F38 ? 0x38 : 0x3a;
    bytes[at++] = (uint8_t)(form->opcode | (form->opcode_register ? how->modrm & 7 : 0));
    if (form->modrm) {
        bytes[at] = fit_modrm(form, how->modrm);
        bytes[at + 1] = how->sib;
    }
    return at;
}
