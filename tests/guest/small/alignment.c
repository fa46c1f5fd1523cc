// Alignment checks: which accesses of ring 3 fault with #AC at which addresses, before and after what else.
#include "guest.h"

#define R(n) "%" IF64("r", "e") n
#define FLAG_AC 0x40000
#define CR0_AM 0x40000

__attribute__((aligned(4096))) u8 memory[2 * 4096];
word address; // of the operand of the next snippet
word user_sp;

#define START "mov address," R("bx") "\nmov " R("sp") ",user_sp\n"
#define END "\nmov user_sp," R("sp") "\nnop"
/// Snippets with an operand at (BX); the stack may be anywhere.
#define TRY(name, code) SNIPPET(name, START code END)
#define TRIES(X)                                                                                                       \
    X(mov_1, "mov (" BX "),%al")                                                                                       \
    X(mov_2, "mov (" BX "),%ax")                                                                                       \
    X(mov_4, "mov (" BX "),%eax")                                                                                      \
    X(mov_4_store, "mov %eax,(" BX ")")                                                                                \
    X(add_4, "addl $1,(" BX ")")                                                                                       \
    X(lock_add_4, "lock addl $1,(" BX ")")                                                                             \
    X(xchg_4, "xchg %eax,(" BX ")")                                                                                    \
    X(movzx_2, "movzwl (" BX "),%eax")                                                                                 \
    X(bt_4, "btl $33,(" BX ")")                                                                                        \
    X(bt_4_register, "mov $64,%ecx\nbtl %ecx,(" BX ")")                                                                \
    X(cmpxchg8b, "cmpxchg8b (" BX ")")                                                                                 \
    X(crc32_4, "crc32l (" BX "),%eax")                                                                                 \
    X(lea, "lea (" BX ")," R("ax"))                                                                                    \
    X(xlat, "xor %eax,%eax\nxlatb")                                                                                    \
    X(nop, "nopl (" BX ")")                                                                                            \
    X(prefetch, "prefetchnta (" BX ")")                                                                                \
    X(push, "lea 64(" BX ")," R("sp") "\npush " R("ax"))                                                               \
    X(push_2, "lea 64(" BX ")," R("sp") "\npushw %ax")                                                                 \
    X(pop, "mov " BX "," R("sp") "\npop " R("ax"))                                                                     \
    X(push_memory, "push (" BX ")")                                                                                    \
    X(call, "lea 64(" BX ")," R("sp") "\ncall 1f\n1:")                                                                 \
    X(ret, "mov $1f," R("ax") "\nmov " R("ax") ",memory\nmov $memory," R("si") "\nmov " BX "," R(                      \
               "di") "\nmov $8,%ecx\nrep movsb\nmov " BX "," R("sp") "\nret\n1:")                                      \
    X(pushf, "lea 64(" BX ")," R("sp") "\npushf")                                                                      \
    X(enter, "mov " R("bp") "," R("si") "\nlea 64(" BX ")," R("sp") "\nenter $8,$0\nmov " R("si") "," R("bp"))         \
    X(leave, "mov " R("bp") "," R("si") "\nmov " BX "," R("bp") "\nleave\nmov " R("si") "," R("bp"))                   \
    X(movsb, "mov " BX "," R("si") "\nmov " BX "," R("di") "\nmovsb")                                                  \
    X(movsw, "mov " BX "," R("si") "\nmov " BX "," R("di") "\nmovsw")                                                  \
    X(rep_movsb, "mov " BX "," R("si") "\nlea 64(" BX ")," R("di") "\nmov $32,%ecx\nrep movsb")                        \
    X(rep_stosl, "mov " BX "," R("di") "\nmov $8,%ecx\nrep stosl")                                                     \
    X(mov_segment, "mov %ds,(" BX ")")                                                                                 \
    X(verr, "verr (" BX ")")                                                                                           \
    X(movss, "movss (" BX "),%xmm0")                                                                                   \
    X(movsd, "movsd %xmm0,(" BX ")")                                                                                   \
    X(movlps, "movlps (" BX "),%xmm0")                                                                                 \
    X(movaps, "movaps (" BX "),%xmm0")                                                                                 \
    X(addps, "addps (" BX "),%xmm0")                                                                                   \
    X(movq_mmx, "movq (" BX "),%mm0\nemms")                                                                            \
    X(ldmxcsr, "movl $0x1f80,(" BX ")\nldmxcsr (" BX ")")                                                              \
    X(stmxcsr, "stmxcsr (" BX ")")                                                                                     \
    X(fld_4, "flds (" BX ")\nfstp %st(0)")                                                                             \
    X(fld_8, "fldl (" BX ")\nfstp %st(0)")                                                                             \
    X(fld_10, "fldt (" BX ")\nfstp %st(0)")                                                                            \
    X(fstp_10, "fldz\nfstpt (" BX ")")                                                                                 \
    X(fbstp, "fldz\nfbstp (" BX ")")                                                                                   \
    X(fild_2, "filds (" BX ")\nfstp %st(0)")                                                                           \
    X(fnstcw, "fnstcw (" BX ")")                                                                                       \
    X(fnstenv, "fnstenv (" BX ")")                                                                                     \
    X(fnstenv_2, "data16 fnstenv (" BX ")")                                                                            \
    X(fldenv, "fldenv (" BX ")")                                                                                       \
    X(fnsave, "fnsave (" BX ")")                                                                                       \
    X(frstor, "frstor (" BX ")")                                                                                       \
    X(fnsave_2, "data16 fnsave (" BX ")")                                                                              \
    X(maskmovq, "mov " BX "," R("di") "\npxor %mm0,%mm0\nmaskmovq %mm0,%mm0\nemms")
