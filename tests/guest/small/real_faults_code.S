// From protected mode to a program in real mode and back when it traps; see real_faults.c. The image lies at 0x10000,
// so the low half of an address is its offset in segment 1000.
#define FRAME 0xf000 // in segment 1000, where the image has nothing: what to start with, the vector table's register,
#define TABLE 0xf020 // and what a trap found
#define SEEN 0xf040

    .text
    .code32
    .globl real_run, real_entries
real_run: // with FRAME and TABLE set
    pushal
    pushfl
    movl %esp, saved_sp
    sidt saved_idt
    ljmp $0x58, $(leave - 0x10000)
    .code16
leave:
    movw $0x60, %ax // 64 KiB of data
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw %ax, %fs
    movw %ax, %gs
    movl %cr0, %eax
    andl $0xfffffffe, %eax
    movl %eax, %cr0
    ljmpl $0x1000, $(real - 0x10000)
real:
    lidtl %cs:TABLE
    movw %cs:FRAME + 6, %ss
    movl %cs:FRAME + 8, %esp
    movl %cs:FRAME + 20, %eax
    pushl %cs:FRAME // flags
    popfl
    pushw %cs:FRAME + 4 // CS
    pushw %cs:FRAME + 18 // IP
    movw %cs:FRAME + 12, %ds
    movw %cs:FRAME + 14, %es
    movw %cs:FRAME + 16, %fs
    lretw

// Traps: the vector's entry stores what it finds.
    .balign 4
real_entries:
    .set vector, 0
    .rept 256
    .balign 8
    pushw $vector
    jmp real_common
    .set vector, vector + 1
    .endr
real_common:
    cld
    popw %cs:SEEN
    popw %cs:SEEN + 2 // IP
    popw %cs:SEEN + 4 // CS
    popw %cs:SEEN + 6 // flags
    movl %esp, %cs:SEEN + 8
    movl %eax, %cs:SEEN + 12
    pushfl
    popl %cs:SEEN + 16
    movw %ss, %cs:SEEN + 20
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
    popfl
    popal
    ret

    .data
    .balign 4
saved_sp:
    .long 0
saved_idt:
    .quad 0
