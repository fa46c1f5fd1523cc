#!/usr/bin/python3
"""The program as a user starts it: bad input gives one clear line and exit code 1, small guests give their exit codes.

usage: cli_test.py PATH_OF_DOPPEL
"""
import os
import re
import subprocess
import sys
import tempfile

DOPPEL = sys.argv[1] if len(sys.argv) > 1 else "build/release/frontend/doppel"
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
failures = 0


def run(arguments, stdin=b"", timeout=60, **environment):
    return subprocess.run([DOPPEL] + arguments, input=stdin, capture_output=True, timeout=timeout,
                          env=dict(os.environ, **environment))


def check(condition, what):
    global failures
    if not condition:
        failures += 1
        print("FAILED: " + what)


def bad(arguments, *words, **environment):
    """One line on stderr that names the words, nothing on stdout, exit code 1."""
    result = run(arguments, **environment)
    text = result.stderr.decode()
    what = "%s: exit code %d, stdout %r, stderr %r" % (arguments, result.returncode, result.stdout, text)
    check(result.returncode == 1 and not result.stdout, what)
    check(text.startswith("doppel: ") and text.count("\n") == 1 and text.endswith("\n"), what)
    for word in words:
        check(word in text, what + ", lacks " + word)


def good(arguments, *words):
    result = run(arguments)
    text = result.stdout.decode()
    check(result.returncode == 0 and not result.stderr, "%s: %d %r" % (arguments, result.returncode, result.stderr))
    for word in words:
        check(word in text, "%s: lacks %s" % (arguments, word))


def firmware(code):
    """A 64 KiB ROM that begins with `code` and whose reset vector jumps there."""
    rom = bytearray(b"\xf4" * 65536)
    rom[0:len(code)] = code
    rom[0xfff0:0xfff3] = b"\xe9" + (0 - 0xfff3 & 0xffff).to_bytes(2, "little")
    return bytes(rom)


def out(port, value):
    """mov dx, port; mov al, value; out dx, al"""
    return b"\xba" + port.to_bytes(2, "little") + b"\xb0" + bytes([value]) + b"\xee"


TRIPLE_FAULT = b"\x0f\x01\x1e\x00\x00" + b"\x0f\x0b"  # lidt [0] of zeros in the first page of RAM, ud2
CALL_FAULT = b"\x31\xc0\x8e\xd8" + TRIPLE_FAULT


def test_usage(folder):
    bad(["-nonsense"], "-nonsense", "--help")
    bad(["-hda", "disk.img"], "-hda")
    bad(["disk.img"], "disk.img")
    bad(["-m", "0"], "-m")
    bad(["-m", "1000000000T"], "-m")
    bad(["-m"], "needs an argument")
    bad(["-smp", "2"], "one virtual CPU")
    bad(["-cpu", "nonsense"], "nonsense")
    bad(["-accel", "nonsense"], "nonsense")
    bad(["-accel", "jit,tb-size=0"], "tb-size", "1")
    bad(["-accel", "interp,tb-size=4"], "tb-size", "interp")
    bad(["-d", "nonsense"], "nonsense")
    bad(["-device", "nonsense"], "nonsense")
    bad(["-hash-every", "5"], "-icount")
    bad(["-serial", "file:/nonexistent/x", "-display", "none"], "/nonexistent/x")
    bad(["-D", "/nonexistent/x", "-display", "none"], "/nonexistent/x")
    good(["--help"], "usage:", "-kernel", "exit codes", "-icount")
    good(["--version"], "doppel version")
    good(["-cpu", "help"], "max")
    good(["-accel", "help"], "interp", "tb-size", "perf")
    good(["-device", "help"], "isa-debug-exit")
    good(["-device", "isa-debug-exit,help"], "iobase")
    good(["-d", "help"], "int")
    bad([], "DOPPEL_GUESTS", DOPPEL_GUESTS=folder)


