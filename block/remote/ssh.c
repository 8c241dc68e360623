/*
 * block/remote/ssh.c - driver "ssh": a file on another host, by SFTP (libssh). libssh's calls wait, so each request is a job of the pool,
 * one at a time: a session belongs to one thread at once. Who the server is says its host key: in known_hosts, by its hash, or
 * nobody asks (host-key-check.mode). Keys come from the agent and from ~/.ssh, as ssh's own.
 */
#include "block/priv.h"
#include "block/remote/lib.h"
#include "block/sonames.h"
#include <errno.h>
#include <fcntl.h>
#include <libssh/libssh.h>
#include <libssh/sftp.h>

#define FUNCTIONS(X) \
    X(sftp_attributes_free) X(sftp_close) X(sftp_extension_supported) X(sftp_free) X(sftp_fstat) X(sftp_fsync) X(sftp_get_error) \
    X(sftp_init) X(sftp_new) X(sftp_open) X(sftp_read) X(sftp_seek64) X(sftp_setstat) X(sftp_write) X(ssh_clean_pubkey_hash) \
    X(ssh_connect) X(ssh_disconnect) X(ssh_free) X(ssh_get_error) X(ssh_get_error_code) X(ssh_get_publickey_hash) \
    X(ssh_get_server_publickey) X(ssh_key_free) X(ssh_new) X(ssh_options_parse_config) X(ssh_options_set) \
    X(ssh_session_is_known_server) X(ssh_userauth_none) X(ssh_userauth_publickey_auto)
LIB_TABLE(FUNCTIONS);

enum { SSH_PORT = 22, CHUNK = 32768, TIMEOUT_S = 30 };
typedef struct Ssh {
    ssh_session session;
    sftp_session sftp;
    sftp_file file;
    char *host, *path, *user, *check, *hash_kind, *hash;
    uint64_t port;
    CoLock turn;
    bool can_sync; /* the server knows fsync@openssh.com */
    Node *n;
    Error *why;    /* of a job that failed */
} Ssh;

/* ---- options ---- */
/* host_key_check=no, yes, or KIND:HASH: the older spelling. */
static bool check_text(Ssh *s, const char *text, Error **err)
{
    const char *colon = strchr(text, ':');

    g_clear_pointer(&s->check, g_free);
    if (!strcmp(text, "no") || !strcmp(text, "yes")) {
        s->check = g_strdup(*text == 'n' ? "none" : "known_hosts");
        return true;
    }
    if (!colon)
        return fail(err, "unknown host_key_check setting (%s)", text);
    s->check = g_strdup("hash");
    s->hash_kind = g_strndup(text, (gsize)(colon - text));
    s->hash = g_strdup(colon + 1);
    return true;
}

static bool take_uri(Ssh *s, const char *text, Error **err)
{
    g_autoptr(GUri) u = g_uri_parse(text, G_URI_FLAGS_HAS_PASSWORD, NULL);
    const char *user = u ? g_uri_get_user(u) : NULL, *query = u ? g_uri_get_query(u) : NULL;

    if (!u || strcmp(g_uri_get_scheme(u), "ssh"))
        return fail(err, "URI scheme must be 'ssh': '%s'", text);
    if (!g_uri_get_host(u) || !*g_uri_get_host(u))
        return fail(err, "missing hostname in URI");
    if (!*g_uri_get_path(u))
        return fail(err, "missing remote path in URI");
    s->host = g_strdup(g_uri_get_host(u));
    s->path = g_strdup(g_uri_get_path(u));
    s->user = user && *user ? g_strdup(user) : NULL;
    s->port = g_uri_get_port(u) > 0 ? (uint64_t)g_uri_get_port(u) : SSH_PORT;
    return !query || !g_str_has_prefix(query, "host_key_check=") || check_text(s, query + strlen("host_key_check="), err);
}

