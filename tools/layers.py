#!/usr/bin/env python3
"""Check every #include line of src/ against the table in src/README.md.

    tools/layers.py [ROOT]

A row allows whole layers (`base`) or named headers of one (`base (span vec)`). Beyond the table:
internal.h is for its own folder, the machines in core/ do not see each other, and the system headers
below belong to some layers only. Prints each breach as file:line and fails.
"""

from __future__ import annotations

import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
ROW = re.compile(r"^\| *([a-z]+) *\| *([^|]*?) *\|")
GRANT = re.compile(r"([a-z]+)(?: \(([^)]*)\))?")

# What a pure state machine may use of the C library; everything else there is a door to the world.
CORE_SYSTEM = {
    "assert.h", "float.h", "inttypes.h", "limits.h", "math.h", "stdarg.h", "stdbool.h", "stddef.h",
    "stdint.h", "string.h",
}  # fmt: skip
# Libraries that one layer hides from the others.
HIDDEN = {"uv": {"io"}, "openssl": {"io"}, "lz4": {"wire"}, "zstd": {"wire", "observer"}, "zlib": {"wire", "observer"}}
HIDDEN |= {"elfutils": {"exec"}}
HIDDEN |= {"snappy-c": {"wire"}, "jansson": {"node", "cli", "observer"}, "yaml": {"node"}}
HIDDEN |= {"libwebsockets": {"observer", "cli"}, "sqlite3": {"observer"}}
SOCKETS = re.compile(r"^(sys/(socket|un|epoll|poll)|netinet/.*|arpa/.*|netdb|poll)\.h$")


def read_table(readme):
    """{layer: {allowed layer: None for all of it, or the set of its headers}}"""
    table = {}
    for line in readme.read_text().splitlines():
        row = ROW.match(line)
        if row and row[1] != "layer":
            table[row[1]] = {
                name: set(headers.split()) if headers else None
                for name, headers in GRANT.findall(row[2])
            }
    return table


def system_breach(layer, name):
    stem = re.split(r"[/.]", name)[0]
    if layer == "core" and name not in CORE_SYSTEM:
        return f"<{name}> is no header for a pure core"
    if stem in HIDDEN and layer not in HIDDEN[stem]:
        return f"<{name}> belongs to {', '.join(sorted(HIDDEN[stem]))}"
    if layer == "wire" and SOCKETS.match(name):
        return f"wire knows no sockets: <{name}>"
    return None


def own_breach(source, path, name, table):
    """`path` is the including file and `name` the included one, as written; both under `source`"""
    beside = path.parent / name
    target = beside if beside.exists() else source / name
    if not target.exists():
        return f'"{name}" is not in src/'
    parts = target.relative_to(source).parts
    here = path.relative_to(source).parts
    layer, other = here[0], parts[0]
    if other not in table[layer]:
        return f"{layer} may not include {other}: {name}"
    headers = table[layer][other]
    if headers is not None and target.stem not in headers:
        return f"{layer} may include of {other} only what src/README.md names: {name}"
    if target.name == "internal.h" and target.parent != path.parent:
        return f"an internal.h is for its own folder: {name}"
    if layer == "core" and len(parts) > 2 and parts[1] != here[1]:
        return f"core's machines do not see each other: {name}"
    return None


def check(root):
    source = root / "src"
    table = read_table(source / "README.md")
    breaches, includes = [], 0
    for path in sorted(source.rglob("*")):
        if path.suffix not in (".c", ".h", ".def"):
            continue
        layer = path.relative_to(source).parts[0]
        if layer not in table:
            breaches.append(f"{path.relative_to(root)}: no row for layer '{layer}' in src/README.md")
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            include = INCLUDE.match(line)
            if not include:
                continue
            includes += 1
            quote, name = include.groups()
            if quote == "<":
                breach = system_breach(layer, name)
            else:
                breach = own_breach(source, path, name, table)
            if breach:
                breaches.append(f"{path.relative_to(root)}:{number}: {breach}")
    return breaches, includes


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__ + "/../..").resolve()
    breaches, includes = check(root)
    for breach in breaches:
        print(breach)
    print(f"layers: {includes} includes, {len(breaches)} breaches")
    return 1 if breaches or includes == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
