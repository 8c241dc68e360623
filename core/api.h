/*
 * core/api.h - what the generated headers core/api/NAME.h are made of: descriptions of the types of schema/NAME.json, and
 * the walks over them: JSON to C, C to JSON, release. The generator is tools/gen/schema.py; schema/README.md says how to
 * add a command.
 *
 * C shapes: str is char * (owned, NULL: absent); bool, intN_t, uintN_t, double; enums; structs by value; an optional
 * member x has bool has_x beside it, except strings, lists, any (NULL: absent; API_EMPTY makes a list that is there) and
 * structs (a pointer);
 * [T] is { T *v; size_t n; }; any is JVal *.
 */
#ifndef CORE_API_H
#define CORE_API_H
#include "util/error.h"
#include "util/jval.h"

typedef struct Vm Vm;
typedef struct Monitor Monitor;
typedef enum ApiKind { API_STR, API_BOOL, API_SINT, API_UINT, API_NUMBER, API_ANY, API_NULL, API_ENUM, API_STRUCT /* and unions */,
    API_LIST, API_ALTERNATE } ApiKind;
typedef struct ApiType ApiType;
typedef struct ApiMember {
    const char *name;
    const ApiType *type;
    uint32_t at;      /* offset of the value, or of the pointer to it */
    uint32_t has;     /* optional with a has_: its offset + 1; else 0 */
    bool optional, pointer;
    const char *doc;
    const char *const *features; /* NULL-terminated, or NULL */
} ApiMember;
struct ApiType {
    const char *name;              /* as introspection says it */
    const char *doc;
    ApiKind kind;
    uint32_t size;                 /* of the C shape */
    const char *const *names;      /* API_ENUM */
    const char *const *name_docs;  /* API_ENUM, API_ALTERNATE */
    const ApiType *of;             /* API_LIST */
    const ApiMember *members;      /* API_STRUCT; API_ALTERNATE: its choices */
    unsigned n;                    /* of names or members */
    const ApiMember *tag;          /* union: one of members; variants[] by value of its enum, .type NULL: no more members */
    const ApiMember *variants;
    const char *const *features;
};
extern const ApiType api_str, api_bool, api_int, api_int8, api_int16, api_int32, api_int64, api_uint8, api_uint16, api_uint32,
    api_uint64, api_size, api_number, api_any, api_null;

typedef struct ApiCommand {
    const char *name, *doc;
    const ApiType *args, *ret; /* NULL: none */
    bool open;                 /* takes members beyond args: the handler gets the whole JSON object */
    bool early;                /* allowed before capabilities negotiation */
    const char *const *features;
    bool (*call)(Vm *vm, Monitor *m, const JVal *json, const void *args, void *ret, Error **err);
} ApiCommand;
typedef struct ApiEvent {
    const char *name, *doc;
    const ApiType *data;
} ApiEvent;

/* A line of the human monitor: `args` from text, then a QMP command of the same arguments, or a function of its own. */
typedef enum HmpArg { HMP_WORD, HMP_FILE, HMP_INT /* an expression */, HMP_SIZE /* MiB without suffix */, HMP_FLAG /* -x */,
    HMP_FORMAT /* /3xw */, HMP_ONOFF, HMP_REST /* of the line */, HMP_COMMAND /* name of a command */ } HmpArg;
typedef struct Hmp {
    Vm *vm;
    Monitor *mon; /* or NULL: human-monitor-command */
    GString *out;
    unsigned cpu; /* chosen by `cpu N` */
} Hmp;
void hmp_say_error(Hmp *h, Error *err); /* the line, if there is an error; takes it */
typedef struct HmpFormat { /* of x, xp, print, i: count, letter, bytes */
    uint32_t count;
    char letter;      /* x d u o c i, s */
    uint8_t size;     /* 1 2 4 8 */
    bool given;
} HmpFormat;
extern const ApiType api_hmp_format;
typedef struct HmpCommand {
    const char *names;  /* "info status", "stop|s" */
    const char *params, *help;
    const ApiType *args;       /* or NULL */
    const uint8_t *arg_kinds;  /* HmpArg by member */
    const char *flags;         /* letter by member; ' ' unless HMP_FLAG */
    const ApiCommand *qmp;     /* or NULL: */
    void (*run)(Hmp *h, const void *args);
} HmpCommand;

extern const ApiCommand api_commands[];
extern const ApiEvent api_events[];
extern const HmpCommand hmp_commands[];
extern const unsigned api_command_count, api_event_count, hmp_command_count;

/* `to` is zeroed memory of t->size. False: what was read of it so far is released and zeroed. Messages name the member. */
bool api_in(const ApiType *t, const JVal *v, void *to, Error **err);
JVal *api_out(const ApiType *t, const void *from); /* the caller owns it */
void api_clear(const ApiType *t, void *p);         /* releases what it owns, zeroes it */
int api_enum_find(const ApiType *t, const char *name); /* -1: none of them */
/* A new zeroed element at the end of a list: ChardevInfo *c = API_ADD(list); */
#define API_ADD(l) ((__typeof__((l)->v))api_grow(&(l)->v, &(l)->n, sizeof(*(l)->v)))
#define API_EMPTY(l) ((l)->v ? (void)0 : (void)((l)->v = g_malloc0(sizeof(*(l)->v))))
void *api_grow(void *v, size_t *n, size_t size);
/* Used by the generated emitters. data may be NULL. Any thread. */
void api_emit(Vm *vm, const ApiEvent *e, const void *data);
#endif
