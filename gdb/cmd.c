/*
 * gdb/cmd.c - the commands of the remote protocol. Threads are vCPUs, numbered from 1. Memory is
 * read and written without side effects (peek), a page at a time, as far as it goes.
 */
#include "gdb/priv.h"

static bool number(const char **p, uint64_t *out)
{
    const char *start = *p;
    uint64_t v = 0;

    for (; g_ascii_isxdigit(**p); (*p)++)
        v = v << 4 | (uint64_t)g_ascii_xdigit_value(**p);
    *out = v;
    return *p != start;
}

static bool two(const char **p, char between, uint64_t *a, uint64_t *b)
{
    if (!number(p, a) || **p != between)
        return false;
    (*p)++;
    return number(p, b);
}

/* "-1" all, "0" any, else an index + 1; or "p1.2" as multiprocess-minded clients say */
static bool thread(Gdb *g, const char **p, int *cpu)
{
    uint64_t v;

    if (**p == 'p') {
        *p += 1;
        if (**p == '-')
            *p += 1;
        number(p, &v);
        if (**p == '.')
            *p += 1;
    }
    if (!strncmp(*p, "-1", 2)) {
        *p += 2;
        *cpu = -1;
        return true;
    }
    if (!number(p, &v) || v > g->vm->ncpus)
        return false;
    *cpu = v ? (int)v - 1 : (int)g->g_cpu;
    return true;
}

/* ---- memory ---- */
static bool access_page(Gdb *g, uint64_t addr, uint8_t *buf, size_t n, bool write)
{
    Cpu *c = gdb__cpu(g, g->g_cpu);
    MemAttrs at = { .secure = c->attrs.secure, .peek = true };

    if (!g->physical)
        return write ? cpu_write_va(c, addr, buf, n) : cpu_read_va(c, addr, buf, n);
    return (write ? as_write_rom(g->vm->mem, addr, buf, n)
                  : as_read(g->vm->mem, addr, buf, n, at)) == MEM_OK;
}

static size_t access_memory(Gdb *g, uint64_t addr, uint8_t *buf, size_t len, bool write)
{
    size_t done = 0;

    while (done < len) {
        size_t n = MIN(len - done, 4096 - ((addr + done) & 4095));

        if (!access_page(g, addr + done, buf + done, n, write))
            break;
        done += n;
    }
    return done;
}

static void read_memory(Gdb *g, const char *p)
{
    g_autoptr(GString) out = g_string_new(NULL);
    g_autofree uint8_t *buf = NULL;
    uint64_t addr, len;
    size_t got;

    if (!two(&p, ',', &addr, &len)) {
        gdb__text(g, "E22");
        return;
    }
    len = MIN(len, PACKET_MAX / 2);
    buf = g_malloc(MAX(len, 1));
    got = access_memory(g, addr, buf, len, false);
    gdb__hex(out, buf, got);
    gdb__text(g, got || !len ? out->str : "E14");
}

static void write_memory(Gdb *g, const char *p, const char *end, bool binary)
{
    g_autofree uint8_t *buf = NULL;
    uint64_t addr, len;
    size_t room;

    if (!two(&p, ',', &addr, &len) || *p != ':') {
        gdb__text(g, "E22");
        return;
    }
    p++;
    room = (size_t)(end - p) / (binary ? 1 : 2);
    buf = g_malloc(room + 1);
    if (len > room || (!binary && !gdb__unhex(p, len, buf))) {
        gdb__text(g, "E22");
        return;
    }
    if (binary)
        memcpy(buf, p, len);
    gdb__text(g, access_memory(g, addr, buf, len, true) == len ? "OK" : "E14");
}

/* ---- registers ---- */
static void registers(Gdb *g, char kind, const char *p)
{
    Cpu *c = gdb__cpu(g, g->g_cpu);
    g_autoptr(GString) out = g_string_new(NULL);
    g_autofree uint8_t *buf = g_malloc0(strlen(p) / 2 + 1);
    uint64_t n;
    bool ok = true;

    switch (kind) {
    case 'g':
        gdb__read_all(c, out);
        break;
    case 'p':
        ok = number(&p, &n) && n < 256 && gdb__read_reg(c, (unsigned)n, out);
        break;
    case 'G':
        ok = gdb__unhex(p, strlen(p) / 2, buf) && gdb__write_all(c, buf, strlen(p) / 2);
        break;
    default: /* P */
        ok = number(&p, &n) && n < 256 && *p++ == '=' && gdb__unhex(p, strlen(p) / 2, buf) &&
             gdb__write_reg(c, (unsigned)n, buf, strlen(p) / 2);
        break;
    }
    gdb__text(g, !ok ? "E22" : out->len ? out->str : "OK");
}

