#!/usr/bin/env python3
"""installer.py SCRIPTS-RUN MENURA OUT-FOLDER: what a newcomer sees first.

Runs scripts/run as `make run` does, on a screen of its own (Xvfb), until the window shows the first page of Debian's
graphical installer: its words by OCR, then a key and the pointer, sent into the window, must each move the selection.
The pictures are those of the X screen, kept in OUT-FOLDER as installer-{start,key,pointer}.png.
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from window import Screen, png, words_of

HERE = os.path.dirname(os.path.abspath(__file__))
SCREEN = (1280, 1024)
BOOT_S, REACT_S = 900, 60
WORDS = ["Select a language", "Choose the language to be used for the installation", "Bulgarian", "Continue"]
SELECTED = (0x2a, 0x84, 0x7a)  # the theme's colour of a selected row, in the middle of its gradient
NEAR, ROW_WIDTH = 24, 400


def near(pixel):
    return all(abs(a - b) < NEAR for a, b in zip(pixel, SELECTED))


def selection(rows):
    """-> first and last line of the picture that are mostly in the colour of a selected row, or None"""
    def mostly(row):
        pixels = [row[i:i + 3] for i in range(0, len(row), 3 * 16)]
        return sum(map(near, pixels)) * 3 > len(pixels)
    hit = [y for y, row in enumerate(rows) if mostly(row)]
    return (hit[0], hit[-1]) if hit else None


def until(seconds, what, run, condition):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if run.poll() is not None:
            sys.exit(f"FAIL: it ended with {run.returncode} before {what}")
        if found := condition():
            return found
        time.sleep(2)
    return None


def settled(screen):
    """The selected row, when two looks a while apart agree."""
    one = selection(screen.rows())
    time.sleep(2)
    return one if one == selection(screen.rows()) else None


def row_text(screen, folder):
    """The words of the selected row: white letters, made black on white, with a margin, for the OCR."""
    rows = screen.rows()
    top, bottom = selection(rows)
    left = next(i for i in range(SCREEN[0]) if near(rows[top + 3][i * 3:i * 3 + 3])) + 2
    margin = [b"\xff" * 3 * ROW_WIDTH] * 20
    line = [b"".join(b"\0\0\0" if min(row[i:i + 3]) > 170 else b"\xff\xff\xff" for i in range(left * 3, (left + ROW_WIDTH) * 3, 3))
            for row in rows[top + 1:bottom]]
    return words_of(margin + line + margin, folder)


def first_page(screen, run, out, folder):
    until(BOOT_S, "the first page", run, lambda: settled(screen)) or sys.exit("FAIL: no list with a selected row came up")
    png(f"{out}/installer-start.png", screen.rows())
    text = words_of(screen.rows(), folder)
    print("on the screen:", text[:300])
    missing = [w for w in WORDS if w.lower() not in text.lower()]
    if missing:
        sys.exit(f"FAIL: not on the screen: {missing}")
    if "English" not in (row := row_text(screen, folder)):
        sys.exit(f"FAIL: the selected row is not English but {row}")


def moved(screen, run, before):
    return until(REACT_S, "the selection moved", run, lambda: (s := settled(screen)) and s != before and s)


def pointer(screen, run, before):
    """Down by some rows and a click, a few times: a relative mouse needs a click first that takes the pointer."""
    for _ in range(5):  # REACT_S each
        screen.x("mousemove_relative", "0", "45")
        time.sleep(2)
        screen.x("click", "1")
        if now := moved(screen, run, before):
            return now
    return None


def session(screen, run, out, folder):
    first_page(screen, run, out, folder)
    before = selection(screen.rows())
    screen.x("mousemove", str(SCREEN[0] // 2), str(before[1]))
    screen.x("key", "Down")
    after = moved(screen, run, before) or sys.exit("FAIL: the key Down did not move the selection")
    png(f"{out}/installer-key.png", screen.rows())
    print("key Down:", before, "->", after, row := row_text(screen, folder))
    if "Esperanto" not in row:
        sys.exit("FAIL: Down from English does not lead to Esperanto")
    clicked = pointer(screen, run, after) or sys.exit("FAIL: the pointer did not move the selection")
    png(f"{out}/installer-pointer.png", screen.rows())
    print("pointer:", after, "->", clicked, row_text(screen, folder))


def stop(run):
    if run.poll() is None:
        os.killpg(run.pid, signal.SIGTERM)
        run.wait(60)


def main():
    script, menura, out = sys.argv[1:]
    for tool in ("Xvfb", "xdotool", "tesseract"):
        if not shutil.which(tool):
            print(f"SKIP: no {tool} (scripts/install-deps installs it)")
            return 77
    with tempfile.TemporaryDirectory() as folder:
        demo = f"{folder}/demo.iso"
        if subprocess.run([f"{HERE}/../../scripts/make-demo", demo]).returncode:
            print("SKIP: the demo cannot be made here (see above)")
            return 77
        screen = Screen(folder, *SCREEN)
        env = {**os.environ, "DISPLAY": screen.name, "MENURA": os.path.abspath(menura), "MENURA_DEMO": demo, "SDL_AUDIODRIVER": "dummy"}
        run = subprocess.Popen([script], env=env, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            session(screen, run, out, folder)
        finally:
            stop(run)
            screen.server.terminate()
    if run.returncode != 0:
        sys.exit(f"FAIL: SIGTERM ended it with status {run.returncode}, not 0")
    return 0


sys.exit(main())
