// The small guests' common part; see guest.h.
#include "guest.h"

struct trap trap;
bool (*trap_hook)(struct frame *frame);
__attribute__((aligned(16))) struct gate idt[256];
__attribute__((aligned(16))) u8 tss[104];

static struct context attempt_context;
static bool attempting;

void put(const char *text)
{
    for (; *text; text++) {
        while (!(in8(0x3fd) & 0x20))
            ;
        out8(0x3f8, (u8)*text);
    }
}

void put_hex(u64 value, unsigned digits)
{
    char text[17];
    for (unsigned i = 0; i < digits; i++)
        text[i] = "0123456789abcdef"[value >> (digits - 1 - i) * 4 & 15];
    text[digits] = 0;
    put(text);
}

void put_number(u32 value)
{
    char text[11], *p = text + 10;
    *p = 0;
    do
        *--p = (char)('0' + value % 10);
    while (value /= 10);
    put(p);
}

void put_field(const char *name, u64 value, unsigned digits)
{
    put(" ");
    put(name);
    put("=");
    put_hex(value, digits);
}

void end_line(void)
{
    put("\n");
}

void guest_end(void)
{
    put("END\n");
    while (!(in8(0x3fd) & 0x40))
        ;
    out8(0xf4, 0x10);
    for (const char *text = "Shutdown"; *text; text++) // Bochs has no isa-debug-exit
        out8(0x8900, (u8)*text);
    for (;;)
        asm volatile("cli; hlt");
}

void on_trap(struct frame *frame);
void on_trap(struct frame *frame)
{
    if (trap_hook && trap_hook(frame))
        return;
    bool outer = BITS == 64 || ((frame->cs & 3) && !(frame->flags & 0x20000)) || frame->flags & 0x20000;
    trap = (struct trap){.vector = (int)frame->vector,
                         .error = (u32)frame->error,
                         .ip = frame->ip,
                         .cs = frame->cs,
                         .flags = frame->flags,
                         .sp = outer ? frame->sp : 0,
                         .ss = outer ? frame->ss : 0,
                         .ax = frame->ax,
                         .cr2 = read_cr2()};
    if (attempting) {
        attempting = false;
        resume_context(&attempt_context);
    }
    put("unexpected trap");
    put_field("vector", frame->vector, 2);
    put_field("error", frame->error, 8);
    put_field("ip", frame->ip, 8);
    put_field("cs", frame->cs, 4);
    put_field("cr2", trap.cr2, 8);
    end_line();
    guest_end();
}

static void reset_segments(void)
{
#ifndef __x86_64__
    asm volatile("movl %0, %%ds\nmovl %0, %%es\nmovl %0, %%fs\nmovl %0, %%gs" : : "r"(KERNEL_DATA));
#endif
    asm volatile("cld");
}

/// The code at `code` may change any register.
static word call_snippet(const void *code)
{
    word ax = 0;
#ifdef __x86_64__
    asm volatile("call *%1"
                 : "+a"(ax)
                 : "r"(code)
                 : "rcx", "rdx", "rbx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory",
                   "cc");
#else
    asm volatile("push %%ebp\ncall *%1\npop %%ebp"
                 : "+a"(ax), "+c"(code)
                 :
                 : "edx", "ebx", "esi", "edi", "memory", "cc");
#endif
    return ax;
}

word attempt(const void *code)
{
    volatile word ax = 0;
    trap.vector = -1;
    write_cr2(0);
    if (!save_context(&attempt_context)) {
        attempting = true;
        ax = call_snippet(code);
        attempting = false;
    }
    reset_segments();
    return ax;
}

word attempt_user_at(word ip, word cs, word sp, word ss, word flags)
{
    trap.vector = -1;
    write_cr2(0);
    if (!save_context(&attempt_context)) {
        attempting = true;
        enter_user(ip, cs, sp, ss, flags);
    }
    reset_segments();
    if (trap.vector == 0x80)
        trap.vector = -1;
    return trap.ax;
}

