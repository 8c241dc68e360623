/* core/irq.h - a wire is four words. VM lock held, unless a chip says otherwise. */
#ifndef CORE_IRQ_H
#define CORE_IRQ_H
#include "util/util.h"

typedef struct Irq {
    void (*set)(void *chip, unsigned n, bool level); /* NULL: nobody listens */
    void *chip;
    unsigned n;
    bool level; /* what was last sent: saved as part of the source's outputs */
} Irq;
void irq_set(Irq *w, bool level); /* traces edges, drops repeats */
void irq_pulse(Irq *w);           /* an edge: up and down, never repeated by settle */
/* Listen on wires from outside (qtest's irq_intercept): fn is called before the chip. See dev_tap_in, dev_tap_out. */
typedef struct IrqTap {
    void (*fn)(void *arg, unsigned n, bool level);
    void *arg;
} IrqTap;
#endif
