"""Random scripts of events through stock's worker and through the worker's core in C, compared throughout.

Stock's WorkerState runs in this process; the core runs in `worker_driver` (test/support).  Both get
the same events; after each, what is asked for and the whole state must agree.  What happens next is
chosen by stock's state.  Where stock refuses an event (an assertion of its own), the script ends.

Stock loops over sets, whose order is that of memory addresses.  For the comparison its module is
loaded with sets that keep the order in which the core keeps its links (`Slots`), and with heaps that
forget what is taken out of them (`Heap`); between equal peers both go by address instead of by lot.
"""

import ast
import collections
import collections.abc
import importlib.util
import json
import os
import random
import re
import subprocess
import sys
import types
import typing

import pytest
from dask.sizeof import sizeof
from harness import ROOT

DRIVER = os.environ.get("CASK_WORKER_DRIVER", f"{ROOT}/build/test/support/worker_driver")
SEEDS = int(os.environ.get("CASK_DIFFERENTIAL_WORKER_SEEDS", 300))
FIRST_SEED = int(os.environ.get("CASK_DIFFERENTIAL_WORKER_FIRST", 0))
BATCH = 20  # seeds a test
STEPS = 150
# Where the core differs from stock by intent, and what the scripts do about it:
#   recommendations that contradict each other    stock is taught the same (`later_wins`)
#   within one move are no error; the later wins
#   what is told to drop an input in use, or      the scripts do not (`is_in_use`), or stock's
#   loses it, takes it away from whoever needs it validation ends them
#   a task that runs takes no scattered value     the scripts do not (`can_be_scattered`)
HOME = "tcp://10.0.0.1:1000"
PEERS = [f"tcp://10.0.0.{i % 2 + 1}:{1001 + i}" for i in range(4)]
NAME = "stock_worker_state_machine"


# --- Stock, made deterministic ---


class Slots(collections.abc.MutableSet):
    """A set in the order of arrival; the last one takes the place of one that is removed"""

    def __init__(self, items=()):
        self.items, self.place = [], {}
        for item in items:
            self.add(item)

    def __contains__(self, item):
        return item in self.place

    def __iter__(self):
        return iter(list(self.items))

    def __len__(self):
        return len(self.items)

    def add(self, item):
        if item not in self.place:
            self.place[item] = len(self.items)
            self.items.append(item)

    def discard(self, item):
        if item in self.place:
            place = self.place.pop(item)
            last = self.items.pop()
            if last is not item and place < len(self.items):
                self.items[place] = last
                self.place[last] = place

    def copy(self):
        return Slots(self.items)


class Heap(collections.abc.MutableSet):
    """HeapSet without its habit of keeping the place of what was removed and comes again"""

    arrivals = 0

    def __init__(self, *, key):
        self.key, self.rank = key, {}

    def __class_getitem__(cls, _):
        return cls

    def __contains__(self, item):
        return item in self.rank

    def __iter__(self):
        return iter(sorted(self.rank, key=self.rank.get))

    sorted = __iter__

    def __len__(self):
        return len(self.rank)

    def add(self, item):
        if item not in self.rank:
            Heap.arrivals += 1
            self.rank[item] = (self.key(item), Heap.arrivals)

    def discard(self, item):
        self.rank.pop(item, None)

    def peek(self):
        return min(self.rank, key=self.rank.get)

    def pop(self):
        item = self.peek()
        self.discard(item)
        return item


class SetsAsSlots(ast.NodeTransformer):
    """{a, b} and {f(x) for x in y} make Slots too"""

    def call(self, node, argument):
        name = ast.Name("set", ast.Load())
        return ast.fix_missing_locations(
            ast.copy_location(ast.Call(name, [argument], []), node)
        )

    def visit_Set(self, node):
        self.generic_visit(node)
        return self.call(node, ast.List(node.elts, ast.Load()))

    def visit_SetComp(self, node):
        self.generic_visit(node)
        return self.call(node, ast.GeneratorExp(node.elt, node.generators))


def later_wins(*results):
    """merge_recs_instructions, which fails where one task is recommended two things"""
    recommendations, instructions = {}, []
    for more, instrs in results:
        recommendations.update(more)
        instructions += instrs
    return recommendations, instructions


