/*
 * hw/isa/tco.h - the TCO watchdog of the ICH9: its registers are rows of the bridge's power management bank, its state is part of the
 * bridge's. VM lock. Source: Intel ICH9 data sheet (316972), 13.9 and the general control and status register, 10.1.
 */
#ifndef HW_ISA_TCO_H
#define HW_ISA_TCO_H
#include "core/dev.h"

typedef struct Tco {
    uint16_t sts1, sts2, cnt1, cnt2, time; /* time: of 0.6 s */
    uint8_t in, out, message[2], boots, legacy;
    uint32_t gcs;
    Timer bark;
} Tco;
enum { TCO_BASE = 0x60, TCO_TIME_MASK = 0x3ff, TCO_TIME_RESET = 4, TCO1_STS_BITS = 0x1f8f, TCO2_STS_BITS = 0x1f, TCO1_CNT_BITS = 0x1b00 };
enum { TCO_TIMEOUT = 8, TCO_SECOND_TO = 2, TCO_BOOT = 4, TCO_HALT = 1 << 11, TCO_LOCK = 1 << 12, GCS_OFFSET = 0x3410, GCS_NO_REBOOT = 1 << 5 };
/* Of a device T with its Tco in m. The callbacks are the device's, which knows where that is: they call the functions below. */
#define TCO_ROWS(T, m, count, reload, halt, set_time)                                                                                       \
    { "TCO_RLD", TCO_BASE + 0x00, NOFIELD(2), .value = count, .wrote = reload, .doc = "time left; a write reloads" },                     \
    { "TCO_DAT_IN", TCO_BASE + 0x02, REG(T, m.in), .rw = 0xff }, { "TCO_DAT_OUT", TCO_BASE + 0x03, REG(T, m.out), .rw = 0xff },          \
    { "TCO1_STS", TCO_BASE + 0x04, REG(T, m.sts1), .w1c = TCO1_STS_BITS, .doc = "bit 3: the time was up once" },                          \
    { "TCO2_STS", TCO_BASE + 0x06, REG(T, m.sts2), .w1c = TCO2_STS_BITS, .keep = true, .doc = "bit 1: and a second time" },               \
    { "TCO1_CNT", TCO_BASE + 0x08, REG(T, m.cnt1), .rw = TCO1_CNT_BITS, .write = halt, .doc = "bit 11: halt; bit 12: for good" },         \
    { "TCO2_CNT", TCO_BASE + 0x0a, REG(T, m.cnt2), .reset = 8, .rw = 0x3e },                                                              \
    { "TCO_MESSAGE1", TCO_BASE + 0x0c, .at = offsetof(T, m.message[0]), .size = 1, .rw = 0xff },                                          \
    { "TCO_MESSAGE2", TCO_BASE + 0x0d, .at = offsetof(T, m.message[1]), .size = 1, .rw = 0xff },                                          \
    { "TCO_WDCNT", TCO_BASE + 0x0e, REG(T, m.boots), .rw = 0xff }, { "SW_IRQ_GEN", TCO_BASE + 0x10, REG(T, m.legacy), .reset = 3, .rw = 3 }, \
    { "TCO_TMR", TCO_BASE + 0x12, REG(T, m.time), .reset = TCO_TIME_RESET, .rw = TCO_TIME_MASK, .write = set_time, .doc = "in 0.6 s" }
#define TCO_FIELDS(T, m, up) TIMER(T, m.bark, up, CLOCK_VM)

void tco_reload(Dev *d, Tco *t);                  /* it counts from TCO_TMR on, unless it is halted */
uint16_t tco_left(const Dev *d, const Tco *t);    /* of 0.6 s */
void tco_control_written(Dev *d, Tco *t, uint16_t old);
void tco_time_written(Tco *t, uint16_t old);
bool tco_up(Dev *d, Tco *t);                      /* the timer fired; true: for the first time, which is an SMI's cause */
#endif
