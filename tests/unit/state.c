/* tests/unit/state.c - records of every kind, transactional loads, the whole machine. */
#include "tests/lib/t.h"

typedef struct Item {
    uint16_t a;
    uint8_t b[3];
} Item;
typedef struct Keeper {
    Dev dev;
    bool flag;
    int32_t s;
    uint64_t v[3];
    Item item[2];
    uint8_t *buf;
    uint32_t buf_len;
    Timer t[2];
    GQueue *queue; /* of small numbers */
    uint8_t later;
} Keeper;
#define K(d) ((Keeper *)(d))
static void fire(Dev *d, unsigned n) { K(d)->v[n]++; }
static void save_queue(const Dev *d, StateOut *o)
{
    for (GList *l = K(d)->queue ? K(d)->queue->head : NULL; l; l = l->next)
        put_u16(o, (uint16_t)GPOINTER_TO_UINT(l->data));
}
static bool load_queue(Dev *d, StateIn *i, Error **err)
{
    while (i->at < i->n && !i->bad) {
        if (!K(d)->queue)
            K(d)->queue = g_queue_new();
        g_queue_push_tail(K(d)->queue, GUINT_TO_POINTER(get_u16(i)));
    }
    return true;
}
static void drop_queue(Dev *d) { g_clear_pointer(&K(d)->queue, g_queue_free); }
static bool sane(const Dev *d, Error **err) { return K(d)->s < 1000 || fail(err, "s is %d", K(d)->s); }

/* clang-format off */
static const Field item_rows[] = { FIELD(Item, a, .reset = 9), BYTES(Item, b) };
static const FieldTable item_table = TABLE(item_rows);
static const Field rows[] = {
    FIELD(Keeper, flag), FIELD(Keeper, s, .reset = 5), ARRAY_FIELD(Keeper, v), STRUCTS(Keeper, item, &item_table),
    BUF(Keeper, buf, buf_len, 100), TIMERS(Keeper, t, fire, CLOCK_VM),
    CUSTOM(Keeper, queue, save_queue, load_queue, .drop = drop_queue), FIELD(Keeper, later, .since = 1, .def = 7, .reset = 7),
};
static const DevClass keeper = { .obj = { .name = "keeper", .size = sizeof(Keeper) }, .state = TABLE(rows), .check = sane };
DEVICE(Keeper, keeper);
/* clang-format on */

static void fill(Dev *d)
{
    Keeper *k = K(d);

    k->flag = true;
    k->s = -77;
    k->v[2] = 1ull << 63;
    k->item[1].a = 0xbeef;
    k->item[1].b[2] = 3;
    k->buf = g_memdup2("hello", 5);
    k->buf_len = 5;
    timer_at(&k->t[1], 10 * MS);
    k->queue = g_queue_new();
    g_queue_push_tail(k->queue, GUINT_TO_POINTER(1));
    g_queue_push_tail(k->queue, GUINT_TO_POINTER(2));
}

static void round_trip(Vm *vm)
{
    Dev *a = t_plug(vm, "keeper"), *b = t_plug(vm, "keeper");
    GByteArray *s;

    check(K(b)->s == 5 && K(b)->item[1].a == 9 && K(b)->later == 7);
    fill(a);
    s = dev_save(a);
    check(dev_load(b, s->data, s->len, &abort_on_error));
    check(dev_load(b, s->data, s->len, &abort_on_error)); /* over what it had */
    g_byte_array_unref(s);
    check(K(b)->flag && K(b)->s == -77 && K(b)->v[2] == 1ull << 63 && K(b)->item[1].a == 0xbeef && K(b)->item[1].b[2] == 3);
    check(K(b)->buf_len == 5 && !memcmp(K(b)->buf, "hello", 5) && K(b)->queue->length == 2);
    check(timer_pending(&K(b)->t[1]) && !timer_pending(&K(b)->t[0]));
    t_step(vm, 20 * MS);
    check(K(b)->v[1] == 1 && K(b)->v[0] == 0);
    dev_reset(b);
    check(!K(b)->buf && !K(b)->queue && K(b)->s == 5);
}
TEST("state/round-trip", round_trip);

static void refused(Vm *vm)
{
    Dev *a = t_plug(vm, "keeper"), *b = t_plug(vm, "keeper");
    GByteArray *s, *before = dev_save(b), *after;
    Error *err = NULL;

    fill(a);
    K(a)->s = 5000; /* check() says no */
    s = dev_save(a);
    check(!dev_load(b, s->data, s->len, &err));
    check(strstr(error_text(err), "s is 5000"));
    error_free(err);
    for (guint cut = 0; cut < s->len; cut++)
        check(!dev_load(b, s->data, cut, NULL));
    after = dev_save(b);
    check(before->len == after->len && !memcmp(before->data, after->data, after->len));
    g_byte_array_unref(s);
    g_byte_array_unref(before);
    g_byte_array_unref(after);
}
TEST("state/refused", refused);

static void machine(Vm *vm)
{
    Vm *other = t_vm();
    Dev *a = t_plug(vm, "keeper"), *b = t_plug(other, "keeper");
    GByteArray *s = g_byte_array_new();
    GString *x = g_string_new(NULL), *y = g_string_new(NULL);

    fill(a);
    t_step(vm, 3 * MS);
    check(vm_save_state(vm, s, &abort_on_error));
    for (guint cut = 0; cut < s->len; cut += 7)
        check(!vm_load_state(other, s->data, cut, NULL));
    check_eq(vm_now(other), 0);
    check(vm_load_state(other, s->data, s->len, &abort_on_error));
    check_eq(vm_now(other), 3 * MS);
    check_eq(K(b)->s, (uint64_t)-77);
    vm_dump_state(vm, x);
    vm_dump_state(other, y);
    check_str(x->str, y->str);
    vm_free(other);
    t_plug(vm, "keeper");
    check(!vm_load_state(vm, s->data, s->len, NULL)); /* a device more: its state is missing */
    g_byte_array_unref(s);
    g_string_free(x, TRUE);
    g_string_free(y, TRUE);
}
TEST("state/machine", machine);
