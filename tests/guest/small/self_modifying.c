// Code that changes while it runs: the next instruction, the own block, another page, across pages, data beside code,
// loops that patch themselves again and again, copies and string stores over code.
#include "guest.h"

#define R(n) "%" IF64("r", "e") n

static __attribute__((aligned(4096))) u8 area[4 * 4096]; // zeroed data, executable all the same

// The instruction that follows the store is the one that changes: mov $1,%eax becomes mov $2,%eax.
SNIPPET(next_instruction, "movb $2,next_target+1\nnext_target: movl $1,%eax\nmovb $1,next_target+1");
SNIPPET(next_but_one, "movb $3,later_target+1\nnop\nnop\nlater_target: movl $1,%eax\nmovb $1,later_target+1");
SNIPPET(own_loop, "xor %eax,%eax\nmov $10,%ecx\n1: own_target: add $1,%eax\nincb own_target+2\ndec %ecx\njnz 1b\n"
                  "movb $1,own_target+2");
SNIPPET(before_self, "xor %eax,%eax\nxor %edx,%edx\n1: before_target: add $1,%eax\ninc %edx\ncmp $2,%edx\njae 2f\n"
                     "movb $0x40,before_target+2\njmp 1b\n2: movb $1,before_target+2");
SNIPPET(opcode_change,
        "mov $5,%eax\nmov $5,%ecx\nmovb $0x29,opcode_target\nopcode_target: add %ecx,%eax\nmovb $1,opcode_target");
SNIPPET(length_change,
        "xor %eax,%eax\nmovw $0xc0ff,length_target\nlength_target: nop\nnop\nmovw $0x9090,length_target");
SNIPPET(jump_change, "xor %eax,%eax\nmovb $2,jump_target+1\njump_target: jmp 1f\n1: inc %eax\ninc %eax\ninc %eax\n"
                     "movb $0,jump_target+1");
SNIPPET(string_store,
        "mov $4,%ecx\nmov $string_target," R("di") "\nmov $0x40,%al\nrep stosb\nstring_target: nop\nnop\nnop\nnop\n"
                                                   "mov $0x11,%eax\n" IF64("nop", "movl $0x90909090,string_target"));
SNIPPET(push_over,
        "mov " R("sp") "," R("dx") "\nmov $push_target+8," R("sp") "\nmov $0x9090909040404040," IF64(
            "%rax",
            "%eax") "\nxor %ecx,%ecx\npush " R("ax") "\nmov " R("dx") "," R("sp") "\nmov $0x22,%eax\npush_target: "
                                                                                  ".fill 8,1,0x90");
SNIPPET(
    locked,
    "mov $9,%ecx\nmov $1,%eax\nlock cmpxchg %cl,locked_target+1\nlocked_target: mov $1,%eax\nmovb $1,locked_target+1");

static u32 call_area(unsigned offset)
{
    word ax;
    asm volatile("call *%1" : "=a"(ax) : "r"(area + offset) : "memory", "cc");
    return (u32)ax;
}

static void put_code(unsigned offset, u32 value)
{
    volatile u8 *code = area + offset;
    code[0] = 0xb8;
    code[1] = (u8)value;
    code[2] = (u8)(value >> 8);
    code[3] = (u8)(value >> 16);
    code[4] = (u8)(value >> 24);
    code[5] = 0xc3;
}

static void many(void)
{
    u32 sum = 0;
    for (u32 i = 0; i < 2000; i++) {
        put_code(0, i);
        sum += call_area(0);
    }
    put("patched 2000 times:");
    put_field("sum", sum, 8);
    end_line();
}

static void crossing(void)
{
    put("across pages:");
    for (unsigned start = 4091; start <= 4096; start++) {
        u32 sum = 0;
        put_code(start, 0x01020304);
        sum += call_area(start);
        area[4096] ^= start < 4096 ? 0x50 : 0; // a byte of the immediate, or RET's page
        if (start == 4091)
            area[4096] = 0xc3;
        sum += call_area(start);
        put_code(start, 0x11111111);
        sum += call_area(start);
        put_field("sum", sum, 8);
    }
    end_line();
}

static void beside(void)
{
    // Counters in the page of the code that counts them.
    volatile u32 *counter = (u32 *)(area + 64);
    *counter = 0;
    u8 code[] = {0xff, 0x05, 0, 0, 0, 0, 0xc3}; // inc counter; RIP-relative in 64-bit code
    u32 place = IF64((u32)(64 - 134), (u32)(word)counter);
    for (unsigned i = 0; i < 4; i++)
        code[2 + i] = (u8)(place >> 8 * i);
    for (unsigned i = 0; i < sizeof code; i++)
        area[128 + i] = code[i];
    for (u32 i = 0; i < 3000; i++)
        call_area(128);
    put("counter beside code:");
    put_field("count", *counter, 8);
    end_line();
}

