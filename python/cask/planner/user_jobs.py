"""What people run on the scheduler: functions, feeds, plugins, preloads, added operations.

Everything here runs on the planner's event loop, as on a stock scheduler it runs on the
scheduler's: a function that blocks holds up the others, but here not the scheduler.

Source it must agree with: distributed/scheduler.py ``run_function``, ``feed``,
``register_scheduler_plugin``; distributed/worker.py ``run``.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from functools import partial
from typing import Any

from dask.utils import funcname, parse_timedelta
from distributed.core import Status, error_message
from distributed.preloading import process_preloads
from distributed.protocol import pickle
from distributed.protocol.core import dumps, loads
from distributed.protocol.serialize import to_serialize
from distributed.utils import has_arg, iscoroutinefunction

from cask.planner.channel import Channel, ChannelClosed
from cask.planner.graph_jobs import plain_error
from cask.planner.policies import configured
from cask.planner.scheduler_view import SHARED, SchedulerView

logger = logging.getLogger("distributed.scheduler")


# What plugins may take to hear that the scheduler closes.
CLOSE_SECONDS = 5


class Caller:
    """What a handler that takes ``comm`` gets: who called, and no stream."""

    def __init__(self, peer: str):
        self.peer_address = peer


class UserJobs:
    """Requests by number, each a task of the event loop."""

    def __init__(self, channel: Channel, scheduler: SchedulerView):
        self._channel = channel
        self._scheduler = scheduler
        self._running: dict[int, asyncio.Task] = {}
        self._events = asyncio.Lock()  # events reach plugins one after the other
        self._told: dict | None = None
        self._preloads: list = []
        self._operations = {
            "run_function": self._run_function,
            "feed": self._feed,
            "register_scheduler_plugin": self._register_plugin,
            "unregister_scheduler_plugin": self._unregister_plugin,
            "handler": self._handler,
            "events": self._events_happened,
            "valid_workers": self._valid_workers,
            "preload": self._preload,
            "policies": self._policies,
            "amm_handler": self._amm_handler,
            "retire_workers": self._retire_workers,
            **{name: partial(self._shared, name) for name in SHARED},
        }

    def interest_changed(self) -> None:
        """Tell the scheduler which hooks and added operations need calling, if that is new."""
        scheduler = self._scheduler
        interest = {
            "hooks": scheduler.plugins.hooks(),
            "handlers": list(scheduler.handlers),
            "stream_handlers": list(scheduler.stream_handlers),
            "plugins": list(scheduler.plugins),
        }
        if interest != self._told:
            self._told = interest
            self._channel.write(dumps({"op": "interest", **interest}))

    def submit(self, op: str, number: int | None, frames: list) -> None:
        """Begin a request. The event loop's thread."""
        if op == "cancel":
            if task := self._running.get(number):
                task.cancel()
            return
        task = asyncio.get_running_loop().create_task(self._serve(op, number, frames))
        key = number if number is not None else -id(task)
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key, None))

    async def _serve(self, op: str, number: int | None, frames: list) -> None:
        """Run one request and answer it, whatever happens."""
        serializers = None
        try:
            message = loads(frames, deserialize=False)
            del message["op"], message["id"]
            serializers = message.pop("serializers", None)
            run = self._operations[op]
            reply = await (run(number, **message) if op == "feed" else run(**message))
            answer = {"op": "reply", "id": number, "status": "OK", "reply": reply}
        except ChannelClosed:
            return
        except (Exception, SystemExit, KeyboardInterrupt, asyncio.CancelledError) as error:
            answer = {"op": "reply", "id": number, "status": "error", "error": plain_error(error)}
        try:
            self.interest_changed()
            if number is not None:
                self._channel.write(dumps(answer, serializers=serializers))
        except ChannelClosed:
            pass

    async def _run_function(self, function, args=(), kwargs=None, wait: bool = True) -> dict:
        function = pickle.loads(function)
        is_coroutine = iscoroutinefunction(function)
        assert wait or is_coroutine, "Combination not supported"
        args = pickle.loads(args) if args else ()
        kwargs = pickle.loads(kwargs) if kwargs else {}
        for name in ("dask_worker", "dask_scheduler"):
            if has_arg(function, name):
                kwargs[name] = self._scheduler
        logger.info("Run out-of-band function %r", funcname(function))
        try:
            if not is_coroutine:
                result = function(*args, **kwargs)
            elif wait:
                result = await function(*args, **kwargs)
            else:
                self._scheduler.in_background(function(*args, **kwargs))
                result = None
        except (Exception, SystemExit) as error:
            logger.warning("Run Failed\nFunction: %s", funcname(function), exc_info=True)
            return error_message(error)
        return {"status": "OK", "result": to_serialize(result)}

    async def _feed(
        self, number: int, function=None, setup=None, teardown=None, interval="1s", **_
    ) -> None:
        interval = parse_timedelta(interval)
        function = pickle.loads(function) if function else None
        setup = pickle.loads(setup) if setup else None
        teardown = pickle.loads(teardown) if teardown else None
        scheduler = self._scheduler
        state = setup(scheduler) if setup else None
        if inspect.isawaitable(state):
            state = await state
        self.interest_changed()
        try:
            while scheduler.status == Status.running:
                item = function(scheduler) if state is None else function(scheduler, state)
                self._channel.write(dumps({"op": "feed-item", "id": number, "item": item}))
                await asyncio.sleep(interval)
        finally:
            if teardown:
                teardown(scheduler, state)

    async def _register_plugin(self, plugin, name=None, idempotent: bool = False) -> str | None:
        """The name it has now, by which the scheduler registers it again in a later planner; None
        if there was one already."""
        return await self._scheduler.register_scheduler_plugin(
            plugin, name=name, idempotent=idempotent
        )

    async def _unregister_plugin(self, name: str) -> None:
        self._scheduler.remove_plugin(name)

    async def _shared(self, name: str, **arguments) -> Any:
        """A method of stock's that works on the view."""
        result = getattr(self._scheduler, name)(**arguments)
        return await result if inspect.isawaitable(result) else result

    async def _retire_workers(
        self, close_workers: bool = False, remove: bool = True, stimulus_id=None, **which
    ) -> dict:
        """Retire those that stock's workers_to_close names: its key is a function of users'."""
        named = [name for name, value in which.items() if value is not None]
        chosen = self._scheduler.workers_to_close(**{name: which[name] for name in named})
        if not chosen:
            return {}
        return await self._scheduler.retire_workers(
            list(chosen), close_workers=close_workers, remove=remove
        )

    async def _handler(self, name: str, message: dict, peer: str = "", stream: bool = False) -> Any:
        """An operation that user code added to dask_scheduler.handlers."""
        handlers = self._scheduler.stream_handlers if stream else self._scheduler.handlers
        handler = handlers[name]
        parameters = list(inspect.signature(handler).parameters)
        result = (
            handler(Caller(peer), **message)
            if parameters and parameters[0] == "comm"
            else handler(**message)
        )
        return await result if inspect.isawaitable(result) else result

    async def _events_happened(self, events: list) -> None:
        async with self._events:
            self._scheduler.snapshot.forget()
            for name, fields in events:
                await self._scheduler.plugins.happened(self._scheduler, name, fields)

    async def _valid_workers(self, workers: list[str]) -> list[str]:
        known = self._scheduler.workers
        valid = [known[address] for address in workers if address in known]
        for plugin in list(self._scheduler.plugins.values()):
            valid = plugin.valid_workers_downscaling(self._scheduler, valid)
        return [ws.address for ws in valid]

    async def _preload(self, preload, preload_argv=()) -> None:
        manager = process_preloads(self._scheduler, preload, preload_argv)
        self._preloads.append(manager)
        await manager.start()

    async def _policies(self, start: bool) -> None:
        """Those of the configuration, at the start."""
        memory_manager = self._scheduler.extensions["amm"].here
        for policy in configured():
            memory_manager.add_policy(policy)
        if start:
            memory_manager.start()

    async def _amm_handler(self, method: str) -> None:
        """What a client has told the core's memory manager."""
        self._scheduler.snapshot.forget()
        getattr(self._scheduler.extensions["amm"].here, method)()

    async def close(self) -> None:
        """Let events (close hooks) reach plugins, run the teardown of preloads, end the rest."""
        try:
            await asyncio.wait_for(self._events.acquire(), CLOSE_SECONDS)
        except asyncio.TimeoutError:
            logger.warning("Plugins took too long to close")
        for task in list(self._running.values()):
            task.cancel()
        try:
            for manager in self._preloads:
                await manager.teardown()
        finally:
            self._scheduler.remove_files()
