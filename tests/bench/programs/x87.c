// The x87: arithmetic with long double, and the transcendental instructions themselves.
#include "bench.h"

#include <stddef.h>

static uint64_t run_arithmetic(void)
{
    long double x = 1, y = 0.5L, z = 0;
    for (unsigned i = 0; i < 2000000; i++) {
        x = x * 1.0000001L + y;
        y = y * 0.999L + x * 1e-9L;
        z += x / (1 + y);
    }
    return (uint64_t)z;
}

// A matrix in memory: loads and stores of double, sums in registers, a square root.
static uint64_t run_matrix(void)
{
    enum {
        N = 40,
    };
    static double a[N][N], b[N][N];
    uint64_t sum = 0;
    for (unsigned i = 0; i < N * N; i++) {
        a[i / N][i % N] = (double)(i % 17) / 16;
    }
    for (unsigned round = 0; round < 100; round++) {
        for (unsigned i = 0; i < N; i++) {
            for (unsigned j = 0; j < N; j++) {
                long double dot = 1;
                for (unsigned k = 0; k < N; k++) {
                    dot += (long double)a[i][k] * a[k][j];
                }
                __asm__("fsqrt" : "+t"(dot));
                b[i][j] = (double)(dot / 8);
            }
        }
        for (unsigned i = 0; i < N * N; i++) {
            a[i / N][i % N] = b[i / N][i % N];
            sum = bench_fold(sum, (uint64_t)(b[i / N][i % N] * 1e9));
        }
    }
    return sum;
}

// The last bits of a transcendental are the processor's own; the checksum leaves them out.
static uint64_t run_transcendentals(void)
{
    long double sum = 0, x = 0.1L;
    for (unsigned i = 0; i < 300000; i++) {
        long double sine, cosine, angle, logarithm = x + 1, power = x / 8, one;
        __asm__("fsincos" : "=t"(cosine), "=u"(sine) : "0"(x));
        __asm__("fpatan" : "=t"(angle) : "0"(x), "u"(sine) : "st(1)");
        __asm__("fyl2x" : "=t"(logarithm) : "0"(logarithm), "u"(cosine) : "st(1)");
        __asm__("f2xm1" : "+t"(power));
        __asm__("fptan" : "=t"(one), "=u"(angle) : "0"(angle));
        sum += sine + angle + logarithm + power + one;
        x = x > 6 ? 0.1L : x + 0.001L;
    }
    return (uint64_t)(sum * 100 + 0.5L);
}

const struct kernel x87_kernels[] = {
    {"x87", "x87_arithmetic", run_arithmetic, NULL},
    {"x87", "x87_matrix", run_matrix, NULL},
    {"x87", "x87_transcendentals", run_transcendentals, NULL},
    {NULL, NULL, NULL, NULL},
};
