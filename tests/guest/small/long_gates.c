// Gates, far branches and stacks in long mode: call gates from 64-bit and compatibility code, IST, what handlers find
// on their stacks, far JMP and CALL between the two kinds of code, errors of each part (SDM vol. 3 sec. 5.8.3
// and 6.14).
#include "guest.h"

#define CODE1 0x58 // ring 1, 64 bits
#define DATA1 0x60
#define CONFORMING 0x68 // 64 bits
#define GATE 0x70       // 16 bytes
#define CODE16 0x80     // ring 3, 16 bits
#define BOTH 0x88       // L and D
#define ABSENT 0x90
#define SMALL_TSS 0xa0
#define SHORT 0xb0 // compatibility, limit 0xff
#define EMPTY 0x1f0
#define BAD UINT64_C(0x800000000000)

u64 seen_sp, seen_stack[8], seen_flags, arrived;
u16 seen_ss, seen_cs;
static __attribute__((aligned(16))) u8 stack1[1024], ist_stack[1024];
// What gates lead to: notes its stack and ends.
asm(".text\nlong_handler: mov %rsp,seen_sp\nmov %ss,seen_ss\nmov %cs,seen_cs\nincq arrived\nmov %rsp,%rsi\nmov "
    "$seen_stack,"
    "%edi\nmov $8,%ecx\ncld\nrep movsq\npushfq\npop seen_flags\nint $0x80\n"
    ".code32\ncompatible_handler: nop\nint $0x80\n.code64\n"
    "far_call: .byte 0xff,0x1c,0x25\n.long far_pointer\nint $0x80\n"
    "far_call_compatible: .byte 0x2e,0xff,0x1d\n.long far_pointer\nint $0x80\n"
    "far_jump: .byte 0xff,0x2c,0x25\n.long far_pointer\nint $0x80\n"
    "far_jump_wide: .byte 0x48,0xff,0x2c,0x25\n.long far_pointer\nint $0x80\n"
    "far_call_wide: .byte 0x48,0xff,0x1c,0x25\n.long far_pointer\nint $0x80\n"
    "int_60: nop\nint $0x60\nint $0x80\n");
extern u8 long_handler[], compatible_handler[], far_call[], far_call_compatible[], far_jump[], far_jump_wide[],
    far_call_wide[], int_60[];
u8 far_pointer[16];

static void set_pointer(u64 offset, u16 selector, bool wide)
{
    for (unsigned i = 0; i < (wide ? 8 : 4); i++)
        far_pointer[i] = (u8)(offset >> 8 * i);
    far_pointer[wide ? 8 : 4] = (u8)selector;
    far_pointer[wide ? 9 : 5] = (u8)(selector >> 8);
}

static void set_call_gate(u64 offset, unsigned selector, unsigned type, u64 upper_type)
{
    gdt[GATE / 8] = (offset & 0xffff) | (u64)selector << 16 | (u64)type << 40 | (u64)(offset >> 16 & 0xffff) << 48;
    gdt[GATE / 8 + 1] = offset >> 32 | upper_type << 40;
}

static void put_word(u64 value, const u8 *code)
{
    put(" ");
    if (value - (word)code < 0x20) {
        put("ip+");
        put_hex(value - (word)code, 2);
    } else if ((word)user_stack_top - value < 0x100) {
        put("sp-");
        put_hex((word)user_stack_top - value, 2);
    } else {
        put_hex(value, 4);
    }
}

static void show(const char *name, const u8 *code, unsigned cs, unsigned ss)
{
    arrived = 0;
    attempt_user_at((word)code, cs, (word)user_stack_top, ss, 0x202);
    put(name);
    put(":");
    if (!arrived) {
        if (trap.vector >= 0) {
            put_field("trap", (u32)trap.vector, 2);
            put_field("e", trap.error, 4);
            put(trap.ip - (word)code < 2 ? " at the branch" : " elsewhere");
        } else {
            put(" end");
        }
        put_field("cs", trap.cs, 2);
        put_field("ss", trap.ss, 2);
        if (trap.sp != (word)user_stack_top)
            put_word(trap.sp, code);
        end_line();
        return;
    }
    put_field("cs", seen_cs, 2);
    put_field("ss", seen_ss, 2);
    put_field("IF", seen_flags >> 9 & 1, 1);
    const u8 *top = seen_cs == (KERNEL_CODE | 0) ? trap_stack_top
                    : (seen_cs & 3) == 1         ? stack1 + sizeof stack1
                                                 : user_stack_top;
    if (seen_sp > (word)ist_stack && seen_sp <= (word)ist_stack + sizeof ist_stack) {
        top = ist_stack + sizeof ist_stack;
        put(" IST");
    }
    put_field("below", (word)top - seen_sp, 2);
    for (unsigned i = 0; i < 6 && (i * 8 < (word)top - seen_sp || top == user_stack_top); i++)
        if (seen_sp + i * 8 < (word)top)
            put_word(i == 2 && code == int_60 ? seen_stack[i] & ~(u64)0x10000 : seen_stack[i], code);
    end_line();
}

