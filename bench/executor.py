#!/usr/bin/env python3
"""CPU of an executor a trivial task, from RUN to DONE, without worker or scheduler.

    bench/executor.py [--tasks 5000] [--threads 1] [--window 8] [--rounds 5]

Drives `python -m cask.executor` by its protocol and prints microseconds of user and system time of
that process, the least of all rounds. Wall time would measure this script.
"""

from __future__ import annotations

import argparse
import operator
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "test" / "interop"))

from dask._task_spec import Task
from executor_peer import Peer, channel


def cpu_seconds(pid: int) -> float:
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat") as stat:
            total += int(stat.read().split()[0])
    return total / 1e9


def one_round(peer: Peer, number: int, tasks: int, window: int) -> float:
    before = cpu_seconds(peer.process.pid)
    first = peer._handle + 1
    sent = done = 0
    while done < tasks:
        while sent < tasks and sent - done < window:
            peer.run(Task(("add", number, sent), operator.add, 1, sent))
            sent += 1
        peer.wait(channel.DONE)
        done += 1
    used = cpu_seconds(peer.process.pid) - before
    peer.drop(*range(first, peer._handle + 1))
    return used / tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in (("tasks", 5000), ("threads", 1), ("window", 8), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    peer = Peer(nthreads=options.threads)
    rounds = [one_round(peer, n, options.tasks, options.window) for n in range(options.rounds)]
    peer.close()
    print(f"{min(rounds) * 1e6:.1f} us of CPU a task ({options.threads} threads)")


if __name__ == "__main__":
    main()
