"""A coordinator and its jobs."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from lookbehind import jobs, results
from lookbehind._native import Call, Events, raise_job_ended
from lookbehind._native import Client as Native
from lookbehind.display import Display
from lookbehind.jobs import JobLike
from lookbehind.records import Checkpoint, Event, JobEnded, JobInfo, WorkerInfo, event, read

if TYPE_CHECKING:
    import numpy
    import pandas
    import torch
    from matplotlib.figure import Figure

DEFAULT_LIMIT = 100
"""How many jobs a list has if it is not said, as for the command."""


class Client:
    """A client of a coordinator.

    What is not given is as for the commands: `url` from LOOKBEHIND_COORDINATOR, or http://127.0.0.1:7070; `credentials`,
    a folder as `lookbehind certs` makes it, from LOOKBEHIND_CREDENTIALS, or none. The first call connects. A client may be
    used by several threads.
    """

    def __init__(self, url: str | None = None, credentials: str | os.PathLike[str] | None = None) -> None:
        self._native = Native(url, credentials)

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    @property
    def url(self) -> str:
        """Where the coordinator is."""
        return self._native.url

    def submit(
        self,
        job: JobLike,
        overrides: Mapping[str, Any] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
    ) -> Job:
        """Hands a job over.

        `job` is the path of a job file, the text of one (a str with a line break), a dict with its sections and keys, or a
        job of this coordinator, whose specification is taken. `overrides` changes keys by their paths, as in
        {"train.epochs": 40}; None makes the default hold. `labels` are what `jobs` finds it by.

        Raises InvalidJob, Unreachable or Refused.
        """
        return self._job(self._native.submit(jobs.source(job), jobs.settings(overrides), jobs.pairs(labels)))

    def job(self, id: str) -> Job:
        """The job with an identity. Raises Refused if there is none."""
        return self._job(self._native.job(id))

    def jobs(
        self,
        *,
        state: str | Sequence[str] = (),
        owner: str = "",
        name: str = "",
        labels: Mapping[str, str] | None = None,
        limit: int | None = DEFAULT_LIMIT,
    ) -> list[Job]:
        """Jobs: those that have not ended, then the others, newest first.

        Only those in one of the states, of an owner, with a text in their names and with labels (with the value "", with
        any value); at most `limit`, or all if it is None.
        """
        call = self._native.jobs(states(state), owner, name, jobs.pairs(labels), limit)
        return [Job(self._native, read(JobInfo, job)) for job in json.loads(answer(call))]

    def workers(self) -> list[WorkerInfo]:
        """The registered workers."""
        return [read(WorkerInfo, worker) for worker in json.loads(answer(self._native.workers()))]

    def _job(self, call: Call) -> Job:
        return Job(self._native, read(JobInfo, json.loads(answer(call))))


class Job:
    """A job of a coordinator.

    `info` is the job as the last call of this object found it; `refresh` asks again.
    """

    def __init__(self, native: Native, info: JobInfo) -> None:
        self._native = native
        self.info = info

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.info.name!r} {self.state}, outer step {self.info.outer_step}>"

    @property
    def id(self) -> str:
        """Its identity."""
        return self.info.id

    @property
    def state(self) -> str:
        """Its state as the last call found it: queued, preparing, running, paused, succeeded, failed or cancelled."""
        return self.info.state

    def refresh(self) -> JobInfo:
        """The job now."""
        return self._ask(self._native.job(self.id))

    def watch(self) -> Watch:
        """Its events from the first one on, each once, across lost connections and restarts of the coordinator."""
        return Watch(self._native.watch(self.id))

    def wait(self) -> JobInfo:
        """Waits until it is over. Raises JobFailed if it did not succeed."""
        for event in self.watch():
            if isinstance(event, JobEnded):
                self.info = event.job
        return succeeded(self.info)

    def progress(self) -> JobInfo:
        """As `wait`, and shows how it proceeds: in a line on a terminal, or below the cell of a notebook."""
        with Display(self.id) as display:
            for event in self.watch():
                display.show(event)
                if isinstance(event, JobEnded):
                    self.info = event.job
        return succeeded(self.info)

    def cancel(self) -> JobInfo:
        """Cancels it."""
        return self._ask(self._native.cancel(self.id))

    def pause(self) -> JobInfo:
        """Pauses it, after its outer step if it runs."""
        return self._ask(self._native.pause(self.id))

    def resume(self, *, accept_class: bool = False) -> JobInfo:
        """Resumes it after a pause. With `accept_class` it may go on in another compute class."""
        return self._ask(self._native.resume(self.id, accept_class))

    def retry(self) -> JobInfo:
        """Goes on with it from its newest checkpoint, after it has failed or was cancelled."""
        return self._ask(self._native.retry(self.id))

    def delete(self) -> None:
        """Deletes it with its models and metrics, which cannot be recovered. It must be over."""
        self._native.delete(self.id).wait()

    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints that the coordinator has of it, newest first."""
        return [read(Checkpoint, each) for each in json.loads(answer(self._native.checkpoints(self.id)))]

    @overload
    def metrics(self, *, frame: Literal[False] = False) -> list[dict[str, Any]]: ...
    @overload
    def metrics(self, *, frame: Literal[True]) -> pandas.DataFrame: ...
    def metrics(self, *, frame: bool = False) -> list[dict[str, Any]] | pandas.DataFrame:
        """The outer steps that it has done, with the keys of STEP in docs/json.md; with `frame`, as `to_frame` has them."""
        steps = results.finite(json.loads(answer(self._native.metrics(self.id))))
        return results.frame(steps) if frame else steps

    def to_frame(self) -> pandas.DataFrame:
        """Its outer steps as a pandas DataFrame, a row each, with columns such as `test.accuracy`."""
        return self.metrics(frame=True)

    def plot(self) -> Figure:
        """Loss and accuracy over its outer steps, as a figure of matplotlib."""
        return results.plot(self.metrics(), self.info.name)

    def summary(self) -> dict[str, Any]:
        """Its results, with the keys of summary.json."""
        return results.summary(answer(self._native.summary(self.id)))

    @overload
    def state_dict(
        self, framework: Literal["numpy"] = "numpy", *, step: int | Literal["best"] | None = None
    ) -> dict[str, numpy.ndarray[Any, Any]]: ...
    @overload
    def state_dict(
        self, framework: Literal["torch"], *, step: int | Literal["best"] | None = None
    ) -> dict[str, torch.Tensor]: ...
    def state_dict(self, framework: str = "numpy", *, step: int | Literal["best"] | None = None) -> dict[str, Any]:
        """The weights of its newest checkpoint, by PyTorch's names.

        `step` names another one: a number of outer steps, or "best" for the one that the job keeps as its best.
        """
        read_file = results.reader(framework)
        with tempfile.TemporaryDirectory(prefix="lookbehind-") as folder:
            path = Path(folder, results.MODEL)
            self._native.download(self.id, path, step).wait()
            return read_file(path)

    def fetch(
        self, out: str | os.PathLike[str], *, step: int | Literal["best"] | None = None, force: bool = False
    ) -> Path:
        """Leaves the files of `lookbehind fetch` in a folder: model, metrics, summary, job file and TensorBoard's file.

        The folder must be new, empty or an earlier output of the same job, unless `force`.
        """
        self._native.fetch(self.id, out, step, force).wait()
        return Path(out)

    def _ask(self, call: Call) -> JobInfo:
        self.info = read(JobInfo, json.loads(answer(call)))
        return self.info


class Watch(Iterator[Event]):
    """The events of a job. The last one is JobEnded.

    After an exception, such as KeyboardInterrupt, iteration can go on: no event is lost.
    """

    def __init__(self, events: Events) -> None:
        self._events = events

    def __next__(self) -> Event:
        while self._events.ready().wait() is not None:
            line = self._events.take()
            found = None if line is None else event(line)
            if found is not None:
                return found
        raise StopIteration

    def close(self) -> None:
        """Ends watching; the job goes on."""
        self._events.close().wait()


def answer(call: Call) -> str:
    """Waits for a call that has an answer."""
    return given(call.wait())


def given(text: str | None) -> str:
    """The answer of a call that has one."""
    assert text is not None, "a call without the answer that it promises"
    return text


def states(state: str | Sequence[str]) -> list[str]:
    """One state or several."""
    return [state] if isinstance(state, str) else list(state)


def succeeded(job: JobInfo) -> JobInfo:
    """A job that is over, if it has succeeded; otherwise raises JobFailed."""
    if job.state == "succeeded":
        return job
    raise_job_ended(job.id, job.state, job.message)
