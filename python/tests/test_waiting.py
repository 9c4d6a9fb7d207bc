"""Calls that wait: signals, other threads, tasks that are cancelled."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
from conftest import ENVIRONMENT, SECONDS, Cluster

import lookbehind

JobDict = dict[str, Any]

WAITS = """
import sys
import lookbehind
job = lookbehind.Client(sys.argv[1]).job(sys.argv[2])
try:
    print("waiting", flush=True)
    job.wait()
except KeyboardInterrupt:
    print("interrupted", flush=True)
    print(job.refresh().state, flush=True)
"""


def test_ctrl_c_ends_a_call_that_waits(idle: lookbehind.Client, digits: JobDict) -> None:
    job = idle.submit(digits)
    waiting = subprocess.Popen(
        [sys.executable, "-c", WAITS, idle.url, job.id], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "waiting\n"
    waiting.send_signal(signal.SIGINT)
    said, _ = waiting.communicate(timeout=SECONDS)
    assert said.splitlines() == ["interrupted", "queued"]


def test_an_interrupted_watch_goes_on_without_a_loss(own_cluster: Cluster, digits: JobDict) -> None:
    own_cluster.start()
    client = own_cluster.client()
    watch = client.submit(digits).watch()
    first = next(watch)
    # Nothing more happens without a worker: the next call waits until it is interrupted.
    interrupter = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        while True:
            next(watch)
    own_cluster.add_worker()
    events = [first, *watch]
    steps = [event.outer_step for event in events if isinstance(event, lookbehind.Step)]
    ended = events[-1]
    assert isinstance(ended, lookbehind.JobEnded)
    assert steps == list(range(1, ended.job.total_outer_steps + 1))


def test_other_threads_run_while_a_call_waits(idle: lookbehind.Client, digits: JobDict) -> None:
    job = idle.submit(digits)
    ended = threading.Event()

    def wait() -> None:
        with pytest.raises(lookbehind.JobFailed):
            job.wait()
        ended.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    # This thread can only do so if the one that waits does not hold the interpreter's lock.
    assert idle.job(job.id).state == "queued"
    assert not ended.is_set()
    idle.job(job.id).cancel()
    waiting.join(SECONDS)
    assert ended.is_set()


def test_closing_a_watch_ends_it_in_another_thread(idle: lookbehind.Client, digits: JobDict) -> None:
    watch = idle.submit(digits).watch()
    next(watch)
    watching = threading.Thread(target=lambda: list(watch))
    watching.start()
    watch.close()
    watching.join(SECONDS)
    assert not watching.is_alive()


def test_a_process_that_was_forked_has_connections_of_its_own(client: lookbehind.Client) -> None:
    client.jobs()
    child = os.fork()
    if child == 0:
        # Whatever it hangs in, it ends, and the test fails.
        signal.alarm(60)
        status = 1
        try:
            client.jobs()
            status = 0
        finally:
            os._exit(status)
    client.jobs()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_ctrl_c_ends_a_training_in_this_process(digits: JobDict) -> None:
    script = "import lookbehind, sys; lookbehind.train(eval(sys.argv[1]), progress=True)"
    endless = {**digits, "train": {**digits["train"], "epochs": 1_000_000}}
    training = subprocess.Popen(
        [sys.executable, "-c", script, repr(endless)], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    assert training.stderr is not None
    line = training.stderr.readline()
    while "outer step" not in line:
        assert line, "the training ended"
        line = training.stderr.readline()
    training.send_signal(signal.SIGINT)
    _, said = training.communicate(timeout=SECONDS)
    assert said.rstrip().endswith("KeyboardInterrupt")


def test_async_calls_do_what_the_others_do(cluster: Cluster, digits: JobDict) -> None:
    async def run() -> None:
        credentials = None if cluster.credentials is None else cluster.credentials / "alice"
        client = lookbehind.AsyncClient(cluster.url, credentials)
        job, other = await asyncio.gather(client.submit(digits), client.submit(digits, {"seed": 43}))
        steps = [event.outer_step async for event in job.watch() if isinstance(event, lookbehind.Step)]
        assert steps == list(range(1, (await job.refresh()).total_outer_steps + 1))
        assert (await other.wait()).state == "succeeded"
        assert len(await job.metrics()) == len(steps)
        assert (await job.summary())["digest"] == job.info.digest
        assert "layers.0.weight" in await job.state_dict()
        assert job.id in [found.id for found in await client.jobs()]
        assert len(await client.workers()) == 2
        with pytest.raises(lookbehind.Refused):
            await client.job("j00000000")

    asyncio.run(run())


def test_a_cancelled_task_ends_its_call_and_loses_no_event(own_cluster: Cluster, digits: JobDict) -> None:
    async def run() -> None:
        client = lookbehind.AsyncClient(own_cluster.url)
        job = await client.submit(digits)
        watch = job.watch()
        events = []
        # Without a worker a watcher runs out of events, and the task waits until it is cancelled.
        with pytest.raises(asyncio.TimeoutError):
            while True:
                events.append(await asyncio.wait_for(watch.__anext__(), 0.5))
        own_cluster.add_worker()
        events += [event async for event in watch]
        steps = [event.outer_step for event in events if isinstance(event, lookbehind.Step)]
        assert steps == list(range(1, (await job.refresh()).total_outer_steps + 1))
        assert [event.revision for event in events if isinstance(event, lookbehind.Notice)][0] == 1

    own_cluster.start()
    asyncio.run(run())


def test_many_tasks_may_wait_at_once(idle: lookbehind.Client, digits: JobDict) -> None:
    async def run() -> None:
        client = lookbehind.AsyncClient(idle.url)
        job = await client.submit(digits)
        waiting = [asyncio.create_task(job.wait()) for _ in range(50)]
        await asyncio.sleep(0)
        await job.cancel()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(error, lookbehind.JobFailed) for error in ended)

    asyncio.run(run())
