"""Getting data to the workers, keeping it there, and writing results from the tasks."""

import pathlib
import tempfile

import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask.distributed import Client, get_worker, wait


def worker_local_demo():
    """Something expensive, made once for each worker"""
    try:
        return get_worker().data["handle"]
    except KeyError:
        get_worker().data["handle"] = "my_val"
        return "stored"


def main():
    client = Client()
    medium_array = np.random.uniform(0, 1, (100, 100, 100))
    f = client.scatter(medium_array)
    print("one object, one worker:", [len(w) for w in client.who_has(f).values()])
    f2 = client.scatter([medium_array[:50], medium_array[50:]])
    half = client.submit(np.sum, f2[0]).result()
    print("halves:", np.isclose(half, medium_array[:50].sum()))

    worker = min(client.scheduler_info()["workers"])
    for _ in range(2):
        print(client.submit(worker_local_demo, workers=worker, pure=False).result())

    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        for part in range(3):
            fares = pd.DataFrame({"total_amount": range(100 * part, 100 * part + 100)})
            fares.to_csv(directory / f"rides-{part}.csv", index=False)
        df = dd.read_csv(directory / "rides-*.csv").persist()
        wait(df)
        df[df["total_amount"] > 250].to_csv(directory / "expensive-rides")
        print(sorted(p.name for p in (directory / "expensive-rides").iterdir()))
        back = dd.read_csv(directory / "expensive-rides" / "*").describe().compute()
        print("rides over 250:", int(back.total_amount["count"]))
    client.close()


if __name__ == "__main__":
    main()
