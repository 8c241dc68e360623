/* tcg/verify.c - checks the invariants of ir.h after every pass; also the printer. */
#include "tcg/ir.h"
#include <inttypes.h>
#include <string.h>

static bool complain(char *why, size_t n, unsigned i, const char *what)
{
    snprintf(why, n, "op %u: %s", i, what);
    return false;
}

static bool is_temp(unsigned v) { return v >= V_TEMP && v <= V_LAST; }

typedef struct Check {
    bool defined[256];
    int insn_wrote; /* guest instruction that last wrote a global, or -1 */
} Check;

static const char *check_op(const IrBlock *b, unsigned i, Check *c)
{
    const IrOp *o = &b->ops[i];

    if (IR_KIND(o->op) >= IR_KINDS)
        return "unknown op";
    const IrInfo *k = &ir_info[IR_KIND(o->op)];
    if (o->op & IR_F && !k->writes)
        return "F on an op without flags";
    if (k->traits & T_FAULT && c->insn_wrote == b->at[i])
        return "may fault after its instruction wrote a register";
    if (is_temp(o->a) && !c->defined[o->a])
        return "a is not defined";
    if (!(o->op & IR_I) && is_temp(o->b) && !c->defined[o->b])
        return "b is not defined";
    if (strchr(k->args, 'c') && is_temp(o->c) && !c->defined[o->c])
        return "c is not defined";
    if (strchr("xy", k->args[0]) && k->args[0] && o->d >= VEC_N)
        return "no such vector register";
    if ((IR_KIND(o->op) == IR_brcc || IR_KIND(o->op) == IR_brz || IR_KIND(o->op) == IR_jump) && o->c >= b->nslots)
        return "no such exit";
    if (k->args[0] != 'd' && k->args[0] != 'D') {
        if (k->traits & T_WIDE)
            c->insn_wrote = b->at[i];
        return NULL;
    }
    if (is_temp(o->d))
        c->defined[o->d] = true;
    else if (o->d < V_GLOBALS)
        c->insn_wrote = b->at[i];
    return NULL;
}

bool ir_verify(const IrBlock *b, char *why, size_t n)
{
    Check c = { { false }, -1 };

    for (unsigned i = 0; i < b->nops; i++) {
        const char *bad = check_op(b, i, &c);

        if (bad)
            return complain(why, n, i, bad);
        bool end = ir_info[IR_KIND(b->ops[i].op)].traits & T_END;
        if (end != (i + 1 == b->nops))
            return complain(why, n, i, end ? "ends the block early" : "runs off the block");
        if (i && b->at[i] < b->at[i - 1])
            return complain(why, n, i, "instruction marks go back");
    }
    return b->nops != 0 || complain(why, n, 0, "empty");
}

static void print_val(unsigned v, GString *f)
{
    static const char *const names[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi" };
    static const char *const segs[] = { "es", "cs", "ss", "ds", "fs", "gs" };

    if (v < 8)
        g_string_append(f, names[v]);
    else if (v < 16)
        g_string_append_printf(f, "r%u", v);
    else if (v < 22)
        g_string_append_printf(f, "%s.base", segs[v - 16]);
    else if (v == V_NONE)
        g_string_append_c(f, '-');
    else
        g_string_append_printf(f, "t%u", v - V_TEMP);
}

static void print_mem(const IrOp *o, GString *f)
{
    g_string_append_c(f, '[');
    if (o->a != V_NONE)
        print_val(o->a, f);
    if (o->b != V_NONE) {
        g_string_append(f, " + ");
        print_val(o->b, f);
        g_string_append_printf(f, "*%u", 1u << (o->x & X_SCALE));
    }
    g_string_append_printf(f, " %+" PRId64 "]", o->imm);
}

static void print_op(const IrBlock *b, unsigned i, GString *f)
{
    const IrOp *o = &b->ops[i];
    const IrInfo *k = &ir_info[IR_KIND(o->op)];

    g_string_append_printf(f, "    %s%u%s", k->name, 8u << IR_SIZE(o->op), o->op & IR_F ? "f" : "");
    for (const char *a = k->args; *a; a++) {
        g_string_append_c(f, ' ');
        switch (*a) {
        case 'd':
        case 'D':
            print_val(o->d, f);
            break;
        case 'a':
            print_val(o->op & IR_I && k->args[2] == '\0' ? V_NONE : o->a, f);
            break;
        case 'b':
            o->op &IR_I ? g_string_append_printf(f, "%#" PRIx64, o->imm) : print_val(o->b, f);
            break;
        case 'c':
            print_val(o->c, f);
            break;
        case 'x':
        case 'y':
            g_string_append_printf(f, "x%u", *a == 'x' || k->args[0] == 'y' ? o->d : o->a);
            break;
        case 'z':
            g_string_append_printf(f, "x%u", o->b);
            break;
        default:
            print_mem(o, f);
            break;
        }
    }
    if (o->op & IR_I && k->args[0] == 'd' && k->args[2] == '\0')
        g_string_append_printf(f, " %#" PRIx64, o->imm);
    if (k->reads == FX)
        g_string_append_printf(f, " if %x", o->x);
    if (IR_KIND(o->op) == IR_brcc || IR_KIND(o->op) == IR_brz || IR_KIND(o->op) == IR_jump)
        g_string_append_printf(f, " -> %#" PRIx64, b->slot[o->c].pc);
    g_string_append_c(f, '\n');
}

void ir_print(const IrBlock *b, GString *f)
{
    for (unsigned i = 0; i < b->nops; i++) {
        if (i == 0 || b->at[i] != b->at[i - 1])
            g_string_append_printf(f, "  %#" PRIx64 ":\n", b->insn_pc[b->at[i]]);
        print_op(b, i, f);
    }
}
