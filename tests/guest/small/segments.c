// Segmentation in 32-bit code: limits up and down, null selectors, rights, call gates, returns to outer rings,
// conforming code, the Accessed bit, LAR, LSL, VERR, VERW, ARPL, the stack switch.
#include "guest.h"

// The user's stack segment ends at a limit: its faults arrive on the ring-0 stack.
#define SMALL_STACK 0x63 // base 0x30000, limit 0xfff
#define DOWN 0x68        // expand-down, base 0x30000, limit 0xfff: offsets 0x1000 and above
#define DOWN16 0x70      // the same with 16 bits: up to 0xffff
#define CONFORMING 0x78
#define CALL_GATE 0x80   // DPL 3 to ring 0, two parameters
#define CALL_GATE0 0x88  // DPL 0
#define CONFORMING3 0x90 // gate to conforming code
#define FRESH 0x98       // data, not accessed
#define EXECUTE 0xa0     // execute only
#define READ_ONLY 0xa8
#define GRANULAR 0xb0 // limit 0 in pages
#define RING1 0xb8
#define ABSENT 0xc0

SNIPPET(down_below, "mov $0x68,%eax\nmov %eax,%fs\nmov %fs:0xfff,%al");
SNIPPET(down_first, "mov $0x68,%eax\nmov %eax,%fs\nmov %fs:0x1000,%al\nmov $1,%eax");
SNIPPET(down_straddle, "mov $0x68,%eax\nmov %eax,%fs\nmov %fs:0xffd,%eax");
SNIPPET(down16_last, "mov $0x70,%eax\nmov %eax,%fs\nmov %fs:0xfffc,%eax\nmov $1,%eax");
SNIPPET(down16_beyond, "mov $0x70,%eax\nmov %eax,%fs\nmov %fs:0xfffd,%eax");
SNIPPET(granular_last, "mov $0xb0,%eax\nmov %eax,%fs\nmov %fs:0xffc,%eax\nmov $1,%eax");
SNIPPET(granular_beyond, "mov $0xb0,%eax\nmov %eax,%fs\nmov %fs:0xffd,%eax");
SNIPPET(load_execute, "mov $0xa0,%eax\nmov %eax,%ds");
SNIPPET(load_conforming,
        "mov $0x78,%eax\nmov %eax,%ds\nmov %ds:start32,%al\nmov $0x10,%eax\nmov %eax,%ds\nmov $1,%eax");
SNIPPET(stack_read_only, "mov $0xa8,%eax\nmov %eax,%ss");
SNIPPET(stack_rpl, "mov $0x13,%eax\nmov %eax,%ss");
SNIPPET(data_rpl, "mov $0x13,%eax\nmov %eax,%fs\nmov %fs,%eax");
SNIPPET(load_accessed, "mov $0x98,%eax\nmov %eax,%fs\nmov gdt+0x9c,%eax");
SNIPPET(load_absent, "mov $0xc0,%eax\nmov %eax,%es");
SNIPPET(les_null, "push $0\npush $5\nles (%esp),%eax\npop %ecx\npop %ecx\nmov %es,%ecx\nshl $16,%ecx\nor %ecx,%eax");
SNIPPET(pop_rpl, "push $0x33\npop %es\nmov %es,%eax");
SNIPPET(upper_selector, "push $0x120010\npop %es\nmov %es,%eax");
SNIPPET(lar_code, "mov $8,%ecx\nlar %ecx,%eax");
SNIPPET(lar_gate, "mov $0x80,%ecx\nlar %ecx,%eax");
SNIPPET(lar_null,
        "mov $0x1234,%eax\nxor %ecx,%ecx\nlar %ecx,%eax\nsetz %cl\nmovzx %cl,%ecx\nshl $16,%ecx\nadd %ecx,%eax");
SNIPPET(lsl_data, "mov $0xb0,%ecx\nlsl %ecx,%eax");
SNIPPET(lsl_down, "mov $0x68,%ecx\nlsl %ecx,%eax");
SNIPPET(lsl_gate, "mov $7,%eax\nmov $0x80,%ecx\nlsl %ecx,%eax");
SNIPPET(lsl_tss, "mov $0x48,%ecx\nlsl %ecx,%eax");
SNIPPET(verr_all,
        "xor %eax,%eax\nmov $0x08,%ebx\n1: verr %bx\nsetz %cl\nadd %eax,%eax\nor %cl,%al\nadd $8,%ebx\ncmp $0xc8,%ebx\n"
        "jb 1b");
SNIPPET(verw_all,
        "xor %eax,%eax\nmov $0x08,%ebx\n1: verw %bx\nsetz %cl\nadd %eax,%eax\nor %cl,%al\nadd $8,%ebx\ncmp $0xc8,%ebx\n"
        "jb 1b");
