/* accel/tcg/stats.c - info jit, info opcount: what the software CPU has translated, and what that costs. */
#include "accel/tcg/tcg.h"
#include "target/x86/decode.h"

static void memory(const TcgCpu *t, GString *out)
{
    size_t code = tcg_code_bytes(t), all = code + t->arena_used;

    g_string_append_printf(out, "  memory: %zu KiB of blocks and %zu KiB of code, at most %zu together, for %" PRIu64 " KiB of guest code now: %.1f bytes for each\n",
                           t->arena_used / 1024, code / 1024, t->budget / 1024, t->guest_now / 1024, (double)all / (double)MAX(t->guest_now, 1));
}

void tcg_stats(Vm *vm, GString *out)
{
    for (unsigned i = 0; i < vm->ncpus; i++) {
        X86 *s = vm->cpus[i]->regs;
        TcgCpu *t = s->tcg;

        g_string_append_printf(out, "cpu %u: %" PRIu64 " instructions interpreted, %" PRIu64 " translated, %" PRIu64 " TLB fills, %" PRIu64 " flushes\n", i,
                               s->env.icount, t->translated, t->fills, t->flushes);
        tcg_window_stats(t, out);
        memory(t, out);
        tcg_jit_stats(t, out);
    }
}

typedef struct Count {
    const Row *row;
    uint64_t n;
} Count;

/* The guest instructions of a block, as memory has them. */
static void count_block(const Block *b, const uint8_t *page, Count *v)
{
    for (unsigned i = 0; i < b->ninsns; i++) {
        uint64_t off = (b->pa & (PAGE - 1)) + block_offsets(b)[i];
        Insn in;

        if (off >= PAGE || x86_decode(page + off, (unsigned)MIN(PAGE - off, 15), (CodeSize)(b->mode & MODE_CODE), &in) != DEC_OK)
            continue; /* it goes on in another page */
        v[in.row - x86_rows].row = in.row;
        v[in.row - x86_rows].n++;
    }
}

static int more(const void *a, const void *b)
{
    const Count *x = a, *y = b;

    return x->n < y->n ? 1 : x->n > y->n ? -1 : 0;
}

void tcg_opcount(Vm *vm, GString *out)
{
    enum { SHOWN = 40 };
    g_autofree Count *v = g_new0(Count, x86_nrows);
    uint64_t all = 0;

    for (unsigned i = 0; i < vm->ncpus; i++) {
        const X86 *s = vm->cpus[i]->regs;
        GHashTableIter it;
        gpointer value;

        g_hash_table_iter_init(&it, s->tcg->pages);
        while (g_hash_table_iter_next(&it, NULL, &value)) {
            const CodePage *p = value;

            for (const Block *b = p->host ? p->first : NULL; b; b = b->next_in_page)
                if (!b->dead)
                    count_block(b, p->host, v);
        }
    }
    for (unsigned i = 0; i < x86_nrows; i++)
        all += v[i].n;
    qsort(v, x86_nrows, sizeof(*v), more);
    g_string_append_printf(out, "%" PRIu64 " guest instructions in blocks now\n", all);
    for (unsigned i = 0; i < SHOWN && i < x86_nrows && v[i].n; i++)
        g_string_append_printf(out, "%8" PRIu64 "  %4.1f %%  %-10s %s\n", v[i].n, (double)v[i].n * 100 / (double)all, v[i].row->name, v[i].row->text);
}
