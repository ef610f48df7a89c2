"""Stock's scheduler in this process: no network, a clock that we set, streams that only collect, and
one order for every set.

Its modules are loaded a second time with each set that they make turned into an `Ordered`, which
iterates in the order in which the core goes through the same things: tasks by age, workers by
address.  Where the core keeps an order of its own, the set is told it.
"""

import ast
import asyncio
import collections
import functools
import heapq
import logging
import sys
import types

import dask
import distributed.active_memory_manager
import distributed.scheduler
import distributed.stealing
from dask._task_spec import Task, TaskRef

TARGET_DURATION = 5.0


class Ordered(set):
    """A set that iterates in an order of its own"""

    age = {}  # of each thing ever seen in this script
    told = None  # another order of this set's tasks, by key

    @classmethod
    def rank(cls, item):
        if isinstance(item, stock.TaskState):
            return cls.age.setdefault(item.key, len(cls.age))
        if isinstance(item, stock.WorkerState):
            return item.address
        if isinstance(item, stock.ClientState):
            return item.client_key
        if isinstance(item, str):
            return cls.age.get(item, -1), item
        return cls.age.setdefault(item, len(cls.age))

    def __iter__(self):
        if len(self) < 2:
            return super().__iter__()
        if self.told is not None:
            place = {key: i for i, key in enumerate(self.told)}
            return iter(sorted(super().__iter__(), key=lambda ts: place.get(ts.key, -1)))
        return iter(sorted(super().__iter__(), key=self.rank))


def keep_type(name):
    method = getattr(set, name)

    @functools.wraps(method)
    def kept(self, *others):
        made = method(self, *others)
        return made if made is NotImplemented else Ordered(made)

    setattr(Ordered, name, kept)


for name in ("__and__", "__or__", "__sub__", "difference", "intersection", "union", "copy"):
    keep_type(name)


class CallSet(ast.NodeTransformer):
    """{a, b} and {x for …} call `set`, which a module may define"""

    def visit_SetComp(self, node):
        self.generic_visit(node)
        return self.call(node, ast.GeneratorExp(node.elt, node.generators))

    def visit_Set(self, node):
        self.generic_visit(node)
        return self.call(node, ast.List(node.elts, ast.Load()))

    @staticmethod
    def call(node, argument):
        return ast.copy_location(ast.Call(ast.Name("set", ast.Load()), [argument], []), node)


# Stock's source where it contradicts itself: what stands there, what it means
EDITS = {"scheduler": [
    # Sets that others made
    ("stack.extend(tspec.dependencies)", "stack.extend(set(tspec.dependencies))"),
    ("for dep in tspec.dependencies:", "for dep in set(tspec.dependencies):"),
    # Validation only, and too strict: an actor can be queued, or without a worker
    ("assert not ts.actor, f\"Actors can't be in `no-worker`: {ts}\"", "pass"),
    ("assert not ts.actor, f\"Actors can't be queued: {ts}\"", "pass"),
    # Validation only: a task that is tried again may be forgotten at once
    ("assert not self.tasks[key].exception_blame", "pass"),
    # Validation only: another input of a waiter was tried again first
    (
        "            assert not ts.waiters\n\n        ts.exception = None",
        "            pass\n\n        ts.exception = None",
    ),
    # What failed stays so when nobody waits for it any more; stock would try it again
    (
        "if not dts.waiters and not dts.who_wants:",
        "if not dts.waiters and not dts.who_wants and dts.state != \"erred\":",
    ),
    (
        "if not s and not dts.who_wants:",
        "if not s and not dts.who_wants and dts.state != \"erred\":",
    ),
    # Scattered data that is lost is not computed, though a dependent asks for it
    ("            assert ts.run_spec\n", "            pass\n"),
    (
        "        if ts.has_lost_dependencies:\n            return {key",
        "        if ts.has_lost_dependencies or not ts.run_spec:\n            return {key",
    ),
    # An actor that is lost errs once
    (
        "        ts.state = \"erred\"\n        return self._propagate_erred(",
        "        return self._propagate_erred(",
    ),
    # A ready task that nobody needs any more, and that loses an input, goes: see Taught.without_input
    (
        "            if dts.state in (\"no-worker\", \"processing\", \"queued\"):\n"
        "                recommendations[dts.key] = \"waiting\"",
        "            if dts.state in (\"no-worker\", \"processing\", \"queued\"):\n"
        "                recommendations[dts.key] = self.without_input(dts)",
    ),
    # What has a value does not fail with an input
    ("                if dts.exception_blame:", "                if dts.exception_blame and ts.state != \"memory\":"),
    # Queued tasks in the core's order
    (
        "affected = list(self.queued)",
        "affected = sorted(self.queued, key=lambda ts: self.queue_order.index(ts.key))",
    ),
    # An input that failed meanwhile: see Taught.doubt
    (
        "            for dts in ts.dependencies:\n"
        "                assert dts.state not in {\"forgotten\", \"erred\"}, (",
        "            for dts in ts.dependencies:\n"
        "                assert dts.state != \"forgotten\", (",
    ),
    (
        "        ts.state = \"waiting\"\n",
        "        ts.state = \"waiting\"; self.doubt(ts)\n",
    ),
    (
        "        while recommendations:\n            key, finish",
        "        while recommendations or self.still_doubtful(recommendations):\n"
        "            key, finish",
    ),
    (
        "(ts.who_wants or ts.waiters) and not any(\n"
        "            dts.state == \"erred\" for dts in ts.dependencies\n"
        "        ):",
        "ts.who_wants or ts.waiters:",
    ),
]}


