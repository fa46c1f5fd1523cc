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

unsigned support_encode(const struct row_form *form, const struct support_encoding *how, uint8_t bytes[32])
{
    static const uint8_t mandatory[4] = {0, 0x66, 0xf3, 0xf2};
    uint64_t filler = how->filler;
    for (unsigned i = 0; i < 32; i += 8)
        store_le64(bytes + i, support_random(&filler));
    unsigned at = 0;
    for (unsigned i = 0; i < how->prefix_count; i++)
        bytes[at++] = how->prefixes[i];
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
