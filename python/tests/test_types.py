"""What type checkers see: `mypy --strict` reads this file, and it runs as well."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import lookbehind

if TYPE_CHECKING:
    import numpy
    import pandas


def results(job: lookbehind.Job, out: Path) -> tuple[list[dict[str, Any]], pandas.DataFrame]:
    """What users write, with the types that they expect."""
    weights: dict[str, numpy.ndarray[Any, Any]] = job.state_dict()
    del weights
    folder: Path = job.fetch(out)
    del folder
    return job.metrics(), job.metrics(frame=True)


def losses(job: lookbehind.Job) -> list[float]:
    """Events are told apart by their class."""
    found = []
    for event in job.watch():
        if isinstance(event, lookbehind.Step):
            found.append(event.loss)
        elif isinstance(event, lookbehind.JobEnded):
            assert event.job.is_over
    return found


async def states(client: lookbehind.AsyncClient) -> list[str]:
    """The same with asyncio."""
    return [job.state for job in await client.jobs(state=["queued", "running"])]


def test_the_package_says_that_it_has_types() -> None:
    assert Path(lookbehind.__file__).with_name("py.typed").exists()
