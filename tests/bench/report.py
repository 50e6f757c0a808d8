# SPDX-License-Identifier: MIT
"""usage: scripts/bench [--runs=N] [NAME...]

Measures, and prints one line for each figure: ours, the reference's, the ratio, the goal.
Names (default: all):
  direct     4 KiB reads, O_DIRECT and Linux AIO, depths 32 and 128, against a bare
             io_submit/io_getevents loop (tests/bench/bench-aio-bare.c)
  null       null-co at depth 64 against the system's qemu-img bench
  convert    an ext4 image to a raw file against the system's qemu-img convert
  qcow2      qcow2 on O_DIRECT and Linux AIO, depth 32: reads, overwrites and sequential
             allocating writes against raw in the same program; allocating writes against
             the system's qemu-img bench
  coroutine  switch and create, each backend, pinned to one core
Every figure is the median of N runs (default 5) in which ours and the reference alternate.
Nothing else should run on the machine. Files are made in build-bench/bench/ (up to 2 GB).
"""
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time

BUILD = 'build-bench'
OURS = f'{BUILD}/qemu-img-mini/qemu-img-mini'
BLOCK = f'{BUILD}/tests/bench/bench-block'
BARE = f'{BUILD}/tests/bench/bench-aio-bare'
COROUTINE = f'{BUILD}/tests/bench/bench-coroutine'
QEMU = shutil.which('qemu-img')
FILES = f'{BUILD}/bench'


def run(*command, **kwargs):
    """Runs a command: (its output, wall time in s, CPU time in s)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          **kwargs)
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"scripts/bench: '{' '.join(command)}' failed:\n{done.stdout}")
    return done.stdout, wall, (after.ru_utime - before.ru_utime +
                               after.ru_stime - before.ru_stime)


def requests(count, *command):
    """A run of `count` requests: (requests a second, CPU ns a request). The time is
    what the program itself measures, from the first request to the last."""
    output, _, cpu = run(*command)
    seconds = float(re.search(r'completed in ([\d.]+) seconds', output).group(1))
    return count / seconds, cpu / count * 1e9


def alternate(runs, *sides):
    """Runs the sides in turn; the medians of each side's figures."""
    results = [[] for _ in sides]
    for _ in range(runs):
        for side, result in zip(sides, results):
            result.append(side())
    return [[statistics.median(column) for column in zip(*result)] for result in results]


def line(what, ours, reference, goal=None):
    """goal: '>= 0.95' or '<= 1.25', of the ratio ours / reference."""
    ratio = ours / reference
    text = f'{what:<44}{ours:>12,.1f}{reference:>12,.1f}{ratio:>8.2f}'
    if goal:
        sign, bound = goal.split()
        met = ratio >= float(bound) if sign == '>=' else ratio <= float(bound)
        text += f'  {goal} {"met" if met else "MISSED"}'
    print(text, flush=True)


def header(what, reference):
    print(f'\n{what:<44}{"blkco":>12}{reference:>12}{"ratio":>8}  goal', flush=True)


def data_file(path, size):
    """Really written, as the kernel serves holes and unwritten extents without the disk."""
    if os.path.exists(path) and os.path.getsize(path) == size:
        return
    block = os.urandom(1 << 20)
    with open(path, 'wb') as f:
        for _ in range(size >> 20):
            f.write(block)
        os.fsync(f.fileno())


def bench_direct(runs):
    path = f'{FILES}/direct.img'
    data_file(path, 1 << 30)
    header('O_DIRECT, Linux AIO, 4 KiB reads', 'bare AIO')
    for depth in 32, 128:
        # So many requests as take about 1.5 s.
        rate, _ = requests(20000, BARE, '-c', '20000', '-d', str(depth), path)
        count = max(1000, int(rate * 1.5))
        args = ['-c', str(count), '-d', str(depth)]
        ours, bare = alternate(
            runs,
            lambda: requests(count, OURS, 'bench', *args, '-f', 'raw', '-t', 'none',
                             '-i', 'native', path),
            lambda: requests(count, BARE, *args, path))
        line(f'depth {depth}: requests a second', ours[0], bare[0], '>= 0.95')
        line(f'depth {depth}: CPU time a request, ns', ours[1], bare[1], '<= 1.25')


def bench_null(runs):
    header('null-co, depth 64', 'qemu-img')
    count = 2000000
    args = ['bench', '-c', str(count), '-d', '64', '--image-opts', 'driver=null-co,size=1G']
    ours, qemu = alternate(runs, lambda: requests(count, OURS, *args),
                           lambda: requests(count, QEMU, *args))
    line('time a request, ns', 1e9 / ours[0], 1e9 / qemu[0], '<= 0.35')
    line('CPU time a request, ns', ours[1], qemu[1])


def fresh(path, *options):
    """A new qcow2 image without data; raw without options."""
    if os.path.exists(path):
        os.unlink(path)
    if options:
        run(OURS, 'create', '-q', '-f', 'qcow2', '-o', ','.join(options), path, '1G')
    else:
        with open(path, 'wb') as f:
            f.truncate(1 << 30)
    os.sync()


def direct_options(fmt, path):
    return (f'driver={fmt},file.driver=file,file.filename={path},file.aio=native,'
            'cache.direct=on')