#define BX R("bx")
#define DEFINE(name, code) TRY(try_##name, code);
TRIES(DEFINE)

#ifdef __x86_64__
#define TRIES_OF_MODE(X)                                                                                               \
    X(mov_8, "mov (%rbx),%rax")                                                                                        \
    X(cmpxchg16b, "cmpxchg16b (%rbx)")                                                                                 \
    X(movsq, "mov %rbx,%rsi\nmov %rbx,%rdi\nmovsq")                                                                    \
    X(lfs_8, "movw $0,8(%rbx)\n.byte 0x48,0x0f,0xb4,0x03")
#else
#define TRIES_OF_MODE(X)                                                                                               \
    X(pusha, "lea 64(%ebx),%esp\npushal")                                                                              \
    X(popa, "mov %esp,user_sp\nlea (%ebx),%esp\npopal")                                                                \
    X(bound, "movb $0x7f,7(%ebx)\nxor %eax,%eax\nbound %eax,(%ebx)")                                                   \
    X(les, "movb $0,4(%ebx)\nmovb $0,5(%ebx)\nles (%ebx),%eax")                                                        \
    X(les_2, "movb $0,2(%ebx)\nmovb $0,3(%ebx)\nlesw (%ebx),%ax")
#endif
TRIES_OF_MODE(DEFINE)
#undef BX

static const struct {
    const char *name;
    const void *code;
} tries[] = {
#define ENTRY(name, code) {#name, try_##name},
    TRIES(ENTRY) TRIES_OF_MODE(ENTRY)};

static word user(const void *code, word flags)
{
    word *sp = (word *)user_stack_top;
    *--sp = (word)user_return;
    return attempt_user_at((word)code, USER_CODE, (word)sp, USER_DATA, flags);
}

static void put_result(void)
{
    switch (trap.vector) {
    case -1:
        put(".");
        break;
    case 12:
        put("S");
        break;
    case 13:
        put("G");
        break;
    case 14:
        put("P");
        break;
    case 17:
        put(trap.error ? "?" : "A");
        break;
    default:
        put("!");
        put_number((u32)trap.vector);
    }
}

static void each_offset(void)
{
    for (unsigned i = 0; i < COUNT_OF(tries); i++) {
        put(tries[i].name);
        put(": ");
        for (unsigned offset = 0; offset < 16; offset++) {
            address = (word)memory + 256 + offset;
            for (unsigned j = 0; j < 1024; j++)
                memory[j] = 0;
            user(tries[i].code, 2 | FLAG_AC);
            put_result();
        }
        end_line();
    }
}

TRY(load, "mov (" R("bx") "),%eax");
TRY(store_push, "mov " R("bx") "," R("sp") "\npush %" IF64("r", "e") "ax");
SNIPPET(popf_on, "pushf\n" IF64("orl $0x40000,(%rsp)",
                                "orl $0x40000,(%esp)") "\npopf\nmov address," R("bx") "\nmov (" R("bx") "),%eax\nnop");
SNIPPET(kernel_load,
        "pushf\n" IF64("orl $0x40000,(%rsp)", "orl $0x40000,(%esp)") "\npopf\nmov memory+1,%eax\npushf\n" IF64(
            "andl $~0x40000,(%rsp)", "andl $~0x40000,(%esp)") "\npopf");
SNIPPET(kernel_frames, "int $0x80");

static void one(const char *name, const void *code, word at, word flags)
{
    put(name);
    put(": ");
    address = at;
    user(code, flags);
    put_result();
    if (trap.vector == 17)
        put_field("AC", trap.flags >> 18 & 1, 1);
    if (trap.vector == 14)
        put_field("cr2", trap.cr2, 8);
    end_line();
}

static void order(void)
{
    word at = (word)memory + 1;
    one("AC and AM", load, at, 2 | FLAG_AC);
    one("no AC", load, at, 2);
    write_cr0(read_cr0() & ~(word)CR0_AM);
    one("no AM", load, at, 2 | FLAG_AC);
    write_cr0(read_cr0() | CR0_AM);
    one("AC by POPF", popf_on, at, 2);
    probe("ring 0", kernel_load);
    one("page absent and misaligned", load, 0x90000001, 2 | FLAG_AC);
    one("page absent", load, 0x90000000, 2 | FLAG_AC);
    if (BITS == 64) {
        one("not canonical and misaligned", load, (word)0x800000000001, 2 | FLAG_AC);
        one("stack not canonical and misaligned", store_push, (word)0x800000000011, 2 | FLAG_AC);
    }
    one("aligned over a page's end", load, (word)memory + 4096 - 4, 2 | FLAG_AC);
    one("over a page's end", load, (word)memory + 4096 - 2, 2 | FLAG_AC);
}

int main(void);
int main(void)
{
    write_cr4(read_cr4() | 0x600);
    write_cr0(read_cr0() | CR0_AM);
    asm volatile("fninit");
    each_offset();
    order();
    return 0;
}
