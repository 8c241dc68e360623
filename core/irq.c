/* core/irq.c - wires, and the way of messages and EOIs between interrupt controllers and CPUs. */
#include "core/irq.h"
#include "core/priv.h"
#include "util/trace.h"

TRACE_POINT(irq_edge, "irq.edge", "wire %" PRIu64 " -> %" PRIu64);

void irq_set(Irq *w, bool level)
{
    if (w->level == level)
        return;
    w->level = level;
    trace(&irq_edge, NULL, w->n, level, 0, 0);
    if (w->set)
        w->set(w->chip, w->n, level);
}

void irq_pulse(Irq *w)
{
    irq_set(w, true);
    irq_set(w, false);
}

void vm_eoi(Vm *vm, uint8_t vector)
{
    if (!vm->priv->eoi)
        return;
    lock_take(&vm->lock);
    vm->priv->eoi(vm->priv->eoi_chip, vector);
    lock_drop(&vm->lock);
}

void vm_set_eoi_handler(Vm *vm, void (*fn)(void *chip, uint8_t vector), void *chip)
{
    vm->priv->eoi = fn;
    vm->priv->eoi_chip = chip;
}

bool vm_ferr(Vm *vm, bool level)
{
    bool ignne;

    if (!vm->priv->ferr)
        return true;
    lock_take(&vm->lock);
    ignne = vm->priv->ferr(vm->priv->ferr_chip, level);
    lock_drop(&vm->lock);
    return ignne;
}

void vm_set_ferr_handler(Vm *vm, bool (*fn)(void *chip, bool level), void *chip)
{
    vm->priv->ferr = fn;
    vm->priv->ferr_chip = chip;
}

bool vm_chips_in_kernel(const Vm *vm) { return vm->irq && vm->irq->pin_set; }

static void port_release(void *p)
{
    ChipPort *c = p;

    if (chip_port(c->vm, c->name) == c)
        vm_unregister(c->vm, "irqchip", c->name);
    g_free(c);
}

void chip_port_new(Obj *chip, const char *name, void (*get)(Obj *chip, void *state), void (*set)(Obj *chip, const void *state))
{
    ChipPort *c = own(chip, g_new0(ChipPort, 1), port_release);

    *c = (ChipPort){ chip->vm, name, chip, get, set };
    vm_register(chip->vm, "irqchip", name, c);
}

const ChipPort *chip_port(Vm *vm, const char *name) { return vm_lookup(vm, "irqchip", name); }

bool vm_msi(Vm *vm, uint64_t addr, uint32_t data) { return vm->irq && vm->irq->msi_send && vm->irq->msi_send(vm, addr, data); }

bool vm_tick(Vm *vm, uint64_t addr, uint32_t data)
{
    return vm->irq && vm->irq->tick ? vm->irq->tick(vm, addr, data) : vm_msi(vm, addr, data);
}
