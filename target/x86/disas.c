/*
 * target/x86/disas.c - disassembly for the monitor and the autopsy, by capstone in Intel's syntax.
 * Left out: Capstone's view of a CPU's features; it decodes what any x86 might.
 */
#include "target/x86/disas.h"
#include <capstone/capstone.h>

static void bytes(GString *out, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        g_string_append_printf(out, "%02x", p[i]);
    for (size_t i = n; i < 10; i++)
        g_string_append(out, "  ");
}

static bool open_for(const X86 *s, csh *h)
{
    cs_mode mode = code64(s) ? CS_MODE_64 : s->seg[SEG_CS].attr & SA_DB ? CS_MODE_32 : CS_MODE_16;

    return cs_open(CS_ARCH_X86, mode, h) == CS_ERR_OK;
}

static void lines(csh h, uint64_t va, const uint8_t *code, size_t len, unsigned n, GString *out)
{
    cs_insn *in = cs_malloc(h);

    for (unsigned i = 0; in && i < n && len; i++) { /* each turn uses up a byte at least */
        const uint8_t *at = code;

        if (cs_disasm_iter(h, &code, &len, &va, in)) {
            g_string_append_printf(out, "%016" PRIx64 "  ", in->address);
            bytes(out, at, in->size);
            g_string_append_printf(out, "  %s %s\n", in->mnemonic, in->op_str);
            continue;
        }
        g_string_append_printf(out, "%016" PRIx64 "  ", va++);
        bytes(out, code++, 1);
        g_string_append(out, "  (bad)\n");
        len--;
    }
    if (in)
        cs_free(in, 1);
}

void x86_disas(Cpu *c, uint64_t va, const uint8_t *code, size_t len, unsigned n, GString *out)
{
    csh h;

    if (!open_for(x86_of(c), &h))
        return;
    lines(h, va, code, len, n, out);
    cs_close(&h);
}

void x86_disas_host(uint64_t at, const uint8_t *code, size_t n, GString *out)
{
    csh h;

    if (cs_open(CS_ARCH_X86, CS_MODE_64, &h) != CS_ERR_OK)
        return;
    lines(h, at, code, n, (unsigned)n, out);
    cs_close(&h);
}

/* clang-format off */
static const uint16_t general[16][4] = { /* 64, 32, 16, 8 bits */
    { X86_REG_RAX, X86_REG_EAX, X86_REG_AX, X86_REG_AL }, { X86_REG_RCX, X86_REG_ECX, X86_REG_CX, X86_REG_CL },
    { X86_REG_RDX, X86_REG_EDX, X86_REG_DX, X86_REG_DL }, { X86_REG_RBX, X86_REG_EBX, X86_REG_BX, X86_REG_BL },
    { X86_REG_RSP, X86_REG_ESP, X86_REG_SP, X86_REG_SPL }, { X86_REG_RBP, X86_REG_EBP, X86_REG_BP, X86_REG_BPL },
    { X86_REG_RSI, X86_REG_ESI, X86_REG_SI, X86_REG_SIL }, { X86_REG_RDI, X86_REG_EDI, X86_REG_DI, X86_REG_DIL },
    { X86_REG_R8, X86_REG_R8D, X86_REG_R8W, X86_REG_R8B }, { X86_REG_R9, X86_REG_R9D, X86_REG_R9W, X86_REG_R9B },
    { X86_REG_R10, X86_REG_R10D, X86_REG_R10W, X86_REG_R10B }, { X86_REG_R11, X86_REG_R11D, X86_REG_R11W, X86_REG_R11B },
    { X86_REG_R12, X86_REG_R12D, X86_REG_R12W, X86_REG_R12B }, { X86_REG_R13, X86_REG_R13D, X86_REG_R13W, X86_REG_R13B },
    { X86_REG_R14, X86_REG_R14D, X86_REG_R14W, X86_REG_R14B }, { X86_REG_R15, X86_REG_R15D, X86_REG_R15W, X86_REG_R15B },
};
static const uint16_t segments[6] = { X86_REG_ES, X86_REG_CS, X86_REG_SS, X86_REG_DS, X86_REG_FS, X86_REG_GS };
/* clang-format on */

static uint64_t register_value(const X86 *s, unsigned reg)
{
    static const uint64_t mask[4] = { ~0ull, 0xffffffff, 0xffff, 0xff };

    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < 4; k++)
            if (general[i][k] == reg)
                return s->env.v[i] & mask[k];
    for (unsigned i = 0; i < 6; i++)
        if (segments[i] == reg)
            return s->seg[i].sel;
    return 0;
}

static void memory_operand(const X86 *s, const cs_insn *in, const cs_x86_op *op, X86Insn *out)
{
    unsigned base = op->mem.base, wide = in->detail->x86.addr_size;
    uint64_t at = (uint64_t)op->mem.disp + register_value(s, base) +
                  register_value(s, op->mem.index) * (uint64_t)op->mem.scale;

    if (base == X86_REG_RIP)
        at += s->env.pc + in->size;
    if (wide < 8)
        at &= (1ull << wide * 8) - 1;
    out->seg = base == X86_REG_RSP || base == X86_REG_RBP || base == X86_REG_ESP || base == X86_REG_EBP || base == X86_REG_BP
                   ? SEG_SS
                   : SEG_DS;
    for (unsigned i = 0; i < 6; i++)
        if (segments[i] == op->mem.segment)
            out->seg = i;
    out->mem = strcmp(out->name, "lea") && strcmp(out->name, "nop");
    out->size = op->size;
    out->at = code64(s) ? at + (out->seg >= SEG_FS ? seg_base(s, out->seg) : 0) : (uint32_t)(at + seg_base(s, out->seg));
}

static void operands(const X86 *s, const cs_insn *in, X86Insn *out)
{
    for (unsigned i = 0; i < in->detail->x86.op_count; i++) { /* at most 8 */
        const cs_x86_op *op = &in->detail->x86.operands[i];

        if (op->type == X86_OP_MEM)
            memory_operand(s, in, op, out);
        else if (i < 2)
            out->value[i] = op->type == X86_OP_IMM ? (uint64_t)op->imm : register_value(s, op->reg);
    }
}

bool x86_insn_at(Cpu *c, X86Insn *out)
{
    const X86 *s = x86_of(c);
    uint64_t va = s->env.pc;
    const uint8_t *code = out->bytes;
    size_t len;
    cs_insn *in;
    csh h;
    bool ok;

    *out = (X86Insn){ .len = sizeof(out->bytes) };
    while (out->len && !cpu_read_va(c, va, out->bytes, out->len))
        out->len--;
    if (!out->len || !open_for(s, &h))
        return false;
    len = out->len;
    cs_option(h, CS_OPT_DETAIL, CS_OPT_ON);
    in = cs_malloc(h);
    ok = in && cs_disasm_iter(h, &code, &len, &va, in);
    if (ok) {
        g_strlcpy(out->name, in->mnemonic, sizeof(out->name));
        g_strlcpy(out->args, in->op_str, sizeof(out->args));
        out->len = in->size;
        operands(s, in, out);
    }
    if (in)
        cs_free(in, 1);
    cs_close(&h);
    return ok;
}
