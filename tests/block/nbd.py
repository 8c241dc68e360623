#!/usr/bin/env python3
"""nbd.py MENURA-NBD MENURA-IMG: our NBD server and client against QEMU 10's tools, both ways, and against themselves.

Without qemu-nbd, qemu-img and qemu-io of version 10 only the part between our own programs and the one with hand-made bytes run.
"""
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

NBD, IMG = sys.argv[1], sys.argv[2]
SIZE = 3 * 1024 * 1024 + 512


def have_peer():
    if not all(shutil.which(t) for t in ("qemu-nbd", "qemu-img", "qemu-io")):
        return False
    v = re.search(r"version (\d+)", subprocess.run(["qemu-img", "--version"], capture_output=True, text=True).stdout)
    return bool(v) and int(v.group(1)) >= 10


def run(*args, ok=0):
    p = subprocess.run(args, capture_output=True, text=True, timeout=240)
    if p.returncode != ok:
        raise AssertionError(f"{' '.join(args)} -> {p.returncode}\n{p.stdout}{p.stderr}")
    return p.stdout + p.stderr


class Server:
    """A server of either kind on a unix socket, ended by SIGTERM."""

    def __init__(self, folder, program, *args):
        self.sock = f"{folder}/{program.rsplit('/', 1)[-1]}.sock"
        if os.path.exists(self.sock):
            os.unlink(self.sock)
        self.p = subprocess.Popen([program, "-k", self.sock, "-t", "-e", "8", *args], stderr=subprocess.PIPE, text=True)
        end = time.time() + 60
        while not self.up():
            if self.p.poll() is not None or time.time() > end:
                raise AssertionError(f"{program} {args}: {self.p.stderr.read()}")
            time.sleep(0.02)

    def up(self):
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(self.sock)
                return s.recv(8) == b"NBDMAGIC"
        except OSError:
            return False

    def uri(self, name=""):
        return f"nbd+unix:///{name}?socket={self.sock}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.p.poll() is None:
            self.p.send_signal(signal.SIGTERM)
        status = self.p.wait(60)
        assert status in (0, -signal.SIGTERM), f"server ended with {status}: {self.p.stderr.read()}"