word attempt_user(const void *code)
{
    word *sp = (word *)user_stack_top;
    *--sp = (word)user_return;
    return attempt_user_at((word)code, USER_CODE, (word)sp, USER_DATA, 2);
}

void report(const char *name, const void *code, word ax)
{
    put(name);
    put(":");
    if (trap.vector < 0) {
        put(" ok ");
        put_hex(ax, BITS / 4);
    } else {
        long offset = (long)(trap.ip - (word)code);
        put(" trap ");
        put_number((u32)trap.vector);
        put_field("e", trap.error, 4);
        if (offset >= 0 && offset < 0x1000) {
            put(" ip+");
            put_hex((u64)offset, 2);
        } else {
            put_field("ip", trap.ip, BITS / 4);
        }
        if (trap.vector == 14)
            put_field("cr2", trap.cr2, BITS / 4);
    }
    end_line();
}

void probe(const char *name, const void *code)
{
    word ax = attempt(code);
    report(name, code, ax);
}

void probe_user(const char *name, const void *code)
{
    word ax = attempt_user(code);
    report(name, code, ax);
}

bool leaves_out(const char *name)
{
    struct cpuid id = cpuid(0x40000000, 0);
    if (id.b != 0x54474354 || id.c != 0x43544743) // "TCGT", "CGTC"
        return false;
    put(name);
    put(": left out\n");
    return true;
}

void probe_not_tcg(const char *name, const void *code)
{
    if (!leaves_out(name))
        probe(name, code);
}

void set_gate(unsigned vector, const void *entry, unsigned selector, unsigned type_and_dpl)
{
    word at = (word)entry;
    idt[vector] = (struct gate){.offset_low = (u16)at,
                                .selector = (u16)selector,
                                .type = (u16)(type_and_dpl << 8),
                                .offset_high = (u16)(at >> 16)};
#ifdef __x86_64__
    idt[vector].offset_top = (u32)(at >> 32);
#endif
}

/// flags: G, D/B, L, AVL as in the descriptor's second dword, bits 23..20.
void set_segment(unsigned selector, u32 base, u32 limit, unsigned type, unsigned flags)
{
    gdt[selector / 8] = (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)type << 40 |
                        (u64)(limit >> 16 & 15) << 48 | (u64)flags << 52 | (u64)(base >> 24) << 56;
}

void guest_init(void);
void guest_init(void)
{
    struct __attribute__((packed)) {
        u16 limit;
        word base;
    } idtr = {sizeof idt - 1, (word)idt};
    static const u8 line[][2] = {{3, 0x83}, {0, 1}, {1, 0}, {3, 3}}; // divisor 1, 8 data bits
    for (unsigned i = 0; i < COUNT_OF(line); i++)
        out8((u16)(0x3f8 + line[i][0]), line[i][1]);
    for (unsigned i = 0; i < 256; i++)
        set_gate(i, trap_entries + 16 * i, KERNEL_CODE, i == 3 || i == 4 || i == 0x80 ? 0xee : 0x8e);
#ifdef __x86_64__
    *(u64 *)(void *)(tss + 4) = (word)trap_stack_top;
    *(u64 *)(void *)(tss + 36) = (word)other_stack_top;
    *(u16 *)(void *)(tss + 102) = sizeof tss;
    idt[8].type |= 1;
#else
    *(u32 *)(void *)(tss + 4) = (word)trap_stack_top;
    *(u32 *)(void *)(tss + 8) = KERNEL_DATA;
    *(u16 *)(void *)(tss + 102) = sizeof tss;
#endif
    set_segment(TSS_SELECTOR, (u32)(word)tss, sizeof tss - 1, 0x89, 0);
    asm volatile("lidt %0\nltr %w1" : : "m"(idtr), "r"(TSS_SELECTOR));
}
