/* hw/net/microwire.c - see microwire.h. Source: 93C46 data sheet (National NM93C46). Left out: writing and erasing. */
#include "hw/net/microwire.h"

enum { COMMAND_BITS = 9, OP_READ = 2 };

void microwire_deselect(Microwire *m) { *m = (Microwire){ 0 }; }

void microwire_clock(Microwire *m, const uint16_t *words, bool di)
{
    if (m->bits >= COMMAND_BITS) {
        m->out = m->out << 1 & 0x1ffff;
        return;
    }
    if (!m->bits && !di)
        return; /* before the start bit */
    m->in = (m->in << 1 | di) & 0x1ff;
    if (++m->bits == COMMAND_BITS && (m->in >> 6 & 3) == OP_READ)
        m->out = words[m->in & (MICROWIRE_WORDS - 1)]; /* bit 16 is what DO shows: a zero first */
}

bool microwire_out(const Microwire *m) { return m->bits < COMMAND_BITS || m->out >> 16 & 1; }

static const Field fields[] = { FIELD(Microwire, bits), FIELD(Microwire, in), FIELD(Microwire, out) };
const FieldTable microwire_fields = TABLE(fields);
