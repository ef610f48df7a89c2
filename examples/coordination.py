"""Tasks and clients that talk to each other: a lock, a queue, a variable, an event, a data set."""

from dask.distributed import Client, Event, Lock, Queue, Semaphore, Variable


def producer(n):
    queue = Queue("numbers", maxsize=3)
    Event("start").wait()
    for i in range(n):
        queue.put(i)
    queue.put(None)


def consumer():
    queue, factor, total = Queue("numbers", maxsize=3), Variable("factor").get(), 0
    while (number := queue.get()) is not None:
        with Lock("one at a time"):
            total += factor * number
    return total


def at_most_two(i, semaphore):
    with semaphore:
        return semaphore.get_value() <= 2


def main():
    client = Client()
    Queue("numbers", maxsize=3)
    Variable("factor").set(10)
    made = client.submit(producer, 20)
    used = client.submit(consumer)
    Event("start").set()
    print("total:", used.result())
    made.result()

    semaphore = Semaphore(max_leases=2, name="two")
    checks = client.map(at_most_two, range(20), semaphore=semaphore)
    print("never more than two:", all(client.gather(checks)))

    client.publish_dataset(checks=checks)
    other = Client(client.scheduler.address, set_as_default=False)
    print("seen by another client:", len(other.get_dataset("checks")))
    client.unpublish_dataset("checks")
    Variable("factor").delete()
    other.close()
    client.close()


if __name__ == "__main__":
    main()