def test_files(folder):
    junk, empty, kernel = (os.path.join(folder, name) for name in ("junk", "empty", "kernel"))
    open(junk, "wb").write(os.urandom(70000))
    open(empty, "wb").close()
    header = bytearray(1024 + 4096)
    header[0x1f1] = 1
    header[0x1f4:0x1f8] = (256).to_bytes(4, "little")
    header[0x1fe:0x200] = b"\x55\xaa"
    header[0x202:0x208] = b"HdrS\x0f\x02"
    header[0x211] = 1
    header[0x22c:0x230] = (0x7fffffff).to_bytes(4, "little")
    header[0x236] = 1
    header[0x238:0x23c] = (2047).to_bytes(4, "little")
    header[0x258:0x260] = (0x1000000).to_bytes(8, "little")
    header[0x260:0x264] = (0x1000000).to_bytes(4, "little")
    open(kernel, "wb").write(header)
    bad(["-kernel", "/nonexistent/vmlinuz"], "/nonexistent/vmlinuz")
    bad(["-kernel", junk], junk, "not a Linux kernel")
    bad(["-kernel", empty], empty, "not a Linux kernel")
    bad(["-kernel", folder], folder)
    bad(["-kernel", kernel, "-initrd", "/nonexistent/initrd"], "/nonexistent/initrd")
    bad(["-kernel", kernel, "-initrd", empty], "empty")
    bad(["-kernel", kernel, "-m", "16"], "needs", "RAM")
    bad(["-kernel", kernel, "-append", "x" * 3000], "command line")
    big = os.path.join(folder, "big")
    with open(big, "wb") as file:
        file.truncate(100 << 20)
    bad(["-kernel", kernel, "-initrd", big, "-m", "64"], "initrd", "fit")
    truncated = os.path.join(folder, "truncated")
    open(truncated, "wb").write(header[:3000])
    bad(["-kernel", truncated], "truncated")
    bad(["-bios", "/nonexistent/bios"], "/nonexistent/bios")
    bad(["-bios", empty], empty)
    bad(["-bios", junk], junk, "64 KiB")
    bad(["-L", folder], "seabios")
    bad(["-loadvm", "/nonexistent/snap", "-display", "none"], "/nonexistent/snap")
    bad(["-loadvm", junk, "-display", "none"], junk, "not a snapshot")


def test_guests(folder):
    rom = os.path.join(folder, "rom")
    common = ["-bios", rom, "-display", "none", "-m", "16", "-nodefaults", "-device", "isa-debug-exit,iobase=0xf4"]

    def guest(code, *more):
        open(rom, "wb").write(firmware(code))
        return run(common + list(more))

    check(guest(out(0xF4, 7)).returncode == 15, "isa-debug-exit 7 gives 15")
    check(guest(out(0xF4, 0)).returncode == 1, "isa-debug-exit 0 gives 1")
    result = guest(CALL_FAULT, "-no-reboot")
    check(result.returncode == 2, "triple fault with -no-reboot gives 2, not %d" % result.returncode)
    check(b"triple fault" in result.stderr and b"RIP" in result.stderr.upper(), "a triple fault shows the CPU's state")
    check(guest(out(0x64, 0xFE), "-no-reboot").returncode == 0, "a reset with -no-reboot gives 0")
    # A reset without -no-reboot: CMOS memory keeps its content, so that the second start is told from the first.
    first = b"\xb0\x40\xe6\x70\xb0\x5a\xe6\x71" + out(0x64, 0xFE) + b"\xf4"
    code = b"\xb0\x40\xe6\x70\xe4\x71\x3c\x5a\x74" + bytes([len(first)]) + first + out(0xF4, 4)
    result = guest(code)
    check(result.returncode == 9, "a guest resets and starts again: %d %r" % (result.returncode, result.stderr))
    text = out(0x3F8, 0x4F) + out(0x3F8, 0x4B) + out(0x3F8, 0x0A) + out(0xF4, 1)
    result = guest(text, "-serial", "stdio")
    check(result.stdout == b"OK\n" and result.returncode == 3, "serial output: %r" % result.stdout)
    target = os.path.join(folder, "serial.log")
    guest(text, "-serial", "file:" + target)
    check(open(target, "rb").read() == b"OK\n", "serial output to a file")
    result = guest(out(0x402, 0x21) + out(0xF4, 1), "-debugcon", "stdio")
    check(result.stdout == b"!", "debug console: %r" % result.stdout)
    # wait for a byte, echo it, exit
    echo = (b"\xba\xfd\x03\xec\xa8\x01\x74\xfb" + b"\xba\xf8\x03\xec\xee" + out(0xF4, 2))
    open(rom, "wb").write(firmware(echo))
    result = run(common + ["-serial", "stdio"], stdin=b"Z")
    check(result.stdout == b"Z" and result.returncode == 5, "echo: %r" % result.stdout)
    result = run(common + ["-serial", "mon:stdio"], stdin=b"\x01c" + b"info status\nquit\n")
    check(b"running" in result.stdout and result.returncode == 0, "monitor by Ctrl-A c: %r" % result.stdout)
    result = run(common + ["-serial", "mon:stdio"], stdin=b"\x01x")
    check(result.returncode == 0, "Ctrl-A x")
    result = run(common + ["-monitor", "stdio", "-S"], stdin=b"info registers\nx/2xb 0x7c00\nquit\n")
    check(b"RIP" in result.stdout.upper() and result.returncode == 0, "-S and registers: %r" % result.stdout)