static bool options(Ssh *s, Opts *o, Error **err)
{
    const char *uri = opts_get(o, "filename"), *old = opts_get(o, "host_key_check");

    s->port = SSH_PORT;
    if (uri && !take_uri(s, uri, err))
        return false;
    remote_take(&s->host, o, "host");
    remote_take(&s->host, o, "server.host");
    remote_take(&s->path, o, "path");
    remote_take(&s->user, o, "user");
    if (!opts_get_u64(o, "port", s->port, &s->port, err) || !opts_get_u64(o, "server.port", s->port, &s->port, err) ||
        (old && !check_text(s, old, err)))
        return false;
    remote_take(&s->check, o, "host-key-check.mode");
    remote_take(&s->hash_kind, o, "host-key-check.type");
    remote_take(&s->hash, o, "host-key-check.hash");
    if (!s->check)
        s->check = g_strdup("known_hosts");
    if (!s->host || !s->path)
        return fail(err, "No %s was specified", s->host ? "path" : "hostname");
    if (s->port == 0 || s->port > 65535)
        return fail(err, "ssh: %" PRIu64 " is no port", s->port);
    return !strcmp(s->check, "none") || !strcmp(s->check, "known_hosts") || (!strcmp(s->check, "hash") && s->hash && s->hash_kind) ||
           fail(err, "host-key-check.mode=%s: must be none, known_hosts, or hash with type and hash", s->check);
}

/* ---- the connection; in the pool ---- */
static bool session_failed(Ssh *s, const char *what)
{
    return fail(&s->why, "%s: %s (libssh error code: %d)", what, lib.ssh_get_error(s->session), lib.ssh_get_error_code(s->session));
}

static bool same_hash(const char *want, const unsigned char *have, size_t n)
{
    for (size_t i = 0; i < n; i++) { /* hexadecimal, colons between the bytes or none */
        int hi = g_ascii_xdigit_value(want[0]), lo = hi < 0 ? -1 : g_ascii_xdigit_value(want[1]);

        if (lo < 0 || (hi << 4 | lo) != have[i])
            return false;
        want += want[2] == ':' ? 3 : 2;
    }
    return !*want;
}

static bool check_hash(Ssh *s)
{
    static const struct {
        const char *name;
        enum ssh_publickey_hash_type type;
    } kinds[] = { { "md5", SSH_PUBLICKEY_HASH_MD5 }, { "sha1", SSH_PUBLICKEY_HASH_SHA1 }, { "sha256", SSH_PUBLICKEY_HASH_SHA256 } };
    unsigned char *hash;
    ssh_key key;
    size_t n;
    bool same;

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (strcmp(s->hash_kind, kinds[i].name))
            continue;
        if (lib.ssh_get_server_publickey(s->session, &key))
            return session_failed(s, "failed to read remote host key");
        if (lib.ssh_get_publickey_hash(key, kinds[i].type, &hash, &n)) {
            lib.ssh_key_free(key);
            return session_failed(s, "failed to hash the remote host key");
        }
        same = same_hash(s->hash, hash, n);
        lib.ssh_clean_pubkey_hash(&hash);
        lib.ssh_key_free(key);
        return same || fail(&s->why, "remote host key fingerprint does not match host_key_check '%s:%s'", s->hash_kind, s->hash);
    }
    return fail(&s->why, "host-key-check.type=%s: must be md5, sha1 or sha256", s->hash_kind);
}

static bool check_key(Ssh *s)
{
    if (!strcmp(s->check, "none"))
        return true;
    if (!strcmp(s->check, "hash"))
        return check_hash(s);
    switch (lib.ssh_session_is_known_server(s->session)) {
    case SSH_KNOWN_HOSTS_OK: return true;
    case SSH_KNOWN_HOSTS_CHANGED:
        return fail(&s->why, "host key does not match the one in known_hosts; this may be a possible attack");
    case SSH_KNOWN_HOSTS_OTHER: return fail(&s->why, "host key for this server not found, another type exists");
    case SSH_KNOWN_HOSTS_UNKNOWN:
    case SSH_KNOWN_HOSTS_NOT_FOUND:
        fail(&s->why, "no host key was found in known_hosts");
        return error_hint(&s->why, "run ssh %s once, or give host-key-check.mode=none where nobody can be in between", s->host);
    default: return session_failed(s, "error while checking for known server");
    }
}

