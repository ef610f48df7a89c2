"""Native frames below a task's Python frames, for profiles: `distributed.worker.profile.low-level`.

src/exec/native_stack.c takes them; what it gives has the attributes that Dask's profile.llprocess reads.
"""

from __future__ import annotations

import ctypes
import logging
import os
import pathlib
from typing import NamedTuple

from cask.executor import crash

logger = logging.getLogger("cask.executor")

_FRAMES = 64
_TEXT = 400
_KNOWN_MOST = 50_000

# A function of the C library that Python called, which has no name outside or is of this kind, waits for the interpreter's
# lock: the profiler has it.
_C_LIBRARY = "libc.so"
_WAITS = "pthread_"


class NativeFrame(NamedTuple):
    """A function of a library, and where in it."""

    name: str
    addr: int
    offset: int

    def __str__(self) -> str:
        return f"{self.name} +{self.offset:#x}"


class NativeStacks:
    """Of this process, for one thread that asks. OSError: not here, and why."""

    def __init__(self) -> None:
        path = crash.library_path()
        if path is None:
            raise OSError("cask's libraries are not there")
        path = str(pathlib.Path(path).with_name("libcask-stack.so"))
        self._library = library = ctypes.CDLL(path)
        self._capture = ctypes.PyDLL(path).cask_stack_capture  # keeps the interpreter's lock
        library.cask_stack_unwind.argtypes = [ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint64), ctypes.c_int]
        library.cask_stack_describe.argtypes = [ctypes.c_uint64, ctypes.c_char_p, ctypes.c_size_t]
        library.cask_stack_describe.restype = ctypes.c_uint64
        failure = library.cask_stack_install()
        if failure:
            raise OSError(failure, os.strerror(failure))
        self._interpreter = ctypes.cast(ctypes.pythonapi.PyObject_Call, ctypes.c_void_p).value
        self._pcs = (ctypes.c_uint64 * _FRAMES)()
        self._known: dict[int, NativeFrame] = {}

    def capture(self, thread: int) -> bool:
        """Take the stack of a thread (a Linux id). Its Python frames stay as they are until the caller lets others run."""
        return bool(self._capture(thread))

    def frames(self) -> list[NativeFrame]:
        """Of the stack that was taken: from the function that Python called to the innermost one."""
        count = self._library.cask_stack_unwind(self._interpreter, self._pcs, _FRAMES)
        found = [self._frame(pc) for pc in self._pcs[:count]][::-1]
        if found and _waits_for_python(found[0].name):
            return []
        return found

    def _frame(self, pc: int) -> NativeFrame:
        frame = self._known.get(pc)
        if frame is None:
            text = ctypes.create_string_buffer(_TEXT)
            start = self._library.cask_stack_describe(pc, text, _TEXT)
            if len(self._known) >= _KNOWN_MOST:
                self._known.clear()
            frame = NativeFrame(text.value.decode(errors="replace"), pc, pc - start)
            self._known[pc] = frame
        return frame


def _waits_for_python(name: str) -> bool:
    return _C_LIBRARY in name and name.startswith((_WAITS, _C_LIBRARY))


def native_stacks() -> NativeStacks | None:
    """None, and a warning, where they cannot be had."""
    try:
        return NativeStacks()
    except OSError as error:
        logger.warning("profiles end at Python's frames: %s", error)
        return None
