#!/usr/bin/python3
"""Assembles linuxboot_rom.S and writes linuxboot_rom.c beside it (or prints it with --print).

The result is checked in, so that doppel builds on hosts whose assembler knows no x86.
"""
import os
import subprocess
import sys
import tempfile


def assemble(source):
    with tempfile.TemporaryDirectory() as folder:
        obj, raw = os.path.join(folder, "rom.o"), os.path.join(folder, "rom.bin")
        subprocess.run(["as", "--32", "-o", obj, source], check=True)
        subprocess.run(["objcopy", "-O", "binary", "-j", ".text", obj, raw], check=True)
        with open(raw, "rb") as file:
            return bytearray(file.read())


def finish(rom):
    rom += bytes(-(len(rom) + 1) % 512 + 1)  # at least one byte for the checksum
    rom[2] = len(rom) // 512
    pnp = rom[0x1A] | rom[0x1B] << 8
    rom[pnp + 9] = -sum(rom[pnp:pnp + 32]) & 0xFF
    rom[-1] = -sum(rom) & 0xFF
    return rom


def main():
    folder = os.path.dirname(os.path.abspath(__file__))
    rom = finish(assemble(os.path.join(folder, "linuxboot_rom.S")))
    lines = ["// Written by linuxboot_rom.py from linuxboot_rom.S, which explains it.",
             '#include "frontend/linuxboot_rom.h"', "", "// clang-format off",
             "const uint8_t linuxboot_rom[] = {"]
    for i in range(0, len(rom), 16):
        lines.append("    " + " ".join("0x%02x," % byte for byte in rom[i:i + 16]))
    lines += ["};", "// clang-format on", "const size_t linuxboot_rom_size = sizeof linuxboot_rom;", ""]
    text = "\n".join(lines)
    if sys.argv[1:] == ["--print"]:
        sys.stdout.write(text)
    else:
        with open(os.path.join(folder, "linuxboot_rom.c"), "w") as file:
            file.write(text)


main()
