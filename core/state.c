/*
 * core/state.c - the state of a whole machine without RAM: `MENURA` version, then sections `key length bytes`.
 *   config      machine type, CPU count, RAM size: what must match
 *   clock       virtual time
 *   cpu:N       registers by name, mp_state, pending requests
 *   <device>    core/devstate.c, by stable key
 *   others      vm_add_section
 * Invariant: nothing of the VM changes before every section was parsed and checked.
 */
#include "core/machine.h"
#include "core/priv.h"
#include "core/state.h"

#define MAGIC "MENURAST"
enum { VERSION = 1 };

static guint open_section(StateOut *o, const char *key)
{
    put_str(o, key);
    put_u32(o, 0);
    return o->b->len;
}

static void close_section(StateOut *o, guint start) { le32_store(o->b->data + start - 4, o->b->len - start); }

char *dev_state_key(const Dev *d)
{
    for (const DevClass *c = d->cls; c; c = c->base)
        if (c->state_key) {
            char *k = c->state_key(d);

            if (k)
                return k;
        }
    return obj_path(&d->obj);
}

/* ---- CPUs ---- */
static unsigned reg_bytes(const CpuReg *r)
{
    unsigned n = 1;

    while (n * 8u < r->bits)
        n *= 2;
    return n;
}

static void save_cpu(Cpu *c, StateOut *o)
{
    put_u8(o, c->mp_state);
    put_u8(o, c->sipi_vector);
    put_u8(o, c->attrs.secure);
    put_u32(o, cpu_requests(c) & (CPU_REQ_NMI | CPU_REQ_SMI | CPU_REQ_INIT | CPU_REQ_SIPI | CPU_REQ_IRQ));
    for (size_t i = 0; i < c->target->nregs; i++) {
        const CpuReg *r = &c->target->regs[i];

        put_str(o, r->name);
        put_u16(o, r->bits);
        put_bytes(o, (char *)c->regs + r->at, reg_bytes(r));
    }
}

typedef struct CpuShadow {
    Cpu *c;
    void *regs;
    uint8_t mp, sipi, secure;
    uint32_t request;
} CpuShadow;

static bool load_cpu_regs(CpuShadow *s, StateIn *in, Error **err)
{
    const Target *t = s->c->target;
    size_t next = 0;

    while (in->at < in->n && !in->bad) {
        g_autofree char *name = get_str(in);
        uint16_t bits = get_u16(in);
        const CpuReg *r = NULL;

        if (!name)
            break;
        for (size_t i = 0; i < t->nregs && !r; i++) /* in table order, so the first try hits */
            if (!strcmp(t->regs[(next + i) % t->nregs].name, name)) {
                r = &t->regs[(next + i) % t->nregs];
                next = (next + i + 1) % t->nregs;
            }
        if (!r || r->bits != bits)
            return fail(err, "register '%s' of %u bits is unknown here", name, bits);
        get_bytes(in, (char *)s->regs + r->at, reg_bytes(r));
    }
    return !in->bad || fail(err, "registers are cut off");
}

static CpuShadow *load_cpu(Cpu *c, StateIn *in, Error **err)
{
    CpuShadow *s = g_new0(CpuShadow, 1);
    Error *why = NULL;
    bool ok;

    s->c = c;
    s->regs = g_memdup2(c->regs, c->target->regs_size);
    s->mp = get_u8(in);
    s->sipi = get_u8(in);
    s->secure = get_u8(in);
    s->request = get_u32(in);
    ok = s->mp <= CPU_SHUTDOWN && s->secure <= 1 ? load_cpu_regs(s, in, &why) : fail(&why, "an impossible state");
    ok = ok && (!c->target->check || c->target->check(c, s->regs, &why));
    ok = ok && (!c->accel->can_hold || c->accel->can_hold(c->vm, s->regs, &why));
    ok = ok && (!c->accel->can_hold || c->accel->can_hold(c->vm, s->regs, &why));
    if (ok)
        return s;
    g_free(s->regs);
    g_free(s);
    fail_because(err, why, "cpu %u", c->index);
    return NULL;
}