def load_stock():
    spec = importlib.util.find_spec("distributed.worker_state_machine")
    with open(spec.origin) as file:
        tree = SetsAsSlots().visit(ast.parse(file.read()))
    module = types.ModuleType(NAME)
    module.set = Slots
    sys.modules[NAME] = module
    try:
        exec(compile(tree, spec.origin, "exec"), module.__dict__)
    finally:
        del sys.modules[NAME]
    module.HeapSet = Heap
    module.merge_recs_instructions = later_wins
    return module


stock = load_stock()


REFUSALS = (stock.InvalidTransition, stock.InvalidTaskState)


class NoLot:
    def random(self):
        return 0


class Refused(Exception):
    """Stock does not allow what was asked of it"""


def who_has(event):
    return {key: workers for key, _, workers in event["holdings"]}


def sizes(event):
    return {key: nbytes for key, nbytes, _ in event["holdings"]}


class Stock:
    def __init__(self, settings):
        limits = {name: settings[name] or float("inf") for name in ("incoming_limit", "message_limit")}
        self.w = stock.WorkerState(
            nthreads=settings["nthreads"],
            address=HOME,
            resources=settings["resources"],
            transfer_incoming_count_limit=settings["incoming_count_limit"],
            transfer_incoming_bytes_limit=limits["incoming_limit"],
            transfer_message_bytes_limit=limits["message_limit"],
            validate=True,
        )
        self.w.transfer_incoming_bytes_throttle_threshold = settings["throttle_floor"]
        self.w.rng = NoLot()
        self.asked = {}  # bytes by peer, of the transfers under way

    def apply(self, event):
        make = getattr(self, "make_" + event["op"])
        try:
            instructions = self.w.handle_stimulus(make(event))
            if not self.waits_for_error():
                self.w.validate_state()
        except (AssertionError, RuntimeError, *REFUSALS) as error:
            raise Refused(type(error).__name__) from error
        return self.answer(instructions)

    def waits_for_error(self):
        """Until the scheduler frees it, a task waits for what failed; validate_state objects to that"""
        return any(
            ts.state == "error" for task in self.w.tasks.values() for ts in task.waiting_for_data
        )

    def make_compute_task(self, e):
        return stock.ComputeTaskEvent(
            key=e["key"],
            run_id=e["run_id"],
            who_has=who_has(e),
            nbytes=sizes(e),
            priority=tuple(e["priority"]),
            run_spec=stock.ComputeTaskEvent.dummy_runspec(e["key"]),
            resource_restrictions=e["resources"],
            actor=e["actor"],
            annotations={},
            span_id=None,
            stimulus_id="test",
        )

    def make_free_keys(self, e):
        return stock.FreeKeysEvent(keys=e["keys"], stimulus_id="test")

    def make_remove_replicas(self, e):
        return stock.RemoveReplicasEvent(keys=e["keys"], stimulus_id="test")

    def make_acquire_replicas(self, e):
        return stock.AcquireReplicasEvent(who_has=who_has(e), nbytes=sizes(e), stimulus_id="test")

    def make_refresh_who_has(self, e):
        return stock.RefreshWhoHasEvent(who_has=who_has(e), stimulus_id="test")

    def make_steal_request(self, e):
        return stock.StealRequestEvent(key=e["key"], stimulus_id="test")

    def make_cancel_compute(self, e):
        return stock.CancelComputeEvent(key=e["key"], stimulus_id="test")

    def make_remove_worker(self, e):
        return stock.RemoveWorkerEvent(worker=e["worker"], stimulus_id="test")

    def common(self, e):
        """What the events at the end of a transfer have in common"""
        asked = self.asked[e["worker"]]
        return {"worker": e["worker"], "total_nbytes": asked, "stimulus_id": "test"}

    def make_gather_success(self, e):
        data = {key: key for key, _ in e["offers"]}
        return stock.GatherDepSuccessEvent(data=data, **self.common(e))

    def make_gather_busy(self, e):
        return stock.GatherDepBusyEvent(**self.common(e))

    def make_gather_network_failure(self, e):
        return stock.GatherDepNetworkFailureEvent(**self.common(e))

    def make_gather_failure(self, e):
        return stock.GatherDepFailureEvent.from_exception(ValueError(), **self.common(e))

    def make_retry_busy_worker(self, e):
        return stock.RetryBusyWorkerEvent(worker=e["worker"], stimulus_id="test")

    def make_find_missing(self, _):
        return stock.FindMissingEvent(stimulus_id="test")

    def make_update_data(self, e):
        return stock.UpdateDataEvent(data={key: key for key, _ in e["offers"]}, stimulus_id="test")

    def make_execute_success(self, e):
        return stock.ExecuteSuccessEvent.dummy(
            e["key"], e["key"], run_id=e["run_id"], nbytes=e["nbytes"], stimulus_id="test"
        )

    def make_execute_failure(self, e):
        return stock.ExecuteFailureEvent.dummy(e["key"], run_id=e["run_id"], stimulus_id="test")

    def make_execute_reschedule(self, e):
        return stock.RescheduleEvent(key=e["key"], stimulus_id="test")

    def make_secede(self, e):
        return stock.SecedeEvent(
            key=e["key"], compute_duration=e["compute_duration"], stimulus_id="test"
        )

    def make_pause(self, _):
        return stock.PauseEvent(stimulus_id="test")

    def make_unpause(self, _):
        return stock.UnpauseEvent(stimulus_id="test")

    def show(self, instruction):
        match type(instruction).__name__:
            case "GatherDep":
                self.asked[instruction.worker] = instruction.total_nbytes
                keys = list(instruction.to_gather)
                return ["gather", instruction.worker, keys, instruction.total_nbytes]
            case "Execute":
                return ["execute", instruction.key]
            case "RetryBusyWorkerLater":
                return ["retry_busy_later", instruction.worker]
            case "TaskFinishedMsg":
                return ["task_finished", instruction.key, instruction.run_id, instruction.nbytes]
            case "TaskErredMsg":
                return ["task_erred", instruction.key, instruction.run_id]
            case "ReleaseWorkerDataMsg":
                return ["release_worker_data", instruction.key]
            case "RescheduleMsg":
                return ["reschedule", instruction.key]
            case "LongRunningMsg":
                return [
                    "long_running",
                    instruction.key,
                    instruction.run_id,
                    instruction.compute_duration,
                ]
            case "AddKeysMsg":
                return ["add_keys", list(instruction.keys)]
            case "RequestRefreshWhoHasMsg":
                return ["request_refresh_who_has", sorted(instruction.keys)]
            case "StealResponseMsg":
                return ["steal_response", instruction.key, instruction.state]
            case name:
                raise AssertionError(name)

    def answer(self, instructions):
        w = self.w
        return {
            "actions": [self.show(instruction) for instruction in instructions],
            "tasks": {key: task_facts(task) for key, task in w.tasks.items()},
            "peers": peer_facts(w),
            "resources": w.available_resources,
            "running": w.running,
            "executing": len(w.executing),
            "long_running": len(w.long_running),
            "in_flight": len(w.in_flight_tasks),
            "executed": w.executed_count,
            "nbytes": w.nbytes,
            "incoming": w.transfer_incoming_count,
            "incoming_total": w.transfer_incoming_count_total,
            "incoming_bytes": w.transfer_incoming_bytes,
        }


