#!/usr/bin/env python3
"""random.py [--cases N] [--batches N | --seconds S] [--seed S] [--first BATCH] [--only BATCH:CASE] MENURA KERNEL ENGINE ENGINE.. - random sequences of kernel
code (kcode.py) run by random.elf on each engine: what they leave must be the same. An engine is what -accel takes; `qemu,..` asks that program
(by hand). KVM's is not asked for what it is known to do otherwise (../kvm-differs.txt: random|TAG). The last line is for machines:
`seed S first B next B sequences N traps N wrong N`."""
import argparse, itertools, mmap, os, random, shutil, struct, subprocess, sys, tempfile, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import kcode  # noqa: E402
import models  # noqa: E402

CASES, CODE, RESULTS, MEMORY, PAGE = 0x1000000, 0x1800000, 0x2000000, 128 << 20, 4096
FIELDS = ('r15 r14 r13 r12 r11 r10 r9 r8 rdi rsi rbp rbx rdx rcx rax vector error rip cs rflags rsp ss - - - - cr0 cr2 cr3 cr4 cr8 dr0 dr1 dr2 dr3 - - dr6 dr7 '
          'ds es fs gs ldtr tr fsbase gsbase kgsbase efer star lstar sfmask sysenter_cs sysenter_esp sysenter_eip pat gdtr + idtr +').split()
AREAS = [('gdt', 320), ('ldt', 64), ('pte', 64)] + [(f'page {i}', 256) for i in range(8)]
SIZE = 8 * len(FIELDS) + sum(n for _, n in AREAS)
VECTOR, FAULTS = FIELDS.index('vector'), {7, 8, 10, 11, 12, 13, 14, 17}
IGNORED = [i for i, f in enumerate(FIELDS) if f == '-']


def words(fmt, values):
    return struct.pack(f'<{len(values)}{fmt}', *values)


