/*
 * target/x86/tr-flags.c - flags that some path from an exit may read before it writes them: a scan of the table's flag
 * columns over the bytes around a block, through direct jumps, within its page. What was looked at is part of the block
 * as far as writes to code go.
 */
#include "target/x86/tr.h"

static unsigned from(TrScan *s, uint64_t pc, unsigned open);

/* Behind the instruction `in`, which ends a straight line; next: the pc behind it. */
static unsigned at_end(TrScan *s, const Insn *in, uint64_t next, unsigned open)
{
    bool always = in->row->map == 0 && (in->opcode == 0xe8 || in->opcode == 0xe9 || in->opcode == 0xeb);

    if (!open || s->code_size != CODE64 || (!always && !(in->row->traits & R_CC)))
        return open;
    if (always)
        return from(s, next + (uint64_t)in->imm, open);
    return from(s, next + (uint64_t)in->imm, open) | from(s, next, open);
}

static unsigned from(TrScan *s, uint64_t pc, unsigned open)
{
    unsigned live = 0;
    Insn in;

    while (open && s->left) { /* left: bounds this and the recursion */
        int64_t off = (int64_t)(pc - s->pc);

        s->left--;
        if (off < -(int64_t)s->before || off >= (int64_t)s->n || x86_decode(s->code + off, (unsigned)(s->n - off), s->code_size, &in) != DEC_OK)
            break;
        s->lo = MIN(s->lo, off);
        s->hi = MAX(s->hi, off + in.len);
        live |= open & x86_insn_reads(&in);
        open &= ~x86_insn_writes(&in);
        pc += in.len;
        if (in.row->traits & R_END)
            return live | at_end(s, &in, pc, open);
    }
    return live | open;
}

unsigned tr_flags_live_at(TrScan *s, uint64_t pc)
{
    enum { MOST = 20 };

    s->left = MOST;
    return from(s, pc, FALL);
}
