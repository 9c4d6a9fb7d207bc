"""What follows when a GPU is missing, too small or breaks: the checks of `emulated` that need a GPU that obeys."""

from dataclasses import replace

import checks
import jobs
from cluster import OVER
from support import Failed, clean_environment, one_line, wait_for

EXIT_NO_DEVICE = 69  # EX_UNAVAILABLE
EXIT_FAULT = 70  # EX_SOFTWARE
EXIT_CONFIG = 78  # EX_CONFIG
# CUDA_ERROR_LAUNCH_FAILED, after which nothing works on the device.
FAULT = 719
# Kernels until the fault: while the job is loaded and its class is proved, and in mid-run.
LAUNCHES = (20, 500, 4000)
# An address without a server: a worker without a device is to end before it looks for a coordinator.
NOWHERE = "http://127.0.0.1:9"
LIMIT = 120
SMALL = 256 << 20  # bytes


def no_gpu(setting):
    """Without any GPU."""
    none = clean_environment(**{**setting.environment, "EMULATED_GPUS": 0, "LOOKBEHIND_LOG": "warn"})
    with setting.report.check("i", "without a GPU, --device cuda:0 says so in one line and ends with 69") as found:
        said = refused(setting, "cuda:0", none, [EXIT_NO_DEVICE], found)
        if len(said.splitlines()) != 1:
            raise Failed(f"expected one line, found {len(said.splitlines())}")
    with setting.report.check("i", "without a GPU, --device auto goes on with the CPU and says so") as found:
        with setting.cluster() as cluster:
            environment = clean_environment(**{**setting.environment, "EMULATED_GPUS": 0})
            worker = cluster.worker("auto", "auto", environment=environment)
            (listed,) = cluster.listed()
            found.append(f"registered as {one_line(listed['device'], 80)}")
            if "cpu" not in listed["device"].lower():
                raise Failed("that is no CPU")
            lines = [line for line in worker.text().splitlines() if "cpu" in line.lower()]
            if not lines:
                raise Failed(f"its log does not speak of the CPU: {one_line(worker.text())}")
            found.append(f"says {one_line(lines[0], 160)}")
            cluster.succeed(cluster.submit(jobs.digits(setting.scratch, "f32", setting.quick)))


def no_such_gpu(setting):
    """With a number that no GPU has."""
    environment = clean_environment(**{**setting.environment, "EMULATED_GPUS": 1, "LOOKBEHIND_LOG": "warn"})
    with setting.report.check("i", "a GPU that does not exist is refused, and those that do are named") as found:
        said = refused(setting, "cuda:7", environment, [EXIT_NO_DEVICE, EXIT_CONFIG], found)
        names = ["cuda:0", *(gpu["name"] for gpu in setting.gpus)]
        if not any(name in said.replace("cuda:7", "") for name in names):
            raise Failed(f"expected one of {', '.join(names)} in it")


def meddled_with(setting):
    """In an environment by which NVIDIA's libraries compute in another precision."""
    for variable in ("NVIDIA_TF32_OVERRIDE", "CUBLAS_EMULATE_SINGLE_PRECISION", "CUBLAS_EMULATION_STRATEGY"):
        environment = clean_environment(**{**setting.environment, variable: "1", "LOOKBEHIND_LOG": "warn"})
        with setting.report.check("i", f"{variable} is refused by name") as found:
            said = refused(setting, "cuda:0", environment, [EXIT_CONFIG], found)
            if variable not in said:
                raise Failed(f"expected {variable} in it")


def refused(setting, device, environment, codes, found):
    """Starts a worker that must end at once; what it says."""
    arguments = ["--device", device, "--coordinator", NOWHERE]
    status, output, errors = setting.programs.run(
        "lookbehind-worker", *arguments, limit=LIMIT, environment=environment
    )
    said = (output + errors).strip()
    found.append(one_line(said) or "nothing is said")
    if status not in codes:
        raise Failed(f"exit code {status}, expected {' or '.join(map(str, codes))}")
    if "panicked" in said or not said:
        raise Failed("expected words, and no panic")
    return said


def small_memory(setting):
    """On a device with little memory."""
    gpus = [{**gpu, "memory": SMALL} for gpu in setting.gpus]
    environment = {**setting.environment, "EMULATED_GPU_MEMORY": SMALL}
    small = replace(setting, gpus=gpus, environment=environment)
    checks.out_of_memory(small, "i", f"a GPU with {SMALL >> 20} MiB", ("out of memory",))


def broken(setting):
    """A device that breaks: its worker leaves with the cause, another one finishes the job."""
    for launches in LAUNCHES:
        what = f"a device that breaks at kernel {launches}"
        with setting.report.check("i", f"{what} costs the worker and not the job") as found:
            setting.reference()
            with setting.cluster() as cluster:
                fault = f"launch:{launches}={FAULT}"
                environment = clean_environment(**{**setting.environment, "EMULATED_GPU_FAULT": fault})
                worker = cluster.worker("broken", setting.device, environment=environment)
                identity = cluster.submit(jobs.digits(setting.scratch, "f32", setting.quick))
                status = worker.exit_code(setting.limit)
                job = cluster.job(identity)
                found.append(f"exit code {status} after outer step {job['outer_step']}")
                if job["state"] in OVER:
                    raise Failed(f"the job {job['state']} before the device broke")
                if status != EXIT_FAULT:
                    raise Failed(f"expected {EXIT_FAULT}: {one_line(worker.text()[-1000:])}")
                if "panicked" in worker.text():
                    raise Failed(f"it panicked: {one_line(worker.text()[-1000:])}")
                setting.worker(cluster, "second")
                result = cluster.succeed(identity)
                setting.same(result.digest, found)
                causes = [line for line in cluster.reports(identity).splitlines() if names_the_fault(line)]
                if not causes:
                    raise Failed("the cause was not reported to the coordinator")
                found.append(f"the coordinator says {one_line(causes[0], 200)}")


def names_the_fault(line):
    """Whether a line of the coordinator tells why the worker left."""
    line = line.lower()
    return "broken" in line and (str(FAULT) in line or "launch" in line)


def mixed(setting):
    """A worker on the CPU in a job of a worker on a GPU."""
    with setting.report.check("i", "a worker on the CPU is refused for a job of the GPU's class") as found:
        setting.reference()
        with setting.cluster() as cluster:
            setting.worker(cluster, "on-gpu")
            identity = cluster.submit(jobs.digits(setting.scratch, "f32", setting.quick))
            # Only a job that has begun is bound to a class.
            cluster.reach(identity, 0)
            bound = lambda: "bound to a compute class" in cluster.coordinator.text()
            wait_for("the job's class", bound, setting.limit)
            setting.worker(cluster, "on-cpu", device="cpu")
            result = cluster.succeed(identity)
            setting.same(result.digest, found)
            refusals = [text for text in cluster.notices(identity) if "worker on-cpu refused" in text]
            if not refusals:
                notices = one_line("; ".join(cluster.notices(identity)))
                raise Failed(f"it was not refused; the coordinator reported {notices}")
            found.append(one_line(refusals[0], 500))
            classes = ("the job is bound to", "the worker is")
            if not all(words in refusals[0] for words in classes) or "CPU" not in refusals[0]:
                raise Failed("expected both classes by name")


CHECKS = (no_gpu, no_such_gpu, meddled_with, small_memory, broken, mixed)
