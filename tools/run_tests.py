#!/usr/bin/env python3
"""Everything that `make test` runs, part after part, and one closing line for people and for CI.

    tools/run_tests.py [PART...]

Without arguments all parts run, also after one has failed. Counts are of single tests: what Meson
and pytest say they ran; a part without a count of its own is one test. Only the standard library
is used, as this starts before anything can be relied on.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHON = ".venv/bin/python"
FUZZ_SECONDS = "5"


class Count:
    """How many single tests of a part passed, failed, were skipped"""

    def __init__(self, passed=0, failed=0, skipped=0):
        self.passed, self.failed, self.skipped = passed, failed, skipped


def run(*command, **environment):
    """Run a command with its output shown; its exit code"""
    words = [str(word) for word in command]
    print("$", " ".join(words), flush=True)
    return subprocess.run(words, cwd=ROOT, env={**os.environ, **environment}).returncode


def as_one(code):
    return Count(passed=int(code == 0), failed=int(code != 0))


def with_meson(build, *suites):
    """Run the tests of a build folder and count what its log says"""
    log = ROOT / build / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    arguments = [word for suite in suites for word in ("--suite", suite)]
    code = run("meson", "test", "-C", build, "--no-rebuild", "--print-errorlogs", *arguments)
    count = Count()
    if log.exists():
        for line in log.read_text().splitlines():
            result = json.loads(line)["result"]
            if result in ("OK", "EXPECTEDFAIL"):
                count.passed += 1
            elif result == "SKIP":
                count.skipped += 1
            else:
                count.failed += 1
    if code != 0 and count.failed == 0:
        count.failed = 1
    return count


def build_with(folder, *options, **environment):
    """Configure once, then build; the exit code"""
    if not (ROOT / folder / "build.ninja").exists():
        code = run("meson", "setup", folder, *options, **environment)
        if code != 0:
            return code
    return run("ninja", "-C", folder)


def part_build():
    return as_one(build_with("build"))


def part_unit():
    return with_meson("build")


def part_asan():
    code = build_with("build-asan", "-Db_sanitize=address,undefined")
    return with_meson("build-asan", "unit", "sim") if code == 0 else as_one(code)


def part_lint():
    return as_one(run("tools/lint.sh", "--quick"))


def part_interop():
    """Stock clients and workers against build/cask"""
    report = ROOT / "build" / "interop.xml"
    report.unlink(missing_ok=True)
    code = run(PYTHON, "-m", "pytest", "test/interop", f"--junitxml={report}")
    count = Count()
    if report.exists():
        for suite in xml.parse(report).getroot().iter("testsuite"):
            total, failures, errors, skipped = (
                int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")
            )
            count.failed += failures + errors
            count.skipped += skipped
            count.passed += total - failures - errors - skipped
    if code != 0 and count.failed == 0:
        count.failed = 1
    return count


def part_fuzz():
    """Each fuzzer for some seconds: finds what became wrong since the last long run"""
    setup = ("-Dfuzz=true", "-Db_sanitize=address,undefined", "-Db_lundef=false")
    code = build_with("build-fuzz", *setup, CC="clang")
    if code != 0:
        return as_one(code)
    print("$ tools/fuzz.sh build-fuzz", FUZZ_SECONDS, flush=True)
    done = subprocess.run(
        ["tools/fuzz.sh", "build-fuzz", FUZZ_SECONDS], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    print(done.stdout, flush=True)
    counts = re.search(r"^fuzz: (\d+) passed, (\d+) failed$", done.stdout, re.MULTILINE)
    return Count(int(counts[1]), int(counts[2])) if counts else as_one(done.returncode)


PARTS = {
    "build": part_build,
    "unit": part_unit,
    "lint": part_lint,
    "asan": part_asan,
    "interop": part_interop,
    "fuzz": part_fuzz,
}


def main(names):
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        sys.exit(f"run_tests: no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    rows = []
    for name in names or PARTS:
        print(f"\n== {name}", flush=True)
        start = time.monotonic()
        count = PARTS[name]()
        rows.append((name, count, time.monotonic() - start))
    print()
    for name, count, seconds in rows:
        mark = "ok" if count.failed == 0 else "FAILED"
        print(
            f"{name:10}{mark:8}{count.passed:6} passed{count.failed:6} failed"
            f"{count.skipped:6} skipped{seconds:8.1f} s"
        )
    passed, failed, skipped = (
        sum(getattr(count, name) for _, count, _ in rows)
        for name in ("passed", "failed", "skipped")
    )
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