static bool log_in(Ssh *s)
{
    int r = lib.ssh_userauth_none(s->session, NULL);

    if (r != SSH_AUTH_SUCCESS)
        r = lib.ssh_userauth_publickey_auto(s->session, NULL, NULL);
    return r == SSH_AUTH_SUCCESS || session_failed(s, "failed to authenticate using publickey authentication and the identities held by your ssh-agent or files");
}

static bool connect_to(Ssh *s)
{
    long timeout = TIMEOUT_S;
    unsigned port = (unsigned)s->port;

    s->session = lib.ssh_new();
    if (!s->session)
        return fail(&s->why, "ssh: no memory");
    if (lib.ssh_options_set(s->session, SSH_OPTIONS_HOST, s->host) || lib.ssh_options_set(s->session, SSH_OPTIONS_PORT, &port) ||
        lib.ssh_options_set(s->session, SSH_OPTIONS_TIMEOUT, &timeout) || (s->user && lib.ssh_options_set(s->session, SSH_OPTIONS_USER, s->user)))
        return session_failed(s, "failed to set the options of the session");
    lib.ssh_options_parse_config(s->session, NULL); /* ~/.ssh/config: it may not be there */
    if (lib.ssh_connect(s->session))
        return session_failed(s, "failed to establish ssh session");
    return check_key(s) && log_in(s);
}

static bool open_file(Ssh *s)
{
    sftp_attributes a;
    bool plain;

    s->sftp = lib.sftp_new(s->session);
    if (!s->sftp || lib.sftp_init(s->sftp))
        return session_failed(s, "failed to initialize sftp handle");
    s->file = lib.sftp_open(s->sftp, s->path, s->n->readonly ? O_RDONLY : O_RDWR, 0);
    if (!s->file && !s->n->readonly && s->n->auto_readonly) {
        s->file = lib.sftp_open(s->sftp, s->path, O_RDONLY, 0);
        s->n->readonly = s->file;
    }
    if (!s->file)
        return fail(&s->why, "failed to open remote file '%s': %s (sftp error code: %d)", s->path, lib.ssh_get_error(s->session), lib.sftp_get_error(s->sftp));
    a = lib.sftp_fstat(s->file);
    if (!a)
        return session_failed(s, "failed to read file attributes");
    s->n->size = a->size;
    plain = a->type == SSH_FILEXFER_TYPE_REGULAR;
    lib.sftp_attributes_free(a);
    s->can_sync = lib.sftp_extension_supported(s->sftp, "fsync@openssh.com", "1");
    return plain || fail(&s->why, "remote file '%s' is not a regular file", s->path);
}

static int job_open(void *arg)
{
    Ssh *s = arg;

    return connect_to(s) && open_file(s) ? 0 : -EIO;
}

static int job_close(void *arg)
{
    Ssh *s = arg;

    if (s->file)
        lib.sftp_close(s->file);
    if (s->sftp)
        lib.sftp_free(s->sftp);
    if (s->session) {
        lib.ssh_disconnect(s->session);
        lib.ssh_free(s->session);
    }
    return 0;
}

/* ---- requests; in the pool ---- */
typedef struct Job {
    Ssh *s;
    BlkReq *r;
} Job;

static int code_of(Ssh *s)
{
    switch (lib.sftp_get_error(s->sftp)) {
    case SSH_FX_NO_SUCH_FILE: return -ENOENT;
    case SSH_FX_PERMISSION_DENIED: return -EACCES;
    case SSH_FX_WRITE_PROTECT: return -EROFS;
    default: return -EIO;
    }
}

