"""A search that adds points while others run: Rosenbrock's function has its minimum at (1, 1)."""

import time
from random import uniform

from dask.distributed import Client, as_completed


def rosenbrock(point):
    """Compute the rosenbrock function and return the point and result"""
    time.sleep(0.01)
    score = (1 - point[0]) ** 2 + 2 * (point[1] - point[0] ** 2) ** 2
    return point, score


def main():
    client = Client()
    scale = 5  # Initial random perturbation scale
    best_point = (0, 0)  # Initial guess
    best_score = float("inf")  # Best score so far

    # initial 10 random points
    points = [(uniform(-scale, scale), uniform(-scale, scale)) for _ in range(10)]
    futures = [client.submit(rosenbrock, point) for point in points]
    iterator = as_completed(futures)

    for res in iterator:
        # take a completed point, is it an improvement?
        point, score = res.result()
        if score < best_score:
            best_score, best_point = score, point
            print(f"score {score:.6f} at ({point[0]:.3f}, {point[1]:.3f})")

        # add new point, dynamically, to work on the cluster
        x, y = best_point
        new_point = (x + uniform(-scale, scale), y + uniform(-scale, scale))
        iterator.add(client.submit(rosenbrock, new_point))

        # Narrow search and consider stopping
        scale *= 0.98
        if scale < 0.01:
            break
    print("found" if best_score < 0.2 else "not found")
    client.close()


if __name__ == "__main__":
    main()