static void call_gates(void)
{
    set_pointer(0x1234, GATE | 3, false);
    set_call_gate((word)long_handler, KERNEL_CODE, 0xec, 0);
    show("CALL gate to ring 0", far_call, USER_CODE, USER_DATA);
    show("CALL gate to ring 0 from compatibility code", far_call_compatible, 0x2b, 0x33);
    show("JMP gate to ring 0", far_jump, USER_CODE, USER_DATA);
    set_call_gate((word)long_handler, CODE1, 0xec, 0);
    show("CALL gate to ring 1", far_call, USER_CODE, USER_DATA);
    set_call_gate((word)long_handler, CONFORMING, 0xec, 0);
    show("CALL gate to conforming", far_call, USER_CODE, USER_DATA);
    show("CALL gate to conforming from compatibility code", far_call_compatible, 0x2b, 0x33);
    show("JMP gate to conforming", far_jump, USER_CODE, USER_DATA);
    set_call_gate((word)long_handler, USER_CODE, 0xec, 0);
    show("CALL gate to ring 3", far_call, USER_CODE, USER_DATA);
    set_call_gate((word)compatible_handler, 0x08, 0xec, 0);
    show("CALL gate to compatibility code", far_call, USER_CODE, USER_DATA);
    set_call_gate((word)long_handler, BOTH, 0xec, 0);
    show("CALL gate to code with L and D", far_call, USER_CODE, USER_DATA);
    set_call_gate((word)long_handler, ABSENT, 0xec, 0);
    show("CALL gate to absent code", far_call, USER_CODE, USER_DATA);
    set_call_gate((word)long_handler, EMPTY, 0xec, 0);
    show("CALL gate to an empty slot", far_call, USER_CODE, USER_DATA);
    set_call_gate((word)long_handler, 0, 0xec, 0);
    show("CALL gate to null", far_call, USER_CODE, USER_DATA);
    set_call_gate(BAD, KERNEL_CODE, 0xec, 0);
    show("CALL gate to a bad address", far_call, USER_CODE, USER_DATA);
    set_call_gate((word)long_handler, KERNEL_CODE, 0x8c, 0);
    show("CALL gate of DPL 0", far_call, USER_CODE, USER_DATA);
    set_call_gate((word)long_handler, KERNEL_CODE, 0x6c, 0);
    show("CALL gate that is absent", far_call, USER_CODE, USER_DATA);
    set_call_gate((word)long_handler, KERNEL_CODE, 0xe4, 0);
    show("CALL gate of 16 bits", far_call, USER_CODE, USER_DATA);
    set_call_gate((word)long_handler, KERNEL_CODE, 0xec, 0x0c);
    show("CALL gate with a type above", far_call, USER_CODE, USER_DATA);
    set_pointer(0, TSS_SELECTOR | 3, false);
    show("CALL of a TSS", far_call, USER_CODE, USER_DATA);
    gdt[GATE / 8] = (u64)TSS_SELECTOR << 16 | (u64)0xe5 << 40;
    set_pointer(0, GATE | 3, false);
    show("CALL of a task gate", far_call, USER_CODE, USER_DATA);
    set_call_gate((word)long_handler, KERNEL_CODE, 0xec, 0);
    *(u64 *)(void *)(tss + 12) = BAD;
    set_call_gate((word)long_handler, CODE1, 0xec, 0);
    show("CALL gate, bad RSP1", far_call, USER_CODE, USER_DATA);
    *(u64 *)(void *)(tss + 12) = 0x40001000;
    show("CALL gate, RSP1 not mapped", far_call, USER_CODE, USER_DATA);
    *(u64 *)(void *)(tss + 12) = (word)stack1 + sizeof stack1 - 4;
    show("CALL gate, odd RSP1", far_call, USER_CODE, USER_DATA);
    *(u64 *)(void *)(tss + 12) = (word)stack1 + sizeof stack1;
}

