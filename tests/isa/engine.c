/*
 * tests/isa/engine.c - our side of the oracle: one vCPU of the software CPU in long mode at ring 3,
 * the guest's pages mapped as the sandbox has them, blocks run by either executor without a vCPU
 * thread. The IDT is empty, so that int3 shows as #GP(1Ah).
 */
#include "accel/tcg/tcg.h"
#include "core/machine.h"
#include "tcg/flags.h"
#include "tests/isa/oracle.h"
#include "util/rcu.h"

enum { TABLES = 0x1000, CODE_PA = 0x100000, DATA_PA = 0x300000, RAM = 4 << 20, FORGET = 64 };
static X86 *cpu;
static uint8_t *ram;
static RamBlock *block;

static bool machine_init(Vm *vm, Error **err)
{
    block = ram_new(vm->machine, "ram", RAM, err);
    if (!block || !cpu_new(vm, "max", 0, err))
        return false;
    region_map(vm->sysmem, 0, region_ram(vm->machine, "ram", block), 0);
    ram = block->host;
    return true;
}
static const MachineClass oracle = {
    .name = "oracle",
    .desc = "for the oracle",
    .default_cpu = "max",
    .max_cpus = 1,
    .props = { .name = "oracle-machine", .size = sizeof(Obj) },
    .init = machine_init,
};
MACHINE(oracle);

/* Pages of the first GiB: four tables at fixed places, one last-level table for each range. */
static void map(uint64_t va, uint64_t pa, unsigned pages, uint64_t table, unsigned rw)
{
    const uint64_t on = 0x67; /* P W U A D */

    le64_store(ram + TABLES, (TABLES + 0x1000) | on);
    le64_store(ram + TABLES + 0x1000, (TABLES + 0x2000) | on);
    le64_store(ram + TABLES + 0x2000 + (va >> 21 & 511) * 8, table | on);
    for (unsigned i = 0; i < pages; i++)
        le64_store(ram + table + ((va >> 12 & 511) + i) * 8,
                   (pa + i * (uint64_t)PAGE) | 0x65 | rw | (va == DATA_AT ? 1ull << 63 : 0));
}

bool engine_start(void)
{
    Error *err = NULL;
    Vm *vm = vm_new("oracle");

    vm->cfg.cpus = vm->cfg.max_cpus = vm->cfg.sockets = vm->cfg.dies = vm->cfg.cores =
        vm->cfg.threads = 1;
    if (!vm_set_accel(vm, "tcg", NULL, &err) || !vm_init_machine(vm, "oracle", NULL, &err)) {
        error_report_free(err);
        return false;
    }
    cpu = vm->cpus[0]->regs;
    cpu_reset(vm->cpus[0]);
    map(CODE_AT, CODE_PA, CODE_PAGES + 1, TABLES + 0x3000, 0);
    map(DATA_AT, DATA_PA, 3, TABLES + 0x4000, 0);
    map(DATA_AT, DATA_PA, 2, TABLES + 0x4000, 2);
    case_memory(ram + DATA_PA + 2 * PAGE, 2, 0);
    cpu->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG | CR0_AM;
    cpu->cr3 = TABLES;
    cpu->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGSBASE | CR4_OSXSAVE;
    cpu->xcr0 = silicon_avx() ? 7 : 3;
    cpu->efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
    for (unsigned i = 0; i < 6; i++)
        x86_set_seg(cpu, i,
                    i == SEG_CS   ? 0x33
                    : i == SEG_SS ? 0x2b
                                  : 0,
                    0, 0xffffffff, i == SEG_CS ? 0xfb | SA_L | SA_G : 0xf3 | SA_DB | SA_G);
    cpu->vendor_amd = silicon_is_amd();
    cpu->mxcsr_mask = silicon_mxcsr_mask();
    cpu->cpl = 3;
    cpu->idt.limit = 0;
    cpu->eflags = EF_IF | 2;
    x86_update_mode(cpu);
    tcg_flush_all(cpu);
    rcu_lock();
    return true;
}

void engine_map_alias(void)
{
    map(ALIAS_AT, CODE_PA, CODE_PAGES + 1, TABLES + 0x5000, 2);
    tcg_flush_all(cpu);
}

void engine_code_writable(void)
{
    map(CODE_AT, CODE_PA, CODE_PAGES + 1, TABLES + 0x3000, 2);
    tcg_flush_all(cpu);
}

