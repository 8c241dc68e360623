/* tests/unit/netuser.c - user networks, built when libslirp is there: the host answers, captures, rules, a loop at rest. */
#include "tests/lib/netend.h"
#include <stdio.h>
#include <unistd.h>

/* ARP for the host: it answers, and the capture has both frames. */
static void user(Vm *vm)
{
    static End a;
    g_autofree char *path = g_strdup_printf("%s/menura-%d.pcap", g_get_tmp_dir(), getpid()), *pcap = NULL;
    g_autofree char *text = g_strdup_printf("netdev=u,file=%s", path);
    g_autoptr(Opts) o = opts_parse(text, NULL, &abort_on_error);
    uint8_t arp[60] = { [0] = 255, 255, 255, 255, 255, 255, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
                        0x52, 0x54, 0, 0x12, 0x34, 0x56, 10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2 };
    gsize n;

    plug(&a, vm, "user,id=u");
    check(obj_new(obj_class_find("filter-dump"), &vm->root, "d", o, &abort_on_error));
    check(net_send_flat(&a.port, arp, sizeof(arp)));
    check_eq(a.got, 1);
    check(a.last[21] == 2 && a.last[28] == 10 && a.last[31] == 2);
    check(g_file_get_contents(path, &pcap, &n, NULL));
    check_eq(n, 24 + 16 + sizeof(arp) + 16 + a.len);
    unlink(path);
    net_detach(&a.port);
}

static void forwards(Vm *vm)
{
    static const char *const bad[] = { "tcp", "tcp::", "tcp::x-:22", "tcp::70000-:22", "udp:1.2.3:5-:6", "icmp::1-:2", "tcp::5555-:0" };
    Error *err = NULL;

    back_end(vm, "user,id=u,restrict=on,net=192.168.76.0/24,dhcpstart=192.168.76.9");
    check(net_hostfwd_add(vm, NULL, "tcp:127.0.0.1:0-:22", &abort_on_error));
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        check(!net_hostfwd_add(vm, "u", bad[i], NULL));
    check(!net_hostfwd_remove(vm, "u", "tcp:127.0.0.1:1", &err));
    error_free(err);
    back_end(vm, "user,id=six,ipv6-net=fd00:1::/64,ipv6-dns=fd00:1::53,ipv4=off,ipv6=on");
    for (size_t i = 0; i < 7; i++) {
        static const char *const wrong[] = { "user,id=v,ipv6-host=nonsense", "user,id=v,ipv6-net=fd00::/127", "user,id=v,net=1.2.3", "user,id=v,net=10.0.0.0/31", "user,id=v,dns=10.9.9.9", "user,id=u", "user,id=v,nonsense=1" };
        g_autoptr(Opts) o = opts_parse(wrong[i], "type", &abort_on_error);

        check(!net_new(vm, o, NULL));
    }
}

/* A fragment whose rest does not come: libslirp looks after it every half second, and in between the loop sleeps. */
static bool time_is_up(void *arg)
{
    *(bool *)arg = true;
    return false;
}

static void rest(Vm *vm)
{
    static End a;
    uint8_t f[60] = { 0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 0, 0x45, 0, 0, 28, 0, 1, 0x20 /* more follow */, 0, 64, 17, 0, 0,
                      10, 0, 2, 15, 10, 0, 2, 2, 0, 99, 0, 99, 0, 100, 0, 0 };
    uint16_t sum = net_fold(net_sum(f + 14, 20, 0));
    bool up = false;
    unsigned turns = 0;

    f[24] = (uint8_t)(sum >> 8);
    f[25] = (uint8_t)sum;
    plug(&a, vm, "user,id=u");
    check(net_send_flat(&a.port, f, sizeof(f)));
    loop_after(vm->loop, 300 * MS, time_is_up, &up);
    for (; !up && turns < 1000; turns++)
        loop_iterate(vm->loop, true);
    check(turns < 50);
    net_detach(&a.port);
}

TEST("net/user", user);
TEST("net/forwards", forwards);
TEST("net/rest", rest);
