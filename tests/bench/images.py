# SPDX-License-Identifier: MIT
"""The parts of scripts/bench that work on whole images: convert, compressed, empty, compare."""
import atexit
import mmap
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import result

DATA_MB = 1600  # of an image five times as large
MEMORY_MB = '<= 96'


def timed(command, limit=None):
    """
    One run: (wall time in ms, CPU time in ms, peak memory in MiB). With a limit, in ms, the run is one
    of several that are tried: None when it failed or took longer.
    """
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        timer = threading.Timer(limit / 1e3, process.kill) if limit else None
        if timer:
            timer.start()
        error = process.stderr.read()
        if timer:
            timer.cancel()
            timer.join()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - start
    if process.returncode and limit:
        return None
    if process.returncode:
        sys.exit(f"scripts/bench: '{' '.join(command)}' failed:\n{error.decode()}")
    return wall * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3, usage.ru_maxrss / 1024


def warm_memory(size):
    """
    A virtual machine gives free memory back to its host after a while, and who gets it anew pays for
    that with several times the time. Here it is paid for before a run, and what is freed last is
    given out first. Not by this process: what it ever used counts as its children's peak.
    """
    with open('/proc/meminfo', encoding='utf-8') as f:
        available = next(int(x.split()[1]) << 10 for x in f if x.startswith('MemAvailable:'))
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    child = os.fork()
    if child == 0:
        mmap.mmap(-1, min(size, available // 2), flags=flags).close()
        os._exit(0)
    os.waitpid(child, 0)


class Place:
    """A directory with source images, on a disk or in memory."""

    def __init__(self, name, directory, tools):
        self.name, self.directory = name, directory
        self.ours, self.qemu = tools
        self.target = f'{directory}/target.img'

    def path(self, name):
        return f'{self.directory}/{name}'

    def make(self, name, *command):
        """Unless it is there: `command`, which leaves it as its last argument says."""
        if not os.path.exists(self.path(name)):
            subprocess.run([*command, self.path(name) + '.new'], check=True)
            os.rename(self.path(name) + '.new', self.path(name))
        return self.path(name)

    def run(self, command, source, limit=None):
        """The target gone, nothing dirty, memory warm, the source in the page cache: the same for all."""
        if os.path.exists(self.target):
            os.unlink(self.target)
        os.sync()
        warm_memory((2 * DATA_MB) << 20)
        with open(source, 'rb') as f:
            offset = 0
            while True:
                try:
                    offset = os.lseek(f.fileno(), offset, os.SEEK_DATA)
                except OSError:
                    break
                offset += len(os.pread(f.fileno(), 1 << 20, offset)) or 1
        return timed(command, limit)

    def alternate(self, runs, source, *commands):
        """Runs the commands in turns of random order. For each: (medians, all wall times, all CPU times)."""
        results = [[] for _ in commands]
        turn = list(range(len(commands)))
        for _ in range(runs):
            random.shuffle(turn)
            for i in turn:
                results[i].append(self.run(commands[i], source))
        return [([statistics.median(c) for c in zip(*column)], [r[0] for r in column],
                 [r[1] for r in column]) for column in results]

    def best_flags(self, command, source):
        """
        Of qemu-img convert, by one run each: the cache modes first, then the parallelism. What takes three
        times as long as the best so far is not run to its end.
        """
        best = None
        for flags in ([], ['-t', 'writeback'], ['-t', 'none'], ['-T', 'none'],
                      ['-t', 'none', '-T', 'none']):
            best = self.faster(best, command, ['-W', '-m', '8', *flags], source)
        cache = best[1][3:]
        for parallel in (['-m', '1'], ['-m', '8'], ['-W', '-m', '4'], ['-W', '-m', '16']):
            best = self.faster(best, command, [*parallel, *cache], source)
        return best[1]

    def faster(self, best, command, flags, source):
        limit = 3 * best[0] + 500 if best else 600e3
        got = self.run([*command[:2], *flags, *command[2:]], source, limit)
        return (got[0], flags) if got and (not best or got[0] < best[0]) else best


def places(files, tools):
    """The disk, and memory if there is room."""
    found = [Place('disk', files, tools)]
    shm = '/dev/shm'
    if os.path.isdir(shm) and shutil.disk_usage(shm).free > 6 * DATA_MB << 20:
        directory = tempfile.mkdtemp(prefix='blkco-bench-', dir=shm)
        atexit.register(shutil.rmtree, directory, True)
        found.append(Place('tmpfs', directory, tools))
    else:
        print('\ntmpfs: left out, /dev/shm has not got the room')
    return found


def raw_image(place, files):
    """An ext4 image of this machine's own files."""
    name = f'ext4-{DATA_MB}.raw'
    if place.directory == files:
        if not os.path.exists(place.path(name)):
            subprocess.run(['scripts/make-image', place.path(name), str(DATA_MB),
                            str(5 * DATA_MB)], check=True)
        return place.path(name)
    return place.make(name, 'cp', '--sparse=always', f'{files}/{name}')


def converted(place, source, name, *options):
    return place.make(name, place.qemu, 'convert', '-f', 'raw', *options, source)


def compare_convert(place, runs, what, source, options, goals):
    """One kind of convert. goals: of the time beside the default and beside the best flags."""
    ours = [place.ours, 'convert', *options, source, place.target]
    qemu = [place.qemu, 'convert', *options, source, place.target]
    flags = place.best_flags(qemu, source)
    best = [*qemu[:2], *flags, *qemu[2:]]
    mine, default, tuned = place.alternate(runs, source, ours, qemu, best)
    sizes = []
    for command in (ours, best):
        place.run(command, source)
        sizes.append(os.path.getsize(place.target) / 1e6)
    os.unlink(place.target)
    result.header(f'{what}, {place.name}', 'qemu-img')
    if goals[0]:
        result.line('time, ms; default flags', mine[0][0], default[0][0], goals[0],
                    [mine[1], default[1]])
    result.line(f'time, ms; {" ".join(flags)}', mine[0][0], tuned[0][0], goals[1],
                [mine[1], tuned[1]])
    faster = default if default[0][0] < tuned[0][0] else tuned
    result.line('CPU time, ms; the faster of both', mine[0][1], faster[0][1], '<= 0.8',
                [mine[2], faster[2]])
    if '-c' in options:
        result.line('size of the file, MB', *sizes, '<= 1.0')
    result.bound('peak memory, MiB', mine[0][2], MEMORY_MB)


def bench_convert(runs, files, tools):
    for place in places(files, tools):
        raw = raw_image(place, files)
        qcow2 = converted(place, raw, f'{DATA_MB}.qcow2', '-O', 'qcow2')
        for source, fmt in (raw, 'raw'), (qcow2, 'qcow2'):
            for target in 'raw', 'qcow2':
                compare_convert(place, runs, f'convert {fmt} to {target}', source,
                                ['-f', fmt, '-O', target], ('<= 0.40', '<= 0.85'))


def bench_compressed(runs, files, tools):
    for place in places(files, tools):
        raw = raw_image(place, files)
        for kind, goal in ('zlib', '<= 0.22'), ('zstd', '<= 0.6'):
            option = f'compression_type={kind}'
            compare_convert(place, runs, f'convert -c, {kind}', raw,
                            ['-c', '-f', 'raw', '-O', 'qcow2', '-o', option], (None, goal))
            packed = converted(place, raw, f'{DATA_MB}-{kind}.qcow2', '-c', '-W', '-m', '8', '-O',
                               'qcow2', '-o', option)
            compare_convert(place, runs, f'convert compressed ({kind}) to raw', packed,
                            ['-f', 'qcow2', '-O', 'raw'], (None, '<= 0.55'))


def empty_image(place):
    """1 TiB with 64 KiB of data in each 16 GiB."""
    path = place.path('empty.raw')
    if not os.path.exists(path):
        with open(path, 'wb') as f:
            f.truncate(1 << 40)
            for i in range(64):
                f.seek((i << 34) + i * 196608)
                f.write(os.urandom(65536))
    return path


def bench_empty(runs, files, tools):
    place = Place('disk', files, tools)
    raw = empty_image(place)
    qcow2 = converted(place, raw, 'empty.qcow2', '-O', 'qcow2')
    for source, fmt in (raw, 'raw'), (qcow2, 'qcow2'):
        for target in 'raw', 'qcow2':
            args = ['convert', '-f', fmt, '-O', target, source, place.target]
            mine, default = place.alternate(runs, source, [place.ours, *args],
                                            [place.qemu, *args])
            os.unlink(place.target)
            result.header(f'1 TiB, mostly empty: {fmt} to {target}', 'qemu-img')
            result.line('time, ms; default flags', mine[0][0], default[0][0], '<= 0.3',
                        [mine[1], default[1]])
            result.bound('time, ms', mine[0][0], '<= 100')


def bench_compare(runs, files, tools):
    for place in places(files, tools):
        raw = raw_image(place, files)
        copy = place.make('copy.raw', 'cp', '--sparse=always', raw)
        qcow2 = converted(place, raw, f'{DATA_MB}.qcow2', '-O', 'qcow2')
        result.header(f'looking at images, {place.name}', 'qemu-img')
        for what, args in (
                ('compare raw, raw', ['compare', '-f', 'raw', '-F', 'raw', raw, copy]),
                ('compare raw, qcow2', ['compare', '-f', 'raw', '-F', 'qcow2', raw, qcow2]),
                ('map raw', ['map', '-f', 'raw', '--output=json', raw]),
                ('map qcow2', ['map', '-f', 'qcow2', '--output=json', qcow2]),
                ('check qcow2', ['check', '-f', 'qcow2', qcow2])):
            mine, default = place.alternate(runs, raw, [place.ours, *args], [place.qemu, *args])
            result.line(f'{what}: time, ms', mine[0][0], default[0][0], '<= 0.5',
                        [mine[1], default[1]])
            result.line(f'{what}: CPU time, ms', mine[0][1], default[0][1], None,
                        [mine[2], default[2]])
        os.unlink(copy)