/* False: there is no such executor here. */
const char *const executor_name[] = { [EXEC_INTERP] = "interpreted", [EXEC_C] = "in C", [EXEC_JIT] = "compiled", [EXEC_WINDOW] = "compiled, by windows" };

bool engine_use(Executor x)
{
    static bool compiles;

    compiles |= cpu->tcg->jit;
    if (x >= EXEC_JIT && !compiles)
        return false;
    if (x == EXEC_C && !x86_units_c)
        return false;
    cpu->tcg->jit = x >= EXEC_JIT;
    tcg_windows_init(cpu->tcg, x == EXEC_WINDOW, true);
    tcg_window_off(cpu->tcg, cpu->env.view);
    x86_update_mode(cpu);
    cpu->units = x == EXEC_C ? x86_units_c : x86_units();
    return true;
}

void engine_load(const Case *cases, unsigned n)
{
    memset(ram + CODE_PA, 0xcc, (CODE_PAGES + 1) * PAGE);
    for (unsigned i = 0; i < n; i++)
        memcpy(ram + CODE_PA + (cases[i].at - CODE_AT), cases[i].code, cases[i].len);
    tcg_blocks_flush(cpu->tcg);
}

static void segments(const Case *k)
{
    uint16_t cs, ds;
    bool small = k->mode == CODE16;

    silicon_selectors(k->mode, &cs, &ds);
    x86_set_seg(cpu, SEG_CS, cs, k->cs_base, small ? 0xffff : UINT32_MAX,
                k->mode == CODE64 ? 0xfb | SA_L | SA_G : small ? 0xfb : 0xfb | SA_DB | SA_G);
    for (unsigned i = 0; i <= SEG_DS; i += SEG_DS - SEG_ES)
        x86_set_seg(cpu, i, ds, small ? DATA16_AT : 0, small ? 0xffff : UINT32_MAX, small ? 0xf3 : 0xf3 | SA_DB | SA_G);
    cpu->eflags = EF_IF | 2 | (k->ac ? EF_AC : 0);
    x86_update_mode(cpu);
}

unsigned engine_host_bytes(uint64_t pc)
{
    const GPtrArray *v = cpu->tcg->by_host;

    for (guint i = 0; v && i < v->len; i++) {
        const Block *b = v->pdata[i];

        if (b->pc == pc && !b->dead)
            return b->host_size + b->cold_size;
    }
    return 0;
}

static void put(const Case *k)
{
    const State *in = &k->in;
    Env *e = &cpu->env;

    memcpy(e->v, in->gpr, sizeof(in->gpr));
    for (unsigned i = 0; i < 16; i++)
        memcpy(e->vec[i], in->ymm[i], 32);
    e->cc = (Cc){ .kind = CC_RAW, .res = in->flags };
    e->pc = in->pc;
    segments(k);
    e->fault.kind = FAULT_NONE;
    cpu->mxcsr = in->mxcsr;
    cpu->fpu.cw = in->cw;
    cpu->fpu.sw = in->sw;
    cpu->fpu.tags = in->tags;
    cpu->fpu.ip = cpu->fpu.dp = cpu->fpu.op = 0;
    for (unsigned i = 0; i < 8; i++)
        memcpy(cpu->fpu.st[(in->sw / 2048 + i) & 7], in->st[i], 10);
}

static State get(const Case *k)
{
    State s = { .pc = cpu->env.pc,
                .mxcsr = cpu->mxcsr,
                .cw = cpu->fpu.cw,
                .sw = cpu->fpu.sw,
                .tags = (uint8_t)cpu->fpu.tags,
                .flags = flags_of(&cpu->env.cc),
                .fip = cpu->fpu.ip,
                .fdp = cpu->fpu.dp };
    Fault f = cpu->env.fault;

    memcpy(s.gpr, cpu->env.v, sizeof(s.gpr));
    for (unsigned i = 0; i < 16; i++)
        memcpy(s.ymm[i], cpu->env.vec[i], 32);
    for (unsigned i = 0; i < 8; i++)
        memcpy(s.st[i], cpu->fpu.st[(s.sw / 2048 + i) & 7], 10);
    s.vector = f.kind - FAULT_EXC;
    if (s.vector == EXC_GP && (f.err == (EXC_BP << 3 | 2) || f.err == (EXC_OF << 3 | 2))) {
        Insn in;

        s.vector = f.err >> 3;
        x86_decode(ram + CODE_PA + (s.pc - CODE_AT), 15, k->mode, &in);
        s.pc += in.len;
    } else if (s.vector == EXC_SS) {
        s.vector = EXC_GP;
    } else if (s.vector == EXC_PF) {
        s.err = f.err & 0x13;
        s.addr = f.addr;
    }
    return s;
}

