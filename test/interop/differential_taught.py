"""What the core does otherwise on purpose, taught to stock: see the table of test_differential.py.
EDITS of differential_modules.py are the rest of it."""

import functools

from differential_modules import Ordered, amm, stealing, stock


class Taught(stock.Scheduler):
    """Stock, with what the core does otherwise on purpose"""

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

    def needs_no_more(self, ts, dependency):
        ws = ts.processing_on
        if ws and dependency in ws.needs_what:
            ws._dec_needs_replica(dependency)

    def begin_graph(self, recommendations, touched, stimulus_id):
        failed = {ts.key: "erred" for ts in touched if recommendations.get(ts.key) == "erred"}
        self.transitions(failed, stimulus_id)
        rest = {
            key: state
            for key, state in recommendations.items()
            if key not in failed and key in self.tasks and self.tasks[key].state == "released"
        }
        self.transitions(rest, stimulus_id)

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
        """All at once; stock ends the wishes of each level of dependents for itself"""
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

    def set_restrictions(self, worker):
        """They count at once; stock looks at them when the task moves next"""
        super().set_restrictions(worker)
        for key in worker:
            if self.tasks[key].state in ("queued", "no-worker"):
                self.transitions({key: "released"}, "test")
                self.stimulus_queue_slots_maybe_opened(stimulus_id="test")

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


move_memory_erred = Taught._TRANSITIONS_TABLE["memory", "erred"]


def lose(self, key, stimulus_id, **kwargs):
    """Holders of proxies are told; what is no actor, and has no data, fails as its input did"""
    ts = self.tasks[key]
    message = {"op": "free-keys", "keys": [key], "stimulus_id": stimulus_id}
    freed = {ws.address: [message] for ws in ts.who_has or () if ws.address in self.workers}
    if ts.actor:
        recommendations, clients, _ = move_memory_erred(self, key, stimulus_id, **kwargs)
    else:
        self.remove_all_replicas(ts)
        for dts in ts.dependents:
            if not dts.who_has:
                dts.exception_blame = ts.exception_blame
        recommendations, clients, _ = self._propagate_erred(ts)
    return recommendations, clients, freed


Taught._TRANSITIONS_TABLE["memory", "erred"] = lose


move_processing_erred = Taught._TRANSITIONS_TABLE["processing", "erred"]


def fail(self, key, stimulus_id, **kwargs):
    """The worker of a task that fails as an input did is told, or it would wait for ever"""
    ws = self.tasks[key].processing_on
    recommendations, clients, workers = move_processing_erred(self, key, stimulus_id, **kwargs)
    if "cause" not in kwargs and self.workers.get(ws.address) is ws:
        message = {"op": "free-keys", "keys": [key], "stimulus_id": stimulus_id}
        workers = workers | {ws.address: [message]}
    return recommendations, clients, workers


Taught._TRANSITIONS_TABLE["processing", "erred"] = fail


class TaughtStealing(stealing.WorkStealing):
    def put_key_in_stealable(self, ts):
        if ts not in ts.processing_on.long_running:
            super().put_key_in_stealable(ts)

    def take_along(self, ts, victim, thief):
        self.scheduler.release_resources(ts, victim)
        self.scheduler.acquire_resources(ts, thief)
        if ts.actor:
            victim.actors.discard(ts)
            thief.actors.add(ts)

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