def load(module):
    """A second copy of a module of distributed, with our sets"""
    copy = types.ModuleType(f"{module.__name__}_ordered")
    copy.__file__ = module.__file__
    copy.__package__ = module.__package__
    copy.set = Ordered
    sys.modules[copy.__name__] = copy
    with open(module.__file__) as file:
        source = file.read()
    for old, new in EDITS.get(module.__name__.rpartition(".")[2], ()):
        assert old in source, f"{module.__file__} has changed: {old}"
        source = source.replace(old, new)
    tree = ast.fix_missing_locations(CallSet().visit(ast.parse(source)))
    exec(compile(tree, module.__file__, "exec"), vars(copy))
    logging.getLogger(copy.__name__).setLevel(logging.CRITICAL + 1)
    return copy


stock = load(distributed.scheduler)
stealing = load(distributed.stealing)
amm = load(distributed.active_memory_manager)
stock.RetireWorker = amm.RetireWorker
amm.scheduler_module = stock
amm.import_term = lambda name: getattr(amm, name.rpartition(".")[2])


class Stream:
    """Stands for a BatchedSend: collects what would be sent"""

    def __init__(self, **_):
        self.messages = []

    def send(self, *messages):
        self.messages += messages


class Comm:
    async def write(self, message):
        assert message["status"] == "OK", message


class Timer:
    """Stands for a PeriodicCallback: rings when we say"""

    running = []

    def __init__(self, callback, _):
        self.callback = callback

    def start(self):
        self.running.append(self)

    def stop(self):
        self.running.remove(self)


class Clock:
    """What stock's modules take for `time`, `asyncio` and `heapq`"""

    now = 0.0
    sleepers = []
    slips = 0  # times a heap got back what was passed over

    @classmethod
    def time(cls):
        return cls.now

    @classmethod
    async def sleep(cls, seconds):
        future = asyncio.get_running_loop().create_future()
        number = int(asyncio.current_task().get_name().rpartition("-")[2])
        cls.sleepers.append((number, cls.now + seconds, future))
        await future

    @classmethod
    def wake(cls):
        """Those whose time has come, the task that began first first"""
        for sleeper in sorted(cls.sleepers, key=lambda sleeper: sleeper[0]):
            _, time, future = sleeper
            if time <= cls.now:
                cls.sleepers.remove(sleeper)
                if not future.done():
                    future.set_result(None)

    @classmethod
    def heappush(cls, heap, item):
        cls.slips += 1
        heapq.heappush(heap, item)


def shim(module, **names):
    """The module, some of its names replaced"""
    made = types.SimpleNamespace(**vars(module))
    vars(made).update(names)
    return made


stock.asyncio = shim(asyncio, sleep=Clock.sleep)
stock.heapq = shim(heapq, heappush=Clock.heappush)
stock.id = lambda ws: ws.address
stock.BatchedSend = Stream
stealing.PeriodicCallback = amm.PeriodicCallback = Timer
for module in (stock, stealing, amm):
    module.time = Clock.time
stock.monotonic = Clock.time
stock.Scheduler.start_http_server = lambda *_, **__: None
# The module that the spans live in is stock's own; it only asks for the time
spans_time = distributed.spans.time


