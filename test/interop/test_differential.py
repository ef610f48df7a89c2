"""Random scripts of events through stock's scheduler and through the core in C, compared.

After each event what was sent to whom and where each task is must agree, and every few events the
whole visible state.  What happens next is chosen by stock's state, so a seed is a script.

Where stock leaves something to chance (the order of a set), it is told what the core does.  Where
the core differs on purpose, stock is taught the same, so that scripts go on: `Taught` in
differential_taught.py, `EDITS` in differential_modules.py.  These differences are

Placement
  stock adds up occupancies as floats, the core in whole nanoseconds, which do not drift
  resources: stock looks at what workers offer in all, the core prefers those that have it free now
  loose rules that nobody meets: stock takes any worker, the core any with the resources; so also
    when such a task waits in no-worker and a worker comes, and in stealing
  restrictions set while a task is queued or has no worker: stock looks at them when it moves next,
    the core looks for its place anew
  stock fills the slots that stealing, the memory manager and a reschedule open with a later event,
    the core now
  a steal confirmed by the victim: stock sends the task to the thief though its rules, set
    meanwhile, exclude it; the core looks for its place anew

Accounts
  resources set anew: stock takes them all to be free, the core counts what runs
  a stolen task: in stock its resources and its place among the actors stay with the victim
  an actor that is placed again, or whose data is gone, stays among its worker's actors in stock
  a task that seceded may be listed as stealable once more in stock
  a lost actor errs twice in stock
  an input that is forgotten stays in stock's account of what a worker needs from elsewhere

Failures
  stock may let a task wait, or stay released, for an input that failed: for ever; in the core it
    fails as its input did
  stock fails a task that is in memory when a graph touches it and an input of it has failed since
  stock tries an input that failed again when the last that waits for it goes
  scattered data that is lost while a ready task needs it: stock sends a worker its key with
    nothing to run, the core forgets it and who needs it
  a ready task that nobody needs any more and that loses an input: stock lets it wait for ever
  stock's retry raises if a key is forgotten on the way
  stock lets a worker wait for an input that failed, the core takes the task from it
  stock tells nobody who holds a proxy that the actor is lost
  a graph with failed inputs: in stock some of its tasks may begin first, in the core none

Requests
  cancel: stock goes level by level, with a message each, and raises if nobody wants a dependent;
    the core ends all wishes at once, with one message
  without a running memory manager each retirement has its own in stock, in the core one for all
  rebalance: what stock does after it passed over a recipient is a slip, and not compared
"""

import asyncio
import os

import pytest

from differential_core import Driver
from differential_play import Play
from differential_script import Script

SEEDS = int(os.environ.get("CASK_DIFFERENTIAL_SEEDS", 300))
PLAYED_MIN = 200  # scripts that together come across everything
EVENTS = """
    add-keys amm cancel client-add client-remove data-placed desire erred finished graph heartbeat
    long-running refresh-who-has release release-data report-key reschedule resources retire retry
    set-restrictions span-metrics steal-response tick worker-add worker-remove worker-status
"""
MESSAGES = """
    acquire-replicas cancelled-keys close compute-task free-keys key-in-memory lost-data
    refresh-who-has remove-replicas remove-worker steal-request task-erred task-retried
    worker-status-change
"""
PLANS = "close close_by_host close_minimum close_target close_two rebalance target"
MOVES = """
    erred>processing erred>queued erred>waiting memory>erred memory>no-worker memory>processing
    memory>queued memory>released memory>waiting no-worker>erred no-worker>processing
    no-worker>waiting processing>erred processing>memory processing>no-worker processing>queued
    processing>released processing>waiting queued>erred queued>processing queued>released
    queued>waiting released>no-worker released>processing released>queued released>waiting
    waiting>erred waiting>no-worker waiting>processing waiting>queued waiting>released
"""

met = {"scripts": 0}


@pytest.fixture(scope="module")
def driver():
    made = Driver()
    yield made
    made.close()


async def play(seed, driver, **options):
    play = Play(Script(seed), driver, **options)
    await play.run()
    met["scripts"] += 1
    for one in play.met:
        met[one] = met.get(one, 0) + 1


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_script(seed, driver):
    asyncio.run(play(seed, driver))


def test_scripts_come_across_everything():
    """Scripts that agree prove little about what does not happen in them"""
    if met["scripts"] < PLAYED_MIN:
        pytest.skip(f"{met['scripts']} scripts were played, {PLAYED_MIN} are needed")
    wanted = set(f"{EVENTS} {MESSAGES} {MOVES}".split())
    wanted |= {f"plan {name}" for name in PLANS.split()}
    assert not wanted - met.keys()
