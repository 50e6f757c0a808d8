# SPDX-License-Identifier: MIT
"""usage: scripts/bench [--runs=N] [--data=MB] [NAME...]

Measures, and prints one line for each figure: ours, the reference's, the ratio, the goal.
Names (default: all):
  direct     4 KiB reads, O_DIRECT and Linux AIO, depths 32 and 128, against a bare
             io_submit/io_getevents loop (tests/bench/bench-aio-bare.c)
  null       null-co at depths 64 and 1 against the system's qemu-img bench
  convert    raw and qcow2 to raw and qcow2, an ext4 image with 1600 MiB of data in 8000 (or
             --data, five times as large) on a disk and on tmpfs, against the system's qemu-img
             convert with its default flags and with those that turn out best
  compressed convert -c, and compressed images to raw, likewise
  empty      convert of 1 TiB that is mostly empty
  compare    compare, map and check of such images
  qcow2      qcow2 on O_DIRECT and Linux AIO, depth 32: reads, overwrites and sequential
             allocating writes against raw in the same program; allocating writes against
             the system's qemu-img bench
  coroutine  switch and create, each backend, pinned to one core
  instructions  what one request takes, counted by valgrind
Every figure is the median of N runs (default 5) in which ours and the reference alternate. Before each
run on an image its target is deleted, memory taken and given back, and its source read, so that a
virtual machine has it from its host already.
Nothing else should run on the machine. Files are made in build-bench/bench/ and, while it runs,
in /dev/shm (up to 8 GB each). The figures are also written to build/bench.json and build/bench.html.
"""
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time

import images
import instructions
import result
from result import header, line

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
        line(f'depth {depth}: requests a second', ours[0], bare[0], '>= 0.97')
        line(f'depth {depth}: CPU time a request, ns', ours[1], bare[1], '<= 1.15')


def bench_null(runs):
    header('null-co', 'qemu-img')
    count = 2000000
    for depth, goal in (64, '<= 0.12'), (1, '<= 0.15'):
        args = ['bench', '-c', str(count), '-d', str(depth), '--image-opts',
                'driver=null-co,size=1G']
        ours, qemu = alternate(runs, lambda: requests(count, OURS, *args),
                               lambda: requests(count, QEMU, *args))
        line(f'depth {depth}: time a request, ns', 1e9 / ours[0], 1e9 / qemu[0], goal)
        line(f'depth {depth}: CPU time a request, ns', ours[1], qemu[1])


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
        line(f'{what}: requests a second', ours[0], theirs[0], '>= 0.97')
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


def bench_coroutine(runs):
    core = str(max(os.sched_getaffinity(0)))
    print(f'\ncoroutines, pinned to CPU {core}', flush=True)
    print(run('taskset', '-c', core, COROUTINE)[0], end='')


def bench_instructions(runs):
    """Counted, so that one run will do."""
    raw, qcow2 = f'{FILES}/small.img', f'{FILES}/small.qcow2'
    data_file(raw, 64 << 20)
    run(OURS, 'convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2)
    header('Instructions a request, depth 64', '')
    for what, figure, most in instructions.table(f'{FILES}/callgrind.out', OURS, raw, qcow2):
        result.bound(what, figure, f'<= {most}')


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
    return (f"machine   {first(r'^model name.*: (.*)', '/proc/cpuinfo')}, "
            f'{os.cpu_count()} CPUs, {uname.machine}\n'
            f"system    {first(r'^PRETTY_NAME=.(.*).$', '/etc/os-release')}, "
            f'kernel {uname.release}, load {os.getloadavg()[0]:.1f}\n'
            f"compared  {version(OURS, '--version')}; {version('qemu-img', '--version')}; "
            f"{version('cc', '--version')}")


def of_images(part):
    return lambda runs: part(runs, FILES, (OURS, QEMU))


def main(args):
    names = {'direct': bench_direct, 'null': bench_null,
             'convert': of_images(images.bench_convert),
             'compressed': of_images(images.bench_compressed),
             'empty': of_images(images.bench_empty), 'compare': of_images(images.bench_compare),
             'qcow2': bench_qcow2, 'coroutine': bench_coroutine,
             'instructions': bench_instructions}
    runs = 5
    chosen = []
    check = args[:1] == ['--check']  # of scripts/bench, before it builds: the arguments only
    for arg in args[check:]:
        if arg in ('-h', '--help'):
            print(__doc__, end='')
            return 0
        if re.fullmatch(r'--runs=[1-9]\d*', arg):
            runs = int(arg.partition('=')[2])
        elif re.fullmatch(r'--data=[1-9]\d*', arg):
            images.DATA_MB = int(arg.partition('=')[2])
        elif arg in names:
            chosen.append(arg)
        else:
            what = (f"{arg.partition('=')[0]}=N takes a whole number from 1 on, not '{arg}'"
                    if arg.partition('=')[0] in ('--runs', '--data') else f"unknown argument '{arg}'")
            print(f'scripts/bench: {what}\n{__doc__}', end='', file=sys.stderr)
            return 2
    if check:
        return 0
    if not QEMU and set(chosen or names) - {'direct', 'coroutine'}:
        print('scripts/bench: all but direct and coroutine need qemu-img; install it, or name others',
              file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is in memory goes
    os.makedirs(FILES, exist_ok=True)
    about = machine()
    print(about)
    for name in chosen or names:
        names[name](runs)
    result.write('build', about)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
