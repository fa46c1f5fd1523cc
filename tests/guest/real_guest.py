#!/usr/bin/python3
"""Boots real guests and looks at what they say. real_guest.py CHECK DOPPEL [ARGUMENTS]

boot KERNEL MEBIBYTES [OPTION...]   to user space and power-off; the log holds no complaint that is not allowed
engines KERNEL MEBIBYTES            the same in every engine other than the first, and in counting mode; at most one
                                    executed instruction in a hundred calls a helper
first-line KERNEL                   on a host without backend: only the interpreter is offered, and the kernel's first
                                    line comes on the serial port, where the test stops
hosts NATIVE MILLIONS               counting mode: the same hashes as NATIVE's, doppel of the host that runs the test
firmware                            SeaBIOS alone finds nothing to boot, and says so
repeat                              counting mode: two boots have equal hashes, and so have all engines
lockstep KERNEL MILLIONS [OPTION...] interpreter and translator, compared all the time
snapshot                            saved in the middle of the boot, loaded in a new process: the same hashes
console                             typed at as a person would, with pexpect
immune MODEL                        Linux believes that the processor has no hardware bug, but for two that it believes of
                                    all; of these it takes the cheap way
Guests are in $DOPPEL_GUESTS (make_guests.sh makes them). Exit code 77: a guest's file is missing.
$DOPPEL_EMULATOR is the command line that runs programs of DOPPEL's architecture; empty: none is needed.
"""
import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
GUESTS = os.environ.get("DOPPEL_GUESTS", os.path.join(HERE, "../../build/guests"))
EMULATOR = shlex.split(os.environ.get("DOPPEL_EMULATOR", ""))
SECONDS = 600
MARKER = "DOPPEL-USERSPACE-OK"
POWER_OFF = "console=ttyS0 panic=-1 doppel.poweroff"
TROUBLE = re.compile(r"\bBUG\b|WARNING|\bOops\b|[Uu]nstable|[Ss]purious|[Ff]irmware [Bb]ug|FW_BUG|\[Firmware|"
                     r"ACPI.*([Ee]rror|[Ww]arning|BIOS)|Call Trace|segfault|general protection|traps:|"
                     r"unexpected|nobody cared|soft lockup|rcu.*stall|invalid opcode|not syncing")


def guest(path):
    path = os.path.join(GUESTS, path)
    if not os.path.exists(path):
        print(f"{path} is missing: tests/guest/make_guests.sh makes it")
        sys.exit(77)
    return path


def linux(kernel, mebibytes, append=POWER_OFF):
    return ["-m", str(mebibytes), "-nographic", "-no-reboot", "-kernel", guest(kernel + "/vmlinuz"), "-initrd",
            guest("initramfs.gz"), "-append", append]


