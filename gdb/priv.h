/* gdb/priv.h - between proto.c (packets), cmd.c (commands), regs.c (registers), points.c (stops).
 */
#ifndef GDB_PRIV_H
#define GDB_PRIV_H
#include "gdb/gdb.h"

enum { PACKET_MAX = 16384, POINTS_MAX = 4096 };
struct Gdb {
    Vm *vm;
    Chr *chr;
    char *(*exec)(Vm *vm, const char *line);
    VmListener listener;
    /* packets */
    enum { IN_IDLE, IN_BODY, IN_ESCAPE, IN_SUM1, IN_SUM2 } in;
    GByteArray *body;
    uint8_t sum, sum_hi;
    GString *last; /* for '-': send again */
    bool noack, noack_next;
    /* state */
    bool attached;         /* a debugger is connected */
    bool running;          /* it waits for a stop reply */
    bool physical;         /* memory packets mean physical addresses */
    bool swbreak, hwbreak; /* it understands these stop reasons */
    unsigned g_cpu, c_cpu; /* 'H': registers, continue */
    unsigned stop_cpu;     /* of the last stop */
    int step_cpu;          /* stepping, or -1 */
    char *stop;            /* the last stop reply, for '?' */
    char *library;         /* qXfer object being read */
    unsigned next_thread;
    GArray *points; /* of DebugPoint */
};
void gdb__send(Gdb *g, const char *text, size_t n);
void gdb__text(Gdb *g, const char *text);
void gdb__packet(Gdb *g, char *p, size_t n); /* cmd.c; p is 0-terminated */
void gdb__run(Gdb *g, int step_cpu);
void gdb__interrupt(Gdb *g);
void gdb__detach(Gdb *g);
void gdb__stopped(Gdb *g, unsigned cpu, const char *text); /* takes a stop reply */
void gdb__on_state(void *self, RunState now);
void gdb__on_debug(void *self, Cpu *cpu, const Exit *e);
char *gdb__stop_text(Gdb *g, unsigned cpu, int signal, const char *reason);
/* points.c */
const char *gdb__point(Gdb *g, bool add, unsigned type, uint64_t addr,
                       uint64_t len); /* the reply */
bool gdb__arm(Gdb *g);
/* regs.c: target-order hex; NULL/false: no such register */
Cpu *gdb__cpu(Gdb *g, unsigned index);
void gdb__read_all(Cpu *c, GString *out);
bool gdb__read_reg(Cpu *c, unsigned n, GString *out);
bool gdb__write_reg(Cpu *c, unsigned n, const uint8_t *v, size_t len);
size_t gdb__write_all(Cpu *c, const uint8_t *v, size_t len); /* bytes used */
char *gdb__xml(Cpu *c);
/* hex */
void gdb__hex(GString *out, const void *p, size_t n);
bool gdb__unhex(const char *text, size_t n, uint8_t *out); /* n bytes of 2n digits */
#endif
