# SPDX-License-Identifier: MIT
"""Instructions of this program that one request takes, counted by valgrind's callgrind: unlike
times they do not depend on what else the machine does. Two runs that differ only in the number of
requests are subtracted, so that start and end do not count."""
import re
import subprocess

FEW, MANY = 2000, 12000


def count(output, requests, program, *args):
    command = ['valgrind', '--tool=callgrind', f'--callgrind-out-file={output}', program,
               'bench', '-c', str(requests), *args]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found = re.search(r'Collected : (\d+)', done.stdout)
    if done.returncode or not found:
        raise RuntimeError(f"'{' '.join(command)}' failed:\n{done.stdout}")
    return int(found.group(1))


def per_request(output, program, *args):
    """Of `program bench ARGS`, its own loop included. `output` is a file for callgrind."""
    return (count(output, MANY, program, *args) - count(output, FEW, program, *args)) / (
        MANY - FEW)


def table(output, program, raw, qcow2):
    """(what, instructions a request, how many it may be) for each kind of request. raw and qcow2:
    images with data, which stays data. Under valgrind the native engine asks for completions by
    system call, which adds a few instructions."""
    direct = ['-t', 'none', '-i', 'native']
    for what, most_read, most_write, args in (
            ('null-co', 560, 860, ['-f', 'raw', 'null-co://']),
            ('raw, Linux AIO', 1000, 1340, [*direct, '-f', 'raw', raw]),
            ('qcow2, Linux AIO', 1130, 1530, [*direct, '-f', 'qcow2', qcow2])):
        for verb, most, flags in (('read', most_read, []),
                                  ('write', most_write, ['-w', '--pattern=170'])):
            yield (f'{what}: {verb}', per_request(output, program, *flags, '-d', '64', *args),
                   most)
