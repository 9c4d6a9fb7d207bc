"""The client against a real cluster, open and guarded."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy
import pytest
from conftest import ENVIRONMENT, Cluster, command, until
from safetensors.numpy import load_file

import lookbehind

JobDict = dict[str, Any]


def test_a_submitted_dict_is_trained_and_all_its_outer_steps_are_seen_once(
    client: lookbehind.Client, digits: JobDict
) -> None:
    job = client.submit(digits, labels={"project": "python"})
    events = list(job.watch())
    steps = [event for event in events if isinstance(event, lookbehind.Step)]
    ended = events[-1]
    assert isinstance(ended, lookbehind.JobEnded)
    assert ended.job.state == "succeeded"
    assert [step.outer_step for step in steps] == list(range(1, ended.job.total_outer_steps + 1))
    assert steps[-1].digest == ended.job.digest
    assert ended.job.spec is not None and ended.job.spec["labels"] == {"project": "python"}
    assert {event.state for event in events if isinstance(event, lookbehind.Notice)} >= {"queued", "running"}


def test_the_digest_is_that_of_the_command_and_of_a_cluster_in_this_process(
    client: lookbehind.Client, digits: JobDict, tmp_path: Path
) -> None:
    job = client.submit(digits)
    here = lookbehind.train(digits, workers=1, out=tmp_path / "here")
    file = tmp_path / "job.toml"
    file.write_text((here.out / "job.toml").read_text())
    train = [command("lookbehind"), "train", str(file), "--out", str(tmp_path / "there")]
    subprocess.run(train, env=ENVIRONMENT, check=True, capture_output=True)
    there = json.loads((tmp_path / "there" / "summary.json").read_text())
    assert job.wait().digest == here.digest == there["digest"]
    assert job.summary()["test"] == here.summary()["test"] == there["test"]
    assert here.metrics()[-1]["digest"] == here.digest
    assert numpy.array_equal(here.state_dict()["layers.0.weight"], job.state_dict()["layers.0.weight"])


def test_weights_and_metrics_are_those_that_the_command_fetches(
    cluster: Cluster, client: lookbehind.Client, digits: JobDict, tmp_path: Path
) -> None:
    job = client.submit(digits)
    job.wait()
    fetch = [command("lookbehind"), "fetch", job.id, "--out", str(tmp_path / "there"), *cluster.options()]
    subprocess.run(fetch, env=ENVIRONMENT, check=True, capture_output=True)
    job.fetch(tmp_path / "here")
    for name in ("model.safetensors", "metrics.jsonl", "summary.json", "job.toml"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes(), name
    fetched = load_file(tmp_path / "there" / "model.safetensors")
    weights = job.state_dict()
    assert weights.keys() == fetched.keys()
    assert all(numpy.array_equal(weights[name], fetched[name]) for name in fetched)
    lines = (tmp_path / "there" / "metrics.jsonl").read_text().splitlines()
    assert job.metrics() == [json.loads(line) for line in lines]
    assert job.summary()["outer_steps"] == len(lines)
    with pytest.raises(lookbehind.OutputError, match="choose another folder"):
        job.fetch(cluster.folder)


def test_the_best_checkpoint_is_the_one_that_the_job_names(client: lookbehind.Client, digits: JobDict) -> None:
    kept = {"train.epochs": 6, "checkpoint.keep_best": "test_accuracy"}
    job = client.submit(digits, kept)
    job.wait()
    results = job.refresh().results
    assert results is not None and results.best is not None and results.best.metric == "test_accuracy"
    found = {step["outer_step"]: step["test"]["accuracy"] for step in job.metrics() if "test" in step}
    assert found[results.best.outer_step] == results.best.value == max(found.values())
    best = job.state_dict(step="best")
    at_its_step = job.state_dict(step=results.best.outer_step)
    assert all(numpy.array_equal(best[name], at_its_step[name]) for name in best)
    without = client.submit(digits)
    without.wait()
    with pytest.raises(lookbehind.Refused, match="has no best checkpoint"):
        without.state_dict(step="best")


def test_metrics_become_a_frame_and_a_figure(client: lookbehind.Client, digits: JobDict) -> None:
    job = client.submit(digits)
    job.wait()
    frame = job.metrics(frame=True)
    assert list(frame.index) == [step["outer_step"] for step in job.metrics()]
    assert frame["test.accuracy"].dropna().iloc[-1] == job.summary()["test"]["accuracy"]
    figure = job.plot()
    assert [axis.get_ylabel() for axis in figure.axes] == ["loss", "accuracy"]


def test_the_three_forms_of_a_job_are_the_same_job(
    client: lookbehind.Client, digits: JobDict, tmp_path: Path
) -> None:
    text = """name = "digits"
