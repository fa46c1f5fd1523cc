# Option ROM of our own that starts a Linux kernel under firmware: it copies the kernel's parts out of fw_cfg to the
# addresses that the loader chose (linux_loader.c) and enters the kernel's real-mode code (boot.rst, "Running the
# Kernel"). linuxboot_rom.py assembles it into linuxboot_rom.c; run that after a change here.

        .code16
        .globl _start

# fw_cfg: selector and data port, and the numbers of the items.
        .set    PORT_SELECTOR, 0x510
        .set    ITEM_KERNEL_ADDRESS, 0x07
        .set    ITEM_KERNEL_SIZE, 0x08
        .set    ITEM_INITRD_ADDRESS, 0x0a
        .set    ITEM_INITRD_SIZE, 0x0b
        .set    ITEM_KERNEL_DATA, 0x11
        .set    ITEM_INITRD_DATA, 0x12
        .set    ITEM_COMMAND_LINE_ADDRESS, 0x13
        .set    ITEM_COMMAND_LINE_SIZE, 0x14
        .set    ITEM_COMMAND_LINE_DATA, 0x15
        .set    ITEM_SETUP_ADDRESS, 0x16
        .set    ITEM_SETUP_SIZE, 0x17
        .set    ITEM_SETUP_DATA, 0x18
        .set    STACK_SEGMENT, 0x3000   # away from setup code (0x10000) and command line (0x20000)
        .set    SETUP_STACK, 0xe000     # end of the setup code's heap and stack

_start:
        .word   0xaa55
        .byte   0               # size in 512 bytes, filled in by the script
        lretw                   # initialization: nothing to do
        .org    0x18
        .word   0               # no PCI data
        .word   pnp

# Plug and Play expansion header (BIOS Boot Specification): the firmware lists what has a bootstrap entry.
        .org    0x20
pnp:
        .ascii  "$PnP"
        .byte   1               # revision
        .byte   2               # length in 16 bytes
        .word   0               # no further header
        .byte   0
        .byte   0               # checksum, filled in by the script
        .long   0               # device
        .word   0               # manufacturer's name: none
        .word   product
        .byte   2, 0, 0         # kind of device: network controller, what other boot ROMs use
        .byte   0xe4            # can boot, read and is not a display
        .word   0               # boot connection
        .word   0               # disconnection
        .word   bootstrap
        .word   0
        .word   0
product:
        .asciz  "Linux kernel"

        .balign 8
flat_table:
        .quad   0
        .quad   0x008f93000000ffff      # data, 4 GiB

bootstrap:
        cli
        cld
        movw    $STACK_SEGMENT, %ax
        movw    %ax, %ss
        movl    $0xfffc, %esp

# Give ES a 4 GiB limit: a selector loaded in protected mode keeps its limit in real mode.
        xorl    %eax, %eax
        movw    %cs, %ax
        shll    $4, %eax
        addl    $flat_table, %eax
        pushl   %eax
        pushw   $15
        movw    %sp, %bp
        lgdtl   (%bp)
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        jmp     1f
1:      movw    $8, %bx
        movw    %bx, %es
        andb    $0xfe, %al
        movl    %eax, %cr0
        jmp     2f
2:      xorw    %ax, %ax
        movw    %ax, %es

        movw    $ITEM_SETUP_ADDRESS, %si
        movw    $ITEM_SETUP_SIZE, %bx
        movw    $ITEM_SETUP_DATA, %bp
        call    copy_item
        movw    $ITEM_COMMAND_LINE_ADDRESS, %si
        movw    $ITEM_COMMAND_LINE_SIZE, %bx
        movw    $ITEM_COMMAND_LINE_DATA, %bp
        call    copy_item
        movw    $ITEM_KERNEL_ADDRESS, %si
        movw    $ITEM_KERNEL_SIZE, %bx
        movw    $ITEM_KERNEL_DATA, %bp
        call    copy_item
        movw    $ITEM_INITRD_ADDRESS, %si
        movw    $ITEM_INITRD_SIZE, %bx
        movw    $ITEM_INITRD_DATA, %bp
        call    copy_item

# All data segments at the setup code, execution 0x20 paragraphs (the boot sector) further.
        movw    $ITEM_SETUP_ADDRESS, %ax
        call    read_number
        shrl    $4, %eax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %fs
        movw    %ax, %gs
        movw    %ax, %ss
        movl    $SETUP_STACK, %esp
        addw    $0x20, %ax
        pushw   %ax
        pushw   $0
        lretw

# Copies item BP, whose size is item BX, to the address that is item SI.
copy_item:
        movw    %si, %ax
        call    read_number
        movl    %eax, %edi
        movw    %bx, %ax
        call    read_number
        movl    %eax, %ecx
        movw    %bp, %ax
        movw    $PORT_SELECTOR, %dx
        outw    %ax, %dx
        incw    %dx
        rep insb (%dx), %es:(%edi)
        retw

# EAX = the 32-bit item AX.
read_number:
        movw    $PORT_SELECTOR, %dx
        outw    %ax, %dx
        incw    %dx
        inb     %dx, %al
        rorl    $8, %eax
        inb     %dx, %al
        rorl    $8, %eax
        inb     %dx, %al
        rorl    $8, %eax
        inb     %dx, %al
        rorl    $8, %eax
        retw
