/*
 * monitor/hmp-expr.c - expressions of the human monitor: numbers, $registers, + - * / % & | ^ ~ ( ), 'c'.
 * From loose to tight: ^ | & ; + - ; * / % ; unary. Depth is bounded at EXPR_DEPTH parentheses and signs.
 */
#include "monitor/hmp.h"

#include "core/vm.h"

enum { EXPR_DEPTH = 64 };
typedef struct Expr {
    const char *p;
    Hmp *h;
    unsigned depth;
    Error **err;
} Expr;

static bool sum(Expr *e, int64_t *v);
static bool logic(Expr *e, int64_t *v);

static char next(Expr *e)
{
    while (g_ascii_isspace(*e->p))
        e->p++;
    return *e->p;
}

static bool reg(Expr *e, int64_t *v)
{
    size_t n = 0;
    g_autofree char *name = NULL;
    uint64_t u;

    e->p++;
    while (g_ascii_isalnum(e->p[n]) || e->p[n] == '_' || e->p[n] == '.')
        n++;
    name = g_strndup(e->p, n);
    e->p += n;
    if (!hmp_reg(e->h, name, &u))
        return fail(e->err, "unknown register");
    *v = (int64_t)u;
    return true;
}

static bool number(Expr *e, int64_t *v)
{
    char *end;

    *v = (int64_t)g_ascii_strtoull(e->p, &end, 0);
    if (end == e->p)
        return fail(e->err, *e->p ? "invalid char '%c' in expression" : "unexpected end of expression", *e->p);
    e->p = end;
    return true;
}

static bool character(Expr *e, int64_t *v)
{
    if (!e->p[1] || e->p[2] != '\'')
        return fail(e->err, "character constant not closed");
    *v = (uint8_t)e->p[1];
    e->p += 3;
    return true;
}

static bool unary(Expr *e, int64_t *v)
{
    char c = next(e);
    bool ok;

    if (c == '$')
        return reg(e, v);
    if (c == '\'')
        return character(e, v);
    if (c != '+' && c != '-' && c != '~' && c != '(')
        return number(e, v);
    if (++e->depth > EXPR_DEPTH)
        return fail(e->err, "expression too deep");
    e->p++;
    ok = c == '(' ? logic(e, v) : unary(e, v);
    if (ok && c == '(') {
        if (next(e) != ')')
            return fail(e->err, "')' expected");
        e->p++;
    }
    e->depth--;
    *v = c == '-' ? (int64_t)(0 - (uint64_t)*v) : c == '~' ? ~*v : *v;
    return ok;
}

static bool product(Expr *e, int64_t *v)
{
    int64_t r;

    if (!unary(e, v))
        return false;
    for (char c = next(e); c == '*' || c == '/' || c == '%'; c = next(e)) {
        e->p++;
        if (!unary(e, &r))
            return false;
        if (c != '*' && !r)
            return fail(e->err, "division by zero");
        if (c == '*')
            *v = (int64_t)((uint64_t)*v * (uint64_t)r);
        else if (r == -1) /* INT64_MIN / -1 overflows */
            *v = c == '/' ? (int64_t)(0 - (uint64_t)*v) : 0;
        else
            *v = c == '/' ? *v / r : *v % r;
    }
    return true;
}

static bool sum(Expr *e, int64_t *v)
{
    int64_t r;

    if (!product(e, v))
        return false;
    for (char c = next(e); c == '+' || c == '-'; c = next(e)) {
        e->p++;
        if (!product(e, &r))
            return false;
        *v = (int64_t)(c == '+' ? (uint64_t)*v + (uint64_t)r : (uint64_t)*v - (uint64_t)r);
    }
    return true;
}

static bool logic(Expr *e, int64_t *v)
{
    int64_t r;

    if (!sum(e, v))
        return false;
    for (char c = next(e); c == '&' || c == '|' || c == '^'; c = next(e)) {
        e->p++;
        if (!sum(e, &r))
            return false;
        *v = c == '&' ? *v & r : c == '|' ? *v | r : *v ^ r;
    }
    return true;
}

bool hmp__expr(Hmp *h, const char **p, int64_t *v, Error **err)
{
    Expr e = { *p, h, 0, err };

    if (!logic(&e, v))
        return false;
    next(&e);
    *p = e.p;
    return true;
}

/* ---- registers ---- */
static bool by_name(Cpu *c, const char *name, uint64_t *v)
{
    g_autofree char *wide = g_strconcat("r", name, NULL);

    if (!strcmp(name, "pc")) {
        *v = c->target->pc(c);
        return true;
    }
    if (cpu_get_reg(c, name, v))
        return true;
    if (*name == 'e') { /* eax is the lower half of rax */
        *wide = 'r';
        memmove(wide + 1, name + 1, strlen(name));
        return cpu_get_reg(c, wide, v) && (*v &= UINT32_MAX, true);
    }
    return cpu_get_reg(c, wide, v) && (*v &= UINT16_MAX, true); /* ax */
}

bool hmp_reg(Hmp *h, const char *name, uint64_t *v)
{
    bool ok = false;

    if (h->cpu < h->vm->ncpus && *name) {
        vm_look_begin(h->vm);
        cpu_sync(h->vm->cpus[h->cpu], RG_ALL);
        ok = by_name(h->vm->cpus[h->cpu], name, v);
        vm_look_end(h->vm);
    }
    return ok;
}