static void commit_cpu(CpuShadow *s)
{
    Cpu *c = s->c;

    memcpy(c->regs, s->regs, c->target->regs_size);
    c->sipi_vector = s->sipi;
    c->attrs.secure = s->secure;
    __atomic_store_n(&c->mp_state, s->mp, __ATOMIC_RELEASE);
    cpu_request_clear(c, ~(uint32_t)CPU_REQ_KEPT);
    __atomic_fetch_or(&c->request, s->request | CPU_REQ_TLB, __ATOMIC_RELEASE);
    if (c->accel->cpu_reset)
        c->accel->cpu_reset(c);
    cpu_touch(c);
}

static void cpu_shadow_free(gpointer p)
{
    CpuShadow *s = p;

    g_free(s->regs);
    g_free(s);
}

/* ---- saving ---- */
static void save_dev(Dev *d, void *arg)
{
    StateOut *o = arg;
    g_autofree char *key = dev_state_key(d);
    GByteArray *b = dev_save(d);
    guint start = open_section(o, key);

    put_bytes(o, b->data, b->len);
    close_section(o, start);
    g_byte_array_unref(b);
}

static void save_config(Vm *vm, StateOut *o)
{
    guint start = open_section(o, "config");

    put_str(o, vm->mc ? vm->mc->name : "");
    put_u32(o, vm->ncpus);
    put_u64(o, vm->cfg.ram_size);
    close_section(o, start);
}

bool vm_save_state(Vm *vm, GByteArray *out, Error **err)
{
    StateOut o = { out };
    Error *why = NULL;
    guint start;

    if (vm->irq && vm->irq->chip_pull)
        vm->irq->chip_pull(vm);
    put_bytes(&o, MAGIC, 8);
    put_u16(&o, VERSION);
    save_config(vm, &o);
    start = open_section(&o, "clock");
    put_u64(&o, (uint64_t)core__clock_get(vm));
    close_section(&o, start);
    for (unsigned i = 0; i < vm->ncpus; i++) {
        g_autofree char *key = g_strdup_printf("cpu:%u", i);

        if (!cpu_pull(vm->cpus[i], RG_ALL, &why))
            return fail_because(err, why, "the registers of CPU %u cannot be read", i);
        start = open_section(&o, key);
        save_cpu(vm->cpus[i], &o);
        close_section(&o, start);
    }
    vm_foreach_dev(vm, save_dev, &o);
    for (guint i = 0; i < vm->priv->sections->len; i++) {
        const StateSection *s = g_array_index(vm->priv->sections, const StateSection *, i);

        if (s->wanted && !s->wanted(vm))
            continue;
        start = open_section(&o, s->key);
        s->save(vm, &o);
        close_section(&o, start);
    }
    return true;
}

void vm_add_section(Vm *vm, const StateSection *s) { g_array_append_val(vm->priv->sections, s); }

/* ---- loading ---- */
typedef StateLoad Load;
struct StateLoad {
    Vm *vm;
    GHashTable *devs; /* key -> Dev */
    GHashTable *seen;
    GPtrArray *shadows, *cpus;
    GPtrArray *sections; /* pairs: StateSection *, StateIn * */
    int64_t now;
};

static void add_key(Dev *d, void *arg)
{
    Load *l = arg;

    g_hash_table_insert(l->devs, dev_state_key(d), d);
}

