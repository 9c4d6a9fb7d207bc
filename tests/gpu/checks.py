"""The checks of `run`, by their letters."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import jobs
import tensors
from cluster import Cluster, Programs
from support import REPOSITORY, Failed, Report, Skipped, clean_environment, one_line

FIXTURES = REPOSITORY / "tests/fixtures/parity"
CASES = 9
# What a run may be off, relative to the distance that it moved.
PARITY = 1e-3
# How far a run may be from the one in f32: TF32 and bf16 are other computations, not worse ones. A quick run is too short for
# an accuracy; its training loss is compared, relative to that in f32.
NEAR = {False: ("accuracy", 0.02), True: ("training loss", 0.1)}
WORKERS = (1, 2, 4)
# More memory than any device has, in MiB.
BEYOND = 1 << 24
EVALUATIONS = {False: 50, True: 3}


@dataclass
class Setting:
    """What the checks run with."""

    programs: Programs
    device: str
    quick: bool
    limit: float
    scratch: Path
    report: Report
    # What the driver says of each GPU: {"name", "memory" in bytes}.
    gpus: list
    # The environment of the programs in addition to their own settings.
    environment: dict = field(default_factory=dict)
    # Results of the digits job on one worker, by precision.
    known: dict = field(default_factory=dict)

    def cluster(self, data=None):
        return Cluster(self.programs, data or self.scratch, self.limit)

    def env(self):
        return clean_environment(**self.environment)

    def on_gpu(self):
        return self.device != "cpu"

    def can_do(self, precision):
        """Skipped where a device does not know a precision."""
        if precision == "tf32" and not self.on_gpu():
            raise Skipped("TF32 is for GPUs")

    def worker(self, cluster, name, device=None, memory=None):
        """Starts a worker; `memory` is its own limit, in MiB."""
        flags = ["--memory", memory] if memory else []
        return cluster.worker(name, device or self.device, *flags, environment=self.env())

    def trained(self, precision="f32", workers=1, device=None):
        """Runs the digits job on some worker processes of a cluster of its own; its Result."""
        job = jobs.digits(self.scratch, precision, self.quick)
        with self.cluster() as cluster:
            for number in range(1, workers + 1):
                self.worker(cluster, f"w{number}", device)
            return cluster.succeed(cluster.submit(job))

    def reference(self, precision="f32"):
        """The digits job on one worker, computed once; a failure is not tried again."""
        if precision not in self.known:
            try:
                self.known[precision] = self.trained(precision)
            except Failed as problem:
                self.known[precision] = problem
        if isinstance(self.known[precision], Failed):
            raise Failed(f"the digits job in {precision} on one worker: {self.known[precision]}")
        return self.known[precision]

    def same(self, digest, found, precision="f32"):
        """Holds a digest against that of one worker; Failed where they differ."""
        expected = self.reference(precision).digest
        if digest != expected:
            raise Failed(f"digest {digest[:12]}…, but {expected[:12]}… on one worker")
        found.append(f"digest {digest[:12]}…")


# a ------------------------------------------------------------------------------------------------------------------


def kernels(setting):
    """`lookbehind-worker check`: every kernel against float64."""
    with setting.report.check("a", "every kernel agrees with float64") as found:
        arguments = ["--device", setting.device, "check", "--json"]
        status, output, errors = setting.programs.run(
            "lookbehind-worker", *arguments, limit=setting.limit, environment=setting.env()
        )
        checks = last_object(output, errors)["checks"]
        if not checks:
            raise Failed("expected some checks, found none")
        wrong = [check for check in checks if not check["passed"]]
        share, worst = max((check["error"] / check["limit"], check["name"]) for check in checks)
        found.append(f"{len(checks) - len(wrong)} of {len(checks)} passed")
        found.append(f"the largest error is {share:.2g} of its limit: {worst}")
        if wrong or status != 0:
            worse = [f"{check['name']}: {check['error']:.2g} over {check['limit']:.2g}" for check in wrong[:5]]
            raise Failed(f"exit code {status}; failed: {', '.join(worse) or 'none'}")


def last_object(output, errors):
    """The last line of JSON that a program printed."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if lines:
        return json.loads(lines[-1])
    # It may be laid out over several lines.
    try:
        return json.loads(output)
    except ValueError:
        raise Failed(f"expected JSON, found {one_line(output) or one_line(errors) or 'nothing'}") from None


# b ------------------------------------------------------------------------------------------------------------------


