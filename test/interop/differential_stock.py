"""Stock's scheduler in this process, driven by the events of a script."""

import asyncio
import collections

import dask
import distributed.spans
from dask._task_spec import Task, TaskRef

from differential_look import look, span_number
from differential_modules import Clock, Comm, Ordered, Stream, Timer, stock
from differential_taught import Taught, offers

CONFIRMED = {"ready", "constrained", "waiting"}  # a victim gives up what it was asked for

# The module that the spans live in is stock's own; it only asks for the time
spans_time = distributed.spans.time


def metrics(event):
    return {
        "bandwidth": {"total": event["bandwidth"], "workers": {}, "types": {}},
        "digests_total_since_heartbeat": {},
        "memory": event["memory"],
        "spilled_bytes": {"memory": event["spilled"], "disk": event["spilled"]},
        "event_loop_interval": 0.02,
    }


class Stock:
    """One scheduler, to be made in a running loop; `apply` takes events"""

    def __init__(self, settings):
        Ordered.age = {}
        Timer.running = []
        Clock.now, Clock.sleepers, Clock.slips = 1000.0, [], 0
        distributed.spans.time = Clock.time
        with dask.config.set(
            {
                "distributed.scheduler.worker-saturation": settings["saturation"],
                "distributed.scheduler.active-memory-manager.start": settings["amm"],
                "distributed.scheduler.no-workers-timeout": settings["no_workers_timeout"],
                "distributed.scheduler.allowed-failures": settings["allowed_failures"],
            }
        ):
            self.s = Taught(dashboard=False, validate=True)
        self.s.handle_worker = self.no_stream
        self.gone = {}

    def close(self):
        distributed.spans.time = spans_time
        for task in self.s.retiring:
            task.cancel()

    async def no_stream(self, comm, worker):
        pass

    async def apply(self, event):
        Clock.now = event["time"]
        self.gone = self.s.stream_comms | self.s.client_comms
        await getattr(self, "do_" + event["op"].replace("-", "_"))(event)
        self.s._refresh_no_workers_since()  # as it does at short intervals

    async def settle(self):
        for _ in range(12):
            await asyncio.sleep(0)

    # --- clients ---

    async def do_client_add(self, event):
        self.s.clients[event["client"]] = stock.ClientState(event["client"])
        self.s.client_comms[event["client"]] = Stream()

    async def do_client_remove(self, event):
        self.s.remove_client(event["client"], stimulus_id="test")
        del self.s.client_comms[event["client"]]

    async def do_desire(self, event):
        self.s.client_desires_keys(event["keys"], event["client"])

    async def do_release(self, event):
        self.s.client_releases_keys(event["keys"], event["client"], "test")

    async def do_cancel(self, event):
        self.s.stimulus_cancel(event["keys"], event["client"], event["force"], "", "")

    async def do_retry(self, event):
        self.s.stimulus_retry(event["keys"], event["client"])

    async def do_report_key(self, event):
        self.s.report_on_key(event["key"], client=event["client"])

    async def do_data_placed(self, event):
        who_has = collections.defaultdict(list)
        for key, worker, _ in event["placed"]:
            who_has[key].append(worker)
        self.s.update_data(
            who_has=who_has,
            nbytes={key: nbytes for key, _, nbytes in event["placed"]},
            client=event["client"],
        )

    async def do_set_restrictions(self, event):
        self.s.set_restrictions({event["key"]: event["workers"]})

    def number(self, event):
        """Tasks have their ages in the order of the graph; inputs come oldest first"""
        for task in event["tasks"]:
            Ordered.age.setdefault(task[0], len(Ordered.age))
        keys = [task[0] for task in event["tasks"]] + event["others"]
        for task in event["tasks"]:
            task[1].sort(key=lambda i: Ordered.rank(keys[i]))
        event["wanted"].sort(key=Ordered.rank)

    async def do_graph(self, event):
        """What update_graph does once the graph is unpacked and in order"""
        keys = [task[0] for task in event["tasks"]] + event["others"]
        graph = {}
        notes = collections.defaultdict(dict)
        for key, inputs, _, note, is_data in event["tasks"]:
            refs = [TaskRef(keys[i]) for i in inputs]
            graph[key] = Task(key, print, *refs, _data_producer=is_data)
            for name, value in note.items():
                if name == "span":
                    value = {part: tuple(names) for part, names in value.items()}
                notes[name][key] = value
        wanted = Ordered(event["wanted"])
        graph = stock._cull(graph, wanted)
        if self.s._find_lost_dependencies(graph, wanted):
            lost = {"op": "cancelled-keys", "keys": wanted, "reason": "lost dependencies"}
            self.s.report(lost, client=event["client"])
            self.s.client_releases_keys(keys=wanted, client=event["client"], stimulus_id="test")
            return
        self.s._create_taskstate_from_graph(
            start=Clock.now,
            dsk=graph,
            keys=wanted,
            ordered={task[0]: task[2] for task in event["tasks"]},
            client=event["client"],
            annotations_by_type=notes,
            global_annotations=None,
            stimulus_id="test",
            submitting_task=event["submitting_task"],
            span_metadata={"collections": []},
            user_priority=event["user_priority"],
            fifo_timeout=event["fifo_timeout"],
            actors=event["actors"],
            code=(event["code"],),
        )

    # --- workers ---

    async def do_worker_add(self, event):
        await self.s.add_worker(
            Comm(),
            address=event["worker"],
            status=event["status"],
            server_id=event["name"],
            nthreads=event["nthreads"],
            name=event["name"],
            resolve_address=False,
            now=event["worker_time"],
            resources=event["resources"],
            memory_limit=event["memory_limit"],
            metrics=metrics(event),
            services={},
            local_directory="",
            versions={},
            nanny=None,
            extra={},
            stimulus_id="test",
        )

    async def do_worker_remove(self, event):
        await self.s.remove_worker(
            event["worker"], stimulus_id="test", expected=event["expected"], close=event["close"]
        )

    async def do_worker_status(self, event):
        self.s.handle_worker_status_change(event["status"], event["worker"], "test")

    async def do_resources(self, event):
        self.s.add_resources(event["worker"], event["resources"])

    async def do_heartbeat(self, event):
        self.s.heartbeat_worker(
            address=event["worker"],
            resolve_address=False,
            now=event["worker_time"],
            resources=None,
            host_info=None,
            metrics=metrics(event),
            executing=event["executing"],
        )

    async def do_span_metrics(self, event):
        spans = list(self.s.extensions["spans"].spans)
        self.s.extensions["spans"].heartbeat(
            self.s.workers[event["worker"]],
            {
                (name[0], spans[number], *name[1:]): amount
                for number, name, amount in event["metrics"]
            },
        )

    # --- what workers say of tasks ---

    def run_id(self, event):
        task = self.s.tasks.get(event["key"])
        run = task.run_id if task and task.run_id else 0
        return run + 1000000 if event.get("stale") else run

    async def do_finished(self, event):
        self.s.handle_task_finished(
            key=event["key"],
            worker=event["worker"],
            stimulus_id="test",
            run_id=self.run_id(event),
            metadata={},
            nbytes=event["nbytes"],
            type=b"type",
            typename=event["typename"],
            thread=1,
            startstops=[
                {"action": action, "start": start, "stop": stop}
                for action, start, stop in event["startstops"]
            ],
        )

    async def do_erred(self, event):
        self.s.handle_task_erred(
            key=event["key"],
            worker=event["worker"],
            stimulus_id="test",
            run_id=self.run_id(event),
            exception="oops",
            exception_text="oops",
            traceback=None,
            traceback_text="",
        )

    async def do_long_running(self, event):
        self.s.handle_long_running(
            event["key"], event["worker"], self.run_id(event), event["seconds"], "test"
        )

    async def do_reschedule(self, event):
        task = self.s.tasks.get(event["key"])
        here = task and task.processing_on and task.processing_on.address == event["worker"]
        self.s._reschedule(event["key"], event["worker"], stimulus_id="test")
        if here:
            self.s.stimulus_queue_slots_maybe_opened(stimulus_id="test")

    async def do_release_data(self, event):
        self.s.release_worker_data(event["key"], event["worker"], "test")

    async def do_add_keys(self, event):
        self.s.add_keys(event["worker"], event["keys"], "test")

    async def do_refresh_who_has(self, event):
        self.s.handle_request_refresh_who_has(event["keys"], event["worker"], "test")

    def is_allowed(self, ts, ws):
        """Whether the rules of the task allow the worker, running or not"""
        hosts = ts.host_restrictions or set()
        named = set(ts.worker_restrictions or ())
        for host in hosts & self.s.host_info.keys():
            named |= self.s.host_info[host]["addresses"]
        is_free = ts.loose_restrictions or not (ts.worker_restrictions or hosts)
        return (is_free or ws.address in named) and offers(ts, ws, ws.resources)

    async def do_steal_response(self, event):
        stealing = self.s.extensions["stealing"]
        task = self.s.tasks.get(event["key"])
        request = stealing.in_flight.get(task)
        state = event["state"] or None
        if state in CONFIRMED and request and not self.is_allowed(task, request["thief"]):
            state = None  # stock sends it to the thief even so
        stealing.move_task_confirm(
            key=event["key"],
            state=state,
            stimulus_id=request["stimulus_id"] if request and not event["stale"] else "test",
            worker=event["worker"],
        )
        self.s.stimulus_queue_slots_maybe_opened(stimulus_id="test")

    # --- time, memory ---

    async def do_tick(self, event):
        self.s.extensions["stealing"].balance()
        for timer in list(Timer.running):
            timer.callback()
        self.s._check_no_workers()
        Clock.wake()
        await self.settle()
        self.s.stimulus_queue_slots_maybe_opened(stimulus_id="test")

    async def do_amm(self, event):
        getattr(self.s.extensions["amm"], event["method"])()

    async def do_retire(self, event):
        self.s.retiring.append(
            asyncio.create_task(self.s.retire_workers(workers=event["workers"], stimulus_id="test"))
        )
        await self.settle()
        Clock.wake()
        await self.settle()

    # --- what came of it ---

    def tell(self, orders):
        """The core's orders of what stock keeps in sets"""
        for address, lists in orders["workers"].items():
            ws = self.s.workers[address]
            ws.processing.told = lists["processing"]
            ws._has_what = {self.s.tasks[key]: None for key in lists["has_what"]}
            for tasks, keys in zip(
                self.s.extensions["stealing"].stealable[address], lists["stealable"], strict=True
            ):
                tasks.told = keys
        self.s.replicated_tasks.told = orders["replicated"]
        self.s.queue_order = orders["queued"]
        for client, keys in orders["clients"].items():
            self.s.clients[client].wants_what.told = keys
        for key, (dependencies, dependents) in orders["edges"].items():
            task = self.s.tasks[key]
            task.dependencies.told, task.dependents.told = dependencies, dependents
            if task.waiters:
                task.waiters.told = dependents

    def sent(self):
        sent = {}
        comms = self.gone | self.s.stream_comms | self.s.client_comms
        for peer, stream in comms.items():
            if stream.messages:
                sent[peer] = [one for message in stream.messages for one in self.plain(message)]
                stream.messages.clear()
        return {peer: messages for peer, messages in sent.items() if messages}

    def plain(self, message):
        """A message as lists, one a key"""
        op = message["op"]
        if op == "compute-task":
            yield [
                op,
                message["key"],
                list(message["priority"]),
                [
                    [key, message["nbytes"][key], sorted(holders)]
                    for key, holders in sorted(message["who_has"].items())
                ],
                message["resource_restrictions"] or {},
                message["actor"],
                span_number(self.s, message["span_id"]),
            ]
        elif op in ("acquire-replicas", "refresh-who-has"):
            for key, holders in message["who_has"].items():
                yield [op, key, sorted(holders)]
        elif op in ("worker-status-change", "remove-worker", "close"):
            yield [op, message.get("status") or message.get("worker")]
        elif "keys" in message:
            for key in message["keys"]:
                yield [op, key]
        else:
            yield [op, message["key"]]

    def places(self):
        return {
            key: task.state + (f"@{task.processing_on.address}" if task.processing_on else "")
            for key, task in self.s.tasks.items()
        }

    def look(self):
        return look(self.s)
