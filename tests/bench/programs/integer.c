// Integer kernels: no floating point, no system calls, working sets of the first-level and second-level caches.
#include "bench.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static uint32_t rotate_right(uint32_t value, unsigned count)
{
    return value >> count | value << (32 - count);
}

// FIPS 180-4's constants: the first 32 bits of the fractions of the cube roots of the first 64 primes. Computed,
// because the kernel is what is measured and the table need not be typed.
static void make_sha256_constants(uint32_t constants[64])
{
    unsigned found = 0;
    for (unsigned candidate = 2; found < 64; candidate++) {
        bool prime = true;
        for (unsigned d = 2; d * d <= candidate; d++) {
            prime = prime && candidate % d != 0;
        }
        if (prime) {
            // The root scaled by 2^32: the largest r with r^3 <= candidate * 2^96.
            uint64_t root = 0;
            for (int bit = 35; bit >= 0; bit--) {
                uint64_t trial = root | (uint64_t)1 << bit;
                // trial^3 by 2^32: exact enough, as no root of a prime is near a multiple of 2^-32.
                unsigned __int128 square = (unsigned __int128)trial * trial;
                unsigned __int128 cube = (square >> 32) * trial + (((square & 0xffffffffu) * trial) >> 32);
                if (cube < (unsigned __int128)candidate << 64) {
                    root = trial;
                }
            }
            constants[found++] = (uint32_t)root;
        }
    }
}

