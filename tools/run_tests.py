#!/usr/bin/env python3
"""Everything that `make test` runs, part after part, and one closing line for people and for CI.

    tools/run_tests.py [PART...]

Without arguments all parts run, also after one has failed. Counts are of single tests: what Meson
and pytest say they ran; a part without a count of its own is one test. The names of what failed are
the last lines before the closing one, as a CI system may show nothing but the end. Only the
standard library is used, as this starts before anything can be relied on.
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
# Most interop tests wait for processes that start: two at a time hardly cost more than one. More would
# starve each other on the two cores that CI has.
INTEROP_PROCESSES = "2"
FAILURES_SHOWN_MAX = 60  # of a part
LINE_MAX = 200
SKIPPED_INSIDE = re.compile(r"\[  SKIPPED \] (test_\w+)")  # cmocka's word; the program itself ends well


class Count:
    """How many single tests of a part passed, were skipped; the names of those that failed"""

    def __init__(self, passed=0, failures=(), skipped=0):
        self.passed, self.failures, self.skipped = passed, list(failures), skipped

    @property
    def failed(self):
        return len(self.failures)

    def add(self, result, name):
        """`result` is "passed" or "skipped", or else says how it failed"""
        if result == "passed":
            self.passed += 1
        elif result == "skipped":
            self.skipped += 1
        else:
            self.failures.append(f"{name}: {result}")

    def extend(self, other):
        self.passed += other.passed
        self.failures += other.failures
        self.skipped += other.skipped


def run(*command, **environment):
    """Run a command with its output shown; its exit code"""
    words = [str(word) for word in command]
    print("$", " ".join(words), flush=True)
    return subprocess.run(words, cwd=ROOT, env={**os.environ, **environment}).returncode


def as_one(name, code):
    return Count(passed=1) if code == 0 else Count(failures=[f"{name}: exit code {code}"])


def with_meson(build, *suites):
    """Run the tests of a build folder and count what its log says"""
    log = ROOT / build / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    arguments = [word for suite in suites for word in ("--suite", suite)]
    code = run("meson", "test", "-C", build, "--no-rebuild", "--print-errorlogs", *arguments)
    count = Count()
    results = {"OK": "passed", "EXPECTEDFAIL": "passed", "SKIP": "skipped"}
    if log.exists():
        for line in log.read_text().splitlines():
            test = json.loads(line)
            count.add(results.get(test["result"], test["result"]), test["name"])
            output = (test.get("stdout") or "") + (test.get("stderr") or "")
            for name in sorted(set(SKIPPED_INSIDE.findall(output))):
                count.add("skipped", name)
    if code != 0 and not count.failures:
        count.add(f"exit code {code}", "meson test")
    return count


def build_with(folder, *options, targets=(), **environment):
    """Configure once, then build all or these targets; the exit code"""
    if not (ROOT / folder / "build.ninja").exists():
        code = run("meson", "setup", folder, *options, **environment)
        if code != 0:
            return code
    return run("ninja", "-C", folder, *targets)


def part_build():
    return as_one("build", build_with("build"))


def part_unit():
    return with_meson("build")


def part_asan():
    """Unit tests, simulated clusters, and what strangers send to a real scheduler"""
    code = build_with("build-asan", "-Doptimization=1", "-Db_sanitize=address,undefined")
    if code != 0:
        return as_one("build-asan", code)
    count = with_meson("build-asan", "unit", "sim")
    command = f"{ROOT}/build-asan/cask scheduler"
    count.extend(with_pytest("hostile", "test/interop/test_hostile.py", CASK_SCHEDULER_CMD=command))
    return count


def part_lint():
    return as_one("tools/lint.sh --quick", run("tools/lint.sh", "--quick"))


def junit_result(case):
    """Of a <testcase>: as Count.add wants it; the first line of a failure says what was wrong"""
    for wrong in ("failure", "error"):
        found = case.find(wrong)
        if found is not None:
            lines = (found.get("message") or "").splitlines()
            return lines[0] if lines else wrong
    return "passed" if case.find("skipped") is None else "skipped"


def with_pytest(name, *arguments, **environment):
    """Run interop tests, two at a time, and count what pytest's report says"""
    report = ROOT / "build" / f"{name}.xml"
    report.unlink(missing_ok=True)
    words = ("-m", "pytest", "-n", INTEROP_PROCESSES, f"--junitxml={report}", *arguments)
    code = run(PYTHON, *words, **environment)
    count = Count()
    if report.exists():
        for case in xml.parse(report).getroot().iter("testcase"):
            module = case.get("classname", "").rpartition(".")[2]
            count.add(junit_result(case), f"{module}::{case.get('name')}")
    if code != 0 and not count.failures:
        count.add(f"exit code {code}", "pytest")
    return count


def part_pages():
    """The pages in a real browser"""
    words = ["node", "web/test/run.mjs", "browser"]
    print("$", *words, flush=True)
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(done.stdout, flush=True)
    count = Count()
    for result, name in re.findall(r"^(ok|not ok) \d+ - (.*)", done.stdout, re.MULTILINE):
        count.add("passed" if result == "ok" else "see above", name)
    if done.returncode != 0 and not count.failures:
        count.add(f"exit code {done.returncode}", "web/test/run.mjs")
    return count


def part_interop():
    """Stock clients and workers against build/cask; by file, as each process makes a cluster that many tests share"""
    return with_pytest("interop", "test/interop", "--dist", "loadfile")


def part_wheel():
    return as_one("tools/wheel.sh", run("tools/wheel.sh"))


def part_fuzz():
    """Each fuzzer for some seconds: finds what became wrong since the last long run"""
    setup = ("-Dfuzz=true", "-Doptimization=1", "-Db_sanitize=address,undefined", "-Db_lundef=false")
    code = build_with("build-fuzz", *setup, targets=("fuzzers",), CC="clang")
    if code != 0:
        return as_one("build-fuzz", code)
    print("$ tools/fuzz.sh build-fuzz", FUZZ_SECONDS, flush=True)
    done = subprocess.run(
        ["tools/fuzz.sh", "build-fuzz", FUZZ_SECONDS], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    print(done.stdout, flush=True)
    count = Count()
    for name, what in re.findall(r"^fuzz: (\w+): (clean|FAILED)", done.stdout, re.MULTILINE):
        count.add("passed" if what == "clean" else f"see build-fuzz/test/fuzz/{name}.log", name)
    if done.returncode != 0 and not count.failures:
        count.add(f"exit code {done.returncode}", "tools/fuzz.sh")
    return count


PARTS = {
    "build": part_build,
    "unit": part_unit,
    "lint": part_lint,
    "asan": part_asan,
    "pages": part_pages,
    "interop": part_interop,
    "fuzz": part_fuzz,
    "wheel": part_wheel,
}


def show_failures(part, failures):
    for failure in failures[:FAILURES_SHOWN_MAX]:
        line = f"FAILED {part}: {failure}"
        print(line if len(line) <= LINE_MAX else line[: LINE_MAX - 1] + "…")
    if len(failures) > FAILURES_SHOWN_MAX:
        print(f"FAILED {part}: and {len(failures) - FAILURES_SHOWN_MAX} more")


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
    for name, count, _ in rows:
        show_failures(name, count.failures)
    passed, failed, skipped = (
        sum(getattr(count, name) for _, count, _ in rows)
        for name in ("passed", "failed", "skipped")
    )
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
