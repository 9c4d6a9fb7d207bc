"""A cluster of the real programs on this machine, with TLS: certificates, a coordinator, workers, a job."""

import json
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

PATIENCE = 60  # seconds that anything may take

JOB = """
name = "digits"
seed = 42
[model]
kind = "mlp"
hidden = [512, 512]
[data]
kind = "digits"
[train]
epochs = 3000
batch_size = 512
shards = 8
[optimizer]
method = "lookbehind"
ascent = "sam"
k = 2
rho = 0.2
alpha = "adaptive"
[optimizer.base]
kind = "sgd"
lr = 0.05
momentum = 0.9
weight_decay = 5e-4
[schedule]
kind = "cosine"
"""


def until(condition, what):
    """Waits for a condition and returns what it came to."""
    deadline = time.monotonic() + PATIENCE
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {PATIENCE} s still not: {what}")
        time.sleep(0.05)
    return result


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Cluster:
    """Starts its processes in a folder and ends those, and only those."""

    def __init__(self, binaries, folder, workers, users):
        self.binaries = Path(binaries).resolve()
        self.folder = Path(folder)
        self.credentials = self.folder / "credentials"
        self.grpc, self.http = free_port(), free_port()
        self.processes = {}
        people = [argument for user in users for argument in ("--user", user)]
        machines = [argument for worker in workers for argument in ("--worker", worker)]
        self.lookbehind("certs", str(self.credentials), *people, *machines)

    @property
    def url(self):
        return f"https://127.0.0.1:{self.http}"

    @property
    def coordinator_url(self):
        return f"https://127.0.0.1:{self.grpc}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.terminate()
        for name, process in self.processes.items():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                print(f"{name} did not end by itself")
                process.kill()
                process.wait()

    def lookbehind(self, *arguments):
        """Runs a command of the client and returns what it printed."""
        command = [self.binaries / "lookbehind", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode != 0:
            raise RuntimeError(f"lookbehind {arguments[0]} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()

    def remote(self, user):
        """The flags of a client with the credentials of a name."""
        return ["--coordinator", self.coordinator_url, "--credentials", str(self.credentials / user)]

    def start(self, process, program, **flags):
        """Starts a program; its output goes to a file with the process's name."""
        arguments = [text for flag, value in flags.items() for text in (f"--{flag}", str(value))]
        with (self.folder / f"{process}.log").open("ab") as log:
            environment = os.environ | {"RAYON_NUM_THREADS": "1"}
            command = [self.binaries / program, *arguments]
            self.processes[process] = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment
            )

    def start_coordinator(self):
        """Starts the coordinator, on the same state and ports each time, and waits until it is ready."""
        self.start(
            "coordinator",
            "lookbehind-coordinator",
            listen=f"127.0.0.1:{self.grpc}",
            http=f"127.0.0.1:{self.http}",
            state=self.folder / "state",
            credentials=self.credentials / "coordinator",
        )
        until(self.ready, "the coordinator is ready")

    def ready(self):
        if (code := self.processes["coordinator"].poll()) is not None:
            raise RuntimeError(f"the coordinator ended with {code}:\n{self.log('coordinator')}")
        context = ssl.create_default_context(cafile=self.credentials / "ca" / "ca.pem")
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", context=context, timeout=5) as answer:
                return answer.status == 200
        except (OSError, urllib.error.URLError):
            return False

    def start_worker(self, name):
        credentials = self.credentials / name
        flags = {"coordinator": self.coordinator_url, "credentials": credentials, "name": name, "data": self.folder}
        self.start(name, "lookbehind-worker", **flags)

    def kill(self, name):
        """Ends a process without a goodbye."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def submit(self, user, *arguments, change=lambda text: text):
        """Submits the job, or a changed one, under a name and returns its identity."""
        path = self.folder / "job.toml"
        path.write_text(change(JOB))
        return self.lookbehind("submit", str(path), *arguments, *self.remote(user))

    def job(self, identity, user):
        """A job as the client shows it."""
        return json.loads(self.lookbehind("job", identity, "--json", *self.remote(user)))["job"]

    def token(self, user):
        return (self.credentials / user / "token").read_text().strip()

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")[-4000:]
