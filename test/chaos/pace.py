"""Seconds as a cluster gets them: they pass slowly where other processes have the machine.

A cluster that nobody gives a processor looks like one that hangs, and one that is hurt each three seconds while a worker takes a
minute to start does nothing else. So storms, and patience with programs, are measured in paced seconds: of each second counts what
the cluster's threads had of the processors, against what they would have had if the machine were theirs. One that waits for
nothing but itself gets whole seconds.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time

TICK = 1.0
ASKS_FOR_NOTHING = 0.1  # threads that want to run, on average
CORES = len(os.sched_getaffinity(0))


def used_and_waited(pid):
    """By thread: seconds that it ran, and that it wanted to"""
    folder = f"/proc/{pid}/task"
    with contextlib.suppress(OSError):
        for thread in os.listdir(folder):
            with contextlib.suppress(OSError), open(f"{folder}/{thread}/schedstat") as file:
                ran, waited, _ = map(int, file.read().split())
                yield (pid, thread), (ran / 1e9, waited / 1e9)


class Pace(threading.Thread):
    """A clock that everybody may read; `find_pids` tells whose seconds they are"""

    def __init__(self, find_pids):
        super().__init__(name="pace", daemon=True)
        self._find_pids = find_pids
        self._is_over = threading.Event()
        self._seen = self._look()
        self._at = (time.monotonic(), 0.0, 1.0)  # when, the seconds so far, how fast they pass
        self.start()

    def _look(self):
        return {thread: times for pid in self._find_pids() for thread, times in used_and_waited(pid)}

    def _speed(self, seconds):
        before, self._seen = self._seen, self._look()
        ran = waited = 0.0
        for thread, (ran_now, waited_now) in self._seen.items():
            ran_before, waited_before = before.get(thread, (0.0, 0.0))
            ran += ran_now - ran_before
            waited += waited_now - waited_before
        wanted = (ran + waited) / seconds
        return 1.0 if wanted < ASKS_FOR_NOTHING else min(1.0, ran / seconds / min(CORES, wanted))

    def run(self):
        while not self._is_over.wait(TICK):
            paced, when = self.now(), time.monotonic()
            self._at = (when, paced, self._speed(when - self._at[0]))

    def now(self):
        when, paced, speed = self._at
        return paced + (time.monotonic() - when) * speed

    def wait(self, event, seconds):
        """As event.wait"""
        end = self.now() + seconds
        while (left := end - self.now()) > 0:
            if event.wait(min(left, TICK)):
                return True
        return event.is_set()

    def join_thread(self, thread, seconds):
        """Whether it has ended by then"""
        end = self.now() + seconds
        while thread.is_alive() and (left := end - self.now()) > 0:
            thread.join(min(left, TICK))
        return not thread.is_alive()

    def eventually(self, condition, seconds, what):
        """As harness.eventually: an error is a no"""
        end = self.now() + seconds
        while True:
            last = None
            try:
                if condition():
                    return
            except Exception as error:
                last = error
            if self.now() > end:
                raise TimeoutError(f"{what}: not so after {seconds} s") from last
            time.sleep(0.1)

    def stop(self):
        self._is_over.set()
        self.join()
