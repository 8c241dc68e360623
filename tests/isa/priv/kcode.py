"""kcode.py - random sequences of kernel code for random.py: a small assembler, and what to make of it. Each instruction has a tag: what a
KVM that emulates kernel code is known not to do is left out by tag (../kvm-differs.txt). Registers that memory is reached by (rbx, rbp, rsi,
rdi) are never written, or a store could reach the kernel. In 64-bit code; what leaves it goes to the end at once."""
import struct

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)
SCRATCH, SLOT = 0x40000000, 128
BASES = (RBX, RBP, RSI, RDI)
FREE = (RAX, RCX, RDX, 8, 9, 10, 11, 12, 13, 14, 15)
PTES = SCRATCH + 7 * 4096
KCODE, KDATA, UCODE32, UDATA, UCODE64, KCODE32, KCODE16, TSS, LDT, TESTS = 0x08, 0x10, 0x1b, 0x23, 0x2b, 0x38, 0x40, 0x48, 0x58, 0x68


def desc(base, limit, attr):
    return limit & 0xffff | (base & 0xffffff) << 16 | (attr & 0xf0ff) << 40 | (limit & 0xf0000) << 32 | (base >> 24) << 56


# 64-bit code not accessed, execute-only, conforming, not present; data read-only, expand down, not present, DPL 3 not accessed; 32-bit code DPL 3;
# a call gate and its second half, a TSS that is free, one that is busy, an LDT (each two), a type that is reserved
TEST_DESCS = [desc(0, 0xfffff, 0xa09a), desc(0, 0xfffff, 0xa098), desc(0, 0xfffff, 0xa09e), desc(0, 0xfffff, 0xa01a), desc(0, 0xfffff, 0xc090),
              desc(0, 0xff, 0xc094), desc(0, 0xfffff, 0xc012), desc(0, 0xfffff, 0xc0f2), desc(0, 0xfffff, 0xc0fa), desc(0x80000, 8, 0x8c), 0,
              desc(0x8000, 0x67, 0x89), 0, desc(0x8000, 0x67, 0x8b), 0, desc(0x8000, 0x3f, 0x82), 0, desc(0, 0, 0x80)]
LDT_DESCS = [0, desc(0x1000, 0xfffff, 0xc0f2), desc(0, 0xfffff, 0xa0fa), desc(0, 0xfff, 0x4092), desc(0, 0, 0)]
SELECTORS = [0, 1, 2, 3, KCODE, KDATA, KDATA | 1, KDATA | 3, UCODE32, UDATA, UDATA & ~3, UCODE64, UCODE64 & ~3, 0x33, KCODE32, KCODE16, TSS, LDT, 0x140, 0xfff8, 0xffff] + \
    [TESTS + 8 * i for i in range(len(TEST_DESCS))] + [TESTS + 8 * i + 3 for i in range(10)] + [8 * i + 4 for i in range(6)] + [8 * i + 7 for i in range(3)]
ADDRESSES = [0, 8, 0x1000, SCRATCH, 0x7fffffffffff, 0x800000000000, 0xffff7fffffffffff, 0xffff800000000000, 0xfffffffffffff000]
MSRS = {0xc0000100: ADDRESSES, 0xc0000101: ADDRESSES, 0xc0000102: ADDRESSES, 0xc0000082: ADDRESSES[4:], 0xc0000083: ADDRESSES[4:],  # nothing to run there
        0xc0000081: [0, 1 << 32, 0x1b << 48 | 8 << 32 | 77, (1 << 64) - 1], 0xc0000084: [0, 0x47700, 1 << 32], 0x174: [0, 8, 0xffff], 0x175: ADDRESSES, 0x176: ADDRESSES,
        0xc0000103: [0, 5, 1 << 32], 0xc0000080: [0xd01, 0xd00, 0x501, 0x101, 0xd03, 0xc01, 1 << 40 | 0xd01], 0x277: [0x0007040600070406, 0x0106050401060504, 2, 3 << 8],
        0x12345: [0]}