seed = 42
model = { kind = "mlp", hidden = [32] }
data = { kind = "digits" }
train = { epochs = 9, batch_size = 64, shards = 4 }
optimizer = { method = "lookbehind", k = 2, rho = 0.2, alpha = 0.5, base = { lr = 0.1 } }
"""
    file = tmp_path / "job.toml"
    file.write_text(text)
    overrides = {"train.epochs": 2}
    jobs = [client.submit(form, overrides) for form in (text, file, str(file), digits)]
    jobs.append(client.submit(jobs[0]))
    specs = [job.info.spec for job in jobs]
    assert all(spec == specs[0] for spec in specs)
    assert len({job.wait().digest for job in jobs}) == 1


def test_values_of_python_become_those_of_a_job_file(
    idle: lookbehind.Client, digits: JobDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = idle.submit(digits).info.spec
    digits["seed"] = numpy.int64(42)
    digits["optimizer"]["rho"] = numpy.float64(0.2)
    digits["optimizer"]["eta"] = None
    digits["schedule"] = None
    assert idle.submit(digits).info.spec == plain
    assert idle.submit(digits, {"model.hidden": [32], "train.shards": numpy.int32(4)}).info.spec == plain
    changed = idle.submit(digits, {"optimizer.base.lr": None, "optimizer.base": {"lr": 0.5}}).info.spec
    assert changed is not None and changed["optimizer"]["base"]["lr"] == 0.5
    # A path in a dict refers to the current folder.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(lookbehind.InvalidJob, match="model.init: ./weights.safetensors: cannot be read"):
        idle.submit(digits, {"model.init": Path("weights.safetensors")})


def test_a_job_that_waits_is_found_and_cancelled(idle: lookbehind.Client, digits: JobDict) -> None:
    job = idle.submit(digits, labels={"project": "one"})
    idle.submit(digits, {"name": "other"})
    assert [found.id for found in idle.jobs(labels={"project": "one"}, state="queued")] == [job.id]
    assert len(idle.jobs(limit=1)) == 1
    assert len(idle.jobs(limit=None)) == 2
    assert job.cancel().state == "cancelled"
    with pytest.raises(lookbehind.JobFailed) as failed:
        job.wait()
    assert str(failed.value).startswith(f"job {job.id} cancelled")
    assert failed.value.exit_code == 1
    job.delete()
    with pytest.raises(lookbehind.Refused, match=job.id):
        idle.job(job.id)


def test_a_job_is_paused_resumed_and_retried(client: lookbehind.Client, digits: JobDict) -> None:
    job = client.submit(digits, {"train.epochs": 100_000})
    until(lambda: job.refresh().outer_step > 0)
    job.pause()
    until(lambda: job.refresh().state == "paused")
    assert job.checkpoints()[0].outer_step == job.info.outer_step
    job.resume()
    until(lambda: job.refresh().state == "running")
    job.cancel()
    assert job.retry().state in ("queued", "preparing", "running")
    job.cancel()


def test_tensors_of_pytorch_have_the_values_of_arrays(client: lookbehind.Client, digits: JobDict) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    job = client.submit(digits)
    job.wait()
    arrays, tensors = job.state_dict(), job.state_dict("torch")
    assert all(torch.equal(tensors[name], torch.from_numpy(arrays[name])) for name in arrays)


def test_an_unknown_framework_is_named(client: lookbehind.Client, digits: JobDict) -> None:
    with pytest.raises(ValueError, match="found 'jax'"):
        client.submit(digits).state_dict("jax")  # type: ignore[call-overload]


def test_workers_are_listed(cluster: Cluster, client: lookbehind.Client) -> None:
    until(lambda: len(client.workers()) == 2)
    assert all(worker.version == lookbehind.__version__ for worker in client.workers())


def test_the_version_is_that_of_the_commands() -> None:
    shown = subprocess.run([command("lookbehind"), "--version"], check=True, capture_output=True, text=True)
    assert shown.stdout.split() == ["lookbehind", lookbehind.__version__]


def test_events_are_kept_when_the_coordinator_restarts(own_cluster: Cluster, digits: JobDict) -> None:
    own_cluster.start()
    own_cluster.add_worker()
    job = own_cluster.client().submit(digits, {"train.epochs": 30, "checkpoint.every_steps": 5})
    steps: list[int] = []
    lost = 0
    for event in job.watch():
        if isinstance(event, lookbehind.Step):
            steps.append(event.outer_step)
            if event.outer_step == 20:
                own_cluster.stop()
                own_cluster.start()
        lost += isinstance(event, lookbehind.ConnectionLost)
    assert lost >= 1
    assert steps == list(range(1, job.refresh().total_outer_steps + 1))
    assert job.state == "succeeded"


