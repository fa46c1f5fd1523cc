// Programs of the host's Debian packages that run unmodified, with inputs that the benchmark script lays beside them.
#include "bench.h"

#include <stddef.h>

const struct program programs[] = {
    {"integer", "gzip", {"usr/bin/gzip", "-6nc", "data/text"}},
    {"integer", "xz", {"usr/bin/xz", "-T1", "-1kc", "data/text"}},
    {"integer", "zstd", {"usr/bin/zstd", "-q", "--single-thread", "-9c", "data/text"}},
    {"integer", "lua", {"usr/bin/lua5.4", "data/work.lua"}},
    {"integer", "python", {"usr/bin/python3", "-S", "-E", "-B", "data/work.py"}},
    {"integer", "perl", {"usr/bin/perl", "data/work.pl"}},
    {"integer", "sqlite", {"usr/bin/sqlite3", "-batch", ":memory:", ".read data/work.sql"}},
    {"integer", "cc1", {"usr/bin/cc1", "-quiet", "-fpreprocessed", "-O2", "data/work.i", "-o", "-"}},
    {"integer", "shell_loop", {"bin/busybox", "sh", "data/loop.sh"}},
    {"system", "shell_script", {"bin/busybox", "sh", "data/kernel.sh"}},
    {"self-modifying", "luajit", {"usr/bin/luajit", "data/work.lua"}},
    {NULL, NULL, {NULL}},
};