CR0_BITS = [1 << 1, 1 << 2, 1 << 3, 1 << 5, 1 << 16, 1 << 18, 1 << 29, 1 << 30, 1 << 31, 1, 1 << 32, 1 << 10]
CR4_BITS = [1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 9, 1 << 15]
CR4_NEWER = [1 << 11, 1 << 16, 1 << 20, 1 << 21] # UMIP, FSGSBASE, SMEP, SMAP: tag `newer`
FLAG_BITS = [1, 4, 0x10, 0x40, 0x80, 0x100, 0x200, 0x400, 0x800, 0x1000, 0x2000, 0x4000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000]


def window(page):
    """Where 256 bytes of the page are filled and compared: the first two have theirs at their common end."""
    return SCRATCH + 4096 * page + (4096 - 256 if page == 0 else 0 if page == 1 else 2048 - 128)


def usual(cs, ss):
    """Of a return: what any emulator of IRET can be expected to do right."""
    return cs in (KCODE, UCODE32, UCODE64, KCODE32) and (ss & ~3 in (KDATA, UDATA & ~3) or (ss < 4 and cs in (KCODE, UCODE64)))


class Code:
    def __init__(self, rng, at, without):
        self.r, self.at, self.b, self.tags, self.without = rng, at, bytearray(), set(), without
        self.pad = self.at + SLOT - 2  # the UD2 that always is there

    # ---- the assembler
    def op(self, opcode, reg=0, rm=None, w=0, prefix=b''):
        """rm: a register's number, or (base, displacement), or (None, address)."""
        rex = w << 3 | (reg >> 3) << 2
        tail = b''
        if isinstance(rm, int):
            rex |= rm >> 3
            modrm = 0xc0 | (reg & 7) << 3 | rm & 7
        elif rm[0] is None:
            modrm, tail = (reg & 7) << 3 | 4, b'\x25' + struct.pack('<i', rm[1])
        else:
            rex |= rm[0] >> 3
            modrm = 0x80 | (reg & 7) << 3 | rm[0] & 7
            tail = (b'\x24' if rm[0] & 7 == 4 else b'') + struct.pack('<i', rm[1])
        self.b += prefix + (bytes([0x40 | rex]) if rex or (isinstance(rm, int) and opcode[-1:] in b'\x88\x8a') else b'') + opcode + bytes([modrm]) + tail

    def const(self, reg, v):
        v &= (1 << 64) - 1
        if v >> 31 == 0:
            self.b += (b'\x41' if reg > 7 else b'') + bytes([0xb8 | reg & 7]) + struct.pack('<I', v)
        else:
            self.b += bytes([0x48 | reg >> 3, 0xb8 | reg & 7]) + struct.pack('<Q', v)

    def push(self, imm):
        self.b += b'\x68' + struct.pack('<I', imm)

    # ---- choices
    def may(self, tag):
        """Something that is left out by a tag of its own; it has the tag then."""
        if tag in self.without:
            return False
        self.tags.add(tag)
        return True

    def pick(self, seq):
        return seq[self.r.randrange(len(seq))]

    def free(self):
        return self.pick(FREE)

    def place(self):
        """Memory: by a base, sometimes absolute, rarely an address of nobody."""
        n = self.r.randrange(16)
        if n < 11:
            off = self.r.randrange(-128, 128) & ~self.pick((0, 1, 7))
            return self.pick(BASES), off if off % 8 == 0 or self.may('cross') else off & ~7
        if n < 15:
            return None, window(self.r.randrange(6)) + self.pick((0, 8, 120, 248, 252))
        return self.pick(BASES), 0x10000

    def operand(self):
        return self.free() if self.r.random() < 0.5 else self.place()

    def flags(self, back=False):
        v = 2
        for _ in range(self.r.randrange(5)):
            v |= self.pick(FLAG_BITS)
        if v & 0x100 and not self.may('tf'):
            v &= ~0x100
        return v & ~0x7000 if back and v & 0x7000 and not self.may('backflags') else v

    # ---- instructions, by tag
    def alu(self):
        op = self.pick(b'\x01\x03\x29\x2b\x11\x13\x19\x1b\x39\x3b')
        self.op(bytes([op]), self.free(), self.operand(), self.r.randrange(2), self.pick((b'', b'', b'', b'\x66')))

    def mov(self):
        n = self.r.randrange(6)
        if n < 4:
            self.op(self.pick((b'\x89', b'\x8b', b'\x8a', b'\x88')), self.free(), self.operand(), self.r.randrange(2), self.pick((b'', b'', b'\x64', b'\x65')))
        elif n == 4:
            self.op(b'\x0f\xb6' if self.r.random() < 0.5 else b'\x63', self.free(), self.place(), 1)
        else:
            self.const(self.free(), self.pick(ADDRESSES + [self.r.getrandbits(64)]))

    def one(self):
        n = self.r.randrange(5)
        if n < 3:
            self.op(b'\xff' if n < 2 else b'\xf7', n if n < 2 else 3, self.operand(), self.r.randrange(2))
        elif n == 3:
            self.op(b'\x87', self.free(), self.operand(), self.r.randrange(2))
        else:
            self.op(bytes([0x0f, 0x40 | self.r.randrange(16)]), self.free(), self.operand(), self.r.randrange(2))

    def stack(self):
        n, reg = self.r.randrange(6), self.free()
        rex = b'\x41' if reg > 7 else b''
        self.b += [rex + bytes([0x50 | reg & 7]), rex + bytes([0x58 | reg & 7]), b'\x9c', b'\x68' + struct.pack('<I', self.r.getrandbits(32)), b'\x6a\x85', b'\x9c\x58'][n]

    def popf(self):
        self.push(self.flags())
        self.b += b'\x9d'

    def ifs(self):
        self.b += self.pick((b'\xfa', b'\xfb', b'\xfc', b'\xfd\xfc', b'\xf5', b'\xf8', b'\xf9'))

    def jump(self):
        """Over what comes next."""
        at = len(self.b)
        self.b += bytes([0x70 | self.r.randrange(16), 0])
        self.add(self.pick(('alu', 'mov', 'one', 'stack')))
        self.b[at + 1] = len(self.b) - at - 2

    def cr(self):
        n, reg = self.r.randrange(9), self.free()
        if n == 0:
            self.op(b'\x0f\x20', self.pick((0, 2, 3, 4, 8)), reg)
        elif n < 3:
            self.op(b'\x0f\x20', 0, RAX)
            self.op(b'\x81', 6, RAX, 1)
            self.b += struct.pack('<I', self.pick(CR0_BITS[:8]))
            if self.r.random() < 0.2 and self.may('crhigh'):
                self.const(RAX, 0x80010033 ^ self.pick(CR0_BITS) ^ self.pick(CR0_BITS))
            self.op(b'\x0f\x22', 0, RAX)
        elif n < 5:
            bit = self.pick(CR4_BITS)
            if self.r.random() < 0.3 and self.may('newer'):
                bit = self.pick(CR4_NEWER)
            elif self.r.random() < 0.1 and self.may('crhigh'):
                bit = 1 << 40
            self.op(b'\x0f\x20', 4, RAX)
            if bit >> 31:
                self.const(RAX, bit | 0x620)
            else:
                self.op(b'\x81', 6, RAX, 1)
                self.b += struct.pack('<I', bit)
            self.op(b'\x0f\x22', 4, RAX)
        elif n == 5:
            self.op(b'\x0f\x22', 2, reg)
        elif n == 6:
            self.op(b'\x0f\x20', 3, RAX)
            if self.r.random() < 0.4:
                self.op(b'\x81', 6, RAX)
                self.b += struct.pack('<I', self.pick((8, 16, 24)))
            self.op(b'\x0f\x22', 3, RAX)
        elif n == 7:
            self.const(RCX, self.pick((0, 5, 15, 16, 1 << 40)))
            self.op(b'\x0f\x22', 8, RCX)
        else:
            self.op(b'\x0f\x22', self.pick((1, 5, 7, 9)), reg) if self.r.random() < 0.5 else self.op(b'\x0f\x20', self.pick((1, 6, 15)), reg)

    def msw(self):
        n = self.r.randrange(4)
        if n == 0:
            self.b += b'\x0f\x06'
        elif n < 3:
            self.op(b'\x0f\x01', 4, self.operand(), self.r.randrange(2), self.pick((b'', b'\x66')))
        else:
            self.op(b'\x0f\x01', 6, self.operand())

    def nm(self):
        self.b += self.pick((b'\x9b', b'\xd9\xd0'))

    def dr(self):
        reg, n = self.free(), self.r.randrange(8)
        if self.r.random() < 0.4:
            self.op(b'\x0f\x21', n, reg)
            return
        value = self.pick(((0, 0xffff0ff0, 0xf, 1 << 32), (0x400, 0xffff0400, 0x2400, 1 << 32))[n & 1]) if n > 3 else self.r.getrandbits(64)
        if n > 3 and value >> 32 and not self.may('drhigh') or n > 3 and n & 1 and value & 0x2000 and not self.may('gd'):
            return
        self.const(reg, value)
        self.op(b'\x0f\x23', n, reg)

    def tables(self):
        n = self.r.randrange(8)
        if n < 2:
            self.op(b'\x0f\x01', n, self.place() if self.may('storetable') else (RBX, 8))
        elif n < 4:
            self.op(b'\x0f\x00', n - 2, self.operand(), self.r.randrange(2) if self.may('segwide') else 0, self.pick((b'', b'\x66')))
        elif n == 4:
            self.op(b'\x0f\x01', 0, (RBX, 0))
            self.op(b'\x0f\x01', 2, (RBX, 0))
        elif n == 5:
            self.op(b'\x0f\x01', 1, (RBX, 0))
            self.op(b'\x0f\x01', 3, (RBX, 0))
        elif n == 6 or self.may('ltr'):
            self.const(RDX, self.pick((LDT, 0, TESTS + 15 * 8, TESTS + 11 * 8, TESTS + 13 * 8, TSS) + tuple(self.pick(SELECTORS) for _ in range(3))))
            self.op(b'\x0f\x00', n - 4, RDX)

    def seg(self):
        n = self.r.randrange(6)
        if n < 3:
            sel, to = self.pick(SELECTORS), self.pick((0, 3, 4, 5, 0, 3, 4, 5, 2, 1))
            if to > 3 and sel < 4 and not self.may('nullbase'):
                return
            self.const(RAX, sel)
            self.op(b'\x8e', to, RAX)
        elif n == 3:
            self.op(b'\x8c', self.r.randrange(6), *((self.operand(), self.r.randrange(2)) if self.may('segwide') else (self.operand(), 0)))
        elif n == 4:
            sel = self.pick(SELECTORS)
            if sel < 4 and not self.may('nullbase'):
                return
            self.push(sel)
            self.b += self.pick((b'\x0f\xa1', b'\x0f\xa9'))
        else:
            self.b += self.pick((b'\x0f\xa0', b'\x0f\xa8'))

    def lar(self):
        self.const(RCX, self.pick(SELECTORS))
        n = self.r.randrange(4)
        if n < 2:
            self.op(bytes([0x0f, 2 + n]), self.free(), RCX, self.r.randrange(2))
        else:
            self.op(b'\x0f\x00', 2 + n, RCX)

    def msr(self):
        n = self.pick(tuple(MSRS))
        self.const(RCX, n)
        if self.r.random() < 0.3:
            self.b += b'\x0f\x32'
            return
        v = self.pick(MSRS[n])
        if n == 0xc0000084 and v >> 32 and not self.may('sfmask'):
            return
        if n == 0xc0000080 and not v & 1 and not self.may('nosce'):
            return
        if n == 0x277 and v not in MSRS[n][:2] and not self.may('pat') or n in (0x175, 0x176) and v >> 32 and not self.may('sysenter'):
            return
        self.const(RAX, v & 0xffffffff)
        self.const(RDX, v >> 32)
        self.b += b'\x0f\x30'

    def swapgs(self):
        self.b += b'\x0f\x01\xf8'

    def fsgsbase(self):
        reg = self.free()
        if self.r.random() < 0.5:
            self.const(reg, self.pick(ADDRESSES))
        self.op(b'\x0f\xae', self.r.randrange(4), reg, self.r.randrange(2), b'\xf3')

    def smap(self):
        self.b += self.pick((b'\x0f\x01\xca', b'\x0f\x01\xcb'))

    def invlpg(self):
        self.op(b'\x0f\x01', 7, self.place())

    def wbinvd(self):
        self.b += b'\x0f\x09'

    def pte(self):
        """A page's entry changes, and is told."""
        page, clear = self.r.randrange(6), self.r.random() < 0.5
        bit = self.pick((1, 2, 4, 8, 0x20, 0x40, 0x100))
        self.op(b'\x81', 4 if clear else 1, (None, PTES + 8 * page), 1)
        self.b += struct.pack('<i', ~bit if clear else bit)
        self.op(b'\x0f\x01', 7, (None, SCRATCH + 4096 * page))

    def ud2(self):
        self.b += b'\x0f\x0b'

    def int1(self):
        self.b += b'\xf1'

    def int3(self):
        self.b += b'\xcc'

    def int(self):
        self.b += bytes([0xcd, self.pick((0x50, 3, 4, 0x80, 14, 255))])

    def behind(self, size, cs):
        """Where a far transfer of `size` bytes more goes: behind itself, if that is 64-bit code."""
        return self.at + len(self.b) + size if cs & ~3 in (KCODE, UCODE64 & ~3, TESTS, TESTS + 8, TESTS + 16, 16 | 4) else self.pad

    def iret(self):
        cs = self.pick((KCODE, KCODE, KCODE, UCODE64, UCODE64, UCODE32, KCODE32) + tuple(SELECTORS))
        ss = self.pick((KDATA, KDATA, UDATA, UDATA, 0, 3) + tuple(SELECTORS))
        if not usual(cs, ss) and not self.may('iretodd'):
            cs, ss = KCODE, KDATA
        if cs & 3 and not self.may('outer'):
            cs, ss = KCODE, KDATA
        self.push(ss)
        self.push(SCRATCH + 6 * 4096 + 2048 + 8 * self.r.randrange(-4, 4))
        self.push(self.flags(True) & (~0x100 if self.r.random() < 0.8 else -1))
        self.push(cs)
        self.push(self.behind(5 + 2, cs))
        self.b += b'\x48\xcf'

    def retf(self):
        cs = self.pick((KCODE, KCODE, UCODE64, KCODE32) + tuple(SELECTORS))
        if cs & 3:
            self.push(self.pick((UDATA, UDATA, 0, 3)))
            self.push(SCRATCH + 6 * 4096 + 2048)
        self.push(cs)
        self.push(self.behind(5 + 2, cs))
        self.b += b'\x48\xcb'

    def far(self):
        cs = self.pick((KCODE, KCODE, UCODE64, KCODE32) + tuple(SELECTORS))
        self.op(b'\xc7', 0, (None, SCRATCH + 4096 - 64))
        self.b += struct.pack('<I', self.behind(4 + 10 + 7, cs) if cs else 0)
        self.op(b'\xc7', 0, (None, SCRATCH + 4096 - 60), 0, b'\x66')
        self.b += struct.pack('<H', cs)
        self.op(b'\xff', self.pick((3, 5)), (None, SCRATCH + 4096 - 64))

    def syscall(self):
        self.b += b'\x0f\x05'

    def sysret(self):
        w = self.r.randrange(4) > 0 or not self.may('sysretl')
        self.const(11, self.flags(True) & ~0x100)
        self.const(RCX, self.at + len(self.b) + 5 + 3 if w else self.pad)
        self.b += b'\x48\x0f\x07' if w else b'\x0f\x07'

    def sysenterinsn(self):
        self.b += self.pick((b'\x0f\x35', b'\x0f\x34'))

    def odd(self):
        self.b += self.pick((b'\x0f\xff', b'\x06', b'\x0f\x01\xd0', b'\xf0\x90', b'\x0f\xaa'))

    WEIGHTS = dict(alu=8, mov=10, one=4, stack=6, popf=3, ifs=2, jump=3, cr=6, msw=2, nm=2, dr=3, tables=3, seg=5, lar=3, msr=5, swapgs=2, fsgsbase=2, smap=2, invlpg=1,
                   wbinvd=1, pte=5, ud2=1, int1=1, int3=1, int=1, iret=4, retf=2, far=2, syscall=1, sysret=2, sysenterinsn=1, odd=1)

    def add(self, tag):
        if tag not in self.without:
            self.tags.add(tag)
            getattr(self, tag)()

    def sequence(self, names, cumulative):
        for tag in self.r.choices(names, cum_weights=cumulative, k=self.r.randrange(1, 13)):
            before, tags = len(self.b), set(self.tags)
            self.add(tag)
            if len(self.b) > SLOT - 4:
                del self.b[before:]
                self.tags = tags
                break
        self.b += b'\x0f\x0b'
        self.b += b'\x0f\x0b' * ((SLOT - len(self.b)) // 2)
        self.b[SLOT - 2:] = b'\x0f\x0b'
        assert len(self.b) == SLOT
        return self
