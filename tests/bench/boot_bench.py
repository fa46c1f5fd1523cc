#!/usr/bin/python3
"""What doppel costs, measured from outside the guest and beside QEMU TCG in the same run. Usage: boot_bench.py [ROUNDS]

Boot: processor time from start to power-off of the default guest, all columns in turn, the best of ROUNDS.
Memory: the most that is resident besides guest RAM (anonymous and file pages; guest RAM is shared memory).
Instructions: small guests of tests/guest/small stopped by -limit at two counts; the difference is what is measured.
"""
import os
import subprocess
import sys
import tempfile
import time

GUESTS = os.environ.get("DOPPEL_GUESTS", "build/guests")
BUILD = os.environ.get("DOPPEL_BUILD", "build/release")
DOPPEL = f"{BUILD}/frontend/doppel"
SMALL = f"{BUILD}/tests/guest"
MEMORY = 512
BOOT = ["-m", str(MEMORY), "-kernel", f"{GUESTS}/cloud/vmlinuz", "-initrd", f"{GUESTS}/initramfs.gz",
        "-append", "console=ttyS0 panic=-1 doppel.poweroff", "-nographic", "-no-reboot"]
SECONDS = 600
COLD_INSTRUCTIONS = 1200000


def engines():
    text = subprocess.run([DOPPEL, "-accel", "help"], capture_output=True, text=True, timeout=60, check=True).stdout
    return [line.split()[0] for line in text.splitlines() if line[:1].strip()]


def resident(pid):
    """MiB of anonymous and file pages, and of shared memory."""
    fields = {}
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                name, _, value = line.partition(":")
                if name.startswith("Rss"):
                    fields[name] = int(value.split()[0]) / 1024
    except OSError:
        pass
    return fields.get("RssAnon", 0) + fields.get("RssFile", 0), fields.get("RssShmem", 0)


def run(command, marker=None):
    """Processor seconds, most MiB beside shared memory, most MiB of shared memory."""
    most = shared = 0
    start = time.monotonic()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - start > SECONDS:
                child.kill()
            own, guest = resident(child.pid)
            most, shared = max(most, own), max(shared, guest)
            time.sleep(0.02)
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if child.returncode != 0 or (marker and marker not in text):
        sys.stderr.buffer.write(text[-2000:])
        sys.exit(f"\n{' '.join(command[:3])}: failed (exit code {child.returncode})")
    return usage.ru_utime + usage.ru_stime, most, shared


def boots(rounds, names):
    columns = {f"doppel {name}": [DOPPEL, "-accel", name] for name in names}
    # Guest RAM in shared memory, as doppel has it, so that the two can be told apart.
    columns["QEMU TCG"] = ["qemu-system-x86_64", "-accel", "tcg", "-object",
                           f"memory-backend-memfd,id=ram,size={MEMORY}M,share=on", "-machine", "memory-backend=ram"]
    seconds, memory = {}, {}
    for _ in range(rounds):
        for name, command in columns.items():
            used, most, shared = run(command + BOOT, b"DOPPEL-USERSPACE-OK")
            seconds[name] = min(used, seconds.get(name, used))
            memory[name] = max((most, shared), memory.get(name, (0, 0)))
    with open(f"{GUESTS}/cloud/version") as version:
        print(f"boot of {version.read().strip()} to user space and off, {MEMORY} MiB, best of {rounds}")
    print(f"{'':16} {'CPU time':>10} {'ratio':>8} {'memory beside guest RAM':>26}")
    for name in columns:
        print(f"{name:16} {seconds[name]:8.2f} s {seconds[name] / seconds['QEMU TCG']:8.2f} {memory[name][0]:22.0f} MiB")


def to_limit(engine, image, limit, rounds):
    command = [DOPPEL, "-accel", engine, "-m", "64", "-display", "none", "-serial", "null", "-bios",
               f"{SMALL}/{image}.64.bin", "-limit", str(limit)]
    return min(run(command)[0] for _ in range(rounds))


def instructions(rounds, names):
    print("\ntime of one guest instruction, long mode")
    print(f"{'':16} {'repeated':>10} {'first':>10}")
    for name in names:
        few, many = 20000000, 320000000
        repeated = (to_limit(name, "bench_hot", many, rounds) - to_limit(name, "bench_hot", few, rounds)) / (many - few)
        # Before the straight line come 60,000 short copies: some instructions each.
        start, length = 600000, 1000000
        first = (to_limit(name, "bench_cold", start + length, 2 * rounds) - to_limit(name, "bench_cold", start, 2 * rounds)) / length
        print(f"doppel {name:9} {repeated * 1e9:7.1f} ns {first * 1e9:7.1f} ns")


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    names = engines()
    boots(rounds, names)
    instructions(rounds, names)


main()
