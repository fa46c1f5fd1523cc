// Scalar floating point through SSE: sums and products, square roots and quotients, conversions.
#include "bench.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

struct body {
    double x, y, z, vx, vy, vz, mass;
};

static void advance(struct body *bodies, unsigned count, double step)
{
    for (unsigned i = 0; i < count; i++) {
        struct body *a = &bodies[i];
        for (unsigned j = i + 1; j < count; j++) {
            struct body *b = &bodies[j];
            double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
            double square = dx * dx + dy * dy + dz * dz;
            double magnitude = step / (square * sqrt(square));
            a->vx -= dx * b->mass * magnitude;
            a->vy -= dy * b->mass * magnitude;
            a->vz -= dz * b->mass * magnitude;
            b->vx += dx * a->mass * magnitude;
            b->vy += dy * a->mass * magnitude;
            b->vz += dz * a->mass * magnitude;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        bodies[i].x += step * bodies[i].vx;
        bodies[i].y += step * bodies[i].vy;
        bodies[i].z += step * bodies[i].vz;
    }
}

static uint64_t run_bodies(void)
{
    struct body bodies[5];
    uint32_t random = 99;
    for (unsigned i = 0; i < 5; i++) {
        double *field = &bodies[i].x;
        for (unsigned f = 0; f < 7; f++) {
            field[f] = (double)(bench_random(&random) % 1000) / 100 + (f == 6);
        }
    }
    for (unsigned i = 0; i < 400000; i++) {
        advance(bodies, 5, 1e-4);
    }
    return bits_of(bodies[0].x) ^ bits_of(bodies[4].vz);
}

static uint64_t run_mandelbrot(void)
{
    uint64_t sum = 0;
    for (unsigned row = 0; row < 300; row++) {
        for (unsigned column = 0; column < 300; column++) {
            double cx = column * 0.01 - 2.0, cy = row * 0.0067 - 1.0, x = 0, y = 0;
            unsigned i = 0;
            while (i < 300 && x * x + y * y < 4.0) {
                double next = x * x - y * y + cx;
                y = 2 * x * y + cy;
                x = next;
                i++;
            }
            sum = bench_fold(sum, i);
        }
    }
    return sum;
}

static uint64_t run_float_polynomial(void)
{
    float sum = 0, x = 0.1f;
    for (unsigned i = 0; i < 9000000; i++) {
        sum += ((((x * 0.3f + 0.2f) * x - 0.5f) * x + 1.1f) * x - 0.7f) / (1.0f + x);
        x = x > 3.0f ? 0.1f : x + 0.001f;
    }
    return bits_of(sum);
}

static uint64_t run_conversions(void)
{
    uint64_t sum = 0;
    double x = 0.5;
    for (unsigned i = 0; i < 8000000; i++) {
        x = (double)(int32_t)(i * 2654435761u) * 0.25 + (double)(float)x * 1e-3;
        sum += (uint64_t)(int64_t)x + (x < 0);
    }
    return sum;
}

const struct kernel scalar_kernels[] = {
    {"scalar-fp", "bodies", run_bodies, NULL},
    {"scalar-fp", "mandelbrot", run_mandelbrot, NULL},
    {"scalar-fp", "float_polynomial", run_float_polynomial, NULL},
    {"scalar-fp", "conversions", run_conversions, NULL},
    {NULL, NULL, NULL, NULL},
};
