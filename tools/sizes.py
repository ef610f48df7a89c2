#!/usr/bin/env python3
"""Print what is large, for people to judge; never a gate.

    tools/sizes.py [ROOT]

Lists files over 800 lines (headers over 300), functions over 70 lines unless they carry a
`/* LONG: why */`, functions with more than five parameters, and goto to a label other than `out`.
"""

from __future__ import annotations

import pathlib
import re
import statistics
import sys

FILE_LINES = {".c": 800, ".h": 300, ".def": 800, ".py": 800}
FUNCTION_LINES = 70
PARAMETERS = 5
COMMENT = re.compile(r"/[*].*?[*]/")
GOTO = re.compile(r"\bgoto (?!out;)")


def functions(lines):
    """(first line number, signature, length in lines) of each function: `{` and `}` in column 1"""
    start = None
    for number, line in enumerate(lines):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            head = start
            while head > 0 and lines[head - 1] and not lines[head - 1].startswith(("}", "#", " *")):
                head -= 1
            signature = COMMENT.sub("", " ".join(lines[head:start])).strip()
            yield head + 1, signature, number - start + 1
            start = None


def parameter_count(signature):
    inside = signature[signature.find("(") + 1 : signature.rfind(")")]
    depth, count = 0, 1
    for c in inside:
        depth += (c == "(") - (c == ")")
        count += c == "," and depth == 0
    return 0 if inside in ("", "void") else count


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__ + "/../..").resolve()
    lengths, notes, total = [], [], 0
    folders = ("src", "test", "bench", "python", "tools")
    paths = [path for folder in folders for path in sorted((root / folder).rglob("*"))]
    for path in paths:
        if path.suffix not in FILE_LINES or not path.is_file():
            continue
        name, lines = path.relative_to(root), path.read_text().splitlines()
        total += len(lines)
        if len(lines) > FILE_LINES[path.suffix]:
            notes.append(f"{name}: {len(lines)} lines")
        if path.suffix != ".c":
            continue
        for number, signature, length in functions(lines):
            lengths.append(length)
            where = f"{name}:{number}: {re.sub(r' *[(].*', '', signature)}"
            if length > FUNCTION_LINES and "LONG:" not in "".join(lines[number - 2 : number + 2]):
                notes.append(f"{where}: {length} lines")
            if parameter_count(signature) > PARAMETERS:
                notes.append(f"{where}: {parameter_count(signature)} parameters")
        notes += [
            f"{name}:{number}: {line.strip()}" for number, line in enumerate(lines, 1) if GOTO.search(line)
        ]
    print("\n".join(notes))
    if lengths:
        lengths.sort()
        print(
            f"sizes: {total} lines, {len(lengths)} C functions, median {statistics.median(lengths):g} "
            f"lines, 95 % under {lengths[int(len(lengths) * 0.95)] + 1}, longest {lengths[-1]}"
        )


if __name__ == "__main__":
    main()
