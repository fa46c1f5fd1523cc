// Call, interrupt and trap gates of 16 and 32 bits from every ring: what they push, where SP and IF end up, which error
// each broken part gives (SDM vol. 3 sec. 5.8.3 to 5.8.5 and 6.12).
#include "guest.h"

#define CODE1 0x58
#define DATA1 0x60
#define CODE2 0x68
#define DATA2 0x70
#define CONFORMING 0x78
#define LOW_CODE 0x80  // ring 0 from 0x10000 on, so that 16-bit gates reach the handler
#define LOW_CODE1 0x88 // the same in ring 1
#define LOW_CONFORMING 0x90
#define GATE 0x98
#define ABSENT_CODE 0xa0
#define ABSENT_STACK 0xa8
#define READ_ONLY 0xb0
#define SMALL_STACK 0xb8 // ring 0, limit 0x1f
#define SHORT_CODE 0xc0  // limit 0xff
#define SMALL_TSS 0xc8
#define EMPTY 0x1f8

struct tss32 {
    u32 link, sp[6]; // SP0, SS0, SP1, SS1, SP2, SS2
} __attribute__((packed));
#define TSS ((struct tss32 *)(void *)tss)

static __attribute__((aligned(16))) u8 stack1[512], stack2[512];
u32 seen_sp, seen_ss, seen_cs, seen_flags, arrived;
u8 seen_stack[160];
// What a gate leads to: notes its stack and ends.
asm(".text\ngate_handler: mov %esp,seen_sp\nmov %ss,seen_ss\nmov %cs,seen_cs\npushf\npop seen_flags\nincl arrived\n"
    "mov %esp,%esi\nmov $seen_stack,%edi\nmov $40,%ecx\ncld\nrep movsl %ss:(%esi),%es:(%edi)\nint $0x80\n");
extern u8 gate_handler[];

SNIPPET(by_int, "nop\nint $0x60");
SNIPPET(by_call, "push $0x3333\npush $0x2222\npush $0x1111\nlcall $0x9b,$0x1234");
SNIPPET(by_call0, "push $0x3333\npush $0x2222\npush $0x1111\nlcall $0x98,$0x1234");
SNIPPET(by_jump, "nop\nljmp $0x9b,$0x1234");

static const u16 code_of[4] = {0x08, CODE1 | 1, CODE2 | 2, 0x2b}, data_of[4] = {0x10, DATA1 | 1, DATA2 | 2, 0x33};
static const u8 *const stack_of[3] = {trap_stack_top, stack1 + sizeof stack1, stack2 + sizeof stack2};

static void set_call_gate(unsigned selector, unsigned type, unsigned parameters)
{
    u32 offset = (u32)gate_handler - (selector >= LOW_CODE && selector <= LOW_CONFORMING ? 0x10000 : 0);
    gdt[GATE / 8] =
        (offset & 0xffff) | (u64)selector << 16 | (u64)parameters << 32 | (u64)type << 40 | (u64)(offset >> 16) << 48;
}

static void set_event_gate(unsigned selector, unsigned type)
{
    set_gate(0x60, gate_handler - (selector >= LOW_CODE && selector <= LOW_CONFORMING ? 0x10000 : 0), selector, type);
}

static void put_word(u32 value, const u8 *code, u32 mask)
{
    put(" ");
    if (value - ((u32)code & mask) < 0x20) {
        put("ip+");
        put_hex(value - ((u32)code & mask), 2);
    } else if (((u32)user_stack_top & mask) - value < 0x100) {
        put("sp-");
        put_hex(((u32)user_stack_top & mask) - value, 2);
    } else {
        put_hex(value & 0xffffff, mask == 0xffff ? 4 : 6);
    }
}

/// Runs code in a ring and prints the handler's stack, or the fault.
static void show(const char *name, unsigned ring, const u8 *code, unsigned bytes)
{
    arrived = 0;
    attempt_user_at((word)code, code_of[ring], (word)user_stack_top, data_of[ring], 0x202);
    put(name);
    put(", ring ");
    put_number(ring);
    put(":");
    if (trap.vector >= 0 || !arrived) {
        put_field("trap", (u32)trap.vector, 2);
        put_field("e", trap.error, 4);
        put_field("ip", trap.ip - (u32)code, 2);
        put_field("cs", trap.cs, 2);
        end_line();
        return;
    }
    put_field("cs", seen_cs, 2);
    put_field("ss", seen_ss, 2);
    put_field("IF", seen_flags >> 9 & 1, 1);
    const u8 *top = seen_ss == data_of[ring] ? user_stack_top : stack_of[seen_ss & 3];
    u32 length = ring ? (u32)top - seen_sp : 2 * bytes; // ring 0 keeps the stack it came with
    put_field("pushed", length, 2);
    for (unsigned i = 0; i < length && i < 48; i += bytes)
        put_word(bytes == 2 ? *(u16 *)(void *)(seen_stack + i) : *(u32 *)(void *)(seen_stack + i), code,
                 bytes == 2 ? 0xffff : 0xffffffff);
    end_line();
}

