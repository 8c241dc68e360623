/*
 * hw/net/microwire.h - the serial interface of a 93C46 EEPROM of 64 words, as network cards show it bit by bit. Commands are nine bits (start,
 * two of opcode, six of address); reading is what there is. The owner saves it with microwire_fields.
 */
#ifndef HW_NET_MICROWIRE_H
#define HW_NET_MICROWIRE_H
#include "core/dev.h"

enum { MICROWIRE_WORDS = 64 };
typedef struct Microwire {
    uint32_t bits, in, out; /* how many came, what they are, what goes out from bit 16 */
} Microwire;
extern const FieldTable microwire_fields;
void microwire_deselect(Microwire *m);
void microwire_clock(Microwire *m, const uint16_t *words, bool di); /* a rising edge while selected */
bool microwire_out(const Microwire *m);                             /* DO; high while nothing is said */
#endif
