// AVX as a system sees it: what OSXSAVE, XCR0 and CR0.TS forbid, what becomes of upper halves, what XSAVE saves of
// them; encodings that are none; accesses that must be aligned, or that a mask leaves out.
#include "guest.h"

#define ENABLE_XSAVE (1 << 18)
__attribute__((aligned(64))) u8 area[896];
__attribute__((aligned(64))) u32 values[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
__attribute__((aligned(64))) u32 result[8];
u32 mask = 7, xcr_value;

#define LOAD_MASK "mov mask,%eax\nxor %edx,%edx\n"
#define SHOW "vmovups %ymm0,result\n"
SNIPPET(do_xsave, LOAD_MASK "xsave area");
SNIPPET(do_xrstor, LOAD_MASK "xrstor area");
SNIPPET(do_xsaveopt, LOAD_MASK "xsaveopt area");
SNIPPET(set_xcr, "xor %ecx,%ecx\nmov xcr_value,%eax\nxor %edx,%edx\nxsetbv");
SNIPPET(move, "vmovups values,%ymm0");
SNIPPET(andn, "andn %ecx,%ecx,%eax");
SNIPPET(zero_upper, "vzeroupper");
SNIPPET(aligned_32, "vmovaps values+32,%ymm0");
SNIPPET(aligned_16, "vmovaps values+16,%ymm0");
SNIPPET(aligned_xmm, "vmovaps values+16,%xmm0");
SNIPPET(unaligned, "vpaddd values+4,%ymm0,%ymm0");
SNIPPET(stream, "vmovntdq %ymm0,result-16");
SNIPPET(lock_prefix, ".byte 0xf0,0xc5,0xfd,0xfe,0xc0");
SNIPPET(operand_prefix, ".byte 0x66,0xc5,0xfd,0xfe,0xc0");
SNIPPET(third_register, ".byte 0xc4,0xe2,0x75,0x17,0xc1");                    // vptest has no VEX.vvvv
SNIPPET(long_insert, ".byte 0xc4,0xe3,0x75,0x21,0xc1,0x00");                  // vinsertps has no VEX.L
SNIPPET(same_registers, ".byte 0xc4,0xe2,0x75,0x90,0x04,0x0d\n.long values"); // gather: index and mask are one
SNIPPET(no_sib, ".byte 0xc4,0xe2,0x75,0x90,0x05\n.long 0");

#define FILL "vmovups values,%ymm0\nvmovups values+32,%ymm1\n"
SNIPPET(add, FILL "vpaddd %ymm1,%ymm0,%ymm0\n" SHOW);
SNIPPET(short_form, FILL "vpaddd %xmm1,%xmm0,%xmm0\n" SHOW);
SNIPPET(legacy, FILL "paddd %xmm1,%xmm0\n" SHOW);
SNIPPET(load_scalar, FILL "vmovd values,%xmm0\n" SHOW);
SNIPPET(cleared, FILL "vzeroupper\n" SHOW);
SNIPPET(all_cleared, FILL "vzeroall\n" SHOW);
SNIPPET(permuted, FILL "vpsrld $1,%ymm1,%ymm1\nvpermd %ymm0,%ymm1,%ymm0\n" SHOW);
SNIPPET(shifted, FILL "vpsllvd %ymm0,%ymm1,%ymm0\n" SHOW);
SNIPPET(broadcast, "vpbroadcastb values+4,%ymm0\n" SHOW);
SNIPPET(fused, FILL "vcvtdq2ps %ymm0,%ymm0\nvcvtdq2ps %ymm1,%ymm1\nvfmadd213ps %ymm1,%ymm0,%ymm0\n" SHOW);
SNIPPET(half, FILL "vcvtdq2ps %ymm0,%ymm0\nvcvtps2ph $0,%ymm0,%xmm0\n" SHOW);
SNIPPET(gathered, "vmovups values,%ymm1\nvpcmpeqd %ymm2,%ymm2,%ymm2\nvpgatherdd %ymm2,values(,%ymm1,4),%ymm0\n" SHOW);
SNIPPET(masked, FILL "vpslld $31,%ymm0,%ymm0\nvmaskmovps values+32,%ymm0,%ymm0\n" SHOW);
SNIPPET(tested, FILL "xor %eax,%eax\nvptest %ymm0,%ymm1\nsetz %al\nsetc %ah");
SNIPPET(mask_of_bytes, "vpcmpeqd %ymm0,%ymm0,%ymm0\nvpslldq $5,%ymm0,%ymm0\nvpmovmskb %ymm0,%eax");

static void set(u32 value)
{
    xcr_value = value;
    attempt(set_xcr);
}

static void show(const char *name, const void *code)
{
    attempt(code);
    put(name);
    put(":");
    if (trap.vector >= 0)
        put_field("trap", (u64)trap.vector, 2);
    for (unsigned i = 0; i < 8; i++) {
        put(" ");
        put_hex(result[i], 8);
    }
    end_line();
}

static void allowed(void)
{
    struct cpuid one = cpuid(1, 0), leaf = cpuid(0xd, 2);
    put("cpuid:");
    put_field("avx", one.c >> 28 & 1, 1);
    put_field("fma", one.c >> 12 & 1, 1);
    put_field("f16c", one.c >> 29 & 1, 1);
    put_field("avx2", cpuid(7, 0).b >> 5 & 1, 1);
    put_field("size", leaf.a, 4);
    put_field("offset", leaf.b, 4);
    put_field("supervisor", leaf.c & 1, 1);
    end_line();
    probe("without OSXSAVE", move);
    probe("ANDN without OSXSAVE", andn);
    write_cr4(read_cr4() | ENABLE_XSAVE | 0x600);
    for (u32 value = 0; value < 8; value++) {
        xcr_value = 1;
        attempt(set_xcr);
        xcr_value = value;
        put("xcr0 ");
        put_hex(value, 1);
        probe("", set_xcr);
        put("then ");
        put_hex(value, 1);
        probe("", move);
    }
    put("sizes:");
    put_field("now", cpuid(0xd, 0).b, 4);
    set(3);
    put_field("with 3", cpuid(0xd, 0).b, 4);
    end_line();
    set(7);
    write_cr0(read_cr0() | 8); // TS
    probe("TS", move);
    probe("TS, ANDN", andn);
    set(3);
    probe("TS and XCR0", move);
    set(7);
    write_cr0(read_cr0() & ~(word)8);
    probe("ring 0", move);
    probe_user("ring 3", move);
}

static void encodings(void)
{
    probe("VZEROUPPER", zero_upper);
    probe("aligned to 32", aligned_32);
    probe("aligned to 16", aligned_16);
    probe("XMM aligned to 16", aligned_xmm);
    probe("not aligned", unaligned);
    probe("VMOVNTDQ", stream);
    probe("LOCK", lock_prefix);
    probe("66", operand_prefix);
    probe("VEX.vvvv", third_register);
    probe("VEX.L", long_insert);
    probe("the same registers", same_registers);
    probe("no SIB", no_sib);
}

static void results(void)
{
    show("vpaddd ymm", add);
    show("vpaddd xmm", short_form);
    show("paddd", legacy);
    show("vmovd", load_scalar);
    show("vzeroupper", cleared);
    show("vzeroall", all_cleared);
    show("vpermd", permuted);
    show("vpsllvd", shifted);
    show("vpbroadcastb", broadcast);
    show("vfmadd213ps", fused);
    show("vcvtps2ph", half);
    show("vpgatherdd", gathered);
    show("vmaskmovps", masked);
    probe("vptest", tested);
    probe("vpmovmskb", mask_of_bytes);
}

static void show_area(const char *name)
{
    put(name);
    put(":");
    put_field("xmm0", *(u64 *)(area + 160), 16);
    put_field("bv", *(u64 *)(area + 512), 16);
    put_field("ymm0", *(u64 *)(area + 576), 16);
    put_field("ymm7", *(u64 *)(area + 576 + 7 * 16), 16);
    put_field("behind", *(u64 *)(area + 832), 16);
    end_line();
}

static void clear(u8 value)
{
    for (unsigned i = 0; i < sizeof area; i++)
        area[i] = value;
    for (unsigned i = 512; i < 576; i++)
        area[i] = 0;
}

static void saving(void)
{
    static const u64 ones[4] = {1, 1, 1, 1};
    asm volatile("vzeroall\nvmovups values,%ymm0\nvmovups values+32,%ymm7");
    for (mask = 2; mask < 8; mask += mask == 2 ? 2 : 3) { // SSE, AVX, all
        clear(0xcc);
        probe("xsave", do_xsave);
        show_area("saved");
    }
    asm volatile("vzeroall");
    probe("xrstor", do_xrstor);
    clear(0xcc);
    probe("xsave again", do_xsave);
    show_area("restored");
    asm volatile("vzeroupper");
    clear(0xcc);
    probe("xsaveopt", do_xsaveopt);
    show_area("upper halves clear");
    asm volatile("vmovups %0,%%ymm0" : : "m"(ones));
    clear(0);
    *(u32 *)(area + 24) = 0x1f80;
    mask = 4;
    probe("xrstor initial AVX", do_xrstor);
    mask = 7;
    clear(0xcc);
    probe("xsave initial AVX", do_xsave);
    show_area("initialised");
    set(3);
    area[512] = 4;
    probe("AVX off in XCR0", do_xrstor);
}

int main(void);
int main(void)
{
    allowed();
    encodings();
    results();
    saving();
    guest_end();
}
