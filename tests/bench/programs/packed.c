// Packed floating point and packed integers through intrinsics, and string functions as the C library has them.
// Each needs the extension that its name says; the processor is asked before.
#include "bench.h"

#include <immintrin.h>
#include <stddef.h>
#include <string.h>

enum {
    COUNT = 4096, // elements of an array, 16 KiB of floats
};

static bool has_ssse3(void)
{
    return __builtin_cpu_supports("ssse3");
}

static bool has_sse42(void)
{
    return __builtin_cpu_supports("sse4.2");
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}

static bool has_fma(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static uint64_t checksum_of(const void *data, size_t size)
{
    const unsigned char *bytes = data;
    uint64_t checksum = 0;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word;
        memcpy(&word, bytes + i, 8);
        checksum = bench_fold(checksum, word);
    }
    return checksum;
}

static void fill_floats(float *numbers, uint32_t random)
{
    for (unsigned i = 0; i < COUNT; i++) {
        numbers[i] = (float)(bench_random(&random) % 1000) / 256;
    }
}

static uint64_t run_sse_float(void)
{
    static _Alignas(64) float x[COUNT], y[COUNT];
    fill_floats(x, 1);
    fill_floats(y, 2);
    const __m128 scale = _mm_set1_ps(0.75f), floor = _mm_set1_ps(0.125f);
    for (unsigned round = 0; round < 6000; round++) {
        for (unsigned i = 0; i < COUNT; i += 4) {
            __m128 a = _mm_load_ps(x + i), b = _mm_load_ps(y + i);
            __m128 sum = _mm_add_ps(_mm_mul_ps(a, scale), b);
            _mm_store_ps(y + i, _mm_max_ps(_mm_mul_ps(sum, scale), floor));
            _mm_store_ps(x + i, _mm_sub_ps(sum, a));
        }
    }
    return checksum_of(x, sizeof x) ^ checksum_of(y, sizeof y);
}

static uint64_t run_sse2_matrix(void)
{
    enum {
        N = 64,
    };
    static _Alignas(64) double a[N][N], b[N][N], c[N][N];
    uint32_t random = 3;
    for (unsigned i = 0; i < N * N; i++) {
        a[i / N][i % N] = (double)(bench_random(&random) % 100) / 64;
        b[i / N][i % N] = (double)(bench_random(&random) % 100) / 64;
    }
    for (unsigned round = 0; round < 96; round++) {
        for (unsigned i = 0; i < N; i++) {
            for (unsigned j = 0; j < N; j += 2) {
                __m128d sum = _mm_setzero_pd();
                for (unsigned k = 0; k < N; k++) {
                    sum = _mm_add_pd(sum, _mm_mul_pd(_mm_set1_pd(a[i][k]), _mm_load_pd(&b[k][j])));
                }
                _mm_store_pd(&c[i][j], _mm_div_pd(sum, _mm_set1_pd(64.0)));
            }
        }
        memcpy(a, c, sizeof a);
    }
    return checksum_of(c, sizeof c);
}

static __attribute__((target("avx2,fma"))) uint64_t run_fma(void)
{
    static _Alignas(64) float x[COUNT], y[COUNT];
    fill_floats(x, 4);
    fill_floats(y, 5);
    const __m256 scale = _mm256_set1_ps(0.5f), floor = _mm256_set1_ps(0.125f);
    for (unsigned round = 0; round < 6000; round++) {
        for (unsigned i = 0; i < COUNT; i += 8) {
            __m256 a = _mm256_load_ps(x + i), b = _mm256_load_ps(y + i);
            __m256 sum = _mm256_fmadd_ps(a, scale, b);
            _mm256_store_ps(y + i, _mm256_max_ps(_mm256_mul_ps(sum, scale), floor));
            _mm256_store_ps(x + i, _mm256_sub_ps(sum, a));
        }
    }
    return checksum_of(x, sizeof x) ^ checksum_of(y, sizeof y);
}

static uint64_t run_sse2_integer(void)
{
    static _Alignas(64) uint8_t x[16384], y[16384];
    uint32_t random = 6;
    for (unsigned i = 0; i < sizeof x; i++) {
        x[i] = (uint8_t)bench_random(&random);
        y[i] = (uint8_t)bench_random(&random);
    }
    __m128i total = _mm_setzero_si128();
    for (unsigned round = 0; round < 10000; round++) {
        for (unsigned i = 0; i < sizeof x; i += 16) {
            __m128i a = _mm_load_si128((const __m128i *)(x + i)), b = _mm_load_si128((const __m128i *)(y + i));
            total = _mm_add_epi64(total, _mm_sad_epu8(a, b));
            __m128i words = _mm_mullo_epi16(_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(b, a));
            _mm_store_si128((__m128i *)(x + i), _mm_xor_si128(_mm_adds_epu8(a, words), _mm_srli_epi16(b, 3)));
        }
    }
    return checksum_of(&total, sizeof total) ^ checksum_of(x, sizeof x);
}

