// Interrupts: 8254 through the 8259 pair, STI and MOV SS shadows, HLT, the local APIC's timer, IPIs to itself, NMI,
// the I/O APIC, priorities. 32-bit code. No line depends on how fast time passes.
#include "guest.h"

#define APIC 0xfee00000u
#define IO_APIC 0xfec00000u

static volatile u32 count[256];
static volatile u32 last_ip, order[16], ordered;

static void apic_write(u32 at, u32 value)
{
    *(volatile u32 *)(APIC + at) = value;
}
static u32 apic_read(u32 at)
{
    return *(volatile u32 *)(APIC + at);
}
static void io_apic_write(u32 index, u32 value)
{
    *(volatile u32 *)IO_APIC = index;
    *(volatile u32 *)(IO_APIC + 0x10) = value;
}
static u32 io_apic_read(u32 index)
{
    *(volatile u32 *)IO_APIC = index;
    return *(volatile u32 *)(IO_APIC + 0x10);
}

static bool interrupt(struct frame *frame)
{
    if (frame->vector < 0x20 && frame->vector != 2)
        return false;
    count[frame->vector]++;
    last_ip = frame->ip;
    if (ordered < COUNT_OF(order))
        order[ordered++] = frame->vector;
    if (frame->vector == 2)
        return true;
    if (frame->vector < 0x30) {
        if (frame->vector >= 0x28)
            out8(0xa0, 0x20);
        out8(0x20, 0x20);
    } else {
        apic_write(0xb0, 0);
    }
    return true;
}

static void set_pics(u8 mask)
{
    static const u8 words[][2] = {{0x20, 0x11}, {0x21, 0x20}, {0x21, 4}, {0x21, 1},
                                  {0xa0, 0x11}, {0xa1, 0x28}, {0xa1, 2}, {0xa1, 1}};
    for (unsigned i = 0; i < COUNT_OF(words); i++)
        out8(words[i][0], words[i][1]);
    out8(0x21, mask);
    out8(0xa1, 0xff);
}

/// Channel 0 in one-shot mode.
static void start_timer(u32 ticks)
{
    out8(0x43, 0x30);
    out8(0x40, (u8)ticks);
    out8(0x40, (u8)(ticks >> 8));
}

static u8 requested(void)
{
    out8(0x20, 0x0a);
    return in8(0x20);
}

static void wait_requested(void)
{
    while (!(requested() & 1))
        ;
}

static void show(const char *name, unsigned vector)
{
    put(name);
    put(":");
    put_field("count", count[vector], 2);
    end_line();
    for (unsigned i = 0; i < 256; i++)
        count[i] = 0;
    ordered = 0;
}

SNIPPET(sti_then, "sti\ninc %edx\nafter_sti: cli");
SNIPPET(sti_cli, "sti\ncli\nnop");
SNIPPET(sti_sti, "sti\nsti\nafter_two: nop\nnop\ncli");
SNIPPET(popf_then, "pushf\norl $0x200,(%esp)\npopf\nafter_popf: nop\nnop\ncli");
SNIPPET(sti_hlt, "sti\nhlt\nafter_hlt: cli");
SNIPPET(iret_then, "pushf\norl $0x200,(%esp)\npush %cs\npush $after_iret\niret\nafter_iret: nop\ncli");
extern u8 after_sti[], after_two[], after_popf[], after_hlt[], after_iret[];

/// With an interrupt already requested: at which instruction it arrives.
static void arrives(const char *name, const void *code, const void *expected)
{
    start_timer(10);
    wait_requested();
    last_ip = 0;
    attempt(code);
    put(name);
    put(":");
    put_field("count", count[0x20], 2);
    if (expected && last_ip) {
        put(last_ip == (u32)expected ? " where expected" : " elsewhere");
        put_field("at", last_ip - (u32)code, 2);
    }
    end_line();
    if (!count[0x20]) // still requested: let it in
        asm volatile("sti\nnop\nnop\ncli");
    count[0x20] = 0;
    ordered = 0;
}

