"""FORK: executors made from one that has imported everything. docs/executor.md, "Forked executors".

The new process is the worker's child, not ours: CLONE_PARENT (src/exec/sibling.c). So a parent that
waits, a signal when it ends and everything else is as if the worker had started it. A fork has one
thread only, so nobody forks once there are others.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from typing import NamedTuple

from cask.executor.crash import library_path


class Birth(NamedTuple):
    """What a new executor begins with: descriptors that the worker sent for it."""

    line: int
    errors: int
    channel: int

    def close(self) -> None:
        for fd in self:
            os.close(fd)


def _hook(name: str) -> ctypes.c_void_p:
    """What Python does around a fork of its own: runs os.register_at_fork's functions, among others."""
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p)


def find() -> Callable[[], int] | None:
    """The function that forks; None: there is no library."""
    path = library_path()
    if path is None:
        return None
    try:
        fork = ctypes.PyDLL(path).cask_fork_sibling  # PyDLL: nobody else may run Python meanwhile
    except (OSError, AttributeError):
        return None
    hooks = [_hook("PyOS_BeforeFork"), _hook("PyOS_AfterFork_Parent"), _hook("PyOS_AfterFork_Child")]
    return lambda: fork(*hooks)


def why_not(fork: Callable[[], int] | None) -> str:
    """What is against a fork; "": nothing."""
    if fork is None:
        return "libcask-crash.so is not there"
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        return f"modules have started threads ({threads - 1})"
    return ""


def _reseed() -> None:
    """What random numbers come from, where a module does not look after that itself."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def settle(birth: Birth) -> None:
    """In the new process: take over what is ours alone. A process group is what the worker gives who it has heard of; who is
    still in that of the one that forked when that ends is nobody's, and is killed."""
    os.dup2(birth.errors, 2)
    os.close(birth.errors)
    threading.main_thread()._set_native_id()  # Python 3.11 leaves the number of who forked
    _reseed()
