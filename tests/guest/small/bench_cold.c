// For tests/bench: straight-line code that runs once. 1,200,000 instructions are laid out in RAM, then called.
#include "guest.h"

#define CODE ((u8 *)0x400000)
#define INSTRUCTIONS 1200000u

// Twenty instructions with four conditional branches among them, about as compiled code has.
extern u8 pattern[], pattern_end[];
asm(".text\npattern: mov %ebx,%eax\nadd $0x11,%eax\nmov 8(%rsi),%ecx\nxor %ecx,%eax\ntest %eax,%eax\njz 1f\n1: lea "
    "4(%rax,%rcx,2),%edx\n"
    "mov %edx,16(%rsi)\nshr $3,%edx\ncmp $5,%edx\njb 2f\n2: sub %edx,%ebx\nmovzbl 24(%rsi),%edi\nand $0xff,%edi\nje "
    "3f\n"
    "3: push %rdi\npop %r8\nimul $3,%r8d,%r9d\nor %r9d,%ebx\nja 4f\n4: pattern_end:\n");

int main(void);
int main(void)
{
    static u64 data[16];
    u8 *to = CODE;
    for (u32 i = 0; i < INSTRUCTIONS / 20; i++) {
        void *from = pattern;
        word length = (word)(pattern_end - pattern);
        asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
    }
    *to = 0xc3;
    put("ready\n");
    asm volatile("call *%0" : : "r"(CODE), "S"(data) : "rax", "rbx", "rcx", "rdx", "rdi", "r8", "r9", "memory", "cc");
    put("done\n");
    return 0;
}
