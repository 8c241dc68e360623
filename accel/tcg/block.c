/*
 * accel/tcg/block.c - translated blocks: found by where their code lies in RAM, the virtual pc baked in, and the
 * mode word; dropped when their page is written.
 * Invariants: a block's memory stays until the whole arena is flushed, so links and jump caches may point to
 * dead blocks, never to freed ones; a page with blocks has its DIRTY_CODE bit clear and its granules set.
 */
#include "accel/tcg/tcg.h"
#include <sys/mman.h>

enum { CHUNK = 1 << 20, ARENA_MAX = 512 << 20, BYTES_MAX = 512 };

static void free_chunk(void *p) { munmap(p, CHUNK); }

void tcg_blocks_init(TcgCpu *t)
{
    t->pages = g_hash_table_new(g_int64_hash, g_int64_equal);
    t->chunks = g_ptr_array_new_with_free_func(free_chunk);
    t->crossers = g_ptr_array_new();
    t->todo = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    t->strip = g_array_new(FALSE, FALSE, sizeof(uint8_t *));
    g_mutex_init(&t->todo_lock);
}

void tcg_blocks_free(TcgCpu *t)
{
    g_hash_table_destroy(t->pages);
    g_ptr_array_free(t->chunks, TRUE);
    g_ptr_array_free(t->crossers, TRUE);
    g_array_free(t->todo, TRUE);
    g_array_free(t->strip, TRUE);
    g_mutex_clear(&t->todo_lock);
}

void *tcg_arena(TcgCpu *t, size_t n)
{
    void *p;

    n = (n + 15) & ~(size_t)15;
    if (!t->chunk || t->chunk_used + n > CHUNK) {
        t->chunk = tcg_low_alloc(CHUNK);
        if (!t->chunk)
            g_error("no memory for the software CPU's blocks");
        t->chunk_used = 0;
        g_ptr_array_add(t->chunks, t->chunk);
    }
    p = t->chunk + t->chunk_used;
    t->chunk_used += n;
    t->arena_used += n;
    return p;
}

void tcg_blocks_flush(TcgCpu *t)
{
    memset(t->hash, 0, sizeof(t->hash));
    g_hash_table_remove_all(t->pages);
    g_ptr_array_set_size(t->chunks, 0);
    g_ptr_array_set_size(t->crossers, 0);
    t->chunk = NULL;
    t->arena_used = 0;
    t->flush_code = false;
    t->s->env.cur = NULL;
    tcg_jit_flush(t);
    tcg_flush_all(t->s);
    tcg_modes_forget(t);
    tcg_mode_changed(t->s);
}

static Block **bucket(TcgCpu *t, uint64_t ram, uint64_t pc)
{
    uint64_t h = (ram ^ pc << 7) * 0x9e3779b97f4a7c15ull;

    return &t->hash[h >> 46];
}

static void drop(TcgCpu *t, Block *b)
{
    Block **at = bucket(t, b->pa, b->pc);

    b->dead = true;
    tcg_jit_kill(t, b);
    while (*at && *at != b)
        at = &(*at)->next;
    if (*at)
        *at = b->next;
}

void tcg_blocks_drop_page(TcgCpu *t, uint64_t ram_page)
{
    PageBlocks *p = g_hash_table_lookup(t->pages, &ram_page);

    for (Block *b = p ? p->first : NULL; b; b = b->next_in_page)
        drop(t, b);
    if (p)
        p->first = NULL;
    for (guint i = 0; i < t->crossers->len;) {
        Block *b = t->crossers->pdata[i];

        if (b->pa2 == ram_page)
            drop(t, b);
        if (b->dead)
            g_ptr_array_remove_index_fast(t->crossers, i);
        else
            i++;
    }
}

void tcg_todo(TcgCpu *t)
{
    cpu_request_clear(t->cpu, REQ_CODE);
    g_mutex_lock(&t->todo_lock);
    for (guint i = 0; i < t->todo->len; i++)
        tcg_blocks_drop_page(t, g_array_index(t->todo, uint64_t, i));
    g_array_set_size(t->todo, 0);
    g_mutex_unlock(&t->todo_lock);
}

