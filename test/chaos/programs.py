"""Dask programs with known answers. Each takes a client, a random generator and `Losses`, and raises Wrong if the answer
is. Every task may be tried again: what dies under it is none of its business."""

from __future__ import annotations

import functools
import operator
import time
from collections import Counter

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import distributed
import numpy as np
import pandas as pd
from dask import delayed

RETRIES = 1000


class Wrong(Exception):
    """An answer was not what it must be"""


class Lost(Exception):
    """What only one worker had is gone with it, as it must be: the program begins again"""


def must_be(got, wanted, what="the answer"):
    if got != wanted:
        raise Wrong(f"{what} is {str(got)[:300]}, not {str(wanted)[:300]}")


def must_be_frame(got, wanted):
    try:
        pd.testing.assert_frame_equal(got, wanted, check_dtype=False, check_index_type=False)
    except AssertionError as error:
        raise Wrong(str(error)) from None


def compute(client, collection):
    return client.compute(collection, retries=RETRIES).result()


# ---- arrays -------------------------------------------------------------------------------------


def array_sums(client, rng):
    side, chunk = 1600, rng.choice([200, 320, 400])
    plain = np.arange(side * side, dtype=np.int64).reshape(side, side) % 1009
    x = da.from_array(plain, chunks=chunk) if rng.random() < 0.5 else (
        da.arange(side * side, chunks=side * chunk, dtype=np.int64).reshape(side, side).rechunk(chunk) % 1009
    )
    got = compute(client, (x + x.T).sum(axis=0) - x.max(axis=1))
    must_be(got.tolist(), ((plain + plain.T).sum(axis=0) - plain.max(axis=1)).tolist())


def array_product(client, rng):
    """A persisted matrix, used more than once"""
    side = 600
    seed = rng.randrange(1 << 30)
    plain = np.random.default_rng(seed).integers(0, 100, (side, side))
    x = client.persist(da.from_array(plain, chunks=150).map_blocks(slowly(operator.pos)), retries=RETRIES)
    must_be(compute(client, x.dot(x).sum()), int(plain.dot(plain).sum()))
    must_be(compute(client, (x[::2] - x[1::2]).sum()), int((plain[::2] - plain[1::2]).sum()))


def array_rechunk(client, rng):
    """From rows to columns, peer to peer"""
    with dask.config.set({"array.rechunk.method": rng.choice(["p2p", "p2p", "tasks"])}):
        rows = da.arange(1000 * 1000, chunks=50_000, dtype=np.int64).reshape(1000, 1000)
        columns = rows.rechunk((1000, rng.choice([50, 70, 100])))
        got = compute(client, (columns.cumsum(axis=0)[-1]))
    must_be(got.tolist(), np.arange(1000 * 1000).reshape(1000, 1000).sum(axis=0).tolist())


# ---- dataframes ---------------------------------------------------------------------------------


def make_frame(number, rows):
    rng = np.random.default_rng(number)
    names = np.array(["ann", "bob", "cat", "dan", "eve"], dtype=object)
    return pd.DataFrame(
        {
            "id": rng.integers(0, 50, rows),
            "name": names[rng.integers(0, 5, rows)],
            "x": rng.integers(0, 1000, rows),
        }
    )


def frames(rng, parts=20, rows=2000):
    first = rng.randrange(1 << 20)
    numbers = range(first, first + parts)
    frame = dd.from_map(make_frame, list(numbers), rows=rows, meta=make_frame(0, 1).iloc[:0])
    return frame, functools.cache(lambda: pd.concat([make_frame(n, rows) for n in numbers]))


def frame_groups(client, rng):
    frame, plain = frames(rng)
    got = compute(client, frame[frame.x % 3 > 0].groupby("name").x.agg(["sum", "count", "max"]))
    wanted = plain()[plain().x % 3 > 0].groupby("name").x.agg(["sum", "count", "max"])
    must_be_frame(got.sort_index().astype("int64"), wanted)