static void far_branches(void)
{
    set_pointer((word)int_60 + 3, 0x2b, false);
    show("JMP to compatibility code", far_jump, USER_CODE, USER_DATA);
    set_pointer((word)int_60 + 3, USER_CODE, true);
    show("wide JMP to 64-bit code", far_jump_wide, USER_CODE, USER_DATA);
    set_pointer(BAD, USER_CODE, true);
    show("wide JMP to a bad address", far_jump_wide, USER_CODE, USER_DATA);
    set_pointer(UINT64_C(0x100000000) + (word)int_60, 0x2b, true);
    show("wide JMP beyond 4 GiB of compatibility code", far_jump_wide, USER_CODE, USER_DATA);
    set_pointer((word)int_60, SHORT | 3, false);
    show("JMP beyond the limit", far_jump, USER_CODE, USER_DATA);
    set_pointer((word)int_60, BOTH | 3, false);
    show("JMP to code with L and D", far_jump, USER_CODE, USER_DATA);
    set_pointer((word)int_60, KERNEL_CODE, false);
    show("JMP to ring 0", far_jump, USER_CODE, USER_DATA);
    set_pointer((word)long_handler, USER_CODE, true);
    show("wide CALL of 64-bit code", far_call_wide, USER_CODE, USER_DATA);
    set_pointer((word)long_handler, USER_CODE, false);
    show("CALL from compatibility to 64-bit code", far_call_compatible, 0x2b, 0x33);
}

static void events(void)
{
    set_gate(0x60, long_handler, KERNEL_CODE, 0xee);
    show("INT, interrupt gate", int_60, USER_CODE, USER_DATA);
    show("INT from compatibility code", int_60, 0x2b, 0x33);
    set_gate(0x60, long_handler, KERNEL_CODE, 0xef);
    show("INT, trap gate", int_60, USER_CODE, USER_DATA);
    set_gate(0x60, long_handler, CODE1, 0xee);
    show("INT to ring 1", int_60, USER_CODE, USER_DATA);
    set_gate(0x60, long_handler, CONFORMING, 0xee);
    show("INT to conforming", int_60, USER_CODE, USER_DATA);
    set_gate(0x60, long_handler, KERNEL_CODE, 0xee);
    idt[0x60].type |= 4;
    *(u64 *)(void *)(tss + 36 + 24) = (word)ist_stack + sizeof ist_stack;
    show("INT with IST", int_60, USER_CODE, USER_DATA);
    *(u64 *)(void *)(tss + 36 + 24) = (word)ist_stack + sizeof ist_stack - 7;
    show("INT with an odd IST", int_60, USER_CODE, USER_DATA);
    *(u64 *)(void *)(tss + 36 + 24) = BAD;
    show("INT with a bad IST", int_60, USER_CODE, USER_DATA);
    set_gate(0x60, long_handler, 0x08, 0xee);
    show("INT to compatibility code", int_60, USER_CODE, USER_DATA);
    set_gate(0x60, long_handler, KERNEL_CODE, 0xe6);
    show("INT, gate of 16 bits", int_60, USER_CODE, USER_DATA);
    set_gate(0x60, long_handler, KERNEL_CODE, 0xe5);
    show("INT, task gate", int_60, USER_CODE, USER_DATA);
    set_gate(0x60, (const void *)(word)BAD, KERNEL_CODE, 0xee);
    show("INT to a bad address", int_60, USER_CODE, USER_DATA);
    set_gate(0x60, long_handler, ABSENT, 0xee);
    show("INT to absent code", int_60, USER_CODE, USER_DATA);
}

int main(void);
int main(void)
{
    set_segment(CODE1, 0, 0xfffff, 0xbb, 0xa);
    set_segment(DATA1, 0, 0xfffff, 0xb3, 0xc);
    set_segment(CONFORMING, 0, 0xfffff, 0x9f, 0xa);
    set_segment(CODE16, 0x10000, 0xffff, 0xfb, 0);
    set_segment(BOTH, 0, 0xfffff, 0xfb, 0xe);
    set_segment(ABSENT, 0, 0xfffff, 0x1b, 0xa);
    set_segment(SHORT, 0, 0xff, 0xfb, 0x4);
    *(u64 *)(void *)(tss + 12) = (word)stack1 + sizeof stack1;
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    call_gates();
    far_branches();
    events();
    return 0;
}
