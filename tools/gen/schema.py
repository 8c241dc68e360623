#!/usr/bin/env python3
"""schema.py OUTDIR SCHEMA.json.. - all that is derived from the monitor's schema (schema/README.md).

Out come, in OUTDIR: NAME.h per schema file (C types, handlers to implement, event emitters), types.c and commands.c (the
tables behind core/api.h), qmp.md and hmp.md (the reference).
"""
import json
import os
import re
import sys

BUILTIN = {'str': 'char *', 'bool': 'bool', 'int': 'int64_t', 'int8': 'int8_t', 'int16': 'int16_t', 'int32': 'int32_t',
           'int64': 'int64_t', 'uint8': 'uint8_t', 'uint16': 'uint16_t', 'uint32': 'uint32_t', 'uint64': 'uint64_t',
           'size': 'uint64_t', 'number': 'double', 'any': 'JVal *', 'null': 'uint8_t'}
# kind of a human monitor's argument: HmpArg, type
HMP = {'word': ('HMP_WORD', 'str'), 'file': ('HMP_FILE', 'str'), 'int': ('HMP_INT', 'int'), 'size': ('HMP_SIZE', 'size'),
       'flag': ('HMP_FLAG', 'bool'), 'format': ('HMP_FORMAT', 'HmpFormat'), 'onoff': ('HMP_ONOFF', 'bool'),
       'rest': ('HMP_REST', 'str'), 'command': ('HMP_COMMAND', 'str')}
KEYWORDS = set('linux unix auto bool break case char const continue default do double else enum extern float for goto if inline int long '
               'register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while'.split())
SECTIONS = {'doc', 'enums', 'structs', 'unions', 'alternates', 'commands', 'events', 'hmp'}
NULL_ABSENT = {'str', 'any'}  # optional without a has_ beside it


class Bad(Exception):
    pass


def c_name(s):
    s = re.sub(r'[^A-Za-z0-9]', '_', s)
    return s + '_' if s in KEYWORDS or s[0].isdigit() else s


def camel(s):
    return ''.join(w[:1].upper() + w[1:] for w in re.split(r'[-_ ]', s))


def upper(s):
    s = re.sub(r'([a-z0-9])([A-Z])', r'\1_\2', s)
    return re.sub(r'([A-Z])([A-Z][a-z])', r'\1_\2', s).upper()


def quote(s):
    return 'NULL' if s is None else json.dumps(s, ensure_ascii=True)


def no_twins(pairs):
    d = dict(pairs)
    if len(d) != len(pairs):
        keys = [k for k, _ in pairs]
        raise Bad(f'key {next(k for k in keys if keys.count(k) > 1)!r} twice')
    return d


class Member:
    def __init__(self, key, spec, where):
        if not isinstance(spec, list) or not 2 <= len(spec) <= 3 or not all(isinstance(x, str) for x in spec[:2]):
            raise Bad(f'{where}.{key}: want ["type", "what it means"]')
        self.optional = key.startswith('*')
        self.name = key.lstrip('*')
        self.type, self.doc = spec[0], spec[1]
        more = spec[2] if len(spec) == 3 else {}
        self.features = more.get('features', [])
        self.c = c_name(self.name)


class Type:
    def __init__(self, name, kind, spec, module):
        self.name, self.kind, self.module = name, kind, module
        self.doc = spec.get('doc')
        self.features = spec.get('features', [])
        self.members, self.values, self.variants, self.tag = [], {}, {}, None
        if not self.doc:
            raise Bad(f'{name}: no "doc"')


