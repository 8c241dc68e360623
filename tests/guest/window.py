"""window.py - for tests that look at a window: an X server of one's own (Xvfb), what is on it as rows of RGB bytes, its words by OCR."""
import os, struct, subprocess, zlib

OCR = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../guests/ocr-screen')


def png(path, rows):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    head = struct.pack(">IIBBBBB", len(rows[0]) // 3, len(rows), 8, 2, 0, 0, 0)
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + r for r in rows)))
                + chunk(b"IEND", b""))


def words(path):
    """What OCR reads on a picture, white space as single spaces."""
    return " ".join(subprocess.run([OCR, "--ocr", path], capture_output=True, text=True).stdout.split())


def words_of(rows, folder):
    png(f"{folder}/ocr.png", rows)
    return words(f"{folder}/ocr.png")


class Screen:
    """The X server's frame buffer file (-fbdir), in the format of xwd: 25 big-endian words, colours, BGRX pixels."""

    def __init__(self, folder, width, height):
        self.file = f"{folder}/Xvfb_screen0"
        ends = os.pipe()
        self.server = subprocess.Popen(["Xvfb", "-displayfd", str(ends[1]), "-screen", "0", f"{width}x{height}x24", "-nolisten",
                                        "tcp", "-fbdir", folder], pass_fds=[ends[1]], stderr=subprocess.DEVNULL)
        os.close(ends[1])
        self.name = ":" + os.read(ends[0], 16).decode().strip()

    def rows(self):
        data = open(self.file, "rb").read()
        head = struct.unpack_from(">25I", data)
        width, height, stride, at = head[4], head[5], head[12], head[0] + head[19] * 12
        out = []
        for y in range(height):
            line, row = data[at + y * stride:at + y * stride + width * 4], bytearray(width * 3)
            row[0::3], row[1::3], row[2::3] = line[2::4], line[1::4], line[0::4]
            out.append(bytes(row))
        return out

    def x(self, *command):
        """An xdotool command on this screen; what it prints."""
        return subprocess.run(["xdotool", *command], env={**os.environ, "DISPLAY": self.name}, check=True, capture_output=True, text=True).stdout