SNIPPET(arpl_up, "mov $0x10,%eax\nmov $3,%ecx\narpl %cx,%ax\nsetz %cl\nshl $16,%ecx\nor %ecx,%eax");
SNIPPET(arpl_same, "mov $0x13,%eax\nmov $1,%ecx\narpl %cx,%ax\nsetz %cl\nshl $16,%ecx\nor %ecx,%eax");
SNIPPET(far_jump, "ljmp $0x08,$1f\n1: mov %cs,%eax");
SNIPPET(far_jump_rpl, "ljmp $0x0b,$1f\n1: mov %cs,%eax");
SNIPPET(far_jump_outer, "nop\nljmp $0x28,$1f\n1: mov %cs,%eax");
SNIPPET(far_jump_data, "nop\nljmp $0x10,$1f\n1: mov %cs,%eax");
SNIPPET(far_jump_null, "nop\nljmp $0,$1f\n1: mov %cs,%eax");
SNIPPET(far_jump_absent, "nop\nljmp $0xc0,$1f\n1: mov %cs,%eax");
SNIPPET(far_jump_conforming, "ljmp $0x78,$1f\n1: mov %cs,%eax\nljmp $0x08,$2f\n2:");
SNIPPET(far_call, "push $0\nlcall $0x08,$2f\nadd $4,%esp\njmp 1f\n2: mov 4(%esp),%eax\nlret\n1:");
SNIPPET(far_return_pops, "push $7\npush %cs\npush $1f\nlret $4\n1: mov $3,%eax");
SNIPPET(far_return_null, "push $0\npush $0x1000\nlret");
SNIPPET(gate_same_ring, "push $0x55\npush $0x66\nlcall $0x80,$0x12345678\nadd $0,%esp");
SNIPPET(far_return_inner, "push %cs\npush $1f\nlret\n1: mov %cs,%eax");
SNIPPET(user_gate, "push $0x1111\npush $0x2222\nlcall $0x80,$0");
SNIPPET(user_gate0, "nop\nlcall $0x88,$0");
SNIPPET(user_gate_jump, "nop\nljmp $0x80,$0");
SNIPPET(user_conforming_gate, "lcall $0x90,$0");
SNIPPET(user_conforming, "ljmp $0x78,$1f\n1: mov %cs,%eax\nljmp $0x2b,$2f\n2:");
SNIPPET(user_kernel_code, "nop\nljmp $0x08,$1f\n1: mov %cs,%eax");
SNIPPET(user_kernel_data, "mov $0x10,%eax\nmov %eax,%fs");
SNIPPET(user_rpl0, "mov $0x30,%eax\nmov %eax,%fs\nmov %fs,%eax");
SNIPPET(user_stack0, "mov $0x10,%eax\nmov %eax,%ss");
SNIPPET(user_ring1, "mov $0xb8,%eax\nmov %eax,%fs");
SNIPPET(user_return_inner, "push $0x08\npush $1f\nlret\n1: nop");
SNIPPET(user_push, "push %eax");
SNIPPET(user_pop, "pop %eax");
SNIPPET(user_call, "call 1f\n1:");
SNIPPET(user_pusha, "pusha");
SNIPPET(user_enter, "enter $0x20,$3");

// What the call gate leads to: SS, ESP's distance from the ring-0 stack's top, parameters, CS of the caller.
asm(".text\ngate_entry: mov 8(%esp),%eax\nshl $16,%eax\nmov 12(%esp),%ax\nmov %eax,gate_parameters\nmov %esp,gate_sp\n"
    "mov %ss,%eax\nmov %eax,gate_ss\nmov 4(%esp),%eax\nmov %eax,gate_cs\nmov $0xabcd,%eax\nlret $8\n"
    "conforming_entry: mov %cs,%eax\nshl $16,%eax\nmov 4(%esp),%ax\nlret\n");
extern u8 gate_entry[], conforming_entry[];
u32 gate_parameters, gate_sp, gate_ss, gate_cs;

static void set_call_gate(unsigned selector, const void *entry, unsigned code, unsigned dpl, unsigned count)
{
    u32 at = (u32)entry;
    gdt[selector / 8] =
        (at & 0xffff) | (u64)code << 16 | (u64)count << 32 | (u64)(0x8c | dpl << 5) << 40 | (u64)(at >> 16) << 48;
}

static void prepare(void)
{
    set_segment(SMALL_STACK & ~7, 0x30000, 0xfff, 0xf3, 4);
    set_segment(DOWN, 0x30000, 0xfff, 0x97, 4);
    set_segment(DOWN16, 0x30000, 0xfff, 0x97, 0);
    set_segment(CONFORMING, 0, 0xfffff, 0x9f, 0xc);
    set_segment(FRESH, 0, 0xfffff, 0x92, 0xc);
    set_segment(EXECUTE, 0, 0xfffff, 0x99, 0xc);
    set_segment(READ_ONLY, 0, 0xfffff, 0x91, 0xc);
    set_segment(GRANULAR, 0x30000, 0, 0x93, 0xc);
    set_segment(RING1, 0, 0xfffff, 0xb3, 0xc);
    set_segment(ABSENT, 0, 0xfffff, 0x1b, 0xc);
    set_call_gate(CALL_GATE, gate_entry, KERNEL_CODE, 3, 2);
    set_call_gate(CALL_GATE0, gate_entry, KERNEL_CODE, 0, 0);
    set_call_gate(CONFORMING3, conforming_entry, CONFORMING, 3, 0);
}

