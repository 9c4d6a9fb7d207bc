"""The programs as a user starts them: a coordinator and workers as processes on ports of their own choice, and the
command line tool."""

import json
import re
import signal
import subprocess
import tempfile
from pathlib import Path

from support import Failed, clean_environment, one_line, wait_for

PROGRAMS = ("lookbehind-worker", "lookbehind-coordinator", "lookbehind")
OVER = ("succeeded", "failed", "cancelled")
START = 180  # seconds until a program is up: the first worker of a machine may compile kernels
SHORT = 60  # seconds that a question may take


class Programs:
    """The three programs of a folder."""

    def __init__(self, folder):
        self.folder = Path(folder).resolve()
        missing = [name for name in PROGRAMS if not (self.folder / name).is_file()]
        if missing:
            raise Failed(f"{self.folder}: expected {', '.join(PROGRAMS)}, found no {', '.join(missing)}")

    def path(self, name):
        return str(self.folder / name)

    def versions(self):
        """What the programs say of themselves, in one line."""
        said = []
        for name in PROGRAMS:
            status, output, errors = self.run(name, "--version")
            said.append(one_line(output) if status == 0 else f"{name}: {one_line(errors) or f'exit code {status}'}")
        return ", ".join(said)

    def run(self, name, *arguments, limit=SHORT, environment=None):
        """Runs a program to its end: exit code, standard output, standard error."""
        command = [self.path(name), *map(str, arguments)]
        environment = environment or clean_environment()
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=limit, env=environment
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"{name} {' '.join(map(str, arguments))} did not end within {limit:.0f} s") from None
        except OSError as error:
            raise Failed(f"{name}: {error}") from None
        return done.returncode, done.stdout, done.stderr


class Process:
    """A running program; what it prints goes to a file."""

    def __init__(self, command, log, environment):
        self.name, self.log = Path(command[0]).name, Path(log)
        with self.log.open("wb") as file:
            self.child = subprocess.Popen(
                list(map(str, command)), stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environment
            )

    def text(self):
        """All that it printed so far."""
        return self.log.read_text(errors="replace")

    def printed(self, pattern, limit=START):
        """Waits until a pattern is in what it printed; Failed where the program ends before."""

        def probe():
            ended, found = self.child.poll(), re.search(pattern, self.text())
            if ended is not None and not found:
                raise Failed(f"{self.name} ended with {ended}: {one_line(self.text()[-2000:], 1000)}")
            return found

        return wait_for(f"{self.name}: {pattern!r} in its output", probe, limit)

    def exit_code(self, limit):
        """Waits for its end."""
        try:
            return self.child.wait(limit)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} did not end within {limit:.0f} s: {one_line(self.text()[-500:])}") from None

    def kill(self):
        """Ends it as a machine that loses its power."""
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()

    def end(self):
        """Asks it to end; kills it where it does not."""
        if self.child.poll() is not None:
            return
        self.child.terminate()
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


