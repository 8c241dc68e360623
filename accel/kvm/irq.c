/*
 * accel/kvm/irq.c - interrupts in three ways. on: PIC, IOAPIC, LAPICs and PIT are the kernel's; our device models hold their
 * state while it is saved. split: the LAPICs are the kernel's; IOAPIC pins are routes to it and EOIs come back as exits, the
 * PIC's interrupts are put in by hand. off: all are ours; a CPU is handed one vector when it can take it.
 */
#include "accel/kvm/kvm.h"
#include "core/clock.h"
#include <errno.h>

enum { PINS = 24, ROUTES = 1024 };

typedef struct Irqfd {
    int fd;
    uint32_t gsi;
} Irqfd;

/* ---- routes ---- */
static void chip_route(KvmVm *v, uint32_t gsi, uint32_t chip, uint32_t pin)
{
    v->routes->entries[v->routes->nr++] =
        (struct kvm_irq_routing_entry){ .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { .irqchip = chip, .pin = pin } };
}

static struct kvm_irq_routing_entry msi_route(uint32_t gsi, uint64_t addr, uint32_t data)
{
    return (struct kvm_irq_routing_entry){
        .gsi = gsi, .type = KVM_IRQ_ROUTING_MSI,
        .u.msi = { .address_lo = (uint32_t)addr, .address_hi = (uint32_t)(addr >> 32), .data = data },
    };
}

static struct kvm_irq_routing_entry *route_find(KvmVm *v, uint32_t gsi)
{
    for (uint32_t i = 0; i < v->routes->nr; i++)
        if (v->routes->entries[i].gsi == gsi)
            return &v->routes->entries[i];
    return NULL;
}

/* False: no room. Tells the kernel only of changes. */
static bool route_set(KvmVm *v, uint32_t gsi, uint64_t addr, uint32_t data)
{
    struct kvm_irq_routing_entry *e = route_find(v, gsi), new = msi_route(gsi, addr, data);

    if (e && !memcmp(e, &new, sizeof(new)))
        return true;
    if (!e) {
        if (v->routes->nr == ROUTES)
            return false;
        e = &v->routes->entries[v->routes->nr++];
    }
    *e = new;
    return kvm_call(v->fd, KVM_SET_GSI_ROUTING, v->routes) >= 0;
}

static bool chip_routes(KvmVm *v, Error **err)
{
    chip_route(v, 0, KVM_IRQCHIP_PIC_MASTER, 0); /* the kernel's timer */
    chip_route(v, 0, KVM_IRQCHIP_IOAPIC, 2);
    for (unsigned i = 1; i < PINS; i++)
        chip_route(v, GSI_IOAPIC + i, KVM_IRQCHIP_IOAPIC, i);
    for (unsigned i = 0; i < 16; i++)
        chip_route(v, GSI_PIC + i, i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, i & 7);
    return kvm_must(v->fd, KVM_SET_GSI_ROUTING, v->routes, err);
}

/* ---- what devices call ---- */
static void pin_set(Vm *vm, unsigned gsi, bool level)
{
    struct kvm_irq_level l = { .irq = gsi, .level = level };
    long r = kvm_call(kvm_of(vm)->fd, KVM_IRQ_LINE, &l);

    if (r < 0)
        kvm_break(kvm_of(vm), "KVM_IRQ_LINE: line %u: %s", gsi, g_strerror((int)-r));
}

static bool msi_send(Vm *vm, uint64_t addr, uint32_t data)
{
    struct kvm_msi m = { .address_lo = (uint32_t)addr, .address_hi = (uint32_t)(addr >> 32), .data = data };

    return kvm_call(kvm_of(vm)->fd, KVM_SIGNAL_MSI, &m) >= 0; /* a message that nobody takes is lost on hardware too */
}

static void route_update(Vm *vm, unsigned pin, const MsiRoute *r)
{
    if (r->valid && (r->data & 0xff) >= 16 && !route_set(kvm_of(vm), GSI_IOAPIC + pin, r->addr, r->data))
        kvm_break(kvm_of(vm), "KVM_SET_GSI_ROUTING: KVM refuses the route of IOAPIC pin %u", pin);
}