class Schema:
    def __init__(self):
        self.types, self.commands, self.events, self.hmp, self.modules = {}, [], [], [], []

    def add_type(self, t):
        if t.name in self.types or t.name in BUILTIN:
            raise Bad(f'type {t.name} twice')
        self.types[t.name] = t
        return t

    def struct(self, name, kind, spec, members, module):
        t = self.add_type(Type(name, kind, spec, module))
        t.members = [Member(k, v, name) for k, v in members.items()]
        names = [m.c for m in t.members]
        for m in t.members:
            if names.count(m.c) > 1:
                raise Bad(f'{name}: member {m.name} twice')
        return t

    def load(self, path):
        module = os.path.splitext(os.path.basename(path))[0]
        with open(path, encoding='utf-8') as f:
            d = json.load(f, object_pairs_hook=no_twins)
        for k in d:
            if k not in SECTIONS:
                raise Bad(f'{module}: no such section {k!r}')
        if not d.get('doc'):
            raise Bad(f'{module}: no "doc"')
        self.modules.append((module, d['doc']))
        for name, e in d.get('enums', {}).items():
            t = self.add_type(Type(name, 'enum', e, module))
            t.values, t.prefix, t.max = e['values'], e.get('prefix', upper(name)), e.get('max')
        for name, s in d.get('structs', {}).items():
            self.struct(name, 'struct', s, s.get('members', {}), module).base = s.get('base')
        for name, u in d.get('unions', {}).items():
            t = self.struct(name, 'union', u, u['members'], module)
            t.tag, t.variants, t.base = u['tag'], u['variants'], None
        for name, a in d.get('alternates', {}).items():
            self.struct(name, 'alternate', a, a['choices'], module)
        for name, c in d.get('commands', {}).items():
            self.load_command(name, c, module)
        for name, e in d.get('events', {}).items():
            data = e.get('data')
            if data is not None:
                self.struct('Event' + camel(name.lower()), 'struct', e, data, module).base = None
            self.events.append((name, e['doc'], 'Event' + camel(name.lower()) if data is not None else None, module))
        for names, h in d.get('hmp', {}).items():
            self.load_hmp(names, h, module)

    def load_command(self, name, c, module):
        for k in c:
            if k not in ('doc', 'args', 'returns', 'features', 'open', 'monitor', 'early'):
                raise Bad(f'{name}: no such key {k!r}')
        args = c.get('args')
        if isinstance(args, dict):
            self.struct(camel(name) + 'Args', 'struct', {'doc': f'Arguments of {name}.'}, args, module).base = None
            args = camel(name) + 'Args'
        if not c.get('doc'):
            raise Bad(f'{name}: no "doc"')
        self.commands.append({'name': name, 'c': c_name(name), 'doc': c['doc'], 'args': args, 'ret': c.get('returns'),
                              'features': c.get('features', []), 'open': c.get('open', False), 'module': module,
                              'monitor': c.get('monitor', False), 'early': c.get('early', False)})

    def load_hmp(self, names, h, module):
        first = names.split('|')[0]
        args = h.get('args', {})
        t = None
        flags = ''
        kinds = []
        if args:
            spec = {}
            for k, (kind, doc) in args.items():
                kind, _, letter = kind.partition(':-')
                if kind not in HMP:
                    raise Bad(f'hmp {first}.{k}: no such kind {kind!r}')
                kinds.append(HMP[kind][0])
                flags += letter or ' '
                spec[k] = [HMP[kind][1], doc]
            t = 'Hmp' + camel(first) + 'Args'
            self.struct(t, 'struct', {'doc': f'Arguments of {first}.'}, spec, module).base = None
        self.hmp.append({'names': names, 'c': c_name(first), 'help': h['help'], 'params': h.get('params', ''), 'args': t,
                         'kinds': kinds, 'flags': flags, 'qmp': h.get('qmp'), 'module': module})

    # ---- after all is loaded ----
    def find(self, name, where):
        if name in self.types or name == 'HmpFormat':
            return self.types.get(name)
        raise Bad(f'{where}: no such type {name!r}')

    def check(self, name, where):
        inner = name[1:-1] if name.startswith('[') and name.endswith(']') else name
        if inner not in BUILTIN:
            self.find(inner, where)

    def is_enum(self, name):
        return name in self.types and self.types[name].kind == 'enum'

    def resolve(self):
        for t in self.types.values():
            if getattr(t, 'base', None):
                base = self.find(t.base, t.name)
                t.members = base.members + t.members
        for t in self.types.values():
            for m in t.members:
                self.check(m.type, f'{t.name}.{m.name}')
                m.list = m.type.startswith('[')
                plain = m.type in BUILTIN or self.is_enum(m.type)
                m.pointer = m.optional and not m.list and not plain and m.type != 'HmpFormat'
                m.has = m.optional and not m.list and not m.pointer and m.type not in NULL_ABSENT
            if t.kind == 'union':
                e = self.find(next(m.type for m in t.members if m.name == t.tag), t.name)
                for v, s in t.variants.items():
                    if v not in e.values:
                        raise Bad(f'{t.name}: {e.name} has no value {v!r}')
                    if self.find(s, t.name).kind not in ('struct', 'union'):
                        raise Bad(f'{t.name}: variant {v} is not a struct')
        names = {c['name'] for c in self.commands}
        if len(names) != len(self.commands):
            raise Bad('a command twice')
        for c in self.commands:
            if c['args']:
                self.find(c['args'], c['name'])
            if c['ret']:
                self.check(c['ret'], c['name'])
        for h in self.hmp:
            if h['qmp'] and h['qmp'] not in names:
                raise Bad(f"hmp {h['names']}: no command {h['qmp']!r}")

    def c_type(self, name):
        if name.startswith('['):
            return list_name(name[1:-1])
        return BUILTIN.get(name, name)

    def lists(self):
        seen = []
        for t in self.types.values():
            seen += [m.type for m in t.members if m.list]
        seen += [c['ret'] for c in self.commands if c['ret'] and c['ret'].startswith('[')]
        return list(dict.fromkeys(s[1:-1] for s in seen))


