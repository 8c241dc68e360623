/*
 * target/x86/hmp.c - info mem, info tlb: the page tables of the current CPU, all of them. The guest's tables may point
 * anywhere, also at themselves: ENTRIES_MAX bounds how many entries are looked at.
 */
#include "core/api/x86.h"
#include "target/x86/cpu.h"

enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_PWT = 8, PTE_PCD = 16, PTE_A = 32, PTE_D = 64, PTE_PS = 128, PTE_G = 256, PTE_RIGHTS = PTE_W | PTE_U };
enum { ENTRIES_MAX = 4 * 1024 * 1024, LINES_MAX = 100 * 1000 };
#define PTE_NX   (1ull << 63)
#define PTE_ADDR 0x000ffffffffff000ull

typedef struct Tables {
    Hmp *h;
    Cpu *cpu;
    X86 *s;
    bool wide;                 /* 8-byte entries */
    unsigned entries, lines;
    void (*page)(struct Tables *t, uint64_t va, uint64_t size, uint64_t pte, unsigned rights);
    uint64_t from, to;         /* info mem: the run so far; to 0: none */
    unsigned rights;
} Tables;

static uint64_t entry_at(Tables *t, uint64_t table, unsigned n)
{
    uint64_t v = 0;
    unsigned size = t->wide ? 8 : 4;

    if (as_load(t->cpu->mem[t->s->smm], table + n * size, size, &v, (MemAttrs){ .secure = t->s->smm, .peek = true }) != MEM_OK)
        return 0;
    return v;
}

static uint64_t sign(const Tables *t, uint64_t va)
{
    unsigned sh = t->s->cr4 & CR4_LA57 ? 7 : 16;

    return long_mode(t->s) ? (uint64_t)((int64_t)(va << sh) >> sh) : va;
}

/* level: 5 to 1; shift: bits of address below an entry of it. */
static void walk(Tables *t, uint64_t table, unsigned level, uint64_t va, unsigned rights)
{
    unsigned per = t->wide ? 9 : 10, count = level == 3 && !long_mode(t->s) ? 4 : 1u << per, shift = 12 + per * (level - 1);

    for (unsigned i = 0; i < count && t->entries < ENTRIES_MAX && t->lines < LINES_MAX; i++) {
        uint64_t e = entry_at(t, table, i), at = sign(t, va | (uint64_t)i << shift);
        bool top_pae = level == 3 && !long_mode(t->s);
        unsigned r = top_pae ? rights : rights & (unsigned)e;
        bool big = e & PTE_PS && !top_pae && (level == 2 || level == 3) && (t->wide || t->s->cr4 & CR4_PSE);

        t->entries++;
        if (!(e & PTE_P))
            continue;
        if (level == 1 || big)
            t->page(t, at, 1ull << shift, e, r);
        else
            walk(t, e & (t->wide ? PTE_ADDR : 0xfffff000), level - 1, va | (uint64_t)i << shift, r);
    }
}

static bool walk_all(Tables *t)
{
    const X86 *s = t->s;
    uint64_t root = s->cr3 & (long_mode(s) ? PTE_ADDR : s->cr4 & CR4_PAE ? 0xffffffe0 : 0xfffff000);

    if (!(s->cr0 & CR0_PG)) {
        g_string_append(t->h->out, "PG disabled\n");
        return false;
    }
    t->wide = s->cr4 & CR4_PAE;
    walk(t, root, long_mode(s) ? (s->cr4 & CR4_LA57 ? 5 : 4) : t->wide ? 3 : 2, 0, PTE_RIGHTS);
    if (t->entries == ENTRIES_MAX || t->lines == LINES_MAX)
        g_string_append(t->h->out, "(too many: the rest is left out)\n");
    return true;
}

static void with_tables(Hmp *h, void (*page)(Tables *t, uint64_t va, uint64_t size, uint64_t pte, unsigned rights), void (*end)(Tables *t))
{
    Tables t = { .h = h, .page = page };

    if (h->cpu >= h->vm->ncpus) {
        g_string_append(h->out, "No CPU available\n");
        return;
    }
    vm_look_begin(h->vm);
    t.cpu = h->vm->cpus[h->cpu];
    cpu_sync(t.cpu, RG_ALL);
    t.s = x86_of(t.cpu);
    if (walk_all(&t) && end)
        end(&t);
    vm_look_end(h->vm);
}

static void tlb_line(Tables *t, uint64_t va, uint64_t size, uint64_t e, unsigned rights)
{
    static const struct { uint64_t bit; char c; } flags[] = { { PTE_NX, 'X' }, { PTE_G, 'G' }, { PTE_PS, 'P' }, { PTE_D, 'D' },
        { PTE_A, 'A' }, { PTE_PCD, 'C' }, { PTE_PWT, 'T' }, { PTE_U, 'U' }, { PTE_W, 'W' } };
    uint64_t shown = size > 4096 ? e : e & ~(uint64_t)PTE_PS; /* in a table of pages this bit is PAT */

    g_string_append_printf(t->h->out, "%016" PRIx64 ": %016" PRIx64 " ", va, (uint64_t)(e & PTE_ADDR & ~(size - 1)));
    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++)
        g_string_append_c(t->h->out, shown & flags[i].bit ? flags[i].c : '-');
    g_string_append_c(t->h->out, '\n');
    t->lines++;
}

static void end_run(Tables *t)
{
    if (t->to)
        g_string_append_printf(t->h->out, "%016" PRIx64 "-%016" PRIx64 " %016" PRIx64 " %cr%c\n", t->from, t->to, t->to - t->from,
                               t->rights & PTE_U ? 'u' : '-', t->rights & PTE_W ? 'w' : '-');
    t->lines += t->to != 0;
    t->to = 0;
}

static void join_page(Tables *t, uint64_t va, uint64_t size, uint64_t e, unsigned rights)
{
    if (t->to != va || t->rights != rights) {
        end_run(t);
        t->from = va;
        t->rights = rights;
    }
    t->to = va + size;
}

void hmp_info_tlb(Hmp *h) { with_tables(h, tlb_line, NULL); }
void hmp_info_mem(Hmp *h) { with_tables(h, join_page, end_run); }
