/*
 * vop-host.c - vector operations as instructions of an x86-64 host, for the compiled executor: read off decode.tbl,
 * whose rows say how the guest's instruction is encoded and which operation of vops.def it is. Chosen by meson on
 * x86-64 hosts. Source: Intel SDM vol. 2.
 */
#include "target/x86/tr.h"
#include "target/x86/fpu.h"

static HostVop table[VOP_COUNT], vex_table[VEX_COUNT]; /* written once, before anybody reads */
static GHashTable *ids;

static bool vector(const Opr *o) { return o->kind == O_V || o->kind == O_U; }
static bool vector_or_memory(const Opr *o) { return o->kind == O_W || o->kind == O_WU || o->kind == O_U || o->kind == O_V; }

/* What a row says about the register form; HV_NONE: it has none, or moves something else than its operands. */
static HostVopForm form_of(const Row *r)
{
    const Opr *o = r->opr;

    if (r->traits & (R_NOREG | R_MMX) || r->map < 1 || r->map > 3)
        return HV_NONE;
    if (o[0].kind == O_U && o[1].kind == O_UB)
        return HV_IMM;
    if (o[0].kind == O_V && vector_or_memory(&o[1]))
        return HV_VV;
    if (o[0].kind == O_V && o[1].kind == O_E)
        return HV_VG;
    if (o[0].kind == O_G && vector_or_memory(&o[1]))
        return HV_GV;
    if (o[0].kind == O_E && vector(&o[1]))
        return HV_EV;
    return HV_NONE;
}

static void take_row(const Row *r, X86VopId id)
{
    HostVopForm form = form_of(r);

    if (form == HV_NONE || table[id].form != HV_NONE)
        return;
    table[id] = (HostVop){ .form = (uint8_t)form, .pfx = r->pfx, .opc = (uint32_t)((r->map == 1 ? 0x0f00u : r->map == 2 ? 0x0f3800u : 0x0f3a00u) | r->opc),
                           .ext = r->ext, .imm = r->nopr > 1 && r->opr[r->nopr - 1].kind == O_UB, .flags = r->writes == FALL };
}

/* The 64-bit form of an operation on general registers has the row of the 32-bit one. */
static void wide(X86VopId id, X86VopId of)
{
    table[id] = table[of];
    table[id].wide = true;
}

/* ---- VEX */
static HostVopForm vex_form(const Row *r)
{
    const Opr *o = r->opr;

    if (r->nopr == 0)
        return HV_ZERO;
    if (r->traits & (R_NOREG | R_VSIB) || !(r->traits & R_AVX) || o[0].kind == O_E)
        return HV_NONE;
    if (o[0].kind == O_BV)
        return HV_IMM;
    if (o[0].kind == O_G)
        return HV_GV;
    if (o[0].kind != O_V)
        return o[1].kind == O_V ? HV_MR : HV_NONE;
    if (o[1].kind == O_BV)
        return o[2].kind == O_E ? HV_VG : HV_VVV;
    return o[1].kind == O_E ? HV_NONE : HV_VV;
}

/* Which of the host's features a row needs; its AVX2 is asked of all. */
static bool host_has_row(const Row *r)
{
    switch (r->feature) {
    case CPU_AES: return x86_host_vec_has(VF_aes);
    case CPU_PCLMUL: return x86_host_vec_has(VF_pclmul);
    case CPU_VAES: return x86_host_vec_has(VF_vaes);
    case CPU_VPCLMUL: return x86_host_vec_has(VF_vpclmul);
    case CPU_FMA:
    case CPU_F16C: return x86_host_fma();
    default: return true;
    }
}

static void take_vex(const Row *r, X86VexId id)
{
    HostVop *h = &vex_table[id];
    HostVopForm form = vex_form(r);

    if (!host_has_row(r)) {
        h->form = HV_NONE;
        h->map = 0xff; /* no other row of this operation may set it */
    }
    if (form == HV_NONE || h->form != HV_NONE || h->map)
        return;
    *h = (HostVop){ .form = (uint8_t)form, .pfx = r->pfx, .opc = r->opc, .ext = r->ext, .vex = true, .map = r->map - 3, .vex_w = r->w == 1,
                    .imm = r->nopr > 1 && r->opr[r->nopr - 1].kind == O_UB, .flags = r->writes == FALL,
                    .reads_d = r->feature == CPU_FMA, .is4 = r->map == 6 && (r->opc & 0xf0) == 0x40 && (r->opc & 15) >= 10 };
}

static void wide_vex(X86VexId id, X86VexId of)
{
    vex_table[id] = vex_table[of];
    vex_table[id].vex_w = true;
}

static void build_vex(void)
{
    if (!x86_host_vec_has(VF_avx2))
        return;
    for (unsigned i = 1; i < x86_nrows; i++)
        if (x86_row_is_vex[i])
            take_vex(&x86_rows[i], (X86VexId)x86_row_arg[i]);
    wide_vex(VEX_vcvtsi2ss64, VEX_vcvtsi2ss32);
    wide_vex(VEX_vcvtsi2sd64, VEX_vcvtsi2sd32);
    wide_vex(VEX_vpinsrq, VEX_vpinsrd);
    for (unsigned i = 0; i < VEX_COUNT; i++)
        if (vex_table[i].form != HV_NONE)
            g_hash_table_insert(ids, (gpointer)(uintptr_t)x86_vex((X86VexId)i), &vex_table[i]);
}

static void *build(void *arg)
{
    for (unsigned i = 1; i < x86_nrows; i++)
        if (x86_rows[i].traits & R_SSE && x86_row_arg[i])
            take_row(&x86_rows[i], (X86VopId)x86_row_arg[i]);
    wide(VOP_cvtss2si64, VOP_cvtss2si32);
    wide(VOP_cvttss2si64, VOP_cvttss2si32);
    wide(VOP_cvtsd2si64, VOP_cvtsd2si32);
    wide(VOP_cvttsd2si64, VOP_cvttsd2si32);
    wide(VOP_cvtsi2ss64, VOP_cvtsi2ss32);
    wide(VOP_cvtsi2sd64, VOP_cvtsi2sd32);
    wide(VOP_pinsrq, VOP_pinsrd);
    wide(VOP_pextrq, VOP_pextrd);
    table[VOP_movlps] = table[VOP_movsd]; /* from memory only; between registers the same is called otherwise */
    table[VOP_movhps] = table[VOP_movlhps];
    ids = g_hash_table_new(NULL, NULL);
    for (unsigned i = 0; i < VOP_COUNT; i++) {
        if (table[i].form != HV_NONE && x86_host_vec_has((X86VopFeature)x86_vop_host[i].feature))
            g_hash_table_insert(ids, (gpointer)(uintptr_t)x86_vop(x86_units_host, (X86VopId)i), &table[i]);
    }
    build_vex();
    return NULL;
}

const HostVop *target_host_vop(const void *fn)
{
    static GOnce once = G_ONCE_INIT;

    g_once(&once, build, NULL);
    return g_hash_table_lookup(ids, fn);
}

bool target_has_all_vectors(uint64_t mode) { return (mode & MODE_CODE) == CODE64; }

const size_t target_fpcsr_at = offsetof(X86, mxcsr);