class Batch:
    def __init__(self, seed, number, cases, without):
        r = self.r = random.Random(f'{seed} {number}')
        self.number, self.code, self.tags = number, [], []
        gdt = [0] * (kcode.TESTS // 8) + kcode.TEST_DESCS  # the first are random.c's own
        gdt += [0] * (40 - len(gdt))
        nx = 1 << 63
        pte = [3, r.choice((3, 3, 1, 0, 7)), 3 | nx, r.choice((0, 0x42)), r.choice((7, 0x107)), r.choice((5, 5 | nx)), 3, 3]
        ldt = kcode.LDT_DESCS + [0] * (8 - len(kcode.LDT_DESCS))
        self.head = words('Q', gdt + ldt + pte) + r.randbytes(8 * 256)
        names = [n for n in kcode.Code.WEIGHTS if n not in without]
        cumulative = list(itertools.accumulate(kcode.Code.WEIGHTS[n] for n in names))
        records = []
        for i in range(cases):
            c = kcode.Code(r, CODE + i * kcode.SLOT, without).sequence(names, cumulative)
            self.code.append(bytes(c.b))
            self.tags.append(c.tags)
            records.append(self.record(c))
        self.records = b''.join(records)

    def record(self, c):
        r = self.r
        gpr = [r.getrandbits(r.choice((64, 32, 8))) for _ in range(16)]
        gpr[kcode.RBX] = kcode.window(r.randrange(1, 6)) + 128
        gpr[kcode.RBP] = kcode.SCRATCH + 4096
        gpr[kcode.RSI] = kcode.window(r.choice((1, 2, 4, 5))) + 128
        gpr[kcode.RDI] = r.choice((kcode.SCRATCH + 4096, kcode.window(r.randrange(6)) + 128, 0x7fff_ffff_0000 if 'cross' in c.without else 0x8000_0000_0000 - 4))
        gpr[kcode.RSP] = kcode.SCRATCH + 6 * 4096 + 2048 + 64
        bits = lambda choices, most: sum(set(r.choice(choices) for _ in range(r.randrange(most))))  # noqa: E731
        flags = 2 | bits((1, 4, 0x10, 0x40, 0x80, 0x800, 0x200, 0x3000, 0x4000, 0x40000), 5)
        cr4 = bits((1 << 2, 1 << 3, 1 << 7, 1 << 8) + (() if 'newer' in c.without else (1 << 11, 1 << 16, 1 << 16, 1 << 21)), 5)
        base = [r.choice((0, 8, 0x1000, kcode.SCRATCH, 0xffff800000000000)) for _ in range(3)]
        sel = [r.choice((0, 3, kcode.KDATA, kcode.UDATA)) for _ in range(4)]
        return words('Q', gpr) + words('Q', [flags, c.at, bits((2, 4, 8, 1 << 16, 1 << 18), 3), cr4, r.choice((0x800,) if 'nosce' in c.without else (1, 0x800)) if r.random() < 0.2 else 0] + base) + words('H', sel) + bytes(56)


def run(program, kernel, engine, model, batch, folder, rounds, limit):
    """The results, a bytes object a case."""
    path = f'{folder}/ram'
    with open(path, 'w+b') as f:
        f.truncate(MEMORY)
        os.pwrite(f.fileno(), struct.pack('<II', len(batch.code), rounds) + batch.head, CASES)
        os.pwrite(f.fileno(), batch.records, CASES + 0x2000)
        os.pwrite(f.fileno(), b''.join(batch.code), CODE)
        if engine.startswith('qemu'):
            program, engine = 'qemu-system-x86_64', engine[5:] or 'tcg'
        p = subprocess.Popen([program, '-accel', engine, '-M', 'pc,memory-backend=ram', '-object', f'memory-backend-file,id=ram,size=128M,share=on,mem-path={path}', '-m', '128',
                              '-cpu', model, '-nodefaults', '-display', 'none', '-no-reboot', '-kernel', kernel, '-device', 'isa-debugcon,chardev=con', '-chardev', 'stdio,id=con',
                              '-device', 'isa-debug-exit'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        watch = threading.Timer(limit, p.kill)
        watch.start()
        out = ''
        for line in p.stdout:
            out += line
            if 'internal error' in line:  # the VM is stopped, and the process stays
                threading.Timer(1, p.kill).start()
        watch.cancel()
        if p.wait() != 1 or 'PASSED' not in out:
            at = struct.unpack('<I', os.pread(f.fileno(), 4, CASES + 4096))[0]
            explain(batch, at, [], [])
            sys.exit(f'FAIL: batch {batch.number} under {engine}: status {p.returncode}\n{out[-3000:]}')
        n = len(batch.code)
        with mmap.mmap(f.fileno(), RESULTS + n * PAGE, prot=mmap.PROT_READ) as m:
            return [m[RESULTS + i * PAGE:RESULTS + i * PAGE + SIZE] for i in range(n)]


def values(result):
    return struct.unpack_from(f'<{len(FIELDS)}Q', result)


def plain(result, kvm, batch, i):
    """Without what is not compared. At a fault arithmetic flags may be stale that the instruction would have written (docs/internals/oracle.md).
    A processor may set accessed bits of pages that it only thought of."""
    v = list(values(result))
    off = v[FIELDS.index('rip')] - CODE - i * kcode.SLOT
    if v[VECTOR] in FAULTS or (v[VECTOR] == 6 and batch.code[i][max(off, 0):off + 2] != b'\x0f\x0b'):
        v[FIELDS.index('rflags')] &= ~0x8d5
    if v[VECTOR] == 1:  # may clear B0 to B3, or not (SDM vol. 3B 17.2.3)
        v[FIELDS.index('dr6')] &= ~15
    for k in IGNORED:
        v[k] = 0
    for n in ('gdtr', 'idtr'): # the rest of their ten bytes is the stack's
        v[FIELDS.index(n) + 1] &= 0xffff
    rest = bytearray(result[8 * len(FIELDS):])
    if kvm:
        for at in [384 + 8 * i for i in range(8)] + [len(rest) - 256 + 8 * i for i in range(8)]:
            rest[at] &= ~0x20
    return v, bytes(rest)


def explain(batch, i, engines, results):
    print(f'MISMATCH --only {batch.number}:{i}, {" ".join(sorted(batch.tags[i]))}')
    end = batch.code[i].find(b'\x0f\x0b\x0f\x0b')
    code = batch.code[i][:end + 2 if end >= 0 else None]
    if shutil.which('objdump'):
        with tempfile.NamedTemporaryFile() as f:
            f.write(code)
            f.flush()
            listing = subprocess.run(['objdump', '-D', '-b', 'binary', '-m', 'i386:x86-64', f'--adjust-vma={CODE + i * kcode.SLOT:#x}', f.name], capture_output=True, text=True).stdout
            print('\n'.join('  ' + x.replace('\t', ' ') for x in listing.splitlines()[7:]))
    else:
        print(' ', code.hex(' '))
    if not engines:
        return
    plains = [plain(r[i], any('kvm' in e for e in engines), batch, i) for r in results]
    for k, name in enumerate(FIELDS):
        if len({p[0][k] for p in plains}) > 1 or name in ('vector', 'rip'):
            print(f'  {name}: ' + ', '.join(f'{e} {p[0][k]:#x}' for e, p in zip(engines, plains)))
    at = 0
    for name, size in AREAS:
        for off in range(at, at + size, 8):
            if len({p[1][off:off + 8] for p in plains}) > 1:
                print(f'  {name}+{off - at}: ' + ', '.join(f'{e} {p[1][off:off + 8][::-1].hex()}' for e, p in zip(engines, plains)))
        at += size


def main():
    a = argparse.ArgumentParser()
    for name, value in (('cases', 2048), ('batches', 1), ('seconds', 0), ('seed', 1), ('first', 0), ('rounds', 1), ('show', 8), ('limit', 900)):
        a.add_argument('--' + name, type=int, default=value)
    a.add_argument('--only')
    a.add_argument('--without', default='')
    a.add_argument('program')
    a.add_argument('kernel')
    a.add_argument('engines', nargs='+')
    o = a.parse_args()
    with tempfile.TemporaryDirectory(dir='/dev/shm' if os.path.isdir('/dev/shm') else None) as folder:
        sys.exit(go(o, folder))


def go(o, folder):
    kvm = [e for e in o.engines if e.startswith('kvm')]
    why = kvm and models.kvm_usable(o.program)
    if why:
        print(f'SKIP: {why}')
        return 77
    without = set(o.without.split(',')) | (models.differs(o.program, o.kernel, 'random') if kvm else set())
    model = models.common(o.program, o.engines) if kvm else 'qemu64,+smep,+smap,+fsgsbase,+umip' if any(e.startswith('qemu') for e in o.engines) else 'max'
    first, only = (int(x) for x in o.only.split(':')) if o.only else (o.first, None)
    end = time.monotonic() + o.seconds
    number, sequences, traps, wrong = first, 0, 0, 0
    while number == first or (not o.only and (time.monotonic() < end if o.seconds else number < first + o.batches)):
        batch = Batch(o.seed, number, o.cases, without)
        results = [run(o.program, o.kernel, e, model, batch, folder, 1 if e.startswith('kvm') else o.rounds, o.limit) for e in o.engines]
        for i in range(o.cases):
            if only not in (None, i):
                continue
            sequences += 1
            traps += values(results[0][i])[VECTOR] != 6
            if only is None and all(r[i] == results[0][i] for r in results):
                continue
            if only is None and len({str(plain(r[i], bool(kvm), batch, i)) for r in results}) == 1:
                continue
            wrong += 1
            if wrong <= o.show:
                explain(batch, i, o.engines, results)
        number += 1
    print(f'seed {o.seed} first {first} next {number} sequences {sequences} traps {traps} wrong {wrong}')
    return wrong != 0 or not sequences


if __name__ == '__main__':
    main()
