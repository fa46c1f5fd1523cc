#!/usr/bin/python3
"""Boots the default guest to user space and off again, in doppel and in QEMU TCG in turn, and compares processor
time and memory, both measured from outside. Usage: boot_bench.py [ROUNDS]"""
import os
import subprocess
import sys

GUESTS = os.environ.get("DOPPEL_GUESTS", "build/guests")
MEMORY = 512
ARGUMENTS = [
    "-m", str(MEMORY), "-kernel", f"{GUESTS}/cloud/vmlinuz", "-initrd", f"{GUESTS}/initramfs.gz",
    "-append", "console=ttyS0 panic=-1 doppel.poweroff", "-nographic", "-no-reboot",
]
COLUMNS = {"doppel": ["build/release/frontend/doppel"], "QEMU TCG": ["qemu-system-x86_64", "-accel", "tcg"]}


def boot(command):
    child = subprocess.Popen(["timeout", "600"] + command + ARGUMENTS, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0 or b"DOPPEL-USERSPACE-OK" not in output:
        sys.stderr.buffer.write(output[-2000:])
        sys.exit(f"\n{command[0]}: the guest did not reach user space (exit code {child.returncode})")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    best = {}
    for _ in range(rounds):
        for name, command in COLUMNS.items():
            seconds, mebibytes = boot(command)
            before = best.get(name, (seconds, mebibytes))
            best[name] = (min(seconds, before[0]), max(mebibytes, before[1]))
    print(f"boot of {open(GUESTS + '/cloud/version').read().strip()} to user space and off, best of {rounds}")
    for name, (seconds, mebibytes) in best.items():
        print(f"{name:10} {seconds:8.2f} s processor time {mebibytes:8.0f} MiB resident ({MEMORY} MiB of guest memory)")
    print(f"ratio      {best['doppel'][0] / best['QEMU TCG'][0]:8.2f}")


main()
