// x87, MMX and SSE as a system sees them: images of FXSAVE, FNSAVE and FNSTENV, tags, stack faults, rounding, MXCSR,
// conversions, what MMX does to tags. FIP, FDP and FOP are not shown.
#include "guest.h"

static __attribute__((aligned(64))) u8 image[512], other[512];

static void bytes(const char *name, unsigned from, unsigned length)
{
    put(" ");
    put(name);
    put("=");
    for (unsigned i = 0; i < length; i++)
        put_hex(image[from + i], 2);
}

static void clear(void)
{
    for (unsigned i = 0; i < sizeof image; i++)
        image[i] = 0xcc;
}

static void show_fxsave(const char *name)
{
    clear();
    asm volatile("fxsave %0" : "=m"(image));
    put(name);
    put(":");
    bytes("control", 0, 2);
    put_field("status", *(u16 *)(image + 2) & ~0x4700u, 4); // condition codes are often undefined
    bytes("tags", 4, 2);
    bytes("mxcsr", 24, 4);
    unsigned top = image[3] >> 3 & 7;
    for (unsigned i = 0; i < 8; i++)
        if (image[4] >> ((top + i) & 7) & 1)
            bytes("st", 32 + 16 * i, 10);
    end_line();
}

static void show_xmm(const char *name)
{
    asm volatile("movups %%xmm0,%0\nmovups %%xmm1,%1" : "=m"(*(u8(*)[16])image), "=m"(*(u8(*)[16])(image + 16)));
    put(name);
    put(":");
    bytes("xmm0", 0, 16);
    bytes("xmm1", 16, 16);
    u32 mxcsr;
    asm volatile("stmxcsr %0" : "=m"(mxcsr));
    put_field("mxcsr", mxcsr, 4);
    end_line();
}

static void show_status(const char *name)
{
    u16 status;
    asm volatile("fnstsw %0" : "=a"(status));
    put(name);
    put(":");
    put_field("status", status, 4);
    end_line();
}

static void show_environment(const char *name)
{
    clear();
    asm volatile("fnstenv %0\nfldenv %0" : "=m"(image));
    put(name);
    put(":");
    bytes("control", 0, 2);
    bytes("status", 4, 2);
    bytes("tags", 8, 2);
    end_line();
}

static void x87(void)
{
    asm volatile("fninit");
    show_fxsave("FNINIT");
    asm volatile("fld1\nfldpi\nfldz\nfld1\nfchs");
    show_fxsave("four values");
    show_environment("environment");
    asm volatile("fstp %%st(0)\nfaddp" : :);
    show_fxsave("FADDP");
    asm volatile("fninit\nfld1\nfld1\nfld1\nfld1\nfld1\nfld1\nfld1\nfld1\nfld1");
    show_status("stack overflow");
    show_environment("after an overflow");
    asm volatile("fninit\nfadd %%st(1)" : :);
    show_status("stack underflow");
    asm volatile("fninit\nfldz\nfld1\nfdivp" : :);
    show_fxsave("1/0 or 0/1");
    asm volatile("fninit\nfld1\nfchs\nfsqrt");
    show_fxsave("root of -1");
    asm volatile("fninit\nfld1\nfldpi\nfcom\nfnstsw %%ax\nfucomi\n" : : : "ax", "cc");
    show_status("FCOM");
    asm volatile("fldz\nfxam");
    show_status("FXAM zero");
    asm volatile("ffree %%st(0)\nfxam" : :);
    show_status("FXAM empty");
    static const u16 controls[] = {0x37f, 0x77f, 0xb7f, 0xf7f, 0x27f, 0x7f};
    for (unsigned i = 0; i < COUNT_OF(controls); i++) {
        u32 integer;
        asm volatile(
            "fninit\nfldcw %1\nfldpi\nfistl %0\nfld1\nfaddp\nfld1\nfadd %%st,%%st(0)\nfadd %%st,%%st(0)\nfld1\n"
            "faddp\nfdivrp"
            : "=m"(integer)
            : "m"(controls[i]));
        put("rounding ");
        put_number(i);
        put(":");
        put_field("integer", integer, 8);
        clear();
        asm volatile("fstpt %0\nfninit" : "=m"(image));
        bytes("value", 0, 10);
        end_line();
    }
    asm volatile("fninit\nfld1\nfldpi\nfnsave %0" : "=m"(other));
    show_fxsave("behind FNSAVE");
    asm volatile("frstor %0" : : "m"(other));
    show_fxsave("FRSTOR");
    asm volatile("fbstp %0\nfistpll %1" : "=m"(*(u8(*)[10])other), "=m"(*(u64 *)(other + 16)));
    put("FBSTP:");
    put_field("low", *(u64 *)other, 16);
    put_field("FISTP", *(u64 *)(other + 16), 16);
    end_line();
    asm volatile("fninit\nfldcw %0\nfld1\nfldz\nfdivrp" : : "m"(*(u16[]){0x37b}));
    show_status("pending division by zero");
    asm volatile("fnclex\nfninit");
    show_status("FNINIT again");
}

