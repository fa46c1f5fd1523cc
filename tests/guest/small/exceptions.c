// Every exception that an instruction can cause, with its error code, IP and CR2. Built for 32 and for 64 bits.
#include "guest.h"

SNIPPET(divide_zero, "xor %edx,%edx\nmov $1,%eax\nxor %ecx,%ecx\ndiv %ecx");
SNIPPET(divide_overflow, "mov $2,%edx\nxor %eax,%eax\nmov $2,%ecx\ndiv %ecx");
SNIPPET(idiv_overflow, "mov $0x80000000,%eax\ncltd\nmov $-1,%ecx\nidiv %ecx");
SNIPPET(divide8, "mov $0x200,%ax\nmov $2,%cl\ndiv %cl");
SNIPPET(breakpoint, "nop\nint3");
SNIPPET(int_3, "nop\nint $3");
SNIPPET(icebp, "nop\n.byte 0xf1");
SNIPPET(int_n, "nop\nint $0x21");
SNIPPET(undefined, "nop\nud2");
SNIPPET(undefined_lock, "nop\n.byte 0xf0,0x01,0xc0");        // LOCK with a register
SNIPPET(undefined_lock2, "nop\n.byte 0xf0,0x90");            // LOCK NOP
SNIPPET(undefined_mov_cs, "xor %eax,%eax\n.byte 0x8e,0xc8"); // MOV CS,AX
SNIPPET(undefined_cr1, "nop\n.byte 0x0f,0x20,0xc8");         // MOV EAX,CR1
SNIPPET(too_long, "nop\n.fill 15,1,0x66\nnop");
SNIPPET(long_enough, "nop\n.fill 14,1,0x66\nnop");
SNIPPET(no_math, "nop\nfninit");
SNIPPET(no_math_wait, "nop\nfwait");
SNIPPET(sse_nm, "nop\nxorps %xmm0,%xmm0");
SNIPPET(math_fault, "fninit\nmov $0x37b,%eax\npush " IF64("%rax", "%eax") "\nfldcw (" IF64(
                        "%rsp", "%esp") ")\npop " IF64("%rax", "%eax") "\nfld1\nfldz\nfdivrp\nnop\nfwait");
SNIPPET(null_data, "xor %eax,%eax\nmov %eax,%fs\nmov %fs:(" IF64("%rax", "%eax") "),%eax");
SNIPPET(bad_selector, "mov $0x1f8,%eax\nmov %eax,%fs");
SNIPPET(beyond_gdt, "mov $0x1234,%eax\nmov %eax,%fs");
SNIPPET(ldt_selector, "mov $0xc,%eax\nmov %eax,%fs");
SNIPPET(not_present, "mov $0x58,%eax\nmov %eax,%fs");
SNIPPET(not_present_stack, "mov $0x58,%eax\nmov %eax,%ss");
SNIPPET(null_stack, "xor %eax,%eax\nmov %eax,%ss");
SNIPPET(wrong_type, "mov $0x48,%eax\nmov %eax,%fs");
SNIPPET(ltr_busy, "mov $0x48,%eax\nltr %ax");
SNIPPET(ltr_null, "xor %eax,%eax\nltr %ax");
SNIPPET(lldt_code, "mov $0x08,%eax\nlldt %ax");
SNIPPET(lldt_null, "xor %eax,%eax\nlldt %ax");
SNIPPET(msr_unknown, "mov $0x12345678,%ecx\nrdmsr");
SNIPPET(cr4_reserved, "mov %cr4,%" IF64("rax", "eax") "\nor $0x80000000,%eax\nmov %" IF64("rax", "eax") ",%cr4");
SNIPPET(int_not_present, "nop\nint $0x22");
SNIPPET(int_bad_selector, "nop\nint $0x23");
SNIPPET(int_null_selector, "nop\nint $0x24");
SNIPPET(int_data_selector, "nop\nint $0x25");
SNIPPET(double_fault, "mov $0x1f8,%eax\nmov %eax,%fs");
SNIPPET(cli_user, "nop\ncli");
SNIPPET(hlt_user, "nop\nhlt");
SNIPPET(in_user, "nop\nin $0x60,%al");
SNIPPET(int_user, "nop\nint $0x21");
SNIPPET(breakpoint_user, "nop\nint3");
SNIPPET(cr0_user, "nop\nmov %cr0,%" IF64("rax", "eax"));
SNIPPET(lgdt_user, "nop\nlgdt gdtr");
SNIPPET(wrmsr_user, "nop\nwrmsr");
SNIPPET(invlpg_user, "nop\ninvlpg 0");
SNIPPET(sgdt_user, "nop\nsgdt user_scratch");
SNIPPET(clts_user, "nop\nclts");
SNIPPET(align4, "movl $user_scratch,%ecx\nmov 1(" IF64("%rcx", "%ecx") "),%eax");
SNIPPET(align8, "movl $user_scratch,%ecx\nmovq 4(" IF64("%rcx", "%ecx") "),%mm0\nemms");
SNIPPET(align_byte, "movl $user_scratch,%ecx\nmovb 1(" IF64("%rcx", "%ecx") "),%al\nmov $7,%eax");
SNIPPET(align_string, "movl $user_scratch+1,%esi\nmovl $user_scratch+64,%edi\nmov $1,%ecx\nrep movsl");
SNIPPET(align_kernel, "movl $user_scratch,%ecx\nmov 1(" IF64("%rcx", "%ecx") "),%eax");
SNIPPET(movaps_odd, "movl $user_scratch+4,%ecx\nmovaps (" IF64("%rcx", "%ecx") "),%xmm0");
SNIPPET(sse_fault, "movl $0x1f80 & ~0x200,%eax\nmovl %eax,user_scratch\nldmxcsr user_scratch\nxorps %xmm0,%xmm0\n"
                   "mov $0x3f800000,%eax\nmovd %eax,%xmm1\ndivss %xmm0,%xmm1");