static void gate_result(const char *name)
{
    put(name);
    put(":");
    put_field("parameters", gate_parameters, 8);
    put_field("ss", gate_ss, 4);
    put_field("cs", gate_cs, 4);
    if (gate_ss == KERNEL_DATA && gate_sp > (u32)trap_stack_top - 64 && gate_sp < (u32)trap_stack_top)
        put_field("below SP0", (u32)trap_stack_top - gate_sp, 2);
    end_line();
}

static void at_stack(const char *name, const void *code, u32 sp)
{
    if (leaves_out(name)) // it goes on anywhere
        return;
    *(volatile u32 *)0x30ffc = (u32)user_return;
    word ax = attempt_user_at((word)code, USER_CODE, sp, SMALL_STACK, 2);
    report(name, code, trap.vector < 0 ? ax : 0);
}

struct row {
    const char *name;
    const u8 *code;
};

int main(void);
int main(void)
{
    static const struct row kernel[] = {{"expand-down below its limit", down_below},
                                        {"expand-down first byte", down_first},
                                        {"expand-down across its limit", down_straddle},
                                        {"16-bit expand-down last", down16_last},
                                        {"16-bit expand-down beyond", down16_beyond},
                                        {"limit in pages, last", granular_last},
                                        {"limit in pages, beyond", granular_beyond},
                                        {"DS execute-only", load_execute},
                                        {"DS conforming", load_conforming},
                                        {"SS read-only", stack_read_only},
                                        {"SS with RPL 3", stack_rpl},
                                        {"FS of ring 0 with RPL 3", data_rpl},
                                        {"Accessed after a load", load_accessed},
                                        {"ES absent", load_absent},
                                        {"LES null", les_null},
                                        {"POP ES of ring 3", pop_rpl},
                                        {"POP ES of 32 bits", upper_selector},
                                        {"LAR code", lar_code},
                                        {"LAR gate", lar_gate},
                                        {"LAR null", lar_null},
                                        {"LSL data", lsl_data},
                                        {"LSL expand-down", lsl_down},
                                        {"LSL gate", lsl_gate},
                                        {"LSL TSS", lsl_tss},
                                        {"VERR of all", verr_all},
                                        {"VERW of all", verw_all},
                                        {"ARPL raises", arpl_up},
                                        {"ARPL leaves", arpl_same},
                                        {"far JMP", far_jump},
                                        {"far JMP with RPL 3", far_jump_rpl},
                                        {"far JMP outwards", far_jump_outer},
                                        {"far JMP to data", far_jump_data},
                                        {"far JMP to null", far_jump_null},
                                        {"far JMP to absent", far_jump_absent},
                                        {"far JMP to conforming", far_jump_conforming},
                                        {"far CALL", far_call},
                                        {"far RET with pops", far_return_pops},
                                        {"far RET to null", far_return_null},
                                        {"CALL gate in ring 0", gate_same_ring},
                                        {"far RET in ring 0", far_return_inner}};
    static const struct row user[] = {{"user CALL gate", user_gate},
                                      {"user CALL gate of ring 0", user_gate0},
                                      {"user JMP gate", user_gate_jump},
                                      {"user CALL conforming gate", user_conforming_gate},
                                      {"user JMP conforming", user_conforming},
                                      {"user JMP kernel", user_kernel_code},
                                      {"user FS kernel", user_kernel_data},
                                      {"user FS with RPL 0", user_rpl0},
                                      {"user SS kernel", user_stack0},
                                      {"user FS ring 1", user_ring1},
                                      {"user RET inwards", user_return_inner}};
    prepare();
    asm volatile("mov %0,%%fs" : : "r"(0x10));
    for (unsigned i = 0; i < COUNT_OF(kernel); i++)
        if (kernel[i].code == far_jump_rpl)
            probe_not_tcg(kernel[i].name, kernel[i].code);
        else
            probe(kernel[i].name, kernel[i].code);
    gate_result("CALL gate in ring 0 saw");
    gate_parameters = gate_sp = gate_ss = gate_cs = 0;
    for (unsigned i = 0; i < COUNT_OF(user); i++) {
        probe_user(user[i].name, user[i].code);
        if (!i)
            gate_result("user CALL gate saw");
    }
    at_stack("pop below the limit", user_pop, 0xff8);
    at_stack("pop at the limit", user_pop, 0x1000);
    at_stack("pop across the limit", user_pop, 0xffe);
    at_stack("push at the limit", user_push, 0x1004);
    at_stack("push across the limit", user_push, 0x1002);
    at_stack("call across the limit", user_call, 0x1002);
    at_stack("PUSHA wraps", user_pusha, 0x10);
    at_stack("ENTER wraps", user_enter, 0x8);
    return 0;
}
