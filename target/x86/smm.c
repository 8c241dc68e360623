/*
 * target/x86/smm.c - system management mode: entry, RSM, the AMD64 save map (which QEMU's machines and so the
 * firmware expect of 64-bit CPUs). Source: AMD APM vol. 2 section 10.2, Intel SDM vol. 3C chapter 31.
 */
#include "target/x86/cpu.h"
#include "util/trace.h"

enum { MAP = 0xfe00 /* from SMBASE */, REVISION = 0x20064 };

static void put(X86 *s, unsigned at, unsigned n, uint64_t v)
{
    uint8_t b[8];

    le_store(b, n, v);
    as_write(s->env.cpu->mem[1], s->smbase + at, b, n, (MemAttrs){ .secure = true });
}

static uint64_t get(X86 *s, unsigned at, unsigned n)
{
    uint8_t b[8] = { 0 };

    as_read(s->env.cpu->mem[1], s->smbase + at, b, n, (MemAttrs){ .secure = true });
    return le_load(b, n);
}

static const uint8_t seg_order[] = { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS };

static void save(X86 *s)
{
    for (unsigned i = 0; i < 6; i++) {
        const X86Seg *g = &s->seg[seg_order[i]];
        uint32_t a = seg_attr(s, seg_order[i]);
        unsigned at = MAP + i * 16;

        put(s, at, 2, g->sel);
        put(s, at + 2, 2, (a & 0xff) | (a >> 4 & 0xf00));
        put(s, at + 4, 4, g->limit);
        put(s, at + 8, 8, seg_base(s, seg_order[i]));
    }
    const X86Table *tables[] = { &s->gdt, &s->ldt, &s->idt, &s->tr };

    for (unsigned i = 0; i < 4; i++) {
        unsigned at = MAP + 0x60 + i * 16;

        put(s, at, 2, tables[i]->sel);
        put(s, at + 2, 2, (tables[i]->attr & 0xff) | (tables[i]->attr >> 4 & 0xf00));
        put(s, at + 4, 4, tables[i]->limit);
        put(s, at + 8, 8, tables[i]->base);
    }
    put(s, MAP + 0xd0, 8, s->efer);
    put(s, MAP + 0xfc, 4, REVISION);
    put(s, MAP + 0x100, 4, (uint32_t)s->smbase);
    put(s, MAP + 0x148, 8, s->cr4);
    put(s, MAP + 0x150, 8, s->cr3);
    put(s, MAP + 0x158, 8, s->cr0);
    put(s, MAP + 0x160, 8, s->dr[7]);
    put(s, MAP + 0x168, 8, s->dr[6]);
    put(s, MAP + 0x170, 8, x86_eflags(s));
    put(s, MAP + 0x178, 8, code64(s) ? s->env.pc : (uint32_t)(s->env.pc - seg_base(s, SEG_CS)));
    for (unsigned i = 0; i < 16; i++)
        put(s, MAP + 0x1f8 - i * 8, 8, s->env.v[i]);
    put(s, MAP + 0xc9, 1, s->halted);
}

static void steering(const X86 *s, uint64_t out[4])
{
    out[0] = s->cr0 & (CR0_PG | CR0_WP);
    out[1] = s->cr3;
    out[2] = s->cr4;
    out[3] = s->efer;
}

/* What was cached of translations before SMM holds if nothing that steers them was changed in the save area. */
static void back_outside(X86 *s, bool smm_paged)
{
    uint64_t now[4];

    steering(s, now);
    tcg_set_cr3(s, true);
    if (smm_paged || memcmp(now, s->before_smm, sizeof(now)))
        tcg_flush_all(s);
}

void x86_smi(X86 *s)
{
    uint64_t base = s->smbase;

    if (log_on(LOG_INT))
        log_print("x86: SMI on CPU %u, pc %#" PRIx64 ", SMBASE %#" PRIx64 "\n", s->env.cpu->index, s->env.pc, base);
    save(s);
    steering(s, s->before_smm);
    s->smm = 1;
    s->env.cpu->attrs.secure = true;
    s->smm_nmi_was_blocked = s->nmi_blocked;
    s->nmi_blocked = 1;
    s->efer = 0;
    s->cr0 &= ~(uint64_t)(CR0_PE | CR0_EM | CR0_TS | CR0_PG);
    s->cr4 = 0;
    s->dr[7] = 0x400;
    s->cpl = 0;
    x86_set_eflags(s, 2, ~0ull);
    for (unsigned i = 0; i < 6; i++)
        x86_set_seg(s, i, i == SEG_CS ? (uint16_t)(base >> 4) : 0, i == SEG_CS ? base : 0, UINT32_MAX, 0x8093);
    tcg_set_cr3(s, true); /* as it was left: flat */
    x86_arm_debug(s);
    s->env.pc = (uint32_t)(base + 0x8000);
}

bool x86_rsm(X86 *s)
{
    uint64_t flags = get(s, MAP + 0x170, 8), rip = get(s, MAP + 0x178, 8);
    X86Table *tables[] = { &s->gdt, &s->ldt, &s->idt, &s->tr };
    bool paged = s->cr0 & CR0_PG;

    for (unsigned i = 0; i < 16; i++)
        s->env.v[i] = get(s, MAP + 0x1f8 - i * 8, 8);
    s->efer = get(s, MAP + 0xd0, 8) & (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
    s->cr4 = get(s, MAP + 0x148, 8);
    s->cr3 = get(s, MAP + 0x150, 8);
    s->cr0 = get(s, MAP + 0x158, 8) | CR0_ET;
    s->dr[7] = get(s, MAP + 0x160, 8);
    s->dr[6] = get(s, MAP + 0x168, 8);
    for (unsigned i = 0; i < 6; i++) {
        unsigned at = MAP + i * 16;
        uint32_t a = (uint32_t)get(s, at + 2, 2);

        x86_set_seg(s, seg_order[i], (uint16_t)get(s, at, 2), get(s, at + 8, 8), (uint32_t)get(s, at + 4, 4),
                    (a & 0xff) | (a & 0xf00) << 4 | (a & SA_P || !(s->cr0 & CR0_PE) ? 0 : SA_NULL));
    }
    for (unsigned i = 0; i < 4; i++) {
        unsigned at = MAP + 0x60 + i * 16;
        uint32_t a = (uint32_t)get(s, at + 2, 2);

        *tables[i] = (X86Table){ get(s, at + 8, 8), (uint32_t)get(s, at + 4, 4), (a & 0xff) | (a & 0xf00) << 4,
                                 (uint16_t)get(s, at, 2), { 0 } };
    }
    s->smbase = (uint32_t)get(s, MAP + 0x100, 4);
    s->cpl = s->cr0 & CR0_PE ? (uint8_t)SA_DPL(s->seg[SEG_SS].attr) : 0;
    s->smm = 0;
    s->env.cpu->attrs.secure = false;
    s->nmi_blocked = s->smm_nmi_was_blocked;
    x86_set_eflags(s, flags, ~0ull);
    back_outside(s, paged);
    x86_arm_debug(s);
    s->env.pc = code64(s) ? rip : (uint32_t)(rip + seg_base(s, SEG_CS));
    if (log_on(LOG_INT))
        log_print("x86: RSM on CPU %u to pc %#" PRIx64 ", SMBASE %#" PRIx64 "\n", s->env.cpu->index, s->env.pc, s->smbase);
    return true;
}