static void pit(void)
{
    apic_write(0xf0, 0x1ff); // the virtual wire, as firmware sets it up
    apic_write(0x350, 0x700);
    set_pics(0xfe);
    arrives("STI, INC", sti_then, after_sti);
    arrives("STI, CLI", sti_cli, 0);
    arrives("STI, STI", sti_sti, after_two);
    arrives("POPF", popf_then, after_popf);
    arrives("IRET", iret_then, after_iret);
    start_timer(2000);
    attempt(sti_hlt);
    put("HLT woken:");
    put(last_ip == (u32)after_hlt ? " behind HLT" : " elsewhere");
    end_line();
    show("HLT", 0x20);
    out8(0x43, 0x34); // rate generator
    out8(0x40, 0x00);
    out8(0x40, 0x10);
    while (count[0x20] < 5)
        asm volatile("sti\nhlt\ncli");
    start_timer(60000);
    put("periodic timer: woke\n");
    show("periodic timer", 0x21);
    out8(0x21, 0xff);
    start_timer(10);
    wait_requested();
    asm volatile("sti\nnop\nnop\ncli");
    show("masked", 0x20);
    out8(0x21, 0xfe);
    asm volatile("sti\nnop\nnop\ncli");
    show("unmasked", 0x20);
}

static void local_apic(void)
{
    put("APIC:");
    put_field("id", apic_read(0x20), 8);
    put_field("version", apic_read(0x30) & 0xff, 2);
    put_field("base", read_msr(0x1b), 8);
    end_line();
    out8(0x21, 0xff);
    apic_write(0xf0, 0x1ff);
    apic_write(0x350, 0x10000);
    apic_write(0x360, 0x10000);
    // To itself.
    apic_write(0x300, 0x40041); // vector 41, fixed, self
    asm volatile("sti\nnop\nnop\ncli");
    show("IPI to itself", 0x41);
    apic_write(0x300, 0x41);
    apic_write(0x310, 0); // by physical destination
    apic_write(0x300, 0x51);
    put("two requested:");
    put_field("irr", apic_read(0x220), 8);
    end_line();
    asm volatile("sti\nnop\nnop\nnop\ncli");
    put("order:");
    for (unsigned i = 0; i < ordered; i++)
        put_field("vector", order[i], 2);
    end_line();
    show("IPI by id", 0x41);
    apic_write(0x80, 0x60); // TPR
    apic_write(0x300, 0x40052);
    apic_write(0x300, 0x40072);
    asm volatile("sti\nnop\nnop\nnop\ncli");
    put("TPR 60:");
    put_field("52", count[0x52], 1);
    put_field("72", count[0x72], 1);
    end_line();
    apic_write(0x80, 0);
    asm volatile("sti\nnop\nnop\nnop\ncli");
    show("TPR 0", 0x52);
    apic_write(0x300, 0x40400); // NMI, self: not for a shorthand to self in every APIC; by id instead
    show("NMI shorthand", 2);
    apic_write(0x310, 0);
    apic_write(0x300, 0x400);
    asm volatile("nop\nnop");
    show("NMI by id", 2);
    apic_write(0x3e0, 0xb);
    apic_write(0x320, 0x61);
    apic_write(0x380, 5000);
    asm volatile("sti\nhlt\ncli");
    show("APIC timer", 0x61);
    put("APIC timer stopped:");
    put_field("current", apic_read(0x390), 8);
    end_line();
    apic_write(0x320, 0x20062);
    apic_write(0x380, 20000);
    while (count[0x62] < 3)
        asm volatile("sti\nhlt\ncli");
    apic_write(0x380, 0);
    put("APIC timer periodic: woke\n");
    asm volatile("sti\nnop\nnop\ncli");
    show("APIC timer periodic", 0x63);
    apic_write(0x320, 0x10061);
}

static void io_apic(void)
{
    put("I/O APIC:");
    put_field("id", io_apic_read(0), 8);
    put_field("entries", (io_apic_read(1) >> 16 & 0xff) + 1, 2);
    put_field("entry", io_apic_read(0x10 + 2 * 2) & 0x1efff, 8);
    end_line();
    // The 8254 is on pin 2.
    io_apic_write(0x10 + 2 * 2 + 1, 0);
    io_apic_write(0x10 + 2 * 2, 0x71);
    start_timer(1000);
    asm volatile("sti\nhlt\ncli");
    show("8254 by the I/O APIC", 0x71);
    io_apic_write(0x10 + 2 * 2, 0x10071);
    // The virtual wire: LINT0 as ExtINT.
    set_pics(0xfe);
    apic_write(0x350, 0x700);
    start_timer(1000);
    asm volatile("sti\nhlt\ncli");
    show("8254 by LINT0", 0x20);
}

int main(void);
int main(void)
{
    trap_hook = interrupt;
    pit();
    local_apic();
    io_apic();
    return 0;
}
