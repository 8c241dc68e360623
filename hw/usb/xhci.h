/*
 * hw/usb/xhci.h - an eXtensible Host Controller's state, and what its files ask of each other. Source: xHCI 1.1.
 * VM lock throughout.
 *
 * Invariants:
 * 1. A transfer is read from its ring each time that it is tried; the dequeue pointer moves when it is finished. So what is in flight
 *    is in the guest's memory, and a saved state needs nothing else.
 * 2. A transfer or command is only tried when the event ring has room for what it will say.
 * 3. All work is done by xhci_run, which calls devices, and is not entered again by them: they leave a kick.
 */
#ifndef HW_USB_XHCI_H
#define HW_USB_XHCI_H
#include "hw/pci/pci.h"
#include "hw/usb/usb.h"

enum { XHCI_SLOTS = 64, XHCI_INTRS = 16, XHCI_EPS = 31, XHCI_SIDE = 15 /* ports of either speed */, XHCI_PORTS = 2 * XHCI_SIDE,
       XHCI_SEGMENTS = 16, XHCI_STREAMS_LOG = 4 /* 2^(n + 1) streams */, XHCI_TRB = 16, XHCI_TD_MAX = 4096 };
/* USBCMD, USBSTS, IMAN, ERDP */
enum { CMD_RS = 1, CMD_HCRST = 2, CMD_INTE = 4, CMD_CSS = 1 << 8, CMD_CRS = 1 << 9, CMD_EWE = 1 << 10 };
enum { STS_HCH = 1, STS_HSE = 4, STS_EINT = 8, STS_PCD = 16, STS_SRE = 1 << 10, STS_HCE = 1 << 12 };
enum { IMAN_IP = 1, IMAN_IE = 2, ERDP_EHB = 8 };
/* TRB types and bits */
enum { TRB_NORMAL = 1, TRB_SETUP, TRB_DATA, TRB_STATUS, TRB_ISOCH, TRB_LINK, TRB_EVENT_DATA, TRB_NOOP,
       TRB_TRANSFER_EVENT = 32, TRB_COMMAND_EVENT, TRB_PORT_EVENT, TRB_HOST_EVENT = 37, TRB_MFINDEX_EVENT = 39 };
enum { TRB_C = 1, TRB_TC = 2, TRB_ISP = 4, TRB_CH = 1 << 4, TRB_IOC = 1 << 5, TRB_IDT = 1 << 6, TRB_BEI = 1 << 9, TRB_DIR = 1 << 16, TRB_ED = 4 };
static inline unsigned trb_type(uint32_t control) { return control >> 10 & 63; }
/* Completion codes */
enum { CC_SUCCESS = 1, CC_DATA_BUFFER, CC_BABBLE, CC_TRANSACTION, CC_TRB, CC_STALL, CC_RESOURCE, CC_BANDWIDTH, CC_NO_SLOTS, CC_STREAM_TYPE,
       CC_SLOT, CC_ENDPOINT, CC_SHORT, CC_PARAMETER = 17, CC_CONTEXT_STATE = 19, CC_EVENT_RING_FULL = 21, CC_COMMAND_STOPPED = 24,
       CC_COMMAND_ABORTED, CC_STOPPED, CC_STREAM_ID = 34 };
enum { EP_DISABLED, EP_RUNNING, EP_HALTED, EP_STOPPED, EP_ERROR };
enum { SLOT_ENABLED, SLOT_DEFAULT, SLOT_ADDRESSED, SLOT_CONFIGURED };
enum { EPT_ISOCH_OUT = 1, EPT_BULK_OUT, EPT_INTERRUPT_OUT, EPT_CONTROL, EPT_ISOCH_IN, EPT_BULK_IN, EPT_INTERRUPT_IN };

