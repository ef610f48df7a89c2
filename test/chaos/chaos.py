#!/usr/bin/env python3
"""Real Dask programs on a cluster whose processes and connections die at random.

    test/chaos/chaos.py [--minutes N] [--seed N] [--stock N] [--links] [--small] [--only PROGRAM] [--pause SECONDS] [--quiet]

Each program must come to the right answer, whatever happens meanwhile; in the end no process, file or task may be left.
One that does not end in time is given a minute of peace: if it ends then, it was unlucky, else it hangs, and the state of
the cluster is written to a folder. The exit status is 0 if there was nothing to complain about. See README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import pathlib
import random
import sys
import tempfile
import threading
import time
import traceback
import warnings

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import faults as faults_  # noqa: E402
import programs as programs_  # noqa: E402
from cluster import Cluster, harness  # noqa: E402
from dask.distributed import Client  # noqa: E402

# As the cluster gets them: see pace.py.
SECONDS_FOR_PROGRAM = 120
SECONDS_OF_PEACE = 90
# Of a graph that the planner was at work on, and of one that needs what the first was to make.
PLANNER_DIED = ("planner", "lost dependencies")
SECONDS_OF_PLANNER = 60  # so long a planner may be waited for after others have died


class Run:
    """A cluster, its storm, one program after the other"""

    def __init__(self, seed, stock=0, links=False, small=False, only=None, pause=3.0, quiet=False):
        self.seed, self.quiet = seed, quiet
        self.rng = random.Random(seed)
        self.begin = time.monotonic()
        self.counts = {"right": 0, "lost": 0, "unlucky": 0}
        self.cluster = Cluster(stock=stock, memory="400MB" if small else "1GiB", with_links=links)
        self.programs = self._choose(stock, small, only)
        storm_rng = random.Random(seed + 1)
        self.storm = faults_.Storm(self.cluster, storm_rng, pause, lambda what: self.tell(f"    ! {what}"))

    def _choose(self, stock, small, only):
        chosen = list(programs_.PLAIN)
        chosen += [] if stock else programs_.ONLY_CASK
        chosen += programs_.ONLY_SMALL * 3 if small else []
        return [p for p in chosen if only in (None, p.__name__)]

    def tell(self, what, always=False):
        if always or not self.quiet:
            print(f"{time.monotonic() - self.begin:7.1f} {what}", flush=True)

    def complain(self, what):
        self.tell(f"WRONG {what}", always=True)
        self.cluster.complain(what)

    # ---- one program ----

    def _excused(self, error, begin):
        """Whether that is what this program may come to after what has happened"""
        if isinstance(error, programs_.Lost):
            return bool(self.storm.since(begin) & faults_.TAKES_DATA)
        planner_died = faults_.planner_kill in self.storm.since(begin - SECONDS_OF_PLANNER)
        return planner_died and any(words in str(error) for words in PLANNER_DIED)

    def _attempt(self, program, seed):
        """True: the answer was right; False: it begins again"""
        begin = self.cluster.pace.now()
        try:
            with Client(self.cluster.address, timeout=600, set_as_default=False) as client:
                self._client = client
                with client.as_current():
                    program(client, random.Random(seed))
            return True
        except Exception as error:
            if self._excused(error, begin):
                self.counts["lost"] += 1
                self.tell(f"      begins again: {str(error)[:120]!r}")
                return False
            self.complain(f"{program.__name__} (seed {seed}): {''.join(traceback.format_exception(error))[-4000:]}")
            return True

    def _play(self, program, seed):
        for _ in range(20):
            if self._attempt(program, seed):
                return
            time.sleep(1)
        self.complain(f"{program.__name__} lost its data 20 times")

    def play(self, program):
        """Within its time; True if the cluster can be used for another one"""
        seed = self.rng.randrange(1 << 30)
        self.tell(f"{program.__name__} (seed {seed})")
        before, begin = len(self.cluster.complaints), time.monotonic()
        thread = threading.Thread(target=self._play, args=(program, seed), daemon=True)
        thread.start()
        if not self.cluster.pace.join_thread(thread, SECONDS_FOR_PROGRAM):
            self.tell("    peace")
            self.storm.hold(True)
            if not self.cluster.pace.join_thread(thread, SECONDS_OF_PEACE):
                self.complain(f"{program.__name__} (seed {seed}) hangs; see {self.dump()}")
                return False
            self.storm.hold(False)
            self.counts["unlucky"] += 1
        self.counts["right"] += len(self.cluster.complaints) == before
        self.tell(f"    {time.monotonic() - begin:.1f} s")
        return self.cluster.scheduler.alive

    def dump(self):
        """All that tells why a program hangs"""
        folder = pathlib.Path(tempfile.mkdtemp(prefix=f"cask-chaos-hang-{self.seed}-"))
        for label, log in self.cluster.logs():
            (folder / f"{label}.log").write_text(log)
        with contextlib.suppress(Exception):
            self._client.sync(self._client.dump_cluster_state, str(folder / "state"), format="yaml")
        for label, stacks in self.cluster.tracebacks():
            (folder / f"{label}.stacks").write_text(stacks)
        with contextlib.suppress(Exception):
            self._explain(folder / "explain")
        return folder

    def _explain(self, path):
        tasks = harness.ask(self.cluster.address, "who_has")
        program = harness.shlex.split(harness.CASK_WORKER)[0]
        with open(path, "w") as file:
            for key in [key for key, workers in tasks.items() if not workers][:20]:
                done = harness.subprocess.run(
                    [program, "explain", "--scheduler", self.cluster.address, str(key)],
                    capture_output=True, text=True, timeout=20,
                )  # fmt: skip
                file.write(done.stdout + done.stderr)

    # ---- all of them ----

    def go(self, seconds):
        """True: there was nothing to complain about"""
        try:
            self._weather(seconds)
        except Exception as error:
            self.complain("".join(traceback.format_exception(error)))
        if self.storm.is_alive():
            self.storm.stop()
        self.cluster.close()
        for what in self.cluster.complaints:
            print(f"COMPLAINT {what}", flush=True)
        counts = ", ".join(f"{number} {name}" for name, number in self.counts.items())
        verdict = f"{len(self.cluster.complaints)} complaints"
        times = f"{time.monotonic() - self.begin:.0f} s, paced {self.cluster.pace.now():.0f}"
        print(f"chaos: seed {self.seed}: {counts}; {len(self.storm.done)} faults; {times}; {verdict}", flush=True)
        return not self.cluster.complaints

    def _weather(self, seconds):
        self.cluster.wait_for_all()
        self.storm.start()
        deadline, queue, is_usable = time.monotonic() + seconds, [], True
        while is_usable and time.monotonic() < deadline:
            if not queue:
                queue = self.rng.sample(self.programs, len(self.programs))
            is_usable = self.play(queue.pop())
        self.storm.stop()
        if is_usable:
            self._settle()

    def _settle(self):
        """In peace all workers come back, and nobody remembers any task"""
        try:
            self.cluster.wait_for_all()
            self.cluster.no_task_is_left()
        except TimeoutError as error:
            self.complain(f"after the storm: {error}; see {self.dump()}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stock", type=int, default=0, help="how many of the four workers are stock ones")
    parser.add_argument("--links", action="store_true", help="connections pass through proxies that cut and delay")
    parser.add_argument("--small", action="store_true", help="workers with little memory, programs that need more")
    parser.add_argument("--only", help="one program only")
    parser.add_argument("--pause", type=float, default=3.0, help="mean seconds between faults")
    parser.add_argument("--quiet", action="store_true", help="tell only what is wrong")
    return parser.parse_args()


def main():
    given = vars(arguments())
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")  # Dask's on large graphs
    minutes = given.pop("minutes")
    return 0 if Run(**given).go(minutes * 60) else 1


if __name__ == "__main__":
    sys.exit(main())
