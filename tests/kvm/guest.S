/*
 * tests/kvm/guest.S - guest code of the KVM tests, linked into the test as data and copied to guest address 0x8000. The ROM jumps
 * there in real mode; byte 0x7ff0 says what to do (GuestKind). Kernel code stays with instructions that KVM's emulator
 * knows, for some hosts emulate it; what a CPU must not lose is held by ring 3 in registers.
 */
#define BOX_TURNS 0x1000
#define BOX_WRONG 0x1008
#define BOX_TICKS 0x1010
#define BOX_AP    0x1018
#define BOX_IPIS  0x1020
#define BOX_BACK  0x1028
#define BOX_TSC   0x1030
#define BOX_MMIO  0x1038
#define GUEST_BAR 0xfe000000
#define GUEST_AVAIL 0x11000
#define AT(x) (x - guest_code + 0x8000)
        .section .rodata
        .globl  guest_code, guest_code_end
        .balign 16
guest_code:
        .code16
        cli
        cld
        xor     %ax, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     $0x7000, %sp
        lgdtl   AT(gdtr)
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        ljmpl   $8, $AT(prot)
        .code32
prot:   mov     $16, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $0x7000, %esp
        mov     $0xfee00000, %ebx
        mov     0x20(%ebx), %eax        /* who am I */
        shr     $24, %eax
        mov     %eax, %ebp
        jnz     1f                      /* the first makes the tables */
        mov     $AT(tick), %eax
        mov     $0x40, %ecx
        call    gate
        mov     $AT(at_boss), %eax
        mov     $0x42, %ecx
        call    gate
        mov     $AT(at_other), %eax
        mov     $0x43, %ecx
        call    gate
        mov     $AT(tick), %eax
        mov     $0x44, %ecx
        call    gate
        movl    $0x4007, 0x3000         /* PML4, PDPT, PD: 0 to 2 MiB and the LAPIC, all for ring 3 */
        movl    $0x5007, 0x4000
        movl    $0x6007, 0x4018
        movl    $0x87, 0x5000
        movl    $0xfee0009f, 0x6fb8     /* 2 MiB at 0xfee00000, not cached */
        movl    $0xfe00009f, 0x6f80     /* and at GUEST_BAR */
1:      mov     $0x3000, %eax
        mov     %eax, %cr3
        mov     $0x620, %eax            /* PAE, OSFXSR, OSXMMEXCPT */
        mov     %eax, %cr4
        mov     $0xc0000080, %ecx
        rdmsr
        or      $0x100, %eax
        wrmsr
        mov     %cr0, %eax
        or      $0x80000000, %eax
        mov     %eax, %cr0
        ljmpl   $24, $AT(long)

gate:   mov     %ecx, %edi              /* eax: handler, ecx: vector */
        shl     $4, %edi
        add     $0x2000, %edi
        movw    %ax, (%edi)
        movw    $24, 2(%edi)
        movw    $0x8e00, 4(%edi)
        movw    $0, 6(%edi)
        movl    $0, 8(%edi)
        movl    $0, 12(%edi)
        ret

        .code64
long:   lidt    AT(idtr)
        mov     $0xfee00000, %ebx
        movl    $0x1ff, 0xf0(%rbx)      /* on */
        test    %ebp, %ebp
        jnz     other
        cmpb    $1, 0x7ff0
        je      boss
        cmpb    $2, 0x7ff0
        je      driver
        mov     $40, %eax
        ltr     %ax
        movl    $3, 0x3e0(%rbx)         /* by 16 */
        movl    $0x20040, 0x320(%rbx)   /* periodic, vector 0x40 */
        movl    $1000000, 0x380(%rbx)   /* 16 ms */
        pushq   $0x3b                   /* user data */
        pushq   $0x7800
        pushq   $0x202
        pushq   $0x43
        pushq   $AT(ring3)
        iretq
tick:   incq    BOX_TICKS
        push    %rbx
        mov     $0xfee00000, %ebx
        movl    $0, 0xb0(%rbx)
        pop     %rbx
        iretq

        /* ---- a queue whose one buffer is given again and again ---- */
