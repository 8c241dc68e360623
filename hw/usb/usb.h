/*
 * hw/usb/usb.h - USB: devices on the ports of a bus, and what a host controller asks of them. Source: USB 2.0 chapters 8 to 11,
 * USB 3.1 chapter 9. VM lock throughout.
 *
 * A device class is tables: identity, interfaces with their endpoints, requests. From them come the descriptors of every
 * speed, the standard requests, `info usb`.
 *
 * A controller brings a transfer (UsbXfer: an endpoint, and memory of the guest) by usb_transfer, which answers at once. A device
 * that has nothing yet, or cannot take any, moves nothing and answers USB_NAK: the transfer stays with the controller,
 * which brings it again (`again` set) after the device has said usb_ready. So a device never holds memory of a guest,
 * what is in flight is in the guest's own rings, and a controller cancels by forgetting (usb_cancel tells devices that care).
 */
#ifndef HW_USB_USB_H
#define HW_USB_USB_H
#include "core/dev.h"
#include "core/vm.h"

typedef enum UsbSpeed { USB_LOW, USB_FULL, USB_HIGH, USB_SUPER, USB_SPEEDS } UsbSpeed;
enum { AT_LOW = 1 << USB_LOW, AT_FULL = 1 << USB_FULL, AT_HIGH = 1 << USB_HIGH, AT_SUPER = 1 << USB_SUPER };
typedef enum UsbType { USB_CONTROL, USB_ISOCH, USB_BULK, USB_INTERRUPT } UsbType; /* as bmAttributes has them */
typedef enum UsbStatus { USB_OK, USB_NAK, USB_STALL, USB_BABBLE, USB_GONE /* nobody answers */ } UsbStatus;
enum { USB_IN = 0x80, USB_IFACES = 4, USB_PATH = 24, USB_DEPTH = 5 /* hubs below each other */, USB_HUB_PORTS = 8 };

typedef struct UsbDev UsbDev;
typedef struct UsbPort UsbPort;
typedef struct UsbBus UsbBus;

typedef struct UsbSeg {
    uint64_t at;
    uint32_t len;
} UsbSeg;
typedef struct UsbXfer {
    Dev *hc;           /* whose DMA it is */
    const UsbSeg *seg; /* `len` bytes in all */
    unsigned nseg;
    uint8_t *buf;      /* instead of them: memory of ours */
    uint64_t len, done; /* done: moved by the device */
    uint8_t ep;         /* number, USB_IN; 0: control */
    bool again;         /* it was answered USB_NAK before */
    bool fault;         /* some of the memory cannot be reached */
    uint8_t setup[8];   /* control */
} UsbXfer;
/* Move up to n bytes behind those that are done; how many fitted. */
uint64_t usb_put(UsbXfer *x, const void *buf, uint64_t n);
uint64_t usb_get(UsbXfer *x, void *buf, uint64_t n);

typedef struct UsbRequest { /* a SETUP packet, USB 2.0 section 9.3 */
    uint16_t op;            /* bmRequestType << 8 | bRequest */
    uint16_t value, index, length;
} UsbRequest;
typedef struct UsbOp {
    uint16_t op;
    const char *name;
    UsbStatus (*fn)(UsbDev *d, UsbXfer *x, const UsbRequest *q);
} UsbOp;
/* Data of a control transfer to the host: at most wLength. */
UsbStatus usb_answer(UsbXfer *x, const UsbRequest *q, const void *buf, size_t n);

typedef struct UsbEp {
    uint8_t addr, type;
    uint16_t packet[USB_SPEEDS];
    uint8_t ms;    /* service interval of an interrupt endpoint */
    uint8_t burst; /* packets - 1, at SuperSpeed */
} UsbEp;
typedef struct UsbIface {
    uint8_t number, alt, class_id, subclass, protocol;
    const uint8_t *extra; /* class descriptors, behind the interface's */
    uint8_t extra_len;
    const UsbEp *ep;
    uint8_t neps;
} UsbIface;
typedef struct UsbClass {
    DevClass dev; /* first */
    uint16_t vendor, product, release;
    const char *maker, *name, *shown; /* shown: to the guest, unless it is the name */
    uint8_t class_id, subclass, protocol[USB_SPEEDS];
    uint8_t speeds;     /* AT_ bits */
    uint8_t attributes; /* of the configuration: SELF_POWERED, REMOTE_WAKEUP */
    uint8_t packet0;    /* control packets at full speed; 0: 64 */
    uint16_t milliamps;
    const UsbIface *iface;
    uint8_t nifaces;
    const UsbOp *ops; /* requests of its class, and descriptors of interfaces */
    uint8_t nops;
    UsbStatus (*transfer)(UsbDev *d, UsbXfer *x);
    void (*configured)(UsbDev *d); /* the configuration came or went; a bus reset takes it away */
    void (*halt_cleared)(UsbDev *d, uint8_t ep);
    void (*cancel)(UsbDev *d, uint8_t ep); /* a transfer that it answered with USB_NAK will not come again */
} UsbClass;
enum { SELF_POWERED = 0x40, REMOTE_WAKEUP = 0x20 };
#define USB_IFACE_TABLE(a) .iface = (a), .nifaces = G_N_ELEMENTS(a)
#define USB_OPS(a) .ops = (a), .nops = G_N_ELEMENTS(a)

