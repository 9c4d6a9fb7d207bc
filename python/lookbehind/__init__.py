"""Lookbehind trains neural networks with sharpness-aware methods, on one machine or many.

    import lookbehind

    client = lookbehind.Client()                    # as the commands find a coordinator
    job = client.submit("job.toml", {"train.epochs": 5})
    job.progress()
    weights = job.state_dict()

`lookbehind.train` does without a coordinator: it runs a whole cluster in this process. The package brings the commands
`lookbehind`, `lookbehind-coordinator` and `lookbehind-worker` along.
"""

from lookbehind._native import VERSION as __version__
from lookbehind.aio import AsyncClient, AsyncJob, AsyncWatch
from lookbehind.client import Client, Job, Watch
from lookbehind.errors import (
    InvalidJob,
    JobFailed,
    LocalFailure,
    LookbehindError,
    OutputError,
    Refused,
    RunsDiffer,
    Unreachable,
)
from lookbehind.records import (
    BestResult,
    Checkpoint,
    ConnectionLost,
    Event,
    JobEnded,
    JobInfo,
    Notice,
    Results,
    Step,
    TestMetrics,
    Times,
    WorkerInfo,
)
from lookbehind.training import TrainResult, train

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "AsyncWatch",
    "BestResult",
    "Checkpoint",
    "Client",
    "ConnectionLost",
    "Event",
    "InvalidJob",
    "Job",
    "JobEnded",
    "JobFailed",
    "JobInfo",
    "LocalFailure",
    "LookbehindError",
    "Notice",
    "OutputError",
    "Refused",
    "Results",
    "RunsDiffer",
    "Step",
    "TestMetrics",
    "Times",
    "TrainResult",
    "Unreachable",
    "Watch",
    "WorkerInfo",
    "__version__",
    "train",
]