def test_counting(folder):
    rom, snapshot = os.path.join(folder, "rom"), os.path.join(folder, "snapshot")
    # count in memory for ever
    open(rom, "wb").write(firmware(b"\x31\xc0\x8e\xd8" + b"\xff\x06\x00\x20" + b"\xff\x07\x83\xc3\x40\xeb\xf5"))
    common = ["-bios", rom, "-display", "none", "-m", "16", "-nodefaults", "-icount", "0", "-limit", "300000"]

    def hashes(*more):
        result = run(common + list(more))
        check(result.returncode == 0, "%s: %d %r" % (more, result.returncode, result.stderr))
        return re.findall(rb"hash (\d+) ([0-9a-f]{16})", result.stderr)

    first = hashes("-hash-every", "50000")
    check(len(first) == 6 and len({value for _, value in first}) == 6, "six different hashes: %r" % first)
    check(hashes("-hash-every", "50000") == first, "two runs give the same hashes")
    check(hashes("-hash-every", "50000", "-save-at", "120000," + snapshot) == first, "saving changes nothing")
    check(hashes("-hash-every", "50000", "-loadvm", snapshot) == first[2:], "a loaded run goes on the same")


def test_perf_map(folder):
    """A link that waits where the map goes is not followed; the map has the blocks' addresses."""
    if b"jit" not in run(["-accel", "help"]).stdout:
        return
    rom, victim = os.path.join(folder, "rom"), os.path.join(folder, "victim")
    open(rom, "wb").write(firmware(b"\x31\xc0\x8e\xd8" + b"\xff\x06\x00\x20" + b"\xff\x07\x83\xc3\x40\xeb\xf5"))
    open(victim, "w").write("untouched")
    command = 'echo $$; ln -s "$0" /tmp/perf-$$.map; exec "$@"'
    result = subprocess.run(["sh", "-c", command, victim, DOPPEL, "-bios", rom, "-display", "none", "-m", "16", "-nodefaults",
                             "-icount", "0", "-limit", "300000", "-accel", "jit,perf=on"], capture_output=True, timeout=60)
    path = "/tmp/perf-%d.map" % int(result.stdout)
    check(result.returncode == 0, "perf=on: %d %r" % (result.returncode, result.stderr))
    check(open(victim).read() == "untouched", "perf=on follows no link")
    state = os.lstat(path)
    text = open(path).read()
    os.unlink(path)
    check(state.st_mode == 0o100600, "the map is a file of ours alone: %o" % state.st_mode)
    check(re.fullmatch(r"(?:[0-9a-f]+ [0-9a-f]+ guest_kernel_[0-9a-f]{16}\n)+", text) is not None, "perf map: %r" % text[:200])


def test_option_rom():
    if not all(any(os.access(os.path.join(path, tool), os.X_OK) for path in os.environ["PATH"].split(":"))
               for tool in ("as", "objcopy")) or os.uname().machine != "x86_64":
        return
    script = os.path.join(SOURCE, "frontend", "linuxboot_rom.py")
    made = subprocess.run([sys.executable, script, "--print"], capture_output=True, check=True).stdout
    kept = open(os.path.join(SOURCE, "frontend", "linuxboot_rom.c"), "rb").read()
    check(made == kept, "linuxboot_rom.c is what linuxboot_rom.py makes of linuxboot_rom.S")


with tempfile.TemporaryDirectory() as temporary:
    test_usage(temporary)
    test_files(temporary)
    test_guests(temporary)
    test_counting(temporary)
    test_perf_map(temporary)
    test_option_rom()
print("%d failures" % failures)
sys.exit(1 if failures else 0)
