#!/usr/bin/env python3
"""remote.py MENURA-IMG MENURA-NBD http,ssh,iscsi,rbd [CELL...]: (what was built) images on other hosts: by HTTP (a server of the test's own), SSH (sshd), iSCSI (tgtd), Ceph (a monitor
and a store), all on loopback. A cell whose server is not installed, or cannot be started here, says so."""
import base64
import hashlib
import os
import pwd
import random
import shutil
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cells import run_cells  # noqa: E402
from nbdclient import Client  # noqa: E402
from webserver import Web  # noqa: E402

IMG, NBD = sys.argv[1:3]
WITH = sys.argv[3].split(",")
SIZE = 8 << 20


def run(*args, ok=0, **env):
    p = subprocess.run(args, capture_output=True, text=True, timeout=240, env=dict(os.environ, **env))
    assert p.returncode == ok, f"{' '.join(args)} -> {p.returncode}\n{p.stdout}{p.stderr}"
    return p.stdout + p.stderr


def refused(*args, why):
    said = run(*args, ok=1)
    assert why in said, f"{' '.join(args)} says {said!r}, wanted {why!r}"


def content(path, seed, size=SIZE):
    with open(path, "wb") as f:
        f.write(random.Random(seed).randbytes(size))
    return path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, p, what):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if p.poll() is not None:
            raise AssertionError(f"{what} ended with {p.returncode}")
        with socket.socket() as s:
            if not s.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.05)
    raise AssertionError(f"{what} does not listen")


class Missing(Exception):
    pass


def need(*tools):
    for t in tools:
        if not shutil.which(t):
            raise Missing(f"no {t}")


def built(scheme):
    if scheme not in WITH:
        raise Missing(f"built without {scheme}")


# ---- HTTP ----
def http_reads(d):
    built("http")
    web = Web(d)
    content(f"{d}/raw", 1, SIZE + 512)
    run(IMG, "convert", "-O", "qcow2", f"{d}/raw", f"{d}/q")
    for url in (f"{web.url}/raw", f"{web.url}/moved/raw"):
        run(IMG, "convert", "-f", "raw", "-O", "raw", url, f"{d}/out")
        run("cmp", f"{d}/raw", f"{d}/out")
    assert "file format: qcow2" in run(IMG, "info", f"{web.url}/q")
    run(IMG, "compare", f"{web.url}/q", f"{d}/raw")
    run(IMG, "create", "-q", "-f", "qcow2", "-b", f"{web.url}/q", "-F", "qcow2", f"{d}/top")
    run(IMG, "compare", f"{d}/top", f"{d}/raw")
    asked = [n for _, _, n in web.asked]
    assert max(asked) <= 2 << 20 and min(asked[:20]) > 0, f"ranges of {min(asked)} to {max(asked)} bytes"
    web.close()


def connected(p, sock):
    end = time.monotonic() + 60
    while True:
        try:
            return Client(sock, "", SIZE)
        except OSError:  # it is not there yet, or does not listen yet
            assert p.poll() is None and time.monotonic() < end, "no NBD server"
            time.sleep(0.02)


def http_random(d):
    """Many readers at once, pieces of all sizes, by NBD."""
    built("http")
    web = Web(d)
    data = open(content(f"{d}/raw", 2), "rb").read()
    p = subprocess.Popen([NBD, "-r", "-k", f"{d}/sock", "-e", "4", "-t", "--image-opts", f"driver=http,url={web.url}/raw,readahead=64k"])
    try:
        c, rng = connected(p, f"{d}/sock"), random.Random(3)
        for _ in range(400):
            n = rng.choice((512, 4096, 65536, 300000))
            at = rng.randrange(SIZE - n)
            assert c.read(at, n) == data[at:at + n], f"{n} bytes at {at}"
    finally:
        p.kill()
        p.wait()
        web.close()


def http_faults(d):
    built("http")
    web = Web(d)
    content(f"{d}/raw", 4)
    convert = (IMG, "convert", "-f", "raw", "-O", "raw", f"{web.url}/raw", f"{d}/out")
    refused(IMG, "info", f"{web.url}/none", why="404")
    for fault, why in (("no ranges", "does not support 'range'"), ("no length", "didn't report file size"), ("ignores", "Input/output error"), ("breaks off", "Input/output error")):
        web.fault = fault
        refused(*convert, why=why)
    web.fault = None
    run(*convert)
    refused(IMG, "info", f"http://127.0.0.1:{free_port()}/raw", why="CURL: Error opening file")
    refused(IMG, "info", "--image-opts", f"driver=http,url=https://127.0.0.1/{d}/raw", why="does not start with 'http://'")
    refused(IMG, "info", "--image-opts", f"driver=http,url={web.url}/raw,readahead=1000", why="not a multiple of 512")
    refused(IMG, "resize", "-f", "raw", f"{web.url}/raw", "+1M", why="does not support writes")
    web.close()


