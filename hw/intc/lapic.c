/*
 * hw/intc/lapic.c - the local APIC: xAPIC and x2APIC, inter-processor interrupts, and the software back end for
 * messages; the timer is in lapic-timer.c. Source: Intel SDM vol. 3A chapter 11.
 * Threads: IRR and the PIC's line are atomics that anyone may set; ISR, TPR and the registers belong to the vCPU's
 * thread (MMIO comes under the VM lock from it). Rows would not help: the window is one per CPU at one address.
 */
#include "hw/intc/lapic-priv.h"

static int highest(const uint32_t v[8])
{
    for (int i = 7; i >= 0; i--) {
        uint32_t w = __atomic_load_n(&v[i], __ATOMIC_ACQUIRE);

        if (w)
            return i * 32 + 31 - __builtin_clz(w);
    }
    return -1;
}

/* -> whether it was set */
static bool set_bit(uint32_t v[8], unsigned n) { return __atomic_fetch_or(&v[n / 32], 1u << (n % 32), __ATOMIC_SEQ_CST) >> (n % 32) & 1; }
static void clear_bit(uint32_t v[8], unsigned n) { __atomic_fetch_and(&v[n / 32], ~(1u << (n % 32)), __ATOMIC_SEQ_CST); }
static bool enabled(const Lapic *s) { return s->base & 0x800; }
static bool x2(const Lapic *s) { return s->base & 0x400; }

static uint32_t ppr(const Lapic *s)
{
    int isr = highest(s->isr);

    return isr >= 0 && (uint32_t)(isr & 0xf0) > (s->tpr & 0xf0) ? (uint32_t)(isr & 0xf0) : s->tpr;
}

/* A tick that found another waiting. Ticks come under the VM lock. */
static void owe(Lapic *s, uint8_t vector)
{
    if (__atomic_load_n(&s->tick_vector, __ATOMIC_SEQ_CST) != vector)
        __atomic_store_n(&s->owed, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&s->tick_vector, vector, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&s->owed, __ATOMIC_SEQ_CST) < OWED_MAX)
        __atomic_fetch_add(&s->owed, 1, __ATOMIC_SEQ_CST);
}

