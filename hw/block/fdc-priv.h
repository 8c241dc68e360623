/* hw/block/fdc-priv.h - the floppy controller's state, shared by its registers (fdc.c) and its data commands (fdc-data.c). */
#ifndef HW_BLOCK_FDC_PRIV_H
#define HW_BLOCK_FDC_PRIV_H
#include "hw/block/fdc.h"
#include "hw/isa/isa.h"

enum { DOR_NRESET = 4, DOR_DMAGATE = 8 };
enum { ST0_ABNORMAL = 0x40, ST0_INVALID = 0x80, ST0_POLLED = 0xc0, ST0_SE = 0x20, ST0_EC = 0x10, ST0_NR = 8 };
enum { ST1_MA = 1, ST1_NW = 2, ST1_ND = 4, ST1_DE = 0x20, ST1_EN = 0x80 };
enum { ST2_WC = 0x10, ST2_CM = 0x40, ST2_DD = 0x20 };
enum { CONFIG_EIS = 0x40, CONFIG_EFIFO = 0x20, CONFIG_POLL = 0x10 };
typedef enum FdcPhase { FDC_COMMAND, FDC_EXECUTION, FDC_RESULT } FdcPhase;
/* What a data command does now: the head comes over the sector; the disk works; the host takes or gives bytes. */
typedef enum FdcStage { FDC_NOTHING, FDC_PACE, FDC_IO, FDC_HOST } FdcStage;
typedef struct FdcIo FdcIo;

typedef struct Fdc {
    Dev dev;
    uint32_t iobase, irq, dma; /* properties */
    FloppyBus *cable;
    uint8_t dor, tdr, rate, precomp;
    uint8_t phase, stage;
    uint8_t in[9], nin;        /* command bytes that came */
    uint8_t out[10], nout, at; /* result bytes, and how many were read */
    uint8_t finished;          /* a result waits and interrupts until its first byte is read */
    uint8_t sense;             /* drives whose seek or poll waits for SENSE INTERRUPT, a bit each */
    uint8_t sense_st0[4], pcn[4];
    uint8_t seeking;           /* drives that are busy with a seek, until it is sensed */
    uint8_t srt_hut, hlt_nd, config, pretrk, lock, perpendicular, eot;
    uint8_t st1, st2, c, h, r, n; /* of the sector in hand */
    uint8_t left;              /* FORMAT, VERIFY by count: sectors to go */
    uint8_t tc;                /* the DMA count ran out */
    uint16_t pos, len;         /* in data */
    uint8_t data[FLOPPY_SECTOR];
    uint32_t flying;
    Timer pace, seek[4];
    FdcIo *io;
} Fdc;
#define FDC(d) ((Fdc *)(d))

static inline Floppy *fdc__drive(const Fdc *s, unsigned n) { return n < FLOPPY_UNITS ? s->cable->unit[n] : NULL; }
static inline unsigned fdc__opcode(const Fdc *s) { return s->in[0] & 0x1f; }
void fdc__result(Fdc *s, const uint8_t *bytes, unsigned n, bool interrupt); /* ends the command */
/* fdc-data.c */
void fdc__start_data(Fdc *s); /* a whole data command is in s->in */
void fdc__start_read_id(Fdc *s);
void fdc__sector(Dev *d);     /* the pace timer */
bool fdc__wants_byte(const Fdc *s, bool *to_host); /* programmed I/O: the FIFO can be read or written */
uint8_t fdc__give_byte(Fdc *s);
void fdc__take_byte(Fdc *s, uint8_t v);
void fdc__forget(Fdc *s);     /* ends what is in flight without a trace */
void fdc__resume(Fdc *s);     /* after a load */
void fdc__dma_ready(void *o);
#endif
