// The SMI handler of smm.c: 16-bit code at SMBASE + 8000 with flat data. Notes what it finds at 0x2e000, does what
// 0x2e080 asks for. Runs wherever it is copied to.
#define SEEN 0x2e000
#define COMMAND 0x2e080
#define COUNT 0x2e084
#define SMBASE 0x2e088    // of this handler, for the save map
#define NEW_SMBASE 0x2e08c
#define RELOCATION 0x2e090 // offset of the field that holds SMBASE
#define ACCUMULATOR 0x2e094 // of RAX
#define HALT 0x2e098        // of the halt byte
    .text
    .globl smi_handler, smi_handler_end, trigger, trigger_end, trigger_user, trigger_halt
    .code16
smi_handler:
    addr32 movl %eax, %ds:SEEN
    addr32 movl %esp, %ds:SEEN + 4
    movl %cr0, %eax
    addr32 movl %eax, %ds:SEEN + 8
    movl %cr4, %eax
    addr32 movl %eax, %ds:SEEN + 12
    movl %dr7, %eax
    addr32 movl %eax, %ds:SEEN + 16
    movw %cs, %ax
    addr32 movw %ax, %ds:SEEN + 20
    movw %ds, %ax
    addr32 movw %ax, %ds:SEEN + 22
    movw %ss, %ax
    addr32 movw %ax, %ds:SEEN + 24
    movw $0, %ax
    movw %ax, %ss
    movl $0x2d000, %esp
    pushfl
    popl %eax
    addr32 movl %eax, %ds:SEEN + 28
    addr32 incl %ds:COUNT
    addr32 movl %ds:SMBASE, %ebx
    addr32 movl %ds:COMMAND, %eax
    cmpl $1, %eax
    je change_register
    cmpl $2, %eax
    je relocate
    cmpl $3, %eax
    je send_nmi
    cmpl $4, %eax
    je send_smi
    cmpl $5, %eax
    je clear_halt
    rsm
change_register:
    addr32 addl %ds:ACCUMULATOR, %ebx
    addr32 movl $0x12345678, (%ebx)
    rsm
relocate:
    addr32 movl %ds:RELOCATION, %eax
    addl %eax, %ebx
    addr32 movl %ds:NEW_SMBASE, %eax
    addr32 movl %eax, (%ebx)
    rsm
send_nmi:
    movl $0xfee00000, %esi
    addr32 movl $0x4400, 0x300(%esi)
    movl $100, %ecx // it must not come in here
1:  nop
    addr32 loop 1b
    addr32 movl %ds:SEEN + 32, %eax // what the NMI handler counted so far
    addr32 movl %eax, %ds:SEEN + 36
    rsm
send_smi:
    addr32 movl $0, %ds:COMMAND
    movl $0xfee00000, %esi
    addr32 movl $0x4200, 0x300(%esi)
    rsm
clear_halt:
    addr32 addl %ds:HALT, %ebx
    addr32 movb $0, (%ebx)
    rsm
smi_handler_end:

// Sends an SMI to itself with known registers. Returns EAX.
#ifdef __x86_64__
    .code64
#else
    .code32
#endif
    .macro known_registers
    movl $0xfee00000, %esi
    movl $0x2222, %ecx
    movl $0x3333, %edx
    movl $0x5555, %edi
    movl $0x4200, %eax
    cmpl %eax, %eax
    .endm
trigger:
    known_registers
    movl %eax, 0x300(%esi)
1:  cmpl $0, COUNT // QEMU takes its time
    je 1b
    .fill 16, 1, 0x90
trigger_end:
    ret
trigger_user: // the same at CPL 3; the APIC's page is open to it
    known_registers
    movl %eax, 0x300(%esi)
1:  cmpl $0, COUNT // QEMU takes its time
    je 1b
    .fill 16, 1, 0x90
    movl $0x77, %eax
    ret
#ifdef __x86_64__
    .globl trigger_compatible
    .code32
trigger_compatible:
    movl $0x33, %eax
    movl %eax, %ds
    known_registers
    movl %eax, 0x300(%esi)
1:  cmpl $0, COUNT // QEMU takes its time
    je 1b
    .fill 16, 1, 0x90
    movl $0x78, %eax
    int $0x80
    .code64
#endif
trigger_halt: // the 8254 in one-shot mode through the I/O APIC, as an SMI; then an interrupt by the local APIC's timer
    movl $0xfee00000, %esi
    movl $300000000, 0x380(%esi)
    sti
    hlt
    cli
    ret
