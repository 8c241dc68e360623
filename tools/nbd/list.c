/* tools/nbd/list.c - menura-nbd --list: what another server exports, as qemu-nbd shows it. */
#include "tools/nbd/nbd.h"

static const struct {
    unsigned bit;
    const char *name;
} flags[] = {
    { NBD_READ_ONLY, "readonly" },    { NBD_SEND_FLUSH, "flush" }, { NBD_SEND_FUA, "fua" },
    { NBD_ROTATIONAL, "rotational" }, { NBD_SEND_TRIM, "trim" },   { NBD_SEND_WRITE_ZEROES, "zeroes" },
    { NBD_SEND_DF, "df" },            { NBD_CAN_MULTI_CONN, "multi" }, { NBD_SEND_RESIZE, "resize" },
    { NBD_SEND_CACHE, "cache" },      { NBD_SEND_FAST_ZERO, "fast-zero" }, { NBD_STATUS_PAYLOAD, "block-status-payload" },
};

static void print_flags(unsigned f)
{
    printf("  flags: 0x%x (", f);
    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++)
        if (f & flags[i].bit)
            printf(" %s", flags[i].name);
    printf(" )\n");
}

static void print_export(const NbdListed *x)
{
    printf(" export: '%s'\n", x->name);
    if (x->description && *x->description)
        printf("  description: %s\n", x->description);
    if (!x->known)
        return;
    printf("  size:  %" PRIu64 "\n", x->facts.size);
    print_flags(x->facts.flags);
    if (x->facts.min_block) {
        printf("  min block: %u\n", x->facts.min_block);
        printf("  opt block: %u\n", x->facts.preferred_block);
        printf("  max block: %u\n", x->facts.max_block);
    }
    printf("  transaction size: %s\n", x->facts.extended ? "64-bit" : "32-bit");
    if (x->contexts && x->contexts->len) {
        printf("  available meta contexts: %u\n", x->contexts->len);
        for (guint i = 0; i < x->contexts->len; i++)
            printf("   %s\n", (const char *)x->contexts->pdata[i]);
    }
}

typedef struct List {
    NbdTool *t;
    GPtrArray *found;
    Error **err;
} List;

static void list_body(void *arg)
{
    List *l = arg;
    NbdAddr a;
    NbdLinkSpec spec = { .addr = &a, .tls = l->t->tls, .tls_hostname = l->t->tls_hostname };

    nbd_tool_addr(l->t, &a);
    l->found = nbd_link_list(l->t->loop, &spec, l->err);
    nbd_addr_clear(&a);
}

int nbd_list(NbdTool *t, Error **err)
{
    List l = { t, NULL, err };

    blk_run(t->loop, list_body, &l);
    if (!l.found)
        return 1;
    printf("exports available: %u\n", l.found->len);
    for (guint i = 0; i < l.found->len; i++)
        print_export(l.found->pdata[i]);
    g_ptr_array_free(l.found, TRUE);
    return 0;
}