static __attribute__((target("ssse3"))) uint64_t run_ssse3_shuffle(void)
{
    static _Alignas(64) uint8_t x[16384];
    uint32_t random = 8;
    for (unsigned i = 0; i < sizeof x; i++) {
        x[i] = (uint8_t)bench_random(&random);
    }
    const __m128i order = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
    const __m128i weights = _mm_set1_epi16(0x0103);
    for (unsigned round = 0; round < 10000; round++) {
        for (unsigned i = 0; i < sizeof x; i += 16) {
            __m128i a = _mm_shuffle_epi8(_mm_load_si128((const __m128i *)(x + i)), order);
            __m128i b = _mm_maddubs_epi16(a, weights);
            _mm_store_si128((__m128i *)(x + i), _mm_add_epi8(_mm_alignr_epi8(a, b, 5), _mm_abs_epi8(b)));
        }
    }
    return checksum_of(x, sizeof x);
}

static __attribute__((target("avx2"))) uint64_t run_avx2_integer(void)
{
    static _Alignas(64) uint32_t x[COUNT];
    uint32_t random = 9;
    for (unsigned i = 0; i < COUNT; i++) {
        x[i] = bench_random(&random);
    }
    const __m256i factor = _mm256_set1_epi32(0x01000193);
    const __m256i order = _mm256_setr_epi32(7, 2, 5, 0, 3, 6, 1, 4);
    for (unsigned round = 0; round < 20000; round++) {
        for (unsigned i = 0; i < COUNT; i += 8) {
            __m256i a = _mm256_load_si256((const __m256i *)(x + i));
            a = _mm256_mullo_epi32(_mm256_xor_si256(a, _mm256_srli_epi32(a, 15)), factor);
            _mm256_store_si256((__m256i *)(x + i), _mm256_permutevar8x32_epi32(a, order));
        }
    }
    return checksum_of(x, sizeof x);
}

// The C library's functions, which pick the widest registers that the processor has.
static uint64_t run_strings_libc(void)
{
    static char text[8192], copy[8192];
    uint64_t sum = 0;
    memset(text, 'a', sizeof text - 1);
    for (unsigned round = 0; round < 24000; round++) {
        text[round % 4000] ^= 1;
        bench_touch(text);
        sum += strlen(text) + (memchr(text, 'z', sizeof text) != NULL);
        sum += (strchr(text + 4000, 'b') != NULL);
        memcpy(copy, text, sizeof text);
        copy[8000] = (char)('a' + round % 3);
        bench_touch(copy);
        sum += (uint64_t)(strcmp(text, copy) < 0) + (uint64_t)(memcmp(text, copy, sizeof text) > 0) * 2;
    }
    return sum;
}

// A search through PCMPISTRI: which bytes are in a set of ranges.
static __attribute__((target("sse4.2"))) uint64_t run_sse42_strings(void)
{
    static _Alignas(64) char text[8192];
    uint32_t random = 10;
    uint64_t sum = 0;
    for (unsigned i = 0; i < sizeof text; i++) {
        text[i] = (char)(' ' + bench_random(&random) % 90);
    }
    const __m128i ranges = _mm_setr_epi8('0', '9', 'a', 'f', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    for (unsigned round = 0; round < 6000; round++) {
        for (unsigned i = 0; i < sizeof text; i += 16) {
            __m128i a = _mm_load_si128((const __m128i *)(text + i));
            sum = sum * 3 + (unsigned)_mm_cmpistri(ranges, a, _SIDD_UBYTE_OPS | _SIDD_CMP_RANGES);
        }
        text[round] ^= 2;
    }
    return sum;
}

const struct kernel packed_kernels[] = {
    {"packed", "sse_float", run_sse_float, NULL},
    {"packed", "sse2_matrix", run_sse2_matrix, NULL},
    {"packed", "fma_float", run_fma, has_fma},
    {"packed", "sse2_integer", run_sse2_integer, NULL},
    {"packed", "ssse3_shuffle", run_ssse3_shuffle, has_ssse3},
    {"packed", "avx2_integer", run_avx2_integer, has_avx2},
    {"packed", "strings_libc", run_strings_libc, NULL},
    {"packed", "sse42_strings", run_sse42_strings, has_sse42},
    {NULL, NULL, NULL, NULL},
};
