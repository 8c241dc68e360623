/*
 * util/jval.h - a JSON value as a tree, and its text. Numbers keep the text they were spelled with, so that 64 bits
 * pass unchanged (json-glib has no unsigned 64). Read from the outside by monitor/wire.c alone, which checks and bounds.
 * A value has one owner; containers own what is put into them. Not shared between threads.
 */
#ifndef UTIL_JVAL_H
#define UTIL_JVAL_H
#include "util/util.h"

typedef enum JKind { J_NULL, J_BOOL, J_NUMBER, J_STRING, J_LIST, J_OBJECT, J_KINDS } JKind;
extern const char *const j_kind_names[J_KINDS]; /* "null", "boolean", "number", "string", "array", "object" */
typedef struct JVal JVal;
struct JVal {
    JKind kind;
    bool yes;          /* J_BOOL */
    char *text;        /* J_NUMBER: as spelled; J_STRING: UTF-8 without NUL */
    char *key;         /* of a member of an object */
    GPtrArray *items;  /* J_LIST, J_OBJECT: of JVal *, in order */
    GHashTable *index; /* J_OBJECT with many members: key -> JVal */
};
JVal *j_null(void);
JVal *j_bool(bool yes);
JVal *j_int(int64_t v);
JVal *j_uint(uint64_t v);
JVal *j_double(double v);           /* finite */
JVal *j_number(const char *text);   /* a number's text, checked by the caller */
JVal *j_string(const char *text);   /* copies */
JVal *j_list(void);
JVal *j_object(void);
JVal *j_append(JVal *list, JVal *v);                  /* takes v; returns list */
JVal *j_set(JVal *object, const char *key, JVal *v);  /* takes v, replaces; returns object */
JVal *j_get(const JVal *object, const char *key);     /* NULL: absent; owned by the object */
JVal *j_steal(JVal *object, const char *key);         /* the same, removed: the caller owns it */
JVal *j_copy(const JVal *v);
void j_free(JVal *v);               /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(JVal, j_free)
static inline bool j_is(const JVal *v, JKind k) { return v && v->kind == k; }
static inline size_t j_len(const JVal *v) { return v->items ? v->items->len : 0; }
static inline JVal *j_at(const JVal *v, size_t i) { return (JVal *)v->items->pdata[i]; }
/* False: not a number of that kind, or out of range. Integers have neither fraction nor exponent. */
bool j_get_s64(const JVal *v, int64_t *out);
bool j_get_u64(const JVal *v, uint64_t *out);
bool j_get_double(const JVal *v, double *out);
/* Appends the text: on one line (", " and ": " as QEMU writes), or indented by four. ASCII only. */
void j_write(const JVal *v, GString *out, bool pretty);
char *j_text(const JVal *v); /* the same on one line; caller frees */
void j_write_string(const char *s, GString *out); /* quoted and escaped */
#endif