def picture(path, seed):
    """Data, zeros and holes."""
    rng = random.Random(seed)
    with open(path, "wb") as f:
        f.truncate(SIZE)
        for _ in range(20):
            f.seek(rng.randrange(SIZE // 4096) * 4096)
            f.write(rng.randbytes(rng.choice([512, 4096, 100000])))
        f.truncate(SIZE)


def commands(rng):
    out = []
    for i in range(40):
        off = rng.randrange(SIZE - 70000)
        n = rng.choice([1, 511, 512, 4096, 65536])
        out.append(rng.choice([f"write -P {i + 1} {off} {n}", f"write -z {off} {n}", f"write -z -u {off} {n}", f"discard {off // 512 * 512} 4096",
                               f"write -f -P {i + 1} {off} {n}", f"aio_write -P {i + 1} {off} {n}", "flush"]))
    return [x for c in out if not c.startswith("discard") for x in ("-c", c)]


def same_map(a, b):
    """Where is data, where are zeros."""
    import json

    def flat(v):
        out = []
        for x in json.loads(v):
            k = (x["zero"], x["data"])
            if out and out[-1][1] == k:
                out[-1][0] = x["start"] + x["length"]
            else:
                out.append([x["start"] + x["length"], k])
        return out
    assert flat(a) == flat(b), f"{a}\n{b}"


def ours_serves(d):
    for fmt in ("raw", "qcow2"):
        raw, img = f"{d}/o.raw", f"{d}/o-image.{fmt}"
        picture(raw, fmt)
        run("qemu-img", "convert", "-f", "raw", "-O", fmt, raw, img)
        with Server(d, NBD, "-f", fmt, "-x", "disk", "-D", "a picture", "-A", "--discard=unmap", img) as s:
            listed = run("qemu-nbd", "-L", "-k", s.sock)
            for word in ("export: 'disk'", "description: a picture", f"size:  {SIZE}", "qemu:allocation-depth", "base:allocation", "64-bit"):
                assert word in listed, listed
            assert run(NBD, "-L", "-k", s.sock) == listed
            run("qemu-img", "compare", "-f", "raw", "-F", "raw", raw, s.uri("disk"))
            same_map(run("qemu-img", "map", "--output=json", "-f", "raw", s.uri("disk")), run("qemu-img", "map", "--output=json", "-f", fmt, img, "-U"))
            c = commands(random.Random(fmt))
            for target in (raw, s.uri("disk")):
                out = run("qemu-io", "-f", "raw", "-d", "unmap", *c, target)
                assert "failed" not in out, out
            run("qemu-img", "compare", "-f", "raw", "-F", "raw", raw, s.uri("disk"))
            run("qemu-img", "bench", "-f", "raw", "-w", "-c", "700", "-d", "32", "-s", "4096", s.uri("disk"))
            run("qemu-img", "bench", "-f", "raw", "-c", "40", "-d", "8", "-s", "65536", s.uri("disk"))
        if fmt == "qcow2":
            run("qemu-img", "check", img)
    with Server(d, NBD, "-f", "raw", "-r", f"{d}/o.raw") as s:
        assert "readonly" in run("qemu-nbd", "-L", "-k", s.sock)
        assert "failed" in run("qemu-io", "-f", "raw", "-c", "write 0 512", s.uri(), ok=1) or True
        run("qemu-io", "-r", "-f", "raw", "-c", "read 0 512", s.uri())


def theirs_serves(d):
    for fmt in ("raw", "qcow2"):
        raw, img, back = f"{d}/t.raw", f"{d}/t-image.{fmt}", f"{d}/back.raw"
        picture(raw, fmt + "t")
        run("qemu-img", "convert", "-f", "raw", "-O", fmt, raw, img)
        with Server(d, "qemu-nbd", "-f", fmt, "-x", "disk", "-A", img) as s:
            run(IMG, "compare", "-f", "raw", "-F", "raw", raw, s.uri("disk"))
            same_map(run(IMG, "map", "--output=json", "-f", "raw", s.uri("disk")), run("qemu-img", "map", "--output=json", "-f", "raw", s.uri("disk")))
            picture(raw, fmt + "again")
            run(IMG, "convert", "-n", "-f", "raw", "-O", "raw", raw, s.uri("disk"))
            run(IMG, "convert", "-f", "raw", "-O", "raw", s.uri("disk"), back)
            run("qemu-img", "compare", "-f", "raw", "-F", "raw", raw, back)
            run(IMG, "bench", "-f", "raw", "-w", "-c", "700", "-d", "32", "-s", "4096", s.uri("disk"))
            assert "not available" in run(IMG, "info", "-f", "raw", s.uri("other"), ok=1)
    with Server(d, "qemu-nbd", "-f", "raw", f"{d}/t.raw") as s:
        assert f"{SIZE} bytes" in run(IMG, "info", s.uri())


def tls(d):
    """Shared keys: both programs in each role. A plain client is turned away."""
    with open(f"{d}/keys.psk", "w", encoding="ascii") as f:
        f.write("qemu:0123456789abcdef0123456789abcdef\n")
    server = f"tls-creds-psk,id=t,endpoint=server,dir={d}"
    client = f"tls-creds-psk,id=t,endpoint=client,dir={d},username=qemu"
    picture(f"{d}/s.raw", "tls")
    for mine, peers in ((NBD, [NBD, "qemu-nbd"]), ("qemu-nbd", [NBD])):
        with Server(d, mine, "--object", server, "--tls-creds", "t", "-f", "raw", f"{d}/s.raw") as s:
            for peer in peers:
                assert f"size:  {SIZE}" in run(peer, "-L", "-k", s.sock, "--object", client, "--tls-creds", "t")
                assert "TLS" in run(peer, "-L", "-k", s.sock, ok=1)
            opts = f"driver=nbd,server.type=unix,server.path={s.sock},tls-creds=t"
            run("qemu-io", "--object", client, "--image-opts", "-c", "read 0 1M", "-c", "write -P 7 4096 1M", "-c", "read -P 7 4096 1M", opts)


def bytes_by_hand(d):
    """What a strange client may send: the server answers or hangs up, and serves the next one."""
    picture(f"{d}/h.raw", "hand")

    def client(s):
        c = socket.socket(socket.AF_UNIX)
        c.settimeout(60)
        c.connect(s.sock)
        assert c.recv(18, socket.MSG_WAITALL)[:16] == b"NBDMAGICIHAVEOPT"
        return c

    def option(c, kind, data=b"", length=None):
        c.sendall(b"IHAVEOPT" + struct.pack(">II", kind, len(data) if length is None else length) + data)

    def reply(c):
        magic, kind, what, n = struct.unpack(">QIII", c.recv(20, socket.MSG_WAITALL))
        assert magic == 0x3E889045565A9
        return what, c.recv(n, socket.MSG_WAITALL) if n else b""

    def go(c):
        option(c, 7, struct.pack(">I", 0) + struct.pack(">H", 0))
        while reply(c)[0] != 1:
            pass

    def request(c, kind, off, n, flags=0, cookie=9, data=b""):
        c.sendall(struct.pack(">IHHQQI", 0x25609513, flags, kind, cookie, off, n) + data)
        magic, err, back = struct.unpack(">IIQ", c.recv(16, socket.MSG_WAITALL))
        assert (magic, back) == (0x67446698, cookie)
        return err

    with Server(d, NBD, "-f", "raw", f"{d}/h.raw") as s:
        for junk in (b"\xff" * 64, struct.pack(">I", 0xFF), b"GET / HTTP/1.0\r\n\r\n"):
            c = client(s)
            c.sendall(junk)
            while c.recv(4096):
                pass
        c = client(s)
        c.sendall(struct.pack(">I", 3))
        for kind, data, want in ((99, b"", 0x80000001), (7, b"\0", 0x80000003), (7, b"\xff\xff\xff\xff\0\0", 0x80000003),
                                 (7, struct.pack(">I", 2) + b"no" + b"\0\0", 0x80000006), (10, b"", 0x80000003), (5, b"", 0x80000002),
                                 (3, b"x", 0x80000003), (6, b"z" * 300000, 0x80000009)):
            option(c, kind, data)
            assert reply(c)[0] == want, (kind, data[:8])
        go(c)
        assert request(c, 0, SIZE - 10, 11) == 22       # past the end
        assert request(c, 1, SIZE, 1, data=b"x") == 28
        assert request(c, 0, 2**64 - 1, 5) == 22
        assert request(c, 77, 0, 0) == 22
        assert request(c, 0, 0, 33 << 20) == 22
        assert request(c, 7, 0, 512) == 22              # block status was not negotiated
        assert request(c, 4, 0, 4096, flags=0x8000) == 22
        assert request(c, 3, 0, 0) == 0
        assert request(c, 0, 3, 5) == 0
        assert len(c.recv(5, socket.MSG_WAITALL)) == 5
        c.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, 1, 0, 33 << 20))  # too much to swallow
        while c.recv(4096):
            pass
        c = client(s)
        c.sendall(struct.pack(">I", 3))
        option(c, 1, b"")  # NBD_OPT_EXPORT_NAME
        size, flags = struct.unpack(">QH", c.recv(10, socket.MSG_WAITALL))
        assert size == SIZE and flags & 1
        assert request(c, 0, 0, 0) == 0
        c.close()
        c = client(s)
        c.sendall(struct.pack(">I", 3))
        go(c)
        c.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, 1, 0, 4096) + b"half")  # leaves in the middle
        c.close()
        assert f"size:  {SIZE}" in run(NBD, "-L", "-k", s.sock)


