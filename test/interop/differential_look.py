"""The whole state of stock's scheduler, as core_driver_look.c shows the core's."""

from differential_modules import Clock

TARGET_DURATION = 5.0


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
            ts.key: level for level, tasks in enumerate(steal.stealable[ws.address]) for ts in tasks
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


def look(s):
    steal = s.extensions["stealing"]
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
            for task, info in steal.in_flight.items()
        },
        "steals": [steal.metrics["request_count_total"][i] for i in range(15)],
        "queued": len(s.queued),
        "unrunnable": len(s.unrunnable),
        "occupancy": s.total_occupancy,
        "bandwidth": s.bandwidth,
        "replicated": len(s.replicated_tasks),
        "nthreads": s.total_nthreads,
        "memory_limit": s.total_memory,
    }
