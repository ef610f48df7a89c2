"""What a scheduler's processes spend on reading graphs that only Python can open, first and again.

    intake.py KIND FILE [REPEAT]        KIND: stock, cask; FILE: of graphs.py

Nothing but the graph's message goes in, as a client pickled it; no worker is there. So the CPU counted is
the scheduler's own (and its planner's): from the message's arrival until it knows the tasks. The message is
sent some time after the client has come, when what the scheduler does ahead of need is done; then the client lets go
of the tasks and sends the same again. To another scheduler it is sent at once. One JSON object is printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgpack
from cluster import Scheduler
from distributed.comm import connect
from distributed.comm.core import Comm
from distributed.core import rpc

CLIENT = "Client-bench"
# Between looks; each is an RPC that stock's scheduler spends a fraction of a millisecond on.
PAUSE_SECONDS = 0.1
# Seconds with hardly any CPU (a share) after which a scheduler is at rest.
REST_SECONDS, REST_SHARE = 1.0, 0.05
# Between looks a scheduler that has taken the graph in uses less than this.
QUIET_SHARE = 0.15


def read_parts(path: Path) -> list[bytes]:
    content = path.read_bytes()
    parts = []
    while content:
        (size,) = struct.unpack_from("<Q", content)
        parts.append(content[8 : 8 + size])
        content = content[8 + size :]
    return parts


def as_key(value: object) -> object:
    return tuple(map(as_key, value)) if isinstance(value, list) else value


async def known_tasks(scheduler: rpc) -> int:
    return len(await scheduler.who_has())


async def until(condition, seconds: float = 1800) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError("the scheduler does not get there")
        await asyncio.sleep(PAUSE_SECONDS)


async def send_once(cluster: Scheduler, comm: Comm, scheduler: rpc, parts: list[bytes]) -> tuple[float, int]:
    """CPU seconds until the graph is in, and its number of tasks; the graph is let go of again."""
    wanted = [as_key(key) for key in msgpack.unpackb(parts[1], use_list=True)]

    async def is_in() -> bool:
        status = await scheduler.get_task_status(keys=wanted)
        return all(state not in (None, "lost") for state in status.values())

    async def is_out() -> bool:
        return await known_tasks(scheduler) == 0

    async def is_quiet() -> bool:
        used = cluster.cpu_seconds()
        await asyncio.sleep(PAUSE_SECONDS)
        return cluster.cpu_seconds() - used < PAUSE_SECONDS * QUIET_SHARE

    before = cluster.cpu_seconds()
    await comm.stream.write(parts[4])
    await until(is_in)
    await until(is_quiet)  # a large graph is taken piece by piece, the wanted task perhaps first
    spent = cluster.cpu_seconds() - before
    count = await known_tasks(scheduler)
    await comm.write([{"op": "client-releases-keys", "keys": wanted, "client": CLIENT}])
    await until(is_out)
    return spent, count


async def rest(cluster: Scheduler) -> None:
    while True:
        before = cluster.cpu_seconds()
        await asyncio.sleep(REST_SECONDS)
        if cluster.cpu_seconds() - before < REST_SECONDS * REST_SHARE:
            return


@contextlib.asynccontextmanager
async def registered(cluster: Scheduler) -> AsyncIterator[tuple[Comm, rpc]]:
    """A client that has come, and RPCs beside it."""
    comm = await connect(cluster.address)
    await comm.write({"op": "register-client", "client": CLIENT, "reply": False, "versions": {}})
    await comm.read()
    async with rpc(cluster.address) as scheduler:
        yield comm, scheduler
    await comm.close()


async def measure(kind: str, path: Path, repeat: int) -> dict:
    parts = read_parts(path)
    with Scheduler(kind) as cluster:
        async with registered(cluster) as (comm, scheduler):
            at_once, count = await send_once(cluster, comm, scheduler, parts)
    with Scheduler(kind) as cluster:
        await rest(cluster)
        before = cluster.cpu_seconds()
        async with registered(cluster) as (comm, scheduler):
            await rest(cluster)
            ahead = cluster.cpu_seconds() - before
            resident = cluster.resident_bytes()
            first, _ = await send_once(cluster, comm, scheduler, parts)
            again = [(await send_once(cluster, comm, scheduler, parts))[0] for _ in range(repeat)]
    return {
        "kind": kind,
        "graph": path.stem,
        "tasks": count,
        "at_once_us": at_once / count * 1e6,
        "ahead_seconds": ahead,
        "resident_bytes": resident,
        "first_us": first / count * 1e6,
        "again_us": statistics.median(again) / count * 1e6,
    }


if __name__ == "__main__":
    repeat = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    print(json.dumps(asyncio.run(measure(sys.argv[1], Path(sys.argv[2]), repeat))))