static void events(void)
{
    static const struct {
        const char *name;
        unsigned type, bytes;
    } types[] = {{"interrupt gate, 32 bits", 0xee, 4},
                 {"trap gate, 32 bits", 0xef, 4},
                 {"interrupt gate, 16 bits", 0xe6, 2},
                 {"trap gate, 16 bits", 0xe7, 2}};
    for (unsigned i = 0; i < COUNT_OF(types); i++) {
        set_event_gate(LOW_CODE, types[i].type);
        for (unsigned ring = 0; ring < 4; ring++)
            show(types[i].name, ring, by_int, types[i].bytes);
        set_event_gate(LOW_CODE1, types[i].type);
        put("to ring 1 by ");
        show(types[i].name, 3, by_int, types[i].bytes);
        put("to ring 1 by ");
        show(types[i].name, 1, by_int, types[i].bytes);
        put("to ring 1 by ");
        show(types[i].name, 0, by_int, types[i].bytes);
        set_event_gate(LOW_CONFORMING, types[i].type);
        put("to conforming by ");
        show(types[i].name, 3, by_int, types[i].bytes);
    }
    set_event_gate(LOW_CODE, 0xae);
    show("gate of DPL 1", 1, by_int, 4);
    show("gate of DPL 1", 2, by_int, 4);
    set_event_gate(LOW_CODE, 0xec);
    show("a call gate in the IDT", 3, by_int, 4);
    set_event_gate(LOW_CODE, 0x8c);
    show("a call gate of DPL 0 in the IDT", 3, by_int, 4);
    set_event_gate(LOW_CODE, 0xe9);
    show("a TSS in the IDT", 3, by_int, 4);
    set_event_gate(0x4c, 0xee);
    show("code in an LDT that is not there", 3, by_int, 4);
    set_event_gate(SHORT_CODE, 0xee);
    show("an offset beyond the limit", 3, by_int, 4);
}

static void calls(void)
{
    static const struct {
        const char *name;
        unsigned selector, type, parameters, bytes;
    } gates[] = {{"call gate, 32 bits", LOW_CODE, 0xec, 0, 4},
                 {"call gate, 32 bits, 2 parameters", LOW_CODE, 0xec, 2, 4},
                 {"call gate, 16 bits", LOW_CODE, 0xe4, 0, 2},
                 {"call gate, 16 bits, 5 parameters", LOW_CODE, 0xe4, 5, 2},
                 {"call gate to ring 1", LOW_CODE1, 0xec, 3, 4},
                 {"call gate to conforming", LOW_CONFORMING, 0xec, 3, 4},
                 {"call gate of 16 bits to conforming", LOW_CONFORMING, 0xe4, 3, 2}};
    for (unsigned i = 0; i < COUNT_OF(gates); i++) {
        set_call_gate(gates[i].selector, gates[i].type, gates[i].parameters);
        for (unsigned ring = 0; ring < 4; ring++)
            show(gates[i].name, ring, ring ? by_call : by_call0, gates[i].bytes);
    }
    for (unsigned ring = 0; ring < 4; ring++) {
        set_call_gate(LOW_CODE, 0xec, 0);
        show("JMP through a call gate", ring, by_jump, 4);
        set_call_gate(LOW_CONFORMING, 0xec, 0);
        show("JMP through a call gate to conforming", ring, by_jump, 4);
    }
    set_call_gate(LOW_CODE, 0xec, 1);
    gdt[GATE / 8] |= (u64)0xe0 << 32;
    show("call gate with reserved bits", 3, by_call, 4);
}

static void broken_calls(void)
{
    static const struct {
        const char *name;
        unsigned selector, type;
    } gates[] = {{"gate of DPL 2", LOW_CODE, 0xcc},
                 {"gate not present", LOW_CODE, 0x6c},
                 {"gate not present of DPL 0", LOW_CODE, 0x0c},
                 {"gate to null", 0, 0xec},
                 {"gate to null with RPL", 3, 0xec},
                 {"gate to an empty slot", EMPTY, 0xec},
                 {"gate beyond the GDT", 0xff8, 0xec},
                 {"gate to an LDT that is not there", LOW_CODE | 4, 0xec},
                 {"gate to data", DATA1, 0xec},
                 {"gate to a TSS", TSS_SELECTOR, 0xec},
                 {"gate to absent code", ABSENT_CODE, 0xec},
                 {"gate to short code", SHORT_CODE, 0xec},
                 {"gate with RPL 3 in its selector", LOW_CODE | 3, 0xec}};
    for (unsigned i = 0; i < COUNT_OF(gates); i++) {
        set_call_gate(gates[i].selector, gates[i].type, 0);
        if ((gates[i].selector & ~7u) == LOW_CODE)
            gdt[GATE / 8] = (gdt[GATE / 8] & ~(u64)0xffff00000000ffff) | (((u32)gate_handler - 0x10000) & 0xffff);
        show(gates[i].name, 3, by_call, 4);
    }
    set_call_gate(LOW_CODE, 0x8c, 0);
    show("gate of DPL 0 with RPL 3", 0, by_call, 4);
    show("gate of DPL 0 with RPL 0", 0, by_call0, 4);
    set_call_gate(LOW_CODE1, 0xec, 0);
    show("gate to an outer ring", 0, by_call0, 4);
}