def frame_shuffle(client, rng):
    """Every row comes out once, all of one id in one part"""
    frame, plain = frames(rng)
    with dask.config.set({"dataframe.shuffle.method": rng.choice(["p2p", "p2p", "tasks"])}):
        shuffled = frame.shuffle("id")
        parts = client.gather(client.compute(shuffled.to_delayed(), retries=RETRIES))
    ids = [set(part.id) for part in parts]
    must_be(sum(map(len, ids)), len(set().union(*ids)), "the number of ids by parts")
    order = ["id", "name", "x"]
    got = pd.concat(parts)[order].sort_values(order, ignore_index=True).astype({"name": object})
    must_be_frame(got, plain().sort_values(order, ignore_index=True))


def frame_merge(client, rng):
    frame, plain = frames(rng, parts=12)
    right = pd.DataFrame({"id": range(50), "weight": range(1000, 1050)})
    with dask.config.set({"dataframe.shuffle.method": rng.choice(["p2p", "p2p", "tasks"])}):
        merged = frame.merge(dd.from_pandas(right, npartitions=8), on="id", broadcast=False)
        got = compute(client, merged.groupby("name")[["x", "weight"]].sum())
    must_be_frame(got.sort_index(), plain().merge(right, on="id").groupby("name")[["x", "weight"]].sum())


# ---- bags, delayed ------------------------------------------------------------------------------


def bag_counts(client, rng):
    count, by = rng.randrange(5000, 9000), rng.choice([7, 11])
    bag = db.from_sequence(range(count), npartitions=24)
    got = compute(client, bag.map(lambda n: n * n % by).frequencies())
    must_be(dict(got), dict(Counter(n * n % by for n in range(count))))
    groups = compute(client, bag.groupby(lambda n: n % by, shuffle="tasks").starmap(lambda k, ns: (k, sum(ns))))
    must_be(sorted(groups), [(k, sum(range(k, count, by))) for k in range(by)])


def slowly(function):
    def slow(*arguments):
        time.sleep(0.01)
        return function(*arguments)

    return slow


def delayed_tree(client, rng):
    level = [delayed(slowly(int), pure=False)(n) for n in range(128)]
    while len(level) > 1:
        level = [delayed(slowly(operator.add), pure=False)(a, b) for a, b in zip(level[::2], level[1::2])]
    must_be(compute(client, level[0]), sum(range(128)))


# ---- futures ------------------------------------------------------------------------------------


