/*
 * core/state.h - saved state: self-describing records `key name kind length bytes`, one walk for save,
 * load, dump, hash and diff. Loads are transactional: parsed and checked into shadows, then
 * committed, then every wire propagates once. Streams name things by stable keys (3b.19).
 */
#ifndef CORE_STATE_H
#define CORE_STATE_H
#include "core/dev.h"

typedef struct StateOut {
    GByteArray *b;
} StateOut;
typedef struct StateIn {
    const uint8_t *p;
    size_t n, at;
    bool bad; /* ran out: all further gets return 0 */
} StateIn;
void put_u8(StateOut *o, uint8_t v);
void put_u16(StateOut *o, uint16_t v);
void put_u32(StateOut *o, uint32_t v);
void put_u64(StateOut *o, uint64_t v);
void put_bytes(StateOut *o, const void *p, size_t n);
void put_str(StateOut *o, const char *s); /* u16 length */
uint8_t get_u8(StateIn *i);
uint16_t get_u16(StateIn *i);
uint32_t get_u32(StateIn *i);
uint64_t get_u64(StateIn *i);
bool get_bytes(StateIn *i, void *p, size_t n);
char *get_str(StateIn *i); /* caller frees; NULL when bad, which a name that is not is, too */
bool state_name_ok(const char *s, size_t n); /* UTF-8 without control characters: fit for a message */

/* One device; the blob is self-contained. Loading refuses or applies whole. */
GByteArray *dev_save(Dev *d);
bool dev_load(Dev *d, const uint8_t *p, size_t n, Error **err);
/* The machine without RAM: header, config, clock, CPUs (CpuReg tables), devices by key. VM paused. */
bool vm_save_state(Vm *vm, GByteArray *out, Error **err);
bool vm_load_state(Vm *vm, const uint8_t *p, size_t n, Error **err); /* all or nothing */
/* The same in two steps, VM lock held from the first to the second: parsed and checked whole, nothing changed yet
 * (NULL + err: refused); then committed, which cannot fail. `p` stays valid until the load is freed. RAM is loaded
 * between the two. */
typedef struct StateLoad StateLoad;
StateLoad *vm_load_check(Vm *vm, const uint8_t *p, size_t n, Error **err);
void vm_load_commit(StateLoad *l);
void vm_load_free(StateLoad *l);
char *dev_state_key(const Dev *d); /* from topology; caller frees */
void vm_dump_state(Vm *vm, GString *out); /* text, for diff */
/* Further sections, written by others (block jobs, ..): key, save, load-into-shadow, commit. */
typedef struct StateSection {
    const char *key;
    bool (*wanted)(Vm *vm); /* anything to save? NULL: yes. CPUs are synced already */
    void (*save)(Vm *vm, StateOut *o);
    bool (*load)(Vm *vm, StateIn *i, bool commit, Error **err);
} StateSection;
void vm_add_section(Vm *vm, const StateSection *s);
/* Bytes of the instance covered by no table (contract test); prints them to out. */
unsigned dev_uncovered(const DevEntry *e, GString *out);
#endif
