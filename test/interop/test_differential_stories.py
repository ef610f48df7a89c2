"""Scripts by hand, played on stock's scheduler and on the core in C: see test_differential.py.

Both must agree in everything after each event; a story says besides what it is that happened, so
that it is about what its name says.
"""

import asyncio

import pytest

from differential_core import Driver
from differential_play import Play

MEGABYTE = 10**6
GIGABYTE = 10**9


@pytest.fixture(scope="module")
def driver():
    made = Driver()
    yield made
    made.close()


def settings(**changes):
    return {
        "saturation": 1.1,
        "amm": False,
        "no_workers_timeout": None,
        "allowed_failures": 3,
    } | changes


def address(number):
    return f"tcp://10.0.0.{number}:1000"


class Story(Play):
    """Short words for events; workers go by number, a task is "key:input,input" """

    def __init__(self, driver, **changes):
        self.settings = settings(**changes)
        self.now = 1000.0
        self.said = {}  # peer → all messages so far
        super().__init__(self, driver, look_every=1)

    def timed(self, event):
        self.now += 0.01
        return event | {"time": self.now}

    def heard(self, sent):
        for peer, messages in sent.items():
            self.said.setdefault(peer, []).extend(messages)

    def told(self, number, op):
        """What a worker was told, as keys in order"""
        return [message[1] for message in self.said.get(address(number), ()) if message[0] == op]

    @property
    def s(self):
        return self.stock.s

    def where(self, *keys):
        """The numbers of the workers that process them"""
        places = [self.s.tasks[key].processing_on for key in keys]
        return [ws and int(ws.address.split(".")[-1].split(":")[0]) for ws in places]

    async def client(self, name="me"):
        await self.step({"op": "client-add", "client": name})

    async def worker(self, number, nthreads=1, memory=0, resources=None, **more):
        await self.step(
            {
                "op": "worker-add",
                "worker": address(number),
                "host": f"10.0.0.{number}",
                "name": f"w{number}",
                "status": "running",
                "nthreads": nthreads,
                "memory_limit": 10 * GIGABYTE,
                "resources": resources or {},
            }
            | self.measured(memory)
            | more
        )

    def measured(self, memory, executing=None):
        return {
            "memory": memory,
            "spilled": 0,
            "bandwidth": 1e8,
            "worker_time": self.now,
            "executing": executing or {},
        }

    async def heartbeat(self, number, memory, **executing):
        event = {"op": "heartbeat", "worker": address(number)}
        await self.step(event | self.measured(memory, executing))

    async def graph(self, words, wanted=None, client="me", notes=None, **more):
        """`notes`: annotations of all its tasks.  Wanted are those that no other needs"""
        tasks = [word.partition(":")[::2] for word in words.split()]
        keys = [key for key, _ in tasks]
        inputs = {key: [name for name in names.split(",") if name] for key, names in tasks}
        needed = {name for names in inputs.values() for name in names}
        others = sorted(needed - set(keys))
        numbers = {key: i for i, key in enumerate([*keys, *others])}
        wanted = wanted.split() if wanted else [key for key in keys if key not in needed]
        await self.step(
            {
                "op": "graph",
                "client": client,
                "tasks": [
                    [key, [numbers[name] for name in inputs[key]], i, notes or {}, False]
                    for i, key in enumerate(keys)
                ],
                "others": others,
                "wanted": wanted,
                "user_priority": 0,
                "submitting_task": None,
                "fifo_timeout": 0.0,
                "actors": None,
                "code": "code",
            }
            | more
        )

    async def finish(self, *keys, seconds=0.5, nbytes=1000):
        for key in keys:
            await self.step(
                {
                    "op": "finished",
                    "key": key,
                    "worker": self.s.tasks[key].processing_on.address,
                    "nbytes": nbytes,
                    "typename": "int",
                    "startstops": [["compute", self.now - seconds, self.now]],
                }
            )

    async def say(self, op, number=None, **fields):
        """Any other event"""
        place = {} if number is None else {"worker": address(number)}
        await self.step({"op": op} | place | fields)

    async def copies(self, key, *numbers):
        for number in numbers:
            await self.say("add-keys", number, keys=[key])

    async def put(self, key, nbytes, *numbers):
        """Scattered data"""
        placed = [[key, address(number), nbytes] for number in numbers]
        await self.say("data-placed", client="me", placed=placed)

    async def tick(self):
        self.now += 2.1
        await self.say("tick")

    async def answer(self, state="ready"):
        """All requests to steal that are under way"""
        requests = list(self.s.extensions["stealing"].in_flight.items())
        for task, info in requests:
            await self.step(
                {
                    "op": "steal-response",
                    "key": task.key,
                    "worker": info["victim"].address,
                    "state": state,
                    "stale": False,
                }
            )
        return len(requests)


