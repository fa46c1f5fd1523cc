// For tests/bench: an endless mix of loops over arrays, lists, calls and branches; -limit ends it.
#include "guest.h"

static u32 array[4096];
static struct node {
    struct node *next;
    word value;
} nodes[512];

__attribute__((noinline)) static u32 fibonacci(u32 n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

__attribute__((noinline)) static u32 mix(u32 seed)
{
    for (unsigned i = 0; i < COUNT_OF(array); i++) {
        seed = seed * 1664525 + 1013904223;
        array[i] ^= seed >> 7 | seed << 25;
    }
    return seed;
}

__attribute__((noinline)) static u32 sort(u32 limit)
{
    u32 swaps = 0;
    for (u32 i = 1; i < limit; i++)
        for (u32 j = i; j && array[j - 1] > array[j]; j--) {
            u32 other = array[j];
            array[j] = array[j - 1];
            array[j - 1] = other;
            swaps++;
        }
    return swaps;
}

int main(void);
int main(void)
{
    for (unsigned i = 0; i < COUNT_OF(nodes); i++)
        nodes[i] = (struct node){&nodes[(i * 167 + 1) % COUNT_OF(nodes)], i};
    put("ready\n");
    for (u32 round = 0;; round++) {
        word sum = mix(round) + sort(128) + fibonacci(15);
        for (struct node *n = nodes; sum & 0xffff; n = n->next)
            sum = (sum & 0xffff) - (n->value > (sum & 0xffff) ? (sum & 0xffff) : n->value | 1);
        array[0] += (u32)sum;
    }
}