def list_name(of):
    return ({'str': 'Str', 'int': 'Int', 'size': 'Size', 'any': 'Any'}.get(of) or camel(of)) + 'List'


# ---- C ----
def space(ct):
    return ct if ct.endswith('*') else ct + ' '


def comment(doc):
    return f' /* {doc} */' if doc else ''


def member_lines(s, m, pad):
    out = []
    if m.has:
        out.append(f'{pad}bool has_{m.c};')
    ct = s.c_type(m.type)
    star = '*' if m.pointer else ''
    out.append(f'{pad}{space(ct)}{star}{m.c};{comment(m.doc)}')
    return out


def enum_lines(t):
    out = [f'/* {t.doc} */', f'typedef enum {t.name} {{']
    for v, doc in t.values.items():
        out.append(f'    {t.prefix}_{c_name(v).upper()},{comment(doc)}')
    out += [f'    {t.max or t.prefix + "__MAX"}', f'}} {t.name};']
    return out


def struct_lines(s, t):
    out = [f'/* {t.doc} */', f'struct {t.name} {{']
    if t.kind == 'alternate':
        out.append('    int which; /* index of the choice */')
        out.append('    union {')
        for m in t.members:
            out += member_lines(s, m, '        ')
        out.append('    };')
    else:
        for m in t.members:
            out += member_lines(s, m, '    ')
    if t.kind == 'union' and t.variants:
        out.append('    union {')
        for v, st in t.variants.items():
            out.append(f'        {st} {c_name(v)};')
        out.append('    } u;')
    if not t.members:
        out.append('    char nothing;')
    return out + ['};']


def needs(s, t):
    """Types that must be complete before t."""
    out = [m.type for m in t.members if not m.pointer and not m.list]
    out += list(t.variants.values())
    return [s.types[n] for n in out if n in s.types]


def in_order(s, types):
    done, out = set(), []

    def visit(t, chain):
        if t.name in chain:
            raise Bad(f'{t.name} contains itself')
        if t.name in done:
            return
        for n in needs(s, t):
            if n in types:
                visit(n, chain + [t.name])
        done.add(t.name)
        out.append(t)

    for t in types:
        visit(t, [])
    return out


