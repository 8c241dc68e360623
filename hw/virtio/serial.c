/*
 * hw/virtio/serial.c - virtio-serial-pci with its ports: virtconsole and virtserialport. Source: virtio 1.2 section 5.3.
 * Left out: the size of a console's window.
 * Invariants: what the guest sent is pushed back when the chardev took all of it; a chain that it took in part is the port's
 * (`sending`) until then. Control messages wait in a bounded buffer until the driver gives buffers for them.
 */
#include "chr/chr.h"
#include "core/api/balloon.h"
#include "hw/virtio/virtio.h"

enum { F_MULTIPORT = 1 << 1, F_EMERG_WRITE = 1 << 2, PORTS = 31, QUEUE = 128, CONTROL_MAX = 16384, MESSAGE = 8, PIECE = 4096, NAME_MAX_LEN = 255 };
enum { DEVICE_READY, PORT_ADD, PORT_REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME };
enum { CONTROL_IN = 2, CONTROL_OUT = 3, CONFIG_SIZE = 12, EMERG_AT = 8 };

typedef struct Port Port;
typedef struct SerialBus {
    Bus bus; /* "virtio-serial0.0", type "virtio-serial-bus" */
    Port *port[PORTS];
} SerialBus;
typedef struct VirtioSerial {
    Virtio v;
    SerialBus *bus;
    uint8_t *control;     /* messages for the driver, each with its length in two bytes before it */
    uint32_t control_len;
    uint32_t max_ports;   /* property */
} VirtioSerial;
struct Port {
    Dev dev;
    uint32_t nr;
    char *name;
    void *chr;
    VirtioChain *sending; /* the chardev took `sent` bytes of it */
    uint32_t sent;
    guint ready;
    uint8_t guest_open, added /* the driver knows of it */;
    uint8_t pad[6];
};
#define S(d) ((VirtioSerial *)(void *)(d))
#define PORT(d) ((Port *)(void *)(d))

static bool is_console(const Port *p) { return !strcmp(p->dev.cls->obj.name, "virtconsole"); }
static VirtioSerial *device_of(const Port *p) { return p->dev.bus ? S(p->dev.bus->controller) : NULL; }
static unsigned rx_queue(const Port *p) { return p->nr ? 2 + 2 * p->nr : 0; }
static unsigned tx_queue(const Port *p) { return rx_queue(p) + 1; }
static bool multiport(const VirtioSerial *s) { return virtio_has(&s->v, F_MULTIPORT); }

static Port *port_of_queue(const VirtioSerial *s, unsigned queue)
{
    unsigned nr = queue < 2 ? 0 : queue / 2 - 1;

    return (queue < 2 || queue > CONTROL_OUT) && nr < PORTS ? s->bus->port[nr] : NULL;
}

/* ---- control messages ---- */
/* Bounded: what waits. */
static void flush_control(VirtioSerial *s)
{
    uint32_t at = 0;
    VirtioChain *c;

    while (at + 2 <= s->control_len) {
        uint32_t n = le16_load(s->control + at);

        if (n > s->control_len - at - 2 || !(c = virtio_pop(&s->v, CONTROL_IN)))
            break;
        virtio_push(&s->v, c, virtio_in(&s->v, c, 0, s->control + at + 2, n) ? n : 0);
        at += 2 + n;
    }
    s->control_len -= at;
    if (at && s->control_len)
        memmove(s->control, s->control + at, s->control_len);
}

static void tell(VirtioSerial *s, unsigned id, unsigned event, unsigned value, const char *text)
{
    uint32_t n = text ? (uint32_t)MIN(strlen(text), NAME_MAX_LEN) : 0;
    uint8_t *p;

    if (!multiport(s) || !virtio_live(&s->v) || s->control_len > CONTROL_MAX - 2 - MESSAGE - NAME_MAX_LEN)
        return;
    s->control = g_realloc(s->control, CONTROL_MAX);
    p = s->control + s->control_len;
    le16_store(p, (uint16_t)(MESSAGE + n));
    le32_store(p + 2, id);
    le16_store(p + 6, (uint16_t)event);
    le16_store(p + 8, (uint16_t)value);
    memcpy(p + 10, text ? text : "", n);
    s->control_len += 2 + MESSAGE + n;
    flush_control(s);
}

