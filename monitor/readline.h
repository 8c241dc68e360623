/*
 * monitor/readline.h - editing a line on a terminal, with history and completion. Pure: bytes in, text out through
 * callbacks; knows neither monitor nor socket.
 */
#ifndef MONITOR_READLINE_H
#define MONITOR_READLINE_H
#include "util/util.h"

enum { READLINE_MAX = 4095, READLINE_HISTORY = 64 };
typedef struct Readline Readline;
typedef struct ReadlineUser {
    void (*print)(void *o, const char *text, size_t n);
    void (*line)(void *o, const char *line);                 /* a whole line; then readline_prompt() */
    GPtrArray *(*complete)(void *o, const char *before, size_t *word); /* candidates (g_free) for the word that begins
                                                                          at *word of what is before the cursor; or NULL */
    void *o;
} ReadlineUser;
Readline *readline_new(const ReadlineUser *u, const char *prompt);
void readline_free(Readline *r);
void readline_feed(Readline *r, const char *p, size_t n);
void readline_prompt(Readline *r); /* a new empty line */
void readline_redraw(Readline *r); /* prompt and what was typed so far: after something else was printed */
guint readline_history_len(const Readline *r);
const char *readline_history(const Readline *r, guint i);
#endif