static void mmx(void)
{
    asm volatile("fninit\nfld1\nfldpi\nmovd %0,%%mm3" : : "r"(0x12345678));
    show_fxsave("MOVD to MM3");
    asm volatile("paddd %mm3,%mm3\npunpcklbw %mm3,%mm3\npsrlq $4,%mm3");
    show_fxsave("MMX arithmetic");
    asm volatile("emms");
    show_fxsave("EMMS");
    asm volatile("fninit");
}

static void sse(void)
{
    static const float floats[4] = {1.5f, -2.25f, 3e38f, 1e-40f};
    static const float factors[4] = {3.f, 7.f, 10.f, 0.5f};
    static const u32 modes[] = {0x1f80, 0x3f80, 0x5f80, 0x7f80, 0x9fc0};
    for (unsigned i = 0; i < COUNT_OF(modes); i++) {
        asm volatile("ldmxcsr %0\nmovups %1,%%xmm0\nmovups %2,%%xmm1\nmulps %%xmm1,%%xmm0\ndivps %%xmm0,%%xmm1"
                     :
                     : "m"(modes[i]), "m"(floats), "m"(factors));
        put("MXCSR ");
        put_number(i);
        show_xmm(", MULPS and DIVPS");
    }
    u32 normal = 0x1f80, results[4];
    asm volatile("ldmxcsr %4\nmovups %5,%%xmm0\ncvttss2si %%xmm0,%0\ncvtss2si %%xmm0,%1\nshufps $0xaa,%%xmm0,%%xmm0\n"
                 "cvttss2si %%xmm0,%2\ncvtps2pd %%xmm0,%%xmm1\ncvttsd2si %%xmm1,%3"
                 : "=r"(results[0]), "=r"(results[1]), "=r"(results[2]), "=r"(results[3])
                 : "m"(normal), "m"(floats));
    put("conversions:");
    for (unsigned i = 0; i < 4; i++)
        put_field("value", results[i], 8);
    end_line();
    show_xmm("after conversions");
    asm volatile("ldmxcsr %0\npcmpeqd %%xmm0,%%xmm0\nmovaps %%xmm0,%%xmm1\npsrldq $5,%%xmm1\npaddq "
                 "%%xmm1,%%xmm0\npmuludq %%xmm1,%%xmm0"
                 :
                 : "m"(normal));
    show_xmm("integers");
    asm volatile("xorps %xmm1,%xmm1\nsqrtpd %xmm1,%xmm0\nunpcklps %xmm0,%xmm1\ncmpunordps %xmm1,%xmm0");
    show_xmm("compare");
    clear();
    asm volatile("fninit\nfxsave %0" : "=m"(image));
    put("FXSAVE:");
    bytes("xmm0", 160, 16);
    bytes("behind", IF64(416, 288), 16);
    end_line();
    for (unsigned i = 0; i < sizeof other; i++)
        other[i] = image[i];
    other[160] = 0x42;
    *(u16 *)other = 0x27f;
    other[4] = 0x81;
    asm volatile("fxrstor %0" : : "m"(other));
    show_fxsave("FXRSTOR");
    show_xmm("registers of FXRSTOR");
}

SNIPPET(restore_reserved, "fxrstor bad_image");
SNIPPET(save_odd, "fxsave bad_image+8");
__attribute__((aligned(64))) u8 bad_image[576];

int main(void);
int main(void)
{
    write_cr0((read_cr0() & ~(word)0xc) | 0x22);
    write_cr4(read_cr4() | 0x600);
    x87();
    mmx();
    sse();
    asm volatile("fxsave %0" : "=m"(*(u8(*)[512])bad_image));
    put("MXCSR mask:");
    put_field("mask", *(u32 *)(bad_image + 28), 8);
    end_line();
    *(u32 *)(bad_image + 24) = 0x10000;
    probe("FXRSTOR of a reserved MXCSR", restore_reserved);
    probe("FXSAVE off 16 bytes", save_odd);
    return 0;
}