def bench_qcow2(runs):
    raw, qcow2, new = (f'{FILES}/{name}' for name in ('direct.img', 'full.qcow2', 'new.img'))
    data_file(raw, 1 << 30)
    if not os.path.exists(qcow2):
        # Copied once more, so that both files were written from front to end: how the file
        # system places a file makes more of a difference than the format.
        run(OURS, 'convert', '-f', 'raw', '-O', 'qcow2', raw, new)
        with open(new, 'rb') as source, open(qcow2, 'wb') as f:
            shutil.copyfileobj(source, f, 1 << 20)
            os.fsync(f.fileno())
    full_raw, full_qcow2 = direct_options('raw', raw), direct_options('qcow2', qcow2)
    header('O_DIRECT, Linux AIO, depth 32', 'raw')
    for what, flags in ('random 4 KiB reads', ['-r']), ('random 4 KiB overwrites', ['-r', '-w']):
        rate, _ = requests(5000, BLOCK, *flags, '-c', '5000', full_raw)
        count = max(1000, int(rate * 1.5))
        args = [*flags, '-c', str(count)]
        ours, theirs = alternate(runs, lambda: requests(count, BLOCK, *args, full_qcow2),
                                 lambda: requests(count, BLOCK, *args, full_raw))
        line(f'{what}: requests a second', ours[0], theirs[0], '>= 0.95')
        line(f'{what}: CPU time a request, ns', ours[1], theirs[1])

    def first_writes(fmt):
        fresh(new, *(['cluster_size=64k'] if fmt == 'qcow2' else []))
        return requests(8192, BLOCK, '-w', '-s', '65536', '-c', '8192', direct_options(fmt, new))

    ours, theirs = alternate(runs, lambda: first_writes('qcow2'), lambda: first_writes('raw'))
    line('sequential allocating 64 KiB: requests/s', ours[0], theirs[0], '>= 0.9')

    def allocating(tool):
        fresh(new, 'cluster_size=64k')
        return requests(4096, tool, 'bench', '-w', '-t', 'none', '-i', 'native', '-d', '32', '-s',
                        '4096', '-S', '65536', '-c', '4096', '-f', 'qcow2', new)

    header('allocating 4 KiB writes, depth 32', 'qemu-img')
    ours, theirs = alternate(runs, lambda: allocating(OURS), lambda: allocating(QEMU))
    line('requests a second', ours[0], theirs[0], '>= 1.5')
    os.unlink(new)


def bench_convert(runs):
    source, target = f'{FILES}/disk.img', f'{FILES}/copy.img'
    if not os.path.exists(source):
        run('scripts/make-image', source, '300', '2048')

    def convert(tool, *cache):
        if os.path.exists(target):
            os.unlink(target)
        os.sync()
        _, wall, cpu = run(tool, 'convert', '-f', 'raw', '-O', 'raw', *cache, source, target)
        return wall * 1e3, cpu * 1e3

    header('convert, ext4 image of 2 GiB, 300 MiB used', 'qemu-img')
    for name, cache in ('cached', ()), ('direct', ('-t', 'none', '-T', 'none')):
        ours, qemu = alternate(runs, lambda: convert(OURS, *cache),
                               lambda: convert(QEMU, *cache))
        line(f'{name}: time, ms', ours[0], qemu[0])
        line(f'{name}: CPU time, ms', ours[1], qemu[1])
    os.unlink(target)


def bench_coroutine(runs):
    core = str(max(os.sched_getaffinity(0)))
    print(f'\ncoroutines, pinned to CPU {core}', flush=True)
    print(run('taskset', '-c', core, COROUTINE)[0], end='')


def machine():
    def first(pattern, path):
        with open(path, encoding='utf-8') as f:
            found = re.search(pattern, f.read(), re.M)
        return found.group(1) if found else '?'

    def version(*command):
        try:
            return run(*command)[0].splitlines()[0]
        except FileNotFoundError:
            return f'no {command[0]}'

    uname = os.uname()
    print(f"machine   {first(r'^model name.*: (.*)', '/proc/cpuinfo')}, "
          f'{os.cpu_count()} CPUs, {uname.machine}')
    print(f"system    {first(r'^PRETTY_NAME=.(.*).$', '/etc/os-release')}, "
          f'kernel {uname.release}, load {os.getloadavg()[0]:.1f}')
    print(f"compared  {version(OURS, '--version')}; {version('qemu-img', '--version')}; "
          f"{version('cc', '--version')}")


def main(args):
    names = {'direct': bench_direct, 'null': bench_null, 'convert': bench_convert,
             'qcow2': bench_qcow2, 'coroutine': bench_coroutine}
    runs = 5
    chosen = []
    check = args[:1] == ['--check']  # of scripts/bench, before it builds: the arguments only
    for arg in args[check:]:
        if arg in ('-h', '--help'):
            print(__doc__, end='')
            return 0
        if re.fullmatch(r'--runs=[1-9]\d*', arg):
            runs = int(arg.partition('=')[2])
        elif arg in names:
            chosen.append(arg)
        else:
            print(f"scripts/bench: unknown argument '{arg}'\n{__doc__}", end='', file=sys.stderr)
            return 2
    if check:
        return 0
    if not QEMU and set(chosen or names) & {'null', 'convert', 'qcow2'}:
        print('scripts/bench: null, convert and qcow2 need qemu-img; install it, or name others',
              file=sys.stderr)
        return 1
    os.makedirs(FILES, exist_ok=True)
    machine()
    for name in chosen or names:
        names[name](runs)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