def handler(s, c):
    args = ['Vm *vm']
    if c['monitor']:
        args.append('Monitor *m')
    if c['open']:
        args.append('const JVal *args')
    elif c['args']:
        args.append(f'const {c["args"]} *args')
    if c['ret']:
        args.append(f'{space(s.c_type(c["ret"]))}*ret')
    return f'bool qmp_{c["c"]}({", ".join(args + ["Error **err"])})'


def imports(s, module, types):
    used = set()
    for t in types:
        for n in [m.type.strip('[]') for m in t.members] + list(t.variants.values()):
            if n in s.types:
                used.add(s.types[n].module)
    for c in s.commands:
        if c['module'] == module:
            for n in (c['args'], c['ret']):
                if n and n.strip('[]') in s.types:
                    used.add(s.types[n.strip('[]')].module)
    used.discard(module)
    return sorted(used)


def list_home(s, of):
    return s.types[of].module if of in s.types else None


def header(s, module, doc):
    types = [t for t in s.types.values() if t.module == module]
    guard = f'CORE_API_{module.upper()}_H'
    out = [f'/* Generated by tools/gen/schema.py from schema/{module}.json: {doc} */', f'#ifndef {guard}', f'#define {guard}',
           '#include "core/api/builtin.h"']
    out += [f'#include "core/api/{i}.h"' for i in imports(s, module, types)]
    for t in types:
        if t.kind == 'enum':
            out += enum_lines(t)
        else:
            out.append(f'typedef struct {t.name} {t.name};')
        out.append(f'extern const ApiType api_{t.name};')
    for of in s.lists():
        if list_home(s, of) == module:
            out.append(f'typedef struct {list_name(of)} {{ {space(s.c_type(of))}*v; size_t n; }} {list_name(of)};')
            out.append(f'extern const ApiType api_{list_name(of)};')
    for t in in_order(s, [t for t in types if t.kind != 'enum']):
        out += struct_lines(s, t)
    for c in s.commands:
        if c['module'] == module:
            out += [f'/* {c["name"]}: {c["doc"]} */', handler(s, c) + ';']
    for name, edoc, data, mod in s.events:
        if mod == module:
            arg = f', const {data} *data' if data else ''
            out += [f'/* {name}: {edoc} */', f'void event_{name.lower()}(Vm *vm{arg});']
    for h in s.hmp:
        if h['module'] == module and not h['qmp']:
            arg = f', const {h["args"]} *args' if h['args'] else ''
            out += [f'/* {h["names"]} {h["params"]} -- {h["help"]} */', f'void hmp_{h["c"]}(Hmp *h{arg});']
    return out + ['#endif']


def builtin_header(s):
    out = ['/* Generated by tools/gen/schema.py: lists of the built-in types. */', '#ifndef CORE_API_BUILTIN_H',
           '#define CORE_API_BUILTIN_H', '#include "core/api.h"']
    for of in s.lists():
        if list_home(s, of) is None:
            out.append(f'typedef struct {list_name(of)} {{ {space(s.c_type(of))}*v; size_t n; }} {list_name(of)};')
            out.append(f'extern const ApiType api_{list_name(of)};')
    return out + ['#endif']


def strings(name, values):
    return f'static const char *const {name}[] = {{ {", ".join(quote(v) for v in values)}, NULL }};'


def type_ref(name):
    if name.startswith('['):
        return f'&api_{list_name(name[1:-1])}'
    return '&api_hmp_format' if name == 'HmpFormat' else f'&api_{name}'


def features_ref(out, owner, features):
    if not features:
        return 'NULL'
    out.append(strings(f'f_{owner}', features))
    return f'f_{owner}'


def member_rows(s, t, out):
    rows = []
    for m in t.members:
        f = features_ref(out, f'{t.name}_{m.c}', m.features)
        has = f'offsetof({t.name}, has_{m.c}) + 1' if m.has else '0'
        rows.append(f'    {{ {quote(m.name)}, {type_ref(m.type)}, offsetof({t.name}, {m.c}), {has}, {int(m.optional)}, '
                    f'{int(m.pointer)}, {quote(m.doc)}, {f} }},')
    return rows


