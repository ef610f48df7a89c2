"""Cgroups with a memory limit, for tests; where none can be made (most containers), a reason, and tests look at the other way."""

from __future__ import annotations

import contextlib
import os
import pathlib

import harness

V1 = pathlib.Path("/sys/fs/cgroup/memory")
V2 = pathlib.Path("/sys/fs/cgroup")
DELEGATED = "trusted.delegate"  # systemd's mark


class Group:
    """A group of its own at the top of the hierarchy, marked as delegated. It falls to who starts in it"""

    def __init__(self):
        self.is_v2 = (V2 / "cgroup.controllers").exists()
        top = V2 if self.is_v2 else V1
        if not (top / ("cgroup.subtree_control" if self.is_v2 else "memory.limit_in_bytes")).exists():
            raise OSError(f"no memory hierarchy at {top}")
        if self.is_v2 and "memory" not in (top / "cgroup.subtree_control").read_text().split():
            raise OSError(f"{top} gives groups below it no memory controller")
        self.path = top / f"cask-test-{os.getpid()}"
        self.path.mkdir()
        try:
            os.setxattr(self.path, DELEGATED, b"1")
        except OSError:
            self.path.rmdir()
            raise

    def limit(self, size):
        (self.path / ("memory.max" if self.is_v2 else "memory.limit_in_bytes")).write_text(str(size))

    def command(self, command=harness.CASK_WORKER):
        """What starts in it. A worker that was killed could not put things back (version 2), as whoever manages a group then does"""
        back = f"echo -memory >{self.path}/cgroup.subtree_control; " if self.is_v2 else ""
        return f"sh -c '{back}echo $$ >{self.path}/cgroup.procs && exec \"$0\" \"$@\"' {command}"

    def below(self):
        """Names of executors' groups"""
        return sorted(p.name for p in self.path.iterdir() if p.is_dir() and not p.name.endswith("-worker"))

    def processes(self, name):
        return [int(pid) for pid in (self.path / name / "cgroup.procs").read_text().split()]

    def remove(self):
        """When all that ran in it has ended"""

        def is_gone():
            for path in (*(p for p in self.path.iterdir() if p.is_dir()), self.path):
                with contextlib.suppress(FileNotFoundError):
                    path.rmdir()
            return True

        harness.eventually(is_gone, 60, "the test's cgroup is removed")


def make():
    """A group and None, or None and why there is none"""
    try:
        return Group(), None
    except OSError as error:
        return None, str(error)
