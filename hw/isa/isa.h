/* hw/isa/isa.h - ISA: devices name ports, IRQ lines and DMA channels; the bus connects them. */
#ifndef HW_ISA_ISA_H
#define HW_ISA_ISA_H
#include "core/dev.h"
#include "core/vm.h"

typedef struct IsaPort { /* a bank at base + off; base from a uint32_t property field or fixed */
    uint32_t base_at;    /* offsetof of the property field; 0: `base` */
    uint32_t base;
    const Bank *bank;
    const RegionOps *ops; /* instead of bank; opaque is the Dev */
    uint32_t size;        /* with ops */
    const char *name;
} IsaPort;
typedef struct IsaClass {
    DevClass dev; /* first */
    IsaPort port[6];
    uint32_t irq_at[2]; /* offsetof of uint32_t "irq" properties for Out rows "irq", "irq1"; 0: none */
} IsaClass;
typedef struct IsaBus {
    Bus bus; /* "isa.0", type "ISA" */
    Region *ports, *mem;
    Irq irq[16]; /* into the PIC/IOAPIC, shared by OR through irq_join per line */
    struct Dev *dma[2]; /* i8257 controllers or NULL */
    unsigned irq_users[16];
    struct IsaLine *line[16];
} IsaBus;
extern const DevClass isa_base;
#define ISA_DEVICE(T, n, d)                                                                        \
    .dev.obj.name = (n), .dev.obj.desc = (d), .dev.obj.size = sizeof(T), .dev.bus = "ISA", .dev.base = &isa_base
IsaBus *isa_bus_new(Dev *bridge, Region *ports, Region *mem, const Irq *irqs /* 16 */);
static inline IsaBus *isa_bus(const Dev *d) { return (IsaBus *)(void *)d->bus; }
/* 8237 DMA as a device sees it (hw/isa/dma8237.c), channels 0..3 and 5..7. VM lock. */
typedef struct IsaDmaUser {
    void (*ready)(void *o); /* the guest opened the channel; called inside the controller: enter the device */
    void *o;
} IsaDmaUser;
void isa_dma_attach(IsaBus *b, unsigned channel, IsaDmaUser user);
bool isa_dma_ready(IsaBus *b, unsigned channel, bool *to_memory); /* the channel is open; which way it goes */
/* Moves at most len bytes, in the direction of the channel's mode; how many were moved (0: closed).
 * *tc: the channel's count ran out. */
size_t isa_dma_transfer(IsaBus *b, unsigned channel, void *buf, size_t len, bool *tc);
#endif
