/*
 * hw/timer/rtc.c - MC146818 real-time clock and 128 bytes of CMOS memory. Source: Motorola MC146818A data sheet.
 * Time is the host's (by -rtc clock=, its steady clock's, or the VM's) plus an offset the guest may change; update, periodic and alarm
 * interrupts run on the VM's clock. A tick is lost when a loaded host comes late or the guest has not read register C since the last one;
 * lost_tick_policy=slew delivers those too, a quarter of a period after the guest has seen one.
 * Left out: daylight saving, the square wave output.
 */
#include "hw/timer/rtc.h"
#include "core/steady.h"
#include "hw/isa/isa.h"
#include <time.h>

enum { SECONDS = 0, MINUTES = 2, HOURS = 4, WEEKDAY = 6, DAY = 7, MONTH = 8, YEAR = 9, REG_A, REG_B, REG_C, REG_D, CENTURY = 0x32 };
enum { A_UIP = 0x80, B_SET = 0x80, B_PIE = 0x40, B_AIE = 0x20, B_UIE = 0x10, B_DM = 4, B_24 = 2, C_IRQF = 0x80, C_PF = 0x40,
       C_AF = 0x20, C_UF = 0x10 };

typedef enum RtcSource { BY_HOST, BY_STEADY, BY_VM } RtcSource;
typedef enum LostTicks { LOST_DISCARD, LOST_SLEW } LostTicks;
enum { LOST_MAX = 1 << 16 };

typedef struct Rtc {
    Dev dev;
    uint8_t source; /* RtcSource */
    uint8_t policy; /* property: LostTicks */
    int64_t offset; /* ns: guest's time minus the source's */
    int64_t next_periodic;
    uint32_t lost;  /* ticks to deliver later */
    uint8_t index;
    uint8_t cmos[128];
    Timer second, periodic, extra;
} Rtc;
#define RTC(d) ((Rtc *)(d))

static int64_t source(const Rtc *s)
{
    Vm *vm = dev_vm(&s->dev);

    return s->source == BY_VM ? vm_now(vm) : s->source == BY_STEADY ? vm_steady_time(vm) : vm_host_time(vm);
}

static int64_t now(const Rtc *s) { return source(s) + s->offset; }

static uint8_t enc(const Rtc *s, int v) { return (uint8_t)(s->cmos[REG_B] & B_DM ? v : v / 10 << 4 | v % 10); }
static int dec(const Rtc *s, uint8_t v) { return s->cmos[REG_B] & B_DM ? v : (v >> 4) * 10 + (v & 15); }

static uint8_t enc_hour(const Rtc *s, int h)
{
    if (s->cmos[REG_B] & B_24)
        return enc(s, h);
    return (uint8_t)(enc(s, h % 12 ? h % 12 : 12) | (h >= 12 ? 0x80 : 0));
}

static int dec_hour(const Rtc *s, uint8_t v)
{
    int h;

    if (s->cmos[REG_B] & B_24)
        return dec(s, v);
    h = dec(s, v & 0x7f) % 12;
    return v & 0x80 ? h + 12 : h;
}

/* The clock registers show the time of this moment. */
static void show(Rtc *s)
{
    time_t t = (time_t)(now(s) / SEC);
    struct tm tm;

    if (s->cmos[REG_B] & B_SET || !gmtime_r(&t, &tm))
        return;
    s->cmos[SECONDS] = enc(s, tm.tm_sec);
    s->cmos[MINUTES] = enc(s, tm.tm_min);
    s->cmos[HOURS] = enc_hour(s, tm.tm_hour);
    s->cmos[WEEKDAY] = enc(s, tm.tm_wday + 1);
    s->cmos[DAY] = enc(s, tm.tm_mday);
    s->cmos[MONTH] = enc(s, tm.tm_mon + 1);
    s->cmos[YEAR] = enc(s, tm.tm_year % 100);
    s->cmos[CENTURY] = enc(s, (tm.tm_year + 1900) / 100);
}

#define FIRST_SECOND (-2200000000ll) /* 1900 */
#define LAST_SECOND  4400000000ll    /* 2109 */
/* The registers were written: they are the time from now on. */
static void take(Rtc *s)
{
    struct tm tm = { .tm_sec = dec(s, s->cmos[SECONDS]), .tm_min = dec(s, s->cmos[MINUTES]),
                     .tm_hour = dec_hour(s, s->cmos[HOURS]), .tm_mday = dec(s, s->cmos[DAY]),
                     .tm_mon = dec(s, s->cmos[MONTH]) - 1,
                     .tm_year = dec(s, s->cmos[YEAR]) + dec(s, s->cmos[CENTURY]) * 100 - 1900 };
    time_t t = CLAMP(timegm(&tm), FIRST_SECOND, LAST_SECOND); /* 64-bit ns must hold what the guest says */

    s->offset = (int64_t)t * SEC - source(s);
}

