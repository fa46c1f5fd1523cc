// Relative branches and straight code at the ends of the canonical address space: where the fault is reported, and what
// has not happened before it.
#include "guest.h"

#define LOW_END 0x7ffffffff000u // the last page of the lower half
#define HIGH_START 0xffff800000000000u

__attribute__((aligned(4096))) u64 table3[512], table2[512], table1[512], high3[512], high2[512], high1[512];
__attribute__((aligned(4096))) u8 low_page[4096], high_page[4096];

static u8 *place; // where the present snippet runs
static word sp_before, cx_after;

static bool look(struct frame *frame)
{
    cx_after = frame->cx;
    if (frame->vector != 13)
        return false;
    put(" at ");
    if (frame->ip - (word)place < 64)
        put_hex(frame->ip - (word)place, 2);
    else
        put_hex(frame->ip, 16);
    put_field("rcx", frame->cx, 2);
    put_field("pushed", sp_before - frame->sp, 2);
    return false;
}

/// Code that begins with MOV ECX,3, notes RSP and runs `code` at the page's offset.
static void at(const char *name, word page, u8 *bytes, unsigned offset, const u8 *code, unsigned size)
{
    static const u8 start[] = {0xb9, 3, 0, 0, 0, 0x48, 0x89, 0x24, 0x25}; // mov ecx, 3; mov [sp_before], rsp
    place = (u8 *)(page + offset);
    u8 *to = bytes + offset;
    for (unsigned i = 0; i < sizeof start; i++)
        *to++ = start[i];
    for (unsigned i = 0; i < 4; i++)
        *to++ = (u8)((word)&sp_before >> 8 * i);
    for (unsigned i = 0; i < size; i++)
        *to++ = code[i];
    put(name);
    put(":");
    trap_hook = look;
    word ax = attempt(place);
    trap_hook = 0;
    if (trap.vector < 0)
        put_field("ok", ax, 2);
    else if (trap.vector != 13)
        put_field("trap", (u32)trap.vector, 2);
    end_line();
}

#define LOW(name, offset, ...)                                                                                         \
    do {                                                                                                               \
        static const u8 code[] = {__VA_ARGS__};                                                                        \
        at(name, LOW_END, low_page, offset, code, sizeof code);                                                        \
    } while (0)
#define HIGH(name, offset, ...)                                                                                        \
    do {                                                                                                               \
        static const u8 code[] = {__VA_ARGS__};                                                                        \
        at(name, HIGH_START, high_page, offset, code, sizeof code);                                                    \
    } while (0)
#define FORWARD 0, 0x10, 0, 0            // + 4096
#define BACK 0, 0xf0, 0xff, 0xff         // - 4096
#define END_OK 0xb8, 0x77, 0, 0, 0, 0xc3 // mov eax, 0x77; ret

static void map(u64 *pml4, unsigned index, u64 *t3, u64 *t2, u64 *t1, unsigned last, const u8 *page)
{
    pml4[index] = (word)t3 | 7;
    t3[last] = (word)t2 | 7;
    t2[last] = (word)t1 | 7;
    t1[last] = (word)page | 7;
}

int main(void);
int main(void)
{
    u64 *pml4 = (u64 *)read_cr3();
    map(pml4, 255, table3, table2, table1, 511, low_page);
    map(pml4, 256, high3, high2, high1, 0, high_page);
    LOW("JMP inside", 0x100, 0xeb, 0, END_OK);
    LOW("JMP", 0x100, 0xe9, FORWARD, END_OK);
    LOW("JMP again", 0x100, 0xe9, FORWARD, END_OK);
    LOW("JMP back", 0x100, 0xe9, BACK, END_OK);
    LOW("short JMP", 0xfe8, 0xeb, 0x7f, END_OK);
    LOW("CALL", 0x100, 0xe8, FORWARD, END_OK);
    LOW("JNZ taken", 0x100, 0x85, 0xc9, 0x0f, 0x85, FORWARD, END_OK);
    LOW("JZ not taken", 0x100, 0x85, 0xc9, 0x0f, 0x84, FORWARD, END_OK);
    LOW("LOOP taken", 0xfe8, 0xe2, 0x7f, END_OK);
    LOW("LOOPE not taken", 0xfe8, 0x85, 0xc9, 0xe1, 0x7f, END_OK);
    LOW("JRCXZ not taken", 0xfe8, 0xe3, 0x7f, END_OK);
    LOW("JRCXZ taken", 0xfe8, 0x31, 0xc9, 0xe3, 0x7f, END_OK);
    LOW("code up to the end", 0xff2, 0x90);
    LOW("an instruction over the end", 0xff2, 0xb8);
    HIGH("JMP below", 0x100, 0xe9, BACK, END_OK);
    HIGH("CALL below", 0x100, 0xe8, BACK, END_OK);
    HIGH("JNZ below", 0x100, 0x85, 0xc9, 0x0f, 0x85, BACK, END_OK);
    HIGH("short JMP below", 0x10, 0xeb, 0x80, END_OK);
    HIGH("JMP above", 0x100, 0xeb, 0, END_OK);
    // One page at two places: what faults at one is right at the other.
    table1[510] = (word)low_page | 7;
    at("JMP, alias", LOW_END - 0x1000, low_page, 0x200, (const u8[]){0xe9, FORWARD, END_OK}, 11);
    at("JMP, edge", LOW_END, low_page, 0x200, (const u8[]){0xe9, FORWARD, END_OK}, 11);
    at("JMP, alias again", LOW_END - 0x1000, low_page, 0x200, (const u8[]){0xe9, FORWARD, END_OK}, 11);
    return 0;
}
