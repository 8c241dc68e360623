/*
 * accel/tcg/block.c - translated blocks: found by where their code lies in RAM, the virtual pc baked in, and the
 * mode word; dropped when their page is written.
 * Invariants: a block's memory stays until the whole arena is flushed, so links and jump caches may point to
 * dead blocks, never to freed ones; a page with blocks has its DIRTY_CODE bit clear and its granules set.
 */
#include "accel/tcg/tcg.h"
#include "target/x86/decode.h"
#include "util/shared.h"
#include <sys/mman.h>

enum { CHUNK = 1 << 20, BYTES_MAX = 512, BEFORE_MAX = 1024 /* what a backward jump may lead to */ };

static void free_chunk(void *p) { munmap(p, CHUNK); }

void tcg_blocks_init(TcgCpu *t)
{
    t->pages = g_hash_table_new(g_int64_hash, g_int64_equal);
    t->chunks = g_ptr_array_new_with_free_func(free_chunk);
    t->crossers = g_ptr_array_new();
    t->todo = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    t->strip = g_array_new(FALSE, FALSE, sizeof(uint8_t *));
    g_mutex_init(&t->todo_lock);
    t->once = tcg_once_new();
}

void tcg_blocks_free(TcgCpu *t)
{
    g_hash_table_destroy(t->pages);
    g_ptr_array_free(t->chunks, TRUE);
    g_ptr_array_free(t->crossers, TRUE);
    g_array_free(t->todo, TRUE);
    g_array_free(t->strip, TRUE);
    g_mutex_clear(&t->todo_lock);
    g_free(t->once);
}

void *tcg_arena(TcgCpu *t, size_t n)
{
    void *p;

    n = (n + 15) & ~(size_t)15;
    if (!t->chunk || t->chunk_used + n > CHUNK) {
        if (t->chunks_used == t->chunks->len) {
            p = tcg_low_alloc(CHUNK);
            if (!p)
                g_error("no memory for the software CPU's blocks");
            g_ptr_array_add(t->chunks, p);
        }
        t->chunk = t->chunks->pdata[t->chunks_used++];
        t->chunk_used = 0;
    }
    p = t->chunk + t->chunk_used;
    t->chunk_used += n;
    t->arena_used += n;
    return p;
}

void tcg_blocks_flush(TcgCpu *t)
{
    g_hash_table_remove_all(t->pages);
    /* Chunks are used again: taking them from the host anew costs more than a translation. Together with the code's memory they keep to the budget. */
    t->chunks_used = 0;
    g_ptr_array_set_size(t->chunks, (gint)MIN(t->chunks->len, (t->budget - MIN(t->budget, MAX(t->code_peak, tcg_code_bytes(t)))) / CHUNK));
    g_ptr_array_set_size(t->crossers, 0);
    t->chunk = NULL;
    t->arena_used = t->guest_now = 0;
    t->flush_code = false;
    t->s->env.cur = NULL;
    tcg_jit_flush(t);
    tcg_flush_all(t->s);
    tcg_modes_forget(t);
    tcg_mode_changed(t->s);
}

/* Of blocks that begin at this address of the page. */
static Block **bucket(CodePage *p, uint64_t at) { return &p->bucket[page_bucket(at)]; }

static void unlist(Block *b)
{
    Block **at = bucket(b->page, b->pa);

    while (*at && *at != b)
        at = &(*at)->next;
    if (*at)
        *at = b->next;
}

static void drop(TcgCpu *t, Block *b)
{
    b->dead = true;
    tcg_jit_kill(t, b);
    unlist(b);
}

static void drop_crossers(TcgCpu *t, uint64_t ram_page)
{
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

void tcg_blocks_drop_page(TcgCpu *t, uint64_t ram_page)
{
    CodePage *p = g_hash_table_lookup(t->pages, &ram_page);

    for (Block *b = p ? p->first : NULL; b; b = b->next_in_page)
        drop(t, b);
    if (p)
        p->first = NULL;
    drop_crossers(t, ram_page);
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
        if (log_on(LOG_PAGE))
            log_print("page: code in RAM page %#" PRIx64 " is written\n", page);
        /*
         * Whoever finds the page without code here waits until `writing` is over and then finds its own request, as does who
         * finds the page writable, or it could write over code that it still runs. One that has dropped its blocks and made new
         * ones meanwhile is asked again.
         */
        __atomic_fetch_add(&v->writing, 1, __ATOMIC_SEQ_CST);
        do {
            __atomic_store_n(&v->granule[page], 0, __ATOMIC_SEQ_CST);
            drop_everywhere(v, page, self);
            __atomic_fetch_or(&b->dirty[DIRTY_CODE][at / 4096 / 64], 1ul << (at / 4096 % 64), __ATOMIC_SEQ_CST);
        } while (__atomic_load_n(&v->granule[page], __ATOMIC_SEQ_CST));
        __atomic_fetch_sub(&v->writing, 1, __ATOMIC_SEQ_CST);
    }
}

