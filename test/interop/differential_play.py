"""A script played on both stages, stock's and the core's, and compared after each event."""

import json

from differential_core import Core, differences
from differential_stock import Stock

LOOK_EVERY = 6  # steps
STEPS = 120

# Events all of whose messages stock sends in an order that it defines; after others only the
# messages about one key are compared in order
IN_ORDER = ("finished", "worker-add", "long-running", "steal-response", "data-placed", "add-keys")


# Events in which stock goes through sets in an order that matters and means nothing: it is told the
# core's
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
        self.places = {}  # key → state, "@" and a worker
        self.met = set()  # events, messages, moves, plans

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
        self.compare(
            {"sent": wanted, "places": self.stock.places()}, {"sent": sent, "places": places}
        )
        self.meet(wanted, places)
        if len(self.history) % self.look_every == 0:
            self.look()

    def look(self):
        self.stock.tell(self.core.orders())
        stock, core = self.stock.look(), self.core.look()
        for name, plan in stock["plans"].items():
            if plan is None:  # stock cannot say
                core["plans"][name] = None
        self.met.update(f"plan {name}" for name, plan in stock["plans"].items() if plan)
        self.compare(stock, core)

    def compare(self, stock, core):
        found = list(differences(stock, core))
        last = [json.dumps(event)[:600] for event in self.history[-3:]]
        assert not found, "\n".join([*last, f"step {len(self.history)}", *found])

    def meet(self, messages, places):
        """Note what the script came across"""
        self.met.update(message[0] for sent in messages.values() for message in sent)
        for key, place in places.items():
            before, after = (text.partition("@")[0] for text in (self.places.get(key, ""), place))
            if before != after:
                self.met.add(f"{before}>{after}")
        self.met.add(self.history[-1]["op"])
        self.places = places

    async def run(self):
        try:
            for event in self.script.opening():
                await self.step(event)
            for _ in range(STEPS):
                await self.step(self.script.next(self.stock.s))
            self.look()
        finally:
            self.stock.close()