static void sha256_block(uint32_t state[8], const uint32_t block[16], const uint32_t constants[64])
{
    uint32_t w[64];
    memcpy(w, block, 64);
    for (unsigned i = 16; i < 64; i++) {
        uint32_t s0 = rotate_right(w[i - 15], 7) ^ rotate_right(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotate_right(w[i - 2], 17) ^ rotate_right(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (unsigned i = 0; i < 64; i++) {
        uint32_t s1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
        uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + constants[i] + w[i];
        uint32_t s0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
        uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

static uint64_t run_sha256(void)
{
    uint32_t constants[64], state[8] = {1, 2, 3, 4, 5, 6, 7, 8}, block[16];
    make_sha256_constants(constants);
    for (unsigned round = 0; round < 120000; round++) {
        for (unsigned i = 0; i < 16; i++) {
            block[i] = round * i + state[i & 7];
        }
        sha256_block(state, block, constants);
    }
    return (uint64_t)state[0] << 32 | state[7];
}

static uint64_t run_sieve(void)
{
    enum {
        SIZE = 1 << 19,
    };
    static uint8_t is_prime[SIZE];
    uint64_t count = 0;
    for (unsigned round = 0; round < 80; round++) {
        memset(is_prime, 1, SIZE);
        for (unsigned i = 2; i * i < SIZE; i++) {
            if (is_prime[i]) {
                for (unsigned j = i * i; j < SIZE; j += i) {
                    is_prime[j] = 0;
                }
            }
        }
        for (unsigned i = 2; i < SIZE; i++) {
            count += is_prime[i];
        }
    }
    return count;
}

struct node {
    struct node *next;
    uint64_t value;
};

static uint64_t run_list_walk(void)
{
    enum {
        NODES = 8192,
    };
    static struct node nodes[NODES];
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].next = &nodes[(i * 4205u + 1) % NODES];
        nodes[i].value = i;
    }
    uint64_t sum = 0;
    const struct node *node = nodes;
    for (unsigned i = 0; i < 40000000; i++) {
        sum += node->value;
        node = node->next;
    }
    return sum;
}

static int compare(const void *left, const void *right)
{
    int a = *(const int *)left, b = *(const int *)right;
    return a < b ? -1 : a > b;
}

static uint64_t run_qsort(void)
{
    enum {
        COUNT = 100000,
    };
    static int numbers[COUNT];
    uint32_t random = 1;
    uint64_t checksum = 0;
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < COUNT; i++) {
            numbers[i] = (int)bench_random(&random);
        }
        qsort(numbers, COUNT, sizeof numbers[0], compare);
        for (unsigned i = 0; i < COUNT; i += 97) {
            checksum = bench_fold(checksum, (uint32_t)numbers[i]);
        }
    }
    return checksum;
}

// An interpreter of a made-up bytecode: a switch in a loop, as many interpreters have it.
static uint64_t run_bytecode(void)
{
    static const uint8_t code[] = {0, 1, 2, 3, 4, 5, 6, 7, 0, 2, 4, 6, 9, 1, 5, 3, 8};
    uint64_t a = 1, x = 3;
    unsigned at = 0;
    for (unsigned i = 0; i < 40000000; i++) {
        switch (code[at++]) {
        case 0:
            a += x;
            break;
        case 1:
            a ^= x << 3;
            break;
        case 2:
            x = x * 5 + 1;
            break;
        case 3:
            a -= x;
            break;
        case 4:
            a = a << 7 | a >> 57;
            break;
        case 5:
            x ^= a;
            break;
        case 6:
            a += 17;
            break;
        case 7:
            x += a >> 3;
            break;
        case 8:
            at = 0;
            break;
        default:
            at += a & 1;
            break;
        }
    }
    return a ^ x;
}

static __attribute__((noinline)) uint64_t add_one(uint64_t x)
{
    return x + 1;
}

static __attribute__((noinline)) uint64_t twice(uint64_t x)
{
    return x * 2 + 3;
}

static __attribute__((noinline)) uint64_t mix(uint64_t x)
{
    return x ^ x >> 5;
}

static uint64_t run_indirect_calls(void)
{
    uint64_t (*volatile table[8])(uint64_t) = {add_one, twice, add_one, mix, twice, add_one, mix, add_one};
    uint64_t x = 0;
    for (unsigned i = 0; i < 30000000; i++) {
        x = table[i & 7](x);
    }
    return x;
}

static __attribute__((noinline, noclone, optimize("O1"))) unsigned fibonacci(unsigned n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint64_t run_fibonacci(void)
{
    return fibonacci(35);
}

// String functions as a program's own loops have them, byte by byte.
static __attribute__((noinline)) uint64_t bytewise(const char *text, const char *word)
{
    uint64_t hits = 0, length = 0, hash = 5381;
    for (const char *p = text; *p; p++) {
        unsigned i = 0;
        while (word[i] && p[i] == word[i]) {
            i++;
        }
        hits += !word[i];
        hash = hash * 33 + (unsigned char)*p;
        length++;
    }
    return hash + hits * 1000003 + length;
}

static uint64_t run_strings_bytewise(void)
{
    static char text[8192];
    uint32_t random = 7;
    uint64_t checksum = 0;
    for (unsigned i = 0; i < sizeof text - 1; i++) {
        text[i] = (char)('a' + bench_random(&random) % 4);
    }
    for (unsigned round = 0; round < 8000; round++) {
        text[round] ^= 1;
        checksum = bench_fold(checksum, bytewise(text, "abca"));
    }
    return checksum;
}

// Division and multiplication of 64 and 128 bits.
static uint64_t run_divide(void)
{
    uint64_t a = 0x123456789abcdef1u, b = 0x987654321u, sum = 0;
    for (unsigned i = 0; i < 30000000; i++) {
        sum += a / b + a % (i | 1);
        unsigned __int128 product = (unsigned __int128)a * (b + i);
        a = (uint64_t)(product >> 64) ^ (uint64_t)product;
        b = (b * 3 + 1) | 1;
    }
    return sum;
}

const struct kernel integer_kernels[] = {
    {"integer", "sha256", run_sha256, NULL},       {"integer", "sieve", run_sieve, NULL},
    {"integer", "list_walk", run_list_walk, NULL}, {"integer", "qsort", run_qsort, NULL},
    {"integer", "bytecode", run_bytecode, NULL},   {"integer", "indirect_calls", run_indirect_calls, NULL},
    {"integer", "fibonacci", run_fibonacci, NULL}, {"integer", "strings_bytewise", run_strings_bytewise, NULL},
    {"integer", "divide", run_divide, NULL},       {NULL, NULL, NULL, NULL},
};