State engine_run(const Case *k)
{
    State s;

    case_memory(ram + DATA_PA, 0, k->mem_seed);
    case_memory(ram + DATA_PA + PAGE, 1, k->mem_seed);
    put(k);
    for (unsigned i = 0; i < 1000; i++) { /* polls and retries go on; a case is short */
        cpu->env.exit_req = 0;
        tcg_exec(cpu->tcg);
        if (cpu->env.fault.kind >= FAULT_EXC)
            break;
        cpu->env.fault.kind = FAULT_NONE;
    }
    s = get(k);
    s.mem = case_hash(ram + DATA_PA + PAGE, case_hash(ram + DATA_PA, 0));
    cpu->env.fault.kind = FAULT_NONE;
    return s;
}

/* The interpreter runs the blocks that the compiled run before it has left, as when it takes over. */
State engine_run_seq(const Case *k, Executor x)
{
    Env *e = &cpu->env;
    State s;

    if (k->smc) {
        memcpy(ram + CODE_PA + (k->at - CODE_AT), k->code, k->len);
        tcg_code_written(tcg_vm(cpu->tcg->cpu->vm), block, CODE_PA + (k->at - CODE_AT), k->len, cpu->tcg);
    }
    seq_memory(ram + DATA_PA, k);
    put(k);
    if (k->slot % FORGET == 0)
        tcg_window_tails(cpu->tcg, k->slot / FORGET & 1);
    for (unsigned i = 0; i < 4000; i++) {
        e->exit_req = 0;
        if (x == EXEC_JIT)
            tcg_exec(cpu->tcg);
        else
            tcg_log_run(cpu->tcg);
        if (e->fault.kind >= FAULT_EXC)
            break;
        if (e->fault.kind == FAULT_RETRY)
            tcg_jc_drop(cpu->tcg, e->pc);
        e->fault.kind = FAULT_NONE;
        if (cpu->tcg->flush_code)
            tcg_blocks_flush(cpu->tcg);
    }
    s = get(k);
    s.mem = seq_hash(ram + DATA_PA, ram + CODE_PA + (k->at - CODE_AT), k);
    e->fault.kind = FAULT_NONE;
    return s;
}

bool engine_data_intact(void)
{
    const uint8_t *p = ram + DATA_PA;

    return !memcmp(p, seq_pool.mem, SEQ_WINDOW) &&
           !memcmp(p + SEQ_WINDOW + SEQ_WINDOW_N, seq_pool.mem + SEQ_WINDOW + SEQ_WINDOW_N, SEQ_TAIL - SEQ_WINDOW - SEQ_WINDOW_N);
}

void engine_load_seq(const Case *cases, unsigned n)
{
    memcpy(ram + DATA_PA, seq_pool.mem, 2 * PAGE);
    engine_load(cases, n);
}

/* One translation, as made and after the pass that drops what is dead. */
static bool accepted(uint64_t pc, const uint8_t *code, unsigned n, bool one, bool rel, char *why, size_t size)
{
    static IrBlock ir;
    unsigned left = MIN(n, PAGE - (unsigned)(pc & (PAGE - 1)));

    if (!target_translate(&cpu->env, pc, code, 0, n, left, one, rel, &ir) && !target_translate(&cpu->env, pc, code, 0, n, left, true, rel, &ir))
        return true; /* not whole: no translation */
    if (!ir_verify(&ir, why, size))
        return false;
    ir_live(&ir, one);
    return ir_verify(&ir, why, size);
}

bool engine_verify(const Case *k, char *why, size_t size)
{
    segments(k);
    for (unsigned off = 0; off < k->len - 16;) {
        Insn in;

        if (x86_decode(k->code + off, 15, k->mode, &in) != DEC_OK)
            return true; /* an end of code: what follows is no instruction */
        for (unsigned how = 0; how < 4; how++) /* one instruction or many; pc baked in or relative */
            if (!accepted(k->at + off, k->code + off, k->len - off, how & 1, how & 2, why, size))
                return false;
        off += in.len;
    }
    return true;
}
