"""Random scripts of events through stock's scheduler and through the core in C, compared throughout.

After each event what was sent to whom and where each task is must agree, and every few events the
whole visible state.  What happens next is chosen by stock's state, so a seed is a script.

Where stock leaves something to chance (the order of a set), it is told what the core does.  Where the
core differs on purpose, stock is taught the same (`Taught` and `EDITS` of differential_stock.py), so
that scripts go on:

| stock | core |
|---|---|
| occupancy is a sum of floats | in whole nanoseconds, so that it does not drift |
| resources: whoever offers enough in all | of those the ones that have it free now |
| loose restrictions, nobody allowed there: anybody | anybody with the resources |
| a task with loose restrictions waits in no-worker for one that is allowed | any that comes with the resources |
| resources added later: nothing is in use any more | what runs goes on using them |
| a stolen task's resources and its place among the actors stay with the victim | they move with it |
| an actor that is sent back to be placed again stays among its worker's actors, also if its data is gone | it leaves |
| a task that seceded may be listed as stealable again | it is not |
| slots that stealing or the memory manager opens are filled with the next event | at once |
| a task may wait for an input that failed, for ever | it fails as its input did |
| one whose data is lost and that has a failed input stays released | it fails as its input did |
| a task in memory errs when a graph comes in that touches it and one of its inputs has failed | it keeps its value |
| an input that failed is tried again when the last that waits for it goes | it stays as it is |
| scattered data that is lost while a ready task needs it is sent to a worker, with nothing to run | it is forgotten, and who needs it |
| a ready task that loses an input waits for it though nobody needs the task any more | it goes |
| a lost actor errs twice | once |
| cancel: level by level, a message each; raises if nobody wants a dependent | all at once, one message |
| retirements without a running memory manager have one each | they have one together |
"""

import asyncio
import json
import os

import pytest

from differential_core import Core, Driver, differences
from differential_script import STEPS, Script
from differential_stock import Stock

SEEDS = int(os.environ.get("CASK_DIFFERENTIAL_SEEDS", 300))
LOOK_EVERY = 6  # steps


# Events all of whose messages stock sends in an order that it defines; of others the messages about one key
IN_ORDER = ("finished", "worker-add", "long-running", "steal-response", "data-placed", "add-keys")


# Events in which stock goes through sets in an order that matters and means nothing: it is told the core's
TOLD = (
    "amm",
    "cancel",
    "client-remove",
    "erred",
    "release-data",
    "retire",
    "retry",
    "tick",
    "worker-remove",
)


def by_key(sent):
    """Each peer's messages by what they are about, in order"""
    return {
        peer: sorted(messages, key=lambda one: str(one[1]))
        for peer, messages in sent.items()
        if messages
    }


class Play:
    """A script on both stages"""

    def __init__(self, script, driver, look_every=LOOK_EVERY):
        self.script = script
        self.stock = Stock(script.settings)
        self.core = Core(driver, script.settings)
        self.look_every = look_every
        self.history = []

    async def step(self, event):
        s = self.stock.s
        event = self.script.timed(event)
        self.history.append(event)
        if event["op"] == "graph":
            self.stock.number(event)
        if event["op"] in TOLD:
            self.stock.tell(self.core.orders())
        await self.stock.apply(event)
        sent, places = self.core.apply(event, list(s.workers), list(s.client_comms))
        wanted = self.stock.sent()
        self.script.heard(wanted)
        for told in wanted, sent:  # of two workers that go at once, one may hear of the other
            for peer in told.keys() - s.workers.keys() - s.client_comms.keys():
                told[peer] = [message for message in told[peer] if message[0] != "remove-worker"]
        if event["op"] not in IN_ORDER:
            wanted, sent = by_key(wanted), by_key(sent)
        self.compare({"sent": wanted, "places": self.stock.places()}, {"sent": sent, "places": places})
        if len(self.history) % self.look_every == 0:
            self.look()

    def look(self):
        self.stock.tell(self.core.orders())
        stock, core = self.stock.look(), self.core.look()
        for name, plan in stock["plans"].items():
            if plan is None:  # stock cannot say
                core["plans"][name] = None
        self.compare(stock, core)

    def compare(self, stock, core):
        found = list(differences(stock, core))
        last = [json.dumps(event)[:600] for event in self.history[-3:]]
        assert not found, "\n".join([*last, f"step {len(self.history)}", *found])

    async def run(self):
        try:
            for event in self.script.opening():
                await self.step(event)
            for _ in range(STEPS):
                await self.step(self.script.next(self.stock.s))
            self.look()
        finally:
            self.stock.close()


@pytest.fixture(scope="module")
def driver():
    made = Driver()
    yield made
    made.close()


async def play(seed, driver, **options):
    await Play(Script(seed), driver, **options).run()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_script(seed, driver):
    asyncio.run(play(seed, driver))
