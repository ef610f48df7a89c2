"""P2P shuffles live in the executor's process. The real worker is told which, to have them begin again if it dies."""

from __future__ import annotations


class _ToldRuns(dict):
    """Active runs by shuffle, as the shuffle's plugin keeps them; each change is told before anything that follows from
    it is answered."""

    def __init__(self, runs: dict, tell):
        super().__init__(runs)
        self._tell = tell

    def _changed(self) -> None:
        self._tell("shuffles", [[id, run.run_id] for id, run in self.items()])

    def __setitem__(self, id, run) -> None:
        super().__setitem__(id, run)
        self._changed()

    def pop(self, id):
        run = super().pop(id)
        self._changed()
        return run


def watch(worker) -> None:
    """The worker has got a plugin: if it is that of shuffles, watch it."""
    runs = getattr(worker.extensions.get("shuffle"), "shuffle_runs", None)
    if runs is not None and not isinstance(runs._active_runs, _ToldRuns):
        runs._active_runs = _ToldRuns(runs._active_runs, worker.tell)