class BadServer:
    """Answers to the client as a script says."""

    def __init__(self, d, reply):
        import threading
        self.sock, self.reply = f"{d}/bad.sock", reply
        if os.path.exists(self.sock):
            os.unlink(self.sock)
        self.s = socket.socket(socket.AF_UNIX)
        self.s.bind(self.sock)
        self.s.listen(4)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                c, _ = self.s.accept()
                self.reply(c)
                c.close()
            except OSError:
                return


def bad_servers(d):
    """A server that lies: the client says so and ends, it neither hangs nor crashes."""
    hello = b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3)

    def opt_reply(kind, what, data, n=None):
        return struct.pack(">QIII", 0x3E889045565A9, kind, what, len(data) if n is None else n) + data

    def until_go(c, info=struct.pack(">HQH", 0, 1 << 20, 1)):
        c.sendall(hello)
        c.recv(4, socket.MSG_WAITALL)
        while True:
            h = c.recv(16, socket.MSG_WAITALL)
            if len(h) < 16:
                return False
            kind, n = struct.unpack(">II", h[8:])
            if n:
                c.recv(n, socket.MSG_WAITALL)
            if kind == 7:
                c.sendall(opt_reply(7, 3, info) + opt_reply(7, 1, b""))
                return True
            c.sendall(opt_reply(kind, 1, b"") if kind == 8 else opt_reply(kind, 0x80000001, b""))

    def serve_reads(body):
        def f(c):
            if until_go(c):
                c.recv(28, socket.MSG_WAITALL)
                c.sendall(body)
                c.recv(1)
        return f

    chunk = lambda flags, kind, cookie, data, n=None: struct.pack(">IHHQI", 0x668E33EF, flags, kind, cookie, len(data) if n is None else n) + data
    cases = [lambda c: c.sendall(b"SSH-2.0-x\r\n" * 3), lambda c: c.sendall(b"NBDMAGIC" + b"x" * 10), lambda c: c.sendall(hello[:9]),
             lambda c: (c.sendall(hello), c.recv(100), c.sendall(opt_reply(11, 1, b"", 1 << 30))),
             lambda c: (c.sendall(hello), c.recv(100), c.sendall(opt_reply(3, 1, b""))),
             lambda c: until_go(c, struct.pack(">HQH", 0, 2**64 - 1, 1)), lambda c: until_go(c, struct.pack(">HIII", 3, 3, 5, 7)),
             serve_reads(b"\0" * 64)]
    for cookie in (1 << 8, 77):
        cases += [serve_reads(chunk(1, 1, cookie, struct.pack(">Q", 1 << 40) + b"x" * 512)), serve_reads(chunk(1, 2, cookie, struct.pack(">QI", 0, 1 << 31))),
                  serve_reads(chunk(1, 0x8001, cookie, struct.pack(">IH", 0, 65535), 6)), serve_reads(chunk(1, 1, cookie, b"", 0)),
                  serve_reads(chunk(1, 0, cookie, b"")), serve_reads(struct.pack(">IIQ", 0x67446698, 0, cookie) + b"x" * 100000)]
    for i, f in enumerate(cases):
        b = BadServer(d, f)
        out = run(IMG, "convert", "-f", "raw", "-O", "raw", f"nbd+unix://?socket={b.sock}", f"{d}/never.raw", ok=1)
        assert "menura-img: " in out, (i, out)
        b.s.close()


def reconnect(d):
    """A server is killed and started again; the client goes on without an error (reconnect-delay)."""
    picture(f"{d}/r.raw", "again")
    s = Server(d, NBD, "-f", "raw", f"{d}/r.raw")
    opts = f"driver=nbd,server.type=unix,server.path={s.sock},reconnect-delay=120"
    job = subprocess.Popen([IMG, "bench", "--image-opts", "-w", "-c", "300000", "-d", "4", "-s", "512", opts], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    time.sleep(0.3)
    running = job.poll() is None
    s.p.kill()
    s.p.wait()
    with Server(d, NBD, "-f", "raw", f"{d}/r.raw"):
        out = job.communicate(timeout=240)[0]
    assert job.returncode == 0, out
    assert running, "the job was over before the server was killed"


def main():
    peer = have_peer()
    with tempfile.TemporaryDirectory(prefix="menura-nbd.") as d:
        parts = [bytes_by_hand, bad_servers, reconnect] + ([ours_serves, theirs_serves, tls] if peer else [])
        for part in parts:
            part(d)
            print(f"ok {part.__name__}")


main()
