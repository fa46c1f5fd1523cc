#!/usr/bin/python3
"""Runs one small guest and compares what it says with its expected output.

run_guest.py qemu   IMAGE EXPECTED             under QEMU TCG; EXPECTED.qemu lists where QEMU is wrong, and why
run_guest.py bochs  IMAGE EXPECTED             under Bochs, likewise with EXPECTED.bochs
run_guest.py pentium IMAGE EXPECTED DOPPEL     engines and QEMU with -cpu pentium against EXPECTED.pentium
run_guest.py doppel IMAGE EXPECTED DOPPEL      every engine, in host time and in counting mode
run_guest.py states IMAGE EXPECTED DOPPEL      counting mode: equal hashes in two runs and in all engines; a snapshot
                                               from the middle goes on to the same hashes in every engine
run_guest.py lockstep IMAGE EXPECTED DOPPEL    the interpreter against the translator, in steps and block by block
Exit code 77: QEMU or Bochs is not installed.
"""
import difflib
import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time

GUEST_EXIT = 33  # isa-debug-exit with 0x10
SECONDS = 60
COMMON = ["-m", "64", "-display", "none", "-nodefaults", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]
failures = 0


def common(image):
    """The guest "reset" lives through resets; for others one is the end."""
    return COMMON + ([] if resets(image) else ["-no-reboot"])


def resets(image):
    return os.path.basename(image).startswith("reset.")


def fail(title, text):
    global failures
    failures += 1
    print(f"FAILED  {title}: {text}", flush=True)