static int move(Ssh *s, bool write, uint8_t *p, size_t n)
{
    while (n) {
        ssize_t k = write ? lib.sftp_write(s->file, p, MIN(n, CHUNK)) : lib.sftp_read(s->file, p, MIN(n, CHUNK));

        if (k < 0 || (k == 0 && write))
            return code_of(s);
        if (k == 0) { /* behind the file's end */
            memset(p, 0, n);
            return 0;
        }
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

static int job_rw(void *arg)
{
    const Job *j = arg;
    int ret = lib.sftp_seek64(j->s->file, j->r->off);

    for (int i = 0; i < j->r->niov && !ret; i++)
        ret = move(j->s, j->r->op == BLK_WRITE, j->r->iov[i].iov_base, j->r->iov[i].iov_len);
    if (!ret && j->r->op == BLK_WRITE && j->r->flags & BLK_FUA && j->s->can_sync)
        ret = lib.sftp_fsync(j->s->file) ? code_of(j->s) : 0;
    return ret;
}

static int job_flush(void *arg)
{
    const Job *j = arg;

    return lib.sftp_fsync(j->s->file) ? code_of(j->s) : 0;
}

static int job_truncate(void *arg)
{
    const Job *j = arg;
    struct sftp_attributes_struct a = { .flags = SSH_FILEXFER_ATTR_SIZE, .size = j->r->off };

    return lib.sftp_setstat(j->s->sftp, j->s->path, &a) ? code_of(j->s) : 0;
}

/* ---- the driver ---- */
static CO_FN int ssh_submit(Node *n, BlkReq *r)
{
    static int (*const jobs[])(void *) = { [BLK_READ] = job_rw, [BLK_WRITE] = job_rw, [BLK_FLUSH] = job_flush, [BLK_TRUNCATE] = job_truncate };
    Ssh *s = n->opaque;
    Job j = { s, r };
    int ret;

    if (r->op == BLK_STATUS || (r->op == BLK_FLUSH && !s->can_sync))
        return 0;
    if (r->op >= G_N_ELEMENTS(jobs) || !jobs[r->op])
        return -ENOTSUP;
    co_lock(&s->turn);
    ret = blk_in_pool(n->loop, jobs[r->op], &j);
    co_unlock(&s->turn);
    if (!ret && r->op == BLK_TRUNCATE)
        n->size = align_up(r->off, 512);
    return ret;
}

static void free_state(Ssh *s)
{
    for (char **text[] = { &s->host, &s->path, &s->user, &s->check, &s->hash_kind, &s->hash }, ***t = text; t < text + G_N_ELEMENTS(text); t++)
        g_free(**t);
}

static CO_FN void ssh_close(Node *n)
{
    blk_in_pool(n->loop, job_close, n->opaque);
    free_state(n->opaque);
}

static CO_FN bool ssh_open(Node *n, Opts *o, Error **err)
{
    Ssh *s = n->opaque;

    if (!remote_load(LIBSSH_SONAME, lib_names, &lib, err))
        return false;
    s->n = n;
    g_queue_init(&s->turn.waiters);
    if (!options(s, o, err)) {
        free_state(s);
        return false;
    }
    if (blk_in_pool(n->loop, job_open, s)) {
        ssh_close(n);
        return error_pass(err, s->why);
    }
    n->filename = g_strdup_printf("ssh://%s%s%s:%" PRIu64 "%s", s->user ? s->user : "", s->user ? "@" : "", s->host, s->port, s->path);
    return true;
}

static const BlkDriver ssh_driver = { .name = "ssh", .schemes = "ssh", .size = sizeof(Ssh), .protocol = true, .open = ssh_open, .close = ssh_close, .submit = ssh_submit };
BLK_DRIVER(ssh_driver);
