// System management mode: what an SMI finds and saves, what RSM brings back, from every mode; SMBASE moved; NMI and SMI
// held off inside; HLT and SMI (SDM vol. 3 ch. 31). The save map is the 64-bit one of processors with long mode, else
// the 32-bit one.
#include "guest.h"

#define APIC 0xfee00000u
#define IO_APIC 0xfec00000u
#define MAP(base) ((base) + 0x8000u)

struct seen {
    u32 ax, sp, cr0, cr4, dr7;
    u16 cs, ds, ss, filler;
    u32 flags, nmis, nmis_inside;
};
#define SEEN ((volatile struct seen *)0x2e000)
#define COMMAND (*(volatile u32 *)0x2e080)
#define COUNT (*(volatile u32 *)0x2e084)
#define SMBASE (*(volatile u32 *)0x2e088)
#define NEW_SMBASE (*(volatile u32 *)0x2e08c)
#define RELOCATION (*(volatile u32 *)0x2e090)
#define ACCUMULATOR (*(volatile u32 *)0x2e094)
#define HALT (*(volatile u32 *)0x2e098)

extern u8 smi_handler[], smi_handler_end[], trigger[], trigger_end[], trigger_user[], trigger_halt[];
SNIPPET(rsm_outside, "nop\nrsm");
static volatile u32 timer_count;

static void install(u32 base)
{
    for (u32 i = 0; i < (u32)(smi_handler_end - smi_handler); i++)
        *(volatile u8 *)(word)(base + 0x8000 + i) = smi_handler[i];
}

static u64 saved(unsigned offset, unsigned bytes)
{
    u64 value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (u64) * (volatile u8 *)(word)(MAP(SMBASE) + offset + i) << 8 * i;
    return value;
}

static void show_handler(const char *name)
{
    put(name);
    put(":");
    put_field("count", COUNT, 1);
    put_field("cr0", SEEN->cr0, 8);
    put_field("cr4", SEEN->cr4, 8);
    put_field("dr7", SEEN->dr7, 4);
    put_field("cs", SEEN->cs, 4);
    put_field("ds", SEEN->ds, 4);
    put_field("ss", SEEN->ss, 4);
    put_field("flags", SEEN->flags, 8);
    end_line();
    COUNT = 0;
}

// Offsets in the save map, from SMBASE + 8000.
struct field {
    const char *name;
    u16 offset, bytes;
};
static const struct map {
    u16 smbase, ax, cx, halt;
    struct field field[16];
} wide_map = {0x7f00,
              0x7ff8,
              0x7ff0,
              0x7ec9,
              {{"cr0", 0x7f58, 8},
               {"cr3", 0x7f50, 8},
               {"cr4", 0x7f48, 8},
               {"efer", 0x7ed0, 8},
               {"dr7", 0x7f60, 4},
               {"flags", 0x7f70, 4},
               {"cx", 0x7ff0, 8},
               {"dx", 0x7fe8, 8},
               {"di", 0x7fc0, 8},
               {"cs", 0x7e10, 2},
               {"limit", 0x7e14, 4},
               {"ss", 0x7e20, 2},
               {"ds", 0x7e30, 2},
               {"tr", 0x7e90, 2},
               {"gdt", 0x7e64, 2},
               {"idt", 0x7e84, 2}}},
  narrow_map = {0x7ef8,
                0x7fd0,
                0x7fd4,
                0x7f02,
                {{"cr0", 0x7ffc, 4},
                 {"cr3", 0x7ff8, 4},
                 {"flags", 0x7ff4, 4},
                 {"dr7", 0x7fc8, 4},
                 {"cx", 0x7fd4, 4},
                 {"dx", 0x7fd8, 4},
                 {"di", 0x7fec, 4},
                 {"cs", 0x7fac, 2},
                 {"ss", 0x7fb0, 2},
                 {"ds", 0x7fb4, 2},
                 {"tr", 0x7fc4, 2}}},
  *map = &narrow_map;

static void show_map(const char *name)
{
    put(name);
    put(":");
    for (const struct field *f = map->field; f < map->field + COUNT_OF(map->field) && f->name; f++)
        put_field(f->name, saved(f->offset, f->bytes), f->bytes * 2);
    end_line();
}

static bool hook(struct frame *frame)
{
    if (frame->vector == 2) {
        SEEN->nmis++;
        return true;
    }
    if (frame->vector == 0x50) {
        timer_count++;
        *(volatile u32 *)(word)(APIC + 0xb0) = 0;
        return true;
    }
    return false;
}

