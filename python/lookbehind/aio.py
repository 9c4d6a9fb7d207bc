"""The same for asyncio. No call holds a thread while it waits, and a task that is cancelled ends its call."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from lookbehind import jobs, results
from lookbehind._native import Call, Events
from lookbehind._native import Client as Native
from lookbehind.client import DEFAULT_LIMIT, given, states, succeeded
from lookbehind.jobs import JobLike
from lookbehind.records import Checkpoint, Event, JobEnded, JobInfo, WorkerInfo, event, read

if TYPE_CHECKING:
    import numpy
    import pandas
    import torch


class AsyncClient:
    """As `lookbehind.Client`, with calls that are awaited."""

    def __init__(self, url: str | None = None, credentials: str | os.PathLike[str] | None = None) -> None:
        self._native = Native(url, credentials)

    def __repr__(self) -> str:
        return f"AsyncClient({self.url!r})"

    @property
    def url(self) -> str:
        """Where the coordinator is."""
        return self._native.url

    async def submit(
        self,
        job: JobLike,
        overrides: Mapping[str, Any] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
    ) -> AsyncJob:
        """As `Client.submit`."""
        call = self._native.submit(jobs.source(job), jobs.settings(overrides), jobs.pairs(labels))
        return AsyncJob(self._native, await _job(call))

    async def job(self, id: str) -> AsyncJob:
        """As `Client.job`."""
        return AsyncJob(self._native, await _job(self._native.job(id)))

    async def jobs(
        self,
        *,
        state: str | Sequence[str] = (),
        owner: str = "",
        name: str = "",
        labels: Mapping[str, str] | None = None,
        limit: int | None = DEFAULT_LIMIT,
    ) -> list[AsyncJob]:
        """As `Client.jobs`."""
        call = self._native.jobs(states(state), owner, name, jobs.pairs(labels), limit)
        return [AsyncJob(self._native, read(JobInfo, job)) for job in json.loads(await _answer(call))]

    async def workers(self) -> list[WorkerInfo]:
        """As `Client.workers`."""
        return [read(WorkerInfo, worker) for worker in json.loads(await _answer(self._native.workers()))]


class AsyncJob:
    """As `lookbehind.Job`, with calls that are awaited."""

    def __init__(self, native: Native, info: JobInfo) -> None:
        self._native = native
        self.info = info

    def __repr__(self) -> str:
        return f"<AsyncJob {self.id} {self.info.name!r} {self.state}, outer step {self.info.outer_step}>"

    @property
    def id(self) -> str:
        """Its identity."""
        return self.info.id

    @property
    def state(self) -> str:
        """Its state as the last call found it."""
        return self.info.state

    async def refresh(self) -> JobInfo:
        """As `Job.refresh`."""
        return await self._ask(self._native.job(self.id))

    def watch(self) -> AsyncWatch:
        """As `Job.watch`."""
        return AsyncWatch(self._native.watch(self.id))

    async def wait(self) -> JobInfo:
        """As `Job.wait`."""
        async for event in self.watch():
            if isinstance(event, JobEnded):
                self.info = event.job
        return succeeded(self.info)

    async def cancel(self) -> JobInfo:
        """As `Job.cancel`."""
        return await self._ask(self._native.cancel(self.id))

    async def pause(self) -> JobInfo:
        """As `Job.pause`."""
        return await self._ask(self._native.pause(self.id))

    async def resume(self, *, accept_class: bool = False) -> JobInfo:
        """As `Job.resume`."""
        return await self._ask(self._native.resume(self.id, accept_class))

    async def retry(self) -> JobInfo:
        """As `Job.retry`."""
        return await self._ask(self._native.retry(self.id))

    async def delete(self) -> None:
        """As `Job.delete`."""
        await _made(self._native.delete(self.id))

    async def checkpoints(self) -> list[Checkpoint]:
        """As `Job.checkpoints`."""
        return [read(Checkpoint, each) for each in json.loads(await _answer(self._native.checkpoints(self.id)))]

    @overload
    async def metrics(self, *, frame: Literal[False] = False) -> list[dict[str, Any]]: ...
    @overload
    async def metrics(self, *, frame: Literal[True]) -> pandas.DataFrame: ...
    async def metrics(self, *, frame: bool = False) -> list[dict[str, Any]] | pandas.DataFrame:
        """As `Job.metrics`."""
        steps = results.finite(json.loads(await _answer(self._native.metrics(self.id))))
        return results.frame(steps) if frame else steps

    async def summary(self) -> dict[str, Any]:
        """As `Job.summary`."""
        return results.summary(await _answer(self._native.summary(self.id)))

    @overload
    async def state_dict(
        self, framework: Literal["numpy"] = "numpy", *, step: int | Literal["best"] | None = None
    ) -> dict[str, numpy.ndarray[Any, Any]]: ...
    @overload
    async def state_dict(
        self, framework: Literal["torch"], *, step: int | Literal["best"] | None = None
    ) -> dict[str, torch.Tensor]: ...
    async def state_dict(
        self, framework: str = "numpy", *, step: int | Literal["best"] | None = None
    ) -> dict[str, Any]:
        """As `Job.state_dict`."""
        read_file = results.reader(framework)
        with tempfile.TemporaryDirectory(prefix="lookbehind-") as folder:
            path = Path(folder, results.MODEL)
            await _made(self._native.download(self.id, path, step))
            return await asyncio.to_thread(read_file, path)

    async def fetch(
        self, out: str | os.PathLike[str], *, step: int | Literal["best"] | None = None, force: bool = False
    ) -> Path:
        """As `Job.fetch`."""
        await _made(self._native.fetch(self.id, out, step, force))
        return Path(out)

    async def _ask(self, call: Call) -> JobInfo:
        self.info = await _job(call)
        return self.info


class AsyncWatch(AsyncIterator[Event]):
    """As `lookbehind.Watch`. A task that is cancelled while it waits loses no event."""

    def __init__(self, events: Events) -> None:
        self._events = events

    async def __anext__(self) -> Event:
        while await _made(self._events.ready()) is not None:
            line = self._events.take()
            found = None if line is None else event(line)
            if found is not None:
                return found
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Ends watching; the job goes on."""
        await _made(self._events.close())


async def _made(call: Call) -> str | None:
    """Makes a call and awaits its answer. Cancelling the task ends the call."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str | None] = loop.create_future()

    def settle(text: str | None, error: BaseException | None) -> None:
        if answer.cancelled():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(text)

    def done(text: str | None, error: BaseException | None) -> None:
        # A loop that was closed has nobody who waits.
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, text, error)

    call.start(done)
    try:
        return await answer
    finally:
        call.cancel()


async def _answer(call: Call) -> str:
    return given(await _made(call))


async def _job(call: Call) -> JobInfo:
    return read(JobInfo, json.loads(await _answer(call)))