class Taught(stock.Scheduler):
    """Stock, with what the core does otherwise on purpose: see DIFFERENCES of test_differential.py"""

    placing = None  # the task that is looking for a worker

    def __init__(self, **options):
        self.doubtful = []
        self.retiring = []
        super().__init__(**options)

    def doubt(self, ts):
        """It waits for an input that has failed, and may be tried again in this step, or not"""
        ts.exception_blame = None
        if any(dts.state == "erred" for dts in ts.dependencies):
            self.doubtful.append(ts)

    def without_input(self, ts):
        if ts.who_wants or ts.waiters:
            return "waiting"
        return "released" if ts.dependents else "forgotten"

    def still_doubtful(self, recommendations):
        while self.doubtful:
            ts = self.doubtful.pop()
            for dts in ts.dependencies if ts.state == "waiting" else ():
                if dts.state == "erred":
                    ts.exception_blame = dts.exception_blame
                    recommendations[ts.key] = "erred"
                    break
        return bool(recommendations)

    def _calc_occupancy(self, task_prefix_count, network_occ):
        nanoseconds = sum(
            round(self._get_prefix_duration(self.task_prefixes[name]) * 1e9) * count
            for name, count in task_prefix_count.items()
        )
        return nanoseconds / 1e9 + network_occ / self.bandwidth

    def stimulus_cancel(self, keys, client, force, reason, msg):
        """All at once: stock ends the wishes of each level of dependents before it looks at the next"""
        cancelled, clients, seen = [], {self.clients[client]: None}, set()

        def enter(ts):
            if ts.key in seen:
                return
            seen.add(ts.key)
            clients.update(dict.fromkeys(ts.who_wants or () if force else ()))
            if force or ts.who_wants == {self.clients[client]}:
                for dts in ts.dependents:
                    enter(dts)
                cancelled.append(ts.key)

        for key in keys:
            enter(self.tasks[key])
        for cs in clients:
            self.client_releases_keys(cancelled, cs.client_key, "test")
        self.report({"op": "cancelled-keys", "keys": cancelled, "reason": reason, "msg": msg})

    def add_resources(self, worker, resources=None):
        super().add_resources(worker, resources)
        for ts in self.workers[worker].processing:
            self.acquire_resources(ts, self.workers[worker])
        return "OK"

    def valid_workers(self, ts):
        valid = super().valid_workers(ts)
        if ts is not self.placing:
            return valid
        if valid is not None and not valid and ts.loose_restrictions:
            valid = Ordered(ws for ws in self.running if offers(ts, ws, ws.resources))
        if valid and ts.resource_restrictions:
            free = Ordered(ws for ws in valid if offers(ts, ws, free_resources(ws)))
            return free or valid
        return valid

    def release_worker_data(self, key, worker, stimulus_id):
        ts, ws = self.tasks.get(key), self.workers.get(worker)
        if ts and ws and ws in (ts.who_has or ()):
            ws.actors.discard(ts)
        super().release_worker_data(key, worker, stimulus_id)

    def decide_worker_non_rootish(self, ts):
        if ts.loose_restrictions and not any(offers(ts, ws, ws.resources) for ws in self.running):
            return None
        self.placing = ts
        try:
            return super().decide_worker_non_rootish(ts)
        finally:
            self.placing = None

    def bulk_schedule_unrunnable_after_adding_worker(self, ws):
        tasks = [
            ts
            for ts in self.unrunnable
            if (valid := self.valid_workers(ts)) is None
            or ws in valid
            or (ts.loose_restrictions and offers(ts, ws, ws.resources))
        ]
        tasks.sort(key=lambda ts: ts.priority, reverse=True)
        return {ts.key: "processing" for ts in tasks}


def teach(start, finish):
    """Have a move of stock's table begin with something more"""

    def wrap(before):
        move = Taught._TRANSITIONS_TABLE[start, finish]

        def taught(self, key, stimulus_id, **kwargs):
            before(self, self.tasks[key])
            return move(self, key, stimulus_id, **kwargs)

        Taught._TRANSITIONS_TABLE[start, finish] = taught
        return before

    return wrap


@teach("processing", "released")
def leave_actors(self, ts):
    if ts.actor:
        ts.processing_on.actors.discard(ts)