/* Code of this page is no more, on any vCPU; self may be NULL. */
static void drop_everywhere(TcgVm *v, uint64_t page, TcgCpu *self)
{
    for (unsigned i = 0; i < v->vm->ncpus; i++) {
        X86 *s = v->vm->cpus[i]->regs;
        TcgCpu *t = s->tcg;

        if (!t)
            continue;
        if (t == self) {
            tcg_blocks_drop_page(t, page);
            continue;
        }
        g_mutex_lock(&t->todo_lock);
        g_array_append_val(t->todo, page);
        g_mutex_unlock(&t->todo_lock);
        cpu_request(t->cpu, REQ_CODE);
    }
}

static uint64_t granules(uint64_t off, uint64_t len)
{
    unsigned first = (unsigned)(off % 4096 / 64), last = (unsigned)MIN((off % 4096 + len - 1) / 64, 63);

    return ones(last - first + 1) << first;
}

void tcg_code_written(TcgVm *v, RamBlock *b, uint64_t off, uint64_t len, TcgCpu *self)
{
    for (uint64_t at = off & ~4095ull; at < off + len; at += 4096) {
        uint64_t page = (b->ram_addr + at) / 4096, from = MAX(off, at), to = MIN(off + len, at + 4096);

        if (page >= v->npages || !(__atomic_load_n(&v->granule[page], __ATOMIC_RELAXED) & granules(from, to - from)))
            continue;
        __atomic_store_n(&v->granule[page], 0, __ATOMIC_RELAXED);
        drop_everywhere(v, page, self);
        __atomic_fetch_or(&b->dirty[DIRTY_CODE][at / 4096 / 64], 1ul << (at / 4096 % 64), __ATOMIC_RELAXED);
    }
}

bool tcg_code_store(TcgCpu *t, RamBlock *b, uint64_t off, uint64_t len)
{
    TcgVm *v = tcg_vm(t->cpu->vm);
    uint64_t page = (b->ram_addr + off) / 4096;
    const Block *cur = tcg_running(t);
    bool own;

    if (page >= v->npages || !(__atomic_load_n(&v->granule[page], __ATOMIC_RELAXED) & granules(off, len)))
        return true;
    own = cur && !cur->dead && cur->ninsns > 1 && (cur->pa / 4096 == page || (cur->crosses && cur->pa2 == page));
    tcg_code_written(v, b, off, len, t);
    if (own) {
        t->one_shot = true;
        t->s->env.fault = (Fault){ FAULT_RETRY, 0, 0 };
    }
    return !own;
}

/* Ask every vCPU but self to take the page out of its writable sides, and wait until each did or is not running. */
static void strip_others(TcgCpu *t, const uint8_t *host)
{
    Vm *vm = t->cpu->vm;

    for (unsigned i = 0; i < vm->ncpus; i++) {
        Cpu *c = vm->cpus[i];

        if (c == t->cpu || !c->engine)
            continue;
        tcg_ask_strip(c, host);
        while (__atomic_load_n(&c->running, __ATOMIC_ACQUIRE) && cpu_requests(c) & REQ_STRIP) {
            if (cpu_requests(t->cpu) & REQ_STRIP) /* the other waits for us as well */
                tcg_strip_todo(t);
            g_thread_yield();
        }
    }
}

void tcg_ask_strip(Cpu *c, const uint8_t *host)
{
    TcgCpu *t = c->engine;

    g_mutex_lock(&t->todo_lock);
    g_array_append_val(t->strip, host);
    g_mutex_unlock(&t->todo_lock);
    cpu_request(c, REQ_STRIP);
}

void tcg_protect(TcgCpu *t, RamBlock *b, uint64_t off, unsigned bytes)
{
    TcgVm *v = tcg_vm(t->cpu->vm);
    uint64_t page = (b->ram_addr + off) / 4096, bit = 1ull << (off / 4096 % 64);

    if (page >= v->npages)
        return;
    __atomic_fetch_or(&v->granule[page], granules(off, bytes), __ATOMIC_SEQ_CST);
    if (!(__atomic_fetch_and(&b->dirty[DIRTY_CODE][off / 4096 / 64], ~bit, __ATOMIC_SEQ_CST) & bit))
        return;
    tcg_strip(t, b->host + (off & -(uint64_t)PAGE)); /* nobody may have it writable from now on */
    strip_others(t, b->host + (off & -(uint64_t)PAGE));
}

