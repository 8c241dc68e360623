/* app/opt.h - between the table of options and the functions that take them. */
#ifndef APP_OPT_H
#define APP_OPT_H
#include "app/app.h"

typedef struct Option Option;
struct Option {
    const char *name, *arg; /* arg NULL: it takes none */
    bool (*fn)(App *a, const Option *o, const char *v, Error **err);
    const char *help;
    const char *part, *instead; /* of a row ABSENT: the part this build does not have, what to do */
    bool none;                  /* "none" asks for what there is: nothing */
};
#define O(n, a, f, h) bool f(App *a_, const Option *o, const char *v, Error **err);
#define ABSENT(n, a, p, i, none)
#include "app/options.def"
#undef ABSENT
#undef O
bool o_absent(App *a, const Option *o, const char *v, Error **err);
bool opt__take(App *a, const char *group, const char *v, Error **err); /* an option by its group's name, from a file */
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