def run(command, folder):
    """Serial output, exit code (None: hung) and stderr."""
    serial = os.path.join(folder, "serial")
    if os.path.exists(serial):
        os.unlink(serial)
    with open(os.path.join(folder, "stderr"), "w+b") as errors:
        child = subprocess.Popen(command + ["-serial", "file:" + serial], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=errors)
        try:
            code = child.wait(SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            code = None
        errors.seek(0)
        text = errors.read(1 << 20).decode(errors="replace")
    output = b""
    if os.path.exists(serial):
        with open(serial, "rb") as file:
            output = file.read(1 << 20)
    return output.decode(errors="replace").splitlines(), code, text


def compare(title, expected, output, code, errors, exit_code=GUEST_EXIT):
    if output != expected:
        lines = list(difflib.unified_diff(expected, output, "expected", "seen", lineterm="", n=1))
        fail(title, "output differs\n" + "\n".join(lines[:60]))
    if code != exit_code:
        fail(title, f"exit code {code} instead of {exit_code}\n{errors[-1500:]}")
    if output == expected and code == exit_code:
        print(f"ok      {title}", flush=True)


def expected_of_other(expected, path):
    """The other emulator's lines take the place of the expected ones with the same name; each must be of use and stand below a "# reason"."""
    if not os.path.exists(path):
        return expected
    lines, reason = list(expected), False
    for entry in open(path).read().splitlines():
        if entry.startswith("# "):
            reason = True
            continue
        if not entry:
            reason = False
            continue
        if not reason:
            fail("list of exceptions", f"no reason for '{entry}'")
        name = entry.split(":")[0] + ":"
        places = [i for i, line in enumerate(lines) if line.startswith(name)]
        if len(places) != 1 or lines[places[0]] == entry:
            fail("list of exceptions", f"'{entry}' is stale")
        else:
            lines[places[0]] = entry
    return lines


def engines_of(doppel):
    text = subprocess.run([doppel, "-accel", "help"], capture_output=True, text=True, timeout=SECONDS, check=True)
    return [line.split()[0] for line in text.stdout.splitlines() if line[:1].strip()]


def check_qemu(image, expected, path, folder):
    qemu = shutil.which("qemu-system-x86_64")
    if not qemu:
        print("qemu-system-x86_64 is not installed")
        sys.exit(77)
    command = [qemu, "-accel", "tcg", "-cpu", "max,vendor=GenuineIntel", "-bios", image, "-net", "none"] + common(image)
    compare("QEMU TCG", expected_of_other(expected, path + ".qemu"), *run(command, folder))


BOCHS = """config_interface: textconfig
display_library: term
megs: 64
cpu: model={model}, ips=50000000, reset_on_triple_fault={reset}, ignore_bad_msrs=0
romimage: file={image}, address=0xffff0000
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
log: {folder}/log
panic: action=fatal
error: action=ignore
info: action=ignore
com1: enabled=1, mode=file, dev={folder}/serial
clock: sync=none
speaker: enabled=0
plugin_ctrl: speaker=0, gameport=0, parallel=0
sound: waveoutdrv=dummy
"""


def run_bochs(image, folder, model):
    """Bochs wants a terminal, and its debugger a command to start. The guest ends it through port 0x8900."""
    with open(os.path.join(folder, "rc"), "w") as file:
        file.write(BOCHS.format(image=image, folder=folder, model=model, reset=int(resets(image))))
    with open(os.path.join(folder, "commands"), "w") as file:
        file.write("c\n" * 32)  # it stops at triple faults
    ours, its = pty.openpty()
    child = subprocess.Popen(["bochs-bin", "-q", "-f", "rc", "-rc", "commands"], cwd=folder, stdin=its, stdout=its, stderr=its,
                             env=dict(os.environ, TERM="vt100"))
    os.close(its)
    end = time.monotonic() + SECONDS
    while child.poll() is None and time.monotonic() < end:
        if select.select([ours], [], [], 0.05)[0]:
            try:
                os.read(ours, 65536)
            except OSError:
                pass
    child.kill()
    child.wait()
    os.close(ours)
    texts = []
    for name in ("serial", "log"):
        path = os.path.join(folder, name)
        with open(path if os.path.exists(path) else os.devnull, "rb") as file:
            texts.append(file.read(1 << 20).decode(errors="replace"))
    return texts[0].splitlines(), GUEST_EXIT if "Shutdown port: shutdown requested" in texts[1] else None, texts[1]


def check_pentium(image, path, doppel, folder):
    """A processor without long mode: EXPECTED.pentium, under QEMU's 32-bit program and in every engine."""
    with open(path + ".pentium") as file:
        expected = file.read().splitlines()
    options = ["-cpu", "pentium", "-bios", image] + common(image)
    for engine in engines_of(doppel):
        compare(engine, expected, *run([doppel, "-accel", engine] + options, folder))
    qemu = shutil.which("qemu-system-i386")
    if not qemu:
        print("qemu-system-i386 is not installed")
        sys.exit(1 if failures else 77)
    command = [qemu, "-accel", "tcg", "-net", "none"] + options
    compare("QEMU TCG", expected_of_other(expected, path + ".pentium.qemu"), *run(command, folder))


def check_bochs(image, expected, path, folder):
    if not shutil.which("bochs-bin"):
        print("bochs-bin is not installed")
        sys.exit(77)
    compare("Bochs", expected_of_other(expected, path + ".bochs"), *run_bochs(image, folder, "corei7_icelake_u"))


def check_doppel(image, expected, doppel, folder):
    for engine in engines_of(doppel):
        command = [doppel, "-accel", engine, "-bios", image] + common(image)
        compare(engine, expected, *run(command, folder))
        compare(engine + " counting", expected, *run(command + ["-icount", "0"], folder))
    # Everything is translated at once, into as little memory as can be asked for.
    if "jit" in engines_of(doppel):
        compare("jit small", expected, *run([doppel, "-accel", "jit,tb-size=1,threshold=0", "-bios", image] + common(image), folder))
        compare("jit, one mapping", expected,
                *run([doppel, "-accel", "jit,single-mapping=on", "-bios", image] + common(image), folder))
        compare("jit, no SSE of the host's", expected,
                *run([doppel, "-accel", "jit,host-features=none", "-bios", image] + common(image), folder))
    compare("interp paranoid", expected, *run([doppel, "-accel", "interp,paranoid=on", "-bios", image] + common(image), folder))


def hashes_of(errors):
    return [line for line in errors.splitlines() if line.startswith("hash ")]


def check_states(image, expected, doppel, folder):
    engines = engines_of(doppel)
    command = [doppel, "-bios", image, "-icount", "0"] + common(image)
    # A first run tells how long the guest is; about a dozen hashes are enough.
    _, _, errors = run(command + ["-hash-every", "1000"], folder)
    length = len(hashes_of(errors)) * 1000
    if length < 2000:
        return fail("states", f"only {length} instructions with hashes\n{errors[-500:]}")
    every = str(max(length // 12 // 7 * 7 + 7, 1001))  # no round number
    command += ["-hash-every", every]
    reference = None
    for engine in [engines[0]] + engines:
        output, code, errors = run(command + ["-accel", engine], folder)
        compare(f"states {engine}", expected, output, code, errors)
        hashes = hashes_of(errors)
        reference = reference or hashes
        if not hashes or hashes != reference:
            first = next((a for a, b in zip(reference, hashes) if a != b), "their number")
            fail(f"states {engine}", f"hashes differ from the first run of {engines[0]} at {first}")
    at = reference[len(reference) // 2].split()[1]
    for saver in engines:
        file = os.path.join(folder, "snapshot-" + saver)
        run(command + ["-accel", saver, "-save-at", f"{at},{file}", "-limit", at], folder)
        if not os.path.exists(file):
            fail(f"states {saver}", f"no snapshot at {at}")
            continue
        for loader in engines:
            _, code, errors = run(command + ["-accel", loader, "-loadvm", file], folder)
            after = [line for line in reference if int(line.split()[1]) > int(at)]
            seen = [line for line in hashes_of(errors) if int(line.split()[1]) > int(at)]
            if code != GUEST_EXIT or seen != after or not after:
                fail(f"states {saver} to {loader}", f"exit code {code}, hashes after {at}:\n{seen[:3]}\ninstead of\n{after[:3]}\n{errors[-300:]}")
            else:
                print(f"ok      saved by {saver} at {at}, loaded by {loader}")


def check_lockstep(image, doppel):
    if "jit" not in engines_of(doppel):
        print("no translator for this host")
        sys.exit(77)
    for options in (["-step", "1009"], ["-step", "block"], ["-step", "block", "-against", "jit,threshold=0,tb-size=1"]):
        title = "lockstep " + " ".join(options)
        command = [doppel, "lockstep", "-bios", image, "-every", "20000", "-serial", "null", "-reproducer", "/dev/null"]
        result = subprocess.run(command + common(image) + options, capture_output=True, text=True, timeout=SECONDS)
        if result.returncode != 0 or "to the guest's end" not in result.stdout:
            fail(title, f"exit code {result.returncode}\n{result.stdout[-6000:]}\n{result.stderr[-500:]}")
        else:
            print(f"ok      {title}: {result.stdout.strip()}", flush=True)


def main():
    check, image, path = sys.argv[1:4]
    with open(path) as file:
        expected = file.read().splitlines()
    with tempfile.TemporaryDirectory() as folder:
        if check == "qemu":
            check_qemu(image, expected, path, folder)
        elif check == "bochs":
            check_bochs(image, expected, path, folder)
        elif check == "pentium":
            check_pentium(image, path, sys.argv[4], folder)
        elif check == "lockstep":
            check_lockstep(image, sys.argv[4])
        elif check == "doppel":
            check_doppel(image, expected, sys.argv[4], folder)
        else:
            check_states(image, expected, sys.argv[4], folder)
    sys.exit(1 if failures else 0)


main()
