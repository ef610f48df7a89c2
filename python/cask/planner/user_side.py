"""The event loop and everything that users run on it; imported when the first of it is asked for."""

from __future__ import annotations

import asyncio

from cask.planner.plain import import_distributed

import_distributed()

from cask.planner.channel import Channel  # noqa: E402
from cask.planner.queries import Queries  # noqa: E402
from cask.planner.scheduler_view import SchedulerView  # noqa: E402
from cask.planner.user_jobs import UserJobs  # noqa: E402


async def _serve(channel: Channel, reader, first) -> None:
    loop = asyncio.get_running_loop()
    queries = reader.queries = Queries(channel)
    scheduler = SchedulerView(queries, loop, lambda: users.interest_changed())
    users = UserJobs(channel, scheduler)
    stopped = asyncio.Event()

    def deliver(message) -> None:
        if message is None:
            stopped.set()
        else:
            users.submit(*message)

    deliver(first)
    reader.inbox.attach(loop, deliver)
    await stopped.wait()
    await users.close()


def serve(channel: Channel, reader, first) -> None:
    """Run what users ask for, beginning with the message `first`, until the channel ends."""
    asyncio.run(_serve(channel, reader, first))
