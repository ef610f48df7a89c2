"""What tasks print: passed on to the process's own streams, and told to the worker by task.

Told line by line, so that what a task printed before it crashed is known; beyond _LINES_MAX bytes of a task in larger
pieces, as only the end is kept then.
"""

from __future__ import annotations

import os
import sys
from contextvars import ContextVar

_LINES_MAX = 64 * 1024
_PIECE = 16 * 1024

# The task that runs in this context: an object with `output`, None or {stream: Output}, and tell_output().
current_task: ContextVar = ContextVar("cask_task", default=None)
_pid = 0  # of the executor: a child that a task forks inherits all this, but may tell nothing


class Output:
    """What a task wrote to one stream."""

    __slots__ = ("parts", "size", "told")

    def __init__(self):
        self.told = 0  # bytes
        self.size = 0  # … still to be told
        self.parts: list[bytes] = []

    def take(self) -> tuple[int, bytes]:
        """Bytes written in all, and what is still to be told of them."""
        content = b"".join(self.parts)
        self.parts.clear()
        self.told += len(content)
        self.size = 0
        return self.told, content


class _Tee:
    """A stream that also gives its text to the task that writes it."""

    def __init__(self, stream, number: int):
        self._stream = stream
        self._number = number

    def write(self, text):
        task = current_task.get()
        if task is not None and isinstance(text, str):
            self._keep(task, text.encode(errors="replace"))
        return self._stream.write(text)

    def _keep(self, task, content: bytes) -> None:
        if task.output is None:
            task.output = {}
        output = task.output.setdefault(self._number, Output())
        output.parts.append(content)
        output.size += len(content)
        is_due = b"\n" in content if output.told < _LINES_MAX else output.size >= _PIECE
        if is_due and os.getpid() == _pid:
            task.tell_output(self._number)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def __iter__(self):
        return iter(self._stream)

    def __getattr__(self, name):
        return getattr(self._stream, name)


def install() -> None:
    global _pid
    _pid = os.getpid()
    sys.stdout.reconfigure(line_buffering=True)  # what was printed before a crash is not lost
    sys.stdout = _Tee(sys.stdout, 1)
    sys.stderr = _Tee(sys.stderr, 2)