/* Where the code at va is; NULL: fault set. */
static FetchEnt *fetch_page(TcgCpu *t, uint64_t va)
{
    X86 *s = t->s;
    FetchEnt *f = &t->fetch[(va >> 12 ^ t->kind * 341u) & (FETCH_N - 1)];
    bool writable;
    Walk w;

    if (f->vpage == va >> 12 && f->gen == s->env.view->gen)
        return f;
    if (code64(s) && !canonical(s, va)) {
        x86_raise(s, EXC_GP, 0);
        return NULL;
    }
    if (!x86_page_walk(s, va, ACC_X | (s->cpl == 3 ? ACC_USER : 0), &w)) {
        x86_raise_pf(s, va, w.fault);
        return NULL;
    }
    f->host = tcg_ram(s, w.pa & ~4095ull, &f->block, &f->off, &writable);
    f->ram = f->host ? f->block->ram_addr + f->off : w.pa & ~4095ull;
    f->vpage = va >> 12;
    f->gen = s->env.view->gen;
    f->global = w.global;
    tcg_filled(t, va, &w);
    return f;
}

/* The list of blocks of a page, which is mapped at vpage now. */
static PageBlocks *page_blocks(TcgCpu *t, uint64_t page, uint64_t vpage)
{
    PageBlocks *p = g_hash_table_lookup(t->pages, &page);

    if (!p) {
        p = tcg_arena(t, sizeof(*p));
        *p = (PageBlocks){ .ram_page = page };
        g_hash_table_insert(t->pages, &p->ram_page, p);
    }
    if (!p->first) {
        p->vpage = vpage;
        p->moved = false;
    }
    p->moved |= p->vpage != vpage;
    return p;
}

static Block *make_block(TcgCpu *t, IrBlock *ir, const uint8_t *code, bool one)
{
    Block *b = tcg_arena(t, sizeof(*b));
    Block tmp = { 0 };

    tcg_log_code(t, ir, code);
    tcg_log_ops(ir, LOG_OP);
    ir_live(ir, false);
    tcg_log_ops(ir, LOG_OP_OPT);
    interp_lower(&tmp, ir);
    *b = (Block){ .pc = ir->pc, .rel = ir->rel, .mode = ir->mode, .bytes = ir->bytes, .nops = tmp.nops, .ninsns = (uint8_t)ir->ninsns,
                  .nslots = (uint8_t)ir->nslots, .crosses = ir->crosses };
    b->ops = tcg_arena(t, tmp.nops * sizeof(IrOp));
    memcpy(b->ops, tmp.ops, tmp.nops * sizeof(IrOp));
    b->at = tcg_arena(t, tmp.nops);
    memcpy(b->at, tmp.at, tmp.nops);
    b->insn_pc = tcg_arena(t, (ir->ninsns + 1) * sizeof(uint64_t));
    memcpy(b->insn_pc, ir->insn_pc, (ir->ninsns + 1) * sizeof(uint64_t));
    memcpy(b->slot, ir->slot, sizeof(b->slot));
    g_free(tmp.ops);
    g_free(tmp.at);
    t->translated += ir->ninsns;
    tcg_jit_block(t, b, ir, one);
    tcg_log_host(b);
    return b;
}

/* Bytes at pc into buf: from RAM, or through the bus when the code is not in RAM. */
static unsigned read_code(TcgCpu *t, const FetchEnt *f, uint64_t pc, uint8_t *buf, unsigned n)
{
    unsigned off = pc & 4095, left = MIN(4096 - off, n);

    if (f->host)
        memcpy(buf, f->host + off, left);
    else
        as_read(t->cpu->mem[t->s->smm], f->ram + off, buf, left, MEM_CPU);
    return left;
}

