/* block/objects.c - see objects.h. */
#include "block/objects.h"
#include "block/nbd/tls.h"
#include "core/secret.h"

typedef struct Held {
    Secret *secret;
    TlsCreds *creds;
} Held;

static void release(gpointer p)
{
    Held *h = p;

    secret_free(h->secret);
    if (h->creds)
        tls_creds_free(h->creds);
    g_free(h);
}

static bool make(Held *h, Loop *loop, const char *type, const char *id, Opts *o, Error **err)
{
    if (!g_strcmp0(type, "secret")) {
        g_free(opts_take(o, "qom-type"));
        h->secret = secret_new(loop, id, o, err);
        return h->secret;
    }
    h->creds = tls_creds_new(o, err);
    if (h->creds)
        tls_creds_name(loop, id, h->creds);
    return h->creds;
}

bool tool_object_add(GPtrArray **keep, Loop *loop, const char *text, Error **err)
{
    g_autoptr(Opts) o = opts_parse_any(text, "qom-type", err);
    g_autofree char *id = o ? opts_take(o, "id") : NULL, *type = o ? g_strdup(opts_peek(o, "qom-type")) : NULL;
    Held *h;

    if (!o || (!id && !fail(err, "Parameter 'id' is missing")))
        return false;
    h = g_new0(Held, 1);
    if (!*keep)
        *keep = g_ptr_array_new_with_free_func(release);
    g_ptr_array_add(*keep, h);
    return make(h, loop, type, id, o, err);
}

void tool_objects_free(GPtrArray *keep)
{
    if (keep)
        g_ptr_array_free(keep, TRUE);
}