def http_password(d):
    built("http")
    web = Web(d, user="me:a secret")
    content(f"{d}/raw", 5)
    options = f"driver=http,url={web.url}/raw,username=me"
    refused(IMG, "info", "--image-opts", options, why="401")
    said = run(IMG, "info", "--object", "secret,id=s,data=a secret", "--image-opts", f"{options},password-secret=s")
    assert "8 MiB" in said, said
    web.close()


# ---- SSH ----
class Sshd:
    """A server and an agent that has the one key it takes."""

    def __init__(self, d):
        need("sshd", "ssh-keygen", "ssh-agent", "ssh-add")
        built("ssh")
        self.port, self.user = free_port(), pwd.getpwuid(os.getuid()).pw_name
        for key in ("host", "key"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{d}/{key}")
        sftp = next((p for p in ("/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server") if os.path.exists(p)), "internal-sftp")
        with open(f"{d}/sshd", "w") as f:
            f.write(f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {d}/host\nPidFile {d}/pid\nAuthorizedKeysFile {d}/key.pub\nStrictModes no\n"
                    f"PermitRootLogin yes\nPasswordAuthentication no\nUsePAM no\nSubsystem sftp {sftp}\n")
        if os.getuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        self.p = subprocess.Popen([shutil.which("sshd"), "-D", "-f", f"{d}/sshd", "-E", f"{d}/log"])
        self.agent = subprocess.Popen(["ssh-agent", "-D", "-a", f"{d}/agent"], stdout=subprocess.DEVNULL)
        wait_port(self.port, self.p, "sshd")
        while not os.path.exists(f"{d}/agent"):
            time.sleep(0.02)
        self.env = {"SSH_AUTH_SOCK": f"{d}/agent"}
        run("ssh-add", "-q", f"{d}/key", **self.env)
        self.base = f"driver=ssh,host=127.0.0.1,port={self.port},user={self.user}"

    def close(self):
        for p in (self.p, self.agent):
            p.terminate()
            p.wait()


def ssh_all(d):
    s = Sshd(d)
    try:
        raw = content(f"{d}/raw", 6)
        run(IMG, "convert", "-O", "raw", "--image-opts", f"{s.base},path={d}/raw,host-key-check.mode=none", f"{d}/out", **s.env)
        run("cmp", raw, f"{d}/out")
        run(IMG, "compare", "-f", "raw", "-F", "raw", f"ssh://{s.user}@127.0.0.1:{s.port}{d}/raw?host_key_check=no", raw, **s.env)
        ssh_keys(d, s)
        said = run(IMG, "info", "--image-opts", f"{s.base},path={d}/none,host-key-check.mode=none", ok=1, **s.env)
        assert "failed to open remote file" in said, said
        ssh_writes(d, s)
    finally:
        s.close()


def ssh_keys(d, s):
    """The server is whom its key says, or it is not talked to."""
    for kind in ("md5", "sha1", "sha256"):
        if kind == "md5":
            value = run("ssh-keygen", "-l", "-E", "md5", "-f", f"{d}/host.pub").split()[1][4:]
        else:
            value = hashlib.new(kind, base64.b64decode(open(f"{d}/host.pub").read().split()[1])).hexdigest()
        bad = ("00" if value[:2] != "00" else "01") + value[2:]
        for v, ok in ((value, 0), (bad, 1), (value[:-2], 1), (value + "00", 1)):
            said = run(IMG, "info", "--image-opts", f"{s.base},path={d}/raw,host-key-check.mode=hash,host-key-check.type={kind},host-key-check.hash={v}", ok=ok, **s.env)
            assert ("8 MiB" if not ok else "does not match") in said, said
    said = run(IMG, "info", "--image-opts", f"{s.base},path={d}/raw", ok=1, **s.env)
    assert "no host key was found in known_hosts" in said, said


def ssh_writes(d, s):
    """A qcow2 over there, written and checked."""
    run(IMG, "create", "-q", "-f", "qcow2", f"{d}/q", str(SIZE))
    target = ",".join("file." + part for part in f"{s.base},path={d}/q,host-key-check.mode=none".split(","))
    run(IMG, "convert", "-n", "-O", "qcow2", "--target-image-opts", f"{d}/raw", f"driver=qcow2,{target}", **s.env)
    run(IMG, "check", f"{d}/q")
    run(IMG, "compare", f"{d}/q", f"{d}/raw")


# ---- iSCSI ----
class Target:
    name = "iqn.2026-11.test:disk"

    def __init__(self, d, user=None):
        need("tgtd", "tgtadm")
        built("iscsi")
        self.port, self.control = free_port(), 7000 + os.getpid() % 1000
        self.p = subprocess.Popen(["tgtd", "-f", "-C", str(self.control), "--iscsi", f"portal=127.0.0.1:{self.port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_port(self.port, self.p, "tgtd")
        except AssertionError as e:
            raise Missing(str(e))
        self.admin("new", "target", f"--tid=1 --targetname={self.name}")
        self.admin("new", "logicalunit", f"--tid=1 --lun=1 --backing-store={d}/unit")
        self.admin("bind", "target", "--tid=1 --initiator-address=ALL")
        self.admin("update", "logicalunit", "--tid=1 --lun=1 --params thin_provisioning=1")
        if user:
            self.admin("new", "account", f"--user={user[0]} --password={user[1]}")
            self.admin("bind", "account", f"--tid=1 --user={user[0]}")
        self.url = f"iscsi://127.0.0.1:{self.port}/{self.name}/1"

    def admin(self, op, mode, rest):
        run("tgtadm", "-C", str(self.control), f"--lld=iscsi", f"--op={op}", f"--mode={mode}", *rest.split())

    def close(self):
        self.p.kill()
        self.p.wait()


def iscsi_all(d):
    raw = content(f"{d}/raw", 7)
    with open(f"{d}/unit", "wb") as f:
        f.truncate(SIZE)
    t = Target(d)
    try:
        said = run(IMG, "info", "-f", "raw", t.url)
        assert "8 MiB" in said, said
        run(IMG, "convert", "-n", "-f", "raw", "-O", "raw", raw, t.url)
        run("cmp", raw, f"{d}/unit")
        run(IMG, "compare", "-f", "raw", "-F", "raw", raw, t.url)
        with open(raw, "r+b") as f:  # zeros go as WRITE SAME or UNMAP
            f.seek(1 << 20)
            f.write(bytes(3 << 20))
        run(IMG, "convert", "-n", "-f", "raw", "-O", "raw", raw, t.url)
        run("cmp", raw, f"{d}/unit")
        refused(IMG, "info", "-f", "raw", t.url[:-1] + "7", why="iSCSI: Failed to connect to LUN")
        refused(IMG, "info", "-f", "raw", t.url.replace("disk", "none"), why="iSCSI: Failed to connect to LUN")
        refused(IMG, "info", "-f", "raw", f"iscsi://127.0.0.1:{free_port()}/{t.name}/1", why="iSCSI: Failed to connect to LUN")
    finally:
        t.close()


def iscsi_password(d):
    with open(f"{d}/unit", "wb") as f:
        f.truncate(SIZE)
    t = Target(d, ("me", "a-secret-of-12"))
    try:
        options = f"driver=iscsi,transport=tcp,portal=127.0.0.1:{t.port},target={t.name},lun=1"
        refused(IMG, "info", "--image-opts", options, why="iSCSI: Failed to connect to LUN")
        refused(IMG, "info", "--image-opts", f"{options},user=me", why="needs password-secret")
        said = run(IMG, "info", "--object", "secret,id=s,data=a-secret-of-12", "--image-opts", f"{options},user=me,password-secret=s")
        assert "8 MiB" in said, said
    finally:
        t.close()


# ---- Ceph ----
class Cluster:
    """A monitor and a store that keeps its objects in memory; nobody has to say who he is."""

    def __init__(self, d):
        need("ceph-mon", "ceph-osd", "monmaptool", "ceph", "rbd", "uuidgen")
        built("rbd")
        self.d, self.running, port = d, [], free_port()
        fsid, osd = (run("uuidgen").strip() for _ in range(2))
        with open(f"{d}/conf", "w") as f:
            f.write(f"[global]\nfsid={fsid}\nmon_host=v2:127.0.0.1:{port}\npublic_addr=127.0.0.1\ncluster_addr=127.0.0.1\nms_bind_ipv6=false\n"
                    "auth_cluster_required=none\nauth_service_required=none\nauth_client_required=none\nosd_pool_default_size=1\nosd_pool_default_min_size=1\n"
                    "mon_allow_pool_size_one=true\nosd_crush_chooseleaf_type=0\nosd_objectstore=memstore\nmemstore_device_bytes=256M\nmon_data_avail_crit=0\n"
                    f"run_dir={d}\nadmin_socket={d}/$name.$pid.asok\nlog_file={d}/$name.log\npid_file={d}/$name.pid\nmon_data={d}/mon\nosd_data={d}/osd\nkeyring={d}/keyring\n")
        open(f"{d}/keyring", "w").close()
        os.mkdir(f"{d}/osd")
        run("monmaptool", "-c", f"{d}/conf", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{port}]", f"{d}/map")
        run("ceph-mon", "-c", f"{d}/conf", "--mkfs", "-i", "a", "--monmap", f"{d}/map", "--keyring", f"{d}/keyring")
        self.start("ceph-mon", "a")
        number = self.ceph("osd", "new", osd).strip().splitlines()[-1]
        run("ceph-osd", "-c", f"{d}/conf", "-i", number, "--mkfs", "--osd-uuid", osd)
        self.start("ceph-osd", number)
        self.ceph("osd", "pool", "create", "p", "8", "8")
        self.rbd("pool", "init", "p")

    def start(self, what, name):
        log = open(f"{self.d}/{what}.out", "w")
        self.running.append(subprocess.Popen([what, "-c", f"{self.d}/conf", "-i", name, "-f"], stdout=log, stderr=log))

    def ceph(self, *args):
        return run("timeout", "120", "ceph", "-c", f"{self.d}/conf", *args)

    def rbd(self, *args):
        return run("timeout", "120", "rbd", "-c", f"{self.d}/conf", *args)

    def name(self, image):
        return f"rbd:p/{image}:conf={self.d}/conf"

    def close(self):
        for p in reversed(self.running):
            p.kill()
            p.wait()


def rbd_all(d):
    c = Cluster(d)
    try:
        raw = content(f"{d}/raw", 8)
        c.rbd("create", "p/disk", "--size", "8M")
        run(IMG, "convert", "-n", "-f", "raw", "-O", "raw", raw, c.name("disk"))
        c.rbd("export", "p/disk", f"{d}/out")
        run("cmp", raw, f"{d}/out")
        c.rbd("snap", "create", "p/disk@before")
        other = content(f"{d}/other", 9)
        with open(other, "r+b") as f:
            f.seek(1 << 20)
            f.write(bytes(3 << 20))
        run(IMG, "convert", "-n", "-f", "raw", "-O", "raw", other, c.name("disk"))
        run(IMG, "compare", "-f", "raw", "-F", "raw", other, c.name("disk"))
        run(IMG, "compare", "-f", "raw", "-F", "raw", raw, c.name("disk@before"))
        rbd_grows(d, c, raw)
        refused(IMG, "info", c.name("none"), why="error reading header from none")
        refused(IMG, "info", c.name("disk").replace("rbd:p/", "rbd:q/"), why="error opening pool q")
        refused(IMG, "info", f"rbd:p/disk:conf={d}/none", why="error reading conf file")
    finally:
        c.close()


def rbd_grows(d, c, raw):
    """A qcow2 in an image that is too small for it at first."""
    c.rbd("create", "p/q", "--size", "1M")
    run(IMG, "create", "-q", "-f", "qcow2", f"{d}/q", str(SIZE))
    run(IMG, "convert", "-n", "-f", "raw", "-O", "raw", f"{d}/q", c.name("q"))
    run(IMG, "convert", "-n", "-f", "raw", "-O", "qcow2", raw, c.name("q"))
    run(IMG, "check", c.name("q"))
    run(IMG, "compare", "-F", "raw", c.name("q"), raw)


def cell(fn):
    def wrapped(d):
        try:
            fn(d)
        except Missing as e:
            print(f"SKIP {fn.__name__}: {e}")
    return wrapped


run_cells([(f.__name__.replace("_", "-"), cell(f), ()) for f in (http_reads, http_random, http_faults, http_password, ssh_all, iscsi_all, iscsi_password, rbd_all)], sys.argv[4:])