static Irqfd *irqfd_find(KvmVm *v, int fd)
{
    for (guint i = 0; i < v->irqfds->len; i++)
        if (g_array_index(v->irqfds, Irqfd, i).fd == fd)
            return &g_array_index(v->irqfds, Irqfd, i);
    return NULL;
}

static uint32_t free_gsi(KvmVm *v)
{
    uint32_t gsi = GSI_MSI;

    for (guint i = 0; i < v->irqfds->len; i++) /* ends: each turn of the outer scan passes one in use */
        if (g_array_index(v->irqfds, Irqfd, i).gsi == gsi) {
            gsi++;
            i = UINT_MAX;
        }
    return gsi;
}

static bool irqfd(Vm *vm, int fd, uint64_t addr, uint32_t data, bool on)
{
    KvmVm *v = kvm_of(vm);
    Irqfd *f = irqfd_find(v, fd);
    struct kvm_irqfd k = { .fd = (uint32_t)fd, .gsi = f ? f->gsi : free_gsi(v), .flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN };

    if (v->caps.irqfd <= 0)
        return false;
    if (!on) {
        if (f) {
            kvm_call(v->fd, KVM_IRQFD, &k);
            g_array_remove_index_fast(v->irqfds, (guint)(f - (Irqfd *)(void *)v->irqfds->data));
        }
        return true;
    }
    if (!route_set(v, k.gsi, addr, data))
        return false;
    if (!f) {
        if (kvm_call(v->fd, KVM_IRQFD, &k) < 0)
            return false;
        g_array_append_val(v->irqfds, ((Irqfd){ fd, k.gsi }));
    }
    return true;
}

/* ---- the kernel's chips and our models ---- */
static void pic_to_ours(const struct kvm_pic_state *k, PicState *p)
{
    *p = (PicState){ .irr = k->irr, .imr = k->imr, .isr = k->isr, .lines = k->last_irr, .elcr = k->elcr, .icw2 = k->irq_base,
                     .icw_step = k->init_state ? (uint8_t)(k->init_state + 1) : 0, .icw1 = (uint8_t)(0x10 | (k->init4 & 1)),
                     .icw4 = (uint8_t)((k->auto_eoi ? 2 : 0) | (k->special_fully_nested_mode ? 0x10 : 0)),
                     .priority_add = k->priority_add & 7, .read_isr = k->read_reg_select, .poll = k->poll,
                     .special_mask = k->special_mask, .rotate_on_auto_eoi = k->rotate_on_auto_eoi };
}

static void pic_to_kernel(const PicState *p, unsigned n, struct kvm_pic_state *k)
{
    *k = (struct kvm_pic_state){ .irr = p->irr, .imr = p->imr, .isr = p->isr, .last_irr = p->lines, .elcr = p->elcr,
                                 .irq_base = p->icw2, .init_state = p->icw_step ? (uint8_t)(p->icw_step - 1) : 0,
                                 .init4 = p->icw1 & 1, .auto_eoi = p->icw4 >> 1 & 1, .special_fully_nested_mode = p->icw4 >> 4 & 1,
                                 .priority_add = p->priority_add, .read_reg_select = p->read_isr, .poll = p->poll,
                                 .special_mask = p->special_mask, .rotate_on_auto_eoi = p->rotate_on_auto_eoi,
                                 .elcr_mask = n ? 0xde : 0xf8 };
}

/* A count's start in CLOCK_VM and in the host's monotonic clock, which the kernel uses. */
static int64_t host_minus_vm(KvmVm *v) { return host_now() - vm_now(v->vm); }

static void counter_to_ours(KvmVm *v, const struct kvm_pit_channel_state *k, PitCounterState *c)
{
    *c = (PitCounterState){ .start = MAX(k->count_load_time - host_minus_vm(v), 0), .count = CLAMP(k->count, 1u, 65536u),
                            .latch = k->latched_count, .mode = k->mode > 5 ? 0 : k->mode, .rw = k->rw_mode & 3, .bcd = k->bcd & 1,
                            .gate = k->gate & 1, .written_low = k->write_latch, .half_read = k->read_state == 4 || k->count_latched == 2,
                            .half_written = k->write_state == 4, .count_latched = k->count_latched != 0,
                            .status_latched = k->status_latched & 1, .status = k->status, .loaded = k->mode <= 5 && k->rw_mode };
}