/* ---- going on ---- */
static void go(Gdb *g, const char *p, bool step)
{
    uint64_t addr;

    if (number(&p, &addr))
        cpu_set_reg(gdb__cpu(g, g->c_cpu), "pc", addr);
    gdb__run(g, step ? (int)g->c_cpu : -1);
}

/* vCont;ACTION[:THREAD];..: the first step names the CPU that steps, the others just run. */
static void vcont(Gdb *g, const char *p)
{
    int step_cpu = -1;

    if (*p != ';') {
        gdb__text(g, "E22");
        return;
    }
    while (*p == ';') { /* each turn takes at least one character */
        char action = p[1];
        int cpu = (int)g->c_cpu;
        uint64_t signal;

        p += action ? 2 : 1;
        if (action == 'S' || action == 'C')
            number(&p, &signal);
        if (*p == ':') {
            p++;
            if (!thread(g, &p, &cpu)) {
                gdb__text(g, "E22");
                return;
            }
        }
        if ((action == 's' || action == 'S') && step_cpu < 0)
            step_cpu = cpu < 0 ? (int)g->c_cpu : cpu;
        else if (!action || !strchr("csCS", action)) {
            gdb__text(g, "E22");
            return;
        }
    }
    gdb__run(g, step_cpu);
}

/* ---- queries ---- */
static void supported(Gdb *g, const char *p)
{
    g_autofree char *text =
        g_strdup_printf("PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;vContSupported+;"
                        "swbreak+;hwbreak+",
                        PACKET_MAX - 16);

    g->swbreak = strstr(p, "swbreak+");
    g->hwbreak = strstr(p, "hwbreak+");
    gdb__text(g, text);
}

static void transfer_xml(Gdb *g, const char *p)
{
    uint64_t off, len;
    size_t total;
    g_autoptr(GString) out = NULL;

    if (!g->library)
        g->library = gdb__xml(g->vm->cpus[0]);
    total = strlen(g->library);
    if (!two(&p, ',', &off, &len) || off > total) {
        gdb__text(g, "E22");
        return;
    }
    len = MIN(len, MIN(total - off, PACKET_MAX / 4));
    out = g_string_new(off + len < total ? "m" : "l");
    g_string_append_len(out, g->library + off, (gssize)len);
    gdb__send(g, out->str, out->len);
}

static void monitor_command(Gdb *g, const char *hex)
{
    size_t n = strlen(hex) / 2;
    g_autofree char *line = g_malloc0(n + 1), *answer = NULL;
    g_autoptr(GString) out = g_string_new(NULL);

    if (!gdb__unhex(hex, n, (uint8_t *)line)) {
        gdb__text(g, "E22");
        return;
    }
    if (g->exec)
        answer = g->exec(g->vm, line);
    else if (!strcmp(line, "info registers")) {
        g_autoptr(GString) regs = g_string_new(NULL);

        gdb__cpu(g, g->g_cpu)->target->print_regs(gdb__cpu(g, g->g_cpu), regs);
        answer = g_strdup(regs->str);
    } else {
        answer = g_strdup("no monitor is connected to this stub\n");
    }
    if (answer)
        n = MIN(strlen(answer), PACKET_MAX / 2 - 16);
    gdb__hex(out, answer ? answer : "", answer ? n : 0);
    gdb__text(g, out->len ? out->str : "OK");
}

static void thread_list(Gdb *g, bool first)
{
    g_autoptr(GString) out = g_string_new("m");

    if (!first) { /* all were in the first answer */
        gdb__text(g, "l");
        return;
    }
    for (unsigned i = 0; i < g->vm->ncpus; i++)
        g_string_append_printf(out, "%s%x", i ? "," : "", i + 1);
    gdb__text(g, out->str);
}

static void thread_info(Gdb *g, const char *p)
{
    static const char *const states[] = { "running", "halted", "waiting for SIPI", "off",
                                          "shut down" };
    g_autofree char *text = NULL;
    g_autoptr(GString) out = g_string_new(NULL);
    int cpu;

    if (!thread(g, &p, &cpu) || cpu < 0) {
        gdb__text(g, "E22");
        return;
    }
    text = g_strdup_printf("CPU#%d [%s]", cpu,
                           states[MIN(g->vm->cpus[cpu]->mp_state, G_N_ELEMENTS(states) - 1)]);
    gdb__hex(out, text, strlen(text));
    gdb__text(g, out->str);
}

static void current_thread(Gdb *g)
{
    g_autofree char *t = g_strdup_printf("QC%x", g->g_cpu + 1);

    gdb__text(g, t);
}