def task_facts(task):
    return {
        "state": task.state,
        "previous": task.previous or "released",
        "next": task.next or "released",
        "nbytes": -1 if task.nbytes is None else task.nbytes,
        "run_id": task.run_id,
        "priority": None if task.priority is None else list(task.priority),
        "who_has": sorted(task.who_has),
        "dependencies": [ts.key for ts in task.dependencies],
        "dependents": [ts.key for ts in task.dependents],
        "waiting_for": len(task.waiting_for_data),
        "waiters": len(task.waiters),
        "coming_from": task.coming_from or "",
    }


def peer_facts(w):
    facts = {}
    for peer in PEERS:
        fact = {
            "has": len(w.has_what.get(peer, ())),
            "needed": len(w.data_needed.get(peer, ())),
            "in_flight": peer in w.in_flight_workers,
            "busy": peer in w.busy_workers,
        }
        if any(fact.values()):
            facts[peer] = fact
    return facts


# --- The core ---


class Core:
    def __init__(self):
        self.process = subprocess.Popen(
            [DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begin(self, settings):
        self.write({"op": "begin", "address": HOME} | settings)
        self.kept = set()

    def write(self, event):
        self.process.stdin.write(json.dumps(event) + "\n")
        self.process.stdin.flush()

    def apply(self, event):
        self.write(event)
        answer = json.loads(self.process.stdout.readline() or '{"died": true}')
        assert "died" not in answer, event
        answer["actions"] = self.settle(event, answer["actions"])
        for task in answer["tasks"].values():
            task["who_has"].sort()
        in_memory = {key for key, task in answer["tasks"].items() if task["state"] == "memory"}
        assert self.kept == in_memory
        return answer

    def settle(self, event, actions):
        """Check the actions about values, which stock does not have, and leave them out"""
        offered = collections.Counter(key for key, _ in event.get("offers", []))
        if event["op"] == "execute_success":
            offered[event["key"]] += 1
        others = []
        for action in actions:
            match action:
                case "keep", key:
                    assert key not in self.kept
                    self.kept.add(key)
                    offered[key] -= 1
                case "refuse", key:
                    offered[key] -= 1
                case "drop", key:
                    self.kept.remove(key)
                case "interrupt", key:
                    assert event["op"] == "free_keys" and key in event["keys"]
                case "request_refresh_who_has", keys:
                    others.append([action[0], sorted(keys)])
                case _:
                    others.append(action)
        assert not any(offered.values()), offered
        return others

    def close(self):
        self.process.stdin.close()
        assert self.process.wait() == 0


# --- Scripts ---


class Script:
    """Chooses what happens next"""

    def __init__(self, seed):
        self.random = random.Random(seed)
        r = self.random
        self.keys = [f"k-{i}" for i in range(r.choice([4, 8, 14]))]
        self.runs = 0
        self.settings = {
            "nthreads": r.choice([1, 1, 2, 4]),
            "resources": r.choice([{}, {"GPU": 2}, {"GPU": 1, "DISK": 3}]),
            "incoming_limit": r.choice([None, None, 1000]),
            "message_limit": r.choice([None, 300]),
            "throttle_floor": r.choice([10_000_000, 100]),
            "incoming_count_limit": r.choice([9999, 1, 2]),
        }
        names = [name for name in dir(self) if name.startswith("do_")]
        self.weights = {name[3:]: r.choice([1, 2, 4]) for name in names}
        for name in ("compute_task", "execute_success", "gather_success"):
            self.weights[name] *= 3
        for name in ("pause", "remove_worker", "update_data", "steal_request"):
            self.weights[name] = 1

    def next(self, w):
        names = list(self.weights)
        while True:
            name = self.random.choices(names, [self.weights[n] for n in names])[0]
            event = getattr(self, "do_" + name)(w)
            if event is not None:
                return {"op": name} | event

    def pick(self, items):
        items = sorted(items)
        return self.random.choice(items) if items else None

    def some(self, items, most):
        items = sorted(items)
        return self.random.sample(items, self.random.randint(0, min(most, len(items))))

    def holdings(self, keys, least=1):
        r = self.random
        return [[key, r.randint(1, 500), r.sample(PEERS, r.randint(least, 3))] for key in keys]

    def do_compute_task(self, w):
        r = self.random
        place = r.randrange(len(self.keys))
        key = self.keys[place]
        # Other tasks' results are somewhere, or the scheduler would not send this one
        inputs = [k for k in self.some(self.keys[:place], 3) if can_be_input(w.tasks.get(k))]
        self.runs += 1
        resources = {}
        if self.settings["resources"] and r.random() < 0.3:
            resources = {name: 1 for name in self.some(self.settings["resources"], 2)}
        return {
            "key": key,
            "run_id": self.runs,
            "priority": [r.choice([0, 0, -1, 2]), r.randint(1, 3), r.randint(0, 20)],
            "holdings": self.holdings(inputs),
            "resources": resources,
            "actor": r.random() < 0.05,
        }

    def do_free_keys(self, w):
        # A task goes before its inputs, as the scheduler releases them
        keys = [k for k in self.some(w.tasks, 3) if not is_in_use(w, k)]
        return {"keys": keys} if keys else None

    def do_remove_replicas(self, w):
        keys = [k for k in self.some(w.tasks, 2) if not is_in_use(w, k)]
        return {"keys": keys} if keys else None

    def do_acquire_replicas(self, w):
        keys = self.some(self.keys, 3)
        return {"holdings": self.holdings(keys)} if keys else None

    def do_refresh_who_has(self, w):
        keys = self.some(self.keys, 3)
        return {"holdings": self.holdings(keys, 0)} if keys else None

    def do_steal_request(self, w):
        key = self.random.choice(self.keys)
        return None if key in w.tasks and w.tasks[key].dependents else {"key": key}

    def do_cancel_compute(self, w):
        key = self.random.choice(self.keys)
        return None if key in w.tasks and w.tasks[key].dependents else {"key": key}

    def do_remove_worker(self, w):
        return {"worker": self.random.choice(PEERS)}

    def asked(self, w):
        peer = self.pick(w.in_flight_workers)
        return peer and {"worker": peer}

    def do_gather_success(self, w):
        event = self.asked(w)
        if event:
            keys = list(w.in_flight_workers[event["worker"]])
            if self.random.random() < 0.3:
                keys = self.some(keys, len(keys))
            event["offers"] = offers(keys)
        return event

    def do_gather_busy(self, w):
        return self.asked(w)

    def do_gather_network_failure(self, w):
        return self.asked(w)

    def do_gather_failure(self, w):
        return self.asked(w)

    def do_retry_busy_worker(self, w):
        peer = self.pick(w.busy_workers)
        return peer and {"worker": peer}

    def do_find_missing(self, w):
        return {}

    def do_update_data(self, w):
        keys = [k for k in self.some(self.keys, 2) if can_be_scattered(w.tasks.get(k))]
        return {"offers": offers(keys)} if keys else None

    def run(self, w):
        key = self.pick(ts.key for ts in w.all_running_tasks)
        return key and {"key": key, "run_id": w.tasks[key].run_id}

    def do_execute_success(self, w):
        event = self.run(w)
        return event and event | {"nbytes": self.random.randint(1, 500)}

    def do_execute_failure(self, w):
        return self.run(w)

    def do_execute_reschedule(self, w):
        return self.run(w)

    def do_secede(self, w):
        event = self.run(w)
        return event and event | {"compute_duration": self.random.random()}

    def do_pause(self, w):
        return {} if w.running else None

    def do_unpause(self, w):
        return None if w.running else {}


def offers(keys):
    """The values are the keys themselves"""
    return [[key, sizeof(key)] for key in keys]


def can_be_input(task):
    return task is None or task.state not in ("error",)


def is_in_use(w, key):
    """Whether the scheduler would not free it: something here is to be computed with it"""
    return any(ts.state not in ("released", "memory", "error") for ts in w.tasks[key].dependents)


def can_be_scattered(task):
    """Of a task that runs or flies stock says that a scatter misbehaves"""
    return task is None or task.state in ("released", "memory", "fetch", "missing", "error")


def differences(a, b, path=""):
    if isinstance(a, dict) and isinstance(b, dict):
        for name in sorted({*a, *b}):
            yield from differences(a.get(name), b.get(name), f"{path}/{name}")
    elif a != b:
        yield f"{path}: stock {a}, core {b}"


def run_script(core, seed):
    """Returns the number of events both went through, and what stock refused"""
    Heap.arrivals = 0
    script = Script(seed)
    reference = Stock(script.settings)
    core.begin(script.settings)
    told = []
    for step in range(STEPS):
        event = script.next(reference.w) | {"time": 1000 + step}
        told.append(event)
        try:
            expected = reference.apply(event)
        except Refused as refused:
            return step, f"{event['op']}: {refused}"
        found = core.apply(event)
        wrong = list(differences(expected, found))
        if wrong:
            recent = "\n".join(json.dumps(e) for e in told[-12:])
            pytest.fail(f"seed {seed}, step {step}:\n" + "\n".join(wrong) + f"\nafter\n{recent}")
    return STEPS, None


def test_moves_are_stocks():
    """states.def has the states and moves of WorkerState._TRANSITIONS_TABLE, no more and no fewer"""
    with open(f"{ROOT}/src/core/worker/states.def") as file:
        text = file.read()
    names = dict(re.findall(r'^STATE\((\w+), "([a-z-]+)"', text, re.MULTILINE))
    moves = re.findall(r"^MOVE\((\w+), (\w+), ", text, re.MULTILINE)
    assert {(names[a], names[b]) for a, b in moves} == set(stock.WorkerState._TRANSITIONS_TABLE)
    assert len(moves) == len(set(moves))
    assert set(names.values()) == set(typing.get_args(stock.TaskStateState))


@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + SEEDS, BATCH))
def test_random_scripts(first):
    core = Core()
    lengths = []
    reasons = collections.Counter()
    for seed in range(first, min(first + BATCH, FIRST_SEED + SEEDS)):
        length, reason = run_script(core, seed)
        lengths.append(length)
        reasons[reason] += 1
    core.close()
    print(sum(lengths) / len(lengths), reasons.most_common(20))
    # A script that ends early tests little
    assert sum(lengths) / len(lengths) > STEPS / 3, reasons
