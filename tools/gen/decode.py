#!/usr/bin/env python3
"""decode.py decode.tbl ops.def OUT.inc LISTING.md - everything that is derived from the instruction table.

Out come: the Row array (decoder, test generator, flag scan), the two-level opcode maps for long mode and
for the others, one C translator per distinct IR template, the helper of each row, and a readable listing.
"""
import re
import sys

FLAG = {'C': 1, 'P': 2, 'A': 4, 'Z': 8, 'S': 16, 'O': 32}
MAPS = ['', '0F', '0F38', '0F3A', 'vex 0F', 'vex 0F38', 'vex 0F3A']
PREFIX = {'np': 0, '66': 1, 'F3': 2, 'F2': 3}
ANY, NONE = 0xff, 0xff
TRAITS = ['byte', 'd64', 'q', 'end', 'lock', 'maybe', 'nz', 'div', 'rep', 'nofuzz', 'nofuzzmem', 'sse', 'no16', 'wo',
          'noaccess', 'w', 'plus', 'cc', 'modrm', 'os', 'stack', 'frame', 'i64', 'o64', 'noreg', 'nomem', 'cpl0',
          'x87', 'mmx', 'inexact', 'intel', 'amd', 'laxamd', 'pm', 'avx', 'y2', 'lig', 'vsib']
OPERANDS = {'E': ('E', 4), 'G': ('G', 4), 'Z': ('Z', 4), 'A': ('A', 4), 'B': ('B', 4), 'M': ('M', 4),
            'I': ('I', 4), 'Ib': ('IB', 4), 'Ub': ('UB', 0), 'Uw': ('UW', 1), 'Iv': ('IV', 4), 'CL': ('CL', 0),
            '1': ('ONE', 0), 'J8': ('J8', 3), 'Jz': ('JZ', 3), 'Ap': ('AP', 4), 'S': ('S', 1), 'C': ('C', 3),
            'D': ('D', 3), 'O': ('O', 4), 'DX': ('DX', 1), 'V': ('V', 5), 'W': ('W', 5), 'Wu': ('WU', 5),
            'W8': ('WU', 3), 'W4': ('WU', 2), 'W2': ('WU', 1), 'W1': ('WU', 0), 'U': ('U', 5), 'P': ('P', 3),
            'Q': ('Q', 3), 'Q4': ('Q', 2), 'N': ('N', 3), 'Bv': ('BV', 5), 'Wl': ('WU', 6), 'Wa': ('W', 6), 'Wh': ('WU', 7),
            'Wq': ('WU', 8), 'We': ('WU', 9)}
for letter in 'EGMA':
    for i, c in enumerate('bwdq'):
        OPERANDS[letter + c] = (letter, i)
KINDS = set()


def die(where, what):
    sys.exit(f'decode.tbl:{where}: {what}')


def flags(text, where):
    if text in ('-', 'cc'):
        return 0
    try:
        return sum(FLAG[c] for c in text)
    except KeyError as e:
        die(where, f'no flag {e}')


def expand(line, where):
    """One table line -> one line per alternative of the name, pattern and meaning columns."""
    cols = re.split(r'\s{2,}', line.strip())
    if len(cols) != 8:
        die(where, f'{len(cols)} columns, want 8: {cols}')
    names = cols[0].split('|')
    for i, name in enumerate(names):
        toks = []
        for tok in cols[1].split():
            alt = tok.split('|')
            if len(alt) not in (1, len(names)):
                die(where, f'{tok}: want {len(names)} alternatives')
            toks.append(alt[i] if len(alt) > 1 else tok)
        yield [name, toks] + cols[2:7] + [cols[7].replace('%', name)]


def parse(cols, where):
    name, toks, oprs, reads, writes, undef, traits, sem = cols
    r = dict(name=name, pfx=ANY, ext=NONE, w=ANY, l=ANY, map=0, where=where, sem=sem, text=' '.join(toks),
             oprs=[] if oprs == '-' else oprs.split(), traits=set(), feature='none', cols=cols, opc=None)
    vex = False
    for tok in toks:
        if tok == 'vex':
            vex = True
        elif tok in PREFIX and r['map'] == 0 and r['pfx'] == ANY and r['opc'] is None:
            r['pfx'] = PREFIX[tok]
        elif tok in ('0F', '0F38', '0F3A') and r['map'] == 0:
            r['map'] = MAPS.index(tok) + (3 if vex else 0)
        elif re.fullmatch('[WL][01]', tok):
            r[tok[0].lower()] = int(tok[1])
        elif tok == 'LIG':
            r['traits'].add('lig')
        elif tok in ('w', 'byte'):
            r['traits'].add(tok)
        elif tok in ('+r', '+c'):
            r['traits'].add('plus' if tok == '+r' else 'cc')
        elif tok[0] == '/':  # /r, /0../7; a second letter: m memory only, r register only
            r['traits'].add('modrm')
            r['ext'] = NONE if tok[1] == 'r' else int(tok[1])
            if len(tok) > 2:
                r['traits'].add('noreg' if tok[2] == 'm' else 'nomem')
        else:
            r['opc'] = int(tok, 16)
    for t in traits.split():
        if t.startswith('cpu='):
            r['feature'] = t[4:]
        elif t in TRAITS:
            r['traits'].add(t)
        elif t != '-':
            die(where, f'no trait {t}')
    for o in r['oprs']:
        if o not in OPERANDS:
            die(where, f'no operand {o}')
    if vex and 'avx' not in r['traits']:
        r['l'] = 0  # general registers only
    r['reads'], r['writes'], r['undef'] = (flags(x, where) for x in (reads, writes, undef))
    if reads == 'cc' and 'cc' not in r['traits']:
        die(where, 'cc read without +c')
    return r


