"""``python -m cask.planner``: serves the scheduler at fd 3 until it closes the channel.

Three kinds of thread: the main one runs the event loop and all that users run on the scheduler; one
reads the channel; a few materialise graphs. So an answer is read while user code waits for it, and
no request waits for a long graph.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading

import msgpack

CHANNEL_FD = 3


def _read_messages(channel, queries, graphs, users, loop, stopped) -> None:
    """Give each message to who handles it, until the channel ends."""
    from cask.planner.channel import ChannelClosed

    try:
        while True:
            frames = channel.read()
            head = msgpack.unpackb(frames[0], use_list=False, strict_map_key=False)
            op, number = head["op"], head["id"]
            if op == "answer":
                queries.answered(frames)
            elif op == "materialise":
                graphs.submit(number, frames)
            else:
                loop.call_soon_threadsafe(users.submit, op, number, frames)
    except ChannelClosed:
        pass
    finally:
        queries.close()
        loop.call_soon_threadsafe(stopped.set)


async def _serve(peer: socket.socket) -> None:
    from cask.planner import cull, spec_pickle
    from cask.planner.channel import Channel
    from cask.planner.graph_jobs import GraphJobs
    from cask.planner.queries import Queries
    from cask.planner.scheduler_view import SchedulerView
    from cask.planner.user_jobs import UserJobs

    cull.install()
    spec_pickle.install()
    loop = asyncio.get_running_loop()
    channel = Channel(peer)
    queries = Queries(channel)
    scheduler = SchedulerView(queries, loop, lambda: users.interest_changed())
    users = UserJobs(channel, scheduler)
    graphs = GraphJobs(channel)
    stopped = asyncio.Event()
    gc.collect()
    gc.freeze()  # what was imported stays; no need to look at it again
    reader = threading.Thread(
        target=_read_messages,
        args=(channel, queries, graphs, users, loop, stopped),
        name="channel",
        daemon=True,
    )
    reader.start()
    await stopped.wait()
    await users.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # nobody waits for graphs that are still being made


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the scheduler, which ends us
    peer = socket.socket(fileno=CHANNEL_FD)
    peer.set_inheritable(False)
    asyncio.run(_serve(peer))


if __name__ == "__main__":
    main()