static void broken_stacks(void)
{
    static const struct {
        const char *name;
        u32 ss;
    } stacks[] = {{"null", 0},
                  {"null with RPL", 1},
                  {"an empty slot", EMPTY | 1},
                  {"beyond the GDT", 0xff9},
                  {"with RPL 0", DATA1},
                  {"of DPL 0", 0x11},
                  {"read only", READ_ONLY | 1},
                  {"code", CODE1 | 1},
                  {"not present", ABSENT_STACK | 1},
                  {"not present, RPL 2", ABSENT_STACK | 2},
                  {"of the LDT", 0x15},
                  {"too small", SMALL_STACK | 1}};
    struct tss32 saved = *TSS;
    for (unsigned i = 0; i < COUNT_OF(stacks); i++) {
        // The faults themselves arrive in ring 0, which needs a stack: gates of INT and CALL lead to ring 1 here.
        TSS->sp[3] = stacks[i].ss;
        TSS->sp[2] = stacks[i].ss == (SMALL_STACK | 1) ? 0x10 : saved.sp[2];
        set_event_gate(LOW_CODE1, 0xee);
        put("INT, stack ");
        show(stacks[i].name, 3, by_int, 4);
        set_call_gate(LOW_CODE1, 0xec, 3);
        put("CALL, stack ");
        show(stacks[i].name, 3, by_call, 4);
        put("CALL, stack ");
        show(stacks[i].name, 2, by_call, 4);
    }
    TSS->sp[3] = SMALL_STACK | 1;
    TSS->sp[2] = 0x17;
    put("CALL with 2 parameters, stack ");
    set_call_gate(LOW_CODE1, 0xec, 2);
    show("of 23 bytes", 3, by_call, 4);
    *TSS = saved;
    set_segment(SMALL_TSS, (u32)tss, 0x0c, 0x89, 0); // SP0 and SS0, but not all of SP1 and SS1
    asm volatile("ltr %w0" : : "r"(SMALL_TSS));
    put("CALL, ");
    show("a TSS without SS1", 3, by_call, 4);
    set_event_gate(LOW_CODE1, 0xee);
    put("INT, ");
    show("a TSS without SS1", 3, by_int, 4);
    gdt[TSS_SELECTOR / 8] &= ~((u64)2 << 40);
    asm volatile("ltr %w0" : : "r"(TSS_SELECTOR));
}

int main(void);
int main(void)
{
    set_segment(CODE1, 0, 0xfffff, 0xbb, 0xc);
    set_segment(DATA1, 0, 0xfffff, 0xb3, 0xc);
    set_segment(CODE2, 0, 0xfffff, 0xdb, 0xc);
    set_segment(DATA2, 0, 0xfffff, 0xd3, 0xc);
    set_segment(CONFORMING, 0, 0xfffff, 0x9f, 0xc);
    set_segment(LOW_CODE, 0x10000, 0xfffff, 0x9b, 0xc);
    set_segment(LOW_CODE1, 0x10000, 0xfffff, 0xbb, 0xc);
    set_segment(LOW_CONFORMING, 0x10000, 0xfffff, 0x9f, 0xc);
    set_segment(ABSENT_CODE, 0, 0xfffff, 0x1b, 0xc);
    set_segment(ABSENT_STACK, 0, 0xfffff, 0x33, 0xc);
    set_segment(READ_ONLY, 0, 0xfffff, 0xb1, 0xc);
    set_segment(SMALL_STACK, 0x50000, 0x1f, 0xb3, 4);
    set_segment(SHORT_CODE, 0, 0xff, 0x9b, 4);
    TSS->sp[2] = (u32)(stack1 + sizeof stack1);
    TSS->sp[3] = DATA1 | 1;
    TSS->sp[4] = (u32)(stack2 + sizeof stack2);
    TSS->sp[5] = DATA2 | 2;
    *(u16 *)(void *)(tss + 102) = 104;
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    events();
    calls();
    broken_calls();
    broken_stacks();
    return 0;
}
