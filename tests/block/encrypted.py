#!/usr/bin/env python3
"""encrypted.py MENURA-IMG MENURA MENURA-NBD: LUKS and encrypted qcow2 images of ours under QEMU's tools and cryptsetup, and the other way round.

Exit 77 (skipped) without qemu-img of version 10 or newer, or in a build without ciphers.
"""
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

from cells import need_peer, run_cells, skip
from qmpvm import Vm

M = sys.argv[1]
SIZE = 3 * 1024 * 1024
SECRETS = ["--object", "secret,id=s,data=abc", "--object", "secret,id=n,data=new", "--object", "secret,id=wrong,data=no"]
LUKS = ["", "cipher-alg=aes-128", "cipher-alg=aes-192", "cipher-alg=cast5-128,cipher-mode=cbc", "cipher-alg=serpent-128",
        "cipher-alg=serpent-192,hash-alg=sha1", "cipher-alg=serpent-256,cipher-mode=ctr", "cipher-alg=twofish-128", "cipher-alg=twofish-192",
        "cipher-alg=twofish-256,hash-alg=sha512", "ivgen-alg=plain,hash-alg=ripemd160", "ivgen-alg=essiv,cipher-mode=cbc",
        "cipher-mode=ecb,hash-alg=sha384", "cipher-mode=ctr", "ivgen-alg=essiv,ivgen-hash-alg=sm3,hash-alg=sm3",
        "ivgen-alg=plain64,ivgen-hash-alg=sha1", "ivgen-alg=essiv,ivgen-hash-alg=md5,cipher-alg=aes-128,hash-alg=md5",
        "cipher-alg=cast5-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=md5,hash-alg=sha224", "preallocation=full", "preallocation=falloc"]


def run(*args, ok=(0,), stdin=None):
    p = subprocess.run(args, capture_output=True, text=True, input=stdin, timeout=120)
    if p.returncode not in ok:
        raise AssertionError(f"{' '.join(args)} -> {p.returncode}\n{p.stdout}{p.stderr}")
    return p.stdout if p.returncode == 0 else p.stderr


def luks(img, secret="s", **more):
    return ",".join([f"driver=luks,key-secret={secret},file.filename={img}"] + [f"{k}={v}" for k, v in more.items()])


def raw(path):
    return f"driver=raw,file.filename={path}"