static bool irq(const Dev *d)
{
    const Rtc *s = RTC(d);

    return s->cmos[REG_C] & s->cmos[REG_B] & (C_PF | C_AF | C_UF);
}

static void arm_second(Rtc *s)
{
    if (s->cmos[REG_B] & (B_UIE | B_AIE) && !(s->cmos[REG_B] & B_SET))
        timer_in(&s->second, SEC - now(s) % SEC);
    else
        timer_del(&s->second);
}

static int64_t period(const Rtc *s)
{
    unsigned r = s->cmos[REG_A] & 15;

    if (!r || (s->cmos[REG_A] >> 4 & 7) > 2)
        return 0;
    if (r < 3)
        r += 7;
    return (int64_t)(1u << (r - 1)) * SEC / 32768;
}

static void arm_periodic(Rtc *s)
{
    int64_t p = s->cmos[REG_B] & B_PIE ? period(s) : 0;

    s->lost = 0;
    timer_del(&s->extra);
    if (!p) {
        timer_del(&s->periodic);
        return;
    }
    s->next_periodic = vm_now(dev_vm(&s->dev)) + p;
    timer_at(&s->periodic, s->next_periodic);
}

static bool alarm_matches(const Rtc *s)
{
    for (unsigned i = SECONDS; i <= HOURS; i += 2)
        if ((s->cmos[i + 1] & 0xc0) != 0xc0 && s->cmos[i + 1] != s->cmos[i])
            return false;
    return true;
}

static void second_passed(Dev *d)
{
    Rtc *s = RTC(d);

    show(s);
    s->cmos[REG_C] |= C_UF;
    if (alarm_matches(s))
        s->cmos[REG_C] |= C_AF;
    arm_second(s);
}

static void period_passed(Dev *d)
{
    Rtc *s = RTC(d);
    int64_t p = period(s), t = vm_now(dev_vm(d));

    uint64_t lost;

    if (!p)
        return;
    lost = (uint64_t)(MAX(t - s->next_periodic, 0) / p);
    s->next_periodic += (int64_t)(lost + 1) * p;
    timer_at(&s->periodic, s->next_periodic);
    lost += s->cmos[REG_C] & C_PF ? 1 : 0;
    s->cmos[REG_C] |= C_PF;
    if (s->policy == LOST_SLEW)
        s->lost = (uint32_t)MIN(s->lost + lost, LOST_MAX);
}

static void extra_tick(Dev *d)
{
    Rtc *s = RTC(d);

    if (!s->lost || s->cmos[REG_C] & C_PF) /* the next reading of register C comes here again */
        return;
    s->lost--;
    s->cmos[REG_C] |= C_PF;
}

static uint8_t read_reg(Rtc *s, unsigned n)
{
    uint8_t v;

    if (n <= YEAR || n == CENTURY)
        show(s);
    switch (n) {
    case REG_A: return (uint8_t)(s->cmos[REG_A] | (!(s->cmos[REG_B] & B_SET) && now(s) % SEC > SEC - 244 * US ? A_UIP : 0));
    case REG_C:
        v = s->cmos[REG_C] | (irq(&s->dev) ? C_IRQF : 0);
        s->cmos[REG_C] = 0;
        if (s->lost && !timer_pending(&s->extra))
            timer_in(&s->extra, period(s) / 4);
        return v;
    case REG_D: return 0x80;
    default: return s->cmos[n];
    }
}

static void write_reg(Rtc *s, unsigned n, uint8_t v)
{
    switch (n) {
    case REG_A:
        s->cmos[REG_A] = v & 0x7f;
        arm_periodic(s);
        break;
    case REG_B:
        if (v & B_SET && !(s->cmos[REG_B] & B_SET))
            show(s);
        if (!(v & B_SET) && s->cmos[REG_B] & B_SET) {
            s->cmos[REG_B] = v;
            take(s);
        }
        s->cmos[REG_B] = v;
        arm_second(s);
        arm_periodic(s);
        break;
    case REG_C:
    case REG_D: break;
    default:
        if (n <= YEAR && !(n & 1 && n < WEEKDAY))
            show(s);
        s->cmos[n] = v;
        if ((n <= YEAR && !(n & 1 && n < WEEKDAY)) || n == CENTURY) {
            if (!(s->cmos[REG_B] & B_SET))
                take(s);
        }
    }
}

