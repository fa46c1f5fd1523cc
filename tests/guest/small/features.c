// CPUID against what the processor does: leaves are well-formed, and a bit of a control register or an instruction is
// there exactly if its feature is reported. Prints verdicts, since models differ.
#include "guest.h"

static void verdict(const char *name, bool good)
{
    put(name);
    put(good ? ": consistent\n" : ": NOT consistent\n");
}

SNIPPET(set_cr4, "mov wanted_cr4,%" IF64("rax", "eax") "\nmov %" IF64("rax", "eax") ",%cr4");
SNIPPET(read_tsc_aux, "rdtscp");
SNIPPET(read_msr_code, "mov wanted_msr,%ecx\nrdmsr");
SNIPPET(use_popcnt, "popcnt %ecx,%eax");
SNIPPET(use_movbe, "movbe user_word,%eax");
SNIPPET(use_crc32, "crc32l %ecx,%eax");
SNIPPET(use_pshufb, "pshufb %xmm1,%xmm0");
SNIPPET(use_ptest, "ptest %xmm1,%xmm0");
SNIPPET(use_haddps, "haddps %xmm1,%xmm0");
SNIPPET(use_aesenc, "aesenc %xmm1,%xmm0");
SNIPPET(use_pclmul, "pclmulqdq $0,%xmm1,%xmm0");
SNIPPET(use_rdrand, "rdrand %eax");
SNIPPET(use_rdseed, "rdseed %eax");
SNIPPET(use_cmov, "cmovz %ecx,%eax");
SNIPPET(use_cx8, "cmpxchg8b user_word");
SNIPPET(use_fxsave, "fxsave user_image");
SNIPPET(use_xgetbv, "xor %ecx,%ecx\nxgetbv");
SNIPPET(use_clac, "clac");
SNIPPET(use_adcx, "adcx %ecx,%eax");
SNIPPET(use_andn, "andn %ecx,%ecx,%eax");
SNIPPET(use_bzhi, "bzhi %ecx,%ecx,%eax");
SNIPPET(use_sha, "sha1msg1 %xmm1,%xmm0");
SNIPPET(use_vex, "vpxor %xmm0,%xmm0,%xmm0");
SNIPPET(use_invpcid, "mov $2,%eax\ninvpcid user_word,%" IF64("rax", "eax"));
SNIPPET(use_clflush, "clflush user_word");
SNIPPET(use_rdtsc, "rdtsc");
u64 user_word[2];
word wanted_cr4;
u32 wanted_msr;
__attribute__((aligned(64))) u8 user_image[512];

static bool works(const void *code)
{
    attempt(code);
    return trap.vector < 0;
}

static void instructions(void)
{
    struct cpuid one = cpuid(1, 0), seven = cpuid(7, 0), extended = cpuid(0x80000001, 0);
    write_cr4(read_cr4() | 0x600);
    verdict("POPCNT", works(use_popcnt) == (one.c >> 23 & 1));
    verdict("MOVBE", works(use_movbe) == (one.c >> 22 & 1));
    verdict("CRC32", works(use_crc32) == (one.c >> 20 & 1));
    verdict("PTEST", works(use_ptest) == (one.c >> 19 & 1));
    verdict("PSHUFB", works(use_pshufb) == (one.c >> 9 & 1));
    verdict("HADDPS", works(use_haddps) == (one.c & 1));
    verdict("AESENC", works(use_aesenc) == (one.c >> 25 & 1));
    verdict("PCLMULQDQ", works(use_pclmul) == (one.c >> 1 & 1));
    verdict("RDRAND", works(use_rdrand) == (one.c >> 30 & 1));
    verdict("RDSEED", works(use_rdseed) == (seven.b >> 18 & 1));
    verdict("CMOV", works(use_cmov) == (one.d >> 15 & 1));
    verdict("CMPXCHG8B", works(use_cx8) == (one.d >> 8 & 1));
    verdict("FXSAVE", works(use_fxsave) == (one.d >> 24 & 1));
    verdict("RDTSC", works(use_rdtsc) == (one.d >> 4 & 1));
    verdict("CLFLUSH", works(use_clflush) == (one.d >> 19 & 1));
    verdict("CLAC", works(use_clac) == (seven.b >> 20 & 1));
    verdict("INVPCID", works(use_invpcid) == (seven.b >> 10 & 1));
    verdict("ADCX", works(use_adcx) == (seven.b >> 19 & 1));
    verdict("SHA1MSG1", works(use_sha) == (seven.b >> 29 & 1));
    verdict("ANDN", works(use_andn) == (seven.b >> 3 & 1));
    verdict("BZHI", works(use_bzhi) == (seven.b >> 8 & 1));
    verdict("RDTSCP", works(read_tsc_aux) == (extended.d >> 27 & 1));
    verdict("XGETBV without OSXSAVE", !works(use_xgetbv));
    verdict("VEX without OSXSAVE", !works(use_vex));
    verdict("OSXSAVE off", !(cpuid(1, 0).c >> 27 & 1));
    if (one.c >> 26 & 1) {
        write_cr4(read_cr4() | 1 << 18);
        verdict("XGETBV with OSXSAVE", works(use_xgetbv) && cpuid(1, 0).c >> 27 & 1);
        write_cr4(read_cr4() & ~(word)(1 << 18));
    } else {
        verdict("XGETBV with OSXSAVE", true);
    }
}