def random_file(path, seed, size=SIZE):
    with open(path, "wb") as f:
        f.write(random.Random(seed).randbytes(size // 2))
        f.truncate(size)
    return path


def same(spec, path):
    for tool in (M, "qemu-img"):
        run(tool, "compare", "-q", *SECRETS, "--image-opts", spec, raw(path))


def info_agrees(img):
    for how in ([], ["--output=json"]):
        theirs, ours = (re.sub(r'"actual-size": \d+', "", run(t, "info", *how, img)) for t in ("qemu-img", M))
        assert theirs == ours, f"{theirs}\n{ours}"


def luks_cell(folder, options):
    for maker, writer in ((M, "qemu-img"), ("qemu-img", M)):
        img, data = f"{folder}/a.luks", random_file(f"{folder}/a.raw", options)
        run(maker, "create", "-q", *SECRETS, "-f", "luks", "-o", "key-secret=s,iter-time=10" + ("," + options if options else ""), img, str(SIZE))
        run(writer, "convert", "-n", *SECRETS, "-f", "raw", "--target-image-opts", data, luks(img))
        same(luks(img), data)
        info_agrees(img)
        with open(data, "rb") as f:
            assert f.read(4096) not in open(img, "rb").read(), "it is not encrypted"
        os.unlink(img)
    run(M, "convert", *SECRETS, "-O", "luks", "-o", "key-secret=s,iter-time=10", random_file(data, 1), img)
    same(luks(img), data)


def qcow2(img, secret="s"):
    return f"driver=qcow2,encrypt.key-secret={secret},file.filename={img}"


def qcow2_cell(folder, options):
    """Made by one, written by the other, snapshots, layers, and what check says without the key."""
    for maker, writer in ((M, "qemu-img"), ("qemu-img", M)):
        img, data = f"{folder}/a.qcow2", random_file(f"{folder}/a.raw", options)
        o = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10" + ("," + options if options else "")
        run(maker, "create", "-q", *SECRETS, "-f", "qcow2", "-o", o.replace("DATA", img + ".data"), img, str(SIZE))
        if "preallocation" not in options or maker == M:  # QEMU's are noise
            with open(f"{folder}/zero", "wb") as f:
                f.truncate(SIZE)
            same(qcow2(img), f"{folder}/zero")
        run(writer, "convert", "-n", *SECRETS, "-f", "raw", "--target-image-opts", data, qcow2(img))
        same(qcow2(img), data)
        patch = ["write -P 17 1000 3000", "write -P 18 1M 700", "write -z 70000 130000", "write -P 3 2621000 9000"]
        for file, fmt in ((qcow2(img), "--image-opts"), (data, "-fraw")):
            run("qemu-io", *SECRETS, fmt, *[x for p in patch for x in ("-c", p)], file)
        same(qcow2(img), data)
        run(M, "check", img)
        run("qemu-img", "check", *SECRETS, "--image-opts", qcow2(img))
        info_agrees(img)
        if "DATA" not in options:
            run(M, "snapshot", "-c", "one", img)
            run(writer, "convert", "-n", *SECRETS, "-f", "raw", "--target-image-opts", random_file(f"{folder}/b.raw", "b"), qcow2(img))
            same(qcow2(img), f"{folder}/b.raw")
            run(M, "snapshot", "-a", "one", img)
            same(qcow2(img), data)
            run("qemu-img", "check", *SECRETS, "--image-opts", qcow2(img))
        run(maker, "amend", *SECRETS, "--image-opts", qcow2(img), "-o", "encrypt.state=active,encrypt.new-secret=n,encrypt.iter-time=10")
        same(qcow2(img, "n"), data)
        assert "Invalid password" in run(M, "compare", *SECRETS, "--image-opts", qcow2(img, "wrong"), raw(data), ok=(1, 2))
        assert "'encrypt.key-secret' is required" in run(M, "compare", "--image-opts", f"driver=qcow2,file.filename={img}", raw(data), ok=(1, 2))
        os.unlink(img)


def qcow2_more(folder):
    """On an encrypted or plain base; compressed not; measure; the old AES is read."""
    base, img, data = f"{folder}/base.qcow2", f"{folder}/a.qcow2", random_file(f"{folder}/a.raw", "more")
    how = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
    run(M, "convert", "-O", "qcow2", data, base)
    run(M, "create", "-q", *SECRETS, "-f", "qcow2", "-o", how, "-b", base, "-F", "qcow2", img)
    same(qcow2(img), data)
    for file, fmt in ((qcow2(img), "--image-opts"), (data, "-fraw")):
        run("qemu-io", *SECRETS, fmt, "-c", "write -P 5 100000 1000", file)
    same(qcow2(img), data)
    run(M, "check", img)
    run(M, "convert", *SECRETS, "-O", "qcow2", "-o", how, "--image-opts", qcow2(img), base + "2")
    same(qcow2(base + "2"), data)
    assert "Compression" in run(M, "convert", "-c", *SECRETS, "-O", "qcow2", "-o", how, data, img, ok=(1,))
    theirs, ours = (run(t, "measure", "-O", "qcow2", *SECRETS, "-o", how, "--size", "100M") for t in ("qemu-img", M))
    assert theirs == ours, theirs + ours
    run("qemu-img", "convert", *SECRETS, "-O", "qcow2", "-o", "encrypt.format=aes,encrypt.key-secret=s", data, img)
    same(qcow2(img), data)
    info_agrees(img)
    assert "only read" in run(M, "resize", *SECRETS, "--image-opts", qcow2(img), "4M", ok=(1,))


def slots(folder):
    """Passwords added and removed by one program open the image in the other; what is refused, and how."""
    img = f"{folder}/a.luks"
    data = random_file(f"{folder}/a.raw", "slots")
    for tool, other in ((M, "qemu-img"), ("qemu-img", M)):
        run(tool, "convert", *SECRETS, "-O", "luks", "-o", "key-secret=s,iter-time=10", data, img)
        run(tool, "amend", *SECRETS, "--image-opts", luks(img), "-o", "state=active,new-secret=n,iter-time=10")
        same(luks(img, "n"), data)
        run(tool, "amend", *SECRETS, "--image-opts", luks(img), "-o", "state=active,new-secret=n,iter-time=10,keyslot=5")
        info_agrees(img)
        run(other, "amend", *SECRETS, "--image-opts", luks(img, "n"), "-o", "state=inactive,old-secret=s")
        run(other, "amend", *SECRETS, "--image-opts", luks(img, "n"), "-o", "state=inactive,keyslot=5")
        same(luks(img, "n"), data)
        assert "Invalid password" in run(tool, "compare", *SECRETS, "--image-opts", luks(img), raw(data), ok=(1, 2))
        texts = {}
        for t in (M, "qemu-img"):
            texts[t] = [run(t, "amend", *SECRETS, "--image-opts", luks(img, "n"), "-o", o, ok=(1,)).split("-img: ")[1].split(" (")[0].strip()
                        for o in ("state=inactive,old-secret=n", "state=inactive,keyslot=1", "state=inactive,keyslot=8", "state=active",
                                  "state=inactive", "new-secret=n", "state=active,new-secret=n,keyslot=1", "state=inactive,old-secret=wrong",
                                  "state=active,new-secret=none")]
        assert texts[M] == texts["qemu-img"], texts
        same(luks(img, "n"), data)
        run(tool, "amend", "--force", *SECRETS, "--image-opts", luks(img, "n"), "-o", "state=inactive,old-secret=n")
        assert "Invalid password" in run(other, "compare", *SECRETS, "--image-opts", luks(img, "n"), raw(data), ok=(1, 2))
        run(tool, "convert", *SECRETS, "-O", "luks", "-o", "key-secret=n,iter-time=10", data, img)
        for spec in (luks(img, "wrong"), luks(img, "none"), f"driver=luks,file.filename={img}"):
            theirs, ours = (run(t, "compare", *SECRETS, "--image-opts", spec, raw(data), ok=(1, 2)) for t in ("qemu-img", M))
            assert ours.split("-img: ")[1].split(" (")[0].strip() in theirs, (theirs, ours)


def detached(folder):
    """The header in one file, the bytes in another."""
    head, body, data = f"{folder}/head", f"{folder}/body", random_file(f"{folder}/a.raw", "detached")
    run(M, "create", "-q", *SECRETS, "-f", "luks", "-o", "key-secret=s,iter-time=10,detached-header=on", head, "0")
    shutil.copy(data, body)
    spec = f"driver=luks,key-secret=s,file.filename={body},header.filename={head}"
    theirs = f"driver=luks,key-secret=s,file.filename={body},header.driver=file,header.filename={head}"
    run(M, "convert", "-n", *SECRETS, "-f", "raw", "--target-image-opts", data, spec)
    run(M, "compare", "-q", *SECRETS, "--image-opts", spec, raw(data))
    run("qemu-img", "compare", "-q", *SECRETS, "--image-opts", theirs, raw(data))
    assert open(body, "rb").read() != open(data, "rb").read()
    assert '"detached-header": true' in run(M, "info", *SECRETS, "--output=json", "--image-opts", spec)
    run(M, "amend", *SECRETS, "--image-opts", spec, "-o", "state=active,new-secret=n,iter-time=10")
    run("qemu-img", "compare", "-q", *SECRETS, "--image-opts", theirs.replace("=s", "=n", 1), raw(data))


def cryptsetup(folder):
    """Images that Linux's own tool makes, with other offsets and ciphers, and ours under it."""
    if not shutil.which("cryptsetup"):
        print("     (cryptsetup is not installed)")
        return
    img, data = f"{folder}/c.luks", random_file(f"{folder}/a.raw", "crypt")
    quick = ["--batch-mode", "--pbkdf-force-iterations", "1000", "--type", "luks1", "-d", "-"]
    for more in ([], ["-c", "aes-cbc-essiv:sha256", "-s", "128"], ["-c", "serpent-xts-plain64", "-h", "sha512"], ["--align-payload", "8"], ["-h", "sha1"]):
        with open(img, "wb") as f:
            f.truncate(8 << 20)
        if "device-mapper" in run("cryptsetup", "luksFormat", *quick, *more, img, stdin="abc", ok=(0, 1)):
            continue  # its own ciphers are few: for others it asks the kernel
        info_agrees(img)
        big = random_file(f"{folder}/b.raw", "x", int(re.search(r"\((\d+) bytes\)", run(M, "info", img))[1]))
        run(M, "convert", "-n", *SECRETS, "-f", "raw", "--target-image-opts", big, luks(img))
        same(luks(img), big)
    run(M, "convert", *SECRETS, "-O", "luks", "-o", "key-secret=s,iter-time=10", data, img)
    run("cryptsetup", "open", "--test-passphrase", "--type", "luks1", "-d", "-", img, stdin="abc")
    assert "Key Slot 0: ENABLED" in run("cryptsetup", "luksDump", img)
    with open(img, "wb") as f:
        f.truncate(32 << 20)
    run("cryptsetup", "luksFormat", "--batch-mode", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "-d", "-", img, stdin="abc")
    assert "LUKS version 2 is not supported" in run(M, "info", img, ok=(1,))


def secrets(folder):
    """Passwords from files, in base64, and encrypted by another secret."""
    img, data = f"{folder}/a.luks", random_file(f"{folder}/a.raw", "secrets")
    run(M, "convert", *SECRETS, "-O", "luks", "-o", "key-secret=s,iter-time=10", data, img)
    with open(f"{folder}/pass", "w") as f:
        f.write("abc")
    with open(f"{folder}/master", "w") as f:
        f.write("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
    ways = [["secret,id=s,file=" + f"{folder}/pass"], ["secret,id=s,data=YWJj,format=base64"]]
    if shutil.which("openssl"):
        key, iv = b"01234567890123456789012345678901".hex(), "00112233445566778899aabbccddeeff"
        text = subprocess.run(["openssl", "enc", "-aes-256-cbc", "-a", "-K", key, "-iv", iv], input=b"abc", capture_output=True, check=True).stdout.decode().strip()
        ways.append([f"secret,id=m,file={folder}/master,format=base64", f"secret,id=s,keyid=m,iv=ABEiM0RVZneImaq7zN3u/w==,format=base64,data={text}"])
    for way in ways:
        for tool in (M, "qemu-img"):
            run(tool, "compare", "-q", *[x for o in way for x in ("--object", o)], "--image-opts", luks(img), raw(data))


class Export:
    """menura-nbd with a LUKS image."""

    def __init__(self, img):
        self.sock = img + ".sock"
        self.p = subprocess.Popen([sys.argv[3], *SECRETS, "-t", "-k", self.sock, "--image-opts", luks(img)])

    def __enter__(self):
        for _ in range(200):
            if os.path.exists(self.sock):
                break
            time.sleep(0.05)
        return f"nbd+unix:///?socket={self.sock}"

    def __exit__(self, *_):
        self.p.terminate()
        self.p.wait()


def machine(folder):
    """What a machine's monitor says of them: QEMU's and ours say the same; a secret that comes and goes."""
    img, head, body, q = (f"{folder}/{n}" for n in ("a.luks", "head", "body", "a.qcow2"))
    run(M, "create", "-q", *SECRETS, "-f", "luks", "-o", "key-secret=s,iter-time=10", img, "1M")
    run(M, "create", "-q", *SECRETS, "-f", "luks", "-o", "key-secret=s,iter-time=10,detached-header=on", head, "0")
    run(M, "create", "-q", *SECRETS, "-f", "qcow2", "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", q, "1M")
    with open(body, "wb") as f:
        f.truncate(1 << 20)
    said = []
    for program in ["qemu-system-x86_64"] * bool(shutil.which("qemu-system-x86_64")) + [sys.argv[2]]:
        with Vm(program, *SECRETS[:2], "-drive", f"file={img},format=luks,key-secret=s,if=none,id=a", "-drive",
                f"file={q},format=qcow2,encrypt.key-secret=s,if=none,id=b", device=False) as vm:
            assert "No secret with id 't'" in vm.err("blockdev-add", driver="luks", node_name="x", key_secret="t", file={"driver": "file", "filename": head})
            vm.cmd("object-add", qom_type="secret", id="t", data="abc")
            vm.cmd("blockdev-add", driver="file", node_name="h", filename=head)
            vm.cmd("blockdev-add", driver="file", node_name="f", filename=body)
            vm.cmd("blockdev-add", driver="luks", node_name="x", key_secret="t", file="f", header="h")
            vm.io("x", "write -P 7 0 64k")
            images = [b["inserted"]["image"] for b in vm.cmd("query-block")]
            assert all(b["inserted"]["encrypted"] for b in vm.cmd("query-block"))
            images += [n["image"] for n in vm.cmd("query-named-block-nodes") if n["node-name"] == "x"]
            said.append([{k: v for k, v in i.items() if k in ("format", "encrypted", "format-specific", "virtual-size")} for i in images])
            vm.cmd("blockdev-del", node_name="x")
        spec = f"driver=luks,key-secret=s,file.filename={body},header.driver=file,header.filename={head}"
        assert "512/512" in run("qemu-io", *SECRETS, "-c", "read -P 7 65024 512", "--image-opts", spec)
    with Export(img) as url:
        run(M, "convert", *SECRETS, "-O", "raw", url, body)
        assert os.path.getsize(body) == 1 << 20
    assert said[0] == said[-1], f"{said[0]}\n{said[-1]}"


def main():
    need_peer("qemu-img")
    with tempfile.NamedTemporaryFile() as f:
        if "no ciphers" in run(M, "create", *SECRETS, "-f", "luks", "-o", "key-secret=s,iter-time=10", f.name, "1M", ok=(0, 1)):
            skip("this build has no ciphers (package nettle-dev)")
    cells = [(f"luks {o}", luks_cell, (o,)) for o in LUKS]
    cells += [(f"qcow2 {o}", qcow2_cell, (o,)) for o in ("", "cluster_size=512", "extended_l2=on", "encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv",
                                                         "compat=0.10", "preallocation=metadata", "data_file=DATA", "cluster_size=2M")]
    cells += [("qcow2 more", qcow2_more, ()), ("slots", slots, ()), ("detached", detached, ()), ("cryptsetup", cryptsetup, ()), ("secrets", secrets, ()), ("machine", machine, ())]
    run_cells(cells, sys.argv[4:])


if __name__ == "__main__":
    main()
