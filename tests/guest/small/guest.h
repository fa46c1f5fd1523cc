// What the small guests share: output, traps, probes of single snippets. Freestanding; nothing of the host's headers.
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef unsigned long word; // a general register

#ifdef __x86_64__
#define BITS 64
#define KERNEL_CODE 0x18
#define KERNEL_DATA 0x20
#define USER_CODE 0x3b
#define USER_DATA 0x43
#define IF64(a, b) a
#else
#define BITS 32
#define KERNEL_CODE 0x08
#define KERNEL_DATA 0x10
#define USER_CODE 0x2b
#define USER_DATA 0x33
#define IF64(a, b) b
#endif
#define TSS_SELECTOR 0x48
#define FREE_SELECTOR 0x58 // the first GDT slot that guests may use

#define COUNT_OF(a) (sizeof(a) / sizeof(a)[0])

/// What the trap entries leave on the stack.
struct frame {
#ifdef __x86_64__
    u64 r15, r14, r13, r12, r11, r10, r9, r8, di, si, bp, bx, dx, cx, ax;
#else
    u32 gs, fs, es, ds, di, si, bp, unused_sp, bx, dx, cx, ax;
#endif
    word vector, error, ip, cs, flags;
    word sp, ss; // 32 bits: only from an outer ring
};

struct context {
    word saved[8];
};

/// The last trap; vector is -1 when there was none.
struct trap {
    int vector;
    u32 error;
    word ip, cs, flags, sp, ss, ax, cr2;
};
extern struct trap trap;
/// Looks at a trap before it counts as a probe's result; true: go on where the frame says.
extern bool (*trap_hook)(struct frame *frame);

struct gate {
    u16 offset_low, selector;
    u16 type; // P, DPL, type in the high byte; IST in the low one
    u16 offset_high;
#ifdef __x86_64__
    u32 offset_top, zero;
#endif
};
extern struct gate idt[256];
extern u64 gdt[64];
extern u8 trap_entries[], user_return[], stack_top[], user_stack_top[], trap_stack_top[], other_stack_top[];
extern u8 tss[104];

int save_context(struct context *context) __attribute__((returns_twice));
void resume_context(struct context *context) __attribute__((noreturn));
void enter_user(word ip, word cs, word sp, word ss, word flags) __attribute__((noreturn));

void put(const char *text);
void put_hex(u64 value, unsigned digits);
void put_number(u32 value);
/// name=hex, with a blank before it
void put_field(const char *name, u64 value, unsigned digits);
void end_line(void);
void guest_end(void) __attribute__((noreturn));

/// Calls code with a trap allowed; afterwards `trap` says what happened. Returns the snippet's ax.
word attempt(const void *code);
/// The same at CPL 3; the code's RET comes back (as trap 0x80, shown as none).
word attempt_user(const void *code);
word attempt_user_at(word ip, word cs, word sp, word ss, word flags);
/// Prints the outcome of the last attempt: "name: ok AX" or vector, error code, offset of IP in code, CR2.
void report(const char *name, const void *code, word ax);
void probe(const char *name, const void *code);
void probe_user(const char *name, const void *code);
/// For what QEMU TCG does not survive: there the line says so, and its list of exceptions has the reason.
void probe_not_tcg(const char *name, const void *code);
/// Under QEMU TCG: says "name: left out" and returns true.
bool leaves_out(const char *name);

void set_gate(unsigned vector, const void *entry, unsigned selector, unsigned type_and_dpl);
void set_segment(unsigned selector, u32 base, u32 limit, unsigned type, unsigned flags);

/// A snippet of assembly that probes call.
#define SNIPPET(name, code)                                                                                            \
    extern u8 name[];                                                                                                  \
    asm(".text\n.balign 16\n" #name ":\n" code "\nret\n")

static inline void out8(u16 port, u8 value)
{
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
static inline u8 in8(u16 port)
{
    u8 value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static inline void write_msr(u32 msr, u64 value)
{
    asm volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}
static inline u64 read_msr(u32 msr)
{
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (u64)high << 32 | low;
}
struct cpuid {
    u32 a, b, c, d;
};
static inline struct cpuid cpuid(u32 leaf, u32 subleaf)
{
    struct cpuid r;
    asm volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(subleaf));
    return r;
}
#define CONTROL_REGISTER(n)                                                                                            \
    static inline word read_cr##n(void)                                                                                \
    {                                                                                                                  \
        word value;                                                                                                    \
        asm volatile("mov %%cr" #n ", %0" : "=r"(value) : : "memory");                                                 \
        return value;                                                                                                  \
    }                                                                                                                  \
    static inline void write_cr##n(word value)                                                                         \
    {                                                                                                                  \
        asm volatile("mov %0, %%cr" #n : : "r"(value) : "memory");                                                     \
    }
CONTROL_REGISTER(0)
CONTROL_REGISTER(2)
CONTROL_REGISTER(3)
CONTROL_REGISTER(4)

static inline word read_dr6(void)
{
    word value;
    asm volatile("mov %%dr6,%0" : "=r"(value));
    return value;
}

static inline void write_dr(unsigned number, word value)
{
    switch (number) {
    case 0:
        asm volatile("mov %0,%%dr0" : : "r"(value));
        break;
    case 1:
        asm volatile("mov %0,%%dr1" : : "r"(value));
        break;
    case 2:
        asm volatile("mov %0,%%dr2" : : "r"(value));
        break;
    case 3:
        asm volatile("mov %0,%%dr3" : : "r"(value));
        break;
    case 6:
        asm volatile("mov %0,%%dr6" : : "r"(value));
        break;
    case 7:
        asm volatile("mov %0,%%dr7" : : "r"(value));
        break;
    }
}

#endif
