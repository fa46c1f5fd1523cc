// MWAIT as an idle loop: interrupts end it, also masked ones where the guest asks for that, in 32-bit code. How long it
// sleeps is shown nowhere: a processor may come back from MWAIT at any time.
#include "guest.h"

static volatile u32 ticks;
static __attribute__((aligned(64))) volatile u32 line[16];

static bool interrupt(struct frame *frame)
{
    if (frame->vector != 0x20)
        return false;
    ticks++;
    out8(0x20, 0x20);
    return true;
}

static void set_pics(void)
{
    static const u8 words[][2] = {{0x20, 0x11}, {0x21, 0x20}, {0x21, 4}, {0x21, 1},
                                  {0xa0, 0x11}, {0xa1, 0x28}, {0xa1, 2}, {0xa1, 1}};
    for (unsigned i = 0; i < COUNT_OF(words); i++)
        out8(words[i][0], words[i][1]);
    out8(0x21, 0xfe);
    out8(0xa1, 0xff);
}

/// Channel 0 in one-shot mode.
static void start_timer(u32 count)
{
    out8(0x43, 0x30);
    out8(0x40, (u8)count);
    out8(0x40, (u8)(count >> 8));
}

static bool requested(void)
{
    out8(0x20, 0x0a);
    return in8(0x20) & 1;
}

static void monitor(void)
{
    asm volatile("monitor" : : "a"(line), "c"(0), "d"(0) : "memory");
}

/// STI holds interrupts off until MWAIT has begun.
static void mwait_enabled(void)
{
    asm volatile("sti\nmwait\ncli" : : "a"(0), "c"(0) : "memory");
}

static void mwait_masked(void)
{
    asm volatile("mwait" : : "a"(0), "c"(1) : "memory");
}

static void show(const char *name)
{
    put(name);
    put(":");
    put_field("ticks", ticks, 2);
    put_field("requested", requested(), 1);
    end_line();
}

int main(void);
int main(void)
{
    set_pics();
    trap_hook = interrupt;
    if (!leaves_out("interrupts")) {
        for (unsigned i = 0; i < 20; i++) {
            u32 before = ticks;
            start_timer(20000);
            while (ticks == before) {
                monitor();
                if (ticks == before)
                    mwait_enabled();
            }
        }
        show("interrupts");
    }
    // Masked, with ECX bit 0: the wait ends, the interrupt waits on.
    if (!leaves_out("masked")) {
        for (unsigned i = 0; i < 10; i++) {
            start_timer(20000);
            while (!requested()) {
                monitor();
                mwait_masked();
            }
            if (i < 9)
                asm volatile("sti\nnop\nnop\ncli");
        }
        show("masked");
        asm volatile("sti\nnop\nnop\ncli");
    }
    // A store between MONITOR and MWAIT: it must not sleep, nothing would wake it.
    if (!leaves_out("stores")) {
        for (unsigned i = 0; i < 100; i++) {
            monitor();
            line[i % 16]++;
            asm volatile("mwait" : : "a"(0), "c"(0) : "memory");
        }
        asm volatile("mwait" : : "a"(0), "c"(0) : "memory"); // nor without MONITOR
        show("stores");
    }
    guest_end();
}