/* Index and data with reads that clear and values made at the moment: code, not INDEXED rows. */
static MemResult rtc_read(void *o, uint64_t off, unsigned size, uint64_t *val, MemAttrs at)
{
    Rtc *s = o;

    *val = off ? read_reg(s, s->index) : 0xff;
    return MEM_OK;
}

static MemResult rtc_write(void *o, uint64_t off, unsigned size, uint64_t val, MemAttrs at)
{
    Rtc *s = o;

    if (off)
        write_reg(s, s->index, (uint8_t)val);
    else
        s->index = val & 0x7f;
    return MEM_OK;
}
static const RegionOps rtc_ops = { .read = rtc_read, .write = rtc_write, .takes = { 1, 1, false }, .does = { 1, 1, false } };

void rtc_set_cmos(Dev *d, unsigned n, uint8_t v) { RTC(d)->cmos[n & 127] = v; }
uint8_t rtc_get_cmos(const Dev *d, unsigned n) { return RTC(d)->cmos[n & 127]; }

static bool init(Obj *o, Error **err)
{
    Rtc *s = (Rtc *)o;

    s->cmos[REG_A] = 0x26;
    s->cmos[REG_B] = B_24;
    s->cmos[REG_D] = 0x80;
    if (o->vm->cfg.rtc_clock)
        s->source = !strcmp(o->vm->cfg.rtc_clock, "vm") ? BY_VM : !strcmp(o->vm->cfg.rtc_clock, "rt") ? BY_STEADY : BY_HOST;
    s->offset = vm_host_time(o->vm) - source(s);
    if (o->vm->cfg.rtc_base && !strcmp(o->vm->cfg.rtc_base, "localtime")) {
        time_t t = time(NULL);
        struct tm tm;

        localtime_r(&t, &tm);
        s->offset += (int64_t)tm.tm_gmtoff * SEC;
    } else if (o->vm->cfg.rtc_base && strcmp(o->vm->cfg.rtc_base, "utc")) {
        GDateTime *dt = g_date_time_new_from_iso8601(o->vm->cfg.rtc_base, g_time_zone_new_utc());

        if (!dt) {
            fail(err, "-rtc base=%s: not a date", o->vm->cfg.rtc_base);
            return error_hint(err, "utc, localtime or 2006-06-17T16:01:21");
        }
        s->offset = g_date_time_to_unix(dt) * SEC - source(s);
        g_date_time_unref(dt);
    }
    return true;
}

static void on_reset(Dev *d)
{
    Rtc *s = RTC(d);

    s->cmos[REG_B] &= (uint8_t)~(B_PIE | B_AIE | B_UIE);
    s->cmos[REG_C] = 0;
}

static bool check_state(const Dev *d, Error **err)
{
    if (RTC(d)->index > 127 || RTC(d)->next_periodic < 0 || RTC(d)->next_periodic > INT64_MAX / 4 || RTC(d)->lost > LOST_MAX ||
        RTC(d)->offset > INT64_MAX / 2 || RTC(d)->offset < -INT64_MAX / 2)
        return fail(err, "the clock cannot be in that state");
    return true;
}

/* clang-format off */
static const Field state[] = {
    FIELD(Rtc, offset, .keep = true), FIELD(Rtc, next_periodic), FIELD(Rtc, index), BYTES(Rtc, cmos, .keep = true),
    TIMER(Rtc, second, second_passed, CLOCK_VM), TIMER(Rtc, periodic, period_passed, CLOCK_VM), FIELD(Rtc, lost),
    TIMER(Rtc, extra, extra_tick, CLOCK_VM), TRANSIENT(Rtc, source, "of the configuration", .keep = true),
};
static const char *const policies[] = { "discard", "slew", NULL };
static const Prop props[] = { PROP_ENUM(Rtc, policy, "lost_tick_policy", policies, "discard", "what becomes of ticks that the guest did not see") };
static const Out outs[] = { { "irq", irq } };
static const IsaClass rtc = {
    ISA_DEVICE(Rtc, "mc146818rtc", "Real-time clock"), .dev.no_user = true, .dev.obj.init = init,
    .dev.obj.props = TABLE(props), .dev.state = TABLE(state), .dev.outs = outs, .dev.nouts = 1, .dev.on_reset = on_reset, .dev.check = check_state,
    .port[0] = { .base = 0x70, .ops = &rtc_ops, .size = 2, .name = "rtc" },
};
DEVICE_OF(Rtc, rtc, &rtc.dev);
/* clang-format on */
