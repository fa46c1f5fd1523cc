// XSAVE and XCR0 as a system sees them: who may do what and when, headers, what is saved, loaded and initialised. And
// the prefixes that VEX-encoded instructions refuse, MONITOR and MWAIT outside ring 0.
#include "guest.h"

#define ENABLE_XSAVE (1 << 18)
__attribute__((aligned(64))) u8 area[640];
u32 mask = 3, xcr_number, xcr_value;

#define LOAD_MASK "mov mask,%eax\nxor %edx,%edx\n"
SNIPPET(do_xsave, LOAD_MASK "xsave area");
SNIPPET(do_xrstor, LOAD_MASK "xrstor area");
SNIPPET(do_xsaveopt, LOAD_MASK "xsaveopt area");
SNIPPET(xsave_off_by_one, LOAD_MASK "xsave area+1");
SNIPPET(xsave_off_by_32, LOAD_MASK "xsave area+32");
SNIPPET(xrstor_off_by_32, LOAD_MASK "xrstor area+32");
SNIPPET(locked_xsave, LOAD_MASK ".byte 0xf0\nxsave area");
SNIPPET(get_xcr, "mov xcr_number,%ecx\nxgetbv");
SNIPPET(set_xcr, "mov xcr_number,%ecx\nmov xcr_value,%eax\nxor %edx,%edx\nxsetbv");
SNIPPET(set_xcr_high, "xor %ecx,%ecx\nmov $1,%eax\nmov $0x40000000,%edx\nxsetbv");
// ANDN eax, eax, ecx in forms that are none: prefixes, L, no third operand for RORX.
SNIPPET(andn, "mov $0x0ff0,%eax\nmov $0x12345678,%ecx\n.byte 0xc4,0xe2,0x78,0xf2,0xc1");
SNIPPET(andn_66, "mov $0x0ff0,%eax\nmov $0x12345678,%ecx\n.byte 0x66,0xc4,0xe2,0x78,0xf2,0xc1");
SNIPPET(andn_f3, "mov $0x0ff0,%eax\nmov $0x12345678,%ecx\n.byte 0xf3,0xc4,0xe2,0x78,0xf2,0xc1");
SNIPPET(andn_f2, "mov $0x0ff0,%eax\nmov $0x12345678,%ecx\n.byte 0xf2,0xc4,0xe2,0x78,0xf2,0xc1");
SNIPPET(andn_lock, "mov $0x0ff0,%eax\nmov $0x12345678,%ecx\n.byte 0xf0,0xc4,0xe2,0x78,0xf2,0xc1");
SNIPPET(andn_l, "mov $0x0ff0,%eax\nmov $0x12345678,%ecx\n.byte 0xc4,0xe2,0x7c,0xf2,0xc1");
SNIPPET(rorx_vvvv, "mov $0x0ff0,%eax\nmov $0x12345678,%ecx\n.byte 0xc4,0xe3,0x73,0xf0,0xc1,0x04");
SNIPPET(rorx, "mov $0x0ff0,%eax\nmov $0x12345678,%ecx\n.byte 0xc4,0xe3,0x7b,0xf0,0xc1,0x04");
SNIPPET(evex, "mov $0x0ff0,%eax\nmov $0x12345678,%ecx\n.byte 0x62,0xf1,0x7c,0x48,0x0b,0xc0");
SNIPPET(do_monitor, "lea area,%" IF64("rax", "eax") "\nxor %ecx,%ecx\nxor %edx,%edx\nmonitor\nxor %eax,%eax");
SNIPPET(monitor_ecx, "lea area,%" IF64("rax", "eax") "\nmov $1,%ecx\nxor %edx,%edx\nmonitor");
SNIPPET(do_mwait, "xor %eax,%eax\nxor %ecx,%ecx\nmwait");
SNIPPET(mwait_ecx, "xor %eax,%eax\nmov $2,%ecx\nmwait");

static void clear(u8 value)
{
    for (unsigned i = 0; i < sizeof area; i++)
        area[i] = value;
}

static void header(u64 state, u64 compaction, u64 rest)
{
    clear(0);
    *(u64 *)(area + 512) = state;
    *(u64 *)(area + 520) = compaction;
    *(u64 *)(area + 528) = rest;
    *(u16 *)area = 0x037f;
    *(u32 *)(area + 24) = 0x1f80;
}

static void fill_registers(void)
{
    static const u64 value[2] = {0x1122334455667788, 0x99aabbccddeeff00};
    u32 mxcsr = 0x1fa0;
    asm volatile("fninit\nfld1\nfldpi\nmovups %0,%%xmm0\nmovups %0,%%xmm7\nldmxcsr %1" : : "m"(value), "m"(mxcsr));
}

static void dump(const char *name, unsigned from, unsigned length)
{
    put(" ");
    put(name);
    put("=");
    for (unsigned i = 0; i < length; i++)
        put_hex(area[from + i], 2);
}

