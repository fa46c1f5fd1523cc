#!/usr/bin/python3
"""User-level programs in a guest Linux: doppel beside QEMU TCG, native beside both. `guest_bench.py --help`.

The two guests run at the same time, and of the three columns always one works while the others sleep: every kernel goes
through native, TCG and doppel in turn, and that as many times as there are rounds. What counts is the host's processor
time of the emulator's process between the request and the answer; a guest's clock is not asked. Natively it is the user
and system time of the kernel's process and its children. Each number is the median of the rounds; checksums of what the
kernels computed must be the same in all columns and rounds.
"""
import argparse
import glob
import math
import os
import random
import select
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
GUESTS = os.environ.get("DOPPEL_GUESTS", "build/guests")
BUILD = os.environ.get("DOPPEL_BUILD", "build/release")
WORK = os.path.join(os.path.dirname(os.path.abspath(BUILD)), "bench")
ROOT = f"{WORK}/root"
MEMORY = "512"
EMULATORS = {"tcg": ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max"],
             "doppel": [f"{BUILD}/frontend/doppel", "-cpu", "max"]}
BOOT_SECONDS = 300
KERNEL_SECONDS = 120
COMPILE = ["gcc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-fno-math-errno", "-ffp-contract=off", "-static"]


class Failure(Exception):
    pass


# The guest's files.


def copy_file(source, name):
    target = f"{ROOT}/{name}"
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copy2(os.path.realpath(source), target)


def copy_program(source, name):
    """A program with its libraries, or nothing if the host does not have it."""
    if not source or not os.access(source, os.X_OK):
        return
    copy_file(source, name)
    listing = subprocess.run(["ldd", source], capture_output=True, text=True, check=False).stdout
    for word in listing.split():
        if word.startswith("/"):
            copy_file(word, word.lstrip("/"))


def write_text(path):
    """About 1.2 MB that compress as prose does."""
    numbers = random.Random(1)
    words = ["".join(numbers.choice("etaoinshrdlu") for _ in range(numbers.randint(2, 9))) for _ in range(3000)]
    with open(path, "w", encoding="ascii") as text:
        for _ in range(20000):
            line = [words[int(numbers.paretovariate(0.6)) % len(words)] for _ in range(numbers.randint(5, 14))]
            text.write(" ".join(line) + "\n")


def make_root():
    shutil.rmtree(ROOT, ignore_errors=True)
    for folder in ("bin", "data", "dev", "proc", "tmp"):
        os.makedirs(f"{ROOT}/{folder}")
    subprocess.run(COMPILE + ["-o", f"{ROOT}/bin/bench"] + sorted(glob.glob(f"{HERE}/programs/*.c")), check=True)
    os.symlink("bin/bench", f"{ROOT}/init")
    for line in subprocess.run([f"{ROOT}/bin/bench", "list"], capture_output=True, text=True, check=True).stdout.splitlines():
        path = line.split()[2:]
        if path:
            name = os.path.basename(path[0])
            if name == "cc1":
                source = subprocess.run(["gcc", "-print-prog-name=cc1"], capture_output=True, text=True, check=True).stdout.strip()
            else:
                source = f"/{path[0]}"
            copy_program(source, path[0])
    for folder in glob.glob("/usr/lib/python3.*/encodings"):
        shutil.copytree(folder, ROOT + folder, ignore=shutil.ignore_patterns("cp*", "mac*", "iso*", "*_codec*"))
    # Python looks for this file to know where its library is.
    for landmark in glob.glob("/usr/lib/python3.*/os.py"):
        copy_file(landmark, landmark.lstrip("/"))
        os.makedirs(f"{ROOT}{os.path.dirname(landmark)}/lib-dynload")
    for script in glob.glob(f"{HERE}/scripts/*"):
        copy_file(script, f"data/{os.path.basename(script)}")
    write_text(f"{ROOT}/data/text")
    subprocess.run(["gcc", "-std=gnu17", "-E", "-P", f"{HERE}/programs/integer.c", "-o", f"{ROOT}/data/work.i"], check=True)


def make_initramfs():
    names = sorted(os.path.relpath(os.path.join(folder, name), ROOT)
                   for folder, folders, files in os.walk(ROOT) for name in folders + files)
    with open(f"{WORK}/initramfs", "wb") as archive:
        subprocess.run(["cpio", "--quiet", "-R", "0:0", "-H", "newc", "-o"], cwd=ROOT, stdout=archive,
                       input="\n".join(names).encode(), check=True)


# The columns.


