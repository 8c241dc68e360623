/* target/x86/decode.h - rows of decode.tbl as data, and a decoded instruction. */
#ifndef TARGET_X86_DECODE_H
#define TARGET_X86_DECODE_H
#include "util/util.h"
#define WITH_ENUMS
#include "x86-decode.inc"
#undef WITH_ENUMS

typedef enum OprKind {
    O_E, O_G, O_Z, O_A, O_B, O_BV, O_M, O_V, O_W, O_WU, O_P, O_Q, O_U, O_N, O_S, O_C, O_D, /* registers and memory */
    O_O, /* memory at an encoded offset */
    O_I, O_IB, O_UB, O_UW, O_IV, O_J8, O_JZ, O_AP, /* encoded constants */
    O_CL, O_ONE, O_DX
} OprKind;
typedef struct Opr {
    uint8_t kind, size; /* size: log2 bytes, SZ_V = operand size, SZ_X = 16 bytes, SZ_L = 16 or 32 by VEX.L, a half.. of it */
} Opr;
enum { SZ_V = 4, SZ_X = 5, SZ_L, SZ_H, SZ_Q, SZ_E };

typedef struct Row {
    const char *name, *text;
    uint8_t map, opc, pfx, ext, w, l; /* pfx, ext, w, l: 0xff any; maps 4..6 are VEX */
    uint8_t nopr;
    Opr opr[4];
    uint8_t reads, writes, undef; /* FC.. masks; condition codes add theirs */
    uint8_t feature;
    uint64_t traits;
} Row;
extern const Row x86_rows[];
extern const unsigned x86_nrows;
extern const bool x86_row_is_vex[];    /* x86_row_arg is an X86VexId */
extern const uintptr_t x86_row_arg[]; /* the helper or vector function named in the row, or 0 */

typedef struct Insn {
    const Row *row;
    uint8_t len, size, asize; /* log2 of the operand and address size */
    uint8_t reg, rm, base, index, vsib /* the same as a vector */, scale, vvvv, cond, opc_reg, opcode, modrm;
    uint8_t seg;              /* of the memory operand, default or override: 0..5 */
    uint8_t pfx;              /* mandatory prefix seen: 0 none 1 66 2 F3 3 F2 */
    bool rex, rexw, mem, rep, repne, lock, rip, seg_override, o66, vex_l;
    int64_t disp, imm;
    uint16_t sel;             /* Ap */
} Insn;

enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS };
typedef enum CodeSize { CODE16, CODE32, CODE64 } CodeSize;
typedef enum Decoded { DEC_OK, DEC_UD, DEC_SHORT, DEC_LONG /* over 15 bytes: #GP */ } Decoded;
Decoded x86_decode(const uint8_t *p, unsigned n, CodeSize mode, Insn *in);
unsigned x86_insn_reads(const Insn *in);  /* flags */
unsigned x86_insn_writes(const Insn *in); /* certainly written or left undefined */
#endif
