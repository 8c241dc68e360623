/* migrate/stream.h - bytes to and from a file with a checksum; and the RAM of a load before it is committed. */
#ifndef MIGRATE_STREAM_H
#define MIGRATE_STREAM_H
#include "core/state.h"
#include "core/vm.h"

enum { STREAM_VERSION = 1, STREAM_PAGE = 4096, STREAM_RUN = 256 /* pages of a record at most */, STREAM_BLOCKS = 4096 };
#define STREAM_MAGIC     "MENURAVM"
#define STREAM_STATE_MAX (256 * MiB)
enum { REC_STATE = 'S', REC_PAGES = 'P', REC_END = 'E' };

/* One thread at a time. The first failure stays in err; all later calls do nothing. */
typedef struct Stream {
    int fd; /* owned */
    bool writing;
    size_t piece; /* written at once, so that a pipe that is ready does not block */
    uint32_t crc;
    uint64_t bytes;
    size_t have, at; /* of buf */
    gint cancel;     /* atomic; any thread: the next call fails */
    Error *err;
    uint8_t buf[65536];
} Stream;
Stream *stream_open(const char *uri, bool writing, Error **err);
void stream_free(Stream *s); /* NULL is fine */
bool stream_put(Stream *s, const void *p, size_t n);
bool stream_flush(Stream *s); /* and fsync */
bool stream_get(Stream *s, void *p, size_t n);
uint64_t stream_get_int(Stream *s, unsigned bytes); /* little-endian; 0 after a failure */
char *stream_get_str(Stream *s);                    /* caller frees; NULL after a failure */

typedef struct StreamCount { /* atomics, read by query-migrate */
    uint64_t total, sent, left, normal, zero;
} StreamCount;

/* What of the VM goes into a stream; taken under the VM lock while it is stopped, written on any thread. */
typedef struct Image {
    char *machine;
    RunState state;
    GByteArray *devices; /* vm_save_state */
    GPtrArray *blocks;   /* of RamBlock *: used inside one RCU read section with the taking */
    GPtrArray *ids;      /* of char * */
} Image;
Image *image_take(Vm *vm, RunState state, Error **err);
void image_free(Image *m);
bool image_write(Image *m, Stream *s, StreamCount *n);

/* What a stream said, checked as far as that goes without devices. */
typedef struct Incoming {
    char *machine;
    RunState state;
    GByteArray *devices;
    GPtrArray *blocks; /* of Shadow * in the stream's order: ram.c */
} Incoming;
/* The blocks that this VM has: the caller's promise to a reader without lock. VM lock. */
Incoming *incoming_new(Vm *vm);
bool incoming_read(Incoming *in, Stream *s);
/* Devices and RAM together or not at all. VM lock, vCPUs stopped. */
bool incoming_commit(Incoming *in, Vm *vm, Error **err);
void incoming_free(Incoming *in);
bool page_is_zero(const uint8_t *p); /* 4096 bytes */
#endif