def parity(setting):
    """The cases that were computed with the method's published code."""
    cases = sorted(path.parent for path in FIXTURES.glob("*/job.toml"))
    with setting.report.check("b", f"there are {CASES} parity cases"):
        if len(cases) != CASES:
            raise Failed(f"found {len(cases)}")
    for device in dict.fromkeys([setting.device, "cpu"]):
        with setting.cluster() as cluster:
            started = False
            for case in cases:
                with setting.report.check("b", f"{case.name} on {device} in f32") as found:
                    if not started:
                        setting.worker(cluster, f"on-{device.replace(':', '-')}", device)
                        started = True
                    compare_with_expected(setting, cluster, case, found)


def compare_with_expected(setting, cluster, case, found):
    """Runs a case and says how far its weights and running statistics are from those expected."""
    folder = setting.scratch / f"parity-{case.name}"
    if not folder.exists():
        shutil.copytree(case, folder)
        # Data files are named under the workers' folder, which all cases share.
        data = f"parity-{case.name}/data.safetensors"
        text = (folder / "job.toml").read_text()
        (folder / "job.toml").write_text(text.replace('"data.safetensors"', f'"{data}"'))
    result = cluster.succeed(cluster.submit(folder / "job.toml"))
    got, expected, initial = (
        tensors.read(path)
        for path in (result.folder / "model.safetensors", case / "expected.safetensors", case / "init.safetensors")
    )
    for what, names in zip(("weights", "running statistics"), tensors.parameters_and_statistics(list(expected))):
        error = tensors.relative_error(got, expected, initial, names)
        if error is None:
            continue
        if not error <= PARITY:
            raise Failed(f"{what} are off by {error:.1e} of the distance moved, the limit is {PARITY:.0e}")
        found.append(f"{what} off by {error:.1e} of the distance moved")


# c ------------------------------------------------------------------------------------------------------------------


def workers(setting):
    """One digest for any number of processes on the GPU, and for a repeated run."""
    for number in WORKERS:
        claim = f"the digest of {number} worker processes is that of one"
        if number == 1:
            claim = "one worker process trains the digits job"
        with setting.report.check("c", claim) as found:
            result = setting.trained(workers=number) if number > 1 else setting.reference()
            setting.same(result.digest, found)
            took_part = result.most_workers()
            if took_part != number:
                raise Failed(f"expected {number} workers in some outer step, found {took_part} at most")
    with setting.report.check("c", "a repeated run has the same digest") as found:
        setting.reference()
        setting.same(setting.trained().digest, found)


# d ------------------------------------------------------------------------------------------------------------------


def killed(setting):
    """A worker that is killed in mid-run."""
    with setting.report.check("d", "a worker killed in mid-run leaves the digest as it is") as found:
        setting.reference()
        job = jobs.digits(setting.scratch, "f32", setting.quick)
        with setting.cluster() as cluster:
            victim = setting.worker(cluster, "victim")
            setting.worker(cluster, "survivor")
            identity = cluster.submit(job)
            cluster.took_part(identity, 2, setting.limit)
            step = cluster.job(identity)["outer_step"]
            victim.kill()
            result = cluster.succeed(identity)
            gone = [text for text in cluster.notices(identity) if "worker victim lost" in text]
            if not gone:
                raise Failed(f"killed after outer step {step}, but the coordinator never missed the worker")
            total = result.summary["total_outer_steps"]
            found.append(f"killed after outer step {step} of {total}")
            setting.same(result.digest, found)


# e ------------------------------------------------------------------------------------------------------------------


def several(setting):
    """All GPUs in one worker."""
    count = len(setting.gpus)
    numbers = sorted({2, count}) if count > 1 and setting.on_gpu() else [2]
    for number in numbers:
        device = "cuda:" + ",".join(map(str, range(number)))
        with setting.report.check("e", f"the digest of one worker with {device} is that with one GPU") as found:
            if count < 2 or not setting.on_gpu():
                raise Skipped(f"there are {count} GPUs" if count != 1 else "there is one GPU")
            setting.reference()
            setting.same(setting.trained(device=device).digest, found)


# f ------------------------------------------------------------------------------------------------------------------


def precisions(setting):
    """TF32 and bf16: run, repeat, learn as well."""
    what, most = NEAR[setting.quick]
    for precision in ("tf32", "bf16"):
        with setting.report.check("f", f"{precision}: two runs have one digest") as found:
            setting.can_do(precision)
            setting.reference(precision)
            setting.same(setting.trained(precision).digest, found, precision)
            same = setting.reference(precision).digest == setting.reference().digest
            found.append("it is f32's as well" if same else "another one than f32's")
        with setting.report.check("f", f"{precision}: the {what} is within {most} of that in f32") as found:
            setting.can_do(precision)
            results = [setting.reference(name) for name in (precision, "f32")]
            mine, theirs = (result.loss() if setting.quick else result.accuracy() for result in results)
            found.append(f"{mine:.4f}, and {theirs:.4f} in f32")
            if not abs(mine - theirs) <= most * (theirs if setting.quick else 1):
                raise Failed("too far apart")


