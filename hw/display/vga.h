/*
 * hw/display/vga.h - a VGA inside: vga.c (ports, life), vga-mem.c (the window at A0000h), vga-draw.c (pixels),
 * vbe.c (Bochs display interface). VM lock.
 * Memory: byte of plane p at address a lies at vram[4 * a + p].
 */
#ifndef HW_DISPLAY_VGA_H
#define HW_DISPLAY_VGA_H
#include "core/vm.h"
#include "hw/pci/pci.h"
#include "ui/ui.h"

enum { VBE_ID, VBE_XRES, VBE_YRES, VBE_BPP, VBE_ENABLE, VBE_BANK, VBE_VWIDTH, VBE_VHEIGHT, VBE_XOFF, VBE_YOFF, VBE_VRAM64K, VBE_REGS };
enum { VBE_ON = 1, VBE_CAPS = 2, VBE_DAC8 = 0x20, VBE_LFB = 0x40, VBE_NOCLEAR = 0x80 };
enum { VGA_WINDOW = 0x20000 };
typedef struct Vga {
    PciDev pci;
    uint32_t vgamem_mb;
    RamBlock *vram;
    UiConsole *con;
    Region *bank; /* 64 KiB of vram at A0000h, where that is what the guest sees */
    /* registers */
    uint8_t sr_index, gr_index, ar_index, cr_index;
    uint8_t sr[8], gr[16], ar[32], cr[32];
    bool ar_data; /* the next write to 3C0h is data */
    uint8_t msr, fcr, st01;
    uint8_t dac_mask, dac_state, dac_read, dac_write, dac_sub;
    uint8_t dac_in[3], palette[768];
    uint8_t latch[4];
    uint16_t vbe_index, vbe[VBE_REGS];
    /* drawing */
    bool stale;   /* something other than vram changed */
    bool blink;   /* phase that was drawn */
} Vga;
#define VGA(d) ((Vga *)(void *)(d))

extern const RegionOps vga_window_ops, vbe_port_ops, vbe_mmio_ops;
extern const UiConsoleOps vga_console_ops;
static inline bool vbe_on(const Vga *s) { return s->vbe[VBE_ENABLE] & VBE_ON; }
static inline uint8_t *vga_mem(const Vga *s) { return s->vram->host; }
void vga_update_bank(Vga *s);
void vbe_reset(Vga *s);
#endif