SNIPPET(mxcsr_reserved, "movl $0xffff0000,user_scratch\nldmxcsr user_scratch");
#ifdef __x86_64__
SNIPPET(non_canonical, "movabs $0x8000000000000000,%rcx\nmov (%rcx),%eax");
SNIPPET(non_canonical_stack, "mov %rsp,%rbx\nmovabs $0x8000000000000000,%rsp\npush %rax");
SNIPPET(non_canonical_bp, "movabs $0x800000000000,%rbp\nmov (%rbp),%eax");
SNIPPET(non_canonical_jump, "movabs $0x800000000000,%rax\njmp *%rax");
SNIPPET(non_canonical_ret, "movabs $0x800000000000,%rax\npush %rax\nret");
SNIPPET(bad_push_es, "nop\n.byte 0x06");
SNIPPET(bad_bcd, "nop\n.byte 0x27");
SNIPPET(bad_pusha, "nop\n.byte 0x60");
SNIPPET(bad_into, "nop\n.byte 0xce");
SNIPPET(bad_ljmp, "nop\n.byte 0xea");
SNIPPET(bad_salc, "nop\n.byte 0xd6");
SNIPPET(bad_bound, "nop\n.byte 0x82,0xc0,0x01");
SNIPPET(wrmsr_non_canonical, "mov $0xc0000082,%ecx\nmov $0x12340000,%edx\nxor %eax,%eax\nwrmsr");
SNIPPET(cr3_reserved, "mov $1,%eax\nshl $60,%rax\nmov %rax,%cr3");
SNIPPET(cr0_high, "mov %cr0,%rax\nbts $40,%rax\nmov %rax,%cr0");
SNIPPET(efer_lme_paging, "mov $0xc0000080,%ecx\nrdmsr\nand $~0x100,%eax\nwrmsr");
SNIPPET(cr8_reserved, "mov $0x10,%eax\nmov %rax,%cr8");
SNIPPET(iret_non_canonical,
        "mov %rsp,%rbx\npush $0x20\npush %rbx\npush $2\npush $0x18\nmovabs $0x800000000000,%rax\npush "
        "%rax\niretq");
SNIPPET(page_read, "mov $0x40000123,%ecx\nmov (%rcx),%eax");
SNIPPET(page_write, "mov $0x40000123,%ecx\nmov %eax,(%rcx)");
SNIPPET(page_modify, "mov $0x40000123,%ecx\naddl $1,(%rcx)");
SNIPPET(page_execute, "mov $0x40000123,%eax\njmp *%rax");
SNIPPET(page_straddle, "mov $0x3ffffffe,%ecx\nmov (%rcx),%eax");
SNIPPET(page_push, "mov %rsp,%rbx\nmov $0x40001000,%esp\npush %rax");
SNIPPET(page_user, "mov $0x40000123,%ecx\nmov (%rcx),%eax");
SNIPPET(page_user_write, "mov $0x40000123,%ecx\nmovb $1,(%rcx)");
#else
SNIPPET(overflow, "mov $0x7fffffff,%eax\nadd $1,%eax\ninto");
SNIPPET(no_overflow, "xor %eax,%eax\ninto\nmov $5,%eax");
SNIPPET(bound_fault, "movl $10,user_scratch\nmovl $20,user_scratch+4\nmov $21,%eax\nbound %eax,user_scratch");
SNIPPET(bound_edge, "movl $10,user_scratch\nmovl $20,user_scratch+4\nmov $20,%eax\nbound %eax,user_scratch");
SNIPPET(bound_negative, "movl $-5,user_scratch\nmovl $20,user_scratch+4\nmov $-6,%eax\nbound %eax,user_scratch");
SNIPPET(bound_register, "nop\n.byte 0x62,0xc0");
SNIPPET(aam_zero, "mov $5,%eax\n.byte 0xd4,0x00");
SNIPPET(les_register, "nop\n.byte 0xc4,0xc0,0x90");
SNIPPET(segment_limit, "mov $0x60,%eax\nmov %eax,%fs\nmov %fs:0x1000,%al");
SNIPPET(segment_limit_in, "mov $0x60,%eax\nmov %eax,%fs\nmov %fs:0xfff,%al\nmov $3,%eax");
SNIPPET(segment_limit_cross, "mov $0x60,%eax\nmov %eax,%fs\nmov %fs:0xffd,%eax");
SNIPPET(read_only, "mov $0x68,%eax\nmov %eax,%fs\nmov %fs:0,%ecx\nmov %eax,%fs:0");
SNIPPET(execute_only, "mov $0x70,%eax\nmov %eax,%fs");
SNIPPET(code_write, "nop\nmov %eax,%cs:0");
#endif

