/* net/dump.c - filter-dump: what passes a back end, both ways, as a pcap file that tcpdump and Wireshark read. */
#include "net/priv.h"
#include <stdio.h>

struct NetDump {
    Obj obj;
    void *netdev;
    char *file;
    uint32_t maxlen;
    FILE *out;
    NetDev *on;
};
#define DUMP(o) ((NetDump *)(void *)(o))
enum { PCAP_MAGIC = 0xa1b2c3d4, LINK_ETHERNET = 1 };

void net__dump(NetDump *f, const struct iovec *iov, int n)
{
    g_autofree uint8_t *p = g_malloc(f->maxlen + 16);
    size_t len = net_flatten(iov, n, p + 16, f->maxlen), kept = MIN(len, f->maxlen);
    int64_t ns = vm_host_time(f->obj.vm);

    le32_store(p, (uint32_t)(ns / SEC));
    le32_store(p + 4, (uint32_t)(ns % SEC / US));
    le32_store(p + 8, (uint32_t)kept);
    le32_store(p + 12, (uint32_t)len);
    fwrite(p, 1, 16 + kept, f->out);
    fflush(f->out);
}

void net__dump_gone(NetDump *f) { f->on = NULL; }

static void close_file(void *p) { fclose(p); }

static bool init(Obj *o, Error **err)
{
    NetDump *f = DUMP(o);
    uint8_t head[24] = { 0 };

    if (!f->netdev || !f->file)
        return fail(err, "filter-dump needs netdev= and file=");
    if (f->maxlen < 16 || f->maxlen > NET_FRAME_MAX)
        return fail(err, "filter-dump: maxlen=%u is not between 16 and %u", f->maxlen, NET_FRAME_MAX);
    f->out = fopen(f->file, "wbe");
    if (!f->out)
        return fail_errno(err, "filter-dump: cannot write '%s'", f->file);
    own(o, f->out, close_file);
    le32_store(head, PCAP_MAGIC);
    le16_store(head + 4, 2);
    le16_store(head + 6, 4);
    le32_store(head + 16, f->maxlen);
    le32_store(head + 20, LINK_ETHERNET);
    fwrite(head, 1, sizeof(head), f->out);
    f->on = f->netdev;
    if (!f->on->dumps)
        f->on->dumps = g_ptr_array_new();
    g_ptr_array_add(f->on->dumps, f);
    return true;
}

static void fini(Obj *o)
{
    if (DUMP(o)->on)
        g_ptr_array_remove(DUMP(o)->on->dumps, o);
}

/* clang-format off */
static const Prop props[] = {
    PROP_LINK(NetDump, netdev, "netdev", "netdev", "the back end to watch"), PROP_STR(NetDump, file, "file", NULL, "the pcap file"),
    PROP(NetDump, maxlen, "maxlen", 65536, "bytes kept of a frame"),
};
static const ObjClass filter_dump = {
    .name = "filter-dump", .desc = "writes a back end's traffic to a pcap file", .size = sizeof(NetDump), .props = TABLE(props), .init = init,
    .fini = fini, .user_creatable = true,
};
OBJECT(filter_dump);
/* clang-format on */