static void plain(void)
{
    COMMAND = 0;
    word ax = attempt(trigger);
    report("SMI in ring 0", trigger, ax);
    show_handler("its handler");
    put("map:");
    put_field("revision", saved(0x7efc, 4), 8);
    put_field("smbase", saved(map->smbase, 4), 8);
    put(saved(map->ax, 4) == 0x4200 ? " ax" : " not ax");
    end_line();
    show_map("map of ring 0");
    COMMAND = 1;
    ax = attempt(trigger);
    report("SMI that changes AX", trigger, ax);
    COUNT = 0;
    COMMAND = 0;
    ax = attempt_user(trigger_user);
    report("SMI in ring 3", trigger_user, ax);
    show_handler("its handler, from ring 3");
    show_map("map of ring 3");
#ifdef __x86_64__
    extern u8 trigger_compatible[];
    ax = attempt_user_at((word)trigger_compatible, 0x2b, (word)user_stack_top, 0x33, 2);
    report("SMI in compatibility mode", trigger_compatible, ax);
    COUNT = 0;
    show_map("map of compatibility mode");
#else
    // Virtual-8086 mode cannot reach the APIC: the SMI waits until it is entered.
    static const u8 code[] = {0x90, 0x90, 0x90, 0x90, 0xb8, 0x34, 0x12, 0xf4};
    for (unsigned i = 0; i < sizeof code; i++)
        ((volatile u8 *)0x50000)[i] = code[i];
    static u32 frame[] = {0, 0x5000, 0x20002, 0x1000, 0x5000, 0x1111, 0x2222, 0x3333, 0x4444};
    extern u8 smi_then_vm86[];
    extern u32 *vm86_frame;
    vm86_frame = frame;
    attempt(smi_then_vm86);
    put("SMI in virtual-8086 mode:");
    put_field("trap", (u32)trap.vector, 2);
    put_field("cs", trap.cs, 4);
    put_field("ip", trap.ip, 4);
    put_field("flags", trap.flags & 0x3e7700, 6);
    put_field("ax", trap.ax & 0xffff, 4);
    put_field("count", COUNT, 1);
    end_line();
    COUNT = 0;
#endif
}
#ifndef __x86_64__
u32 *vm86_frame;
asm(".text\nsmi_then_vm86: mov vm86_frame,%eax\nmov $9,%ecx\n1: pushl -4(%eax,%ecx,4)\nloop 1b\n"
    "mov $0xfee00000,%esi\nmovl $0x4200,0x300(%esi)\niret\n");
#endif

static void inside(void)
{
    SEEN->nmis = 0;
    COMMAND = 3;
    attempt(trigger);
    put("NMI sent by the handler:");
    put_field("inside", SEEN->nmis_inside, 1);
    put_field("after", SEEN->nmis, 1);
    put_field("SMIs", COUNT, 1);
    end_line();
    COUNT = 0;
    COMMAND = 4;
    attempt(trigger);
    put("SMI sent by the handler:");
    put_field("SMIs", COUNT, 1);
    end_line();
    COUNT = 0;
    probe("RSM outside", rsm_outside);
}

static void relocated(void)
{
    NEW_SMBASE = 0x40000;
    install(0x40000);
    COMMAND = 2;
    attempt(trigger);
    show_handler("SMI before SMBASE moves");
    SMBASE = 0x40000;
    COMMAND = 0;
    attempt(trigger);
    show_handler("SMI after SMBASE moved");
    put("map there:");
    put_field("smbase", saved(map->smbase, 4), 8);
    put_field("cx", saved(map->cx, 4), 8);
    end_line();
    // 64 KiB behind a base that is no multiple of 32 KiB.
    NEW_SMBASE = 0x48200;
    install(0x48200);
    COMMAND = 2;
    attempt(trigger);
    COUNT = 0;
    SMBASE = 0x48200;
    COMMAND = 0;
    attempt(trigger);
    show_handler("SMI at 48200");
}

/// The 8254 as an SMI through the I/O APIC while the processor halts.
static void halted(const char *name, u32 command)
{
    COMMAND = command;
    COUNT = 0;
    timer_count = 0;
    out8(0x43, 0x30);
    out8(0x40, 0); // 55 ms: HLT is reached long before, and the local APIC's timer comes later
    out8(0x40, 0);
    attempt(trigger_halt);
    put(name);
    put(":");
    put_field("SMIs", COUNT, 1);
    put_field("timer", timer_count, 1);
    put_field("halt", saved(map->halt, 1), 2);
    end_line();
    *(volatile u32 *)(word)(APIC + 0x380) = 0;
    COUNT = 0;
}

int main(void);
int main(void)
{
    trap_hook = hook;
    u32 most = cpuid(0x80000000, 0).a;
    if (most > 0x80000000 && most < 0x80010000 && cpuid(0x80000001, 0).d >> 29 & 1)
        map = &wide_map;
    SMBASE = 0x30000;
    RELOCATION = 0x8000u + map->smbase;
    ACCUMULATOR = 0x8000u + map->ax;
    HALT = 0x8000u + map->halt;
    COUNT = 0;
    install(SMBASE);
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    *(volatile u32 *)(word)(APIC + 0xf0) = 0x1ff;
    *(volatile u32 *)(word)(APIC + 0x3e0) = 0xb;
    *(volatile u32 *)(word)(APIC + 0x320) = 0x50;
    plain();
    inside();
    relocated();
    *(volatile u32 *)(word)IO_APIC = 0x15;
    *(volatile u32 *)(word)(IO_APIC + 0x10) = 0;
    *(volatile u32 *)(word)IO_APIC = 0x14;
    *(volatile u32 *)(word)(IO_APIC + 0x10) = 0x200;
    halted("HLT goes on after the SMI", 0);
    halted("HLT left by the handler", 5);
    return 0;
}
