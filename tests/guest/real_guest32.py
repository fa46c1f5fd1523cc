#!/usr/bin/python3
"""The 32-bit real guests (make_guests32.sh makes them). real_guest32.py CHECK DOPPEL [ARGUMENTS]

boot KERNEL MEBIBYTES [OPTION...]   real_guest.py's boot, with the 32-bit initramfs
lockstep KERNEL MILLIONS            real_guest.py's lockstep, likewise
memtest WHICH ENGINE                memtest86+ (x64 or ia32) writes its screen and goes on from its first test, without errors
Exit code 77: a guest's file is missing.
"""
import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
GUESTS = os.environ.get("DOPPEL_GUESTS", os.path.join(HERE, "../../build/guests"))
SECONDS = 240
# The screen is not drawn for every short test.
LATER_TEST = re.compile(r"#[1-9] +\[")


def guest(path):
    path = os.path.join(GUESTS, path)
    if not os.path.exists(path):
        print(f"{path} is missing: tests/guest/make_guests32.sh makes it")
        sys.exit(77)
    return path


def boot(doppel, kernel, mebibytes, *options):
    script = os.path.join(HERE, "real_guest.py")
    # The last -initrd counts; the file that real_guest.py itself asks for is there as well.
    os.execv(sys.executable, [sys.executable, script, "boot", doppel, kernel, mebibytes, "-initrd", guest("initramfs32.gz"),
                              *options])


def lockstep(doppel, kernel, millions, *options):
    script = os.path.join(HERE, "real_guest.py")
    os.execv(sys.executable, [sys.executable, script, "lockstep", doppel, kernel, millions, "-initrd",
                              guest("initramfs32.gz"), *options])


def memtest(doppel, which, engine):
    with tempfile.NamedTemporaryFile() as log:
        child = subprocess.Popen([doppel, "-kernel", guest(f"memtest/{which}.bin"), "-append", "console=ttyS0,115200", "-m", "64",
                                  "-display", "none", "-no-reboot", "-accel", engine, "-serial", "file:" + log.name],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        end = time.monotonic() + SECONDS
        text = ""
        try:
            while time.monotonic() < end and child.poll() is None and not LATER_TEST.search(text):
                time.sleep(0.5)
                text = open(log.name, errors="replace").read()
        finally:
            child.kill()
            errors = child.communicate()[1].decode(errors="replace")
    if not LATER_TEST.search(text):
        sys.exit(f"memtest86+ did not go on from its first test\n{text[-2000:]}\n{errors[-1000:]}")
    if re.search(r"Errors: *[1-9]", text):
        sys.exit("memtest86+ reports memory errors\n" + text[-2000:])
    print(f"ok      memtest86+ {which} in {engine}: begins its tests, no errors")


CHECKS = {"boot": boot, "lockstep": lockstep, "memtest": memtest}
CHECKS[sys.argv[1]](*sys.argv[2:])
