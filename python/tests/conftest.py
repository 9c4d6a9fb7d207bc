"""Clusters of the package's own commands, on the loopback interface."""

from __future__ import annotations

import os
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lookbehind

SECONDS = 60.0
"""How long something may take that happens at once on an idle machine."""

ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("LOOKBEHIND_")}


def command(name: str) -> str:
    """A command that the wheel has installed beside this Python."""
    return str(Path(sysconfig.get_path("scripts"), name))


def until(holds: Callable[[], bool]) -> None:
    """Waits for a condition."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, "the condition did not come to hold"
        time.sleep(0.02)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """A coordinator and workers. With `credentials`, the folders that `lookbehind certs` makes, they speak TLS."""

    def __init__(self, folder: Path, credentials: Path | None = None) -> None:
        self.folder = folder
        self.credentials = credentials
        self.port = free_port()
        self.url = f"{'http' if credentials is None else 'https'}://localhost:{self.port}"
        self._coordinator: subprocess.Popen[bytes] | None = None
        self._workers: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Starts the coordinator, also after `stop`, and waits until it answers."""
        arguments = ["--state", str(self.folder / "state"), "--listen", f"127.0.0.1:{self.port}", "--http", "off"]
        self._coordinator = self._run("lookbehind-coordinator", *arguments, role="coordinator")
        until(self._answers)

    def add_worker(self) -> None:
        """Starts one more worker."""
        name = f"worker-{len(self._workers) + 1}"
        arguments = ["--coordinator", self.url, "--name", name]
        self._workers.append(self._run("lookbehind-worker", *arguments, role="worker"))

    def stop(self) -> None:
        """Kills the coordinator."""
        assert self._coordinator is not None
        self._coordinator.kill()
        self._coordinator.wait()

    def close(self) -> None:
        """Ends everything."""
        for process in [*self._workers, *([self._coordinator] if self._coordinator else [])]:
            process.kill()
            process.wait()

    def options(self) -> list[str]:
        """What a user gives a command, so that it finds this cluster."""
        folder = self._folder_of("alice")
        return ["--coordinator", self.url, *([] if folder is None else ["--credentials", str(folder)])]

    def client(self) -> lookbehind.Client:
        """A client of a user."""
        return lookbehind.Client(self.url, self._folder_of("alice"))

    def _folder_of(self, name: str) -> Path | None:
        return None if self.credentials is None else self.credentials / name

    def _answers(self) -> bool:
        assert self._coordinator is not None and self._coordinator.poll() is None, self._log("lookbehind-coordinator")
        try:
            self.client().jobs()
        except lookbehind.Unreachable:
            return False
        return True

    def _run(self, program: str, *arguments: str, role: str) -> subprocess.Popen[bytes]:
        credentials = self._folder_of(role)
        options = [] if credentials is None else ["--credentials", str(credentials)]
        with (self.folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen(
                [command(program), *arguments, *options], env=ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT
            )

    def _log(self, program: str) -> str:
        return (self.folder / f"{program}.log").read_text()


@pytest.fixture(autouse=True)
def no_settings_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine's environment says of another cluster does not matter here."""
    for name in set(os.environ) - set(ENVIRONMENT):
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of credentials of a cluster, made as docs/security.md describes."""
    folder = tmp_path_factory.mktemp("certs") / "credentials"
    names = ["--user", "alice", "--user", "bob", "--worker", "worker"]
    subprocess.run([command("lookbehind"), "certs", folder, *names], env=ENVIRONMENT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session", params=["open", "guarded"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, credentials: Path
) -> Iterator[Cluster]:
    """A cluster with two workers: in plain text for everyone on this machine, and with TLS and credentials."""
    folder = tmp_path_factory.mktemp(request.param)
    running = Cluster(folder, credentials if request.param == "guarded" else None)
    try:
        running.start()
        running.add_worker()
        running.add_worker()
        yield running
    finally:
        running.close()


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of one test, which starts and stops its parts."""
    own = Cluster(tmp_path)
    try:
        yield own
    finally:
        own.close()


@pytest.fixture
def client(cluster: Cluster) -> lookbehind.Client:
    """A client of a cluster."""
    return cluster.client()


@pytest.fixture
def idle(own_cluster: Cluster) -> lookbehind.Client:
    """A client of a coordinator without workers, where jobs wait."""
    own_cluster.start()
    return own_cluster.client()


@pytest.fixture
def digits() -> dict[str, Any]:
    """A job that takes a moment."""
    return {
        "name": "digits",
        "seed": 42,
        "model": {"kind": "mlp", "hidden": [32]},
        "data": {"kind": "digits"},
        "train": {"epochs": 2, "batch_size": 64, "shards": 4},
        "optimizer": {"method": "lookbehind", "k": 2, "rho": 0.2, "alpha": 0.5, "base": {"lr": 0.1}},
    }
