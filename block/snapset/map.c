/* block/snapset/map.c - a number for each cluster of a disk, most of them 0: pieces of CHUNK, made when first needed. */
#include "block/snapset/priv.h"

uint32_t map_get(const Map *m, uint32_t i)
{
    const uint32_t *c = i / CHUNK < m->chunks ? m->chunk[i / CHUNK] : NULL;

    return c ? c[i % CHUNK] : 0;
}

void map_set(Map *m, uint32_t i, uint32_t v)
{
    uint32_t at = i / CHUNK;

    if (!v && (at >= m->chunks || !m->chunk[at]))
        return;
    if (at >= m->chunks) {
        uint32_t n = MAX(at + 1, m->chunks * 2);

        m->chunk = g_renew(uint32_t *, m->chunk, n);
        memset(m->chunk + m->chunks, 0, (n - m->chunks) * sizeof(*m->chunk));
        m->chunks = n;
    }
    if (!m->chunk[at])
        m->chunk[at] = g_new0(uint32_t, CHUNK);
    m->chunk[at][i % CHUNK] = v;
}

void map_copy(Map *to, const Map *from)
{
    to->chunks = from->chunks;
    to->chunk = g_new0(uint32_t *, from->chunks);
    for (uint32_t i = 0; i < from->chunks; i++)
        if (from->chunk[i])
            to->chunk[i] = g_memdup2(from->chunk[i], CHUNK * sizeof(uint32_t));
}

void map_clear(Map *m)
{
    for (uint32_t i = 0; i < m->chunks; i++)
        g_free(m->chunk[i]);
    g_free(m->chunk);
    *m = (Map){ 0 };
}

bool map_next(const Map *m, uint32_t *i)
{
    while (*i / CHUNK < m->chunks) {
        const uint32_t *c = m->chunk[*i / CHUNK];

        if (c && c[*i % CHUNK])
            return true;
        *i = c ? *i + 1 : (*i / CHUNK + 1) * CHUNK;
    }
    return false;
}
