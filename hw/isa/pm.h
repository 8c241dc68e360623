/*
 * hw/isa/pm.h - ACPI fixed hardware of south bridges: PM1 event and control registers, PM timer, APM command ports.
 * A class that has them begins with PmDev, has pm_base as its base, and lists the rows in banks of its own. VM lock.
 */
#ifndef HW_ISA_PM_H
#define HW_ISA_PM_H
#include "hw/isa/acpihp.h"

typedef struct PmDev {
    PciDev pci; /* first */
    uint16_t sts, en;
    uint32_t cnt;
    uint8_t apm_cmd, apm_sts;
    Timer overflow;
    void (*raise_gpe)(Dev *d, uint16_t events); /* of the class: its general purpose event registers */
    AcpiHp hp;
    bool hp_bridges;          /* property: buses behind bridges too */
    VmListener listener;
} PmDev;
#define PM(d) ((PmDev *)(void *)(d))
enum { PM_TMR_STS = 1, PM_GBL_STS = 0x20, PM_PWRBTN_STS = 0x100, PM_RTC_STS = 0x400, PM_STS_BITS = 0xfb31, PM_EN_BITS = 0x0521 };
enum { PM_SCI_EN = 1, PM_SLP_EN = 1 << 13 };
extern const DevClass pm_base;
/* bits: size of PM1_CNT */
#define PM1_ROWS(bits)                                                                                                    \
    { "PM1_STS", 0x00, REG(PmDev, sts), .w1c = PM_STS_BITS, .doc = "events" },                                            \
    { "PM1_EN", 0x02, REG(PmDev, en), .rw = PM_EN_BITS, .write = pm_en_written, .doc = "events that raise the SCI" },     \
    { "PM1_CNT", 0x04, .at = offsetof(PmDev, cnt), .size = (bits) / 8, .rw = 0x3c06, .write = pm_cnt_written,             \
      .doc = "sleep type and enable, SCI enable" },                                                                       \
    { "PM_TMR", 0x08, NOFIELD(4), .value = pm_timer, .doc = "3.58 MHz, 24 bits" }
/* the class supplies apm_w: the commands of its FADT, its SMI */
#define HP_ROWS ACPIHP_ROWS(PmDev, pm_hp_selected, pm_hp_eject, pm_hp_removable)
unsigned pm_hp_selected(const Dev *d);
void pm_hp_eject(Dev *d, uint64_t val, unsigned lanes);
uint64_t pm_hp_removable(const Dev *d);
#define PROP_HP_BRIDGES                                                                                                   \
    PROP(PmDev, hp_bridges, "acpi-pci-hotplug-with-bridge-support", true, "hot-plug behind bridges by ACPI, not by the ports themselves")
void pm_take_bus(void *pm, PciBus *b); /* serve its hot-plug; PciBus.adopt */
#define APM_ROWS                                                                                                          \
    { "APMC", 0, REG(PmDev, apm_cmd), .rw = 0xff, .write = apm_w, .doc = "command" },                                     \
    { "APMS", 1, REG(PmDev, apm_sts), .rw = 0xff, .doc = "status" }
void pm_en_written(Dev *d, uint64_t old);
void pm_cnt_written(Dev *d, uint64_t old);
uint64_t pm_timer(const Dev *d);
bool pm_sci(const Dev *d);                 /* level, of the fixed events */
void pm_acpi_mode(PmDev *s, bool on);      /* SCI_EN, which only the chipset changes */
#endif
