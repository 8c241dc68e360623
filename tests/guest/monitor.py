#!/usr/bin/env python3
"""monitor.py MENURA SUITE - monitors of a running machine, from outside: session, hands, probe or oracle.

session  two QMP clients and the human monitor on one machine while the firmware runs
terminal the human monitor and a serial port on one terminal
fds      descriptors handed over on the socket
probe    what a management client asks of a new emulator, on machine none
media    trays, media, statistics
cpus     CPU models
oracle   our replies and schema against the introspection of QEMU 10, where that is installed (else exit 77: skipped)
"""
import array
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

PATIENCE = 120


class Failure(Exception):
    pass


def check(ok, *what):
    if not ok:
        raise Failure(' '.join(str(w) for w in what))


class Qmp:
    def __init__(self, path, process=None):
        end = time.time() + PATIENCE
        while True:
            self.s = socket.socket(socket.AF_UNIX)
            try:
                self.s.connect(path)
                break
            except OSError:
                check(time.time() < end and (not process or process.poll() is None), 'no monitor at', path)
                time.sleep(0.05)
        self.s.settimeout(PATIENCE)
        self.f = self.s.makefile('rb')
        self.events = []
        self.hello = json.loads(self.f.readline())
        self('qmp_capabilities')

    def close(self):
        self.f.close()
        self.s.close()

    def read(self):
        line = self.f.readline()
        check(line, 'the monitor closed the connection')
        return json.loads(line)

    def ask(self, command, fds=None, **arguments):
        """The whole reply; arguments' names have _ for -."""
        m = {'execute': command, 'id': command}
        if arguments:
            m['arguments'] = {k.replace('_', '-'): v for k, v in arguments.items()}
        anc = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
        self.s.sendmsg([json.dumps(m).encode() + b'\r\n'], anc)
        while True:
            r = self.read()
            if 'event' in r:
                self.events.append(r)
            else:
                check(r.get('id') == command, 'reply to', r.get('id'), 'when asked', command)
                return r

    def __call__(self, command, **arguments):
        r = self.ask(command, **arguments)
        check('return' in r, command, arguments, 'answers', r)
        return r['return']

    def refused(self, command, cls='GenericError', **arguments):
        r = self.ask(command, **arguments)
        check(r.get('error', {}).get('class') == cls, command, 'answers', r, 'not', cls)
        return r['error']['desc']

    def event(self, name):
        """The next event of that name; those before it are dropped."""
        while True:
            e = self.events.pop(0) if self.events else self.read()
            if e.get('event') == name:
                return e.get('data')