def run(command, seconds=SECONDS, emulator=EMULATOR):
    """Output, stderr, exit code; a hang ends the test."""
    child = subprocess.Popen(emulator + command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        output, errors = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        output, errors = child.communicate()
        print(output.decode(errors="replace")[-3000:])
        sys.exit(f"hung for {seconds} s: {' '.join(command)}\n{errors.decode(errors='replace')[-1000:]}")
    return output.decode(errors="replace").replace("\r", ""), errors.decode(errors="replace"), child.returncode


def engines_of(doppel):
    output, _, _ = run([doppel, "-accel", "help"], 60)
    return [line.split()[0] for line in output.splitlines() if line[:1].strip()]


def allowed_lines():
    patterns = []
    with open(os.path.join(HERE, "allowed_log.txt")) as lines:
        for line in lines:
            pattern, separator, reason = line.rstrip("\n").partition("  # ")
            if separator and reason and not line.startswith("#"):
                patterns.append(re.compile(pattern))
    return patterns


def check_log(output):
    allowed = allowed_lines()
    bad = [line for line in output.splitlines()
           if TROUBLE.search(line) and not any(pattern.search(line) for pattern in allowed)]
    if bad:
        sys.exit("the guest's log complains:\n" + "\n".join(bad[:40]))


def check_share_of_calls(statistics):
    """Helpers are for the rare: at most one instruction in a hundred may call one."""
    found = re.search(r"calls of helpers \d+, ([\d.]+) % of the instructions", statistics)
    if not found or float(found.group(1)) > 1:
        sys.exit("too many instructions call helpers:\n" + statistics)
    return found.group(1)


def boot(doppel, kernel, mebibytes, *options):
    with tempfile.NamedTemporaryFile() as log:
        output, errors, code = run([doppel] + linux(kernel, mebibytes) +
                                   ["-d", "statistics", "-D", log.name] + list(options))
        statistics = open(log.name).read()
    if MARKER not in output or code != 0:
        sys.exit(f"exit code {code}, no user space or no power-off\n{output[-3000:]}\n{errors[-1000:]}")
    seen = int(re.search(r"MemTotal: *(\d+) kB", output).group(1)) // 1024
    if not int(mebibytes) * 0.6 < seen <= int(mebibytes):
        sys.exit(f"the guest sees {seen} MiB of {mebibytes}")
    check_log(output)
    share = ""
    if "-icount" in options or "interp" in options:  # where instructions are counted
        share = f", {check_share_of_calls(statistics)} % calls"
    print(f"ok      {kernel} with {mebibytes} MiB {' '.join(options)}: user space, power-off, no complaint{share}")


def engines(doppel, kernel, mebibytes):
    for engine in engines_of(doppel)[1:]:
        boot(doppel, kernel, mebibytes, "-accel", engine)
    boot(doppel, kernel, mebibytes, "-icount", "0")


def first_line(doppel, kernel):
    if engines_of(doppel) != ["interp"]:
        sys.exit(f"a host without backend offers {engines_of(doppel)}")
    _, errors, code = run([doppel, "-accel", "jit"] + linux(kernel, 128), 60)
    if code == 0 or "jit" not in errors:
        sys.exit(f"-accel jit: exit code {code}, {errors[-1000:]}")
    command = EMULATOR + [doppel] + linux(kernel, 128, "console=ttyS0 earlyprintk=serial")
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    guard = threading.Timer(SECONDS, child.kill)
    guard.start()
    seen = []
    try:
        for line in child.stdout:
            seen.append(line.decode(errors="replace").rstrip())
            if "Linux version" in seen[-1]:
                break
    finally:
        guard.cancel()
        child.kill()
        child.wait()
    if not seen or not re.fullmatch(r"\[ *0\.0+\] Linux version 6\..*", seen[-1]):
        sys.exit("no first line of the kernel:\n" + "\n".join(seen[-20:]))
    print(f"ok      {kernel}: {seen[-1][:60]}")


def firmware(doppel):
    with tempfile.NamedTemporaryFile() as log:
        command = [doppel, "-m", "128", "-display", "none", "-serial", "null", "-debugcon", "file:" + log.name, "-no-reboot"]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(240):
                text = open(log.name, errors="replace").read()
                if "No bootable device" in text or child.poll() is not None:
                    break
                try:
                    child.wait(0.25)
                except subprocess.TimeoutExpired:
                    pass
        finally:
            child.kill()
            child.wait()
    if "No bootable device" not in text:
        sys.exit("SeaBIOS did not get to 'No bootable device':\n" + text[-3000:])
    print("ok      SeaBIOS finds no bootable device")


def hashes_of(errors):
    return [line for line in errors.splitlines() if line.startswith("hash ")]


def hashed(doppel, engine, millions, *options, kernel="cloud", emulator=EMULATOR):
    command = [doppel] + linux(kernel, 128) + ["-accel", engine, "-icount", "0", "-hash-every", "1000000", "-limit",
                                               str(millions * 1000000)] + list(options)
    output, errors, code = run(command, emulator=emulator)
    hashes = hashes_of(errors)
    if code != 0 or not hashes:
        sys.exit(f"exit code {code}, {len(hashes)} hashes\n{output[-1500:]}\n{errors[-1000:]}")
    return output, hashes


def same(title, first, second):
    for a, b in zip(first, second):
        if a != b:
            sys.exit(f"{title}: first difference: '{a}' and '{b}'")
    if len(first) != len(second):
        sys.exit(f"{title}: {len(first)} hashes and {len(second)}")
    print(f"ok      {title}: {len(first)} equal hashes", flush=True)


def repeat(doppel, millions):
    names = engines_of(doppel)
    output, reference = hashed(doppel, names[0], int(millions))
    for engine in [names[0]] + names[1:]:
        again, hashes = hashed(doppel, engine, int(millions))
        same(f"{names[0]} and {engine}", reference, hashes)
        if again != output:
            sys.exit(f"{engine}: equal hashes, but another output")


def hosts(doppel, native, millions):
    if not os.path.exists(native):
        print(f"{native} is missing: ./dev build makes it")
        sys.exit(77)
    options = ["-hash-every", "10000000"]
    reference_output, reference = hashed(native, "interp", int(millions), *options, emulator=[])
    output, hashes = hashed(doppel, "interp", int(millions), *options)
    same("native and foreign", reference, hashes)
    if output != reference_output:
        sys.exit("equal hashes, but another output")


def snapshot(doppel, millions):
    names = engines_of(doppel)
    millions = int(millions)
    at = millions // 2 * 1000000 + 1000000
    _, reference = hashed(doppel, names[0], millions)
    after = [line for line in reference if int(line.split()[1]) > at]
    with tempfile.TemporaryDirectory() as folder:
        for saver in names:
            file = os.path.join(folder, saver)
            hashed(doppel, saver, at // 1000000, "-save-at", f"{at},{file}")
            for loader in names:
                _, hashes = hashed(doppel, loader, millions, "-loadvm", file)
                same(f"saved by {saver}, loaded by {loader}", after, [line for line in hashes if int(line.split()[1]) > at])
            os.unlink(file)


def lockstep(doppel, kernel, millions, *options):
    """Interpreter and translator side by side; a difference is reported with its instruction."""
    if "jit" not in engines_of(doppel):
        sys.exit(77)
    limit = int(millions) * 1000000
    with tempfile.TemporaryDirectory() as folder:
        output, errors, code = run([doppel, "lockstep"] + linux(kernel, 128) + ["-limit", str(limit), "-reproducer",
                                   os.path.join(folder, "reproducer")] + list(options))
        if code != 0 or f"agree over {limit} instructions" not in output:
            sys.exit(f"exit code {code}\n{output[-12000:]}\n{errors[-1000:]}")
    print(f"ok      {kernel}: {output.strip().splitlines()[-1]}")


def immune(doppel, model):
    script = "mount -t sysfs s /sys; cd /sys/devices/system/cpu/vulnerabilities; grep . *; poweroff -f"
    append = f'console=ttyS0 panic=-1 quiet rdinit=/bin/busybox -- sh -c "{script}"'
    output, errors, code = run([doppel, "-cpu", model] + linux("cloud", 128, append))
    found = dict(re.findall(r"^(\w+):(\w.*)$", output, re.MULTILINE))
    if code != 0 or len(found) < 15:
        sys.exit(f"exit code {code}\n{output[-3000:]}\n{errors[-1000:]}")
    bad = {name: text for name, text in found.items() if text != "Not affected" and not name.startswith("spectre_v")}
    if bad:
        sys.exit(f"{model}: affected by {bad}")
    v2 = found["spectre_v2"]
    if "Automatic IBRS" not in v2 or "Retpoline" in v2 or "SW loop" in v2:
        sys.exit(f"{model}: spectre_v2: {v2}")
    print(f"ok      {model}: {len(found) - 2} times not affected; spectre_v2: {v2}")


def console(doppel):
    import pexpect
    guest("cloud/vmlinuz")
    os.environ["DOPPEL_GUESTS"] = os.path.abspath(GUESTS)
    def start():
        child = pexpect.spawn(doppel, timeout=240, encoding="utf-8", codec_errors="replace")
        child.expect("Ctrl-A x")
        child.expect("switches the machine off")
        child.expect("# ")
        return child

    def ask(child, line, answer):
        child.sendline(line)
        child.expect(answer, timeout=120)
        child.expect("# ", timeout=120)
        print(f"ok      {line}", flush=True)

    child = start()
    ask(child, "uname -a", r"Linux \S+ \S+ .*x86_64")
    ask(child, "cat /proc/cpuinfo", r"model name\s*: .*\n(.*\n)*flags\s*:.* lm ")
    ask(child, "ls /proc/self /sys/class/tty/ttyS0 && echo listed=$?", "listed=0")
    ask(child, "dd if=/dev/urandom of=/tmp/a bs=64k count=16 2>/dev/null; cp /tmp/a /tmp/b; cmp /tmp/a /tmp/b && echo same$((40+2))", "same42")
    child.send("\x01c")
    child.expect_exact("(doppel) ")
    child.sendline("info registers")
    child.expect("CR3=[0-9a-f]+")
    child.expect_exact("(doppel) ")
    child.sendline("stop")
    child.expect_exact("(doppel) ")
    child.sendline("info status")
    child.expect("stopped")
    child.expect_exact("(doppel) ")
    child.sendline("nonsense")
    child.expect("no command")
    child.expect_exact("(doppel) ")
    child.sendline("cont")
    child.expect_exact("(doppel) ")
    child.send("\x01c")
    print("ok      monitor", flush=True)
    ask(child, "echo back$((40+2))", "back42")
    child.sendline("poweroff -f")
    child.expect(pexpect.EOF, timeout=120)
    child.close()
    if child.exitstatus != 0:
        sys.exit(f"poweroff -f: exit code {child.exitstatus}, signal {child.signalstatus}")
    print("ok      poweroff -f", flush=True)

    for keys, what in (("\x01x", "Ctrl-A x"), ("\x01cquit\r", "quit")):
        child = start()
        child.send(keys)
        child.expect(pexpect.EOF, timeout=60)
        child.close()
        if child.exitstatus != 0:
            sys.exit(f"{what}: exit code {child.exitstatus}, signal {child.signalstatus}")
        print(f"ok      {what}", flush=True)


CHECKS = {"boot": boot, "engines": engines, "first-line": first_line, "hosts": hosts, "firmware": firmware, "repeat": repeat, "snapshot": snapshot, "lockstep": lockstep, "console": console,
          "immune": immune}
CHECKS[sys.argv[1]](*sys.argv[2:])
