"""An object that lives on one worker: a parameter server in miniature."""

from dask.distributed import Client


class ParameterServer:
    steps = 0

    def __init__(self):
        self.weights = {"slope": 0.0}

    def get(self):
        return self.weights["slope"]

    def update(self, gradient):
        self.weights["slope"] -= 0.05 * gradient
        self.steps += 1
        return self.steps


def train(server, points):
    """Follow the gradient of (slope * x - y)² over some points"""
    for x, y in points:
        slope = server.get().result()
        server.update(2 * (slope * x - y) * x).result()


def main():
    client = Client()
    server = client.submit(ParameterServer, actor=True).result()
    shards = [[(x / 10, 3 * x / 10) for x in range(1, 20)] for _ in range(4)]
    client.gather(client.map(train, [server] * 4, shards, pure=False))
    print(f"slope {server.get().result():.1f} after {server.steps} steps")
    client.close()


if __name__ == "__main__":
    main()
