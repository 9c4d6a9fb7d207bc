"""SGD, SAM and Lookbehind-SAM on CIFAR-10 with the same number of gradients.

    python tests/python/first_experiment.py target/release/lookbehind --data FOLDER --out DIR
        [--minutes M] [--seeds N] [--smoke]

FOLDER holds CIFAR-10 as on the Hugging Face hub: train*.parquet and test*.parquet. Leaves in DIR results.json,
table.md, train-loss.svg and test-accuracy.svg, and under runs/ what each `lookbehind train --out` wrote. A run that is
finished is not trained again, so an interrupted experiment goes on with the same command. --minutes measures this
machine and chooses the length of a run for it; without it the length is fixed. --smoke trains a tiny network on the
shrunk test split, to see within a minute that everything works. Needs numpy and matplotlib, which
tests/python/first_experiment.sh installs.

An outer step costs SGD one gradient, SAM two and Lookbehind k + 1 = 3. The unit is therefore the *round*, 6 epochs'
worth of gradients: 6 epochs of SGD, 3 of SAM, 2 of Lookbehind.
"""

import argparse
import filecmp
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from first_experiment_plots import plot

# Evaluations of an outer step, and its lines of the job. 0.05 is what Foret et al. (ICLR 2021) publish for SAM on
# CIFAR-10 and Mordido et al. (ICML 2024) take over.
METHODS = {
    "sgd": (1, ""),
    "sam": (2, "rho = 0.05\n"),
    "lookbehind": (3, "k = 2\nrho = 0.05\nalpha = 0.5\n"),
}
EPOCHS_PER_ROUND = 6
WINDOWS_PER_ROUND = 12
TRIAL_STEPS = 60


