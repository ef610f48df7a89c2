"""Stop what a thread is doing, from another."""

from __future__ import annotations

import ctypes
import sys

from distributed.utils import sync

from cask.executor import TaskCancelled


_IMPORT = "<frozen importlib._bootstrap>"


def is_importing(ident: int) -> bool:
    """Whether a thread loads a module: one that was loaded by half would stay broken for all tasks to come."""
    frame = sys._current_frames().get(ident)
    while frame is not None and frame.f_code.co_filename != _IMPORT:
        frame = frame.f_back
    return frame is not None


def interrupt(ident: int) -> None:
    """Raise TaskCancelled in a thread, at its next Python instruction.

    A thread that waits for something of Dask's (a result, a Lock, a Queue …) waits inside C, and would get
    meanwhile what it waits for: a Lock that nobody gives back. So that is called off as well.
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(TaskCancelled))
    frame = sys._current_frames().get(ident)
    while frame is not None and frame.f_code is not sync.__code__:
        frame = frame.f_back
    if frame is not None:
        names = frame.f_locals
        if "future" in names and "cancel" in names:  # the coroutine has begun
            names["loop"].add_callback(names["cancel"])