static bool load_config(Load *l, StateIn *in, Error **err)
{
    g_autofree char *machine = get_str(in);
    uint32_t cpus = get_u32(in);
    uint64_t ram = get_u64(in);
    const char *mine = l->vm->mc ? l->vm->mc->name : "";

    if (in->bad)
        return fail(err, "the configuration is cut off");
    if (strcmp(machine, mine))
        return fail(err, "the state is of a machine '%s', this one is '%s'", machine, mine);
    if (cpus != l->vm->ncpus)
        return fail(err, "the state is of %u CPUs, this machine has %u", cpus, l->vm->ncpus);
    if (ram != l->vm->cfg.ram_size)
        return fail(err, "the state is of %" PRIu64 " bytes of RAM, this machine has %" PRIu64, ram, l->vm->cfg.ram_size);
    return true;
}

static bool load_cpu_section(Load *l, const char *key, StateIn *in, Error **err)
{
    uint64_t n;
    CpuShadow *s;

    if (!parse_u64(key + 4, &n, NULL) || n >= l->vm->ncpus)
        return fail(err, "there is no %s here", key);
    s = load_cpu(l->vm->cpus[n], in, err);
    if (s)
        g_ptr_array_add(l->cpus, s);
    return s;
}

static bool load_section(Load *l, const char *key, StateIn in, Error **err)
{
    Dev *d = g_hash_table_lookup(l->devs, key);

    if (!g_hash_table_add(l->seen, g_strdup(key)))
        return fail(err, "section '%s' comes twice", key);
    if (!strcmp(key, "config"))
        return load_config(l, &in, err);
    if (!strcmp(key, "clock")) {
        l->now = (int64_t)get_u64(&in);
        return (!in.bad && l->now >= 0) || fail(err, "an impossible time");
    }
    if (g_str_has_prefix(key, "cpu:"))
        return load_cpu_section(l, key, &in, err);
    if (d) {
        Shadow *s = core__shadow_new(d, in.p, in.n, err);

        if (s)
            g_ptr_array_add(l->shadows, s);
        return s;
    }
    for (guint i = 0; i < l->vm->priv->sections->len; i++) {
        const StateSection *s = g_array_index(l->vm->priv->sections, const StateSection *, i);
        StateIn probe = in;

        if (strcmp(s->key, key))
            continue;
        if (!s->load(l->vm, &probe, false, err))
            return false;
        g_ptr_array_add(l->sections, (gpointer)s);
        g_ptr_array_add(l->sections, g_memdup2(&in, sizeof(in)));
        return true;
    }
    return fail(err, "the state has '%s', this machine does not", key);
}

static bool load_all(Load *l, StateIn *in, Error **err)
{
    char magic[8];
    GHashTableIter it;
    gpointer key;

    get_bytes(in, magic, 8);
    if (memcmp(magic, MAGIC, 8))
        return fail(err, "this is not a state of a machine");
    if (get_u16(in) != VERSION)
        return fail(err, "the state is of another version");
    while (in->at < in->n) {
        g_autofree char *name = get_str(in);
        uint32_t n = get_u32(in);

        if (in->bad || !in_range(in->at, n, in->n))
            return fail(err, "the state is cut off");
        if (!load_section(l, name, (StateIn){ .p = in->p + in->at, .n = n }, err))
            return false;
        in->at += n;
    }
    if (!g_hash_table_contains(l->seen, "config") || !g_hash_table_contains(l->seen, "clock") ||
        l->cpus->len != l->vm->ncpus)
        return fail(err, "the state is not complete");
    g_hash_table_iter_init(&it, l->devs);
    while (g_hash_table_iter_next(&it, &key, NULL))
        if (!g_hash_table_contains(l->seen, key))
            return fail(err, "the state lacks '%s'", (char *)key);
    return true;
}