__attribute__((aligned(64))) u8 user_scratch[128];

static void gates(void)
{
    set_gate(0x22, trap_entries, KERNEL_CODE, 0x0e);
    set_gate(0x23, trap_entries, 0x1f8, 0x8e);
    set_gate(0x24, trap_entries, 0, 0x8e);
    set_gate(0x25, trap_entries, KERNEL_DATA, 0x8e);
    probe("INT to a gate that is not present", int_not_present);
    probe("INT to a gate with an empty slot", int_bad_selector);
    probe("INT to a gate with a null selector", int_null_selector);
    probe("INT to a gate with data", int_data_selector);
    idt[13].type &= 0x7fff;
    probe("#GP whose gate is missing", double_fault);
    idt[13].type |= 0x8000;
    idt[14].type &= 0x7fff;
#ifdef __x86_64__
    probe("#PF whose gate is missing", page_read);
#endif
    idt[14].type |= 0x8000;
    idt[0].type &= 0x7fff;
    probe("#DE whose gate is missing", divide_zero);
    idt[0].type |= 0x8000;
    idt[6].type &= 0x7fff;
    probe("#UD whose gate is missing", undefined);
    idt[6].type |= 0x8000;
}

static void math(void)
{
    write_cr0((read_cr0() & ~(word)0x4) | 0x2a); // MP, TS, NE
    write_cr4(read_cr4() | 0x600);
    probe("FNINIT with TS", no_math);
    probe("FWAIT with TS and MP", no_math_wait);
    probe("XORPS with TS", sse_nm);
    write_cr0(read_cr0() & ~(word)2);
    probe("FWAIT with TS alone", no_math_wait);
    write_cr0((read_cr0() & ~(word)8) | 4);
    probe("FNINIT with EM", no_math);
    probe("FWAIT with EM", no_math_wait);
    probe("XORPS with EM", sse_nm);
    write_cr0((read_cr0() & ~(word)4) | 2);
    write_cr4(read_cr4() & ~(word)0x200);
    probe("XORPS without OSFXSR", sse_nm);
    write_cr4(read_cr4() | 0x200);
    probe("unmasked division by zero", math_fault);
    asm volatile("fninit");
    probe("MOVAPS off 16 bytes", movaps_odd);
    probe("DIVSS by zero unmasked", sse_fault);
    write_cr4(read_cr4() & ~(word)0x400);
    probe("DIVSS without OSXMMEXCPT", sse_fault);
    write_cr4(read_cr4() | 0x400);
    probe("LDMXCSR with reserved bits", mxcsr_reserved);
    u32 plain = 0x1f80;
    asm volatile("ldmxcsr %0" : : "m"(plain));
}

static void selectors(void)
{
    set_segment(0x58, 0, 0xfffff, 0x13, 0xc);     // not present
    set_segment(0x60, 0x20000, 0xfff, 0x93, 0x4); // 4 KiB
    set_segment(0x68, 0x20000, 0xfff, 0x91, 0x4); // read only
    set_segment(0x70, 0x20000, 0xfff, 0x99, 0x4); // execute only
    probe("load through a null selector", null_data);
    probe("an empty descriptor", bad_selector);
    probe("a selector beyond the GDT", beyond_gdt);
    probe("an LDT selector without an LDT", ldt_selector);
    probe("a segment that is not present", not_present);
    probe("a stack that is not present", not_present_stack);
    probe("a null stack", null_stack);
    probe("a TSS as data", wrong_type);
    probe("LTR of a busy TSS", ltr_busy);
    probe_not_tcg("LTR of null", ltr_null);
    probe("LLDT of code", lldt_code);
    probe("LLDT of null", lldt_null);
}

