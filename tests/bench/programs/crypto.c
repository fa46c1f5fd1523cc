// Instructions made for cryptography and checksums: AES, carry-less multiplication, SHA, CRC-32C.
#include "bench.h"

#include <cpuid.h>
#include <immintrin.h>
#include <stddef.h>
#include <string.h>

static bool has_aes(void)
{
    return __builtin_cpu_supports("aes");
}

static bool has_pclmul(void)
{
    return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
}

static bool has_crc32(void)
{
    return __builtin_cpu_supports("sse4.2");
}

// CPUID.7.0:EBX bit 29.
static bool has_sha(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1) && __builtin_cpu_supports("sse4.1");
}

static uint64_t fold_vector(__m128i value)
{
    uint64_t words[2];
    memcpy(words, &value, sizeof words);
    return words[0] ^ words[1] * 3;
}

// Ten rounds a block in counter mode, four blocks at a time; round keys that are any numbers.
static __attribute__((target("aes,sse4.1"))) uint64_t run_aes(void)
{
    __m128i keys[11], total = _mm_setzero_si128();
    for (int i = 0; i < 11; i++) {
        keys[i] = _mm_set_epi32(i * 77, i * 1001, i + 5, i * i);
    }
    for (int n = 0; n < 600000; n++) {
        __m128i block[4];
        for (int b = 0; b < 4; b++) {
            block[b] = _mm_xor_si128(_mm_set_epi32(0, 1, n, b), keys[0]);
        }
        for (int r = 1; r < 10; r++) {
            for (int b = 0; b < 4; b++) {
                block[b] = _mm_aesenc_si128(block[b], keys[r]);
            }
        }
        for (int b = 0; b < 4; b++) {
            total = _mm_xor_si128(_mm_add_epi64(total, total), _mm_aesenclast_si128(block[b], keys[10]));
        }
    }
    return fold_vector(total);
}

static __attribute__((target("aes,sse4.1"))) uint64_t run_aes_decrypt(void)
{
    __m128i key = _mm_set_epi32(0x01234567, 0x089abcde, 0x13572468, 0x2468ace0);
    __m128i block = _mm_setr_epi32(1, 2, 3, 4);
    for (int n = 0; n < 6000000; n++) {
        block = _mm_aesdec_si128(block, key);
        block = _mm_aesdec_si128(block, _mm_aesimc_si128(key));
        block = _mm_aesdeclast_si128(block, key);
    }
    return fold_vector(block);
}

// Products over GF(2), as Galois/counter mode has them.
static __attribute__((target("pclmul,sse4.1"))) uint64_t run_pclmul(void)
{
    __m128i key = _mm_set_epi32(0x0fedcba9, 0x76543210, 0x1234, 0x55667788), hash = _mm_setr_epi32(1, 2, 3, 4);
    for (int n = 0; n < 3000000; n++) {
        __m128i low = _mm_clmulepi64_si128(hash, key, 0x00), high = _mm_clmulepi64_si128(hash, key, 0x11);
        __m128i middle = _mm_xor_si128(_mm_clmulepi64_si128(hash, key, 0x01), _mm_clmulepi64_si128(hash, key, 0x10));
        low = _mm_xor_si128(low, _mm_slli_si128(middle, 8));
        high = _mm_xor_si128(high, _mm_srli_si128(middle, 8));
        hash = _mm_xor_si128(_mm_xor_si128(low, high), _mm_set_epi32(0, 0, 0, n));
    }
    return fold_vector(hash);
}

static __attribute__((target("sha,sse4.1"))) uint64_t run_sha_extensions(void)
{
    __m128i a = _mm_setr_epi32(1, 2, 3, 4), b = _mm_setr_epi32(5, 6, 7, 8), w = _mm_setr_epi32(9, 10, 11, 12);
    for (int n = 0; n < 3000000; n++) {
        a = _mm_sha256rnds2_epu32(a, b, w);
        b = _mm_sha256rnds2_epu32(b, a, _mm_shuffle_epi32(w, 0x0e));
        w = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(w, a), b), a);
    }
    return fold_vector(a) ^ fold_vector(b);
}

static __attribute__((target("sse4.2"))) uint64_t run_crc32(void)
{
    uint64_t crc = 0xffffffffu;
    for (uint64_t n = 0; n < 8000000; n++) {
        crc = _mm_crc32_u64(crc, n * 0x9e3779b97f4a7c15u);
    }
    return crc;
}

const struct kernel crypto_kernels[] = {
    {"crypto", "aes", run_aes, has_aes},          {"crypto", "aes_decrypt", run_aes_decrypt, has_aes},
    {"crypto", "pclmul", run_pclmul, has_pclmul}, {"crypto", "sha_extensions", run_sha_extensions, has_sha},
    {"crypto", "crc32", run_crc32, has_crc32},    {NULL, NULL, NULL, NULL},
};
