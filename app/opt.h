/* app/opt.h - between the table of options and the functions that take them. */
#ifndef APP_OPT_H
#define APP_OPT_H
#include "app/app.h"

typedef struct Option Option;
struct Option {
    const char *name, *arg; /* arg NULL: it takes none */
    bool (*fn)(App *a, const Option *o, const char *v, Error **err);
    const char *help;
};
#define O(n, a, f, h) bool f(App *a_, const Option *o, const char *v, Error **err);
#include "app/options.def"
#undef O
bool opt__shown(App *a, GString *s); /* prints and frees it; parsing ends, the status is 0 */
static inline bool opt__is_help(const char *v) { return !strcmp(v, "help") || !strcmp(v, "?"); }
/* "NAME,help" */
static inline bool opt__wants_props(const char *v) { return g_str_has_suffix(v, ",help") || g_str_has_suffix(v, ",?"); }
bool opt__props(App *a, const char *name, const ObjClass *c); /* prints the properties of a class (NULL: none) */
void opt__set(char **at, const char *v);
bool opt__push(GPtrArray *v, const char *text);
/* Parses v now and keeps it for app_each(option's name). */
bool opt__later(App *a, const Option *o, const char *v, const char *implied, Error **err);
bool opt__blame(const Option *o, const char *v, Error *why, Error **err); /* takes why; false */
#endif