class TaughtStealing(stealing.WorkStealing):
    def put_key_in_stealable(self, ts):
        if ts not in ts.processing_on.long_running:
            super().put_key_in_stealable(ts)

    def _get_thief(self, scheduler, ts, potential_thieves, *, occupancies):
        valid = scheduler.valid_workers(ts)
        if valid is not None and not valid & potential_thieves and ts.loose_restrictions:
            able = [ws for ws in potential_thieves if offers(ts, ws, ws.resources)]
            cost = functools.partial(self.stealing_objective, ts, occupancies=occupancies)
            return min(able, key=cost, default=None)
        return super()._get_thief(scheduler, ts, potential_thieves, occupancies=occupancies)


class TaughtMemoryManager(amm.ActiveMemoryManagerExtension):
    def add_policy(self, policy):
        Ordered.age[policy] = len(Ordered.age)
        super().add_policy(policy)


stock.ActiveMemoryManagerExtension = TaughtMemoryManager
stock.DEFAULT_EXTENSIONS |= {"stealing": TaughtStealing, "amm": TaughtMemoryManager}


def offers(ts, ws, resources):
    wanted = ts.resource_restrictions or {}
    return all(resources.get(name, -1) >= amount for name, amount in wanted.items())


def free_resources(ws):
    return {name: amount - ws.used_resources[name] for name, amount in ws.resources.items()}


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
            self.s.client_releases_keys(
                keys=wanted, client=event["client"], stimulus_id="test"
            )
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
        self.s._reschedule(event["key"], event["worker"], stimulus_id="test")

    async def do_release_data(self, event):
        self.s.release_worker_data(event["key"], event["worker"], "test")

    async def do_add_keys(self, event):
        self.s.add_keys(event["worker"], event["keys"], "test")

    async def do_refresh_who_has(self, event):
        self.s.handle_request_refresh_who_has(event["keys"], event["worker"], "test")

    async def do_steal_response(self, event):
        s = self.s
        requests = s.extensions["stealing"].in_flight
        task = s.tasks.get(event["key"])
        stimulus = requests[task]["stimulus_id"] if task in requests else "none"
        victim = task and task.processing_on
        moved = s.extensions["stealing"].move_task_confirm(
            key=event["key"],
            state=event["state"] or None,
            stimulus_id="test" if event["stale"] else stimulus,
            worker=event["worker"],
        )
        if moved is not None:
            await moved
        if victim and task.processing_on not in (None, victim) and task.state == "processing":
            if event["state"] in ("ready", "constrained", "waiting"):
                s.release_resources(task, victim)
                s.acquire_resources(task, task.processing_on)
                if task.actor:
                    victim.actors.discard(task)
                    task.processing_on.actors.add(task)
        s.stimulus_queue_slots_maybe_opened(stimulus_id="test")

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
            asyncio.create_task(
                self.s.retire_workers(workers=event["workers"], stimulus_id="test")
            )
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
        s = self.s
        memo = s.extensions["stealing"]
        return {
            "tasks": {key: task_facts(task) for key, task in s.tasks.items()},
            "workers": {ws.address: worker_facts(s, ws) for ws in s.workers.values()},
            "prefixes": {p.name: prefix_facts(p) for p in s.task_prefixes.values()},
            "groups": {g.name: group_facts(s, g) for g in s.task_groups.values()},
            "spans": [span_facts(s, span) for span in s.extensions["spans"].spans.values()],
            "computations": [computation_facts(c) for c in s.computations],
            "plans": plans(s),
            "in_flight": {
                task.key: [
                    ws.address if s.workers.get(ws.address) is ws else ""
                    for ws in (info["victim"], info["thief"])
                ]
                for task, info in memo.in_flight.items()
            },
            "steals": [memo.metrics["request_count_total"][i] for i in range(15)],
            "queued": len(s.queued),
            "unrunnable": len(s.unrunnable),
            "occupancy": s.total_occupancy,
            "bandwidth": s.bandwidth,
            "replicated": len(s.replicated_tasks),
            "nthreads": s.total_nthreads,
            "memory_limit": s.total_memory,
        }


def keys_of(tasks):
    return sorted(task.key for task in tasks or ())


def counts(states):
    return {state: count for state, count in states.items() if count}


def span_number(s, span_id):
    return list(s.extensions["spans"].spans).index(span_id) if span_id else -1