class Column:
    """A process that takes names of kernels and answers with checksums."""

    def __init__(self, name, command, directory):
        self.name = name
        self.transcript = b""
        self.pending = b""
        self.child = subprocess.Popen(command, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT)
        # Linux: the clock of another process's processor time is the complement of its number, shifted, and 2.
        self.clock = (~self.child.pid << 3) | 2

    def processor_seconds(self):
        return time.clock_gettime_ns(self.clock) / 1e9

    def answer(self, name, seconds):
        """Words after NAME of the next answer."""
        end = time.monotonic() + seconds
        while True:
            while b"\n" in self.pending:
                line, _, self.pending = self.pending.partition(b"\n")
                words = line.decode("latin-1").replace("\r", "").split()
                if words[:2] == ["BENCH", name] and len(words) == 5:
                    return words[2:]
            if not select.select([self.child.stdout], [], [], max(0, end - time.monotonic()))[0]:
                raise Failure(f"{self.name}: no answer to {name} in {seconds} s")
            data = os.read(self.child.stdout.fileno(), 65536)
            if not data:
                raise Failure(f"{self.name}: ended in {name}")
            self.pending += data
            self.transcript = (self.transcript + data)[-3000:]

    def run(self, name):
        """State ("ok", "unsupported", "failed"), checksum, processor seconds."""
        before = self.processor_seconds()
        self.child.stdin.write(name.encode() + b"\n")
        self.child.stdin.flush()
        state, checksum, nanoseconds = self.answer(name, KERNEL_SECONDS)
        used = self.processor_seconds() - before
        return state, checksum, int(nanoseconds) / 1e9 if self.name == "native" else used

    def translation(self):
        """Guest instructions that doppel's translator made host code of so far, and nanoseconds for each."""
        self.child.stdin.write(b"\x01cinfo jit\n\x01c")
        self.child.stdin.flush()
        while True:
            while b"\n" in self.pending:
                line, _, self.pending = self.pending.partition(b"\n")
                words = line.decode("latin-1").split()
                if words[:2] == ["blocks", "translated"]:
                    return int(words[4]), int(words[6])
            if not select.select([self.child.stdout], [], [], 10)[0]:
                raise Failure(f"{self.name}: the monitor does not answer")
            data = os.read(self.child.stdout.fileno(), 65536)
            if not data:
                raise Failure(f"{self.name}: ended in the monitor")
            self.pending += data

    def memory(self):
        """Bytes that the process holds now beside the guest's RAM: pages that it shares with others by their part, so that
        code memory, which doppel maps twice, counts once. The RAM is the mapping of just that size."""
        used, size, ram = 0, 0, False
        with open(f"/proc/{self.child.pid}/smaps", encoding="ascii", errors="replace") as maps:
            for line in maps:
                words = line.split()
                if words[0] == "Size:":
                    size = int(words[1])
                elif words[0] == "Pss:" and size != int(MEMORY) << 10 and not ram:
                    used += int(words[1]) << 10
                elif "-" in words[0] and not words[0].endswith(":"):
                    ram = "doppel-memory" in line
        return used

    def stop(self):
        self.child.kill()
        self.child.wait()
        self.child.stdin.close()
        self.child.stdout.close()


def guest_command(emulator, kernel, initrd, append):
    return EMULATORS[emulator] + ["-m", MEMORY, "-kernel", f"{GUESTS}/{kernel}/vmlinuz", "-initrd", initrd, "-append",
                                  f"console=ttyS0 quiet panic=-1 {append}", "-nographic", "-no-reboot"]


def boot_seconds(emulator):
    """Processor time of a boot of the distribution's kernel to user space and off."""
    command = guest_command(emulator, "full", f"{GUESTS}/initramfs.gz", "doppel.poweroff")
    before = os.times()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=BOOT_SECONDS, check=False)
    after = os.times()
    state = "ok" if done.returncode == 0 and b"DOPPEL-USERSPACE-OK" in done.stdout else "failed"
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return state, "boot", used


# Results.


class Results:
    def __init__(self):
        self.groups = {}
        self.seconds = {}
        self.memory = {}
        self.translation = None
        self.problems = []

    def add(self, group, name, column, outcome, expected):
        state, checksum, used = outcome
        if state == "failed":
            self.problems.append(f"{name}: failed in {column}")
        if state != "ok":
            return
        if expected.setdefault(name, checksum) != checksum:
            self.problems.append(f"{name}: {column} computed {checksum}, another column {expected[name]}")
        self.groups.setdefault(group, [])
        if name not in self.groups[group]:
            self.groups[group].append(name)
        self.seconds.setdefault((name, column), []).append(used)

    def median(self, name, column):
        values = self.seconds.get((name, column))
        return statistics.median(values) if values else None

    def ratio(self, name, over, under):
        a, b = self.median(name, over), self.median(name, under)
        return a / b if a and b else None

    def group_ratio(self, group, over, under):
        ratios = [r for r in (self.ratio(name, over, under) for name in self.groups[group]) if r]
        return math.exp(statistics.fmean(map(math.log, ratios))) if ratios else None


def cell(value, form="{:.2f}"):
    return "" if value is None else form.format(value)


