"""Jobs, outer steps, notices and workers as the coordinator reports them. The fields are the keys that docs/json.md lists.

Times of day are text, RFC 3339 in UTC. Durations are in seconds. A number that is not finite, such as the loss of a job
that diverged, is NaN. What is absent is None.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, Union

_Record = TypeVar("_Record")


def read(form: type[_Record], content: Mapping[str, Any]) -> _Record:
    """The record of a JSON object."""
    values: dict[str, Any] = {}
    for each in fields(form):  # type: ignore[arg-type]
        if each.name not in content:
            continue
        value = content[each.name]
        if value is None:
            value = math.nan
        elif "form" in each.metadata:
            value = read(each.metadata["form"], value)
        values[each.name] = value
    return form(**values)


@dataclass(frozen=True)
class TestMetrics:
    """Mean loss and accuracy on a test set."""

    __test__ = False  # it is no test, whatever pytest makes of its name

    loss: float
    accuracy: float
    samples: int


@dataclass(frozen=True)
class Times:
    """How long an outer step took, and with what; the parts add up to the total."""

    total: float
    compute: float
    communication: float
    optimizer: float
    waiting: float
    data: float


@dataclass(frozen=True)
class Step:
    """An outer step was completed."""

    outer_step: int
    epoch: int
    loss: float
    last_loss: float
    accuracy: float
    learning_rate: float
    alpha: float
    samples: int
    gradients: int
    exchanged: int
    digest: str
    first_sample: int
    compute_class: str
    workers: int
    gradient_norm: float | None = None
    mean_shard_gradient_norm: float | None = None
    alpha_min: float | None = None
    alpha_max: float | None = None
    test: TestMetrics | None = field(default=None, metadata={"form": TestMetrics})
    validation: TestMetrics | None = field(default=None, metadata={"form": TestMetrics})
    clean: TestMetrics | None = field(default=None, metadata={"form": TestMetrics})
    memorised: TestMetrics | None = field(default=None, metadata={"form": TestMetrics})
    time: Times | None = field(default=None, metadata={"form": Times})


@dataclass(frozen=True)
class Notice:
    """Something else happened to the job: its state changed, a checkpoint was written, a worker was lost."""

    revision: int
    kind: str
    state: str
    message: str
    outer_step: int
    total_outer_steps: int
    digest: str
    at: str | None = None


@dataclass(frozen=True)
class ConnectionLost:
    """The connection was lost, for this reason, and is being restored."""

    reason: str


@dataclass(frozen=True)
class BestResult:
    """The evaluation whose checkpoint a job keeps as its best one."""

    outer_step: int
    metric: str
    value: float


@dataclass(frozen=True)
class Results:
    """The newest results of a job."""

    outer_step: int
    loss: float
    accuracy: float
    test_outer_step: int
    test: TestMetrics | None = field(default=None, metadata={"form": TestMetrics})
    best: BestResult | None = field(default=None, metadata={"form": BestResult})


@dataclass(frozen=True)
class JobInfo:
    """A job at one moment."""

    id: str
    state: str
    revision: int
    message: str
    outer_step: int
    total_outer_steps: int
    workers: int
    digest: str
    owner: str
    repeats_until: int
    waiting_for: str
    spec: dict[str, Any] | None = None
    created_at: str | None = None
    finished_at: str | None = None
    results: Results | None = field(default=None, metadata={"form": Results})

    @property
    def name(self) -> str:
        """The job's name."""
        return "" if self.spec is None else str(self.spec.get("name", ""))

    @property
    def is_over(self) -> bool:
        """Whether it has succeeded, failed or was cancelled."""
        return self.state in ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class JobEnded:
    """The job is over, and all its other events came before this one."""

    job: JobInfo


@dataclass(frozen=True)
class WorkerInfo:
    """A registered worker."""

    session: int
    name: str
    version: str
    device: str
    job_id: str
    silent_seconds: float
    shards_done: int
    busy: bool


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that the coordinator has of a job."""

    outer_step: int
    epoch: int
    digest: str
    bytes: int
    written_at: str | None = None


Event = Union[Notice, Step, ConnectionLost, JobEnded]
"""What happens to a job that is watched."""


def event(line: str) -> Event | None:
    """The event of a line of JSON; None for a summary, which is none."""
    ((kind, content),) = json.loads(line).items()
    if kind == "step":
        return read(Step, content)
    if kind == "notice":
        return read(Notice, content)
    if kind == "lost":
        return ConnectionLost(content)
    if kind == "over":
        return JobEnded(read(JobInfo, content))
    return None
