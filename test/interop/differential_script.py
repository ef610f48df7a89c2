"""Random scripts: what happens next is chosen by the state that stock is in."""

import random
import uuid

CLIENTS = ("client-a", "client-b")
HOSTS = 6  # workers share them


def address(slot):
    return f"tcp://10.0.0.{slot % HOSTS + 1}:{1000 + slot}"


class Script:
    """Each seed has its own mix of what a cluster can meet"""

    def __init__(self, seed):
        roll = self.random = random.Random(seed)
        self.settings = {
            "saturation": roll.choice([1.1, 1.1, 1.0, 2.0, 0.4, "inf", "inf"]),
            "amm": roll.random() < 0.4,
            "no_workers_timeout": roll.choice([None, None, None, 3]),
            "allowed_failures": roll.choice([3, 1, 0]),
        }
        self.slots = roll.choice([4, 8, 8, 12, 30])
        self.rules = roll.random() < 0.5  # restrictions and resources
        self.trouble = roll.random() < 0.5  # errors, losses, pauses
        self.steals = roll.random() < 0.5
        self.memory = roll.random() < 0.4  # replicas, retirements
        self.tight = roll.random() < 0.15  # little memory
        self.reuse = roll.random() < 0.3  # keys come again
        self.spans = [
            {"name": ["one"], "ids": [self.uuid()]},
            {"name": ["one", "two"], "ids": [self.uuid(), self.uuid()]},
        ]
        self.now = 1000.0
        self.graphs = self.joins = self.scattered = 0
        self.fetching = []  # (worker, key) that workers were asked to get
        self.leaving = []  # (worker, status) that workers were told to take

    def uuid(self):
        return str(uuid.UUID(int=self.random.getrandbits(128)))

    def opening(self):
        for client in CLIENTS:
            yield {"op": "client-add", "client": client}
        for slot in range(self.random.randint(0, self.slots // 2)):
            yield self.worker_add(slot)

    def timed(self, event):
        self.now += 0.01
        return event | {"time": self.now}

    def heard(self, sent):
        """What stock's workers were told"""
        for worker, messages in sent.items():
            for message in messages:
                if message[0] == "acquire-replicas":
                    self.fetching.append((worker, message[1]))
                elif message[0] == "worker-status-change":
                    self.leaving.append((worker, message[1]))

    # --- workers ---

    def measured(self):
        roll = self.random
        return {
            "memory": roll.choice([10**8, 2 * 10**9, roll.randrange(10**10)]),
            "spilled": roll.choice([0, 0, 0, roll.randrange(10**8)]),
            "bandwidth": roll.choice([1e8, 1e8, 5e7, 2e8]),
            "worker_time": self.now + roll.choice([0.0, 0.5]),
        }

    def worker_add(self, slot):
        self.joins += 1
        roll = self.random
        return self.measured() | {
            "op": "worker-add",
            "worker": address(slot),
            "host": f"10.0.0.{slot % HOSTS + 1}",
            "name": f"w{slot}-{self.joins}",
            "status": "running" if roll.random() < 0.95 else "paused",
            "nthreads": roll.choice([1, 1, 2, 4]),
            "memory_limit": roll.choice([10**10, 10**9, 0]) if self.tight else 10**10,
            "resources": roll.choice([{}, {"GPU": 2.0}, {"GPU": 1.0, "disk": 3.0}]),
        }

    def join(self, s):
        slot = self.random.randrange(self.slots)
        return None if address(slot) in s.workers else self.worker_add(slot)

    def lose(self, s):
        worker = self.some(s.workers)
        return worker and {
            "op": "worker-remove",
            "worker": worker,
            "expected": self.random.random() < 0.3,
            "close": self.random.random() < 0.3,
        }

    def pause(self, s):
        told = [pair for pair in self.leaving if pair[0] in s.workers]
        if told:
            self.leaving.remove(told[0])
            return {"op": "worker-status", "worker": told[0][0], "status": told[0][1]}
        worker = self.some(s.workers)
        status = self.random.choice(
            ["running", "running", "running", "paused", "closing_gracefully"]
        )
        return worker and {"op": "worker-status", "worker": worker, "status": status}

    def heartbeat(self, s):
        worker = self.some(s.workers)
        if worker is None:
            return None
        running = sorted(ts.key for ts in s.workers[worker].processing)
        seconds = self.random.choice([0.01, 0.7, 3.0])
        executing = {key: seconds for key in running[: self.random.randint(0, 3)]}
        return self.measured() | {"op": "heartbeat", "worker": worker, "executing": executing}

    def resources(self, s):
        worker = self.some(s.workers)
        return worker and {"op": "resources", "worker": worker, "resources": {"GPU": 2.0}}

    def span_metrics(self, s):
        spans = list(s.extensions["spans"].spans)
        worker = self.some(s.workers)
        if not worker or not spans:
            return None
        name = ["execute", "x", self.random.choice(["thread-cpu", "deserialize"]), "seconds"]
        metrics = [[self.random.randrange(len(spans)), name, self.random.choice([0.25, 2.0])]]
        return {"op": "span-metrics", "worker": worker, "metrics": metrics}

    # --- graphs ---

    def note(self, s):
        roll = self.random
        note = {}
        if roll.random() < 0.2:
            note["retries"] = roll.randint(1, 2)
        if roll.random() < 0.2:
            note["priority"] = roll.randint(-2, 2)
        if roll.random() < 0.15:
            note["span"] = roll.choice(self.spans)
        if self.rules and roll.random() < 0.25:
            note["workers"] = [self.place(s) for _ in range(roll.randint(1, 3))]
            if roll.random() < 0.5:
                note["allow_other_workers"] = True
        if self.rules and roll.random() < 0.15:
            note["resources"] = roll.choice([{"GPU": 1.0}, {"GPU": 2.0}, {"GPU": 1.0, "disk": 1.0}])
        return note

    def place(self, s):
        """What `workers=` may name: an address, a worker, a host, or nothing that there is"""
        roll = self.random
        slot = roll.randrange(self.slots)
        name = self.some(ws.name for ws in s.workers.values()) or "w0-1"
        return roll.choice(
            [address(slot), address(slot), name, f"10.0.0.{slot % HOSTS + 1}", "nowhere"]
        )

    def layers(self, s, others):
        """Tasks in layers with random links; now and then wide enough to be queued"""
        roll = self.random
        tasks, before = [], []
        outside = roll.random() < 0.5 and others
        wide = roll.random() < 0.25
        for layer in range(roll.randint(1, 4)):
            width = roll.choice([1, 2, 3, 5, 8, 30 if layer == 0 else 4])
            width = 20 if wide and layer == 0 else width
            place = len(tasks)
            note = self.note(s)
            makes_data = layer == 0 and roll.random() < 0.05
            for i in range(width):
                count = min(len(before), roll.choice([1, 1, 2, 3]))
                inputs = sorted(roll.sample(before, count))
                key = f"{'xyz'[layer % 3]}{self.graphs}-{layer}{i}"
                tasks.append([key, inputs, len(tasks), note, makes_data])
                if outside and roll.random() < 0.3:
                    inputs.append(-1 - roll.randrange(len(others)))
            before = list(range(place, len(tasks)))
        for task in tasks:
            task[1] = sorted({i if i >= 0 else len(tasks) - 1 - i for i in task[1]})
        return tasks, before

    def graph(self, s):
        roll = self.random
        self.graphs += 1
        known = sorted(key for key, ts in s.tasks.items() if ts.state != "forgotten")
        others = roll.sample(known, min(len(known), roll.randint(0, 3)))
        if roll.random() < 0.03:
            others.append(f"gone-{self.graphs}")
        tasks, last = self.layers(s, others)
        if self.reuse and known and roll.random() < 0.5:
            self.come_again(tasks, [key for key in known if key not in others] or ["again"])
        wanted = {tasks[i][0] for i in last} | {task[0] for task in roll.sample(tasks, 1)}
        if roll.random() < 0.7:
            used = {i for task in tasks for i in task[1]}
            wanted |= {task[0] for i, task in enumerate(tasks) if i not in used}
        if others and roll.random() < 0.2:
            wanted.add(others[0])
        used = {i for task in tasks for i in task[1]}
        return {
            "op": "graph",
            "client": roll.choice(CLIENTS),
            "tasks": tasks,
            "others": others,
            "wanted": sorted(wanted),
            "user_priority": roll.choice([0, 0, 1]),
            "submitting_task": self.parent(s) if roll.random() < 0.1 else None,
            "fifo_timeout": roll.choice([0.0, 0.0, 0.05]),
            "actors": self.actors(wanted, tasks),
            "code": f"code-{roll.randrange(3)}",
        }

    def parent(self, s):
        """A task that submits others"""
        return self.some(key for key, ts in s.tasks.items() if ts.priority)

    def actors(self, wanted, tasks):
        if self.random.random() < 0.04:
            return True
        keys = sorted(wanted & {task[0] for task in tasks})
        return self.random.sample(keys, 1) if self.random.random() < 0.04 else None

    def come_again(self, tasks, known):
        """Some keys are of tasks that are known, with the same inputs or with others"""
        roll = self.random
        numbers = {task[0]: i for i, task in enumerate(tasks)}
        for i in roll.sample(range(len(tasks)), min(2, len(tasks))):
            key = roll.choice(known)
            if key not in numbers and not tasks[i][1]:
                del numbers[tasks[i][0]]
                tasks[i][0] = key
                numbers[key] = i

    # --- clients ---

    def wish(self, s):
        client = self.random.choice(CLIENTS)
        return client, self.some(ts.key for ts in s.clients[client].wants_what)

    def release(self, s):
        client = self.random.choice(CLIENTS)
        keys = sorted(ts.key for ts in s.clients[client].wants_what)
        keys = self.random.sample(keys, min(len(keys), self.random.choice([1, 1, 2, 5])))
        return keys and {"op": "release", "client": client, "keys": keys}

    def desire(self, s):
        client = self.random.choice([*CLIENTS, "queue-1", "fire-and-forget"])
        key = self.some(key for key, ts in s.tasks.items() if ts.state != "released")
        return key and {"op": "desire", "client": client, "keys": [key]}

    def release_pseudo(self, s):
        key = "queue-1" in s.clients and self.some(ts.key for ts in s.clients["queue-1"].wants_what)
        return key and {"op": "release", "client": "queue-1", "keys": [key]}

    def cancel(self, s):
        client, key = self.wish(s)
        force = self.random.random() < 0.3
        return key and {"op": "cancel", "client": client, "keys": [key], "force": force}

    def retry(self, s):
        keys = sorted(key for key, ts in s.tasks.items() if ts.state == "erred")
        keys = self.random.sample(keys, min(len(keys), self.random.choice([1, 1, 3])))
        return keys and {"op": "retry", "client": CLIENTS[0], "keys": keys}

    def report_key(self, s):
        key = self.some(s.tasks) if self.random.random() < 0.8 else "gone"
        client = self.random.choice(CLIENTS)
        return key and {"op": "report-key", "client": client, "key": key}

    def client_again(self, s):
        """A client leaves and comes back"""
        gone = [client for client in CLIENTS if client not in s.clients]
        client = gone[0] if gone else self.random.choice(CLIENTS)
        return {"op": "client-remove", "client": client}

    def data_placed(self, s):
        workers = self.random.sample(
            sorted(s.workers), min(len(s.workers), self.random.randint(1, 3))
        )
        placed = []
        for worker in workers:
            self.scattered += self.random.random() < 0.6 or not placed
            nbytes = self.random.choice([0, 5000, 10**8])
            placed.append([f"data-{self.scattered}", worker, placed[-1][2] if placed else nbytes])
        client = self.random.choice(CLIENTS)
        return placed and {"op": "data-placed", "client": client, "placed": placed}

    def set_restrictions(self, s):
        key = self.some(s.tasks)
        workers = [address(self.random.randrange(self.slots))] if self.random.random() < 0.7 else []
        return key and {"op": "set-restrictions", "key": key, "workers": workers}

    # --- what workers say of tasks ---

    def some(self, items):
        items = sorted(items)
        return self.random.choice(items) if items else None

    def run(self, s):
        """A task that a worker runs: (key, worker)"""
        return self.some(
            (ts.key, ts.processing_on.address) for ts in s.tasks.values() if ts.processing_on
        )

    def finished(self, s):
        run = self.run(s)
        seconds = self.random.choice([0.001, 0.1, 0.5, 2.5, self.random.random()])
        fetched = self.random.choice([0.0, 0.0, 0.3])
        moves = [["transfer", self.now - seconds - fetched, self.now - seconds]] if fetched else []
        return run and {
            "op": "finished",
            "key": run[0],
            "worker": run[1],
            "nbytes": self.random.choice([0, 8, 1000, 10**6, 10**9]),
            "typename": self.random.choice(["int", "int", "str"]),
            "startstops": [*moves, ["compute", self.now - seconds, self.now]],
        }

    def erred(self, s):
        run = self.run(s)
        return run and {"op": "erred", "key": run[0], "worker": run[1]}

    def stale(self, s):
        event = self.random.choice([self.finished, self.erred])(s)
        return event and event | {"stale": True}

    def late(self, s):
        """From a worker that the task has left"""
        event = self.random.choice([self.finished, self.erred])(s)
        key = self.some(s.tasks)
        worker = self.some(s.workers)
        if event is None or (key and s.tasks[key].state in ("waiting", "processing")):
            return None
        return event | {"worker": worker, "key": key, "stale": True}

    def long_running(self, s):
        run = self.some(
            (ts.key, ws.address)
            for ws in s.workers.values()
            for ts in ws.processing
            if ts not in ws.long_running
        )
        seconds = self.random.choice([0.25, 3.0, None])
        return run and {"op": "long-running", "key": run[0], "worker": run[1], "seconds": seconds}

    def reschedule(self, s):
        run = self.run(s)
        return run and {"op": "reschedule", "key": run[0], "worker": run[1]}

    def replica(self, s):
        return self.some((ts.key, ws.address) for ts in s.tasks.values() for ws in ts.who_has or ())

    def release_data(self, s):
        replica = self.replica(s)
        return replica and {"op": "release-data", "key": replica[0], "worker": replica[1]}

    def add_keys(self, s):
        self.fetching = [pair for pair in self.fetching if pair[0] in s.workers]
        if self.fetching and self.random.random() < 0.8:
            worker, key = self.fetching.pop(self.random.randrange(len(self.fetching)))
        else:
            key, worker = self.some(s.tasks), self.some(s.workers)
        return key and worker and {"op": "add-keys", "keys": [key], "worker": worker}

    def refresh_who_has(self, s):
        worker = self.some(s.workers)
        keys = sorted(key for key, ts in s.tasks.items() if ts.state not in ("released", "erred"))
        keys = self.random.sample(keys, min(len(keys), 2)) + ["gone"]
        return worker and {"op": "refresh-who-has", "worker": worker, "keys": keys}

    # --- time, memory ---

    def tick(self, s):
        self.now += 2.1  # all that is done at intervals is due
        return {"op": "tick"}

    def steal_response(self, s):
        """From a victim, in time or not at all: with a state that lets the task go, or does not"""
        requests = s.extensions["stealing"].in_flight
        found = self.some((ts.key, info["victim"].address) for ts, info in requests.items())
        states = ["ready", "ready", "constrained", "waiting", "executing", "memory", "released", ""]
        return found and {
            "op": "steal-response",
            "key": found[0],
            "worker": found[1],
            "state": self.random.choice(states),
            "stale": self.random.random() < 0.05,
        }

    def amm_once(self, s):
        return {"op": "amm", "method": "run_once"}

    def retire(self, s):
        """If no memory manager runs, each has one of its own; in the core there is one for all"""
        if not self.settings["amm"] and not all(task.done() for task in s.retiring):
            return None
        worker = self.some(ws.address for ws in s.running)
        return worker and {"op": "retire", "workers": [worker]}

    # --- which ---

    def weights(self):
        chances = {
            self.graph: 6,
            self.finished: 60,
            self.long_running: 1,
            self.release: 3,
            self.desire: 1,
            self.release_pseudo: 1,
            self.cancel: 1,
            self.report_key: 1,
            self.data_placed: 1,
            self.join: 2 + self.slots // 6,
            self.heartbeat: 3,
            self.span_metrics: 1,
            self.add_keys: 2,
            self.tick: 1,
        }
        if self.steals:
            chances |= {self.tick: 4, self.steal_response: 6}
        if self.memory:
            chances |= {self.amm_once: 2, self.retire: 1, self.add_keys: 8, self.tick: 3}
        if self.rules:
            chances |= {self.set_restrictions: 1, self.resources: 1}
        if self.trouble:
            chances |= {
                self.erred: 4,
                self.stale: 1,
                self.late: 1,
                self.reschedule: 1,
                self.release_data: 1,
                self.refresh_who_has: 1,
                self.retry: 3,
                self.lose: 1 + self.slots // 12,
                self.pause: 3,
                self.client_again: 0.3,
            }
        return chances

    def next(self, s):
        for client in CLIENTS:
            if client not in s.clients:
                return {"op": "client-add", "client": client}
        chances = self.weights()
        event = None
        while not event:
            event = self.random.choices(list(chances), list(chances.values()))[0](s)
        return event