static void guest_opened(Port *p, bool open)
{
    if (p->guest_open == open)
        return;
    p->guest_open = open;
    if (p->dev.id)
        event_vserport_change(dev_vm(&p->dev), &(EventVserportChange){ .id = p->dev.id, .open = open });
    if (open && p->chr)
        chr_accept_input(p->chr);
}

static void port_ready(VirtioSerial *s, Port *p)
{
    if (is_console(p))
        tell(s, p->nr, CONSOLE_PORT, 1, NULL);
    if (p->name && *p->name)
        tell(s, p->nr, PORT_NAME, 1, p->name);
    if (p->chr && chr_is_open(p->chr))
        tell(s, p->nr, PORT_OPEN, 1, NULL);
}

static void add_port(VirtioSerial *s, Port *p)
{
    p->added = 1;
    tell(s, p->nr, PORT_ADD, 1, NULL);
}

static void message(VirtioSerial *s, uint32_t id, unsigned event, unsigned value)
{
    Port *p = id < PORTS ? s->bus->port[id] : NULL;

    if (event == DEVICE_READY) {
        for (unsigned i = 0; i < PORTS && value; i++)
            if (s->bus->port[i])
                add_port(s, s->bus->port[i]);
    } else if (!p) {
        guest_error(&s->v.pci.dev, "a message for port %u, which is not there", id);
    } else if (event == PORT_READY && value) {
        port_ready(s, p);
    } else if (event == PORT_OPEN) {
        guest_opened(p, value);
    }
}

static void control_out(VirtioSerial *s)
{
    VirtioChain *c;

    for (unsigned i = 0; (c = virtio_take(&s->v, CONTROL_OUT, QUEUE, &i));) {
        uint8_t b[MESSAGE];

        if (virtio_out(&s->v, c, 0, b, sizeof(b)))
            message(s, le32_load(b), le16_load(b + 4), le16_load(b + 6));
        virtio_push(&s->v, c, 0);
    }
}

/* ---- data ---- */
static void send(VirtioSerial *s, Port *p);

static void can_write(void *arg)
{
    Port *p = arg;
    VirtioSerial *s = device_of(p);

    p->ready = 0;
    if (s)
        WITH_DEV(&s->v.pci.dev)
            send(s, p);
}

/* Moves `sending` on; true: the chardev has all of it. */
static bool send_chain(VirtioSerial *s, Port *p)
{
    while (p->sent < p->sending->out_len) { /* each round moves at least a byte */
        uint8_t b[PIECE];
        size_t n = (size_t)MIN(p->sending->out_len - p->sent, sizeof(b)), took;

        if (!virtio_out(&s->v, p->sending, p->sent, b, n) || !p->chr)
            return true; /* its memory is not there: nothing is sent */
        took = chr_write(p->chr, b, n);
        p->sent += (uint32_t)took;
        if (took < n) {
            if (!p->ready)
                p->ready = chr_want_write(p->chr, can_write, p);
            return false;
        }
    }
    return true;
}

static void send(VirtioSerial *s, Port *p)
{
    for (unsigned i = 0; i <= QUEUE; i++) {
        if (!p->sending) {
            p->sending = virtio_pop(&s->v, tx_queue(p));
            p->sent = 0;
        }
        if (!p->sending || !send_chain(s, p))
            return;
        virtio_push(&s->v, g_steal_pointer(&p->sending), 0);
    }
    virtio_more(&s->v, tx_queue(p));
}

/* As much as the driver's next buffer holds. */
static size_t can_take(void *o)
{
    Port *p = o;
    VirtioSerial *s = device_of(p);
    VirtioChain *c;
    size_t n;

    if (!s || (!p->guest_open && multiport(s)) || vm_awaits_state(dev_vm(&p->dev)))
        return 0;
    c = virtio_pop(&s->v, rx_queue(p));
    if (!c)
        return 0;
    n = (size_t)MIN(c->in_len, PIECE);
    virtio_unpop(&s->v, c);
    return n;
}

