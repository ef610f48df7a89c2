"""ask.py ADDRESS: small requests, one after the other, until stdin closes; prints their round trips, ms."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import threading
import time

from distributed.comm import connect


async def main(address: str) -> None:
    comm = await connect(address)
    end = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), end.set()), daemon=True).start()
    taken = []
    while not end.is_set() or len(taken) < 2:
        start = time.perf_counter()
        await comm.write({"op": "ncores", "reply": True, "workers": None})
        await comm.read()
        taken.append((time.perf_counter() - start) * 1e3)
        await asyncio.sleep(0.002)
    await comm.close()
    p99 = statistics.quantiles(taken, n=100, method="inclusive")[98]
    print(json.dumps({"p50": statistics.median(taken), "p99": p99, "max": max(taken)}))


asyncio.run(main(sys.argv[1]))