static void counter_to_kernel(KvmVm *v, const PitCounterState *c, struct kvm_pit_channel_state *k)
{
    bool words = c->rw == 3;

    *k = (struct kvm_pit_channel_state){
        .count_load_time = c->start + host_minus_vm(v), .count = c->count, .latched_count = c->latch,
        .mode = c->rw ? c->mode : 0xff, .rw_mode = c->rw, .bcd = c->bcd, .gate = c->gate, .write_latch = c->written_low,
        .count_latched = !c->count_latched ? 0 : words ? (c->half_read ? 2 : 3) : c->rw,
        .read_state = words ? (c->half_read && !c->count_latched ? 4 : 3) : c->rw, .write_state = words ? (c->half_written ? 4 : 3) : c->rw,
        .status_latched = c->status_latched, .status = c->status,
    };
}

static bool pit_get(KvmVm *v)
{
    const ChipPort *port = chip_port(v->vm, "pit");
    struct kvm_pit_state2 k = { 0 };
    PitState p = { 0 };

    if (!port)
        return true;
    if (kvm_call(v->fd, KVM_GET_PIT2, &k) < 0)
        return false;
    for (unsigned i = 0; i < 3; i++)
        counter_to_ours(v, &k.channels[i], &p.c[i]);
    p.speaker = (uint8_t)(p.c[2].gate | (k.flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON ? 2 : 0));
    port->set(port->chip, &p);
    return true;
}

static bool pit_set(KvmVm *v)
{
    const ChipPort *port = chip_port(v->vm, "pit");
    struct kvm_pit_state2 k = { 0 };
    PitState p = { 0 };

    if (!port)
        return true;
    port->get(port->chip, &p);
    for (unsigned i = 0; i < 3; i++)
        counter_to_kernel(v, &p.c[i], &k.channels[i]);
    k.flags = p.speaker & 2 ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0;
    if (kvm_call(v->fd, KVM_SET_PIT2, &k) >= 0)
        return true;
    k.flags = 0; /* before Linux 5.19 */
    return kvm_call(v->fd, KVM_SET_PIT2, &k) >= 0;
}

static const struct {
    const char *port;
    uint32_t id;
} chips[] = { { "pic0", KVM_IRQCHIP_PIC_MASTER }, { "pic1", KVM_IRQCHIP_PIC_SLAVE }, { "ioapic", KVM_IRQCHIP_IOAPIC } };

typedef union ChipState {
    PicState pic;
    IoapicState ioapic;
} ChipState;

static bool chip_get(KvmVm *v, unsigned i)
{
    const ChipPort *port = chip_port(v->vm, chips[i].port);
    struct kvm_irqchip k = { .chip_id = chips[i].id };
    ChipState s = { 0 };

    if (!port)
        return true;
    if (kvm_call(v->fd, KVM_GET_IRQCHIP, &k) < 0)
        return false;
    if (chips[i].id == KVM_IRQCHIP_IOAPIC) {
        s.ioapic = (IoapicState){ .select = (uint8_t)k.chip.ioapic.ioregsel, .id = k.chip.ioapic.id & 15, .irr = k.chip.ioapic.irr };
        for (unsigned n = 0; n < PINS; n++)
            s.ioapic.entry[n] = k.chip.ioapic.redirtbl[n].bits;
    } else {
        pic_to_ours(&k.chip.pic, &s.pic);
    }
    port->set(port->chip, &s);
    return true;
}

