"""The same job again and again while something happens to its cluster: the digest stays."""

import json
import math
import re

from cluster import docker
from support import REPOSITORY, Failed, wait_for

DIGITS = REPOSITORY / "deploy/jobs/digits.toml"
OVER = ("succeeded", "failed", "cancelled")
# How long an undisturbed run of the longer job is to take here: a fault and what follows from it must fit in.
SECONDS = 15
# How many outer steps must be done between a fault and its end.
STEPS = 20


def trained_in_the_image(cluster, job):
    """The digest that `lookbehind train` comes to in the worker's image, without any network."""
    printed = docker(
        "run",
        "--rm",
        "--network",
        "none",
        "--read-only",
        "--tmpfs",
        "/tmp",
        "--volume",
        f"{job.parent}:/job:ro",
        "--entrypoint",
        "lookbehind",
        "lookbehind-worker:test",
        "train",
        f"/job/{job.name}",
        "--json",
        limit=600,
    )
    return json.loads(printed.splitlines()[-1])["summary"]["digest"]


def longer_job(cluster, summary):
    """The digits job with so many epochs that it takes about SECONDS on this machine."""
    text = DIGITS.read_text()
    epochs = int(re.search(r"^epochs = (\d+)$", text, re.MULTILINE)[1])
    epochs = math.ceil(epochs * SECONDS / summary["time"]["seconds"]["total"])
    text = re.sub(r"^epochs = \d+$", f"epochs = {epochs}", text, flags=re.MULTILINE)
    text = text.replace('name = "digits"', 'name = "digits-longer"')
    folder = cluster.scratch / "jobs"
    folder.mkdir()
    folder.chmod(0o755)
    job = folder / "longer.toml"
    job.write_text(text)
    cluster.scratch.chmod(0o755)
    return job


class Run:
    """A job under way."""

    def __init__(self, cluster, job):
        self.cli = cluster.cli
        self.job = self.cli.call("submit", job)[0]["job"]["id"]
        self.reach(lambda job: job["total_outer_steps"] > 0, "its length to be known")
        self.total = self.now()["total_outer_steps"]
        self.reach(lambda job: job["outer_step"] >= self.total // 20, "a twentieth to be done")

    def now(self):
        return self.cli.job(self.job)

    def reach(self, condition, what, limit=60):
        """Waits until the condition holds in mid-run; Failed where the job is over before."""

        def probe():
            job = self.now()
            if job["state"] in OVER:
                raise Failed(f"waited for {what}, but the job {job['state']} before: {job['message']}")
            return job if condition(job) else None

        return wait_for(f"job {self.job}: {what}", probe, limit)

    def go_on(self):
        """Waits for some more outer steps."""
        step = self.now()["outer_step"]
        return self.reach(lambda job: job["outer_step"] >= step + STEPS, f"outer step {step + STEPS}")

    def workers(self, number):
        """Waits until the coordinator counts so many workers, in mid-run."""
        self.reach(lambda _: len(self.cli.workers()) == number, f"{number} workers")

    def end(self):
        """Waits until the job is over."""
        return wait_for(f"job {self.job} to be over", lambda: (job := self.now())["state"] in OVER and job, 300)


def killed_worker(cluster, run):
    victim = cluster.containers("worker")[0]
    docker("kill", victim)
    run.workers(1)
    run.go_on()
    docker("start", victim)
    run.workers(2)


def cut_off_worker(cluster, run):
    victim = cluster.containers("worker")[0]
    docker("network", "disconnect", cluster.network(), victim)
    run.workers(1)
    run.go_on()
    docker("network", "connect", "--alias", "worker", cluster.network(), victim)
    run.workers(2)
    run.go_on()


def killed_coordinator(cluster, run):
    container = cluster.the("coordinator")
    before = cluster.inspect(container)["State"]["StartedAt"]
    cluster.kill_process(container)

    def started_again():
        state = cluster.inspect(container)["State"]
        return state["Running"] and state["StartedAt"] != before

    wait_for("the engine starts the coordinator again", started_again)
    run.workers(2)
    run.go_on()


def two_more_workers(cluster, run):
    old = cluster.containers("worker")
    known = {worker["name"] for worker in cluster.cli.workers()}
    cluster.compose("up", "--detach", "--no-recreate", "--scale", "worker=4")
    run.workers(4)
    # Shards go to whom they make the job faster, which on a busy machine need not be a newcomer: until nobody else is left.
    docker("kill", *old)
    new = lambda: [worker for worker in cluster.cli.workers() if worker["name"] not in known]
    run.reach(lambda _: all(worker["shards_done"] > 0 for worker in new()), "shards of the new workers")
    run.workers(2)
    run.go_on()
    docker("start", *old)


DISTURBANCES = {
    "a worker's container killed": killed_worker,
    "a worker's container cut off its network and let back": cut_off_worker,
    "the coordinator killed and started again by its restart policy": killed_coordinator,
    "two more workers by --scale worker=4, and those before killed": two_more_workers,
}


def check(cluster, report, summary):
    """Every disturbance, each in a run of its own."""
    job = longer_job(cluster, summary)
    reference = trained_in_the_image(cluster, job)
    report.say(f"`lookbehind train` of the longer job in the image comes to {reference}")
    for what, disturb in DISTURBANCES.items():
        wait_for("two free workers", lambda: len(cluster.cli.workers()) == 2)
        run = Run(cluster, job)
        disturb(cluster, run)
        done = run.now()["outer_step"]
        report.say(f"{what}: over at outer step {done} of {run.total}")
        result = run.end()
        report.check(f"{what}: the job succeeds", result["state"] == "succeeded", result["message"])
        report.check(
            f"{what}: the digest is the same", result["digest"] == reference, f"{result['digest']}, not {reference}"
        )
    wait_for("four workers", lambda: len(cluster.cli.workers()) == 4)
    cluster.compose("up", "--detach", "--no-recreate", "--scale", "worker=2")
    wait_for("two of four workers leave", lambda: len(cluster.cli.workers()) == 2)
