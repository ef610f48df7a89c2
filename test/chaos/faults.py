"""What may happen to a cluster at any time. Each takes the cluster and a random generator, and says what it did."""

from __future__ import annotations

import contextlib
import signal
import threading

from cluster import harness, send


def _a_place(cluster, rng, *, cask=False):
    places = [place for place in cluster.places if not (cask and place.is_stock)]
    return rng.choice(places)


def _an_executor(cluster, rng):
    """Of any worker, spares too: (place, pid), or None if there is none just now"""
    place = _a_place(cluster, rng, cask=True)
    executors = place.executors()
    return (place, rng.choice(executors)) if executors else None


def _signal_executor(cluster, rng, number):
    with cluster.held():
        found = _an_executor(cluster, rng)
        if found is None:
            return "no executor is there"
        send(found[1], number)
    return f"{number.name} to executor {found[1]} of {found[0].name}"


def executor_kill(cluster, rng):
    return _signal_executor(cluster, rng, signal.SIGKILL)


def executor_segv(cluster, rng):
    return _signal_executor(cluster, rng, signal.SIGSEGV)


def _pause(pid, seconds):
    """Stop it, and let it go on later whatever happens here"""
    send(pid, signal.SIGSTOP)
    timer = threading.Timer(seconds, send, (pid, signal.SIGCONT))
    timer.daemon = True
    timer.start()


def executor_pause(cluster, rng):
    with cluster.held():
        found = _an_executor(cluster, rng)
        if found is None:
            return "no executor is there"
        seconds = rng.uniform(0.1, 3)
        _pause(found[1], seconds)
    return f"executor {found[1]} of {found[0].name} stands still for {seconds:.1f} s"


def _signal_worker(cluster, rng, number):
    with cluster.held():
        place = _a_place(cluster, rng)
        place.our_signals.add(number)
        send(place.worker.pid, number)
    return f"{number.name} to {place.name}"


def worker_kill(cluster, rng):
    return _signal_worker(cluster, rng, signal.SIGKILL)


def worker_end(cluster, rng):
    return _signal_worker(cluster, rng, signal.SIGTERM)


def worker_pause(cluster, rng):
    with cluster.held():
        place = _a_place(cluster, rng)
        seconds = rng.uniform(0.1, 3)
        _pause(place.worker.pid, seconds)
    return f"{place.name} stands still for {seconds:.1f} s"


def worker_retire(cluster, rng):
    place = _a_place(cluster, rng)
    with contextlib.suppress(OSError):
        harness.ask(cluster.address, "retire_workers", names=[place.name], close_workers=True, remove=True)
    return f"{place.name} is retired"


def planner_kill(cluster, rng):
    for pid in cluster.planners():
        send(pid, signal.SIGKILL)
    return "SIGKILL to the planner"


def link_cut(cluster, rng):
    """All that goes between a worker and its scheduler"""
    place = _a_place(cluster, rng)
    place.link.cut()
    return f"{place.name} is cut off from the scheduler"


def line_cut(cluster, rng):
    place = _a_place(cluster, rng)
    place.link.cut(1)
    return f"one line between {place.name} and the scheduler is cut"


def peers_cut(cluster, rng):
    place = _a_place(cluster, rng)
    place.peers.cut()
    return f"{place.name} is cut off from who asked it"


def link_slow(cluster, rng):
    place = _a_place(cluster, rng)
    link = rng.choice([place.link, place.peers])
    seconds, delay = rng.uniform(0.5, 4), rng.uniform(0.005, 0.2)
    link.delay(delay)
    timer = threading.Timer(seconds, link.delay, (0.0,))
    timer.daemon = True
    timer.start()
    return f"data from and to {place.name} takes {delay * 1000:.0f} ms for {seconds:.1f} s"


# Which, and how often one against the other.
ALWAYS = {
    executor_kill: 6, executor_segv: 4, executor_pause: 3, worker_kill: 3, worker_end: 2, worker_pause: 2,
    worker_retire: 2, planner_kill: 2,
}  # fmt: skip
WITH_LINKS = {link_cut: 2, line_cut: 3, peers_cut: 4, link_slow: 3}
# After these, what only one worker had is gone.
TAKES_DATA = {executor_kill, executor_segv, worker_kill, worker_end, worker_retire, link_cut, line_cut, worker_pause}


class Storm(threading.Thread):
    """Faults, one after the other, until it is told to stop; `done` lists them with their times"""

    def __init__(self, cluster, rng, mean_seconds, tell):
        super().__init__(name="storm", daemon=True)
        self._cluster, self._rng, self._mean, self._tell = cluster, rng, mean_seconds, tell
        kinds = dict(ALWAYS) if cluster.network is None else {**ALWAYS, **WITH_LINKS}
        self._kinds, self._weights = list(kinds), list(kinds.values())
        self._is_over = threading.Event()
        self._may_blow = threading.Event()
        self._may_blow.set()
        self.done = []

    def run(self):
        pace = self._cluster.pace
        while not pace.wait(self._is_over, self._rng.expovariate(1 / self._mean)):
            self._may_blow.wait()
            if self._is_over.is_set():
                break
            fault = self._rng.choices(self._kinds, self._weights)[0]
            self.done.append((pace.now(), fault))
            try:
                self._tell(fault(self._cluster, self._rng))
            except Exception as error:
                self._cluster.complain(f"{fault.__name__}: {type(error).__name__}: {error}")

    def hold(self, is_held):
        (self._may_blow.clear if is_held else self._may_blow.set)()

    def since(self, begin):
        """The kinds of faults since then, by the cluster's pace"""
        return {fault for when, fault in self.done if when >= begin}

    def stop(self):
        self._is_over.set()
        self._may_blow.set()
        self.join(120)
