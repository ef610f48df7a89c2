"""An error on a worker: its traceback, then the failed task and its input, rerun here."""

import traceback

import dask.bag as db
from dask import delayed
from dask.distributed import Client


def dec(x):
    return x - 1


def recip(x):
    return 1 / x


def where(error):
    """The innermost frame of an error: function, line, variables"""
    frame, number = list(traceback.walk_tb(error.__traceback__))[-1]
    return f"{frame.f_code.co_name} line {number}, variables {frame.f_locals}"


def main():
    c = Client()
    inputs = [9, 4, 2, 76, 2, 1, 5]

    ddec = delayed(dec)
    drecip = delayed(recip)
    dsum = delayed(sum)
    out = dsum([drecip(ddec(x)) for x in inputs])
    try:
        out.compute()
    except ZeroDivisionError as error:
        print("compute():", error, "in", where(error))

    f = c.compute(out)
    try:
        c.recreate_error_locally(f)
    except ZeroDivisionError as error:
        print("recreated:", error, "in", where(error))

    # The same with futures: all intermediate results stay in the memory of the workers
    futs1 = c.map(dec, inputs)
    futs2 = c.map(recip, futs1)
    fut3 = c.submit(sum, futs2)
    print("sum:", repr(fut3.exception()))
    bad = [n for n, future in enumerate(futs2) if future.status == "error"]
    print("bad inputs:", [futs1[n].result() for n in bad])

    # And with a collection
    bag = db.from_sequence(inputs).map(dec).map(recip).persist()
    f = c.compute(bag.sum())
    try:
        c.recreate_error_locally(f)
    except ZeroDivisionError as error:
        print("recreated from the bag:", error, "in", where(error))
    c.close()


if __name__ == "__main__":
    main()