static void take(void *o, const uint8_t *b, size_t n)
{
    Port *p = o;
    VirtioSerial *s = device_of(p);

    WITH_DEV(&s->v.pci.dev) {
        VirtioChain *c = virtio_pop(&s->v, rx_queue(p));

        if (c)
            virtio_push(&s->v, c, virtio_in(&s->v, c, 0, b, n) ? (uint32_t)n : 0);
    }
}

static void chr_event(void *o, ChrEvent e)
{
    Port *p = o;
    VirtioSerial *s = device_of(p);

    if (!s || (e != CHR_OPENED && e != CHR_CLOSED) || !p->added)
        return;
    WITH_DEV(&s->v.pci.dev)
        tell(s, p->nr, PORT_OPEN, e == CHR_OPENED, NULL);
}

static void notified(Virtio *v, unsigned queue)
{
    VirtioSerial *s = S(v);
    Port *p = port_of_queue(s, queue);

    if (queue == CONTROL_IN)
        flush_control(s);
    else if (queue == CONTROL_OUT)
        control_out(s);
    else if (p && queue & 1)
        send(s, p);
    else if (p && p->chr)
        chr_accept_input(p->chr);
}

/* ---- the device ---- */
static uint64_t features(const Virtio *v) { return F_MULTIPORT | F_EMERG_WRITE; }
static void config(const Virtio *v, uint8_t *out) { le32_store(out + 4, ((const VirtioSerial *)(const void *)v)->max_ports); }

static void config_w(Virtio *v, unsigned off, uint8_t val)
{
    const Port *p = S(v)->bus->port[0];

    if (off == EMERG_AT && p && p->chr) /* a character without any queue */
        chr_write_all(p->chr, &val, 1);
}

static void forget(Port *p)
{
    g_clear_pointer(&p->sending, g_free);
    p->sent = 0;
    p->added = 0;
    guest_opened(p, false);
}

static void reset(Virtio *v)
{
    S(v)->control_len = 0;
    for (unsigned i = 0; S(v)->bus && i < PORTS; i++)
        if (S(v)->bus->port[i])
            forget(S(v)->bus->port[i]);
}

/* ---- the bus ---- */
static bool bus_plug(Bus *bus, Dev *d, Error **err)
{
    SerialBus *b = (SerialBus *)(void *)bus;
    Port *p = PORT(d);
    VirtioSerial *s = S(bus->controller);

    for (uint32_t i = is_console(p) ? 0 : 1; p->nr == UINT32_MAX && i < s->max_ports; i++)
        if (!b->port[i])
            p->nr = i;
    if (p->nr >= s->max_ports)
        return fail(err, "%s: no port is free (nr= is 0 to %u)", d->cls->obj.name, s->max_ports - 1);
    if (b->port[p->nr])
        return fail(err, "%s: port %u is taken", d->cls->obj.name, p->nr);
    if (!p->nr && !is_console(p))
        return fail(err, "virtserialport: port 0 is for a console");
    b->port[p->nr] = p;
    WITH_DEV(&s->v.pci.dev)
        add_port(s, p);
    return true;
}

static void bus_unplug(Bus *bus, Dev *d)
{
    SerialBus *b = (SerialBus *)(void *)bus;
    Port *p = PORT(d);

    if (p->nr >= PORTS || b->port[p->nr] != p)
        return;
    b->port[p->nr] = NULL;
    WITH_DEV(bus->controller)
        tell(S(bus->controller), p->nr, PORT_REMOVE, 1, NULL);
}

static char *bus_address(const Bus *b, const Dev *d) { return g_strdup_printf("%u", ((const Port *)(const void *)d)->nr); }
static const BusClass bus_class = { .obj = { .name = "virtio-serial-bus", .desc = "ports of a virtio serial device", .size = sizeof(SerialBus) },
                                    .type = "virtio-serial-bus", .plug = bus_plug, .unplug = bus_unplug, .address = bus_address, .hotplug = true };

static bool init(Obj *o, Error **err)
{
    VirtioSerial *s = S(o);
    g_autofree char *name = s->v.pci.dev.id ? g_strdup_printf("%s.0", s->v.pci.dev.id) : g_strdup("virtio-serial-bus.0");

    if (s->max_ports < 1 || s->max_ports > PORTS)
        return fail(err, "virtio-serial-pci: max_ports=%u is not between 1 and %u", s->max_ports, PORTS);
    virtio_set_queues(&s->v, 2 * (s->max_ports + 1));
    s->bus = (SerialBus *)(void *)bus_new(&bus_class, &s->v.pci.dev, name);
    return true;
}