class Machine:
    def __init__(self, binary, *args, monitors=1, hmp=False):
        self.dir = tempfile.mkdtemp(prefix='menura-monitor.')
        cmd = [binary, '-display', 'none', '-S']
        for i in range(monitors):
            cmd += ['-qmp', f'unix:{self.dir}/qmp{i},server=on,wait=off']
        if hmp:
            cmd += ['-monitor', f'unix:{self.dir}/hmp,server=on,wait=off']
        self.p = subprocess.Popen(cmd + list(args), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def qmp(self, i=0):
        return Qmp(f'{self.dir}/qmp{i}', self.p)

    def path(self, name):
        return os.path.join(self.dir, name)

    def close(self):
        if self.p.poll() is None:
            self.p.kill()
        self.p.communicate()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def hmp_ask(s, line):
    if line is not None:
        s.sendall(line.encode() + b'\n')
    got = b''
    while not got.endswith(b'(qemu) '):
        part = s.recv(65536)
        check(part, 'the human monitor closed; so far', got)
        got += part
    return got.decode().replace('\r', '')


# ---- session ----
def hands(a, m):
    a('input-send-event', events=[{'type': 'key', 'data': {'key': {'type': 'qcode', 'data': 'a'}, 'down': d}} for d in (True, False)])
    a('input-send-event', events=[{'type': 'rel', 'data': {'axis': 'x', 'value': -3}}, {'type': 'btn', 'data': {'button': 'left', 'down': True}}])
    a('send-key', keys=[{'type': 'number', 'data': 30}, {'type': 'qcode', 'data': 'shift'}], hold_time=10)
    check('nonsense' in a.refused('send-key', keys=[{'type': 'qcode', 'data': 'nonsense'}]), 'bad key')
    for name, magic in (('png', b'\x89PNG'), ('ppm', b'P6')):
        a('screendump', filename=m.path('shot'), format=name)
        with open(m.path('shot'), 'rb') as f:
            check(f.read(4).startswith(magic), 'screendump', name)
    check(a.refused('screendump', filename='/nonexistent/x'), 'screendump into nowhere')


def memory(a, m):
    a('pmemsave', val=0xfffffff0, size=16, filename=m.path('mem'))
    with open(m.path('mem'), 'rb') as f:
        rom = f.read()
    check(len(rom) == 16 and rom[0] == 0xea, 'the reset vector is no far jump:', rom)
    text = a('human-monitor-command', command_line='xp /1xb 0xfffffff0')
    check(text == '00000000fffffff0: 0xea\n', 'xp', text)
    check('pc.bios' in a('human-monitor-command', command_line='info roms'), 'info roms')


def objects(a):
    cpus = a('query-cpus-fast')
    check(len(cpus) == 2 and all(c['thread-id'] > 0 for c in cpus), cpus)
    check(cpus[0]['qom-path'] == '/machine/unattached/device[0]', cpus)
    check(a('qom-get', path='/machine/unattached/device[0]', property='type') == 'qemu64-x86_64-cpu', 'type of the CPU')
    check({'name': 'edu0', 'type': 'child<edu>'} in a('qom-list', path='/machine/peripheral'), a('qom-list', path='/machine/peripheral'))
    check(a('qom-get', path='/machine/peripheral/edu0', property='realized') is True, 'realized')
    check(a('qom-get', path='edu0', property='type') == 'edu', 'a path by its end')
    a.refused('qom-get', 'DeviceNotFound', path='/machine/peripheral/none', property='type')
    a.refused('qom-get', path='/machine/peripheral/edu0', property='none')
    a.refused('qom-set', path='/machine/peripheral/edu0', property='addr', value='5')
    pci = a('query-pci')
    check(any(d['qdev_id'] == 'edu0' and d['id'] == {'vendor': 0x1234, 'device': 0x11e8, 'subsystem-vendor': 0x1af4, 'subsystem': 0x1100}
              for d in pci[0]['devices']), pci)


def run_states(a, b):
    check(a('query-status') == {'status': 'prelaunch', 'running': False}, 'prelaunch')
    a('cont')
    check([e['event'] for e in a.events] == ['RESUME'], 'RESUME comes before its reply:', a.events)
    b.event('RESUME')
    check(b('query-status') == {'status': 'running', 'running': True}, 'running')
    a('stop')
    check(a.events[-1]['event'] == 'STOP', 'STOP comes before its reply')
    check('seconds' in a.events[-1]['timestamp'] and 'microseconds' in a.events[-1]['timestamp'], a.events)
    b.event('STOP')
    a.events.clear()
    a('stop')
    a('query-status')
    check(not a.events, 'no event when nothing changes:', a.events)
    a('system_reset')
    check(a.event('RESET') == {'guest': False, 'reason': 'host-qmp-system-reset'}, 'RESET')
    a('cont')
    a('system_powerdown')
    a.event('POWERDOWN')
    a.refused('system_wakeup')
    a('set-action', reboot='shutdown', panic='none')


def session(binary):
    with Machine(binary, '-M', 'pc', '-accel', 'tcg', '-m', '64', '-smp', '2', '-device', 'edu,id=edu0', '-name', 'two words', '-uuid',
                 '01234567-89ab-cdef-0123-456789abcdef', monitors=2, hmp=True) as m:
        a, b = m.qmp(0), m.qmp(1)
        check(a.hello['QMP']['version']['qemu'] == {'major': 10, 'minor': 0, 'micro': 2}, a.hello)
        check(a('query-name') == {'name': 'two words'}, a('query-name'))
        check(a('query-uuid') == {'UUID': '01234567-89ab-cdef-0123-456789abcdef'}, 'uuid')
        run_states(a, b)
        hands(a, m)
        memory(a, m)
        objects(a)
        h = socket.socket(socket.AF_UNIX)
        h.settimeout(PATIENCE)
        h.connect(m.path('hmp'))
        check(hmp_ask(h, None) == "QEMU 10.0.2 monitor - type 'help' for more information\n(qemu) ", 'banner')
        check('VM status: running' in hmp_ask(h, 'info status'), 'info status')
        check('RIP=' in hmp_ask(h, 'info registers'), 'info registers')
        check(not a.events and hmp_ask(h, 'print $pc') and a('query-status')['running'] and not a.events, 'looking stops nothing:', a.events)
        check('dev: edu, id "edu0"' in hmp_ask(h, 'info qtree'), 'info qtree')
        h.sendall(b'stop\n')
        b.event('STOP')
        a.close()
        again = m.qmp(0)
        check(again('query-status') == {'status': 'paused', 'running': False}, 'after a new connection')
        again('quit')
        check(again.event('SHUTDOWN') == {'guest': False, 'reason': 'host-qmp-quit'}, 'SHUTDOWN')
        check(m.p.wait(PATIENCE) == 0, 'exit status', m.p.returncode)


# ---- a terminal shared with the serial port ----
def terminal(binary):
    p = subprocess.Popen([binary, '-M', 'pc', '-accel', 'tcg', '-S', '-nographic'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    said, _ = p.communicate(b'\x01cinfo status\r\x01c\x01cinfo name\x01c\x01c\rq\r', PATIENCE)
    want = ("QEMU 10.0.2 monitor - type 'help' for more information\r\n(qemu) info status\r\nVM status: paused (prelaunch)\r\n"
            '(qemu) \r\n(qemu) info name\r\n(qemu) info name\r\n(qemu) q\r\n(qemu) ')
    check(said.decode().startswith(want), 'said', said)
    check(p.returncode == 0, 'exit status', p.returncode)


# ---- descriptors ----
def fds(binary):
    with Machine(binary, '-M', 'none') as m:
        q = m.qmp()
        r, w = os.pipe()
        check('SCM_RIGHTS' in q.refused('getfd', fdname='x'), 'no descriptor')
        check('return' in q.ask('getfd', fds=[w], fdname='x'), 'getfd')
        check('digit' in q.ask('getfd', fds=[w], fdname='1x')['error']['desc'], 'a name that begins with a digit')
        q('closefd', fdname='x')
        check("'x' not found" in q.refused('closefd', fdname='x'), 'closed twice')
        os.close(w)
        check(os.read(r, 1) == b'', 'all copies are closed')
        one = q.ask('add-fd', fds=[r], opaque='first')['return']
        check(one['fdset-id'] == 0, one)
        two = q.ask('add-fd', fds=[r], **{'fdset-id': 0})['return']
        other = q.ask('add-fd', fds=[r])['return']
        check(other['fdset-id'] == 1, other)
        sets = q('query-fdsets')
        check(sets == [{'fdset-id': 0, 'fds': [{'fd': one['fd'], 'opaque': 'first'}, {'fd': two['fd']}]},
                       {'fdset-id': 1, 'fds': [{'fd': other['fd']}]}], sets)
        q('remove-fd', fdset_id=0, fd=one['fd'])
        q('remove-fd', fdset_id=1)
        q.refused('remove-fd', fdset_id=1)
        check(q('query-fdsets') == [{'fdset-id': 0, 'fds': [{'fd': two['fd']}]}], q('query-fdsets'))
        q('quit')
        check(m.p.wait(PATIENCE) == 0, 'exit status')
    inherited(binary)


def inherited(binary):
    """-add-fd, and /dev/fdset/N where a file is named."""
    r, w = os.pipe()
    os.set_inheritable(w, True)
    args = ['-M', 'none', '-display', 'none', '-add-fd', f'set=7,fd={w},opaque=log', '-chardev', 'file,id=f,path=/dev/fdset/7', '-mon', 'chardev=f',
            '-qmp', 'stdio']
    p = subprocess.Popen([binary] + args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
    os.close(w)
    said, _ = p.communicate(b'{"execute":"qmp_capabilities"}{"execute":"query-fdsets"}{"execute":"quit"}', PATIENCE)
    check(b'"fdset-id": 7, "fds": [{"fd": ' in said and b'"opaque": "log"' in said, said)
    check(os.read(r, 4096).startswith(b'QEMU 10.0.2 monitor'), 'the banner went through the descriptor')


# ---- probe ----
PROBED_DEVICES = '''virtio-blk-pci virtio-net-pci virtio-scsi-pci virtio-net-ccw virtio-scsi-ccw vfio-pci scsi-hd ide-hd PIIX4_PM usb-redir
 usb-storage kvm-pit VGA vmware-svga qxl virtio-gpu-pci virtio-gpu-device ICH9-LPC virtio-balloon-pci virtio-balloon-ccw
 virtio-balloon-device intel-iommu mch nvdimm pcie-root-port usb-host vhost-user-fs-device virtio-mem-pci virtio-iommu-pci'''.split()
PROBED_TYPES = 'memory-backend-file memory-backend-memfd max-x86_64-cpu none-machine generic-pc-machine'.split()
OPTIONAL = 'query-tpm-models query-tpm-types query-sev-capabilities query-sgx-capabilities'.split()


def probe(binary):
    with Machine(binary, '-no-user-config', '-nodefaults', '-nographic', '-machine', 'none,accel=kvm:tcg') as m:
        q = m.qmp()
        v = q('query-version')
        check((v['qemu']['major'], v['qemu']['minor'], v['qemu']['micro']) >= (6, 2, 0) and isinstance(v['package'], str), v)
        check(q('query-target') == {'arch': 'x86_64'}, 'target')
        schema = q('query-qmp-schema')
        commands = {c['name'] for c in q('query-commands')}
        check(commands == {e['name'] for e in schema if e['meta-type'] == 'command'}, 'schema and query-commands differ')
        kvm = q('query-kvm')
        check(set(kvm) == {'enabled', 'present'}, kvm)
        types = {t['name'] for t in q('qom-list-types')}
        check({'tcg-accel', 'VGA', 'isa-serial', 'virtio-blk-pci', 'max-x86_64-cpu'} <= types, sorted(types))
        for t in PROBED_DEVICES:
            r = q.ask('device-list-properties', typename=t)
            check(('return' in r and all('name' in p for p in r['return'])) or r['error']['class'] == 'DeviceNotFound', t, r)
            check(('return' in r) == (t in types), t, 'listed as a type, or not')
        for t in PROBED_TYPES:
            check(all('name' in p and 'type' in p for p in q('qom-list-properties', typename=t)), t)
        machines = q('query-machines')
        check(sum(x.get('is-default', False) for x in machines) == 1, 'one default machine')
        check({x.get('alias') for x in machines} >= {'pc', 'q35'}, machines)
        check(all(set('cpu-max hotpluggable-cpus numa-mem-supported deprecated acpi'.split()) <= set(x) for x in machines), machines)
        models = q('query-cpu-definitions')
        check(all(x['typename'] == x['name'] + '-x86_64-cpu' and x['typename'] in types for x in models), models)
        for c in OPTIONAL:
            check(q.ask(c)['error']['class'] == 'CommandNotFound', c)
        options = {o['option']: {p['name'] for p in o['parameters']} for o in q('query-command-line-options')}
        check('hpet' in options['machine'] and 'maxcpus' in options['smp-opts'], options)
        check(all('capability' in c for c in q('query-migrate-capabilities')), 'migrate capabilities')
        started = time.time()
        m.p.terminate()
        check(m.p.wait(PATIENCE) == 0 and time.time() - started < PATIENCE, 'ends on SIGTERM with status 0')


# ---- media ----
def media(binary):
    """Trays, media, statistics, nodes that come and go."""
    with tempfile.TemporaryDirectory(prefix='menura-media.') as d:
        for name, size in (('a.iso', 1 << 20), ('b.iso', 2 << 20), ('d.img', 1 << 20)):
            with open(f'{d}/{name}', 'wb') as f:
                f.truncate(size)
        with Machine(binary, '-accel', 'tcg', '-nodefaults', '-drive', f'if=none,id=cd,media=cdrom,format=raw,file={d}/a.iso', '-device',
                     'ide-cd,drive=cd,id=cdrom0', '-blockdev', f'file,node-name=disk,filename={d}/d.img', '-device', 'virtio-blk-pci,drive=disk,id=vd') as m:
            change_media(m.qmp(), d)


def change_media(q, d):
    check(q.refused('blockdev-open-tray') == "Need exactly one of 'device' and 'id'", 'open-tray of nothing')
    q.refused('blockdev-open-tray', 'DeviceNotFound', id='nono')
    check('not removable' in q.refused('blockdev-open-tray', id='vd'), 'a hard disk has no tray')
    q.refused('eject', 'DeviceNotFound', device='disk')
    check('is not open' in q.refused('blockdev-remove-medium', id='cdrom0'), 'out of a closed tray')
    q('blockdev-open-tray', id='cdrom0')
    check(q.event('DEVICE_TRAY_MOVED') == {'device': 'cd', 'id': 'cdrom0', 'tray-open': True}, 'tray')
    q('blockdev-remove-medium', id='cdrom0')
    q('blockdev-add', **{'driver': 'file', 'node-name': 'new', 'filename': f'{d}/b.iso', 'read-only': True})
    check('not found' in q.refused('blockdev-insert-medium', id='cdrom0', node_name='nono'), 'no such node')
    check('in use' in q.refused('blockdev-insert-medium', id='cdrom0', node_name='disk'), 'a node that a disk has')
    q('blockdev-insert-medium', id='cdrom0', node_name='new')
    q('blockdev-close-tray', id='cdrom0')
    cd = [b for b in q('query-block') if b['qdev'] == 'cdrom0'][0]
    check(cd['inserted']['image']['virtual-size'] == 2 << 20 and cd['inserted']['node-name'] == 'new' and not cd['tray_open'], cd)
    check(q.refused('blockdev-del', node_name='new') == 'Node new is in use', 'a medium that is in')
    q('eject', id='cdrom0')
    q('blockdev-del', node_name='new')
    check(q.refused('blockdev-del', node_name='new') == "Failed to find node with node-name='new'", 'twice')
    q('blockdev-change-medium', id='cdrom0', filename=f'{d}/a.iso')
    check('No such file' in q.refused('blockdev-change-medium', id='cdrom0', filename='/nonexistent'), 'no such file')
    q('block_resize', node_name='disk', size=2 << 20)
    check(os.path.getsize(f'{d}/d.img') == 2 << 20, 'resized')
    stats = {s.get('qdev'): s['stats'] for s in q('query-blockstats')}
    check(stats['cdrom0']['rd_bytes'] == 0 and '/machine/peripheral/vd/virtio-backend' in stats, stats)
    check([s['node-name'] for s in q('query-blockstats', query_nodes=True)].count('disk') == 1, 'by node')
    check(q('human-monitor-command', command_line=f'drive_add 0 file={d}/b.iso,if=none,readonly=on,id=late,format=raw').strip() == 'OK', 'drive_add')
    check(q('human-monitor-command', command_line='device_add virtio-blk-pci,drive=late,id=vlate') == '', 'device_add of it')
    check([b for b in q('query-block') if b['device'] == 'late'][0]['qdev'] == '/machine/peripheral/vlate/virtio-backend', 'late')
    check("if=none" in q('human-monitor-command', command_line=f'drive_add 0 file={d}/b.iso,format=raw'), 'without if=none')
    text = q('human-monitor-command', command_line='info blockstats')
    check('cd: rd_bytes=0 wr_bytes=0' in text, text)
    q('human-monitor-command', command_line=f'change cd {d}/b.iso')
    check('b.iso' in q('human-monitor-command', command_line='info block cd'), 'change')


# ---- CPU models ----
def cpus(binary):
    """Models and their properties."""
    with Machine(binary, '-accel', 'tcg', '-nodefaults', '-cpu', 'EPYC,-sse4.2,+rdseed,model-id=Mine,family=6,vendor=GenuineIntel,check=off') as m:
        q = m.qmp()
        models = {x['name']: x for x in q('query-cpu-definitions')}
        check({'EPYC', 'EPYC-v4', 'Haswell-noTSX', 'Skylake-Server-v4', 'Cascadelake-Server', '486', 'max', 'host', 'base'} <= set(models), sorted(models))
        check(models['qemu64-v1']['unavailable-features'] == models['qemu64']['unavailable-features'], 'alias')
        check(models['486']['unavailable-features'] == [], '486')
        full = q('query-cpu-model-expansion', type='static', model={'name': 'max', 'props': {'migratable': False}})['model']
        check(full['name'] == 'base' and full['props']['sse2'] is True and full['props']['vmx'] is False and full['props']['migratable'] is False, full)
        check(q('query-cpu-model-expansion', type='full', model=full)['model'] == full, 'base with all that was said is the same')
        for name in models:
            r = q.ask('query-cpu-model-expansion', type='full', model={'name': name})
            check('return' in r if name != 'host' else r['error']['desc'] == "CPU model 'host' requires KVM", name, r)
        check(q.refused('query-cpu-model-expansion', type='full', model={'name': 'nono'}) == "unable to find CPU model 'nono'", 'no such model')
        check(q.refused('query-cpu-model-expansion', type='full', model={'name': 'max', 'props': {'nono': 1}}) == "Property 'max-x86_64-cpu.nono' not found", 'no such property')
        path = q('query-cpus-fast')[0]['qom-path']
        props = {p['name']: p['type'] for p in q('qom-list', path=path)}
        check(props['avx2'] == 'bool' and props['type'] == 'string', props)
        got = {n: q('qom-get', path=path, property=n) for n in ('sse4.2', 'rdseed', 'model-id', 'family', 'vendor', 'unavailable-features')}
        check('sse4a' in got.pop('unavailable-features'), got)
        check(got == {'sse4.2': False, 'rdseed': True, 'model-id': 'Mine', 'family': 6, 'vendor': 'GenuineIntel'}, got)
        for t in ('max-x86_64-cpu', 'EPYC-v4-x86_64-cpu'):
            check({'unavailable-features', 'x2apic', 'family'} <= {p['name'] for p in q('qom-list-properties', typename=t)}, t)
            check({'unavailable-features', 'x2apic'} <= {p['name'] for p in q('device-list-properties', typename=t)}, t)


# ---- oracle ----
class Schema:
    def __init__(self, entries):
        self.all = {e['name']: e for e in entries}

    def members(self, name):
        return {m['name']: m for m in self.all[name]['members']}

    def valid(self, v, name, where):
        """v fits type `name`; else a Failure that says where."""
        t = self.all[name]
        kind = t['meta-type']
        if kind == 'builtin':
            want = {'string': str, 'boolean': bool, 'int': int, 'number': (int, float), 'value': object, 'null': type(None)}[t['json-type']]
            check(isinstance(v, want) and (want is not int or not isinstance(v, bool)), where, v, 'is no', t['json-type'])
        elif kind == 'enum':
            check(v in t['values'], where, v, 'is none of', t['values'])
        elif kind == 'array':
            check(isinstance(v, list), where, 'is no list')
            for i, x in enumerate(v):
                self.valid(x, t['element-type'], f'{where}[{i}]')
        elif kind == 'object':
            self.valid_object(v, t, where)

    def valid_object(self, v, t, where):
        check(isinstance(v, dict), where, v, 'is no object')
        members = self.members(t['name'])
        if 'tag' in t:
            case = next((c['type'] for c in t['variants'] if c['case'] == v[t['tag']]), None)
            if case:
                members.update(self.members(case))
        for n, m in members.items():
            check(n in v or 'default' in m, where, 'lacks', n)
        for n, x in v.items():
            check(n in members, where, 'has', n, 'which QEMU does not know')
            self.valid(x, members[n]['type'], f'{where}.{n}')


# What QEMU has no name for; whose reply has no type here.
OURS = {'MENURA_AUTOPSY', 'query-qmp-schema', 'screen-text', 'screen-hash', 'screen-wait', 'screen-wait-cancel', 'SCREEN_WAIT',
        'query-snapshots'}
LOOSE = {'blockdev-create.options', 'blockdev-reopen.options[]', 'x-blockdev-amend.options'}  # objects whose members their driver reads


def compatible(ours, theirs, a, b, where, seen):
    """Each value of our type a is one of their type b."""
    if (a, b) in seen or where in LOOSE:
        return
    seen.add((a, b))
    x, y = ours.all[a], theirs.all[b]
    if y['meta-type'] == 'builtin' and y['json-type'] == 'value':
        return
    if x['meta-type'] == 'builtin' and y['meta-type'] == 'enum':
        return  # we take any text and refuse what we do not know
    if y['meta-type'] == 'alternate':
        return
    check(x['meta-type'] == y['meta-type'], where, x['meta-type'], 'is', y['meta-type'], 'in QEMU')
    if x['meta-type'] == 'enum':
        check(set(x['values']) <= set(y['values']), where, set(x['values']) - set(y['values']), 'not in QEMU')
    elif x['meta-type'] == 'array':
        compatible(ours, theirs, x['element-type'], y['element-type'], where + '[]', seen)
    elif x['meta-type'] == 'object':
        mine, his = ours.members(a), theirs.members(b)
        for n, m in mine.items():
            check(n in his, where, n, 'is not in QEMU')
            compatible(ours, theirs, m['type'], his[n]['type'], f'{where}.{n}', seen)
    elif x['meta-type'] == 'builtin':
        check(x['json-type'] == y['json-type'], where, x['json-type'], 'is', y['json-type'], 'in QEMU')


def find_qemu():
    q = shutil.which('qemu-system-x86_64')
    said = subprocess.run([q, '--version'], capture_output=True, text=True).stdout if q else ''
    if not re.match(r'QEMU emulator version 10\.', said):
        print('skipped: QEMU 10 is not installed')
        sys.exit(77)
    return q


def oracle(binary):
    args = ['-M', 'pc', '-accel', 'tcg', '-m', '64', '-smp', '2']
    with Machine(find_qemu(), *args) as theirs, Machine(binary, *args) as ours:
        t, o = theirs.qmp(), ours.qmp()
        ts, os_ = Schema(t('query-qmp-schema')), Schema(o('query-qmp-schema'))
        bad = []
        for e in os_.all.values():
            try:
                if e['meta-type'] not in ('command', 'event') or e['name'] in OURS:
                    continue
                check(e['name'] in ts.all, e['name'], 'is unknown to QEMU')
                y = ts.all[e['name']]
                compatible(os_, ts, e['arg-type'], y['arg-type'], e['name'], set())
                if 'ret-type' in e:
                    compatible(os_, ts, e['ret-type'], y['ret-type'], e['name'] + ' returns', set())
                    if e['name'].startswith('query-') and all('default' in m for m in os_.members(e['arg-type']).values()):
                        r = o.ask(e['name'])
                        if 'return' in r:
                            ts.valid(r['return'], y['ret-type'], e['name'])
                        else:
                            check('error' in t.ask(e['name']), e['name'], 'is refused by us alone:', r)
            except Failure as f:
                bad.append(str(f))
        check(not bad, '\n  '.join(['differences:'] + bad))


def main():
    binary, suite = sys.argv[1:3]
    try:
        {'session': session, 'terminal': terminal, 'fds': fds, 'probe': probe, 'media': media, 'cpus': cpus, 'oracle': oracle}[suite](binary)
    except (Failure, OSError) as f:
        sys.exit(f'FAIL {suite}: {f}')
    print('ok', suite)


main()