static Block *translate(TcgCpu *t, const FetchEnt *f, uint64_t pc)
{
    static _Thread_local IrBlock ir;
    uint8_t code[BYTES_MAX + 16];
    unsigned left = read_code(t, f, pc, code, BYTES_MAX), n = left, upto = t->nbreaks ? tcg_break_before(t, pc, n) : n;
    bool one = t->one_shot || !f->host;
    FetchEnt first = *f, *second = NULL;
    PageBlocks *page = one ? NULL : page_blocks(t, (f->ram + (pc & 4095)) / 4096, pc >> 12);
    bool rel = page && page->moved && !t->npoints && target_can_be_rel(&t->s->env);
    Block *b;

    if (rel && target_translate(&t->s->env, pc & 4095, code, n, left, false, true, &ir)) {
        /* good in every address space that maps the page */
    } else if (upto < n && target_translate(&t->s->env, pc, code, upto, upto, one, false, &ir)) {
        left = n = upto; /* ends before a break point */
    } else if (!target_translate(&t->s->env, pc, code, n, left, one, false, &ir)) { /* the first instruction goes on in the next page */
        second = fetch_page(t, pc + left);
        if (!second)
            return NULL;
        n += read_code(t, second, pc + left, code + left, 15);
        target_translate(&t->s->env, pc, code, n, left, true, false, &ir);
    }
    t->one_shot = false;
    b = make_block(t, &ir, code, one);
    b->pa = first.ram + (pc & 4095);
    if (one) {
        b->dead = true; /* runs once; never found again */
        return b;
    }
    tcg_protect(t, first.block, first.off + (pc & 4095), MAX(b->bytes, 1));
    b->next_in_page = page->first;
    page->first = b;
    if (b->crosses && second && second->host) {
        b->pa2 = second->ram / 4096;
        tcg_protect(t, second->block, second->off, 15);
        g_ptr_array_add(t->crossers, b);
    } else {
        b->crosses = false;
    }
    Block **at = bucket(t, b->pa, b->pc);

    b->next = *at;
    *at = b;
    return b;
}

/* A block that is good wherever the page of this RAM address is mapped. */
static Block *find_rel(TcgCpu *t, uint64_t ram)
{
    for (Block *b = *bucket(t, ram, ram & 4095); b; b = b->next)
        if (b->rel && b->pa == ram && b->mode == t->s->env.mode)
            return b;
    return NULL;
}

Block *tcg_careful(TcgCpu *t, const Block *b)
{
    uint64_t pc = t->s->env.pc;
    FetchEnt *f = fetch_page(t, pc);
    Block **at, *twin;

    if (!f)
        return NULL;
    t->careful = true;
    twin = translate(t, f, pc);
    t->careful = false;
    if (!twin || twin->dead)
        return NULL;
    at = bucket(t, twin->pa, twin->pc);
    while (*at != twin)
        at = &(*at)->next;
    *at = twin->next;
    return twin->rel == b->rel ? twin : NULL;
}

Block *block_get(Env *e, uint64_t pc)
{
    TcgCpu *t = x86(e)->tcg;
    FetchEnt *f = fetch_page(t, pc), *second;
    Block *b;
    bool global;

    e->pc = pc;
    if (!f)
        return NULL;
    if (UNLIKELY(t->watch_size || (t->nbreaks && tcg_break_at(t, pc)))) {
        e->fault = (Fault){ t->watch_size ? FAULT_POLL : FAULT_DEBUG, 0, 0 };
        return NULL;
    }
    if (UNLIKELY(t->arena_used > ARENA_MAX || tcg_jit_full(t))) {
        t->flush_code = true;
        e->fault = (Fault){ FAULT_EXIT, 0, 0 };
        return NULL;
    }
    global = f->global;
    if (f->host && !t->one_shot)
        for (b = *bucket(t, f->ram + (pc & 4095), pc); b; b = b->next) {
            if (b->rel || b->pc != pc || b->pa != f->ram + (pc & 4095) || b->mode != e->mode)
                continue;
            if (b->crosses) {
                second = fetch_page(t, (pc & ~4095ull) + 4096);
                if (!second)
                    return NULL;
                if (second->ram / 4096 != b->pa2)
                    continue;
            }
            tcg_jc_put(t, pc, b, global);
            return b;
        }
    if (f->host && !t->one_shot && target_can_be_rel(e) && (b = find_rel(t, f->ram + (pc & 4095)))) {
        tcg_jc_put(t, pc, b, global);
        return b;
    }
    b = translate(t, f, pc);
    if (b && !b->dead)
        tcg_jc_put(t, pc, b, global);
    return b;
}