def type_table(s, t):
    out = []
    f = features_ref(out, t.name, t.features)
    more = ''
    if t.kind == 'enum':
        out.append(strings(f'n_{t.name}', t.values))
        out.append(strings(f'd_{t.name}', t.values.values()))
        more = f'.names = n_{t.name}, .name_docs = d_{t.name}, .n = {len(t.values)}'
    else:
        rows = member_rows(s, t, out)
        if rows:
            out += [f'static const ApiMember m_{t.name}[] = {{', *rows, '};']
            more = f'.members = m_{t.name}, .n = {len(t.members)}'
        if t.kind == 'union':
            e = s.types[next(m.type for m in t.members if m.name == t.tag)]
            out.append(f'static const ApiMember v_{t.name}[] = {{')
            for v in e.values:
                st = t.variants.get(v)
                out.append(f'    {{ {quote(v)}, {type_ref(st) if st else "NULL"}, '
                           f'{f"offsetof({t.name}, u.{c_name(v)})" if st else "0"} }},')
            tag = next(i for i, m in enumerate(t.members) if m.name == t.tag)
            out.append('};')
            more += f', .tag = &m_{t.name}[{tag}], .variants = v_{t.name}'
    kind = {'enum': 'API_ENUM', 'alternate': 'API_ALTERNATE'}.get(t.kind, 'API_STRUCT')
    out.append(f'const ApiType api_{t.name} = {{ .name = {quote(t.name)}, .doc = {quote(t.doc)}, .kind = {kind}, '
               f'.size = sizeof({t.name}), .features = {f}{", " + more if more else ""} }};')
    return out


def types_c(s):
    out = ['/* Generated by tools/gen/schema.py: the types of the schema as tables, event emitters. */']
    out += [f'#include "core/api/{m}.h"' for m, _ in s.modules]
    for of in s.lists():
        n = list_name(of)
        out.append(f'const ApiType api_{n} = {{ .name = "[{of}]", .kind = API_LIST, .size = sizeof({n}), .of = {type_ref(of)} }};')
    for t in s.types.values():
        out += type_table(s, t)
    out.append('const ApiEvent api_events[] = {')
    for name, doc, data, _ in s.events:
        out.append(f'    {{ {quote(name)}, {quote(doc)}, {type_ref(data) if data else "NULL"} }},')
    out += ['    { NULL }', '};', f'const unsigned api_event_count = {len(s.events)};']
    for i, (name, _, data, _) in enumerate(s.events):
        arg = f', const {data} *data' if data else ''
        out.append(f'void event_{name.lower()}(Vm *vm{arg}) {{ api_emit(vm, &api_events[{i}], {"data" if data else "NULL"}); }}')
    return out


