// The one place that asks the host's own CPUID for -cpu host. On hosts that are no x86 there is nothing to ask.
#include "cpu/model.h"

#if defined(__x86_64__) || defined(__i386__)

#include <cpuid.h>
#include <string.h>

static bool has_bit(const struct cpuid_place *place)
{
    uint32_t words[4];
    if (!__get_cpuid_count(place->leaf, place->subleaf, &words[CPUID_EAX], &words[CPUID_EBX], &words[CPUID_ECX],
                           &words[CPUID_EDX]))
        return false;
    return words[place->reg] >> place->bit & 1;
}

static void identify(struct cpu_model *model)
{
    uint32_t a, b, c, d, words[12] = {0};
    __cpuid(0, a, b, c, d);
    memcpy(model->vendor, &b, 4);
    memcpy(model->vendor + 4, &d, 4);
    memcpy(model->vendor + 8, &c, 4);
    model->vendor[12] = 0;
    __cpuid(1, a, b, c, d);
    model->family = (a >> 8 & 15) + ((a >> 8 & 15) == 15 ? a >> 20 & 0xff : 0);
    model->model = (a >> 4 & 15) | (a >> 12 & 0xf0);
    model->stepping = a & 15;
    for (unsigned i = 0; i < 3; i++)
        __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
    memcpy(model->brand, words, 48);
    model->brand[48] = 0;
}

bool model_ask_host(struct cpu_model *model)
{
    struct cpuid_place place;
    identify(model);
    model->features[0] = model->features[1] = 0;
    for (unsigned i = 1; i < FEATURE_COUNT; i++) {
        if (model_feature_place((enum cpu_feature)i, &place) && has_bit(&place))
            model->features[i / 64] |= BIT(i % 64);
    }
    return true;
}

#else

bool model_ask_host(struct cpu_model *model)
{
    return false;
}

#endif