def futures_as_they_come(client, rng):
    """Collatz, a step a task: new work as old is done"""
    starts = [rng.randrange(3, 500) for _ in range(30)]

    def step(state):
        n, steps = state
        return (n // 2 if n % 2 == 0 else 3 * n + 1), steps + 1

    def submit(state):
        return client.submit(slowly(step), state, pure=False, retries=RETRIES)

    origin = {submit((n, 0)): n for n in starts}
    got = Counter()
    following = distributed.as_completed(list(origin))
    for future in following:
        n, steps = future.result()
        start = origin.pop(future)
        if n == 1 or steps == 12:
            got[start, n, steps] += 1
        else:
            future = submit((n, steps))
            origin[future] = start
            following.add(future)
    must_be(got, Counter(collatz(n) for n in starts))


def collatz(start):
    n, steps = start, 0
    while steps == 0 or (n != 1 and steps < 12):
        n, steps = (n // 2 if n % 2 == 0 else 3 * n + 1), steps + 1
    return start, n, steps


def futures_large(client, rng):
    """Megabytes from worker to worker"""
    def make(n):
        return np.full(400_000 + n, n, dtype=np.int64)

    made = [client.submit(make, n, pure=False, retries=RETRIES) for n in range(16)]
    pairs = [
        client.submit(lambda a, b: int(a.sum() + b.sum()), made[i], made[(i * 7 + 3) % 16], pure=False, retries=RETRIES)
        for i in range(16)
    ]
    sums = [n * (400_000 + n) for n in range(16)]
    must_be(client.gather(pairs), [sums[i] + sums[(i * 7 + 3) % 16] for i in range(16)])
    must_be([int(array[0]) for array in client.gather(made[:4])], [0, 1, 2, 3])


def futures_cancelled(client, rng):
    """Half of what runs is given up; the rest is not disturbed"""
    def nap(n):
        time.sleep(0.05 + n % 5 / 20)
        return n * 3

    futures = client.map(nap, range(60), pure=False, retries=RETRIES)
    time.sleep(rng.random())
    given_up = set(rng.sample(range(60), 30))
    client.cancel([futures[n] for n in given_up])
    must_be([futures[n].result() for n in range(60) if n not in given_up], [n * 3 for n in range(60) if n not in given_up])


def futures_nested(client, rng):
    """Tasks that are clients"""
    def fibonacci(n):
        if n < 2:
            return n
        with distributed.worker_client(timeout=60) as inner:
            a = inner.submit(fibonacci, n - 1, retries=RETRIES)
            b = inner.submit(fibonacci, n - 2, retries=RETRIES)
            return sum(inner.gather([a, b]))

    n = rng.choice([5, 6, 7])
    values = [0, 1]
    while len(values) <= n:
        values.append(values[-1] + values[-2])
    must_be(client.submit(fibonacci, n, retries=RETRIES).result(), values[n])


# ---- what is lost with a worker -----------------------------------------------------------------


def scattered(client, rng):
    """Three copies each, so that one death costs none; what is lost all the same is said so"""
    values = [bytes([n]) * (50_000 * (n + 1)) for n in range(6)]
    try:
        futures = client.scatter(values)
        client.replicate(futures, n=3)
        sizes = client.map(len, futures, pure=False, retries=RETRIES)
        total = client.submit(sum, sizes, pure=False, retries=RETRIES)
        must_be(total.result(), sum(map(len, values)))
        must_be(client.gather(futures) == values, True, "that what comes back is what was scattered")
    except (distributed.client.FutureCancelledError, distributed.scheduler.KilledWorker) as error:
        raise Lost(str(error)) from None


class Account:
    def __init__(self):
        self.sum = 0

    def add(self, n):
        self.sum += n
        return self.sum


def actors(client, rng):
    """Each method runs once, or its caller hears that the actor is gone"""
    try:
        accounts = [client.submit(Account, actor=True, pure=False).result() for _ in range(3)]
        for n in range(20):
            answers = [account.add(n) for account in accounts]
            must_be([answer.result() for answer in answers], [n * (n + 1) // 2] * 3)
    except (Wrong, dask.base.TokenizationError):
        raise
    except Exception as error:  # stock raises many kinds of errors for the one reason that an actor is gone
        raise Lost(f"{type(error).__name__}: {error}") from None


# ---- memory -------------------------------------------------------------------------------------


def spilling(client, rng):
    """Three times what the workers may hold"""
    limit = sum(info["memory_limit"] for info in client.scheduler_info(n_workers=-1)["workers"].values())
    side = 8_000_000
    count = max(8, 3 * limit // side)
    first = rng.randrange(1000)

    def make(n):
        return np.random.default_rng(n).integers(0, 256, side, dtype=np.uint8)

    made = [client.submit(make, first + n, pure=False, retries=RETRIES) for n in range(count)]
    distributed.wait(made)
    sums = [client.submit(lambda a: int(a.sum()), future, pure=False, retries=RETRIES) for future in made]
    del made
    got = client.gather(sums)
    for n in rng.sample(range(count), 5):
        must_be(got[n], int(make(first + n).sum()))


# ---- code that kills its process ----------------------------------------------------------------


def crashing(client, rng):
    """One task among many ends its process: it fails, with the reason; the others do not"""
    def crash(n):
        import ctypes

        ctypes.string_at(8)

    bad = rng.randrange(200)
    futures = [
        client.submit(crash, n, pure=False) if n == bad else client.submit(operator.neg, n, pure=False, retries=RETRIES)
        for n in range(200)
    ]
    distributed.wait(futures)
    wanted = [-n for n in range(200) if n != bad]
    must_be(client.gather([f for n, f in enumerate(futures) if n != bad]), wanted)
    error = futures[bad].exception()
    if not isinstance(error, distributed.KilledWorker) or "SIG" not in str(error):
        raise Wrong(f"the task that crashed fails with {error!r}: {error}")


PLAIN = [
    array_sums, array_product, array_rechunk, frame_groups, frame_shuffle, frame_merge, bag_counts, delayed_tree,
    futures_as_they_come, futures_large, futures_cancelled, futures_nested, scattered, actors,
]  # fmt: skip
ONLY_CASK = [crashing]
ONLY_SMALL = [spilling]