def opcodes(r):
    t = r['traits']
    n = 16 if 'cc' in t else 8 if 'plus' in t else 2 if 'w' in t else 1
    return range(r['opc'], r['opc'] + n)


def cells_of(r, pass_any):
    mods = [0] if 'noreg' in r['traits'] else [1] if 'nomem' in r['traits'] else [0, 1]
    for p in range(4) if pass_any else [r['pfx']]:
        for x in range(8) if r['ext'] == NONE else [r['ext']]:
            for k in mods:
                for wl in range(4):
                    if r['w'] in (ANY, wl >> 1) and r['l'] in (ANY, wl & 1):
                        yield ((p * 8 + x) * 2 + k) * 4 + wl


def build_maps(rows, long_mode):
    """leaf[map][opcode] = 0 none | row | 0x8000 + group (+ 0x4000: no ModRM byte); group[((prefix * 8 + reg) * 2 + (mod == 3)) * 4 + W * 2 + L]."""
    cells = {}
    for i, r in list(enumerate(rows))[1:]:  # row 0 means: no such instruction
        if ('i64' if long_mode else 'o64') not in r['traits']:
            for o in opcodes(r):
                cells.setdefault((r['map'], o), []).append(i)
    leaf, groups = [[0] * 256 for _ in MAPS], []
    for (m, o), ids in sorted(cells.items()):
        r0 = rows[ids[0]]
        if len(ids) == 1 and m < 4 and r0['pfx'] == ANY and r0['ext'] == NONE and not r0['traits'] & {'noreg', 'nomem'}:
            leaf[m][o] = ids[0]
            continue
        g = [0] * 256
        for pass_any in (False, True):  # explicit prefixes claim their cells first
            for i in (i for i in ids if (rows[i]['pfx'] == ANY) == pass_any):
                for at in cells_of(rows[i], pass_any):
                    if g[at] == 0:
                        g[at] = i
                    elif not pass_any or rows[g[at]]['pfx'] == ANY:
                        die(rows[i]['where'], f"{rows[i]['name']} overlaps {rows[g[at]]['name']}")
        leaf[m][o] = 0x8000 + len(groups) + (0 if any('modrm' in rows[i]['traits'] for i in ids) else 0x4000)
        groups.append(g)
    return leaf, groups


def template(sem, where):
    """`o0 = addf o0 o1` -> the builder calls that make it."""
    out, have = [], set()
    written = set(re.findall(r'(o\d) =', sem))
    for st in sem.split(';'):
        m = re.fullmatch(r'\s*(?:(\S+) = )?(\w+)((?: \w+)*)\s*', st)
        if not m:
            die(where, f'cannot read "{st}"')
        dst, op, src = m.group(1), m.group(2), m.group(3).split()
        if op == 'nop':
            continue
        flag = 'IR_F' if op.endswith('f') and op[:-1] in KINDS else '0'
        kind = op[:-1] if flag == 'IR_F' else op
        if kind not in KINDS:
            die(where, f'no micro-op {op}')
        for s in src:
            if s[0] == 'o' and s not in have:
                have.add(s)
                out.append(f'Val {s} = tr_rd(t, {s[1:]}, {"true" if s in written else "false"});')
        src = (src + ['val_reg(V_NONE)'] * 2)[:2]
        if dst is None or dst == '-':
            out.append(f'tr_to_none(t, IR_{kind}, {flag}, {src[0]}, {src[1]});')
        elif dst[0] == 'o':
            out.append(f'tr_to_operand(t, {dst[1:]}, IR_{kind}, {flag}, {src[0]}, {src[1]});')
        else:
            out.append(f'Val {dst} = tr_to_temp(t, IR_{kind}, {flag}, {src[0]}, {src[1]});')
    return out


