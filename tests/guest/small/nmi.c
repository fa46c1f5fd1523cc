// NMI: what holds it off until when (SDM vol. 3 sec. 6.7.1 and 6.8.3), and NMI by the local APIC in every mode.
#include "guest.h"

#define APIC 0xfee00000u

static volatile u32 depth, deepest, count;
static u32 nmi_action;

static void send_nmi(void)
{
    *(volatile u32 *)(word)(APIC + 0x300) = 0x4400;
    asm volatile("nop\nnop\nnop\nnop");
}

// The ways in which the handler can try to let the next NMI in before it ends.
asm(".text\n"
#ifdef __x86_64__
    "iret_here: mov %rsp,%rax\npush $0x20\npush %rax\npushfq\npush $0x18\npush $1f\niretq\n1: ret\n"
    "far_return_here: push $0x18\npush $1f\nlretq\n1: ret\n"
    "bad_iret: mov %rsp,%rax\npush $0x20\npush %rax\npushfq\npush $0x1f8\npush $1f\nbad_iret_at: iretq\n1: ret\n"
#else
    "iret_here: pushf\npush %cs\npush $1f\niret\n1: ret\n"
    "far_return_here: push %cs\npush $1f\nlret\n1: ret\n"
    "bad_iret: pushf\npush $0x1f8\npush $1f\nbad_iret_at: iret\n1: ret\n"
#endif
);
void iret_here(void);
void far_return_here(void);
void bad_iret(void);
extern u8 bad_iret_at[];
SNIPPET(stack_then_nmi,
        "mov %ss,%eax\nmovl $0x4400,%ecx\nmov $0xfee00300,%edx\nmov %ecx,(%" IF64("rdx", "edx") ")\n"
                                                                                                "mov %eax,%ss\n"
                                                                                                "nop\nnop\nnop");
SNIPPET(user_nmi, "movl $0x4400,%ecx\nmov $0xfee00300,%edx\nmov %ecx,(%" IF64("rdx", "edx") ")\n.fill 16,1,0x90\n"
                                                                                            "mov $0x66,%eax");

static bool hook(struct frame *frame)
{
    if (frame->vector == 3)
        return true;
    if (frame->vector == 13 && frame->ip == (word)bad_iret_at) {
        put_field("at the fault", count, 1);
        frame->ip = (word)bad_iret_at + IF64(2, 1); // drops the frame below
#ifdef __x86_64__
        frame->sp += 40;
#endif
        return true;
    }
    if (frame->vector != 2)
        return false;
    u32 action = nmi_action;
    nmi_action = 0;
    count++;
    if (++depth > deepest)
        deepest = depth;
    if (action) {
        send_nmi();
        put_field("in the handler", count, 1);
        switch (action) {
        case 7:
            send_nmi();
            break;
        case 2:
            iret_here();
            break;
        case 3:
            asm volatile("int3");
            break;
        case 4:
            far_return_here();
            break;
        case 5:
            asm volatile("sti\nnop\ncli");
            break;
#ifdef __x86_64__
        case 6:
            bad_iret();
            break;
#endif
        }
        put_field("then", count, 1);
    }
    depth--;
    return true;
}

static void nested(const char *name, u32 action)
{
    put(name);
    put(":");
    count = deepest = depth = 0;
    nmi_action = action;
    send_nmi();
    for (volatile u32 i = 0; i < 1000; i++)
        ;
    put_field("after", count, 1);
    put_field("depth", deepest, 1);
    end_line();
}

static void from(const char *name, const u8 *code, bool user)
{
    count = deepest = depth = 0;
    word ax = user ? attempt_user(code) : attempt(code);
    put(name);
    put(":");
    put_field("count", count, 1);
    if (trap.vector >= 0)
        put_field("trap", (u32)trap.vector, 2);
    if (user)
        put_field("ax", ax, 2);
    end_line();
}

int main(void);
int main(void)
{
    trap_hook = hook;
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    *(volatile u32 *)(word)(APIC + 0xf0) = 0x1ff;
    nested("one NMI", 0);
    nested("an NMI in the handler waits for IRET", 1);
    nested("two NMIs in the handler are one", 7);
    nested("IRET inside the handler lets it in", 2);
    nested("INT3 and its IRET inside the handler", 3);
    nested("far RET inside the handler does not", 4);
    nested("STI inside the handler does not", 5);
#ifdef __x86_64__
    nested("IRET that faults inside the handler", 6);
#endif
    from("NMI with MOV SS behind it", stack_then_nmi, false);
    from("NMI in ring 3", user_nmi, true);
    // The gate's own faults.
    idt[2].type &= 0x7fff;
    trap_hook = 0;
    from("NMI whose gate is missing", stack_then_nmi, false);
    put("its error code:");
    put_field("e", trap.error, 4);
    end_line();
    return 0;
}