typedef struct XhciTrb {
    uint64_t at, param;
    uint32_t status, control;
} XhciTrb;
typedef struct XhciRing { /* a place in one: of commands or transfers */
    uint64_t at;
    bool ccs;
} XhciRing;
typedef struct XhciEp { /* without padding, as the others here */
    uint64_t deq;      /* of the ring; with streams the array of their contexts */
    int64_t due;       /* CLOCK_VM: a periodic endpoint is not served before */
    uint32_t period;   /* ns; 0: not periodic */
    uint32_t rung;     /* streams with something on their ring */
    uint16_t packet;
    uint8_t type, state, ccs;
    uint8_t streams;   /* MaxPStreams */
    uint8_t begun;     /* the transfer at `deq` was answered USB_NAK */
    uint8_t isoch;
} XhciEp;
typedef struct XhciSlot {
    uint64_t ctx; /* output device context */
    uint32_t route, port, kick /* endpoints to look at */;
    uint16_t target /* interrupter */;
    uint8_t live, state;
    XhciEp ep[XHCI_EPS]; /* by DCI - 1 */
} XhciSlot;
typedef struct XhciIntr {
    uint32_t iman, imod, erstsz;
    uint32_t wants; /* an event waits for an interrupt */
    uint64_t erstba, erdp;
    uint64_t base; /* of the segment that is being written */
    uint32_t size, segment, at, pcs, fresh /* ERSTBA was written */, told /* that it is full */;
} XhciIntr;
typedef struct XhciPort {
    uint32_t sc, pmsc, li, lpmc;
} XhciPort;
typedef struct Xhci {
    PciDev pci;
    uint32_t usbcmd, usbsts, dnctrl, config;
    uint64_t dcbaap, cmd_at;
    bool cmd_ccs, cmd_running, saved;
    uint32_t port_events;   /* ports of which an event is due */
    int64_t started;        /* CLOCK_VM of MFINDEX 0 */
    /* host */
    uint32_t p2, p3, slots, intrs;
    uint8_t msi, msix;
    bool running;           /* inside xhci_run */
    int64_t next;           /* when there is more to do */
    UsbBus *bus;
    GArray *td, *seg;       /* of XhciTrb, UsbSeg: the transfer at hand */
    Timer imod[XHCI_INTRS]; /* pending: no interrupt yet */
    Timer work, wrap;
    UsbPort uport[XHCI_SIDE];
    XhciPort port[XHCI_PORTS];
    XhciIntr intr[XHCI_INTRS];
    XhciSlot slot[XHCI_SLOTS + 1];
} Xhci;
#define XHCI(d) container_of(d, Xhci, pci.dev)
#define XHCI_CONST(d) ((const Xhci *)(const void *)(d))

/* xhci.c */
void xhci_run(Xhci *x);
void xhci_fatal(Xhci *x, const char *why);
/* event.c */
unsigned xhci_room(Xhci *x, unsigned intr); /* events that fit; one place is kept for "full" */
void xhci_full(Xhci *x, unsigned intr);
void xhci_event(Xhci *x, unsigned intr, uint64_t param, uint32_t status, uint32_t control);
void xhci_interrupt(Xhci *x, unsigned intr);
void xhci_signal(Xhci *x, unsigned intr); /* enable bits may have come */
void xhci_erdp_written(Dev *d, unsigned n, uint64_t old);
void xhci_imod_fired(Dev *d, unsigned n);
int xhci_next(Xhci *x, XhciRing *r, XhciTrb *t); /* 1: a TRB that is the controller's; 0: none; -1: a broken ring */
/* command.c */
bool xhci_commands(Xhci *x, unsigned *budget);
void xhci_crcr_written(Dev *d, uint64_t val, unsigned lanes);
/* transfer.c */
bool xhci_endpoints(Xhci *x, unsigned *budget);
void xhci_doorbell(Dev *d, unsigned n, uint64_t val, unsigned lanes);
void xhci_ep_state(Xhci *x, XhciSlot *s, unsigned dci, unsigned state); /* in the context, too */
void xhci_stopped_event(Xhci *x, unsigned slot, unsigned dci);
/* port.c */
void xhci_ports_init(Xhci *x);
void xhci_ports_reset(Xhci *x);
bool xhci_port_events(Xhci *x);
uint64_t xhci_portsc(const Dev *d, unsigned n);
void xhci_portsc_written(Dev *d, unsigned n, uint64_t val, unsigned lanes);
UsbDev *xhci_device(const Xhci *x, const XhciSlot *s); /* NULL: nobody at the end of its route */
static inline unsigned xhci_ports(const Xhci *x) { return x->p2 + x->p3; }
#endif