/* ---- ports ---- */
static bool port_init(Obj *o, Error **err)
{
    Port *p = PORT(o);

    return !p->chr || chr_attach(p->chr, &(ChrUser){ can_take, take, chr_event, p, &p->chr }, err);
}

static void port_fini(Obj *o)
{
    Port *p = PORT(o);

    g_free(p->sending);
    if (p->chr && p->ready)
        chr_cancel_write(p->chr, p->ready);
    if (p->chr)
        chr_detach(p->chr, p);
}

static void save_chain(const Dev *d, StateOut *o)
{
    if (((const Port *)(const void *)d)->sending)
        virtio_chain_put(o, ((const Port *)(const void *)d)->sending);
}

static bool load_chain(Dev *d, StateIn *i, Error **err)
{
    Port *p = PORT(d);

    if (i->at == i->n)
        return true;
    p->sending = virtio_chain_get(&device_of(p)->v, i);
    return p->sending || fail(err, "a buffer in flight cannot be so");
}

static void drop_chain(Dev *d) { g_clear_pointer(&PORT(d)->sending, g_free); }

static void port_loaded(Dev *d)
{
    Port *p = PORT(d);

    if (p->sending && p->chr && !p->ready)
        p->ready = chr_want_write(p->chr, can_write, p);
}

static bool port_check(const Dev *d, Error **err)
{
    const Port *p = (const Port *)(const void *)d;

    return (p->guest_open <= 1 && p->added <= 1 && (!p->sending || p->sent <= p->sending->out_len)) || fail(err, "a port cannot be in that state");
}

/* clang-format off */
static const Prop props[] = { PROP(VirtioSerial, max_ports, "max_ports", PORTS, "ports that it can have") };
static const Field fields[] = { BUF(VirtioSerial, control, control_len, CONTROL_MAX), TRANSIENT(VirtioSerial, bus, "wiring", .keep = true) };
#define ROWS(nm, fm) {                                                                                                    \
    VIRTIO_DEVICE(VirtioSerial, nm, "virtio serial ports", 3), .legacy_id = 0x1003, .form = (fm), .pci.class_id = 0x078000, \
    .pci.dev.category = "Input devices", .pci.dev.obj.props = TABLE(props), .pci.dev.obj.init = init,                       \
    .pci.dev.state = TABLE(fields), .pci.dev.hotplug = true,                                                                \
    .queues = 4, .queue_size = QUEUE, .features = features, .config_size = CONFIG_SIZE, .config = config,                   \
    .config_w = config_w, .notified = notified, .reset = reset,                                                             \
}
VIRTIO_FORMS(VirtioSerial, virtio_serial, "virtio-serial-pci", ROWS);

static const Prop port_props[] = {
    PROP(Port, nr, "nr", UINT32_MAX, "number; the first that is free when not given"), PROP_STR(Port, name, "name", NULL, "what the guest finds it by"),
    PROP_LINK(Port, chr, "chardev", "chardev", "the other end"),
};
static const Field port_fields[] = {
    CUSTOM(Port, sending, save_chain, load_chain, .drop = drop_chain), FIELD(Port, sent), FIELD(Port, guest_open), FIELD(Port, added, .keep = true),
    TRANSIENT(Port, ready, "a wait of the host's", .keep = true), TRANSIENT(Port, pad, "padding"),
};
#define PORT_CLASS(c, nm, dsc)                                                                                            \
    static const DevClass c = {                                                                                            \
        .obj = { .name = (nm), .desc = (dsc), .size = sizeof(Port), .props = TABLE(port_props), .init = port_init, .fini = port_fini }, \
        .bus = "virtio-serial-bus", .category = "Input devices", .state = TABLE(port_fields), .loaded = port_loaded, .check = port_check, \
        .hotplug = true,                                                                                                   \
    };                                                                                                                    \
    DEVICE(Port, c)
PORT_CLASS(console, "virtconsole", "console on virtio");
PORT_CLASS(serialport, "virtserialport", "named port on virtio");
/* clang-format on */
