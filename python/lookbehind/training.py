"""A whole cluster in this process, as `lookbehind train` has it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from lookbehind import jobs, results
from lookbehind._native import Source
from lookbehind._native import train as native_train
from lookbehind.client import Watch
from lookbehind.display import Display

if TYPE_CHECKING:
    import numpy
    import pandas
    import torch
    from matplotlib.figure import Figure


def train(
    job: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    workers: int = 2,
    device: str | None = None,
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    progress: bool = False,
) -> TrainResult:
    """Trains a job on a coordinator and workers in this process, and returns when it is over.

    `job` and `overrides` are as for `Client.submit`; without a job, a small classifier of handwritten digits is trained.
    The result does not depend on the number of `workers`. `device` is "auto", "cpu", "cuda" or GPUs as in "cuda:0,1",
    by default LOOKBEHIND_DEVICE or "auto". `data` is the folder of the data files that the job names, by default that of
    the job file. `out` gets the files of `lookbehind train --out`; without it they last as long as the result.

    Raises JobFailed, InvalidJob, OutputError or LocalFailure. After Ctrl-C, `out` has the metrics so far.
    """
    _fix_number_of_threads()
    source = Source.embedded() if job is None else jobs.source(job)
    folder = Path(tempfile.mkdtemp(prefix="lookbehind-") if out is None else out)
    result = TrainResult(folder, is_temporary=out is None)
    watch = Watch(native_train(source, jobs.settings(overrides), workers, device, data, (folder, force)))
    try:
        with Display("job") as display:
            for event in watch:
                if progress:
                    display.show(event)
    finally:
        watch.close()
    return result


class TrainResult:
    """What a training has left behind."""

    def __init__(self, folder: Path, *, is_temporary: bool) -> None:
        self.out = folder
        """The folder with its files. Without `out`, it is removed with this object."""
        if is_temporary:
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def __repr__(self) -> str:
        summary = self.summary()
        return f"<TrainResult of {summary['name']!r}, {summary['outer_steps']} outer steps, digest {self.digest}>"

    @property
    def digest(self) -> str:
        """The digest of the trained weights."""
        return str(self.summary()["digest"])

    def summary(self) -> dict[str, Any]:
        """The content of summary.json."""
        return results.summary(Path(self.out, results.SUMMARY).read_text(encoding="utf-8"))

    @overload
    def metrics(self, *, frame: Literal[False] = False) -> list[dict[str, Any]]: ...
    @overload
    def metrics(self, *, frame: Literal[True]) -> pandas.DataFrame: ...
    def metrics(self, *, frame: bool = False) -> list[dict[str, Any]] | pandas.DataFrame:
        """The outer steps, with the keys of STEP in docs/json.md; with `frame`, as `to_frame` has them."""
        lines = Path(self.out, results.METRICS).read_text(encoding="utf-8").splitlines()
        steps: list[dict[str, Any]] = [results.finite(json.loads(line)) for line in lines]
        return results.frame(steps) if frame else steps

    def to_frame(self) -> pandas.DataFrame:
        """The outer steps as a pandas DataFrame, a row each, with columns such as `test.accuracy`."""
        return self.metrics(frame=True)

    def plot(self) -> Figure:
        """Loss and accuracy over the outer steps, as a figure of matplotlib."""
        return results.plot(self.metrics(), str(self.summary()["name"]))

    @overload
    def state_dict(self, framework: Literal["numpy"] = "numpy") -> dict[str, numpy.ndarray[Any, Any]]: ...
    @overload
    def state_dict(self, framework: Literal["torch"]) -> dict[str, torch.Tensor]: ...
    def state_dict(self, framework: str = "numpy") -> dict[str, Any]:
        """The trained weights, by PyTorch's names."""
        return results.reader(framework)(Path(self.out, results.MODEL))


def _fix_number_of_threads() -> None:
    """Says once how many threads there are, as the commands do for themselves: without these variables the tensor library
    counts the processors at every matrix product. Values that are set stay."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("RAYON_NUM_THREADS", str(processors))
    os.environ.setdefault("CANDLE_NUM_THREADS", "1")
