// LAR, LSL, VERR and VERW of every descriptor type from every ring with every RPL; ARPL; what user code may still ask
// with and without UMIP (SDM vol. 2; vol. 3 sec. 5.10).
#include "guest.h"

#define SUBJECT 0x58
#define CODE1 0x68
#define DATA1 0x70
#define CODE2 0x78
#define DATA2 0x80
#define R(n) "%" IF64("r", "e") n

u32 selectors[64], count;
u8 answers[4][64]; // per question
u32 values[2];     // of the last LAR and LSL

// Asks all four about selectors[0..count) and notes ZF; runs in any ring.
asm(".text\nask: xor %ebx,%ebx\n"
    "1: mov selectors(,%" IF64("rbx", "ebx") ",4),%eax\nmov $0x12345678,%ecx\nlar %eax,%ecx\nsetz answers(%" IF64(
        "rbx",
        "ebx") ")\nmov %ecx,values\n"
               "mov $0x12345678,%ecx\nlsl %eax,%ecx\nsetz answers+64(%" IF64(
                   "rbx",
                   "ebx") ")\nmov %ecx,values+4\n"
                          "verr %ax\nsetz answers+128(%" IF64("rbx", "ebx") ")\nverw %ax\nsetz answers+192(%" IF64(
                              "rbx", "ebx") ")\n"
                                            "inc %ebx\ncmp count,%ebx\njb 1b\nint $0x80\n");
extern u8 ask[];

static void run_in(unsigned ring)
{
    static const u16 codes[] = {KERNEL_CODE, CODE1 | 1, CODE2 | 2, USER_CODE};
    static const u16 stacks[] = {KERNEL_DATA, DATA1 | 1, DATA2 | 2, USER_DATA};
    attempt_user_at((word)ask, codes[ring], (word)user_stack_top, stacks[ring], 2);
}

/// One bit per DPL, ring and RPL: 64 of them, as sixteen digits.
static void matrix(unsigned type, bool present)
{
    u64 bits[4] = {0};
    for (unsigned dpl = 0; dpl < 4; dpl++) {
        set_segment(SUBJECT, 0x12345678, 0xabcde, type | dpl << 5 | (present ? 0x80 : 0), 0xc);
        gdt[SUBJECT / 8 + 1] = 0;
        count = 4;
        for (unsigned rpl = 0; rpl < 4; rpl++)
            selectors[rpl] = SUBJECT | rpl;
        for (unsigned ring = 0; ring < 4; ring++) {
            run_in(ring);
            for (unsigned question = 0; question < 4; question++)
                for (unsigned rpl = 0; rpl < 4; rpl++)
                    bits[question] |= (u64)answers[question][rpl] << (dpl * 16 + ring * 4 + rpl);
        }
    }
    put(type & 0x10 ? "segment " : "system ");
    put_hex(type & 15, 1);
    put(present ? ":" : ", absent:");
    put_field("lar", bits[0], 16);
    put_field("lsl", bits[1], 16);
    put_field("verr", bits[2], 16);
    put_field("verw", bits[3], 16);
    end_line();
}

static void value(const char *name, u32 limit, unsigned type, unsigned flags, u32 selector)
{
    set_segment(SUBJECT, 0x12345678, limit, type, flags);
    selectors[0] = selector;
    count = 1;
    run_in(0);
    put(name);
    put(":");
    put_field("zf", answers[0][0], 1);
    put_field("lar", values[0] & ~0xf0000u, 8); // bits 16 to 19 are undefined
    put_field("zf", answers[1][0], 1);
    put_field("lsl", values[1], 8);
    put_field("verr", answers[2][0], 1);
    put_field("verw", answers[3][0], 1);
    end_line();
}

SNIPPET(lar16, "mov $0x58,%ecx\nmov $0x12345678,%eax\nlar %cx,%ax");
SNIPPET(lsl16, "mov $0x58,%ecx\nmov $0x12345678,%eax\nlsl %cx,%ax");
#ifdef __x86_64__
SNIPPET(lar64, "mov $0x58,%ecx\nmovabs $0x123456789abcdef0,%rax\nlar %rcx,%rax");
SNIPPET(lar64_not, "mov $0x7f8,%ecx\nmovabs $0x123456789abcdef0,%rax\nlar %rcx,%rax");
SNIPPET(lsl64, "mov $0x58,%ecx\nmovabs $0x123456789abcdef0,%rax\nlsl %rcx,%rax");
SNIPPET(lar32_not, "mov $0x7f8,%ecx\nmovabs $0x123456789abcdef0,%rax\nlar %ecx,%eax");
#else
SNIPPET(arpl_memory,
        "movl $0x12345610,values\nmov $3,%ecx\narpl %cx,values\nmov values,%eax\njz 1f\nxor %eax,%eax\n1:");
SNIPPET(arpl_equal, "mov $0x13,%eax\nmov $3,%ecx\narpl %cx,%ax\njnz 1f\nxor %eax,%eax\n1:");
SNIPPET(arpl_read_only, "mov $0x60,%eax\nmov %eax,%fs\nmov $3,%ecx\narpl %cx,%fs:0");
#endif

