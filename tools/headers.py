#!/usr/bin/env python3
"""Every header of src/ compiles alone: whoever includes it needs to know nothing else first.

    tools/headers.py ROOT COMPILER...     the compiler's command, of one word or several
"""

from __future__ import annotations

import pathlib
import subprocess
import sys


def main():
    root, *compiler = sys.argv[1:]
    source = pathlib.Path(root) / "src"
    headers = sorted(source.rglob("*.h"))
    failed = 0
    command = [*compiler, "-x", "c", "-std=c17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]
    command += ["-fsyntax-only", f"-I{source}", "-"]
    for header in headers:
        # Twice: a missing include guard shows as well.
        text = f'#include "{header.relative_to(source)}"\n' * 2
        failed += subprocess.run(command, input=text, text=True).returncode != 0
    print(f"headers: {len(headers)} compiled alone, {failed} failed")
    return 1 if failed or not headers else 0


if __name__ == "__main__":
    sys.exit(main())