driver: mov     $GUEST_BAR + 0x3000, %edi
        xor     %eax, %eax
        sti
1:      mov     BOX_TICKS, %rsi
        incw    GUEST_AVAIL + 2
        movw    %ax, (%rdi)             /* kick */
        incq    BOX_TURNS
2:      pause
        cmp     %rsi, BOX_TICKS
        je      2b
        jmp     1b

        /* ---- two CPUs: each handler answers the other ---- */
boss:   movl    $0x01000000, 0x310(%rbx)
        movl    $0x4500, 0x300(%rbx)    /* INIT */
        movl    $0x4608, 0x300(%rbx)    /* start at 0x8000 */
1:      pause
        cmpl    $0, BOX_AP
        je      1b
        sti
        movl    $0x4043, 0x300(%rbx)    /* the first message */
2:      hlt
        jmp     2b
at_boss:
        incq    BOX_BACK
        movl    $0, 0xb0(%rbx)
        movl    $0x01000000, 0x310(%rbx)
        movl    $0x4043, 0x300(%rbx)
        iretq
other:  mov     $0x6800, %esp
        incq    BOX_AP
        sti
1:      hlt
        jmp     1b
at_other:
        incq    BOX_IPIS
        movl    $0, 0xb0(%rbx)
        movl    $0, 0x310(%rbx)
        movl    $0x4042, 0x300(%rbx)
        iretq

        /* A turn: the same count in memory, r8, xmm2, xmm15 and st0; a checksum in r9 against one made afresh now and then. */
ring3:  mov     BOX_TURNS, %r8
        fninit
        fldz
        pxor    %xmm2, %xmm2
        pxor    %xmm15, %xmm15
        mov     $1, %eax
        movq    %rax, %xmm3
        xor     %r9d, %r9d
        movzbl  0x7ff1, %r11d           /* SSE4.2? Some nested KVMs do not trap CPUID here */
        rdtsc
        shl     $32, %rdx
        or      %rdx, %rax
        mov     %rax, %r10
1:      inc     %r8
        incq    BOX_TURNS
        paddq   %xmm3, %xmm2
        paddq   %xmm3, %xmm15
        fld1
        faddp
        bt      $0, %r11d
        jnc     9f
        crc32q  %r8, %r9
9:      rdtsc
        shl     $32, %rdx
        or      %rdx, %rax
        mov     %rax, BOX_TSC
        cmp     %r10, %rax
        mov     %rax, %r10
        jae     2f
        orq     $1, BOX_WRONG           /* time went back */
2:      cmp     %r8, BOX_TURNS
        je      3f
        orq     $2, BOX_WRONG
3:      movq    %xmm2, %rax
        cmp     %r8, %rax
        je      4f
        orq     $4, BOX_WRONG
4:      movq    %xmm15, %rax
        cmp     %r8, %rax
        je      5f
        orq     $8, BOX_WRONG
5:      fld     %st(0)
        fistpq  BOX_MMIO
        cmp     %r8, BOX_MMIO
        je      6f
        orq     $16, BOX_WRONG
6:      bt      $0, %r11d
        jnc     8f
        test    $0xfff, %r8d
        jnz     1b
        xor     %eax, %eax              /* the checksum afresh */
        xor     %ecx, %ecx
7:      inc     %rcx
        crc32q  %rcx, %rax
        cmp     %r8, %rcx
        jb      7b
        cmp     %rax, %r9
        je      8f
        orq     $32, BOX_WRONG
8:      cmp     $0x10000, %r8
        jb      1b
        movq    $0, BOX_TURNS           /* not too long a sum */
        jmp     ring3

        .balign 8
gdt:    .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
        .quad   0                               /* 32: unused */
        .quad   0x0000890076000067, 0           /* 40: TSS at 0x7600 */
        .quad   0x00cff3000000ffff              /* 56: user data */
        .quad   0x00affb000000ffff              /* 64: user code */
gdtr:   .word   gdtr - gdt - 1
        .long   AT(gdt)
idtr:   .word   0xfff
        .quad   0x2000
guest_code_end:
        .section .note.GNU-stack, "", @progbits
