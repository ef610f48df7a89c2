"""What a stretch of a thread costs, as it is told to the worker: "run" in docs/executor.md."""

from __future__ import annotations

import os
import resource
import struct

from cask.executor.native import native

_RUN = struct.Struct("<dddQddQQQQQQ")
_BLOCK = 512
_SECONDS_TO_GROW = 0.001  # by an amount that matters


class Meter:
    """Looks at the thread that asks. Of this process alone: one that was forked makes its own."""

    def __init__(self):
        self._status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._page = os.sysconf("SC_PAGESIZE") // 1024
        # What ru_maxrss claims and this process never had: exec inherits the parent's peak.
        claimed = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._seen = self._own()
        self._inherited = claimed if claimed > self._seen else 0

    def _own(self) -> int:
        status = os.pread(self._status, 4096, 0)
        at = status.find(b"VmHWM:")
        return 0 if at < 0 else int(status[at + 6 : at + 64].split()[0])

    def _peak(self, usage, seconds: float) -> int:
        """Highest resident memory of this process so far, in KiB. `usage`: from getrusage; `seconds`: for how long it may
        have risen."""
        if usage.ru_maxrss > self._inherited:
            return usage.ru_maxrss
        if seconds >= _SECONDS_TO_GROW:
            self._seen = self._own()  # exact, and slow to ask for
        else:
            present = int(os.pread(self._statm, 64, 0).split()[1]) * self._page
            self._seen = max(self._seen, present)
        return self._seen

    def begin(self, before=None) -> tuple:
        """What it has used so far; with `before`, memory is measured from there on."""
        usage = resource.getrusage(resource.RUSAGE_THREAD)
        return usage, self._peak(usage, 0) if before is None else before[1]

    def end(self, begun: tuple, thread: int, prepared: float, start: float, stop: float) -> bytes:
        """What it used since begin(); without the metrics."""
        before, peak_before = begun
        now = resource.getrusage(resource.RUSAGE_THREAD)
        peak = self._peak(now, stop - start)
        return _RUN.pack(
            prepared,
            start,
            stop,
            thread,
            now.ru_utime - before.ru_utime,
            now.ru_stime - before.ru_stime,
            peak * 1024,
            max(0, peak - peak_before) * 1024,
            now.ru_minflt - before.ru_minflt,
            now.ru_majflt - before.ru_majflt,
            (now.ru_inblock - before.ru_inblock) * _BLOCK,
            (now.ru_oublock - before.ru_oublock) * _BLOCK,
        )


def nothing(thread: int, at: float) -> bytes:
    """Of a task that did not run."""
    return _RUN.pack(at, at, at, thread, 0, 0, 0, 0, 0, 0, 0, 0)


def make_meter():
    return Meter() if native is None else native.Meter()
