// x87 errors with CR0.NE clear: FERR, IRQ 13 through the 8259 pair, port 0xF0 and IGNNE; with CR0.NE set, #MF. 32-bit
// code.
#include "guest.h"

#define APIC 0xfee00000u

static volatile u32 count, last_ip, last_status;
static bool clear_in_handler;

static bool interrupt(struct frame *frame)
{
    u16 status;
    if (frame->vector != 0x2d)
        return false;
    asm volatile("fnstsw %0" : "=a"(status));
    count++;
    last_ip = frame->ip;
    last_status = status;
    out8(0xf0, 0);
    if (clear_in_handler)
        asm volatile("fnclex");
    out8(0xa0, 0x20);
    out8(0x20, 0x20);
    return true;
}

static void set_pics(void)
{
    static const u8 words[][2] = {{0x20, 0x11}, {0x21, 0x20}, {0x21, 4}, {0x21, 1},    {0xa0, 0x11},
                                  {0xa1, 0x28}, {0xa1, 2},    {0xa1, 1}, {0x21, 0xfb}, {0xa1, 0xdf}};
    for (unsigned i = 0; i < COUNT_OF(words); i++)
        out8(words[i][0], words[i][1]);
}

/// 1/0 with the exception unmasked: FSW.ES, nothing else yet.
static void divide(void)
{
    static const u16 control = 0x37b;
    asm volatile("fninit\nfldcw %0\nfld1\nfldz\nfdivrp\n" : : "m"(control));
}

static u32 status(void)
{
    u16 value;
    asm volatile("fnstsw %0" : "=a"(value));
    return value;
}

static void show(const char *name, const void *where)
{
    put(name);
    put(":");
    put_field("count", count, 1);
    put_field("status", last_status, 4);
    put_field("after", status(), 4);
    if (where)
        put(last_ip == (u32)where ? " before the instruction" : " elsewhere");
    end_line();
    count = last_status = last_ip = 0;
}

/// Runs code that waits for the exception. QEMU TCG ends in a failed assertion when FERR rises: its list of exceptions
/// has the lines in place of these.
static void wait_in(const char *name, const void *code, const void *where)
{
    if (leaves_out(name))
        return;
    attempt(code);
    show(name, where);
}

SNIPPET(nothing_waits, "sti\nfnstsw %ax\nfnstcw -64(%esp)\nnop\nnop\ncli");
SNIPPET(wait_for_it, "sti\nnop\nat_wait: fwait\nnop\nnop\ncli");
SNIPPET(load_one, "sti\nnop\nat_load: fld1\nnop\nnop\ncli");
SNIPPET(enter_mmx, "sti\nnop\nat_mmx: movd %eax,%mm0\nnop\nnop\ncli");
SNIPPET(plain_wait, "fwait");
SNIPPET(video, "int $0x10");
extern u8 at_wait[], at_load[], at_mmx[];

static void by_interrupt(void)
{
    clear_in_handler = true;
    divide();
    attempt(nothing_waits);
    show("no waiting instruction", 0);
    wait_in("WAIT", wait_for_it, at_wait);
    divide();
    wait_in("FLD1", load_one, at_load);
    divide();
    wait_in("MOVD", enter_mmx, at_mmx);
    asm volatile("fninit");
    wait_in("nothing pending", wait_for_it, 0);

    // The handler only writes port 0xF0: IGNNE lets everything run until the exception is cleared.
    clear_in_handler = false;
    divide();
    wait_in("ignored", load_one, at_load);
    wait_in("still ignored", load_one, 0);
    asm volatile("fnclex");
    divide();
    clear_in_handler = true;
    wait_in("ignored no more", load_one, at_load);

    // Port 0xF0 without an error does nothing.
    out8(0xf0, 0);
    divide();
    wait_in("port 0xF0 before", wait_for_it, at_wait);
}

int main(void);
int main(void)
{
    trap_hook = interrupt;
    write_cr0(read_cr0() & ~(word)0x2e);    // no NE, TS, EM, MP
    *(volatile u32 *)(APIC + 0xf0) = 0x1ff; // the virtual wire, as firmware sets it up
    *(volatile u32 *)(APIC + 0x350) = 0x700;
    set_pics();
    by_interrupt();
    probe("INT 10", video);
    divide();
    write_cr0(read_cr0() | 0x20);
    probe("WAIT with NE", plain_wait);
    put("after #MF:");
    put_field("status", status(), 4);
    end_line();
    asm volatile("fnclex");
    probe("WAIT with NE, cleared", plain_wait);
    return 0;
}