static bool chip_set(KvmVm *v, unsigned i)
{
    const ChipPort *port = chip_port(v->vm, chips[i].port);
    struct kvm_irqchip k = { .chip_id = chips[i].id };
    ChipState s = { 0 };

    if (!port)
        return true;
    port->get(port->chip, &s);
    if (chips[i].id == KVM_IRQCHIP_IOAPIC) {
        k.chip.ioapic.base_address = 0xfec00000;
        k.chip.ioapic.ioregsel = s.ioapic.select;
        k.chip.ioapic.id = s.ioapic.id;
        k.chip.ioapic.irr = s.ioapic.irr;
        for (unsigned n = 0; n < PINS; n++)
            k.chip.ioapic.redirtbl[n].bits = s.ioapic.entry[n];
    } else {
        pic_to_kernel(&s.pic, i, &k.chip.pic);
    }
    return kvm_call(v->fd, KVM_SET_IRQCHIP, &k) >= 0;
}

static void chip_pull(Vm *vm)
{
    KvmVm *v = kvm_of(vm);

    for (unsigned i = 0; i < G_N_ELEMENTS(chips); i++)
        if (!chip_get(v, i))
            warn_report("KVM_GET_IRQCHIP: the kernel does not tell the state of %s", chips[i].port);
    if (!pit_get(v))
        warn_report("KVM_GET_PIT2: the kernel does not tell the state of its timer");
}

static void chip_push(Vm *vm)
{
    KvmVm *v = kvm_of(vm);

    for (unsigned i = 0; i < G_N_ELEMENTS(chips); i++)
        if (!chip_set(v, i))
            kvm_break(v, "KVM_SET_IRQCHIP: the kernel does not take the state of %s", chips[i].port);
    if (!pit_set(v))
        kvm_break(v, "KVM_SET_PIT2: the kernel does not take the state of the timer");
}

/* ---- LAPIC ---- */
static bool page_has_wide_ids(const KvmCpu *k) { return k->v->caps.x2apic_api > 0; }

bool kvm_lapic_pull(KvmCpu *k, Error **err)
{
    Cpu *c = k->cpu;
    struct kvm_lapic_state page = { 0 };
    LapicState s = { .base = k->apic_base };
    Error *ignored = NULL;

    if (!c->sleeps_in_run || !c->intc || !c->intc->set)
        return true;
    if (!kvm_must(k->fd, KVM_GET_LAPIC, &page, err))
        return false;
    for (unsigned i = 0; i < 64; i++)
        s.reg[i] = le32_load(page.regs + 16 * i);
    if (k->v->caps.tsc_deadline > 0 && !kvm_get_msr(k, 0x6e0, &s.deadline, &ignored))
        error_free(ignored);
    c->intc->set(c->intc_chip, &s);
    return true;
}

bool kvm_lapic_push(KvmCpu *k, Error **err)
{
    Cpu *c = k->cpu;
    struct kvm_lapic_state page = { 0 };
    LapicState s;

    if (!c->sleeps_in_run || !c->intc || !c->intc->get)
        return true;
    c->intc->get(c->intc_chip, &s);
    if (s.base & 0x400 && !page_has_wide_ids(k))
        s.reg[2] <<= 24;
    for (unsigned i = 0; i < 64; i++)
        le32_store(page.regs + 16 * i, s.reg[i]);
    if (!kvm_must(k->fd, KVM_SET_LAPIC, &page, err))
        return false;
    return !s.deadline || kvm_set_msr(k, 0x6e0, s.deadline, err);
}

/* ---- around KVM_RUN ---- */
static void inject_nmi_smi(KvmCpu *k)
{
    Cpu *c = k->cpu;
    uint32_t r = cpu_requests(c);

    if (r & CPU_REQ_NMI) {
        cpu_request_clear(c, CPU_REQ_NMI);
        kvm_call(k->fd, KVM_NMI, NULL);
    }
    if (r & CPU_REQ_SMI) {
        cpu_request_clear(c, CPU_REQ_SMI);
        if (k->v->caps.smm > 0)
            kvm_call(k->fd, KVM_SMI, NULL);
    }
}

