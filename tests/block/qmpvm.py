"""qmpvm.py: a machine without a guest and its monitor, ours or QEMU's, for tests of block commands."""
import json
import subprocess


class Vm:
    def __init__(self, program, *args, device=True, argv=None):
        accel = ["-accel", "tcg"] if device else []  # nothing runs: -S
        self.p = subprocess.Popen(argv or [program, "-M", "pc" if device else "none", *accel, "-nodefaults", "-display", "none", "-S", "-qmp", "stdio", *args],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.events, self.noise = [], []
        self.line()
        self.cmd("qmp_capabilities")

    def line(self):
        while True:
            text = self.p.stdout.readline()
            if not text:
                raise AssertionError(f"the machine ended with {self.p.wait()}: {''.join(self.noise)}")
            if text.startswith("{"):
                return json.loads(text)
            self.noise.append(text)

    def raw(self, name, /, **args):
        self.p.stdin.write(json.dumps({"execute": name, "arguments": {k.replace("_", "-") if not k.endswith("__") else k[:-2]: v for k, v in args.items()}}) + "\n")
        self.p.stdin.flush()
        while True:
            m = self.line()
            if "event" in m:
                self.events.append(m)
            else:
                return m

    def cmd(self, name, /, **args):
        m = self.raw(name, **args)
        assert "return" in m, f"{name} {args}: {m}"
        return m["return"]

    def err(self, name, /, **args):
        m = self.raw(name, **args)
        assert "error" in m, f"{name} {args} was not refused: {m}"
        return m["error"]["desc"]

    def event(self, name, /, **data):
        """The next event of that name and data; those before it are forgotten."""
        while True:
            for i, e in enumerate(self.events):
                if e["event"] == name and all(e.get("data", {}).get(k.replace("_", "-")) == v for k, v in data.items()):
                    del self.events[:i + 1]
                    return e["data"] if "data" in e else {}
            m = self.line()
            assert "event" in m, m
            self.events.append(m)

    def io(self, node, command, want=0):
        out = self.cmd("human-monitor-command", command_line=f'qemu-io -d {node} "{command}"' if node.startswith("/") else f'qemu-io {node} "{command}"')
        assert ("failed" in out or "rror" in out) == bool(want), f"{node}: {command}: {out}"
        return out

    def quit(self):
        self.cmd("quit")
        assert self.p.wait(60) == 0, "".join(self.noise)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.p.kill()
            print("".join(self.noise)[-3000:])
        elif self.p.poll() is None:
            self.quit()
        self.p.wait()
