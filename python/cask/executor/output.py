"""What tasks print: passed on to the process's own streams, and kept for the task."""

from __future__ import annotations

import sys
from contextvars import ContextVar

_KEPT_MAX = 64 * 1024  # bytes of each stream of a task

# The task that runs in this context: an object with `output`, None or {stream: [size, kept, [text]]}.
current_task: ContextVar = ContextVar("cask_task", default=None)


class _Tee:
    """A stream that also gives its text to the task that writes it."""

    def __init__(self, stream, number: int):
        self._stream = stream
        self._number = number

    def write(self, text):
        task = current_task.get()
        if task is not None and isinstance(text, str):
            if task.output is None:
                task.output = {}
            kept = task.output.setdefault(self._number, [0, 0, []])
            content = text.encode(errors="replace")
            kept[0] += len(content)
            if kept[1] < _KEPT_MAX:
                content = content[: _KEPT_MAX - kept[1]]
                kept[1] += len(content)
                kept[2].append(content)
        return self._stream.write(text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def __iter__(self):
        return iter(self._stream)

    def __getattr__(self, name):
        return getattr(self._stream, name)


def install() -> None:
    sys.stdout.reconfigure(line_buffering=True)  # what was printed before a crash is not lost
    sys.stdout = _Tee(sys.stdout, 1)
    sys.stderr = _Tee(sys.stderr, 2)


def kept_output(task):
    """(stream, bytes written in all, the first of them) of what the task wrote."""
    for number, (size, _, parts) in sorted((task.output or {}).items()):
        yield number, size, b"".join(parts)
