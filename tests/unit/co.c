/* tests/unit/co.c - entering, nesting, waking, the lock, stacks that are used again. */
#include "tests/lib/t.h"
#include "util/co.h"

static GString *out;
static Co *one, *two;

static void say(const char *w) { g_string_append(out, w); }

static void body(void *arg)
{
    say(arg);
    co_yield();
    say(arg);
    check(co_self());
    co_yield();
    say(arg);
}

static void turns(Vm *vm)
{
    out = g_string_new(NULL);
    one = co_new(body, (void *)"a");
    two = co_new(body, (void *)"b");
    for (int i = 0; i < 3; i++) {
        co_enter(one);
        co_enter(two);
    }
    check(!co_self());
    check_str(out->str, "ababab");
    g_string_free(out, TRUE);
}
TEST("co/turns", turns);

static void inner(void *arg)
{
    say("i");
    co_yield();
    say("I");
}

static void outer(void *arg)
{
    Co *c = co_new(inner, NULL);

    say("o");
    co_enter(c);
    say("O");
    co_yield();
    co_wake(c);
    say("e");
}

static void nesting(Vm *vm)
{
    out = g_string_new(NULL);
    one = co_new(outer, NULL);
    co_enter(one);
    say("-");
    co_wake(one);
    check_str(out->str, "oiO-Ie");
    g_string_free(out, TRUE);
}
TEST("co/nesting", nesting);

static CoLock lock;
static unsigned inside, most, done;

static void locker(void *arg)
{
    co_lock(&lock);
    inside++;
    most = MAX(most, inside);
    co_yield();
    inside--;
    co_unlock(&lock);
    done++;
}

static void locked(Vm *vm)
{
    Co *v[20];

    for (int i = 0; i < 20; i++) {
        v[i] = co_new(locker, NULL);
        co_enter(v[i]);
    }
    for (int i = 0; i < 20; i++)
        co_wake(v[i]); /* the holder; its unlock lets the next one in */
    check_eq(done, 20);
    check_eq(most, 1);
    check(!lock.held);
}
TEST("co/lock", locked);

static void deep(void *arg)
{
    volatile char frame[200 * 1024];

    frame[0] = 1;
    frame[sizeof(frame) - 1] = 2;
    co_yield();
    done += frame[0] + frame[sizeof(frame) - 1];
}

static gpointer many(gpointer arg)
{
    for (int i = 0; i < 1000; i++) {
        Co *c = co_new(deep, NULL);

        co_enter(c);
        co_enter(c);
    }
    return NULL;
}

static void threads(Vm *vm)
{
    g_thread_join(g_thread_new("co", many, NULL));
    check_eq(done, 3000);
    many(NULL);
    check_eq(done, 6000);
}
TEST("co/threads", threads);

static void speed(Vm *vm)
{
    int64_t t0 = host_now();

    many(NULL);
    check(MENURA_TSAN || (host_now() - t0) / 1000 < 200 * US); /* a coroutine and four switches */
}
TEST("co/speed", speed);