SNIPPET(user_sgdt, "sgdt user_area\nmovzwl user_area,%eax");
SNIPPET(user_sidt, "sidt user_area\nmovzwl user_area,%eax");
SNIPPET(user_sldt, "mov $-1,%eax\nsldt %eax");
SNIPPET(user_str, "mov $-1,%eax\nstr %eax");
SNIPPET(user_smsw, "mov $-1,%eax\nsmsw %eax\nand $0x1f,%eax");
SNIPPET(user_sldt_memory, "movl $-1,user_area\nsldt user_area\nmov user_area,%eax");
SNIPPET(user_str_memory, "movl $-1,user_area\nstr user_area\nmov user_area,%eax");
SNIPPET(user_smsw_memory, "movl $-1,user_area\nsmsw user_area\nmov user_area,%eax\nand $0xffff001f,%eax");
SNIPPET(user_str16, "mov $-1,%eax\nstr %ax");
SNIPPET(user_lmsw, "xor %eax,%eax\nlmsw %ax");
SNIPPET(user_ltr, "mov $0x48,%eax\nltr %ax");
SNIPPET(user_lldt, "xor %eax,%eax\nlldt %ax");
SNIPPET(user_lidt, "lidt user_area");
SNIPPET(user_rdpmc, "mov $0x100,%ecx\nrdpmc");
SNIPPET(user_rdtsc, "rdtsc\nmov $1,%eax");
SNIPPET(user_wbinvd, "wbinvd");
SNIPPET(user_clts, "clts");
SNIPPET(user_cr4, "mov %cr4," R("ax"));
SNIPPET(user_dr7, "mov %dr7," R("ax"));
u8 user_area[16];

static const struct {
    const char *name;
    const u8 *code;
} user[] = {{"SGDT", user_sgdt},
            {"SIDT", user_sidt},
            {"SLDT", user_sldt},
            {"STR", user_str},
            {"SMSW", user_smsw},
            {"SLDT to memory", user_sldt_memory},
            {"STR to memory", user_str_memory},
            {"SMSW to memory", user_smsw_memory},
            {"STR of 16 bits", user_str16},
            {"LMSW", user_lmsw},
            {"LTR", user_ltr},
            {"LLDT", user_lldt},
            {"LIDT", user_lidt},
            {"RDTSC", user_rdtsc},
            {"WBINVD", user_wbinvd},
            {"CLTS", user_clts},
            {"MOV from CR4", user_cr4},
            {"MOV from DR7", user_dr7}};

int main(void);
int main(void)
{
    set_segment(CODE1, 0, 0xfffff, 0xbb, IF64(0xa, 0xc));
    set_segment(DATA1, 0, 0xfffff, 0xb3, 0xc);
    set_segment(CODE2, 0, 0xfffff, 0xdb, IF64(0xa, 0xc));
    set_segment(DATA2, 0, 0xfffff, 0xd3, 0xc);
    for (unsigned type = 0; type < 32; type++)
        matrix(type, true);
    matrix(0x12, false);
    matrix(0x1a, false);
    matrix(0x09, false);
    value("data, limit in bytes", 0xabcde, 0x93, 0x4, SUBJECT);
    value("data, limit in pages", 0xabcde, 0x93, 0xc, SUBJECT);
    value("code", 0, 0x9a, 0xa, SUBJECT);
    value("busy TSS", 0x67, 0x8b, 0x0, SUBJECT);
    value("null", 0, 0x93, 0, 0);
    value("null with RPL", 0, 0x93, 0, 3);
    value("of an LDT that is not there", 0, 0x93, 0, SUBJECT | 4);
    value("beyond the GDT", 0, 0x93, 0, 0xff8);
    value("upper half of the selector", 0x1234, 0x93, 0, SUBJECT | 0x550000);
    set_segment(SUBJECT, 0, 0xabcde, 0x93, 0xc);
    probe("LAR of 16 bits", lar16);
    probe("LSL of 16 bits", lsl16);
#ifdef __x86_64__
    set_segment(0x1f8, 0, 0x67, 0x89, 0);
    value("TSS at the end of the GDT", 0x67, 0x93, 0, 0x1f8);
    set_segment(SUBJECT, 0, 0x67, 0x82, 0);
    gdt[SUBJECT / 8 + 1] = (u64)0x1f << 40; // its type field must be 0
    count = 1;
    selectors[0] = SUBJECT;
    run_in(0);
    put("LDT with a type in its upper half:");
    put_field("lar", answers[0][0], 1);
    put_field("lsl", answers[1][0], 1);
    end_line();
    gdt[SUBJECT / 8 + 1] = 0;
    set_segment(SUBJECT, 0, 0xabcde, 0x93, 0xc);
    trap.vector = -1;
    word ax = attempt(lar64) & ~0xf0000ul;
    report("LAR of 64 bits", lar64, ax);
    probe("LAR of 64 bits, no", lar64_not);
    probe("LSL of 64 bits", lsl64);
    probe("LAR of 32 bits, no", lar32_not);
#else
    probe("ARPL in memory", arpl_memory);
    probe("ARPL of equal RPLs", arpl_equal);
    set_segment(0x60, 0x20000, 0xfff, 0x91, 4);
    probe_not_tcg("ARPL in a read-only segment", arpl_read_only);
#endif
    for (unsigned umip = 0; umip < 2; umip++) {
        if (umip)
            write_cr4(read_cr4() | 0x800);
        for (unsigned i = 0; i < COUNT_OF(user); i++) {
            put(umip ? "UMIP, user " : "user ");
            probe_user(user[i].name, user[i].code);
        }
    }
    probe("UMIP, kernel SGDT", user_sgdt);
    probe("UMIP, kernel SMSW", user_smsw);
    return 0;
}