def print_table(head, rows):
    widths = [max(len(row[i]) for row in [head] + rows) for i in range(len(head))]
    print("| " + " | ".join(text.ljust(width) if i == 0 else text.rjust(width) for i, (text, width) in enumerate(zip(head, widths))) + " |")
    print("|" + "|".join("-" * (width + 1) + (":" if i else "-") for i, width in enumerate(widths)) + "|")
    for row in rows:
        print("| " + " | ".join(text.ljust(width) if i == 0 else text.rjust(width) for i, (text, width) in enumerate(zip(row, widths))) + " |")


RATIOS = (("tcg", "doppel"), ("doppel", "native"), ("tcg", "native"))


def report(results):
    head = ["group", "kernels", "TCG / doppel", "doppel / native", "TCG / native"]
    print_table(head, [[group, str(len(names))] + [cell(results.group_ratio(group, *r)) for r in RATIOS]
                       for group, names in results.groups.items()])
    print()
    head = ["kernel", "native ms", "TCG ms", "doppel ms", "TCG / doppel", "doppel / native", "TCG / native"]
    rows = []
    for names in results.groups.values():
        for name in names:
            times = [results.median(name, column) for column in ("native", "tcg", "doppel")]
            rows.append([name] + [cell(t and t * 1e3, "{:.1f}") for t in times] + [cell(results.ratio(name, *r)) for r in RATIOS])
    print_table(head, rows)
    for name, used in results.memory.items():
        # Both keep what the guest boots from, for a reset.
        files = os.path.getsize(f"{WORK}/initramfs") + os.path.getsize(f"{GUESTS}/cloud/vmlinuz")
        print(f"\nmemory of {name} beside the guest's RAM and boot files, after all of it: {used - files >> 20} MiB", end="")
    if results.translation:
        print("\ntranslation by doppel: {} guest instructions, {} ns each".format(*results.translation), end="")
    print()


def measure_kernels(kernels, rounds, results):
    columns = []
    expected = {}
    try:
        columns.append(Column("native", ["bin/bench", "serve"], ROOT))
        for emulator in EMULATORS:
            columns.append(Column(emulator, guest_command(emulator, "cloud", f"{WORK}/initramfs", ""), None))
        for column in columns:
            column.answer("ready", BOOT_SECONDS)
        for group, name in kernels:
            for _ in range(rounds):
                for column in columns:
                    outcome = column.run(name)
                    if outcome[0] == "failed":
                        sys.stderr.write(f"\n{column.name}: {name} failed\n{column.transcript.decode('latin-1')}\n")
                    results.add(group, name, column.name, outcome, expected)
            print(".", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        results.translation = next(column for column in columns if column.name == "doppel").translation()
        results.memory = {column.name: column.memory() for column in columns if column.name != "native"}
    except KeyboardInterrupt:
        results.problems.append("interrupted: what is missing was not measured")
    except Failure as failure:
        results.problems.append(str(failure))
        for column in columns:
            if str(failure).startswith(column.name + ":"):
                sys.stderr.write(column.transcript.decode("latin-1") + "\n")
    finally:
        for column in columns:
            column.stop()


def machine():
    fields = {}
    with open("/proc/cpuinfo", encoding="latin-1") as info:
        for line in info:
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    load = os.getloadavg()[0]
    return (f"{os.cpu_count()} processors, {fields.get('vendor_id')} family {fields.get('cpu family')} model {fields.get('model')}, "
            f"{fields.get('model name')}; load at the start {load:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="times that each kernel runs in each column (default 3)")
    parser.add_argument("--no-boot", action="store_true", help="do not measure the boot of the full kernel")
    parser.add_argument("names", nargs="*", help="groups or kernels (default all; boot is a group)")
    arguments = parser.parse_args()
    started = time.monotonic()
    print(f"{machine()}; {arguments.rounds} rounds\n", flush=True)
    make_root()
    make_initramfs()
    listing = subprocess.run([f"{ROOT}/bin/bench", "list"], capture_output=True, text=True, check=True).stdout
    everything = [tuple(line.split()[:2]) for line in listing.splitlines()]
    order = list(dict.fromkeys(group for group, _ in everything))
    everything.sort(key=lambda kernel: order.index(kernel[0]))
    unknown = set(arguments.names) - {word for kernel in everything for word in kernel} - {"boot"}
    if unknown:
        parser.error(f"no group or kernel {' '.join(sorted(unknown))}")
    kernels = [k for k in everything if not arguments.names or set(k) & set(arguments.names)]
    results = Results()
    if kernels:
        measure_kernels(kernels, arguments.rounds, results)
    if not arguments.no_boot and (not arguments.names or "boot" in arguments.names):
        for _ in range(arguments.rounds):
            for emulator in EMULATORS:
                results.add("boot", "linux-image-amd64", emulator, boot_seconds(emulator), {})
    report(results)
    print(f"\n{time.monotonic() - started:.0f} s")
    for problem in dict.fromkeys(results.problems):
        print(f"FAILED: {problem}")
    sys.exit(1 if results.problems else 0)


main()
