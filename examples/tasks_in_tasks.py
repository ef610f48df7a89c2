"""Tasks that submit tasks."""

from dask.distributed import Client, get_client, rejoin, secede, worker_client


def fib(n):
    if n < 2:
        return n
    with worker_client() as client:  # gives its thread back while it waits
        a = client.submit(fib, n - 1)
        b = client.submit(fib, n - 2)
        return sum(client.gather([a, b]))


def sum_of_squares(n):
    client = get_client()
    squares = client.map(lambda x: x * x, range(n))
    secede()
    results = client.gather(squares)
    rejoin()
    return sum(results)


def main():
    client = Client()
    print("fib(8) =", client.submit(fib, 8).result())
    print("sum of squares =", client.submit(sum_of_squares, 10).result())
    with client.get_executor() as executor:
        print("as an executor:", list(executor.map(lambda x: 2 * x, range(5))))
    client.close()


if __name__ == "__main__":
    main()
