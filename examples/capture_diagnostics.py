"""What happened, in numbers: task stream, profile, progress, call stacks, events."""

import time

from dask.distributed import Client, get_task_stream, get_worker, progress, wait


def slowly(i):
    time.sleep(0.05)
    get_worker().log_event("example", {"i": i})
    return i


def main():
    client = Client()
    with get_task_stream(client) as ts:
        futures = client.map(slowly, range(12), pure=False)
        progress(futures)
        print()
    wait(futures)
    spans = [s for row in ts.data for s in row["startstops"] if s["action"] == "compute"]
    busy = sum(s["stop"] - s["start"] for s in spans)
    wall = max(s["stop"] for s in spans) - min(s["start"] for s in spans)
    print(f"{len(ts.data)} tasks, {busy:.1f} s of work in {wall:.1f} s")

    print("events:", len(client.get_events("example")))
    print("story:", [row[3] for row in client.story(futures[0].key) if row[0] == "scheduler"])

    long = client.submit(time.sleep, 0.5)
    while not (stacks := client.call_stack()):
        time.sleep(0.01)
    print("running:", [key.split("-")[0] for frames in stacks.values() for key in frames])
    long.result()

    profile = client.profile()
    print("profile has samples:", profile["count"] > 0)
    client.close()


if __name__ == "__main__":
    main()
