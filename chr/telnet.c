/*
 * chr/telnet.c - just enough of RFC 854 for a raw character session: we echo, suppress go-ahead and
 * are binary (RFC 856, 857, 858); options the other side offers are ignored; break is passed on.
 */
#include "chr/priv.h"

enum { SE = 240, BRK = 243, SB = 250, WILL = 251, DO = 253, DONT = 254, IAC = 255 };
enum { DATA, COMMAND, OPTION, SUB, SUB_COMMAND };

const uint8_t chr__telnet_hello[12] = { IAC, WILL, 1, IAC, WILL, 3, IAC, WILL, 0, IAC, DO, 0 };

size_t chr__telnet_in(Telnet *t, uint8_t *p, size_t n, bool *brk)
{
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        uint8_t b = p[i];

        switch (t->state) {
        case DATA:
            if (b == IAC)
                t->state = COMMAND;
            else
                p[kept++] = b;
            break;
        case COMMAND:
            *brk |= b == BRK;
            t->state = b == SB ? SUB : b >= WILL && b <= DONT ? OPTION : DATA;
            if (b == IAC)
                p[kept++] = b;
            break;
        case OPTION:
            t->state = DATA;
            break;
        case SUB:
            t->state = b == IAC ? SUB_COMMAND : SUB;
            break;
        default:
            t->state = b == SE ? DATA : SUB;
            break;
        }
    }
    return kept;
}
