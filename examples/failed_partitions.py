"""Some parts of a data set are faulty: keep what is good."""

import time

import dask.dataframe as dd
import pandas as pd
from dask.distributed import Client, futures_of


def load(month):
    if month in (2, 4):
        raise ValueError(f"the file of month {month} is damaged")
    return pd.DataFrame({"month": month, "fare": range(10)})


def main():
    client = Client()
    meta = pd.DataFrame({"month": [1], "fare": [1]}).iloc[:0]
    df = dd.from_map(load, range(5), meta=meta)
    df = df.persist()  # start computing on the cluster

    futures = futures_of(df)
    while any(f.status == "pending" for f in futures):
        time.sleep(0.01)
    print([f.status for f in futures])
    for f in futures:
        if f.status == "error":
            print("lost:", f.exception())

    good_futures = [f for f in futures if f.status == "finished"]
    df = dd.from_delayed(good_futures, meta=df._meta)
    print("rows:", len(df), "sum of fares:", df.fare.sum().compute())
    client.close()


if __name__ == "__main__":
    main()
