/* tcg/nojit.c - hosts without an emitter: the interpreter runs everything. */
#include "tcg/jit.h"

bool jit_usable(const char **why)
{
    *why = "there is no code generator for this kind of host";
    return false;
}
void jit_stubs(CodeCache *c) { g_assert_not_reached(); }
void jit_slot(CodeCache *c, const Block *b, const FaultPoint *f, unsigned slot) { g_assert_not_reached(); }
void jit_emit(CodeCache *c, const IrBlock *ir, Block *b, bool careful, JitTables *tables) { g_assert_not_reached(); }
void jit_enter(CodeCache *c, Env *e, const uint8_t *host) { g_assert_not_reached(); }
void jit_link(CodeCache *c, Block *from, unsigned slot, const Block *to) { g_assert_not_reached(); }
void jit_link_careful(CodeCache *c, Block *b) { g_assert_not_reached(); }
void jit_link_part(CodeCache *c, Block *b, unsigned group, const Block *to) { g_assert_not_reached(); }
size_t jit_cold_piece(const CodeCache *c) { g_assert_not_reached(); }
void jit_kill(CodeCache *c, Block *b) { g_assert_not_reached(); }
