"""Values to disk and back as stock Dask does it: distributed.spill.SpillBuffer.

    spill_stock.py DIRECTORY SIZE COUNT

As bench/spill.c: COUNT arrays of SIZE random bytes are put into a buffer without room, then all are asked for. Prints one
JSON object: bytes a second, and CPU seconds.
"""

from __future__ import annotations

import json
import os
import sys
import time

import numpy
from distributed.spill import SpillBuffer


def main() -> None:
    directory, size, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    random = numpy.random.default_rng(1)
    values = [random.integers(0, 256, size, dtype=numpy.uint8) for _ in range(count)]
    buffer = SpillBuffer(os.path.join(directory, "stock"), target=1)
    cpu, start = time.process_time(), time.perf_counter()
    for number, value in enumerate(values):
        buffer[number] = value
    spilled = time.perf_counter()
    values.clear()  # what is still referred to would not be read
    del value
    restart = time.perf_counter()
    values = [buffer[number] for number in range(count)]
    unspilled = time.perf_counter()
    if any(value.nbytes != size for value in values):
        sys.exit("spill_stock: a value came back wrong")
    cpu = time.process_time() - cpu
    for number in range(count):
        del buffer[number]
    total = size * count
    rates = {"spill": total / (spilled - start), "unspill": total / (unspilled - restart)}
    print(json.dumps({**rates, "cpu_seconds": cpu}))


if __name__ == "__main__":
    main()