void kvm_inject(KvmCpu *k)
{
    Cpu *c = k->cpu;
    bool off = k->v->chip == CHIP_OFF, waits;
    int vector;

    if (UNLIKELY(cpu_requests(c) & (CPU_REQ_NMI | CPU_REQ_SMI)))
        inject_nmi_smi(k);
    cpu_request_clear(c, CPU_REQ_IRQ);
    if (k->v->chip == CHIP_ON || !c->intc)
        return;
    waits = off ? c->intc->pending(c->intc_chip) : c->intc->extint(c->intc_chip, false) >= 0;
    if (waits && k->run->ready_for_interrupt_injection && k->run->if_flag) {
        vector = off ? c->intc->ack(c->intc_chip) : c->intc->extint(c->intc_chip, true);
        if (vector >= 0) {
            struct kvm_interrupt i = { .irq = (uint32_t)vector };

            if (kvm_call(k->fd, KVM_INTERRUPT, &i) < 0)
                kvm_break(k->v, "KVM_INTERRUPT: KVM does not take vector %d", vector);
            k->run->ready_for_interrupt_injection = 0;
        }
        waits = off ? c->intc->pending(c->intc_chip) : c->intc->extint(c->intc_chip, false) >= 0;
    }
    k->run->request_interrupt_window = waits;
    if (waits) /* should the guest halt first, core sees that it must not sleep */
        __atomic_fetch_or(&c->request, CPU_REQ_IRQ, __ATOMIC_SEQ_CST);
    if (off)
        k->run->cr8 = c->intc->get_tpr(c->intc_chip);
}

void kvm_ran(KvmCpu *k)
{
    Cpu *c = k->cpu;

    if (k->v->caps.smm > 0)
        c->attrs.secure = k->run->flags & KVM_RUN_X86_SMM;
    if (k->v->chip != CHIP_OFF || !c->intc)
        return;
    if (k->run->cr8 != c->intc->get_tpr(c->intc_chip))
        c->intc->set_tpr(c->intc_chip, k->run->cr8);
    if (k->run->apic_base != c->intc->get_base(c->intc_chip))
        c->intc->set_base(c->intc_chip, k->run->apic_base);
}

/* ---- life ---- */
static const IrqBackend kernel_chips = { .pin_set = pin_set, .msi_send = msi_send, .irqfd = irqfd, .chip_pull = chip_pull,
                                         .chip_push = chip_push };
static const IrqBackend split_chips = { .msi_send = msi_send, .route_update = route_update, .irqfd = irqfd };

static bool need(int cap, const char *what, const KvmVm *v, Error **err)
{
    if (cap > 0)
        return true;
    fail(err, "this kernel's KVM has no %s, which kernel-irqchip=%s needs", what, v->chip == CHIP_ON ? "on" : "split");
    return error_hint(err, "-accel kvm,kernel-irqchip=off keeps the interrupt controllers in the emulator");
}

bool kvm_irq_init(KvmVm *v, Error **err)
{
    const KvmCaps *c = &v->caps;
    struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };

    v->routes = g_malloc0(sizeof(*v->routes) + ROUTES * sizeof(struct kvm_irq_routing_entry));
    v->irqfds = g_array_new(FALSE, FALSE, sizeof(Irqfd));
    if (v->chip == CHIP_OFF)
        return true;
    if (!need(c->irqchip, "interrupt controllers", v, err) || !need(c->irq_routing, "interrupt routing", v, err) ||
        !need(c->signal_msi, "messages", v, err))
        return false;
    if (c->x2apic_api > 0 &&
        !kvm_enable(v->fd, KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK, err))
        return false;
    if (v->chip == CHIP_SPLIT) {
        v->vm->irq = &split_chips;
        return need(c->split_irqchip, "split interrupt controllers", v, err) && kvm_enable(v->fd, KVM_CAP_SPLIT_IRQCHIP, PINS, err);
    }
    v->vm->irq = &kernel_chips;
    return need(c->pit2 > 0 ? c->pit_state2 : 0, "timer", v, err) && kvm_must(v->fd, KVM_CREATE_IRQCHIP, NULL, err) &&
           kvm_must(v->fd, KVM_CREATE_PIT2, &pit, err) && chip_routes(v, err);
}

void kvm_irq_exit(KvmVm *v)
{
    if (v->vm->irq == &kernel_chips || v->vm->irq == &split_chips)
        v->vm->irq = NULL;
    g_free(v->routes);
    if (v->irqfds)
        g_array_free(v->irqfds, TRUE);
}
