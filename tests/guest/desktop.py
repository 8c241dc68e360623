#!/usr/bin/env python3
"""desktop.py MENURA IMAGE-KIND POINTER OUT-FOLDER [OPTION...] - Debian's desktop in the SDL window of an X server of its own.

IMAGE-KIND is bios or uefi (tests/guests/make-desktop), POINTER an absolute pointing device. The desktop comes up at its
resolution; a command is typed into its terminal through the window and another by QMP, and the pictures show what they
printed; the pointer goes where the host's goes, without a click that takes it; a click opens the desktop's menu, an entry
opens a second terminal. The pictures stay in OUT-FOLDER as desktop-KIND-{start,typed,menu,qmp}.png.
"""
import json, os, re, shutil, signal, socket, subprocess, sys, tempfile, time
from window import Screen, png, words

HERE = os.path.dirname(os.path.abspath(__file__))
SCREEN = (1920, 1440)  # without a window manager the window stays where it was while it grows
BOOT_S, REACT_S = 1800, 180
OVMF = "/usr/share/OVMF"


def fail(*what):
    sys.exit("FAIL: " + " ".join(map(str, what)))


class Port:
    """A UNIX socket that the emulator listens on; text grows as it is read."""

    def __init__(self, path):
        self.s, self.text = socket.socket(socket.AF_UNIX), ""
        until(60, f"no socket {path}", lambda: os.path.exists(path))
        self.s.connect(path)
        self.s.settimeout(1)

    def read(self):
        try:
            got = self.s.recv(65536)
        except socket.timeout:
            return
        self.text += got.decode(errors="replace").replace("\r", "")
        if not got:
            fail("the serial port closed; it said", self.text[-500:])

    def wait(self, regex, seconds=REACT_S):
        end = time.monotonic() + seconds
        while not (m := re.search(regex, self.text)):
            if time.monotonic() > end:
                fail(f"no {regex!r} on the serial port; it said", self.text[-1000:])
            self.read()
        self.text = self.text[m.end():]
        return m

    def shell(self, command, regex):
        """A command for root's shell on the serial port; regex is looked for in what it prints."""
        self.s.sendall(f"{command}; echo E''ND\r".encode())
        m = re.search(regex, self.wait(r"(?s)(.*)\nEND")[1])
        return m or fail(command, "prints no", regex)


class Qmp(Port):
    def __init__(self, path):
        super().__init__(path)
        self.s.settimeout(REACT_S)
        self.f = self.s.makefile("r")
        self.f.readline()
        self.ask("qmp_capabilities")

    def ask(self, name, **arguments):
        self.s.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        while "return" not in (reply := json.loads(self.f.readline() or '{"error": "it ended"}')):
            if "error" in reply:
                fail(name, reply["error"])
        return reply["return"]

    def type(self, text):
        for c in text:
            keys = {" ": ["spc"], "\n": ["ret"], "-": ["minus"], "|": ["shift", "backslash"]}.get(c, [c])
            self.ask("send-key", keys=[{"type": "qcode", "data": key} for key in keys])

    def move(self, x, y, size):
        self.ask("input-send-event", events=[{"type": "abs", "data": {"axis": a, "value": round((v + 0.5) * 0x7fff / n)}}
                                             for a, v, n in (("x", x, size[0]), ("y", y, size[1]))])

    def click(self, button):
        for down in (True, False):
            self.ask("input-send-event", events=[{"type": "btn", "data": {"button": button, "down": down}}])
            time.sleep(0.2)


def until(seconds, what, condition):
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            fail(what)
        time.sleep(1)
    return found


def on_screen(look, *wanted):
    """Waits until OCR reads these words on the picture that look() makes."""
    text = ""

    def there():
        nonlocal text
        text = look()
        return all(w.lower() in text.lower() for w in wanted)
    end = time.monotonic() + REACT_S
    while not there():
        if time.monotonic() > end:
            fail(f"not on the screen: {wanted}; there is: {text}")
        time.sleep(1)
    print("on the screen:", text[:300], flush=True)


def pointer_is_at(serial, x, y):
    """The guest's pointer, within a pixel of where it should be."""
    m = serial.shell("DISPLAY=:0 xdotool getmouselocation", r"x:(\d+) y:(\d+)")
    return abs(int(m[1]) - x) <= 1 and abs(int(m[2]) - y) <= 1


