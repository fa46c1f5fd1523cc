// From the reset vector to main(): real mode, 32-bit protected mode, and in 64-bit guests long mode; trap entries that
// hand a frame to on_trap(); contexts to come back to after a trap. Must not depend on any device.
#define IMAGE 0x10000
#define ROM 0xf0000

#define PML4 0x100000
#define PDPT 0x101000
#define PD_LOW 0x102000
#define PD_HIGH 0x103000

    .section .reset, "ax"
    .code16
    jmp boot

    .section .boot, "ax"
boot:
    cli
    cld
    lgdtl %cs:(boot_gdtr - boot + 0xff00)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $8, $(boot32 - IMAGE + ROM)
    .code32
boot32:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    inb $0x92, %al // A20
    orb $2, %al
    andb $0xfe, %al
    outb %al, $0x92
    movl $ROM, %esi
    movl $IMAGE, %edi
    movl $0x4000, %ecx
    rep movsl
    ljmp $8, $start32
    .balign 4
boot_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
boot_gdtr:
    .word 23
    .long boot_gdt - IMAGE + ROM

    .text
    .code32
    .globl start32
start32:
    movl $stack_top, %esp
    lgdt gdtr
    ljmp $0x08, $1f
1:
    movl $0x20000, %edi // zeroed data
    movl $bss_end, %ecx
    subl %edi, %ecx
    xorl %eax, %eax
    rep stosb
#ifdef __x86_64__
    movl $PML4, %edi
    movl $0x1000, %ecx
    rep stosl
    movl $(PDPT + 7), PML4
    movl $(PD_LOW + 7), PDPT
    movl $(PD_HIGH + 7), PDPT + 24
    movl $PD_LOW, %edi
    movl $0x87, %eax // 2 MiB, user, writable
    movl $512, %ecx
1:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 1b
    movl $PD_HIGH, %edi
    movl $0xc0000087, %eax
    movl $512, %ecx
1:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 1b
    movl %cr4, %eax
    orl $0x20, %eax
    movl %eax, %cr4
    movl $PML4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80000020, %eax
    movl %eax, %cr0
    ljmp $0x18, $1f
    .code64
1:
    movw $0x20, %ax
    movw %ax, %ss
    movw %ax, %ds
    movw %ax, %es
    movq $stack_top, %rsp
    call guest_init
    call main
    call guest_end
#else
    movl %cr0, %eax
    orl $0x20, %eax
    movl %eax, %cr0
    call guest_init
    call main
    call guest_end
#endif

// ---- traps ----

    .globl trap_entries
    .balign 16
trap_entries:
    .set vector, 0
    .rept 256
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
    push $0
    .endif
    push $vector
    jmp trap_common
    .set vector, vector + 1
    .endr

trap_common:
    cld
#ifdef __x86_64__
    push %rax
    push %rcx
    push %rdx
    push %rbx
    push %rbp
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    movq %rsp, %rdi
    movq %rsp, %rbp
    andq $-16, %rsp
    call on_trap
    movq %rbp, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rbp
    pop %rbx
    pop %rdx
    pop %rcx
    pop %rax
    addq $16, %rsp
    iretq
#else
    pushal
    push %ds
    push %es
    push %fs
    push %gs
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %esp, %eax
    pushl %eax
    call on_trap
    addl $4, %esp
    pop %gs
    pop %fs
    pop %es
    pop %ds
    popal
    addl $8, %esp
    iretl
#endif

// ---- contexts: save_context(&c) returns 0, and 1 when resume_context(&c) comes back to it ----

    .globl save_context, resume_context, enter_user, user_return
#ifdef __x86_64__
save_context:
    movq %rbx, (%rdi)
    movq %rbp, 8(%rdi)
    movq %r12, 16(%rdi)
    movq %r13, 24(%rdi)
    movq %r14, 32(%rdi)
    movq %r15, 40(%rdi)
    leaq 8(%rsp), %rax
    movq %rax, 48(%rdi)
    movq (%rsp), %rax
    movq %rax, 56(%rdi)
    xorl %eax, %eax
    ret
resume_context:
    movl $0x20, %eax
    movl %eax, %ss
    movq (%rdi), %rbx
    movq 8(%rdi), %rbp
    movq 16(%rdi), %r12
    movq 24(%rdi), %r13
    movq 32(%rdi), %r14
    movq 40(%rdi), %r15
    movq 48(%rdi), %rsp
    movl $1, %eax
    jmp *56(%rdi)
// enter_user(ip, cs, sp, ss, flags)
enter_user:
    pushq %rcx
    pushq %rdx
    pushq %r8
    pushq %rsi
    pushq %rdi
    iretq
#else
save_context:
    movl 4(%esp), %ecx
    movl %ebx, (%ecx)
    movl %ebp, 4(%ecx)
    movl %esi, 8(%ecx)
    movl %edi, 12(%ecx)
    leal 4(%esp), %eax
    movl %eax, 16(%ecx)
    movl (%esp), %eax
    movl %eax, 20(%ecx)
    xorl %eax, %eax
    ret
resume_context:
    movl 4(%esp), %ecx
    movl $0x10, %eax
    movl %eax, %ss
    movl 16(%ecx), %esp
    movl (%ecx), %ebx
    movl 4(%ecx), %ebp
    movl 8(%ecx), %esi
    movl 12(%ecx), %edi
    movl $1, %eax
    jmp *20(%ecx)
enter_user:
    movl 4(%esp), %ebx  // ip
    movl 8(%esp), %ecx  // cs
    movl 12(%esp), %edx // sp
    movl 16(%esp), %eax // ss
    movl 20(%esp), %esi // flags
    pushl %eax
    pushl %edx
    pushl %esi
    pushl %ecx
    pushl %ebx
    testl $0x20000, %esi
    jnz 1f
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
1:  iretl
#endif
user_return:
    int $0x80

// ---- tables ----

    .data
    .balign 8
    .globl gdt
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff // 08 code, 32 bits, ring 0
    .quad 0x00cf93000000ffff // 10 data, ring 0
    .quad 0x00af9b000000ffff // 18 code, 64 bits, ring 0
    .quad 0x00cf93000000ffff // 20 data, ring 0
    .quad 0x00cffb000000ffff // 28 code, 32 bits, ring 3
    .quad 0x00cff3000000ffff // 30 data, ring 3
    .quad 0x00affb000000ffff // 38 code, 64 bits, ring 3
    .quad 0x00cff3000000ffff // 40 data, ring 3
    .fill 55, 8, 0           // 48 TSS (two slots), from 58 on for the guests
gdt_end:
    .globl gdtr
gdtr:
    .word gdt_end - gdt - 1
    .long gdt
    .long 0

    .bss
    .balign 4096
    .globl stack_top, user_stack_top, trap_stack_top, other_stack_top
    .skip 8192
stack_top:
    .skip 8192
user_stack_top:
    .skip 8192
trap_stack_top: // TSS.SP0
    .skip 8192
other_stack_top: // IST1, for double faults