def story(**changes):
    """A test that is given a Story"""

    def wrap(tell):
        def test(driver):
            async def run():
                told = Story(driver, **changes)
                try:
                    await told.client()
                    await tell(told)
                finally:
                    told.stock.close()

            asyncio.run(run())

        test.__name__ = tell.__name__
        test.__doc__ = tell.__doc__
        return test

    return wrap


def many(prefix, count, inputs=""):
    return " ".join(f"{prefix}-{i}{inputs and ':' + inputs}" for i in range(count))


# --- stealing ---


@story(saturation="inf")
async def test_stealing_evens_out(story):
    """A worker that comes late takes tasks from one with many; those begun stay"""
    await story.worker(1, nthreads=2)
    await story.graph(many("x", 20))
    await story.finish("x-0", seconds=1.0)
    await story.worker(2, nthreads=2)
    await story.tick()
    asked = story.told(1, "steal-request")
    assert len(asked) >= 5
    assert await story.answer("executing") == len(asked)
    assert len(story.s.workers[address(2)].processing) == 0
    await story.tick()
    assert await story.answer() > 0
    assert len(story.s.workers[address(2)].processing) >= 5


@story(saturation="inf")
async def test_stealing_looks_at_cost(story):
    """Tasks that need much data stay where it is; cheap ones go, the cheapest first"""
    await story.worker(1)
    inputs = "big small heavy-0 light-0"
    await story.graph("big small heavy-0:big light-0:small", wanted=inputs)
    await story.finish("big", nbytes=5 * GIGABYTE)
    await story.finish("small", nbytes=MEGABYTE)
    await story.finish("heavy-0", "light-0", seconds=1.0)
    await story.graph(many("heavy", 6, "big").replace("heavy-0", "heavy-9"))
    await story.graph(many("light", 6, "small").replace("light-0", "light-9"))
    await story.worker(2)
    await story.tick()
    asked = story.told(1, "steal-request")
    assert asked and all(key.startswith("light") for key in asked)
    assert await story.answer("waiting") == len(asked)


@story(saturation="inf")
async def test_stealing_obeys_rules(story):
    """What may run on one worker only is left there, and so is what needs a resource"""
    await story.worker(1, resources={"GPU": 9.0})
    await story.graph(many("here", 6), notes={"workers": [address(1)]})
    await story.graph(many("gpu", 6), notes={"resources": {"GPU": 1.0}})
    await story.graph(many("free", 6))
    await story.finish("here-0", "gpu-0", "free-0", seconds=1.0)
    await story.worker(2)
    await story.tick()
    asked = story.told(1, "steal-request")
    assert asked and all(key.startswith("free") for key in asked)
    await story.answer()


@story(saturation="inf")
async def test_stealing_is_answered_late(story):
    """Thief or victim leaves, or the task ends, while a request is under way"""
    for number in 1, 2:
        await story.worker(number)
        if number == 1:
            await story.graph(many("x", 12))
            await story.finish("x-0", seconds=1.0)
    await story.tick()
    first, *rest = [task.key for task in story.s.extensions["stealing"].in_flight]
    await story.finish(first)
    await story.say("worker-remove", 2, expected=False, close=False)
    assert rest and await story.answer() == len(rest)
    await story.worker(3)
    await story.tick()
    assert story.s.extensions["stealing"].in_flight
    await story.say("worker-remove", 1, expected=False, close=False)
    assert not story.s.extensions["stealing"].in_flight


@story(saturation="inf")
async def test_stealing_of_what_the_victim_forgot(story):
    """The victim knows nothing of the tasks any more: they are placed anew"""
    await story.worker(1)
    await story.graph(many("x", 12))
    await story.finish("x-0", seconds=1.0)
    await story.worker(2)
    await story.tick()
    count = await story.answer("released")
    assert count > 0 and len(story.s.workers[address(2)].processing) == count


# --- queuing ---


