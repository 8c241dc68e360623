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

void vm_msi(Vm *vm, uint64_t addr, uint32_t data)
{
    if (vm->irq && vm->irq->msi_send)
        vm->irq->msi_send(vm, addr, data);
}
