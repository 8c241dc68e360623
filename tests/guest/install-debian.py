#!/usr/bin/env python3
"""install-debian.py MENURA [FOLDER [OPTION...]] - Debian 12 installed to an empty disk from its installer's ISO, without a hand, and started from there.

tests/guests/make-mirror serves the packages on loopback, a server here the preseed file; the options are typed at the ISO's
boot prompt. The disk, and what the serial port said (install.log, boot.log), stay in FOLDER when one is given. A quarter of an
hour or more. It ends with the login of the installed system on ttyS0, a look around, and its power-off.
"""
import functools, http.server, json, os, re, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
GUESTS = os.path.join(HERE, "../guests")
EXPECT, MIRROR = f"{GUESTS}/expect-serial", f"{GUESTS}/make-mirror"
INSTALL_S, BOOT_S = 7200, 1200
PRESEED = """
d-i debian-installer/locale string en_US.UTF-8
d-i keyboard-configuration/xkb-keymap select us
d-i netcfg/choose_interface select auto
d-i netcfg/get_hostname string installed
d-i netcfg/get_domain string test
d-i mirror/country string manual
d-i mirror/http/hostname string 10.0.2.2:{mirror}
d-i mirror/http/directory string /debian
d-i mirror/http/proxy string
d-i mirror/suite string bookworm
d-i apt-setup/services-select multiselect security
d-i apt-setup/security_host string 10.0.2.2:{mirror}
d-i apt-setup/enable-source-repositories boolean false
d-i passwd/make-user boolean false
d-i passwd/root-password password root
d-i passwd/root-password-again password root
d-i user-setup/allow-password-weak boolean true
d-i clock-setup/utc boolean true
d-i time/zone string UTC
d-i clock-setup/ntp boolean false
d-i partman-auto/disk string /dev/vda
d-i partman-auto/method string regular
d-i partman-auto/choose_recipe select atomic
d-i partman-partitioning/confirm_write_new_label boolean true
d-i partman/choose_partition select finish
d-i partman/confirm boolean true
d-i partman/confirm_nooverwrite boolean true
d-i base-installer/install-recommends boolean false
d-i base-installer/kernel/image string linux-image-amd64
d-i pkgsel/run_tasksel boolean false
d-i pkgsel/upgrade select none
d-i pkgsel/update-policy select none
popularity-contest popularity-contest/participate boolean false
d-i grub-installer/only_debian boolean true
d-i grub-installer/bootdev string /dev/vda
d-i finish-install/keep-consoles boolean true
d-i finish-install/reboot_in_progress note
d-i debian-installer/exit/poweroff boolean true
"""
KEYS = {" ": "spc", "\n": "ret", "=": "equal", ".": "dot", "/": "slash", "-": "minus", ",": "comma"}


def key(*codes):
    return json.dumps({"execute": "send-key", "arguments": {"keys": [{"type": "qcode", "data": c} for c in codes]}})


def typed(text):
    """Steps of expect-serial that type this on the keyboard."""
    steps = []
    for c in text:
        codes = ("shift", "semicolon") if c == ":" else ("shift", "minus") if c == "_" else ("shift", c.lower()) if c.isupper() else (KEYS.get(c, c),)
        steps += ["--qmp", key(*codes)]
    return steps


def expect(log, steps, command):
    start = time.monotonic()
    if subprocess.run([EXPECT, "--log", log, *steps, "--", *command]).returncode:
        sys.exit(f"FAIL: see above, and {log}")
    print(f"{os.path.basename(log)}: {time.monotonic() - start:.0f} s", flush=True)


def serve(folder):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def main():
    menura, out, more = sys.argv[1], (sys.argv[2:3] or [None])[0], sys.argv[3:]
    guests = os.environ.get("MENURA_GUESTS") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "menura-guests")
    if subprocess.run([f"{GUESTS}/get-media", guests]).returncode:
        print("SKIP: the installer cannot be had here (see above)")
        return 77
    with tempfile.TemporaryDirectory() as scratch, subprocess.Popen([MIRROR, f"{guests}/mirror"], stdout=subprocess.PIPE, text=True) as mirror:
        try:
            port = re.search(r"port (\d+)", mirror.stdout.readline())
            if not port:
                print("SKIP: no mirror (see above)")
                return 77
            out = os.path.abspath(out or scratch)
            os.makedirs(f"{scratch}/www")
            os.makedirs(out, exist_ok=True)
            with open(f"{scratch}/www/p", "w") as f:
                f.write(PRESEED.format(mirror=port[1]))
            disk = f"{out}/installed.img"
            with open(disk, "wb") as f:
                f.truncate(4 << 30)
            command = [menura, "-m", "1024", "-display", "none", "-nic", "user,model=virtio-net-pci", "-drive", f"file={disk},format=raw,if=virtio,cache=unsafe", *more]
            # no_timer_check: Linux wants some ticks within 50 ms of the processor's clock, which a busy host may not give
            options = f"auto no_timer_check url=http://10.0.2.2:{serve(f'{scratch}/www')}/p console=ttyS0 DEBIAN_FRONTEND=text\n"
            expect(f"{out}/install.log", ["--timeout", str(BOOT_S), "--screen", "installer menu|Graphical install|Automatic boot|Press ENTER", "--qmp", key("esc"),
                                          "--screen", "boot:", *typed(options), "--wait", "Linux version", "--timeout", str(INSTALL_S), "--never", "Kernel panic",
                                          "--never", r"(?i)^\[!!\].*(fail|error|bad)", "--exit"],
                   [*command, "-cdrom", f"{guests}/media/installer-text.iso", "-boot", "d"])
            expect(f"{out}/boot.log", ["--timeout", str(BOOT_S), "--never", "Kernel panic", "--wait", "installed login: ", "--send", "root", "--wait", "Password: ", "--send", "root",
                                       "--wait", r"root@installed:~# ", "--send", ". /etc/os-release; echo $VERSION_ID $(uname -r) $(dpkg -l | grep -c ^ii) packages; df -h /",
                                       "--wait", r"^12 \S+ \d+ packages", "--wait", "/dev/vda1", "--send", "systemctl is-system-running; apt-get -q update", "--wait", "^running",
                                       "--wait", "Reading package lists", "--send", "poweroff", "--exit"], command)
        finally:
            mirror.terminate()
    print("ok")
    return 0


sys.exit(main())
