// Code that changes by other ways than a store to its own address: through a second mapping, through a changed page
// table, by a device that writes memory (fw_cfg), over a page's end; what INVLPG and a write to CR3 make visible.
#include "guest.h"

#define ALIAS 0x40000000u // 2 or 4 MiB pages that show the image's memory again
#define SECOND 0x40800000u

static __attribute__((aligned(4096))) u8 area[4 * 4096];

#ifdef __x86_64__
static __attribute__((aligned(4096))) u64 directory[512], table[512];
#define LARGE 0x200000u
#else
static __attribute__((aligned(4096))) u32 directory[1024], table[1024];
#define LARGE 0x400000u
#endif

static u32 call_at(word address)
{
    word ax;
    asm volatile("call *%1" : "=a"(ax) : "r"(address) : "memory", "cc");
    return (u32)ax;
}

static void put_code(word address, u32 value)
{
    volatile u8 *code = (volatile u8 *)address;
    code[0] = 0xb8;
    for (unsigned i = 0; i < 4; i++)
        code[1 + i] = (u8)(value >> 8 * i);
    code[5] = 0xc3;
}

/// Two values, once cold, then hot.
static void show(const char *name, u32 first, u32 second)
{
    put(name);
    put(":");
    put_field("first", first, 8);
    put_field("then", second, 8);
    end_line();
}

static void invalidate(word address)
{
    asm volatile("invlpg (%0)" : : "r"(address) : "memory");
}

static void prepare(void)
{
#ifdef __x86_64__
    ((volatile u64 *)(word)0x101000)[1] = (word)directory | 7;
    directory[0] = 0 | 0x87;
    directory[4] = (word)table | 7;
    for (u64 i = 0; i < 512; i++)
        table[i] = i << 12 | 7;
#else
    static __attribute__((aligned(4096))) u32 top[1024];
    (void)directory;
    for (u32 i = 0; i < 1024; i++)
        top[i] = i << 22 | 0x87;
    top[ALIAS >> 22] = 0x87;
    for (u32 i = 0; i < 1024; i++)
        table[i] = i << 12 | 7;
    top[SECOND >> 22] = (u32)table | 7;
    write_cr4(read_cr4() | 0x10);
    write_cr3((word)top);
    write_cr0(read_cr0() | 0x80000000);
#endif
}

static void by_alias(void)
{
    const word code = (word)area;
    u32 sum[2] = {0};
    put_code(code, 0x1111);
    u32 first = call_at(code);
    put_code(ALIAS + code, 0x2222);
    show("written through an alias", first, call_at(code));
    put_code(ALIAS + code, 0x3333);
    first = call_at(ALIAS + code);
    put_code(code, 0x4444);
    show("run through an alias", first, call_at(ALIAS + code));
    for (u32 i = 0; i < 100; i++) {
        put_code(i & 1 ? code : ALIAS + code, i);
        sum[0] += call_at(code);
        sum[1] += call_at(ALIAS + code);
    }
    show("a hundred times", sum[0], sum[1]);
    // The code writes its own next instruction through the alias: mov $1 becomes mov $2.
    static const u8 own[] = {0xc6, 0x05, 0, 0, 0, 0, 2, 0xb8, 1, 0, 0, 0, 0xc3};
    volatile u8 *at = area + 0x100;
    for (unsigned i = 0; i < sizeof own; i++)
        at[i] = own[i];
    u32 target = ALIAS + (u32)(word)at + 8, place = IF64(target - (u32)(word)(at + 7), target);
    for (unsigned i = 0; i < 4; i++)
        at[2 + i] = (u8)(place >> 8 * i);
    u32 value = call_at((word)at);
    at[8] = 1;
    for (unsigned i = 0; i < 20; i++) {
        at[8] = 1;
        call_at((word)at);
    }
    at[8] = 1;
    show("own next instruction through an alias", value, call_at((word)at));
}

static void by_table(void)
{
    const u32 page = ((u32)(word)area >> 12) & (IF64(511, 1023)), offset = (u32)(word)area & (LARGE - 1);
    const word code = SECOND + offset;
    put_code((word)area, 0x1111);
    put_code((word)area + 4096, 0x2222);
    for (unsigned i = 0; i < 10; i++)
        call_at(code);
    u32 first = call_at(code);
    table[page] += 4096;
    invalidate(code);
    show("another page, INVLPG", first, call_at(code));
    table[page] -= 4096;
    write_cr3(read_cr3());
    show("back, CR3", 0, call_at(code));
    // An instruction that crosses into a page that changes.
    put_code((word)area + 4093, 0x44332211);
    volatile u8 *other = area + 2 * 4096; // what the second page becomes
    for (unsigned i = 0; i < 16; i++)
        other[i] = area[4096 + i];
    other[0] = 0x99;
    for (unsigned i = 0; i < 10; i++)
        call_at(code + 4093);
    first = call_at(code + 4093);
    table[page + 1] += 4096;
    invalidate(code + 4096);
    show("the second half on another page", first, call_at(code + 4093));
    other[1] = 0x88;
    show("the second half written", 0, call_at(code + 4093));
    table[page + 1] -= 4096;
    invalidate(code + 4096);
    show("the second half back", 0, call_at(code + 4093));
    // A jump over the end into a page that changes.
    put_code((word)area + 4096, 0x5555);
    put_code((word)area + 2 * 4096, 0x6666);
    area[4094] = 0x90;
    area[4095] = 0x90;
    for (unsigned i = 0; i < 10; i++)
        call_at(code + 4094);
    first = call_at(code + 4094);
    table[page + 1] += 4096;
    invalidate(code + 4096);
    show("running into another page", first, call_at(code + 4094));
    table[page + 1] -= 4096;
    invalidate(code + 4096);
    // Not executable any more: not present.
    table[page] &= ~(IF64((u64)1, 1u));
    invalidate(code);
    attempt((const void *)code);
    put("page taken away:");
    put_field("trap", (u32)trap.vector, 2);
    put_field("e", trap.error, 2);
    put_field("cr2", trap.cr2 - code, 4);
    end_line();
    table[page] |= 1;
    show("page given back", 0, call_at(code));
}

static u32 swap(u32 value)
{
    return __builtin_bswap32(value);
}

/// fw_cfg writes its signature, "QEMU", over an immediate.
static void by_device(const char *name, word code)
{
    static __attribute__((aligned(16))) volatile u32 access[4];
    if (in8(0x511) == 0xff) {
        put(name);
        put(": left out\n");
        return;
    }
    put_code(code, 0x1111);
    for (unsigned i = 0; i < 10; i++)
        call_at(code);
    u32 first = call_at(code);
    access[0] = swap(0x0000000a); // select 0, read
    access[1] = swap(4);
    access[2] = 0;
    access[3] = swap((u32)code + 1);
    asm volatile("outl %0, %w1" : : "a"(0), "d"(0x514));
    asm volatile("outl %0, %w1" : : "a"(swap((u32)(word)access)), "d"(0x518) : "memory");
    while (access[0] & swap(~1u))
        ;
    show(name, first, call_at(code));
}

int main(void);
int main(void)
{
    prepare();
    by_alias();
    by_table();
    asm volatile("outw %w0, %w1" : : "a"(0), "d"(0x510));
    by_device("written by a device", (word)area + 0x300);
    by_device("written by a device over a page's end", (word)area + 4093);
    return 0;
}