class Cluster:
    """A coordinator and its workers, in a temporary folder; `with` ends the processes and removes the folder."""

    def __init__(self, programs, data, limit):
        self.programs, self.data, self.limit = programs, data, limit
        self.processes, self.workers = [], {}
        self.folder = None

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="lookbehind-gpu-")
        self.path = Path(self.folder.name)
        try:
            self._start_coordinator()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # Workers first: a coordinator that ends waits for running steps.
        for process in reversed(self.processes):
            process.end()
        self.folder.cleanup()

    def _start_coordinator(self):
        arguments = ["--listen", "127.0.0.1:0", "--http", "off", "--state", self.path / "state", "--shutdown-grace", 1]
        self.coordinator = self._start("lookbehind-coordinator", "coordinator", arguments)
        address = self.coordinator.printed(r"coordinator listens.*?\baddress=(127\.0\.0\.1:\d+)")[1]
        self.url = f"http://{address}"

    def _start(self, program, name, arguments, environment=None):
        command = [self.programs.path(program), *arguments]
        process = Process(command, self.path / f"{name}.log", environment or clean_environment())
        self.processes.append(process)
        return process

    def worker(self, name, device, *arguments, environment=None):
        """Starts a worker and waits until the coordinator counts it."""
        process = self.worker_at_once(name, device, *arguments, environment=environment)

        def registered():
            if (ended := process.child.poll()) is not None:
                raise Failed(f"worker {name} ended with {ended}: {one_line(process.text()[-2000:], 1000)}")
            return any(worker["name"] == name for worker in self.listed())

        wait_for(f"registration of worker {name}", registered, START)
        return process

    def worker_at_once(self, name, device, *arguments, environment=None):
        """Starts a worker."""
        flags = ["--device", device, "--coordinator", self.url, "--name", name, "--data", self.data, *arguments]
        self.workers[name] = self._start("lookbehind-worker", name, flags, environment)
        return self.workers[name]

    def ask(self, *arguments, limit=SHORT, fine=(0,)):
        """Lines of JSON that the command line tool gives; Failed where its exit code is none of `fine`."""
        arguments = ["--json", *arguments, "--coordinator", self.url]
        status, output, errors = self.programs.run("lookbehind", *arguments, limit=limit)
        if status not in fine:
            raise Failed(f"lookbehind {arguments[1]} ended with {status}: {one_line(errors)}")
        return [json.loads(line) for line in output.splitlines() if line]

    def listed(self):
        """The workers that the coordinator counts."""
        return self.ask("workers")[0]["workers"]

    def submit(self, job):
        """Hands in a job file; its identity."""
        return self.ask("submit", job)[0]["job"]["id"]

    def job(self, identity):
        return self.ask("job", identity)[0]["job"]

    def reach(self, identity, step):
        """Waits until a running job has done so many outer steps; Failed where it is over before."""

        def probe():
            job = self.job(identity)
            if job["state"] in OVER:
                raise Failed(f"the job {job['state']} before outer step {step}: {job['message']}")
            return job["outer_step"] >= step and job

        return wait_for(f"outer step {step}", probe, self.limit)

    def took_part(self, identity, workers, limit):
        """Waits for an outer step of a running job in which so many workers took part."""
        arguments = ["--json", "watch", identity, "--coordinator", self.url]
        watcher = self._start("lookbehind", f"watch-{identity}", arguments, clean_environment())
        watcher.printed(rf'\{{"step":.*"workers":\s*{workers}\b', limit)

    def finish(self, identity):
        """Waits until a job is over, or paused because no worker can continue it; returns its state."""
        states = (*OVER, "paused")
        probe = lambda: (job := self.job(identity))["state"] in states and job
        return wait_for("the end of the job", probe, self.limit)

    def succeed(self, identity):
        """Waits for a job's end and fetches what it leaves: its Result."""
        job = self.finish(identity)
        if job["state"] != "succeeded":
            raise Failed(f"the job {job['state']}: {one_line(job['message'], 600)}")
        out = self.path / f"out-{identity}"
        self.ask("fetch", identity, "--out", out)
        return Result(out)

    def notices(self, identity):
        """All that the coordinator reported of a finished job, as text."""
        # 1 says that the job failed.
        lines = self.ask("watch", identity, limit=self.limit, fine=(0, 1))
        return [line["notice"]["message"] for line in lines if "notice" in line]

    def reports(self, identity):
        """What the coordinator's log and the notices of a job that is over say, as one text."""
        return "\n".join([*self.notices(identity), self.coordinator.text()])


class Result:
    """What `--out` of a job holds, read before its folder goes away."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.summary = json.loads((self.folder / "summary.json").read_text())
        self.steps = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        self.digest = self.summary["digest"]
        if not self.digest:
            raise Failed("summary.json: expected a digest")

    def most_workers(self):
        """How many workers took part in the outer step that had the most of them."""
        return max(step["workers"] for step in self.steps)

    def accuracy(self):
        """The final accuracy on the test split."""
        if not self.summary["test"]:
            raise Failed("summary.json: expected a result on the test split")
        return self.summary["test"]["accuracy"]

    def loss(self):
        """The mean training loss of the last epoch."""
        return self.summary["train"]["loss"]
