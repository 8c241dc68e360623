"""nbdclient.py: a client that knows what its disk should hold, for tests of block commands under load."""
import random
import socket
import struct
import threading

PAGE = 4096


class Client:
    """A disk over NBD and what it should hold; `churn` writes until told to stop."""

    def __init__(self, path, export, size, want=None):
        self.size = size
        self.c = socket.socket(socket.AF_UNIX)
        self.c.settimeout(120)
        self.c.connect(path)
        self.get(18)
        self.c.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">III", 7, 6 + len(export), len(export)) + export.encode() + b"\0\0")
        while True:
            kind, n = struct.unpack(">II", self.get(20)[12:])
            self.get(n)
            if kind == 1:
                break
            assert kind == 3, kind
        self.want = bytearray(want or self.read(0, self.size))

    def get(self, n):
        b = b""
        while len(b) < n:
            more = self.c.recv(n - len(b))
            assert more, "the server hung up"
            b += more
        return b

    def ask(self, kind, off, n, data=b""):
        self.send(kind, off, n, data)
        return self.answer()

    def send(self, kind, off, n, data=b""):
        self.c.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, 1, off, n) + data)

    def answer(self):
        magic, err, _ = struct.unpack(">IIQ", self.get(16))
        assert magic == 0x67446698
        return err

    def read(self, off, n):
        assert self.ask(0, off, n) == 0
        return self.get(n)

    def write(self, off, data):
        assert self.ask(1, off, len(data), data) == 0
        self.want[off:off + len(data)] = data

    def churn(self, seed):
        self.rng, self.stop = random.Random(seed), False
        self.failed = None

        def work():
            try:
                while not self.stop:
                    self.one()
            except Exception as e:  # shown by quiet()
                self.failed = e
        self.t = threading.Thread(target=work)
        self.t.start()

    def churn_for(self, seed, n):
        self.rng = random.Random(seed)
        for _ in range(n):
            self.one()

    def one(self):
        n = self.rng.choice([512, PAGE, 3 * PAGE, 65536])
        self.write(self.rng.randrange((self.size - n) // 512) * 512, self.rng.randbytes(n))

    def quiet(self):
        self.stop = True
        self.t.join()
        assert not self.failed, self.failed
        self.quiet_now()

    def quiet_now(self):
        assert self.read(0, self.size) == bytes(self.want), "the disk does not hold what was written"