def task_facts(task):
    return {
        "state": task.state,
        "processing_on": task.processing_on and task.processing_on.address,
        "who_has": sorted(ws.address for ws in task.who_has or ()),
        "who_wants": sorted(cs.client_key for cs in task.who_wants or ()),
        "dependencies": keys_of(task.dependencies),
        "dependents": keys_of(task.dependents),
        "waiting_on": keys_of(task.waiting_on),
        "waiters": keys_of(task.waiters),
        "suspicious": task.suspicious,
        "retries": task.retries,
        "nbytes": task.nbytes,
        "type": task.type or "",
        "blame": task.exception_blame and task.exception_blame.key,
        "actor": task.actor,
        "loose": bool(task.loose_restrictions),
        "lost": task.has_lost_dependencies,
        "data_producer": bool(task.run_spec and task.run_spec.data_producer),
        "worker_restrictions": sorted(task.worker_restrictions or ()),
        "host_restrictions": sorted(task.host_restrictions or ()),
        "erred_on": sorted(task.erred_on or ()),
        "resources": task.resource_restrictions or {},
        "priority": task.priority and list(task.priority),
    }


def worker_facts(s, ws):
    steal = s.extensions["stealing"]
    return {
        "status": ws.status.name,
        "occupancy": ws.occupancy,
        "nbytes": ws.nbytes,
        "idle": ws.address in s.idle,
        "saturated": ws in s.saturated,
        "resources": ws.resources,
        "used": ws.used_resources,
        "processing": keys_of(ws.processing),
        "has_what": keys_of(ws.has_what),
        "long_running": keys_of(ws.long_running),
        "actors": keys_of(ws.actors),
        "executing": {
            ts.key: seconds for ts, seconds in ws.executing.items() if s.tasks.get(ts.key) is ts
        },
        "memory": {
            name: getattr(ws.memory, name)
            for name in (
                "process",
                "managed",
                "unmanaged_old",
                "unmanaged_recent",
                "spilled",
                "optimistic",
            )
        },
        "stealable": {
            ts.key: level
            for level, tasks in enumerate(steal.stealable[ws.address])
            for ts in tasks
        },
        "time_delay": ws.time_delay,
        "in_flight_occupancy": steal.in_flight_occupancy.get(ws, 0.0),
        "in_flight_tasks": steal.in_flight_tasks.get(ws, 0),
    }


def prefix_facts(prefix):
    return {
        "duration_average": prefix.duration_average,
        "max_exec_time": prefix.max_exec_time,
        "duration": prefix.duration,
        "durations": prefix.all_durations,
        "states": counts(prefix.states),
        "arrivals": counts(prefix.state_counts),
        "size": len(prefix),
        "nbytes": prefix.nbytes_total,
        "suspicious": prefix.suspicious,
        "groups": sorted(group.name for group in prefix.groups),
    }


def group_facts(s, group):
    return {
        "prefix": group.prefix.name,
        "size": len(group),
        "states": counts(group.states),
        "duration": group.duration,
        "durations": group.all_durations,
        "start": group.start,
        "stop": group.stop,
        "nbytes": group.nbytes_total,
        "types": dict(group._types),
        "dependencies": sorted(other.name for other in group.dependencies),
        "span": span_number(s, group.span_id),
    }


def span_facts(s, span):
    return {
        "name": list(span.name),
        "parent": span_number(s, span.parent and span.parent.id),
        "enqueued": span.enqueued,
        "start": span.start,
        "stop": span.stop if any(True for _ in span.traverse_groups()) else span.enqueued,
        "states": counts(span.states),
        "duration": span.duration,
        "nbytes": span.nbytes_total,
        "done": span.done,
        "code": len(span._code),
        "metrics": {"/".join(name): v for name, v in span._cumulative_worker_metrics.items()},
    }


def computation_facts(computation):
    return {
        "start": computation.start,
        "stop": computation.stop,
        "code": len(computation.code),
        "groups": sorted(group.name for group in computation.groups),
        "states": counts(computation.states),
    }


def plans(s):
    Clock.slips = 0
    moves = s._rebalance_find_msgs(None, s.workers.values()) if s.workers else []
    return {
        "close": s.workers_to_close(),
        "close_two": s.workers_to_close(n=2),
        "close_minimum": s.workers_to_close(minimum=2, memory_ratio=1.5),
        "close_target": s.workers_to_close(target=3),
        "close_by_host": s.workers_to_close(key=lambda ws: ws.host),
        "rebalance": None if Clock.slips else [[a.address, b.address, t.key] for a, b, t in moves],
        "target": s.adaptive_target(target_duration=TARGET_DURATION)
        if len(s.queued) + len(s.unrunnable) <= 100
        else None,
    }