static void copied(void)
{
    put("copied over:");
    put_code(0x100, 0x77);
    put_code(0x200, 0x88);
    put_field("first", call_area(0x100), 2);
    void *to = area + 0x100, *from = area + 0x200;
    word count = 6;
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    put_field("then", call_area(0x100), 2);
    to = area;
    count = sizeof area / 4;
    asm volatile("rep stosl" : "+D"(to), "+c"(count) : "a"(0xc3c3c3c3) : "memory");
    u32 ax = 0x99;
    asm volatile("call *%1" : "+a"(ax) : "r"(area + 0x2ffe) : "memory");
    put_field("erased", ax, 2);
    end_line();
}

// A caller whose return lands in changed code.
SNIPPET(change_caller, "mov $0xb0,%eax\nmovb $7,change_target+1\nret");
SNIPPET(change_return, "call change_caller\nchange_target: mov $1,%al\nmovb $1,change_target+1");

static void data_writes(void)
{
    // Many writes into the page of code that is not hit: the code stays what it is.
    put_code(0x400, 0x1234);
    u32 sum = 0;
    for (u32 i = 0; i < 4000; i++) {
        *(volatile u32 *)(area + 0x800 + i % 64 * 4) = i;
        sum += call_area(0x400);
    }
    put("data beside code:");
    put_field("sum", sum, 8);
    end_line();
}

static void variants(void)
{
    // Code that goes forth and back between two forms, with a new one now and then; the last of each form is not the
    // first.
    u32 sum = 0, forms = 0;
    for (u32 i = 0; i < 6000; i++) {
        u32 form = i % 7 == 6 ? i / 7 : i % 2 ? 0x1111 : 0x2222;
        put_code(0x600, form);
        sum = sum * 3 + call_area(0x600);
        forms += form;
        if (i % 3 == 0) // called twice, changed once
            sum += call_area(0x600);
    }
    put("forth and back:");
    put_field("sum", sum, 8);
    put_field("forms", forms, 8);
    end_line();
}

static void opcodes(void)
{
    // add and sub take turns by a flipped bit, in the middle of the block.
    static const u8 code[] = {0xb8, 7, 0, 0, 0, 0x83, 0xc0, 5, 0xc3}; // eax = 7; eax += 5; ret
    u32 sum = 0;
    for (unsigned i = 0; i < sizeof code; i++)
        area[0x640 + i] = code[i];
    for (u32 i = 0; i < 3000; i++) {
        sum = sum * 5 + call_area(0x640);
        if (i % 5)
            area[0x640 + 6] ^= 0x28;
    }
    put("add and sub:");
    put_field("sum", sum, 8);
    end_line();
}

static void close_by(void)
{
    // A counter so many bytes behind the start of the code that counts, which has seven.
    put("counters close by:");
    for (unsigned gap = 7; gap < 24; gap += 4) {
        volatile u8 *code = area + 0x700;
        volatile u32 *counter = (volatile u32 *)(area + 0x700 + gap);
        u32 place = IF64(gap - 6, (u32)(word)counter);
        *counter = 0;
        code[0] = 0xff; // inc counter
        code[1] = 0x05;
        for (unsigned i = 0; i < 4; i++)
            code[2 + i] = (u8)(place >> 8 * i);
        code[6] = 0xc3;
        for (u32 i = 0; i < 500; i++)
            call_area(0x700);
        put_field("count", *counter, 4);
    }
    end_line();
}

static void repeated(const char *name, const void *code)
{
    probe(name, code); // once cold,
    for (unsigned i = 0; i < 20; i++)
        attempt(code); // then hot
    probe(name, code);
}

int main(void);
int main(void)
{
    repeated("next instruction", next_instruction);
    repeated("next but one", next_but_one);
    repeated("own loop", own_loop);
    repeated("earlier in the block", before_self);
    repeated("opcode", opcode_change);
    repeated("length", length_change);
    repeated("jump", jump_change);
    repeated("push", push_over);
    repeated("locked", locked);
    repeated("caller", change_return);
    probe("string", string_store);
    many();
    crossing();
    beside();
    copied();
    data_writes();
    variants();
    opcodes();
    close_by();
    return 0;
}
