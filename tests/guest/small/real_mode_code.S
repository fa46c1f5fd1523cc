// The 16-bit part of real_mode.c. Results are words from 0x40000 (ES:DI) on. GS:0 and GS:2 hold where a fault goes on
// and its SP; a fault leaves its vector in AX. The image lies at 0x10000, so the low half of an address is its offset.
    .macro result
    stosw
    .endm
    .macro flags
    pushfw
    popw %ax
    andw $0x8d5, %ax
    stosw
    .endm
    .macro attempt
    movl $2f, %ebp
    movw %bp, %gs:0
    movw %sp, %gs:2
    .endm
    .macro vector number, entry
    movl $\entry, %eax
    movw %ax, \number * 4
    movw $0x1000, \number * 4 + 2
    .endm

    .text
    .globl real_mode_run
    .code32
real_mode_run:
    pushal
    movl %esp, saved_sp
    sidt saved_idt
    lidt real_idt
    ljmp $0x58, $(real_16 - 0x10000)
    .code16
real_16:
    movw $0x60, %ax // 64 KiB of data
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw %ax, %gs
    movw $0x68, %ax // 4 GiB: FS keeps this limit in real mode
    movw %ax, %fs
    movl %cr0, %eax
    andl $0xfffffffe, %eax
    movl %eax, %cr0
    ljmpl $0x1000, $(real - 0x10000)
real:
    movw $0x3000, %ax
    movw %ax, %ss
    movw $0x8000, %sp
    movw $0x4000, %ax
    movw %ax, %es
    movw $0x6100, %ax
    movw %ax, %gs
    xorw %di, %di
    movw %di, %ds
    cld
    vector 0, trap0
    vector 6, trap6
    vector 12, trap12
    vector 13, trap13
    vector 0x60, trap60
    movw $0x5000, %ax
    movw %ax, %ds

    movw $0x1122, 0x10 // addresses of 16 bits wrap
    movw $0xfff0, %bx
    movw $0x20, %si
    movw (%bx,%si), %ax
    result
    movw $0x3344, %ss:0x7ff8
    movw $8, %bp
    movw 0x7ff0(%bp), %ax
    result
    attempt
    movw 0xffff, %ax // beyond the limit
2:  result
    attempt
    movw $0xffff, %bx
    cmpw $1, (%bx)
2:  result
    attempt
    movl $0x10000, %esi
    movb (%esi), %al
2:  result
    movw $0xbeef, %es:0x100
    attempt
    movl $0x40000, %esi
    movw %fs:0x100(%esi), %ax
2:  result
    stc // INT and IRET
    int $0x60
    result
    flags
    attempt
    xorw %cx, %cx
    divw %cx
2:  result
    attempt
    ud2
2:  result
    attempt
    lldt %ax
2:  result
    attempt
    strw %ax
2:  result

    movb $0x79, %al // decimal
    addb $0x35, %al
    daa
    movb $0, %ah
    result
    movb $0x35, %al
    subb $0x47, %al
    das
    movb $0, %ah
    result
    movw $0x20f, %ax
    addb $9, %al
    aaa
    result
    movw $0x200, %ax
    subb $9, %al
    aas
    result
    movw $0x4f, %ax
    aam
    result
    movw $0x709, %ax
    aad
    result
    movw $0x709, %ax
    .byte 0xd5, 0x10 // AAD with 16
    result
    stc
    .byte 0xd6 // SALC
    movb $0, %ah
    result

    movb $0x66, 0xfffe // strings: SI wraps, CX counts, the upper halves stay
    movb $0x77, 0xffff
    movb $0x88, 0
    movl $0x12340003, %ecx
    movl $0xabcdfffe, %esi
    rep movsb
    movb $0, %es:(%di)
    incw %di
    movl %esi, %eax
    result
    shrl $16, %eax
    result
    movl %ecx, %eax
    result
    shrl $16, %eax
    result
    movl $0x12345678, %eax // 32-bit operands
    pushl %eax
    popw %ax
    result
    popw %ax
    result
    movl $0xffff0001, %ebx
    leaw 0x10(%ebx), %ax
    result
    movw $0xffff, %bx
    leal 0x10(%bx), %eax
    result
    shrl $16, %eax
    result
    movw $0x1234, %cx
    loop 3f
3:  movw %cx, %ax
    result
    movw $5, %ax
    enter $8, $1
    leave
    result
    pushw %ds // far addresses
    movw $0x5678, 0x20
    movw $0x2000, 0x22
    ldsw 0x20, %ax
    result
    movw %ds, %ax
    result
    popw %ds
    pushw %cs
    callw 4f
    jmp 5f
4:  lretw
5:  movw %sp, %ax
    result
    movw $0xffff, %ax // above 1 MiB through FFFF:10
    movw %ax, %fs
    movb %fs:0x10, %al
    xorb %al, %al
    result
    movw %di, %gs:4

    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x08, $back
    .code32
back:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movl saved_sp, %esp
    lidt saved_idt
    popal
    ret

    .code16
trap60:
    movw %sp, %bp
    movw 4(%bp), %ax // FLAGS as pushed
    andw $0x8d5, %ax
    andw $0xfffe, 4(%bp) // CF
    iretw
trap0:
    movw $0xf000, %ax
    jmp resume
trap6:
    movw $0xf006, %ax
    jmp resume
trap12:
    movw $0xf00c, %ax
    jmp resume
trap13:
    movw $0xf00d, %ax
resume:
    movw %gs:2, %sp
    jmpw *%gs:0

    .data
    .balign 4
saved_sp:
    .long 0
saved_idt:
    .quad 0
real_idt:
    .word 0x3ff
    .long 0
