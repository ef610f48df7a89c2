"""The dashboard inside a real JupyterLab: dask-labextension finds it through jupyter-server-proxy, lists its plots, embeds them.

    make labextension         or     .venv/bin/python test/labextension/check.py [--venv FOLDER]

Run by hand, as it installs JupyterLab from PyPI into a virtual environment of its own (default: in ~/.cache). BUILD names
the build folder; Chromium and web/node_modules are needed, as by the pages' own tests.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "test" / "interop"))

import harness  # noqa: E402  (from where the interop tests are)
from distributed import Client  # noqa: E402

PACKAGES = ("jupyterlab", "dask-labextension", "jupyter-server-proxy")
PREFIX = "/user/ada/"  # as a hub has it
PLOTS = ("Task Stream", "Progress", "Workers Memory", "Groups", "CPU")
LISTED = 33


def environment(folder: Path) -> Path:
    """A virtual environment with JupyterLab; its folder of programs."""
    programs = folder / "bin"
    if not (programs / "jupyter-lab").exists():
        venv.create(folder, with_pip=True)
        subprocess.run([programs / "pip", "install", "--quiet", *PACKAGES], check=True)
    return programs


@contextlib.contextmanager
def jupyter(programs: Path, folder: str, port: int):
    command = [programs / "jupyter-lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", f"--notebook-dir={folder}"]
    command += [f"--ServerApp.base_url={PREFIX}", "--IdentityProvider.token=secret", "--ServerApp.port_retries=0"]
    homes = {name: f"{folder}/{name.lower()}" for name in ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    with open(f"{folder}/log", "wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **homes}, stdout=log, stderr=log)
    try:
        harness.eventually(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}{PREFIX}api", timeout=10), 120, "JupyterLab serves")
        yield f"http://127.0.0.1:{port}{PREFIX}lab?token=secret"
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=Path.home() / ".cache" / "cask-labextension")
    programs = environment(parser.parse_args().venv)
    cluster = harness.Cluster(env={"DASK_CASK__DASHBOARD__PROCESS": "True"})
    try:
        cluster.start_workers("a", nthreads=2)
        with tempfile.TemporaryDirectory() as folder, Client(cluster.address) as client:
            port = client.scheduler_info()["services"]["dashboard"]
            client.gather(client.map(abs, range(1000), pure=False))
            with jupyter(programs, folder, harness.free_port()) as lab:
                command = ["node", ROOT / "test/labextension/browser.mjs", lab, f"{PREFIX}proxy/{port}", *PLOTS]
                output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    finally:
        cluster.close()
    found = json.loads(output)
    print(json.dumps(found, indent=1))
    assert len(found["listed"]) == LISTED, found["listed"]
    assert set(found["panels"]) == set(PLOTS) and found["live_bytes"] > 0
    assert found["refused"] == []
    print(f"{len(found['listed'])} plots are listed, {len(found['panels'])} were embedded, {found['live_bytes']:,} bytes came live")


if __name__ == "__main__":
    main()
