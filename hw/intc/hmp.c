/*
 * hw/intc/hmp.c - the interrupt controllers by hand: info pic, info lapic. Wherever the chips are, in our models or in the
 * accelerator, their state is looked at through the same structures (core/irqchip.h).
 */
#include "core/api/x86.h"
#include "core/irqchip.h"
#include "core/vm.h"

enum { PINS = 24, MASKED = 1 << 16, LEVEL = 1 << 15, LOW = 1 << 13, LOGICAL = 1 << 11, REMOTE = 1 << 14 };
static const char *const delivery[8] = { "fixed", "lowest", "SMI", "...", "NMI", "INIT", "SIPI", "ExtINT" };

static void print_pins(GString *out, const char *what, uint32_t bits)
{
    g_string_append_printf(out, "  %-8s", what);
    for (unsigned i = 0; i < PINS; i++)
        if (bits >> i & 1)
            g_string_append_printf(out, " %u", i);
    g_string_append(out, bits ? "\n" : " (none)\n");
}

static void print_ioapic(Vm *vm, GString *out)
{
    const ChipPort *p = chip_port(vm, "ioapic");
    IoapicState s = { 0 };
    uint32_t remote = 0;

    if (!p)
        return;
    p->get(p->chip, &s);
    g_string_append_printf(out, "ioapic0: ver=0x20 id=0x%02x sel=0x%02x\n", s.id, s.select);
    for (unsigned i = 0; i < PINS; i++) {
        uint64_t e = s.entry[i];

        remote |= (uint32_t)(e & LEVEL && e & REMOTE) << i;
        g_string_append_printf(out, "  pin %-2u 0x%016" PRIx64 " dest=%x vec=%-3u %s %-5s %-6s %-6s %s\n", i, e, (unsigned)(e >> 56),
                               (unsigned)(e & 0xff), e & LOW ? "active-lo" : "active-hi", e & LEVEL ? "level" : "edge",
                               e & MASKED ? "masked" : "", delivery[e >> 8 & 7], e & LOGICAL ? "logical" : "physical");
    }
    print_pins(out, "IRR", s.irr);
    print_pins(out, "Remote IRR", remote);
}

static void print_pic(Vm *vm, unsigned n, GString *out)
{
    g_autofree char *name = g_strdup_printf("pic%u", n);
    const ChipPort *p = chip_port(vm, name);
    PicState s = { 0 };

    if (!p)
        return;
    p->get(p->chip, &s);
    g_string_append_printf(out, "%s: irr=%02x imr=%02x isr=%02x hprio=%u irq_base=%02x rr_sel=%u elcr=%02x fnm=%u\n", name, s.irr, s.imr,
                           s.isr, s.priority_add, s.icw2, s.read_isr, s.elcr, s.icw4 >> 4 & 1);
}

static void look(Hmp *h)
{
    vm_look_begin(h->vm);
    if (h->vm->irq && h->vm->irq->chip_pull)
        h->vm->irq->chip_pull(h->vm);
}

void hmp_info_pic(Hmp *h)
{
    look(h);
    print_ioapic(h->vm, h->out);
    print_pic(h->vm, 1, h->out);
    print_pic(h->vm, 0, h->out);
    vm_look_end(h->vm);
}

/* ---- local APIC ---- */
static void print_lvt(GString *out, const char *name, uint32_t v, bool timer)
{
    static const char *const modes[] = { "one-shot", "periodic", "tsc-deadline", "reserved" };

    g_string_append_printf(out, "%s\t 0x%08x %s %-5s %-6s %-12s %-6s", name, v, v & LOW ? "active-lo" : "active-hi",
                           v & LEVEL ? "level" : "edge", v & MASKED ? "masked" : "", timer ? modes[v >> 17 & 3] : "", delivery[v >> 8 & 7]);
    g_string_append_printf(out, " (vec %u)\n", v & 0xff);
}

static void print_vectors(GString *out, const char *name, const uint32_t *reg)
{
    bool any = false;

    g_string_append_printf(out, "%s\t", name);
    for (unsigned i = 0; i < 256; i++)
        if (reg[i / 32] >> (i % 32) & 1) {
            g_string_append_printf(out, " %u", i);
            any = true;
        }
    g_string_append(out, any ? "\n" : " (none)\n");
}

static void print_lapic(const LapicState *s, unsigned cpu, GString *out)
{
    static const struct { const char *name; uint8_t reg; } lvts[] = { { "LVT0", 0x35 }, { "LVT1", 0x36 }, { "LVTPC", 0x34 },
                                                                      { "LVTERR", 0x37 }, { "LVTTHMR", 0x33 }, { "LVTT", 0x32 } };
    static const uint8_t divide[] = { 2, 4, 8, 16, 32, 64, 128, 1 };
    const uint32_t *r = s->reg;

    g_string_append_printf(out, "dumping local APIC state for CPU %u\n\n", cpu);
    for (size_t i = 0; i < G_N_ELEMENTS(lvts); i++)
        print_lvt(out, lvts[i].name, r[lvts[i].reg], lvts[i].reg == 0x32);
    g_string_append_printf(out, "Timer\t DCR=0x%x (divide by %u) initial_count = %u\n", r[0x3e], divide[(r[0x3e] >> 1 & 4) | (r[0x3e] & 3)],
                           r[0x38]);
    g_string_append_printf(out, "SPIV\t 0x%08x APIC %s, focus=%s, spurious vec %u\n", r[0xf], r[0xf] & 0x100 ? "enabled" : "disabled",
                           r[0xf] & 0x200 ? "on" : "off", r[0xf] & 0xff);
    g_string_append_printf(out, "ICR\t 0x%08x\nICR2\t 0x%08x\nESR\t 0x%08x\n", r[0x30], r[0x31], r[0x28]);
}

static void print_lapic_queues(const LapicState *s, GString *out)
{
    uint32_t isr[8], irr[8];

    for (unsigned i = 0; i < 8; i++) {
        isr[i] = s->reg[0x10 + i];
        irr[i] = s->reg[0x20 + i];
    }
    print_vectors(out, "ISR", isr);
    print_vectors(out, "IRR", irr);
    g_string_append_printf(out, "\nAPR 0x%02x TPR 0x%02x DFR 0x%02x LDR 0x%02x PPR 0x%02x\n", s->reg[9] & 0xff, s->reg[8] & 0xff,
                           s->reg[0xe] >> 28, s->reg[0xd] >> 24, s->reg[0xa] & 0xff);
}

void hmp_info_lapic(Hmp *h, const HmpInfoLapicArgs *args)
{
    bool found = false;

    look(h);
    for (unsigned i = 0; i < h->vm->ncpus; i++) {
        const Cpu *c = h->vm->cpus[i];
        LapicState s = { 0 };

        if ((args->has_apic_id ? c->apic_id != args->apic_id : i != h->cpu) || !c->intc || !c->intc->get)
            continue;
        c->intc->get(c->intc_chip, &s);
        print_lapic(&s, i, h->out);
        print_lapic_queues(&s, h->out);
        found = true;
    }
    vm_look_end(h->vm);
    if (!found)
        g_string_append(h->out, "Local APIC not found\n");
}