@dataclass(frozen=True)
class Setting:
    """What all methods have in common. `samples` is the size of the split that is trained on, `data` more of [data]."""

    split: str = "train"
    samples: int = 50_000
    blocks: tuple = (1, 1, 1)
    width: int = 16
    batch: int = 128
    rounds: int = 2
    data: str = ""

    @property
    def steps_per_epoch(self):
        return -(-self.samples // self.batch)

    @property
    def gradients(self):
        return self.rounds * EPOCHS_PER_ROUND * self.steps_per_epoch

    @property
    def network(self):
        return f"ResNet-{2 * sum(self.blocks) + 2} with {self.width} channels in its first stage"


SMOKE = Setting(split="test", samples=10_000, blocks=(1,), width=4, batch=500, rounds=1, data="resize = [8, 8]\n")


# One run ------------------------------------------------------------------------------------------------------------


def job_text(setting, files, method, seed, steps):
    names = {split: json.dumps([f"data/{path.name}" for path in paths]) for split, paths in files.items()}
    return f"""name = "first-experiment-{method}-{seed}"
seed = {seed}

[model]
kind = "resnet"
blocks = {list(setting.blocks)}
width = {setting.width}
norm = "batch"

[data]
kind = "parquet"
train = {names[setting.split]}
test = {names["test"]}
{setting.data}
[data.augment]
crop_padding = 4
flip = true

[data.normalize]
mean = [0.4914, 0.4822, 0.4465]
std = [0.2471, 0.2435, 0.2616]

[train]
steps = {steps}
batch_size = {setting.batch}
shards = 2

[optimizer]
method = "{method}"
{METHODS[method][1]}
[optimizer.base]
kind = "sgd"
lr = 0.1
momentum = 0.9
weight_decay = 5e-4

[schedule]
kind = "cosine"

[eval]
every_epochs = 1
"""


def train(program, job, out):
    """Trains a job whose data are in the folder of its file; returns the seconds that it took."""
    begun = time.perf_counter()
    command = [program, "train", str(job), "--out", str(out), "--force"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with exit code {process.returncode}")
    return {"wall": time.perf_counter() - begun, "processor": usage.ru_utime + usage.ru_stime}


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def is_finished(folder, text):
    """Whether a run's folder holds the results of just this job. `cost.json` is written last."""
    if not (folder / "cost.json").exists() or (folder / "job.toml").read_text() != text:
        return False
    return json.loads((folder / "summary.json").read_text())["state"] == "succeeded"


def run(program, setting, files, out, method, seed):
    steps = setting.gradients // METHODS[method][0]
    text = job_text(setting, files, method, seed, steps)
    folder = out / "runs" / f"{method}-{seed}"
    if is_finished(folder, text):
        print(f"{method}, seed {seed}: finished earlier", flush=True)
    else:
        (folder / "cost.json").unlink(missing_ok=True)
        job = out / f"{method}-{seed}.toml"
        job.write_text(text)
        cost = train(program, job, folder)
        (folder / "cost.json").write_text(json.dumps(cost) + "\n")
        print(f"{method}, seed {seed}: {cost['wall']:.0f} s", flush=True)
    return result_of(setting, folder, method, seed)


def seconds_per_gradient(lines):
    """The median over outer steps without a test of the test split, whose time is the step's, too."""
    return statistics.median(line["time"]["total"] / line["gradients"] for line in lines if "test" not in line)


def result_of(setting, folder, method, seed):
    """A run's figures, after a check that they are figures of the run that was planned."""
    summary, lines = json.loads((folder / "summary.json").read_text()), lines_of(folder)
    gradients, tests = 0, []
    windows = [[] for _ in range(setting.rounds * WINDOWS_PER_ROUND)]
    for line in lines:
        windows[gradients * len(windows) // setting.gradients].append(line)
        gradients += line["gradients"]
        if "test" in line:
            tests.append({"gradients": gradients, **line["test"]})
    epoch = METHODS[method][0] * setting.steps_per_epoch
    planned = list(range(epoch, setting.gradients + 1, epoch))
    found = [test["gradients"] for test in tests]
    if gradients != setting.gradients or found != planned:
        sys.exit(f"{folder}: expected {setting.gradients} gradients and tests after {planned}, found "
                 f"{gradients} and {found}: does the {setting.split} split have {setting.samples} images?")
    losses = [statistics.fmean(line["loss"] for line in window) for window in windows]
    share = setting.gradients / len(windows)
    return {
        "method": method,
        "seed": seed,
        "test_accuracy": tests[-1]["accuracy"],
        "test_loss": tests[-1]["loss"],
        "train_loss": losses[-1],
        "gradients": gradients,
        "outer_steps": len(lines),
        "samples": sum(line["samples"] for line in lines),
        "seconds_per_gradient": seconds_per_gradient(lines),
        "seconds": json.loads((folder / "cost.json").read_text()),
        "digest": summary["digest"],
        "first_loss": lines[0]["loss"],
        "compute_class": lines[0]["compute_class"],
        "tests": tests,
        "train_losses": [{"gradients": (i + 0.5) * share, "loss": loss} for i, loss in enumerate(losses)],
    }


# The experiment -----------------------------------------------------------------------------------------------------


def bring_data(source, out):
    """Copies the data to the folder of the job files, where `lookbehind train` finds them."""
    files = {}
    (out / "data").mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        files[split] = sorted(source.glob(f"{split}*.parquet"))
        if not files[split]:
            sys.exit(f"{source}: expected {split}*.parquet, found none")
        for path in files[split]:
            copy = out / "data" / path.name
            if not copy.exists():
                shutil.copyfile(path, copy)
            elif not filecmp.cmp(path, copy, shallow=False):
                sys.exit(f"{copy} is not the {path} that is given now: choose another --out")
    return files


def rounds_for(minutes, program, setting, files, out):
    """As many rounds as SGD trains in so many minutes on this machine, measured once for each folder."""
    plan = out / "plan.json"
    if plan.exists() and (known := json.loads(plan.read_text()))["minutes"] == minutes:
        return known["rounds"]
    job = out / "trial.toml"
    job.write_text(job_text(setting, files, "sgd", 0, TRIAL_STEPS))
    train(program, job, out / "trial")
    seconds = seconds_per_gradient(lines_of(out / "trial"))
    rounds = max(1, int(minutes * 60 / seconds / (EPOCHS_PER_ROUND * setting.steps_per_epoch)))
    plan.write_text(json.dumps({"minutes": minutes, "seconds_per_gradient": seconds, "rounds": rounds}) + "\n")
    return rounds


def check_common_start(results):
    """The first loss is that of the initial weights on the first batch: the same bits for every method of a seed.

    So is the compute class; it would differ if an experiment went on with other arithmetic than it began with.
    """
    for seed in {result["seed"] for result in results}:
        for field in ("compute_class", "first_loss"):
            found = {result["method"]: result[field] for result in results if result["seed"] == seed}
            if len(set(found.values())) != 1:
                sys.exit(f"seed {seed}: expected the same {field} for all methods, found {found}")


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def spread(values, digits, unit=""):
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{deviation}{unit}"


def table(setting, results, seeds):
    """The results in Markdown, with what is equal and what is not."""
    epochs = {method: setting.rounds * EPOCHS_PER_ROUND // cost for method, (cost, _) in METHODS.items()}
    window = f"last {setting.gradients // setting.rounds // WINDOWS_PER_ROUND:,} gradients"
    text = "**A smoke test: tiny images and network, figures without meaning.**\n\n" if setting == SMOKE else ""
    text += f"""{setting.network}, CIFAR-10, batches of {setting.batch} in 2 shards, crops and flips;
SGD with momentum 0.9, learning rate 0.1 with a cosine to 0, weight decay 5e-4 under all three; {os.cpu_count()} cores,
{processor()}.

Equal for all methods: the gradients ({setting.gradients:,} of one batch each), and for each seed the
initial weights and the order of the samples. Not equal: the samples seen (epochs below), hence the number of updates;
the tests of the test split (after every epoch; not gradients, but part of the processor time). Hyper-parameters were
not tuned for any of them.

Mean ± sample standard deviation of {seeds} seeds. Train loss: the minibatch losses at the (slow) weights during the
{window}. Processor time: of all cores, for the whole run.

| method | test accuracy | test loss | train loss | processor time | gradients | outer steps | epochs |
|---|---|---|---|---|---|---|---|
"""
    for method in METHODS:
        of = [result for result in results if result["method"] == method]
        cells = [
            method,
            spread([100 * result["test_accuracy"] for result in of], 2, " %"),
            spread([result["test_loss"] for result in of], 4),
            spread([result["train_loss"] for result in of], 4),
            spread([result["seconds"]["processor"] for result in of], 0, " s"),
            f"{of[0]['gradients']:,}",
            f"{of[0]['outer_steps']:,}",
            str(epochs[method]),
        ]
        text += f"| {' | '.join(cells)} |\n"
    text += "\n| run | test accuracy | digest of the weights |\n|---|---|---|\n"
    for result in results:
        accuracy = f"{100 * result['test_accuracy']:.2f} %"
        text += f"| {result['method']}, seed {result['seed']} | {accuracy} | `{result['digest']}` |\n"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the lookbehind binary, built with --release")
    parser.add_argument("--data", type=Path, required=True, help="folder with train*.parquet and test*.parquet")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and the results")
    parser.add_argument("--minutes", type=float, help="how long a run may take here; by default its length is fixed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="tiny runs, to see that everything works")
    arguments = parser.parse_args()

    program, out = str(Path(arguments.program).resolve()), arguments.out
    files = bring_data(arguments.data, out)
    setting = SMOKE if arguments.smoke else Setting()
    if arguments.minutes and not arguments.smoke:
        setting = Setting(rounds=rounds_for(arguments.minutes, program, setting, files, out))
    results = [run(program, setting, files, out, method, seed)
               for seed in range(1, arguments.seeds + 1) for method in METHODS]
    check_common_start(results)
    results.sort(key=lambda result: list(METHODS).index(result["method"]))
    (out / "results.json").write_text(json.dumps({"setting": vars(setting), "runs": results}, indent=2) + "\n")
    (out / "table.md").write_text(table(setting, results, arguments.seeds))
    plot(results, list(METHODS), out)
    print((out / "table.md").read_text())


if __name__ == "__main__":
    main()
