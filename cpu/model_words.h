// The words of CPUID that report features, between model.c, which knows who is where, and model_cpuid.c.
#ifndef DOPPEL_CPU_MODEL_WORDS_H
#define DOPPEL_CPU_MODEL_WORDS_H

#include "cpu/model.h"

enum cpuid_word {
    WORD_1_EDX,
    WORD_1_ECX,
    WORD_7_EBX,
    WORD_7_ECX,
    WORD_7_EDX,
    WORD_EXT1_ECX,
    WORD_EXT1_EDX,
    WORD_EXT7_EDX,
    WORD_D1_EAX,
    WORD_7_2_EDX,
    WORD_EXT8_EBX,
    WORD_EXT21_EAX,
    WORD_EXT21_ECX,
    WORD_NONE
};

/// The bits of the model's features in a word.
uint32_t model_feature_word(const struct cpu_model *model, enum cpuid_word word);

#endif