/* The vCPU took this vector: one that is owed waits in its place, unless just now another vector becomes the tick's. */
static void pay(Lapic *s, uint8_t vector)
{
    __typeof__(s->owed) n = __atomic_load_n(&s->owed, __ATOMIC_SEQ_CST);

    while (n && __atomic_load_n(&s->tick_vector, __ATOMIC_SEQ_CST) == vector)
        if (__atomic_compare_exchange_n(&s->owed, &n, n - 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
            set_bit(s->irr, vector);
            return;
        }
}

/* Any thread. */
bool lapic__accept(Lapic *s, unsigned vector, Trigger trigger)
{
    if (vector < 16 || !(s->svr & 0x100) || !enabled(s))
        return false;
    if (trigger == TRIGGER_LEVEL)
        set_bit(s->tmr, vector);
    else
        clear_bit(s->tmr, vector);
    if (set_bit(s->irr, vector) && trigger == TRIGGER_TICK)
        owe(s, (uint8_t)vector);
    cpu_request(s->cpu, CPU_REQ_IRQ);
    return true;
}

/* False: not taken. */
static bool deliver(Lapic *s, unsigned mode, unsigned vector, Trigger trigger)
{
    switch (mode) {
    case 0:
    case 1: return lapic__accept(s, vector, trigger);
    case 2: cpu_request(s->cpu, CPU_REQ_SMI); break;
    case 4: cpu_request(s->cpu, CPU_REQ_NMI); break;
    case 5: cpu_request(s->cpu, CPU_REQ_INIT); break;
    case 6:
        __atomic_store_n(&s->cpu->sipi_vector, (uint8_t)vector, __ATOMIC_RELAXED);
        cpu_request(s->cpu, CPU_REQ_SIPI);
        break;
    case 7: cpu_request(s->cpu, CPU_REQ_IRQ); break; /* ExtINT: the PIC's line says the rest */
    default: return false;
    }
    return true;
}

/* ---- who is meant ---- */
static bool matches(const Lapic *s, uint32_t dest, bool logical, bool wide)
{
    uint32_t id = x2(s) ? s->cpu->apic_id : s->id >> 24;

    if (!logical)
        return dest == id || dest == (wide ? UINT32_MAX : 0xff);
    if (x2(s)) {
        uint32_t ldr = (s->cpu->apic_id >> 4) << 16 | 1u << (s->cpu->apic_id & 15);

        return wide ? dest >> 16 == ldr >> 16 && dest & ldr & 0xffff : dest == 0xff || (!(ldr >> 16) && dest & ldr & 0xff);
    }
    if (s->dfr >> 28 == 15)
        return dest & (s->ldr >> 24);
    return (dest >> 4 == s->ldr >> 28 || dest >> 4 == 15) && dest & (s->ldr >> 24) & 15;
}

static Lapic *of(Vm *vm, unsigned i) { return vm->cpus[i]->intc_chip; }

/* False: nobody takes it. */
static bool send(Vm *vm, uint32_t dest, bool logical, bool wide, unsigned mode, unsigned vector, Trigger trigger)
{
    Lapic *lowest = NULL;
    bool taken = false;

    for (unsigned i = 0; i < vm->ncpus; i++) {
        Lapic *s = of(vm, i);

        if (!s || !matches(s, dest, logical, wide))
            continue;
        if (mode != 1) {
            taken |= deliver(s, mode, vector, trigger);
            continue;
        }
        if (s->svr & 0x100 && (!lowest || ppr(s) < ppr(lowest)))
            lowest = s;
    }
    return lowest ? deliver(lowest, 0, vector, trigger) : taken;
}

static bool msi_send(Vm *vm, uint64_t addr, uint32_t data)
{
    return send(vm, addr >> 12 & 0xff, addr >> 2 & 1, false, data >> 8 & 7, data & 0xff, data >> 15 & 1 ? TRIGGER_LEVEL : TRIGGER_EDGE);
}

static bool tick(Vm *vm, uint64_t addr, uint32_t data)
{
    return send(vm, addr >> 12 & 0xff, addr >> 2 & 1, false, data >> 8 & 7, data & 0xff, TRIGGER_TICK);
}

static void write_icr(Lapic *s)
{
    Vm *vm = s->cpu->vm;
    unsigned mode = s->icr_lo >> 8 & 7, vector = s->icr_lo & 0xff, shorthand = s->icr_lo >> 18 & 3;
    bool level = s->icr_lo >> 15 & 1, assert_ = s->icr_lo >> 14 & 1;

    if (mode == 5 && level && !assert_) /* INIT level de-assert: nothing on anything newer than a Pentium */
        return;
    if (!shorthand) {
        send(vm, x2(s) ? s->icr_hi : s->icr_hi >> 24, s->icr_lo >> 11 & 1, x2(s), mode, vector, level ? TRIGGER_LEVEL : TRIGGER_EDGE);
        return;
    }
    for (unsigned i = 0; i < vm->ncpus; i++) {
        Lapic *o = of(vm, i);

        if (o && (shorthand == 1 ? o == s : shorthand == 2 || o != s))
            deliver(o, mode, vector, level ? TRIGGER_LEVEL : TRIGGER_EDGE);
    }
}

/* ---- registers, by number = offset / 16 ---- */
static bool get_reg(Lapic *s, unsigned n, uint32_t *v)
{
    switch (n) {
    case 0x02: *v = x2(s) ? s->cpu->apic_id : s->id; break;
    case 0x03: *v = 0x50014 | (LVTS - 2) << 16 >> 0; break;
    case 0x08: *v = s->tpr; break;
    case 0x09: *v = 0; break;
    case 0x0a: *v = ppr(s); break;
    case 0x0b: *v = 0; break;
    case 0x0d: *v = x2(s) ? (s->cpu->apic_id >> 4) << 16 | 1u << (s->cpu->apic_id & 15) : s->ldr; break;
    case 0x0e: *v = s->dfr; break;
    case 0x0f: *v = s->svr; break;
    case 0x28: *v = s->esr; break;
    case 0x2f: *v = s->lvt[LVT_CMCI]; break;
    case 0x30: *v = s->icr_lo; break;
    case 0x31: *v = s->icr_hi; break;
    case 0x38: *v = s->initial; break;
    case 0x39: *v = lapic__current_count(s); break;
    case 0x3e: *v = s->divide; break;
    default:
        if (n >= 0x10 && n < 0x18)
            *v = s->isr[n - 0x10];
        else if (n >= 0x18 && n < 0x20)
            *v = s->tmr[n - 0x18];
        else if (n >= 0x20 && n < 0x28)
            *v = __atomic_load_n(&s->irr[n - 0x20], __ATOMIC_RELAXED);
        else if (n >= 0x32 && n < 0x38)
            *v = s->lvt[LVT_TIMER + n - 0x32];
        else
            return false;
    }
    return true;
}

static void eoi(Lapic *s)
{
    int v = highest(s->isr);

    if (v < 0)
        return;
    clear_bit(s->isr, (unsigned)v);
    if (s->tmr[v / 32] >> (v % 32) & 1 && !(s->svr & 0x1000))
        vm_eoi(s->cpu->vm, (uint8_t)v);
    if (highest(s->irr) >= 0)
        cpu_request(s->cpu, CPU_REQ_IRQ);
}

static void set_tpr(Lapic *s, uint32_t v)
{
    s->tpr = v & 0xff;
    if (highest(s->irr) >= 0)
        cpu_request(s->cpu, CPU_REQ_IRQ);
}

static void set_lvt(Lapic *s, unsigned i, uint32_t v)
{
    static const uint32_t mask[LVTS] = { 0x107ff, 0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff };
    unsigned old = lapic__timer_mode(s);

    if (!(s->svr & 0x100))
        v |= MASKED;
    s->lvt[i] = v & mask[i];
    if (i == LVT_TIMER && lapic__timer_mode(s) != old) {
        s->deadline = 0;
        if (old == 2 || lapic__timer_mode(s) == 2) {
            s->initial = 0;
            timer_del(&s->timer);
        }
    }
    if (i == LVT_LINT0 && s->extint)
        cpu_request(s->cpu, CPU_REQ_IRQ);
}

static void set_svr(Lapic *s, uint32_t v)
{
    s->svr = v & 0x13ff;
    if (!(v & 0x100))
        for (unsigned i = 0; i < LVTS; i++)
            s->lvt[i] |= MASKED;
}

static bool set_reg(Lapic *s, unsigned n, uint32_t v)
{
    switch (n) {
    case 0x02: s->id = v & 0xff000000; break;
    case 0x08: set_tpr(s, v); break;
    case 0x0b: eoi(s); break;
    case 0x0d: s->ldr = v & 0xff000000; break;
    case 0x0e: s->dfr = v | 0x0fffffff; break;
    case 0x0f: set_svr(s, v); break;
    case 0x28:
        s->esr = s->esr_new;
        s->esr_new = 0;
        break;
    case 0x2f: set_lvt(s, LVT_CMCI, v); break;
    case 0x30:
        s->icr_lo = v & ~(uint32_t)PENDING;
        write_icr(s);
        break;
    case 0x31: s->icr_hi = v; break;
    case 0x38:
        if (lapic__timer_mode(s) != 2) {
            s->initial = v;
            lapic__start_timer(s);
        }
        break;
    case 0x3e: s->divide = v & 0xb; break;
    default:
        if (n < 0x32 || n >= 0x38)
            return false;
        set_lvt(s, LVT_TIMER + n - 0x32, v);
    }
    return true;
}

static MemResult mmio_read(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    Vm *vm = o;
    Cpu *c = cpu_self() ? cpu_self() : vm->cpus[0];
    uint32_t v = 0;

    if (!c->intc_chip || (off & 15) || !get_reg(c->intc_chip, (unsigned)(off / 16), &v))
        v = 0;
    *val = v;
    return MEM_OK;
}

static MemResult mmio_write(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    Vm *vm = o;
    Cpu *c = cpu_self() ? cpu_self() : vm->cpus[0];
    Lapic *s = c->intc_chip;

    if (!cpu_self() && !at.peek && at.requester) { /* a device writes a message */
        vm_msi(vm, 0xfee00000 + off, (uint32_t)val);
        return MEM_OK;
    }
    if (s && !(off & 15) && !set_reg(s, (unsigned)(off / 16), (uint32_t)val))
        s->esr_new |= 0x80;
    return MEM_OK;
}

static MemResult window_write(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    if (off >= 4096 || at.requester) {
        vm_msi(o, 0xfee00000 + off, (uint32_t)val);
        return MEM_OK;
    }
    return mmio_write(o, off, size, val, at);
}
static const RegionOps window = { .read = mmio_read, .write = window_write, .takes = { 1, 8, true }, .does = { 4, 4, false } };

/* ---- what the CPU asks ---- */
static bool extint_open(const Lapic *s)
{
    uint32_t l = s->lvt[LVT_LINT0];

    return __atomic_load_n(&s->extint, __ATOMIC_ACQUIRE) && (!enabled(s) || (!(l & MASKED) && (l >> 8 & 7) == 7) ||
                                                              !(s->svr & 0x100));
}

static int fixed(const Lapic *s)
{
    int v = highest(s->irr);

    return enabled(s) && v >= 0 && (uint32_t)(v & 0xf0) > (ppr(s) & 0xf0) ? v : -1;
}

static bool pending(void *chip) { return fixed(chip) >= 0 || extint_open(chip); }

static int ack(void *chip)
{
    Lapic *s = chip;
    int v = fixed(s);

    if (v >= 0) {
        clear_bit(s->irr, (unsigned)v);
        set_bit(s->isr, (unsigned)v);
        pay(s, (uint8_t)v);
        return v;
    }
    if (!extint_open(s) || !s->pic_ack)
        return -1;
    lock_take(&s->cpu->vm->lock);
    v = __atomic_load_n(&s->extint, __ATOMIC_ACQUIRE) ? s->pic_ack(s->pic_arg) : -1;
    lock_drop(&s->cpu->vm->lock);
    return v;
}

static uint64_t get_cr8(void *chip) { return ((Lapic *)chip)->tpr >> 4; }
static void set_cr8(void *chip, uint64_t v) { set_tpr(chip, (uint32_t)v << 4); }
static uint64_t get_base(void *chip) { return ((Lapic *)chip)->base; }

static bool set_base(void *chip, uint64_t v)
{
    Lapic *s = chip;

    if ((v & 0xc00) == 0x400 || (x2(s) && (v & 0xc00) == 0x800) || v >> 36)
        return false;
    s->base = (v & 0xffffffc00ull & ~0x100ull) | (s->base & 0x100);
    return true;
}

static bool msr_read(void *chip, uint32_t msr, uint64_t *v)
{
    Lapic *s = chip;
    uint32_t x;

    if (msr == 0x6e0) {
        *v = lapic__timer_mode(s) == 2 ? s->deadline : 0;
        return true;
    }
    if (!x2(s) || msr == 0x80e || msr == 0x831 || !get_reg(s, msr - 0x800, &x))
        return false;
    *v = msr == 0x830 ? (uint64_t)s->icr_hi << 32 | s->icr_lo : x;
    return true;
}

static bool msr_write(void *chip, uint32_t msr, uint64_t v)
{
    Lapic *s = chip;
    bool ok = true;

    lock_take(&s->cpu->vm->lock);
    if (msr == 0x6e0) {
        if (lapic__timer_mode(s) == 2) {
            s->deadline = v;
            lapic__arm_deadline(s);
        }
    } else if (!x2(s) || (msr != 0x830 && v >> 32) || msr == 0x802 || msr == 0x80d || msr == 0x80e || msr == 0x831) {
        ok = false;
    } else if (msr == 0x830) {
        s->icr_hi = (uint32_t)(v >> 32);
        s->icr_lo = (uint32_t)v;
        write_icr(s);
    } else if (msr == 0x83f) {
        lapic__accept(s, v & 0xff, TRIGGER_EDGE);
    } else {
        ok = set_reg(s, msr - 0x800, (uint32_t)v);
    }
    lock_drop(&s->cpu->vm->lock);
    return ok;
}

static void reset_regs(Lapic *s)
{
    memset(s->irr, 0, sizeof(s->irr));
    memset(s->isr, 0, sizeof(s->isr));
    memset(s->tmr, 0, sizeof(s->tmr));
    s->tpr = s->ldr = s->esr = s->esr_new = s->icr_lo = s->icr_hi = s->initial = s->divide = 0;
    s->deadline = 0;
    s->tick_vector = s->owed = 0;
    s->dfr = UINT32_MAX;
    s->svr = 0xff;
    for (unsigned i = 0; i < LVTS; i++)
        s->lvt[i] = MASKED;
    timer_del(&s->timer);
}

static void on_init(void *chip) { reset_regs(chip); }

static void on_reset(Dev *d)
{
    Lapic *s = LAPIC(d);

    reset_regs(s);
    if (!s->cpu)
        return;
    s->id = s->cpu->apic_id << 24;
    s->base = 0xfee00800 | (s->cpu->index ? 0 : 0x100);
}

static int extint(void *chip, bool ack_it)
{
    Lapic *s = chip;
    int v = -1;

    if (!__atomic_load_n(&s->extint, __ATOMIC_ACQUIRE) || !s->pic_ack)
        return -1;
    if (!ack_it)
        return 0;
    lock_take(&s->cpu->vm->lock);
    if (__atomic_load_n(&s->extint, __ATOMIC_ACQUIRE))
        v = s->pic_ack(s->pic_arg);
    lock_drop(&s->cpu->vm->lock);
    return v;
}

/* ---- an accelerator that has the chip itself ---- */
static void get_state(void *chip, LapicState *p)
{
    Lapic *s = chip;

    memset(p, 0, sizeof(*p));
    for (unsigned n = 0; n < 0x40; n++)
        get_reg(s, n, &p->reg[n]);
    if (lapic__timer_mode(s) == 0 && !timer_pending(&s->timer))
        p->reg[0x38] = p->reg[0x39] = 0; /* expired: it must not start again */
    p->base = s->base;
    p->deadline = lapic__timer_mode(s) == 2 ? s->deadline : 0;
}

static void set_state(void *chip, const LapicState *p)
{
    static const uint8_t lvt_at[LVTS] = { 0x2f, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37 };
    Lapic *s = chip;

    dev_enter(&s->dev);
    s->base = p->base;
    if (!x2(s)) {
        s->id = p->reg[0x02];
        s->ldr = p->reg[0x0d];
        s->dfr = p->reg[0x0e];
    }
    s->tpr = p->reg[0x08] & 0xff;
    s->svr = p->reg[0x0f];
    s->esr = p->reg[0x28];
    s->icr_lo = p->reg[0x30];
    s->icr_hi = p->reg[0x31];
    for (unsigned i = 0; i < LVTS; i++)
        s->lvt[i] = i == LVT_CMCI && !p->reg[0x2f] ? (uint32_t)MASKED : p->reg[lvt_at[i]];
    for (unsigned i = 0; i < 8; i++) {
        s->isr[i] = p->reg[0x10 + i];
        s->tmr[i] = p->reg[0x18 + i];
        __atomic_store_n(&s->irr[i], p->reg[0x20 + i], __ATOMIC_RELEASE);
    }
    s->initial = p->reg[0x38];
    s->divide = p->reg[0x3e] & 0xb;
    s->deadline = p->deadline;
    lapic__set_timer(s, p->reg[0x39]);
    dev_leave(&s->dev);
}

/* What waits was found by an engine that asks for it differently. */
static void loaded(Dev *d)
{
    Lapic *s = LAPIC(d);

    if (s->cpu && (highest(s->irr) >= 0 || s->extint))
        cpu_request(s->cpu, CPU_REQ_IRQ);
}

static const CpuIntc intc = { ack, pending, get_cr8, set_cr8, get_base, set_base, msr_read, msr_write, on_init, extint,
                              get_state, set_state };
static const IrqBackend backend = { .msi_send = msi_send, .tick = tick };

/* clang-format off */
static const Field lapic_state[] = {
    FIELD(Lapic, base), FIELD(Lapic, deadline), FIELD(Lapic, id), FIELD(Lapic, tpr), FIELD(Lapic, ldr), FIELD(Lapic, dfr, .reset = UINT32_MAX),
    FIELD(Lapic, svr, .reset = 0xff), FIELD(Lapic, esr), FIELD(Lapic, esr_new), FIELD(Lapic, icr_lo), FIELD(Lapic, icr_hi),
    ARRAY_FIELD(Lapic, lvt, .reset = MASKED), FIELD(Lapic, initial), FIELD(Lapic, divide), ARRAY_FIELD(Lapic, irr), ARRAY_FIELD(Lapic, isr),
    ARRAY_FIELD(Lapic, tmr), FIELD(Lapic, extint, .keep = true), FIELD(Lapic, timer_start), FIELD(Lapic, tick_vector), FIELD(Lapic, owed),
    TIMER(Lapic, timer, lapic__timer_fired, CLOCK_VM),
    TRANSIENT(Lapic, cpu, "wiring", .keep = true), TRANSIENT(Lapic, pic_ack, "wiring", .keep = true), TRANSIENT(Lapic, pic_arg, "wiring", .keep = true),
};
static const DevClass lapic = {
    .obj = { .name = "apic", .desc = "Local interrupt controller", .size = sizeof(Lapic) }, .bus = "System", .no_user = true,
    .state = TABLE(lapic_state), .on_reset = on_reset, .loaded = loaded,
};
DEVICE(Lapic, lapic);
/* clang-format on */

Dev *lapic_new(Cpu *cpu, Error **err)
{
    Dev *d = dev_new(cpu->vm, "apic", NULL, NULL, NULL, NULL, err);

    if (!d)
        return NULL;
    LAPIC(d)->cpu = cpu;
    on_reset(d);
    cpu_set_intc(cpu, &intc, d);
    return d;
}

void lapic_extint(Dev *d, bool level, int (*pic)(void *arg), void *arg)
{
    Lapic *s = LAPIC(d);

    s->pic_ack = pic;
    s->pic_arg = arg;
    __atomic_store_n(&s->extint, level, __ATOMIC_RELEASE);
    if (level)
        cpu_request(s->cpu, CPU_REQ_IRQ);
}

void lapic_install(Vm *vm)
{
    Region *r = region_io(vm->unattached, "apic-msi", 1 * MiB, &window, vm);

    region_map(vm->sysmem, 0xfee00000, r, 100);
    if (!vm->irq)
        vm->irq = &backend;
}
