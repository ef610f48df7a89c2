"""What is left when the process dies of a signal: see "Crashes" in docs/executor.md."""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import pathlib
import stat

logger = logging.getLogger("cask.executor")


def take_line() -> int:
    """The crash line, moved away from standard input; -1 if there is none."""
    line = -1
    if stat.S_ISSOCK(os.fstat(0).st_mode):
        line = os.dup(0)  # not inherited by programs that tasks start
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return line


def library_path() -> str | None:
    """Where our library of C functions is."""
    beside = pathlib.Path(__file__).with_name("libcask-crash.so")  # in a wheel
    return os.environ.get("CASK_CRASH_LIBRARY") or (str(beside) if beside.exists() else None)


def install(line: int, crash_log: int):
    """Handlers of fatal signals. Gives the function to call in each thread that runs tasks. A forked process calls it
    anew."""
    faulthandler.enable(crash_log, all_threads=True)
    path = library_path()
    if path is None or line < 0:
        return lambda: None
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        logger.warning("crashes will be reported without native frames: %s", error)
        return lambda: None
    library.cask_crash_install(line)
    return library.cask_crash_thread