# g ------------------------------------------------------------------------------------------------------------------


def out_of_memory(setting, part="g", device="the device", words=("memory", "MiB")):
    """A job that does not fit, and a small one behind it on the same worker; the cause has one of the words."""
    with setting.cluster() as cluster:
        state = {}
        with setting.report.check(part, f"a job too large for {device} fails with the cause in words") as found:
            if setting.on_gpu() and not setting.gpus:
                raise Failed("the driver does not tell how much memory there is")
            # On a GPU the worker's own limit is out of the way; without one it is what is exceeded.
            memory = setting.gpus[0]["memory"] if setting.on_gpu() else 512 << 20
            large = jobs.too_large(setting.scratch, memory)
            limit = BEYOND if setting.on_gpu() else memory >> 20
            state["worker"] = setting.worker(cluster, "one", memory=limit)
            job = cluster.finish(cluster.submit(large))
            found.append(one_line(job["message"]) or "without a reason")
            if job["state"] != "failed" or not any(some in job["message"] for some in words):
                raise Failed(f"expected a failure that speaks of {' or '.join(words)}, the job {job['state']}")
        with setting.report.check(part, "the same worker then finishes a small job") as found:
            if "worker" not in state:
                raise Failed("there is no worker")
            result = cluster.succeed(cluster.submit(jobs.digits(setting.scratch, "f32", setting.quick)))
            if (ended := state["worker"].child.poll()) is not None:
                raise Failed(f"the worker ended with {ended}")
            setting.same(result.digest, found)


# h ------------------------------------------------------------------------------------------------------------------


def measured(setting, network, precision):
    """What `lookbehind-worker measure` says of a network's gradient."""
    model, batch = jobs.NETWORKS[setting.quick][network]
    job = jobs.cifar(setting.scratch, network, model, batch, precision)
    return measure(setting.programs, setting.device, job, EVALUATIONS[setting.quick], setting.limit, setting.env())


def measure(programs, device, job, gradients, limit, environment):
    """Runs `lookbehind-worker measure` on a job file in the folder of its data; returns its output."""
    arguments = ["--device", device, "--data", job.parent, "measure", job, "--gradients", gradients, "--json"]
    status, output, errors = programs.run(
        "lookbehind-worker", *arguments, limit=limit, environment=environment
    )
    if status != 0:
        raise Failed(f"exit code {status}: {one_line(errors, 600)}")
    return last_object(output, errors)


def throughput(setting):
    """Memory, samples per second, and where a gradient's time goes."""
    columns = []
    for network in jobs.NETWORKS[setting.quick]:
        for precision in jobs.PRECISIONS:
            with setting.report.check("h", f"a gradient of {network} in {precision} is measured") as found:
                setting.can_do(precision)
                said = measured(setting, network, precision)
                if said["precision"] != precision:
                    raise Failed(f"expected {precision}, it was {said['precision']}")
                seconds = said["seconds"]
                found.append(f"batch {said['samples']}")
                found.append(f"best {1e3 * seconds['best']:.2f} ms, median {1e3 * seconds['median']:.2f} ms")
                found.append(f"{said['samples_per_second']:.0f} samples/s")
                found.append(f"{mebibytes(said['device_memory_bytes'])} MiB on the device")
                columns.append((f"{network}, {precision}", said))
    if columns:
        setting.report.note("Where the time of a gradient goes, ms", timeline(columns))


def mebibytes(number):
    return "unknown" if not number else f"{number / 2**20:.0f}"


def timeline(columns):
    """A table with a row for each phase and a column for each measurement."""
    phases = dict.fromkeys(entry["phase"] for _, said in columns for entry in said["timeline"])
    table = [["phase", *(name for name, _ in columns)]]
    for phase in phases:
        cells = [sum(e["seconds"] for e in said["timeline"] if e["phase"] == phase) for _, said in columns]
        table.append([phase, *(f"{1e3 * seconds:.3f}" for seconds in cells)])
    sums = [sum(entry["seconds"] for entry in said["timeline"]) for _, said in columns]
    table.append(["all phases", *(f"{1e3 * seconds:.3f}" for seconds in sums)])
    table.append(["median", *(f"{1e3 * said['seconds']['median']:.3f}" for _, said in columns)])
    table.append(["samples/s", *(f"{said['samples_per_second']:.0f}" for _, said in columns)])
    table.append(["MiB on the device", *(mebibytes(said["device_memory_bytes"]) for _, said in columns)])
    return table


PARTS = {
    "a": kernels,
    "b": parity,
    "c": workers,
    "d": killed,
    "e": several,
    "f": precisions,
    "g": out_of_memory,
    "h": throughput,
}