struct UsbDev {
    Dev dev; /* first */
    UsbPort *port;
    char *port_prop, *serial;
    uint8_t speeds, speed; /* that it can; that it has on this port */
    /* state */
    uint8_t addr, config, features /* as GET_STATUS returns them, bit 0 aside */;
    uint8_t alt[USB_IFACES];
    uint32_t halted; /* endpoints OUT 0..15, IN 16..31 */
    /* a control transfer that comes token by token */
    uint8_t setup[8], stage;
    bool asked;   /* it was answered USB_NAK */
    uint32_t pos; /* of the data */
    uint8_t *ctl;
    uint32_t ctl_len;
};
#define USB(d) ((UsbDev *)(void *)(d))
#define USB_DEVICE(T, n, d)                                                                        \
    .dev.obj.name = (n), .dev.obj.desc = (d), .dev.obj.size = sizeof(T), .dev.bus = "usb-bus", .dev.base = &usb_base, .dev.hotplug = true
static inline const UsbClass *usb_class(const UsbDev *d) { return (const UsbClass *)(const void *)d->dev.cls; }
extern const DevClass usb_base;

/* ---- devices ---- */
void usb_ready(UsbDev *d, uint8_t ep); /* bring what was answered USB_NAK again */
void usb_wakeup(UsbDev *d);            /* has something to say: resumes the bus if the host allowed it */
const char *usb_serial(UsbDev *d, char buf[16]); /* the property, or made of the port's path */

/* ---- controllers and hubs ---- */
typedef struct UsbPortOps {
    void (*attached)(Dev *owner, unsigned n, bool there); /* a device came or went */
    void (*wakeup)(Dev *owner, unsigned n);               /* resume, from below */
} UsbPortOps;
struct UsbPort {
    UsbBus *bus;
    const UsbPortOps *ops;
    Dev *owner;  /* controller or hub */
    Dev *routed; /* the companion controller that sees it now, or NULL */
    UsbDev *dev;
    unsigned n; /* the owner's number */
    uint8_t speeds, depth;
    bool live;           /* root ports of controllers that go by address: what is behind it hears its tokens */
    char path[USB_PATH]; /* "2.3" */
};
typedef struct UsbHost {
    void (*ready)(Dev *hc, UsbDev *d, uint8_t ep);
    void (*gone)(Dev *hc); /* some device left the bus; what was brought to it will not be answered */
    /* Of controllers that have companions for the lower speeds; NULL: none. Port i (from 0) may be routed to `other`, which knows
     * it as its port n. NULL: it cannot. */
    UsbPort *(*companion)(Dev *hc, unsigned i, Dev *other, const UsbPortOps *ops, unsigned n);
    void (*companion_gone)(Dev *hc, Dev *other);
} UsbHost;
struct UsbBus {
    Bus bus; /* first */
    const UsbHost *host;
    GPtrArray *ports; /* of UsbPort * */
};
UsbBus *usb_bus_new(Dev *hc, const UsbHost *host);
void usb_port_add(UsbBus *b, UsbPort *p, const UsbPortOps *ops, Dev *owner, unsigned n, uint8_t speeds, const UsbPort *above);
void usb_port_del(UsbPort *p); /* a device that it still has is on no port then */
UsbDev *usb_hub_child(const UsbDev *hub, unsigned n); /* at port n (from 1) of a hub, or NULL */
void usb_bus_reset(UsbDev *d);
UsbStatus usb_transfer(UsbDev *d, UsbXfer *x);
void usb_cancel(UsbDev *d, uint8_t ep);
/* For controllers whose software makes control transfers of stages: as usb_transfer, for endpoint 0 too. */
typedef enum UsbPid { USB_PID_OUT, USB_PID_IN, USB_PID_SETUP } UsbPid;
UsbStatus usb_token(UsbDev *d, UsbPid pid, UsbXfer *x);
UsbDev *usb_by_address(const UsbBus *b, uint8_t addr, const Dev *hc); /* below root ports of hc that `live` allows; NULL */
UsbStatus usb_set_address(UsbDev *d, uint8_t addr); /* for controllers that send the request themselves */
const char *usb_mbps(const UsbDev *d); /* "1.5", "12", .. */

/* Between the files here. */
const UsbEp *usb__ep(const UsbDev *d, uint8_t ep); /* of the current configuration */
const UsbOp *usb__standard(uint16_t op);
UsbStatus usb__descriptor(UsbDev *d, UsbXfer *x, const UsbRequest *q);
#endif