def emit_code(rows, f):
    """Translators by template, and the row -> translator and row -> helper tables."""
    fns, decl, helpers = {}, [], []
    for r in rows:
        words = r['sem'][1:].split() if r['sem'].startswith('@') else []
        r['arg'] = '0'
        if not words:
            r['fn'] = fns.setdefault(r['sem'], f'tmpl_{len(fns)}')
            continue
        r['fn'] = 'tr_' + words[0]
        decl += [r['fn']] if r['fn'] not in decl else []
        if len(words) > 1:
            r['arg'] = f'(uintptr_t){words[1]}'
            if not words[1].startswith(('VOP_', 'VEX_')):  # numbers: target/x86/vops.def, vexops.def
                helpers += [words[1]] if words[1] not in helpers else []
    f.write('#ifdef WITH_TEMPLATES\n')
    f.writelines(f'void {d}(Tr *t);\n' for d in decl)
    for sem, fn in fns.items():
        where = next(r['where'] for r in rows if r['sem'] == sem)
        f.write(f'static void {fn}(Tr *t) /* {sem} */\n{{\n')
        f.writelines(f'    {line}\n' for line in template(sem, where) or ['(void)t;'])
        f.write('}\n')
    f.write('void (*const x86_row_fn[])(Tr *) = {\n    NULL,\n')
    f.writelines(f'    {r["fn"]}, /* {r["name"]} {r["text"]} */\n' for r in rows)
    f.write('};\n')
    f.writelines(f'extern void {h}(void); /* called as its translator knows it */\n' for h in helpers)
    f.write('const uintptr_t x86_row_arg[] = {\n    0,\n')
    f.writelines(f'    {r["arg"]},\n' for r in rows)
    f.write('};\nconst bool x86_row_is_vex[] = {\n    false,\n')
    f.writelines(f'    {"true" if r["arg"].startswith("(uintptr_t)VEX_") else "false"},\n' for r in rows)
    f.write('};\n#endif\n')


def emit_data(rows, maps, f):
    f.write('#ifdef WITH_ROWS\nconst Row x86_rows[] = {\n    { .name = "none" },\n')
    for r in rows:
        o = ', '.join(f'{{ O_{OPERANDS[x][0]}, {OPERANDS[x][1]} }}' for x in r['oprs'])
        t = ' | '.join('R_' + x.upper() for x in sorted(r['traits'])) or '0'
        f.write(f'    {{ "{r["name"]}", "{r["text"]}", {r["map"]}, {r["opc"]:#x}, {r["pfx"]}, {r["ext"]}, {r["w"]}, {r["l"]},'
                f' {len(r["oprs"])}, {{ {o or "{ 0, 0 }"} }}, {r["reads"]}, {r["writes"]}, {r["undef"]},'
                f' CPU_{r["feature"].upper()}, {t} }},\n')
    f.write(f'}};\nconst unsigned x86_nrows = {len(rows) + 1};\n')
    for k, (leaf, groups) in enumerate(maps):
        f.write(f'static const uint16_t leaf_{k}[7][256] = {{\n')
        f.writelines('    { ' + ', '.join(map(str, m)) + ' },\n' for m in leaf)
        f.write(f'}};\nstatic const uint16_t group_{k}[][256] = {{\n')
        f.writelines('    { ' + ', '.join(map(str, g)) + ' },\n' for g in groups)
        f.write('};\n')
    f.write('#endif\n')


def emit_enums(rows, f):
    features = sorted({r['feature'] for r in rows} - {'none'})
    f.write('#ifdef WITH_ENUMS\n')
    f.writelines(f'#define R_{t.upper()} (1ull << {i})\n' for i, t in enumerate(TRAITS))
    f.write('typedef enum RowFeature {\n    CPU_NONE,\n' + ''.join(f'    CPU_{x.upper()},\n' for x in features)
            + '    CPU_FEATURES\n} RowFeature;\n')
    f.write('#define ROW_FEATURES(X) ' + ' '.join(f'X({x}, {x.upper()})' for x in features) + '\n#endif\n')


def listing(rows, leaf, out):
    with open(out, 'w') as f:
        f.write('# Instruction listing (generated from decode.tbl)\n\n')
        f.write('| instruction | encoding | operands | reads | writes | undefined | needs | meaning |\n')
        f.write('|---|---|---|---|---|---|---|---|\n')
        for r in rows:
            c = r['cols']
            f.write(f'| {c[0]} | `{r["text"]}` | {c[2]} | {c[3]} | {c[4]} | {c[5]} |'
                    f' {r["feature"].replace("none", "")} | `{r["sem"]}` |\n')
        f.write('\n## Opcode space in long mode: x has rows, . has none\n\n```\n')
        for m, name in enumerate(MAPS):
            f.write(f'map {name or "one-byte"}: {sum(1 for x in leaf[m] if x)} of 256 opcodes\n')
            for hi in range(16) if any(leaf[m]) else []:
                f.write(f'  {hi:X}0  ' + ''.join('x' if leaf[m][hi * 16 + lo] else '.' for lo in range(16)) + '\n')
        f.write('```\n')


def main():
    table, opsdef, header, md = sys.argv[1:]
    KINDS.update(re.findall(r'^OP[12X]\((\w+),', open(opsdef).read(), re.M))
    rows = []
    for n, line in enumerate(open(table), 1):
        if line.strip() and line[0] != '#':
            rows += [parse(c, n) for c in expand(line, n)]
    maps = [build_maps([None] + rows, long_mode) for long_mode in (False, True)]
    with open(header, 'w') as f:
        f.write('/* generated from decode.tbl by decode.py */\n')
        emit_enums(rows, f)
        emit_code(rows, f)
        emit_data(rows, maps, f)
    listing(rows, maps[1][0], md)


main()
