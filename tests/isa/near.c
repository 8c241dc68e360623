/* tests/isa/near.c - what is compared loosely (near.h), and which results of a case that concerns (oracle.h). */
#include "tests/isa/near.h"
#include "tests/isa/oracle.h"

bool near_approximation(const char *name) 
{
    name += name[0] == 'v';
    return !strncmp(name, "rcp", 3) || !strncmp(name, "rsqrt", 5);
}

bool near4(const uint8_t *a, const uint8_t *b)
{
    for (unsigned i = 0; i < 4; i++) {
        float x, y;

        memcpy(&x, a + 4 * i, 4);
        memcpy(&y, b + 4 * i, 4);
        if (memcmp(&x, &y, 4) && !(x - y < 3e-37f && y - x < 3e-37f) && !(x / y < 1 + 3.0f / 4096 && y / x < 1 + 3.0f / 4096))
            return false;
    }
    return true;
}

bool near_function(unsigned op11)
{
    return (op11 >= 0x1f0 && op11 <= 0x1f3) || op11 == 0x1f9 || op11 == 0x1fb || op11 == 0x1fe || op11 == 0x1ff;
}

bool near80(const uint8_t *a, const uint8_t *b, uint16_t cw)
{
    const unsigned ulp = cw & 0xc00 ? 2 : 1;
    const unsigned __int128 top = 1ull << 63, x = top * (le16_load(a + 8) & 0x7fff) + (le64_load(a) & ~(1ull << 63)),
                            y = top * (le16_load(b + 8) & 0x7fff) + (le64_load(b) & ~(1ull << 63));

    return !((a[9] ^ b[9]) & 0x80) && !((a[7] ^ b[7]) & 0x80 && x && y) && (x > y ? x - y : y - x) <= ulp;
}

bool near_nothing_promised(unsigned op11, const uint8_t *st0)
{
    const unsigned e = le16_load(st0 + 8) & 0x7fff;

    return op11 == 0x1f0 ? e >= 0x3fff : op11 == 0x1f9 && e >= 0x3ffd;
}

static unsigned op11_of(const Insn *in) { return in->row->traits & R_X87 ? (in->opcode & 7u) << 8 | in->modrm : 0; }

enum { CODES = 0x4700 }; /* C3 to C0 */

void forgive_near(const Case *k, State *got)
{
    const State *want = &k->out;
    unsigned op11;
    Insn in;

    if (!k->row || x86_decode(k->code, 15, k->mode, &in) != DEC_OK)
        return;
    op11 = op11_of(&in);
    if (op11 && !silicon_is_amd()) /* what instructions leave in them that have no use for them was asked of AMD's */
        got->sw = (uint16_t)((got->sw & ~CODES) | (want->sw & CODES));
    if (near_function(op11)) {
        const bool anything = near_nothing_promised(op11, k->in.st[0]);

        if (anything || !((got->sw ^ want->sw) & ~0x200))
            got->sw = want->sw;
        if (anything) /* and so whether one was popped */
            got->tags = want->tags;
        for (unsigned i = 0; i < 8; i++)
            if (anything || near80(got->st[i], want->st[i], want->cw))
                memcpy(got->st[i], want->st[i], 10);
    }
    for (unsigned i = 0; i < 16 && near_approximation(k->row->name); i++)
        for (unsigned j = 0; j < 32; j += 16)
            if (near4(got->ymm[i] + j, want->ymm[i] + j))
                memcpy(got->ymm[i] + j, want->ymm[i] + j, 16);
}

/* What comes after a transcendental instruction in a block sees its last bit; of unmasked exceptions only AMD was asked. */
bool c_compares(const Case *k)
{
    const bool known = silicon_is_amd();
    unsigned op11;
    Insn in;

    for (unsigned at = 0; at + 16 < k->len; at += in.len) {
        if (x86_decode(k->code + at, 15, k->mode, &in) != DEC_OK)
            return k->row != NULL;
        op11 = op11_of(&in);
        if (k->row)
            return known || !op11 || (k->in.cw & FPE_ALL) == FPE_ALL;
        if (near_function(op11) || (op11 && !known))
            return false;
    }
    return true;
}