def session(screen, serial, qmp, out, folder, name):
    began = time.monotonic()
    serial.wait("GUEST-READY text", BOOT_S)
    m = serial.wait(r"GUEST-READY desktop (\d+)x(\d+) ", BOOT_S)
    size = int(m[1]), int(m[2])
    print(f"{m[0]}, {time.monotonic() - began:.1f} s from the start", flush=True)
    serial.shell("true", "")
    picture = f"{out}/desktop-{name}"

    def dump(what):
        qmp.ask("screendump", filename=f"{picture}-{what}.png", format="png")
        return words(f"{picture}-{what}.png")
    on_screen(lambda: dump("start"), "MENURA DESKTOP", "Welcome to the demo guest")
    if size != (head := png_size(f"{picture}-start.png")):
        fail("the guest says", size, "and the screen is", head)
    window = screen.x("search", "--sync", "--onlyvisible", "--name", "Menura").split()[0]
    g = dict(line.split("=") for line in screen.x("getwindowgeometry", "--shell", window).split())
    if size != (shown := (int(g["WIDTH"]), int(g["HEIGHT"]))):
        fail("the guest's screen is", size, "and the window", shown)

    # the pointer, in the window: no grab, so it can leave and come back elsewhere
    for x, y in ((400, 300), (size[0] - 20, size[1] - 100), (15, 650), (300, 250)):
        screen.x("mousemove", str(SCREEN[0] - 1), str(SCREEN[1] - 1))
        screen.x("mousemove", "--window", window, str(x), str(y))
        until(REACT_S, f"the pointer did not come to {x}, {y}", lambda: pointer_is_at(serial, x, y))
    print("pointer: at its four places", flush=True)
    screen.x("type", "--delay", "150", "echo $((6*7)) >/tmp/typed; echo It is `cat /tmp/typed`, TYPED in the window")
    screen.x("key", "Return")  # "type" with a newline presses a key that has no place on a keyboard

    def see():
        rows = screen.rows()
        png(f"{picture}-typed.png", rows)
        return words(f"{picture}-typed.png")
    on_screen(see, "It is 42, TYPED in the window")
    serial.shell("cat /tmp/typed", r"(?m)^42$")

    # the menu, by QMP; its first entry is another terminal
    qmp.move(800, 300, size)
    until(REACT_S, "the pointer did not come by QMP", lambda: pointer_is_at(serial, 800, 300))
    qmp.click("right")
    on_screen(lambda: dump("menu"), "Files", "Sound, 440", "Power off")  # the pointer hides a part of the first entry
    qmp.move(830, 313, size)
    qmp.click("left")
    serial.shell("for i in $(seq 60); do [ $(pgrep -c stterm) = 2 ] && break; sleep 1; done; sleep 5; pgrep -c stterm", r"(?m)^2$")
    time.sleep(3)
    qmp.type("echo typed-by-qmp | rev\n")
    on_screen(lambda: dump("qmp"), "pmq-yb-depyt")
    serial.s.sendall(b"poweroff\r")


def png_size(path):
    head = open(path, "rb").read(24)
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def main():
    menura, kind, pointer, out = sys.argv[1:5]
    guests = os.environ.get("MENURA_GUESTS") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "menura-guests")
    for tool in ("Xvfb", "xdotool", "tesseract"):
        if not shutil.which(tool):
            print(f"SKIP: no {tool} (scripts/install-deps installs it)")
            return 77
    if not os.path.exists(f"{guests}/desktop-{kind}.img"):
        print(f"SKIP: no {guests}/desktop-{kind}.img (tests/guests/make-desktop makes it)")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        args = [menura, "-m", "1024", "-display", "sdl", "-drive", f"file={guests}/desktop-{kind}.img,format=raw,snapshot=on",
                "-serial", f"unix:{folder}/serial,server=on,wait=off", "-qmp", f"unix:{folder}/qmp,server=on,wait=off", *sys.argv[5:], "-device", pointer]
        if kind == "uefi":
            shutil.copy(f"{OVMF}/OVMF_VARS_4M.fd", f"{folder}/vars.fd")
            args += ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}/OVMF_CODE_4M.fd", "-drive", f"if=pflash,format=raw,file={folder}/vars.fd"]
        screen = Screen(folder, *SCREEN)
        run = subprocess.Popen(args, env={**os.environ, "DISPLAY": screen.name, "SDL_AUDIODRIVER": "dummy"}, stdin=subprocess.DEVNULL)
        try:
            session(screen, Port(f"{folder}/serial"), Qmp(f"{folder}/qmp"), os.path.abspath(out), folder, kind)
            status = run.wait(300)
        finally:
            if run.poll() is None:
                run.send_signal(signal.SIGTERM)
                run.wait(60)
            screen.server.terminate()
    if status != 0:
        fail("power-off ended it with status", status)
    print("ok")
    return 0


sys.exit(main())
