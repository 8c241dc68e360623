/*
 * hw/isa/smbus.h - what the SMBus host controllers of the PIIX4 and the ICH9 have in common: the host's seven registers. No slave is on
 * the bus: every transfer ends with a device error, which is what drivers make of an empty socket. VM lock.
 * Sources: Intel 82371AB (PIIX4) 7.3, ICH9 (316972) chapter 19.
 */
#ifndef HW_ISA_SMBUS_H
#define HW_ISA_SMBUS_H
#include "core/dev.h"

enum { SMB_INTR = 2, SMB_DEV_ERR = 4, SMB_BUS_ERR = 8, SMB_FAILED = 0x10, SMB_ENDS = SMB_INTR | SMB_DEV_ERR | SMB_BUS_ERR | SMB_FAILED };
enum { SMB_INTREN = 1, SMB_KILL = 2, SMB_START = 0x40 };
typedef struct SmbHost {
    uint8_t sts, cnt, cmd, addr, d0, d1, block;
} SmbHost;
/* Rows of a device T with its SmbHost in h: status bits written 1 to clear, what a read of them does, control bits, what their write does. */
#define SMB_ROWS(T, h, w1c_bits, sts_read, cnt_bits, cnt_write)                                                            \
    { "HST_STS", 0, REG(T, h.sts), .w1c = (w1c_bits), .on_read = sts_read, .doc = "how the transfer ended" },             \
    { "HST_CNT", 2, REG(T, h.cnt), .rw = (cnt_bits), .write = cnt_write, .doc = "start, kill, protocol, interrupt" },     \
    { "HST_CMD", 3, REG(T, h.cmd), .rw = 0xff }, { "HST_ADD", 4, REG(T, h.addr), .rw = 0xff },                            \
    { "HST_DAT0", 5, REG(T, h.d0), .rw = 0xff }, { "HST_DAT1", 6, REG(T, h.d1), .rw = 0xff },                             \
    { "BLOCK_DB", 7, REG(T, h.block), .rw = 0xff }

static inline bool smb_irq(const SmbHost *h, uint8_t ends) { return h->cnt & SMB_INTREN && h->sts & ends; }

/* The control register was written. */
static inline void smb_started(SmbHost *h, bool enabled)
{
    if (h->cnt & SMB_KILL)
        h->sts |= SMB_FAILED;
    else if (h->cnt & SMB_START && enabled)
        h->sts |= SMB_DEV_ERR;
    h->cnt &= (uint8_t)~SMB_START;
}
#endif
