/* tools/img/img.h - what the verbs of menura-img share. Each verb runs in a coroutine of img->loop. */
#ifndef TOOLS_IMG_H
#define TOOLS_IMG_H
#include "block/image.h"
#include "block/iov.h"
#include <getopt.h>
#include <stdio.h>

typedef struct Img {
    const char *aio, *cache; /* bench: how images are opened; NULL: as always */
    Loop *loop;
    bool quiet, json, progress, image_opts, force_share;
    GPtrArray *objects; /* of --object */
    const Opts *secrets; /* borrowed: of img_secrets, given to what is opened; or NULL */
    int shown; /* percent, in hundredths, said last */
} Img;
/* Returns the process's status; *err set: it is reported, status 1. */
typedef int (*VerbFn)(Img *m, int argc, char **argv, Error **err);
typedef struct Verb {
    const char *name, *what, *usage;
    VerbFn fn;
} Verb;
int img_create(Img *m, int argc, char **argv, Error **err);
int img_info(Img *m, int argc, char **argv, Error **err);
int img_bench(Img *m, int argc, char **argv, Error **err);
int img_bitmap(Img *m, int argc, char **argv, Error **err);
int img_dd(Img *m, int argc, char **argv, Error **err);
int img_check(Img *m, int argc, char **argv, Error **err);
int img_convert(Img *m, int argc, char **argv, Error **err);
int img_compare(Img *m, int argc, char **argv, Error **err);
int img_map(Img *m, int argc, char **argv, Error **err);
int img_measure(Img *m, int argc, char **argv, Error **err);
int img_snapshot(Img *m, int argc, char **argv, Error **err);
int img_resize(Img *m, int argc, char **argv, Error **err);
int img_rebase(Img *m, int argc, char **argv, Error **err);
int img_commit(Img *m, int argc, char **argv, Error **err);
int img_amend(Img *m, int argc, char **argv, Error **err);

/* Options that many verbs have: -f FMT, -T/-t CACHE, --output, --image-opts, -q, -p, -U, --object. Another one is the
 * verb's own: returned. -1: done; '?': wrong. argv's rest begins at optind. */
typedef struct Common {
    const char *format, *cache;
} Common;
int img_option(Img *m, Common *c, int argc, char **argv, const char *own_short, const struct option *own_long, Error **err);
enum { OPEN_WRITE = 1, OPEN_NO_BACKING = 2, OPEN_FOR_CHECK = 4, OPEN_UNSAFE = 8, OPEN_UNMAP = 16, OPEN_NO_IO = 32 /* facts only: no key is needed */ };
Node *img_open(Img *m, const char *name, const char *format, unsigned flags, Error **err);
bool img_parse_options(Opts *o, const char *text, Error **err); /* "a=b,c" added to o */
Opts *img_secrets(const Opts *o); /* those of them that say which key opens the image; the caller frees */
void img_progress(Img *m, uint64_t done, uint64_t all);         /* no-op without -p */
bool img_size(const char *text, uint64_t *out, Error **err);
int img_usage(const char *verb, Error **err, const char *why, ...) PRINTF(3, 4); /* sets err; 1 */
/* A JSON writer as pretty as QEMU's: four blanks a level. */
typedef struct Json {
    GString *out;
    int depth;
    bool first;
} Json;
void json_open(Json *j, const char *key, char bracket);
void json_close(Json *j, char bracket);
void json_text(Json *j, const char *key, const char *value);
void json_number(Json *j, const char *key, uint64_t value);
void json_bare(Json *j, const char *key, const char *value);
void json_print(Json *j); /* and frees */
/* info.c */
void img_print_snapshots(GPtrArray *list);
/* create.c: makes an image and says so; size UINT64_MAX: that of the backing file. o is consumed. */
CO_FN bool img_make(Img *m, const char *filename, const char *format, Opts *o, uint64_t size, bool unsafe, Error **err);
/* copy.c: status of what two chains may differ by; bytes alike from off, at most len */
CO_FN bool img_status(Node *n, uint64_t off, uint64_t len, BlkReq *out, Error **err);
#endif