static void leaves(void)
{
    struct cpuid zero = cpuid(0, 0), one = cpuid(1, 0), extended = cpuid(0x80000000, 0);
    verdict("highest leaf", zero.a >= 7 && zero.a < 0x40);
    verdict("highest extended leaf", extended.a >= 0x80000008 && extended.a < 0x80000030);
    verdict("vendor", zero.b && zero.c && zero.d);
    verdict("FPU to PSE-36, less VME", (one.d & 0x0383fbfd) == 0x0383fbfd);
    verdict("APIC id", one.b >> 24 == 0);
    struct cpuid sizes = cpuid(0x80000008, 0);
    verdict("address sizes", (sizes.a & 0xff) >= 32 && (sizes.a & 0xff) <= 52 && (sizes.a >> 8 & 0xff) >= 32);
    bool printable = true;
    for (u32 leaf = 0x80000002; leaf <= 0x80000004; leaf++) {
        struct cpuid r = cpuid(leaf, 0);
        u32 words[4] = {r.a, r.b, r.c, r.d};
        for (unsigned i = 0; i < 16; i++) {
            u8 c = (u8)(words[i / 4] >> 8 * (i % 4));
            printable = printable && (!c || (c >= 32 && c < 127));
        }
    }
    verdict("brand", printable);
    struct cpuid none = cpuid(0x8fffffff, 0), again = cpuid(zero.a, 0);
    verdict("beyond the last leaf", none.a == again.a || !none.a);
    word before, after;
    asm volatile("pushf\npop %0\nmov %0,%1\nxor $0x200000,%1\npush %1\npopf\npushf\npop %1"
                 : "=&r"(before), "=&r"(after)
                 :
                 : "cc");
    verdict("EFLAGS.ID", (before ^ after) == 0x200000);
}

static void control_registers(void)
{
    static const struct {
        const char *name;
        unsigned bit, leaf, reg, feature;
    } rows[] = {{"CR4.VME", 0, 1, 3, 1},   {"CR4.DE", 3, 1, 3, 2},        {"CR4.PSE", 4, 1, 3, 3},
                {"CR4.MCE", 6, 1, 3, 7},   {"CR4.PGE", 7, 1, 3, 13},      {"CR4.OSFXSR", 9, 1, 3, 24},
                {"CR4.UMIP", 11, 7, 2, 2}, {"CR4.FSGSBASE", 16, 7, 1, 0}, {"CR4.OSXSAVE", 18, 1, 2, 26},
                {"CR4.SMEP", 20, 7, 1, 7}, {"CR4.SMAP", 21, 7, 1, 20},    {"CR4.LA57", 12, 7, 2, 16}};
    struct cpuid id = cpuid(0x40000000, 0);
    bool tcg = id.b == 0x54474354;
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        struct cpuid r = cpuid(rows[i].leaf, 0);
        u32 words[4] = {r.a, r.b, r.c, r.d};
        bool reported = words[rows[i].reg] >> rows[i].feature & 1;
        word old = read_cr4();
        wanted_cr4 = old | (word)1 << rows[i].bit;
        // QEMU TCG does not survive a bit that it lacks.
        bool good = tcg && !reported ? true : works(set_cr4) == reported;
        if (reported)
            good = good && read_cr4() == wanted_cr4;
        write_cr4(old);
        verdict(rows[i].name, good);
    }
    static const u32 msrs[] = {0x10, 0x1b, 0xfe, 0x174, 0x277, 0xc0000080};
    bool all = true;
    for (unsigned i = 0; i < COUNT_OF(msrs); i++) {
        wanted_msr = msrs[i];
        all = all && works(read_msr_code);
    }
    verdict("MSRs of Linux", all);
    u64 efer = read_msr(0xc0000080);
    write_msr(0xc0000080, efer | 1);
    verdict("EFER.SCE", read_msr(0xc0000080) == (efer | 1));
    write_msr(0xc0000080, efer);
}

int main(void);
int main(void)
{
    write_cr0((read_cr0() & ~(word)0xc) | 0x22);
    leaves();
    control_registers();
    instructions();
    return 0;
}
