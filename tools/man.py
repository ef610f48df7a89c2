#!/usr/bin/env python3
"""Make the man pages: prose from man/, options and commands from the program's own table.

    tools/man.py CASK VERSION PROSE OUTPUT
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys


def ask(cask, *arguments):
    return subprocess.run([cask, "internals", "options", *arguments], check=True, capture_output=True, text=True).stdout


def troff(text):
    return text.replace("\\", "\\e").replace("-", "\\-")


def main(cask, version, prose, output):
    page = pathlib.Path(prose)
    table = json.loads(ask(cask, "--json"))
    text = page.read_text()
    if "@OPTIONS@" in text:
        command = page.stem.removeprefix("cask-")
        title = f'.TH {troff(page.stem.upper())} 1 "" "cask {version}" "cask"\n'
        text = title + text.replace("@OPTIONS@\n", ask(cask, "--man", command))
        text += ".SH SEE ALSO\n.BR cask (1)\n"
    commands = (f".TP\n.B cask {row['command']}\n{troff(row['summary'])}\n" for row in table)
    pages = ",\n".join(f".BR cask\\-{row['command']} (1)" for row in table)
    text = text.replace("@COMMANDS@\n", "".join(commands)).replace("@PAGES@", pages)
    pathlib.Path(output).write_text(text.replace("@VERSION@", version))


if __name__ == "__main__":
    main(*sys.argv[1:])