static void show_area(const char *name)
{
    put(name);
    put(":");
    dump("control", 0, 2);
    dump("tags", 4, 1);
    dump("mxcsr", 24, 4);
    dump("st0", 32, 10);
    dump("xmm0", 160, 16);
    dump("xmm7", 272, 16);
    dump("bv", 512, 8);
    dump("next", 520, 1);
    end_line();
}

static void show_registers(const char *name)
{
    u16 control;
    u32 mxcsr;
    u64 xmm[2];
    asm volatile("fnstcw %0\nstmxcsr %1\nmovups %%xmm7,%2" : "=m"(control), "=m"(mxcsr), "=m"(xmm));
    put(name);
    put(":");
    put_field("control", control, 4);
    put_field("mxcsr", mxcsr, 4);
    put_field("xmm7", xmm[0], 16);
    end_line();
}

static void set(u32 number, u32 value)
{
    xcr_number = number;
    xcr_value = value;
}

static void switched_off(void)
{
    write_cr0(read_cr0() | 8); // TS: #UD comes first
    probe("xsave off", do_xsave);
    probe("xrstor off", do_xrstor);
    probe("xgetbv off", get_xcr);
    probe("xsetbv off", set_xcr);
    write_cr4(read_cr4() | ENABLE_XSAVE);
    put("OSXSAVE:");
    put_field("bit", cpuid(1, 0).c >> 27 & 1, 1);
    end_line();
    probe("xsave TS", do_xsave);
    probe("xrstor TS", do_xrstor);
    probe("xsaveopt TS", do_xsaveopt);
    set(0, 1);
    probe("xgetbv TS", get_xcr);
    write_cr0(read_cr0() & ~(word)8);
}

static void xcr0(void)
{
    set(0, 0);
    probe("xsetbv 0", set_xcr);
    set(0, 2);
    probe("xsetbv without x87", set_xcr);
    set(1, 1);
    probe("xsetbv XCR1", set_xcr);
    probe("xsetbv bit 62", set_xcr_high);
    set(0, 3);
    probe("xsetbv 3", set_xcr);
    probe_user("xsetbv ring 3", set_xcr);
    probe_user("xgetbv ring 3", get_xcr);
    set(7, 3);
    probe("xgetbv XCR7", get_xcr);
}

static void saving(void)
{
    probe("xsave off by one", xsave_off_by_one);
    probe("xsave off by 32", xsave_off_by_32);
    probe("xrstor off by 32", xrstor_off_by_32);
    probe("locked xsave", locked_xsave);
    for (mask = 0; mask < 4; mask++) {
        fill_registers();
        clear(0xcc);
        attempt(do_xsave);
        show_area((const char *[]){"xsave none", "xsave x87", "xsave sse", "xsave both"}[mask]);
    }
    mask = 7; // more than XCR0 has
    fill_registers();
    clear(0xcc);
    attempt(do_xsave);
    show_area("xsave 7");
    mask = 3;
}

static void loading(void)
{
    fill_registers();
    header(0, 0, 0);
    attempt(do_xsave);
    asm volatile("fninit\npxor %xmm7,%xmm7");
    attempt(do_xrstor);
    show_registers("loaded");
    for (mask = 0; mask < 4; mask++) {
        fill_registers();
        header(0, 0, 0);
        attempt(do_xrstor);
        show_registers((const char *[]){"init none", "init x87", "init sse", "init both"}[mask]);
    }
    mask = 3;
    header(4, 0, 0);
    probe("BV beyond XCR0", do_xrstor);
    header(1ull << 62, 0, 0);
    probe("BV bit 62", do_xrstor);
    header(3, 1, 0);
    probe("bytes 8 to 15", do_xrstor);
    header(3, 0, 1);
    probe("bytes 16 to 23", do_xrstor);
    header(3, 0, 0);
    *(u64 *)(area + 536) = 5;
    probe("bytes from 24", do_xrstor);
    header(3, 0, 0);
    *(u32 *)(area + 24) = 0x10000;
    probe("MXCSR", do_xrstor);
    header(0, 0, 0);
    *(u32 *)(area + 24) = 0x10000;
    probe("MXCSR, BV 0", do_xrstor);
    mask = 1;
    probe("MXCSR, x87 only", do_xrstor);
    mask = 3;
    set(0, 1);
    attempt(set_xcr);
    header(2, 0, 0);
    probe("SSE off in XCR0", do_xrstor);
}

int main(void);
int main(void)
{
    write_cr4(read_cr4() | 0x600);
    switched_off();
    xcr0();
    saving();
    loading();
    probe("andn", andn);
    probe("andn 66", andn_66);
    probe("andn F3", andn_f3);
    probe("andn F2", andn_f2);
    probe("andn lock", andn_lock);
    probe("andn L", andn_l);
    probe("rorx", rorx);
    probe("rorx vvvv", rorx_vvvv);
    probe("evex", evex);
    probe("monitor", do_monitor);
    probe("monitor ECX", monitor_ecx);
    probe("mwait ECX", mwait_ecx);
    probe_user("monitor ring 3", do_monitor);
    probe_user("mwait ring 3", do_mwait);
    guest_end();
}