void vm_load_commit(StateLoad *l)
{
    Vm *vm = l->vm;

    mem_begin(vm);
    core__clock_set(vm, l->now);
    for (guint i = 0; i < l->cpus->len; i++)
        commit_cpu(l->cpus->pdata[i]);
    for (guint i = 0; i < l->shadows->len; i++)
        core__shadow_commit(l->shadows->pdata[i]);
    for (guint i = 0; i < l->shadows->len; i++)
        core__dev_loaded(core__shadow_dev(l->shadows->pdata[i]));
    for (guint i = 0; i < l->shadows->len; i++)
        core__shadow_propagate(l->shadows->pdata[i]);
    for (guint i = 0; i < l->sections->len; i += 2)
        ((const StateSection *)l->sections->pdata[i])->load(vm, l->sections->pdata[i + 1], true, NULL);
    mem_commit(vm);
    if (vm->irq && vm->irq->chip_push)
        vm->irq->chip_push(vm);
    for (guint i = 0; i < vm->priv->listeners->len; i++) {
        const VmListener *v = vm->priv->listeners->pdata[i];

        if (v->loaded)
            v->loaded(v->self);
    }
}

static void shadow_free(gpointer p) { core__shadow_free(p); }

StateLoad *vm_load_check(Vm *vm, const uint8_t *p, size_t n, Error **err)
{
    StateLoad *l = g_new(StateLoad, 1);
    StateIn in = { .p = p, .n = n };

    *l = (StateLoad){ vm, g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
                      g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL), g_ptr_array_new_with_free_func(shadow_free),
                      g_ptr_array_new_with_free_func(cpu_shadow_free), g_ptr_array_new(), 0 };
    vm_foreach_dev(vm, add_key, l);
    if (load_all(l, &in, err))
        return l;
    vm_load_free(l);
    return NULL;
}

void vm_load_free(StateLoad *l)
{
    g_ptr_array_free(l->shadows, TRUE);
    g_ptr_array_free(l->cpus, TRUE);
    for (guint i = 1; i < l->sections->len; i += 2)
        g_free(l->sections->pdata[i]);
    g_ptr_array_free(l->sections, TRUE);
    g_hash_table_destroy(l->devs);
    g_hash_table_destroy(l->seen);
    g_free(l);
}

bool vm_load_state(Vm *vm, const uint8_t *p, size_t n, Error **err)
{
    StateLoad *l = vm_load_check(vm, p, n, err);

    if (!l)
        return false;
    vm_load_commit(l);
    vm_load_free(l);
    return true;
}

/* ---- dump: the same records as text ---- */
static void dump_bytes(GString *out, const StateIn *in)
{
    for (size_t i = 0; i < in->n; i++)
        g_string_append_printf(out, "%02x", in->p[i]);
    g_string_append_c(out, '\n');
}

static void dump_dev(Dev *d, void *arg)
{
    GString *out = arg;
    g_autofree char *key = dev_state_key(d);
    GByteArray *b = dev_save(d);
    StateIn in = { .p = b->data, .n = b->len };

    while (in.at < in.n) {
        g_autofree char *name = get_str(&in);
        StateIn rec;

        get_u8(&in);
        rec = (StateIn){ .n = get_u32(&in) };
        rec.p = in.p + in.at;
        in.at += rec.n;
        g_string_append_printf(out, "%s %s=", key, name);
        dump_bytes(out, &rec);
    }
    g_byte_array_unref(b);
}

void vm_dump_state(Vm *vm, GString *out)
{
    g_string_append_printf(out, "clock now=%" PRId64 "\n", core__clock_get(vm));
    for (unsigned i = 0; i < vm->ncpus; i++) {
        Cpu *c = vm->cpus[i];

        cpu_sync(c, RG_ALL);
        g_string_append_printf(out, "cpu:%u mp_state=%u\n", i, c->mp_state);
        for (size_t k = 0; k < c->target->nregs; k++) {
            StateIn rec = { .p = (uint8_t *)c->regs + c->target->regs[k].at, .n = reg_bytes(&c->target->regs[k]) };

            g_string_append_printf(out, "cpu:%u %s=", i, c->target->regs[k].name);
            dump_bytes(out, &rec);
        }
    }
    vm_foreach_dev(vm, dump_dev, out);
}
