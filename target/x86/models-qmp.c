/* target/x86/models-qmp.c - CPU models as clients and people ask about them (schema/machine.json), and -cpu help. */
#include "target/x86/models-priv.h"

void x86_missing_features(const X86Cpuid *theirs, const X86Cpuid *ours, GString *out)
{
    for (size_t i = 0; i < x86__nfeatures; i++) {
        const Feature *f = &x86__features[i];
        const WordAt *w = &x86__word_at[f->word];
        const uint32_t t[] = { theirs->a, theirs->b, theirs->c, theirs->d }, none[4] = { 0 };
        const uint32_t *o = ours ? (const uint32_t[]){ ours->a, ours->b, ours->c, ours->d } : none;

        if (w->leaf == theirs->leaf && w->sub == theirs->sub && (t[w->reg] & ~o[w->reg]) >> f->bit & 1)
            g_string_append_printf(out, "%s%s", out->len ? ", " : "", f->name);
    }
}

void x86_models_help(GString *out)
{
    g_string_append(out, "Available CPUs:\n");
    for (size_t i = 0; i < x86__nmodels; i++)
        g_string_append_printf(out, "  %-20s %s\n", x86__models[i].name, x86__models[i].desc);
    g_string_append(out, "\nRecognized CPUID flags:\n ");
    for (size_t i = 0; i < x86__nfeatures; i++)
        g_string_append_printf(out, " %s%s", x86__features[i].name, x86__features[i].have ? "" : "(-)");
    g_string_append(out, "\n(-): not implemented by the software CPU\n");
}

bool qmp_query_cpu_definitions(Vm *vm, CpuDefinitionInfoList *ret, Error **err)
{
    const Cpu any = { .accel = vm->accel, .vm = vm };
    uint32_t have[WORDS];

    x86__offered(&any, have);
    for (size_t i = 0; i < x86__nmodels; i++) {
        const Model *m = &x86__models[i];
        CpuDefinitionInfo *d = API_ADD(ret);
        uint32_t words[WORDS] = { 0 };

        x86__add_features(m, words);
        for (unsigned w = 0; w < WORDS; w++)
            words[w] &= ~have[w];
        d->name = g_strdup(m->name);
        d->typename = g_strdup_printf("%s-x86_64-cpu", m->name);
        d->has_migration_safe = true;
        d->migration_safe = strcmp(m->name, "max") && strcmp(m->name, "host");
        d->static_ = !strcmp(m->name, "base");
        x86__names(words, &d->unavailable_features);
        API_EMPTY(&d->unavailable_features);
    }
    return true;
}

static bool apply_props(X86Choice *c, const JVal *props, Error **err)
{
    for (size_t i = 0; i < j_len(props); i++) {
        const JVal *v = j_at(props, i);

        if (v->kind != J_BOOL && v->kind != J_NUMBER && v->kind != J_STRING)
            return fail(err, "Invalid parameter type for '%s', expected: string, number or boolean", v->key);
        if (!x86__choice_set(c, v->key, v->kind == J_BOOL ? (v->yes ? "on" : "off") : v->text, err))
            return false;
    }
    return true;
}

static JVal *shown_value(const Prop *p, const char *text)
{
    uint64_t u;

    if (!strcmp(p->type, "bool"))
        return j_bool(!strcmp(text, "true"));
    return !strcmp(p->type, "int") && parse_u64(text, &u, NULL) ? j_uint(u) : j_string(text);
}

/* Static: by the model that has nothing, and everything said. */
bool qmp_query_cpu_model_expansion(Vm *vm, const QueryCpuModelExpansionArgs *args, CpuModelExpansionInfo *ret, Error **err)
{
    const Cpu any = { .accel = vm->accel, .vm = vm };
    X86Choice c;

    if (args->model.props && args->model.props->kind != J_OBJECT)
        return fail(err, "Invalid parameter type for 'model.props', expected: object");
    if (!x86__choice_begin(&c, &any, args->model.name, err) || (args->model.props && !apply_props(&c, args->model.props, err)))
        return false;
    x86__choice_settle(&c, &any);
    ret->model.name = g_strdup(args->type == CPU_MODEL_EXPANSION_TYPE_STATIC_ ? "base" : args->model.name);
    ret->model.props = j_object();
    for (size_t i = 0; i < x86_cpu_props.n; i++) {
        const Prop *p = &x86_cpu_props.v[i];
        g_autofree char *text = strcmp(p->type, "strList") ? x86__choice_get(&c, p->name) : NULL;

        if (text)
            j_set(ret->model.props, p->name, shown_value(p, text));
    }
    return true;
}
