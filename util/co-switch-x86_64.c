/*
 * util/co-switch-x86_64.c - the switch for the System V ABI: the registers a callee must keep, MXCSR and
 * the x87 control word go on the old stack; the stack pointer is the context.
 */
#include "util/co-priv.h"

void co__swap(void **save, void *to);
void co__start(void);

/* clang-format off */
__asm__(
    ".text\n"
    ".globl co__swap\n"
    ".type co__swap, @function\n"
    "co__swap:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  subq $8, %rsp\n  stmxcsr (%rsp)\n  fnstcw 4(%rsp)\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  ldmxcsr (%rsp)\n  fldcw 4(%rsp)\n  addq $8, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".size co__swap, .-co__swap\n"
    ".globl co__start\n"
    ".type co__start, @function\n"
    "co__start:\n" /* r12: function, r13: argument */
    "  movq %r13, %rdi\n"
    "  xorl %ebp, %ebp\n"
    "  callq *%r12\n"
    "  ud2\n"
    ".size co__start, .-co__start\n");
/* clang-format on */

void co__context(CoContext *c, void *stack, size_t size, void (*begin)(void *arg), void *arg)
{
    uint64_t *sp = (uint64_t *)(void *)((char *)stack + size) - 2;

    *--sp = (uint64_t)(uintptr_t)co__start; /* where `ret` goes */
    *--sp = 0;                              /* rbp */
    *--sp = 0;                              /* rbx */
    *--sp = (uint64_t)(uintptr_t)begin;     /* r12 */
    *--sp = (uint64_t)(uintptr_t)arg;       /* r13 */
    *--sp = 0;                              /* r14 */
    *--sp = 0;                              /* r15 */
    *--sp = 0x037full << 32 | 0x1f80;       /* control words at their defaults */
    c->sp = sp;
}

void co__switch(CoContext *from, CoContext *to) { co__swap(&from->sp, to->sp); }