static bool starts(const char **p, const char *what)
{
    size_t n = strlen(what);

    if (strncmp(*p, what, n))
        return false;
    *p += n;
    return true;
}

static void query(Gdb *g, const char *p)
{
    if (starts(&p, "qSupported"))
        supported(g, p);
    else if (starts(&p, "qXfer:features:read:target.xml:"))
        transfer_xml(g, p);
    else if (starts(&p, "qRcmd,"))
        monitor_command(g, p);
    else if (starts(&p, "qfThreadInfo"))
        thread_list(g, true);
    else if (starts(&p, "qsThreadInfo"))
        thread_list(g, false);
    else if (starts(&p, "qThreadExtraInfo,"))
        thread_info(g, p);
    else if (starts(&p, "qAttached"))
        gdb__text(g, "1");
    else if (!strcmp(p, "qC"))
        current_thread(g);
    else if (starts(&p, "qSymbol"))
        gdb__text(g, "OK");
    else if (starts(&p, "qqemu.PhyMemMode"))
        gdb__text(g, g->physical ? "1" : "0");
    else
        gdb__text(g, "");
}

static void set(Gdb *g, const char *p)
{
    if (!strcmp(p, "QStartNoAckMode")) {
        g->noack_next = true;
        gdb__text(g, "OK");
    } else if (starts(&p, "Qqemu.PhyMemMode:")) {
        g->physical = *p == '1';
        gdb__text(g, "OK");
    } else {
        gdb__text(g, "");
    }
}

static void v_packet(Gdb *g, const char *p)
{
    if (!strcmp(p, "vCont?"))
        gdb__text(g, "vCont;c;C;s;S");
    else if (starts(&p, "vCont"))
        vcont(g, p);
    else if (starts(&p, "vKill"))
        vm_exit_code(g->vm, 0);
    else
        gdb__text(g, "");
}

static void choose_thread(Gdb *g, const char *p)
{
    char what = *p ? *p++ : 0;
    int cpu;

    if (!thread(g, &p, &cpu)) {
        gdb__text(g, "E22");
        return;
    }
    if (cpu >= 0 && what == 'g')
        g->g_cpu = (unsigned)cpu;
    else if (cpu >= 0 && what == 'c')
        g->c_cpu = (unsigned)cpu;
    gdb__text(g, "OK");
}

static void point(Gdb *g, bool add, const char *p)
{
    uint64_t type, addr, len = 1;

    if (!two(&p, ',', &type, &addr) || (*p == ',' && (p++, !number(&p, &len)))) {
        gdb__text(g, "E22");
        return;
    }
    gdb__text(g, type > 4 || !g->vm->accel->debug
                     ? ""
                     : gdb__point(g, add, (unsigned)type, addr, MAX(len, 1)));
}

static void alive(Gdb *g, const char *p)
{
    int cpu;

    gdb__text(g, thread(g, &p, &cpu) ? "OK" : "E22");
}

static void leave(Gdb *g)
{
    gdb__text(g, "OK");
    gdb__detach(g);
}

static void memory(Gdb *g, char *p, size_t n)
{
    if (*p == 'm')
        read_memory(g, p + 1);
    else
        write_memory(g, p + 1, p + n, *p == 'X');
}

void gdb__packet(Gdb *g, char *p, size_t n)
{
    if (g->running && n) /* it did not wait for the stop reply: only an interrupt is good now */
        return;
    if (!g->vm->ncpus) {
        gdb__text(g, "");
        return;
    }
    switch (*p) {
    case '?':
        gdb__text(g, g->stop ? g->stop : "S05");
        break;
    case 'g':
    case 'G':
    case 'p':
    case 'P':
        registers(g, *p, p + 1);
        break;
    case 'm':
    case 'M':
    case 'X':
        memory(g, p, n);
        break;
    case 'c':
    case 's':
        go(g, p + 1, *p == 's');
        break;
    case 'C': /* the signal's number is not for a guest */
    case 'S':
        go(g, "", *p == 'S');
        break;
    case 'Z':
    case 'z':
        point(g, *p == 'Z', p + 1);
        break;
    case 'H':
        choose_thread(g, p + 1);
        break;
    case 'T':
        alive(g, p + 1);
        break;
    case 'D':
        leave(g);
        break;
    case 'k':
        vm_exit_code(g->vm, 0);
        break;
    case 'q':
        query(g, p);
        break;
    case 'Q':
        set(g, p);
        break;
    case 'v':
        v_packet(g, p);
        break;
    default:
        gdb__text(g, "");
        break;
    }
}