def commands_c(s):
    out = ['/* Generated by tools/gen/schema.py: commands of both monitors. */']
    out += [f'#include "core/api/{m}.h"' for m, _ in s.modules]
    rows = []
    for c in s.commands:
        call = ['vm'] + (['m'] if c['monitor'] else []) + (['json'] if c['open'] else ['args'] if c['args'] else []) + \
            (['ret'] if c['ret'] else []) + ['err']
        out.append(f'static bool call_{c["c"]}(Vm *vm, Monitor *m, const JVal *json, const void *args, void *ret, Error **err) '
                   f'{{ return qmp_{c["c"]}({", ".join(call)}); }}')
        f = features_ref(out, 'cmd_' + c['c'], c['features'])
        rows.append(f'    {{ {quote(c["name"])}, {quote(c["doc"])}, {type_ref(c["args"]) if c["args"] else "NULL"}, '
                    f'{type_ref(c["ret"]) if c["ret"] else "NULL"}, {int(c["open"])}, {int(c["early"])}, {f}, call_{c["c"]} }},')
    out += ['const ApiCommand api_commands[] = {', *rows, '    { NULL }', '};',
            f'const unsigned api_command_count = {len(s.commands)};']
    rows = []
    index = {c['name']: i for i, c in enumerate(s.commands)}
    for h in s.hmp:
        run = 'NULL'
        if not h['qmp']:
            run = f'run_{h["c"]}'
            out.append(f'static void run_{h["c"]}(Hmp *h, const void *args) {{ hmp_{h["c"]}(h{", args" if h["args"] else ""}); }}')
        if h['args']:
            out.append(f'static const uint8_t k_{h["c"]}[] = {{ {", ".join(h["kinds"])} }};')
        rows.append(f'    {{ {quote(h["names"])}, {quote(h["params"])}, {quote(h["help"])}, '
                    f'{type_ref(h["args"]) if h["args"] else "NULL"}, {"k_" + h["c"] if h["args"] else "NULL"}, {quote(h["flags"])}, '
                    f'{"&api_commands[%d]" % index[h["qmp"]] if h["qmp"] else "NULL"}, {run} }},')
    out += ['const HmpCommand hmp_commands[] = {', *rows, '    { NULL }', '};', f'const unsigned hmp_command_count = {len(s.hmp)};']
    return out


# ---- the reference ----
def md_members(s, name, out, pad=''):
    t = s.types[name]
    for m in t.members:
        opt = ', optional' if m.optional else ''
        feat = ''.join(f' (feature `{f}`)' for f in m.features)
        out.append(f'{pad}- `{m.name}` ({m.type}{opt}): {m.doc}{feat}')
    for v, st in t.variants.items():
        out.append(f'{pad}- with `{t.tag}` = `{v}`: the members of {st}')


def qmp_md(s):
    out = ['# QMP reference', '', 'Generated from the schema; `docs/howto-monitor.md` says how to connect.']
    for module, doc in s.modules:
        out += ['', f'## {module}: {doc}']
        for c in [c for c in s.commands if c['module'] == module]:
            out += ['', f'### {c["name"]}', c['doc']]
            if c['args']:
                out.append('')
                md_members(s, c['args'], out)
            if c['open']:
                out.append('- and any property of the thing')
            if c['ret']:
                out += ['', f'Returns {c["ret"]}.']
        for name, doc_, data, mod in s.events:
            if mod == module:
                out += ['', f'### Event {name}', doc_]
                if data:
                    out.append('')
                    md_members(s, data, out)
        hidden = {c['args'] for c in s.commands} | {d for _, _, d, _ in s.events} | {h['args'] for h in s.hmp}
        for t in [t for t in s.types.values() if t.module == module and t.name not in hidden]:
            out += ['', f'### Type {t.name} ({t.kind})', t.doc, '']
            out += [f'- `{v}`: {d}' for v, d in t.values.items()]
            md_members(s, t.name, out)
    return out


def hmp_md(s):
    out = ['# Commands of the human monitor', '', 'Generated from the schema.', '', '| Command | What it does |', '|---|---|']
    for h in sorted(s.hmp, key=lambda h: h['names']):
        cell = f'{h["names"]} {h["params"]}'.strip().replace('|', r'\|')
        out.append(f'| `{cell}` | {h["help"].replace("|", chr(92) + "|")} |')
    return out


def main(outdir, paths):
    s = Schema()
    for p in paths:
        try:
            s.load(p)
        except (Bad, ValueError, KeyError) as e:
            sys.exit(f'{p}: {e}')
    try:
        s.resolve()
        files = {f'{m}.h': header(s, m, d) for m, d in s.modules}
    except Bad as e:
        sys.exit(f'schema: {e}')
    files.update({'builtin.h': builtin_header(s), 'types.c': types_c(s), 'commands.c': commands_c(s), 'qmp.md': qmp_md(s),
                  'hmp.md': hmp_md(s)})
    for name, lines in files.items():
        with open(os.path.join(outdir, name), 'w', encoding='utf-8') as f:
            f.write('\n'.join(lines) + '\n')


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
