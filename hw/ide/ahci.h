/* hw/ide/ahci.h - an AHCI adapter inside: ahci.c (registers, life), ahci-port.c (commands), ahci-ncq.c (queued ones). VM lock. */
#ifndef HW_IDE_AHCI_H
#define HW_IDE_AHCI_H
#include "hw/ide/ata.h"
#include "hw/pci/pci.h"

enum { AHCI_PORTS = 6, AHCI_SLOTS = 32, NO_SLOT = 0xff };
#define GHC_HR  1u
#define GHC_IE  2u
#define GHC_AE  (1u << 31)
#define CMD_ST  1u
#define CMD_CLO (1u << 3)
#define CMD_FRE (1u << 4)
#define CMD_FR  (1u << 14)
#define CMD_CR  (1u << 15)
#define CMD_ATAPI (1u << 24)
/* PxIS, PxIE */
#define IS_DHR (1u << 0)
#define IS_PS  (1u << 1)
#define IS_SDB (1u << 3)
#define IS_PC  (1u << 6)
#define IS_OF  (1u << 24)
#define IS_HBD (1u << 28)
#define IS_TFE (1u << 30)
#define SERR_X (1u << 26)
typedef struct AhciPort { /* registers */
    uint32_t clb, clbu, fb, fbu, is, ie, cmd, tfd, sig, sctl, serr, sact, ci;
} AhciPort;
typedef struct AhciRun { /* the command that runs; without padding */
    uint64_t header, table, prd_addr;
    uint32_t prds, prd, prd_left; /* of the PRD table: length, next entry, rest of the present one */
    uint32_t moved;               /* bytes so far */
    uint32_t flying;              /* slots of the queued commands in flight */
    uint8_t last;                 /* the slot before */
    uint8_t slot;                 /* NO_SLOT: none */
    bool failed;                  /* until ST is cleared */
    bool srst;                    /* a FIS asked for a soft reset, the next one ends it */
} AhciRun;
typedef struct AhciReq AhciReq;
typedef struct Ahci {
    PciDev pci;
    AhciReq *first; /* queued commands in flight, newest first */
    IdeBus *bus[AHCI_PORTS];
    uint32_t ghc, is;
    AhciPort port[AHCI_PORTS];
    AhciRun run[AHCI_PORTS];
} Ahci;
#define AHCI(d) ((Ahci *)(void *)(d))
extern const AtaHost ahci_host;
extern const FieldTable ahci_run_table;
static inline Ata *ahci_drive(const Ahci *s, unsigned n) { return s->bus[n]->drv[0]; }
void ahci_start(Ahci *s, unsigned n);       /* the next issued command, if any */
void ahci_abort(Ahci *s, unsigned n);       /* ST cleared */
void ahci_link_up(Ahci *s, unsigned n);     /* after COMRESET: the drive's signature */
void ahci_raise(Ahci *s, unsigned n, uint32_t bits);
/* ahci-port.c */
bool ahci_fetch(Ahci *s, unsigned n, unsigned slot, uint8_t *fis); /* a command header and its FIS into run[n] */
bool ahci_next_prd(Ahci *s, AhciRun *r);
void ahci_load_registers(Ata *a, const uint8_t *fis);
void ahci_send_d2h(Ahci *s, unsigned n, const Ata *a, bool interrupt);
void ahci_send_sdb(Ahci *s, unsigned n, const Ata *a, uint32_t tags, bool interrupt);
/* ahci-ncq.c */
bool ahci_ncq_is(const Ata *a, uint8_t command);
void ahci_ncq_start(Ahci *s, unsigned n, const uint8_t *fis); /* the command in run[n].slot */
bool ahci_ncq_admits(Ahci *s, unsigned n, const uint8_t *fis); /* false: not beside, or not after, what was queued */
void ahci_ncq_refuse(Ahci *s, unsigned n);
void ahci_ncq_forget(Ahci *s, unsigned n); /* answers nobody any more; waits for the disk */
void ahci_ncq_loaded(Ahci *s, unsigned n);
#endif
