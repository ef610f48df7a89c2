"""Stock's modules, loaded a second time: no network, a clock that we set, streams that only
collect, one order for every set, and source edited where it contradicts itself.

Each set that they make is an `Ordered`, which iterates in the order in which the core goes through
the same things: tasks by age, workers by address.  Where the core keeps an order of its own, the
set is told it.
"""

import ast
import asyncio
import functools
import heapq
import logging
import sys
import types

import distributed.active_memory_manager
import distributed.scheduler
import distributed.stealing


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
EDITS = {
    "stealing": [
        # What a stolen task holds goes with it
        (
            "                ts.processing_on = thief\n",
            "                ts.processing_on = thief; self.take_along(ts, victim, thief)\n",
        ),
    ],
    "scheduler": [
        # Sets that others made
        ("stack.extend(tspec.dependencies)", "stack.extend(set(tspec.dependencies))"),
        ("for dep in tspec.dependencies:", "for dep in set(tspec.dependencies):"),
        # Validation only, and too strict: an actor can be queued, or without a worker
        ('assert not ts.actor, f"Actors can\'t be in `no-worker`: {ts}"', "pass"),
        ('assert not ts.actor, f"Actors can\'t be queued: {ts}"', "pass"),
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
            'if not dts.waiters and not dts.who_wants and dts.state != "erred":',
        ),
        (
            "if not s and not dts.who_wants:",
            'if not s and not dts.who_wants and dts.state != "erred":',
        ),
        # Scattered data that is lost is not computed, though a dependent asks for it
        ("            assert ts.run_spec\n", "            pass\n"),
        (
            "        if ts.has_lost_dependencies:\n            return {key",
            "        if ts.has_lost_dependencies or not ts.run_spec:\n            return {key",
        ),
        # An actor that is lost errs once
        (
            '        ts.state = "erred"\n        return self._propagate_erred(',
            "        return self._propagate_erred(",
        ),
        # A ready task that nobody needs any more and that loses an input goes
        (
            '            if dts.state in ("no-worker", "processing", "queued"):\n'
            '                recommendations[dts.key] = "waiting"',
            '            if dts.state in ("no-worker", "processing", "queued"):\n'
            "                recommendations[dts.key] = self.without_input(dts)",
        ),
        # Validation only: a task whose inputs do not fit into its worker fails instead
        (
            'assert qts.state == "processing"\n',
            'assert qts.state in ("processing", "erred")\n',
        ),
        # A graph may declare a task an actor that runs already
        ("ws.actors.remove(ts)", "ws.actors.discard(ts)"),
        # A worker's account of what it needs from elsewhere
        (
            "            dts.dependencies.remove(ts)\n",
            "            dts.dependencies.remove(ts); self.needs_no_more(dts, ts)\n",
        ),
        # What has a value does not fail with an input
        (
            "                if dts.exception_blame:",
            '                if dts.exception_blame and ts.state != "memory":',
        ),
        # Tasks with failed inputs fail before others begin
        (
            "        self.transitions(recommendations, stimulus_id)\n\n"
            "        for ts in touched_tasks:",
            "        self.begin_graph(recommendations, touched_tasks, stimulus_id)\n\n"
            "        for ts in touched_tasks:",
        ),
        # Queued tasks in the core's order
        (
            "affected = list(self.queued)",
            "affected = sorted(self.queued, key=lambda ts: self.queue_order.index(ts.key))",
        ),
        # An input that failed meanwhile: see Taught.doubt
        (
            "            for dts in ts.dependencies:\n"
            '                assert dts.state not in {"forgotten", "erred"}, (',
            "            for dts in ts.dependencies:\n"
            '                assert dts.state != "forgotten", (',
        ),
        (
            '        ts.state = "waiting"\n',
            '        ts.state = "waiting"; self.doubt(ts)\n',
        ),
        (
            "        while recommendations:\n            key, finish",
            "        while recommendations or self.still_doubtful(recommendations):\n"
            "            key, finish",
        ),
        (
            "(ts.who_wants or ts.waiters) and not any(\n"
            '            dts.state == "erred" for dts in ts.dependencies\n'
            "        ):",
            "ts.who_wants or ts.waiters:",
        ),
    ],
}


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