static void user(void)
{
    probe_user("user CLI", cli_user);
    probe_user("user HLT", hlt_user);
    probe_user("user IN", in_user);
    probe_user("user INT of a kernel gate", int_user);
    probe_user("user INT3", breakpoint_user);
    probe_user("user MOV from CR0", cr0_user);
    probe_user("user LGDT", lgdt_user);
    probe_user("user WRMSR", wrmsr_user);
    probe_user("user INVLPG", invlpg_user);
    probe_user("user CLTS", clts_user);
    probe_user("user UD2", undefined);
    probe_user("user divide", divide_zero);
    asm volatile("fninit");
    write_cr0(read_cr0() | 0x40000);
    word *sp = (word *)user_stack_top;
    *--sp = (word)user_return;
    static const struct {
        const char *name;
        const u8 *code;
    } rows[] = {{"#AC of 4 bytes", align4},
                {"#AC of 8 bytes in MMX", align8},
                {"#AC of a byte", align_byte},
                {"#AC of MOVSL", align_string}};
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        word ax = attempt_user_at((word)rows[i].code, USER_CODE, (word)sp, USER_DATA, 0x40002);
        report(rows[i].name, rows[i].code, trap.vector < 0 ? ax & 0xff : ax);
    }
    probe_user("no #AC without EFLAGS.AC", align4);
    asm volatile("pushf\norl $0x40000,(%%" IF64("rsp", "esp") ")\npopf" : : : "memory", "cc");
    probe("no #AC in ring 0", align_kernel);
    asm volatile("pushf\nandl $~0x40000,(%%" IF64("rsp", "esp") ")\npopf" : : : "memory", "cc");
    write_cr0(read_cr0() & ~(word)0x40000);
}

int main(void);
int main(void)
{
    probe("DIV by zero", divide_zero);
    probe("DIV overflow", divide_overflow);
    probe("IDIV overflow", idiv_overflow);
    probe("DIV of 8 bits", divide8);
    probe("INT3", breakpoint);
    probe("INT 3", int_3);
    probe("INT1", icebp);
    probe("INT 0x21", int_n);
    probe("UD2", undefined);
    probe("LOCK ADD EAX,EAX", undefined_lock);
    probe("LOCK NOP", undefined_lock2);
    probe("MOV CS,AX", undefined_mov_cs);
    probe("MOV EAX,CR1", undefined_cr1);
    probe("16 bytes", too_long);
    probe("15 bytes", long_enough);
    probe("RDMSR of an unknown MSR", msr_unknown);
    probe_not_tcg("CR4 reserved", cr4_reserved);
    selectors();
    gates();
    math();
    user();
#ifdef __x86_64__
    probe("load from a non-canonical address", non_canonical);
    probe("push to a non-canonical address", non_canonical_stack);
    probe("load by RBP from a non-canonical address", non_canonical_bp);
    probe("jump to a non-canonical address", non_canonical_jump);
    probe("return to a non-canonical address", non_canonical_ret);
    probe("IRET to a non-canonical address", iret_non_canonical);
    probe("PUSH ES", bad_push_es);
    probe("DAA", bad_bcd);
    probe("PUSHA", bad_pusha);
    probe("INTO", bad_into);
    probe("far JMP", bad_ljmp);
    probe("SALC", bad_salc);
    probe("opcode 82", bad_bound);
    probe("LSTAR non-canonical", wrmsr_non_canonical);
    probe_not_tcg("CR3 reserved", cr3_reserved);
    probe_not_tcg("CR0 bit 40", cr0_high);
    probe_not_tcg("EFER.LME with paging", efer_lme_paging);
    probe_not_tcg("CR8 reserved", cr8_reserved);
    probe("read of a missing page", page_read);
    probe("write of a missing page", page_write);
    probe("read and write of a missing page", page_modify);
    probe("fetch of a missing page", page_execute);
    probe("read across the end", page_straddle);
    probe("push to a missing page", page_push);
    probe_user("user read of a missing page", page_user);
    probe_user("user write of a missing page", page_user_write);
#else
    probe("INTO", overflow);
    probe("INTO without OF", no_overflow);
    probe("BOUND above", bound_fault);
    probe("BOUND at the edge", bound_edge);
    probe("BOUND below", bound_negative);
    probe("BOUND of a register", bound_register);
    probe("AAM 0", aam_zero);
    probe("LES of a register", les_register);
    probe("beyond a limit", segment_limit);
    probe("last byte of a segment", segment_limit_in);
    probe("across a limit", segment_limit_cross);
    probe_not_tcg("store to a read-only segment", read_only);
    probe_not_tcg("load of an execute-only segment", execute_only);
    probe_not_tcg("store to code", code_write);
#endif
    return 0;
}