bool tcg_code_store(TcgCpu *t, RamBlock *b, uint64_t off, uint64_t len)
{
    TcgVm *v = tcg_vm(t->cpu->vm);
    uint64_t page = (b->ram_addr + off) / 4096;
    const Block *cur;
    bool own, asked, hit = page < v->npages && __atomic_load_n(&v->granule[page], __ATOMIC_SEQ_CST) & granules(off, len);

    while (UNLIKELY(!hit && __atomic_load_n(&v->writing, __ATOMIC_SEQ_CST))) /* it waits for nobody: soon over */
        g_thread_yield();
    asked = t->in_block && cpu_requests(t->cpu) & REQ_CODE; /* looked at last: tcg_code_written() */
    if (LIKELY(!hit && !asked))
        return true;
    cur = tcg_running(t);
    if (asked && cur) { /* first that, then this instruction */
        t->s->env.fault = (Fault){ FAULT_AGAIN, 0, 0 };
        return false;
    }
    if (!hit)
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

/*
 * From the return on every store to these bytes is told. A store that came before it may have been missed, so whoever
 * calls compares the bytes after it. A vCPU that finds the page protected must not go on while another, which did that,
 * still waits for a third to lose the page from its writable side.
 */
void tcg_protect(TcgCpu *t, RamBlock *b, uint64_t off, unsigned bytes)
{
    TcgVm *v = tcg_vm(t->cpu->vm);
    uint64_t page = (b->ram_addr + off) / 4096, bit = 1ull << (off / 4096 % 64);
    bool was;

    if (page >= v->npages)
        return;
    __atomic_fetch_or(&v->granule[page], granules(off, bytes), __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&v->protecting, 1, __ATOMIC_SEQ_CST);
    if (log_on(LOG_PAGE) && log_filtered(t->s->env.pc))
        log_print("page: cpu %u: code in RAM page %#" PRIx64 ", %u bytes at %#" PRIx64 "\n", t->cpu->index, page, bytes, off % PAGE);
    was = __atomic_fetch_and(&b->dirty[DIRTY_CODE][off / 4096 / 64], ~bit, __ATOMIC_SEQ_CST) & bit;
    if (was)
        tcg_strip(t, b->host + (off & -(uint64_t)PAGE)); /* nobody may have it writable from now on */
    if (was || __atomic_load_n(&v->protecting, __ATOMIC_SEQ_CST) > 1)
        strip_others(t, b->host + (off & -(uint64_t)PAGE));
    __atomic_fetch_sub(&v->protecting, 1, __ATOMIC_SEQ_CST);
}

/* What is known of a page of RAM, which is mapped at vpage now. */
static CodePage *code_page(TcgCpu *t, uint64_t ram_page, uint64_t vpage)
{
    CodePage *p = g_hash_table_lookup(t->pages, &ram_page);

    if (!p) {
        p = tcg_arena(t, sizeof(*p));
        *p = (CodePage){ .ram_page = ram_page };
        g_hash_table_insert(t->pages, &p->ram_page, p);
    }
    if (!p->first) {
        p->vpage = vpage;
        p->moved = false;
    }
    p->moved |= p->vpage != vpage;
    return p;
}

/* The same for code outside RAM: good until the next one. */
static CodePage *bus_page(TcgCpu *t, uint64_t pa)
{
    t->bus = (CodePage){ .ram_page = pa / PAGE };
    return &t->bus;
}

/* Where the code at va is; NULL: fault set. */
static CodePage *fetch_page(TcgCpu *t, uint64_t va, bool *global)
{
    X86 *s = t->s;
    const CpEnt *known = &s->env.view->cp[cp_slot(va >> 12)];
    const uint8_t *host;
    CodePage *p;
    RamBlock *b;
    uint64_t off;
    bool writable;
    Walk w;

    if (LIKELY(known->vpage == va >> 12)) {
        *global = known->global;
        return known->page;
    }
    if (code64(s) && !canonical(s, va)) {
        x86_raise(s, EXC_GP, 0);
        return NULL;
    }
    if (!x86_page_walk(s, va, ACC_X | (s->cpl == 3 ? ACC_USER : 0), &w)) {
        x86_raise_pf(s, va, w.fault);
        return NULL;
    }
    *global = w.global;
    host = tcg_ram(s, w.pa & -(uint64_t)PAGE, &b, &off, &writable);
    if (!host)
        return bus_page(t, w.pa);
    p = code_page(t, (b->ram_addr + off) / PAGE, va >> 12);
    p->host = host;
    p->block = b;
    p->off = off;
    tcg_filled(t, va, &w);
    tcg_cp_put(t, va >> 12, p, w.global);
    return p;
}

/* What the interpreter runs, which most blocks with code never need: tcg_interpret(). */
static void with_ops(TcgCpu *t, Block *b, const IrBlock *ir)
{
    b->ops = tcg_arena(t, sizeof(*b->ops));
    *b->ops = (BlockOps){ .op = tcg_arena(t, ir->nops * sizeof(IrOp)), .at = tcg_arena(t, ir->nops) };
    interp_lower(ir, b->ops);
}

static Block *make_block(TcgCpu *t, IrBlock *ir, const uint8_t *code, bool one)
{
    Block *b = tcg_arena(t, block_bytes(ir));

    tcg_log_code(t, ir, code);
    tcg_log_ops(ir, LOG_OP);
    ir_live(ir, false);
    tcg_log_ops(ir, LOG_OP_OPT);
    block_fill(b, ir);
    t->translated += ir->ninsns;
    t->guest_now += (uint64_t)(ir->insn_pc[ir->ninsns] - ir->pc);
    tcg_jit_block(t, b, ir, one);
    if (!b->host_size)
        with_ops(t, b, ir);
    tcg_log_host(b);
    return b;
}

/* Bytes at pc into buf: from RAM, or through the bus when the code is not in RAM. */
static unsigned read_code(TcgCpu *t, const CodePage *f, uint64_t pc, uint8_t *buf, unsigned n)
{
    unsigned off = pc & 4095, left = MIN(4096 - off, n);

    if (f->host)
        shared_copy(buf, f->host + off, left);
    else
        as_read(t->cpu->mem[t->s->smm], f->ram_page * PAGE + off, buf, left, MEM_CPU);
    return left;
}

/*
 * A block that goes on in a second page knows its pc: where programs are placed at random, each process would add one
 * to the chain for good. The last few are kept.
 */
static void bound_crossers(TcgCpu *t, CodePage *p, uint64_t pa)
{
    enum { MOST = 4 };
    Block *oldest = NULL;
    unsigned n = 0;

    for (Block *b = *bucket(p, pa); b; b = b->next)
        if (b->crosses && b->pa == pa) {
            n++;
            oldest = b;
        }
    if (n >= MOST)
        drop(t, oldest);
}

/* The block is new: found from now on, and its page watched for writes. */
static void publish(TcgCpu *t, Block *b, CodePage *p, CodePage *second)
{
    Block **at = bucket(p, b->pa);

    b->page = p;
    tcg_protect(t, p->block, p->off + (b->pa & (PAGE - 1)) - b->before, b->before + MAX(b->bytes, 1u));
    b->next_in_page = p->first;
    p->first = b;
    b->crosses &= second && second->host;
    if (b->crosses) {
        bound_crossers(t, p, b->pa);
        b->pa2 = second->ram_page;
        tcg_protect(t, second->block, second->off, 15);
        g_ptr_array_add(t->crossers, b);
    }
    b->next = *at;
    *at = b;
}

/* Is memory still what b was made of? Asked when every store to it is told. */
static bool still(TcgCpu *t, const CodePage *f, const CodePage *second, const Block *b, uint64_t pc, const uint8_t *code)
{
    uint8_t now[BEFORE_MAX + BYTES_MAX + 16];
    unsigned n, bytes = b->before + MAX(b->bytes, block_offsets(b)[b->ninsns]); /* what it was judged by, or all of it */

    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    pc -= b->before;
    n = read_code(t, f, pc, now, bytes);
    if (n < bytes && second)
        n += read_code(t, second, pc + n, now + n, bytes - n);
    return !memcmp(now, code - b->before, n);
}

/* Exits of a new block to blocks of its page that are there already. Its code has not run yet, so changing it is cheap. */
static void link_known(TcgCpu *t, CodePage *p, Block *b)
{
    if (!b->host_size || UNLIKELY(t->stress.s) || log_on(LOG_NOCHAIN))
        return;
    for (unsigned i = 0; i < b->nslots; i++) {
        uint64_t pc = b->slot[i].pc, pa = p->ram_page * PAGE + (pc & (PAGE - 1));
        const Block *to = (pc ^ b->pc) & -(uint64_t)PAGE || !b->slot[i].patch ? NULL : *bucket(p, pa); /* no patch: a computed jump */

        while (to && !(to->pc == pc && to->mode == b->mode && to->rel == b->rel && to->host_size && !to->crosses))
            to = to->next;
        if (to && block_may_link(b, i, to))
            jit_link(&t->code, b, i, to);
    }
}

/* How many of n bytes may be one block: up to a break point, or the first instruction. */
static unsigned end_before(TcgCpu *t, uint64_t pc, const uint8_t *code, unsigned n)
{
    Insn in;

    if (UNLIKELY(t->nbreaks))
        n = tcg_break_before(t, pc, n);
    if (UNLIKELY(t->one_insn) && x86_decode(code, n, (CodeSize)(t->s->env.mode & MODE_CODE), &in) == DEC_OK)
        n = in.len;
    return n;
}

static Block *translate(TcgCpu *t, CodePage *f, uint64_t pc)
{
    static _Thread_local IrBlock ir;
    uint8_t buf[BEFORE_MAX + BYTES_MAX + 16], *code = buf + BEFORE_MAX;
    unsigned before = f->host ? MIN(pc & (PAGE - 1), BEFORE_MAX) : 0;
    unsigned left = read_code(t, f, pc - before, code - before, BYTES_MAX + before) - before, n = left, upto = end_before(t, pc, code, n);
    bool one = t->one_shot || !f->host, rel = !one && f->moved && !t->npoints && !t->one_insn && target_can_be_rel(&t->s->env), global;
    uint64_t pa = f->ram_page * PAGE + (pc & (PAGE - 1));
    CodePage *second = NULL;
    Block *b;

    if (rel && target_translate(&t->s->env, pc & 4095, code, before, n, left, false, true, &ir)) {
        /* good in every address space that maps the page */
    } else if (upto < n && target_translate(&t->s->env, pc, code, before, upto, upto, one, false, &ir)) {
        left = n = upto; /* ends before a break point */
    } else if (!target_translate(&t->s->env, pc, code, before, n, left, one, false, &ir)) { /* the first instruction goes on in the next page */
        second = fetch_page(t, pc + left, &global);
        if (!second)
            return NULL;
        n += read_code(t, second, pc + left, code + left, 15);
        target_translate(&t->s->env, pc, code, before, n, left, true, false, &ir);
    }
    t->one_shot = false;
    b = make_block(t, &ir, code, one);
    b->pa = pa;
    if (one) {
        b->dead = true; /* runs once; never found again */
        return b;
    }
    publish(t, b, f, second);
    if (LIKELY(still(t, f, second, b, pc, code))) {
        link_known(t, f, b);
        return b;
    }
    drop(t, b); /* another vCPU or a device wrote it meanwhile */
    t->one_shot = true;
    return translate(t, f, pc);
}

Block *tcg_careful(TcgCpu *t, const Block *b)
{
    uint64_t pc = t->s->env.pc;
    bool global;
    CodePage *f = fetch_page(t, pc, &global);
    Block *twin;

    if (!f)
        return NULL;
    t->careful = true;
    twin = translate(t, f, pc);
    t->careful = false;
    if (!twin || twin->dead)
        return NULL;
    unlist(twin); /* nobody but b finds it */
    return twin->rel == b->rel ? twin : NULL;
}

/*
 * The block for pc in the current mode, in the page where pc is; NULL: none, or a fault is set. Of two, the first in the
 * chain, as in make_find(): or the jump cache would name now this one and now that, and links be made anew each time.
 */
static Block *find(TcgCpu *t, CodePage *p, uint64_t pc)
{
    uint64_t pa = p->ram_page * PAGE + (pc & (PAGE - 1));
    bool can_rel = target_can_be_rel(&t->s->env), global;

    for (Block *b = *bucket(p, pa); b; b = b->next) {
        if (b->pa != pa || b->mode != t->s->env.mode)
            continue;
        if (b->rel ? !can_rel : b->pc != pc)
            continue;
        if (b->crosses) {
            const CodePage *second = fetch_page(t, (pc & -(uint64_t)PAGE) + PAGE, &global);

            if (!second)
                return NULL;
            if (second->ram_page != b->pa2)
                continue;
        }
        return b;
    }
    return NULL;
}

Block *block_get(Env *e, uint64_t pc)
{
    TcgCpu *t = x86(e)->tcg;
    bool global;
    CodePage *p = fetch_page(t, pc, &global);
    Block *b = NULL;

    e->pc = pc;
    if (!p)
        return NULL;
    if (UNLIKELY(t->watch_size || (t->nbreaks && tcg_break_at(t, pc)))) {
        e->fault = (Fault){ t->watch_size ? FAULT_POLL : FAULT_DEBUG, 0, 0 };
        return NULL;
    }
    if (UNLIKELY(tcg_full(t))) {
        t->flush_code = true;
        e->fault = (Fault){ FAULT_EXIT, 0, 0 };
        return NULL;
    }
    if (p->host && !t->one_shot)
        b = find(t, p, pc);
    if (!b && !e->fault.kind)
        b = translate(t, p, pc);
    if (b && !b->dead)
        tcg_jc_put(t, pc, b, global);
    return b;
}
