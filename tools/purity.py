#!/usr/bin/env python3
"""Ask the linker what the layers really use.

    tools/purity.py LIBBASE LIBCORE [OTHER_ARCHIVE...]

1. libcore may leave undefined only what the list below allows, and the symbols of base (not its log).
2. No archive may hold a variable that can change: one that does is state outside every struct, which
   a simulation cannot rewind. base/log.c is the one exception.
"""

from __future__ import annotations

import re
import subprocess
import sys

# Functions of the C library whose result depends on their arguments alone.
PURE = set(
    """
    memchr memcmp memcpy memmove memset strchr strcmp strlen strncmp
    ceil exp fabs floor fmax fmin fmod frexp ldexp llround log log10 log2 lround modf nextafter pow
    rint round sqrt trunc
    """.split()
)
# What the compiler calls by itself.
COMPILER = {"__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_"} | {
    f"__{name}_chk" for name in ("memcpy", "memmove", "memset")
}
IMPURE_BASE = {"log.c"}
GLOBALS_ALLOWED = {"log.c", "last_words.c"}  # see conventions; a signal handler gets no pointer
WRITABLE = re.compile(r"^\.(data|bss|tdata|tbss)(\.(?!rel\.ro)|$)|^\*COM\*$")
MEMBER = re.compile(r"^(?:Symbols from |Undefined symbols from )?.*?\[?([^\s\[\]/:]+\.o)\]?:")


def symbols(archive):
    """(source file, name, nm's class, section) of every symbol of an archive"""
    text = subprocess.run(
        ["nm", "--format=sysv", archive], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    member = ""
    for line in text.splitlines():
        if heading := MEMBER.match(line):
            member = heading[1].removesuffix(".o")
        columns = [column.strip() for column in line.split("|")]
        if len(columns) == 7 and columns[0] != "Name":
            yield member, columns[0], columns[2], columns[6]


def impurities(base, core):
    allowed = set(PURE | COMPILER)
    allowed |= {
        name for member, name, kind, _ in symbols(base) if kind in "TRD" and member not in IMPURE_BASE
    }
    defined, wanted = set(), {}
    for member, name, kind, _ in symbols(core):
        if kind == "U":
            wanted.setdefault(name, member)
        else:
            defined.add(name)
    return [
        f"core/{member}: uses {name}, which is not pure"
        for name, member in sorted(wanted.items())
        if name not in allowed | defined
    ]


def globals_of(archive):
    return [
        f"{archive}: {member}: {name} is a variable that can change ({section})"
        for member, name, kind, section in symbols(archive)
        if kind != "U" and WRITABLE.match(section) and member not in GLOBALS_ALLOWED
    ]


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    base, core, *others = sys.argv[1:]
    breaches = impurities(base, core)
    for archive in (base, core, *others):
        breaches += globals_of(archive)
    for breach in breaches:
        print(breach)
    print(f"purity: {len(others) + 2} archives, {len(breaches)} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
