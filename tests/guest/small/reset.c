// What resets the machine: triple faults, RSM to an impossible state, ports; and what a reset leaves. The guest starts
// anew each time and goes on where RAM says.
#include "guest.h"

#define APIC 0xfee00000u

struct notes { // in RAM that nothing else uses, survives
    u32 magic, stage;
};
#define NOTES ((volatile struct notes *)0x70000)
#define MAGIC 0x52455345

static void load_idt(u32 limit)
{
    struct {
        u16 limit;
        u32 base;
    } __attribute__((packed)) idtr = {(u16)limit, (u32)idt};
    asm volatile("lidt %0" : : "m"(idtr));
}

static void no_vectors(void)
{
    load_idt(0);
    asm volatile("ud2");
}

static void absent_gates(void)
{
    for (unsigned i = 0; i < 32; i++)
        idt[i].type &= 0x7fff;
    asm volatile("int3");
}

static void stack_gone(void)
{
    set_segment(0x58, 0x50000, 0xfff, 0x97, 4); // expand-down: nothing below 0x1000
    asm volatile("mov %0,%%ss\nmov $0x10,%%esp\npush %%eax" : : "r"(0x58));
}

static void page_tables_gone(void)
{
    write_cr3(0x90000); // zeros
    write_cr0(read_cr0() | 0x80000000);
}

static void real_mode_without_vectors(void)
{
    set_segment(0x58, 0x10000, 0xffff, 0x9b, 0);
    load_idt(0);
    *(volatile u32 *)0x1f000 = 0x0b0f9090; // NOP, NOP, UD2
    asm volatile(
        "ljmp $0x58,$1f-0x10000\n.code16\n1: mov %cr0,%eax\nand $0xfe,%al\nmov %eax,%cr0\nljmp $0x1000,$0xf000\n"
        ".code32");
}

/// An SMI whose handler asks for paging without protection.
static void impossible_rsm(void)
{
    static const u8 handler[] = {0x66, 0xbb, 0x58, 0xff, 0x03, 0x00,             // mov ebx, 0x3ff58: CR0 in the map
                                 0x67, 0x66, 0xc7, 0x03, 0x10, 0x00, 0x00, 0x80, // mov dword [ebx], 0x80000010
                                 0x0f, 0xaa};                                    // rsm
    for (unsigned i = 0; i < sizeof handler; i++)
        ((volatile u8 *)0x38000)[i] = handler[i];
    *(volatile u32 *)(APIC + 0xf0) = 0x1ff;
    *(volatile u32 *)(APIC + 0x300) = 0x4200;
}

static void port_92(void)
{
    out8(0x92, in8(0x92) & ~1u);
    out8(0x92, in8(0x92) | 1u);
}

static void port_cf9(void)
{
    out8(0xcf9, 2);
    out8(0xcf9, 6);
}

static void keyboard(void)
{
    out8(0x64, 0xfe);
}

static const struct cause {
    const char *name;
    void (*cause)(void);
    bool not_tcg;
} causes[] = {{"UD2 without vectors", no_vectors, false},
              {"INT3 with absent gates", absent_gates, false},
              {"PUSH without a stack", stack_gone, true},
              {"paging without tables", page_tables_gone, false},
              {"real mode without vectors", real_mode_without_vectors, false},
              {"RSM to an impossible CR0", impossible_rsm, false},
              {"port 92", port_92, false},
              {"port CF9", port_cf9, false},
              {"keyboard controller", keyboard, false}};

/// Bochs has no fw_cfg; it ends at an RSM that must shut the processor down.
static bool bochs_leaves_out(const struct cause *cause)
{
    asm volatile("outw %w0, %w1" : : "a"(0), "Nd"(0x510));
    if (cause->cause != impossible_rsm || (in8(0x511) == 'Q' && in8(0x511) == 'E'))
        return false;
    put(cause->name);
    put(": left out\n");
    return true;
}

int main(void);
int main(void)
{
    if (NOTES->magic != MAGIC) {
        NOTES->magic = MAGIC;
        NOTES->stage = 0;
        put("first start\n");
    } else {
        word dr6, dr7;
        asm volatile("mov %%dr6,%0\nmov %%dr7,%1" : "=r"(dr6), "=r"(dr7));
        put(causes[NOTES->stage].name);
        put(": reset");
        put_field("cr2", read_cr2(), 8);
        put_field("cr3", read_cr3(), 8);
        put_field("cr4", read_cr4(), 8);
        put_field("dr6", dr6, 8);
        put_field("dr7", dr7, 8);
        put_field("sysenter", read_msr(0x174), 4);
        put_field("efer", read_msr(0xc0000080), 4);
        put_field("apic", read_msr(0x1b), 8);
        end_line();
        NOTES->stage++;
    }
    for (; NOTES->stage < COUNT_OF(causes); NOTES->stage++) {
        const struct cause *cause = &causes[NOTES->stage];
        if (!(cause->not_tcg && leaves_out(cause->name)) && !bochs_leaves_out(cause))
            break;
    }
    if (NOTES->stage >= COUNT_OF(causes)) {
        NOTES->magic = 0;
        return 0;
    }
    while (!(in8(0x3fd) & 0x40)) // the serial port is reset too
        ;
    write_cr2(0x12345678); // none of it stays
    write_cr3(0x90000);
    write_cr4(read_cr4() | 0x10);
    write_msr(0x174, 0x80);
    write_msr(0xc0000080, 1);
    asm volatile("mov %0,%%dr6\nmov %1,%%dr7" : : "r"(0xffff0ff1), "r"(0x401));
    causes[NOTES->stage].cause();
    for (u32 i = 0; i < 100000000; i++)
        asm volatile("nop");
    put(causes[NOTES->stage].name);
    put(": NO reset\n");
    return 0;
}
