"""The scheduler's options, YAML files and environment variables: Dask's names and meanings."""

import re
import subprocess
import time

import pytest
from harness import SCHEDULER_CMD, Scheduler, clean_environment, eventually, free_port
from tasks import die, inc, slowinc


def cli(*options, **kwargs):
    import shlex

    return subprocess.run(
        [*shlex.split(SCHEDULER_CMD), *options],
        capture_output=True,
        text=True,
        timeout=30,
        env=clean_environment(),
        **kwargs,
    )


def test_help_names_the_options_of_dask_scheduler():
    text = cli("--help").stdout
    for option in (
        "--host", "--port", "--interface", "--protocol", "--tls-ca-file", "--tls-cert", "--tls-key",
        "--dashboard-address", "--no-dashboard", "--jupyter", "--dashboard-prefix", "--pid-file",
        "--scheduler-file", "--preload", "--idle-timeout", "--version", "--help",
    ):  # fmt: skip
        assert option in text, option


def test_version():
    result = cli("--version")
    assert result.returncode == 0 and re.search(r"\d+\.\d+", result.stdout)


def test_wrong_options_are_refused():
    for wrong in (["--port", "no-number"], ["--tls-ca-file", "/does/not/exist"]):
        result = cli(*wrong)
        assert result.returncode != 0 and result.stderr


def test_a_port_that_is_taken_is_told(cluster):
    result = cli("--host", "127.0.0.1", "--port", str(cluster.scheduler.port), "--no-dashboard")
    assert result.returncode != 0
    assert "in use" in result.stderr


def test_pid_file(make_cluster, tmp_path):
    path = tmp_path / "pid"
    cluster = make_cluster(scheduler_options=["--pid-file", str(path)])
    assert int(eventually(lambda: path.exists() and path.read_text())) == cluster.scheduler.pid


def test_default_port(tmp_path):
    """8786, unless somebody has it already"""
    try:
        free = free_port() and Scheduler(ports=[8786])
    except BaseException as error:
        pytest.skip(f"8786 is taken: {error!r:.80}")
    free.close()
    import shlex

    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(
            [*shlex.split(SCHEDULER_CMD), "--host", "127.0.0.1", "--no-dashboard"],
            stdout=log, stderr=log, env=clean_environment(),
        )  # fmt: skip
    try:
        eventually(lambda: "tcp://127.0.0.1:8786" in (tmp_path / "log").read_text(), 15)
    finally:
        process.kill()
        process.wait()


def test_settings_from_the_environment(make_cluster, connect):
    """allowed-failures, as an example of a setting whose effect can be seen"""
    env = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
    cluster = make_cluster("a", "b", "c", env=env)
    client = connect(cluster)
    f = client.submit(die)
    eventually(lambda: f.status == "error", 30)
    assert f.exception().allowed_failures == 1
    assert sum(w.alive for w in cluster.workers.values()) == 1


@pytest.mark.parametrize("place", ["DASK_CONFIG file", "DASK_CONFIG directory", "~/.config/dask"])
def test_settings_from_yaml(make_cluster, connect, tmp_path, place):
    text = "distributed:\n  scheduler:\n    events-cleanup-delay: 1h\n    worker-saturation: 3\n"
    home = tmp_path / "home"
    (home / ".config" / "dask").mkdir(parents=True)
    env = {"HOME": str(home), "XDG_CONFIG_HOME": ""}
    if place == "~/.config/dask":
        (home / ".config" / "dask" / "distributed.yaml").write_text(text)
    else:
        (tmp_path / "a.yaml").write_text(text)
        env["DASK_CONFIG"] = str(tmp_path / "a.yaml" if place.endswith("file") else tmp_path)
    cluster = make_cluster("w", env=env)
    client = connect(cluster)
    assert saturation_seen(client) == 3


def test_the_environment_overrides_yaml(make_cluster, connect, tmp_path):
    (tmp_path / "a.yaml").write_text("distributed:\n  scheduler:\n    worker-saturation: 3\n")
    env = {"DASK_CONFIG": str(tmp_path), "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "2"}
    assert saturation_seen(connect(make_cluster("w", env=env))) == 2


def saturation_seen(client):
    """How many root tasks a worker of one thread is given at a time"""
    futures = client.map(slowinc, range(30), delay=0.2, pure=False)
    most = eventually(lambda: max(map(len, client.processing().values())))
    time.sleep(0.1)  # more would come now, if more came
    most = max(most, max(map(len, client.processing().values())))
    client.cancel(futures)
    return most


def test_work_stealing_can_be_switched_off(make_cluster, connect):
    env = {"DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING": "False"}
    cluster = make_cluster("a", "b", env=env)
    client = connect(cluster)
    client.submit(slowinc, 0, delay=0.1, workers="a").result()
    futures = client.map(
        slowinc, range(12), delay=0.1, workers="a", allow_other_workers=True, pure=False
    )
    client.gather(futures)
    assert len(client.has_what()[cluster.addresses()["b"]]) == 0


def test_default_data_size_and_task_durations_are_read(make_cluster, connect):
    """Nonsense in settings is refused with the name of the setting, or ignored; never a crash"""
    env = {"DASK_DISTRIBUTED__SCHEDULER__DEFAULT_TASK_DURATIONS": "{'inc': '1ms'}"}
    cluster = make_cluster("w", env=env)
    assert connect(cluster).submit(inc, 1).result() == 2
