"""The core in C, behind core_driver (test/support): one process for all scripts; and how its
answers are compared with stock's."""

import json
import os
import subprocess

from harness import ROOT

DRIVER = os.environ.get("CASK_CORE_DRIVER", f"{ROOT}/build/test/support/core_driver")
# The core keeps occupancy in whole nanoseconds
ROUNDING = 1e-6


class Driver:
    """The process; begun with the first script, ended with the last or with a failure"""

    def __init__(self):
        self.process = None

    def ask(self, line):
        self.tell(line)
        answer = self.process.stdout.readline()
        if not answer:
            code = self.process.wait()
            self.process = None
            raise AssertionError(f"the core died ({code}) of {line}")
        return json.loads(answer)

    def tell(self, line):
        if self.process is None:
            self.process = subprocess.Popen(
                [DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            assert self.process.wait() == 0
            self.process = None


class Core:
    """One core; `apply` takes events"""

    def __init__(self, driver, settings):
        self.driver = driver
        saturation = settings["saturation"]
        driver.tell(
            {
                "op": "begin",
                "saturation": 0 if saturation == "inf" else saturation,
                "no_workers_timeout": settings["no_workers_timeout"] or 0,
                "allowed_failures": settings["allowed_failures"],
                "amm": settings["amm"],
                "stealing": True,
            }
        )

    def apply(self, event, workers, clients):
        """What was sent to whom, and where each task is.  `workers`, `clients`: all there are"""
        answer = self.driver.ask(event)
        sent = {}
        for peer, messages in answer["sent"].items():
            for name in {"*": workers, "**": clients}.get(peer, [peer]):
                sent.setdefault(name, []).extend(plain(message) for message in messages)
        for address, may_go in answer["retired"]:
            if may_go:  # the node removes it
                removal = {"op": "worker-remove", "worker": address, "expected": True}
                removal |= {"close": False, "time": event["time"]}
                after, answer["places"] = self.apply(removal, workers, clients)
                for peer, messages in after.items():
                    sent.setdefault(peer, []).extend(messages)
        return sent, answer["places"]

    def orders(self):
        return self.driver.ask({"op": "orders"})

    def look(self):
        state = self.driver.ask({"op": "look"})
        for task in state["tasks"].values():
            sort_lists(task, but="priority")
        for part in ("workers", "prefixes", "groups"):
            for thing in state[part].values():
                sort_lists(thing)
        for computation in state["computations"]:
            sort_lists(computation)
        return state


def sort_lists(thing, but=None):
    for name, value in thing.items():
        if isinstance(value, list) and name != but:
            value.sort()


def plain(message):
    """As stock's half shows it: inputs and holders in order"""
    op = message[0]
    if op == "compute-task":
        message[3] = sorted([key, nbytes, sorted(holders)] for key, nbytes, holders in message[3])
    elif op in ("acquire-replicas", "refresh-who-has"):
        return [op, message[1], sorted(message[2][2])]
    return message


def differences(stock, core, path=""):
    """Where two answers differ, as lines"""
    if isinstance(stock, dict) and isinstance(core, dict):
        for name in sorted(stock.keys() | core.keys()):
            if stock.get(name) != core.get(name):
                yield from differences(stock.get(name), core.get(name), f"{path}/{name}")
    elif isinstance(stock, list) and isinstance(core, list) and len(stock) == len(core):
        for i, (one, other) in enumerate(zip(stock, core, strict=True)):
            if one != other:
                yield from differences(one, other, f"{path}/{i}")
    elif isinstance(stock, float) or isinstance(core, float):
        if stock is None or core is None or abs(stock - core) > ROUNDING * max(1, abs(stock)):
            yield f"{path}: stock {stock}, core {core}"
    elif stock != core:
        yield f"{path}: stock {stock}, core {core}"