@pytest.mark.parametrize("saturation", [0.5, 1.0, 1.1, 2.0, 3.5])
def test_queuing_by_saturation(saturation, driver):
    """Each worker gets as many root tasks as threads and saturation say, then one for one"""

    @story(saturation=saturation)
    async def tell(story):
        for number, nthreads in enumerate((1, 2, 4), 1):
            await story.worker(number, nthreads=nthreads)
        await story.graph(many("x", 60))
        sent = sum(len(ws.processing) for ws in story.s.workers.values())
        assert sent == sum(max(1, -int(-saturation * n // 1)) for n in (1, 2, 4))
        for i in range(20):
            await story.finish(f"x-{i}")
        assert sum(len(ws.processing) for ws in story.s.workers.values()) == sent

    tell(driver)


@story(saturation=1.0)
async def test_queue_goes_by_priority(story):
    """User priority, then generation, then order; what a task submits goes before older graphs"""
    await story.worker(1)
    await story.graph(many("low", 8))
    await story.graph(many("late", 8))
    await story.graph(many("high", 8), notes={"priority": 5})
    await story.graph(many("sub", 8), submitting_task="late-0")
    order = []
    while story.s.workers[address(1)].processing:
        (task,) = story.s.workers[address(1)].processing
        order.append(task.key.partition("-")[0])
        await story.finish(task.key)
    assert order == ["low"] + ["high"] * 8 + ["sub"] * 8 + ["low"] * 7 + ["late"] * 8


@story(saturation=1.0)
async def test_equals_leave_the_queue_as_they_came(story):
    """Two graphs of one parent have the same priorities; what is put back goes to the end"""
    for number in 1, 2:
        await story.worker(number)
    await story.graph("parent")
    for prefix in "ba":
        await story.graph(many(prefix, 6), submitting_task="parent")
    (first,) = {key for key in ("b-0", "a-0") if story.s.tasks[key].state == "processing"}
    assert first == "b-0"
    await story.say("worker-remove", story.where("b-0")[0], expected=True, close=False)
    order = []
    while story.s.queued:
        (task,) = next(iter(story.s.workers.values())).processing
        order.append(task.key)
        await story.finish(task.key)
    assert order[1:5] == ["a-0", "b-0", "b-1", "a-1"]


@story(saturation=1.0)
async def test_queue_is_drained_by_new_slots(story):
    """A worker that joins, one that goes on after a pause, a task that secedes: each opens slots"""
    await story.worker(1)
    await story.graph(many("x", 12))
    assert len(story.s.queued) == 11
    await story.say("long-running", 1, key="x-0", seconds=0.1)
    assert len(story.s.queued) == 10
    await story.worker(2, nthreads=3)
    assert len(story.s.queued) == 7
    await story.say("worker-status", 2, status="paused")
    await story.finish("x-2")
    assert len(story.s.queued) == 7
    await story.say("worker-status", 2, status="running")
    assert len(story.s.queued) == 6
    await story.say("worker-remove", 2, expected=True, close=False)
    assert len(story.s.queued) == 10  # its result is lost as well


@story(saturation=1.0)
async def test_downstream_goes_before_roots(story):
    """What has become ready is sent before what waits in the queue"""
    await story.worker(1)
    roots = many("x", 6)
    sums = " ".join(f"y-{i}:x-{i}" for i in range(6))
    await story.graph(f"{roots} {sums}")
    await story.finish("x-0")
    assert story.where("y-0") == [1]
    assert story.s.tasks["x-1"].state == "queued"


# --- co-assignment ---


@story(saturation="inf")
async def test_siblings_go_together(story):
    """Without queuing root tasks go in blocks, as large as a worker's share of the threads"""
    for number, nthreads in enumerate((1, 2, 3), 1):
        await story.worker(number, nthreads=nthreads)
    await story.graph(many("x", 30))
    places = story.where(*(f"x-{i}" for i in range(30)))
    blocks = [place for i, place in enumerate(places) if i == 0 or places[i - 1] != place]
    assert len(blocks) <= 6
    assert {number: places.count(number) for number in (1, 2, 3)} == {1: 5, 2: 10, 3: 15}


@story(saturation="inf")
async def test_siblings_after_a_loss(story):
    """The worker of a block pauses, another goes: the block goes on elsewhere"""
    for number in 1, 2, 3:
        await story.worker(number, nthreads=2)
    await story.graph("a", wanted="a")
    await story.graph(many("x", 30, "a"))
    await story.say("worker-status", 2, status="paused")
    await story.finish("a")
    assert set(story.where(*(f"x-{i}" for i in range(30)))) == {1, 3}
    await story.say("worker-remove", 3, expected=False, close=False)
    assert set(story.where(*(f"x-{i}" for i in range(30)))) == {1}


@story()
async def test_many_workers_take_turns(story):
    """From twenty idle workers on the next in turn is taken, not the least occupied"""
    for number in range(1, 31):
        await story.worker(number)
    await story.graph(many("x", 12))
    await story.graph(many("y", 12))
    places = story.where(*(f"{prefix}-{i}" for prefix in "xy" for i in range(12)))
    assert len(set(places)) == 24


# --- memory manager ---


@story(amm=True)
async def test_memory_manager_reduces_replicas(story):
    """Surplus replicas go: from workers that do not run first, then from those with most memory"""
    for number in range(1, 6):
        await story.worker(number, memory=number * GIGABYTE)
    await story.put("data", MEGABYTE, 1, 2, 3, 4, 5)
    await story.say("worker-status", 2, status="paused")
    await story.tick()
    dropped = [number for number in range(1, 6) if story.told(number, "remove-replicas")]
    assert dropped == [2, 3, 4, 5]


@story(amm=True)
async def test_memory_manager_keeps_what_is_needed(story):
    """As many replicas stay as workers process tasks that need it, and there"""
    for number in range(1, 6):
        await story.worker(number)
    await story.put("data", MEGABYTE, 1, 2, 3, 4, 5)
    for number in 2, 4:
        await story.graph(f"use-{number}:data", notes={"workers": [address(number)]})
    await story.tick()
    dropped = [number for number in range(1, 6) if story.told(number, "remove-replicas")]
    assert dropped == [1, 3, 5]
    await story.finish("use-2")
    await story.tick()
    assert story.told(2, "remove-replicas") == ["data"]


@pytest.mark.parametrize("amm", [True, False])
def test_retirement_moves_data(amm, driver):
    """What only the worker has goes to those with least memory; once it is there the worker goes"""

    @story(amm=amm)
    async def tell(story):
        for number in 1, 2, 3:
            await story.worker(number, memory=number * 100 * MEGABYTE)
        for i in range(6):
            await story.put(f"data-{i}", 80 * MEGABYTE, 1)
        await story.say("retire", workers=[address(1)])
        asked = {number: story.told(number, "acquire-replicas") for number in (2, 3)}
        assert len(asked[2]) > len(asked[3]) > 0
        for number, keys in asked.items():
            for key in keys:
                await story.copies(key, number)
        await story.tick()
        await story.tick()
        assert address(1) not in story.s.workers
        assert all(story.s.tasks[f"data-{i}"].who_has for i in range(6))

    tell(driver)


@story(amm=True)
async def test_retirement_is_given_up(story):
    """Nobody can take the data: the worker is told to go on"""
    await story.worker(1)
    await story.worker(2)
    await story.put("data", MEGABYTE, 1)
    await story.say("worker-status", 2, status="paused")
    await story.say("retire", workers=[address(1)])
    assert story.told(1, "worker-status-change") == ["closing_gracefully", "running"]
    await story.say("worker-status", 1, status="running")
    await story.tick()
    assert address(1) in story.s.workers


@story(amm=True)
async def test_retirement_of_an_actors_worker(story):
    """Actors do not move: the retirement is given up"""
    await story.worker(1)
    await story.graph("actor", actors=True)
    await story.finish("actor")
    await story.worker(2)
    await story.say("retire", workers=[address(1)])
    assert story.told(1, "worker-status-change") == ["closing_gracefully", "running"]


# --- rebalance, scaling ---


@story()
async def test_rebalance_moves_towards_the_mean(story):
    """From workers far above the mean to those far below, what they have had longest first"""
    for number in 1, 2, 3:
        await story.worker(number)
    for i in range(8):
        await story.put(f"data-{i}", 500 * MEGABYTE, 1)
    await story.heartbeat(1, 8 * GIGABYTE)
    await story.heartbeat(2, 100 * MEGABYTE)
    await story.heartbeat(3, GIGABYTE)
    moves = story.stock.look()["plans"]["rebalance"]
    assert len(moves) >= 3
    assert {sender for sender, _, _ in moves} == {address(1)}
    assert {recipient for _, recipient, _ in moves} == {address(2), address(3)}


@story()
async def test_scaling_up(story):
    """Workers are asked for by what is to be done, no more than there are tasks"""
    await story.graph(many("x", 10))
    assert story.s.adaptive_target(target_duration=5.0) == 1
    await story.worker(1)
    await story.finish("x-0", seconds=10.0)
    assert story.s.adaptive_target(target_duration=5.0) == 9
    await story.graph(many("y", 40), notes={"workers": ["nowhere"]})
    assert story.s.adaptive_target(target_duration=5.0) > 9


@story()
async def test_scaling_by_memory(story):
    """More than 60 % in use: twice as many"""
    for number in 1, 2:
        await story.worker(number)
        await story.put(f"data-{number}", 7 * GIGABYTE, number)
    assert story.s.adaptive_target(target_duration=5.0) == 4


@story()
async def test_scaling_down(story):
    """Idle workers with little data go, those that run a task that seceded stay"""
    for number in range(1, 7):
        await story.worker(number)
    await story.put("data-1", GIGABYTE, 1)
    await story.put("data-2", 2 * GIGABYTE, 2)
    await story.graph("long", notes={"workers": [address(6)]})
    await story.say("long-running", 6, key="long", seconds=None)
    await story.graph("short", notes={"workers": [address(5)]})
    closing = story.s.workers_to_close()
    assert address(6) not in closing and address(5) not in closing
    assert {address(3), address(4)} <= set(closing)
    assert story.s.workers_to_close(n=1) == [address(4)]


# --- spans, groups ---


@story()
async def test_spans_nest_and_add_up(story):
    """Tasks of a span inside another count in both; a group stays in the span it came with"""
    outer = {"name": ["outer"], "ids": ["id-outer"]}
    inner = {"name": ["outer", "inner"], "ids": ["id-outer", "id-inner"]}
    await story.worker(1, nthreads=2)
    await story.graph("x-1", notes={"span": inner})
    await story.graph("y-1", notes={"span": outer})
    await story.graph("z-1")
    await story.finish("x-1", "y-1", "z-1")
    await story.graph("x-2")
    await story.say("span-metrics", 1, metrics=[[1, ["execute", "x", "cpu", "seconds"], 0.5]])
    spans = story.stock.look()["spans"]
    assert [span["name"] for span in spans] == [["outer"], ["outer", "inner"], ["default"]]
    assert [span["parent"] for span in spans] == [-1, 0, -1]
    assert sum(spans[0]["states"].values()) == 3  # x-1 and x-2 are one group
    assert spans[1]["metrics"] == {"execute/x/cpu/seconds": 0.5}
    await story.finish("x-2")
    await story.say("release", client="me", keys=["x-1", "x-2", "y-1", "z-1"])
    assert story.stock.look()["spans"][0]["states"] == {"forgotten": 3}


@story()
async def test_default_spans_follow_one_another(story):
    """While something runs the default span goes on; afterwards another begins"""
    await story.worker(1)
    await story.graph("x-1")
    await story.graph("y-1")
    await story.finish("x-1", "y-1")
    await story.graph("z-1")
    assert [span["done"] for span in story.stock.look()["spans"]] == [True, False]
    assert len(story.stock.look()["computations"]) == 2


@story()
async def test_durations_are_learned(story):
    """What is measured, what secedes and what is seen to run long changes what is expected"""
    await story.worker(1, nthreads=4)
    await story.graph(many("x", 8))
    await story.finish("x-0", seconds=1.0)
    await story.finish("x-1", seconds=3.0)
    assert story.s.task_prefixes["x"].duration_average == 2.0
    await story.say("long-running", 1, key="x-2", seconds=4.0)
    assert story.s.task_prefixes["x"].duration_average == 3.0
    await story.heartbeat(1, 0, **{"x-3": 7.0})
    assert story.s.task_prefixes["x"].duration_average == -1
    assert story.s.total_occupancy > 14


# --- failures ---


@story(allowed_failures=1)
async def test_a_task_that_takes_workers_down(story):
    """After one loss too many it fails, with those that need it; others are placed again"""
    for number in 1, 2, 3:
        await story.worker(number)
    await story.graph("bad user:bad")
    for _ in range(2):
        (number,) = story.where("bad")
        await story.graph(f"good-{number}", notes={"workers": [address(number)], "retries": 1})
        await story.say("worker-remove", number, expected=False, close=False)
    assert [story.s.tasks[key].state for key in ("bad", "user")] == ["erred", "erred"]
    await story.say("retry", client="me", keys=["user"])
    assert story.s.tasks["bad"].state == "processing"


@story(no_workers_timeout=3)
async def test_tasks_that_nobody_can_run(story):
    """Rules that nobody meets, then no workers at all: after the timeout the tasks fail"""
    await story.worker(1)
    await story.graph("x", notes={"workers": ["nowhere"]})
    await story.graph("y")
    await story.tick()
    await story.tick()
    assert story.s.tasks["x"].state == "erred"
    await story.say("worker-remove", 1, expected=True, close=False)
    await story.tick()
    assert story.s.tasks["y"].state in ("queued", "no-worker")
    await story.tick()
    assert story.s.tasks["y"].state == "erred"
