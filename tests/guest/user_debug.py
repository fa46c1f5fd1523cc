#!/usr/bin/python3
"""Runs user_debug.c on this machine and as the init of a Linux guest in every engine; both must print the same.

user_debug.py DOPPEL COMPILER       Exit code 77: no kernel ($DOPPEL_GUESTS), no static C library, no debug registers.
"""
import difflib
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
KERNEL = os.path.join(os.environ.get("DOPPEL_GUESTS", os.path.join(HERE, "../../build/guests")), "cloud/vmlinuz")


def skip(reason):
    print(reason)
    sys.exit(77)


def archive(program):
    """An initramfs (cpio, newc) with nothing but /init."""
    def entry(name, mode, content):
        fields = [0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        head += b"\0" * (-len(head) % 4)
        return head + content + b"\0" * (-len(content) % 4)
    return entry("init", 0o100755, program) + entry("TRAILER!!!", 0, b"")


def lines_of(output):
    lines = output.decode(errors="replace").replace("\r", "").splitlines()
    if "BEGIN" not in lines or "END" not in lines:
        sys.exit("the program did not end:\n" + "\n".join(lines[-30:]))
    seen = lines[lines.index("BEGIN"):lines.index("END")]
    return [line for line in seen if not line.startswith("[")]  # the kernel's


def run(command, seconds):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)


def main():
    doppel, compiler = sys.argv[1:3]
    if not os.path.exists(KERNEL):
        skip(f"{KERNEL} is missing: tests/guest/make_guests.sh makes it")
    with tempfile.TemporaryDirectory() as folder:
        program, initramfs = os.path.join(folder, "init"), os.path.join(folder, "initramfs")
        built = run([compiler, "-std=gnu17", "-O1", "-static", "-no-pie", "-Wall", "-Wextra", "-Werror", "-o", program,
                     os.path.join(HERE, "user_debug.c")], 120)
        if built.returncode:
            if b"cannot find -lc" in built.stderr:
                skip("no static C library")
            sys.exit(built.stderr.decode())
        host = lines_of(run([program], 120).stdout)
        if any("no debug registers" in line for line in host):
            skip("this machine gives no debug registers to ptrace")
        with open(program, "rb") as image, open(initramfs, "wb") as file:
            file.write(archive(image.read()))
        engines = run([doppel, "-accel", "help"], 60).stdout.decode().splitlines()
        for engine in [line.split()[0] for line in engines if line[:1].strip()]:
            guest = run([doppel, "-accel", engine, "-cpu", "host", "-m", "256", "-nographic", "-no-reboot", "-kernel", KERNEL,
                         "-initrd", initramfs, "-append", "console=ttyS0 panic=-1 quiet"], 300)
            seen = lines_of(guest.stdout)
            if seen != host:
                print(f"{engine}: the guest differs from this machine\n" +
                      "\n".join(difflib.unified_diff(host, seen, "machine", "guest", lineterm="", n=0)))
                sys.exit(1)
            print(f"ok      {engine}: {len(seen)} lines")


main()
